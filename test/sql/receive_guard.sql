-- A neighbour that means ill, at spine.receive(): what it may not say is refused or set aside, noted, and changes nothing.
\ir setup.psql
-- this session may last longer than a neighbour's
SET spine.neighbour_session = '1d';
SELECT plan(68);

CREATE ROLE receive_guard_r1k LOGIN;
CREATE ROLE receive_guard_rqm LOGIN;
CREATE ROLE receive_guard_system LOGIN;
SELECT spine.connect_node('R1K', NULL, '{R1K}', 'receive_guard_r1k'), spine.connect_node('RQM', NULL, '{RQM}', 'receive_guard_rqm') \g /dev/null
SELECT spine.add_system('RYJ', 'Elm', 'maternity', 'receive_guard_system') \g /dev/null

-- what the next batch of a node looks like, and what is answered to it
CREATE FUNCTION next_batch(node text, rows jsonb, more jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('from', node, 'to', 'RYJ', 'epoch', coalesce(r.epoch, '00000000-0000-4000-8000-000000000001'),
		'seq', r.seq + 1, 'position', '{}'::jsonb, 'begin', r.seq = 0, 'rows', rows) || more
	FROM spine.link_received r WHERE r.node = next_batch.node
$$;
CREATE FUNCTION call(node text, batch jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	answer jsonb;
BEGIN
	EXECUTE format('SET LOCAL ROLE receive_guard_%s', lower(node));
	answer := spine.receive(batch);
	RESET ROLE;
	RETURN answer;
END
$$;
CREATE FUNCTION send(node text, rows jsonb, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', a ->> 'status', coalesce(a ->> 'code', a ->> 'faults')) FROM call(node, next_batch(node, rows, more)) a
$$;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql AS $$ SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
CREATE FUNCTION put(owner text, relation text, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(jsonb_build_object('relation', relation, 'action', 'put', 'row',
		jsonb_build_object('owner', owner, 'revision', 1, 'audience', '["RYJ:care"]'::jsonb, 'since', '2026-01-01', 'at', '2026-01-01', 'source_system', 'Ash', 'dataset_version', '2.0',
			'received_at', '2026-01-01', 'local_record_id', coalesce(body ->> 'record_id', 'x')) || body))
$$;
CREATE FUNCTION incidents(kind text) RETURNS bigint LANGUAGE sql AS $$ SELECT coalesce(sum(i.times), 0)::bigint FROM spine.incident i WHERE i.kind = incidents.kind $$;
-- everything that a batch could change, but for how far it is applied and what was noted
CREATE FUNCTION all_there_is() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	part regclass;
	one text;
	whole text := '';
BEGIN
	FOR part IN
		SELECT t.class FROM spine.exchange_tables() t
		UNION ALL SELECT c::regclass FROM unnest('{spine.episode,spine.episode_link,spine.identity_link,spine.family_link,spine.waiting_row,spine.receive_fault,spine.unknown_item,spine.node,spine.node_organisation,spine.history,spine.sharing_rule,spine.link_received}'::text[]) c
	LOOP
		EXECUTE format('SELECT coalesce(md5(string_agg(t::text, '','' ORDER BY t::text)), '''') FROM %s t', part) INTO one;
		whole := whole || one;
	END LOOP;
	RETURN md5(whole);
END
$$;

INSERT INTO maternity.booking (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience)
	VALUES (id(1), 'RYJ', 'Elm', 'own', id(101), '2.0', now(), 1, '{}');
INSERT INTO spine.episode (episode_id, patient_id, kind, anchor, owner) VALUES (id(2), id(101), 'pregnancy', '2026-06-01', 'RYJ');
SELECT is(send(n, '[]'), 'done 0', n || ': its batches are taken') FROM unnest('{R1K,RQM}'::text[]) n;
SELECT is(send('RQM', put('RQM', 'maternity.booking', jsonb_build_object('record_id', id(3), 'patient_id', id(103)))), 'done 0', 'and hold records');
SELECT all_there_is() AS before \gset

-- attack 65: in others' names

SELECT is(send('R1K', put(o, r, jsonb_build_object(i, id(10), 'record_id', id(10), 'organisation', o))), 'refused SP007', format('%s of %s is not its to say -- attack 65', r, coalesce(o, 'nobody')))
  FROM (VALUES ('maternity.booking', 'record_id'), ('spine.dissent', 'dissent_id'), ('spine.review_event', 'event_id'), ('spine.agreement_event', 'event_id'), ('later.group', 'record_id')) AS x (r, i),
	   unnest('{RYJ,RQM}'::text[]) o;
SELECT is(send('R1K', put('R1K', 'spine.access_notice', jsonb_build_object('notice_id', id(11), 'organisation', o, 'access_id', 1, 'about', 'RYJ', 'role_name', 'x', 'duty', 'clinician', 'patient_id', id(101),
	'purpose', 'care', 'reason', 'x', 'how', '[]'::jsonb, 'basis', '[]'::jsonb))), answer, format('of an opening by %s it tells: %s', o, answer))
  FROM (VALUES ('RQM', 'refused SP007'), ('RYJ', 'refused SP007')) AS x (o, answer);
SELECT is(send('R1K', '[]', jsonb_build_object(k, jsonb_build_array(jsonb_build_object('owner', 'RQM') || body))), 'refused SP007', format('%s of others are refused -- attack 65', k))
  FROM (VALUES ('episodes', jsonb_build_object('episode_id', id(12), 'patient_id', id(101), 'kind', 'pregnancy', 'opened_at', '2026-01-01')),
			   ('identity_links', jsonb_build_object('link_id', id(12), 'from_patient', id(112), 'to_patient', id(101), 'method', 'x', 'since', '2026-01-01')),
			   ('family_links', jsonb_build_object('child', id(112), 'mother', id(101), 'method', 'x', 'since', '2026-01-01')),
			   ('episode_links', jsonb_build_object('from_episode', id(12), 'to_episode', id(2), 'kind', 'same', 'method', 'x', 'since', '2026-01-01'))) AS x (k, body);
SELECT cmp_ok(incidents('forged_owner'), '>=', 16::bigint, 'which is noted');
SELECT is(send('R1K', '[]', '{"from": "RQM"}'), 'refused SP007', 'nor does it call for another node');
SELECT is(send('R1K', '[]', '{"to": "RQM"}'), 'refused SP007', 'or to another');
SELECT cmp_ok(incidents('malformed_batch'), '>=', 2::bigint, 'which is noted');
SELECT is((SELECT max(length(detail::text)) < 3000 FROM spine.incident), true, 'in a few words');
SELECT send('R1K', put(repeat('x', 1000000), 'maternity.booking', jsonb_build_object('record_id', id(10)))) \g /dev/null
UPDATE spine.incident SET last_at = now() - interval '1 hour';
SELECT is(send('R1K', put(repeat('x', 1000000), 'maternity.booking', jsonb_build_object('record_id', id(10)))), 'refused SP007', 'an owner of a megabyte is none');
SELECT is((SELECT max(length(detail::text)) < 3000 FROM spine.incident), true, 'and fills no note');
SELECT is(all_there_is(), :'before', 'nothing of all that changed anything');

-- attack 67: what others hold

SELECT is(send('R1K', put('R1K', 'maternity.booking', jsonb_build_object('record_id', id(n), 'patient_id', id(103)))), 'done 1', 'a record_id that another holds is not its -- attack 67') FROM unnest('{1,3}'::integer[]) n;
SELECT is((SELECT array_agg(owner ORDER BY record_id) FROM maternity.booking), '{RYJ,RQM}', 'they stand as they were');
SELECT is(send('R1K', jsonb_build_array(jsonb_build_object('relation', 'maternity.booking', 'action', 'withdraw', 'record_id', id(3)))), 'done 0', 'a withdrawal of another''s record');
SELECT is((SELECT count(*) FROM maternity.booking), 2::bigint, 'withdraws nothing -- attack 67');
SELECT is(send('R1K', '[]', jsonb_build_object('episodes', jsonb_build_array(jsonb_build_object('episode_id', id(2), 'patient_id', id(103), 'kind', 'pregnancy', 'anchor', '2020-01-01', 'owner', 'R1K', 'opened_at', '2026-01-01')))), 'done 0', 'an episode''s id that another holds');
SELECT is((SELECT concat_ws(' ', owner, patient_id, anchor) FROM spine.episode), format('RYJ %s 2026-06-01', id(101)), 'changes nothing -- attack 67');
SELECT cmp_ok(incidents('foreign_record'), '>=', 3::bigint, 'each is noted');
-- kept for later, two nodes say the same id: the first does not keep the second's away unseen
SELECT is(send(n, put(n, 'later.group', jsonb_build_object('record_id', id(20)))), 'done 0', n || ' sends a row of a group that is not published here') FROM unnest('{R1K,RQM}'::text[]) n;
SELECT is((SELECT array_agg(node ORDER BY node) FROM spine.waiting_row), '{R1K,RQM}', 'both wait -- attack 67');

-- attack 69, 70: again, in another order, back in time

SELECT next_batch('RQM', put('RQM', 'maternity.booking', jsonb_build_object('record_id', id(30), 'patient_id', id(130), 'revision', 5)), '{}') AS old_batch \gset
SELECT is(call('RQM', :'old_batch') ->> 'status', 'done', 'a batch is applied');
SELECT is(send('RQM', put('RQM', 'maternity.booking', jsonb_build_object('record_id', id(30), 'patient_id', id(130), 'revision', 4, 'local_record_id', 'back'))), 'done 0', 'an older revision');
SELECT is((SELECT concat_ws(' ', revision, local_record_id) FROM maternity.booking WHERE record_id = id(30)), format('5 %s', id(30)), 'changes nothing');
SELECT send('RQM', jsonb_build_array(jsonb_build_object('relation', 'maternity.booking', 'action', 'withdraw', 'record_id', id(30)))) \g /dev/null
SELECT all_there_is() AS before \gset
SELECT is(call('RQM', :'old_batch') ->> 'status', 'replayed', 'the batch of a record that was withdrawn since -- attack 69');
SELECT is(call('RQM', :'old_batch'::jsonb || '{"begin": true, "seq": 1}') ->> 'status', 'replayed', 'or as the beginning');
SELECT is(call('RQM', :'old_batch'::jsonb || '{"seq": 900000000000000000}') ->> 'status', 'gap', 'or from afar -- attack 69');
SELECT is(all_there_is(), :'before', 'brings it not back -- attack 70');
SELECT send('RQM', '[]', '{"epoch": "00000000-0000-4000-8000-000000000002", "seq": 1, "begin": true}') \g /dev/null
SELECT all_there_is() AS before \gset
SELECT is(call('RQM', :'old_batch'::jsonb || '{"begin": true, "seq": 1}') ->> 'code', 'SP007', 'nor does a past epoch, begun again -- attack 70');
SELECT is(all_there_is(), :'before', 'it is gone -- attack 70');

-- what was said stays said

SELECT send('R1K', put('R1K', 'spine.agreement_event', jsonb_build_object('event_id', id(40), 'name', 'x', 'version', 1, 'kind', 'ended', 'digest', '\x00', 'by_role', 'x'))) \g /dev/null
SELECT is(send('R1K', '[]', s::jsonb), a, format('with %s', left(s, 60)))
  FROM (VALUES ('{"compare": 1}', 'refused SP007'), ('{"attest": []}', 'refused SP007'), ('{"compare": {"id": "x", "step": "tables"}}', 'refused 22P02'),
			   ('{"compare": {"id": "00000000-0000-4000-8000-00000000c0de", "step": "mend", "relation": "spine.agreement_event", "checks": [], "sent": 0, "removed": 9}}', 'done 0'),
			   ('{"attest": {"id": "00000000-0000-4000-8000-00000000c0de", "items": {"spine.agreement_event": {"gone": ["00000000-0000-4000-8000-000000000040"], "held": []}}}}', 'done 0')) AS x (s, a);
SELECT is((SELECT count(*) FROM spine.agreement_event), 1::bigint, 'a sender does not unsay what it has said');

-- values that would do harm later

SELECT send('RQM', '[]', jsonb_build_object('episodes', jsonb_build_array(jsonb_build_object('episode_id', id(50), 'patient_id', spine.patient_id('9990000018'), 'kind', 'pregnancy', 'anchor', 'infinity', 'owner', 'RQM', 'opened_at', '2026-01-01')))) AS answer \gset
SELECT is(:'answer'::text, 'refused 23514'::text, 'an episode that is due at the end of time is refused');
SET ROLE receive_guard_system;
SELECT lives_ok($$ INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date, edd_agreed) VALUES ('9990000018', 'W1', 'P1', '2026-01-05', '2026-07-05') $$,
	'so that her own Trust can go on writing');
RESET ROLE;
SET standard_conforming_strings = off;
SET escape_string_warning = off;
DISCARD PLANS;
SELECT is(send('R1K', $j$[{"relation": "bump\"visit", "action": "withdraw", "record_id": "00000000-0000-4000-8000-000000000001"}]$j$::jsonb), 'refused SP007', 'a setting of its session makes no other rule of names');
RESET standard_conforming_strings;

-- much

SELECT is(send('R1K', (SELECT jsonb_agg(jsonb_build_object('relation', 'maternity.booking', 'action', 'withdraw', 'record_id', gen_random_uuid())) FROM generate_series(1, 100001))), 'refused SP007', 'more rows than a courier sends');
SELECT is(send('R1K', '[]', jsonb_build_object('position', jsonb_build_object('x', repeat('x', 2000000)))), 'refused SP007', 'a position of megabytes');
SELECT is(send('R1K', put('R1K', 'maternity.booking', jsonb_build_object('record_id', id(60), 'pregnancy_id', repeat('x', 70000000)))), 'refused SP007', 'a row of 70 MB');
SELECT is(send('R1K', put('R1K', 'maternity.booking', jsonb_build_object('record_id', id(60), 'patient_id', id(101)) || body)), 'done 1', format('%s: set aside', left(body::text, 40)))
  FROM unnest(ARRAY['{"edd_agreed": 1e400}', '{"dataset_version": null}', '{"patient_id": "x"}', '{"event_at": "yesterday or so"}', '{"edd_agreed": {"a": [1]}}']::jsonb[]) body;
SELECT is(send('R1K', '[]', '{"episodes": [{"owner": "R1K", "episode_id": "NHS 9990000018"}]}'), 'refused 22P02', 'an episode that is none');
SELECT is((SELECT count(*) FROM call('R1K', next_batch('R1K', '[]', '{"episodes": [{"owner": "R1K", "episode_id": "NHS 9990000018"}]}')) a WHERE a::text ~ '9990000018'), 0::bigint, 'the answer tells no value of it');

-- the end of a link

SELECT next_batch('R1K', '[]', '{}') AS last_batch \gset
SELECT spine.disconnect_node('R1K') \g /dev/null
SELECT throws_ok(format('SELECT call(''R1K'', %L)', :'last_batch'), '42501', NULL, 'a link that is ended takes nothing more');
GRANT spine_neighbour TO receive_guard_r1k;
SELECT is(call('R1K', :'last_batch') ->> 'code', 'SP007', 'whatever was granted since');

SELECT * FROM finish();
DROP OWNED BY receive_guard_r1k, receive_guard_rqm, receive_guard_system;
DROP ROLE receive_guard_r1k, receive_guard_rqm, receive_guard_system;
