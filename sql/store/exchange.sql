-- The delivery ledger, the state of the links, and what was received but could not be applied.

-- By destination, so that one neighbour's backlog costs the others nothing; then by month, so
-- that what is past its retention goes by dropping a table. connect_node makes a destination's
-- partitions, the courier those of coming months; a row that finds none goes to a default.
CREATE TABLE spine.delivery (
	delivery_id bigint GENERATED ALWAYS AS IDENTITY,
	destination text NOT NULL,
	xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
	relation text NOT NULL,
	record_id uuid NOT NULL,
	owner text NOT NULL,
	revision bigint NOT NULL,
	action text NOT NULL CHECK (action IN ('put', 'withdraw')),
	clause text,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	receipt_id uuid
) PARTITION BY LIST (destination);
CREATE INDEX delivery_position ON spine.delivery (destination, xid, delivery_id);
-- what governs leaves before the rest of a large transaction
CREATE INDEX delivery_governs ON spine.delivery (destination, xid, delivery_id) WHERE pg_catalog.left(relation, 6) = 'spine.';
CREATE TABLE spine.delivery_default PARTITION OF spine.delivery DEFAULT;
COMMENT ON TABLE spine.delivery IS 'What has to leave, or left, this node: one row for each record and destination whenever its content or its audience changes there. Append-only, but for the receipt by which the destination proves a withdrawal; pointers, no content.';

CREATE TABLE spine.link (
	node text PRIMARY KEY REFERENCES spine.node,
	state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'connected', 'waiting')),
	epoch uuid,
	cluster text,
	sent_seq bigint NOT NULL DEFAULT 0,
	sent_at timestamptz,
	acknowledged_seq bigint NOT NULL DEFAULT 0,
	acknowledged_at timestamptz,
	position jsonb,
	pruned_before xid8,
	paused boolean NOT NULL DEFAULT false,
	since xid8,
	last_error text,
	last_error_at timestamptz,
	retry_at timestamptz,
	contact_at timestamptz,
	their_clock timestamptz,
	clock_difference interval
);
COMMENT ON TABLE spine.link IS 'The courier''s side of each link. Only epoch and sent_seq decide anything (which positions of the neighbour are ours), paused (nothing is sent) and since (the transaction since which its rows are written to the ledger); the rest is for people.';

CREATE TABLE spine.link_received (
	node text PRIMARY KEY REFERENCES spine.node,
	epoch uuid,
	seq bigint NOT NULL DEFAULT 0,
	position jsonb,
	past_epochs uuid[] NOT NULL DEFAULT '{}',
	received_at timestamptz
);
COMMENT ON TABLE spine.link_received IS 'How far each neighbour''s batches are applied here, and the position that it gave with the last of them: written in the transaction that applied it.';

-- A hub is a neighbour for reporting. Nobody but spine_owner reads its key and what its pseudonyms mean.
CREATE TABLE spine.hub_key (
	node text PRIMARY KEY REFERENCES spine.node,
	key_id text NOT NULL,
	key bytea NOT NULL CHECK (octet_length(key) BETWEEN 32 AND 1024),
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	listed_relation text,
	listed_to uuid
);
COMMENT ON TABLE spine.hub_key IS 'The key under which a hub''s pseudonyms are made: whoever has it and the ids can tell who they are. listed_to: how far spine.hub_record is filled for the comparison under way; no position, which the hub sees, may hold it.';

CREATE TABLE spine.hub_record (
	node text NOT NULL REFERENCES spine.node,
	relation text NOT NULL,
	sent_id uuid NOT NULL,
	record_id uuid NOT NULL,
	PRIMARY KEY (node, relation, sent_id)
);
COMMENT ON TABLE spine.hub_record IS 'Under which id a record is sent to a hub: in this order everything is sent. May hold records that have gone since.';

CREATE TABLE spine.incident (
	incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind text NOT NULL,
	role_name name NOT NULL,
	node text,
	detail jsonb NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	times bigint NOT NULL DEFAULT 1,
	last_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX incident_kind ON spine.incident (kind, role_name, last_at);
COMMENT ON TABLE spine.incident IS 'What a neighbour sent that it had no right to send, or that contradicts what is known. The same again within a minute is counted in times.';

CREATE TABLE spine.receive_fault (
	relation text NOT NULL,
	record_id uuid NOT NULL,
	node text NOT NULL,
	owner text,
	revision bigint,
	sqlstate text NOT NULL,
	message text NOT NULL,
	content jsonb NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (relation, record_id, node)
);
COMMENT ON TABLE spine.receive_fault IS 'Rows from neighbours that could not be applied, with their error. Gone when a later revision is applied or withdrawn; spine.retry_faults() tries them again.';

CREATE TABLE spine.waiting_row (
	relation text NOT NULL,
	record_id uuid NOT NULL,
	node text NOT NULL,
	owner text NOT NULL,
	revision bigint NOT NULL,
	content jsonb NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (relation, record_id, node)
);
COMMENT ON TABLE spine.waiting_row IS 'Rows from neighbours of data groups that are not published here yet; applied when they are.';

CREATE TABLE spine.unknown_item (
	relation text NOT NULL,
	record_id uuid NOT NULL,
	owner text NOT NULL,
	revision bigint NOT NULL,
	items jsonb NOT NULL,
	PRIMARY KEY (relation, record_id)
);
COMMENT ON TABLE spine.unknown_item IS 'Items of applied rows that this node''s version of the data group does not know; filled in when one that does is published.';

-- ended links travel too, and the index of pairs holds only those in force
CREATE INDEX identity_link_from ON spine.identity_link (from_patient);

CREATE TRIGGER deliver_insert AFTER INSERT ON spine.relationship
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'relationship');
CREATE TRIGGER deliver_update AFTER UPDATE ON spine.relationship
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'relationship');
CREATE TRIGGER deliver_delete AFTER DELETE ON spine.relationship
	REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'relationship');
CREATE TRIGGER deliver_insert AFTER INSERT ON spine.dissent
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'dissent');
CREATE TRIGGER deliver_update AFTER UPDATE ON spine.dissent
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'dissent');
CREATE TRIGGER deliver_insert AFTER INSERT ON spine.agreement_event
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'agreement_event');
CREATE TRIGGER deliver_update AFTER UPDATE ON spine.agreement_event
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'agreement_event');

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON spine.relationship
	FOR EACH STATEMENT EXECUTE FUNCTION spine.refuse_truncate();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON spine.dissent
	FOR EACH STATEMENT EXECUTE FUNCTION spine.refuse_truncate();

-- links and anchors travel with records: a later one is carried by a record of that patient
CREATE TRIGGER deliver_insert AFTER INSERT ON spine.identity_link
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver_links('identity_link');
CREATE TRIGGER deliver_update AFTER UPDATE ON spine.identity_link
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver_links('identity_link');
CREATE TRIGGER deliver_insert AFTER INSERT ON spine.family_link
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver_links('family_link');
CREATE TRIGGER deliver_update AFTER UPDATE ON spine.family_link
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver_links('family_link');
CREATE TRIGGER deliver_insert AFTER INSERT ON spine.episode_link
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver_links('episode_link');
CREATE TRIGGER deliver_update AFTER UPDATE ON spine.episode
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver_links('episode');

-- at the end of the transaction that publishes, when its tables stand
CREATE CONSTRAINT TRIGGER apply_waiting AFTER INSERT ON spine.dataset
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION spine.apply_waiting_rows();

CREATE VIEW spine.nodes AS
	SELECT n.name, n.is_self, n.state, n.purpose, n.role_name, n.connected_at,
		   ARRAY(SELECT o.organisation FROM spine.node_organisation o WHERE o.node = n.name ORDER BY 1) AS organisations
	FROM spine.node n;
COMMENT ON VIEW spine.nodes IS 'This node and its neighbours, with the organisations that each hosts.';

CREATE VIEW spine.links AS
	SELECT l.node, 'sending' AS direction,
		   CASE WHEN n.state <> 'active' THEN n.state WHEN l.paused THEN 'paused' WHEN n.behind THEN 'behind' ELSE l.state END AS state,
		   l.position -> 'compare' IS NOT NULL AS full_send,
		   l.sent_seq, l.sent_at, l.acknowledged_seq, l.acknowledged_at,
		   NULL::bigint AS received_seq, NULL::timestamptz AS received_at,
		   spine.link_lag(l.node) AS lag_rows, spine.link_lag_seconds(l.node) AS lag_seconds,
		   l.last_error, l.last_error_at, l.retry_at, NULL::bigint AS faults
	FROM spine.link l
		JOIN spine.node n ON n.name = l.node
	UNION ALL
	SELECT r.node, 'receiving',
		   CASE WHEN n.state <> 'active' THEN n.state WHEN r.received_at IS NULL THEN 'new'
				WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
							 WHERE a.usename = n.role_name AND a.datname = pg_catalog.current_database()) THEN 'connected'
				ELSE 'waiting' END,
		   r.position -> 'compare' IS NOT NULL,
		   NULL, NULL, NULL, NULL, r.seq, r.received_at, NULL, NULL, NULL, NULL, NULL,
		   (SELECT pg_catalog.count(*) FROM spine.receive_fault f WHERE f.node = r.node)
	FROM spine.link_received r
		JOIN spine.node n ON n.name = r.node;
COMMENT ON VIEW spine.links IS 'Each neighbour''s link, a row for each direction. sending: whether everything is being compared (full_send), what was sent and acknowledged, ledger rows still to go (counted to 100,000) and the age of the oldest in seconds (both null before the first contact), the last error, the next try; state new, connected, waiting (for the next try), paused, behind or ended. receiving: what came, and how many rows were set aside; state new, connected, waiting (it is not connected now) or ended.';

GRANT SELECT ON spine.nodes TO spine_member, spine_supplier, spine_governor, spine_operator;
GRANT SELECT ON spine.links TO spine_operator;
GRANT SELECT ON spine.incident TO spine_operator, spine_governor;
