# Two Trusts and two hubs: what a hub gets under a clause for reporting, what it never gets, and who reads it there.
use strict;
use warnings;

use SpineNode;
use Test::More;

my %organisation = (RYJ => 'trust', RQM => 'trust', Y56 => 'region', Y58 => 'region');
my %purpose = (RYJ => 'care', RQM => 'care', Y56 => 'reporting', Y58 => 'reporting');
my %node = map { $_ => SpineNode->new(lc $_, organisation => $_, dataset => 'maternity 2.0') } sort keys %organisation;
my @trusts = qw(RYJ RQM);
my @hubs = qw(Y56 Y58);

for my $code (sort keys %node)
{
	my $l = lc $code;
	$node{$code}->sql("SELECT spine.add_organisation('$_', 'Organisation $_', '$organisation{$_}')") for grep { $_ ne $code } sort keys %organisation;
	$node{$code}->sql("CREATE ROLE ${l}_$_ LOGIN; SELECT spine.add_member('${l}_$_', '$code', '$_')") for qw(clinician analyst governor operator);
}
$node{$_}->sql(sprintf "CREATE ROLE %s_supplier LOGIN; SELECT spine.add_system('%s', 'System', 'maternity', '%1\$s_supplier')", lc $_, $_) for @trusts;
sub connect_pair
{
	my ($one, $other, $purpose) = @_;
	for ([ $one, $other ], [ $other, $one ])
	{
		my ($here, $there) = @$_;
		$node{$here}->sql("CREATE ROLE node_" . lc($there) . " LOGIN");
	}
	for ([ $one, $other ], [ $other, $one ])
	{
		my ($here, $there) = @$_;
		$node{$here}->sql(sprintf "SELECT spine.connect_node('%s', '%s', '{%s}', 'node_%s', '%s')",
			$there, $node{$there}->conninfo('node_' . lc $here), $there, lc $there, $purpose);
	}
	return;
}
connect_pair('RYJ', 'RQM', 'care');
for my $hub (@hubs) { connect_pair($_, $hub, 'reporting') for @trusts }
# Trusts that give a hub one key give it one pseudonym for a woman
my %key = (Y56 => 'a1' x 32, Y58 => 'b2' x 32);
for my $trust (@trusts)
{
	$node{$trust}->sql("SELECT spine.set_hub_key('$_', 'regional-1', decode('$key{$_}', 'hex'))") for @hubs;
}

sub settled
{
	my ($node, $what) = @_;
	return ok(defined $node->wait_for("SELECT bool_and(l.state = 'connected' AND NOT l.full_send AND l.lag_rows = 0) FROM spine.links l WHERE l.direction = 'sending'", 't', 90), $what);
}

# Women: at RYJ, at RQM, and one who is at both.
my @nhs = qw(9434765919 9434765870 9434761018 9434761026 9434761034);
my $baby_nhs = '9434761042';

sub woman
{
	my ($trust, $n, $month) = @_;
	my ($nhs, $t) = ($nhs[$n], "$trust-LOCAL-$n");
	my $baby = $n == 2 ? qq{"baby_nhs_number": "$baby_nhs", "baby_nhs_number_status": "01",} : '';
	return $node{$trust}->sql_as(lc($trust) . '_supplier', <<"END");
SELECT string_agg(outcome, ' ') FROM spine.submit(\$json\$
{"dataset": "maternity", "version": "2.0", "system": "System", "records": [
  {"group": "mother", "nhs_number": "$nhs", "local_patient_id": "W$t", "local_record_id": "M$t",
   "data": {"mother_local_id": "W$t", "mother_nhs_number": "$nhs", "mother_birth_date": "1994-03-1$n", "postcode": "SW1A 9ZZ"}},
  {"group": "booking", "nhs_number": "$nhs", "local_patient_id": "W$t", "local_episode_id": "P$t", "local_record_id": "B$t",
   "data": {"pregnancy_id": "P$t", "mother_local_id": "W$t", "antenatal_booking_date": "2026-0$month-1$n",
            "edd_agreed": "2026-09-1$n", "disability_indicator": "N", "previous_live_births": $n}},
  {"group": "labour_delivery", "nhs_number": "$nhs", "local_patient_id": "W$t", "local_episode_id": "P$t",
   "data": {"labour_delivery_id": "L$t", "pregnancy_id": "P$t", "labour_onset_date": "2026-0$month-2$n", "labour_onset_time": "0$n:17:00"}},
  {"group": "baby", "local_patient_id": "C$t",
   "data": {"baby_local_id": "C$t", "labour_delivery_id": "L$t", $baby "baby_birth_date": "2026-0$month-2$n", "baby_birth_time": "1$n:42:00",
            "delivering_professional_id": "MIDWIFE-$t", "first_feed_date": "2026-0$month-2$n", "first_feed_time": "1$n:59:00"}}]}
\$json\$::json)
END
}
unlike(woman('RYJ', 0, 1), qr/rejected/, 'a woman at RYJ');
unlike(woman('RYJ', 1, 1), qr/rejected/, 'another');
unlike(woman('RYJ', 2, 2), qr/rejected/, 'and one');
unlike(woman('RQM', 2, 2), qr/rejected/, 'who is at RQM too');
unlike(woman('RQM', 3, 2), qr/rejected/, 'a woman at RQM');

# An agreement with each hub.
sub agree
{
	my ($name, $version, $hub, $more) = @_;
	$node{RYJ}->sql_as('ryj_governor', <<"END");
SELECT spine.propose_agreement('{"name": "$name", "version": $version, "title": "Figures", "parties": ["RYJ", "RQM", "$hub"], "start": "2026-01-01",
 "clauses": [{"from": ["RYJ", "RQM"], "to": ["$hub"], "purpose": "reporting", "dataset": "maternity",
              "groups": ["mother", "booking", "labour_delivery", "baby"]$more}]}')
END
	for my $party ('RQM', $hub)
	{
		$node{$party}->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'proposed' AND name = '$name' AND version = $version", 1) // die "no proposal\n";
		$node{$party}->sql_as(lc($party) . '_governor', "SELECT spine.sign_agreement('$name', $version)");
	}
	$node{RYJ}->sql_as('ryj_governor', "SELECT spine.sign_agreement('$name', $version)");
	ok(defined $node{RYJ}->wait_for("SELECT count(*) FROM spine.agreement_event WHERE kind = 'signed' AND name = '$name' AND version = $version", 3),
		"$name $version is signed at the Trusts and at $hub");
	$node{RYJ}->sql_as('ryj_governor', "SELECT spine.publish_agreement('$name', $version)");
	return;
}
agree('figures', 1, 'Y56', '');
agree('numbers', 1, 'Y58', '');

my $rows = "(SELECT count(*) FROM maternity.mother) + (SELECT count(*) FROM maternity.booking) + (SELECT count(*) FROM maternity.labour_delivery) + (SELECT count(*) FROM maternity.baby)";
my $all = 20;
ok(defined $node{$_}->wait_for("SELECT $rows", $all), "every record of both Trusts is at $_") for @hubs;
settled($node{$_}, "$_ has sent everything") for @trusts;

# Nothing that tells who: not in the tables, not anywhere in the hub's database.
sub dump_of
{
	my $node = shift;
	return join '', map { my $t = $_; $node->sql("SELECT to_jsonb(t) FROM $t t") . "\n" }
	  split /\n/, $node->sql("SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE c.relkind = 'r' AND s.nspname IN ('spine', 'maternity')");
}
# every id, local number and person's item of a Trust
sub secrets_of
{
	my $trust = shift;
	my %secret;
	for my $group (qw(mother booking labour_delivery baby))
	{
		$secret{$_}++ for split /\n/, $node{$trust}->sql("SELECT unnest(ARRAY[record_id::text, patient_id::text, episode_id::text, local_record_id]) FROM maternity.$group WHERE owner = '$trust'");
	}
	$secret{$_}++ for split /\n/, $node{$trust}->sql("SELECT unnest(ARRAY[mother_local_id, mother_nhs_number::text, postcode]) FROM maternity.mother WHERE owner = '$trust'");
	$secret{$_}++ for split /\n/, $node{$trust}->sql("SELECT unnest(ARRAY[baby_local_id, baby_nhs_number::text, delivering_professional_id, labour_delivery_id]) FROM maternity.baby WHERE owner = '$trust'");
	$secret{$_}++ for split /\n/, $node{$trust}->sql("SELECT unnest(ARRAY[a.patient_id::text, a.local_patient_id]) FROM spine.alias a");
	$secret{$_}++ for map { (join ' ', /(...)(...)(....)/), $_ } @nhs, $baby_nhs;
	$secret{'LOCAL'}++;
	delete $secret{''};
	return sort keys %secret;
}
my @secrets = map { secrets_of($_) } @trusts;
cmp_ok(scalar @secrets, '>', 90, scalar(@secrets) . ' ids and numbers of persons are looked for');
my %said = map { $_ => dump_of($node{$_}) } @hubs;
for my $hub (@hubs)
{
	my @found = grep { index($said{$hub}, $_) >= 0 } @secrets;
	is("@found", '', "none of them is in any table at $hub");
	is($node{$hub}->sql("SELECT (SELECT count(*) FROM spine.relationship) + (SELECT count(*) FROM spine.episode) + (SELECT count(*) FROM spine.identity_link)
		+ (SELECT count(*) FROM spine.family_link) + (SELECT count(*) FROM spine.dissent) + (SELECT count(*) FROM spine.alias)"), 0, 'nor anything that is for care');
	is($node{$hub}->sql("SELECT count(*) FROM maternity.mother WHERE mother_local_id IS NOT NULL OR mother_nhs_number IS NOT NULL OR mother_birth_date IS NOT NULL OR postcode IS NOT NULL"),
		0, 'no item of class identity');
	is($node{$hub}->sql("SELECT count(*) FROM maternity.booking WHERE disability_indicator IS NOT NULL"), 0, 'nor a restricted one');
	is($node{$hub}->sql("SELECT bool_and(extract(day FROM d) = 1) FROM maternity.booking, unnest(ARRAY[antenatal_booking_date, edd_agreed]) d"), 't', 'dates by month');
	is($node{$hub}->sql("SELECT bool_and(extract(day FROM t AT TIME ZONE 'Europe/London') = 1 AND (t AT TIME ZONE 'Europe/London')::time = '00:00')
		FROM maternity.baby, unnest(ARRAY[event_at, received_at]) t"), 't', 'and so is when it was and when it came');
	is($node{$hub}->sql("SELECT count(*) FROM maternity.baby WHERE baby_birth_time IS NOT NULL OR first_feed_time IS NOT NULL"), 0, 'no time of a day');
	is($node{$hub}->sql("SELECT count(*) FROM spine.incident") + $node{$hub}->sql("SELECT count(*) FROM spine.receive_fault"), 0, 'no incident and no fault');
}

# What is there can be used.
for my $hub (@hubs)
{
	my $figures = "SELECT owner, to_char(%s, 'YYYY-MM'), count(*), sum(previous_live_births) FROM maternity.booking WHERE %s GROUP BY 1, 2 ORDER BY 1, 2";
	is($node{$hub}->sql(sprintf $figures, 'antenatal_booking_date', 'true'),
		join("\n", map { $node{$_}->sql(sprintf $figures, 'antenatal_booking_date', "owner = '$_'") } sort @trusts), "bookings by month and owner are the same at $hub");
	is($node{$hub}->sql("SELECT count(*) FROM maternity.baby b JOIN maternity.labour_delivery l USING (owner, source_system, labour_delivery_id) JOIN maternity.booking k USING (owner, source_system, pregnancy_id)
		WHERE l.patient_id = k.patient_id AND l.episode_id = k.episode_id"), 5, 'records that belong together do so there: baby to delivery to booking');
	is($node{$hub}->sql("SELECT count(DISTINCT patient_id) FROM maternity.booking"), 4, 'a woman who is at both Trusts is one woman');
}

# attack 73: two hubs have nothing by which to put their rows together
my $unique = q{SELECT u FROM (SELECT to_jsonb(t) AS r FROM maternity.%1$s t) x, jsonb_each_text(r) AS e (k, u)
	WHERE k NOT IN ('owner', 'source_system', 'dataset_version', 'audience', 'revision')};
for my $group (qw(mother booking labour_delivery baby))
{
	my %by = map { my $hub = $_; $hub => { map { $_ => 1 } split /\n/, $node{$hub}->sql(sprintf $unique, $group) } } @hubs;
	my @shared = grep { $by{Y58}{$_} } sort keys %{ $by{Y56} };
	# what the clauses give both in the clear: months, codes, counts
	is(join(' ', grep { !/^\d{4}-\d\d-01(T00:00:00[+]0[01]:00)?$/ && !/^.{0,2}$/ } @shared), '', "of $group they share months, codes and counts, and nothing else");
	is($node{$_}->sql("SELECT count(*) FROM maternity.$group WHERE record_id::text NOT LIKE '________-____-8%' OR patient_id::text NOT LIKE '________-____-8%' OR local_record_id <> record_id::text"),
		0, "its ids at $_ are pseudonyms") for @hubs;
}

# Who reads it there: an analyst of the hub's organisation, and nobody else.
my ($y56, $ryj) = @node{qw(Y56 RYJ)};
my $seen = 'SELECT count(*) FROM maternity_2_0.booking';
is($y56->sql_as('y56_analyst', $seen), 5, 'an analyst at the hub reads all bookings');
is($y56->sql_as('y56_analyst', 'SELECT count(antenatal_booking_date), count(disability_indicator), count(nhs_number), count(DISTINCT patient_id) FROM maternity_2_0.booking'), '5|0|0|4', 'what the clause gives of them');
is($y56->sql_as('y56_analyst', 'SELECT count(*) FROM spine.all_records'), 20, 'and all records');
is($y56->sql_as('y56_analyst', "SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET force_parallel_mode = on; $seen"), 5, 'with workers too');
is($y56->sql_as('y56_analyst', "PREPARE p AS SELECT count(*) FROM maternity_2_0.booking WHERE owner = 'RQM'; " . 'EXECUTE p; ' x 7), join("\n", (2) x 7), 'by a plan that is kept');
is($y56->sql_as('y56_clinician', $seen), 0, 'a clinician there reads none');
is($y56->refused($_, $seen), '42501', "$_ may not") for qw(y56_governor y56_operator node_ryj);
$y56->sql("SELECT spine.add_organisation('RAS', 'Another', 'trust'), spine.host_organisation('RAS')");
$y56->sql("CREATE ROLE ras_analyst LOGIN; SELECT spine.add_member('ras_analyst', 'RAS', 'analyst')");
is($y56->sql_as('ras_analyst', $seen), 0, 'an analyst of another organisation there reads none');
$y56->sql("CREATE ROLE y56_reports LOGIN; SELECT spine.add_system('Y56', 'Reports', 'reports', 'y56_reports')");
is($y56->sql_as('y56_reports', $seen), 0, 'nor does a system');
is($node{RQM}->sql_as('rqm_analyst', "$seen WHERE owner = 'RYJ'"), 0, 'and at a neighbour for care no analyst reads another\'s');

# An objection.
is($node{RQM}->sql_as('rqm_clinician', "SELECT spine.record_dissent('$nhs[3]', 'secondary') IS NOT NULL"), 't', 'a woman does not want her records used for figures');
ok(defined $node{$_}->wait_for("SELECT count(*) FROM maternity.booking", 4), "they go at $_") for @hubs;
is($y56->sql("SELECT count(*) FROM spine.history") + $y56->sql("SELECT count(*) FROM spine.unknown_item") + $y56->sql("SELECT count(*) FROM spine.finding"), 0, 'with every trace');
my $dissent = $ryj->sql_as('ryj_clinician', "SELECT spine.record_dissent('$nhs[0]', 'reporting', 'Y58')");
ok(defined $node{Y58}->wait_for("SELECT count(*) FROM maternity.booking", 3), 'another objects to one hub alone, which loses them');
is($y56->sql("SELECT count(*) FROM maternity.booking"), 4, 'and the other keeps them');
$ryj->sql_as('ryj_clinician', "SELECT spine.withdraw_dissent('$dissent')");
ok(defined $node{Y58}->wait_for("SELECT count(*) FROM maternity.booking", 4), 'when she has no objection any more they are there again');

# A correction, a deletion.
unlike(woman('RYJ', 1, 3), qr/rejected/, 'a correction by the supplier');
ok(defined $y56->wait_for("SELECT count(*) FROM maternity.booking WHERE antenatal_booking_date = '2026-03-01'", 1), 'follows');
is($y56->sql("SELECT count(*) FROM maternity.booking"), 4, 'in the same row');
$ryj->sql_as('ryj_supplier', "DELETE FROM maternity_2_0.baby WHERE local_patient_id IS NULL AND local_record_id LIKE '%LOCAL-0'");
ok(defined $y56->wait_for("SELECT count(*) FROM maternity.baby WHERE owner = 'RYJ'", 2), 'and so does a deletion');

# One person under two ids: a link changes of which her pseudonym is made.
my $local = $ryj->sql_as('ryj_supplier', <<'END');
SELECT outcome FROM spine.submit($json${"dataset": "maternity", "version": "2.0", "system": "System", "records": [
  {"group": "booking", "local_patient_id": "WX", "local_episode_id": "PX", "local_record_id": "BX",
   "data": {"pregnancy_id": "PX", "mother_local_id": "WX", "antenatal_booking_date": "2026-04-04"}}]}$json$::json)
END
unlike($local, qr/rejected/, 'a woman without an NHS number');
ok(defined $y56->wait_for("SELECT count(*) FROM maternity.booking", 5), 'is at the hub too');
my $women = "SELECT count(DISTINCT patient_id) FROM maternity.booking";
is($y56->sql($women), 4, 'as one woman more');
my $pseudonym = $y56->sql("SELECT patient_id FROM maternity.booking WHERE antenatal_booking_date = '2026-04-01'");
$ryj->sql("INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner)
	SELECT gen_random_uuid(), a.patient_id, b.patient_id, 'manual', 'RYJ' FROM maternity.booking a, maternity.booking b WHERE a.local_record_id = 'BX' AND b.local_record_id LIKE 'B%LOCAL-0'");
ok(defined $y56->wait_for($women, 3), 'known as one of the others, she is that one there');
$ryj->sql("UPDATE spine.identity_link SET until = now() WHERE method = 'manual'");
ok(defined $y56->wait_for($women, 4), 'and no longer when that was wrong');
is($y56->sql("SELECT patient_id FROM maternity.booking WHERE antenatal_booking_date = '2026-04-01'"), $pseudonym, 'but who she was before');

# Another key: another pseudonym for everything.
my $ids = "SELECT string_agg(record_id::text, ' ' ORDER BY record_id) FROM maternity.booking WHERE owner = 'RYJ'";
my $before = $y56->sql($ids);
is($ryj->refused('ryj_analyst', "SELECT spine.set_hub_key('Y56', 'x', '')"), '42501', 'a key is set by an operator');
is($ryj->refused('ryj_operator', "SELECT spine.set_hub_key('Y56', 'x', '\\x00')"), '22023', 'not a short one');
is($ryj->refused('ryj_operator', "SELECT spine.set_hub_key('RQM', 'x', sha256('x'))"), '42704', 'not for a neighbour for care');
is($ryj->refused('ryj_operator', "SELECT spine.set_hub_key('Y56', 'x', decode('$key{Y58}', 'hex'))"), '23505', 'and not that of another hub');
is($ryj->refused('ryj_operator', "SELECT * FROM spine.hub_key"), '42501', 'nobody reads it');
$ryj->sql_as('ryj_operator', "SELECT spine.set_hub_key('Y56', 'regional-2', sha256('another'))");
is($ryj->sql_as('ryj_operator', "SELECT node, key_id FROM spine.hub_keys()"), "Y56|regional-2\nY58|regional-1", 'but by its name');
ok(defined $y56->wait_for("SELECT count(*) = 4 AND NOT bool_or('$before' LIKE '%' || record_id || '%') FROM maternity.booking WHERE owner = 'RYJ'"), 'everything is replaced');
settled($ryj, 'and sent');

# A node is for one purpose.
is($ryj->refused('ryj_operator', "SELECT spine.connect_node('Y56', NULL, '{Y56}', NULL)"), '22023', 'a hub does not become a neighbour for care');
is($ryj->refused('ryj_operator', "SELECT spine.connect_node('X', NULL, '{RAS}', NULL, 'fun')"), '22023', 'there are two purposes');

# Lost at the hub, or put there by hand: a full send makes it right, by the ids that the hub has.
$y56->sql("DELETE FROM maternity.booking WHERE record_id = (SELECT min(record_id::text)::uuid FROM maternity.booking WHERE owner = 'RYJ')");
$y56->sql("INSERT INTO maternity.booking SELECT (jsonb_populate_record(b, jsonb_build_object('record_id', gen_random_uuid(), 'local_record_id', 'x'))).* FROM maternity.booking b WHERE owner = 'RYJ' LIMIT 1");
$ryj->sql_as('ryj_operator', sprintf "SELECT spine.connect_node('Y56', '%s', '{Y56}', 'node_y56', 'reporting')", $y56->conninfo('node_ryj'));
ok(defined $y56->wait_for("SELECT count(*) = 4 AND count(*) FILTER (WHERE local_record_id = 'x') = 0 FROM maternity.booking WHERE owner = 'RYJ'"), 'what is lost at the hub comes again, what is too much goes');

is($y56->sql("SELECT count(*) FROM maternity.booking WHERE previous_live_births = 77"), 0, 'nothing was edited yet');
$y56->sql("UPDATE maternity.booking SET previous_live_births = 77 WHERE owner = 'RYJ'");
my $receipts = "SELECT count(*) FROM spine.receipt WHERE node = 'Y56' AND direction = 'sent' AND kind = 'reconciliation' AND (statement::jsonb -> 'equal')::boolean";
my $so_far = $ryj->sql($receipts);
$ryj->sql_as('ryj_operator', "SELECT spine.reconcile('Y56')");
ok(defined $ryj->wait_for("SELECT ($receipts) > $so_far"), 'the hub signs that it holds what it should');
is($y56->sql("SELECT count(*) FROM maternity.booking WHERE previous_live_births = 77"), 0, 'what was edited there by hand is as it was');
ok(defined $ryj->wait_for("SELECT count(*) FROM spine.delivery WHERE destination = 'Y56' AND action = 'withdraw' AND receipt_id IS NULL", 0), 'and that what was withdrawn is gone');
cmp_ok($ryj->sql("SELECT count(*) FROM spine.delivery WHERE destination = 'Y56' AND action = 'withdraw' AND receipt_id IS NOT NULL"), '>', 0, 'as the ledger tells');
my $held = dump_of($y56);
is(join(' ', grep { index($held, $_) >= 0 } @secrets), '', 'whatever was asked and answered, nothing there tells who');

# What is for care is refused on such a link.
is($y56->sql_as('node_ryj', "SELECT a ->> 'status', a ->> 'code' FROM spine.receive((SELECT jsonb_build_object('from', 'RYJ', 'to', 'Y56', 'epoch', p -> 'epoch', 'seq', (p ->> 'seq')::bigint + 1,
	'position', p -> 'position', 'rows', '[]'::jsonb, 'episodes', '[]'::jsonb) FROM spine.receive_position() p)) a"), 'refused|SP007', 'an episode is refused');

# Finer dates, when that is agreed.
agree('figures', 2, 'Y56', ', "dates": "exact"');
ok(defined $y56->wait_for("SELECT count(*) FROM maternity.booking WHERE owner = 'RQM' AND antenatal_booking_date = '2026-02-12'", 1), 'under a clause that says so dates are exact');
is($y56->sql("SELECT count(*) FROM maternity.baby WHERE owner = 'RQM' AND baby_birth_time = '12:42:00'"), 1, 'and times');
is($node{Y58}->sql("SELECT count(*) FROM maternity.baby WHERE baby_birth_time IS NOT NULL OR extract(day FROM baby_birth_date) <> 1"), 0, 'at that hub alone');
is($y56->sql("SELECT bool_and((received_at AT TIME ZONE 'Europe/London')::time = '00:00') FROM maternity.baby"), 't', 'never when it came');
agree('figures', 3, 'Y56', ', "dates": "minutes_from_birth"');
ok(defined $y56->wait_for("SELECT count(*) FROM maternity.baby WHERE owner = 'RQM' AND event_at = '2000-01-01 00:00+00' AND first_feed_date = '2000-01-01' AND baby_birth_time IS NULL", 2),
	'or counted from birth: that is 2000-01-01');
is($y56->sql("SELECT edd_agreed, antenatal_booking_date, event_at AT TIME ZONE 'UTC' FROM maternity.booking WHERE owner = 'RQM'"),
	'2000-01-01|' . $node{RQM}->sql("SELECT '2000-01-01'::date + (antenatal_booking_date - edd_agreed), '2000-01-01 00:00+00'::timestamptz AT TIME ZONE 'UTC'
		+ (antenatal_booking_date::timestamp AT TIME ZONE 'Europe/London' - edd_agreed::timestamp AT TIME ZONE 'Europe/London')
		FROM maternity.booking WHERE owner = 'RQM' AND local_record_id LIKE '%-2'"), 'a mother\'s from the date on which the birth was expected');

# The end.
$node{Y56}->sql_as('y56_governor', "SELECT spine.end_agreement('figures', 3, 'tested')");
ok(defined $y56->wait_for("SELECT $rows", 0), 'when it ends everything goes');
is($node{Y58}->sql("SELECT count(*) > 0 FROM maternity.booking"), 't', 'at that hub alone');
is($_->sql('SELECT count(*) FROM spine.receive_fault'), 0, 'no row was set aside at ' . $_->name) for values %node;

done_testing();
