-- spine.health(): each check goes from ok to a warning or worse and back; who may ask; the same for Prometheus.
\ir setup.psql
SELECT plan(83);

CREATE ROLE health_operator;
CREATE ROLE health_monitor;
CREATE ROLE health_clinician;
CREATE ROLE health_neighbour LOGIN;
GRANT pg_monitor TO health_monitor;
SELECT spine.add_member('health_operator', 'RYJ', 'operator'), spine.add_member('health_clinician', 'RYJ', 'clinician'), spine.connect_node('RQM', NULL, '{RQM}', 'health_neighbour') \g /dev/null
CREATE FUNCTION now_is(the_check text, the_subject text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(DISTINCT h.state, ',' ORDER BY h.state) FROM spine.health() h WHERE h.check_name = the_check AND (the_subject IS NULL OR h.subject = the_subject)
$$;

-- who may

CREATE FUNCTION told(the_role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', the_role);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
SELECT is(told(r, s), a, format('%s: %s as %s', a, s, r)) FROM (VALUES
	('health_operator', 'SELECT count(*) FROM spine.health()', 'ok'), ('health_operator', 'SELECT spine.health_metrics()', 'ok'),
	('health_monitor', 'SELECT count(*) FROM spine.health()', 'ok'), ('health_monitor', 'SELECT spine.health_metrics()', 'ok'),
	('health_monitor', 'SELECT spine.set_health_limit(''disk_used'', 1, 2)', '42501'), ('health_clinician', 'SELECT count(*) FROM spine.health()', '42501'),
	('health_clinician', 'SELECT spine.health_metrics()', '42501'), ('health_neighbour', 'SELECT count(*) FROM spine.health()', '42501'),
	('health_operator', 'SELECT * FROM spine.health_values()', '42501'), ('health_monitor', 'SELECT spine.setting_now(''ssl'')', '42501')) AS x (r, s, a);

-- form

SELECT is((SELECT count(*) FROM spine.health() WHERE check_name IS NULL OR subject IS NULL OR state IS NULL OR what IS NULL OR to_do IS NULL), 0::bigint, 'every row is whole');
SELECT is((SELECT count(*) FROM (SELECT check_name, subject FROM spine.health() GROUP BY 1, 2 HAVING count(*) > 1) x), 0::bigint, 'one row for each check and what it is about');
SELECT set_eq('SELECT check_name FROM spine.health_limits()', $$ SELECT DISTINCT check_name FROM spine.health_values() UNION SELECT unnest('{withdrawals_unproven,comparison,link_held,link_contact,link_lag,link_lag_rows,clock_difference,slot_wal,cron_failures}'::text[]) $$, 'every check has a limit and every limit a check');
SELECT is((SELECT count(*) FROM spine.health() WHERE state = 'ok' AND to_do <> '' OR state <> 'ok' AND to_do = ''), 0::bigint, 'what is not ok says what to do');

SELECT is((SELECT count(*) FROM spine.health() WHERE check_name ~ '^link_'), 0::bigint, 'a neighbour that is not called has no lag');

-- limits

SELECT is(now_is('disk_used'), now_is('disk_used', 'data'), 'both disks are seen');
SELECT spine.set_health_limit('disk_used', 0, 101) \g /dev/null
SELECT is(now_is('disk_used'), 'warning', 'the disk, with a limit of nothing');
SELECT spine.set_health_limit('disk_used', 0, 0) \g /dev/null
SELECT is(now_is('disk_used'), 'critical', 'and critical');
SELECT spine.set_health_limit('disk_used', 101, 101) \g /dev/null
SELECT is(now_is('disk_used'), 'ok', 'and back');
SELECT throws_ok('SELECT spine.set_health_limit(''disk_used'', 2, 1)', '22023', NULL, 'a warning above what is critical');
SELECT throws_ok('SELECT spine.set_health_limit(''nothing'', 1, 2)', '42704', NULL, 'there is no such check');
SELECT spine.set_health_limit('ledger_size', 0, NULL) \g /dev/null
SELECT is(now_is('ledger_size'), 'warning', 'the ledger');
SELECT spine.set_health_limit('ledger_size', 10, 25) \g /dev/null
SELECT is(now_is('ledger_size'), 'ok', 'is small');
SELECT spine.set_health_limit('transaction_age', 1, NULL) \g /dev/null
SELECT is(now_is('transaction_age', current_database()), 'warning', 'age of transaction ids');
SELECT spine.set_health_limit('transaction_age', 1000000000, NULL) \g /dev/null
SELECT is(now_is('transaction_age', current_database()), 'ok', 'is young');

-- what is set aside

SELECT is(now_is(c), 'ok', c || ' before') FROM unnest('{receive_faults,waiting_rows,incidents,rejections,reviews_overdue,reaudience,default_partitions,audit_chain,audit_witness,audit_queue}'::text[]) c;
INSERT INTO spine.receive_fault (relation, record_id, node, owner, revision, sqlstate, message, content) VALUES ('x.y', gen_random_uuid(), 'RQM', 'RQM', 1, '22000', 'x', '{}');
SELECT is(now_is('receive_faults', 'RQM'), 'warning', 'a fault');
DELETE FROM spine.receive_fault;
INSERT INTO spine.waiting_row (relation, record_id, node, owner, revision, content) VALUES ('later.group', gen_random_uuid(), 'RQM', 'RQM', 1, '{}');
SELECT is((SELECT state || ' ' || what FROM spine.health() WHERE check_name = 'waiting_rows'), 'warning 1 rows of later.group', 'a row that waits');
DELETE FROM spine.waiting_row;
SELECT spine.note_incident('forged_owner', 'RQM', '{}') \g /dev/null
SELECT is(now_is('incidents', 'forged_owner'), 'warning', 'an incident');
UPDATE spine.incident SET times = 500;
SELECT is(now_is('incidents', 'forged_owner'), 'critical', 'many');
UPDATE spine.incident SET last_at = now() - interval '25 hours';
SELECT is(now_is('incidents'), 'ok', 'of yesterday');
SELECT spine.set_health_limit('rejections', 1, NULL) \g /dev/null
INSERT INTO spine.rejection (rejection_id, submission_id, n, owner, source_system, dataset, version, data_group, local_record_id, record, findings, rejected_for)
	VALUES (spine.uuid_v7(), spine.uuid_v7(), 1, 'RYJ', 'Elm', 'maternity', '2.0', 'booking', 'x', '{}', '[]', 'x');
SELECT is(now_is('rejections'), 'warning', 'a record in quarantine');
UPDATE spine.rejection SET state = 'discarded', settled_at = now();
SELECT is(now_is('rejections'), 'ok', 'settled');
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, reason, since, until)
	VALUES (spine.uuid_v7(), gen_random_uuid(), 'RYJ', 'emergency', 'RYJ', 'x', now() - interval '15 days', now() - interval '14 days');
SELECT is(now_is('reviews_overdue'), 'warning', 'an emergency that nobody explained');
UPDATE spine.relationship SET since = now() - interval '1 day';
SELECT is(now_is('reviews_overdue'), 'ok', 'or not yet');
INSERT INTO spine.reaudience_task (owner, dataset, data_group, since) VALUES ('RYJ', 'maternity', 'booking', now() - interval '2 days');
SELECT is(now_is('reaudience'), 'critical', 'audiences that nobody computes');
DELETE FROM spine.reaudience_task;
INSERT INTO spine.delivery (destination, relation, record_id, owner, revision, action, at) VALUES ('RQM', 'x.y', gen_random_uuid(), 'RYJ', 1, 'put', '2020-01-01');
SELECT is(now_is('default_partitions', 'delivery_RQM_default'), 'warning', 'a row without a table of its month');
DELETE FROM spine."delivery_RQM_default";
SELECT is(now_is('default_partitions'), 'ok', 'gone');

-- what should be gone at a neighbour, and what should be equal

SELECT spine.connect_node('R1K', 'service=nowhere', '{R1K}') \g /dev/null
SELECT is(now_is('link_held', 'R1K'), 'ok', 'a link');
SELECT spine.pause_link('R1K') \g /dev/null
SELECT is(now_is('link_held', 'R1K'), 'warning', 'that is paused');
SELECT is(now_is('link_contact', 'R1K'), NULL, 'is not asked for an answer');
SELECT spine.resume_link('R1K') \g /dev/null
UPDATE spine.node SET behind = true WHERE name = 'R1K';
SELECT is(now_is('link_held', 'R1K'), 'critical', 'one that is behind');
UPDATE spine.node SET behind = false WHERE name = 'R1K';
SELECT is(now_is('link_held', 'R1K'), 'ok', 'or neither');
SELECT is(now_is('withdrawals_unproven', 'R1K'), 'ok', 'nothing was withdrawn');
INSERT INTO spine.delivery (destination, relation, record_id, owner, revision, action, at) VALUES ('R1K', 'x.y', gen_random_uuid(), 'RYJ', 1, 'withdraw', now() - interval '2 hours');
SELECT is(now_is('withdrawals_unproven', 'R1K'), 'warning', 'a withdrawal that is not proven');
UPDATE spine.delivery SET receipt_id = gen_random_uuid() WHERE destination = 'R1K';
SELECT is(now_is('withdrawals_unproven', 'R1K'), 'ok', 'and one that is');
SELECT is(now_is('comparison', 'R1K'), 'ok', 'a neighbour that was just connected');
UPDATE spine.node SET connected_at = now() - interval '3 days' WHERE name = 'R1K';
SELECT is(now_is('comparison', 'R1K'), 'warning', 'was not compared for days');
INSERT INTO spine.receipt (receipt_id, node, direction, kind, statement, signature, public_key)
	VALUES (gen_random_uuid(), 'R1K', 'sent', 'reconciliation', format('{"ended": "%s", "equal": true, "tables": {}}', now()), '', '');
SELECT is(now_is('comparison', 'R1K'), 'ok', 'and was');

-- the access log

UPDATE spine.chain_verified SET verified_at = now() - interval '3 days';
SELECT is(now_is('audit_verified'), 'warning', 'the log was not verified for days');
SELECT spine.verify_turn() \g /dev/null
SELECT is(now_is('audit_verified'), 'ok', 'it is');
UPDATE spine.chain_verified SET fault = 'x', fault_at = now();
SELECT is(now_is('audit_chain'), 'critical', 'a fault of the chain');
UPDATE spine.chain_verified SET fault = NULL;
INSERT INTO spine.witness (node, access_id, hash) VALUES ('RQM', 7, sha256('x'));
SELECT is(now_is('audit_witness'), 'critical', 'a neighbour witnesses what is not in the log');
SELECT is((SELECT format('%s %s', node, access_id) FROM spine.verify_witnesses()), 'RQM 7', 'and it is said what');
SET ROLE health_operator;
SELECT is(spine.settle_witnesses('Restored from the backup of Monday.'), 1::bigint, 'an operator settles it');
RESET ROLE;
SELECT is(now_is('audit_witness'), 'ok', 'with a reason');

-- settings

SELECT is((SELECT string_agg(subject, ',' ORDER BY subject) FROM spine.health() WHERE check_name = 'settings' AND subject IN ('temp_file_limit', 'idle_in_transaction_session_timeout') AND state = 'warning'), 'idle_in_transaction_session_timeout,temp_file_limit', 'limits that are not set');
SET temp_file_limit = '1GB';
SET idle_in_transaction_session_timeout = '1h';
SELECT is(now_is('settings', 'temp_file_limit') || now_is('settings', 'idle_in_transaction_session_timeout'), 'okok', 'are set');
SET log_statement = 'all';
SELECT is(now_is('settings', 'log_statement'), 'warning', 'a log of statements');
SET log_statement = 'none';
SELECT is(now_is('settings', 'log_statement'), 'ok', 'none');
SELECT is(now_is('settings', 'temporary'), 'warning', 'temporary tables of PUBLIC');
DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$;
SELECT is(now_is('settings', 'temporary'), 'ok', 'revoked');
SELECT is(now_is('settings', 'version'), CASE WHEN current_setting('server_version_num')::integer BETWEEN 150000 AND 150018 THEN 'warning' ELSE 'ok' END, 'the minor version');

-- pg_cron: tables like its

SELECT is(now_is('cron_failures'), NULL, 'without pg_cron nothing is said of it');
CREATE SCHEMA cron;
CREATE TABLE cron.job (jobid bigint);
CREATE TABLE cron.job_run_details (jobid bigint, runid bigint, status text, start_time timestamptz);
INSERT INTO cron.job VALUES (1), (2);
INSERT INTO cron.job_run_details VALUES (1, 1, 'failed', now()), (1, 2, 'succeeded', now()), (2, 3, 'succeeded', now()), (2, 4, 'failed', now()), (2, 5, 'running', now());
SELECT is((SELECT to_do FROM spine.health() WHERE check_name = 'cron_failures') LIKE 'GRANT %', true, 'jobs that one may not look at');
GRANT USAGE ON SCHEMA cron TO spine_owner;
GRANT SELECT ON cron.job, cron.job_run_details TO spine_owner;
SELECT is((SELECT string_agg(subject || ' ' || state, ', ' ORDER BY subject) FROM spine.health() WHERE check_name = 'cron_failures'), 'job 1 ok, job 2 warning', 'the last run counts');
DROP SCHEMA cron CASCADE;

-- Prometheus: every line is a comment with a type, or a sample of a name that has one

INSERT INTO spine.incident (kind, role_name, node, detail) VALUES (E'odd "kind" \\ of\nit', 'x', 'RQM', '{}');
CREATE TEMPORARY TABLE line AS SELECT l, n FROM regexp_split_to_table(spine.health_metrics(), '\n') WITH ORDINALITY AS x (l, n);
SELECT is((SELECT l FROM line ORDER BY n DESC LIMIT 1), '', 'it ends with the end of a line');
SELECT is_empty($$ SELECT l FROM line WHERE l <> ''
	AND l !~ '^# HELP [a-zA-Z_:][a-zA-Z0-9_:]* [^\n]+$' AND l !~ '^# TYPE [a-zA-Z_:][a-zA-Z0-9_:]* gauge$'
	AND l !~ '^[a-zA-Z_:][a-zA-Z0-9_:]*\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*",?)*\} [-+]?([0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|NaN|[+-]Inf)$' $$, 'every line is one of the format');
SELECT is_empty($$ SELECT n FROM line WHERE l ~ '^[a-z]' AND coalesce((SELECT split_part(t.l, ' ', 3) FROM line t WHERE t.n < line.n AND t.l ~ '^# TYPE' ORDER BY t.n DESC LIMIT 1), '') <> split_part(l, '{', 1) $$,
	'every sample stands below the type of its name');
SELECT is_empty($$ SELECT split_part(l, ' ', 3) FROM line WHERE l ~ '^# TYPE' GROUP BY 1 HAVING count(*) > 1 $$, 'each name has one type');
SELECT is_empty($$ SELECT left(l, strpos(l, '}')) FROM line WHERE l ~ '^[a-z]' GROUP BY 1 HAVING count(*) > 1 $$, 'and each sample is one');
SELECT is((SELECT count(*) FROM line WHERE l ~ '^spine_health\{'), (SELECT count(*) FROM spine.health()), 'every check is told');
SELECT is((SELECT count(*) FROM line WHERE l = 'spine_health{check="incidents",subject="odd \"kind\" \\ of\nit"} 1'), 1::bigint, 'labels are escaped');
SELECT is((SELECT count(*) FROM line WHERE l = 'spine_health{check="settings",subject="temp_file_limit"} 0'), 1::bigint, 'with its state');

SELECT * FROM finish();
DROP OWNED BY health_operator, health_monitor, health_clinician, health_neighbour;
DROP ROLE health_operator, health_monitor, health_clinician, health_neighbour;
