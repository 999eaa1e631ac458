# Several sessions at once: the same person, record and episode; who holds what another needs;
# openings and agreements that end while others work.
use strict;
use warnings;

use IPC::Run;
use SpineNode;
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0');
$node->sql(<<'SETUP');
DO $$
DECLARE
	one record;
BEGIN
	INSERT INTO spine.organisation (code, name, kind) VALUES ('RQM', 'CHELSEA', 'trust'), ('RAS', 'HILLINGDON', 'trust');
	PERFORM spine.host_organisation('RQM');
	PERFORM spine.host_organisation('RAS');
	FOR one IN SELECT o, d FROM unnest('{RYJ,RQM,RAS}'::text[]) o, unnest('{clinician,governor,system,other}'::text[]) d LOOP
		EXECUTE format('CREATE ROLE %I LOGIN', lower(one.o) || '_' || one.d);
		IF one.d IN ('system', 'other') THEN
			PERFORM spine.add_system(one.o, initcap(one.d), 'maternity', lower(one.o) || '_' || one.d);
		ELSE
			PERFORM spine.add_member(lower(one.o) || '_' || one.d, one.o, one.d);
		END IF;
	END LOOP;
END
$$;
CREATE ROLE stranger LOGIN;
CREATE FUNCTION agreement() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"name": "both", "version": 1, "title": "T", "parties": ["RYJ", "RQM"],
	"start": "2026-01-01", "end": null, "review": null, "clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care",
	"dataset": "maternity", "groups": "all", "relationships": ["episode", "referral"]}]}'::jsonb $$;
SETUP
$node->sql_as('ryj_governor', "SELECT spine.propose_agreement(agreement()); SELECT spine.sign_agreement('both', 1)");
$node->sql_as('rqm_governor', "SELECT spine.sign_agreement('both', 1); SELECT spine.publish_agreement('both', 1)");

# A session: ask() sends a statement and waits for what it prints, say_to() does not wait.
sub session
{
	my ($role) = @_;
	my ($in, $out) = ('', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->conninfo($role) ],
		'<', \$in, '>', \$out, '2>&1', IPC::Run::timeout(120));
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
	my $answer = $1;
	chomp $answer;
	return $answer;
}

sub ask
{
	my ($session, $statement) = @_;
	say_to($session, $statement);
	return heard($session);
}

# somebody waits for a lock, or nobody does any more
sub waiting { return $node->wait_for("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", 't'); }

sub booking
{
	my ($number, $patient, $episode, $edd) = @_;
	return "INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date, edd_agreed) "
	  . "VALUES ('$number', '$patient', '$episode', '2026-01-05', '$edd')";
}

my @one = map { session('ryj_system') } 1 .. 2;

# the same record from two sessions of a system: one wins, the other is told to send again

for my $end ('COMMIT', 'ROLLBACK')
{
	ask($one[0], 'BEGIN; ' . booking('9990000018', 'M1', "P$end", '2026-08-01'));
	say_to($one[1], booking('9990000018', 'M1', "P$end", '2026-08-02'));
	ok(defined waiting(), 'the second session waits');
	ask($one[0], $end);
	my $answer = heard($one[1]);
	like($answer, $end eq 'COMMIT' ? qr/40001/ : qr/^$/, "after $end it " . ($end eq 'COMMIT' ? 'is told to send again' : 'is first'));
	is($node->sql("SELECT count(*) FROM maternity.booking WHERE pregnancy_id = 'P$end'"), 1, 'there is one record');
	is($node->sql("SELECT count(*) FROM spine.episode_alias WHERE local_episode_id = 'P$end'"), 1, 'and one episode of its number');
	is($node->sql("SELECT count(*) FROM spine.alias WHERE local_patient_id = 'M1'"), 1, 'and one alias of the person');
}
is(ask($one[1], booking('9990000018', 'M1', 'PCOMMIT', '2026-08-02')), '', 'sent again it is a correction');
is($node->sql("SELECT revision || ' ' || edd_agreed FROM maternity.booking WHERE pregnancy_id = 'PCOMMIT'"), '2 2026-08-02', 'which counts');

# a new person without a number, from two sessions: one id

ask($one[0], 'BEGIN; ' . booking('', 'M2', 'Q1', '2026-08-01') =~ s/'', /NULL, /r);
say_to($one[1], booking('', 'M2', 'Q2', '2026-12-30') =~ s/'', /NULL, /r);
waiting();
ask($one[0], 'COMMIT');
is(heard($one[1]), '', 'the second takes the id that the first has made');
is($node->sql("SELECT count(DISTINCT patient_id) || ' ' || count(*) FROM maternity.booking WHERE mother_local_id = 'M2'"), '1 2', 'she is one person');

# many sessions, two systems of two Trusts, the same women in opposite order: no deadlock that stays, nothing twice

my @women = qw(9990000026 9990000034 9990000042 9990000050 9990000069 9990000077);
my @crowd = map { session($_) } qw(ryj_system ryj_other rqm_system rqm_other);
for my $round (1 .. 3)
{
	for my $i (0 .. $#crowd)
	{
		my @order = $i % 2 ? reverse @women : @women;
		say_to($crowd[$i], join '; ', 'BEGIN', (map { booking($_, "W$_", "W$_", "2026-08-0$round") } @order), 'COMMIT');
	}
	my @answers = map { heard($_) } @crowd;
	is(join(' ', grep { !/^(40001|40P01|25P02)$/ } map { /ERROR:  (\w{5})/g } @answers), '', "round $round ends with what can be tried again at worst");
	ask($_, 'ROLLBACK') for @crowd;
}
for my $i (0 .. $#crowd)
{
	is(ask($crowd[$i], join '; ', map { booking($_, "W$_", "W$_", '2026-08-09') } @women), '', 'afterwards each writes in peace');
}
is($node->sql("SELECT count(*) || ' ' || count(DISTINCT (owner, source_system, local_record_id)) FROM maternity.booking WHERE mother_local_id LIKE 'W%'"), '24 24', 'one record for each system and woman');
is($node->sql("SELECT count(*) FROM (SELECT patient_id, organisation, kind, owner FROM spine.relationship WHERE until IS NULL GROUP BY 1, 2, 3, 4 HAVING count(*) > 1) d"), 0, 'one relationship for each Trust');
$node->sql('SELECT spine.settle_audiences()') for 1 .. 2;
is($node->sql(<<'END'), 0, 'and every audience is what it should be');
SELECT count(*) FROM maternity.booking b WHERE b.audience IS DISTINCT FROM spine.audience(b.owner, 'maternity', 'booking', b.patient_id)
END
$_->{run}->kill_kill for @crowd;

# what anybody can hold does not hold up a revocation (attack 59), nor does an idle reader (attack 60)

my $reader = session('rqm_clinician');
is(ask($reader, "SELECT spine.open_record('9990000026', 'care', 'x') IS NOT NULL"), 't', 'a clinician opens a record');
ask($reader, 'BEGIN; PREPARE hers AS SELECT count(*) FROM maternity_2_0.booking WHERE owner = \'RYJ\'');
isnt(ask($reader, 'EXECUTE hers'), '0', 'and reads it');
ask($reader, 'DECLARE held CURSOR FOR SELECT owner FROM maternity_2_0.booking ORDER BY record_id');
my $squatter = session('stranger');
ask($squatter, 'SELECT pg_advisory_lock(hashtextextended(\'spine.compile_agreements\', 0))');
ask($squatter, 'BEGIN; SELECT 1');
my $writer = session('rqm_system');
ask($writer, 'BEGIN; ' . booking('9990000085', 'M9', 'P9', '2026-08-01'));
my $governor = session('ryj_governor');
is(ask($governor, "SET lock_timeout = '10s'; SELECT spine.end_agreement('both', 1, 'x')"), '', 'an agreement ends while others read, write and hold what they can');
is(ask($reader, 'EXECUTE hers'), '0', 'and a prepared statement in a running transaction shows nothing more (attack 39)');
is(ask($reader, 'FETCH ALL FROM held') =~ tr/\n//, $node->sql("SELECT count(*) - 1 FROM maternity.booking WHERE owner = 'RQM'"), 'nor a cursor opened before (attack 42)');
ask($writer, 'COMMIT');
ask($squatter, 'COMMIT');

# an opening ends with its savepoint, and with the next user of the connection

$node->sql_as('ryj_governor', "SELECT spine.propose_agreement(jsonb_set(agreement(), '{version}', '2')); SELECT spine.sign_agreement('both', 2)");
$node->sql_as('rqm_governor', "SELECT spine.sign_agreement('both', 2); SELECT spine.publish_agreement('both', 2)");
ask($reader, 'COMMIT');
ask($reader, "SELECT spine.close_records(); BEGIN; SAVEPOINT s; SELECT spine.open_record('9990000026', 'care', 'x')");
isnt(ask($reader, 'EXECUTE hers'), '0', 'opened in a savepoint');
ask($reader, 'ROLLBACK TO s');
is(ask($reader, 'EXECUTE hers'), '0', 'closed with it');
ask($reader, "SELECT spine.open_record('9990000026', 'care', 'x'); COMMIT");
isnt(ask($reader, 'EXECUTE hers'), '0', 'opened and committed');
ask($reader, "DISCARD ALL");
is(ask($reader, "SELECT count(*) FROM maternity_2_0.booking WHERE owner = 'RYJ'"), '0', 'DISCARD ALL ends it (attack 38)');
ask($reader, "SELECT spine.open_record('9990000026', 'care', 'x')");
isnt(ask($reader, "SELECT count(*) FROM maternity_2_0.booking WHERE owner = 'RYJ'"), '0', 'opened once more');
$node->sql("SELECT spine.remove_member('rqm_clinician', 'RQM', 'clinician')");
is(ask($reader, "SELECT count(*) FROM maternity_2_0.booking"), 'ERROR:  42501', 'a membership that ends takes all of it');

done_testing();
