-- What a neighbour's role tries at a Trust's node beside the two functions that it may call: attacks 49, 50, 52, 53, 54, 55, 56, 57, 58 and 66. Each statement is first
-- run by a superuser, who is refused none of them for want of a right: so it is the neighbour's role that is refused, not the statement.
\ir setup.psql
\ir as_role.psql
SELECT plan(64);
SELECT two_trusts('neighbour') \g /dev/null
SELECT make_roles('neighbour_r1k') \g /dev/null
SELECT spine.connect_node('R1K', NULL, '{R1K}', 'neighbour_r1k') \g /dev/null
SELECT book('neighbour_ryj_system', '9990000018', '1') \g /dev/null
CREATE FUNCTION told(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE pg_catalog.format('SET LOCAL ROLE %I', who);
	EXECUTE statement;
	RESET ROLE;
	-- what a superuser may do is undone
	RAISE EXCEPTION 'done' USING ERRCODE = 'UNDUN';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'UNDUN' THEN 'ok' ELSE SQLSTATE END;
END
$$;
CREATE TEMPORARY TABLE tried (n integer GENERATED ALWAYS AS IDENTITY, attack integer, statement text);
INSERT INTO tried (attack, statement) VALUES
	(49, 'SELECT pg_drop_replication_slot(''neighbour_none'')'),
	(49, 'SELECT pg_replication_slot_advance(''neighbour_none'', ''0/1'')'),
	(49, 'SELECT * FROM pg_logical_slot_get_changes(''neighbour_none'', NULL, NULL)'),
	(49, 'SELECT pg_create_physical_replication_slot(''neighbour_none'', true)'),
	(49, 'CREATE PUBLICATION neighbour_all FOR TABLE maternity.booking'),
	(49, 'CREATE SUBSCRIPTION neighbour_all CONNECTION ''host=nowhere'' PUBLICATION p WITH (connect = false)'),
	(50, 'SELECT pg_logical_emit_message(true, ''spine'', ''forged'')'),
	(50, 'SELECT pg_logical_emit_message(false, ''spine'', ''forged''::bytea)'),
	(53, 'SET log_statement = ''all'''),
	(53, 'SET log_min_duration_statement = 0'),
	(53, 'SET log_parameter_max_length = 1000'),
	(53, 'LOAD ''auto_explain'''),
	(54, 'CREATE SCHEMA cron'),
	(55, 'SELECT pg_read_file(''postgresql.conf'')'),
	(55, 'COPY (SELECT 1) TO PROGRAM ''true'''),
	(55, 'SELECT lo_import(''/dev/null'')'),
	(55, 'CREATE FUNCTION pg_temp.neighbour_reads() RETURNS integer LANGUAGE internal AS ''int4abs'''),
	(56, 'SELECT pg_switch_wal()'),
	(56, 'SELECT * FROM pg_ls_waldir()'),
	(56, 'SELECT * FROM pg_ls_archive_statusdir()'),
	(57, 'SELECT * FROM pg_ls_tmpdir()'),
	(57, 'SELECT * FROM pg_ls_dir(''base'')'),
	(58, 'LOCK TABLE maternity.booking IN ACCESS SHARE MODE'),
	(58, 'LOCK TABLE maternity_2_0.booking IN ACCESS EXCLUSIVE MODE'),
	(58, 'LOCK TABLE spine.link_received IN ROW EXCLUSIVE MODE'),
	(66, 'TRUNCATE spine.delivery'),
	(66, 'TRUNCATE spine.link_received'),
	(66, 'DELETE FROM spine.incident'),
	(66, 'UPDATE spine.node SET state = ''active'''),
	(66, 'SELECT 1 FROM spine.access_log'),
	(66, 'DROP TABLE maternity.booking CASCADE');

SELECT is(told('neighbour_r1k', t.statement), '42501', t.statement || ' -- attack ' || t.attack) FROM tried t ORDER BY t.n;
SELECT isnt(told('postgres', t.statement), '42501', 'a superuser is not refused: ' || t.statement)
  -- a view is locked with its owner's rights
  FROM tried t WHERE t.statement !~ 'EXCLUSIVE MODE$' OR t.statement !~ 'maternity_2_0' ORDER BY t.n;
-- attack 52: others' statements
SELECT is(value_as('neighbour_r1k', 'SELECT count(*) FROM pg_stat_activity a WHERE a.usename <> ''neighbour_r1k'' AND coalesce(a.query, '''') NOT IN ('''', ''<insufficient privilege>'')'), '0',
	'it reads nobody''s statements');
SELECT is(value_as('neighbour_r1k', 'SELECT count(*) > 0 FROM pg_stat_activity a WHERE a.query = ''<insufficient privilege>'''), 't', 'of which there are some');
SELECT is((SELECT count(*) FROM pg_roles r WHERE r.rolname = 'neighbour_r1k' AND (r.rolsuper OR r.rolreplication OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls)), 0::bigint, 'and its role is made for nothing else -- attack 49');

SELECT * FROM finish();
SET client_min_messages = warning;
SELECT spine.disconnect_node('R1K') \g /dev/null
SELECT leave_two_trusts('neighbour') \g /dev/null
SELECT drop_roles('neighbour_r1k') \g /dev/null
