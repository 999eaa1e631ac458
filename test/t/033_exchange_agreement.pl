# The main road over two nodes: an agreement signed at both, a woman referred from one to the other,
# her records there while the referral and the agreement hold, and no longer.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(time);

my %node = map { $_ => SpineNode->new(lc $_, organisation => $_, dataset => 'maternity 2.0') } qw(RYJ RQM);
my ($ryj, $rqm) = @node{qw(RYJ RQM)};
for my $code (qw(RYJ RQM))
{
	my ($own, $other, $l) = ($code, $code eq 'RYJ' ? 'RQM' : 'RYJ', lc $code);
	$node{$code}->sql("SELECT spine.add_organisation('$other', '$other', 'trust')");
	$node{$code}->sql("CREATE ROLE ${l}_$_ LOGIN") for qw(supplier clinician governor);
	$node{$code}->sql("SELECT spine.add_system('$code', 'System', 'maternity', '${l}_supplier');
		SELECT spine.add_member('${l}_clinician', '$code', 'clinician'); SELECT spine.add_member('${l}_governor', '$code', 'governor')");
}
connect_nodes($ryj, $rqm, 'RYJ', 'RQM');
# one is connected before the other, which refuses it meanwhile
for my $node ($ryj, $rqm)
{
	$node->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links", 't', 60)
	  // die "the nodes do not connect\n";
}
my %log_starts = map { $_->name => -s $_->logfile } $ryj, $rqm;

my ($nhs, $other_nhs) = qw(9434765919 9434765870);

sub booking
{
	my ($nhs, $n, $live_births) = @_;
	return <<"END";
SELECT outcome FROM spine.submit(\$json\$
{"dataset": "maternity", "version": "2.0", "system": "System", "records": [
  {"group": "mother", "nhs_number": "$nhs", "local_patient_id": "W$n", "local_record_id": "M$n",
   "data": {"mother_local_id": "W$n", "mother_nhs_number": "$nhs", "mother_birth_date": "1994-03-0$n"}},
  {"group": "booking", "nhs_number": "$nhs", "local_patient_id": "W$n", "local_episode_id": "P$n", "local_record_id": "B$n",
   "data": {"pregnancy_id": "P$n", "mother_local_id": "W$n", "antenatal_booking_date": "2026-01-0$n",
            "edd_agreed": "2026-08-0$n", "previous_live_births": $live_births}}]}
\$json\$::json)
END
}

unlike($ryj->sql_as('ryj_supplier', booking($nhs, 1, 0)), qr/rejected/, 'a booking at RYJ');
unlike($ryj->sql_as('ryj_supplier', booking($other_nhs, 2, 0)), qr/rejected/, 'and another woman\'s');

# The agreement: proposed at one node, signed at both.
$ryj->sql_as('ryj_governor', <<'END');
SELECT spine.propose_agreement('{"name": "two", "version": 1, "title": "Two Trusts", "parties": ["RYJ", "RQM"],
 "start": "2026-01-01", "end": null, "review": "2030-01-01",
 "clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care", "dataset": "maternity",
              "groups": ["booking"], "relationships": ["referral"]}]}')
END
ok(defined $rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'proposed' AND owner = 'RYJ'", 1), 'the proposal reaches the other party');
is($rqm->sql("SELECT digest = sha256(convert_to(document::text, 'UTF8')) FROM spine.agreement_event"), 't', 'word for word');
$rqm->sql_as('rqm_governor', "SELECT spine.sign_agreement('two', 1)");
$ryj->sql_as('ryj_governor', "SELECT spine.sign_agreement('two', 1)");
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'signed'", 2), 'its signature comes back');
$ryj->sql_as('ryj_governor', "SELECT spine.publish_agreement('two', 1)");
ok(defined $rqm->wait_for("SELECT count(*) > 0 FROM spine.sharing_rule WHERE in_force"), 'published, it is in force there too');
is($rqm->sql("SELECT count(*) FROM maternity.booking"), 0, 'by itself it moves no record');

# A referral.
my $start = time;
my $referral = $ryj->sql_as('ryj_clinician', "SELECT spine.refer('$nhs', 'RQM', 'care goes on there')");
ok(defined $rqm->wait_for('SELECT count(*) FROM maternity.booking', 1), 'after a referral her booking is there');
note(sprintf 'after %.0f ms, psql and polling included', 1000 * (time - $start));
is($rqm->sql('SELECT owner, audience FROM maternity.booking'), 'RYJ|{RQM:care,RQM:care/aci}', 'as the owner\'s');
is($rqm->sql('SELECT count(*) FROM maternity.mother'), 0, 'what the agreement does not name is not');
is($ryj->sql("SELECT DISTINCT clause FROM spine.delivery WHERE relation = 'maternity.booking'"), 'two/1/1', 'the ledger names the clause');
is($rqm->sql_as('rqm_clinician', "SELECT count(*) FROM spine.timeline('$nhs')"), 0, 'unopened, a clinician there does not see it');
is($rqm->sql_as('rqm_clinician', "SELECT 1 FROM spine.open_record('$nhs', 'care', 'her clinic') LIMIT 1; SELECT count(*) FROM spine.timeline('$nhs')"),
	"1\n1", 'opened, it is on her timeline');

unlike($ryj->sql_as('ryj_supplier', booking($nhs, 1, 3)), qr/rejected/, 'a correction by the supplier');
ok(defined $rqm->wait_for('SELECT previous_live_births FROM maternity.booking', 3), 'follows');
is($rqm->sql('SELECT count(*) FROM spine.history'), 0, 'leaving no copy of what it was');

# Both describe one pregnancy.
unlike($rqm->sql_as('rqm_supplier', booking($nhs, 1, 3)), qr/rejected/, 'RQM books her too');
is($rqm->sql("SELECT count(*) > 0 FROM spine.relationship WHERE organisation = 'RQM' AND kind = 'referral'"), 't', 'which knows why it may see her');

# The end of the relationship.
$ryj->sql_as('ryj_clinician', "SELECT spine.end_relationship('$referral')");
ok(defined $rqm->wait_for("SELECT count(*) FROM maternity.booking WHERE owner = 'RYJ'", 0), 'when the referral ends the record is withdrawn');
is($rqm->sql("SELECT count(*) FROM maternity.booking WHERE owner = 'RQM'"), 1, 'its own stays');
is($rqm->sql('SELECT count(*) FROM spine.history'), 0, 'no copy is left');
ok(defined $rqm->wait_for("SELECT count(*) FROM spine.relationship WHERE relationship_id = '$referral' AND until IS NULL", 0), 'the end itself is known there');

# The end of the agreement, said by the other party.
$ryj->sql_as('ryj_clinician', "SELECT spine.refer('$nhs', 'RQM', 'again')");
ok(defined $rqm->wait_for("SELECT count(*) FROM maternity.booking WHERE owner = 'RYJ'", 1), 'referred again it is there again');
$rqm->sql_as('rqm_governor', "SELECT spine.end_agreement('two', 1, 'tested')");
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.sharing_rule WHERE in_force", 0), 'the other party ends the agreement');
is($rqm->sql("SELECT d.relation FROM spine.delivery d WHERE d.xid =
	(SELECT max(e.xid) FROM spine.delivery e WHERE e.relation = 'spine.agreement_event') ORDER BY d.delivery_id LIMIT 1"),
	'spine.agreement_event', 'its end leaves before what it withdraws');
cmp_ok($rqm->sql("SELECT count(*) FROM spine.delivery d WHERE d.xid =
	(SELECT max(e.xid) FROM spine.delivery e WHERE e.relation = 'spine.agreement_event')"), '>', 1, 'which leaves with it');
ok(defined $rqm->wait_for("SELECT count(*) FROM maternity.booking WHERE owner = 'RYJ'", 0), 'and all that it shared is withdrawn');
is($ryj->sql("SELECT bool_and(audience = '{}') FROM maternity.booking WHERE owner = 'RYJ'"), 't', 'it is for nobody else\'s eyes any more');
is($_->sql('SELECT count(*) FROM spine.receive_fault') + $_->sql('SELECT count(*) FROM spine.incident'), 0, 'no fault, no incident at ' . $_->name) for $ryj, $rqm;
unlike(slurp_file($_->logfile, $log_starts{$_->name}), qr/link to node .* failed:/, 'no link failed at ' . $_->name) for $ryj, $rqm;

done_testing();
