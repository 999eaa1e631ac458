-- What intake keeps beside the records: their history, their warnings, and what it refused.

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
	found_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX finding_record ON spine.finding (record_id);
CREATE INDEX finding_owner ON spine.finding (owner, found_at);
COMMENT ON TABLE spine.finding IS 'Warnings on records that were accepted: those of the record''s present revision.';

CREATE TABLE spine.rejection (
	rejection_id uuid PRIMARY KEY,
	owner text NOT NULL,
	source_system text NOT NULL,
	dataset text NOT NULL,
	version text NOT NULL,
	data_group text,
	record json NOT NULL,
	findings jsonb NOT NULL,
	rejected_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	rejected_for name NOT NULL
);
CREATE INDEX rejection_owner ON spine.rejection (owner, rejected_at);
COMMENT ON TABLE spine.rejection IS 'Records that a tolerant door refused, whole, with all their findings.';
