# Four nodes, whatever happens to them, and then quiet: every node holds exactly what it should, and nothing that anybody was told is lost (fault F26; invariants I1, I2,
# I4, I5, I12). Suppliers submit, correct and delete, some of it faulty; clinicians refer, transfer, claim, end that and open records; women dissent and think
# again; agreements are published and ended; meanwhile servers and processes are killed, lines cut, held and slow, nodes restored from backups.
#
#   SPINE_FAULT_SECONDS  how long (1200)       SPINE_FAULT_SEED  of which numbers (of the clock)
#
# What should be where is computed here, from what each organisation itself has said: its records, relationships, dissents and agreement events at its own node.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use POSIX ();
use SpineChecker;
use SpineExchange;
use SpineNode;
use SpineProxy;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{SPINE_FAULT_SECONDS} || 1200;
my $seed = $ENV{SPINE_FAULT_SEED} || time % 100000;
srand $seed;
note("seed $seed, $seconds s");
my $started = time;
sub say_what { note(sprintf '%6.1f %s', time - $started, "@_"); return }

# ------------------------------------------------------------------ four nodes, each reached through a proxy of its own

my @codes = qw(RYJ RQM RAS R1K);
my $note_item = '{"name": "note", "title": "Note", "type": "text", "max_length": 100, "status": "O", "class": "clinical"}';
my %node = map { $_ => SpineNode->new(lc $_, organisation => $_, fsync => 1,
		conf => "listen_addresses = '127.0.0.1'\nspine.courier_interval = 500ms\nspine.courier_batch = 30\nspine.courier_timeout = '30s'\nshared_buffers = 16MB") } @codes;
my %proxy = map { $_ => SpineProxy->new(port => $node{$_}->port, seed => $seed) } @codes;
for my $code (@codes)
{
	my $l = lc $code;
	$node{$code}->sql("SELECT spine.publish_dataset('" . definition('1.0', $note_item) . "'::jsonb)");
	$node{$code}->sql("SELECT spine.add_organisation('$_', '$_', 'trust')") for grep { $_ ne $code } @codes;
	$node{$code}->sql("CREATE ROLE ${l}_$_ LOGIN") for qw(supplier clinician governor portal);
	$node{$code}->sql("SELECT spine.add_system('$code', 'System', 'maternity', '${l}_supplier');
		SELECT spine.add_member('${l}_' || d, '$code', d) FROM unnest('{clinician,governor,portal}'::text[]) d");
	$node{$code}->sql("CREATE ROLE node_" . lc($_) . ' LOGIN') for grep { $_ ne $code } @codes;
}
for my $here (@codes)
{
	for my $there (grep { $_ ne $here } @codes)
	{
		$node{$here}->sql(sprintf "SELECT spine.connect_node('%s', 'host=127.0.0.1 port=%d dbname=spine user=node_%s', '{%s}', 'node_%s')",
			$there, $proxy{$there}->port, lc $here, $there, lc $there);
	}
}
ok(defined $node{$_}->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links", 't', 120), "$_ is connected") for @codes;

sub nhs_number
{
	my @digits = split //, sprintf '999%06d', $_[0];
	while (1)
	{
		my $sum = 0;
		$sum += (10 - $_) * $digits[$_] for 0 .. 8;
		my $check = (11 - $sum % 11) % 11;
		return join '', @digits, $check if $check != 10;
		# without a check digit: the next that has one
		@digits = split //, sprintf '999%06d', 500000 + $_[0]++;
	}
}
my @women = map { nhs_number(my $n = $_ * 7 + 1) } 1 .. 40;

# ------------------------------------------------------------------ clients, one of each kind at each node

my $folder = PostgreSQL::Test::Utils::tempdir('random');
chmod 0700, $folder;
my @clients;

sub client
{
	my ($code, $kind, $step) = @_;
	my $child = fork // die "fork: $!\n";
	if (!$child)
	{
		$SIG{PIPE} = 'IGNORE';
		srand $seed + 1000 * @clients + 7;
		my $file = "$folder/$code.$kind";
		open my $said, '>>', "$file.said" or POSIX::_exit(1);
		$said->autoflush(1);
		my ($n, %mine) = (0);
		while (!-e "$folder/stop")
		{
			my ($role, $script) = ('', '');
			for (1 .. 6)
			{
				my ($line, $statement) = $step->($code, \%mine, ++$n, "$file.told");
				next if !defined $statement;
				print $said "$n $line\n";
				$script .= "\\echo try $n\n$statement;\n\\echo done $n\n";
			}
			SpineChecker::run_script($node{$code}, lc($code) . "_$kind", $script, "$file.told");
			sleep 0.5 + rand;
		}
		POSIX::_exit(0);
	}
	push @clients, $child;
	return;
}

sub document
{
	my (%data) = @_;
	return sprintf q(SELECT outcome FROM spine.submit('{"dataset": "bump", "version": "1.0", "system": "System", "records": [{"group": "visit", "nhs_number": "%s",
		"local_patient_id": "W%s", "data": {"visit_id": "%s", "weight": %s, "note": "%s"}}]}'::json)), @data{qw(nhs nhs visit weight note)};
}

# what a supplier says: what, visit, woman, weight, mark
sub supplier_step
{
	my ($code, $mine, $n) = @_;
	my $visits = $mine->{visits} //= [];
	my $draw = rand;
	my ($what, $visit) = ('new');
	if ($draw < 0.45 || !@$visits)
	{
		$visit = { visit => "$code-" . ++$mine->{last}, nhs => $women[ rand @women ] };
		push @$visits, $visit;
	}
	else
	{
		my $i = int rand @$visits;
		$visit = $visits->[$i];
		$what = $draw < 0.8 ? 'corrected' : $draw < 0.9 ? 'deleted' : 'faulty';
		splice @$visits, $i, 1 if $what eq 'deleted';
		# nobody has heard of it
		$visit = { %$visit, visit => "faulty-$code-$n" } if $what eq 'faulty';
	}
	my ($weight, $mark) = (int rand 200, SpineChecker::mark());
	return ("$what $visit->{visit} $visit->{nhs} $weight $mark",
		$what eq 'deleted' ? "DELETE FROM bump_1_0.visit WHERE visit_id = '$visit->{visit}'"
		: document(%$visit, weight => $what eq 'faulty' ? '"heavy"' : $weight, note => $mark));
}

sub clinician_step
{
	my ($code, $mine, $n, $told) = @_;
	my $woman = $women[ rand @women ];
	my $draw = rand;
	if ($draw < 0.4)
	{
		return ("opens $woman $code-$n", "SELECT 'granted $code-$n' FROM spine.open_record('$woman', 'care', '$code-$n') LIMIT 1");
	}
	if ($draw < 0.75)
	{
		my @others = grep { $_ ne $code } @codes;
		my $to = $others[ rand @others ];
		my $call = (("spine.refer('$woman', '$to', 'x')", "spine.transfer('$woman', '$to', 'x')", "spine.claim('$woman', 'x')"))[ rand 3 ];
		# who has no records of her sends her nowhere
		return ('begins', "\\set ON_ERROR_STOP off\nSELECT 'relationship ' || $call;\n\\set ON_ERROR_STOP on\nSELECT");
	}
	my @known = map { /^relationship (\S+)/ ? $1 : () } SpineChecker::lines($told);
	return if !@known;
	return ('ends', "\\set ON_ERROR_STOP off\nSELECT spine.end_relationship('$known[ rand @known ]');\n\\set ON_ERROR_STOP on\nSELECT");
}

sub portal_step
{
	my ($code, $mine, $n, $told) = @_;
	my @known = map { /^dissent (\S+)/ ? $1 : () } SpineChecker::lines($told);
	if (rand() < 0.5 || !@known)
	{
		my $woman = $women[ rand @women ];
		my $against = rand() < 0.5 ? 'NULL' : "'" . $codes[ rand @codes ] . "'";
		return ('dissents', "SELECT 'dissent ' || spine.record_dissent('$woman', 'care', $against)");
	}
	return ('thinks again', "\\set ON_ERROR_STOP off\nSELECT spine.withdraw_dissent('$known[ rand @known ]');\n\\set ON_ERROR_STOP on\nSELECT");
}


# ------------------------------------------------------------------ agreements

my %agreement = (circle => { version => 0, step => 'none' }, claims => { version => 0, step => 'none' });
my $begun = 0;        # nothing ends before
my $forbidden = 0;    # nothing is said that a restore would make unsaid

sub try_sql
{
	my ($code, $role, $statement) = @_;
	my ($return, $out) = eval { $node{$code}->psql_as($role, "SET lock_timeout = '5s'; SET statement_timeout = '20s'; $statement") };
	return defined $return && $return == 0 ? $out : undef;
}

# one step of one agreement, where it can be taken
sub govern
{
	my ($name) = @_;
	my $it = $agreement{$name};
	return if $forbidden;
	my $by = $codes[ rand @codes ];
	my $said = sub { my ($code, $kind) = @_; return (try_sql($code, 'postgres', "SELECT count(DISTINCT owner) FROM spine.agreement_event
		WHERE name = '$name' AND version = $it->{version} AND kind = '$kind'") // 0) };
	if ($it->{step} eq 'none')
	{
		$it->{version}++;
		my @shuffled = sort { rand() <=> 0.5 } @codes;
		my ($from, $to) = $name eq 'circle' ? (\@codes, \@codes) : ([ @shuffled[ 0 .. 1 ] ], [ @shuffled[ 1 .. 3 ] ]);
		my $list = sub { return join ', ', map { qq("$_") } @_ };
		my $kinds = $name eq 'circle' ? '"referral", "transfer"' : '"claim"';
		my $document = qq({"name": "$name", "version": $it->{version}, "title": "T", "parties": [@{[ $list->(@codes) ]}], "start": "2026-01-01", "end": null, "review": null,
			"clauses": [{"from": [@{[ $list->(@$from) ]}], "to": [@{[ $list->(@$to) ]}], "purpose": "care", "dataset": "bump", "groups": ["visit"], "relationships": [$kinds]}]});
		$it->{step} = 'proposed' if defined try_sql($by, lc($by) . '_governor', "SELECT spine.propose_agreement('$document')");
		$it->{signed} = {};
		say_what("$by proposes $name $it->{version}") if $it->{step} eq 'proposed';
	}
	elsif ($it->{step} eq 'proposed')
	{
		for my $code (grep { !$it->{signed}{$_} } @codes)
		{
			$it->{signed}{$code} = 1 if $said->($code, 'proposed') && defined try_sql($code, lc($code) . '_governor', "SELECT spine.sign_agreement('$name', $it->{version})");
		}
		$it->{step} = 'signed' if keys %{ $it->{signed} } == @codes;
	}
	elsif ($it->{step} eq 'signed')
	{
		if ($said->($by, 'signed') == @codes && defined try_sql($by, lc($by) . '_governor', "SELECT spine.publish_agreement('$name', $it->{version})"))
		{
			say_what("$by publishes $name $it->{version}");
			$it->{step} = 'published';
		}
	}
	elsif ($begun && rand() < 0.15 && $said->($by, 'published'))
	{
		if (defined try_sql($by, lc($by) . '_governor', "SELECT spine.end_agreement('$name', $it->{version}, 'x')"))
		{
			say_what("$by ends $name $it->{version}");
			$it->{step} = 'none';
		}
	}
	return;
}

# ------------------------------------------------------------------ it begins

# both are in force when it begins
for (1 .. 200)
{
	$_->{step} ne 'published' and govern($_->{name}) for map { +{ %{ $agreement{$_} }, name => $_ } } keys %agreement;
	last if !grep { $_->{step} ne 'published' } values %agreement;
}
is(join(' ', map { $agreement{$_}{step} } sort keys %agreement), 'published published', 'two agreements are in force');
$begun = 1;
for my $code (@codes)
{
	client($code, 'supplier', \&supplier_step);
	client($code, 'clinician', \&clinician_step);
	client($code, 'portal', sub { sleep 0.5; return portal_step(@_) });
}
END { kill KILL => @clients if @clients }

# ------------------------------------------------------------------ faults

sub postmaster_pid { my ($node) = @_; return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0] }

sub start_again
{
	my ($node) = @_;
	for (1 .. 300)
	{
		return if $node->start(fail_ok => 1);
		sleep 0.3;
	}
	die $node->name . " does not start again\n";
}

sub kill_postmaster
{
	my ($node) = @_;
	my $pid = postmaster_pid($node);
	kill KILL => $pid;
	$node->{_pid} = undef;
	for (1 .. 300) { last if !kill 0, $pid; sleep 0.05 }
	start_again($node);
	return;
}

sub up
{
	my ($node) = @_;
	for (1 .. 600)
	{
		return if eval { $node->sql('SELECT 1') };
		sleep 0.1;
	}
	die $node->name . " does not come up\n";
}

sub kill_process
{
	my ($node, $which) = @_;
	my $pid = eval { $node->sql("SELECT pid FROM pg_stat_activity WHERE $which ORDER BY random() LIMIT 1") } // '';
	kill KILL => $pid if $pid =~ /^\d+$/;
	return;
}

# what was told between a backup and its restore does not count
my (%backup, %void);
sub told_lines { my ($code) = @_; return map { $_ => scalar SpineChecker::lines($_) // 0 } glob "$folder/$code.*.told" }

sub back_up
{
	my ($code) = @_;
	my $node = $node{$code};
	up($node);
	$node->stop('fast');
	sleep 1;
	my $data = $node->data_dir;
	system_or_bail('cp', '-a', $data, "$data.backup");
	$backup{$code} = { map { my @lines = SpineChecker::lines($_); $_ => scalar @lines } glob "$folder/$code.*.told" };
	start_again($node);
	return;
}

sub restore
{
	my ($code) = @_;
	my $node = $node{$code};
	$node->stop('immediate');
	sleep 1;
	my $data = $node->data_dir;
	system_or_bail('rm', '-rf', $data);
	rename "$data.backup", $data or die "$data: $!\n";
	my $from = delete $backup{$code};
	for my $file (glob "$folder/$code.*.told")
	{
		my @lines = SpineChecker::lines($file);
		push @{ $void{$file} }, [ $from->{$file} // 0, scalar @lines ];
	}
	start_again($node);
	return;
}

my %restored;
my @faults = (
	[ 'postmaster killed', 4, sub { kill_postmaster($node{ $_[0] }) } ],
	[ 'stopped at once', 3, sub { $node{ $_[0] }->stop('immediate'); start_again($node{ $_[0] }) } ],
	[ 'courier killed', 3, sub { kill_process($node{ $_[0] }, "backend_type = 'spine courier'") } ],
	[ 'auditor killed', 2, sub { kill_process($node{ $_[0] }, "backend_type = 'spine auditor'") } ],
	[ 'a receiver killed', 3, sub { kill_process($node{ $_[0] }, "usename LIKE 'node\\_%'") } ],
	[ 'a client ended', 3, sub { eval { $node{ $_[0] }->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE '%\\_supplier' LIMIT 1") } } ],
	[ 'line cut', 4, sub { $proxy{ $_[0] }->does('cut') } ],
	[ 'line dead', 3, sub { $proxy{ $_[0] }->does('dead') } ],
	[ 'line without answers', 3, sub { $proxy{ $_[0] }->does('hold_answers') } ],
	[ 'line slow', 2, sub { $proxy{ $_[0] }->does('delay', 300) } ],
	[ 'line drops and ends', 2, sub { $proxy{ $_[0] }->does('truncate', 0.2) } ],
	[ 'line whole', 12, sub { $proxy{ $_[0] }->does('pass') } ],
	[ 'backup', 1, sub { return if %backup; $forbidden = 1; back_up($_[0]) } ],
	[ 'restore', 6, sub { return 'none' if !%backup; my ($code) = keys %backup; restore($code); $restored{$code} = 1; $forbidden = 0 } ]);
my @lots = map { my $fault = $_; ($fault) x $fault->[1] } @faults;

my $happened = 0;
# what it takes to set it all up does not count
$started = time;
while (time - $started < $seconds)
{
	my $fault = $lots[ rand @lots ];
	my $code = $codes[ rand @codes ];
	say_what("$code: $fault->[0]") if ($fault->[2]->($code) // '') ne 'none';
	$happened++;
	sleep rand 3;
	govern((keys %agreement)[ rand 2 ]);
}

# ------------------------------------------------------------------ quiet

say_what('quiet');
restore(keys %backup) if %backup && rand() < 0.5;
$proxy{$_}->does('pass') for @codes;
open my $stop, '>', "$folder/stop" or die;
close $stop;
waitpid $_, 0 for @clients;
@clients = ();
up($node{$_}) for @codes;
cmp_ok($happened, '>=', $seconds / 60, "$happened things happened");
my $quiet = time;

# What each organisation has said, at its own node.
sub facts
{
	my %facts;
	for my $code (@codes)
	{
		my $node = $node{$code};
		for (split /\n/, $node->sql("SELECT name, version, kind, document -> 'clauses' -> 0 ->> 'from', document -> 'clauses' -> 0 ->> 'to',
				document -> 'clauses' -> 0 ->> 'relationships' FROM spine.agreement_event WHERE owner = '$code'"))
		{
			my ($name, $version, $kind, @clause) = split /\|/, $_, -1;
			my $it = $facts{agreements}{$name}{$version} //= {};
			$it->{$kind}{$code} = 1;
			@$it{qw(from to kinds)} = map { { map { $_ => 1 } /\w+/g } } @clause if $kind eq 'proposed';
		}
		push @{ $facts{relationships} }, [ split /\|/ ] for split /\n/, $node->sql("SELECT patient_id, organisation, kind FROM spine.relationship
			WHERE owner = '$code' AND (until IS NULL OR until > now())");
		push @{ $facts{dissents} }, [ split /\|/, $_, -1 ] for split /\n/, $node->sql("SELECT patient_id, organisation FROM spine.dissent
			WHERE owner = '$code' AND purpose = 'care' AND (until IS NULL OR until > now())");
		for (split /\n/, $node->sql("SELECT record_id, patient_id, concat_ws(' ', revision, visit_id, weight, note) FROM bump.visit WHERE owner = '$code'"))
		{
			my ($id, $patient, $content) = split /\|/;
			$facts{records}{$code}{$id} = [ $patient, $content ];
		}
	}
	return \%facts;
}

# {OWNER}{READER}{record} = content
sub should_be
{
	my ($facts) = @_;
	my (%should, %related, %dissents);
	$related{ $_->[0] }{ $_->[1] }{ $_->[2] } = 1 for @{ $facts->{relationships} };
	$dissents{ $_->[0] }{ $_->[1] || 'everybody' } = 1 for @{ $facts->{dissents} };
	my @in_force;
	for my $versions (values %{ $facts->{agreements} })
	{
		# the newest that was ever published counts, unless it was ended
		my ($newest) = sort { $b <=> $a } grep { $versions->{$_}{published} && keys %{ $versions->{$_}{signed} // {} } == @codes } keys %$versions;
		push @in_force, $versions->{$newest} if defined $newest && !$versions->{$newest}{ended};
	}
	for my $owner (@codes)
	{
		my $records = $facts->{records}{$owner} // {};
		for my $id (keys %$records)
		{
			my ($patient, $content) = @{ $records->{$id} };
			for my $reader (grep { $_ ne $owner } @codes)
			{
				next if $dissents{$patient}{everybody} || $dissents{$patient}{$reader};
				next if !grep { my $clause = $_; $clause->{from}{$owner} && $clause->{to}{$reader}
					&& grep { $related{$patient}{$reader}{$_} } keys %{ $clause->{kinds} } } @in_force;
				$should{$owner}{$reader}{$id} = $content;
			}
		}
	}
	return \%should;
}

sub differences
{
	my ($should) = @_;
	my @differences;
	for my $reader (@codes)
	{
		my %is;
		for (split /\n/, $node{$reader}->sql("SELECT owner, record_id, concat_ws(' ', revision, visit_id, weight, note) FROM bump.visit WHERE owner <> '$reader'"))
		{
			my ($owner, $id, $content) = split /\|/;
			$is{$owner}{$id} = $content;
		}
		for my $owner (grep { $_ ne $reader } @codes)
		{
			my ($wanted, $got) = ($should->{$owner}{$reader} // {}, $is{$owner} // {});
			push @differences, map { "$_ of $owner is not at $reader" } grep { !exists $got->{$_} } keys %$wanted;
			push @differences, map { "$_ of $owner is at $reader, which may not have it" } grep { !exists $wanted->{$_} } keys %$got;
			push @differences, map { "$_ of $owner is another thing at $reader" } grep { exists $wanted->{$_} && $wanted->{$_} ne $got->{$_} } keys %$got;
		}
	}
	return @differences;
}

my ($facts, $should, @differences);
do
{
	sleep 0.5;
	$facts = facts();
	$should = should_be($facts);
	@differences = differences($should);
} while @differences && time - $quiet < 60;
my $shared = 0;
$shared += keys %$_ for map { values %$_ } values %$should;
is(join("\n", @differences[ 0 .. ($#differences < 20 ? $#differences : 20) ]), '', sprintf "every node holds exactly what it should: %d of others, after %.1f s (I1, I2, I12)", $shared, time - $quiet);
if (@differences)
{
	for my $code (@codes)
	{
		diag("$code: " . $node{$code}->sql("SELECT string_agg(l::text, E'\\n') FROM spine.links l"));
		diag($node{$code}->sql("SELECT string_agg(concat_ws(' ', kind, node, detail, times), E'\\n') FROM spine.incident"));
		diag($node{$code}->sql("SELECT string_agg(concat_ws(' ', owner, name, version, kind), E'\\n' ORDER BY name, version, kind) FROM spine.agreement_event"));
	}
	for ((grep { defined } @differences)[ 0 .. 3 ])
	{
		last if !defined;
		my ($id) = split ' ';
		for my $code (@codes)
		{
			my $where = "patient_id = (SELECT patient_id FROM bump.visit WHERE record_id = '$id')";
			diag("$code $id: " . $node{$code}->sql("SELECT string_agg(v::text, E'\\n') FROM bump.visit v WHERE record_id = '$id'"));
			my ($owner_code) = grep { $facts->{records}{$_}{$id} } @codes;
			next if !$owner_code;
			my $patient = $facts->{records}{$owner_code}{$id}[0];
			diag($node{$code}->sql("SELECT string_agg(concat_ws(' ', r.owner, r.organisation, r.kind, r.until, r.audience), E'\\n') FROM spine.relationship r WHERE patient_id = '$patient'"));
			diag($node{$code}->sql("SELECT string_agg(concat_ws(' ', d.owner, d.organisation, d.until, d.audience), E'\\n') FROM spine.dissent d WHERE patient_id = '$patient'"));
		}
	}
}

# What clients were told.
for my $code (@codes)
{
	my (%counts, @lost);
	my %told;
	for my $file (glob "$folder/$code.*.told")
	{
		my @lines = SpineChecker::lines($file);
		for my $i (0 .. $#lines)
		{
			my $void = grep { $i >= $_->[0] && $i < $_->[1] } @{ $void{$file} // [] };
			my ($kind) = $file =~ /\.(\w+)\.told$/;
			if ($lines[$i] =~ /^(try|done) (\d+)$/) { $told{$kind}{$1}{$2} = 1 if $1 eq 'try' || !$void }
			elsif ($lines[$i] =~ /^granted (\S+)$/ && !$void) { $told{granted}{$1} = 1 }
		}
	}
	my (%states, @faulty);
	for (SpineChecker::lines("$folder/$code.supplier.said"))
	{
		my ($n, $what, $visit, undef, $weight, $mark) = split ' ';
		my ($tried, $done) = map { $told{supplier}{$_}{$n} } qw(try done);
		if ($what eq 'faulty') { push @faulty, $visit if $done }
		else { push @{ $states{$visit} }, { what => $what, content => "$visit $weight $mark", tried => $tried, done => $done } }
	}
	my %is = map { (split ' ')[1] => join ' ', (split ' ')[ 1 .. 3 ] } map { $_->[1] } values %{ $facts->{records}{$code} // {} };
	for my $visit (keys %states)
	{
		my @of_it = @{ $states{$visit} };
		my ($last) = grep { $of_it[$_]{done} } reverse 0 .. $#of_it;
		my @possible = grep { $_->{tried} } @of_it[ ($last // 0) .. $#of_it ];
		$counts{ $of_it[$last]{what} }++ if defined $last;
		push @lost, "$visit is not there" if !defined $is{$visit} && defined $last && !grep { $_->{what} eq 'deleted' } @possible;
		push @lost, "$visit is not as it was last said" if defined $is{$visit} && !grep { $_->{what} ne 'deleted' && $_->{content} eq $is{$visit} } @possible;
	}
	is(join("\n", @lost[ 0 .. ($#lost < 10 ? $#lost : 10) ]), '', "$code: of what suppliers were told nothing is lost (I1): " . join ', ', map { "$counts{$_} $_" } sort keys %counts);
	my %rejected = map { $_ => 1 } split /\n/, $node{$code}->sql("SELECT record::jsonb -> 'data' ->> 'visit_id' FROM spine.rejection WHERE owner = '$code'");
	is(scalar(grep { !$rejected{$_} } @faulty), 0, "$code: nor any of " . @faulty . ' rejections');
	my %written = map { $_ => 1 } split /\n/, $node{$code}->sql('SELECT DISTINCT reason FROM spine.access_log');
	is(scalar(grep { !$written{$_} } keys %{ $told{granted} // {} }), 0, "$code: nor any of " . keys(%{ $told{granted} // {} }) . ' openings (I4)');
	my $chain = $node{$code}->sql('SELECT coalesce((SELECT fault FROM spine.verify_access_log()), $$whole$$)');
	# what a restore takes away the neighbours have witnessed: that the end is missing is said
	if ($restored{$code}) { note("$code, restored: $chain") }
	else { is($chain, 'whole', "$code: and the chain of the log is whole (I5)") }
}

# No table of any node has a word of what it may not have (I2).
my (%mark_at, %all_marks);
for my $owner (@codes)
{
	for my $id (keys %{ $facts->{records}{$owner} // {} })
	{
		my $mark = (split ' ', $facts->{records}{$owner}{$id}[1])[3];
		$mark_at{$_}{$mark} = 1 for $owner, grep { $should->{$owner}{$_}{$id} } @codes;
	}
	$all_marks{ (split ' ')[5] } = $owner for SpineChecker::lines("$folder/$owner.supplier.said");
}
for my $code (@codes)
{
	open my $dump, '-|', 'pg_dump', '--data-only', '-d', $node{$code}->connstr('spine') or die;
	my ($table, %found) = ('');
	while (my $line = <$dump>)
	{
		$table = $1 if $line =~ /^COPY (\S+)/;
		$found{$table}++ for grep { ($all_marks{$_} // $code) ne $code && !$mark_at{$code}{$_} } $line =~ /\b(m[0-9a-f]{20})\b/g;
	}
	close $dump;
	is(join(', ', map { "$_ $found{$_}" } sort keys %found), '', "$code: no table has a word of what it may not have (I2)");
}
is($node{$_}->sql('SELECT count(*) FROM spine.receive_fault'), 0, "$_: no row is set aside") for @codes;

done_testing();
