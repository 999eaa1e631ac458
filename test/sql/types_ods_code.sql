-- The type spine.ods_code.
BEGIN;
SELECT * FROM no_plan();
\ir types.psql
SET LOCAL search_path TO public, spine, pg_catalog;

SELECT pg_temp.type_is_complete('ods_code', 'text');

-- text
SELECT is(written::spine.ods_code::text, code, 'reads ' || to_json(written))
FROM (VALUES
	('R0A', 'R0A'), ('RYJ', 'RYJ'), ('RR801', 'RR801'), ('A81001', 'A81001'), ('05F', '05F'), ('12D', '12D'), ('QWE', 'QWE'), ('Y56', 'Y56'),
	('X99998', 'X99998'), ('X99999', 'X99999'), ('V81997', 'V81997'), ('V81998', 'V81998'), ('V81999', 'V81999'), ('R9998', 'R9998'),
	('89997', '89997'), ('89999', '89999'), ('ZZ201', 'ZZ201'), ('ZZ999', 'ZZ999'), ('V12505', 'V12505'), ('4AY97', '4AY97'),
	('ABCDEFGH9', 'ABCDEFGH9'),
	('ryj', 'RYJ'), ('rYj01', 'RYJ01'), (' X99999 ', 'X99999'), (E'\tryj\r\n', 'RYJ'), ('qrstuvwxy', 'QRSTUVWXY')
) v(written, code);

SELECT is(pg_temp.fault_of(format('SELECT %L::spine.ods_code', written)),
		  format('22P02 | invalid ODS code "%s": %s', written, fault), 'refuses ' || to_json(written))
FROM (VALUES
	('3', 'it must have 3 to 9 characters'),
	('R0', 'it must have 3 to 9 characters'),
	(' R0 ', 'it must have 3 to 9 characters'),
	('ABCDEFGHIJ', 'it must have 3 to 9 characters'),
	('', 'it is empty'),
	('   ', 'it is empty'),
	('R YJ', 'it may hold letters A to Z and digits alone'),
	('RYJ-01', 'it may hold letters A to Z and digits alone'),
	('RYJ''', 'it may hold letters A to Z and digits alone'),
	('RYJ:care', 'it may hold letters A to Z and digits alone'),
	('{RYJ}', 'it may hold letters A to Z and digits alone'),
	('RÉJ', 'it may hold letters A to Z and digits alone'),
	('ＲＹＪ', 'it may hold letters A to Z and digits alone'),
	(E'RYJ\u00A0', 'it may hold letters A to Z and digits alone')
) v(written, fault);
SELECT is(pg_temp.fault_of(format('SELECT %L::text::spine.ods_code', 'R0')),
		  '22P02 | invalid ODS code "R0": it must have 3 to 9 characters', 'the cast from text refuses alike');
SELECT is(pg_temp.fault_of(format('SELECT %L::spine.ods_code', repeat('é', 100))),
		  format('22P02 | invalid ODS code "%s...": it may hold letters A to Z and digits alone', repeat('é', 32)),
		  'a long value is cut in the message, between characters');

-- the letters are ASCII's whatever the locale: i stays without a dot
SELECT is('ict'::spine.ods_code::text, 'ICT', 'upper case of ASCII');
SELECT isnt(pg_temp.fault_of($$SELECT 'ıct'::spine.ods_code$$), NULL, 'a dotless i is no letter of a code');

-- as text
CREATE TEMP TABLE written (code text, short varchar(5));
CREATE TEMP TABLE coded (code spine.ods_code);
SELECT lives_ok($$INSERT INTO written SELECT 'ryj'::spine.ods_code, 'ryj01'::spine.ods_code$$, 'becomes text by itself');
SELECT lives_ok($$INSERT INTO coded SELECT code FROM written$$, 'text becomes a code by assignment');
SELECT lives_ok($$INSERT INTO coded SELECT ' rqm '::text$$, 'and is read as any text');
SELECT throws_ok($$INSERT INTO coded SELECT 'R0'::text$$, '22P02', 'invalid ODS code "R0": it must have 3 to 9 characters');
SELECT results_eq('SELECT code::text FROM coded ORDER BY code', ARRAY['RQM', 'RYJ'], 'both are there');
SELECT is((SELECT count(*) FROM coded c JOIN written w ON c.code = w.code), 1::bigint, 'compares with text');
SELECT is('RYJ'::spine.ods_code || ':care', 'RYJ:care', 'concatenates as text');
SELECT is(coalesce(NULL::spine.ods_code, 'none'::text), 'none', 'stands with text in one expression');
SELECT is(left('RYJ01'::spine.ods_code, 3), 'RYJ', 'goes to functions of text');
SELECT is(pg_column_size(code), 4, 'takes no more room than text') FROM coded WHERE code = 'RYJ';
SELECT ok('ryj'::spine.ods_code = 'RYJ'::spine.ods_code, 'however it was written');
SELECT ok('RYJ'::spine.ods_code < 'RYJ01'::spine.ods_code, 'a code comes before those that it starts');
SELECT ok('99999'::spine.ods_code < 'A81001'::spine.ods_code, 'digits come before letters, whatever the collation');

-- binary
SELECT is(spine.ods_code_send('ryj'), 'RYJ'::bytea, 'sent as text is');
TRUNCATE coded;
SELECT lives_ok(pg_temp.copy_binary('coded', spine.ods_code_send('RYJ'), spine.ods_code_send('X99998'), 'rqm'::bytea), 'reads what it sent');
SELECT results_eq('SELECT code::text FROM coded ORDER BY code', ARRAY['RQM', 'RYJ', 'X99998'], 'binary round trip');
SELECT throws_ok(pg_temp.copy_binary('coded', 'R0'), '22P03', 'invalid ODS code "R0": it must have 3 to 9 characters', 'binary R0');
SELECT throws_ok(pg_temp.copy_binary('coded', 'ABCDEFGHIJ'), '22P03', 'invalid ODS code "ABCDEFGHIJ": it must have 3 to 9 characters', 'binary of ten');
SELECT throws_ok(pg_temp.copy_binary('coded', ''), '22P03', 'invalid ODS code "": it is empty', 'binary of nothing');
SELECT throws_ok(pg_temp.copy_binary('coded', '\x52c959'), '22021', NULL, 'binary that is no text');
SELECT throws_ok(pg_temp.copy_binary('coded', '\x52590041'), '22021', NULL, 'binary with a NUL in it');

-- order, index, hash
CREATE TABLE many (v spine.ods_code, basis text COLLATE "C");
INSERT INTO many
	SELECT code, code
	FROM (SELECT substr('RAQY5VX0', n % 8 + 1, 1) || upper(substr(md5(n::text), 1, 2 + n % 7)) AS code
		  FROM generate_series(1, 12000) n
		  UNION ALL SELECT 'RYJ01') codes;
SELECT count(*) FILTER (WHERE basis < '01') AS below, count(*) FILTER (WHERE basis = 'RYJ01') AS equal FROM many \gset
\set type ods_code
\set basis_hash hashtext
\set probe RYJ01
\set low 010
\ir types_order.psql

SELECT * FROM finish();
ROLLBACK;
