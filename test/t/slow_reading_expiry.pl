# An opened record closes when its time is over, in a session and in a cursor that is open (attack 41). Takes
# a minute, the least that spine.open_minutes can be.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use SpineNode;
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0', conf => 'spine.open_minutes = 1');
$node->sql(q{
	CREATE ROLE expiry_clinician LOGIN;
	CREATE ROLE expiry_governor LOGIN;
	CREATE ROLE expiry_system LOGIN;
	SELECT spine.add_organisation('RQM', 'Chelsea', 'trust'), spine.host_organisation('RQM');
	SELECT spine.add_system('RYJ', 'Cedar', 'maternity', 'expiry_system'), spine.add_member('expiry_clinician', 'RQM', 'clinician'),
		   spine.add_member('expiry_governor', 'RYJ', 'governor'), spine.add_member('expiry_governor', 'RQM', 'governor');
});
$node->sql_as('expiry_system', q{
	INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date)
		VALUES ('9990000018', 'M1', 'P1', '2026-01-05');
	SELECT spine.refer('9990000018', 'RQM', 'moving');
});
$node->sql_as('expiry_governor', q{
	SELECT spine.propose_agreement('{"name": "expiry", "version": 1, "title": "Expiry", "parties": ["RYJ", "RQM"], "start": "2026-01-01",
		"clauses": [{"from": ["RYJ"], "to": ["RQM"], "purpose": "care", "dataset": "maternity", "groups": "all", "relationships": ["referral"]}]}');
	SELECT spine.sign_agreement('expiry', 1);
	SELECT spine.publish_agreement('expiry', 1);
});

my $seen = $node->sql_as('expiry_clinician', q{
	SELECT spine.open_record('9990000018', 'care', 'she came to us') > now();
	SELECT count(*) FROM maternity_2_0.booking;
	BEGIN;
	DECLARE c CURSOR FOR SELECT 'fetched' FROM maternity_2_0.booking;
	SELECT pg_sleep(61);
	FETCH c;
	COMMIT;
	SELECT count(*) FROM maternity_2_0.booking;
	SELECT count(*) FROM spine.timeline('9990000018');
	SELECT spine.open_record('9990000018', 'care', 'again') > now();
	SELECT count(*) FROM maternity_2_0.booking;
});
is($seen, "t\n1\n\n0\n0\nt\n1", 'opened, seen, then neither fetched nor seen, then opened again');

done_testing();
