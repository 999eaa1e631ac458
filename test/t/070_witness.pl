# The end of the access log is witnessed by neighbours (invariant I5): who cuts it, writes it anew or restores an older node
# is found out, by himself and by spine.health(). And what health tells of links, workers and the courier.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;

my ($ryj, $rqm) = two_nodes(conf => "spine.witness_interval = 100ms\nspine.courier_interval = 100ms\nspine.courier_reconnect = 500ms\nspine.courier_timeout = 3s\nmax_wal_senders = 5");

my @nhs = qw(9990000018 9990000026 9990000034 9990000042);
$ryj->sql("CREATE ROLE ryj_clinician LOGIN; SELECT spine.add_member('ryj_clinician', 'RYJ', 'clinician')");
put($ryj, "of $_", patient_id => $ryj->sql("SELECT spine.patient_id('$_')")) for @nhs;
sub open_records
{
	my ($times) = @_;
	$ryj->sql_as('ryj_clinician', "SELECT spine.open_record('$nhs[$_ % @nhs]', 'care', 'Clinic')") for 1 .. $times;
	return $ryj->sql('SELECT max(access_id) FROM spine.access_log');
}
sub state { return $_[0]->sql("SELECT coalesce(string_agg(DISTINCT state, ','), 'none') FROM spine.health() WHERE check_name = '$_[1]'" . ($_[2] ? " AND subject = '$_[2]'" : '')) }
# until RQM holds the head of this number, and RYJ was told so
sub witnessed
{
	my ($n) = @_;
	return defined $rqm->wait_for("SELECT coalesce(max(access_id) >= $n, false) FROM spine.audit_head WHERE owner = 'RYJ'")
	  && defined $ryj->wait_for("SELECT coalesce(max(access_id) >= $n, false) FROM spine.witness WHERE node = 'RQM'");
}

my $last = open_records(5);
ok(witnessed($last), 'the neighbour holds the end of the log, and says so');
is($rqm->sql("SELECT encode(hash, 'hex') FROM spine.audit_head WHERE owner = 'RYJ' AND access_id = $last LIMIT 1"), $ryj->sql("SELECT encode(hash, 'hex') FROM spine.access_log WHERE access_id = $last"), 'with its hash');
is($ryj->sql('SELECT count(*) FROM spine.verify_witnesses()'), 0, 'which is that of the log');
is(state($ryj, 'audit_witness'), 'ok', 'all is well');
is($rqm->refused('node_ryj', 'SELECT * FROM spine.audit_head'), '42501', 'a neighbour reads none of it by itself');
is($ryj->refused('ryj_clinician', 'SELECT * FROM spine.verify_witnesses()'), '42501', 'nor does a clinician ask');
ok(defined $ryj->wait_for("SELECT access_id >= $last AND fault IS NULL FROM spine.chain_verified"), 'the courier has verified as far');

# an older node, to be restored later
$ryj->backup('monday');
$last = open_records(5);
ok(witnessed($last), 'the log goes on');
$ryj->wait_for("SELECT access_id >= $last FROM spine.chain_verified");

# the end is cut by somebody who may do everything here, and with it what this node remembers
my $kept = $ryj->sql('SELECT jsonb_agg(to_jsonb(l)) FROM spine.access_log l');
$kept =~ s/'/''/g;
my $as_superuser = 'SET session_replication_role = replica;';
my $cut = $last - 3;
$ryj->sql("$as_superuser DELETE FROM spine.access_log WHERE access_id > $cut; DELETE FROM spine.audit_head WHERE owner = 'RYJ' AND access_id > $cut; TRUNCATE spine.witness");
is($ryj->sql('SELECT count(*) FROM spine.verify_access_log()'), 0, 'a log without its end is whole in itself');
ok(defined $ryj->wait_for("SELECT count(*) > 0 FROM spine.verify_witnesses() WHERE node = 'RQM' AND fault ~ 'no such entry'"), 'but the neighbour knows of more');
is(state($ryj, 'audit_witness'), 'critical', 'which is critical');
ok(defined $ryj->wait_for("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'audit_witness' AND node = 'RQM'"), 'and an incident');
ok(defined $ryj->wait_for("SELECT fault ~ 'is gone' FROM spine.chain_verified"), 'the courier, who had verified further, sees it too');
is(state($ryj, 'audit_chain'), 'critical', 'and says so');

# put back
$ryj->sql("$as_superuser INSERT INTO spine.access_log SELECT * FROM jsonb_populate_recordset(NULL::spine.access_log, '$kept') r WHERE r.access_id > $cut; UPDATE spine.chain_verified SET fault_at = now() - interval '2 hours'");
is($ryj->sql('SELECT count(*) FROM spine.verify_witnesses()'), 0, 'put back as it was there is nothing to find');
ok(defined $ryj->wait_for('SELECT fault IS NULL AND access_id > 0 FROM spine.chain_verified'), 'the courier has gone along all of it again');
is(state($ryj, $_), 'ok', "$_ is well") for qw(audit_chain audit_witness);

# the whole chain is written anew without an entry, as somebody could who has the key: one that RQM once said of itself
$ryj->sql("UPDATE spine.chain_verified SET access_id = 0, hash = ''");
my $rewritten = $ryj->sql("SELECT jsonb_agg(to_jsonb(l) || jsonb_build_object('hash', sha256(l.hash))) FROM spine.access_log l WHERE access_id > 2");
$rewritten =~ s/'/''/g;
$ryj->sql("$as_superuser DELETE FROM spine.access_log WHERE access_id > 2; INSERT INTO spine.access_log SELECT * FROM jsonb_populate_recordset(NULL::spine.access_log, '$rewritten');
	DELETE FROM spine.audit_head WHERE owner = 'RYJ'; TRUNCATE spine.witness");
ok(defined $ryj->wait_for("SELECT count(*) > 0 FROM spine.verify_witnesses() WHERE node = 'RQM' AND fault ~ 'another hash'"), 'a chain written anew differs from what the neighbour holds');
is(state($ryj, 'audit_witness'), 'critical', 'which is critical');

# a node restored from an older backup
$ryj->stop;
my $old = SpineNode->new('ryj_restored', start => 0);
PostgreSQL::Test::RecursiveCopy::copypath($ryj->backup_dir . '/monday', $old->data_dir . '.new');
system('rm', '-rf', $old->data_dir) == 0 or die;
rename $old->data_dir . '.new', $old->data_dir or die $!;
chmod 0700, $old->data_dir;
$old->append_conf('postgresql.conf', sprintf("port = %d\n", $old->port));
$old->start;
ok(defined $old->wait_for("SELECT count(*) > 0 FROM spine.verify_witnesses() WHERE node = 'RQM' AND fault ~ 'no such entry'", 't', 90), 'a node restored from a time before learns what it has lost');
is(state($old, 'audit_witness'), 'critical', 'and says so');
is($old->refused('postgres', "SELECT spine.settle_witnesses(' ')"), '22004', 'it is not settled without a reason');
cmp_ok($old->sql("SELECT spine.settle_witnesses('Restored from the backup of Monday.')"), '>', 0, 'it is settled with one');
is(state($old, 'audit_witness'), 'ok', 'and is well');
is($old->sql("SELECT count(*) > 0 AND bool_and(settled_by = 'postgres' AND reason = 'Restored from the backup of Monday.') FROM spine.witness WHERE settled_at IS NOT NULL"), 't', 'the record of it stays');
$ryj = $old;
$last = open_records(3);
ok(witnessed($last), 'the log goes on from there');

# health of links and workers

ok(defined $ryj->wait_for("SELECT spine.link_lag('RQM') = 0"), 'the link is up');
is(state($ryj, $_, 'RQM'), 'ok', "$_ is well") for qw(link_contact link_lag link_lag_rows clock_difference);
$ryj->sql("SELECT spine.set_health_limit('link_contact', 1, 600), spine.set_health_limit('link_lag', 1, 600), spine.set_health_limit('link_lag_rows', 1, 100)");
$rqm->stop('immediate');
put($ryj, 'waits');
ok(defined $ryj->wait_for("SELECT bool_and(state = 'warning') FROM spine.health() WHERE subject = 'RQM' AND check_name IN ('link_contact', 'link_lag', 'link_lag_rows')"), 'a neighbour that is away is told');
$ryj->sql("SELECT spine.set_health_limit('link_contact', 1, 1)");
is(state($ryj, 'link_contact', 'RQM'), 'critical', 'and becomes critical');
$rqm->start;
$ryj->sql("SELECT spine.set_health_limit('link_contact', 60, 600)");
ok(defined $ryj->wait_for("SELECT bool_and(state = 'ok') FROM spine.health() WHERE subject = 'RQM' AND check_name IN ('link_contact', 'link_lag', 'link_lag_rows')"), 'and it is well again');
$ryj->sql("UPDATE spine.link SET clock_difference = '-1 hour', their_clock = NULL; SELECT spine.set_health_limit('clock_difference', 2, 60)");
ok(defined $ryj->wait_for("SELECT state = 'ok' FROM spine.health() WHERE check_name = 'clock_difference'"), 'the neighbour\'s clock is looked at with each answer');
$ryj->sql("SELECT spine.set_health_limit('clock_difference', 0, 0)");
is(state($ryj, 'clock_difference', 'RQM'), 'critical', 'a difference is told');

is(state($ryj, 'workers'), 'ok', 'the workers run');
is($ryj->sql('SELECT string_agg(kind, \',\' ORDER BY kind) FROM spine.workers()'), 'auditor,courier,launcher', 'all of them');
$ryj->append_conf('postgresql.conf', "max_worker_processes = 1\n");
$ryj->restart;
ok(defined $ryj->wait_for("SELECT string_agg(subject, ',' ORDER BY subject) FROM spine.health() WHERE check_name = 'workers' AND state = 'critical'", 'auditor,courier,launcher'), 'without room for workers each is missed');
$ryj->append_conf('postgresql.conf', "max_worker_processes = 16\n");
$ryj->restart;
ok(defined $ryj->wait_for("SELECT bool_and(state = 'ok') FROM spine.health() WHERE check_name = 'workers'"), 'with room they run');

# a slot of somebody
$ryj->sql("SELECT pg_create_physical_replication_slot('somebody', true); SELECT spine.set_health_limit('slot_wal', 1, NULL)");
put($ryj, 'wal');
is(state($ryj, 'slot_wal', 'somebody'), 'warning', 'a slot that holds WAL is told');
$ryj->sql("SELECT pg_drop_replication_slot('somebody')");
is(state($ryj, 'slot_wal'), 'none', 'and dropped it is gone');

# the key
my $key = $ryj->basedir . '/no.key';
$ryj->sql("ALTER SYSTEM SET spine.network_key_file = '$key'");
$ryj->sql('SELECT pg_reload_conf()');
ok(defined $ryj->wait_for("SELECT state = 'critical' FROM spine.health() WHERE check_name = 'network_key'"), 'a key that cannot be read is critical');
$ryj->sql('ALTER SYSTEM RESET spine.network_key_file');
$ryj->sql('SELECT pg_reload_conf()');
ok(defined $ryj->wait_for("SELECT state = 'ok' FROM spine.health() WHERE check_name = 'network_key'"), 'and is well again');

# entries on their way, while the auditor stands still
my $auditor = $ryj->sql("SELECT pid FROM spine.workers() WHERE kind = 'auditor'");
kill 'STOP', $auditor;
$ryj->sql("SELECT spine.set_health_limit('audit_queue', 0.1, 90)");
my $waiting = $ryj->session('ryj_clinician');
SpineNode::say_to($waiting, "SELECT spine.open_record('$nhs[0]', 'care', 'Clinic')");
ok(defined $ryj->wait_for("SELECT state = 'warning' FROM spine.health() WHERE check_name = 'audit_queue'", 't', 4), 'an entry that waits for the auditor is told');
kill 'CONT', $auditor;
SpineNode::heard($waiting);
ok(defined $ryj->wait_for("SELECT state = 'ok' FROM spine.health() WHERE check_name = 'audit_queue'"), 'and gone when it goes on');

done_testing();
