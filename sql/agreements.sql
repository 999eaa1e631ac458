-- Agreements: the document, its life, and what its parties read of it.

--
-- The agreement document
--

CREATE FUNCTION spine.agreement_faults(document jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE ROWS 5
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	code_form CONSTANT text := '^[A-Z0-9]{3,9}$';
	known CONSTANT text[] := '{name,version,title,description,parties,start,end,review,clauses}';
	known_in_clause CONSTANT text[] := '{from,to,purpose,dataset,groups,relationships,item_classes,items,retention_days,emergency,identified,dates,note}';
	parties jsonb;
	clause jsonb;
	place text;
	side text;
	n integer := 0;
BEGIN
	IF document IS NULL OR jsonb_typeof(document) <> 'object' THEN
		RETURN QUERY SELECT '$', 'must be an object';
		RETURN;
	END IF;
	-- what a neighbour can make us read has an end
	IF octet_length(document::text) > 262144 THEN
		RETURN QUERY SELECT '$', 'is longer than 262144 bytes';
		RETURN;
	END IF;

	RETURN QUERY SELECT k, 'is not a known key' FROM jsonb_object_keys(document) k WHERE k <> ALL (known) ORDER BY k;
	IF jsonb_typeof(document -> 'name') IS DISTINCT FROM 'string' OR document ->> 'name' !~ '^[a-z][a-z0-9_-]{1,62}$' THEN
		RETURN QUERY SELECT 'name', 'must be 2 to 63 lower-case letters, digits, hyphens and underscores, a letter first';
	END IF;
	IF jsonb_typeof(document -> 'version') IS DISTINCT FROM 'number' OR document ->> 'version' !~ '^[1-9][0-9]{0,5}$' THEN
		RETURN QUERY SELECT 'version', 'must be a whole number from 1 to 999999';
	END IF;
	IF jsonb_typeof(document -> 'title') IS DISTINCT FROM 'string' OR btrim(document ->> 'title') = '' THEN
		RETURN QUERY SELECT 'title', 'must be a text that is not empty';
	END IF;
	IF document ? 'description' AND jsonb_typeof(document -> 'description') <> 'string' THEN
		RETURN QUERY SELECT 'description', 'must be a text';
	END IF;

	parties := document -> 'parties';
	RETURN QUERY SELECT f.path, f.fault FROM spine.code_list_faults('parties', parties, NULL) f;
	IF jsonb_typeof(parties) = 'array' AND jsonb_array_length(parties) = 1 THEN
		RETURN QUERY SELECT 'parties', 'must be two at least';
	END IF;

	IF jsonb_typeof(document -> 'start') IS DISTINCT FROM 'string' OR spine.plain_date(document ->> 'start') IS NULL THEN
		RETURN QUERY SELECT 'start', 'must be a date (YYYY-MM-DD)';
	END IF;
	FOREACH side IN ARRAY ARRAY['end', 'review'] LOOP
		IF coalesce(document -> side, 'null') = 'null' THEN
			CONTINUE;
		END IF;
		IF jsonb_typeof(document -> side) <> 'string' OR spine.plain_date(document ->> side) IS NULL THEN
			RETURN QUERY SELECT side, 'must be a date (YYYY-MM-DD) or null';
		ELSIF spine.plain_date(document ->> side) < spine.plain_date(document ->> 'start') THEN
			RETURN QUERY SELECT side, 'lies before the start';
		END IF;
	END LOOP;

	IF jsonb_typeof(document -> 'clauses') IS DISTINCT FROM 'array' OR document -> 'clauses' = '[]' THEN
		RETURN QUERY SELECT 'clauses', 'must be a list that is not empty';
		RETURN;
	END IF;
	IF jsonb_array_length(document -> 'clauses') > 200 THEN
		RETURN QUERY SELECT 'clauses', 'must be 200 at most';
		RETURN;
	END IF;
	FOR clause IN SELECT c FROM jsonb_array_elements(document -> 'clauses') c LOOP
		n := n + 1;
		place := 'clauses[' || n - 1 || ']';
		IF jsonb_typeof(clause) <> 'object' THEN
			RETURN QUERY SELECT place, 'must be an object';
			CONTINUE;
		END IF;
		RETURN QUERY SELECT place || '.' || k, 'is not a known key'
			FROM jsonb_object_keys(clause) k WHERE k <> ALL (known_in_clause) ORDER BY k;
		FOREACH side IN ARRAY ARRAY['from', 'to'] LOOP
			RETURN QUERY SELECT f.path, f.fault
				FROM spine.code_list_faults(place || '.' || side, clause -> side,
											CASE jsonb_typeof(parties) WHEN 'array' THEN parties ELSE '[]' END) f;
		END LOOP;
		IF clause -> 'from' = clause -> 'to' AND jsonb_typeof(clause -> 'to') = 'array'
		   AND jsonb_array_length(clause -> 'to') = 1 THEN
			RETURN QUERY SELECT place || '.to', 'is the same one organisation as from';
		END IF;
		IF jsonb_typeof(clause -> 'purpose') IS DISTINCT FROM 'string'
		   OR clause ->> 'purpose' NOT IN ('care', 'reporting', 'commissioning') THEN
			RETURN QUERY SELECT place || '.purpose', 'must be one of care, reporting, commissioning';
		END IF;
		IF jsonb_typeof(clause -> 'dataset') IS DISTINCT FROM 'string' OR clause ->> 'dataset' !~ '^[a-z][a-z0-9_]{0,30}$' THEN
			RETURN QUERY SELECT place || '.dataset', 'must be the name of a data set';
		END IF;
		IF clause -> 'groups' = '"all"' THEN
			NULL;
		ELSIF jsonb_typeof(clause -> 'groups') IS DISTINCT FROM 'array' OR clause -> 'groups' = '[]' THEN
			RETURN QUERY SELECT place || '.groups', 'must be "all" or a list of data groups that is not empty';
		ELSE
			RETURN QUERY SELECT place || '.groups[' || g.at - 1 || ']', 'must be the name of a data group'
				FROM jsonb_array_elements(clause -> 'groups') WITH ORDINALITY AS g (name, at)
				WHERE jsonb_typeof(g.name) <> 'string' OR g.name #>> '{}' !~ '^[a-z][a-z0-9_]{0,54}$';
			RETURN QUERY SELECT place || '.groups', 'names ' || (g.name #>> '{}') || ' twice'
				FROM jsonb_array_elements(clause -> 'groups') AS g (name)
				WHERE jsonb_typeof(g.name) = 'string' GROUP BY g.name HAVING count(*) > 1;
		END IF;
		IF clause ->> 'purpose' = 'care'
		   AND (jsonb_typeof(clause -> 'relationships') IS DISTINCT FROM 'array' OR clause -> 'relationships' = '[]') THEN
			RETURN QUERY SELECT place || '.relationships', 'must be a list that is not empty: care needs a relationship';
		ELSIF clause ? 'relationships' AND jsonb_typeof(clause -> 'relationships') <> 'array' THEN
			RETURN QUERY SELECT place || '.relationships', 'must be a list';
		ELSIF clause ? 'relationships' THEN
			RETURN QUERY SELECT place || '.relationships[' || k.at - 1 || ']',
								'must be one of episode, referral, transfer, claim, emergency'
				FROM jsonb_array_elements(clause -> 'relationships') WITH ORDINALITY AS k (kind, at)
				WHERE jsonb_typeof(k.kind) <> 'string'
				   OR k.kind #>> '{}' NOT IN ('episode', 'referral', 'transfer', 'claim', 'emergency');
		END IF;
		RETURN QUERY SELECT f.path, f.fault FROM spine.scope_faults(place, clause, clause -> 'groups') f;
		IF clause ? 'retention_days'
		   AND (jsonb_typeof(clause -> 'retention_days') <> 'number' OR clause ->> 'retention_days' !~ '^(0|[1-9][0-9]{0,4})$'
				OR (clause ->> 'retention_days')::numeric > 36500) THEN
			RETURN QUERY SELECT place || '.retention_days', 'must be a whole number from 0 to 36500';
		ELSIF clause ->> 'purpose' IN ('reporting', 'commissioning') AND coalesce(clause -> 'retention_days', '0') <> '0' THEN
			RETURN QUERY SELECT place || '.retention_days', 'is for care alone: nothing else rests on a relationship';
		END IF;
		IF clause ? 'emergency' AND jsonb_typeof(clause -> 'emergency') NOT IN ('boolean', 'object') THEN
			RETURN QUERY SELECT place || '.emergency', 'must be true, false or an object';
		ELSIF clause ->> 'purpose' IN ('reporting', 'commissioning') AND coalesce(clause -> 'emergency', 'false') <> 'false' THEN
			RETURN QUERY SELECT place || '.emergency', 'is for care alone';
		ELSIF clause -> 'emergency' = 'false' AND jsonb_typeof(clause -> 'relationships') = 'array'
			  AND clause -> 'relationships' ? 'emergency' THEN
			RETURN QUERY SELECT place || '.emergency', 'is false, yet emergency is among the relationships';
		END IF;
		IF jsonb_typeof(clause -> 'emergency') = 'object' THEN
			RETURN QUERY SELECT place || '.emergency.' || k, 'is not a known key'
				FROM jsonb_object_keys(clause -> 'emergency') k WHERE k NOT IN ('item_classes', 'items') ORDER BY k;
			-- what it does not say itself is as the clause says, whose faults are told above
			RETURN QUERY SELECT place || '.emergency' || f.path, f.fault
				FROM spine.scope_faults('', spine.clause_in_emergency(clause), clause -> 'groups') f
				WHERE clause -> 'emergency' ? substring(f.path FROM '^[.](item_classes|items)')
				   OR NOT EXISTS (SELECT FROM spine.scope_faults('', clause, clause -> 'groups') c
								   WHERE (c.path, c.fault) = (f.path, f.fault));
		END IF;
		IF clause ? 'identified' AND jsonb_typeof(clause -> 'identified') <> 'boolean' THEN
			RETURN QUERY SELECT place || '.identified', 'must be true or false';
		ELSIF clause ->> 'purpose' = 'care' AND clause -> 'identified' = 'false' THEN
			RETURN QUERY SELECT place || '.identified', 'must be true: nobody cares for a pseudonym';
		ELSIF clause ->> 'purpose' IN ('reporting', 'commissioning') AND clause -> 'identified' = 'true' THEN
			RETURN QUERY SELECT place || '.identified', 'must be false: pseudonyms alone leave for reporting and commissioning';
		END IF;
		IF clause ->> 'purpose' IN ('reporting', 'commissioning') AND jsonb_typeof(clause -> 'item_classes') = 'array'
		   AND clause -> 'item_classes' ? 'identity' THEN
			RETURN QUERY SELECT place || '.item_classes', 'names identity, which does not leave for reporting and commissioning';
		END IF;
		IF clause ? 'dates' AND (jsonb_typeof(clause -> 'dates') <> 'string'
								 OR clause ->> 'dates' NOT IN ('exact', 'month', 'minutes_from_birth')) THEN
			RETURN QUERY SELECT place || '.dates', 'must be one of exact, month, minutes_from_birth';
		ELSIF clause ? 'dates' AND clause ->> 'purpose' = 'care' AND clause ->> 'dates' <> 'exact' THEN
			RETURN QUERY SELECT place || '.dates', 'must be exact: care needs the day';
		END IF;
		IF clause ? 'note' AND jsonb_typeof(clause -> 'note') <> 'string' THEN
			RETURN QUERY SELECT place || '.note', 'must be a text';
		END IF;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.agreement_faults(jsonb) IS
	'Every fault of an agreement document in its form (docs/architecture.md, "Governance"); no row if it has none. Raises nothing, whatever it is given.';

CREATE FUNCTION spine.scope_faults(place text, scope jsonb, groups jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	classes jsonb := scope -> 'item_classes';
	items jsonb := scope -> 'items';
	list jsonb;
	side text;
BEGIN
	IF classes IS NOT NULL AND jsonb_typeof(classes) <> 'array' THEN
		RETURN QUERY SELECT place || '.item_classes', 'must be a list of item classes';
	ELSIF classes IS NOT NULL THEN
		RETURN QUERY SELECT place || '.item_classes[' || c.at - 1 || ']',
							'must be one of administrative, clinical, identity, restricted'
			FROM jsonb_array_elements(classes) WITH ORDINALITY AS c (class, at)
			WHERE jsonb_typeof(c.class) <> 'string'
			   OR c.class #>> '{}' NOT IN ('administrative', 'clinical', 'identity', 'restricted');
		RETURN QUERY SELECT place || '.item_classes', 'names ' || (c.class #>> '{}') || ' twice'
			FROM jsonb_array_elements(classes) AS c (class)
			WHERE jsonb_typeof(c.class) = 'string' GROUP BY c.class HAVING count(*) > 1;
	END IF;

	IF items IS NOT NULL AND jsonb_typeof(items) <> 'object' THEN
		RETURN QUERY SELECT place || '.items', 'must be an object with include, exclude or both';
		items := NULL;
	ELSIF items IS NOT NULL THEN
		RETURN QUERY SELECT place || '.items.' || k, 'is not a known key'
			FROM jsonb_object_keys(items) k WHERE k NOT IN ('include', 'exclude') ORDER BY k;
	END IF;
	FOREACH side IN ARRAY ARRAY['include', 'exclude'] LOOP
		list := items -> side;
		CONTINUE WHEN list IS NULL;
		IF jsonb_typeof(list) <> 'array' THEN
			RETURN QUERY SELECT place || '.items.' || side, 'must be a list of items, each as "group.item"';
			CONTINUE;
		END IF;
		RETURN QUERY SELECT place || '.items.' || side || '[' || i.at - 1 || ']',
							CASE WHEN jsonb_typeof(i.name) <> 'string' OR i.name #>> '{}' !~ '^[a-z][a-z0-9_]{0,54}[.][a-z][a-z0-9_]{0,54}$'
								 THEN 'must be the name of an item, as "group.item"'
								 ELSE 'is of a group that the clause does not name' END
			FROM jsonb_array_elements(list) WITH ORDINALITY AS i (name, at)
			WHERE jsonb_typeof(i.name) <> 'string' OR i.name #>> '{}' !~ '^[a-z][a-z0-9_]{0,54}[.][a-z][a-z0-9_]{0,54}$'
			   OR (jsonb_typeof(groups) = 'array' AND NOT groups ? split_part(i.name #>> '{}', '.', 1));
		RETURN QUERY SELECT place || '.items.' || side, 'names ' || (i.name #>> '{}') || ' twice'
			FROM jsonb_array_elements(list) AS i (name)
			WHERE jsonb_typeof(i.name) = 'string' GROUP BY i.name HAVING count(*) > 1;
	END LOOP;
	IF jsonb_typeof(items -> 'include') = 'array' AND jsonb_typeof(items -> 'exclude') = 'array' THEN
		RETURN QUERY SELECT place || '.items', 'includes ' || (i.name #>> '{}') || ' and excludes it'
			FROM (SELECT DISTINCT n.name FROM jsonb_array_elements(items -> 'include') AS n (name)
				  WHERE jsonb_typeof(n.name) = 'string' AND items -> 'exclude' ? (n.name #>> '{}')) i
			ORDER BY i.name #>> '{}';
	END IF;

	-- without a class, each group that is named has an item that is
	IF classes = '[]' AND (jsonb_typeof(items -> 'include') IS DISTINCT FROM 'array' OR items -> 'include' = '[]') THEN
		RETURN QUERY SELECT place || '.item_classes', 'is empty, and no item is included: nothing would be shown';
	ELSIF classes = '[]' AND jsonb_typeof(groups) = 'array' THEN
		RETURN QUERY SELECT place || '.items.include', 'has no item of ' || g.name || ', of which nothing would be shown'
			FROM (SELECT DISTINCT e.name #>> '{}' AS name FROM jsonb_array_elements(groups) AS e (name)
				  WHERE jsonb_typeof(e.name) = 'string') g
			WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(items -> 'include') AS i (name)
							   WHERE split_part(i.name #>> '{}', '.', 1) = g.name)
			ORDER BY g.name;
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.scope_faults(text, jsonb, jsonb) IS
	'Faults of what a clause, or an emergency under it, says of item classes and single items. groups: those of the clause.';

CREATE FUNCTION spine.code_list_faults(place text, list jsonb, among jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT place, 'must be a list of organisation codes that is not empty'
	 WHERE jsonb_typeof(list) IS DISTINCT FROM 'array' OR list = '[]'
	UNION ALL
	SELECT place, 'must be 500 at most'
	 WHERE jsonb_typeof(list) = 'array' AND jsonb_array_length(list) > 500
	UNION ALL
	SELECT place || '[' || c.at - 1 || ']',
		   CASE WHEN jsonb_typeof(c.code) <> 'string' OR c.code #>> '{}' !~ '^[A-Z0-9]{3,9}$'
				THEN 'must be an organisation code in capitals' ELSE 'is not among the parties' END
	  FROM jsonb_array_elements(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]' END) WITH ORDINALITY AS c (code, at)
	 WHERE jsonb_typeof(c.code) <> 'string' OR c.code #>> '{}' !~ '^[A-Z0-9]{3,9}$'
		OR (among IS NOT NULL AND NOT among @> c.code)
	UNION ALL
	SELECT place, 'names ' || (c.code #>> '{}') || ' twice'
	  FROM jsonb_array_elements(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]' END) AS c (code)
	 WHERE jsonb_typeof(c.code) = 'string'
	 GROUP BY c.code HAVING count(*) > 1
	$fn$;
COMMENT ON FUNCTION spine.code_list_faults(text, jsonb, jsonb) IS
	'Faults of a list of organisation codes at this place of an agreement; among: the list they must come from, or NULL.';

CREATE FUNCTION spine.plain_date(value text) RETURNS date
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE WHEN value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN spine.compact_date(replace(value, '-', '')) END
	$fn$;
COMMENT ON FUNCTION spine.plain_date(text) IS 'The date of a text YYYY-MM-DD; NULL if that is no date.';

CREATE FUNCTION spine.agreement_digest(document jsonb) RETURNS bytea
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT sha256(convert_to(document::text, 'UTF8')) $fn$;
COMMENT ON FUNCTION spine.agreement_digest(jsonb) IS
	'What is signed: SHA-256 of the document as jsonb writes it, in UTF-8. The same on every node.';

CREATE FUNCTION spine.agreement_parties(document jsonb) RETURNS text[]
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF EXISTS (SELECT FROM spine.agreement_faults(document)) THEN
		RETURN NULL;
	END IF;
	RETURN ARRAY(SELECT p FROM jsonb_array_elements_text(document -> 'parties') WITH ORDINALITY AS a (p, at) ORDER BY at);
END
$fn$;
COMMENT ON FUNCTION spine.agreement_parties(jsonb) IS 'The parties of a sound agreement document; NULL for a faulty one.';

--
-- What a clause means. For clauses of sound documents.
--

CREATE FUNCTION spine.clause_relationships(clause jsonb) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT DISTINCT k COLLATE "C"
		  FROM jsonb_array_elements_text(
				CASE WHEN clause ->> 'purpose' = 'care' AND jsonb_typeof(clause -> 'relationships') = 'array'
					 THEN clause -> 'relationships' ELSE '[]' END) k
		 WHERE k <> 'emergency'
		 ORDER BY 1)
	$fn$;
COMMENT ON FUNCTION spine.clause_relationships(jsonb) IS
	'The kinds of relationship that a clause accepts, in order; emergency is not among them: spine.clause_emergency() tells that.';

CREATE FUNCTION spine.clause_emergency(clause jsonb) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT coalesce(clause ->> 'purpose' = 'care'
					AND (clause -> 'emergency' = 'true' OR jsonb_typeof(clause -> 'emergency') = 'object'
						 OR (jsonb_typeof(clause -> 'relationships') = 'array' AND clause -> 'relationships' ? 'emergency')), false)
	$fn$;
COMMENT ON FUNCTION spine.clause_emergency(jsonb) IS 'Whether a clause lets records be seen by break-glass.';

CREATE FUNCTION spine.clause_retention(clause jsonb) RETURNS interval
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT make_interval(days => CASE WHEN clause ->> 'purpose' = 'care' AND jsonb_typeof(clause -> 'retention_days') = 'number'
									  THEN (clause ->> 'retention_days')::integer ELSE 0 END)
	$fn$;
COMMENT ON FUNCTION spine.clause_retention(jsonb) IS
	'How long after the end of a relationship other than an emergency it still counts for a clause.';

CREATE FUNCTION spine.clause_identified(clause jsonb) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT coalesce(clause ->> 'purpose' = 'care', false)
	$fn$;
COMMENT ON FUNCTION spine.clause_identified(jsonb) IS
	'Whether a clause gives records of known persons: care does; reporting and commissioning give pseudonyms.';

CREATE FUNCTION spine.clause_classes(clause jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE WHEN spine.clause_identified(clause) THEN coalesce(clause -> 'item_classes', '["administrative", "clinical", "identity"]')
				ELSE coalesce(clause -> 'item_classes', '["administrative", "clinical"]') - 'identity' END
	$fn$;
COMMENT ON FUNCTION spine.clause_classes(jsonb) IS
	'The item classes of a clause: what it says, or administrative, clinical and, for care alone, identity.';

CREATE FUNCTION spine.clause_dates(clause jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE WHEN spine.clause_identified(clause) THEN 'exact' ELSE coalesce(clause ->> 'dates', 'month') END
	$fn$;
COMMENT ON FUNCTION spine.clause_dates(jsonb) IS
	'How fine dates and times are under a clause: exact, month or minutes_from_birth. Care has them exact, others by month unless they say more.';

CREATE FUNCTION spine.clause_in_emergency(clause jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE jsonb_typeof(clause -> 'emergency') WHEN 'object'
				THEN clause || coalesce((SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(clause -> 'emergency') o
										  WHERE o.key IN ('item_classes', 'items')), '{}')
				ELSE clause END
	$fn$;
COMMENT ON FUNCTION spine.clause_in_emergency(jsonb) IS
	'The clause as it is for break-glass: with the item classes and items of its emergency, where that gives its own.';

CREATE FUNCTION spine.clause_scope(clause jsonb, group_name text, items jsonb) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH item AS (
		-- a renamed item keeps its column, and is meant by either name
		SELECT i ->> 'class' AS class, coalesce(i ->> 'column', i ->> 'name') AS column_name,
			   CASE i ->> 'about' WHEN 'mother' THEN 'm' ELSE '' END AS about,
			   ARRAY[group_name || '.' || (i ->> 'name'), group_name || '.' || coalesce(i ->> 'column', i ->> 'name')] AS names
		  FROM jsonb_array_elements(CASE jsonb_typeof(items) WHEN 'array' THEN items ELSE '[]' END) i
	), judged AS (
		SELECT item.*, coalesce(clause -> 'items' -> 'include' ?| item.names, false) AS included,
			   coalesce(clause -> 'items' -> 'exclude' ?| item.names, false) AS excluded
		  FROM item
	), whole AS (
		-- a class of which an item is withheld is not granted whole: its others are granted one by one
		SELECT a.about, c.class
		  FROM (SELECT '' AS about UNION SELECT j.about FROM judged j) a
		 CROSS JOIN jsonb_array_elements_text(spine.clause_classes(clause)) AS c (class)
		 WHERE NOT EXISTS (SELECT FROM judged j WHERE j.about = a.about AND j.class = c.class AND j.excluded)
	)
	SELECT ARRAY(
		SELECT s.scope
		  FROM (SELECT CASE w.about WHEN 'm' THEN 'm:' ELSE '' END
					   || string_agg(DISTINCT left(w.class, 1), '' ORDER BY left(w.class, 1)) AS scope
				  FROM whole w GROUP BY w.about
				UNION
				SELECT j.about || '+' || j.column_name
				  FROM judged j
				 WHERE NOT j.excluded AND (j.class <> 'identity' OR spine.clause_identified(clause))
				   AND (j.included
						OR spine.clause_classes(clause) ? j.class)
				   AND NOT EXISTS (SELECT FROM whole w WHERE w.about = j.about AND w.class = j.class)
				UNION
				SELECT '@' || spine.clause_dates(clause)
				 WHERE NOT spine.clause_identified(clause) AND spine.clause_dates(clause) <> 'month') s
		 ORDER BY s.scope COLLATE "C")
	$fn$;
COMMENT ON FUNCTION spine.clause_scope(jsonb, text, jsonb) IS
	'What a clause shows of a data group, as it stands behind the slash of an audience''s tokens, in order: the first letters of the classes granted whole ("aci"), "+column" for each item granted singly, both with "m" before them ("m:aci", "m+column") for items about the mother. Not for care, "@exact" or "@minutes_from_birth" where dates are finer than the month. items: those of the group, as its definition lists them. A class is granted whole whether or not the group has items of it now.';

CREATE FUNCTION spine.clause_emergency_scope(clause jsonb, group_name text, items jsonb) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE WHEN spine.clause_emergency(clause)
				THEN spine.clause_scope(spine.clause_in_emergency(clause), group_name, items) ELSE '{}' END
	$fn$;
COMMENT ON FUNCTION spine.clause_emergency_scope(jsonb, text, jsonb) IS
	'What a clause shows of a data group by break-glass, as spine.clause_scope() tells it; empty where it allows none.';

--
-- The state of agreements: a fold of events, whoever wrote them and in whatever order they came
--

CREATE FUNCTION spine.agreement_states(at timestamptz DEFAULT now())
	RETURNS TABLE (name text, version integer, digest bytea, title text, state text, in_force boolean,
				   parties text[], signed_by text[], proposed_by text, proposed_at timestamptz,
				   published_at timestamptz, starts_at timestamptz, ends_at timestamptz,
				   ended_by text, ended_at timestamptz, end_reason text, document jsonb)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 20
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET timezone = 'Europe/London'
	AS $fn$
	-- As of now whatever is here counts, for the clock of whoever wrote it may be ahead of this one.
	WITH proposal AS MATERIALIZED (
		-- a proposal counts for what it is: sound, about what it says, by one of its parties
		SELECT DISTINCT ON (e.name, e.version, e.digest)
			   e.name, e.version, e.digest, e.document, e.owner AS proposed_by, e.at AS proposed_at, p.parties
		  FROM spine.agreement_event e
		 CROSS JOIN LATERAL (SELECT spine.agreement_parties(e.document) AS parties) p
		 WHERE e.kind = 'proposed'
		   AND (agreement_states.at >= now() OR e.at <= agreement_states.at)
		   AND e.digest = spine.agreement_digest(e.document)
		   AND e.document ->> 'name' = e.name
		   AND e.document ->> 'version' = e.version::text
		   AND e.owner = ANY (p.parties)
		 ORDER BY e.name, e.version, e.digest, e.at, e.owner COLLATE "C"
	), folded AS MATERIALIZED (
		SELECT p.*, s.signed_by, u.published_at, d.ended_by, d.ended_at, d.end_reason,
			   s.signed_by @> p.parties AS signed,
			   (p.document ->> 'start')::date::timestamptz AS starts_at,
			   ((p.document ->> 'end')::date + 1)::timestamptz AS own_end
		  FROM proposal p
		 CROSS JOIN LATERAL (
			SELECT coalesce(array_agg(DISTINCT e.owner ORDER BY e.owner), '{}') AS signed_by
			  FROM spine.agreement_event e
			 WHERE e.name = p.name AND e.version = p.version AND e.digest = p.digest
			   AND e.kind = 'signed' AND e.owner = ANY (p.parties)
			   AND (agreement_states.at >= now() OR e.at <= agreement_states.at)) s
		 CROSS JOIN LATERAL (
			SELECT min(e.at) AS published_at
			  FROM spine.agreement_event e
			 WHERE e.name = p.name AND e.version = p.version AND e.digest = p.digest
			   AND e.kind = 'published' AND e.owner = ANY (p.parties)
			   AND (agreement_states.at >= now() OR e.at <= agreement_states.at)) u
		  LEFT JOIN LATERAL (
			SELECT e.owner AS ended_by, e.at AS ended_at, e.reason AS end_reason
			  FROM spine.agreement_event e
			 WHERE e.name = p.name AND e.version = p.version AND e.digest = p.digest
			   AND e.kind = 'ended' AND e.owner = ANY (p.parties)
			   AND (agreement_states.at >= now() OR e.at <= agreement_states.at)
			 ORDER BY e.at, e.owner COLLATE "C" LIMIT 1) d ON true
	), timed AS (
		-- a later version replaces an earlier one when it starts, if nobody has left the circle and it was
		-- not over before; one that ends later does not bring the earlier one back
		SELECT f.*, least(f.own_end, later.starts_at) AS ends_at,
			   coalesce(later.starts_at <= agreement_states.at, false) AS superseded
		  FROM folded f
		  LEFT JOIN LATERAL (
			SELECT min(greatest(l.starts_at, l.published_at)) AS starts_at
			  FROM folded l
			 WHERE l.name = f.name AND l.version > f.version AND l.parties @> f.parties
			   AND l.signed AND l.published_at IS NOT NULL
			   AND (l.ended_at IS NULL OR l.ended_at > l.starts_at)
			   AND (l.own_end IS NULL OR l.own_end > l.published_at)) later ON true
	)
	SELECT t.name, t.version, t.digest, t.document ->> 'title',
		   CASE WHEN t.ended_at IS NOT NULL THEN 'ended'
				WHEN NOT t.signed THEN 'proposed'
				WHEN t.published_at IS NULL THEN 'signed'
				WHEN t.superseded THEN 'superseded'
				WHEN t.ends_at <= agreement_states.at THEN 'expired'
				ELSE 'published' END,
		   t.ended_at IS NULL AND t.signed AND t.published_at IS NOT NULL
			   AND t.starts_at <= agreement_states.at AND (t.ends_at IS NULL OR agreement_states.at < t.ends_at),
		   t.parties, t.signed_by, t.proposed_by, t.proposed_at, t.published_at, t.starts_at, t.ends_at,
		   t.ended_by, t.ended_at, t.end_reason, t.document
	  FROM timed t
	$fn$;
COMMENT ON FUNCTION spine.agreement_states(timestamptz) IS
	'Every agreement known here with its state now, or as it was or will be at another time, folded from spine.agreement_event: proposed, signed (by all), published, superseded, expired, ended. A start is the beginning of its day, an end the end of its day, in London.';

--
-- The steps of an agreement
--

CREATE FUNCTION spine.agreement_one(the_name text, the_version integer, the_digest bytea) RETURNS record
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	mine text[] := spine.caller_organisations('governor');
	found_one record;
	how_many integer;
BEGIN
	-- An agreement between others is as absent as one that does not exist. What the caller's organisation
	-- has signed goes before what others have proposed to it under the same name.
	SELECT count(*) OVER (), c.* INTO found_one
	  FROM (SELECT a.*, a.signed_by && mine AS is_mine, bool_or(a.signed_by && mine) OVER () AS one_is_mine
			  FROM spine.agreement_states() a
			 WHERE a.name = the_name AND a.version = the_version
			   AND (the_digest IS NULL OR a.digest = the_digest)
			   AND a.parties && mine) c
	 WHERE the_digest IS NOT NULL OR c.is_mine OR NOT c.one_is_mine;
	how_many := found_one.count;
	IF how_many IS NULL THEN
		RAISE EXCEPTION 'there is no such agreement "%" version %', the_name, the_version
			USING ERRCODE = 'SP005',
				  DETAIL = 'Only a governor of one of its parties can take a step in it.';
	ELSIF how_many > 1 THEN
		RAISE EXCEPTION 'agreement "%" version % has been proposed with different documents', the_name, the_version
			USING ERRCODE = 'SP005', HINT = 'Say by its digest which one is meant.';
	END IF;
	RETURN found_one;
END
$fn$;
COMMENT ON FUNCTION spine.agreement_one(text, integer, bytea) IS
	'The one agreement that the caller, a governor, means; SP005 if there is none or more than one.';

CREATE FUNCTION spine.agreement_say(the_name text, the_version integer, the_kind text, the_owner text, the_document jsonb,
									the_digest bytea, the_parties text[], the_reason text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	INSERT INTO spine.agreement_event (event_id, name, version, kind, owner, document, digest, reason, at, by_role, audience)
	SELECT spine.uuid_v7(), the_name, the_version, the_kind, the_owner, the_document, the_digest, the_reason,
		   now(), spine.caller_role(),
		   -- there is no person in it: nodes for reporting have it too
		   ARRAY(SELECT p || ':' || u FROM unnest(the_parties) p, unnest('{care,reporting}'::text[]) u ORDER BY (p || ':' || u) COLLATE "C")
	$fn$;
COMMENT ON FUNCTION spine.agreement_say(text, integer, text, text, jsonb, bytea, text[], text) IS
	'Writes one step of an agreement, for all its parties to read.';

CREATE FUNCTION spine.proposal_faults(document jsonb) RETURNS TABLE (path text, fault text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
	SELECT f.path, f.fault FROM spine.agreement_faults(document) f
	UNION ALL
	-- these may hold on one node and not on another, so they bar a proposal, not an agreement
	SELECT 'parties', p || ' is not a known organisation'
	  FROM unnest(spine.agreement_parties(document)) p
	 WHERE NOT EXISTS (SELECT FROM spine.organisation o WHERE o.code = p)
	UNION ALL
	SELECT 'clauses[' || c.n - 1 || '].groups', 'data set ' || (c.clause ->> 'dataset') || ' has no group ' || g.name
	  FROM jsonb_array_elements(CASE WHEN spine.agreement_parties(document) IS NOT NULL THEN document -> 'clauses' ELSE '[]' END)
		   WITH ORDINALITY AS c (clause, n)
	 CROSS JOIN LATERAL jsonb_array_elements_text(
		   CASE jsonb_typeof(c.clause -> 'groups') WHEN 'array' THEN c.clause -> 'groups' ELSE '[]' END) AS g (name)
	 WHERE EXISTS (SELECT FROM spine.dataset d WHERE d.name = c.clause ->> 'dataset')
	   AND NOT EXISTS (SELECT FROM spine.published_groups() k
						WHERE k.dataset = c.clause ->> 'dataset' AND k.data_group = g.name)
	UNION ALL
	(SELECT 'clauses[' || c.n - 1 || '].' || s.place,
			'data set ' || (c.clause ->> 'dataset') || ' has no item ' || i.name
	  FROM jsonb_array_elements(CASE WHEN spine.agreement_parties(document) IS NOT NULL THEN document -> 'clauses' ELSE '[]' END)
		   WITH ORDINALITY AS c (clause, n)
	 CROSS JOIN LATERAL (VALUES
			(1, 'items.include', c.clause -> 'items' -> 'include'),
			(2, 'items.exclude', c.clause -> 'items' -> 'exclude'),
			(3, 'emergency.items.include', c.clause -> 'emergency' -> 'items' -> 'include'),
			(4, 'emergency.items.exclude', c.clause -> 'emergency' -> 'items' -> 'exclude')) AS s (nth, place, list)
	 CROSS JOIN LATERAL jsonb_array_elements_text(coalesce(s.list, '[]')) WITH ORDINALITY AS i (name, at)
	 WHERE EXISTS (SELECT FROM spine.dataset d WHERE d.name = c.clause ->> 'dataset')
	   AND NOT EXISTS (SELECT FROM spine.data_items k
						WHERE k.dataset = c.clause ->> 'dataset' AND k.data_group = split_part(i.name, '.', 1)
						  AND split_part(i.name, '.', 2) IN (k.item, k.column_name))
	 ORDER BY c.n, s.nth, i.at)
	UNION ALL
	(SELECT 'clauses[' || c.n - 1 || '].items.include',
			'item ' || i.name || ' is of class identity, which does not leave for reporting and commissioning'
	  FROM jsonb_array_elements(CASE WHEN spine.agreement_parties(document) IS NOT NULL THEN document -> 'clauses' ELSE '[]' END)
		   WITH ORDINALITY AS c (clause, n)
	 CROSS JOIN LATERAL jsonb_array_elements_text(coalesce(c.clause -> 'items' -> 'include', '[]')) WITH ORDINALITY AS i (name, at)
	 WHERE NOT spine.clause_identified(c.clause)
	   AND EXISTS (SELECT FROM spine.newest_groups() k CROSS JOIN LATERAL jsonb_array_elements(k.items) AS b
					WHERE k.dataset = c.clause ->> 'dataset' AND k.data_group = split_part(i.name, '.', 1)
					  AND split_part(i.name, '.', 2) IN (b ->> 'name', spine.item_column(b)) AND b ->> 'class' = 'identity')
	 ORDER BY c.n, i.at)
	$fn$;
COMMENT ON FUNCTION spine.proposal_faults(jsonb) IS
	'Every fault of an agreement document, and what of it is not known on this node: organisations, data groups, items.';

CREATE FUNCTION spine.propose_agreement(document jsonb, OUT name text, OUT version integer, OUT digest bytea)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	faults text;
	n integer;
	the_parties text[];
	proposer text;
BEGIN
	IF spine.caller_organisations('governor') = '{}' THEN
		RAISE EXCEPTION 'permission denied: this is for a governor' USING ERRCODE = 'insufficient_privilege';
	END IF;
	SELECT count(*), string_agg(format('%s: %s.', f.path, f.fault), E'\n') INTO n, faults FROM spine.proposal_faults(document) f;
	IF n > 0 THEN
		RAISE EXCEPTION 'the agreement document has % fault%', n, CASE n WHEN 1 THEN '' ELSE 's' END
			USING ERRCODE = 'SP005', DETAIL = faults;
	END IF;

	name := document ->> 'name';
	version := (document ->> 'version')::integer;
	digest := spine.agreement_digest(document);
	the_parties := spine.agreement_parties(document);
	SELECT p INTO proposer FROM unnest(the_parties) WITH ORDINALITY AS a (p, at)
	 WHERE p = ANY (spine.caller_organisations('governor')) ORDER BY at LIMIT 1;
	IF proposer IS NULL THEN
		RAISE EXCEPTION 'permission denied: none of your organisations is a party of this agreement'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	-- what others have proposed to each other bars nobody's name, and is not told
	IF EXISTS (SELECT FROM spine.agreement_event e
				WHERE e.name = propose_agreement.name AND e.version = propose_agreement.version AND e.kind = 'proposed'
				  AND (e.owner = proposer
					   OR e.digest <> propose_agreement.digest AND e.document -> 'parties' ? proposer)) THEN
		RAISE EXCEPTION 'agreement "%" version % has been proposed already', name, version
			USING ERRCODE = 'SP005', HINT = 'Propose a change as a new version.';
	END IF;
	PERFORM spine.agreement_say(name, version, 'proposed', proposer, document, digest, the_parties, NULL);
END
$fn$;
COMMENT ON FUNCTION spine.propose_agreement(jsonb) IS
	'Proposes an agreement to its parties, for the first of them of which the caller is a governor. Returns what the others sign. SP005 with every fault of the document; 42501 for others.';

CREATE FUNCTION spine.sign_agreement(name text, version integer, digest bytea DEFAULT NULL) RETURNS text[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	the_one record;
	signer text;
	signers text[] := '{}';
BEGIN
	the_one := spine.agreement_one(sign_agreement.name, sign_agreement.version, sign_agreement.digest);
	IF the_one.state NOT IN ('proposed', 'signed') THEN
		RAISE EXCEPTION 'agreement "%" version % is %: it can no longer be signed',
			the_one.name, the_one.version, the_one.state USING ERRCODE = 'SP005';
	END IF;
	FOREACH signer IN ARRAY spine.caller_organisations('governor') LOOP
		CONTINUE WHEN signer <> ALL (the_one.parties) OR signer = ANY (the_one.signed_by);
		IF EXISTS (SELECT FROM spine.agreement_event e
					WHERE e.name = the_one.name AND e.version = the_one.version AND e.kind = 'signed' AND e.owner = signer) THEN
			RAISE EXCEPTION 'organisation % has signed another document of agreement "%" version %',
				signer, the_one.name, the_one.version USING ERRCODE = 'SP005';
		END IF;
		PERFORM spine.agreement_say(the_one.name, the_one.version, 'signed', signer, NULL, the_one.digest, the_one.parties, NULL);
		signers := signers || signer;
	END LOOP;
	IF signers = '{}' THEN
		RAISE EXCEPTION 'your organisations have signed agreement "%" version % already', the_one.name, the_one.version
			USING ERRCODE = 'SP005';
	END IF;
	RETURN signers;
END
$fn$;
COMMENT ON FUNCTION spine.sign_agreement(text, integer, bytea) IS
	'Signs the agreement for every party of which the caller is a governor. digest: exactly this document, else refused. Returns the organisations signed for. SP005 where there is nothing to sign.';

CREATE FUNCTION spine.publish_agreement(name text, version integer) RETURNS timestamptz
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	the_one record;
	speaker text;
BEGIN
	the_one := spine.agreement_one(publish_agreement.name, publish_agreement.version, NULL);
	IF the_one.state = 'proposed' THEN
		RAISE EXCEPTION 'agreement "%" version % is not signed by all its parties', the_one.name, the_one.version
			USING ERRCODE = 'SP005',
				  DETAIL = format('Not signed by %s.', array_to_string(
					ARRAY(SELECT p FROM unnest(the_one.parties) p WHERE p <> ALL (the_one.signed_by)), ', '));
	ELSIF the_one.state <> 'signed' THEN
		RAISE EXCEPTION 'agreement "%" version % is % already', the_one.name, the_one.version, the_one.state
			USING ERRCODE = 'SP005';
	END IF;
	SELECT p INTO speaker FROM unnest(the_one.parties) WITH ORDINALITY AS a (p, at)
	 WHERE p = ANY (spine.caller_organisations('governor')) ORDER BY at LIMIT 1;
	PERFORM spine.agreement_say(the_one.name, the_one.version, 'published', speaker, NULL, the_one.digest, the_one.parties, NULL);
	RETURN the_one.starts_at;
END
$fn$;
COMMENT ON FUNCTION spine.publish_agreement(text, integer) IS
	'Puts an agreement that all parties have signed into force, on every party''s node. Returns since when it holds. SP005 if a signature is missing.';

CREATE FUNCTION spine.end_agreement(name text, version integer, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	the_one record;
	speaker text;
BEGIN
	IF coalesce(end_agreement.reason, '') !~ '[^[:space:]]' THEN
		RAISE EXCEPTION 'a reason must be given' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	the_one := spine.agreement_one(end_agreement.name, end_agreement.version, NULL);
	IF the_one.state = 'ended' THEN
		RAISE EXCEPTION 'agreement "%" version % is ended already', the_one.name, the_one.version USING ERRCODE = 'SP005';
	END IF;
	SELECT p INTO speaker FROM unnest(the_one.parties) WITH ORDINALITY AS a (p, at)
	 WHERE p = ANY (spine.caller_organisations('governor')) ORDER BY at LIMIT 1;
	PERFORM spine.agreement_say(the_one.name, the_one.version, 'ended', speaker, NULL, the_one.digest, the_one.parties,
								btrim(end_agreement.reason));
END
$fn$;
COMMENT ON FUNCTION spine.end_agreement(text, integer, text) IS
	'Ends an agreement, in whatever state, at once; any party may. What it shared is withdrawn.';

CREATE FUNCTION spine.append_only() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	-- the exchange may bring a row again; what it says stays
	IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - '{revision,audience}'::text[] = to_jsonb(OLD) - '{revision,audience}'::text[] THEN
		RETURN NEW;
	END IF;
	RAISE EXCEPTION 'table %.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME
		USING ERRCODE = 'object_not_in_prerequisite_state';
END
$fn$;
COMMENT ON FUNCTION spine.append_only() IS
	'BEFORE UPDATE OR DELETE OR TRUNCATE trigger: refuses, but for a change of revision and audience.';

CREATE FUNCTION spine.my_agreements()
	RETURNS TABLE (name text, version integer, title text, state text, in_force boolean, parties text[], signed_by text[],
				   proposed_by text, proposed_at timestamptz, published_at timestamptz, starts timestamptz, ends timestamptz,
				   review date, ended_by text, ended_at timestamptz, end_reason text, digest bytea, document jsonb)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
	SELECT a.name, a.version, a.title, a.state, a.in_force, a.parties, a.signed_by, a.proposed_by, a.proposed_at,
		   a.published_at, a.starts_at, a.ends_at, spine.plain_date(a.document ->> 'review'),
		   a.ended_by, a.ended_at, a.end_reason, a.digest, a.document
	  FROM spine.agreement_states() a
	 WHERE spine.caller_may_see(a.parties)
	$fn$;
COMMENT ON FUNCTION spine.my_agreements() IS
	'The agreements of which one of the caller''s organisations is a party; every one to a superuser. Read it through spine.agreements.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.propose_agreement(jsonb)',
		'spine.sign_agreement(text, integer, bytea)',
		'spine.publish_agreement(text, integer)',
		'spine.end_agreement(text, integer, text)',
		'spine.my_agreements()']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.agreement_faults(jsonb)',
		'spine.code_list_faults(text, jsonb, jsonb)',
		'spine.plain_date(text)',
		'spine.agreement_digest(jsonb)',
		'spine.agreement_parties(jsonb)',
		'spine.agreement_states(timestamptz)',
		'spine.scope_faults(text, jsonb, jsonb)',
		'spine.clause_relationships(jsonb)',
		'spine.clause_emergency(jsonb)',
		'spine.clause_retention(jsonb)',
		'spine.clause_identified(jsonb)',
		'spine.clause_classes(jsonb)',
		'spine.clause_dates(jsonb)',
		'spine.clause_in_emergency(jsonb)',
		'spine.clause_scope(jsonb, text, jsonb)',
		'spine.clause_emergency_scope(jsonb, text, jsonb)',
		'spine.append_only()',
		'spine.proposal_faults(jsonb)',
		'spine.agreement_one(text, integer, bytea)',
		'spine.agreement_say(text, integer, text, text, jsonb, bytea, text[], text)']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.propose_agreement(jsonb), spine.sign_agreement(text, integer, bytea),
	spine.publish_agreement(text, integer), spine.end_agreement(text, integer, text),
	spine.agreement_faults(jsonb), spine.agreement_digest(jsonb),
	-- what these two call, as the governor who asks
	spine.scope_faults(text, jsonb, jsonb), spine.clause_in_emergency(jsonb), spine.code_list_faults(text, jsonb, jsonb),
	spine.plain_date(text), spine.compact_date(text)
	TO spine_governor;
GRANT EXECUTE ON FUNCTION spine.my_agreements() TO spine_member, spine_supplier, spine_governor, spine_operator;
