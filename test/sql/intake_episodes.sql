-- Persons and episodes: who a record is about, and which journey it belongs to.
\ir setup.psql
SELECT plan(37);

CREATE ROLE intake_episodes_cedar;
CREATE ROLE intake_episodes_oak;
CREATE ROLE intake_episodes_other_trust;
\o /dev/null
SELECT spine.host_organisation('RQM');
SELECT spine.add_system('RYJ', 'Cedar', 'maternity', 'intake_episodes_cedar');
SELECT spine.add_system('RYJ', 'Oak', 'maternity', 'intake_episodes_oak');
SELECT spine.add_system('RQM', 'Ash', 'maternity', 'intake_episodes_other_trust');
\o
CREATE TABLE verdict (system text, n integer, outcome text, record_id uuid, findings jsonb);
GRANT INSERT ON verdict TO PUBLIC;
CREATE FUNCTION send(system text, VARIADIC records text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE verdict;
	EXECUTE format('SET LOCAL ROLE %I', (SELECT s.role_name FROM spine.system s WHERE s.system = send.system));
	INSERT INTO verdict SELECT send.system, v.* FROM spine.submit(
		format('{"dataset": "maternity", "version": "2.0", "records": [%s]}', array_to_string(records, ','))) v;
	RESET ROLE;
END
$$;
CREATE FUNCTION booking(nhs_number text, patient text, pregnancy text, edd text, booked text DEFAULT '2026-01-05') RETURNS text LANGUAGE sql AS $$
	SELECT format('{"group": "booking", "nhs_number": %s, "local_patient_id": "%s", "local_episode_id": "%s",
		"data": {"antenatal_booking_date": "%s", "edd_agreed": %s}}', coalesce('"' || nhs_number || '"', 'null'), patient, pregnancy,
		booked, coalesce('"' || edd || '"', 'null'))
$$;

-- one pregnancy, told by three systems

SELECT send('Cedar', booking('9990000018', 'M1', 'P1', '2026-08-10'));
SELECT send('Oak', booking('9990000018', '77', 'X1', '2026-08-25'));
SELECT send('Ash', booking('9990000018', 'A-1', 'Q1', '2026-07-30'));
SELECT is((SELECT count(DISTINCT episode_id) FROM maternity.booking WHERE owner = 'RYJ'), 1::bigint,
	'expected dates of delivery within 21 days are one pregnancy, across the systems of a Trust');
SELECT results_eq($$ SELECT kind, anchor, owner, patient_id FROM spine.episode WHERE owner = 'RYJ' $$,
	$$ SELECT 'pregnancy', '2026-08-10'::date, 'RYJ', spine.patient_id('9990000018') $$, 'anchored on the date of the first');
SELECT results_eq($$ SELECT l.kind, f.owner, t.owner FROM spine.episode_link l
	JOIN spine.episode f ON f.episode_id = l.from_episode JOIN spine.episode t ON t.episode_id = l.to_episode $$,
	$$ VALUES ('same', 'RQM', 'RYJ') $$, 'another Trust''s is joined to it by a link');
SELECT isnt((SELECT episode_id FROM maternity.booking WHERE owner = 'RQM'), (SELECT DISTINCT episode_id FROM maternity.booking WHERE owner = 'RYJ'),
	'and has an id of its own, which tells its Trust of nobody else''s');
SELECT set_eq('SELECT concat_ws('' '', owner, source_system, local_patient_id) FROM spine.alias',
	$$ VALUES ('RYJ Cedar M1'), ('RYJ Oak 77'), ('RQM Ash A-1') $$, 'each system keeps its own number for her');
SELECT set_eq('SELECT organisation, kind, owner FROM spine.relationship',
	$$ VALUES ('RYJ', 'episode', 'RYJ'), ('RQM', 'episode', 'RQM') $$, 'each organisation with an episode has a relationship');

-- another pregnancy

SELECT send('Oak', booking('9990000018', '77', 'X2', '2027-09-25', '2027-03-01'));
SELECT is((SELECT count(*) FROM spine.episode WHERE owner = 'RYJ'), 2::bigint, 'a date a year later is another pregnancy');
SELECT send('Cedar', booking('9990000018', 'M1', 'P2', '2027-09-30', '2027-03-02'));
SELECT is((SELECT count(DISTINCT episode_id) FROM maternity.booking WHERE edd_agreed > '2027-01-01'), 1::bigint, 'which both systems share again');
SELECT send('Cedar', '{"group": "care_plan", "local_episode_id": "P2", "data": {"care_plan_date": "2027-04-01", "care_plan_type": "05"}}');
SELECT is((SELECT episode_id FROM maternity.care_plan), (SELECT DISTINCT episode_id FROM maternity.booking WHERE edd_agreed > '2027-01-01'),
	'the pregnancy identifier alone leads to woman and episode');

-- the date agreed later

SELECT send('Cedar', booking('9990000018', 'M1', 'P1', '2026-08-14'));
SELECT is((SELECT min(anchor) FROM spine.episode WHERE owner = 'RYJ'), '2026-08-14'::date, 'the owner of an episode may move its date');
SELECT send('Ash', booking('9990000018', 'A-1', 'Q1', '2026-07-20'));
SELECT is((SELECT min(anchor) FROM spine.episode WHERE owner = 'RYJ'), '2026-08-14'::date, 'another Trust''s correction moves its own');
SELECT is_empty('SELECT FROM spine.episode_link', 'and parts what is too far now to be one');
SELECT send('Ash', booking('9990000018', 'A-1', 'Q1', '2026-07-29'));
SELECT is((SELECT count(*) FROM spine.episode_link), 1::bigint, 'or joins it again');
SELECT send('Cedar', booking('9990000026', 'M2', 'P3', NULL));
SELECT is((SELECT anchor FROM spine.episode WHERE patient_id = spine.patient_id('9990000026')), NULL, 'a pregnancy without a date yet');
SELECT send('Cedar', booking('9990000026', 'M2', 'P3', '2026-09-01'));
SELECT is((SELECT anchor FROM spine.episode WHERE patient_id = spine.patient_id('9990000026')), '2026-09-01'::date, 'gets it when it is known');

-- a woman without a number, whose number is found later

SELECT send('Cedar', booking(NULL, 'M3', 'P4', '2026-10-01'));
SELECT patient_id AS unknown FROM maternity.booking WHERE pregnancy_id = 'P4' \gset
SELECT isnt(:'unknown'::uuid, NULL, 'without an NHS number she has an id all the same');
SELECT send('Cedar', '{"group": "mother", "local_patient_id": "M3", "nhs_number": "9990000034", "data": {"mother_nhs_number_status": "01"}}');
SELECT results_eq('SELECT from_patient, to_patient, method, owner FROM spine.identity_link',
	format($$ SELECT %L::uuid, spine.patient_id('9990000034'), 'nhs_number', 'RYJ' $$, :'unknown'), 'her number makes a link');
SELECT is((SELECT patient_id FROM maternity.booking WHERE pregnancy_id = 'P4'), :'unknown'::uuid, 'and no record is re-pointed');
SELECT is((SELECT patient_id FROM maternity.mother WHERE mother_local_id = 'M3'), spine.patient_id('9990000034'), 'the new record is under the number');
SELECT send('Cedar', booking('9990000034', 'M3', 'P4', '2026-10-02'));
SELECT results_eq('SELECT outcome FROM verdict', $$ VALUES ('accepted') $$, 'her pregnancy identifier goes on to be hers');

-- identifiers of somebody else

SELECT send('Cedar', booking('9990000042', 'M4', 'P1', '2026-08-14'));
SELECT results_eq($$ SELECT outcome, findings #>> '{0,rule}' FROM verdict $$, $$ VALUES ('rejected', 'identity.conflict') $$,
	'a pregnancy identifier that was sent for another woman is refused');
SELECT send('Cedar', booking('9990000042', 'M4', 'P5', '2026-08-14'), booking('9990000050', 'M5', 'P5', '2026-08-14'));
SELECT set_eq($$ SELECT n, outcome, findings #>> '{0,rule}' FROM verdict $$,
	$$ VALUES (1, 'accepted', NULL), (2, 'rejected', 'identity.conflict') $$, 'within one document too');

-- a number sent for the wrong woman, and set right

SELECT send('Cedar', booking('9990000085', 'M6', 'P6', '2026-09-15'));
SELECT send('Cedar', booking('9990000077', 'M6', 'P6', '2026-09-15'));
SELECT results_eq($$ SELECT outcome, findings #>> '{0,rule}' FROM verdict $$, $$ VALUES ('rejected', 'identity.conflict') $$,
	'a patient number does not pass to another person by itself');
SELECT throws_ok($$ SET LOCAL ROLE intake_episodes_cedar; SELECT spine.end_alias('RYJ', 'Cedar', 'M6') $$, '42501', NULL, 'nor at the system''s wish');
SELECT is(spine.end_alias('RYJ', 'Cedar', 'M6'), spine.patient_id('9990000085'), 'an operator ends what it meant');
SELECT send('Cedar', booking('9990000077', 'M6', 'P6', '2026-09-15'));
SELECT results_eq($$ SELECT outcome FROM verdict $$, $$ VALUES ('accepted') $$, 'then the record goes to whom it is about');
SELECT results_eq($$ SELECT patient_id, revision FROM maternity.booking WHERE pregnancy_id = 'P6' $$, $$ SELECT spine.patient_id('9990000077'), 2::bigint $$,
	'as a correction');
SELECT throws_ok($$ SELECT spine.end_alias('RYJ', 'Cedar', 'M66') $$, 'P0002', NULL, 'a number that was never sent');

-- mother, twins, neonatal unit

SELECT send('Cedar',
	'{"group": "labour_delivery", "local_episode_id": "P1", "data": {"labour_delivery_id": "L1", "labour_onset_date": "2026-08-01", "labour_onset_method": "1"}}',
	'{"group": "baby", "nhs_number": "9990000069", "local_patient_id": "BA", "data": {"labour_delivery_id": "L1", "baby_birth_date": "2026-08-01", "baby_birth_time": "03:00:00"}}',
	'{"group": "baby", "local_patient_id": "BB", "data": {"labour_delivery_id": "L1", "baby_birth_date": "2026-08-01", "baby_birth_time": "03:09:00"}}',
	'{"group": "neonatal_admission", "local_patient_id": "BB", "data": {"neonatal_transfer_date": "2026-08-01", "neonatal_transfer_time": "04:00:00"}}');
SELECT results_eq($$ SELECT outcome FROM verdict WHERE outcome = 'rejected' $$, $$ SELECT ''::text WHERE false $$, 'a delivery with twins is accepted');
SELECT is((SELECT count(DISTINCT patient_id) FROM maternity.baby), 2::bigint, 'twins are two persons');
SELECT is((SELECT count(*) FROM spine.episode WHERE kind = 'birth' AND anchor = '2026-08-01'), 2::bigint, 'with a birth each');
SELECT results_eq('SELECT DISTINCT mother, method FROM spine.family_link', $$ SELECT spine.patient_id('9990000018'), 'labour_delivery' $$,
	'both are linked to their mother');
SELECT is((SELECT count(*) FROM spine.family_link), 2::bigint, 'each once');
SELECT results_eq($$ SELECT count(*), count(DISTINCT to_episode) FROM spine.episode_link WHERE kind = 'birth_of' $$, 'VALUES (2::bigint, 1::bigint)',
	'their births to her pregnancy');
SELECT results_eq($$ SELECT e.kind, e.patient_id = b.patient_id FROM maternity.neonatal_admission a
	JOIN spine.episode e USING (episode_id) JOIN maternity.baby b ON b.baby_local_id = 'BB' $$,
	$$ VALUES ('neonatal_admission', true) $$, 'the admission is an episode of the one who was admitted');
SELECT send('Cedar', '{"group": "neonatal_admission", "local_patient_id": "BB", "local_record_id": "again", "data": {"neonatal_transfer_date": "2026-09-15"}}');
SELECT is((SELECT count(DISTINCT episode_id) FROM maternity.neonatal_admission), 2::bigint, 'a second admission later is another episode');
SELECT is((SELECT count(*) FROM spine.relationship WHERE organisation = 'RYJ' AND until IS NULL),
	(SELECT count(DISTINCT patient_id) FROM spine.relationship WHERE organisation = 'RYJ'), 'a relationship for each person with an episode, once');

SELECT * FROM finish();
DELETE FROM spine.system;
DROP OWNED BY intake_episodes_cedar, intake_episodes_oak, intake_episodes_other_trust;
DROP ROLE intake_episodes_cedar, intake_episodes_oak, intake_episodes_other_trust;
