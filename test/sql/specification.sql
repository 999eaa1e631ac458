-- The supplier's specification: that it says all there is, what the catalogue and the sources say too.
SELECT plan(60);
SELECT set_config('specification.source', :'source', false) \g /dev/null

-- what comes with spine has one before there is a store
SELECT is(spine.specification('maternity', '2.0') -> 'published', 'false', 'a shipped version has a specification before there is a store');
SELECT matches(spine.specification_markdown('maternity', '2.0'), 'not yet published', 'and the document says that it is not published');
SELECT throws_ok($$ SELECT spine.specification('maternity', '0.0') $$, 'SP003',
	'no data set "maternity" version "0.0" is published here or comes with spine', 'a version that nobody knows');

\ir setup.psql
\ir as_role.psql
CREATE TEMPORARY TABLE doc (dataset text, version text, spec jsonb, md text);
INSERT INTO doc SELECT 'maternity', '2.0', spine.specification('maternity', '2.0'), spine.specification_markdown('maternity', '2.0');

-- a data set whose texts hold what has a meaning in Markdown
\set nasty '{"name": "specification", "version": "1.0", "title": "Pipes | and *stars*", "description": "First line\\nsecond | line", "source": "S | S", "mandation": "M", "code_lists": {"mark": {"title": "A | title\\n| of two lines |", "source": "by <b>nobody</b>", "severity": "record", "codes": {"|": "one | bar", "\\\\": "back\\\\slash", "`": "a `tick`", "a|b": "two\\nlines"}}}, "episodes": {"stay": {"title": "Stay | of one", "window_days": 3}}, "groups": [{"name": "odd", "title": "Odd | title", "description": "Line one\\n\\n| not a table | x |", "nhs_table": "N|T", "subject": "patient", "episode": "stay", "key": ["odd_id"], "items": [{"name": "odd_id", "nhs_name": "Odd|Id", "uid": "O|1", "title": "Id | of\\nit", "description": "note | note\\n|---|", "type": "text", "status": "M", "class": "administrative"}, {"name": "mark", "title": "_Mark_ [x](http://example.org)", "type": "text", "codes": "mark", "status": "R", "class": "clinical"}], "rules": [{"id": "odd.bars", "severity": "record", "items": ["odd_id"], "expression": "odd_id || ''|`'' <> ''x''", "message": "odd_id | is\\nodd: correct it"}]}]}'
SET client_min_messages = warning;
SELECT spine.publish_dataset(:'nasty'::jsonb) \g /dev/null
SELECT spine.publish_dataset(pg_read_file(:'source' || '/test/datasets/ambulance-1.0.json')::jsonb) \g /dev/null
SELECT spine.publish_dataset(pg_read_file(:'source' || '/test/datasets/hearing-1.0.json')::jsonb) \g /dev/null
RESET client_min_messages;
INSERT INTO doc SELECT d.dataset, d.version, spine.specification(d.dataset, d.version), spine.specification_markdown(d.dataset, d.version)
  FROM spine.datasets d WHERE d.dataset IN ('specification', 'ambulance', 'hearing');
SELECT is(count(*), 4::bigint, 'four data sets are looked at') FROM doc;

-- the JSON document says what the catalogue says

SELECT set_eq(
	$$ SELECT jsonb_build_array(d.dataset, (g ->> 'position')::integer, g ->> 'name', g ->> 'title', g ->> 'description', g ->> 'nhs_table', g ->> 'subject',
			  g ->> 'episode', ARRAY(SELECT jsonb_array_elements_text(g -> 'key')), g -> 'parent' ->> 'group', g -> 'parent' ->> 'item',
			  ARRAY(SELECT e ->> 'date' FROM jsonb_array_elements(coalesce(g -> 'event', '[]')) e)
		)::text FROM doc d, jsonb_array_elements(d.spec -> 'groups') g $$,
	$$ SELECT jsonb_build_array(g.dataset, g.position, g.data_group, g.title, g.description, g.nhs_table, g.subject, g.episode, g.key, g.parent_group, g.parent_item, g.event_dates
		)::text FROM spine.data_groups g JOIN doc USING (dataset, version) $$,
	'groups are those of spine.data_groups');
SELECT set_eq(
	$$ SELECT jsonb_build_array(d.dataset, g ->> 'name', (i ->> 'position')::integer, i ->> 'name', i ->> 'nhs_name', i ->> 'uid', i ->> 'title', i ->> 'description',
			  i ->> 'type', (i ->> 'min_length')::integer, (i ->> 'max_length')::integer, i ->> 'min', i ->> 'max', i ->> 'codes', i ->> 'status', i ->> 'class'
		)::text FROM doc d, jsonb_array_elements(d.spec -> 'groups') g, jsonb_array_elements(g -> 'items') i $$,
	$$ SELECT jsonb_build_array(i.dataset, i.data_group, i.position, i.item, i.nhs_name, i.uid, i.title, i.description, i.type, i.min_length, i.max_length, i.min, i.max,
			  i.codes, i.status, i.class)::text FROM spine.data_items i JOIN doc USING (dataset, version) $$,
	'items are those of spine.data_items');
SELECT set_eq(
	$$ SELECT jsonb_build_array(d.dataset, l ->> 'list', l ->> 'title', l ->> 'source', l ->> 'severity')::text FROM doc d, jsonb_array_elements(d.spec -> 'code_lists') l $$,
	$$ SELECT jsonb_build_array(l.dataset, l.list, l.title, l.source, l.severity)::text FROM spine.code_lists l JOIN doc USING (dataset, version) $$,
	'code lists are those of spine.code_lists');
SELECT set_eq(
	$$ SELECT jsonb_build_array(d.dataset, l ->> 'list', c ->> 'code', c ->> 'meaning'
		)::text FROM doc d, jsonb_array_elements(d.spec -> 'code_lists') l, jsonb_array_elements(l -> 'codes') c $$,
	$$ SELECT jsonb_build_array(c.dataset, c.list, c.code, c.meaning)::text FROM spine.codes c JOIN doc USING (dataset, version) $$,
	'codes are those of spine.codes');
SELECT set_eq(
	$$ SELECT jsonb_build_array(d.dataset, g ->> 'name', (r ->> 'position')::integer, r ->> 'id', r ->> 'severity', r ->> 'expression',
			  ARRAY(SELECT jsonb_array_elements_text(r -> 'items')), r ->> 'message'
		)::text FROM doc d, jsonb_array_elements(d.spec -> 'groups') g, jsonb_array_elements(g -> 'rules') r $$,
	$$ SELECT jsonb_build_array(r.dataset, r.data_group, r.position, r.rule, r.severity, r.expression, r.items, r.message)::text FROM spine.rules r JOIN doc USING (dataset, version) $$,
	'rules are those of spine.rules');
SELECT is_empty($$ SELECT d.dataset, i ->> 'name' FROM doc d, jsonb_array_elements(d.spec -> 'groups') g, jsonb_array_elements(g -> 'items') i
					WHERE coalesce(i ->> 'format', '') = '' $$, 'every item has a format');
SELECT is_empty($$ SELECT d.dataset, r ->> 'id' FROM doc d, jsonb_array_elements(d.spec -> 'groups') g, jsonb_array_elements(g -> 'rules') r
					WHERE coalesce(r ->> 'asks', '') = '' OR r ->> 'kind' IS NULL $$, 'every rule has a kind and says what it asks');
SELECT is_empty($$
	SELECT d.dataset, g ->> 'name', c.column_name FROM doc d, jsonb_array_elements(d.spec -> 'groups') g, jsonb_object_keys(g -> 'record' -> 'data') AS c (column_name)
	 WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = (g ->> 'view')::regclass AND a.attname = c.column_name) $$,
	'the record of each group has items that its view has');
SELECT is_empty($$
	SELECT d.dataset, g ->> 'name', i ->> 'name' FROM doc d, jsonb_array_elements(d.spec -> 'groups') g, jsonb_array_elements(g -> 'items') i
	 WHERE i ->> 'status' = 'M' AND NOT g -> 'record' -> 'data' ? (i ->> 'name') $$,
	'and all that are mandatory');

-- the Markdown document has every text

CREATE FUNCTION lacks(texts text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT concat(d.dataset, '': '', t.said) FROM doc d, LATERAL (%s) t (said)
		WHERE t.said IS NOT NULL AND strpos(d.md, t.said) = 0', texts);
END
$$;
SELECT is_empty($$ SELECT lacks($q$ SELECT '### ' || (g ->> 'name') || E'\n' FROM jsonb_array_elements(d.spec -> 'groups') g
	UNION ALL SELECT spine.markdown_text(g ->> k) FROM jsonb_array_elements(d.spec -> 'groups') g, unnest('{title,description,nhs_table,view}'::text[]) k $q$) $$,
	'every group: name, title, description, NHS table, view');
SELECT is_empty($$ SELECT lacks($q$ SELECT spine.markdown_row('`' || (i ->> 'name') || '`', spine.markdown_text(i ->> 'nhs_name'), spine.markdown_text(i ->> 'uid'),
			spine.markdown_text(i ->> 'title'), i ->> 'status', spine.markdown_text(i ->> 'format'), spine.markdown_text(i ->> 'description'))
		FROM jsonb_array_elements(d.spec -> 'groups') g, jsonb_array_elements(g -> 'items') i $q$) $$,
	'every item is a row');
SELECT is_empty($$ SELECT lacks($q$ SELECT t.said FROM jsonb_array_elements(d.spec -> 'groups') g, jsonb_array_elements(g -> 'rules') r,
			LATERAL (VALUES ('| `' || (r ->> 'id') || '` | ' || (r ->> 'kind') || ' | ' || (r ->> 'severity') || ' | '),
							(spine.markdown_text(r ->> 'message')), (spine.markdown_code(r ->> 'asks'))) t (said) $q$) $$,
	'every rule: id, kind, severity, message, what it asks');
SELECT is_empty($$ SELECT lacks($q$ SELECT '### List ' || (l ->> 'list') || E'\n\n' || spine.markdown_text(l ->> 'title') FROM jsonb_array_elements(d.spec -> 'code_lists') l
	UNION ALL SELECT spine.markdown_row(spine.markdown_text(c ->> 'code'), spine.markdown_text(c ->> 'meaning'))
		FROM jsonb_array_elements(d.spec -> 'code_lists') l, jsonb_array_elements(l -> 'codes') c $q$) $$,
	'every code list and code');
SELECT is_empty($$ SELECT lacks($q$ SELECT spine.markdown_text(d.spec ->> k) FROM unnest('{title,description,source,mandation}'::text[]) k
	UNION ALL SELECT '`' || (e ->> 'kind') || '` | ' || spine.markdown_text(e ->> 'title') FROM jsonb_array_elements(d.spec -> 'episodes') e $q$) $$,
	'what the data set is, and its episodes');
SELECT is_empty($$ SELECT lacks($q$ SELECT '| `' || (f ->> 'rule') || '` | ' || (f ->> 'severity') || ' | ' FROM jsonb_array_elements(d.spec -> 'finding_rules') f
	UNION ALL SELECT '| ' || (e ->> 'code') || ' | ' || spine.markdown_text(e ->> 'meaning') FROM jsonb_array_elements(d.spec -> 'errors') e
	UNION ALL SELECT '| `' || (o ->> 'outcome') || '` | ' FROM jsonb_array_elements(d.spec -> 'outcomes') o
	UNION ALL SELECT '| ' || (v ->> 'severity') || ' | ' FROM jsonb_array_elements(d.spec -> 'severities') v
	UNION ALL SELECT '| `' || (k ->> 'kind') || '` | ' FROM jsonb_array_elements(d.spec -> 'client_kinds') k $q$) $$,
	'every finding rule, error, outcome, severity and kind of system');
SELECT isnt_empty($$ SELECT lacks($q$ SELECT 'what no document says' $q$) $$, 'a text that is not there would be missed');

-- what it says of the code is what the code says

SELECT set_eq(
	$$ SELECT jsonb_build_array(m[1] || lpad(m[2], 4, '0'))::text FROM regexp_matches(pg_read_file(current_setting('specification.source') || '/extension/errors.h'),
			'MAKE_SQLSTATE\(''S'', ''P'', ''(\d)'', ''(\d)'', ''(\d)''\)', 'g') AS e (d), LATERAL (SELECT ARRAY['SP', d[1] || d[2] || d[3]]) x (m) $$,
	$$ SELECT jsonb_build_array('SP0' || substr(code, 3))::text FROM spine.error_codes() WHERE code LIKE 'SP%' $$,
	'the codes of class SP are those of errors.h');
SELECT set_eq(
	$$ SELECT DISTINCT jsonb_build_array(m[1])::text FROM pg_ls_dir(current_setting('specification.source') || '/extension/intake') f,
			regexp_matches(pg_read_file(current_setting('specification.source') || '/extension/intake/' || f),
						   '"((?:item|identity|parent|group|record|rule|file|finding|dataset)\.[a-z_]+)"', 'g') m WHERE f LIKE '%.c' $$,
	$$ SELECT jsonb_build_array(rule)::text FROM spine.finding_rules() $$,
	'the rules that every group has are those that intake tells');
SELECT set_eq(
	$$ SELECT jsonb_build_array(m[1], m[2] LIKE '%SPINE_MAY_READ%', ARRAY(SELECT w[1] FROM regexp_matches(m[3], '"(\w+)"', 'g') w ORDER BY 1)
		)::text FROM regexp_matches(pg_read_file(current_setting('specification.source') || '/extension/governance/caller.c'),
							 '\{"(\w+)", (SPINE_MAY[^{]*), \{([^}]*)\}\}', 'g') m $$,
	$$ SELECT jsonb_build_array(k ->> 'kind', (k ->> 'reads')::boolean, ARRAY(SELECT w FROM jsonb_array_elements_text(k -> 'writes') w ORDER BY 1)
		)::text FROM doc, jsonb_array_elements(spec -> 'client_kinds') k WHERE dataset = 'maternity' $$,
	'kinds of system have the rights that the code gives them');
SELECT results_eq(
	$$ SELECT m[1]::integer FROM regexp_matches(pg_read_file(current_setting('specification.source') || '/extension/intake/check.c'), '#define (?:LOCAL_ID|KEY_ID|FINDINGS)_MAX\s+(\d+)', 'g') m
	   UNION ALL SELECT m[1]::integer FROM regexp_matches(pg_read_file(current_setting('specification.source') || '/extension/intake/document.c'), '#define DEPTH_MAX\s+(\d+)') m
	   UNION ALL SELECT m[1]::integer FROM regexp_matches(pg_read_file(current_setting('specification.source') || '/extension/types/gestation_core.h'), 'LARGEST (\d+)') m $$,
	$$ SELECT v::integer FROM doc, unnest(ARRAY[spec -> 'limits' ->> 'identifier_characters', spec -> 'limits' ->> 'key_characters', spec -> 'limits' ->> 'findings', spec -> 'limits' ->> 'levels', spec -> 'limits' ->> 'gestation_days']) v
		WHERE dataset = 'maternity' $$,
	'and so are the limits');

-- tables of Markdown keep their form, whatever the texts hold

CREATE FUNCTION broken_rows(md text) RETURNS SETOF text LANGUAGE sql AS $$
	WITH l AS (
		SELECT n, line, regexp_count(regexp_replace(line, '\\\\|\\\|', '', 'g'), '\|') AS bars,
			   lag(line) OVER (ORDER BY n) AS before
		  FROM (SELECT line, n FROM regexp_split_to_table(md, '\n') WITH ORDINALITY AS x (line, n)) s
	), t AS (
		SELECT *, line LIKE '|%' AS is_row, line LIKE '|%' AND coalesce(before, '') NOT LIKE '|%' AS begins FROM l
	), b AS (
		SELECT *, count(*) FILTER (WHERE begins) OVER (ORDER BY n) AS in_table FROM t WHERE is_row
	)
	SELECT line FROM (SELECT line, bars, first_value(bars) OVER (PARTITION BY in_table ORDER BY n) AS wanted FROM b) w WHERE bars <> wanted
$$;
SELECT is_empty($$ SELECT d.dataset, b FROM doc d, broken_rows(d.md) b $$, 'every row of a table has the cells of its head');
SELECT isnt_empty($$ SELECT broken_rows(E'| a | b |\n|---|---|\n| 1 | 2 | 3 |') $$, 'a row with a bar too many would be seen');
SELECT is(spine.markdown_text(E'a | b\nc \\ *d* `e` <b> & &amp; x_y _z_ [l](u) 1 < 2 '),
	E'a \\| b<br>c \\\\ \\*d\\* \\`e\\` \\<b> & \\&amp; x_y \\_z\\_ \\[l\\](u) 1 < 2', 'what has a meaning in Markdown gets a backslash');
SELECT is(spine.markdown_code('a || b'), '`a \|\| b`', 'a bar in code does too');
SELECT is(spine.markdown_code('a ` b'), '`` a ` b ``', 'a tick in code has a longer fence');
SELECT ok(strpos(md, E'\n| a\\|b | two<br>lines |\n') > 0 AND strpos(md, E'\n| \\\\ | back\\\\slash |\n') > 0 AND strpos(md, E'\n| \\` | a \\`tick\\` |\n') > 0,
	'codes with bars, backslashes and ticks are rows') FROM doc WHERE dataset = 'specification';
SELECT ok(strpos(md, 'Line one<br>\| not a table \| x \|') > 0, 'a description cannot begin a table') FROM doc WHERE dataset = 'specification';

-- formats in words

SELECT is(spine.item_format(f.item::jsonb), f.words, f.words) FROM (VALUES
	('{"type": "text", "min_length": 1, "max_length": 20}', 'text, 1 to 20 characters'),
	('{"type": "text", "max_length": 1}', 'text, 1 character'),
	('{"type": "text", "codes": "yes_no", "max_length": 1}', 'code, list yes_no'),
	('{"type": "integer", "min": 0, "max": 99}', 'whole number 0 to 99'),
	('{"type": "numeric", "min": 0.2}', 'number, at least 0.2'),
	('{"type": "date", "min": "2020-01-01"}', 'date, CCYY-MM-DD, 2020-01-01 or later'),
	('{"type": "ods_code", "min_length": 3, "max_length": 5}', 'ODS code, 3 to 5 characters'),
	('{"type": "gestation", "min": 150}', 'gestation, days or weeks+days, 150 to 349 days')) AS f (item, words);

-- what rules ask, of each kind

SELECT is(spine.rule_question(r.rule::jsonb), r.words, r.words) FROM (VALUES
	('{"items": ["a"], "expression": "a > 1"}', 'a > 1'),
	('{"kind": "related", "group": "g", "match": {"a": "b", "c": "d"}, "expression": "a >= other.b"}',
		'for each record of g whose b = a and whose d = c: a >= other.b'),
	('{"kind": "exists", "group": "g", "match": {"a": "b"}, "when": "c = ''1''"}', 'there is a record of g whose b = a, asked when c = ''1'''),
	('{"kind": "unique", "items": ["a", "b"]}', 'no other record of the group has the same a, b'),
	('{"kind": "organisation", "items": ["a"], "at": "d", "except": ["ZZ888", "89997"], "known": true}',
		'a is an organisation that is open on the day of d, or one of ZZ888, 89997; one that this node does not know breaks the rule'),
	('{"kind": "own_code", "items": ["a"]}', 'a is the code of the organisation that submits'),
	('{"kind": "count", "min": 1, "max": 1}', 'a document has 1 record of this group'),
	('{"kind": "count", "max": 5}', 'a document has at most 5 records of this group'),
	('{"kind": "failures", "max_percent": 20}', 'at most 20 percent of the records of this group in one document are rejected')) AS r (rule, words);

-- versions, who may ask, and that the same question has the same answer

SELECT ok(strpos(md, E'\n| 2.0 | Maternity services | without an end |\n') > 0, 'a version without an end says so') FROM doc WHERE dataset = 'maternity';
UPDATE spine.dataset SET retired_on = '2031-04-01' WHERE name = 'hearing';
SELECT ok(strpos(spine.specification_markdown('hearing', '1.0'), '| until it is retired on 2031-04-01 |') > 0, 'a version that is retired says from when');
SELECT is(spine.specification('hearing', '1.0') -> 'changes', 'null', 'a first version has no changes');
SET client_min_messages = warning;
SELECT spine.publish_dataset('{"name": "hearing", "version": "1.1", "extends": "1.0", "groups": [{"name": "ear_screen",
	"items": [{"name": "room", "title": "Room | where", "type": "text", "max_length": 9, "status": "O", "class": "administrative"}],
	"rename": {"device": "screener"}}]}'::jsonb) \g /dev/null
RESET client_min_messages;
CREATE TEMPORARY TABLE later AS SELECT spine.specification('hearing', '1.1') AS spec, spine.specification_markdown('hearing', '1.1') AS md;
SELECT is(jsonb_path_query_array(spec, '$.groups[*] ? (@.name == "ear_screen").items[*].name') @> '["screening_number", "screener", "room"]', true,
	'a version that extends another is told whole, with the names that are its own') FROM later;
SELECT is(jsonb_array_length(spec -> 'changes' -> 'changes'), (SELECT count(*)::integer FROM spine.dataset_changes('hearing', '1.0', '1.1')),
	'and with what has changed') FROM later;
SELECT ok(strpos(md, 'What has changed since version 1.0') > 0 AND strpos(md, '| `ear_screen` |') > 0 AND NOT EXISTS (SELECT FROM broken_rows(md)),
	'in the document as well') FROM later;
SELECT ok(strpos(md, E'\n| 1.0 | Newborn hearing screening | until it is retired on 2031-04-01 |\n| 1.1 | Newborn hearing screening | without an end |\n') > 0,
	'with all versions') FROM later;
SELECT make_roles('specification_supplier', 'specification_device', 'specification_analyst', 'specification_operator', 'specification_stranger') \g /dev/null
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'specification_supplier'), spine.add_system('RYJ', 'Rowan Device', 'device', 'specification_device'),
	   spine.add_member('specification_analyst', 'RYJ', 'analyst'), spine.add_member('specification_operator', 'RYJ', 'operator') \g /dev/null
SELECT is(value_as(r, $$ SELECT md5(spine.specification_markdown('maternity', '2.0')) $$), (SELECT md5(md) FROM doc WHERE dataset = 'maternity'),
	r || ' gets the same document') FROM unnest(ARRAY['specification_supplier', 'specification_device', 'specification_analyst', 'specification_operator']) r;
SELECT throws_ok($$ SELECT as_role('specification_stranger', 'SELECT spine.specification_markdown(''maternity'', ''2.0'')') $$, '42501', NULL, 'a stranger gets none');

SELECT * FROM finish();
DO $$ BEGIN DELETE FROM spine.system; DELETE FROM spine.member; END $$;
SELECT drop_roles('specification_supplier', 'specification_device', 'specification_analyst', 'specification_operator', 'specification_stranger') \g /dev/null
