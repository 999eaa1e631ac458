-- Opening a person's record, and reading it as a whole: timeline and record.
\ir setup.psql
\ir as_role.psql
-- planned below, after what takes pgTAP's own state with it
SELECT two_trusts('reading') \g /dev/null
SELECT make_roles('reading_operator', 'reading_stranger') \g /dev/null
SELECT spine.add_member('reading_operator', 'RYJ', 'operator') \g /dev/null
SELECT book('reading_ryj_system', '9990000018', '1'), book('reading_ryj_system', '9990000026', '2') \g /dev/null

CREATE FUNCTION chelsea(query text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT as_role('reading_rqm_clinician', query) $$;
CREATE FUNCTION open_it(number text, who text DEFAULT 'reading_rqm_clinician', whole_session boolean DEFAULT true) RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, format('SELECT spine.open_record(%L, ''care'', ''she came to us'', %L)', number, NOT whole_session))
$$;
CREATE FUNCTION rows_of(number text, who text DEFAULT 'reading_rqm_clinician') RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM as_role(who, format('SELECT record_id FROM spine.timeline(%L)', number))
$$;
-- what the caller is told, every field of it
CREATE FUNCTION told(query text, who text DEFAULT 'reading_rqm_clinician') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; detail text; hint text;
BEGIN
	PERFORM as_role(who, query);
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws('|', code, message, detail, hint);
END
$$;

-- DISCARD ALL, as a pooler sends it between two users

CREATE TABLE seen (when_it_was text, n bigint);
SELECT agree('reading', document('{"name": "first"}')), value_as('reading_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'x') $$) AS referral \g /dev/null
SELECT open_it('9990000018') \g /dev/null
INSERT INTO seen SELECT 'opened', rows_of('9990000018');
DISCARD ALL;
INSERT INTO seen SELECT 'discarded', rows_of('9990000018');
SELECT plan(73);
SELECT results_eq('SELECT * FROM seen', $$ VALUES ('opened', 2::bigint), ('discarded', 0) $$,
	'DISCARD ALL closes what is open: the next user of a pooled connection finds nothing (attack 38)');
SELECT as_role('reading_ryj_governor', $$ SELECT spine.end_agreement('first', 1, 'x') $$),
	   as_role('reading_ryj_clinician', $$ SELECT spine.end_relationship(relationship_id) FROM spine.relationships WHERE kind = 'referral' $$) \g /dev/null
ALTER TABLE spine.access_log DISABLE TRIGGER ALL;
DELETE FROM spine.access_log;
ALTER TABLE spine.access_log ENABLE TRIGGER ALL;

-- one's own need no opening

SELECT is(rows_of('9990000018', 'reading_ryj_clinician'), 2::bigint, 'a clinician reads what his organisation has');
SELECT is(rows_of('9990000018', 'reading_ryj_analyst'), 2::bigint, 'so does an analyst');
SELECT is(rows_of('9990000018', 'reading_ryj_system'), 2::bigint, 'and a system that may read');
SELECT is(rows_of('9990000018'), 0::bigint, 'of another organisation nobody, however he asks');
SELECT is(rows_of('9990000069', 'reading_ryj_clinician'), 0::bigint, 'of somebody unknown there is nothing');
SELECT throws_ok($$ SELECT as_role('reading_ryj_governor', 'SELECT * FROM spine.timeline(''9990000018'')') $$, '42501', NULL, 'a governor reads no records');
SELECT throws_ok($$ SELECT as_role('reading_operator', 'SELECT * FROM spine.record(''9990000018'')') $$, '42501', NULL, 'nor an operator');
SELECT throws_ok($$ SELECT as_role('reading_stranger', 'SELECT * FROM spine.timeline(''9990000018'')') $$, '42501', NULL, 'nor a stranger');

-- who may open, and what is said to who may not

SELECT throws_ok($$ SELECT open_it('9990000018', 'reading_rqm_analyst') $$, '42501', 'permission denied: records are opened by clinicians', 'an analyst opens nothing');
SELECT throws_ok($$ SELECT open_it('9990000018', 'reading_rqm_system') $$, '42501', NULL, 'nor a system');
SELECT throws_ok($$ SELECT open_it('9990000018', 'reading_rqm_governor') $$, '42501', NULL, 'nor a governor');
SELECT throws_ok($$ SELECT chelsea('SELECT spine.open_record(''9990000018'')') $$, '22004', 'a reason must be given', 'a reason must be given');
SELECT throws_ok($$ SELECT chelsea('SELECT spine.open_record(''9990000018'', ''care'', E'' \t'')') $$, '22004', NULL, 'and not be blank');
SELECT throws_ok($$ SELECT chelsea('SELECT spine.open_record(''9990000018'', ''reporting'', ''x'')') $$, '22023', NULL, 'one person''s record is not a report');
SELECT throws_ok($$ SELECT chelsea('SELECT spine.open_record(''9990000018'', NULL, ''x'')') $$, '22023', NULL, 'and has a purpose');
SELECT told($$ SELECT spine.open_record('9990000018', 'care', 'x') $$) AS not_allowed, told($$ SELECT spine.open_record('9990000069', 'care', 'x') $$) AS absent \gset
SELECT is(:'not_allowed'::text, :'absent', 'not allowed and absent are the same answer');
SELECT alike(:'absent'::text, 'SP006|no record of this person is open to you|%', 'which says neither');
SELECT unalike(told($$ SELECT spine.open_record('9990000019', 'care', 'x') $$), '%9990000019%', 'a number that is none is not repeated in the error');
SELECT is((SELECT count(*) FROM spine.access_log), 0::bigint, 'no access is written where none was had');

-- agreement, but no relationship; relationship, but no agreement; both

SELECT agree('reading', document('{}', '{"groups": ["booking"]}')) \g /dev/null
SELECT is(told($$ SELECT spine.open_record('9990000018', 'care', 'x') $$), :'absent', 'an agreement alone opens nothing');
SELECT value_as('reading_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'moving') $$) AS referral \gset
SELECT is(rows_of('9990000018'), 0::bigint, 'with a relationship, nothing is seen before it is opened');
SELECT open_it('9990000018') AS until \gset
SELECT ok(:'until'::timestamptz BETWEEN now() + interval '59 minutes' AND now() + interval '61 minutes', 'it can be opened, for an hour');
SELECT is(rows_of('9990000018'), 1::bigint, 'then it is seen, as far as the agreement goes');
SELECT is(told($$ SELECT spine.open_record('9990000026', 'care', 'x') $$), :'absent', 'and nobody else');
SELECT results_eq('SELECT role_name = ''reading_rqm_clinician'', organisation, duty, patient_id, purpose, reason, owners, basis FROM spine.access_log',
	$$ SELECT true, 'RQM', 'clinician', spine.patient_id('9990000018'), 'care', 'she came to us', ARRAY['RYJ'], ARRAY['nwl-maternity v1 clause 1'] $$,
	'the opening is written: who, for whom, why, whose rows, on which basis');
SELECT is(rows_of('9990000018', 'reading_rqm_analyst'), 0::bigint, 'it is open to nobody else in the session (attack 38)');
SELECT throws_ok('UPDATE spine.access_log SET reason = ''other''', '55000', NULL, 'what is written stays');
SELECT throws_ok('DELETE FROM spine.access_log', '55000', NULL, 'all of it');

-- who sees the openings

SELECT results_eq($$ SELECT as_role('reading_ryj_governor', 'SELECT role_name, organisation, reason, owners FROM spine.accesses') $$,
	$$ VALUES ('(reading_rqm_clinician,RQM,"she came to us",{RYJ})') $$, 'a governor of the owner sees who opened its rows');
SELECT results_eq($$ SELECT as_role('reading_rqm_governor', 'SELECT organisation, owners FROM spine.accesses') $$, $$ VALUES ('(RQM,{RYJ})') $$,
	'and one of the opener what its staff did');
SELECT throws_ok($$ SELECT chelsea('SELECT * FROM spine.accesses') $$, '42501', NULL, 'clinicians do not');
SELECT throws_ok($$ SELECT as_role('reading_operator', 'SELECT * FROM spine.accesses') $$, '42501', NULL, 'nor operators');

-- the timeline

SELECT book('reading_rqm_system', '9990000018', '9', '2026-01-08') \g /dev/null
SELECT results_eq($$ SELECT chelsea('SELECT event_at::date, owner, source_system, dataset, data_group, title, revision, data ->> ''pregnancy_id'' FROM spine.timeline(''9990000018'')') $$,
	$$ VALUES ('(2026-01-05,RYJ,"RYJ Maternity",maternity,booking,"Pregnancy and booking",1,P1)'),
			  ('(2026-01-08,RQM,"RQM Maternity",maternity,booking,"Pregnancy and booking",1,P9)'),
			  ('(2026-01-29,RQM,"RQM Maternity",maternity,dating_scan,"Dating scan",1,P9)') $$,
	'own and opened rows stand in the order of what happened');
SELECT unalike((SELECT string_agg(a, '') FROM chelsea('SELECT t FROM spine.timeline(''9990000018'') t') a), '%9990000018%', 'without the NHS number');

-- the record

SELECT value_as('reading_ryj_clinician', 'SELECT spine.record(''9990000018'')') IS NOT NULL AS own \gset
SELECT ok(:'own', 'a record is had without an opening by who has rows');
CREATE TABLE document_of AS SELECT chelsea('SELECT to_jsonb(spine.record(''9990000018''))::text')::text AS body;
UPDATE document_of SET body = replace(btrim(substr(body, 2, length(body) - 2), '"'), '""', '"');
CREATE VIEW whole AS SELECT body::jsonb AS doc FROM document_of;
SELECT is((SELECT array_agg(k ORDER BY k) FROM whole, jsonb_object_keys(doc) k), ARRAY['as_of', 'episodes', 'owners', 'patient', 'records'], 'the document has its parts');
SELECT is((SELECT doc -> 'owners' FROM whole), '["RQM", "RYJ"]', 'its owners');
SELECT is((SELECT doc -> 'patient' -> 'ids' FROM whole), to_jsonb(ARRAY[spine.patient_id('9990000018')]), 'its patient''s id');
SELECT is((SELECT count(*) FROM whole, jsonb_path_query(doc, '$.episodes[*].records.*[*]') r), 3::bigint, 'and three records in episodes');
SELECT is((SELECT jsonb_agg(DISTINCT k ORDER BY k) FROM whole, jsonb_path_query(doc, '$.episodes[*].records') r, jsonb_object_keys(r) k),
	'["maternity.booking", "maternity.dating_scan"]', 'by data group');
SELECT is((SELECT jsonb_path_query_array(doc, '$.episodes[*].kind') FROM whole) ->> 0, 'pregnancy', 'an episode says its kind');
SELECT unalike((SELECT doc::text FROM whole), '%9990000018%', 'the NHS number is not repeated');
SELECT is(value_as('reading_rqm_clinician', 'SELECT spine.record(''9990000069'')'), '', 'of somebody unknown there is none');
SELECT is(value_as('reading_rqm_clinician', 'SELECT spine.record(''9990000026'')'), '', 'as of somebody who is not open');

-- one pregnancy described twice is one, over several links

CREATE FUNCTION episodes_seen() RETURNS text LANGUAGE sql AS $$
	SELECT value_as('reading_ryj_clinician', 'SELECT jsonb_array_length(spine.record(''9990000026'') -> ''episodes'')')
$$;
INSERT INTO spine.episode (episode_id, patient_id, kind, owner)
	SELECT format('00000000-0000-7000-8000-00000000000%s', g)::uuid, spine.patient_id('9990000026'), 'pregnancy', 'RYJ' FROM generate_series(1, 3) g;
UPDATE maternity.booking SET episode_id = '00000000-0000-7000-8000-000000000001' WHERE patient_id = spine.patient_id('9990000026');
UPDATE maternity.dating_scan SET episode_id = '00000000-0000-7000-8000-000000000003' WHERE patient_id = spine.patient_id('9990000026');
SELECT is(episodes_seen(), '2', 'two episodes are two');
INSERT INTO spine.episode_link (from_episode, to_episode, kind, method, owner) VALUES
	('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000001', 'same', 'test', 'RYJ'),
	('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000003', 'same', 'test', 'RYJ');
SELECT is(episodes_seen(), '1', 'links make them one, over one of which nothing is seen');
UPDATE spine.episode_link SET kind = 'follows';
SELECT is(episodes_seen(), '2', 'what follows is not the same');

-- closing, time, transactions, pools

SELECT is(value_as('reading_rqm_clinician', 'SELECT spine.close_records()'), '1', 'a record is closed');
SELECT is(rows_of('9990000018'), 2::bigint, 'and only the own rows are left');
SELECT is(value_as('reading_rqm_clinician', 'SELECT spine.close_records()'), '0', 'there is nothing more to close');

SELECT open_it('9990000018') \g /dev/null
RESET ALL;
SELECT is(rows_of('9990000018'), 2::bigint, 'RESET ALL closes: the next user of a pooled connection finds nothing (attack 38)');
SELECT open_it('9990000018') \g /dev/null
SELECT is(rows_of('9990000018'), 3::bigint, 'it can be opened again');
DO $$ BEGIN PERFORM value_as('reading_rqm_clinician', 'SELECT spine.close_records()'); END $$;

BEGIN;
SELECT open_it('9990000018') \g /dev/null
SELECT is(rows_of('9990000018'), 3::bigint, 'within the transaction it is open');
ROLLBACK;
SELECT is(rows_of('9990000018'), 2::bigint, 'rolled back, it is not');
BEGIN;
SAVEPOINT a;
SELECT open_it('9990000018') \g /dev/null
RELEASE a;
SAVEPOINT b;
SELECT open_it('9990000018') \g /dev/null
ROLLBACK TO b;
SELECT is(rows_of('9990000018'), 3::bigint, 'what a savepoint that is kept has opened stays open');
ROLLBACK;
SELECT is(rows_of('9990000018'), 2::bigint, 'as long as the transaction');
BEGIN;
SAVEPOINT a;
SELECT open_it('9990000018') \g /dev/null
ROLLBACK TO a;
SELECT is(rows_of('9990000018'), 2::bigint, 'what one that is rolled back has opened is closed');
COMMIT;
SELECT is(rows_of('9990000018'), 2::bigint, 'and stays so');
BEGIN;
SELECT open_it('9990000018', whole_session => false) \g /dev/null
SELECT is(rows_of('9990000018'), 3::bigint, 'opened for the transaction');
COMMIT;
SELECT is(rows_of('9990000018'), 2::bigint, 'it closes with it');
BEGIN;
SELECT open_it('9990000018') \g /dev/null
SELECT open_it('9990000018', whole_session => false) \g /dev/null
COMMIT;
SELECT is(rows_of('9990000018'), 3::bigint, 'opened for both, it stays for the session');
BEGIN READ ONLY;
SELECT lives_ok($$ SELECT open_it('9990000018') $$, 'a transaction that is read-only opens too: the auditor writes the entry');
ROLLBACK;

-- how long it is open (that it closes then is tested in t/slow_reading_expiry.pl)
DO $$ BEGIN PERFORM value_as('reading_rqm_clinician', 'SELECT spine.close_records()'); END $$;
SELECT throws_ok($$ SELECT as_role('reading_rqm_clinician', 'SELECT set_config(''spine.open_minutes'', ''1440'', false)') $$, '42501', NULL,
	'how long is not the caller''s to say (attack 36)');
SELECT throws_ok($$ SELECT as_role('reading_rqm_clinician', 'SELECT set_config(''spine.openings_mark'', ''1'', false)') $$, '42501', NULL,
	'nor what an opening is known by');
SELECT throws_ok($$ SELECT chelsea('SELECT spine.opening_add(ARRAY[gen_random_uuid()], ''RQM'', ''care'', false)') $$, '42501', NULL,
	'and nobody opens past spine.open_record');
SET spine.open_minutes = 1;
SELECT ok(open_it('9990000018')::timestamptz < now() + interval '61 seconds', 'a shorter time is kept');
RESET spine.open_minutes;

-- linked ids are opened with the number

INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner)
	VALUES (gen_random_uuid(), spine.patient_id('9990000018'), spine.patient_id('9990000034'), 'test', 'RYJ');
SELECT book('reading_ryj_system', '9990000034', '3', '2026-03-01') \g /dev/null
DO $$ BEGIN PERFORM value_as('reading_rqm_clinician', 'SELECT spine.close_records()'); END $$;
SELECT open_it('9990000034') \g /dev/null
SELECT is(rows_of('9990000018'), 4::bigint, 'one number opens the whole person');
SELECT is(rows_of('9990000034'), 4::bigint, 'read by either');

-- what is read without a query is what the views show

SELECT is(value_as('reading_rqm_clinician', $$
	WITH t AS (SELECT record_id, owner, source_system, dataset, data_group, title, episode_id, event_at, received_at, revision, data FROM spine.timeline('9990000034')),
		 a AS (SELECT record_id, owner, source_system, dataset, data_group, title, episode_id, event_at, received_at, revision, data FROM spine.all_records
				WHERE patient_id::text IN (SELECT jsonb_array_elements_text(spine.record('9990000034') #> '{patient,ids}')))
	SELECT format('%s, %s', (SELECT count(*) FROM t), (SELECT count(*) FROM ((TABLE t EXCEPT TABLE a) UNION ALL (TABLE a EXCEPT TABLE t)) d)) $$), '4, 0',
	'the timeline is what the view of all records shows of her, in every column');
SELECT is(value_as('reading_rqm_clinician', $$
	WITH r AS (SELECT x -> 'data' AS data, (x ->> 'record_id')::uuid AS record_id
				 FROM jsonb_path_query(spine.record('9990000034'), 'strict $.**.records.*[*]') AS x)
	SELECT format('%s, %s', count(DISTINCT r.record_id), count(*) FILTER (WHERE r.data IS DISTINCT FROM a.data)) FROM r JOIN spine.all_records a USING (record_id) $$), '4, 0',
	'so are the items in her record');
SELECT throws_ok($$ SELECT chelsea('SELECT spine.open_record(NULL, ''care'', ''x'')') $$, '22004', 'an NHS number must be given', 'nobody''s record is opened');
SELECT is(value_as('reading_rqm_clinician', 'SELECT spine.record(NULL) IS NULL'), 't', 'nor read');

SELECT * FROM finish();
SELECT leave_two_trusts('reading'), drop_roles('reading_operator', 'reading_stranger') \g /dev/null
