# What ends on the way (faults F17, F19, F22; invariants I2, I3, I5, I11): a woman dissents at each step of her record's road to the neighbour, its agreement ends,
# is one of two, or is spoilt; and what a DBA does by accident.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use SpineProxy;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(conf => "listen_addresses = '127.0.0.1'\nspine.courier_interval = 200ms\nspine.courier_timeout = '30s'");
my $proxy = SpineProxy->new(port => $rqm->port);
$ryj->sql(sprintf "SELECT spine.connect_node('RQM', 'host=127.0.0.1 port=%d dbname=spine user=node_ryj', '{RQM}')", $proxy->port);
ok(defined $ryj->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links"), 'the nodes are connected');
my $quiet = 'SET session_replication_role = replica;';
# what was ever stored there
$rqm->sql('CREATE TABLE public.applied (visit_id text); CREATE FUNCTION public.note_applied() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
	$$BEGIN INSERT INTO public.applied VALUES (NEW.visit_id); RETURN NULL; END$$; CREATE TRIGGER applied AFTER INSERT ON bump.visit FOR EACH ROW EXECUTE FUNCTION public.note_applied()');

# F17, F19: a woman's record on its way, under an agreement. What ends at any step of the road is not there afterwards.
for my $node ([ $ryj, 'RYJ', 'RQM' ], [ $rqm, 'RQM', 'RYJ' ])
{
	my ($one, $own, $other) = @$node;
	my $l = lc $own;
	$one->sql("SELECT spine.add_organisation('$other', '$other', 'trust')");
	$one->sql("CREATE ROLE ${l}_$_ LOGIN") for qw(clinician governor supplier);
	$one->sql("SELECT spine.add_member('${l}_clinician', '$own', 'clinician'); SELECT spine.add_member('${l}_governor', '$own', 'governor'); SELECT spine.add_system('$own', 'System', 'maternity', '${l}_supplier')");
}
sub agree
{
	my ($name, $signs) = @_;
	$ryj->sql_as('ryj_governor', "SELECT spine.propose_agreement('{\"name\": \"$name\", \"version\": 1, \"title\": \"$name\", \"parties\": [\"RYJ\", \"RQM\"], \"start\": \"2026-01-01\", \"end\": null,
		\"review\": \"2090-01-01\", \"clauses\": [{\"from\": [\"RYJ\"], \"to\": [\"RQM\"], \"purpose\": \"care\", \"dataset\": \"bump\", \"groups\": [\"visit\"], \"relationships\": [\"referral\"]}]}')");
	$ryj->sql_as('ryj_governor', "SELECT spine.sign_agreement('$name', 1)");
	ok(defined $rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE name = '$name'", 2), "$name: proposed");
	$rqm->sql_as('rqm_governor', "SELECT spine.sign_agreement('$name', 1)");
	ok(defined $ryj->wait_for("SELECT count(*) FROM spine.agreement_event WHERE name = '$name'", 3), "$name: signed");
	$ryj->sql_as('ryj_governor', "SELECT spine.publish_agreement('$name', 1)");
	ok(defined $rqm->wait_for("SELECT count(*) > 0 FROM spine.sharing_rule WHERE agreement = '$name' AND in_force"), "$name: published");
	return;
}
my $nhs = '9990000026';
my $n = 0;
sub write_one
{
	$n++;
	like($ryj->sql_as('ryj_supplier', "SELECT outcome FROM spine.submit('{\"dataset\": \"bump\", \"version\": \"1.0\", \"system\": \"System\", \"records\": [{\"group\": \"visit\", \"nhs_number\": \"$nhs\", \"data\": {\"visit_id\": \"hers$n\"}}]}'::text)"),
		qr/^accepted/, "record $n of hers");
	return "hers$n";
}
agree('first');
$ryj->sql_as('ryj_clinician', "SELECT spine.refer('$nhs', 'RQM', 'there')") if write_one();
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = 'hers1'", 1), 'her first record is there');
my ($end, $undo) = ("SELECT spine.record_dissent('$nhs', 'care')", 'SELECT spine.withdraw_dissent(dissent_id) FROM spine.dissents WHERE until IS NULL');
# where the record is when she says no
for my $step ([ 'before the courier has seen it', 'stop' ], [ 'sent and not received', 'hold_requests' ], [ 'received and not acknowledged', 'hold_answers' ], [ 'while it is read there', 'read' ])
{
	my ($name, $how) = @$step;
	my $courier = courier_pid($ryj);
	my $reading;
	if ($how eq 'stop') { kill STOP => $courier }
	elsif ($how ne 'read') { $proxy->does($how) }
	my $record = write_one();
	if ($how eq 'hold_requests') { for (1 .. 200) { last if $proxy->holds; sleep 0.1 } }
	elsif ($how ne 'stop') { ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), "F17: $name: it is there") }
	if ($how eq 'read')
	{
		$reading = $rqm->session('rqm_clinician');
		SpineNode::ask($reading, "SELECT 1 FROM spine.open_record('$nhs', 'care', 'her visit') LIMIT 1");
		like(SpineNode::ask($reading, "SELECT count(*) FROM bump_1_0.visit WHERE visit_id = '$record'"), qr/^1$/m, "F17: $name: seen");
	}
	$ryj->sql_as('ryj_clinician', $end);
	if ($how eq 'stop') { kill CONT => $courier }
	else { $proxy->does('pass') }
	ok(defined $rqm->wait_for("SELECT count(*) FROM spine.dissent WHERE until IS NULL", 1), "F17: $name: her dissent arrives");
	ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id LIKE 'hers%'", 0), "F17: $name: nothing of hers is there (I3)");
	is($rqm->sql("SELECT count(*) FROM public.applied WHERE visit_id = '$record'"), 0, "F17: $name: it never was (I2)") if $how eq 'stop';
	like(SpineNode::ask($reading, "SELECT count(*) FROM bump_1_0.visit WHERE visit_id = '$record'"), qr/^0$/m, "F17: $name: nor is it seen by who has her open") if $reading;
	$reading->{run}->kill_kill if $reading;
	$ryj->sql_as('ryj_clinician', $undo);
	ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), "F17: $name: withdrawn, it is there again");
}

# F19: the rules end, or are spoilt, while a record is under way: nothing is shared (I11)
$proxy->does('hold_requests');
my $record = write_one();
for (1 .. 200) { last if $proxy->holds; sleep 0.1 }
$ryj->sql_as('ryj_governor', "SELECT spine.end_agreement('first', 1, 'on the way')");
$proxy->does('pass');
ok(defined $rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'ended'", 1), 'F19: the end of the agreement arrives');
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id LIKE 'hers%'", 0), 'F19: with no rule left nothing of hers is there');
$record = write_one();
agree('second');
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), 'F19: under another agreement it is');
# a rule of the same parties about the same group does not undo the first; where one of two ends, the other holds
agree('third');
$ryj->sql_as('ryj_governor', "SELECT spine.end_agreement('second', 1, 'of two')");
ok(defined $rqm->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'ended'", 2), 'F19: of two that share the same one ends');
$record = write_one();
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = '$record'", 1), 'F19: the other holds');
# a document that is not what was signed
$ryj->sql("$quiet UPDATE spine.agreement_event SET document = jsonb_set(document, '{clauses,0,purpose}', '\"curiosity\"') WHERE name = 'third' AND kind = 'proposed'");
$ryj->sql('SELECT spine.compile_agreements()');
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.sharing_rule", 0), 'F19: a document that was spoilt by hand shares nothing (I11)');
ok(defined $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id LIKE 'hers%'", 0), 'F19: and what it shared is withdrawn');

# F22: a DBA's accident: refused, even to a superuser, or found out
for my $accident ('TRUNCATE spine.access_log', 'UPDATE spine.access_log SET reason = NULL', 'DELETE FROM spine.access_log', 'TRUNCATE bump.visit', 'TRUNCATE spine.relationship',
	'TRUNCATE spine.dissent', 'DELETE FROM spine.agreement_event', 'TRUNCATE spine.agreement_event')
{
	is($rqm->refused('postgres', $accident), '55000', "F22: $accident: refused");
}
my $entry = $rqm->sql('SELECT min(access_id) FROM spine.access_log');
$rqm->sql("ALTER TABLE spine.access_log DISABLE TRIGGER append_only; UPDATE spine.access_log SET duty = duty || 'x' WHERE access_id = $entry; ALTER TABLE spine.access_log ENABLE TRIGGER append_only");
is($rqm->sql('SELECT access_id FROM spine.verify_access_log()'), $entry, 'F22: an entry changed with the trigger off is found (I5)');
$rqm->sql("$quiet UPDATE spine.access_log SET duty = left(duty, -1) WHERE access_id = $entry");

done_testing();
