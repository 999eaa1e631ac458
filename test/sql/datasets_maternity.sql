-- The shipped maternity data set: what it holds, and that each of its rules can be broken and kept.
BEGIN;
SELECT * FROM no_plan();

CREATE TEMP TABLE definition ON COMMIT DROP AS
	SELECT body FROM spine.shipped_datasets() body WHERE body ->> 'name' = 'maternity' AND body ->> 'version' = '2.0';
SELECT is(count(*), 1::bigint, 'shipped once') FROM definition;
SELECT is_empty($$SELECT f.* FROM definition, spine.definition_faults(body) f$$, 'without a fault');

CREATE TEMP TABLE item ON COMMIT DROP AS
	SELECT g.n AS group_n, g.body ->> 'name' AS group_name, g.body ->> 'nhs_table' AS nhs_table, i.n, i.body ->> 'name' AS name,
		   i.body ->> 'nhs_name' AS nhs_name, i.body ->> 'uid' AS uid, i.body ->> 'type' AS type, i.body
	FROM definition, jsonb_array_elements(definition.body -> 'groups') WITH ORDINALITY g(body, n),
		jsonb_array_elements(g.body -> 'items') WITH ORDINALITY i(body, n);
CREATE TEMP TABLE rule ON COMMIT DROP AS
	SELECT g.body ->> 'name' AS group_name, r ->> 'id' AS id, r ->> 'expression' AS expression
	FROM definition, jsonb_array_elements(definition.body -> 'groups') g(body), jsonb_array_elements(g.body -> 'rules') r;

SELECT is(count(DISTINCT nhs_table), 32::bigint, '32 tables') FROM item;
SELECT is(count(*), 288::bigint, '288 items') FROM item;
SELECT is(count(DISTINCT uid), 288::bigint, 'each with its UID') FROM item;
SELECT is_empty($$SELECT name FROM item WHERE uid !~ ('^M' || substr(nhs_table, 4, 3) || '[0-9]{3}$')$$, 'which is one of its table');
SELECT is_empty($$SELECT nhs_name FROM item GROUP BY nhs_name HAVING count(DISTINCT name) > 1$$,
				'one NHS name has one name of ours in every group');
SELECT is_empty($$SELECT name FROM item GROUP BY name HAVING count(DISTINCT type) > 1$$, 'and one name one type');
SELECT matches(body ->> 'mandation', 'not public', 'it says whose statuses these are') FROM definition;

-- true, false or null: the rule on a record of these items
CREATE FUNCTION pg_temp.verdict(rule_id text, record jsonb) RETURNS boolean
	LANGUAGE plpgsql
	SET search_path = pg_catalog, spine, pg_temp
	AS $fn$
DECLARE
	columns text;
	expression text;
	answer boolean;
BEGIN
	SELECT r.expression, (SELECT string_agg(format('%I %s', i.name, spine.item_type(i.type)), ', ')
						  FROM pg_temp.item i WHERE i.group_name = r.group_name)
	INTO STRICT expression, columns
	FROM pg_temp.rule r WHERE r.id = rule_id;
	EXECUTE format('SELECT (%s) FROM jsonb_to_record($1) AS r(%s)', expression, columns) INTO answer USING record;
	RETURN answer;
END
$fn$;

-- For each rule, a record that breaks it and the change that mends it.
CREATE TEMP TABLE vector (id text, broken jsonb, mend jsonb) ON COMMIT DROP;
INSERT INTO vector VALUES
	('header.period_order', '{"period_start_date": "2026-02-01", "period_end_date": "2026-01-31"}', '{"period_end_date": "2026-02-28"}'),
	('mother.birth_date_future', jsonb_build_object('mother_birth_date', current_date + 1), '{"mother_birth_date": "1995-04-01"}'),
	('mother.birth_date_age', '{"mother_birth_date": "1919-04-01"}', '{"mother_birth_date": "1995-04-01"}'),
	('mother.death_order', '{"mother_birth_date": "1995-04-01", "mother_death_date": "1995-03-31"}', '{"mother_death_date": "2026-03-31"}'),
	('mother.nhs_number_status', '{"mother_nhs_number": "9434765919", "mother_nhs_number_status": "07"}', '{"mother_nhs_number_status": "01"}'),
	('mother.nhs_number_status_baby', '{"mother_nhs_number_status": "08"}', '{"mother_nhs_number_status": "03"}'),
	('mother.postcode_shape', '{"postcode": "LS14HR"}', '{"postcode": "zZ99 3VZ"}'),
	('gp_registration.period_order', '{"gp_registration_start_date": "2026-02-01", "gp_registration_end_date": "2025-02-01"}', '{"gp_registration_end_date": "2026-02-01"}'),
	('booking.edd_window', '{"antenatal_booking_date": "2026-01-05", "edd_agreed": "2027-08-10"}', '{"edd_agreed": "2026-08-10"}'),
	('booking.edd_period', '{"last_menstrual_period_date": "2025-11-03", "edd_agreed": "2026-12-10"}', '{"edd_agreed": "2026-08-10"}'),
	('booking.period_before_booking', '{"last_menstrual_period_date": "2026-11-03", "antenatal_booking_date": "2026-01-05"}', '{"last_menstrual_period_date": "2025-11-03"}'),
	('booking.first_contact_before_booking', '{"first_contact_date": "2026-01-06", "antenatal_booking_date": "2026-01-05"}', '{"first_contact_date": "2026-01-05"}'),
	('booking.discharge_after_booking', '{"maternity_discharge_date": "2026-01-04", "antenatal_booking_date": "2026-01-05"}', '{"maternity_discharge_date": "2026-08-24"}'),
	('booking.discharge_date', '{"maternity_discharge_reason": "01"}', '{"maternity_discharge_date": "2026-08-24"}'),
	('booking.caesareans_of_births', '{"previous_caesareans": 2, "previous_live_births": 1, "previous_stillbirths": 0}', '{"previous_stillbirths": 1}'),
	('booking.births_plausible', '{"previous_live_births": 99, "previous_stillbirths": 0}', '{"previous_live_births": 9}'),
	('booking.late_reason_early', '{"late_booking_reason": "01", "antenatal_booking_date": "2026-01-05", "edd_agreed": "2026-08-10"}', '{"antenatal_booking_date": "2026-02-05"}'),
	('care_plan.continuity_team', '{"continuity_of_carer_indicator": "Y", "care_professional_id": "M1"}', '{"care_team_id": "T1"}'),
	('dating_scan.content', '{"scan_fetus_count": 1}', '{"scan_offer_date": "2026-01-05"}'),
	('dating_scan.gestation_window', '{"scan_gestation": "12"}', '{"scan_gestation": "12+4"}'),
	('dating_scan.result_date', '{"scan_gestation": "84"}', '{"scan_date": "2026-01-26"}'),
	('dating_scan.declined', '{"scan_offer_status": "02", "scan_date": "2026-01-26"}', '{"scan_offer_status": "03"}'),
	('dating_scan.fetal_order_count', '{"fetal_order": "2", "scan_fetus_count": 1}', '{"scan_fetus_count": 2}'),
	('pregnancy_assessment.score_shape', '{"assessment_score": "twelve"}', '{"assessment_score": "12"}'),
	('provisional_diagnosis.code_shape', '{"diagnosis_scheme": "02", "provisional_diagnosis_code": "72.10"}', '{"provisional_diagnosis_code": "O72.1"}'),
	('diagnosis.code_shape', '{"diagnosis_scheme": "06", "diagnosis_code": "O72.1"}', '{"diagnosis_scheme": "02"}'),
	('medical_history.code_shape', '{"diagnosis_scheme": "04", "previous_diagnosis_code": "C10E"}', '{"previous_diagnosis_code": "C10E."}'),
	('mother_finding.content', '{"finding_date": "2026-01-05"}', '{"finding_code": "77176002"}'),
	('mother_finding.finding_scheme', '{"finding_code": "77176002"}', '{"finding_scheme": "04"}'),
	('mother_finding.observation_scheme', '{"observation_scheme": "03"}', '{"observation_code": "27113001"}'),
	('mother_finding.value_code', '{"observation_value": "61.5"}', '{"observation_code": "27113001"}'),
	('care_contact.cancelled_attended', '{"attendance": "5", "cancellation_date": "2026-01-05"}', '{"attendance": "4"}'),
	('care_contact.missed_duration', '{"attendance": "3", "contact_duration": 20}', '{"attendance": "6"}'),
	('care_activity.procedure_scheme', '{"procedure_code": "R17.2"}', '{"procedure_scheme": "02"}'),
	('care_activity.finding_scheme', '{"finding_code": "77176002"}', '{"finding_scheme": "04"}'),
	('care_activity.observation_scheme', '{"observation_scheme": "03"}', '{"observation_code": "27113001"}'),
	('labour_delivery.discharge_after_onset', '{"labour_onset_date": "2026-08-10", "mother_discharge_date": "2026-08-09"}', '{"mother_discharge_date": "2026-08-10"}'),
	('labour_delivery.discharge_after_admission', '{"delivery_admission_date": "2026-08-10", "mother_discharge_date": "2026-08-09"}', '{"mother_discharge_date": "2026-08-11"}'),
	('labour_delivery.decision_before_caesarean', '{"decision_to_deliver_date": "2026-08-11", "caesarean_date": "2026-08-10"}', '{"caesarean_date": "2026-08-11"}'),
	('labour_delivery.onset_method_caesarean', '{"labour_onset_method": "2", "labour_onset_date": "2026-08-09", "caesarean_date": "2026-08-10"}', '{"labour_onset_method": "1"}'),
	('labour_delivery.death_destination', '{"mother_discharge_method": "4", "mother_discharge_destination": "19"}', '{"mother_discharge_destination": "79"}'),
	('labour_activity.procedure_scheme', '{"procedure_scheme": "06"}', '{"procedure_code": "408818004"}'),
	('labour_activity.finding_scheme', '{"finding_scheme": "04"}', '{"finding_code": "10217006"}'),
	('labour_activity.observation_scheme', '{"observation_code": "364589006"}', '{"observation_scheme": "03"}'),
	('baby.gestation_window', '{"birth_gestation": "40"}', '{"birth_gestation": "40+0"}'),
	('baby.stillbirth_gestation', '{"pregnancy_outcome": "02", "birth_gestation": "167"}', '{"birth_gestation": "24+0"}'),
	('baby.death_order', '{"baby_birth_date": "2026-08-10", "baby_death_date": "2026-08-09"}', '{"baby_death_date": "2026-08-10"}'),
	('baby.discharge_order', '{"baby_birth_date": "2026-08-10", "baby_discharge_date": "2026-08-09"}', '{"baby_discharge_date": "2026-08-12"}'),
	('baby.first_feed_order', '{"baby_birth_date": "2026-08-10", "first_feed_date": "2026-08-09"}', '{"first_feed_date": "2026-08-10"}'),
	('baby.stillbirth_feed', '{"pregnancy_outcome": "03", "first_feed_date": "2026-08-10"}', '{"pregnancy_outcome": "01"}'),
	('baby.water_caesarean', '{"water_delivery_indicator": "Y", "delivery_method": "8"}', '{"delivery_method": "0"}'),
	('baby.nhs_number_status', '{"baby_nhs_number": "9434765870", "baby_nhs_number_status": "07"}', '{"baby_nhs_number_status": "02"}'),
	('baby.birth_order_shape', '{"birth_order": "01"}', '{"birth_order": "UU"}'),
	('neonatal_provisional_diagnosis.code_shape', '{"diagnosis_scheme": "05", "provisional_diagnosis_code": "P22.00"}', '{"diagnosis_scheme": "02"}'),
	('neonatal_diagnosis.code_shape', '{"diagnosis_scheme": "06", "diagnosis_code": "P22.0"}', '{"diagnosis_code": "276548007"}'),
	('baby_activity.procedure_scheme', '{"procedure_code": "985531000000103"}', '{"procedure_scheme": "06"}'),
	('baby_activity.finding_scheme', '{"finding_scheme": "04"}', '{"finding_code": "276548007"}'),
	('baby_activity.observation_scheme', '{"observation_code": "364589006"}', '{"observation_scheme": "03"}'),
	('baby_assessment.score_shape', '{"assessment_score": "100"}', '{"assessment_score": "10"}'),
	('hospital_spell.discharge_order', '{"spell_start_date": "2026-08-10", "spell_discharge_date": "2026-08-09"}', '{"spell_discharge_date": "2026-08-11"}'),
	('hospital_spell.death_destination', '{"discharge_method": "4", "discharge_destination": "19"}', '{"discharge_method": "1"}'),
	('spell_commissioner.period_order', '{"commissioner_start_date": "2026-08-10", "commissioner_end_date": "2026-08-09"}', '{"commissioner_end_date": "2026-08-10"}'),
	('ward_stay.period_order', '{"ward_start_date": "2026-08-10", "ward_start_time": "12:00", "ward_end_date": "2026-08-10", "ward_end_time": "11:59"}', '{"ward_end_time": "12:00"}'),
	('assigned_professional.period_order', '{"assignment_start_date": "2026-08-10", "assignment_end_date": "2026-08-09"}', '{"assignment_end_date": "2026-08-11"}');

SELECT bag_eq('SELECT id FROM vector', 'SELECT id FROM rule', 'a vector for each rule and no other');
SELECT is(pg_temp.verdict(id, broken), false, id || ' can be broken') FROM vector;
SELECT is(pg_temp.verdict(id, broken || mend), true, id || ' can be kept') FROM vector;
-- an item that a rule compares may be missing; only a rule that asks for content asks for items
SELECT isnt(pg_temp.verdict(id, broken - item), false, format('%s passes without %s', id, item))
FROM vector, jsonb_object_keys(broken) item
WHERE id !~ '\.(content|continuity_team|\w+_scheme)$';
SELECT isnt(pg_temp.verdict(id, '{}'), false, id || ' passes an empty record') FROM rule WHERE id !~ '\.content$';

-- a few that are easy to get wrong
SELECT is(pg_temp.verdict('ward_stay.period_order', v.record), v.kept, 'ward stay: ' || v.record::text)
FROM (VALUES
	('{"ward_start_date": "2026-08-10", "ward_start_time": "12:00", "ward_end_date": "2026-08-11", "ward_end_time": "08:00"}'::jsonb, true),
	('{"ward_start_date": "2026-08-10", "ward_start_time": "12:00", "ward_end_date": "2026-08-09", "ward_end_time": "13:00"}', false),
	('{"ward_start_date": "2026-08-10", "ward_end_date": "2026-08-10", "ward_end_time": "13:00"}', true)
) v(record, kept);
SELECT is(pg_temp.verdict('diagnosis.code_shape', v.record), v.kept, 'code and scheme: ' || v.record::text)
FROM (VALUES
	('{"diagnosis_scheme": "02", "diagnosis_code": "F05.0"}'::jsonb, true),
	('{"diagnosis_scheme": "02", "diagnosis_code": "O80"}', true),
	('{"diagnosis_scheme": "02", "diagnosis_code": "O8"}', false),
	('{"diagnosis_scheme": "05", "diagnosis_code": "XE0Uc"}', true),
	('{"diagnosis_scheme": "06", "diagnosis_code": "12345"}', false),
	('{"diagnosis_scheme": "99", "diagnosis_code": "?"}', NULL),
	('{"diagnosis_code": "?"}', NULL)
) v(record, kept);
SELECT is(pg_temp.verdict('mother.postcode_shape', jsonb_build_object('postcode', v.postcode)), v.kept, 'postcode: ' || v.postcode)
FROM (VALUES ('LS1 4HR', true), ('W1T  4LP', true), ('GIR 0AA', true), ('EC1A 1BB', true), ('LS1 4H', false), ('WN58QX', false), ('1LS 4HR', false)) v(postcode, kept);
SELECT is(pg_temp.verdict('booking.late_reason_early', jsonb_build_object('late_booking_reason', '01', 'edd_agreed', '2026-08-10',
		'antenatal_booking_date', '2025-11-03'::date + v.days)), v.kept, 'late at ' || v.days || ' days')
FROM (VALUES (90, false), (91, true)) v(days, kept);

SELECT * FROM finish();
ROLLBACK;
