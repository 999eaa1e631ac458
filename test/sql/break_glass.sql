-- Break-glass: who may, what it shows, how long, and its review.
\ir setup.psql
\ir as_role.psql
SELECT plan(94);
SELECT two_trusts('break_glass'), spine.host_organisation('R1K') \g /dev/null
SELECT make_roles('break_glass_device', 'break_glass_operator', 'break_glass_portal', 'break_glass_stranger', 'break_glass_r1k_clinician',
				  'break_glass_r1k_governor', 'break_glass_both', 'break_glass_unit') \g /dev/null
SELECT spine.add_organisation('RQM01', 'A ward', 'unit', 'RQM'), spine.host_organisation('RQM01') \g /dev/null
SELECT spine.add_system('RYJ', 'Monitor', 'device', 'break_glass_device'), spine.add_member('break_glass_operator', 'RQM', 'operator'),
	   spine.add_member('break_glass_portal', 'RQM', 'portal'), spine.add_member('break_glass_r1k_clinician', 'R1K', 'clinician'),
	   spine.add_member('break_glass_r1k_governor', 'R1K', 'governor'), spine.add_member('break_glass_both', 'R1K', 'clinician'),
	   spine.add_member('break_glass_both', 'RQM', 'clinician'), spine.add_system('RQM01', 'Ward', 'maternity', 'break_glass_unit') \g /dev/null
GRANT spine_member TO break_glass_stranger;
CREATE FUNCTION version(n integer, clause jsonb DEFAULT '{"emergency": true}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT document(jsonb_build_object('version', n), '{"relationships": ["referral"]}' || clause)
$$;
SELECT agree('break_glass', version(1, '{}')) \g /dev/null
-- one whom RYJ has, one whom both have, one whom RQM's ward has; 9990000042 nobody has
SELECT book('break_glass_ryj_system', '9990000018', '1'), book('break_glass_ryj_system', '9990000026', '2'),
	   book('break_glass_rqm_system', '9990000026', '2'), book('break_glass_unit', '9990000034', '3') \g /dev/null
UPDATE maternity.booking SET complex_social_factors_indicator = 'Y';
CREATE FUNCTION break_it(number text DEFAULT '9990000018', who text DEFAULT 'break_glass_rqm_clinician', more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, format('SELECT spine.break_glass(%L, ''she bleeds''%s)', number, more))
$$;
CREATE FUNCTION booking_items(who text DEFAULT 'break_glass_rqm_clinician') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a, ' ') FROM as_role(who, 'SELECT antenatal_booking_date, complex_social_factors_indicator, pregnancy_id FROM maternity_2_0.booking WHERE owner = ''RYJ''') a
$$;
CREATE FUNCTION close_all(who text DEFAULT 'break_glass_rqm_clinician') RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, 'SELECT spine.close_records()')
$$;
-- the whole of an error
CREATE FUNCTION refusal(who text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	PERFORM as_role(who, query);
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws('|', SQLSTATE, message, detail, hint);
END
$$;

-- who may: a clinician

SELECT throws_ok(format('SELECT break_it(who => %L)', 'break_glass_' || w), '42501', 'permission denied: this is for a clinician', d)
  FROM (VALUES ('rqm_analyst', 'an analyst breaks no glass'), ('rqm_system', 'nor a system'), ('stranger', 'nor a role that is no member')) v (w, d);
SELECT throws_ok(format('SELECT break_it(who => %L)', 'break_glass_' || w), '42501', 'permission denied for function break_glass', d)
  FROM (VALUES ('rqm_governor', 'nor a governor'), ('operator', 'nor an operator'), ('portal', 'nor the portal'), ('device', 'nor a device')) v (w, d);
SELECT throws_ok($$ SELECT break_it(more => ', ''RYJ''') $$, '42501', 'permission denied: this is for a clinician of RYJ', 'nor a clinician for an organisation that is not his');
SELECT throws_ok($$ SELECT break_it(more => ', ''no code''') $$, '22P02', NULL, 'or what is no code');
SELECT is(refusal('break_glass_rqm_clinician', format('SELECT spine.break_glass(%L, %L)', '9990000018', r)), '22004|a reason must be given||', 'he gives a reason')
  FROM (VALUES (''), (E' \t\n'), (NULL)) v (r);
SELECT is(refusal('break_glass_rqm_clinician', 'SELECT spine.break_glass(NULL, ''x'')'), '22004|an NHS number must be given||', 'and a person');

-- where: as an agreement allows, or with records of one's own, whatever others have

SELECT is(refusal('break_glass_rqm_clinician', 'SELECT spine.break_glass(''9990000018'', ''x'')'),
	refusal('break_glass_rqm_clinician', 'SELECT spine.open_record(''9990000018'', ''care'', ''x'')'), 'where no agreement allows it the answer is that of open_record');
SELECT is(refusal('break_glass_rqm_clinician', 'SELECT spine.break_glass(''9990000042'', ''x'')'),
	'SP006|no record of this person is open to you|There is none here, or no agreement and relationship lets you read it.|', 'the same where nobody has records');
SELECT is((SELECT count(*) FROM spine.relationship WHERE kind = 'emergency'), 0::bigint, 'neither leaves an emergency');
SELECT is((SELECT count(*) FROM spine.access_log), 0::bigint, 'nor an entry');
SELECT lives_ok($$ SELECT break_it('9990000026') $$, 'one''s own records are enough');
SELECT is(booking_items(), NULL, 'and show nothing of others');
SELECT lives_ok($$ SELECT break_it('9990000034') $$, 'those of one''s ward too');
SELECT results_eq('SELECT owners, basis, purpose, organisation FROM spine.access_log ORDER BY access_id',
	$$ VALUES (ARRAY['RQM'], ARRAY['own records'], 'emergency', 'RQM'), (ARRAY['RQM01'], ARRAY['own records'], 'emergency', 'RQM') $$, 'which the log says');
SELECT throws_ok($$ SELECT break_it('9990000026', 'break_glass_r1k_clinician') $$, 'SP006', NULL, 'who is no party has no part in it');
SELECT results_eq($$ SELECT count(*) FROM as_role('break_glass_ryj_governor', 'SELECT 1 FROM spine.review') $$, 'SELECT 0::bigint',
	'an organisation that does not share in emergencies is not told of them');
SELECT close_all() \g /dev/null
SELECT agree('break_glass', version(2)) \g /dev/null
SELECT lives_ok($$ SELECT break_it('9990000042') $$, 'with an agreement that allows it the glass breaks, though nobody has records');
SELECT is(booking_items(), NULL, 'and shows nothing');

-- what it shows

SELECT is(booking_items(), NULL, 'before it is broken nothing is seen');
SELECT cmp_ok(break_it()::timestamptz - now(), '>', interval '2 hours 59 minutes', 'broken, it lasts three hours');
SELECT cmp_ok((SELECT until FROM spine.relationship WHERE kind = 'emergency' ORDER BY since DESC LIMIT 1) - now(), '<', interval '3 hours 1 minute', 'and no longer');
SELECT is(booking_items(), '(2026-01-05,,P1)', 'what the clause shows is seen, and not what it does not');
SELECT is(booking_items('break_glass_rqm_analyst'), NULL, 'by nobody else');
SELECT results_eq('SELECT patient_id, owners, basis, reason, role_name FROM spine.access_log ORDER BY access_id DESC LIMIT 1',
	$$ SELECT spine.patient_id('9990000018'), ARRAY['RYJ'], ARRAY['nwl-maternity v2 clause 1'], 'she bleeds', 'break_glass_rqm_clinician'::name $$, 'the log says whose records, and why it may be');
SELECT results_eq($$ SELECT kind, owner, organisation, reason, audience FROM spine.relationship WHERE kind = 'emergency' ORDER BY since DESC LIMIT 1 $$,
	$$ VALUES ('emergency', 'RQM', 'RQM', 'she bleeds', ARRAY['RYJ:care']) $$, 'the emergency is a relationship, of which those know who share');
SELECT close_all() \g /dev/null
SELECT is(booking_items(), NULL, 'closed, nothing is seen');
SELECT throws_ok($$ SELECT value_as('break_glass_rqm_clinician', 'SELECT spine.open_record(''9990000018'', ''care'', ''x'')') $$, 'SP006', NULL,
	'an emergency is no relationship with which to open it for care');
SELECT as_role('break_glass_ryj_clinician', 'SELECT spine.record_dissent(''9990000018'', ''care'')') \g /dev/null
SELECT break_it() \g /dev/null
SELECT is(booking_items(), '(2026-01-05,,P1)', 'a dissent does not stop it');
SELECT agree('break_glass', version(3, '{"emergency": {"item_classes": ["restricted"]}}')) \g /dev/null
SELECT is(booking_items(), '(,Y,)', 'what it shows the clause may say for emergencies');
SELECT agree('break_glass', version(4, '{}')) \g /dev/null
SELECT is(booking_items(), NULL, 'and where it allows none any more, the glass is whole');
SELECT agree('break_glass', version(5)) \g /dev/null
SELECT is(booking_items(), '(2026-01-05,,P1)', 'until it does again');

-- how long

UPDATE spine.relationship SET until = now() WHERE kind = 'emergency';
SELECT is(booking_items(), NULL, 'when its time is over nothing is seen');
SET spine.emergency_minutes = '90min';
SELECT cmp_ok(break_it()::timestamptz - now(), '<', interval '91 minutes', 'the setting says how long');
RESET spine.emergency_minutes;
SELECT throws_ok($$ SELECT as_role('break_glass_rqm_clinician', 'SELECT set_config(''spine.emergency_minutes'', ''10000'', false)') $$, '42501', NULL, 'which is not the clinician''s');
SELECT is(booking_items(), '(2026-01-05,,P1)', 'it is seen');
SELECT relationship_id AS last_emergency FROM spine.relationship WHERE kind = 'emergency' ORDER BY since DESC, relationship_id DESC LIMIT 1 \gset
SELECT throws_ok(format('SELECT as_role(''break_glass_ryj_clinician'', %L)', format('SELECT spine.end_relationship(%L)', :'last_emergency')), 'SP006', NULL,
	'another organisation does not end it');
SELECT lives_ok(format('SELECT as_role(''break_glass_rqm_clinician'', %L)', format('SELECT spine.end_relationship(%L)', :'last_emergency')), 'one''s own may, before its time');
SELECT is(booking_items(), NULL, 'and it is over');
SELECT close_all() \g /dev/null
BEGIN;
SELECT break_it(more => ', for_transaction => true') \g /dev/null
SELECT is(booking_items(), '(2026-01-05,,P1)', 'for a transaction alone it is seen in that');
COMMIT;
SELECT is(booking_items(), NULL, 'and not after it');
SELECT break_it() \g /dev/null
RESET ALL;
SELECT is(booking_items(), NULL, 'nor after RESET ALL, which DISCARD ALL does');

-- for which of one's organisations

SELECT break_it(who => 'break_glass_both') \g /dev/null
SELECT is((SELECT organisation FROM spine.relationship WHERE kind = 'emergency' ORDER BY since DESC, relationship_id DESC LIMIT 1), 'RQM', 'of several the first to which it is allowed');
SELECT throws_ok($$ SELECT break_it(who => 'break_glass_both', more => ', ''R1K''') $$, 'SP006', NULL, 'one that is named is the only one');
SELECT lives_ok($$ SELECT break_it(who => 'break_glass_both', more => ', ''rqm''') $$, 'however it is written');

-- review: every use is an open item, for governors of both sides

SELECT is((SELECT count(*) FROM spine.relationship WHERE kind = 'emergency'), (SELECT count(*) FROM spine.access_log), 'every use is an emergency of its own');
SELECT results_eq($$ SELECT count(*) FROM as_role('break_glass_rqm_governor', 'SELECT 1 FROM spine.review WHERE state = ''open''') $$,
	$$ SELECT count(*) FROM spine.relationship WHERE kind = 'emergency' $$, 'and open to the governor of those who broke it');
SELECT results_eq($$ SELECT count(*) FROM as_role('break_glass_ryj_governor', 'SELECT 1 FROM spine.review WHERE state = ''open''') $$,
	$$ SELECT count(*) FROM spine.relationship WHERE kind = 'emergency' AND audience = '{RYJ:care}' AND patient_id IN (spine.patient_id('9990000018'), spine.patient_id('9990000026')) $$,
	'and to that of those whose records of her it could show, not of persons whom they do not know');
SELECT is_empty($$ SELECT as_role('break_glass_r1k_governor', 'SELECT * FROM spine.review') $$, 'not to a governor whom it does not concern');
SELECT throws_ok(format('SELECT as_role(%L, ''SELECT * FROM spine.review'')', 'break_glass_' || w), '42501', 'permission denied for view review', d)
  FROM (VALUES ('rqm_clinician', 'nor to a clinician'), ('rqm_analyst', 'nor to an analyst'), ('operator', 'nor to an operator'), ('portal', 'nor to the portal'),
			   ('device', 'nor to a device'), ('stranger', 'nor to a stranger')) v (w, d);
SELECT throws_ok($$ SELECT as_role('break_glass_rqm_governor', 'SELECT * FROM spine.review_event') $$, '42501', NULL, 'and nobody reads the table');

-- explained

DELETE FROM spine.relationship WHERE kind = 'emergency';
CREATE FUNCTION emergency(days_ago integer, number text DEFAULT '9990000018') RETURNS uuid LANGUAGE sql AS $$
	INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, reason, since, until)
		VALUES (gen_random_uuid(), spine.patient_id(number::spine.nhs_number), 'RQM', 'emergency', 'RQM', 'x', now() - make_interval(days => days_ago), now() - make_interval(days => days_ago) + interval '3 hours')
		RETURNING relationship_id
$$;
CREATE FUNCTION states(who text DEFAULT 'break_glass_ryj_governor') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a, ' ') FROM as_role(who, 'SELECT state, explained_by FROM spine.review ORDER BY at') a
$$;
SELECT emergency(20) AS first_one, emergency(13) AS second_one, emergency(1) AS third_one \gset
SELECT is(states(), '(open,) (open,) (open,)', 'open at first');
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, since) VALUES (gen_random_uuid(), spine.patient_id('9990000018'), 'RQM', 'claim', 'RQM', now());
SELECT is(states(), '(open,) (open,) (open,)', 'a claim explains nothing');
SELECT as_role('break_glass_ryj_clinician', 'SELECT spine.transfer(''9990000018'', ''R1K'', ''x'')') \g /dev/null
SELECT is(states(), '(open,) (open,) (open,)', 'nor does a transfer elsewhere');
SELECT as_role('break_glass_ryj_clinician', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'')') \g /dev/null
SELECT is(states(), '(open,) (explained,referral) (explained,referral)', 'a referral that follows within so many days does, and not one that comes too late');
UPDATE spine.relationship l SET since = e.since + interval '14 days' FROM spine.relationship e WHERE e.relationship_id = :'first_one' AND l.kind = 'referral';
SELECT is(states(), '(explained,referral) (explained,referral) (open,)', 'at the end of the last of them it does');
SET spine.emergency_explained_days = 13;
SELECT is(states(), '(open,) (explained,referral) (open,)', 'how many is a setting');
RESET spine.emergency_explained_days;
UPDATE spine.relationship SET since = now() - interval '13 days' WHERE kind = 'referral';
SELECT is(states(), '(explained,referral) (explained,referral) (open,)', 'one that was there before explains nothing');
SELECT book('break_glass_rqm_system', '9990000018', '7') \g /dev/null
SELECT is(states('break_glass_rqm_governor'), '(explained,referral) (explained,referral) (explained,episode)', 'an episode does');
UPDATE spine.relationship SET kind = 'transfer' WHERE kind = 'referral';
SELECT is(states(), '(explained,transfer) (explained,transfer) (explained,episode)', 'and a transfer');
UPDATE spine.relationship l SET since = e.since FROM spine.relationship e WHERE e.relationship_id = :'second_one' AND l.kind = 'transfer';
SELECT is(states(), '(explained,transfer) (explained,episode) (explained,episode)', 'one of the very same time is not one that follows');

-- closing

SELECT emergency(2) AS one, emergency(3, '9990000026') AS two, emergency(4, '9990000042') AS unknown_to_ryj \gset
CREATE FUNCTION closing(who text, id text, outcome text DEFAULT 'appropriate', note text DEFAULT 'She bled.') RETURNS text LANGUAGE sql AS $$
	SELECT refusal('break_glass_' || who, format('SELECT spine.close_review(%L, %L, %L)', id, outcome, note))
$$;
SELECT is(closing('rqm_clinician', :'one'), '42501|permission denied for function close_review||', 'a clinician closes no review');
SELECT is(closing('portal', :'one'), '42501|permission denied for function close_review||', 'nor the portal');
GRANT spine_governor TO break_glass_stranger;
SELECT is(closing('stranger', :'one'), '42501|permission denied: this is for a governor||', 'nor a role that is no member');
SELECT is(closing('rqm_governor', :'one', o), '22023|there is no outcome "' || coalesce(o, '<NULL>') || '"||Outcomes are appropriate, inappropriate and unclear.', 'an outcome is one of three')
  FROM (VALUES ('fine'), (''), (NULL)) v (o);
SELECT is(closing('rqm_governor', :'one', 'unclear', n), '22004|a note must be given||', 'with a note') FROM (VALUES (' '), (NULL)) v (n);
SELECT is(closing('r1k_governor', :'one'), 'SP006|no such review that you could close|It is closed by a governor of the organisation that broke the glass, or of one whose records it could show.|',
	'whom it does not concern cannot');
SELECT is(closing('ryj_governor', :'unknown_to_ryj'), closing('r1k_governor', :'one'), 'nor who does not know her');
SELECT is(closing('rqm_governor', i), closing('r1k_governor', :'one'), 'which is the answer where there is none') FROM (VALUES (gen_random_uuid()::text), (NULL)) v (i);
SELECT is(closing('rqm_governor', (SELECT relationship_id::text FROM spine.relationship WHERE kind = 'claim')), closing('r1k_governor', :'one'), 'or no emergency');
SELECT is(closing('ryj_governor', :'one', 'inappropriate', ' Nobody bled. '), 'nothing', 'a governor of the owner closes it');
SELECT results_eq($$ SELECT as_role('break_glass_rqm_governor', 'SELECT organisation, reason, outcome, note, closed_by, closed_at > at FROM spine.review WHERE state = ''closed''') $$,
	$$ VALUES ('(RQM,x,inappropriate,"Nobody bled.",RYJ,t)') $$, 'for both sides');
SELECT is(closing('rqm_governor', :'one'), '55000|this review is closed||', 'once');
SELECT is(closing('ryj_governor', :'one'), '55000|this review is closed||', 'and for good');
SELECT is(closing('rqm_governor', :'two'), 'nothing', 'a governor of those who broke it closes it as well');
SELECT results_eq('SELECT owner, outcome, audience, by_role FROM spine.review_event ORDER BY at',
	$$ VALUES ('RYJ', 'inappropriate', ARRAY['RQM:care'], 'break_glass_ryj_governor'::name), ('RQM', 'appropriate', ARRAY['RYJ:care'], 'break_glass_rqm_governor') $$, 'the other side must know');
SELECT is(states(), '(explained,transfer) (explained,episode) (closed,episode) (closed,episode) (explained,episode)', 'closed they stay, explained or not');
SELECT throws_ok('UPDATE spine.review_event SET outcome = ''unclear''', NULL, NULL, 'what came out of it is not changed');
INSERT INTO spine.review_event (event_id, relationship_id, owner, outcome, note, by_role, audience) VALUES (gen_random_uuid(), :'unknown_to_ryj', 'R1K', 'appropriate', 'x', 'x', '{}');
SELECT is((SELECT count(*) FROM as_role('break_glass_rqm_governor', 'SELECT 1 FROM spine.review WHERE state = ''closed''')), 2::bigint, 'an organisation that has no part in it closes nothing, whatever it sends');

SELECT * FROM finish();
SELECT leave_two_trusts('break_glass'), drop_roles('break_glass_device', 'break_glass_operator', 'break_glass_portal', 'break_glass_stranger', 'break_glass_r1k_clinician',
				  'break_glass_r1k_governor', 'break_glass_both', 'break_glass_unit') \g /dev/null
