-- Publishing a data set: a definition (docs/architecture.md, "Data-set definition") becomes
-- schemas, tables, version views, policies, triggers and comments, or is refused with all its
-- faults. definition_faults() never raises, whatever JSON it is given, and publish_dataset()
-- relies on it alone: nothing after it checks a definition again.

CREATE FUNCTION spine.shipped_datasets() RETURNS SETOF jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
SELECT definition FROM (VALUES
	  (NULL::pg_catalog.jsonb)
@SHIPPED_DATASETS@
) AS shipped (definition)
WHERE definition IS NOT NULL
$fn$;
COMMENT ON FUNCTION spine.shipped_datasets() IS
	'The definitions that come with this version of spine. Publish one with spine.publish_dataset(name, version).';

-- ---------------------------------------------------------------- reading JSON of any form

CREATE FUNCTION spine.json_object(value jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$ SELECT CASE pg_catalog.jsonb_typeof(value) WHEN 'object' THEN value ELSE '{}' END $fn$;
COMMENT ON FUNCTION spine.json_object(jsonb) IS 'The value if it is an object, else an empty one.';

CREATE FUNCTION spine.json_list(value jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$ SELECT CASE pg_catalog.jsonb_typeof(value) WHEN 'array' THEN value ELSE '[]' END $fn$;
COMMENT ON FUNCTION spine.json_list(jsonb) IS 'The value if it is an array, else an empty one.';

CREATE FUNCTION spine.json_text(value jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$ SELECT CASE pg_catalog.jsonb_typeof(value) WHEN 'string' THEN value #>> '{}' END $fn$;
COMMENT ON FUNCTION spine.json_text(jsonb) IS 'The text of a JSON string; NULL for any other value.';

CREATE FUNCTION spine.definition_members(value jsonb, place text)
	RETURNS TABLE (n bigint, name text, body jsonb, path text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT m.n, spine.json_text(m.body -> 'name'), m.body,
		   CASE WHEN spine.json_text(m.body -> 'name') ~ '^[A-Za-z0-9_]{1,63}$'
				 AND pg_catalog.count(*) OVER (PARTITION BY m.body -> 'name') = 1
				THEN pg_catalog.concat(place, '.', m.body ->> 'name')
				ELSE pg_catalog.concat(place, '[', m.n - 1, ']') END
	  FROM pg_catalog.jsonb_array_elements(spine.json_list(value)) WITH ORDINALITY AS m (body, n)
	 ORDER BY m.n
	$fn$;
COMMENT ON FUNCTION spine.definition_members(jsonb, text) IS
	'The members of a list of groups or items, with name and path: by name where that is usable and unique, else by position from 0.';

CREATE FUNCTION spine.definition_items(definition jsonb)
	RETURNS TABLE (group_n bigint, group_name text, group_path text, n bigint, name text, body jsonb, path text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT g.n, g.name, g.path, i.n, i.name, i.body, i.path
	  FROM spine.definition_members(definition -> 'groups', 'groups') AS g,
		   spine.definition_members(g.body -> 'items', g.path || '.items') AS i
	$fn$;
COMMENT ON FUNCTION spine.definition_items(jsonb) IS 'Every item of a definition with its group.';

CREATE FUNCTION spine.definition_rules(definition jsonb)
	RETURNS TABLE (group_n bigint, group_name text, n bigint, kind text, body jsonb, path text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT g.n, g.name, r.n, CASE WHEN r.body ? 'kind' THEN spine.json_text(r.body -> 'kind') ELSE 'expression' END,
		   r.body, pg_catalog.concat(g.path, '.rules[', r.n - 1, ']')
	  FROM spine.definition_members(definition -> 'groups', 'groups') AS g,
		   pg_catalog.jsonb_array_elements(spine.json_list(g.body -> 'rules')) WITH ORDINALITY AS r (body, n)
	$fn$;
COMMENT ON FUNCTION spine.definition_rules(jsonb) IS 'Every rule of a definition with its group and its kind.';

CREATE FUNCTION spine.item_column(item jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$ SELECT coalesce(item ->> 'column', item ->> 'name') $fn$;
COMMENT ON FUNCTION spine.item_column(jsonb) IS
	'The column of an item in its group''s table: its name, or that which it had before it was renamed.';

CREATE FUNCTION spine.item_mark(item jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$ SELECT CASE item ->> 'about' WHEN 'mother' THEN 'm' ELSE '' END || pg_catalog."left"(item ->> 'class', 1) $fn$;
COMMENT ON FUNCTION spine.item_mark(jsonb) IS
	'What governance asks of an item: a, c, i or r for its class, behind m where it is about the mother in a baby''s record.';

CREATE FUNCTION spine.view_schema(name text, version text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$ SELECT pg_catalog.concat(name, '_', pg_catalog.replace(version, '.', '_')) $fn$;
COMMENT ON FUNCTION spine.view_schema(text, text) IS
	'The schema that holds the views of this version of a data set: maternity, 2.0 gives maternity_2_0.';

CREATE FUNCTION spine.item_type(type text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT CASE
		WHEN type IN ('text', 'integer', 'numeric', 'date', 'time', 'boolean') THEN type
		WHEN type = 'timestamp' THEN 'timestamp with time zone'
		WHEN type IN ('nhs_number', 'snomed_code', 'ods_code', 'gestation') THEN 'spine.' || type
	END
	$fn$;
COMMENT ON FUNCTION spine.item_type(text) IS 'The column type of an item type; NULL where there is no such type.';

CREATE FUNCTION spine.envelope_names() RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT '{record_id,owner,source_system,local_record_id,patient_id,episode_id,dataset_version,event_at,received_at,revision,audience}'::pg_catalog.text[]
	$fn$;
COMMENT ON FUNCTION spine.envelope_names() IS 'The columns of the envelope, in their order.';

-- ---------------------------------------------------------------- the form of a definition

CREATE FUNCTION spine.json_fault(value jsonb, wanted text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	words text[] := string_to_array(wanted, ' ');
	kind text := jsonb_typeof(value);
	content text := value #>> '{}';
BEGIN
	CASE words[1]
	WHEN 'text' THEN
		IF kind <> 'string' OR btrim(content, E' \t\r\n') = '' THEN
			RETURN 'must be a text that is not empty';
		END IF;
	WHEN 'name' THEN
		IF kind <> 'string' OR content !~ '^[a-z][a-z0-9_]{0,54}$' THEN
			RETURN 'must be a name: a lower-case letter, then at most 54 lower-case letters, digits and underscores';
		END IF;
	WHEN 'one_of' THEN
		IF kind <> 'string' OR content <> ALL (words[2:]) THEN
			RETURN 'must be one of ' || array_to_string(words[2:], ', ');
		END IF;
	WHEN 'whole' THEN
		IF kind <> 'number' OR content !~ '^-?[0-9]{1,9}$'
		   OR content::integer NOT BETWEEN words[2]::integer AND words[3]::integer THEN
			RETURN format('must be a whole number from %s to %s', words[2], words[3]);
		END IF;
	WHEN 'names' THEN
		IF kind <> 'array' OR value = '[]'
		   OR EXISTS (SELECT FROM jsonb_array_elements(value) AS e WHERE jsonb_typeof(e) <> 'string') THEN
			RETURN 'must be a list of item names that is not empty';
		ELSIF (SELECT count(*) <> count(DISTINCT e) FROM jsonb_array_elements(value) AS e) THEN
			RETURN 'names an item twice';
		END IF;
	WHEN 'texts' THEN
		IF kind <> 'array' OR value = '[]'
		   OR EXISTS (SELECT FROM jsonb_array_elements(value) AS e WHERE spine.json_fault(e, 'text') IS NOT NULL) THEN
			RETURN 'must be a list of texts that is not empty';
		END IF;
	WHEN 'map' THEN
		IF kind <> 'object' OR value = '{}'
		   OR EXISTS (SELECT FROM jsonb_each(value) AS e WHERE spine.json_fault(e.value, 'text') IS NOT NULL) THEN
			RETURN 'must be an object that is not empty, of item names';
		END IF;
	WHEN 'percent' THEN
		IF kind <> 'number' OR content::numeric NOT BETWEEN 0 AND 100 THEN
			RETURN 'must be a number from 0 to 100';
		END IF;
	WHEN 'true' THEN
		IF value <> 'true' THEN
			RETURN 'must be true, or be left out';
		END IF;
	WHEN 'object' THEN
		IF kind <> 'object' THEN
			RETURN 'must be an object';
		END IF;
	WHEN 'list' THEN
		IF kind <> 'array' THEN
			RETURN 'must be a list';
		ELSIF value = '[]' AND words[2] = 'filled' THEN
			RETURN 'must not be empty';
		END IF;
	WHEN 'any' THEN
		NULL;
	END CASE;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.json_fault(jsonb, text) IS
	'What is wrong with one value of a definition; NULL if nothing. wanted: text, name, one_of A B ..., whole MIN MAX, percent, true, names, texts, map, object, list [filled], any.';

CREATE FUNCTION spine.shape_faults(value jsonb, place text, shape jsonb)
	RETURNS TABLE (path text, fault text)
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	member record;
BEGIN
	IF jsonb_typeof(value) IS DISTINCT FROM 'object' THEN
		path := coalesce(nullif(place, ''), '$');
		fault := 'must be an object';
		RETURN NEXT;
		RETURN;
	END IF;
	FOR member IN
		SELECT coalesce(s.key, v.key) AS key, s.value AS wanted, v.value AS given
		  FROM jsonb_each_text(shape) AS s
			   FULL JOIN jsonb_each(shape_faults.value) AS v ON v.key = s.key
	LOOP
		path := concat_ws('.', nullif(place, ''), left(member.key, 63));
		fault := CASE
			WHEN member.wanted IS NULL THEN 'is not a key of this format'
			WHEN member.given IS NOT NULL THEN spine.json_fault(member.given, ltrim(member.wanted, '!'))
			WHEN member.wanted LIKE '!%' THEN 'is missing'
		END;
		IF fault IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.shape_faults(jsonb, text, jsonb) IS
	'Faults of an object against a shape: key to what spine.json_fault wants of it, with ! before it if the key must be there. place: the object''s path.';

CREATE FUNCTION spine.head_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT * FROM spine.shape_faults(definition, '', '{
		"name": "!text", "version": "!text", "title": "!text", "description": "!text", "source": "!text",
		"mandation": "!text", "code_lists": "object", "episodes": "object", "groups": "!list filled",
		"header": "text", "extends": "text", "whole": "true"}')
	UNION ALL
	SELECT 'name', 'must be a name: a lower-case letter, then at most 30 lower-case letters, digits and underscores'
	 WHERE spine.json_text(definition -> 'name') !~ '^[a-z][a-z0-9_]{0,30}$'
	UNION ALL
	SELECT 'name', 'is a reserved name'
	 WHERE spine.json_text(definition -> 'name') IN (SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T'))
		OR spine.json_text(definition -> 'name') ~ '^(pg_.*|spine|public|information_schema)$'
	UNION ALL
	SELECT 'version', 'must be one to three numbers of at most four digits with dots between them'
	 WHERE spine.json_text(definition -> 'version') !~ '^[0-9]{1,4}(\.[0-9]{1,4}){0,2}$'
	$fn$;
COMMENT ON FUNCTION spine.head_faults(jsonb) IS 'Faults in the head of a definition.';

CREATE FUNCTION spine.list_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH l AS MATERIALIZED (
		SELECT key AS name, value AS body, 'code_lists.' || left(key, 63) AS path
		  FROM jsonb_each(spine.json_object(definition -> 'code_lists'))
	), c AS MATERIALIZED (
		SELECT c.key AS code, c.value AS meaning, concat(l.path, '.codes.', left(c.key, 63)) AS path
		  FROM l, jsonb_each(spine.json_object(l.body -> 'codes')) AS c
	), e AS MATERIALIZED (
		SELECT key AS name, value AS body, 'episodes.' || left(key, 63) AS path
		  FROM jsonb_each(spine.json_object(definition -> 'episodes'))
	)
	SELECT l.path, spine.json_fault(to_jsonb(l.name), 'name') FROM l
	 WHERE spine.json_fault(to_jsonb(l.name), 'name') IS NOT NULL
	UNION ALL
	SELECT f.path, f.fault
	  FROM l, spine.shape_faults(l.body, l.path,
			'{"title": "!text", "source": "text", "severity": "one_of warning record", "codes": "!object"}') AS f
	UNION ALL
	SELECT l.path || '.codes', 'must not be empty' FROM l WHERE l.body -> 'codes' = '{}'
	UNION ALL
	SELECT c.path, 'is not a code: empty, longer than 60 characters, or with blanks around it or control characters in it' FROM c
	 WHERE c.code = '' OR length(c.code) > 60 OR c.code ~ '^\s|\s$|[\x01-\x1f\x7f]'
	UNION ALL
	SELECT c.path, spine.json_fault(c.meaning, 'text') FROM c
	 WHERE spine.json_fault(c.meaning, 'text') IS NOT NULL
	UNION ALL
	SELECT e.path, spine.json_fault(to_jsonb(e.name), 'name') FROM e
	 WHERE spine.json_fault(to_jsonb(e.name), 'name') IS NOT NULL
	UNION ALL
	SELECT f.path, f.fault
	  FROM e, spine.shape_faults(e.body, e.path,
			'{"title": "!text", "window_days": "!whole 0 3650", "open_days": "whole 1 36500"}') AS f
	$fn$;
COMMENT ON FUNCTION spine.list_faults(jsonb) IS 'Faults in the code lists and the kinds of episode of a definition.';

CREATE FUNCTION spine.one_or_list(at text, value jsonb) RETURNS TABLE (path text, body jsonb)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT at, value WHERE jsonb_typeof(value) <> 'array'
	UNION ALL
	SELECT concat(at, '[', x.n - 1, ']'), x.body
	  FROM jsonb_array_elements(spine.json_list(value)) WITH ORDINALITY AS x (body, n)
	$fn$;
COMMENT ON FUNCTION spine.one_or_list(text, jsonb) IS 'What stands at a place that takes one thing or a list of them, with the path of each.';

CREATE FUNCTION spine.group_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH g AS MATERIALIZED (
		SELECT * FROM spine.definition_members(definition -> 'groups', 'groups')
	), a AS MATERIALIZED (
		SELECT x.path, x.body FROM g, spine.one_or_list(g.path || '.anchor', g.body -> 'anchor') AS x
	), e AS MATERIALIZED (
		SELECT x.path, x.body FROM g, spine.one_or_list(g.path || '.event', g.body -> 'event') AS x
	)
	SELECT f.path, f.fault
	  FROM g, spine.shape_faults(g.body, g.path, '{
			"name": "!name", "title": "!text", "description": "!text", "nhs_table": "text",
			"subject": "!one_of mother baby patient none", "episode": "text", "key": "!names",
			"local_patient_id": "text", "nhs_number": "text", "local_episode_id": "text",
			"parent": "object", "event": "any", "anchor": "any", "items": "!list filled", "example": "object",
			"rules": "list"}') AS f
	UNION ALL
	SELECT g.path || '.name', 'is a reserved name'
	  FROM g
	 WHERE g.name = ANY (spine.envelope_names())
		OR g.name IN (SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T'))
	UNION ALL
	SELECT g.path || '.name', format('is the name of %s groups', count(*) OVER (PARTITION BY g.name))
	  FROM g WHERE g.name IN (SELECT name FROM g GROUP BY name HAVING count(*) > 1)
	UNION ALL
	SELECT g.path || '.name', format('is the name that an index of the group %s takes', o.name)
	  FROM g, g AS o
	 WHERE g.name IN (o.name || '_pkey', o.name || '_local', o.name || '_patient', o.name || '_owner')
		OR g.name ~ '_[0-9a-f]{8}_set$' AND left(g.name, -13) = left(o.name, 45)
	UNION ALL
	SELECT f.path, f.fault
	  FROM g, spine.shape_faults(g.body -> 'parent', g.path || '.parent', '{"group": "!text", "item": "!text"}') AS f
	 WHERE jsonb_typeof(g.body -> 'parent') = 'object'
	UNION ALL
	SELECT f.path, f.fault
	  FROM e, spine.shape_faults(e.body, e.path, '{"date": "!text", "time": "text"}') AS f
	UNION ALL
	SELECT f.path, f.fault
	  FROM a, spine.shape_faults(a.body, a.path, '{"item": "!text", "days": "whole -36500 36500"}') AS f
	UNION ALL
	SELECT concat(g.path, '.', k), 'must not be empty' FROM g, unnest('{anchor,event}'::text[]) AS k WHERE g.body -> k = '[]'
	UNION ALL
	SELECT g.path || '.items', 'has more than 1500 items' FROM g
	 WHERE jsonb_array_length(spine.json_list(g.body -> 'items')) > 1500
	UNION ALL
	SELECT g.path || '.episode', format('names the episode kind %s, which is not defined', left(g.body ->> 'episode', 63))
	  FROM g
	 WHERE jsonb_typeof(g.body -> 'episode') = 'string'
	   AND NOT spine.json_object(definition -> 'episodes') ? (g.body ->> 'episode')
	UNION ALL
	SELECT concat(g.path, '.', k), 'does not go with subject none, a group with no person in it'
	  FROM g, unnest('{episode,local_patient_id,nhs_number,local_episode_id,anchor}'::text[]) AS k
	 WHERE g.body -> 'subject' = '"none"' AND g.body ? k
	UNION ALL
	SELECT concat(g.path, '.', k), 'needs a kind of episode: the key "episode" is missing'
	  FROM g, unnest('{local_episode_id,anchor}'::text[]) AS k
	 WHERE g.body -> 'subject' IS DISTINCT FROM '"none"' AND g.body ? k AND NOT g.body ? 'episode'
	$fn$;
COMMENT ON FUNCTION spine.group_faults(jsonb) IS 'Faults of the groups of a definition, their items left aside.';

CREATE FUNCTION spine.item_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH i AS MATERIALIZED (
		SELECT i.*, spine.json_text(i.body -> 'type') AS type, spine.json_text(i.body -> 'nhs_name') AS nhs_name,
			   spine.json_text(i.body -> 'uid') AS uid, spine.json_text(i.body -> 'codes') AS codes
		  FROM spine.definition_items(definition) AS i
	), bound AS MATERIALIZED (
		SELECT i.group_n, i.n, i.type, concat(i.path, '.', k) AS path, k AS side, i.body -> k AS value,
			   CASE WHEN jsonb_typeof(i.body -> k) = 'number' AND i.type IN ('integer', 'numeric', 'gestation')
					THEN (i.body ->> k)::numeric
					WHEN i.type = 'date' THEN spine.day_number(spine.json_text(i.body -> k)) END AS number
		  FROM i, unnest('{min,max}'::text[]) AS k
		 WHERE i.body ? k
	), size AS MATERIALIZED (
		SELECT i.path, i.type, i.codes,
			   CASE WHEN spine.json_fault(i.body -> 'min_length', 'whole 1 10485760') IS NULL
					THEN (i.body ->> 'min_length')::integer END AS min_length,
			   CASE WHEN spine.json_fault(i.body -> 'max_length', 'whole 1 10485760') IS NULL
					THEN (i.body ->> 'max_length')::integer END AS max_length
		  FROM i
	), list AS MATERIALIZED (
		SELECT key AS name, spine.json_object(value -> 'codes') AS codes
		  FROM jsonb_each(spine.json_object(definition -> 'code_lists'))
	)
	SELECT f.path, f.fault
	  FROM i, spine.shape_faults(i.body, i.path, '{
			"name": "!name", "column": "name", "nhs_name": "text", "uid": "text", "title": "!text", "description": "text",
			"type": "!one_of text integer numeric date time timestamp boolean nhs_number snomed_code ods_code gestation",
			"min_length": "whole 1 10485760", "max_length": "whole 1 10485760", "min": "any", "max": "any",
			"codes": "text", "status": "!one_of M R O P",
			"class": "!one_of identity clinical restricted administrative", "about": "one_of mother"}') AS f
	UNION ALL
	SELECT i.path || '.about', 'is for items of a group whose subject is a baby'
	  FROM i JOIN spine.definition_members(definition -> 'groups', '') AS g ON g.name = i.group_name
	 WHERE i.body ? 'about' AND spine.json_text(g.body -> 'subject') IS DISTINCT FROM 'baby'
	UNION ALL
	SELECT n.path, 'is a reserved name'
	  FROM (SELECT i.path || '.name', i.name FROM i
			UNION ALL
			SELECT i.path || '.column', spine.json_text(i.body -> 'column') FROM i WHERE i.body ? 'column') AS n (path, name)
	 WHERE n.name = ANY (spine.envelope_names()
						 || '{nhs_number,local_patient_id,local_episode_id,tableoid,xmin,cmin,xmax,cmax,ctid}'::text[])
		OR n.name IN (SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T'))
	UNION ALL
	SELECT i.path || '.column', format('is the column of %s items of the group', d.times)
	  FROM i JOIN (SELECT group_n, spine.item_column(body) AS name, count(*) AS times FROM i GROUP BY 1, 2 HAVING count(*) > 1) AS d
		   ON d.group_n = i.group_n AND d.name = spine.json_text(i.body -> 'column')
	UNION ALL
	SELECT i.path || '.name', format('is the column of the item %s', o.name)
	  FROM i JOIN i AS o ON o.group_n = i.group_n AND spine.json_text(o.body -> 'column') = i.name AND o.n <> i.n
	 WHERE spine.item_column(i.body) <> i.name
	UNION ALL
	SELECT i.path || '.name', format('is the name of %s items of the group', d.times)
	  FROM i JOIN (SELECT group_n, name, count(*) AS times FROM i GROUP BY group_n, name HAVING count(*) > 1) AS d
		   USING (group_n, name)
	UNION ALL
	SELECT i.path || '.nhs_name', format('is the NHS name of %s items of the group', d.times)
	  FROM i JOIN (SELECT group_n, nhs_name, count(*) AS times FROM i GROUP BY group_n, nhs_name HAVING count(*) > 1) AS d
		   USING (group_n, nhs_name)
	UNION ALL
	SELECT i.path || '.nhs_name', 'is the name of another item of the group'
	  FROM i JOIN i AS o ON o.group_n = i.group_n AND o.name = i.nhs_name AND o.n <> i.n
	UNION ALL
	SELECT i.path || '.nhs_name', 'is a name of the envelope'
	  FROM i WHERE i.nhs_name = ANY (spine.envelope_names() || '{nhs_number,local_patient_id,local_episode_id}'::text[])
	UNION ALL
	SELECT i.path || '.uid', format('is the UID of %s items', d.times)
	  FROM i JOIN (SELECT uid, count(*) AS times FROM i GROUP BY uid HAVING count(*) > 1) AS d USING (uid)
	UNION ALL
	SELECT concat(i.path, '.', k), format('does not go with type %s', i.type)
	  FROM i, unnest('{min,max,min_length,max_length,codes}'::text[]) AS k
	 WHERE i.body ? k AND spine.item_type(i.type) IS NOT NULL
	   AND i.type <> ALL (CASE WHEN k IN ('min', 'max') THEN '{integer,numeric,gestation,date}'::text[]
							   ELSE '{text,ods_code}'::text[] END)
	UNION ALL
	SELECT b.path,
		   CASE b.type WHEN 'date' THEN 'must be a date, as a text CCYY-MM-DD'
					   WHEN 'integer' THEN 'must be a whole number from -2147483648 to 2147483647'
					   WHEN 'gestation' THEN 'must be a whole number of days from 0 to 999'
					   ELSE 'must be a number' END
	  FROM bound AS b
	 WHERE b.type IN ('integer', 'numeric', 'gestation', 'date')
	   AND (b.number IS NULL
			OR b.type = 'integer' AND (b.number <> trunc(b.number) OR b.number NOT BETWEEN -2147483648 AND 2147483647)
			OR b.type = 'gestation' AND (b.number <> trunc(b.number) OR b.number NOT BETWEEN 0 AND 999)
			OR b.type = 'numeric' AND abs(b.number) > 1e300)
	UNION ALL
	SELECT low.path, 'is greater than max'
	  FROM bound AS low JOIN bound AS high USING (group_n, n)
	 WHERE low.side = 'min' AND high.side = 'max' AND low.number > high.number
	UNION ALL
	SELECT s.path || '.min_length', 'is greater than max_length' FROM size AS s WHERE s.min_length > s.max_length
	UNION ALL
	SELECT s.path || '.codes', format('names the code list %s, which is not defined', left(s.codes, 63))
	  FROM size AS s
	 WHERE s.codes IS NOT NULL AND NOT EXISTS (SELECT FROM list WHERE list.name = s.codes)
	UNION ALL
	SELECT s.path || '.codes', format('is a list whose code %s has not the length that the item allows', left(c, 60))
	  FROM size AS s JOIN list ON list.name = s.codes, jsonb_object_keys(list.codes) AS c
	 WHERE length(c) NOT BETWEEN coalesce(s.min_length, 0) AND coalesce(s.max_length, 2147483647)
	$fn$;
COMMENT ON FUNCTION spine.item_faults(jsonb) IS 'Faults of the items of a definition.';

CREATE FUNCTION spine.day_number(day text) RETURNS numeric
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF day ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN
		RETURN make_date(left(day, 4)::integer, substr(day, 6, 2)::integer, right(day, 2)::integer) - '2000-01-01'::date;
	END IF;
	RETURN NULL;
EXCEPTION WHEN datetime_field_overflow THEN
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.day_number(text) IS 'Days from 2000-01-01 to a day written CCYY-MM-DD; NULL where it is not a day.';

-- Whatever names an item or a group must find it, and find it of a fitting type.
CREATE FUNCTION spine.reference_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH g AS MATERIALIZED (
		SELECT * FROM spine.definition_members(definition -> 'groups', 'groups')
	), i AS MATERIALIZED (
		SELECT DISTINCT ON (group_n, name) group_n, name, spine.json_text(body -> 'type') AS type
		  FROM spine.definition_items(definition)
		 ORDER BY group_n, name, n
	), r (group_n, path, name, types) AS MATERIALIZED (
		SELECT g.n, concat(g.path, '.key'), spine.json_text(k), NULL::text[]
		  FROM g, jsonb_array_elements(spine.json_list(g.body -> 'key')) AS k
		UNION ALL
		SELECT g.n, g.path || '.local_patient_id', spine.json_text(g.body -> 'local_patient_id'), '{text,integer}' FROM g
		UNION ALL
		SELECT g.n, g.path || '.nhs_number', spine.json_text(g.body -> 'nhs_number'), '{nhs_number}' FROM g
		UNION ALL
		SELECT g.n, g.path || '.local_episode_id', spine.json_text(g.body -> 'local_episode_id'), '{text,integer}' FROM g
		UNION ALL
		SELECT g.n, g.path || '.parent.item', spine.json_text(g.body -> 'parent' -> 'item'), NULL FROM g
		UNION ALL
		SELECT g.n, e.path || '.date', spine.json_text(e.body -> 'date'), '{date,timestamp}'
		  FROM g, spine.one_or_list(g.path || '.event', g.body -> 'event') AS e
		UNION ALL
		SELECT g.n, e.path || '.time', spine.json_text(e.body -> 'time'), '{time}'
		  FROM g, spine.one_or_list(g.path || '.event', g.body -> 'event') AS e
		UNION ALL
		SELECT g.n, a.path || '.item', spine.json_text(a.body -> 'item'), '{date}'
		  FROM g, spine.one_or_list(g.path || '.anchor', g.body -> 'anchor') AS a
		UNION ALL
		SELECT g.n, concat(g.path, '.rules[', x.n - 1, '].items'), spine.json_text(k), NULL
		  FROM g, jsonb_array_elements(spine.json_list(g.body -> 'rules')) WITH ORDINALITY AS x (body, n),
			   jsonb_array_elements(spine.json_list(x.body -> 'items')) AS k
		UNION ALL
		SELECT x.group_n, x.path || '.items', i.name, '{ods_code,text}'
		  FROM spine.definition_rules(definition) AS x
			   JOIN i ON i.group_n = x.group_n AND i.name = spine.json_text(spine.json_list(x.body -> 'items') -> 0)
		 WHERE x.kind IN ('organisation', 'own_code')
		UNION ALL
		SELECT x.group_n, x.path || '.at', spine.json_text(x.body -> 'at'), '{date}'
		  FROM spine.definition_rules(definition) AS x WHERE x.kind = 'organisation'
	), p AS MATERIALIZED (
		SELECT g.n, g.path || '.parent' AS path, spine.json_text(g.body -> 'parent' -> 'group') AS name,
			   spine.json_text(g.body -> 'parent' -> 'item') AS item
		  FROM g WHERE spine.json_text(g.body -> 'parent' -> 'group') IS NOT NULL
	), f AS MATERIALIZED (
		SELECT DISTINCT ON (p.n) p.*, g.n AS parent_n, jsonb_array_length(spine.json_list(g.body -> 'key')) AS keys,
			   spine.json_text(spine.json_list(g.body -> 'key') -> 0) AS key, g.body -> 'subject' AS parent_subject
		  FROM p LEFT JOIN g ON g.name = p.name
		 ORDER BY p.n, g.n
	)
	SELECT r.path, format('names the item %s, which the group does not have', left(r.name, 63))
	  FROM r LEFT JOIN i ON i.group_n = r.group_n AND i.name = r.name
	 WHERE r.name IS NOT NULL AND i.name IS NULL
	UNION ALL
	SELECT r.path, format('must name an item of type %s; %s is of type %s', array_to_string(r.types, ' or '), i.name, i.type)
	  FROM r JOIN i ON i.group_n = r.group_n AND i.name = r.name
	 WHERE spine.item_type(i.type) IS NOT NULL AND i.type <> ALL (r.types)
	UNION ALL
	SELECT e.path || '.time', 'goes with a date of type date, not with a timestamp'
	  FROM g CROSS JOIN spine.one_or_list(g.path || '.event', g.body -> 'event') AS e
	  JOIN i ON i.group_n = g.n AND i.name = spine.json_text(e.body -> 'date')
	 WHERE e.body ? 'time' AND i.type = 'timestamp'
	UNION ALL
	SELECT f.path || '.group', format('names the group %s, which is not defined', left(f.name, 63))
	  FROM f WHERE f.parent_n IS NULL
	UNION ALL
	SELECT f.path || '.group', format('names the group %s, which must stand before this one', f.name)
	  FROM f WHERE f.parent_n >= f.n
	UNION ALL
	SELECT f.path || '.group', format('names the group %s, whose key must be one item', f.name)
	  FROM f WHERE f.parent_n IS NOT NULL AND f.keys <> 1
	UNION ALL
	SELECT f.path || '.item', format('is of type %s; the key of %s is of type %s', i.type, f.name, k.type)
	  FROM f JOIN i ON i.group_n = f.n AND i.name = f.item
		   JOIN i AS k ON k.group_n = f.parent_n AND k.name = f.key
	 WHERE f.keys = 1 AND i.type <> k.type
	   AND spine.item_type(i.type) IS NOT NULL AND spine.item_type(k.type) IS NOT NULL
	UNION ALL
	SELECT 'header', CASE WHEN h.n IS NULL THEN format('names the group %s, which is not defined', left(definition ->> 'header', 63))
						  ELSE format('names the group %s, which must be of subject none', h.name) END
	  FROM (SELECT spine.json_text(definition -> 'header') AS name) AS w
		   LEFT JOIN LATERAL (SELECT g.n, g.name, g.body FROM g WHERE g.name = w.name ORDER BY g.n LIMIT 1) AS h ON true
	 WHERE w.name IS NOT NULL AND (h.n IS NULL OR h.body -> 'subject' IN ('"mother"', '"baby"', '"patient"'))
	$fn$;
COMMENT ON FUNCTION spine.reference_faults(jsonb) IS 'Faults of what names an item or a group in a definition.';

-- ---------------------------------------------------------------- rules

/*
 * The text of an expression is put between parentheses into a statement, so before anything
 * parses it, it must be certain that it cannot leave them: without comments, quoted names,
 * dollar quotes, prefixed literals and backslashes every quote opens or closes a plain literal,
 * and outside of those the parentheses balance.
 */
CREATE FUNCTION spine.lexical_fault(expression text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	bare text;
	parenthesis text;
	depth integer := 0;
BEGIN
	IF length(expression) > 4000 THEN
		RETURN 'is longer than 4000 characters';
	ELSIF position('\' IN expression) > 0 THEN
		RETURN 'holds a backslash';
	ELSIF (length(expression) - length(replace(expression, '''', ''))) % 2 = 1 THEN
		RETURN 'holds a text literal without an end';
	END IF;
	bare := regexp_replace(expression, '''[^'']*''', '''', 'g');
	IF bare ~ '[^\x20-\x7e\t\n\r]' THEN
		RETURN 'holds characters outside ASCII that are not in a text literal';
	ELSIF bare ~ '--|/\*' THEN
		RETURN 'holds a comment';
	ELSIF bare ~ '[";$]|[A-Za-z0-9_&]''' THEN
		RETURN 'holds a quoted name, a semicolon, a dollar sign or a literal with a prefix';
	END IF;
	FOREACH parenthesis IN ARRAY string_to_array(regexp_replace(bare, '[^()]', '', 'g'), NULL) LOOP
		depth := depth + CASE parenthesis WHEN '(' THEN 1 ELSE -1 END;
		EXIT WHEN depth < 0;
	END LOOP;
	IF depth <> 0 THEN
		RETURN 'has parentheses that do not match';
	END IF;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.lexical_fault(text) IS
	'Why the text of an expression may not be put between parentheses into a statement; NULL if it may.';

/*
 * What the expression calls, from the expression tree that PostgreSQL stored for the check
 * constraint: pg_depend has no entries for pg_catalog. Immutable functions may be used; of the stable
 * ones (they read settings, some of them tables) operators, casts and those of dates and texts.
 */
CREATE FUNCTION spine.tree_fault(the_constraint oid) RETURNS text
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	tree text;
	columns smallint[];
	strangers text;
BEGIN
	SELECT conbin::text, conkey INTO tree, columns FROM pg_constraint WHERE oid = the_constraint;
	IF columns IS NULL THEN
		RETURN 'uses no item of the group';
	ELSIF 0 >= ANY (columns) THEN
		RETURN 'uses a whole row or a system column; it may use items alone';
	ELSIF strpos(tree, '{XMLEXPR') > 0
		  OR strpos(tree, '{SQLVALUEFUNCTION') > 0 AND tree ~ '\{SQLVALUEFUNCTION :op 1[0-9] ' THEN
		RETURN 'uses XML, or asks who is connected to what';
	END IF;
	SELECT string_agg(DISTINCT p.oid::regprocedure::text, ', ') INTO strangers
	  FROM (SELECT m[1]::oid FROM regexp_matches(tree, ':(?:op)?funcid ([0-9]+)', 'g') AS m
			UNION
			SELECT o.oprcode FROM regexp_matches(tree, ':opno ([0-9]+)', 'g') AS m JOIN pg_operator AS o ON o.oid = m[1]::oid
		   ) AS called (oid)
		   JOIN pg_proc AS p USING (oid)
	 WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'spine'::regnamespace)
		OR p.prosecdef
		OR p.prorettype::regtype::text ~ '^reg'
		OR NOT has_function_privilege('public', p.oid, 'EXECUTE')
		OR p.provolatile = 'v'
		OR p.provolatile = 's'
		   AND NOT EXISTS (SELECT FROM pg_operator WHERE oprcode = p.oid)
		   AND NOT EXISTS (SELECT FROM pg_cast WHERE castfunc = p.oid)
		   AND NOT (p.pronamespace = 'pg_catalog'::regnamespace
					AND p.proname IN ('age', 'array_to_string', 'concat', 'concat_ws', 'date_part', 'date_trunc', 'extract',
									  'format', 'make_timestamptz', 'now', 'overlaps', 'statement_timestamp', 'timezone',
									  'to_char', 'to_date', 'to_number', 'to_timestamp', 'transaction_timestamp'));
	IF strangers IS NOT NULL THEN
		RETURN 'uses a function that rules may not use: ' || strangers;
	END IF;
	SELECT string_agg(DISTINCT pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), ', ') INTO strangers
	  FROM pg_depend AS d JOIN pg_constraint AS c ON c.oid = d.objid
	 WHERE d.classid = 'pg_constraint'::regclass AND d.objid = the_constraint
	   AND NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.conrelid)
	   AND NOT EXISTS (SELECT FROM pg_type AS t WHERE d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
						 AND t.typnamespace IN ('pg_catalog'::regnamespace, 'spine'::regnamespace))
	   AND NOT EXISTS (SELECT FROM pg_proc AS p WHERE d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
						 AND p.pronamespace IN ('pg_catalog'::regnamespace, 'spine'::regnamespace))
	   AND NOT EXISTS (SELECT FROM pg_operator AS o WHERE d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
						 AND o.oprnamespace IN ('pg_catalog'::regnamespace, 'spine'::regnamespace));
	IF strangers IS NOT NULL THEN
		RETURN 'uses what is outside pg_catalog and spine: ' || strangers;
	END IF;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.tree_fault(oid) IS
	'Why the expression of this check constraint may not be a rule; NULL if it may.';

CREATE FUNCTION spine.rule_shape(kind text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT '{"id": "!text", "severity": "!one_of warning record group file", "items": "!names", "message": "!text", "examples": "object",
			 "kind": "one_of expression related exists unique organisation own_code count failures"}'::pg_catalog.jsonb
		|| CASE kind
			WHEN 'expression' THEN '{"expression": "!text"}'::pg_catalog.jsonb
			WHEN 'related' THEN '{"group": "!text", "match": "!map", "expression": "!text"}'
			WHEN 'exists' THEN '{"group": "!text", "match": "!map", "when": "text"}'
			WHEN 'unique' THEN '{"when": "text"}'
			WHEN 'organisation' THEN '{"at": "text", "except": "texts", "known": "true"}'
			WHEN 'own_code' THEN '{}'
			WHEN 'count' THEN '{"items": "names", "min": "whole 0 999999999", "max": "whole 0 999999999"}'
			WHEN 'failures' THEN '{"items": "names", "max_percent": "!percent"}'
			ELSE '{"expression": "any", "group": "any", "match": "any", "when": "any", "at": "any", "except": "any", "known": "any",
				   "min": "any", "max": "any", "max_percent": "any"}'
		   END
	$fn$;
COMMENT ON FUNCTION spine.rule_shape(text) IS 'The keys of a rule of this kind, for spine.shape_faults; of an unknown kind, those of all.';

CREATE FUNCTION spine.rule_form_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH r AS MATERIALIZED (
		SELECT x.*, spine.json_text(x.body -> 'id') AS id, spine.json_text(x.body -> 'message') AS message
		  FROM spine.definition_rules(definition) AS x
	)
	SELECT f.path, f.fault FROM r, spine.shape_faults(r.body, r.path, spine.rule_shape(r.kind)) AS f
	UNION ALL
	SELECT r.path || '.id', 'must be a lower-case letter, then at most 62 lower-case letters, digits, underscores, dots and hyphens'
	  FROM r WHERE r.id !~ '^[a-z][a-z0-9_.-]{0,62}$'
	UNION ALL
	SELECT r.path || '.id', 'is of a form kept for the rules that every group has'
	  FROM r WHERE r.id ~ '^(item|identity|parent|group|record|rule|file|finding|dataset)\.'
	UNION ALL
	SELECT r.path || '.id', format('is the id of %s rules', d.times)
	  FROM r JOIN (SELECT id, count(*) AS times FROM r GROUP BY id HAVING count(*) > 1) AS d USING (id)
	UNION ALL
	SELECT r.path || '.severity', 'must be file: how many there are is about the whole submission'
	  FROM r WHERE r.kind IN ('count', 'failures') AND r.body ->> 'severity' IN ('warning', 'record', 'group')
	UNION ALL
	SELECT r.path, 'must have min or max' FROM r WHERE r.kind = 'count' AND NOT r.body ?| '{min,max}'
	UNION ALL
	SELECT r.path || '.min', 'is greater than max'
	  FROM r WHERE r.kind = 'count' AND jsonb_typeof(r.body -> 'min') = 'number' AND jsonb_typeof(r.body -> 'max') = 'number'
			   AND r.body -> 'min' > r.body -> 'max'
	$fn$;
COMMENT ON FUNCTION spine.rule_form_faults(jsonb) IS 'Faults of the form of a definition''s rules, by their kinds.';

/*
 * Rules that look at other records do so through an index (spine.make_rule_indexes): of at most 32
 * columns, two of which are owner and source system, and with entries of at most about 2,700 bytes.
 */
CREATE FUNCTION spine.rule_match_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH r AS MATERIALIZED (
		SELECT x.*, spine.json_text(x.body -> 'group') AS other
		  FROM spine.definition_rules(definition) AS x WHERE x.kind IN ('related', 'exists', 'unique')
	), g AS MATERIALIZED (
		SELECT DISTINCT ON (name) n, name
		  FROM spine.definition_members(definition -> 'groups', 'groups')
		 ORDER BY name, n
	), i AS MATERIALIZED (
		SELECT DISTINCT ON (group_n, name) group_n, name, spine.json_text(body -> 'type') AS type,
			   CASE WHEN spine.json_text(body -> 'type') = 'text'
					THEN CASE WHEN spine.json_fault(body -> 'max_length', 'whole 1 10485760') IS NULL
							  THEN coalesce((body ->> 'max_length')::integer, 10485760) ELSE 0 END
					ELSE 0 END AS characters
		  FROM spine.definition_items(definition)
		 ORDER BY group_n, name, n
	), t AS MATERIALIZED (
		SELECT r.group_n, r.path, r.kind, r.other, r.body -> 'match' AS match, g.n AS other_n
		  FROM r LEFT JOIN g ON g.name = r.other
		 WHERE r.kind <> 'unique' AND r.other IS NOT NULL
	), m AS MATERIALIZED (
		SELECT t.*, e.key AS item, spine.json_text(e.value) AS target
		  FROM t, jsonb_each(spine.json_object(t.match)) AS e
	), looked (path, group_n, name) AS MATERIALIZED (
		SELECT r.path || '.items', r.group_n, spine.json_text(k)
		  FROM r, jsonb_array_elements(spine.json_list(r.body -> 'items')) AS k WHERE r.kind = 'unique'
		UNION
		SELECT m.path || '.match', m.other_n, m.target FROM m
	)
	SELECT t.path || '.group', format('names the group %s, which is not defined', left(t.other, 63)) FROM t WHERE t.other_n IS NULL
	UNION ALL
	SELECT t.path || '.group', format('names the group %s, which must be this one or stand before it', t.other)
	  FROM t WHERE t.kind = 'related' AND t.other_n > t.group_n
	UNION ALL
	SELECT m.path || '.match', format('names the item %s, which the group does not have', left(m.item, 63))
	  FROM m LEFT JOIN i ON i.group_n = m.group_n AND i.name = m.item
	 WHERE i.name IS NULL
	UNION ALL
	SELECT m.path || '.match', format('names the item %s, which the group %s does not have', left(m.target, 63), m.other)
	  FROM m LEFT JOIN i ON i.group_n = m.other_n AND i.name = m.target
	 WHERE i.name IS NULL AND m.target IS NOT NULL AND m.other_n IS NOT NULL
	UNION ALL
	SELECT m.path || '.match', format('matches %s of type %s with %s of type %s', a.name, a.type, b.name, b.type)
	  FROM m JOIN i AS a ON a.group_n = m.group_n AND a.name = m.item
			 JOIN i AS b ON b.group_n = m.other_n AND b.name = m.target
	 WHERE a.type <> b.type AND spine.item_type(a.type) IS NOT NULL AND spine.item_type(b.type) IS NOT NULL
	UNION ALL
	SELECT l.path, CASE WHEN count(*) > 30 THEN 'looks others up by more than 30 items'
						ELSE 'looks others up by texts that need a max_length, of 500 characters all together' END
	  FROM looked AS l JOIN i USING (group_n, name)
	 GROUP BY l.path
	HAVING count(*) > 30 OR sum(i.characters) > 500
	$fn$;
COMMENT ON FUNCTION spine.rule_match_faults(jsonb) IS 'Faults of the rules that look at other records: whom they look for, and by what.';

CREATE FUNCTION spine.example_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH g AS MATERIALIZED (
		SELECT * FROM spine.definition_members(definition -> 'groups', 'groups')
	), r AS MATERIALIZED (
		SELECT r.*, concat(r.path, '.examples') AS place, r.body -> 'examples' AS examples
		  FROM spine.definition_rules(definition) AS r WHERE jsonb_typeof(r.body -> 'examples') = 'object'
	), x AS MATERIALIZED (
		SELECT r.group_name, r.kind, concat(r.place, '.', e.key) AS path, e.value AS example
		  FROM r, jsonb_each(r.examples) AS e WHERE e.key IN ('passes', 'fails')
	), member AS MATERIALIZED (
		SELECT x.group_name, x.kind, concat(x.path, '[', e.n - 1, ']') AS path, e.body,
			   spine.json_text(e.body -> 'group') AS in_group, e.n = jsonb_array_length(x.example) AS last
		  FROM x, jsonb_array_elements(spine.json_list(x.example)) WITH ORDINALITY AS e (body, n)
	), data (path, group_name, data, gaps) AS MATERIALIZED (
		SELECT g.path || '.example', g.name, g.body -> 'example', false FROM g
		UNION ALL
		SELECT x.path, x.group_name, x.example, true FROM x
		UNION ALL
		SELECT m.path || '.data', m.in_group, m.body -> 'data', true FROM member AS m
	), value AS MATERIALIZED (
		SELECT d.group_name, d.gaps, concat(d.path, '.', left(v.key, 63)) AS path, v.key AS name, v.value
		  FROM data AS d, jsonb_each(spine.json_object(d.data)) AS v
	)
	SELECT f.path, f.fault FROM r, spine.shape_faults(r.examples, r.place, '{"passes": "!any", "fails": "!any"}') AS f
	UNION ALL
	SELECT x.path, 'must be an object of items, or a list of {group, data} that is not empty'
	  FROM x WHERE jsonb_typeof(x.example) NOT IN ('object', 'array') OR x.example = '[]'
	UNION ALL
	SELECT f.path, f.fault FROM member AS m, spine.shape_faults(m.body, m.path, '{"group": "!text", "data": "!object"}') AS f
	UNION ALL
	SELECT m.path || '.group', format('names the group %s, which is not defined', left(m.in_group, 63))
	  FROM member AS m WHERE m.in_group IS NOT NULL AND NOT EXISTS (SELECT FROM g WHERE g.name = m.in_group)
	UNION ALL
	SELECT m.path || '.group', format('is %s, but the last record is the one that is judged, so of the group %s', left(m.in_group, 63), m.group_name)
	  FROM member AS m
	 WHERE m.last AND m.in_group <> m.group_name AND m.kind NOT IN ('count', 'failures')
	   AND EXISTS (SELECT FROM g WHERE g.name = m.in_group)
	UNION ALL
	SELECT v.path, 'is not an item of the group'
	  FROM value AS v JOIN g ON g.name = v.group_name
		   LEFT JOIN spine.definition_items(definition) AS i ON i.group_n = g.n AND i.name = v.name
	 WHERE i.name IS NULL
	UNION ALL
	SELECT v.path, CASE WHEN v.gaps THEN 'must be a text, a number, true, false or null' ELSE 'must be a text, a number, true or false' END
	  FROM value AS v
	 WHERE jsonb_typeof(v.value) IN ('object', 'array') OR jsonb_typeof(v.value) = 'null' AND NOT v.gaps
	$fn$;
COMMENT ON FUNCTION spine.example_faults(jsonb) IS 'Faults of the examples of groups and rules: what they name, and of what form they are.';

/*
 * header.ITEM and other.ITEM become columns of the table that judges: no item's name has a dot, and
 * the names fit, as items have at most 55 characters. What stands outside of literals is ASCII without
 * quoted names (spine.lexical_fault), so that case does not matter there.
 */
CREATE FUNCTION spine.gate_text(expression text, other bigint) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT string_agg(
			CASE WHEN p.n % 2 = 0 THEN p.part
				 ELSE regexp_replace(regexp_replace(lower(p.part),
						'\mheader\s*\.\s*([a-z_][a-z0-9_]*)', '"header.\1"', 'g'),
						'\mother\s*\.\s*([a-z_][a-z0-9_]*)', concat('"o', gate_text.other, '.\1"'), 'g') END,
			'''' ORDER BY p.n)
	  FROM unnest(string_to_array(expression, '''')) WITH ORDINALITY AS p (part, n)
	$fn$;
COMMENT ON FUNCTION spine.gate_text(text, bigint) IS
	'An expression in which header.ITEM and other.ITEM are names of columns: "header.ITEM" and, where the other group is the third, "o3.ITEM".';

/*
 * PostgreSQL itself judges an expression, as a check constraint on a table of what it may name:
 * one expression, boolean, no subquery, aggregate or window function, every name known. Adding it
 * NOT VALID to an empty table parses it and runs nothing. The table is rolled back.
 */
CREATE FUNCTION spine.rule_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, spine, pg_temp
	SET standard_conforming_strings = on
	SET client_min_messages = error
	AS $fn$
DECLARE
	the_table text := 'rule_check_' || replace(gen_random_uuid()::text, '-', '');
	data_group record;
	rule record;
	together boolean;
	places text[] := '{}';
	problems text[] := '{}';
	problem text;
BEGIN
	FOR data_group IN
		WITH g AS MATERIALIZED (
			SELECT * FROM spine.definition_members(definition -> 'groups', 'groups')
		), r AS MATERIALIZED (
			SELECT x.group_n, x.n, concat(x.path, '.', k.key) AS path, spine.json_text(x.body -> k.key) AS expression,
				   CASE x.kind WHEN 'related' THEN o.n END AS other
			  FROM spine.definition_rules(definition) AS x
				   JOIN (VALUES ('expression', 'expression'), ('related', 'expression'), ('exists', 'when'), ('unique', 'when'))
					 AS k (kind, key) USING (kind)
				   LEFT JOIN LATERAL (SELECT g.n FROM g WHERE g.name = spine.json_text(x.body -> 'group') ORDER BY g.n LIMIT 1) AS o ON true
			 WHERE btrim(spine.json_text(x.body -> k.key), E' \t\r\n') <> ''
		), i AS MATERIALIZED (
			SELECT DISTINCT ON (m.group_n, m.name) m.group_n, m.n, m.name, spine.item_type(spine.json_text(m.body -> 'type')) AS type
			  FROM spine.definition_items(definition) AS m
			 WHERE m.name ~ '^[a-z][a-z0-9_]{0,54}$'
			   AND m.name <> ALL ('{tableoid,xmin,cmin,xmax,cmax,ctid}'::text[])
			 ORDER BY m.group_n, m.name, m.n
		), place (group_n, prefix, in_group) AS (
			-- whose items a group's rules may name, and how
			SELECT DISTINCT r.group_n, '', r.group_n FROM r
			UNION
			SELECT r.group_n, 'header.', g.n FROM r, g
			 WHERE r.expression ~* '\mheader\s*\.' AND g.n = (SELECT min(h.n) FROM g AS h WHERE h.name = spine.json_text(definition -> 'header'))
			UNION
			SELECT r.group_n, concat('o', r.other, '.'), r.other FROM r WHERE r.other IS NOT NULL
		), c AS (
			-- in a table for 1600 columns the own items come first
			SELECT p.group_n, concat(p.prefix, i.name) AS name, i.type, row_number() OVER (PARTITION BY p.group_n ORDER BY p.prefix, i.n) AS n
			  FROM place AS p JOIN i ON i.group_n = p.in_group
			 WHERE i.type IS NOT NULL
			   AND (p.prefix = ''
					OR EXISTS (SELECT FROM r WHERE r.group_n = p.group_n AND strpos(lower(r.expression), i.name) > 0))
		)
		SELECT (SELECT string_agg(format('%I %s', c.name, c.type), ', ' ORDER BY c.n)
				  FROM c WHERE c.group_n = g.n AND c.n <= 1590) AS columns,
			   (SELECT array_agg(r ORDER BY r.n) FROM r WHERE r.group_n = g.n) AS rules
		  FROM g WHERE g.n IN (SELECT r.group_n FROM r)
	LOOP
		BEGIN
			EXECUTE format('CREATE TABLE spine.%I (%s)', the_table, data_group.columns);
			-- all at once, which is a third of the work, and one by one where that is refused
			BEGIN
				EXECUTE (SELECT format('ALTER TABLE spine.%I ', the_table)
								|| string_agg(format('ADD CONSTRAINT rule_%s CHECK (%s) NOT VALID', r.n, spine.gate_text(r.expression, r.other)), ', ')
						   FROM unnest(data_group.rules) AS r (group_n bigint, n bigint, path text, expression text, other bigint)
						  WHERE spine.lexical_fault(r.expression) IS NULL);
				together := true;
			EXCEPTION WHEN OTHERS THEN
				together := false;
			END;
			FOR rule IN
				SELECT * FROM unnest(data_group.rules) AS r (group_n bigint, n bigint, path text, expression text, other bigint)
			LOOP
				problem := spine.lexical_fault(rule.expression);
				IF problem IS NULL THEN
					BEGIN
						IF NOT together THEN
							EXECUTE format('ALTER TABLE spine.%I ADD CONSTRAINT rule_%s CHECK (%s) NOT VALID',
										   the_table, rule.n, spine.gate_text(rule.expression, rule.other));
						END IF;
						problem := spine.tree_fault(
							(SELECT c.oid FROM pg_constraint AS c
							  WHERE c.conrelid = format('spine.%I', the_table)::regclass
								AND c.conname = format('rule_%s', rule.n)));
					EXCEPTION WHEN OTHERS THEN
						problem := 'is refused by PostgreSQL: ' || regexp_replace(SQLERRM, '\mo[0-9]*\.', 'other.', 'g');
					END;
				END IF;
				IF problem IS NOT NULL THEN
					places := places || rule.path;
					problems := problems || problem;
				END IF;
			END LOOP;
			RAISE EXCEPTION 'the table has served' USING ERRCODE = 'SP0RB';
		EXCEPTION WHEN SQLSTATE 'SP0RB' THEN
			NULL;
		END;
	END LOOP;
	RETURN QUERY SELECT * FROM unnest(places, problems);
END
$fn$;
COMMENT ON FUNCTION spine.rule_faults(jsonb) IS 'Faults of the expressions of a definition''s rules.';

-- ---------------------------------------------------------------- against what is published

CREATE FUNCTION spine.published_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH d AS MATERIALIZED (
		SELECT spine.json_text(definition -> 'name') AS name, spine.json_text(definition -> 'version') AS version
	), other AS MATERIALIZED (
		SELECT p.version, p.definition FROM spine.dataset AS p JOIN d ON d.name = p.name AND d.version <> p.version
	), kept AS MATERIALIZED (
		SELECT DISTINCT ON (i.group_name, i.name, spine.item_column(i.body))
			   i.group_name, i.name, spine.item_column(i.body) AS column_name, i.body ->> 'type' AS type, other.version
		  FROM other, spine.definition_items(other.definition) AS i
		 ORDER BY i.group_name, i.name, spine.item_column(i.body), string_to_array(other.version, '.')::integer[]
	), mine AS MATERIALIZED (
		SELECT i.group_name, i.name, spine.item_column(i.body) AS column_name, spine.json_text(i.body -> 'type') AS type, i.body, i.path
		  FROM spine.definition_items(definition) AS i
	), kept_group AS MATERIALIZED (
		SELECT DISTINCT ON (g.name) g.name, g.body ->> 'subject' AS subject, other.version
		  FROM other, spine.definition_members(other.definition -> 'groups', '') AS g
		 ORDER BY g.name
	)
	SELECT 'version', 'is published already with another definition; a published version never changes'
	  FROM spine.dataset AS p JOIN d USING (name, version)
	 WHERE p.definition <> published_faults.definition
	UNION ALL
	SELECT 'name', format('is the name of a schema that exists already: %s', d.name)
	  FROM d
	 WHERE to_regnamespace(quote_ident(d.name)) IS NOT NULL
	   AND NOT EXISTS (SELECT FROM spine.dataset AS p WHERE p.name = d.name)
	   AND d.name !~ '^(pg_.*|spine|public|information_schema)$'
	UNION ALL
	SELECT 'version', format('makes a schema whose name is taken: %s', spine.view_schema(d.name, d.version))
	  FROM d
	 WHERE to_regnamespace(quote_ident(spine.view_schema(d.name, d.version))) IS NOT NULL
	   AND NOT EXISTS (SELECT FROM spine.dataset AS p WHERE p.name = d.name AND p.version = d.version)
	UNION ALL
	SELECT i.path || '.type', format('is %s, but version %s has it as %s; an item that is kept keeps its type',
									 i.type, min(k.version), k.type)
	  FROM mine AS i JOIN kept AS k ON k.group_name = i.group_name AND k.column_name = i.column_name AND k.type <> i.type
	 WHERE spine.item_type(i.type) IS NOT NULL
	 GROUP BY i.path, i.type, k.type
	UNION ALL
	-- a name is of one column in all versions, and no column has the name of an item of another
	SELECT i.path || '.name', format('is not what it is in version %s: there %s is in the column %s, here %s is in the column %s',
									 k.version, k.name, k.column_name, i.name, i.column_name)
	  FROM mine AS i
		   JOIN kept AS k ON k.group_name = i.group_name AND k.column_name <> i.column_name
			AND ARRAY[k.name, k.column_name] && ARRAY[i.name, i.column_name]
	UNION ALL
	-- an older version calls the column otherwise: told to be another name again, kept from the version that is extended, or a mistake
	SELECT i.path || '.name', format('is the column of the item %s since version %s: it cannot mean something else', k.name, k.version)
	  FROM mine AS i
		   JOIN kept AS k ON k.group_name = i.group_name AND k.column_name = i.column_name AND k.name <> i.name
		   JOIN d ON string_to_array(k.version, '.')::integer[] < string_to_array(d.version, '.')::integer[]
	 WHERE NOT i.body ? 'column' AND d.version ~ '^[0-9]{1,4}(\.[0-9]{1,4}){0,2}$'
	   AND NOT EXISTS (SELECT FROM spine.definition_items(spine.known_definition(d.name, spine.json_text(definition -> 'extends'))) AS b
						WHERE b.group_name = i.group_name AND b.name = i.name AND spine.item_column(b.body) = i.column_name)
	UNION ALL
	SELECT g.path || '.subject', format('is %s, but version %s has it as %s; a group that is kept keeps its subject',
										g.body ->> 'subject', k.version, k.subject)
	  FROM spine.definition_members(definition -> 'groups', 'groups') AS g
		   JOIN kept_group AS k ON k.name = g.name AND k.subject <> spine.json_text(g.body -> 'subject')
	 WHERE g.body ->> 'subject' IN ('mother', 'baby', 'patient', 'none')
	$fn$;
COMMENT ON FUNCTION spine.published_faults(jsonb) IS
	'What in a definition contradicts the versions published here.';

CREATE FUNCTION spine.is_too_large(definition jsonb) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT count(*) > 500 OR coalesce(sum(jsonb_array_length(spine.json_list(g -> 'items'))), 0) > 20000
	  FROM jsonb_array_elements(spine.json_list(definition -> 'groups')) AS g
	$fn$;
COMMENT ON FUNCTION spine.is_too_large(jsonb) IS 'Whether a definition is larger than any data set: more than 500 groups, or more than 20,000 items in all.';

CREATE FUNCTION spine.definition_faults(definition jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	whole jsonb;
BEGIN
	IF spine.is_extension(definition) AND NOT spine.is_too_large(definition) THEN
		whole := spine.expand(definition, '{}');
		IF whole IS NULL THEN
			RETURN QUERY SELECT * FROM spine.base_faults(definition);
			RETURN;
		END IF;
		definition := whole;
	END IF;
	RETURN QUERY SELECT * FROM spine.head_faults(definition);
	IF jsonb_typeof(definition) IS DISTINCT FROM 'object' THEN
		RETURN;
	END IF;
	-- what is larger than any data set is not looked at more closely
	IF spine.is_too_large(definition) THEN
		path := 'groups';
		fault := 'has more than 500 groups, or more than 20000 items in all';
		RETURN NEXT;
		RETURN;
	END IF;
	RETURN QUERY SELECT * FROM spine.list_faults(definition);
	RETURN QUERY SELECT * FROM spine.group_faults(definition);
	RETURN QUERY SELECT * FROM spine.item_faults(definition);
	RETURN QUERY SELECT * FROM spine.reference_faults(definition);
	RETURN QUERY SELECT * FROM spine.rule_form_faults(definition);
	RETURN QUERY SELECT * FROM spine.rule_match_faults(definition);
	RETURN QUERY SELECT * FROM spine.example_faults(definition);
	RETURN QUERY SELECT * FROM spine.rule_faults(definition);
	IF to_regclass('spine.dataset') IS NOT NULL THEN
		RETURN QUERY SELECT * FROM spine.published_faults(definition);
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.definition_faults(jsonb) IS
	'Every fault of a data-set definition, none if it can be published here. path: where, by names (groups.booking.items.edd_agreed.type) or by positions from 0 (groups[3].items[0].name). Of a definition that extends another version: its own faults, or else those of the whole that it stands for, with the whole''s positions. Never raises on account of the definition. For spine_operator and spine_supplier.';

-- ---------------------------------------------------------------- making it

CREATE FUNCTION spine.item_comment(item jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT pg_catalog.concat_ws(' ',
		pg_catalog.rtrim(item ->> 'title', '.') || '.',
		pg_catalog.rtrim(item ->> 'description', '.') || '.',
		'NHS name ' || (item ->> 'nhs_name') || coalesce(', UID ' || (item ->> 'uid'), '') || '.',
		CASE WHEN NOT item ? 'nhs_name' THEN 'UID ' || (item ->> 'uid') || '.' END)
	$fn$;
COMMENT ON FUNCTION spine.item_comment(jsonb) IS 'The comment on an item''s column: title, description, NHS name and UID.';

CREATE FUNCTION spine.group_comment(data_group jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT pg_catalog.concat_ws(' ',
		pg_catalog.rtrim(data_group ->> 'title', '.') || '.',
		pg_catalog.rtrim(data_group ->> 'description', '.') || '.',
		'NHS table ' || (data_group ->> 'nhs_table') || '.')
	$fn$;
COMMENT ON FUNCTION spine.group_comment(jsonb) IS 'The comment on a group''s table and views.';

CREATE FUNCTION spine.envelope_comments(relation_kind text, relation text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	SELECT pg_catalog.string_agg(pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', relation, c.name, c.meaning), '; ')
	  FROM (VALUES
		('both', 'record_id', 'Id of the record, made at intake; the same on every node.'),
		('both', 'owner', 'Organisation (ODS code) whose record this is.'),
		('both', 'source_system', 'The owner''s system that sent the record.'),
		('both', 'local_record_id', 'That system''s own id of the record; sending it again corrects the record.'),
		('view', 'nhs_number', 'To write only: the person''s NHS number. It reads as NULL.'),
		('view', 'local_patient_id', 'To write only: the system''s number of the person. It reads as NULL.'),
		('view', 'local_episode_id', 'To write only: the system''s number of the episode. It reads as NULL.'),
		('both', 'patient_id', 'The person: a keyed hash of the NHS number, or a random id.'),
		('both', 'episode_id', 'The episode that the record belongs to.'),
		('table', 'dataset_version', 'Version of the data set in which the record was sent.'),
		('both', 'event_at', 'When what the record tells took place.'),
		('both', 'received_at', 'When the owner''s node took the present revision in.'),
		('both', 'revision', 'Grows by one with each correction.'),
		('table', 'audience', 'Who else may see the record, as ORGANISATION:purpose.')
		) AS c (where_it_is, name, meaning)
	 WHERE c.where_it_is IN ('both', relation_kind)
	$fn$;
COMMENT ON FUNCTION spine.envelope_comments(text, text) IS 'The statements that comment on the envelope''s columns of a table or view.';

CREATE FUNCTION spine.make_group_table(dataset text, data_group jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	name text := data_group ->> 'name';
	relation text := format('%I.%I', dataset, name);
	arguments text := format('%L, %L', dataset, name);
BEGIN
	EXECUTE concat(
		'CREATE TABLE ', relation, ' (',
		'record_id uuid CONSTRAINT ', quote_ident(name || '_pkey'), ' PRIMARY KEY, ',
		'owner text COLLATE "C" NOT NULL, source_system text COLLATE "C" NOT NULL, local_record_id text COLLATE "C" NOT NULL, ',
		'patient_id uuid ', CASE WHEN data_group ->> 'subject' <> 'none' THEN 'NOT NULL' END, ', ',
		'episode_id uuid, dataset_version text NOT NULL, event_at timestamp with time zone, ',
		'received_at timestamp with time zone NOT NULL, revision bigint NOT NULL, audience text[] NOT NULL',
		(SELECT string_agg(format(', %I %s', spine.item_column(i.body), spine.item_type(i.body ->> 'type')), '' ORDER BY i.n)
		   FROM jsonb_array_elements(data_group -> 'items') WITH ORDINALITY AS i (body, n)),
		'); ',
		'CREATE UNIQUE INDEX ', quote_ident(name || '_local'), ' ON ', relation, ' (local_record_id, source_system, owner); ',
		'CREATE INDEX ', quote_ident(name || '_patient'), ' ON ', relation, ' (patient_id, event_at); ',
		'CREATE INDEX ', quote_ident(name || '_owner'), ' ON ', relation, ' (owner, event_at)');
	EXECUTE concat(
		'ALTER TABLE ', relation, ' ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ',
		'CREATE POLICY spine_visible ON ', relation, ' FOR SELECT TO spine_reader USING (',
		'spine.narrowed(owner = ANY ((SELECT spine.my_owners())::text[]) ',
		'OR patient_id = ANY ((SELECT spine.my_opened_patients())::uuid[])) ',
		'AND spine.visible(owner, audience, patient_id, ', quote_literal(dataset || '.' || name), ')); ',
		'GRANT SELECT ON ', relation, ' TO spine_reader; ',
		'CREATE TRIGGER deliver_insert AFTER INSERT ON ', relation, ' REFERENCING NEW TABLE AS new_rows ',
		'FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver(', arguments, '); ',
		'CREATE TRIGGER deliver_update AFTER UPDATE ON ', relation, ' REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ',
		'FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver(', arguments, '); ',
		'CREATE TRIGGER deliver_delete AFTER DELETE ON ', relation, ' REFERENCING OLD TABLE AS old_rows ',
		'FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver(', arguments, '); ',
		'CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ', relation, ' FOR EACH STATEMENT EXECUTE FUNCTION spine.refuse_truncate(); ',
		'CREATE TRIGGER history_update AFTER UPDATE ON ', relation, ' REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ',
		'FOR EACH STATEMENT EXECUTE FUNCTION spine.keep_history(', arguments, '); ',
		'CREATE TRIGGER history_delete AFTER DELETE ON ', relation, ' REFERENCING OLD TABLE AS old_rows ',
		'FOR EACH STATEMENT EXECUTE FUNCTION spine.keep_history(', arguments, ')');
	EXECUTE spine.envelope_comments('table', relation);
END
$fn$;
COMMENT ON FUNCTION spine.make_group_table(text, jsonb) IS
	'Makes the table of a data group with its indexes, policy, triggers and grants.';

CREATE FUNCTION spine.extend_group_table(dataset text, data_group jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	relation text := format('%I.%I', dataset, data_group ->> 'name');
	additions text;
BEGIN
	SELECT string_agg(format('ADD COLUMN %I %s', spine.item_column(i.body), spine.item_type(i.body ->> 'type')), ', ' ORDER BY i.n)
	  INTO additions
	  FROM jsonb_array_elements(data_group -> 'items') WITH ORDINALITY AS i (body, n)
	 WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
						WHERE a.attrelid = relation::regclass AND a.attname = spine.item_column(i.body) AND NOT a.attisdropped);
	IF additions IS NOT NULL THEN
		EXECUTE concat('ALTER TABLE ', relation, ' ', additions);
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.extend_group_table(text, jsonb) IS
	'Gives the table of a data group the columns that a further version needs.';

CREATE FUNCTION spine.shown_with(dataset text, data_group jsonb, items text[], the_column text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT coalesce('CASE WHEN ' || string_agg(format('spine.permits(t.owner, t.audience, t.patient_id, %L)',
													  format('%s.%s:%s', dataset, data_group ->> 'name', spine.item_column(i))),
											   ' AND ' ORDER BY spine.item_column(i))
					|| format(' THEN t.%I END', the_column),
					format('t.%I', the_column))
	  FROM jsonb_array_elements(data_group -> 'items') AS i
	 WHERE i ->> 'name' = ANY (items)
	$fn$;
COMMENT ON FUNCTION spine.shown_with(text, jsonb, text[], text) IS
	'A column of the envelope that is made of these items, as a view shows it: only together with all of them.';

CREATE FUNCTION spine.key_items(data_group jsonb) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT ARRAY(SELECT k FROM jsonb_array_elements_text(data_group -> 'key') AS k) $fn$;
COMMENT ON FUNCTION spine.key_items(jsonb) IS 'The items that make local_record_id.';

CREATE FUNCTION spine.event_items(data_group jsonb) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT ARRAY(SELECT e #>> '{}' FROM jsonb_path_query(data_group, '$.event[*].*') AS e) $fn$;
COMMENT ON FUNCTION spine.event_items(jsonb) IS 'The items that make event_at.';

CREATE FUNCTION spine.make_group_view(dataset text, version text, data_group jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	name text := data_group ->> 'name';
	relation text := format('%I.%I', spine.view_schema(dataset, version), name);
	arguments text := format('%L, %L, %L', dataset, version, name);
BEGIN
	EXECUTE concat(
		'CREATE VIEW ', relation, ' AS SELECT t.record_id, t.owner, t.source_system, ',
		spine.shown_with(dataset, data_group, spine.key_items(data_group), 'local_record_id'), ' AS local_record_id, ',
		'NULL::spine.nhs_number AS nhs_number, NULL::text AS local_patient_id, NULL::text AS local_episode_id, ',
		't.patient_id, t.episode_id, ',
		spine.shown_with(dataset, data_group, spine.event_items(data_group), 'event_at'), ' AS event_at, t.received_at, t.revision',
		-- an item of another owner's row as far as a clause shows it
		(SELECT string_agg(format(', CASE WHEN spine.permits(t.owner, t.audience, t.patient_id, %L) THEN t.%I END AS %I',
								  format('%s.%s:%s', dataset, name, spine.item_column(i.body)),
								  spine.item_column(i.body), i.body ->> 'name'), '' ORDER BY i.n)
		   FROM jsonb_array_elements(data_group -> 'items') WITH ORDINALITY AS i (body, n)),
		format(' FROM %I.%I AS t; ', dataset, name),
		'CREATE TRIGGER intake_row INSTEAD OF INSERT OR UPDATE OR DELETE ON ', relation,
		' FOR EACH ROW EXECUTE FUNCTION spine.intake_row(', arguments, '); ',
		'CREATE TRIGGER intake_before BEFORE INSERT OR UPDATE OR DELETE ON ', relation,
		' FOR EACH STATEMENT EXECUTE FUNCTION spine.intake_statement(', arguments, '); ',
		'CREATE TRIGGER intake_after AFTER INSERT OR UPDATE OR DELETE ON ', relation,
		' FOR EACH STATEMENT EXECUTE FUNCTION spine.intake_statement(', arguments, '); ',
		spine.envelope_comments('view', relation), '; ',
		format('COMMENT ON VIEW %s IS %L; ', relation, spine.group_comment(data_group)),
		(SELECT string_agg(format('COMMENT ON COLUMN %s.%I IS %L', relation, i ->> 'name', spine.item_comment(i)), '; ')
		   FROM jsonb_array_elements(data_group -> 'items') AS i), '; ',
		'ALTER VIEW ', relation, ' OWNER TO spine_reader; ',
		'GRANT SELECT ON ', relation, ' TO spine_member; ',
		'GRANT INSERT, UPDATE, DELETE ON ', relation, ' TO spine_supplier');
END
$fn$;
COMMENT ON FUNCTION spine.make_group_view(text, text, jsonb) IS
	'Makes the view of a data group in one version, through which it is written and read.';

/*
 * What rules look other records up by. A record to which children refer has the one item of its key
 * as its local_record_id, for which every table has an index: looked for by that item, it needs no other.
 */
CREATE FUNCTION spine.make_rule_indexes(definition jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	wanted record;
	index_name text;
BEGIN
	FOR wanted IN
		WITH r AS MATERIALIZED (
			SELECT * FROM spine.definition_rules(definition) WHERE kind IN ('unique', 'related', 'exists')
		), looked (path, name, item, key) AS (
			SELECT r.path, r.group_name, k, NULL::jsonb FROM r, jsonb_array_elements_text(r.body -> 'items') AS k WHERE r.kind = 'unique'
			UNION
			SELECT r.path, r.body ->> 'group', m.value, g.body -> 'key'
			  FROM r, jsonb_each_text(r.body -> 'match') AS m, spine.definition_members(definition -> 'groups', '') AS g
			 WHERE r.kind <> 'unique' AND g.name = r.body ->> 'group'
		)
		SELECT DISTINCT l.name, string_agg(quote_ident(spine.item_column(i.body)), ', ' ORDER BY spine.item_column(i.body) COLLATE "C") AS columns
		  FROM looked AS l JOIN spine.definition_items(definition) AS i ON i.group_name = l.name AND i.name = l.item
		 GROUP BY l.path, l.name, l.key
		HAVING l.key IS NULL OR jsonb_agg(l.item) <> l.key
			OR bool_or(i.body ->> 'type' NOT IN ('text', 'ods_code'))
			OR NOT EXISTS (SELECT FROM spine.definition_members(definition -> 'groups', '') AS c
							WHERE c.body -> 'parent' ->> 'group' = l.name)
	LOOP
		index_name := concat(left(wanted.name, 45), '_', left(md5(format('%s (%s)', wanted.name, wanted.columns)), 8), '_set');
		IF to_regclass(format('%I.%I', definition ->> 'name', index_name)) IS NULL THEN
			EXECUTE format('CREATE INDEX %I ON %I.%I (%s, source_system, owner)',
						   index_name, definition ->> 'name', wanted.name, wanted.columns);
		END IF;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.make_rule_indexes(jsonb) IS
	'Makes the indexes by which the rules of a definition look at other records, as far as they are not there.';

/*
 * One branch for each group, each a plain select from one table, so that a condition on a column
 * goes down into every branch and meets its index. Row-level security holds in each.
 */
CREATE FUNCTION spine.make_all_records() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	branches text;
BEGIN
	WITH d AS MATERIALIZED (
		SELECT name, definition, string_to_array(version, '.')::integer[] AS version FROM spine.dataset
	), g AS MATERIALIZED (
		SELECT DISTINCT ON (d.name, m.name) d.name AS dataset, m.name AS data_group, m.body ->> 'title' AS title, m.n, m.body
		  FROM d, spine.definition_members(d.definition -> 'groups', '') AS m
		 ORDER BY d.name, m.name, d.version DESC
	), c AS MATERIALIZED (
		-- the columns whose item has another name in the newest version that has it
		SELECT n.* FROM (SELECT DISTINCT ON (d.name, i.group_name, spine.item_column(i.body))
								d.name AS dataset, i.group_name, i.name, spine.item_column(i.body) AS column_name
						   FROM d, spine.definition_items(d.definition) AS i
						  ORDER BY d.name, i.group_name, spine.item_column(i.body), d.version DESC) AS n
		 WHERE n.name <> n.column_name
	)
	SELECT string_agg(format(
			'SELECT %L::text AS dataset, t.dataset_version AS version, %L::text AS data_group, %L::text AS title, '
			't.record_id, t.owner, t.source_system, t.patient_id, t.episode_id, %s AS event_at, t.received_at, t.revision, '
			'spine.record_items(t.*, %L::text[], spine.withheld(t.owner, t.audience, t.patient_id, %L))%s AS data FROM %I.%I AS t',
			g.dataset, g.data_group, g.title, spine.shown_with(g.dataset, g.body, spine.event_items(g.body), 'event_at'),
			spine.envelope_names() || ARRAY(SELECT c.column_name FROM c WHERE c.dataset = g.dataset AND c.group_name = g.data_group),
			g.dataset || '.' || g.data_group,
			(SELECT string_agg(format(' || jsonb_strip_nulls(jsonb_build_object(%L, CASE WHEN spine.permits(t.owner, t.audience, t.patient_id, %L) THEN t.%I END))',
									  c.name, format('%s.%s:%s', g.dataset, g.data_group, c.column_name), c.column_name), '' ORDER BY c.name)
			   FROM c WHERE c.dataset = g.dataset AND c.group_name = g.data_group),
			g.dataset, g.data_group),
		' UNION ALL ' ORDER BY g.dataset, g.n)
	  INTO branches FROM g;
	IF branches IS NOT NULL THEN
		EXECUTE 'CREATE OR REPLACE VIEW spine.all_records AS ' || branches;
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.make_all_records() IS
	'Makes spine.all_records anew over the groups of every data set. Items have the names that they have in the newest version that has them.';

CREATE FUNCTION spine.publish_dataset(definition jsonb) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	dataset text := spine.json_text(definition -> 'name');
	the_version text := spine.json_text(definition -> 'version');
	views text := spine.view_schema(dataset, the_version);
	faults bigint;
	details text;
	data_group jsonb;
	first_version boolean;
	newest boolean;
BEGIN
	IF to_regclass('spine.dataset') IS NULL THEN
		RAISE EXCEPTION 'this database has no store'
			USING ERRCODE = 'SP008',
				  HINT = 'Run SELECT spine.create_store(''...'') with the ODS code of your organisation.';
	END IF;
	-- one publisher at a time; readers go on
	LOCK TABLE spine.dataset IN SHARE ROW EXCLUSIVE MODE;
	IF spine.is_extension(definition) AND NOT spine.is_too_large(definition) THEN
		definition := coalesce(spine.expand(definition, '{}'), definition);
	END IF;
	IF EXISTS (SELECT FROM spine.dataset AS d WHERE d.name = dataset AND d.version = the_version) THEN
		IF EXISTS (SELECT FROM spine.dataset AS d
					WHERE d.name = dataset AND d.version = the_version AND d.definition = publish_dataset.definition) THEN
			RETURN views;
		END IF;
		RAISE EXCEPTION 'data set "%" version "%" is published already, with another definition', dataset, the_version
			USING ERRCODE = 'duplicate_object',
				  HINT = 'A published version never changes. Give the definition a new version.';
	END IF;

	SELECT count(*), string_agg(concat(f.path, ': ', f.fault), E'\n') INTO faults, details
	  FROM spine.definition_faults(definition) AS f;
	IF faults > 0 THEN
		RAISE EXCEPTION '%', CASE faults WHEN 1 THEN 'data-set definition has 1 fault'
									ELSE format('data-set definition has %s faults', faults) END
			USING ERRCODE = 'SP004',
				  DETAIL = details,
				  HINT = 'SELECT * FROM spine.definition_faults(...) lists them as rows.';
	END IF;

	SELECT count(*) = 0,
		   coalesce(bool_and(string_to_array(d.version, '.')::integer[] < string_to_array(the_version, '.')::integer[]), true)
	  INTO first_version, newest
	  FROM spine.dataset AS d WHERE d.name = dataset;
	IF first_version THEN
		EXECUTE format('CREATE SCHEMA %I', dataset);
		EXECUTE format('GRANT USAGE ON SCHEMA %I TO spine_reader', dataset);
	END IF;
	IF newest THEN
		EXECUTE format('COMMENT ON SCHEMA %I IS %L', dataset,
					   format('%s: the tables. Written and read through the views of a version, such as %s.',
							  definition ->> 'title', views));
	END IF;
	EXECUTE format('CREATE SCHEMA %I', views);
	EXECUTE format('GRANT USAGE ON SCHEMA %I TO spine_member, spine_supplier', views);
	EXECUTE format('COMMENT ON SCHEMA %I IS %L', views,
				   format('%s, version %s: the views. %s', definition ->> 'title', the_version, definition ->> 'description'));
	-- a view can only be handed to a role that may create in its schema
	EXECUTE format('GRANT CREATE ON SCHEMA %I TO spine_reader', views);
	FOR data_group IN SELECT g FROM jsonb_array_elements(definition -> 'groups') AS g LOOP
		IF to_regclass(format('%I.%I', dataset, data_group ->> 'name')) IS NULL THEN
			PERFORM spine.make_group_table(dataset, data_group);
		ELSE
			PERFORM spine.extend_group_table(dataset, data_group);
		END IF;
		IF newest THEN
			EXECUTE format('COMMENT ON TABLE %I.%I IS %L', dataset, data_group ->> 'name', spine.group_comment(data_group));
			EXECUTE (SELECT string_agg(format('COMMENT ON COLUMN %I.%I.%I IS %L', dataset, data_group ->> 'name',
											  spine.item_column(i), spine.item_comment(i)), '; ')
					   FROM jsonb_array_elements(data_group -> 'items') AS i);
		END IF;
		PERFORM spine.make_group_view(dataset, the_version, data_group);
	END LOOP;
	EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM spine_reader', views);
	PERFORM spine.make_rule_indexes(definition);

	INSERT INTO spine.dataset (name, version, title, definition)
		VALUES (dataset, the_version, definition ->> 'title', definition);
	PERFORM spine.make_all_records();
	RETURN views;
END
$fn$;
COMMENT ON FUNCTION spine.publish_dataset(jsonb) IS
	'Publishes a data-set definition, a whole one or one that extends another version: makes its tables, the views of its version, policies, triggers and comments, all or nothing. Returns the schema of the views. The same definition again changes nothing; another one under a published version is refused; a faulty one is refused with SP004 and every fault in the detail. For spine_operator.';

CREATE FUNCTION spine.publish_dataset(name text, version text) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	shipped jsonb;
BEGIN
	SELECT s INTO shipped
	  FROM spine.shipped_datasets() AS s
	 WHERE s ->> 'name' = publish_dataset.name AND s ->> 'version' = publish_dataset.version;
	IF shipped IS NULL THEN
		RAISE EXCEPTION 'no data set "%" version "%" comes with spine', name, version
			USING ERRCODE = 'SP003',
				  HINT = coalesce((SELECT format('These do: %s.', string_agg(concat(s ->> 'name', ' ', s ->> 'version'), ', '))
									 FROM spine.shipped_datasets() AS s),
								  'Give the definition itself to spine.publish_dataset(jsonb).');
	END IF;
	RETURN spine.publish_dataset(shipped);
END
$fn$;
COMMENT ON FUNCTION spine.publish_dataset(text, text) IS
	'Publishes a data set that comes with spine, such as maternity 2.0. Returns the schema of the views. SP003 where there is none. For spine_operator.';

-- ---------------------------------------------------------------- who may call

DO $grants$
DECLARE
	the_function regprocedure;
BEGIN
	FOREACH the_function IN ARRAY ARRAY[
		'spine.shipped_datasets()', 'spine.json_object(jsonb)', 'spine.json_list(jsonb)', 'spine.json_text(jsonb)',
		'spine.definition_members(jsonb, text)', 'spine.definition_items(jsonb)', 'spine.definition_rules(jsonb)',
		'spine.item_column(jsonb)', 'spine.item_mark(jsonb)', 'spine.view_schema(text, text)',
		'spine.shown_with(text, jsonb, text[], text)', 'spine.key_items(jsonb)', 'spine.event_items(jsonb)',
		'spine.item_type(text)', 'spine.envelope_names()', 'spine.json_fault(jsonb, text)',
		'spine.shape_faults(jsonb, text, jsonb)', 'spine.one_or_list(text, jsonb)', 'spine.head_faults(jsonb)', 'spine.list_faults(jsonb)',
		'spine.group_faults(jsonb)', 'spine.item_faults(jsonb)', 'spine.day_number(text)',
		'spine.reference_faults(jsonb)', 'spine.lexical_fault(text)', 'spine.tree_fault(oid)',
		'spine.rule_shape(text)', 'spine.rule_form_faults(jsonb)', 'spine.rule_match_faults(jsonb)', 'spine.example_faults(jsonb)',
		'spine.gate_text(text, bigint)', 'spine.rule_faults(jsonb)', 'spine.published_faults(jsonb)', 'spine.is_too_large(jsonb)', 'spine.definition_faults(jsonb)',
		'spine.item_comment(jsonb)', 'spine.group_comment(jsonb)', 'spine.envelope_comments(text, text)',
		'spine.make_group_table(text, jsonb)', 'spine.extend_group_table(text, jsonb)',
		'spine.make_group_view(text, text, jsonb)', 'spine.make_rule_indexes(jsonb)', 'spine.make_all_records()',
		'spine.publish_dataset(jsonb)', 'spine.publish_dataset(text, text)']::pg_catalog.regprocedure[]
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', the_function);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', the_function);
	END LOOP;
END
$grants$;
GRANT EXECUTE ON FUNCTION spine.shipped_datasets(), spine.definition_faults(jsonb) TO spine_operator, spine_supplier;
GRANT EXECUTE ON FUNCTION spine.publish_dataset(jsonb), spine.publish_dataset(text, text) TO spine_operator;
