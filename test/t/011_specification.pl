# The specification, tried as a new supplier would: from its Markdown text and nothing else, this
# script learns the groups, makes a record of each with values of its own, and sends them; then it runs
# every example of a door as it is printed.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ');

# ---------------------------------------------------------------- reading the document

# cells LINE: the cells of a row of a table; code without its ticks, escapes taken away
sub cells
{
	my ($line) = @_;
	my @cells = ('');
	my $tick;
	$line =~ s/^\|\s?//;
	while ($line =~ /\G(?:(`+)|\\([\\`*|\[\]<&_])|(.))/gs)
	{
		if (defined $1 && (!defined $tick || $tick eq $1)) { $tick = defined $tick ? undef : $1 }
		elsif (defined $1) { $cells[-1] .= $1 }
		elsif (defined $2) { $cells[-1] .= defined $tick && $2 ne '|' ? "\\$2" : $2 }
		elsif ($3 eq '|' && !defined $tick) { push @cells, '' }
		else { $cells[-1] .= $3 }
	}
	pop @cells;
	s/^\s+|\s+$//g for @cells;
	return @cells;
}

# read_document TEXT: {chapters => {NAME => {tables => [...], examples => [...]}}, sections in the same form below their chapter}
sub read_document
{
	my ($text) = @_;
	my (%chapter, $chapter, $section, $table, $fence);
	my $place = { };
	for my $line (split /\n/, $text)
	{
		if (defined $fence)
		{
			if ($line eq '```') { undef $fence }
			else { $place->{examples}[-1]{text} .= "$line\n" }
		}
		elsif ($line =~ /^```(\w+)$/)
		{
			$fence = $1;
			push @{ $place->{examples} }, { language => $1, text => '' };
		}
		elsif ($line =~ /^## (.*)/) { $place = $chapter = $chapter{$1} = { sections => {}, order => [] } }
		elsif ($line =~ /^### (.*)/)
		{
			$place = $chapter->{sections}{$1} = {};
			push @{ $chapter->{order} }, $1;
		}
		elsif ($line =~ /^\|(?:---\|)+$/) { next }
		elsif ($line =~ /^\|/)
		{
			my @cells = cells($line);
			if (!defined $table) { push @{ $place->{tables} }, $table = { head => \@cells, rows => [] } }
			else
			{
				my %row;
				@row{ @{ $table->{head} } } = @cells;
				push @{ $table->{rows} }, \%row;
			}
		}
		undef $table if $line !~ /^\|/;
	}
	return \%chapter;
}

# rows PLACE, COLUMN: the rows of the table of this place that has such a column
sub rows
{
	my ($place, $column) = @_;
	for my $table (@{ $place->{tables} })
	{
		return @{ $table->{rows} } if grep { $_ eq $column } @{ $table->{head} };
	}
	return ();
}

# ---------------------------------------------------------------- inventing records

# an NHS number by the rule that the document tells: weights 10 to 2, 11 less the remainder
sub nhs_number
{
	my ($serial) = @_;
	for (;; $serial++)
	{
		my $digits = sprintf '999%06d', $serial;
		my $sum = 0;
		$sum += substr($digits, $_, 1) * (10 - $_) for 0 .. 8;
		my $check = (11 - $sum % 11) % 11;
		return $digits . $check if $check < 10;
	}
}

# one day for everything, so that no order of dates is wrong
use constant DAY => '2026-03-02';

# invent FORMAT, DOCUMENT, N: a value of the format, in words; N makes texts differ
sub invent
{
	my ($format, $document, $n) = @_;
	my %example = map { $_->{format} => $_->{example} } rows($document->{Values}, 'in JSON');

	if ($format =~ /^code, list (\w+)$/)
	{
		my @codes = map { $_->{code} } rows($document->{'Code lists'}{sections}{"List $1"}, 'code');
		return $codes[0];
	}
	if ($format =~ /^(text|ODS code)\b/)
	{
		my ($least, $most) = $format =~ /, (\d+) to (\d+) characters/ ? ($1, $2)
		  : $format =~ /, (\d+) characters?/ ? ($1, $1) : $format =~ /, at least (\d+)/ ? ($1, $1 + 4) : (1, 10);
		my $text = sprintf 'Q%02d', $n;
		$text .= '7' while length $text < $least;
		return substr $text, 0, $most;
	}
	if ($format =~ /^(?:whole number|number|gestation)\b/)
	{
		return $1 + 0 if $format =~ /(-?[\d.]+) to -?[\d.]+(?: days)?$/ && $format !~ /^gestation/;
		return int(($1 + $2) / 2) if $format =~ /(\d+) to (\d+) days$/;
		return $1 + 0 if $format =~ /at (?:least|most) (-?[\d.]+)$/;
		return 4;
	}
	if ($format =~ /^date, CCYY-MM-DD(.*)/)
	{
		my $bounds = $1;
		return $1 if $bounds =~ /, (\S+) or later/ && $1 gt DAY;
		return $1 if $bounds =~ /, (\S+) or earlier/ && $1 lt DAY;
		return $1 gt DAY ? $1 : $2 lt DAY ? $2 : DAY if $bounds =~ /, (\S+) to (\S+)/;
		return DAY;
	}
	return '11:45:00' if $format =~ /^time\b/;
	return DAY . 'T11:45:00Z' if $format =~ /^date and time\b/;
	return JSON::PP::true if $format eq 'true or false';
	return nhs_number(700 + $n) if $format =~ /^NHS number/;
	# nobody invents a SNOMED CT code: the document's own
	return decode_json("[$example{'SNOMED CT code'}]")->[0] if $format =~ /^SNOMED CT code/;
	die "the document does not tell how to write \"$format\"\n";
}

# invent_records DOCUMENT, ORGANISATION: a record of each group, in the order of sending
sub invent_records
{
	my ($document, $organisation) = @_;
	my %person = (mother => nhs_number(41), baby => nhs_number(52), patient => nhs_number(63));
	my (%known, @records);
	my $n = 0;

	for my $entry (rows($document->{'Order of sending'}, 'after'))
	{
		my ($group) = $entry->{group} =~ /^\[(\w+)\]/ or $entry->{group} =~ /^(\w+)/;
		$group = $1;
		my $told = $document->{Groups}{sections}{$group} or die "the document has no chapter of $group\n";
		my %property = map { $_->{property} => $_->{value} } rows($told, 'property');
		my %identifier = map { $_->{identifier} => $_->{'item that holds it'} } rows($told, 'identifier');
		my @rules = rows($told, 'rule');
		my @key = split /, /, $property{key};
		my ($person) = $property{'is about'} =~ /^the (\w+)/;
		my ($episode) = ($property{episode} // '') =~ /^(\w+):/;
		my ($parent_item, $parent_key, $parent) = ($property{parent} // '') =~ /^(\w+) is (\w+) of a record of (\w+)/;
		my (%data, %given);

		# values that are not free: who, which episode, whose record, and what rules compare with others
		for (['nhs_number', defined $person ? $person{$person} : ''],
			['local_patient_id', substr($person // '', 0, 1) . '77'],
			['local_episode_id', substr($episode // '', 0, 2) . '77'])
		{
			my ($name, $value) = @$_;
			my $item = $identifier{$name};
			next if !$item;
			my ($row) = grep { $_->{item} eq $item } rows($told, 'status');
			my ($least) = $row->{format} =~ /(\d+) to \d+ characters|(\d+) characters/;
			$value .= '7' while $name ne 'nhs_number' && length $value < ($least // 1);
			$given{$item} = $value;
		}
		$given{$parent_item} = $known{$parent}{$parent_key} if defined $parent_item;
		for my $rule (@rules)
		{
			my ($first) = split /, /, $rule->{items};
			$given{$first} = $organisation if $rule->{kind} eq 'own_code';
			$given{$first} //= $organisation if $rule->{kind} eq 'organisation' && $rule->{asks} =~ /does not know breaks/;
			if ($rule->{kind} =~ /^(?:related|exists)$/ && $rule->{asks} =~ /record of (\w+) whose/)
			{
				my $other = $1;
				$given{$2} //= $known{$other}{$1} while $rule->{asks} =~ /\bwhose (\w+) = (\w+)/g;
			}
		}
		# what is mandatory and required, what identifies the record, and what a rule that rejects asks for
		my %wanted = map { $_ => 1 } @key, map { split /, /, $_->{items} } grep { $_->{severity} ne 'warning' } @rules;
		for my $item (rows($told, 'status'))
		{
			$n++;
			next if $item->{status} !~ /^[MR]$/ && !$wanted{ $item->{item} };
			$data{ $item->{item} } = $given{ $item->{item} } // invent($item->{format}, $document, $n % 100);
		}
		$known{$group} = \%data;
		push @records, { group => $group, data => \%data, defined $person ? (nhs_number => $person{$person}) : () };
	}
	return @records;
}

# ---------------------------------------------------------------- sending

# the Markdown text, as the supplier asks for it
sub specification
{
	my ($role, $dataset, $version) = @_;
	return $node->sql_as($role, "SELECT spine.specification_markdown('$dataset', '$version')") . "\n";
}

# try_document: sends what was learnt; every record must come through
sub try_document
{
	my ($role, $dataset, $version) = @_;
	my $document = read_document(specification($role, $dataset, $version));
	my $organisation = $node->sql_as($role, 'SELECT organisation FROM spine.whoami()');
	my @records = invent_records($document, $organisation);
	is(join(' ', sort map { $_->{group} } @records),
		$node->sql("SELECT string_agg(data_group, ' ' ORDER BY data_group COLLATE \"C\") FROM spine.data_groups WHERE dataset = '$dataset' AND version = '$version'"),
		"$dataset $version: the document leads to a record of every group");

	my $json = JSON::PP->new->canonical->encode({ dataset => $dataset, version => $version, records => \@records });
	my @verdicts = map { [ split /\t/, $_, 3 ] } split /\n/, $node->sql_as($role,
		"SELECT concat_ws(E'\\t', n, outcome, findings) FROM spine.submit(\$supplier\$$json\$supplier\$) ORDER BY n");
	is(scalar @verdicts, scalar @records, "$dataset $version: each has its outcome");
	my @rejected = grep { $_->[1] !~ /^accepted/ } @verdicts;
	is(scalar @rejected, 0, "$dataset $version: none is rejected")
	  or diag(join "\n", map { $records[ $_->[0] - 1 ]{group} . ": $_->[2]\n" . JSON::PP->new->canonical->encode($records[ $_->[0] - 1 ]) } @rejected);

	my $again = $node->sql_as($role, "SELECT string_agg(DISTINCT outcome, ' ') FROM spine.submit(\$supplier\$$json\$supplier\$)");
	is($again, 'unchanged', "$dataset $version: sent again it is unchanged");

	# and what the document calls mandatory is
	my $stripped = 0;
	for my $record (@records)
	{
		my ($item) = grep { $_->{status} eq 'M' } rows($document->{Groups}{sections}{ $record->{group} }, 'status');
		$stripped++ if defined $item && delete $record->{data}{ $item->{item} };
	}
	$json = JSON::PP->new->canonical->encode({ dataset => $dataset, version => $version, records => \@records });
	is($node->sql_as($role, "SELECT count(*) FROM spine.validate(\$supplier\$$json\$supplier\$) WHERE outcome = 'rejected'"), $stripped,
		"$dataset $version: without an item that the document calls mandatory each record is rejected");
	return $document;
}

# run_section: the examples of a section, as they stand; their output
sub run_section
{
	my ($role, $document, $section) = @_;
	my @examples = @{ $document->{'The doors'}{sections}{$section}{examples} // [] };
	my @out;
	cmp_ok(scalar @examples, '>', 0, "$section has an example");
	for my $example (@examples)
	{
		my ($code, $out, $err) = $node->psql_as($role, $example->{text});
		is($code, 0, "$section: it runs as it is printed") or diag("$err\nin:\n$example->{text}");
		push @out, $out;
	}
	return @out;
}

sub all_accepted
{
	my ($out, $records, $name) = @_;
	my @outcomes = map { (split /\|/)[1] } split /\n/, $out;
	is(scalar @outcomes, $records, "$name: an outcome for each record");
	my @bad = grep { $_ !~ /^accepted/ } @outcomes;
	is(scalar @bad, 0, "$name: all are accepted") or diag($out);
}

# what comes with spine, and data sets that nobody here has seen; a version after the one that it extends
my @datasets = map { [ split ' ' ] } split /\n/, $node->sql(
	"SELECT concat_ws(' ', s ->> 'name', s ->> 'version') FROM spine.shipped_datasets() s ORDER BY s ->> 'name', string_to_array(s ->> 'version', '.')::integer[]");
$node->sql("SELECT spine.publish_dataset('$_->[0]', '$_->[1]')") for @datasets;
for my $file (sort glob "$ENV{SPINE_SOURCE}/test/datasets/*-*.json")
{
	my $definition = slurp_file($file);
	$node->sql("SELECT spine.publish_dataset(\$definition\$$definition\$definition\$::jsonb)");
	push @datasets, [ $file =~ m,([^/]+)-([0-9.]+)\.json$, ];
}

for (@datasets)
{
	my ($dataset, $version) = @$_;
	(my $prefix = "specification_${dataset}_$version") =~ s/\./_/g;
	my %role = map { $_ => "${prefix}_$_" } qw(supplier view submit inbox sandbox);
	$node->sql("CREATE ROLE $role{$_} LOGIN; SELECT spine.add_system('RYJ', '$prefix $_', 'maternity', '$role{$_}')") for sort keys %role;

	my $document = try_document($role{supplier}, $dataset, $version);
	my $groups = () = rows($document->{'Order of sending'}, 'group');

	run_section($role{view}, $document, 'Typed views');
	my $stored = "SELECT count(*) FROM spine.all_records WHERE dataset = '$dataset' AND source_system = '$prefix view'";
	is($node->sql_as($role{view}, $stored), 2, "$dataset $version: the views have stored a record each");
	run_section($role{view}, $document, 'Corrections and deletions');
	is($node->sql_as($role{view}, $stored), 1, "$dataset $version: and one is deleted");

	my ($answer) = run_section($role{submit}, $document, 'spine.submit(document)');
	all_accepted($answer, $groups, "$dataset $version, spine.submit");
	my ($copied, $told) = run_section($role{inbox}, $document, 'spine.inbox');
	all_accepted($told, $groups, "$dataset $version, spine.inbox");
	$stored =~ s/view'/sandbox'/;
	my ($judged) = run_section($role{sandbox}, $document, 'The sandbox');
	all_accepted($judged, $groups, "$dataset $version, the sandbox");
	is($node->sql_as($role{sandbox}, $stored), 0, "$dataset $version: the sandbox has stored nothing");
}

done_testing();
