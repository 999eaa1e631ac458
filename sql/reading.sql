-- Reading: opening a person's record and reading it as a whole.

CREATE FUNCTION spine.opening_add(patients uuid[], organisation text, purpose text, for_transaction boolean,
								  until timestamptz DEFAULT NULL) RETURNS timestamptz
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_opening_add';
COMMENT ON FUNCTION spine.opening_add(uuid[], text, text, boolean, timestamptz) IS
	'Opens these patients to the caller in this session, until then or for spine.open_minutes; purpose emergency for who broke the glass. Decides nothing: spine.open_record and spine.break_glass do.';

CREATE FUNCTION spine.opening_undo() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_opening_undo';
COMMENT ON FUNCTION spine.opening_undo() IS 'Takes back the last spine.opening_add of this transaction.';

CREATE FUNCTION spine.opening_close() RETURNS integer
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_opening_close';
COMMENT ON FUNCTION spine.opening_close() IS 'Closes what the caller has open in this session; returns how many patients.';

CREATE FUNCTION spine.my_opened_patients() RETURNS uuid[]
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_my_opened_patients';
COMMENT ON FUNCTION spine.my_opened_patients() IS
	'Patients opened to the caller in this session. For row-level security, which asks spine.visible() besides.';

CREATE FUNCTION spine.narrowed_support(internal) RETURNS internal
	LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'spine_narrowed_support';
CREATE FUNCTION spine.owns_support(internal) RETURNS internal
	LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'spine_owns_support';
CREATE FUNCTION spine.visible_support(internal) RETURNS internal
	LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'spine_visible_support';
CREATE FUNCTION spine.permits_support(internal) RETURNS internal
	LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'spine_permits_support';
COMMENT ON FUNCTION spine.narrowed_support(internal) IS 'For the planner: spine.narrowed() is not needed while nothing is open.';
COMMENT ON FUNCTION spine.owns_support(internal) IS 'For the planner: how many rows spine.owns() lets through, and how an index finds them.';
COMMENT ON FUNCTION spine.visible_support(internal) IS 'For the planner: spine.visible() is spine.owns() while nothing is open.';
COMMENT ON FUNCTION spine.permits_support(internal) IS 'For the planner: spine.permits() is true of rows that spine.owns() has let through.';

CREATE FUNCTION spine.narrowed(findable boolean) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE SUPPORT spine.narrowed_support
	AS 'MODULE_PATHNAME', 'spine_narrowed';
COMMENT ON FUNCTION spine.narrowed(boolean) IS
	'What it is given. It stands in policies around what an index can find, which a plan for own rows alone (spine.owns) leaves out.';

CREATE FUNCTION spine.owns(owner text) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE SUPPORT spine.owns_support
	AS 'MODULE_PATHNAME', 'spine_owns';
COMMENT ON FUNCTION spine.owns(text) IS
	'Whether this owner''s rows are the caller''s own: one of spine.my_organisations(), at this moment. What spine.visible() comes to while nothing is open.';

CREATE FUNCTION spine.visible(owner text, audience text[], patient_id uuid, data_group text) RETURNS boolean
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE SUPPORT spine.visible_support
	AS 'MODULE_PATHNAME', 'spine_visible';
COMMENT ON FUNCTION spine.visible(text, text[], uuid, text) IS
	'Whether the caller may see a row of this data group (DATASET.GROUP): one of its own organisations'', or one of an opened patient whose audience holds the caller''s organisation and purpose under a sharing rule in force at this moment, unless she dissents.';

CREATE FUNCTION spine.permits(owner text, audience text[], patient_id uuid, item text) RETURNS boolean
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE SUPPORT spine.permits_support
	AS 'MODULE_PATHNAME', 'spine_permits';
COMMENT ON FUNCTION spine.permits(text, text[], uuid, text) IS
	'Whether the caller may see an item of a row: any of its own organisations'', of another owner''s row what the clauses under which it is seen show. item: DATASET.GROUP:COLUMN. The views ask it for each item.';

CREATE FUNCTION spine.withheld(owner text, audience text[], patient_id uuid, data_group text) RETURNS text[]
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_withheld';
COMMENT ON FUNCTION spine.withheld(text, text[], uuid, text) IS
	'The columns of a row that the caller may not see, as spine.permits() has it: none of its own organisations'' rows.';

CREATE FUNCTION spine.record_items(of_row record, hidden text[], withheld text[]) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_record_items';
COMMENT ON FUNCTION spine.record_items(record, text[], text[]) IS
	'The columns of a row that are not NULL as an object, but for those hidden (the same of every row of a table) and those withheld.';

CREATE FUNCTION spine.local_numbers(dataset text) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		SELECT DISTINCT spine.item_column(i)
		  FROM spine.dataset d
		 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS g
		 CROSS JOIN LATERAL jsonb_array_elements(g -> 'items') AS i
		 WHERE d.name = local_numbers.dataset
		   AND (i ->> 'name' IN (g ->> 'local_patient_id', g ->> 'local_episode_id', g -> 'parent' ->> 'item')
				OR (i ->> 'type' = 'text' AND i ->> 'class' = 'administrative' AND NOT i ? 'codes'
					AND (i ->> 'name' = ANY (spine.key_items(g)) OR coalesce((i ->> 'max_length')::integer, 6) > 5)))
		 ORDER BY 1)
	$fn$;
COMMENT ON FUNCTION spine.local_numbers(text) IS
	'The columns of a data set that hold numbers of the owner''s own systems: of patients, episodes and parents, and administrative texts that come from no code list, but for short ones that are in no key. A column of such a name is one in every group.';

CREATE FUNCTION spine.group_marks(data_group text) RETURNS TABLE (mark text, column_name text, of_key boolean, of_event boolean,
																	local_number boolean)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT (array_agg(spine.item_mark(i) ORDER BY string_to_array(d.version, '.')::integer[] DESC))[1], spine.item_column(i),
		   bool_or(i ->> 'name' = ANY (spine.key_items(g))), bool_or(i ->> 'name' = ANY (spine.event_items(g))),
		   spine.item_column(i) = ANY ((SELECT spine.local_numbers(split_part(group_marks.data_group, '.', 1)))::text[])
	  FROM spine.dataset d
	 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS g
	 CROSS JOIN LATERAL jsonb_array_elements(g -> 'items') AS i
	 WHERE d.name || '.' || (g ->> 'name') = group_marks.data_group
	 GROUP BY spine.item_column(i)
	$fn$;
COMMENT ON FUNCTION spine.group_marks(text) IS
	'The items of a data group (DATASET.GROUP) by column, each with its mark: a, c, i or r for the class, behind m for what a baby''s record says about the mother, as the newest version has it; whether local_record_id or event_at is made of it, and whether it is a number that means something in the owner''s systems alone.';

CREATE FUNCTION spine.visible_owners(patients uuid[]) RETURNS text[]
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_visible_owners';
COMMENT ON FUNCTION spine.visible_owners(uuid[]) IS
	'Whose records of these patients the caller may see at this moment: each row''s owner of whom spine.visible() is true.';

CREATE FUNCTION spine.open_record(nhs_number spine.nhs_number, purpose text DEFAULT 'care', reason text DEFAULT NULL,
								  for_transaction boolean DEFAULT false) RETURNS timestamptz
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
#variable_conflict use_variable
DECLARE
	organisations text[] := spine.caller_organisations('clinician');
	-- nothing else to compare with: what is opened may stay
	alone boolean := cardinality(organisations) = 1;
	the_patient uuid;
	linked uuid[];
	acts_for text;
	own text[];
	own_owners text[];
	others text[];
	allowed text[] := '{}';
	how text[];
	basis text[];
	opened_until timestamptz;
BEGIN
	IF organisations = '{}' THEN
		RAISE EXCEPTION 'permission denied: records are opened by clinicians' USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF purpose IS DISTINCT FROM 'care' THEN
		RAISE EXCEPTION 'a person''s record is opened for care alone'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Reporting and commissioning read no single record.';
	END IF;
	IF coalesce(reason, '') !~ '[^[:space:]]' THEN
		RAISE EXCEPTION 'a reason must be given' USING ERRCODE = 'null_value_not_allowed';
	END IF;

	-- the same questions are asked whether or not the person is known here
	the_patient := spine.patient_id(nhs_number);
	linked := spine.linked_patients(the_patient);
	own := spine.my_organisations();

	-- What will be visible is what spine.visible() then says of each row: open, look, take back. So
	-- there is one definition of what may be seen, and an organisation for which nothing is there gets no opening.
	FOREACH acts_for IN ARRAY organisations LOOP
		opened_until := spine.opening_add(linked, acts_for, purpose, NOT alone OR coalesce(for_transaction, false));
		SELECT coalesce(array_agg(s.owner ORDER BY s.owner) FILTER (WHERE s.owner <> ALL (own)), '{}'),
			   coalesce(array_agg(s.owner ORDER BY s.owner) FILTER (WHERE s.owner = ANY (own)), '{}')
		  INTO others, own_owners
		  FROM unnest(spine.visible_owners(linked)) AS s (owner);
		IF NOT alone OR others = '{}' AND acts_for <> ALL (own_owners) THEN
			PERFORM spine.opening_undo();
		END IF;
		IF others <> '{}' OR acts_for = ANY (own_owners) THEN
			allowed := allowed || acts_for;
			-- the clauses under which it was given something, and what relationship each rests on
			SELECT coalesce(array_agg(DISTINCT l.kind ORDER BY l.kind), '{}'),
				   coalesce(array_agg(DISTINCT format('%s v%s clause %s', c.agreement, c.version, c.clause)), '{}')
			  INTO how, basis
			  FROM (SELECT DISTINCT s.agreement, s.version, s.clause, s.relationships, s.retention
					  FROM spine.sharing_rule s
					 WHERE s.from_organisation = ANY (others) AND s.to_organisation = acts_for AND s.purpose = purpose
					   AND s.starts_at <= now() AND (s.ends_at IS NULL OR now() < s.ends_at)) c
			  JOIN spine.relationship l ON l.patient_id = ANY (linked) AND l.organisation = acts_for AND l.kind = ANY (c.relationships)
									   AND (l.until IS NULL OR l.until + c.retention > now());
			IF own_owners <> '{}' THEN
				how := how || 'own'::text;
				basis := basis || 'own records'::text;
			END IF;
			PERFORM spine.audit_access(acts_for, 'clinician', the_patient, purpose, btrim(reason), others || own_owners, how, basis);
		END IF;
	END LOOP;

	IF allowed = '{}' THEN
		RAISE EXCEPTION 'no record of this person is open to you'
			USING ERRCODE = 'SP006',
				  DETAIL = 'There is none here, or no agreement and relationship lets you read it.';
	END IF;
	IF NOT alone THEN
		FOREACH acts_for IN ARRAY allowed LOOP
			opened_until := spine.opening_add(linked, acts_for, purpose, coalesce(for_transaction, false));
		END LOOP;
	END IF;
	RETURN opened_until;
END
$fn$;
COMMENT ON FUNCTION spine.open_record(spine.nhs_number, text, text, boolean) IS
	'Opens a person''s record, other owners'' rows as far as agreements and relationships allow, to a clinician in this session for spine.open_minutes, or in this transaction alone. Each opening is written to the access log with its reason, and stands there whatever becomes of the transaction, which may be read-only; SP009 when it cannot be written. Returns until when. SP006 when nothing is open to the caller: absent and not allowed are the same answer.';

CREATE FUNCTION spine.close_records() RETURNS integer
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT spine.opening_close() $fn$;
COMMENT ON FUNCTION spine.close_records() IS
	'Closes every record that the caller has open in this session; returns how many patients. DISCARD ALL does the same.';

CREATE FUNCTION spine.timeline(nhs_number spine.nhs_number)
	RETURNS TABLE (event_at timestamptz, received_at timestamptz, owner text, source_system text, dataset text,
				   data_group text, title text, record_id uuid, episode_id uuid, revision bigint, data jsonb)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	-- planned once in a session, for all groups: planning would take longer than reading
	SET plan_cache_mode = force_generic_plan
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
#variable_conflict use_column
DECLARE
	linked uuid[] := spine.linked_patients(spine.patient_id(timeline.nhs_number));
	shown bigint := spine.rows_shown();
BEGIN
	RETURN QUERY
	SELECT r.event_at, r.received_at, r.owner, r.source_system, r.dataset, r.data_group, r.title,
		   r.record_id, r.episode_id, r.revision, r.data
	  FROM spine.all_records r
	 WHERE r.patient_id = ANY (linked)
	 ORDER BY r.event_at NULLS LAST, r.received_at, r.record_id;
	-- one person, however many rows
	PERFORM spine.rows_shown_as(shown, 1);
END
$fn$;
COMMENT ON FUNCTION spine.timeline(spine.nhs_number) IS
	'A row for each record of the person that the caller may see now, own and opened, in the order of what happened; records without a date last. No row where there is nothing.';

CREATE FUNCTION spine.record(nhs_number spine.nhs_number) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	-- planned once in a session, for all groups: planning would take longer than reading
	SET plan_cache_mode = force_generic_plan
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
DECLARE
	linked uuid[] := spine.linked_patients(spine.patient_id(record.nhs_number));
	shown bigint := spine.rows_shown();
	mother text;
	children jsonb;
	whole jsonb;
BEGIN
	-- a link within the family is shown with a record of the relative that the caller may see
	IF EXISTS (SELECT FROM spine.family_link f WHERE f.child = ANY (linked))
	   OR EXISTS (SELECT FROM spine.family_link f WHERE f.mother = ANY (linked)) THEN
		SELECT min(f.mother::text) FILTER (WHERE f.child = ANY (linked)),
			   jsonb_agg(DISTINCT f.child) FILTER (WHERE f.mother = ANY (linked))
		  INTO mother, children
		  FROM spine.family_link f
		 WHERE (f.child = ANY (linked) OR f.mother = ANY (linked)) AND (f.until IS NULL OR f.until > now())
		   AND EXISTS (SELECT FROM spine.all_records r
						WHERE r.patient_id = CASE WHEN f.child = ANY (linked) THEN f.mother ELSE f.child END);
	END IF;

	WITH RECURSIVE seen AS MATERIALIZED (
		SELECT r.dataset, r.data_group, r.title, r.record_id, r.owner, r.source_system, r.patient_id, r.episode_id,
			   r.event_at, r.received_at, r.revision, r.data
		  FROM spine.all_records r
		 WHERE r.patient_id = ANY (linked)
	), seen_episode AS MATERIALIZED (
		SELECT DISTINCT s.episode_id FROM seen s WHERE s.episode_id IS NOT NULL
	), same (episode_id, reached) AS (
		-- one pregnancy described twice is one, over however many links
		SELECT e.episode_id, e.episode_id FROM seen_episode e
		UNION
		SELECT s.episode_id, n.other
		  FROM same s
		 CROSS JOIN LATERAL (
			SELECT l.to_episode AS other FROM spine.episode_link l WHERE l.from_episode = s.reached AND l.kind = 'same'
			UNION ALL
			SELECT l.from_episode FROM spine.episode_link l WHERE l.to_episode = s.reached AND l.kind = 'same') n
	), journey AS MATERIALIZED (
		SELECT s.episode_id, min(s.reached::text)::uuid AS journey
		  FROM same s
		  JOIN seen_episode e ON e.episode_id = s.reached
		 GROUP BY s.episode_id
	), placed AS MATERIALIZED (
		SELECT s.*, j.journey,
			   jsonb_build_object('record_id', s.record_id, 'owner', s.owner, 'source_system', s.source_system,
								  'event_at', s.event_at, 'received_at', s.received_at, 'revision', s.revision,
								  'data', s.data) AS body
		  FROM seen s
		  LEFT JOIN journey j ON j.episode_id = s.episode_id
	), by_group AS (
		SELECT p.journey, p.dataset || '.' || p.data_group AS place,
			   jsonb_agg(p.body ORDER BY p.event_at NULLS LAST, p.received_at, p.record_id) AS bodies
		  FROM placed p
		 GROUP BY p.journey, p.dataset, p.data_group
	), episode AS (
		SELECT p.journey, min(p.event_at) AS first_at, max(p.event_at) AS last_at,
			   array_agg(DISTINCT p.owner) AS owners, array_agg(DISTINCT p.episode_id) AS ids
		  FROM placed p
		 WHERE p.journey IS NOT NULL
		 GROUP BY p.journey
	), described AS (
		SELECT e.first_at, e.journey,
			   jsonb_build_object(
				'episode_id', e.journey,
				'kind', d.kind,
				'anchor', d.anchor,
				'first_event_at', e.first_at,
				'last_event_at', e.last_at,
				'owners', to_jsonb(e.owners),
				'described_as', to_jsonb(e.ids),
				'links', coalesce(k.links, '[]'),
				'records', g.records) AS body
		  FROM episode e
		 CROSS JOIN LATERAL (
			-- an anchor comes from a record of the episode's owner: it is shown where that owner's records are
			SELECT min(x.kind) AS kind, min(x.anchor) FILTER (WHERE x.owner = ANY (e.owners)) AS anchor
			  FROM spine.episode x WHERE x.episode_id = ANY (e.ids)) d
		 CROSS JOIN LATERAL (
			SELECT jsonb_agg(DISTINCT jsonb_build_object('kind', l.kind, 'episode_id', j.journey)) AS links
			  FROM spine.episode_link l
			  JOIN journey j ON j.episode_id = l.to_episode
			 WHERE l.from_episode = ANY (e.ids) AND l.kind <> 'same') k
		 CROSS JOIN LATERAL (
			SELECT jsonb_object_agg(b.place, b.bodies) AS records FROM by_group b WHERE b.journey = e.journey) g
	)
	SELECT jsonb_build_object(
			'as_of', now(),
			'patient', jsonb_build_object(
				'ids', (SELECT jsonb_agg(DISTINCT s.patient_id) FROM seen s),
				'mother', mother,
				'children', coalesce(children, '[]')),
			'owners', (SELECT jsonb_agg(DISTINCT s.owner) FROM seen s),
			'episodes', coalesce((SELECT jsonb_agg(d.body ORDER BY d.first_at NULLS LAST, d.journey) FROM described d), '[]'),
			'records', coalesce((SELECT jsonb_object_agg(b.place, b.bodies) FROM by_group b WHERE b.journey IS NULL), '{}'))
	  INTO whole
	 WHERE EXISTS (SELECT FROM seen);
	-- one person, however many rows
	PERFORM spine.rows_shown_as(shown, 1);
	RETURN whole;
END
$fn$;
COMMENT ON FUNCTION spine.record(spine.nhs_number) IS
	'The person''s record as far as the caller may see it now, as one document: patient, owners, episodes (one pregnancy described by two is one) with their records by data group, and the records of no episode. NULL where there is nothing. extension/governance/README.md describes the document.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.open_record(spine.nhs_number, text, text, boolean)', 'spine.close_records()',
		'spine.timeline(spine.nhs_number)', 'spine.record(spine.nhs_number)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.opening_add(uuid[], text, text, boolean, timestamptz)', 'spine.opening_undo()', 'spine.opening_close()',
		'spine.narrowed_support(internal)', 'spine.owns_support(internal)', 'spine.visible_support(internal)', 'spine.permits_support(internal)',
		'spine.narrowed(boolean)', 'spine.owns(text)',
		'spine.my_opened_patients()', 'spine.visible(text, text[], uuid, text)', 'spine.permits(text, text[], uuid, text)',
		'spine.withheld(text, text[], uuid, text)', 'spine.record_items(record, text[], text[])', 'spine.group_marks(text)', 'spine.local_numbers(text)',
		'spine.visible_owners(uuid[])']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.open_record(spine.nhs_number, text, text, boolean), spine.close_records()
	TO spine_member;
GRANT EXECUTE ON FUNCTION spine.timeline(spine.nhs_number), spine.record(spine.nhs_number) TO spine_member;
-- policies ask these as whoever reads
GRANT EXECUTE ON FUNCTION spine.my_opened_patients(), spine.narrowed(boolean), spine.owns(text), spine.visible(text, text[], uuid, text),
	spine.permits(text, text[], uuid, text), spine.withheld(text, text[], uuid, text),
	spine.record_items(record, text[], text[])
	TO spine_member, spine_supplier, spine_reader;
