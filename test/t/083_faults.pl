# Bad days of one kind each (faults F9, F11, F16, F17, F19, F21, F22, F24; invariants I1 to I9, I11, I12): what a hand changed, a standby that lost the end,
# large transactions, a dissent at each step of the road, an agreement that ends on it, a server without connections or workers, a DBA's accident.
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
	$proxy->does('cut') if $node == $rqm;
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

# F17, F19: a woman's record on its way, under an agreement. What ends at any step of the road is not there afterwards.
for my $node ([ $ryj, 'RYJ', 'RQM' ], [ $rqm, 'RQM', 'RYJ' ])
{
	my ($one, $own, $other) = @$node;
	my $l = lc $own;
	$one->sql("SELECT spine.add_organisation('$other', '$other', 'trust')");
	$one->sql("CREATE ROLE ${l}_$_ LOGIN") for qw(clinician governor supplier);
	$one->sql("SELECT spine.add_member('${l}_clinician', '$own', 'clinician'); SELECT spine.add_member('${l}_governor', '$own', 'governor'); SELECT spine.add_system('$own', 'System', 'maternity', '${l}_supplier')");
}
sub agree
{
	my ($name, $signs) = @_;
	$ryj->sql_as('ryj_governor', "SELECT spine.propose_agreement('{\"name\": \"$name\", \"version\": 1, \"title\": \"$name\", \"parties\": [\"RYJ\", \"RQM\"], \"start\": \"2026-01-01\", \"end\": null,
		\"review\": \"2090-01-01\", \"clauses\": [{\"from\": [\"RYJ\"], \"to\": [\"RQM\"], \"purpose\": \"care\", \"dataset\": \"bump\", \"groups\": [\"visit\"], \"relationships\": [\"referral\"]}]}')");
	$ryj->sql_as('ryj_governor', "SELECT spine.sign_agreement('$name', 1)");
	ok(defined $rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE name = '$name'", 2), "$name: proposed");
	$rqm->sql_as('rqm_governor', "SELECT spine.sign_agreement('$name', 1)");
	ok(defined $ryj->wait_for("SELECT count(*) FROM spine.agreement_event WHERE name = '$name'", 3), "$name: signed");
	$ryj->sql_as('ryj_governor', "SELECT spine.publish_agreement('$name', 1)");
	ok(defined $rqm->wait_for("SELECT count(*) > 0 FROM spine.sharing_rule WHERE agreement = '$name' AND in_force"), "$name: published");
	return;
}
my $nhs = '9990000026';
my $n = 0;
sub write_one
{
	$n++;
	like($ryj->sql_as('ryj_supplier', "SELECT outcome FROM spine.submit('{\"dataset\": \"bump\", \"version\": \"1.0\", \"system\": \"System\", \"records\": [{\"group\": \"visit\", \"nhs_number\": \"$nhs\", \"data\": {\"visit_id\": \"hers$n\"}}]}'::text)"),
		qr/^accepted/, "record $n of hers");
	return "hers$n";
}
sub there { return $rqm->sql("SELECT count(*) FROM bump.visit WHERE visit_id = '$_[0]'") }
agree('first');
$ryj->sql_as('ryj_clinician', "SELECT spine.refer('$nhs', 'RQM', 'there')") if write_one();
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = 'hers1'", 1), 'her first record is there');
my ($end, $undo) = ("SELECT spine.record_dissent('$nhs', 'care')", 'SELECT spine.withdraw_dissent(dissent_id) FROM spine.dissents WHERE until IS NULL');
# where the record is when she says no
for my $step ([ 'before the courier has seen it', 'stop' ], [ 'sent and not received', 'hold_requests' ], [ 'received and not acknowledged', 'hold_answers' ], [ 'while it is read there', 'read' ])
{
	my ($name, $how) = @$step;
	my $courier = courier_pid($ryj);
	my $reading;
	if ($how eq 'stop') { kill STOP => $courier }
	elsif ($how ne 'read') { $proxy->does($how) }
	my $record = write_one();
	if ($how eq 'hold_requests') { for (1 .. 200) { last if $proxy->holds; sleep 0.1 } }
	elsif ($how ne 'stop') { ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), "F17: $name: it is there") }
	if ($how eq 'read')
	{
		$reading = $rqm->session('rqm_clinician');
		SpineNode::ask($reading, "SELECT 1 FROM spine.open_record('$nhs', 'care', 'her visit') LIMIT 1");
		like(SpineNode::ask($reading, "SELECT count(*) FROM bump_1_0.visit WHERE visit_id = '$record'"), qr/^1$/m, "F17: $name: seen");
	}
	$ryj->sql_as('ryj_clinician', $end);
	if ($how eq 'stop') { kill CONT => $courier }
	else { $proxy->does('pass') }
	ok(defined $rqm->wait_for("SELECT count(*) FROM spine.dissent WHERE until IS NULL", 1), "F17: $name: her dissent arrives");
	ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id LIKE 'hers%'", 0), "F17: $name: nothing of hers is there (I3)");
	is($rqm->sql("SELECT count(*) FROM public.applied WHERE record_id = '" . $ryj->sql("SELECT record_id FROM bump.visit WHERE visit_id = '$record'") . "'"), 0, "F17: $name: it never was (I2)") if $how eq 'stop';
	like(SpineNode::ask($reading, "SELECT count(*) FROM bump_1_0.visit WHERE visit_id = '$record'"), qr/^0$/m, "F17: $name: nor is it seen by who has her open") if $reading;
	$reading->{run}->kill_kill if $reading;
	$ryj->sql_as('ryj_clinician', $undo);
	ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), "F17: $name: withdrawn, it is there again");
}

# F19: the rules end, or are spoilt, while a record is under way: nothing is shared (I11)
$proxy->does('hold_requests');
my $record = write_one();
for (1 .. 200) { last if $proxy->holds; sleep 0.1 }
$ryj->sql_as('ryj_governor', "SELECT spine.end_agreement('first', 1, 'on the way')");
$proxy->does('pass');
ok(defined $rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'ended'", 1), 'F19: the end of the agreement arrives');
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id LIKE 'hers%'", 0), 'F19: with no rule left nothing of hers is there');
$record = write_one();
agree('second');
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), 'F19: under another agreement it is');
# a rule of the same parties about the same group does not undo the first; where one of two ends, the other holds
agree('third');
$ryj->sql_as('ryj_governor', "SELECT spine.end_agreement('second', 1, 'of two')");
ok(defined $rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'ended'", 2), 'F19: of two that share the same one ends');
$record = write_one();
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), 'F19: the other holds');
# a document that is not what was signed
$ryj->sql("$quiet UPDATE spine.agreement_event SET document = jsonb_set(document, '{clauses,0,purpose}', '\"curiosity\"') WHERE name = 'third' AND kind = 'proposed'");
$ryj->sql('SELECT spine.compile_agreements()');
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.sharing_rule", 0), 'F19: a document that was spoilt by hand shares nothing (I11)');
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id LIKE 'hers%'", 0), 'F19: and what it shared is withdrawn');

# F22: a DBA's accident: refused, even to a superuser, or found out
for my $accident ('TRUNCATE spine.access_log', 'UPDATE spine.access_log SET reason = NULL', 'DELETE FROM spine.access_log', 'TRUNCATE bump.visit', 'TRUNCATE spine.relationship',
	'TRUNCATE spine.dissent', 'DELETE FROM spine.agreement_event', 'TRUNCATE spine.agreement_event')
{
	is($rqm->refused('postgres', $accident), '55000', "F22: $accident: refused");
}
my $entry = $rqm->sql('SELECT min(access_id) FROM spine.access_log');
$rqm->sql("ALTER TABLE spine.access_log DISABLE TRIGGER append_only; UPDATE spine.access_log SET duty = duty || 'x' WHERE access_id = $entry; ALTER TABLE spine.access_log ENABLE TRIGGER append_only");
is($rqm->sql('SELECT access_id FROM spine.verify_access_log()'), $entry, 'F22: an entry changed with the trigger off is found (I5)');
$rqm->sql("$quiet UPDATE spine.access_log SET duty = left(duty, -1) WHERE access_id = $entry");

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
is($rqm->sql('SELECT count(*) FROM spine.receive_fault'), 0, 'F24: nothing was set aside in all this');
is($rqm->sql("SELECT coalesce(string_agg(DISTINCT kind, ' '), '') FROM spine.incident WHERE kind NOT IN ('revision_went_back')"), '', 'F24: nor anybody blamed');

done_testing();
