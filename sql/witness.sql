-- The heads of the access log's chain, and what neighbours witness of them: who rewrites the log or cuts its end has to
-- rewrite what every neighbour holds.

CREATE FUNCTION spine.say_head() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	own text[] := spine.hosted_organisations();
	said record;
	head record;
BEGIN
	SELECT h.access_id, h.hash, h.at INTO said FROM spine.audit_head h
		WHERE h.owner = own[1] ORDER BY h.at DESC LIMIT 1;
	IF said.at > clock_timestamp() - current_setting('spine.witness_interval')::interval THEN
		RETURN false;
	END IF;
	SELECT l.access_id, l.hash INTO head FROM spine.access_log l ORDER BY l.access_id DESC LIMIT 1;
	IF head.access_id IS NULL OR (head.access_id = said.access_id AND head.hash = said.hash) THEN
		RETURN false;
	END IF;
	INSERT INTO spine.audit_head (head_id, owner, access_id, hash, at, audience)
		SELECT spine.uuid_v7(), own[1], head.access_id, head.hash, clock_timestamp(),
			   coalesce(array_agg(o.organisation || ':care' ORDER BY o.organisation COLLATE "C"), '{}')
		FROM spine.node_organisation o JOIN spine.node n ON n.name = o.node
		WHERE NOT n.is_self AND n.state <> 'ended';
	PERFORM spine.ring_doorbell();
	RETURN true;
END
$$;
ALTER FUNCTION spine.say_head() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.say_head() FROM PUBLIC;
COMMENT ON FUNCTION spine.say_head() IS
	'Says to the neighbours where the access log ends now, where that has moved and spine.witness_interval has passed. The courier calls it.';

-- The newest, and some of all that were ever said: within a time each is asked for.
CREATE FUNCTION spine.heads_witnessed(of_node text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	their text[] := spine.organisations_of(of_node);
	lowest bigint := (SELECT min(m.n) FROM unnest(their) t, LATERAL (SELECT min(h.access_id) AS n FROM spine.audit_head h WHERE h.owner = t) m);
	highest bigint := (SELECT max(m.n) FROM unnest(their) t, LATERAL (SELECT max(h.access_id) AS n FROM spine.audit_head h WHERE h.owner = t) m);
BEGIN
	RETURN (
		SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object('id', x.access_id, 'hash', encode(x.hash, 'hex'))), '[]')
		FROM (SELECT h.* FROM unnest(their) t,
					LATERAL (SELECT g.access_id, g.hash FROM spine.audit_head g WHERE g.owner = t ORDER BY g.access_id DESC LIMIT 24) h
			  UNION ALL
			  SELECT h.* FROM unnest(their) t, generate_series(1, 24) i,
					LATERAL (SELECT g.access_id, g.hash FROM spine.audit_head g
							 WHERE g.owner = t AND g.access_id >= lowest + floor(random() * (highest - lowest + 1) + i * 0)::bigint
							 ORDER BY g.access_id LIMIT 1) h) x);
END
$$;
ALTER FUNCTION spine.heads_witnessed(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.heads_witnessed(text) FROM PUBLIC;
COMMENT ON FUNCTION spine.heads_witnessed(text) IS 'What a neighbour said of its own access log: the last 24 heads and 24 others.';

CREATE FUNCTION spine.take_witness(from_node text, heads jsonb) RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	differs integer;
BEGIN
	IF jsonb_typeof(heads) IS DISTINCT FROM 'array' THEN
		RETURN 0;
	END IF;
	WITH said AS (
		SELECT (e ->> 'id')::bigint AS access_id, decode(e ->> 'hash', 'hex') AS hash
		FROM jsonb_array_elements(heads) WITH ORDINALITY AS a (e, n)
		WHERE a.n <= 100 AND e ->> 'id' ~ '^[1-9][0-9]{0,17}$' AND e ->> 'hash' ~ '^[0-9a-f]{64}$'
	), kept AS (
		INSERT INTO spine.witness (node, access_id, hash)
			SELECT DISTINCT from_node, s.access_id, s.hash FROM said s
			ON CONFLICT DO NOTHING RETURNING access_id, hash
	)
	SELECT count(*) INTO differs FROM kept k
		WHERE NOT EXISTS (SELECT FROM spine.access_log l WHERE l.access_id = k.access_id AND l.hash = k.hash);
	IF differs > 0 THEN
		PERFORM spine.note_incident('audit_witness', from_node, jsonb_build_object('heads', differs));
	END IF;
	RETURN differs;
END
$$;
ALTER FUNCTION spine.take_witness(text, jsonb) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.take_witness(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION spine.take_witness(text, jsonb) IS
	'Keeps what a neighbour witnesses of this node''s access log. Returns how many of it are new and differ from the log, which is an incident.';

CREATE FUNCTION spine.witness_faults() RETURNS TABLE (node text, access_id bigint, fault text, witnessed_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT w.node, w.access_id,
		   CASE WHEN l.access_id IS NULL THEN 'there is no such entry: the log was cut, or restored from a time before'
				ELSE 'the entry has another hash: the log was written anew up to here' END,
		   w.at
	FROM (SELECT v.node, v.access_id, v.hash, v.at FROM spine.witness v WHERE v.settled_at IS NULL
		  UNION ALL
		  SELECT (SELECT n.name FROM spine.node n WHERE n.is_self), h.access_id, h.hash, h.at FROM spine.audit_head h
			WHERE h.owner = ANY (spine.hosted_organisations())) w
		LEFT JOIN spine.access_log l ON l.access_id = w.access_id
	WHERE l.hash IS DISTINCT FROM w.hash
	ORDER BY w.access_id, w.node;
END
$$;
ALTER FUNCTION spine.witness_faults() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.witness_faults() FROM PUBLIC;
COMMENT ON FUNCTION spine.witness_faults() IS 'The rows of spine.verify_witnesses(), for whoever may call it.';

CREATE FUNCTION spine.verify_witnesses() RETURNS TABLE (node text, access_id bigint, fault text, witnessed_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF NOT spine.caller_is_superuser() AND spine.caller_organisations('governor') || spine.caller_organisations('operator') = '{}' THEN
		RAISE EXCEPTION 'permission denied: this is for governors and operators' USING ERRCODE = 'insufficient_privilege';
	END IF;
	RETURN QUERY SELECT * FROM spine.witness_faults();
END
$$;
ALTER FUNCTION spine.verify_witnesses() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.verify_witnesses() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.verify_witnesses() TO spine_governor, spine_operator;
COMMENT ON FUNCTION spine.verify_witnesses() IS
	'Compares the access log with its heads as neighbours hold them, and as this node has said them (node: itself). No row: it is what it was. Else the entries that are gone or another now: together with spine.verify_access_log(), which finds what was changed within, a log that was cut, rewritten or restored from a backup shows. For governors and operators.';

CREATE FUNCTION spine.settle_witnesses(reason text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	the_reason text := spine.require_text(reason, 'a reason');
	settled bigint;
BEGIN
	PERFORM spine.require_operator();
	UPDATE spine.witness w
		SET settled_at = clock_timestamp(), settled_by = spine.caller_role(), reason = the_reason
		FROM spine.witness_faults() f
		WHERE w.node = f.node AND w.access_id = f.access_id AND w.settled_at IS NULL
			AND NOT EXISTS (SELECT FROM spine.access_log l WHERE l.access_id = w.access_id AND l.hash = w.hash);
	GET DIAGNOSTICS settled = ROW_COUNT;
	IF settled > 0 THEN
		PERFORM spine.note_incident('witness_settled', NULL, jsonb_build_object('heads', settled));
	END IF;
	RETURN settled;
END
$$;
ALTER FUNCTION spine.settle_witnesses(text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.settle_witnesses(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.settle_witnesses(text) TO spine_operator;
COMMENT ON FUNCTION spine.settle_witnesses(text) IS
	'What neighbours witness and the access log no longer holds was looked into: after a restore from a backup, for one. It stays on record, with the reason, and is an incident. Returns how many heads. For operators.';

-- ---------------------------------------------------------------- verifying as one goes

CREATE FUNCTION spine.verify_piece(after_id bigint, after_hash bytea, most bigint,
								   OUT access_id bigint, OUT hash bytea, OUT fault text) RETURNS record
	LANGUAGE c STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_verify_piece';
ALTER FUNCTION spine.verify_piece(bigint, bytea, bigint) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.verify_piece(bigint, bytea, bigint) FROM PUBLIC;
COMMENT ON FUNCTION spine.verify_piece(bigint, bytea, bigint) IS
	'Goes along the chain of the access log from behind an entry with this hash over at least so many entries, or to its end: the last that is sound, or the first fault.';

CREATE FUNCTION spine.verify_turn(most bigint DEFAULT 10000) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	place spine.chain_verified;
	piece record;
	ended boolean;
BEGIN
	SELECT * INTO place FROM spine.chain_verified FOR UPDATE;
	-- a fault is looked at again now and then: the whole log
	IF place.fault IS NOT NULL AND place.fault_at > clock_timestamp() - interval '1 hour' THEN
		RETURN false;
	END IF;
	IF place.access_id > 0
		AND NOT EXISTS (SELECT FROM spine.access_log l WHERE l.access_id = place.access_id AND l.hash = place.hash) THEN
		UPDATE spine.chain_verified
			SET fault_id = place.access_id, fault = 'the entry that was verified last is gone, or another now',
				fault_at = clock_timestamp(), access_id = 0, hash = '';
		RETURN false;
	END IF;
	SELECT * INTO piece FROM spine.verify_piece(place.access_id, place.hash, most);
	IF piece.fault IS NOT NULL THEN
		UPDATE spine.chain_verified
			SET fault_id = piece.access_id, fault = piece.fault, fault_at = clock_timestamp(), access_id = 0, hash = '';
		RETURN false;
	END IF;
	ended := piece.access_id >= coalesce((SELECT max(l.access_id) FROM spine.access_log l), 0);
	IF ended AND place.whole_since < clock_timestamp() - interval '7 days' THEN
		-- from the beginning, once a week
		UPDATE spine.chain_verified
			SET access_id = 0, hash = '', verified_at = clock_timestamp(), whole_since = clock_timestamp(),
				fault_id = NULL, fault = NULL, fault_at = NULL;
	ELSIF ended THEN
		-- at rest it writes once a minute
		UPDATE spine.chain_verified v
			SET access_id = piece.access_id, hash = piece.hash, verified_at = clock_timestamp(),
				fault_id = NULL, fault = NULL, fault_at = NULL
			WHERE v.access_id <> piece.access_id OR v.fault IS NOT NULL
				OR coalesce(v.verified_at, '-infinity') < clock_timestamp() - interval '1 minute';
	ELSE
		UPDATE spine.chain_verified SET access_id = piece.access_id, hash = piece.hash;
	END IF;
	RETURN NOT ended;
EXCEPTION WHEN SQLSTATE 'SP008' THEN
	-- without the key nothing can be verified: spine.health() says so
	RETURN false;
END
$$;
ALTER FUNCTION spine.verify_turn(bigint) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.verify_turn(bigint) FROM PUBLIC;
COMMENT ON FUNCTION spine.verify_turn(bigint) IS
	'Verifies a piece of the access log''s chain and keeps how far it came; from the beginning again once a week. True when there is more. The courier calls it.';
