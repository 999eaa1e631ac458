-- The agreement document: what may be said of items, retention, emergency and pseudonyms, and what a clause then means.
\ir setup.psql
\ir as_role.psql
SELECT plan(122);
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
	('{"purpose": "commissioning", "identified": true}')
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
		('{clauses,0,emergency,item_classes}'), ('{clauses,0,emergency,items}'), ('{clauses,0,emergency,items,include}'), ('{clauses,0,identified}'), ('{clauses,0,note}'), ('{clauses,1}'), ('{x}')) AS t (p);
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
	('{"purpose": "care"}'::jsonb, true), ('{"purpose": "reporting"}', false), ('{"purpose": "commissioning", "identified": true}', true),
	('{"purpose": "reporting", "identified": false}', false), ('{}', false), (NULL, false)) AS t (c, i);

CREATE FUNCTION scope(clause jsonb, items jsonb DEFAULT NULL) RETURNS text[] LANGUAGE sql AS $$
	SELECT spine.clause_scope(clause, 'g', coalesce(items, '[{"name": "a1", "class": "administrative"}, {"name": "c1", "class": "clinical"}, {"name": "c2", "class": "clinical", "column": "c2_first"},
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
	('{"items": {"include": ["g.c1"]}}', '{aci}')) AS t (c, s);
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
SELECT is(proposed('{"dataset": "unheard", "items": {"include": ["a.b"]}}'), 'proposed', 'of a data set that is not here nothing is known');
SELECT spine.publish_dataset('maternity', '2.1') \g /dev/null
SELECT is(faults(pg_read_file(:'source' || '/policies/maternity-direct-care.json')::jsonb), NULL, 'the model for direct care has no fault');

SELECT * FROM finish();
SELECT leave_two_trusts('document') \g /dev/null
