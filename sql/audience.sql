-- Sharing rules, and the audience of every record that follows from them and from relationships.

--
-- Sharing rules
--

CREATE FUNCTION spine.published_groups() RETURNS TABLE (dataset text, data_group text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 50
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT DISTINCT d.name, g.definition ->> 'name'
	  FROM spine.dataset d
	 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS g (definition)
	$fn$;
COMMENT ON FUNCTION spine.published_groups() IS 'Every data group of every data set published here.';

CREATE FUNCTION spine.newest_groups() RETURNS TABLE (dataset text, data_group text, items jsonb)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 50
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT n.name, n.data_group, jsonb_agg(n.body)
	  FROM (SELECT DISTINCT ON (d.name, g.definition ->> 'name', spine.item_column(i.body))
				   d.name, g.definition ->> 'name' AS data_group, i.body
			  FROM spine.dataset d
			 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS g (definition)
			 CROSS JOIN LATERAL jsonb_array_elements(g.definition -> 'items') AS i (body)
			 ORDER BY d.name, g.definition ->> 'name', spine.item_column(i.body), string_to_array(d.version, '.')::integer[] DESC) n
	 GROUP BY n.name, n.data_group
	$fn$;
COMMENT ON FUNCTION spine.newest_groups() IS
	'Every data group published here with its items of all versions, each as the newest version that has it defines it: what class an item is of, that version says, in the views of older ones too.';

CREATE FUNCTION spine.rules_of_agreement(document jsonb)
	RETURNS TABLE (clause integer, from_organisation text, to_organisation text, purpose text, dataset text, data_group text,
				   relationships text[], retention interval, scope text[], emergency boolean, emergency_scope text[],
				   about_mother boolean, identified boolean)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
	WITH said AS MATERIALIZED (
		-- once for a group of a clause, not once for a rule
		SELECT c.n, c.clause, k.dataset, k.data_group,
			   spine.clause_scope(c.clause, k.data_group, k.items) AS scope,
			   CASE WHEN spine.clause_emergency(c.clause) THEN spine.clause_emergency_scope(c.clause, k.data_group, k.items)
					ELSE '{}' END AS emergency_scope
		  FROM jsonb_array_elements(document -> 'clauses') WITH ORDINALITY AS c (clause, n)
		  JOIN spine.newest_groups() k ON k.dataset = c.clause ->> 'dataset'
									  AND (c.clause -> 'groups' = '"all"' OR c.clause -> 'groups' @> to_jsonb(k.data_group))
	)
	SELECT s.n::integer, f.code, t.code, s.clause ->> 'purpose', s.dataset, s.data_group,
		   spine.clause_relationships(s.clause), spine.clause_retention(s.clause), s.scope,
		   spine.clause_emergency(s.clause), s.emergency_scope,
		   EXISTS (SELECT FROM unnest(s.scope || s.emergency_scope) AS u WHERE starts_with(u, 'm')),
		   spine.clause_identified(s.clause)
	  FROM said s
	 CROSS JOIN LATERAL jsonb_array_elements_text(s.clause -> 'from') AS f (code)
	 CROSS JOIN LATERAL jsonb_array_elements_text(s.clause -> 'to') AS t (code)
	 WHERE f.code <> t.code
	$fn$;
COMMENT ON FUNCTION spine.rules_of_agreement(jsonb) IS
	'The sharing rules that a sound agreement document stands for, here and now. A data group that is not published here has no rule until it is.';

CREATE FUNCTION spine.rules_of_agreements()
	RETURNS TABLE (agreement text, version integer, clause integer, from_organisation text, to_organisation text,
				   purpose text, dataset text, data_group text, relationships text[], retention interval, scope text[],
				   emergency boolean, emergency_scope text[], about_mother boolean, identified boolean,
				   starts_at timestamptz, ends_at timestamptz, in_force boolean)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
	SELECT a.name, a.version, r.clause, r.from_organisation, r.to_organisation, r.purpose, r.dataset, r.data_group,
		   r.relationships, r.retention, r.scope, r.emergency, r.emergency_scope, r.about_mother, r.identified,
		   a.starts_at, a.ends_at, a.in_force
	  FROM spine.agreement_states() a
	 CROSS JOIN LATERAL spine.rules_of_agreement(a.document) r
	 WHERE a.state = 'published'
	$fn$;
COMMENT ON FUNCTION spine.rules_of_agreements() IS 'What spine.sharing_rule should hold now.';

CREATE FUNCTION spine.compile_agreements() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	before spine.sharing_rule[];
	wanted spine.sharing_rule[];
	hosted text[] := spine.hosted_organisations();
	changed record;
	done record;
	-- records whose audience is computed within this transaction: a revocation waits for no more
	few integer := 2000;
	touched bigint := 0;
BEGIN
	-- one at a time: two would each miss what the other has not committed. Anybody could hold an
	-- advisory lock, and with it a revocation.
	LOCK TABLE spine.sharing_rule IN SHARE ROW EXCLUSIVE MODE;

	before := ARRAY(SELECT r FROM spine.sharing_rule r WHERE r.in_force);
	wanted := ARRAY(
		SELECT (w.agreement, w.version, w.clause, w.from_organisation, w.to_organisation, w.purpose, w.dataset, w.data_group,
				w.relationships, w.retention, w.scope, w.emergency, w.emergency_scope, w.about_mother, w.identified,
				w.starts_at, w.ends_at, w.in_force)::spine.sharing_rule
		  FROM spine.rules_of_agreements() w);
	DELETE FROM spine.sharing_rule r
	 WHERE NOT EXISTS (
		SELECT FROM unnest(wanted) w
		 WHERE w.from_organisation = r.from_organisation AND w.dataset = r.dataset AND w.data_group = r.data_group
		   AND w.to_organisation = r.to_organisation AND w.purpose = r.purpose
		   AND w.agreement = r.agreement AND w.version = r.version AND w.clause = r.clause
		   AND w IS NOT DISTINCT FROM r);
	INSERT INTO spine.sharing_rule SELECT w.* FROM unnest(wanted) w
	ON CONFLICT (from_organisation, dataset, data_group, to_organisation, purpose, agreement, version, clause) DO NOTHING;

	-- which audiences rest on what has changed: of relationships and dissents first, so that they travel first
	PERFORM spine.reaudience_relationships(ARRAY(
		WITH was AS (SELECT w.to_organisation, w.from_organisation, w.emergency FROM unnest(before) w WHERE w.purpose = 'care'),
			 is_now AS (SELECT r.to_organisation, r.from_organisation, r.emergency FROM spine.sharing_rule r
						 WHERE r.in_force AND r.purpose = 'care')
		SELECT DISTINCT d.to_organisation
		  FROM ((SELECT * FROM was EXCEPT SELECT * FROM is_now)
				UNION ALL
				(SELECT * FROM is_now EXCEPT SELECT * FROM was)) d));
	UPDATE spine.dissent d SET audience = w.audience
	  FROM (SELECT o AS owner, spine.dissent_audience(o) AS audience FROM unnest(hosted) o) w
	 WHERE d.owner = w.owner AND d.audience IS DISTINCT FROM w.audience;
	FOR changed IN
		-- what of a rule decides an audience
		WITH was AS (SELECT w.from_organisation, w.dataset, w.data_group, w.to_organisation, w.purpose, w.relationships, w.retention,
							w.scope, w.emergency, w.emergency_scope
					   FROM unnest(before) w),
			 is_now AS (SELECT r.from_organisation, r.dataset, r.data_group, r.to_organisation, r.purpose, r.relationships, r.retention,
							   r.scope, r.emergency, r.emergency_scope
						  FROM spine.sharing_rule r WHERE r.in_force)
		SELECT DISTINCT d.from_organisation, d.dataset, d.data_group
		  FROM ((SELECT * FROM was EXCEPT SELECT * FROM is_now)
				UNION ALL
				(SELECT * FROM is_now EXCEPT SELECT * FROM was)) d
		 WHERE d.from_organisation = ANY (hosted)
		 ORDER BY 1, 2, 3
	LOOP
		SELECT * INTO done FROM spine.reaudience_group(changed.from_organisation, changed.dataset, changed.data_group, few);
		touched := touched + done.touched;
		few := done.few;
		INSERT INTO spine.unsettled (owner, dataset, data_group)
			VALUES (changed.from_organisation, changed.dataset, changed.data_group);
	END LOOP;
	RETURN touched;
END
$fn$;
COMMENT ON FUNCTION spine.compile_agreements() IS
	'Brings spine.sharing_rule in line with the agreements in force at this moment, and the audiences with it, those of large groups by and by (spine.reaudience_task). Returns the number of records whose audience changed. Called by triggers, and by spine.settle_audiences() when an agreement''s time begins or ends.';

CREATE FUNCTION spine.agreements_are_due() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT EXISTS (SELECT FROM spine.sharing_rule r
					WHERE r.in_force <> (r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)))
	$fn$;
COMMENT ON FUNCTION spine.agreements_are_due() IS
	'Whether time alone has put a rule into force or out of it since spine.compile_agreements() last ran.';

CREATE FUNCTION spine.agreements_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	PERFORM spine.compile_agreements();
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.agreements_changed() IS
	'AFTER STATEMENT trigger on spine.agreement_event and spine.dataset: compiles the agreements anew.';

--
-- Patients and relationships
--

CREATE FUNCTION spine.linked_patients(patient uuid) RETURNS uuid[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
BEGIN
	-- nearly everybody has one id
	IF NOT EXISTS (SELECT FROM spine.identity_link l WHERE l.from_patient = patient)
	   AND NOT EXISTS (SELECT FROM spine.identity_link l WHERE l.to_patient = patient) THEN
		RETURN ARRAY[patient];
	END IF;
	RETURN ARRAY(
		WITH RECURSIVE linked (id) AS (
			SELECT patient
			UNION
			SELECT n.id
			  FROM linked
			 CROSS JOIN LATERAL (
				SELECT l.to_patient AS id FROM spine.identity_link l
				 WHERE l.from_patient = linked.id AND (l.until IS NULL OR l.until > now())
				UNION ALL
				SELECT l.from_patient FROM spine.identity_link l
				 WHERE l.to_patient = linked.id AND (l.until IS NULL OR l.until > now())) n)
		SELECT id FROM linked ORDER BY id);
END
$fn$;
COMMENT ON FUNCTION spine.linked_patients(uuid) IS
	'All ids of the person with this id, over links that hold now; the id itself is always among them.';

CREATE FUNCTION spine.end_alias(organisation text, system text, local_patient_id text) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	the_patient uuid;
BEGIN
	PERFORM spine.require_operator(end_alias.organisation);
	DELETE FROM spine.alias a
	 WHERE a.owner = end_alias.organisation AND a.source_system = end_alias.system
	   AND a.local_patient_id = end_alias.local_patient_id
	RETURNING a.patient_id INTO the_patient;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the system has sent no such patient number'
			USING ERRCODE = 'no_data_found';
	END IF;
	-- its episode numbers lead to the same person
	DELETE FROM spine.episode_alias e
	 WHERE e.owner = end_alias.organisation AND e.source_system = end_alias.system AND e.patient_id = the_patient
	   AND NOT EXISTS (SELECT FROM spine.alias a
						WHERE a.owner = e.owner AND a.source_system = e.source_system AND a.patient_id = e.patient_id);
	-- and so do the links that it brought about
	UPDATE spine.identity_link l SET until = now()
	 WHERE l.owner = end_alias.organisation AND l.method = 'nhs_number' AND l.until IS NULL
	   AND l.from_patient = the_patient
	   AND NOT EXISTS (SELECT FROM spine.alias a WHERE a.patient_id = the_patient);
	RETURN the_patient;
END
$fn$;
COMMENT ON FUNCTION spine.end_alias(text, text, text) IS
	'Forgets whom a system''s own patient number means, with the episode numbers and the link that rest on it: after the system sent it with a wrong NHS number. What is stored stays where it is until the system sends it again, with the right number. Returns the patient id it meant. For an operator of the organisation.';

/*
 * The one definition of who may see what of a person: DESIGN, "Governance". No SET clauses on these three: they
 * become part of the statement that asks, which plans them once.
 */
CREATE FUNCTION spine.rules_of_owners(owners text[], persons uuid[])
	RETURNS TABLE (owner text, dataset text, data_group text, to_organisation text, purpose text, scope text[],
				   agreement text, version integer, clause integer)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
	AS $fn$
	-- of the person once, not once for a rule; of relationships of one kind that which ends last decides
	WITH related AS MATERIALIZED (
		SELECT l.organisation, l.kind, nullif(pg_catalog.max(coalesce(l.until, 'infinity')), 'infinity') AS until
		  FROM spine.relationship l WHERE l.patient_id = ANY (persons)
		 GROUP BY l.organisation, l.kind
	), dissents AS MATERIALIZED (
		SELECT d.purpose, d.organisation FROM spine.dissent d
		 WHERE d.patient_id = ANY (persons) AND (d.until IS NULL OR d.until > pg_catalog.now())
	)
	SELECT r.from_organisation, r.dataset, r.data_group, r.to_organisation, h.purpose,
		   CASE h.purpose WHEN 'emergency' THEN r.emergency_scope ELSE r.scope END, r.agreement, r.version, r.clause
	  FROM spine.sharing_rule r
	 CROSS JOIN LATERAL (
		SELECT r.purpose
		 WHERE (r.purpose <> 'care'
				OR EXISTS (SELECT FROM related l
							WHERE l.organisation = r.to_organisation AND l.kind = ANY (r.relationships)
							  AND (l.until IS NULL OR l.until + r.retention > pg_catalog.now())))
		   AND NOT EXISTS (SELECT FROM dissents d
							WHERE (d.purpose = r.purpose OR d.purpose = 'secondary' AND r.purpose IN ('reporting', 'commissioning'))
							  AND (d.organisation IS NULL OR d.organisation = r.to_organisation))
		 UNION ALL
		-- who broke the glass is not stopped by a dissent
		SELECT 'emergency'
		 WHERE r.emergency
		   AND EXISTS (SELECT FROM related l
						WHERE l.organisation = r.to_organisation AND l.kind = 'emergency' AND (l.until IS NULL OR l.until > pg_catalog.now()))) h (purpose)
	 WHERE r.from_organisation = ANY (owners)
	   AND r.starts_at <= pg_catalog.now() AND (r.ends_at IS NULL OR pg_catalog.now() < r.ends_at)
	$fn$;
COMMENT ON FUNCTION spine.rules_of_owners(text[], uuid[]) IS
	'The clauses in force under which an organisation may now have records of these owners about the person with these ids (NULL: about nobody), with what they show of the items. Care needs an active relationship of an accepted kind, or one within its retention, and no dissent; purpose emergency an active emergency, where the clause allows it; reporting and commissioning no dissent.';

CREATE FUNCTION spine.rules_that_hold(owner text, dataset text, data_group text, persons uuid[])
	RETURNS TABLE (to_organisation text, purpose text, scope text[], agreement text, version integer, clause integer)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
	AS $fn$
	SELECT h.to_organisation, h.purpose, h.scope, h.agreement, h.version, h.clause
	  FROM spine.rules_of_owners(ARRAY[rules_that_hold.owner], persons) h
	 WHERE h.dataset = rules_that_hold.dataset AND h.data_group = rules_that_hold.data_group
	$fn$;
COMMENT ON FUNCTION spine.rules_that_hold(text, text, text, uuid[]) IS 'spine.rules_of_owners() for one owner and data group.';

CREATE FUNCTION spine.audiences(owners text[], persons uuid[], mothers uuid[])
	RETURNS TABLE (owner text, dataset text, data_group text, audience text[])
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
	AS $fn$
	SELECT h.owner, h.dataset, h.data_group,
		   pg_catalog.array_agg(DISTINCT (h.to_organisation || ':' || h.purpose || s.said) COLLATE "C"
								ORDER BY (h.to_organisation || ':' || h.purpose || s.said) COLLATE "C")
	  FROM spine.rules_of_owners(audiences.owners, audiences.persons) h
	 CROSS JOIN LATERAL (
		SELECT '' UNION ALL
		SELECT '/' || u FROM pg_catalog.unnest(h.scope) u
		 WHERE NOT pg_catalog.starts_with(u, 'm')
			-- what a baby's record says of the mother: the same clause must hold for her
			OR (audiences.mothers <> '{}'
				AND EXISTS (SELECT FROM spine.rules_that_hold(h.owner, h.dataset, h.data_group, audiences.mothers) m
							 WHERE m.to_organisation = h.to_organisation AND m.purpose = h.purpose
							   AND m.agreement = h.agreement AND m.version = h.version AND m.clause = h.clause))) AS s (said)
	 GROUP BY h.owner, h.dataset, h.data_group
	$fn$;
COMMENT ON FUNCTION spine.audiences(text[], uuid[], uuid[]) IS
	'The audience, as spine.audience() has it, of these owners'' records about the person with these ids, whose mother has those, in every data group in which it is not empty.';

CREATE FUNCTION spine.mothers(children uuid[]) RETURNS uuid[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	AS $fn$
BEGIN
	RETURN ARRAY(
		SELECT DISTINCT m.id
		  FROM spine.family_link f
		 CROSS JOIN LATERAL unnest(spine.linked_patients(f.mother)) AS m (id)
		 WHERE f.child = ANY (children) AND (f.until IS NULL OR f.until > now()));
END
$fn$;
COMMENT ON FUNCTION spine.mothers(uuid[]) IS 'All ids of the mother of the child with these ids.';

CREATE FUNCTION spine.audience(owner text, dataset text, data_group text, patient_id uuid) RETURNS text[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	-- its plans may be made while the tables are small, and are kept
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
DECLARE
	linked uuid[];
	mothers uuid[] := '{}';
	about_mother boolean;
BEGIN
	SELECT bool_or(r.about_mother) INTO about_mother
	  FROM spine.sharing_rule r
	 WHERE r.from_organisation = owner AND r.dataset = audience.dataset AND r.data_group = audience.data_group;
	IF about_mother IS NULL THEN
		RETURN '{}';
	END IF;
	IF audience.patient_id IS NOT NULL THEN
		linked := spine.linked_patients(audience.patient_id);
	END IF;
	IF about_mother THEN
		mothers := spine.mothers(linked);
	END IF;
	RETURN coalesce((SELECT a.audience FROM spine.audiences(ARRAY[audience.owner], linked, mothers) a
					  WHERE a.dataset = audience.dataset AND a.data_group = audience.data_group), '{}');
END
$fn$;
COMMENT ON FUNCTION spine.audience(text, text, text, uuid) IS
	'Who may have a record of this owner, data group and patient now, in order: ORGANISATION:purpose, and behind a slash what it may have of the items: letters of whole classes (a administrative, c clinical, i identity, r restricted), +column for a single item, and the same behind m (m:aci, m+column) of what a baby''s record says about the mother. patient_id NULL: a record with no person in it.';

CREATE FUNCTION spine.reaudience(patients uuid[]) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_reaudience';
COMMENT ON FUNCTION spine.reaudience(uuid[]) IS
	'Computes anew the audience of every record of these patients, linked ids included, that an organisation hosted here owns. Records whose audience stays are not touched; revisions stay. Returns how many changed.';

CREATE FUNCTION spine.audience_expression() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT 'CASE WHEN EXISTS (SELECT FROM spine.relationship l WHERE l.patient_id = p.patient_id AND l.organisation <> $1)
					OR EXISTS (SELECT FROM spine.dissent d WHERE d.patient_id = p.patient_id)
					OR EXISTS (SELECT FROM spine.identity_link l WHERE l.from_patient = p.patient_id)
					OR EXISTS (SELECT FROM spine.identity_link l WHERE l.to_patient = p.patient_id)
					OR EXISTS (SELECT FROM spine.family_link f WHERE f.child = p.patient_id)
				 THEN spine.audience($1, $2, $3, p.patient_id)
				 ELSE (SELECT spine.audience($1, $2, $3, NULL)) END'
	$fn$;
COMMENT ON FUNCTION spine.audience_expression() IS
	'SQL: spine.audience() of owner $1, data set $2, data group $3 and p.patient_id, for many patients. Most have nobody but their owner, no dissent and one id: what holds of records about nobody holds of theirs, and is computed once.';

CREATE FUNCTION spine.reaudience_rules(the_owner text, the_dataset text, the_group text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	touched bigint;
	persons bigint;
BEGIN
	IF to_regclass(format('%I.%I', the_dataset, the_group)) IS NULL
	   OR the_owner <> ALL (spine.hosted_organisations()) THEN
		RETURN 0;
	END IF;
	-- once for a patient, not once for a record; whom many have a relationship to is not asked, which may be all there are
	EXECUTE format(
		'WITH wanted AS MATERIALIZED (
			SELECT p.patient_id, ' || spine.audience_expression() || ' AS audience
			  FROM (SELECT DISTINCT t.patient_id FROM %1$I.%2$I t WHERE t.owner = $1 AND t.patient_id IS NOT NULL) p)
		 UPDATE %1$I.%2$I t SET audience = w.audience
		   FROM wanted w
		  WHERE t.owner = $1 AND t.patient_id = w.patient_id AND t.audience IS DISTINCT FROM w.audience',
		the_dataset, the_group)
		USING the_owner, the_dataset, the_group;
	GET DIAGNOSTICS persons = ROW_COUNT;
	EXECUTE format(
		'UPDATE %1$I.%2$I t SET audience = w.audience
		   FROM (SELECT spine.audience($1, $2, $3, NULL) AS audience) w
		  WHERE t.owner = $1 AND t.patient_id IS NULL AND t.audience IS DISTINCT FROM w.audience',
		the_dataset, the_group)
		USING the_owner, the_dataset, the_group;
	GET DIAGNOSTICS touched = ROW_COUNT;
	RETURN persons + touched;
END
$fn$;
COMMENT ON FUNCTION spine.reaudience_rules(text, text, text) IS
	'Computes anew the audience of all records of an owner hosted here in a data group. Returns how many changed.';

CREATE FUNCTION spine.reaudience_group(the_owner text, the_dataset text, the_group text, INOUT few integer, OUT touched bigint)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	records integer;
BEGIN
	touched := 0;
	IF to_regclass(format('%I.%I', the_dataset, the_group)) IS NULL OR the_owner <> ALL (spine.hosted_organisations()) THEN
		RETURN;
	END IF;
	EXECUTE format('SELECT count(*) FROM (SELECT FROM %I.%I t WHERE t.owner = $1 LIMIT $2 + 1) x', the_dataset, the_group)
		INTO records USING the_owner, few;
	IF records <= few THEN
		touched := spine.reaudience_rules(the_owner, the_dataset, the_group);
		few := few - records;
		RETURN;
	END IF;
	INSERT INTO spine.reaudience_task (owner, dataset, data_group) VALUES (the_owner, the_dataset, the_group)
		ON CONFLICT (owner, dataset, data_group) DO UPDATE SET done_to = NULL, since = clock_timestamp();
	PERFORM spine.ring_doorbell();
END
$fn$;
COMMENT ON FUNCTION spine.reaudience_group(text, text, text, integer) IS
	'spine.reaudience_rules at once where the owner has few records in the group, at most so many; more are left to spine.reaudience_turn(), and what changes the rules commits without waiting for them. Returns how many records changed, and how many more may be done at once.';

CREATE FUNCTION spine.reaudience_turn(most integer DEFAULT 500) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	task spine.reaudience_task;
	looked_at bigint;
	upto uuid;
BEGIN
	SELECT * INTO task FROM spine.reaudience_task t ORDER BY t.since, t.owner, t.dataset, t.data_group LIMIT 1 FOR UPDATE SKIP LOCKED;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	IF to_regclass(format('%I.%I', task.dataset, task.data_group)) IS NOT NULL THEN
		-- in the order of ids, once for a patient of the piece
		EXECUTE format(
			'WITH piece AS MATERIALIZED (
				SELECT t.record_id, t.patient_id, t.audience FROM %1$I.%2$I t
				 WHERE t.owner = $1 AND ($4 IS NULL OR t.record_id > $4) ORDER BY t.record_id LIMIT $5
			 ), wanted AS MATERIALIZED (
				SELECT p.patient_id, ' || spine.audience_expression() || ' AS audience
				  FROM (SELECT DISTINCT piece.patient_id FROM piece) p
			 ), mended AS (
				UPDATE %1$I.%2$I t SET audience = w.audience
				  FROM piece p
				  -- not by IS NOT DISTINCT FROM alone, which compares each with each
				  JOIN wanted w ON coalesce(w.patient_id, ''00000000-0000-0000-0000-000000000000'') = coalesce(p.patient_id, ''00000000-0000-0000-0000-000000000000'')
							   AND w.patient_id IS NOT DISTINCT FROM p.patient_id
				 WHERE t.record_id = p.record_id AND p.audience IS DISTINCT FROM w.audience
			 )
			 SELECT count(*), (SELECT l.record_id FROM piece l ORDER BY l.record_id DESC LIMIT 1) FROM piece',
			task.dataset, task.data_group)
			INTO looked_at, upto
			USING task.owner, task.dataset, task.data_group, task.done_to, most;
	END IF;
	IF coalesce(looked_at, 0) < most THEN
		DELETE FROM spine.reaudience_task t
		 WHERE t.owner = task.owner AND t.dataset = task.dataset AND t.data_group = task.data_group;
	ELSE
		UPDATE spine.reaudience_task t SET done_to = upto
		 WHERE t.owner = task.owner AND t.dataset = task.dataset AND t.data_group = task.data_group;
	END IF;
	RETURN greatest(coalesce(looked_at, 0), 1);
END
$fn$;
COMMENT ON FUNCTION spine.reaudience_turn(integer) IS
	'One piece of what spine.reaudience_task holds: so many records have their audience computed anew. Returns how many were looked at, 0 when there is nothing to do. The courier calls it; a transaction for each piece, so that nobody waits long for a row.';

CREATE FUNCTION spine.relationship_audience(owner text, organisation text, kind text DEFAULT NULL) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT (a.code || ':care') COLLATE "C"
		  FROM (SELECT relationship_audience.organisation AS code
				UNION
				SELECT r.from_organisation FROM spine.sharing_rule r
				 WHERE r.to_organisation = relationship_audience.organisation AND r.purpose = 'care'
				   AND (r.emergency OR kind IS DISTINCT FROM 'emergency')
				   AND r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)) a
		 WHERE a.code <> relationship_audience.owner
		 ORDER BY 1)
	$fn$;
COMMENT ON FUNCTION spine.relationship_audience(text, text, text) IS
	'Who must know that this organisation has a relationship to a person: itself, and everybody who shares with it for care, of an emergency for care in emergencies; never the owner, who has the row.';

CREATE FUNCTION spine.reaudience_relationships(organisations text[]) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	touched bigint;
BEGIN
	IF organisations = '{}' THEN
		RETURN 0;
	END IF;
	WITH wanted AS MATERIALIZED (
		SELECT p.owner, p.organisation, p.kind, spine.relationship_audience(p.owner, p.organisation, p.kind) AS audience
		  FROM (SELECT DISTINCT l.owner, l.organisation, l.kind FROM spine.relationship l
				 WHERE l.organisation = ANY (organisations) AND l.owner = ANY (spine.hosted_organisations())) p)
	UPDATE spine.relationship l
	   -- who has an emergency to review keeps it
	   SET audience = CASE WHEN l.kind = 'emergency' THEN spine.audience_union(l.audience, w.audience) ELSE w.audience END
	  FROM wanted w
	 WHERE l.owner = w.owner AND l.organisation = w.organisation AND l.kind = w.kind
	   AND CASE WHEN l.kind = 'emergency' THEN NOT l.audience @> w.audience ELSE l.audience IS DISTINCT FROM w.audience END;
	GET DIAGNOSTICS touched = ROW_COUNT;
	RETURN touched;
END
$fn$;
COMMENT ON FUNCTION spine.reaudience_relationships(text[]) IS
	'Computes anew who must know of the relationships of these organisations, as far as they were recorded here. Returns how many changed.';

CREATE FUNCTION spine.audience_union(one text[], other text[]) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT ARRAY(SELECT DISTINCT u COLLATE "C" FROM unnest(one || other) u ORDER BY 1) $fn$;
COMMENT ON FUNCTION spine.audience_union(text[], text[]) IS 'The tokens of both audiences, in order.';

CREATE FUNCTION spine.dissent_audience(owner text) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT (a.code || ':care') COLLATE "C"
		  FROM (SELECT r.from_organisation AS code FROM spine.sharing_rule r
				 WHERE r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)
				UNION
				SELECT r.to_organisation FROM spine.sharing_rule r
				 WHERE r.starts_at <= now() AND (r.ends_at IS NULL OR now() < r.ends_at)) a
		 WHERE a.code <> dissent_audience.owner
		 ORDER BY 1)
	$fn$;
COMMENT ON FUNCTION spine.dissent_audience(text) IS
	'Who must know of a dissent that this organisation has recorded: whoever shares anything with anybody, and whoever gets it; never the owner, who has the row.';

CREATE FUNCTION spine.dissent_fill() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	NEW.audience := spine.dissent_audience(NEW.owner);
	RETURN NEW;
END
$fn$;
COMMENT ON FUNCTION spine.dissent_fill() IS 'BEFORE INSERT trigger on spine.dissent: fills an audience that was left out.';

CREATE FUNCTION spine.settle_patients(patients uuid[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF cardinality(patients) > 0 THEN
		PERFORM spine.reaudience(patients);
		INSERT INTO spine.unsettled (patients) VALUES (patients);
	END IF;
END
$fn$;
COMMENT ON FUNCTION spine.settle_patients(uuid[]) IS
	'Computes anew the audience of these patients'' records, now and once more when nobody is left who writes without knowing.';

CREATE FUNCTION spine.dissent_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	IF NOT EXISTS (SELECT FROM spine.sharing_rule) THEN
		RETURN NULL;
	END IF;
	IF TG_OP = 'INSERT' THEN
		PERFORM spine.settle_patients(ARRAY(SELECT DISTINCT n.patient_id FROM new_rows n));
	ELSIF TG_OP = 'DELETE' THEN
		PERFORM spine.settle_patients(ARRAY(SELECT DISTINCT o.patient_id FROM old_rows o));
	ELSE
		PERFORM spine.settle_patients(ARRAY(
			SELECT DISTINCT v.patient_id
			  FROM old_rows o JOIN new_rows n USING (dissent_id)
			 CROSS JOIN LATERAL (VALUES (o.patient_id), (n.patient_id)) AS v (patient_id)
			 WHERE (o.patient_id, o.purpose, o.organisation, o.until) IS DISTINCT FROM (n.patient_id, n.purpose, n.organisation, n.until)));
	END IF;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.dissent_changed() IS
	'AFTER STATEMENT trigger on spine.dissent, local or received: computes anew the audience of the patients'' records.';

CREATE FUNCTION spine.family_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	-- who the mother is matters to what a baby's record says about her
	IF NOT EXISTS (SELECT FROM spine.sharing_rule r WHERE r.about_mother) THEN
		RETURN NULL;
	END IF;
	IF TG_OP = 'INSERT' THEN
		PERFORM spine.settle_patients(ARRAY(SELECT DISTINCT n.child FROM new_rows n));
	ELSIF TG_OP = 'DELETE' THEN
		PERFORM spine.settle_patients(ARRAY(SELECT DISTINCT o.child FROM old_rows o));
	ELSE
		PERFORM spine.settle_patients(ARRAY(SELECT o.child FROM old_rows o UNION SELECT n.child FROM new_rows n));
	END IF;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.family_changed() IS
	'AFTER STATEMENT trigger on spine.family_link: computes anew the audience of the children''s records.';

CREATE FUNCTION spine.relationship_fill() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
BEGIN
	NEW.audience := spine.relationship_audience(NEW.owner, NEW.organisation, NEW.kind);
	RETURN NEW;
END
$fn$;
COMMENT ON FUNCTION spine.relationship_fill() IS
	'BEFORE INSERT trigger on spine.relationship: fills an audience that was left out.';

CREATE FUNCTION spine.affected_by(patients uuid[], organisations text[]) RETURNS uuid[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT DISTINCT c.patient
		  FROM unnest(patients, organisations) AS c (patient, organisation)
		 WHERE c.organisation IN (SELECT r.to_organisation FROM spine.sharing_rule r
								   WHERE r.purpose = 'care' AND r.from_organisation = ANY (spine.hosted_organisations())))
	$fn$;
COMMENT ON FUNCTION spine.affected_by(uuid[], text[]) IS
	'Those patients whose records here may have another audience after a change of a relationship to the organisation beside them: nobody shares with the others'' organisations.';

CREATE FUNCTION spine.relationship_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	affected uuid[];
BEGIN
	IF TG_OP = 'INSERT' THEN
		-- An emergency of our own is written for somebody who waits, by one on whom many wait: its reader
		-- is judged by the rules themselves, and the courier does the rest.
		SELECT array_agg(n.patient_id) INTO affected FROM new_rows n
		 WHERE n.kind = 'emergency' AND n.owner = ANY (spine.hosted_organisations());
		IF affected IS NOT NULL THEN
			INSERT INTO spine.unsettled (patients) VALUES (affected);
			PERFORM spine.ring_doorbell();
		END IF;
		SELECT spine.affected_by(array_agg(n.patient_id), array_agg(n.organisation)) INTO affected FROM new_rows n
		 WHERE n.kind <> 'emergency' OR n.owner <> ALL (spine.hosted_organisations());
	ELSIF TG_OP = 'DELETE' THEN
		SELECT spine.affected_by(array_agg(o.patient_id), array_agg(o.organisation)) INTO affected FROM old_rows o;
	ELSE
		SELECT spine.affected_by(array_agg(c.patient_id), array_agg(c.organisation)) INTO affected
		  FROM (SELECT v.patient_id, v.organisation
				  FROM old_rows o
				  JOIN new_rows n USING (relationship_id)
				 CROSS JOIN LATERAL (VALUES (o.patient_id, o.organisation), (n.patient_id, n.organisation))
					AS v (patient_id, organisation)
				 WHERE (o.patient_id, o.organisation, o.kind, o.until) IS DISTINCT FROM (n.patient_id, n.organisation, n.kind, n.until)) c;
	END IF;
	PERFORM spine.settle_patients(affected);
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.relationship_changed() IS
	'AFTER STATEMENT trigger on spine.relationship, local or received: computes anew the audience of the patients'' records.';

CREATE FUNCTION spine.identity_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	affected uuid[];
BEGIN
	-- without rules every audience is empty
	IF NOT EXISTS (SELECT FROM spine.sharing_rule) THEN
		RETURN NULL;
	END IF;
	-- of a link that ends, each side's records; of one that begins, both sides' linked sets hold both
	IF TG_OP = 'INSERT' THEN
		affected := ARRAY(SELECT n.from_patient FROM new_rows n UNION SELECT n.to_patient FROM new_rows n);
	ELSIF TG_OP = 'DELETE' THEN
		affected := ARRAY(SELECT o.from_patient FROM old_rows o UNION SELECT o.to_patient FROM old_rows o);
	ELSE
		affected := ARRAY(SELECT o.from_patient FROM old_rows o UNION SELECT o.to_patient FROM old_rows o
						  UNION SELECT n.from_patient FROM new_rows n UNION SELECT n.to_patient FROM new_rows n);
	END IF;
	PERFORM spine.settle_patients(affected);
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.identity_changed() IS
	'AFTER STATEMENT trigger on spine.identity_link: a link or its end changes whose relationships count for a record.';

CREATE FUNCTION spine.oldest_snapshot() RETURNS xid8
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_oldest_snapshot';
COMMENT ON FUNCTION spine.oldest_snapshot() IS
	'What transactions before this one have committed, every snapshot in use sees.';

/*
 * A record that is written while a relationship or a rule changes may be given the audience of before: its
 * transaction does not see the change, nor the change the record. Intake takes no lock for this. The
 * records are looked at again instead: soon, which finds nearly all of them, and for certain when (1)
 * no snapshot is left that does not see the change and (2) every transaction that then ran has ended.
 */
CREATE FUNCTION spine.settle_audiences() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	waiting spine.unsettled;
	certain boolean;
	touched bigint := 0;
	settled_to timestamptz := (SELECT s.at FROM spine.settled s);
	ended uuid[];
BEGIN
	IF spine.agreements_are_due() THEN
		touched := spine.compile_agreements();
	END IF;

	-- relationships whose time, or whose retention after it, has come to its end since
	SELECT array_agg(DISTINCT l.patient_id) INTO ended
	  FROM (SELECT r.to_organisation, r.retention FROM spine.sharing_rule r
			UNION
			SELECT r.to_organisation, interval '0' FROM spine.sharing_rule r) r
	  JOIN spine.relationship l ON l.organisation = r.to_organisation
							   AND l.until > settled_to - r.retention AND l.until <= now() - r.retention;
	IF ended IS NOT NULL OR settled_to < now() - interval '1 minute' THEN
		touched := touched + coalesce(spine.reaudience(ended), 0);
		UPDATE spine.settled SET at = now();
	END IF;
	IF NOT EXISTS (SELECT FROM spine.unsettled) THEN
		RETURN touched;
	END IF;
	UPDATE spine.unsettled u SET horizon = pg_snapshot_xmax(pg_current_snapshot())
	 WHERE u.horizon IS NULL AND u.changed_by < spine.oldest_snapshot();
	FOR waiting IN
		SELECT * FROM spine.unsettled u
		 WHERE u.changed_by IS DISTINCT FROM pg_current_xact_id_if_assigned()
		   AND (NOT u.looked_again
				OR u.horizon <= pg_snapshot_xmin(pg_current_snapshot())
				-- restored from another cluster, where transactions were counted otherwise
				OR u.changed_by >= pg_snapshot_xmax(pg_current_snapshot()))
		 ORDER BY u.unsettled_id
		   FOR UPDATE SKIP LOCKED
	LOOP
		IF waiting.patients IS NOT NULL THEN
			touched := touched + spine.reaudience(waiting.patients);
		ELSE
			touched := touched + (SELECT g.touched FROM spine.reaudience_group(waiting.owner, waiting.dataset, waiting.data_group, 2000) g);
		END IF;
		certain := coalesce(waiting.horizon <= pg_snapshot_xmin(pg_current_snapshot()), false)
				   OR waiting.changed_by >= pg_snapshot_xmax(pg_current_snapshot());
		IF certain THEN
			DELETE FROM spine.unsettled u WHERE u.unsettled_id = waiting.unsettled_id;
		ELSE
			UPDATE spine.unsettled u SET looked_again = true WHERE u.unsettled_id = waiting.unsettled_id;
		END IF;
	END LOOP;
	RETURN touched;
END
$fn$;
COMMENT ON FUNCTION spine.settle_audiences() IS
	'What the courier does about audiences from time to time: agreements and relationships that begin or end with time, and records written while something changed. Returns the number of records whose audience changed.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.compile_agreements()',
		'spine.settle_audiences()',
		'spine.agreements_are_due()',
		'spine.agreements_changed()',
		'spine.relationship_changed()',
		'spine.identity_changed()',
		'spine.dissent_changed()', 'spine.family_changed()', 'spine.reaudience_turn(integer)',
		'spine.end_alias(text, text, text)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.published_groups()',
		'spine.newest_groups()', 'spine.rules_of_agreement(jsonb)', 'spine.rules_of_agreements()',
		'spine.rules_of_owners(text[], uuid[])', 'spine.rules_that_hold(text, text, text, uuid[])', 'spine.audiences(text[], uuid[], uuid[])', 'spine.mothers(uuid[])', 'spine.reaudience_group(text, text, text, integer)',
		'spine.audience_union(text[], text[])', 'spine.dissent_audience(text)', 'spine.dissent_fill()', 'spine.settle_patients(uuid[])',
		'spine.linked_patients(uuid)',
		'spine.audience(text, text, text, uuid)',
		'spine.reaudience(uuid[])',
		'spine.audience_expression()',
		'spine.reaudience_rules(text, text, text)',
		'spine.relationship_audience(text, text, text)',
		'spine.reaudience_relationships(text[])',
		'spine.oldest_snapshot()',
		'spine.relationship_fill()',
		'spine.affected_by(uuid[], text[])']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.end_alias(text, text, text) TO spine_operator;
