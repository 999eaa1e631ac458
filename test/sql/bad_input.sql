-- Whatever is sent, at each tolerant door (attack 48): a coded error or a finding, and nobody's data in what is said of it.
\ir setup.psql
SELECT plan(436);
CREATE ROLE bad_input_system;
\o /dev/null
SELECT spine.add_system('RYJ', 'Elm', 'maternity', 'bad_input_system');
SELECT spine.publish_dataset('{"name": "diary", "version": "1.0", "title": "Diary", "description": "For tests.", "source": "This test.", "mandation": "This test.",
	"code_lists": {"mood": {"title": "Mood", "severity": "record", "codes": {"1": "Good", "2": "Bad"}}},
	"groups": [{"name": "entry", "title": "Entry", "description": "An entry.", "subject": "mother", "key": ["entry_id"], "items": [
		{"name": "entry_id", "title": "Entry", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
		{"name": "amount", "title": "Amount", "type": "integer", "status": "O", "class": "clinical"},
		{"name": "ratio", "title": "Ratio", "type": "numeric", "status": "O", "class": "clinical"},
		{"name": "day", "title": "Day", "type": "date", "status": "O", "class": "clinical"},
		{"name": "hour", "title": "Hour", "type": "time", "status": "O", "class": "clinical"},
		{"name": "moment", "title": "Moment", "type": "timestamp", "status": "O", "class": "clinical"},
		{"name": "true_or_not", "title": "True", "type": "boolean", "status": "O", "class": "clinical"},
		{"name": "mood", "title": "Mood", "type": "text", "codes": "mood", "status": "O", "class": "clinical"},
		{"name": "doctor", "title": "Doctor", "type": "snomed_code", "status": "O", "class": "clinical"},
		{"name": "site", "title": "Site", "type": "ods_code", "status": "O", "class": "clinical"},
		{"name": "age", "title": "Age", "type": "gestation", "status": "O", "class": "clinical"},
		{"name": "remark", "title": "Remark", "type": "text", "status": "O", "class": "clinical"}]}]}');
\o

-- what was said at any door: a row for each error, finding and answer
CREATE TABLE said (door text, words text);
-- what became of a document: outcomes with their rules, or the SQLSTATE. The door: json, text, validate
CREATE FUNCTION tried(door text, document text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	words text[];
	message text;
	detail text;
	hint text;
	context text;
BEGIN
	SET LOCAL ROLE bad_input_system;
	EXECUTE format($q$
		SELECT string_agg(concat_ws(' ', outcome, (SELECT string_agg(concat_ws('@', f ->> 'rule', f ->> 'item'), ' ') FROM jsonb_array_elements(findings) f)), ', ' ORDER BY n), array_agg(findings::text)
		  FROM spine.%I($1::%s) $q$, CASE door WHEN 'validate' THEN 'validate' ELSE 'submit' END, CASE door WHEN 'json' THEN 'json' ELSE 'text' END)
		INTO answer, words USING document;
	RESET ROLE;
	INSERT INTO said SELECT door, w FROM unnest(words) w;
	RETURN coalesce(answer, 'nothing');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	-- the function's own statement has no data in it
	INSERT INTO said SELECT door, w FROM unnest(ARRAY[message, detail, hint, context]) w;
	RETURN SQLSTATE;
END
$$;
-- the one line of an inbox
CREATE FUNCTION tried_line(document text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	words text[];
	message text;
	detail text;
	hint text;
	context text;
BEGIN
	SET LOCAL ROLE bad_input_system;
	INSERT INTO spine.inbox (document) VALUES (document);
	RESET ROLE;
	SELECT string_agg(concat_ws(' ', l.outcome, (SELECT string_agg(concat_ws('@', f ->> 'rule', f ->> 'item'), ' ') FROM jsonb_array_elements(l.findings) f)), ', '), array_agg(l.findings::text) INTO answer, words
	  FROM spine.inbox_line l WHERE l.submission_id = (SELECT submission_id FROM spine.submission WHERE door = 'inbox' ORDER BY submission_id DESC LIMIT 1);
	INSERT INTO said SELECT 'inbox', w FROM unnest(words) w;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	INSERT INTO said SELECT 'inbox', w FROM unnest(ARRAY[message, detail, hint, context]) w;
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION entry(data text, key text DEFAULT 'SECRET') RETURNS text LANGUAGE sql AS $$
	SELECT format('{"group": "entry", "nhs_number": "9990000018", "data": {"entry_id": "%s"%s}}', key, data)
$$;
CREATE FUNCTION document(VARIADIC records text[]) RETURNS text LANGUAGE sql AS $$
	SELECT format('{"dataset": "diary", "version": "1.0", "records": [%s]}', array_to_string(records, ', '))
$$;
CREATE FUNCTION as_line(record text) RETURNS text LANGUAGE sql AS $$ SELECT '{"dataset": "diary", "version": "1.0", ' || substr(record, 2) $$;

-- one record, at every door, whose verdict is the same at each. The record stands between two sound ones.

CREATE TABLE bad (what text, record text, verdict text, json_verdict text);
INSERT INTO bad VALUES
	('NUL', entry(', "remark": "SECRET \u0000"'), 'rejected record.malformed', NULL),
	('NUL in a key', entry(', "SECRET\u0000": 1'), 'rejected record.malformed', NULL),
	('half a surrogate pair', entry(', "remark": "SECRET \ud83d"'), 'rejected record.malformed', NULL),
	('the other half', entry(', "remark": "SECRET \ude00"'), 'rejected record.malformed', NULL),
	('both, in the wrong order', entry(', "remark": "SECRET \ude00\ud83d"'), 'rejected record.malformed', NULL),
	('both', entry(', "remark": "\ud83d\ude00"', 'both'), 'accepted', NULL),
	('no such escape', entry(', "remark": "SECRET \x41"'), 'rejected record.malformed', '22P02'),
	('a control character', entry(E', "remark": "SECRET \x01"'), 'rejected record.malformed', '22P02'),
	('a line break in a text', entry(E', "remark": "SECRET \n"'), 'rejected record.malformed', '22P02'),
	('an item twice', entry(', "remark": "SECRET", "remark": "SECRET"'), 'rejected item.duplicate@remark', NULL),
	('an item twice, once escaped', entry(', "remark": "SECRET", "rem\u0061rk": "SECRET"'), 'rejected item.duplicate@remark', NULL),
	('an item twice, the first empty', entry(', "remark": "", "remark": "SECRET"', 'empty first'), 'accepted', NULL),
	('group twice', '{"group": "entry", "group": "entry", "nhs_number": "9990000018", "data": {"entry_id": "SECRET"}}', 'rejected record.malformed', NULL),
	('data twice', '{"group": "entry", "nhs_number": "9990000018", "data": {"entry_id": "SECRET"}, "data": {"entry_id": "SECRET"}}', 'rejected record.malformed', NULL),
	('an identifier twice', '{"group": "entry", "nhs_number": "9990000018", "nhs_number": "9990000018", "data": {"entry_id": "SECRET"}}', 'rejected record.malformed', NULL),
	('a key with an escape', '{"gr\u006fup": "entry", "nhs_number": "9990000018", "d\u0061ta": {"entry\u005fid": "escaped"}}', 'accepted', NULL),
	('1e999', entry(', "amount": 1e999, "ratio": 1e999'), 'rejected item.malformed@amount item.malformed@ratio', NULL),
	('-1e-999', entry(', "amount": -1e-999, "ratio": -1e-999'), 'rejected item.malformed@amount item.malformed@ratio', NULL),
	('a number of a thousand digits', entry(format(', "amount": %s, "ratio": %s', repeat('9', 1000), repeat('9', 1000))), 'rejected item.malformed@amount item.malformed@ratio', NULL),
	('one more than an integer', entry(', "amount": 2147483648'), 'rejected item.malformed@amount', NULL),
	('the largest integers', entry(', "amount": -2147483648, "ratio": 2147483647.5', 'largest'), 'accepted', NULL),
	('NaN and Infinity in quotes', entry(', "amount": "NaN", "ratio": "Infinity"'), 'rejected item.malformed@amount item.malformed@ratio', NULL),
	('NaN', entry(', "ratio": NaN'), 'rejected record.malformed', '22P02'),
	('Infinity', entry(', "ratio": -Infinity'), 'rejected record.malformed', '22P02'),
	('a leading zero', entry(', "amount": 007'), 'rejected record.malformed', '22P02'),
	('a leading zero in quotes', entry(', "amount": "007"', 'zeros'), 'accepted_with_warnings item.type@amount', NULL),
	('hexadecimal', entry(', "amount": 0x10'), 'rejected record.malformed', '22P02'),
	('a point alone', entry(', "ratio": "."'), 'rejected item.malformed@ratio', NULL),
	('a fraction for a whole number', entry(', "amount": 1.0'), 'rejected item.malformed@amount', NULL),
	('29 February 2019', entry(', "day": "2019-02-29"'), 'rejected item.malformed@day', NULL),
	('29 February 2020', entry(', "day": "2020-02-29"', 'leap'), 'accepted', NULL),
	('29 February 1900', entry(', "day": "1900-02-29"'), 'rejected item.malformed@day', NULL),
	('a day of a thirteenth month', entry(', "day": "2026-13-01"'), 'rejected item.malformed@day', NULL),
	('the year 0', entry(', "day": "0000-01-01"'), 'rejected item.malformed@day', NULL),
	('infinity as a day', entry(', "day": "infinity"'), 'rejected item.malformed@day', NULL),
	('today as a day', entry(', "day": "today"'), 'rejected item.malformed@day', NULL),
	('a day in another form', entry(', "day": "01/02/2026"'), 'rejected item.malformed@day', NULL),
	('a day with a time', entry(', "day": "2026-01-01T00:00:00"'), 'rejected item.malformed@day', NULL),
	('24:00:00', entry(', "hour": "24:00:00"'), 'rejected item.malformed@hour', NULL),
	('23:59:60', entry(', "hour": "23:59:60"'), 'rejected item.malformed@hour', NULL),
	('a time with an offset', entry(', "hour": "10:00:00+01"'), 'rejected item.malformed@hour', NULL),
	('a moment with an offset that is none', entry(', "moment": "2026-01-01T10:00:00+99"'), 'rejected item.malformed@moment', NULL),
	('a moment without an offset', entry(', "moment": "2026-01-01T10:00"', 'moment'), 'accepted', NULL),
	('a moment before any', entry(', "moment": "0001-01-01T00:00:00+15:00"'), 'rejected item.malformed@moment', NULL),
	('yes for a boolean', entry(', "true_or_not": "yes"'), 'rejected item.malformed@true_or_not', NULL),
	('1 for a boolean', entry(', "true_or_not": 1'), 'rejected item.malformed@true_or_not', NULL),
	('a boolean for a text', entry(', "remark": true, "mood": false'), 'rejected item.malformed@remark item.malformed@mood', NULL),
	('a code with blanks around it', entry(E', "mood": " \\t1  "', 'blanks'), 'accepted', NULL),
	('a code with a blank in it', entry(', "mood": "1 1"'), 'rejected item.code@mood', NULL),
	('a code and what no code begins with', entry(', "mood": "11"'), 'rejected item.code@mood', NULL),
	('a code as a number', entry(', "mood": 1', 'mood'), 'accepted_with_warnings item.type@mood', NULL),
	('a SNOMED code with a bad check digit', entry(', "doctor": "17629001"'), 'rejected item.malformed@doctor', NULL),
	('no ODS code', entry(', "site": "Elm Street"'), 'rejected item.malformed@site', NULL),
	('no gestation', entry(', "age": "39+7"'), 'rejected item.malformed@age', NULL),
	('an NHS number with a bad check digit', '{"group": "entry", "nhs_number": "9990000019", "data": {"entry_id": "SECRET"}}', 'rejected item.malformed@nhs_number', NULL),
	('an NHS number as a number', '{"group": "entry", "nhs_number": 9990000018, "data": {"entry_id": "number"}}', 'accepted', NULL),
	('an NHS number as an object', '{"group": "entry", "nhs_number": {"of": "SECRET"}, "data": {"entry_id": "SECRET"}}', 'rejected record.malformed', NULL),
	('an NHS number as true', '{"group": "entry", "nhs_number": true, "data": {"entry_id": "SECRET"}}', 'rejected record.malformed', NULL),
	('empty texts', entry(', "amount": "", "ratio": " ", "day": "", "hour": "", "moment": "", "true_or_not": "", "mood": "", "doctor": "", "site": "", "age": "", "remark": ""', 'empty'), 'accepted', NULL),
	('nulls', entry(', "amount": null, "remark": null, "colour": null', 'nulls'), 'accepted_with_warnings item.unknown@colour', NULL),
	('an empty key item', entry('', ''), 'rejected identity.missing@local_record_id item.missing@entry_id', NULL),
	('a key with nothing in it', entry(', "": "SECRET"', 'nothing'), 'accepted_with_warnings item.unknown', NULL),
	('an object and an array for values', entry(', "amount": {"SECRET": 1}, "remark": ["SECRET"]'), 'rejected item.malformed@amount item.malformed@remark', NULL),
	('an unknown item of the envelope', '{"group": "entry", "nhs_number": "9990000018", "colour": "SECRET", "data": {"entry_id": "colour"}}', 'accepted_with_warnings item.unknown@colour', NULL),
	('the envelope''s columns among the items', entry(', "owner": "RQM", "record_id": "SECRET"', 'envelope'), 'accepted_with_warnings item.unknown@owner item.unknown@record_id', NULL),
	('no data', '{"group": "entry", "nhs_number": "9990000018"}', 'rejected identity.missing@local_record_id item.missing@entry_id', NULL),
	('data that is an array', '{"group": "entry", "data": ["SECRET"]}', 'rejected record.malformed', NULL),
	('data that is a text', '{"group": "entry", "data": "SECRET"}', 'rejected record.malformed', NULL),
	('no group', '{"data": {"entry_id": "SECRET"}}', 'rejected group.unknown@group', NULL),
	('a group that is a number', '{"group": 7, "data": {"entry_id": "SECRET"}}', 'rejected group.unknown@group', NULL),
	('a group with blanks', '{"group": " entry", "data": {"entry_id": "SECRET"}}', 'rejected group.unknown@group', NULL),
	('an identifier that is too long', format('{"group": "entry", "nhs_number": "9990000018", "local_record_id": "%s", "data": {"entry_id": "SECRET"}}', repeat('SECRET', 17)), 'rejected item.length@local_record_id', NULL),
	('a text that is too long', entry('', repeat('SECRET', 4)), 'rejected item.length@entry_id', NULL),
	('a bracket that another closes', entry(', "remark": ["SECRET"}'), 'rejected record.malformed', '22P02'),
	('a comma too many', entry(', "remark": "SECRET",'), 'rejected record.malformed', '22P02'),
	('no colon', entry(', "remark" "SECRET"'), 'rejected record.malformed', '22P02'),
	('single quotes', entry(', ''remark'': ''SECRET'''), 'rejected record.malformed', '22P02'),
	('a comment', entry(', /* SECRET */ "remark": ""'), 'rejected record.malformed', '22P02'),
	('63 levels', entry(', "remark": ' || repeat('[', 60) || '"SECRET"' || repeat(']', 60)), 'rejected item.malformed@remark', NULL),
	('10,000 levels', entry(', "remark": ' || repeat('[', 10000) || '"SECRET"' || repeat(']', 10000)), 'rejected record.malformed', 'rejected record.malformed'),
	('10,000 levels of objects', entry(', "remark": ' || repeat('{"SECRET":', 10000) || '1' || repeat('}', 10000)), 'rejected record.malformed', 'rejected record.malformed'),
	('a million levels', entry(', "remark": ' || repeat('[', 1000000) || repeat(']', 1000000)), 'rejected record.malformed', '54001');
CREATE FUNCTION sound(n integer) RETURNS text LANGUAGE sql AS $$ SELECT entry(', "remark": "sound"', 'sound ' || n) $$;
SELECT tried('text', document(sound(1), sound(2))) \g /dev/null
SELECT is(tried(door, document(sound(1), record, sound(2))),
	CASE WHEN door <> 'json' OR json_verdict IS NULL OR json_verdict LIKE 'rejected%' THEN 'unchanged, ' || CASE WHEN door = 'text' THEN verdict ELSE replace(replace(verdict, 'accepted_with_warnings', 'unchanged'), 'accepted', 'unchanged') END || ', unchanged' ELSE json_verdict END,
	format('%s: %s', door, what)) FROM bad, unnest('{text,validate,json}'::text[]) WITH ORDINALITY AS d(door, o) ORDER BY o, what COLLATE "C";
SELECT is(tried_line(as_line(record)), replace(replace(verdict, 'accepted_with_warnings', 'unchanged'), 'accepted', 'unchanged'), format('inbox: %s', what)) FROM bad ORDER BY what COLLATE "C";

-- what is around the records

CREATE TABLE around (what text, document text, state text, json_state text);
INSERT INTO around VALUES
	('nothing', '', 'SP002', '22P02'),
	('a text', '"SECRET"', 'SP002', 'SP002'),
	('an array', '["SECRET"]', 'SP002', 'SP002'),
	('half', '{"dataset": "diary", "version": "1.0", "records": [' || sound(1), 'SP002', '22P02'),
	('a key without a value', '{"dataset": "diary", "version": "1.0", "SECRET"}', 'SP002', '22P02'),
	('something after it', document(sound(1)) || ' SECRET', 'SP002', '22P02'),
	('two documents', document(sound(1)) || document(sound(2)), 'SP002', '22P02'),
	('an unknown key', '{"dataset": "diary", "version": "1.0", "SECRET": "SECRET", "records": []}', 'SP002', 'SP002'),
	('records twice', '{"dataset": "diary", "version": "1.0", "records": [], "records": []}', 'SP002', 'SP002'),
	('records escaped', '{"dataset": "diary", "version": "1.0", "rec\u006frds": [{}]}', 'SP002', 'SP002'),
	('records escaped, with an empty array in it', '{"dataset": "diary", "version": "1.0", "rec\u006frds": [[]]}', 'SP002', 'SP002'),
	('records once plain and once escaped', '{"dataset": "diary", "version": "1.0", "records": [], "rec\u006frds": [{}]}', 'SP002', 'SP002'),
	('records as a text', '{"dataset": "diary", "version": "1.0", "records": "SECRET"}', 'SP002', 'SP002'),
	('records as null', '{"dataset": "diary", "version": "1.0", "records": null}', 'SP002', 'SP002'),
	('records in an object', '{"dataset": "diary", "version": "1.0", "records": {"records": [{}]}}', 'SP002', 'SP002'),
	('no version', '{"dataset": "diary", "records": []}', 'SP002', 'SP002'),
	('a version that is a number', '{"dataset": "diary", "version": 1.0, "records": []}', 'SP002', 'SP002'),
	('data set twice', '{"dataset": "diary", "dataset": "diary", "version": "1.0", "records": []}', 'SP002', 'SP002'),
	('an unknown data set', '{"dataset": "dairy", "version": "1.0", "records": []}', 'SP003', 'SP003'),
	('an NHS number for a data set', '{"dataset": "9990000018", "version": "1.0", "records": []}', 'SP003', 'SP003'),
	('an unknown version', '{"dataset": "diary", "version": "2.0", "records": []}', 'SP003', 'SP003'),
	('NUL', '{"dataset": "diary\u0000", "version": "1.0", "records": []}', 'SP002', 'SP002'),
	('half a surrogate pair', '{"dataset": "diary", "version": "\ud800", "records": []}', 'SP002', 'SP002'),
	('another system', '{"dataset": "diary", "version": "1.0", "system": "SECRET", "records": []}', '42501', '42501'),
	('100 levels', '{"dataset": "diary", "version": "1.0", "x": ' || repeat('[', 100) || repeat(']', 100) || ', "records": []}', 'SP002', 'SP002'),
	('10,000 levels', '{"dataset": "diary", "version": "1.0", "x": ' || repeat('{"SECRET":', 10000) || '1' || repeat('}', 10000) || '}', 'SP002', 'SP002'),
	('a million levels', repeat('[', 1000000), 'SP002', '54001'),
	('brackets that close nothing', repeat(']', 1000), 'SP002', '22P02'),
	('no records', document(VARIADIC '{}'), 'nothing', 'nothing'),
	('blanks everywhere', E'\n\t {\r\n"dataset" : "diary" ,"version":"1.0","records"\n:[\n]\t}  \n', 'nothing', 'nothing');
SELECT is(tried(door, document), CASE WHEN door = 'json' THEN json_state ELSE state END, format('%s: %s', door, what))
  FROM around, unnest('{text,validate,json}'::text[]) WITH ORDINALITY AS d(door, o) ORDER BY o, what COLLATE "C";

-- no door

SELECT is(tried('text', NULL), 'nothing', 'NULL is nothing');
SELECT throws_ok($$ SELECT spine.submit(convert_from('\x7b22534543524554ff22', 'UTF8')) $$, '22021', NULL, 'bytes that are no UTF-8 do not become a text');
SELECT throws_ok($$ SELECT spine.submit(E'{"SECRET": "\x00"}') $$, NULL, NULL, 'nor does a NUL');

-- very much of it

SELECT is(tried('text', '{"dataset": "diary", "version": "1.0", ' || repeat(' ', 10000000) || '"records": [' || sound(1) || ']}'), 'unchanged', 'ten million blanks');
SELECT is(tried('text', document(sound(1), entry(', "remark": "' || repeat('SECRET ', 1430000) || '" x'), sound(2))), 'unchanged, rejected record.malformed, unchanged', 'ten megabytes in a record that is broken');
SELECT cmp_ok((SELECT max(length(record)) FROM spine.rejection), '>', 10000000, 'which is kept');
SELECT matches(tried('text', document(sound(1), entry((SELECT string_agg(format(', "SECRET%s": 1', i), '') FROM generate_series(1, 300000) i), 'many'), sound(2))),
	'^unchanged, accepted_with_warnings item.unknown@SECRET1 item.unknown@SECRET2 .*item.unknown@SECRET1000 finding.limit, unchanged$', 'three hundred thousand unknown items');
SELECT is((SELECT count(*) FROM spine.finding f JOIN diary.entry e USING (record_id) WHERE e.entry_id = 'many'), 1001::bigint, 'of which a thousand are told, and how many there are');
SELECT is((SELECT message FROM spine.finding f JOIN diary.entry e USING (record_id) WHERE e.entry_id = 'many' AND f.rule = 'finding.limit'), 'the record has 299000 findings more; correct these first', 'exactly');
SELECT is(right(tried('text', document(entry((SELECT string_agg(format(', "SECRET%s": 1', i), '') FROM generate_series(1, 2000) i) || ', "amount": "SECRET"'))), 60), ' item.unknown@SECRET1000 item.malformed@amount finding.limit',
	'what rejects a record is told after a thousand warnings too');
SELECT is((SELECT count(*) FROM spine.rejection), (SELECT sum(rejected) FROM spine.submission)::bigint, 'every rejected record is in the quarantine');
SELECT is(md5(tried('text', document(VARIADIC (SELECT array_agg('7'::text) FROM generate_series(1, 5000))))), md5(substr(repeat(', rejected record.malformed', 5000), 3)), 'five thousand records that are none');
SELECT is(tried('validate', document(VARIADIC (SELECT array_agg(entry((SELECT string_agg(format(', "u%s": 1', i), '') FROM generate_series(1, 1000) i) || ', "amount": "x"', 'f' || n)) FROM generate_series(1, 50) n))) ~ '^rejected item.unknown@u1 ', true, 'fifty thousand findings');
SELECT throws_ok($$ INSERT INTO spine.inbox SELECT * FROM (SELECT '{}', '{}') x $$, '42601', NULL, 'a second column');

-- more values than a row can hold
SELECT spine.publish_dataset(jsonb_build_object('name', 'wide', 'version', '1.0', 'title', 'T', 'description', 'D', 'source', 'S', 'mandation', 'M',
	'groups', jsonb_build_array(jsonb_build_object('name', 'sheet', 'title', 'T', 'description', 'D', 'subject', 'none', 'key', '["i1"]'::jsonb,
		'items', (SELECT jsonb_agg(jsonb_build_object('name', 'i' || i, 'title', 'T', 'type', 'text', 'status', 'O', 'class', 'clinical')) FROM generate_series(1, 1500) i))))) \g /dev/null
CREATE FUNCTION sheet(items integer, length integer) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('group', 'sheet', 'data', (SELECT jsonb_object_agg('i' || i, left(items || repeat('x', length), length)) FROM generate_series(1, items) i))
$$;
CREATE TABLE sheets AS SELECT jsonb_build_object('dataset', 'wide', 'version', '1.0', 'records',
	jsonb_build_array(sheet(1500, 3), sheet(500, 20), sheet(300, 200), sheet(2, 200)))::text AS document;
GRANT SELECT ON sheets TO bad_input_system;
SET ROLE bad_input_system;
CREATE TEMP TABLE wide AS SELECT s.n, s.outcome, s.findings #>> '{0,rule}' AS rule FROM sheets, spine.submit(document) s;
RESET ROLE;
SELECT results_eq('SELECT * FROM wide ORDER BY n', $$ VALUES (1, 'accepted', NULL), (2, 'rejected', 'record.too_large'), (3, 'accepted', NULL), (4, 'accepted', NULL) $$,
	'too many values cost their record alone');

-- nobody's data is in what was said. Names of items that are unknown are told to who sent them.

SELECT cmp_ok((SELECT count(*) FROM said), '>', 400::bigint, 'much was said');
CREATE VIEW message AS
	SELECT s.door, w.words FROM said s, LATERAL (SELECT CASE WHEN s.words LIKE '[%' THEN (SELECT string_agg(f ->> 'message', ' ') FROM jsonb_array_elements(s.words::jsonb) f) ELSE s.words END AS words) w;
SELECT is_empty($$ SELECT door, left(words, 300) FROM message WHERE words ~ 'SECRET|999000|sound' AND door <> 'json' $$, 'of no value is a word in a message, detail, hint or context');
SELECT is_empty($$ SELECT left(words, 300) FROM message WHERE words ~ 'SECRET|999000|sound' AND door = 'json' AND words !~ '^(JSON data, line|Token |Character with|Expected )' $$,
	'but where PostgreSQL itself makes json of a text, before spine is asked');

SELECT * FROM finish();
DO $$
BEGIN
	DELETE FROM spine.system;
END
$$;
DROP OWNED BY bad_input_system;
DROP ROLE bad_input_system;
