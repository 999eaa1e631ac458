# Comparison of what a neighbour holds with what it should hold: rows lost, left over or edited by hand, at either side,
# end in exactly the agreed set and a signed receipt whose digests are equal.    # fault F10, invariants I8 I12
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes(conf => "spine.courier_interval = 200ms\nspine.reconcile_at = ''");
my $last = '';

# Compares RYJ's rows at RQM; the figures of the receipt.
sub reconcile
{
	my ($figures) = @_;
	my $count = $ryj->sql("SELECT count(*) FROM spine.receipts WHERE kind = 'reconciliation' AND direction = 'sent'");
	$ryj->sql("SELECT spine.reconcile('RQM')");
	defined $ryj->wait_for("SELECT count(*) > $count FROM spine.receipts WHERE kind = 'reconciliation' AND direction = 'sent'", 't', 120) or return 'no receipt';
	$last = $ryj->sql("SELECT receipt_id FROM spine.receipts WHERE kind = 'reconciliation' AND direction = 'sent' ORDER BY ended DESC LIMIT 1");
	return $ryj->sql("SELECT $figures FROM spine.receipts WHERE receipt_id = '$last'");
}

sub good
{
	my ($figures, $expected, $name) = @_;
	is(reconcile("equal, sent_rows = held_rows AND sent_digest = held_digest, $figures"), "t|t|$expected", $name);
	return;
}

# The first contact -----------------------------------------------------------------------------

is($ryj->sql("SELECT kind, equal, coalesce(rows_sent, 0) FROM spine.receipts WHERE direction = 'sent'"), 'reconciliation|t|0', 'the first contact ends with a receipt');
is($ryj->sql("SELECT state FROM spine.node_key WHERE node = 'RQM'"), 'pinned', 'and the neighbour\'s key is pinned');
is($ryj->sql("SELECT encode(public_key, 'hex') FROM spine.node_key WHERE node = 'RQM'"), $rqm->sql("SELECT spine.own_public_key()"), 'it is its key');

$ryj->sql("INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, event_at, received_at, revision, audience, visit_id, due_on, weight)
	SELECT spine.uuid_v7(), 'RYJ', 'bulk', i, gen_random_uuid(), '1.0', now() - i * interval '1.000001 minute', now(), 1,
		   CASE i % 10 WHEN 0 THEN '{}' ELSE '{RQM:care,RQM:care/aci}' END::text[], i, current_date + i % 300,
		   CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN i WHEN 2 THEN i / 7.0 ELSE i::numeric / 1000 END
	FROM generate_series(1, 3000) i");
$ryj->sql("INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, audience)
	SELECT gen_random_uuid(), patient_id, 'RQM', 'referral', 'RYJ', '{RQM:care}' FROM bump.visit LIMIT 20");
ok(wait_equal($ryj, $rqm), 'records come over');
good('sent_rows, differed, rows_sent, rows_removed', '2720|0|0|0', 'a comparison finds them equal, numbers, dates and times to the last digit');
is($ryj->sql("SELECT spine.verify_receipt('$last')"), 't', 'the sender can check the receipt');
is($rqm->sql("SELECT direction, spine.verify_receipt(receipt_id) FROM spine.receipts WHERE receipt_id = '$last'"), 'received|t', 'and so can the receiver, who has it too');

# By hand at the neighbour -------------------------------------------------------------------------

my $ledger = $ryj->sql('SELECT max(delivery_id) FROM spine.delivery');
my ($from, $to, $seq) = ("SELECT record_id FROM bump.visit WHERE owner = 'RYJ' ORDER BY record_id", 'ORDER BY record_id', '');
$rqm->sql("DELETE FROM bump.visit WHERE record_id IN ($from LIMIT 5)");
$rqm->sql("UPDATE bump.visit SET weight = 999 WHERE record_id IN ($from OFFSET 1000 LIMIT 3)");
$rqm->sql("UPDATE bump.visit SET due_on = NULL WHERE record_id IN ($from OFFSET 1500 LIMIT 1)");
$rqm->sql("UPDATE bump.visit SET audience = '{RQM:care}' WHERE record_id IN ($from OFFSET 1600 LIMIT 1)");
$rqm->sql("UPDATE bump.visit SET revision = revision + 5 WHERE record_id IN ($from OFFSET 2000 LIMIT 1)");
put($rqm, 'too many', owner => 'RYJ', audience => '{RQM:care,RQM:care/aci}') for 1;
$rqm->sql("DELETE FROM spine.relationship WHERE relationship_id = (SELECT relationship_id FROM spine.relationship LIMIT 1)");
good('rows_sent, rows_removed', '12|1', 'what was deleted, edited or added by hand is mended, and nothing else is sent');
ok(wait_equal($ryj, $rqm, 5), 'the sets are equal');
is($rqm->sql("SELECT count(*) FROM spine.relationship WHERE owner = 'RYJ'"), 20, 'relationships too');
is($rqm->sql("SELECT array_agg(DISTINCT kind ORDER BY kind) FROM spine.incident WHERE kind IN ('revision_went_back', 'content_differed')"), '{content_differed,revision_went_back}', 'what stood there otherwise is an incident');
is($ryj->sql("SELECT action, count(*) FROM spine.delivery WHERE delivery_id > $ledger GROUP BY 1 ORDER BY 1"), "put|12\nwithdraw|1", 'the ledger has what was sent');
is($ryj->sql("SELECT lag_rows FROM spine.links WHERE direction = 'sending'"), 0, 'and none of it is sent twice');
good('differed', 0, 'a further comparison finds nothing');

# two rows that changed places hold the same values all together
my @two = split /\n/, $rqm->sql("SELECT record_id FROM bump.visit WHERE owner = 'RYJ' AND weight IS NOT NULL ORDER BY record_id LIMIT 2");
$rqm->sql("UPDATE bump.visit v SET weight = o.weight FROM bump.visit o WHERE v.record_id <> o.record_id AND v.record_id IN ('$two[0]', '$two[1]') AND o.record_id IN ('$two[0]', '$two[1]')");
good('rows_sent', 2, 'values that changed places are found');
$rqm->sql("DELETE FROM bump.visit WHERE owner = 'RYJ'");
good('rows_sent', 2700, 'a table that is empty is filled');
ok(wait_equal($ryj, $rqm, 5), 'the sets are equal');
is($rqm->sql("SELECT count(*) FROM spine.receive_fault"), 0, 'with nothing set aside');

# rows that would be too many for one batch
$rqm->sql("INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, event_at, received_at, revision, audience, visit_id)
	SELECT spine.uuid_v7(), 'RYJ', 'forged', i, gen_random_uuid(), '1.0', now(), now(), 1, '{RQM:care,RQM:care/aci}', i FROM generate_series(1, 2500) i");
good('rows_sent, rows_removed', '0|2500', 'thousands of rows too many go');
ok(wait_equal($ryj, $rqm, 5), 'the sets are equal');

# By hand at the sender -----------------------------------------------------------------------------

$ryj->sql("BEGIN; SET LOCAL session_replication_role = replica; UPDATE bump.visit SET weight = 1, revision = revision + 1 WHERE record_id IN (SELECT record_id FROM bump.visit WHERE audience <> '{}' LIMIT 4);
	UPDATE bump.visit SET audience = '{}' WHERE record_id IN (SELECT record_id FROM bump.visit WHERE audience <> '{}' AND revision = 1 LIMIT 2);
	DELETE FROM bump.visit WHERE record_id IN (SELECT record_id FROM bump.visit WHERE audience <> '{}' AND revision = 1 LIMIT 3); COMMIT");
good('rows_sent, rows_removed', '4|5', 'what was done past the ledger follows');
ok(wait_equal($ryj, $rqm, 5), 'the sets are equal');
# entries that are lost before they are sent
$ryj->sql("BEGIN; UPDATE bump.visit SET weight = 2, revision = revision + 1 WHERE record_id IN (SELECT record_id FROM bump.visit WHERE audience <> '{}' LIMIT 6);
	DELETE FROM spine.delivery WHERE xid = pg_current_xact_id(); COMMIT");
good('rows_sent', 6, 'lost entries of the ledger are made good');

# What was set aside is tried again, and goes when it is not meant any more. An own record holds the id.
my $taken = SpineExchange::make_id();
put($rqm, 'mine', record_id => $taken, owner => 'RQM', audience => '{}');
put($ryj, 'theirs', record_id => $taken);
ok($rqm->wait_for("SELECT count(*) FROM spine.receive_fault WHERE record_id = '$taken'", 1), 'a record whose id an own one holds is set aside');
is(reconcile('equal, sent_rows - held_rows'), 'f|1', 'the receipt says that it is not there');
is($ryj->sql("SELECT spine.verify_receipt('$last')"), 't', 'and is signed all the same');
$rqm->sql("DELETE FROM bump.visit WHERE record_id = '$taken'");
good('rows_sent', 1, 'without the cause it is sent again');
is($rqm->sql("SELECT count(*) FROM spine.receive_fault"), 0, 'and none is aside');
$rqm->sql("INSERT INTO spine.receive_fault (relation, record_id, node, owner, revision, sqlstate, message, content)
	VALUES ('bump.visit', gen_random_uuid(), 'RYJ', 'RYJ', 1, 'SP007', 'stale', '{}')");
good('rows_removed', 1, 'one that its owner does not mean any more goes');
is($rqm->sql("SELECT count(*) FROM spine.receive_fault"), 0, 'from there too');

# In the middle of it ---------------------------------------------------------------------------------

$ryj->append_conf('postgresql.conf', 'spine.courier_batch = 40');
$ryj->reload;
for my $victim ('courier', 'receiver', 'sender')
{
	$rqm->sql("DELETE FROM bump.visit WHERE owner = 'RYJ' AND record_id IN (SELECT record_id FROM bump.visit ORDER BY random() LIMIT 1500);
		UPDATE bump.visit SET weight = 5 WHERE owner = 'RYJ' AND record_id IN (SELECT record_id FROM bump.visit ORDER BY random() LIMIT 100)");
	my $count = $ryj->sql("SELECT count(*) FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation'");
	my $seq = $ryj->sql('SELECT sent_seq FROM spine.link');
	$ryj->sql("SELECT spine.reconcile('RQM')");
	ok($ryj->wait_for("SELECT sent_seq > $seq + 5 FROM spine.link", 't', 60), "a comparison runs ($victim)");
	if ($victim eq 'courier') { kill 'KILL', courier_pid($ryj) }
	else
	{
		my $node = $victim eq 'receiver' ? $rqm : $ryj;
		$node->stop('immediate');
		$node->start;
	}
	$_->poll_query_until('spine', 'SELECT true') for $ryj, $rqm;
	put($ryj, "meanwhile $victim");
	ok($ryj->wait_for("SELECT count(*) > $count FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation'", 't', 120), "$victim killed: the comparison ends");
	ok(wait_equal($ryj, $rqm, 30), "$victim killed: the sets are equal");
	is($ryj->sql("SELECT equal FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation' ORDER BY ended DESC LIMIT 1"), 't', "$victim killed: and the receipt says so");
}
$ryj->append_conf('postgresql.conf', 'spine.courier_batch = 1000');
$ryj->reload;

# Other versions ----------------------------------------------------------------------------------------

my $smoker = definition('2.0', '{"name": "smoker", "title": "Smoker", "type": "boolean", "status": "O", "class": "clinical"}');
$ryj->sql("SELECT spine.publish_dataset('$smoker'::jsonb)");
$ryj->sql("UPDATE bump.visit SET smoker = true, revision = revision + 1 WHERE record_id IN (SELECT record_id FROM bump.visit WHERE audience <> '{}' ORDER BY record_id LIMIT 10)");
ok($rqm->wait_for("SELECT count(*) FROM spine.unknown_item", 10), 'items that the neighbour does not know are kept aside there');
good('differed', 0, 'which is no difference');
$rqm->sql("DELETE FROM spine.unknown_item WHERE record_id IN (SELECT record_id FROM spine.unknown_item LIMIT 3)");
good('rows_sent', 3, 'but their loss is');
is($rqm->sql("SELECT count(*) FROM spine.unknown_item"), 10, 'they are there again');
$rqm->sql("SELECT spine.publish_dataset('$smoker'::jsonb)");
good('differed', 0, 'with the same version at both it is none either');

(my $other = definition('1.0')) =~ s/"bump"/"lump"/;
$ryj->sql("SELECT spine.publish_dataset('$other'::jsonb)");
$ryj->sql("INSERT INTO lump.baby (record_id, owner, source_system, local_record_id, patient_id, dataset_version, event_at, received_at, revision, audience, baby_id)
	SELECT spine.uuid_v7(), 'RYJ', 'test', i, gen_random_uuid(), '1.0', now(), now(), 1, '{RQM:care,RQM:care/aci}', i FROM generate_series(1, 400) i");
ok($rqm->wait_for("SELECT count(*) FROM spine.waiting_row WHERE relation = 'lump.baby'", 400), 'records of a group that is not published there wait');
good('differed', 0, 'and are compared where they wait');
$rqm->sql("DELETE FROM spine.waiting_row WHERE record_id IN (SELECT record_id FROM spine.waiting_row ORDER BY record_id OFFSET 200 LIMIT 3);
	UPDATE spine.waiting_row SET content = content || '{\"baby_id\": \"another\"}' WHERE record_id = (SELECT record_id FROM spine.waiting_row ORDER BY record_id LIMIT 1)");
good('rows_sent', 4, 'those lost or altered are sent again');
$rqm->sql("SELECT spine.publish_dataset('$other'::jsonb)");
is($rqm->sql("SELECT count(*), count(*) FILTER (WHERE baby_id = 'another') FROM lump.baby"), '400|0', 'and applied when it is');
good('differed', 0, 'equal there too');

# A new neighbour, and what the ledger knows of it ------------------------------------------------------------

$ryj->sql("SELECT spine.disconnect_node('RQM')");
put($ryj, 'after the end');
$rqm->sql("DELETE FROM bump.visit WHERE owner = 'RYJ'");
$ryj->sql('DELETE FROM spine.delivery');
$ryj->sql(sprintf("SELECT spine.connect_node('RQM', '%s', '{RQM}', 'node_rqm')", $rqm->conninfo('node_ryj')));
ok(wait_equal($ryj, $rqm), 'connected anew the neighbour gets all');
ok($ryj->wait_for("SELECT NOT full_send FROM spine.links WHERE direction = 'sending'"), 'the comparison ends');
is($ryj->sql("SELECT (SELECT count(*) FROM spine.delivery WHERE action = 'put' AND relation = 'bump.visit') = (SELECT count(*) FROM bump.visit WHERE owner = 'RYJ' AND audience <> '{}')"), 't', 'and the ledger has each record that it was sent');
is($ryj->sql("SELECT equal FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation' ORDER BY ended DESC LIMIT 1"), 't', 'with a receipt');

# By itself -----------------------------------------------------------------------------------------------------

my $before = $ryj->sql("SELECT count(*) FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation'");
is($ryj->sql('SELECT spine.reconcile_nightly()'), 0, 'without a time nothing is compared by itself');
$ryj->append_conf('postgresql.conf', "spine.reconcile_at = '1 second'");
$ryj->reload;
ok($ryj->wait_for("SELECT current_setting('spine.reconcile_at') = '1 second'"), 'an interval');
sleep 1.1;
is($ryj->sql('SELECT spine.reconcile_nightly()'), 1, 'makes a comparison due');
ok($ryj->wait_for("SELECT count(*) > $before FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation'"), 'which ends in a receipt');
$ryj->append_conf('postgresql.conf', "spine.reconcile_at = '" . $ryj->sql("SELECT to_char(now() AT TIME ZONE 'Europe/London' - interval '1 minute', 'HH24:MI')") . "'");
$ryj->reload;
ok($ryj->wait_for("SELECT current_setting('spine.reconcile_at') ~ ':'"), 'a time of day');
$ryj->sql("UPDATE spine.link_comparison SET begun_at = now() - interval '12 hours', asked_at = NULL");
is($ryj->sql('SELECT spine.reconcile_nightly()'), 1, 'likewise, once it has passed');

# Keys and receipts -----------------------------------------------------------------------------------------------

is($ryj->sql("SELECT count(*) FROM spine.receipts WHERE NOT spine.verify_receipt(receipt_id)"), 0, 'every receipt verifies');
for my $forgery ("statement = replace(statement, '\"equal\": true', '\"equal\": false')", "signature = set_byte(signature, 3, 255 - get_byte(signature, 3))",
	"public_key = (SELECT k.public_key FROM spine.make_key_pair() k)", "node = 'RYJ'")
{
	is($ryj->sql("BEGIN; SET LOCAL session_replication_role = replica; UPDATE spine.receipt SET $forgery WHERE receipt_id = '$last'; SELECT spine.verify_receipt('$last'); ROLLBACK") =~ s/\s//gr,
		'f', "not one whose $forgery");
}
is($ryj->sql("BEGIN; SET LOCAL session_replication_role = replica; WITH k AS MATERIALIZED (SELECT * FROM spine.make_key_pair())
	UPDATE spine.receipt SET statement = statement || ' ', signature = spine.sign(statement || ' ', k.private_key), public_key = k.public_key FROM k WHERE receipt_id = '$last';
	SELECT spine.verify_receipt('$last'); ROLLBACK") =~ s/\s//gr, 'f', 'nor one that somebody else has signed');
isnt($ryj->refused('postgres', 'DELETE FROM spine.receipt'), '', 'receipts are append-only');

$rqm->sql("UPDATE spine.own_key SET (public_key, private_key) = (SELECT k.public_key, k.private_key FROM spine.make_key_pair() k)");
$before = $ryj->sql("SELECT count(*) FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation'");
$ryj->sql("SELECT spine.reconcile('RQM')");
ok($ryj->wait_for("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'false_receipt'"), 'a receipt by another key is refused');
is($ryj->sql("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'changed_key'"), 't', 'the changed key is an incident');
is($ryj->sql("SELECT count(*) FROM spine.receipts WHERE direction = 'sent' AND kind = 'reconciliation'"), $before, 'and the receipt is not kept');
ok(wait_equal($ryj, $rqm), 'records go on');
$ryj->sql("SELECT spine.accept_node_key('RQM')");
good('differed', 0, 'until an operator accepts the key');
is($ryj->sql("SELECT count(*) FROM spine.receipts WHERE direction = 'sent' AND NOT spine.verify_receipt(receipt_id)"), 0, 'receipts by the former key still verify');
isnt($ryj->refused('postgres', "SELECT spine.accept_node_key('RQM')"), '', 'there is no other to accept');

# Who may
$ryj->sql("CREATE ROLE op LOGIN; CREATE ROLE gov LOGIN; CREATE ROLE clin LOGIN; SELECT spine.add_member('op', 'RYJ', 'operator'); SELECT spine.add_member('gov', 'RYJ', 'governor'); SELECT spine.add_member('clin', 'RYJ', 'clinician')");
cmp_ok($ryj->sql_as($_, 'SELECT count(*) FROM spine.receipts'), '>', 0, "$_ sees receipts") for qw(op gov);
is($ryj->sql_as('gov', "SELECT spine.verify_receipt('$last')"), 't', 'and may check them');
is($ryj->refused('clin', 'SELECT FROM spine.receipts'), '42501', 'a clinician not');
is($ryj->refused('gov', "SELECT spine.reconcile('RQM')"), '42501', 'a comparison is an operator\'s to ask for');
is($ryj->refused('op', "SELECT spine.reconcile('RQM')"), '', 'who may');
is($ryj->refused('op', "SELECT spine.reconcile('nobody')"), '42704', 'of a neighbour');
is($ryj->refused($_, 'SELECT FROM spine.own_key'), '42501', "$_ does not read the node's key") for qw(op gov clin);

done_testing();
