-- Comparisons with neighbours, and what was proven: keys and receipts.

-- What this node signs with. A dump of the database holds it: a restored node is the same node.
CREATE TABLE spine.own_key (
	public_key bytea NOT NULL,
	private_key bytea NOT NULL,
	made_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);
INSERT INTO spine.own_key (public_key, private_key) SELECT k.public_key, k.private_key FROM spine.make_key_pair() k;
COMMENT ON TABLE spine.own_key IS 'The key pair with which this node signs receipts (Ed25519): one row, nobody''s to read.';

CREATE TABLE spine.node_key (
	node text NOT NULL REFERENCES spine.node,
	public_key bytea NOT NULL,
	state text NOT NULL CHECK (state IN ('pinned', 'offered', 'past')),
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (node, public_key)
);
CREATE UNIQUE INDEX node_key_pinned ON spine.node_key (node) WHERE state = 'pinned';
COMMENT ON TABLE spine.node_key IS 'Public keys of neighbours: the one taken at the first contact is pinned, another that is offered later waits for spine.accept_node_key(), those that were pinned before are past.';

CREATE TABLE spine.receipt (
	receipt_id uuid PRIMARY KEY,
	node text NOT NULL REFERENCES spine.node,
	direction text NOT NULL CHECK (direction IN ('sent', 'received')),
	kind text NOT NULL CHECK (kind IN ('reconciliation', 'withdrawal')),
	statement text NOT NULL,
	signature bytea NOT NULL,
	public_key bytea NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX receipt_at ON spine.receipt (node, kind, at);
COMMENT ON TABLE spine.receipt IS 'Receipts, each signed by the node that received: of comparisons, and of withdrawn records that are gone. direction sent: a neighbour''s, about what this node sent; received: this node''s own. Counts and digests alone. Append-only.';

CREATE TABLE spine.link_comparison (
	node text PRIMARY KEY REFERENCES spine.node,
	asked_at timestamptz,
	begun_at timestamptz,
	comparison uuid,
	tables jsonb,
	attest_after timestamptz
);
COMMENT ON TABLE spine.link_comparison IS 'The sender''s side of comparisons: when one was asked for, and which tables and columns the neighbour of the running one knows.';

CREATE TABLE spine.link_compared (
	node text PRIMARY KEY REFERENCES spine.node,
	comparison uuid,
	reply jsonb,
	totals jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE spine.link_compared IS 'The receiver''s side of comparisons: the last answer, which is given again when it was lost, and what was counted so far. Written in the transaction that applies the batch.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON spine.receipt
	FOR EACH ROW EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spine.receipt
	FOR EACH STATEMENT EXECUTE FUNCTION spine.append_only();

-- what is to be proven, and only that
CREATE INDEX delivery_unproven ON spine.delivery (destination, delivery_id) WHERE action = 'withdraw' AND receipt_id IS NULL;

CREATE VIEW spine.receipts AS
	SELECT r.receipt_id, r.node, r.direction, r.kind,
		   (s.statement ->> 'begun')::timestamptz AS begun, (s.statement ->> 'ended')::timestamptz AS ended,
		   (s.statement ->> 'equal')::boolean AS equal,
		   s.sent_rows, s.sent_digest, s.held_rows, s.held_digest, s.ranges, s.differed, s.rows_sent, s.rows_removed,
		   (s.statement ->> 'records')::bigint AS records, s.statement ->> 'digest' AS records_digest,
		   (s.statement ->> 'held')::bigint AS held_again, (s.statement ->> 'left')::bigint AS records_left,
		   s.statement -> 'tables' AS tables
	FROM spine.receipt r, LATERAL spine.receipt_figures(r.statement) s;
COMMENT ON VIEW spine.receipts IS 'A row for each finished comparison with a neighbour and each proof that withdrawn records are gone there. direction sent: what this node sent; received: what it received. Of a comparison: rows and digest that the sender should have there (sent_), that the receiver holds (held_), ranges compared and found different, rows sent and removed; tables has the same for each. Of a withdrawal: records that are gone and the digest of their ids, those the neighbour may have again, those left. spine.verify_receipt() checks a signature.';

CREATE VIEW spine.withdrawals AS
	SELECT d.destination, d.owner, d.clause, d.relation, (d.at AT TIME ZONE 'Europe/London')::date AS day, pg_catalog.min(d.at) AS since,
		   pg_catalog.count(DISTINCT d.record_id) AS records,
		   pg_catalog.count(DISTINCT d.record_id) FILTER (WHERE d.receipt_id IS NOT NULL) AS proven,
		   pg_catalog.bool_or(d.receipt_id IS NULL) AS open,
		   pg_catalog.array_agg(DISTINCT d.receipt_id) FILTER (WHERE d.receipt_id IS NOT NULL) AS receipts
	FROM spine.delivery d
	WHERE d.action = 'withdraw'
	GROUP BY 1, 2, 3, 4, 5;
COMMENT ON VIEW spine.withdrawals IS 'What was withdrawn from neighbours, for each day (London), owner, clause and table: records, how many of them the neighbour has proven to be gone, by which receipts. open: a proof is outstanding. For governors and operators of the owner.';
