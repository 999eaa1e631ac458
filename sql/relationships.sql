-- Relationships: why an organisation may see a person. What she does not want. Emergencies, and their review.

--
-- What all of it asks first
--

CREATE FUNCTION spine.caller_in_duty(duties text[]) RETURNS text[]
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_caller_in_duty';
COMMENT ON FUNCTION spine.caller_in_duty(text[]) IS
	'The organisations for which the caller has one of these duties, in order of code; "clinical system" stands for a system that writes and reads.';

CREATE FUNCTION spine.require_duty(duties text[], organisation text DEFAULT NULL) RETURNS text[]
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	mine text[] := spine.caller_in_duty(duties);
	the_code text := organisation::spine.ods_code::text;
BEGIN
	IF mine = '{}' OR the_code <> ALL (mine) THEN
		RAISE EXCEPTION 'permission denied: this is for a %', array_to_string(duties, ' or a ') || coalesce(' of ' || the_code, '')
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	RETURN CASE WHEN the_code IS NULL THEN mine ELSE ARRAY[the_code] END;
END
$fn$;
COMMENT ON FUNCTION spine.require_duty(text[], text) IS
	'The organisations for which the caller has one of these duties, or this one alone if one is given; 42501 if there is none.';

CREATE FUNCTION spine.require_text(given text, what text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF coalesce(given, '') !~ '[^[:space:]]' THEN
		RAISE EXCEPTION '% must be given', what USING ERRCODE = 'null_value_not_allowed';
	END IF;
	RETURN btrim(given);
END
$fn$;
COMMENT ON FUNCTION spine.require_text(text, text) IS 'The text without the spaces around it; 22004 if nothing is left.';

CREATE FUNCTION spine.require_patient(nhs_number spine.nhs_number) RETURNS uuid
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF nhs_number IS NULL THEN
		RAISE EXCEPTION 'an NHS number must be given' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	RETURN spine.patient_id(nhs_number);
END
$fn$;
COMMENT ON FUNCTION spine.require_patient(spine.nhs_number) IS 'The id of the person with this NHS number, known here or not; 22004 without one.';

CREATE FUNCTION spine.own_owner(patients uuid[], organisations text[]) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_own_owner';
COMMENT ON FUNCTION spine.own_owner(uuid[], text[]) IS
	'That of the caller''s own organisations which has had a record of the person last; NULL where none has any.';

CREATE FUNCTION spine.owners_of(patients uuid[])
	RETURNS TABLE (patient_id uuid, owner text, dataset text, data_group text)
	LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 50
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
DECLARE
	query text;
BEGIN
	SELECT string_agg(format('SELECT DISTINCT t.patient_id, t.owner, %1$L, %2$L FROM %1$I.%2$I t WHERE t.patient_id = ANY ($1)',
							 g.dataset, g.data_group), ' UNION ALL ')
	  INTO query
	  FROM spine.published_groups() g
	 WHERE to_regclass(format('%I.%I', g.dataset, g.data_group)) IS NOT NULL;
	IF query IS NOT NULL THEN
		RETURN QUERY EXECUTE query USING patients;
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.owners_of(uuid[]) IS
	'Who has records of these patients here, and in which data groups, whoever may see them: nothing of it may be shown to the caller.';

--
-- Referral, transfer, claim
--

CREATE FUNCTION spine.begin_relationship(patient uuid, organisation text, kind text, owner text, reason text) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_relationship uuid;
BEGIN
	-- a second time where somebody ends it at this moment
	WHILE the_relationship IS NULL LOOP
		INSERT INTO spine.relationship AS l (relationship_id, patient_id, organisation, kind, owner, reason, audience)
			VALUES (spine.uuid_v7(), patient, begin_relationship.organisation, begin_relationship.kind, begin_relationship.owner,
					begin_relationship.reason,
					spine.relationship_audience(begin_relationship.owner, begin_relationship.organisation))
			ON CONFLICT DO NOTHING
			RETURNING l.relationship_id INTO the_relationship;
		IF the_relationship IS NULL THEN
			SELECT l.relationship_id INTO the_relationship
			  FROM spine.relationship l
			 WHERE l.patient_id = patient AND l.organisation = begin_relationship.organisation
			   AND l.kind = begin_relationship.kind AND l.owner = begin_relationship.owner AND l.until IS NULL;
		END IF;
	END LOOP;
	RETURN the_relationship;
END
$fn$;
COMMENT ON FUNCTION spine.begin_relationship(uuid, text, text, text, text) IS
	'Records a relationship, or finds the one there is: one of each kind, organisation and owner is active for a patient. Decides nothing.';

CREATE FUNCTION spine.send_person(nhs_number spine.nhs_number, to_organisation text, reason text, kind text) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	mine text[] := spine.require_duty('{clinician,clinical system}');
	the_reason text := spine.require_text(reason, 'a reason');
	the_code text := (spine.require_text(to_organisation, 'an organisation'))::spine.ods_code::text;
	the_patient uuid;
	sender text;
BEGIN
	IF NOT EXISTS (SELECT FROM spine.organisation o
					WHERE o.code = the_code AND o.kind IN ('unit', 'trust', 'health_board', 'network')) THEN
		RAISE EXCEPTION 'organisation % is not known as one that gives care', the_code USING ERRCODE = 'undefined_object';
	END IF;
	the_patient := spine.require_patient(nhs_number);
	sender := spine.own_owner(spine.linked_patients(the_patient), array_remove(mine, the_code));
	IF sender IS NULL THEN
		RAISE EXCEPTION 'no record of this person is open to you'
			USING ERRCODE = 'SP006', DETAIL = 'A person is sent to another organisation by one that has records of its own.';
	END IF;
	RETURN spine.begin_relationship(the_patient, the_code, kind, sender, the_reason);
END
$fn$;
COMMENT ON FUNCTION spine.send_person(spine.nhs_number, text, text, text) IS 'What spine.refer and spine.transfer have in common: all but the kind.';

CREATE FUNCTION spine.refer(nhs_number spine.nhs_number, to_organisation text, reason text) RETURNS uuid
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT spine.send_person(nhs_number, to_organisation, reason, 'referral') $fn$;
COMMENT ON FUNCTION spine.refer(spine.nhs_number, text, text) IS
	'Refers a person, of whom the caller''s organisation has records, to another organisation: from now on it has a relationship to her. Referring again gives the same relationship, whose id is returned. SP006 without records of one''s own.';

CREATE FUNCTION spine.transfer(nhs_number spine.nhs_number, to_organisation text, reason text) RETURNS uuid
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT spine.send_person(nhs_number, to_organisation, reason, 'transfer') $fn$;
COMMENT ON FUNCTION spine.transfer(spine.nhs_number, text, text) IS
	'Transfers a person, of whom the caller''s organisation has records, to another organisation, as spine.refer does. Her relationships to one''s own organisation stay. SP006 without records of one''s own.';

CREATE FUNCTION spine.claim(nhs_number spine.nhs_number, reason text, organisation text DEFAULT NULL) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	mine text[] := spine.require_duty('{clinician}', organisation);
	the_reason text := spine.require_text(reason, 'a reason');
BEGIN
	-- nobody is asked for records: a claim tells nothing
	RETURN spine.begin_relationship(spine.require_patient(nhs_number), mine[1], 'claim', mine[1], the_reason);
END
$fn$;
COMMENT ON FUNCTION spine.claim(spine.nhs_number, text, text) IS
	'A clinician says that his organisation cares for a person (of several organisations the first in order of code, if none is named): from now on it has a relationship to her, which counts where an agreement accepts claims. Claiming again gives the same relationship, whose id is returned. Says nothing about who has records of her.';

CREATE FUNCTION spine.end_relationship(the_relationship uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	UPDATE spine.relationship l SET until = now(), revision = l.revision + 1
	 WHERE l.relationship_id = the_relationship AND (l.until IS NULL OR l.until > now())
	   AND l.owner = ANY (spine.caller_in_duty('{clinician,governor,clinical system}'));
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no such relationship that you could end'
			USING ERRCODE = 'SP006', DETAIL = 'It is ended by the organisation that recorded it.';
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.end_relationship(uuid) IS
	'Ends a relationship that one''s own organisation has recorded, an emergency before its time too. What rests on it alone is withdrawn, as soon as the retention that the agreement grants is over.';

--
-- Emergencies
--

CREATE FUNCTION spine.break_glass(nhs_number spine.nhs_number, reason text, organisation text DEFAULT NULL,
								  for_transaction boolean DEFAULT false) RETURNS timestamptz
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	mine text[] := spine.require_duty('{clinician}', organisation);
	the_reason text := spine.require_text(reason, 'a reason');
	the_patient uuid := spine.require_patient(nhs_number);
	linked uuid[] := spine.linked_patients(the_patient);
	acts_for text;
	own text[];
	the_end timestamptz := clock_timestamp() + current_setting('spine.emergency_minutes')::interval;
	the_owners text[];
	the_basis text[];
BEGIN
	-- Whether it is allowed never depends on what others have: only on what was agreed, and on what one has oneself.
	FOREACH acts_for IN ARRAY mine LOOP
		own := spine.with_units(acts_for);
		EXIT WHEN EXISTS (SELECT FROM spine.emergency_rules(acts_for)) OR spine.own_owner(linked, own) IS NOT NULL;
		acts_for := NULL;
	END LOOP;
	IF acts_for IS NULL THEN
		RAISE EXCEPTION 'no record of this person is open to you'
			USING ERRCODE = 'SP006',
				  DETAIL = 'There is none here, or no agreement and relationship lets you read it.';
	END IF;

	-- Whose rows it may show: of those here, who has any; of those elsewhere whoever agreed to it, since theirs may come.
	WITH held AS MATERIALIZED (SELECT h.owner, h.dataset, h.data_group FROM spine.owners_of(linked) h),
	shown (owner, basis) AS MATERIALIZED (
		SELECT r.from_organisation, format('%s v%s clause %s', r.agreement, r.version, r.clause)
		  FROM spine.emergency_rules(acts_for) r
		 WHERE r.from_organisation <> ALL (spine.hosted_organisations())
			OR EXISTS (SELECT FROM held h WHERE h.owner = r.from_organisation AND h.dataset = r.dataset AND h.data_group = r.data_group)
		UNION
		SELECT h.owner, format('%s v%s clause %s', r.agreement, r.version, r.clause)
		  FROM held h
		 CROSS JOIN LATERAL spine.rules_that_hold(h.owner, h.dataset, h.data_group, linked) r
		 WHERE r.to_organisation = acts_for AND r.purpose = 'care'
		UNION
		SELECT h.owner, 'own records' FROM held h WHERE h.owner = ANY (own)
	)
	SELECT ARRAY(SELECT DISTINCT s.owner COLLATE "C" FROM shown s ORDER BY 1), ARRAY(SELECT DISTINCT s.basis FROM shown s ORDER BY 1)
	  INTO the_owners, the_basis;

	-- the entry, and with it the emergency, stands whatever becomes of this transaction
	PERFORM spine.audit_access(acts_for, 'clinician', the_patient, 'emergency', the_reason, the_owners, '{emergency}', the_basis,
							   the_end, spine.uuid_v7());
	RETURN spine.opening_add(linked, acts_for, 'emergency', coalesce(for_transaction, false), the_end);
END
$fn$;
COMMENT ON FUNCTION spine.break_glass(spine.nhs_number, text, text, boolean) IS
	'Opens a person''s record in an emergency, without a relationship and against a dissent, to a clinician in this session for spine.emergency_minutes, or in this transaction alone: other owners'' rows as far as an agreement allows it for emergencies. For the first of his organisations, or the one named, to which an agreement allows it or that has records of her; else SP006, whoever else has any. Each use is logged, and stands in spine.review until a governor of either side closes it. Returns until when.';

CREATE FUNCTION spine.with_units(organisation text) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	WITH RECURSIVE below (code) AS (
		SELECT organisation
		UNION
		SELECT o.code FROM below b JOIN spine.organisation o ON o.parent = b.code WHERE o.kind = 'unit'
	)
	SELECT ARRAY(SELECT b.code FROM below b WHERE b.code = ANY (spine.hosted_organisations()))
	$fn$;
COMMENT ON FUNCTION spine.with_units(text) IS
	'An organisation and the units below it, as far as they are hosted here: what its clinicians read as their own.';

CREATE FUNCTION spine.emergency_rules(organisation text)
	RETURNS TABLE (from_organisation text, dataset text, data_group text, agreement text, version integer, clause integer)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT r.from_organisation, r.dataset, r.data_group, r.agreement, r.version, r.clause
	  FROM spine.sharing_rule r
	 WHERE r.to_organisation = emergency_rules.organisation AND r.purpose = 'care' AND r.emergency
	   AND r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)
	$fn$;
COMMENT ON FUNCTION spine.emergency_rules(text) IS 'The rules in force under which an organisation may see others'' rows in an emergency.';

--
-- Review
--

CREATE FUNCTION spine.reviews_of(governed text[], only_this uuid DEFAULT NULL)
	RETURNS TABLE (relationship_id uuid, patient_id uuid, organisation text, reason text, at timestamptz, until timestamptz,
				   role_name name, user_name text, state text, explained_by text, explained_at timestamptz,
				   outcome text, note text, closed_by text, closed_at timestamptz, speaks_for text, audience text[])
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH emergency AS MATERIALIZED (
		SELECT l.relationship_id, l.patient_id, l.organisation, l.reason, l.since, l.until, l.audience,
			   spine.linked_patients(l.patient_id) AS linked
		  FROM spine.relationship l
		 WHERE l.kind = 'emergency' AND (only_this IS NULL OR l.relationship_id = only_this)
		   AND (l.organisation = ANY (governed) OR l.audience && ARRAY(SELECT g || ':care' FROM unnest(governed) g))
	), held AS MATERIALIZED (
		SELECT DISTINCT h.patient_id, h.owner
		  FROM spine.owners_of(ARRAY(SELECT DISTINCT unnest(e.linked) FROM emergency e WHERE e.organisation <> ALL (governed))) h
		 WHERE h.owner = ANY (governed)
	), concerned AS (
		SELECT e.*, CASE WHEN e.organisation = ANY (governed) THEN e.organisation
						 ELSE (SELECT min(h.owner COLLATE "C") FROM held h
								WHERE h.patient_id = ANY (e.linked) AND e.audience @> ARRAY[h.owner || ':care']) END AS speaks_for
		  FROM emergency e
	)
	SELECT c.relationship_id, c.patient_id, c.organisation, c.reason, c.since, c.until, w.role_name, w.user_name,
		   CASE WHEN v.at IS NOT NULL THEN 'closed' WHEN x.since IS NOT NULL THEN 'explained' ELSE 'open' END,
		   x.kind, x.since, v.outcome, v.note, v.owner, v.at, c.speaks_for, c.audience
	  FROM concerned c
	  LEFT JOIN LATERAL (
		SELECT l.kind, l.since
		  FROM spine.relationship l
		 WHERE l.patient_id = ANY (c.linked) AND l.organisation = c.organisation AND l.kind IN ('episode', 'referral', 'transfer')
		   AND l.since > c.since
		   AND l.since <= c.since + make_interval(days => current_setting('spine.emergency_explained_days')::integer)
		 ORDER BY l.since, l.kind LIMIT 1) x ON true
	  LEFT JOIN LATERAL (
		SELECT e.outcome, e.note, e.owner, e.at
		  FROM spine.review_event e
		 WHERE e.relationship_id = c.relationship_id
		   -- by one whom it concerns, as far as this node knows
		   AND (e.owner = c.organisation OR c.audience @> ARRAY[e.owner || ':care'])
		 ORDER BY e.at, e.event_id LIMIT 1) v ON true
	  LEFT JOIN LATERAL (
		-- the entry that was written with it, one emergency a transaction: here, or as the reader's node has told it
		SELECT e.role_name, e.user_name
		  FROM (SELECT a.at, a.role_name, a.user_name FROM spine.access_log a
				 WHERE a.kind = 'emergency' AND a.patient_id = c.patient_id AND a.organisation = c.organisation AND a.at >= c.since
				UNION ALL
				SELECT n.at, n.role_name, n.user_name FROM spine.access_notice n
				 WHERE n.how @> '{emergency}' AND n.patient_id = c.patient_id AND n.organisation = c.organisation AND n.at >= c.since) e
		 ORDER BY e.at LIMIT 1) w ON true
	 WHERE c.speaks_for IS NOT NULL
	 ORDER BY c.since, c.relationship_id;
END
$fn$;
COMMENT ON FUNCTION spine.reviews_of(text[], uuid) IS
	'The emergencies that concern one of these organisations: its own, and those that could show records of hers that it has here. speaks_for: which of them. Nothing of a review is stored but that it was closed.';

CREATE FUNCTION spine.my_reviews()
	RETURNS TABLE (relationship_id uuid, patient_id uuid, organisation text, reason text, at timestamptz, until timestamptz,
				   role_name name, user_name text, state text, explained_by text, explained_at timestamptz,
				   outcome text, note text, closed_by text, closed_at timestamptz)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT r.relationship_id, r.patient_id, r.organisation, r.reason, r.at, r.until, r.role_name, r.user_name, r.state,
		   r.explained_by, r.explained_at, r.outcome, r.note, r.closed_by, r.closed_at
	  FROM spine.reviews_of(spine.caller_organisations('governor')) r
	$fn$;
COMMENT ON FUNCTION spine.my_reviews() IS 'The rows of spine.review.';

CREATE FUNCTION spine.close_review(the_relationship uuid, outcome text, note text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	mine text[] := spine.require_duty('{governor}');
	the_note text;
	item record;
BEGIN
	IF outcome IS NULL OR outcome NOT IN ('appropriate', 'inappropriate', 'unclear') THEN
		RAISE EXCEPTION 'there is no outcome "%"', outcome
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Outcomes are appropriate, inappropriate and unclear.';
	END IF;
	the_note := spine.require_text(note, 'a note');
	-- of two who close it at once, the second waits and is told
	PERFORM FROM spine.relationship l WHERE l.relationship_id = the_relationship AND l.kind = 'emergency' FOR UPDATE;
	SELECT * INTO item FROM spine.reviews_of(mine, the_relationship);
	IF the_relationship IS NULL OR item.speaks_for IS NULL THEN
		RAISE EXCEPTION 'no such review that you could close'
			USING ERRCODE = 'SP006', DETAIL = 'It is closed by a governor of the organisation that broke the glass, or of one whose records it could show.';
	END IF;
	IF item.state <> 'closed' THEN
		INSERT INTO spine.review_event (event_id, relationship_id, owner, outcome, note, by_role, user_name, audience)
			VALUES (spine.uuid_v7(), the_relationship, item.speaks_for, close_review.outcome, the_note, spine.caller_role(),
					nullif(current_setting('spine.user', true), ''),
					array_remove(spine.audience_union(item.audience, ARRAY[item.organisation || ':care']), item.speaks_for || ':care'))
			ON CONFLICT (relationship_id, owner) DO NOTHING;
		IF FOUND THEN
			RETURN;
		END IF;
	END IF;
	RAISE EXCEPTION 'this review is closed' USING ERRCODE = 'object_not_in_prerequisite_state';
END
$fn$;
COMMENT ON FUNCTION spine.close_review(uuid, text, text) IS
	'Closes the review of an emergency, for both sides and for good, with an outcome (appropriate, inappropriate, unclear) and a note that says why. For a governor of the organisation that broke the glass, or of one whose records it could show; SP006 for others, 55000 if it is closed.';

--
-- Dissent
--

CREATE FUNCTION spine.record_dissent(nhs_number spine.nhs_number, purpose text, organisation text DEFAULT NULL, reason text DEFAULT NULL)
	RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	mine text[] := spine.require_duty('{clinician,governor,portal}');
	the_code text := organisation::spine.ods_code::text;
	the_patient uuid;
	the_dissent uuid;
BEGIN
	IF purpose IS NULL OR purpose NOT IN ('care', 'reporting', 'commissioning', 'secondary') THEN
		RAISE EXCEPTION 'there is no purpose "%" from which to dissent', purpose
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Purposes are care, reporting, commissioning, and secondary for the latter two together.';
	END IF;
	IF NOT EXISTS (SELECT FROM spine.organisation o WHERE o.code = the_code) AND the_code IS NOT NULL THEN
		RAISE EXCEPTION 'organisation % does not exist', the_code USING ERRCODE = 'undefined_object';
	END IF;
	the_patient := spine.require_patient(nhs_number);
	-- a second time where somebody withdraws it at this moment
	WHILE the_dissent IS NULL LOOP
		INSERT INTO spine.dissent AS d (dissent_id, patient_id, purpose, organisation, owner, reason, recorded_by, audience)
			VALUES (spine.uuid_v7(), the_patient, record_dissent.purpose, the_code, mine[1],
					CASE WHEN record_dissent.reason ~ '[^[:space:]]' THEN btrim(record_dissent.reason) END, spine.caller_role(),
					spine.dissent_audience(mine[1]))
			ON CONFLICT DO NOTHING
			RETURNING d.dissent_id INTO the_dissent;
		IF the_dissent IS NULL THEN
			SELECT d.dissent_id INTO the_dissent
			  FROM spine.dissent d
			 WHERE d.patient_id = the_patient AND d.purpose = record_dissent.purpose AND d.organisation IS NOT DISTINCT FROM the_code
			   AND d.owner = mine[1] AND d.until IS NULL;
		END IF;
	END LOOP;
	RETURN the_dissent;
END
$fn$;
COMMENT ON FUNCTION spine.record_dissent(spine.nhs_number, text, text, text) IS
	'A person does not want her records shared for a purpose (care, reporting, commissioning; secondary: the latter two) with an organisation, or with anybody if none is named. At once here, and at neighbours as soon as it arrives. It is recorded for the caller''s organisation, of several for the first in order of code. The same again gives the same dissent, whose id is returned. For clinicians, governors and the portal.';

CREATE FUNCTION spine.withdraw_dissent(the_dissent uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	mine text[] := spine.require_duty('{clinician,governor,portal}');
BEGIN
	UPDATE spine.dissent d SET until = now(), revision = d.revision + 1
	 WHERE d.dissent_id = the_dissent AND d.owner = ANY (mine) AND (d.until IS NULL OR d.until > now());
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no such dissent that you could withdraw'
			USING ERRCODE = 'SP006', DETAIL = 'It is withdrawn at the organisation that recorded it.';
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.withdraw_dissent(uuid) IS
	'Withdraws a dissent that one''s own organisation has recorded: what it held back is shared again. For clinicians, governors and the portal.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.refer(spine.nhs_number, text, text)', 'spine.transfer(spine.nhs_number, text, text)',
		'spine.claim(spine.nhs_number, text, text)', 'spine.end_relationship(uuid)',
		'spine.break_glass(spine.nhs_number, text, text, boolean)', 'spine.my_reviews()', 'spine.close_review(uuid, text, text)',
		'spine.record_dissent(spine.nhs_number, text, text, text)', 'spine.withdraw_dissent(uuid)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.caller_in_duty(text[])', 'spine.require_duty(text[], text)', 'spine.require_text(text, text)',
		'spine.require_patient(spine.nhs_number)', 'spine.own_owner(uuid[], text[])', 'spine.owners_of(uuid[])',
		'spine.begin_relationship(uuid, text, text, text, text)', 'spine.send_person(spine.nhs_number, text, text, text)',
		'spine.with_units(text)', 'spine.emergency_rules(text)', 'spine.reviews_of(text[], uuid)']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.refer(spine.nhs_number, text, text), spine.transfer(spine.nhs_number, text, text),
	spine.claim(spine.nhs_number, text, text), spine.break_glass(spine.nhs_number, text, text, boolean) TO spine_member;
GRANT EXECUTE ON FUNCTION spine.end_relationship(uuid) TO spine_member, spine_governor;
GRANT EXECUTE ON FUNCTION spine.my_reviews(), spine.close_review(uuid, text, text) TO spine_governor;
GRANT EXECUTE ON FUNCTION spine.record_dissent(spine.nhs_number, text, text, text), spine.withdraw_dissent(uuid)
	TO spine_member, spine_governor, spine_portal;
