# The auditor under faults: stopped, ended, killed, locked out, its slots full (faults F2, F4, F8, F20; invariants I4, I5). What
# clients were granted they write to files of their own, which are compared with the log afterwards.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineNode qw(say_to heard ask);
use Test::More;
use Time::HiRes qw(sleep time);

my $node = SpineNode->new('audit', organisation => 'RYJ', dataset => 'maternity 2.0',
	conf => "spine.audit_slots = 8\nspine.audit_timeout = '2s'");
$node->sql(<<'SETUP');
CREATE ROLE clinician LOGIN;
CREATE ROLE ryj_system LOGIN;
SELECT spine.add_member('clinician', 'RYJ', 'clinician');
SELECT spine.add_system('RYJ', 'Maternity', 'maternity', 'ryj_system');
SETUP
my $booking = <<'BOOK';
INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date, edd_agreed)
	VALUES ('9990000018', 'M1', 'P1', '2026-01-05', '2026-08-10')
BOOK
$node->sql_as('ryj_system', $booking);

sub opening { my $reason = shift; return "SELECT '$reason' FROM spine.open_record('9990000018', 'care', '$reason')" }
sub has { my $reason = shift; return $node->sql("SELECT count(*) FROM spine.access_log WHERE reason = '$reason'") }
sub whole { return $node->sql('SELECT coalesce((SELECT fault FROM spine.verify_access_log()), $$whole$$)') }
sub auditor { return $node->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'spine auditor' AND datname = 'spine'") }

# what a client is told, and how long it took
sub try_opening
{
	my $reason = shift;
	my $start = time;
	my ($code, $out, $err) = $node->psql_as('clinician', opening($reason));
	return ($err =~ /ERROR:  (\w{5})/ ? $1 : $code == 0 ? '' : $err, $err, time - $start);
}

# ended: it comes back at once

ok(defined $node->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'spine auditor'"), 'a listed database has an auditor');
is((try_opening('first'))[0], '', 'a record is opened');
is(has('first'), 1, 'and that is written');
my $pid = auditor();
kill TERM => $pid;
is((try_opening('after the end of the auditor'))[0], '', 'the auditor is ended: an opening waits for the next');
isnt(auditor(), $pid, 'which is another');
is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spine auditor'"), 1, 'there is one');

# stopped (fault F20): openings are refused in time, writes go on

$pid = auditor();
kill STOP => $pid;
my ($state, $told, $took) = try_opening('while stopped');
is($state, 'SP009', 'the auditor is stopped: an opening is refused');
like($told, qr/the access log cannot be written\nDETAIL:  The auditor of this database did not answer within 2000 ms/, 'with the reason');
cmp_ok($took, '<', 10, 'after the time-out');
is($node->refused('ryj_system', $booking), '', 'systems write all the same');
is($node->sql_as('clinician', 'SELECT count(*) FROM maternity_2_0.booking'), 1, 'own records are read');

# who waits is cancelled, or ended: the entry is written all the same (attack 60)
my @waiting = map { $node->session('clinician') } 1 .. 2;
my @pids = map { ask($_, 'SELECT pg_backend_pid()') + 0 } @waiting;
ask($_, 'SET statement_timeout = 0') for @waiting;
say_to($waiting[0], opening('cancelled'));
say_to($waiting[1], opening('ended'));
ok(defined $node->wait_for("SELECT count(*) = 2 FROM pg_stat_activity WHERE pid IN ($pids[0], $pids[1]) AND wait_event_type = 'Extension'"), 'two openings wait');
$node->sql("SELECT pg_cancel_backend($pids[0]), pg_terminate_backend($pids[1])");
like(heard($waiting[0]), qr/57014/, 'one is cancelled, the other ended');

# the slots fill: others wait, then are refused; nothing hangs
my @many = map { $node->session('clinician') } 1 .. 12;
my $start = time;
say_to($many[$_], opening("of many $_")) for 0 .. $#many;
my @heard = map { heard($_) } @many;
is(scalar(grep { /SP009/ } @heard), 12, 'twelve openings for eight slots are all refused');
cmp_ok(scalar(grep { /Too many entries are waiting/ } @heard), '>=', 1, 'some because the slots were full');
cmp_ok(time - $start, '<', 20, 'each in its time');
kill CONT => $pid;
ok(defined $node->wait_for("SELECT count(*) = 2 FROM spine.access_log WHERE reason IN ('cancelled', 'ended')"), 'when the auditor goes on it writes those whose readers went away');
is(has('while stopped'), 0, 'but not what was refused before it began');
is(scalar(grep { ask($many[$_], opening("again $_")) !~ /again $_/ } 0 .. $#many), 0, 'every slot is free again');
# and at once
say_to($many[$_], opening("together $_")) for 0 .. $#many;
is(scalar(grep { heard($many[$_]) !~ /together $_/ } 0 .. $#many), 0, 'more openings at once than slots wait and are granted');
is(whole(), 'whole', 'the chain is whole');

# the table is locked (fault F20)

my $holder = $node->session('postgres');
ask($holder, 'BEGIN; LOCK TABLE spine.access_log IN ACCESS EXCLUSIVE MODE');
($state, $told, $took) = try_opening('while locked');
is($state, 'SP009', 'the table is locked: an opening is refused');
like($told, qr/55P03: canceling statement due to lock timeout/, 'with the reason');
cmp_ok($took, '<', 10, 'soon');
ask($holder, 'ROLLBACK');
is((try_opening('unlocked'))[0], '', 'afterwards all is well');
is(has('while locked'), 0, 'what was refused is not there');

# settings that would make the log writeless
$node->sql('ALTER DATABASE spine SET synchronous_commit = off');
$node->sql('ALTER DATABASE spine SET default_transaction_read_only = on');
kill TERM => auditor();
is((try_opening('read-only'))[0], '', 'where a database reads only by default, the auditor writes');
$node->sql('BEGIN READ WRITE; ALTER DATABASE spine RESET default_transaction_read_only; ALTER DATABASE spine RESET synchronous_commit; COMMIT');
# the table is broken (fault F22)
$node->sql('ALTER TABLE spine.access_log RENAME COLUMN reason TO cause');
($state, $told) = try_opening('broken');
is($state, 'SP009', 'a log that cannot be written to opens nothing');
like($told, qr/column "reason" /, 'and it is said why');
$node->sql('ALTER TABLE spine.access_log RENAME COLUMN cause TO reason');
is((try_opening('mended'))[0], '', 'mended, it does');
is(whole(), 'whole', 'the chain is whole');

# a database that is not listed gets an auditor when somebody opens, and it leaves by itself

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', <<'OTHER');
SET client_min_messages = warning;
CREATE EXTENSION spine CASCADE;
SELECT spine.create_store('RYJ');
SELECT spine.audit_access('RYJ', 'clinician', gen_random_uuid(), 'care', 'x', '{RYJ}', '{own}', '{}');
OTHER
is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spine auditor' AND datname = 'other'"), 1, 'a database that is not listed has an auditor when it is needed');
$node->safe_psql('postgres', 'CREATE DATABASE another TEMPLATE other');
pass('it is gone soon enough for a copy of the database');
is($node->safe_psql('another', "SELECT spine.audit_access('RYJ', 'clinician', gen_random_uuid(), 'care', 'x', '{RYJ}', '{own}', '{}')"), 2, 'which goes on with the chain');
$node->safe_psql('postgres', 'DROP DATABASE another');
pass('and is dropped while its auditor has nothing to do');
$node->safe_psql('postgres', 'DROP DATABASE other');

# whatever is killed while clients open (faults F2, F4): what was granted is written

my $folder = PostgreSQL::Test::Utils::tempdir;
my $conninfo = $node->conninfo('clinician');
my @clients;
for my $client (1 .. 4)
{
	my $child = fork // die "fork: $!\n";
	if ($child) { push @clients, $child; next }
	# as pgbench would, but that it writes down what it was granted; whatever ends it, it begins again
	for (my $n = 0; !-e "$folder/stop"; $n += 50)
	{
		my $script = join '', map { opening("$client-$_") . ";\n" } $n .. $n + 49;
		open my $psql, '|-', "psql -XAtq -d '$conninfo' >> '$folder/$client.granted' 2> /dev/null" or last;
		local $SIG{PIPE} = 'IGNORE';
		print $psql $script;
		close $psql;
		sleep 0.1;
	}
	require POSIX;
	POSIX::_exit(0);
}
sub granted
{
	my @granted;
	for my $file (glob "$folder/*.granted")
	{
		open my $in, '<', $file or next;
		push @granted, map { /^(\d+-\d+)$/ ? $1 : () } <$in>;
	}
	return @granted;
}
sub pid_of
{
	my ($backend_type, $more) = @_;
	my $pid = eval { $node->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = '$backend_type' $more LIMIT 1") } // '';
	return $pid =~ /^(\d+)$/ ? $1 : undef;
}
sub kill_one
{
	my ($signal, @what) = @_;
	for (1 .. 50)
	{
		# one that has ended meanwhile is not the one
		my $found = pid_of(@what);
		return 1 if defined $found && kill $signal => $found;
		sleep 0.1;
	}
	return 0;
}
my @faults = (
	[ 'the auditor is killed', sub { kill_one(KILL => 'spine auditor', '') } ],
	[ 'the auditor is ended', sub { kill_one(TERM => 'spine auditor', '') } ],
	[ 'a reader is killed while it waits', sub { kill_one(KILL => 'client backend', "AND usename = 'clinician' AND wait_event_type = 'Extension'") } ],
	[ 'a reader is ended while it waits', sub { kill_one(TERM => 'client backend', "AND usename = 'clinician' AND wait_event_type = 'Extension'") } ],
	[ 'the launcher is killed', sub { kill_one(KILL => 'spine launcher', '') } ],
	[ 'the server stops at once', sub { $node->stop('immediate'); $node->start; 1 } ],
	[ 'the auditor is killed again', sub { kill_one(KILL => 'spine auditor', '') } ]);
for my $fault (@faults)
{
	my ($what, $do) = @$fault;
	# at an uncertain moment, but not before something was granted since the last
	my $before = granted();
	my $patience = time + 60;
	sleep 0.1 while granted() < $before + 140 && time < $patience;
	cmp_ok(scalar(granted()), '>=', $before + 140, "openings are granted before $what");
	ok($do->(), $what);
}
my $patience = time + 60;
sleep 0.1 while granted() < 1000 && time < $patience;
open my $stop, '>', "$folder/stop" or die "$folder/stop: $!\n";
close $stop;
waitpid $_, 0 for @clients;
# the last fault may still be being recovered from
for (1 .. 100) { last if eval { $node->sql('SELECT 1') }; sleep 0.2 }
my @granted = granted();
cmp_ok(scalar(@granted), '>=', 1000, scalar(@granted) . ' openings were granted');
ok(defined $node->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'spine auditor'"), 'there is one auditor');
my %written = map { $_ => 1 } split /\n/, $node->sql('SELECT reason FROM spine.access_log');
is(scalar(grep { !$written{$_} } @granted), 0, 'each of them is written (invariant I4)');
is(whole(), 'whole', 'and the chain is whole (invariant I5)');
is($node->sql('SELECT count(*) = max(access_id) FROM spine.access_log'), 't', 'without a gap');

# No room for a further page of the table (fault F8): a file may not grow, as on a full disk, but that files of other tables still can.
# 20 MB, so that segments of WAL fit.
$node->sql(<<'GROW');
SET session_replication_role = replica;
INSERT INTO spine.access_log SELECT 1000000 + 100 * l.access_id + n, l.at, l.role_name, l.user_name, l.organisation, l.duty, l.patient_id, l.purpose,
	(SELECT string_agg(md5(format('%s %s %s', l.access_id, n, i)), '') FROM generate_series(1, 40) i), l.owners, l.how, l.basis, l.kind, l.record_count, l.statement, l.content_mac, l.hash
	FROM spine.access_log l, generate_series(1, 20) n WHERE l.access_id < 1000;
GROW
my $blocks = $node->sql("SELECT pg_relation_size('spine.access_log') / 512");
$node->stop;
if ($blocks > 2 * 16 * 1024)
{
	my $limit = $blocks;
	system_or_bail('sh', '-c', "ulimit -f $limit; exec pg_ctl -w -D '" . $node->data_dir . "' -l '" . $node->logfile . "' start > /dev/null");
	$node->_update_pid(1);
}
else { $node->start }
($state, $told) = ('', '');
for my $n (1 .. 200)
{
	($state, $told) = try_opening('x' x 900 . $n);
	last if $state ne '';
}
SKIP:
{
	skip "the table has only $blocks blocks", 3 if $blocks <= 2 * 16 * 1024;
	is($state, 'SP009', 'the table cannot grow: an opening is refused');
	like($told, qr/could not extend file/, 'with the reason');
	$node->stop;
	$node->start;
	is((try_opening('room again'))[0], '', 'with room again, it is granted');
}

done_testing();
