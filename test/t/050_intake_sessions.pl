# What other sessions do meanwhile: a definition read under an old snapshot, an update of a
# record that somebody else has changed; and what an error shows of a row.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineNode qw(say_to heard ask);
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0');
$node->sql(<<'END');
CREATE ROLE supplier LOGIN;
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'supplier');
END

# A session of the supplier: ask() sends a statement and waits for what it prints.
sub submit
{
	my ($key) = @_;
	return <<"END";
SELECT outcome FROM spine.submit('{"dataset": "maternity", "version": "2.0", "records": [{"group": "care_contact",
	"nhs_number": "9990000018", "local_episode_id": "P1", "data": {"care_contact_id": "$key", "contact_date": "2026-04-01"}}]}')
END
}

# a definition read under an old snapshot

my $one = $node->session('supplier');
ask($one, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM spine.datasets');
$node->sql('UPDATE spine.dataset SET retired_on = current_date');
like(ask($one, submit('A')), qr/no longer accepted/, 'a version retired after a transaction began is not accepted in it');
ask($one, 'ROLLBACK');
like(ask($one, submit('A')), qr/no longer accepted/, 'nor after it');
$node->sql('UPDATE spine.dataset SET retired_on = NULL');
like(ask($one, submit('A')), qr/^accepted/m, 'until it is accepted again');

# an update that has read what another session changes before it writes

for my $level ('READ COMMITTED', 'REPEATABLE READ')
{
	$node->sql("UPDATE maternity.care_contact SET contact_subject = NULL, contact_time = NULL");
	my $before = $node->sql("SELECT revision FROM maternity.care_contact WHERE care_contact_id = 'A'");
	my $other = $node->session('supplier');
	ask($other, "BEGIN; SELECT pg_advisory_xact_lock(7)");
	say_to($one, "BEGIN ISOLATION LEVEL $level; "
		  . "UPDATE maternity_2_0.care_contact SET contact_time = '10:00' WHERE care_contact_id = 'A' AND pg_advisory_xact_lock(7) IS NOT NULL");
	$node->wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", '1');
	ask($other, "UPDATE maternity_2_0.care_contact SET contact_subject = '01' WHERE care_contact_id = 'A'");
	is(ask($other, 'COMMIT'), '', 'one session sets an item');
	like(heard($one), qr/writing the same record/, "$level: another that has read the record before is told to read it again");
	ask($one, 'ROLLBACK');
	is($node->sql("SELECT concat_ws('|', revision, contact_subject, contact_time) FROM maternity.care_contact WHERE care_contact_id = 'A'"),
		$before + 1 . '|01', 'and the item stands');
	$other->{run}->kill_kill;
}
is(ask($one, "UPDATE maternity_2_0.care_contact SET contact_time = '10:00' WHERE care_contact_id = 'A'"), '', 'an update in peace');
is(ask($one, "BEGIN; UPDATE maternity_2_0.care_contact SET contact_time = '11:00'; UPDATE maternity_2_0.care_contact SET contact_time = '12:00'; COMMIT"), '', 'and two in one transaction');
is($node->sql("SELECT contact_time FROM maternity.care_contact WHERE care_contact_id = 'A'"), '12:00:00', 'the later one counts');

# what an error says of a row

$node->sql(<<'END');
SELECT spine.publish_dataset('{"name": "raising", "version": "1.0", "title": "T", "description": "D", "source": "S", "mandation": "M",
	"groups": [{"name": "reading", "title": "R", "description": "D", "subject": "mother", "key": ["name"],
		"items": [{"name": "name", "title": "N", "type": "text", "status": "M", "class": "identity"},
				  {"name": "amount", "title": "A", "type": "integer", "status": "M", "class": "clinical"}],
		"rules": [{"id": "reading.ratio", "severity": "record", "items": ["amount"], "expression": "100 / amount > 1", "message": "Too much."}]}]}')
END
my $log = -s $node->logfile;
my ($code, $out, $err) = $node->psql_as('supplier', <<"END");
COPY raising_1_0.reading (nhs_number, name, amount) FROM STDIN;
9990000018\tMary Seacole\t0
\\.
END
like($err, qr/division by zero/, 'a rule that raises refuses a COPY');
unlike($err . PostgreSQL::Test::Utils::slurp_file($node->logfile, $log), qr/Seacole|9990000018/, 'and neither the client nor the log is told the line');

done_testing();
