# A neighbour that does not keep to the protocol (attack 63): it delays nobody else, is given up in time,
# writes nothing into the log, and does not keep the courier from ending.
use strict;
use warnings;

use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(conf => "spine.courier_timeout = 2s\nspine.courier_interval = 200ms");
my $sockets = PostgreSQL::Test::Utils::tempdir_short();

sub message
{
	my ($type, $body) = @_;
	return $type . pack('N', 4 + length $body) . $body;
}

# what it says to a query, behind ParseComplete and BindComplete
my %ways = (
	'never ends its answer' => message('T', pack('n', 1) . "a\0" . pack('NnNnNn', 0, 0, 25, -1, -1, 0))
	  . message('D', pack('nN', 1, 2) . '{}') . message('C', "SELECT 1\0"),
	'asks for a copy' => message('G', pack('Cn', 0, 0)),
	'talks on' => message('N', "SLOG\0MForged line of a log\0\0") x 3 . message('A', pack('N', 1) . "channel\0payload\0") x 3);

# A neighbour of this kind, in a process of its own.
sub impostor
{
	my ($port, $says) = @_;
	my $listener = IO::Socket::UNIX->new(Local => "$sockets/.s.PGSQL.$port", Listen => 5) or die "listen: $!";
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	my @open;
	$SIG{ALRM} = sub { exit 0 };
	alarm 120;
	while (my $client = $listener->accept)
	{
		push @open, $client;
		read($client, my $length, 4);
		read($client, my $startup, unpack('N', $length) - 4);
		syswrite($client, message('R', pack('N', 0)) . message('Z', 'I'));
		my $type = '';
		while ($type ne 'S')
		{
			read($client, my $head, 5) or last;
			($type, $length) = unpack('aN', $head);
			read($client, my $body, $length - 4) if $length > 4;
		}
		syswrite($client, message('1', '') . message('2', '') . $says);
	}
	exit 0;
}

my $port = 5;
my $log = -s $ryj->logfile;
for my $way (sort keys %ways)
{
	my $pid = impostor(++$port, $ways{$way});
	$ryj->sql("SELECT spine.connect_node('LIAR', 'host=$sockets port=$port dbname=x user=x', '{R1K}')");
	ok($ryj->wait_for("SELECT last_error IS NOT NULL FROM spine.link WHERE node = 'LIAR'", 't', 10), "a neighbour that $way is given up");
	for my $n (1 .. 3)
	{
		put($ryj, "$way $n");
		sleep 0.3;
	}
	ok(wait_equal($ryj, $rqm, 5), 'and delays no other');
	$ryj->sql("SELECT spine.disconnect_node('LIAR')");
	$ryj->sql("UPDATE spine.link SET last_error = NULL WHERE node = 'LIAR'");
	kill 'KILL', $pid;
	waitpid $pid, 0;
}
unlike(PostgreSQL::Test::Utils::slurp_file($ryj->logfile, $log), qr/Forged line/, 'what it says unasked does not stand in the log');

# ended while such a neighbour is at it
my $pid = impostor(++$port, $ways{'never ends its answer'});
$ryj->sql("SELECT spine.connect_node('LIAR', 'host=$sockets port=$port dbname=x user=x', '{R1K}')");
sleep 1;
my $start = time;
$ryj->stop('fast');
cmp_ok(time - $start, '<', 5, 'the courier ends when the server does');
kill 'KILL', $pid;
waitpid $pid, 0;

done_testing();
