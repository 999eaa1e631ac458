# What else goes wrong with two nodes that exchange: no room, rows edited by hand, a standby that lacks the end, large transactions, an end while something is on its way,
# nothing left to run in (faults F8, F9, F11, F16, F17, F21; invariants I1, I2, I6, I8, I12).
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use SpineProxy;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(conf => "listen_addresses = '127.0.0.1'\nmax_wal_senders = 4\nspine.courier_interval = 200ms\nspine.courier_batch = 500\nspine.courier_timeout = '20s'\nfull_page_writes = on");
put($ryj, 'first');
ok(wait_equal($ryj, $rqm), 'the link works');

sub fails { my ($name, $pattern) = @_; return ok(defined $ryj->wait_for("SELECT state = 'waiting' AND last_error ~ '$pattern' FROM spine.links"), $name) }
sub equal { my ($name, $seconds) = @_; return ok(wait_equal($ryj, $rqm, $seconds // 60), "$name (I1, I12)") }

# F9: rows that the exchange stands on, edited by hand
my @edits = (
	[ $rqm, "UPDATE spine.link_received SET seq = seq + 100", 'the receiver\'s sequence is set forward' ],
	[ $rqm, "UPDATE spine.link_received SET seq = greatest(seq - 3, 0)", 'set back' ],
	[ $rqm, "UPDATE spine.link_received SET epoch = gen_random_uuid()", 'its epoch is another' ],
	[ $rqm, "UPDATE spine.link_received SET epoch = NULL, position = NULL, seq = 0", 'it has none' ],
	[ $rqm, "UPDATE spine.link_received SET position = jsonb_set(position, '{from}', '\"9000000000:9000000000:\"')", 'its position is set forward' ],
	[ $ryj, "UPDATE spine.link SET sent_seq = 0", 'the sender\'s sequence is set back' ],
	[ $ryj, "UPDATE spine.link SET epoch = gen_random_uuid()", 'its epoch is another' ],
	[ $ryj, "DELETE FROM spine.link", 'its link is gone' ]);
for my $edit (@edits)
{
	my ($node, $statement, $name) = @$edit;
	$ryj->sql("UPDATE spine.node SET state = 'paused' WHERE name = 'RQM'");
	$rqm->wait_for("SELECT count(*) FROM pg_stat_activity WHERE usename = 'node_ryj'", 0);
	(my $key = $name) =~ tr/'//d;
	put($ryj, "before: $key $_") for 1 .. 2;
	$node->sql($statement);
	put($ryj, "after: $key");
	$ryj->sql("UPDATE spine.node SET state = 'active' WHERE name = 'RQM'; SELECT spine.ring_doorbell()");
	equal("F9: $name");
}
is($rqm->sql('SELECT count(*) FROM spine.receive_fault'), 0, 'F9: nothing was set aside');
is($ryj->sql('SELECT count(*) FROM spine.links'), 1, 'F9: the link is there again');
$rqm->sql("CREATE TABLE kept AS SELECT * FROM spine.link_received; DELETE FROM spine.link_received");
put($ryj, 'while nobody remembers');
fails('F9: a receiver that no longer knows where it stands is said to be down', '.');
$rqm->sql("INSERT INTO spine.link_received SELECT * FROM kept");
equal('F9: and goes on when it does');

# F16: one transaction of many rows and many subtransactions
my $pid = courier_pid($ryj);
$ryj->sql(<<'MANY');
DO $$
BEGIN
	FOR i IN 1 .. 10000 LOOP
		BEGIN
			INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
				VALUES (spine.uuid_v7(), 'RYJ', 'sub', i, gen_random_uuid(), '1.0', now(), 1, CASE WHEN i % 2 = 0 THEN '{RQM:care,RQM:care/aci}' ELSE '{}' END::text[], i);
			IF i % 100 = 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
	INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
		SELECT spine.uuid_v7(), 'RYJ', 'many', i, gen_random_uuid(), '1.0', now(), 1, '{RQM:care,RQM:care/aci}', i FROM generate_series(1, 15000) i;
END
$$
MANY
equal('F16: 20,000 shared rows of one transaction, with 10,000 subtransactions, come over', 120);
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE source_system IN ('sub', 'many')"), 4900 + 15000, 'F16: those that were not rolled back');
is(courier_pid($ryj), $pid, 'F16: by the courier that was there');
my ($anonymous) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
cmp_ok($anonymous, '<', 100 * 1024, "F16: in $anonymous kB of its own");

# F17: a right that ends while the record is on its way: read, sent, held up, applied
my $proxy = SpineProxy->new(port => $rqm->port);
$ryj->sql(sprintf "SELECT spine.connect_node('RQM', 'host=127.0.0.1 port=%d dbname=spine user=node_ryj', '{RQM}')", $proxy->port);
equal('F17: through a proxy');
ok(defined $ryj->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send AND lag_rows = 0) FROM spine.links"), 'F17: at rest');
for my $way (qw(hold_requests hold_answers dead))
{
	$proxy->does($way);
	my $id = put($ryj, "ends $way");
	ok(defined $ryj->wait_for('SELECT sent_seq > acknowledged_seq FROM spine.links'), "F17: a record is sent ($way)");
	$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$id'");
	$proxy->does('pass');
	ok(defined $rqm->wait_for("SELECT (SELECT seq FROM spine.link_received) >= " . $ryj->sql('SELECT sent_seq FROM spine.link')), 'F17: it arrives');
	equal('F17: and goes');
	is($rqm->sql("SELECT (SELECT count(*) FROM bump.visit WHERE record_id = '$id') + (SELECT count(*) FROM spine.history WHERE record_id = '$id')"), 0, 'F17: without a trace (I2)');
}
# before it is read
my $writer = $ryj->session('postgres');
SpineNode::ask($writer, 'BEGIN; ' . SpineExchange::put_sql('never', record_id => (my $never = SpineExchange::make_id())));
SpineNode::ask($writer, "UPDATE bump.visit SET audience = '{}' WHERE record_id = '$never'; COMMIT");
put($ryj, 'after never');
equal('F17: what was shared and not within one transaction');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$never'"), 0, 'F17: does not come');
$writer->{run}->kill_kill;

# F21: no connection, no worker
$rqm->sql("ALTER ROLE node_ryj CONNECTION LIMIT 0; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node_ryj'");
put($ryj, 'no connection');
fails('F21: a neighbour without a free connection: the link says so', 'too many connections');
$rqm->sql("ALTER ROLE node_ryj CONNECTION LIMIT -1");
equal('F21: with one it goes on');
$ryj->append_conf('postgresql.conf', 'max_worker_processes = 1');
$ryj->restart;
my $start = time;
put($ryj, "no worker $_") for 1 .. 3;
cmp_ok(time - $start, '<', 20, 'F21: without a free worker writers go on (I6)');
is($ryj->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spine courier' AND state = 'active'"), 0, 'F21: though nobody sends');
$ryj->append_conf('postgresql.conf', 'max_worker_processes = 16');
$ryj->restart;
equal('F21: with one it goes on');

# F8: the receiver has no room: a file may not grow, as on a full disk
my $text = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 12500))";
$rqm->sql("INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
	SELECT spine.uuid_v7(), 'RQM', 'fill', i, gen_random_uuid(), '1.0', now(), 1, '{}', $text || i FROM generate_series(1, 45) i");
my $blocks = $rqm->sql("SELECT pg_relation_size(reltoastrelid) / 512 FROM pg_class WHERE oid = 'bump.visit'::regclass");
cmp_ok($blocks, '>', 16 * 1024 * 1024 / 512, 'F8: a table larger than a segment of WAL');
$rqm->stop;
system_or_bail('sh', '-c', "ulimit -f $blocks; exec pg_ctl -w -D '" . $rqm->data_dir . "' -l '" . $rqm->logfile . "' start > /dev/null");
$rqm->_update_pid(1);
my $large = SpineExchange::make_id();
$ryj->sql(SpineExchange::put_sql('large', record_id => $large) =~ s/'large', NULL\)\z/'x', NULL)/r);
$ryj->sql("UPDATE bump.visit SET visit_id = $text, revision = 2 WHERE record_id = '$large'");
put($ryj, 'behind the large one');
fails('F8: no room at the receiver: the link says so', 'extend file|53100|XX000|58');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE visit_id = 'behind the large one'"), 0, 'F8: a batch is applied whole or not');
is($rqm->sql("SELECT count(*) FROM spine.receive_fault"), 0, 'F8: and no row is blamed for it');
$rqm->stop;
$rqm->start;
equal('F8: with room it goes on');

# F11: a standby takes the node's place, and lacks what was written last
is($rqm->sql('SELECT count(*) FROM spine.incident'), 0, 'no incident so far');
my $kept = put($ryj, 'kept');
equal('F11: before');
$ryj->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($ryj, 'base', has_streaming => 1);
bless $standby, 'SpineNode';
$standby->start;
$ryj->wait_for_catchup($standby, 'replay', $ryj->lsn('insert'));
$standby->stop('fast');
my $tail = put($ryj, 'tail');
$ryj->sql("UPDATE bump.visit SET revision = 4, weight = 4 WHERE record_id = '$kept'");
equal('F11: what only the old primary has is at the neighbour');
$ryj->stop('immediate');
$standby->start;
$standby->promote;
ok($standby->poll_query_until('spine', 'SELECT NOT pg_is_in_recovery()'), 'F11: the standby is promoted');
put($standby, 'of the new');
ok(wait_equal($standby, $rqm), 'F11: the neighbour holds what it has');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$tail'"), 0, 'F11: not what it lacks');
is($rqm->sql("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'revision_went_back'"), 't', 'F11: and that a revision went back is noted (I8)');

done_testing();
