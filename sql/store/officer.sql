-- What an information-governance officer reads, and what is kept so that the past can be explained.

CREATE TABLE spine.member_event (
	event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	role_name name NOT NULL,
	organisation text NOT NULL,
	duty text NOT NULL,
	action text NOT NULL CHECK (action IN ('added', 'removed')),
	by_role name NOT NULL DEFAULT SESSION_USER
);
CREATE INDEX member_event_role ON spine.member_event (role_name, at);
COMMENT ON TABLE spine.member_event IS 'Memberships and systems as they were added and removed; duty of a system: system KIND. Append-only, written by trigger.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON spine.member_event
	FOR EACH ROW EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spine.member_event
	FOR EACH STATEMENT EXECUTE FUNCTION spine.append_only();

CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON spine.member
	FOR EACH ROW EXECUTE FUNCTION spine.member_changed();
CREATE TRIGGER remember_truncate BEFORE TRUNCATE ON spine.member
	FOR EACH STATEMENT EXECUTE FUNCTION spine.member_changed();
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON spine.system
	FOR EACH ROW EXECUTE FUNCTION spine.member_changed();
CREATE TRIGGER remember_truncate BEFORE TRUNCATE ON spine.system
	FOR EACH STATEMENT EXECUTE FUNCTION spine.member_changed();

CREATE VIEW spine.member_history AS
	SELECT m.at, m.role_name, m.organisation, m.duty, m.action, m.by_role FROM spine.member_event m;
COMMENT ON VIEW spine.member_history IS 'Who began and who ceased to act for an organisation, and when. For its operators and governors.';

CREATE VIEW spine.agreements_in_force AS SELECT * FROM spine.my_clauses();
COMMENT ON VIEW spine.agreements_in_force IS 'A row for each clause in force of the caller''s organisations'' agreements: who shares what with whom, for what, on which basis (kinds of relationship), which item classes and single items, how long after a relationship, whether break-glass shows it, until when; and whether the review is overdue.';

CREATE VIEW spine.disclosures AS
	SELECT (d.at AT TIME ZONE 'Europe/London')::date AS day, d.destination AS node, d.owner,
		   spine.disclosed_clause(d.clause, 'agreement') AS agreement, spine.disclosed_clause(d.clause, 'version')::integer AS version,
		   spine.disclosed_clause(d.clause, 'clause')::integer AS clause,
		   pg_catalog.split_part(d.relation, '.', 1) AS dataset, pg_catalog.split_part(d.relation, '.', 2) AS data_group,
		   pg_catalog.count(DISTINCT d.record_id) FILTER (WHERE d.action = 'put') AS sent,
		   pg_catalog.count(DISTINCT d.record_id) FILTER (WHERE d.action = 'withdraw') AS withdrawn
	  FROM spine.delivery d
	 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
COMMENT ON VIEW spine.disclosures IS 'What left this node, from the delivery ledger: for each day (London), node, owner, clause and data group how many records were sent, new or corrected, and how many withdrawn. dataset spine: what travels beside records, such as relationships. For governors of the owner.';
