# Sound documents of pregnancies, spoilt in their structure and their text, at every tolerant door;
# and documents of a hundred megabytes. SPINE_FUZZ_SECONDS: how long (120); SPINE_FUZZ_SEED: which.
use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;

use constant ROUND => 150;		# documents
use constant LEAK => 200;		# bytes a document that may stay

my $seconds = $ENV{SPINE_FUZZ_SECONDS} || 120;
my $seed = $ENV{SPINE_FUZZ_SEED} || time;
srand $seed;
diag("seed $seed, $seconds seconds");

# statistics that come meanwhile are cached
my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0', conf => 'autovacuum = off');
$node->sql(<<'SETUP');
CREATE ROLE supplier LOGIN;
SELECT spine.add_system('RYJ', 'Elm', 'maternity', 'supplier');
GRANT EXECUTE ON FUNCTION pg_get_backend_memory_contexts() TO supplier;
GRANT SELECT ON pg_backend_memory_contexts TO supplier;
CREATE TABLE document (id integer, records integer, document text, lines text[]);
CREATE TABLE answer (id integer, door text, n integer, outcome text, record_id uuid, findings jsonb);
CREATE TABLE failure (id integer, door text, state text, words text);
CREATE TABLE line_account (id integer, submission_id uuid);
GRANT SELECT ON document TO supplier;
GRANT INSERT ON answer, failure, line_account TO supplier;
CREATE PROCEDURE try_documents() LANGUAGE plpgsql AS $$
DECLARE
	of record;
	message text;
	detail text;
	hint text;
	context text;
BEGIN
	FOR of IN SELECT * FROM document ORDER BY id LOOP
		BEGIN
			INSERT INTO answer SELECT of.id, 'validate', v.n, v.outcome, v.record_id, v.findings FROM spine.validate(of.document) v;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
			INSERT INTO failure VALUES (of.id, 'validate', SQLSTATE, concat_ws(' ', message, detail, hint, context));
		END;
		BEGIN
			INSERT INTO answer SELECT of.id, 'submit', v.n, v.outcome, v.record_id, v.findings FROM spine.submit(of.document) v;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
			INSERT INTO failure VALUES (of.id, 'submit', SQLSTATE, concat_ws(' ', message, detail, hint, context));
		END;
		BEGIN
			INSERT INTO spine.inbox (document) SELECT l FROM unnest(of.lines) WITH ORDINALITY AS u(l, n) ORDER BY n;
			INSERT INTO line_account SELECT of.id, s.submission_id FROM spine.submissions s WHERE s.door = 'inbox' ORDER BY s.submission_id DESC LIMIT 1;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
			INSERT INTO failure VALUES (of.id, 'inbox', SQLSTATE, concat_ws(' ', message, detail, hint, context));
		END;
		COMMIT;
	END LOOP;
END
$$;
CREATE FUNCTION stored() RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
	data_group regclass;
BEGIN
	FOR data_group IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'maternity'::regnamespace LOOP
		RETURN QUERY EXECUTE format('SELECT record_id FROM %s', data_group);
	END LOOP;
END
$$;
SETUP

# very large

my %large = (
	'a hundred million blanks' => q{'{"dataset": "maternity", "version": "2.0", ' || repeat(' ', 100000000) || '"records": [1]}'},
	'a hundred megabytes in a broken record' => q{'{"dataset": "maternity", "version": "2.0", "records": [{"group": "booking", "data": {"x": "' || repeat('SECRET ', 14300000) || '" x}}]}'},
	'a hundred megabytes in an item' => q{'{"dataset": "maternity", "version": "2.0", "records": [{"group": "booking", "data": {"pregnancy_id": "' || repeat('SECRET ', 14300000) || '"}}]}'},
	'a hundred megabytes in the name of an item' => q{'{"dataset": "maternity", "version": "2.0", "records": [{"group": "booking", "data": {"' || repeat('x', 100000000) || '": 1}}]}'},
	'a million levels in a record' => q{'{"dataset": "maternity", "version": "2.0", "records": [{"group": "booking", "data": ' || repeat('{"x":', 1000000) || '1' || repeat('}', 1000000) || '}]}'},
	'a million findings' => q{'{"dataset": "maternity", "version": "2.0", "records": [' || (SELECT string_agg('{"group": "booking", "data": {' || (SELECT string_agg(format('"u%s": 1', i), ', ') FROM generate_series(1, 1000) i) || '}}', ', ') FROM generate_series(1, 1000)) || ']}'},
	'a million records' => q{'{"dataset": "maternity", "version": "2.0", "records": [1' || repeat(',1', 199999) || ']}'});
for my $what (sort keys %large)
{
	my ($code, $out, $err) = $node->psql_as('supplier', "SELECT count(*) || ' ' || min(outcome) || ' ' || max(outcome) FROM spine.submit($large{$what})");
	my $records = $what =~ /findings/ ? 1000 : $what =~ /records/ ? 200_000 : 1;
	is($out, "$records rejected rejected", "$what: every record is answered");
	unlike($err . $out, qr/SECRET/, 'and none told');
	my ($taken) = $node->psql_as('supplier', "INSERT INTO spine.inbox (document) VALUES ($large{$what})");
	is($taken, 0, 'as one line of the inbox it is taken');
}
is($node->sql('SELECT count(*) FROM spine.rejection'), $node->sql('SELECT sum(rejected) FROM spine.submission'), 'every rejected record is in the quarantine');
$node->sql('TRUNCATE spine.submission, spine.raw_submission, spine.inbox_line, spine.rejection');

# JSON as a tree that keeps the order of keys, keys that come twice and how a scalar is written:
# ['o', [key, value], ...], ['a', value, ...], ['t', text between quotation marks], ['r', anything else]

sub parse
{
	my ($json) = @_;
	my $value;
	$value = sub {
		$$json =~ /\G\s*/gc;
		if ($$json =~ /\G\{/gc)
		{
			my @pairs;
			until ($$json =~ /\G\s*\}/gc)
			{
				$$json =~ /\G\s*,?\s*"((?:[^"\\]|\\.)*)"\s*:/gc or die 'no key';
				my $key = $1;
				push @pairs, [ $key, $value->() ];
			}
			return [ 'o', @pairs ];
		}
		if ($$json =~ /\G\[/gc)
		{
			my @elements;
			until ($$json =~ /\G\s*\]/gc)
			{
				$$json =~ /\G\s*,/gc;
				push @elements, $value->();
			}
			return [ 'a', @elements ];
		}
		return [ 't', $1 ] if $$json =~ /\G"((?:[^"\\]|\\.)*)"/gc;
		return [ 'r', $1 ] if $$json =~ /\G([-+.\w]+)/gc;
		die 'no JSON at ' . (pos($$json) // 0);
	};
	return $value->();
}

sub write_json
{
	my ($node) = @_;
	my ($kind, @parts) = @$node;
	return $parts[0] if $kind eq 'r';
	return qq("$parts[0]") if $kind eq 't';
	return '[' . join(',', map { write_json($_) } @parts) . ']' if $kind eq 'a';
	return '{' . join(',', map { qq("$_->[0]":) . write_json($_->[1]) } @parts) . '}';
}

sub one_of { return $_[ rand @_ ] }

my @keys = ('', 'dataset', 'version', 'system', 'records', 'group', 'data', 'nhs_number', 'local_patient_id', 'local_episode_id', 'local_record_id',
	'record_id', 'owner', 'x' x 70, 'x' x 5000, 'rec\\u006frds', 'd\\u0061ta', 'SECRET', 'a\\u0000', '\\ud800', "\xe9", '\\"', ' data');
my @raws = ('1e999', '-1e-999', '-0', '007', 'NaN', '-Infinity', '9' x 400, '0.' . '1' x 400, '2147483648', '-2147483649', 'true', 'false', 'null', 'nul', '0x1f', '1.', '.5', '+1', '');
my @texts = ('', ' ', '\\t', 'SECRET', 'SECRET' x 3000, '\\u0000', '\\ud83d', '\\ud83d\\ude00', '\\ude00\\ud83d', '\\x', '\\', "\x01", "\xe9\x{20ac}", '2019-02-29', '0000-00-00', '9999-12-31', '24:00:00',
	'2026-01-01T10:00:00+99', '9990000019', '9990000018', '99900000', '39+7', 'NaN', 'infinity', "' OR 1=1", '%s%n', '|', 'a|b', '05', ' 05 ', 'RYJ', 'RQM', '-', '0', '1e5', "\x{1f600}" x 50, '\\u00e9' x 50);

# every place of a tree where a value stands: a reference to it
sub places
{
	my ($place) = @_;
	my ($kind, @parts) = @$$place;
	return $place if $kind eq 't' || $kind eq 'r';
	return ($place, map { $kind eq 'a' ? places(\${$place}->[$_]) : places(\${$place}->[$_][1]) } 1 .. @parts);
}

sub copy_of
{
	my ($kind, @parts) = @{ $_[0] };
	return [ $kind, map { $kind eq 'o' ? [ $_->[0], copy_of($_->[1]) ] : $kind eq 'a' ? copy_of($_) : $_ } @parts ];
}

sub deep
{
	my $n = one_of(10, 60, 66, 1000, 100_000);
	return [ 'r', one_of('[' x $n . ']' x $n, '{"a":' x $n . '1' . '}' x $n, '[' x $n, ']' x $n, '[{"a":' x $n) ];
}

sub mutate_tree
{
	my ($root) = @_;
	my @all = places($root);
	my $place = one_of(@all);
	my $kind = $$place->[0];
	my $other = copy_of(${ one_of(@all) });
	my @ways = (
		sub { $$place = [ 't', one_of(@texts) ] }, sub { $$place = [ 'r', one_of(@raws) ] }, sub { $$place = $other }, sub { $$place = deep() },
		sub { $$place = [ 'a', $$place ] }, sub { $$place = [ 'o', [ one_of(@keys), $$place ] ] });
	push @ways, sub { $$place = [ 'r', $$place->[1] ] }, sub { $$place->[1] .= one_of(@texts) }, sub { $$place->[1] = " $$place->[1] " }, sub { $$place->[1] =~ s/(\w)/sprintf '\\u%04x', ord $1/e } if $kind eq 't';
	push @ways, sub { $$place = [ 't', $$place->[1] ] }, sub { $$place->[1] .= one_of(0, '.0', 'e5') } if $kind eq 'r';
	if (@$$place > 1 && $kind =~ /[oa]/)
	{
		my $n = 1 + int rand $#$$place;
		push @ways, (sub { splice @$$place, $n, 1 }, sub { push @$$place, $$place->[$n] }, sub { splice @$$place, 1, 0, $$place->[$n] }) x 2;
		push @ways, sub { my (undef, @parts) = @$$place; $$place = [ $kind, reverse @parts ] };
		push @ways, (sub { $$place->[$n] = [ one_of(@keys), $$place->[$n][1] ] }, sub { push @$$place, [ $$place->[$n][0], [ 't', one_of(@texts) ] ] }, sub { push @$$place, [ one_of(@keys), $other ] }) x 2 if $kind eq 'o';
	}
	one_of(@ways)->();
	return;
}

sub mutate_text
{
	my ($text) = @_;
	my $at = int rand length $text;
	my @ways = (
		sub { substr($text, $at) = '' }, sub { substr($text, 0, $at) = '' }, sub { substr($text, $at, 1) = chr(ord(substr $text, $at, 1) ^ (1 << int rand 7)) },
		sub { substr($text, $at, 0) = one_of('[', ']', '{', '}', '"', ',', ':', '\\', '0', 'e', "\n", "\x01", "\xe9") }, sub { substr($text, $at, int rand 50) = '' },
		sub { substr($text, $at, 0) = substr($text, int rand length $text, int rand 200) }, sub { $text =~ s/\w/sprintf '\\u%04x', ord $&/e },
		sub { $text =~ s/(?<=[,:])/ \n\t/g });
	one_of(@ways)->();
	$text =~ tr/\0//d;
	return $text;
}

# a value of COPY's text format
sub copied
{
	my ($text) = @_;
	$text =~ s/([\\\n\r\t])/{ "\\" => "\\\\", "\n" => '\\n', "\r" => '\\r', "\t" => '\\t' }->{$1}/ge;
	return $text;
}

sub element
{
	my ($text) = @_;
	$text =~ s/(["\\])/\\$1/g;
	return qq("$text");
}

my $generated = $node->sql("SELECT document FROM spine.generate_documents(40, 11, '{RYJ}', 0.05, most_records => 12, systems => '{Elm}')");
my @sound = map { s/\s+\z//r } grep { /\S/ } split /\n(?=\{"dataset"|\{ *"dataset")/, $generated;
cmp_ok(@sound, '>', 20, 'documents to begin with');
my $file = $node->basedir . '/documents';
my $id = 0;

sub write_round
{
	open my $out, '>:encoding(UTF-8)', $file or die "$file: $!";
	for (1 .. ROUND)
	{
		my $text = one_of(@sound);
		my $tree = parse(\$text);
		my @lines = map { write_json([ 'o', [ 'dataset', [ 't', 'maternity' ] ], [ 'version', [ 't', '2.0' ] ], @$_[ 1 .. $#$_ ] ]) }
		  map { @{ $_->[1] }[ 1 .. $#{ $_->[1] } ] } grep { ref && $_->[0] eq 'records' } @$tree;
		mutate_tree(\$tree) for 1 .. int rand 5;
		$text = write_json($tree);
		$text = mutate_text($text) if rand() < 0.3;
		# where this is JSON, it has so many records
		my $decoded = eval { JSON::PP->new->decode($text) };
		my $records = ref $decoded eq 'HASH' && ref $decoded->{records} eq 'ARRAY' ? scalar @{ $decoded->{records} } : '\\N';
		@lines = map { rand() < 0.4 ? mutate_text($_) : rand() < 0.4 ? do { my $line = $_; my $t = parse(\$line); mutate_tree(\$t) for 1 .. 2; write_json($t) } : $_ } @lines;
		$id++;
		print $out join("\t", $id, $records, copied($text), copied('{' . join(',', map { element($_) } @lines) . '}')), "\n";
	}
	close $out or die "$file: $!";
	return;
}

my ($in, $out) = ('', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->conninfo('supplier') ], '<', \$in, '>', \$out, '2>&1', IPC::Run::timeout($seconds + 600));
my (@used, $rounds);
my %wrong = (
	'an error of a code that is not for input' => q{SELECT door || ' ' || state || ' ' || words FROM failure WHERE state NOT IN ('SP002', 'SP003', '42501') OR door = 'inbox'},
	'validate and submit do not tell the same' => q{SELECT coalesce(v.id, s.id) FROM (SELECT id, md5(string_agg(concat_ws(' ', n, outcome, findings), ',' ORDER BY n)) AS told FROM answer WHERE door = 'validate' GROUP BY id) v
		FULL JOIN (SELECT id, md5(string_agg(concat_ws(' ', n, outcome, findings), ',' ORDER BY n)) AS told FROM answer WHERE door = 'submit' GROUP BY id) s USING (id) WHERE v.told IS DISTINCT FROM s.told},
	'not as many answers as records' => q{SELECT d.id, d.records, a.n FROM document d JOIN (SELECT id, count(*) AS n, max(n) AS last FROM answer WHERE door = 'submit' GROUP BY id) a USING (id) WHERE a.n <> a.last OR a.n <> d.records},
	'not as many outcomes as lines' => q{SELECT d.id, cardinality(d.lines), s.records FROM document d JOIN line_account USING (id) JOIN spine.submission s USING (submission_id)
		WHERE cardinality(d.lines) <> s.records OR s.records <> (SELECT count(*) FROM spine.inbox_line l WHERE l.submission_id = s.submission_id)},
	'an account that is not exact' => q{SELECT submission_id FROM spine.submission s WHERE records <> accepted + accepted_with_warnings + unchanged + rejected
		OR rejected <> (SELECT count(*) FROM spine.rejection j WHERE j.submission_id = s.submission_id)},
	'a document without an account' => q{SELECT count(*) FROM document GROUP BY () HAVING count(*) + (SELECT count(DISTINCT submission_id) FROM line_account) <> (SELECT count(*) FROM spine.submission) + (SELECT count(*) FROM failure WHERE door = 'submit')},
	'accepted records and rows that are not the same' => q{SELECT count(*) FROM ((SELECT record_id FROM kept EXCEPT SELECT * FROM stored()) UNION ALL (SELECT * FROM stored() EXCEPT SELECT record_id FROM kept)) x HAVING count(*) > 0},
	'a word of what was sent' => q{SELECT left(words, 200) FROM failure WHERE words ~ 'SECRET|999000' AND words !~ '^data set ' UNION ALL SELECT left(f ->> 'message', 200) FROM answer, jsonb_array_elements(findings) f WHERE f ->> 'message' ~ 'SECRET|999000'});
$node->sql('CREATE TABLE kept (record_id uuid PRIMARY KEY)');
my %said;
my $until = time + $seconds;
while (time < $until || !$rounds || @used < 6)
{
	write_round();
	$node->sql(qq{TRUNCATE document, answer, failure, line_account, spine.submission, spine.raw_submission, spine.inbox_line, spine.rejection;
\\copy document FROM '$file'});
	$in .= "CALL try_documents();\nSELECT 'used ' || string_agg(name || '=' || used, ';') FROM (SELECT coalesce(name, '?') AS name, sum(used_bytes) AS used"
	  . " FROM pg_backend_memory_contexts WHERE name !~ '^(CachedPlan|SPI Plan|PL/pgSQL function)' GROUP BY 1) x;\n";
	$session->pump until $out =~ s/\A(.*)used ([^\n]*)\n//s;
	my ($words, $contexts) = ($1, $2);
	push @used, { map { split /=/ } split /;/, $contexts };
	$rounds++;
	is($words, '', 'nothing was said beside') or last if $words ne '';
	$node->sql(q{INSERT INTO kept SELECT record_id FROM answer WHERE door = 'submit' AND record_id IS NOT NULL UNION SELECT record_id FROM spine.inbox_line WHERE record_id IS NOT NULL ON CONFLICT DO NOTHING});
	for my $what (keys %wrong)
	{
		my $found = $node->sql($wrong{$what});
		$said{$what} //= "round $rounds: " . substr $found, 0, 1000 if $found ne '';
	}
	my ($tried) = $node->sql(q{SELECT concat_ws(' ', (SELECT count(*) FROM failure), (SELECT count(*) FROM answer WHERE door = 'submit' AND outcome <> 'rejected'), (SELECT count(*) FROM answer WHERE door = 'submit' AND outcome = 'rejected'))});
	$said{tried} = $tried;
	$said{states} = $node->sql(q{SELECT string_agg(concat_ws(' ', door, state, n, words), '; ') FROM (SELECT door, state, count(*) AS n, min(left(words, 60)) AS words FROM failure GROUP BY 1, 2) x});
}
$in .= "\\q\n";
$session->finish;
is($said{$_}, undef, "never: $_") for sort keys %wrong;
diag("$rounds rounds of " . ROUND . " documents; the last one: failures, accepted, rejected: $said{tried}; $said{states}");
like($said{tried}, qr/^[1-9]\d* [1-9]\d* [1-9]\d*$/, 'some fail, some are accepted, some rejected');
# beside the plans, of which there are as many as rules: those of groups that come seldom are made late
my $half = int(@used / 2);
my %more = map { $_ => $used[-1]{$_} - ($used[$half]{$_} // 0) } keys %{ $used[-1] };
my $stays = 0;
$stays += $_ for values %more;
cmp_ok($stays / (ROUND * ($#used - $half)), '<', LEAK, 'no memory stays');
diag('more by the end: ', join ', ', map { "$_ $more{$_}" } grep { $more{$_} } sort keys %more);
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|was terminated/, 'no backend died');

done_testing();
