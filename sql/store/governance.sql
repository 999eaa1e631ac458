-- Agreements and what follows from them.

CREATE TABLE spine.agreement_event (
	event_id uuid PRIMARY KEY,
	name text NOT NULL,
	version integer NOT NULL,
	kind text NOT NULL CHECK (kind IN ('proposed', 'signed', 'published', 'ended')),
	owner text NOT NULL,
	document jsonb,
	digest bytea NOT NULL,
	reason text,
	at timestamptz NOT NULL,
	by_role name NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	audience text[] NOT NULL,
	CHECK ((kind = 'proposed') = (document IS NOT NULL))
);
CREATE UNIQUE INDEX agreement_event_once ON spine.agreement_event (name, version, kind, owner);
COMMENT ON TABLE spine.agreement_event IS 'Every step in an agreement''s life, each spoken by one organisation (owner) about one exact document (digest, SHA-256). Append-only; the state of an agreement is the fold of its events.';

CREATE TABLE spine.sharing_rule (
	agreement text NOT NULL,
	version integer NOT NULL,
	clause integer NOT NULL,
	from_organisation text NOT NULL,
	to_organisation text NOT NULL,
	purpose text NOT NULL CHECK (purpose IN ('care', 'reporting', 'commissioning')),
	dataset text NOT NULL,
	data_group text NOT NULL,
	relationships text[] NOT NULL,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz,
	PRIMARY KEY (from_organisation, dataset, data_group, to_organisation, purpose, agreement, version, clause),
	CHECK (from_organisation <> to_organisation)
);
CREATE INDEX sharing_rule_to ON spine.sharing_rule (to_organisation, from_organisation);
COMMENT ON TABLE spine.sharing_rule IS 'Agreements in force, compiled: a row for each from, to, purpose and data group. Never written by hand.';

CREATE TABLE spine.relationship (
	relationship_id uuid PRIMARY KEY,
	patient_id uuid NOT NULL,
	organisation text NOT NULL,
	kind text NOT NULL CHECK (kind IN ('episode', 'referral', 'transfer', 'claim', 'emergency')),
	owner text NOT NULL,
	reason text,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	until timestamptz,
	revision bigint NOT NULL DEFAULT 1,
	audience text[] NOT NULL
);
CREATE UNIQUE INDEX relationship_one ON spine.relationship (patient_id, organisation, kind, owner) WHERE until IS NULL;
COMMENT ON TABLE spine.relationship IS 'Why an organisation may see a patient. owner is the organisation that recorded it.';

CREATE TABLE spine.access_log (
	access_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	role_name name NOT NULL,
	organisation text NOT NULL,
	duty text NOT NULL,
	patient_id uuid NOT NULL,
	purpose text NOT NULL,
	reason text NOT NULL,
	owners text[] NOT NULL,
	basis text[] NOT NULL
);
CREATE INDEX access_log_patient ON spine.access_log (patient_id, at);
COMMENT ON TABLE spine.access_log IS 'Every opening of a person''s record: who, for which organisation, why, whose rows, on which basis. Append-only.';
