-- The strict door: INSERT, UPDATE, DELETE and COPY on the typed views.
\ir setup.psql
SELECT plan(52);

CREATE ROLE intake_view_supplier;
CREATE ROLE intake_view_device;
\o /dev/null
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'intake_view_supplier');
SELECT spine.add_system('RYJ', 'Elm Monitor', 'device', 'intake_view_device');
\o
-- tests ask as the supplier and answer as themselves
CREATE FUNCTION as_supplier(statement text, as_role name DEFAULT 'intake_view_supplier') RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', as_role);
	IF statement ~* '^\s*(SELECT|WITH)' THEN
		EXECUTE statement INTO answer;
	ELSE
		EXECUTE statement;
	END IF;
	RESET ROLE;
	RETURN answer;
END
$$;

-- INSERT

SET ROLE intake_view_supplier;
INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, local_record_id, antenatal_booking_date, edd_agreed)
	VALUES ('9990000018', 'M1', 'P1', 'B1', '2026-01-05', '2026-08-10') RETURNING record_id \gset
RESET ROLE;
SELECT results_eq('SELECT record_id, concat_ws(''|'', owner, source_system, local_record_id) COLLATE "default", revision FROM maternity.booking',
	format($$ VALUES (%L::uuid, 'RYJ|Cedar Maternity|B1', 1::bigint) $$, :'record_id'),
	'INSERT stores a record for the role''s organisation and system, RETURNING its id');
SELECT results_eq('SELECT patient_id, mother_local_id, pregnancy_id FROM maternity.booking',
	$$ SELECT spine.patient_id('9990000018'), 'M1', 'P1' $$, 'with its patient and identifiers');
SET ROLE intake_view_supplier;
INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, local_record_id, antenatal_booking_date, edd_agreed)
	VALUES ('9990000018', 'M1', 'P1', 'B1', '2026-01-06', '2026-08-10') RETURNING record_id AS again, revision AS again_revision, owner AS again_owner, event_at AS again_at \gset
RESET ROLE;
SELECT is(:'again'::text, :'record_id', 'the same local_record_id is the same record');
SELECT is((SELECT revision FROM maternity.booking), 2::bigint, 'in a new revision');
SELECT is(concat_ws('|', :'again_revision', :'again_owner', :'again_at'::timestamptz), concat_ws('|', 2, 'RYJ', '2026-01-06 00:00 Europe/London'::timestamptz),
	'RETURNING tells it, with what else spine has set');
SELECT as_supplier($$ INSERT INTO maternity_2_0.care_plan (local_episode_id, local_record_id, care_plan_date, care_plan_type)
	SELECT 'P1', 'C' || i, '2026-01-01'::date + i, '05' FROM generate_series(1, 2500) i $$);
SELECT is((SELECT count(*) FROM maternity.care_plan), 2500::bigint, 'more rows than a batch holds');
SELECT is((SELECT count(DISTINCT record_id) FROM maternity.care_plan), 2500::bigint, 'each with its id');
SELECT is((SELECT count(DISTINCT (patient_id, episode_id)) FROM maternity.care_plan), 1::bigint, 'all in one episode of one woman');
SELECT ok((SELECT bool_and(ordered) FROM (SELECT record_id > lag(record_id) OVER (ORDER BY care_plan_date) IS NOT FALSE AS ordered
	FROM maternity.care_plan) x), 'ids grow in the order of the rows');
SELECT as_supplier($$ INSERT INTO maternity_2_0.care_plan (local_episode_id, local_record_id, care_plan_date, care_plan_type)
	SELECT 'P1', 'C1', '2026-05-01'::date + i, '05' FROM generate_series(1, 3) i $$);
SELECT results_eq($$ SELECT revision, care_plan_date FROM maternity.care_plan WHERE local_record_id = 'C1' $$,
	$$ VALUES (4::bigint, '2026-05-04'::date) $$, 'sent thrice in one statement, the last one counts');

-- a faulty row refuses the statement

PREPARE faulty AS SELECT as_supplier($$ INSERT INTO maternity_2_0.care_plan (local_episode_id, local_record_id, care_plan_date, care_plan_type)
	SELECT 'P1', 'D' || i, CASE WHEN i <> 1700 THEN '2026-01-01'::date END, '05' FROM generate_series(1, 2000) i $$);
SELECT throws_ok('faulty', 'SP001', 'row 1700 is refused: 1 finding', 'a faulty row refuses the statement whole');
SELECT is_empty($$ SELECT FROM maternity.care_plan WHERE local_record_id LIKE 'D%' $$, 'with what was stored before it');
CREATE TABLE told (what text, said text);
DO $$
DECLARE
	the_table text; the_column text; the_rule text; the_schema text; the_detail text; the_context text;
BEGIN
	PERFORM as_supplier($i$ INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, local_record_id, edd_agreed, booking_site)
		VALUES ('9990000018', 'M1', 'P1', 'B9', '2026-08-10', 'RYJ') $i$);
EXCEPTION WHEN SQLSTATE 'SP001' THEN
	GET STACKED DIAGNOSTICS the_table = TABLE_NAME, the_column = COLUMN_NAME, the_rule = CONSTRAINT_NAME, the_schema = SCHEMA_NAME,
		the_detail = PG_EXCEPTION_DETAIL, the_context = PG_EXCEPTION_CONTEXT;
	INSERT INTO told VALUES ('fields', concat_ws('|', the_schema, the_table, the_column, the_rule)), ('detail', the_detail), ('context', the_context);
END
$$;
SELECT is((SELECT said FROM told WHERE what = 'fields'), 'maternity|booking|antenatal_booking_date|item.missing', 'schema, table, column and rule of the first finding are set');
SELECT matches((SELECT said FROM told WHERE what = 'detail'), 'item.missing: antenatal_booking_date.*\nitem.length: booking_site', 'the detail tells every finding');
SELECT throws_ok($$ SELECT as_supplier('INSERT INTO maternity_2_0.booking (local_patient_id, local_episode_id, antenatal_booking_date) VALUES (''M1'', ''P1'', ''2019-02-29'')') $$,
	'22008', NULL, 'a value that is none of the column''s type');
SELECT throws_ok($$ SELECT as_supplier('INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date) VALUES (''9990000019'', ''M1'', ''P1'', ''2019-02-28'')') $$,
	'22P02', NULL, 'an NHS number with a bad check digit');

-- whose record it is is not the supplier's to say

SELECT throws_ok($$ SELECT as_supplier('INSERT INTO maternity_2_0.booking (owner, local_patient_id, local_episode_id, antenatal_booking_date) VALUES (''RQM'', ''M1'', ''P1'', ''2026-01-05'')') $$,
	'42501', NULL, 'another organisation''s record -- attack 43');
SELECT throws_ok($$ SELECT as_supplier('INSERT INTO maternity_2_0.booking (source_system, local_patient_id, local_episode_id, antenatal_booking_date) VALUES (''Oak'', ''M1'', ''P1'', ''2026-01-05'')') $$,
	'42501', NULL, 'another system''s record');
SELECT lives_ok($$ SELECT as_supplier('INSERT INTO maternity_2_0.booking (owner, source_system, local_patient_id, local_episode_id, local_record_id, antenatal_booking_date) VALUES (''RYJ'', ''Cedar Maternity'', ''M1'', ''P1'', ''B1'', ''2026-01-05'')') $$,
	'its own may be named');
SELECT throws_ok(format('SELECT as_supplier(%L)', format('INSERT INTO maternity_2_0.booking (%I, local_patient_id, local_episode_id, antenatal_booking_date) VALUES (%L, ''M1'', ''P1'', ''2026-01-05'')', c, v)),
	'42501', format('column "%s" is set by spine', c), format('%s cannot be set -- attack 47', c))
	FROM (VALUES ('record_id', '01890a5d-ac96-774b-bcce-b302099a8057'), ('patient_id', '01890a5d-ac96-774b-bcce-b302099a8057'),
		('episode_id', '01890a5d-ac96-774b-bcce-b302099a8057'), ('revision', '7'), ('received_at', '2020-01-01'), ('event_at', '2020-01-01')) x(c, v);
SELECT throws_ok($$ SELECT as_supplier('INSERT INTO maternity.booking (record_id) VALUES (spine.uuid_v7())') $$, '42501', NULL, 'nobody writes tables: INSERT');
SELECT throws_ok($$ SELECT as_supplier('UPDATE maternity.booking SET audience = ''{RQM:care}''') $$, '42501', NULL, 'UPDATE -- attack 44');
SELECT throws_ok($$ SELECT as_supplier('DELETE FROM maternity.booking') $$, '42501', NULL, 'DELETE -- attack 45');
SELECT throws_ok($$ SELECT as_supplier('TRUNCATE maternity.booking') $$, '42501', NULL, 'TRUNCATE -- attack 46');
SELECT throws_ok($$ SELECT as_supplier('MERGE INTO maternity.booking b USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT (record_id) VALUES (spine.uuid_v7())') $$,
	'42501', NULL, 'MERGE');
SELECT throws_ok($$ INSERT INTO maternity_2_0.booking (local_patient_id, local_episode_id, antenatal_booking_date) VALUES ('M1', 'P1', '2026-01-05') $$,
	'42501', NULL, 'a superuser is no system');

-- UPDATE

SELECT as_supplier($$ UPDATE maternity_2_0.booking SET edd_agreed = '2026-08-12' WHERE local_record_id = 'B1' $$);
SELECT results_eq($$ SELECT edd_agreed, patient_id = spine.patient_id('9990000018'), mother_local_id, revision FROM maternity.booking WHERE local_record_id = 'B1' $$,
	$$ VALUES ('2026-08-12'::date, true, 'M1', 4::bigint) $$, 'UPDATE corrects a record and leaves it with its patient');
SELECT is((SELECT count(*) FROM spine.history WHERE data_group = 'booking' AND action = 'update'), 3::bigint, 'each correction left the old row');
SELECT throws_ok($$ SELECT as_supplier('UPDATE maternity_2_0.booking SET revision = 99') $$, '42501', 'column "revision" is set by spine', 'the envelope stays as it is');
SELECT throws_ok($$ SELECT as_supplier('UPDATE maternity_2_0.booking SET local_record_id = ''B7''') $$, '42501', NULL, 'a record keeps its name');
SELECT throws_ok($$ SELECT as_supplier('UPDATE maternity_2_0.booking SET antenatal_booking_date = NULL') $$, 'SP001', NULL, 'an UPDATE is checked like an INSERT');

-- DELETE

SELECT as_supplier($$ DELETE FROM maternity_2_0.care_plan WHERE local_record_id IN ('C1', 'C2') $$);
SELECT is((SELECT count(*) FROM maternity.care_plan), 2498::bigint, 'DELETE takes a record away');
SELECT results_eq($$ SELECT old_row ->> 'local_record_id', changed_by FROM spine.history WHERE action = 'delete' ORDER BY 1 $$,
	$$ VALUES ('C1', 'intake_view_supplier'::name), ('C2', 'intake_view_supplier') $$, 'and keeps the old row');

-- COPY

\! printf 'P1\tK1\t2026-03-01\nP1\tK2\t2026-03-02\n' > /tmp/spine_intake_view.tsv
SET ROLE intake_view_supplier;
\copy maternity_2_0.care_contact (pregnancy_id, care_contact_id, contact_date) FROM '/tmp/spine_intake_view.tsv'
RESET ROLE;
\! rm -f /tmp/spine_intake_view.tsv
SELECT results_eq('SELECT care_contact_id, local_record_id COLLATE "default", contact_date FROM maternity.care_contact ORDER BY 1',
	$$ VALUES ('K1', 'K1', '2026-03-01'::date), ('K2', 'K2', '2026-03-02') $$, 'COPY goes the same way');

-- statements inside statements, and aborted ones

CREATE FUNCTION contact_of(number text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO maternity_2_0.care_contact (pregnancy_id, care_contact_id, contact_date) VALUES ('P1', number || 'i', '2026-04-01');
	RETURN number;
END
$$;
SELECT as_supplier($$ INSERT INTO maternity_2_0.care_contact (pregnancy_id, care_contact_id, contact_date)
	SELECT 'P1', contact_of('N' || i), '2026-04-02' FROM generate_series(1, 3) i $$);
SELECT is((SELECT count(*) FROM maternity.care_contact WHERE care_contact_id LIKE 'N%'), 6::bigint, 'a statement inside another one on the same view');
SELECT as_supplier($$ WITH a AS (INSERT INTO maternity_2_0.care_contact (pregnancy_id, care_contact_id, contact_date) VALUES ('P1', 'W1', '2026-04-02') RETURNING 1),
	b AS (INSERT INTO maternity_2_0.care_plan (local_episode_id, local_record_id, care_plan_date, care_plan_type) VALUES ('P1', 'W1', '2026-04-02', '05') RETURNING 1)
	SELECT count(*) FROM a, b $$);
SELECT is((SELECT count(*) FROM maternity.care_contact c, maternity.care_plan p WHERE c.local_record_id = 'W1' AND p.local_record_id = 'W1'), 1::bigint,
	'two views in one statement');
CREATE FUNCTION try_contact(number text, day date) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO maternity_2_0.care_contact (pregnancy_id, care_contact_id, contact_date) VALUES ('P1', number, day);
	RETURN 'stored';
EXCEPTION WHEN SQLSTATE 'SP001' THEN
	RETURN 'refused';
END
$$;
SELECT is(as_supplier($$ SELECT string_agg(try_contact('T' || i, CASE WHEN i <> 2 THEN '2026-04-01'::date END), ',') FROM generate_series(1, 3) i $$),
	'stored,refused,stored', 'a refused statement leaves nothing that the next one would trip over');
SELECT is((SELECT count(*) FROM maternity.care_contact WHERE care_contact_id LIKE 'T%'), 2::bigint, 'and the others stand');

-- a device writes and cannot read back

SELECT lives_ok($$ SELECT as_supplier('INSERT INTO maternity_2_0.mother_finding (nhs_number, local_episode_id, local_record_id, observation_date, observation_scheme, observation_code, observation_value, observation_unit) VALUES (''9990000018'', ''X1'', ''O1'', ''2026-04-02'', ''03'', ''251900003'', ''3'', ''ppm'')', 'intake_view_device') $$,
	'a device writes');
SELECT throws_ok($$ SELECT as_supplier('SELECT count(*) FROM maternity_2_0.mother_finding', 'intake_view_device') $$, '42501', NULL, 'and cannot read back what it wrote');

-- values that PostgreSQL's types have and the calendar has not

CREATE FUNCTION refused_item(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	the_column text; the_rule text;
BEGIN
	PERFORM as_supplier(statement);
	RETURN 'taken';
EXCEPTION WHEN SQLSTATE 'SP001' THEN
	GET STACKED DIAGNOSTICS the_column = COLUMN_NAME, the_rule = CONSTRAINT_NAME;
	RETURN concat_ws(' ', the_column, the_rule);
END
$$;
CREATE FUNCTION booked_on(day text, due text DEFAULT '2026-08-10') RETURNS text LANGUAGE sql AS $$
	SELECT refused_item(format('INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date, edd_agreed)
		VALUES (''9990000026'', ''M7'', ''P7'', %L, %L)', day, due))
$$;
SELECT is(booked_on('infinity'), 'antenatal_booking_date item.malformed', 'a date without end is none');
SELECT is(booked_on('2026-01-05', '-infinity'), 'edd_agreed item.malformed', 'nor one without beginning');
SELECT is(booked_on('10000-01-01'), 'antenatal_booking_date item.malformed', 'nor one after year 9999');
SELECT is(booked_on('0001-12-31 BC'), 'antenatal_booking_date item.malformed', 'nor one before year 1');
SELECT is(booked_on('9999-12-31', '0001-01-01'), 'taken', 'what lies between is');
SELECT is((SELECT event_at FROM maternity.booking WHERE pregnancy_id = 'P7'), '9999-12-31 00:00+00', 'and dates the record');
SELECT is(refused_item($$ INSERT INTO maternity_2_0.care_contact (nhs_number, local_episode_id, care_contact_id, contact_date, contact_time)
	VALUES ('9990000018', 'P1', 'K24', '2026-04-02', '24:00') $$), 'contact_time item.malformed', 'nor is the end of a day a time of it');

SELECT * FROM finish();
DELETE FROM spine.system;
DROP OWNED BY intake_view_supplier, intake_view_device;
DROP ROLE intake_view_supplier, intake_view_device;
