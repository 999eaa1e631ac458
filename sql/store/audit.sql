-- Who opened whose record.

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

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON spine.access_log
	FOR EACH ROW EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spine.access_log
	FOR EACH STATEMENT EXECUTE FUNCTION spine.append_only();

CREATE VIEW spine.accesses AS
	SELECT a.access_id, a.at, a.role_name, a.organisation, a.duty, a.patient_id, a.purpose, a.reason,
		   -- of other owners, a governor learns what concerns his own
		   CASE WHEN a.organisation = ANY ((SELECT spine.caller_organisations('governor'))::text[]) THEN a.owners
				ELSE ARRAY(SELECT o FROM pg_catalog.unnest(a.owners) o
							WHERE o = ANY ((SELECT spine.caller_organisations('governor'))::text[])) END AS owners,
		   a.basis
	  FROM spine.access_log a;
COMMENT ON VIEW spine.accesses IS 'Openings of records: by the staff of an organisation, and of rows that it owns. For its governors.';
