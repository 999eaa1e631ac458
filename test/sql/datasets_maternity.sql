-- The shipped maternity data sets: what they hold, that their examples are sound, and that each rule can be kept and broken.
BEGIN;
\ir setup.psql
SELECT * FROM no_plan();
SET client_min_messages = warning;
\o /dev/null
SELECT spine.publish_dataset('maternity', '2.1');
-- which examples have as closed, as the national files do
INSERT INTO spine.organisation AS o (code, name, kind, closed) VALUES
	('RW6', 'PENNINE ACUTE HOSPITALS NHS TRUST', 'trust', '2021-09-30'),
	('RW601', 'A SITE OF IT', 'unit', '2021-09-30'),
	('E87997', 'A PRACTICE', 'unit', '2018-03-31')
	ON CONFLICT (code) DO UPDATE SET closed = excluded.closed;
CREATE ROLE datasets_maternity_system;
CREATE ROLE datasets_maternity_ral;
INSERT INTO spine.organisation (code, name, kind) VALUES ('RAL', 'ROYAL FREE LONDON NHS FOUNDATION TRUST', 'trust') ON CONFLICT (code) DO NOTHING;
SELECT spine.host_organisation('RAL');
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'datasets_maternity_system'),
	spine.add_system('RAL', 'DAT PSF Generator', 'maternity', 'datasets_maternity_ral');
\o

CREATE TEMP VIEW definition AS SELECT version, definition AS body FROM spine.dataset WHERE name = 'maternity';
SELECT is(count(*), 1::bigint, 'version ' || v || ' is shipped once')
FROM unnest('{2.0,2.1}'::text[]) v LEFT JOIN spine.shipped_datasets() body ON body ->> 'name' = 'maternity' AND body ->> 'version' = v
GROUP BY v;
SELECT is_empty($$SELECT f.* FROM spine.shipped_datasets() body, spine.definition_faults(body) f$$, 'without a fault');

CREATE TEMP TABLE item AS
	SELECT d.version, g.n AS group_n, g.body ->> 'name' AS group_name, g.body ->> 'nhs_table' AS nhs_table, i.n, i.body ->> 'name' AS name,
		   i.body ->> 'nhs_name' AS nhs_name, i.body ->> 'uid' AS uid, i.body ->> 'type' AS type, i.body ->> 'status' AS status
	FROM definition d, jsonb_array_elements(d.body -> 'groups') WITH ORDINALITY g(body, n),
		jsonb_array_elements(g.body -> 'items') WITH ORDINALITY i(body, n);
CREATE TEMP TABLE rule AS
	SELECT d.version, g.body ->> 'name' AS group_name, r AS body
	FROM definition d, jsonb_array_elements(d.body -> 'groups') g(body), jsonb_array_elements(g.body -> 'rules') r;

-- the national table of items

SELECT is(count(DISTINCT nhs_table), 32::bigint, '32 tables') FROM item WHERE version = '2.0';
SELECT is(count(*), 288::bigint, '288 items') FROM item WHERE version = '2.0';
SELECT is(count(DISTINCT uid), 288::bigint, 'each with its UID') FROM item WHERE version = '2.0';
SELECT is_empty($$SELECT name FROM item WHERE uid !~ ('^M' || substr(nhs_table, 4, 3) || '[0-9]{3}$')$$, 'which is one of its table');
SELECT is_empty($$SELECT nhs_name FROM item WHERE nhs_name IS NOT NULL GROUP BY version, nhs_name HAVING count(DISTINCT name) > 1$$,
				'one NHS name has one name of ours in every group');
SELECT is_empty($$SELECT name FROM item GROUP BY name HAVING count(DISTINCT type) > 1$$, 'and one name one type');
SELECT matches(body ->> 'mandation', 'not public', 'version ' || version || ' says whose statuses these are') FROM definition;

-- the rules

SELECT cmp_ok(count(*), '>=', 90::bigint, 'rules enough: ' || count(*)) FROM rule WHERE version = '2.0';
SELECT is(array_agg(DISTINCT coalesce(body ->> 'kind', 'expression')), '{count,exists,expression,failures,organisation,own_code,related,unique}'::text[],
	'of every kind') FROM rule WHERE version = '2.0';
SELECT is(array_agg(DISTINCT body ->> 'severity'), '{file,group,record,warning}'::text[], 'and severity') FROM rule WHERE version = '2.0';
SELECT is_empty($$SELECT version, body ->> 'id' FROM rule WHERE NOT body -> 'examples' ?& '{passes,fails}'$$, 'each with an example that passes and one that fails');
SELECT is_empty($$SELECT version, body ->> 'id' FROM rule r WHERE NOT EXISTS (
		SELECT FROM jsonb_array_elements_text(r.body -> 'items') i WHERE r.body ->> 'message' ~ ('\m' || i || '\M'))$$,
	'each message names an item of the rule');
SELECT is_empty($$SELECT version, body ->> 'id' FROM rule
		WHERE body ->> 'message' !~ '^[A-Za-z].*[.:;] .*\m(Send|Correct|Check|Say|Leave|correct|check|send|use|Use)\M.*[.]$' OR length(body ->> 'message') > 300$$,
	'says what is wrong, then what to do, in a line or two');
SELECT is_empty($$SELECT version, body ->> 'id' FROM rule WHERE body ->> 'id' NOT LIKE group_name || '.%'$$, 'and has its group in its id');

-- the examples

SELECT is_empty($$SELECT i.version, i.group_name, i.name FROM item i JOIN definition d USING (version),
		jsonb_array_elements(d.body -> 'groups') g WHERE g ->> 'name' = i.group_name AND i.status = 'M' AND NOT coalesce(g -> 'example', '{}') ? i.name$$,
	'each group has an example with all that is mandatory');
SELECT cmp_ok(count(*) FILTER (WHERE g -> 'example' ? i.name)::numeric / count(*), '>', 0.8, 'and most of what is required')
	FROM item i JOIN definition d USING (version), jsonb_array_elements(d.body -> 'groups') g
	WHERE g ->> 'name' = i.group_name AND i.status = 'R';
SELECT is(jsonb_array_length(spine.example_document('maternity', v) -> 'records'), 32, v || ': one record of each group')
	FROM unnest('{2.0,2.1}'::text[]) v;
SET ROLE datasets_maternity_system;
SELECT is_empty($$SELECT v.n, v.outcome, v.findings FROM spine.validate(spine.example_document('maternity', '2.0')::json) v
	WHERE v.outcome <> 'accepted' OR v.findings <> '[]'$$, 'all examples together are accepted without a finding');
SELECT is_empty($$SELECT * FROM spine.example_faults('maternity', '2.0')$$, 'each rule of 2.0 is kept by one example and broken by the other');
SELECT is_empty($$SELECT * FROM spine.example_faults('maternity', '2.1')$$, 'and each of 2.1');
SELECT throws_ok($$SELECT * FROM spine.example_faults('maternity', '0.9')$$, 'SP003', NULL, 'there is no other version');
RESET ROLE;
SELECT is_empty($$SELECT FROM maternity.booking$$, 'which stores nothing');

-- examples that do not show what they are there for are told
CREATE TEMP TABLE kept AS SELECT * FROM definition WHERE version = '2.0';
UPDATE spine.dataset SET definition = jsonb_set(jsonb_set(jsonb_set(
		jsonb_set(definition, '{groups}', (SELECT jsonb_agg(CASE WHEN n <= 3 THEN g ELSE g - 'rules' END ORDER BY n)
										   FROM jsonb_array_elements(definition -> 'groups') WITH ORDINALITY e(g, n))),
		'{groups,2,rules,0,examples,passes}', '{"mother_birth_date": "2999-01-01"}'),
		'{groups,2,rules,0,examples,fails}', '{"mother_birth_date": "1990-01-01"}'),
		'{groups,1,example,registration_number}', '"1"')
	WHERE name = 'maternity' AND version = '2.0';
SET ROLE datasets_maternity_system;
SELECT results_eq($$SELECT rule, example, fault FROM spine.example_faults('maternity', '2.0') WHERE rule ~ '^(mother|staff)'$$,
	$$VALUES ('staff.nmc_number', 'groups', 'the example of staff has a finding: registration_number is not written as a number of the Nursing and Midwifery Council, which registration_body names: two digits, a letter, four digits, a letter (98I1234E). Correct whichever is wrong.'),
			 ('mother.birth_date_future', 'passes', 'breaks the rule, which it ought to pass'),
			 ('mother.birth_date_future', 'fails', 'does not break the rule; it breaks mother.booking')$$,
	'an example with a finding, one that ought to pass and one that ought to fail');
RESET ROLE;
UPDATE spine.dataset d SET definition = k.body FROM kept k WHERE d.name = 'maternity' AND d.version = '2.0';

-- a few that are easy to get wrong, in front of the examples of the groups before

CREATE FUNCTION pg_temp.broken(data_group text, changes jsonb) RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(f ->> 'rule' ORDER BY f ->> 'rule')
	FROM (SELECT spine.example_document('maternity', '2.1') -> 'records' AS all_records) d,
		LATERAL (SELECT jsonb_agg(CASE WHEN r.body ->> 'group' = data_group
					THEN jsonb_set(r.body, '{data}', jsonb_strip_nulls(r.body -> 'data' || changes)) ELSE r.body END ORDER BY r.n) AS records,
					max(r.n) FILTER (WHERE r.body ->> 'group' = data_group) AS at
				 FROM jsonb_array_elements(d.all_records) WITH ORDINALITY r(body, n)) c,
		LATERAL spine.validate(jsonb_build_object('dataset', 'maternity', 'version', '2.1', 'records', c.records)::json) v,
		jsonb_array_elements(v.findings) f
	WHERE v.n = c.at
$$;
SET ROLE datasets_maternity_system;
SELECT is(pg_temp.broken(v.data_group, v.changes), v.rules, v.data_group || ': ' || v.changes)
FROM (VALUES
	('ward_stay', '{"ward_start_time": "12:00", "ward_end_time": "08:00"}'::jsonb, NULL::text[]),
	('ward_stay', '{"ward_start_date": "2025-10-13", "ward_start_time": "12:00", "ward_end_time": "08:00"}', '{ward_stay.period_order}'),
	('ward_stay', '{"ward_start_date": "2025-10-13", "ward_start_time": null, "ward_end_time": "08:00"}', NULL),
	('ward_stay', '{"ward_end_date": null, "ward_end_time": null}', NULL),
	('diagnosis', '{"diagnosis_scheme": "02", "diagnosis_code": "F05.0"}', NULL),
	('diagnosis', '{"diagnosis_scheme": "02", "diagnosis_code": "O800"}', NULL),
	('diagnosis', '{"diagnosis_scheme": "02", "diagnosis_code": "O8..0"}', '{diagnosis.code_shape}'),
	('diagnosis', '{"diagnosis_scheme": "05", "diagnosis_code": "XE0Uc"}', NULL),
	('diagnosis', '{"diagnosis_scheme": "06", "diagnosis_code": "12345"}', '{diagnosis.code_shape}'),
	('diagnosis', '{"diagnosis_scheme": "06", "diagnosis_code": "785322012"}', '{diagnosis.code_shape}'),
	('mother', '{"mother_nhs_number": null, "mother_nhs_number_status": "07"}', NULL),
	('mother', '{"mother_nhs_number": null, "mother_nhs_number_status": "04"}', NULL),
	('mother', '{"mother_nhs_number": null, "mother_nhs_number_status": "04", "postcode": null}', '{mother.nhs_number_trace}'),
	('mother', '{"mother_nhs_number": null}', '{mother.nhs_number_verified}'),
	('mother', '{"mother_nhs_number_status": null}', NULL),
	('baby', '{"baby_nhs_number": null, "baby_nhs_number_status": "08", "baby_discharge_date": null}', NULL),
	('baby', '{"delivery_method": "7"}', '{baby.caesarean_date}'),
	('dating_scan', '{"scan_gestation": "11+0"}', NULL),
	('dating_scan', '{"scan_gestation": "10+6"}', '{dating_scan.gestation_edd}'),
	('hospital_spell', '{"spell_discharge_date": "2025-10-11"}', '{hospital_spell.discharge_order}')
) v(data_group, changes, rules);
SELECT is(pg_temp.broken('booking', jsonb_build_object('late_booking_reason', '01', 'antenatal_booking_date', '2025-01-07'::date + v.days)), v.rules,
	'late at ' || v.days || ' days')
FROM (VALUES (90, '{booking.late_reason_early}'::text[]), (91, NULL)) v(days, rules);
RESET ROLE;

-- a group that is rejected takes its children along, and each is told; the rest goes on
SET ROLE datasets_maternity_system;
CREATE TEMP TABLE cascade AS
	SELECT r.body ->> 'group' AS data_group, v.outcome, v.findings
	FROM (SELECT jsonb_set(d, '{records}', (SELECT jsonb_agg(CASE WHEN e.body ->> 'group' = 'hospital_spell'
				THEN jsonb_set(e.body, '{data,spell_discharge_date}', '"2025-10-11"') ELSE e.body END ORDER BY e.n)
			FROM jsonb_array_elements(d -> 'records') WITH ORDINALITY e(body, n))) AS document
		  FROM spine.example_document('maternity', '2.1') d) d,
		spine.validate(d.document::json) v, jsonb_array_elements(d.document -> 'records') WITH ORDINALITY r(body, n)
	WHERE r.n = v.n;
RESET ROLE;
SELECT results_eq($$SELECT data_group, findings #>> '{0,rule}' FROM cascade WHERE outcome = 'rejected' ORDER BY 1$$,
	$$VALUES ('assigned_professional', 'parent.rejected'), ('hospital_spell', 'hospital_spell.discharge_order'),
			 ('spell_commissioner', 'parent.rejected'), ('ward_stay', 'parent.rejected')$$,
	'an impossible stay takes along what is within it');
SELECT is(count(*), 28::bigint, 'and nothing else') FROM cascade WHERE outcome = 'accepted';

-- 2.1 beside 2.0

SELECT set_eq($$SELECT name FROM item WHERE version = '2.1' EXCEPT SELECT name FROM item WHERE version = '2.0'$$,
	'{interpreter_indicator,smoking_status,carbon_monoxide,family_support_indicator}'::text[], 'what 2.1 adds, and what it renames');
SELECT set_eq($$SELECT name FROM item WHERE version = '2.0' EXCEPT SELECT name FROM item WHERE version = '2.1'$$,
	'{support_status_indicator,partner_employment_status}'::text[], 'what it renames and retires');
SELECT set_eq($$SELECT code FROM spine.codes WHERE dataset = 'maternity' AND version = '2.0' AND list = 'consultation_medium'
		EXCEPT SELECT code FROM spine.codes WHERE dataset = 'maternity' AND version = '2.1' AND list = 'consultation_medium'$$,
	'{03,06}'::text[], 'codes that it no longer has');
SET ROLE datasets_maternity_system;
SELECT is_empty($$SELECT v.n, v.findings FROM spine.submit(spine.example_document('maternity', '2.1')::json) v WHERE v.outcome <> 'accepted'$$,
	'its examples are accepted');
RESET ROLE;
GRANT spine_reader TO CURRENT_USER;
SELECT results_eq($$SELECT support_status_indicator FROM maternity_2_0.booking$$, $$SELECT family_support_indicator FROM maternity_2_1.booking$$,
	'what it renames is the same column in both');

-- The NHS's own dummy record: structurally valid, clinically implausible. Read where it is, by the NHS's names of tables and items.

SELECT set_config('spine_test.dummy', coalesce(nullif(regexp_replace(:'ods_file', 'ods/[^/]*$', 'msds/msds-dummy-record.json'), :'ods_file'), ''), false) \g /dev/null
SELECT coalesce(current_setting('spine_test.dummy'), '') <> '' AND (pg_stat_file(nullif(current_setting('spine_test.dummy'), ''), true)).size > 0 AS dummy_is_here \gset
\if :dummy_is_here
CREATE TEMP TABLE dummy_row AS
	-- each is filled by itself, so that they name different deliveries: one is meant
	SELECT row_number() OVER () AS n, replace(key, '_dict', '') AS table_name,
		   value || CASE WHEN value ? 'LabourDeliveryID' THEN '{"LabourDeliveryID": "AK000000000000000023"}'::jsonb ELSE '{}' END AS body
	FROM jsonb_each(pg_read_file(current_setting('spine_test.dummy'))::jsonb) WHERE key <> 'meta_dict';
SELECT cmp_ok(count(*), '>=', 30::bigint, 'the dummy record has rows of its tables') FROM dummy_row;
-- a row is of the group of its table's name, else of the one that knows most of its fields; its mother's number stands with her GP alone
CREATE TEMP TABLE dummy AS
	SELECT DISTINCT ON (r.n) r.n, i.group_name, i.group_n, jsonb_build_object('group', i.group_name, 'data',
			CASE i.group_name WHEN 'mother' THEN (SELECT jsonb_build_object('mother_local_id', g.body -> 'LPIDMother')
												  FROM dummy_row g WHERE g.table_name = 'gp_practice_registrations') ELSE '{}' END
			|| jsonb_object_agg(i.name, CASE i.type WHEN 'time' THEN to_jsonb(right(r.body ->> i.nhs_name, 8)) ELSE r.body -> i.nhs_name END)
				FILTER (WHERE jsonb_typeof(r.body -> i.nhs_name) NOT IN ('object', 'array', 'null'))) AS record
	FROM dummy_row r, item i WHERE i.version = '2.0'
	GROUP BY r.n, r.table_name, r.body, i.group_name, i.group_n, i.nhs_table
	ORDER BY r.n, lower(i.nhs_table) ~ r.table_name DESC, count(*) FILTER (WHERE r.body ? i.nhs_name) DESC, count(*);
SELECT is(count(DISTINCT group_name), (SELECT count(*) FROM dummy_row), 'each of a group of its own') FROM dummy;
GRANT SELECT ON dummy TO datasets_maternity_ral;
SET ROLE datasets_maternity_ral;
CREATE TEMP TABLE dummy_verdict AS
	SELECT d.group_name, v.* FROM (SELECT jsonb_agg(record ORDER BY group_n, n) AS records, array_agg(group_name ORDER BY group_n, n) AS names FROM pg_temp.dummy) a,
		spine.validate(jsonb_build_object('dataset', 'maternity', 'version', '2.0', 'records', a.records)::json) v,
		unnest(a.names) WITH ORDINALITY d(group_name, n) WHERE d.n = v.n;
RESET ROLE;
SELECT is_empty($$SELECT group_name, f ->> 'rule', f ->> 'item' FROM dummy_verdict, jsonb_array_elements(findings) f
	WHERE group_name <> 'anonymous_assessment' AND (outcome = 'rejected' OR f ->> 'severity' <> 'warning')$$, 'the NHS dummy record is structurally valid');
SELECT results_eq($$SELECT f ->> 'rule', f ->> 'item' FROM dummy_verdict, jsonb_array_elements(findings) f
	WHERE group_name = 'anonymous_assessment' AND f ->> 'severity' <> 'warning'$$, $$VALUES ('item.malformed', 'assessment_tool')$$,
	'but for a tool that is no SNOMED CT identifier, beside the pregnancy');
SELECT cmp_ok(count(DISTINCT f ->> 'rule'), '>=', 25::bigint, 'and full of warnings: ' || count(DISTINCT f ->> 'rule') || ' rules broken')
	FROM dummy_verdict, jsonb_array_elements(findings) f;
SELECT set_has($$SELECT f ->> 'rule' FROM dummy_verdict, jsonb_array_elements(findings) f$$,
	$$VALUES ('booking.caesareans_plausible'), ('booking.births_plausible'), ('booking.edd_window'), ('mother.identity'), ('care_contact.duration'),
			 ('baby.birth_before_discharge'), ('baby.home_site')$$, 'such as these');
\endif

SELECT * FROM finish();
ROLLBACK;
