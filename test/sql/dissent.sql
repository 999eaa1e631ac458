-- Dissent: who records and withdraws it, what it does at once, who knows of it.
\ir setup.psql
\ir as_role.psql
SELECT plan(54);
SELECT two_trusts('dissent'), spine.host_organisation('R1K') \g /dev/null
SELECT make_roles('dissent_device', 'dissent_operator', 'dissent_portal', 'dissent_stranger', 'dissent_r1k_clinician', 'dissent_r1k_governor',
				  'dissent_both') \g /dev/null
SELECT spine.add_system('RYJ', 'Monitor', 'device', 'dissent_device'), spine.add_member('dissent_operator', 'RYJ', 'operator'),
	   spine.add_member('dissent_portal', 'RYJ', 'portal'), spine.add_member('dissent_r1k_clinician', 'R1K', 'clinician'),
	   spine.add_member('dissent_r1k_governor', 'R1K', 'governor'), spine.add_member('dissent_both', 'RYJ', 'clinician'),
	   spine.add_member('dissent_both', 'RQM', 'governor'), spine.add_member('dissent_both', 'R1K', 'analyst') \g /dev/null
GRANT spine_member, spine_governor, spine_portal TO dissent_stranger;
SELECT agree('dissent') \g /dev/null
SELECT book('dissent_ryj_system', '9990000018', '1') \g /dev/null
SELECT as_role('dissent_ryj_clinician', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'')') \g /dev/null
CREATE FUNCTION said(who text, rest text) RETURNS text LANGUAGE sql AS $$ SELECT value_as('dissent_' || who, format('SELECT spine.record_dissent(%s)', rest)) $$;
CREATE FUNCTION withdrawn(who text, id text) RETURNS text LANGUAGE sql AS $$ SELECT value_as('dissent_' || who, format('SELECT spine.withdraw_dissent(%L)', id)) $$;
CREATE FUNCTION bookings() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a, ' ') FROM as_role('dissent_rqm_clinician', 'SELECT pregnancy_id FROM maternity_2_0.booking WHERE owner = ''RYJ''') a
$$;
SELECT value_as('dissent_rqm_clinician', 'SELECT spine.open_record(''9990000018'', ''care'', ''x'')') \g /dev/null
SELECT is(bookings(), '(P1)', 'what is shared is seen');

-- who may

SELECT throws_ok(format('SELECT said(%L, %L)', w, '''9990000018'', ''care'''), '42501', 'permission denied: this is for a clinician or a governor or a portal', d)
  FROM (VALUES ('ryj_analyst', 'an analyst records no dissent'), ('ryj_system', 'nor a system'), ('stranger', 'nor a role that is no member')) v (w, d);
SELECT throws_ok(format('SELECT said(%L, %L)', w, '''9990000018'', ''care'''), '42501', 'permission denied for function record_dissent', d)
  FROM (VALUES ('operator', 'nor an operator'), ('device', 'nor a device')) v (w, d);
SELECT throws_ok(format('SELECT said(''ryj_clinician'', %L)', '''9990000018'', ' || p), '22023', NULL, 'there is a purpose to it') FROM (VALUES ('NULL'), (''''''), ('''emergency'''), ('''Care''')) v (p);
SELECT throws_ok($$ SELECT said('ryj_clinician', 'NULL, ''care''') $$, '22004', 'an NHS number must be given', 'and a person');
SELECT throws_ok($$ SELECT said('ryj_clinician', '''9990000019'', ''care''') $$, '22P02', NULL, 'with a number that is one');
SELECT throws_ok($$ SELECT said('ryj_clinician', '''9990000018'', ''care'', ''X99''') $$, '42704', 'organisation X99 does not exist', 'and an organisation that there is');
SELECT throws_ok($$ SELECT said('ryj_clinician', '''9990000018'', ''care'', ''no code''') $$, '22P02', NULL, 'or at least a code');
SELECT is((SELECT count(*) FROM spine.dissent), 0::bigint, 'none of which was written');

-- what it does, and that the same is one

SELECT said('ryj_clinician', '''9990000018'', ''care'', ''rqm'', '' She knows somebody there. ''') AS to_rqm \gset
SELECT is(bookings(), NULL, 'at once the session that has her record open sees nothing');
SELECT is((SELECT audience FROM maternity.booking), '{}', 'and nobody may have it');
SELECT results_eq('SELECT dissent_id, patient_id, purpose, organisation, owner, reason, until, recorded_by, revision, audience FROM spine.dissent',
	format($$ SELECT %L::uuid, spine.patient_id('9990000018'), 'care', 'RQM', 'RYJ', 'She knows somebody there.', NULL::timestamptz, 'dissent_ryj_clinician'::name, 1::bigint, ARRAY['RQM:care'] $$, :'to_rqm'),
	'it is the organisation''s that recorded it; who shares anything must know');
SELECT is(said('ryj_governor', '''9990000018'', ''care'', ''RQM'', ''otherwise'''), :'to_rqm', 'the same again is the same');
SELECT is(said('portal', '''9990000018'', ''care'', ''RQM'''), :'to_rqm', 'also from her portal');
SELECT isnt(said('rqm_clinician', '''9990000018'', ''care'', ''RQM'''), :'to_rqm', 'that of another organisation is another');
SELECT isnt(said('portal', '''9990000018'', ''care'''), :'to_rqm', 'and one against everybody');
SELECT isnt(said('portal', '''9990000018'', ''secondary'', NULL, ''  '''), :'to_rqm', 'and one from another purpose');
SELECT is(said('ryj_clinician', '''9990000018'', ''secondary'''), (SELECT dissent_id::text FROM spine.dissent WHERE purpose = 'secondary' AND reason IS NULL), 'which is one too, without a reason where none was given');
SELECT lives_ok($$ SELECT said('r1k_clinician', '''9990000042'', ''reporting'', ''QRV''') $$, 'of somebody whom nobody knows, against one who reports, by one who is party to nothing');
SELECT said('both', '''9990000034'', ''care''') AS of_both \gset
SELECT is((SELECT owner FROM spine.dissent WHERE dissent_id = :'of_both'), 'RQM', 'of several organisations the first in order of code has it');

-- withdrawing

SELECT throws_ok(format('SELECT withdrawn(''ryj_analyst'', %L)', :'to_rqm'), '42501', NULL, 'an analyst withdraws nothing');
SELECT throws_ok(format('SELECT withdrawn(''stranger'', %L)', :'to_rqm'), '42501', NULL, 'nor a stranger');
SELECT throws_ok(format('SELECT withdrawn(''device'', %L)', :'to_rqm'), '42501', NULL, 'nor a device');
SELECT throws_ok(format('SELECT withdrawn(''rqm_governor'', %L)', :'to_rqm'), 'SP006', 'no such dissent that you could withdraw', 'nor another organisation');
SELECT throws_ok(format('SELECT withdrawn(''rqm_governor'', %L)', i), 'SP006', 'no such dissent that you could withdraw', 'which is the answer where there is none') FROM (VALUES (gen_random_uuid()), (NULL)) v (i);
SELECT lives_ok($$ SELECT withdrawn('ryj_governor', dissent_id::text) FROM spine.dissent WHERE owner = 'RYJ' AND organisation IS NULL AND purpose = 'care' $$, 'a governor withdraws what a portal has recorded');
SELECT lives_ok($$ SELECT withdrawn('rqm_clinician', dissent_id::text) FROM spine.dissent WHERE owner = 'RQM' AND organisation = 'RQM' $$, 'each organisation its own');
SELECT is(bookings(), NULL, 'one is left');
SELECT lives_ok(format('SELECT withdrawn(''portal'', %L)', :'to_rqm'), 'the portal withdraws that');
SELECT results_eq(format('SELECT until IS NOT NULL, revision FROM spine.dissent WHERE dissent_id = %L', :'to_rqm'), $$ VALUES (true, 2::bigint) $$, 'it is ended');
SELECT is(bookings(), '(P1)', 'and what it held back is seen again: dissent from secondary use changes nothing for care');
SELECT throws_ok(format('SELECT withdrawn(''portal'', %L)', :'to_rqm'), 'SP006', NULL, 'it is withdrawn once');
SELECT isnt(said('portal', '''9990000018'', ''care'', ''RQM'''), :'to_rqm', 'recorded anew it is a new one');
SELECT is(bookings(), NULL, 'and counts');

-- who knows of it

CREATE FUNCTION seen(who text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT as_role('dissent_' || who, 'SELECT purpose, organisation, owner, reason, recorded_by FROM spine.dissents WHERE until IS NULL ORDER BY owner, purpose')
$$;
UPDATE spine.dissent SET reason = 'Hers.' WHERE until IS NULL AND owner = 'RYJ' AND purpose = 'care';
SELECT results_eq(format('SELECT seen(%L)', w), $$ VALUES ('(care,RQM,RYJ,Hers.,dissent_portal)'), ('(secondary,,RYJ,,dissent_portal)') $$, d)
  FROM (VALUES ('ryj_clinician', 'a clinician of the organisation that recorded it sees it')) v (w, d);
SELECT results_eq($$ SELECT seen('ryj_governor') $$, $$ VALUES ('(reporting,QRV,R1K,,)'), ('(care,,RQM,,)'), ('(care,RQM,RYJ,Hers.,dissent_portal)'), ('(secondary,,RYJ,,dissent_portal)') $$,
	'a governor those too to which it has to keep, without what she said');
SELECT results_eq($$ SELECT seen('rqm_governor') $$, $$ VALUES ('(reporting,QRV,R1K,,)'), ('(care,,RQM,,dissent_both)'), ('(care,RQM,RYJ,,)'), ('(secondary,,RYJ,,)') $$, 'so at the other organisation');
SELECT results_eq($$ SELECT seen('rqm_clinician') $$, $$ VALUES ('(care,,RQM,,dissent_both)') $$, 'whose clinicians see what it recorded itself');
SELECT results_eq($$ SELECT seen('r1k_governor') $$, $$ VALUES ('(reporting,QRV,R1K,,dissent_r1k_clinician)') $$, 'who shares nothing sees his own alone');
SELECT is_empty($$ SELECT seen('ryj_analyst') $$, 'an analyst none');
SELECT is_empty($$ SELECT seen('ryj_system') $$, 'nor a system');
SELECT is_empty($$ SELECT seen('stranger') $$, 'nor a stranger');
SELECT throws_ok(format('SELECT seen(%L)', w), '42501', 'permission denied for view dissents', d)
  FROM (VALUES ('device', 'a device may not ask'), ('operator', 'nor an operator'), ('portal', 'nor the portal')) v (w, d);
SELECT throws_ok($$ SELECT as_role('dissent_ryj_governor', 'SELECT * FROM spine.dissent') $$, '42501', NULL, 'and nobody reads the table');
SELECT throws_ok($$ SELECT as_role('dissent_ryj_governor', 'UPDATE spine.dissents SET until = NULL') $$, NULL, NULL, 'or writes it');

SELECT * FROM finish();
SELECT leave_two_trusts('dissent'), drop_roles('dissent_device', 'dissent_operator', 'dissent_portal', 'dissent_stranger', 'dissent_r1k_clinician', 'dissent_r1k_governor',
				  'dissent_both') \g /dev/null
