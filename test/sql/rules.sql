-- What rules do to records: every kind and every severity, in a submission, against the store, at the views.
\ir setup.psql
SELECT plan(90);
CREATE ROLE rules_system;
CREATE ROLE rules_second;
\o /dev/null
SELECT spine.add_system('RYJ', 'Elm', 'maternity', 'rules_system'), spine.add_system('RYJ', 'Ash', 'maternity', 'rules_second');
CREATE FUNCTION item(name text, type text DEFAULT 'text', status text DEFAULT 'O') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('name', name, 'title', name, 'type', type, 'status', status, 'class', 'administrative')
		|| CASE WHEN type = 'text' THEN '{"max_length": 40}'::jsonb ELSE '{}' END
$$;
CREATE FUNCTION data_group(name text, subject text, items jsonb[], rules jsonb DEFAULT '[]', more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('name', name, 'title', name, 'description', 'For tests.', 'subject', subject, 'key', ARRAY[items[1] ->> 'name'],
							  'items', to_jsonb(items), 'rules', rules) || more
$$;
CREATE FUNCTION definition(name text, VARIADIC groups jsonb[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('name', name, 'version', '1.0', 'title', name, 'description', 'For tests.', 'source', 'This test.',
							  'mandation', 'This test.', 'groups', to_jsonb(groups))
$$;

SELECT spine.publish_dataset(definition('ruled',
	data_group('head', 'none', ARRAY[item('head_id', 'text', 'M'), item('provider', 'ods_code'), item('period_end', 'date')], '[
		{"id": "head.own", "kind": "own_code", "severity": "file", "items": ["provider"], "message": "provider must be your own code."},
		{"id": "head.once", "kind": "count", "max": 1, "severity": "file", "items": ["head_id"], "message": "head_id: send one header."}]'),
	data_group('woman', 'mother', ARRAY[item('woman_id', 'text', 'M'), item('born', 'date'), item('expects', 'boolean'), item('badge')], '[
		{"id": "woman.pregnancy", "kind": "exists", "group": "pregnancy", "match": {"woman_id": "woman"}, "when": "NOT expects", "severity": "warning",
		 "items": ["woman_id"], "message": "woman_id has no pregnancy."},
		{"id": "woman.expects", "kind": "exists", "group": "pregnancy", "match": {"woman_id": "woman"}, "when": "expects", "severity": "record",
		 "items": ["woman_id"], "message": "woman_id has no pregnancy, but expects says so."}]', '{"local_patient_id": "woman_id"}'),
	data_group('pregnancy', 'mother', ARRAY[item('pregnancy_id', 'text', 'M'), item('woman'), item('booked', 'date'), item('number', 'integer'), item('device'),
											item('device_is_lent', 'boolean'), item('weight', 'integer')], '[
		{"id": "pregnancy.woman", "kind": "exists", "group": "woman", "match": {"woman": "woman_id"}, "severity": "group", "items": ["woman"], "message": "woman was not sent."},
		{"id": "pregnancy.age", "kind": "related", "group": "woman", "match": {"woman": "woman_id"}, "expression": "booked >= other.born + 3650", "severity": "group",
		 "items": ["booked"], "message": "booked is before she was ten."},
		{"id": "pregnancy.apart", "kind": "related", "group": "pregnancy", "match": {"woman": "woman"}, "expression": "abs(booked - other.booked) >= 30", "severity": "record",
		 "items": ["booked"], "message": "booked is within 30 days of another pregnancy."},
		{"id": "pregnancy.number", "kind": "unique", "items": ["woman", "number"], "severity": "record", "message": "number was sent for another pregnancy of woman."},
		{"id": "pregnancy.device", "kind": "unique", "items": ["device"], "when": "NOT device_is_lent", "severity": "warning", "message": "device is in two pregnancies."},
		{"id": "pregnancy.period", "severity": "warning", "expression": "booked <= header.period_end", "items": ["booked"], "message": "booked is after the period."},
		{"id": "pregnancy.ratio", "severity": "warning", "expression": "100 / weight < 50", "items": ["weight"], "message": "weight is small."}]',
		'{"local_patient_id": "woman", "local_episode_id": "pregnancy_id", "episode": "pregnancy", "anchor": {"item": "booked"}}'),
	data_group('visit', 'mother', ARRAY[item('visit_id', 'text', 'M'), item('pregnancy', 'text', 'M'), item('seen', 'date')], '[
		{"id": "visit.order", "kind": "related", "group": "pregnancy", "match": {"pregnancy": "pregnancy_id"}, "expression": "seen >= other.booked", "severity": "record",
		 "items": ["seen"], "message": "seen is before she booked."}]', '{"parent": {"group": "pregnancy", "item": "pregnancy"}}'),
	data_group('test', 'mother', ARRAY[item('test_id', 'text', 'M'), item('visit', 'text', 'M')], '[]', '{"parent": {"group": "visit", "item": "visit"}}'),
	data_group('note', 'none', ARRAY[item('note_id', 'text', 'M'), item('about')], '[
		{"id": "note.about", "kind": "exists", "group": "visit", "match": {"about": "visit_id"}, "severity": "record", "items": ["about"], "message": "about names a visit that was not sent."}]'))
	|| '{"header": "head", "episodes": {"pregnancy": {"title": "Pregnancy", "window_days": 21}}}');
SELECT spine.publish_dataset(definition('filed',
	data_group('box', 'none', ARRAY[item('box_id', 'text', 'M'), item('label')], '[
		{"id": "box.label", "kind": "unique", "items": ["label"], "severity": "file", "message": "label is on two boxes."},
		{"id": "box.few", "kind": "count", "min": 1, "severity": "file", "items": ["box_id"], "message": "box_id: send a box."}]'),
	data_group('thing', 'none', ARRAY[item('thing_id', 'text', 'M'), item('box'), item('size', 'integer')], '[
		{"id": "thing.box", "kind": "exists", "group": "box", "match": {"box": "box_id"}, "severity": "record", "items": ["box"], "message": "box was not sent."},
		{"id": "thing.size", "severity": "record", "expression": "size > 0", "items": ["size"], "message": "size must be positive."},
		{"id": "thing.poison", "severity": "file", "expression": "size <> 666", "items": ["size"], "message": "size is not believable."},
		{"id": "thing.failures", "kind": "failures", "max_percent": 50, "severity": "file", "items": ["thing_id"], "message": "thing_id: too many."}]')));
\o

CREATE FUNCTION rec(data_group text, data jsonb, envelope jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('group', data_group, 'data', data) || envelope
$$;
-- what a system is told of a document: of each record the outcome and the rules that it breaks, with their severity
CREATE FUNCTION sent_by(who text, dataset text, VARIADIC records jsonb[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'rules_' || who);
	SELECT string_agg(concat_ws(' ', s.outcome, (SELECT string_agg((f ->> 'rule') || ':' || (f ->> 'severity'), ' ') FROM jsonb_array_elements(s.findings) f)), ', ' ORDER BY s.n)
	  INTO answer FROM spine.submit(jsonb_build_object('dataset', dataset, 'version', '1.0', 'records', to_jsonb(records))::text) s;
	RESET ROLE;
	RETURN answer;
END
$$;
CREATE FUNCTION sent(VARIADIC records jsonb[]) RETURNS text LANGUAGE sql AS $$ SELECT sent_by('system', 'ruled', VARIADIC records) $$;
CREATE FUNCTION filed(VARIADIC records jsonb[]) RETURNS text LANGUAGE sql AS $$ SELECT sent_by('system', 'filed', VARIADIC records) $$;
CREATE FUNCTION told(statement text, who text DEFAULT 'system') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'rules_' || who);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, nullif(detail, ''));
END
$$;
CREATE FUNCTION left_behind() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT count(*) FROM spine.alias), (SELECT count(*) FROM spine.episode), (SELECT count(*) FROM spine.episode_alias), (SELECT count(*) FROM spine.relationship),
		(SELECT count(*) FROM spine.identity_link), (SELECT count(*) FROM spine.delivery), (SELECT count(*) FROM spine.history), (SELECT count(*) FROM spine.finding),
		(SELECT count(*) FROM ruled.woman), (SELECT count(*) FROM ruled.pregnancy), (SELECT count(*) FROM ruled.visit), (SELECT count(*) FROM ruled.test))
$$;

-- order inside a submission does not matter

SELECT is(sent(rec('note', '{"note_id": "N1", "about": "V1"}'), rec('test', '{"test_id": "T1", "visit": "V1"}'), rec('visit', '{"visit_id": "V1", "pregnancy": "P1", "seen": "2026-02-01"}'),
	rec('pregnancy', '{"pregnancy_id": "P1", "woman": "W1", "booked": "2026-01-10", "number": 1}'), rec('woman', '{"woman_id": "W1", "born": "1990-01-01", "expects": true}')),
	'accepted, accepted, accepted, accepted, accepted', 'children before parents, and rules in both directions');
SELECT is((SELECT count(DISTINCT patient_id) FROM (SELECT patient_id FROM ruled.woman UNION ALL SELECT patient_id FROM ruled.pregnancy UNION ALL SELECT patient_id FROM ruled.visit UNION ALL SELECT patient_id FROM ruled.test) x),
	1::bigint, 'all of one woman');

-- exists, backward and forward

SELECT left_behind() AS before \gset
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P2", "woman": "W2", "booked": "2026-01-10"}')), 'rejected pregnancy.woman:group', 'what it asks for was not sent');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P2", "booked": "2026-01-10"}', '{"nhs_number": "9990000018", "local_episode_id": "E2"}')), 'rejected identity.conflict:record', 'ids that disagree');
SELECT is(sent(rec('woman', '{"woman_id": "W2", "expects": true}')), 'rejected woman.expects:record', 'what it asks for will not come');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P1", "woman": "W1", "booked": "1999-01-10"}', '{"nhs_number": "9990000026"}')), 'rejected pregnancy.age:group', 'a correction that breaks a rule');
SELECT is(left_behind(), :'before', 'a record that a rule rejects leaves nothing: no person, no episode, no relationship, no delivery, no history');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P3", "booked": "2026-01-10"}', '{"nhs_number": "9990000018"}')), 'accepted', 'a rule whose item is missing passes');
SELECT is(sent(rec('woman', '{"woman_id": "W3", "expects": null}')), 'accepted', 'a condition that is unknown is not fulfilled');

-- warnings end when what they await comes

SELECT is(sent(rec('woman', '{"woman_id": "W4", "expects": false, "born": "1990-01-01"}'), rec('woman', '{"woman_id": "W5", "expects": false, "born": "1990-01-01"}'), rec('woman', '{"woman_id": "W6", "expects": false, "born": "1990-01-01"}')),
	'accepted_with_warnings woman.pregnancy:warning, accepted_with_warnings woman.pregnancy:warning, accepted_with_warnings woman.pregnancy:warning', 'three wait');
CREATE FUNCTION waiting() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(w.woman_id, ' ' ORDER BY w.woman_id) FROM ruled.woman w JOIN spine.finding f USING (record_id) WHERE f.rule = 'woman.pregnancy'
$$;
SELECT is(waiting(), 'W4 W5 W6', 'and say so');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P4", "woman": "W4", "booked": "2026-01-10"}')), 'accepted', 'for one it comes');
SELECT is(waiting(), 'W5 W6', 'which ends its warning and no other');
SELECT is(sent_by('second', 'ruled', rec('woman', '{"woman_id": "W5", "born": "1990-01-01"}'), rec('pregnancy', '{"pregnancy_id": "P5", "woman": "W5", "booked": "2026-01-10"}')), 'accepted, accepted', 'another system sends one for its woman of the same id');
SELECT is(waiting(), 'W5 W6', 'which ends nothing here');
SELECT is(told($$ INSERT INTO ruled_1_0.pregnancy (pregnancy_id, woman, booked) VALUES ('P5', 'W5', '2026-01-10') $$), 'ok', 'for another it comes by the view');
SELECT is(waiting(), 'W6', 'and ends that');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P6", "woman": "W6", "booked": "1991-01-10"}')), 'rejected pregnancy.age:group', 'what is rejected');
SELECT is(waiting(), 'W6', 'has not come');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P3", "woman": null, "booked": "2026-01-10"}', '{"nhs_number": "9990000018"}')), 'unchanged', 'what is unchanged');
SELECT is(sent(rec('woman', '{"woman_id": "W6", "expects": false, "born": "1990-01-01"}')), 'unchanged', 'what waits is sent again unchanged');
SELECT is(waiting(), 'W6', 'and waits');
SELECT is(told($$ INSERT INTO ruled_1_0.woman (woman_id, expects, born) VALUES ('W7', false, '1990-01-01'), ('W8', true, '1990-01-01') $$), 'ok', 'at a view what can only come later warns, whatever the severity');
SELECT results_eq($$ SELECT w.woman_id COLLATE "C", f.rule COLLATE "C", f.severity COLLATE "C" FROM spine.finding f JOIN ruled.woman w USING (record_id) WHERE woman_id IN ('W7', 'W8') ORDER BY 1 $$,
	$$ VALUES ('W7' COLLATE "C", 'woman.pregnancy' COLLATE "C", 'warning' COLLATE "C"), ('W8', 'woman.expects', 'warning') $$, 'so it is kept');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P8", "woman": "W8", "booked": "2026-01-10"}')), 'accepted', 'until it comes');
SELECT is((SELECT count(*) FROM spine.finding WHERE rule = 'woman.expects'), 0::bigint, 'and is told no more');

-- what is named by values that have a separator in them is not mixed up

SELECT is(sent(rec('woman', '{"woman_id": "W9|x", "expects": false}'), rec('pregnancy', '{"pregnancy_id": "P9|x", "woman": "W9|x", "booked": "2026-03-01"}')), 'accepted, accepted', 'a bar in an id');

-- the strict door

SELECT is(told($$ INSERT INTO ruled_1_0.pregnancy (pregnancy_id, woman, booked) VALUES ('S1', 'W1', '2027-01-10'), ('S2', 'nobody', '2027-01-10') $$),
	'SP001 row 2 is refused: 1 finding pregnancy.woman: woman was not sent.', 'severity group refuses the statement');
SELECT is(told($$ INSERT INTO ruled_1_0.head (head_id, provider) VALUES ('1', 'RQM') $$), 'SP001 row 1 is refused: 1 finding head.own: provider must be your own code.', 'and so does severity file');
SELECT is(told($$ INSERT INTO ruled_1_0.head (head_id, provider) VALUES ('1', 'RYJ'), ('2', 'RYJ') $$), 'ok', 'how many there are is asked of documents alone');
SELECT is(told($$ INSERT INTO ruled_1_0.pregnancy (pregnancy_id, woman, booked) VALUES ('S1', 'W1', '2027-01-10'), ('S2', 'W1', '2027-01-20') $$),
	'SP001 row 2 is refused: 1 finding pregnancy.apart: booked is within 30 days of another pregnancy.', 'rows before it in the statement count');
SELECT is(told($$ INSERT INTO ruled_1_0.pregnancy (pregnancy_id, woman, booked, weight) VALUES ('S1', 'W1', '2027-01-10', 0) $$), '22012 division by zero', 'a rule that raises refuses it too');
SELECT is((SELECT count(*) FROM ruled.pregnancy WHERE pregnancy_id LIKE 'S%'), 0::bigint, 'nothing of a refused statement stays');
SELECT is(told($$ UPDATE ruled_1_0.pregnancy SET booked = '1990-01-01' WHERE pregnancy_id = 'P1' $$), 'SP001 row 1 is refused: 1 finding pregnancy.age: booked is before she was ten.', 'a correction is judged');
SELECT is(told($$ UPDATE ruled_1_0.pregnancy SET booked = '2026-01-11' WHERE pregnancy_id = 'P1' $$), 'ok', 'but not against itself');

-- related, in the batch and in the store

SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "R1", "woman": "W1", "booked": "2026-02-01"}')), 'rejected pregnancy.apart:record', 'one of the same group in the store');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "R1", "woman": "W1", "booked": "2028-01-01"}'), rec('pregnancy', '{"pregnancy_id": "R2", "woman": "W1", "booked": "2028-01-20"}'), rec('pregnancy', '{"pregnancy_id": "R3", "woman": "W1", "booked": "2028-06-20"}')),
	'accepted, rejected pregnancy.apart:record, accepted', 'and before it in the same batch: the second one breaks the rule, not the first');
SELECT is(sent(rec('visit', '{"visit_id": "V2", "pregnancy": "P1", "seen": "2026-01-01"}'), rec('visit', '{"visit_id": "V3", "pregnancy": "P1", "seen": "2026-01-11"}'), rec('visit', '{"visit_id": "V4", "pregnancy": "P1"}')),
	'rejected visit.order:record, accepted, accepted', 'another group; one whose date is not known passes');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P1", "woman": "W1", "booked": "2026-01-12", "number": 1}')), 'accepted', 'a correction is judged against others and not against itself');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "P1", "woman": "W1", "booked": "2026-01-14", "number": 1}'), rec('pregnancy', '{"pregnancy_id": "P1", "woman": "W1", "booked": "2026-01-13", "number": 1}')), 'accepted, accepted', 'nor is one sent twice');

-- unique

SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U1", "woman": "W1", "number": 1}')), 'rejected pregnancy.number:record', 'taken in the store');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U1", "woman": "W1", "number": 2}'), rec('pregnancy', '{"pregnancy_id": "U2", "woman": "W1", "number": 2}'), rec('pregnancy', '{"pregnancy_id": "U3", "woman": "W3", "number": 2}'), rec('pregnancy', '{"pregnancy_id": "U4", "woman": "W1", "number": 2}')),
	'accepted, rejected pregnancy.number:record, accepted, rejected pregnancy.number:record', 'taken before it in the submission: the first one stays');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U5", "woman": "W1"}'), rec('pregnancy', '{"pregnancy_id": "U6", "woman": "W1"}')), 'accepted, accepted', 'no value is like no other');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U1", "woman": "W1", "number": 2, "weight": 60}')), 'accepted', 'its own value is no other''s');
SELECT is(sent_by('second', 'ruled', rec('woman', '{"woman_id": "W1"}'), rec('pregnancy', '{"pregnancy_id": "U1", "woman": "W1", "number": 2}')), 'accepted, accepted', 'another system''s records are none of it');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U7", "woman": "W3", "device": "D1", "device_is_lent": false}'), rec('pregnancy', '{"pregnancy_id": "U8", "woman": "W3", "device": "D1", "device_is_lent": true}')),
	'accepted, accepted', 'with a condition: one that does not fulfil it');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U9", "woman": "W3", "device": "D1", "device_is_lent": false}'), rec('pregnancy', '{"pregnancy_id": "U10", "woman": "W3", "device": "D1", "device_is_lent": null}')),
	'accepted_with_warnings pregnancy.device:warning, accepted', 'and one that does');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U11", "woman": "W3", "device": "D2", "device_is_lent": false}'), rec('pregnancy', '{"pregnancy_id": "U12", "woman": "W3", "device": "D2", "device_is_lent": false}')),
	'accepted, accepted_with_warnings pregnancy.device:warning', 'in the store and in the submission alike');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U1", "woman": "W1", "number": 7, "weight": 60}')), 'accepted', 'a value that is given up');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U13", "woman": "W1", "number": 2}')), 'accepted', 'is free');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "U13", "woman": "W1", "number": 7}'), rec('pregnancy', '{"pregnancy_id": "U1", "woman": "W1", "number": 2, "weight": 60}')), 'rejected pregnancy.number:record, rejected pregnancy.number:record',
	'two cannot change places: each stands in the other''s way');
SELECT is((SELECT count(*) - count(DISTINCT (owner, source_system, woman, number)) FROM ruled.pregnancy WHERE woman IS NOT NULL AND number IS NOT NULL), 0::bigint, 'nothing is there twice');

-- a rule that raises

SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "Z1", "woman": "W3", "weight": 0}'), rec('pregnancy', '{"pregnancy_id": "Z2", "woman": "W3", "weight": 1}'), rec('pregnancy', '{"pregnancy_id": "Z3", "woman": "W3", "weight": 9}')),
	'rejected rule.failed:record, accepted_with_warnings pregnancy.ratio:warning, accepted', 'costs its record alone');
SELECT matches((SELECT findings #>> '{0,message}' FROM spine.rejection WHERE local_record_id = 'Z1'), 'pregnancy\.ratio .*22012', 'which is told the rule and the SQLSTATE');

-- group: what is below it goes with it

SELECT is(sent(rec('test', '{"test_id": "C1", "visit": "C1"}'), rec('note', '{"note_id": "C1", "about": "C1"}'), rec('visit', '{"visit_id": "C1", "pregnancy": "C1"}'), rec('pregnancy', '{"pregnancy_id": "C1", "woman": "nobody"}'),
	rec('visit', '{"visit_id": "C2", "pregnancy": "P1"}'), rec('test', '{"test_id": "C2", "visit": "C2"}'), rec('note', '{"note_id": "C2", "about": "C2"}')),
	'rejected parent.rejected:group, rejected parent.rejected:group, rejected parent.rejected:group, rejected pregnancy.woman:group, accepted, accepted, accepted',
	'its children, theirs, and those that ask for one of them; the rest stays');
SELECT is((SELECT count(*) FROM spine.rejection WHERE local_record_id = 'C1' AND findings @> '[{"rule": "parent.rejected"}]'), 3::bigint, 'each is told');
SELECT is((SELECT findings #>> '{0,message}' FROM spine.rejection WHERE local_record_id = 'C1' AND data_group = 'test'),
	'visit names a record of visit that was rejected; correct that one and send both again', 'by what it names');
SELECT is(sent(rec('visit', '{"visit_id": "C3", "pregnancy": "P1"}'), rec('pregnancy', '{"pregnancy_id": "P1", "woman": "W1", "booked": "1991-01-01"}')), 'rejected parent.rejected:group, rejected pregnancy.age:group', 'though an older revision of the parent is there');
SELECT is(sent(rec('test', '{"test_id": "C4", "visit": "C4"}'), rec('visit', '{"visit_id": "C4", "pregnancy": "P1", "seen": "2020-01-01"}')), 'rejected parent.unknown:record, rejected visit.order:record', 'one that is rejected with severity record takes nothing with it; its child lacks it');
SELECT is(sent(rec('test', '{"test_id": "C5", "visit": "V3"}'), rec('visit', '{"visit_id": "V3", "pregnancy": "P1", "seen": "2020-01-01"}')), 'accepted, rejected visit.order:record', 'unless an older revision is there');

-- header, own code, count: the whole submission

SELECT is(sent(rec('head', '{"head_id": "1", "provider": "RYJ", "period_end": "2026-03-31"}'), rec('pregnancy', '{"pregnancy_id": "H1", "woman": "W7", "booked": "2026-04-01"}'), rec('pregnancy', '{"pregnancy_id": "H2", "woman": "W8", "booked": "2026-03-31"}')),
	'accepted, accepted_with_warnings pregnancy.period:warning, accepted', 'items of the header');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "H3", "woman": "W3", "booked": "2026-04-01"}'), rec('head', '{"head_id": "1", "provider": "RYJ", "period_end": "2026-03-31"}')), 'accepted, unchanged', 'which counts for what comes after it');
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "H4", "woman": "W4", "booked": "2029-04-01"}')), 'accepted', 'and in its own submission alone');
SELECT left_behind() AS before \gset
SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "F1", "woman": "W4", "booked": "2027-04-01"}'), rec('head', '{"head_id": "1", "provider": "RQM"}'), rec('pregnancy', '{"pregnancy_id": "F2", "woman": "nobody"}'), rec('nothing', '{}')),
	'rejected file.rejected:file, rejected head.own:file, rejected file.rejected:file, rejected group.unknown:record', 'one record of severity file refuses all');
SELECT is(sent(rec('head', '{"head_id": "1", "provider": "RYJ"}'), rec('head', '{"head_id": "1", "provider": "RYJ"}'), rec('visit', '{"visit_id": "F3", "pregnancy": "P1"}')),
	'rejected file.rejected:file, rejected file.rejected:file, rejected file.rejected:file', 'two headers are one too many');
SELECT is(left_behind(), :'before', 'nothing of it is stored');
SELECT results_eq($$ SELECT refused COLLATE "C", records, accepted, rejected FROM spine.submission WHERE refused IS NOT NULL ORDER BY submission_id $$,
	$$ VALUES ('head.own' COLLATE "C", 4::bigint, 0::bigint, 4::bigint), ('head.once', 3, 0, 3) $$, 'the submission names the rule');
SELECT matches((SELECT findings #>> '{0,message}' FROM spine.rejection WHERE local_record_id = 'F1'), '^the whole submission is refused by rule head\.own: provider must be your own code\.', 'and so does each record');

-- failures, known only while storing: everything is undone

CREATE FUNCTION boxes() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT string_agg(box_id, ',' ORDER BY box_id) FROM filed.box), (SELECT string_agg(thing_id, ',' ORDER BY thing_id) FROM filed.thing))
$$;
SELECT is(filed(rec('box', '{"box_id": "B1", "label": "red"}'), rec('thing', '{"thing_id": "T1", "box": "B1"}'), rec('thing', '{"thing_id": "T2", "box": "none"}')), 'accepted, accepted, rejected thing.box:record', 'half of them are not too many');
SELECT is(filed(rec('box', '{"box_id": "B2"}'), rec('thing', '{"thing_id": "T3", "box": "B2"}'), rec('thing', '{"thing_id": "T4", "box": "none"}'), rec('thing', '{"thing_id": "T5", "size": 0}')),
	'rejected file.rejected:file, rejected file.rejected:file, rejected thing.box:record file.rejected:file, rejected thing.size:record',
	'two of three are: everything is undone, each is told, and keeps its own reasons');
SELECT is(boxes(), 'B1 T1', 'nothing of it is stored');
SELECT results_eq($$ SELECT refused COLLATE "C", records, accepted, rejected FROM spine.submission WHERE dataset = 'filed' ORDER BY submission_id DESC LIMIT 1 $$, $$ VALUES ('thing.failures' COLLATE "C", 4::bigint, 0::bigint, 4::bigint) $$, 'the counts are of what is true in the end');
SELECT is((SELECT string_agg(concat_ws(' ', n, local_record_id, jsonb_array_length(findings)), ', ' ORDER BY n) FROM spine.rejection WHERE submission_id = (SELECT submission_id FROM spine.submission WHERE refused = 'thing.failures')),
	'1 B2 1, 2 T3 1, 3 T4 2, 4 T5 1', 'each stands in the quarantine once');
SELECT is(filed(rec('box', '{"box_id": "B2"}'), rec('box', '{"box_id": "B3", "label": "red"}'), rec('thing', '{"thing_id": "T3", "box": "B2"}')), 'rejected file.rejected:file, rejected box.label:file file.rejected:file, rejected file.rejected:file', 'a rule of severity file that shows against the store alone');
SELECT is(filed(rec('box', '{"box_id": "B3", "label": "red"}')), 'rejected box.label:file', 'the same of one record');
SELECT is(filed(rec('thing', '{"thing_id": "T6", "box": "B1"}')), 'rejected file.rejected:file', 'too few records of a group');
SELECT is(filed(rec('box', '{"box_id": "B4"}'), rec('thing', '{"thing_id": "T6", "size": 666}'), rec('thing', '{"thing_id": "T7"}'), rec('thing', '{"thing_id": "T8"}')), 'rejected file.rejected:file, rejected thing.poison:file, rejected file.rejected:file, rejected file.rejected:file', 'an expression of severity file');
SELECT is(boxes(), 'B1 T1', 'nothing of any');
SELECT is((SELECT string_agg(refused, ' ' ORDER BY submission_id) FROM spine.submission WHERE dataset = 'filed' AND refused IS NOT NULL), 'thing.failures box.label box.label box.few thing.poison', 'each submission names its rule');
SELECT is(filed(rec('box', '{"box_id": "B1", "label": "red"}')), 'unchanged', 'what was sent before is judged as it is');

-- many batches in one submission that is undone at its end, and one that is not

CREATE FUNCTION many(n integer, faults integer) RETURNS jsonb[] LANGUAGE sql AS $$
	SELECT ARRAY[rec('box', '{"box_id": "B9"}')] || array_agg(rec('thing', jsonb_build_object('thing_id', 'M' || i, 'box', CASE WHEN i > n - faults THEN 'none' ELSE 'B9' END)) ORDER BY i) FROM generate_series(1, n) i
$$;
SELECT is((SELECT concat_ws(' ', md5(a) = md5(b), left(a, 27)) FROM (SELECT filed(VARIADIC many(2501, 1300)) a, 'rejected file.rejected:file' || repeat(', rejected file.rejected:file', 1201) || repeat(', rejected thing.box:record file.rejected:file', 1300) b) x),
	't rejected file.rejected:file', 'thousands that were stored are told that they are not');
SELECT is(boxes(), 'B1 T1', 'and they are not');
SELECT is((SELECT count(*) FROM spine.rejection j JOIN spine.submission s USING (submission_id) WHERE s.records = 2502), 2502::bigint, 'each is kept once');
SELECT is((SELECT md5(filed(VARIADIC many(2501, 1200)))), md5('accepted' || repeat(', accepted', 1301) || repeat(', rejected thing.box:record', 1200)), 'thousands that are stored');
SELECT is((SELECT count(*) FROM filed.thing), 1302::bigint, 'are');

-- duplicates: the last one of an id counts, and each is counted

SELECT is(sent(rec('visit', '{"visit_id": "D1", "pregnancy": "P1", "seen": "2026-02-01"}'), rec('visit', '{"visit_id": "D1", "pregnancy": "P1", "seen": "2026-02-01"}'), rec('visit', '{"visit_id": "D1", "pregnancy": "P1", "seen": "2020-02-01"}'),
	rec('visit', '{"visit_id": "D1", "pregnancy": "P1", "seen": "2026-02-03"}')), 'accepted, unchanged, rejected visit.order:record, accepted', 'the same id four times');
SELECT results_eq($$ SELECT seen, revision FROM ruled.visit WHERE visit_id = 'D1' $$, $$ VALUES ('2026-02-03'::date, 2::bigint) $$, 'the last one that is sound counts');
SELECT results_eq($$ SELECT records, accepted, unchanged, rejected FROM spine.submission ORDER BY submission_id DESC LIMIT 1 $$, 'VALUES (4::bigint, 2::bigint, 1::bigint, 1::bigint)', 'each is counted');

-- a record may be told of many rules at once, its own and those about others

SELECT is(sent(rec('pregnancy', '{"pregnancy_id": "A1", "woman": "W1", "booked": "2026-01-20", "number": 1, "weight": 1}')), 'rejected pregnancy.ratio:warning pregnancy.apart:record pregnancy.number:record', 'all of them');
SELECT ok(NOT EXISTS (SELECT FROM spine.submission WHERE records <> accepted + accepted_with_warnings + unchanged + rejected), 'records are what became of them');

SELECT * FROM finish();
DO $$
BEGIN
	DELETE FROM spine.system;
END
$$;
DROP OWNED BY rules_system, rules_second;
DROP ROLE rules_system, rules_second;
