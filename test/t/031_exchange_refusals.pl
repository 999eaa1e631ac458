# What a neighbour may not do, and what one bad row may not do to the rest.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;

my ($ryj, $rqm) = two_nodes();
put($ryj, "k$_") for 1 .. 3;
ok(wait_equal($ryj, $rqm), 'the link works');

# The neighbour's role, and others --------------------------------------------------

is($rqm->refused('node_ryj', "SELECT * FROM $_"), '42501', "the neighbour's role does not read $_")
  for qw(bump.visit bump_1_0.visit spine.node spine.nodes spine.links spine.link_received spine.delivery spine.receive_fault
  spine.incident spine.store spine.dataset spine.datasets spine.relationship spine.organisation spine.all_records);
is($rqm->refused('node_ryj', $_), '42501', "nor may it: $_")
  for (q{INSERT INTO bump.visit (record_id) VALUES (gen_random_uuid())}, q{TRUNCATE bump.visit},    # attack 66
	q{DELETE FROM spine.link_received}, q{SELECT spine.connect_node('X', NULL, '{X26}')}, q{SELECT spine.apply_waiting()},
	q{SELECT spine.retry_faults()}, q{SELECT spine.link_turn('RYJ', '{}', 1)}, q{SELECT spine.receive_set('RYJ', 'bump.visit', '[]', true, true)},
	q{SELECT spine.receive_puts('RYJ', 'bump.visit', '[]', true)}, q{SELECT spine.receive_withdrawals('RYJ', 'bump.visit', '{}')},
	q{SELECT spine.ring_doorbell()}, q{SELECT spine.note_incident('x', 'y', '{}')}, q{SELECT spine.prune_ledger()},
	q{SELECT spine.disconnect_node('RYJ')}, q{SELECT spine.patient_id('9434765919')}, q{SELECT spine.reaudience('{}')});
# exactly the two functions
is($rqm->sql(<<'END'), 'receive,receive_position', 'of what belongs to people here, it may execute two functions');
SELECT string_agg(p.proname, ',' ORDER BY p.proname)
FROM pg_proc p
WHERE p.pronamespace = 'spine'::regnamespace AND has_function_privilege('spine_neighbour', p.oid, 'EXECUTE')
  AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
END

$rqm->sql('CREATE ROLE unregistered LOGIN; GRANT spine_neighbour TO unregistered; CREATE ROLE stranger LOGIN');
my $good = batch($rqm, '[]');
is(receive($rqm, 'unregistered', $good), 'refused SP007', 'a role that is registered for no neighbour is refused');
is($rqm->sql_as('unregistered', "SELECT spine.receive_position() ->> 'code'"), 'SP007', 'and learns no position');
is($rqm->refused('stranger', "SELECT spine.receive('{}')"), '42501', 'a stranger may not even call');
is($rqm->sql("SELECT count(*) > 0 FROM spine.incident WHERE kind = 'stranger' AND role_name = 'unregistered'"), 't', 'which is noted');
is($rqm->refused('node_ryj', "SET ROLE spine_owner"), '42501', 'it cannot become the owner');
is(receive($rqm, 'postgres', $good), 'refused SP007', 'not even a superuser speaks for a neighbour');

# Batches -----------------------------------------------------------------------------

# RYJ's courier must not get in between
$ryj->sql("UPDATE spine.node SET state = 'paused' WHERE name = 'RQM'");
$rqm->wait_for("SELECT count(*) FROM pg_stat_activity WHERE usename = 'node_ryj'", 0);

sub row
{
	my ($id, %with) = @_;
	my $owner = $with{owner} // 'RYJ';
	my $revision = $with{revision} // 5;
	my $weight = $with{weight} // 50;
	my $audience = $with{audience} // '["RQM:care"]';
	return <<"END";
{"relation": "@{[ $with{relation} // 'bump.visit' ]}", "action": "put", "row": {"record_id": "$id", "owner": "$owner", "source_system": "test",
 "local_record_id": "@{[ $with{local} // $id ]}", "patient_id": "$id", "dataset_version": "1.0", "received_at": "2026-01-01", "revision": $revision, "audience": $audience,
 "visit_id": "$id", "weight": $weight}}
END
}
sub id { return SpineExchange::make_id() }

my $before = what_rqm_has($rqm);
my ($a, $b) = (id(), id());
is(receive($rqm, 'node_ryj', batch($rqm, '[' . row($a) . ',' . row($b, owner => 'RQM') . ']')), 'refused SP007', 'a batch with our own owner\'s row is refused (attack 65)');
is(receive($rqm, 'node_ryj', batch($rqm, '[' . row($a) . ',' . row($b, owner => 'Y56') . ']')), 'refused SP007', 'so is one with a third party\'s');
is(what_rqm_has($rqm), $before, 'whole');
is($rqm->sql("SELECT detail -> 'owners', times FROM spine.incident WHERE kind = 'forged_owner'"), '["RQM"]|2', 'and noted');
is($rqm->sql("SELECT node FROM spine.incident WHERE kind = 'forged_owner'"), 'RYJ', 'with its sender');

for my $change (
	[ '{"from": "RQM"}', 'from another node' ], [ '{"to": "RYJ"}', 'for another node' ], [ '{"epoch": 5}', 'without an epoch' ],
	[ '{"seq": 0}', 'with an impossible sequence' ], [ '{"seq": "1; DROP"}', 'with a sequence that is none' ],
	[ '{"rows": {}}', 'whose rows are no array' ], [ '{"rows": [{}]}', 'with an empty row' ], [ '{"position": 1}', 'without a position' ],
	[ '{"episodes": {}}', 'with episodes that are no array' ],
	[ '{"rows": [{"relation": "spine.member", "action": "put", "row": {"record_id": "' . id() . '", "owner": "RYJ", "revision": 1, "audience": []}}]}', 'for the members\' table' ],
	[ '{"rows": [{"relation": "pg_catalog.pg_authid", "action": "withdraw", "record_id": "' . id() . '"}]}', 'for a system table' ],
	[ '{"rows": [{"relation": "bump.visit\\"; x", "action": "withdraw", "record_id": "' . id() . '"}]}', 'with an injection for a relation' ],
	[ '{"rows": [{"relation": "bump.visit", "action": "truncate", "record_id": "' . id() . '"}]}', 'with another action' ],
	[ '{"episodes": [{"episode_id": "x", "owner": "RYJ"}]}', 'with an episode that is none' ])
{
	like(receive($rqm, 'node_ryj', batch($rqm, '[]', change => $change->[0])), qr/^refused /, "a batch $change->[1] is refused");
}
is($rqm->refused('node_ryj', "SELECT spine.receive('[')"), '22P02', 'and what is no JSON');
is(what_rqm_has($rqm), $before, 'none of them did anything');

# sequence: attack 69
my $next = batch($rqm, '[' . row($a) . ']');
is(receive($rqm, 'node_ryj', $next), 'done', 'the next batch is applied');
is(receive($rqm, 'node_ryj', $next), 'replayed', 'a second time it is known');
$rqm->sql("DELETE FROM bump.visit WHERE record_id = '$a'");
is(receive($rqm, 'node_ryj', $next), 'replayed', 'and without effect');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$a'"), 0, 'even where that would show');
my $seq = $rqm->sql("SELECT seq FROM spine.link_received");
is(receive($rqm, 'node_ryj', batch($rqm, '[' . row($b) . ']', change => '{"seq": ' . ($seq + 2) . '}')), 'gap', 'one that leaves out another is not applied');
is($rqm->sql_as('node_ryj', "SELECT a ->> 'seq' FROM spine.receive(\$j\$" . batch($rqm, '[]', change => '{"seq": ' . ($seq + 7) . '}') . "\$j\$::jsonb) a"), $seq,
	'but answered with where we stand');
is(receive($rqm, 'node_ryj', batch($rqm, '[]', change => '{"epoch": "' . id() . '"}')), 'gap', 'nor one of an epoch that nobody began');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$b'"), 0, 'nothing of them is here');

# a record_id that others hold: attack 67
my $ours = put($rqm, 'ours', owner => 'RQM', audience => '{}');
is($rqm->sql_as('node_ryj', "SELECT concat_ws(' ', a ->> 'status', a ->> 'faults') FROM spine.receive(\$j\$"
	. batch($rqm, '[' . row($ours, weight => 1) . ',' . row($b) . ']') . "\$j\$::jsonb) a"), 'done 1', 'a row with our record\'s id is set aside');
is($rqm->sql("SELECT owner, weight FROM bump.visit WHERE record_id = '$ours'"), 'RQM|', 'our record stands as it was');
is($rqm->sql("SELECT sqlstate FROM spine.receive_fault WHERE record_id = '$ours'"), 'SP007', 'the foreign one is kept as a fault');
is($rqm->sql("SELECT count(*) FROM spine.incident WHERE kind = 'foreign_record'"), 1, 'and noted');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$b'"), 1, 'the rest of the batch is applied');
is(receive($rqm, 'node_ryj', batch($rqm, qq([{"relation": "bump.visit", "action": "withdraw", "record_id": "$ours"}]))), 'done', 'a withdrawal of our record');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$ours'"), 1, 'withdraws nothing');

# revisions: I8, attack 70
receive($rqm, 'node_ryj', batch($rqm, '[' . row($b, revision => 4, weight => 44) . ']'));
is($rqm->sql("SELECT revision, weight FROM bump.visit WHERE record_id = '$b'"), '5|50', 'an older revision is ignored');
receive($rqm, 'node_ryj', batch($rqm, '[' . row($b, revision => 6, weight => 66, audience => '["RQM:care", "Y56:reporting"]') . ']'));
is($rqm->sql("SELECT revision, weight, audience FROM bump.visit WHERE record_id = '$b'"), '6|66|{RQM:care}', 'a newer applied, for readers of this node alone');

# a poison row: attack 64, fault F15
my @ids = map { id() } 1 .. 5;
$rqm->sql("ALTER TABLE bump.visit ADD CONSTRAINT poison CHECK (weight < 1000)");
is(receive($rqm, 'node_ryj', batch($rqm, '[' . join(',', row($ids[0]), row($ids[1], weight => 5000), row($ids[2], weight => '"heavy"'), row($ids[3])) . ']')), 'done', 'a batch with two rows that cannot be applied');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id IN ('$ids[0]', '$ids[3]')"), 2, 'the others are applied');
is($rqm->sql("SELECT string_agg(sqlstate, ',' ORDER BY sqlstate) FROM spine.receive_fault WHERE record_id IN ('$ids[1]', '$ids[2]')"), '22P02,23514', 'the two kept with their errors');
is($rqm->sql("SELECT faults FROM spine.links WHERE direction = 'receiving'"), 2, 'which the view of links counts');
$rqm->sql("ALTER TABLE bump.visit DROP CONSTRAINT poison");
is($rqm->sql("SELECT spine.retry_faults()"), 1, 'what can be applied after mending is, the others stay');
is($rqm->sql("SELECT weight FROM bump.visit WHERE record_id = '$ids[1]'"), 5000, 'it is here');
receive($rqm, 'node_ryj', batch($rqm, '[' . row($ids[2], revision => 6) . ']'));
is($rqm->sql("SELECT count(*) FROM spine.receive_fault WHERE record_id = '$ids[2]'"), 0, 'a mended revision from the owner takes its fault away');
receive($rqm, 'node_ryj', batch($rqm, '[' . row($ids[4], weight => '"heavy"') . ']'));
receive($rqm, 'node_ryj', batch($rqm, qq([{"relation": "bump.visit", "action": "withdraw", "record_id": "$ids[4]"}])));
is($rqm->sql("SELECT count(*) FROM spine.receive_fault WHERE record_id = '$ids[4]'"), 0, 'and a withdrawal leaves no copy among the faults');

# what is told of others' episodes and links
my ($stolen, $e2) = (id(), id());
$rqm->sql("INSERT INTO spine.episode (episode_id, patient_id, kind, anchor, owner) VALUES ('$stolen', '$a', 'pregnancy', '2026-01-01', 'RQM')");
receive($rqm, 'node_ryj', batch($rqm, '[]', change => qq({"episodes": [
	{"episode_id": "$stolen", "patient_id": "$b", "kind": "pregnancy", "anchor": "2020-01-01", "owner": "RYJ", "opened_at": "2026-01-01"},
	{"episode_id": "$e2", "patient_id": "$b", "kind": "pregnancy", "anchor": "2020-01-01", "owner": "RQM", "opened_at": "2026-01-01"}],
	"identity_links": [{"link_id": "$e2", "from_patient": "$a", "to_patient": "$b", "method": "x", "owner": "RQM", "since": "2026-01-01"}]})));
is($rqm->sql("SELECT patient_id, anchor FROM spine.episode WHERE episode_id = '$stolen'"), "$a|2026-01-01", 'an own episode cannot be changed from outside');
is($rqm->sql("SELECT (SELECT count(*) FROM spine.episode WHERE episode_id = '$e2') + (SELECT count(*) FROM spine.identity_link WHERE link_id = '$e2')"), 0,
	'nor one made, or a link, in our name');

# agreements: nobody signs for another
sub event
{
	my ($kind, $owner, $document, $digest) = @_;
	my $id = id();
	return ($id, qq({"relation": "spine.agreement_event", "action": "put", "row": {"event_id": "$id", "name": "x", "version": 1, "kind": "$kind", "owner": "$owner",
		"document": $document, "digest": "$digest", "at": "2026-01-01", "by_role": "g", "revision": 1, "audience": ["RQM:care"]}}));
}
my $document = '{"name": "x", "end": null}';
(my $digest = $rqm->sql("SELECT sha256(convert_to('$document'::jsonb::text, 'UTF8'))")) =~ s/\\/\\\\/g;
my ($signed, $as_us) = event('signed', 'RQM', 'null', $digest);
is(receive($rqm, 'node_ryj', batch($rqm, "[$as_us]")), 'refused SP007', 'a signature in our name is refused');
my ($false, $proposal) = event('proposed', 'RYJ', $document, '\\\\x00');
receive($rqm, 'node_ryj', batch($rqm, "[$proposal]"));
is($rqm->sql("SELECT count(*) FROM spine.agreement_event"), 0, 'a proposal with another document\'s digest is not taken');
is($rqm->sql("SELECT count(*) FROM spine.incident WHERE kind = 'false_digest'"), 1, 'but noted');
my ($true, $sound) = event('proposed', 'RYJ', $document, $digest);
receive($rqm, 'node_ryj', batch($rqm, "[$sound]"));
is($rqm->sql("SELECT document FROM spine.agreement_event WHERE event_id = '$true'"), '{"end": null, "name": "x"}', 'one with its own is');
receive($rqm, 'node_ryj', batch($rqm, qq([{"relation": "spine.agreement_event", "action": "withdraw", "record_id": "$true"}])));
is($rqm->sql("SELECT count(*) FROM spine.agreement_event"), 1, 'and stays said');

# epochs
my $old_epoch = $rqm->sql('SELECT epoch FROM spine.link_received');
$ryj->sql("UPDATE spine.node SET state = 'active' WHERE name = 'RQM'; SELECT spine.connect_node('RQM', conninfo, '{RQM}', role_name) FROM spine.node WHERE name = 'RQM'");
ok(wait_equal($ryj, $rqm), 'a full send removes what the owner\'s node does not have');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$ours'"), 1, 'and nothing of ours');
$ryj->sql("UPDATE spine.node SET state = 'paused' WHERE name = 'RQM'");
$rqm->wait_for("SELECT count(*) FROM pg_stat_activity WHERE usename = 'node_ryj'", 0);
is(receive($rqm, 'node_ryj', batch($rqm, '[' . row($a) . ']', change => qq({"epoch": "$old_epoch", "seq": 1, "begin": true}))), 'refused SP007', 'an epoch that is past cannot be begun again');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE record_id = '$a'"), 0, 'with nothing of it');

# connecting ------------------------------------------------------------------------------

is($rqm->refused('postgres', "SELECT spine.connect_node($_->[0])"), $_->[1], $_->[2])
  for ([ q{'X26', NULL, '{RQM}'}, '23505', 'a node that claims our organisation is refused' ],
	[ q{'X26', NULL, '{RYJ}'}, '23505', 'or a neighbour\'s' ],
	[ q{'RQM', NULL, '{X26}'}, '22023', 'or to be us' ],
	[ q{'a b', NULL, '{X26}'}, '22023', 'or with a bad name' ],
	[ q{'X26', 'host=x nonsense', '{X26}'}, '22023', 'or a malformed connection string' ],
	[ q{'X26', NULL, '{}'}, '22023', 'or no organisation' ],
	[ q{'X26', NULL, '{X26}', 'nobody_there'}, '42704', 'or a role that does not exist' ],
	[ q{'X26', NULL, '{X26}', 'postgres'}, '0P000', 'or a superuser\'s' ],
	[ q{'X26', NULL, '{X26}', 'node_ryj'}, '23505', 'or another neighbour\'s' ]);
is($rqm->sql("SELECT count(*) FROM spine.node"), 2, 'none of them is registered');
my (undef, undef, $message) = $rqm->psql_as('postgres', q{SELECT spine.connect_node('X26', 'host=x password=secret nonsense', '{X26}')});
unlike($message, qr/secret/, 'and a password is shown in no message');
is($rqm->sql("SELECT count(*) FROM information_schema.columns WHERE table_schema = 'spine' AND table_name IN ('nodes', 'links') AND column_name = 'conninfo'"), 0, 'nor in a view');

done_testing();
