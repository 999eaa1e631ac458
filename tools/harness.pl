#!/usr/bin/perl
# harness.pl: runs test files that speak TAP, some at a time, a line for each as it ends, and
# ends with the line "N passed, N failed". Exit 1 when anything failed or nothing ran.
#
#   harness.pl [--jobs N] [--timeout SECONDS] FILE...     from the folder test/
#
# How a file is run follows from its name: .sql by psql in a database of its own, .pl by perl with
# PostgreSQL's test modules, anything else by itself. A file that dies, runs out of time or
# keeps not to its plan counts as one more failure.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use Getopt::Long;
use POSIX qw(WNOHANG setpgid);
use TAP::Parser;
use Time::HiRes qw(sleep time);

my ($jobs, $timeout) = (2, 600);
GetOptions('jobs=i' => \$jobs, 'timeout=i' => \$timeout) or exit 2;

my $tools = dirname(abs_path($0));
my $out = "$ENV{SPINE_RUN}/out";
(my $pgxs = `$ENV{PG_CONFIG} --pgxs`) =~ s,/makefiles/pgxs\.mk\s*\z,,;
my $modules = "$pgxs/test/perl";
$ENV{PG_REGRESS} = "$pgxs/test/regress/pg_regress";
make_path($out);
$| = 1;

my @queue = @ARGV;
my $width = 0;
for (@queue) { $width = length if length > $width }
my %running;    # pid => file, start, base name of its output
my ($passed, $failed) = (0, 0);

# with our signals ignored or handled here, children get theirs back before exec
$SIG{$_} = sub { end_all(); exit 1 } for qw(TERM INT HUP);

while (@queue || %running)
{
	start(shift @queue) while @queue && keys %running < $jobs;
	my $pid = waitpid(-1, WNOHANG);
	if ($pid > 0 && $running{$pid}) { finish($pid, $?); next }
	for my $p (keys %running)
	{
		next if $running{$p}{late} || time - $running{$p}{start} < $timeout;
		$running{$p}{late} = 1;
		kill 'TERM', -$p;
		sleep 1;
		kill 'KILL', -$p;
	}
	sleep 0.02;
}
print "$passed passed, $failed failed\n";
exit($failed || !$passed ? 1 : 0);

sub command
{
	my $file = shift;
	return ('sh', "$tools/pgtap.sh", $file) if $file =~ /\.sql$/;
	return ('perl', "-I$modules", '-It', $file) if $file =~ /\.pl$/ && $file =~ m,^t/,;
	return ("./$file");
}

sub start
{
	my $file = shift;
	(my $base = $file) =~ s,[^A-Za-z0-9_],_,g;
	$base = "$out/$base";
	my $pid = fork // die "could not fork: $!\n";
	if (!$pid)
	{
		setpgid(0, 0);
		$SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
		# PostgreSQL's modules put data directories and logs below TESTDIR
		$ENV{TESTDIR} = $base;
		make_path($base);
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$base.out" or die "could not write $base.out: $!\n";
		open STDERR, '>', "$base.err" or die "could not write $base.err: $!\n";
		my @command = command($file);
		exec { $command[0] } @command or die "could not run $command[0]: $!\n";
	}
	setpgid($pid, $pid);
	$running{$pid} = { file => $file, start => time, base => $base };
}

sub slurp
{
	my $path = shift;
	open my $fh, '<', $path or return '';
	local $/;
	return scalar(<$fh>) // '';
}

sub finish
{
	my ($pid, $status) = @_;
	my $run = delete $running{$pid};
	my $seconds = time - $run->{start};
	kill 'KILL', -$pid;    # whatever it left behind
	my $tap = slurp("$run->{base}.out") || "\n";
	my $parser = TAP::Parser->new({ tap => $tap, ignore_exit => 1 });
	my (@trouble, $show);
	while (my $result = $parser->next)
	{
		# the diagnostics that follow a failed test belong to it
		if ($result->is_test) { $show = !$result->is_ok }
		elsif (!$result->is_comment) { $show = $result->is_bailout }
		push @trouble, $result->raw if $show;
	}
	my $bad = $parser->failed;
	my @faults = $parser->parse_errors;
	# a skipped file has a plan of none; anything else without tests did not do its work
	push @faults, 'ran out of time' if $run->{late};
	# a nonzero status beside failed tests is only their echo
	push @faults, $status & 127 ? 'killed by signal ' . ($status & 127) : 'exit status ' . ($status >> 8)
	  if $status && ($status & 127 || !$bad || @faults);
	push @faults, 'no tests' if !$parser->tests_run && !@faults && !defined $parser->skip_all;
	$bad++ if @faults;
	$passed += $parser->passed;
	$failed += $bad;
	printf "%-6s %-*s %5d passed%s%s %6.1f s\n", $bad ? 'FAILED' : 'ok', $width, $run->{file}, scalar $parser->passed,
	  $bad ? sprintf(', %d failed', $bad) : '', defined $parser->skip_all ? ', skipped: ' . $parser->skip_all : '', $seconds;
	return unless $bad;
	print "    $_\n" for @trouble, map { "# $_" } @faults;
	# Test::More explains its failures there; psql's notices would only be in the way
	return unless @faults || $run->{file} !~ /\.sql$/;
	my @err = split /\n/, slurp("$run->{base}.err");
	# PostgreSQL's modules send what Perl says at its death to a log of their own
	for my $log (@faults ? glob "$run->{base}/tmp_check/log/regress_log_*" : ())
	{
		my @last = grep { !/^(?:#|(?:not )?ok\b|\[[\d:.]+\]|waiting for server|server (?:started|stopped)|\s*$)/ } split /\n/, slurp($log);
		unshift @err, @last > 8 ? @last[-8 .. -1] : @last;
	}
	splice @err, 30, @err - 40, '...' if @err > 40 && $run->{file} =~ /\.sql$/;
	splice @err, 150, @err - 200, '...' if @err > 200;
	print '    | ', substr($_, 0, 300), "\n" for @err;
}

sub end_all
{
	$SIG{$_} = 'IGNORE' for qw(TERM INT HUP);
	kill 'TERM', map { -$_ } keys %running;
	sleep 0.5;
	kill 'KILL', map { -$_ } keys %running;
}
