-- A plan is made while the tables are new and kept while they grow: it must go by the index of what is looked for,
-- whatever the planner believes of tables that nobody has analyzed. Counted in rows fetched, not in time.
\ir setup.psql
SELECT plan(7);

CREATE ROLE intake_plans_supplier;
\o /dev/null
SELECT spine.add_system('RYJ', 'Ash', 'maternity', 'intake_plans_supplier');
\o
BEGIN;
SET LOCAL ROLE intake_plans_supplier;
-- one record first, so that the plans are made over empty tables
INSERT INTO maternity_2_0.booking (local_patient_id, local_episode_id, local_record_id, antenatal_booking_date, edd_agreed)
	VALUES ('M0', 'P0', 'P0', '2025-01-01', '2025-08-01');
INSERT INTO maternity_2_0.booking (local_patient_id, local_episode_id, local_record_id, antenatal_booking_date, edd_agreed)
	SELECT 'M' || i, 'P' || i, 'P' || i, '2025-01-01', '2025-08-01' FROM generate_series(1, 2000) i;
INSERT INTO maternity_2_0.labour_delivery (local_patient_id, local_episode_id, labour_delivery_id, labour_onset_method, labour_onset_date)
	SELECT 'M' || i, 'P' || i, 'L' || i, '1', '2025-08-01' FROM generate_series(1, 2000) i;
RESET ROLE;

-- rows fetched from the tables of what a statement looks up, for each record that it writes
CREATE TABLE before AS
	SELECT relid, relname, seq_tup_read + coalesce(idx_tup_fetch, 0) AS fetched FROM pg_stat_xact_all_tables
	WHERE schemaname IN ('maternity', 'spine');
CREATE FUNCTION most_fetched() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s', CASE WHEN max(n.seq_tup_read + coalesce(n.idx_tup_fetch, 0) - coalesce(b.fetched, 0)) <= 10 * 500 THEN 'few' ELSE 'many of' END,
				  (array_agg(n.relname ORDER BY n.seq_tup_read + coalesce(n.idx_tup_fetch, 0) - coalesce(b.fetched, 0) DESC))[1])
	FROM pg_stat_xact_all_tables n LEFT JOIN before b USING (relid)
	WHERE n.schemaname IN ('maternity', 'spine')
$$;
CREATE FUNCTION again() RETURNS void LANGUAGE sql AS $$
	DELETE FROM before;
	INSERT INTO before SELECT relid, relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_all_tables
	WHERE schemaname IN ('maternity', 'spine');
$$;
CREATE FUNCTION documents(what text) RETURNS text LANGUAGE sql AS $$
	SELECT format('{"dataset": "maternity", "version": "2.0", "records": [%s]}', string_agg(format(what, i), ',')) FROM generate_series(501, 1000) i
$$;

SET LOCAL ROLE intake_plans_supplier;
INSERT INTO maternity_2_0.labour_activity (labour_delivery_id, mother_intervention_date, procedure_scheme, procedure_code)
	SELECT 'L' || i, '2025-08-01', '02', 'R17.2' FROM generate_series(1, 500) i;
RESET ROLE;
SELECT matches(most_fetched(), '^few', 'a view: parents and what rules look at');
SELECT again() \g /dev/null
SET LOCAL ROLE intake_plans_supplier;
SELECT is(count(*), 500::bigint, 'a document') FROM spine.submit(documents('{"group": "labour_activity", "data": {"labour_delivery_id": "L%s", "mother_intervention_date": "2025-08-01", "procedure_scheme": "02", "procedure_code": "R17.2"}}'));
RESET ROLE;
SELECT matches(most_fetched(), '^few', 'likewise');
SELECT again() \g /dev/null
SET LOCAL ROLE intake_plans_supplier;
SELECT is(count(*), 500::bigint, 'records of the pregnancy, with rules over the booking') FROM spine.submit(documents('{"group": "dating_scan", "local_patient_id": "M%s", "data": {"pregnancy_id": "P%1$s", "scan_date": "2025-01-20", "scan_gestation": "84", "scan_fetus_count": 1}}'));
RESET ROLE;
SELECT matches(most_fetched(), '^few', 'likewise');
SELECT again() \g /dev/null
SET LOCAL ROLE intake_plans_supplier;
SELECT is(count(*), 500::bigint, 'corrections') FROM spine.submit(documents('{"group": "booking", "local_patient_id": "M%s", "local_record_id": "P%1$s", "data": {"pregnancy_id": "P%1$s", "antenatal_booking_date": "2025-01-02", "edd_agreed": "2025-08-01"}}'));
RESET ROLE;
SELECT matches(most_fetched(), '^few', 'likewise');
SELECT * FROM finish();
ROLLBACK;
