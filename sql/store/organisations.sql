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
COMMENT ON TABLE spine.organisation IS 'Organisations by ODS code, as a tree. opened and closed: the first and the last day on which it is open, NULL where not known. Source: NHS Organisation Data Service.';

CREATE TABLE spine.node (
	name text PRIMARY KEY,
	is_self boolean NOT NULL DEFAULT false,
	conninfo text,
	role_name name UNIQUE,
	state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'ended')),
	purpose text NOT NULL DEFAULT 'care' CHECK (purpose IN ('care', 'reporting')),
	behind boolean NOT NULL DEFAULT false,
	connected_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE UNIQUE INDEX node_self ON spine.node (is_self) WHERE is_self;
COMMENT ON TABLE spine.node IS 'This node and its neighbours. role_name is the role as which a neighbour calls us; conninfo is how we reach it; purpose: what passes on the link, records for care or pseudonyms for reporting and commissioning; behind: its part of the ledger was dropped, and nothing is written there until it is sent everything anew.';

CREATE TABLE spine.node_organisation (
	organisation text PRIMARY KEY,
	node text NOT NULL REFERENCES spine.node
);
CREATE INDEX node_organisation_node ON spine.node_organisation (node);
COMMENT ON TABLE spine.node_organisation IS 'Which node hosts which organisation. A node speaks for the organisations it hosts and for no other.';

CREATE TABLE spine.member (
	role_name name NOT NULL,
	organisation text NOT NULL REFERENCES spine.organisation,
	duty text NOT NULL CHECK (duty IN ('clinician', 'analyst', 'governor', 'operator', 'portal')),
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

CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.organisation
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();
CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.node
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();
CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.node_organisation
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();
CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.member
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();
CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.system
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();

CREATE VIEW spine.organisations AS
	SELECT o.code, o.name, o.kind, o.parent, o.postcode, o.opened, o.closed, h.node AS hosted_by
	  FROM spine.organisation o
	  LEFT JOIN spine.node_organisation h ON h.organisation = o.code;
COMMENT ON VIEW spine.organisations IS 'Organisations as a tree, and the node that hosts each, where one does.';

CREATE VIEW spine.members AS
	SELECT m.role_name, m.organisation, m.duty, m.added_at, m.added_by FROM spine.member m;
COMMENT ON VIEW spine.members IS 'Who acts for an organisation. For its operators and governors; spine.whoami() is for everybody.';

CREATE VIEW spine.systems AS
	SELECT s.organisation, s.system, s.kind, s.role_name, s.added_at FROM spine.system s;
COMMENT ON VIEW spine.systems IS 'The suppliers'' systems of an organisation. For its operators and governors.';
