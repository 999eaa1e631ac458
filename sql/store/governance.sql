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
	retention interval NOT NULL,
	scope text[] NOT NULL,
	emergency boolean NOT NULL,
	emergency_scope text[] NOT NULL,
	about_mother boolean NOT NULL,
	identified boolean NOT NULL,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz,
	in_force boolean NOT NULL,
	PRIMARY KEY (from_organisation, dataset, data_group, to_organisation, purpose, agreement, version, clause),
	CHECK (from_organisation <> to_organisation)
);
CREATE INDEX sharing_rule_to ON spine.sharing_rule (to_organisation, from_organisation);
COMMENT ON TABLE spine.sharing_rule IS 'Agreements in force, compiled: a row for each from, to, purpose and data group. scope: which items, as the audience says it after the slash; emergency_scope: likewise for who broke the glass; about_mother: whether they hold items about a baby''s mother. retention: how long after a relationship has ended. in_force: whether it was when audiences were last computed. Never written by hand.';

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
	audience text[] NOT NULL,
	-- one organisation may send a person to another; what it does itself nobody else can say
	CHECK (kind IN ('referral', 'transfer') OR owner = organisation)
);
CREATE UNIQUE INDEX relationship_one ON spine.relationship (patient_id, organisation, kind, owner) WHERE until IS NULL;
-- an audience asks for those that end later too
CREATE INDEX relationship_patient ON spine.relationship (patient_id);
-- what time ends is looked for by when it ends
CREATE INDEX relationship_until ON spine.relationship (until) WHERE until IS NOT NULL;
COMMENT ON TABLE spine.relationship IS 'Why an organisation may see a patient. owner is the organisation that recorded it.';

CREATE TABLE spine.dissent (
	dissent_id uuid PRIMARY KEY,
	patient_id uuid NOT NULL,
	purpose text NOT NULL CHECK (purpose IN ('care', 'reporting', 'commissioning', 'secondary')),
	organisation text,
	owner text NOT NULL,
	reason text,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	until timestamptz,
	recorded_by name NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	audience text[] NOT NULL
);
CREATE INDEX dissent_patient ON spine.dissent (patient_id);
COMMENT ON TABLE spine.dissent IS 'A person does not want her records shared for a purpose: with the organisation, or, where that is NULL, with anybody. secondary: neither for reporting nor for commissioning. owner is the organisation that recorded it.';

CREATE TABLE spine.unsettled (
	unsettled_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	patients uuid[],
	owner text,
	dataset text,
	data_group text,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	changed_by xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
	looked_again boolean NOT NULL DEFAULT false,
	horizon xid8,
	CHECK ((patients IS NULL) = (owner IS NOT NULL AND dataset IS NOT NULL AND data_group IS NOT NULL))
);
COMMENT ON TABLE spine.unsettled IS 'Changes of relationships and rules whose records are looked at once more when every transaction that could not see them has ended. changed_by: the transaction that made the change; horizon: the last of those.';

CREATE TABLE spine.reaudience_task (
	owner text NOT NULL,
	dataset text NOT NULL,
	data_group text NOT NULL,
	done_to uuid,
	since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (owner, dataset, data_group)
);
COMMENT ON TABLE spine.reaudience_task IS 'Large groups whose audiences are being brought in line with changed rules, in pieces, up to done_to so far. While a group stands here its readers are judged by the rules themselves, not by the audiences.';

CREATE TABLE spine.settled (
	at timestamptz NOT NULL,
	one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);
INSERT INTO spine.settled (at) VALUES (pg_catalog.now());
COMMENT ON TABLE spine.settled IS 'Up to when the ends that time brings are reflected in audiences: one row.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON spine.agreement_event
	FOR EACH ROW EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spine.agreement_event
	FOR EACH STATEMENT EXECUTE FUNCTION spine.append_only();

-- Whoever writes an event or publishes a data set, here or at a neighbour, the rules follow. Triggers
-- fire by name: after deliver_insert, so that the event leaves before what it withdraws.
CREATE TRIGGER rules_follow AFTER INSERT OR UPDATE ON spine.agreement_event
	FOR EACH STATEMENT EXECUTE FUNCTION spine.agreements_changed();
CREATE TRIGGER rules_follow AFTER INSERT OR UPDATE OR DELETE ON spine.dataset
	FOR EACH STATEMENT EXECUTE FUNCTION spine.agreements_changed();

CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.sharing_rule
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();

CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.dissent
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();
CREATE TRIGGER forget_cache_insert AFTER INSERT OR DELETE OR TRUNCATE ON spine.reaudience_task
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();

CREATE TRIGGER fill BEFORE INSERT ON spine.dissent
	FOR EACH ROW WHEN (NEW.audience IS NULL) EXECUTE FUNCTION spine.dissent_fill();
CREATE TRIGGER reaudience_insert AFTER INSERT ON spine.dissent
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.dissent_changed();
CREATE TRIGGER reaudience_update AFTER UPDATE ON spine.dissent
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.dissent_changed();
CREATE TRIGGER reaudience_delete AFTER DELETE ON spine.dissent
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.dissent_changed();

CREATE TRIGGER fill BEFORE INSERT ON spine.relationship
	FOR EACH ROW WHEN (NEW.audience IS NULL) EXECUTE FUNCTION spine.relationship_fill();
CREATE TRIGGER reaudience_insert AFTER INSERT ON spine.relationship
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.relationship_changed();
CREATE TRIGGER reaudience_update AFTER UPDATE ON spine.relationship
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.relationship_changed();
CREATE TRIGGER reaudience_delete AFTER DELETE ON spine.relationship
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.relationship_changed();

CREATE TRIGGER reaudience_insert AFTER INSERT ON spine.identity_link
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.identity_changed();
CREATE TRIGGER reaudience_update AFTER UPDATE ON spine.identity_link
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.identity_changed();
CREATE TRIGGER reaudience_delete AFTER DELETE ON spine.identity_link
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.identity_changed();

CREATE TRIGGER reaudience_insert AFTER INSERT ON spine.family_link
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.family_changed();
CREATE TRIGGER reaudience_update AFTER UPDATE ON spine.family_link
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.family_changed();
CREATE TRIGGER reaudience_delete AFTER DELETE ON spine.family_link
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION spine.family_changed();

-- What people see of these tables. The views belong to spine_reader, so that the policies
-- (policies/store_policies.sql) hold through them.

CREATE VIEW spine.agreements AS SELECT * FROM spine.my_agreements();
COMMENT ON VIEW spine.agreements IS 'The agreements of the caller''s organisations with their state: proposed, signed (by all), published (in force from starts to ends), superseded by a later version, expired, ended.';

CREATE VIEW spine.relationships AS
	SELECT l.relationship_id, l.patient_id, l.organisation, l.kind, l.owner, l.reason, l.since, l.until
	  FROM spine.relationship l;
COMMENT ON VIEW spine.relationships IS 'Relationships of patients to the caller''s organisations, and those that these have recorded. For those who read the organisations'' records.';

CREATE VIEW spine.findings AS
	SELECT f.record_id, f.dataset, f.data_group, f.owner, f.source_system, f.rule, f.severity, f.item, f.message, f.found_at
	  FROM spine.finding f;
COMMENT ON VIEW spine.findings IS 'Warnings on accepted records: a system''s own to the system, an organisation''s to its clinicians and analysts.';

CREATE VIEW spine.rejections AS
	SELECT j.rejection_id, j.submission_id, j.n, j.owner, j.source_system, j.dataset, j.version, j.data_group, j.local_record_id,
		   j.record, j.findings, j.rejected_at, j.rejected_for, j.state, j.tries, j.settled_at, j.settled_by
	  FROM spine.rejection j;
COMMENT ON VIEW spine.rejections IS 'Records that were refused, whole, with their findings: a system''s own to the system, an organisation''s to its clinicians and analysts.';

CREATE VIEW spine.corrections AS
	SELECT h.record_id, h.revision, h.dataset, h.data_group, h.owner, h.patient_id, h.action, h.old_row, h.changed_at, h.changed_by
	  FROM spine.history h;
COMMENT ON VIEW spine.corrections IS 'Records of one''s own organisation as they were before each correction or deletion.';
