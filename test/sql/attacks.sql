-- What members, suppliers, governors, operators and neighbours of a node may try against each other, and a stranger
-- against all: numbers are those of docs/security.md. RYJ and RQM have an agreement, RAS with nobody.
\ir setup.psql
\ir as_role.psql
SELECT plan(173);
SELECT two_trusts('attacks') \g /dev/null
SELECT make_roles('attacks_ras_system', 'attacks_ras_clinician', 'attacks_ras_governor', 'attacks_ras_operator', 'attacks_ryj_other',
	'attacks_ryj_device', 'attacks_neighbour', 'attacks_stranger', 'attacks_unit_system') \g /dev/null
SELECT spine.host_organisation('RAS'), spine.add_system('RAS', 'RAS Maternity', 'maternity', 'attacks_ras_system'),
	spine.add_system('RYJ', 'RYJ Other', 'maternity', 'attacks_ryj_other'), spine.add_system('RYJ', 'RYJ Monitor', 'device', 'attacks_ryj_device'),
	spine.add_member('attacks_ras_clinician', 'RAS', 'clinician'), spine.add_member('attacks_ras_governor', 'RAS', 'governor'),
	spine.add_member('attacks_ras_operator', 'RAS', 'operator') \g /dev/null
SELECT agree('attacks') \g /dev/null
SELECT book('attacks_ryj_system', '9990000018', '1'), book('attacks_ryj_system', '9990000026', '2') \g /dev/null
SELECT spine.connect_node('R1K', NULL, '{R1K}', 'attacks_neighbour') \g /dev/null
GRANT CREATE ON SCHEMA public TO PUBLIC;
SELECT spine.patient_id('9990000018') AS victim \gset
SELECT record_id AS victims_record, episode_id AS victims_episode FROM maternity.booking WHERE patient_id = :'victim' \gset

-- what a statement tells: its SQLSTATE, or ok
CREATE FUNCTION told(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE pg_catalog.format('SET LOCAL ROLE %I', who);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
-- and everything that its error says
CREATE FUNCTION said(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; context text;
BEGIN
	EXECUTE pg_catalog.format('SET LOCAL ROLE %I', who);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN pg_catalog.concat_ws('|', message, detail, hint);
END
$$;
CREATE FUNCTION n_as(who text, query text) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM as_role(who, query) $$;
CREATE FUNCTION booking(number text, patient text, episode text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT format('INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date, edd_agreed)
		VALUES (%L, %L, %L, ''2026-01-05'', ''2026-08-10'') ', number, patient, episode) || more
$$;

-- a function in a condition sees no more than the policy lets through, however cheap it says it is: attacks 9, 10, 11, 20

CREATE TABLE public.seen (what text);
GRANT INSERT ON public.seen TO PUBLIC;
CREATE FUNCTION public.leak(what anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	INSERT INTO public.seen VALUES (what::text);
	RETURN true;
END
$$;
SELECT is(told('attacks_ras_clinician', 'CREATE VIEW public.attacks_view AS SELECT * FROM maternity_2_0.booking'), 'ok', 'a member may make a view of a view');
GRANT SELECT ON public.attacks_view TO PUBLIC;
SELECT is(told('attacks_ras_clinician', 'CREATE VIEW public.attacks_invoker WITH (security_invoker) AS SELECT * FROM maternity_2_0.booking'), 'ok', 'also one with the rights of its reader');
SELECT is(n_as('attacks_ras_clinician', 'SELECT record_id FROM ' || v || ' t WHERE public.leak(t.record_id)'), 0::bigint, 'nothing of others through ' || v || ' -- attack ' || a)
  FROM (VALUES ('maternity_2_0.booking', 9), ('spine.all_records', 9), ('public.attacks_view', 10), ('public.attacks_invoker', 20)) AS x (v, a);
SELECT is(told('attacks_ras_clinician', 'SELECT 1 FROM maternity_2_0.booking WHERE 1 / (extract(year FROM antenatal_booking_date) - 2026) > 0'), 'ok', 'no error tells of a hidden value -- attack 11');
SELECT is(n_as('attacks_ryj_clinician', 'SELECT record_id FROM maternity_2_0.booking t WHERE public.leak(t.record_id)'), 2::bigint, 'of own rows the function sees all');
SELECT is((SELECT count(*) FROM public.seen), 2::bigint, 'and it has seen no other -- attack 9');

-- keys and conflicts, and what the doors set: attacks 3, 4, 5, 6, 8, 43, 44, 45, 46, 47

SELECT is(told('attacks_ras_system', booking('9990000018', 'M1', 'P1')), 'ok', 'the same local ids at another Trust are no conflict -- attack 3');
SELECT is((SELECT count(*) FROM maternity.booking WHERE patient_id = :'victim'), 2::bigint, 'they are two records -- attack 4');
SELECT is(told('attacks_ryj_other', booking('9990000018', 'M1', 'P1')), 'ok', 'nor at another system of the same Trust');
SELECT is(told('attacks_ras_system', format('INSERT INTO maternity_2_0.booking (record_id, nhs_number) VALUES (%L, ''9990000018'')', :'victims_record')), '42501', 'a record''s id cannot be given -- attack 3');
SELECT isnt((SELECT record_id FROM maternity.booking WHERE owner = 'RAS'), :'victims_record'::uuid, 'nor taken');
SELECT is(n_as('attacks_ras_system', 'SELECT 1') , 1::bigint, 'the role works');
SELECT is(told('attacks_ras_system', booking('9990000018', 'M1', 'P1', 'ON CONFLICT DO NOTHING')), 'ok', 'ON CONFLICT DO NOTHING is told of no one''s rows -- attack 5');
SELECT is(told('attacks_ras_system', booking('9990000018', 'M1', 'P1', 'ON CONFLICT (record_id) DO UPDATE SET edd_agreed = excluded.edd_agreed')), '42P10', 'ON CONFLICT DO UPDATE finds no key to conflict with -- attack 6');
SELECT isnt(told('attacks_ras_system', 'MERGE INTO maternity_2_0.booking b USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE'), 'ok', 'MERGE is refused -- attack 8');
SELECT is(told('attacks_ras_system', 'UPDATE maternity_2_0.booking SET edd_agreed = ''2026-08-11'''), 'ok', 'an update of everything');
SELECT is((SELECT count(*) FROM maternity.booking WHERE owner <> 'RAS' AND edd_agreed = '2026-08-11'), 0::bigint, 'is of one''s own -- attack 45');
SELECT is(told('attacks_ryj_other', 'UPDATE maternity_2_0.booking SET edd_agreed = ''2026-08-11'''), '42501', 'another system''s rows, though visible, are not its own -- attack 43');
SELECT is(told('attacks_ryj_other', 'DELETE FROM maternity_2_0.booking WHERE source_system = ''RYJ Maternity'''), '42501', 'nor to delete');
SELECT is(told('attacks_ras_system', 'INSERT INTO maternity_2_0.booking (' || c || ') VALUES (' || v || ')'), '42501', c || ' is not set by a supplier -- attack ' || a)
  FROM (VALUES ('owner', '''RYJ''', 43), ('source_system', '''RYJ Maternity''', 43), ('revision', '99', 47), ('received_at', '''2020-01-01''', 47),
			   ('event_at', '''2020-01-01''', 47), ('patient_id', '''00000000-0000-8000-8000-000000000000''', 47), ('episode_id', '''00000000-0000-8000-8000-000000000000''', 47)) AS x (c, v, a);
SELECT is(told('attacks_ras_system', 'UPDATE maternity_2_0.booking SET audience = ''{RAS:care}'''), '42703', 'an audience is nobody''s to set -- attack 44');
SELECT is(told('attacks_ras_system', 'TRUNCATE maternity_2_0.booking'), '42809', 'nor anything to truncate -- attack 46');

-- a supplier's view on top of the typed one is the same door

SELECT is(told('attacks_ras_system', 'CREATE VIEW public.attacks_door AS SELECT owner, nhs_number, local_patient_id, local_episode_id, antenatal_booking_date FROM maternity_2_0.booking'), 'ok', 'a supplier''s own view');
SELECT is(told('attacks_ras_system', 'INSERT INTO public.attacks_door (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date) VALUES (''9990000077'', ''S1'', ''S1'', ''2026-01-01'')'), 'ok', 'can be written through');
SELECT is((SELECT count(*) FROM maternity.booking WHERE owner = 'RAS' AND pregnancy_id = 'S1'), 1::bigint, 'with the same effect');
SELECT is(told('attacks_ras_system', 'INSERT INTO public.attacks_door (owner, nhs_number) VALUES (''RYJ'', ''9990000077'')'), '42501', 'and the same refusals -- attack 43');
GRANT SELECT, INSERT ON public.attacks_door TO attacks_stranger, attacks_ryj_system;
SELECT is(told('attacks_stranger', 'INSERT INTO public.attacks_door (nhs_number) VALUES (''9990000077'')'), '42501', 'lent to a stranger it lends no system -- attack 20');
SELECT is(told('attacks_ryj_system', 'INSERT INTO public.attacks_door (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date) VALUES (''9990000077'', ''S2'', ''S2'', ''2026-01-01'')'), 'ok', 'lent to another system');
SELECT is((SELECT owner FROM maternity.booking WHERE pregnancy_id = 'S2'), 'RYJ', 'it writes for that one');

-- definer functions, materialized views of a member

SELECT is(told('attacks_ryj_clinician', 'CREATE FUNCTION public.attacks_lend() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS ''SELECT count(*) FROM maternity_2_0.booking'''), 'ok', 'a member may make a definer function');
SELECT is(value_as('attacks_ryj_clinician', 'SELECT public.attacks_lend() > 2'), 't', 'with it he sees his own');
SELECT is(value_as('attacks_stranger', 'SELECT public.attacks_lend()'), '0', 'who calls it sees nothing through it -- attack 24');
SELECT is(public.attacks_lend(), 0::bigint, 'not even a superuser, who is no member');
SELECT is(told('attacks_stranger', 'SELECT count(*) FROM public.attacks_view'), '42501', 'a stranger sees nothing through a member''s view -- attack 20');
SELECT is(told('attacks_ryj_clinician', 'CREATE MATERIALIZED VIEW public.attacks_copy AS SELECT record_id FROM maternity_2_0.booking'), 'ok', 'a member may keep what he sees');
SELECT is(told(r, 'REFRESH MATERIALIZED VIEW public.attacks_copy'), '42501', r || ' may not renew it -- attack 21') FROM unnest('{attacks_ras_clinician,attacks_stranger}'::text[]) r;
REFRESH MATERIALIZED VIEW public.attacks_copy;
SELECT is((SELECT count(*) FROM public.attacks_copy), 0::bigint, 'renewed by a superuser it holds what he sees as a member: nothing');

-- tables, what tells of them, and the server: attacks 3, 12, 13, 18, 22, 23, 28, 29, 30, 36, 52, 55

SELECT is(told('attacks_ras_clinician', s), '42501', split_part(s, ' ', 1) || ' ' || what || ' -- attack ' || a)
  FROM (VALUES ('SELECT 1 FROM maternity.booking', 'a table past its view', 22), ('SELECT 1 FROM ONLY maternity.booking', 'it alone', 23),
			   ('SELECT 1 FROM maternity.booking TABLESAMPLE SYSTEM (100)', 'a sample', 18), ('SELECT ctid FROM maternity.booking', 'by place', 18),
			   ('SELECT pg_relation_size(''maternity.booking'')', 'a size', 12), ('SELECT last_value FROM spine.incident_incident_id_seq', 'a sequence', 12),
			   ('SELECT 1 FROM spine.delivery', 'the ledger', 22), ('SELECT 1 FROM spine.delivery_default', 'a partition', 22),
			   ('SELECT 1 FROM spine.episode', 'episodes', 22), ('SELECT 1 FROM spine.identity_link', 'links', 22), ('SELECT 1 FROM spine.alias', 'aliases', 22),
			   ('SELECT spine.patient_id(''9990000018'')', 'a patient''s id', 3), ('SELECT spine.linked_patients(NULL)', 'a patient''s links', 3),
			   ('SELECT spine.opening_add(''{}'', ''RAS'', ''care'', false)', 'an opening of one''s own making', 36),
			   ('COPY maternity.booking TO ''/tmp/attacks''', 'a table', 30), ('COPY (SELECT 1) TO PROGRAM ''true''', 'to a program', 55), ('SELECT pg_read_file(''PG_VERSION'')', 'a file', 55),
			   ('SELECT lo_import(''/etc/passwd'')', 'a file', 55), ('CREATE STATISTICS public.s ON owner, patient_id FROM maternity.booking', 'statistics', 13),
			   ('CREATE INDEX ON maternity.booking (public.leak(owner))', 'an index', 28), ('CREATE POLICY p ON maternity.booking USING (true)', 'a policy', 28),
			   ('CREATE TRIGGER t AFTER INSERT ON maternity_2_0.booking EXECUTE FUNCTION spine.forget_cache()', 'a trigger', 28),
			   ('CREATE RULE r AS ON INSERT TO maternity_2_0.booking DO ALSO SELECT 1', 'a rule', 28),
			   ('ALTER TABLE maternity.booking DISABLE ROW LEVEL SECURITY', 'the policy', 28), ('SET spine.open_minutes = 1440', 'a setting', 36), ('SET spine.openings_mark = 1', 'the mark', 36)) AS x (s, what, a)
 WHERE s <> 'SELECT 1 FROM spine.delivery_default' OR to_regclass('spine.delivery_default') IS NOT NULL;
SELECT is(told('attacks_ras_clinician', 'SET spine.network_key_file = ''/tmp/x'''), '55P02', 'SET the key -- attack 36');
SELECT is(told('attacks_ras_clinician', 'SELECT current_setting(''spine.network_key_file'')'), '42501', 'or show where it is');
SELECT is(value_as('attacks_ras_clinician', 'SELECT count(*) FROM pg_stats WHERE schemaname IN (''maternity'', ''spine'')'), '0', 'no statistics of a table are shown -- attack 13');
SELECT isnt(told('attacks_ras_clinician', 'COPY maternity_2_0.booking TO STDOUT'), 'ok', 'a view is not copied -- attack 30');
SELECT is(told('attacks_ras_clinician', 'SET LOCAL row_security = off; SELECT 1 FROM ' || v), '42501', 'without row security nothing is read: ' || v || ' -- attack 29')
  FROM unnest('{maternity_2_0.booking,spine.all_records,spine.findings,spine.relationships}'::text[]) v;
SELECT is(value_as('attacks_ras_clinician', 'SELECT count(*) FROM pg_stat_activity WHERE usename IS DISTINCT FROM current_user AND query !~ ''insufficient privilege'' AND query <> '''''), '0', 'others'' statements are not shown -- attack 52');
SELECT is_empty($$ SELECT r, p.oid::regprocedure FROM pg_proc p, unnest('{public,spine_member,spine_supplier,spine_governor,spine_operator,spine_portal,spine_neighbour}'::text[]) r
	WHERE p.pronamespace = 'spine'::regnamespace AND p.prorettype = 'trigger'::regtype AND has_function_privilege(r, p.oid, 'EXECUTE') $$,
	'nobody may put a trigger function of ours on a table of his -- attack 28');

-- locks

SELECT is(told(r, format('LOCK TABLE maternity_2_0.booking IN %s MODE', m)), '42501', format('%s takes no %s lock -- attack 58', r, m))
  FROM unnest('{attacks_ras_clinician,attacks_ras_system}'::text[]) r, unnest('{ROW EXCLUSIVE,ACCESS EXCLUSIVE}'::text[]) m;
SELECT is(told('attacks_ryj_system', 'SELECT record_id FROM maternity_2_0.booking FOR UPDATE'), '42501', 'nor one of a row -- attack 58');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'spine'::regnamespace AND p.prosrc ~ 'advisory_' $$,
	'nothing waits for an advisory lock, which anybody may hold -- attack 59');

-- shadows: a member's temporary tables, operators and functions are not asked by ours

SELECT is(told('attacks_ras_clinician', 'CREATE SCHEMA AUTHORIZATION attacks_ras_clinician'), '42501', 'a member makes no schema');
CREATE SCHEMA attacks_shadow;
GRANT ALL ON SCHEMA attacks_shadow TO PUBLIC;
CREATE FUNCTION attacks_shadow.always(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR attacks_shadow.= (LEFTARG = text, RIGHTARG = text, FUNCTION = attacks_shadow.always);
CREATE FUNCTION attacks_shadow.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '2000-01-01'::timestamptz $$;
CREATE FUNCTION attacks_shadow.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS $$ SELECT 'RYJ' $$;
CREATE FUNCTION attacks_shadow.any_uuid(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR attacks_shadow.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = attacks_shadow.any_uuid);
SET search_path = attacks_shadow, pg_catalog, public;
SELECT is(told('attacks_ras_clinician', 'CREATE TEMPORARY TABLE member AS SELECT current_user::name AS role_name, ''RYJ''::text AS organisation, ''clinician''::text AS duty;
	CREATE TEMPORARY TABLE sharing_rule AS SELECT ''RYJ'' AS from_organisation; SELECT count(*) FROM spine.timeline(''9990000018'')'), 'ok', 'tables of ours may be shadowed');
SELECT is(n_as('attacks_ras_clinician', 'SELECT 1 FROM spine.timeline(''9990000018'') WHERE owner OPERATOR(pg_catalog.<>) ''RAS'''), 0::bigint, 'which shows nothing more -- attack 26');
SELECT is(n_as('attacks_ras_clinician', 'SELECT 1 FROM maternity_2_0.booking WHERE owner OPERATOR(pg_catalog.=) ''RYJ'''), 0::bigint, 'nor do operators of his own -- attack 27');
SELECT is(told('attacks_ras_clinician', 'SELECT spine.open_record(''9990000018'', ''care'', ''x'')'), 'ok', 'one''s own record opens');
SELECT is(n_as('attacks_ras_clinician', 'SELECT 1 FROM maternity_2_0.booking WHERE owner OPERATOR(pg_catalog.=) ''RYJ'''), 0::bigint, 'and brings no other owner''s -- attack 27');
SELECT is(told('attacks_ras_system', booking('9990000069', 'H1', 'H1')), 'ok', 'intake resolves persons by operators of its own');
SELECT is((SELECT count(*) FROM maternity.booking b WHERE b.pregnancy_id OPERATOR(pg_catalog.=) 'H1' AND b.patient_id OPERATOR(pg_catalog.=) spine.patient_id('9990000069')), 1::bigint, 'whatever the caller''s search_path -- attack 27');
RESET search_path;
DROP SCHEMA attacks_shadow CASCADE;

-- what a supplier's own answers tell of other persons and Trusts

SELECT is(told('attacks_ras_system', booking('9990000034', 'N1', 'N1')), 'ok', 'a woman');
SELECT is(told('attacks_ras_system', booking('9990000042', 'N1', 'N2')), 'SP001', 'under the same local number with another NHS number is refused');
SELECT is_empty('SELECT * FROM spine.identity_link', 'it does not join two persons, whose records all Trusts'' readers would see as one');
SELECT is_empty($$ SELECT * FROM spine.episode_alias WHERE local_episode_id = 'N2' $$, 'and leaves nothing behind');
SELECT is(told('attacks_ras_system', booking(NULL, 'N7', 'N7')), 'ok', 'a woman without a number');
SELECT results_eq($$ SELECT as_role('attacks_ras_system', 'SELECT n, outcome, findings #>> ''{-1,rule}'' FROM spine.submit(''{"dataset": "maternity", "version": "2.0", "system": "RAS Maternity", "records": [
		{"group": "booking", "local_patient_id": "N7", "local_episode_id": "N7", "data": {"antenatal_booking_date": "2026-01-06"}},
		{"group": "mother", "local_patient_id": "N7", "nhs_number": "9990000042", "data": {"mother_nhs_number_status": "01"}},
		{"group": "booking", "nhs_number": "9990000050", "local_patient_id": "N7", "local_episode_id": "N8", "data": {"antenatal_booking_date": "2026-01-05"}},
		{"group": "booking", "nhs_number": "9990000050", "local_patient_id": "N9", "local_episode_id": "N9", "data": {"antenatal_booking_date": "2026-01-05"}},
		{"group": "booking", "nhs_number": "9990000069", "local_patient_id": "N9", "local_episode_id": "N10", "data": {"antenatal_booking_date": "2026-01-05"}}]}'') ORDER BY n') $$,
	$$ VALUES ('(1,accepted,)'), ('(2,accepted,)'), ('(3,rejected,identity.conflict)'), ('(4,accepted,)'), ('(5,rejected,identity.conflict)') $$,
	'a number found later is hers, a second one is not; in one document too');
SELECT is((SELECT count(*) FROM spine.identity_link), 1::bigint, 'one link, from the id made up for her');
SELECT unalike(said('attacks_ras_system', booking('9990000019', 'M1', 'P1')), '%9990000019%', 'an error holds no number -- attack 16');
SELECT unalike(said('attacks_ras_system', booking('9990000042', 'N1', 'N2')), '%99900000%', 'nor a refusal -- attack 15');
SELECT is(n_as('attacks_ras_clinician', $$ SELECT 1 FROM spine.relationships WHERE organisation <> 'RAS' AND owner <> 'RAS' $$), 0::bigint, 'others'' relationships are not shown');
SELECT is(told('attacks_ryj_device', 'SELECT 1 FROM spine.rejections'), '42501', 'a device reads not even its rejections');
SELECT is(n_as('attacks_ras_system', $$ SELECT 1 FROM spine.rejections WHERE owner <> 'RAS' $$), 0::bigint, 'nor a system those of others');

-- governors

SELECT is(told('attacks_ras_governor', format('SELECT spine.%s', s)), 'SP005', 'an agreement of others is absent: ' || s)
  FROM unnest(ARRAY['sign_agreement(''nwl-maternity'', 1)', 'publish_agreement(''nwl-maternity'', 1)', 'end_agreement(''nwl-maternity'', 1, ''x'')']) s;
SELECT is(told('attacks_ras_governor', format('SELECT spine.propose_agreement(%L)', document('{"parties": ["RAS", "R1K"]}', '{"from": ["RAS"], "to": ["R1K"]}'))), 'ok', 'a name that others use is not told, nor barred');
SELECT is(told('attacks_ras_governor', format('SELECT spine.propose_agreement(%L)', document('{"parties": ["RYJ", "RQM"]}'))), '42501', 'nobody proposes for others');
-- what a neighbour could send: a proposal to RYJ under the name of the agreement that RYJ has with RQM
INSERT INTO spine.agreement_event (event_id, name, version, kind, owner, document, digest, at, by_role, audience)
	SELECT gen_random_uuid(), 'nwl-maternity', 1, 'proposed', 'R1K', d, spine.agreement_digest(d), now(), 'x', '{RYJ:care}'
	  FROM document('{"parties": ["R1K", "RYJ"]}', '{"from": ["R1K"], "to": ["RYJ"]}') d;
SELECT is(n_as('attacks_ryj_governor', 'SELECT 1 FROM spine.agreements WHERE name = ''nwl-maternity'''), 2::bigint, 'a governor may see two of one name');
SELECT is(value_as('attacks_ryj_governor', 'SELECT count(*) FROM spine.agreements WHERE name = ''nwl-maternity'' AND in_force'), '1', 'one of them in force');

-- operators

SELECT is(told('attacks_ras_operator', format('SELECT spine.%s', s)), '42501', 'an operator acts for his own alone: ' || s)
  FROM unnest(ARRAY['add_member(''attacks_ras_operator'', ''RYJ'', ''clinician'')', 'remove_member(''attacks_ryj_clinician'', ''RYJ'', ''clinician'')',
					'add_system(''RYJ'', ''X'', ''maternity'', ''attacks_stranger'')', 'remove_system(''RYJ'', ''RYJ Maternity'')']) s;
SELECT isnt(told('attacks_ras_operator', format('SELECT spine.add_member(%L, ''RAS'', ''clinician'')', r)), 'ok', r || ' becomes no member')
  FROM unnest('{postgres,spine_owner,spine_reader,spine_neighbour,attacks_neighbour}'::text[]) r;
ALTER ROLE attacks_stranger CREATEROLE;
SELECT is(told('attacks_ras_operator', 'SELECT spine.add_member(''attacks_stranger'', ''RAS'', ''clinician'')'), '0LP01', 'nor who may create roles, and so become any -- attack 40');
ALTER ROLE attacks_stranger NOCREATEROLE;
SELECT is(told('attacks_ras_operator', 'SELECT spine.connect_node(''X'', NULL, ''{RQM}'')'), '23505', 'an organisation hosted here is no neighbour''s -- attack 65');
SELECT isnt(told('attacks_ras_operator', format('SELECT spine.connect_node(%L, NULL, ''{R0A}'')', n)), 'ok', 'no node is called ' || n || ' -- attack 25')
  FROM unnest(ARRAY['x''; DROP TABLE spine.member; --', 'x" (', '']) n;
SELECT is(told('attacks_ras_operator', 'SELECT spine.connect_node(''X'', ''host=/tmp dbname=x user=postgres options=-crole=attacks_ras_operator'', ''{R0A}'')'), '22023', 'the courier is given no options -- attack 33');
SELECT isnt(told('attacks_ras_operator', format('SELECT spine.publish_dataset(%L::jsonb)', json_build_object('name', n, 'version', '1.0'))), 'ok', 'no data set ' || n || ' -- attack 25')
  FROM unnest(ARRAY['spine', 'pg_catalog', 'public', 'x"; DROP TABLE spine.member; --']) n;
SELECT spine.add_organisation('RYJ01', 'ST MARY''S HOSPITAL', 'unit', 'RYJ'), spine.host_organisation('RYJ01'), spine.add_system('RYJ01', 'Unit', 'maternity', 'attacks_unit_system') \g /dev/null
SELECT book('attacks_unit_system', '9990000085', '85') \g /dev/null
SELECT is(told('attacks_ras_operator', $$ SELECT spine.load_organisations('"RYJ01","ST MARY","Y56","RAS","","","","","","W2","19910401",""') $$), '22P04', 'no file moves a unit below another Trust');
SELECT is(told('attacks_ras_operator', $$ SELECT spine.load_organisations('"RYJ","IMPERIAL","Y56","RAS","","","","","","W2","19910401",""') $$), '22P04', 'nor makes a Trust a board');
SELECT is(n_as('attacks_ras_clinician', $$ SELECT 1 FROM maternity_2_0.booking WHERE owner = 'RYJ01' $$), 0::bigint, 'so its records stay where they are');
SELECT is(n_as('attacks_ryj_clinician', $$ SELECT 1 FROM maternity_2_0.booking WHERE owner = 'RYJ01' $$), 1::bigint, 'with the Trust above it');

-- a neighbour

-- this session may last longer than a neighbour's
SET spine.neighbour_session = '1d';
CREATE TEMPORARY TABLE answered (seq serial, status text);
CREATE FUNCTION send(rows jsonb, more jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	seq bigint;
	answer jsonb;
BEGIN
	INSERT INTO answered DEFAULT VALUES RETURNING answered.seq INTO seq;
	SET LOCAL ROLE attacks_neighbour;
	answer := spine.receive('{"from": "R1K", "to": "RYJ", "epoch": "00000000-0000-4000-8000-000000000001", "position": {}}'
		|| jsonb_build_object('seq', seq, 'begin', seq = 1, 'rows', rows) || more);
	RESET ROLE;
	RETURN concat_ws(' ', answer ->> 'status', answer ->> 'faults');
END
$$;
CREATE FUNCTION put(relation text, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(jsonb_build_object('relation', relation, 'action', 'put',
		'row', '{"owner": "R1K", "revision": 1, "audience": ["RYJ:care"], "since": "2026-01-01"}'::jsonb || body))
$$;
SELECT is(told('attacks_neighbour', s), '42501', 'a neighbour may receive and nothing else: ' || s || ' -- attack 66')
  FROM unnest(ARRAY['SELECT 1 FROM maternity_2_0.booking', 'SELECT 1 FROM spine.organisations', 'SELECT spine.timeline(''9990000018'')', 'SELECT spine.link_turn(''R1K'', ''{}'', 1)',
					'SELECT * FROM pg_create_logical_replication_slot(''attacks'', ''test_decoding'')', 'SELECT spine.submit(''{}'')']) s;
SELECT is(send('[]'), 'done 0', 'its batches are taken');
SELECT is(send(put('spine.relationship', format('{"relationship_id": "00000000-0000-4000-8000-0000000000a1", "patient_id": "%s", "organisation": "R1K", "kind": "episode"}', :'victim')::jsonb)),
	'done 0', 'it says that it has an episode of somebody');
SELECT is(send(put('spine.relationship', format('{"relationship_id": "00000000-0000-4000-8000-0000000000a2", "patient_id": "%s", "organisation": "RQM", "kind": "episode"}', :'victim')::jsonb)),
	'done 1', 'but not that another has one -- attack 65');
SELECT is((SELECT array_agg(organisation) FROM spine.relationship WHERE owner = 'R1K'), ARRAY['R1K'], 'whose relationship would open records to it');
SELECT is(send(put('maternity.booking', format('{"record_id": "%s", "patient_id": "%s"}', :'victims_record', :'victim')::jsonb)), 'done 1', 'another''s record is not overwritten -- attack 67');
SELECT is(send(format('[{"relation": "maternity.booking", "action": "withdraw", "record_id": "%s"}]', :'victims_record')::jsonb), 'done 0', 'nor withdrawn');
SELECT is((SELECT owner FROM maternity.booking WHERE record_id = :'victims_record'), 'RYJ', 'it is there');
CREATE FUNCTION link(n integer, a uuid, b uuid, until text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('link_id', '00000000-0000-4000-8000-0000000000d' || n, 'from_patient', a, 'to_patient', b, 'method', 'x', 'owner', 'R1K', 'since', '2026-01-01', 'until', until)
$$;
CREATE FUNCTION joined() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM spine.identity_link WHERE owner = 'R1K' AND (until IS NULL OR until > now()) $$;
SELECT send('[]', jsonb_build_object('identity_links', jsonb_build_array(link(1, :'victim', spine.patient_id('9990000026'))))) \g /dev/null
SELECT is(joined(), 0::bigint, 'a neighbour does not make two NHS numbers one person');
SELECT send('[]', jsonb_build_object('identity_links', jsonb_build_array(link(2, '00000000-0000-7000-8000-000000000001', :'victim'), link(3, '00000000-0000-7000-8000-000000000001', spine.patient_id('9990000026'))))) \g /dev/null
SELECT is(joined(), 0::bigint, 'nor by way of a third id');
SELECT send('[]', jsonb_build_object('identity_links', jsonb_build_array(link(4, (SELECT patient_id FROM spine.alias WHERE local_patient_id = 'N7'), :'victim')))) \g /dev/null
SELECT is(joined(), 0::bigint, 'nor an id of ours with another person''s');
SELECT send('[]', jsonb_build_object('identity_links', jsonb_build_array(link(5, '00000000-0000-7000-8000-000000000002', :'victim')))) \g /dev/null
SELECT is(joined(), 1::bigint, 'it says whom an id of its own stands for');
SELECT send('[]', jsonb_build_object('identity_links', jsonb_build_array(link(6, '00000000-0000-7000-8000-000000000002', spine.patient_id('9990000026')), link(7, :'victim', spine.patient_id('9990000026'), '2026-01-02')))) \g /dev/null
SELECT send('[]', jsonb_build_object('identity_links', jsonb_build_array(link(7, :'victim', spine.patient_id('9990000026'))))) \g /dev/null
SELECT is(joined(), 1::bigint, 'one person, once; and a link that has ended does not come back');

-- input

SELECT is(value_as('attacks_ryj_clinician', 'SELECT spine.visible(' || arguments || ', ''maternity.booking'')'), answer, 'visible(' || arguments || ') -- attack 48')
  FROM (VALUES ('''RYJ'', ARRAY[[''a'', NULL], [''b'', ''c'']], NULL', 't'), ('''RQM'', ARRAY[[''a'', NULL], [''b'', ''RYJ:care'']], gen_random_uuid()', 'f'),
			   ('NULL, NULL, NULL', 'f'), ('repeat(''x'', 1000000), ''{}'', gen_random_uuid()', 'f')) AS x (arguments, answer);
SELECT is(told('attacks_ryj_system', 'SELECT * FROM spine.submit(' || d || ')'), code, 'submit(' || left(d, 60) || ') -- attack 48')
  FROM (VALUES ('repeat(''['', 1000000)', 'SP002'), ('''{"dataset":"maternity","version":"2.0","system":"RYJ Maternity","records":'' || repeat(''['', 100000)', 'SP002'),
			   ('''{"dataset":"\u0000","version":"2.0","system":"RYJ Maternity","records":[]}''', 'SP002'), ('''null''', 'SP002'), ('''''', 'SP002'), ('NULL::text', 'ok'),
			   ('''{"dataset":"maternity","version":"2.0","system":"RYJ Other","records":[]}''', '42501'), ('''{"dataset":"maternity","version":"2.0","system":"RYJ Maternity","records":[null,[],{},1]}''', 'ok')) AS x (d, code);

-- the agreement ends, between a prepared statement and its execution

SELECT as_role('attacks_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'x') $$) \g /dev/null
SELECT as_role('attacks_rqm_clinician', $$ SELECT spine.open_record('9990000018', 'care', 'x') $$) \g /dev/null
SET ROLE attacks_rqm_clinician;
PREPARE hers AS SELECT count(*) FROM maternity_2_0.booking WHERE owner = 'RYJ';
EXECUTE hers \gset before_
RESET ROLE;
SELECT is(told('attacks_ryj_governor', 'SELECT spine.end_agreement(''nwl-maternity'', 1, ''x'')'), 'ok', 'RYJ ends its agreement, though others use the name for a proposal to it');
SELECT is(value_as('attacks_ryj_governor', 'SELECT string_agg(DISTINCT state, '','') FROM spine.agreements WHERE name = ''nwl-maternity'''), 'ended,proposed', 'the one it has signed');
SET ROLE attacks_rqm_clinician;
EXECUTE hers \gset after_
RESET ROLE;
SELECT ok(:before_count > 0 AND :after_count = 0, 'the statement sees it -- attack 39');
SET SESSION AUTHORIZATION attacks_rqm_clinician;
SELECT count(*) AS other FROM maternity_2_0.booking WHERE owner = 'RYJ' \gset
RESET SESSION AUTHORIZATION;
SELECT is(:other, 0, 'and so does another session authorization -- attack 37');
DEALLOCATE hers;

SELECT * FROM finish();
DROP MATERIALIZED VIEW public.attacks_copy;
DROP VIEW public.attacks_view, public.attacks_invoker, public.attacks_door;
DROP FUNCTION public.attacks_lend();
SELECT spine.disconnect_node('R1K') \g /dev/null
SELECT leave_two_trusts('attacks') \g /dev/null
SELECT drop_roles('attacks_ras_system', 'attacks_ras_clinician', 'attacks_ras_governor', 'attacks_ras_operator', 'attacks_ryj_other',
	'attacks_ryj_device', 'attacks_neighbour', 'attacks_stranger', 'attacks_unit_system') \g /dev/null
