-- Agreements: the document, the steps of its life, and the rules that it compiles to.
\ir setup.psql
\ir as_role.psql
SELECT plan(106);
SELECT two_trusts('agreements') \g /dev/null
SELECT make_roles('agreements_ras_governor') \g /dev/null
SELECT spine.host_organisation('RAS'), spine.add_member('agreements_ras_governor', 'RAS', 'governor') \g /dev/null

CREATE FUNCTION ryj(query text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT as_role('agreements_ryj_governor', query) $$;
CREATE FUNCTION rqm(query text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT as_role('agreements_rqm_governor', query) $$;
CREATE FUNCTION ras(query text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT as_role('agreements_ras_governor', query) $$;
CREATE FUNCTION state_of(the_version integer DEFAULT 1, the_name text DEFAULT 'nwl-maternity') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(state, ',') FROM spine.agreement_states() WHERE name = the_name AND version = the_version
$$;
CREATE FUNCTION faults(document jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(path || ': ' || fault, '; ') FROM spine.agreement_faults(document)
$$;

-- the document: every fault, whatever it is given

SELECT is_empty('SELECT * FROM spine.agreement_faults(document())', 'a sound document has no fault');
SELECT is_empty($$ SELECT * FROM spine.agreement_faults(document('{"end": "2026-01-01", "review": null, "description": "x"}',
	'{"purpose": "reporting", "groups": ["booking"], "note": "x"}') #- '{clauses,0,relationships}') $$, 'nor has one with all that may be given');
SELECT is(faults(d), f, n) FROM (VALUES
	(NULL::jsonb, '$: must be an object', 'no document'),
	('[]', '$: must be an object', 'a list'),
	('"x"', '$: must be an object', 'a text'),
	('{}', 'name: must be 2 to 63 lower-case letters, digits, hyphens and underscores, a letter first; '
		'version: must be a whole number from 1 to 999999; title: must be a text that is not empty; '
		'parties: must be a list of organisation codes that is not empty; start: must be a date (YYYY-MM-DD); '
		'clauses: must be a list that is not empty', 'an empty document'),
	(document('{"nam": 1}'), 'nam: is not a known key', 'an unknown key'),
	(document('{"name": "No Spaces"}'), 'name: must be 2 to 63 lower-case letters, digits, hyphens and underscores, a letter first', 'a bad name'),
	(document('{"version": 1.5}'), 'version: must be a whole number from 1 to 999999', 'half a version'),
	(document('{"version": "1"}'), 'version: must be a whole number from 1 to 999999', 'a version in quotes'),
	(document('{"version": 99999999999999999999999}'), 'version: must be a whole number from 1 to 999999', 'a huge version'),
	(document('{"title": " "}'), 'title: must be a text that is not empty', 'an empty title'),
	(document('{"start": "2026-02-30"}'), 'start: must be a date (YYYY-MM-DD)', 'a start on no day'),
	(document('{"end": "2025-12-31"}'), 'end: lies before the start', 'an end before the start'),
	(document('{"review": 3}'), 'review: must be a date (YYYY-MM-DD) or null', 'a review that is no date'),
	(document('{"parties": ["RYJ", "RQM", "RYJ"]}'), 'parties: names RYJ twice', 'a party twice'),
	(document('{"parties": ["RYJ", "RQM", "r as", 7]}'),
		'parties[2]: must be an organisation code in capitals; parties[3]: must be an organisation code in capitals', 'parties that are none'),
	(document('{"parties": ["RYJ"]}'), 'parties: must be two at least; clauses[0].from[1]: is not among the parties; '
		'clauses[0].to[1]: is not among the parties', 'one party alone'),
	(document('{"clauses": {}}'), 'clauses: must be a list that is not empty', 'clauses that are none'),
	(document('{"clauses": [1]}'), 'clauses[0]: must be an object', 'a clause that is none'),
	(document('{}', '{"from": ["RYJ"], "to": ["RYJ"]}'), 'clauses[0].to: is the same one organisation as from', 'sharing with oneself'),
	(document('{}', '{"to": ["RAS"]}'), 'clauses[0].to[0]: is not among the parties', 'sharing with one who has not signed'),
	(document('{}', '{"purpose": "curiosity"}'), 'clauses[0].purpose: must be one of care, reporting, commissioning', 'a purpose that there is not'),
	(document('{}', '{"dataset": "Maternity; DROP"}'), 'clauses[0].dataset: must be the name of a data set', 'a bad data set'),
	(document('{}', '{"groups": "some"}'), 'clauses[0].groups: must be "all" or a list of data groups that is not empty', 'bad groups'),
	(document('{}', '{"groups": ["booking", 1, "booking"]}'),
		'clauses[0].groups[1]: must be the name of a data group; clauses[0].groups: names booking twice', 'bad groups in a list'),
	(document('{}', '{"relationships": []}'), 'clauses[0].relationships: must be a list that is not empty: care needs a relationship', 'care without a relationship'),
	(document('{}', '{"relationships": ["friendship"]}'), 'clauses[0].relationships[0]: must be one of episode, referral, transfer, claim, emergency',
		'a relationship that there is not'),
	(document('{}', '{"x": 1, "note": 1}'), 'clauses[0].x: is not a known key; clauses[0].note: must be a text', 'an unknown key in a clause'),
	(document(jsonb_build_object('description', repeat('x', 262144))), '$: is longer than 262144 bytes', 'a document without end')
) AS t (d, f, n);

SELECT is(faults(pg_read_file(:'source' || '/policies/maternity-direct-care.json')::jsonb), NULL, 'the model agreement has no fault');
SELECT is_empty(format($$
	SELECT g FROM jsonb_path_query(%L::jsonb, '$.clauses[*].groups[*]') g
	 WHERE g #>> '{}' NOT IN (SELECT data_group FROM spine.published_groups() WHERE dataset = 'maternity')
$$, pg_read_file(:'source' || '/policies/maternity-direct-care.json')), 'and names no data group that there is not');

-- proposing

SELECT throws_ok($$ SELECT ryj('SELECT spine.propose_agreement(''{"name": "x"}'')') $$, 'SP005', 'the agreement document has 6 faults',
	'a faulty document is refused');
SELECT throws_ok(format('SELECT ryj(%L)', format('SELECT spine.propose_agreement(%L)', document('{"parties": ["RYJ", "RQM", "X99"]}'))),
	'SP005', 'the agreement document has 1 fault', 'a party that is not known cannot be proposed');
SELECT throws_ok(format('SELECT ryj(%L)', format('SELECT spine.propose_agreement(%L)', document('{}', '{"groups": ["boking"]}'))),
	'SP005', 'the agreement document has 1 fault', 'nor a data group that its data set has not');
SELECT throws_ok(format('SELECT ras(%L)', format('SELECT spine.propose_agreement(%L)', document())),
	'42501', NULL, 'nobody proposes what others agree');
SELECT throws_ok(format('SELECT as_role(''agreements_ryj_clinician'', %L)', format('SELECT spine.propose_agreement(%L)', document())),
	'42501', NULL, 'nor does a clinician');
SELECT results_eq(format('SELECT ryj(%L)', format('SELECT name, version, encode(digest, ''hex'') FROM spine.propose_agreement(%L)', document())),
	format('VALUES (%L)', format('(nwl-maternity,1,%s)', encode(sha256(convert_to(document()::text, 'UTF8')), 'hex'))),
	'a governor of a party proposes; what is to be signed is the digest of the document');
SELECT throws_ok(format('SELECT rqm(%L)', format('SELECT spine.propose_agreement(%L)', document('{"title": "Another"}'))),
	'SP005', 'agreement "nwl-maternity" version 1 has been proposed already', 'another document under the same version is refused');
SELECT results_eq('SELECT owner, kind, by_role = ''agreements_ryj_governor'', audience FROM spine.agreement_event',
	$$ VALUES ('RYJ', 'proposed', true, ARRAY['RQM:care', 'RQM:reporting', 'RYJ:care', 'RYJ:reporting']) $$, 'the step is written, for all parties to read');
SELECT is(state_of(), 'proposed', 'it is proposed');
SELECT results_eq($$ SELECT rqm('SELECT name, state, parties, signed_by FROM spine.agreements') $$,
	$$ VALUES ('(nwl-maternity,proposed,"{RYJ,RQM}",{})') $$, 'the other party sees it');
SELECT is_empty($$ SELECT ras('SELECT * FROM spine.agreements') $$, 'others do not');
SELECT is_empty('SELECT * FROM spine.sharing_rule', 'it shares nothing');

-- signing and publishing

SELECT throws_ok($$ SELECT rqm('SELECT spine.publish_agreement(''nwl-maternity'', 1)') $$, 'SP005',
	'agreement "nwl-maternity" version 1 is not signed by all its parties', 'what nobody has signed is not published');
SELECT throws_ok($$ SELECT rqm('SELECT spine.sign_agreement(''nwl-maternity'', 1, ''\x00'')') $$, 'SP005', NULL,
	'another digest is not signed');
SELECT throws_ok($$ SELECT ras('SELECT spine.sign_agreement(''nwl-maternity'', 1)') $$, 'SP005',
	'there is no such agreement "nwl-maternity" version 1', 'for others it is not there');
SELECT throws_ok($$ SELECT as_role('agreements_rqm_clinician', 'SELECT spine.sign_agreement(''nwl-maternity'', 1)') $$, '42501', NULL,
	'a clinician signs nothing');
SELECT results_eq($$ SELECT rqm('SELECT spine.sign_agreement(''nwl-maternity'', 1)') $$, $$ VALUES ('({RQM})') $$, 'one party signs');
SELECT throws_ok($$ SELECT rqm('SELECT spine.sign_agreement(''nwl-maternity'', 1)') $$, 'SP005', NULL, 'once');
SELECT is(state_of(), 'proposed', 'one signature is not enough');
SELECT throws_ok($$ SELECT rqm('SELECT spine.publish_agreement(''nwl-maternity'', 1)') $$, 'SP005', NULL, 'to publish');
SELECT results_eq(format('SELECT ryj(%L)', format('SELECT spine.sign_agreement(''nwl-maternity'', 1, %L)', spine.agreement_digest(document()))),
	$$ VALUES ('({RYJ})') $$, 'the other signs exactly this document');
SELECT is(state_of(), 'signed', 'now it is signed');
SELECT is_empty('SELECT * FROM spine.sharing_rule', 'and still shares nothing');
SELECT lives_ok($$ SELECT ryj('SELECT spine.publish_agreement(''nwl-maternity'', 1)') $$, 'a party publishes it');
SELECT is(state_of(), 'published', 'it is published');
SELECT throws_ok($$ SELECT ryj('SELECT spine.publish_agreement(''nwl-maternity'', 1)') $$, 'SP005', NULL, 'once');
SELECT results_eq('SELECT from_organisation, to_organisation, purpose, relationships, count(*), bool_and(in_force) FROM spine.sharing_rule GROUP BY 1, 2, 3, 4 ORDER BY 1',
	$$ VALUES ('RQM', 'RYJ', 'care', ARRAY['episode', 'referral'], 32::bigint, true), ('RYJ', 'RQM', 'care', ARRAY['episode', 'referral'], 32, true) $$,
	'and compiles to a rule for each direction and data group');

-- groups by name, a data set that nobody here knows yet

SELECT agree('agreements', document('{"name": "second"}', '{"from": ["RYJ"], "to": ["RQM"], "groups": ["booking", "mother"], "purpose": "reporting"}')) \g /dev/null
SELECT results_eq($$ SELECT from_organisation, to_organisation, purpose, data_group, relationships FROM spine.sharing_rule WHERE agreement = 'second' ORDER BY 4 $$,
	$$ VALUES ('RYJ', 'RQM', 'reporting', 'booking', '{}'::text[]), ('RYJ', 'RQM', 'reporting', 'mother', '{}') $$, 'named groups alone are shared');
SELECT agree('agreements', document('{"name": "third"}', '{"dataset": "hearing", "groups": "all"}')) \g /dev/null
SELECT is_empty($$ SELECT * FROM spine.sharing_rule WHERE agreement = 'third' $$, 'a data set that is not published here has no rules');
SELECT spine.publish_dataset(pg_read_file(:'source' || '/test/datasets/hearing-1.0.json')::jsonb) \g /dev/null
SELECT isnt_empty($$ SELECT * FROM spine.sharing_rule WHERE agreement = 'third' AND dataset = 'hearing' $$, 'until it is');

-- versions and time

SELECT agree('agreements', document('{"version": 2, "start": "2999-01-01", "review": null}')) \g /dev/null
SELECT results_eq($$ SELECT state_of(1), state_of(2) $$, $$ VALUES ('published', 'published') $$, 'a later version that begins later leaves the earlier one in force');
SELECT results_eq($$ SELECT version, in_force, count(*), min(ends_at), min(starts_at) FROM spine.sharing_rule WHERE agreement = 'nwl-maternity' GROUP BY 1, 2 ORDER BY 1 $$,
	$$ VALUES (1, true, 64::bigint, '2999-01-01 00:00 Europe/London'::timestamptz, '2026-01-01 00:00 Europe/London'::timestamptz),
			  (2, false, 64, NULL, '2999-01-01 00:00 Europe/London') $$, 'until its day comes');
SELECT is(spine.agreements_are_due(), false, 'nothing is due');
UPDATE spine.sharing_rule SET starts_at = now() - interval '1 minute' WHERE version = 2;
SELECT is(spine.agreements_are_due(), true, 'when the day of a rule comes, something is');
SELECT spine.compile_agreements() \g /dev/null
SELECT is(spine.agreements_are_due(), false, 'and compiling anew does it');
SELECT agree('agreements', document('{"version": 3, "start": "2026-02-01"}', '{"groups": ["booking"]}')) \g /dev/null
SELECT is(state_of(1), 'superseded', 'a later version in force replaces it');
SELECT results_eq($$ SELECT DISTINCT version FROM spine.sharing_rule WHERE agreement = 'nwl-maternity' AND in_force $$, $$ VALUES (3) $$, 'and its rules');
SELECT agree('agreements', document('{"name": "old", "start": "2020-01-01", "end": "2020-12-31"}')) \g /dev/null
SELECT is(state_of(1, 'old'), 'expired', 'one whose end is past is expired');
SELECT is_empty($$ SELECT * FROM spine.sharing_rule WHERE agreement = 'old' $$, 'and shares nothing');

-- ending

SELECT throws_ok($$ SELECT rqm('SELECT spine.end_agreement(''nwl-maternity'', 3, '' '')') $$, '22004', NULL, 'an end has a reason');
SELECT throws_ok($$ SELECT ras('SELECT spine.end_agreement(''nwl-maternity'', 3, ''x'')') $$, 'SP005', NULL, 'and is not for others');
SELECT lives_ok($$ SELECT rqm('SELECT spine.end_agreement(''nwl-maternity'', 3, ''moved on'')') $$, 'any party ends it');
SELECT results_eq($$ SELECT ryj('SELECT state, ended_by, end_reason FROM spine.agreements WHERE name = ''nwl-maternity'' AND version = 3') $$,
	$$ VALUES ('(ended,RQM,"moved on")') $$, 'which the other learns');
SELECT is_empty($$ SELECT * FROM spine.sharing_rule WHERE agreement = 'nwl-maternity' AND in_force $$, 'nothing is shared, and the earlier version does not come back');
SELECT throws_ok($$ SELECT rqm('SELECT spine.end_agreement(''nwl-maternity'', 3, ''x'')') $$, 'SP005', NULL, 'it ends once');
SELECT throws_ok($$ SELECT rqm('SELECT spine.sign_agreement(''nwl-maternity'', 3)') $$, 'SP005', NULL, 'and cannot be signed again');

-- events that a neighbour brings: each counts for what it is and no more

CREATE FUNCTION event(the_kind text, the_owner text, agreed jsonb, the_digest bytea DEFAULT NULL, with_document jsonb DEFAULT NULL) RETURNS void
	LANGUAGE sql AS $$
	INSERT INTO spine.agreement_event (event_id, name, version, kind, owner, document, digest, at, by_role, audience)
	SELECT gen_random_uuid(), agreed ->> 'name', (agreed ->> 'version')::integer, the_kind, the_owner,
		   CASE the_kind WHEN 'proposed' THEN coalesce(with_document, agreed) END,
		   coalesce(the_digest, spine.agreement_digest(agreed)), now(), 'x', ARRAY['RYJ:care']
$$;
SELECT event('published', 'RQM', document('{"name": "late"}')), event('signed', 'RQM', document('{"name": "late"}')),
	   event('proposed', 'RQM', document('{"name": "late"}')) \g /dev/null
SELECT is(state_of(1, 'late'), 'proposed', 'steps in whatever order wait for the last signature');
SELECT ryj('SELECT spine.sign_agreement(''late'', 1)') \g /dev/null
SELECT is(state_of(1, 'late'), 'published', 'with it, the agreement is in force');
SELECT event('proposed', 'RQM', d), event('signed', 'RQM', d), event('signed', 'RAS', d), event('published', 'RQM', d)
  FROM document('{"name": "forged"}') d \g /dev/null
SELECT is(state_of(1, 'forged'), 'proposed', 'another''s signature is not ours');
SELECT event('proposed', 'RAS', document('{"name": "alien"}')) \g /dev/null
SELECT is(state_of(1, 'alien'), NULL, 'who is no party proposes nothing');
SELECT event('proposed', 'RQM', document('{"name": "swapped"}'), NULL, document('{"name": "swapped", "title": "Other"}')) \g /dev/null
SELECT is(state_of(1, 'swapped'), NULL, 'a document that is not that of its digest counts for nothing');
SELECT event('proposed', 'RQM', '{"name": "broken", "version": 1, "parties": 7}') \g /dev/null
SELECT is(state_of(1, 'broken'), NULL, 'nor does a faulty one, and nothing breaks over it');
SELECT event('ended', 'RAS', document('{"name": "late"}')) \g /dev/null
SELECT is(state_of(1, 'late'), 'published', 'who is no party ends nothing');

-- as of another time, and without a gap between two versions

CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() FROM pg_sleep(0.005) $$;
CREATE FUNCTION states_at(moment timestamptz, the_name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', version, state, CASE WHEN in_force THEN 'in force' END), ', ' ORDER BY version)
	  FROM spine.agreement_states(moment) WHERE name = the_name
$$;
SELECT clock() AS t0 \gset
SELECT ryj(format('SELECT spine.propose_agreement(%L)', document('{"name": "timed"}'))) \g /dev/null
SELECT clock() AS t1 \gset
SELECT ryj('SELECT spine.sign_agreement(''timed'', 1)'), rqm('SELECT spine.sign_agreement(''timed'', 1)') \g /dev/null
SELECT clock() AS t2 \gset
SELECT rqm('SELECT spine.publish_agreement(''timed'', 1)') \g /dev/null
SELECT clock() AS t3 \gset
SELECT agree('agreements', document('{"name": "timed", "version": 2, "end": "2998-12-31", "review": null}')) \g /dev/null
SELECT clock() AS t4 \gset
SELECT ryj('SELECT spine.end_agreement(''timed'', 2, ''x'')') \g /dev/null
SELECT clock() AS t5 \gset
SELECT is(states_at(t, 'timed'), s, n) FROM (VALUES
	(:'t0'::timestamptz, NULL, 'before it was proposed'), (:'t1', '1 proposed', 'when it was'), (:'t2', '1 signed', 'when it was signed'),
	(:'t3', '1 published in force', 'when it was published'), (:'t4', '1 superseded, 2 published in force', 'when a later version was'),
	(:'t5', '1 superseded, 2 ended', 'when that had ended'), (now(), '1 superseded, 2 ended', 'now'), ('infinity', '1 superseded, 2 ended', 'for ever'),
	('-infinity', NULL, 'and at the beginning'), (NULL, NULL, 'at no time')) AS t (t, s, n);
SELECT results_eq(format($$ SELECT count(*) FILTER (WHERE in_force) FROM generate_series(%L::timestamptz, %L, (%L::timestamptz - %L) / 50) at, spine.agreement_states(at) WHERE name = 'timed' $$,
	:'t3', :'t4', :'t4', :'t3'), format($$ SELECT count(*) FROM generate_series(%L::timestamptz, %L, (%L::timestamptz - %L) / 50) $$, :'t3', :'t4', :'t4', :'t3'),
	'at every moment between, one version was in force');
SELECT agree('agreements', document('{"name": "next"}', '{"groups": ["booking"]}')), agree('agreements', document('{"name": "next", "version": 2, "start": "2998-01-01", "review": null}', '{"groups": ["booking"]}')) \g /dev/null
SELECT is(states_at(t, 'next'), s, n) FROM (VALUES
	('2997-12-31 23:59:59.999999 Europe/London'::timestamptz, '1 published in force, 2 published', 'the last moment before a later version'),
	('2998-01-01 00:00 Europe/London', '1 superseded, 2 published in force', 'and its first')) AS t (t, s, n);
SELECT rqm('SELECT spine.end_agreement(''next'', 2, ''x'')') \g /dev/null
SELECT is(states_at(t, 'next'), '1 published in force, 2 ended', 'a version that was ended before it began replaces nothing') FROM (VALUES (now()), ('2998-01-01')) AS t (t);
SELECT agree('agreements', document('{"name": "next", "version": 3, "start": "2020-01-01", "end": "2020-12-31", "review": null}', '{"groups": ["booking"]}')) \g /dev/null
SELECT is(states_at(now(), 'next'), '1 published in force, 2 ended, 3 expired', 'nor does one that was over before it was published');
INSERT INTO spine.agreement_event (event_id, name, version, kind, owner, digest, at, by_role, audience)
	SELECT gen_random_uuid(), 'next', 1, 'ended', 'RQM', spine.agreement_digest(document('{"name": "next"}', '{"groups": ["booking"]}')), now() + interval '1 hour', 'x', '{RYJ:care}';
SELECT is(states_at(now(), 'next'), '1 ended, 2 ended, 3 expired', 'an end counts when it is here, though its writer''s clock is ahead');

-- what is written stays

SELECT throws_ok($$ UPDATE spine.agreement_event SET owner = 'RAS' $$, '55000', NULL, 'an event is not changed');
SELECT throws_ok($$ DELETE FROM spine.agreement_event $$, '55000', NULL, 'nor deleted');
SELECT throws_ok($$ TRUNCATE spine.agreement_event $$, '55000', NULL, 'nor truncated');
SELECT lives_ok($$ UPDATE spine.agreement_event SET revision = 2 WHERE name = 'late' $$, 'the exchange may bring it again');

SELECT * FROM finish();
SELECT leave_two_trusts('agreements'), drop_roles('agreements_ras_governor') \g /dev/null
