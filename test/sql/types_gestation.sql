-- The type spine.gestation.
BEGIN;
SELECT * FROM no_plan();
\ir types.psql
SET LOCAL search_path TO public, spine, pg_catalog;

SELECT pg_temp.type_is_complete('gestation', 'integer');

-- text
SELECT is(written::spine.gestation::text, shown, format('%s is %s', to_json(written), shown))
FROM (VALUES
	('39+4', '39+4'), ('277', '39+4'), ('39w4d', '39+4'), ('39W4D', '39+4'), (' 39+4 ', '39+4'), (E'\t277\r\n', '39+4'), ('39w', '39+0'),
	('154', '22+0'), ('168', '24+0'), ('259', '37+0'), ('280', '40+0'), ('286', '40+6'), ('315', '45+0'),
	('0', '0+0'), ('000', '0+0'), ('007', '1+0'), ('6', '0+6'), ('0+0', '0+0'), ('5+3', '5+3'), ('05+3', '5+3'),
	('39', '5+4'), ('349', '49+6'), ('49+6', '49+6'), ('49w6d', '49+6')
) v(written, shown);
SELECT is((days::text::spine.gestation)::text, days / 7 || '+' || days % 7, 'every day reads and writes: ' || days)
FROM generate_series(0, 349, 29) days;
SELECT is(count(*), 350::bigint, 'what is written is read as the same')
FROM generate_series(0, 349) days
WHERE (days::spine.gestation)::text::spine.gestation::integer = days;

SELECT is(pg_temp.fault_of(format('SELECT %L::spine.gestation', written)),
		  format('22P02 | invalid gestation "%s": %s', written, fault), 'refuses ' || to_json(written))
FROM (VALUES
	('38+7', 'the days after the weeks must be 0 to 6'),
	('38w9d', 'the days after the weeks must be 0 to 6'),
	('350', 'it must be from 0 to 349 days (49+6)'),
	('50+0', 'it must be from 0 to 349 days (49+6)'),
	('50w', 'it must be from 0 to 349 days (49+6)'),
	('99+6', 'it must be from 0 to 349 days (49+6)'),
	('1000', 'it must be from 0 to 349 days (49+6)'),
	('99999999999999999999999', 'it must be from 0 to 349 days (49+6)'),
	('', 'it is empty'),
	(' ', 'it is empty'),
	('39+', 'it must be weeks+days, such as 39+4, or a number of days'),
	('+4', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39+14', 'it must be weeks+days, such as 39+4, or a number of days'),
	('039+4', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39+4+1', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39+4d', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39w4', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39wd', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39 + 4', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39/40', 'it must be weeks+days, such as 39+4, or a number of days'),
	('39.4', 'it must be weeks+days, such as 39+4, or a number of days'),
	('-1', 'it must be weeks+days, such as 39+4, or a number of days'),
	('-39+4', 'it must be weeks+days, such as 39+4, or a number of days'),
	('term', 'it must be weeks+days, such as 39+4, or a number of days'),
	('３９', 'it must be weeks+days, such as 39+4, or a number of days')
) v(written, fault);

-- integer, parts, difference
SELECT is(277::spine.gestation::text, '39+4', 'cast from integer');
SELECT is('39+4'::spine.gestation::integer, 277, 'cast to integer');
SELECT throws_ok('SELECT 350::spine.gestation', '22P02', 'invalid gestation "350": it must be from 0 to 349 days (49+6)');
SELECT throws_ok('SELECT (-1)::spine.gestation', '22P02', 'invalid gestation "-1": it must be from 0 to 349 days (49+6)');
SELECT throws_ok('SELECT (-2147483648)::spine.gestation', '22P02', 'invalid gestation "-2147483648": it must be from 0 to 349 days (49+6)');
CREATE TEMP TABLE birth (length spine.gestation, days integer);
SELECT lives_ok('INSERT INTO birth SELECT 277::integer, ''37+0''::spine.gestation', 'days are assigned both ways');
SELECT throws_ok('INSERT INTO birth (length) SELECT 350::integer', '22P02', 'invalid gestation "350": it must be from 0 to 349 days (49+6)');
SELECT results_eq('SELECT length::text, days FROM birth', $$VALUES ('39+4', 259)$$, 'and mean the same');
SELECT is(spine.gestation_weeks('39+4'), 39, 'weeks');
SELECT is(spine.gestation_days('39+4'), 4, 'days after the weeks');
SELECT is(spine.gestation_weeks('0+6'), 0, 'no week yet');
SELECT is(count(*), 350::bigint, 'the parts make the whole')
FROM generate_series(0, 349) days
WHERE 7 * spine.gestation_weeks(days::spine.gestation) + spine.gestation_days(days::spine.gestation) = days;
SELECT is('39+4'::spine.gestation - '37+0', 18, 'difference in days');
SELECT is('37+0'::spine.gestation - '39+4', -18, 'and the other way round');
SELECT is('49+6'::spine.gestation - '0+0', 349, 'the largest difference');
SELECT ok('9+6'::spine.gestation < '10+0', 'ordered by days, not by letters');
SELECT ok('37+0'::spine.gestation BETWEEN '37+0' AND '41+6', 'term');

-- binary
TRUNCATE birth;
SELECT is(spine.gestation_send('39+4'), int4send(277), 'sent as integer is');
SELECT lives_ok(pg_temp.copy_binary('birth (length)', spine.gestation_send('0+0'), spine.gestation_send('49+6')), 'reads what it sent');
SELECT results_eq('SELECT length::text FROM birth ORDER BY length', ARRAY['0+0', '49+6'], 'binary round trip');
SELECT throws_ok(pg_temp.copy_binary('birth (length)', int4send(days)), '22P03',
				 format('invalid gestation "%s": it must be from 0 to 349 days (49+6)', days), 'binary ' || days)
FROM unnest(ARRAY[350, -1, 2147483647]) days;
SELECT throws_ok(pg_temp.copy_binary('birth (length)', int8send(277)), '22P03', NULL, 'binary of eight bytes');

-- order, index, hash
CREATE TABLE many AS
	SELECT days::spine.gestation AS v, days AS basis
	FROM generate_series(1, 9000) n, LATERAL (SELECT (n * 7919 % 350)::integer AS days) d;
SELECT count(*) FILTER (WHERE basis < 7) AS below, count(*) FILTER (WHERE basis = 277) AS equal FROM many \gset
\set type gestation
\set basis_hash hashint4
\set probe 39+4
\set low 1+0
\ir types_order.psql

SELECT is((SELECT (min(v), max(v))::text FROM many), '(0+0,49+6)', 'least and greatest');
SET LOCAL enable_seqscan TO off;
CREATE INDEX many_extremes ON many (v);
SELECT matches(pg_temp.plan_of('SELECT max(v) FROM many'), 'Index Only Scan Backward', 'from the index''s end');

SELECT * FROM finish();
ROLLBACK;
