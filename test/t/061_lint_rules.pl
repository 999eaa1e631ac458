# Does each rule of the catalogue lint fire? Everything that it forbids is made in a transaction, in which the lint
# then runs: each of its tests fails and names what was made, and none fails without.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0', conf => "spine.databases = ''");
$node->sql('CREATE EXTENSION pgtap');

# what is made, and what the test that finds it is called; by the name that it then has to say
my @wrong = (
	[ 'CREATE FUNCTION spine.lint_definer() RETURNS integer LANGUAGE sql SECURITY DEFINER AS $$ SELECT 1 $$', 'lint_definer',
		qr/pins search_path/, qr/runs as spine_owner/, qr/none of them is PUBLIC/, qr/every function is the extension/, qr/every function has one/ ],
	[ 'CREATE FUNCTION spine.lint_volatile() RETURNS integer LANGUAGE sql VOLATILE AS $$ SELECT 1 $$', 'lint_volatile', qr/PUBLIC may execute/ ],
	[ 'CREATE LANGUAGE lint_language HANDLER plpgsql_call_handler; CREATE FUNCTION spine.lint_foreign() RETURNS integer LANGUAGE lint_language AS $$ BEGIN RETURN 1; END $$',
		'lint_foreign', qr/no language but/ ],
	[ 'CREATE FUNCTION spine.lint_leaky() RETURNS integer LANGUAGE sql LEAKPROOF IMMUTABLE AS $$ SELECT 1 $$', 'lint_leaky', qr/leakproof are/ ],
	[ 'CREATE TABLE spine.lint_open (a integer); GRANT INSERT ON spine.lint_open TO spine_member', 'lint_open',
		qr/row-level security is enabled/, qr/nobody writes$/, qr/tables and sequences belong/, qr/every table and view has a comment/, qr/grants are exactly/ ],
	[ 'ALTER TABLE spine.store ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', 'spine.store', qr/the list names none/ ],
	[ 'GRANT SELECT ON spine.submission_default TO spine_member', 'submission_default', qr/partition directly/ ],
	[ 'GRANT SELECT ON maternity.booking TO spine_supplier', 'maternity.booking', qr/nobody but spine_reader/ ],
	[ 'CREATE POLICY lint ON maternity.mother USING (true)', 'maternity.mother', qr/the one policy/ ],
	[ 'CREATE VIEW maternity_2_0.lint_view AS SELECT 1 AS a', 'lint_view', qr/views of a data set belong/ ],
	[ 'CREATE VIEW spine.lint_past AS SELECT owner FROM maternity.booking', 'lint_past', qr/bypasses policies/ ],
	[ 'CREATE FOREIGN DATA WRAPPER lint; CREATE SERVER lint FOREIGN DATA WRAPPER lint; CREATE FOREIGN TABLE spine.lint_far (a integer) SERVER lint', 'lint_far', qr/no foreign table/ ],
	[ 'CREATE MATERIALIZED VIEW spine.lint_kept AS SELECT 1 AS a; GRANT SELECT ON spine.lint_kept TO spine_member', 'lint_kept', qr/materialized view is read/ ],
	[ 'CREATE VIEW spine.lint_unguarded AS SELECT a FROM spine.lint_kept', 'lint_unguarded', qr/view over one asks/ ],
	[ 'CREATE TABLE spine.lint_excluding (r int4range, EXCLUDE USING gist (r WITH &&))', 'lint_excluding', qr/no exclusion constraint/ ],
	[ 'CREATE TABLE spine.lint_child (a uuid REFERENCES maternity.booking (record_id))', 'lint_child', qr/no foreign key/ ],
	[ 'CREATE SEQUENCE spine.lint_sequence; GRANT SELECT ON spine.lint_sequence TO spine_member', 'lint_sequence', qr/no sequence/ ],
	[ 'CREATE FUNCTION spine.lint_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$', 'lint_trigger', qr/no trigger function/ ],
	[ 'GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC', 'lo_create', qr/large objects/ ],
	[ 'GRANT CREATE ON SCHEMA public TO PUBLIC', undef, qr/CREATE in schema public/ ],
	[ 'CREATE TYPE spine.lint_type AS ENUM (\'a\')', 'lint_type', qr/every type/ ]);

my $lint = slurp_file("$ENV{SPINE_SOURCE}/test/sql/lint_catalogue.sql");
ok($lint =~ s/^\\ir setup\.psql\n//m, 'the lint begins with the store that is here already');

# run(STATEMENTS): the tests of the lint after them; rows of [ok or not, name, what it said]
sub run
{
	my ($out, $err);
	my $code = $node->psql('spine', join(";\n", 'SET client_min_messages = warning', 'BEGIN', @_) . ";\n$lint\nROLLBACK;\n", stdout => \$out, stderr => \$err, on_error_stop => 1);
	die "the lint cannot run: $err\n" if $code != 0;
	my @tests;
	for my $line (split /\n/, $out)
	{
		if ($line =~ /^(not )?ok \d+ - (.*)/) { push @tests, [ !$1, $2, '' ] }
		elsif (@tests) { $tests[-1][2] .= "$line\n" }
	}
	return @tests;
}

my @sound = run();
cmp_ok(scalar(@sound), '>', 25, 'the lint has tests');
is(join("\n", map { $_->[1] } grep { !$_->[0] } @sound), '', 'none of which fails');

my @faulty = run(map { $_->[0] } @wrong);
is(scalar(@faulty), scalar(@sound), 'with everything wrong it has the same tests');
for (@wrong)
{
	my ($statement, $name, @patterns) = @$_;
	for my $pattern (@patterns)
	{
		my @found = grep { $_->[1] =~ $pattern } @faulty;
		ok(@found == 1 && !$found[0][0] && (!defined $name || $found[0][2] =~ /\Q$name\E/), ($name // 'PUBLIC') . " is found: $pattern")
		  or diag(join "\n", map { "$_->[1]\n$_->[2]" } @found);
	}
}
# a rule for which nothing above is wrong is a rule that nobody has tried
is(join("\n", grep { !/^(?:functions are looked at|and tables and views)$/ } map { $_->[1] } grep { $_->[0] } @faulty), '', 'every rule has been tried');

done_testing();
