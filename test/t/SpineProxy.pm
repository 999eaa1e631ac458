# SpineProxy.pm: what lies between two nodes, and goes wrong.
#
#   my $proxy = SpineProxy->new(port => $rqm->port);     on 127.0.0.1; where a node listens there too
#   connect to $proxy->port
#   $proxy->does('cut');                                 from now on, until it does something else
#
#   pass              all goes through
#   cut               connections are closed, new ones too
#   dead              half-open: what is sent is taken and goes nowhere, nothing is closed
#   hold_answers      what the client says goes through, answers wait (delivered when it does 'pass' again)
#   hold_requests     the other way round
#   delay MS          each piece later by so much
#   rate BYTES        so many a second, in each direction
#   flip P, drop P, repeat P, swap P, truncate P
#                     with this chance a piece has a bit flipped, is left out, comes twice, after the next one, or is cut and the connection closed
#
# It runs in a process of its own, with its own seed, and ends with the one that made it. count() says how many pieces it has spoilt.
package SpineProxy;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket;
use Time::HiRes qw(sleep time);

sub new
{
	my ($class, %with) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20, ReuseAddr => 1) or die "proxy: $!\n";
	socketpair(my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!\n";
	$_->autoflush(1) for $mine, $its;
	my $pid = fork // die "fork: $!\n";
	if (!$pid)
	{
		close $mine;
		$SIG{PIPE} = 'IGNORE';
		srand($with{seed} // 1);
		eval { run($listener, $its, $with{port}); 1 } or print STDERR "proxy: $@";
		POSIX::_exit(0);
	}
	close $its;
	return bless { pid => $pid, control => $mine, port => $listener->sockport, parent => $$ }, $class;
}

sub port { return $_[0]{port} }

sub ask
{
	my ($self, $what) = @_;
	syswrite $self->{control}, "$what\n";
	sysread($self->{control}, my $answer, 100) or die "the proxy is gone\n";
	chomp $answer;
	return $answer;
}

sub does { my ($self, @what) = @_; $self->ask("@what"); return }
sub count { my ($self) = @_; return $self->ask('count') }
# in how many directions something waits in it
sub holds { my ($self) = @_; return $self->ask('holds') }

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!);
	return if $$ != ($self->{parent} // 0);
	kill KILL => $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

sub run
{
	my ($listener, $control, $port) = @_;
	my ($mode, $value, $spoilt) = ('pass', 0, 0);
	my %way;    # by file number: {socket, other, queue, answers, closing, budget}
	my $select = IO::Select->new($listener, $control);
	my $close = sub {
		my ($one) = @_;
		for my $socket ($one->{socket}, $one->{other}{socket})
		{
			$select->remove($socket);
			delete $way{ fileno $socket } if defined fileno $socket;
			close $socket;
		}
	};
	my $last = time;
	while (1)
	{
		for my $ready ($select->can_read(0.01))
		{
			if ($ready == $control)
			{
				sysread($control, my $command, 200) or return;
				my ($word, $number) = split ' ', $command;
				if ($word eq 'count') { syswrite $control, "$spoilt\n"; next }
				if ($word eq 'holds')
				{
					my $held = 0;
					$held += grep { @{ $_->{queue} } } values %way;
					syswrite $control, "$held\n";
					next;
				}
				($mode, $value) = ($word, $number // 0);
				if ($mode eq 'cut') { defined fileno $_->{socket} and $close->($_) for my @all = values %way }
				syswrite $control, "ok\n";
			}
			elsif ($ready == $listener)
			{
				my $client = $listener->accept or next;
				if ($mode eq 'cut') { close $client; next }
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 2);
				if (!$server) { close $client; next }
				$_->blocking(0) for $client, $server;
				# what is read from the client waits in the server's queue, and the other way round
				my %client = (socket => $client, queue => [], answers => 0, budget => 0);
				my %server = (socket => $server, queue => [], answers => 1, budget => 0);
				($client{other}, $server{other}) = (\%server, \%client);
				$way{ fileno $client } = \%client;
				$way{ fileno $server } = \%server;
				$select->add($client, $server);
			}
			else
			{
				my $from = $way{ fileno $ready // -1 } or next;
				my $got = sysread $ready, my $piece, 16384;
				next if !defined $got && $!{EAGAIN};
				if (!$got)
				{
					# a side that went away, but in a half-open connection nobody hears of it
					next if $mode eq 'dead' && !$from->{gone}++;
					$select->remove($ready) and next if $mode eq 'dead';
					$close->($from);
					next;
				}
				my $queue = $from->{other}{queue};
				my $due = time + ($mode eq 'delay' ? $value / 1000 : 0);
				if ($mode =~ /^(flip|drop|repeat|swap|truncate)$/ && rand() < $value)
				{
					$spoilt++;
					if ($mode eq 'flip') { vec($piece, int rand(8 * length $piece), 1) ^= 1 }
					elsif ($mode eq 'drop') { next }
					elsif ($mode eq 'repeat') { push @$queue, [ $due, $piece ] }
					elsif ($mode eq 'swap') { $from->{kept} = $piece; next }
					elsif ($mode eq 'truncate')
					{
						push @$queue, [ $due, substr $piece, 0, int rand length $piece ];
						$from->{other}{closing} = 1;
						next;
					}
				}
				push @$queue, [ $due, $piece ];
				push @$queue, [ $due, delete $from->{kept} ] if defined $from->{kept};
			}
		}
		my $now = time;
		for my $to (my @all = values %way)
		{
			next if !defined fileno $to->{socket};
			# answers go to the client
			next if $mode eq 'dead' || ($mode eq 'hold_answers' && !$to->{answers}) || ($mode eq 'hold_requests' && $to->{answers});
			$to->{budget} = $mode eq 'rate' ? ($to->{budget} + $value * ($now - $last) < $value ? $to->{budget} + $value * ($now - $last) : $value) : 1e12;
			while (@{ $to->{queue} } && $to->{queue}[0][0] <= $now && $to->{budget} >= 1)
			{
				my $piece = $to->{queue}[0][1];
				my $most = $to->{budget} < length $piece ? int $to->{budget} : length $piece;
				my $sent = syswrite $to->{socket}, $piece, $most;
				last if !$sent;
				$to->{budget} -= $sent;
				if ($sent == length $piece) { shift @{ $to->{queue} } }
				else { $to->{queue}[0][1] = substr $piece, $sent }
			}
			$close->($to) if $to->{closing} && !@{ $to->{queue} };
		}
		$last = $now;
	}
	return;
}

1;
