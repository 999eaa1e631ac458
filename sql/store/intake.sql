-- What intake keeps beside the records: their history, their warnings, what was sent and what became of it.

CREATE TABLE spine.history (
	record_id uuid NOT NULL,
	revision bigint NOT NULL,
	dataset text NOT NULL,
	data_group text NOT NULL,
	owner text NOT NULL,
	patient_id uuid,
	action text NOT NULL CHECK (action IN ('update', 'delete')),
	old_row jsonb NOT NULL,
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	changed_by name NOT NULL,
	PRIMARY KEY (record_id, revision)
);
CREATE INDEX history_patient ON spine.history (patient_id, changed_at);
-- a rejected record must not come back over one that was deleted since
CREATE INDEX history_deleted ON spine.history (owner, data_group, (old_row ->> 'local_record_id')) WHERE action = 'delete';
COMMENT ON TABLE spine.history IS 'The row as it was before each correction or deletion, with who and when.';

CREATE TABLE spine.finding (
	record_id uuid NOT NULL,
	dataset text NOT NULL,
	data_group text NOT NULL,
	owner text NOT NULL,
	source_system text NOT NULL,
	rule text NOT NULL,
	severity text NOT NULL CHECK (severity IN ('warning', 'record', 'group', 'file')),
	item text,
	message text NOT NULL,
	awaits bigint,
	found_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX finding_record ON spine.finding (record_id);
CREATE INDEX finding_owner ON spine.finding (owner, found_at);
CREATE INDEX finding_awaits ON spine.finding (awaits, owner, source_system) WHERE awaits IS NOT NULL;
COMMENT ON TABLE spine.finding IS 'Warnings on records that were accepted: those of the record''s present revision. awaits: a hash of what names the record whose coming ends the warning.';

CREATE TABLE spine.rejection (
	rejection_id uuid PRIMARY KEY,
	submission_id uuid NOT NULL,
	n bigint NOT NULL,
	owner text NOT NULL,
	source_system text NOT NULL,
	dataset text,
	version text,
	data_group text,
	local_record_id text,
	record text NOT NULL,
	findings jsonb NOT NULL,
	rejected_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	rejected_for name NOT NULL,
	state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'released', 'discarded')),
	tries integer NOT NULL DEFAULT 1,
	settled_at timestamptz,
	settled_by name
);
CREATE INDEX rejection_owner ON spine.rejection (owner, rejected_at);
-- of a record that was rejected twice the later one counts
CREATE INDEX rejection_record ON spine.rejection (owner, source_system, local_record_id);
CREATE INDEX rejection_open ON spine.rejection (dataset, owner, source_system) WHERE state = 'open';
COMMENT ON TABLE spine.rejection IS 'Records that a tolerant door refused, whole, with all their findings, until they are released or discarded. dataset and the like are NULL where the record did not tell them.';

-- What was sent, by month, so that what is past its retention goes by dropping a table. Intake
-- writes into the month's partition, and into the default one where it is missing.
CREATE TABLE spine.submission (
	submission_id uuid NOT NULL,
	owner text NOT NULL,
	source_system text NOT NULL,
	role_name name NOT NULL,
	door text NOT NULL CHECK (door IN ('view', 'submit', 'inbox', 'resubmit')),
	dataset text,
	version text,
	data_group text,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	records bigint NOT NULL,
	accepted bigint NOT NULL,
	accepted_with_warnings bigint NOT NULL,
	unchanged bigint NOT NULL,
	rejected bigint NOT NULL,
	deleted bigint NOT NULL DEFAULT 0,
	refused text,
	CHECK (records = accepted + accepted_with_warnings + unchanged + rejected)
) PARTITION BY RANGE (at);
-- an id tells the time: the latest come first by it
CREATE INDEX submission_id ON spine.submission (submission_id);
CREATE TABLE spine.submission_default PARTITION OF spine.submission DEFAULT;
COMMENT ON TABLE spine.submission IS 'Each statement at a view, each document, each COPY into the inbox: who, when, by which door, and what became of its records.';

CREATE TABLE spine.raw_submission (
	submission_id uuid NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	first_n bigint NOT NULL,
	content text NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX raw_submission_id ON spine.raw_submission (submission_id, first_n);
DO $compression$
BEGIN
	-- pglz would cost more than all the rest of a submission
	IF (SELECT 'lz4' = ANY (enumvals) FROM pg_catalog.pg_settings WHERE name = 'default_toast_compression') THEN
		ALTER TABLE spine.raw_submission ALTER content SET COMPRESSION lz4;
		ALTER TABLE spine.rejection ALTER record SET COMPRESSION lz4;
	ELSE
		ALTER TABLE spine.raw_submission ALTER content SET STORAGE EXTERNAL;
		ALTER TABLE spine.rejection ALTER record SET STORAGE EXTERNAL;
	END IF;
END
$compression$;
CREATE TABLE spine.raw_submission_default PARTITION OF spine.raw_submission DEFAULT;
COMMENT ON TABLE spine.raw_submission IS 'Submissions of the tolerant doors as they came: a document, or the lines of the inbox in pieces, each from line first_n.';

CREATE TABLE spine.inbox_line (
	submission_id uuid NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	line bigint NOT NULL,
	owner text NOT NULL,
	source_system text NOT NULL,
	outcome text NOT NULL,
	data_group text,
	record_id uuid,
	findings jsonb NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX inbox_line_id ON spine.inbox_line (submission_id, line);
CREATE TABLE spine.inbox_line_default PARTITION OF spine.inbox_line DEFAULT;
COMMENT ON TABLE spine.inbox_line IS 'What became of each line of the inbox.';

SELECT spine.make_submission_partitions();

CREATE VIEW spine.inbox AS SELECT NULL::text AS document WHERE false;
CREATE TRIGGER intake_row INSTEAD OF INSERT ON spine.inbox
	FOR EACH ROW EXECUTE FUNCTION spine.inbox_row();
CREATE TRIGGER intake_before BEFORE INSERT ON spine.inbox
	FOR EACH STATEMENT EXECUTE FUNCTION spine.inbox_statement();
CREATE TRIGGER intake_after AFTER INSERT ON spine.inbox
	FOR EACH STATEMENT EXECUTE FUNCTION spine.inbox_statement();
COMMENT ON VIEW spine.inbox IS 'The bulk door, to write only: COPY spine.inbox (document) FROM STDIN (FORMAT csv, QUOTE e''\x01'', DELIMITER e''\x02''), one JSON object a line: {"dataset", "version", "group", "nhs_number", "local_patient_id", "local_episode_id", "local_record_id", "data": {item: value}}. Tolerant: each line has its own outcome in spine.inbox_result.';

CREATE VIEW spine.inbox_result AS
	SELECT l.submission_id, l.line, l.outcome, l.data_group, l.record_id, l.findings FROM spine.inbox_line l;
COMMENT ON VIEW spine.inbox_result IS 'The outcome of each line that was sent through spine.inbox, by submission and line number (from 1). To a system its own.';

CREATE VIEW spine.submissions AS
	SELECT s.submission_id, s.owner, s.source_system, s.role_name, s.door, s.dataset, s.version, s.data_group, s.at,
		   s.records, s.accepted, s.accepted_with_warnings, s.unchanged, s.rejected, s.deleted, s.refused
	  FROM spine.submission s;
COMMENT ON VIEW spine.submissions IS 'What was sent, by whom, when, by which door (view, submit, inbox, resubmit), and how many of its records were accepted, unchanged, rejected. deleted: by DELETE at a view. refused: the rule that refused all of it. To a system its own, to an organisation''s people those of its systems.';
