-- What is watched: where the access log was verified to, its heads and who witnesses them, limits of spine.health().

CREATE TABLE spine.audit_head (
	head_id uuid PRIMARY KEY,
	owner text NOT NULL,
	access_id bigint NOT NULL CHECK (access_id > 0),
	hash bytea NOT NULL CHECK (pg_catalog.octet_length(hash) = 32),
	at timestamptz NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	audience text[] NOT NULL
);
CREATE INDEX audit_head_of ON spine.audit_head (owner, access_id);
CREATE INDEX audit_head_said ON spine.audit_head (owner, at);
COMMENT ON TABLE spine.audit_head IS 'Number and hash of the last entry of a node''s access log as it said them from time to time; owner: an organisation of the node. Sent to every neighbour, which keeps them. Append-only.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON spine.audit_head
	FOR EACH ROW EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spine.audit_head
	FOR EACH STATEMENT EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER deliver_insert AFTER INSERT ON spine.audit_head
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'audit_head');

CREATE TABLE spine.witness (
	node text NOT NULL REFERENCES spine.node,
	access_id bigint NOT NULL,
	hash bytea NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	settled_at timestamptz,
	settled_by name,
	reason text,
	PRIMARY KEY (node, access_id, hash)
);
COMMENT ON TABLE spine.witness IS 'What neighbours say that this node once said of its own access log. settled: a difference that was looked into, after a restore for one.';

CREATE TABLE spine.chain_verified (
	access_id bigint NOT NULL DEFAULT 0,
	hash bytea NOT NULL DEFAULT '',
	verified_at timestamptz,
	whole_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	fault_id bigint,
	fault text,
	fault_at timestamptz,
	one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);
INSERT INTO spine.chain_verified DEFAULT VALUES;
COMMENT ON TABLE spine.chain_verified IS 'How far the courier has gone along the chain of the access log, when it last came to the end, and the first fault it met: one row.';

CREATE TABLE spine.health_limit (
	check_name text PRIMARY KEY,
	warning numeric,
	critical numeric,
	unit text NOT NULL,
	description text NOT NULL
);
COMMENT ON TABLE spine.health_limit IS 'From which value on a check of spine.health() is a warning, or critical; null: never. Changed by spine.set_health_limit().';
INSERT INTO spine.health_limit (check_name, warning, critical, unit, description) VALUES
	('link_held', 1, 2, 'state', 'Whether a link is paused (1), or behind what the ledger may hold (2).'),
	('link_contact', 300, 3600, 'seconds', 'Time since a neighbour last answered.'),
	('link_lag', 300, 3600, 'seconds', 'Age of the oldest row of the ledger that a neighbour has not acknowledged.'),
	('link_lag_rows', 10000, 100000, 'rows', 'Rows of the ledger that a neighbour has not acknowledged, counted to 100000.'),
	('clock_difference', 2, 60, 'seconds', 'Difference between a neighbour''s clock and this node''s.'),
	('withdrawals_unproven', 3600, 86400, 'seconds', 'Age of the oldest withdrawal that a neighbour has not proven.'),
	('comparison', 172800, 604800, 'seconds', 'Time since a comparison with a neighbour last came out equal.'),
	('ledger_size', 10, 25, 'percent', 'Size of the delivery ledger, of the disk that holds the data.'),
	('receive_faults', 1, 1000, 'rows', 'Rows of a neighbour that could not be applied.'),
	('waiting_rows', 1, 100000, 'rows', 'Rows of a neighbour of data groups that are not published here.'),
	('incidents', 1, 100, 'incidents', 'What neighbours sent in the last day that they had no right to send.'),
	('reaudience', 3600, 86400, 'seconds', 'Age of the oldest change of agreements whose audiences are not computed yet.'),
	('workers', 1, 1, 'missing', 'Background workers of this database that do not run.'),
	('audit_queue', 50, 90, 'percent', 'Entries on their way to the access log, of spine.audit_slots.'),
	('audit_chain', 1, 1, 'faults', 'Faults of the chain of the access log.'),
	('audit_verified', 172800, 1209600, 'seconds', 'Time since the chain of the access log was last verified to its end.'),
	('audit_witness', 1, 1, 'faults', 'Heads of the access log that are not what they were said to be.'),
	('network_key', 1, 1, 'missing', 'Whether the network key can be read.'),
	('reviews_overdue', 1, 100, 'reviews', 'Uses of broken glass that are neither explained in time nor closed.'),
	('rejections', 1000, 100000, 'records', 'Records in quarantine.'),
	('default_partitions', 1, 1000000, 'rows', 'Rows for which there was no table of their month.'),
	('cron_failures', 1, 10, 'jobs', 'Jobs of pg_cron whose last run failed.'),
	('disk_used', 80, 90, 'percent', 'Space that is taken on a disk.'),
	('transaction_age', 1000000000, 1600000000, 'transactions', 'Age of the oldest transaction id of a database.'),
	('slot_wal', 1073741824, 10737418240, 'bytes', 'WAL that a replication slot holds back. None of them is spine''s.'),
	('settings', 1, NULL, 'deviations', 'Settings that are not as they should be.');
