# A rolling upgrade: two nodes at maternity 2.0, then one at 2.1, then both (fault F14; invariants I1, I2, I8, I12). Writers of either version go on all the time,
# each supplier through the views of the version that it knows; what a node does not know yet waits beside its records, and is filled in when it does.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;

my %node = map { $_ => SpineNode->new(lc $_, organisation => $_, dataset => 'maternity 2.0', conf => 'spine.courier_interval = 200ms') } qw(RYJ RQM);
my ($ryj, $rqm) = @node{qw(RYJ RQM)};
for my $code (qw(RYJ RQM))
{
	my $l = lc $code;
	$node{$code}->sql("CREATE ROLE ${l}_supplier LOGIN; SELECT spine.add_system('$code', 'System', 'maternity', '${l}_supplier')");
}
connect_nodes($ryj, $rqm, 'RYJ', 'RQM');
for my $node ($ryj, $rqm)
{
	ok(defined $node->wait_for("SELECT bool_and(state = 'connected' AND NOT full_send) FROM spine.links", 't', 60), $node->name . ' is connected');
}

my %other = (RYJ => 'RQM', RQM => 'RYJ');
my $n = 0;

# book(ORGANISATION, VERSION, ITEM => VALUE...): a booking through the view of that version, shared with the other but for its restricted items; its own number
sub book
{
	my ($code, $version, %items) = @_;
	my $local = "P" . ++$n;
	%items = (nhs_number => "'9990000018'", local_patient_id => "'W1'", local_episode_id => "'$local'", antenatal_booking_date => "'2026-01-05'", edd_agreed => "'2026-08-10'", %items);
	my @columns = sort keys %items;
	(my $schema = "maternity_$version") =~ tr/./_/;
	$node{$code}->sql_as(lc($code) . '_supplier', "INSERT INTO $schema.booking (" . join(', ', @columns) . ') VALUES (' . join(', ', @items{@columns}) . ')');
	share($code);
	return $local;
}
sub change
{
	my ($code, $version, $local, $set) = @_;
	(my $schema = "maternity_$version") =~ tr/./_/;
	$node{$code}->sql_as(lc($code) . '_supplier', "UPDATE $schema.booking SET $set WHERE local_record_id = '$local'");
	share($code);
	return;
}
# the agreement is not what is tested here
sub share
{
	my ($code) = @_;
	my $to = $other{$code};
	$node{$code}->sql("UPDATE maternity.booking SET audience = '{$to:care,$to:care/aci}' WHERE owner = '$code' AND audience = '{}'");
	return;
}

# What of an organisation's bookings its neighbour may have, as text: restricted items are not in it. At a version, of the items that it has.
my @restricted = $ryj->sql(q{SELECT string_agg(i ->> 'name', ' ') FROM spine.dataset d, jsonb_array_elements(d.definition -> 'groups') g, jsonb_array_elements(g -> 'items') i
	WHERE g ->> 'name' = 'booking' AND i ->> 'class' = 'restricted'});
sub bookings
{
	my ($node, $owner, @without) = @_;
	my $without = join ',', map { split ' ' } @restricted, qw(audience received_at interpreter_indicator), @without;
	return $node->sql("SELECT coalesce(string_agg((jsonb_strip_nulls(to_jsonb(b)) - '{$without}'::text[])::text, E'\\n' ORDER BY b.record_id), '') FROM maternity.booking b WHERE owner = '$owner'");
}
sub same
{
	my ($name, @without) = @_;
	for my $code (qw(RYJ RQM))
	{
		my $wanted = bookings($node{$code}, $code, @without);
		isnt($wanted, '', "$name: $code has something to share");
		my $got = '';
		for (1 .. 300)
		{
			$got = bookings($node{ $other{$code} }, $code, @without);
			last if $got eq $wanted;
			select undef, undef, undef, 0.2;
		}
		is($got, $wanted, "$name: $other{$code} has what is ${code}'s");
		is($node{$code}->sql('SELECT count(*) FROM spine.receive_fault') . $node{$code}->sql('SELECT count(*) FROM spine.incident'), '00', "$name: nothing is set aside at $code");
	}
	return;
}

my $first = book('RYJ', '2.0', previous_live_births => 0);
book('RQM', '2.0', previous_live_births => 1);
same('both at 2.0');

# one of them is upgraded
$ryj->sql("SELECT spine.publish_dataset('maternity', '2.1')");
my $newer = book('RYJ', '2.1', smoking_status => "'02'", carbon_monoxide => 5, interpreter_indicator => "'Y'");
change('RYJ', '2.1', $first, 'carbon_monoxide = 7');
my $older = book('RYJ', '2.0', previous_live_births => 2);
my $theirs = book('RQM', '2.0', previous_live_births => 3);
same('RYJ at 2.1, RQM at 2.0', qw(smoking_status carbon_monoxide));
my $aside = "SELECT string_agg(concat_ws(' ', b.local_record_id, u.items), '; ' ORDER BY b.local_record_id) FROM spine.unknown_item u JOIN maternity.booking b USING (record_id)";
ok(defined $rqm->wait_for($aside, qq($first {"carbon_monoxide": 7}; $newer {"smoking_status": "02", "carbon_monoxide": 5})), 'what RQM does not know waits beside its record, and nothing that it may not have');
change('RYJ', '2.1', $newer, 'carbon_monoxide = 6');
ok(defined $rqm->wait_for($aside, qq($first {"carbon_monoxide": 7}; $newer {"smoking_status": "02", "carbon_monoxide": 6})), 'and follows a correction');
change('RYJ', '2.1', $first, 'carbon_monoxide = NULL');
ok(defined $rqm->wait_for($aside, qq($newer {"smoking_status": "02", "carbon_monoxide": 6})), 'or goes');
is($ryj->sql("SELECT previous_live_births FROM maternity.booking WHERE owner = 'RQM' AND local_record_id = '$theirs'"), 3, 'a record of 2.0 is one of 2.1 without what is new');

# the other is upgraded, while the first is written to
$rqm->stop('fast');
change('RYJ', '2.1', $older, "smoking_status = '01'");
$rqm->start;
$rqm->sql("SELECT spine.publish_dataset('maternity', '2.1')");
same('both at 2.1');
is($rqm->sql("SELECT concat_ws(' ', smoking_status, carbon_monoxide) FROM maternity.booking WHERE local_record_id = '$newer'"), '02 6', 'what had waited is filled in');
is($rqm->sql('SELECT count(*) FROM spine.unknown_item'), 0, 'nothing of it is left aside');
is($rqm->sql("SELECT count(*) FROM maternity.booking WHERE interpreter_indicator IS NOT NULL"), 0, 'nor has anything come that it may not have');
is($ryj->sql("SELECT interpreter_indicator FROM maternity.booking WHERE local_record_id = '$newer'"), 'Y', 'which its owner has');
book('RQM', '2.1', smoking_status => "'02'", carbon_monoxide => 0);
change('RQM', '2.0', $theirs, 'previous_live_births = 4');
same('written at both');

done_testing();
