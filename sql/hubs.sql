-- Hubs: neighbours for reporting and commissioning. They get records as pseudonyms, and agreements, and nothing else.

CREATE FUNCTION spine.addressees(organisations text[], purpose text) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT CASE purpose WHEN 'care' THEN organisations
						WHEN 'reporting' THEN ARRAY(SELECT o || ':' || p FROM unnest(organisations) o, unnest('{reporting,commissioning}'::text[]) p)
						ELSE '{}' END
	$$;
ALTER FUNCTION spine.addressees(text[], text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.addressees(text[], text) FROM PUBLIC;
COMMENT ON FUNCTION spine.addressees(text[], text) IS
	'To whom rows on a link for this purpose are addressed: its organisations, for care; ORGANISATION:reporting and ORGANISATION:commissioning for reporting.';

CREATE FUNCTION spine.addressees_of(node text) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT spine.addressees(spine.organisations_of($1), (SELECT n.purpose FROM spine.node n WHERE n.name = $1))$$;
ALTER FUNCTION spine.addressees_of(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.addressees_of(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.addressees_of(text) IS 'spine.addressees() of a node.';

CREATE FUNCTION spine.addressed_hub(addressees text[]) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT o.node FROM spine.node_organisation o
	 WHERE strpos(addressees[1], ':') > 0 AND o.organisation = split_part(addressees[1], ':', 1)
	$$;
ALTER FUNCTION spine.addressed_hub(text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.addressed_hub(text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.addressed_hub(text[]) IS
	'The hub to which these addressees belong; null where they are for care. Whoever has the addressees cannot send them rows in the other form.';

CREATE FUNCTION spine.goes_to_hubs(relation text) RETURNS boolean
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	AS $$SELECT relation = 'spine.agreement_event' OR relation NOT LIKE 'spine.%'$$;
ALTER FUNCTION spine.goes_to_hubs(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.goes_to_hubs(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.goes_to_hubs(text) IS 'Whether rows of a relation that travels pass on a link for reporting: agreements, and records of data groups.';

CREATE FUNCTION spine.random_key() RETURNS bytea
	LANGUAGE sql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	-- each has 122 random bits
	AS $$SELECT sha256(string_agg(uuid_send(gen_random_uuid()), '')) FROM generate_series(1, 4)$$;
ALTER FUNCTION spine.random_key() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.random_key() FROM PUBLIC;
COMMENT ON FUNCTION spine.random_key() IS '32 bytes that nobody can guess.';

CREATE FUNCTION spine.set_hub_key(node text, key_id text, key bytea) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM spine.require_operator();
	IF NOT EXISTS (SELECT FROM spine.node n WHERE n.name = set_hub_key.node AND NOT n.is_self AND n.purpose = 'reporting') THEN
		RAISE EXCEPTION 'no neighbour for reporting is called "%"', set_hub_key.node
			USING ERRCODE = 'undefined_object';
	END IF;
	IF coalesce(set_hub_key.key_id, '') !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' THEN
		RAISE EXCEPTION 'a key''s name is 1 to 63 letters, digits, dots, hyphens or underscores'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF coalesce(octet_length(set_hub_key.key), 0) NOT BETWEEN 32 AND 1024 THEN
		RAISE EXCEPTION 'a key has 32 to 1024 bytes'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'openssl rand -hex 32 makes one.';
	END IF;
	-- two hubs with one key could put together what each has
	IF EXISTS (SELECT FROM spine.hub_key k WHERE k.node <> set_hub_key.node AND k.key = set_hub_key.key) THEN
		RAISE EXCEPTION 'the key is that of another hub'
			USING ERRCODE = 'unique_violation';
	END IF;
	-- first the link, as the courier does
	PERFORM FROM spine.link l WHERE l.node = set_hub_key.node FOR UPDATE;
	INSERT INTO spine.hub_key AS k (node, key_id, key) VALUES (set_hub_key.node, set_hub_key.key_id, set_hub_key.key)
		ON CONFLICT ON CONSTRAINT hub_key_pkey DO UPDATE SET key_id = EXCLUDED.key_id, key = EXCLUDED.key, since = now();
	-- every pseudonym is another: everything is sent anew, and what the hub has goes
	DELETE FROM spine.hub_record r WHERE r.node = set_hub_key.node;
	UPDATE spine.link l SET epoch = NULL, position = NULL, retry_at = NULL WHERE l.node = set_hub_key.node;
	PERFORM spine.ring_doorbell();
END
$$;
ALTER FUNCTION spine.set_hub_key(text, text, bytea) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.set_hub_key(text, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.set_hub_key(text, text, bytea) TO spine_operator;
COMMENT ON FUNCTION spine.set_hub_key(text, text, bytea) IS
	'Gives a hub''s pseudonyms another key, of 32 to 1024 bytes, in place of the random one that connect_node made: Trusts that give a hub the same key give it the same pseudonym for the same woman. Everything there is replaced. For an operator; the key is shown to nobody afterwards, key_id in spine.hub_keys().';

CREATE FUNCTION spine.hub_keys() RETURNS TABLE (node text, key_id text, since timestamptz)
	LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT k.node, k.key_id, k.since FROM spine.hub_key k ORDER BY 1$$;
ALTER FUNCTION spine.hub_keys() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.hub_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.hub_keys() TO spine_operator;
COMMENT ON FUNCTION spine.hub_keys() IS 'Which key makes each hub''s pseudonyms, by its name, since when; never the key.';

CREATE FUNCTION spine.pseudonym(key bytea, kind text, id uuid) RETURNS uuid
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_pseudonym';
ALTER FUNCTION spine.pseudonym(bytea, text, uuid) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.pseudonym(bytea, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION spine.pseudonym(bytea, text, uuid) IS
	'HMAC-SHA-256 of an id of this kind (patient, episode, record) under the key, cut to a version 8 uuid.';

CREATE FUNCTION spine.pseudonymised(of_row record, data_group text, key bytea, person uuid, withheld text[], dates text, origin timestamptz)
	RETURNS jsonb
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_pseudonymised';
ALTER FUNCTION spine.pseudonymised(record, text, bytea, uuid, text[], text, timestamptz) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.pseudonymised(record, text, bytea, uuid, text[], text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION spine.pseudonymised(record, text, bytea, uuid, text[], text, timestamptz) IS
	'A row of a data group (DATASET.GROUP) as a hub may have it, without its audience: ids and local numbers as pseudonyms, of person for patient_id; nothing of class identity, nothing withheld; dates exact, as the distance to origin (birth), or the first of their month, received_at always so.';

CREATE FUNCTION spine.person_root(patient uuid) RETURNS uuid
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	-- an id made of an NHS number is the same at every Trust
	SELECT p.id FROM unnest(spine.linked_patients(patient)) AS p (id)
	 ORDER BY substr(p.id::text, 15, 1) <> '8', p.id LIMIT 1
	$$;
ALTER FUNCTION spine.person_root(uuid) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.person_root(uuid) FROM PUBLIC;
COMMENT ON FUNCTION spine.person_root(uuid) IS 'The one of a person''s linked ids of which her pseudonyms are made.';

CREATE FUNCTION spine.sent_id(node text, relation text, id uuid) RETURNS uuid
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF relation LIKE 'spine.%' OR NOT EXISTS (SELECT FROM spine.node n WHERE n.name = sent_id.node AND n.purpose = 'reporting') THEN
		RETURN id;
	END IF;
	RETURN (SELECT spine.pseudonym(k.key, 'record', id) FROM spine.hub_key k WHERE k.node = sent_id.node);
END
$$;
ALTER FUNCTION spine.sent_id(text, text, uuid) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.sent_id(text, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION spine.sent_id(text, text, uuid) IS 'Under which id a row of a relation stands at a neighbour: a pseudonym at a hub, else its own.';

CREATE FUNCTION spine.audience_dates(audience text[]) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $$
	SELECT CASE WHEN bool_or(a LIKE '%/@exact') THEN 'exact' WHEN bool_or(a LIKE '%/@minutes_from_birth') THEN 'birth' ELSE 'month' END
	  FROM unnest(audience) a
	$$;
ALTER FUNCTION spine.audience_dates(text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.audience_dates(text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.audience_dates(text[]) IS 'How fine these tokens let dates be, the finest that one of them says: exact, birth or month.';

-- Which group tells of a birth: a baby's whose parent is of its mother.
CREATE FUNCTION spine.birth_groups(dataset text) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT ARRAY(
		SELECT DISTINCT g ->> 'name'
		  FROM spine.dataset d
		 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS g
		  JOIN LATERAL jsonb_array_elements(d.definition -> 'groups') AS p ON p ->> 'name' = g -> 'parent' ->> 'group'
		 WHERE d.name = birth_groups.dataset AND g ->> 'subject' = 'baby' AND p ->> 'subject' = 'mother'
		 ORDER BY 1)
	$$;
ALTER FUNCTION spine.birth_groups(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.birth_groups(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.birth_groups(text) IS 'The groups of a data set whose records tell of a birth, and when it was.';

CREATE FUNCTION spine.date_origin(relation text, patient uuid, episode uuid, own text[]) RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	the_dataset text := split_part(relation, '.', 1);
	birth_group text;
	born timestamptz;
	earliest timestamptz;
BEGIN
	FOREACH birth_group IN ARRAY spine.birth_groups(the_dataset) LOOP
		CONTINUE WHEN to_regclass(format('%I.%I', the_dataset, birth_group)) IS NULL;
		EXECUTE format('SELECT min(t.event_at) FROM %I.%I t WHERE t.patient_id = ANY (spine.linked_patients($1)) AND t.owner = ANY ($2)',
					   the_dataset, birth_group) INTO born USING patient, own;
		earliest := least(earliest, born);
	END LOOP;
	-- nobody who was born in these records: the episode's date, of a pregnancy the expected date of delivery
	RETURN coalesce(earliest, (SELECT e.anchor::timestamp AT TIME ZONE 'Europe/London' FROM spine.episode e
								WHERE e.episode_id = episode AND e.owner = ANY (own)));
END
$$;
ALTER FUNCTION spine.date_origin(text, uuid, uuid, text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.date_origin(text, uuid, uuid, text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.date_origin(text, uuid, uuid, text[]) IS
	'From when the dates of a record are counted where a clause gives minutes from birth: the birth of its person, else the date of its episode, as own organisations have them; null where neither is known.';

CREATE FUNCTION spine.hub_row(relation text, own text, their text, key text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT format('spine.pseudonymised(t, %1$L, %4$s, spine.person_root(t.patient_id), spine.withheld_from(a.audience, %3$s, %1$L), a.dates, '
				  'CASE a.dates WHEN ''birth'' THEN spine.date_origin(%1$L, t.patient_id, t.episode_id, %2$s) END) '
				  '|| pg_catalog.jsonb_build_object(''audience'', a.audience)', relation, own, their, key)
	$$;
ALTER FUNCTION spine.hub_row(text, text, text, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.hub_row(text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.hub_row(text, text, text, text) IS
	'SQL: the row t of a group''s table as a hub may have it; a is its audience there (spine.hub_audience), the others are SQL that gives own organisations, the hub''s addressees and its key.';

CREATE FUNCTION spine.hub_audience(relation text, their text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT format('(SELECT s.audience, spine.audience_dates(s.audience) AS dates FROM (SELECT spine.audience_of(%s, %s) AS audience) s WHERE s.audience <> ''{}'') a',
				  spine.audience_to_send(relation), their)
	$$;
ALTER FUNCTION spine.hub_audience(text, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.hub_audience(text, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.hub_audience(text, text) IS 'SQL: a, what of the audience of a row t is a hub''s, and how fine dates are; no row where nothing is.';

CREATE FUNCTION spine.rows_for_hub(hub text, relation text, class regclass, ids uuid[], own text[], their text[],
		OUT puts jsonb, OUT put_ids uuid[])
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET TimeZone = 'Europe/London'
	SET enable_seqscan = off
	AS $$
DECLARE
	the_key bytea := (SELECT k.key FROM spine.hub_key k WHERE k.node = hub);
BEGIN
	IF the_key IS NULL THEN
		RAISE EXCEPTION 'hub "%" has no key', hub USING ERRCODE = 'SP008';
	END IF;
	SELECT * INTO puts, put_ids FROM spine.kept_read(format(
		'SELECT jsonb_agg(jsonb_build_object(''relation'', $1, ''action'', ''put'', ''row'', %s)), array_agg(t.record_id) '
		'FROM %s t CROSS JOIN LATERAL %s WHERE t.record_id = ANY ($2) AND t.owner = ANY ($3)',
		spine.hub_row(relation, '$3', '$4', '$5'), class, spine.hub_audience(relation, '$4')), relation, ids, own, their, the_key)
		AS r (puts jsonb, put_ids uuid[]);
END
$$;
ALTER FUNCTION spine.rows_for_hub(text, text, regclass, uuid[], text[], text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.rows_for_hub(text, text, regclass, uuid[], text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.rows_for_hub(text, text, regclass, uuid[], text[], text[]) IS
	'spine.rows_for_neighbour() for records to a hub: pseudonymised. put_ids are the ids that they have here.';

CREATE FUNCTION spine.hub_source(hub text, relation text, class regclass, their text[]) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT format('(SELECT h.sent_id, p.* FROM spine.hub_record h JOIN %1$s t ON t.record_id = h.record_id '
				  'CROSS JOIN LATERAL %3$s CROSS JOIN LATERAL pg_catalog.jsonb_populate_record(NULL::%1$s, %2$s) p WHERE h.node = %4$L AND h.relation = %5$L AND t.owner = ANY ($1)) t',
				  class, spine.hub_row(relation, '$1', quote_literal(their::text) || '::text[]',
									   format('(SELECT k.key FROM spine.hub_key k WHERE k.node = %L)', hub)),
				  spine.hub_audience(relation, quote_literal(their::text) || '::text[]'), hub, relation)
	$$;
ALTER FUNCTION spine.hub_source(text, text, regclass, text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.hub_source(text, text, regclass, text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.hub_source(text, text, regclass, text[]) IS
	'SQL: t, the rows of a group''s table as a hub may have them, of the owners $1, each behind the id under which it knows it. For spine.digest_ranges().';

CREATE FUNCTION spine.own_ids(relation text, their text[], ids uuid[]) RETURNS uuid[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	hub text := spine.addressed_hub(their);
BEGIN
	IF hub IS NULL OR relation LIKE 'spine.%' THEN
		RETURN ids;
	END IF;
	RETURN ARRAY(SELECT h.record_id FROM spine.hub_record h WHERE h.node = hub AND h.relation = own_ids.relation AND h.sent_id = ANY (ids));
END
$$;
ALTER FUNCTION spine.own_ids(text, text[], uuid[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.own_ids(text, text[], uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.own_ids(text, text[], uuid[]) IS 'The ids here of records that a neighbour knows under these, as far as they are known: the way back of spine.sent_id().';

CREATE FUNCTION spine.note_sent(hub text, relation text, ids uuid[]) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO spine.hub_record (node, relation, sent_id, record_id)
	SELECT k.node, note_sent.relation, spine.pseudonym(k.key, 'record', i), i FROM spine.hub_key k, unnest(ids) i
	 WHERE k.node = hub AND note_sent.relation NOT LIKE 'spine.%'
	ON CONFLICT DO NOTHING
	$$;
ALTER FUNCTION spine.note_sent(text, text, uuid[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.note_sent(text, text, uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.note_sent(text, text, uuid[]) IS 'Notes in spine.hub_record under which id records are sent.';

-- A hub is compared in the order of the ids that it knows. First, in pieces, these are listed.
CREATE FUNCTION spine.hub_list_turn(hub text, state jsonb, own text[], their text[], most integer) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	AS $$
DECLARE
	the_table record;
	after uuid;
	ids uuid[];
	scanned bigint;
	last_scanned uuid;
	wide bigint := most * 20::bigint;
BEGIN
	SELECT * INTO the_table FROM spine.exchange_tables() t
		WHERE t.is_group AND (state ->> 'lists' IS NULL OR t.relation >= state ->> 'lists') ORDER BY t.relation LIMIT 1;
	IF NOT FOUND THEN
		RETURN state - 'lists' || '{"listed": true}';
	END IF;
	-- first the link, as set_hub_key() does
	PERFORM FROM spine.link l WHERE l.node = hub FOR UPDATE;
	IF state ->> 'lists' = the_table.relation THEN
		SELECT k.listed_to INTO after FROM spine.hub_key k WHERE k.node = hub AND k.listed_relation = the_table.relation;
	END IF;
	EXECUTE format(
		'WITH s AS MATERIALIZED (SELECT t.record_id AS id, t.owner = ANY ($2) AND spine.audience_names(t.audience, $3) AS due FROM %s t '
		'WHERE $1 IS NULL OR t.record_id > $1 ORDER BY t.record_id LIMIT $4) '
		'SELECT ARRAY(SELECT s.id FROM s WHERE s.due), (SELECT count(*) FROM s), (SELECT s.id FROM s ORDER BY s.id DESC LIMIT 1)', the_table.class)
		INTO ids, scanned, last_scanned USING after, own, their, wide;
	PERFORM spine.note_sent(hub, the_table.relation, ids);
	UPDATE spine.hub_key k SET listed_relation = the_table.relation, listed_to = coalesce(last_scanned, k.listed_to) WHERE k.node = hub;
	IF scanned = wide THEN
		RETURN state || jsonb_build_object('lists', the_table.relation);
	END IF;
	SELECT * INTO the_table FROM spine.exchange_tables() t WHERE t.is_group AND t.relation > the_table.relation ORDER BY t.relation LIMIT 1;
	IF NOT FOUND THEN
		RETURN state - 'lists' || '{"listed": true}';
	END IF;
	UPDATE spine.hub_key k SET listed_relation = the_table.relation, listed_to = NULL WHERE k.node = hub;
	RETURN state || jsonb_build_object('lists', the_table.relation);
END
$$;
ALTER FUNCTION spine.hub_list_turn(text, jsonb, text[], text[], integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.hub_list_turn(text, jsonb, text[], text[], integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.hub_list_turn(text, jsonb, text[], text[], integer) IS
	'Lists a piece of the records that a hub should have in spine.hub_record, before a comparison. state: what the position says of it; returns what it is to say: listed, when all are. How far it has come is in spine.hub_key: the position, which the hub sees, holds no id of a record here.';

CREATE FUNCTION spine.deliver_to_hubs(pairs uuid[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	hub record;
	one_table record;
	persons uuid[];
BEGIN
	-- another root makes another pseudonym, another anchor other dates
	IF pairs IS NULL
		OR NOT EXISTS (SELECT FROM spine.node n WHERE NOT n.is_self AND n.state <> 'ended' AND n.purpose = 'reporting') THEN
		RETURN;
	END IF;
	persons := ARRAY(SELECT DISTINCT l FROM unnest(pairs) p, unnest(spine.linked_patients(p)) l);
	FOR hub IN
		SELECT n.name, spine.addressees_of(n.name) AS their FROM spine.node n
		 WHERE NOT n.is_self AND n.state <> 'ended' AND NOT n.behind AND n.purpose = 'reporting' ORDER BY 1
	LOOP
		FOR one_table IN SELECT t.relation, t.class FROM spine.exchange_tables() t WHERE t.is_group ORDER BY t.relation LOOP
			EXECUTE format(
				'INSERT INTO spine.delivery (destination, relation, record_id, owner, revision, action) '
				'SELECT $1, $2, t.record_id, t.owner, t.revision, ''put'' FROM %s t '
				'JOIN spine.node_organisation o ON o.organisation = t.owner '
				'JOIN spine.node s ON s.name = o.node AND s.is_self '
				'WHERE t.patient_id = ANY ($3) AND spine.audience_names(t.audience, $4)', one_table.class)
				USING hub.name, one_table.relation, persons, hub.their;
		END LOOP;
	END LOOP;
	PERFORM spine.ring_doorbell();
END
$$;
ALTER FUNCTION spine.deliver_to_hubs(uuid[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.deliver_to_hubs(uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.deliver_to_hubs(uuid[]) IS
	'Sends every hub anew what it has about these patients and those linked to them, when a link or an episode''s date has changed.';
