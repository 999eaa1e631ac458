-- Intake where it is easily wrong: what a rejected record leaves behind, days and settings of the
-- session, records that are run again, keys that nearly agree.
\ir setup.psql
SELECT plan(39);
CREATE ROLE intake_review_system;
\o /dev/null
SELECT spine.add_system('RYJ', 'Elm', 'maternity', 'intake_review_system');
CREATE FUNCTION item(name text, type text DEFAULT 'text', status text DEFAULT 'O') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('name', name, 'title', name, 'type', type, 'status', status, 'class', 'administrative')
		|| CASE WHEN type = 'text' THEN '{"max_length": 40}'::jsonb ELSE '{}' END
$$;
CREATE FUNCTION data_group(name text, subject text, keys text[], items jsonb[], rules jsonb DEFAULT '[]', more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('name', name, 'title', name, 'description', 'For tests.', 'subject', subject, 'key', to_jsonb(keys),
							  'items', to_jsonb(items), 'rules', rules) || more
$$;
CREATE FUNCTION definition(name text, VARIADIC groups jsonb[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('name', name, 'version', '1.0', 'title', name, 'description', 'For tests.', 'source', 'This test.',
							  'mandation', 'This test.', 'groups', to_jsonb(groups))
$$;

SELECT spine.publish_dataset(definition('review',
	data_group('woman', 'mother', '{woman_id}', ARRAY[item('woman_id', 'text', 'M'), item('due', 'date')], '[]',
		'{"local_patient_id": "woman_id", "episode": "pregnancy", "anchor": {"item": "due"}}'),
	data_group('visit', 'mother', '{visit_id}', ARRAY[item('visit_id', 'text', 'M'), item('woman'), item('seen_on', 'date')], '[]',
		'{"parent": {"group": "woman", "item": "woman"}, "episode": "pregnancy", "event": {"date": "seen_on"}}'),
	data_group('reading', 'none', '{device,at_time}', ARRAY[item('device', 'text', 'M'), item('at_time', 'time', 'M')]))
	|| '{"episodes": {"pregnancy": {"title": "Pregnancy", "window_days": 21, "open_days": 300}}}');
SELECT spine.publish_dataset(definition('days',
	data_group('day', 'none', '{day_id}', ARRAY[item('day_id', 'text', 'M'), item('began', 'timestamp'), item('began_on', 'date'), item('other_day')], '[
		{"id": "day.same", "severity": "record", "expression": "began::date = began_on", "items": ["began_on"], "message": "began_on is another day."},
		{"id": "day.text", "severity": "record", "expression": "began_on::text BETWEEN ''2000'' AND ''2099''", "items": ["began_on"], "message": "began_on is in another century."},
		{"id": "day.other", "kind": "related", "group": "day", "match": {"other_day": "day_id"}, "severity": "record", "expression": "began::date = other.began_on",
		 "items": ["other_day"], "message": "other_day is another day."}]')));
SELECT spine.publish_dataset(definition('open',
	data_group('place', 'none', '{place_id}', ARRAY[item('place_id', 'text', 'M'), item('organisation', 'ods_code')], '[
		{"id": "place.open", "kind": "organisation", "severity": "record", "items": ["organisation"], "message": "organisation is not open."}]')));
SELECT spine.publish_dataset(definition('counted',
	data_group('box', 'none', '{box_id}', ARRAY[item('box_id', 'text', 'M'), item('size', 'integer')], '[
		{"id": "box.two", "kind": "count", "min": 2, "severity": "file", "items": ["box_id"], "message": "box_id: send two boxes."},
		{"id": "box.size", "severity": "record", "expression": "size > 0", "items": ["size"], "message": "size must be positive."},
		{"id": "box.failures", "kind": "failures", "max_percent": 50, "severity": "file", "items": ["box_id"], "message": "box_id: too many."}]')));
\o

CREATE FUNCTION rec(data_group text, data jsonb, envelope jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('group', data_group, 'data', data) || envelope
$$;
-- what the system is told of a document: of each record the outcome and the rules that it breaks
CREATE FUNCTION sent_to(dataset text, VARIADIC records jsonb[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	SET LOCAL ROLE intake_review_system;
	SELECT string_agg(concat_ws(' ', s.outcome, (SELECT string_agg(f ->> 'rule', ' ') FROM jsonb_array_elements(s.findings) f)), ', ' ORDER BY s.n)
	  INTO answer FROM spine.submit(jsonb_build_object('dataset', dataset, 'version', '1.0', 'records', to_jsonb(records))::text) s;
	RESET ROLE;
	RETURN answer;
END
$$;
CREATE FUNCTION sent(VARIADIC records jsonb[]) RETURNS text LANGUAGE sql AS $$ SELECT sent_to('review', VARIADIC records) $$;
-- how many persons, numbers of episodes and episodes there are
CREATE FUNCTION known() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT count(*) FROM spine.alias), (SELECT count(*) FROM spine.episode_alias), (SELECT count(*) FROM spine.episode))
$$;

-- what a rejected record leaves behind: nothing by which another record is told

SELECT is(sent(rec('visit', '{"visit_id": "V1", "woman": "W1"}', '{"nhs_number": "9990000018", "local_patient_id": "W1", "local_episode_id": "P1"}')),
	'rejected parent.unknown', 'a record whose parent was not sent is rejected');
SELECT is(known(), '0 0 0', 'and leaves no person, no episode, no number of either');
SELECT is(sent(rec('woman', '{"woman_id": "W1"}', '{"nhs_number": "9990000026", "local_episode_id": "P1"}'),
			   rec('visit', '{"visit_id": "V1", "woman": "W1"}')),
	'accepted, accepted', 'so that the same numbers with another NHS number are accepted');
SELECT is(known(), '1 1 1', 'and left');
SELECT is(sent(rec('visit', '{"visit_id": "V2"}', '{"nhs_number": "9990000034", "local_patient_id": "W2", "local_episode_id": "P2"}'),
			   rec('visit', '{"visit_id": "V3"}', '{"nhs_number": "9990000042", "local_patient_id": "W3", "local_episode_id": "P2"}')),
	'accepted, rejected identity.conflict', 'of two records that give a new number of an episode to two persons the later one is rejected');
SELECT is(known(), '2 2 2', 'and leaves nothing either');
SELECT is(sent(rec('visit', '{"visit_id": "V3"}', '{"nhs_number": "9990000050", "local_patient_id": "W3", "local_episode_id": "P3"}')),
	'accepted', 'its number is nobody''s yet');
SELECT is(sent(rec('visit', '{"visit_id": "V4"}', '{"nhs_number": "9990000069", "local_patient_id": "W2", "local_episode_id": "P4"}')),
	'rejected identity.conflict', 'that of the other has become hers');

-- one person, of whom the second record knows more

SELECT is(sent(rec('visit', '{"visit_id": "V5"}', '{"local_patient_id": "W5", "local_episode_id": "P5"}'),
			   rec('visit', '{"visit_id": "V6"}', '{"local_patient_id": "W5", "local_episode_id": "P5", "nhs_number": "9990000077"}')),
	'accepted, accepted', 'records of one person with and without her NHS number are of one episode');
SELECT is((SELECT count(DISTINCT v.episode_id) FROM review.visit v WHERE v.visit_id IN ('V5', 'V6')), 1::bigint, 'which they are');
SELECT is((SELECT count(*) FROM spine.identity_link), 1::bigint, 'and both ids are one person''s');

-- days are those of the United Kingdom, in summer too: 300 after 1 September 2025 is 28 June 2026

SELECT is(sent(rec('woman', '{"woman_id": "W7", "due": "2025-09-01"}'),
			   rec('visit', '{"visit_id": "S0", "seen_on": "2026-06-28"}', '{"local_patient_id": "W7"}'),
			   rec('visit', '{"visit_id": "S1", "seen_on": "2026-06-29"}', '{"local_patient_id": "W7"}')),
	'accepted, accepted, accepted', 'a pregnancy and two visits');
SELECT results_eq($$ SELECT v.visit_id, v.episode_id = w.episode_id FROM review.visit v JOIN review.woman w USING (patient_id) WHERE w.woman_id = 'W7' ORDER BY 1 $$,
	$$ VALUES ('S0', true), ('S1', false) $$, 'the visit on the last day for which the episode is open belongs to it, that on the next day not');

-- rules mean the same whatever the session's settings

CREATE FUNCTION at_midnight(style text, zone text, name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('DateStyle', style, true), set_config('TimeZone', zone, true);
	RETURN concat_ws(' | ',
		sent_to('days', rec('day', jsonb_build_object('day_id', name || 'A', 'began', '2026-06-01T00:30:00', 'began_on', '2026-06-01'))),
		sent_to('days', rec('day', jsonb_build_object('day_id', name || 'B', 'began', '2026-06-01T00:30:00', 'other_day', name || 'A'))),
		sent_to('days', rec('day', jsonb_build_object('day_id', name || 'C', 'began', '2026-06-01T00:30:00', 'began_on', '2026-05-31'))),
		sent_to('days', rec('day', jsonb_build_object('day_id', name || 'D', 'began', '2026-06-02T00:30:00', 'other_day', name || 'A'))));
END
$$;
SELECT is(at_midnight(style, zone, concat('D', n)), 'accepted | accepted | rejected day.same | rejected day.other', format('half past midnight, with %s and %s', style, zone))
	FROM (VALUES (1, 'ISO, MDY', 'UTC'), (2, 'SQL, MDY', 'Europe/London'), (3, 'German, DMY', 'Etc/GMT+12'), (4, 'Postgres, YMD', 'Pacific/Kiritimati')) s (n, style, zone);
SET ROLE intake_review_system;
SET TimeZone = 'UTC';
SELECT lives_ok($$ INSERT INTO days_1_0.day (day_id, began, began_on) VALUES ('V1', '2026-06-01 00:30+01', '2026-06-01') $$, 'the same at the view');
SELECT throws_ok($$ INSERT INTO days_1_0.day (day_id, began, began_on) VALUES ('V2', '2026-06-01 00:30+01', '2026-05-31') $$, 'SP001', NULL, 'where the day before is refused');
SELECT is(current_setting('TimeZone'), 'UTC', 'the settings of the session stay');
RESET TimeZone;
RESET ROLE;

-- so does the day on which an organisation is open: at any hour one of these zones has another day
INSERT INTO spine.organisation (code, name, kind, opened, closed)
	SELECT code, code, 'trust', opened, closed
	  FROM (SELECT (now() AT TIME ZONE 'Europe/London')::date AS today) t,
		   LATERAL (VALUES ('RZ1', today + 1, NULL), ('RZ2', NULL, today - 1), ('RZ3', today, today)) o (code, opened, closed);
CREATE FUNCTION open_in(zone text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('TimeZone', zone, true);
	RETURN sent_to('open', rec('place', '{"place_id": "1", "organisation": "RZ1"}'), rec('place', '{"place_id": "2", "organisation": "RZ2"}'),
						   rec('place', jsonb_build_object('place_id', zone, 'organisation', 'RZ3')));
END
$$;
SELECT is(open_in(zone), 'rejected place.open, rejected place.open, accepted', format('open from tomorrow, until yesterday, today, in %s', zone))
	FROM unnest('{Europe/London,Etc/GMT+12,Pacific/Kiritimati}'::text[]) zone;

-- what is run again is not the document that it came in

SELECT is(sent_to('counted', rec('box', '{"box_id": "1", "size": 1}'), rec('box', '{"box_id": "2", "size": 0}')), 'accepted, rejected box.size', 'of two boxes one is rejected');
SELECT is(sent_to('counted', rec('box', '{"box_id": "3", "size": 1}')), 'rejected file.rejected', 'one alone is too few');
SELECT is(sent_to('counted', rec('box', '{"box_id": "3", "size": 1}'), rec('box', '{"box_id": "4", "size": 0}'), rec('box', '{"box_id": "5", "size": 0}')),
	'rejected file.rejected, rejected box.size, rejected box.size', 'two of three are too many failures');
SELECT rejection_id AS box FROM spine.rejection WHERE dataset = 'counted' AND local_record_id = '2' \gset
SELECT rejection_id AS whole FROM spine.rejection WHERE dataset = 'counted' AND local_record_id = '3' ORDER BY rejection_id DESC LIMIT 1 \gset
SELECT rejection_id AS bad FROM spine.rejection WHERE dataset = 'counted' AND local_record_id = '4' \gset
SET ROLE intake_review_system;
SELECT results_eq(format('SELECT outcome FROM spine.resubmit(%L::uuid, %L)', :'box', '{"group": "box", "data": {"box_id": "2", "size": 2}}'),
	ARRAY['accepted'], 'run again, the one that was rejected is accepted alone');
SELECT results_eq(format('SELECT outcome FROM spine.resubmit(%L::uuid)', :'whole'), ARRAY['accepted'], 'so is one that was refused with the rest');
SELECT results_eq(format('SELECT outcome, findings -> 0 ->> ''rule'' FROM spine.resubmit(%L::uuid)', :'bad'), $$ VALUES ('rejected', 'box.size') $$, 'one that is still wrong is told its own fault');
RESET ROLE;

-- keys that nearly agree

SELECT is(sent(rec('reading', '{"device": "D", "at_time": "10:00:00.25"}'), rec('reading', '{"device": "D", "at_time": "10:00:00.5"}'), rec('reading', '{"device": "D", "at_time": "10:00:00"}')),
	'accepted, accepted, accepted', 'three readings within a second');
SELECT bag_eq('SELECT local_record_id FROM review.reading', ARRAY['D|10:00:00.250000', 'D|10:00:00.500000', 'D|10:00:00'], 'are three records');
SELECT is(sent(rec('reading', '{"device": "D", "at_time": "10:00"}')), 'unchanged', 'the time without seconds is the same time');

-- a rule that the caller may not run costs its records, and no memory for each try

\o /dev/null
SELECT spine.publish_dataset(definition('barred',
	data_group('thing', 'none', '{thing_id}', ARRAY[item('thing_id', 'text', 'M')], '[
		{"id": "thing.barred", "severity": "record", "expression": "ascii(thing_id) > 0", "items": ["thing_id"], "message": "thing_id."}]')));
\o
REVOKE EXECUTE ON FUNCTION pg_catalog.ascii(text) FROM PUBLIC;
CREATE FUNCTION barred(n integer) RETURNS text LANGUAGE sql AS $$
	SELECT sent_to('barred', VARIADIC array_agg(rec('thing', jsonb_build_object('thing_id', i::text)))) FROM generate_series(1, n) i
$$;
CREATE FUNCTION kept() RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts WHERE name IN ('spine data set', 'spine rule')
$$;
SELECT is(barred(1), 'rejected rule.failed', 'such a record is rejected');
SELECT kept() AS before \gset
SELECT is(left(barred(2000), 42), 'rejected rule.failed, rejected rule.failed', 'so are many');
SELECT is(kept(), :before::bigint, 'and nothing is left of the tries');
GRANT EXECUTE ON FUNCTION pg_catalog.ascii(text) TO PUBLIC;
SELECT is(barred(1), 'accepted', 'allowed, it runs');

-- an index that a DBA made anew is another one
CREATE FUNCTION woman(id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	SET LOCAL ROLE intake_review_system;
	SELECT s.outcome INTO answer FROM spine.submit(format('{"dataset": "review", "version": "1.0", "records": [{"group": "woman", "data": {"woman_id": "%s"}}]}', id)) s;
	RESET ROLE;
	RETURN answer;
END
$$;
SELECT is(woman('I1'), 'accepted', 'a session that uses an index');
DROP INDEX review.woman_local;
SELECT throws_like($$ SELECT woman('I1') $$, 'index "woman_local" of table "review.woman" is missing', 'says that it is gone');
CREATE UNIQUE INDEX woman_local ON review.woman (local_record_id, source_system, owner);
SELECT is(woman('I1'), 'unchanged', 'and takes the new one');

DROP OWNED BY intake_review_system;
DROP ROLE intake_review_system;
SELECT * FROM finish();
