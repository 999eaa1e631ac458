-- What an agreement would change is told before it is signed, and is what publishing it then changes.
\ir setup.psql
\ir as_role.psql
SELECT plan(42);
SELECT two_trusts('preview') \g /dev/null
SELECT make_roles('preview_r1k_governor', 'preview_second') \g /dev/null
SELECT spine.host_organisation('R1K'), spine.add_member('preview_r1k_governor', 'R1K', 'governor'), spine.add_member('preview_second', 'RQM', 'clinician') \g /dev/null
SELECT book('preview_ryj_system', '9990000018', '1'), book('preview_ryj_system', '9990000026', '2'), book('preview_ryj_system', '9990000042', '3'),
	   book('preview_rqm_system', '9990000018', '9', '2026-02-01') \g /dev/null

CREATE FUNCTION previewed(who text, document jsonb) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	RETURN QUERY SELECT * FROM spine.preview_agreement(document);
	RESET ROLE;
END
$$;
CREATE FUNCTION preview(document jsonb, who text DEFAULT 'preview_ryj_governor')
	RETURNS TABLE (from_organisation text, to_organisation text, purpose text, dataset text, data_group text, records_gained bigint, records_lost bigint,
				   patients_gained bigint, patients_lost bigint, items_gained text[], items_lost text[], members bigint) LANGUAGE sql AS $$
	SELECT * FROM previewed(who, document) AS p (from_organisation text, to_organisation text, purpose text, dataset text, data_group text, records_gained bigint,
		records_lost bigint, patients_gained bigint, patients_lost bigint, items_gained text[], items_lost text[], members bigint)
$$;
CREATE FUNCTION short(agreed jsonb, who text DEFAULT 'preview_ryj_governor') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', from_organisation, to_organisation, purpose, data_group, coalesce('+' || records_gained || '-' || records_lost, 'not counted'),
								coalesce('patients +' || patients_gained || '-' || patients_lost, ''),
								'items +' || cardinality(items_gained) || '-' || cardinality(items_lost), 'members ' || members), E'\n')
	  FROM preview(agreed, who)
$$;
-- the tokens of rows in the audiences of a group, by owner: what publishing really changes
CREATE FUNCTION tokens() RETURNS TABLE (owner text, organisation text, purpose text, data_group text, record_id uuid, patient_id uuid) LANGUAGE sql AS $$
	SELECT r.owner, split_part(t, ':', 1), split_part(t, ':', 2), r.g, r.record_id, r.patient_id
	  FROM (SELECT 'booking' AS g, b.owner, b.record_id, b.patient_id, b.audience FROM maternity.booking b
			UNION ALL SELECT 'dating_scan', s.owner, s.record_id, s.patient_id, s.audience FROM maternity.dating_scan s
			UNION ALL SELECT 'staff', s.owner, s.record_id, s.patient_id, s.audience FROM maternity.staff s) r, unnest(r.audience) t
	 WHERE t !~ '/'
$$;
CREATE TEMPORARY TABLE before_it AS SELECT * FROM tokens() LIMIT 0;
CREATE FUNCTION changes() RETURNS TABLE (from_organisation text, to_organisation text, purpose text, data_group text, gained bigint, lost bigint, patients_gained bigint, patients_lost bigint) LANGUAGE sql AS $$
	SELECT coalesce(a.owner, b.owner), coalesce(a.organisation, b.organisation), coalesce(a.purpose, b.purpose), coalesce(a.data_group, b.data_group),
		   count(*) FILTER (WHERE b.record_id IS NULL), count(*) FILTER (WHERE a.record_id IS NULL),
		   count(DISTINCT a.patient_id) FILTER (WHERE b.record_id IS NULL), count(DISTINCT b.patient_id) FILTER (WHERE a.record_id IS NULL)
	  FROM tokens() a
	  FULL JOIN before_it b ON (b.owner, b.organisation, b.purpose, b.record_id) = (a.owner, a.organisation, a.purpose, a.record_id)
	 WHERE a.record_id IS NULL OR b.record_id IS NULL
	 GROUP BY 1, 2, 3, 4
$$;

-- who may ask

SELECT throws_ok($$ SELECT preview('{"name": "x"}') $$, 'SP005', 'the agreement document has 6 faults', 'a faulty document');
SELECT throws_ok($$ SELECT preview(NULL) $$, 'SP005', 'the agreement document has 1 fault', 'none');
SELECT throws_ok($$ SELECT preview(document('{}', '{"groups": ["boking"]}')) $$, 'SP005', 'the agreement document has 1 fault', 'a group that there is not');
SELECT throws_ok($$ SELECT preview(document(), 'preview_r1k_governor') $$, '42501', 'permission denied: none of your organisations is a party of this agreement',
	'a governor of no party');
SELECT throws_ok(format('SELECT preview(document(), %L)', w), '42501', NULL, w) FROM unnest(ARRAY['preview_ryj_clinician', 'preview_ryj_analyst', 'preview_ryj_system']) w;

-- what is told

SELECT is(short(document('{}', '{"from": ["RYJ"], "to": ["RQM"], "groups": ["booking"]}')), 'RYJ RQM care booking +1-0 patients +1-0 items +24-0 members 2',
	'of the records of three women, one is of a woman who has an episode there; the other clinicians could open it');
SELECT is(short(document('{}', '{"from": ["RYJ"], "to": ["RQM"], "groups": ["booking"], "relationships": ["transfer"]}')), 'RYJ RQM care booking +0-0 patients +0-0 items +24-0 members 2',
	'without a relationship, none yet');
SELECT is((SELECT short(document('{}', '{"from": ["RYJ"], "to": ["RQM"], "groups": ["booking"]}'), 'preview_rqm_governor')), 'RYJ RQM care booking not counted  items +24-0 members 2',
	'how many records the other side has, it does not tell');
SELECT is(short(document('{}', '{"from": ["RYJ"], "to": ["R1K"], "groups": ["booking"], "purpose": "reporting"}' ) || '{"parties": ["RYJ", "R1K", "RQM"]}'), 'RYJ R1K reporting booking +3-0 patients +3-0 items +23-0 members 0',
	'reporting: all, and nobody opens them');
SELECT is_empty('SELECT FROM spine.agreement_event', 'nothing was written');
SELECT is_empty('SELECT FROM spine.sharing_rule', 'nor shared');

-- and is what publishing changes

CREATE TEMPORARY TABLE told AS SELECT * FROM changes() LIMIT 0;
CREATE FUNCTION differences(agreed jsonb) RETURNS TABLE (what text, from_organisation text, to_organisation text, purpose text, data_group text,
														 gained bigint, lost bigint, patients_gained bigint, patients_lost bigint) LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE before_it, told;
	INSERT INTO before_it SELECT * FROM tokens();
	INSERT INTO told SELECT p.from_organisation, p.to_organisation, p.purpose, p.data_group, p.records_gained, p.records_lost, p.patients_gained, p.patients_lost
		FROM (VALUES ('RYJ', 'preview_ryj_governor'), ('RQM', 'preview_rqm_governor')) AS w (o, who), LATERAL preview(agreed, w.who) p
		WHERE p.from_organisation = w.o AND p.records_gained + p.records_lost > 0;
	PERFORM agree('preview', agreed);
	RETURN QUERY (SELECT 'told', * FROM (SELECT * FROM told EXCEPT SELECT * FROM changes()) x)
		UNION ALL (SELECT 'done', * FROM (SELECT * FROM changes() EXCEPT SELECT * FROM told) y);
END
$$;
CREATE TEMPORARY TABLE seen_change (n bigint);
CREATE FUNCTION differs(agreed jsonb, n text, something boolean DEFAULT true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found_some text;
BEGIN
	SELECT string_agg(d::text, E'\n') INTO found_some FROM differences(agreed) d;
	RETURN is(found_some, NULL, n) || E'\n' || is((SELECT count(*) > 0 FROM changes()), something, n || CASE WHEN something THEN ': something changes' ELSE ': nothing does' END);
END
$$;
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, until)
	VALUES (gen_random_uuid(), spine.patient_id('9990000026'), 'RQM', 'referral', 'RYJ', NULL),
		   (gen_random_uuid(), spine.patient_id('9990000042'), 'RQM', 'transfer', 'RYJ', now() - interval '10 days'),
		   (gen_random_uuid(), spine.patient_id('9990000042'), 'RQM', 'emergency', 'RQM', now() + interval '1 hour');
-- another id of the third woman has a relationship too
INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner) VALUES (gen_random_uuid(), spine.patient_id('9990000042'), gen_random_uuid(), 'test', 'RYJ');
INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner) SELECT gen_random_uuid(), l.to_patient, 'RQM', 'claim', 'RQM' FROM spine.identity_link l;
INSERT INTO spine.dissent (dissent_id, patient_id, purpose, organisation, owner, recorded_by)
	VALUES (gen_random_uuid(), spine.patient_id('9990000026'), 'care', 'RQM', 'RYJ', 'x'), (gen_random_uuid(), spine.patient_id('9990000018'), 'secondary', NULL, 'RYJ', 'x');

CREATE FUNCTION version(n integer, clause jsonb, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$ SELECT document(jsonb_build_object('version', n) || changes, clause) $$;
SELECT differs(version(1, '{}'), 'a first agreement');
SELECT differs(version(2, '{"relationships": ["transfer"], "retention_days": 30}'), 'another relationship, and retention');
SELECT differs(version(3, '{"relationships": ["transfer"], "retention_days": 5, "emergency": true}'), 'a shorter retention, and an emergency');
SELECT differs(version(4, '{"relationships": ["referral", "claim"], "emergency": {"item_classes": ["restricted"]}}'), 'a claim under another id, a referral with a dissent');
SELECT differs(version(5, '{"relationships": ["referral", "claim"], "groups": ["booking"]}'), 'fewer groups, no emergency');
SELECT differs(version(1, '{"relationships": ["claim"], "groups": ["booking"]}', '{"name": "second"}'), 'another agreement that gives the same', false);
SELECT differs(version(6, '{"from": ["RYJ"], "to": ["RQM"], "purpose": "reporting"}'), 'reporting in place of care, with an opt-out');
SELECT differs(version(2, '{"purpose": "commissioning"}', '{"name": "second"}'), 'commissioning');
SELECT differs(version(7, '{"item_classes": ["restricted"], "relationships": ["claim"]}'), 'restricted items');

-- items, versions, time

SELECT is((SELECT string_agg(concat_ws(' ', from_organisation, to_organisation, data_group, items_gained::text, items_lost::text), E'\n')
			 FROM preview(version(8, '{"item_classes": ["restricted"], "relationships": ["claim"], "items": {"include": ["booking.edd_agreed"], "exclude": ["booking.disability_indicator"]}}'))
			WHERE data_group = 'booking' AND from_organisation = 'RYJ'), 'RYJ RQM booking {edd_agreed} {disability_indicator}', 'items by name');
SELECT is_empty($$ SELECT * FROM preview(version(7, '{"item_classes": ["restricted"], "relationships": ["claim"]}')) $$, 'what is in force already changes nothing');
SELECT is_empty($$ SELECT * FROM preview(version(6, '{}')) $$, 'nor does what a later version has replaced');
SELECT is_empty($$ SELECT * FROM preview(version(9, '{}', '{"start": "2020-01-01", "end": "2020-12-31"}')) $$, 'nor what is over');
SELECT isnt_empty($$ SELECT * FROM preview(version(9, '{}', '{"start": "2999-01-01", "review": null}')) $$, 'one that begins later is told as if it began now');
SELECT is((SELECT sum(records_lost) FROM preview(version(9, '{"from": ["RYJ"], "to": ["R1K"]}', '{"parties": ["RYJ", "R1K"]}'))), 0::numeric,
	'one that leaves a party out replaces nothing');
SELECT is((SELECT string_agg(DISTINCT from_organisation || to_organisation, ' ' ORDER BY from_organisation || to_organisation)
			 FROM preview(version(9, '{"from": ["RYJ", "RQM", "R1K"], "to": ["RYJ", "RQM", "R1K"]}', '{"parties": ["RYJ", "RQM", "R1K"]}'), 'preview_r1k_governor')),
	'R1KRQM R1KRYJ RQMR1K RYJR1K', 'of what passes between others nothing is told');
SELECT is((SELECT count(*) FROM preview(version(9, '{"from": ["RYJ"], "to": ["R1K"], "groups": ["booking"]}', '{"parties": ["RYJ", "R1K"]}'), 'preview_r1k_governor') WHERE records_gained IS NULL), 1::bigint,
	'the owner''s counts are not told');
SELECT as_role('preview_ryj_governor', format('SELECT spine.propose_agreement(%L)', version(9, '{"from": ["RYJ"], "to": ["R1K"], "groups": ["booking"]}', '{"parties": ["RYJ", "R1K"]}'))) \g /dev/null
SELECT is((SELECT count(*) FROM preview(version(9, '{"from": ["RYJ"], "to": ["R1K"], "groups": ["booking"]}', '{"parties": ["RYJ", "R1K"]}'), 'preview_r1k_governor') WHERE records_gained IS NULL), 0::bigint,
	'before it proposes this document itself');

-- nobody is kept waiting

BEGIN;
SELECT preview(version(8, '{}')) \g /dev/null
SELECT is_empty($$ SELECT relation::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode <> 'AccessShareLock'
	AND relation::regclass::text ~ '^(spine|maternity)' $$, 'it takes no lock that a writer could meet');
COMMIT;
BEGIN READ ONLY;
SELECT lives_ok($$ SELECT preview(version(8, '{}')) $$, 'a read-only transaction may ask');
COMMIT;

SELECT * FROM finish();
SELECT leave_two_trusts('preview'), drop_roles('preview_r1k_governor', 'preview_second') \g /dev/null
