-- Agreements, relationships and the audience that follows from them.

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
	known_in_clause CONSTANT text[] := '{from,to,purpose,dataset,groups,relationships,note}';
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
				FROM jsonb_array_elements(clause -> 'groups') AS g (name) GROUP BY g.name HAVING count(*) > 1;
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
		IF clause ? 'note' AND jsonb_typeof(clause -> 'note') <> 'string' THEN
			RETURN QUERY SELECT place || '.note', 'must be a text';
		END IF;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.agreement_faults(jsonb) IS
	'Every fault of an agreement document in its form (docs/architecture.md, "Governance"); no row if it has none. Raises nothing, whatever it is given.';

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
-- The state of agreements: a fold of events, whoever wrote them and in whatever order they came
--

CREATE FUNCTION spine.agreement_states()
	RETURNS TABLE (name text, version integer, digest bytea, title text, state text, in_force boolean,
				   parties text[], signed_by text[], proposed_by text, proposed_at timestamptz,
				   published_at timestamptz, starts_at timestamptz, ends_at timestamptz,
				   ended_by text, ended_at timestamptz, end_reason text, document jsonb)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 20
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET timezone = 'Europe/London'
	AS $fn$
	WITH proposal AS MATERIALIZED (
		-- a proposal counts for what it is: sound, about what it says, by one of its parties
		SELECT DISTINCT ON (e.name, e.version, e.digest)
			   e.name, e.version, e.digest, e.document, e.owner AS proposed_by, e.at AS proposed_at, p.parties
		  FROM spine.agreement_event e
		 CROSS JOIN LATERAL (SELECT spine.agreement_parties(e.document) AS parties) p
		 WHERE e.kind = 'proposed'
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
			   AND e.kind = 'signed' AND e.owner = ANY (p.parties)) s
		 CROSS JOIN LATERAL (
			SELECT min(e.at) AS published_at
			  FROM spine.agreement_event e
			 WHERE e.name = p.name AND e.version = p.version AND e.digest = p.digest
			   AND e.kind = 'published' AND e.owner = ANY (p.parties)) u
		  LEFT JOIN LATERAL (
			SELECT e.owner AS ended_by, e.at AS ended_at, e.reason AS end_reason
			  FROM spine.agreement_event e
			 WHERE e.name = p.name AND e.version = p.version AND e.digest = p.digest
			   AND e.kind = 'ended' AND e.owner = ANY (p.parties)
			 ORDER BY e.at, e.owner COLLATE "C" LIMIT 1) d ON true
	), timed AS (
		-- a later version replaces an earlier one when it starts, if nobody has left the circle
		SELECT f.*, least(f.own_end, later.starts_at) AS ends_at,
			   coalesce(later.starts_at <= now(), false) AS superseded
		  FROM folded f
		  LEFT JOIN LATERAL (
			SELECT min(greatest(l.starts_at, l.published_at)) AS starts_at
			  FROM folded l
			 WHERE l.name = f.name AND l.version > f.version AND l.parties @> f.parties
			   AND l.signed AND l.published_at IS NOT NULL) later ON true
	)
	SELECT t.name, t.version, t.digest, t.document ->> 'title',
		   CASE WHEN t.ended_at IS NOT NULL THEN 'ended'
				WHEN NOT t.signed THEN 'proposed'
				WHEN t.published_at IS NULL THEN 'signed'
				WHEN t.superseded THEN 'superseded'
				WHEN t.ends_at <= now() THEN 'expired'
				ELSE 'published' END,
		   t.ended_at IS NULL AND t.signed AND t.published_at IS NOT NULL
			   AND t.starts_at <= now() AND (t.ends_at IS NULL OR now() < t.ends_at),
		   t.parties, t.signed_by, t.proposed_by, t.proposed_at, t.published_at, t.starts_at, t.ends_at,
		   t.ended_by, t.ended_at, t.end_reason, t.document
	  FROM timed t
	$fn$;
COMMENT ON FUNCTION spine.agreement_states() IS
	'Every agreement known here with its state, folded from spine.agreement_event: proposed, signed (by all), published, superseded, expired, ended. A start is the beginning of its day, an end the end of its day, in London.';

--
-- Sharing rules
--

CREATE FUNCTION spine.published_groups() RETURNS TABLE (dataset text, data_group text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 50
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT DISTINCT d.name, g.definition ->> 'name'
	  FROM spine.dataset d
	 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS g (definition)
	$fn$;
COMMENT ON FUNCTION spine.published_groups() IS 'Every data group of every data set published here.';

CREATE FUNCTION spine.rules_of_agreements()
	RETURNS TABLE (agreement text, version integer, clause integer, from_organisation text, to_organisation text,
				   purpose text, dataset text, data_group text, relationships text[],
				   starts_at timestamptz, ends_at timestamptz, in_force boolean)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
	WITH known AS MATERIALIZED (SELECT * FROM spine.published_groups())
	SELECT a.name, a.version, c.n::integer, f.code, t.code, c.clause ->> 'purpose', k.dataset, k.data_group,
		   CASE WHEN c.clause ->> 'purpose' = 'care'
				THEN ARRAY(SELECT DISTINCT r FROM jsonb_array_elements_text(c.clause -> 'relationships') r ORDER BY r)
				ELSE '{}' END,
		   a.starts_at, a.ends_at, a.in_force
	  FROM spine.agreement_states() a
	 CROSS JOIN LATERAL jsonb_array_elements(a.document -> 'clauses') WITH ORDINALITY AS c (clause, n)
	 CROSS JOIN LATERAL jsonb_array_elements_text(c.clause -> 'from') AS f (code)
	 CROSS JOIN LATERAL jsonb_array_elements_text(c.clause -> 'to') AS t (code)
	  JOIN known k ON k.dataset = c.clause ->> 'dataset'
				  AND (c.clause -> 'groups' = '"all"' OR c.clause -> 'groups' @> to_jsonb(k.data_group))
	 WHERE a.state = 'published' AND f.code <> t.code
	$fn$;
COMMENT ON FUNCTION spine.rules_of_agreements() IS
	'What spine.sharing_rule should hold now. A data group that is not published here has no rule until it is.';

CREATE FUNCTION spine.compile_agreements() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	before spine.sharing_rule[];
	wanted spine.sharing_rule[];
	hosted text[] := spine.hosted_organisations();
	changed record;
	touched bigint := 0;
BEGIN
	-- one at a time: two would each miss what the other has not committed. Anybody could hold an
	-- advisory lock, and with it a revocation.
	LOCK TABLE spine.sharing_rule IN SHARE ROW EXCLUSIVE MODE;

	before := ARRAY(SELECT r FROM spine.sharing_rule r WHERE r.in_force);
	wanted := ARRAY(
		SELECT (w.agreement, w.version, w.clause, w.from_organisation, w.to_organisation, w.purpose, w.dataset, w.data_group,
				w.relationships, w.starts_at, w.ends_at, w.in_force)::spine.sharing_rule
		  FROM spine.rules_of_agreements() w);
	DELETE FROM spine.sharing_rule r
	 WHERE NOT EXISTS (
		SELECT FROM unnest(wanted) w
		 WHERE w.from_organisation = r.from_organisation AND w.dataset = r.dataset AND w.data_group = r.data_group
		   AND w.to_organisation = r.to_organisation AND w.purpose = r.purpose
		   AND w.agreement = r.agreement AND w.version = r.version AND w.clause = r.clause);
	INSERT INTO spine.sharing_rule AS r SELECT w.* FROM unnest(wanted) w
	ON CONFLICT (from_organisation, dataset, data_group, to_organisation, purpose, agreement, version, clause) DO UPDATE
		SET relationships = EXCLUDED.relationships, starts_at = EXCLUDED.starts_at,
			ends_at = EXCLUDED.ends_at, in_force = EXCLUDED.in_force
	 WHERE (r.relationships, r.starts_at, r.ends_at, r.in_force)
		   IS DISTINCT FROM (EXCLUDED.relationships, EXCLUDED.starts_at, EXCLUDED.ends_at, EXCLUDED.in_force);

	-- which audiences rest on what has changed: of relationships first, so that they travel first
	PERFORM spine.reaudience_relationships(ARRAY(
		WITH was AS (SELECT w.to_organisation, w.from_organisation FROM unnest(before) w WHERE w.purpose = 'care'),
			 is_now AS (SELECT r.to_organisation, r.from_organisation FROM spine.sharing_rule r
						 WHERE r.in_force AND r.purpose = 'care')
		SELECT DISTINCT d.to_organisation
		  FROM ((SELECT * FROM was EXCEPT SELECT * FROM is_now)
				UNION ALL
				(SELECT * FROM is_now EXCEPT SELECT * FROM was)) d));
	FOR changed IN
		WITH was AS (SELECT w.from_organisation, w.dataset, w.data_group, w.to_organisation, w.purpose, w.relationships
					   FROM unnest(before) w),
			 is_now AS (SELECT r.from_organisation, r.dataset, r.data_group, r.to_organisation, r.purpose, r.relationships
						  FROM spine.sharing_rule r WHERE r.in_force)
		SELECT DISTINCT d.from_organisation, d.dataset, d.data_group
		  FROM ((SELECT * FROM was EXCEPT SELECT * FROM is_now)
				UNION ALL
				(SELECT * FROM is_now EXCEPT SELECT * FROM was)) d
		 WHERE d.from_organisation = ANY (hosted)
		 ORDER BY 1, 2, 3
	LOOP
		touched := touched + spine.reaudience_rules(changed.from_organisation, changed.dataset, changed.data_group);
		INSERT INTO spine.unsettled (owner, dataset, data_group)
			VALUES (changed.from_organisation, changed.dataset, changed.data_group);
	END LOOP;
	RETURN touched;
END
$fn$;
COMMENT ON FUNCTION spine.compile_agreements() IS
	'Brings spine.sharing_rule in line with the agreements in force at this moment, and the audiences with it. Returns the number of records whose audience changed. Called by triggers, and by spine.settle_audiences() when an agreement''s time begins or ends.';

CREATE FUNCTION spine.agreements_are_due() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT EXISTS (SELECT FROM spine.sharing_rule r
					WHERE r.in_force <> (r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)))
	$fn$;
COMMENT ON FUNCTION spine.agreements_are_due() IS
	'Whether time alone has put a rule into force or out of it since spine.compile_agreements() last ran.';

CREATE FUNCTION spine.agreements_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	PERFORM spine.compile_agreements();
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.agreements_changed() IS
	'AFTER STATEMENT trigger on spine.agreement_event and spine.dataset: compiles the agreements anew.';

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
		   ARRAY(SELECT p || ':care' FROM unnest(the_parties) p ORDER BY p COLLATE "C")
	$fn$;
COMMENT ON FUNCTION spine.agreement_say(text, integer, text, text, jsonb, bytea, text[], text) IS
	'Writes one step of an agreement, for all its parties to read.';

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
	WITH fault (path, fault) AS (
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
	)
	SELECT count(*), string_agg(format('%s: %s.', f.path, f.fault), E'\n') INTO n, faults FROM fault f;
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

--
-- Patients and relationships
--

CREATE FUNCTION spine.linked_patients(patient uuid) RETURNS uuid[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
BEGIN
	-- nearly everybody has one id
	IF NOT EXISTS (SELECT FROM spine.identity_link l WHERE l.from_patient = patient)
	   AND NOT EXISTS (SELECT FROM spine.identity_link l WHERE l.to_patient = patient) THEN
		RETURN ARRAY[patient];
	END IF;
	RETURN ARRAY(
		WITH RECURSIVE linked (id) AS (
			SELECT patient
			UNION
			SELECT n.id
			  FROM linked
			 CROSS JOIN LATERAL (
				SELECT l.to_patient AS id FROM spine.identity_link l
				 WHERE l.from_patient = linked.id AND (l.until IS NULL OR l.until > now())
				UNION ALL
				SELECT l.from_patient FROM spine.identity_link l
				 WHERE l.to_patient = linked.id AND (l.until IS NULL OR l.until > now())) n)
		SELECT id FROM linked ORDER BY id);
END
$fn$;
COMMENT ON FUNCTION spine.linked_patients(uuid) IS
	'All ids of the person with this id, over links that hold now; the id itself is always among them.';

CREATE FUNCTION spine.end_alias(organisation text, system text, local_patient_id text) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_patient uuid;
BEGIN
	PERFORM spine.require_operator(end_alias.organisation);
	DELETE FROM spine.alias a
	 WHERE a.owner = end_alias.organisation AND a.source_system = end_alias.system
	   AND a.local_patient_id = end_alias.local_patient_id
	RETURNING a.patient_id INTO the_patient;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the system has sent no such patient number'
			USING ERRCODE = 'no_data_found';
	END IF;
	-- its episode numbers lead to the same person
	DELETE FROM spine.episode_alias e
	 WHERE e.owner = end_alias.organisation AND e.source_system = end_alias.system AND e.patient_id = the_patient
	   AND NOT EXISTS (SELECT FROM spine.alias a
						WHERE a.owner = e.owner AND a.source_system = e.source_system AND a.patient_id = e.patient_id);
	-- and so do the links that it brought about
	UPDATE spine.identity_link l SET until = now()
	 WHERE l.owner = end_alias.organisation AND l.method = 'nhs_number' AND l.until IS NULL
	   AND l.from_patient = the_patient
	   AND NOT EXISTS (SELECT FROM spine.alias a WHERE a.patient_id = the_patient);
	RETURN the_patient;
END
$fn$;
COMMENT ON FUNCTION spine.end_alias(text, text, text) IS
	'Forgets whom a system''s own patient number means, with the episode numbers and the link that rest on it: after the system sent it with a wrong NHS number. What is stored stays where it is until the system sends it again, with the right number. Returns the patient id it meant. For an operator of the organisation.';

CREATE FUNCTION spine.audience(owner text, dataset text, data_group text, patient_id uuid) RETURNS text[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	-- its plans may be made while the tables are small, and are kept
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
DECLARE
	linked uuid[];
BEGIN
	IF NOT EXISTS (SELECT FROM spine.sharing_rule r
					WHERE r.from_organisation = owner AND r.dataset = audience.dataset AND r.data_group = audience.data_group) THEN
		RETURN '{}';
	END IF;
	IF audience.patient_id IS NOT NULL THEN
		linked := spine.linked_patients(audience.patient_id);
	END IF;
	RETURN ARRAY(
		SELECT DISTINCT (r.to_organisation || ':' || r.purpose) COLLATE "C"
		  FROM spine.sharing_rule r
		 WHERE r.from_organisation = owner AND r.dataset = audience.dataset AND r.data_group = audience.data_group
		   AND r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)
		   AND (r.purpose <> 'care'
				OR EXISTS (SELECT FROM spine.relationship l
							WHERE l.patient_id = ANY (linked) AND l.organisation = r.to_organisation
							  AND l.kind = ANY (r.relationships)
							  AND (l.until IS NULL OR l.until > now())))
		 ORDER BY 1);
END
$fn$;
COMMENT ON FUNCTION spine.audience(text, text, text, uuid) IS
	'Who may have a record of this owner, data group and patient now, as ORGANISATION:purpose, in order. Care needs an active relationship of an accepted kind to the person; reporting and commissioning need none. patient_id NULL: a record with no person in it.';

CREATE FUNCTION spine.reaudience(patients uuid[]) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_reaudience';
COMMENT ON FUNCTION spine.reaudience(uuid[]) IS
	'Computes anew the audience of every record of these patients, linked ids included, that an organisation hosted here owns. Records whose audience stays are not touched; revisions stay. Returns how many changed.';

CREATE FUNCTION spine.reaudience_rules(the_owner text, the_dataset text, the_group text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	touched bigint;
	persons bigint;
BEGIN
	IF to_regclass(format('%I.%I', the_dataset, the_group)) IS NULL
	   OR the_owner <> ALL (spine.hosted_organisations()) THEN
		RETURN 0;
	END IF;
	-- only those who are shared now, or may become so; and once for a patient, not once for a record
	EXECUTE format(
		'WITH rule AS (
			SELECT r.to_organisation, r.purpose FROM spine.sharing_rule r
			 WHERE r.from_organisation = $1 AND r.dataset = $2 AND r.data_group = $3 AND r.in_force
		 ), related AS (
			SELECT unnest(spine.linked_patients(x.patient_id)) AS patient_id
			  FROM (SELECT DISTINCT l.patient_id FROM spine.relationship l
					 WHERE l.organisation IN (SELECT rule.to_organisation FROM rule WHERE rule.purpose = ''care'')
					   AND (l.until IS NULL OR l.until > now())) x
		 ), wanted AS MATERIALIZED (
			SELECT p.patient_id, spine.audience($1, $2, $3, p.patient_id) AS audience
			  FROM (SELECT DISTINCT t.patient_id FROM %1$I.%2$I t
					 WHERE t.owner = $1 AND t.patient_id IS NOT NULL
					   AND (t.audience <> ''{}'' OR t.patient_id IN (SELECT related.patient_id FROM related)
							OR EXISTS (SELECT FROM rule WHERE rule.purpose <> ''care''))) p)
		 UPDATE %1$I.%2$I t SET audience = w.audience
		   FROM wanted w
		  WHERE t.owner = $1 AND t.patient_id = w.patient_id AND t.audience IS DISTINCT FROM w.audience',
		the_dataset, the_group)
		USING the_owner, the_dataset, the_group;
	GET DIAGNOSTICS persons = ROW_COUNT;
	EXECUTE format(
		'UPDATE %1$I.%2$I t SET audience = w.audience
		   FROM (SELECT spine.audience($1, $2, $3, NULL) AS audience) w
		  WHERE t.owner = $1 AND t.patient_id IS NULL AND t.audience IS DISTINCT FROM w.audience',
		the_dataset, the_group)
		USING the_owner, the_dataset, the_group;
	GET DIAGNOSTICS touched = ROW_COUNT;
	RETURN persons + touched;
END
$fn$;
COMMENT ON FUNCTION spine.reaudience_rules(text, text, text) IS
	'Computes anew the audience of all records of an owner hosted here in a data group. Returns how many changed.';

CREATE FUNCTION spine.relationship_audience(owner text, organisation text) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT (a.code || ':care') COLLATE "C"
		  FROM (SELECT relationship_audience.organisation AS code
				UNION
				SELECT r.from_organisation FROM spine.sharing_rule r
				 WHERE r.to_organisation = relationship_audience.organisation AND r.purpose = 'care'
				   AND r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)) a
		 WHERE a.code <> relationship_audience.owner
		 ORDER BY 1)
	$fn$;
COMMENT ON FUNCTION spine.relationship_audience(text, text) IS
	'Who must know that this organisation has a relationship to a person: itself, and everybody who shares with it for care; never the owner, who has the row.';

CREATE FUNCTION spine.reaudience_relationships(organisations text[]) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	touched bigint;
BEGIN
	IF organisations = '{}' THEN
		RETURN 0;
	END IF;
	WITH wanted AS MATERIALIZED (
		SELECT p.owner, p.organisation, spine.relationship_audience(p.owner, p.organisation) AS audience
		  FROM (SELECT DISTINCT l.owner, l.organisation FROM spine.relationship l
				 WHERE l.organisation = ANY (organisations) AND l.owner = ANY (spine.hosted_organisations())) p)
	UPDATE spine.relationship l SET audience = w.audience
	  FROM wanted w
	 WHERE l.owner = w.owner AND l.organisation = w.organisation AND l.audience IS DISTINCT FROM w.audience;
	GET DIAGNOSTICS touched = ROW_COUNT;
	RETURN touched;
END
$fn$;
COMMENT ON FUNCTION spine.reaudience_relationships(text[]) IS
	'Computes anew who must know of the relationships of these organisations, as far as they were recorded here. Returns how many changed.';

CREATE FUNCTION spine.relationship_fill() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	NEW.audience := spine.relationship_audience(NEW.owner, NEW.organisation);
	RETURN NEW;
END
$fn$;
COMMENT ON FUNCTION spine.relationship_fill() IS
	'BEFORE INSERT trigger on spine.relationship: fills an audience that was left out.';

CREATE FUNCTION spine.affected_by(patients uuid[], organisations text[]) RETURNS uuid[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT DISTINCT c.patient
		  FROM unnest(patients, organisations) AS c (patient, organisation)
		 WHERE c.organisation IN (SELECT r.to_organisation FROM spine.sharing_rule r
								   WHERE r.purpose = 'care' AND r.from_organisation = ANY (spine.hosted_organisations())))
	$fn$;
COMMENT ON FUNCTION spine.affected_by(uuid[], text[]) IS
	'Those patients whose records here may have another audience after a change of a relationship to the organisation beside them: nobody shares with the others'' organisations.';

CREATE FUNCTION spine.relationship_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	affected uuid[];
BEGIN
	IF TG_OP = 'INSERT' THEN
		SELECT spine.affected_by(array_agg(n.patient_id), array_agg(n.organisation)) INTO affected FROM new_rows n;
	ELSIF TG_OP = 'DELETE' THEN
		SELECT spine.affected_by(array_agg(o.patient_id), array_agg(o.organisation)) INTO affected FROM old_rows o;
	ELSE
		SELECT spine.affected_by(array_agg(c.patient_id), array_agg(c.organisation)) INTO affected
		  FROM (SELECT v.patient_id, v.organisation
				  FROM old_rows o
				  JOIN new_rows n USING (relationship_id)
				 CROSS JOIN LATERAL (VALUES (o.patient_id, o.organisation), (n.patient_id, n.organisation))
					AS v (patient_id, organisation)
				 WHERE (o.patient_id, o.organisation, o.kind, o.until) IS DISTINCT FROM (n.patient_id, n.organisation, n.kind, n.until)) c;
	END IF;
	IF affected <> '{}' THEN
		PERFORM spine.reaudience(affected);
		INSERT INTO spine.unsettled (patients) VALUES (affected);
	END IF;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.relationship_changed() IS
	'AFTER STATEMENT trigger on spine.relationship, local or received: computes anew the audience of the patients'' records.';

CREATE FUNCTION spine.identity_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	affected uuid[];
BEGIN
	-- without rules every audience is empty
	IF NOT EXISTS (SELECT FROM spine.sharing_rule) THEN
		RETURN NULL;
	END IF;
	-- of a link that ends, each side's records; of one that begins, both sides' linked sets hold both
	IF TG_OP = 'INSERT' THEN
		affected := ARRAY(SELECT n.from_patient FROM new_rows n UNION SELECT n.to_patient FROM new_rows n);
	ELSIF TG_OP = 'DELETE' THEN
		affected := ARRAY(SELECT o.from_patient FROM old_rows o UNION SELECT o.to_patient FROM old_rows o);
	ELSE
		affected := ARRAY(SELECT o.from_patient FROM old_rows o UNION SELECT o.to_patient FROM old_rows o
						  UNION SELECT n.from_patient FROM new_rows n UNION SELECT n.to_patient FROM new_rows n);
	END IF;
	IF affected <> '{}' THEN
		PERFORM spine.reaudience(affected);
		INSERT INTO spine.unsettled (patients) VALUES (affected);
	END IF;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.identity_changed() IS
	'AFTER STATEMENT trigger on spine.identity_link: a link or its end changes whose relationships count for a record.';

CREATE FUNCTION spine.oldest_snapshot() RETURNS xid8
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_oldest_snapshot';
COMMENT ON FUNCTION spine.oldest_snapshot() IS
	'What transactions before this one have committed, every snapshot in use sees.';

/*
 * A record that is written while a relationship or a rule changes may be given the audience of before: its
 * transaction does not see the change, nor the change the record. Intake takes no lock for this. The
 * records are looked at again instead: soon, which finds nearly all of them, and for certain when (1)
 * no snapshot is left that does not see the change and (2) every transaction that then ran has ended.
 */
CREATE FUNCTION spine.settle_audiences() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	waiting spine.unsettled;
	certain boolean;
	touched bigint := 0;
BEGIN
	IF spine.agreements_are_due() THEN
		touched := spine.compile_agreements();
	END IF;
	IF NOT EXISTS (SELECT FROM spine.unsettled) THEN
		RETURN touched;
	END IF;
	UPDATE spine.unsettled u SET horizon = pg_snapshot_xmax(pg_current_snapshot())
	 WHERE u.horizon IS NULL AND u.changed_by < spine.oldest_snapshot();
	FOR waiting IN
		SELECT * FROM spine.unsettled u
		 WHERE u.changed_by IS DISTINCT FROM pg_current_xact_id_if_assigned()
		   AND (NOT u.looked_again
				OR u.horizon <= pg_snapshot_xmin(pg_current_snapshot())
				-- restored from another cluster, where transactions were counted otherwise
				OR u.changed_by >= pg_snapshot_xmax(pg_current_snapshot()))
		 ORDER BY u.unsettled_id
		   FOR UPDATE SKIP LOCKED
	LOOP
		IF waiting.patients IS NOT NULL THEN
			touched := touched + spine.reaudience(waiting.patients);
		ELSE
			touched := touched + spine.reaudience_rules(waiting.owner, waiting.dataset, waiting.data_group);
		END IF;
		certain := coalesce(waiting.horizon <= pg_snapshot_xmin(pg_current_snapshot()), false)
				   OR waiting.changed_by >= pg_snapshot_xmax(pg_current_snapshot());
		IF certain THEN
			DELETE FROM spine.unsettled u WHERE u.unsettled_id = waiting.unsettled_id;
		ELSE
			UPDATE spine.unsettled u SET looked_again = true WHERE u.unsettled_id = waiting.unsettled_id;
		END IF;
	END LOOP;
	RETURN touched;
END
$fn$;
COMMENT ON FUNCTION spine.settle_audiences() IS
	'What the courier does about audiences from time to time: agreements that begin or end with time, and records written while a relationship or a rule changed. Returns the number of records whose audience changed.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.compile_agreements()', 'spine.settle_audiences()', 'spine.agreements_are_due()', 'spine.agreements_changed()',
		'spine.propose_agreement(jsonb)', 'spine.sign_agreement(text, integer, bytea)',
		'spine.publish_agreement(text, integer)', 'spine.end_agreement(text, integer, text)',
		'spine.relationship_changed()', 'spine.identity_changed()', 'spine.end_alias(text, text, text)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.agreement_faults(jsonb)', 'spine.code_list_faults(text, jsonb, jsonb)', 'spine.plain_date(text)',
		'spine.agreement_digest(jsonb)', 'spine.agreement_parties(jsonb)', 'spine.agreement_states()',
		'spine.published_groups()', 'spine.rules_of_agreements()', 'spine.append_only()',
		'spine.agreement_one(text, integer, bytea)',
		'spine.agreement_say(text, integer, text, text, jsonb, bytea, text[], text)',
		'spine.linked_patients(uuid)', 'spine.audience(text, text, text, uuid)', 'spine.reaudience(uuid[])',
		'spine.reaudience_rules(text, text, text)', 'spine.relationship_audience(text, text)',
		'spine.reaudience_relationships(text[])', 'spine.oldest_snapshot()', 'spine.relationship_fill()', 'spine.affected_by(uuid[], text[])']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.end_alias(text, text, text) TO spine_operator;
GRANT EXECUTE ON FUNCTION spine.propose_agreement(jsonb), spine.sign_agreement(text, integer, bytea),
	spine.publish_agreement(text, integer), spine.end_agreement(text, integer, text),
	spine.agreement_faults(jsonb), spine.agreement_digest(jsonb),
	-- what these two call, as the governor who asks
	spine.code_list_faults(text, jsonb, jsonb), spine.plain_date(text), spine.compact_date(text)
	TO spine_governor;
