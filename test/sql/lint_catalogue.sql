-- The rules of the catalogue, over the extension, a store and the maternity data set.
-- What was granted to whom is compared with lint_catalogue.grants; what spine_owner executes, and what only an
-- owner has, is left out.
\ir setup.psql
SELECT plan(31);

-- what is ours: the schema spine and those of the data set; in it what is not the test's
CREATE TEMPORARY VIEW our_schema AS
	SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n
	 WHERE n.nspname = 'spine' OR n.nspname ~ '^maternity(_|$)';
CREATE TEMPORARY VIEW our_relation AS
	SELECT c.*, s.nspname, pg_catalog.format('%I.%I', s.nspname, c.relname) AS name
	  FROM pg_catalog.pg_class c JOIN our_schema s ON s.oid = c.relnamespace
	 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f');
CREATE TEMPORARY VIEW our_function AS
	SELECT p.*, pg_catalog.format('%I.%I(%s)', s.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS name
	  FROM pg_catalog.pg_proc p JOIN our_schema s ON s.oid = p.pronamespace;
-- functions that serve a type, an operator, an operator class or a cast
CREATE TEMPORARY VIEW type_function AS
	SELECT f AS oid FROM pg_catalog.pg_type t
	 CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout]::oid[]) AS f
	UNION SELECT o.oprcode FROM pg_catalog.pg_operator o
	UNION SELECT a.amproc FROM pg_catalog.pg_amproc a
	UNION SELECT c.castfunc FROM pg_catalog.pg_cast c
	UNION SELECT g.aggtransfn FROM pg_catalog.pg_aggregate g;

-- there is something to look at
SELECT cmp_ok((SELECT pg_catalog.count(*) FROM our_function), '>', 50::bigint, 'functions are looked at');
SELECT cmp_ok((SELECT pg_catalog.count(*) FROM our_relation), '>', 80::bigint, 'and tables and views');

-- functions

SELECT is_empty($$
	SELECT name, proconfig FROM our_function
	 WHERE prosecdef AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
$$, 'every security-definer function pins search_path to pg_catalog, pg_temp');
SELECT is_empty($$ SELECT name, proowner::regrole FROM our_function WHERE prosecdef AND proowner <> 'spine_owner'::regrole $$,
	'and runs as spine_owner, never as a superuser');
SELECT is_empty($$ SELECT name FROM our_function WHERE prosecdef AND pg_catalog.has_function_privilege('public', oid, 'EXECUTE') $$,
	'and none of them is PUBLIC''s');
SELECT is_empty($$
	SELECT name FROM our_function f
	 WHERE pg_catalog.has_function_privilege('public', f.oid, 'EXECUTE')
	   AND f.oid NOT IN (SELECT oid FROM type_function)
	   AND NOT (f.provolatile = 'i' AND NOT f.prosecdef)
	   AND f.name <> 'spine.uuid_v7()'
$$, 'PUBLIC may execute what serves a type, and what only computes from its arguments');
SELECT is_empty($$
	SELECT f.name FROM our_function f JOIN pg_catalog.pg_language l ON l.oid = f.prolang
	 WHERE l.lanname NOT IN ('c', 'sql', 'plpgsql', 'internal')
$$, 'no language but C, SQL and PL/pgSQL');
SELECT is_empty($$
	SELECT f.name FROM our_function f JOIN pg_catalog.pg_language l ON l.oid = f.prolang
	 WHERE f.proleakproof AND l.lanname NOT IN ('c', 'internal')
$$, 'leakproof are functions of C alone');
SELECT is_empty($$
	SELECT f.name FROM our_function f
	  JOIN pg_catalog.pg_language l ON l.oid = f.prolang
	  LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
	 WHERE d.objid IS NULL
$$, 'every function is the extension''s: a store and a data set bring data, not code');

-- row-level security

CREATE TEMPORARY TABLE without_policy (name text PRIMARY KEY, reason text NOT NULL);
INSERT INTO without_policy VALUES
	('spine.store', 'this node''s own name and version'),
	('spine.organisation', 'published by the NHS; read through a view'),
	('spine.node_organisation', 'known to every member of the network; read through a view'),
	('spine.dataset', 'published; read through the catalogue views'),
	('spine.node', 'neighbours; read through a view without conninfo and role'),
	('spine.link', 'state of the links: no patients, no records'),
	('spine.link_received', 'state of the links: no patients, no records'),
	('spine.node_key', 'public keys of neighbours'),
	('spine.receipt', 'counts and digests of what was compared and proven: no patients, no records'),
	('spine.link_comparison', 'state of the comparisons: no patients, no records'),
	('spine.link_compared', 'state of the comparisons: the last answer, with ids and digests of rows'),
	('spine.incident', 'what went wrong on the links, for operators and governors: no patients, no records');
-- views of spine_owner over tables that have policies: each counts or lists nothing about a person
CREATE TEMPORARY TABLE view_past_policies (name text PRIMARY KEY, reason text NOT NULL);
INSERT INTO view_past_policies VALUES
	('spine.links', 'counts what is to be sent and what was set aside');
SELECT is_empty($$
	SELECT r.name FROM our_relation r
	 WHERE r.relkind IN ('r', 'p') AND NOT r.relispartition AND NOT (r.relrowsecurity AND r.relforcerowsecurity)
	   AND r.name NOT IN (SELECT w.name FROM without_policy w)
$$, 'row-level security is enabled and forced on every table but those that are listed with a reason');
SELECT is_empty($$
	SELECT w.name FROM without_policy w LEFT JOIN our_relation r ON r.name = w.name AND NOT r.relforcerowsecurity
	 WHERE r.name IS NULL
$$, 'and the list names none that is not there or needs no exception');
SELECT is_empty($$
	SELECT r.name, a.grantee::regrole, a.privilege_type
	  FROM our_relation r, pg_catalog.aclexplode(r.relacl) a
	 WHERE r.relkind IN ('r', 'p', 'm', 'S', 'f') AND NOT r.relforcerowsecurity
	   AND a.grantee <> r.relowner
	   AND (a.grantee = 0 OR a.privilege_type <> 'SELECT' OR r.name NOT IN (SELECT w.name FROM without_policy w))
$$, 'where there is no policy, nobody writes');
SELECT is_empty($$
	SELECT r.name, a.grantee::regrole FROM our_relation r, pg_catalog.aclexplode(r.relacl) a
	 WHERE r.relispartition AND a.grantee <> r.relowner
$$, 'nobody reads a partition directly, past its parent''s policies (attack 22)');
SELECT is_empty($$
	SELECT r.name, a.grantee, a.privilege_type FROM our_relation r, pg_catalog.aclexplode(r.relacl) a
	 WHERE r.relkind IN ('r', 'p') AND r.nspname = 'maternity' AND a.grantee <> r.relowner
	   AND (a.grantee, a.privilege_type) IS DISTINCT FROM ('spine_reader'::regrole::oid, 'SELECT'::text)
$$, 'nobody but spine_reader reads a group table, and nobody writes one');
SELECT is_empty($$
	SELECT r.name FROM our_relation r JOIN pg_catalog.pg_attribute k ON k.attrelid = r.oid AND k.attname = 'audience'
	 WHERE r.nspname = 'maternity' AND r.relkind = 'r'
	   AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_policy p WHERE p.polrelid = r.oid) <> 1
$$, 'a group table has the one policy');

-- owners

SELECT is_empty($$
	SELECT name, relowner::regrole FROM our_relation
	 WHERE relkind <> 'v' AND relowner <> 'spine_owner'::regrole
$$, 'tables and sequences belong to spine_owner');
SELECT is_empty($$
	SELECT name, relowner::regrole FROM our_relation
	 WHERE relkind = 'v' AND nspname <> 'spine' AND relowner <> 'spine_reader'::regrole
$$, 'the views of a data set belong to spine_reader, so that policies hold through them');
SELECT is_empty($$
	SELECT v.name, t.relname
	  FROM our_relation v
	  JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid
	  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
	  JOIN our_relation t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p') AND t.relforcerowsecurity
	 WHERE v.relkind = 'v' AND v.relowner <> 'spine_reader'::regrole
	   AND NOT coalesce(v.reloptions @> ARRAY['security_invoker=true'], false)
	   AND v.name NOT IN (SELECT name FROM view_past_policies)
$$, 'no view of an owner that bypasses policies looks at a table that has them (attack 19)');
SELECT is_empty($$ SELECT name FROM our_relation WHERE relkind = 'f' $$, 'no foreign table (attack 34)');
-- it has no policies: what may be read of it a view with a guard says
SELECT is_empty($$
	SELECT r.name, a.grantee::regrole FROM our_relation r, pg_catalog.aclexplode(r.relacl) a
	 WHERE r.relkind = 'm' AND a.grantee <> r.relowner AND a.grantee <> 'spine_reader'::regrole
$$, 'a materialized view is read by spine_reader alone (attack 21)');
SELECT is_empty($$
	SELECT v.name, m.name AS materialized FROM our_relation v
	  JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid
	  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
	  JOIN our_relation m ON m.oid = d.refobjid AND m.relkind = 'm'
	 WHERE v.relkind = 'v' AND NOT EXISTS (
		SELECT FROM pg_catalog.pg_depend g JOIN our_function f ON f.oid = g.refobjid AND g.refclassid = 'pg_proc'::regclass
		 WHERE g.classid = 'pg_rewrite'::regclass AND g.objid = w.oid
		   AND f.proname IN ('visible', 'caller_may_see', 'caller_organisations', 'my_organisations'))
$$, 'and a view over one asks who reads (attack 21)');

-- what tells of a hidden row by an error, or by a number

SELECT is_empty($$
	SELECT r.name, k.conname FROM our_relation r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'x'
$$, 'no exclusion constraint (attack 17)');
SELECT is_empty($$
	SELECT k.conrelid::regclass, k.conname, p.name FROM pg_catalog.pg_constraint k JOIN our_relation p ON p.oid = k.confrelid
	 WHERE k.contype = 'f' AND p.name NOT IN (SELECT name FROM without_policy)
$$, 'no foreign key to a table that hides rows (attack 7)');
SELECT is_empty($$
	SELECT r.name, a.grantee FROM our_relation r, pg_catalog.aclexplode(r.relacl) a WHERE r.relkind = 'S' AND a.grantee <> r.relowner
$$, 'no sequence is anybody''s to read (attack 12)');
SELECT is_empty($$
	SELECT f.name, a.grantee FROM our_function f, pg_catalog.aclexplode(coalesce(f.proacl, pg_catalog.acldefault('f', f.proowner))) a
	 WHERE f.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype)
	   AND a.grantee NOT IN (f.proowner, 'spine_owner'::regrole)
$$, 'no trigger function is anybody''s to attach (attack 28)');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
	 WHERE p.pronamespace = 'pg_catalog'::regnamespace
	   AND (p.proname IN ('pg_logical_emit_message', 'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_export')
			OR p.proname ~ '^pg_stat_get_' AND p.proargtypes = '26'::oidvector)
	   AND pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
$$, 'counters, messages in the WAL and large objects are not PUBLIC''s (attacks 12, 32, 50)');
SELECT ok(NOT pg_catalog.has_schema_privilege('public', 'public', 'CREATE'), 'nor is CREATE in schema public (attack 27)');

-- comments

SELECT is_empty($$
	SELECT name FROM our_relation
	 WHERE relkind IN ('r', 'p', 'v') AND NOT relispartition
	   AND pg_catalog.obj_description(oid, 'pg_class') IS NULL
$$, 'every table and view has a comment');
SELECT is_empty($$
	SELECT name FROM our_function f
	 WHERE pg_catalog.obj_description(oid, 'pg_proc') IS NULL AND oid NOT IN (SELECT t.oid FROM type_function t)
$$, 'every function has one, but for those that serve a type');
SELECT is_empty($$
	SELECT t.typname FROM pg_catalog.pg_type t JOIN our_schema s ON s.oid = t.typnamespace
	 WHERE t.typrelid = 0 AND t.typelem = 0 AND pg_catalog.obj_description(t.oid, 'pg_type') IS NULL
$$, 'and every type');

-- grants: kind, object, privileges, roles; the tables and the views of a data set as one each

CREATE TEMPORARY VIEW granted AS
	WITH entry AS (
		SELECT 'schema' AS kind, n.nspname::text AS object, n.nspowner AS owner, a.grantee, a.privilege_type AS privilege
		  FROM our_schema s JOIN pg_catalog.pg_namespace n ON n.oid = s.oid, pg_catalog.aclexplode(n.nspacl) a
		UNION ALL
		SELECT CASE r.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END,
			   CASE r.nspname WHEN 'spine' THEN r.name ELSE r.nspname || '.*' END,
			   r.relowner, a.grantee, a.privilege_type
		  FROM our_relation r, pg_catalog.aclexplode(r.relacl) a
		UNION ALL
		SELECT 'function', f.oid::regprocedure::text, f.proowner, a.grantee, a.privilege_type
		  FROM our_function f, pg_catalog.aclexplode(f.proacl) a
		 WHERE a.grantee = 0 OR a.grantee::regrole::text <> 'spine_owner'
	), role_entry AS (
		SELECT e.kind, e.object, r.role, pg_catalog.string_agg(DISTINCT e.privilege, ',' ORDER BY e.privilege) AS privileges
		  FROM entry e
		 CROSS JOIN LATERAL (SELECT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END AS role) AS r
		 WHERE e.grantee <> e.owner
		 GROUP BY e.kind, e.object, r.role
	)
	SELECT pg_catalog.format('%s %s %s: %s', kind, object, privileges, pg_catalog.string_agg(role, ', ' ORDER BY role)) AS line
	  FROM role_entry
	 GROUP BY kind, object, privileges;
CREATE TEMPORARY TABLE wanted (line text);
\copy wanted FROM 'sql/lint_catalogue.grants'
SELECT set_eq('SELECT line FROM granted', 'SELECT line FROM wanted', 'the grants are exactly those of lint_catalogue.grants');

SELECT * FROM finish();
