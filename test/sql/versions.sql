-- A version that extends another: what it stands for, what is wrong with it, both side by side; what
-- is accepted until when; what has changed.
\ir setup.psql
\ir as_role.psql
\set old `cat :source/test/datasets/feeding-1.0.json`
\set new `cat :source/test/datasets/feeding-1.1.json`
SELECT plan(159);

SELECT make_roles('versions_stranger', 'versions_member', 'versions_supplier', 'versions_operator', 'versions_governor');
GRANT spine_operator TO versions_operator;
GRANT spine_governor TO versions_governor;
SELECT spine.add_system('RYJ', 'Cots', 'neonatal', 'versions_supplier');
SELECT spine.add_member('versions_member', 'RYJ', 'analyst');
CREATE FUNCTION pg_temp.part(whole jsonb, VARIADIC names text[]) RETURNS jsonb LANGUAGE sql AS $$
	-- a group by its name, then an item by its name, or a rule by its id
	SELECT CASE cardinality(names) WHEN 1 THEN g
		   ELSE (SELECT m FROM jsonb_path_query(g, '$.*[*]') AS m WHERE names[2] IN (m ->> 'name', m ->> 'id')) END
	  FROM jsonb_array_elements(whole -> 'groups') AS g WHERE g ->> 'name' = names[1]
$$;

-- ---------------------------------------------------------------- the whole that an extension stands for

SELECT is(spine.expand_definition(:'old'), :'old'::jsonb, 'a definition that extends nothing stands for itself');
SELECT is(spine.expand_definition(:'new'), NULL, 'one whose base nobody knows cannot be told');
SELECT results_eq(format('SELECT * FROM spine.definition_faults(%L)', :'new'),
	$$ VALUES ('extends', 'names version 1.0 of feeding, which is neither published here nor comes with spine') $$, 'which is its fault');
SELECT throws_ok(format('SELECT spine.publish_dataset(%L::jsonb)', :'new'), 'SP004', 'data-set definition has 1 fault', 'and it is not published');
SELECT is_empty(format('SELECT * FROM spine.definition_faults(%L)', :'old'), 'the version that it extends has no fault');
SELECT is(spine.publish_dataset(:'old'::jsonb), 'feeding_1_0', 'and is published');
SELECT is_empty(format('SELECT * FROM spine.definition_faults(%L)', :'new'), 'then the extension has none');
CREATE TEMP TABLE whole AS SELECT spine.expand_definition(:'new') AS d;
SELECT is((SELECT d - '{groups,code_lists,episodes}'::text[] FROM whole),
	'{"name": "feeding", "version": "1.1", "extends": "1.0", "whole": true, "title": "Feeding of small babies, with growth", "header": "extract",
	  "description": "An invented data set for tests: how small babies are fed, day by day. Each kind of rule is in it.",
	  "source": "Invented.", "mandation": "Invented."}'::jsonb, 'the head: what is said, over what was');
SELECT is((SELECT d -> 'code_lists' FROM whole),
	'{"feeding_method": {"title": "How the baby is fed", "severity": "record", "codes": {"B": "At the breast", "T": "By tube through the nose", "S": "By syringe"}},
	  "milk": {"title": "Milk", "severity": "record", "codes": {"F": "Formula", "M": "Mother''s own"}},
	  "growth_chart": {"title": "Chart", "codes": {"1": "Boys", "2": "Girls"}}}'::jsonb, 'code lists: codes that come, go and mean something else, a new list');
SELECT is((SELECT d -> 'episodes' FROM whole), '{"feeding": {"title": "Care of one baby on the unit", "window_days": 7}}'::jsonb, 'kinds of episode');
SELECT is((SELECT jsonb_agg(g -> 'name') FROM whole, jsonb_array_elements(d -> 'groups') AS g),
	'["extract", "small_baby", "feed", "growth"]'::jsonb, 'groups: in their order, without the retired, the new one last');
SELECT is((SELECT pg_temp.part(d, 'extract') FROM whole), pg_temp.part(:'old', 'extract'), 'one that is not spoken of is as it was');
SELECT is((SELECT jsonb_path_query_array(pg_temp.part(d, 'small_baby'), '$.items[*].name') FROM whole),
	'["unit_number", "number_of_baby", "born_on", "admitted_on", "came_from", "birth_weight", "chart"]'::jsonb, 'items: in their place, the new one last');
SELECT is((SELECT pg_temp.part(d, 'small_baby', 'birth_weight') FROM whole),
	'{"name": "birth_weight", "column": "weight", "nhs_name": "BirthWeight", "uid": "F000020", "title": "Weight at birth", "type": "integer",
	  "max": 7000, "status": "R", "class": "clinical"}'::jsonb, 'an item that is renamed keeps its column, and changes by keys');
SELECT is((SELECT pg_temp.part(d, 'small_baby') - '{items,rules,title,subject,episode,local_patient_id,nhs_number,name,key}'::text[] FROM whole),
	'{"description": "A baby on the unit, however small.", "event": {"date": "admitted_on"}, "anchor": {"item": "born_on"},
	  "example": {"unit_number": "U7", "number_of_baby": "9434765919", "born_on": "2026-03-02", "admitted_on": "2026-03-03", "came_from": "RQM", "birth_weight": 2100}}'::jsonb,
	'it has its new name in what refers to it, and an example leaves out what is retired');
SELECT is((SELECT pg_temp.part(d, 'feed') - '{items,rules,title,description,subject,episode,name}'::text[] FROM whole),
	'{"key": ["unit_number", "feed_date", "method"], "parent": {"group": "small_baby", "item": "unit_number"},
	  "event": [{"date": "feed_date", "time": "fed_at"}],
	  "example": {"unit_number": "U7", "feed_date": "2026-03-04", "fed_at": "08:30:00", "method": "T", "milk": "M", "amount": 30}}'::jsonb, 'in keys and lists of events');
SELECT is((SELECT pg_temp.part(d, 'small_baby', 'small_baby.came_in_time') FROM whole),
	'{"id": "small_baby.came_in_time", "severity": "record", "items": ["admitted_on", "born_on"],
	  "expression": "admitted_on >= born_on AND admitted_on <= header.last_day",
	  "message": "admitted_on is before born_on, or after the last day of the extract. Correct it.",
	  "examples": {"passes": {"admitted_on": "2026-03-02"},
		"fails": [{"group": "extract", "data": {"last_day": "2026-03-02"}}, {"group": "small_baby", "data": {}}]}}'::jsonb,
	'in rules: items, expression, message, examples');
SELECT is((SELECT pg_temp.part(d, 'small_baby', 'small_baby.tiny_is_fed') - '{id,kind,severity,group}'::text[] FROM whole),
	'{"items": ["unit_number", "birth_weight"], "match": {"admitted_on": "feed_date", "unit_number": "unit_number"},
	  "when": "birth_weight < 1000 AND upper(''weight'') <> ''x''",
	  "message": "birth_weight is below 1000, but no feed of the day is there for this unit_number. Send it.",
	  "examples": {"passes": [{"group": "feed", "data": {"feed_date": "2026-03-03"}}, {"group": "small_baby", "data": {"birth_weight": 900}}],
				   "fails": {"birth_weight": 900}}}'::jsonb, 'in conditions, but not in their literals, and on both sides of a match');
SELECT is((SELECT pg_temp.part(d, 'small_baby', 'small_baby.came_from_open') -> 'at' FROM whole), '"admitted_on"'::jsonb, 'in the day that counts');
SELECT is((SELECT pg_temp.part(d, 'feed', 'feed.after_coming') -> 'expression' FROM whole),
	'"feed_date >= other.admitted_on AND (feed_date - other.admitted_on) < 400"'::jsonb, 'in rules of other groups, behind other');
SELECT is((SELECT pg_temp.part(d, 'feed', 'feed.more_than_weight') -> 'message' FROM whole),
	'"amount is more than a quarter of the birth_weight. Check it."'::jsonb, 'and in their messages');
SELECT is((SELECT jsonb_path_query_array(pg_temp.part(d, 'feed'), '$.rules[*].id') FROM whole),
	'["feed.after_coming", "feed.more_than_weight", "feed.failures", "feed.amount_milk"]'::jsonb, 'rules: without the retired, the new one last');
SELECT is((SELECT spine.expand_definition(d) FROM whole), (SELECT d FROM whole), 'the whole stands for itself');

-- where a word is an item, and where it is not
SELECT is(spine.rename_words(e.old, '{"day": "date_seen"}', '{"size": "length"}', '{"size": "count"}'), e.new, e.old)
  FROM (VALUES
	('day > 1', 'date_seen > 1'),
	('DAY > 1', 'date_seen > 1'),
	('holiday > day_of OR x.day = 1', 'holiday > day_of OR x.day = 1'),
	('x = ''day'' OR day = ''it''''s day''', 'x = ''day'' OR date_seen = ''it''''s day'''),
	('day(x) > 1 AND pg_catalog . day = 1', 'day(x) > 1 AND pg_catalog . day = 1'),
	('x::day = CAST(y AS day)', 'x::day = CAST(y AS day)'),
	('extract(day FROM day) = 1', 'extract(day FROM date_seen) = 1'),
	('x > day ''2020-01-01''', 'x > day ''2020-01-01'''),
	('day = ''2020-01-01''', 'date_seen = ''2020-01-01'''),
	('size = other.size OR Other . SIZE = header.size', 'size = other.length OR Other . length = header.count'),
	('other.sizes = another.size', 'other.sizes = another.size')
	) AS e (old, new);

CREATE FUNCTION pg_temp.faults(VARIADIC changes jsonb[]) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat(f.path, ': ', f.fault), ' & ' ORDER BY f.path, f.fault), 'none')
	  FROM spine.definition_faults('{"name": "feeding", "version": "1.2", "extends": "1.0"}'
			|| coalesce((SELECT jsonb_object_agg(k.key, k.value) FROM unnest(changes) AS c, jsonb_each(c) AS k), '{}')) AS f
$$;
CREATE FUNCTION pg_temp.baby(change jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.faults(jsonb_build_object('groups', jsonb_build_array('{"name": "small_baby"}' || change)))
$$;
SELECT is(pg_temp.faults('{}'), 'none', 'an extension may change nothing but the version');

-- ---------------------------------------------------------------- what is wrong with an extension

SELECT is(pg_temp.faults(c.change), c.wanted, c.change::text)
  FROM (VALUES
	('{"colour": "red"}'::jsonb, 'colour: is not a key of this format'),
	('{"extends": "1.2"}', 'extends: is the version itself'),
	('{"extends": "0.9"}', 'extends: names version 0.9 of feeding, which is neither published here nor comes with spine'),
	('{"extends": 1.0}', 'extends: must be a text that is not empty'),
	('{"name": "nothing"}', 'extends: names version 1.0 of nothing, which is neither published here nor comes with spine'),
	('{"version": "1,2"}', 'version: must be one to three numbers of at most four digits with dots between them'),
	('{"title": ""}', 'title: must be a text that is not empty'),
	('{"header": "ward_round"}', 'groups.small_baby.rules[0].expression: is refused by PostgreSQL: column "header.last_day" does not exist'),
	('{"groups": {}}', 'groups: must be a list'),
	('{"groups": [7]}', 'groups[4]: must be an object'),
	('{"groups": [{"name": "feed"}, {"name": "feed"}]}', 'groups[0].name: is the name of 2 groups & groups[1].name: is the name of 2 groups'),
	('{"groups": [{"name": "new", "rename": {"a": "b"}}]}',
		'groups.new.description: is missing & groups.new.items: is missing & groups.new.key: is missing & groups.new.rename: is not a key of this format & '
		'groups.new.subject: is missing & groups.new.title: is missing'),
	('{"retire": ["growth"]}', 'retire: names the group growth, which is not there in version 1.0'),
	('{"retire": ["feed"], "groups": [{"name": "feed"}]}',
		'retire: names the group feed, which this document changes: only one of them'),
	('{"retire": ["extract"]}', 'groups.small_baby.rules[0].examples.fails[0].group: names the group extract, which is not defined & '
		'groups.small_baby.rules[0].expression: is refused by PostgreSQL: column "header.last_day" does not exist & header: names the group extract, which is not defined'),
	('{"retire": "feed"}', 'retire: must be a list of texts that is not empty'),
	('{"code_lists": {"milk": null}}', 'groups.feed.items.milk.codes: names the code list milk, which is not defined'),
	('{"code_lists": {"bottle": null}}', 'code_lists.bottle: is null, but version 1.0 has nothing there to take away'),
	('{"code_lists": {"milk": 7}}', 'code_lists.milk: must be an object, or null to take it away'),
	('{"code_lists": {"milk": {"codes": {"X": null}}}}', 'code_lists.milk.codes.X: is null, but version 1.0 has nothing there to take away'),
	('{"code_lists": {"milk": {"codes": []}}}', 'code_lists.milk.codes: must be an object of codes, null for one that goes'),
	('{"code_lists": {"milk": {"codes": {"F": null, "M": null}}}}', 'code_lists.milk.codes: must not be empty'),
	('{"code_lists": {"milk": {"colour": "white"}}}', 'code_lists.milk.colour: is not a key of this format'),
	('{"code_lists": {"milk": {"source": null}}}', 'code_lists.milk.source: is null, but version 1.0 has nothing there to take away'),
	('{"code_lists": {"bottle": {"title": "Bottle"}}}', 'code_lists.bottle.codes: is missing'),
	('{"episodes": {"feeding": {"title": null}}}', 'episodes.feeding.title: is missing'),
	('{"episodes": {"feeding": null}}', 'groups.feed.episode: names the episode kind feeding, which is not defined & '
		'groups.small_baby.episode: names the episode kind feeding, which is not defined')
	) AS c (change, wanted);
SELECT is(pg_temp.baby(c.change), c.wanted, c.change::text)
  FROM (VALUES
	('{}'::jsonb, 'none'),
	('{"rename": {"weight": "birth_weight"}}', 'none'),
	('{"title": null}', 'groups.small_baby.title: is missing'),
	('{"colour": "red"}', 'groups.small_baby.colour: is not a key of this format'),
	('{"colour": null}', 'groups.small_baby.colour: is null, but version 1.0 has nothing there to take away'),
	('{"anchor": null}', 'none'),
	('{"rename": {"height": "size"}}', 'groups.small_baby.rename.height: is not an item of this group in version 1.0'),
	('{"rename": {"weight": "Weight"}}',
		'groups.small_baby.rename.weight: must be a name: a lower-case letter, then at most 54 lower-case letters, digits and underscores'),
	('{"rename": {"weight": "born_on"}}', 'groups.small_baby.rename.weight: is to be born_on, which is an item of the group in version 1.0'),
	('{"rename": {"weight": "weight"}}', 'groups.small_baby.rename.weight: is to be weight, which is an item of the group in version 1.0'),
	('{"rename": {"weight": "size", "nickname": "size"}}',
		'groups.small_baby.rename.nickname: is to be size, as another item is & groups.small_baby.rename.weight: is to be size, as another item is'),
	('{"rename": {"weight": "select"}}', 'groups.small_baby.items.select.name: is a reserved name & '
		'groups.small_baby.rules[3].when: is refused by PostgreSQL: syntax error at or near "select"'),
	('{"rename": []}', 'groups.small_baby.rename: must be an object that is not empty, of item names'),
	('{"retire": {"items": ["height"]}}', 'groups.small_baby.retire.items: names height, which is not there in version 1.0'),
	('{"retire": {"rules": ["feed.failures"]}}', 'groups.small_baby.retire.rules: names feed.failures, which is not there in version 1.0'),
	('{"retire": {"groups": ["feed"]}}', 'groups.small_baby.retire.groups: is not a key of this format'),
	('{"retire": ["nickname"]}', 'groups.small_baby.retire: must be an object'),
	('{"retire": {"items": ["nickname"]}}', 'none'),
	('{"retire": {"items": ["nickname"]}, "rename": {"nickname": "cot_name"}}',
		'groups.small_baby.retire.items: names nickname, which this document changes or renames: only one of them'),
	('{"retire": {"items": ["nickname"]}, "items": [{"name": "nickname", "status": "R"}]}',
		'groups.small_baby.retire.items: names nickname, which this document changes or renames: only one of them'),
	('{"retire": {"rules": ["small_baby.twice"]}, "rules": [{"id": "small_baby.twice", "severity": "file"}]}',
		'groups.small_baby.retire.rules: names small_baby.twice, which this document changes or renames: only one of them'),
	('{"retire": {"items": ["came_from"]}}', 'groups.small_baby.rules[1].items: names the item came_from, which the group does not have & '
		'groups.small_baby.rules[2].when: is refused by PostgreSQL: column "came_from" does not exist'),
	('{"items": [{"name": "height", "title": "Height"}]}', 'groups.small_baby.items.height.class: is missing & '
		'groups.small_baby.items.height.status: is missing & groups.small_baby.items.height.type: is missing'),
	('{"items": [{"name": "weight", "size": 7}]}', 'groups.small_baby.items.weight.size: is not a key of this format'),
	('{"items": [{"name": "weight", "size": null}]}', 'groups.small_baby.items.weight.size: is null, but version 1.0 has nothing there to take away'),
	('{"items": [{"name": "weight", "type": "numeric"}]}', 'groups.small_baby.items.weight.type: is numeric, but version 1.0 has it as integer; an item that is kept keeps its type'),
	('{"items": [{"name": "weight", "column": "born_on"}]}', 'groups.small_baby.items.weight.column: cannot be given: an item that is renamed keeps its column, any other has that of its name'),
	('{"items": [{"name": "weight"}, {"name": "weight"}]}', 'groups.small_baby.items[0].name: is the name of 2 items of the group & '
		'groups.small_baby.items[1].name: is the name of 2 items of the group'),
	('{"items": [7]}', 'groups.small_baby.items[0]: must be an object with a name'),
	('{"items": {}}', 'groups.small_baby.items: must be a list'),
	('{"rename": {"weight": "birth_weight"}, "items": [{"name": "weight", "title": "Weight now", "type": "integer", "status": "O", "class": "clinical"}]}',
		'groups.small_baby.items.weight.name: is the column of the item birth_weight, which was renamed: it cannot mean something else'),
	('{"rules": [{"id": "small_baby.twice", "severity": null}]}', 'groups.small_baby.rules[2].severity: is missing'),
	('{"rules": [{"id": "small_baby.twice"}, {"id": "small_baby.twice"}]}',
		'groups.small_baby.rules[0].id: is the id of 2 rules & groups.small_baby.rules[1].id: is the id of 2 rules'),
	('{"rules": [{"severity": "record"}]}', 'groups.small_baby.rules[0]: must be an object with an id')
	) AS c (change, wanted);

-- what is extended may come with spine, and extend something itself
CREATE FUNCTION pg_temp.ship(VARIADIC definitions jsonb[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION spine.shipped_datasets() RETURNS SETOF jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
				   format('SELECT * FROM unnest(%L::jsonb[])', definitions));
END
$$;
SELECT pg_temp.ship(
	:'old'::jsonb || '{"name": "shipped"}', :'new'::jsonb || '{"name": "shipped"}',
	'{"name": "shipped", "version": "1.2", "extends": "1.1", "groups": [{"name": "feed", "rename": {"feed_date": "fed_on"}}]}',
	'{"name": "shipped", "version": "2.0", "extends": "2.1"}', '{"name": "shipped", "version": "2.1", "extends": "2.0"}',
	'{"name": "shipped", "version": "3.0", "extends": "1.1", "groups": [{"name": "growth", "rename": {"height": "size"}}]}');
SELECT is(spine.publish_dataset('shipped', '1.2'), 'shipped_1_2', 'what comes with spine extends what comes with spine, whatever of it is published');
SELECT results_eq($$ SELECT item, column_name FROM spine.data_items WHERE dataset = 'shipped' AND item <> column_name $$,
	$$ VALUES ('admitted_on', 'came_on'), ('birth_weight', 'weight') $$, 'the columns are those of the first');
SELECT is((SELECT pg_temp.part(definition, 'feed', 'fed_on') ->> 'column' FROM spine.dataset WHERE name = 'shipped'), 'fed_on', 'an item may have its name again');
SELECT is((SELECT string_agg(concat(path, ': ', fault), ' & ') FROM spine.definition_faults(format('{"name": "shipped", "version": "4", "extends": "%s"}', v)::jsonb)),
	format('extends: names version %s, which cannot be told whole: what it extends is missing, faulty or leads back to it', v), why)
  FROM (VALUES ('2.0', 'extensions in a ring lead nowhere'), ('3.0', 'nor does a faulty one')) AS t (v, why);
SELECT throws_ok($$ SELECT spine.publish_dataset('shipped', '2.1') $$, 'SP004', 'data-set definition has 1 fault', 'a ring cannot be published');

-- ---------------------------------------------------------------- both side by side

INSERT INTO feeding.feed (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience,
		unit_number, fed_on, method, note)
	VALUES (spine.uuid_v7(), 'RYJ', 'Old', 'of 1.0', '00000000-0000-8000-8000-000000000001', '1.0', now(), 1, '{}', 'U1', '2026-03-04', 'C', 'Asleep');
SELECT is(spine.publish_dataset(:'new'::jsonb), 'feeding_1_1', 'the extension is published');
SELECT is((SELECT definition FROM spine.dataset WHERE name = 'feeding' AND version = '1.1'), (SELECT d FROM whole), 'as the whole that it stands for');
SELECT results_eq($$ SELECT version, extends, header_group, newest FROM spine.datasets WHERE dataset = 'feeding' ORDER BY version $$,
	$$ VALUES ('1.0', NULL, 'extract', false), ('1.1', '1.0', 'extract', true) $$, 'spine.datasets tells what it extends');
SELECT is(spine.publish_dataset(:'new'::jsonb), 'feeding_1_1', 'the same again changes nothing');
SELECT is((SELECT spine.publish_dataset(d) FROM whole), 'feeding_1_1', 'nor does the whole');
SELECT throws_ok(format('SELECT spine.publish_dataset(%L::jsonb)', :'new'::jsonb || '{"title": "Other"}'), '42710',
	'data set "feeding" version "1.1" is published already, with another definition', 'another one under the same version is refused');
SELECT columns_are('feeding', 'small_baby', ARRAY['record_id', 'owner', 'source_system', 'local_record_id', 'patient_id', 'episode_id', 'dataset_version',
	'event_at', 'received_at', 'revision', 'audience', 'unit_number', 'number_of_baby', 'born_on', 'came_on', 'came_from', 'weight', 'nickname', 'chart'],
	'the table has the columns of both, each once');
SELECT columns_are('feeding_1_1', 'small_baby', ARRAY['record_id', 'owner', 'source_system', 'local_record_id', 'nhs_number', 'local_patient_id',
	'local_episode_id', 'patient_id', 'episode_id', 'event_at', 'received_at', 'revision',
	'unit_number', 'number_of_baby', 'born_on', 'admitted_on', 'came_from', 'birth_weight', 'chart'], 'the new view has the new names');
SELECT has_column('feeding_1_0', 'small_baby', 'weight', 'the old view has the old ones');
SELECT hasnt_view('feeding_1_1', 'ward_round', 'a group that was retired has no view');
SELECT has_view('feeding_1_0', 'ward_round', 'but that of the earlier version');
SELECT matches((SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'feeding.small_baby'::regclass AND attname = 'weight'),
	'^Weight at birth\. NHS name BirthWeight', 'the column of a renamed item is commented on');
SELECT results_eq($$ SELECT position, item, column_name FROM spine.data_items WHERE dataset = 'feeding' AND version = '1.1' AND data_group = 'feed' ORDER BY 1 LIMIT 2 $$,
	$$ VALUES (1, 'unit_number', 'unit_number'), (2, 'feed_date', 'fed_on') $$, 'spine.data_items tells the column of an item');

SELECT set_eq($$ SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'feeding' AND indexname ~ '_set$' $$,
	$$ SELECT t || '_' || left(md5(t || ' (' || c || ')'), 8) || '_set' AS name,
			  'CREATE INDEX ' || t || '_' || left(md5(t || ' (' || c || ')'), 8) || '_set ON feeding.' || t || ' USING btree (' || c || ', source_system, owner)' AS definition
		 FROM (VALUES ('small_baby', 'born_on, number_of_baby'), ('feed', 'fed_on, unit_number')) AS x (t, c) $$,
	'rules of both versions share the indexes by which they look others up; who is looked up by a key of one item needs none');

SELECT results_eq($$ SELECT unit_number, feed_date::text, method FROM feeding_1_1.feed $$, $$ SELECT unit_number, fed_on::text, method FROM feeding_1_0.feed $$,
	'nobody sees anything without being a member');
SELECT is(value_as('versions_member', 'SELECT feed_date FROM feeding_1_1.feed'), '2026-03-04', 'an old row is read through the new view');
SET ROLE versions_member;
SELECT is((SELECT data FROM spine.all_records),
	'{"unit_number": "U1", "feed_date": "2026-03-04", "method": "C", "note": "Asleep"}'::jsonb,
	'spine.all_records has the newest names, and what is retired');
RESET ROLE;

-- records through both
SET ROLE versions_supplier;
INSERT INTO feeding_1_0.small_baby (unit_number, number_of_baby, born_on, came_on, weight, nickname)
	VALUES ('U7', '9434765919', '2026-03-02', '2026-03-03', 2100, 'Pip');
INSERT INTO feeding_1_1.small_baby (unit_number, number_of_baby, born_on, admitted_on, birth_weight, chart)
	VALUES ('U8', '9434765870', '2026-03-02', '2026-03-05', 6500, '1');
SELECT results_eq($$ SELECT unit_number, came_on::text, weight, nickname FROM feeding_1_0.small_baby ORDER BY 1 $$,
	$$ VALUES ('U7', '2026-03-03', 2100, 'Pip'), ('U8', '2026-03-05', 6500, NULL) $$, 'the old view has the records of both versions');
SELECT results_eq($$ SELECT unit_number, admitted_on::text, birth_weight, chart FROM feeding_1_1.small_baby ORDER BY 1 $$,
	$$ VALUES ('U7', '2026-03-03', 2100, NULL), ('U8', '2026-03-05', 6500, '1') $$, 'and so has the new one');
UPDATE feeding_1_1.small_baby SET birth_weight = 2150 WHERE unit_number = 'U7';
SELECT results_eq($$ SELECT weight, nickname, revision FROM feeding_1_0.small_baby WHERE unit_number = 'U7' $$, $$ VALUES (2150, 'Pip', 2::bigint) $$,
	'a correction in the new version is read in the old one, and takes nothing away that the new one does not have');
SELECT results_eq($$ SELECT outcome, findings FROM spine.submit('{"dataset": "feeding", "version": "1.1", "records": [
		{"group": "extract", "data": {"extract_number": "X1", "sender": "RYJ", "first_day": "2026-03-01", "last_day": "2026-03-31"}},
		{"group": "feed", "local_patient_id": "U7", "data": {"unit_number": "U7", "feed_date": "2026-03-06", "method": "S", "milk": "M", "amount": 20}}]}'::text) $$,
	$$ VALUES ('accepted', '[]'::jsonb), ('accepted', '[]') $$, 'a document names the items of its version');
SELECT matches((SELECT findings::text FROM spine.submit('{"dataset": "feeding", "version": "1.1", "records": [
		{"group": "extract", "data": {"extract_number": "X2", "sender": "RYJ", "first_day": "2026-03-01", "last_day": "2026-03-31"}},
		{"group": "feed", "local_patient_id": "U7", "data": {"unit_number": "U7", "fed_on": "2026-03-07", "method": "S", "milk": "M"}}]}'::text) WHERE n = 2),
	'"item": "feed_date", "rule": "item.missing"', 'and not those of another');
SELECT results_eq($$ SELECT fed_on::text, method FROM feeding_1_0.feed WHERE unit_number = 'U7' $$, $$ VALUES ('2026-03-06', 'S') $$, 'its record is read in the old version');
RESET ROLE;
SELECT results_eq($$ SELECT local_record_id COLLATE "default", dataset_version FROM feeding.small_baby ORDER BY 1 $$,
	$$ VALUES ('U7', '1.1'), ('U8', '1.1') $$, 'each has the version in which it was sent last');
SELECT is((SELECT event_at::date FROM feeding.small_baby WHERE local_record_id = 'U8'), '2026-03-05'::date, 'and its time from the renamed item');
SET ROLE versions_member;
SELECT results_eq($$ SELECT data ->> 'unit_number', data - 'unit_number' FROM spine.timeline('9434765919') WHERE data_group = 'small_baby' $$,
	$$ SELECT 'U7', data - 'unit_number' FROM spine.all_records WHERE data_group = 'small_baby' AND data ->> 'unit_number' = 'U7' $$,
	'a timeline has the newest names, as spine.all_records');
RESET ROLE;

-- ---------------------------------------------------------------- later versions keep to it

CREATE FUNCTION pg_temp.third(change jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat(f.path, ': ', f.fault), ' & ' ORDER BY f.path), 'none') FROM spine.definition_faults(change || '{"version": "1.3"}') AS f
$$;
SELECT is(pg_temp.third((SELECT d FROM whole)), 'none', 'a whole definition may follow that has the columns of the renamed');
SELECT matches(pg_temp.third(:'old'), 'groups.feed.items.fed_on.name: is the column of the item feed_date since version 1.1: it cannot mean something else & '
	'groups.small_baby.items.came_on.name: is the column of the item admitted_on since version 1.1.* & groups.small_baby.items.weight.name: .*',
	'one that has the old names again, and does not say that they are the old columns, is refused');
SELECT is(pg_temp.third('{"name": "feeding", "extends": "1.0"}'), 'none', 'one that extends the version with the old names may keep them');
SELECT is(pg_temp.third(jsonb_set((SELECT d FROM whole), '{groups,1,items,5,column}', '"mass"')),
	'groups.small_baby.items.birth_weight.name: is not what it is in version 1.1: there birth_weight is in the column weight, here birth_weight is in the column mass',
	'a name has one column in all versions');
SELECT is(pg_temp.third(jsonb_set((SELECT d FROM whole), '{groups,1,items,5,column}', '"born_on"')),
	'groups.small_baby.items.birth_weight.column: is the column of 2 items of the group & '
	'groups.small_baby.items.birth_weight.name: is not what it is in version 1.1: there birth_weight is in the column weight, here birth_weight is in the column born_on & '
	'groups.small_baby.items.birth_weight.type: is integer, but version 1.0 has it as date; an item that is kept keeps its type',
	'and a column one item');
SELECT is(pg_temp.third((SELECT jsonb_set(d, '{groups,1,items,6}', '{"name": "nickname", "title": "Nickname", "type": "date", "status": "O", "class": "identity"}') FROM whole)),
	'groups.small_baby.items.nickname.type: is date, but version 1.0 has it as text; an item that is kept keeps its type', 'what was retired does not come back as something else');
SELECT is(pg_temp.third('{"name": "feeding", "extends": "1.1", "groups": [{"name": "feed", "rename": {"feed_date": "day_fed"}}]}'), 'none', 'an item may be renamed once more');
SELECT is(pg_temp.third('{"name": "feeding", "extends": "1.1", "groups": [{"name": "small_baby", "rename": {"chart": "weight"}}]}'),
	'groups.small_baby.rename.chart: is to be weight, which is the column of the item birth_weight', 'but not to what is the column of another');

-- ---------------------------------------------------------------- accepted until when

SELECT is_empty($$ SELECT * FROM spine.accepted_versions('nothing') $$, 'no version of what is not there');
SELECT results_eq($$ SELECT version, view_schema, accepted_from, accepted_until, newest, state FROM spine.accepted_versions('feeding') $$,
	$$ VALUES ('1.1', 'feeding_1_1', current_date, NULL::date, true, 'accepted'), ('1.0', 'feeding_1_0', current_date, NULL, false, 'accepted') $$,
	'both versions are accepted, the newest first');
SET ROLE versions_operator;
SELECT is(spine.retire_dataset('feeding', '1.0', current_date + 10),
	format('feeding 1.0 is accepted until %s; of its versions are accepted without end: 1.1', current_date + 9), 'an operator retires one on a day');
SELECT results_eq($$ SELECT version, accepted_until, state FROM spine.accepted_versions('feeding') $$,
	$$ VALUES ('1.1', NULL::date, 'accepted'), ('1.0', current_date + 9, 'retires') $$, 'until the day before it is accepted');
SELECT is(spine.retire_dataset('feeding', '1.0', current_date),
	format('feeding 1.0 is accepted no longer, since %s; of its versions are accepted without end: 1.1', current_date), 'today means at once');
SELECT results_eq($$ SELECT version, state FROM spine.accepted_versions('feeding') $$, $$ VALUES ('1.1', 'accepted'), ('1.0', 'retired') $$, 'then it is retired');
RESET ROLE;
SET ROLE versions_supplier;
SELECT throws_ok($$ INSERT INTO feeding_1_0.small_baby (unit_number, born_on, came_on) VALUES ('U9', '2026-03-02', '2026-03-03') $$, 'SP003', NULL,
	'records of a retired version are refused');
SELECT lives_ok($$ INSERT INTO feeding_1_1.small_baby (unit_number, born_on, admitted_on) VALUES ('U9', '2026-03-02', '2026-03-03') $$, 'those of the other are not');
SELECT is((SELECT count(*) FROM feeding_1_0.small_baby), 3::bigint, 'what is stored is read through both');
RESET ROLE;
SET ROLE versions_operator;
SELECT is(spine.retire_dataset('feeding', '1.0', NULL), 'feeding 1.0 is accepted without end; of its versions are accepted without end: 1.1, 1.0', 'a retirement is taken back');
SELECT throws_ok($$ SELECT spine.retire_dataset('feeding', '7.0', current_date) $$, 'SP003', 'data set "feeding" version "7.0" is not published here', 'an unknown version cannot be retired');
RESET ROLE;
SELECT is((SELECT retired_on FROM spine.datasets WHERE dataset = 'feeding' AND version = '1.0'), NULL, 'and nothing of the retirement is left');

SELECT is_empty($$
	SELECT r, f FROM unnest('{versions_member,versions_supplier,versions_operator,versions_governor}'::text[]) AS r,
		   unnest('{"spine.accepted_versions(text)","spine.dataset_changes(text,text,text)"}'::text[]) AS f
	 WHERE NOT has_function_privilege(r, f, 'EXECUTE')
$$, 'members, suppliers, operators and governors may ask');
SELECT is_empty($$
	SELECT r, f FROM unnest('{versions_stranger,versions_member,versions_supplier,versions_governor}'::text[]) AS r,
		   unnest('{"spine.retire_dataset(text,text,date)","spine.apply_extension(jsonb,jsonb)","spine.known_definition(text,text,text[])"}'::text[]) AS f
	 WHERE has_function_privilege(r, f, 'EXECUTE')
	UNION ALL
	SELECT 'versions_stranger', f FROM unnest('{"spine.accepted_versions(text)","spine.dataset_changes(text,text,text)","spine.expand_definition(jsonb)"}'::text[]) AS f
	 WHERE has_function_privilege('versions_stranger', f, 'EXECUTE')
$$, 'only an operator retires, and a stranger learns nothing');

-- ---------------------------------------------------------------- what has changed

SELECT results_eq($$ SELECT * FROM spine.dataset_changes('feeding', '1.0', '1.1') $$, $$ VALUES
	(1, NULL, 'data set', 'feeding', 'title was "Feeding of small babies", is "Feeding of small babies, with growth"'),
	(2, NULL, 'code list', 'feeding_method', 'severity was warning, is record'),
	(3, NULL, 'code list', 'feeding_method', 'code C is taken away: it was "By cup"'),
	(4, NULL, 'code list', 'feeding_method', 'code S is new: "By syringe"'),
	(5, NULL, 'code list', 'feeding_method', 'code T meant "By tube", means "By tube through the nose"'),
	(6, NULL, 'code list', 'growth_chart', 'is new: "Chart", with codes 1, 2'),
	(7, NULL, 'episode kind', 'feeding', 'days between records was 5, is 7'),
	(8, NULL, 'episode kind', 'feeding', 'days that it stays open 200 is taken away'),
	(9, 'small_baby', 'group', 'small_baby', 'description was "A baby on the unit.", is "A baby on the unit, however small."'),
	(10, 'small_baby', 'item', 'admitted_on', 'has a new name: it was came_on'),
	(11, 'small_baby', 'item', 'birth_weight', 'has a new name: it was weight'),
	(12, 'small_baby', 'item', 'birth_weight', 'status was O (optional), is R (required)'),
	(13, 'small_baby', 'item', 'birth_weight', 'lowest value 300 is taken away'),
	(14, 'small_baby', 'item', 'birth_weight', 'highest value was 6000, is 7000'),
	(15, 'small_baby', 'item', 'chart', 'is new: "Growth chart", type text, status O (optional), class clinical, code list growth_chart'),
	(16, 'small_baby', 'item', 'nickname', 'is retired'),
	(17, 'small_baby', 'rule', 'small_baby.came_in_time', 'severity was group, is record'),
	(18, 'feed', 'item', 'feed_date', 'has a new name: it was fed_on'),
	(19, 'feed', 'item', 'note', 'is retired'),
	(20, 'feed', 'rule', 'feed.amount_milk', 'is new, of severity warning: "amount is there without milk. Say which."'),
	(21, 'feed', 'rule', 'feed.note_method', 'is retired'),
	(22, 'growth', 'group', 'growth', 'is new: "Growth", with items unit_number, measured_on, length'),
	(23, 'ward_round', 'group', 'ward_round', 'is retired') $$, 'from the old version to the new');
SELECT set_eq($$ SELECT name, change FROM spine.dataset_changes('feeding', '1.1', '1.0') WHERE data_group = 'feed' $$, $$ VALUES
	('fed_on', 'has a new name: it was feed_date'),
	('note', 'is new: "Note", type text, status P (pilot), class restricted'),
	('feed.note_method', 'is new, of severity warning: "note is there without method. Say how the baby was fed."'),
	('feed.amount_milk', 'is retired') $$, 'and back');
SELECT is_empty($$ SELECT * FROM spine.dataset_changes('feeding', '1.1', '1.1') $$, 'from itself nothing');
-- two that know nothing of one another
SELECT is(spine.publish_dataset(jsonb_set(jsonb_set(:'old'::jsonb || '{"version": "2.0"}' #- '{groups,1,anchor}', '{groups,2,key}', '["unit_number", "fed_on"]'),
	'{groups,2,rules}', '[{"id": "feed.after_coming", "severity": "group", "items": ["fed_on", "unit_number"], "expression": "fed_on > ''2000-01-01''", "message": "fed_on is too early."}]')
	#- '{groups,2,items,3,codes}' || '{"extends": "1.0", "whole": true}'), 'feeding_2_0', 'a version of its own');
SELECT results_eq($$ SELECT kind, name, change FROM spine.dataset_changes('feeding', '1.0', '2.0') $$, $$ VALUES
	('group', 'small_baby', 'date of the episode item born_on is taken away'),
	('group', 'feed', 'key was unit_number, fed_on, method, is unit_number, fed_on'),
	('item', 'method', 'code list feeding_method is taken away'),
	('rule', 'feed.after_coming', 'severity was record, is group'),
	('rule', 'feed.after_coming', 'kind was related, is expression'),
	('rule', 'feed.after_coming', 'items was fed_on, is fed_on, unit_number'),
	('rule', 'feed.after_coming', 'expression was "fed_on >= other.came_on AND (fed_on - other.came_on) < 400", is "fed_on > ''2000-01-01''"'),
	('rule', 'feed.after_coming', 'other group small_baby is taken away'),
	('rule', 'feed.after_coming', 'match unit_number unit_number is taken away'),
	('rule', 'feed.after_coming', 'message was "fed_on is before the baby came, or more than 400 days after. Correct it.", is "fed_on is too early."'),
	('rule', 'feed.more_than_weight', 'is retired'), ('rule', 'feed.note_method', 'is retired'), ('rule', 'feed.failures', 'is retired') $$,
	'every key of groups, items and rules that differs is told');
SELECT is((SELECT count(*) FROM spine.dataset_changes('shipped', '1.0', '1.1')), 23::bigint, 'versions that come with spine are compared, published or not');
SELECT throws_ok($$ SELECT * FROM spine.dataset_changes('feeding', '1.0', '9.0') $$, 'SP003', 'data set "feeding" version "9.0" is not known here', 'an unknown version');
SELECT throws_ok($$ SELECT * FROM spine.dataset_changes('feeding', NULL, '1.0') $$, 'SP003', NULL, 'no version at all');

-- ---------------------------------------------------------------- nothing raises

SELECT setseed(0.5);
CREATE TEMP TABLE mutation AS
	WITH RECURSIVE w (p, v) AS (
		SELECT '{}'::text[], :'new'::jsonb
		UNION ALL
		SELECT w.p || e.k, e.v FROM w, LATERAL (
			SELECT key AS k, value AS v FROM jsonb_each(CASE jsonb_typeof(w.v) WHEN 'object' THEN w.v ELSE '{}' END)
			UNION ALL
			SELECT (n - 1)::text, x FROM jsonb_array_elements(CASE jsonb_typeof(w.v) WHEN 'array' THEN w.v ELSE '[]' END) WITH ORDINALITY AS q (x, n)) AS e)
	SELECT w.p, m.v FROM w, unnest(ARRAY['null', 'true', '-1.5', '""', '"select"', '[]', '{}', '[null]', '[[{}]]', '{"a": null}', '[{"name": null}]']::jsonb[]) AS m (v)
	 WHERE w.p <> '{}' ORDER BY random() LIMIT 200;
CREATE FUNCTION pg_temp.raises(p text[], v jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM (SELECT jsonb_set(d, p, v) || CASE WHEN p = '{version}' THEN '{}' ELSE '{"version": "1.4"}' END::jsonb AS d
					FROM (SELECT current_setting('versions.new')::jsonb AS d) AS x) AS x, spine.definition_faults(x.d);
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END
$$;
SELECT set_config('versions.new', :'new', false) IS NOT NULL AS set \gset
SELECT is_empty($$ SELECT * FROM (SELECT p, v, pg_temp.raises(p, v) AS raised FROM mutation) AS m WHERE raised IS NOT NULL $$, '200 extensions with something else somewhere');

SELECT * FROM finish();
SELECT drop_roles('versions_stranger', 'versions_member', 'versions_supplier', 'versions_operator', 'versions_governor');
