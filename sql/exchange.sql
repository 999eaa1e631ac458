-- Exchange between nodes. The sender's side ends in spine.link_turn(), which the courier calls;
-- the receiver's in spine.receive(), which a neighbour's courier calls. Both are pure
-- functions of what stands in tables: a process that dies loses nothing.

-- ---------------------------------------------------------------- ledger

CREATE FUNCTION spine.ring_doorbell() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_ring_doorbell';
REVOKE EXECUTE ON FUNCTION spine.ring_doorbell() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.ring_doorbell() TO spine_owner, spine_operator;
COMMENT ON FUNCTION spine.ring_doorbell() IS
	'Wakes this database''s courier when the transaction has committed. Does nothing where the library is not preloaded.';

CREATE FUNCTION spine.wake_link(node text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_wake_link';
ALTER FUNCTION spine.wake_link(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.wake_link(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.wake_link(text) IS
	'A neighbour has called: when our link to it waits for its next try, the courier tries at once, but not more than once in 5 seconds.';

CREATE FUNCTION spine.deliver() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_deliver';
ALTER FUNCTION spine.deliver() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.deliver() FROM PUBLIC;
COMMENT ON FUNCTION spine.deliver() IS
	'AFTER STATEMENT trigger (data set, group) with transition tables old_rows and new_rows: appends to spine.delivery one row for each record of this node''s owners and each neighbour, where the record''s content or the neighbour''s part of its audience changed. Writes as spine_owner.';

CREATE FUNCTION spine.refuse_truncate() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	RAISE EXCEPTION 'table %.% is not truncated', TG_TABLE_SCHEMA, TG_TABLE_NAME
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  DETAIL = 'Neighbours would keep what they have of it.',
			  HINT = 'DELETE takes it away at neighbours too.';
END
$$;
ALTER FUNCTION spine.refuse_truncate() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.refuse_truncate() FROM PUBLIC;
COMMENT ON FUNCTION spine.refuse_truncate() IS 'BEFORE TRUNCATE trigger on what travels: refuses, since no row would be told to the neighbours.';

-- One record for each destination that holds records of these patients is put into the ledger
-- again: it carries the links and anchors of its patient.
CREATE FUNCTION spine.deliver_links() RETURNS trigger
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	pairs uuid[];
	destination record;
	one_table record;
	written bigint;
BEGIN
	IF NOT EXISTS (SELECT FROM spine.node n WHERE NOT n.is_self AND n.state <> 'ended') THEN
		RETURN NULL;
	END IF;
	-- of whatever owner it is, a link changes who is one person
	IF TG_ARGV[0] = 'identity_link' THEN
		PERFORM spine.deliver_to_hubs((SELECT array_agg(ARRAY[l.from_patient, l.to_patient]) FROM new_rows l));
	END IF;
	-- the patients of own links, as pairs
	CASE TG_ARGV[0]
		WHEN 'identity_link' THEN
			SELECT array_agg(ARRAY[l.from_patient, l.to_patient]) INTO pairs
				FROM new_rows l JOIN spine.node_organisation o ON o.organisation = l.owner
					JOIN spine.node s ON s.name = o.node AND s.is_self;
		WHEN 'family_link' THEN
			SELECT array_agg(ARRAY[l.child, l.mother]) INTO pairs
				FROM new_rows l JOIN spine.node_organisation o ON o.organisation = l.owner
					JOIN spine.node s ON s.name = o.node AND s.is_self;
		WHEN 'episode_link' THEN
			SELECT array_agg(ARRAY[f.patient_id, t.patient_id]) INTO pairs
				FROM new_rows l JOIN spine.node_organisation o ON o.organisation = l.owner
					JOIN spine.node s ON s.name = o.node AND s.is_self
					JOIN spine.episode f ON f.episode_id = l.from_episode
					JOIN spine.episode t ON t.episode_id = l.to_episode;
		WHEN 'episode' THEN
			SELECT array_agg(ARRAY[l.patient_id, l.patient_id]) INTO pairs
				FROM new_rows l JOIN spine.node_organisation o ON o.organisation = l.owner
					JOIN spine.node s ON s.name = o.node AND s.is_self;
	END CASE;
	IF pairs IS NULL THEN
		RETURN NULL;
	END IF;

	PERFORM spine.deliver_to_hubs(pairs) WHERE TG_ARGV[0] = 'episode';
	-- records reach a neighbour only where its organisation has a relationship to the patient
	FOR destination IN
		SELECT n.name, array_agg(DISTINCT o.organisation) AS organisations, p.one, p.other
		FROM (SELECT DISTINCT pairs[i][1] AS one, pairs[i][2] AS other
			  FROM generate_subscripts(pairs, 1) i) p
			JOIN spine.relationship r ON r.patient_id IN (p.one, p.other)
			JOIN spine.node_organisation o ON o.organisation = r.organisation
			JOIN spine.node n ON n.name = o.node AND NOT n.is_self AND n.state <> 'ended' AND NOT n.behind AND n.purpose = 'care'
		GROUP BY n.name, p.one, p.other
	LOOP
		FOR one_table IN
			SELECT t.relation, t.class FROM spine.exchange_tables() t WHERE t.is_group ORDER BY t.relation
		LOOP
			EXECUTE format(
				'INSERT INTO spine.delivery (destination, relation, record_id, owner, revision, action) '
				'SELECT $1, $2, t.record_id, t.owner, t.revision, ''put'' FROM %s t '
				'JOIN spine.node_organisation o ON o.organisation = t.owner '
				'JOIN spine.node s ON s.name = o.node AND s.is_self '
				'WHERE t.patient_id IN ($3, $4) AND spine.audience_names(t.audience, $5) LIMIT 1',
				one_table.class)
				USING destination.name, one_table.relation, destination.one, destination.other,
					  destination.organisations;
			GET DIAGNOSTICS written = ROW_COUNT;
			EXIT WHEN written > 0;
		END LOOP;
	END LOOP;
	PERFORM spine.ring_doorbell();
	RETURN NULL;
END
$$;
ALTER FUNCTION spine.deliver_links() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.deliver_links() FROM PUBLIC;
COMMENT ON FUNCTION spine.deliver_links() IS
	'AFTER STATEMENT trigger (table) on links and episodes: sends one record of the patient again, which carries them.';

CREATE FUNCTION spine.audience_names(audience text[], organisations text[]) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_audience_names';
ALTER FUNCTION spine.audience_names(text[], text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.audience_names(text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.audience_names(text[], text[]) IS 'Whether the audience holds a token of one of these addressees: ORGANISATION, for care and emergency, as no other purpose may have an identified row, or ORGANISATION:PURPOSE, who gets pseudonyms.';

CREATE FUNCTION spine.audience_of(audience text[], organisations text[]) RETURNS text[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_audience_of';
ALTER FUNCTION spine.audience_of(text[], text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.audience_of(text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.audience_of(text[], text[]) IS 'The tokens of the audience that are of one of these addressees, as spine.audience_names() has them, with what they say of items.';

CREATE FUNCTION spine.withheld_from(audience text[], organisations text[], data_group text) RETURNS text[]
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_withheld_from';
ALTER FUNCTION spine.withheld_from(text[], text[], text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.withheld_from(text[], text[], text) FROM PUBLIC;
COMMENT ON FUNCTION spine.withheld_from(text[], text[], text) IS 'The columns of a row of a data group (DATASET.GROUP) with this audience that none of the addressees (ORGANISATION or ORGANISATION:PURPOSE) may have, those of the envelope that are made of such items among them.';

CREATE FUNCTION spine.organisations_of(node text) RETURNS text[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	RETURN ARRAY(SELECT o.organisation FROM spine.node_organisation o WHERE o.node = $1 ORDER BY 1);
END
$$;
ALTER FUNCTION spine.organisations_of(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.organisations_of(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.organisations_of(text) IS 'The organisations that a node hosts.';

-- What travels beside records, in the order in which it is sent: what ends something goes before what it ends.
CREATE FUNCTION spine.exchange_place(relation text) RETURNS integer
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	AS $$SELECT coalesce(pg_catalog.array_position('{spine.agreement_event,spine.dissent,spine.relationship,spine.review_event,spine.access_notice,spine.audit_head}', relation), 7)$$;
ALTER FUNCTION spine.exchange_place(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.exchange_place(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.exchange_place(text) IS 'The place of a relation in the order of sending: 1 to 6 for what governs, 7 for the records of data groups.';

CREATE FUNCTION spine.exchange_id(relation text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	AS $$SELECT CASE relation WHEN 'spine.agreement_event' THEN 'event_id' WHEN 'spine.dissent' THEN 'dissent_id' WHEN 'spine.relationship' THEN 'relationship_id'
						   WHEN 'spine.review_event' THEN 'event_id' WHEN 'spine.access_notice' THEN 'notice_id' WHEN 'spine.audit_head' THEN 'head_id' ELSE 'record_id' END$$;
ALTER FUNCTION spine.exchange_id(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.exchange_id(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.exchange_id(text) IS 'The column that identifies a row of a relation that travels.';

CREATE FUNCTION spine.exchange_is_said(relation text) RETURNS boolean
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	AS $$SELECT relation IN ('spine.agreement_event', 'spine.review_event', 'spine.access_notice', 'spine.audit_head')$$;
ALTER FUNCTION spine.exchange_is_said(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.exchange_is_said(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.exchange_is_said(text) IS 'Whether rows of a relation are said once and for all: never changed, never withdrawn.';

CREATE FUNCTION spine.is_exchange_table(schema name, c pg_catalog.pg_class) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	AS $$
	SELECT c.relkind = 'r' AND schema <> 'spine'
		AND c.relowner = 'spine_owner'::pg_catalog.regrole
		AND EXISTS (SELECT FROM spine.dataset d WHERE d.name = schema)
		AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
			 WHERE a.attrelid = c.oid AND NOT a.attisdropped
				AND a.attname IN ('record_id', 'owner', 'patient_id', 'episode_id', 'revision', 'audience')) = 6
	$$;
ALTER FUNCTION spine.is_exchange_table(name, pg_catalog.pg_class) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.is_exchange_table(name, pg_catalog.pg_class) FROM PUBLIC;
COMMENT ON FUNCTION spine.is_exchange_table(name, pg_catalog.pg_class) IS 'Whether a table of this schema is a data group''s.';

-- What may travel, and nothing else: the schema of a published data set holds its groups' tables alone.
CREATE FUNCTION spine.exchange_tables(only_relation text DEFAULT NULL)
	RETURNS TABLE (ord integer, relation text, class regclass, id_column name, is_group boolean)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	AS $$
#variable_conflict use_column
BEGIN
	IF only_relation IS NOT NULL AND spine.exchange_place(only_relation) = 7 THEN
		-- each batch asks this: by name, without a look through the catalogue
		RETURN QUERY
		SELECT 7, only_relation, c.oid::regclass, 'record_id'::name, true
			FROM pg_namespace s JOIN pg_class c ON c.relnamespace = s.oid
			WHERE s.nspname = split_part(only_relation, '.', 1) AND c.relname = split_part(only_relation, '.', 2)
				AND split_part(only_relation, '.', 3) = ''
				AND spine.is_exchange_table(s.nspname, c);
		RETURN;
	END IF;
	RETURN QUERY
	SELECT spine.exchange_place(c.name), c.name, c.name::regclass, spine.exchange_id(c.name)::name, false
		FROM unnest('{spine.agreement_event,spine.dissent,spine.relationship,spine.review_event,spine.access_notice,spine.audit_head}'::text[]) AS c (name)
		WHERE only_relation IS NULL OR only_relation = c.name
	UNION ALL
	SELECT 7, s.nspname || '.' || c.relname, c.oid::regclass, 'record_id'::name, true
		FROM pg_namespace s JOIN pg_class c ON c.relnamespace = s.oid
		WHERE only_relation IS NULL AND s.nspname IN (SELECT d.name FROM spine.dataset d) AND spine.is_exchange_table(s.nspname, c);
END
$$;
ALTER FUNCTION spine.exchange_tables(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.exchange_tables(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.exchange_tables(text) IS
	'The tables whose rows travel between nodes, in the order in which they are sent: agreements, dissents, relationships and what follows from them, the groups of published data sets.';

-- Partitions for this month and the next two. Never fails for a partition that cannot be made now:
-- the default partition takes the rows, and the courier asks again.
CREATE FUNCTION spine.make_ledger_partitions() RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '200ms'
	SET TimeZone = 'UTC'
	AS $$
DECLARE
	neighbour record;
	month timestamptz;
	parent text;
	made integer := 0;
BEGIN
	FOR neighbour IN SELECT n.name FROM spine.node n WHERE NOT n.is_self AND n.state <> 'ended' ORDER BY 1
	LOOP
		parent := 'delivery_' || neighbour.name;
		CONTINUE WHEN to_regclass(format('spine.%I', parent)) IS NULL;
		FOR month IN
			SELECT date_trunc('month', now()) + make_interval(months => i) FROM generate_series(0, 2) i
		LOOP
			BEGIN
				made := made + spine.make_month_partition(parent, month)::integer;
			EXCEPTION
				WHEN lock_not_available OR check_violation OR deadlock_detected THEN
					RAISE LOG 'spine: the ledger of % has no partition for % yet: %', neighbour.name, to_char(month, 'YYYY-MM'), SQLERRM;
			END;
		END LOOP;
	END LOOP;
	RETURN made;
END
$$;
ALTER FUNCTION spine.make_ledger_partitions() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.make_ledger_partitions() FROM PUBLIC;
COMMENT ON FUNCTION spine.make_ledger_partitions() IS 'Makes the ledger''s partitions of this month and the next two. Returns how many were missing. The courier calls it every hour.';

CREATE FUNCTION spine.prune_ledger(older_than interval DEFAULT '13 months') RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET TimeZone = 'UTC'
	AS $$
DECLARE
	limit_month timestamptz := date_trunc('month', now() - older_than);
	part record;
	highest xid8;
	dropped integer := 0;
BEGIN
	IF older_than < interval '1 month' THEN
		RAISE EXCEPTION 'the ledger is kept for at least one month'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOR part IN
		SELECT l.node, c.oid::regclass AS class, c.relname
		FROM spine.link l
			JOIN pg_class p ON p.oid = to_regclass(format('spine.%I', 'delivery_' || l.node))
			JOIN pg_inherits i ON i.inhparent = p.oid
			JOIN pg_class c ON c.oid = i.inhrelid
		WHERE c.relname ~ '_[0-9]{4}_[0-9]{2}$'
			AND to_date(right(c.relname, 7), 'YYYY_MM') < limit_month
		ORDER BY c.relname
	LOOP
		EXECUTE format('SELECT xid FROM %s ORDER BY xid DESC LIMIT 1', part.class) INTO highest;
		-- a position before this can no longer be served from the ledger: link_turn compares everything
		UPDATE spine.link SET pruned_before = greatest(pruned_before, highest)
			WHERE node = part.node AND highest IS NOT NULL;
		EXECUTE format('DROP TABLE %s', part.class);
		dropped := dropped + 1;
	END LOOP;
	RETURN dropped;
END
$$;
ALTER FUNCTION spine.prune_ledger(interval) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.prune_ledger(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.prune_ledger(interval) TO spine_operator;
COMMENT ON FUNCTION spine.prune_ledger(interval) IS
	'Drops the ledger''s months older than this. With a neighbour that was away for longer everything is compared. Returns the number of partitions dropped.';

-- ---------------------------------------------------------------- rows and statements

CREATE FUNCTION spine.kept_row(query text, VARIADIC arguments "any") RETURNS record
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_kept_row';
ALTER FUNCTION spine.kept_row(text, "any") OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.kept_row(text, "any") FROM PUBLIC;
COMMENT ON FUNCTION spine.kept_row(text, "any") IS 'EXECUTE of a query that returns one row, whose plan is kept for the session: for tables that are known only then. Runs as the caller.';

CREATE FUNCTION spine.kept_read(query text, VARIADIC arguments "any") RETURNS record
	LANGUAGE c STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_kept_row';
ALTER FUNCTION spine.kept_read(text, "any") OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.kept_read(text, "any") FROM PUBLIC;
COMMENT ON FUNCTION spine.kept_read(text, "any") IS 'spine.kept_row() of a query that only reads, and sees what the statement that calls it sees.';

CREATE FUNCTION spine.kept_count(query text, VARIADIC arguments "any") RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_kept_count';
ALTER FUNCTION spine.kept_count(text, "any") OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.kept_count(text, "any") FROM PUBLIC;
COMMENT ON FUNCTION spine.kept_count(text, "any") IS 'EXECUTE of a statement whose plan is kept for the session; returns how many rows it touched. Runs as the caller.';

CREATE FUNCTION spine.sent_row(relation text, t record, audience text[], withheld text[]) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_sent_row';
ALTER FUNCTION spine.sent_row(text, record, text[], text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.sent_row(text, record, text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.sent_row(text, record, text[], text[]) IS 'A row of a data group as a part of a batch: {relation, action: put, row}, the row with this audience, without nulls and the columns withheld; its id stands for a local number that is withheld.';

CREATE FUNCTION spine.unknown_items(contents jsonb, known text[]) RETURNS TABLE (content jsonb, items jsonb)
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1
	AS 'MODULE_PATHNAME', 'spine_unknown_items';
ALTER FUNCTION spine.unknown_items(jsonb, text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.unknown_items(jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.unknown_items(jsonb, text[]) IS 'Those of the rows, an array of objects, that have other keys than these, and what stands under the others.';

CREATE FUNCTION spine.batch_parts(rows jsonb, own text[]) RETURNS TABLE (relation text, action text, ids uuid[], contents jsonb)
	LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 5
	AS 'MODULE_PATHNAME', 'spine_batch_parts';
ALTER FUNCTION spine.batch_parts(jsonb, text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.batch_parts(jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.batch_parts(jsonb, text[]) IS 'The rows of a batch by relation and action: the ids of what is withdrawn, the rows that are put, with the tokens alone of their audience that are of these addressees.';

-- ---------------------------------------------------------------- sending

-- Ledger rows that lie after a position and are visible in the snapshot upto. By transaction:
-- first those that were running when the position was taken, each by itself, then the later
-- ones, so that one which runs for long does not let all that followed it be read again.
CREATE FUNCTION spine.pending_deliveries(to_node text, at_position jsonb, upto pg_snapshot, most integer)
	RETURNS TABLE (delivery_id bigint, xid xid8, relation text, record_id uuid, revision bigint, at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
	SET search_path = pg_catalog, pg_temp
	-- plans are kept from when the ledger was small
	SET plan_cache_mode = force_generic_plan
	SET enable_seqscan = off
	AS $$
#variable_conflict use_column
DECLARE
	done pg_snapshot := (at_position ->> 'from')::pg_snapshot;
	highest xid8 := pg_snapshot_xmax(done);
	after_xid xid8 := coalesce((at_position ->> 'xid')::xid8, '0');
	after_id bigint := coalesce((at_position ->> 'id')::bigint, 0);
	one xid8;
	sent bigint;
	room integer := most;
BEGIN
	FOR one IN SELECT r FROM pg_snapshot_xip(done) r WHERE r >= after_xid ORDER BY 1
	LOOP
		CONTINUE WHEN NOT pg_visible_in_snapshot(one, upto);
		RETURN QUERY
			SELECT d.delivery_id, d.xid, d.relation, d.record_id, d.revision, d.at
			FROM spine.delivery d
			WHERE d.destination = to_node AND d.xid = one
				AND d.delivery_id > CASE WHEN one = after_xid THEN after_id ELSE 0 END
			ORDER BY d.delivery_id
			LIMIT room;
		GET DIAGNOSTICS sent = ROW_COUNT;
		room := room - sent;
		IF room <= 0 THEN
			RETURN;
		END IF;
	END LOOP;
	-- a row comparison is the index's own: everything before it is not looked at
	IF after_xid < highest THEN
		after_xid := highest;
		after_id := 0;
	END IF;
	RETURN QUERY
		SELECT d.delivery_id, d.xid, d.relation, d.record_id, d.revision, d.at
		FROM spine.delivery d
		WHERE d.destination = to_node
			AND (d.xid, d.delivery_id) > (after_xid, after_id)
			AND d.xid < pg_snapshot_xmax(upto)
			AND pg_visible_in_snapshot(d.xid, upto)
		ORDER BY d.xid, d.delivery_id
		LIMIT room;
END
$$;
ALTER FUNCTION spine.pending_deliveries(text, jsonb, pg_snapshot, integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.pending_deliveries(text, jsonb, pg_snapshot, integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.pending_deliveries(text, jsonb, pg_snapshot, integer) IS
	'The ledger''s rows for a destination between a position and a snapshot, in order, at most so many; without those of transactions that the position has passed over.';

-- What a transaction that the position passed over still has to send.
CREATE FUNCTION spine.later_deliveries(to_node text, of_xid xid8, after_id bigint, most integer)
	RETURNS TABLE (delivery_id bigint, xid xid8, relation text, record_id uuid, revision bigint, at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	SET enable_seqscan = off
	AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
		SELECT d.delivery_id, d.xid, d.relation, d.record_id, d.revision, d.at
		FROM spine.delivery d
		WHERE d.destination = to_node AND d.xid = of_xid AND d.delivery_id > after_id
		ORDER BY d.delivery_id LIMIT most;
END
$$;
ALTER FUNCTION spine.later_deliveries(text, xid8, bigint, integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.later_deliveries(text, xid8, bigint, integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.later_deliveries(text, xid8, bigint, integer) IS
	'The ledger''s rows of one transaction for a destination after one of them, in order, at most so many.';

CREATE FUNCTION spine.later_governing(to_node text, of_xid xid8, after_id bigint, most integer)
	RETURNS TABLE (delivery_id bigint, relation text, record_id uuid)
	LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	SET enable_seqscan = off
	AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
		SELECT d.delivery_id, d.relation, d.record_id
		FROM spine.delivery d
		WHERE d.destination = to_node AND d.xid = of_xid AND d.delivery_id > after_id
			AND pg_catalog.left(d.relation, 6) = 'spine.'
		ORDER BY d.delivery_id LIMIT most;
END
$$;
ALTER FUNCTION spine.later_governing(text, xid8, bigint, integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.later_governing(text, xid8, bigint, integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.later_governing(text, xid8, bigint, integer) IS
	'Those of spine.later_deliveries() that govern: agreements, dissents, relationships and what follows from them.';

-- Which ledger rows the next batch is made of, and the position after it. A transaction that
-- fills more than a batch by itself is passed over and noted in the position under "later":
-- the rows of others go on, and a share of each batch is the large one's. What governs
-- in it does not wait: the first half of a batch is for that.
CREATE FUNCTION spine.next_deliveries(to_node text, at_position jsonb, present pg_snapshot, most integer, turn bigint,
		OUT counted bigint, OUT place jsonb, OUT relations text[], OUT ids uuid[])
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	AS $$
DECLARE
	most_later CONSTANT integer := 100;		-- the position must stay small
	smallest CONSTANT integer := 8;			-- of batches that are shared
	later jsonb := coalesce(at_position -> 'later', '[]');
	left_over jsonb := '[]';
	entry jsonb;
	part record;
	ordinary record;
	n integer;
	room integer;
	taken integer;
BEGIN
	counted := 0;
	relations := '{}';
	ids := '{}';
	place := at_position - 'later';

	LOOP
		SELECT array_agg(p.xid) AS xids, array_agg(p.delivery_id) AS delivery_ids,
			   array_agg(p.relation) AS relations, array_agg(p.record_id) AS ids
			INTO ordinary
			FROM spine.pending_deliveries(to_node, place, coalesce((place ->> 'to')::pg_snapshot, present), most + 1) p;
		n := coalesce(cardinality(ordinary.xids), 0);
		IF n > most AND most >= smallest AND ordinary.xids[1] = ordinary.xids[n] AND jsonb_array_length(later) < most_later THEN
			later := later || jsonb_build_object('xid', ordinary.xids[1], 'id', ordinary.delivery_ids[1] - 1,
												 'governs', ordinary.delivery_ids[1] - 1);
			place := place || jsonb_build_object('to', coalesce(place ->> 'to', present::text),
												 'xid', ordinary.xids[1], 'id', 9223372036854775807);
		ELSIF n = 0 AND place ? 'to' THEN
			place := (place - '{to,xid,id}'::text[]) || jsonb_build_object('from', place ->> 'to');
		ELSE
			EXIT;
		END IF;
	END LOOP;

	room := most;
	IF jsonb_array_length(later) > 0 THEN
		-- what governs, of all that was passed over
		FOR entry IN SELECT e FROM jsonb_array_elements(later) WITH ORDINALITY AS l (e, i) ORDER BY i
		LOOP
			IF entry ? 'governs' AND room > most / 2 THEN
				SELECT array_agg(p.delivery_id) AS delivery_ids, array_agg(p.relation) AS relations, array_agg(p.record_id) AS ids
					INTO part
					FROM spine.later_governing(to_node, (entry ->> 'xid')::xid8, (entry ->> 'governs')::bigint, room - most / 2) p;
				taken := coalesce(cardinality(part.ids), 0);
				IF taken < room - most / 2 THEN
					entry := entry - 'governs';
				ELSE
					entry := jsonb_set(entry, '{governs}', to_jsonb(part.delivery_ids[taken]));
				END IF;
				IF taken > 0 THEN
					relations := relations || part.relations;
					ids := ids || part.ids;
					counted := counted + taken;
					room := room - taken;
				END IF;
			END IF;
			left_over := left_over || entry;
		END LOOP;
		later := left_over;
		left_over := '[]';
	END IF;

	-- all others; a quarter stays for the large ones, of the smallest batches every second
	taken := n;
	IF jsonb_array_length(later) = 0 THEN
		taken := least(n, most);
	ELSIF most >= smallest THEN
		taken := least(n, room - most / 4);
	ELSE
		taken := least(n, room);
		IF turn % 2 = 0 AND EXISTS (SELECT FROM jsonb_array_elements(later) e,
										LATERAL spine.later_deliveries(to_node, (e ->> 'xid')::xid8, (e ->> 'id')::bigint, 1)) THEN
			taken := 0;
		END IF;
	END IF;
	IF taken = n THEN
		place := (place - '{to,xid,id}'::text[]) || jsonb_build_object('from', coalesce(place ->> 'to', present::text));
	ELSIF taken > 0 THEN
		place := place || jsonb_build_object('to', coalesce(place ->> 'to', present::text),
											 'xid', ordinary.xids[taken], 'id', ordinary.delivery_ids[taken]);
	END IF;
	IF taken > 0 THEN
		relations := relations || ordinary.relations[:taken];
		ids := ids || ordinary.ids[:taken];
		counted := counted + taken;
		room := room - taken;
	END IF;

	-- and what is left of the batch is the large ones', the oldest first
	FOR entry IN SELECT e FROM jsonb_array_elements(later) WITH ORDINALITY AS l (e, i) ORDER BY i
	LOOP
		IF room > 0 THEN
			SELECT array_agg(p.delivery_id) AS delivery_ids, array_agg(p.relation) AS relations, array_agg(p.record_id) AS ids
				INTO part
				FROM spine.later_deliveries(to_node, (entry ->> 'xid')::xid8, (entry ->> 'id')::bigint, room + 1) p;
			n := coalesce(cardinality(part.ids), 0);
			taken := least(n, room);
			IF taken > 0 THEN
				-- what governs has a place of its own
				SELECT relations || coalesce(array_agg(u.relation), '{}'), ids || coalesce(array_agg(u.id), '{}')
					INTO relations, ids
					FROM unnest(part.relations[:taken], part.ids[:taken]) AS u (relation, id)
					WHERE pg_catalog.left(u.relation, 6) <> 'spine.';
				counted := counted + taken;
				room := room - taken;
				entry := jsonb_set(entry, '{id}', to_jsonb(part.delivery_ids[taken]));
			END IF;
			-- what still governs keeps the entry, at its end
			CONTINUE WHEN n = taken AND NOT entry ? 'governs';
		END IF;
		left_over := left_over || entry;
	END LOOP;
	IF jsonb_array_length(left_over) > 0 THEN
		place := place || jsonb_build_object('later', left_over);
	END IF;
END
$$;
ALTER FUNCTION spine.next_deliveries(text, jsonb, pg_snapshot, integer, bigint) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.next_deliveries(text, jsonb, pg_snapshot, integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION spine.next_deliveries(text, jsonb, pg_snapshot, integer, bigint) IS
	'The ledger rows of the next batch for a neighbour at a position: how many they are, and relations and ids side by side, and the position that the neighbour has when it has applied them.';

-- Of each lane, for people and for the ledger's budget: which of it the next batches take, next_deliveries says.
CREATE FUNCTION spine.unsent_deliveries(to_node text, at_position jsonb, most integer)
	RETURNS TABLE (xid xid8, delivery_id bigint, at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
		SELECT d.xid, d.delivery_id, d.at
		FROM jsonb_array_elements(at_position -> 'later') e,
			LATERAL spine.later_deliveries(to_node, (e ->> 'xid')::xid8, (e ->> 'id')::bigint, most) d;
	IF at_position ? 'to' THEN
		RETURN QUERY
			SELECT d.xid, d.delivery_id, d.at
			FROM spine.pending_deliveries(to_node, at_position, (at_position ->> 'to')::pg_snapshot, most) d;
		at_position := jsonb_build_object('from', at_position ->> 'to');
	END IF;
	RETURN QUERY
		SELECT d.xid, d.delivery_id, d.at FROM spine.pending_deliveries(to_node, at_position, pg_current_snapshot(), most) d
			WHERE at_position IS NOT NULL;
END
$$;
ALTER FUNCTION spine.unsent_deliveries(text, jsonb, integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.unsent_deliveries(text, jsonb, integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.unsent_deliveries(text, jsonb, integer) IS 'The ledger''s rows for a destination behind a position, of each lane the first so many.';

CREATE FUNCTION spine.link_lag(node text) RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	at_position jsonb := (SELECT l.position FROM spine.link l WHERE l.node = $1);
BEGIN
	IF at_position IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN (SELECT count(*) FROM spine.unsent_deliveries($1, at_position, 100000));
END
$$;
ALTER FUNCTION spine.link_lag(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.link_lag(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.link_lag(text) TO spine_operator;
COMMENT ON FUNCTION spine.link_lag(text) IS
	'Ledger rows that the neighbour has not acknowledged yet, counted to 100,000; null before the first contact.';

CREATE FUNCTION spine.link_lag_seconds(node text) RETURNS numeric
	LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	at_position jsonb := (SELECT l.position FROM spine.link l WHERE l.node = $1);
BEGIN
	IF at_position IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN coalesce((SELECT round(extract(epoch FROM clock_timestamp() - min(d.at)), 3) FROM spine.unsent_deliveries($1, at_position, 1) d), 0);
END
$$;
ALTER FUNCTION spine.link_lag_seconds(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.link_lag_seconds(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.link_lag_seconds(text) TO spine_operator;
COMMENT ON FUNCTION spine.link_lag_seconds(text) IS
	'The age in seconds of the oldest ledger row that the neighbour has not acknowledged, 0 when it has all, null before the first contact.';

-- ---------------------------------------------------------------- budget

CREATE FUNCTION spine.all_ended(xid xid8) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_all_ended';
ALTER FUNCTION spine.all_ended(xid8) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.all_ended(xid8) FROM PUBLIC;
COMMENT ON FUNCTION spine.all_ended(xid8) IS 'Whether all transactions, and all pictures of the data, that are older than this one''s end are gone.';

-- The ledger is only appended to: more than lies behind the oldest row still to be sent cannot wait. Where a backlog was
-- dropped there are holes, which later rows fill: so what seems too much is counted, as far as it matters.
CREATE FUNCTION spine.ledger_backlog(to_node text, at_position jsonb, budget bigint) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	AS $$
DECLARE
	row_bytes CONSTANT integer := 200;		-- with its entry in the index
	oldest record;
	waits bigint;
BEGIN
	SELECT d.tableoid, (d.ctid::text::point)[0]::bigint AS block INTO oldest
		FROM spine.unsent_deliveries(to_node, at_position, 1) o
			JOIN spine.delivery d ON d.destination = to_node AND d.xid = o.xid AND d.delivery_id = o.delivery_id
		ORDER BY d.delivery_id LIMIT 1;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	SELECT sum(pg_total_relation_size(c.oid)
			   * CASE WHEN c.oid <> oldest.tableoid THEN 1
					  ELSE 1 - oldest.block / greatest(pg_relation_size(c.oid) / current_setting('block_size')::numeric, 1) END)
		INTO waits
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = to_regclass(format('spine.%I', 'delivery_' || to_node))
			-- months sort by name
			AND c.relname >= (SELECT o.relname FROM pg_class o WHERE o.oid = oldest.tableoid)
			AND (c.oid = oldest.tableoid OR c.relname NOT LIKE '%\_default');
	IF coalesce(waits, 0) <= budget THEN
		RETURN coalesce(waits, 0);
	END IF;
	RETURN (SELECT least(waits, count(*) * row_bytes)
			FROM (SELECT FROM spine.unsent_deliveries(to_node, at_position, least(budget / row_bytes + 1, 2147483647)::integer)) u);
END
$$;
ALTER FUNCTION spine.ledger_backlog(text, jsonb, bigint) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.ledger_backlog(text, jsonb, bigint) FROM PUBLIC;
COMMENT ON FUNCTION spine.ledger_backlog(text, jsonb, bigint) IS 'About how many bytes of a neighbour''s ledger, indexes included, lie behind a position; beyond the budget no further than that they do.';

-- From where on a neighbour's ledger was not sent; before the first contact, since it was connected.
CREATE FUNCTION spine.unsent_from(at_position jsonb, since xid8) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	RETURN coalesce(at_position, jsonb_build_object('from', since::text || ':' || since::text || ':'));
END
$$;
ALTER FUNCTION spine.unsent_from(jsonb, xid8) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.unsent_from(jsonb, xid8) FROM PUBLIC;
COMMENT ON FUNCTION spine.unsent_from(jsonb, xid8) IS 'The position behind which a neighbour''s ledger rows are still to be acknowledged.';

CREATE FUNCTION spine.keep_ledger_budget() RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	budget bigint := pg_size_bytes(current_setting('spine.ledger_budget'));
	neighbour record;
	waits bigint;
	marked integer := 0;
BEGIN
	IF budget = 0 THEN
		RETURN 0;
	END IF;
	FOR neighbour IN
		SELECT n.name, spine.unsent_from(l.position, l.since) AS place
		FROM spine.node n JOIN spine.link l ON l.node = n.name
		WHERE NOT n.is_self AND n.state = 'active' AND NOT n.behind ORDER BY 1
	LOOP
		waits := spine.ledger_backlog(neighbour.name, neighbour.place, budget);
		CONTINUE WHEN waits IS NULL OR waits <= budget;
		UPDATE spine.node n SET behind = true WHERE n.name = neighbour.name;
		RAISE LOG 'spine: node "%" is behind: % MB of the ledger wait for it; they are dropped, and it is sent everything anew when it is back',
			neighbour.name, waits / (1024 * 1024);
		marked := marked + 1;
	END LOOP;
	RETURN marked;
END
$$;
ALTER FUNCTION spine.keep_ledger_budget() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.keep_ledger_budget() FROM PUBLIC;
COMMENT ON FUNCTION spine.keep_ledger_budget() IS
	'Marks neighbours behind for whom more of the ledger waits than spine.ledger_budget. Returns how many. For the courier.';

CREATE FUNCTION spine.drop_backlogs(piece integer DEFAULT 10000) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	-- plans are kept from when the ledger was small
	SET enable_seqscan = off
	SET enable_hashjoin = off
	SET enable_mergejoin = off
	AS $$
DECLARE
	neighbour record;
	deleted bigint;
	total bigint := 0;
BEGIN
	FOR neighbour IN
		SELECT n.name, spine.unsent_from(l.position, l.since) AS place
		FROM spine.node n JOIN spine.link l ON l.node = n.name
		WHERE n.behind AND n.state = 'active' ORDER BY 1
	LOOP
		DELETE FROM spine.delivery d
			USING (SELECT u.xid, u.delivery_id FROM spine.unsent_deliveries(neighbour.name, neighbour.place, piece) u LIMIT piece) p
			WHERE d.destination = neighbour.name AND d.xid = p.xid AND d.delivery_id = p.delivery_id;
		GET DIAGNOSTICS deleted = ROW_COUNT;
		total := total + deleted;
	END LOOP;
	RETURN total;
END
$$;
ALTER FUNCTION spine.drop_backlogs(integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.drop_backlogs(integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.drop_backlogs(integer) IS
	'Drops what waits in the ledger for neighbours that are behind, at most so many rows a call and neighbour. Returns how many. For the courier.';

-- This cluster, and its history: a position means nothing in another one, nor after a failover.
CREATE FUNCTION spine.cluster_identity() RETURNS text
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT system_identifier || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
		 FROM pg_control_system()$$;
ALTER FUNCTION spine.cluster_identity() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.cluster_identity() FROM PUBLIC;
COMMENT ON FUNCTION spine.cluster_identity() IS 'System identifier and timeline: where snapshots of this node are comparable.';

CREATE FUNCTION spine.audience_to_send(relation text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	-- while a group's audiences are being computed anew, the rules themselves are asked
	SELECT CASE WHEN EXISTS (SELECT FROM spine.reaudience_task k WHERE k.dataset || '.' || k.data_group = relation)
				THEN format('CASE WHEN EXISTS (SELECT FROM spine.reaudience_task k WHERE k.owner = t.owner AND k.dataset = %1$L AND k.data_group = %2$L) '
							'THEN spine.audience(t.owner, %1$L, %2$L, t.patient_id) ELSE t.audience END',
							split_part(relation, '.', 1), split_part(relation, '.', 2))
				ELSE 't.audience' END
	$$;
ALTER FUNCTION spine.audience_to_send(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.audience_to_send(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.audience_to_send(text) IS 'SQL: the audience by which a row t of a group''s table is sent.';

-- The rows of one table as a neighbour may have them now; ids that it may not have are left out.
CREATE FUNCTION spine.rows_for_neighbour(relation text, ids uuid[], own text[], their text[],
		OUT puts jsonb, OUT put_ids uuid[], OUT patients uuid[], OUT episodes uuid[])
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	-- plans are kept from when the tables were small
	SET enable_seqscan = off
	AS $$
DECLARE
	the_table record;
	hub text := spine.addressed_hub(their);
BEGIN
	SELECT * INTO the_table FROM spine.exchange_tables(relation);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF hub IS NOT NULL AND the_table.is_group THEN
		SELECT h.puts, h.put_ids INTO puts, put_ids FROM spine.rows_for_hub(hub, relation, the_table.class, ids, own, their) h;
		RETURN;
	END IF;
	SELECT * INTO puts, put_ids, patients, episodes FROM spine.kept_read(format(
		'SELECT jsonb_agg(%1$s), array_agg(t.%2$I), %3$s FROM %4$s t CROSS JOIN LATERAL (SELECT %5$s AS audience) a '
		'WHERE t.%2$I = ANY ($2) AND t.owner = ANY ($3) AND spine.audience_names(a.audience, $4)',
		-- what no clause gives the neighbour stays here; a document keeps its nulls: its digest is taken over them
		-- its own number of a record may be made of items: then the record's id stands for it
		CASE WHEN the_table.is_group
			 THEN 'spine.sent_row($1, t, spine.audience_of(a.audience, $4), spine.withheld_from(a.audience, $4, $1))'
			 ELSE 'jsonb_build_object(''relation'', $1, ''action'', ''put'', ''row'', to_jsonb(t) || jsonb_build_object(''audience'', spine.audience_of(a.audience, $4)))' END,
		the_table.id_column,
		CASE WHEN the_table.is_group
			 THEN 'array_agg(DISTINCT t.patient_id), array_agg(DISTINCT t.episode_id)'
			 ELSE 'NULL::uuid[], NULL::uuid[]' END,
		the_table.class,
		CASE WHEN the_table.is_group THEN spine.audience_to_send(relation) ELSE 't.audience' END), relation, ids, own, their)
		AS r (puts jsonb, put_ids uuid[], patients uuid[], episodes uuid[]);
END
$$;
ALTER FUNCTION spine.rows_for_neighbour(text, uuid[], text[], text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.rows_for_neighbour(text, uuid[], text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.rows_for_neighbour(text, uuid[], text[], text[]) IS
	'Rows as they are now, of own organisations, without the items that no clause gives the neighbour, and with only its tokens in their audience.';

CREATE FUNCTION spine.is_position(place jsonb) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	a_snapshot CONSTANT text := '^[0-9]{1,19}:[0-9]{1,19}:[0-9,]*$';
	a_number CONSTANT text := '^[0-9]{1,19}$';
BEGIN
	IF NOT coalesce(place ->> 'from' ~ a_snapshot AND coalesce(place ->> 'to', '1:1:') ~ a_snapshot
					AND coalesce(place ->> 'xid', '0') ~ a_number AND coalesce(place ->> 'id', '0') ~ a_number, false) THEN
		RETURN false;
	END IF;
	IF place ? 'later' THEN
		RETURN jsonb_typeof(place -> 'later') = 'array'
			AND NOT EXISTS (SELECT FROM jsonb_array_elements(CASE jsonb_typeof(place -> 'later') WHEN 'array' THEN place -> 'later' END) e
							WHERE coalesce(e ->> 'xid', '') !~ a_number OR coalesce(e ->> 'id', '') !~ a_number
								OR coalesce(e ->> 'governs', '0') !~ a_number);
	END IF;
	RETURN true;
END
$$;
ALTER FUNCTION spine.is_position(jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.is_position(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.is_position(jsonb) IS 'Whether this has the form of a position in the ledger.';

-- One turn of a link. answer is what the neighbour said last: where it stands. Returns the next
-- batch, or null when it has everything. The transaction must be durable before the batch
-- leaves, so that no later crash can hand out its transaction ids again; hence the UPDATE of spine.link.
CREATE FUNCTION spine.link_turn(to_node text, answer jsonb, most integer) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	AS $$
DECLARE
	link spine.link;
	me text := (SELECT n.name FROM spine.node n WHERE n.is_self);
	own text[] := spine.organisations_of(me);
	their text[] := spine.addressees_of(to_node);
	hub boolean := spine.addressed_hub(their) IS NOT NULL;
	here text := spine.cluster_identity();
	present pg_snapshot := pg_current_snapshot();
	this_epoch uuid;
	last_seq bigint;
	place jsonb;
	begins boolean := false;
	compare jsonb;
	attest jsonb;
	reason text;
	batch jsonb;
	rows jsonb := '[]';
	withdrawn jsonb;
	part record;
	patients uuid[] := '{}';
	episodes uuid[] := '{}';
	count_found bigint;
	pointer record;
BEGIN
	SELECT * INTO link FROM spine.link l WHERE l.node = to_node;
	IF NOT FOUND THEN
		-- deleted by hand: begin anew, as after connect_node
		INSERT INTO spine.link (node) VALUES (to_node) ON CONFLICT DO NOTHING RETURNING * INTO link;
	END IF;
	IF answer ->> 'node' IS DISTINCT FROM to_node THEN
		RAISE EXCEPTION 'the node reached is "%", not "%"', answer ->> 'node', to_node
			USING ERRCODE = 'SP007';
	END IF;
	IF answer ->> 'status' = 'refused' THEN
		RAISE EXCEPTION 'the neighbour refuses: %', answer ->> 'message'
			USING ERRCODE = 'SP007';
	END IF;

	PERFORM spine.link_seen(to_node, answer);

	IF link.paused THEN
		RETURN NULL;
	END IF;
	IF EXISTS (SELECT FROM spine.node n WHERE n.name = to_node AND n.behind) THEN
		-- it is back: from here on its rows are written again
		UPDATE spine.node n SET behind = false WHERE n.name = to_node;
		UPDATE spine.link l SET epoch = NULL, position = NULL, since = pg_current_xact_id(), retry_at = NULL WHERE l.node = to_node;
		RAISE LOG 'spine: node "%" is back: it is sent everything anew', to_node;
		PERFORM spine.ring_doorbell();
		RETURN NULL;
	END IF;

	-- does its position mean anything here?
	place := answer -> 'position';
	IF NOT spine.is_position(place) THEN
		place := NULL;
	END IF;
	this_epoch := (answer ->> 'epoch')::uuid;
	last_seq := (answer ->> 'seq')::bigint;
	IF link.epoch IS NULL OR this_epoch IS DISTINCT FROM link.epoch
		OR last_seq > link.sent_seq
		OR place ->> 'cluster' IS DISTINCT FROM here
		OR pg_snapshot_xmax(coalesce(place ->> 'to', place ->> 'from')::pg_snapshot) > pg_snapshot_xmax(present)
		OR (link.pruned_before IS NOT NULL
			AND (pg_snapshot_xmin((place ->> 'from')::pg_snapshot) <= link.pruned_before
				 OR EXISTS (SELECT FROM jsonb_array_elements(place -> 'later') e WHERE (e ->> 'xid')::xid8 <= link.pruned_before)))
	THEN
		-- who still writes as if the neighbour were not there leaves nothing in the ledger: its rows must be visible to what follows
		IF NOT spine.all_ended(link.since) THEN
			RETURN NULL;
		END IF;
		IF link.epoch IS NOT NULL AND link.acknowledged_at IS NOT NULL THEN
			reason := CASE
				WHEN this_epoch IS DISTINCT FROM link.epoch THEN 'the neighbour stands in another epoch'
				WHEN last_seq > link.sent_seq THEN 'the neighbour has batches that this node does not know of'
				WHEN place ->> 'cluster' IS DISTINCT FROM here THEN 'this node is another cluster, or was restored or promoted'
				WHEN link.pruned_before IS NOT NULL THEN 'the ledger does not reach back to where the neighbour stands'
				ELSE 'the neighbour''s position is none of this node' END;
			PERFORM spine.note_incident('sent_anew', to_node, jsonb_build_object('reason', reason));
		END IF;
		this_epoch := gen_random_uuid();
		last_seq := 0;
		begins := true;
		place := jsonb_build_object('cluster', here, 'from', present::text);
	END IF;

	IF answer ? 'key' THEN
		PERFORM spine.take_key(to_node, decode(answer ->> 'key', 'hex'));
	END IF;
	IF begins THEN
		compare := '{"step": "new"}';
		count_found := 0;
	ELSE
		compare := place -> 'compare';
		IF compare IS NULL AND EXISTS (SELECT FROM spine.link_comparison c WHERE c.node = to_node AND c.asked_at IS NOT NULL) THEN
			compare := '{"step": "new"}';
		END IF;
		IF place ? 'attest' THEN
			PERFORM spine.attested(to_node, place -> 'attest', answer -> 'reply');
			-- the neighbour's position forgets it by the next batch, should that be empty
			batch := '{}';
		END IF;
		place := place - 'compare' - 'attest';
		SELECT * INTO pointer FROM spine.next_deliveries(to_node, place, present, most, last_seq);
		count_found := pointer.counted;
		IF count_found = 0 THEN
			place := pointer.place;
		END IF;
	END IF;

	IF hub AND compare ->> 'step' = 'new' AND NOT compare ? 'listed' AND (count_found = 0 OR compare ? 'led') THEN
		-- a hub is compared in the order of the ids that it knows
		compare := spine.hub_list_turn(to_node, compare - 'led', own, their, most);
		batch := '{}';
	ELSIF compare IS NOT NULL AND (count_found = 0 OR compare ? 'led') THEN
		-- a step of the comparison; where there is a backlog too, they take turns
		SELECT * INTO part FROM spine.compare_turn(to_node, compare - 'led', answer -> 'reply', own, their, place, most);
		compare := part.next;
		rows := part.rows;
		patients := coalesce(part.patients, '{}');
		episodes := coalesce(part.episodes, '{}');
		batch := CASE WHEN part.part IS NULL THEN '{}' ELSE jsonb_build_object('compare', part.part) END;
	ELSIF count_found = 0 THEN
		SELECT * INTO part FROM spine.attest_turn(to_node, own, their);
		IF part.part IS NOT NULL THEN
			attest := part.next;
			batch := jsonb_build_object('attest', part.part);
		ELSIF batch IS NULL THEN
			IF link.acknowledged_seq IS DISTINCT FROM last_seq OR link.state <> 'connected' OR link.position IS NULL THEN
				PERFORM set_config('synchronous_commit', 'off', true);
				UPDATE spine.link l
					SET state = 'connected', acknowledged_seq = last_seq, acknowledged_at = now(),
						position = answer -> 'position', retry_at = NULL
					WHERE l.node = to_node AND l.epoch IS NOT DISTINCT FROM link.epoch;
			END IF;
			RETURN NULL;
		END IF;
	ELSE
		compare := compare || '{"led": true}';
		place := pointer.place;
		-- the records as they are now; what the neighbour may not have, or is gone, is withdrawn
		FOR part IN
			SELECT p.relation, p.ids, r.puts, r.put_ids, r.patients, r.episodes
			FROM (SELECT u.relation, array_agg(DISTINCT u.id) AS ids
				  FROM unnest(pointer.relations, pointer.ids) AS u (relation, id) GROUP BY 1) p,
				LATERAL spine.rows_for_neighbour(p.relation, p.ids, own, their) r
			ORDER BY spine.exchange_place(p.relation), p.relation
		LOOP
			IF hub THEN
				PERFORM FROM spine.link l WHERE l.node = to_node FOR UPDATE;
				PERFORM spine.note_sent(to_node, part.relation, part.put_ids);
			END IF;
			SELECT jsonb_agg(jsonb_build_object('relation', part.relation, 'action', 'withdraw',
												'record_id', CASE WHEN hub THEN spine.sent_id(to_node, part.relation, i) ELSE i END))
				INTO withdrawn
				FROM unnest(part.ids) i WHERE i <> ALL (coalesce(part.put_ids, '{}'));
			rows := coalesce(withdrawn, '[]') || rows || coalesce(part.puts, '[]');
			patients := patients || coalesce(part.patients, '{}');
			episodes := episodes || coalesce(part.episodes, '{}');
		END LOOP;
	END IF;
	place := place || jsonb_strip_nulls(jsonb_build_object('attest', attest));
	IF compare IS NOT NULL THEN
		place := place || jsonb_build_object('compare', compare);
	END IF;

	batch := coalesce(batch, '{}') || jsonb_build_object(
		'from', me, 'to', to_node, 'epoch', this_epoch, 'seq', last_seq + 1, 'position', place, 'rows', rows);
	IF begins THEN
		batch := batch || '{"begin": true}';
	END IF;
	patients := array_remove(patients, NULL);
	IF cardinality(patients) > 0 THEN
		batch := batch || jsonb_strip_nulls(jsonb_build_object(
			'episodes', (SELECT jsonb_agg(to_jsonb(e)) FROM spine.episode e
						 WHERE e.episode_id = ANY (episodes) AND e.owner = ANY (own)),
			'identity_links', (SELECT jsonb_agg(to_jsonb(l)) FROM spine.identity_link l
							   WHERE (l.from_patient = ANY (patients) OR l.to_patient = ANY (patients))
									AND l.owner = ANY (own)),
			'family_links', (SELECT jsonb_agg(to_jsonb(l)) FROM spine.family_link l
							 WHERE (l.child = ANY (patients) OR l.mother = ANY (patients)) AND l.owner = ANY (own)),
			'episode_links', (SELECT jsonb_agg(to_jsonb(l)) FROM spine.episode_link l
							  WHERE (l.from_episode = ANY (episodes) OR l.to_episode = ANY (episodes))
									AND l.owner = ANY (own))));
	END IF;

	PERFORM set_config('synchronous_commit', 'on', true);
	UPDATE spine.link l
		SET state = 'connected', epoch = this_epoch, cluster = here,
			sent_seq = last_seq + 1, sent_at = now(),
			acknowledged_seq = last_seq,
			acknowledged_at = CASE WHEN begins THEN NULL ELSE now() END,
			position = CASE WHEN begins THEN NULL ELSE answer -> 'position' END,
			pruned_before = CASE WHEN begins THEN NULL ELSE l.pruned_before END,
			retry_at = NULL
		WHERE l.node = to_node AND l.epoch IS NOT DISTINCT FROM link.epoch AND NOT l.paused;
	IF NOT FOUND THEN
		-- the neighbour was paused in this moment, or connected anew: begin with its new epoch
		RETURN NULL;
	END IF;
	RETURN batch;
END
$$;
ALTER FUNCTION spine.link_turn(text, jsonb, integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.link_turn(text, jsonb, integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.link_turn(text, jsonb, integer) IS
	'The next batch for a neighbour that stands where its answer says, of at most so many ledger rows; null when it has everything. For the courier.';

-- What an answer tells beside the position: that the neighbour is there, what time it has, and what it
-- witnesses of this node's access log. An answer stands until the next: it is looked at once.
CREATE FUNCTION spine.link_seen(to_node text, answer jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	theirs timestamptz;
BEGIN
	IF answer ->> 'clock' !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+([-+][0-9:]+|Z)$' THEN
		RETURN;
	END IF;
	theirs := (answer ->> 'clock')::timestamptz;
	UPDATE spine.link l
		SET contact_at = clock_timestamp(), their_clock = theirs, clock_difference = theirs - clock_timestamp()
		WHERE l.node = to_node AND l.their_clock IS DISTINCT FROM theirs
			AND (l.contact_at IS NULL OR l.contact_at < clock_timestamp() - interval '5 seconds' OR answer ? 'witness');
	IF FOUND AND answer ? 'witness' THEN
		PERFORM spine.take_witness(to_node, answer -> 'witness');
	END IF;
END
$$;
ALTER FUNCTION spine.link_seen(text, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.link_seen(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.link_seen(text, jsonb) IS 'Notes when a neighbour answered, its clock, and its witness of the access log.';

CREATE FUNCTION spine.link_failed(to_node text, error text, retry_at timestamptz) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET synchronous_commit = off
	AS $$UPDATE spine.link SET state = 'waiting', last_error = $2, last_error_at = now(), retry_at = $3 WHERE node = $1$$;
ALTER FUNCTION spine.link_failed(text, text, timestamptz) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.link_failed(text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION spine.link_failed(text, text, timestamptz) IS 'Notes why a link is down and when it is tried again. For the courier.';

-- ---------------------------------------------------------------- receiving

CREATE FUNCTION spine.note_incident(kind text, node text, detail jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	-- who repeats himself fills no disk
	UPDATE spine.incident i SET times = i.times + 1, last_at = clock_timestamp()
		WHERE i.incident_id = (SELECT j.incident_id FROM spine.incident j
							   WHERE j.kind = note_incident.kind AND j.role_name = spine.caller_role()
									AND j.last_at > clock_timestamp() - interval '1 minute'
							   ORDER BY j.last_at DESC LIMIT 1);
	IF NOT FOUND THEN
		-- what a neighbour sent is told in short
		INSERT INTO spine.incident (kind, role_name, node, detail)
			VALUES (kind, spine.caller_role(), node,
					CASE WHEN length(detail::text) <= 2000 THEN detail ELSE jsonb_build_object('cut', left(detail::text, 2000)) END);
	END IF;
	RAISE LOG 'spine: incident % by role "%"', kind, spine.caller_role();
END
$$;
ALTER FUNCTION spine.note_incident(text, text, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.note_incident(text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.note_incident(text, text, jsonb) IS 'Writes to spine.incident.';

-- The neighbour that the calling role is, null for anybody else.
CREATE FUNCTION spine.calling_node() RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	RETURN (SELECT n.name FROM spine.node n
			WHERE n.role_name = spine.caller_role() AND NOT n.is_self AND n.state = 'active');
END
$$;
ALTER FUNCTION spine.calling_node() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.calling_node() FROM PUBLIC;
COMMENT ON FUNCTION spine.calling_node() IS 'The active neighbour as which the outer role is registered.';

CREATE FUNCTION spine.session_start() RETURNS timestamptz
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_session_start';
ALTER FUNCTION spine.session_start() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.session_start() FROM PUBLIC;
COMMENT ON FUNCTION spine.session_start() IS 'When this session was let in.';

-- A certificate is looked at when a session begins, and not again: one that was revoked since is of no
-- use after a minute. A courier connects anew in time (spine.courier_reconnect).
CREATE FUNCTION spine.session_is_stale() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT spine.session_start() < clock_timestamp() - current_setting('spine.neighbour_session')::interval$$;
ALTER FUNCTION spine.session_is_stale() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.session_is_stale() FROM PUBLIC;
COMMENT ON FUNCTION spine.session_is_stale() IS 'Whether this session began longer ago than spine.neighbour_session allows a neighbour.';

CREATE FUNCTION spine.receive_position() RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	AS $$
DECLARE
	sender text := spine.calling_node();
BEGIN
	IF sender IS NULL THEN
		PERFORM spine.note_incident('stranger', NULL, jsonb_build_object('call', 'receive_position'));
		RETURN jsonb_build_object('status', 'refused', 'code', 'SP007', 'message', 'the caller is no active neighbour of this node',
								  'node', (SELECT n.name FROM spine.node n WHERE n.is_self));
	END IF;
	IF spine.session_is_stale() THEN
		PERFORM spine.note_incident('stale_session', sender, jsonb_build_object('call', 'receive_position'));
		RETURN jsonb_build_object('status', 'refused', 'code', 'SP007', 'message', 'the session is too old: connect anew',
								  'node', (SELECT n.name FROM spine.node n WHERE n.is_self));
	END IF;
	PERFORM spine.wake_link(sender);
	-- waits for a batch that a lost connection may still be applying
	RETURN (SELECT jsonb_build_object('status', 'position', 'node', s.name, 'epoch', r.epoch, 'seq', r.seq, 'position', r.position,
									  'clock', clock_timestamp(), 'witness', spine.heads_witnessed(sender),
									  'key', spine.own_public_key(), 'reply', (SELECT c.reply FROM spine.link_compared c WHERE c.node = sender))
			FROM spine.node s, (SELECT * FROM spine.link_received l WHERE l.node = sender FOR UPDATE) r WHERE s.is_self);
END
$$;
ALTER FUNCTION spine.receive_position() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive_position() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.receive_position() TO spine_neighbour;
COMMENT ON FUNCTION spine.receive_position() IS
	'For a neighbour''s courier: the epoch, sequence and position of its last batch applied here.';

-- The set of rows of one table, by one statement each; raises where any of them cannot be applied.
-- whole: what a comparison sends, in which the owner's word counts even when its revision went back.
-- vacate: first take away records of the same owner that hold one of these local ids.
CREATE FUNCTION spine.receive_set(sender text, the_relation text, contents jsonb, whole boolean, vacate boolean) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	-- plans are kept from when the tables were small
	SET enable_seqscan = off
	AS $$
DECLARE
	the_table record;
	columns text;
	newer text;
	known text[];
	rewound bigint;
	altered bigint;
BEGIN
	SELECT * INTO STRICT the_table FROM spine.exchange_tables(the_relation);
	SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
		   string_agg('EXCLUDED.' || quote_ident(a.attname), ', ' ORDER BY a.attnum),
		   array_agg(a.attname::text)
		INTO columns, newer, known
		FROM pg_attribute a WHERE a.attrelid = the_table.class AND a.attnum > 0 AND NOT a.attisdropped;

	IF spine.exchange_is_said(the_relation) THEN
		EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %2$s FROM jsonb_populate_recordset(NULL::%1$s, $1) '
					   'ON CONFLICT (%3$I) DO NOTHING', the_table.class, columns, the_table.id_column)
			USING contents;
		RETURN;
	END IF;

	IF whole THEN
		-- only a node that lost transactions says less; where it says another thing under the same revision,
		-- it has, or the copy here was changed by hand
		EXECUTE format(
			'SELECT count(*) FILTER (WHERE t.revision > r.revision), count(*) FILTER (WHERE t.revision = r.revision '
			'AND to_jsonb(t.*) - ''audience'' <> to_jsonb(r.*) - ''audience'') '
			'FROM %1$s t JOIN jsonb_populate_recordset(NULL::%1$s, $1) r USING (%2$I)',
			the_table.class, the_table.id_column)
			INTO rewound, altered USING contents;
		IF rewound > 0 THEN
			PERFORM spine.note_incident('revision_went_back', sender,
				jsonb_build_object('relation', the_relation, 'records', rewound));
		END IF;
		IF altered > 0 THEN
			PERFORM spine.note_incident('content_differed', sender,
				jsonb_build_object('relation', the_relation, 'records', altered));
		END IF;
	END IF;

	IF vacate AND the_table.is_group THEN
		-- the owner has given the local id to another record
		EXECUTE format(
			'DELETE FROM %1$s t USING jsonb_populate_recordset(NULL::%1$s, $1) r '
			'WHERE t.owner = r.owner AND t.source_system = r.source_system '
			'AND t.local_record_id = r.local_record_id AND t.record_id <> r.record_id', the_table.class)
			USING contents;
	END IF;
	PERFORM spine.kept_count(format(
		'INSERT INTO %1$s AS t (%2$s) SELECT %2$s FROM jsonb_populate_recordset(NULL::%1$s, $1) '
		'ON CONFLICT (%3$I) DO UPDATE SET (%2$s) = ROW (%4$s) '
		'WHERE t.revision < EXCLUDED.revision '
		'OR (t.revision = EXCLUDED.revision AND t.audience IS DISTINCT FROM EXCLUDED.audience) '
		'OR ($2 AND to_jsonb(t.*) <> to_jsonb(EXCLUDED.*)) '
		-- of pseudonyms: who somebody is, and from when dates are counted, changes without a revision
		'OR ($3 AND t.revision = EXCLUDED.revision AND to_jsonb(t.*) <> to_jsonb(EXCLUDED.*))',
		the_table.class, columns, the_table.id_column, newer), contents, whole,
		EXISTS (SELECT FROM spine.node n WHERE n.name = sender AND n.purpose = 'reporting'));

	-- items that this node's version does not have
	IF the_table.is_group THEN
		IF EXISTS (SELECT FROM spine.unknown_item u WHERE u.relation = the_relation) THEN
			DELETE FROM spine.unknown_item u USING jsonb_array_elements(contents) e
				WHERE u.relation = the_relation AND u.record_id = (e ->> 'record_id')::uuid
					AND (whole OR u.revision <= (e ->> 'revision')::bigint);
		END IF;
		INSERT INTO spine.unknown_item (relation, record_id, owner, revision, items)
			SELECT the_relation, (n.content ->> 'record_id')::uuid, n.content ->> 'owner', (n.content ->> 'revision')::bigint, n.items
			FROM spine.unknown_items(contents, known) n
			-- a later revision's stand
			ON CONFLICT (relation, record_id) DO NOTHING;
	END IF;
END
$$;
ALTER FUNCTION spine.receive_set(text, text, jsonb, boolean, boolean) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive_set(text, text, jsonb, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION spine.receive_set(text, text, jsonb, boolean, boolean) IS 'Applies rows of one table.';

-- All rows of one table: as a set, and when that fails one by one; a row that fails is set aside.
-- Returns how many were.
CREATE FUNCTION spine.receive_puts(sender text, the_relation text, contents jsonb, whole boolean) RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	-- plans are kept from when the tables were small
	SET enable_seqscan = off
	AS $$
DECLARE
	the_table record;
	one jsonb;
	faults integer := 0;
	foreign_ids uuid[];
	sqlstate_found text;
BEGIN
	SELECT * INTO the_table FROM spine.exchange_tables(the_relation);
	IF NOT FOUND THEN
		INSERT INTO spine.waiting_row AS w (relation, record_id, node, owner, revision, content)
			SELECT the_relation, (e ->> 'record_id')::uuid, sender, e ->> 'owner', (e ->> 'revision')::bigint, e
			FROM jsonb_array_elements(contents) e
			ON CONFLICT (relation, record_id, node) DO UPDATE
				SET owner = EXCLUDED.owner, revision = EXCLUDED.revision, content = EXCLUDED.content, at = now()
				WHERE whole OR w.revision <= EXCLUDED.revision;
		RETURN 0;
	END IF;

	-- ids that somebody else's record holds; the owners of one node may hand records to each other
	SELECT k.ids INTO foreign_ids FROM spine.kept_row(format(
		'SELECT array_agg(t.id) FROM jsonb_array_elements($1) e '
		-- by the key, however many there are of which
		'CROSS JOIN LATERAL (SELECT t.%1$I AS id, t.owner FROM %2$s t WHERE t.%1$I = (e ->> %1$L)::uuid OFFSET 0) t '
		'WHERE t.owner IS DISTINCT FROM e ->> ''owner'' '
		'AND NOT EXISTS (SELECT FROM spine.node_organisation o WHERE o.organisation = t.owner AND o.node = $2)',
		the_table.id_column, the_table.class), contents, sender) AS k (ids uuid[]);
	IF foreign_ids IS NOT NULL THEN
		PERFORM spine.note_incident('foreign_record', sender,
			jsonb_build_object('relation', the_relation, 'records', cardinality(foreign_ids), 'record_ids', to_jsonb(foreign_ids[1:20])));
		INSERT INTO spine.receive_fault AS f (relation, record_id, node, owner, revision, sqlstate, message, content)
			SELECT the_relation, (e ->> the_table.id_column)::uuid, sender, e ->> 'owner', (e ->> 'revision')::bigint,
				   'SP007', 'record_id is held by another owner', e
			FROM jsonb_array_elements(contents) e WHERE (e ->> the_table.id_column)::uuid = ANY (foreign_ids)
			ON CONFLICT (relation, record_id, node) DO UPDATE
				SET owner = EXCLUDED.owner, revision = EXCLUDED.revision, sqlstate = EXCLUDED.sqlstate,
					message = EXCLUDED.message, content = EXCLUDED.content, at = now();
		faults := cardinality(foreign_ids);
		SELECT jsonb_agg(e) INTO contents FROM jsonb_array_elements(contents) e
			WHERE (e ->> the_table.id_column)::uuid <> ALL (foreign_ids);
	END IF;

	IF the_relation = 'spine.agreement_event' THEN
		FOR one IN
			SELECT e FROM jsonb_array_elements(contents) e
			WHERE e ->> 'kind' = 'proposed'
				AND (e ->> 'digest')::bytea IS DISTINCT FROM sha256(convert_to((e -> 'document')::text, 'UTF8'))
		LOOP
			PERFORM spine.note_incident('false_digest', sender,
				jsonb_build_object('event_id', one ->> 'event_id', 'name', left(one ->> 'name', 100)));
			INSERT INTO spine.receive_fault (relation, record_id, node, owner, revision, sqlstate, message, content)
				VALUES (the_relation, (one ->> 'event_id')::uuid, sender, one ->> 'owner', (one ->> 'revision')::bigint,
						'SP007', 'the digest is not that of the document', one)
				ON CONFLICT (relation, record_id, node) DO NOTHING;
			faults := faults + 1;
			SELECT jsonb_agg(e) INTO contents FROM jsonb_array_elements(contents) e
				WHERE e ->> 'event_id' <> one ->> 'event_id';
		END LOOP;
	END IF;
	IF contents IS NULL THEN
		RETURN faults;
	END IF;

	BEGIN
		BEGIN
			PERFORM spine.receive_set(sender, the_relation, contents, whole, false);
		EXCEPTION WHEN unique_violation THEN
			PERFORM spine.receive_set(sender, the_relation, contents, whole, true);
		END;
		DELETE FROM spine.receive_fault f USING jsonb_array_elements(contents) e
			WHERE f.relation = the_relation AND f.node = sender AND f.record_id = (e ->> the_table.id_column)::uuid;
		RETURN faults;
	EXCEPTION WHEN OTHERS THEN
		-- connection, rollback, resources, intervention, system: nothing that a row could be blamed for
		IF left(SQLSTATE, 2) IN ('08', '25', '40', '42', '53', '55', '57', '58', 'F0', 'XX') THEN
			RAISE;
		END IF;
	END;

	FOR one IN SELECT e FROM jsonb_array_elements(contents) e
	LOOP
		BEGIN
			PERFORM spine.receive_set(sender, the_relation, jsonb_build_array(one), whole, true);
			DELETE FROM spine.receive_fault f
				WHERE f.relation = the_relation AND f.node = sender AND f.record_id = (one ->> the_table.id_column)::uuid;
		EXCEPTION WHEN OTHERS THEN
			sqlstate_found := SQLSTATE;
			IF left(sqlstate_found, 2) IN ('08', '25', '40', '42', '53', '55', '57', '58', 'F0', 'XX') THEN
				RAISE;
			END IF;
			INSERT INTO spine.receive_fault AS f (relation, record_id, node, owner, revision, sqlstate, message, content)
				VALUES (the_relation, (one ->> the_table.id_column)::uuid, sender, one ->> 'owner',
						(one ->> 'revision')::bigint, sqlstate_found, SQLERRM, one)
				ON CONFLICT (relation, record_id, node) DO UPDATE
					SET owner = EXCLUDED.owner, revision = EXCLUDED.revision, sqlstate = EXCLUDED.sqlstate,
						message = EXCLUDED.message, content = EXCLUDED.content, at = now();
			faults := faults + 1;
		END;
	END LOOP;
	RETURN faults;
END
$$;
ALTER FUNCTION spine.receive_puts(text, text, jsonb, boolean) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive_puts(text, text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION spine.receive_puts(text, text, jsonb, boolean) IS 'Applies rows of one table, setting aside those that cannot be.';

-- Takes away rows of the sender's owners: from the table, and from wherever else a copy was kept. Returns
-- whose they were.
CREATE FUNCTION spine.receive_withdrawals(sender text, the_relation text, ids uuid[]) RETURNS uuid[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	-- plans are kept from when the tables were small
	SET enable_seqscan = off
	AS $$
DECLARE
	the_table record;
	patients uuid[];
BEGIN
	DELETE FROM spine.receive_fault f WHERE f.relation = the_relation AND f.node = sender AND f.record_id = ANY (ids);
	WITH gone AS (
		DELETE FROM spine.waiting_row w WHERE w.relation = the_relation AND w.node = sender AND w.record_id = ANY (ids)
			RETURNING (w.content ->> 'patient_id')::uuid AS patient
	)
	SELECT array_agg(DISTINCT g.patient) INTO patients FROM gone g WHERE g.patient IS NOT NULL;
	SELECT * INTO the_table FROM spine.exchange_tables(the_relation);
	-- what was said stays said
	IF NOT FOUND OR spine.exchange_is_said(the_relation) THEN
		RETURN coalesce(patients, '{}');
	END IF;
	SELECT g.patients INTO patients
		FROM spine.kept_row(format('WITH gone AS (DELETE FROM %s t WHERE t.%I = ANY ($1) AND t.owner IN '
								   '(SELECT o.organisation FROM spine.node_organisation o WHERE o.node = $2) RETURNING %s AS patient) '
								   'SELECT array_agg(DISTINCT g.patient) FROM gone g WHERE g.patient IS NOT NULL',
								   the_table.class, the_table.id_column, CASE WHEN the_table.is_group THEN 't.patient_id' ELSE 'NULL::uuid' END),
							ids, sender) AS g (patients uuid[]);
	DELETE FROM spine.unknown_item u WHERE u.relation = the_relation AND u.record_id = ANY (ids)
		AND u.owner IN (SELECT o.organisation FROM spine.node_organisation o WHERE o.node = sender);
	RETURN coalesce(patients, '{}');
END
$$;
ALTER FUNCTION spine.receive_withdrawals(text, text, uuid[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive_withdrawals(text, text, uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.receive_withdrawals(text, text, uuid[]) IS 'Removes rows that a neighbour withdraws. Returns their patients.';

-- Episodes and links that came with records. Each node speaks for its own alone.
CREATE FUNCTION spine.receive_links(sender text, batch jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	their text[] := spine.organisations_of(sender);
	own text[] := spine.organisations_of((SELECT n.name FROM spine.node n WHERE n.is_self));
	touched uuid[];
	foreign_ids uuid[];
BEGIN
	-- ids that others hold: what is said under them is passed over
	SELECT array_agg(x.id) INTO foreign_ids
		FROM (SELECT t.episode_id AS id FROM spine.episode t
				JOIN jsonb_populate_recordset(NULL::spine.episode, batch -> 'episodes') r USING (episode_id)
				WHERE t.owner <> ALL (their)
			  UNION ALL
			  SELECT t.link_id FROM spine.identity_link t
				JOIN jsonb_populate_recordset(NULL::spine.identity_link, batch -> 'identity_links') r USING (link_id)
				WHERE t.owner <> ALL (their)) x;
	IF foreign_ids IS NOT NULL THEN
		PERFORM spine.note_incident('foreign_record', sender,
			jsonb_build_object('relation', 'links', 'records', cardinality(foreign_ids), 'record_ids', to_jsonb(foreign_ids[1:20])));
	END IF;
	UPDATE spine.identity_link t SET until = r.until
		FROM jsonb_populate_recordset(NULL::spine.identity_link, batch -> 'identity_links') r
		WHERE t.link_id = r.link_id AND t.owner = ANY (their) AND t.until IS DISTINCT FROM r.until
			AND (t.until IS NULL OR t.until > now());
	-- An id that a system made up leads to one other, one that was made from an NHS number (version 8) to
	-- none, and those of our own systems are not the neighbour's to lead: so no two numbers become one person.
	WITH came AS MATERIALIZED (
		SELECT r.*, r.until IS NULL OR r.until > now() AS holds
		FROM jsonb_populate_recordset(NULL::spine.identity_link, batch -> 'identity_links') r
		WHERE r.owner = ANY (their)
	)
	INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner, since, until)
		SELECT c.link_id, c.from_patient, c.to_patient, c.method, c.owner, c.since, c.until FROM came c
		WHERE NOT c.holds
			OR (substr(c.from_patient::text, 15, 1) <> '8'
				AND NOT EXISTS (SELECT FROM spine.alias a WHERE a.patient_id = c.from_patient AND a.owner = ANY (own))
				AND NOT EXISTS (SELECT FROM spine.identity_link l
								WHERE l.from_patient = c.from_patient AND l.to_patient <> c.to_patient
									AND (l.until IS NULL OR l.until > now()))
				AND NOT EXISTS (SELECT FROM came o
								WHERE o.from_patient = c.from_patient AND o.to_patient <> c.to_patient AND o.holds))
		ON CONFLICT DO NOTHING;
	INSERT INTO spine.family_link AS t
		SELECT r.* FROM jsonb_populate_recordset(NULL::spine.family_link, batch -> 'family_links') r
			WHERE r.owner = ANY (their)
		ON CONFLICT (child, mother, owner) DO UPDATE SET method = EXCLUDED.method, until = EXCLUDED.until
			WHERE (t.method, t.until) IS DISTINCT FROM (EXCLUDED.method, EXCLUDED.until);
	WITH came AS (
		INSERT INTO spine.episode AS t
			SELECT r.* FROM jsonb_populate_recordset(NULL::spine.episode, batch -> 'episodes') r
				WHERE r.owner = ANY (their)
			ON CONFLICT (episode_id) DO UPDATE SET anchor = EXCLUDED.anchor, patient_id = EXCLUDED.patient_id, kind = EXCLUDED.kind
				WHERE t.owner = ANY (their)
					AND (t.anchor, t.patient_id, t.kind) IS DISTINCT FROM (EXCLUDED.anchor, EXCLUDED.patient_id, EXCLUDED.kind)
			RETURNING t.episode_id
	)
	SELECT array_agg(c.episode_id) INTO touched FROM came c;
	INSERT INTO spine.episode_link AS t
		SELECT r.* FROM jsonb_populate_recordset(NULL::spine.episode_link, batch -> 'episode_links') r
			WHERE r.owner = ANY (their)
		ON CONFLICT (from_episode, to_episode, kind) DO NOTHING;

	-- one pregnancy described twice: own episodes of the same person whose anchor is near enough
	IF touched IS NOT NULL THEN
		WITH came AS MATERIALIZED (
			SELECT e.episode_id, e.patient_id, e.kind, e.anchor FROM spine.episode e
				WHERE e.episode_id = ANY (touched) AND e.anchor IS NOT NULL
		), span AS MATERIALIZED (
			SELECT k.kind, coalesce((SELECT max((d.definition #>> ARRAY['episodes', k.kind, 'window_days'])::integer)
									 FROM spine.dataset d), 21) AS days
			FROM (SELECT DISTINCT c.kind FROM came c) k
		), person AS (
			SELECT c.episode_id, c.patient_id FROM came c
			UNION SELECT c.episode_id, l.to_patient FROM came c JOIN spine.identity_link l ON l.from_patient = c.patient_id AND l.until IS NULL
			UNION SELECT c.episode_id, l.from_patient FROM came c JOIN spine.identity_link l ON l.to_patient = c.patient_id AND l.until IS NULL
		), near AS MATERIALIZED (
			SELECT mine.episode_id AS from_episode, c.episode_id AS to_episode, mine.owner
			FROM came c
				JOIN span s ON s.kind = c.kind
				JOIN person p ON p.episode_id = c.episode_id
				JOIN spine.episode mine ON mine.patient_id = p.patient_id AND mine.kind = c.kind AND mine.owner = ANY (own)
			WHERE abs(mine.anchor - c.anchor) <= s.days
		), parted AS (
			DELETE FROM spine.episode_link l
				WHERE l.to_episode = ANY (touched) AND l.kind = 'same' AND l.method = 'anchor' AND l.owner = ANY (own)
					AND NOT EXISTS (SELECT FROM near n WHERE n.from_episode = l.from_episode AND n.to_episode = l.to_episode)
		)
		INSERT INTO spine.episode_link (from_episode, to_episode, kind, method, owner)
			SELECT n.from_episode, n.to_episode, 'same', 'anchor', n.owner FROM near n
			ON CONFLICT (from_episode, to_episode, kind) DO NOTHING;
	END IF;
END
$$;
ALTER FUNCTION spine.receive_links(text, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive_links(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.receive_links(text, jsonb) IS 'Registers episodes and links of a batch, and joins own episodes to them.';

CREATE FUNCTION spine.receive(batch jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	AS $$
DECLARE
	sender text := spine.calling_node();
	me text := (SELECT n.name FROM spine.node n WHERE n.is_self);
	own text[];
	received spine.link_received;
	answer jsonb := jsonb_build_object('node', me);
	part record;
	faults integer := 0;
	whole boolean;
	patients uuid[] := '{}';
	reply jsonb;
	strangers text[];
	refusal text;
BEGIN
	IF sender IS NULL THEN
		PERFORM spine.note_incident('stranger', NULL, jsonb_build_object('call', 'receive'));
		RETURN answer || '{"status": "refused", "code": "SP007", "message": "the caller is no active neighbour of this node"}';
	END IF;
	IF spine.session_is_stale() THEN
		PERFORM spine.note_incident('stale_session', sender, jsonb_build_object('call', 'receive'));
		RETURN answer || '{"status": "refused", "code": "SP007", "message": "the session is too old: connect anew"}';
	END IF;
	PERFORM spine.wake_link(sender);
	SELECT * INTO received FROM spine.link_received r WHERE r.node = sender FOR UPDATE;
	answer := answer || jsonb_build_object('clock', clock_timestamp(), 'epoch', received.epoch, 'seq', received.seq, 'position', received.position,
		'reply', (SELECT c.reply FROM spine.link_compared c WHERE c.node = sender));

	-- An error raised would undo the note of it: what is refused is answered.
	refusal := spine.batch_fault(batch, sender, me);
	IF refusal IS NOT NULL THEN
		PERFORM spine.note_incident('malformed_batch', sender, jsonb_build_object('reason', refusal));
		RETURN answer || jsonb_build_object('status', 'refused', 'code', 'SP007', 'message', refusal);
	END IF;

	IF (batch ->> 'epoch')::uuid IS DISTINCT FROM received.epoch THEN
		IF (batch ->> 'epoch')::uuid = ANY (received.past_epochs) THEN
			PERFORM spine.note_incident('past_epoch', sender, jsonb_build_object('epoch', batch ->> 'epoch'));
			RETURN answer || '{"status": "refused", "code": "SP007", "message": "the batch is of a past epoch"}';
		ELSIF (batch -> 'begin') IS DISTINCT FROM 'true'::jsonb OR (batch ->> 'seq')::bigint <> 1 THEN
			RETURN answer || '{"status": "gap"}';
		END IF;
	ELSIF (batch ->> 'seq')::bigint <= received.seq THEN
		RETURN answer || '{"status": "replayed"}';
	ELSIF (batch ->> 'seq')::bigint > received.seq + 1 THEN
		RETURN answer || '{"status": "gap"}';
	END IF;

	-- nobody speaks for another Trust; of an opening it tells what its own people did
	SELECT array_agg(DISTINCT left(x.owner, 20)) INTO strangers
		FROM (SELECT e -> 'row' ->> 'owner' FROM jsonb_array_elements(batch -> 'rows') e WHERE e ->> 'action' = 'put'
			  UNION SELECT e -> 'row' ->> 'organisation' FROM jsonb_array_elements(batch -> 'rows') e
					WHERE e ->> 'action' = 'put' AND e ->> 'relation' = 'spine.access_notice'
			  UNION SELECT l ->> 'owner' FROM unnest('{episodes,identity_links,family_links,episode_links}'::text[]) k,
					jsonb_array_elements(batch -> k) l) x (owner)
		WHERE NOT EXISTS (SELECT FROM spine.node_organisation o WHERE o.organisation = x.owner AND o.node = sender);
	IF strangers IS NOT NULL THEN
		PERFORM spine.note_incident('forged_owner', sender,
			jsonb_build_object('owners', to_jsonb(strangers[1:20]), 'seq', batch -> 'seq'));
		RETURN answer || jsonb_build_object('status', 'refused', 'code', 'SP007',
			'message', 'rows of an owner that the sender does not host');
	END IF;

	-- A crash here takes the rows and the position back together, and the sender goes on from there:
	-- records need not wait for the disk. What ends something does.
	IF NOT EXISTS (SELECT FROM jsonb_array_elements(batch -> 'rows') e
				   WHERE e ->> 'action' = 'withdraw' OR e ->> 'relation' LIKE 'spine.%')
		AND NOT batch ? 'attest' AND (batch -> 'compare' ->> 'step') IS DISTINCT FROM 'receipt' THEN
		PERFORM set_config('synchronous_commit', 'off', true);
	END IF;

	whole := batch -> 'compare' ->> 'step' IS NOT DISTINCT FROM 'mend';
	own := spine.addressees(spine.organisations_of(me), (SELECT n.purpose FROM spine.node n WHERE n.name = sender));
	BEGIN
		PERFORM spine.receive_links(sender, batch)
			WHERE batch ?| ARRAY['episodes', 'identity_links', 'family_links', 'episode_links'];

		-- what agreements say goes first: a revocation waits for no row, and rows are judged by it
		FOR part IN
			SELECT p.relation, p.action, p.ids, p.contents FROM spine.batch_parts(batch -> 'rows', own) p
			ORDER BY CASE WHEN spine.exchange_place(p.relation) > 2 AND p.action = 'withdraw' THEN 2.5
						  ELSE spine.exchange_place(p.relation) END, p.relation
		LOOP
			IF part.action = 'withdraw' THEN
				patients := patients || spine.receive_withdrawals(sender, part.relation, part.ids);
			ELSE
				faults := faults + spine.receive_puts(sender, part.relation, part.contents, whole);
			END IF;
		END LOOP;

		IF batch ? 'compare' THEN
			reply := spine.receive_comparison(sender, batch -> 'compare');
		ELSIF batch ? 'attest' THEN
			reply := spine.receive_attest(sender, batch -> 'attest');
		END IF;
		PERFORM spine.forget_patients(sender, patients) WHERE patients <> '{}';
	EXCEPTION WHEN OTHERS THEN
		IF left(SQLSTATE, 2) IN ('08', '25', '40', '42', '53', '55', '57', '58', 'F0', 'XX') THEN
			RAISE;
		END IF;
		PERFORM spine.note_incident('unusable_batch', sender, jsonb_build_object('sqlstate', SQLSTATE, 'seq', batch -> 'seq'));
		-- the text of the error may hold a person's data, and goes into the sender's log
		RETURN answer || jsonb_build_object('status', 'refused', 'code', SQLSTATE, 'message', format('the batch cannot be applied (SQLSTATE %s)', SQLSTATE));
	END;

	UPDATE spine.link_received r
		SET epoch = (batch ->> 'epoch')::uuid,
			seq = (batch ->> 'seq')::bigint,
			position = batch -> 'position',
			past_epochs = CASE WHEN r.epoch IS NULL OR r.epoch = (batch ->> 'epoch')::uuid THEN r.past_epochs
							   ELSE (r.epoch || r.past_epochs)[1:1000] END,
			received_at = clock_timestamp()
		WHERE r.node = sender;
	RETURN jsonb_build_object('status', 'done', 'node', me, 'epoch', batch -> 'epoch', 'seq', batch -> 'seq',
							  'position', batch -> 'position', 'faults', faults, 'clock', clock_timestamp(),
							  'reply', coalesce(reply, CASE WHEN batch -> 'position' ? 'compare' THEN answer -> 'reply' END));
END
$$;
ALTER FUNCTION spine.receive(jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.receive(jsonb) TO spine_neighbour;
COMMENT ON FUNCTION spine.receive(jsonb) IS
	'For a neighbour''s courier: applies a batch, once and in order. Answers with status done, replayed, gap or refused (with code and message) and with the epoch, sequence and position now reached. Refusals are noted in spine.incident.';

-- What is wrong with the form of a batch; null when nothing is.
CREATE FUNCTION spine.batch_fault(batch jsonb, sender text, me text) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	an_id CONSTANT text := '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';
	-- without a backslash, which would depend on a setting of the neighbour's session
	a_relation CONSTANT text := '^[a-z][a-z0-9_]*[.][a-z][a-z0-9_]*$';
	-- a courier's batch has some megabytes, and at most spine.courier_batch rows
	most_bytes CONSTANT integer := 64 * 1024 * 1024;
	most_rows CONSTANT integer := 100000;
	bad bigint;
BEGIN
	IF pg_column_size(batch) > most_bytes THEN
		RETURN 'the batch is larger than 64 MB';
	ELSIF jsonb_typeof(batch) IS DISTINCT FROM 'object' THEN
		RETURN 'the batch is no object';
	ELSIF batch ->> 'from' IS DISTINCT FROM sender THEN
		RETURN 'the batch is not from the node that the caller is';
	ELSIF batch ->> 'to' IS DISTINCT FROM me THEN
		RETURN 'the batch is for another node';
	ELSIF coalesce(batch ->> 'epoch', '') !~ an_id OR coalesce(batch ->> 'seq', '') !~ '^[1-9][0-9]{0,17}$'
		OR jsonb_typeof(batch -> 'position') IS DISTINCT FROM 'object'
		OR pg_column_size(batch -> 'position') > 1024 * 1024
		OR jsonb_typeof(batch -> 'rows') IS DISTINCT FROM 'array'
		OR (batch ? 'compare' AND jsonb_typeof(batch -> 'compare') <> 'object')
		OR (batch ? 'attest' AND jsonb_typeof(batch -> 'attest') <> 'object')
		OR EXISTS (SELECT FROM jsonb_each(batch) k
				   WHERE k.key IN ('episodes', 'identity_links', 'family_links', 'episode_links')
						AND jsonb_typeof(k.value) <> 'array') THEN
		RETURN 'the batch lacks epoch, seq, position or rows, or one of its parts has another form';
	ELSIF jsonb_array_length(batch -> 'rows') > most_rows THEN
		RETURN 'the batch has more than 100,000 rows';
	END IF;
	SELECT count(*) INTO bad
		FROM unnest('{episodes,identity_links,family_links,episode_links}'::text[]) k, jsonb_array_elements(batch -> k) l
		WHERE jsonb_typeof(l) <> 'object' OR jsonb_typeof(l -> 'owner') IS DISTINCT FROM 'string';
	IF bad > 0 THEN
		RETURN format('%s of its episodes and links lack an owner', bad);
	END IF;
	SELECT count(*) INTO bad FROM jsonb_array_elements(batch -> 'rows') e
		WHERE NOT coalesce(
			(e ->> 'relation' ~ a_relation
			 AND (spine.exchange_place(e ->> 'relation') < 7
				  OR split_part(e ->> 'relation', '.', 1) !~ '^(spine|pg_.*|information_schema|public)$')
			 AND CASE e ->> 'action'
				 WHEN 'withdraw' THEN e ->> 'record_id' ~ an_id
				 WHEN 'put' THEN
					(e -> 'row' ->> spine.exchange_id(e ->> 'relation')) ~ an_id
					AND jsonb_typeof(e -> 'row' -> 'owner') = 'string'
					AND e -> 'row' ->> 'revision' ~ '^[0-9]{1,18}$'
					AND jsonb_typeof(e -> 'row' -> 'audience') = 'array'
				 ELSE false END), false);
	IF bad > 0 THEN
		RETURN format('%s of its rows name no relation that travels, or lack id, owner, revision or audience', bad);
	END IF;
	-- nothing that is for care alone comes on a link for reporting
	IF EXISTS (SELECT FROM spine.node n WHERE n.name = sender AND n.purpose = 'reporting')
		AND (batch ?| ARRAY['episodes', 'identity_links', 'family_links', 'episode_links']
			 OR EXISTS (SELECT FROM jsonb_array_elements(batch -> 'rows') e WHERE NOT spine.goes_to_hubs(e ->> 'relation'))) THEN
		RETURN 'the link is for reporting, which takes agreements and records of data groups alone';
	END IF;
	RETURN NULL;
END
$$;
ALTER FUNCTION spine.batch_fault(jsonb, text, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.batch_fault(jsonb, text, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.batch_fault(jsonb, text, text) IS 'What is wrong with the form of a batch, null when nothing is.';

CREATE FUNCTION spine.apply_waiting() RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	part record;
	piece record;
	assignments text;
	known text[];
	applied bigint := 0;
	changed bigint;
BEGIN
	-- whole rows of groups that are published now
	FOR part IN
		SELECT t.relation, w.node FROM spine.exchange_tables() t
			JOIN (SELECT DISTINCT v.relation, v.node FROM spine.waiting_row v) w USING (relation) ORDER BY 1, 2
	LOOP
		LOOP
			WITH taken AS (
				DELETE FROM spine.waiting_row w
				WHERE (w.relation, w.record_id, w.node) IN (
					SELECT v.relation, v.record_id, v.node FROM spine.waiting_row v
					WHERE v.relation = part.relation AND v.node = part.node ORDER BY v.record_id LIMIT 1000)
				RETURNING w.content)
			SELECT jsonb_agg(t.content) AS contents, count(*) AS n INTO piece FROM taken t;
			EXIT WHEN piece.n = 0;
			PERFORM spine.receive_puts(part.node, part.relation, piece.contents, false);
			applied := applied + piece.n;
		END LOOP;
	END LOOP;

	-- items of rows that a later version knows
	FOR part IN
		SELECT t.relation, t.class FROM spine.exchange_tables() t
		WHERE t.relation IN (SELECT DISTINCT u.relation FROM spine.unknown_item u)
	LOOP
		SELECT array_agg(a.attname::text), string_agg(format('%I = r.%1$I', a.attname), ', ')
			INTO known, assignments
			FROM pg_attribute a
			WHERE a.attrelid = part.class AND a.attnum > 0 AND NOT a.attisdropped
				AND a.attname IN (SELECT DISTINCT jsonb_object_keys(u.items) FROM spine.unknown_item u WHERE u.relation = part.relation);
		CONTINUE WHEN known IS NULL;
		FOR piece IN
			SELECT u.record_id, u.items FROM spine.unknown_item u
			WHERE u.relation = part.relation AND u.items ?| known
		LOOP
			BEGIN
				-- what this record does not have stays as it is: absent keys take the row's own value
				EXECUTE format('UPDATE %1$s t SET %2$s FROM %1$s o, LATERAL jsonb_populate_record(o, $2) r '
							   'WHERE t.record_id = $1 AND o.record_id = $1', part.class, assignments)
					USING piece.record_id, piece.items;
				GET DIAGNOSTICS changed = ROW_COUNT;
				applied := applied + changed;
				UPDATE spine.unknown_item u SET items = u.items - known
					WHERE u.relation = part.relation AND u.record_id = piece.record_id;
			EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
				-- stays aside; the error is kept beside it
				INSERT INTO spine.receive_fault (relation, record_id, node, owner, revision, sqlstate, message, content)
					SELECT u.relation, u.record_id, o.node, u.owner, u.revision, SQLSTATE, SQLERRM, u.items
					FROM spine.unknown_item u JOIN spine.node_organisation o ON o.organisation = u.owner
					WHERE u.relation = part.relation AND u.record_id = piece.record_id
					ON CONFLICT (relation, record_id, node) DO NOTHING;
			END;
		END LOOP;
		DELETE FROM spine.unknown_item u WHERE u.relation = part.relation AND u.items = '{}';
	END LOOP;
	RETURN applied;
END
$$;
ALTER FUNCTION spine.apply_waiting() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.apply_waiting() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.apply_waiting() TO spine_operator;
COMMENT ON FUNCTION spine.apply_waiting() IS
	'Applies what neighbours sent of data groups and items that are published here by now. Runs by itself when a data set is published. Returns the number of rows.';

CREATE FUNCTION spine.apply_waiting_rows() RETURNS trigger
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM spine.apply_waiting();
	RETURN NULL;
END
$$;
ALTER FUNCTION spine.apply_waiting_rows() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.apply_waiting_rows() FROM PUBLIC;
COMMENT ON FUNCTION spine.apply_waiting_rows() IS 'Trigger on spine.dataset: spine.apply_waiting().';

CREATE FUNCTION spine.retry_faults() RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	fault record;
	still integer;
	mended bigint := 0;
BEGIN
	FOR fault IN
		SELECT f.* FROM spine.receive_fault f JOIN spine.node_organisation o ON o.organisation = f.owner AND o.node = f.node
		WHERE f.content ? 'audience' ORDER BY f.at
	LOOP
		still := spine.receive_puts(fault.node, fault.relation, jsonb_build_array(fault.content), false);
		mended := mended + (still = 0)::integer;
	END LOOP;
	RETURN mended;
END
$$;
ALTER FUNCTION spine.retry_faults() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.retry_faults() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.retry_faults() TO spine_operator;
COMMENT ON FUNCTION spine.retry_faults() IS 'Applies again the rows in spine.receive_fault, after their cause was mended. Returns how many went through.';

-- ---------------------------------------------------------------- connecting

CREATE FUNCTION spine.connect_node(name text, conninfo text, organisations text[], role name DEFAULT NULL, purpose text DEFAULT 'care') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
DECLARE
	codes text[];
	hosted record;
	the_role record;
	parent text := 'delivery_' || connect_node.name;
BEGIN
	PERFORM spine.require_operator();
	IF connect_node.name IS NULL OR connect_node.name !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$' THEN
		RAISE EXCEPTION 'a node''s name is 1 to 31 letters, digits, hyphens or underscores'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF EXISTS (SELECT FROM spine.node n WHERE n.name = connect_node.name AND n.is_self) THEN
		RAISE EXCEPTION 'node "%" is this node', connect_node.name
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF connect_node.purpose IS NULL OR connect_node.purpose NOT IN ('care', 'reporting') THEN
		RAISE EXCEPTION 'a node is connected for care or for reporting'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF EXISTS (SELECT FROM spine.node n WHERE n.name = connect_node.name AND n.purpose <> connect_node.purpose) THEN
		RAISE EXCEPTION 'node "%" is known for another purpose', connect_node.name
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'What it got for the one stays with it: connect another node for the other.';
	END IF;
	IF connect_node.conninfo IS NOT NULL AND NOT spine.is_conninfo(connect_node.conninfo) THEN
		RAISE EXCEPTION 'the connection string is malformed, or holds options or a password'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Write it as for libpq: host=... port=... dbname=... user=... sslmode=verify-full sslcert=... sslkey=..., or service=...; a password stands in a file, passfile=...';
	END IF;
	IF coalesce(cardinality(connect_node.organisations), 0) = 0 THEN
		RAISE EXCEPTION 'a neighbour hosts at least one organisation'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT array_agg(DISTINCT (c::spine.ods_code)::text) INTO codes FROM unnest(connect_node.organisations) c;

	SELECT o.organisation, o.node INTO hosted
		FROM spine.node_organisation o JOIN spine.node n ON n.name = o.node
		WHERE o.organisation = ANY (codes) AND o.node <> connect_node.name AND n.state <> 'ended'
		ORDER BY 1 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'organisation % is hosted by node "%"', hosted.organisation, hosted.node
			USING ERRCODE = 'unique_violation';
	END IF;

	IF connect_node.role IS NOT NULL THEN
		SELECT r.oid, r.rolsuper OR r.rolreplication OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls AS mighty INTO the_role
			FROM pg_roles r WHERE r.rolname = connect_node.role;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'role "%" does not exist', connect_node.role
				USING ERRCODE = 'undefined_object',
					  HINT = format('CREATE ROLE %I LOGIN', connect_node.role);
		ELSIF the_role.mighty THEN
			RAISE EXCEPTION 'role "%" may do more than a neighbour should', connect_node.role
				USING ERRCODE = 'invalid_role_specification',
					  DETAIL = 'It is a superuser or has REPLICATION, CREATEROLE, CREATEDB or BYPASSRLS.';
		ELSIF EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
					  WHERE m.member = the_role.oid AND g.rolname <> 'spine_neighbour') THEN
			RAISE EXCEPTION 'role "%" is a member of other roles', connect_node.role
				USING ERRCODE = 'invalid_role_specification',
					  HINT = 'A neighbour has a role of its own.';
		END IF;
		EXECUTE format('GRANT spine_neighbour TO %I', connect_node.role);
	END IF;

	INSERT INTO spine.node AS n (name, conninfo, role_name, purpose)
		VALUES (connect_node.name, connect_node.conninfo, connect_node.role, connect_node.purpose)
		ON CONFLICT (name) DO UPDATE
			SET conninfo = EXCLUDED.conninfo, role_name = coalesce(EXCLUDED.role_name, n.role_name),
				state = 'active', behind = false, connected_at = now();
	DELETE FROM spine.node_organisation o WHERE o.node = connect_node.name AND o.organisation <> ALL (codes);
	INSERT INTO spine.node_organisation AS o (organisation, node)
		SELECT c, connect_node.name FROM unnest(codes) c
		ON CONFLICT (organisation) DO UPDATE SET node = EXCLUDED.node;

	IF to_regclass(format('spine.%I', parent)) IS NULL THEN
		EXECUTE format('CREATE TABLE spine.%I PARTITION OF spine.delivery FOR VALUES IN (%L) PARTITION BY RANGE (at)',
					   parent, connect_node.name);
		EXECUTE format('CREATE TABLE spine.%I PARTITION OF spine.%I DEFAULT', parent || '_default', parent);
	END IF;
	PERFORM spine.make_ledger_partitions();

	IF connect_node.purpose = 'reporting' THEN
		INSERT INTO spine.hub_key (node, key_id, key)
			VALUES (connect_node.name, 'own', spine.random_key())
			ON CONFLICT DO NOTHING;
	END IF;
	INSERT INTO spine.link_received (node) VALUES (connect_node.name) ON CONFLICT DO NOTHING;
	-- without an epoch the next contact begins one, and compares what the neighbour has with what it should have; its key is taken anew
	UPDATE spine.node_key k SET state = 'past' WHERE k.node = connect_node.name AND k.state = 'pinned';
	INSERT INTO spine.link (node, since) VALUES (connect_node.name, pg_current_xact_id())
		ON CONFLICT (node) DO UPDATE SET epoch = NULL, position = NULL, retry_at = NULL, since = EXCLUDED.since;
	PERFORM spine.ring_doorbell();
END
$$;
ALTER FUNCTION spine.connect_node(text, text, text[], name, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.connect_node(text, text, text[], name, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.connect_node(text, text, text[], name, text) TO spine_operator;
COMMENT ON FUNCTION spine.connect_node(text, text, text[], name, text) IS
	'Registers a neighbour, or changes one: conninfo says how to reach it (null: it only sends to us), organisations which it hosts (ODS codes), role the existing login role as which it calls us. purpose care, or reporting for a hub: an organisation that gets pseudonymised records, and agreements. Everything that it should have is then sent to it. Refused when another node hosts one of the organisations.';

CREATE FUNCTION spine.disconnect_node(name text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	the_node spine.node;
BEGIN
	PERFORM spine.require_operator();
	UPDATE spine.node n SET state = 'ended' WHERE n.name = disconnect_node.name AND NOT n.is_self RETURNING * INTO the_node;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no neighbour "%"', disconnect_node.name
			USING ERRCODE = 'undefined_object';
	END IF;
	IF the_node.role_name IS NOT NULL AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = the_node.role_name) THEN
		EXECUTE format('REVOKE spine_neighbour FROM %I', the_node.role_name);
		UPDATE spine.node n SET role_name = NULL WHERE n.name = the_node.name;
	END IF;
	PERFORM spine.ring_doorbell();
END
$$;
ALTER FUNCTION spine.disconnect_node(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.disconnect_node(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.disconnect_node(text) TO spine_operator;
COMMENT ON FUNCTION spine.disconnect_node(text) IS
	'Ends a link at once: nothing more is sent, nothing more accepted. What was received stays. spine.connect_node connects it again.';

CREATE FUNCTION spine.set_paused(node text, paused boolean) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM spine.require_operator();
	UPDATE spine.link l SET paused = set_paused.paused, retry_at = CASE WHEN set_paused.paused THEN l.retry_at END
		WHERE l.node = set_paused.node;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no neighbour "%"', set_paused.node
			USING ERRCODE = 'undefined_object';
	END IF;
	PERFORM spine.ring_doorbell();
END
$$;
ALTER FUNCTION spine.set_paused(text, boolean) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.set_paused(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION spine.set_paused(text, boolean) IS 'spine.pause_link() and spine.resume_link().';

CREATE FUNCTION spine.pause_link(node text) RETURNS void
	LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT spine.set_paused(node, true)$$;
ALTER FUNCTION spine.pause_link(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.pause_link(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.pause_link(text) TO spine_operator;
COMMENT ON FUNCTION spine.pause_link(text) IS
	'Sends nothing more to a neighbour until spine.resume_link(): withdrawals and ends of agreements wait too. What it sends is taken. A batch that is on its way may still be applied there.';

CREATE FUNCTION spine.resume_link(node text) RETURNS void
	LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT spine.set_paused(node, false)$$;
ALTER FUNCTION spine.resume_link(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.resume_link(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.resume_link(text) TO spine_operator;
COMMENT ON FUNCTION spine.resume_link(text) IS 'Ends spine.pause_link(): what has waited is sent.';

CREATE FUNCTION spine.is_conninfo(conninfo text) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_is_conninfo';
ALTER FUNCTION spine.is_conninfo(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.is_conninfo(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.is_conninfo(text) IS 'Whether libpq can read the string, and it sets no options of the session and holds no password. Connects to nothing.';
