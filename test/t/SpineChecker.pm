# SpineChecker.pm: clients that write down outside the database what they were told, and what must hold of it afterwards.
#
#   my $road = SpineChecker->new(from => $ryj, to => $rqm);     RYJ's records, of which RQM has its part (SpineExchange's data set)
#   $road->begin(clients => 2);                                 clients that write, each a process with a file
#   ...                                                         something goes wrong
#   $road->end;
#   is(join("\n", $road->settled), '', '...');                  I12: within a minute, whatever is not as it should be
#   is(join("\n", $road->faults), '', '...');                   all of them, each with the invariant that it breaks
#
# The numbers are those of the project's list of invariants:
#   I1  what a client was told is stored is at its owner, and at the neighbour when it may have it
#   I2  nothing of what it may not have is in any table there, nor of what it may no longer have
#   I4  every opening that was granted stands in the access log
#   I5  the access log's chain is whole
#   I7  rows of an owner came through its own node's role, and changed no others
#   I8  revisions only grow, and what went does not come back as it was
#   I9  each revision was applied once
#
# What may be where is computed from the clients' files alone: nothing here asks the extension. Each operation of a client sets a record to a state of
# its own, with a mark that occurs nowhere else; so of each record the file tells the last state that was acknowledged, and those that were asked for after it.
package SpineChecker;

use strict;
use warnings;

use POSIX ();
use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

my $number = 0;

# new(from, to, owner, reader): between two nodes of SpineExchange.
sub new
{
	my ($class, %with) = @_;
	my $self = bless { owner => 'RYJ', reader => 'RQM', clients => [], ends => 0, lost => 0, %with }, $class;
	$self->{folder} = PostgreSQL::Test::Utils::tempdir('checker' . ++$number);
	chmod 0700, $self->{folder};
	# everything that happens to a row there, by whom
	$self->{to}->sql(<<'NOTES');
CREATE TABLE IF NOT EXISTS public.applied (n bigint GENERATED ALWAYS AS IDENTITY, action text, record_id uuid, owner text, revision bigint, before bigint, by name);
CREATE OR REPLACE FUNCTION public.note_applied() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO public.applied (action, record_id, owner, before, by) VALUES (TG_OP, OLD.record_id, OLD.owner, OLD.revision, session_user);
	ELSE
		INSERT INTO public.applied (action, record_id, owner, revision, before, by)
			VALUES (TG_OP, NEW.record_id, NEW.owner, NEW.revision, CASE WHEN TG_OP = 'UPDATE' THEN OLD.revision END, session_user);
	END IF;
	RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER applied AFTER INSERT OR UPDATE OR DELETE ON bump.visit FOR EACH ROW EXECUTE FUNCTION public.note_applied();
NOTES
	return $self;
}

# readers(NODE): a clinician there, with a record of her own organisation to open
sub reader
{
	my ($self, $node, $organisation) = @_;
	$node->sql(<<"END");
CREATE ROLE checker_clinician LOGIN;
SELECT spine.add_member('checker_clinician', '$organisation', 'clinician');
INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
	VALUES (spine.uuid_v7(), '$organisation', 'own', 'own', spine.patient_id('9990000018'), '1.0', now(), 1, '{}', 'own');
END
	push @{ $self->{read} }, $node;
	return;
}

# ------------------------------------------------------------------ clients

sub id
{
	my @digits = map { join '', map { sprintf '%x', int rand 16 } 1 .. $_ } 8, 4, 3, 3, 12;
	return sprintf '%s-%s-7%s-8%s-%s', @digits;
}

sub mark { return 'm' . join '', map { sprintf '%x', int rand 16 } 1 .. 20 }

# begin(clients => N, seed => N): each client has records that no other touches.
sub begin
{
	my ($self, %with) = @_;
	unlink "$self->{folder}/stop";
	my $seed = $with{seed} // 1;
	for my $n (1 .. $with{clients} // 2)
	{
		$self->fork_client(sub { $self->write_as_client($_[0], 1000 * ($seed + $self->{ends}) + $n, $with{pause} // 0.05) });
	}
	for my $node (@{ $self->{read} // [] })
	{
		$self->fork_client(sub { $self->open_as_client($_[0], $node) });
	}
	return;
}

sub fork_client
{
	my ($self, $does) = @_;
	my $file = sprintf '%s/%03d', $self->{folder}, ++$self->{files};
	my $child = fork // die "fork: $!\n";
	if (!$child)
	{
		$SIG{PIPE} = 'IGNORE';
		eval { $does->($file); 1 } or print STDERR "client: $@";
		POSIX::_exit(0);
	}
	push @{ $self->{clients} }, $child;
	return;
}

# end(): the clients finish what they are at
sub end
{
	my ($self) = @_;
	open my $stop, '>', "$self->{folder}/stop" or die "$self->{folder}/stop: $!\n";
	close $stop;
	waitpid $_, 0 for @{ $self->{clients} };
	$self->{clients} = [];
	$self->{ends}++;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	kill KILL => @{ $self->{clients} } if @{ $self->{clients} // [] };
	return;
}

sub run_script
{
	my ($node, $role, $script, $file) = @_;
	my $conninfo = $node->conninfo($role);
	open my $psql, '|-', "psql -XAtq -v ON_ERROR_STOP=1 -d '$conninfo connect_timeout=10' >> '$file' 2>> '$file.errors'" or return;
	print $psql $script;
	close $psql;
	return;
}

# What is asked for stands in FILE.said before it is sent, what was answered in FILE.told.
sub write_as_client
{
	my ($self, $file, $seed, $pause) = @_;
	srand $seed;
	my ($n, @records) = (0);
	open my $said, '>>', "$file.said" or die "$file.said: $!\n";
	$said->autoflush(1);
	while (!-e "$self->{folder}/stop")
	{
		my $script = "SET synchronous_commit = on;\n";
		for (1 .. 8)
		{
			# one operation, or some in a transaction, which may be abandoned
			my $size = rand() < 0.7 ? 1 : 1 + int rand 6;
			my $fate = $size > 1 && rand() < 0.25 ? 'ROLLBACK' : 'COMMIT';
			my (@numbers, $statements, %touched);
			for (1 .. $size)
			{
				my $record;
				if (!@records || ($fate eq 'ROLLBACK') || rand() < 0.5)
				{
					$record = { id => id(), revision => 0, local => mark() };
					push @records, $record if $fate eq 'COMMIT';
				}
				else
				{
					$record = $records[ rand @records ];
					next if $touched{ $record->{id} }++;
				}
				my $draw = rand;
				my $what = $draw < 0.7 ? 'shared' : $draw < 0.9 || !$record->{revision} ? 'kept' : 'deleted';
				my ($mark, $weight) = (mark(), int rand 200);
				$record->{revision}++;
				push @numbers, ++$n;
				print $said join(' ', $n, $fate eq 'COMMIT' ? $what : 'abandoned', @$record{qw(id local revision)}, $mark, $weight), "\n";
				my $audience = $what eq 'shared' ? "$self->{reader}:care,$self->{reader}:care/aci" : rand() < 0.5 ? '' : 'Y56:care';
				$statements .= $what eq 'deleted' ? "DELETE FROM bump.visit WHERE record_id = '$record->{id}';\n" : <<"END";
INSERT INTO bump.visit AS v (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id, weight)
	VALUES ('$record->{id}', '$self->{owner}', 'checker', '$record->{local}', gen_random_uuid(), '1.0', now(), $record->{revision}, '{$audience}', '$mark', $weight)
	ON CONFLICT (record_id) DO UPDATE SET revision = EXCLUDED.revision, audience = EXCLUDED.audience, visit_id = EXCLUDED.visit_id, weight = EXCLUDED.weight;
END
				@records = grep { $_ != $record } @records if $what eq 'deleted';
			}
			next if !@numbers;
			shift @records if @records > 60;
			$statements = "BEGIN;\n$statements$fate;\n" if $size > 1;
			$script .= "\\echo try @numbers\n$statements\\echo done @numbers\n";
		}
		run_script($self->{from}, 'postgres', $script, "$file.told");
		sleep $pause;
	}
	return;
}

# A reader writes down what was opened for her.
sub open_as_client
{
	my ($self, $file, $node) = @_;
	my $n = 0;
	my $name = $file =~ s/.*\///r;
	while (!-e "$self->{folder}/stop")
	{
		my $script = join '', map { ++$n; "SELECT 'granted $name-$n' FROM spine.open_record('9990000018', 'care', '$name-$n') LIMIT 1;\n" } 1 .. 10;
		run_script($node, 'checker_clinician', $script, "$file.opened." . $node->name);
		sleep 0.2;
	}
	return;
}

# ------------------------------------------------------------------ what they were told

sub lines
{
	my ($file) = @_;
	open my $in, '<', $file or return;
	my @lines = <$in>;
	# the last may not be whole
	pop @lines if @lines && $lines[-1] !~ /\n\z/;
	chomp @lines;
	return @lines;
}

# The states of each record in order: {id => [{what, revision, mark, weight, local, tried, done}, ...]}
sub states
{
	my ($self) = @_;
	my %states;
	for my $file (glob "$self->{folder}/*.said")
	{
		my (%tried, %done);
		for (lines($file =~ s/said$/told/r))
		{
			my ($word, @numbers) = split ' ';
			next if !defined $word;
			$tried{$_} = 1 for $word eq 'try' ? @numbers : ();
			$done{$_} = 1 for $word eq 'done' ? @numbers : ();
		}
		for (lines($file))
		{
			my %state;
			(my $n, @state{qw(what id local revision mark weight)}) = split ' ';
			@state{qw(tried done)} = ($tried{$n}, $done{$n});
			push @{ $states{ $state{id} } }, \%state;
		}
	}
	return \%states;
}

# How many operations were acknowledged so far.
sub acknowledged
{
	my ($self) = @_;
	return scalar map { (split ' ')[ 1 .. (() = /\d+/g) ] } grep { /^done/ } map { lines($_) } glob "$self->{folder}/*.told";
}

sub opened
{
	my ($self) = @_;
	return scalar map { lines($_) } glob "$self->{folder}/*.opened.*";
}

# Waits until so many more operations were acknowledged; how many were.
sub wait_acknowledged
{
	my ($self, $more, $seconds) = @_;
	my $start = $self->acknowledged;
	my $end = time + ($seconds // 60);
	sleep 0.1 while $self->acknowledged < $start + $more && time < $end;
	return $self->acknowledged - $start;
}

sub rows
{
	my ($node, $owner) = @_;
	my %rows;
	for (split /\n/, $node->sql("SELECT record_id, revision, visit_id, weight FROM bump.visit WHERE owner = '$owner' AND source_system = 'checker'"))
	{
		my ($id, @rest) = split /\|/;
		$rows{$id} = join ' ', @rest;
	}
	return \%rows;
}

sub text_of { my ($state) = @_; return "@$state{qw(revision mark weight)}" }

# ------------------------------------------------------------------ what must hold

# I1 and, in the table itself, I2: the sets.
sub faults_of_sets
{
	my ($self, $states, $may_have) = @_;
	my ($here, $there) = map { rows($_, $self->{owner}) } @$self{qw(from to)};
	my @faults;
	for my $id (keys %$states)
	{
		my @of_record = grep { $_->{what} ne 'abandoned' } @{ $states->{$id} };
		my ($last) = grep { $of_record[$_]{done} } reverse 0 .. $#of_record;
		# after a lost tail any state may be the last
		my $first = $self->{lost} ? 0 : $last // 0;
		my @possible = grep { $_->{tried} } @of_record[ $first .. $#of_record ];
		my ($now) = grep { $_->{what} ne 'deleted' && text_of($_) eq ($here->{$id} // '') } @possible;
		if (!defined $here->{$id})
		{
			push @faults, "I1: record $id is not at its owner"
			  if defined $last && !$self->{lost} && !grep { $_->{what} eq 'deleted' } @possible;
		}
		elsif (!$now)
		{
			push @faults, "I1: record $id is at its owner in a state that nobody was told of";
		}
		if ($now && $now->{what} eq 'shared')
		{
			push @faults, "I1: record $id is not at the neighbour" and next if !defined $there->{$id};
			push @faults, "I1: record $id is at the neighbour in another state" if $there->{$id} ne $here->{$id};
			$may_have->{ $now->{mark} } = $may_have->{ $now->{local} } = 1;
		}
		elsif (defined $there->{$id})
		{
			push @faults, "I2: record $id is at the neighbour, which may not have it";
		}
	}
	push @faults, map { "I7: record $_ is at the neighbour, and not at its owner" } grep { !$here->{$_} && !$states->{$_} } keys %$there;
	return @faults;
}

# I2: every table there, whatever it is for
sub faults_of_traces
{
	my ($self, $states, $may_have) = @_;
	my (%marks, %never);
	for my $id (keys %$states)
	{
		for (@{ $states->{$id} })
		{
			$marks{ $_->{mark} } = 1 if !$may_have->{ $_->{mark} };
			$marks{ $_->{local} } = 1 if !$may_have->{ $_->{local} };
		}
		$never{$id} = 1 if !grep { $_->{what} eq 'shared' && $_->{tried} } @{ $states->{$id} };
	}
	my %found;
	open my $dump, '-|', 'pg_dump', '--data-only', '--exclude-table=public.applied', '-d', $self->{to}->connstr('spine') or die "pg_dump: $!\n";
	my $table = '';
	while (my $line = <$dump>)
	{
		$table = $1 if $line =~ /^COPY (\S+)/;
		$found{"I2: a mark of what the neighbour may not have is in $table"}++ for grep { $marks{$_} } $line =~ /\b(m[0-9a-f]{20})\b/g;
		$found{"I2: the id of a record that it never had is in $table"}++
		  for grep { $never{$_} } $line =~ /\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b/g;
	}
	close $dump or die "pg_dump failed\n";
	return sort keys %found;
}

# I7, I8, I9: the history of the rows there
sub faults_of_history
{
	my ($self, $states) = @_;
	my $role = 'node_' . lc $self->{owner};
	my (@faults, %highest, %gone, %seen);
	for (split /\n/, $self->{to}->sql("SELECT action, record_id, owner, revision, before, by FROM public.applied ORDER BY n"))
	{
		my ($action, $id, $owner, $revision, $before, $by) = split /\|/, $_, -1;
		if ($owner ne $self->{owner})
		{
			push @faults, "I7: a record of $owner was changed by $role" if $by eq $role;
			next;
		}
		push @faults, "I7: record $id was changed by $by" if $by ne $role;
		next if $self->{lost};
		if ($action eq 'DELETE')
		{
			$gone{$id} = 1;
			next;
		}
		push @faults, "I9: revision $revision of record $id was applied more than once" if $seen{"$id $revision"}++;
		push @faults, "I8: record $id went back to revision $revision" if $revision < ($highest{$id} // 0);
		push @faults, "I8: record $id came back as it was" if $gone{$id} && $revision <= $highest{$id};
		$highest{$id} = $revision if $revision > ($highest{$id} // 0);
		delete $gone{$id};
	}
	my $there = $self->{to}->sql("SELECT string_agg(concat_ws(' ', record_id, revision), ',') FROM bump.visit WHERE owner = '$self->{owner}' AND source_system = 'checker'");
	for (split /,/, $there)
	{
		my ($id, $revision) = split ' ';
		push @faults, "I8: record $id stands at revision $revision, which is not its newest" if !$self->{lost} && $revision < ($highest{$id} // 0);
	}
	return @faults;
}

# I4, I5
sub faults_of_log
{
	my ($self) = @_;
	my @faults;
	for my $node (@{ $self->{read} // [] })
	{
		my %written = map { $_ => 1 } split /\n/, $node->sql('SELECT DISTINCT reason FROM spine.access_log');
		for my $file (glob "$self->{folder}/*.opened." . $node->name)
		{
			push @faults, map { "I4: opening $_ was granted and is not in the log" } grep { !$written{$_} } map { /^granted (\S+)$/ } lines($file);
		}
	}
	for my $node (@$self{qw(from to)})
	{
		push @faults, 'I5: the chain at ' . $node->name . ' is broken'
		  if $node->sql('SELECT coalesce((SELECT fault FROM spine.verify_access_log()), $$whole$$)') ne 'whole';
	}
	return @faults;
}

# Everything that is not as it must be.
sub faults
{
	my ($self) = @_;
	my ($states, %may_have) = $self->states;
	my @faults = $self->faults_of_sets($states, \%may_have);
	return (@faults, $self->faults_of_traces($states, \%may_have), $self->faults_of_history($states), $self->faults_of_log);
}

# I12: waits until the sets are equal, a minute at most. What is not then.
sub settled
{
	my ($self, $seconds) = @_;
	my $end = time + ($seconds // 60);
	my ($states, @faults) = $self->states;
	while (1)
	{
		@faults = eval { $self->faults_of_sets($states, {}) };
		# a server may still be starting
		@faults = ("I12: $@") if $@ ne '';
		last if !@faults || time > $end;
		sleep 0.2;
	}
	return map { "I12: $_" } @faults[ 0 .. ($#faults < 5 ? $#faults : 5) ];
}

1;
