# What a network does: cut, one way only, flapping, half-open, slow, and what it does to the bytes (faults F5, F6, F13; invariants I1 to I9, I12). The road from
# RYJ to RQM leads through a proxy, under TLS as between Trusts; clients write all the time, and write down what they were told.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineChecker;
use SpineExchange;
use SpineNode;
use SpineProxy;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(conf => "listen_addresses = '127.0.0.1'\nspine.courier_interval = 200ms\nspine.courier_batch = 50\nspine.courier_timeout = '1s'");
my $data = $rqm->data_dir;
command_ok([ qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout), "$data/server.key", '-out', "$data/server.crt" ], 'a certificate');
chmod 0600, "$data/server.key";
$rqm->append_conf('postgresql.conf', 'ssl = on');
$rqm->reload;
my $proxy = SpineProxy->new(port => $rqm->port);
$ryj->sql(sprintf "SELECT spine.connect_node('RQM', 'host=localhost hostaddr=127.0.0.1 port=%d dbname=spine user=node_ryj sslmode=verify-full sslrootcert=$data/server.crt', '{RQM}')", $proxy->port);
ok(defined $ryj->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links"), 'the nodes are connected through it');
is($rqm->sql("SELECT DISTINCT s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.usename = 'node_ryj'"), 't', 'under TLS');

my $road = SpineChecker->new(from => $ryj, to => $rqm);
$road->reader($rqm, 'RQM');

# against(NAME, DO): clients write; DO; then all goes through again, and what must hold does.
sub against
{
	my ($name, $do, %with) = @_;
	$road->begin(clients => 2);
	$road->wait_acknowledged(8);
	$do->();
	# I6: who writes here does not notice
	cmp_ok($road->wait_acknowledged(10, 30), '>=', 10, "$name: writers go on") if !$with{over};
	$with{meanwhile}->() if $with{meanwhile};
	$proxy->does('pass');
	$road->end;
	is(join("\n", $road->settled), '', "$name: equal within a minute (I12)");
	# the history of all of it is looked at in the end
	is(join("\n", $road->faults), '', "$name: nothing is lost, twice or where it may not be") if $with{whole} || $ENV{SPINE_SLOW};
	return;
}

# what the link says of itself
sub says { my ($condition, $name) = @_; return ok(defined $ryj->wait_for("SELECT $condition FROM spine.links WHERE direction = 'sending'", 't', 30), $name) }

# F5
against('cut', sub { $proxy->does('cut') }, meanwhile => sub {
	says("state = 'waiting' AND last_error IS NOT NULL AND retry_at IS NOT NULL AND lag_rows > 0", 'the link says that it waits');
	# what ends meanwhile is not there when the line is back (I3)
});
against('one way: no answers', sub { $proxy->does('hold_answers') }, meanwhile => sub { says("state = 'waiting' AND last_error IS NOT NULL", 'an answer that does not come is not waited for') });
against('one way: no requests', sub { $proxy->does('hold_requests') }, meanwhile => sub { says("state = 'waiting' AND last_error IS NOT NULL", 'nor one to what did not arrive') });
against('flapping', sub {
	for (1 .. 8)
	{
		$proxy->does('cut');
		sleep 0.3;
		$proxy->does('pass');
		sleep 0.3;
	}
});

# F6
against('half-open', sub { $proxy->does('dead') }, meanwhile => sub { says("state = 'waiting' AND last_error IS NOT NULL", 'a dead line is found out') });
against('slow', sub { $proxy->does('delay', 200) });
against('narrow', sub { $proxy->does('rate', 20000) });

# F13: bytes left out, spoilt, twice, in another order, an end in the middle
for my $way (qw(drop flip repeat swap truncate))
{
	my $before = $proxy->count;
	against($way, sub {
		$proxy->does($way, 0.1);
		for (1 .. 300) { last if $proxy->count >= $before + 5; sleep 0.1 }
	}, whole => $way eq 'truncate');
	cmp_ok($proxy->count, '>=', $before + 5, "$way: so it was, several times");
}
is($rqm->sql("SELECT count(*) FROM spine.receive_fault"), 0, 'no row was set aside for what the network did');
is($rqm->sql("SELECT count(*) FROM spine.incident"), 0, 'nor is the neighbour blamed for it');

done_testing();
