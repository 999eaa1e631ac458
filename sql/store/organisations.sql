-- Who exists: the store itself, organisations, nodes, members, systems.

CREATE TABLE spine.store (
	store_id uuid PRIMARY KEY,
	node text NOT NULL,
	spine_version text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	one_row boolean NOT NULL DEFAULT true UNIQUE CHECK (one_row)
);
COMMENT ON TABLE spine.store IS 'This node: one row.';

CREATE TABLE spine.organisation (
	code text PRIMARY KEY CHECK (code = (code::spine.ods_code)::text),
	name text NOT NULL,
	kind text NOT NULL CHECK (kind IN ('unit', 'trust', 'health_board', 'network', 'region', 'icb', 'supplier', 'national')),
	parent text REFERENCES spine.organisation DEFERRABLE INITIALLY DEFERRED,
	postcode text,
	opened date,
	closed date CHECK (closed >= opened)
);
CREATE INDEX organisation_parent ON spine.organisation (parent);
COMMENT ON TABLE spine.organisation IS 'Organisations by ODS code, as a tree. Source: NHS Organisation Data Service.';

CREATE TABLE spine.node (
	name text PRIMARY KEY,
	is_self boolean NOT NULL DEFAULT false,
	conninfo text,
	role_name name UNIQUE,
	state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'ended')),
	connected_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE UNIQUE INDEX node_self ON spine.node (is_self) WHERE is_self;
COMMENT ON TABLE spine.node IS 'This node and its neighbours. role_name is the role as which a neighbour calls us; conninfo is how we reach it.';

CREATE TABLE spine.node_organisation (
	organisation text PRIMARY KEY,
	node text NOT NULL REFERENCES spine.node
);
CREATE INDEX node_organisation_node ON spine.node_organisation (node);
COMMENT ON TABLE spine.node_organisation IS 'Which node hosts which organisation. A node speaks for the organisations it hosts and for no other.';

CREATE TABLE spine.member (
	role_name name NOT NULL,
	organisation text NOT NULL REFERENCES spine.organisation,
	duty text NOT NULL CHECK (duty IN ('clinician', 'analyst', 'governor', 'operator')),
	added_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	added_by name NOT NULL DEFAULT SESSION_USER,
	PRIMARY KEY (role_name, organisation, duty)
);
COMMENT ON TABLE spine.member IS 'Database roles that act for an organisation, with their duty.';

CREATE TABLE spine.system (
	organisation text NOT NULL REFERENCES spine.organisation,
	system text NOT NULL CHECK (system ~ '^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$'),
	kind text NOT NULL CHECK (kind IN ('maternity', 'maternity_readonly', 'neonatal', 'device', 'reports')),
	role_name name NOT NULL UNIQUE,
	added_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (organisation, system)
);
COMMENT ON TABLE spine.system IS 'A supplier''s system at an organisation. Its role writes for that organisation and system alone; its kind gives its rights.';
