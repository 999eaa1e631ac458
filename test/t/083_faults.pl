# Bad days of one kind each (faults F9, F11, F16, F21; invariants I1 to I9, I12): what a hand changed, large transactions, a server without connections or
# workers, a standby that lost the end.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SpineChecker;
use SpineExchange;
use SpineNode;
use SpineProxy;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(fsync => 1, conf => "listen_addresses = '127.0.0.1'\nmax_wal_senders = 5\nspine.courier_interval = 200ms\nspine.courier_timeout = '10s'");
my $proxy = SpineProxy->new(port => $rqm->port);
$ryj->sql(sprintf "SELECT spine.connect_node('RQM', 'host=127.0.0.1 port=%d dbname=spine user=node_ryj', '{RQM}')", $proxy->port);
ok(defined $ryj->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links"), 'the nodes are connected');
my $road = SpineChecker->new(from => $ryj, to => $rqm);
$road->reader($rqm, 'RQM');
my $quiet = 'SET session_replication_role = replica;';

sub holds
{
	my ($name) = @_;
	$road->end;
	is(join("\n", $road->settled), '', "$name: equal within a minute (I12)");
	is(join("\n", $road->faults), '', "$name: nothing is lost, twice or where it may not be");
	return;
}

# F9: there is no slot; what a hand may change is where each side stands. Writers go on meanwhile.
for my $case (
	[ $ryj, 'UPDATE spine.link SET sent_seq = 0', 'the sender is told that it sent nothing' ],
	[ $ryj, 'UPDATE spine.link SET epoch = gen_random_uuid()', 'or of another epoch' ],
	[ $rqm, 'UPDATE spine.link_received SET seq = seq + 1000', 'the receiver of batches that there were not' ],
	[ $rqm, "UPDATE spine.link_received SET position = jsonb_build_object('cluster', position -> 'cluster', 'from', '4000000000:4000000000:')", 'of a position in the future' ],
	[ $rqm, 'UPDATE spine.link_received SET epoch = NULL, seq = 0, position = NULL', 'of nothing at all' ])
{
	my ($node, $change, $name) = @$case;
	$road->begin(clients => 1);
	$road->wait_acknowledged(20);
	my $epoch = $rqm->sql('SELECT epoch FROM spine.link_received');
	# while they talk, the sender goes on from the last answer, and the next batch sets it right; else it is asked
	$proxy->does('cut');
	$ryj->wait_for("SELECT state = 'waiting' FROM spine.links WHERE direction = 'sending'");
	$node->sql($change);
	$proxy->does('pass');
	$road->wait_acknowledged(20);
	ok(defined $rqm->wait_for("SELECT epoch IS DISTINCT FROM '$epoch' AND epoch IS NOT NULL FROM spine.link_received"), "F9: $name: seen, and begun anew");
	holds("F9: $name");
}

# F16: one transaction of many records, and one of many subtransactions; another's record does not wait for all of it
my $many = $ENV{SPINE_MANY} || 20000;
my $pid = courier_pid($ryj);
my $insert = "INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)";
my $values = "spine.uuid_v7(), 'RYJ', 'bulk', %s, gen_random_uuid(), '1.0', now(), 1, '{RQM:care,RQM:care/aci}'";
sub memory { my ($kb) = slurp_file("/proc/$_[0]/status") =~ /VmHWM:\s+(\d+)/; return $kb }
my $before = memory($pid);
$ryj->sql("$insert SELECT " . sprintf($values, "'large' || i") . ", i FROM generate_series(1, $many) i");
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE source_system = 'bulk'", $many, 300), "F16: $many records of one transaction");
is(courier_pid($ryj), $pid, 'F16: by the same courier');
cmp_ok(memory($pid) - $before, '<', 200 * 1024, 'F16: which took less than 200 MB more for it');
$ryj->sql("DO \$\$ BEGIN FOR i IN 1 .. 10000 LOOP BEGIN $insert VALUES (" . sprintf($values, "'sub' || i") . ", i); IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
	EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END \$\$");
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE source_system = 'bulk' AND local_record_id LIKE 'sub%'", 5000, 120), 'F16: of 10,000 subtransactions those that held');

# F21: no connection is left there for the node; no worker here
$rqm->sql('ALTER ROLE node_ryj CONNECTION LIMIT 0');
$road->begin(clients => 1);
$rqm->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node_ryj'");
cmp_ok($road->wait_acknowledged(30), '>=', 30, 'F21: without a connection writers go on (I6)');
ok(defined $ryj->wait_for("SELECT state = 'waiting' AND last_error ~ 'too many connections' FROM spine.links WHERE direction = 'sending'"), 'F21: and the link says why it waits');
$rqm->sql('ALTER ROLE node_ryj CONNECTION LIMIT -1');
holds('F21: a connection again');
$ryj->append_conf('postgresql.conf', 'max_worker_processes = 1');
$ryj->restart;
$road->begin(clients => 1);
cmp_ok($road->wait_acknowledged(30), '>=', 30, 'F21: without workers writers go on (I6)');
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.health() WHERE check_name = 'workers' AND subject = 'courier' AND state = 'critical'", 1), 'F21: and health says so');
$ryj->append_conf('postgresql.conf', 'max_worker_processes = 16');
$road->end;
$ryj->restart;
holds('F21: workers again');

# F11: a standby that has lost the end is promoted: another history, which is begun anew
$ryj->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($ryj, 'base', has_streaming => 1);
bless $standby, 'SpineNode';
$standby->start;
$road->begin(clients => 2);
$road->wait_acknowledged(30);
my $corrected = put($ryj, 'corrected in the tail');
$ryj->wait_for_catchup('standby', 'replay', $ryj->lsn('insert'));
$standby->stop('fast');
$ryj->sql("UPDATE bump.visit SET revision = 2 WHERE record_id = '$corrected'");
cmp_ok($road->wait_acknowledged(60), '>=', 60, 'F11: writers go on, the standby does not follow');
$road->end;
is(join("\n", $road->settled), '', 'F11: all of it is at the neighbour');
my $epoch = $rqm->sql('SELECT epoch FROM spine.link_received');
$ryj->stop('immediate');
$standby->start;
$standby->promote;
$road->{from} = $standby;
# what was acknowledged by the lost server may be lost: but both sides have the same of it
$road->{lost} = 1;
ok(defined $rqm->wait_for("SELECT epoch <> '$epoch' FROM spine.link_received", 't', 60), 'F11: the neighbour is told that another history begins');
is(join("\n", $road->settled), '', 'F11: the sets are equal');
is(join("\n", $road->faults), '', 'F11: nothing is where it may not be');
is($rqm->sql("SELECT revision FROM bump.visit WHERE record_id = '$corrected'"), 1, 'F11: a correction that was lost is');
is($rqm->sql("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'revision_went_back'"), 't', 'F11: which is noted');
is($rqm->sql('SELECT count(*) FROM spine.receive_fault'), 0, 'nothing was set aside in all this');
is($rqm->sql("SELECT coalesce(string_agg(DISTINCT kind, ' '), '') FROM spine.incident WHERE kind NOT IN ('revision_went_back')"), '', 'nor anybody blamed');

done_testing();
