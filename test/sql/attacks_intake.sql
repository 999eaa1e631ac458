-- What a supplier may try at the doors against others, and against the server: to write for another, to read or learn
-- what is not his, to be run again what is not his, to fill the memory. What the doors refuse is in attacks.sql too.
\ir setup.psql
\ir as_role.psql
SELECT plan(122);
SELECT two_trusts('attacks_intake') \g /dev/null
SELECT make_roles('attacks_intake_second', 'attacks_intake_device', 'attacks_intake_operator', 'attacks_intake_stranger') \g /dev/null
SELECT spine.add_system('RYJ', 'Second', 'maternity', 'attacks_intake_second'), spine.add_system('RYJ', 'Monitor', 'device', 'attacks_intake_device'),
	spine.add_member('attacks_intake_operator', 'RQM', 'operator') \g /dev/null

-- A data set whose rules look at other records in every way.
\o /dev/null
SELECT spine.publish_dataset('{"name": "raid", "version": "1.0", "title": "Raid", "description": "For tests.", "source": "This test.", "mandation": "This test.", "groups": [
	{"name": "thing", "title": "Thing", "description": "A thing.", "subject": "none", "key": ["thing_key"],
		"items": [{"name": "thing_key", "title": "Key", "type": "text", "max_length": 100, "status": "M", "class": "administrative"},
				  {"name": "serial", "title": "Serial", "type": "text", "max_length": 20, "status": "O", "class": "administrative"},
				  {"name": "size", "title": "Size", "type": "integer", "status": "O", "class": "administrative"}],
		"rules": [{"id": "thing.serial", "kind": "unique", "severity": "record", "items": ["serial"], "message": "Send each serial once."}]},
	{"name": "use", "title": "Use", "description": "A use of a thing.", "subject": "mother", "key": ["use_key"],
		"items": [{"name": "use_key", "title": "Key", "type": "text", "status": "M", "class": "administrative"},
				  {"name": "thing_ref", "title": "Thing", "type": "text", "status": "O", "class": "administrative"},
				  {"name": "thing_hint", "title": "Thing", "type": "text", "status": "O", "class": "administrative"},
				  {"name": "size_limit", "title": "Limit", "type": "integer", "status": "O", "class": "administrative"},
				  {"name": "sender", "title": "Sender", "type": "ods_code", "status": "O", "class": "administrative"}],
		"rules": [{"id": "use.thing", "kind": "exists", "severity": "record", "items": ["thing_ref"], "group": "thing", "match": {"thing_ref": "thing_key"}, "message": "Send the thing of thing_ref first."},
				  {"id": "use.hint", "kind": "exists", "severity": "warning", "items": ["thing_hint"], "group": "thing", "match": {"thing_hint": "thing_key"}, "message": "The thing of thing_hint is not known."},
				  {"id": "use.size", "kind": "related", "severity": "record", "items": ["size_limit"], "group": "thing", "match": {"thing_ref": "thing_key"},
				   "expression": "size_limit IS NULL OR 100 / other.size <= size_limit", "message": "The size_limit is too small."},
				  {"id": "use.sender", "kind": "own_code", "severity": "record", "items": ["sender"], "message": "Send your own code as sender."}]}]}');
\o
-- what a system is told about a document of these records: outcomes and the rules that break; or the SQLSTATE
CREATE FUNCTION sent(who text, records jsonb, door text DEFAULT 'submit') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'attacks_intake_' || who);
	EXECUTE format('SELECT string_agg(concat_ws('' '', s.outcome, (SELECT string_agg(f ->> ''rule'', '' '') FROM jsonb_array_elements(s.findings) f)), '', '' ORDER BY s.n) FROM spine.%I(%L::text) s',
		door, jsonb_build_object('dataset', 'raid', 'version', '1.0', 'records', records)) INTO answer;
	RESET ROLE;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION thing(key text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(jsonb_build_object('group', 'thing', 'data', jsonb_build_object('thing_key', key) || more))
$$;
CREATE FUNCTION use(key text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(jsonb_build_object('group', 'use', 'nhs_number', '9990000018', 'data', jsonb_build_object('use_key', key) || more))
$$;
CREATE FUNCTION told(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'attacks_intake_' || who);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION counted(who text, query text) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM as_role('attacks_intake_' || who, query) $$;

-- rules that look at other records look at one's own

SELECT is(sent('ryj_system', thing('T1', '{"serial": "S1", "size": 1}')), 'accepted', 'a record of one system');
SELECT is(sent(w, thing('T1', '{"serial": "S1", "size": 50}')), 'accepted', 'a unique rule does not tell ' || w || ' of it') FROM unnest('{second,device,rqm_system}'::text[]) w;
SELECT is(sent('ryj_system', thing('T2', '{"serial": "S1"}')), 'rejected thing.serial', 'but its own system');
SELECT is(sent('ryj_system', thing('T3', '{"serial": "S3"}')), 'accepted', 'another record of one system');
SELECT is(sent(w, use('U1', '{"thing_ref": "T3"}')), 'rejected use.thing', 'an exists rule does not find it for ' || w) FROM unnest('{second,device,rqm_system}'::text[]) w;
SELECT is(sent(w, use('U2', '{"thing_hint": "T3"}')), 'accepted_with_warnings use.hint', 'nor one that warns') FROM unnest('{second,device,rqm_system}'::text[]) w;
SELECT is(sent('ryj_system', use('U1', '{"thing_ref": "T3"}')), 'accepted', 'but for its own system');
SELECT is(sent('ryj_system', thing('T4')), 'accepted', 'what one system sends');
SELECT is(sent('second', use('U4', '{"thing_hint": "T4"}')), 'accepted_with_warnings use.hint', 'ends no warning of another');
SELECT is(sent('ryj_system', thing('T4', '{"size": 4}')), 'accepted', 'not when it is corrected either');
SELECT is(counted('second', 'SELECT 1 FROM spine.findings'), 2::bigint, 'it stands');
SELECT is(sent('rqm_system', use('U5', '{"thing_ref": "T1", "size_limit": 2}')), 'accepted', 'a related rule sees one''s own other record');
SELECT is(sent('ryj_system', use('U5', '{"thing_ref": "T1", "size_limit": 2}')), 'rejected use.size', 'which of each is another');
SELECT is(sent('rqm_system', use('U6', '{"sender": "RYJ"}')), 'rejected use.sender', 'nobody says that he is another');
SELECT is(sent('rqm_system', use('U6', '{"sender": "RQM"}')), 'accepted', 'but himself');

-- a rule that raises costs its record

SELECT is(sent('ryj_system', thing('T0', '{"size": 0}')), 'accepted', 'a record with which a rule cannot reckon');
SELECT is(sent('ryj_system', use('U7', '{"thing_ref": "T0", "size_limit": 2}') || use('U8', '{"thing_ref": "T3"}')), 'rejected rule.failed, accepted',
	'rejects the record that names it and no other');

-- long values

SELECT is(sent('ryj_system', use('U9', jsonb_build_object('thing_hint', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i)))), 'accepted_with_warnings use.hint',
	'a long name of something unknown is a warning');
SELECT is(sent('ryj_system', use('U10', jsonb_build_object(repeat('k', 100000), 1))), 'accepted_with_warnings item.unknown', 'and so is a long name of no item');
SELECT is(sent('ryj_system', use('U11', (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 20000) i))), 'accepted_with_warnings' || repeat(' item.unknown', 1000) || ' finding.limit',
	'twenty thousand of them are not all told');

-- one statement that writes a view twice, in functions and with rows that others' functions make

SELECT is(told('ryj_system', 'INSERT INTO raid_1_0.thing (thing_key, size) VALUES (''V1'', 1), (''V2'', 2)'), 'ok', 'two records');
SELECT is(told('ryj_system', 'WITH gone AS (DELETE FROM raid_1_0.thing WHERE thing_key = ''V1'' RETURNING thing_key), changed AS (UPDATE raid_1_0.thing SET size = 3 WHERE thing_key = ''V2'' RETURNING thing_key),
	more AS (INSERT INTO raid_1_0.thing (thing_key) VALUES (''V3'') RETURNING thing_key) INSERT INTO raid_1_0.thing (thing_key) SELECT ''V4'' FROM gone, changed, more'), 'ok', 'deleted, corrected and added to in one statement');
SELECT results_eq($$ SELECT thing_key, size FROM raid.thing WHERE thing_key LIKE 'V%' ORDER BY 1 $$, $$ VALUES ('V2', 3), ('V3', NULL), ('V4', NULL) $$, 'are what they should be');
SELECT is(told('ryj_system', 'WITH gone AS (DELETE FROM raid_1_0.thing WHERE thing_key = ''V3'' RETURNING thing_key) INSERT INTO raid_1_0.thing (thing_key, size) SELECT thing_key, 5 FROM gone'), 'ok',
	'one that is deleted and sent in one statement');
SELECT is((SELECT size FROM raid.thing WHERE thing_key = 'V3'), 5, 'is there');
CREATE FUNCTION nested(n integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF n > 0 THEN
		INSERT INTO spine.inbox (document) SELECT nested(n - 1);
		BEGIN
			INSERT INTO spine.inbox (document) VALUES ('{"broken'), (nested(0));
			RAISE EXCEPTION 'undone';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END IF;
	RETURN format('{"dataset": "raid", "version": "1.0", "group": "thing", "data": {"thing_key": "N%s"}}', n);
END
$$;
SELECT is(told('ryj_system', 'INSERT INTO spine.inbox (document) SELECT nested(5)'), 'ok', 'an inbox within an inbox within an inbox');
SELECT is((SELECT count(*) FROM raid.thing WHERE thing_key LIKE 'N%'), 6::bigint, 'keeps every line once');
SELECT results_eq($$ SELECT s.records, s.accepted, count(l.line) FROM spine.submission s LEFT JOIN spine.inbox_line l USING (submission_id) WHERE s.door = 'inbox' GROUP BY s.submission_id, 1, 2 ORDER BY 1, 2 $$,
	$$ SELECT 1::bigint, 1::bigint, 1::bigint FROM generate_series(1, 6) $$, 'and its own account of each');

-- the inbox is a door for systems, to write

SELECT is(told(w, 'INSERT INTO spine.inbox (document) VALUES (''{}'')'), '42501', w || ' writes nothing into the inbox') FROM unnest('{ryj_clinician,ryj_analyst,ryj_governor,operator,stranger}'::text[]) w;
SELECT is(told('ryj_system', s), '42501', s) FROM unnest(ARRAY['SELECT * FROM spine.inbox', 'INSERT INTO spine.inbox (document) VALUES (''{}'') RETURNING document', 'INSERT INTO spine.submission (submission_id) VALUES (NULL)', 'INSERT INTO spine.inbox_line (line) VALUES (1)',
	'DELETE FROM spine.submissions', 'UPDATE spine.rejections SET owner = ''RQM''', 'SELECT spine.make_submission_partitions()']) s;
GRANT spine_supplier TO attacks_intake_stranger;
SELECT is(told('stranger', 'INSERT INTO spine.inbox (document) VALUES (''{}'')'), '42501', 'nor a role that has the group and is no system');
SELECT is(told('stranger', 'SELECT spine.submit(''{"dataset": "raid", "version": "1.0", "records": []}''::text)'), '42501', 'at no door');
REVOKE spine_supplier FROM attacks_intake_stranger;
CREATE FUNCTION lines(who text, VARIADIC documents text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'attacks_intake_' || who);
	INSERT INTO spine.inbox (document) SELECT unnest(documents);
	SELECT string_agg(concat_ws(' ', r.outcome, (SELECT string_agg(f ->> 'rule', ' ') FROM jsonb_array_elements(r.findings) f)), ', ' ORDER BY r.line) INTO answer
	  FROM spine.inbox_result r WHERE r.submission_id = (SELECT s.submission_id FROM spine.submissions s WHERE s.door = 'inbox' ORDER BY s.submission_id DESC LIMIT 1);
	RESET ROLE;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
SELECT is(lines('second',
	'{"dataset": "raid", "version": "1.0", "system": "RYJ Maternity", "group": "thing", "data": {"thing_key": "T1", "size": 99}}',
	'{"dataset": "raid", "version": "1.0", "owner": "RQM", "group": "thing", "data": {"thing_key": "L1", "owner": "RQM"}}',
	'{"dataset": "spine", "version": "1.0", "group": "member", "data": {"role_name": "attacks_intake_second"}}',
	'{"dataset": "raid", "version": "1.0", "group": "thing", "record_id": "01890a5d-ac96-774b-bcce-b302099a8057", "data": {"thing_key": "L2"}}',
	NULL, '', '[]', '1', '{"dataset": "raid"', repeat('[', 100000), E'\x01'),
	'rejected group.denied, accepted_with_warnings item.unknown item.unknown, rejected dataset.unknown, accepted_with_warnings item.unknown, rejected record.malformed, rejected record.malformed, '
	'rejected record.malformed, rejected record.malformed, rejected record.malformed, rejected record.malformed, rejected record.malformed', 'a line speaks for nobody else, and a broken one costs itself');
SELECT is((SELECT count(*) FROM raid.thing WHERE size = 99 OR owner = 'RQM' AND thing_key LIKE 'L%'), 0::bigint, 'nothing of another''s was written');

-- what validate tells, submit would have told; it leaves nothing

SELECT is(sent('second', thing('T9', '{"serial": "S1"}'), 'validate'), 'rejected thing.serial', 'validate tells of one''s own records');
SELECT is(sent('second', thing('T9', '{"serial": "S3"}'), 'validate'), 'accepted', 'and of no other''s');
SELECT is(sent('second', use('U9', '{"thing_ref": "T3"}'), 'validate'), 'rejected use.thing', 'nor of what others have');
SELECT is(sent(w, thing('T9'), 'validate'), '42501', 'validate is not for ' || w) FROM unnest('{ryj_clinician,ryj_governor,operator,stranger}'::text[]) w;
CREATE FUNCTION left_behind() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT count(*) FROM raid.use), (SELECT count(*) FROM raid.thing), (SELECT count(*) FROM spine.submission), (SELECT count(*) FROM spine.raw_submission),
		(SELECT count(*) FROM spine.rejection), (SELECT count(*) FROM spine.finding), (SELECT count(*) FROM spine.alias), (SELECT count(*) FROM spine.relationship), (SELECT count(*) FROM spine.episode),
		(SELECT count(*) FROM spine.delivery), (SELECT count(*) FROM spine.history))
$$;
SELECT left_behind() AS before \gset
SELECT is(sent('second', jsonb_build_array(use('W1', '{"thing_hint": "no"}') -> 0 || '{"nhs_number": "9990000085", "local_patient_id": "W"}', thing('T1', '{"size": 2}') -> 0, thing(NULL) -> 0), 'validate'),
	'accepted_with_warnings use.hint, accepted, rejected identity.missing item.missing', 'a person whom nobody knew, a correction and a fault are told');
SELECT is(left_behind(), :'before', 'and nothing is left of them');

-- what was rejected is run again by the system that sent it, and by nobody else

CREATE FUNCTION refused(who text, key text, more jsonb DEFAULT '{}') RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sent(who, use(key, more || '{"sender": "R1K"}'));
	RETURN (SELECT rejection_id FROM spine.rejection ORDER BY rejection_id DESC LIMIT 1);
END
$$;
SELECT refused('ryj_system', 'R1') AS r1 \gset
SELECT refused('ryj_system', 'R2') AS r2 \gset
SELECT refused('device', 'R3') AS r3 \gset
CREATE FUNCTION again(who text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'attacks_intake_' || who);
	EXECUTE format('SELECT coalesce(string_agg(concat_ws('' '', s.outcome, (SELECT string_agg(f ->> ''rule'', '' '') FROM jsonb_array_elements(s.findings) f)), '', ''), ''nothing'') FROM spine.%s s', call) INTO answer;
	RESET ROLE;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
SELECT is(again(w, format('resubmit(%L::uuid, %L)', i, use('R1') -> 0)), 'P0002', format('%s does not run what %s sent', w, whose))
  FROM (VALUES ('second', :'r1', 'another'), ('device', :'r1', 'another'), ('rqm_system', :'r1', 'another organisation'), ('ryj_system', :'r3', 'a device'),
			   ('ryj_system', '00000000-0000-7000-8000-000000000000', 'nobody')) AS v (w, i, whose);
SELECT is(again(w, format('resubmit_all(ARRAY[%L, %L]::uuid[])', :'r1', :'r3')), o, format('in a list %s runs its own alone', w))
  FROM (VALUES ('second', 'nothing'), ('rqm_system', 'nothing'), ('device', 'rejected use.sender'), ('ryj_system', 'rejected use.sender')) AS v (w, o);
SELECT is(again(w, format('resubmit(%L::uuid)', :'r1')), '42501', 'nor a ' || w) FROM unnest('{ryj_clinician,ryj_analyst,ryj_governor,operator,stranger}'::text[]) w;
SELECT is(again(w, 'revalidate(''raid'', NULL, ''use.sender'')'), o, w || ' runs again: ' || o)
  FROM (VALUES ('second', 'nothing'), ('rqm_system', 'rejected use.sender'), ('rqm_analyst', 'rejected use.sender'), ('operator', 'rejected use.sender'), ('ryj_clinician', 'nothing'),
			   ('ryj_governor', '42501'), ('stranger', '42501')) AS v (w, o);
SELECT is(told(w, format('SELECT spine.discard_rejection(%L)', :'r1')), e, w || ' discards nothing of another: ' || e)
  FROM (VALUES ('second', 'P0002'), ('device', 'P0002'), ('rqm_system', 'P0002'), ('rqm_analyst', 'P0002'), ('ryj_clinician', 'P0002'), ('ryj_governor', '42501'), ('operator', '42501'), ('stranger', '42501')) AS v (w, e);
SELECT is(again('ryj_system', format('resubmit(%L::uuid, %L)', :'r1', (use('R1', '{"sender": "RYJ"}') -> 0) || '{"owner": "RQM", "system": "Second", "record_id": "01890a5d-ac96-774b-bcce-b302099a8057"}')),
	'accepted_with_warnings item.unknown', 'a corrected record is run for its own system, whatever it says');
SELECT results_eq($$ SELECT owner, source_system FROM raid.use WHERE use_key = 'R1' $$, $$ VALUES ('RYJ' COLLATE "C", 'RYJ Maternity' COLLATE "C") $$, 'and is that system''s');
SELECT is(again('ryj_system', format('resubmit(%L::uuid)', :'r1')), 'P0002', 'once');
SELECT is(told('ryj_system', format('SELECT spine.settle_rejections(ARRAY[%L]::uuid[], NULL, NULL)', :'r2')), '42501', 'what decides nothing is nobody''s to call');
SELECT is(told('ryj_system', format('SELECT spine.run_again(''RQM'', ''RQM Maternity'', ''maternity'', ''raid'', ''1.0'', ARRAY[%L]::uuid[], ''{x}'', ''{now}'')', :'r2')), '42501', 'nor what writes for anybody');

-- what came or went since does not come back over it

SELECT is(sent('ryj_system', use('R2', '{"size_limit": 9}')), 'accepted', 'sent correctly meanwhile');
UPDATE spine.rejection SET rejected_at = rejected_at - interval '1 second' WHERE rejection_id = :'r2';
SELECT is(again('ryj_system', format('resubmit(%L::uuid, %L)', :'r2', use('R2', '{"size_limit": 1}') -> 0)), 'rejected record.superseded', 'the record that was rejected before does not replace it');
SELECT is((SELECT size_limit FROM raid.use WHERE use_key = 'R2'), 9, 'which stands');

-- an organisation that this node hosts no more gives nobody a right here

SELECT refused('rqm_system', 'R5') AS r5 \gset
SELECT refused('rqm_system', 'R6') AS r6 \gset
INSERT INTO spine.node (name) VALUES ('elsewhere');
UPDATE spine.node_organisation SET node = 'elsewhere' WHERE organisation = 'RQM';
SELECT is(sent('rqm_system', use('R5')), '42501', 'its system sends nothing');
SELECT is(again('rqm_system', format('resubmit(%L::uuid, %L)', :'r5', use('R5') -> 0)), 'P0002', 'and runs nothing again');
SELECT is(again('rqm_system', 'revalidate(''raid'')'), 'nothing', 'not all of it either');
SELECT is(told('rqm_system', format('SELECT spine.discard_rejection(%L)', :'r6')), 'P0002', 'nor settles anything');
UPDATE spine.node_organisation SET node = (SELECT name FROM spine.node WHERE is_self) WHERE organisation = 'RQM';
SELECT is(again('rqm_system', format('resubmit(%L::uuid, %L)', :'r5', use('R5') -> 0)), 'accepted', 'hosted again, it does');

-- a system whose kind may write no more

SELECT refused('second', 'R7') AS r7 \gset
SELECT spine.remove_system('RYJ', 'Second'), spine.add_system('RYJ', 'Second', 'reports', 'attacks_intake_second') \g /dev/null
SELECT is(again('second', format('resubmit(%L::uuid, %L)', :'r7', use('R7') -> 0)), '42501', 'does not run again what it could send before');
SELECT is(again('second', 'revalidate(''raid'', NULL, ''use.sender'')'), 'rejected group.denied', 'in no way');
SELECT is((SELECT count(*) FROM raid.use WHERE use_key = 'R7'), 0::bigint, 'nothing of it is stored');
SELECT spine.remove_system('RYJ', 'Second'), spine.add_system('RYJ', 'Second', 'maternity', 'attacks_intake_second') \g /dev/null

-- a line of the inbox, which names its data set, is run again as what it is

SELECT is(lines('ryj_system', '{"dataset": "raid", "version": "1.0", "group": "use", "nhs_number": "9990000018", "data": {"use_key": "R8", "thing_ref": "T80"}}'), 'rejected use.thing', 'a line is rejected');
SELECT is(sent('ryj_system', thing('T80')), 'accepted', 'what it asked for comes');
SELECT is(again('ryj_system', 'revalidate(''raid'', NULL, ''use.thing'')'), 'accepted', 'it is accepted, without a word about its data set');

-- submissions as they came

SELECT is(counted(w, format('SELECT * FROM spine.raw_submission(%L)', (SELECT submission_id FROM spine.submission WHERE source_system = s AND door = 'submit' ORDER BY submission_id DESC LIMIT 1))), n::bigint, format('%s reads %s of what %s sent', w, n, s))
  FROM (VALUES ('ryj_system', 'RYJ Maternity', 1), ('second', 'RYJ Maternity', 0), ('device', 'RYJ Maternity', 0), ('device', 'Monitor', 0), ('rqm_system', 'RYJ Maternity', 0), ('rqm_clinician', 'RYJ Maternity', 0),
			   ('ryj_clinician', 'RYJ Maternity', 1), ('ryj_analyst', 'Monitor', 1)) AS v (w, s, n);
SELECT is(told(w, 'SELECT spine.raw_submission(''00000000-0000-7000-8000-000000000000'')'), '42501', w || ' reads none') FROM unnest('{ryj_governor,operator,stranger}'::text[]) w;

-- memory: what waits to be written does not grow with what was sent

CREATE TABLE held (line integer, bytes bigint);
CREATE FUNCTION line_and_look(i integer, line text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	IF i % 50 = 0 THEN
		INSERT INTO held SELECT i, sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'spine%';
	END IF;
	RETURN line;
END
$$;
SELECT is(told('ryj_system', $$ INSERT INTO spine.inbox (document) SELECT line_and_look(i, repeat('x', 200000)) FROM generate_series(1, 450) i $$), 'ok', 'ninety megabytes of broken lines');
SELECT cmp_ok((SELECT max(bytes) FROM held), '<', 16000000::bigint, 'take no more than a few of memory');
TRUNCATE held;
SELECT is(told('ryj_system', $$ INSERT INTO spine.inbox (document) SELECT line_and_look(i, (SELECT json_build_object('dataset', 'raid', 'version', '1.0', 'group', 'thing', 'data',
		json_object_agg(repeat('k', 200) || i || 'k' || k, 1)) FROM generate_series(1, 900) k)::text) FROM generate_series(1, 450) i $$), 'ok', 'four hundred thousand findings');
SELECT cmp_ok((SELECT max(bytes) FROM held), '<', 16000000::bigint, 'neither');
DROP TABLE held;

SELECT * FROM finish();
DROP FUNCTION nested(integer), line_and_look(integer, text);
SELECT leave_two_trusts('attacks_intake'), drop_roles('attacks_intake_second', 'attacks_intake_device', 'attacks_intake_operator', 'attacks_intake_stranger') \g /dev/null
