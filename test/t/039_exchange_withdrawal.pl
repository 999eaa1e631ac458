# Withdrawal with proof: what a neighbour may no longer have is gone from every place there, and it signs that it is.
# Until then the withdrawal is an open item.    # invariant I3
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;

my ($ryj, $rqm) = two_nodes(conf => "spine.courier_interval = 200ms\nspine.reconcile_at = ''");
my $open = "SELECT EXISTS (SELECT FROM spine.delivery WHERE action = 'withdraw' AND receipt_id IS NULL)";
$ryj->sql("CREATE ROLE $_->[0] LOGIN; SELECT spine.add_member('$_->[0]', '$_->[1]', '$_->[2]')") for [ 'gov', 'RYJ', 'governor' ], [ 'op', 'RYJ', 'operator' ], [ 'clin', 'RYJ', 'clinician' ];

# what governors see of what is open
sub seen { return $ryj->sql_as('gov', "SELECT coalesce(bool_or(open), false), sum(records), sum(proven) FROM spine.withdrawals WHERE relation = 'bump.visit'") }

my @ids = map { put($ryj, "w$_", weight => $_) } 1 .. 6;
ok(wait_equal($ryj, $rqm), 'records are there');
is(seen(), 'f||', 'nothing is withdrawn');

# Copies in every place, as a bug, an older version or a hand could leave them.
$rqm->sql(<<"END");
CREATE MATERIALIZED VIEW spine.latest AS SELECT record_id, owner, weight FROM bump.visit;
ALTER MATERIALIZED VIEW spine.latest OWNER TO spine_owner;
INSERT INTO spine.history (record_id, revision, dataset, data_group, owner, patient_id, action, old_row, changed_by)
	VALUES ('$ids[0]', 1, 'bump', 'visit', 'RYJ', gen_random_uuid(), 'update', '{"weight": 1}', 'somebody');
INSERT INTO spine.unknown_item VALUES ('bump.visit', '$ids[0]', 'RYJ', 1, '{"smoker": true}');
INSERT INTO spine.waiting_row (relation, record_id, node, owner, revision, content) VALUES ('bump.visit', '$ids[1]', 'RYJ', 'RYJ', 1, '{"weight": 2}');
INSERT INTO spine.receive_fault (relation, record_id, node, owner, revision, sqlstate, message, content) VALUES ('bump.visit', '$ids[1]', 'RYJ', 'RYJ', 1, '22000', 'bad', '{"weight": 2}');
CREATE TABLE spine.copied (record_id uuid, owner text, weight numeric);
ALTER TABLE spine.copied OWNER TO spine_owner;
INSERT INTO spine.copied SELECT record_id, owner, weight FROM bump.visit;
INSERT INTO spine.copied VALUES ('$ids[0]', 'RQM', 1);
END
my $columns = $rqm->sql("SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = 'spine.finding'::regclass AND attnum > 0 AND attnotnull AND attidentity = '' AND NOT atthasdef");
note("finding: $columns");
$rqm->sql("INSERT INTO spine.finding ($columns) SELECT " . join(', ', map { $_ eq 'record_id' ? "'$ids[0]'" : $_ eq 'owner' ? "'RYJ'" : "'warning'" } split /, /, $columns));
is($rqm->sql("SELECT count(*) FROM spine.latest WHERE record_id IN ('$ids[0]', '$ids[1]')"), 2, 'and copies of them');

$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id IN ('$ids[0]', '$ids[1]')");
ok($ryj->wait_for($open, 'f'), 'two are withdrawn, and proven to be gone');
is(seen(), 'f|2|2', 'as governors see');
is($rqm->sql("SELECT count(*) FROM $_->[0] WHERE record_id IN ('$ids[0]', '$ids[1]') AND $_->[1]"), 0, "they are gone from $_->[0]")
  for [ 'bump.visit', 'true' ], [ 'spine.history', 'true' ], [ 'spine.unknown_item', 'true' ], [ 'spine.waiting_row', 'true' ], [ 'spine.receive_fault', 'true' ],
  [ 'spine.finding', 'true' ], [ 'spine.latest', 'true' ], [ 'spine.copied', "owner = 'RYJ'" ];
is($rqm->sql("SELECT count(*) FROM spine.copied"), 5, 'other rows of those places stay, those of others too');
is($rqm->sql("SELECT count(*) FROM spine.latest"), 4, 'and the view has the rest');
my $receipt = $ryj->sql_as('gov', "SELECT receipts[1] FROM spine.withdrawals WHERE relation = 'bump.visit'");
is($ryj->sql("SELECT kind, direction, records, held_again, records_left, spine.verify_receipt(receipt_id) FROM spine.receipts WHERE receipt_id = '$receipt'"),
	'withdrawal|sent|2|0|0|t', 'the receipt says so, signed');
is($ryj->sql("SELECT records_digest = spine.ids_digest('{bump.visit $ids[0],bump.visit $ids[1]}') FROM spine.receipts WHERE receipt_id = '$receipt'"), 't', 'of these records');
is($rqm->sql("SELECT direction, spine.verify_receipt(receipt_id) FROM spine.receipts WHERE receipt_id = '$receipt'"), 'received|t', 'the neighbour has it too');

# While the neighbour is away the item is open.
$rqm->stop('fast');
$ryj->sql("DELETE FROM bump.visit WHERE record_id = '$ids[2]'");
is(seen(), 't|3|2', 'a withdrawal that has not reached the neighbour is open');
$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$ids[3]'");
$ryj->sql("UPDATE bump.visit SET audience = '{RQM:care,RQM:care/aci}' WHERE record_id = '$ids[3]'");
$rqm->start;
ok($ryj->wait_for($open, 'f'), 'and closed when it has');
is($ryj->sql("SELECT sum(records), sum(held_again) FROM spine.receipts WHERE kind = 'withdrawal' AND direction = 'sent' AND receipt_id <> '$receipt'"), '1|1', 'one gone, one that it may have again');
ok(wait_equal($ryj, $rqm), 'which it has');

# A crash of the receiver with the proof under way; a courier killed.
$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$ids[4]'");
kill 'KILL', courier_pid($ryj);
$rqm->stop('immediate');
$rqm->start;
ok($ryj->wait_for($open, 'f', 120), 'a proof that was lost comes');

# What cannot be removed is said, and stays open.
$rqm->sql("CREATE MATERIALIZED VIEW spine.stubborn AS SELECT '$ids[5]'::uuid AS record_id; ALTER MATERIALIZED VIEW spine.stubborn OWNER TO spine_owner");
$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$ids[5]'");
ok($ryj->wait_for("SELECT count(*) FROM spine.receipts WHERE kind = 'withdrawal' AND direction = 'sent' AND records_left = 1", 1), 'a receipt that says that something is left');
is($ryj->sql($open), 't', 'closes nothing');
$rqm->sql('DROP MATERIALIZED VIEW spine.stubborn');
$ryj->sql("UPDATE spine.link_comparison SET attest_after = NULL");
ok($ryj->wait_for($open, 'f'), 'once it is gone, the item is');

# A receipt by another key closes nothing.
my @more = map { put($ryj, "m$_") } 1 .. 2;
ok(wait_equal($ryj, $rqm), 'further records');
$rqm->sql("UPDATE spine.own_key SET (public_key, private_key) = (SELECT k.public_key, k.private_key FROM spine.make_key_pair() k)");
$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$more[0]'");
ok($ryj->wait_for("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'false_receipt'"), 'a receipt that does not verify is an incident');
is($ryj->sql($open), 't', 'and the item stays open');
$ryj->sql("SELECT spine.accept_node_key('RQM'); UPDATE spine.link_comparison SET attest_after = NULL");
ok($ryj->wait_for($open, 'f'), 'until the key is accepted');

# With the last record of a person go what came with it.
my ($woman, $alias, $baby, $episode, $birth) = map { SpineExchange::make_id() } 1 .. 5;
$ryj->sql("INSERT INTO spine.episode (episode_id, patient_id, kind, anchor, owner) VALUES ('$episode', '$woman', 'pregnancy', '2026-06-01', 'RYJ'), ('$birth', '$baby', 'birth', '2026-06-01', 'RYJ');
	INSERT INTO spine.family_link (child, mother, method, owner) VALUES ('$baby', '$woman', 'parent', 'RYJ');
	INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner) VALUES (gen_random_uuid(), '$alias', '$woman', 'test', 'RYJ');
	INSERT INTO spine.episode_link (from_episode, to_episode, kind, method, owner) VALUES ('$birth', '$episode', 'birth_of', 'test', 'RYJ')");
my @hers = (put($ryj, 'h1', patient_id => $woman, episode_id => $episode), put($ryj, 'h2', patient_id => $woman, episode_id => $episode), put($ryj, 'b1', patient_id => $baby, episode_id => $birth));
my $about = "SELECT (SELECT count(*) FROM spine.episode WHERE owner = 'RYJ' AND patient_id IN ('$woman', '$baby')), (SELECT count(*) FROM spine.family_link WHERE mother = '$woman'),
	(SELECT count(*) FROM spine.identity_link WHERE to_patient = '$woman'), (SELECT count(*) FROM spine.episode_link WHERE to_episode = '$episode')";
ok($rqm->wait_for($about, '2|1|1|1'), 'a woman and her baby, with episodes and links');
$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$hers[0]'");
ok($ryj->wait_for($open, 'f'), 'one of her records goes');
is($rqm->sql($about), '2|1|1|1', 'her other one keeps what belongs to it');
$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$hers[1]'");
ok($ryj->wait_for($open, 'f'), 'the last goes');
is($rqm->sql($about), '1|1|0|0', 'with its episode and the links to nobody who has records there');
$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$hers[2]'");
ok($ryj->wait_for($open, 'f'), 'the baby\'s goes');
is($rqm->sql($about), '0|0|0|0', 'and nothing of them is left');
$ryj->sql("BEGIN; UPDATE bump.visit SET audience = '{RQM:care,RQM:care/aci}' WHERE record_id = '$hers[0]'; COMMIT");
ok($rqm->wait_for($about, '1|1|1|1'), 'it comes back with a record');
# the last goes and another comes, in one batch
$ryj->sql("BEGIN; UPDATE bump.visit SET audience = '{}' WHERE record_id = '$hers[0]'; UPDATE bump.visit SET audience = '{RQM:care,RQM:care/aci}' WHERE record_id = '$hers[1]'; COMMIT");
ok(wait_equal($ryj, $rqm), 'one goes as another comes');
is($rqm->sql($about), '1|1|1|1', 'and what belongs to both stays');

# Who may see
$ryj->sql("SELECT spine.add_organisation('RAX', 'Another', 'trust'); SELECT spine.host_organisation('RAX'); CREATE ROLE other LOGIN; SELECT spine.add_member('other', 'RAX', 'governor')");
cmp_ok($ryj->sql_as($_, 'SELECT count(*) FROM spine.withdrawals'), '>', 0, "$_ sees the owner's withdrawals") for qw(gov op);
is($ryj->sql_as('other', 'SELECT count(*) FROM spine.withdrawals'), 0, 'a governor of another organisation does not');
is($ryj->refused('clin', 'SELECT FROM spine.withdrawals'), '42501', 'nor a clinician');

done_testing();
