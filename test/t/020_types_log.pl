# What the server's log may not hold: an NHS number that a type refused (attack 53).
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;

my $node = SpineNode->new('log', conf => "log_statement = none\nlog_min_duration_statement = -1");

# (exit code, what was logged): of a failing statement
sub logged
{
	my ($statement) = @_;
	my $offset = -s $node->logfile;
	my ($code, $out, $err) = $node->psql_as('postgres', $statement);
	return ($code, substr(slurp_file($node->logfile), $offset));
}

$node->sql('CREATE TABLE written (code spine.ods_code, number spine.nhs_number)');
my $binary = join '', map { sprintf '\\%03o', $_ } unpack 'C*', "PGCOPY\n\xff\r\n\0" . pack('N N n N Q> n', 0, 0, 1, 8, 9434765918, 0xffff);

for (
	[ 'a literal', q{SELECT '9434765918'::spine.nhs_number} ],
	[ 'a literal of another form', q{SELECT '943-476 5919'::spine.nhs_number} ],
	[ 'a row', q{INSERT INTO written VALUES ('RYJ', '9434765918')} ],
	[ 'a cast', q{SELECT 9434765918::spine.nhs_number} ],
	[ 'COPY', qq{COPY written FROM PROGRAM 'printf "RYJ\\\\t9434765918\\\\n"'} ],
	[ 'binary COPY', qq{COPY written (number) FROM PROGRAM 'printf "$binary"' WITH (FORMAT binary)} ],
	[ 'plpgsql', q{DO $$ DECLARE t text := '9434765918'; n spine.nhs_number; BEGIN n := t; END $$} ],
	[ 'an ODS code', q{INSERT INTO written VALUES ('9434765919', NULL)} ],
	[ 'an ODS code in COPY', qq{COPY written FROM PROGRAM 'printf "943 476 5919\\\\t\\\\\\\\N\\\\n"'} ],
	[ 'a SNOMED CT code', q{SELECT '943 476 5919'::spine.snomed_code} ],
	[ 'a gestation', q{SELECT '9434765919'::spine.gestation} ])
{
	my ($what, $statement) = @$_;
	my ($code, $log) = logged($statement);
	isnt($code, 0, "$what is refused");
	like($log, qr/ERROR: .*invalid (?:NHS number|ODS code|SNOMED CT code|gestation)/, "$what: the log says so");
	unlike($log, qr/943.?476|4765919/, "$what: and not which number it was");
}

# what is nobody's number is logged as anything else
my ($code, $log) = logged(q{INSERT INTO written VALUES ('R0', NULL)});
like($log, qr/invalid ODS code "R0"/, 'another fault is logged with its value');
like($log, qr/STATEMENT: .*INSERT INTO written/, 'and its statement');

$node->stop;
done_testing();
