-- The type spine.snomed_code.
BEGIN;
SELECT * FROM no_plan();
\ir types.psql
SET LOCAL search_path TO public, spine, pg_catalog;

SELECT pg_temp.type_is_complete('snomed_code', 'bigint');

-- what the code names
SELECT is(spine.snomed_partition(code::spine.snomed_code), kind, code || ': ' || kind)
FROM (VALUES
	('979641000000103', 'concept'), ('961031000000108', 'concept'), ('408730004', 'concept'),
	('718431003', 'concept'), ('364589006', 'concept'),
	('785322012', 'description'), ('494929013', 'description'), ('3314819019', 'description'),
	('100005', 'concept'), ('100014', 'description'), ('100022', 'relationship'),
	('100108', 'concept'), ('100112', 'description'), ('100120', 'relationship'), ('999999999999999121', 'relationship')
) v(code, kind);
SELECT is(ARRAY[spine.is_concept(code::spine.snomed_code), spine.is_description(code::spine.snomed_code),
				spine.is_relationship(code::spine.snomed_code)], is_one, 'is_concept, is_description, is_relationship: ' || code)
FROM (VALUES ('364589006', ARRAY[true, false, false]), ('979641000000103', ARRAY[true, false, false]),
			 ('785322012', ARRAY[false, true, false]), ('100112', ARRAY[false, true, false]),
			 ('100022', ARRAY[false, false, true]), ('999999999999999121', ARRAY[false, false, true])) v(code, is_one);

-- text
SELECT is(code::spine.snomed_code::text, code, 'valid: ' || code)
FROM unnest(ARRAY['979641000000103', '961031000000108', '408730004', '718431003', '364589006',
				  '785322012', '494929013', '3314819019', '100005', '999999999999999006']) code;
SELECT is(written::spine.snomed_code::text, '364589006', 'reads ' || to_json(written))
FROM unnest(ARRAY[' 364589006', E'364589006\r\n', E'\t364589006 ']) written;

SELECT is(pg_temp.fault_of(format('SELECT %L::spine.snomed_code', written)),
		  format('22P02 | invalid SNOMED CT code "%s": %s', written, fault), 'refuses ' || to_json(written))
FROM (VALUES
	('11452009', 'its check digit is wrong (Verhoeff)'),
	('73211008', 'its check digit is wrong (Verhoeff)'),
	('86637100000010', 'its check digit is wrong (Verhoeff)'),
	('364589007', 'its check digit is wrong (Verhoeff)'),
	('100033', 'its partition names no concept, description or relationship'),
	('100131', 'its partition names no concept, description or relationship'),
	('100203', 'its partition names no concept, description or relationship'),
	('100993', 'its partition names no concept, description or relationship'),
	('2363', 'it must have 6 to 18 digits'),
	('12345', 'it must have 6 to 18 digits'),
	('9223372036854775807', 'it must have 6 to 18 digits'),
	('99999999999999999999999999999999999999999999999999', 'it must have 6 to 18 digits'),
	('', 'it is empty'),
	('  ', 'it is empty'),
	('0364589006', 'it may not start with 0'),
	('000000', 'it may not start with 0'),
	('-364589006', 'it may hold digits alone'),
	('364589006.', 'it may hold digits alone'),
	('364 589 006', 'it may hold digits alone'),
	('3.64589006e8', 'it may hold digits alone'),
	('961031000000108:408730004=718431003', 'it may hold digits alone'),
	('３６４５８９００６', 'it may hold digits alone')
) v(written, fault);
SELECT is(pg_temp.fault_of(format('SELECT %L::spine.snomed_code', repeat('é', 100))),
		  format('22P02 | invalid SNOMED CT code "%s...": it may hold digits alone', repeat('é', 32)),
		  'a long value is cut in the message, between characters');

-- any change of one digit shows, as does any exchange of two neighbours that differ
SELECT is(count(*), 0::bigint, 'no one-digit error passes')
FROM (VALUES ('364589006'), ('979641000000103'), ('3314819019')) v(code),
	generate_series(1, length(code)) at, generate_series(0, 9) digit
WHERE substr(code, at, 1) <> digit::text
	AND pg_temp.fault_of(format('SELECT %L::spine.snomed_code', overlay(code PLACING digit::text FROM at FOR 1))) IS NULL;
SELECT is(count(*), 0::bigint, 'no exchange of neighbouring digits passes')
FROM (VALUES ('364589006'), ('979641000000103'), ('3314819019')) v(code), generate_series(1, length(code) - 1) at
WHERE substr(code, at, 1) <> substr(code, at + 1, 1)
	AND pg_temp.fault_of(format('SELECT %L::spine.snomed_code',
		overlay(code PLACING substr(code, at + 1, 1) || substr(code, at, 1) FROM at FOR 2))) IS NULL;

-- bigint and integer
SELECT is(979641000000103::spine.snomed_code::text, '979641000000103', 'cast from bigint');
SELECT is(364589006::spine.snomed_code::text, '364589006', 'cast from integer');
SELECT is('364589006'::spine.snomed_code::bigint, 364589006::bigint, 'cast to bigint');
SELECT throws_ok('SELECT 2363::spine.snomed_code', '22P02', 'invalid SNOMED CT code "2363": it must have 6 to 18 digits');
SELECT throws_ok('SELECT 73211008::spine.snomed_code', '22P02', 'invalid SNOMED CT code "73211008": its check digit is wrong (Verhoeff)');
SELECT throws_ok('SELECT 100033::spine.snomed_code', '22P02',
				 'invalid SNOMED CT code "100033": its partition names no concept, description or relationship');
SELECT throws_ok('SELECT (-364589006)::spine.snomed_code', '22P02', 'invalid SNOMED CT code "-364589006": it must have 6 to 18 digits');
SELECT throws_ok('SELECT 1000000000000000000::spine.snomed_code', '22P02',
				 'invalid SNOMED CT code "1000000000000000000": it must have 6 to 18 digits');
CREATE TEMP TABLE plain (words text, number bigint);
CREATE TEMP TABLE coded (code spine.snomed_code);
SELECT throws_ok($$INSERT INTO plain (words) SELECT '364589006'::spine.snomed_code$$, '42804', NULL, 'does not become text by assignment');
SELECT throws_ok($$INSERT INTO coded SELECT '364589006'::text$$, '42804', NULL, 'is not made of text by assignment');

-- binary
SELECT is(spine.snomed_code_send('364589006'), int8send(364589006), 'sent as bigint is');
SELECT lives_ok(pg_temp.copy_binary('coded', spine.snomed_code_send('979641000000103'), spine.snomed_code_send('100005')), 'reads what it sent');
SELECT results_eq('SELECT code::text FROM coded ORDER BY code', ARRAY['100005', '979641000000103'], 'binary round trip');
SELECT throws_ok(pg_temp.copy_binary('coded', int8send(value)), '22P03', format('invalid SNOMED CT code "%s": %s', value, fault), 'binary ' || value)
FROM (VALUES (73211008, 'its check digit is wrong (Verhoeff)'), (0, 'it must have 6 to 18 digits'), (-1, 'it must have 6 to 18 digits'),
			 (100033, 'its partition names no concept, description or relationship')) v(value, fault);
SELECT throws_ok(pg_temp.copy_binary('coded', int4send(364589006)), '08P01', NULL, 'binary of four bytes');

-- order, index, hash
CREATE FUNCTION pg_temp.completed(without_check_digit bigint) RETURNS spine.snomed_code
	LANGUAGE plpgsql AS $$
BEGIN
	FOR digit IN 0 .. 9
	LOOP
		BEGIN
			RETURN (without_check_digit * 10 + digit)::spine.snomed_code;
		EXCEPTION WHEN invalid_text_representation THEN
			CONTINUE;
		END;
	END LOOP;
	RETURN NULL;
END
$$;
CREATE TABLE many AS
	SELECT v, v::bigint AS basis
	FROM (SELECT pg_temp.completed(n::bigint * 611953 % 1000003 * 7919 * 100 + n % 2 * 10 + n % 3) AS v
		  FROM generate_series(1, 4000) n
		  UNION ALL SELECT '364589006') codes;
SELECT is(count(*), 0::bigint, 'every number has one check digit') FROM many WHERE v IS NULL;
SELECT percentile_disc(0.01) WITHIN GROUP (ORDER BY basis) AS low FROM many \gset
SELECT count(*) FILTER (WHERE basis < :low) AS below, count(*) FILTER (WHERE basis = 364589006) AS equal FROM many \gset
\set type snomed_code
\set basis_hash hashint8
\set probe 364589006
\ir types_order.psql

SELECT * FROM finish();
ROLLBACK;
