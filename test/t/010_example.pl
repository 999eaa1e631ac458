# The supplier's first program, as the README tells to compile and run it.
use strict;
use warnings;

use IPC::Run qw(run);
use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;

# logging as the README asks; the test library's own would write every statement
my $node = SpineNode->new('ryj', organisation => 'RYJ', dataset => 'maternity 2.0',
	conf => "log_statement = none\nlog_parameter_max_length = 0\nlog_parameter_max_length_on_error = 0");
$node->sql("CREATE ROLE example_cedar LOGIN; SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'example_cedar')");
my $conninfo = 'host=' . $node->host . ' port=' . $node->port . ' dbname=spine user=example_cedar';
my $program = PostgreSQL::Test::Utils::tempdir() . '/submit';

chomp(my $include = `$ENV{PG_CONFIG} --includedir`);
ok(run(['cc', '-Wall', '-Wextra', '-Werror', "-I$include", '-o', $program, "$ENV{SPINE_SOURCE}/examples/submit.c", '-lpq']),
	'the example compiles without a warning');

sub submit
{
	my ($document, $to) = @_;
	my ($out, $err) = ('', '');
	run([$program, $to // $conninfo], '<', \$document, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

my $document = slurp_file("$ENV{SPINE_SOURCE}/examples/booking.json");
my ($status, $out, $err) = submit($document);
is($status, 1, 'its document has a record that is rejected');
my @lines = split /\n/, $out;
like($lines[0], qr/^1\taccepted\t[0-9a-f-]{36}\t$/, 'the booking is accepted');
like($lines[1], qr/^2\taccepted/, 'so is the contact');
like($lines[2], qr/^3\trejected\t\t.*item\.malformed.*contact_date/, 'a date that is none is told');
is($node->sql('SELECT count(*) FROM maternity.booking'), 1, 'and the booking is there');

($status, $out, $err) = submit('{"dataset": "maternity", "version": "2.0", "records": [{"nhs_number": "9990000018"');
is($status, 2, 'a broken document is refused');
like($err, qr/^refused \(SP002\).*\n.*line 1, at byte 83\./, 'with its code and the place');
unlike($err, qr/9990000018/, 'and nothing of its text');
($status) = submit($document, 'host=/nowhere dbname=spine');
is($status, 2, 'a node that is not there');

my $log = slurp_file($node->logfile);
unlike($log, qr/9990000018|999 000 0018/, 'the server\'s log holds no person (attack 53)');

done_testing();
