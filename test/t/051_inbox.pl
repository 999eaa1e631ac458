# The inbox as other sessions see it: progress, notifications, what a broken-off COPY leaves, what
# the server's log is told, what a long COPY and many rejected documents cost in memory.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep);

# a leak of 100 bytes a record shows
use constant DOCUMENTS => 20_000;
use constant LINES => 200_000;
use constant LEAK => 100;

my $node = SpineNode->new('ryj', organisation => 'RYJ', conf => "log_min_messages = info\nlog_statement = none");
$node->sql(<<'END');
CREATE ROLE supplier LOGIN;
CREATE ROLE other LOGIN;
SELECT spine.add_system('RYJ', 'Elm', 'maternity', 'supplier'), spine.add_system('RYJ', 'Ash', 'maternity', 'other');
SELECT spine.publish_dataset('{"name": "post", "version": "1.0", "title": "Post", "description": "For tests.", "source": "This test.", "mandation": "This test.",
	"groups": [{"name": "parcel", "title": "Parcel", "description": "A parcel.", "subject": "mother", "key": ["parcel_id"], "items": [
			{"name": "parcel_id", "title": "Parcel", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
			{"name": "weight", "title": "Weight", "type": "integer", "status": "O", "class": "administrative"},
			{"name": "remark", "title": "Remark", "type": "text", "status": "O", "class": "clinical"}],
		"rules": [{"id": "parcel.ratio", "severity": "record", "expression": "100 / weight > 1", "items": ["weight"], "message": "weight is too large."}]},
		{"name": "stamp", "title": "Stamp", "description": "A stamp.", "subject": "mother", "key": ["stamp_id"], "parent": {"group": "parcel", "item": "parcel_id"}, "items": [
			{"name": "stamp_id", "title": "Stamp", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
			{"name": "parcel_id", "title": "Parcel", "type": "text", "max_length": 20, "status": "M", "class": "administrative"}],
		"rules": [{"id": "stamp.parcel", "kind": "exists", "severity": "group", "group": "parcel", "match": {"parcel_id": "parcel_id"}, "items": ["parcel_id"], "message": "parcel_id was not sent."}]}]}');
END
my $copy = q{COPY spine.inbox (document) FROM STDIN (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02')};

sub parcel
{
	my ($id, $more) = @_;
	return sprintf('{"dataset": "post", "version": "1.0", "group": "parcel", "nhs_number": "9990000018", "data": {"parcel_id": "%s"%s}}' . "\n", $id, $more // '');
}

# A COPY of a supplier that goes on as lines are given to it.
sub start_copy
{
	my ($role, $statement) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->conninfo($role), '-c', $statement // $copy ],
		'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	return { run => $run, in => \$in, out => \$out, err => \$err };
}

sub feed
{
	my ($session, $lines) = @_;
	${ $session->{in} } .= $lines;
	$session->{run}->pump_nb;
	return;
}

# Goes on giving lines until the query answers so.
sub feed_until
{
	my ($session, $query, $expected) = @_;
	for (1 .. 600)
	{
		$session->{run}->pump_nb;
		return 1 if $node->sql($query) eq $expected;
		sleep 0.05;
	}
	return 0;
}

sub resident
{
	my ($pid) = @_;
	open my $status, '<', "/proc/$pid/status" or return;
	my ($kilobytes) = map { /^RssAnon:\s+(\d+)/ ? $1 : () } <$status>;
	return $kilobytes;
}

my $left = q{SELECT concat_ws(' ', (SELECT count(*) FROM spine.submission), (SELECT count(*) FROM spine.raw_submission), (SELECT count(*) FROM spine.inbox_line),
	(SELECT count(*) FROM spine.rejection), (SELECT count(*) FROM post.parcel), (SELECT count(*) FROM spine.alias), (SELECT count(*) FROM spine.episode))};

# progress, the notice, the notification

my $session = start_copy('supplier');
feed($session, join '', map { parcel("A$_") } 1 .. 5000);
my $progress = q{SELECT p.command || ' ' || p.relid::regclass || ' ' || (p.tuples_processed > 1000) || ' ' || (p.bytes_processed > 100000) FROM pg_stat_progress_copy p};
ok(feed_until($session, $progress, 'COPY FROM spine.inbox true true'), 'another session sees how far a COPY is');
is($node->sql('SELECT count(*) FROM spine.inbox_line'), 0, 'and nothing of it');
feed($session, parcel('A1') . "{\n" . parcel('A5001', ', "colour": 1'));
$session->{run}->finish;
is($session->{run}->result(0), 0, 'it ends well');
like(${ $session->{err} }, qr/^NOTICE:  00000: 5000 accepted, 1 accepted with warnings, 1 unchanged, 1 rejected$/m, 'a notice tells what became of the lines');
is($node->sql("SELECT concat_ws(' ', records, accepted, accepted_with_warnings, unchanged, rejected) FROM spine.submission"), '5003 5000 1 1 1', 'as does the account');

sub heard
{
	my ($statements) = @_;
	my ($in, $answer) = ('', '');
	my $listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->conninfo('other') ], '<', \$in, '>', \$answer, '2>&1', IPC::Run::timeout(60));
	$in .= "LISTEN spine_submission;\n\\echo ready\n";
	$listener->pump until $answer =~ /ready/;
	$node->psql_as('supplier', $_) for @$statements;
	$in .= "SELECT 'done';\n";
	$listener->pump until $answer =~ /done.*\z/s;
	$in .= "SELECT 'again';\n";
	$listener->finish;
	return [ $answer =~ /notification "spine_submission" with payload "([^"]*)"/g ];
}

my $document = q{SELECT spine.submit('{"dataset": "post", "version": "1.0", "records": [%s]}'::text)};
my $bad = '{"group": "parcel", "nhs_number": "9990000018", "data": {"parcel_id": "Mary Seacole", "weight": "x"}}';
is_deeply(heard([ sprintf($document, '{"group": "parcel", "nhs_number": "9990000018", "data": {"parcel_id": "N1"}}'), 'SELECT spine.validate(' . (sprintf($document, $bad) =~ /submit\((.*)\)$/)[0] . ')',
		'BEGIN; ' . sprintf($document, $bad) . '; ROLLBACK' ]), [], 'nothing is told of a document that is sound, tried, or rolled back');
my $heard = heard([ sprintf($document, $bad), q{INSERT INTO spine.inbox (document) VALUES ('{}')} ]);
is_deeply([ sort @$heard ], [ sort split /\n/, $node->sql('SELECT submission_id FROM spine.submission ORDER BY submission_id DESC LIMIT 2') ],
	'of a document with something rejected, and of each COPY, listeners are told the id and nothing else');

# a COPY that is broken off

my $before = $node->sql($left);
for my $signal ('TERM', 'KILL')
{
	my $broken = start_copy('supplier');
	feed($broken, join '', map { parcel("B$_", ', "remark": "Seacole"') . "{broken Seacole\n" } 1 .. 4000);
	feed_until($broken, 'SELECT tuples_processed > 2000 FROM pg_stat_progress_copy', 't');
	my $pid = $node->sql('SELECT pid FROM pg_stat_progress_copy');
	kill $signal, $pid;
	eval { feed($broken, parcel('B0') x 20_000); $broken->{run}->finish };
	$node->poll_query_until('postgres', 'SELECT true');
	is($node->sql($left), $before, "a COPY whose backend gets SIG$signal leaves nothing");
	my $next = start_copy('supplier');
	feed($next, parcel("C$signal"));
	$next->{run}->finish;
	like(${ $next->{err} }, qr/1 accepted, 0 accepted/, 'and the next one goes as ever');
	$before = $node->sql($left);
}

# what the log is told of lines that are refused

my $from = -s $node->logfile;
$node->psql_as('supplier', $_) for (
	sprintf($document, $bad),
	q(INSERT INTO spine.inbox (document) SELECT '{"dataset": "post", "group": "Mary Seacole", "data": {"nhs_number": "9990000018"' FROM generate_series(1, 10)));
for my $lines (
	parcel('Mary Seacole', ', "weight": 0') . '{"dataset": "Mary Seacole"}' . "\n" . '{"Mary Seacole' . "\n" . '["Mary Seacole \u0000"]' . "\n",
	parcel('D1') . parcel('D2', ', "remark": "Mary Seacole ' . "\xff" . '"'),
	parcel('D1') . "Mary Seacole\x02Mary Seacole\n")
{
	my $refused = start_copy('supplier');
	feed($refused, $lines);
	$refused->{run}->finish;
}
my $slow = start_copy('supplier', q{SET statement_timeout = '500ms'; } . $copy);
feed($slow, join '', map { parcel("E$_", ', "remark": "Mary Seacole"') } 1 .. 30_000);
eval { $slow->{run}->finish };
like(${ $slow->{err} }, qr/57014/, 'a COPY that takes too long is cancelled');
my $view = start_copy('supplier', q{COPY post_1_0.parcel (nhs_number, parcel_id, weight) FROM STDIN});
feed($view, "9990000018\tD3\t1\n9990000018\tMary Seacole\t0\n");
$view->{run}->finish;
like(${ $view->{err} }, qr/22012.*division/, 'a rule that raises refuses a COPY through a view');
my $said = PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
like($said, qr/invalid byte sequence for encoding/, 'the log is told of bytes that are no text');
like($said, qr/COPY inbox, line 2$/m, 'and on which line');
unlike($said, qr/Seacole|9990000018/, 'and nothing of anybody');

# memory, over many transactions and in one long COPY

my $many = <<'MANY';
DO $$
BEGIN
	FOR i IN %d .. %d LOOP
		PERFORM spine.submit(format('{"dataset": "post", "version": "1.0", "records": [{"group": "parcel", "nhs_number": "9990000018", "data": {"parcel_id": "M%%s", "weight": "x", "colour": 1}},
			{"group": "stamp", "data": {"stamp_id": "M%%s", "parcel_id": "M%%s"}}, {"group": "parcel", "data": {"parcel_id": "M%%s", "weight": 0}}, 7, {"group": "x"}]}', i, i, i, i));
		COMMIT;
	END LOOP;
END
$$
MANY
my $used = "SELECT 'used ' || sum(used_bytes) FROM pg_backend_memory_contexts";
my $rejecting = $node->sql_as('postgres', 'GRANT EXECUTE ON FUNCTION pg_get_backend_memory_contexts() TO supplier; GRANT SELECT ON pg_backend_memory_contexts TO supplier; SELECT count(*) FROM spine.rejection');
my ($told) = $node->sql_as('supplier', join ";\n", sprintf($many, 1, 2000), $used, sprintf($many, 2001, 2000 + DOCUMENTS), $used);
my @used = $told =~ /used (\d+)/g;
is($node->sql('SELECT count(*) FROM spine.rejection'), $rejecting + 5 * (2000 + DOCUMENTS), 'twenty thousand documents with rejected records');
cmp_ok($used[1] - $used[0], '<', DOCUMENTS * LEAK / 2, 'cost no memory that stays');
diag(sprintf '%d bytes a document stay', ($used[1] - $used[0]) / DOCUMENTS);

my $file = $node->basedir . '/lines';
open my $lines, '>', $file or die "$file: $!";
for my $i (1 .. LINES / 8)
{
	print $lines parcel("L$i"), qq({"dataset": "post", "version": "1.0", "group": "stamp", "data": {"stamp_id": "L$i", "parcel_id": "L$i"}}\n), parcel("L$i", ', "weight": 0'),
	  parcel("L$i", ', "weight": "x"'), "{broken\n", parcel("K$i", ', "colour": 1'), parcel("K$i", ', "colour": 1'),
	  qq({"dataset": "post", "version": "1.0", "group": "stamp", "data": {"stamp_id": "K$i", "parcel_id": "none $i"}}\n);
}
close $lines or die "$file: $!";
my ($err, @resident) = ('');
my $long = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->conninfo('supplier'), '-c', "SET application_name = 'long'", '-c', "\\copy spine.inbox (document) FROM '$file' (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')" ],
	'<', \undef, '>', '/dev/null', '2>', \$err, IPC::Run::timeout(300));
$node->wait_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'long' AND query LIKE 'COPY%'", '1');
my $pid = $node->sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'long'");
while ($long->pumpable)
{
	my $kilobytes = resident($pid);
	push @resident, $kilobytes if $kilobytes;
	$long->pump_nb;
	sleep 0.1;
}
$long->finish;
my $eighth = LINES / 8;
like($err, qr/@{[ 2 * $eighth ]} accepted, $eighth accepted with warnings, $eighth unchanged, @{[ 4 * $eighth ]} rejected/, 'two hundred thousand lines, good and bad');
my $early = $resident[ @resident / 5 ];
my ($most) = sort { $b <=> $a } @resident;
cmp_ok(@resident, '>', 10, 'looked at while they come');
cmp_ok(1024 * ($most - $early), '<', 0.8 * LINES * LEAK, 'take no memory each');
diag("from $early kB to $most kB");
is($node->sql("SELECT count(*) FROM spine.submission WHERE records <> accepted + accepted_with_warnings + unchanged + rejected"), 0, 'and every account is exact');

done_testing();
