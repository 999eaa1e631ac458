-- The access log: what an entry holds, that it stands whatever becomes of the reader's transaction, the chain and
-- what breaks it, who sees what of it, and statements that show many rows. Faults of processes: t/060_audit.pl.
\ir setup.psql
\ir as_role.psql
SELECT two_trusts('audit') \g /dev/null
SELECT make_roles('audit_operator', 'audit_app', 'audit_other_governor') \g /dev/null
SELECT spine.add_member('audit_operator', 'RYJ', 'operator') \g /dev/null
SELECT spine.add_member('audit_app', 'RQM', 'clinician') \g /dev/null
SELECT spine.host_organisation('R1K'), spine.add_member('audit_other_governor', 'R1K', 'governor') \g /dev/null
SELECT book('audit_ryj_system', n, n) FROM unnest(ARRAY['9990000018', '9990000026', '9990000034', '9990000042']) n \g /dev/null
SELECT book('audit_rqm_system', '9990000018', '9', '2026-01-08') \g /dev/null
SELECT agree('audit'), value_as('audit_ryj_clinician', $$ SELECT spine.refer('9990000018', 'RQM', 'x') $$) AS referral \g /dev/null

CREATE FUNCTION open_it(number text, who text DEFAULT 'audit_rqm_clinician', reason text DEFAULT 'she came to us') RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, format('SELECT spine.open_record(%L, ''care'', %L)', number, reason))
$$;
CREATE FUNCTION entries() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM spine.access_log $$;
CREATE FUNCTION faults() RETURNS text LANGUAGE sql AS $$
	SELECT coalesce((SELECT format('%s: %s', access_id, fault) FROM spine.verify_access_log()), 'whole')
$$;

-- DISCARD ALL takes pgTAP's own state along: what happens before it is kept in a table

CREATE TABLE stated (when_it_was text, who text);
SET spine."user" = 'Dr Who';
INSERT INTO stated SELECT 'set', spine.stated_user();
DISCARD ALL;
INSERT INTO stated SELECT 'discarded', spine.stated_user();
SELECT plan(120);
SELECT results_eq('SELECT * FROM stated', $$ VALUES ('set', 'Dr Who'), ('discarded', NULL) $$, 'DISCARD ALL forgets the person that was stated (attack 38)');

-- the content of an entry

SELECT is(entries(), 0::bigint, 'nothing is in the log before anybody has opened');
SELECT is(faults(), 'whole', 'and an empty chain is whole');
SELECT open_it('9990000018') \g /dev/null
SELECT results_eq($$ SELECT access_id, role_name = 'audit_rqm_clinician', user_name, organisation, duty, patient_id, purpose, reason, owners, how, basis, kind, record_count, statement
					   FROM spine.access_log $$,
	$$ VALUES (1::bigint, true, NULL::text, 'RQM', 'clinician', spine.patient_id('9990000018'), 'care', 'she came to us', ARRAY['RYJ', 'RQM'],
			   ARRAY['episode', 'referral', 'own'], ARRAY['nwl-maternity v1 clause 1', 'own records'], 'opening', NULL::bigint, NULL::text) $$,
	'an opening is written: who, for whom, why, whose rows, how, on which basis');
SELECT ok(at BETWEEN now() - interval '1 minute' AND clock_timestamp(), 'and when') FROM spine.access_log;
SELECT is(octet_length(content_mac) + octet_length(hash), 64, 'with two hashes') FROM spine.access_log;
SELECT is(hash, sha256(decode(repeat('00', 32), 'hex') || int8send(access_id) || timestamptz_send(at) || content_mac),
	'the hash is made of the hash before, the number, the time and content_mac, as anybody can compute') FROM spine.access_log;
SELECT open_it('9990000026', 'audit_ryj_clinician') \g /dev/null
SELECT results_eq('SELECT how, basis, owners FROM spine.access_log WHERE access_id = 2', $$ VALUES (ARRAY['own'], ARRAY['own records'], ARRAY['RYJ']) $$,
	'an opening of one''s own organisation''s records is written too');
SELECT is(l.hash, sha256(p.hash || int8send(l.access_id) || timestamptz_send(l.at) || l.content_mac), 'each entry is bound to the one before')
  FROM spine.access_log l JOIN spine.access_log p ON p.access_id = l.access_id - 1;
SELECT is((spine.access_log_head()).access_id, 2::bigint, 'the head is the last entry');
SELECT is((spine.access_log_head()).hash, (SELECT hash FROM spine.access_log WHERE access_id = 2), 'with its hash');

SELECT throws_ok($$ SELECT open_it('9990000018', reason => repeat('x', 1001)) $$, '22001', 'the reason is longer than 1000 characters', 'a reason has an end');
SELECT lives_ok($$ SELECT open_it('9990000018', reason => repeat('ü', 1000)) $$, 'a thousand characters are well, whatever they are');
SELECT is((SELECT length(reason) FROM spine.access_log ORDER BY access_id DESC LIMIT 1), 1000, 'and kept whole');
SELECT throws_ok($$ SELECT spine.audit_access('RYJ', 'clinician', gen_random_uuid(), 'care', 'x', ARRAY(SELECT 'X' || n FROM generate_series(1, 5000) n), '{own}', '{}') $$,
	'54000', NULL, 'owners that do not fit are refused, not left out');
SELECT lives_ok($$ SELECT spine.audit_access('RYJ', 'clinician', gen_random_uuid(), 'care', 'x', '{RYJ}', '{own}', ARRAY(SELECT 'agreement ' || n || ' v1 clause 1' FROM generate_series(1, 5000) n)) $$,
	'a basis that does not fit is cut');
SELECT ok((SELECT basis[cardinality(basis)] = format('and %s more', 5001 - cardinality(basis)) FROM spine.access_log ORDER BY access_id DESC LIMIT 1), 'and says by how much');
SELECT throws_ok($$ SELECT spine.audit_access('RYJ', 'clinician', NULL, 'care', 'x', '{RYJ}', '{own}', '{}') $$, '22004', 'patient_id must be given', 'nothing of an entry is left out');
SELECT throws_ok($$ SELECT as_role('audit_rqm_clinician', 'SELECT spine.audit_access(''RYJ'', ''clinician'', gen_random_uuid(), ''care'', ''x'', ''{RYJ}'', ''{own}'', ''{}'')') $$,
	'42501', NULL, 'nobody writes entries but the functions that open');
SELECT is(faults(), 'whole', 'the chain is whole');

-- an entry stands whatever becomes of the transaction

SELECT entries() AS before \gset
BEGIN;
SELECT open_it('9990000018') \g /dev/null
ROLLBACK;
SELECT is(entries(), :before + 1::bigint, 'rolled back, the entry stays');
BEGIN READ ONLY;
SELECT lives_ok($$ SELECT open_it('9990000018') $$, 'a read-only transaction opens');
SELECT is((SELECT count(*) FROM as_role('audit_rqm_clinician', 'SELECT * FROM spine.timeline(''9990000018'')')), 4::bigint, 'and reads');
COMMIT;
SELECT is(entries(), :before + 2::bigint, 'its entry is there');
SELECT value_as('audit_rqm_clinician', 'SELECT spine.close_records()') \g /dev/null
BEGIN;
SAVEPOINT a;
SELECT open_it('9990000018') \g /dev/null
ROLLBACK TO a;
SELECT is((SELECT count(*) FROM as_role('audit_rqm_clinician', 'SELECT * FROM spine.timeline(''9990000018'')')), 2::bigint, 'rolled back to a savepoint, nothing is open');
COMMIT;
SELECT is(entries(), :before + 3::bigint, 'but written it is');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT open_it('9990000018') \g /dev/null
ROLLBACK;
DO $$ BEGIN PERFORM open_it('9990000018'); RAISE 'undone'; EXCEPTION WHEN raise_exception THEN NULL; END $$;
SELECT is(entries(), :before + 5::bigint, 'in an isolated transaction and in a block that fails too');
SELECT throws_ok($$ SELECT open_it('9990000026') $$, 'SP006', NULL, 'what is not allowed');
SELECT is(entries(), :before + 5::bigint, 'is no access');
-- the relationship of an emergency is committed with its entry
BEGIN;
SELECT spine.audit_access('RQM', 'clinician', spine.patient_id('9990000034'), 'emergency', 'she bleeds', '{RYJ}', '{emergency}', '{nwl-maternity v1 clause 1}',
	now() + interval '3 hours', '00000000-0000-7000-8000-00000000000e') \g /dev/null
ROLLBACK;
SELECT results_eq($$ SELECT kind, how FROM spine.access_log ORDER BY access_id DESC LIMIT 1 $$, $$ VALUES ('emergency', ARRAY['emergency']) $$, 'an emergency is written as one');
SELECT results_eq($$ SELECT organisation, kind, owner, reason, until > now() + interval '179 minutes', audience FROM spine.relationship WHERE relationship_id = '00000000-0000-7000-8000-00000000000e' $$,
	$$ VALUES ('RQM', 'emergency', 'RQM', 'she bleeds', true, '{}'::text[]) $$, 'with its relationship, though the transaction was rolled back');
SELECT throws_ok($$ SELECT spine.audit_access('RQM', 'clinician', spine.patient_id('9990000034'), 'emergency', 'x', '{RYJ}', '{emergency}', '{}',
	now() + interval '3 hours', '00000000-0000-7000-8000-00000000000e') $$, 'SP009', 'the access log cannot be written', 'without its relationship there is no entry');
SELECT is(faults(), 'whole', 'and no gap');

-- append-only (fault F22)

SELECT throws_ok('UPDATE spine.access_log SET reason = ''other''', '55000', NULL, 'what is written stays');
SELECT throws_ok('DELETE FROM spine.access_log', '55000', NULL, 'all of it');
SELECT throws_ok('TRUNCATE spine.access_log', '55000', NULL, 'the whole table too');

-- What a superuser does to it with the triggers off, the chain tells (fault F22, invariant I5). Each in a transaction that is rolled back.

CREATE FUNCTION tampered(deed text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	told text;
BEGIN
	SET LOCAL session_replication_role = replica;
	EXECUTE deed;
	told := faults();
	RAISE EXCEPTION USING MESSAGE = told, ERRCODE = 'ZZ001';
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
	RETURN SQLERRM;
END
$$;
SELECT is(tampered($$ UPDATE spine.access_log SET reason = 'another' WHERE access_id = 3 $$), '3: content changed: it is not what content_mac was made of', 'a reason that was changed');
SELECT alike(tampered(format('UPDATE spine.access_log SET %s WHERE access_id = 3', change)), '3: content changed%', 'changed: ' || change)
  FROM unnest(ARRAY['role_name = ''x''', 'user_name = ''x''', 'organisation = ''R1K''', 'duty = ''x''', 'patient_id = gen_random_uuid()', 'purpose = ''x''',
					'owners = owners || ''R1K''::text', 'owners = ARRAY[''RY'', ''J'']', 'how = ''{own}''', 'basis = ''{}''', 'kind = ''emergency''', 'record_count = 1', 'statement = ''x''',
					'at = at + interval ''1 microsecond''', 'content_mac = sha256(content_mac)', 'user_name = ''''']) change;
SELECT is(tampered($$ UPDATE spine.access_log SET hash = sha256(hash) WHERE access_id = 3 $$), '3: link broken: hash does not follow from the entry before', 'a hash that was changed');
SELECT is(tampered($$ UPDATE spine.access_log SET hash = '' WHERE access_id = 3 $$), '3: link broken: hash does not follow from the entry before', 'or taken away');
SELECT is(tampered($$ DELETE FROM spine.access_log WHERE access_id = 3 $$), '3: entry missing: there is none with number 3', 'an entry that was deleted');
SELECT is(tampered($$ DELETE FROM spine.access_log WHERE access_id = 1 $$), '1: entry missing: there is none with number 1', 'the first');
SELECT is(tampered($$ DELETE FROM spine.access_log WHERE access_id BETWEEN 3 AND 5 $$), '3: entries missing: there are none with numbers 3 to 5', 'a cut in the middle');
SELECT alike(tampered($$ DELETE FROM spine.access_log WHERE access_id = 3; UPDATE spine.access_log SET access_id = access_id - 1 WHERE access_id > 3 $$), '3: content changed%', 'a cut that was closed by counting anew');
SELECT alike(tampered($$ UPDATE spine.access_log SET access_id = 0 WHERE access_id = 3; UPDATE spine.access_log SET access_id = 3 WHERE access_id = 4;
						 UPDATE spine.access_log SET access_id = 4 WHERE access_id = 0 $$), '3: content changed%', 'two entries that were swapped');
SELECT alike(tampered($$ UPDATE spine.access_log l SET content_mac = o.content_mac, hash = o.hash FROM spine.access_log o WHERE l.access_id IN (3, 4) AND o.access_id = 7 - l.access_id $$),
	'3: content changed%', 'two whose hashes were swapped');
SELECT alike(tampered($$ INSERT INTO spine.access_log SELECT l.access_id + 1, l.at, l.role_name, l.user_name, l.organisation, l.duty, l.patient_id, l.purpose, l.reason, l.owners, l.how, l.basis,
						 l.kind, l.record_count, l.statement, l.content_mac, sha256(l.hash || int8send(l.access_id + 1) || timestamptz_send(l.at) || l.content_mac)
						 FROM spine.access_log l ORDER BY l.access_id DESC LIMIT 1 $$), '%: content changed%', 'an entry that was put in by hand, without the key');
SELECT is(tampered($$ INSERT INTO spine.access_log SELECT 0, l.at, l.role_name, l.user_name, l.organisation, l.duty, l.patient_id, l.purpose, l.reason, l.owners, l.how, l.basis,
						 l.kind, l.record_count, l.statement, l.content_mac, l.hash FROM spine.access_log l WHERE l.access_id = 1 $$), '1: entry 0 is out of order', 'and one before the first');
SELECT is(faults(), 'whole', 'as it is, it is whole');

-- Somebody's row in the auditor's way: it reads the last entry again
BEGIN;
SET LOCAL session_replication_role = replica;
CREATE TEMPORARY TABLE kept AS SELECT * FROM spine.access_log ORDER BY access_id DESC LIMIT 1;
INSERT INTO spine.access_log SELECT k.access_id + 1, k.at, k.role_name, k.user_name, k.organisation, k.duty, k.patient_id, k.purpose, k.reason, k.owners, k.how, k.basis,
	k.kind, k.record_count, k.statement, k.content_mac, k.hash FROM kept k;
COMMIT;
SELECT lives_ok($$ SELECT open_it('9990000018') $$, 'an entry that somebody has put in at the end is no hindrance');
SELECT alike(faults(), '%: content changed%', 'but told');
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM spine.access_log l USING kept k WHERE l.access_id > k.access_id;
COMMIT;
SELECT pg_sleep(0) FROM spine.audit_access('RYJ', 'clinician', gen_random_uuid(), 'care', 'x', '{RYJ}', '{own}', '{}') \g /dev/null
SELECT alike(faults(), '%missing%', 'entries that were cut off while the auditor runs show at the next one');
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM spine.access_log l USING kept k WHERE l.access_id > k.access_id;
COMMIT;
-- it goes on from what the table says when it starts anew
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'spine auditor' \g /dev/null
SELECT lives_ok($$ SELECT open_it('9990000018') $$, 'an auditor that was ended is replaced');
SELECT is(faults(), 'whole', 'and goes on with the chain');

-- who may verify

SELECT lives_ok($$ SELECT as_role('audit_ryj_governor', 'SELECT * FROM spine.verify_access_log()') $$, 'a governor verifies');
SELECT lives_ok($$ SELECT as_role('audit_operator', 'SELECT * FROM spine.verify_access_log()') $$, 'an operator too');
SELECT lives_ok($$ SELECT as_role('audit_operator', 'SELECT * FROM spine.access_log_head()') $$, 'who notes the head');
SELECT throws_ok($$ SELECT as_role('audit_ryj_clinician', 'SELECT * FROM spine.verify_access_log()') $$, '42501', NULL, 'a clinician does not');
SELECT throws_ok($$ SELECT as_role('audit_ryj_clinician', 'SELECT * FROM spine.access_log_head()') $$, '42501', NULL, 'neither');

-- spine.user (attack 36)

SELECT throws_ok($$ SELECT as_role('audit_rqm_clinician', 'SELECT set_config(''spine.user'', ''Dr Who'', false)') $$, '42501', NULL, 'nobody states a person who was not granted it');
GRANT SET ON PARAMETER spine."user" TO audit_app;
SELECT throws_ok($$ SELECT open_it('9990000018', 'audit_app') $$, '28000', 'state the person in spine.user', 'an application says for whom it opens');
BEGIN;
SET LOCAL ROLE audit_app;
SELECT set_config('spine.user', 'Dr Who', true) \g /dev/null
SELECT spine.open_record('9990000018', 'care', 'x', true) \g /dev/null
RESET ROLE;
SELECT is((SELECT role_name || '/' || user_name FROM spine.access_log ORDER BY access_id DESC LIMIT 1), 'audit_app/Dr Who', 'who then stands in the entry');
COMMIT;
SELECT is(spine.stated_user(), NULL, 'stated for a transaction, it ends with it');
SELECT throws_ok($$ SET spine."user" = E'a\nb' $$, '22023', NULL, 'it is one line');
SELECT throws_ok(format('SET spine."user" = %L', repeat('x', 201)), '22023', NULL, 'and not long');
SELECT lives_ok(format('SET spine."user" = %L', repeat('x', 200)), 'two hundred bytes are well');
SELECT lives_ok($$ SELECT spine.audit_access('RYJ', 'clinician', gen_random_uuid(), 'care', 'x', '{RYJ}', '{own}', '{}') $$, 'they fit');
RESET ALL;
SELECT is(spine.stated_user(), NULL, 'RESET ALL forgets the person (attack 38)');
REVOKE SET ON PARAMETER spine."user" FROM audit_app;
SELECT throws_ok(format('SELECT as_role(''audit_rqm_clinician'', ''SELECT set_config(''''%s'''', ''''1000'''', false)'')', setting), '42501', NULL, setting || ' is no reader''s to set')
  FROM unnest(ARRAY['spine.audit_timeout', 'spine.export_rows']) setting;

-- who sees which accesses

CREATE FUNCTION accesses_of(who text) RETURNS text LANGUAGE sql AS $$
	SELECT value_as(who, 'SELECT string_agg(DISTINCT concat_ws('' '', role_name, coalesce(user_name, ''-''), array_to_string(owners, ''+''), array_to_string(how, ''+''), array_to_string(basis, ''+'')), ''; '') FROM spine.accesses WHERE reason IN (''she came to us'', ''x'') AND role_name IN (''audit_rqm_clinician'', ''audit_app'')')
$$;
SELECT is(accesses_of('audit_ryj_governor'),
	'audit_app Dr Who RYJ episode+referral+own nwl-maternity v1 clause 1; audit_rqm_clinician - RYJ episode+referral+own nwl-maternity v1 clause 1',
	'a governor of the owner sees who opened its rows, and of owners and basis what concerns it');
SELECT is(accesses_of('audit_rqm_governor'),
	'audit_app Dr Who RYJ+RQM episode+referral+own nwl-maternity v1 clause 1+own records; audit_rqm_clinician - RYJ+RQM episode+referral+own nwl-maternity v1 clause 1+own records',
	'a governor of the reader everything that its staff did');
SELECT is(value_as('audit_other_governor', 'SELECT count(*) FROM spine.accesses'), '0', 'a governor of another organisation nothing');
SELECT throws_ok(format('SELECT as_role(%L, ''SELECT * FROM spine.accesses'')', r), '42501', NULL, 'accesses are not for ' || r)
  FROM unnest(ARRAY['audit_rqm_clinician', 'audit_operator']) r;
SELECT throws_ok($$ SELECT as_role('audit_ryj_governor', 'SELECT * FROM spine.access_log') $$, '42501', NULL, 'nobody reads the table');

SELECT results_eq($$ SELECT as_role('audit_ryj_governor', 'SELECT DISTINCT organisation, organisation_name, duty, purpose, how FROM spine.patient_accesses(''9990000026'')') $$,
	$$ VALUES ('(RYJ,"IMPERIAL COLLEGE HEALTHCARE NHS TRUST",clinician,care,{own})') $$, 'of one person the governor of an organisation with records of her sees who opened');
SELECT is(value_as('audit_rqm_governor', 'SELECT count(*) FROM spine.patient_accesses(''9990000026'')'), '0', 'one of an organisation without does not');
SELECT ok(value_as('audit_rqm_governor', 'SELECT count(*) FROM spine.patient_accesses(''9990000018'')')::integer > 5, 'one whose staff opened does');
SELECT is(value_as('audit_other_governor', 'SELECT count(*) FROM spine.patient_accesses(''9990000018'')'), '0', 'others see nothing');
SELECT is(value_as('audit_other_governor', 'SELECT count(*) FROM spine.patient_accesses(''9990000069'')'), '0', 'as of somebody unknown');
SELECT throws_ok($$ SELECT as_role('audit_rqm_clinician', 'SELECT * FROM spine.patient_accesses(''9990000018'')') $$, '42501', NULL, 'clinicians ask no such thing');

-- what owners at other nodes are told

INSERT INTO spine.node (name, state) VALUES ('FAR', 'active');
INSERT INTO spine.node_organisation (organisation, node) VALUES ('RAS', 'FAR');
INSERT INTO spine.organisation (code, name, kind) VALUES ('R0A', 'MANCHESTER', 'trust') ON CONFLICT DO NOTHING;
SELECT spine.audit_access('RYJ', 'clinician', spine.patient_id('9990000042'), 'care', 'why', '{RAS,RYJ,R0A}', '{referral}', '{nwl-maternity v1 clause 1,own records}') AS noticed \gset
SELECT results_eq($$ SELECT about, owner, organisation, patient_id, reason, how, basis, audience, revision FROM spine.access_notice ORDER BY about $$,
	$$ VALUES ('R0A', 'RYJ', 'RYJ', spine.patient_id('9990000042'), 'why', ARRAY['referral'], '{}'::text[], ARRAY['R0A:care'], 1::bigint),
			  ('RAS', 'RYJ', 'RYJ', spine.patient_id('9990000042'), 'why', ARRAY['referral'], '{}', ARRAY['RAS:care'], 1) $$,
	'each owner at another node gets a notice, which names no other owner');
SELECT is((SELECT string_agg(destination || ' ' || action, ',') FROM spine.delivery WHERE relation = 'spine.access_notice'), 'FAR put', 'which goes to its node');
INSERT INTO spine.access_notice (notice_id, access_id, owner, about, at, role_name, organisation, duty, patient_id, purpose, reason, how, basis, audience)
	VALUES (gen_random_uuid(), 77, 'RAS', 'RYJ', now(), 'far_clinician', 'RAS', 'clinician', spine.patient_id('9990000042'), 'care', 'from afar', '{referral}', '{a v1 clause 1}', '{RYJ:care}');
SELECT is(value_as('audit_ryj_governor', $$ SELECT concat_ws(' ', access_id, role_name, organisation, owners, how, basis, kind, received) FROM spine.accesses WHERE reason = 'from afar' $$),
	'77 far_clinician RAS {RYJ} {referral} {""a v1 clause 1""} opening t', 'a notice that came stands among the accesses');
SELECT is(value_as('audit_rqm_governor', $$ SELECT count(*) FROM spine.accesses WHERE reason = 'from afar' $$), '0', 'for the governors of whose rows they were');
SELECT ok(value_as('audit_ryj_governor', $$ SELECT string_agg(organisation, ',') FROM spine.patient_accesses('9990000042') $$) LIKE '%RAS%', 'and among those of the person');

-- statements that show many rows

CREATE TABLE seen_exports (n bigint);
CREATE FUNCTION exports() RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat_ws('|', role_name, organisation, duty, array_to_string(owners, '+'), record_count, statement), E'\n' ORDER BY access_id), 'none')
	  FROM spine.access_log WHERE kind = 'export' AND access_id > coalesce((SELECT max(n) FROM seen_exports), 0)
$$;
CREATE FUNCTION exported(wanted text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	told text := exports();
BEGIN
	INSERT INTO seen_exports SELECT max(access_id) FROM spine.access_log;
	RETURN NEXT is(told, wanted, what);
END
$$;
SELECT exported('none', 'few rows are no export');
SET spine.export_rows = 4;
SET ROLE audit_ryj_analyst;
-- O'Brien's 9990000018
SELECT count(*) FROM maternity_2_0.booking WHERE local_patient_id IS DISTINCT FROM '9990000069' /* nested /* comment */ */ AND 1.5e1 < .5e+3 \g /dev/null
RESET ROLE;
SELECT exported('audit_ryj_analyst|RYJ|analyst|RYJ|4|SELECT count(*) FROM maternity_2_0.booking WHERE local_patient_id IS DISTINCT FROM ? AND ? < ?+?',
	'a statement that shows many rows is written, without what it asks for (attack 53)');
SET ROLE audit_ryj_analyst;
SELECT E'it\'s 9990000018', $x$9990000018$x$, 'a''b', U&'\0041', "9990000018".local_patient_id AS "a ""9990000018""" FROM maternity_2_0.booking AS "9990000018" \g /dev/null
RESET ROLE;
SELECT exported('audit_ryj_analyst|RYJ|analyst|RYJ|4|SELECT E?, ?, ?, U&?, "?".local_patient_id AS "a ""?""" FROM maternity_2_0.booking AS "?"',
	'whatever form a literal has');
SET ROLE audit_ryj_analyst;
PREPARE few(date) AS SELECT count(*) FROM maternity_2_0.booking WHERE antenatal_booking_date <> $1;
EXECUTE few('2026-01-06') \g /dev/null
SET enable_nestloop = off;
SELECT count(*) FROM maternity_2_0.booking b JOIN maternity_2_0.dating_scan s ON s.scan_offer_date = b.antenatal_booking_date + 7 \g /dev/null
RESET ROLE;
SELECT exported(E'audit_ryj_analyst|RYJ|analyst|RYJ|4|PREPARE few(date) AS SELECT count(*) FROM maternity_2_0.booking WHERE antenatal_booking_date <> $1\n'
				'audit_ryj_analyst|RYJ|analyst|RYJ|8|SELECT count(*) FROM maternity_2_0.booking b JOIN maternity_2_0.dating_scan s ON s.scan_offer_date = b.antenatal_booking_date + ?',
	'a prepared one, and a join by all its rows');
SET ROLE audit_ryj_analyst;
COPY (SELECT owner FROM spine.all_records) TO STDOUT \g /dev/null
RESET ROLE;
SELECT exported('audit_ryj_analyst|RYJ|analyst|RYJ|8|COPY (SELECT owner FROM spine.all_records) TO STDOUT', 'what is copied out (attack 30)');
SET ROLE audit_ryj_system;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM maternity_2_0.booking;
FETCH 2 FROM c \g /dev/null
FETCH 1 FROM c \g /dev/null
FETCH 2 FROM c \g /dev/null
COMMIT;
RESET ROLE;
SELECT exported('audit_ryj_system|RYJ|maternity|RYJ|4|DECLARE c CURSOR FOR SELECT * FROM maternity_2_0.booking', 'the fetches of a cursor together, here of a supplier''s system');
SET ROLE audit_ryj_analyst;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT * FROM maternity_2_0.booking;
FETCH 1 FROM c \g /dev/null
COMMIT;
CLOSE c;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM maternity_2_0.dating_scan;
FETCH 4 FROM c \g /dev/null
ROLLBACK;
RESET ROLE;
-- the held one is read again from its beginning; the entry of the other is waited for by nobody
SELECT pg_sleep(0.3) \g /dev/null
SELECT exported(E'audit_ryj_analyst|RYJ|analyst|RYJ|5|DECLARE c CURSOR WITH HOLD FOR SELECT * FROM maternity_2_0.booking\n'
				'audit_ryj_analyst|RYJ|analyst|RYJ|4|DECLARE c CURSOR FOR SELECT * FROM maternity_2_0.dating_scan', 'one that is held, and one that is rolled back');

CREATE FUNCTION nested() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM maternity_2_0.booking); END $$;
CREATE PROCEDURE called() LANGUAGE plpgsql AS $$ BEGIN PERFORM nested(); COMMIT; PERFORM nested(); END $$;
SET ROLE audit_ryj_analyst;
SELECT nested() \g /dev/null
CALL called();
DO $$ BEGIN FOR i IN 1..4 LOOP PERFORM 'x' FROM maternity_2_0.booking LIMIT 1; END LOOP; END $$;
RESET ROLE;
SELECT exported(E'audit_ryj_analyst|RYJ|analyst|RYJ|4|SELECT nested()\n'
				'audit_ryj_analyst|RYJ|analyst|RYJ|8|CALL called()\n'
				'audit_ryj_analyst|RYJ|analyst|RYJ|4|DO BEGIN FOR i IN ? LOOP PERFORM ? FROM maternity_2_0.booking LIMIT ?; END LOOP; END',
	'what functions, CALL and DO read counts for the statement');

-- one that fails has shown its rows all the same
SELECT throws_ok($$ SELECT as_role('audit_ryj_analyst', 'SELECT 1 / (count(*) - 4) FROM maternity_2_0.booking') $$, '22012', NULL, 'a statement fails after it has read');
SELECT value_as('audit_ryj_analyst', 'SELECT 1') \g /dev/null
SELECT ok(exports() LIKE 'audit_ryj_analyst|RYJ|analyst|RYJ|4|SELECT throws_ok(%', 'it is written');
INSERT INTO seen_exports SELECT max(access_id) FROM spine.access_log;
\set ON_ERROR_STOP off
SET ROLE audit_ryj_analyst;
SELECT 1 / (count(*) - 4) FROM maternity_2_0.booking;
RESET ROLE;
\set ON_ERROR_STOP on
SELECT pg_sleep(0.3) \g /dev/null
SELECT exported('audit_ryj_analyst|RYJ|analyst|RYJ|4|SELECT ? / (count(*) - ?) FROM maternity_2_0.booking', 'where the whole transaction is rolled back too, and by nobody waited for');

SET ROLE audit_ryj_analyst;
SET force_parallel_mode = on;
SELECT count(*) FROM maternity_2_0.booking \g /dev/null
RESET force_parallel_mode;
RESET ROLE;
SELECT exported('audit_ryj_analyst|RYJ|analyst|RYJ|4|SELECT count(*) FROM maternity_2_0.booking', 'in parallel, a row counts once');

-- what is none
SET spine.export_rows = 2;
SELECT open_it('9990000018') \g /dev/null
SET ROLE audit_rqm_clinician;
SELECT spine.record('9990000018') IS NOT NULL, count(*) FROM spine.timeline('9990000018') \g /dev/null
RESET ROLE;
SELECT exported('audit_rqm_clinician|RQM|clinician|RQM|2|SELECT spine.record(?) IS NOT NULL, count(*) FROM spine.timeline(?)', 'a person''s record counts as one, however many rows it has');
SELECT count(*) FROM maternity.booking \g /dev/null
SET ROLE audit_other_governor;
SELECT count(*) FROM spine.accesses \g /dev/null
RESET ROLE;
SELECT exported('none', 'a superuser without membership is not asked, nor who reads no records');
RESET spine.export_rows;
SET ROLE audit_ryj_analyst;
SELECT count(*) FROM maternity_2_0.booking \g /dev/null
RESET ROLE;
SELECT exported('none', 'a hundred rows are meant, where nothing else is set');
SELECT is(value_as('audit_ryj_governor', $$ SELECT count(*) FROM spine.accesses WHERE kind = 'export' AND statement LIKE 'COPY%' AND record_count = 8 $$), '1', 'its governor sees what was exported');
SELECT is(value_as('audit_rqm_governor', $$ SELECT count(*) FROM spine.accesses WHERE kind = 'export' AND organisation = 'RYJ' $$), '0', 'another''s does not');
SELECT is(faults(), 'whole', 'the chain is whole to the end');

SELECT * FROM finish();
SELECT leave_two_trusts('audit'), drop_roles('audit_operator', 'audit_app', 'audit_other_governor') \g /dev/null
