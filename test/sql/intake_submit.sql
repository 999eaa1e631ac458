-- The tolerant door: spine.submit(document).
\ir setup.psql
SELECT plan(65);

CREATE ROLE intake_submit_supplier;
CREATE ROLE intake_submit_other;
CREATE ROLE intake_submit_readonly;
CREATE ROLE intake_submit_stranger;
GRANT spine_supplier TO intake_submit_stranger;
\o /dev/null
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'intake_submit_supplier');
SELECT spine.add_system('RYJ', 'Oak Maternity', 'maternity', 'intake_submit_other');
SELECT spine.add_system('RYJ', 'Ash Reports', 'maternity_readonly', 'intake_submit_readonly');
\o

-- what a role sees of a document, as rows that the tests can look at
CREATE TABLE verdict (label text, n integer, outcome text, record_id uuid, findings jsonb);
GRANT INSERT, SELECT ON verdict TO PUBLIC;
CREATE FUNCTION send(label text, document text, as_role name DEFAULT 'intake_submit_supplier') RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', as_role);
	INSERT INTO verdict SELECT label, s.* FROM spine.submit(document) s;
	RESET ROLE;
END
$$;
CREATE FUNCTION document(VARIADIC records text[]) RETURNS text LANGUAGE sql AS $$
	SELECT format('{"dataset": "maternity", "version": "2.0", "system": "Cedar Maternity", "records": [%s]}',
				  array_to_string(records, ','))
$$;

-- the example of the README

SELECT lives_ok($$ SELECT send('first', document(
	'{"group": "booking", "nhs_number": "999 000 0018", "local_patient_id": "M1", "local_episode_id": "P1",
	  "local_record_id": "B1", "data": {"antenatal_booking_date": "2026-01-05", "EDDAgreed": "2026-08-10"}}')) $$,
	'a booking is taken');
SELECT results_eq($$ SELECT n, outcome FROM verdict WHERE label = 'first' $$,
	$$ VALUES (1, 'accepted') $$, 'and accepted');
SELECT results_eq($$ SELECT concat_ws('|', owner, source_system, local_record_id) COLLATE "default", antenatal_booking_date, edd_agreed,
							mother_local_id, pregnancy_id, dataset_version, revision
					   FROM maternity.booking $$,
	$$ VALUES ('RYJ|Cedar Maternity|B1', '2026-01-05'::date, '2026-08-10'::date, 'M1', 'P1', '2.0', 1::bigint) $$,
	'it stands in its table: items by our name and the NHS''s, identifiers filled in from the envelope');
SELECT results_eq('SELECT patient_id FROM maternity.booking', $$ SELECT spine.patient_id('9990000018') $$,
	'under the keyed hash of the NHS number');
SELECT results_eq('SELECT event_at FROM maternity.booking', $$ VALUES ('2026-01-05 00:00 Europe/London'::timestamptz) $$,
	'at the UK local time of the item that dates it');
SELECT is((SELECT record_id FROM verdict WHERE label = 'first'), (SELECT record_id FROM maternity.booking),
	'the answer names the record');
SELECT is(substr((SELECT record_id::text FROM maternity.booking), 15, 1), '7', 'whose id is of version 7');

-- again, corrected, deleted items

SELECT lives_ok($$ SELECT send('again', document(
	'{"group": "booking", "nhs_number": "9990000018", "local_patient_id": "M1", "local_episode_id": "P1",
	  "local_record_id": "B1", "data": {"AntenatalAppDate": "2026-01-05", "edd_agreed": "2026-08-10"}}')) $$,
	'the same content again');
SELECT results_eq($$ SELECT outcome, record_id FROM verdict WHERE label = 'again' $$,
	$$ SELECT 'unchanged', record_id FROM maternity.booking $$, 'is unchanged');
SELECT is((SELECT revision FROM maternity.booking), 1::bigint, 'and does not count as a revision');
SELECT send('correction', document(
	'{"group": "booking", "nhs_number": "9990000018", "local_patient_id": "M1", "local_episode_id": "P1",
	  "local_record_id": "B1", "data": {"antenatal_booking_date": "2026-01-06", "edd_agreed": "2026-08-10"}}'));
SELECT results_eq('SELECT revision, antenatal_booking_date FROM maternity.booking',
	$$ VALUES (2::bigint, '2026-01-06'::date) $$, 'a correction is a new revision of the same record');
SELECT results_eq($$ SELECT revision, action, old_row ->> 'antenatal_booking_date', changed_by FROM spine.history $$,
	$$ VALUES (1::bigint, 'update', '2026-01-05', 'intake_submit_supplier'::name) $$, 'and the old row is kept, with who changed it');

-- all findings at once; the good ones stay

SELECT send('faults', document(
	'{"group": "booking", "nhs_number": "9990000018", "local_patient_id": "M1", "local_episode_id": "P1", "local_record_id": "B2",
	  "data": {"antenatal_booking_date": "2019-02-00", "previous_caesareans": "99999999999", "edd_agreed": "2026-02-30",
			   "booking_site": "X", "preferred_language": "english"}}',
	'{"group": "care_plan", "nhs_number": "9990000018", "local_episode_id": "P1", "local_record_id": "C1",
	  "data": {"care_plan_date": "2026-01-07", "care_plan_type": "05"}}',
	'{"group": "booking", "nhs_number": "9990000019", "local_record_id": "B3", "data": {"antenatal_booking_date": "2026-01-05"}}',
	'{"group": "nonsense", "data": {}}',
	'{"group": "booking", "local_record_id": "B4", "data": {"antenatal_booking_date": "2026-01-05", "pregnancy_id": "P9"}}',
	'17', '[]', '{"group": "booking", "data": 3}'));
SELECT results_eq($$ SELECT n, outcome FROM verdict WHERE label = 'faults' ORDER BY n $$,
	$$ VALUES (1, 'rejected'), (2, 'accepted'), (3, 'rejected'), (4, 'rejected'), (5, 'rejected'), (6, 'rejected'),
			  (7, 'rejected'), (8, 'rejected') $$,
	'each record has its own verdict');
SELECT set_eq($$ SELECT f ->> 'rule' AS rule, f ->> 'item' AS item FROM verdict, jsonb_array_elements(findings) f
				  WHERE label = 'faults' AND n = 1 AND f ->> 'severity' = 'record' $$,
	$$ VALUES ('item.malformed', 'antenatal_booking_date'), ('item.malformed', 'previous_caesareans'),
			  ('item.malformed', 'edd_agreed'), ('item.malformed', 'booking_site'), ('item.length', 'preferred_language') $$,
	'all findings of a record are told at once');
SELECT set_eq($$ SELECT f ->> 'rule' AS rule, f ->> 'item' AS item FROM verdict, jsonb_array_elements(findings) f
				  WHERE label = 'faults' AND n = 3 $$,
	$$ VALUES ('item.malformed', 'nhs_number'), ('item.missing', 'pregnancy_id') $$,
	'a bad check digit and missing mandatory items');
SELECT ok(NOT EXISTS (SELECT FROM verdict WHERE findings::text LIKE '%999000%'), 'no finding shows an NHS number');
SELECT results_eq($$ SELECT f ->> 'rule' FROM verdict, jsonb_array_elements(findings) f WHERE label = 'faults' AND n = 4 $$,
	$$ VALUES ('group.unknown') $$, 'an unknown group');
SELECT ok((SELECT findings @> '[{"rule": "identity.missing"}]' FROM verdict WHERE label = 'faults' AND n = 5),
	'a booking that does not say whose it is');
SELECT results_eq($$ SELECT n, findings #>> '{0,rule}' FROM verdict WHERE label = 'faults' AND n > 5 ORDER BY n $$,
	$$ VALUES (6, 'record.malformed'), (7, 'record.malformed'), (8, 'record.malformed') $$, 'what is no record');
SELECT results_eq('SELECT count(*) FROM maternity.care_plan', 'VALUES (1::bigint)', 'what is good in the same document is kept');
SELECT results_eq($$ SELECT count(*), count(*) FILTER (WHERE findings <> '[]') FROM spine.rejection $$,
	'VALUES (7::bigint, 7::bigint)', 'what was refused is kept with its reasons');
SELECT ok(EXISTS (SELECT FROM spine.rejection WHERE data_group = 'booking' AND record::json -> 'data' ->> 'antenatal_booking_date' = '2019-02-00'),
	'as it was sent');

-- warnings

SELECT send('warnings', document(
	'{"group": "care_plan", "local_episode_id": "P1", "local_record_id": "C2",
	  "data": {"care_plan_date": "2026-01-08", "care_plan_type": " 05 ", "personalised_care_plan_indicator": "Q", "colour": "blue", "care_team_id": ""}}'));
SELECT results_eq($$ SELECT outcome FROM verdict WHERE label = 'warnings' $$, $$ VALUES ('accepted_with_warnings') $$,
	'warnings do not keep a record out');
SELECT set_eq($$ SELECT f ->> 'rule' AS rule, f ->> 'severity' AS severity FROM verdict, jsonb_array_elements(findings) f WHERE label = 'warnings' $$,
	$$ VALUES ('item.unknown', 'warning'), ('item.code', 'warning') $$, 'an unknown item and a code outside its list are warnings');
SELECT results_eq($$ SELECT rule FROM spine.finding ORDER BY rule COLLATE "C" $$, $$ VALUES ('item.code'), ('item.unknown') $$,
	'which are kept beside the record');
SELECT results_eq($$ SELECT care_plan_type, care_team_id FROM maternity.care_plan WHERE local_record_id = 'C2' $$,
	$$ VALUES ('05', NULL) $$, 'blanks around a code do not count, an empty text is no value');
SELECT send('mended', document(
	'{"group": "care_plan", "local_episode_id": "P1", "local_record_id": "C2", "data": {"care_plan_date": "2026-01-08", "care_plan_type": "05"}}'));
SELECT is_empty('SELECT FROM spine.finding', 'the warnings of a corrected record go');

-- duplicates

SELECT send('twice', document(
	'{"group": "care_plan", "local_episode_id": "P1", "local_record_id": "C3", "data": {"care_plan_date": "2026-02-01", "care_plan_type": "05"}}',
	'{"group": "care_plan", "local_episode_id": "P1", "local_record_id": "C3", "data": {"care_plan_date": "2026-02-02", "care_plan_type": "05"}}',
	'{"group": "care_plan", "local_episode_id": "P1", "local_record_id": "C3", "data": {"care_plan_date": "2026-02-02", "care_plan_type": "05"}}'));
SELECT results_eq($$ SELECT n, outcome FROM verdict WHERE label = 'twice' ORDER BY n $$,
	$$ VALUES (1, 'accepted'), (2, 'accepted'), (3, 'unchanged') $$, 'a record sent again in one document corrects the earlier one');
SELECT results_eq($$ SELECT revision, care_plan_date FROM maternity.care_plan WHERE local_record_id = 'C3' $$,
	$$ VALUES (2::bigint, '2026-02-02'::date) $$, 'in the order of the document');
SELECT send('key twice', document(
	'{"group": "care_plan", "local_episode_id": "P1", "local_record_id": "C4", "data": {"care_plan_date": "2026-02-01", "CarePlanDate": "2026-02-02", "care_plan_type": "05"}}'));
SELECT ok((SELECT findings @> '[{"rule": "item.duplicate", "item": "care_plan_date"}]' FROM verdict WHERE label = 'key twice'),
	'an item given twice is no guess of ours');

-- identifiers that disagree

SELECT send('conflict', document(
	'{"group": "booking", "local_patient_id": "M1", "local_episode_id": "P1", "local_record_id": "B1",
	  "data": {"antenatal_booking_date": "2026-01-06", "mother_local_id": "M2"}}'));
SELECT ok((SELECT findings @> '[{"rule": "identity.conflict", "item": "mother_local_id"}]' FROM verdict WHERE label = 'conflict'),
	'envelope and item must name the same');

-- types that are not what the item is

SELECT send('types', document(
	'{"group": "booking", "local_patient_id": "M1", "local_episode_id": "P1", "local_record_id": "B1",
	  "data": {"antenatal_booking_date": "2026-01-06", "edd_agreed": "2026-08-10", "previous_caesareans": "1", "previous_live_births": 1, "complex_social_factors_indicator": 1}}'));
SELECT set_eq($$ SELECT f ->> 'rule' AS rule, f ->> 'item' AS item FROM verdict, jsonb_array_elements(findings) f
				  WHERE label = 'types' AND f ->> 'rule' = 'item.type' $$,
	$$ VALUES ('item.type', 'previous_caesareans'), ('item.type', 'complex_social_factors_indicator') $$,
	'a number in quotes and a text without are taken with a warning');
SELECT send('nested', document(
	'{"group": "booking", "local_patient_id": "M1", "local_episode_id": "P1", "local_record_id": "B1",
	  "data": {"antenatal_booking_date": {"year": 2026}, "edd_agreed": ["2026-08-10"], "previous_live_births": true}}'));
SELECT results_eq($$ SELECT count(*) FROM verdict, jsonb_array_elements(findings) f WHERE label = 'nested' AND f ->> 'rule' = 'item.malformed' $$,
	'VALUES (3::bigint)', 'objects, arrays and booleans are no values of such items');

-- documents that are refused whole

SELECT throws_ok($$ SELECT send('x', '{"dataset": "maternity", "version": "2.0", "records": [{"group": "booking", "nhs_number": "99900') $$,
	'SP002', 'submission is not valid JSON', 'broken JSON');
SELECT throws_ok($$ SELECT send('x', '[]') $$, 'SP002', NULL, 'an array');
SELECT throws_ok($$ SELECT send('x', '"maternity"') $$, 'SP002', NULL, 'a text');
SELECT throws_ok($$ SELECT send('x', '{"dataset": "maternity", "version": "2.0"}') $$, 'SP002', NULL, 'no records');
SELECT throws_ok($$ SELECT send('x', '{"version": "2.0", "records": []}') $$, 'SP002', NULL, 'no data set');
SELECT throws_ok($$ SELECT send('x', '{"dataset": "maternity", "version": "2.0", "records": {}}') $$, 'SP002', NULL, 'records as an object');
SELECT throws_ok($$ SELECT send('x', '{"dataset": "maternity", "version": "2.0", "records": 5}') $$, 'SP002', NULL, 'records as a number');
SELECT throws_ok($$ SELECT send('x', '{"dataset": ["maternity"], "version": "2.0", "records": []}') $$, 'SP002', NULL, 'a data set as an array');
SELECT throws_ok($$ SELECT send('x', '{"dataset": "maternity", "dataset": "x", "version": "2.0", "records": []}') $$, 'SP002', NULL, 'a key twice');
SELECT throws_ok($$ SELECT send('x', '{"dataset": "maternity", "version": "2.0", "colour": "blue", "records": []}') $$, 'SP002', NULL, 'a key that is unknown');
SELECT throws_ok($$ SELECT send('x', '{"dataset": "eternity", "version": "2.0", "records": []}') $$, 'SP003', NULL, 'an unknown data set');
SELECT throws_ok($$ SELECT send('x', '{"dataset": "maternity", "version": "9.9", "records": []}') $$, 'SP003', NULL, 'an unknown version');
SELECT throws_ok(format('SELECT send(%L, %L)', 'x', repeat('[', 100000)), NULL, NULL, 'depth without end');
SELECT throws_ok($$ SELECT send('x', convert_from('\x7b22ff227d', 'UTF8')) $$, '22021', NULL, 'invalid UTF-8');
SELECT lives_ok($$ SELECT send('empty', '{"dataset": "maternity", "version": "2.0", "records": []}') $$, 'no records at all is no fault');
DO $$
DECLARE
	said text;
BEGIN
	PERFORM send('x', '{"dataset": "maternity", "records": [{"nhs_number": "9990000018" oops');
EXCEPTION WHEN SQLSTATE 'SP002' THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	INSERT INTO verdict (label, outcome) VALUES ('said', said);
END
$$;
SELECT matches((SELECT outcome FROM verdict WHERE label = 'said'), '^The fault is on line 1, at byte [0-9]+\.$',
	'the error tells the place and nothing of the text');

-- who may

SELECT throws_ok($$ SELECT send('x', document(VARIADIC '{}'), 'intake_submit_other') $$, '42501', NULL, 'another system''s document');
SELECT throws_ok($$ SELECT send('x', document(VARIADIC '{}'), 'intake_submit_readonly') $$, '42501', NULL, 'a system that only reads');
SELECT throws_ok($$ SELECT send('x', document(VARIADIC '{}'), 'intake_submit_stranger') $$, '42501', NULL, 'a role that is no system');
SELECT throws_ok($$ SELECT * FROM spine.submit(document(VARIADIC '{}')) $$, '42501', NULL, 'not even a superuser, who is no system');
SELECT send('other', replace(document(
	'{"group": "care_plan", "nhs_number": "9990000018", "local_episode_id": "P1", "local_record_id": "C1", "data": {"care_plan_date": "2026-03-07", "care_plan_type": "05"}}'),
	'Cedar', 'Oak'), 'intake_submit_other');
SELECT results_eq($$ SELECT source_system COLLATE "default", care_plan_date FROM maternity.care_plan WHERE local_record_id = 'C1' ORDER BY 1 $$,
	$$ VALUES ('Cedar Maternity', '2026-01-07'::date), ('Oak Maternity', '2026-03-07'::date) $$,
	'two systems may use the same number for their own records');

-- a parent that was not sent, and one that was

SELECT send('orphan', document(
	'{"group": "care_activity", "local_record_id": "A1", "data": {"care_activity_id": "A1", "care_contact_id": "K1", "procedure_scheme": "06", "procedure_code": "424525001"}}'));
SELECT results_eq($$ SELECT outcome, findings #>> '{0,rule}' FROM verdict WHERE label = 'orphan' $$,
	$$ VALUES ('rejected', 'parent.unknown') $$, 'a child without its parent');
SELECT send('family', document(
	'{"group": "care_activity", "data": {"care_activity_id": "A1", "care_contact_id": "K1", "procedure_scheme": "06", "procedure_code": "424525001"}}',
	'{"group": "care_contact", "local_patient_id": "M1", "local_episode_id": "P1", "data": {"care_contact_id": "K1", "contact_date": "2026-02-03", "contact_time": "14:30:00"}}'));
SELECT results_eq($$ SELECT n, outcome FROM verdict WHERE label = 'family' ORDER BY n $$,
	$$ VALUES (1, 'accepted'), (2, 'accepted') $$, 'parents are stored first, whatever the order in the document');
SELECT results_eq($$ SELECT a.patient_id = c.patient_id AND a.episode_id = c.episode_id AND a.event_at = c.event_at, a.local_record_id COLLATE "default", c.event_at
					   FROM maternity.care_activity a, maternity.care_contact c $$,
	$$ VALUES (true, 'A1', '2026-02-03 14:30 Europe/London'::timestamptz) $$, 'the child has patient, episode and, with no date of its own, time from its parent');
SELECT results_eq('SELECT DISTINCT patient_id FROM maternity.care_contact', $$ SELECT spine.patient_id('9990000018') $$,
	'a local patient number leads to the person of the NHS number');

-- a rule that raises

SET client_min_messages = warning;
SELECT spine.publish_dataset('{"name": "intake_submit", "version": "1.0", "title": "T", "description": "T", "source": "T", "mandation": "T",
	"groups": [{"name": "dose", "title": "Dose", "description": "Dose", "subject": "patient", "key": ["dose_id"],
		"items": [{"name": "dose_id", "title": "Dose", "type": "text", "status": "M", "class": "administrative"},
				  {"name": "amount", "title": "Amount", "type": "integer", "status": "O", "class": "clinical"},
				  {"name": "weight", "title": "Weight", "type": "integer", "status": "O", "class": "clinical"}],
		"rules": [{"id": "dose.rate", "severity": "warning", "expression": "amount / weight < 10", "items": ["amount"], "message": "amount is high for the weight"}]}]}'::jsonb) \g /dev/null
SELECT send('rule', replace(replace(document(
	'{"group": "dose", "nhs_number": "9990000018", "data": {"dose_id": "1", "amount": 5, "weight": 1}}',
	'{"group": "dose", "nhs_number": "9990000018", "data": {"dose_id": "2", "amount": 5, "weight": 0}}',
	'{"group": "dose", "nhs_number": "9990000018", "data": {"dose_id": "3", "amount": 50, "weight": 1}}'), '"maternity"', '"intake_submit"'), '2.0', '1.0'));
SELECT set_eq($$ SELECT n, outcome, findings #>> '{0,rule}' FROM verdict WHERE label = 'rule' $$,
	$$ VALUES (1, 'accepted', NULL), (2, 'rejected', 'rule.failed'), (3, 'accepted_with_warnings', 'dose.rate') $$,
	'a rule that raises rejects its record and no other');
SELECT spine.publish_dataset('{"name": "submit_constant", "version": "1.0", "title": "T", "description": "T", "source": "T", "mandation": "T",
	"groups": [{"name": "dose", "title": "Dose", "description": "Dose", "subject": "patient", "key": ["dose_id"],
		"items": [{"name": "dose_id", "title": "Dose", "type": "text", "status": "M", "class": "administrative"}],
		"rules": [{"id": "dose.never", "severity": "warning", "expression": "dose_id = ''1'' OR 1 / 0 > 1", "items": ["dose_id"], "message": "M"}]}]}'::jsonb) \g /dev/null
SELECT send('constant', replace(replace(document(
	'{"group": "dose", "nhs_number": "9990000018", "data": {"dose_id": "1"}}',
	'{"group": "dose", "nhs_number": "9990000018", "data": {"dose_id": "2"}}'), '"maternity"', '"submit_constant"'), '2.0', '1.0'));
SELECT set_eq($$ SELECT n, outcome, findings #>> '{0,rule}' FROM verdict WHERE label = 'constant' $$,
	$$ VALUES (1, 'rejected', 'rule.failed'), (2, 'rejected', 'rule.failed') $$,
	'so does one that raises before it has seen a record');

-- nothing of it in summer time goes wrong

SELECT send('summer', document(
	'{"group": "care_contact", "local_patient_id": "M1", "local_episode_id": "P1", "data": {"care_contact_id": "K2", "contact_date": "2026-07-03", "contact_time": "14:30:00"}}'));
SELECT results_eq($$ SELECT event_at FROM maternity.care_contact WHERE care_contact_id = 'K2' $$,
	$$ VALUES ('2026-07-03 13:30+00'::timestamptz) $$, 'dates and times are local times of the United Kingdom');

-- keys made of items: too long for an index, or a time that each session shows in its own way

SELECT spine.publish_dataset('{"name": "submit_keys", "version": "1.0", "title": "T", "description": "D", "source": "S", "mandation": "M",
	"groups": [{"name": "reading", "title": "R", "description": "D", "subject": "mother", "key": ["device", "taken_at"],
		"items": [{"name": "device", "title": "D", "type": "text", "status": "M", "class": "administrative"},
				  {"name": "taken_at", "title": "T", "type": "timestamp", "status": "M", "class": "clinical"}]}]}') \g /dev/null
CREATE FUNCTION send_reading(label text, device text, taken_at text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM send(label, format('{"dataset": "submit_keys", "version": "1.0", "records": [{"group": "reading", "nhs_number": "9990000018",
		"data": {"device": "%s", "taken_at": "%s"}}]}', device, taken_at));
	RETURN (SELECT v.outcome FROM verdict v WHERE v.label = send_reading.label);
END
$$;
SELECT is(send_reading('long key', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i), '2026-01-01T10:00:00Z'), 'rejected',
	'a record whose key no index could hold is rejected, not raised on');
SELECT is((SELECT concat_ws(' ', f ->> 'rule', f ->> 'item') FROM verdict, jsonb_array_elements(findings) f WHERE label = 'long key'),
	'item.length local_record_id', 'and told why');
SET timezone = 'America/New_York';
SELECT is(send_reading('west', 'Elm 7', '2026-01-01T10:00:00.5Z'), 'accepted', 'a record with a time in its key');
SET timezone = 'Asia/Tokyo';
SELECT is(send_reading('east', 'Elm 7', '2026-01-01T10:00:00.5Z'), 'unchanged', 'is the same record in a session of another time zone');
RESET timezone;

SELECT * FROM finish();
DO $$
BEGIN
	DELETE FROM spine.system;
END
$$;
DROP OWNED BY intake_submit_supplier, intake_submit_other, intake_submit_readonly, intake_submit_stranger;
DROP ROLE intake_submit_supplier, intake_submit_other, intake_submit_readonly, intake_submit_stranger;
