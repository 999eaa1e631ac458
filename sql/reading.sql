-- Reading: opening a person's record and reading it as a whole.

CREATE FUNCTION spine.opening_add(patients uuid[], organisation text, purpose text, for_transaction boolean,
								  until timestamptz DEFAULT NULL) RETURNS timestamptz
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_opening_add';
COMMENT ON FUNCTION spine.opening_add(uuid[], text, text, boolean, timestamptz) IS
	'Opens these patients to the caller in this session, until then or for spine.open_minutes; purpose emergency for who broke the glass. Decides nothing: spine.open_record and spine.break_glass do.';

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

CREATE FUNCTION spine.group_items()
	RETURNS TABLE (data_group text, mark text, column_name text, item_name text, of_key boolean, of_event boolean, local_number boolean)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
	SELECT g.data_group, (array_agg(spine.item_mark(i) ORDER BY g.version DESC))[1], spine.item_column(i),
		   (array_agg(i ->> 'name' ORDER BY g.version DESC))[1],
		   bool_or(i ->> 'name' = ANY (g.keys)), bool_or(i ->> 'name' = ANY (g.events)), spine.item_column(i) = ANY (g.numbers)
	  FROM (SELECT d.name || '.' || (g ->> 'name') AS data_group, string_to_array(d.version, '.')::integer[] AS version,
				   spine.key_items(g) AS keys, spine.event_items(g) AS events, g -> 'items' AS items, n.numbers
			  FROM (SELECT e.name, spine.local_numbers(e.name) AS numbers FROM (SELECT DISTINCT k.name FROM spine.dataset k) e OFFSET 0) n
			  JOIN spine.dataset d ON d.name = n.name
			 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS g
			OFFSET 0) g
	 CROSS JOIN LATERAL jsonb_array_elements(g.items) AS i
	 GROUP BY g.data_group, spine.item_column(i), g.numbers
	$fn$;
COMMENT ON FUNCTION spine.group_items() IS
	'The items of every data group (DATASET.GROUP) by column, each with its mark: a, c, i or r for the class, behind m for what a baby''s record says about the mother, and its name, as the newest version has them; whether local_record_id or event_at is made of it, and whether it is a number that means something in the owner''s systems alone.';

CREATE FUNCTION spine.visible_owners(patients uuid[]) RETURNS text[]
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_visible_owners';
COMMENT ON FUNCTION spine.visible_owners(uuid[]) IS
	'Whose records of these patients the caller may see at this moment: each row''s owner of whom spine.visible() is true.';

CREATE FUNCTION spine.open_record(nhs_number spine.nhs_number, purpose text DEFAULT 'care', reason text DEFAULT NULL,
								  for_transaction boolean DEFAULT false) RETURNS timestamptz
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'spine_open_record';
COMMENT ON FUNCTION spine.open_record(spine.nhs_number, text, text, boolean) IS
	'Opens a person''s record, other owners'' rows as far as agreements and relationships allow, to a clinician in this session for spine.open_minutes, or in this transaction alone. Each opening is written to the access log with its reason, and stands there whatever becomes of the transaction, which may be read-only; SP009 when it cannot be written. Returns until when. SP006 when nothing is open to the caller: absent and not allowed are the same answer.';

CREATE FUNCTION spine.close_records() RETURNS integer
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT spine.opening_close() $fn$;
COMMENT ON FUNCTION spine.close_records() IS
	'Closes every record that the caller has open in this session; returns how many patients. DISCARD ALL does the same.';

CREATE FUNCTION spine.person_records(patients uuid[])
	RETURNS TABLE (dataset text, data_group text, title text, record_id uuid, owner text, source_system text, patient_id uuid,
				   episode_id uuid, event_at timestamptz, received_at timestamptz, revision bigint, data jsonb)
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 100
	AS 'MODULE_PATHNAME', 'spine_person_records';
COMMENT ON FUNCTION spine.person_records(uuid[]) IS
	'The records of these patients that the caller may see at this moment, as spine.all_records shows them, in no order. For the access log they are one row: they are one person''s.';

CREATE FUNCTION spine.timeline(nhs_number spine.nhs_number)
	RETURNS TABLE (event_at timestamptz, received_at timestamptz, owner text, source_system text, dataset text,
				   data_group text, title text, record_id uuid, episode_id uuid, revision bigint, data jsonb)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.event_at, r.received_at, r.owner, r.source_system, r.dataset, r.data_group, r.title,
		   r.record_id, r.episode_id, r.revision, r.data
	  FROM spine.person_records(spine.linked_patients(spine.patient_id(timeline.nhs_number))) r
	 ORDER BY r.event_at NULLS LAST, r.received_at, r.record_id;
END
$fn$;
COMMENT ON FUNCTION spine.timeline(spine.nhs_number) IS
	'A row for each record of the person that the caller may see now, own and opened, in the order of what happened; records without a date last. No row where there is nothing.';

CREATE FUNCTION spine.relatives_shown(patients uuid[], OUT mother text, OUT children jsonb)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
BEGIN
	SELECT min(f.mother::text) FILTER (WHERE f.child = ANY (patients)), jsonb_agg(DISTINCT f.child) FILTER (WHERE f.mother = ANY (patients))
	  INTO mother, children
	  FROM spine.family_link f
	 WHERE (f.child = ANY (patients) OR f.mother = ANY (patients)) AND (f.until IS NULL OR f.until > now())
	   AND spine.visible_owners(ARRAY[CASE WHEN f.child = ANY (patients) THEN f.mother ELSE f.child END]) <> '{}';
END
$fn$;
COMMENT ON FUNCTION spine.relatives_shown(uuid[]) IS
	'Mother and children of the person with these ids: those of whom the caller may see a record.';

CREATE FUNCTION spine.journeys(episodes uuid[], owners text[])
	RETURNS TABLE (journey uuid, ids uuid[], kind text, anchor date, links jsonb)
	LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	SET jit = off
	AS $fn$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH RECURSIVE seen AS MATERIALIZED (
		SELECT DISTINCT s.episode_id, s.owner FROM unnest(episodes, owners) AS s (episode_id, owner)
	), same (episode_id, reached) AS (
		-- one pregnancy described twice is one, over however many links
		SELECT e.episode_id, e.episode_id FROM seen e
		UNION
		SELECT s.episode_id, n.other
		  FROM same s
		 CROSS JOIN LATERAL (
			SELECT l.to_episode AS other FROM spine.episode_link l WHERE l.from_episode = s.reached AND l.kind = 'same'
			UNION ALL
			SELECT l.from_episode FROM spine.episode_link l WHERE l.to_episode = s.reached AND l.kind = 'same') n
	), joined AS MATERIALIZED (
		SELECT s.episode_id, min(s.reached::text)::uuid AS journey
		  FROM same s
		 WHERE EXISTS (SELECT FROM seen e WHERE e.episode_id = s.reached)
		 GROUP BY s.episode_id
	), described AS MATERIALIZED (
		SELECT j.journey, array_agg(DISTINCT j.episode_id) AS ids, array_agg(DISTINCT e.owner) AS owners
		  FROM joined j
		  JOIN seen e ON e.episode_id = j.episode_id
		 GROUP BY j.journey
	)
	SELECT j.journey, j.ids, d.kind, d.anchor, coalesce(k.links, '[]')
	  FROM described j
	 CROSS JOIN LATERAL (
		-- an anchor comes from a record of the episode's owner: it is shown where that owner's records are
		SELECT min(x.kind) AS kind, min(x.anchor) FILTER (WHERE x.owner = ANY (j.owners)) AS anchor
		  FROM spine.episode x WHERE x.episode_id = ANY (j.ids)) d
	 CROSS JOIN LATERAL (
		SELECT jsonb_agg(DISTINCT jsonb_build_object('kind', l.kind, 'episode_id', o.journey)) AS links
		  FROM spine.episode_link l
		  JOIN joined o ON o.episode_id = l.to_episode
		 WHERE l.from_episode = ANY (j.ids) AND l.kind <> 'same') k;
END
$fn$;
COMMENT ON FUNCTION spine.journeys(uuid[], text[]) IS
	'The episodes of records that are shown, each with the owner of a record: those that are one pregnancy together, with kind, anchor and links as spine.record() tells them.';

CREATE FUNCTION spine.record(nhs_number spine.nhs_number) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'spine_record';
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
		'spine.opening_add(uuid[], text, text, boolean, timestamptz)', 'spine.opening_close()',
		'spine.narrowed_support(internal)', 'spine.owns_support(internal)', 'spine.visible_support(internal)', 'spine.permits_support(internal)',
		'spine.narrowed(boolean)', 'spine.owns(text)',
		'spine.my_opened_patients()', 'spine.visible(text, text[], uuid, text)', 'spine.permits(text, text[], uuid, text)',
		'spine.withheld(text, text[], uuid, text)', 'spine.record_items(record, text[], text[])', 'spine.group_items()', 'spine.local_numbers(text)',
		'spine.visible_owners(uuid[])', 'spine.person_records(uuid[])', 'spine.relatives_shown(uuid[])', 'spine.journeys(uuid[], text[])']
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
