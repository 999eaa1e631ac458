# Attacks that need sessions of their own, other programs or the server's files, by the numbers of docs/security.md; and
# the hardening block of the DBA's guide, as it stands there.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use PostgreSQL::Test::Utils;
use SpineNode qw(say_to heard ask);
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0', conf => "max_prepared_transactions = 5\nmax_wal_senders = 5\nspine.databases = ''");
$node->sql("CREATE ROLE $_ LOGIN") for qw(ryj_midwife ryj_governor ryj_operator cedar rqm_midwife rqm_governor rqm_system stranger monitor);
$node->sql(q{
	SELECT spine.add_organisation('RQM', 'CHELSEA', 'trust'), spine.host_organisation('RQM');
	SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'cedar'), spine.add_system('RQM', 'Cedar Maternity', 'maternity', 'rqm_system'),
		   spine.add_member('ryj_operator', 'RYJ', 'operator');
	SELECT spine.add_member(o || '_midwife', upper(o), 'clinician'), spine.add_member(o || '_governor', upper(o), 'governor') FROM unnest('{ryj,rqm}'::text[]) o;
	GRANT pg_read_all_stats TO monitor;
});
$node->sql_as('cedar', q{
	INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date)
		SELECT n::spine.nhs_number, 'M' || n, 'P' || n, '2026-01-05' FROM unnest('{9990000018,9990000026,9990000034}'::text[]) n;
	SELECT spine.refer('9990000018', 'RQM', 'moving');
});
my $agreement = q{'{"name": "both", "version": 1, "title": "Both", "parties": ["RYJ", "RQM"], "start": "2026-01-01",
	"clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care", "dataset": "maternity", "groups": "all", "relationships": ["episode", "referral"]}]}'};
$node->sql_as('ryj_governor', "SELECT spine.propose_agreement($agreement); SELECT spine.sign_agreement('both', 1)");
$node->sql_as('rqm_governor', "SELECT spine.sign_agreement('both', 1); SELECT spine.publish_agreement('both', 1)");

# attacks 1, 2: only where there is a store

$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(bare extended);
$node->safe_psql('extended', 'SET client_min_messages = warning; CREATE EXTENSION spine CASCADE');
for my $database (qw(bare extended))
{
	my ($out, $err) = ('', '');
	$node->psql($database, 'EXPLAIN ANALYZE SELECT 1; CREATE TEMPORARY TABLE own (a integer); BEGIN; LOCK TABLE own; COMMIT', stdout => \$out, stderr => \$err,
		extra_params => [ '-U', 'ryj_midwife' ]);
	like($out, qr/^Result/, "a member explains in database $database, which has no store");
	is($err, '', 'and locks');
}
is($node->refused('ryj_midwife', 'EXPLAIN ANALYZE SELECT 1'), '42501', 'but not in that which has one (attack 1)');
{
	local $ENV{PGOPTIONS} = '-c debug_print_plan=on -c client_min_messages=log';
	is($node->refused('rqm_midwife', 'SELECT count(*) FROM maternity_2_0.booking'), '42501', 'nor does a printed plan come with the connection (attack 2)');
	my ($code, $out, $err) = $node->psql_as('postgres', 'SELECT count(*) FROM maternity_2_0.booking');
	like($err, qr/plan_rows/, 'which a superuser is shown, estimates and all');
}

# attack 58: a transaction without a session

is($node->refused('cedar', "BEGIN; UPDATE maternity_2_0.booking SET edd_agreed = '2026-08-10'; PREPARE TRANSACTION 'held'"), '42501', 'a member leaves no locks behind (attack 58)');
is($node->refused('cedar', "BEGIN; SELECT 1/0; PREPARE TRANSACTION 'held'"), '22012', 'a failed transaction fails as ever');
is($node->refused('stranger', "BEGIN; SELECT 1; PREPARE TRANSACTION 'held'; ROLLBACK PREPARED 'held'"), '', 'others may');
is($node->sql('SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is prepared');
# or all that follows would wait for it
$node->sql("ROLLBACK PREPARED 'held'") if $node->sql('SELECT count(*) FROM pg_prepared_xacts') > 0;

# attack 31: pg_dump as a member

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
for my $role (qw(rqm_midwife cedar ryj_operator))
{
	for my $options ([], [ '--data-only' ], [ '--enable-row-security' ], [ '-t', 'maternity_2_0.booking', '--data-only' ], [ '-t', 'spine.*', '--inserts', '--enable-row-security' ])
	{
		unlink $dump;
		my @command = ('pg_dump', '-h', $node->host, '-p', $node->port, '-U', $role, '-f', $dump, @$options, 'spine');
		my ($out, $err) = ('', '');
		my $ended = IPC::Run::run(\@command, '>', \$out, '2>', \$err);
		unlike(-e $dump ? slurp_file($dump) : '', qr/999000|maternity_2_0\.booking.*\n.*2026-01-05/, "$role dumps no record: pg_dump @$options (attack 31)");
		ok(!$ended || $options->[0], "pg_dump of all is refused to $role");
	}
}

# attack 41: an opening is of one session

my ($one, $two) = map { $node->session('rqm_midwife') } 1 .. 2;
ask($one, "SELECT spine.open_record('9990000018', 'care', 'referred')");
is(ask($one, "SELECT count(*) FROM maternity_2_0.booking WHERE owner = 'RYJ'"), "1\n", 'who opens a record reads it');
is(ask($two, "SELECT count(*) FROM maternity_2_0.booking WHERE owner = 'RYJ'"), "0\n", 'the same role in another session does not (attack 41)');
like(ask($two, "SET spine.openings_mark = 1"), qr/42501/, 'whatever it says of the first one (attack 41)');
{
	local $ENV{PGOPTIONS} = '-c spine.openings_mark=1';
	isnt($node->refused('rqm_midwife', 'SELECT 1'), '', 'or brings along (attack 41)');
}

# attacks 49, 56: backups are for who has REPLICATION, or the server's files

for my $role (qw(ryj_midwife cedar ryj_operator))
{
	command_fails_like([ 'psql', '-X', '-d', $node->conninfo($role) . ' replication=true', '-c', 'BASE_BACKUP' ], qr/must be superuser or replication role/, "$role takes no base backup (attack 56)");
	command_fails_like([ 'psql', '-X', '-d', $node->conninfo($role) . ' replication=database', '-c', 'CREATE_REPLICATION_SLOT s LOGICAL test_decoding' ], qr/must be superuser or replication role/, "nor a slot (attack 49)");
}
is((stat $node->data_dir)[2] & 0077, 0, 'the files are the server\'s alone (attack 56)');

# attack 57: temporary files

my $sorting = $node->session('cedar');
ask($sorting, q{SET work_mem = '64kB'; BEGIN; DECLARE c CURSOR FOR SELECT repeat('x', 100) || i FROM generate_series(1, 20000) i ORDER BY 1; FETCH 1 FROM c});
my @files = glob $node->data_dir . '/base/pgsql_tmp/*';
cmp_ok(scalar(@files), '>', 0, 'a sort leaves its rows in a file');
is_deeply([ grep { (stat $_)[2] & 0077 } @files ], [], 'that only the server reads (attack 57)');
like(ask($two, 'SELECT pg_ls_tmpdir()'), qr/42501/, 'nor are its name and size a member\'s to see (attack 57)');
ask($sorting, 'ROLLBACK');
is(scalar(@{ [ glob $node->data_dir . '/base/pgsql_tmp/*' ] }), 0, 'it is gone with its transaction');

# the hardening block of the guide

my ($section) = slurp_file("$ENV{SPINE_SOURCE}/docs/dba-guide.md") =~ /^## Hardening\n(.*?)^## /ms;
my $block = join "\n", $section =~ /^ {4}(\S.*)$/mg;
like($block, qr/^REVOKE TEMPORARY.*temp_file_limit.*idle_in_transaction.*CONNECTION LIMIT/s, 'the guide has a hardening block');
is($node->refused('ryj_midwife', 'CREATE TEMPORARY TABLE t (a integer)'), '', 'before it a member makes temporary tables');
$node->sql($block);
for my $role (qw(ryj_midwife cedar stranger))
{
	is($node->refused($role, 'CREATE TEMPORARY TABLE t (a integer)'), '42501', "after it $role does not (attack 26)");
	is($node->refused($role, 'CREATE TABLE public.t (a integer)'), '42501', 'nor a table in public (attack 27)');
	is($node->refused($role, "CREATE $_"), '42501', "nor " . lc((split ' ')[0]) . ' anywhere (attack 35)')
	  for ('FUNCTION public.f() RETURNS integer LANGUAGE sql AS \'SELECT 1\'', 'SCHEMA s', 'VIEW pg_temp.v AS SELECT 1');
}

like($node->sql_as('cedar', 'SHOW temp_file_limit'), qr/^5GB$/, 'a member\'s temporary files have a limit (attack 61)');
is($node->refused('cedar', 'SET temp_file_limit = -1'), '42501', 'that he cannot lift (attack 61)');
$node->sql("ALTER DATABASE spine SET temp_file_limit = '1MB'");
is($node->refused('cedar', q{SET work_mem = '64kB'; SELECT count(*) FROM (SELECT repeat('x', 1000) || i FROM generate_series(1, 5000) i ORDER BY 1) s}), '53400', 'beyond it his statement fails (attack 61)');
is($node->refused('cedar', "UPDATE maternity_2_0.booking SET edd_agreed = '2026-08-10'"), '', 'and his next one does not');

is($node->sql_as('cedar', 'SHOW idle_in_transaction_session_timeout'), '5min', 'who leaves a transaction open is given a time (attack 60)');
$node->sql("ALTER DATABASE spine SET idle_in_transaction_session_timeout = '1s'");
my ($idle, $waits) = map { $node->session('cedar') } 1 .. 2;
ask($idle, "BEGIN; UPDATE maternity_2_0.booking SET edd_agreed = '2026-08-11' WHERE pregnancy_id = 'P9990000018'");
is(ask($waits, "SET statement_timeout = '30s'; UPDATE maternity_2_0.booking SET edd_agreed = '2026-08-12' WHERE pregnancy_id = 'P9990000018'"), '', 'who waits for him goes on (attack 60)');
is($node->sql("SELECT edd_agreed FROM maternity.booking WHERE edd_agreed > '2026-08-10'"), '2026-08-12', 'as if he had not been there');

is($node->sql("SELECT string_agg(rolname || ' ' || rolconnlimit, ', ' ORDER BY rolname) FROM pg_roles WHERE rolconnlimit >= 0"), 'cedar 20, ryj_governor 5, ryj_midwife 20, ryj_operator 5', 'connections are counted (attack 62)');
my @governors = map { $node->session('ryj_governor') } 1 .. 5;
is(ask($_, 'SELECT 1'), "1\n", 'a governor connects') for @governors;
my ($code, $out, $err) = $node->psql_as('ryj_governor', 'SELECT 1');
like($err, qr/too many connections for role "ryj_governor"/, 'five times, and no sixth time (attack 62)');
is($node->sql_as('rqm_midwife', 'SELECT 1'), 1, 'others connect');
$_->{run}->kill_kill for $one, $two, $sorting, $idle, $waits, @governors;

# attacks 12, 32, 50: what create_store revokes is in a dump

my $plain = PostgreSQL::Test::Utils::tempdir . '/node.sql';
command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-f', $plain, 'spine' ], 'the node is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->safe_psql('again', "SELECT count(*) FROM pg_class");
my $restored = $node->psql('again', "\\i $plain", stdout => \$out, stderr => \$err, on_error_stop => 1);
is($restored, 0, 'and restored') or diag($err);
my $open = q{SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (p.proname IN ('pg_logical_emit_message', 'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_export')
	OR p.proname ~ '^pg_stat_get_' AND p.proargtypes = '26'::oidvector) AND has_function_privilege('public', p.oid, 'EXECUTE')};
cmp_ok($node->safe_psql('postgres', $open), '>', 40, 'what PUBLIC has elsewhere');
is($node->safe_psql($_, $open), 0, "it has not in $_ (attacks 12, 32, 50)") for qw(spine again);
is($node->safe_psql('again', q{SELECT has_function_privilege('monitor', 'pg_stat_get_numscans(oid)', 'EXECUTE')}), 't', 'and who monitors has it');
is($node->refused('ryj_operator', 'SELECT spine.revoke_public_rights()'), '42501', 'revoking is a superuser\'s');

done_testing();
