-- What is wrong with a definition: every fault is told, nothing is left behind, nothing raises.
\set hearing `cat :source/test/datasets/hearing-1.0.json`
\set feeding `cat :source/test/datasets/feeding-1.0.json`
\set faulty `cat :source/test/datasets/faulty.json`
\set faulty_list `cat :source/test/datasets/faulty.txt`
\set maternity `cat :source/datasets/maternity-2.0.json`
SELECT plan(284);

-- ---------------------------------------------------------------- without a store

SELECT is_empty(format('SELECT * FROM spine.definition_faults(%L)', :'hearing'), 'a definition can be judged before there is a store');
SELECT throws_ok(format('SELECT spine.publish_dataset(%L::jsonb)', :'hearing'), 'SP008', 'this database has no store', 'but not published');

\ir setup.psql

-- ---------------------------------------------------------------- one of each kind

SELECT is_empty(format('SELECT * FROM spine.definition_faults(%L)', :'maternity'), 'the maternity data set has no fault');
CREATE TEMP TABLE expected AS
	SELECT split_part(line, ': ', 1) AS path FROM string_to_table(:'faulty_list', E'\n') AS line WHERE line !~ '^(#|$)';
SELECT cmp_ok((SELECT count(*) FROM expected), '>=', 50::bigint, 'the list of faults is there');
SELECT set_eq(format('SELECT path FROM spine.definition_faults(%L)', :'faulty'), 'SELECT path FROM expected',
	'every listed fault is told, and no other');

-- ---------------------------------------------------------------- refused whole

CREATE TEMP TABLE refusal (state text, message text, detail text, hint text);
DO $$
DECLARE
	r refusal;
BEGIN
	PERFORM spine.publish_dataset((SELECT jsonb_set(definition, '{groups,31,items,3,type}', '"money"') - 'title'
									|| '{"name": "refused"}' FROM spine.dataset));
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS r.state = RETURNED_SQLSTATE, r.message = MESSAGE_TEXT, r.detail = PG_EXCEPTION_DETAIL, r.hint = PG_EXCEPTION_HINT;
	INSERT INTO refusal VALUES (r.*);
END
$$;
SELECT results_eq('SELECT state, message, hint FROM refusal',
	$$ VALUES ('SP004', 'data-set definition has 2 faults', 'SELECT * FROM spine.definition_faults(...) lists them as rows.') $$,
	'a faulty definition is refused with its own code');
SELECT results_eq($$ SELECT split_part(line, ': ', 1) FROM refusal, string_to_table(detail, E'\n') AS line $$,
	$$ VALUES ('title'), ('groups.anonymous_finding.items.' || (SELECT item FROM spine.data_items WHERE data_group = 'anonymous_finding' AND position = 4) || '.type') $$,
	'and all its faults in the detail');
SELECT hasnt_schema('refused');
SELECT hasnt_schema('refused_2_0');
SELECT is_empty($$ SELECT * FROM spine.dataset WHERE name = 'refused' $$, 'nothing of it is left behind');

-- a fault that shows late: an event trigger refuses the 20th table
CREATE FUNCTION refuse_late() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'late.labour_activity') THEN
		RAISE EXCEPTION 'not this one';
	END IF;
END
$$;
CREATE EVENT TRIGGER publish_faults_late ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse_late();
SELECT throws_ok($$ SELECT spine.publish_dataset((SELECT definition || '{"name": "late"}' FROM spine.dataset)) $$, 'P0001', NULL,
	'publishing that fails half-way');
DROP EVENT TRIGGER publish_faults_late;
SELECT hasnt_schema('late');
SELECT is_empty($$ SELECT * FROM spine.dataset WHERE name = 'late' $$, 'leaves nothing behind');
SELECT schema_privs_are('spine', 'spine_reader', ARRAY['USAGE'], 'and no right');

-- ---------------------------------------------------------------- one change, one fault

CREATE TEMP TABLE base AS SELECT :'hearing'::jsonb AS d;
CREATE FUNCTION pg_temp.faults(change_path text, change jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat(f.path, ': ', f.fault), ' & ' ORDER BY f.path), 'none')
	  FROM base, spine.definition_faults(CASE WHEN change IS NULL THEN d #- change_path::text[]
										 ELSE jsonb_set(d, change_path::text[], change) END) AS f
$$;
SELECT matches(pg_temp.faults(c.path, c.change), '^' || c.wanted || '$', concat_ws(' ', c.path, coalesce(c.change::text, 'taken away')))
  FROM (VALUES
	-- the head
	('{name}', '"x y"'::jsonb, 'name: must be a name.*'),
	('{name}', '"a23456789012345678901234567890x"', 'none'),
	('{name}', '"a23456789012345678901234567890xy"', 'name: must be a name.*'),
	('{name}', '"pg_hearing"', 'name: is a reserved name'),
	('{name}', '"public"', 'name: is a reserved name'),
	('{name}', '"select"', 'name: is a reserved name'),
	('{name}', '"left"', 'name: is a reserved name'),
	('{name}', '"maternity_2_0"', 'name: is the name of a schema that exists already.*'),
	('{name}', '7', 'name: must be a text.*'),
	('{name}', NULL, 'name: is missing'),
	('{version}', '"1.0.0.0"', 'version: must be one to three numbers.*'),
	('{version}', '"1.0\n"', 'version: must be one to three numbers.*'),
	('{version}', '"2024.12.1"', 'none'),
	('{version}', '2', 'version: must be a text.*'),
	('{mandation}', '"  \n"', 'mandation: must be a text that is not empty'),
	('{groups}', '[]', 'groups: must not be empty'),
	('{groups}', '{"a": 1}', 'groups: must be a list'),
	('{code_lists}', '[]', 'code_lists: must be an object.*'),
	('{colour}', '"red"', 'colour: is not a key of this format'),
	-- lists and episodes
	('{code_lists,Ear}', '{"title": "E", "codes": {"L": "l"}}', 'code_lists.Ear: must be a name.*'),
	('{code_lists,ear,codes,L}', '7', 'code_lists.ear.codes.L: must be a text.*'),
	('{code_lists,ear,codes,LR}', '"Both"', 'groups.ear_screen.items.ear.codes: is a list whose code LR .*'),
	('{code_lists,screen_result,codes," x"}', '"X"', 'code_lists.screen_result.codes. x: is not a code.*'),
	('{code_lists,screen_result,severity}', '"group"', 'code_lists.screen_result.severity: must be one of warning, record'),
	('{code_lists,ear}', NULL, 'groups.ear_screen.items.ear.codes: names the code list ear, which is not defined'),
	('{episodes,hearing_screening,window_days}', '-1', 'episodes.hearing_screening.window_days: must be a whole number from 0 to 3650'),
	('{episodes,hearing_screening,window_days}', '2.0', 'episodes.hearing_screening.window_days: must be a whole number.*'),
	('{episodes,hearing_screening,window_days}', '1e400', 'episodes.hearing_screening.window_days: must be a whole number.*'),
	('{episodes,hearing_screening,window_days}', NULL, 'episodes.hearing_screening.window_days: is missing'),
	('{episodes,hearing_screening,open_days}', NULL, 'none'),
	-- groups
	('{groups,0,title}', NULL, 'groups.screened_baby.title: is missing'),
	('{groups,1,name}', '"screened_baby"', '.*groups\[0\].name: is the name of 2 groups & groups\[1\].name: is the name of 2 groups.*'),
	('{groups,1,name}', '"screened_baby_owner"', 'groups.screened_baby_owner.name: is the name that an index of the group screened_baby takes'),
	('{groups,1,name}', '"table"', 'groups.table.name: is a reserved name'),
	('{groups,1,name}', '"audience"', 'groups.audience.name: is a reserved name'),
	('{groups,1,name}', to_jsonb(repeat('a', 56)), 'groups.a{56}.name: must be a name.*'),
	('{groups,1}', '7', 'groups\[1\]: must be an object'),
	('{groups,1}', 'null', 'groups\[1\]: must be an object'),
	('{groups,0,subject}', '"father"', 'groups.screened_baby.subject: must be one of mother, baby, patient, none'),
	('{groups,0,episode}', '"labour"', 'groups.screened_baby.episode: names the episode kind labour, which is not defined'),
	('{groups,0,episode}', NULL, 'groups.screened_baby.anchor: needs a kind of episode.* & groups.screened_baby.local_episode_id: needs .*'),
	('{groups,1,subject}', '"none"', 'groups.ear_screen.episode: does not go with subject none.*'),
	('{groups,0,key}', '[]', 'groups.screened_baby.key: must be a list.* & groups.ear_screen.parent.group: names the group screened_baby, whose key must be one item|.*whose key must be one item & groups.screened_baby.key: must be a list.*'),
	('{groups,1,key}', '["ear", "ear"]', 'groups.ear_screen.key: names an item twice'),
	('{groups,1,key}', '["ears"]', 'groups.ear_screen.key: names the item ears, which the group does not have'),
	('{groups,1,key}', '"ear"', 'groups.ear_screen.key: must be a list.*'),
	('{groups,0,nhs_number}', '"cot_number"', 'groups.screened_baby.nhs_number: must name an item of type nhs_number; cot_number is of type text'),
	('{groups,0,local_patient_id}', '"born_on"', 'groups.screened_baby.local_patient_id: must name an item of type text or integer; .*'),
	('{groups,0,local_episode_id}', '"born_on"', 'groups.screened_baby.local_episode_id: must name .*'),
	('{groups,0,event}', '{"time": "listed_on"}', 'groups.screened_baby.event.date: is missing & groups.screened_baby.event.time: must name an item of type time.*'),
	('{groups,1,event,time}', '"screened_at"', 'groups.ear_screen.event.time: goes with a date .* & groups.ear_screen.event.time: must name an item of type time.*|groups.ear_screen.event.time: must.*& groups.ear_screen.event.time: goes.*'),
	('{groups,1,event}', '[{"date": "screened_at"}, {"date": "ear"}]', 'groups.ear_screen.event\[1\].date: must name an item of type date or timestamp; ear is of type text'),
	('{groups,1,event}', '[]', 'groups.ear_screen.event: must not be empty'),
	('{groups,1,event}', '7', 'groups.ear_screen.event: must be an object'),
	('{groups,0,anchor}', '[]', 'groups.screened_baby.anchor: must not be empty'),
	('{groups,0,anchor}', '[{"item": "born_on"}, {"item": "cot_number"}]', 'groups.screened_baby.anchor\[1\].item: must name an item of type date.*'),
	('{groups,0,anchor,days}', '"2"', 'groups.screened_baby.anchor.days: must be a whole number.*'),
	('{groups,0,anchor}', '"born_on"', 'groups.screened_baby.anchor: must be an object'),
	('{groups,0,parent}', '{"group": "screened_baby", "item": "screening_number"}', 'groups.screened_baby.parent.group: .* must stand before this one'),
	('{groups,0,parent}', '{"group": "ear_screen", "item": "screening_number"}', '.*groups.screened_baby.parent.group: .* must stand before this one.*'),
	('{groups,1,parent,group}', '"nobody"', 'groups.ear_screen.parent.group: names the group nobody, which is not defined'),
	('{groups,1,parent,item}', '"screened_at"', 'groups.ear_screen.parent.item: is of type timestamp; the key of screened_baby is of type text'),
	('{groups,1,parent,item}', NULL, 'groups.ear_screen.parent.item: is missing'),
	('{groups,2,parent}', '{"group": "ear_screen", "item": "screening_number"}', 'groups.hearing_referral.parent.group: names the group ear_screen, whose key must be one item'),
	-- items
	('{groups,1,items,5,name}', '"xmin"', 'groups.ear_screen.items.xmin.name: is a reserved name'),
	('{groups,1,items,5,name}', '"nhs_number"', 'groups.ear_screen.items.nhs_number.name: is a reserved name'),
	('{groups,1,items,5,name}', '"user"', 'groups.ear_screen.items.user.name: is a reserved name'),
	('{groups,1,items,5,name}', '"Device"', 'groups.ear_screen.items.Device.name: must be a name.*'),
	('{groups,1,items,5,name}', '"d; drop table x"', 'groups.ear_screen.items\[5\].name: must be a name.*'),
	('{groups,1,items,5,type}', '"varchar"', 'groups.ear_screen.items.device.type: must be one of .*'),
	('{groups,1,items,5,type}', NULL, 'groups.ear_screen.items.device.type: is missing'),
	('{groups,1,items,5,type}', '"boolean"', 'groups.ear_screen.items.device.max_length: does not go with type boolean'),
	('{groups,1,items,5,status}', '"m"', 'groups.ear_screen.items.device.status: must be one of M, R, O, P'),
	('{groups,1,items,5,class}', '"secret"', 'groups.ear_screen.items.device.class: must be one of .*'),
	('{groups,1,items,5,max_length}', '0', 'groups.ear_screen.items.device.max_length: must be a whole number.*'),
	('{groups,1,items,5,max_length}', '40.0', 'groups.ear_screen.items.device.max_length: must be a whole number.*'),
	('{groups,1,items,5,min_length}', '41', 'groups.ear_screen.items.device.min_length: is greater than max_length'),
	('{groups,1,items,5,min}', '1', 'groups.ear_screen.items.device.min: does not go with type text'),
	('{groups,1,items,5,nhs_name}', '"EarScreened"', '.*ear.nhs_name: is the NHS name of 2 items.*'),
	('{groups,1,items,5,nhs_name}', '"ear"', 'groups.ear_screen.items.device.nhs_name: is the name of another item of the group'),
	('{groups,1,items,5,nhs_name}', '"device"', 'none'),
	('{groups,1,items,5,nhs_name}', '"owner"', 'groups.ear_screen.items.device.nhs_name: is a name of the envelope'),
	('{groups,2,items,5,uid}', '"H000010"', 'groups.ear_screen.items.ear.uid: is the UID of 2 items & groups.hearing_referral.items.reason_code.uid: is the UID of 2 items'),
	('{groups,1,items,4,min}', '"-10"', 'groups.ear_screen.items.loudness.min: must be a number'),
	('{groups,1,items,4,min}', '121', 'groups.ear_screen.items.loudness.min: is greater than max'),
	('{groups,1,items,4,max}', '1e400', 'groups.ear_screen.items.loudness.max: must be a number'),
	('{groups,0,items,3,min}', '"2000-02-30"', 'groups.screened_baby.items.born_on.min: must be a date.*'),
	('{groups,0,items,3,min}', '20000101', 'groups.screened_baby.items.born_on.min: must be a date.*'),
	('{groups,0,items,3,max}', '"1999-12-31"', 'groups.screened_baby.items.born_on.min: is greater than max'),
	('{groups,0,items,4,max}', '45.5', 'groups.screened_baby.items.born_at_gestation.max: must be a whole number of days.*'),
	('{groups,1,items,5,codes}', '"devices"', 'groups.ear_screen.items.device.codes: names the code list devices, which is not defined'),
	('{groups,1,items,4,codes}', '"ear"', 'groups.ear_screen.items.loudness.codes: does not go with type numeric'),
	-- rules
	('{groups,0,rules,0,id}', '"item.missing"', 'groups.screened_baby.rules\[0\].id: is of a form kept .*'),
	('{groups,0,rules,0,id}', '"Listed"', 'groups.screened_baby.rules\[0\].id: must be a lower-case letter.*'),
	('{groups,0,rules,0,id}', '"ear_screen.result_loudness"', 'groups.ear_screen.rules\[0\].id: is the id of 2 rules & groups.screened_baby.rules\[0\].id: is the id of 2 rules'),
	('{groups,0,rules,0,severity}', '"fatal"', 'groups.screened_baby.rules\[0\].severity: must be one of warning, record, group, file'),
	('{groups,0,rules,0,severity}', '"file"', 'none'),
	('{groups,0,rules,0,items}', '["ear", "born_on"]', 'groups.screened_baby.rules\[0\].items: names the item ear, which the group does not have'),
	('{groups,0,rules,0,expression}', '""', 'groups.screened_baby.rules\[0\].expression: must be a text that is not empty'),
	('{groups,0,rules,0,expression}', '"ear = ''L''"', 'groups.screened_baby.rules\[0\].expression: is refused by PostgreSQL: column "ear" does not exist'),
	('{groups,0,rules}', '{}', 'groups.screened_baby.rules: must be a list')
	) AS c (path, change, wanted);

-- ---------------------------------------------------------------- rules of each kind, examples, the header, columns

CREATE TEMP TABLE feeding AS SELECT :'feeding'::jsonb AS d;
CREATE FUNCTION pg_temp.feeding_faults(change_path text, change jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat(f.path, ': ', f.fault), ' & ' ORDER BY f.path, f.fault), 'none')
	  FROM feeding, spine.definition_faults(CASE WHEN change IS NULL THEN d #- change_path::text[]
											ELSE jsonb_set(d, change_path::text[], change) END) AS f
$$;
SELECT is(pg_temp.feeding_faults('{version}', '"1.1"'), 'none', 'a definition with every kind of rule has no fault');
SELECT is(pg_temp.feeding_faults(c.path, c.change), c.wanted, concat_ws(' ', c.path, coalesce(left(c.change::text, 60), 'taken away')))
  FROM (VALUES
	-- the header
	('{header}', '"inbox"'::jsonb, 'groups.small_baby.rules[0].expression: is refused by PostgreSQL: column "header.last_day" does not exist & '
		'header: names the group inbox, which is not defined'),
	('{header}', NULL, 'groups.small_baby.rules[0].expression: is refused by PostgreSQL: column "header.last_day" does not exist'),
	('{groups,0,subject}', '"patient"', 'header: names the group extract, which must be of subject none'),
	('{header}', '7', 'groups.small_baby.rules[0].expression: is refused by PostgreSQL: column "header.last_day" does not exist & '
		'header: must be a text that is not empty'),
	-- keys by kind
	('{groups,0,rules,0,kind}', '"regular"', 'groups.extract.rules[0].kind: must be one of expression, related, exists, unique, organisation, own_code, count, failures'),
	('{groups,0,rules,0,kind}', '7', 'groups.extract.rules[0].kind: must be one of expression, related, exists, unique, organisation, own_code, count, failures'),
	('{groups,0,rules,0,kind}', '"expression"', 'none'),
	('{groups,0,rules,0,kind}', '"own_code"', 'groups.extract.rules[0].expression: is not a key of this format & '
		'groups.extract.rules[0].items: must name an item of type ods_code or text; last_day is of type date'),
	('{groups,0,rules,0,when}', '"true"', 'groups.extract.rules[0].when: is not a key of this format'),
	('{groups,0,rules,1,at}', '"last_day"', 'groups.extract.rules[1].at: is not a key of this format'),
	('{groups,1,rules,2,match}', '{"born_on": "born_on"}', 'groups.small_baby.rules[2].match: is not a key of this format'),
	('{groups,2,rules,0,expression}', NULL, 'groups.feed.rules[0].expression: is missing'),
	('{groups,2,rules,0,group}', NULL, 'groups.feed.rules[0].expression: is refused by PostgreSQL: column "other.came_on" does not exist & '
		'groups.feed.rules[0].group: is missing'),
	('{groups,2,rules,0,match}', NULL, 'groups.feed.rules[0].match: is missing'),
	('{groups,1,rules,3,match}', '{}', 'groups.small_baby.rules[3].match: must be an object that is not empty, of item names'),
	('{groups,1,rules,3,match}', '{"unit_number": 7}', 'groups.small_baby.rules[3].match: must be an object that is not empty, of item names'),
	('{groups,1,rules,3,match}', '["unit_number"]', 'groups.small_baby.rules[3].match: must be an object that is not empty, of item names'),
	('{groups,1,rules,3,when}', NULL, 'none'),
	-- severities
	('{groups,1,rules,3,severity}', '"file"', 'none'),
	('{groups,1,rules,3,severity}', '"group"', 'none'),
	-- related, exists
	('{groups,1,rules,3,group}', '"fed"', 'groups.small_baby.rules[3].group: names the group fed, which is not defined'),
	('{groups,1,rules,3,kind}', '"related"', 'groups.small_baby.rules[3].expression: is missing & '
		'groups.small_baby.rules[3].group: names the group feed, which must be this one or stand before it & groups.small_baby.rules[3].when: is not a key of this format'),
	('{groups,2,rules,0,group}', '"feed"', 'groups.feed.rules[0].expression: is refused by PostgreSQL: column "other.came_on" does not exist'),
	('{groups,2,rules,0,match}', '{"number": "unit_number"}', 'groups.feed.rules[0].match: names the item number, which the group does not have'),
	('{groups,2,rules,0,match}', '{"unit_number": "number"}', 'groups.feed.rules[0].match: names the item number, which the group small_baby does not have'),
	('{groups,2,rules,0,match}', '{"unit_number": "born_on"}', 'groups.feed.rules[0].match: matches unit_number of type text with born_on of type date'),
	('{groups,2,rules,0,match}', '{"fed_on": "born_on", "unit_number": "unit_number"}', 'none'),
	('{groups,1,items,0,max_length}', NULL, 'groups.feed.rules[0].match: looks others up by texts that need a max_length, of 500 characters all together & '
		'groups.feed.rules[1].match: looks others up by texts that need a max_length, of 500 characters all together'),
	-- organisation, own_code
	('{groups,1,rules,1,at}', '"nickname"', 'groups.small_baby.rules[1].at: must name an item of type date; nickname is of type text'),
	('{groups,1,rules,1,at}', '"left_on"', 'groups.small_baby.rules[1].at: names the item left_on, which the group does not have'),
	('{groups,1,rules,1,at}', NULL, 'none'),
	('{groups,1,rules,1,known}', 'true', 'none'),
	('{groups,1,rules,1,known}', 'false', 'groups.small_baby.rules[1].known: must be true, or be left out'),
	('{groups,1,rules,1,except}', '"89999"', 'groups.small_baby.rules[1].except: must be a list of texts that is not empty'),
	('{groups,1,rules,1,except}', '[]', 'groups.small_baby.rules[1].except: must be a list of texts that is not empty'),
	('{groups,1,rules,1,items}', '["weight", "came_from"]', 'groups.small_baby.rules[1].items: must name an item of type ods_code or text; weight is of type integer'),
	-- count, failures
	('{groups,0,rules,2,min}', '2', 'groups.extract.rules[2].min: is greater than max'),
	('{groups,0,rules,2,min}', '-1', 'groups.extract.rules[2].min: must be a whole number from 0 to 999999999'),
	('{groups,0,rules,2,max}', '1.5', 'groups.extract.rules[2].max: must be a whole number from 0 to 999999999'),
	('{groups,0,rules,2,max}', NULL, 'none'),
	('{groups,0,rules,2}', '{"id": "extract.one", "kind": "count", "severity": "file", "message": "None."}', 'groups.extract.rules[2]: must have min or max'),
	('{groups,0,rules,2,items}', '["sender"]', 'none'),
	('{groups,0,rules,2,severity}', '"warning"', 'groups.extract.rules[2].severity: must be file: how many there are is about the whole submission'),
	('{groups,2,rules,3,severity}', '"record"', 'groups.feed.rules[3].severity: must be file: how many there are is about the whole submission'),
	('{groups,2,rules,3,max_percent}', '100.5', 'groups.feed.rules[3].max_percent: must be a number from 0 to 100'),
	('{groups,2,rules,3,max_percent}', '0.5', 'none'),
	('{groups,2,rules,3,max_percent}', '"5"', 'groups.feed.rules[3].max_percent: must be a number from 0 to 100'),
	('{groups,2,rules,3,max_percent}', NULL, 'groups.feed.rules[3].max_percent: is missing'),
	-- ids and messages
	('{groups,0,rules,0,id}', '"file.rejected"', 'groups.extract.rules[0].id: is of a form kept for the rules that every group has'),
	('{groups,0,rules,0,id}', '"rule.failed"', 'groups.extract.rules[0].id: is of a form kept for the rules that every group has'),
	('{groups,0,rules,0,id}', '"dataset.retired"', 'groups.extract.rules[0].id: is of a form kept for the rules that every group has'),
	('{groups,0,rules,0,message}', '" "', 'groups.extract.rules[0].message: must be a text that is not empty'),
	-- examples
	('{groups,0,example}', '[]', 'groups.extract.example: must be an object'),
	('{groups,0,example,day}', '"2026-01-01"', 'groups.extract.example.day: is not an item of the group'),
	('{groups,0,example,sender}', 'null', 'groups.extract.example.sender: must be a text, a number, true or false'),
	('{groups,0,example,sender}', '["RYJ"]', 'groups.extract.example.sender: must be a text, a number, true or false'),
	('{groups,0,rules,0,examples}', '[]', 'groups.extract.rules[0].examples: must be an object'),
	('{groups,0,rules,0,examples,fails}', NULL, 'groups.extract.rules[0].examples.fails: is missing'),
	('{groups,0,rules,0,examples,more}', '{}', 'groups.extract.rules[0].examples.more: is not a key of this format'),
	('{groups,0,rules,0,examples,fails}', '"x"', 'groups.extract.rules[0].examples.fails: must be an object of items, or a list of {group, data} that is not empty'),
	('{groups,0,rules,0,examples,fails}', '[]', 'groups.extract.rules[0].examples.fails: must be an object of items, or a list of {group, data} that is not empty'),
	('{groups,0,rules,0,examples,fails,day}', '1', 'groups.extract.rules[0].examples.fails.day: is not an item of the group'),
	('{groups,0,rules,0,examples,fails,last_day}', 'null', 'none'),
	('{groups,0,rules,0,examples,fails,last_day}', '{}', 'groups.extract.rules[0].examples.fails.last_day: must be a text, a number, true, false or null'),
	('{groups,1,rules,0,examples,fails,0}', '7', 'groups.small_baby.rules[0].examples.fails[0]: must be an object'),
	('{groups,1,rules,0,examples,fails,0,more}', '7', 'groups.small_baby.rules[0].examples.fails[0].more: is not a key of this format'),
	('{groups,1,rules,0,examples,fails,0,data}', '[]', 'groups.small_baby.rules[0].examples.fails[0].data: must be an object'),
	('{groups,1,rules,0,examples,fails,0,data,weight}', '7', 'groups.small_baby.rules[0].examples.fails[0].data.weight: is not an item of the group'),
	('{groups,1,rules,0,examples,fails,0,group}', '"nobody"', 'groups.small_baby.rules[0].examples.fails[0].group: names the group nobody, which is not defined'),
	('{groups,1,rules,0,examples,fails,1,group}', '"feed"',
		'groups.small_baby.rules[0].examples.fails[1].group: is feed, but the last record is the one that is judged, so of the group small_baby'),
	('{groups,0,rules,2,examples,fails,1}', '{"group": "ward_round", "data": {}}', 'none'),
	-- columns
	('{groups,1,items,6,column}', '"pet_name"', 'none'),
	('{groups,1,items,6,column}', '"weight"', 'groups.small_baby.items.nickname.column: is the column of 2 items of the group'),
	('{groups,1,items,6,column}', '"record_id"', 'groups.small_baby.items.nickname.column: is a reserved name'),
	('{groups,1,items,6,column}', '"Pet"', 'groups.small_baby.items.nickname.column: must be a name: a lower-case letter, then at most 54 lower-case letters, digits and underscores'),
	('{groups,3,name}', '"feed_0123abcd_set"', 'groups.feed_0123abcd_set.name: is the name that an index of the group feed takes'),
	('{extends}', '"0.9"', 'extends: names version 0.9 of feeding, which is neither published here nor comes with spine')
	) AS c (path, change, wanted);
SELECT is(pg_temp.feeding_faults('{groups,1,items}', (SELECT jsonb_set(jsonb_set(d #> '{groups,1,items}', '{5,column}', '"nickname"'), '{6,column}', '"weight"') FROM feeding)),
	'groups.small_baby.items.nickname.name: is the column of the item weight & groups.small_baby.items.weight.name: is the column of the item nickname',
	'two items do not exchange their columns');
SELECT unalike(pg_temp.feeding_faults('{groups,1,rules,2,items}', (SELECT jsonb_agg('i' || i) FROM generate_series(1, 31) AS i)), '%looks others up%',
	'items that are not there are not looked up by');
SELECT matches(pg_temp.feeding_faults('{groups,1}', (SELECT jsonb_set(d #> '{groups,1}', '{items}', (d #> '{groups,1,items}') ||
		(SELECT jsonb_agg(jsonb_build_object('name', 'i' || i, 'title', 'I', 'type', 'date', 'status', 'O', 'class', 'clinical')) FROM generate_series(1, 31) AS i))
		|| jsonb_build_object('rules', jsonb_build_array(jsonb_build_object('id', 'small_baby.many', 'kind', 'unique', 'severity', 'record', 'message', 'i1',
			'items', (SELECT jsonb_agg('i' || i) FROM generate_series(1, 31) AS i)))) FROM feeding)),
	'groups.small_baby.rules\[0\].items: looks others up by more than 30 items', 'an index has room for 30 items');

-- what an expression may name: own items, header.ITEM, and of a related record other.ITEM
SELECT is(pg_temp.feeding_faults('{groups,2,rules,0,expression}', to_jsonb(e.text)), coalesce('groups.feed.rules[0].expression: ' || e.wanted, 'none'), e.text)
  FROM (VALUES
	('fed_on > other.came_on', NULL),
	('fed_on > OTHER . Came_On AND Header.last_day > fed_on', NULL),
	('method = ''other.nothing'' OR method = ''it''''s header.nothing''', NULL),
	('other.unit_number = unit_number AND other.weight > 1', NULL),
	('other.amount > 1', 'is refused by PostgreSQL: column "other.amount" does not exist'),
	('header.fed_on > fed_on', 'is refused by PostgreSQL: column "header.fed_on" does not exist'),
	('another.came_on > fed_on', 'is refused by PostgreSQL: missing FROM-clause entry for table "another"'),
	('other.came_on.year > fed_on', 'is refused by PostgreSQL: missing FROM-clause entry for table "other.came_on"'),
	('other IS NULL', 'is refused by PostgreSQL: column "other" does not exist'),
	('header.* IS NULL', 'is refused by PostgreSQL: missing FROM-clause entry for table "header"'),
	('other.upper(method) = ''x''', 'is refused by PostgreSQL: function other.upper(text) does not exist'),
	('pg_catalog.other.came_on > fed_on', 'is refused by PostgreSQL: missing FROM-clause entry for table "pg_catalog"'),
	('"other".came_on > fed_on', 'holds a quoted name, a semicolon, a dollar sign or a literal with a prefix')
	) AS e (text, wanted);
SELECT is(pg_temp.feeding_faults('{groups,1,rules,3,when}', to_jsonb(e.text)), coalesce('groups.small_baby.rules[3].when: ' || e.wanted, 'none'), 'when ' || e.text)
  FROM (VALUES
	('weight < 1000 AND header.last_day > born_on', NULL),
	('weight', 'is refused by PostgreSQL: argument of CHECK must be type boolean, not type integer'),
	('other.fed_on > born_on', 'is refused by PostgreSQL: column "other.fed_on" does not exist'),
	('EXISTS (SELECT)', 'is refused by PostgreSQL: cannot use subquery in check constraint'),
	('pg_sleep(weight) IS NULL', 'uses a function that rules may not use: pg_sleep(double precision)'),
	('true) OR (weight > 1', 'has parentheses that do not match')
	) AS e (text, wanted);
-- an item called other_something, the longest names, and more groups looked at than one
SELECT is(pg_temp.feeding_faults('{groups}', (
	SELECT jsonb_set(jsonb_set(d -> 'groups', '{1,items,6}',
				jsonb_build_object('name', repeat('a', 55), 'title', 'Long', 'type', 'text', 'max_length', 9, 'status', 'O', 'class', 'clinical')),
			'{2}', (d #> '{groups,2}')
				|| jsonb_build_object('items', (d #> '{groups,2,items}') || jsonb_build_array(
						'{"name": "other_weight", "title": "Other", "type": "date", "status": "O", "class": "clinical"}'::jsonb,
						jsonb_build_object('name', repeat('a', 55), 'title', 'Long', 'type', 'date', 'status', 'O', 'class', 'clinical')),
					'rules', jsonb_build_array(
						jsonb_build_object('id', 'feed.a', 'kind', 'related', 'severity', 'record', 'group', 'small_baby', 'match', '{"unit_number": "unit_number"}'::jsonb,
							'items', '["amount"]'::jsonb, 'message', 'amount',
							'expression', format('amount > other.weight AND other_weight > fed_on AND other.%1$s = ''x'' AND %1$s > fed_on', repeat('a', 55))),
						'{"id": "feed.b", "kind": "related", "severity": "record", "group": "extract", "match": {"fed_on": "first_day"}, "items": ["amount"],
						  "message": "amount", "expression": "fed_on = other.last_day"}'::jsonb)))
	  FROM feeding)), 'groups.small_baby.example.nickname: is not an item of the group', 'names do not get mixed up');

-- ---------------------------------------------------------------- expressions

CREATE TEMP TABLE expression (n integer GENERATED ALWAYS AS IDENTITY, text text, wanted text);
INSERT INTO expression (text, wanted) VALUES
	('born_on <= current_date', NULL),
	('born_on <= now()', NULL),
	('born_at_gestation >= ''24+0''', NULL),
	('number_of_baby = ''9434765919''', NULL),
	('listed_on - born_on BETWEEN 0 AND 90', NULL),
	('cot_number IN (''a'', ''b'') OR cot_number ~ ''^[0-9]+$'' AND length(cot_number) > 2', NULL),
	('cot_number = ''it''''s; -- /* ( " $ é''', NULL),
	('CASE WHEN family_history_of_deafness THEN born_on IS NOT NULL END', NULL),
	('extract(year FROM born_on) > 2000', NULL),
	('(born_on, cot_number) IS DISTINCT FROM (listed_on, ''x'')', NULL),
	('true', 'uses no item'),
	('born_on', 'must be type boolean'),
	('ear = 1', 'column "ear" does not exist'),
	('patient_id IS NULL', 'column "patient_id" does not exist'),
	('screened_baby.born_on IS NULL', 'missing FROM-clause'),
	('tableoid = 1', 'system column'),
	('born_on > ''yesterday or so''', 'invalid input syntax'),
	('born_on > ', 'syntax error'),
	('born_on > listed_on, true', 'syntax error'),
	('born_on > listed_on AS x', 'syntax error'),
	('(SELECT true)', 'subquery'),
	('EXISTS (SELECT FROM spine.dataset) AND born_on IS NULL', 'subquery'),
	('max(born_on) IS NULL', 'aggregate'),
	('row_number() OVER () = 1', 'window'),
	('generate_series(1, length(cot_number)) > 1', 'set-returning'),
	('random() > 0.5 AND born_on IS NULL', 'random\(\)'),
	('pg_sleep(60) IS NULL AND born_on IS NULL', 'pg_sleep'),
	('nextval(cot_number) > 1', 'nextval'),
	('pg_read_file(cot_number) IS NULL', 'pg_read_file'),
	('current_setting(cot_number) IS NULL', 'current_setting'),
	('set_config(cot_number, ''x'', false) IS NULL', 'set_config'),
	('table_to_xml(cot_number::regclass, true, true, cot_number) IS NULL', 'table_to_xml'),
	('cot_number = current_user', 'asks who'),
	('cot_number = ''spine.dataset''::regclass::text', 'outside pg_catalog and spine: table spine.dataset'),
	('spine.patient_id(number_of_baby) IS NULL', 'spine.patient_id'),
	('spine.json_text(cot_number::jsonb) IS NULL', 'spine.json_text'),
	('public.digest(cot_number, ''md5'') IS NULL', 'public.digest'),
	('publish_faults_pure(cot_number)', 'does not exist'),
	('public.publish_faults_pure(cot_number)', 'public.publish_faults_pure'),
	('true) NOT VALID; DROP TABLE spine.dataset CASCADE; --', 'comment'),
	('true) NOT VALID; DROP TABLE spine.dataset CASCADE; SELECT (true', 'semicolon'),
	('born_on IS NULL) NOT VALID, ADD CHECK (true', 'parentheses'),
	(')born_on IS NULL(', 'parentheses'),
	('born_on IS NULL /* x */', 'comment'),
	('born_on IS NULL -- x', 'comment'),
	('cot_number = E''a''', 'prefix'),
	('cot_number = U&''a''', 'prefix'),
	('cot_number = ''\'' OR true', 'backslash'),
	('cot_number = ''a', 'without an end'),
	('cot_number = $$a$$', 'dollar'),
	('cot_number = $1', 'dollar'),
	('"born_on" IS NULL', 'quoted name'),
	('börn_on IS NULL', 'outside ASCII'),
	(repeat('(', 2500) || 'born_on IS NULL' || repeat(')', 2500), 'longer than 4000'),
	(repeat('(', 1900) || 'born_on IS NULL' || repeat(')', 1900), NULL);
CREATE FUNCTION public.publish_faults_pure(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE TEMP TABLE judged AS
	SELECT f.path, f.fault
	  FROM base, spine.definition_faults(jsonb_set(d, '{groups,0,rules}',
			(SELECT jsonb_agg(jsonb_build_object('id', 'r' || n, 'severity', 'warning', 'items', '["born_on"]'::jsonb, 'message', 'born_on',
												 'expression', text) ORDER BY n) FROM expression))) AS f;
SELECT CASE WHEN e.wanted IS NULL THEN is(j.fault, NULL, 'may be a rule: ' || left(e.text, 60))
	   ELSE matches(j.fault, e.wanted, 'may be none: ' || left(e.text, 60)) END
  FROM expression AS e
	   LEFT JOIN judged AS j ON j.path = format('groups.screened_baby.rules[%s].expression', e.n - 1)
 ORDER BY e.n;
SELECT is_empty('SELECT path FROM judged WHERE path !~ ''expression$''', 'the rest of these rules is in order');
SELECT has_table('spine', 'dataset', 'the store is unharmed');
SELECT is_empty($$ SELECT relname FROM pg_class WHERE relname ~ '^rule_check' $$, 'and the table that judged is gone');

-- ---------------------------------------------------------------- nothing raises

SELECT is((SELECT string_agg(concat(path, ' ', fault), '') FROM spine.definition_faults(v)), '$ must be an object', 'given ' || coalesce(left(v::text, 20), 'NULL'))
  FROM unnest(ARRAY[NULL, 'null', '7', '"x"', '[]', '[{}]']::jsonb[]) AS v;
SELECT is((SELECT count(*) FROM spine.definition_faults('{}')), 7::bigint, 'an empty object lacks seven keys');
SELECT lives_ok($$ SELECT * FROM spine.definition_faults(jsonb_build_object('groups', (repeat('[', 4000) || repeat(']', 4000))::jsonb)) $$, 'deep');
SELECT is((SELECT fault FROM spine.definition_faults(jsonb_build_object('groups', (SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 501))))
			WHERE path = 'groups'), 'has more than 500 groups, or more than 20000 items in all', 'wide');

-- each place of a good definition, in turn, holds something else
SELECT setseed(0.5);
CREATE TEMP TABLE mutation AS
	WITH RECURSIVE w (p, v) AS (
		SELECT '{}'::text[], d FROM base
		UNION ALL
		SELECT w.p || e.k, e.v FROM w, LATERAL (
			SELECT key AS k, value AS v FROM jsonb_each(CASE jsonb_typeof(w.v) WHEN 'object' THEN w.v ELSE '{}' END)
			UNION ALL
			SELECT (n - 1)::text, x FROM jsonb_array_elements(CASE jsonb_typeof(w.v) WHEN 'array' THEN w.v ELSE '[]' END) WITH ORDINALITY AS q (x, n)) AS e)
	SELECT w.p, m.v FROM w, unnest(ARRAY['null', 'true', '-1.5', '1e400', '""', '"select"', '[]', '{}', '[null]', '[[{}]]', '{"a": null}']::jsonb[]) AS m (v)
	 WHERE w.p <> '{}' ORDER BY random() LIMIT 120;
CREATE FUNCTION pg_temp.raises(p text[], v jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM base, spine.definition_faults(jsonb_set(d, p, v));
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END
$$;
SELECT is_empty('SELECT p, v, pg_temp.raises(p, v) FROM mutation WHERE pg_temp.raises(p, v) IS NOT NULL', '120 definitions with something else somewhere');

SELECT * FROM finish();
