# A node is a database: a plain dump of it, restored into a fresh cluster, is the same node with
# the same rows, policies, triggers and behaviour. And the extension cannot take records away.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineNode;
use Test::More;

# the courier stays away until all is compared: it works off what waits
my $old = SpineNode->new('old', organisation => 'RYJ', dataset => 'maternity 2.0', organisations => 1,
	conf => "spine.databases = ''");

# Two organisations on one node, each with a system, a clinician and a governor.
$old->sql("SELECT spine.add_organisation('RQM', 'Chelsea and Westminster', 'trust')")
  if $old->sql("SELECT count(*) FROM spine.organisation WHERE code = 'RQM'") eq '0';
$old->sql("SELECT spine.host_organisation('RQM')");
for my $code (qw(ryj rqm))
{
	$old->sql(<<"END");
CREATE ROLE ${code}_supplier LOGIN;
CREATE ROLE ${code}_clinician LOGIN;
CREATE ROLE ${code}_governor LOGIN;
SELECT spine.add_system(upper('$code'), 'Maternity System', 'maternity', '${code}_supplier');
SELECT spine.add_member('${code}_clinician', upper('$code'), 'clinician');
SELECT spine.add_member('${code}_governor', upper('$code'), 'governor');
END
}
$old->sql('CREATE ROLE stranger LOGIN');

sub booking
{
	my ($n, $nhs, $live_births) = @_;
	return <<"END";
SELECT outcome FROM spine.submit(\$json\$
{"dataset": "maternity", "version": "2.0", "system": "Maternity System", "records": [
  {"group": "mother", "nhs_number": "$nhs", "local_patient_id": "W$n", "local_record_id": "M$n",
   "data": {"mother_local_id": "W$n", "mother_nhs_number": "$nhs", "mother_birth_date": "1994-03-0$n"}},
  {"group": "booking", "nhs_number": "$nhs", "local_patient_id": "W$n", "local_episode_id": "P$n", "local_record_id": "B$n",
   "data": {"pregnancy_id": "P$n", "mother_local_id": "W$n", "antenatal_booking_date": "2026-01-0$n",
            "edd_agreed": "2026-08-0$n", "previous_live_births": $live_births}}]}
\$json\$::json)
END
}

my @nhs = qw(9434765919 9434765870 9434765862);
like($old->sql_as('ryj_supplier', booking(1, $nhs[0], 0)), qr/^accepted\w*\naccepted\w*$/, 'a supplier writes');
$old->sql_as('ryj_supplier', booking(2, $nhs[1], 1));
$old->sql_as('rqm_supplier', booking(3, $nhs[2], 2));
like($old->sql_as('ryj_supplier', booking(1, $nhs[0], 1)), qr/^unchanged\naccepted\w*$/, 'corrects');
like($old->sql_as('ryj_supplier', booking(4, '9434765910', 1)), qr/rejected/, 'and has a record refused');

# An agreement in force and a referral, so that there are rules, audiences and an open record.
my $agreement = <<'END';
{"name": "two-trusts", "version": 1, "title": "Two Trusts", "parties": ["RYJ", "RQM"],
 "start": "2026-01-01", "end": null, "review": "2030-01-01",
 "clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care", "dataset": "maternity",
              "groups": "all", "relationships": ["episode", "referral"]}]}
END
$old->sql_as('ryj_governor', "SELECT spine.propose_agreement('$agreement')");
$old->sql_as($_, "SELECT spine.sign_agreement('two-trusts', 1)") for qw(ryj_governor rqm_governor);
$old->sql_as('ryj_governor', "SELECT spine.publish_agreement('two-trusts', 1)");
$old->sql_as('ryj_clinician', "SELECT spine.refer('$nhs[0]', 'RQM', 'second opinion')");

# What a dump may not lose, as text: one line for each property.
my $catalogue = <<'END';
WITH ours AS (
	SELECT n.oid, n.nspname FROM pg_namespace n
	 WHERE n.nspname = 'spine' OR n.nspname ~ '^maternity(_|$)'
), relation AS (
	SELECT c.*, format('%I.%I', o.nspname, c.relname) AS name FROM pg_class c JOIN ours o ON o.oid = c.relnamespace
)
SELECT line FROM (
	SELECT format('schema %s owner %s acl %s', n.nspname, n.nspowner::regrole,
				  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(n.nspacl) a))
	  FROM pg_namespace n JOIN ours o ON o.oid = n.oid
	UNION ALL
	SELECT format('relation %s kind %s owner %s rls %s %s options %s acl %s bound %s comment %s', r.name, r.relkind, r.relowner::regrole,
				  r.relrowsecurity, r.relforcerowsecurity, r.reloptions,
				  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(r.relacl) a),
				  pg_get_expr(r.relpartbound, r.oid), obj_description(r.oid, 'pg_class'))
	  FROM relation r WHERE r.relkind IN ('r', 'p', 'v', 'S', 'm', 'f')
	UNION ALL
	SELECT format('column %s.%s %s notnull %s default %s identity %s comment %s', r.name, a.attname, format_type(a.atttypid, a.atttypmod),
				  a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, col_description(r.oid, a.attnum))
	  FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
	  LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
	 WHERE r.relkind IN ('r', 'p', 'v')
	UNION ALL
	SELECT format('constraint %s %s %s', r.name, c.conname, pg_get_constraintdef(c.oid))
	  FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid
	UNION ALL
	SELECT format('index %s', pg_get_indexdef(i.indexrelid)) FROM relation r JOIN pg_index i ON i.indrelid = r.oid
	UNION ALL
	SELECT format('policy %s %s %s permissive %s to %s using %s check %s', r.name, p.polname, p.polcmd, p.polpermissive,
				  (SELECT array_agg(o::regrole::text ORDER BY o::regrole::text) FROM unnest(p.polroles) o),
				  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
	  FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
	UNION ALL
	SELECT format('trigger %s enabled %s', pg_get_triggerdef(t.oid), t.tgenabled)
	  FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
	UNION ALL
	SELECT format('view %s %s', r.name, pg_get_viewdef(r.oid)) FROM relation r WHERE r.relkind = 'v'
	UNION ALL
	SELECT format('sequence %s last %s', s.sequencename, s.last_value) FROM pg_sequences s JOIN ours o ON o.nspname = s.schemaname
	UNION ALL
	SELECT format('function %s owner %s acl %s', p.oid::regprocedure, p.proowner::regrole,
				  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(p.proacl) a))
	  FROM pg_proc p JOIN ours o ON o.oid = p.pronamespace
	UNION ALL
	SELECT format('extension %s %s', e.extname, e.extversion) FROM pg_extension e
	UNION ALL
	SELECT format('database acl %s', a) FROM pg_database d, unnest(d.datacl) a
	 WHERE d.datname = current_database() AND a::text ~ '^spine_'
	UNION ALL
	SELECT format('role %s %s %s %s %s in %s', r.rolname, r.rolsuper, r.rolcanlogin, r.rolbypassrls, r.rolinherit,
				  (SELECT array_agg(m.roleid::regrole::text || m.admin_option ORDER BY m.roleid::regrole::text) FROM pg_auth_members m WHERE m.member = r.oid))
	  FROM pg_roles r WHERE r.rolname !~ '^pg_'
) AS l (line) ORDER BY line COLLATE "C"
END

# Every row of every table, as a count and a digest.
sub rows_of
{
	my $node = shift;
	my @tables = split /\n/, $node->sql(<<'END');
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE (n.nspname = 'spine' OR n.nspname ~ '^maternity(_|$)') AND c.relkind = 'r' ORDER BY 1
END
	return join "\n", map {
		$node->sql("SELECT '$_', count(*), md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\"), '')) FROM $_ t")
	} @tables;
}

# What somebody reads: the version views are the way.
my $readable = "SELECT count(*), md5(string_agg(r::text, ',' ORDER BY record_id)) FROM spine.all_records r";

# what the courier has still to look at would be gone from one of the two
$old->wait_for('SELECT count(*) FROM spine.unsettled', '0');

my $dir = PostgreSQL::Test::Utils::tempdir;
command_ok([ 'pg_dumpall', '-h', $old->host, '-p', $old->port, '--roles-only', '-f', "$dir/roles.sql" ], 'roles are dumped');
command_ok([ 'pg_dump', '-h', $old->host, '-p', $old->port, '-f', "$dir/node.sql", 'spine' ], 'and the database, plainly');

my $new = SpineNode->new('new', start => 0, conf => "spine.databases = ''");
$new->start;
# the superuser of the fresh cluster is there already, and nothing else may go wrong
my ($out, $err);
$new->psql('postgres', "\\i $dir/roles.sql", stderr => \$err, on_error_stop => 0);
is(join('', grep { !/role "postgres" already exists/ } $err =~ /(ERROR:.*)/g), '', 'roles are restored');
$new->safe_psql('postgres', 'CREATE DATABASE spine');
is($new->psql('spine', "\\i $dir/node.sql", stdout => \$out, stderr => \$err, on_error_stop => 1), 0, 'the dump is restored')
  or diag($err);

# lacking(TEXT, OTHER): the lines of TEXT that OTHER has not
sub lacking
{
	my ($text, $other) = @_;
	my %there = map { $_ => 1 } split /\n/, $other;
	return join "\n", grep { !$there{$_} } split /\n/, $text;
}

my ($before, $after) = map { $_->sql($catalogue) } $old, $new;
cmp_ok(scalar(split /\n/, $before), '>', 1000, 'a catalogue is there to compare');
is(lacking($before, $after), '', 'nothing of the catalogue is lost');
is(lacking($after, $before), '', 'and nothing is new');

my $rows = rows_of($old);
like($rows, qr/^maternity\.booking\|[3-9]/m, 'rows are there to compare');
like($rows, qr/^spine\.rejection\|[1-9]/m, 'refused ones as well');
like($rows, qr/^spine\.history\|[1-9]/m, 'and former ones');
is(lacking($rows, rows_of($new)), '', 'every row of every table is the same');
is(lacking(rows_of($new), $rows), '', 'and there is none more');

# the same behaviour
for my $role (qw(ryj_clinician rqm_clinician ryj_supplier))
{
	my $seen = $old->sql_as($role, $readable);
	like($seen, qr/^[1-9]/, "$role reads rows");
	is($new->sql_as($role, $readable), $seen, 'and reads the same ones in the restored node');
}
is($new->refused('stranger', $readable), $old->refused('stranger', $readable), 'a stranger is refused in the same way');
isnt($new->refused('stranger', $readable), '', 'that is, refused');
is($new->refused('ryj_clinician', 'SELECT * FROM maternity.booking'), '42501', 'tables are nobody\'s to read');
is($new->refused('ryj_supplier', "INSERT INTO maternity.booking (record_id) VALUES (gen_random_uuid())"), '42501', 'or to write');

for my $node ($old, $new)
{
	my $opened = $node->sql_as('rqm_clinician', <<"END");
SELECT spine.open_record('$nhs[0]', 'care', 'referred to us') \\g /dev/null
SELECT count(*) FROM spine.all_records WHERE owner = 'RYJ';
END
	cmp_ok($opened, '>', 0, 'the referred woman can be opened on ' . $node->name);
	isnt($node->refused('rqm_clinician', "SELECT spine.open_record('$nhs[1]', 'care', 'curious')"), '',
		'and one who was not referred cannot');
}

is($new->sql_as('ryj_supplier', booking(1, $nhs[0], 1)), "unchanged\nunchanged", 'what was sent before is known');
like($new->sql_as('ryj_supplier', booking(5, '9434765838', 1)), qr/^accepted\w*\naccepted\w*$/, 'new records are taken');
is($new->sql("SELECT count(*) FROM maternity.booking WHERE owner = 'RYJ'"), 3, 'and stand in the table');
is($new->refused('postgres', "SELECT spine.create_store('RYJ')"), '42710', 'a restored store is a store');

$new->append_conf('postgresql.conf', "spine.databases = 'spine'");
$new->reload;
ok(defined $new->wait_for('SELECT count(*) FROM spine.unsettled', '0'), 'its courier works off what waited in the old cluster');

is($new->refused('postgres', 'DROP EXTENSION spine'), '2BP01', 'the extension cannot be dropped under it');
is($new->sql("SELECT count(*) FROM maternity.booking WHERE owner = 'RYJ'"), 3, 'and no record is gone');

done_testing();
