-- What publishing makes, who may publish, versions side by side.
\ir setup.psql
\set hearing `cat :source/test/datasets/hearing-1.0.json`
\set ambulance `cat :source/test/datasets/ambulance-1.0.json`
SELECT plan(78);

-- every group table and view of the data sets published here
CREATE TEMP VIEW group_table AS
	SELECT c.oid, g.dataset, g.data_group, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity
	  FROM spine.data_groups AS g
		   LEFT JOIN pg_class AS c ON c.relname = g.data_group AND c.relkind = 'r'
			AND c.relnamespace = to_regnamespace(g.dataset);
CREATE TEMP VIEW group_view AS
	SELECT c.oid, g.dataset, g.version, g.data_group, c.relowner, c.relacl
	  FROM spine.data_groups AS g JOIN spine.datasets AS d USING (dataset, version)
		   LEFT JOIN pg_class AS c ON c.relname = g.data_group AND c.relkind = 'v'
			AND c.relnamespace = to_regnamespace(d.view_schema);

-- ---------------------------------------------------------------- schemas, tables, views

SELECT schema_owner_is('maternity', 'spine_owner');
SELECT schema_owner_is('maternity_2_0', 'spine_owner');
SELECT schema_privs_are('maternity', 'spine_reader', ARRAY['USAGE']);
SELECT schema_privs_are('maternity', 'spine_member', ARRAY[]::text[]);
SELECT schema_privs_are('maternity', 'spine_supplier', ARRAY[]::text[]);
SELECT schema_privs_are('maternity_2_0', 'spine_member', ARRAY['USAGE']);
SELECT schema_privs_are('maternity_2_0', 'spine_supplier', ARRAY['USAGE']);
SELECT schema_privs_are('maternity_2_0', 'spine_reader', ARRAY[]::text[], 'the reader may create in the view schema no longer');
SELECT schema_privs_are('spine', 'spine_reader', ARRAY['USAGE'], 'nor in the schema spine');

SELECT is((SELECT count(*) FROM group_table WHERE oid IS NOT NULL), 32::bigint, 'maternity has 32 tables');
SELECT is((SELECT count(*) FROM group_view WHERE oid IS NOT NULL), 32::bigint, 'and 32 views');
SELECT is_empty('SELECT * FROM group_table WHERE oid IS NULL', 'no group without its table');
SELECT is_empty($$ SELECT * FROM group_table WHERE relowner <> 'spine_owner'::regrole $$, 'tables belong to spine_owner');
SELECT is_empty($$ SELECT * FROM group_view WHERE relowner <> 'spine_reader'::regrole $$, 'views belong to spine_reader');

SELECT results_eq(
	$$ SELECT a.attname::text COLLATE "default", format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute AS a
		WHERE a.attrelid = 'maternity.booking'::regclass AND a.attnum BETWEEN 1 AND 11 ORDER BY a.attnum $$,
	$$ VALUES ('record_id', 'uuid', true), ('owner', 'text', true), ('source_system', 'text', true),
			  ('local_record_id', 'text', true), ('patient_id', 'uuid', true), ('episode_id', 'uuid', false),
			  ('dataset_version', 'text', true), ('event_at', 'timestamp with time zone', false),
			  ('received_at', 'timestamp with time zone', true), ('revision', 'bigint', true), ('audience', 'text[]', true) $$,
	'the envelope of a table');
SELECT col_is_null('maternity', 'staff', 'patient_id', 'a group without a person may have no patient');
SELECT is_empty($$
	SELECT i.data_group, i.item, i.type, format_type(a.atttypid, a.atttypmod)
	  FROM spine.data_items AS i
		   LEFT JOIN pg_attribute AS a ON a.attrelid = to_regclass(format('%I.%I', i.dataset, i.data_group))
			AND a.attname = i.item AND a.attnum = 11 + i.position
	 WHERE format_type(a.atttypid, a.atttypmod) IS DISTINCT FROM
		   CASE WHEN i.type IN ('nhs_number', 'snomed_code', 'ods_code', 'gestation') THEN 'spine.' || i.type
				WHEN i.type = 'timestamp' THEN 'timestamp with time zone'
				WHEN i.type = 'time' THEN 'time without time zone' ELSE i.type END
		OR a.attnotnull
$$, 'every item is a nullable column of its type, in the order of the definition');
SELECT results_eq(
	$$ SELECT a.attname::text COLLATE "default", format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a
		WHERE a.attrelid = 'maternity_2_0.booking'::regclass AND a.attnum BETWEEN 1 AND 13 ORDER BY a.attnum $$,
	$$ VALUES ('record_id', 'uuid'), ('owner', 'text'), ('source_system', 'text'), ('local_record_id', 'text'),
			  ('nhs_number', 'spine.nhs_number'), ('local_patient_id', 'text'), ('local_episode_id', 'text'),
			  ('patient_id', 'uuid'), ('episode_id', 'uuid'), ('event_at', 'timestamp with time zone'),
			  ('received_at', 'timestamp with time zone'), ('revision', 'bigint'), ('pregnancy_id', 'text') $$,
	'the columns of a view: envelope, what is to write only, then the items');
SELECT results_eq(
	$$ SELECT i.indexname::text COLLATE "default", i.indexdef FROM pg_indexes AS i
		WHERE i.schemaname = 'maternity' AND i.tablename = 'booking' AND i.indexname !~ '_set$' ORDER BY i.indexname COLLATE "C" $$,
	$$ VALUES ('booking_local', 'CREATE UNIQUE INDEX booking_local ON maternity.booking USING btree (local_record_id, source_system, owner)'),
			  ('booking_owner', 'CREATE INDEX booking_owner ON maternity.booking USING btree (owner, event_at)'),
			  ('booking_patient', 'CREATE INDEX booking_patient ON maternity.booking USING btree (patient_id, event_at)'),
			  ('booking_pkey', 'CREATE UNIQUE INDEX booking_pkey ON maternity.booking USING btree (record_id)') $$,
	'the indexes of a table');
SELECT is_empty($$ SELECT t.data_group FROM group_table AS t WHERE (SELECT count(*) FROM pg_index AS x
		JOIN pg_class AS c ON c.oid = x.indexrelid WHERE x.indrelid = t.oid AND c.relname !~ '_set$') <> 4 $$,
	'each table has four, but for those of rules');

-- by which rules look others up
\set feeding `cat :source/test/datasets/feeding-1.0.json`
SELECT lives_ok(format('SELECT spine.publish_dataset(%L::jsonb)', jsonb_set(:'feeding'::jsonb || '{"name": "looks"}', '{groups,2,rules,0,match}',
	'{"unit_number": "unit_number", "fed_on": "born_on"}')), 'a data set with rules that look at other records');
CREATE TEMP VIEW looked AS
	SELECT r.dataset, r.data_group, r.rule, coalesce(r.other_group, r.data_group) AS at_group,
		   CASE r.kind WHEN 'unique' THEN r.items ELSE ARRAY(SELECT value FROM jsonb_each_text(r.match)) END AS items
	  FROM spine.rules AS r WHERE r.kind IN ('unique', 'related', 'exists');
SELECT cmp_ok((SELECT count(*) FROM looked), '>=', 4::bigint, 'there are such rules');
SELECT is_empty($$
	SELECT l.* FROM looked AS l
	 WHERE NOT EXISTS (
			SELECT FROM pg_index AS x
			 WHERE x.indrelid = to_regclass(format('%I.%I', l.dataset, l.at_group))
			   AND (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(x.indkey) WITH ORDINALITY AS k (attnum, n)
					  JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.attnum)
				   = ARRAY(SELECT i COLLATE "C" FROM unnest(l.items) AS i ORDER BY 1) || '{source_system,owner}'::text[])
	   -- a parent is found by its key, which is its local_record_id
	   AND NOT EXISTS (SELECT FROM spine.data_groups AS c JOIN spine.data_groups AS g USING (dataset, version)
						WHERE c.dataset = l.dataset AND c.parent_group = l.at_group AND g.data_group = l.at_group AND g.key = l.items)
$$, 'each finds them by an index');
SELECT is((SELECT count(*) FROM pg_indexes WHERE schemaname = 'looks' AND indexname ~ '_set$'), 3::bigint, 'which a parent''s key does not need');

-- ---------------------------------------------------------------- who reads and writes

SELECT is_empty($$ SELECT * FROM group_table WHERE NOT (relrowsecurity AND relforcerowsecurity) $$,
	'row-level security is enabled and forced on every table');
SELECT is_empty($$
	SELECT t.data_group FROM group_table AS t
	 WHERE (SELECT array_agg(format('%s %s %s %s', p.polname, p.polcmd, p.polroles::regrole[],
								   replace(pg_get_expr(p.polqual, p.polrelid), ' ', '')))
			  FROM pg_policy AS p WHERE p.polrelid = t.oid)
		   IS DISTINCT FROM ARRAY['spine_visible r {spine_reader} (spine.narrowed(((owner=ANY((SELECTspine.my_owners()ASmy_owners)::text[]))'
			   'OR(patient_id=ANY((SELECTspine.my_opened_patients()ASmy_opened_patients)::uuid[]))))'
			   'ANDspine.visible(owner,audience,patient_id,''' || t.dataset || '.' || t.data_group || '''::text))']
$$, 'each has the one policy');
SELECT is_empty($$
	SELECT t.data_group, a.grantee::regrole, a.privilege_type FROM group_table AS t, aclexplode(t.relacl) AS a
	 WHERE a.grantee <> 'spine_owner'::regrole AND (a.grantee <> 'spine_reader'::regrole OR a.privilege_type <> 'SELECT')
$$, 'nobody but the reader has a right on a table, and only to select');
SELECT is_empty($$ SELECT data_group FROM group_table WHERE NOT has_table_privilege('spine_reader', oid, 'SELECT') $$,
	'which the reader may');
SELECT is_empty($$
	SELECT v.data_group FROM group_view AS v
	 WHERE (SELECT string_agg(concat(a.grantee::regrole, ' ', a.privilege_type), ', ' ORDER BY 1)
			  FROM (SELECT * FROM aclexplode(v.relacl) WHERE grantee <> 'spine_reader'::regrole
					ORDER BY grantee::regrole::text, privilege_type) AS a)
		   IS DISTINCT FROM 'spine_member SELECT, spine_supplier DELETE, spine_supplier INSERT, spine_supplier UPDATE'
$$, 'members may read the views, suppliers write them, nobody else anything');

SELECT is_empty($$
	SELECT t.data_group FROM group_table AS t
	 WHERE (SELECT array_agg(format('%s %s %s %s %s %s', g.tgname, g.tgfoid::regproc, g.tgtype,
									coalesce(g.tgoldtable, '-'), coalesce(g.tgnewtable, '-'), encode(g.tgargs, 'escape'))
							 ORDER BY g.tgname)
			  FROM pg_trigger AS g WHERE g.tgrelid = t.oid AND NOT g.tgisinternal)
		   IS DISTINCT FROM ARRAY[
			   format('deliver_delete spine.deliver 8 old_rows - %s\000%s\000', t.dataset, t.data_group),
			   format('deliver_insert spine.deliver 4 - new_rows %s\000%s\000', t.dataset, t.data_group),
			   format('deliver_update spine.deliver 16 old_rows new_rows %s\000%s\000', t.dataset, t.data_group),
			   format('history_delete spine.keep_history 8 old_rows - %s\000%s\000', t.dataset, t.data_group),
			   format('history_update spine.keep_history 16 old_rows new_rows %s\000%s\000', t.dataset, t.data_group),
			   'refuse_truncate spine.refuse_truncate 34 - - ']
$$, 'every table delivers, keeps its history, and is not truncated');
SELECT is_empty($$
	SELECT v.data_group FROM group_view AS v
	 WHERE (SELECT array_agg(format('%s %s %s %s', g.tgname, g.tgfoid::regproc, g.tgtype, encode(g.tgargs, 'escape')) ORDER BY g.tgname)
			  FROM pg_trigger AS g WHERE g.tgrelid = v.oid)
		   IS DISTINCT FROM ARRAY[
			   format('intake_after spine.intake_statement 28 %s\000%s\000%s\000', v.dataset, v.version, v.data_group),
			   format('intake_before spine.intake_statement 30 %s\000%s\000%s\000', v.dataset, v.version, v.data_group),
			   format('intake_row spine.intake_row 93 %s\000%s\000%s\000', v.dataset, v.version, v.data_group)]
$$, 'every view leads into intake');

-- ---------------------------------------------------------------- comments

SELECT is_empty($$
	SELECT c.oid::regclass, a.attname
	  FROM (SELECT oid FROM group_table UNION SELECT oid FROM group_view) AS c
		   JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
	 WHERE col_description(a.attrelid, a.attnum) IS NULL
$$, 'every column of tables and views has a comment');
SELECT is_empty($$
	SELECT oid::regclass FROM (SELECT oid FROM group_table UNION SELECT oid FROM group_view) AS c
	 WHERE obj_description(oid, 'pg_class') IS NULL
$$, 'and so has every table and view');
SELECT is_empty($$
	SELECT nspname FROM pg_namespace WHERE nspname ~ '^maternity' AND obj_description(oid, 'pg_namespace') IS NULL
$$, 'and every schema');
SELECT matches((SELECT col_description(attrelid, attnum) FROM pg_attribute
				 WHERE attrelid = 'maternity_2_0.booking'::regclass AND attname = 'edd_agreed'),
	'^.+NHS name EDDAgreed, UID M101040\.$', 'a column''s comment tells the NHS name and UID');
SELECT matches(obj_description('maternity.booking'::regclass, 'pg_class'), 'NHS table MSD101', 'a table''s the NHS table');

-- ---------------------------------------------------------------- the catalogue

SELECT results_eq('SELECT dataset, version, view_schema, newest FROM spine.datasets ORDER BY dataset',
	$$ VALUES ('looks', '1.0', 'looks_1_0', true), ('maternity', '2.0', 'maternity_2_0', true) $$, 'spine.datasets');
SELECT is((SELECT count(*) FROM spine.data_items WHERE dataset = 'maternity'), 288::bigint, 'spine.data_items has the 288 items');
SELECT results_eq($$ SELECT nhs_name, uid, type, status, class FROM spine.data_items WHERE data_group = 'booking' AND item = 'edd_agreed' $$,
	$$ VALUES ('EDDAgreed', 'M101040', 'date', 'R', 'clinical') $$, 'each with what the definition says');
SELECT results_eq($$ SELECT nhs_table, subject, episode, key FROM spine.data_groups WHERE data_group = 'booking' $$,
	$$ VALUES ('MSD101PregnancyBooking', 'mother', 'pregnancy', ARRAY['pregnancy_id']) $$, 'spine.data_groups');
SELECT is_empty($$ SELECT i.codes FROM spine.data_items AS i
					WHERE i.codes IS NOT NULL AND NOT EXISTS (SELECT FROM spine.codes AS c WHERE c.list = i.codes) $$,
	'every list that an item names has codes in spine.codes');
SELECT is((SELECT count(*) FROM spine.code_lists), (SELECT count(DISTINCT list) FROM spine.codes), 'spine.code_lists has them all');
SELECT is((SELECT count(*) FROM spine.rules),
	(SELECT sum(jsonb_array_length(g -> 'rules')) FROM spine.dataset, jsonb_array_elements(definition -> 'groups') AS g)::bigint,
	'spine.rules has the rules');
SELECT results_eq($$ SELECT rule, kind, severity, other_group, match, applies_when, parameters FROM spine.rules WHERE dataset = 'looks' AND position = 2 ORDER BY rule $$,
	$$ VALUES ('extract.sender_own', 'own_code', 'file', NULL, NULL::jsonb, NULL, NULL::jsonb),
			  ('feed.more_than_weight', 'related', 'warning', 'small_baby', '{"unit_number": "unit_number"}', NULL, NULL),
			  ('small_baby.came_from_open', 'organisation', 'warning', NULL, NULL, NULL, '{"at": "came_on", "except": ["89999"]}') $$,
	'with their kinds and what those take');
SELECT results_eq($$ SELECT rule, applies_when, items, examples ? 'fails' FROM spine.rules WHERE dataset = 'looks' AND applies_when ~ 'came' $$,
	$$ VALUES ('small_baby.twice', 'came_from IS NOT NULL', '{number_of_baby,born_on}'::text[], true) $$, 'with conditions and examples');
SELECT is((SELECT example ->> 'extract_number' FROM spine.data_groups WHERE dataset = 'looks' AND data_group = 'extract'), 'X1', 'groups have their example');

CREATE ROLE publish_stranger;
CREATE ROLE publish_supplier IN ROLE spine_supplier;
CREATE ROLE publish_member IN ROLE spine_member;
CREATE ROLE publish_operator IN ROLE spine_operator;
CREATE ROLE publish_governor IN ROLE spine_governor;
SELECT is_empty($$
	SELECT r, v FROM unnest('{publish_supplier,publish_member,publish_operator,publish_governor}'::text[]) AS r,
		   unnest('{datasets,data_groups,data_items,code_lists,codes,rules}'::text[]) AS v
	 WHERE NOT has_table_privilege(r, 'spine.' || v, 'SELECT')
$$, 'members, suppliers, operators and governors read the catalogue');
SELECT is_empty($$
	SELECT v FROM unnest('{datasets,data_groups,data_items,code_lists,codes,rules,all_records,dataset}'::text[]) AS v
	 WHERE has_table_privilege('publish_stranger', 'spine.' || v, 'SELECT')
$$, 'a stranger does not');

-- ---------------------------------------------------------------- who may publish

SELECT is_empty($$
	SELECT f.oid::regprocedure FROM pg_proc AS f
	 WHERE f.pronamespace = 'spine'::regnamespace AND f.proname IN ('publish_dataset', 'definition_faults', 'shipped_datasets',
		   'make_group_table', 'make_group_view', 'extend_group_table', 'make_all_records', 'rule_faults', 'tree_fault')
	   AND (has_function_privilege('publish_stranger', f.oid, 'EXECUTE') OR has_function_privilege('publish_member', f.oid, 'EXECUTE')
			OR has_function_privilege('publish_governor', f.oid, 'EXECUTE'))
$$, 'neither strangers nor members nor governors may publish, nor call what publishing calls');
SET ROLE publish_supplier;
SELECT throws_ok($$ SELECT spine.publish_dataset('maternity', '2.0') $$, '42501', NULL, 'a supplier may not publish');
SELECT throws_ok(format('SELECT spine.publish_dataset(%L::jsonb)', :'hearing'), '42501', NULL, 'in neither form');
SELECT is_empty(format('SELECT * FROM spine.definition_faults(%L)', :'hearing'), 'but may ask what is wrong with a definition');
RESET ROLE;
SELECT hasnt_schema('hearing');

SET ROLE publish_operator;
SELECT throws_ok($$ SELECT spine.make_group_table('maternity', '{}') $$, '42501', NULL, 'an operator may not call the parts');
SELECT is(spine.publish_dataset(:'hearing'::jsonb), 'hearing_1_0', 'an operator publishes a data set that nobody here has seen');
RESET ROLE;
SELECT is((SELECT published_by::text FROM spine.datasets WHERE dataset = 'hearing'), SESSION_USER::text, 'it is known who did');
SELECT is(spine.publish_dataset(:'ambulance'::jsonb), 'ambulance_1_0', 'and a further one');
SELECT throws_ok($$ SELECT spine.publish_dataset('maternity', '9.9') $$, 'SP003', NULL, 'one that does not come with spine is unknown');
SELECT throws_ok($$ SELECT spine.publish_dataset(NULL) $$, 'SP004', NULL, 'and none at all is no definition');

-- ---------------------------------------------------------------- once published

SELECT is((SELECT definition FROM spine.dataset WHERE name = 'hearing'), :'hearing'::jsonb, 'the definition is kept as it came');
SELECT is(spine.publish_dataset(:'hearing'::jsonb), 'hearing_1_0', 'the same again is no fault');
SELECT is((SELECT count(*) FROM spine.dataset), 4::bigint, 'and nothing new');
SELECT throws_ok(format('SELECT spine.publish_dataset(%L::jsonb)', :'hearing'::jsonb || '{"title": "Other"}'), '42710',
	'data set "hearing" version "1.0" is published already, with another definition', 'a published version never changes');

-- a baby, told of here and elsewhere; a member of RYJ looks
INSERT INTO spine.member (role_name, organisation, duty) VALUES ('publish_member', 'RYJ', 'analyst');
INSERT INTO hearing.screened_baby (record_id, owner, source_system, local_record_id, patient_id, dataset_version, event_at, received_at,
		revision, audience, screening_number, listed_on)
	SELECT spine.uuid_v7(), o, 'list', o, '00000000-0000-8000-8000-000000000001', '1.0', now(), now(), 1, '{}', 'HS-' || o, '2026-01-05'
	  FROM unnest('{RYJ,RQM}'::text[]) AS o;
INSERT INTO hearing.ear_screen (record_id, owner, source_system, local_record_id, patient_id, dataset_version, event_at, received_at,
		revision, audience, screening_number, ear, device)
	VALUES (spine.uuid_v7(), 'RYJ', 'list', 'HS-RYJ|L', '00000000-0000-8000-8000-000000000001', '1.0', now(), now(), 1, '{}', 'HS-RYJ', 'L', 'Echo');
SELECT is_empty('SELECT * FROM spine.all_records', 'who is no member of an organisation sees nothing in spine.all_records');
SET ROLE publish_member;
SELECT results_eq($$ SELECT dataset, version, data_group, title, owner COLLATE "default", data FROM spine.all_records ORDER BY data_group, owner $$,
	$$ VALUES ('hearing', '1.0', 'ear_screen', 'Screen of one ear', 'RYJ', '{"screening_number": "HS-RYJ", "ear": "L", "device": "Echo"}'::jsonb),
			  ('hearing', '1.0', 'screened_baby', 'Baby on the screening list', 'RYJ', '{"screening_number": "HS-RYJ", "listed_on": "2026-01-05"}') $$,
	'a member sees the items that are not null of the own organisation''s records');
RESET ROLE;

-- ---------------------------------------------------------------- a second version

SELECT throws_ok(format('SELECT spine.publish_dataset(%L::jsonb)',
		jsonb_set(:'hearing'::jsonb || '{"version": "1.1"}', '{groups,1,items,4,type}', '"integer"') #- '{groups,1,items,4,max}'),
	'SP004', 'data-set definition has 1 fault', 'an item that is kept keeps its type');
SELECT hasnt_schema('hearing_1_1');
-- ear_screen loses its device and gains a room; consent is new
SELECT is(spine.publish_dataset(
		jsonb_set(jsonb_set(:'hearing'::jsonb || '{"version": "1.10"}', '{groups,1,items,5}',
			'{"name": "room", "title": "Room", "type": "text", "status": "O", "class": "administrative"}'),
			'{groups,3}', '{"name": "consent", "title": "Consent", "description": "The parents'' word.", "subject": "baby",
				"key": ["consent_number"], "items": [
				{"name": "consent_number", "title": "Number", "type": "integer", "status": "M", "class": "administrative"}]}')),
	'hearing_1_10', 'a second version');
SELECT columns_are('hearing_1_0', 'ear_screen', ARRAY['record_id', 'owner', 'source_system', 'local_record_id', 'nhs_number',
	'local_patient_id', 'local_episode_id', 'patient_id', 'episode_id', 'event_at', 'received_at', 'revision',
	'screening_number', 'ear', 'screened_at', 'result', 'loudness', 'device'], 'the first version''s view is as it was');
SET ROLE publish_member;
SELECT results_eq($$ SELECT screening_number, room FROM hearing_1_10.ear_screen $$, $$ VALUES ('HS-RYJ', NULL::text) $$,
	'the old row stands in the second, with the new item');
SELECT is((SELECT data ->> 'device' FROM spine.all_records WHERE data_group = 'ear_screen'), 'Echo',
	'and what the new version leaves out is not lost');
RESET ROLE;
SELECT results_eq($$ SELECT version, newest FROM spine.datasets WHERE dataset = 'hearing' ORDER BY newest $$,
	$$ VALUES ('1.0', false), ('1.10', true) $$, 'the second is the newest');
SELECT is(spine.publish_dataset(:'hearing'::jsonb || '{"version": "1.9", "title": "Between"}'), 'hearing_1_9', 'a version between them, later');
SELECT unalike(obj_description('hearing'::regnamespace, 'pg_namespace'), '%Between%', 'does not speak for the tables');

-- ---------------------------------------------------------------- reading through it

SET ROLE publish_member;
SELECT results_eq($$ SELECT data_group, owner COLLATE "default" FROM spine.all_records WHERE patient_id = '00000000-0000-8000-8000-000000000001' ORDER BY 1 $$,
	$$ VALUES ('ear_screen', 'RYJ'), ('screened_baby', 'RYJ') $$, 'row-level security holds in spine.all_records: own rows alone');
SELECT results_eq('SELECT owner COLLATE "default" FROM hearing_1_0.screened_baby', $$ VALUES ('RYJ') $$, 'and in the views');
SELECT throws_ok('SELECT * FROM hearing.screened_baby', '42501', NULL, 'the tables are not to be read');
RESET ROLE;

-- a condition on the patient meets the index of every branch: a view asks its owner's policies, so a superuser, who may explain, sees the plan of all
CREATE FUNCTION pg_temp.branches(statement text) RETURNS TABLE (node text) LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || statement INTO plan;
	RETURN QUERY SELECT p ->> 'Node Type' FROM jsonb_path_query(plan, '$.**') AS p
				  WHERE jsonb_typeof(p) = 'object' AND p ? 'Relation Name';
END
$$;
SET enable_seqscan = off;
SELECT bag_eq($$ SELECT node IN ('Index Scan', 'Bitmap Heap Scan') FROM pg_temp.branches(
		'SELECT * FROM spine.all_records WHERE patient_id = ''00000000-0000-8000-8000-000000000001''') $$,
	$$ SELECT true FROM spine.data_groups AS g JOIN spine.datasets AS d USING (dataset, version)
		WHERE d.newest OR g.dataset <> 'hearing' $$,
	'a condition on the patient goes down to the index of every group');
RESET enable_seqscan;

SELECT * FROM finish();
DROP ROLE publish_stranger, publish_supplier, publish_member, publish_operator, publish_governor;
