# Processes and servers that die at any moment, and between any two steps (faults F1, F2, F3, F4; invariants I1, I2, I4, I5, I7, I8, I9, I12). Clients write and read all
# the time, at both nodes, and write down what they were told.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineChecker;
use SpineExchange;
use SpineNode;
use SpineProxy;
use Test::More;
use Time::HiRes qw(sleep time);

our $rounds //= $ENV{SPINE_FAULT_ROUNDS} || 20;
my $seed = $ENV{SPINE_FAULT_SEED} || 1;
srand $seed;
note("seed $seed, $rounds rounds");

my ($ryj, $rqm) = two_nodes(fsync => 1, conf => "listen_addresses = '127.0.0.1'\nspine.courier_interval = 200ms\nspine.courier_batch = 20\nspine.courier_timeout = '10s'");
my $proxy = SpineProxy->new(port => $rqm->port);
$ryj->sql(sprintf "SELECT spine.connect_node('RQM', 'host=127.0.0.1 port=%d dbname=spine user=node_ryj', '{RQM}')", $proxy->port);
ok(defined $ryj->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links"), 'the nodes are connected');
my $road = SpineChecker->new(from => $ryj, to => $rqm);
$road->reader($rqm, 'RQM');

sub up
{
	my ($node) = @_;
	for (1 .. 600)
	{
		return 1 if eval { $node->sql('SELECT 1') };
		sleep 0.1;
	}
	die $node->name . " does not come up\n";
}

sub holds
{
	my ($name) = @_;
	up($_) for $ryj, $rqm;
	$proxy->does('pass');
	$road->end;
	is(join("\n", $road->settled), '', "$name: equal within a minute (I12)");
	is(join("\n", $road->faults), '', "$name: nothing is lost, twice or where it may not be");
	return;
}

sub pid_of
{
	my ($node, $which) = @_;
	my $pid = eval { $node->sql("SELECT pid FROM pg_stat_activity WHERE $which LIMIT 1") } // '';
	return $pid =~ /^(\d+)$/ ? $1 : undef;
}

# F1: either postmaster, or the whole of it at once
sub postmaster_pid
{
	my ($node) = @_;
	return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
}
sub kill_postmaster
{
	my ($node) = @_;
	my $pid = postmaster_pid($node);
	kill KILL => $pid;
	# its children go when they notice; a new one starts when they have
	$node->{_pid} = undef;
	for my $try (1 .. 300)
	{
		last if !kill 0, $pid;
		sleep 0.05;
	}
	for my $try (1 .. 100)
	{
		return if $node->start(fail_ok => 1);
		sleep 0.3;
	}
	die $node->name . " does not start again\n";
}

$road->begin(clients => 2);
my ($killed, $before) = (0, $road->acknowledged);
for my $round (1 .. $rounds)
{
	$road->wait_acknowledged(2 + int rand 10, 30);
	sleep rand 0.3;
	kill_postmaster(rand() < 0.5 ? $ryj : $rqm);
	$killed++;
	# now and then, look
	if ($round % 100 == 0 && $round < $rounds)
	{
		holds("F1, after $round kills");
		$road->begin(clients => 2);
	}
}
is($killed, $rounds, "F1: a postmaster was killed $rounds times");
cmp_ok($road->acknowledged - $before, '>=', 2 * $rounds, 'while clients wrote');
holds('F1: kill -9 of either postmaster');
is($rqm->sql('SELECT cardinality(past_epochs) <= 1 FROM spine.link_received'), 't', 'F1: no kill made them begin anew');

# F2: one process, by its number; the server then starts all of them anew
my @victims = (
	[ $ryj, "backend_type = 'spine courier'", 'the courier' ], [ $rqm, "usename = 'node_ryj'", 'who receives' ],
	[ $rqm, "backend_type = 'spine auditor'", 'the auditor' ], [ $rqm, "usename = 'checker_clinician'", 'a reader' ],
	[ $ryj, "backend_type = 'client backend' AND usename = 'postgres' AND pid <> pg_backend_pid()", 'a writer' ],
	[ $ryj, "backend_type = 'spine launcher'", 'the launcher' ], [ $ryj, "backend_type = 'checkpointer'", 'the checkpointer' ]);
$road->begin(clients => 2);
for my $victim (@victims)
{
	my ($node, $which, $name) = @$victim;
	my $done = 0;
	for (1 .. 300)
	{
		if (my $pid = pid_of($node, $which))
		{
			$done = kill KILL => $pid and last;
		}
		sleep 0.05;
	}
	ok($done, "F2: $name is killed");
	up($node);
	$road->wait_acknowledged(3, 60);
}
holds('F2: kill -9 of one process');

# F3: between the ledger's commit and the sending: the request waits in the proxy while either side dies; then likewise the answer to what was applied
for my $case ([ 'hold_requests', 'before it was received' ], [ 'hold_answers', 'before it was acknowledged' ])
{
	for my $node ($ryj, $rqm)
	{
		$road->begin(clients => 1);
		$road->wait_acknowledged(3);
		my $sent = $ryj->sql('SELECT sent_seq FROM spine.link');
		$proxy->does($case->[0]);
		ok(defined $ryj->wait_for("SELECT sent_seq > $sent AND sent_seq > acknowledged_seq FROM spine.link"), "F3: a batch was sent ($case->[1])");
		for (1 .. 100) { last if $proxy->holds; sleep 0.1 }
		if ($case->[0] eq 'hold_answers')
		{
			ok(defined $rqm->wait_for("SELECT seq >= (SELECT $sent + 1) FROM spine.link_received"), 'F3: and applied');
		}
		$node->stop('immediate');
		$proxy->does('cut');
		$node->start;
		$proxy->does('pass');
		$road->wait_acknowledged(3);
		holds("F3: $case->[1] " . $node->name . ' died');
	}
}

# F4: what the disk had not got yet is lost: a copy of the data directory, taken while the server runs as a machine that loses power leaves it, takes its place.
# It has what was synced; what was promised is in it, and the receiver's position stands or falls with its rows.
for my $node ($ryj, $rqm)
{
	$road->begin(clients => 2);
	$road->wait_acknowledged(15);
	$node->stop('immediate');
	my $data = $node->data_dir;
	system_or_bail('cp', '-a', $data, "$data.copy");
	system_or_bail('rm', '-rf', $data);
	rename "$data.copy", $data or die "$data: $!\n";
	$node->start;
	$road->wait_acknowledged(3, 60);
	holds('F4: immediate stop and a copied data directory of ' . $node->name);
}

done_testing();
