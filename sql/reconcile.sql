-- Comparisons of what a neighbour holds with what it should hold, receipts, and proof that what was
-- withdrawn is gone. They travel in the batches of sql/exchange.sql: a batch has a part "compare" or
-- "attest", the answer a reply, which the receiver keeps with the position until the next part comes. So the
-- sender needs no memory here either. Steps of a comparison, each a batch and its reply:
--
--   tables    which tables the neighbour knows, by their columns, and in which it holds rows of ours
--   ranges    of one table: count and digest of ranges of ids. Reply: its rows in those that differ
--   mend      the rows that it lacks or has otherwise, withdrawals of those it should not have, and what the
--             ranges come to then. A table in which it holds nothing is filled by this step alone
--   receipt   the neighbour signs what it counted

CREATE FUNCTION spine.digest_ranges(class regclass, id_column name, data_group text, owners text[], neighbour text[], known text[],
		by_rules boolean, aside text, after uuid, upto uuid, bounds uuid[], per_range integer, ranges integer, most bigint, source text DEFAULT NULL)
	RETURNS TABLE (range_upto uuid, range_rows bigint, range_digest bigint, revision bigint, owner text)
	LANGUAGE c STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_digest_ranges';
ALTER FUNCTION spine.digest_ranges(regclass, name, text, text[], text[], text[], boolean, text, uuid, uuid, uuid[], integer, integer, bigint, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.digest_ranges(regclass, name, text, text[], text[], text[], boolean, text, uuid, uuid, uuid[], integer, integer, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.digest_ranges(regclass, name, text, text[], text[], text[], boolean, text, uuid, uuid, uuid[], integer, integer, bigint, text) IS
	'Count and digest of a table''s rows over ranges of ids: as a neighbour should hold them, where neighbour names its organisations and known its columns, else as they stand here. source: where they come from instead of the table (spine.hub_source). See extension/exchange/digest.c.';

CREATE FUNCTION spine.make_key_pair(OUT public_key bytea, OUT private_key bytea)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_make_key_pair';
ALTER FUNCTION spine.make_key_pair() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.make_key_pair() FROM PUBLIC;
COMMENT ON FUNCTION spine.make_key_pair() IS 'A new Ed25519 key pair.';

CREATE FUNCTION spine.sign(statement text, private_key bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_sign';
ALTER FUNCTION spine.sign(text, bytea) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.sign(text, bytea) FROM PUBLIC;
COMMENT ON FUNCTION spine.sign(text, bytea) IS 'The Ed25519 signature of a text.';

CREATE FUNCTION spine.signature_holds(statement text, signature bytea, public_key bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_signature_holds';
ALTER FUNCTION spine.signature_holds(text, bytea, bytea) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.signature_holds(text, bytea, bytea) FROM PUBLIC;
COMMENT ON FUNCTION spine.signature_holds(text, bytea, bytea) IS 'Whether the holder of this key''s private half signed this text.';

-- Digests add up as 64-bit numbers that wrap around.
CREATE FUNCTION spine.digest_sum(total numeric) RETURNS bigint
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT (CASE WHEN u.n >= 9223372036854775808 THEN u.n - 18446744073709551616 ELSE u.n END)::bigint
		 FROM (SELECT (coalesce(total, 0) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616 AS n) u$$;
ALTER FUNCTION spine.digest_sum(numeric) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.digest_sum(numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.digest_sum(numeric) TO spine_governor, spine_operator;
COMMENT ON FUNCTION spine.digest_sum(numeric) IS 'A sum of digests as a digest.';

-- counts of one table, added to those of all
CREATE FUNCTION spine.add_totals(totals jsonb, relation text, counted jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT totals || jsonb_build_object(relation, (
			SELECT jsonb_object_agg(k.key, CASE WHEN k.key LIKE '%\_digest' THEN spine.digest_sum(k.n) ELSE k.n END)
			FROM (SELECT e.key, sum(e.value::numeric) AS n
				  FROM (SELECT * FROM jsonb_each_text(counted) UNION ALL SELECT * FROM jsonb_each_text(coalesce(totals -> relation, '{}'))) e
				  GROUP BY e.key) k))$$;
ALTER FUNCTION spine.add_totals(jsonb, text, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.add_totals(jsonb, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.add_totals(jsonb, text, jsonb) IS 'Totals by table, with what was counted of one.';

CREATE FUNCTION spine.receipt_figures(signed text, OUT statement jsonb, OUT sent_rows bigint, OUT sent_digest text, OUT held_rows bigint,
		OUT held_digest text, OUT ranges bigint, OUT differed bigint, OUT rows_sent bigint, OUT rows_removed bigint)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT signed::jsonb, sum((t.value ->> 'sent_rows')::bigint)::bigint,
			CASE WHEN count(t.key) > 0 THEN lpad(to_hex(spine.digest_sum(sum((t.value ->> 'sent_digest')::numeric))), 16, '0') END,
			sum((t.value ->> 'held_rows')::bigint)::bigint,
			CASE WHEN count(t.key) > 0 THEN lpad(to_hex(spine.digest_sum(sum((t.value ->> 'held_digest')::numeric))), 16, '0') END,
			sum((t.value ->> 'ranges')::bigint)::bigint, sum((t.value ->> 'differed')::bigint)::bigint,
			sum((t.value ->> 'rows_sent')::bigint)::bigint, sum((t.value ->> 'rows_removed')::bigint)::bigint
		 FROM (SELECT) one LEFT JOIN jsonb_each(signed::jsonb -> 'tables') t ON true$$;
ALTER FUNCTION spine.receipt_figures(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receipt_figures(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.receipt_figures(text) TO spine_governor, spine_operator;
COMMENT ON FUNCTION spine.receipt_figures(text) IS 'What a receipt''s statement says, added up over its tables.';

-- ---------------------------------------------------------------- digests

-- Of rows, their ids and digests side by side, what they come to in the ranges that end at these bounds.
CREATE FUNCTION spine.sum_ranges(ids uuid[], digests bigint[], after uuid, bounds uuid[]) RETURNS TABLE (upto uuid, n bigint, digest bigint)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT b.upto, count(o.id), spine.digest_sum(sum(o.digest))
		 FROM (SELECT b.upto, lag(b.upto, 1, after) OVER (ORDER BY b.n) AS above, b.n FROM unnest(bounds) WITH ORDINALITY b (upto, n)) b
			LEFT JOIN unnest(ids, digests) AS o (id, digest) ON (b.above IS NULL OR o.id > b.above) AND (b.upto IS NULL OR o.id <= b.upto)
		 GROUP BY b.n, b.upto$$;
ALTER FUNCTION spine.sum_ranges(uuid[], bigint[], uuid, uuid[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.sum_ranges(uuid[], bigint[], uuid, uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.sum_ranges(uuid[], bigint[], uuid, uuid[]) IS 'Count and digest of rows by ranges of their ids; without bounds, nothing.';

-- What a neighbour should hold of a table. columns: those that it knows; null: it does not know the
-- group, and what waits there is compared as the document it is.
CREATE FUNCTION spine.due_ranges(the_relation text, own text[], their text[], columns text[], after uuid, upto uuid, bounds uuid[],
		per_range integer, ranges integer, most bigint)
	RETURNS TABLE (range_upto uuid, range_rows bigint, range_digest bigint, revision bigint, owner text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
DECLARE
	the_table record;
	by_rules boolean;
	hub text := spine.addressed_hub(their);
	source text;
	limit_rows integer := least(per_range::bigint * coalesce(ranges, 1000000), 2000);
	ids uuid[];
	puts jsonb;
BEGIN
	SELECT * INTO the_table FROM spine.exchange_tables(the_relation);
	IF NOT FOUND THEN
		-- here there is no such table: the neighbour should hold nothing of it
		RETURN QUERY SELECT b, 0::bigint, 0::bigint, NULL::bigint, NULL::text
			FROM unnest(CASE WHEN bounds IS NOT NULL THEN bounds WHEN per_range > 1 THEN ARRAY[upto] END) b;
		RETURN;
	END IF;
	by_rules := the_table.is_group AND EXISTS (SELECT FROM spine.reaudience_task k WHERE k.dataset || '.' || k.data_group = the_relation);
	IF hub IS NOT NULL AND the_table.is_group THEN
		source := spine.hub_source(hub, the_relation, the_table.class, their);
	END IF;
	IF columns IS NOT NULL THEN
		RETURN QUERY SELECT * FROM spine.digest_ranges(the_table.class, the_table.id_column,
			CASE WHEN the_table.is_group THEN the_relation END, own, their, columns, by_rules, NULL, after, upto, bounds, per_range, ranges, most, source);
		RETURN;
	END IF;

	SELECT array_agg(d.range_upto) INTO ids
		FROM spine.digest_ranges(the_table.class, the_table.id_column, the_relation, own, their, NULL, by_rules, NULL, after,
								 coalesce(bounds[cardinality(bounds)], upto), NULL, 1, CASE WHEN bounds IS NULL AND upto IS NULL THEN limit_rows END, NULL, source) d;
	SELECT r.puts INTO puts FROM spine.rows_for_neighbour(the_relation, spine.own_ids(the_relation, their, coalesce(ids, '{}')), own, their) r;
	RETURN QUERY
		WITH one AS (
			SELECT (e -> 'row' ->> 'record_id')::uuid AS id, jsonb_hash_extended(e -> 'row', 0) AS digest,
				   (e -> 'row' ->> 'revision')::bigint AS revision, e -> 'row' ->> 'owner' AS owner,
				   row_number() OVER (ORDER BY (e -> 'row' ->> 'record_id')::uuid) AS n
			FROM jsonb_array_elements(coalesce(puts, '[]')) e
		)
		SELECT o.id, 1::bigint, o.digest, o.revision, o.owner FROM one o WHERE per_range = 1 AND bounds IS NULL
		UNION ALL
		SELECT CASE WHEN g.last AND count(o.id) < per_range THEN upto
					WHEN g.last AND cardinality(coalesce(ids, '{}')) < limit_rows THEN upto
					ELSE (array_agg(o.id ORDER BY o.n DESC))[1] END,
			   count(o.id), spine.digest_sum(sum(o.digest)), NULL, NULL
		FROM (SELECT k, k = greatest((SELECT max(o.n) - 1 FROM one o) / per_range, 0) AS last
			  FROM generate_series(0, coalesce((SELECT max(o.n) - 1 FROM one o) / per_range, 0)) k) g
			LEFT JOIN one o ON (o.n - 1) / per_range = g.k
		WHERE per_range > 1 AND bounds IS NULL
		GROUP BY g.k, g.last
		UNION ALL
		SELECT s.upto, s.n, s.digest, NULL, NULL
		FROM spine.sum_ranges(ARRAY(SELECT o.id FROM one o), ARRAY(SELECT o.digest FROM one o), after, bounds) s
		ORDER BY 1 NULLS LAST;
END
$$;
ALTER FUNCTION spine.due_ranges(text, text[], text[], text[], uuid, uuid, uuid[], integer, integer, bigint) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.due_ranges(text, text[], text[], text[], uuid, uuid, uuid[], integer, integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION spine.due_ranges(text, text[], text[], text[], uuid, uuid, uuid[], integer, integer, bigint) IS
	'Ranges of what a neighbour should hold of a table; per_range 1 lists rows.';

-- What is held here of a neighbour's table, waiting rows of groups that are not published here among it.
CREATE FUNCTION spine.held_ranges(sender text, the_relation text, after uuid, upto uuid, bounds uuid[], most integer)
	RETURNS TABLE (range_upto uuid, range_rows bigint, range_digest bigint, revision bigint, owner text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
DECLARE
	the_table record;
	their text[] := spine.organisations_of(sender);
BEGIN
	SELECT * INTO the_table FROM spine.exchange_tables(the_relation);
	IF FOUND THEN
		RETURN QUERY SELECT * FROM spine.digest_ranges(the_table.class, the_table.id_column, NULL, their, NULL, NULL, false,
			CASE WHEN the_table.is_group AND EXISTS (SELECT FROM spine.unknown_item u WHERE u.relation = the_relation) THEN the_relation END,
			after, upto, bounds, 1, most, NULL);
		RETURN;
	END IF;
	RETURN QUERY
		WITH one AS (
			SELECT w.record_id AS id, jsonb_hash_extended(w.content, 0) AS digest, w.revision, w.owner
			FROM spine.waiting_row w
			WHERE w.relation = the_relation AND w.node = sender
				AND (after IS NULL OR w.record_id > after) AND (upto IS NULL OR w.record_id <= upto)
			ORDER BY w.record_id LIMIT most
		)
		SELECT o.id, 1::bigint, o.digest, o.revision, o.owner FROM one o WHERE bounds IS NULL
		UNION ALL
		SELECT s.upto, s.n, s.digest, NULL, NULL
		FROM spine.sum_ranges(ARRAY(SELECT o.id FROM one o), ARRAY(SELECT o.digest FROM one o), after, bounds) s
		ORDER BY 1 NULLS LAST;
END
$$;
ALTER FUNCTION spine.held_ranges(text, text, uuid, uuid, uuid[], integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.held_ranges(text, text, uuid, uuid, uuid[], integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.held_ranges(text, text, uuid, uuid, uuid[], integer) IS
	'With bounds, ranges of what is held here of a neighbour''s rows of a table; without, those rows.';

-- ---------------------------------------------------------------- comparing: the sender

-- The next rows of a table in which the neighbour holds nothing. Stable: the rows and the digest
-- are of one moment.
CREATE FUNCTION spine.fill_step(the_relation text, own text[], their text[], columns text[], after uuid, most integer,
		OUT ended boolean, OUT upto uuid, OUT checks jsonb, OUT puts jsonb, OUT put_ids uuid[], OUT patients uuid[], OUT episodes uuid[])
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	range record;
	ids uuid[];
BEGIN
	SELECT * INTO range FROM spine.due_ranges(the_relation, own, their, columns, after, NULL, NULL, greatest(most, 2), 1, 50000);
	IF NOT FOUND THEN
		ended := true;
		RETURN;
	END IF;
	upto := range.range_upto;
	ended := upto IS NULL;
	IF range.range_rows > 0 THEN
		SELECT array_agg(d.range_upto) INTO ids FROM spine.due_ranges(the_relation, own, their, columns, after, upto, NULL, 1, NULL, NULL) d;
		SELECT r.puts, r.put_ids, r.patients, r.episodes INTO puts, put_ids, patients, episodes
			FROM spine.rows_for_neighbour(the_relation, spine.own_ids(the_relation, their, ids), own, their) r;
	END IF;
	checks := jsonb_build_array(jsonb_build_array(after, upto, range.range_rows, range.range_digest,
												  CASE WHEN spine.exchange_is_said(the_relation) THEN to_jsonb(coalesce(ids, '{}')) END));
END
$$;
ALTER FUNCTION spine.fill_step(text, text[], text[], text[], uuid, integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.fill_step(text, text[], text[], text[], uuid, integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.fill_step(text, text[], text[], text[], uuid, integer) IS 'Rows for a table that is empty at the neighbour, and what they come to.';

-- What mends ranges that differ: differ is [[after, upto, [[id, digest, revision, owner], ...]], ...], the neighbour's rows.
CREATE FUNCTION spine.mend_step(the_relation text, own text[], their text[], columns text[], differ jsonb,
		OUT checks jsonb, OUT puts jsonb, OUT put_ids uuid[], OUT gone jsonb, OUT patients uuid[], OUT episodes uuid[])
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	range jsonb;
	sums record;
	ours jsonb;
	wanted uuid[] := '{}';
	said boolean := spine.exchange_is_said(the_relation);
BEGIN
	checks := '[]';
	gone := '[]';
	FOR range IN SELECT e FROM jsonb_array_elements(differ) e
	LOOP
		SELECT jsonb_object_agg(d.range_upto, d.range_digest) INTO ours
			FROM spine.due_ranges(the_relation, own, their, columns, (range ->> 0)::uuid, (range ->> 1)::uuid, NULL, 1, NULL, NULL) d;
		ours := coalesce(ours, '{}');
		wanted := wanted || ARRAY(
			SELECT o.key::uuid FROM jsonb_each(ours) o
				LEFT JOIN (SELECT t ->> 0 AS id, t -> 1 AS digest FROM jsonb_array_elements(range -> 2) t) t ON t.id = o.key
			WHERE t.id IS NULL OR t.digest IS DISTINCT FROM o.value);
		IF NOT said THEN
			gone := gone || coalesce((SELECT jsonb_agg(t) FROM jsonb_array_elements(range -> 2) t WHERE NOT ours ? (t ->> 0)), '[]');
		END IF;
		SELECT * INTO sums FROM spine.due_ranges(the_relation, own, their, columns, (range ->> 0)::uuid, NULL, ARRAY[(range ->> 1)::uuid], 1, NULL, NULL);
		checks := checks || jsonb_build_array(jsonb_build_array(range -> 0, range -> 1, sums.range_rows, sums.range_digest,
			CASE WHEN said THEN (SELECT coalesce(jsonb_agg(k), '[]') FROM jsonb_object_keys(ours) k) END));
	END LOOP;
	SELECT r.puts, r.put_ids, r.patients, r.episodes INTO puts, put_ids, patients, episodes
		FROM spine.rows_for_neighbour(the_relation, spine.own_ids(the_relation, their, wanted), own, their) r;
END
$$;
ALTER FUNCTION spine.mend_step(text, text[], text[], text[], jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.mend_step(text, text[], text[], text[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.mend_step(text, text[], text[], text[], jsonb) IS 'What a neighbour lacks, has otherwise, or should not have in ranges that differ.';

-- The clause under which a record goes to one of these organisations, as spine.deliver() tells it.
CREATE FUNCTION spine.clause_for(owner text, the_relation text, patient uuid, their text[]) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
DECLARE
	candidates text[];
BEGIN
	SELECT array_agg(DISTINCT r.agreement || '/' || r.version || '/' || r.clause) INTO candidates
		FROM spine.sharing_rule r
		WHERE r.from_organisation = clause_for.owner AND r.dataset = split_part(the_relation, '.', 1)
			AND r.data_group = split_part(the_relation, '.', 2)
			AND r.to_organisation || CASE r.purpose WHEN 'care' THEN '' ELSE ':' || r.purpose END = ANY (their);
	IF coalesce(cardinality(candidates), 0) <= 1 THEN
		RETURN candidates[1];
	END IF;
	RETURN (SELECT h.agreement || '/' || h.version || '/' || h.clause
			FROM spine.rules_that_hold(clause_for.owner, split_part(the_relation, '.', 1), split_part(the_relation, '.', 2), spine.linked_patients(patient)) h
			WHERE h.to_organisation || CASE WHEN h.purpose IN ('care', 'emergency') THEN '' ELSE ':' || h.purpose END = ANY (their)
			ORDER BY h.agreement, h.version DESC, h.clause LIMIT 1);
END
$$;
ALTER FUNCTION spine.clause_for(text, text, uuid, text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.clause_for(text, text, uuid, text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.clause_for(text, text, uuid, text[]) IS 'The clause by which a record may go to a neighbour.';

-- The ledger is the account of what left: what a comparison sends stands there too. The transaction id is one before the
-- neighbour's position, so that it is not sent once more from there, while a neighbour restored to before it gets it again.
CREATE FUNCTION spine.note_compared(to_node text, the_relation text, puts jsonb, gone jsonb, own text[], their text[], at_position jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	before xid8 := (pg_snapshot_xmin((at_position ->> 'from')::pg_snapshot)::text::numeric - 1)::text::xid8;
	is_group boolean := coalesce((SELECT t.is_group FROM spine.exchange_tables(the_relation) t), true);
BEGIN
	INSERT INTO spine.delivery (destination, xid, relation, record_id, owner, revision, action, clause)
		WITH put AS (
			SELECT (e -> 'row' ->> spine.exchange_id(the_relation))::uuid AS record_id, e -> 'row' ->> 'owner' AS owner,
				   (e -> 'row' ->> 'revision')::bigint AS revision, (e -> 'row' ->> 'patient_id')::uuid AS patient_id
			FROM jsonb_array_elements(coalesce(puts, '[]')) e
		), reason AS MATERIALIZED (
			SELECT p.owner, p.patient_id, spine.clause_for(p.owner, the_relation, p.patient_id, their) AS clause
			FROM (SELECT DISTINCT q.owner, q.patient_id FROM put q WHERE is_group) p
		)
		SELECT to_node, before, the_relation, coalesce(h.record_id, p.record_id), p.owner, p.revision, 'put', r.clause
			FROM put p LEFT JOIN reason r ON r.owner = p.owner AND r.patient_id IS NOT DISTINCT FROM p.patient_id
				LEFT JOIN spine.hub_record h ON h.node = to_node AND h.relation = the_relation AND h.sent_id = p.record_id
		UNION ALL
		SELECT to_node, before, the_relation, coalesce(h.record_id, (g ->> 0)::uuid), g ->> 3, coalesce((g ->> 2)::bigint, 0), 'withdraw', NULL
			FROM jsonb_array_elements(coalesce(gone, '[]')) g
				LEFT JOIN spine.hub_record h ON h.node = to_node AND h.relation = the_relation AND h.sent_id = (g ->> 0)::uuid
			-- what a hub has that is no pseudonym of a record here is no record that has left
			WHERE g ->> 3 = ANY (own) AND (h.record_id IS NOT NULL OR NOT is_group OR spine.addressed_hub(their) IS NULL);
END
$$;
ALTER FUNCTION spine.note_compared(text, text, jsonb, jsonb, text[], text[], jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.note_compared(text, text, jsonb, jsonb, text[], text[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.note_compared(text, text, jsonb, jsonb, text[], text[], jsonb) IS 'Writes to the ledger what a comparison sends.';

-- One step. state is what the position says of the comparison, next what it is to say; null: it is finished.
CREATE FUNCTION spine.compare_turn(to_node text, state jsonb, reply jsonb, own text[], their text[], at_position jsonb, most integer,
		OUT next jsonb, OUT part jsonb, OUT rows jsonb, OUT patients uuid[], OUT episodes uuid[])
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	comparison spine.link_comparison;
	tables jsonb;
	relations text[];
	relation text;
	columns text[];
	first integer;
	after uuid;
	width integer := coalesce((state ->> 'width')::integer, 64);
	step record;
	withdrawn jsonb;
BEGIN
	rows := '[]';
	SELECT * INTO comparison FROM spine.link_comparison c WHERE c.node = to_node;
	IF state ->> 'step' = 'new' OR comparison.comparison::text IS DISTINCT FROM state ->> 'id'
		OR reply ->> 'id' IS DISTINCT FROM state ->> 'id' OR reply ->> 'step' IS DISTINCT FROM state ->> 'step'
	THEN
		comparison.comparison := gen_random_uuid();
		INSERT INTO spine.link_comparison AS c (node, comparison, begun_at) VALUES (to_node, comparison.comparison, now())
			ON CONFLICT (node) DO UPDATE SET comparison = EXCLUDED.comparison, begun_at = EXCLUDED.begun_at, tables = NULL;
		next := jsonb_build_object('id', comparison.comparison, 'step', 'tables', 'begun', now());
		part := jsonb_build_object('id', comparison.comparison, 'step', 'tables');
		RETURN;
	END IF;

	tables := comparison.tables;
	CASE state ->> 'step'
		WHEN 'tables' THEN
			tables := reply -> 'tables';
			UPDATE spine.link_comparison c SET tables = reply -> 'tables' WHERE c.node = to_node;
		WHEN 'ranges' THEN
			relation := state ->> 'relation';
			after := (reply ->> 'upto')::uuid;
			width := CASE WHEN (reply ->> 'cut')::boolean THEN greatest(width / 2, 1) ELSE least(width * 2, 256) END;
			IF jsonb_array_length(reply -> 'differ') > 0 THEN
				columns := ARRAY(SELECT jsonb_array_elements_text(nullif(tables -> relation -> 'columns', 'null')));
				SELECT * INTO step FROM spine.mend_step(relation, own, their,
					CASE WHEN jsonb_typeof(tables -> relation -> 'columns') = 'array' THEN columns END, reply -> 'differ');
				SELECT jsonb_agg(jsonb_build_object('relation', relation, 'action', 'withdraw', 'record_id', g ->> 0))
					INTO withdrawn FROM jsonb_array_elements(step.gone) g;
				rows := coalesce(withdrawn, '[]') || coalesce(step.puts, '[]');
				patients := step.patients;
				episodes := step.episodes;
				PERFORM spine.note_compared(to_node, relation, step.puts, step.gone, own, their, at_position);
				part := jsonb_build_object('id', state -> 'id', 'step', 'mend', 'relation', relation, 'checks', step.checks,
					'sent', coalesce(cardinality(step.put_ids), 0), 'removed', jsonb_array_length(step.gone));
				next := state || jsonb_build_object('step', 'mend', 'after', after, 'width', width);
				RETURN;
			END IF;
		WHEN 'mend' THEN
			relation := state ->> 'relation';
			after := (state ->> 'after')::uuid;
		WHEN 'receipt' THEN
			PERFORM spine.take_receipt(to_node, reply, 'reconciliation');
			UPDATE spine.link_comparison c SET asked_at = NULL
				WHERE c.node = to_node AND c.asked_at <= (state ->> 'begun')::timestamptz;
			RETURN;
	END CASE;

	SELECT array_agg(t.relation ORDER BY spine.exchange_place(t.relation), t.relation) INTO relations
		FROM (SELECT e.relation FROM spine.exchange_tables() e WHERE e.is_group OR tables ? e.relation
			  UNION SELECT jsonb_object_keys(tables)) t;
	first := coalesce(array_position(relations, relation), 1);
	IF relation IS NOT NULL AND after IS NULL THEN
		first := first + 1;
	END IF;
	FOR i IN first .. cardinality(relations)
	LOOP
		relation := relations[i];
		columns := CASE WHEN jsonb_typeof(tables -> relation -> 'columns') = 'array'
						THEN ARRAY(SELECT jsonb_array_elements_text(tables -> relation -> 'columns')) END;
		IF coalesce((tables -> relation ->> 'holds')::boolean, false) THEN
			part := jsonb_build_object('id', state -> 'id', 'step', 'ranges', 'relation', relation, 'after', after, 'limit', most,
				'ranges', (SELECT jsonb_agg(jsonb_build_array(d.range_upto, d.range_rows, d.range_digest) ORDER BY d.range_upto)
						   FROM spine.due_ranges(relation, own, their, columns, after, NULL, NULL, 128, width, 50000) d));
			IF jsonb_typeof(part -> 'ranges') = 'array' THEN
				next := jsonb_build_object('id', state -> 'id', 'begun', state -> 'begun', 'step', 'ranges', 'relation', relation, 'width', width);
				RETURN;
			END IF;
		ELSE
			SELECT * INTO step FROM spine.fill_step(relation, own, their, columns, after, most);
			IF NOT step.ended OR step.puts IS NOT NULL THEN
				rows := coalesce(step.puts, '[]');
				patients := step.patients;
				episodes := step.episodes;
				PERFORM spine.note_compared(to_node, relation, step.puts, NULL, own, their, at_position);
				part := jsonb_build_object('id', state -> 'id', 'step', 'mend', 'relation', relation, 'checks', step.checks,
					'sent', coalesce(cardinality(step.put_ids), 0), 'removed', 0);
				next := jsonb_build_object('id', state -> 'id', 'begun', state -> 'begun', 'step', 'mend', 'relation', relation,
										   'after', step.upto, 'width', width);
				RETURN;
			END IF;
		END IF;
		after := NULL;
	END LOOP;
	part := jsonb_build_object('id', state -> 'id', 'step', 'receipt', 'begun', state -> 'begun');
	next := jsonb_build_object('id', state -> 'id', 'begun', state -> 'begun', 'step', 'receipt');
END
$$;
ALTER FUNCTION spine.compare_turn(text, jsonb, jsonb, text[], text[], jsonb, integer) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.compare_turn(text, jsonb, jsonb, text[], text[], jsonb, integer) FROM PUBLIC;
COMMENT ON FUNCTION spine.compare_turn(text, jsonb, jsonb, text[], text[], jsonb, integer) IS
	'The next step of a comparison with a neighbour that has replied to the last. For spine.link_turn().';

-- ---------------------------------------------------------------- comparing: the receiver

CREATE FUNCTION spine.receive_comparison(sender text, part jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	their text[] := spine.organisations_of(sender);
	compared spine.link_compared;
	said jsonb := jsonb_build_object('id', part -> 'id', 'step', part -> 'step');
	the_relation text := part ->> 'relation';
	the_table record;
	tables jsonb := '{}';
	holds boolean;
	range record;
	list jsonb;
	listed integer := 0;
	most integer := least(greatest((part ->> 'limit')::integer, 128), 100000);
	differ jsonb := '[]';
	cut boolean := false;
	decided uuid;
	statement text;
BEGIN
	IF part ->> 'step' = 'tables' THEN
		FOR the_table IN SELECT * FROM spine.exchange_tables()
		LOOP
			EXECUTE format('SELECT EXISTS (SELECT FROM %s t WHERE t.owner = ANY ($1))', the_table.class) INTO holds USING their;
			tables := tables || jsonb_build_object(the_table.relation, jsonb_build_object('holds', holds, 'columns',
				(SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
				 WHERE a.attrelid = the_table.class AND a.attnum > 0 AND NOT a.attisdropped)));
		END LOOP;
		-- and what lies beside the tables, of groups that are not published here too
		FOR the_relation IN
			SELECT w.relation FROM spine.waiting_row w WHERE w.node = sender
			UNION SELECT f.relation FROM spine.receive_fault f WHERE f.node = sender
		LOOP
			tables := tables || jsonb_build_object(the_relation, coalesce(tables -> the_relation, '{}') || '{"holds": true}');
		END LOOP;
		INSERT INTO spine.link_compared AS c (node, comparison) VALUES (sender, (part ->> 'id')::uuid)
			ON CONFLICT (node) DO UPDATE SET comparison = EXCLUDED.comparison, totals = '{}';
		said := said || jsonb_build_object('tables', tables);
	ELSE
		SELECT * INTO compared FROM spine.link_compared c WHERE c.node = sender AND c.comparison = (part ->> 'id')::uuid;
		IF NOT FOUND THEN
			RETURN said || '{"step": "unknown"}';
		END IF;
	END IF;

	IF part ->> 'step' = 'ranges' THEN
		FOR range IN
			SELECT h.range_upto AS upto, h.range_rows AS held_rows, h.range_digest AS held_digest,
				   (r.e ->> 1)::bigint AS sent_rows, (r.e ->> 2)::bigint AS sent_digest,
				   CASE WHEN h.n = 1 THEN (part ->> 'after')::uuid ELSE lag(h.range_upto) OVER (ORDER BY h.n) END AS after
			FROM jsonb_array_elements(part -> 'ranges') WITH ORDINALITY r (e, n)
				JOIN spine.held_ranges(sender, the_relation, (part ->> 'after')::uuid, NULL,
									   ARRAY(SELECT (b ->> 0)::uuid FROM jsonb_array_elements(part -> 'ranges') WITH ORDINALITY b (b, n) ORDER BY b.n), NULL)
					 WITH ORDINALITY h (range_upto, range_rows, range_digest, revision, owner, n) ON h.n = r.n
			ORDER BY h.n
		LOOP
			-- what was set aside counts as a difference: its sender says whether it is still meant
			IF range.held_rows = range.sent_rows AND range.held_digest = range.sent_digest
				AND NOT EXISTS (SELECT FROM spine.receive_fault f WHERE f.relation = the_relation AND f.node = sender
								AND (range.after IS NULL OR f.record_id > range.after) AND (range.upto IS NULL OR f.record_id <= range.upto))
			THEN
				compared.totals := spine.add_totals(compared.totals, the_relation, jsonb_build_object('ranges', 1, 'differed', 0, 'unequal', 0,
					'rows_sent', 0, 'rows_removed', 0, 'sent_rows', range.sent_rows, 'sent_digest', range.sent_digest,
					'held_rows', range.held_rows, 'held_digest', range.held_digest));
				decided := range.upto;
				CONTINUE;
			END IF;
			IF listed > 0 AND listed + greatest(range.held_rows, range.sent_rows) > most THEN
				cut := true;
				EXIT;
			END IF;
			SELECT coalesce(jsonb_agg(jsonb_build_array(h.range_upto, h.range_digest, h.revision, h.owner) ORDER BY h.range_upto), '[]') INTO list
				FROM spine.held_ranges(sender, the_relation, range.after, range.upto, NULL, most) h;
			decided := range.upto;
			IF jsonb_array_length(list) >= most THEN
				-- too many for one batch: as far as they reach
				cut := true;
				decided := (list -> -1 ->> 0)::uuid;
			END IF;
			list := list || coalesce((
				SELECT jsonb_agg(jsonb_build_array(f.record_id, NULL, f.revision, f.owner)) FROM spine.receive_fault f
				WHERE f.relation = the_relation AND f.node = sender
					AND (range.after IS NULL OR f.record_id > range.after) AND (decided IS NULL OR f.record_id <= decided)
					AND NOT EXISTS (SELECT FROM jsonb_array_elements(list) l WHERE l ->> 0 = f.record_id::text)), '[]');
			differ := differ || jsonb_build_array(jsonb_build_array(range.after, decided, list));
			listed := listed + greatest(range.held_rows, range.sent_rows);
			EXIT WHEN cut;
		END LOOP;
		said := said || jsonb_build_object('differ', differ, 'upto', decided, 'cut', cut);
	ELSIF part ->> 'step' = 'mend' THEN
		FOR range IN
			SELECT (e ->> 0)::uuid AS after, (e ->> 1)::uuid AS upto, (e ->> 2)::bigint AS sent_rows, (e ->> 3)::bigint AS sent_digest, e -> 4 AS ids
			FROM jsonb_array_elements(part -> 'checks') e
		LOOP
			IF jsonb_typeof(range.ids) = 'array' THEN
				-- what was said stays: of the sender's own rows it names, all must be here
				SELECT count(*) AS range_rows, spine.digest_sum(sum(h.range_digest)) AS range_digest INTO the_table
					FROM spine.held_ranges(sender, the_relation, range.after, range.upto, NULL, NULL) h WHERE range.ids ? h.range_upto::text;
			ELSE
				SELECT * INTO the_table FROM spine.held_ranges(sender, the_relation, range.after, NULL, ARRAY[range.upto], NULL);
			END IF;
			compared.totals := spine.add_totals(compared.totals, the_relation, jsonb_build_object('ranges', 1, 'differed', 1,
				'unequal', (range.sent_rows <> the_table.range_rows OR range.sent_digest <> the_table.range_digest)::integer,
				'rows_sent', 0, 'rows_removed', 0, 'sent_rows', range.sent_rows, 'sent_digest', range.sent_digest,
				'held_rows', the_table.range_rows, 'held_digest', the_table.range_digest));
		END LOOP;
		compared.totals := spine.add_totals(compared.totals, the_relation, jsonb_build_object('rows_sent', part -> 'sent', 'rows_removed', part -> 'removed'));
	ELSIF part ->> 'step' = 'receipt' THEN
		statement := jsonb_build_object('kind', 'reconciliation', 'id', part -> 'id', 'from', sender,
			'to', (SELECT n.name FROM spine.node n WHERE n.is_self), 'begun', part -> 'begun', 'ended', clock_timestamp(), 'tables', compared.totals,
			'equal', NOT EXISTS (SELECT FROM jsonb_each(compared.totals) t WHERE (t.value ->> 'unequal')::bigint > 0))::text;
		said := said || spine.give_receipt(sender, statement);
	END IF;
	UPDATE spine.link_compared c SET reply = said,
			totals = CASE WHEN part ->> 'step' = 'tables' THEN c.totals ELSE compared.totals END
		WHERE c.node = sender;
	RETURN said;
END
$$;
ALTER FUNCTION spine.receive_comparison(text, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive_comparison(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.receive_comparison(text, jsonb) IS 'The receiver''s half of a step of a comparison, after the rows of the batch are applied. Returns the reply.';

-- ---------------------------------------------------------------- receipts

CREATE FUNCTION spine.give_receipt(sender text, statement text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	key spine.own_key;
	signature bytea;
BEGIN
	SELECT * INTO STRICT key FROM spine.own_key;
	signature := spine.sign(statement, key.private_key);
	INSERT INTO spine.receipt (receipt_id, node, direction, kind, statement, signature, public_key)
		VALUES ((statement::jsonb ->> 'id')::uuid, sender, 'received', statement::jsonb ->> 'kind', statement, signature, key.public_key)
		ON CONFLICT (receipt_id) DO NOTHING;
	RETURN jsonb_build_object('statement', statement, 'signature', encode(signature, 'hex'), 'key', encode(key.public_key, 'hex'));
END
$$;
ALTER FUNCTION spine.give_receipt(text, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.give_receipt(text, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.give_receipt(text, text) IS 'Signs a statement about what a neighbour sent, and keeps it.';

CREATE FUNCTION spine.own_public_key() RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$BEGIN RETURN (SELECT encode(k.public_key, 'hex') FROM spine.own_key k); END$$;
ALTER FUNCTION spine.own_public_key() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.own_public_key() FROM PUBLIC;
COMMENT ON FUNCTION spine.own_public_key() IS 'The key by which this node''s receipts are checked, in hexadecimal.';

-- The first key that a neighbour shows is its key; another is noted and not believed.
CREATE FUNCTION spine.take_key(of_node text, key bytea) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	pinned bytea := (SELECT k.public_key FROM spine.node_key k WHERE k.node = of_node AND k.state = 'pinned');
BEGIN
	IF pinned = key THEN
		RETURN true;
	ELSIF key IS NULL OR octet_length(key) <> 32 THEN
		RETURN false;
	ELSIF pinned IS NULL THEN
		INSERT INTO spine.node_key (node, public_key, state) VALUES (of_node, key, 'pinned')
			ON CONFLICT (node, public_key) DO UPDATE SET state = 'pinned', since = now();
		RETURN true;
	END IF;
	INSERT INTO spine.node_key (node, public_key, state) VALUES (of_node, key, 'offered')
		ON CONFLICT (node, public_key) DO UPDATE SET state = 'offered', since = now() WHERE node_key.state = 'past';
	IF FOUND THEN
		PERFORM spine.note_incident('changed_key', of_node, jsonb_build_object('key', encode(key, 'hex')));
	END IF;
	RETURN false;
END
$$;
ALTER FUNCTION spine.take_key(text, bytea) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.take_key(text, bytea) FROM PUBLIC;
COMMENT ON FUNCTION spine.take_key(text, bytea) IS 'Whether this is the neighbour''s key: the first is pinned, a changed one is an incident.';

CREATE FUNCTION spine.accept_node_key(node text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	offered bytea;
BEGIN
	PERFORM spine.require_operator();
	SELECT k.public_key INTO offered FROM spine.node_key k
		WHERE k.node = accept_node_key.node AND k.state = 'offered' ORDER BY k.since DESC LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'node "%" has not offered another key', node
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	UPDATE spine.node_key k SET state = 'past' WHERE k.node = accept_node_key.node AND k.state = 'pinned';
	UPDATE spine.node_key k SET state = 'pinned', since = now() WHERE k.node = accept_node_key.node AND k.public_key = offered;
END
$$;
ALTER FUNCTION spine.accept_node_key(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.accept_node_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.accept_node_key(text) TO spine_operator;
COMMENT ON FUNCTION spine.accept_node_key(text) IS
	'From now on the neighbour''s receipts are checked by the key that it offered last (incident changed_key). Ask its operator for the key by another road first.';

CREATE FUNCTION spine.verify_receipt(receipt_id uuid) RETURNS boolean
	LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	receipt spine.receipt;
	me text := (SELECT n.name FROM spine.node n WHERE n.is_self);
BEGIN
	SELECT * INTO receipt FROM spine.receipt r WHERE r.receipt_id = verify_receipt.receipt_id;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	RETURN spine.signature_holds(receipt.statement, receipt.signature, receipt.public_key)
		AND receipt.statement::jsonb ->> 'id' = receipt.receipt_id::text
		AND receipt.statement::jsonb ->> 'kind' = receipt.kind
		AND CASE receipt.direction
			WHEN 'sent' THEN receipt.statement::jsonb ->> 'to' = receipt.node AND receipt.statement::jsonb ->> 'from' = me
				AND EXISTS (SELECT FROM spine.node_key k WHERE k.node = receipt.node AND k.public_key = receipt.public_key
							AND k.state IN ('pinned', 'past'))
			ELSE receipt.statement::jsonb ->> 'from' = receipt.node AND receipt.statement::jsonb ->> 'to' = me
				AND EXISTS (SELECT FROM spine.own_key k WHERE k.public_key = receipt.public_key) END;
END
$$;
ALTER FUNCTION spine.verify_receipt(uuid) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.verify_receipt(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.verify_receipt(uuid) TO spine_governor, spine_operator;
COMMENT ON FUNCTION spine.verify_receipt(uuid) IS
	'Whether the receipt is as the node signed it whose receipt it is, by a key that was or is that node''s. Null where there is no such receipt.';

-- A neighbour's signed statement: kept when it is the neighbour's, about this, and by its key.
CREATE FUNCTION spine.take_receipt(from_node text, reply jsonb, kind text) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	said jsonb;
	key bytea;
	signature bytea;
BEGIN
	BEGIN
		said := (reply ->> 'statement')::jsonb;
		key := decode(reply ->> 'key', 'hex');
		signature := decode(reply ->> 'signature', 'hex');
	EXCEPTION WHEN data_exception THEN
		said := NULL;
	END;
	IF said ->> 'id' = reply ->> 'id' AND said ->> 'kind' = kind AND said ->> 'to' = from_node
		AND said ->> 'from' = (SELECT n.name FROM spine.node n WHERE n.is_self)
		AND spine.take_key(from_node, key) AND spine.signature_holds(reply ->> 'statement', signature, key)
	THEN
		INSERT INTO spine.receipt (receipt_id, node, direction, kind, statement, signature, public_key)
			VALUES ((said ->> 'id')::uuid, from_node, 'sent', kind, reply ->> 'statement', signature, key)
			ON CONFLICT (receipt_id) DO NOTHING;
		RETURN true;
	END IF;
	PERFORM spine.note_incident('false_receipt', from_node, jsonb_build_object('kind', kind));
	RETURN false;
END
$$;
ALTER FUNCTION spine.take_receipt(text, jsonb, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.take_receipt(text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.take_receipt(text, jsonb, text) IS 'Checks a neighbour''s receipt and keeps it; what does not verify is an incident.';

-- ---------------------------------------------------------------- withdrawals

-- Withdrawn records that the neighbour has not proven to be gone, when nothing else is to be sent: the neighbour
-- is asked to look for them everywhere. What it may have again meanwhile is named as held.
CREATE FUNCTION spine.attest_turn(to_node text, own text[], their text[], OUT next jsonb, OUT part jsonb)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	last_id bigint;
	one record;
	items jsonb := '{}';
	put_ids uuid[];
BEGIN
	SELECT max(o.delivery_id) INTO last_id
		FROM (SELECT d.delivery_id FROM spine.delivery d
			  WHERE d.destination = to_node AND d.action = 'withdraw' AND d.receipt_id IS NULL
			  ORDER BY d.delivery_id LIMIT 2000) o;
	IF last_id IS NULL OR EXISTS (SELECT FROM spine.link_comparison c WHERE c.node = to_node AND c.attest_after > clock_timestamp()) THEN
		RETURN;
	END IF;
	INSERT INTO spine.link_comparison AS c (node, attest_after) VALUES (to_node, clock_timestamp() + interval '1 second')
		ON CONFLICT (node) DO UPDATE SET attest_after = EXCLUDED.attest_after;
	FOR one IN SELECT u.relation, array_agg(u.record_id) AS ids FROM spine.unproven(to_node, last_id) u GROUP BY 1 ORDER BY 1
	LOOP
		SELECT coalesce(r.put_ids, '{}') INTO put_ids FROM spine.rows_for_neighbour(one.relation, one.ids, own, their) r;
		items := items || jsonb_build_object(one.relation, jsonb_build_object(
			'gone', ARRAY(SELECT spine.sent_id(to_node, one.relation, i) FROM unnest(one.ids) i WHERE i <> ALL (put_ids) ORDER BY 1),
			'held', ARRAY(SELECT spine.sent_id(to_node, one.relation, i) FROM unnest(one.ids) i WHERE i = ANY (put_ids) ORDER BY 1)));
	END LOOP;
	next := jsonb_build_object('id', gen_random_uuid(), 'upto', last_id);
	part := jsonb_build_object('id', next -> 'id', 'items', items);
END
$$;
ALTER FUNCTION spine.attest_turn(text, text[], text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.attest_turn(text, text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.attest_turn(text, text[], text[]) IS 'Asks a neighbour to prove that withdrawn records are gone. For spine.link_turn().';

CREATE FUNCTION spine.unproven(to_node text, upto bigint) RETURNS TABLE (relation text, record_id uuid)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT DISTINCT d.relation, d.record_id FROM spine.delivery d
		 WHERE d.destination = to_node AND d.action = 'withdraw' AND d.receipt_id IS NULL AND d.delivery_id <= upto$$;
ALTER FUNCTION spine.unproven(text, bigint) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.unproven(text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION spine.unproven(text, bigint) IS 'Records withdrawn from a neighbour, up to a row of the ledger, without a proof that they are gone.';

CREATE FUNCTION spine.ids_digest(ids text[]) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT encode(sha256(convert_to(coalesce(string_agg(i, E'\n' ORDER BY i COLLATE "C"), ''), 'UTF8')), 'hex') FROM unnest(ids) i$$;
ALTER FUNCTION spine.ids_digest(text[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.ids_digest(text[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.ids_digest(text[]) IS 'SHA-256 over record ids, each with its table (dataset.group id), in order, a line each.';

-- The places where something of a record may stand, beside the table that it is of. What this node itself sent or was
-- sent by its own systems is no copy of a neighbour's record.
CREATE FUNCTION spine.record_places() RETURNS TABLE (class regclass, has_owner boolean, materialized boolean)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT c.oid::regclass, EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.oid AND o.attname = 'owner' AND NOT o.attisdropped),
		   c.relkind = 'm'
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'record_id' AND NOT a.attisdropped AND a.atttypid = 'uuid'::regtype
	WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND pg_get_userbyid(c.relowner) IN ('spine_owner', 'spine_reader')
		AND c.oid NOT IN (SELECT t.class FROM spine.exchange_tables() t)
		AND c.oid NOT IN ('spine.delivery'::regclass, 'spine.inbox_line'::regclass)
	ORDER BY c.oid
	$$;
ALTER FUNCTION spine.record_places() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.record_places() FROM PUBLIC;
COMMENT ON FUNCTION spine.record_places() IS 'Tables and materialized views of this node that speak of records, beside those of data groups.';

-- Looks for withdrawn records everywhere, removes what is left of them, and signs what it found.
CREATE FUNCTION spine.receive_attest(sender text, part jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	their text[] := spine.organisations_of(sender);
	one record;
	place record;
	gone uuid[] := '{}';
	gone_names text[] := '{}';
	all_names text[] := '{}';
	held bigint := 0;
	patients uuid[] := '{}';
	found_here bigint;
	remaining bigint := 0;
	said jsonb;
BEGIN
	FOR one IN
		SELECT e.key AS relation, ARRAY(SELECT g::uuid FROM jsonb_array_elements_text(e.value -> 'gone') g) AS gone,
			   ARRAY(SELECT h::uuid FROM jsonb_array_elements_text(e.value -> 'held') h) AS held
		FROM jsonb_each(part -> 'items') e
	LOOP
		gone := gone || one.gone;
		gone_names := gone_names || ARRAY(SELECT one.relation || ' ' || g FROM unnest(one.gone) g);
		all_names := all_names || ARRAY(SELECT one.relation || ' ' || g FROM unnest(one.gone || one.held) g);
		held := held + cardinality(one.held);
		patients := patients || spine.receive_withdrawals(sender, one.relation, one.gone);
		FOR place IN SELECT t.class, t.id_column FROM spine.exchange_tables(one.relation) t WHERE NOT spine.exchange_is_said(one.relation)
		LOOP
			EXECUTE format('SELECT count(*) FROM %s t WHERE t.%I = ANY ($1) AND t.owner = ANY ($2)', place.class, place.id_column)
				INTO found_here USING one.gone, their;
			remaining := remaining + found_here;
		END LOOP;
	END LOOP;
	PERFORM spine.forget_patients(sender, patients) WHERE patients <> '{}';

	FOR place IN SELECT * FROM spine.record_places() WHERE gone <> '{}'
	LOOP
		IF place.materialized THEN
			EXECUTE format('SELECT count(*) FROM %s t WHERE t.record_id = ANY ($1)', place.class) INTO found_here USING gone;
			IF found_here > 0 THEN
				EXECUTE format('REFRESH MATERIALIZED VIEW %s', place.class);
			END IF;
		ELSIF place.has_owner THEN
			EXECUTE format('DELETE FROM %s t WHERE t.record_id = ANY ($1) AND t.owner = ANY ($2)', place.class) USING gone, their;
		END IF;
		EXECUTE format('SELECT count(*) FROM %s t WHERE t.record_id = ANY ($1)%s', place.class,
					   CASE WHEN place.has_owner THEN ' AND t.owner = ANY ($2)' ELSE '' END)
			INTO found_here USING gone, their;
		remaining := remaining + found_here;
	END LOOP;

	said := jsonb_build_object('id', part -> 'id', 'step', 'attest') || spine.give_receipt(sender, jsonb_build_object(
		'kind', 'withdrawal', 'id', part -> 'id', 'from', sender, 'to', (SELECT n.name FROM spine.node n WHERE n.is_self),
		'ended', clock_timestamp(), 'records', cardinality(gone), 'digest', spine.ids_digest(gone_names),
		'held', held, 'all', spine.ids_digest(all_names), 'left', remaining)::text);
	INSERT INTO spine.link_compared AS c (node, reply) VALUES (sender, said)
		ON CONFLICT (node) DO UPDATE SET reply = EXCLUDED.reply;
	RETURN said;
END
$$;
ALTER FUNCTION spine.receive_attest(text, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.receive_attest(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.receive_attest(text, jsonb) IS 'Removes what is left of withdrawn records, wherever it is, and gives a receipt.';

-- The neighbour's proof: the ledger's rows that it speaks of are closed. One that is about others, or says that something is
-- left, closes nothing: the neighbour is asked again.
CREATE FUNCTION spine.attested(to_node text, asked jsonb, reply jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	upto bigint := (asked ->> 'upto')::bigint;
	said jsonb;
BEGIN
	IF reply ->> 'id' IS DISTINCT FROM asked ->> 'id' THEN
		RETURN;
	END IF;
	IF NOT spine.take_receipt(to_node, reply, 'withdrawal') THEN
		UPDATE spine.link_comparison c SET attest_after = clock_timestamp() + interval '10 minutes' WHERE c.node = to_node;
		RETURN;
	END IF;
	said := (reply ->> 'statement')::jsonb;
	IF said -> 'left' = '0'::jsonb AND said ->> 'all' = spine.ids_digest(ARRAY(SELECT u.relation || ' ' || spine.sent_id(to_node, u.relation, u.record_id) FROM spine.unproven(to_node, upto) u)) THEN
		UPDATE spine.delivery d SET receipt_id = (asked ->> 'id')::uuid
			WHERE d.destination = to_node AND d.action = 'withdraw' AND d.receipt_id IS NULL AND d.delivery_id <= upto;
	ELSIF said -> 'left' <> '0'::jsonb THEN
		UPDATE spine.link_comparison c SET attest_after = clock_timestamp() + interval '10 minutes' WHERE c.node = to_node;
	END IF;
END
$$;
ALTER FUNCTION spine.attested(text, jsonb, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.attested(text, jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.attested(text, jsonb, jsonb) IS 'Takes a neighbour''s proof that withdrawn records are gone.';

-- When the last record of a person is gone, so are her episodes and links, as far as that sender's owners said
-- them. A link stays while one of its ends has records.
CREATE FUNCTION spine.forget_patients(sender text, patients uuid[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	their text[] := spine.organisations_of(sender);
	one_table record;
	ends uuid[];
	known uuid[] := '{}';
	more uuid[];
BEGIN
	SELECT array_agg(DISTINCT p) INTO ends FROM (
		SELECT unnest(patients) AS p
		UNION SELECT l.to_patient FROM spine.identity_link l WHERE l.from_patient = ANY (patients) AND l.owner = ANY (their)
		UNION SELECT l.from_patient FROM spine.identity_link l WHERE l.to_patient = ANY (patients) AND l.owner = ANY (their)
		UNION SELECT l.mother FROM spine.family_link l WHERE l.child = ANY (patients) AND l.owner = ANY (their)
		UNION SELECT l.child FROM spine.family_link l WHERE l.mother = ANY (patients) AND l.owner = ANY (their)) e;
	FOR one_table IN SELECT t.class FROM spine.exchange_tables() t WHERE t.is_group
	LOOP
		EXECUTE format('SELECT array_agg(DISTINCT t.patient_id) FROM %s t WHERE t.patient_id = ANY ($1) AND t.owner = ANY ($2)', one_table.class)
			INTO more USING ends, their;
		known := known || coalesce(more, '{}');
		ends := ARRAY(SELECT e FROM unnest(ends) e WHERE e <> ALL (known));
		EXIT WHEN ends = '{}';
	END LOOP;
	ends := ARRAY(SELECT e FROM unnest(ends) e
				  WHERE NOT EXISTS (SELECT FROM spine.waiting_row w WHERE w.node = sender AND w.content ->> 'patient_id' = e::text));
	-- of those asked for alone: of others a record may be on its way
	patients := ARRAY(SELECT p FROM unnest(patients) p WHERE p = ANY (ends));
	IF patients = '{}' THEN
		RETURN;
	END IF;
	WITH gone AS (
		DELETE FROM spine.episode e WHERE e.patient_id = ANY (patients) AND e.owner = ANY (their) RETURNING e.episode_id
	)
	DELETE FROM spine.episode_link l USING gone g WHERE l.from_episode = g.episode_id OR l.to_episode = g.episode_id;
	DELETE FROM spine.identity_link l WHERE l.owner = ANY (their)
		AND (l.from_patient = ANY (patients) OR l.to_patient = ANY (patients)) AND l.from_patient = ANY (ends) AND l.to_patient = ANY (ends);
	DELETE FROM spine.family_link l WHERE l.owner = ANY (their)
		AND (l.child = ANY (patients) OR l.mother = ANY (patients)) AND l.child = ANY (ends) AND l.mother = ANY (ends);
END
$$;
ALTER FUNCTION spine.forget_patients(text, uuid[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.forget_patients(text, uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.forget_patients(text, uuid[]) IS 'Removes a sender''s episodes and links of persons of whom it has no record here any more.';

-- ---------------------------------------------------------------- when

CREATE FUNCTION spine.reconcile(node text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM spine.require_operator();
	IF NOT EXISTS (SELECT FROM spine.link l JOIN spine.node n ON n.name = l.node WHERE l.node = reconcile.node AND n.state = 'active') THEN
		RAISE EXCEPTION 'no neighbour "%"', node
			USING ERRCODE = 'undefined_object';
	END IF;
	INSERT INTO spine.link_comparison AS c (node, asked_at) VALUES (reconcile.node, clock_timestamp())
		ON CONFLICT ON CONSTRAINT link_comparison_pkey DO UPDATE SET asked_at = EXCLUDED.asked_at;
	PERFORM spine.ring_doorbell();
END
$$;
ALTER FUNCTION spine.reconcile(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.reconcile(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.reconcile(text) TO spine_operator;
COMMENT ON FUNCTION spine.reconcile(text) IS
	'Asks for a comparison of what the neighbour holds with what it should hold: the courier does it and sends the difference. The result is a row of spine.receipts.';

CREATE FUNCTION spine.reconcile_nightly() RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	setting text := current_setting('spine.reconcile_at');
	due timestamptz;
	asked integer;
BEGIN
	IF setting = '' THEN
		RETURN 0;
	ELSIF setting ~ '^[0-9]{1,2}:[0-9]{2}$' THEN
		due := ((now() AT TIME ZONE 'Europe/London')::date + setting::time) AT TIME ZONE 'Europe/London';
		IF due > now() THEN
			due := (((now() AT TIME ZONE 'Europe/London')::date - 1) + setting::time) AT TIME ZONE 'Europe/London';
		END IF;
	ELSE
		due := now() - setting::interval;
	END IF;
	INSERT INTO spine.link_comparison AS c (node, asked_at)
		SELECT l.node, now() FROM spine.link l JOIN spine.node n ON n.name = l.node
			LEFT JOIN spine.link_comparison k ON k.node = l.node
		WHERE n.state = 'active' AND l.epoch IS NOT NULL AND k.asked_at IS NULL AND (k.begun_at IS NULL OR k.begun_at < due)
		ON CONFLICT (node) DO UPDATE SET asked_at = EXCLUDED.asked_at;
	GET DIAGNOSTICS asked = ROW_COUNT;
	RETURN asked;
END
$$;
ALTER FUNCTION spine.reconcile_nightly() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.reconcile_nightly() FROM PUBLIC;
COMMENT ON FUNCTION spine.reconcile_nightly() IS 'Asks for the comparisons that spine.reconcile_at makes due. The courier calls it every minute.';
