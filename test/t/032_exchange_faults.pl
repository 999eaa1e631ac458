# What crashes, is killed, or comes back from a backup: afterwards the neighbour holds exactly
# what it should, every record once.    # faults F1 F2 F10, invariants I1 I8 I9 I12
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{SPINE_SLOW} ? 40 : 2;
my ($ryj, $rqm) = two_nodes(fsync => 1, conf => "spine.courier_batch = 50\nspine.courier_interval = 200ms");
ok($_->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spine courier'") == 1, 'one courier on ' . $_->name) for $ryj, $rqm;

# A stream of writes: new records, corrections, withdrawals, deletions; what was acknowledged
# is counted outside the database.
my $writer = <<'END';
\set ON_ERROR_STOP on
INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
	SELECT spine.uuid_v7(), 'RYJ', 'stream', spine.uuid_v7(), gen_random_uuid(), '1.0', now(), 1,
		   CASE WHEN random() < 0.9 THEN '{RQM:care,RQM:care/aci}' ELSE '{}' END::text[], 'v' FROM generate_series(1, 5);
UPDATE bump.visit SET weight = (random() * 100)::integer, revision = revision + 1
	WHERE record_id IN (SELECT record_id FROM bump.visit WHERE source_system = 'stream' ORDER BY random() LIMIT 3);
UPDATE bump.visit SET audience = CASE WHEN audience = '{}' THEN '{RQM:care,RQM:care/aci}' ELSE '{}' END::text[]
	WHERE record_id IN (SELECT record_id FROM bump.visit WHERE source_system = 'stream' ORDER BY random() LIMIT 1);
DELETE FROM bump.visit WHERE record_id IN (SELECT record_id FROM bump.visit WHERE source_system = 'stream' ORDER BY random() LIMIT 1);
\echo acknowledged
END

my $acknowledged = 0;

# Runs the stream for so many seconds; in the middle of it, the fault.
sub stream
{
	my ($seconds, $fault) = @_;
	my $end = time + $seconds;
	my $middle = time + $seconds / 2;
	while (time < $end)
	{
		my $out = '';
		my $code = $ryj->psql('spine', $writer, stdout => \$out, stderr => \my $err, extra_params => [ '-q' ]);
		$acknowledged += 5 if $code == 0 && $out =~ /acknowledged/;
		if ($fault && time > $middle)
		{
			$fault->();
			undef $fault;
		}
	}
	return;
}

sub restart
{
	my ($node) = @_;
	$node->stop('immediate');
	$node->start;
	return;
}

sub same_and_once
{
	my ($name) = @_;
	$_->poll_query_until('spine', 'SELECT true') for $ryj, $rqm;
	ok(wait_equal($ryj, $rqm, 60), "$name: the sets are equal");
	is($rqm->sql('SELECT count(*) FROM spine.receive_fault'), 0, "$name: nothing was set aside");
	return;
}

for my $round (1 .. $rounds)
{
	my $pid = courier_pid($ryj);
	stream(2, sub { kill 'KILL', $pid });
	ok($ryj->poll_query_until('spine', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'spine courier' AND pid <> $pid"),
		'a killed courier is replaced') if $round == 1;
	same_and_once("courier killed ($round)");

	stream(2, sub { restart($rqm) });
	same_and_once("receiver crashed ($round)");

	stream(2, sub { restart($ryj) });
	same_and_once("sender crashed ($round)");

	stream(2, sub { $rqm->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node_ryj'") });
	same_and_once("connection cut ($round)");
}
cmp_ok($ryj->sql("SELECT count(*) FROM bump.visit"), '>', 0, 'there were records');
is($ryj->sql('SELECT count(*) FROM spine.link WHERE epoch IS NOT NULL'), 1, 'one link');
is($rqm->sql('SELECT cardinality(past_epochs) FROM spine.link_received'), 0, 'and all this without sending everything anew');
note("$acknowledged records acknowledged");

# A courier that ends is started again without the server's restart; a quiet end.
my $pid = courier_pid($ryj);
$ryj->sql("SELECT pg_terminate_backend($pid)");
ok($ryj->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'spine courier' AND pid <> $pid", 't', 30), 'a courier told to end is replaced');
$ryj->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'spine launcher'");
ok($ryj->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'spine launcher'", 't', 30), 'so is a launcher');
$ryj->append_conf('postgresql.conf', "spine.databases = 'nowhere'");
$ryj->reload;
ok($ryj->wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'spine courier'", 't', 30), 'a database taken from the list has none');
put($ryj, 'while away');
$ryj->append_conf('postgresql.conf', "spine.databases = 'nowhere, spine'");
$ryj->reload;
same_and_once('courier back');

# The neighbour is down: nothing here waits for it, the view says so, and it catches up.
$rqm->stop('fast');
my $start = time;
put($ryj, "down$_") for 1 .. 3;
cmp_ok(time - $start, '<', 10, 'a dead neighbour holds up nobody');
ok($ryj->wait_for("SELECT state = 'waiting' AND last_error IS NOT NULL AND retry_at IS NOT NULL AND lag_rows >= 3 FROM spine.links WHERE direction = 'sending'"), 'its link says so, with the rows that wait');
$rqm->start;
same_and_once('neighbour back');
ok($ryj->wait_for("SELECT state = 'connected' AND lag_rows = 0 AND retry_at IS NULL FROM spine.links WHERE direction = 'sending'"), 'and its link that nothing waits');

# A neighbour that hangs is given up after spine.courier_timeout, others are served meanwhile (attack 63).
$ryj->append_conf('postgresql.conf', 'spine.courier_timeout = 500ms');
$ryj->reload;
my $lock = $rqm->background_psql('spine');
$lock->query_safe('BEGIN; LOCK TABLE bump.visit IN ACCESS EXCLUSIVE MODE;');
put($ryj, 'hanging');
ok($ryj->wait_for("SELECT state = 'waiting' AND last_error ~ 'time-out|57014' FROM spine.links WHERE direction = 'sending'"), 'an answer that does not come is not waited for');
$lock->query_safe('COMMIT;');
$lock->quit;
same_and_once('neighbour freed');
$ryj->append_conf('postgresql.conf', 'spine.courier_timeout = 60s');
$ryj->reload;

# The neighbour restored from a backup is refilled from where the backup stands.
$rqm->stop('fast');
my $data = $rqm->data_dir;
system('cp', '-a', $data, "$data.backup") == 0 or die;
$rqm->start;
stream(1);
ok(wait_equal($ryj, $rqm), 'before the restore');
$rqm->stop('immediate');
system("rm -rf '$data' && mv '$data.backup' '$data'") == 0 or die;
$rqm->start;
same_and_once('receiver restored');
is($rqm->sql('SELECT cardinality(past_epochs) FROM spine.link_received'), 0, 'without sending everything anew');

# The sender restored from a backup: what it no longer has goes there too, and that is noted.
put($ryj, 'kept', record_id => (my $kept = SpineExchange::make_id()));
same_and_once('before the backup');
$ryj->stop('fast');
$data = $ryj->data_dir;
system('cp', '-a', $data, "$data.backup") == 0 or die;
$ryj->start;
$ryj->sql("UPDATE bump.visit SET revision = 7, weight = 7 WHERE record_id = '$kept'");
my $lost = put($ryj, 'lost');
stream(1);
ok(wait_equal($ryj, $rqm), 'before the restore');
$rqm->stop('fast');    # the restored node runs on a while before they meet
$ryj->stop('immediate');
system("rm -rf '$data' && mv '$data.backup' '$data'") == 0 or die;
$ryj->start;
stream(2);
$rqm->start;
same_and_once('sender restored');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$lost'"), 0, 'a record that the owner lost is gone');
is($rqm->sql("SELECT revision FROM bump.visit WHERE record_id = '$kept'"), 1, 'one whose revision went back is as the owner has it');
is($rqm->sql("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'revision_went_back'"), 't', 'which is noted');
is($rqm->sql('SELECT cardinality(past_epochs) FROM spine.link_received'), 1, 'all this in a new epoch');

# A dump of the sender restored elsewhere is another cluster: everything is sent again, nothing twice.
my $dump = $ryj->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, $ryj->connstr('spine') ], 'a dump of a connected node');
my $copy = SpineNode->new('copy', start => 0, conf => 'spine.courier_interval = 200ms');
$ryj->stop('fast');
$copy->start;
$copy->safe_psql('postgres', 'CREATE DATABASE spine');
$copy->safe_psql('postgres', "CREATE ROLE $_ NOLOGIN") for qw(spine_owner spine_reader spine_member spine_supplier spine_governor spine_operator spine_portal spine_neighbour);
$copy->safe_psql('postgres', 'CREATE ROLE node_rqm LOGIN');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $copy->connstr('spine') ], 'restores into a fresh cluster');
put($copy, 'from the copy');
ok(wait_equal($copy, $rqm, 60), 'which takes the node\'s place');
is($rqm->sql('SELECT count(*) FROM spine.receive_fault'), 0, 'with nothing set aside');
is($rqm->sql('SELECT cardinality(past_epochs) FROM spine.link_received'), 2, 'in a new epoch');
is($copy->sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'spine.\"delivery_RQM\"'::regclass"), 4, 'and the ledger has its partitions');

done_testing();
