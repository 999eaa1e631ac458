-- What was rejected: kept, seen, run again, released, discarded; what is kept of submissions, and how long; the sandbox.
\ir setup.psql
\ir as_role.psql
SELECT plan(127);
SELECT two_trusts('quarantine'), make_roles('quarantine_second', 'quarantine_operator') \g /dev/null
\o /dev/null
SELECT spine.add_system('RYJ', 'Second', 'maternity', 'quarantine_second'), spine.add_member('quarantine_operator', 'RYJ', 'operator');
CREATE FUNCTION definition(version text, codes jsonb, largest integer) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('name', 'depot', 'version', version, 'title', 'Depot', 'description', 'For tests.', 'source', 'This test.', 'mandation', 'This test.',
		'code_lists', jsonb_build_object('colour', jsonb_build_object('title', 'Colour', 'severity', 'record', 'codes', codes)),
		'groups', jsonb_build_array(
			'{"name": "shelf", "title": "Shelf", "description": "A shelf.", "subject": "mother", "key": ["shelf_id"], "items": [
				{"name": "shelf_id", "title": "Shelf", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
				{"name": "colour", "title": "Colour", "type": "text", "codes": "colour", "status": "O", "class": "administrative"}]}'::jsonb,
			jsonb_set('{"name": "crate", "title": "Crate", "description": "A crate.", "subject": "mother", "key": ["crate_id"], "parent": {"group": "shelf", "item": "shelf"}, "items": [
				{"name": "crate_id", "title": "Crate", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
				{"name": "shelf", "title": "Shelf", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
				{"name": "size", "title": "Size", "type": "integer", "status": "O", "class": "administrative"}],
			 "rules": [{"id": "crate.size", "severity": "record", "items": ["size"], "message": "size is too large."}]}'::jsonb,
				'{rules,0,expression}', to_jsonb(format('size <= %s', largest)))))
$$;
SELECT spine.publish_dataset(definition('1.0', '{"R": "Red"}', 10));
\o
CREATE FUNCTION rec(data_group text, data jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('group', data_group, 'data', data) || CASE data_group WHEN 'shelf' THEN '{"nhs_number": "9990000018"}'::jsonb ELSE '{}' END
$$;
CREATE FUNCTION answer(who text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'quarantine_' || who);
	EXECUTE format('SELECT coalesce(string_agg(concat_ws('' '', s.outcome, (SELECT string_agg(f ->> ''rule'', '' '') FROM jsonb_array_elements(s.findings) f)), '', '' ORDER BY %s), ''nothing'') FROM spine.%s s',
		CASE WHEN call ~ '^\s*(submit|validate)' THEN 's.n' ELSE 's.outcome, s.findings' END, call) INTO answer;
	RESET ROLE;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION did(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'quarantine_' || who);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION discard(who text, rejection uuid) RETURNS text LANGUAGE sql AS $$ SELECT did(who, format('SELECT spine.discard_rejection(%L)', rejection)) $$;
CREATE FUNCTION sent(who text, VARIADIC records jsonb[]) RETURNS text LANGUAGE sql AS $$
	SELECT answer(who, format('submit(%L::text)', jsonb_build_object('dataset', 'depot', 'version', '1.0', 'records', to_jsonb(records))))
$$;
CREATE FUNCTION id_of(local_id text, nth integer DEFAULT 1) RETURNS uuid LANGUAGE sql AS $$
	SELECT rejection_id FROM spine.rejection WHERE local_record_id = local_id ORDER BY rejected_at, n, rejection_id OFFSET nth - 1 LIMIT 1
$$;
CREATE FUNCTION state(local_id text, nth integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', state, tries, settled_by, (SELECT string_agg(f ->> 'rule', ' ') FROM jsonb_array_elements(findings) f)) FROM spine.rejection WHERE rejection_id = id_of(local_id, nth)
$$;

-- what is kept

SELECT is(answer('ryj_system', $$ submit('{"dataset": "depot", "version": "1.0", "records": [{"group": "shelf",  "nhs_number": "9990000018", "data": {"shelf_id": "S1", "colour": "R"}},
	{"group": "crate", "data": {"crate_id":  "C1", "shelf": "S1", "size": 11, "volume": 1}}, {"group": "crate", "local_record_id": "C2", "data": {"shelf": "S9"}}, {"group": "pallet"}, 5]}'::text) $$),
	'accepted, rejected item.unknown crate.size, rejected item.missing, rejected group.unknown, rejected record.malformed', 'a submission');
SELECT results_eq($$ SELECT concat_ws('|', n, owner, source_system, dataset, version, data_group, local_record_id, record, state, tries, rejected_for, settled_at) COLLATE "default" FROM spine.rejection ORDER BY n $$,
	$$ VALUES ('2|RYJ|RYJ Maternity|depot|1.0|crate|C1|{"group": "crate", "data": {"crate_id":  "C1", "shelf": "S1", "size": 11, "volume": 1}}|open|1|quarantine_ryj_system'),
		('3|RYJ|RYJ Maternity|depot|1.0|crate|C2|{"group": "crate", "local_record_id": "C2", "data": {"shelf": "S9"}}|open|1|quarantine_ryj_system'),
		('4|RYJ|RYJ Maternity|depot|1.0|pallet|{"group": "pallet"}|open|1|quarantine_ryj_system'),
		('5|RYJ|RYJ Maternity|depot|1.0|5|open|1|quarantine_ryj_system') $$, 'each rejected record is kept as it came');
SELECT is((SELECT findings FROM spine.rejection WHERE n = 2), '[{"rule": "item.unknown", "severity": "warning", "item": "volume", "message": "data group crate has no item of this name; it is not kept"},
	{"rule": "crate.size", "severity": "record", "item": "size", "message": "size is too large."}]'::jsonb, 'with all that was found, warnings too');
SELECT is((SELECT count(*)::text FROM as_role('quarantine_' || w, 'SELECT 1 FROM spine.rejections')), c, format('%s sees %s', w, c))
  FROM (VALUES ('ryj_system', '4'), ('ryj_analyst', '4'), ('ryj_clinician', '4'), ('second', '0'), ('rqm_system', '0'), ('rqm_analyst', '0')) AS v (w, c);

-- run again by the system that sent it

SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('C1'))), 'rejected item.unknown crate.size', 'as it was, it is rejected again');
SELECT is(state('C1'), 'open 2 item.unknown crate.size', 'which counts as a try');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, %L)', id_of('C1'), rec('crate', '{"crate_id": "C1", "shelf": "S1", "size": 9}'))), 'accepted', 'corrected, it is accepted');
SELECT is(state('C1'), 'released 3 quarantine_ryj_system item.unknown crate.size', 'released, with what was wrong');
SELECT is((SELECT record FROM spine.rejection WHERE n = 2), '{"group": "crate", "data": {"crate_id":  "C1", "shelf": "S1", "size": 11, "volume": 1}}', 'and what was sent');
SELECT is((SELECT size FROM depot.crate WHERE crate_id = 'C1'), 9, 'what is stored is the correction');
SELECT results_eq($$ SELECT door, dataset, version, records, accepted, rejected FROM spine.submission ORDER BY submission_id DESC LIMIT 1 $$, $$ VALUES ('resubmit', 'depot', '1.0', 1::bigint, 1::bigint, 0::bigint) $$, 'as a submission of its own');
SELECT is((SELECT count(*) FROM spine.rejection), 4::bigint, 'what is run again makes no rejection beside the first');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('C1'))), 'P0002', 'what is settled is not run again');
SELECT is(answer('ryj_system', format('resubmit_all(ARRAY[%L, %L]::uuid[])', id_of('C1'), id_of('C2'))), 'rejected item.missing', 'and is passed over in a list');
SELECT is(answer('ryj_system', 'resubmit_all(''{}''::uuid[])'), 'nothing', 'a list of none');
SELECT is(answer(w, format('resubmit(%L::uuid)', id_of('C2'))), 'P0002', w || ' runs nothing of another') FROM unnest('{second,rqm_system}'::text[]) w;
SELECT is(answer(w, format('resubmit_all(ARRAY[%L]::uuid[])', id_of('C2'))), 'nothing', 'nor in a list') FROM unnest('{second,rqm_system}'::text[]) w;
SELECT is(state('C2'), 'open 2 item.missing', 'which is no try');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, version => ''3.0'')', id_of('C2'))), 'SP003', 'in a version that is not published');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, %L)', id_of('C2'), '[]')), 'rejected record.malformed', 'a correction that is no record');
SELECT is(state('C2'), 'open 3 record.malformed', 'a call that fails is no try');

-- after what was missing has come: by the system, an analyst or an operator of the organisation

SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "W1", "shelf": "S2"}'), rec('crate', '{"crate_id": "W2", "shelf": "S3"}'), rec('crate', '{"crate_id": "W3", "shelf": "S3"}'), rec('crate', '{"crate_id": "W4", "shelf": "S3", "size": 12}')),
	'rejected parent.unknown, rejected parent.unknown, rejected parent.unknown, rejected crate.size', 'children without a parent');
SELECT is(sent('second', rec('crate', '{"crate_id": "W9", "shelf": "S2"}')), 'rejected parent.unknown', 'another system''s child');
SELECT is(sent('ryj_system', rec('shelf', '{"shelf_id": "S2"}')), 'accepted', 'one parent comes');
SELECT is(answer('second', 'revalidate(''depot'')'), 'rejected parent.unknown', 'another system runs its own, whose parent has not come');
SELECT is(answer('rqm_system', 'revalidate(''depot'')'), 'nothing', 'another organisation has nothing');
SELECT is(answer('ryj_system', 'revalidate(''depot'', NULL, ''no.such'')'), 'nothing', 'of a rule that broke nothing');
SELECT is(answer('ryj_system', 'revalidate(''depot'', NULL, ''parent.unknown'')'), 'accepted, rejected parent.unknown, rejected parent.unknown', 'by the system, what broke one rule');
SELECT is(state('W1'), 'released 2 quarantine_ryj_system parent.unknown', 'what is sound is released');
SELECT is(state('W4'), 'open 1 crate.size', 'what broke another rule was not run');
SELECT is(sent('ryj_system', rec('shelf', '{"shelf_id": "S3"}')), 'accepted', 'the other parent comes');
SELECT is(answer('ryj_analyst', 'revalidate(''depot'', NULL, ''parent.unknown'')'), 'accepted, accepted, rejected parent.unknown', 'an analyst runs those of all systems');
SELECT is(state('W2'), 'released 3 quarantine_ryj_analyst parent.unknown', 'and stands as who released them');
SELECT results_eq($$ SELECT owner, source_system FROM depot.crate WHERE crate_id = 'W2' $$, $$ VALUES ('RYJ' COLLATE "C", 'RYJ Maternity' COLLATE "C") $$, 'what is released is the system''s that sent it');
SELECT is(answer('operator', 'revalidate(''depot'', NULL, ''crate.size'')'), 'rejected crate.size', 'an operator too');
SELECT is(answer('rqm_analyst', 'revalidate(''depot'')'), 'nothing', 'of one''s own organisation alone');
SELECT is(answer('ryj_governor', 'revalidate(''depot'')'), '42501', 'not a governor');
SELECT is(answer('ryj_clinician', 'revalidate(''depot'')'), 'nothing', 'nor a clinician');
SELECT is(answer('ryj_system', 'revalidate(''nothing'')'), 'SP003', 'of no such data set');
SELECT is(answer('ryj_system', 'revalidate(''depot'', ''2.0'')'), 'SP003', 'of no such version');

-- after a rule and a code list were mended

SELECT is(sent('ryj_system', rec('shelf', '{"shelf_id": "V1", "colour": "B"}'), rec('shelf', '{"shelf_id": "V2", "colour": "X"}')), 'rejected item.code, rejected item.code', 'codes that the list does not have');
SELECT spine.publish_dataset(definition('1.1', '{"R": "Red", "B": "Blue"}', 20)) \g /dev/null
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, version => ''1.0'')', id_of('V1'))), 'rejected item.code', 'in the version that it was sent in');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, version => ''1.1'')', id_of('V1'))), 'accepted', 'in the mended one');
SELECT is((SELECT dataset_version COLLATE "C" FROM depot.shelf WHERE shelf_id = 'V1'), '1.1' COLLATE "C", 'whose record it is');
SELECT is(answer('ryj_analyst', 'revalidate(''depot'', NULL, ''crate.size'')'), 'accepted', 'the newest version is the one that is meant');
SELECT is((SELECT dataset_version COLLATE "C" FROM depot.crate WHERE crate_id = 'W4'), '1.1' COLLATE "C", 'where none is named');
SELECT is(answer('ryj_system', 'revalidate(''depot'', ''1.1'', ''item.code'')'), 'rejected item.code', 'what is still no code');
SELECT is(state('V2'), 'open 2 item.code', 'stays');

-- nothing comes back over what was accepted, sent again or deleted since

SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O1", "shelf": "S1", "size": 50}')), 'rejected crate.size', 'rejected');
SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O1", "shelf": "S1", "size": 1}')), 'accepted', 'and sent correctly');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, %L)', id_of('O1'), rec('crate', '{"crate_id": "O1", "shelf": "S1", "size": 2}'))), 'rejected record.superseded', 'it does not come over that');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('O1'))), 'rejected crate.size', 'what is wrong with it is told first');
SELECT is((SELECT size FROM depot.crate WHERE crate_id = 'O1'), 1, 'what was accepted stands');
SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O2", "shelf": "S1", "size": 1}')), 'accepted', 'accepted');
SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O2", "shelf": "S8", "size": 2}')), 'rejected parent.unknown', 'a correction is rejected');
SELECT is(did('ryj_system', $$ DELETE FROM depot_1_0.crate WHERE crate_id = 'O2' $$), 'ok', 'the record is deleted');
SELECT is(sent('ryj_system', rec('shelf', '{"shelf_id": "S8"}')), 'accepted', 'what the correction lacked comes');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('O2'))), 'rejected record.superseded', 'it does not bring the record back');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('O2'))), 'rejected record.superseded', 'ever');
SELECT is(answer('ryj_analyst', 'revalidate(''depot'', NULL, ''record.superseded'')'), 'rejected record.superseded', 'for nobody');
SELECT is((SELECT count(*) FROM depot.crate WHERE crate_id = 'O2'), 0::bigint, 'it is not there');
SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O3", "shelf": "S7", "size": 1}'), rec('crate', '{"crate_id": "O3", "shelf": "S7", "size": 2}')), 'rejected parent.unknown, rejected parent.unknown', 'rejected twice');
SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O3", "shelf": "S7", "size": 3}')), 'rejected parent.unknown', 'and again');
SELECT is(sent('ryj_system', rec('shelf', '{"shelf_id": "S7"}')), 'accepted', 'what they lacked comes');
SELECT is(answer('ryj_system', 'revalidate(''depot'', NULL, ''parent.unknown'')'), 'accepted, rejected record.superseded, rejected record.superseded', 'the last one that was sent is the one that counts');
SELECT is((SELECT size FROM depot.crate WHERE crate_id = 'O3'), 3, 'whatever the order in which they are run');
SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O4", "shelf": "S6", "size": 1}')), 'rejected parent.unknown', 'rejected');
SELECT is(sent('ryj_system', rec('crate', '{"crate_id": "O4", "shelf": "S6", "size": 99}')), 'rejected crate.size', 'and again');
SELECT is(sent('ryj_system', rec('shelf', '{"shelf_id": "S6"}')), 'accepted', 'what it lacked comes');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('O4'))), 'rejected record.superseded', 'the earlier one stays back for the later one');
SELECT is(discard('ryj_system', id_of('O4', 2)), 'ok', 'which its system discards');
SELECT is(state('O4', 2), 'discarded 1 quarantine_ryj_system crate.size', 'and is settled by that');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('O4'))), 'accepted', 'then it may go');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('O4', 2))), 'P0002', 'what is discarded is not run');
SELECT is(discard(w, id_of('V2')), c, w || ' discards nothing of it')
  FROM (VALUES ('second', 'P0002'), ('rqm_system', 'P0002'), ('rqm_analyst', 'P0002'), ('ryj_clinician', 'P0002'), ('ryj_governor', '42501'), ('operator', '42501')) AS v (w, c);
SELECT is(discard('ryj_analyst', id_of('V2')), 'ok', 'an analyst of the organisation does');
SELECT is(discard('ryj_analyst', id_of('V2')), 'P0002', 'once');

-- lines of the inbox, which name their data set themselves

CREATE FUNCTION lines(VARIADIC documents text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL ROLE quarantine_ryj_system;
	INSERT INTO spine.inbox (document) SELECT unnest(documents);
	RESET ROLE;
END
$$;
SELECT lines('{"dataset": "depot", "version": "1.2", "group": "crate", "data": {"crate_id": "L1", "shelf": "S1", "size": 25}}', '{"dataset": "depo", "version": "1.0", "group": "crate", "data": {"crate_id": "L2", "shelf": "S1"}}',
	'{"dataset": "depot", "version": "1.0", "group": "crate", "data": {"crate_id": "L3", "shelf": "S1"}', '{"group": "crate", "data": {"crate_id": "L4", "shelf": "S1"}}');
CREATE FUNCTION line(n bigint) RETURNS uuid LANGUAGE sql AS $$
	SELECT rejection_id FROM spine.rejection j WHERE j.n = line.n AND submission_id = (SELECT submission_id FROM spine.submission WHERE door = 'inbox' ORDER BY submission_id DESC LIMIT 1)
$$;
SELECT is(answer('ryj_system', format('resubmit_all(ARRAY[%L, %L, %L, %L]::uuid[])', line(1), line(2), line(3), line(4))), 'rejected record.malformed, rejected record.malformed, rejected dataset.unknown, rejected dataset.unknown', 'as they are, they stay');
SELECT spine.publish_dataset(definition('1.2', '{"R": "Red", "B": "Blue"}', 30)) \g /dev/null
SELECT is(answer('ryj_system', 'revalidate(''depot'', NULL, ''dataset.unknown'')'), 'accepted', 'the version that one names is published: it is accepted');
SELECT is((SELECT dataset_version COLLATE "C" FROM depot.crate WHERE crate_id = 'L1'), '1.2' COLLATE "C", 'in that version');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, %L)', line(2), '{"dataset": "depot", "version": "1.1", "group": "crate", "data": {"crate_id": "L2", "shelf": "S1"}}')), 'SP003', 'what was sent for one data set is not run for another');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, %L)', line(4), '{"dataset": "depot", "version": "1.1", "group": "crate", "data": {"crate_id": "L4", "shelf": "S1"}}')), 'accepted', 'what named none is, corrected');
SELECT is((SELECT string_agg(crate_id, ' ' ORDER BY crate_id) FROM depot.crate WHERE crate_id LIKE 'L%'), 'L1 L4', 'and nothing else');

-- a version that is no longer accepted

SELECT spine.retire_dataset('depot', '1.0', '2026-01-01') \g /dev/null
SELECT throws_ok($$ SELECT as_role('quarantine_ryj_system', 'SELECT spine.submit(''{"dataset": "depot", "version": "1.0", "records": []}''::text)') $$, 'SP003', NULL, 'is refused');
DO $$
DECLARE
	told text;
BEGIN
	PERFORM as_role('quarantine_ryj_system', 'SELECT spine.submit(''{"dataset": "depot", "version": "1.0", "records": []}''::text)');
EXCEPTION WHEN SQLSTATE 'SP003' THEN
	GET STACKED DIAGNOSTICS told = PG_EXCEPTION_HINT;
	PERFORM set_config('quarantine.told', concat_ws(' ', SQLERRM, told), false);
END
$$;
SELECT matches(current_setting('quarantine.told'), 'Send version 1\.2 or 1\.1 of depot', 'with the version to send');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid)', id_of('O1'))), 'SP003', 'what was rejected in it is not run in it');
SELECT is(answer('ryj_system', format('resubmit(%L::uuid, version => ''1.2'')', id_of('O1'))), 'rejected crate.size', 'but in another');

-- months of submissions

CREATE FUNCTION month(back integer) RETURNS timestamptz LANGUAGE sql AS $$ SELECT date_trunc('month', now(), 'UTC') - make_interval(months => back) $$;
CREATE FUNCTION part(parent text, back integer) RETURNS text LANGUAGE sql AS $$ SELECT format('%s_%s', parent, to_char(month(back) AT TIME ZONE 'UTC', 'YYYY_MM')) $$;
CREATE FUNCTION parts(parent text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(b::text, ' ' ORDER BY b) FROM generate_series(-3, 40) b WHERE to_regclass('spine.' || part(parent, b)) IS NOT NULL
$$;
SELECT is(parts(p), '-2 -1 0', p || ' has this month and the next two') FROM unnest('{submission,raw_submission,inbox_line}'::text[]) p;
SELECT is(spine.make_submission_partitions(), 0, 'none is missing');
DO $$
DECLARE
	parent text;
BEGIN
	FOREACH parent IN ARRAY '{submission,raw_submission,inbox_line}'::text[] LOOP
		EXECUTE format('DROP TABLE spine.%I', part(parent, 0));
		FOR back IN 1 .. 40 LOOP
			CONTINUE WHEN back NOT IN (1, 5, 12, 24, 40);
			EXECUTE format('CREATE TABLE spine.%I PARTITION OF spine.%I FOR VALUES FROM (%L) TO (%L)', part(parent, back), parent, month(back), month(back - 1));
			EXECUTE format('ALTER TABLE spine.%I OWNER TO spine_owner', part(parent, back));
		END LOOP;
	END LOOP;
END
$$;
SELECT lines('{"dataset": "depot", "version": "1.2", "group": "shelf", "nhs_number": "9990000018", "data": {"shelf_id": "T1"}}', '{}');
SELECT is((SELECT concat_ws(' ', (SELECT count(*) FROM spine.submission_default), (SELECT count(*) FROM spine.raw_submission_default), (SELECT count(*) FROM spine.inbox_line_default))), '1 1 2', 'what comes while a month''s tables are missing goes to the default ones');
SELECT is(spine.make_submission_partitions(), 3, 'which are made');
SELECT is((SELECT concat_ws(' ', (SELECT count(*) FROM ONLY spine.submission_default), (SELECT count(*) FROM spine.raw_submission_default), (SELECT count(*) FROM spine.inbox_line_default))), '0 0 0', 'and take over what is theirs');
SELECT is((SELECT concat_ws(' ', (SELECT count(*) FROM spine.submission), (SELECT count(*) FROM spine.raw_submission), (SELECT count(*) FROM spine.inbox_line))), '1 1 2', 'all of it');
SELECT lines('{"dataset": "depot", "version": "1.2", "group": "shelf", "nhs_number": "9990000018", "data": {"shelf_id": "T1"}}', '{}');
SELECT is((SELECT concat_ws(' ', (SELECT count(*) FROM spine.submission_default), (SELECT count(*) FROM spine.submission), (SELECT count(*) FROM spine.inbox_line))), '0 2 4', 'what comes then goes there at once');
SELECT is((SELECT array_agg(parts(p)) FROM unnest('{submission,raw_submission,inbox_line}'::text[]) p), '{"-2 -1 0 1 5 12 24 40","-2 -1 0 1 5 12 24 40","-2 -1 0 1 5 12 24 40"}', 'months long past');
SELECT throws_ok($$ SELECT as_role('quarantine_ryj_system', 'SELECT spine.drop_old_submissions()') $$, '42501', NULL, 'a supplier drops none');
SELECT is(value_as('quarantine_operator', 'SELECT spine.drop_old_submissions()'), '8', 'an operator does, or the courier');
SELECT is((SELECT array_agg(parts(p)) FROM unnest('{submission,raw_submission,inbox_line}'::text[]) p), '{"-2 -1 0 1 5 12","-2 -1 0 1","-2 -1 0 1 5 12"}', 'by default what was sent is kept three months, what became of it thirteen');
SELECT is(spine.drop_old_submissions(), 0, 'and that is all');
SELECT is((SELECT count(*) FROM spine.rejection WHERE state = 'open'), (SELECT count(*) FROM spine.rejection WHERE settled_at IS NULL), 'the quarantine has no age');

-- the sandbox: what submit would tell, and nothing is kept of it

CREATE FUNCTION rows_everywhere() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	counts jsonb := '{}';
	part regclass;
	rows bigint;
BEGIN
	FOR part IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace IN ('spine'::regnamespace, 'maternity'::regnamespace, 'depot'::regnamespace) LOOP
		EXECUTE format('SELECT count(*) FROM %s', part) INTO rows;
		counts := counts || jsonb_build_object(part::text, rows);
	END LOOP;
	RETURN counts;
END
$$;
CREATE TABLE document AS SELECT row_number() OVER () AS d, document::text FROM spine.generate_documents(12, 7, '{RYJ}', 0.2, most_records => 60, systems => '{"RYJ Maternity"}');
CREATE TABLE verdict (door text, d bigint, n integer, outcome text, has_id boolean, findings jsonb);
GRANT SELECT ON document TO quarantine_ryj_system;
GRANT INSERT ON verdict TO quarantine_ryj_system;
SELECT rows_everywhere() AS before \gset
SET ROLE quarantine_ryj_system;
INSERT INTO verdict SELECT 'validate', d.d, v.n, v.outcome, v.record_id IS NOT NULL, v.findings FROM document d, spine.validate(d.document) v WHERE d.d = 1;
RESET ROLE;
SELECT is(rows_everywhere(), :'before'::jsonb, 'nothing is left of a document, in any table');
SELECT cmp_ok((SELECT count(*) FROM document), '>', 3::bigint, 'documents of pregnancies, some spoilt');
DO $$
DECLARE
	of record;
	before jsonb;
BEGIN
	FOR of IN SELECT * FROM document ORDER BY d LOOP
		before := rows_everywhere();
		SET LOCAL ROLE quarantine_ryj_system;
		IF of.d > 1 THEN
			INSERT INTO verdict SELECT 'validate', of.d, v.n, v.outcome, v.record_id IS NOT NULL, v.findings FROM spine.validate(of.document) v;
		END IF;
		RESET ROLE;
		IF rows_everywhere() <> before THEN
			RAISE EXCEPTION 'document % left something', of.d;
		END IF;
		SET LOCAL ROLE quarantine_ryj_system;
		INSERT INTO verdict SELECT 'submit', of.d, v.n, v.outcome, v.record_id IS NOT NULL, v.findings FROM spine.submit(of.document) v;
		RESET ROLE;
	END LOOP;
END
$$;
SELECT is_empty($$ (SELECT d, n, outcome, findings FROM verdict WHERE door = 'validate' EXCEPT ALL SELECT d, n, outcome, findings FROM verdict WHERE door = 'submit') $$, 'validate tells what submit tells then');
SELECT is((SELECT count(*) FROM verdict WHERE door = 'validate'), (SELECT count(*) FROM verdict WHERE door = 'submit'), 'of as many records');
SELECT ok((SELECT count(DISTINCT outcome) > 1 AND count(*) FILTER (WHERE outcome = 'rejected') BETWEEN 1 AND count(*) / 2 FROM verdict WHERE door = 'validate'), 'sound ones and others');
SELECT ok((SELECT bool_and(has_id = (door = 'submit' AND outcome <> 'rejected')) FROM verdict), 'without ids');
SELECT is(answer('ryj_system', format('validate(%L::text)', (SELECT document FROM document WHERE d = 1))) ~ '^unchanged', true, 'once stored, they are unchanged');
SELECT is(answer('ryj_system', format('validate(%L::text)', jsonb_build_object('dataset', 'depot', 'version', '1.2', 'records', jsonb_build_array(rec('shelf', '{"shelf_id": "N1"}'), rec('crate', '{"crate_id": "N1", "shelf": "N1"}'), rec('crate', '{"crate_id": "N2", "shelf": "N2"}'))))),
	'accepted, accepted, rejected parent.unknown', 'a document is judged as a whole');
SELECT is(answer('ryj_system', format('submit(%L::text)', jsonb_build_object('dataset', 'depot', 'version', '1.2', 'records', jsonb_build_array(rec('crate', '{"crate_id": "N1", "shelf": "N1"}'))))), 'rejected parent.unknown', 'of which nothing was kept');
BEGIN READ ONLY;
SELECT is(answer('ryj_system', format('%s(%L::text)', f, d)), '25006', format('%s in a transaction that only reads', f))
  FROM unnest('{submit,validate}'::text[]) f, unnest(ARRAY['{"dataset": "depot", "version": "1.2", "records": []}', '{"dataset": "depot", "version": "1.2", "records": [{}]}']) d;
COMMIT;

SELECT * FROM finish();
SELECT leave_two_trusts('quarantine'), drop_roles('quarantine_second', 'quarantine_operator') \g /dev/null
