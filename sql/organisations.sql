-- Who is asking, and who exists: organisations, members, systems.

--
-- The caller: always the role outside every security-definer function
--

CREATE FUNCTION spine.caller_role() RETURNS name
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_caller_role';
COMMENT ON FUNCTION spine.caller_role() IS
	'The role in force outside every security-definer function.';

CREATE FUNCTION spine.caller_organisations(duty text DEFAULT NULL) RETURNS text[]
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_caller_organisations';
COMMENT ON FUNCTION spine.caller_organisations(text) IS
	'The organisations hosted here for which the caller holds this duty (any duty if NULL), in order of code.';

CREATE FUNCTION spine.caller_may_see(organisations text[]) RETURNS boolean
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_caller_may_see';
COMMENT ON FUNCTION spine.caller_may_see(text[]) IS
	'Whether the caller acts for one of these organisations, in any duty or as a system. A superuser does.';

CREATE FUNCTION spine.is_caller_system(organisation text, system text) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_is_caller_system';
COMMENT ON FUNCTION spine.is_caller_system(text, text) IS
	'Whether the caller is this system and its kind may read.';

CREATE FUNCTION spine.is_caller_sender(organisation text, system text) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_is_caller_sender';
COMMENT ON FUNCTION spine.is_caller_sender(text, text) IS
	'Whether the caller is this system, whatever its kind: a device, which reads no records, may know what became of what it sent.';

CREATE FUNCTION spine.my_owners() RETURNS text[]
	LANGUAGE c STABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_my_owners';
COMMENT ON FUNCTION spine.my_owners() IS
	'Owners of whom the caller may see records with nothing open: spine.my_organisations(), and to an analyst those whose records come as pseudonyms, from nodes for reporting. For row-level security, which asks spine.visible() besides.';

CREATE FUNCTION spine.my_organisations() RETURNS text[]
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_my_organisations';
COMMENT ON FUNCTION spine.my_organisations() IS
	'The organisations whose own rows the caller reads: those of its clinician and analyst memberships and of its reading system, and the units below them. For row-level security.';

CREATE FUNCTION spine.forget_cache() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_forget_cache';
COMMENT ON FUNCTION spine.forget_cache() IS
	'AFTER STATEMENT trigger: every session forgets what it has cached of this table.';

CREATE FUNCTION spine.caller_is_superuser() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = spine.caller_role() $fn$;
COMMENT ON FUNCTION spine.caller_is_superuser() IS 'Whether the caller is a superuser.';

CREATE FUNCTION spine.hosted_organisations() RETURNS text[]
	LANGUAGE c STABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_hosted_organisations';
COMMENT ON FUNCTION spine.hosted_organisations() IS 'The organisations for which this node speaks.';

CREATE FUNCTION spine.require_operator(organisation text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF spine.caller_is_superuser() THEN
		RETURN;
	END IF;
	IF organisation IS NULL AND spine.caller_organisations('operator') <> '{}' THEN
		RETURN;
	END IF;
	IF organisation = ANY (spine.caller_organisations('operator')) THEN
		RETURN;
	END IF;
	RAISE EXCEPTION 'permission denied: this is for an operator%',
		coalesce(' of ' || organisation, '')
		USING ERRCODE = 'insufficient_privilege';
END
$fn$;
COMMENT ON FUNCTION spine.require_operator(text) IS
	'Raises 42501 unless the caller is a superuser or an operator (of this organisation, if one is given).';

CREATE FUNCTION spine.require_hosted(organisation text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF organisation = ANY (spine.hosted_organisations()) THEN
		RETURN;
	END IF;
	RAISE EXCEPTION 'this node does not host organisation %', organisation
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  HINT = 'Use spine.host_organisation() if it should.';
END
$fn$;
COMMENT ON FUNCTION spine.require_hosted(text) IS 'Raises 55000 unless this node hosts the organisation.';

--
-- Organisations
--

CREATE FUNCTION spine.csv_rows(content text, OUT line integer, OUT fields text[]) RETURNS SETOF record
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_csv_rows';
COMMENT ON FUNCTION spine.csv_rows(text) IS
	'The rows of a CSV text (RFC 4180; LF, CRLF or CR; byte order mark and empty lines skipped) with the line each begins on. A malformed row raises 22P04 with its line.';

CREATE FUNCTION spine.organisation_rows(content text)
	RETURNS TABLE (line integer, width integer, code text, name text, region text, icb text, postcode text,
				   opened date, closed date, bad_opened boolean, bad_closed boolean)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT c.line, cardinality(c.fields), upper(btrim(c.fields[1])), btrim(c.fields[2]),
		   nullif(upper(btrim(c.fields[3])), ''), nullif(upper(btrim(c.fields[4])), ''),
		   nullif(btrim(c.fields[10]), ''), d.opened, d.closed,
		   d.opened IS NULL AND btrim(c.fields[11]) <> '', d.closed IS NULL AND btrim(c.fields[12]) <> ''
	  FROM spine.csv_rows(content) AS c
	 CROSS JOIN LATERAL (SELECT spine.compact_date(btrim(c.fields[11])) AS opened,
								spine.compact_date(btrim(c.fields[12])) AS closed OFFSET 0) AS d
	$fn$;
COMMENT ON FUNCTION spine.organisation_rows(text) IS
	'The rows of the national file of Trusts, as they stand there.';

CREATE FUNCTION spine.load_organisations(content text) RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	faults text;
	loaded integer;
BEGIN
	PERFORM spine.require_operator();
	IF content IS NULL THEN
		RAISE EXCEPTION 'no content was given' USING ERRCODE = 'null_value_not_allowed';
	END IF;

	WITH file AS MATERIALIZED (SELECT * FROM spine.organisation_rows(content)),
	fault (line, what) AS (
		SELECT t.line, 'has ' || t.width || ' columns, 11 or more are wanted'
		  FROM file t WHERE t.width < 11
		UNION ALL
		SELECT t.line, v.what
		  FROM file t
		 CROSS JOIN LATERAL (VALUES
			(t.code ~ '^[A-Z0-9]{3,9}$', 'column 1 is no organisation code'),
			(t.name <> '', 'column 2, the name, is empty'),
			(t.region ~ '^[A-Z0-9]{3,9}$', 'column 3 is no region code'),
			(t.icb ~ '^[A-Z0-9]{3,9}$', 'column 4 is no code of an Integrated Care Board'),
			(NOT t.bad_opened, 'column 11 is no date (YYYYMMDD)'),
			(NOT t.bad_closed, 'column 12 is no date (YYYYMMDD)'),
			(t.closed >= t.opened, 'it closed before it opened')
		 ) AS v (good, what)
		 WHERE t.width >= 11 AND NOT v.good
		UNION ALL
		SELECT t.line, 'code ' || t.code || ' stands on an earlier line too'
		  FROM (SELECT s.line, s.code, row_number() OVER (PARTITION BY s.code ORDER BY s.line) AS nth
				  FROM file s) AS t
		 WHERE t.nth > 1 AND t.code ~ '^[A-Z0-9]{3,9}$'
		UNION ALL
		-- a code that is a Trust's on one line and its region's on another would make a circle
		SELECT t.line, 'code ' || t.code || ' is that of a region or a board'
		  FROM file t
		 WHERE t.code = 'ENG'
			OR t.code IN (SELECT s.region FROM file s WHERE s.region IS NOT NULL
						  UNION
						  SELECT s.icb FROM file s WHERE s.icb IS NOT NULL)
		UNION ALL
		SELECT t.line, 'code ' || t.code || ' is already known as a ' || o.kind
		  FROM file t
		  JOIN spine.organisation o ON o.code = t.code AND o.kind NOT IN ('trust', 'health_board')
		UNION ALL
		-- a unit is read by whoever reads for its parent: no file moves it, nor puts a Trust above others
		SELECT t.line, 'code ' || o.code || ' is already known as a ' || o.kind
		  FROM file t
		  JOIN spine.organisation o ON o.code = t.region AND o.kind NOT IN ('region', 'national')
									OR o.code = t.icb AND o.kind NOT IN ('icb', 'region')
	)
	SELECT (SELECT count(*) FROM file),
		   (SELECT string_agg(format('Line %s: %s.', f.line, f.what), E'\n' ORDER BY f.line, f.what)
			  FROM (SELECT * FROM fault ORDER BY line LIMIT 20) AS f)
	  INTO loaded, faults;
	IF loaded = 0 THEN
		RAISE EXCEPTION 'the file of organisations is empty' USING ERRCODE = 'bad_copy_file_format';
	END IF;
	IF faults IS NOT NULL THEN
		RAISE EXCEPTION 'the file of organisations is refused, from line % on',
			substring(faults FROM '^Line ([0-9]+)')
			USING ERRCODE = 'bad_copy_file_format', DETAIL = faults;
	END IF;

	WITH file AS MATERIALIZED (SELECT * FROM spine.organisation_rows(content))
	INSERT INTO spine.organisation AS o (code, name, kind, parent, postcode, opened, closed)
	SELECT w.code, w.name, w.kind, w.parent, w.postcode, w.opened, w.closed
	  FROM (
		SELECT 'ENG' AS code, 'England' AS name, 'national' AS kind, NULL AS parent,
			   NULL AS postcode, NULL::date AS opened, NULL::date AS closed
		UNION ALL
		SELECT DISTINCT t.region, coalesce(r.name, 'Region ' || t.region), 'region',
			   CASE WHEN t.region LIKE 'Y%' THEN 'ENG' END, NULL, NULL::date, NULL::date
		  FROM file t
		  LEFT JOIN (VALUES ('Y56', 'London'), ('Y58', 'South West'), ('Y59', 'South East'), ('Y60', 'Midlands'),
							('Y61', 'East of England'), ('Y62', 'North West'), ('Y63', 'North East and Yorkshire'),
							('W00', 'Wales')) AS r (code, name) ON r.code = t.region
		 WHERE t.region IS NOT NULL
		UNION ALL
		-- a board belongs to the region that most of its Trusts name; W00 and Q99 are Wales, which has none
		(SELECT DISTINCT ON (t.icb) t.icb, 'Integrated Care Board ' || t.icb, 'icb', t.region, NULL, NULL::date, NULL::date
		  FROM file t
		 WHERE t.icb IS NOT NULL AND t.region IS DISTINCT FROM 'W00'
		 GROUP BY t.icb, t.region
		 ORDER BY t.icb, count(*) DESC, t.region)
	  ) AS w
	ON CONFLICT (code) DO UPDATE SET parent = EXCLUDED.parent
	 WHERE o.parent IS DISTINCT FROM EXCLUDED.parent AND o.kind = EXCLUDED.kind;

	INSERT INTO spine.organisation AS o (code, name, kind, parent, postcode, opened, closed)
	SELECT (t.code::spine.ods_code)::text, t.name, 'trust',
		   CASE WHEN t.region = 'W00' THEN t.region ELSE coalesce(t.icb, t.region) END,
		   t.postcode, t.opened, t.closed
	  FROM spine.organisation_rows(content) t
	ON CONFLICT (code) DO UPDATE
		SET name = EXCLUDED.name, parent = EXCLUDED.parent, postcode = EXCLUDED.postcode,
			opened = EXCLUDED.opened, closed = EXCLUDED.closed
	 WHERE (o.name, o.parent, o.postcode, o.opened, o.closed)
		   IS DISTINCT FROM (EXCLUDED.name, EXCLUDED.parent, EXCLUDED.postcode, EXCLUDED.opened, EXCLUDED.closed);

	RETURN loaded;
END
$fn$;
COMMENT ON FUNCTION spine.load_organisations(text) IS
	'Reads the content of the national file of NHS Trusts (ODS etr.csv: no header; code, name, region, ICB, five of address, postcode, opened, closed): Trusts are added or brought up to date, with their ICBs and regions as a tree under ENG. A file with a fault is refused whole, 22P04, with its lines. Returns the number of Trusts in it. For operators.';

CREATE FUNCTION spine.compact_date(value text) RETURNS date
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	AS $fn$
DECLARE
	y integer;
	m integer;
	d integer;
BEGIN
	IF value IS NULL OR value !~ '^[0-9]{8}$' THEN
		RETURN NULL;
	END IF;
	y := substr(value, 1, 4);
	m := substr(value, 5, 2);
	d := substr(value, 7, 2);
	-- to_date() would take 20190231 for a day in March
	IF y < 1000 OR m NOT BETWEEN 1 AND 12 OR d < 1
	   OR d > (CASE WHEN m = 2 THEN 28 + (y % 4 = 0 AND (y % 100 <> 0 OR y % 400 = 0))::integer
				   WHEN m IN (4, 6, 9, 11) THEN 30 ELSE 31 END) THEN
		RETURN NULL;
	END IF;
	RETURN make_date(y, m, d);
END
$fn$;
COMMENT ON FUNCTION spine.compact_date(text) IS 'The date of a text YYYYMMDD; NULL if that is no date.';

CREATE FUNCTION spine.add_organisation(code text, name text, kind text, parent text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_code text := code::spine.ods_code::text;
	the_parent text := parent::spine.ods_code::text;
BEGIN
	PERFORM spine.require_operator();
	IF the_code IS NULL OR coalesce(btrim(name), '') = '' THEN
		RAISE EXCEPTION 'an organisation has a code and a name' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF EXISTS (SELECT FROM spine.organisation o WHERE o.code = the_code) THEN
		RAISE EXCEPTION 'organisation % exists already', the_code USING ERRCODE = 'unique_violation';
	END IF;
	IF the_parent IS NOT NULL AND NOT EXISTS (SELECT FROM spine.organisation o WHERE o.code = the_parent) THEN
		RAISE EXCEPTION 'organisation % does not exist', the_parent USING ERRCODE = 'foreign_key_violation';
	END IF;
	INSERT INTO spine.organisation (code, name, kind, parent) VALUES (the_code, btrim(name), kind, the_parent);
	RETURN the_code;
END
$fn$;
COMMENT ON FUNCTION spine.add_organisation(text, text, text, text) IS
	'Adds an organisation that is in no national file. kind: unit, trust, health_board, network, region, icb, supplier or national; parent: the organisation above it. Returns its code. For operators.';

CREATE FUNCTION spine.host_organisation(code text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_code text := code::spine.ods_code::text;
	self text;
	host text;
BEGIN
	PERFORM spine.require_operator();
	SELECT n.name INTO STRICT self FROM spine.node n WHERE n.is_self;
	IF NOT EXISTS (SELECT FROM spine.organisation o WHERE o.code = the_code) THEN
		RAISE EXCEPTION 'organisation % does not exist', the_code
			USING ERRCODE = 'undefined_object', HINT = 'Use spine.load_organisations() or spine.add_organisation().';
	END IF;
	INSERT INTO spine.node_organisation (organisation, node) VALUES (the_code, self)
		ON CONFLICT (organisation) DO NOTHING;
	SELECT h.node INTO STRICT host FROM spine.node_organisation h WHERE h.organisation = the_code;
	IF host <> self THEN
		RAISE EXCEPTION 'organisation % is hosted by node %', the_code, host
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'A node speaks for the organisations that it hosts, and no two nodes host the same.';
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.host_organisation(text) IS
	'This node hosts a further organisation from now on. 55000 if a neighbour hosts it. For operators.';

--
-- Members and systems
--

CREATE FUNCTION spine.check_role(role_name name) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	too_much text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role_name) THEN
		RAISE EXCEPTION 'role "%" does not exist', role_name USING ERRCODE = 'undefined_object';
	END IF;
	IF role_name ~ '^pg_' OR role_name IN ('spine_owner', 'spine_reader', 'spine_member', 'spine_supplier',
										   'spine_governor', 'spine_operator', 'spine_portal', 'spine_neighbour') THEN
		RAISE EXCEPTION 'role "%" cannot act for an organisation', role_name
			USING ERRCODE = 'reserved_name', DETAIL = 'It is one of the server''s or of spine''s own roles.';
	END IF;
	-- what the role could become counts as well as what it is
	SELECT r.rolname INTO too_much
	  FROM pg_roles r
	 WHERE pg_has_role(role_name, r.oid, 'MEMBER')
	   -- who may create roles may make himself a member of any of them
	   AND (r.rolsuper OR r.rolbypassrls OR r.rolreplication OR r.rolcreaterole
			OR r.rolname IN ('spine_owner', 'spine_reader', 'spine_neighbour', 'pg_read_all_data', 'pg_write_all_data',
							 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'))
	 ORDER BY r.rolname <> role_name, r.rolname
	 LIMIT 1;
	IF too_much IS NOT NULL THEN
		RAISE EXCEPTION 'role "%" cannot act for an organisation', role_name
			USING ERRCODE = 'invalid_grant_operation',
				  DETAIL = CASE WHEN too_much = role_name
						   THEN 'It is a superuser, bypasses row-level security, may replicate or create roles.'
						   ELSE format('It is a member of role "%s", which no policy holds.', too_much) END,
				  HINT = 'Give people and systems roles of their own, without such rights.';
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.check_role(name) IS
	'Raises an error unless the role may be a member or a system: it exists, is not one of spine''s own, and no policy can be walked around with it.';

CREATE FUNCTION spine.settle_groups(the_role name) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	wanted text[];
	held text[];
	role_group text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = the_role) THEN
		RETURN;
	END IF;
	SELECT coalesce(array_agg(DISTINCT g.role_group), '{}') INTO wanted
	  FROM (SELECT CASE m.duty WHEN 'governor' THEN 'spine_governor' WHEN 'operator' THEN 'spine_operator'
							   WHEN 'portal' THEN 'spine_portal'
							   ELSE 'spine_member' END AS role_group
			  FROM spine.member m WHERE m.role_name = the_role
			UNION ALL
			-- each group once more what the kind may do: reading is spine_member's, writing spine_supplier's
			SELECT unnest(CASE WHEN s.kind = 'device' THEN ARRAY['spine_supplier']
							   WHEN s.kind IN ('maternity', 'neonatal') THEN ARRAY['spine_supplier', 'spine_member']
							   ELSE ARRAY['spine_member'] END)
			  FROM spine.system s WHERE s.role_name = the_role) AS g;
	SELECT coalesce(array_agg(g.rolname::text), '{}') INTO held
	  FROM pg_auth_members a
	  JOIN pg_roles g ON g.oid = a.roleid
	  JOIN pg_roles m ON m.oid = a.member
	 WHERE m.rolname = the_role
	   AND g.rolname IN ('spine_member', 'spine_supplier', 'spine_governor', 'spine_operator', 'spine_portal');
	FOREACH role_group IN ARRAY wanted LOOP
		IF role_group <> ALL (held) THEN
			EXECUTE format('GRANT %I TO %I', role_group, the_role);
		END IF;
	END LOOP;
	FOREACH role_group IN ARRAY held LOOP
		IF role_group <> ALL (wanted) THEN
			EXECUTE format('REVOKE %I FROM %I', role_group, the_role);
		END IF;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.settle_groups(name) IS
	'Gives a role the group roles that its memberships and system need, and takes away those that they do not.';

CREATE FUNCTION spine.add_member(role_name name, organisation text, duty text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_code text := organisation::spine.ods_code::text;
BEGIN
	PERFORM spine.require_operator(the_code);
	IF duty IS NULL OR duty NOT IN ('clinician', 'analyst', 'governor', 'operator', 'portal') THEN
		RAISE EXCEPTION 'there is no duty "%"', duty
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Duties are clinician, analyst, governor, operator and portal.';
	END IF;
	PERFORM spine.require_hosted(the_code);
	PERFORM spine.check_role(role_name);
	INSERT INTO spine.member (role_name, organisation, duty, added_by)
		VALUES (role_name, the_code, duty, spine.caller_role())
		ON CONFLICT ON CONSTRAINT member_pkey DO NOTHING;
	PERFORM spine.settle_groups(role_name);
END
$fn$;
COMMENT ON FUNCTION spine.add_member(name, text, text) IS
	'A database role acts for an organisation hosted here from now on, with a duty: clinician, analyst, governor, operator or portal. Adding it again changes nothing. For an operator of the organisation.';

CREATE FUNCTION spine.remove_member(role_name name, organisation text, duty text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
#variable_conflict use_column
DECLARE
	the_code text := organisation::spine.ods_code::text;
BEGIN
	PERFORM spine.require_operator(the_code);
	DELETE FROM spine.member m
	 WHERE m.role_name = remove_member.role_name AND m.organisation = the_code AND m.duty = remove_member.duty;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'role "%" is no % of organisation %', remove_member.role_name, remove_member.duty, the_code
			USING ERRCODE = 'undefined_object';
	END IF;
	PERFORM spine.settle_groups(remove_member.role_name);
END
$fn$;
COMMENT ON FUNCTION spine.remove_member(name, text, text) IS
	'Ends a membership: its sessions lose the rights at their next look at a row. For an operator of the organisation.';

CREATE FUNCTION spine.add_system(organisation text, system text, kind text, role_name name) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_code text := organisation::spine.ods_code::text;
BEGIN
	PERFORM spine.require_operator(the_code);
	IF kind IS NULL OR kind NOT IN ('maternity', 'maternity_readonly', 'neonatal', 'device', 'reports') THEN
		RAISE EXCEPTION 'there is no kind of system "%"', kind
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Kinds are maternity, maternity_readonly, neonatal, device and reports.';
	END IF;
	PERFORM spine.require_hosted(the_code);
	PERFORM spine.check_role(role_name);
	IF EXISTS (SELECT FROM spine.system s WHERE s.role_name = add_system.role_name) THEN
		RAISE EXCEPTION 'role "%" is a system already', role_name
			USING ERRCODE = 'unique_violation', HINT = 'Give each system a role of its own.';
	END IF;
	INSERT INTO spine.system (organisation, system, kind, role_name) VALUES (the_code, system, kind, role_name);
	PERFORM spine.settle_groups(role_name);
END
$fn$;
COMMENT ON FUNCTION spine.add_system(text, text, text, name) IS
	'A supplier''s system at an organisation hosted here, and the database role as which it connects. Its kind gives its rights, and nothing else does: maternity reads and writes all; neonatal reads all and writes groups whose subject is baby, patient or none; maternity_readonly and reports read; device writes all and reads nothing, not even what it wrote. For an operator of the organisation.';

CREATE FUNCTION spine.remove_system(organisation text, system text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_code text := organisation::spine.ods_code::text;
	the_role name;
BEGIN
	PERFORM spine.require_operator(the_code);
	DELETE FROM spine.system s
	 WHERE s.organisation = the_code AND s.system = remove_system.system
	RETURNING s.role_name INTO the_role;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'organisation % has no system "%"', the_code, system USING ERRCODE = 'undefined_object';
	END IF;
	PERFORM spine.settle_groups(the_role);
END
$fn$;
COMMENT ON FUNCTION spine.remove_system(text, text) IS
	'Ends a system''s rights here. Its records stay. For an operator of the organisation.';

CREATE FUNCTION spine.restore_groups() RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_role name;
	done integer := 0;
BEGIN
	PERFORM spine.require_operator();
	FOR the_role IN
		SELECT m.role_name FROM spine.member m UNION SELECT s.role_name FROM spine.system s ORDER BY 1
	LOOP
		IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = the_role) THEN
			PERFORM spine.check_role(the_role);
			PERFORM spine.settle_groups(the_role);
			done := done + 1;
		END IF;
	END LOOP;
	RETURN done;
END
$fn$;
COMMENT ON FUNCTION spine.restore_groups() IS
	'After a restore into another cluster, whose roles are new: gives every member and system that exists there its group roles again. Returns how many. For operators.';

CREATE FUNCTION spine.whoami()
	RETURNS TABLE (role_name name, organisation text, organisation_name text, duty text, system text, kind text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT m.role_name, m.organisation, o.name, m.duty, NULL::text, NULL::text
	  FROM spine.member m
	  JOIN spine.organisation o ON o.code = m.organisation
	 WHERE m.role_name = spine.caller_role() AND m.organisation = ANY (spine.hosted_organisations())
	UNION ALL
	SELECT s.role_name, s.organisation, o.name, NULL::text, s.system, s.kind
	  FROM spine.system s
	  JOIN spine.organisation o ON o.code = s.organisation
	 WHERE s.role_name = spine.caller_role() AND s.organisation = ANY (spine.hosted_organisations())
	 ORDER BY 2, 4, 5
	$fn$;
COMMENT ON FUNCTION spine.whoami() IS
	'What spine takes the caller for: a row for each membership and for its system. No row: a stranger, who sees nothing.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.load_organisations(text)', 'spine.add_organisation(text, text, text, text)',
		'spine.host_organisation(text)', 'spine.add_member(name, text, text)', 'spine.remove_member(name, text, text)',
		'spine.add_system(text, text, text, name)', 'spine.remove_system(text, text)', 'spine.restore_groups()',
		'spine.whoami()']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.caller_role()', 'spine.caller_organisations(text)', 'spine.caller_may_see(text[])',
		'spine.is_caller_system(text, text)', 'spine.is_caller_sender(text, text)', 'spine.my_organisations()', 'spine.my_owners()', 'spine.forget_cache()',
		'spine.caller_is_superuser()', 'spine.hosted_organisations()', 'spine.require_operator(text)',
		'spine.require_hosted(text)', 'spine.csv_rows(text)', 'spine.organisation_rows(text)', 'spine.compact_date(text)', 'spine.check_role(name)',
		'spine.settle_groups(name)']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.load_organisations(text), spine.add_organisation(text, text, text, text),
	spine.host_organisation(text), spine.add_member(name, text, text), spine.remove_member(name, text, text),
	spine.add_system(text, text, text, name), spine.remove_system(text, text), spine.restore_groups()
	TO spine_operator;
GRANT EXECUTE ON FUNCTION spine.whoami() TO spine_member, spine_supplier, spine_governor, spine_operator, spine_portal;
-- policies and views ask these as whoever reads
GRANT EXECUTE ON FUNCTION spine.my_organisations() TO spine_member, spine_supplier, spine_reader;
GRANT EXECUTE ON FUNCTION spine.my_owners() TO spine_member, spine_supplier, spine_reader;
GRANT EXECUTE ON FUNCTION spine.caller_organisations(text), spine.caller_may_see(text[]),
	spine.is_caller_system(text, text), spine.is_caller_sender(text, text) TO spine_member, spine_supplier, spine_governor, spine_operator;
