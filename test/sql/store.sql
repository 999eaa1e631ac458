-- The extension is code, the store is data.
SELECT plan(26);

-- the extension alone

SELECT is_empty($$
	SELECT c.oid::regclass FROM pg_catalog.pg_class c
	 WHERE c.relnamespace = 'spine'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'S', 'f')
$$, 'the extension brings no table, view or sequence');

SELECT set_eq($$ SELECT rolname FROM pg_catalog.pg_roles WHERE rolname ~ '^spine_' AND rolname !~ '^spine_test' $$,
	ARRAY['spine_owner', 'spine_reader', 'spine_member', 'spine_supplier', 'spine_governor', 'spine_operator',
		  'spine_portal', 'spine_neighbour']::name[],
	'it brings the group roles');
SELECT is_empty($$
	SELECT rolname FROM pg_catalog.pg_roles
	 WHERE rolname ~ '^spine_' AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication)
$$, 'none of which can log in or has an attribute of power');
SELECT results_eq($$ SELECT rolname FROM pg_catalog.pg_roles WHERE rolname ~ '^spine_' AND rolbypassrls $$,
	ARRAY['spine_owner']::name[], 'and the owner alone passes by row-level security');

-- who may not make a store, and with what

CREATE ROLE store_stranger;
SET ROLE store_stranger;
SELECT throws_ok($$ SELECT spine.create_store('RYJ') $$, '42501', NULL, 'a stranger cannot make a store');
RESET ROLE;
GRANT USAGE ON SCHEMA spine TO store_stranger;
GRANT EXECUTE ON FUNCTION spine.create_store(text, text) TO store_stranger;
SET ROLE store_stranger;
SELECT throws_ok($$ SELECT spine.create_store('RYJ') $$, '42501', 'only a superuser may create the store',
	'not even one who was granted the function');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION spine.create_store(text, text) FROM store_stranger;

SELECT throws_ok($$ SELECT spine.create_store('not a code') $$, '22P02', NULL, 'a text that is no ODS code makes no store');
SELECT throws_ok($$ SELECT spine.create_store(NULL) $$, NULL, NULL, 'nor does none at all');
SELECT hasnt_table('spine', 'store', 'and a refusal leaves nothing behind');
SELECT is(CURRENT_USER::text, SESSION_USER::text, 'nor a changed role');

-- the store

SELECT isnt(spine.create_store('RYJ', 'imperial'), NULL, 'a superuser makes the store');
SELECT is(CURRENT_USER::text, SESSION_USER::text, 'and is who he was afterwards');
SELECT results_eq($$ SELECT s.node, s.spine_version FROM spine.store s $$,
	$$ SELECT 'imperial'::text, e.extversion COLLATE "default" FROM pg_catalog.pg_extension e WHERE e.extname = 'spine' $$,
	'it knows its node and its version');
SELECT results_eq($$ SELECT n.name, n.is_self, h.organisation FROM spine.node n JOIN spine.node_organisation h ON h.node = n.name $$,
	$$ VALUES ('imperial'::text, true, 'RYJ'::text) $$, 'the node hosts its first organisation');
SELECT throws_ok($$ INSERT INTO spine.store SELECT spine.uuid_v7(), 'second', '1' $$, '23505', NULL,
	'a second row of the store is refused');
SELECT throws_ok($$ SELECT spine.create_store('RQM') $$, '42710', 'this database has a store already',
	'a second store is refused');
SELECT throws_ok($$ SELECT spine.create_store('RYJ', 'imperial') $$, '42710', NULL, 'and so is the same once more');
SELECT is(pg_catalog.count(*), 1::bigint, 'the first is as it was') FROM spine.store;

SELECT is_empty($$
	SELECT c.oid::regclass FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend d
		ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	 WHERE c.relnamespace = 'spine'::regnamespace
$$, 'nothing of the store is a member of the extension, so a plain dump holds all of it');
SELECT is_empty($$
	SELECT c.oid::regclass, c.relowner::regrole FROM pg_catalog.pg_class c
	 WHERE c.relnamespace = 'spine'::regnamespace AND c.relkind IN ('r', 'p', 'S', 'm')
	   AND c.relowner <> 'spine_owner'::regrole
$$, 'all its tables belong to spine_owner');
SELECT is_empty($$
	SELECT c.oid::regclass, c.relowner::regrole FROM pg_catalog.pg_class c
	 WHERE c.relnamespace = 'spine'::regnamespace AND c.relkind = 'v'
	   AND c.relowner NOT IN ('spine_owner'::regrole, 'spine_reader'::regrole)
$$, 'and its views to spine_owner or spine_reader');

SET ROLE store_stranger;
SELECT throws_ok($$ SELECT * FROM spine.store $$, '42501', NULL, 'a stranger does not read the store');
SELECT throws_ok($$ SELECT spine.patient_id('9434765919') $$, '42501', NULL,
	'nor learns a patient''s id from a number');
SELECT throws_ok($$ SELECT spine.store_script() $$, '42501', NULL, 'nor reads the script');
RESET ROLE;

-- the extension cannot take records away

SELECT throws_ok('DROP EXTENSION spine', '2BP01', NULL, 'the extension cannot be dropped under a store');
SELECT throws_ok('DROP ROLE spine_owner', '2BP01', NULL, 'nor the owner of it all');

SELECT * FROM finish();
REVOKE USAGE ON SCHEMA spine FROM store_stranger;
DROP ROLE store_stranger;
