# An operator who is no superuser points the courier at this very cluster, where it would be
# taken for the administrator, and at functions that he has written (attacks 33, 65).
use strict;
use warnings;

use SpineNode;
use Test::More;

my $node = SpineNode->new('ryj', organisation => 'RYJ');
$node->sql(<<'SETUP');
CREATE ROLE operator LOGIN;
SELECT spine.add_member('operator', 'RYJ', 'operator');
CREATE ROLE caller LOGIN;
CREATE DATABASE trap OWNER operator;
SETUP
my $trap = $node->conninfo('operator') =~ s/dbname=\S+/dbname=trap/r;
my $lay = <<'TRAP';
CREATE SCHEMA spine;
CREATE TABLE spine.caught (who name, super boolean);
GRANT USAGE ON SCHEMA spine TO PUBLIC;
GRANT INSERT ON spine.caught TO PUBLIC;
CREATE FUNCTION spine.receive_position() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO spine.caught VALUES (session_user, (SELECT rolsuper FROM pg_roles WHERE rolname = session_user));
	RETURN '{"status": "position", "node": "TRAP"}';
END
$$;
TRAP
is(system('psql', '-Xq', '-d', $trap, '-c', $lay), 0, 'the trap is laid');

sub connected_as
{
	my ($role) = @_;
	my $conninfo = $node->conninfo($role) =~ s/dbname=\S+/dbname=trap/r;
	return $node->refused('operator', "SELECT spine.connect_node('TRAP', '$conninfo', '{R0A}')");
}
sub caught
{
	my $rows = `psql -XAtq -d '$trap' -c "SELECT string_agg(DISTINCT who || ' ' || super, ',') FROM spine.caught"`;
	chomp $rows;
	return $rows;
}

my $superuser = $node->sql('SELECT current_user');
is(connected_as($superuser), '', 'a neighbour may be named so');
ok(defined $node->wait_for("SELECT last_error LIKE '%would be a superuser there%' FROM spine.link WHERE node = 'TRAP'", 't', 20), 'but the courier goes away as soon as it sees what it is there');
is(caught(), '', 'without calling anything');
is(connected_as("$superuser options=-crole=operator"), '22023', 'and is given no options that would disguise it');
is(connected_as('caller'), '', 'as a role like any other');
ok(defined $node->wait_for("SELECT coalesce(last_error, '') NOT LIKE '%superuser%' AND state <> 'new' FROM spine.link WHERE node = 'TRAP'", 't', 20), 'it calls');
for (1 .. 50) { last if caught() ne ''; select undef, undef, undef, 0.2 }
is(caught(), 'caller false', "with that role's rights");

done_testing();
