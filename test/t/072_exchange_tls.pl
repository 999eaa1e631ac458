# Neighbours over TCP with certificates of the network's own CA, verified on both sides: who comes with another one, one of
# another Trust (attack 71), an expired or a revoked one is not let in, a session that was let in before is not listened to
# any longer (attack 72), and certificates are exchanged under load (fault F18). No secret that a member can read.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SpineExchange;
use SpineNode;
use Test::More;

plan skip_all => 'without openssl' if system('openssl version >/dev/null 2>&1') != 0;
plan skip_all => 'a server without TLS' if `$ENV{SPINE_BINDIR}/pg_config --configure` !~ /--with-(?:openssl|ssl=openssl)/;

# the CA, and what it makes
my $ca = PostgreSQL::Test::Utils::tempdir();

sub openssl
{
	my (@command) = @_;
	my ($out, $err);
	IPC::Run::run([ 'openssl', @command ], '>', \$out, '2>', \$err) or die "openssl @command: $err\n";
	return $out;
}

sub slurp { return PostgreSQL::Test::Utils::slurp_file($_[0]) }

sub authority
{
	my ($name) = @_;
	mkdir "$ca/$name" or die $!;
	PostgreSQL::Test::Utils::append_to_file("$ca/$name/index.txt", '');
	PostgreSQL::Test::Utils::append_to_file("$ca/$name/$_", "01\n") for qw(serial crlnumber);
	PostgreSQL::Test::Utils::append_to_file("$ca/$name/conf", <<"END");
[ca]
default_ca = d
[d]
database = $ca/$name/index.txt
serial = $ca/$name/serial
crlnumber = $ca/$name/crlnumber
new_certs_dir = $ca/$name
certificate = $ca/$name/ca.crt
private_key = $ca/$name/ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = p
unique_subject = no
copy_extensions = copy
[p]
commonName = supplied
END
	openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-sha256', '-days', '30', '-subj', "/CN=$name", '-keyout', "$ca/$name/ca.key", '-out', "$ca/$name/ca.crt",
		'-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
	return;
}

# a certificate with this CN; what else openssl ca takes
sub certificate
{
	my ($authority, $file, $cn, @more) = @_;
	openssl('req', '-newkey', 'rsa:2048', '-nodes', '-sha256', '-subj', "/CN=$cn", '-keyout', "$ca/$file.key", '-out', "$ca/$file.csr", '-addext', 'subjectAltName=DNS:localhost');
	openssl('ca', '-batch', '-config', "$ca/$authority/conf", '-in', "$ca/$file.csr", '-out', "$ca/$file.crt", '-notext', @more);
	chmod 0600, "$ca/$file.key";
	return;
}

sub revocations { return openssl('ca', '-gencrl', '-config', "$ca/network/conf") }

authority($_) for qw(network other);
certificate('network', $_, 'localhost') for qw(server_ryj server_rqm);
certificate('network', "client_$_", "node_$_") for qw(ryj rqm);
certificate('network', 'third', 'node_r1k');
certificate('network', 'expired', 'node_ryj', '-startdate', '20250101000000Z', '-enddate', '20250201000000Z');
certificate('other', 'stranger', 'node_ryj');
certificate('network', 'second', 'node_ryj');
certificate('other', 'false_server', 'localhost');

# two nodes that are reached by TCP alone
my %node = map { $_ => SpineNode->new($_, start => 0,
		conf => "spine.courier_interval = 200ms\nspine.courier_reconnect = 2s\nspine.neighbour_session = 5s\nspine.courier_timeout = 3s") } qw(ryj rqm);
sub put_file
{
	my ($node, $name, $content, $mode) = @_;
	my $file = $node->data_dir . "/$name";
	unlink $file;
	PostgreSQL::Test::Utils::append_to_file($file, $content);
	chmod $mode // 0600, $file;
	return $file;
}
for my $l (qw(ryj rqm))
{
	my $node = $node{$l};
	put_file($node, 'server.crt', slurp("$ca/server_$l.crt"));
	put_file($node, 'server.key', slurp("$ca/server_$l.key"));
	put_file($node, 'ca.crt', slurp("$ca/network/ca.crt"));
	put_file($node, 'crl.pem', revocations());
	put_file($node, 'client.crt', slurp("$ca/client_$l.crt"));
	put_file($node, 'client.key', slurp("$ca/client_$l.key"));
	$node->append_conf('postgresql.conf', <<"END");
listen_addresses = '127.0.0.1'
ssl = on
ssl_min_protocol_version = 'TLSv1.3'
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.crt'
ssl_crl_file = 'crl.pem'
END
	# the neighbour's role by its certificate, everything else by the socket
	my $other = $l eq 'ryj' ? 'rqm' : 'ryj';
	unlink $node->data_dir . '/pg_hba.conf';
	$node->append_conf('pg_hba.conf', <<"END");
hostssl spine node_$other 127.0.0.1/32 cert
host    all   node_$other all reject
local   all   node_$other reject
local   all   all trust
END
}
for my $l (qw(ryj rqm))
{
	my $node = $node{$l};
	# services that the courier may name, in a file of the server's user
	$ENV{PGSERVICEFILE} = put_file($node, 'services.conf', '');
	$node->start;
	delete $ENV{PGSERVICEFILE};
	$node->safe_psql('postgres', 'CREATE DATABASE spine');
	$node->sql('SET client_min_messages = warning; CREATE EXTENSION spine CASCADE');
	$node->create_store(organisation => uc $l);
	$node->sql("SELECT spine.publish_dataset('" . SpineExchange::definition('1.0') . "'::jsonb)");
}
my ($ryj, $rqm) = @node{qw(ryj rqm)};

sub tls
{
	my ($node, $role, %with) = @_;
	my $files = $with{files} // $node->data_dir;
	return sprintf("host=localhost hostaddr=127.0.0.1 port=%d dbname=spine user=%s sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s",
		$with{to}->port, $role, $with{root} // $node->data_dir . '/ca.crt', $with{cert} // $node->data_dir . '/client.crt', $with{key} // $node->data_dir . '/client.key');
}

# what a session with this certificate at RQM is told, as RYJ's role
sub answer_at_rqm
{
	my ($certificate, %with) = @_;
	my ($out, $err);
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', tls($ryj, $with{role} // 'node_ryj', to => $rqm, cert => "$ca/$certificate.crt", key => "$ca/$certificate.key"),
			'-c', "SELECT spine.receive_position() ->> 'status'" ], '>', \$out, '2>', \$err);
	chomp $out;
	return $out ne '' ? $out : $err;
}

$_->sql('CREATE ROLE node_r1k LOGIN') for ($ryj, $rqm);
$rqm->sql('CREATE ROLE node_ryj LOGIN');
$ryj->sql('CREATE ROLE node_rqm LOGIN');
$rqm->sql("SELECT spine.connect_node('RYJ', '" . tls($rqm, 'node_rqm', to => $ryj) . "', '{RYJ}', 'node_ryj')");
# by a service's name: nothing of the way stands in the database
PostgreSQL::Test::Utils::append_to_file($ryj->data_dir . '/services.conf', join("\n", '[rqm]', split(/ /, tls($ryj, 'node_ryj', to => $rqm)), ''));
$ryj->sql("SELECT spine.connect_node('RQM', 'service=rqm', '{RQM}', 'node_rqm')");
put($ryj, "first $_") for 1 .. 3;
ok(wait_equal($ryj, $rqm), 'rows go over TLS, to a service');
ok(defined $ryj->wait_for("SELECT received_at IS NOT NULL FROM spine.links WHERE direction = 'receiving'"), 'and come by a connection string');
is($rqm->sql("SELECT bool_and(s.ssl AND s.version = 'TLSv1.3' AND s.client_dn = '/CN=node_ryj') FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'node_ryj'"), 't', 'TLS 1.3, with a client\'s certificate');

# secrets

is($ryj->refused('postgres', "SELECT spine.connect_node('X', 'host=x password=secret', '{R1K}')"), '22023', 'a password in the string is refused');
is($ryj->refused('postgres', "SELECT spine.connect_node('X', 'host=x sslpassword=secret', '{R1K}')"), '22023', 'a key\'s password likewise');
is($ryj->refused('postgres', "SELECT spine.connect_node('X', 'postgresql://u:secret\@x/spine', '{R1K}')"), '22023', 'and one in an address');
like(($ryj->psql_as('postgres', "SELECT spine.connect_node('X', 'host=x password=secret', '{R1K}')"))[2], qr/passfile/, 'which is told');
unlike(($ryj->psql_as('postgres', "SELECT spine.connect_node('X', 'host=x password=secret', '{R1K}')"))[2] =~ s/^LINE.*//smr =~ s/^STATEMENT.*//smr, qr/secret/, 'without it');
$ryj->sql("CREATE ROLE operator_of_ryj LOGIN; SELECT spine.add_member('operator_of_ryj', 'RYJ', 'operator')");
is($ryj->refused('operator_of_ryj', 'SELECT conninfo FROM spine.node'), '42501', 'an operator reads no connection string');

# at the door

is(answer_at_rqm('client_ryj'), 'position', 'with its certificate the neighbour is let in');
like(answer_at_rqm('third'), qr/certificate authentication failed for user "node_ryj"/, 'with that of another Trust it is not -- attack 71');
like(answer_at_rqm('client_ryj', role => 'node_r1k'), qr/no pg_hba.conf entry|rejects connection/, 'nor as the role of another');
like(answer_at_rqm('expired'), qr/expired/, 'an expired one is none');
like(answer_at_rqm('stranger'), qr/unknown ca/i, 'one of another CA is none');
my ($out, $err);
IPC::Run::run([ 'psql', '-XAtq', '-d', sprintf('host=127.0.0.1 port=%d dbname=spine user=node_ryj sslmode=disable', $rqm->port), '-c', 'SELECT 1' ], '>', \$out, '2>', \$err);
like($err, qr/rejects connection|no pg_hba.conf entry/, 'nor is it let in without TLS');
IPC::Run::run([ 'psql', '-XAtq', '-d', sprintf('host=localhost hostaddr=127.0.0.1 port=%d dbname=spine user=node_ryj sslmode=verify-full sslrootcert=%s sslcert= sslkey=', $rqm->port, $ryj->data_dir . '/ca.crt'), '-c', 'SELECT 1' ], '>', \$out, '2>', \$err);
like($err, qr/requires a valid client certificate/, 'nor without a certificate');

# a server that is not the neighbour's

put_file($rqm, 'server.crt', slurp("$ca/false_server.crt"));
put_file($rqm, 'server.key', slurp("$ca/false_server.key"));
$rqm->sql('SELECT pg_reload_conf()');
ok(defined $ryj->wait_for("SELECT state = 'waiting' AND last_error ~ 'certificate verify failed' FROM spine.links WHERE direction = 'sending'"), 'a server with a certificate of another CA gets nothing');
put_file($rqm, 'server.crt', slurp("$ca/server_rqm.crt"));
put_file($rqm, 'server.key', slurp("$ca/server_rqm.key"));
$rqm->sql('SELECT pg_reload_conf()');
ok(defined $ryj->wait_for("SELECT state = 'connected' FROM spine.links WHERE direction = 'sending'"), 'the right one is found again');

# revoked, with a session that is open (attack 72), under load (F18)

my $load = IPC::Run::start([ 'psql', '-XAtq', '-d', $ryj->conninfo('postgres') ], '<', \(join '', map { SpineExchange::put_sql("load $_") . ";\nSELECT pg_sleep(0.02);\n" } 1 .. 600), '>', \my $ignored, '2>&1');
my $open = '';
my $session = { in => \my $in, out => \$open };
$in = '';
$session->{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', tls($ryj, 'node_ryj', to => $rqm, cert => "$ca/client_ryj.crt", key => "$ca/client_ryj.key") ], '<', \$in, '>', \$open, '2>&1', IPC::Run::timeout(120));
is(SpineNode::ask($session, "SELECT spine.receive_position() ->> 'status'"), "position\n", 'a session is open');
openssl('ca', '-config', "$ca/network/conf", '-revoke', "$ca/client_ryj.crt");
put_file($rqm, 'crl.pem', revocations());
$rqm->sql('SELECT pg_reload_conf()');
like(answer_at_rqm('client_ryj'), qr/revoked/, 'a revoked certificate is not let in');
ok(defined $ryj->wait_for("SELECT state = 'waiting' AND last_error ~ 'revoked' FROM spine.links WHERE direction = 'sending'"), 'the courier\'s own session ends with it');
my $told = '';
for (1 .. 100)
{
	$told = SpineNode::ask($session, "SELECT spine.receive_position() ->> 'message'");
	last if $told =~ /too old/;
	select undef, undef, undef, 0.2;
}
is($told, "the session is too old: connect anew\n", 'who keeps a session open is not listened to in it -- attack 72');
is(SpineNode::ask($session, "SELECT spine.receive('{\"from\": \"RYJ\"}') ->> 'message'"), "the session is too old: connect anew\n", 'nor is a batch taken');
cmp_ok($rqm->sql("SELECT count(*) FROM spine.incident WHERE kind = 'stale_session' AND node = 'RYJ'"), '>', 0, 'which is an incident');
is(SpineNode::ask($session, "SET spine.neighbour_session = '1d'") =~ /42501/ ? 'refused' : 'set', 'refused', 'nor does it give itself more time');

# a new certificate, while rows are written
put_file($ryj, 'client.crt', slurp("$ca/second.crt"));
put_file($ryj, 'client.key', slurp("$ca/second.key"));
ok(defined $ryj->wait_for("SELECT state = 'connected' FROM spine.links WHERE direction = 'sending'"), 'with a new certificate the courier is let in by itself');
$load->finish;
ok(wait_equal($ryj, $rqm, 120), 'and everything is there');
# a server's certificate is exchanged without anybody's notice
certificate('network', 'server_new', 'localhost');
put_file($rqm, 'server.crt', slurp("$ca/server_new.crt"));
put_file($rqm, 'server.key', slurp("$ca/server_new.key"));
$rqm->sql('SELECT pg_reload_conf()');
put($ryj, "after $_") for 1 .. 20;
ok(wait_equal($ryj, $rqm), 'and a new one of the server is taken as it comes');
is($ryj->sql("SELECT state FROM spine.links WHERE direction = 'sending'"), 'connected', 'the link is up');
is($ryj->sql("SELECT count(*) FROM spine.health() WHERE check_name = 'settings' AND subject ~ 'ssl' AND state <> 'ok'"), 0, 'health is content with TLS');

done_testing();
