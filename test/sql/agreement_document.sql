-- The agreement document: what may be said of items, retention, emergency and pseudonyms, and what a clause then means.
\ir setup.psql
\ir as_role.psql
SELECT plan(191);
SELECT two_trusts('document') \g /dev/null

CREATE FUNCTION faults(document jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(path || ': ' || fault, '; ') FROM spine.agreement_faults(document)
$$;
CREATE FUNCTION clause_faults(clause jsonb) RETURNS text LANGUAGE sql AS $$ SELECT replace(faults(document('{}', clause)), 'clauses[0].', '') $$;

-- what may be said

SELECT is(clause_faults(c), NULL, 'sound: ' || c::text) FROM (VALUES
	('{"item_classes": ["administrative", "clinical", "identity", "restricted"]}'::jsonb),
	('{"item_classes": [], "items": {"include": ["booking.edd_agreed"]}, "groups": ["booking"]}'),
	('{"item_classes": [], "items": {"include": ["booking.edd_agreed"]}}'),
	('{"items": {"include": ["booking.support_status_indicator"], "exclude": ["mother.postcode"]}}'),
	('{"items": {}}'), ('{"items": {"include": [], "exclude": []}}'),
	('{"retention_days": 0}'), ('{"retention_days": 36500}'),
	('{"emergency": true}'), ('{"emergency": false}'), ('{"emergency": {}}'),
	('{"relationships": ["emergency"]}'), ('{"relationships": ["episode", "emergency"], "emergency": true}'),
	('{"emergency": {"item_classes": ["restricted"], "items": {"exclude": ["booking.edd_agreed"]}}}'),
	('{"item_classes": [], "items": {"include": ["booking.edd_agreed"]}, "emergency": {"item_classes": ["clinical"]}}'),
	('{"identified": true}'),
	('{"purpose": "reporting", "identified": false, "retention_days": 0, "emergency": false}'),
	('{"purpose": "commissioning", "item_classes": ["clinical", "restricted"], "dates": "exact"}'),
	('{"purpose": "reporting", "dates": "month"}'), ('{"purpose": "reporting", "dates": "minutes_from_birth"}'), ('{"dates": "exact"}')
) AS t (c);

-- what may not: each fault with its place

SELECT is(clause_faults(c), f, c::text) FROM (VALUES
	('{"item_classes": null}'::jsonb, 'item_classes: must be a list of item classes'),
	('{"item_classes": "all"}', 'item_classes: must be a list of item classes'),
	('{"item_classes": ["clinical", 3, null, "secret", ["clinical"]]}',
		'item_classes[1]: must be one of administrative, clinical, identity, restricted; item_classes[2]: must be one of administrative, clinical, identity, restricted; '
		'item_classes[3]: must be one of administrative, clinical, identity, restricted; item_classes[4]: must be one of administrative, clinical, identity, restricted'),
	('{"item_classes": ["clinical", "clinical"]}', 'item_classes: names clinical twice'),
	('{"item_classes": []}', 'item_classes: is empty, and no item is included: nothing would be shown'),
	('{"item_classes": [], "items": {"include": []}}', 'item_classes: is empty, and no item is included: nothing would be shown'),
	('{"item_classes": [], "items": {"include": ["booking.edd_agreed"]}, "groups": ["booking", "mother"]}',
		'items.include: has no item of mother, of which nothing would be shown'),
	('{"items": null}', 'items: must be an object with include, exclude or both'),
	('{"items": ["booking.edd_agreed"]}', 'items: must be an object with include, exclude or both'),
	('{"items": {"only": []}}', 'items.only: is not a known key'),
	('{"items": {"include": null, "exclude": "booking.edd_agreed"}}',
		'items.include: must be a list of items, each as "group.item"; items.exclude: must be a list of items, each as "group.item"'),
	('{"items": {"include": ["edd_agreed", "booking.", ".x", "a.b.c", "Booking.x", 7, null, {}]}}',
		(SELECT string_agg(format('items.include[%s]: must be the name of an item, as "group.item"', n), '; ') FROM generate_series(0, 7) n)),
	('{"items": {"exclude": ["booking.edd_agreed", "booking.edd_agreed"]}}', 'items.exclude: names booking.edd_agreed twice'),
	('{"items": {"exclude": ["mother.postcode"]}, "groups": ["booking"]}', 'items.exclude[0]: is of a group that the clause does not name'),
	('{"items": {"include": ["booking.a", "booking.b"], "exclude": ["booking.b"]}}', 'items: includes booking.b and excludes it'),
	('{"retention_days": -1}', 'retention_days: must be a whole number from 0 to 36500'),
	('{"retention_days": 36501}', 'retention_days: must be a whole number from 0 to 36500'),
	('{"retention_days": 1.5}', 'retention_days: must be a whole number from 0 to 36500'),
	('{"retention_days": "30"}', 'retention_days: must be a whole number from 0 to 36500'),
	('{"retention_days": null}', 'retention_days: must be a whole number from 0 to 36500'),
	('{"retention_days": 1e300}', 'retention_days: must be a whole number from 0 to 36500'),
	('{"purpose": "reporting", "retention_days": 30}', 'retention_days: is for care alone: nothing else rests on a relationship'),
	('{"emergency": null}', 'emergency: must be true, false or an object'),
	('{"emergency": "yes"}', 'emergency: must be true, false or an object'),
	('{"emergency": [true]}', 'emergency: must be true, false or an object'),
	('{"purpose": "reporting", "emergency": true}', 'emergency: is for care alone'),
	('{"relationships": ["episode", "emergency"], "emergency": false}', 'emergency: is false, yet emergency is among the relationships'),
	('{"emergency": {"hours": 3}}', 'emergency.hours: is not a known key'),
	('{"emergency": {"item_classes": null, "items": {"include": null}}}',
		'emergency.item_classes: must be a list of item classes; emergency.items.include: must be a list of items, each as "group.item"'),
	('{"emergency": {"item_classes": []}}', 'emergency.item_classes: is empty, and no item is included: nothing would be shown'),
	('{"item_classes": [], "items": {"include": ["booking.edd_agreed"]}, "emergency": {"items": {"exclude": ["booking.edd_agreed"]}}}',
		'emergency.item_classes: is empty, and no item is included: nothing would be shown'),
	('{"items": 1, "emergency": {"item_classes": ["clinical"]}}', 'items: must be an object with include, exclude or both'),
	('{"items": 1, "emergency": {"items": 1}}',
		'items: must be an object with include, exclude or both; emergency.items: must be an object with include, exclude or both'),
	('{"identified": null}', 'identified: must be true or false'),
	('{"identified": "no"}', 'identified: must be true or false'),
	('{"identified": false}', 'identified: must be true: nobody cares for a pseudonym'),
	('{"purpose": "reporting", "identified": true}', 'identified: must be false: pseudonyms alone leave for reporting and commissioning'),
	('{"purpose": "commissioning", "item_classes": ["clinical", "identity"]}', 'item_classes: names identity, which does not leave for reporting and commissioning'),
	('{"purpose": "reporting", "dates": "day"}', 'dates: must be one of exact, month, minutes_from_birth'),
	('{"purpose": "reporting", "dates": null}', 'dates: must be one of exact, month, minutes_from_birth'),
	('{"purpose": "reporting", "dates": ["month"]}', 'dates: must be one of exact, month, minutes_from_birth'),
	('{"dates": "month"}', 'dates: must be exact: care needs the day'),
	('{"groups": ["booking", null, null]}', 'groups[1]: must be the name of a data group; groups[2]: must be the name of a data group'),
	('{"to": ["RQM", null, null]}', 'to[1]: must be an organisation code in capitals; to[2]: must be an organisation code in capitals'),
	('{"item_classes": 1, "items": 1, "retention_days": "x", "emergency": 1, "identified": 1, "note": 1}',
		'item_classes: must be a list of item classes; items: must be an object with include, exclude or both; '
		'retention_days: must be a whole number from 0 to 36500; emergency: must be true, false or an object; '
		'identified: must be true or false; note: must be a text')
) AS t (c, f);

-- nothing is raised, whatever stands where

CREATE FUNCTION outcome(document jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN EXISTS (SELECT FROM spine.agreement_faults(document) f WHERE f.path IS NULL OR f.fault IS NULL) THEN 'a fault without a text'
				WHEN NOT EXISTS (SELECT FROM spine.agreement_faults(document)) THEN 'sound' ELSE 'faults' END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END
$$;
CREATE TEMPORARY TABLE odd AS
	SELECT v FROM (VALUES ('null'::jsonb), ('true'), ('0'), ('-1e400'), ('""'), ('"booking.edd_agreed"'), ('[]'), ('{}'), ('[null]'), ('[[]]'), ('[{}]'), ('{"": null}'),
		('["RYJ", 1, null, {"a": []}, [[]]]'), ('{"include": {"a": [null]}, "exclude": [[]]}'), ('{"items": {"include": [null, {}]}, "item_classes": {"a": 1}}'),
		((repeat('[', 500) || repeat(']', 500))::jsonb), ((repeat('{"items":', 500) || 'null' || repeat('}', 500))::jsonb),
		(to_jsonb(repeat('x', 100000))), (to_jsonb(E'RYJ\nRQM'::text)), ('"\u00e9"'), ('1e2000')) AS t (v);
CREATE TEMPORARY TABLE place AS
	SELECT p FROM (VALUES ('{}'::text[]), ('{name}'), ('{version}'), ('{title}'), ('{description}'), ('{parties}'), ('{parties,0}'), ('{start}'), ('{end}'), ('{review}'), ('{clauses}'), ('{clauses,0}'),
		('{clauses,0,from}'), ('{clauses,0,to}'), ('{clauses,0,to,0}'), ('{clauses,0,purpose}'), ('{clauses,0,dataset}'), ('{clauses,0,groups}'), ('{clauses,0,groups,0}'),
		('{clauses,0,relationships}'), ('{clauses,0,relationships,0}'), ('{clauses,0,item_classes}'), ('{clauses,0,item_classes,0}'), ('{clauses,0,items}'), ('{clauses,0,items,include}'),
		('{clauses,0,items,include,0}'), ('{clauses,0,items,exclude}'), ('{clauses,0,items,exclude,0}'), ('{clauses,0,retention_days}'), ('{clauses,0,emergency}'),
		('{clauses,0,emergency,item_classes}'), ('{clauses,0,emergency,items}'), ('{clauses,0,emergency,items,include}'), ('{clauses,0,identified}'), ('{clauses,0,dates}'), ('{clauses,0,note}'), ('{clauses,1}'), ('{x}')) AS t (p);
CREATE TEMPORARY TABLE whole AS
	SELECT document('{}', '{"groups": ["booking"], "item_classes": ["clinical"], "items": {"include": ["booking.a"], "exclude": ["booking.b"]}, "retention_days": 1,
		"emergency": {"item_classes": ["restricted"], "items": {"include": ["booking.c"]}}, "identified": true, "note": "x"}') AS d;
SELECT is((SELECT outcome(d) FROM whole), 'sound', 'a whole document');
SELECT is_empty($$
	SELECT p, left(v::text, 40), o
	  FROM place, odd, whole
	 CROSS JOIN LATERAL (SELECT outcome(CASE p WHEN '{}' THEN v ELSE jsonb_set(d, p, v) END) AS o) x
	 WHERE o NOT IN ('sound', 'faults')
$$, 'with anything anywhere in it, the faults are told and nothing is raised');
SELECT is_empty($$
	SELECT p, q, left(v::text, 40), o
	  FROM (SELECT p FROM place WHERE cardinality(p) = 3) p, (SELECT p AS q FROM place WHERE cardinality(p) = 3) q,
		   (SELECT v FROM odd WHERE length(v::text) < 40) v, whole
	 CROSS JOIN LATERAL (SELECT outcome(jsonb_set(jsonb_set(d, p, v), q, '[{"a": null}]')) AS o) x
	 WHERE p < q AND o NOT IN ('sound', 'faults')
$$, 'nor with two things at once');
SELECT results_eq('SELECT count(*) FROM spine.agreement_faults(NULL)', 'VALUES (1::bigint)', 'nor without one');

-- what a clause means

SELECT is(spine.clause_relationships(c), r, coalesce(c::text, 'NULL') || ' accepts ' || r::text) FROM (VALUES
	('{"purpose": "care", "relationships": ["transfer", "episode", "episode"]}'::jsonb, '{episode,transfer}'::text[]),
	('{"purpose": "care", "relationships": ["episode", "emergency"]}', '{episode}'),
	('{"purpose": "care", "relationships": ["emergency"]}', '{}'),
	('{"purpose": "reporting", "relationships": ["episode"]}', '{}'),
	('{"purpose": "reporting"}', '{}'), ('{}', '{}'), ('[]', '{}'), (NULL, '{}')) AS t (c, r);
SELECT is(spine.clause_emergency(c), e, coalesce(c::text, 'NULL') || CASE WHEN e THEN ' allows' ELSE ' does not allow' END || ' emergency') FROM (VALUES
	('{"purpose": "care", "emergency": true}'::jsonb, true), ('{"purpose": "care", "emergency": {}}', true),
	('{"purpose": "care", "relationships": ["emergency"]}', true), ('{"purpose": "care", "relationships": ["episode"]}', false),
	('{"purpose": "care", "emergency": false}', false), ('{"purpose": "reporting", "relationships": ["emergency"]}', false),
	('{}', false), (NULL, false)) AS t (c, e);
SELECT is(spine.clause_retention(c), r, coalesce(c::text, 'NULL') || ' retains ' || r::text) FROM (VALUES
	('{"purpose": "care", "retention_days": 30}'::jsonb, interval '30 days'), ('{"purpose": "care"}', '0'), ('{"purpose": "reporting", "retention_days": 3}', '0'), (NULL, '0')) AS t (c, r);
SELECT is(spine.clause_identified(c), i, coalesce(c::text, 'NULL') || CASE WHEN i THEN ' gives' ELSE ' does not give' END || ' persons') FROM (VALUES
	('{"purpose": "care"}'::jsonb, true), ('{"purpose": "reporting"}', false), ('{"purpose": "commissioning", "identified": true}', false),
	('{"purpose": "reporting", "identified": false}', false), ('{}', false), (NULL, false)) AS t (c, i);

CREATE FUNCTION scope(clause jsonb, items jsonb DEFAULT NULL) RETURNS text[] LANGUAGE sql AS $$
	SELECT spine.clause_scope('{"purpose": "care"}' || clause, 'g', coalesce(items, '[{"name": "a1", "class": "administrative"}, {"name": "c1", "class": "clinical"}, {"name": "c2", "class": "clinical", "column": "c2_first"},
		{"name": "i1", "class": "identity"}, {"name": "r1", "class": "restricted"}, {"name": "r2", "class": "restricted"}]'))
$$;
CREATE FUNCTION scope_of_baby(clause jsonb) RETURNS text[] LANGUAGE sql AS $$
	SELECT scope(clause, '[{"name": "c1", "class": "clinical"}, {"name": "r1", "class": "restricted"}, {"name": "mi", "class": "identity", "about": "mother"},
		{"name": "mr", "class": "restricted", "about": "mother"}, {"name": "mr2", "class": "restricted", "about": "mother"}]')
$$;
SELECT is(scope(c), s, 'of a group: ' || c::text) FROM (VALUES
	('{}'::jsonb, '{aci}'::text[]),
	('{"item_classes": ["restricted", "clinical", "identity", "administrative"]}', '{acir}'),
	('{"item_classes": ["clinical"]}', '{c}'),
	('{"item_classes": ["clinical"], "items": {"include": ["g.r1", "h.r2"]}}', '{+r1,c}'),
	('{"items": {"exclude": ["g.c1"]}}', '{+c2_first,ai}'),
	('{"items": {"exclude": ["g.c2"]}}', '{+c1,ai}'),
	('{"items": {"exclude": ["g.c2_first"]}}', '{+c1,ai}'),
	('{"items": {"exclude": ["g.c1", "g.c2"]}}', '{ai}'),
	('{"items": {"exclude": ["h.c1", "g.r1", "g.gone"]}}', '{aci}'),
	('{"items": {"exclude": ["g.a1", "g.c1", "g.i1"], "include": ["g.c2"]}}', '{+c2_first}'),
	('{"item_classes": [], "items": {"include": ["g.r2", "g.c2"]}}', '{+c2_first,+r2}'),
	('{"item_classes": [], "items": {"include": ["h.x"]}}', '{}'),
	('{"item_classes": ["clinical", "restricted"], "items": {"exclude": ["g.r1"]}}', '{+r2,c}'),
	('{"items": {"include": ["g.c1"]}}', '{aci}'),
	('{"purpose": "reporting"}', '{ac}'),
	('{"purpose": "commissioning", "item_classes": ["identity"], "items": {"include": ["g.i1", "g.r1"]}}', '{+r1}'),
	('{"purpose": "reporting", "item_classes": ["clinical", "identity"], "items": {"exclude": ["g.c1"]}, "dates": "month"}', '{+c2_first}'),
	('{"purpose": "reporting", "dates": "exact"}', '{@exact,ac}'),
	('{"purpose": "reporting", "item_classes": ["clinical"], "dates": "minutes_from_birth"}', '{@minutes_from_birth,c}')) AS t (c, s);
SELECT is(scope_of_baby(c), s, 'with items about the mother: ' || c::text) FROM (VALUES
	('{}'::jsonb, '{aci,m:aci}'::text[]),
	('{"item_classes": ["restricted"]}', '{m:r,r}'),
	('{"items": {"include": ["g.mr"]}}', '{aci,m+mr,m:aci}'),
	('{"items": {"include": ["g.r1"]}}', '{+r1,aci,m:aci}'),
	('{"items": {"exclude": ["g.mi"]}}', '{aci,m:ac}'),
	('{"item_classes": ["clinical", "restricted"], "items": {"exclude": ["g.mr"]}}', '{cr,m+mr2,m:c}')) AS t (c, s);
SELECT is(spine.clause_scope('{"item_classes": ["clinical"]}', 'g', i), '{c}', 'a class is granted whatever the group has: ' || coalesce(i::text, 'NULL'))
  FROM (VALUES (NULL::jsonb), ('[]'), ('{}')) AS t (i);
SELECT is(spine.clause_emergency_scope('{"purpose": "care"}' || c, 'g', '[{"name": "c1", "class": "clinical"}, {"name": "c2", "class": "clinical"}, {"name": "r1", "class": "restricted"}]'), s,
		  'in an emergency: ' || c::text) FROM (VALUES
	('{}'::jsonb, '{}'::text[]),
	('{"emergency": true}', '{aci}'),
	('{"emergency": {}, "items": {"exclude": ["g.c1"]}}', '{+c2,ai}'),
	('{"relationships": ["emergency"], "item_classes": ["clinical"]}', '{c}'),
	('{"emergency": {"item_classes": ["clinical", "restricted"]}}', '{cr}'),
	('{"emergency": {"item_classes": ["restricted"]}, "items": {"include": ["g.c1"]}}', '{+c1,r}'),
	('{"emergency": {"items": {"exclude": ["g.c2"]}}, "items": {"exclude": ["g.c1"]}}', '{+c1,ai}'),
	('{"purpose": "reporting", "emergency": true}', '{}')) AS t (c, s);

-- proposing looks the items up

CREATE FUNCTION proposed(clause jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	told text;
BEGIN
	PERFORM as_role('document_ryj_governor', format('SELECT spine.propose_agreement(%L)', document('{}', clause)));
	RETURN 'proposed';
EXCEPTION WHEN SQLSTATE 'SP005' THEN
	GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
	RETURN told;
END
$$;
SELECT is(proposed('{"items": {"include": ["booking.nonsense"], "exclude": ["nothing.edd_agreed"]}, "emergency": {"items": {"include": ["booking.nonsense"]}}}'),
	E'clauses[0].items.include: data set maternity has no item booking.nonsense.\nclauses[0].items.exclude: data set maternity has no item nothing.edd_agreed.\n'
	'clauses[0].emergency.items.include: data set maternity has no item booking.nonsense.', 'items that the data set has not are refused');
SELECT is(proposed('{"items": {"include": "x"}}'), 'clauses[0].items.include: must be a list of items, each as "group.item".', 'a faulty document is refused for its faults');
SELECT is(proposed('{"purpose": "reporting", "items": {"include": ["mother.postcode", "booking.edd_agreed"]}}'),
	'clauses[0].items.include: item mother.postcode is of class identity, which does not leave for reporting and commissioning.', 'an item that tells who she is is not included for figures');
SELECT is(proposed('{"dataset": "unheard", "items": {"include": ["a.b"]}}'), 'proposed', 'of a data set that is not here nothing is known');

-- the models: sound, of what there is, and good from proposing to publishing

SELECT make_roles('document_y56_governor', 'document_stranger') \g /dev/null
SELECT spine.host_organisation('Y56'), spine.add_member('document_y56_governor', 'Y56', 'governor') \g /dev/null
CREATE TEMPORARY TABLE model AS
	SELECT n AS name, pg_read_file(:'source' || '/policies/' || n || '.json')::jsonb AS d
	  FROM unnest(ARRAY['maternity-direct-care', 'neonatal-network', 'regional-reporting']) n;
SELECT is(faults(d), NULL, name || ' has no fault') FROM model ORDER BY name;
SELECT is(d ->> 'name', name, name || ' is called as its file') FROM model ORDER BY name;
SELECT ok(d ->> 'description' LIKE 'A model. %' AND NOT jsonb_path_exists(d, '$.clauses[*] ? (!exists(@.note))'), name || ' says what it is for, and each of its clauses')
  FROM model ORDER BY name;
CREATE FUNCTION carried(d jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	party text;
BEGIN
	PERFORM as_role('document_ryj_governor', format('SELECT spine.propose_agreement(%L)', d));
	FOR party IN SELECT lower(p) FROM jsonb_array_elements_text(d -> 'parties') p LOOP
		PERFORM as_role(format('document_%s_governor', party), format('SELECT spine.sign_agreement(%L, 1)', d ->> 'name'));
	END LOOP;
	PERFORM as_role('document_rqm_governor', format('SELECT spine.publish_agreement(%L, 1)', d ->> 'name'));
	RETURN (SELECT a.state FROM spine.agreement_states('2026-12-31') a WHERE a.name = d ->> 'name');
END
$$;
SELECT is(carried(d), 'published', name || ' is proposed, signed and published by its parties') FROM model ORDER BY name;
SELECT results_eq($$ SELECT agreement, from_organisation, to_organisation, purpose, data_group, relationships, retention, scope, emergency, emergency_scope, identified
					   FROM spine.rules_of_agreements() WHERE from_organisation = 'RYJ' AND data_group IN ('booking', 'baby', 'labour_delivery') ORDER BY agreement, data_group, clause $$,
	$$ VALUES ('maternity-direct-care', 'RYJ', 'RQM', 'care', 'baby', '{episode,referral,transfer}'::text[], '42 days'::interval, '{aci}'::text[], true, '{aci}'::text[], true),
		('maternity-direct-care', 'RYJ', 'RQM', 'care', 'booking', '{episode,referral,transfer}', '42 days', '{aci}', true, '{aci}', true),
		('maternity-direct-care', 'RYJ', 'RQM', 'care', 'booking', '{episode}', '0', '{ir}', false, '{}', true),
		('maternity-direct-care', 'RYJ', 'RQM', 'care', 'labour_delivery', '{episode,referral,transfer}', '42 days', '{aci}', true, '{aci}', true),
		('neonatal-network', 'RYJ', 'RQM', 'care', 'baby', '{claim,episode,referral,transfer}', '90 days', '{aci}', true, '{aci}', true),
		('neonatal-network', 'RYJ', 'RQM', 'care', 'labour_delivery', '{claim,transfer}', '0', '{aci}', true, '{c}', true),
		('regional-reporting', 'RYJ', 'Y56', 'reporting', 'baby', '{}', '0', '{ac}', false, '{}', false),
		('regional-reporting', 'RYJ', 'Y56', 'reporting', 'booking', '{}', '0', '{ac}', false, '{}', false),
		('regional-reporting', 'RYJ', 'Y56', 'reporting', 'labour_delivery', '{}', '0', '{ac}', false, '{}', false) $$, 'and they compile to what they say');

-- the form that people read

CREATE FUNCTION text_of(name text, version integer DEFAULT 1, who text DEFAULT 'document_rqm_clinician') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	answer := spine.agreement_text(name, version);
	RESET ROLE;
	RETURN answer;
END
$$;
CREATE FUNCTION today() RETURNS text LANGUAGE sql AS $$ SELECT to_char(now() AT TIME ZONE 'Europe/London', 'FMDD FMMonth YYYY') $$;
-- with dates that stay ahead
SELECT carried((d - 'description') || '{"name": "to-read", "end": "2999-12-31", "review": "2999-06-01"}') FROM model WHERE name = 'maternity-direct-care' \g /dev/null
SELECT is(text_of('to-read'), replace(replace($text$# Direct maternity care across a network

This is the agreement `to-read`, version 1.

## Parties

- RYJ: IMPERIAL COLLEGE HEALTHCARE NHS TRUST
- RQM: CHELSEA AND WESTMINSTER HOSPITAL NHS FOUNDATION TRUST

## State

It is published and in force since @DAY@. Its last day is 31 December 2999. Its review is due on 1 June 2999.

## Clause 1: care

> The pregnancy and the birth, to whoever has an episode of care for her or to whom she was referred or transferred. Sensitive answers are not in it: clause 2 has them. Six weeks after the care has ended, the record closes. In an emergency a clinician may break the glass; each use is reviewed.

- **Who sees what of whom.** Clinicians of each party see the records of the other parties.
- **For what.** The care of the person whom the record is about, and nothing else.
- **Which records.** Of Maternity services (`maternity`) the data groups Mother, Pregnancy and booking, Care plan, Dating scan, Scored assessment in pregnancy, Provisional diagnosis, Diagnosis, Medical history, Family history, Finding or observation outside a contact, Contact, Activity at a contact, Scored assessment at a contact, Labour and delivery, Activity in labour, Hospital stay and Ward stay.
- **On which basis.** The clinician's organisation has an episode of care for the person, has had the person referred to it or has had the person transferred to it. The clinician opens the record with a reason, which is written down. A person who has objected to it is not shown.
- **What is left out.** Items of the classes administrative, clinical and identity are shown. Restricted items are left out.
- **Until when.** The records are seen as long as the relationship lasts, and for 42 days after it has ended.
- **In an emergency.** A clinician may break the glass with a reason, for a limited time, even where the person has objected; each use is reviewed. The same items are shown.
- **Identity.** Persons are identified.

## Clause 2: care

> Sensitive answers (social circumstances, disability, mental health, complex social factors, support) to whoever has an episode of care for her, and to nobody else: a referral alone does not give them, nor does an emergency, and they close with the episode.

- **Who sees what of whom.** Clinicians of each party see the records of the other parties.
- **For what.** The care of the person whom the record is about, and nothing else.
- **Which records.** Of Maternity services (`maternity`) the data groups Pregnancy and booking and Social and personal circumstance.
- **On which basis.** The clinician's organisation has an episode of care for the person. The clinician opens the record with a reason, which is written down. A person who has objected to it is not shown.
- **What is left out.** Items of the classes identity and restricted are shown. Administrative and clinical items are left out.
- **Until when.** The records are seen as long as the relationship lasts.
- **In an emergency.** Breaking the glass shows nothing under this clause.
- **Identity.** Persons are identified.

## Clause 3: care

> The baby, to whoever cares for the baby.

- **Who sees what of whom.** Clinicians of each party see the records of the other parties.
- **For what.** The care of the person whom the record is about, and nothing else.
- **Which records.** Of Maternity services (`maternity`) the data groups Baby, Neonatal admission, Baby's provisional diagnosis, Baby's diagnosis, Activity for the baby and Baby's scored assessment.
- **On which basis.** The clinician's organisation has an episode of care for the person, has had the person referred to it or has had the person transferred to it. The clinician opens the record with a reason, which is written down. A person who has objected to it is not shown.
- **What is left out.** Items of the classes administrative, clinical and identity are shown. Restricted items are left out.
- **Until when.** The records are seen as long as the relationship lasts, and for 42 days after it has ended.
- **In an emergency.** A clinician may break the glass with a reason, for a limited time, even where the person has objected; each use is reviewed. The same items are shown.
- **Identity.** Persons are identified.

## Signatures

- Signed for RYJ on @DAY@ by `document_ryj_governor`.
- Signed for RQM on @DAY@ by `document_rqm_governor`.

What is signed is the document with the digest `@DIGEST@`.
$text$, '@DAY@', today()), '@DIGEST@', (SELECT encode(digest, 'hex') FROM spine.agreement_states() WHERE name = 'to-read')),
	'the model for direct care, word for word');
CREATE FUNCTION says(part text, name text, version integer DEFAULT 1) RETURNS boolean LANGUAGE sql AS $$ SELECT strpos(text_of(name, version), part) > 0 $$;
SELECT ok(says(p, n), n || ' says: ' || p) FROM (VALUES
	('neonatal-network', '- **On which basis.** The clinician''s organisation has an episode of care for the person, has had the person referred to it, has had the person transferred to it or has claimed the person, with a reason. The clinician opens'),
	('neonatal-network', 'each use is reviewed. Items of the class clinical are shown. Administrative, identity and restricted items are left out.'),
	('neonatal-network', '- **Until when.** The records are seen as long as the relationship lasts.'),
	('regional-reporting', '- **Who sees what of whom.** Records of RYJ and RQM go to Y56.'),
	('regional-reporting', '- **On which basis.** No relationship to the person is needed. Whoever has objected to it is left out.'),
	('regional-reporting', '- **What is left out.** Items of the classes administrative and clinical are shown. Identity and restricted items are left out.'),
	('regional-reporting', '- **Identity.** Persons are pseudonymised: a number that means nothing elsewhere stands for each of them, and for the numbers of their records.'),
	('regional-reporting', '- **Dates.** Of dates the month alone is given, of times nothing.')) AS t (n, p);
SELECT ok(NOT says('**In an emergency.**', 'regional-reporting') AND NOT says('**Until when.**', 'regional-reporting'), 'and nothing that is for care alone');
SELECT agree('document', document('{"name": "items"}', '{"from": ["RYJ"], "to": ["RQM"], "item_classes": ["clinical"], "retention_days": 1, "relationships": ["claim", "emergency"],
	"items": {"include": ["booking.pregnancy_id"], "exclude": ["booking.edd_agreed"]}}')) \g /dev/null
SELECT ok(says(p, 'items'), p) FROM (VALUES
	('- **Who sees what of whom.** Clinicians of RQM see the records of RYJ.'),
	('All data groups of Maternity services (`maternity`), those of later versions too.'),
	('The records are seen as long as the relationship lasts, and for 1 day after it has ended.'),
	('Shown all the same: ' || (SELECT title FROM spine.data_items WHERE version = '2.0' AND data_group = 'booking' AND item = 'pregnancy_id') || ' (`booking.pregnancy_id`).'),
	('Left out all the same: ' || (SELECT title FROM spine.data_items WHERE version = '2.0' AND data_group = 'booking' AND item = 'edd_agreed') || ' (`booking.edd_agreed`).'),
	('It has no end date.'), ('The same items are shown.')) AS t (p);

-- each state, and what others have written cannot pass for ours

SELECT as_role('document_ryj_governor', format('SELECT spine.propose_agreement(%L)', document(jsonb_build_object('name', 'states', 'title', E'A *title*\n\n## Signatures\n- Signed for RQM',
	'description', E'see\n# This', 'review', NULL)))) \g /dev/null
SELECT ok(says(E'# A \\*title\\*<br>## Signatures<br>- Signed for RQM\n', 'states') AND says(E'> see<br># This\n', 'states'), 'a title has no line of its own to pretend with');
SELECT ok(says('It is proposed, not signed by all parties, and shares nothing. It is to begin on 1 January 2026. It has no end date. No date is set for a review.', 'states'), 'proposed');
SELECT ok(says(E'- Not yet signed for RYJ.\n- Not yet signed for RQM.\n', 'states'), 'by nobody signed');
SELECT as_role('document_ryj_governor', 'SELECT spine.sign_agreement(''states'', 1)'), as_role('document_rqm_governor', 'SELECT spine.sign_agreement(''states'', 1)') \g /dev/null
SELECT ok(says('It is signed by all parties. It shares nothing until one of them publishes it.', 'states'), 'signed');
SELECT as_role('document_ryj_governor', 'SELECT spine.publish_agreement(''states'', 1)') \g /dev/null
SELECT ok(says('It is published and in force since ' || today() || '.', 'states'), 'published');
SELECT agree('document', document('{"name": "states", "version": 2, "start": "2998-02-01", "review": null}')) \g /dev/null
SELECT ok(says('It is published and will be in force from 1 February 2998 on.', 'states', 2) AND says('A later version replaces it on 1 February 2998.', 'states'), 'to be replaced');
SELECT agree('document', document('{"name": "states", "version": 3, "review": "2026-01-02"}')) \g /dev/null
SELECT ok(says('It shares nothing any more: a later version has replaced it.', 'states'), 'superseded');
SELECT ok(says('Its review was due on 2 January 2026 and is overdue.', 'states', 3), 'overdue');
SELECT as_role('document_rqm_governor', $$ SELECT spine.end_agreement('states', 3, E'We have *moved*\non') $$) \g /dev/null
SELECT ok(says('It shares nothing any more: RQM ended it on ' || today() || ', for the reason "We have \*moved\*<br>on".', 'states', 3), 'ended');
SELECT agree('document', document('{"name": "expired", "start": "2020-01-01", "end": "2020-12-31", "review": null}')) \g /dev/null
SELECT ok(says('It shares nothing any more: its end date is past. Its last day is 31 December 2020.', 'expired'), 'expired');

-- who reads it

SELECT is(left(text_of('regional-reporting', 1, w), 32), '# Maternity figures for a region', w || ' reads it')
  FROM unnest(ARRAY['document_ryj_clinician', 'document_ryj_analyst', 'document_ryj_governor', 'document_ryj_system', 'document_y56_governor']) w;
SELECT throws_ok(format('SELECT text_of(%L, %s, %L)', n, v, w), 'SP005', format('there is no such agreement "%s" version %s', n, v), d) FROM (VALUES
	('items', 1, 'document_y56_governor', 'one between others is not there'), ('items', 2, 'document_ryj_governor', 'nor is a version that there is not'),
	('nothing', 1, 'document_ryj_governor', 'nor one of another name')) AS t (n, v, w, d);
SELECT throws_ok('SELECT text_of(NULL, NULL)', 'SP005', NULL, 'nor none');
SELECT throws_ok($$ SELECT text_of('items', 1, 'document_stranger') $$, '42501', NULL, 'a stranger reads none');

-- the clauses in force, as rows

SELECT results_eq($$ SELECT as_role('document_y56_governor', 'SELECT agreement, version, clause, from_organisations, to_organisations, purpose, basis, item_classes, retention, emergency, identified
	FROM spine.agreements_in_force') $$, $$ VALUES ('(regional-reporting,1,1,"{RYJ,RQM}",{Y56},reporting,{},"{administrative,clinical}",00:00:00,f,f)') $$,
	'what is in force is a row a clause, to those of its parties');
SELECT results_eq($$ SELECT as_role('document_ryj_clinician', 'SELECT agreement, clause, data_groups, basis, item_classes, items_included, items_excluded, retention, emergency, identified,
	until FROM spine.agreements_in_force WHERE agreement = ''items''') $$,
	$$ VALUES ('(items,1,{all},{claim},{clinical},{booking.pregnancy_id},{booking.edd_agreed},"1 day",t,t,)') $$, 'with all that it says');
SELECT is_empty($$ SELECT as_role('document_ryj_governor', 'SELECT 1 FROM spine.agreements_in_force WHERE agreement IN (''states'', ''expired'')') $$, 'what is ended, superseded or expired is not there');
SELECT agree('document', document('{"name": "reviewed", "review": "2026-01-02"}', '{"groups": ["booking"]}')) \g /dev/null
SELECT results_eq($$ SELECT as_role('document_ryj_governor', 'SELECT review, review_overdue FROM spine.agreements_in_force WHERE agreement IN (''reviewed'', ''to-read'') GROUP BY 1, 2 ORDER BY 1') $$,
	$$ VALUES ('(2026-01-02,t)'), ('(2999-06-01,f)') $$, 'a review that is overdue says so');
SELECT throws_ok($$ SELECT as_role('document_stranger', 'SELECT 1 FROM spine.agreements_in_force') $$, '42501', NULL, 'a stranger sees none');

SELECT * FROM finish();
SELECT leave_two_trusts('document'), drop_roles('document_y56_governor', 'document_stranger') \g /dev/null
