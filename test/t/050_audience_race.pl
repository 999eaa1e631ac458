# A record that is written while a relationship or an agreement changes: neither transaction
# sees the other, and still the record has the right audience soon after.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use IPC::Run ();
use SpineNode;
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0', conf => 'spine.courier_interval = 100');
$node->sql(q{
	CREATE ROLE race_system LOGIN;
	CREATE ROLE race_governor LOGIN;
	SELECT spine.add_organisation('RQM', 'Chelsea', 'trust'), spine.host_organisation('RQM');
	SELECT spine.add_system('RYJ', 'Cedar', 'maternity', 'race_system'),
		   spine.add_member('race_governor', 'RYJ', 'governor'), spine.add_member('race_governor', 'RQM', 'governor');
});

# a session that stays in a transaction
sub writer
{
	my %io = (in => '', out => '');
	$io{timer} = IPC::Run::timeout(60);
	$io{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->conninfo('race_system') ],
		'<', \$io{in}, '>', \$io{out}, '2>', \$io{err}, $io{timer});
	return \%io;
}

sub say_to
{
	my ($io, $query) = @_;
	$io->{out} = '';
	$io->{in} .= "$query\n\\echo done\n";
	$io->{run}->pump until $io->{out} =~ /done/ || ($io->{err} // '') ne '';
	is($io->{err} // '', '', "written: $query");
	return;
}

sub book
{
	my ($number, $local) = @_;
	return "INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date) "
	  . "VALUES ('$number', 'M$local', 'P$local', '2026-01-05');";
}

sub audience { my $local = shift; return "SELECT audience FROM maternity.booking WHERE pregnancy_id = 'P$local'" }

sub agree
{
	$node->sql_as('race_governor', q{
		SELECT spine.propose_agreement('{"name": "race", "version": 1, "title": "Race", "parties": ["RYJ", "RQM"], "start": "2026-01-01",
			"clauses": [{"from": ["RYJ"], "to": ["RQM"], "purpose": "care", "dataset": "maternity", "groups": "all", "relationships": ["referral"]}]}');
		SELECT spine.sign_agreement('race', 1);
		SELECT spine.publish_agreement('race', 1);
	});
	return;
}

# an agreement comes while a booking is under way, which has a referral already
$node->sql_as('race_system', book('9990000018', 1) . "SELECT spine.refer('9990000018', 'RQM', 'moving');");
my $session = writer();
say_to($session, 'BEGIN; ' . book('9990000018', 2));
agree();
is($node->sql(audience(1)), '{RQM:care,RQM:care/aci}', 'what was there has the new audience at once');
say_to($session, 'COMMIT;');
ok(defined $node->wait_for(audience(2), '{RQM:care,RQM:care/aci}', 30), 'and what was under way soon after');

# a relationship ends while a booking is under way
say_to($session, 'BEGIN; ' . book('9990000018', 3));
$node->sql_as('race_system', q{SELECT spine.end_relationship(relationship_id) FROM spine.relationships WHERE kind = 'referral'});
is($node->sql(audience(1)), '{}', 'what was there is taken back at once');
sleep 1;
say_to($session, 'COMMIT;');
is($node->sql('SELECT count(*) FROM spine.unsettled'), '1', 'the change is remembered as long as a transaction may not have seen it');
ok(defined $node->wait_for(audience(3), '{}', 30), 'and what was under way is taken back soon after');
ok(defined $node->wait_for('SELECT count(*) FROM spine.unsettled', '0', 30), 'then there is nothing more to look at');
$session->{in} .= "\\q\n";
$session->{run}->finish;

# time alone ends an agreement: its rule is put a second ahead, as no agreement ends in mid-day
$node->sql_as('race_system', q{SELECT spine.refer('9990000018', 'RQM', 'again')});
is($node->sql(audience(1)), '{RQM:care,RQM:care/aci}', 'shared again');
$node->sql(q{
	ALTER TABLE spine.sharing_rule DISABLE TRIGGER USER;
	UPDATE spine.sharing_rule SET in_force = false;
	UPDATE maternity.booking SET audience = '{}';
	ALTER TABLE spine.sharing_rule ENABLE TRIGGER USER;
});
ok(defined $node->wait_for(audience(1), '{RQM:care,RQM:care/aci}', 30), 'a rule whose time has come is put into force by the courier');

done_testing();
