-- Relationships: why an organisation may see a person.

CREATE FUNCTION spine.refer(nhs_number spine.nhs_number, to_organisation text, reason text) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	SET jit = off
	AS $fn$
DECLARE
	the_code text := to_organisation::spine.ods_code::text;
	the_patient uuid;
	linked uuid[];
	mine text[] := spine.caller_organisations('clinician');
	referrer text;
	the_relationship uuid;
BEGIN
	-- a clinician, or a system that writes and reads for its organisation
	mine := mine || ARRAY(SELECT w.organisation FROM spine.whoami() w WHERE w.kind IN ('maternity', 'neonatal'));
	IF mine = '{}' THEN
		RAISE EXCEPTION 'permission denied: this is for a clinician or a clinical system'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF coalesce(refer.reason, '') !~ '[^[:space:]]' THEN
		RAISE EXCEPTION 'a reason must be given' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF NOT EXISTS (SELECT FROM spine.organisation o
					WHERE o.code = the_code AND o.kind IN ('unit', 'trust', 'health_board', 'network')) THEN
		RAISE EXCEPTION 'organisation % is not known as one that gives care', the_code USING ERRCODE = 'undefined_object';
	END IF;
	the_patient := spine.patient_id(refer.nhs_number);
	linked := spine.linked_patients(the_patient);
	SELECT r.owner INTO referrer
	  FROM spine.all_records r
	 WHERE r.patient_id = ANY (linked) AND r.owner = ANY (mine) AND r.owner <> the_code
	 GROUP BY r.owner ORDER BY max(r.received_at) DESC, r.owner LIMIT 1;
	IF referrer IS NULL THEN
		RAISE EXCEPTION 'no record of this person is open to you'
			USING ERRCODE = 'SP006', DETAIL = 'A person is referred by an organisation that has records of its own.';
	END IF;

	INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, reason, audience)
		VALUES (spine.uuid_v7(), the_patient, the_code, 'referral', referrer, btrim(refer.reason),
				spine.relationship_audience(referrer, the_code))
		ON CONFLICT DO NOTHING
		RETURNING relationship_id INTO the_relationship;
	IF the_relationship IS NULL THEN
		SELECT l.relationship_id INTO the_relationship
		  FROM spine.relationship l
		 WHERE l.patient_id = the_patient AND l.organisation = the_code AND l.kind = 'referral'
		   AND l.owner = referrer AND l.until IS NULL;
	END IF;
	RETURN the_relationship;
END
$fn$;
COMMENT ON FUNCTION spine.refer(spine.nhs_number, text, text) IS
	'Refers a person, of whom the caller''s organisation has records, to another organisation: from now on it has a relationship to her. Referring again gives the same relationship, whose id is returned. SP006 without records of one''s own.';

CREATE FUNCTION spine.end_relationship(the_relationship uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	UPDATE spine.relationship l SET until = now(), revision = l.revision + 1
	 WHERE l.relationship_id = the_relationship AND l.until IS NULL
	   AND l.owner = ANY (spine.caller_organisations('clinician') || spine.caller_organisations('governor')
						  || ARRAY(SELECT w.organisation FROM spine.whoami() w WHERE w.kind IN ('maternity', 'neonatal')));
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no such relationship that you could end'
			USING ERRCODE = 'SP006', DETAIL = 'It is ended by the organisation that recorded it.';
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.end_relationship(uuid) IS
	'Ends a relationship that one''s own organisation has recorded. What rests on it alone is withdrawn.';

DO $rights$
DECLARE
	definer text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.refer(spine.nhs_number, text, text)',
		'spine.end_relationship(uuid)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.refer(spine.nhs_number, text, text) TO spine_member;
GRANT EXECUTE ON FUNCTION spine.end_relationship(uuid) TO spine_member, spine_governor;
