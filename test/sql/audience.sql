-- The audience of records: what it follows from, and that it follows at once and no further.
\ir setup.psql
\ir as_role.psql
SELECT plan(35);
SELECT two_trusts('audience') \g /dev/null
SELECT book('audience_ryj_system', '9990000018', '1'), book('audience_ryj_system', '9990000026', '2') \g /dev/null
SELECT book('audience_rqm_system', '9990000018', '9', '2026-02-10') \g /dev/null

CREATE FUNCTION who(number text) RETURNS uuid LANGUAGE sql AS $$ SELECT spine.patient_id(number::spine.nhs_number) $$;
CREATE FUNCTION audience_of(the_owner text, number text, OUT booking text[], OUT scan text[]) LANGUAGE sql AS $$
	SELECT (SELECT audience FROM maternity.booking b WHERE b.owner = the_owner AND b.patient_id = who(number)),
		   (SELECT audience FROM maternity.dating_scan s WHERE s.owner = the_owner AND s.patient_id = who(number))
$$;
CREATE FUNCTION tell(the_version integer, the_kind text DEFAULT 'end') RETURNS void LANGUAGE sql AS $$
	SELECT as_role('audience_ryj_governor', format('SELECT spine.end_agreement(''nwl-maternity'', %s, ''over'')', the_version))
$$;

-- no agreement

SELECT results_eq($$ SELECT * FROM audience_of('RYJ', '9990000018') $$, $$ VALUES ('{}'::text[], '{}'::text[]) $$, 'without an agreement nobody else may have anything');
SELECT is(spine.audience('RYJ', 'maternity', 'booking', who('9990000018')), '{}', 'which is what is computed');
SELECT is(spine.relationship_audience('RYJ', 'RYJ'), '{}', 'nor need anybody know of a relationship');

-- one over one group

SELECT agree('audience', document('{}', '{"groups": ["booking"]}')) \g /dev/null
SELECT results_eq($$ SELECT * FROM audience_of('RYJ', '9990000018') $$, $$ VALUES ('{RQM:care,RQM:care/aci}'::text[], '{}'::text[]) $$,
	'published, it changes rows that were there: of the group and of the patient who is known to both');
SELECT results_eq($$ SELECT * FROM audience_of('RQM', '9990000018') $$, $$ VALUES ('{RYJ:care,RYJ:care/aci}'::text[], '{}'::text[]) $$, 'in both directions');
SELECT results_eq($$ SELECT * FROM audience_of('RYJ', '9990000026') $$, $$ VALUES ('{}'::text[], '{}'::text[]) $$, 'not of others');
SELECT results_eq('SELECT DISTINCT owner, audience FROM spine.relationship ORDER BY 1', $$ VALUES ('RQM', '{RYJ:care}'::text[]), ('RYJ', '{RQM:care}') $$,
	'and who must know of relationships');
SELECT is(spine.relationship_audience('RYJ', 'RQM'), ARRAY['RQM:care'], 'of one to another organisation that one too');
SELECT book('audience_rqm_system', '9990000026', '8', '2026-01-20') \g /dev/null
SELECT results_eq($$ SELECT * FROM audience_of('RYJ', '9990000026') $$, $$ VALUES ('{RQM:care,RQM:care/aci}'::text[], '{}'::text[]) $$,
	'an episode elsewhere changes the rows here at once');
SELECT results_eq($$ SELECT * FROM audience_of('RQM', '9990000026') $$, $$ VALUES ('{RYJ:care,RYJ:care/aci}'::text[], '{}'::text[]) $$,
	'and a new row has its audience from the first');
SELECT is((SELECT max(revision) FROM maternity.booking), 1::bigint, 'revisions stay');
SELECT is((SELECT count(*) FROM spine.history), 0::bigint, 'and no history is written');

-- nothing is touched twice

SELECT is(spine.reaudience(ARRAY[who('9990000018'), who('9990000026')]), 0::bigint, 'computed again, nothing changes');
SELECT is(spine.reaudience_rules('RYJ', 'maternity', 'booking'), 0::bigint, 'neither way');
UPDATE maternity.booking SET audience = '{X99:care}' WHERE owner = 'RYJ';
SELECT is(spine.reaudience(ARRAY[who('9990000018')]), 1::bigint, 'a wrong one is mended, of the patient named');
SELECT is(spine.reaudience_rules('RYJ', 'maternity', 'booking'), 1::bigint, 'and of the rest by the other way');
SELECT is(spine.reaudience_rules('R1K', 'maternity', 'booking'), 0::bigint, 'an owner who is not hosted here is not ours to compute');
INSERT INTO maternity.booking (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience)
	VALUES (gen_random_uuid(), 'R1K', 'X', '1', who('9990000018'), '2.0', now(), 1, '{RYJ:care}');
SELECT is(spine.reaudience(ARRAY[who('9990000018')]), 0::bigint, 'nor are its rows');
SELECT is(spine.reaudience('{}'), 0::bigint, 'nobody is nobody');
SELECT is(spine.reaudience_rules('RYJ', 'maternity', 'no_such_group'), 0::bigint, 'and a group that is not there nothing');

-- linked ids

INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner)
	VALUES (gen_random_uuid(), who('9990000034'), who('9990000042'), 'test', 'RYJ');
SELECT is(spine.linked_patients(who('9990000034')), spine.linked_patients(who('9990000042')), 'linked ids are one person from both sides');
SELECT is(spine.linked_patients(who('9990000018')), ARRAY[who('9990000018')], 'others are alone');
SELECT book('audience_ryj_system', '9990000034', '3'), book('audience_rqm_system', '9990000042', '7') \g /dev/null
SELECT results_eq($$ SELECT * FROM audience_of('RYJ', '9990000034') $$, $$ VALUES ('{RQM:care,RQM:care/aci}'::text[], '{}'::text[]) $$,
	'a relationship to one id counts for the other');
UPDATE spine.identity_link SET until = now() - interval '1 s';
SELECT results_eq($$ SELECT * FROM audience_of('RYJ', '9990000034') $$, $$ VALUES ('{}'::text[], '{}'::text[]) $$, 'and counts no more when the link ends');
SELECT is(cardinality(spine.linked_patients(who('9990000034'))), 1, 'nor are they one person');
INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner)
	SELECT gen_random_uuid(), who(a), who(b), 'test', 'RYJ' FROM (VALUES ('9990000034', '9990000050'), ('9990000042', '9990000050'), ('9990000042', '9990000069')) v (a, b);
SELECT is(cardinality(spine.linked_patients(who('9990000069'))), 4, 'links reach over links');
SELECT results_eq($$ SELECT * FROM audience_of('RYJ', '9990000034') $$, $$ VALUES ('{RQM:care,RQM:care/aci}'::text[], '{}'::text[]) $$, 'and so do relationships');

-- purposes without a relationship, records without a person

SELECT agree('audience', document('{"name": "network-reports"}', '{"from": ["RYJ"], "to": ["RQM"], "groups": ["booking", "staff"], "purpose": "reporting"}')) \g /dev/null
SELECT results_eq($$ SELECT booking FROM audience_of('RYJ', '9990000018') $$, $$ VALUES ('{RQM:care,RQM:care/aci,RQM:reporting,RQM:reporting/ac}'::text[]) $$, 'reporting comes beside care');
SELECT is(spine.audience('RYJ', 'maternity', 'booking', gen_random_uuid()), ARRAY['RQM:reporting', 'RQM:reporting/ac'], 'and needs no relationship');
SELECT is(spine.audience('RYJ', 'maternity', 'staff', NULL), ARRAY['RQM:reporting', 'RQM:reporting/ac'], 'nor a person');
SELECT is(spine.audience('RQM', 'maternity', 'booking', gen_random_uuid()), '{}', 'in the agreed direction alone');

-- the end

SELECT tell(1) \g /dev/null
SELECT results_eq($$ SELECT booking FROM audience_of('RYJ', '9990000018') $$, $$ VALUES ('{RQM:reporting,RQM:reporting/ac}'::text[]) $$, 'ended, it takes back its own');
SELECT results_eq('SELECT DISTINCT audience FROM spine.relationship', $$ VALUES ('{}'::text[]) $$, 'also of relationships');

-- fast: a woman's records in 32 groups

SELECT agree('audience', document('{"version": 2}')) \g /dev/null
SELECT spine.reaudience(ARRAY[who('9990000018')]) \g /dev/null
CREATE FUNCTION milliseconds(rounds integer) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	FOR i IN 1 .. rounds LOOP
		PERFORM spine.reaudience(ARRAY[who('9990000018')]);
	END LOOP;
	RETURN 1000 * extract(epoch FROM clock_timestamp() - began) / rounds;
END
$$;
SELECT milliseconds(20) AS ms \gset
SELECT cmp_ok(:'ms'::double precision, '<', 50::double precision, 'one patient over 32 groups takes milliseconds');
SELECT diag('reaudience of one patient over 32 groups: ' || round(:'ms'::numeric, 2) || ' ms') \g /dev/stderr
SELECT is((SELECT count(*) FROM spine.published_groups()), 32::bigint, 'and 32 groups there are');

SELECT * FROM finish();
SELECT leave_two_trusts('audience') \g /dev/null
