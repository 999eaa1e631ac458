# SpineExchange.pm: what the tests of the exchange share.
#
#   my ($ryj, $rqm) = two_nodes();      connected both ways, small data set published
#   put($ryj, 'key', weight => 61);     a record straight into the table, shared with RQM
#   wait_equal($ryj, $rqm);             until RQM holds exactly what it should
#
# Records are written past intake and governance, with their audience: what is tested is the road.
package SpineExchange;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(two_nodes connect_nodes definition put what_ryj_shares what_rqm_has wait_equal receive batch courier_pid);

# A data set of two groups; $more adds items to the first.
sub definition
{
	my ($version, $more) = @_;
	$more = $more ? ", $more" : '';
	return <<"END";
{"name": "bump", "version": "$version", "title": "A small data set", "description": "For tests", "source": "tests", "mandation": "tests",
 "episodes": {"pregnancy": {"title": "Pregnancy", "window_days": 14}},
 "groups": [
  {"name": "visit", "title": "Visit", "description": "A visit", "subject": "mother", "episode": "pregnancy", "key": ["visit_id"],
   "anchor": {"item": "due_on"},
   "items": [{"name": "visit_id", "title": "Visit", "type": "text", "max_length": 100, "status": "M", "class": "administrative"},
             {"name": "due_on", "title": "Due", "type": "date", "status": "O", "class": "clinical"},
             {"name": "weight", "title": "Weight", "type": "numeric", "status": "O", "class": "clinical"}$more]},
  {"name": "baby", "title": "Baby", "description": "A baby", "subject": "baby", "key": ["baby_id"],
   "items": [{"name": "baby_id", "title": "Baby", "type": "text", "status": "M", "class": "administrative"}]}]}
END
}

sub connect_nodes
{
	my ($one, $other, $one_organisation, $other_organisation) = @_;
	my @pairs = ([ $one, $other, $one_organisation, $other_organisation ], [ $other, $one, $other_organisation, $one_organisation ]);
	# each is called by the other as node_OTHER
	$_->[0]->sql("CREATE ROLE node_" . lc($_->[3]) . " LOGIN") for @pairs;
	for (@pairs)
	{
		my ($here, $there, $here_code, $there_code) = @$_;
		$here->sql(sprintf("SELECT spine.connect_node('%s', '%s', '{%s}', 'node_%s')",
			$there_code, $there->conninfo('node_' . lc $here_code), $there_code, lc $there_code));
	}
	return;
}

sub two_nodes
{
	my (%with) = @_;
	my @nodes = map { SpineNode->new(lc $_, organisation => $_, %with) } qw(RYJ RQM);
	$_->sql("SELECT spine.publish_dataset('" . definition('1.0') . "'::jsonb)") for @nodes;
	connect_nodes(@nodes, qw(RYJ RQM));
	for my $node (@nodes)
	{
		$node->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links", 't', 30)
		  // die "the nodes do not connect\n";
	}
	return @nodes;
}

# An SQL statement that writes a record of RYJ: put it into a transaction of your own, or use put().
sub put_sql
{
	my ($key, %with) = @_;
	my %row = (
		record_id => "'" . ($with{record_id} // make_id()) . "'", owner => "'" . ($with{owner} // 'RYJ') . "'",
		source_system => "'test'", local_record_id => "'$key'",
		patient_id => $with{patient_id} ? "'$with{patient_id}'" : 'gen_random_uuid()',
		episode_id => $with{episode_id} ? "'$with{episode_id}'" : 'NULL',
		dataset_version => "'1.0'", event_at => 'now()', received_at => 'now()', revision => $with{revision} // 1,
		audience => "'" . ($with{audience} // '{RQM:care,RQM:care/aci}') . "'",
		visit_id => "'$key'", weight => $with{weight} // 'NULL');
	my @columns = sort keys %row;
	return sprintf('INSERT INTO bump.visit (%s) VALUES (%s)', join(', ', @columns), join(', ', @row{@columns}));
}

sub put
{
	my ($node, $key, %with) = @_;
	$with{record_id} //= make_id();
	$node->sql(put_sql($key, %with));
	return $with{record_id};
}

sub make_id
{
	# of version 7: one of version 8 is a person with an NHS number, whom a link does not join
	my @digits = map { join '', map { sprintf '%x', rand 16 } 1 .. $_ } 8, 4, 3, 3, 12;
	return sprintf '%s-%s-7%s-8%s-%s', @digits;
}

my $content = q{coalesce(string_agg(concat_ws('|', record_id, owner, local_record_id, revision, visit_id, weight), E'\n' ORDER BY record_id), '')};

sub what_ryj_shares { return $_[0]->sql("SELECT $content FROM bump.visit WHERE owner = 'RYJ' AND 'RQM:care' = ANY (audience)") }
sub what_rqm_has { return $_[0]->sql("SELECT $content FROM bump.visit WHERE owner = 'RYJ'") }

# True when RQM's set equals RYJ's within so many seconds.
sub wait_equal
{
	my ($ryj, $rqm, $seconds) = @_;
	my $end = time + ($seconds // 60);
	my ($wanted, $got);
	do
	{
		($wanted, $got) = (what_ryj_shares($ryj), what_rqm_has($rqm));
		return 1 if $wanted eq $got;
		sleep 0.1;
	} while time < $end;
	my ($n, $m) = map { scalar split /\n/ } $wanted, $got;
	diag("shared: $n rows, there: $m rows; link: " . $ryj->sql('SELECT string_agg(l::text, chr(10)) FROM spine.links l'));
	return 0;
}

# The next batch that RYJ could send to this node, by hand: rows as Perl text of JSON.
sub batch
{
	my ($node, $rows, %with) = @_;
	return $node->sql(<<"END");
SELECT jsonb_build_object('from', 'RYJ', 'to', 'RQM', 'epoch', epoch, 'seq', seq + 1, 'position', position, 'rows', \$j\$$rows\$j\$::jsonb)
	|| \$j\$@{[ $with{change} // '{}' ]}\$j\$::jsonb
FROM spine.link_received WHERE node = 'RYJ'
END
}

# What receive() answers to a role: STATUS CODE.
sub receive
{
	my ($node, $role, $batch) = @_;
	return $node->sql_as($role, "SELECT concat_ws(' ', a ->> 'status', a ->> 'code') FROM spine.receive(\$j\$$batch\$j\$::jsonb) a");
}

sub courier_pid
{
	my ($node) = @_;
	return $node->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'spine courier'");
}

1;
