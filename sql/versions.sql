-- Versions of a data set: a definition that extends another, which versions are accepted until
-- when, and what has changed between two. A definition that extends is expanded to the whole that it
-- stands for (spine.expand_definition), and nothing after that knows of it.

-- ---------------------------------------------------------------- names, in whatever refers to them

CREATE FUNCTION spine.rename_names(value jsonb, names jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	RETURN CASE jsonb_typeof(value)
		WHEN 'string' THEN to_jsonb(coalesce(names ->> (value #>> '{}'), value #>> '{}'))
		WHEN 'array' THEN coalesce((SELECT jsonb_agg(spine.rename_names(e.body, names) ORDER BY e.n)
									  FROM jsonb_array_elements(value) WITH ORDINALITY AS e (body, n)), '[]')
		WHEN 'object' THEN coalesce((SELECT jsonb_object_agg(e.key, spine.rename_names(e.value, names))
									   FROM jsonb_each(value) AS e), '{}')
		ELSE value
	END;
END
$fn$;
COMMENT ON FUNCTION spine.rename_names(jsonb, jsonb) IS
	'A value with each text in it that is an old name replaced. names: {OLD: NEW}. Keys of objects stay.';

CREATE FUNCTION spine.rename_keys(value jsonb, names jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT coalesce(jsonb_object_agg(coalesce(names ->> e.key, e.key), e.value), '{}')
	  FROM jsonb_each(value) AS e
	 WHERE NOT (names ? e.key AND names -> e.key = 'null')
	$fn$;
COMMENT ON FUNCTION spine.rename_keys(jsonb, jsonb) IS
	'An object with other keys. names: {OLD: NEW}, null for a key that goes.';

CREATE FUNCTION spine.rename_example(example jsonb, data_group text, names jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE jsonb_typeof(example)
		WHEN 'object' THEN spine.rename_keys(example, spine.json_object(names -> data_group))
		WHEN 'array' THEN
			(SELECT jsonb_agg(e.body || jsonb_build_object('data', spine.rename_keys(e.body -> 'data', spine.json_object(names -> (e.body ->> 'group'))))
							  ORDER BY e.n)
			   FROM jsonb_array_elements(example) WITH ORDINALITY AS e (body, n))
		ELSE example
	END
	$fn$;
COMMENT ON FUNCTION spine.rename_example(jsonb, text, jsonb) IS
	'An example of a group or a rule with other names of items. names: {GROUP: {OLD: NEW}}, null for an item that goes.';

/*
 * In an expression a word is an item where a column can stand: outside of literals, not a function,
 * not a type, not behind a point. Of what stands behind a point, header.ITEM and other.ITEM are items.
 */
CREATE FUNCTION spine.rename_words(expression text, own jsonb, other jsonb, header jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	parts text[] := string_to_array(expression, '''');
	name record;
BEGIN
	FOR i IN 1 .. cardinality(parts) BY 2 LOOP
		FOR name IN SELECT * FROM jsonb_each_text(own) LOOP
			parts[i] := regexp_replace(parts[i],
				concat('(?<![.:]\s*)(?<!\mas\s+)(?<!\mextract\s*\(\s*)\m', name.key, '\M(?!\s*[.(])',
					   CASE WHEN i < cardinality(parts) THEN '(?!\s*$)' END),		-- a type before its literal
				name.value, 'gi');
		END LOOP;
		FOR name IN SELECT 'other' AS place, * FROM jsonb_each_text(other)
					 UNION ALL SELECT 'header', * FROM jsonb_each_text(header) LOOP
			parts[i] := regexp_replace(parts[i], concat('(\m', name.place, '\s*\.\s*)', name.key, '\M'), '\1' || name.value, 'gi');
		END LOOP;
	END LOOP;
	RETURN array_to_string(parts, '''');
END
$fn$;
COMMENT ON FUNCTION spine.rename_words(text, jsonb, jsonb, jsonb) IS
	'An expression with other names of items. own, other, header: {OLD: NEW} of the rule''s group, of the group it looks at and of the header.';

CREATE FUNCTION spine.rename_in_text(words text, names jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	name record;
BEGIN
	FOR name IN SELECT * FROM jsonb_each_text(names) LOOP
		words := regexp_replace(words, concat('\m', name.key, '\M'), name.value, 'g');
	END LOOP;
	RETURN words;
END
$fn$;
COMMENT ON FUNCTION spine.rename_in_text(text, jsonb) IS 'A message with other names of items. names: {OLD: NEW}.';

CREATE FUNCTION spine.rename_in_rule(rule jsonb, data_group jsonb, header text, names jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	own jsonb := jsonb_strip_nulls(spine.json_object(names -> (data_group ->> 'name')));
	other jsonb := jsonb_strip_nulls(spine.json_object(names -> (rule ->> 'group')));
	of_header jsonb := jsonb_strip_nulls(spine.json_object(names -> header));
	key text;
BEGIN
	FOREACH key IN ARRAY ARRAY['expression', 'when'] LOOP
		IF rule ? key THEN
			rule := jsonb_set(rule, ARRAY[key], to_jsonb(spine.rename_words(rule ->> key, own, other, of_header)));
		END IF;
	END LOOP;
	FOREACH key IN ARRAY ARRAY['items', 'at'] LOOP
		IF rule ? key THEN
			rule := jsonb_set(rule, ARRAY[key], spine.rename_names(rule -> key, own));
		END IF;
	END LOOP;
	IF rule ? 'match' THEN
		rule := jsonb_set(rule, '{match}', spine.rename_keys(spine.rename_names(rule -> 'match', other), own));
	END IF;
	FOREACH key IN ARRAY ARRAY['passes', 'fails'] LOOP
		IF rule -> 'examples' ? key THEN
			rule := jsonb_set(rule, ARRAY['examples', key], spine.rename_example(rule -> 'examples' -> key, data_group ->> 'name', names));
		END IF;
	END LOOP;
	-- what the other group's items are called, where the group has none of that name
	RETURN jsonb_set(rule, '{message}', to_jsonb(spine.rename_in_text(rule ->> 'message',
		(other - ARRAY(SELECT i ->> 'name' FROM jsonb_array_elements(data_group -> 'items') AS i)) || own)));
END
$fn$;
COMMENT ON FUNCTION spine.rename_in_rule(jsonb, jsonb, text, jsonb) IS
	'A rule with other names of items. data_group: the rule''s group with its old names; names: {GROUP: {OLD: NEW}}.';

CREATE FUNCTION spine.rename_in_group(data_group jsonb, header text, names jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	own jsonb := jsonb_strip_nulls(spine.json_object(names -> (data_group ->> 'name')));
	renamed jsonb := data_group;
	key text;
BEGIN
	FOREACH key IN ARRAY ARRAY['key', 'local_patient_id', 'nhs_number', 'local_episode_id', 'event', 'anchor'] LOOP
		IF renamed ? key THEN
			renamed := jsonb_set(renamed, ARRAY[key], spine.rename_names(renamed -> key, own));
		END IF;
	END LOOP;
	IF renamed ? 'parent' THEN
		renamed := jsonb_set(renamed, '{parent,item}', spine.rename_names(renamed -> 'parent' -> 'item', own));
	END IF;
	IF renamed ? 'example' THEN
		renamed := jsonb_set(renamed, '{example}', spine.rename_example(renamed -> 'example', data_group ->> 'name', names));
	END IF;
	renamed := jsonb_set(renamed, '{items}',
		(SELECT jsonb_agg(CASE WHEN own ? (i.body ->> 'name')
							   THEN i.body || jsonb_build_object('name', own ->> (i.body ->> 'name'), 'column', spine.item_column(i.body))
							   ELSE i.body END ORDER BY i.n)
		   FROM jsonb_array_elements(renamed -> 'items') WITH ORDINALITY AS i (body, n)));
	IF renamed ? 'rules' THEN
		renamed := jsonb_set(renamed, '{rules}',
			(SELECT coalesce(jsonb_agg(spine.rename_in_rule(r.body, data_group, header, names) ORDER BY r.n), '[]')
			   FROM jsonb_array_elements(renamed -> 'rules') WITH ORDINALITY AS r (body, n)));
	END IF;
	RETURN renamed;
END
$fn$;
COMMENT ON FUNCTION spine.rename_in_group(jsonb, text, jsonb) IS
	'A group with other names of items, which keep their columns. names: {GROUP: {OLD: NEW}}, null for an item that examples are to leave out.';

CREATE FUNCTION spine.rename_items(definition jsonb, names jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE names WHEN '{}' THEN definition
		ELSE jsonb_set(definition, '{groups}',
			(SELECT jsonb_agg(spine.rename_in_group(g.body, definition ->> 'header', names) ORDER BY g.n)
			   FROM jsonb_array_elements(definition -> 'groups') WITH ORDINALITY AS g (body, n)))
	END
	$fn$;
COMMENT ON FUNCTION spine.rename_items(jsonb, jsonb) IS
	'A definition with other names of items in all that refers to them. names: {GROUP: {OLD: NEW}}, null for an item that examples are to leave out.';

-- ---------------------------------------------------------------- a definition that extends

CREATE FUNCTION spine.is_extension(definition jsonb) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT coalesce(pg_catalog.jsonb_typeof(definition) = 'object' AND definition ? 'extends'
					AND (definition -> 'whole') IS DISTINCT FROM 'true', false)
	$fn$;
COMMENT ON FUNCTION spine.is_extension(jsonb) IS
	'Whether a definition says only what differs from the version that it extends. The whole that it stands for says "whole": true.';

CREATE FUNCTION spine.known_definition(name text, version text, seen text[] DEFAULT '{}') RETURNS jsonb
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	found jsonb;
BEGIN
	IF version = ANY (seen) THEN
		RETURN NULL;
	END IF;
	IF to_regclass('spine.dataset') IS NOT NULL THEN
		SELECT d.definition INTO found FROM spine.dataset AS d
		 WHERE d.name = known_definition.name AND d.version = known_definition.version;
	END IF;
	IF found IS NULL THEN
		SELECT spine.expand(s, seen) INTO found FROM spine.shipped_datasets() AS s
		 WHERE s ->> 'name' = known_definition.name AND s ->> 'version' = known_definition.version;
	END IF;
	RETURN found;
END
$fn$;
COMMENT ON FUNCTION spine.known_definition(text, text, text[]) IS
	'The whole definition of a version that is published here or comes with spine; NULL where there is none. seen: versions that lead here by what they extend.';

CREATE FUNCTION spine.expand(definition jsonb, seen text[]) RETURNS jsonb
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	base jsonb;
BEGIN
	IF NOT spine.is_extension(definition) THEN
		RETURN definition;
	END IF;
	base := spine.known_definition(spine.json_text(definition -> 'name'), spine.json_text(definition -> 'extends'),
								   seen || spine.json_text(definition -> 'version'));
	IF base IS NULL OR EXISTS (SELECT FROM spine.extension_faults(definition, base)) THEN
		RETURN NULL;
	END IF;
	RETURN spine.apply_extension(definition, base);
END
$fn$;
COMMENT ON FUNCTION spine.expand(jsonb, text[]) IS 'spine.expand_definition, with the versions that led here.';

CREATE FUNCTION spine.expand_definition(definition jsonb) RETURNS jsonb
	LANGUAGE sql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$ SELECT spine.expand(definition, '{}') $fn$;
COMMENT ON FUNCTION spine.expand_definition(jsonb) IS
	'The whole definition that one that extends another version stands for; any other as it is. NULL where it cannot be told: spine.definition_faults says why.';

-- What is wrong with an extension itself. What it makes of the base is judged as every definition is.
CREATE FUNCTION spine.extension_faults(definition jsonb, base jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH bg AS MATERIALIZED (
		SELECT * FROM spine.definition_members(base -> 'groups', 'groups')
	), bi AS MATERIALIZED (
		SELECT group_name, name, spine.item_column(body) AS column_name, body FROM spine.definition_items(base)
	), dg AS MATERIALIZED (
		SELECT d.*, bg.body AS old FROM spine.definition_members(definition -> 'groups', 'groups') AS d LEFT JOIN bg USING (name)
	), kg AS MATERIALIZED (
		SELECT * FROM dg WHERE old IS NOT NULL
	), rename AS MATERIALIZED (
		SELECT kg.name AS group_name, concat(kg.path, '.rename.', left(e.key, 63)) AS path, e.key AS old_name,
			   spine.json_text(e.value) AS new_name, e.value
		  FROM kg, jsonb_each(spine.json_object(kg.body -> 'rename')) AS e
	), retire AS MATERIALIZED (
		SELECT kg.name AS group_name, concat(kg.path, '.retire.', k) AS path, k AS kind, spine.json_text(e) AS name
		  FROM kg, unnest('{items,rules}'::text[]) AS k,
			   jsonb_array_elements(spine.json_list(spine.json_object(kg.body -> 'retire') -> k)) AS e
	), item AS MATERIALIZED (
		SELECT kg.name AS group_name, i.name, i.body, i.path, b.body AS old
		  FROM kg CROSS JOIN LATERAL spine.definition_members(kg.body -> 'items', kg.path || '.items') AS i
			   LEFT JOIN rename AS r ON r.group_name = kg.name AND r.new_name = i.name
			   LEFT JOIN bi AS b ON b.group_name = kg.name AND b.name = coalesce(r.old_name, i.name)
				AND NOT EXISTS (SELECT FROM rename AS x WHERE x.group_name = kg.name AND x.old_name = i.name)
	), rule AS MATERIALIZED (
		SELECT kg.name AS group_name, spine.json_text(r.body -> 'id') AS id, r.body, concat(kg.path, '.rules[', r.n - 1, ']') AS path,
			   (SELECT b FROM jsonb_array_elements(spine.json_list(kg.old -> 'rules')) AS b WHERE b -> 'id' = r.body -> 'id') AS old
		  FROM kg, jsonb_array_elements(spine.json_list(kg.body -> 'rules')) WITH ORDINALITY AS r (body, n)
	), changed (path, body, old) AS (
		-- whatever is there already and changes by keys, of which null takes one away
		SELECT path, body - '{items,rules,rename,retire}'::text[], old FROM kg
		UNION ALL SELECT path, body, old FROM item WHERE old IS NOT NULL AND jsonb_typeof(body) = 'object'
		UNION ALL SELECT path, body, old FROM rule WHERE old IS NOT NULL
		UNION ALL
		SELECT concat(k, '.', left(e.key, 63)), e.value - 'codes', base -> k -> e.key
		  FROM unnest('{code_lists,episodes}'::text[]) AS k, jsonb_each(spine.json_object(definition -> k)) AS e
		 WHERE spine.json_object(base -> k) ? e.key AND jsonb_typeof(e.value) = 'object'
		UNION ALL
		SELECT concat('code_lists.', left(e.key, 63), '.codes'), e.value -> 'codes', base -> 'code_lists' -> e.key -> 'codes'
		  FROM jsonb_each(spine.json_object(definition -> 'code_lists')) AS e
		 WHERE spine.json_object(base -> 'code_lists') ? e.key AND jsonb_typeof(spine.json_object(e.value) -> 'codes') = 'object'
		UNION ALL
		SELECT k, definition -> k, spine.json_object(base -> k)
		  FROM unnest('{code_lists,episodes}'::text[]) AS k WHERE jsonb_typeof(definition -> k) = 'object'
	)
	SELECT f.path, f.fault
	  FROM spine.shape_faults(definition, '', '{
			"name": "!text", "version": "!text", "extends": "!text", "title": "text", "description": "text", "source": "text",
			"mandation": "text", "header": "text", "code_lists": "object", "episodes": "object", "groups": "list", "retire": "texts"}') AS f
	UNION ALL
	SELECT concat(c.path, '.', left(e.key, 63)), format('is null, but version %s has nothing there to take away', base ->> 'version')
	  FROM changed AS c, jsonb_each(c.body) AS e WHERE e.value = 'null' AND NOT c.old ? e.key
	UNION ALL
	SELECT concat(c.path, '.', left(e.key, 63)), 'must be an object, or null to take it away'
	  FROM changed AS c, jsonb_each(c.body) AS e
	 WHERE c.path IN ('code_lists', 'episodes') AND c.old ? e.key AND jsonb_typeof(e.value) NOT IN ('object', 'null')
	UNION ALL
	SELECT concat('code_lists.', left(e.key, 63), '.codes'), 'must be an object of codes, null for one that goes'
	  FROM jsonb_each(spine.json_object(definition -> 'code_lists')) AS e
	 WHERE spine.json_object(base -> 'code_lists') ? e.key AND jsonb_typeof(spine.json_object(e.value) -> 'codes') <> 'object'
	UNION ALL
	SELECT dg.path || '.name', format('is the name of %s groups', count(*) OVER (PARTITION BY dg.name))
	  FROM dg WHERE dg.name IN (SELECT name FROM dg GROUP BY name HAVING count(*) > 1)
	UNION ALL
	SELECT f.path, f.fault
	  FROM kg, spine.shape_faults(spine.json_object(kg.body) - (SELECT array_agg(k) FROM jsonb_object_keys(kg.body) AS k
																 WHERE k NOT IN ('items', 'rules', 'rename', 'retire')),
								  kg.path, '{"items": "list", "rules": "list", "rename": "map", "retire": "object"}') AS f
	UNION ALL
	SELECT f.path, f.fault
	  FROM kg, spine.shape_faults(kg.body -> 'retire', kg.path || '.retire', '{"items": "texts", "rules": "texts"}') AS f
	 WHERE jsonb_typeof(kg.body -> 'retire') = 'object'
	UNION ALL
	-- items
	SELECT i.path, 'must be an object with a name' FROM item AS i WHERE i.name IS NULL
	UNION ALL
	SELECT i.path || '.name', format('is the name of %s items of the group', d.times)
	  FROM item AS i JOIN (SELECT group_name, name, count(*) AS times FROM item GROUP BY 1, 2 HAVING count(*) > 1) AS d
		   USING (group_name, name)
	UNION ALL
	SELECT i.path || '.column', 'cannot be given: an item that is renamed keeps its column, any other has that of its name'
	  FROM item AS i WHERE i.body ? 'column'
	UNION ALL
	SELECT i.path || '.name', format('is the column of the item %s, which was renamed: it cannot mean something else', coalesce(r.new_name, b.name))
	  FROM item AS i JOIN bi AS b ON b.group_name = i.group_name AND b.column_name = i.name
		   LEFT JOIN rename AS r ON r.group_name = b.group_name AND r.old_name = b.name
	 WHERE i.old IS NULL AND coalesce(r.new_name, b.name) <> i.name
	UNION ALL
	-- rules
	SELECT r.path, 'must be an object with an id' FROM rule AS r WHERE r.id IS NULL
	UNION ALL
	SELECT r.path || '.id', format('is the id of %s rules', d.times)
	  FROM rule AS r JOIN (SELECT id, count(*) AS times FROM rule GROUP BY id HAVING count(*) > 1) AS d USING (id)
	UNION ALL
	-- what is renamed
	SELECT r.path, format('is not an item of this group in version %s', base ->> 'version')
	  FROM rename AS r WHERE NOT EXISTS (SELECT FROM bi WHERE bi.group_name = r.group_name AND bi.name = r.old_name)
	UNION ALL
	SELECT r.path, spine.json_fault(r.value, 'name') FROM rename AS r WHERE spine.json_fault(r.value, 'name') IS NOT NULL
	UNION ALL
	SELECT r.path, format('is to be %s, which is an item of the group in version %s', left(r.new_name, 63), base ->> 'version')
	  FROM rename AS r WHERE EXISTS (SELECT FROM bi WHERE bi.group_name = r.group_name AND bi.name = r.new_name)
	UNION ALL
	SELECT r.path, format('is to be %s, which is the column of the item %s', left(r.new_name, 63), bi.name)
	  FROM rename AS r JOIN bi ON bi.group_name = r.group_name AND bi.column_name = r.new_name
	 WHERE bi.name NOT IN (r.new_name, r.old_name)
	UNION ALL
	SELECT r.path, format('is to be %s, as another item is', left(r.new_name, 63))
	  FROM rename AS r WHERE EXISTS (SELECT FROM rename AS o WHERE o.group_name = r.group_name AND o.new_name = r.new_name AND o.old_name <> r.old_name)
	UNION ALL
	-- what is retired
	SELECT r.path, format('names %s, which is not there in version %s', left(r.name, 63), base ->> 'version')
	  FROM retire AS r
	 WHERE r.name IS NOT NULL
	   AND NOT CASE r.kind WHEN 'items' THEN EXISTS (SELECT FROM bi WHERE bi.group_name = r.group_name AND bi.name = r.name)
			   ELSE EXISTS (SELECT FROM bg, jsonb_array_elements(spine.json_list(bg.body -> 'rules')) AS b
							 WHERE bg.name = r.group_name AND b ->> 'id' = r.name) END
	UNION ALL
	SELECT r.path, format('names %s, which this document changes or renames: only one of them', left(r.name, 63))
	  FROM retire AS r
	 WHERE r.kind = 'items' AND (EXISTS (SELECT FROM rename AS n WHERE n.group_name = r.group_name AND n.old_name = r.name)
								 OR EXISTS (SELECT FROM item AS i WHERE i.group_name = r.group_name AND i.name = r.name))
		OR r.kind = 'rules' AND EXISTS (SELECT FROM rule AS u WHERE u.group_name = r.group_name AND u.id = r.name)
	UNION ALL
	SELECT 'retire', CASE WHEN EXISTS (SELECT FROM bg WHERE bg.name = t.name)
						  THEN format('names the group %s, which this document changes: only one of them', left(t.name, 63))
						  ELSE format('names the group %s, which is not there in version %s', left(t.name, 63), base ->> 'version') END
	  FROM (SELECT spine.json_text(e) AS name FROM jsonb_array_elements(spine.json_list(definition -> 'retire')) AS e) AS t
	 WHERE t.name IS NOT NULL
	   AND (NOT EXISTS (SELECT FROM bg WHERE bg.name = t.name) OR EXISTS (SELECT FROM kg WHERE kg.name = t.name))
	$fn$;
COMMENT ON FUNCTION spine.extension_faults(jsonb, jsonb) IS
	'Faults of a definition that extends, against the whole definition of the version that it extends.';

CREATE FUNCTION spine.base_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	dataset text := spine.json_text(definition -> 'name');
	the_version text := spine.json_text(definition -> 'version');
	base_version text := spine.json_text(definition -> 'extends');
	base jsonb := spine.known_definition(dataset, base_version, ARRAY[the_version]);
BEGIN
	IF base IS NOT NULL THEN
		RETURN QUERY SELECT * FROM spine.extension_faults(definition, base);
		RETURN;
	END IF;
	RETURN QUERY SELECT * FROM spine.extension_faults(definition, '{}') AS f WHERE f.path IN ('name', 'version', 'extends');
	path := 'extends';
	fault := CASE
		WHEN base_version = the_version THEN 'is the version itself'
		WHEN EXISTS (SELECT FROM spine.shipped_datasets() AS s WHERE s ->> 'name' = dataset AND s ->> 'version' = base_version)
			THEN format('names version %s, which cannot be told whole: what it extends is missing, faulty or leads back to it', base_version)
		WHEN base_version IS NOT NULL AND dataset IS NOT NULL
			THEN format('names version %s of %s, which is neither published here nor comes with spine', left(base_version, 63), left(dataset, 63))
	END;
	IF fault IS NOT NULL THEN
		RETURN NEXT;
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.base_faults(jsonb) IS 'Faults of a definition that extends: those of the version that it names, else its own against that.';

CREATE FUNCTION spine.change_keys(old jsonb, change jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT (coalesce(old, '{}') || coalesce(change, '{}'))
		   - coalesce((SELECT array_agg(e.key) FROM jsonb_each(change) AS e WHERE e.value = 'null'), '{}')
	$fn$;
COMMENT ON FUNCTION spine.change_keys(jsonb, jsonb) IS 'An object with the keys of another laid over it, of which null takes one away.';

CREATE FUNCTION spine.change_members(old jsonb, change jsonb, id text, retired jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT coalesce(jsonb_agg(m.body ORDER BY m.is_new, m.n), '[]')
	  FROM (SELECT false AS is_new, o.n, spine.change_keys(o.body, c) AS body
			  FROM jsonb_array_elements(spine.json_list(old)) WITH ORDINALITY AS o (body, n)
				   LEFT JOIN jsonb_array_elements(spine.json_list(change)) AS c ON c -> id = o.body -> id
			 WHERE NOT spine.json_list(retired) @> (o.body -> id)
			UNION ALL
			SELECT true, c.n, c.body
			  FROM jsonb_array_elements(spine.json_list(change)) WITH ORDINALITY AS c (body, n)
			 WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(spine.json_list(old)) AS o WHERE o -> id = c.body -> id)) AS m
	$fn$;
COMMENT ON FUNCTION spine.change_members(jsonb, jsonb, text, jsonb) IS
	'A list of items or rules: those that are there with their changes, without the retired, then the new ones. id: the key that identifies one.';

CREATE FUNCTION spine.change_group(old jsonb, change jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE WHEN change IS NULL THEN old
		ELSE spine.change_keys(old, change - '{items,rules,rename,retire}'::text[])
			|| jsonb_build_object('items', spine.change_members(old -> 'items', change -> 'items', 'name', change -> 'retire' -> 'items'))
			|| CASE WHEN old ? 'rules' OR change ? 'rules'
					THEN jsonb_build_object('rules', spine.change_members(old -> 'rules', change -> 'rules', 'id', change -> 'retire' -> 'rules'))
					ELSE '{}' END
	END
	$fn$;
COMMENT ON FUNCTION spine.change_group(jsonb, jsonb) IS 'A group with the changes that an extension has for it.';

CREATE FUNCTION spine.apply_extension(definition jsonb, base jsonb) RETURNS jsonb
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	changes jsonb := spine.json_list(definition -> 'groups');
	whole jsonb;
	kind text;
BEGIN
	whole := spine.rename_items(base, coalesce(
		(SELECT jsonb_object_agg(c ->> 'name', spine.json_object(c -> 'rename')
					|| coalesce((SELECT jsonb_object_agg(k, NULL::text) FROM jsonb_array_elements_text(c -> 'retire' -> 'items') AS k), '{}'))
		   FROM jsonb_array_elements(changes) AS c
		  WHERE spine.json_text(c -> 'name') IS NOT NULL AND (c ? 'rename' OR c -> 'retire' ? 'items')), '{}'));
	whole := whole || (definition - '{code_lists,episodes,groups,retire}'::text[]) || '{"whole": true}'
		|| jsonb_build_object('groups',
			coalesce((SELECT jsonb_agg(spine.change_group(g.body, (SELECT c FROM jsonb_array_elements(changes) AS c WHERE c -> 'name' = g.body -> 'name'))
									   ORDER BY g.n)
						FROM jsonb_array_elements(whole -> 'groups') WITH ORDINALITY AS g (body, n)
					   WHERE NOT spine.json_list(definition -> 'retire') @> (g.body -> 'name')), '[]')
			|| coalesce((SELECT jsonb_agg(c.body ORDER BY c.n)
						   FROM jsonb_array_elements(changes) WITH ORDINALITY AS c (body, n)
						  WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(base -> 'groups') AS g WHERE g -> 'name' = c.body -> 'name')), '[]'));
	FOREACH kind IN ARRAY ARRAY['code_lists', 'episodes'] LOOP
		IF definition ? kind THEN
			whole := whole || jsonb_build_object(kind, spine.change_keys(base -> kind,
				(SELECT jsonb_object_agg(e.key,
						CASE WHEN NOT spine.json_object(base -> kind) ? e.key OR e.value = 'null' THEN e.value
							 ELSE spine.change_keys(base -> kind -> e.key, e.value)
								|| CASE WHEN e.value ? 'codes'
										THEN jsonb_build_object('codes', spine.change_keys(base -> kind -> e.key -> 'codes', e.value -> 'codes'))
										ELSE '{}' END END)
				   FROM jsonb_each(definition -> kind) AS e)));
		END IF;
	END LOOP;
	RETURN whole;
END
$fn$;
COMMENT ON FUNCTION spine.apply_extension(jsonb, jsonb) IS
	'The whole definition of a faultless one that extends another, of which base is the whole.';

-- ---------------------------------------------------------------- what may be sent until when

CREATE FUNCTION spine.accepted_versions(dataset text)
	RETURNS TABLE (version text, view_schema text, accepted_from date, accepted_until date, newest boolean, state text)
	LANGUAGE sql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT d.version, d.view_schema, d.published_at::date, d.retired_on - 1, d.newest,
		   CASE WHEN d.retired_on <= current_date THEN 'retired' WHEN d.retired_on IS NOT NULL THEN 'retires' ELSE 'accepted' END
	  FROM spine.datasets AS d
	 WHERE d.dataset = accepted_versions.dataset
	 ORDER BY string_to_array(d.version, '.')::integer[] DESC
	$fn$;
COMMENT ON FUNCTION spine.accepted_versions(text) IS
	'The versions of a data set that are published here, the newest first. accepted_until: the last day on which records of the version are taken, NULL while no end is set. state: accepted, retires (until accepted_until), retired. No row: no such data set here.';

CREATE FUNCTION spine.retire_dataset(name text, version text, on_date date) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	others text;
BEGIN
	UPDATE spine.dataset AS d SET retired_on = on_date
	 WHERE d.name = retire_dataset.name AND d.version = retire_dataset.version;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'data set "%" version "%" is not published here', name, version
			USING ERRCODE = 'SP003',
				  HINT = coalesce((SELECT format('Published are: %s.', string_agg(concat(d.name, ' ', d.version), ', ' ORDER BY d.name, d.version))
									 FROM spine.dataset AS d),
								  'No data set is published here.');
	END IF;
	SELECT string_agg(v.version, ', ') INTO others FROM spine.accepted_versions(name) AS v WHERE v.state = 'accepted';
	IF others IS NULL THEN
		RAISE NOTICE 'no version of data set "%" is accepted without end', name
			USING HINT = 'Publish a version that suppliers can go on with.';
	END IF;
	RETURN (SELECT concat(format('%s %s is ', retire_dataset.name, v.version),
						  CASE v.state WHEN 'accepted' THEN 'accepted without end' WHEN 'retires' THEN format('accepted until %s', v.accepted_until)
									   ELSE format('accepted no longer, since %s', v.accepted_until + 1) END,
						  '; of its versions are accepted without end: ' || others)
			  FROM spine.accepted_versions(name) AS v WHERE v.version = retire_dataset.version);
END
$fn$;
COMMENT ON FUNCTION spine.retire_dataset(text, text, date) IS
	'Says from which day on records of a version of a data set are no longer taken: on_date is the first such day, NULL takes the retirement back. What is stored stays, and is read through the version''s views as before. Returns in words what holds now; spine.accepted_versions has it as rows. SP003 where the version is not published here; a notice where no version is left that is accepted without end. For spine_operator.';

-- ---------------------------------------------------------------- what has changed

CREATE FUNCTION spine.value_words(key text, value jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	RETURN CASE jsonb_typeof(value)
		WHEN 'array' THEN (SELECT string_agg(spine.value_words(key, e.body), ', ' ORDER BY e.n)
							 FROM jsonb_array_elements(value) WITH ORDINALITY AS e (body, n))
		WHEN 'object' THEN (SELECT string_agg(concat(e.key, ' ', spine.value_words('', e.value)), ' ') FROM jsonb_each(value) AS e)
		WHEN 'string' THEN
			CASE WHEN key = 'status' THEN concat(value #>> '{}', CASE value #>> '{}' WHEN 'M' THEN ' (mandatory)' WHEN 'R' THEN ' (required)'
																	  WHEN 'O' THEN ' (optional)' WHEN 'P' THEN ' (pilot)' END)
				 WHEN key IN ('title', 'description', 'message', 'expression', 'when', 'source', 'mandation', 'meaning')
				 THEN concat('"', value #>> '{}', '"')
				 ELSE value #>> '{}' END
		ELSE value::text
	END;
END
$fn$;
COMMENT ON FUNCTION spine.value_words(text, jsonb) IS 'What stands at a key of a definition, to be read in a sentence.';

CREATE FUNCTION spine.key_changes(old jsonb, new jsonb, keys text[]) RETURNS TABLE (n bigint, change text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT k.n,
		   concat(coalesce(w.word, replace(k.key, '_', ' ')),
				  CASE WHEN new -> k.key IS NULL THEN format(' %s is taken away', spine.value_words(k.key, old -> k.key))
					   WHEN old -> k.key IS NULL THEN format(' is new: %s', spine.value_words(k.key, new -> k.key))
					   ELSE format(' was %s, is %s', spine.value_words(k.key, old -> k.key), spine.value_words(k.key, new -> k.key)) END)
	  FROM unnest(keys) WITH ORDINALITY AS k (key, n)
		   LEFT JOIN (VALUES ('nhs_name', 'NHS name'), ('uid', 'UID'), ('nhs_table', 'NHS table'), ('min_length', 'shortest length'),
							 ('max_length', 'longest length'), ('min', 'lowest value'), ('max', 'highest value'), ('codes', 'code list'),
							 ('local_patient_id', 'patient number'), ('nhs_number', 'NHS number'), ('local_episode_id', 'episode number'),
							 ('event', 'date of the record'), ('anchor', 'date of the episode'), ('window_days', 'days between records'),
							 ('open_days', 'days that it stays open'), ('header', 'group of the header'), ('group', 'other group'),
							 ('when', 'condition'), ('at', 'day that counts'), ('except', 'codes that pass'),
							 ('known', 'must be known here'), ('max_percent', 'highest percentage')) AS w (key, word) USING (key)
	 WHERE old -> k.key IS DISTINCT FROM new -> k.key
	$fn$;
COMMENT ON FUNCTION spine.key_changes(jsonb, jsonb, text[]) IS 'What differs between two objects of a definition at these keys, in words, in their order.';

CREATE FUNCTION spine.dataset_changes(dataset text, from_version text, to_version text)
	RETURNS TABLE ("position" integer, data_group text, kind text, name text, change text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
#variable_conflict use_column
DECLARE
	old jsonb := spine.known_definition(dataset, from_version);
	new jsonb := spine.known_definition(dataset, to_version);
	names jsonb;
BEGIN
	IF old IS NULL OR new IS NULL THEN
		RAISE EXCEPTION 'data set "%" version "%" is not known here', dataset, CASE WHEN old IS NULL THEN from_version ELSE to_version END
			USING ERRCODE = 'SP003',
				  HINT = 'See spine.datasets for what is published here, and spine.shipped_datasets() for what comes with spine.';
	END IF;
	-- what only has another name is told once, and not wherever the name stands
	SELECT coalesce(jsonb_object_agg(r.group_name, r.renamed), '{}') INTO names
	  FROM (SELECT o.group_name, jsonb_object_agg(o.name, n.name) AS renamed
			  FROM spine.definition_items(old) AS o
				   JOIN spine.definition_items(new) AS n
				   ON n.group_name = o.group_name AND spine.item_column(n.body) = spine.item_column(o.body) AND n.name <> o.name
			 GROUP BY o.group_name) AS r;
	old := spine.rename_items(old, names);
	RETURN QUERY
	WITH list AS MATERIALIZED (
		SELECT coalesce(o.key, n.key) AS name, o.value - 'codes' || jsonb_build_object('severity', coalesce(o.value ->> 'severity', 'warning')) AS old,
			   n.value - 'codes' || jsonb_build_object('severity', coalesce(n.value ->> 'severity', 'warning')) AS new,
			   o.value -> 'codes' AS old_codes, n.value -> 'codes' AS new_codes
		  FROM jsonb_each(spine.json_object(old -> 'code_lists')) AS o
			   FULL JOIN jsonb_each(spine.json_object(new -> 'code_lists')) AS n USING (key)
	), code AS MATERIALIZED (
		SELECT l.name, c.key AS code, c.old, c.new
		  FROM list AS l CROSS JOIN LATERAL (
				SELECT key, o.value AS old, n.value AS new
				  FROM jsonb_each_text(l.old_codes) AS o FULL JOIN jsonb_each_text(l.new_codes) AS n USING (key)) AS c
		 WHERE l.old IS NOT NULL AND l.new IS NOT NULL
	), episode AS MATERIALIZED (
		SELECT coalesce(o.key, n.key) AS name, o.value AS old, n.value AS new
		  FROM jsonb_each(spine.json_object(old -> 'episodes')) AS o
			   FULL JOIN jsonb_each(spine.json_object(new -> 'episodes')) AS n USING (key)
	), data_group AS MATERIALIZED (
		-- what is gone stands last
		SELECT coalesce(n.n, 10000 + o.n) AS place, coalesce(o.name, n.name) AS name, o.body AS old, n.body AS new
		  FROM spine.definition_members(old -> 'groups', '') AS o FULL JOIN spine.definition_members(new -> 'groups', '') AS n USING (name)
	), item AS MATERIALIZED (
		SELECT g.place, g.name AS group_name, m.n, coalesce(m.new, m.old) ->> 'name' AS name, m.old, m.new
		  FROM data_group AS g CROSS JOIN LATERAL (
				SELECT coalesce(n.n, 10000 + o.n) AS n, o.body AS old, n.body AS new
				  FROM (SELECT * FROM jsonb_array_elements(g.old -> 'items') WITH ORDINALITY AS x (body, n)) AS o
					   FULL JOIN (SELECT * FROM jsonb_array_elements(g.new -> 'items') WITH ORDINALITY AS x (body, n)) AS n
					   ON spine.item_column(o.body) = spine.item_column(n.body)) AS m
		 WHERE g.old IS NOT NULL AND g.new IS NOT NULL
	), rule AS MATERIALIZED (
		SELECT g.place, g.name AS group_name, m.n, coalesce(m.new, m.old) ->> 'id' AS name, m.old, m.new
		  FROM data_group AS g CROSS JOIN LATERAL (
				SELECT coalesce(n.n, 10000 + o.n) AS n, '{"kind": "expression"}' || o.body AS old, '{"kind": "expression"}' || n.body AS new
				  FROM (SELECT * FROM jsonb_array_elements(spine.json_list(g.old -> 'rules')) WITH ORDINALITY AS x (body, n)) AS o
					   FULL JOIN (SELECT * FROM jsonb_array_elements(spine.json_list(g.new -> 'rules')) WITH ORDINALITY AS x (body, n)) AS n
					   ON o.body ->> 'id' = n.body ->> 'id') AS m
		 WHERE g.old IS NOT NULL AND g.new IS NOT NULL
	), told (a, b, c, d, e, data_group, kind, name, change) AS (
		SELECT 1, 0::bigint, 0, NULL::text COLLATE "C", k.n, NULL, 'data set', dataset, k.change
		  FROM spine.key_changes(old, new, '{title,description,source,mandation,header}') AS k
		UNION ALL
		SELECT 2, 0, 0, l.name, k.n, NULL, 'code list', l.name, k.change
		  FROM list AS l, spine.key_changes(l.old, l.new, '{title,source,severity}') AS k WHERE l.old IS NOT NULL AND l.new IS NOT NULL
		UNION ALL
		SELECT 2, 0, 0, l.name, 0, NULL, 'code list', l.name,
			   CASE WHEN l.old IS NULL THEN format('is new: "%s", with codes %s', l.new ->> 'title', (SELECT string_agg(k, ', ' ORDER BY k COLLATE "C") FROM jsonb_object_keys(l.new_codes) AS k))
					ELSE 'is taken away' END
		  FROM list AS l WHERE l.old IS NULL OR l.new IS NULL
		UNION ALL
		SELECT 2, 0, 1, c.name, row_number() OVER (ORDER BY c.code COLLATE "C"), NULL, 'code list', c.name,
			   CASE WHEN c.old IS NULL THEN format('code %s is new: "%s"', c.code, c.new)
					WHEN c.new IS NULL THEN format('code %s is taken away: it was "%s"', c.code, c.old)
					ELSE format('code %s meant "%s", means "%s"', c.code, c.old, c.new) END
		  FROM code AS c WHERE c.old IS DISTINCT FROM c.new
		UNION ALL
		SELECT 3, 0, 0, e.name, 0, NULL, 'episode kind', e.name, CASE WHEN e.old IS NULL THEN format('is new: "%s"', e.new ->> 'title') ELSE 'is taken away' END
		  FROM episode AS e WHERE e.old IS NULL OR e.new IS NULL
		UNION ALL
		SELECT 3, 0, 0, e.name, k.n, NULL, 'episode kind', e.name, k.change
		  FROM episode AS e, spine.key_changes(e.old, e.new, '{title,window_days,open_days}') AS k WHERE e.old IS NOT NULL AND e.new IS NOT NULL
		UNION ALL
		SELECT 4, g.place, 0, NULL, 0, g.name, 'group', g.name,
			   CASE WHEN g.old IS NULL THEN format('is new: "%s", with items %s', g.new ->> 'title',
															(SELECT string_agg(i.body ->> 'name', ', ' ORDER BY i.n)
															   FROM jsonb_array_elements(g.new -> 'items') WITH ORDINALITY AS i (body, n))) ELSE 'is retired' END
		  FROM data_group AS g WHERE g.old IS NULL OR g.new IS NULL
		UNION ALL
		SELECT 4, g.place, 0, NULL, k.n, g.name, 'group', g.name, k.change
		  FROM data_group AS g, spine.key_changes(g.old, g.new,
				'{title,description,nhs_table,subject,episode,key,local_patient_id,nhs_number,local_episode_id,parent,event,anchor}') AS k
		 WHERE g.old IS NOT NULL AND g.new IS NOT NULL
		UNION ALL
		SELECT 4, i.place, 1, NULL, i.n * 100, i.group_name, 'item', i.name,
			   CASE WHEN i.new IS NULL THEN 'is retired'
					WHEN i.old IS NULL THEN concat_ws(', ', format('is new: "%s"', i.new ->> 'title'), 'type ' || (i.new ->> 'type'),
						'status ' || spine.value_words('status', i.new -> 'status'), 'class ' || (i.new ->> 'class'), 'code list ' || (i.new ->> 'codes'))
					END
		  FROM item AS i WHERE i.old IS NULL OR i.new IS NULL
		UNION ALL
		SELECT 4, i.place, 1, NULL, i.n * 100, i.group_name, 'item', i.name, format('has a new name: it was %s', r.key)
		  FROM jsonb_each(names) AS g, jsonb_each_text(g.value) AS r JOIN item AS i ON i.name = r.value WHERE i.group_name = g.key
		UNION ALL
		SELECT 4, i.place, 1, NULL, i.n * 100 + k.n, i.group_name, 'item', i.name, k.change
		  FROM item AS i, spine.key_changes(i.old, i.new, '{type,status,class,min_length,max_length,min,max,codes,nhs_name,uid,title,description}') AS k
		 WHERE i.old IS NOT NULL AND i.new IS NOT NULL
		UNION ALL
		SELECT 4, r.place, 2, NULL, r.n * 100, r.group_name, 'rule', r.name,
			   CASE WHEN r.new IS NULL THEN 'is retired' ELSE format('is new, of severity %s: "%s"', r.new ->> 'severity', r.new ->> 'message') END
		  FROM rule AS r WHERE r.old IS NULL OR r.new IS NULL
		UNION ALL
		SELECT 4, r.place, 2, NULL, r.n * 100 + k.n, r.group_name, 'rule', r.name, k.change
		  FROM rule AS r, spine.key_changes(r.old, r.new,
				'{severity,kind,items,expression,when,group,match,at,except,known,min,max,max_percent,message}') AS k
		 WHERE r.old IS NOT NULL AND r.new IS NOT NULL
	)
	SELECT (row_number() OVER (ORDER BY t.a, t.b, t.d, t.c, t.e))::integer, t.data_group, t.kind, t.name, t.change
	  FROM told AS t
	 ORDER BY 1;
END
$fn$;
COMMENT ON FUNCTION spine.dataset_changes(text, text, text) IS
	'What a supplier has to change to go from one version of a data set to another, in words: data set, code lists, kinds of episode, groups, items, rules, in the order of the later definition. Either may be the newer; each may be published here or come with spine. An item that was renamed is told once. SP003 for a version that is not known.';

-- ---------------------------------------------------------------- who may call

DO $grants$
DECLARE
	the_function regprocedure;
BEGIN
	FOREACH the_function IN ARRAY ARRAY[
		'spine.rename_names(jsonb, jsonb)', 'spine.rename_keys(jsonb, jsonb)', 'spine.rename_example(jsonb, text, jsonb)',
		'spine.rename_words(text, jsonb, jsonb, jsonb)', 'spine.rename_in_text(text, jsonb)',
		'spine.rename_in_rule(jsonb, jsonb, text, jsonb)', 'spine.rename_in_group(jsonb, text, jsonb)', 'spine.rename_items(jsonb, jsonb)',
		'spine.is_extension(jsonb)', 'spine.known_definition(text, text, text[])', 'spine.expand(jsonb, text[])',
		'spine.expand_definition(jsonb)', 'spine.extension_faults(jsonb, jsonb)', 'spine.base_faults(jsonb)',
		'spine.change_keys(jsonb, jsonb)', 'spine.change_members(jsonb, jsonb, text, jsonb)', 'spine.change_group(jsonb, jsonb)',
		'spine.apply_extension(jsonb, jsonb)', 'spine.accepted_versions(text)', 'spine.retire_dataset(text, text, date)',
		'spine.value_words(text, jsonb)', 'spine.key_changes(jsonb, jsonb, text[])',
		'spine.dataset_changes(text, text, text)']::pg_catalog.regprocedure[]
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', the_function);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', the_function);
	END LOOP;
END
$grants$;
GRANT EXECUTE ON FUNCTION spine.expand_definition(jsonb) TO spine_operator, spine_supplier;
GRANT EXECUTE ON FUNCTION spine.accepted_versions(text), spine.dataset_changes(text, text, text)
	TO spine_member, spine_supplier, spine_governor, spine_operator;
GRANT EXECUTE ON FUNCTION spine.retire_dataset(text, text, date) TO spine_operator;
