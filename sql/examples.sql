-- The examples of a data set: as documents, and run against its rules.

CREATE FUNCTION spine.changed_example(sample jsonb, changes jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT jsonb_set(sample, '{data}', jsonb_strip_nulls((sample -> 'data') || changes)) $fn$;
COMMENT ON FUNCTION spine.changed_example(jsonb, jsonb) IS
	'A record with changes laid over its items, of which null takes one away.';

CREATE FUNCTION spine.rule_example(definition jsonb, samples jsonb, data_group text, example jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE jsonb_typeof(example)
		WHEN 'array' THEN
			(SELECT jsonb_agg(spine.changed_example(samples -> (e.body ->> 'group'), e.body -> 'data') ORDER BY e.n)
			   FROM jsonb_array_elements(example) WITH ORDINALITY AS e (body, n))
		ELSE
			(SELECT jsonb_agg(CASE WHEN g.body ->> 'name' = data_group THEN spine.changed_example(samples -> data_group, example)
								   ELSE samples -> (g.body ->> 'name') END ORDER BY g.n)
			   FROM jsonb_array_elements(definition -> 'groups') WITH ORDINALITY AS g (body, n)
			  WHERE g.n <= (SELECT o.n FROM jsonb_array_elements(definition -> 'groups') WITH ORDINALITY AS o (body, n)
							 WHERE o.body ->> 'name' = data_group)
				AND (g.body ? 'example' OR g.body ->> 'name' = data_group))
		END
	$fn$;
COMMENT ON FUNCTION spine.rule_example(jsonb, jsonb, text, jsonb) IS
	'The records of the submission that an example of a rule stands for: changes to its group''s example after the examples of the groups before it, or a list of {group, data}. The last is judged. samples: a record of each group, by its name.';

CREATE FUNCTION spine.example_organisation() RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT s.organisation FROM spine.system AS s WHERE s.role_name = spine.caller_role() $fn$;
COMMENT ON FUNCTION spine.example_organisation() IS 'The organisation whose system is asking; NULL for anybody else.';

CREATE FUNCTION spine.example_document(name text, version text) RETURNS jsonb
	LANGUAGE sql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT jsonb_build_object('dataset', name, 'version', version, 'records',
			coalesce((SELECT jsonb_agg(e.sample ORDER BY e.n) FROM spine.example_records(d.body, o.code) AS e WHERE NOT e.made), '[]'))
	  FROM spine.definition_of(name, version) AS d (body), spine.example_organisation() AS o (code)
	$fn$;
COMMENT ON FUNCTION spine.example_document(text, text) IS
	'The examples of all groups of a version of a data set as one submission, for spine.validate or spine.submit; where a system asks, its organisation stands where the organisation''s own code is wanted. SP003 where there is no such version.';

CREATE FUNCTION spine.rule_examples(name text, version text)
	RETURNS TABLE (data_group text, rule text, kind text, example text, document jsonb)
	LANGUAGE sql STABLE ROWS 400
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT g.body ->> 'name', r.body ->> 'id', coalesce(r.body ->> 'kind', 'expression'), e.key,
		   jsonb_build_object('dataset', name, 'version', version,
							  'records', spine.rule_example(d.body, s.samples, g.body ->> 'name', e.value))
	  FROM spine.definition_of(name, version) AS d (body), spine.example_organisation() AS o (code),
		   LATERAL (SELECT jsonb_object_agg(x.data_group, x.sample) AS samples FROM spine.example_records(d.body, o.code) AS x) AS s,
		   jsonb_array_elements(d.body -> 'groups') WITH ORDINALITY AS g (body, n),
		   jsonb_array_elements(g.body -> 'rules') WITH ORDINALITY AS r (body, n),
		   jsonb_each(r.body -> 'examples') AS e
	 ORDER BY g.n, r.n, e.key DESC
	$fn$;
COMMENT ON FUNCTION spine.rule_examples(text, text) IS
	'The examples of the rules of a version of a data set, each as the submission that it stands for, of which the last record is judged; of rules of the kinds count and failures, all are. example: passes or fails. SP003 where there is no such version.';

CREATE FUNCTION spine.example_faults(name text, version text, OUT rule text, OUT example text, OUT fault text)
	RETURNS SETOF record
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	tried record;
	told boolean;
	refused boolean;
	others text;
BEGIN
	example := 'groups';
	FOR rule, fault IN
		SELECT f ->> 'rule', format('the example of %s has a finding: %s', r.body ->> 'group', f ->> 'message')
		  FROM (SELECT spine.example_document(example_faults.name, example_faults.version) AS body) AS d,
			   spine.validate(d.body::json) AS v,
			   jsonb_array_elements(v.findings) AS f,
			   jsonb_array_elements(d.body -> 'records') WITH ORDINALITY AS r (body, n)
		 WHERE r.n = v.n
	LOOP
		RETURN NEXT;
	END LOOP;

	FOR tried IN SELECT * FROM spine.rule_examples(name, version) LOOP
		-- what refuses a whole submission is told in the reason of each record
		SELECT coalesce(bool_or(f ->> 'rule' = tried.rule
								OR f ->> 'rule' = 'file.rejected' AND f ->> 'message' ~ concat('\mrule ', tried.rule, ':')), false),
			   coalesce(bool_or(v.outcome = 'rejected'), false),
			   string_agg(DISTINCT f ->> 'rule', ', ')
		  INTO told, refused, others
		  FROM spine.validate(tried.document::json) AS v, jsonb_array_elements(v.findings) AS f
		 WHERE tried.kind IN ('count', 'failures') OR v.n = jsonb_array_length(tried.document -> 'records');
		rule := tried.rule;
		example := tried.example;
		fault := NULL;
		IF tried.example = 'passes' AND told THEN
			fault := 'breaks the rule, which it ought to pass';
		ELSIF tried.example = 'passes' AND refused THEN
			fault := concat('is rejected, so that it shows nothing; it breaks ', others);
		ELSIF tried.example = 'fails' AND NOT told THEN
			fault := concat('does not break the rule; it breaks ', coalesce(others, 'none'));
		END IF;
		IF fault IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.example_faults(text, text) IS
	'Runs the examples of a published version through spine.validate as the system that asks, and tells where they do not show what they are there for: a finding on the examples of the groups together (example groups), a rule that its example passes breaks, or that its example fails does not, or an example passes that is rejected. No row: all do. Nothing is stored. An organisation that an example has as one that is closed must be known here, with its last day. For a system that may write every group. SP003 where there is no such version.';

ALTER FUNCTION spine.changed_example(jsonb, jsonb) OWNER TO spine_owner;
ALTER FUNCTION spine.rule_example(jsonb, jsonb, text, jsonb) OWNER TO spine_owner;
ALTER FUNCTION spine.example_organisation() OWNER TO spine_owner;
ALTER FUNCTION spine.example_document(text, text) OWNER TO spine_owner;
ALTER FUNCTION spine.rule_examples(text, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.changed_example(jsonb, jsonb), spine.rule_example(jsonb, jsonb, text, jsonb),
	spine.example_organisation(), spine.example_document(text, text), spine.rule_examples(text, text),
	spine.example_faults(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.example_document(text, text), spine.rule_examples(text, text)
	TO spine_supplier, spine_member, spine_operator;
GRANT EXECUTE ON FUNCTION spine.example_faults(text, text) TO spine_supplier;
