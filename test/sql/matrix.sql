-- The visibility matrix: a generated world of roles, duties, agreements, relationships, dissents, emergencies and openings, an oracle
-- that knows from the definition alone who may see what, and every path on which a member might see more or less.
--   psql -v seed=ANYTHING: another world
\ir setup.psql
\ir as_role.psql
\if :{?seed}
\else
\set seed 4
\endif
SET jit = off;
SELECT plan(45);
\ir matrix_world.psql
\ir matrix_oracle.psql
\ir matrix_paths.psql
SELECT diag('seed ' || :'seed') \g /dev/stderr

SELECT is_empty('SELECT a.name, a.version, f.* FROM m.agreement a, spine.agreement_faults(a.document) f', 'the agreements that were made up have no fault');
-- ---------------------------------------------------------------- opening

ANALYZE spine.relationship, spine.dissent, spine.identity_link, spine.family_link, m.record, m.id, m.item, m.agreement, m.duty;
SELECT m.judge() \g /dev/null
CREATE TABLE m.attempt AS
	SELECT r.name AS role, i.nhs_number, i.patient_id, m.may_open(r.name, i.nhs_number) AS expected
	  FROM (SELECT DISTINCT role AS name FROM m.duty WHERE duty = 'clinician') r
	  JOIN (SELECT DISTINCT ON (p.person) i.* FROM m.id i JOIN m.person p USING (patient_id) ORDER BY p.person, m.roll('which id', i.n::text)) i
		ON m.chance(0.65, 'open', r.name, i.n::text);
ALTER TABLE m.attempt ADD got jsonb;
UPDATE m.attempt SET got = (SELECT m.ask(role, format('SELECT spine.open_record(%L, ''care'', ''because'')', nhs_number)));
INSERT INTO m.opening SELECT role, patient_id, o, 'care' FROM m.attempt, unnest(expected) o;
INSERT INTO m.difference SELECT 'spine.open_record', format('%s wanted %s got %s', role, expected, got) FROM m.attempt
	WHERE CASE WHEN expected = '{}' THEN got ->> 'error' IS DISTINCT FROM 'SP006' ELSE got ? 'error' END;
INSERT INTO m.difference SELECT 'spine.open_record', format('%s %s is logged for %s instead of %s', a.role, a.patient_id, l.organisations, a.expected) FROM m.attempt a
	CROSS JOIN LATERAL (SELECT coalesce(array_agg(organisation ORDER BY organisation), '{}') AS organisations FROM spine.access_log l WHERE l.role_name = a.role AND l.patient_id = a.patient_id) l
	WHERE l.organisations <> a.expected;
SELECT m.tell('spine.open_record', count(*), count(*) FILTER (WHERE expected <> '{}')) FROM m.attempt;
SELECT is((SELECT count(DISTINCT got) FROM m.attempt WHERE expected = '{}'), 1::bigint, 'who is not known and who is not allowed are one answer');

CREATE TABLE m.emergency AS
	SELECT d.role, d.organisation, i.nhs_number, i.patient_id,
		   EXISTS (SELECT FROM m.clause c WHERE c.receiver = d.organisation AND c.purpose = 'care'
					AND (c.body -> 'relationships' ? 'emergency' OR coalesce(c.body -> 'emergency', 'false') <> 'false'))
		   OR EXISTS (SELECT FROM m.person p JOIN m.person q USING (person) JOIN m.record r ON r.patient_id = q.patient_id
					   WHERE p.patient_id = i.patient_id AND (r.owner = d.organisation OR d.organisation = 'RYJ' AND r.owner = 'RYJ01')) AS expected
	  FROM m.duty d JOIN m.id i ON m.chance(0.15, 'emergency', d.role, d.organisation, i.n::text) WHERE d.duty = 'clinician';
ALTER TABLE m.emergency ADD got jsonb;
UPDATE m.emergency SET got = (SELECT m.ask(role, format('SELECT spine.break_glass(%L, ''she bleeds'', %L)', nhs_number, organisation)));
INSERT INTO m.opening SELECT role, patient_id, organisation, 'emergency' FROM m.emergency WHERE expected;
INSERT INTO m.difference SELECT 'spine.break_glass', format('%s for %s %s got %s', role, organisation, expected, got) FROM m.emergency
	WHERE CASE WHEN NOT expected THEN got ->> 'error' IS DISTINCT FROM 'SP006' ELSE got ? 'error' END;
SELECT m.tell('spine.break_glass', count(*), count(*) FILTER (WHERE expected)) FROM m.emergency;
SELECT is((SELECT count(DISTINCT got) FROM (SELECT got FROM m.emergency WHERE NOT expected UNION SELECT got FROM m.attempt WHERE expected = '{}') g), 1::bigint, 'nor does break-glass answer otherwise');
-- some of these emergencies are over soon
UPDATE spine.relationship l SET until = now() - interval '1 second' FROM m.id i
	WHERE i.patient_id = l.patient_id AND l.kind = 'emergency' AND l.reason = 'she bleeds' AND m.chance(0.3, 'soon over', i.n::text, l.organisation);
SELECT spine.settle_audiences() \g /dev/null

SELECT m.judge() \g /dev/null
ANALYZE m.opening, grid.note, grid.secret, grid.cot, maternity.booking, maternity.mother;

-- the world has something of everything in it
CREATE TABLE m.dimension AS
	SELECT 'records of others seen by ' || r.name AS what, (SELECT count(*) FROM m.sees_under u WHERE u.role = r.name) AS n
	  FROM m.role r WHERE r.name IN ('matrix_ryj', 'matrix_rqm', 'matrix_ras', 'matrix_both', 'matrix_mixed')
	UNION ALL
	SELECT format('records of %s, %s', g.name, k.what), (
		SELECT count(*) FROM m.record x JOIN m.role r ON r.reads AND NOT EXISTS (SELECT FROM m.own o WHERE o.role = r.name AND o.owner = x.owner)
		  LEFT JOIN m.sees s ON s.role = r.name AND s.record_id = x.record_id WHERE x.data_group = g.name AND (s.role IS NOT NULL) = (k.what = 'shown'))
	  FROM m.data_group g, unnest('{shown,hidden}'::text[]) AS k (what) WHERE (g.name, k.what) <> ('kit', 'shown')
	UNION ALL
	SELECT format('%s items%s, %s', c.class, CASE WHEN c.about_mother THEN ' about the mother' END, k.what), (
		SELECT count(*) FROM (SELECT DISTINCT role, record_id, dataset, data_group FROM m.sees_under) u JOIN m.item i USING (dataset, data_group)
		  LEFT JOIN m.sees_item t ON t.role = u.role AND t.record_id = u.record_id AND t.item = i.name
		 WHERE i.class = c.class AND i.about_mother = c.about_mother AND (t.item IS NOT NULL) = (k.what = 'shown'))
	  FROM (SELECT DISTINCT class, about_mother FROM m.item) c, unnest('{shown,hidden}'::text[]) AS k (what)
	UNION ALL
	SELECT 'records seen for ' || k.how, (SELECT count(DISTINCT (u.role, u.record_id)) FROM m.sees_under u WHERE u.how = k.how) FROM unnest('{care,emergency}'::text[]) AS k (how)
	UNION ALL
	SELECT 'records seen in an emergency alone', count(*) FROM (SELECT FROM m.sees_under GROUP BY role, record_id HAVING min(how) = 'emergency') e
	UNION ALL
	SELECT 'clauses that a dissent stops', count(*)
	  FROM m.clause c JOIN spine.relationship l ON l.organisation = c.receiver AND c.body -> 'relationships' ? l.kind AND l.kind <> 'emergency' AND l.until IS NULL JOIN m.person p USING (patient_id)
	 WHERE c.purpose = 'care' AND NOT EXISTS (SELECT FROM m.holds h WHERE h.clause = c.clause AND h.receiver = c.receiver AND h.person = p.person AND h.how = 'care')
	UNION ALL
	SELECT 'clauses that hold by retention', count(*)
	  FROM m.clause c JOIN m.holds h USING (clause, sender, receiver)
	 WHERE h.how = 'care' AND NOT EXISTS (SELECT FROM spine.relationship l JOIN m.person p USING (patient_id)
			WHERE p.person = h.person AND l.organisation = c.receiver AND c.body -> 'relationships' ? l.kind AND coalesce(l.until, 'infinity') > now())
	UNION ALL
	SELECT 'relationships that are over for good', count(*) FROM spine.relationship WHERE until < now() - interval '50 days'
	UNION ALL
	SELECT 'records under another id than the one opened', count(*) FROM m.sees_under u JOIN m.record x USING (record_id) WHERE NOT EXISTS (SELECT FROM m.opening o WHERE o.role = u.role AND o.patient_id = x.patient_id)
	UNION ALL
	SELECT 'dissents against reports', count(*) FROM spine.dissent WHERE purpose <> 'care'
	UNION ALL
	SELECT 'clauses for ' || k.purpose, (SELECT count(*) FROM m.clause c WHERE c.purpose = k.purpose) FROM unnest('{care,reporting,commissioning}'::text[]) AS k (purpose);

-- ---------------------------------------------------------------- what the audiences say

CREATE TABLE m.audience (record_id uuid, audience text[]);
SELECT format('INSERT INTO m.audience SELECT record_id, audience FROM %I.%I', dataset, name) FROM m.data_group \gexec
INSERT INTO m.difference
	WITH wanted AS (
		SELECT DISTINCT r.record_id, h.receiver || ':' || h.how AS token
		  FROM m.record r JOIN m.person p USING (patient_id) JOIN m.holds h ON h.person = p.person AND h.sender = r.owner
		  JOIN m.clause c ON c.clause = h.clause AND c.sender = h.sender AND c.receiver = h.receiver AND c.dataset = r.dataset AND (c.body ->> 'groups' = 'all' OR c.body -> 'groups' ? r.data_group)
		UNION
		SELECT DISTINCT r.record_id, c.receiver || ':' || c.purpose
		  FROM m.record r JOIN m.clause c ON c.sender = r.owner AND c.purpose <> 'care' AND c.dataset = r.dataset AND (c.body ->> 'groups' = 'all' OR c.body -> 'groups' ? r.data_group)
		 WHERE NOT EXISTS (SELECT FROM m.person p JOIN m.person q USING (person) JOIN spine.dissent d ON d.patient_id = q.patient_id
							WHERE p.patient_id = r.patient_id AND d.purpose IN (c.purpose, 'secondary') AND coalesce(d.organisation, c.receiver) = c.receiver AND coalesce(d.until, 'infinity') > now())
	), found AS (
		SELECT a.record_id, t AS token FROM m.audience a, unnest(a.audience) t WHERE t !~ '/'
	)
	SELECT 'audiences', format('%s of %s, id %s: %s %s', r.data_group, r.owner, r.record_id, token, CASE WHEN f.record_id IS NULL THEN 'is missing' ELSE 'is too much' END)
	  FROM wanted w FULL JOIN found f USING (record_id, token) JOIN m.record r USING (record_id) WHERE w.record_id IS NULL OR f.record_id IS NULL;
SELECT m.tell('audiences', (SELECT count(*) * 16 FROM m.record), (SELECT count(*) FROM m.audience a, unnest(a.audience) t WHERE t !~ '/'));

-- ---------------------------------------------------------------- the views

SELECT m.walk('SELECT * FROM %1$s') \g /dev/null
SELECT m.compare('SELECT *', true);
SELECT m.walk('(SELECT * FROM %1$s ORDER BY record_id DESC LIMIT 5) UNION ALL (SELECT * FROM %1$s ORDER BY record_id DESC OFFSET 5)') \g /dev/null
SELECT m.compare('ORDER BY, LIMIT and OFFSET', true);
SELECT m.walk('SELECT i AS record_id FROM unnest(%2$L::uuid[]) i WHERE EXISTS (SELECT FROM %1$s v WHERE v.record_id = i)') \g /dev/null
SELECT m.compare('EXISTS');

-- counts, of rows and of each item
CREATE TABLE m.counted AS
	SELECT r.name AS role, g.dataset, g.name AS data_group, a AS n
	  FROM m.role r CROSS JOIN m.data_group g
	 CROSS JOIN LATERAL m.ask(r.name, format('SELECT count(*) AS "of rows", %s FROM %I.%I', (SELECT string_agg(format('count(%I) AS %1$I', i.name), ', ') FROM m.item i WHERE i.data_group = g.name), g.view_schema, g.name)) a
	 WHERE r.reads;
INSERT INTO m.difference
	SELECT 'count', format('%s counts %s %s of %s, not %s', c.role, c.n ->> i.name, i.name, c.data_group, w.n)
	  FROM m.counted c
	  JOIN (SELECT data_group, name FROM m.item UNION ALL SELECT name, 'of rows' FROM m.data_group) i USING (data_group)
	 CROSS JOIN LATERAL (
		SELECT count(*) AS n FROM m.record x JOIN m.sees s USING (record_id)
		 WHERE x.data_group = c.data_group AND s.role = c.role
		   AND (i.name = 'of rows' OR x.data ->> i.name IS NOT NULL AND EXISTS (SELECT FROM m.sees_item t WHERE t.role = s.role AND t.record_id = s.record_id AND t.item = i.name))) w
	 WHERE (c.n ->> i.name)::bigint IS DISTINCT FROM w.n;
SELECT m.tell('count', count(*), count(*) FILTER (WHERE v <> '0')) FROM m.counted, jsonb_each_text(n) AS e (k, v);

-- joins: of what may be seen with what may be seen, on items that may be seen
CREATE TABLE m.joined AS
	SELECT r.name AS role, j.one, j.other, j.item, a
	  FROM m.role r
	 CROSS JOIN (VALUES ('mother', 'maternity', 'maternity_2_0.mother', 'note', 'grid', 'grid_1_0.note', NULL), ('booking', 'maternity', 'maternity_2_0.booking', 'dating_scan', 'maternity', 'maternity_2_0.dating_scan', 'pregnancy_id'),
			('booking', 'maternity', 'maternity_2_0.booking', 'social_circumstances', 'maternity', 'maternity_2_0.social_circumstances', 'mother_local_id'),
			('note', 'grid', 'grid_1_0.note', 'secret', 'grid', 'grid_1_0.secret', 'local_number')) AS j (one, one_set, one_view, other, other_set, other_view, item)
	 CROSS JOIN LATERAL m.ask(r.name, format('SELECT a.record_id AS one, b.record_id AS other FROM %s a JOIN %s b ON a.%s = b.%3$s', j.one_view, j.other_view, coalesce(j.item, 'patient_id'))) a
	 WHERE r.reads;
CREATE TABLE m.pair AS
	SELECT r.name AS role, j.one, j.other, j.item, x.record_id AS one_id, y.record_id AS other_id,
		   a.role IS NOT NULL AND b.role IS NOT NULL
		   AND (j.item IS NULL OR EXISTS (SELECT FROM m.sees_item t WHERE t.role = r.name AND t.record_id = x.record_id AND t.item = j.item)
							  AND EXISTS (SELECT FROM m.sees_item t WHERE t.role = r.name AND t.record_id = y.record_id AND t.item = j.item)) AS wanted
	  FROM m.role r CROSS JOIN (VALUES ('mother', 'note', NULL), ('booking', 'dating_scan', 'pregnancy_id'), ('booking', 'social_circumstances', 'mother_local_id'), ('note', 'secret', 'local_number')) AS j (one, other, item)
	  JOIN m.record x ON x.data_group = j.one
	  JOIN m.record y ON y.data_group = j.other AND CASE WHEN j.item IS NULL THEN x.patient_id = y.patient_id ELSE x.data ->> j.item = y.data ->> j.item END
	  LEFT JOIN m.sees a ON a.role = r.name AND a.record_id = x.record_id
	  LEFT JOIN m.sees b ON b.role = r.name AND b.record_id = y.record_id
	 WHERE r.reads;
INSERT INTO m.difference
	SELECT 'joins', format('%s %s and %s: %s', coalesce(p.role, g.role), coalesce(p.one, g.one), coalesce(p.other, g.other), CASE WHEN g.role IS NULL THEN 'is not joined' ELSE coalesce(g.a ->> 'message', 'is joined') END)
	  FROM (SELECT * FROM m.pair WHERE wanted) p
	  FULL JOIN m.joined g ON g.role = p.role AND g.one = p.one AND g.other = p.other AND (g.a ->> 'one')::uuid = p.one_id AND (g.a ->> 'other')::uuid = p.other_id
	 WHERE p.role IS NULL OR g.role IS NULL;
SELECT m.tell('joins', count(*), count(*) FILTER (WHERE wanted)) FROM m.pair;

-- sorted by what may not be seen: it is sorted as if there were nothing
SELECT m.walk('SELECT record_id, row_number() OVER (ORDER BY worry, record_id) AS nth FROM %1$s', '{note,secret}') \g /dev/null
INSERT INTO m.difference
	SELECT 'sorted by a restricted item', format('%s %s is number %s instead of %s', g.role, g.record_id, g.data ->> 'nth', w.nth)
	  FROM (SELECT s.role, s.record_id, row_number() OVER (PARTITION BY s.role, x.data_group ORDER BY CASE WHEN t.item IS NOT NULL THEN x.data ->> 'worry' END, x.record_id) AS nth
			  FROM m.sees s JOIN m.record x USING (record_id) LEFT JOIN m.sees_item t ON t.role = s.role AND t.record_id = s.record_id AND t.item = 'worry'
			 WHERE x.data_group IN ('note', 'secret')) w
	  JOIN m.got g USING (role, record_id) WHERE (g.data ->> 'nth')::bigint <> w.nth;
SELECT m.compare('sorted by a restricted item', false, '{note,secret}');

-- ---------------------------------------------------------------- functions of the member's own

CREATE SCHEMA lab;
GRANT USAGE, CREATE ON SCHEMA lab TO PUBLIC;
CREATE TABLE lab.spied (role name DEFAULT current_user, data_group text, data jsonb);
GRANT INSERT ON lab.spied TO PUBLIC;
CREATE FUNCTION m.as(who text, statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	EXECUTE statement;
	RESET ROLE;
END
$$;
SELECT m.as(role, format('CREATE FUNCTION lab.%I() RETURNS SETOF uuid LANGUAGE sql AS %L', statement, 'SELECT record_id FROM ' || view)) FROM m.read \g /dev/null
SELECT m.walk('SELECT * FROM %1$s WHERE record_id IN (SELECT lab.%4$s_%3$s())') \g /dev/null
-- others have no such function to call
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('a function of one''s own in a subquery', true);
SELECT m.as(role, format('CREATE FUNCTION lab.lent_%s() RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER AS %L', data_group, 'BEGIN RETURN QUERY SELECT record_id FROM ' || view || '; END')) FROM m.read WHERE role = 'matrix_both' \g /dev/null
SELECT m.walk('SELECT i AS record_id FROM lab.lent_%3$s() i') \g /dev/null
SELECT m.compare('a definer function that another member lends');
SELECT m.as(role, format('CREATE FUNCTION lab.spy_%s(what text, row_seen jsonb) RETURNS boolean LANGUAGE plpgsql VOLATILE COST 0.0000001 AS %L', role,
	'BEGIN INSERT INTO lab.spied (data_group, data) VALUES (what, row_seen); RETURN true; END')) FROM m.read WHERE data_group = 'note' \g /dev/null
SELECT m.walk('SELECT record_id FROM %1$s v WHERE lab.spy_%4$s(''%3$s'', to_jsonb(v)) ORDER BY lab.spy_%4$s(''%3$s'', to_jsonb(v)), patient_id') \g /dev/null
TRUNCATE m.got;
INSERT INTO m.got SELECT DISTINCT role, data_group, (data ->> 'record_id')::uuid, data FROM lab.spied;
SELECT m.compare('what a leaky function is given', true);

-- ---------------------------------------------------------------- errors

-- whatever row or item is not to be seen is divided by: nothing is raised, and what is to be seen is seen
TRUNCATE m.got;
CREATE TABLE m.hidden AS
	SELECT r.name AS role, x.record_id, x.dataset, x.data_group, i.name AS item
	  FROM m.role r CROSS JOIN m.record x JOIN m.item i USING (dataset, data_group)
	  LEFT JOIN m.sees_item t ON t.role = r.name AND t.record_id = x.record_id AND t.item = i.name
	 WHERE r.reads AND t.role IS NULL;
INSERT INTO m.got
	SELECT d.role, d.data_group, (a ->> 'record_id')::uuid, a, a ->> 'error'
	  FROM m.read d
	 CROSS JOIN LATERAL (
		SELECT array_agg(x.record_id) AS ids FROM m.record x LEFT JOIN m.sees s ON s.role = d.role AND s.record_id = x.record_id WHERE x.data_group = d.data_group AND s.role IS NULL) h
	 CROSS JOIN LATERAL (
		SELECT string_agg(format('AND 1 / (CASE WHEN record_id = ANY (%L::uuid[]) AND %I IS NOT NULL THEN 0 ELSE 1 END) = 1', i.ids, i.item), ' ') AS conditions
		  FROM (SELECT h.item, array_agg(h.record_id) AS ids FROM m.hidden h WHERE h.role = d.role AND h.data_group = d.data_group GROUP BY h.item) i) c
	 CROSS JOIN LATERAL m.ask(d.role, format('SELECT record_id FROM %s WHERE 1 / (CASE WHEN record_id = ANY (%L::uuid[]) THEN 0 ELSE 1 END) = 1 %s', d.view, coalesce(h.ids, '{}'), coalesce(c.conditions, ''))) a;
SELECT m.compare('errors of conditions', false);
SELECT is(m.ask('matrix_both', 'SELECT record_id FROM grid_1_0.note WHERE 1 / (CASE WHEN ward IS NOT NULL THEN 0 ELSE 1 END) = 1') ->> 'error', '22012', 'where there is something to see, there is an error');

-- ---------------------------------------------------------------- whole records

-- of some persons, each by one of her numbers
TRUNCATE m.got;
CREATE TABLE m.asked AS SELECT i.nhs_number, p.person FROM m.id i JOIN m.person p USING (patient_id) WHERE i.n IN (2, 8, 18, 31, 36);
CREATE TABLE m.whole AS
	SELECT r.name AS role, i.nhs_number, t, w
	  FROM m.role r CROSS JOIN m.asked i
	 CROSS JOIN LATERAL (SELECT jsonb_agg(t) AS t FROM m.ask(r.name, format('SELECT * FROM spine.timeline(%L)', i.nhs_number)) t) t
	 CROSS JOIN LATERAL m.ask(r.name, format('SELECT spine.record(%L) AS document', i.nhs_number)) w;
INSERT INTO m.got SELECT role, l ->> 'data_group', (l ->> 'record_id')::uuid, (l -> 'data') || jsonb_build_object('event_at', l -> 'event_at'), l ->> 'error' FROM m.whole, jsonb_array_elements(t) l;
SELECT m.compare('spine.timeline', true, NULL, (SELECT array_agg(p.patient_id) FROM m.person p JOIN m.asked USING (person)));
TRUNCATE m.got;
INSERT INTO m.got
	SELECT role, NULL, (l ->> 'record_id')::uuid, (l -> 'data') || jsonb_build_object('event_at', l -> 'event_at'), NULL
	  FROM m.whole, LATERAL (SELECT jsonb_path_query(w -> 'document', '$.episodes[*].records.*[*]') UNION ALL SELECT jsonb_path_query(w -> 'document', '$.records.*[*]')) AS p (l)
	UNION ALL
	SELECT role, 'whole', NULL, w, w ->> 'error' FROM m.whole WHERE w ? 'error';
SELECT m.compare('spine.record', true, NULL, (SELECT array_agg(p.patient_id) FROM m.person p JOIN m.asked USING (person)));
SELECT is((SELECT count(*) FROM m.whole WHERE w -> 'document' = 'null' AND t IS NOT NULL), 0::bigint, 'a record is there where a timeline is');

-- ---------------------------------------------------------------- COPY, cursors, prepared statements

\o /tmp/spine_matrix_lines
SELECT format('SET ROLE %I', role), format('COPY (%s) TO STDOUT', lines) FROM m.read ORDER BY role, data_group \gexec
RESET ROLE;
\o
TRUNCATE m.got;
\copy m.line FROM '/tmp/spine_matrix_lines'
SELECT m.take_lines() \g /dev/null
SELECT m.compare('COPY TO', true);
SELECT ok(bool_and(a ->> 'error' = '42501'), 'the tables themselves are not copied') FROM m.data_group g, m.role r, m.ask(r.name, format('SELECT * FROM %I.%I', g.dataset, g.name)) a;

\o /tmp/spine_matrix_lines
SELECT 'BEGIN', format('SET LOCAL ROLE %I', role), format('DECLARE %I CURSOR WITH HOLD FOR %s', statement, lines), 'COMMIT' FROM m.read \gexec
SELECT format('SET ROLE %I', role), format('FETCH ALL FROM %I', statement) FROM m.read \gexec
RESET ROLE;
CLOSE ALL;
\o
TRUNCATE m.got;
\copy m.line FROM '/tmp/spine_matrix_lines'
SELECT m.take_lines() \g /dev/null
SELECT m.compare('cursors WITH HOLD, fetched after the commit', true);

SET plan_cache_mode = force_generic_plan;
SELECT format('SET ROLE %I', role), format('PREPARE %I AS SELECT * FROM %s', statement, view) FROM m.read \gexec
RESET ROLE;
SELECT m.walk('EXECUTE %4$s_%3$s') \g /dev/null
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('prepared statements', true);

-- ---------------------------------------------------------------- what tells of rows without showing them

CREATE TABLE m.refused AS
	SELECT q.path, r.name AS role, g.name AS data_group, a.answer
	  FROM m.role r CROSS JOIN m.data_group g
	 CROSS JOIN (VALUES ('EXPLAIN', 'EXPLAIN SELECT * FROM %1$I.%2$I'), ('EXPLAIN', 'EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM %1$I.%2$I'),
			('statistics', 'SELECT * FROM pg_stats WHERE schemaname = %3$L AND tablename = %2$L'), ('statistics', 'SELECT * FROM pg_statistic WHERE starelid = ''%3$I.%2$I''::regclass'),
			('statistics', 'SELECT stxdndistinct FROM pg_statistic_ext_data'), ('statistics', 'SELECT * FROM pg_stat_user_tables WHERE schemaname = %3$L')) AS q (path, query)
	  LEFT JOIN LATERAL m.ask(r.name, format(q.query, g.view_schema, g.name, g.dataset)) AS a (answer) ON true;
INSERT INTO m.difference SELECT path, format('%s of %s: %s', role, data_group, answer) FROM m.refused WHERE CASE path WHEN 'EXPLAIN' THEN answer ->> 'error' IS DISTINCT FROM '42501' ELSE answer ->> 'error' IS DISTINCT FROM '42501' AND answer IS NOT NULL END;
SELECT m.tell('EXPLAIN', count(*), 0) FROM m.refused WHERE path = 'EXPLAIN';
SELECT m.tell('statistics', count(*), 0) FROM m.refused WHERE path = 'statistics';

-- a key that somebody else has used is as free as any
CREATE FUNCTION m.try(who text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	SELECT string_agg(a::text, ' ') INTO answer FROM m.ask(who, query) a;
	RAISE EXCEPTION SQLSTATE 'MX001' USING MESSAGE = coalesce(answer, 'nothing');
EXCEPTION WHEN SQLSTATE 'MX001' THEN
	RETURN regexp_replace(SQLERRM, '[0-9a-f]{8}-[0-9a-f-]{27}', 'an id', 'g');
END
$$;
CREATE TABLE m.taken AS
	SELECT d.role, x.record_id, x.data_group, m.try(d.role, format('SELECT spine.submit(%L::text) - ''{submission_id,received_at,took_ms}''::text[] AS answer', jsonb_build_object('dataset', x.dataset, 'version', '1.0', 'records', jsonb_build_array(
			jsonb_build_object('group', x.data_group, 'nhs_number', i.nhs_number, 'data', jsonb_strip_nulls((SELECT jsonb_object_agg(m.name, x.data -> m.name) FROM m.item m WHERE m.data_group = x.data_group))))))) AS answer
	  FROM (SELECT 'matrix_rqm_system' AS role, 'RQM' AS owner UNION ALL SELECT 'matrix_ras_system', 'RAS') d
	  JOIN m.record x ON x.owner <> d.owner AND x.data_group IN ('note', 'secret') JOIN m.id i USING (patient_id)
	 WHERE NOT EXISTS (SELECT FROM m.record y WHERE y.owner = d.owner AND y.data_group = x.data_group AND y.local_record_id = x.local_record_id);
INSERT INTO m.difference SELECT 'keys that others have used', format('%s %s of %s: %s', role, data_group, record_id, answer) FROM m.taken
	WHERE answer <> (SELECT min(answer) FROM m.taken t WHERE t.answer !~ 'error');
SELECT m.tell('keys that others have used', count(*), 0) FROM m.taken;

-- ---------------------------------------------------------------- it would be noticed

BEGIN;
SET LOCAL session_replication_role = replica;
SELECT format('UPDATE %I.%I SET audience = %L', dataset, name, '{RYJ:care,RYJ:care/acir,RQM:care,RQM:care/acir,RAS:care,RAS:care/acir,R1K:care,R1K:care/acir}') FROM m.data_group \gexec
SELECT m.walk('SELECT * FROM %1$s') \g /dev/null
SELECT m.weigh('wider audiences', true) \g /dev/null
SELECT cmp_ok((SELECT count(*) FROM m.difference WHERE path = 'wider audiences' AND what ~ ' is shown'), '>', 50::bigint, 'audiences that are written behind spine''s back are noticed');
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM spine.dissent;
SELECT m.judge() \g /dev/null
SELECT m.walk('SELECT * FROM %1$s') \g /dev/null
SELECT m.weigh('no dissent', true) \g /dev/null
SELECT cmp_ok((SELECT count(*) FROM m.difference WHERE path = 'no dissent' AND what ~ ' is not shown'), '>', 0::bigint, 'dissents that the oracle does not know of are noticed');
ROLLBACK;

-- ---------------------------------------------------------------- an agreement ends while cursors are open

BEGIN;
SELECT format('SET LOCAL ROLE %I', role), format('DECLARE %I CURSOR FOR %s', statement, lines) FROM m.read \gexec
RESET ROLE;
\o /tmp/spine_matrix_lines
SELECT format('SET LOCAL ROLE %I', role), format('FETCH 1 FROM %I', statement) FROM m.read \gexec
RESET ROLE;
\o
CREATE TABLE m.first_row AS SELECT * FROM m.got LIMIT 0;
TRUNCATE m.got;
\copy m.line FROM '/tmp/spine_matrix_lines'
SELECT m.take_lines() \g /dev/null
INSERT INTO m.first_row SELECT * FROM m.got;
SELECT m.as('matrix_governor', format('SELECT spine.end_agreement(%L, %s, ''over'')', name, version)) FROM m.agreement WHERE name IN ('net-1', 'replaced') AND NOT superseded \g /dev/null
UPDATE m.agreement SET steps = steps || '{ended}' WHERE name IN ('net-1', 'replaced') AND NOT superseded;
CREATE TABLE m.sees_before AS SELECT * FROM m.sees;
SELECT m.judge() \g /dev/null
\o /tmp/spine_matrix_lines
SELECT format('SET LOCAL ROLE %I', role), format('FETCH ALL FROM %I', statement) FROM m.read \gexec
RESET ROLE;
\o
TRUNCATE m.got;
\copy m.line FROM '/tmp/spine_matrix_lines'
SELECT m.take_lines() \g /dev/null
INSERT INTO m.got SELECT f.* FROM m.first_row f JOIN m.sees s USING (role, record_id);
COMMIT;
SELECT m.compare('cursors while an agreement ends');
SELECT cmp_ok((SELECT count(*) FROM m.sees_before LEFT JOIN m.sees s USING (role, record_id) WHERE s.role IS NULL), '>', 5::bigint, 'which takes something away');
SELECT m.walk('EXECUTE %4$s_%3$s') \g /dev/null
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('prepared statements after the end', true);

-- ---------------------------------------------------------------- agreements, relationships, dissents change

SELECT m.as('matrix_governor', 'SELECT spine.publish_agreement(''only-signed'', 1)') \g /dev/null
UPDATE m.agreement SET steps = steps || '{published}' WHERE name = 'only-signed';
UPDATE spine.relationship l SET until = now() - interval '20 days' FROM m.id i WHERE i.patient_id = l.patient_id AND m.chance(0.2, 'ends later', i.n::text, l.organisation, l.kind);
UPDATE spine.dissent d SET until = now() FROM m.id i WHERE i.patient_id = d.patient_id AND m.chance(0.5, 'withdrawn later', i.n::text, d.purpose);
INSERT INTO spine.dissent (dissent_id, patient_id, purpose, organisation, owner, recorded_by, audience)
	SELECT gen_random_uuid(), i.patient_id, 'care', o.code, 'RYJ', 'x', NULL FROM m.id i, m.organisation o WHERE m.chance(0.08, 'dissents later', i.n::text, o.code)
	ON CONFLICT DO NOTHING;
SELECT m.judge() \g /dev/null
SELECT m.walk('EXECUTE %4$s_%3$s') \g /dev/null
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('prepared statements after other changes', true);

-- ---------------------------------------------------------------- memberships end

SELECT spine.remove_member('matrix_both', 'RQM', 'clinician'), spine.remove_member('matrix_mixed', 'RQM', 'analyst'), spine.add_member('matrix_ras', 'R1K', 'analyst') \g /dev/null
DELETE FROM m.duty WHERE (role, organisation) IN (('matrix_both', 'RQM'), ('matrix_mixed', 'RQM'));
INSERT INTO m.duty VALUES ('matrix_ras', 'R1K', 'analyst');
SELECT m.judge() \g /dev/null
SELECT m.walk('EXECUTE %4$s_%3$s') \g /dev/null
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('prepared statements after memberships have ended', true);

-- ---------------------------------------------------------------- nothing open, or no longer

-- as a function of spine's would open: for whomever, for an organisation that is not his, until when
CREATE FUNCTION lab.open(patients uuid[], organisation text, purpose text, until timestamptz) RETURNS timestamptz LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ SELECT spine.opening_add(patients, organisation, purpose, false, until) $$;
SELECT m.ask(name, 'SELECT spine.close_records()') FROM m.role WHERE member \g /dev/null
TRUNCATE m.opening;
SELECT m.judge() \g /dev/null
SELECT m.ask(r.name, format('SELECT lab.open(%L, %L, %L, %L)', i.ids, o.code, p.purpose, now() - interval '1 second'))
  FROM m.role r, m.organisation o, unnest('{care,emergency}'::text[]) AS p (purpose), (SELECT array_agg(patient_id) AS ids FROM m.id) i \g /dev/null
SELECT m.walk('EXECUTE %4$s_%3$s') \g /dev/null
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('openings that are over', true);
SELECT m.ask(r.name, format('SELECT lab.open(%L, %L, %L, %L)', i.ids, o.code, p.purpose, now() + interval '1 hour'))
  FROM m.role r, m.organisation o, unnest('{care,emergency,reporting}'::text[]) AS p (purpose), (SELECT array_agg(patient_id) AS ids FROM m.id) i
 WHERE NOT EXISTS (SELECT FROM m.duty d WHERE d.role = r.name AND d.organisation = o.code AND d.duty = 'clinician') \g /dev/null
SELECT m.walk('EXECUTE %4$s_%3$s') \g /dev/null
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('openings for organisations of which one is no clinician', true);
SELECT m.ask(d.role, format('SELECT lab.open(%L, %L, ''care'', %L)', i.ids, d.organisation, now() + interval '1 hour')) FROM m.duty d, (SELECT array_agg(patient_id) AS ids FROM m.id) i WHERE d.duty = 'clinician' \g /dev/null
INSERT INTO m.opening SELECT d.role, i.patient_id, d.organisation, 'care' FROM m.duty d, m.id i WHERE d.duty = 'clinician';
SELECT m.judge() \g /dev/null
SELECT m.walk('EXECUTE %4$s_%3$s') \g /dev/null
DELETE FROM m.got g USING m.role r WHERE r.name = g.role AND NOT r.reads;
SELECT m.compare('everybody opened', true);
RESET ALL;
TRUNCATE m.opening;
SELECT m.judge() \g /dev/null
SELECT m.walk('SELECT * FROM %1$s') \g /dev/null
SELECT m.compare('RESET ALL', true);
DEALLOCATE ALL;

-- ---------------------------------------------------------------- functions that take a number

CREATE TABLE m.call (name text, call text);
INSERT INTO m.call VALUES ('open_record', 'spine.open_record(%L, ''care'', ''because'')'), ('open_record', 'spine.open_record(%L, ''care'', ''because'', true)'), ('record', 'spine.record(%L)'),
	('timeline', '* FROM spine.timeline(%L)'), ('break_glass', 'spine.break_glass(%L, ''she bleeds'')'), ('refer', 'spine.refer(%L, ''R1K'', ''because'')'),
	('transfer', 'spine.transfer(%L, ''R1K'', ''because'')'), ('claim', 'spine.claim(%L, ''because'')'), ('record_dissent', 'spine.record_dissent(%L, ''care'')'), ('patient_accesses', '* FROM spine.patient_accesses(%L)');
SELECT set_eq('SELECT DISTINCT name FROM m.call', $$ SELECT DISTINCT p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	WHERE n.nspname = 'spine' AND 'spine.nhs_number'::regtype = ANY (p.proargtypes) AND p.provolatile <> 'i'
	  AND EXISTS (SELECT FROM unnest('{spine_member,spine_supplier,spine_portal,spine_governor}'::text[]) r WHERE has_function_privilege(r, p.oid, 'EXECUTE')) $$,
	'these are the functions that tell something of a number');
-- whom others know and one may not see, against a number that nobody knows; governors and the portal are told by whom anybody's records were opened
SELECT m.nhs_number(100) AS nobody \gset
CREATE TABLE m.answered AS
	SELECT r.name AS role, c.name, c.call, i.n,
		   regexp_replace(m.try(r.name, 'SELECT ' || format(c.call, i.nhs_number)), '\d{4}-\d\d-\d\dT[0-9:.+]*', 'a time', 'g') AS known,
		   regexp_replace(m.try(r.name, 'SELECT ' || format(c.call, :'nobody')), '\d{4}-\d\d-\d\dT[0-9:.+]*', 'a time', 'g') AS unknown
	  FROM m.role r CROSS JOIN m.id i CROSS JOIN m.call c
	 WHERE m.may_open(r.name, i.nhs_number) = '{}' AND NOT (c.name = 'patient_accesses' AND r.name IN ('matrix_governor', 'matrix_portal')) AND m.chance(0.3, 'asked by number', r.name, i.n::text)
	   AND EXISTS (SELECT FROM m.record x JOIN m.person p USING (patient_id) JOIN m.person q USING (person) WHERE q.patient_id = i.patient_id)
	   AND NOT EXISTS (SELECT FROM m.record x JOIN m.own o ON o.role = r.name AND o.owner = x.owner JOIN m.person p USING (patient_id) JOIN m.person q USING (person) WHERE q.patient_id = i.patient_id);
INSERT INTO m.difference SELECT 'whether there is such a person', format('%s %s: %s, otherwise %s', role, call, known, unknown) FROM m.answered WHERE known <> unknown;
SELECT m.tell('whether there is such a person', count(*), 0) FROM m.answered;

-- without a number, a purpose, a reason
CREATE TABLE m.nothing AS
	SELECT r.name AS role, c.call, m.try(r.name, 'SELECT ' || c.call) AS answer
	  FROM m.role r
	 CROSS JOIN (SELECT format(call, n) FROM m.call, unnest('{NULL,"",9990000019}'::text[]) AS n
				 UNION ALL
				 SELECT format(c, i.nhs_number)
				   FROM m.id i, unnest(ARRAY['spine.open_record(%L, NULL, ''x'')', 'spine.open_record(%L, '''', ''x'')', 'spine.open_record(%L, ''reporting'', ''x'')',
						'spine.open_record(%L, ''emergency'', ''x'')', 'spine.open_record(%L, ''care'', NULL)', 'spine.open_record(%L, ''care'', E'' \n'')', 'spine.open_record(%L)',
						'spine.break_glass(%L, NULL)', 'spine.break_glass(%L, '' '')', 'spine.refer(%L, NULL, ''x'')', 'spine.refer(%L, '''', ''x'')', 'spine.refer(%L, ''R1K'', NULL)',
						'spine.claim(%L, NULL)', 'spine.transfer(%L, ''R1K'', '''')', 'spine.record_dissent(%L, NULL)', 'spine.record_dissent(%L, '''')']) AS c
				  WHERE i.n = 1) AS c (call);
INSERT INTO m.difference SELECT 'missing and empty arguments', format('%s %s: %s', role, call, answer) FROM m.nothing WHERE answer !~ '"error"' AND answer <> 'nothing' AND answer !~ '^{"[a-z_]+": null}$';
SELECT m.tell('missing and empty arguments', count(*), 0) FROM m.nothing;

-- ---------------------------------------------------------------- what was compared

SELECT cmp_ok(sum(cells), '>=', 5000::numeric, 'at least 5,000 cells were compared') FROM m.tally;
SELECT cmp_ok(min(seen), '>', 100::bigint, 'much was to be seen on each path that shows rows') FROM m.tally WHERE path !~ 'spine.open|break_glass|EXPLAIN|statistics|keys|such a person|missing';
SELECT cmp_ok(min(unseen), '>', 100::bigint, 'and much was not') FROM m.tally WHERE path !~ 'spine.open|break_glass|keys';
SELECT is_empty('SELECT what FROM m.dimension WHERE n = 0', 'the world has something of everything');
SELECT diag(format('%s cells, %s differences', (SELECT sum(cells) FROM m.tally), (SELECT count(*) FROM m.difference))) \g /dev/stderr

SELECT * FROM finish();
\! rm -f /tmp/spine_matrix_lines
REVOKE spine_member, spine_supplier FROM matrix_stranger;
SELECT drop_roles(VARIADIC ARRAY(SELECT name FROM m.role) || ARRAY['matrix_ryj_system', 'matrix_r1k_system', 'matrix_ras_system', 'matrix_ryj01_system']) \g /dev/null
