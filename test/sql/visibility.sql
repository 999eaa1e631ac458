-- Which rows a role sees, whatever it does to see more.
\ir setup.psql
\ir as_role.psql
SELECT plan(131);
SELECT two_trusts('visibility') \g /dev/null
SELECT make_roles('visibility_operator', 'visibility_device', 'visibility_reports', 'visibility_both', 'visibility_stranger', 'visibility_unit') \g /dev/null
SELECT spine.add_organisation('RYJ01', 'A hospital', 'unit', 'RYJ'), spine.host_organisation('RYJ01'), spine.host_organisation('QRV') \g /dev/null
SELECT spine.add_member('visibility_operator', 'RYJ', 'operator'), spine.add_system('RYJ', 'Monitor', 'device', 'visibility_device'),
	   spine.add_system('RYJ', 'Figures', 'reports', 'visibility_reports'), spine.add_system('RYJ01', 'Ward', 'maternity', 'visibility_unit'),
	   spine.add_member('visibility_both', 'RYJ', 'clinician'), spine.add_member('visibility_both', 'RQM', 'clinician') \g /dev/null
GRANT spine_member, spine_supplier TO visibility_stranger;
SELECT agree('visibility') \g /dev/null
SELECT book('visibility_ryj_system', '9990000018', '1'), book('visibility_ryj_system', '9990000026', '2'),
	   book('visibility_rqm_system', '9990000018', '9', '2026-02-01'), book('visibility_unit', '9990000034', '5') \g /dev/null

CREATE FUNCTION bookings(who text, condition text DEFAULT 'true') RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(a, ' ' ORDER BY a), '') FROM as_role(who, 'SELECT owner || pregnancy_id FROM maternity_2_0.booking WHERE ' || condition) a
$$;
CREATE FUNCTION open_it(number text, who text DEFAULT 'visibility_rqm_clinician') RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, format('SELECT spine.open_record(%L, ''care'', ''x'')', number))
$$;
CREATE FUNCTION close_all(who text DEFAULT 'visibility_rqm_clinician') RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, 'SELECT spine.close_records()')
$$;

-- own rows

SELECT is(bookings('visibility_ryj_clinician'), '(RYJ01P5) (RYJP1) (RYJP2)', 'a clinician sees what his Trust and its units have');
SELECT is(bookings('visibility_ryj_analyst'), '(RYJ01P5) (RYJP1) (RYJP2)', 'so does an analyst');
SELECT is(bookings('visibility_ryj_system'), '(RYJ01P5) (RYJP1) (RYJP2)', 'and a system');
SELECT is(bookings('visibility_reports'), '(RYJ01P5) (RYJP1) (RYJP2)', 'and one that only reads');
SELECT is(bookings('visibility_unit'), '(RYJ01P5)', 'a unit does not see what its Trust has');
SELECT throws_ok($$ SELECT bookings('visibility_device') $$, '42501', NULL, 'a device sees nothing');
SELECT is(bookings('visibility_stranger'), '', 'a role that was granted the group and is no member sees nothing');
SELECT throws_ok($$ SELECT bookings('visibility_ryj_governor') $$, '42501', NULL, 'a governor sees no records');
SELECT throws_ok($$ SELECT bookings('visibility_operator') $$, '42501', NULL, 'nor an operator');
SELECT is((SELECT count(*) FROM maternity_2_0.booking), 0::bigint, 'through the views not even a superuser, who is no member');
\o /dev/null
SELECT spine.add_member('visibility_stranger', 'QRV', 'analyst');
\o
SELECT is(bookings('visibility_stranger'), '', 'a board sees no records of the Trusts below it: they are other owners');
\o /dev/null
SELECT spine.remove_member('visibility_stranger', 'QRV', 'analyst');
GRANT spine_member, spine_supplier TO visibility_stranger;
\o

-- others' rows: all conditions at once

SELECT is(bookings('visibility_rqm_clinician'), '(RQMP9)', 'an audience alone shows nothing');
SELECT open_it('9990000018') \g /dev/null
SELECT is(bookings('visibility_rqm_clinician'), '(RQMP9) (RYJP1)', 'opened, the rows of this patient are seen');
SELECT is(bookings('visibility_rqm_analyst'), '(RQMP9)', 'not by others of the organisation');
SELECT is(bookings('visibility_ryj_clinician'), '(RYJ01P5) (RYJP1) (RYJP2)', 'nor by those of another');

CREATE FUNCTION sees(owner text, audience text, patient text, who text DEFAULT 'visibility_rqm_clinician') RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, format('SELECT spine.visible(%L, %L, %L, ''maternity.booking'')', owner, audience, patient))
$$;
SELECT spine.patient_id('9990000018') AS opened, spine.patient_id('9990000026') AS other \gset
SELECT is(sees(o, a, p), s, n) FROM (VALUES
	('RQM', '{}', :'other', 't', 'own'),
	('RQM', NULL, NULL, 't', 'own, and nothing else known'),
	('RYJ', '{RQM:care}', :'opened', 't', 'opened, in the audience, under a rule'),
	('RYJ', '{X99:care,RQM:care,RQM:reporting}', :'opened', 't', 'the same among others'),
	('RYJ', '{RQM:care}', :'other', 'f', 'not opened'),
	('RYJ', '{}', :'opened', 'f', 'not in the audience'),
	('RYJ', '{RQM:reporting}', :'opened', 'f', 'in it for another purpose'),
	('RYJ', '{RYJ:care}', :'opened', 'f', 'another in it'),
	('RYJ', '{RQM:car,RQM:care2,QM:care}', :'opened', 'f', 'what looks like it in it'),
	('RYJ', '{NULL}', :'opened', 'f', 'nothing in it'),
	('R1K', '{RQM:care}', :'opened', 'f', 'no rule from this owner'),
	('RYJX', '{RQM:care}', :'opened', 'f', 'an owner whose name begins alike'),
	('', '{RQM:care}', :'opened', 'f', 'an owner without a name'),
	('RYJ', NULL, :'opened', 'f', 'no audience'),
	('RYJ', '{RQM:care}', NULL, 'f', 'no patient'),
	(NULL, '{RQM:care}', :'opened', 'f', 'no owner')
) AS t (o, a, p, s, n);

-- a revocation bites in the running session

SELECT is(bookings('visibility_rqm_clinician', 'owner = ''RYJ'''), '(RYJP1)', 'a row is seen');
BEGIN;
ALTER TABLE spine.sharing_rule DISABLE TRIGGER USER;
ALTER TABLE spine.sharing_rule ENABLE TRIGGER forget_cache;
DELETE FROM spine.sharing_rule WHERE from_organisation = 'RYJ';
SELECT is((SELECT audience FROM maternity.booking WHERE pregnancy_id = 'P1'), '{RQM:care,RQM:care/aci}', 'whose audience is as it was');
SELECT is(bookings('visibility_rqm_clinician', 'owner = ''RYJ'''), '', 'but without a rule is not seen');
ROLLBACK;
SELECT is(bookings('visibility_rqm_clinician', 'owner = ''RYJ'''), '(RYJP1)', 'rolled back, it is seen again');
BEGIN;
UPDATE spine.sharing_rule SET ends_at = now() - interval '1 second';
SELECT is(bookings('visibility_rqm_clinician', 'owner = ''RYJ'''), '', 'nor under a rule whose time is over');
ROLLBACK;
BEGIN;
SELECT spine.remove_member('visibility_rqm_clinician', 'RQM', 'clinician'), spine.add_member('visibility_rqm_clinician', 'RQM', 'analyst') \g /dev/null
SELECT is(bookings('visibility_rqm_clinician'), '(RQMP9)', 'a clinician who becomes an analyst keeps his own, not what he had opened');
ROLLBACK;

CREATE FUNCTION fetched_after(step text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c refcursor;
	row_seen text;
	seen text := '';
BEGIN
	-- rows come as they are read: one is fetched, then something happens, then the rest
	SET LOCAL ROLE visibility_rqm_clinician;
	OPEN c FOR SELECT owner || pregnancy_id FROM maternity_2_0.booking WHERE owner = 'RQM'
			   UNION ALL SELECT owner || pregnancy_id FROM maternity_2_0.booking WHERE owner = 'RYJ';
	FETCH c INTO row_seen;
	seen := row_seen;
	RESET ROLE;
	EXECUTE step;
	SET LOCAL ROLE visibility_rqm_clinician;
	LOOP
		FETCH c INTO row_seen;
		EXIT WHEN NOT FOUND;
		seen := seen || ' ' || row_seen;
	END LOOP;
	RESET ROLE;
	RETURN seen;
END
$$;
SELECT is(fetched_after('SELECT 1'), 'RQMP9 RYJP1', 'a cursor fetches both');
BEGIN;
SELECT is(fetched_after('SELECT as_role(''visibility_ryj_governor'', $q$ SELECT spine.end_agreement(''nwl-maternity'', 1, ''x'') $q$)'), 'RQMP9',
	'an agreement that is ended meanwhile shows no further row of it');
ROLLBACK;
BEGIN;
SELECT is(fetched_after('SELECT spine.remove_member(''visibility_rqm_clinician'', ''RQM'', ''clinician'')'), 'RQMP9', 'nor does a membership (attack 42)');
ROLLBACK;
SELECT is(fetched_after('SELECT close_all()'), 'RQMP9', 'nor a record that is closed');

-- a plan made while nothing is open (own_plan.c) is made anew when something is

CREATE FUNCTION plan_of(who text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	FOR line IN EXECUTE 'EXPLAIN (VERBOSE) SELECT pregnancy_id FROM maternity_2_0.booking' LOOP
		plan := plan || line;
	END LOOP;
	RESET ROLE;
	RETURN plan;
END
$$;
SELECT close_all() \g /dev/null
-- members may not EXPLAIN; who has the owner's privileges may
BEGIN;
GRANT spine_owner TO visibility_ryj_analyst;
SELECT matches(plan_of('visibility_ryj_analyst'), '^(?!.*(visible|permits)).*spine.owns', 'who can open nothing is asked for the owner alone');
ROLLBACK;
SET plan_cache_mode = force_generic_plan;
PREPARE kept AS SELECT string_agg(owner || pregnancy_id, ' ' ORDER BY owner) FROM maternity_2_0.booking;
SET ROLE visibility_rqm_analyst;
EXECUTE kept \g /dev/null
SET ROLE visibility_rqm_clinician;
SELECT spine.open_record('9990000018', 'care', 'x') \g /dev/null
EXECUTE kept \gset kept_
SELECT spine.close_records() \g /dev/null
RESET ROLE;
DEALLOCATE kept;
RESET plan_cache_mode;
SELECT is(:'kept_string_agg'::text, 'RQMP9 RYJP1', 'a plan kept from before shows what is opened, items too');

-- a plan outlives a change of role (attack 39)

SELECT open_it('9990000018') \g /dev/null
PREPARE all_bookings AS SELECT count(*) FROM maternity_2_0.booking;
SET plan_cache_mode = force_generic_plan;
SET ROLE visibility_rqm_clinician;
EXECUTE all_bookings \g /dev/null
EXECUTE all_bookings \gset clinician_
SET ROLE visibility_stranger;
EXECUTE all_bookings \gset stranger_
SET ROLE visibility_ryj_clinician;
EXECUTE all_bookings \gset other_
RESET ROLE;
SELECT is(ARRAY[:clinician_count, :stranger_count, :other_count], ARRAY[2, 0, 3], 'one prepared statement shows each role its own');
RESET plan_cache_mode;

-- two organisations: what is opened for one is not seen for the other

SELECT is(bookings('visibility_both'), '(RQMP9) (RYJ01P5) (RYJP1) (RYJP2)', 'who works for both has both''s rows');
SELECT open_it('9990000018', 'visibility_both') \g /dev/null
SELECT is((SELECT array_agg(organisation ORDER BY organisation) FROM spine.access_log WHERE role_name = 'visibility_both'), ARRAY['RQM', 'RYJ'],
	'and opens for both');

-- around it

CREATE TABLE spied (what text);
GRANT INSERT ON spied TO PUBLIC;
CREATE FUNCTION spy_quietly(what text) RETURNS boolean LANGUAGE plpgsql VOLATILE COST 0.0000001 AS $$ BEGIN INSERT INTO spied VALUES (what); RETURN true; END $$;
SELECT bookings('visibility_rqm_clinician', 'spy_quietly(owner || pregnancy_id)') \g /dev/null
SELECT set_eq('SELECT what FROM spied', ARRAY['RQMP9', 'RYJP1'], 'a function that tells what it is given is given no hidden row (attack 9)');
SELECT lives_ok($$ SELECT bookings('visibility_rqm_clinician', '1 / (CASE WHEN pregnancy_id = ''P2'' THEN 0 ELSE 1 END) = 1') $$,
	'nor does an error tell of one (attack 11)');
SELECT throws_ok($$ SELECT as_role('visibility_rqm_clinician', 'SELECT * FROM maternity.booking') $$, '42501', NULL, 'the table is not read');
SELECT throws_ok(format('SELECT as_role(''visibility_rqm_clinician'', ''SELECT * FROM spine.%s'')', t), '42501', NULL, 'nor is spine.' || t)
  FROM unnest(ARRAY['relationship', 'sharing_rule', 'agreement_event', 'alias', 'identity_link', 'rejection', 'history']) t;
SET row_security = off;
SELECT throws_ok($$ SELECT bookings('visibility_rqm_clinician') $$, '42501', NULL, 'without row-level security nothing is read at all (attack 29)');
RESET row_security;
CREATE FUNCTION as_owner() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT count(*) FROM spine.all_records $$;
ALTER FUNCTION as_owner() OWNER TO spine_owner;
SELECT is(value_as('visibility_rqm_clinician', 'SELECT public.as_owner()'), '4', 'a definer function of spine_owner that reads the view of all records sees what its caller may see, no more');
SELECT is(value_as('visibility_stranger', 'SELECT public.as_owner()'), '0', 'and a stranger nothing');
DROP FUNCTION as_owner();
SELECT is(value_as('visibility_rqm_clinician', 'SELECT count(*) FROM spine.all_records'), '4', 'which is the same as he sees himself');

-- refusals, warnings and history are seen where they arose

SELECT as_role('visibility_ryj_system', $$ SELECT spine.submit('{"dataset": "maternity", "version": "2.0", "system": "RYJ Maternity", "records":
	[{"group": "booking", "nhs_number": "9990000018", "local_patient_id": "M1", "local_episode_id": "P1", "data": {}},
	 {"group": "booking", "nhs_number": "9990000026", "local_patient_id": "M2", "local_episode_id": "P2", "data": {"antenatal_booking_date": "2026-01-06", "no_such_item": 1}}]}'::text) $$) \g /dev/null
SELECT results_eq(format('SELECT value_as(%L, ''SELECT (SELECT count(*) FROM spine.rejections) || '''','''' || (SELECT count(*) > 0 FROM spine.findings)'')', 'visibility_' || r),
	format('VALUES (%L)', e), r || ' sees of refusals and warnings ' || e)
  FROM (VALUES ('ryj_system', '1,true'), ('ryj_clinician', '1,true'), ('ryj_analyst', '1,true'), ('reports', '0,false'),
			   ('rqm_system', '0,false'), ('rqm_clinician', '0,false'), ('stranger', '0,false')) AS v (r, e);
SELECT is(value_as('visibility_ryj_clinician', 'SELECT count(*) FROM spine.corrections'), '1', 'a clinician sees the corrections of his own');
SELECT is(value_as('visibility_rqm_clinician', 'SELECT count(*) FROM spine.corrections'), '0', 'and no others'', opened or not');

-- what was sent: its sender knows, and whoever acts for the organisation; of what became of each line those who see findings

SELECT as_role('visibility_' || r, format($$ SELECT spine.submit('{"dataset": "maternity", "version": "2.0", "records": [{"group": "staff", "data": {"care_professional_id": "%s"}}]}'::text) $$, r))
  FROM unnest('{device,rqm_system}'::text[]) r \g /dev/null
CREATE FUNCTION send_lines(who text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	INSERT INTO spine.inbox (document) VALUES
		('{"dataset": "maternity", "version": "2.0", "group": "staff", "data": {"care_professional_id": "I1"}}'),
		('{"dataset": "maternity", "version": "2.0", "group": "staff", "data": {}}');
	RESET ROLE;
END
$$;
SELECT send_lines('visibility_ryj_system'), send_lines('visibility_device'), send_lines('visibility_rqm_system') \g /dev/null
SELECT is(value_as('visibility_' || r, 'SELECT concat_ws('' '', count(*) FILTER (WHERE owner = ''RYJ'' AND source_system = ''RYJ Maternity''), count(*) FILTER (WHERE source_system = ''Monitor''),
		count(*) FILTER (WHERE owner = ''RYJ01''), count(*) FILTER (WHERE owner = ''RQM'')) FROM spine.submissions'), e, r || ' sees of submissions ' || e)
  FROM (VALUES ('ryj_system', '6 0 0 0'), ('device', '0 2 0 0'), ('unit', '0 0 2 0'), ('reports', '0 0 0 0'), ('ryj_clinician', '6 2 0 0'), ('ryj_analyst', '6 2 0 0'),
			   ('ryj_governor', '6 2 0 0'), ('operator', '6 2 0 0'), ('both', '6 2 0 4'), ('rqm_system', '0 0 0 4'), ('rqm_clinician', '0 0 0 4'),
			   ('rqm_governor', '0 0 0 4'), ('stranger', '0 0 0 0')) AS v (r, e);
SELECT is(value_as('visibility_' || r, 'SELECT concat_ws('' '', count(*), count(DISTINCT submission_id), count(*) FILTER (WHERE outcome = ''rejected'')) FROM spine.inbox_result'), e, r || ' sees of lines ' || e)
  FROM (VALUES ('ryj_system', '2 1 1'), ('device', '2 1 1'), ('unit', '0 0 0'), ('reports', '0 0 0'), ('ryj_clinician', '4 2 2'), ('ryj_analyst', '4 2 2'),
			   ('both', '6 3 3'), ('rqm_system', '2 1 1'), ('rqm_clinician', '2 1 1'), ('stranger', '0 0 0')) AS v (r, e);
SELECT throws_ok(format($$ SELECT value_as('visibility_%s', 'SELECT count(*) FROM spine.inbox_result') $$, r), '42501', NULL, r || ' sees no lines')
  FROM unnest('{ryj_governor,operator}'::text[]) r;
SELECT is(value_as('visibility_' || r, 'SELECT count(*) FROM spine.rejections'), e, r || ' sees ' || e || ' refused records')
  FROM (VALUES ('ryj_system', '2'), ('ryj_clinician', '3'), ('ryj_analyst', '3'), ('reports', '0'), ('unit', '0'), ('rqm_system', '1'), ('rqm_clinician', '1'), ('both', '4'), ('stranger', '0')) AS v (r, e);
SELECT throws_ok(format($$ SELECT value_as('visibility_%s', 'SELECT count(*) FROM spine.rejections') $$, r), '42501', NULL, r || ' sees no refused records')
  FROM unnest('{device,ryj_governor,operator}'::text[]) r;
SELECT throws_ok(format($$ SELECT value_as('visibility_%s', 'SELECT count(*) FROM spine.%s') $$, r, t), '42501', NULL, format('%s reads not the table %s', r, t))
  FROM unnest('{ryj_clinician,ryj_system,operator}'::text[]) r, unnest('{submission,raw_submission,inbox_line,submission_default,raw_submission_default,inbox_line_default}'::text[]) t;
SELECT throws_ok(format($$ SELECT as_role('visibility_%s', 'SELECT * FROM spine.inbox') $$, r), '42501', NULL, 'nobody reads the inbox: ' || r)
  FROM unnest('{ryj_system,device,ryj_clinician}'::text[]) r;
SELECT is_empty($$ SELECT c.oid::regclass, a.grantee::regrole FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, aclexplode(c.relacl) a
	WHERE i.inhparent = ANY ('{spine.submission,spine.raw_submission,spine.inbox_line}'::regclass[]) AND a.grantee <> c.relowner $$, 'nobody is granted a month''s partition');
SELECT cmp_ok((SELECT count(*) FROM pg_inherits WHERE inhparent = 'spine.submission'::regclass), '>', 1::bigint, 'though there are some');

-- who listens learns that there was a submission, and its id

LISTEN spine_submission;
\o /tmp/spine_visibility_notified
SELECT send_lines('visibility_ryj_system');
SELECT 1;
\o
UNLISTEN spine_submission;
\set notified `grep -c '^Asynchronous notification "spine_submission" with payload "[0-9a-f-]\{36\}" received from server process with PID [0-9]*\.$' /tmp/spine_visibility_notified`
\set told `grep -c Asynchronous /tmp/spine_visibility_notified`
\! rm -f /tmp/spine_visibility_notified
SELECT is(ARRAY[:'notified', :'told'], ARRAY['1', '1'], 'a notification holds an id and nothing else (attack 51)');

-- what a statement shows is settled when it is planned: nothing is opened then

CREATE FUNCTION trick() RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT spine.open_record('9990000018', 'care', 'x') IS NOT NULL $$;
SELECT close_all() \g /dev/null
\set ON_ERROR_STOP off
SET ROLE visibility_rqm_clinician;
SELECT complex_social_factors_indicator FROM maternity_2_0.booking WHERE trick() \g /dev/null
\set trick :LAST_ERROR_SQLSTATE
RESET ROLE;
\set ON_ERROR_STOP on
SELECT is(:'trick'::text, '0A000', 'a function that the planner evaluates opens no record');

SELECT * FROM finish();
REVOKE spine_member, spine_supplier FROM visibility_stranger;
DROP TABLE spied;
SELECT leave_two_trusts('visibility'), drop_roles('visibility_operator', 'visibility_device', 'visibility_reports', 'visibility_both', 'visibility_stranger', 'visibility_unit') \g /dev/null
