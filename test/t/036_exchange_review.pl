# Break-glass and dissent between two Trusts: the record comes to who broke the glass, the use of it is reviewed at
# both ends, and what one Trust is told by a woman the other keeps to.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode qw(say_to heard ask);
use Test::More;

my %node = map { $_ => SpineNode->new(lc $_, organisation => $_, dataset => 'maternity 2.0') } qw(RYJ RQM);
my ($ryj, $rqm) = @node{qw(RYJ RQM)};
for my $code (qw(RYJ RQM))
{
	my ($other, $l) = ($code eq 'RYJ' ? 'RQM' : 'RYJ', lc $code);
	$node{$code}->sql("SELECT spine.add_organisation('$other', '$other', 'trust')");
	$node{$code}->sql("CREATE ROLE ${l}_$_ LOGIN") for qw(supplier clinician governor portal);
	$node{$code}->sql("SELECT spine.add_system('$code', 'System', 'maternity', '${l}_supplier');
		SELECT spine.add_member('${l}_' || d, '$code', d) FROM unnest('{clinician,governor,portal}'::text[]) d");
}
connect_nodes($ryj, $rqm, 'RYJ', 'RQM');
$ryj->sql_as('ryj_governor', <<"END");
SELECT spine.propose_agreement('{"name": "two", "version": 1, "title": "Two Trusts", "parties": ["RYJ", "RQM"],
 "start": "2026-01-01", "end": null, "review": "2030-01-01",
 "clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care", "dataset": "maternity",
			  "groups": ["booking"], "relationships": ["transfer", "claim"], "emergency": true}]}');
SELECT spine.sign_agreement('two', 1)
END
$rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'proposed'", 1);
$rqm->sql_as('rqm_governor', "SELECT spine.sign_agreement('two', 1)");
$ryj->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'signed'", 2);
$ryj->sql_as('ryj_governor', "SELECT spine.publish_agreement('two', 1)");
ok(defined $rqm->wait_for("SELECT count(*) > 0 FROM spine.sharing_rule WHERE in_force"), 'an agreement');

my ($nhs, $unknown) = qw(9434765919 9990000042);
$ryj->sql_as('ryj_supplier', <<"END");
INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date)
	VALUES ('$nhs', 'W1', 'P1', '2026-01-05')
END

# dissent

my $dissent = $ryj->sql_as('ryj_portal', "SELECT spine.record_dissent('$nhs', 'care', 'RQM', 'She knows somebody there.')");
ok(defined $rqm->wait_for("SELECT dissent_id FROM spine.dissent", $dissent), 'a dissent recorded at one Trust is known at the other');
is($rqm->sql_as('rqm_governor', 'SELECT owner, purpose, organisation, reason, recorded_by FROM spine.dissents'), 'RYJ|care|RQM||', 'to its governor, without what she said');
is($rqm->refused('rqm_governor', "SELECT spine.withdraw_dissent('$dissent')"), 'SP006', 'who does not withdraw it');
$rqm->sql_as('rqm_clinician', "SELECT spine.claim('$nhs', 'Seen in our clinic.')");
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.relationship WHERE kind = 'claim'", 1), 'a claim there is known here');
is($ryj->sql('SELECT audience FROM maternity.booking'), '{}', 'and changes nothing against it');

# break-glass

my $reader = $rqm->session('rqm_clinician');
is(ask($reader, "SELECT spine.break_glass('$nhs', 'She bleeds.') > now() + interval '179 minutes'"), "t\n", 'against it a clinician there breaks the glass');
ask($reader, "SELECT spine.break_glass('$unknown', 'Somebody else bleeds.')");
ok(defined $rqm->wait_for('SELECT count(*) FROM maternity.booking', 1), 'her record comes');
is(ask($reader, 'SELECT antenatal_booking_date FROM maternity_2_0.booking'), "2026-01-05\n", 'and is seen');
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.relationship WHERE kind = 'emergency'", 2), 'the owner is told');
ok(defined $ryj->wait_for('SELECT count(*) > 0 FROM spine.access_notice'), 'and by whom it was');
is($ryj->sql_as('ryj_governor', 'SELECT organisation, role_name, reason, state FROM spine.review'), 'RQM|rqm_clinician|She bleeds.|open', 'its governor has it to review, and not that of somebody whom nobody knows here');
is($rqm->sql_as('rqm_governor', 'SELECT role_name, reason, state FROM spine.review'), "rqm_clinician|She bleeds.|open\nrqm_clinician|Somebody else bleeds.|open", 'the reader\'s governor has both');

# the use stands, whatever becomes of the transaction

ask($reader, "BEGIN; SELECT spine.break_glass('$nhs', 'Taken back.')");
ask($reader, 'ROLLBACK');
ask($reader, "BEGIN READ ONLY; SELECT spine.break_glass('$nhs', 'Only looked.')");
is(ask($reader, 'SELECT antenatal_booking_date FROM maternity_2_0.booking'), "2026-01-05\n", 'also a transaction that only reads breaks the glass');
ask($reader, 'COMMIT');
is($rqm->sql_as('rqm_governor', "SELECT reason, state FROM spine.review WHERE reason IN ('Taken back.', 'Only looked.') ORDER BY 1"), "Only looked.|open\nTaken back.|open",
	'a use is to be reviewed though its transaction was rolled back, or could write nothing');
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.relationship WHERE reason IN ('Taken back.', 'Only looked.')", 2), 'at the other Trust too');

# explained at both ends

$ryj->sql_as('ryj_clinician', "SELECT spine.transfer('$nhs', 'RQM', 'She is there.')");
ok(defined $_->wait_for("SELECT count(*) FROM spine.relationship WHERE kind = 'transfer'", 1), 'a transfer') for ($ryj, $rqm);
is($_->[0]->sql_as($_->[1], "SELECT state, explained_by FROM spine.review WHERE reason = 'She bleeds.'"), 'explained|transfer', 'explains it at both ends')
  for ([ $ryj, 'ryj_governor' ], [ $rqm, 'rqm_governor' ]);

# closed by either side, once

my ($hers, $others) = map { $rqm->sql("SELECT relationship_id FROM spine.relationship WHERE kind = 'emergency' AND reason = '$_'") } 'She bleeds.', 'Somebody else bleeds.';
is($ryj->refused('ryj_governor', "SELECT spine.close_review('$others', 'appropriate', 'x')"), 'SP006', 'what is not one\'s own cannot be closed');
my @governor = map { $ryj->session('ryj_governor') } 1 .. 2;
ask($governor[0], "BEGIN; SELECT spine.close_review('$hers', 'appropriate', 'She was bleeding.')");
say_to($governor[1], "SELECT spine.close_review('$hers', 'inappropriate', 'x')");
$ryj->wait_for("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", 't');
ask($governor[0], 'COMMIT');
like(heard($governor[1]), qr/55000: this review is closed/, 'of two who close it at once the second is told');
ok(defined $rqm->wait_for('SELECT count(*) FROM spine.review_event', 1), 'the other Trust is told');
is($rqm->sql_as('rqm_governor', "SELECT state, outcome, note, closed_by FROM spine.review WHERE relationship_id = '$hers'"), 'closed|appropriate|She was bleeding.|RYJ', 'and has it closed');
is($rqm->refused('rqm_governor', "SELECT spine.close_review('$hers', 'unclear', 'x')"), '55000', 'for good');
$rqm->sql_as('rqm_governor', "SELECT spine.close_review('$others', 'inappropriate', 'Nobody knows why.')");
ok(defined $ryj->wait_for('SELECT count(*) FROM spine.review_event', 2), 'what the reader\'s side closes comes here');
is($ryj->sql_as('ryj_governor', "SELECT count(*) FROM spine.review WHERE relationship_id = '$others'"), 0, 'where it concerns nobody');

done_testing();
