-- Why a role sees a record or does not: what is told agrees with what is seen, now and in the past.
\ir setup.psql
\ir as_role.psql
SELECT plan(71);
SELECT two_trusts('explain') \g /dev/null
SELECT make_roles('explain_stranger', 'explain_both', 'explain_r1k_governor', 'explain_operator', 'explain_unit', 'explain_device') \g /dev/null
SELECT spine.host_organisation('R1K'), spine.add_organisation('RYJ01', 'A hospital', 'unit', 'RYJ'), spine.host_organisation('RYJ01'),
	   spine.add_member('explain_both', 'RQM', 'clinician'), spine.add_member('explain_both', 'R1K', 'clinician'),
	   spine.add_member('explain_r1k_governor', 'R1K', 'governor'), spine.add_member('explain_operator', 'RYJ', 'operator'),
	   spine.add_system('RYJ01', 'Ward', 'maternity', 'explain_unit'), spine.add_system('RQM', 'Monitor', 'device', 'explain_device') \g /dev/null
SELECT book('explain_ryj_system', '9990000018', '1') \g /dev/null
UPDATE maternity.booking SET complex_social_factors_indicator = 'Y', previous_caesareans = 1;
SELECT record_id AS booking, patient_id AS patient FROM maternity.booking \gset

CREATE FUNCTION explained(record uuid, role name, at timestamptz DEFAULT now(), who text DEFAULT 'explain_ryj_governor') RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	RETURN QUERY SELECT * FROM spine.explain_access(record, role, at);
	RESET ROLE;
END
$$;
CREATE FUNCTION told(record uuid, role name, at timestamptz DEFAULT now(), who text DEFAULT 'explain_ryj_governor')
	RETURNS TABLE (step integer, question text, answer text, holds boolean, clause text, detail text) LANGUAGE sql AS $$
	SELECT * FROM explained(record, role, at, who) AS e (step integer, question text, answer text, holds boolean, clause text, detail text)
$$;
CREATE FUNCTION verdict(record uuid, role name, at timestamptz DEFAULT now(), who text DEFAULT 'explain_ryj_governor') RETURNS text LANGUAGE sql AS $$
	SELECT answer FROM told(record, role, at, who) ORDER BY step DESC LIMIT 1
$$;

-- what is really seen: the record, before and after opening it in one way or another, and which of its items
CREATE FUNCTION break_glass(patient uuid, organisation text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
	SELECT spine.opening_add(spine.linked_patients(patient), organisation, 'emergency', true)
$$;
ALTER FUNCTION break_glass(uuid, text) OWNER TO spine_owner;
CREATE FUNCTION seen(role name, record uuid, patient uuid, how text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	items text;
BEGIN
	BEGIN
		EXECUTE format('SET LOCAL ROLE %I', role);
		IF how = 'care' THEN
			PERFORM spine.open_record('9990000018', 'care', 'to compare');
		ELSIF how = 'emergency' THEN
			PERFORM break_glass(patient, o) FROM unnest(spine.caller_organisations('clinician')) o;
		END IF;
		SELECT string_agg(k, ' ' ORDER BY k) INTO items
		  FROM maternity_2_0.booking b
		 CROSS JOIN jsonb_object_keys(jsonb_strip_nulls(to_jsonb(b))) k
		 WHERE b.record_id = record
		   AND k IN ('antenatal_booking_date', 'edd_agreed', 'pregnancy_id', 'complex_social_factors_indicator', 'previous_caesareans', 'mother_local_id', 'record_id');
		RAISE EXCEPTION 'undone';
	EXCEPTION WHEN OTHERS THEN
		-- undone, refused, or no right to the view at all
		RESET ROLE;
	END;
	RETURN items;
END
$$;
CREATE FUNCTION really(role name, record uuid, patient uuid) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN seen(role, record, patient, 'nothing') IS NOT NULL THEN 'visible'
				WHEN seen(role, record, patient, 'care') IS NOT NULL OR seen(role, record, patient, 'emergency') IS NOT NULL THEN 'would be visible once opened'
				ELSE 'not visible' END
$$;
-- the verdict, and of the items that are there those that it does not say are left out
CREATE FUNCTION told_of(record uuid, role name, OUT verdict text, OUT items text) LANGUAGE sql AS $$
	SELECT t.answer,
		   CASE WHEN t.holds THEN (SELECT string_agg(k, ' ' ORDER BY k)
			  FROM unnest(ARRAY['antenatal_booking_date', 'edd_agreed', 'pregnancy_id', 'complex_social_factors_indicator', 'previous_caesareans', 'mother_local_id', 'record_id']) k
			 WHERE k <> ALL (regexp_split_to_array(coalesce(substring(t.detail FROM 'Left out: ([a-z0-9_, ]+)'), ''), ', '))) END
	  FROM told(record, role) t
	 ORDER BY t.step DESC LIMIT 1
$$;
CREATE FUNCTION items_seen(role name, record uuid, patient uuid) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(seen(role, record, patient, 'nothing'), seen(role, record, patient, 'care'), seen(role, record, patient, 'emergency'))
$$;

-- without an agreement

SELECT results_eq(format('SELECT step, question, answer, holds FROM told(%L, %L)', :'booking', 'explain_rqm_clinician'), $$ VALUES
	(1, 'Is the record here, and whose is it?', 'It is a record of RYJ in the data group booking.', true),
	(2, 'For whom does explain_rqm_clinician act?', 'It is clinician of RQM.', true),
	(3, 'Is it a record of its own organisations?', 'No: it is another owner''s.', false),
	(4, 'Has it opened the person''s record?', 'The access log has no opening shortly before.', false),
	(5, 'Does an agreement let RQM see it?', 'No: none in force shares the data group booking of RYJ with RQM for care.', false),
	(6, 'Then does explain_rqm_clinician see it?', 'not visible', false) $$, 'without an agreement: each question and its answer');
SELECT is(verdict(:'booking', r), v, r || ': ' || v) FROM (VALUES
	('explain_ryj_clinician', 'visible'), ('explain_ryj_analyst', 'visible'), ('explain_ryj_system', 'visible'), ('explain_ryj_governor', 'not visible'),
	('explain_operator', 'not visible'), ('explain_rqm_analyst', 'not visible'), ('explain_rqm_system', 'not visible'), ('explain_device', 'not visible'),
	('explain_unit', 'not visible'), ('explain_stranger', 'not visible'), ('no_such_role', 'not visible')) AS t (r, v);

-- who may ask

CREATE FUNCTION refusal(who text, record uuid, role name) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; more text; hint text;
BEGIN
	PERFORM * FROM told(record, role, now(), who);
	RETURN 'told';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws('|', state, message, more, hint);
END
$$;
SELECT refusal('explain_ryj_governor', gen_random_uuid(), 'explain_ryj_clinician') AS refused \gset
SELECT ok(:'refused' LIKE 'SP006|there is no such record and role that you may ask about|%', 'a record that there is not');
SELECT is(refusal(w, r, n), :'refused', d) FROM (VALUES
	('explain_r1k_governor', :'booking'::uuid, 'explain_ryj_clinician', 'another organisation''s governor is told the same'),
	('explain_r1k_governor', :'booking', 'explain_rqm_clinician', 'of whomever he asks'),
	('explain_r1k_governor', gen_random_uuid(), 'explain_both', 'his own people and a record that there is not'),
	('explain_rqm_governor', :'booking', 'explain_ryj_clinician', 'the other side asks about its own people alone'),
	('explain_rqm_governor', :'booking', 'explain_stranger', 'not about a stranger'),
	('explain_ryj_governor', NULL, 'explain_ryj_clinician', 'no record'),
	('explain_ryj_governor', :'booking', NULL, 'no role')) AS t (w, r, n, d);
SELECT is(left(refusal(w, :'booking', 'explain_ryj_clinician'), 5), '42501', w || ' may not ask') FROM (VALUES
	('explain_ryj_clinician'), ('explain_ryj_analyst'), ('explain_ryj_system'), ('explain_operator'), ('explain_stranger')) AS t (w);
SELECT is(refusal(w, :'booking', 'explain_rqm_clinician'), 'told', w || ' may ask') FROM (VALUES ('explain_ryj_governor'), ('explain_rqm_governor')) AS t (w);
SELECT is(refusal('explain_r1k_governor', :'booking', 'explain_both'), 'told', 'and one for whose organisation the role acts');
SELECT results_eq(format($$ SELECT count(*) FILTER (WHERE answer ~ 'RQM' OR question ~ 'RQM' OR detail ~ 'RQM') FROM told(%L, 'explain_both', now(), 'explain_r1k_governor') $$, :'booking'),
	'VALUES (0::bigint)', 'who learns nothing of other organisations for which it acts');
SELECT results_eq(format($$ SELECT count(*) FROM told(%L, 'explain_both', NULL) $$, :'booking'),
	format($$ SELECT count(*) FROM told(%L, 'explain_both') $$, :'booking'), 'no time is now');

-- at a time past

CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() FROM pg_sleep(0.005) $$;
SELECT clock() AS t0 \gset
SELECT agree('explain', document('{"name": "past"}', '{"emergency": true, "retention_days": 1}')) \g /dev/null
SELECT clock() AS t1 \gset
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner) VALUES (gen_random_uuid(), :'patient', 'RQM', 'referral', 'RYJ');
SELECT clock() AS t2 \gset
SELECT value_as('explain_rqm_clinician', 'SELECT spine.open_record(''9990000018'', ''care'', ''x'')') \g /dev/null
SELECT clock() AS t3 \gset
INSERT INTO spine.dissent (dissent_id, patient_id, purpose, owner, recorded_by) VALUES (gen_random_uuid(), :'patient', 'care', 'RYJ', 'x');
SELECT clock() AS t4 \gset
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, until) VALUES (gen_random_uuid(), :'patient', 'RQM', 'emergency', 'RQM', now() + interval '3 hours');
SELECT clock() AS t5 \gset
UPDATE spine.dissent SET until = now();
UPDATE spine.relationship SET until = now() WHERE organisation = 'RQM';
SELECT clock() AS t6 \gset
SELECT spine.remove_member('explain_rqm_clinician', 'RQM', 'clinician') \g /dev/null
SELECT clock() AS t7 \gset
SELECT spine.add_member('explain_rqm_clinician', 'RQM', 'clinician') \g /dev/null
SELECT clock() AS t8 \gset
SELECT as_role('explain_rqm_governor', 'SELECT spine.end_agreement(''past'', 1, ''over'')') \g /dev/null
SELECT clock() AS t9 \gset
CREATE FUNCTION at_that_time(record uuid, moment timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(': ', verdict(record, 'explain_rqm_clinician', moment),
		(SELECT answer FROM told(record, 'explain_rqm_clinician', moment) WHERE question LIKE '%let RQM see it?'))
$$;
SELECT is(at_that_time(:'booking', t), v, n) FROM (VALUES
	('2020-01-01'::timestamptz, 'not visible', 'before it was received, and anybody was a member'),
	(:'t0', 'not visible: No: none in force shares the data group booking of RYJ with RQM for care.', 'before there was an agreement'),
	(:'t1', 'not visible: No: RQM has no relationship to the person that counts; accepted are episode and referral.', 'before there was a relationship'),
	(:'t2', 'would be visible once opened: Yes: RQM has a relationship to the person that the clause accepts.', 'with both'),
	(:'t4', 'not visible: No: the person has objected, on ' || to_char(now() AT TIME ZONE 'Europe/London', 'YYYY-MM-DD HH24:MI') || '.', 'while she dissented'),
	(:'t5', 'would be visible once opened: To whoever broke the glass: an emergency of RQM runs, and the clause allows it.', 'an emergency is not stopped by it'),
	(:'t6', 'would be visible once opened: Yes: RQM has a relationship to the person that the clause accepts.', 'when she did not any more; the relationship had ended, and was retained'),
	(:'t7', 'not visible', 'while the role was no member'),
	(:'t8', 'would be visible once opened: Yes: RQM has a relationship to the person that the clause accepts.', 'when it was again'),
	(:'t9', 'not visible: No: none in force shares the data group booking of RYJ with RQM for care.', 'after the agreement had ended'),
	(now(), 'not visible: No: none in force shares the data group booking of RYJ with RQM for care.', 'and now')) AS t (t, v, n);
SELECT is((SELECT holds FROM told(:'booking', 'explain_rqm_clinician', t) WHERE question = 'Has it opened the person''s record?'), h, n) FROM (VALUES
	(:'t2'::timestamptz, false, 'before it was opened'), (:'t3', true, 'just after'), (:'t3'::timestamptz + interval '2 hours', false, 'two hours later')) AS t (t, h, n);
SELECT is((SELECT detail FROM told(:'booking', 'explain_rqm_clinician', :'t9') WHERE step = 5), 'Between the two: past v1 is ended.', 'what there was between the two is told');
SELECT ok((SELECT detail ~ '^Relationships: referral since [-0-9: ]+ until [-0-9: ]+ [(]still counts, by the retention[)]; emergency since [-0-9: ]+ until [-0-9: ]+ [(]ended[)][.] Left out: '
			 FROM told(:'booking', 'explain_rqm_clinician', :'t6') WHERE step = 5), 'and the relationships');

-- a record that was corrected, and one that is gone

SELECT record_id AS scan FROM maternity.dating_scan \gset
SELECT clock() AS t10 \gset
SET ROLE explain_ryj_system;
DELETE FROM maternity_2_0.dating_scan;
UPDATE maternity_2_0.booking SET edd_agreed = '2026-08-11';
RESET ROLE;
SELECT is((SELECT count(*) FROM maternity.dating_scan), 0::bigint, 'a record is deleted');
SELECT is((SELECT revision FROM maternity.booking), 2::bigint, 'another corrected');
SELECT is(verdict(:'scan', 'explain_ryj_clinician', :'t10'), 'visible', 'it was visible before');
SELECT results_eq(format('SELECT answer, holds FROM told(%L, ''explain_ryj_clinician'') WHERE step IN (1, 4)', :'scan'),
	format($$ VALUES ('No: it was deleted on %s.', false), ('not visible', false) $$, to_char(now() AT TIME ZONE 'Europe/London', 'YYYY-MM-DD HH24:MI')), 'and is not now');
SELECT is(verdict(:'booking', 'explain_ryj_clinician', :'t1'), 'visible', 'one that was corrected was there before');
SELECT is(left(refusal('explain_rqm_governor', :'scan', 'explain_ryj_clinician'), 5), 'SP006', 'of a deleted one others learn as little');

-- what is told agrees with what is seen: agreements x relationships x dissents, roles

CREATE TEMPORARY TABLE clause_case (n integer GENERATED ALWAYS AS IDENTITY, clause jsonb);
INSERT INTO clause_case (clause) VALUES
	('{}'),
	('{"emergency": true, "item_classes": ["clinical"]}'),
	('{"retention_days": 30, "relationships": ["episode"], "item_classes": ["administrative", "clinical", "restricted"]}'),
	('{"relationships": ["emergency"]}'),
	('{"emergency": {"item_classes": ["restricted"]}, "items": {"exclude": ["booking.edd_agreed"]}}'),
	('{"groups": ["dating_scan"]}'),
	('{"item_classes": [], "items": {"include": ["booking.edd_agreed", "booking.complex_social_factors_indicator"]}}'),
	('{"to": ["R1K"]}');
CREATE TEMPORARY TABLE relationship_case (n integer GENERATED ALWAYS AS IDENTITY, kinds text[], ago interval[]);
INSERT INTO relationship_case (kinds, ago) VALUES
	('{}', '{}'), ('{episode}', '{NULL}'), ('{referral}', '{NULL}'), ('{transfer}', '{NULL}'), ('{episode}', '{10 days}'), ('{episode}', '{40 days}'),
	('{emergency}', '{-1 hour}'), ('{emergency}', '{1 hour}'), ('{episode,emergency}', '{NULL,-1 hour}');
CREATE TEMPORARY TABLE dissent_case (n integer GENERATED ALWAYS AS IDENTITY, purpose text, organisation text, ended boolean);
INSERT INTO dissent_case (purpose, organisation, ended) VALUES
	(NULL, NULL, false), ('care', NULL, false), ('care', 'RQM', false), ('care', 'R1K', false), ('secondary', NULL, false), ('care', NULL, true);
CREATE TEMPORARY TABLE difference (clause jsonb, kinds text[], ago interval[], dissent text, role text, told text, really text);
CREATE TEMPORARY TABLE cell (told text);
GRANT SELECT ON clause_case, relationship_case, dissent_case TO PUBLIC;

CREATE FUNCTION compare(record uuid, patient uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c record; r record; d record; who text; said record; is_so text; are_so text;
BEGIN
	FOR c IN SELECT * FROM clause_case ORDER BY n LOOP
		PERFORM as_role(format('explain_%s_governor', g), q)
		   FROM (SELECT document(jsonb_build_object('version', c.n, 'parties', '["RYJ", "RQM", "R1K"]'::jsonb), '{"groups": ["booking"]}' || c.clause) AS doc) x,
				LATERAL (VALUES ('ryj', format('SELECT spine.propose_agreement(%L)', doc)), ('ryj', format('SELECT spine.sign_agreement(''nwl-maternity'', %s)', c.n)),
								('rqm', format('SELECT spine.sign_agreement(''nwl-maternity'', %s)', c.n)), ('r1k', format('SELECT spine.sign_agreement(''nwl-maternity'', %s)', c.n)),
								('rqm', format('SELECT spine.publish_agreement(''nwl-maternity'', %s)', c.n))) AS s (g, q);
		FOR r IN SELECT * FROM relationship_case LOOP
			DELETE FROM spine.relationship l WHERE l.organisation IN ('RQM', 'R1K');
			INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, since, until)
				SELECT gen_random_uuid(), patient, o, k, o, now() - interval '60 days', now() - a FROM unnest(r.kinds, r.ago) AS x (k, a), unnest(ARRAY['RQM', 'R1K']) o;
			FOR d IN SELECT * FROM dissent_case LOOP
				DELETE FROM spine.dissent;
				IF d.purpose IS NOT NULL THEN
					INSERT INTO spine.dissent (dissent_id, patient_id, purpose, organisation, owner, recorded_by, since, until)
						VALUES (gen_random_uuid(), patient, d.purpose, d.organisation, 'RYJ', 'x', now() - interval '2 days', CASE WHEN d.ended THEN now() - interval '1 day' END);
				END IF;
				FOREACH who IN ARRAY ARRAY['explain_rqm_clinician', 'explain_both', 'explain_rqm_analyst', 'explain_ryj_clinician'] LOOP
					-- each two of the three meet
					CONTINUE WHEN (c.n + r.n + d.n + length(who)) % CASE who WHEN 'explain_rqm_clinician' THEN 5 ELSE 15 END <> 0;
					said := told_of(record, who);
					is_so := really(who, record, patient);
					are_so := items_seen(who, record, patient);
					INSERT INTO cell VALUES (said.verdict);
					IF said.verdict <> is_so OR said.items IS DISTINCT FROM are_so THEN
						INSERT INTO difference VALUES (c.clause, r.kinds, r.ago, concat_ws(' ', d.purpose, d.organisation, d.ended), who,
							said.verdict || ': ' || coalesce(said.items, '-'), is_so || ': ' || coalesce(are_so, '-'));
					END IF;
				END LOOP;
			END LOOP;
		END LOOP;
	END LOOP;
END
$$;
SELECT value_as('explain_rqm_clinician', 'SELECT spine.close_records()') \g /dev/null
SELECT compare(:'booking', :'patient') \g /dev/null
SELECT is_empty('SELECT * FROM difference', 'what is told is what is seen, items too');
SELECT cmp_ok((SELECT count(*) FROM cell), '>', 100::bigint, 'over many combinations');
SELECT ok(bool_and(n > 5) AND count(*) = 3, 'of each kind') FROM (SELECT count(*) AS n FROM cell GROUP BY told) x;

-- who acted for whom, and when

SELECT results_eq($$ SELECT as_role('explain_rqm_governor', 'SELECT duty, action, by_role = session_user FROM spine.member_history WHERE role_name = ''explain_rqm_clinician'' ORDER BY at') $$,
	$$ VALUES ('(clinician,added,t)'), ('(clinician,removed,t)'), ('(clinician,added,t)') $$, 'memberships are remembered');
SELECT spine.remove_system('RQM', 'Monitor') \g /dev/null
UPDATE spine.system SET kind = 'reports' WHERE role_name = 'explain_unit';
SELECT results_eq($$ SELECT duty, action FROM spine.member_event WHERE role_name IN ('explain_device', 'explain_unit') ORDER BY event_id $$,
	$$ VALUES ('system maternity', 'added'), ('system device', 'added'), ('system device', 'removed'), ('system maternity', 'removed'), ('system reports', 'added') $$, 'those of systems too');
SELECT is_empty($$ SELECT as_role('explain_ryj_governor', 'SELECT 1 FROM spine.member_history WHERE organisation <> ''RYJ''') $$, 'another organisation''s are not shown');
SELECT throws_ok(format('SELECT as_role(%L, ''SELECT 1 FROM spine.member_history'')', w), '42501', NULL, w) FROM unnest(ARRAY['explain_ryj_clinician', 'explain_ryj_system', 'explain_stranger']) w;
SELECT throws_ok(q, '55000', NULL, q) FROM unnest(ARRAY['UPDATE spine.member_event SET duty = ''x''', 'DELETE FROM spine.member_event', 'TRUNCATE spine.member_event']) q;
BEGIN;
TRUNCATE spine.member;
SELECT results_eq($$ SELECT count(*) FROM spine.member_event WHERE action = 'removed' AND duty = 'clinician' AND role_name ~ '^explain' $$, 'VALUES (5::bigint)', 'a table that is emptied leaves its trace');
ROLLBACK;

-- what left this node

INSERT INTO spine.node (name) VALUES ('north');
INSERT INTO spine.delivery (destination, relation, record_id, owner, revision, action, clause, at)
	SELECT 'north', r, i::uuid, o, 1, a, c, t::timestamptz
	  FROM (VALUES ('maternity.booking', '00000000-0000-0000-0000-000000000001', 'RYJ', 'put', 'nwl/2/3', '2026-03-01 23:30+00'),
				   ('maternity.booking', '00000000-0000-0000-0000-000000000001', 'RYJ', 'put', 'nwl/2/3', '2026-03-01 23:40+00'),
				   ('maternity.booking', '00000000-0000-0000-0000-000000000002', 'RYJ', 'put', 'nwl/2/3', '2026-03-01 23:40+00'),
				   ('maternity.booking', '00000000-0000-0000-0000-000000000002', 'RYJ', 'withdraw', 'nwl/2/3', '2026-06-01 23:30+00'),
				   ('spine.relationship', '00000000-0000-0000-0000-000000000003', 'RYJ', 'put', NULL, '2026-03-01 12:00+00'),
				   ('maternity.booking', '00000000-0000-0000-0000-000000000004', 'RQM', 'put', 'a/b/1/1', '2026-03-01 12:00+00')) AS v (r, i, o, a, c, t);
SELECT results_eq($$ SELECT as_role('explain_ryj_governor', 'SELECT * FROM spine.disclosures WHERE node = ''north'' ORDER BY day, dataset') $$, $$ VALUES
	('(2026-03-01,north,RYJ,nwl,2,3,maternity,booking,2,0)'), ('(2026-03-01,north,RYJ,,,,spine,relationship,1,0)'), ('(2026-06-02,north,RYJ,nwl,2,3,maternity,booking,0,1)') $$,
	'by day, clause and group, days being London''s; a record that left twice in a day is one');
SELECT results_eq($$ SELECT as_role('explain_rqm_governor', 'SELECT owner, agreement, version, clause, sent FROM spine.disclosures WHERE node = ''north''') $$,
	$$ VALUES ('(RQM,a/b,1,1,1)') $$, 'to each owner''s governor his own');
SELECT is_empty($$ SELECT as_role('explain_r1k_governor', 'SELECT 1 FROM spine.disclosures') $$, 'to another none');
SELECT throws_ok(format('SELECT as_role(%L, ''SELECT 1 FROM spine.disclosures'')', w), '42501', NULL, w) FROM unnest(ARRAY['explain_ryj_clinician', 'explain_operator', 'explain_stranger']) w;

SELECT * FROM finish();
SELECT leave_two_trusts('explain'), drop_roles('explain_stranger', 'explain_both', 'explain_r1k_governor', 'explain_operator', 'explain_unit', 'explain_device') \g /dev/null
