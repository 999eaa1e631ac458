-- Who opened whose record.

CREATE TABLE spine.access_log (
	access_id bigint PRIMARY KEY,
	at timestamptz NOT NULL,
	role_name name NOT NULL,
	user_name text,
	organisation text NOT NULL,
	duty text NOT NULL,
	patient_id uuid,
	purpose text,
	reason text,
	owners text[] NOT NULL,
	how text[] NOT NULL,
	basis text[] NOT NULL,
	kind text NOT NULL,
	record_count bigint,
	statement text,
	content_mac bytea NOT NULL,
	hash bytea NOT NULL,
	-- one constraint: each is made ready anew for every batch of entries
	CHECK (CASE WHEN kind IN ('opening', 'emergency') THEN patient_id IS NOT NULL AND purpose IS NOT NULL AND reason IS NOT NULL
				ELSE kind = 'export' AND statement IS NOT NULL END)
);
CREATE INDEX access_log_patient ON spine.access_log (patient_id, at) WHERE patient_id IS NOT NULL;
COMMENT ON TABLE spine.access_log IS 'Every opening of a person''s record: who (role, and the person stated in spine.user), for which organisation, why, whose rows, how and on which basis; and every statement that showed many rows (kind export). Written by the auditor alone, counted without a gap from 1 on, append-only. content_mac: HMAC-SHA-256 under the network key of all columns before it; hash: SHA-256 of the hash before, access_id, at and content_mac.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON spine.access_log
	FOR EACH ROW EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spine.access_log
	FOR EACH STATEMENT EXECUTE FUNCTION spine.append_only();

CREATE TABLE spine.access_notice (
	notice_id uuid PRIMARY KEY,
	access_id bigint NOT NULL,
	owner text NOT NULL,
	about text NOT NULL,
	at timestamptz NOT NULL,
	role_name name NOT NULL,
	user_name text,
	organisation text NOT NULL,
	duty text NOT NULL,
	patient_id uuid NOT NULL,
	purpose text NOT NULL,
	reason text NOT NULL,
	how text[] NOT NULL,
	basis text[] NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	audience text[] NOT NULL
);
CREATE INDEX access_notice_patient ON spine.access_notice (patient_id, at);
COMMENT ON TABLE spine.access_notice IS 'What an owner at another node is told of an opening of its rows: one row for each such owner (about), written with the entry and sent there. owner is the reader''s organisation, access_id the number of the entry at its node. Received notices stand here too.';

CREATE TRIGGER deliver_insert AFTER INSERT ON spine.access_notice
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'access_notice');
CREATE TRIGGER deliver_update AFTER UPDATE ON spine.access_notice
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'access_notice');
CREATE TRIGGER deliver_delete AFTER DELETE ON spine.access_notice
	REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'access_notice');

-- A governor learns everything of what his own staff opened; of what others opened, what concerns his own
-- organisation. The policies leave out what concerns neither.
CREATE VIEW spine.accesses AS
	SELECT a.access_id, a.at, a.role_name, a.user_name, a.organisation, a.duty, a.patient_id, a.purpose, a.reason,
		   CASE WHEN m.own THEN a.owners
				ELSE ARRAY(SELECT o FROM pg_catalog.unnest(a.owners) o
							WHERE o = ANY ((SELECT spine.caller_organisations('governor'))::text[])) END AS owners,
		   a.how,
		   CASE WHEN m.own THEN a.basis ELSE spine.basis_for_caller(a.basis) END AS basis,
		   a.kind, a.record_count,
		   a.statement,
		   false AS received
	  FROM spine.access_log a
	 CROSS JOIN LATERAL (SELECT a.organisation = ANY ((SELECT spine.caller_organisations('governor'))::text[]) AS own) m
	UNION ALL
	SELECT n.access_id, n.at, n.role_name, n.user_name, n.organisation, n.duty, n.patient_id, n.purpose, n.reason,
		   ARRAY[n.about], n.how, n.basis,
		   CASE WHEN 'emergency' = ANY (n.how) THEN 'emergency' ELSE 'opening' END, NULL, NULL, true
	  FROM spine.access_notice n;
COMMENT ON VIEW spine.accesses IS 'Openings of records and exports: by the staff of an organisation, and of rows that it owns, by whoever. For its governors. received: at another node, which sent a notice; access_id is the number there.';
