# SpineFuzz.pm: sound batches of a neighbour, spoilt in their structure, at spine.receive().
#
#   fuzz_receive(batches => 1000, seed => 1);
#
# A node RQM has records of its own and of two neighbours. One of these, RYJ, means ill: what it sends is made of what a
# courier would send, with values, keys and parts taken away, doubled, exchanged, or put in others' names. After each batch:
# nothing that is not RYJ's has changed (but audiences of own records, which follow relationships); what is RYJ's has readers
# of this node alone; an answer other than done has changed nothing; errors are of the kinds that input may raise. After each
# round a sound batch goes through.
package SpineFuzz;

use strict;
use warnings;
no warnings 'recursion';

use Exporter 'import';
use JSON::PP;
use SpineExchange;
use SpineNode;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(fuzz_receive);

use constant ROUND => 250;

my $json = JSON::PP->new->canonical->allow_nonref->latin1->max_depth(5000);

sub one_of { return $_[ rand @_ ] }

# few, so that batches meet: of RYJ, of RQM, of the third node, of nobody
my %ids = map { my $of = $_; $of => [ map { sprintf '%08x-0000-7000-8000-%012x', { RYJ => 0xa, RQM => 0xb, X26 => 0xc, none => 0xd }->{$of}, $_ } 1 .. 6 ] } qw(RYJ RQM X26 none);
my @persons = (map({ sprintf 'eeeeeeee-0000-8000-8000-%012x', $_ } 1 .. 3), map { sprintf 'eeeeeeee-0000-7000-8000-%012x', $_ } 1 .. 3);

sub some_id { return one_of(@{ $ids{RYJ} }, @{ $ids{RYJ} }, @{ $ids{one_of(keys %ids)} }) }
sub own_id { return one_of(@{ $ids{RYJ} }) }

sub envelope { return (owner => 'RYJ', revision => 1 + int rand 20, audience => [ 'RQM:care', one_of('RQM:care/aci', 'RQM:emergency', 'X26:care') ]) }

# what a courier sends
my %rows = (
	'bump.visit' => sub {
		my $id = own_id();
		return { record_id => $id, envelope(), source_system => 'test', local_record_id => one_of($id, 'k' . int rand 5), patient_id => one_of(@persons), dataset_version => '1.0',
			received_at => '2026-01-01T00:00:00+00:00', event_at => '2026-01-01T00:00:00+00:00', visit_id => $id, weight => int(rand 1000) / 10, (rand() < 0.2 ? (later_item => 'x') : ()) };
	},
	'bump.baby' => sub { my $id = own_id(); return { record_id => $id, envelope(), source_system => 'test', local_record_id => $id, patient_id => one_of(@persons), dataset_version => '1.0', received_at => '2026-01-01', baby_id => $id } },
	'later.group' => sub { return { record_id => own_id(), envelope(), anything => 1 } },
	'spine.relationship' => sub { return { relationship_id => own_id(), envelope(), patient_id => one_of(@persons), organisation => one_of('RYJ', 'RQM'), kind => one_of('episode', 'referral', 'claim', 'transfer', 'emergency'), reason => 'x', since => '2026-01-01', until => one_of(undef, undef, '2026-02-01') } },
	'spine.dissent' => sub { return { dissent_id => own_id(), envelope(), patient_id => one_of(@persons), purpose => one_of('care', 'reporting', 'secondary'), organisation => one_of(undef, 'RYJ', 'RQM'), reason => 'x', since => '2026-01-01', until => one_of(undef, '2026-02-01'), recorded_by => 'x' } },
	'spine.review_event' => sub { return { event_id => own_id(), envelope(), relationship_id => own_id(), outcome => one_of('appropriate', 'unclear'), note => 'x', at => '2026-01-01', by_role => 'x' } },
	'spine.access_notice' => sub { return { notice_id => own_id(), envelope(), access_id => 1 + int rand 100, about => 'RQM', at => '2026-01-01', role_name => 'x', organisation => 'RYJ', duty => 'clinician', patient_id => one_of(@persons), purpose => 'care', reason => 'x', how => ['claim'], basis => ['x v1 clause 1'] } },
	'spine.agreement_event' => sub {
		return { event_id => own_id(), envelope(), name => one_of('fuzzed', 'a', 'b'), version => 1, kind => one_of('signed', 'published', 'ended'), document => undef, digest => one_of('\\x00', '@DIGEST'), at => '2026-01-01', by_role => 'x' };
	});
my @relations = sort keys %rows;

my $comparison = '00000000-0000-4000-8000-00000000c0de';

sub sound_batch
{
	my @rows = map {
		my $relation = one_of(@relations, 'bump.visit', 'bump.visit');
		rand() < 0.75 ? { relation => $relation, action => 'put', row => $rows{$relation}->() } : { relation => $relation, action => 'withdraw', record_id => own_id() };
	} 1 .. int rand 6;
	my %batch = (from => 'RYJ', to => 'RQM', epoch => '@EPOCH', seq => '@SEQ', position => { cluster => 'x', from => '1:1:' }, rows => \@rows);
	$batch{episodes} = [ map { +{ episode_id => own_id(), patient_id => one_of(@persons), kind => 'pregnancy', anchor => one_of(undef, '2026-06-01', '2026-06-05'), owner => 'RYJ', opened_at => '2026-01-01' } } 1 .. 1 + int rand 2 ] if rand() < 0.3;
	$batch{identity_links} = [ { link_id => own_id(), from_patient => one_of(@persons), to_patient => one_of(@persons), method => 'x', owner => 'RYJ', since => '2026-01-01', until => one_of(undef, '2026-02-01') } ] if rand() < 0.2;
	$batch{family_links} = [ { child => one_of(@persons), mother => one_of(@persons), method => 'x', owner => 'RYJ', since => '2026-01-01', until => undef } ] if rand() < 0.2;
	$batch{episode_links} = [ { from_episode => some_id(), to_episode => some_id(), kind => 'same', method => 'x', owner => 'RYJ', since => '2026-01-01' } ] if rand() < 0.2;
	if (rand() < 0.1)
	{
		my @ids = sort map { own_id() } 1 .. 3;
		my $relation = one_of(@relations);
		$batch{compare} = one_of(
			{ id => $comparison, step => 'tables' },
			{ id => $comparison, step => 'ranges', relation => $relation, after => one_of(undef, $ids[0]), limit => 1000, ranges => [ [ $ids[1], int rand 3, int rand 1e15 ], [ one_of(undef, $ids[2]), 0, 0 ] ] },
			{ id => $comparison, step => 'mend', relation => $relation, checks => [ [ one_of(undef, $ids[0]), one_of(undef, $ids[1]), 1, -1, one_of(undef, [ $ids[1] ]) ] ], sent => 1, removed => 0 },
			{ id => $comparison, step => 'receipt', begun => '2026-01-01' });
	}
	$batch{attest} = { id => own_id(), items => { one_of(@relations) => { gone => [ own_id(), own_id() ], held => [ own_id() ] } } } if rand() < 0.05;
	@batch{qw(epoch seq begin)} = (sprintf('ffffffff-0000-4000-8000-%012x', int rand 1000), 1, JSON::PP::true) if rand() < 0.02;
	return \%batch;
}

my @words = ('', ' ', 'RYJ', 'RQM', 'X26', 'RYJ:care', 'RQM:care', 'X26:care', 'RQM:emergency', 'put', 'withdraw', 'mend', 'ranges', 'infinity', '-infinity', 'NaN', '4714-01-01 BC', '294277-01-01', '9' x 400, '-1', '0', '1e400',
	'null', "\x{1}", "a\"b'c\\", '"; DROP TABLE spine.node; --', '{NULL}', '{}', '{RQM:care}', '(1,2)', 'x' x 3000, 'RQM:care/+x', 'RQM:care/m:aciR', ':', '/', ':care', 'spine.node', 'pg_catalog.pg_authid', 'bump.visit',
	'spine.access_log', 'bump_1_0.visit', 'bump.VISIT', 'spine.relationship', '@EPOCH', '@SEQ', '@DIGEST', '9434765919');
my @keys = (qw(owner audience revision record_id relation action row rows compare attest step ranges checks limit items gone held begin seq epoch from to position episodes identity_links family_links episode_links until since patient_id organisation about digest document
	  kind relationship_id event_id notice_id after upto local_record_id source_system ctid tableoid xmin), '', 'x' x 70, "a\"b", 'weight');

sub odd_value
{
	my $n = one_of(10, 100, 600);
	return one_of(
		sub { one_of(@words) }, sub { one_of(@words) }, sub { one_of(some_id(), @persons) }, sub { one_of(undef, JSON::PP::true, JSON::PP::false) }, sub { one_of(0, 1, -1, 2.5, 1e300, 2147483648, 9223372036854775807, 1e18) },
		sub { [] }, sub { {} }, sub { [ undef, 1, 'x' ] }, sub { [ ([ 'RQM:care', 'x' ]) x 2 ] }, sub { my $deep = 1; $deep = [$deep] for 1 .. $n; $deep }, sub { my $deep = {}; $deep = { a => $deep } for 1 .. $n; $deep },
		sub { [ map { one_of(@words) } 1 .. $n ] }, sub { sound_batch() }, sub { $rows{one_of(@relations)}->() })->();
}

# every place below a value: [container, key or index]
sub places
{
	my ($value) = @_;
	return map { ([ $value, $_ ], places($value->{$_})) } sort keys %$value if ref $value eq 'HASH';
	return map { ([ $value, $_ ], places($value->[$_])) } 0 .. $#$value if ref $value eq 'ARRAY';
	return;
}

sub spoil
{
	my ($batch) = @_;
	my @places = places($batch);
	my $place = one_of(@places);
	# rather deep than at the top, which all batches share
	$place = one_of(@places) if rand() < 0.7 && $place->[0] == $batch;
	my ($in, $at) = @$place;
	my $is_hash = ref $in eq 'HASH';
	my $other = one_of(@places);
	my $copy = $json->decode($json->encode(ref $other->[0] eq 'HASH' ? $other->[0]{ $other->[1] } : $other->[0][ $other->[1] ]));
	my $set = sub { $is_hash ? ($in->{$at} = $_[0]) : ($in->[$at] = $_[0]) };
	my $get = $is_hash ? $in->{$at} : $in->[$at];
	one_of(
		(sub { $set->(odd_value()) }) x 3,
		sub { $set->($copy) },
		sub { $is_hash ? delete $in->{$at} : splice @$in, $at, 1 },
		sub { $is_hash ? ($in->{ one_of(@keys) } = $get) : splice @$in, $at, 0, $get },
		sub { $is_hash ? ($in->{ one_of(@keys) } = odd_value()) : push @$in, odd_value() },
		sub { $set->([$get]) }, sub { $set->({ one_of(@keys) => $get }) },
		# where it hurts: names and ids of others
		(sub {
			my @owned = grep { ref $_->[0] eq 'HASH' && $_->[1] =~ /^(?:owner|organisation|about|from|to)$/ } @places;
			my $mine = @owned ? one_of(@owned) : return;
			$mine->[0]{ $mine->[1] } = one_of('RQM', 'X26', 'Y56', 'RYJ', '', undef);
		}) x 3,
		(sub {
			my @named = grep { ref $_->[0] eq 'HASH' && $_->[1] =~ /_id$|_patient$|_episode$|^(?:child|mother|after|upto)$/ } @places;
			my $id = @named ? one_of(@named) : return;
			$id->[0]{ $id->[1] } = one_of(map({ one_of(@$_) } values %ids), @persons);
		}) x 3,
		(sub {
			my @audiences = grep { ref $_->[0] eq 'HASH' && $_->[1] eq 'audience' } @places;
			my $audience = @audiences ? one_of(@audiences) : return;
			$audience->[0]{audience} = one_of([], ['X26:care'], ['RQM:reporting'], [ 'RQM:care', 'X26:care/aci', undef, 5 ], [ map { one_of(@words) } 1 .. 5 ]);
		}) x 2)->();
	return;
}

# a value of COPY's text format
sub copied
{
	my ($text) = @_;
	$text =~ s/([\\\n\r\t])/{ "\\" => "\\\\", "\n" => '\\n', "\r" => '\\r', "\t" => '\\t' }->{$1}/ge;
	return $text;
}

sub setup
{
	my $node = SpineNode->new('rqm', organisation => 'RQM', conf => "autovacuum = off\nlog_statement = none\nspine.neighbour_session = 1d");
	$node->sql("SELECT spine.publish_dataset('" . SpineExchange::definition('1.0') . "'::jsonb)");
	$node->sql(<<'SETUP');
CREATE ROLE node_ryj LOGIN;
CREATE ROLE node_x26 LOGIN;
CREATE ROLE governor LOGIN;
SELECT spine.add_organisation('RYJ', 'RYJ', 'trust'), spine.add_organisation('X26', 'X26', 'trust');
SELECT spine.connect_node('RYJ', NULL, '{RYJ}', 'node_ryj'), spine.connect_node('X26', NULL, '{X26}', 'node_x26'), spine.add_member('governor', 'RQM', 'governor');
SELECT set_config('fuzz.agreement', '{"name": "fuzzed", "version": 1, "title": "x", "parties": ["RYJ", "RQM"], "start": "2026-01-01", "clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care",
	"dataset": "bump", "groups": "all", "relationships": ["referral", "claim", "episode", "transfer"], "emergency": true}]}', false);
SET ROLE governor;
SELECT spine.propose_agreement(current_setting('fuzz.agreement')::jsonb);
SELECT spine.sign_agreement('fuzzed', 1);
RESET ROLE;
CREATE TABLE batch (id integer PRIMARY KEY, sound boolean NOT NULL, batch text NOT NULL);
CREATE TABLE answer (id integer, status text, code text, faults integer, state text, before text, after text, words text);
CREATE TABLE start_of (part text PRIMARY KEY, state text);
GRANT SELECT ON batch TO node_ryj;

-- what others than RYJ have: an audience of an own record may follow, and its revision with it
CREATE FUNCTION state_of_others() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	part record;
	one text;
	whole text := '';
BEGIN
	FOR part IN SELECT t.class, t.is_group FROM spine.exchange_tables() t LOOP
		EXECUTE format('SELECT coalesce(md5(string_agg((to_jsonb(t) - %L::text[])::text, '','' ORDER BY t::text)), ''-'') FROM %s t WHERE t.owner <> ''RYJ''',
			CASE WHEN part.is_group THEN '{audience,revision}' ELSE '{}' END, part.class) INTO one;
		whole := whole || one;
	END LOOP;
	FOREACH one IN ARRAY '{spine.episode,spine.identity_link,spine.family_link}'::text[] LOOP
		EXECUTE format('SELECT coalesce(md5(string_agg(t::text, '','' ORDER BY t::text)), ''-'') FROM %s t WHERE t.owner <> ''RYJ''', one) INTO one;
		whole := whole || one;
	END LOOP;
	-- and what no batch may reach at all; own episodes are joined to the neighbour's, and parted
	FOREACH one IN ARRAY '{spine.node,spine.node_organisation,spine.store,spine.member,spine.system,spine.organisation,spine.access_log,spine.dataset,spine.alias,spine.submission}'::text[] LOOP
		EXECUTE format('SELECT coalesce(md5(string_agg(t::text, '','' ORDER BY t::text)), ''-'') FROM %s t', one) INTO one;
		whole := whole || one;
	END LOOP;
	RETURN md5(whole || (SELECT coalesce(md5(string_agg(l::text, ',' ORDER BY l::text)), '-') FROM spine.episode_link l WHERE l.owner NOT IN ('RYJ', 'RQM'))
		|| (SELECT coalesce(md5(string_agg(w::text, ',' ORDER BY w::text)), '-') FROM spine.waiting_row w WHERE w.node <> 'RYJ')
		|| (SELECT coalesce(md5(string_agg(w::text, ',' ORDER BY w::text)), '-') FROM spine.receive_fault w WHERE w.node <> 'RYJ')
		|| (SELECT coalesce(md5(string_agg(w::text, ',' ORDER BY w::text)), '-') FROM spine.link_received w WHERE w.node <> 'RYJ'));
END
$$;
-- what is RYJ's, and what follows from it here
CREATE FUNCTION state_of_ryj() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	part regclass;
	one text;
	whole text := '';
BEGIN
	FOR part IN SELECT t.class FROM spine.exchange_tables() t
		UNION ALL SELECT c::regclass FROM unnest('{spine.episode,spine.episode_link,spine.identity_link,spine.family_link,spine.waiting_row,spine.receive_fault,spine.unknown_item,spine.link_received,spine.sharing_rule,spine.history}'::text[]) c LOOP
		EXECUTE format('SELECT coalesce(md5(string_agg(t::text, '','' ORDER BY t::text)), ''-'') FROM %s t', part) INTO one;
		whole := whole || one;
	END LOOP;
	RETURN md5(whole);
END
$$;
CREATE PROCEDURE try_batches() LANGUAGE plpgsql AS $$
DECLARE
	of record;
	answer jsonb;
	here record;
	before text;
	sent jsonb;
	message text;
	words text;
BEGIN
	FOR of IN SELECT * FROM batch ORDER BY id LOOP
		-- one answer in four is looked at so: it takes longer than the batch
		before := CASE WHEN of.id % 4 = 0 THEN state_of_ryj() END;
		SELECT coalesce(r.epoch, gen_random_uuid()) AS epoch, r.seq + 1 AS seq, r.epoch IS NULL AS begins INTO here FROM spine.link_received r WHERE r.node = 'RYJ';
		BEGIN
			sent := replace(replace(replace(of.batch, '"@SEQ"', here.seq::text), '@EPOCH', here.epoch::text), '@DIGEST',
				(SELECT replace(e.digest::text, '\', '\\') FROM spine.agreement_event e WHERE e.owner = 'RQM' LIMIT 1))::jsonb || CASE WHEN here.begins THEN '{"begin": true}' ELSE '{}' END::jsonb;
			SET LOCAL ROLE node_ryj;
			answer := spine.receive(sent);
			RESET ROLE;
			INSERT INTO answer SELECT of.id, answer ->> 'status', answer ->> 'code', (answer ->> 'faults')::integer, NULL, before, CASE WHEN before IS NOT NULL AND answer ->> 'status' <> 'done' THEN state_of_ryj() END, answer ->> 'message';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, words = PG_EXCEPTION_CONTEXT;
			INSERT INTO answer VALUES (of.id, NULL, NULL, NULL, SQLSTATE, before, CASE WHEN before IS NOT NULL THEN state_of_ryj() END, message || ' ' || words);
		END;
		COMMIT;
	END LOOP;
END
$$;
SETUP
	# what is there
	for my $of (qw(RQM X26))
	{
		put($node, "$of $_", owner => $of, record_id => $ids{$of}[$_], patient_id => $persons[ $_ % 6 ], audience => '{}') for 0 .. 3;
	}
	$node->sql("INSERT INTO spine.episode (episode_id, patient_id, kind, anchor, owner) SELECT id, p, 'pregnancy', '2026-06-03', o FROM (VALUES ('$ids{RQM}[0]'::uuid, '$persons[0]'::uuid, 'RQM'), ('$ids{RQM}[1]', '$persons[1]', 'RQM'), ('$ids{X26}[0]', '$persons[0]', 'X26')) x (id, p, o);
		INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner) VALUES ('$ids{RQM}[0]', '$persons[0]', 'RQM', 'claim', 'RQM'), ('$ids{X26}[0]', '$persons[1]', 'X26', 'claim', 'X26');
		INSERT INTO spine.dissent (dissent_id, patient_id, purpose, owner, recorded_by) VALUES ('$ids{RQM}[0]', '$persons[2]', 'care', 'RQM', 'x');
		INSERT INTO spine.alias (owner, source_system, local_patient_id, patient_id) VALUES ('RQM', 'test', 'W1', '$persons[3]')");
	return $node;
}

my %wrong = (
	'an error that input may not raise' => q{SELECT id, state, words FROM answer WHERE state IS NOT NULL AND left(state, 2) NOT IN ('22', '54')},
	'an answer that is none' => q{SELECT id, status FROM answer WHERE state IS NULL AND coalesce(status, '') NOT IN ('done', 'refused', 'gap', 'replayed')},
	'a change without done' => q{SELECT id, status, state FROM answer WHERE status IS DISTINCT FROM 'done' AND before <> after},
	'a change of what is others\'' => q{SELECT part FROM start_of WHERE part = 'others' AND state <> state_of_others()},
	'a row for readers of other nodes' => q{SELECT t.record_id, t.audience FROM (SELECT record_id, owner, audience FROM bump.visit UNION ALL SELECT record_id, owner, audience FROM bump.baby UNION ALL SELECT relationship_id, owner, audience FROM spine.relationship
		UNION ALL SELECT dissent_id, owner, audience FROM spine.dissent UNION ALL SELECT event_id, owner, audience FROM spine.agreement_event UNION ALL SELECT notice_id, owner, audience FROM spine.access_notice) t
		WHERE t.owner = 'RYJ' AND EXISTS (SELECT FROM unnest(t.audience) a WHERE a !~ '^RQM:(care|emergency)(/|$)')},
	'a row of an owner that nobody hosts' => q{SELECT t.owner FROM (SELECT owner FROM bump.visit UNION ALL SELECT owner FROM bump.baby UNION ALL SELECT owner FROM spine.relationship UNION ALL SELECT owner FROM spine.dissent UNION ALL SELECT owner FROM spine.agreement_event
		UNION ALL SELECT owner FROM spine.access_notice UNION ALL SELECT owner FROM spine.review_event UNION ALL SELECT owner FROM spine.episode UNION ALL SELECT owner FROM spine.episode_link UNION ALL SELECT owner FROM spine.identity_link UNION ALL SELECT owner FROM spine.family_link
		UNION ALL SELECT owner FROM spine.waiting_row UNION ALL SELECT owner FROM spine.unknown_item) t WHERE t.owner NOT IN ('RYJ', 'RQM', 'X26')},
	'an opening of others' => q{SELECT organisation FROM spine.access_notice WHERE owner = 'RYJ' AND organisation <> 'RYJ'},
	'a dissent of ours that does not hold' => q{SELECT d.until FROM spine.dissent d WHERE d.owner = 'RQM' AND d.until IS NOT NULL},
	'an own record shared without a relationship, or against a dissent' => qq{SELECT v.record_id, v.audience FROM bump.visit v WHERE v.owner = 'RQM' AND 'RYJ:care' = ANY (v.audience)
		AND ('RYJ:care' <> ALL (spine.audience('RQM', 'bump', 'visit', v.patient_id)) OR v.patient_id = '$persons[2]')},
	'two numbers that became one person' => q{SELECT l.* FROM spine.identity_link l WHERE l.owner = 'RYJ' AND (l.until IS NULL OR l.until > now()) AND substr(l.from_patient::text, 15, 1) = '8'},
	'a note of what was sent' => q{SELECT length(detail::text) FROM spine.incident WHERE length(detail::text) > 3000},
	'words of a row in an answer' => q{SELECT id, left(words, 200) FROM answer WHERE status = 'refused' AND words ~ '9434765919|DROP TABLE'});

sub fuzz_receive
{
	my (%with) = @_;
	my $seed = $with{seed};
	srand $seed;
	diag("seed $seed, $with{batches} batches");
	my $node = setup();
	my $file = $node->basedir . '/batches';
	my $id = 0;
	my (%said, %answered);
	my $start = time;
	$node->sql(q{INSERT INTO start_of VALUES ('others', state_of_others())});

	while ($id < $with{batches})
	{
		open my $out, '>', $file or die "$file: $!";
		for (1 .. ROUND)
		{
			my $batch = sound_batch();
			my $sound = rand() < 0.05;
			if (!$sound) { spoil($batch) for 1 .. one_of(1, 1, 1, 2, 3, 6) }
			$id++;
			print $out join("\t", $id, $sound ? 't' : 'f', copied($json->encode($batch))), "\n";
		}
		close $out or die "$file: $!";
		$node->sql("TRUNCATE batch, answer;\n\\copy batch FROM '$file'");
		$node->sql('CALL try_batches()');
		is($node->sql('SELECT count(*) FROM answer'), ROUND, 'every batch of a round is answered') if $id == ROUND;
		last if $node->sql('SELECT count(*) FROM answer') != ROUND;
		for my $what (sort keys %wrong)
		{
			my $found = $node->sql("SELECT left(string_agg(x::text, E'\\n'), 2000) FROM ($wrong{$what} LIMIT 5) x");
			next if $found eq '' || $said{$what}++;
			diag("$what (seed $seed, to batch $id):\n$found");
			my ($n) = $found =~ /^\((\d+),/;
			diag('batch: ' . $node->sql("SELECT left(batch, 3000) FROM batch WHERE id = $n")) if $n;
		}
		$answered{$_}++ for split /\n/, $node->sql("SELECT coalesce(state, status) FROM answer");
		my $key = "sound $id";
		my $sound = $ids{none}[0];
		my $through = $node->sql_as('node_ryj', "SELECT a ->> 'status' FROM spine.receive(\$j\$" . $node->sql(<<"END") . "\$j\$::jsonb) a");
SELECT jsonb_build_object('from', 'RYJ', 'to', 'RQM', 'epoch', coalesce(r.epoch, gen_random_uuid()), 'seq', r.seq + 1, 'begin', r.epoch IS NULL, 'position', '{}'::jsonb,
	'rows', jsonb_build_array(jsonb_build_object('relation', 'bump.visit', 'action', 'put', 'row', jsonb_build_object('record_id', '$sound', 'owner', 'RYJ', 'source_system', 'sound', 'local_record_id', '$key', 'patient_id', '$persons[0]',
		'dataset_version', '1.0', 'received_at', now(), 'revision', 1000000 + $id, 'visit_id', '$key', 'audience', '["RQM:care"]'::jsonb)))) FROM spine.link_received r WHERE r.node = 'RYJ'
END
		my $there = $node->sql("SELECT local_record_id FROM bump.visit WHERE record_id = '$sound'");
		$said{'a sound batch that does not go through'}++ or diag("after $id: $through, $there") if $through ne 'done' || $there ne $key;
	}
	is($id, int(($with{batches} + ROUND - 1) / ROUND) * ROUND, "$id batches");
	ok(!$said{$_}, "not once $_") for sort(keys %wrong), 'a sound batch that does not go through';
	diag(sprintf '%d batches in %d s: %s', $id, time - $start, join(', ', map { "$_ $answered{$_}" } sort { $answered{$b} <=> $answered{$a} } keys %answered));
	# it is no test where all are refused, or none
	cmp_ok($answered{done} // 0, '>', $id / 10, 'many are applied');
	cmp_ok($answered{refused} // 0, '>', $id / 10, 'and many refused');
	cmp_ok($node->sql('SELECT count(DISTINCT kind) FROM spine.incident'), '>=', 4, 'with their notes');
	unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP/, 'no process died');
	return;
}

1;
