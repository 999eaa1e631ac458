-- The generator: the same for the same seed, all groups, plausible figures, faults that intake finds.
\ir setup.psql
SET TimeZone = 'UTC';
SET jit = off;
SELECT plan(56);

-- ---- the same for the same arguments, whatever the batch ----

CREATE FUNCTION pg_temp.digest(bigint, integer, integer, double precision) RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(concat_ws(' ', pregnancy, organisation, data_group, sent_at, record, fault), E'\n' ORDER BY n))
	FROM spine.generate($2, $1, first_pregnancy => $3, fault_rate => $4)
	WHERE pregnancy IS NOT NULL
$$;

SELECT is(pg_temp.digest(1, 50, 1, 0.02), pg_temp.digest(1, 50, 1, 0.02), 'the same seed gives the same rows');
SELECT isnt(pg_temp.digest(1, 50, 1, 0.02), pg_temp.digest(2, 50, 1, 0.02), 'another seed gives others');
SELECT is(
	(SELECT md5(string_agg(record::text || sent_at, '' ORDER BY n)) FROM spine.generate(200) WHERE pregnancy BETWEEN 20 AND 29),
	(SELECT md5(string_agg(record::text || sent_at, '' ORDER BY n)) FROM spine.generate(10, first_pregnancy => 20)),
	'a pregnancy is the same whatever the number of pregnancies and the first of them');
SELECT is(
	(SELECT md5(string_agg(r, '' ORDER BY r)) FROM (SELECT DISTINCT record::text AS r FROM spine.generate(40, fault_rate => 0)) AS clean),
	(SELECT md5(string_agg(r, '' ORDER BY r)) FROM (SELECT DISTINCT record::text AS r FROM spine.generate(40, fault_rate => 0.3) WHERE fault IS NULL
		UNION SELECT record::text FROM spine.generate(40, fault_rate => 0)) AS mixed),
	'the records without a fault are the same whatever the rate of faults');
SELECT is(
	(SELECT md5(string_agg(e.record::text, '' ORDER BY d.k, e.at))
	 FROM spine.generate_documents(30, organisations => '{RYJ}', most_records => 7) WITH ORDINALITY AS d (organisation, records, document, k),
		json_array_elements(d.document->'records') WITH ORDINALITY AS e (record, at)),
	(SELECT md5(string_agg(record::text, '' ORDER BY n)) FROM spine.generate(30, organisations => '{RYJ}')),
	'documents hold the same records in the same order');
SELECT is(
	(SELECT string_agg(DISTINCT n::text, ',') FROM (SELECT row_number() OVER (ORDER BY n) - n AS n FROM spine.generate(20)) AS numbered),
	'0', 'n counts the rows from 1');
-- what every machine must give: changes only with the generator
SELECT is(pg_temp.digest(1, 100, 1, 0.02), '2771e136d482759db2309d186f3d1579', 'the known digest of 100 pregnancies');

-- ---- documents ----

CREATE TEMPORARY TABLE documents AS
	SELECT * FROM spine.generate_documents(60, organisations => '{RYJ,RQM}', most_records => 100, systems => '{alder,birch}');
SELECT is((SELECT max(records) FROM documents), 100, 'a document has no more records than asked for');
SELECT is((SELECT count(*) FROM documents WHERE records <> json_array_length(document->'records')), 0::bigint,
	'and tells how many it has');
SELECT is((SELECT string_agg(DISTINCT organisation || (document->>'dataset') || (document->>'version') || (document->>'system'), ' ') FROM documents),
	'RQMmaternity2.0birch RYJmaternity2.0alder', 'each of one organisation''s system and of the data set');
SELECT is((SELECT count(*) FROM documents WHERE records < 100), 2::bigint, 'all are full but each organisation''s last');

-- ---- bad arguments ----

SELECT throws_ok('SELECT * FROM spine.generate(-1)', '22023', 'pregnancies must be between 0 and 225000');
SELECT throws_ok('SELECT * FROM spine.generate(225001)', '22023', 'pregnancies must be between 0 and 225000');
SELECT throws_ok('SELECT * FROM spine.generate(2, first_pregnancy => 0)', '22023');
SELECT throws_ok('SELECT * FROM spine.generate(2, first_pregnancy => 225000)', '22023');
SELECT lives_ok('SELECT * FROM spine.generate(1, first_pregnancy => 225000)', 'the last pregnancy there is');
SELECT throws_ok('SELECT * FROM spine.generate(NULL)', '22004', 'no argument of the generator may be NULL');
SELECT throws_ok($$SELECT * FROM spine.generate(1, organisations => '{}')$$, '22023');
SELECT throws_ok($$SELECT * FROM spine.generate(1, organisations => '{RYJ,NULL}')$$, '22023', 'organisations must not hold NULL');
SELECT throws_ok($$SELECT * FROM spine.generate(1, organisations => '{RYJ,RYJ}')$$, '22023', 'organisation "RYJ" is named twice');
SELECT throws_ok($$SELECT * FROM spine.generate(1, organisations => '{{RYJ},{RQM}}')$$, '22023');
SELECT throws_ok($$SELECT * FROM spine.generate(1, organisations => ARRAY['R"J'])$$, '22023');
SELECT throws_ok('SELECT * FROM spine.generate(1, fault_rate => 1.5)', '22023', 'fault_rate must be between 0 and 1');
SELECT throws_ok($$SELECT * FROM spine.generate(1, fault_rate => 'NaN')$$, '22023', 'fault_rate must be between 0 and 1');
SELECT throws_ok($$SELECT * FROM spine.generate(1, starting => 'infinity')$$, '22023', 'starting must be a date between 1950 and 2200');
SELECT throws_ok('SELECT * FROM spine.generate_documents(1, most_records => 0)', '22023');
SELECT throws_ok($$SELECT * FROM spine.generate_documents(1, systems => '{a,b,c}')$$, '22023');
SELECT throws_ok($$SELECT * FROM spine.generate_documents(1, systems => ARRAY['a"b'])$$, '22023');
SELECT is_empty('SELECT * FROM spine.generate(0)', 'no pregnancies, no rows');
SELECT function_privs_are('spine', 'generate', ARRAY['integer', 'bigint', 'text[]', 'double precision', 'date', 'integer'], 'public', '{}'::name[]);

-- ---- what 5,000 pregnancies look like ----

CREATE TEMPORARY TABLE made AS
	SELECT n, pregnancy, organisation, data_group, sent_at, record->>'local_record_id' AS id, record->>'nhs_number' AS nhs_number,
		(record->'data')::jsonb AS data, fault
	FROM spine.generate(5000, fault_rate => 0.03);
CREATE INDEX ON made (data_group, organisation, id);
ANALYZE made;

SELECT set_eq('SELECT DISTINCT data_group FROM made',
	$$SELECT data_group FROM spine.data_groups WHERE dataset = 'maternity' AND version = '2.0'$$, 'every group occurs, and no other');
SELECT is((SELECT count(*) FROM made AS m WHERE fault IS NULL AND NOT EXISTS (
		SELECT FROM spine.data_items AS i WHERE i.dataset = 'maternity' AND i.version = '2.0' AND i.data_group = m.data_group)), 0::bigint,
	'each is a group of the data set');
SELECT is((SELECT count(*) FROM (SELECT DISTINCT data_group, jsonb_object_keys(data) AS item FROM made WHERE fault IS NULL
		EXCEPT SELECT data_group, item FROM spine.data_items WHERE dataset = 'maternity' AND version = '2.0') AS strange), 0::bigint,
	'a record without a fault has no item that the data set has not');
SELECT is((SELECT count(*) FROM made WHERE fault IS NULL AND nhs_number IS NOT NULL AND nhs_number NOT LIKE '999%'), 0::bigint,
	'every NHS number is in the range that no person has');
SELECT lives_ok('SELECT nhs_number::spine.nhs_number FROM made WHERE fault IS NULL',
	'and has a valid check digit');
SELECT throws_ok($$SELECT nhs_number::spine.nhs_number FROM made WHERE fault = 'check digit' AND data_group = 'care_contact'$$, '22P02',
	NULL, 'where that is not the fault');
SELECT is((SELECT count(*) FROM (SELECT nhs_number FROM made WHERE fault IS NULL AND data_group IN ('mother', 'baby') AND nhs_number IS NOT NULL
		GROUP BY nhs_number HAVING count(DISTINCT pregnancy) > 1) AS shared), 0::bigint, 'no number belongs to two pregnancies');
SELECT is((SELECT count(*) FROM (SELECT organisation, data_group, id FROM made WHERE pregnancy IS NOT NULL
		GROUP BY organisation, data_group, id HAVING count(DISTINCT pregnancy) > 1) AS shared), 0::bigint,
	'nor does a local record id');

CREATE TEMPORARY TABLE parents (data_group text, parent text, item text);
INSERT INTO parents VALUES ('care_activity', 'care_contact', 'care_contact_id'), ('contact_assessment', 'care_activity', 'care_activity_id'),
	('labour_activity', 'labour_delivery', 'labour_delivery_id'), ('baby', 'labour_delivery', 'labour_delivery_id'),
	('baby_assessment', 'baby_activity', 'baby_activity_id'), ('ward_stay', 'hospital_spell', 'hospital_spell_id'),
	('spell_commissioner', 'hospital_spell', 'hospital_spell_id'), ('assigned_professional', 'hospital_spell', 'hospital_spell_id');
SELECT is((SELECT count(*) FROM made AS m JOIN parents AS p USING (data_group)
		WHERE m.fault IS NULL AND NOT EXISTS (SELECT FROM made AS q
			WHERE q.data_group = p.parent AND q.organisation = m.organisation AND q.id = m.data->>p.item AND q.n < m.n)), 0::bigint,
	'a parent stands before its children');
SELECT is((SELECT count(*) FROM made AS m WHERE m.data ? 'pregnancy_id' AND m.fault IS NULL AND m.data_group <> 'booking' AND NOT EXISTS (
		SELECT FROM made AS q WHERE q.data_group = 'booking' AND q.organisation = m.organisation AND q.id = m.data->>'pregnancy_id' AND q.n < m.n)),
	0::bigint, 'and the booking before what belongs to the pregnancy');
SELECT is((SELECT count(*) FROM (SELECT sent_at < lag(sent_at) OVER (PARTITION BY pregnancy ORDER BY n) AS early FROM made
		WHERE pregnancy IS NOT NULL) AS s WHERE early), 0::bigint, 'a pregnancy is sent in order of time');
SELECT cmp_ok((SELECT avg((fault IS NOT NULL)::integer) FROM made), '>', 0.027, 'as many faults as asked for, at least');
SELECT cmp_ok((SELECT avg((fault IS NOT NULL)::integer) FROM made), '<', 0.033, 'and at most');
SELECT is((SELECT count(DISTINCT fault) FROM made), 12::bigint, 'of twelve kinds');
SELECT is((SELECT count(*) FROM spine.data_groups AS g WHERE dataset = 'maternity' AND version = '2.0'
		AND data_group NOT IN ('header', 'anonymous_assessment', 'anonymous_finding', 'staff')
		AND NOT EXISTS (SELECT FROM made AS m WHERE m.data_group = g.data_group AND m.fault IS NOT NULL)), 0::bigint, 'in every group');

-- the last word on each record
CREATE TEMPORARY TABLE told AS
	SELECT DISTINCT ON (organisation, data_group, id) * FROM made WHERE fault IS NULL ORDER BY organisation, data_group, id, n DESC;

CREATE TEMPORARY TABLE marginals (what text, got numeric, published numeric, within numeric);
CREATE FUNCTION pg_temp.share(p_group text, p_item text, p_of text[], p_known text[]) RETURNS numeric LANGUAGE sql AS $$
	SELECT 1000.0 * count(*) FILTER (WHERE data->>p_item = ANY (p_of)) / count(*)
	FROM told WHERE data_group = p_group AND data ? p_item AND (p_known IS NULL OR data->>p_item = ANY (p_known))
$$;
INSERT INTO marginals VALUES
	('booked by day 70', (SELECT 1000.0 * count(*) FILTER (WHERE g <= 70) / count(*) FROM (SELECT (data->>'antenatal_booking_date')::date
		- (data->>'edd_agreed')::date + 280 AS g FROM told WHERE data_group = 'booking' AND NOT data ? 'origin_provider_organisation') AS b), 666, 25),
	('booked after day 90', (SELECT 1000.0 * count(*) FILTER (WHERE g > 90) / count(*) FROM (SELECT (data->>'antenatal_booking_date')::date
		- (data->>'edd_agreed')::date + 280 AS g FROM told WHERE data_group = 'booking' AND NOT data ? 'origin_provider_organisation') AS b), 94, 15),
	('born before 37 weeks', (SELECT 1000.0 * count(*) FILTER (WHERE (data->>'birth_gestation')::integer < 259) / count(*) FROM told
		WHERE data_group = 'baby'), 77, 15),
	('born in week 39', (SELECT 1000.0 * count(*) FILTER (WHERE (data->>'birth_gestation')::integer BETWEEN 273 AND 279) / count(*) FROM told
		WHERE data_group = 'baby'), 306, 30),
	('spontaneous birth', pg_temp.share('baby', 'delivery_method', '{0,1,5}', NULL), 547, 30),
	('instrumental birth', pg_temp.share('baby', 'delivery_method', '{2,3,4,6}', NULL), 109, 20),
	('elective caesarean', pg_temp.share('baby', 'delivery_method', '{7}', NULL), 146, 25),
	('emergency caesarean', pg_temp.share('baby', 'delivery_method', '{8}', NULL), 184, 25),
	('caesarean before labour', pg_temp.share('labour_delivery', 'labour_onset_method', '{2}', NULL), 217, 25),
	('induced', pg_temp.share('labour_delivery', 'labour_onset_method', '{3,4,5}', NULL), 307, 30),
	('smokers', pg_temp.share('mother_finding', 'finding_code', '{77176002}', NULL), 112, 15),
	('first birth', pg_temp.share('booking', 'previous_live_births', '{0}', NULL), 441, 25),
	('complex social factors', pg_temp.share('booking', 'complex_social_factors_indicator', '{Y}', NULL), 133, 15),
	('folic acid before', pg_temp.share('booking', 'folic_acid_supplement', '{01}', NULL), 253, 20),
	('White', pg_temp.share('mother', 'mother_ethnic_category', '{A,B,C}', NULL), 706, 20),
	('first feed breast milk', pg_temp.share('baby', 'first_feed_milk', '{01,02}', NULL), 731, 25),
	('skin to skin', pg_temp.share('baby', 'skin_to_skin_indicator', '{Y}', NULL), 742, 30),
	('birth in a midwife-led unit', pg_temp.share('baby', 'birth_setting', '{02}', NULL), 105, 20),
	('birth at home', pg_temp.share('baby', 'birth_setting', '{04}', NULL), 19, 8),
	('term birth weight 3,000 to 3,999 g', (SELECT 1000.0 * count(*) FILTER (WHERE (a.data->>'observation_value')::integer BETWEEN 3000 AND 3999) / count(*)
		FROM told AS a JOIN told AS b ON b.data_group = 'baby' AND b.organisation = a.organisation AND b.id = a.data->>'baby_local_id'
		WHERE a.data_group = 'baby_activity' AND a.data->>'observation_code' = '364589006' AND (b.data->>'birth_gestation')::integer >= 259), 703, 50),
	('twins and triplets, of births', (SELECT 1000.0 * count(*) FILTER (WHERE data->>'birth_order' = '2') / count(*) FILTER (WHERE data->>'birth_order' = '1')
		FROM told WHERE data_group = 'baby'), 15, 7),
	('stillbirths', pg_temp.share('baby', 'pregnancy_outcome', '{02,03,04}', NULL), 4, 3),
	('mothers 30 to 34', (SELECT 1000.0 * count(*) FILTER (WHERE extract(year FROM age(b.sent_at, (m.data->>'mother_birth_date')::date)) BETWEEN 30 AND 34) / count(*)
		FROM told AS m JOIN told AS b USING (pregnancy, organisation) WHERE m.data_group = 'mother' AND b.data_group = 'pregnancy_assessment'), 340, 25);
SELECT is_empty('SELECT what, round(got) AS got, published FROM marginals WHERE abs(got - published) > within OR got IS NULL',
	'23 shares are near the published ones');
SELECT cmp_ok((SELECT count(*) FROM told WHERE data_group = 'booking' AND data ? 'origin_provider_organisation'), '>', 200::bigint,
	'some women move to the other organisation');
SELECT cmp_ok((SELECT count(*) FROM told WHERE data_group = 'booking' AND data->>'maternity_discharge_reason' IN ('03', '04')), '>', 75::bigint,
	'and some lose the pregnancy');

-- ---- consistency ----

SELECT is((SELECT count(*) FROM told AS b JOIN told AS k ON k.data_group = 'booking' AND k.organisation = b.organisation AND k.pregnancy = b.pregnancy
		WHERE b.data_group = 'baby' AND (b.data->>'birth_gestation')::integer
			<> (b.data->>'baby_birth_date')::date - (k.data->>'edd_agreed')::date + 280), 0::bigint,
	'gestation at birth is told by the date of birth and the expected date of delivery');
SELECT is((SELECT count(*) FROM (SELECT l.data ? 'caesarean_date' AS dated, bool_or(b.data->>'delivery_method' IN ('7', '8')) AS done
		FROM told AS l JOIN told AS b ON b.data_group = 'baby' AND b.organisation = l.organisation AND b.data->>'labour_delivery_id' = l.id
		WHERE l.data_group = 'labour_delivery' GROUP BY l.organisation, l.id, l.data) AS c WHERE dated <> done), 0::bigint,
	'a caesarean has a date, and only a caesarean');
SELECT is((SELECT count(*) FROM told AS a JOIN told AS b USING (pregnancy) WHERE a.data_group = 'booking' AND b.data_group = 'booking'
		AND a.organisation <> b.organisation AND abs((a.data->>'edd_agreed')::date - (b.data->>'edd_agreed')::date) > 5), 0::bigint,
	'two organisations'' dates of one pregnancy are at most five days apart');

-- ---- intake finds each fault, and nothing else but what follows from one ----

DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'generate_supplier') THEN
		CREATE ROLE generate_supplier LOGIN;
	END IF;
END
$$;
\o /dev/null
SELECT spine.add_system('RYJ', 'maternity', 'maternity', 'generate_supplier');
\o
CREATE TEMPORARY TABLE answered (clean boolean, k bigint, n integer, outcome text, findings jsonb);
GRANT INSERT ON answered TO generate_supplier;
SET ROLE generate_supplier;
INSERT INTO answered SELECT true, d.k, s.n, s.outcome, s.findings
	FROM spine.generate_documents(60, organisations => '{RYJ}', fault_rate => 0, most_records => 500) WITH ORDINALITY AS d (organisation, records, document, k),
		LATERAL spine.submit(d.document) AS s;
RESET ROLE;
SELECT is((SELECT count(*) FROM answered), (SELECT count(*) FROM spine.generate(60, organisations => '{RYJ}', fault_rate => 0)),
	'every record of a document is answered');
SELECT is_empty('SELECT outcome, findings, count(*) FROM answered WHERE outcome <> $$accepted$$ GROUP BY 1, 2',
	'records without a fault are accepted without a warning');

SET ROLE generate_supplier;
INSERT INTO answered SELECT false, d.k, s.n, s.outcome, s.findings
	FROM spine.generate_documents(300, organisations => '{RYJ}', fault_rate => 0.2, first_pregnancy => 61, most_records => 500)
			WITH ORDINALITY AS d (organisation, records, document, k),
		LATERAL spine.submit(d.document) AS s;
RESET ROLE;
CREATE TEMPORARY TABLE judged AS
	SELECT g.fault, g.data_group, g.record, a.outcome, a.findings
	FROM (SELECT row_number() OVER (ORDER BY n) AS at, * FROM spine.generate(300, organisations => '{RYJ}', fault_rate => 0.2, first_pregnancy => 61)) AS g
		JOIN (SELECT row_number() OVER (ORDER BY k, n) AS at, * FROM answered WHERE NOT clean) AS a USING (at);
SELECT is_empty($$SELECT fault, data_group, count(*) FROM judged WHERE fault IS NOT NULL AND outcome IN ('accepted', 'unchanged') GROUP BY 1, 2$$,
	'every fault is found');
SELECT is_empty($$SELECT data_group, f->>'rule', count(*) FROM judged, jsonb_array_elements(findings) AS f
	WHERE fault IS NULL AND f->>'rule' NOT IN ('parent.unknown', 'parent.rejected', 'identity.missing',
		'booking.delivery', 'labour_delivery.baby', 'care_contact.booking', 'labour_delivery.booking', 'hospital_spell.booking') GROUP BY 1, 2$$,
	'a record without a fault has a finding for what its parent has alone');
SELECT cmp_ok((SELECT count(DISTINCT f->>'rule') FROM judged, jsonb_array_elements(findings) AS f), '>=', 8::bigint,
	'faults break rules of many kinds');

\o /dev/null
DROP OWNED BY generate_supplier;
DROP ROLE generate_supplier;
\o
SELECT * FROM finish();
