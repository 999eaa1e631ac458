-- The type spine.nhs_number.
BEGIN;
SELECT * FROM no_plan();
\ir types.psql
SET LOCAL search_path TO public, spine, pg_catalog;

SELECT pg_temp.type_is_complete('nhs_number', 'bigint');

-- text
SELECT is(number::spine.nhs_number::text, number, 'valid: ' || number)
FROM unnest(ARRAY['9876543210', '4010232137', '4000000632', '8429141456', '9990000018', '9990000093',
				  '9990548609', '9434765919', '9434765870', '9449306621', '9476719931', '5990128088',
				  '1275988113', '2083964527', '0607230002', '9912003888', '9912003071', '5900005879',
				  '0000000000', '1111111111', '1234554321', '9345665439',
				  '1000000001', '4444444444', '6666666666']) number;

SELECT is(written::spine.nhs_number::text, '9434765919', 'reads ' || to_json(written))
FROM unnest(ARRAY['943 476 5919', '943-476-5919', '  9434765919', '9434765919  ', E'\t943 476 5919\r\n']) written;

SELECT is(pg_temp.fault_of(format('SELECT %L::spine.nhs_number', written)),
		  '22P02 | invalid NHS number: ' || fault
		  || ' | An NHS number has 10 digits, together or as 3-3-4, and the last is a check digit by modulus 11.',
		  'refuses ' || to_json(written))
FROM (VALUES
	('1234567890', 'its check digit is wrong (modulus 11)'),
	('8429141457', 'its check digit is wrong (modulus 11)'),
	('9912003890', 'its check digit is wrong (modulus 11)'),
	('9219068409', 'its check digit is wrong (modulus 11)'),
	('4857773456', 'its check digit is wrong (modulus 11)'),
	('1112223330', 'its check digit is wrong (modulus 11)'),
	('6101231234', 'its check digit is wrong (modulus 11)'),
	('943 476 5918', 'its check digit is wrong (modulus 11)'),
	('40102321307', 'it must have 10 digits'),
	('123', 'it must have 10 digits'),
	('943476591', 'it must have 10 digits'),
	('-', 'it must have 10 digits'),
	('', 'it is empty'),
	(E' \t ', 'it is empty'),
	('01 2345 6789', 'digits may be grouped only as 3-3-4, by one kind of separator'),
	('943 476-5919', 'digits may be grouped only as 3-3-4, by one kind of separator'),
	('943-476 5919', 'digits may be grouped only as 3-3-4, by one kind of separator'),
	('943  476 5919', 'digits may be grouped only as 3-3-4, by one kind of separator'),
	('943 4765919', 'digits may be grouped only as 3-3-4, by one kind of separator'),
	('943476 5919', 'digits may be grouped only as 3-3-4, by one kind of separator'),
	('9434765919-', 'digits may be grouped only as 3-3-4, by one kind of separator'),
	('943.476.5919', 'it may hold digits alone, or digits grouped by spaces or hyphens'),
	('94347659I9', 'it may hold digits alone, or digits grouped by spaces or hyphens'),
	('+434765919', 'it may hold digits alone, or digits grouped by spaces or hyphens'),
	('９４３４７６５９１９', 'it may hold digits alone, or digits grouped by spaces or hyphens'),
	(E'943\u00A0476\u00A05919', 'it may hold digits alone, or digits grouped by spaces or hyphens')
) v(written, fault);

-- any change of one digit shows, as does any exchange of two neighbours that differ
SELECT is(count(*), 0::bigint, 'no one-digit error passes')
FROM (VALUES ('9434765919'), ('4010232137'), ('0607230002')) v(number),
	generate_series(1, 10) at, generate_series(0, 9) digit
WHERE substr(number, at, 1) <> digit::text
	AND pg_temp.fault_of(format('SELECT %L::spine.nhs_number', overlay(number PLACING digit::text FROM at FOR 1))) IS NULL;
SELECT is(count(*), 0::bigint, 'no exchange of neighbouring digits passes')
FROM (VALUES ('9434765919'), ('4010232137'), ('0607230002')) v(number), generate_series(1, 9) at
WHERE substr(number, at, 1) <> substr(number, at + 1, 1)
	AND pg_temp.fault_of(format('SELECT %L::spine.nhs_number',
		overlay(number PLACING substr(number, at + 1, 1) || substr(number, at, 1) FROM at FOR 2))) IS NULL;

-- bigint and integer
SELECT is(9434765919::spine.nhs_number::text, '9434765919', 'cast from bigint');
SELECT is(607230002::spine.nhs_number::text, '0607230002', 'cast from integer, leading zero written');
SELECT is('0607230002'::spine.nhs_number::bigint, 607230002::bigint, 'cast to bigint');
SELECT throws_ok('SELECT 9434765918::spine.nhs_number', '22P02', 'invalid NHS number: its check digit is wrong (modulus 11)');
SELECT throws_ok('SELECT 123::spine.nhs_number', '22P02', 'invalid NHS number: its check digit is wrong (modulus 11)');
SELECT throws_ok('SELECT (-1)::bigint::spine.nhs_number', '22P02', 'invalid NHS number: it must have 10 digits');
SELECT throws_ok('SELECT 10000000000::spine.nhs_number', '22P02', 'invalid NHS number: it must have 10 digits');
SELECT throws_ok('SELECT (-9223372036854775808)::spine.nhs_number', '22P02', 'invalid NHS number: it must have 10 digits');
SELECT throws_ok('SELECT 9223372036854775807::spine.nhs_number', '22P02', 'invalid NHS number: it must have 10 digits');

CREATE TEMP TABLE plain (words text, number bigint);
CREATE TEMP TABLE person (number spine.nhs_number);
SELECT throws_ok($$INSERT INTO plain (words) SELECT '9434765919'::spine.nhs_number$$, '42804', NULL,
				 'does not become text by assignment');
SELECT throws_ok($$INSERT INTO plain (number) SELECT '9434765919'::spine.nhs_number$$, '42804', NULL,
				 'does not become bigint by assignment');
SELECT throws_ok($$INSERT INTO person SELECT '9434765919'::text$$, '42804', NULL, 'is not made of text by assignment');
SELECT throws_ok($$INSERT INTO person SELECT 9434765919::bigint$$, '42804', NULL, 'is not made of bigint by assignment');

-- no message holds the number, as it came or in digits alone
SELECT ok(fault LIKE '22P0_ | %' AND fault !~ '943|476|591', 'the number is not in the message: ' || statement)
FROM (VALUES
	($$SELECT '9434765918'::spine.nhs_number$$),
	($$SELECT '943 476-5919'::spine.nhs_number$$),
	($$SELECT '943-476-59190'::spine.nhs_number$$),
	($$SELECT 'x9434765919'::spine.nhs_number$$),
	($$SELECT 9434765918::spine.nhs_number$$),
	($$SELECT 94347659190::spine.nhs_number$$),
	(pg_temp.copy_binary('person', int8send(9434765918))),
	($$SELECT '9434765919'::spine.ods_code$$),
	($$SELECT '943 476 5919'::spine.ods_code$$),
	($$SELECT '9434765919'::text::spine.ods_code$$),
	($$SELECT '943 476 5919'::spine.snomed_code$$),
	($$SELECT '9434765919'::spine.snomed_code$$),
	($$SELECT 9434765919::spine.snomed_code$$),
	($$SELECT '9434765919'::spine.gestation$$)
) v(statement), LATERAL (SELECT pg_temp.fault_of(statement) AS fault) f;

-- binary
SELECT is(spine.nhs_number_send('0607230002'), int8send(607230002), 'sent as bigint is');
SELECT lives_ok(pg_temp.copy_binary('person', spine.nhs_number_send('9434765919'), spine.nhs_number_send('0607230002'),
									spine.nhs_number_send('0000000000')), 'reads what it sent');
SELECT results_eq('SELECT number::text FROM person ORDER BY number', ARRAY['0000000000', '0607230002', '9434765919'],
				  'binary round trip');
SELECT throws_ok(pg_temp.copy_binary('person', int8send(value)), '22P03', 'invalid NHS number: ' || fault, 'binary ' || value)
FROM (VALUES (9434765918, 'its check digit is wrong (modulus 11)'), (-1, 'it must have 10 digits'),
			 (10000000000, 'it must have 10 digits')) v(value, fault);
SELECT throws_ok(pg_temp.copy_binary('person', int4send(607230002)), '08P01', NULL, 'binary of four bytes');
SELECT throws_ok(pg_temp.copy_binary('person', int8send(9434765919) || '\x00'), '22P03', NULL, 'binary of nine bytes');

-- ranges and the repeat rule
SELECT is(spine.nhs_number_range(number::spine.nhs_number), issuer, number || ': ' || issuer)
FROM (VALUES
	('0607230002', 'scotland'), ('1275988113', 'other'), ('2083964527', 'other'), ('4010232137', 'england_wales'),
	('6666666666', 'england_wales'), ('9990000018', 'synthetic'), ('9990548609', 'synthetic'),
	('9434765919', 'other'), ('5900005879', 'other'), ('8429141456', 'other'), ('0000000000', 'other'),
	('1000000001', 'other')
) v(number, issuer);
-- the first and the last number of each range, and the numbers next to them
SELECT is(spine.nhs_number_range(number), issuer, first_nine || ': ' || issuer)
FROM (VALUES
	(10099999, 'other'), (10100000, 'scotland'), (311299999, 'scotland'), (311300000, 'other'), (320000000, 'northern_ireland'),
	(399999999, 'northern_ireland'), (400000000, 'england_wales'), (499999999, 'england_wales'), (500000000, 'other'),
	(599999999, 'other'), (600000000, 'england_wales'), (799999999, 'england_wales'), (800000000, 'other'),
	(998999999, 'other'), (999000000, 'synthetic'), (999999999, 'synthetic')
) v(first_nine, issuer),
-- the nearest valid number of the same range: eleven neighbours hold one at least
LATERAL (
	SELECT candidate::spine.nhs_number AS number
	FROM generate_series(0, 10) step, generate_series(0, 9) digit,
		LATERAL (SELECT (first_nine + CASE WHEN first_nine % 10 = 9 THEN -step ELSE step END)::bigint * 10 + digit) c(candidate)
	WHERE pg_temp.fault_of(format('SELECT %s::bigint::spine.nhs_number', candidate)) IS NULL
	ORDER BY step LIMIT 1
) n;
SELECT is(spine.is_repeated(number::spine.nhs_number), repeated, format('repeat rule: %s %s', number, repeated))
FROM (VALUES ('0000000000', true), ('1111111111', true), ('1234554321', true), ('9345665439', true), ('1000000001', true),
			 ('4444444444', true), ('6666666666', true), ('9434765919', false), ('4000000632', false), ('9990000018', false)
) v(number, repeated);

CREATE TABLE many AS
	SELECT value::spine.nhs_number AS v, value AS basis
	FROM (SELECT first_nine * 10 + (11 - weighted % 11) % 11 AS value, (11 - weighted % 11) % 11 AS digit
		  FROM generate_series(1, 22000) n,
			LATERAL (SELECT n::bigint * 611953 % 1000000000 AS first_nine) f,
			LATERAL (SELECT sum((first_nine / (10 ^ (9 - i))::bigint % 10) * (11 - i))::bigint AS weighted
					 FROM generate_series(1, 9) i) w
		  UNION ALL VALUES (9434765919, 9)) numbers
	WHERE digit < 10;
SELECT count(*) FILTER (WHERE basis < 100000002) AS below, count(*) FILTER (WHERE basis = 9434765919) AS equal FROM many \gset
\set type nhs_number
\set basis_hash hashint8
\set probe 9434765919
\set low 0100000002
\ir types_order.psql

SELECT * FROM finish();
ROLLBACK;
