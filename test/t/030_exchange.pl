# Two nodes: what one may have of the other arrives, follows corrections, and goes again.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ryj, $rqm) = two_nodes();

# Records ----------------------------------------------------------------------

my $start = time;
my $first = put($ryj, 'first', audience => '{RQM:care,RQM:care/aci,RYJ:care,Y56:reporting}', weight => 61);
my $ms = $rqm->wait_for("SELECT count(*) FROM bump.visit WHERE record_id = '$first'", 1);
ok(defined $ms, 'a record shared with the neighbour appears there');
note(sprintf 'seen after %.0f ms, psql and polling included', 1000 * (time - $start));
is($rqm->sql("SELECT audience, weight, owner FROM bump.visit"), '{RQM:care,RQM:care/aci}|61|RYJ', 'with its content, and of its audience the neighbour\'s own part');
is($ryj->sql('SELECT destination, relation, record_id, revision, action FROM spine.delivery'),
	"RQM|bump.visit|$first|1|put", 'the ledger says what was sent');

my $private = put($ryj, 'private', audience => '{}');
my $others = put($ryj, 'others', audience => '{Y56:care}');
my $reports = put($ryj, 'reports', audience => '{RQM:reporting,RQM:commissioning}');
put($ryj, 'second');
ok(wait_equal($ryj, $rqm), 'another record follows');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id IN ('$private', '$others', '$reports')"), 0,
	'what is shared with nobody, with others, or for what must not have a person in it, does not');
is($ryj->sql("SELECT count(*) FROM spine.delivery WHERE record_id IN ('$private', '$others', '$reports')"), 0, 'nor is it in the ledger');

$ryj->sql("UPDATE bump.visit SET weight = 62, revision = 2 WHERE record_id = '$first'");
ok(wait_equal($ryj, $rqm), 'a correction follows');
is($rqm->sql("SELECT count(*) FROM spine.history"), 0, 'and leaves no copy of the foreign record');

my $ledger = $ryj->sql('SELECT count(*) FROM spine.delivery');
$ryj->sql("UPDATE bump.visit SET received_at = now(); UPDATE bump.visit SET audience = audience || '{Y56:care}'");
is($ryj->sql('SELECT count(*) FROM spine.delivery'), $ledger, 'what changes neither content nor the neighbour\'s part of the audience is not sent');

$ryj->sql("UPDATE bump.visit SET audience = '{}' WHERE record_id = '$first'");
ok(wait_equal($ryj, $rqm), 'a record that the neighbour may no longer have is withdrawn');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$first'"), 0, 'and gone');
is($rqm->sql("SELECT count(*) FROM spine.history"), 0, 'without a trace in the history');
$ryj->sql("UPDATE bump.visit SET audience = '{RQM:care,RQM:care/aci}' WHERE record_id = '$first'");
ok(wait_equal($ryj, $rqm), 'and comes back when it may have it again');

$ryj->sql("DELETE FROM bump.visit WHERE record_id = '$first'");
ok(wait_equal($ryj, $rqm), 'a deletion follows');
my $again = put($ryj, 'first', weight => 70);
ok(wait_equal($ryj, $rqm), 'and the same local id under a new record id');
is($rqm->sql("SELECT count(*) FROM spine.receive_fault"), 0, 'nothing had to be set aside');

# One transaction, many records: pieces of spine.courier_batch.
$ryj->sql("INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
	SELECT spine.uuid_v7(), 'RYJ', 'bulk', i, gen_random_uuid(), '1.0', now(), 1, '{RQM:care,RQM:care/aci}', i FROM generate_series(1, 3500) i");
ok(wait_equal($ryj, $rqm), 'many records of one transaction come over');
cmp_ok($ryj->sql('SELECT max(sent_seq) FROM spine.link'), '>=', 4 + 4, 'in several batches');

# Rolled back, partly rolled back, and out of order.
$ryj->sql("BEGIN; " . SpineExchange::put_sql('never') . "; ROLLBACK; BEGIN; SAVEPOINT s; " . SpineExchange::put_sql('not this')
	. "; ROLLBACK TO s; " . SpineExchange::put_sql('but this') . "; COMMIT");
my $early = $ryj->background_psql('spine');
$early->query_safe('BEGIN; ' . SpineExchange::put_sql('early') . ';');
put($ryj, 'late');
ok($rqm->wait_for("SELECT count(*) FROM bump.visit WHERE visit_id = 'late'", 1), 'a later transaction does not wait for an earlier one');
$early->query_safe('COMMIT;');
$early->quit;
ok(wait_equal($ryj, $rqm), 'which comes when it commits');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE visit_id IN ('never', 'not this')"), 0, 'what was rolled back never');

# Both ways.
my $theirs = put($rqm, 'from rqm', owner => 'RQM', audience => '{RYJ:care,RYJ:care/aci}');
ok($ryj->wait_for("SELECT count(*) FROM bump.visit WHERE record_id = '$theirs' AND owner = 'RQM'", 1), 'the other direction');
$ryj->sql("UPDATE bump.visit SET weight = 1, revision = 9, audience = '{RQM:care,RQM:care/aci}' WHERE record_id = '$theirs'");
is($ryj->sql("SELECT count(*) FROM spine.delivery WHERE record_id = '$theirs'"), 0, 'nobody sends on what another owns');

# Episodes and links -----------------------------------------------------------

my ($woman, $same_woman, $baby) = map { SpineExchange::make_id() } 1 .. 3;
my ($episode, $near, $far) = map { SpineExchange::make_id() } 1 .. 3;
$rqm->sql("INSERT INTO spine.episode (episode_id, patient_id, kind, anchor, owner) VALUES
	('$near', '$woman', 'pregnancy', '2026-06-10', 'RQM'), ('$far', '$woman', 'pregnancy', '2026-06-20', 'RQM')");
$ryj->sql("INSERT INTO spine.episode (episode_id, patient_id, kind, anchor, owner) VALUES ('$episode', '$woman', 'pregnancy', '2026-06-01', 'RYJ');
	INSERT INTO spine.family_link (child, mother, method, owner) VALUES ('$baby', '$woman', 'parent', 'RYJ')");
put($ryj, 'with episode', patient_id => $woman, episode_id => $episode);
ok(wait_equal($ryj, $rqm), 'a record with an episode');
is($rqm->sql("SELECT anchor, owner FROM spine.episode WHERE episode_id = '$episode'"), '2026-06-01|RYJ', 'brings the episode');
is($rqm->sql("SELECT from_episode, kind, owner FROM spine.episode_link WHERE to_episode = '$episode'"), "$near|same|RQM",
	'which is joined to the own one within the data set\'s window, not to the one beyond');
is($rqm->sql("SELECT count(*) FROM spine.family_link WHERE child = '$baby' AND mother = '$woman'"), 1, 'and the link of her baby');

# a link made later needs a record to carry it, and a reason for the neighbour to have any
$ryj->sql("INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, audience)
	VALUES (gen_random_uuid(), '$woman', 'RQM', 'referral', 'RYJ', '{RQM:care}')");
my $link = SpineExchange::make_id();
$ryj->sql("INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner) VALUES ('$link', '$same_woman', '$woman', 'test', 'RYJ')");
ok($rqm->wait_for("SELECT count(*) FROM spine.identity_link WHERE link_id = '$link' AND until IS NULL", 1), 'a later link follows');
$ryj->sql("UPDATE spine.identity_link SET until = now() WHERE link_id = '$link'");
ok($rqm->wait_for("SELECT count(*) FROM spine.identity_link WHERE link_id = '$link' AND until IS NOT NULL", 1), 'and its end');
$ryj->sql("UPDATE spine.episode SET anchor = '2026-06-18' WHERE episode_id = '$episode'");
ok($rqm->wait_for("SELECT array_agg(from_episode ORDER BY from_episode) = (SELECT array_agg(e ORDER BY e) FROM unnest('{$near,$far}'::uuid[]) e)
	FROM spine.episode_link WHERE to_episode = '$episode'"), 'a corrected anchor, with the links that follow from it');

# What this node does not know yet ----------------------------------------------

$ryj->sql("SELECT spine.publish_dataset('" . definition('2.0', '{"name": "smoker", "title": "Smoker", "type": "boolean", "status": "O", "class": "clinical"}') . "'::jsonb)");
my $newer = put($ryj, 'newer');
$ryj->sql("UPDATE bump.visit SET smoker = true, revision = 2 WHERE record_id = '$newer'");
ok(wait_equal($ryj, $rqm), 'a record with an item that the neighbour\'s version lacks is applied (attack 68)');
is($rqm->sql("SELECT items FROM spine.unknown_item WHERE record_id = '$newer'"), '{"smoker": true}', 'the item kept aside');
$rqm->sql("SELECT spine.publish_dataset('" . definition('2.0', '{"name": "smoker", "title": "Smoker", "type": "boolean", "status": "O", "class": "clinical"}') . "'::jsonb)");
is($rqm->sql("SELECT smoker FROM bump.visit WHERE record_id = '$newer'"), 't', 'and filled in when that version is published');
is($rqm->sql("SELECT count(*) FROM spine.unknown_item"), 0, 'nothing of it is left aside');

(my $other = definition('1.0')) =~ s/"bump"/"lump"/;
$ryj->sql("SELECT spine.publish_dataset('$other'::jsonb)");
$ryj->sql("INSERT INTO lump.baby (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, baby_id)
	SELECT spine.uuid_v7(), 'RYJ', 'test', i, gen_random_uuid(), '1.0', now(), 1, '{RQM:care,RQM:care/aci}', i FROM generate_series(1, 3) i");
ok($rqm->wait_for("SELECT count(*) FROM spine.waiting_row WHERE relation = 'lump.baby'", 3), 'records of a data set that is not published there wait');
$ryj->sql("DELETE FROM lump.baby WHERE local_record_id = '2'");
ok($rqm->wait_for("SELECT count(*) FROM spine.waiting_row WHERE relation = 'lump.baby'", 2), 'can be withdrawn while they do');
$rqm->sql("SELECT spine.publish_dataset('$other'::jsonb)");
is($rqm->sql("SELECT string_agg(baby_id, ',' ORDER BY baby_id) FROM lump.baby"), '1,3', 'and are applied when it is');
is($rqm->sql("SELECT count(*) FROM spine.waiting_row"), 0, 'none is left waiting');

# The ledger's partitions ---------------------------------------------------------

is($ryj->sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'spine.\"delivery_RQM\"'::regclass"), 4, 'three months and a default');
is($ryj->sql("SELECT spine.make_ledger_partitions()"), 0, 'none missing');
is($ryj->sql('SELECT count(*) FROM spine.delivery_default') . $ryj->sql('SELECT count(*) FROM spine."delivery_RQM_default"'), '00', 'no row fell into a default');
$ryj->sql("INSERT INTO spine.delivery (destination, relation, record_id, owner, revision, action, at) VALUES ('RQM', 'bump.visit', gen_random_uuid(), 'RYJ', 1, 'withdraw', '2031-01-01'),
	('nowhere', 'bump.visit', gen_random_uuid(), 'RYJ', 1, 'withdraw', now())");
is($ryj->sql('SELECT count(*) FROM spine.delivery_default') . $ryj->sql('SELECT count(*) FROM spine."delivery_RQM_default"'), '11', 'and none fails for want of one');

# Ending the link -------------------------------------------------------------------

$ryj->sql("SELECT spine.disconnect_node('RQM')");
$ledger = $ryj->sql('SELECT count(*) FROM spine.delivery');
put($ryj, 'after the end');
is($ryj->sql('SELECT count(*) FROM spine.delivery'), $ledger, 'nothing is written for a neighbour that was disconnected');
is($ryj->refused('node_rqm', 'SELECT spine.receive_position()'), '42501', 'its role may not call');
sleep 1.5;
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE visit_id = 'after the end'"), 0, 'and nothing reaches it');
$ryj->sql(sprintf("SELECT spine.connect_node('RQM', '%s', '{RQM}', 'node_rqm')", $rqm->conninfo('node_ryj')));
ok(wait_equal($ryj, $rqm), 'connected again it gets all that it missed');

done_testing();
