# Two sessions of one system that write about the same episode, and what a rule meets that is not
# its own fault: neither leaves half a story.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineNode qw(say_to heard ask);
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ');
$node->sql(<<'END');
CREATE ROLE supplier LOGIN;
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'supplier');
SELECT spine.publish_dataset('{"name": "raced", "version": "1.0", "title": "T", "description": "D", "source": "S", "mandation": "M",
	"episodes": {"pregnancy": {"title": "P", "window_days": 21}},
	"groups": [
		{"name": "plan", "title": "P", "description": "D", "subject": "none", "key": ["plan"],
		 "items": [{"name": "plan", "title": "P", "type": "text", "max_length": 20, "status": "M", "class": "administrative"},
				   {"name": "begins", "title": "B", "type": "date", "status": "O", "class": "administrative"}]},
		{"name": "visit", "title": "V", "description": "D", "subject": "mother", "key": ["visit"], "episode": "pregnancy",
		 "items": [{"name": "visit", "title": "V", "type": "text", "status": "M", "class": "clinical"},
				   {"name": "plan", "title": "P", "type": "text", "max_length": 20, "status": "O", "class": "administrative"},
				   {"name": "seen", "title": "S", "type": "date", "status": "O", "class": "clinical"}],
		 "rules": [{"id": "visit.plan", "kind": "related", "group": "plan", "match": {"plan": "plan"}, "severity": "record",
					"expression": "seen >= other.begins", "items": ["seen"], "message": "seen is before the plan begins."}]}]}')
END

# visits, each PERSON/EPISODE/VISIT
sub submit
{
	my @records = map {
		my ($person, $episode, $visit) = split '/';
		my $number = $episode ? qq(, "local_episode_id": "$episode") : '';
		qq({"group": "visit", "local_patient_id": "$person"$number, "data": {"visit": "$visit", "plan": "1", "seen": "2026-04-01"}})
	} @_;
	local $" = ', ';
	return qq(SELECT outcome FROM spine.submit('{"dataset": "raced", "version": "1.0", "records": [@records]}'));
}

my $one = $node->session('supplier');
my $two = $node->session('supplier');

# both give a woman's pregnancy its number; one gives another's too

is(ask($one, submit('A//1')), "accepted\n", 'a woman is known');
is(ask($one, 'BEGIN; ' . submit('A/P1/2')), "accepted\n", 'her pregnancy gets its number');
say_to($two, submit('B/P2/3', 'A/P1/4'));
$node->wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted", '1');
is(ask($one, 'COMMIT'), '', 'the one session is first');
is(heard($two), "accepted\naccepted\n", 'the other has waited');
is($node->sql('SELECT string_agg(DISTINCT v.visit, \',\') FROM raced.visit v WHERE NOT EXISTS (SELECT FROM spine.episode e WHERE e.episode_id = v.episode_id)'),
	'', 'every record is of an episode that there is');
is($node->sql("SELECT count(DISTINCT episode_id) FROM raced.visit WHERE visit IN ('2', '4')"), '1', 'both sessions speak of one');
is($node->sql("SELECT count(*) FROM spine.episode_alias"), '2', 'two numbers of episodes');
is($node->sql("SELECT count(*) FROM spine.episode e WHERE NOT EXISTS (SELECT FROM raced.visit v WHERE v.episode_id = e.episode_id)"),
	'0', 'and no episode that no record is of');

# both delete one record

my $delete = "DELETE FROM raced_1_0.visit WHERE visit = '1'";
is(ask($one, "BEGIN; $delete"), '', 'one session deletes a record');
say_to($two, $delete);
$node->wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted", '1');
ask($one, 'COMMIT');
is(heard($two), '', 'the other too');
is($node->sql("SELECT string_agg(deleted::text, ' ' ORDER BY submission_id) FROM spine.submission WHERE door = 'view'"), '1 0', 'of which one has');

# a rule that has to wait too long for another table

my $publisher = $node->session('postgres');
ask($publisher, 'BEGIN; LOCK TABLE raced.plan');
like(ask($two, "SET lock_timeout = '100ms'; " . submit('A/P1/5', 'A/P1/6')), qr/ERROR:  55P03/, 'a rule that waits in vain fails the statement');
is($node->sql('SELECT count(*) FROM spine.rejection'), '0', 'and costs no record');
ask($publisher, 'ROLLBACK');
is(ask($two, submit('A/P1/5', 'A/P1/6')), "accepted\naccepted\n", 'then they are accepted');

$_->{run}->kill_kill for $one, $two, $publisher;
done_testing();
