-- The bulk door: COPY spine.inbox, one record a line, each with an outcome of its own.
\ir setup.psql
SELECT plan(60);
CREATE ROLE inbox_system;
CREATE ROLE inbox_second;
CREATE ROLE inbox_analyst;
\o /dev/null
SELECT spine.add_system('RYJ', 'Elm', 'maternity', 'inbox_system'), spine.add_system('RYJ', 'Ash', 'maternity', 'inbox_second'), spine.add_member('inbox_analyst', 'RYJ', 'analyst');
CREATE FUNCTION definition(version text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_set('{"name": "post", "title": "Post", "description": "For tests.", "source": "This test.", "mandation": "This test.",
		"code_lists": {"kind": {"title": "Kind", "severity": "record", "codes": {"01": "Letter", "02": "Parcel"}}},
		"groups": [
			{"name": "parcel", "title": "Parcel", "description": "A parcel.", "subject": "none", "key": ["parcel_id"], "items": [
				{"name": "parcel_id", "title": "Parcel", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
				{"name": "weight", "title": "Weight", "type": "integer", "min": 0, "max": 1000, "status": "O", "class": "administrative"},
				{"name": "rate", "title": "Rate", "type": "numeric", "status": "O", "class": "administrative"},
				{"name": "posted", "title": "Posted", "type": "date", "status": "O", "class": "administrative"},
				{"name": "posted_at", "title": "Posted at", "type": "time", "status": "O", "class": "administrative"},
				{"name": "seen_at", "title": "Seen at", "type": "timestamp", "status": "O", "class": "administrative"},
				{"name": "fragile", "title": "Fragile", "type": "boolean", "status": "O", "class": "administrative"},
				{"name": "kind", "title": "Kind", "type": "text", "codes": "kind", "status": "O", "class": "administrative"},
				{"name": "remark", "title": "Remark", "type": "text", "status": "O", "class": "administrative"}]},
			{"name": "stamp", "title": "Stamp", "description": "A stamp on a parcel.", "subject": "none", "key": ["stamp_id"], "items": [
				{"name": "stamp_id", "title": "Stamp", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
				{"name": "parcel_id", "title": "Parcel", "type": "text", "max_length": 20, "status": "O", "class": "administrative"}],
			 "rules": [{"id": "stamp.parcel", "kind": "exists", "severity": "record", "group": "parcel", "match": {"parcel_id": "parcel_id"}, "items": ["parcel_id"],
						"message": "parcel_id names a parcel that was not sent."}]}]}'::jsonb, '{version}', to_jsonb(version))
$$;
SELECT spine.publish_dataset(definition('1.0')), spine.publish_dataset(definition('1.1')), spine.publish_dataset(definition('0.9'));
UPDATE spine.dataset SET retired_on = '2026-01-01' WHERE name = 'post' AND version = '0.9';
\o
-- the last submission through the inbox: its lines, and its counts
CREATE FUNCTION last_inbox() RETURNS uuid LANGUAGE sql AS $$ SELECT submission_id FROM spine.submission WHERE door = 'inbox' ORDER BY submission_id DESC LIMIT 1 $$;
CREATE FUNCTION lines() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', line, outcome, (SELECT string_agg(concat_ws('@', f ->> 'rule', f ->> 'item'), ' ') FROM jsonb_array_elements(findings) f)), ', ' ORDER BY line)
	  FROM spine.inbox_line WHERE submission_id = last_inbox()
$$;
CREATE FUNCTION counts() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', records, accepted, accepted_with_warnings, unchanged, rejected, (SELECT count(*) FROM spine.inbox_line l WHERE l.submission_id = s.submission_id))
	  FROM spine.submission s WHERE submission_id = last_inbox()
$$;
CREATE FUNCTION told(statement text, who text DEFAULT 'system') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'inbox_' || who);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION as_system(query text, who text DEFAULT 'system') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'inbox_' || who);
	RETURN QUERY EXECUTE query;
	RESET ROLE;
END
$$;
CREATE FUNCTION line(data_group text, data text, version text DEFAULT '1.0', more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT format('{"dataset": "post", "version": "%s", "group": "%s", %s"data": %s}', version, data_group, more, data)
$$;
CREATE FUNCTION send(VARIADIC documents text[]) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', told(format('INSERT INTO spine.inbox (document) SELECT x FROM unnest(%L::text[]) WITH ORDINALITY AS u(x, n) ORDER BY n', documents)), lines())
$$;

-- COPY, as lines of JSON that are quoted by nothing

SET client_min_messages = warning;
SET ROLE inbox_system;
COPY spine.inbox (document) FROM STDIN (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02');
{"dataset": "post", "version": "1.0", "group": "stamp", "data": {"stamp_id": "S1", "parcel_id": "P1"}}
{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P1", "remark": "a \"quoted\", \\ text, \u00e9"}}
{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P2"

{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P1", "remark": "a \"quoted\", \\ text, \u00e9"}}
{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P3", "colour": "blue"}}
\.
RESET ROLE;
SELECT is(lines(), '1 accepted, 2 accepted, 3 rejected record.malformed, 4 rejected record.malformed, 5 unchanged, 6 accepted_with_warnings item.unknown@colour', 'COPY in csv: a child before its parent, broken lines, one sent twice, a warning');
SELECT is(counts(), '6 2 1 1 2 6', 'counted');
SELECT is((SELECT remark FROM post.parcel WHERE parcel_id = 'P1'), E'a "quoted", \\ text, é', 'escapes are JSON''s alone');
SELECT is((SELECT string_agg(content, '' ORDER BY first_n) FROM spine.raw_submission WHERE submission_id = last_inbox()),
E'{"dataset": "post", "version": "1.0", "group": "stamp", "data": {"stamp_id": "S1", "parcel_id": "P1"}}\n'
|| E'{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P1", "remark": "a \\"quoted\\", \\\\ text, \\u00e9"}}\n'
|| E'{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P2"\n\n'
|| E'{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P1", "remark": "a \\"quoted\\", \\\\ text, \\u00e9"}}\n'
|| E'{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P3", "colour": "blue"}}\n', 'every byte is kept as it came');
SELECT results_eq($$ SELECT n, record, dataset COLLATE "C", data_group FROM spine.rejection WHERE submission_id = last_inbox() ORDER BY n $$,
	$$ VALUES (3::bigint, '{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P2"', 'post' COLLATE "C", 'parcel'), (4, '', NULL, NULL) $$, 'and so is each rejected line, with what could be read of it');

-- COPY as text, where a backslash is written twice

SET ROLE inbox_system;
COPY spine.inbox (document) FROM STDIN;
{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P4", "remark": "\\u00e9"}}
\N
{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "P5", "remark": "tab\\tx"}}
\.
RESET ROLE;
SELECT is(lines(), '1 accepted, 2 rejected record.malformed, 3 accepted', 'COPY as text, with a NULL');
SELECT is((SELECT string_agg(remark, ',' ORDER BY parcel_id) FROM post.parcel WHERE parcel_id IN ('P4', 'P5')), E'é,tab\tx', 'is the same JSON');
SELECT count(*) AS submissions FROM spine.submission \gset
SET ROLE inbox_system;
COPY spine.inbox (document) FROM STDIN;
\.
RESET ROLE;
SELECT is((SELECT count(*) FROM spine.submission), :submissions::bigint, 'a COPY of no lines leaves nothing');
BEGIN;
SET LOCAL ROLE inbox_system;
COPY spine.inbox (document) FROM STDIN;
{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "gone"}}
{
\.
ROLLBACK;
SELECT is((SELECT count(*) FROM spine.submission) + (SELECT count(*) FROM post.parcel WHERE parcel_id = 'gone') + (SELECT count(*) FROM spine.rejection WHERE record = '{'), :submissions::bigint, 'nor does one that is rolled back');

-- every kind of bad line

SELECT is(send(
	line('parcel', '{"parcel_id": "B1"}'),
	line('parcel', '{"parcel_id": "B2\u0000"}'),
	line('parcel', '{"parcel_id": "B3", "remark": "\ud800"}'),
	line('parcel', '{"parcel_id": "B4", "remark": "\udc00\ud800"}'),
	'{"dataset": "post", "version": "1.0", "group": "parcel", "data": {"parcel_id": "B5"}',
	'', NULL, 'null', '[]', '7', '"text"',
	'{}',
	'{"dataset": "post", "group": "parcel", "data": {"parcel_id": "B6"}}',
	'{"dataset": "post", "version": "1.0", "data": {"parcel_id": "B7"}}',
	replace(line('parcel', '{"parcel_id": "B8"}'), '"post"', '"mail"'),
	line('parcel', '{"parcel_id": "B9"}', '0.9'),
	line('parcel', '{"parcel_id": "B10"}', '7.0'),
	line('parcel', '{"parcel_id": "B11"}'),
	line('parcels', '{"parcel_id": "B12"}'),
	line('parcel', '{"parcel_id": "B13"}', more => '"system": "Ash", '),
	line('parcel', '{"parcel_id": "B14"}', more => '"system": "Elm", ')),
	'ok 1 accepted, 2 rejected record.malformed, 3 rejected record.malformed, 4 rejected record.malformed, 5 rejected record.malformed, 6 rejected record.malformed, 7 rejected record.malformed, 8 rejected record.malformed, '
	'9 rejected record.malformed, 10 rejected record.malformed, 11 rejected record.malformed, 12 rejected record.malformed, 13 rejected record.malformed, 14 rejected group.unknown@group, 15 rejected dataset.unknown@version, '
	'16 rejected dataset.unknown@version, 17 rejected dataset.unknown@version, 18 accepted, 19 rejected group.unknown@group, 20 rejected group.denied@system, 21 accepted', 'what is no record, and what is of nothing known');
SELECT is(counts(), '21 3 0 0 18 21', 'seventeen bad lines do not hurt line 18');
CREATE FUNCTION message(of_line bigint) RETURNS text LANGUAGE sql AS $$ SELECT findings #>> '{0,message}' FROM spine.inbox_line WHERE submission_id = last_inbox() AND line = of_line $$;
SELECT is(message(2), 'the record holds a NUL character, which no text can hold', 'NUL is named');
SELECT is(message(3), 'the record holds half of a surrogate pair, which is no character', 'a lone surrogate is named');
SELECT is(message(4), message(3), 'and one in the wrong order');
SELECT matches(message(15), '^no such data set', 'an unknown data set');
SELECT matches(message(16), '1\.1', 'a retired version is answered with the one to send');
SELECT matches(message(17), '1\.1', 'an unknown one too');
SELECT results_eq($$ SELECT n, dataset COLLATE "C", version COLLATE "C" FROM spine.rejection WHERE submission_id = last_inbox() AND n IN (15, 16, 17, 20) ORDER BY n $$,
	$$ VALUES (15::bigint, 'mail' COLLATE "C", '1.0' COLLATE "C"), (16, 'post', '0.9'), (17, 'post', '7.0'), (20, NULL, NULL) $$, 'which it is kept under, to be run again; another system''s is not');

SELECT is(send(
	line('parcel', '{"parcel_id": "V1", "weight": 1e999}'),
	line('parcel', '{"parcel_id": "V2", "rate": 1e999}'),
	line('parcel', '{"parcel_id": "V3", "weight": 1.5, "rate": "NaN"}'),
	line('parcel', '{"parcel_id": "V4", "rate": Infinity}'),
	line('parcel', '{"parcel_id": "V5", "weight": 007}'),
	line('parcel', '{"parcel_id": "V6", "weight": 99999999999999999999}'),
	line('parcel', '{"parcel_id": "V7", "weight": 1001}'),
	line('parcel', '{"parcel_id": "V8", "posted": "2019-02-29"}'),
	line('parcel', '{"parcel_id": "V9", "posted": "2020-02-29"}'),
	line('parcel', '{"parcel_id": "V10", "posted_at": "24:00:00"}'),
	line('parcel', '{"parcel_id": "V11", "posted_at": "23:59:59"}'),
	line('parcel', '{"parcel_id": "V12", "seen_at": "2026-02-30T10:00:00Z", "posted": "0000-01-01"}'),
	line('parcel', '{"parcel_id": "V13", "fragile": "perhaps", "weight": true}'),
	line('parcel', '{"parcel_id": "V14", "kind": " 01 ", "remark": "   "}'),
	line('parcel', '{"parcel_id": "V15", "kind": "03"}'),
	line('parcel', '{"parcel_id": "V16", "kind": "", "posted": "", "weight": "", "rate": null}'),
	line('parcel', '{"parcel_id": ""}'),
	line('parcel', '{"parcel_id": "V18", "weight": "12", "remark": 12}'),
	line('parcel', '{"parcel_id": "V19", "weight": {"of": 12}, "remark": ["a"]}'),
	line('parcel', '{"parcel_id": "V20", "weight": 1, "weight": 2}'),
	line('parcel', '{"parcel_id": "V21"}', more => '"group": "stamp", '),
	line('parcel', '{"parcel_id": "V22"}', more => '"data": {}, '),
	line('parcel', '{"parcel_id": "V23"}', more => '"version": "1.0", '),
	line('parcel', '{"parcel_id": "V24"}', more => '"colour": "blue", '),
	line('parcel', '{"parcel_id": "V25", "remark": ' || repeat('[', 10000) || repeat(']', 10000) || '}'),
	line('parcel', '{"parcel_id": "V26", "remark": ' || repeat('[', 10000) || '}'),
	line('parcel', '{"parcel_id": "V27", "remark": ' || repeat('[', 60) || repeat(']', 60) || '}'),
	line('parcel', '{"parcel_id": "V28", ' || (SELECT string_agg(format('"u%s": %s', i, i), ', ') FROM generate_series(1, 2000) i) || '}'),
	line('parcel', '{"parcel_id": "V29", "posted": "2026-01-01"}')),
	'ok 1 rejected item.malformed@weight, 2 rejected item.malformed@rate, 3 rejected item.malformed@weight item.malformed@rate, 4 rejected record.malformed, 5 rejected record.malformed, 6 rejected item.malformed@weight, '
	'7 rejected item.range@weight, 8 rejected item.malformed@posted, 9 accepted, 10 rejected item.malformed@posted_at, 11 accepted, 12 rejected item.malformed@seen_at item.malformed@posted, '
	'13 rejected item.malformed@fragile item.malformed@weight, 14 accepted, 15 rejected item.code@kind, 16 accepted, 17 rejected identity.missing@local_record_id item.missing@parcel_id, '
	'18 accepted_with_warnings item.type@weight item.type@remark, 19 rejected item.malformed@weight item.malformed@remark, 20 rejected item.duplicate@weight, 21 rejected record.malformed, 22 rejected record.malformed, '
	'23 rejected record.malformed, 24 accepted_with_warnings item.unknown@colour, 25 rejected record.malformed, 26 rejected record.malformed, 27 rejected item.malformed@remark, 28 accepted_with_warnings'
	|| (SELECT string_agg(' item.unknown@u' || i, '' ORDER BY i) FROM generate_series(1, 1000) i) || ' finding.limit, 29 accepted', 'values that are none, each with the finding that says so');
SELECT is(counts(), '29 5 3 0 21 29', 'counted');
SELECT results_eq($$ SELECT kind, remark FROM post.parcel WHERE parcel_id = 'V14' $$, $$ VALUES ('01', NULL) $$, 'blanks around a code do not count, blanks alone are no value');
SELECT ok((SELECT kind IS NULL AND posted IS NULL AND weight IS NULL AND rate IS NULL FROM post.parcel WHERE parcel_id = 'V16'), 'an empty text is no value of any type');
SELECT is((SELECT weight FROM post.parcel WHERE parcel_id = 'V18'), 12, 'a number in quotes is taken, with a warning');
SELECT is((SELECT findings #>> '{1000,message}' FROM spine.inbox_line WHERE submission_id = last_inbox() AND line = 28), 'the record has 1000 findings more; correct these first', 'findings without end are counted');

-- several data sets and versions at once

SELECT is(send(
	line('parcel', '{"parcel_id": "M1"}', '1.1'),
	'{"dataset": "maternity", "version": "2.0", "group": "care_plan", "nhs_number": "9990000018", "local_episode_id": "E1", "local_record_id": "C1", "data": {"care_plan_date": "2026-01-07", "care_plan_type": "05"}}',
	line('stamp', '{"stamp_id": "M1", "parcel_id": "M1"}', '1.0'),
	line('stamp', '{"stamp_id": "M2", "parcel_id": "M2"}', '1.1'),
	line('parcel', '{"parcel_id": "M1", "weight": 5}', '1.0')), 'ok 1 accepted, 2 accepted, 3 accepted, 4 rejected stamp.parcel@parcel_id, 5 accepted', 'three versions of two data sets in one COPY');
SELECT results_eq($$ SELECT dataset, version FROM spine.submission WHERE submission_id = last_inbox() $$, 'VALUES (NULL::text, NULL::text)', 'which is of no one data set');
SELECT is((SELECT count(*) FROM maternity.care_plan), 1::bigint, 'each in its own table');

-- the text of many lines, in pieces

CREATE TABLE source AS SELECT i, line('parcel', jsonb_build_object('parcel_id', 'R' || i, 'remark', repeat(chr(200 + i % 50), 1000 + i))::text) AS document FROM generate_series(1, 700) i;
GRANT SELECT ON source TO inbox_system;
SELECT is(told('INSERT INTO spine.inbox SELECT document FROM source ORDER BY i'), 'ok', 'two million bytes');
SELECT is(counts(), '700 700 0 0 0 700', 'of seven hundred lines');
SELECT cmp_ok((SELECT count(*) FROM spine.raw_submission WHERE submission_id = last_inbox()), '>', 3::bigint, 'are kept in pieces');
SELECT is((SELECT md5(string_agg(content, '' ORDER BY first_n)) FROM spine.raw_submission WHERE submission_id = last_inbox()), (SELECT md5(string_agg(document || E'\n', '' ORDER BY i)) FROM source), 'that are the lines, byte for byte');
SELECT ok((SELECT bool_and(first_n = 1 + coalesce(before, 0)) FROM (SELECT first_n, sum(length(content) - length(replace(content, E'\n', ''))) OVER (ORDER BY first_n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
	FROM spine.raw_submission WHERE submission_id = last_inbox()) x), 'each from the line that it says');
SELECT is((SELECT count(*) FROM as_system(format('SELECT content FROM spine.raw_submission(%L)', last_inbox()))), (SELECT count(*) FROM spine.raw_submission WHERE submission_id = last_inbox()), 'the system reads them back');
SELECT is((SELECT count(*) FROM as_system(format('SELECT content FROM spine.raw_submission(%L)', last_inbox()), 'second')), 0::bigint, 'another does not');
SELECT is((SELECT count(*) FROM as_system(format('SELECT content FROM spine.raw_submission(%L)', last_inbox()), 'analyst')), (SELECT count(*) FROM spine.raw_submission WHERE submission_id = last_inbox()), 'an analyst of the organisation does');
SELECT is(told('INSERT INTO spine.inbox SELECT document FROM source ORDER BY i DESC'), 'ok', 'the same again');
SELECT is(counts(), '700 0 0 700 0 700', 'is unchanged');

-- what a system sees of it

SELECT is((SELECT string_agg(x, ',') FROM as_system($$ SELECT concat_ws(' ', door, records, accepted, unchanged, rejected, role_name) FROM spine.submissions ORDER BY submission_id DESC LIMIT 1 $$) x), 'inbox 700 0 700 0 inbox_system', 'its submissions');
SELECT is((SELECT count(*) FROM as_system('SELECT outcome FROM spine.inbox_result')), (SELECT count(*) FROM spine.inbox_line), 'and its lines');
SELECT is((SELECT count(*) FROM as_system('SELECT outcome FROM spine.inbox_result', 'second')), 0::bigint, 'not another''s');
SELECT is(told('SELECT document FROM spine.inbox'), '42501', 'the inbox itself is to write only');
SELECT is(told('INSERT INTO spine.inbox (document) VALUES (''{}'')', 'analyst'), '42501', 'for systems');

-- inside functions, savepoints and exception blocks

CREATE FUNCTION three() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO spine.inbox (document) VALUES (line('parcel', '{"parcel_id": "X1"}'));
	BEGIN
		INSERT INTO spine.inbox (document) VALUES (line('parcel', '{"parcel_id": "X2"}')), ('{');
		RAISE EXCEPTION 'undone';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	BEGIN
		INSERT INTO spine.inbox (document) SELECT CASE WHEN i < 3 THEN line('parcel', '{"parcel_id": "X3"}') ELSE (1 / (i - 3))::text END FROM generate_series(1, 3) i;
	EXCEPTION WHEN division_by_zero THEN NULL;
	END;
	INSERT INTO spine.inbox (document) VALUES (line('parcel', '{"parcel_id": "X4"}')), ('}');
	RETURN line('parcel', '{"parcel_id": "X5"}');
END
$$;
SELECT count(*) AS submissions FROM spine.submission \gset
SELECT is(send(line('parcel', '{"parcel_id": "X0"}')), 'ok 1 accepted', 'a line');
SELECT is(told('INSERT INTO spine.inbox (document) SELECT three()'), 'ok', 'an inbox in a function that a line of another inbox calls');
SELECT is((SELECT string_agg(parcel_id, ' ' ORDER BY parcel_id) FROM post.parcel WHERE parcel_id LIKE 'X%'), 'X0 X1 X4 X5', 'what was undone is not there, what was not is');
SELECT is((SELECT string_agg(records || '/' || accepted, ' ' ORDER BY submission_id) FROM (SELECT * FROM spine.submission ORDER BY submission_id DESC LIMIT 4) s), '1/1 1/1 1/1 2/1', 'each with its own account');
SELECT is((SELECT count(*) FROM spine.submission), :submissions + 4::bigint, 'and no more');
SELECT is(told($$ WITH first AS (INSERT INTO spine.inbox (document) VALUES (line('parcel', '{"parcel_id": "Y1"}')), ('{')), second AS (INSERT INTO spine.inbox (document) VALUES (line('parcel', '{"parcel_id": "Y2"}')))
	INSERT INTO spine.inbox (document) VALUES (line('parcel', '{"parcel_id": "Y3"}')) $$), 'ok', 'three inserts in one statement');
SELECT is((SELECT string_agg(parcel_id, ' ' ORDER BY parcel_id) FROM post.parcel WHERE parcel_id LIKE 'Y%'), 'Y1 Y2 Y3', 'each line is stored once');
SELECT is(counts(), '4 3 0 0 1 4', 'in one account');
BEGIN;
SAVEPOINT a;
SELECT send(line('parcel', '{"parcel_id": "Z1"}')) \g /dev/null
ROLLBACK TO a;
SELECT send(line('parcel', '{"parcel_id": "Z2"}')) \g /dev/null
RELEASE a;
COMMIT;
SELECT is((SELECT string_agg(parcel_id, ' ') FROM post.parcel WHERE parcel_id LIKE 'Z%'), 'Z2', 'a savepoint that is rolled back takes its lines with it');
SELECT is(told($$ INSERT INTO spine.inbox (document) SELECT line('parcel', '{"parcel_id": "Q1"}') FROM generate_series(1, 3) UNION ALL SELECT (1 / 0)::text $$), '22012', 'a statement that fails');
SELECT is(send(line('parcel', '{"parcel_id": "Q2"}')), 'ok 1 accepted', 'leaves the next as it is');
SELECT is((SELECT count(*) FROM post.parcel WHERE parcel_id = 'Q1'), 0::bigint, 'and nothing of itself');
SELECT is(told($$ SET TRANSACTION READ ONLY; INSERT INTO spine.inbox (document) VALUES ('{}') $$), '25006', 'nothing is taken in a transaction that only reads');

-- the account, of all that was sent

SELECT ok(NOT EXISTS (SELECT FROM spine.submission WHERE records <> accepted + accepted_with_warnings + unchanged + rejected), 'records are the sum of what became of them');
SELECT ok(NOT EXISTS (SELECT FROM spine.submission s WHERE door = 'inbox' AND (SELECT array_agg(line ORDER BY line) FROM spine.inbox_line l WHERE l.submission_id = s.submission_id)
	IS DISTINCT FROM (SELECT array_agg(i) FROM generate_series(1, s.records) i)), 'every line has one outcome');
SELECT ok(NOT EXISTS (SELECT FROM spine.submission s WHERE door = 'inbox' AND s.rejected <> (SELECT count(*) FROM spine.rejection j WHERE j.submission_id = s.submission_id)), 'what was rejected is in the quarantine');
SELECT ok(NOT EXISTS (SELECT FROM spine.inbox_line l WHERE (outcome = 'rejected') <> (record_id IS NULL)), 'what was not has a record');
SELECT is_empty($$ SELECT record_id FROM spine.inbox_line WHERE record_id IS NOT NULL EXCEPT (SELECT record_id FROM post.parcel UNION ALL SELECT record_id FROM post.stamp UNION ALL SELECT record_id FROM maternity.care_plan) $$, 'that is there');

SELECT * FROM finish();
DROP FUNCTION three(), line(text, text, text, text);
DO $$
BEGIN
	DELETE FROM spine.system;
END
$$;
SELECT spine.remove_member('inbox_analyst', 'RYJ', 'analyst') \g /dev/null
DROP OWNED BY inbox_system, inbox_second, inbox_analyst;
DROP ROLE inbox_system, inbox_second, inbox_analyst;
