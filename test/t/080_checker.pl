# The checker that the tests of faults use (SpineChecker): of a world in order it says nothing, and whatever is spoilt by hand it finds. So for each invariant
# what guards it is taken away once: I1, I2, I4, I5, I7, I8, I9, I12.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineChecker;
use SpineExchange;
use SpineNode;
use Test::More;

my ($ryj, $rqm) = two_nodes(conf => 'spine.courier_interval = 200ms');
put($rqm, 'own of RQM', owner => 'RQM', audience => '{}');
my $road = SpineChecker->new(from => $ryj, to => $rqm);
$road->reader($rqm, 'RQM');
$road->begin(clients => 2);
cmp_ok($road->wait_acknowledged(200), '>=', 200, 'clients write');
for (1 .. 300) { last if $road->opened >= 20; select undef, undef, undef, 0.1 }
cmp_ok($road->opened, '>=', 20, 'and read');
$road->end;
is(join("\n", $road->settled), '', 'the world settles');
is(join("\n", $road->faults), '', 'in order: nothing is found');

# what the clients' files say happened
my $states = $road->states;
my %last;
for my $id (keys %$states)
{
	my @done = grep { $_->{done} } @{ $states->{$id} };
	push @{ $last{ $done[-1]{what} } }, $done[-1] if @done;
}
cmp_ok(scalar @{ $last{$_} // [] }, '>=', 3, "there are records that are $_") for qw(shared kept deleted abandoned);

# nobody mends what is spoilt
$ryj->sql("UPDATE spine.node SET state = 'paused' WHERE name = 'RQM'");
$ryj->wait_for("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'spine%' AND usename = 'node_ryj'", 0);
for my $node ($ryj, $rqm)
{
	$node->sql("CREATE TABLE public.kept AS SELECT * FROM bump.visit; CREATE TABLE public.kept_applied AS SELECT * FROM public.applied") if $node == $rqm;
	$node->sql('CREATE TABLE public.kept AS SELECT * FROM bump.visit') if $node == $ryj;
	$node->sql('CREATE TABLE public.kept_log AS SELECT * FROM spine.access_log');
}
# the marks in those copies are not the neighbour's
$rqm->sql('CREATE SCHEMA aside; ALTER TABLE public.kept SET SCHEMA aside');

my ($shared, $kept, $deleted, $abandoned) = map { $last{$_}[0] } qw(shared kept deleted abandoned);
my $row = sub {
	my ($state, %with) = @_;
	my %row = (%$state, owner => 'RYJ', %with);
	return "INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id, weight)
		VALUES ('$row{id}', '$row{owner}', 'checker', '$row{local}', gen_random_uuid(), '1.0', now(), $row{revision}, '{}', '$row{mark}', $row{weight})";
};
my $quiet = 'SET session_replication_role = replica; ';
my $as_sender = sub { return "SET SESSION AUTHORIZATION postgres; $_[0]" };
my $noted = sub { my ($action, $state, $revision, $by, $owner) = @_; return "INSERT INTO public.applied (action, record_id, owner, revision, by) VALUES ('$action', '$state->{id}', '" . ($owner // 'RYJ') . "', $revision, '$by')" };

# [node, what is done, what must be found]
my @mutations = (
	[ $rqm, "${quiet}DELETE FROM bump.visit WHERE record_id = '$shared->{id}'", qr/^I1: record $shared->{id} is not at the neighbour$/, 'a record is missing there' ],
	[ $rqm, "${quiet}UPDATE bump.visit SET weight = weight + 1 WHERE record_id = '$shared->{id}'", qr/^I1: record $shared->{id} is at the neighbour in another state$/, 'a value differs' ],
	[ $ryj, "${quiet}DELETE FROM bump.visit WHERE record_id = '$shared->{id}'", qr/^I1: record $shared->{id} is not at its owner$/, 'what was acknowledged is lost at its owner' ],
	[ $ryj, "${quiet}UPDATE bump.visit SET weight = 777 WHERE record_id = '$kept->{id}'", qr/^I1: record $kept->{id} is at its owner in a state that nobody was told of$/, 'or is another thing' ],
	[ $rqm, $quiet . $row->($kept), qr/^I2: record $kept->{id} is at the neighbour, which may not have it$/, 'a record is there that may not be' ],
	[ $rqm, $quiet . $row->($deleted), qr/^I2: record $deleted->{id} is at the neighbour, which may not have it$/, 'a deleted record is there' ],
	[ $rqm, $quiet . $row->($abandoned), qr/^I2: record $abandoned->{id} is at the neighbour/, 'what was rolled back is there' ],
	(map { [ $rqm, "INSERT INTO spine.receive_fault (relation, record_id, node, sqlstate, message, content)
			VALUES ('bump.visit', gen_random_uuid(), 'RYJ', '00000', 'x', '{\"x\": \"$_->{mark}\"}')", qr/^I2: a mark .* is in spine.receive_fault$/, "what is $_->{what} is among the faults", 'DELETE FROM spine.receive_fault' ] } $kept, $deleted, $abandoned),
	[ $rqm, "INSERT INTO spine.waiting_row (relation, record_id, node, owner, revision, content) VALUES ('x.y', '$abandoned->{id}', 'RYJ', 'RYJ', 1, '{}')",
		qr/^I2: the id of a record that it never had is in spine.waiting_row$/, 'the mere id of a record that it never had', 'DELETE FROM spine.waiting_row' ],
	[ $rqm, 'DELETE FROM spine.access_log WHERE access_id = (SELECT max(access_id) FROM spine.access_log)', qr/^I4: opening \S+ was granted and is not in the log$/, 'an entry of the log is gone' ],
	[ $rqm, "UPDATE spine.access_log SET reason = reason || 'x' WHERE access_id = 3", qr/^I4: /, 'an entry says something else' ],
	[ $rqm, "UPDATE spine.access_log SET at = at - interval '1 day' WHERE access_id = 3", qr/^I5: the chain at rqm is broken$/, 'an entry is of another day' ],
	[ $rqm, 'DELETE FROM spine.access_log WHERE access_id = 4', qr/^I5: the chain at rqm is broken$/, 'the chain has a gap' ],
	[ $rqm, $quiet . $row->({ %$shared, id => SpineChecker::id(), local => 'foreign' }), qr/^I7: record \S+ is at the neighbour, and not at its owner$/, 'a record that its owner does not know' ],
	[ $rqm, "UPDATE bump.visit SET weight = weight WHERE record_id = '$shared->{id}'", qr/^I7: record $shared->{id} was changed by postgres$/, 'somebody else than its node writes a record' ],
	[ $rqm, $noted->('UPDATE', $shared, 1, 'node_ryj', 'RQM'), qr/^I7: a record of RQM was changed by node_ryj$/, 'a node writes what is not its' ],
	[ $rqm, $noted->('UPDATE', $shared, $shared->{revision} - 1, 'node_ryj'), qr/^I8: record $shared->{id} went back to revision /, 'a revision goes back' ],
	[ $rqm, $noted->('UPDATE', $shared, $shared->{revision} + 5, 'node_ryj'), qr/^I8: record $shared->{id} stands at revision $shared->{revision}, which is not its newest$/, 'a newer one was there' ],
	[ $rqm, $noted->('DELETE', $shared, 'NULL', 'node_ryj') . '; ' . $noted->('INSERT', $shared, $shared->{revision}, 'node_ryj'), qr/^I8: record $shared->{id} came back as it was$/, 'a withdrawn record comes back' ],
	[ $rqm, $noted->('UPDATE', $shared, $shared->{revision}, 'node_ryj'), qr/^I9: revision $shared->{revision} of record $shared->{id} was applied more than once$/, 'a revision is applied twice' ]);
for my $mutation (@mutations)
{
	my ($node, $do, $found, $name, $undo) = @$mutation;
	$node->sql($do =~ /access_log/ ? "SET session_replication_role = replica; $do" : $do);
	my @faults = $road->faults;
	ok((grep { $_ =~ $found } @faults), "found: $name") or diag(join "\n", "expected $found", @faults);
	my $kept_table = $node == $rqm ? 'aside.kept' : 'public.kept';
	$node->sql("$quiet " . ($undo // "DELETE FROM bump.visit; INSERT INTO bump.visit SELECT * FROM $kept_table;
		DELETE FROM spine.access_log; INSERT INTO spine.access_log SELECT * FROM public.kept_log;"));
	$rqm->sql("DELETE FROM public.applied; INSERT INTO public.applied OVERRIDING SYSTEM VALUE SELECT * FROM public.kept_applied");
}
is(join("\n", $road->faults), '', 'and all undone, nothing');
# I12: what does not settle is said, in time
$ryj->sql($row->({ %{ $last{shared}[1] }, id => $last{deleted}[1]{id}, local => 'again' }));
like(join("\n", $road->settled(1)), qr/^I12: I1: /, 'found: the world does not settle');

done_testing();
