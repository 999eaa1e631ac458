# What governs, between two nodes: items that no clause gives do not leave, dissents bite at once at
# the other Trust, who breaks the glass there is let in, and all of it is taken back.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;

my %node = map { $_ => SpineNode->new(lc $_, organisation => $_, dataset => 'maternity 2.0') } qw(RYJ RQM);
my ($ryj, $rqm) = @node{qw(RYJ RQM)};
for my $code (qw(RYJ RQM))
{
	my ($other, $l) = ($code eq 'RYJ' ? 'RQM' : 'RYJ', lc $code);
	$node{$code}->sql("SELECT spine.add_organisation('$other', '$other', 'trust')");
	$node{$code}->sql("CREATE ROLE ${l}_$_ LOGIN") for qw(supplier clinician governor);
	$node{$code}->sql("SELECT spine.add_system('$code', 'System', 'maternity', '${l}_supplier');
		SELECT spine.add_member('${l}_clinician', '$code', 'clinician'); SELECT spine.add_member('${l}_governor', '$code', 'governor')");
}
connect_nodes($ryj, $rqm, 'RYJ', 'RQM');

my $nhs = '9434765919';
$ryj->sql_as('ryj_supplier', <<"END");
INSERT INTO maternity_2_0.booking (nhs_number, local_patient_id, local_episode_id, antenatal_booking_date, edd_agreed, complex_social_factors_indicator)
	VALUES ('$nhs', 'W1', 'P1', '2026-01-05', '2026-08-10', 'Y');
INSERT INTO maternity_2_0.social_circumstances (nhs_number, mother_local_id, social_circumstance_code, social_circumstance_date)
	VALUES ('$nhs', 'W1', '105531004', '2025-03-04')
END

# agree(VERSION, CLAUSE): a version of the agreement, whose clause has these keys besides, in force at both nodes
sub agree
{
	my ($version, $clause) = @_;
	$ryj->sql_as('ryj_governor', <<"END");
SELECT spine.propose_agreement('{"name": "two", "version": $version, "title": "Two Trusts", "parties": ["RYJ", "RQM"],
 "start": "2026-01-01", "end": null, "review": "2030-01-01",
 "clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care", "dataset": "maternity",
			  "groups": ["booking", "social_circumstances"], "relationships": ["referral"] $clause}]}')
END
	$rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'proposed' AND version = $version", 1);
	$rqm->sql_as('rqm_governor', "SELECT spine.sign_agreement('two', $version)");
	$ryj->sql_as('ryj_governor', "SELECT spine.sign_agreement('two', $version)");
	$ryj->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'signed' AND version = $version", 2);
	$ryj->sql_as('ryj_governor', "SELECT spine.publish_agreement('two', $version)");
	return $rqm->wait_for("SELECT count(*) > 0 FROM spine.sharing_rule WHERE in_force AND version = $version");
}

my $items = "SELECT concat_ws(',', antenatal_booking_date, complex_social_factors_indicator) FROM maternity.booking";
# every place where a byte of a record could stand
my $anywhere = <<'END';
SELECT count(*) FROM (SELECT to_jsonb(b) FROM maternity.booking b UNION ALL SELECT to_jsonb(h) FROM spine.history h
	UNION ALL SELECT to_jsonb(w) FROM spine.waiting_row w UNION ALL SELECT to_jsonb(f) FROM spine.receive_fault f
	UNION ALL SELECT u.items FROM spine.unknown_item u) x (body)
WHERE body::text LIKE '%complex_social_factors_indicator": "Y"%'
END

# items

ok(defined agree(1, ''), 'an agreement');
my $referral = $ryj->sql_as('ryj_clinician', "SELECT spine.refer('$nhs', 'RQM', 'care goes on there')");
ok(defined $rqm->wait_for($items, '2026-01-05'), 'a booking arrives without its restricted item');
is($rqm->sql($anywhere), 0, 'of which there is nothing at the neighbour');
my $social = 'SELECT concat_ws(\',\', local_record_id = record_id::text, event_at, mother_local_id, social_circumstance_code, social_circumstance_date) FROM maternity.social_circumstances';
ok(defined $rqm->wait_for($social, 't,W1'), 'nor of what is made of restricted items: a key, a time');
like($ryj->sql('SELECT local_record_id FROM maternity.social_circumstances'), qr/105531004/, 'which at home tells them');
is($ryj->sql($items), '2026-01-05,Y', 'at home it is whole');
$rqm->sql_as('rqm_clinician', "SELECT spine.open_record('$nhs', 'care', 'x')");
is($rqm->sql_as('rqm_clinician', "SET client_min_messages = error; SELECT spine.open_record('$nhs', 'care', 'x') IS NOT NULL; $items" =~ s/maternity\./maternity_2_0./r),
	"t\n2026-01-05", 'a clinician there sees what came');
ok(defined agree(2, ', "item_classes": ["administrative", "clinical", "identity", "restricted"]'), 'a version that shows restricted items');
ok(defined $rqm->wait_for($items, '2026-01-05,Y'), 'and they come');
ok(defined $rqm->wait_for('SELECT local_record_id FROM maternity.social_circumstances', $ryj->sql('SELECT local_record_id FROM maternity.social_circumstances')), 'the key too');
ok(defined agree(21, ', "item_classes": ["administrative"]}, {"from": ["RYJ"], "to": ["RQM"], "purpose": "care", "dataset": "maternity", "groups": ["booking"], "relationships": ["episode"]'), 'two clauses');
ok(defined $rqm->wait_for($items, $rqm->sql("SELECT CASE class WHEN 'administrative' THEN '2026-01-05' ELSE '' END FROM spine.data_items WHERE dataset = 'maternity' AND version = '2.0' AND data_group = 'booking' AND item = 'antenatal_booking_date'")),
	'of which the one whose relationship there is says what is seen');
is($ryj->sql("SELECT clause FROM spine.delivery WHERE relation = 'maternity.booking' ORDER BY delivery_id DESC LIMIT 1"), 'two/21/1', 'and the ledger names it');
ok(defined agree(30, ', "items": {"exclude": ["booking.antenatal_booking_date"]}, "emergency": true'), 'a version that does not');
ok(defined $rqm->wait_for($items, ''), 'and they go, with the one that is left out');
is($rqm->sql($anywhere), 0, 'from everywhere');

# dissents

my $dissent = $ryj->sql(<<"END");
INSERT INTO spine.dissent (dissent_id, patient_id, purpose, owner, recorded_by) VALUES (spine.uuid_v7(), spine.patient_id('$nhs'), 'care', 'RYJ', 'x') RETURNING dissent_id
END
ok(defined $rqm->wait_for('SELECT count(*) FROM maternity.booking', 0), 'a dissent takes the record back from the neighbour');
is($rqm->sql('SELECT dissent_id, owner, purpose FROM spine.dissent'), "$dissent|RYJ|care", 'which knows of it');
is($rqm->refused('rqm_clinician', "SELECT spine.open_record('$nhs', 'care', 'x')"), 'SP006', 'nothing can be opened');

# one recorded at the other Trust stops the owner
$ryj->sql("UPDATE spine.dissent SET until = now(), revision = 2");
ok(defined $rqm->wait_for('SELECT count(*) FROM maternity.booking', 1), 'withdrawn, the record comes again');
$rqm->sql(<<"END");
INSERT INTO spine.dissent (dissent_id, patient_id, purpose, organisation, owner, recorded_by) VALUES (spine.uuid_v7(), spine.patient_id('$nhs'), 'care', 'RQM', 'RQM', 'x')
END
ok(defined $rqm->wait_for('SELECT count(*) FROM maternity.booking', 0), 'a dissent told at the one who may not see takes it back too');

# who breaks the glass

$rqm->sql(<<"END");
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, until) VALUES (spine.uuid_v7(), spine.patient_id('$nhs'), 'RQM', 'emergency', 'RQM', now() + interval '10 seconds')
END
ok(defined $rqm->wait_for('SELECT count(*) FROM maternity.booking', 1), 'an emergency at the neighbour brings the record against the dissent');
is($rqm->sql('SELECT DISTINCT split_part(split_part(u, \':\', 2), \'/\', 1) FROM maternity.booking, unnest(audience) u'), 'emergency', 'for who broke the glass alone');
is($rqm->refused('rqm_clinician', "SELECT spine.open_record('$nhs', 'care', 'x')"), 'SP006', 'an opening for care does not show it');
ok(defined $rqm->wait_for('SELECT count(*) FROM maternity.booking', 0), 'when its time is over the record goes');
is($ryj->sql("SELECT count(*) FROM spine.relationship WHERE kind = 'emergency'"), 1, 'the owner knows that it was');
$ryj->sql_as('ryj_governor', "SELECT spine.end_agreement('two', 30, 'x')");
ok(defined $rqm->wait_for("SELECT count(*) FROM spine.sharing_rule", 0), 'the agreement ends');
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.relationship WHERE organisation = 'RQM' AND kind <> 'emergency'", 1), 'the neighbour\'s relationships go, but for one\'s own referral');
is($ryj->sql("SELECT count(*) FROM spine.relationship WHERE kind = 'emergency'"), 1, 'an emergency stays to be reviewed');

done_testing();
