-- The ledger's rows between a position and a snapshot: which, in what order, and how many are read for it;
-- and of what batches are made when a transaction is larger than one.
\ir setup.psql
SELECT plan(24);

\o /dev/null
SELECT spine.connect_node('RQM', NULL, '{RQM}');
SELECT spine.connect_node('RA1', NULL, '{RA1}');
\o
CREATE FUNCTION written(of_xid text, n integer, what text DEFAULT 'maternity.booking', to_node text DEFAULT 'RQM') RETURNS void LANGUAGE sql AS $$
	INSERT INTO spine.delivery (destination, xid, relation, record_id, owner, revision, action)
		SELECT to_node, of_xid::xid8, what, gen_random_uuid(), 'RYJ', 1, 'put' FROM generate_series(1, n)
$$;
-- what is pending, as xid x rows
CREATE FUNCTION pending(at_position jsonb, upto pg_snapshot, most integer) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(xid || 'x' || n, ' ' ORDER BY xid)
	FROM (SELECT p.xid, count(*) AS n FROM spine.pending_deliveries('RQM', at_position, upto, most) p GROUP BY 1) x
$$;

BEGIN;
\o /dev/null
-- 100 runs for long; 101 to 5100 are done; 7000 still runs at the end
SELECT written((100 + i)::text, 1) FROM generate_series(1, 5000) i;
SELECT written('100', 3), written('6001', 2), written('6002', 1), written('7000', 4), written('6500', 1, to_node => 'RA1');
\o
SELECT is(pending('{"from": "100:6000:100"}', '6900:6900:', 1000), '100x3 6001x2 6002x1',
		  'what ran then and is done now, and what came after it');
SELECT is(pending('{"from": "100:6000:100"}', '100:6900:100', 1000), '6001x2 6002x1', 'not what still runs');
SELECT is(pending('{"from": "100:6000:100"}', '6900:7010:7000', 1000), '100x3 6001x2 6002x1', 'nor another of that kind');
SELECT is(pending('{"from": "100:6000:100"}', '7010:7010:', 4), '100x3 6001x1', 'at most so many, the oldest transaction first');
SELECT is(pending(format('{"from": "100:6000:100", "xid": "100", "id": %s}', (SELECT min(delivery_id) FROM spine.delivery WHERE xid = '100'))::jsonb, '7010:7010:', 1000),
		  '100x2 6001x2 6002x1 7000x4', 'from the middle of a transaction');
SELECT is(pending(format('{"from": "100:6000:100", "xid": "6001", "id": %s}', (SELECT min(delivery_id) FROM spine.delivery WHERE xid = '6001'))::jsonb, '7010:7010:', 1000),
		  '6001x1 6002x1 7000x4', 'of a later one');
SELECT is(pending('{"from": "100:6000:100", "xid": "6001", "id": 9223372036854775807}', '7010:7010:', 1000), '6002x1 7000x4', 'or from behind it');
SELECT is(pending('{"from": "100:6000:100", "xid": "100", "id": 9223372036854775807}', '7010:7010:', 1000), '6001x2 6002x1 7000x4', 'likewise of one that ran');

-- a transaction that runs for long does not let what followed it be read again with each turn
CREATE TABLE before AS SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS n FROM pg_stat_xact_all_tables WHERE schemaname = 'spine' AND relname LIKE 'delivery%';
SELECT is(pending('{"from": "100:6000:100"}', '100:6900:100', 1000), '6001x2 6002x1', 'what came after it');
SELECT cmp_ok((SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_all_tables WHERE schemaname = 'spine' AND relname LIKE 'delivery%')
			  - (SELECT n FROM before), '<=', 10::numeric, 'costs a look at those rows');
DELETE FROM spine.delivery;

-- Lanes
CREATE FUNCTION turn(at_position jsonb, most integer, n bigint DEFAULT 1, OUT counted bigint, OUT xids text, OUT governs bigint, OUT place jsonb) LANGUAGE plpgsql AS $$
DECLARE
	part record;
BEGIN
	SELECT * INTO part FROM spine.next_deliveries('RQM', at_position, '9000:9000:', most, n);
	counted := part.counted;
	place := part.place;
	SELECT count(*) INTO governs FROM unnest(part.relations) r WHERE r LIKE 'spine.%';
	SELECT string_agg(x.xid || 'x' || x.n, ' ' ORDER BY x.xid) INTO xids
		FROM (SELECT d.xid, count(*) AS n FROM unnest(part.ids) i JOIN spine.delivery d ON d.record_id = i GROUP BY 1) x;
END
$$;
\o /dev/null
SELECT written('100', 5), written('200', 300), written('201', 2), written('202', 1), written('200', 12, 'spine.relationship');
\o
CREATE TEMPORARY TABLE turns AS
	WITH RECURSIVE t AS (
		SELECT 0 AS n, NULL::bigint AS counted, NULL::text AS xids, NULL::bigint AS governs, '{"from": "50:50:"}'::jsonb AS place
		UNION ALL
		SELECT t.n + 1, r.* FROM t, LATERAL turn(t.place, 20, t.n) r WHERE r.counted > 0 AND t.n < 1000)
	SELECT * FROM t WHERE n > 0;
SELECT is((SELECT xids FROM turns WHERE n = 1), '100x5 200x15', 'a batch as the ledger has it');
SELECT is((SELECT xids || ' ' || governs FROM turns WHERE n = 2), '200x17 201x2 202x1 10', 'then what governs in the large transaction, what is behind it, and of it what has room');
SELECT is((SELECT governs FROM turns WHERE n = 3), 2::bigint, 'the rest of what governs');
-- what governs is read with the rest, but not sent again
SELECT is((SELECT count(*) FROM turns), 17::bigint, 'and so on to its end');
SELECT is((SELECT place FROM turns ORDER BY n DESC LIMIT 1), '{"from": "9000:9000:"}', 'after which the position is plain');
SELECT is((SELECT max(pg_column_size(place)) < 300 FROM turns), true, 'and it is small all the while');
DELETE FROM spine.delivery;

-- every row once, whatever the size of batches and the mix of transactions
\o /dev/null
SELECT written((300 + i % 7)::text, 1 + (i * 7919) % 40, CASE WHEN i % 5 = 0 THEN 'spine.dissent' ELSE 'maternity.booking' END) FROM generate_series(1, 60) i;
\o
CREATE FUNCTION through(most integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	place jsonb := '{"from": "301:304:301,302"}';
	part record;
	sent uuid[] := '{}';
	n bigint := 0;
BEGIN
	LOOP
		-- more transactions become visible on the way
		SELECT * INTO part FROM spine.next_deliveries('RQM', place, CASE WHEN n < 5 THEN '302:305:302' ELSE '9000:9000:' END::pg_snapshot, most, n);
		EXIT WHEN part.counted = 0 AND n >= 5;
		IF cardinality(part.ids) > greatest(most, 2) THEN
			RETURN format('a batch of %s', cardinality(part.ids));
		END IF;
		n := n + 1;
		IF n > 10000 THEN
			RETURN 'no end';
		END IF;
		CONTINUE WHEN part.counted = 0;
		sent := sent || part.ids;
		place := part.place;
	END LOOP;
	IF place ? 'later' THEN
		RETURN 'something is left for later';
	END IF;
	RETURN format('%s sent, %s of them once, %s due', cardinality(sent), (SELECT count(DISTINCT i) FROM unnest(sent) i),
		(SELECT count(*) FROM spine.delivery d WHERE d.xid IN ('301', '302') OR d.xid >= '304'));
END
$$;
CREATE FUNCTION all_once() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s sent, %1$s of them once, %1$s due', count(*)) FROM spine.delivery d WHERE d.xid IN ('301', '302') OR d.xid >= '304'
$$;
SELECT is(through(most), all_once(), format('batches of %s: every row once', most)) FROM unnest('{1,3,8,9,20,50,1000}'::integer[]) most;

-- the position stays small when all transactions are large
\o /dev/null
SELECT written((1000 + i)::text, 30) FROM generate_series(1, 150) i;
\o
SELECT is((SELECT jsonb_array_length(place -> 'later') FROM turn('{"from": "1000:1000:"}', 10)), 100, 'at most so many are passed over');
SELECT * FROM finish();
ROLLBACK;
