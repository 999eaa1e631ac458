# SpineNode.pm: a spine node for TAP tests.
#
#   my $ryj = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0');
#   is($ryj->sql('SELECT node FROM spine.store'), 'RYJ', '...');
#
# Nodes that are connected: SpineExchange.pm. new() makes and starts a cluster (a PostgreSQL::Test::Cluster) that runs the staged build, with
# the network key that all nodes of a run share and a database spine with the extension in
# it, where the courier runs. Further parameters:
#   organisation   makes a store for it; without, there is none
#   dataset        'NAME VERSION', or a list of them, published after that
#   organisations  a true value loads the national file first, when the run has it
#   conf           lines of postgresql.conf
#   fsync          a true value leaves fsync on, for tests that crash the machine
#   start          0: neither started nor filled, only initialised
package SpineNode;

use strict;
use warnings;

use parent 'PostgreSQL::Test::Cluster';

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(say_to heard ask);

use constant DATABASE => 'spine';

# the superuser of these clusters, whoever runs them
$ENV{PGUSER} = 'postgres';

sub new
{
	my ($class, $name, %with) = @_;
	my $self = $class->SUPER::new($name);

	$self->init(extra => [ '-U', 'postgres', '--encoding=UTF8', '--locale=C.UTF-8' ]);
	my @conf = (
		"shared_preload_libraries = '$ENV{SPINE_LIB}'",
		"spine.network_key_file = '$ENV{SPINE_KEY}'",
		"spine.databases = '" . DATABASE . "'",
		'wal_level = replica',
		'max_connections = 40',
		'max_worker_processes = 16',
		'restart_after_crash = on',
		"timezone = 'Europe/London'");
	push @conf, 'fsync = on' if $with{fsync};
	push @conf, $with{conf} if defined $with{conf};
	$self->append_conf('postgresql.conf', join("\n", @conf, ''));
	$self->append_conf('postgresql.conf', "extension_destdir = '$ENV{SPINE_STAGE}'")
	  if system("$ENV{SPINE_BINDIR}/postgres -C extension_destdir -D '" . $self->data_dir . "' >/dev/null 2>&1") == 0;
	return $self if defined $with{start} && !$with{start};

	my $filled = _filled(%with);
	if ($filled && -d $filled)
	{
		_copy($filled, $self->data_dir);
		$self->start;
		return $self;
	}
	$self->start;
	$self->safe_psql('postgres', 'CREATE DATABASE ' . DATABASE);
	$self->sql('SET client_min_messages = warning; CREATE EXTENSION spine CASCADE');
	$self->create_store(%with) if $with{organisation};
	if ($filled)
	{
		# who else has made it meanwhile is as good
		$self->stop;
		mkdir "$filled.$$";
		_copy($self->data_dir, "$filled.$$");
		rename "$filled.$$", $filled or PostgreSQL::Test::Utils::system_log('rm', '-rf', "$filled.$$");
		$self->start;
	}
	return $self;
}

# Where what such a node holds from the first is kept for the other files of the run: it takes seconds to make. A file's
# second node of one organisation is made by itself, so that no two of a file are one cluster.
my %taken;

sub _filled
{
	my (%with) = @_;
	return undef if !$with{organisation} || $taken{ $with{organisation} }++;
	my @parts = ($with{organisation}, $with{organisations} ? 'organisations' : (), ref $with{dataset} ? @{ $with{dataset} } : $with{dataset} // ());
	mkdir "$ENV{SPINE_RUN}/filled";
	return "$ENV{SPINE_RUN}/filled/" . join('_', map { s/[^A-Za-z0-9.]/_/gr } @parts);
}

# A stopped cluster's files, but what it is told.
sub _copy
{
	my ($from, $to) = @_;
	system_or_bail('sh', '-c', 'cd "$1" && find . -mindepth 1 -maxdepth 1 ! -name postgresql.conf ! -name pg_hba.conf ! -name pg_ident.conf -exec rm -rf {} +', 'sh', $to);
	system_or_bail('sh', '-c', 'cd "$1" && find . -mindepth 1 -maxdepth 1 ! -name postgresql.conf ! -name pg_hba.conf ! -name pg_ident.conf -exec cp -a {} "$2" \\;', 'sh', $from, $to);
	return;
}

# The store and what stands in it from the first.
sub create_store
{
	my ($self, %with) = @_;
	$self->sql("SELECT spine.create_store('$with{organisation}')");
	$self->sql("SELECT spine.load_organisations(pg_catalog.pg_read_file('$ENV{SPINE_ODS_FILE}'))")
	  if $with{organisations} && $ENV{SPINE_ODS_FILE};
	for my $dataset (ref $with{dataset} ? @{ $with{dataset} } : $with{dataset} // ())
	{
		my ($name, $version) = split ' ', $dataset;
		$self->sql("SELECT spine.publish_dataset('$name', '$version')");
	}
	return;
}

# sql(QUERY): in database spine, as superuser; the output, unaligned; dies at an error.
sub sql
{
	my ($self, $query) = @_;
	return $self->sql_as('postgres', $query);
}

# sql_as(ROLE, QUERY): the same as a role that can log in.
sub sql_as
{
	my ($self, $role, $query) = @_;
	my ($code, $out, $err) = $self->psql_as($role, $query);
	die "as $role on " . $self->name . ": $err\nin: $query\n" if $code != 0;
	return $out;
}

# psql_as(ROLE, QUERY): exit code of psql, output and errors with their SQLSTATE.
sub psql_as
{
	my ($self, $role, $query) = @_;
	my ($out, $err);
	my $code = $self->psql(DATABASE, $query, stdout => \$out, stderr => \$err,
		extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
	return ($code, $out, $err);
}

# refused(ROLE, QUERY): the SQLSTATE of the error that it raises, '' when it raises none.
sub refused
{
	my ($self, $role, $query) = @_;
	my ($code, $out, $err) = $self->psql_as($role, $query);
	return '' if $code == 0;
	return $err =~ /(?:ERROR|FATAL):  ([0-9A-Z]{5}):/ ? $1 : $err;
}

# session(ROLE, [SECONDS]): a psql that stays connected, for so long (60). say_to() sends it a statement, heard() waits for what it prints, ask() does both.
sub session
{
	my ($self, $role, $seconds) = @_;
	my ($in, $out) = ('', '');
	my $run = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $self->conninfo($role) ],
		'<', \$in, '>', \$out, '2>&1', IPC::Run::timeout($seconds // 60));
	return { in => \$in, out => \$out, run => $run };
}

sub say_to
{
	my ($session, $statement) = @_;
	${ $session->{in} } .= "$statement;\n\\echo told\n";
	$session->{run}->pump_nb;
	return;
}

sub heard
{
	my ($session) = @_;
	$session->{run}->pump until ${ $session->{out} } =~ s/\A(.*?)^told\n//ms;
	return $1;
}

sub ask
{
	my ($session, $statement) = @_;
	say_to($session, $statement);
	return heard($session);
}

# conninfo(ROLE): how to reach the node's database as this role.
sub conninfo
{
	my ($self, $role) = @_;
	return sprintf("host=%s port=%d dbname=%s user=%s", $self->host, $self->port, DATABASE, $role);
}

# A server that is not up yet may close psql's input before it is written: that is one more reason to ask again.
sub poll_query_until
{
	my ($self, @query) = @_;
	for my $try (1 .. 10)
	{
		my $answer = eval { $self->SUPER::poll_query_until(@query) };
		return $answer if $@ eq '';
		die $@ if $@ !~ /Broken pipe/;
		sleep 1;
	}
	return 0;
}

# wait_for(QUERY, [EXPECTED, [SECONDS]]): asks until the answer is EXPECTED (t); the
# milliseconds that took, undef when it did not come. One connection asks: making one each time takes
# the processor from those that are waited for.
sub wait_for
{
	my ($self, $query, $expected, $seconds) = @_;
	$expected //= 't';
	$seconds //= 60;
	my $start = time;
	my $got = $self->sql($query);
	return 1000 * (time - $start) if $got eq $expected;

	my $session = $self->session('postgres', $seconds + 60);
	while ($got ne $expected && time - $start < $seconds)
	{
		sleep 0.03;
		$got = ask($session, $query);
		chomp $got;
		die "waiting on " . $self->name . ": $got\n$query\n" if $got =~ /^(?:ERROR|FATAL):/m;
	}
	my $took = 1000 * (time - $start);
	${ $session->{in} } .= "\\q\n";
	$session->{run}->finish;
	return $took if $got eq $expected;
	diag("waited on " . $self->name . " for $expected, last seen $got: $query");
	return undef;
}

1;
