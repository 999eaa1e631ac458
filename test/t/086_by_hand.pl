# What the exchange stands on is deleted by hand, and a receiver without room (faults F8, F9; invariants I1, I12): found out, said, and repaired.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;

my ($ryj, $rqm) = two_nodes(conf => 'spine.courier_interval = 200ms');
put($ryj, 'first');
ok(wait_equal($ryj, $rqm), 'the link works');
sub fails { my ($name, $pattern) = @_; return ok(defined $ryj->wait_for("SELECT count(*) > 0 FROM spine.link WHERE state = 'waiting' AND last_error ~ '$pattern'"), $name) }

# F9: the sender's side of the link
$ryj->sql('DELETE FROM spine.link');
put($ryj, 'without a link');
ok(wait_equal($ryj, $rqm), 'F9: a link whose row was deleted begins anew, and what was written meanwhile comes over');
is($ryj->sql('SELECT count(*) FROM spine.link WHERE epoch IS NOT NULL'), 1, 'F9: the link is there again');
# the receiver's
$rqm->sql('CREATE TABLE kept AS SELECT * FROM spine.link_received; DELETE FROM spine.link_received');
$rqm->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node_ryj'");
put($ryj, 'while nobody remembers');
fails('F9: a receiver that no longer knows where it stands: the link says so', '.');
$rqm->sql('INSERT INTO spine.link_received SELECT * FROM kept');
ok(wait_equal($ryj, $rqm), 'F9: and it goes on when it does');

# F8: the receiver has no room: a file may not grow, as on a full disk. More than 16 MB, so that segments of WAL fit.
my $text = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 12500))";
$rqm->sql("INSERT INTO bump.visit (record_id, owner, source_system, local_record_id, patient_id, dataset_version, received_at, revision, audience, visit_id)
	SELECT spine.uuid_v7(), 'RQM', 'fill', i, gen_random_uuid(), '1.0', now(), 1, '{}', $text || i FROM generate_series(1, 45) i");
my $blocks = $rqm->sql("SELECT pg_relation_size(reltoastrelid) / 512 FROM pg_class WHERE oid = 'bump.visit'::regclass");
cmp_ok($blocks, '>', 16 * 1024 * 1024 / 512, 'F8: a table larger than a segment of WAL');
$rqm->stop;
system_or_bail('sh', '-c', "ulimit -f $blocks; exec pg_ctl -w -D '" . $rqm->data_dir . "' -l '" . $rqm->logfile . "' start > /dev/null");
$rqm->_update_pid(1);
my $large = SpineExchange::make_id();
$ryj->sql('BEGIN; ' . SpineExchange::put_sql('large', record_id => $large) . "; UPDATE bump.visit SET visit_id = $text WHERE record_id = '$large'; "
	  . SpineExchange::put_sql('behind it') . '; COMMIT');
fails('F8: no room at the receiver: the link says so', 'extend file|XX000|53100|58');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE local_record_id = 'behind it'"), 0, 'F8: a batch is applied whole or not');
is($rqm->sql('SELECT count(*) FROM spine.receive_fault'), 0, 'F8: and no row is blamed for it');
$rqm->stop;
$rqm->start;
ok(wait_equal($ryj, $rqm), 'F8: with room it goes on');
is($rqm->sql("SELECT count(*) FROM bump.visit WHERE local_record_id IN ('large', 'behind it')"), 2, 'F8: with both');

done_testing();
