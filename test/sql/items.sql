-- Which items of another owner's record are seen, what dissent and retention do at once, and what holds while the audiences
-- of a large group are being computed anew.
\ir setup.psql
\ir as_role.psql
SELECT plan(57);
SELECT two_trusts('items') \g /dev/null
SELECT book('items_ryj_system', '9990000018', '1') \g /dev/null
UPDATE maternity.booking SET complex_social_factors_indicator = 'Y', disability_indicator = 'N';
CREATE FUNCTION chelsea(query text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT as_role('items_rqm_clinician', query) $$;
CREATE FUNCTION open_it(number text) RETURNS text LANGUAGE sql AS $$
	SELECT value_as('items_rqm_clinician', format('SELECT spine.open_record(%L, ''care'', ''she came to us'') IS NOT NULL', number))
$$;
CREATE FUNCTION booking_items(who text DEFAULT 'items_rqm_clinician') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a, ' ') FROM as_role(who, 'SELECT antenatal_booking_date, complex_social_factors_indicator, pregnancy_id FROM maternity_2_0.booking WHERE owner = ''RYJ''') a
$$;
CREATE FUNCTION record_items(who text DEFAULT 'items_rqm_clinician') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(k, ' ' ORDER BY k)
	  FROM as_role(who, 'SELECT data FROM spine.timeline(''9990000018'') WHERE data_group = ''booking''') a,
		   jsonb_object_keys(replace(btrim(a, '()"'), '""', '"')::jsonb) k
$$;
CREATE FUNCTION version(n integer, clause jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT document(jsonb_build_object('version', n), '{"relationships": ["referral"]}' || clause)
$$;
CREATE FUNCTION audience() RETURNS text LANGUAGE sql AS $$ SELECT audience::text FROM maternity.booking $$;

-- classes

SELECT agree('items', version(1, '{}')) \g /dev/null
SELECT value_as('items_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'x') $$) AS referral \gset
SELECT is(audience(), '{RQM:care,RQM:care/aci}', 'an audience says which classes of items: by default all but the restricted ones');
SELECT is(open_it('9990000018'), 't', 'opened');
SELECT is(booking_items(), '(2026-01-05,,P1)', 'a restricted item comes out NULL through the view');
SELECT is(booking_items('items_ryj_clinician'), '(2026-01-05,Y,P1)', 'to the owner''s people it is there');
SELECT is(record_items(), 'antenatal_booking_date edd_agreed mother_local_id pregnancy_id', 'and absent from the record');
SELECT is(record_items('items_ryj_clinician'), 'antenatal_booking_date complex_social_factors_indicator disability_indicator edd_agreed mother_local_id pregnancy_id',
	'the owner''s has it');
SELECT is((SELECT count(*) FROM chelsea($$ SELECT 1 FROM maternity_2_0.booking WHERE owner = 'RYJ' AND complex_social_factors_indicator = 'Y' $$)), 0::bigint,
	'nor can it be asked for');
SELECT is((SELECT count(*) FROM chelsea($$ SELECT 1 FROM maternity_2_0.booking WHERE owner = 'RYJ' AND complex_social_factors_indicator IS NOT NULL $$)), 0::bigint,
	'in whatever way');
SELECT lives_ok($$ SELECT chelsea('SELECT 1 FROM maternity_2_0.booking WHERE owner = ''RYJ'' AND complex_social_factors_indicator::integer = 1') $$,
	'an error in the condition would tell of it: it is not asked (attack 11)');

SELECT agree('items', version(2, '{"item_classes": ["restricted"]}')) \g /dev/null
SELECT is(booking_items(), '(,Y,)', 'a later version of the agreement shows other classes from its publication on, to the session that has the record open');
SELECT is(audience(), '{RQM:care,RQM:care/r}', 'and is in the audience');
SELECT agree('items', version(3, '{"item_classes": ["clinical"], "items": {"include": ["booking.complex_social_factors_indicator"], "exclude": ["booking.antenatal_booking_date"]}}')) \g /dev/null
SELECT is((SELECT string_agg(a, '') FROM chelsea($$ SELECT pregnancy_id, antenatal_booking_date, complex_social_factors_indicator, disability_indicator, edd_agreed FROM maternity_2_0.booking WHERE owner = 'RYJ' $$) a),
	(SELECT CASE WHEN class = 'clinical' THEN '(,,Y,,2026-08-10)' ELSE '(,,Y,,)' END FROM spine.data_items WHERE dataset = 'maternity' AND version = '2.0' AND data_group = 'booking' AND item = 'edd_agreed'),
	'single items in and out of the classes');
SELECT ok((SELECT audience @> ARRAY['RQM:care/+complex_social_factors_indicator'] AND NOT audience && ARRAY['RQM:care/c', 'RQM:care/+antenatal_booking_date'] FROM maternity.booking),
	'a class that is not whole is told item by item');
SELECT agree('items', version(4, '{"item_classes": ["administrative"], "groups": ["booking"]}')
	|| jsonb_build_object('clauses', jsonb_build_array(version(4, '{"item_classes": ["administrative"], "groups": ["booking"]}') -> 'clauses' -> 0,
		version(4, '{"item_classes": ["restricted"], "groups": ["booking"], "relationships": ["transfer"]}') -> 'clauses' -> 0))) \g /dev/null
SELECT is(booking_items(), (SELECT CASE WHEN class = 'administrative' THEN '(2026-01-05,,P1)' ELSE '(,,P1)' END FROM spine.data_items
	WHERE dataset = 'maternity' AND version = '2.0' AND data_group = 'booking' AND item = 'antenatal_booking_date'), 'each clause shows its items to who has its relationship');
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner) VALUES (gen_random_uuid(), spine.patient_id('9990000018'), 'RQM', 'transfer', 'RYJ');
SELECT ok(booking_items() LIKE '%,Y,P1)', 'with both relationships the items of both are seen');
UPDATE maternity.booking SET audience = '{RQM:care,RQM:care/acir,RQM:care/+complex_social_factors_indicator}';
UPDATE spine.relationship SET until = now() WHERE kind = 'transfer';
SELECT ok(booking_items() LIKE '%,,P1)', 'and without one no longer');
DELETE FROM spine.relationship WHERE kind = 'transfer';
UPDATE maternity.booking SET audience = '{RQM:care,RQM:care/acir}';
SELECT ok(booking_items() LIKE '%,Y,P1)', 'an audience that says more than the clauses in force is believed only as far as one of them says so: here the other one does');
SELECT agree('items', version(5, '{"groups": ["booking"]}')) \g /dev/null
UPDATE maternity.booking SET audience = '{RQM:care,RQM:care/acir}';
SELECT is(booking_items(), '(2026-01-05,,P1)', 'here none does');
UPDATE maternity.booking SET audience = '{RQM:care}';
SELECT is(booking_items(), '(,,)', 'without a word about items none is seen');
SELECT spine.reaudience(ARRAY[spine.patient_id('9990000018')]) \g /dev/null
SELECT is(booking_items(), '(2026-01-05,,P1)', 'as it was');

-- dissent

CREATE FUNCTION dissent(purpose text, organisation text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	INSERT INTO spine.dissent (dissent_id, patient_id, purpose, organisation, owner, recorded_by)
		VALUES (gen_random_uuid(), spine.patient_id('9990000018'), purpose, organisation, 'RYJ', 'x')
$$;
SELECT dissent('care', 'R1K') \g /dev/null
SELECT is(booking_items(), '(2026-01-05,,P1)', 'a dissent against another organisation changes nothing');
SELECT dissent('secondary') \g /dev/null
SELECT is(booking_items(), '(2026-01-05,,P1)', 'nor does one against another purpose');
SELECT dissent('care', 'RQM') \g /dev/null
SELECT is(booking_items(), NULL, 'a dissent against this one closes what is open, at once');
SELECT is(audience(), '{}', 'and is in the audience');
UPDATE maternity.booking SET audience = '{RQM:care,RQM:care/aci}';
SELECT is(booking_items(), NULL, 'which would not be believed against it (attack 42)');
SELECT throws_ok($$ SELECT open_it('9990000018') $$, 'SP006', 'no record of this person is open to you', 'nor can it be opened');
UPDATE spine.dissent SET until = now(), revision = 2;
SELECT is(audience(), '{RQM:care,RQM:care/aci}', 'withdrawn, the audience is as it was');
SELECT is(booking_items(), '(2026-01-05,,P1)', 'and so is what is seen');
SELECT dissent('care') \g /dev/null
SELECT is(booking_items(), NULL, 'a dissent against everybody is one against this one');
SELECT is(booking_items('items_ryj_clinician'), '(2026-01-05,Y,P1)', 'not against the owner');
DELETE FROM spine.dissent;

-- who broke the glass

SELECT agree('items', version(6, '{"groups": ["booking"], "emergency": true}')) \g /dev/null
SELECT dissent('care') \g /dev/null
CREATE FUNCTION break_it(until timestamptz DEFAULT 'infinity') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL ROLE items_rqm_clinician;
	PERFORM opening(until);
	RESET ROLE;
END
$$;
CREATE FUNCTION opening(until timestamptz) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
	SELECT spine.opening_add(ARRAY[spine.patient_id('9990000018')], 'RQM', 'emergency', false, until)
$$;
SELECT break_it() \g /dev/null
SELECT is(booking_items(), NULL, 'an opening is not enough');
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, until)
	VALUES ('00000000-0000-7000-8000-00000000000e', spine.patient_id('9990000018'), 'RQM', 'emergency', 'RQM', now() + interval '3 hours');
SELECT is(booking_items(), '(2026-01-05,,P1)', 'with the emergency it shows what the clause shows, against a dissent');
SELECT is(audience(), '{}', 'before the audience says so: an emergency of our own is not waited for');
SELECT spine.settle_audiences() \g /dev/null
SELECT is(audience(), '{RQM:emergency,RQM:emergency/aci}', 'which the courier brings in line');
SELECT chelsea('SELECT spine.close_records()') \g /dev/null
SELECT throws_ok($$ SELECT open_it('9990000018') $$, 'SP006', 'no record of this person is open to you', 'one who did not break the glass has no part in it');
SELECT break_it() \g /dev/null
SELECT agree('items', version(7, '{"groups": ["booking"], "emergency": {"item_classes": ["restricted"]}}')) \g /dev/null
SELECT is(booking_items(), '(,Y,)', 'other classes of items where the clause says so for emergencies');
UPDATE spine.relationship SET until = now() WHERE kind = 'emergency';
SELECT is(booking_items(), NULL, 'its end ends it');
SELECT agree('items', version(8, '{"groups": ["booking"]}')) \g /dev/null
UPDATE spine.relationship SET until = NULL WHERE kind = 'emergency';
SELECT is(booking_items(), NULL, 'and where no clause allows it, it shows nothing');
SELECT ok((SELECT l.audience = '{RYJ:care}' FROM spine.relationship l WHERE l.kind = 'emergency'), 'who shares knows of it');
DELETE FROM spine.dissent;
DELETE FROM spine.relationship WHERE kind = 'emergency';
SELECT chelsea('SELECT spine.close_records()'), open_it('9990000018') \g /dev/null

-- retention

SELECT agree('items', version(9, '{"groups": ["booking"], "retention_days": 30}')) \g /dev/null
UPDATE spine.relationship SET until = now() WHERE relationship_id = :'referral';
SELECT is(booking_items(), '(2026-01-05,,P1)', 'within its retention a relationship that has ended still counts');
UPDATE spine.relationship SET until = now() - interval '31 days' WHERE relationship_id = :'referral';
SELECT is(booking_items(), NULL, 'after it no longer');
BEGIN;
UPDATE spine.relationship SET until = now() - interval '29 days 23 hours' WHERE relationship_id = :'referral';
ALTER TABLE spine.relationship DISABLE TRIGGER reaudience_update;
UPDATE spine.relationship SET until = now() - interval '30 days 1 minute' WHERE relationship_id = :'referral';
ALTER TABLE spine.relationship ENABLE TRIGGER reaudience_update;
SELECT is(audience(), '{RQM:care,RQM:care/aci}', 'when a retention runs out by time');
UPDATE spine.settled SET at = now() - interval '2 minutes';
SELECT spine.settle_audiences() \g /dev/null
SELECT is(audience(), '{}', 'the courier sees to it');
ROLLBACK;
UPDATE spine.relationship SET until = NULL WHERE relationship_id = :'referral';

-- while a large group is being brought in line

SELECT is(booking_items(), '(2026-01-05,,P1)', 'shared');
BEGIN;
UPDATE maternity.booking SET audience = '{}';
INSERT INTO spine.reaudience_task (owner, dataset, data_group) VALUES ('RYJ', 'maternity', 'booking');
SELECT is(booking_items(), '(2026-01-05,,P1)', 'the rules themselves decide, not the audience that is not there yet');
UPDATE maternity.booking SET audience = '{RQM:care,RQM:care/acir}';
SELECT is(booking_items(), '(2026-01-05,,P1)', 'nor one that says too much');
UPDATE spine.relationship SET until = now() - interval '1 year' WHERE relationship_id = :'referral';
SELECT is(booking_items(), NULL, 'and they see what has ended');
UPDATE maternity.booking SET audience = '{RQM:care}';
UPDATE spine.relationship SET until = NULL WHERE relationship_id = :'referral';
UPDATE maternity.booking SET audience = '{}';
SELECT is(spine.reaudience_turn(1), 1::bigint, 'a piece of it is done');
SELECT is(audience(), '{RQM:care,RQM:care/aci}', 'and right');
SELECT is(spine.reaudience_turn(1), 1::bigint, 'the next finds nothing more');
SELECT is((SELECT count(*) FROM spine.reaudience_task), 0::bigint, 'and ends it');
SELECT is(spine.reaudience_turn(1), 0::bigint, 'then there is nothing to do');
ROLLBACK;

-- what a baby's record says about its mother

SELECT spine.publish_dataset('{"name": "cots", "version": "1.0", "title": "Cots", "description": "d", "source": "s", "mandation": "m",
	"groups": [
	 {"name": "woman", "title": "Woman", "description": "d", "subject": "mother", "key": ["woman_number"], "local_patient_id": "woman_number",
	  "items": [{"name": "woman_number", "title": "N", "type": "text", "max_length": 10, "status": "M", "class": "administrative"}]},
	 {"name": "cot", "title": "Cot", "description": "d", "subject": "baby", "key": ["cot_number"], "parent": {"group": "woman", "item": "woman_number"},
	  "items": [{"name": "cot_number", "title": "N", "type": "text", "max_length": 10, "status": "M", "class": "administrative"},
				{"name": "woman_number", "title": "N", "type": "text", "max_length": 10, "status": "M", "class": "administrative"},
				{"name": "weight", "title": "W", "type": "integer", "status": "O", "class": "clinical"},
				{"name": "smoker", "title": "S", "type": "text", "max_length": 3, "status": "O", "class": "clinical", "about": "mother"},
				{"name": "drugs", "title": "D", "type": "text", "max_length": 3, "status": "O", "class": "restricted", "about": "mother"}]}]}') \g /dev/null
SELECT is((SELECT string_agg(outcome, ' ') FROM as_role('items_ryj_system', $$ SELECT outcome FROM spine.submit('{"dataset": "cots", "version": "1.0", "system": "RYJ Maternity", "records": [
	{"group": "woman", "nhs_number": "9990000034", "data": {"woman_number": "W"}},
	{"group": "cot", "nhs_number": "9990000042", "local_patient_id": "C", "data": {"cot_number": "C", "woman_number": "W", "weight": 3000, "smoker": "yes", "drugs": "yes"}}]}'::json) $$) AS a (outcome)),
	'(accepted) (accepted)', 'a baby with a mother');
CREATE FUNCTION cot() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(a, ' ') FROM chelsea('SELECT cot_number, weight, smoker, drugs FROM cots_1_0.cot') a $$;
SELECT agree('items', document('{"name": "cots"}', '{"dataset": "cots", "relationships": ["referral"], "item_classes": ["administrative", "clinical", "restricted"]}')) \g /dev/null
SELECT value_as('items_ryj_clinician', $$ SELECT spine.refer('9990000042', 'RQM', 'x') $$), open_it('9990000042') \g /dev/null
SELECT is(cot(), '(C,3000,,)', 'referring the baby does not show what its record says about the mother');
SELECT value_as('items_ryj_clinician', $$ SELECT spine.refer('9990000034', 'RQM', 'x') $$) \g /dev/null
SELECT is(cot(), '(C,3000,yes,)', 'referring her does, but for what is restricted');
SELECT open_it('9990000034') \g /dev/null
SELECT is(cot(), '(C,3000,yes,yes)', 'which wants her own record opened');
INSERT INTO spine.dissent (dissent_id, patient_id, purpose, owner, recorded_by) VALUES (gen_random_uuid(), spine.patient_id('9990000034'), 'care', 'RYJ', 'x');
SELECT is(cot(), '(C,3000,,)', 'her dissent takes it back');
SELECT * FROM finish();
SELECT leave_two_trusts('items') \g /dev/null
