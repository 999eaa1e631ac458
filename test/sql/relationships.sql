-- Relationships: why an organisation may see a patient, who says so, and who must know.
\ir setup.psql
\ir as_role.psql
SELECT plan(79);
SELECT two_trusts('relationships') \g /dev/null
SELECT make_roles('relationships_device', 'relationships_operator', 'relationships_portal', 'relationships_stranger', 'relationships_both') \g /dev/null
SELECT spine.add_system('RYJ', 'Monitor', 'device', 'relationships_device'), spine.add_member('relationships_operator', 'RYJ', 'operator'),
	   spine.add_member('relationships_portal', 'RYJ', 'portal'), spine.add_member('relationships_both', 'RYJ', 'clinician'),
	   spine.add_member('relationships_both', 'RQM', 'clinician') \g /dev/null
GRANT spine_member TO relationships_stranger;
SELECT agree('relationships') \g /dev/null
SELECT book('relationships_ryj_system', '9990000018', '1') \g /dev/null

-- from data

SELECT results_eq('SELECT patient_id, organisation, kind, owner, audience, until FROM spine.relationship',
	$$ SELECT spine.patient_id('9990000018'), 'RYJ', 'episode', 'RYJ', ARRAY['RQM:care'], NULL::timestamptz $$,
	'an organisation that describes an episode has a relationship; who shares with it for care must know');

-- by referral

CREATE FUNCTION clinician(query text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT as_role('relationships_ryj_clinician', query) $$;
SELECT throws_ok(format('SELECT clinician(%L)', format('SELECT spine.refer(''9990000018'', ''RQM'', %L)', r)), '22004', 'a reason must be given', 'a referral has a reason')
  FROM (VALUES (''), (E' \n\t'), (NULL)) v (r);
SELECT throws_ok($$ SELECT clinician('SELECT spine.refer(NULL, ''RQM'', ''x'')') $$, '22004', 'an NHS number must be given', 'a person');
SELECT throws_ok($$ SELECT clinician('SELECT spine.refer(''9990000018'', NULL, ''x'')') $$, '22004', 'an organisation must be given', 'and an addressee');
SELECT throws_ok($$ SELECT clinician('SELECT spine.refer(''9990000018'', ''X99'', ''x'')') $$, '42704', NULL, 'and goes to somebody');
SELECT throws_ok($$ SELECT clinician('SELECT spine.refer(''9990000018'', ''QRV'', ''x'')') $$, '42704', NULL, 'who gives care');
SELECT throws_ok($$ SELECT clinician('SELECT spine.refer(''9990000018'', ''RYJ'', ''x'')') $$, 'SP006', NULL, 'other than oneself');
SELECT throws_ok($$ SELECT clinician('SELECT spine.refer(''9990000026'', ''RQM'', ''x'')') $$, 'SP006', 'no record of this person is open to you',
	'of somebody of whom one has records');
SELECT throws_ok($$ SELECT as_role('relationships_rqm_clinician', 'SELECT spine.refer(''9990000018'', ''RAS'', ''x'')') $$, 'SP006',
	'no record of this person is open to you', 'records of one''s own: what others have is as good as absent');
SELECT throws_ok($$ SELECT as_role('relationships_ryj_analyst', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'')') $$, '42501', NULL, 'an analyst refers nobody');
SELECT throws_ok($$ SELECT as_role('relationships_ryj_governor', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'')') $$, '42501', NULL, 'nor a governor');
SELECT throws_ok($$ SELECT as_role('relationships_device', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'')') $$, '42501', NULL, 'nor a device');
SELECT throws_ok($$ SELECT as_role('relationships_portal', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'')') $$, '42501', NULL, 'nor the portal');
SELECT throws_ok($$ SELECT as_role('relationships_stranger', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'')') $$, '42501',
	'permission denied: this is for a clinician or a clinical system', 'nor a role that is no member');
SELECT throws_ok($$ SELECT clinician('SELECT spine.refer(''9990000019'', ''RQM'', ''x'')') $$, NULL, NULL, 'a number that is none is refused');
SELECT is((SELECT count(*) FROM spine.relationship), 1::bigint, 'none of which was written');
SELECT is((SELECT DISTINCT audience FROM maternity.booking), '{}', 'nobody else may have the booking so far');

SELECT value_as('relationships_ryj_clinician', $$ SELECT spine.refer('9990000018', 'rqm', ' She is moving to Chelsea. ') $$) AS referral \gset
SELECT results_eq('SELECT relationship_id, patient_id, organisation, owner, reason, audience, revision FROM spine.relationship WHERE kind = ''referral''',
	format('SELECT %L::uuid, spine.patient_id(''9990000018''), ''RQM'', ''RYJ'', ''She is moving to Chelsea.'', ARRAY[''RQM:care''], 1::bigint', :'referral'),
	'a clinician refers; the one referred to must know');
SELECT results_eq('SELECT audience FROM maternity.booking UNION ALL SELECT audience FROM maternity.dating_scan',
	$$ VALUES (ARRAY['RQM:care', 'RQM:care/aci']), (ARRAY['RQM:care', 'RQM:care/aci']) $$, 'and may have her records from now on');
SELECT is((SELECT revision FROM maternity.booking), 1::bigint, 'whose revision stays');
SELECT is((SELECT count(*) FROM spine.history), 0::bigint, 'and which were not corrected');
SELECT is(value_as('relationships_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'again') $$), :'referral', 'again is the same');
SELECT is(value_as('relationships_ryj_system', $$ SELECT spine.refer('9990000018', 'RQM', 'again') $$), :'referral', 'also by a system');

-- who sees it

SELECT results_eq($$ SELECT clinician('SELECT organisation, kind FROM spine.relationships ORDER BY 2') $$, $$ VALUES ('(RYJ,episode)'), ('(RQM,referral)') $$,
	'a clinician sees what his organisation has or has said');
SELECT results_eq($$ SELECT as_role('relationships_rqm_clinician', 'SELECT owner, kind, reason FROM spine.relationships') $$,
	$$ VALUES ('(RYJ,referral,"She is moving to Chelsea.")') $$, 'and the one referred to what concerns it');
SELECT throws_ok($$ SELECT as_role('relationships_ryj_governor', 'SELECT * FROM spine.relationships') $$, '42501', NULL, 'a governor none');
SELECT throws_ok($$ SELECT as_role('relationships_operator', 'SELECT * FROM spine.relationships') $$, '42501', NULL, 'nor an operator');

-- ending

SELECT throws_ok(format('SELECT as_role(''relationships_rqm_clinician'', %L)', format('SELECT spine.end_relationship(%L)', :'referral')),
	'SP006', NULL, 'who has not said it does not end it');
SELECT throws_ok(format('SELECT as_role(''relationships_ryj_analyst'', %L)', format('SELECT spine.end_relationship(%L)', :'referral')),
	'SP006', NULL, 'nor does an analyst');
SELECT lives_ok(format('SELECT clinician(%L)', format('SELECT spine.end_relationship(%L)', :'referral')), 'a clinician of the one who has, does');
SELECT results_eq('SELECT until IS NOT NULL, revision FROM spine.relationship WHERE kind = ''referral''', $$ VALUES (true, 2::bigint) $$, 'it is ended');
SELECT is((SELECT DISTINCT audience FROM maternity.booking), '{}', 'and nobody else may have the booking any more');
SELECT throws_ok(format('SELECT clinician(%L)', format('SELECT spine.end_relationship(%L)', :'referral')), 'SP006', NULL, 'it ends once');
SELECT isnt(value_as('relationships_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'back again') $$), :'referral', 'a new referral is a new one');
SELECT is((SELECT audience FROM maternity.booking), ARRAY['RQM:care', 'RQM:care/aci'], 'and counts');

-- received, corrected and withdrawn ones work the same

DELETE FROM spine.relationship WHERE kind = 'referral';
SELECT is((SELECT audience FROM maternity.booking), '{}', 'one that is withdrawn counts no more');
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, audience)
	VALUES ('00000000-0000-7000-8000-000000000001', spine.patient_id('9990000018'), 'RQM', 'episode', 'RQM', '{RYJ:care}');
SELECT is((SELECT audience FROM maternity.booking), ARRAY['RQM:care', 'RQM:care/aci'], 'one that a neighbour has brought counts');
UPDATE spine.relationship SET until = now() - interval '1 s' WHERE owner = 'RQM';
SELECT is((SELECT audience FROM maternity.booking), '{}', 'until it is ended there');
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner)
	VALUES ('00000000-0000-7000-8000-000000000002', spine.patient_id('9990000018'), 'RQM', 'transfer', 'RYJ');
SELECT is((SELECT audience FROM spine.relationship WHERE kind = 'transfer'), ARRAY['RQM:care'], 'an audience that is left out is filled in');
SELECT is((SELECT audience FROM maternity.booking), '{}', 'a kind that no clause accepts counts for nothing');

-- by transfer: as by referral

DELETE FROM spine.relationship WHERE kind <> 'episode' OR owner = 'RQM';
SELECT agree('relationships', document('{"version": 2}', '{"relationships": ["transfer", "claim"]}')) \g /dev/null
SELECT throws_ok(format('SELECT as_role(%L, ''SELECT spine.transfer(''''9990000018'''', ''''RQM'''', ''''x'''')'')', 'relationships_' || w), '42501', NULL, d)
  FROM (VALUES ('ryj_analyst', 'an analyst transfers nobody'), ('ryj_governor', 'nor a governor'), ('device', 'nor a device'), ('portal', 'nor the portal'),
			   ('operator', 'nor an operator'), ('stranger', 'nor a stranger')) v (w, d);
SELECT throws_ok($$ SELECT clinician('SELECT spine.transfer(''9990000018'', ''RQM'', '' '')') $$, '22004', 'a reason must be given', 'a transfer has a reason');
SELECT throws_ok($$ SELECT clinician('SELECT spine.transfer(''9990000018'', ''QRV'', ''x'')') $$, '42704', 'organisation QRV is not known as one that gives care', 'and goes to who gives care');
SELECT throws_ok($$ SELECT clinician('SELECT spine.transfer(''9990000026'', ''RQM'', ''x'')') $$, 'SP006', 'no record of this person is open to you', 'with somebody of whom one has records');
SELECT throws_ok($$ SELECT as_role('relationships_rqm_clinician', 'SELECT spine.transfer(''9990000018'', ''RAS'', ''x'')') $$, 'SP006', 'no record of this person is open to you',
	'what others have is as good as absent');
SELECT value_as('relationships_ryj_system', $$ SELECT spine.transfer('9990000018', 'rqm', ' To Chelsea. ') $$) AS transfer \gset
SELECT results_eq('SELECT relationship_id, organisation, owner, reason, audience FROM spine.relationship WHERE kind = ''transfer''',
	format('SELECT %L::uuid, ''RQM'', ''RYJ'', ''To Chelsea.'', ARRAY[''RQM:care'']', :'transfer'), 'a system transfers');
SELECT is((SELECT audience FROM maternity.booking), ARRAY['RQM:care', 'RQM:care/aci'], 'which counts where a clause accepts it');
SELECT is(value_as('relationships_ryj_clinician', $$ SELECT spine.transfer('9990000018', 'RQM', 'again') $$), :'transfer', 'again is the same');
SELECT isnt(value_as('relationships_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'too') $$), :'transfer', 'and a referral another');
SELECT is((SELECT count(*) FROM spine.relationship WHERE kind = 'episode'), 1::bigint, 'her episode here stays');
SELECT lives_ok(format('SELECT as_role(''relationships_ryj_governor'', %L)', format('SELECT spine.end_relationship(%L)', :'transfer')), 'a governor ends it');
SELECT is((SELECT audience FROM maternity.booking), '{}', 'and it counts no more');

-- by claim: of one's own organisation, without a word about records

CREATE FUNCTION claim(who text, rest text) RETURNS text LANGUAGE sql AS $$ SELECT value_as('relationships_' || who, format('SELECT spine.claim(%s)', rest)) $$;
SELECT throws_ok(format('SELECT claim(%L, %L)', w, '''9990000018'', ''x'''), '42501', NULL, d)
  FROM (VALUES ('rqm_analyst', 'an analyst claims nobody'), ('rqm_governor', 'nor a governor'), ('rqm_system', 'nor a system'), ('device', 'nor a device'),
			   ('portal', 'nor the portal'), ('operator', 'nor an operator'), ('stranger', 'nor a stranger')) v (w, d);
SELECT throws_ok(format('SELECT claim(''rqm_clinician'', %L)', format('%L, %L', '9990000018', r)), '22004', 'a reason must be given', 'a claim has a reason') FROM (VALUES (' '), (NULL)) v (r);
SELECT throws_ok($$ SELECT claim('rqm_clinician', 'NULL, ''x''') $$, '22004', 'an NHS number must be given', 'and a person');
SELECT throws_ok($$ SELECT claim('rqm_clinician', '''9990000018'', ''x'', ''RYJ''') $$, '42501', 'permission denied: this is for a clinician of RYJ', 'and is for one''s own organisation');
SELECT claim('rqm_clinician', '''9990000018'', '' Seen in our clinic. ''') AS claim \gset
SELECT results_eq('SELECT relationship_id, organisation, owner, reason, audience FROM spine.relationship WHERE kind = ''claim''',
	format('SELECT %L::uuid, ''RQM'', ''RQM'', ''Seen in our clinic.'', ARRAY[''RYJ:care'']', :'claim'), 'a clinician claims; who shares with his organisation must know');
SELECT is((SELECT audience FROM maternity.booking), ARRAY['RQM:care', 'RQM:care/aci'], 'which counts where a clause accepts it');
SELECT is(claim('rqm_clinician', '''9990000018'', ''again'', ''rqm'''), :'claim', 'again is the same');
SELECT isnt(claim('rqm_clinician', '''9990000042'', ''x'''), NULL, 'one of whom nobody has records is claimed just so');
SELECT claim('both', '''9990000034'', ''x''') \g /dev/null
SELECT is((SELECT string_agg(organisation, ' ') FROM spine.relationship WHERE patient_id = spine.patient_id('9990000034') AND kind = 'claim'), 'RQM', 'of somebody who acts for two organisations it is that of the first in order of code');
SELECT is((SELECT count(*) FROM spine.access_log), 0::bigint, 'nobody has opened anything by it');
SELECT throws_ok(format('SELECT as_role(''relationships_ryj_clinician'', %L)', format('SELECT spine.end_relationship(%L)', :'claim')), 'SP006', NULL, 'another organisation does not end it');
SELECT lives_ok(format('SELECT as_role(''relationships_rqm_clinician'', %L)', format('SELECT spine.end_relationship(%L)', :'claim')), 'one''s own does');
SELECT is((SELECT audience FROM maternity.booking), '{}', 'and it counts no more');

SELECT * FROM finish();
SELECT leave_two_trusts('relationships'), drop_roles('relationships_device', 'relationships_operator', 'relationships_portal', 'relationships_stranger', 'relationships_both') \g /dev/null
