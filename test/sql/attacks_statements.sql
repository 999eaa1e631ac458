-- Attacks by statements and functions that PostgreSQL lets anybody run: plans and counters that count hidden rows, locks,
-- large objects, foreign data, code that others run. Numbers are those of docs/security.md. RYJ and RQM have an agreement; RQM
-- has no relationship to the women of RYJ.
\ir setup.psql
\ir as_role.psql
SELECT plan(152);
SELECT two_trusts('statements') \g /dev/null
SELECT make_roles('statements_operator', 'statements_neighbour', 'statements_stranger', 'statements_dba', 'statements_monitor', 'statements_backup') \g /dev/null
SELECT spine.add_member('statements_operator', 'RYJ', 'operator'), spine.connect_node('R1K', NULL, '{R1K}', 'statements_neighbour') \g /dev/null
SELECT agree('statements') \g /dev/null
SELECT book('statements_ryj_system', n, right(n, 3)) FROM unnest('{9990000018,9990000026,9990000034}'::text[]) n \g /dev/null
SELECT book('statements_rqm_system', '9990000042', '1') \g /dev/null
GRANT spine_owner TO statements_dba;
GRANT pg_monitor TO statements_monitor;
GRANT pg_read_all_data TO statements_backup;
CREATE SCHEMA statements;
GRANT ALL ON SCHEMA statements TO PUBLIC;

-- what a statement tells: its SQLSTATE, or ok; with the role in force, or with the rights of the session's own role
CREATE FUNCTION told(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE pg_catalog.format('SET LOCAL ROLE %I', who);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE TEMPORARY VIEW bound AS
	SELECT r FROM unnest('{statements_ryj_clinician,statements_rqm_analyst,statements_rqm_governor,statements_rqm_system,statements_operator,statements_neighbour}'::text[]) r;

-- attack 1: EXPLAIN ANALYZE counts what a policy hides; attack 2: EXPLAIN estimates it

SELECT is(told(r, s), '42501', format('%s: %s -- attack %s', r, s, a))
  FROM bound, (VALUES ('EXPLAIN ANALYZE SELECT 1', 1), ('EXPLAIN SELECT 1', 2)) AS x (s, a);
SELECT is(told('statements_rqm_clinician', s), '42501', s || ' -- attack ' || a)
  FROM (VALUES ('EXPLAIN ANALYZE SELECT 1 FROM maternity_2_0.booking WHERE owner = ''RYJ''', 1),
			   ('EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM maternity_2_0.booking', 1),
			   ('EXPLAIN (COSTS OFF) SELECT count(*) FROM maternity_2_0.booking', 2),
			   ('EXPLAIN (FORMAT json) SELECT count(*) FROM spine.all_records', 2),
			   ('EXPLAIN (ANALYZE, FORMAT xml) SELECT spine.timeline(''9990000018'')', 1),
			   ('EXPLAIN ANALYZE CREATE TEMPORARY TABLE t AS SELECT * FROM maternity_2_0.booking', 1),
			   ('EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT * FROM maternity_2_0.booking', 1),
			   ('PREPARE statements_p AS SELECT * FROM maternity_2_0.booking; EXPLAIN ANALYZE EXECUTE statements_p', 1),
			   ('DO $d$ BEGIN EXECUTE ''EXPLAIN ANALYZE SELECT 1 FROM maternity_2_0.booking''; END $d$', 1),
			   ('DO $d$ DECLARE l text; BEGIN FOR l IN EXPLAIN ANALYZE SELECT 1 FROM maternity_2_0.booking LOOP NULL; END LOOP; END $d$', 1),
			   ('CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql AS ''EXPLAIN SELECT 1 FROM maternity_2_0.booking''; SELECT pg_temp.f()', 2)) AS x (s, a);
SELECT is(told('statements_rqm_system', 'EXPLAIN ANALYZE INSERT INTO maternity_2_0.booking (nhs_number) VALUES (''9990000018'')'), '42501', 'nor what a supplier writes -- attack 1');
DEALLOCATE ALL;

-- nor by way of somebody else's function or view
CREATE FUNCTION statements.explained(statement text) RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN ANALYZE ' || statement;
END
$$;
SELECT is(told('statements_rqm_clinician', 'SELECT statements.explained(''SELECT 1 FROM maternity.booking'')'), '42501', 'a superuser''s definer function lends no EXPLAIN -- attack 1');
SELECT is(told('statements_rqm_clinician', 'CREATE FUNCTION statements.lent(statement text) RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER AS
	''BEGIN RETURN QUERY EXECUTE $q$EXPLAIN ANALYZE $q$ || statement; END''; CREATE VIEW statements.lent_view AS SELECT * FROM maternity_2_0.booking;
	GRANT SELECT ON statements.lent_view TO statements_stranger'), 'ok', 'a member makes a function and a view');
SELECT is(told(r, 'SELECT statements.lent(''SELECT 1 FROM maternity_2_0.booking'')'), '42501', 'called by ' || r || ' it is the member''s -- attack 1') FROM unnest('{statements_stranger,statements_dba}'::text[]) r;
SELECT is(told('statements_stranger', 'CREATE VIEW statements.second AS SELECT owner FROM statements.lent_view'), 'ok', 'a stranger makes a view of that one');
SELECT is(told('statements_stranger', s), '42501', 'by a stranger: ' || s || ' -- attack 1')
  FROM unnest(ARRAY['EXPLAIN ANALYZE SELECT 1 FROM statements.lent_view', 'EXPLAIN SELECT (SELECT count(*) FROM statements.second)',
					'EXPLAIN ANALYZE WITH w AS (SELECT * FROM statements.second) SELECT 1 WHERE EXISTS (SELECT FROM w)',
					'EXPLAIN CREATE TEMPORARY TABLE t AS SELECT * FROM statements.second',
					'PREPARE statements_q AS SELECT * FROM statements.second; EXPLAIN ANALYZE EXECUTE statements_q',
					'EXPLAIN ANALYZE INSERT INTO statements.lent_view (nhs_number) VALUES (NULL)',
					'CREATE TABLE statements.ruled (a text); CREATE RULE r AS ON INSERT TO statements.ruled DO ALSO SELECT 1 FROM statements.second;
					 EXPLAIN ANALYZE INSERT INTO statements.ruled VALUES (NULL)']) s;
DEALLOCATE ALL;
GRANT USAGE ON SCHEMA maternity TO pg_read_all_data;
SELECT is(told('statements_backup', 'EXPLAIN ANALYZE SELECT 1 FROM maternity.booking'), '42501', 'who may read all data is shown none by the policies, and counts none -- attack 1');
REVOKE USAGE ON SCHEMA maternity FROM pg_read_all_data;

-- others are left alone
SELECT is(told('statements_stranger', 'CREATE TABLE statements.own (a integer); EXPLAIN ANALYZE SELECT * FROM statements.own JOIN pg_class ON relpages = a'), 'ok', 'a stranger explains what is his');
SELECT is(told(r, 'EXPLAIN ANALYZE SELECT * FROM maternity_2_0.booking'), 'ok', r || ' explains') FROM unnest('{postgres,statements_dba}'::text[]) r;

-- a printed plan is a plan
CREATE FUNCTION statements.set_it() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM set_config('debug_print_plan', 'on', true);
	RETURN 1;
END
$$;
SELECT is(told('statements_rqm_clinician', s), '42501', s || ' -- attack 2')
  FROM unnest(ARRAY['SET LOCAL client_min_messages = log; SET LOCAL debug_print_plan = on; SELECT count(*) FROM maternity_2_0.booking',
					'SET LOCAL client_min_messages = debug1; SELECT 1 FROM maternity_2_0.booking WHERE 1 = statements.set_it()']) s;
SELECT is(told('statements_stranger', 'SET LOCAL client_min_messages = log; SET LOCAL debug_print_plan = on; SELECT count(*) FROM statements.second'), '42501', 'not even to a stranger -- attack 2');
SELECT is(told('statements_rqm_clinician', 'SET LOCAL debug_print_plan = on; SELECT count(*) FROM maternity_2_0.booking'), 'ok', 'the server''s log is not the reader''s');

-- attack 58: locks

SELECT is(told(r, format('LOCK TABLE %s IN %s MODE', v, m)), '42501', format('%s: LOCK %s IN %s -- attack 58', r, v, m))
  FROM unnest('{statements_rqm_clinician,statements_rqm_system}'::text[]) r,
	   (VALUES ('maternity_2_0.booking', 'ACCESS SHARE'), ('ONLY maternity_2_0.booking', 'ACCESS EXCLUSIVE'), ('spine.submissions', 'ACCESS SHARE'),
			   ('statements.lent_view', 'ACCESS SHARE')) AS x (v, m);
SELECT is(told('statements_rqm_system', 'LOCK TABLE spine.inbox IN ROW EXCLUSIVE MODE'), '42501', 'nor of the inbox -- attack 58');
SELECT is(told('statements_stranger', 'LOCK TABLE ' || v || ' IN ACCESS SHARE MODE'), '42501', 'a stranger locks nothing through ' || v || ' -- attack 58') FROM unnest('{statements.lent_view,statements.second}'::text[]) v;
SELECT is(told('statements_rqm_clinician', 'DO $d$ BEGIN LOCK TABLE maternity_2_0.booking IN ACCESS SHARE MODE; END $d$'), '42501', 'nor in a block -- attack 58');
SELECT is(told('statements_rqm_clinician', 'CREATE TEMPORARY TABLE statements_own (a integer); LOCK TABLE statements_own'), 'ok', 'one''s own table may be locked');
SELECT is(told('statements_rqm_clinician', 'LOCK TABLE statements_nothing'), '42P01', 'and what is not there is not there');
SELECT is(told('statements_operator', 'SELECT spine.publish_dataset(''maternity'', ''2.1'')'), 'ok', 'functions of spine lock what they need, whoever calls them');

-- attack 7: a foreign key is no question about a row that is hidden

SELECT is(told('statements_rqm_system', s), '42501', s || ' -- attack 7')
  FROM unnest(ARRAY['CREATE TABLE statements.child (record_id uuid REFERENCES maternity.booking)', 'CREATE TABLE statements.child (patient_id uuid REFERENCES spine.patient)',
					'CREATE TABLE statements.child (relationship_id uuid REFERENCES spine.relationship)']) s
 WHERE s !~ 'spine\.patient\)' OR to_regclass('spine.patient') IS NOT NULL;
SELECT isnt(told('statements_rqm_system', 'CREATE TABLE statements.child (record_id uuid REFERENCES maternity_2_0.booking (record_id))'), 'ok', 'nor to a view -- attack 7');

-- attack 12: counters

SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^pg_stat_get_' AND p.proargtypes = '26'::oidvector
	AND has_function_privilege('public', p.oid, 'EXECUTE') $$, 'no counter of a table, an index, a function or a database is PUBLIC''s -- attack 12');
SELECT is(told(r, 'SELECT * FROM ' || v), '42501', r || ' reads not ' || v || ' -- attack 12')
  FROM bound, unnest('{pg_stat_xact_all_tables,pg_stat_all_tables,pg_statio_all_tables,pg_stat_all_indexes,pg_stat_xact_user_functions,pg_stat_database}'::text[]) v
 WHERE r !~ 'neighbour|governor|operator' AND (v <> 'pg_stat_xact_user_functions' OR (SELECT setting FROM pg_settings WHERE name = 'track_functions') <> 'none');
SELECT is(told('statements_rqm_clinician', f), '42501', f || ' -- attack 12')
  FROM unnest(ARRAY['SELECT pg_stat_get_xact_tuples_fetched(oid) FROM pg_class WHERE relname = ''booking''', 'SELECT pg_stat_get_xact_function_calls(oid) FROM pg_proc WHERE proname = ''visible''',
					'SELECT pg_stat_get_db_tuples_returned(oid) FROM pg_database', 'SELECT pg_stat_get_xact_blocks_fetched(oid) FROM pg_class']) f;
SELECT is(told('statements_monitor', 'SELECT * FROM ' || v), 'ok', 'who monitors reads ' || v) FROM unnest('{pg_stat_all_tables,pg_stat_xact_all_tables,pg_stat_database}'::text[]) v;
SELECT is_empty($$ SELECT c.oid::regclass, r FROM pg_class c, bound WHERE c.relkind = 'S' AND c.relnamespace::regnamespace::text ~ '^(spine|maternity)' AND has_sequence_privilege(r, c.oid, 'SELECT,USAGE,UPDATE') $$,
	'no sequence is read -- attack 12');

-- attack 14: who is hidden is looked for as who is not there is; what it takes to pass over the hidden rows themselves is for a bench to say

-- scans of each table, by whichever index: statistics that come meanwhile may change that
CREATE FUNCTION work(who text, statement text) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	counted text := $q$ SELECT jsonb_object_agg(c.oid::regclass, pg_stat_get_xact_numscans(c.oid)
			+ (SELECT coalesce(sum(pg_stat_get_xact_numscans(i.indexrelid)), 0) FROM pg_index i WHERE i.indrelid = c.oid))
		FROM pg_class c WHERE c.relnamespace::regnamespace::text ~ '^(spine|maternity)' AND c.relkind = 'r' $q$;
	before jsonb; after jsonb; answer text;
BEGIN
	-- caches are filled
	PERFORM told(who, statement);
	EXECUTE counted INTO before;
	answer := told(who, statement);
	EXECUTE counted INTO after;
	RETURN answer || coalesce((SELECT string_agg(pg_catalog.format(' %s %s', key, value::bigint - (before -> key)::bigint), E'\n' ORDER BY key COLLATE "C")
		FROM jsonb_each(after) WHERE value <> before -> key), '');
END
$$;
-- what an autovacuum makes a cache look up again is looked up once; a difference is there every time
CREATE FUNCTION alike(who text, hidden text, absent text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	one text; other text;
BEGIN
	FOR try IN 1 .. 5 LOOP
		one := work(who, hidden);
		other := work(who, absent);
		EXIT WHEN one = other;
	END LOOP;
	RETURN CASE WHEN one = other THEN 'alike' ELSE concat_ws(E'\n', 'hidden', one, 'absent', other) END;
END
$$;
SELECT is(alike('statements_rqm_clinician', format(s, '9990000018'), format(s, '9990000077')), 'alike', s || ': hidden and absent cost the same scans -- attack 14')
  FROM unnest(ARRAY['SELECT spine.open_record(%L, ''care'', ''x'')', 'SELECT * FROM spine.timeline(%L)', 'SELECT spine.record(%L)']) s;
SELECT is(alike('statements_rqm_clinician', format(s, spine.patient_id('9990000018')), format(s, spine.patient_id('9990000077'))), 'alike', 'so does a view, asked by a patient''s id -- attack 14')
  FROM unnest(ARRAY['SELECT * FROM maternity_2_0.booking WHERE patient_id = %L']) s;
SELECT matches(work('statements_rqm_clinician', s), '^ok .*maternity[.]booking [12]', 'scans that are made: ' || s)
  FROM unnest(ARRAY['SELECT spine.record(''9990000077'')', format('SELECT * FROM maternity_2_0.booking WHERE patient_id = %L', spine.patient_id('9990000077'))]) s;
SELECT isnt(alike('statements_rqm_clinician', 'SELECT spine.record(''9990000077'')', 'SELECT * FROM maternity_2_0.booking'), 'alike', 'and what differs is told apart');

-- attack 32: large objects have no policies

SELECT is(told(r, s), '42501', r || ': ' || s || ' -- attack 32')
  FROM unnest('{statements_rqm_clinician,statements_rqm_system,statements_stranger}'::text[]) r,
	   unnest(ARRAY['SELECT lo_create(0)', 'SELECT lo_creat(-1)', 'SELECT lo_from_bytea(0, ''x'')', 'SELECT lo_import(''/etc/hostname'')', 'SELECT lo_export(1, ''/tmp/x'')']) s;
SELECT lo_from_bytea(0, 'x') AS large \gset
SELECT is(told('statements_rqm_clinician', format(s, :'large')), '42501', s || ' -- attack 32')
  FROM unnest(ARRAY['SELECT lo_get(%s)', 'SELECT lo_put(%s, 0, ''y'')', 'SELECT lo_unlink(%s)', 'SELECT lo_open(%s, 131072)']) s;
SELECT lo_unlink(:large) \g /dev/null

-- attacks 33, 34: other servers, and this one by the back door

SELECT is(told('statements_rqm_clinician', s), '42501', s || ' -- attack 34')
  FROM unnest(ARRAY['CREATE FOREIGN DATA WRAPPER statements', 'CREATE EXTENSION IF NOT EXISTS postgres_fdw', 'CREATE EXTENSION file_fdw', 'CREATE EXTENSION dblink', 'CREATE EXTENSION plperl']) s
 WHERE s !~ 'EXTENSION' OR EXISTS (SELECT FROM pg_available_extensions WHERE s LIKE '%' || name);
CREATE FOREIGN DATA WRAPPER statements_fdw;
SELECT is(told('statements_rqm_clinician', s), '42501', s || ' -- attack 34')
  FROM unnest(ARRAY['CREATE SERVER s FOREIGN DATA WRAPPER statements_fdw', 'GRANT USAGE ON FOREIGN DATA WRAPPER statements_fdw TO statements_stranger']) s;
CREATE SERVER statements_server FOREIGN DATA WRAPPER statements_fdw;
SELECT is(told('statements_rqm_clinician', 'CREATE FOREIGN TABLE statements.far (a text) SERVER statements_server'), '42501', 'a foreign table on a server of the DBA''s -- attack 34');
DROP SERVER statements_server;
DROP FOREIGN DATA WRAPPER statements_fdw;

-- attack 35: code in an index, a default or a materialized view that somebody else runs

SELECT is(told('statements_ryj_clinician', $s$
	CREATE TABLE statements.ran (n bigint, who text, may boolean);
	GRANT INSERT, SELECT ON statements.ran TO PUBLIC;
	CREATE FUNCTION statements.look() RETURNS void LANGUAGE sql AS
		'INSERT INTO statements.ran SELECT (SELECT count(*) FROM maternity_2_0.booking), current_user, pg_has_role(current_user, ''spine_owner'', ''USAGE'')';
	CREATE FUNCTION statements.spy(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM statements.look(); RETURN $1; END';
	CREATE TABLE statements.trap (a text, b text GENERATED ALWAYS AS (a || 'x') STORED);
	INSERT INTO statements.trap SELECT 'a' FROM generate_series(1, 5);
	CREATE INDEX ON statements.trap (statements.spy(a));
	TRUNCATE statements.ran;
	CREATE MATERIALIZED VIEW statements.kept AS SELECT statements.spy('x') AS x WITH NO DATA $s$), 'ok', 'a member makes a table whose index has code of his');
ANALYZE statements.trap;
REINDEX TABLE statements.trap;
REFRESH MATERIALIZED VIEW statements.kept;
SELECT set_eq('SELECT * FROM statements.ran', $$ VALUES (0::bigint, 'statements_ryj_clinician', false) $$, 'run by a superuser''s ANALYZE, REINDEX and REFRESH it is the member, and sees nothing -- attack 35');
SELECT is(told('statements_rqm_clinician', s), '42501', s || ' by another member -- attack 35')
  FROM unnest(ARRAY['REFRESH MATERIALIZED VIEW statements.kept', 'REINDEX TABLE statements.trap', 'INSERT INTO statements.trap VALUES (''x'')']) s
 WHERE s !~ 'REINDEX';
SELECT is(told('statements_rqm_clinician', 'REINDEX TABLE statements.trap'), '42501', 'nor its index -- attack 35');

-- attack 50: messages in the WAL; attack 51: notifications

SELECT is(told(r, 'SELECT pg_logical_emit_message(' || a || ')'), '42501', r || ' forges no message -- attack 50')
  FROM bound, unnest(ARRAY['true, ''spine'', ''x''', 'false, ''spine'', ''x''::bytea']) a WHERE r ~ 'system|clinician|neighbour';
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'spine'::regnamespace AND p.prosrc ~* '(pg_notify|\ynotify\y)' $$, 'no function in SQL notifies -- attack 51');
SELECT is(told('statements_stranger', 'LISTEN spine_submission'), 'ok', 'anybody may listen');
UNLISTEN *;
LISTEN spine_submission;
\o /tmp/spine_statements_notified
SELECT as_role('statements_ryj_system', $$ SELECT outcome FROM spine.submit('{"dataset": "maternity", "version": "2.0", "system": "RYJ Maternity", "records": [
	{"group": "booking", "nhs_number": "9990000018", "local_patient_id": "secret", "data": {"antenatal_booking_date": "never"}}]}') $$);
SELECT 1;
\o
UNLISTEN *;
\set told `grep Asynchronous /tmp/spine_statements_notified`
\! rm -f /tmp/spine_statements_notified
SELECT matches(:'told'::text, '^Asynchronous notification "spine_submission" with payload "[0-9a-f-]{36}" received from server process with PID [0-9]+\.$', 'and hears an id, of nothing that is a person''s -- attack 51');

-- attack 54: scheduled jobs; attacks 56, 57: what lies on the server's disks

SELECT isnt(told('statements_operator', 'CREATE EXTENSION pg_cron'), 'ok', 'nobody but the DBA schedules -- attack 54');
SELECT is_empty($$ SELECT r FROM bound WHERE to_regnamespace('cron') IS NOT NULL AND has_schema_privilege(r, 'cron', 'USAGE') $$, 'where pg_cron is, its schema is no member''s -- attack 54');
SELECT is(told(r, f), '42501', r || ': ' || f || ' -- attack ' || a)
  FROM unnest('{statements_rqm_clinician,statements_operator}'::text[]) r,
	   (VALUES ('SELECT pg_backup_start(''x'')', 56), ('SELECT pg_switch_wal()', 56), ('SELECT pg_ls_waldir()', 56), ('SELECT pg_ls_archive_statusdir()', 56), ('SELECT pg_read_binary_file(''global/pg_control'')', 56),
			   ('SELECT pg_ls_tmpdir()', 57), ('SELECT pg_ls_dir(''base'')', 57), ('SET temp_tablespaces = pg_global', 57)) AS x (f, a)
 WHERE f !~ 'temp_tablespaces';

-- attacks 61, 62: what a session may hold

SELECT is(told('statements_rqm_system', 'SET temp_file_limit = -1'), '42501', 'the limit of temporary files is not a member''s to lift -- attack 61');
SELECT is(told('statements_rqm_system', 'ALTER ROLE statements_rqm_system ' || s), '42501', 'nor is ' || s || ' -- attack ' || a)
  FROM (VALUES ('SET temp_file_limit = -1', 61), ('CONNECTION LIMIT -1', 62)) AS x (s, a);

SELECT * FROM finish();
DROP FUNCTION statements.explained(text), statements.set_it();
SET client_min_messages = warning;
DROP SCHEMA statements CASCADE;
SELECT spine.disconnect_node('R1K') \g /dev/null
SELECT leave_two_trusts('statements') \g /dev/null
SELECT drop_roles('statements_operator', 'statements_neighbour', 'statements_stranger', 'statements_dba', 'statements_monitor', 'statements_backup') \g /dev/null
