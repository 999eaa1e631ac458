# A transaction larger than a batch holds up nobody: what others write overtakes it, what governs
# in it goes first, and every row arrives, whoever is killed.    # fault F16, invariants I1 I9
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(conf => "spine.courier_batch = 50\nspine.courier_interval = 200ms");

# $n records in one transaction, with $more SQL in the middle of it
sub large
{
	my ($name, $n, $more) = @_;
	my $half = "INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, event_at, received_at, revision, audience, visit_id)
		SELECT spine.uuid_v7(), 'RYJ', 'large', '$name' || i, gen_random_uuid(), '1.0', now(), now(), 1, '{RQM:care,RQM:care/aci}', '$name'
		FROM generate_series(%s) i";
	my $middle = $n / 2;
	$ryj->sql(join ';', 'BEGIN', sprintf($half, "1, $middle"), $more // (), sprintf($half, $middle + 1 . ", $n"), 'COMMIT');
	return;
}

sub arrived { return $rqm->sql("SELECT count(*) FROM bump.visit WHERE visit_id = '$_[0]'") }

# Holds the receiver for this long after each batch, so that a large transaction takes a while.
sub slow
{
	my ($seconds) = @_;
	$rqm->sql("CREATE OR REPLACE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep($seconds); RETURN NULL; END'");
	return;
}
slow(0);
$rqm->sql('GRANT USAGE ON SCHEMA public TO PUBLIC; CREATE TRIGGER dawdle AFTER INSERT ON bump.visit FOR EACH STATEMENT EXECUTE FUNCTION public.dawdle()');

# Small ones overtake
slow(0.5);
large('crowd', 5000);
put($ryj, "small$_") for 1 .. 5;
ok($rqm->wait_for("SELECT count(*) = 5 FROM bump.visit WHERE visit_id LIKE 'small%'"), 'what others write is there');
my $then = arrived('crowd');
cmp_ok($then, '<', 5000, "before the large transaction is through ($then rows of it were there)");
ok($ryj->wait_for("SELECT position ? 'later' FROM spine.link"), 'which its position notes');
cmp_ok($ryj->sql("SELECT spine.link_lag('RQM')"), '>', 0, 'and its lag counts');

# A record that waits there is withdrawn: it does not come
my $waits = $ryj->sql("SELECT record_id FROM bump.visit WHERE visit_id = 'crowd' ORDER BY record_id DESC LIMIT 1");
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$waits'"), 0, 'the last record of it waits');
$ryj->sql("UPDATE bump.visit SET audience = '{}', revision = 2 WHERE record_id = '$waits'");
my $corrected = $ryj->sql("SELECT record_id FROM bump.visit WHERE visit_id = 'crowd' AND record_id <> '$waits' ORDER BY record_id DESC LIMIT 1");
$ryj->sql("UPDATE bump.visit SET weight = 77, revision = 2 WHERE record_id = '$corrected'");
ok($rqm->wait_for("SELECT weight = 77 FROM bump.visit WHERE record_id = '$corrected'"), 'one that is corrected meanwhile comes with the correction');
cmp_ok(arrived('crowd'), '<', 4999, 'before the others');
$rqm->sql("CREATE TABLE public.seen AS SELECT 0 AS n; CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
	'BEGIN IF NEW.record_id = ''$waits'' THEN UPDATE public.seen SET n = n + 1; END IF; RETURN NULL; END';
	CREATE TRIGGER look AFTER INSERT ON bump.visit FOR EACH ROW EXECUTE FUNCTION public.look()");
slow(0);
ok(wait_equal($ryj, $rqm, 120), 'all the rest arrives');
is($rqm->sql('SELECT n FROM public.seen'), 0, 'and the withdrawn one never did');
is($rqm->sql("SELECT weight FROM bump.visit WHERE record_id = '$corrected'"), 77, 'nor did the correction go back');
ok($ryj->wait_for("SELECT NOT position ? 'later' AND spine.link_lag('RQM') = 0 FROM spine.link"), 'then nothing is left for later');

# What governs in it goes before its records, and before those of others
my $woman = SpineExchange::make_id();
slow(0.5);
large('after', 3000, "INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, audience)
	SELECT gen_random_uuid(), '$woman', 'RQM', 'referral', 'RYJ', '{RQM:care}'");
ok($rqm->wait_for("SELECT count(*) = 1 FROM spine.relationship WHERE patient_id = '$woman'"), 'a relationship made in a large transaction is there');
cmp_ok(arrived('after'), '<', 3000, 'before its records are');
slow(0);
ok(wait_equal($ryj, $rqm, 120), 'which follow');

# Several large ones, and the courier is killed in the middle
slow(0.5);
large("many$_", 1500) for 1 .. 3;
put($ryj, 'behind them');
ok($rqm->wait_for("SELECT count(*) = 1 FROM bump.visit WHERE visit_id = 'behind them'"), 'what is behind several large ones is there');
cmp_ok(arrived('many3'), '<', 1500, 'before the last of them');
for my $round (1 .. 3)
{
	my $pid = courier_pid($ryj);
	kill 'KILL', $pid;
	ok($ryj->poll_query_until('spine', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'spine courier' AND pid <> $pid"), "the courier is killed ($round)");
	put($ryj, "round$round");
	ok($rqm->wait_for("SELECT count(*) = 1 FROM bump.visit WHERE visit_id = 'round$round'"), 'and goes on');
}
slow(0);
ok(wait_equal($ryj, $rqm, 120), 'all arrive');
is($rqm->sql('SELECT count(*) FROM spine.receive_fault'), 0, 'none is set aside');
is($rqm->sql('SELECT cardinality(past_epochs) FROM spine.link_received'), 0, 'all in one epoch');

# Both progress while the ordinary lane alone would fill all batches
slow(0.02);
large('background', 3000);
my $stream = IPC::Run::start([ 'psql', '-X', '-q', '-d', $ryj->connstr('spine'), '-c',
	"DO \$\$ BEGIN FOR n IN 1..400 LOOP
		INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, event_at, received_at, revision, audience, visit_id)
			SELECT spine.uuid_v7(), 'RYJ', 'stream', n || '-' || i, gen_random_uuid(), '1.0', now(), now(), 1, '{RQM:care,RQM:care/aci}', 'stream'
			FROM generate_series(1, 45) i;
		COMMIT;
	END LOOP; END \$\$" ]);
ok($rqm->wait_for("SELECT count(*) = 3000 FROM bump.visit WHERE visit_id = 'background'", 't', 120), 'a large transaction arrives under a stream of small ones');
cmp_ok(arrived('stream'), '<', 18000, 'before that has ended');
slow(0);
IPC::Run::finish($stream);
ok(wait_equal($ryj, $rqm, 120), 'and all of the stream');

done_testing();
