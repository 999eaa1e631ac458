-- The access log: how it is written, checked and read.

CREATE FUNCTION spine.stated_user() RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_stated_user';
COMMENT ON FUNCTION spine.stated_user() IS
	'The person whom the application has stated in the setting spine.user; NULL where it has stated none.';

CREATE FUNCTION spine.audit_access(organisation text, duty text, patient_id uuid, purpose text, reason text, owners text[],
								   how text[], basis text[], emergency_until timestamptz DEFAULT NULL,
								   emergency_relationship uuid DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_audit_access';
COMMENT ON FUNCTION spine.audit_access(text, text, uuid, text, text, text[], text[], text[], timestamptz, uuid) IS
	'Has the auditor write an entry of the access log, for the caller and whom it has stated, and returns its number when it is committed, whatever becomes of the caller''s own transaction, which may be read-only. With emergency_relationship, the relationship of that id is committed with it, until emergency_until. how: which of episode, referral, transfer, claim, emergency, own. SP009 when it cannot be written within spine.audit_timeout; 28000 from a role that may set spine.user and has not; 22001 for a reason of more than 1000 characters; 54000 when the owners are too many for an entry.';

CREATE FUNCTION spine.basis_about(basis text[], organisations text[]) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT b.text
		  FROM unnest(basis) WITH ORDINALITY AS b (text, n)
		 CROSS JOIN LATERAL regexp_match(b.text, '^(.*) v([0-9]{1,9}) clause ([0-9]{1,9})$') AS part
		 WHERE EXISTS (SELECT FROM spine.agreement_event e
						WHERE e.name = part[1] AND e.version = part[2]::integer AND e.kind = 'proposed'
						  AND e.document -> 'clauses' -> (part[3]::integer - 1) -> 'from' ?| organisations)
		 ORDER BY b.n)
	$fn$;
COMMENT ON FUNCTION spine.basis_about(text[], text[]) IS
	'Of the grounds of an opening those clauses by which one of these organisations shares.';

CREATE FUNCTION spine.basis_for_caller(basis text[]) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT spine.basis_about(basis, spine.caller_organisations('governor')) $fn$;
COMMENT ON FUNCTION spine.basis_for_caller(text[]) IS
	'Of the grounds of an opening those clauses by which an organisation shares of which the caller is a governor.';

CREATE FUNCTION spine.verify_access_log() RETURNS TABLE (access_id bigint, fault text)
	LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1 SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'spine_verify_access_log';
COMMENT ON FUNCTION spine.verify_access_log() IS
	'Goes along the chain of the access log. No row: it is whole from the first entry to the last there is. Else the first entry at which it is not, and why: entry missing, content changed, link broken, out of order. Entries cut off at the end show by spine.access_log_head() as it was noted before. For governors and operators.';

CREATE FUNCTION spine.access_log_head(OUT access_id bigint, OUT hash bytea) RETURNS record
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF NOT spine.caller_is_superuser() AND spine.caller_organisations('governor') || spine.caller_organisations('operator') = '{}' THEN
		RAISE EXCEPTION 'permission denied: this is for governors and operators' USING ERRCODE = 'insufficient_privilege';
	END IF;
	SELECT l.access_id, l.hash INTO access_id, hash FROM spine.access_log l ORDER BY l.access_id DESC LIMIT 1;
END
$fn$;
COMMENT ON FUNCTION spine.access_log_head() IS
	'Number and hash of the last entry of the access log, NULL in an empty one: noted elsewhere, they witness that nothing was cut off or written anew before it. For governors and operators.';

CREATE FUNCTION spine.has_records_of(patients uuid[], organisations text[]) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	one_table regclass;
	found_one boolean;
BEGIN
	FOR one_table IN SELECT t.class FROM spine.exchange_tables() t WHERE t.is_group LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM %s t WHERE t.patient_id = ANY ($1) AND t.owner = ANY ($2))', one_table)
			INTO found_one USING patients, organisations;
		IF found_one THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$fn$;
COMMENT ON FUNCTION spine.has_records_of(uuid[], text[]) IS
	'Whether one of these organisations has a record, stored here, of one of these patients.';

CREATE FUNCTION spine.patient_accesses(nhs_number spine.nhs_number)
	RETURNS TABLE (at timestamptz, organisation text, organisation_name text, duty text, purpose text, how text[])
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
#variable_conflict use_column
DECLARE
	linked uuid[];
	governed text[] := spine.caller_organisations('governor');
	for_portal boolean := spine.caller_organisations('portal') <> '{}';
BEGIN
	IF governed = '{}' AND NOT for_portal THEN
		RAISE EXCEPTION 'permission denied: this is for governors and the portal' USING ERRCODE = 'insufficient_privilege';
	END IF;
	linked := spine.linked_patients(spine.patient_id(patient_accesses.nhs_number));
	-- a governor without either learns nothing, not even whether there is something
	IF NOT for_portal
	   AND NOT EXISTS (SELECT FROM spine.access_log a WHERE a.patient_id = ANY (linked) AND a.organisation = ANY (governed))
	   AND NOT spine.has_records_of(linked, governed) THEN
		RETURN;
	END IF;
	RETURN QUERY
	SELECT x.at, x.organisation, o.name, x.duty, x.purpose, x.how
	  FROM (SELECT a.at, a.organisation, a.duty, a.purpose, a.how, a.access_id
			  FROM spine.access_log a WHERE a.patient_id = ANY (linked)
			UNION ALL
			-- one opening of two owners' rows is one
			SELECT DISTINCT n.at, n.organisation, n.duty, n.purpose, n.how, n.access_id
			  FROM spine.access_notice n
			 WHERE n.patient_id = ANY (linked) AND n.owner <> ALL (spine.hosted_organisations())) x
	  LEFT JOIN spine.organisation o ON o.code = x.organisation
	 ORDER BY x.at DESC, x.access_id DESC;
END
$fn$;
COMMENT ON FUNCTION spine.patient_accesses(spine.nhs_number) IS
	'Who opened this person''s record, as far as this node knows, the latest first: organisation, duty, purpose and how, without names of people and without reasons. For the portal, and for a governor of an organisation that has records of her or whose staff has opened hers; to other governors there is nothing.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.basis_for_caller(text[])', 'spine.verify_access_log()', 'spine.access_log_head()',
		'spine.patient_accesses(spine.nhs_number)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.audit_access(text, text, uuid, text, text, text[], text[], text[], timestamptz, uuid)',
		'spine.stated_user()',
		'spine.basis_about(text[], text[])', 'spine.has_records_of(uuid[], text[])']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.basis_for_caller(text[]) TO spine_governor;
GRANT EXECUTE ON FUNCTION spine.verify_access_log(), spine.access_log_head() TO spine_governor, spine_operator;
GRANT EXECUTE ON FUNCTION spine.patient_accesses(spine.nhs_number) TO spine_governor, spine_portal;
