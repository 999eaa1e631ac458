# Links: pausing, being behind, coming back, and what is said of all that.
# faults F7 F9, invariants I1 I6 I12
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(conf => "spine.courier_interval = 200ms");
my $sending = "FROM spine.links WHERE node = 'RQM' AND direction = 'sending'";

sub log_from
{
	my ($node, $from) = @_;
	return substr slurp_file($node->logfile), $from;
}

# The view
ok($ryj->wait_for("SELECT string_agg(concat_ws(' ', node, direction, state), ', ' ORDER BY direction) = 'RQM receiving connected, RQM sending connected' FROM spine.links"), 'a row for each direction');
put($ryj, 'first');
ok(wait_equal($ryj, $rqm), 'a record goes over');
ok($ryj->wait_for("SELECT lag_rows = 0 AND lag_seconds = 0 AND acknowledged_seq = sent_seq AND received_seq IS NULL $sending"), 'and nothing lags');

# Pausing
is($ryj->refused('node_rqm', "SELECT spine.pause_link('RQM')"), '42501', 'a neighbour pauses nothing');
is(($ryj->psql_as('postgres', "SELECT spine.pause_link('nobody')"))[2] =~ /42704/, 1, 'nor is nobody paused');
$ryj->sql("SELECT spine.pause_link('RQM')");
is($ryj->sql("SELECT state $sending"), 'paused', 'a paused link says so');
my $sent = $ryj->sql("SELECT sent_seq $sending");
put($ryj, "paused$_") for 1 .. 3;
$rqm->sql("INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
	VALUES (gen_random_uuid(), 'RQM', 's', 'theirs', gen_random_uuid(), '1.0', now(), 1, '{RYJ:care,RYJ:care/aci}', 'theirs')");
ok($ryj->wait_for("SELECT count(*) = 1 FROM bump.visit WHERE visit_id = 'theirs'"), 'what the neighbour sends is taken');
is($ryj->sql("SELECT lag_rows, lag_seconds > 0, sent_seq - $sent $sending"), '3|t|0', 'what is for it waits in the ledger, and gets older');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE visit_id LIKE 'paused%'"), 0, 'and is not sent');
$ryj->stop('fast');
$ryj->start;
ok($ryj->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'spine courier'"), 'after a restart');
put($ryj, 'paused4');
ok($rqm->wait_for("SELECT state = 'waiting' OR state = 'connected' FROM spine.links WHERE direction = 'sending'"), 'its neighbour finds it');
is($ryj->sql("SELECT state, sent_seq - $sent $sending"), 'paused|0', 'it is still paused');
$ryj->sql("SELECT spine.resume_link('RQM')");
ok(wait_equal($ryj, $rqm), 'resumed, all comes over');
ok($ryj->wait_for("SELECT state = 'connected' $sending"), 'and it says so');
is($rqm->sql('SELECT cardinality(past_epochs) FROM spine.link_received'), 0, 'without sending everything anew');

# A neighbour that is away: the log has one line for it, and it is served at once when it calls
my $from = -s $ryj->logfile;
$rqm->stop('fast');
put($ryj, 'away');
ok($ryj->wait_for("SELECT state = 'waiting' AND lag_seconds > 0 $sending"), 'the link waits');
ok($ryj->wait_for("SELECT last_error_at > (SELECT retry_at - interval '1 day' $sending) AND retry_at > now() + interval '6 seconds' $sending"), 'longer with each failure');
my @failures = log_from($ryj, $from) =~ /link to node "RQM" failed/g;
cmp_ok(scalar @failures, '<=', 3, 'but what is the same again is not logged again');
my $tries = $ryj->sql("SELECT retry_at $sending");
$rqm->start;
ok(wait_equal($ryj, $rqm), 'it is back');
is($ryj->sql("SELECT acknowledged_at < '$tries' $sending"), 't', 'and was not waited for as long as it would have been');
ok($ryj->wait_for("SELECT state = 'connected' AND retry_at IS NULL $sending"), 'the link is up');
my $log = log_from($ryj, $from);
like($log, qr/link to node "RQM" works again/, 'which the log says, once');
is(scalar(() = $log =~ /works again/g), 1, 'and no more than once');

# Behind: more of the ledger waits than it may
$rqm->stop('fast');
my $kept = $ryj->sql("SELECT count(*) FROM spine.delivery WHERE destination = 'RQM'");
$ryj->append_conf('postgresql.conf', 'spine.ledger_budget = 1MB');
$ryj->reload;
$from = -s $ryj->logfile;
# one that began before, and writes after
my $early = $ryj->background_psql('spine');
$early->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM spine.node;');
$ryj->sql("INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
	SELECT gen_random_uuid(), 'RYJ', 'behind', i, gen_random_uuid(), '1.0', now(), 1, '{RQM:care,RQM:care/aci}', 'behind' FROM generate_series(1, 15000) i");
ok($ryj->wait_for("SELECT state = 'behind' $sending"), 'a neighbour for which too much waits is behind');
like(log_from($ryj, $from), qr/node "RQM" is behind: \d+ MB/, 'which the log says');
ok($ryj->wait_for("SELECT count(*) <= $kept FROM spine.delivery WHERE destination = 'RQM'"), 'what waited is dropped');
cmp_ok($ryj->sql("SELECT count(*) FROM spine.delivery WHERE destination = 'RQM'"), '>=', $kept - 1, 'what had left stays');
put($ryj, 'while behind');
is($ryj->sql("SELECT count(*) FROM spine.delivery WHERE destination = 'RQM' AND record_id = (SELECT record_id FROM bump.visit WHERE visit_id = 'while behind')"), 0,
	'and nothing more is written for it');
# an old picture of who is behind: this one is taken while it is
my $late = $ryj->background_psql('spine');
$late->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM spine.node;');
$early->query_safe('COMMIT;');
$early->quit;
$rqm->start;
ok($ryj->wait_for("SELECT NOT behind FROM spine.node WHERE name = 'RQM'"), 'when it is back its rows are written again');
$late->query_safe(SpineExchange::put_sql('in between') . ';');
is($late->query_safe("SELECT count(*) FROM spine.delivery WHERE record_id = (SELECT record_id FROM bump.visit WHERE visit_id = 'in between')"), 0,
	'though not by one who does not know it yet');
is($ryj->sql("SELECT epoch IS NULL FROM spine.link"), 't', 'and whose end is waited for');
$late->query_safe('COMMIT;');
$late->quit;
ok(wait_equal($ryj, $rqm, 180), 'then it is sent everything');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE visit_id IN ('in between', 'while behind', 'away')"), 3, 'whenever it was written');
ok($ryj->wait_for("SELECT state = 'connected' AND lag_rows = 0 $sending"), 'and is as before');
put($ryj, 'as before');
ok(wait_equal($ryj, $rqm), 'record by record');

# where what was dropped has left holes, new rows lie before old ones: that is no backlog
$ryj->sql("VACUUM spine.delivery");
$rqm->stop('fast');
my $epochs = $ryj->sql('SELECT epoch FROM spine.link');
put($ryj, "in a hole $_") for 1 .. 3;
cmp_ok($ryj->sql("SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'spine.\"delivery_RQM\"'::regclass"), '>', 1024 * 1024,
	'the files are larger than the budget');
is($ryj->sql("SELECT spine.keep_ledger_budget()"), 0, 'but what waits is not');
$rqm->start;
ok(wait_equal($ryj, $rqm), 'and comes over');
is($ryj->sql('SELECT epoch FROM spine.link'), $epochs, 'without sending everything anew');

# What is edited by hand is found, said and mended
sub mended
{
	my ($what, $node, $statement) = @_;
	my $epochs = $rqm->sql('SELECT cardinality(past_epochs) FROM spine.link_received');
	# nothing is on its way while it is done
	$ryj->sql("SELECT spine.pause_link('RQM')");
	$rqm->wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'node_ryj'") // die "the courier does not go\n";
	$node->sql($statement);
	$ryj->sql("SELECT spine.resume_link('RQM')");
	put($ryj, "after $what");
	ok($rqm->wait_for("SELECT cardinality(past_epochs) = $epochs + 1 FROM spine.link_received"), "$what: a new epoch begins");
	ok(wait_equal($ryj, $rqm), 'and the sets are equal');
	ok($ryj->wait_for("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'sent_anew' AND node = 'RQM'"), 'which is noted');
	ok($ryj->wait_for("SELECT state = 'connected' $sending"), 'the link is up');
	# the same again within a minute would be counted
	$ryj->sql('TRUNCATE spine.incident');
	return;
}
$ryj->sql('TRUNCATE spine.incident');
mended('the epoch', $ryj, "UPDATE spine.link SET epoch = gen_random_uuid()");
mended('the sequence', $ryj, "UPDATE spine.link SET sent_seq = 0");
mended('a position in the future', $rqm, "UPDATE spine.link_received SET position = jsonb_set(position, '{from}', '\"900000000:900000000:\"')");
mended('a position that is none', $rqm, "UPDATE spine.link_received SET position = '{\"from\": \"here\", \"later\": 1}'");
mended('the epoch there', $rqm, "UPDATE spine.link_received SET epoch = gen_random_uuid()");

done_testing();
