-- The visibility matrix: a generated world of roles, duties, agreements, relationships, dissents, emergencies and openings, an oracle
-- that knows from the definition alone who may see what, and every path on which a member might see more or less.
--   psql -v seed=ANYTHING: another world
\ir setup.psql
\ir as_role.psql
\if :{?seed}
\else
\set seed 4
\endif
SELECT plan(60);
\ir matrix_world.psql
\ir matrix_oracle.psql
\ir matrix_paths.psql
SELECT diag('seed ' || :'seed') \g /dev/stderr

SELECT is_empty('SELECT a.name, a.version, f.* FROM m.agreement a, spine.agreement_faults(a.document) f', 'the agreements that were made up have no fault');
-- ---------------------------------------------------------------- opening

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
ANALYZE;

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
SELECT diag(role || ' ' || count(*)) FROM m.sees GROUP BY role;
SELECT diag(what) FROM (SELECT what FROM m.difference LIMIT 60) x;
SELECT * FROM finish();
