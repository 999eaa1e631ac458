CREATE FUNCTION spine.store_script() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $script$ SELECT
@STORE_SCRIPT@
$script$;
REVOKE EXECUTE ON FUNCTION spine.store_script() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.store_script() TO spine_owner;
COMMENT ON FUNCTION spine.store_script() IS 'The script that spine.create_store runs.';

-- What PUBLIC has by PostgreSQL's default and a node does not bear. These are ordinary grants, which a dump of the database keeps.

CREATE FUNCTION spine.revoke_public_rights() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $revoke$
DECLARE
	f regprocedure;
BEGIN
	IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) THEN
		RAISE EXCEPTION 'only a superuser may revoke what PUBLIC has'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	-- counters of a table, an index, a function, a database: they count the rows that a policy hides as well
	FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p
			  WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^pg_stat_get_'
				AND (p.proargtypes = '26'::oidvector OR p.proname IN ('pg_stat_get_io', 'pg_stat_get_backend_io'))
	LOOP
		EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO pg_read_all_stats', f);
	END LOOP;
	-- messages in the WAL, which a consumer of changes could take for ours; and large objects, which have no policies
	FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p
			  WHERE p.pronamespace = 'pg_catalog'::regnamespace
				AND p.proname IN ('pg_logical_emit_message', 'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_export')
	LOOP
		EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
	END LOOP;
	IF pg_catalog.to_regnamespace('public') IS NOT NULL THEN
		REVOKE CREATE ON SCHEMA public FROM PUBLIC;
	END IF;
END
$revoke$;
REVOKE EXECUTE ON FUNCTION spine.revoke_public_rights() FROM PUBLIC;
COMMENT ON FUNCTION spine.revoke_public_rights() IS
	'Takes from PUBLIC what PostgreSQL gives it and a node does not bear: the counters pg_stat_get_... of tables, functions and databases (pg_read_all_stats keeps them), pg_logical_emit_message, making large objects, CREATE in schema public. create_store does it; to be called again after an upgrade to another major version, which may bring new ones. Superuser only.';

CREATE FUNCTION spine.create_store(organisation text, node text DEFAULT NULL) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $create$
DECLARE
	the_store uuid := spine.uuid_v7();
	own_code text := organisation::spine.ods_code::text;
BEGIN
	IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) THEN
		RAISE EXCEPTION 'only a superuser may create the store'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF pg_catalog.to_regclass('spine.store') IS NOT NULL THEN
		RAISE EXCEPTION 'this database has a store already'
			USING ERRCODE = 'duplicate_object',
				  HINT = 'A node is one database with one store. Use spine.host_organisation() to host a further organisation.';
	END IF;
	-- once more after the extension's script: a database made from a template lacks its template's grants
	EXECUTE format('GRANT CREATE ON DATABASE %I TO spine_owner', current_database());
	PERFORM spine.revoke_public_rights();
	SET LOCAL ROLE spine_owner;
	EXECUTE spine.store_script();
	INSERT INTO spine.store (store_id, node, spine_version)
		VALUES (the_store, coalesce(node, own_code), '@VERSION@');
	INSERT INTO spine.node (name, is_self) VALUES (coalesce(node, own_code), true);
	INSERT INTO spine.organisation (code, name, kind) VALUES (own_code, own_code, 'trust');
	INSERT INTO spine.node_organisation (organisation, node) VALUES (own_code, coalesce(node, own_code));
	RESET ROLE;
	RETURN the_store;
END
$create$;
REVOKE EXECUTE ON FUNCTION spine.create_store(text, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.create_store(text, text) IS
	'Makes this database a node: every table, view, policy and trigger of the store, as ordinary objects owned by spine_owner. organisation: ODS code of the organisation hosted here first. node: name of this node, by default that code. Returns the store''s id. Superuser only, once.';
