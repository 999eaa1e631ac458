-- What rules ask about codes that are held as text.
BEGIN;
SELECT * FROM no_plan();

SELECT is(spine.is_icd10(v.code), v.answer, 'ICD-10: ' || to_json(v.code))
FROM (VALUES
	('F05.0', true), ('O72.1', true), ('O80', true), ('o80', true), ('O721', true), ('P22.00', true), ('M54.50', true), ('O13.X', true),
	('O13X', true), ('G01.XA', true), ('A17.0D', true), ('A17.00D', true),
	('F5', false), ('O8', false), ('72.10', false), ('O72.', false), ('O72.1.', false), ('O7A', false), ('OO2.1', false), ('O72.123', false),
	('O72.Y', false), ('O72.1B', false), ('O72.1DA', false), ('O72-1', false), (' O72.1', false), ('', false), ('Ö72.1', false)
) v(code, answer);

SELECT is(spine.is_opcs4(v.code), v.answer, 'OPCS-4: ' || to_json(v.code))
FROM (VALUES
	('R172', true), ('R17.2', true), ('r24.9', true), ('Y951', true),
	('R17', false), ('R17.', false), ('R17.22', false), ('R1722', false), ('812e', false), ('17.2', false), ('RR72', false), ('R17 2', false), ('', false)
) v(code, answer);

SELECT is(spine.is_read_code(v.code), v.answer, 'Read: ' || to_json(v.code))
FROM (VALUES
	('C10E.', true), ('XE0Uc', true), ('E0...', true), ('C10E.00', true), ('L....', true), ('63Z..11', true),
	('C10E', false), ('812e', false), ('C10E.0', false), ('.....', false), ('.C10E', false), ('C1.E.', false), ('C10E-', false), ('C10E...', false),
	('P22.00', false), ('C10E.00.', false), ('', false)
) v(code, answer);

SELECT is(spine.is_snomed_concept(v.code), v.answer, 'SNOMED CT concept: ' || to_json(v.code))
FROM (VALUES
	('979641000000103', true), ('961031000000108', true), ('408730004', true), ('718431003', true), ('364589006', true),
	('785322012', false), ('494929013', false), ('3314819019', false),
	('11452009', false), ('73211008', false), ('86637100000010', false), ('2363', false), ('012345', false), ('O72.1', false),
	('961031000000108:408730004=718431003', false), ('', false)
) v(code, answer);

SELECT is(spine.is_snomed_expression(v.code), v.answer, 'SNOMED CT expression: ' || to_json(v.code))
FROM (VALUES
	('364589006', true), ('961031000000108:408730004=718431003', true), ('961031000000108 : 408730004 = 718431003', true),
	('364589006+408730004', true), ('364589006+408730004:718431003=979641000000103,408730004=364589006', true),
	('', false), (':', false), ('364589006:', false), ('364589006:408730004', false), ('364589006=408730004', false),
	('364589006,408730004', false), ('364589006:408730004=718431003,', false), ('364589006:408730004=718431003=364589006', false),
	('364589006+', false), ('364589006:408730004=718431003+364589006', false), ('364589006:408730004=718431003:408730004=718431003', false),
	('364589006:408730004=73211008', false), ('785322012', false), ('R17.2', false)
) v(code, answer);

SELECT is(spine.is_postcode(v.code), v.answer, 'postcode: ' || to_json(v.code))
FROM (VALUES
	('LS1 4HR', true), ('W1T  4LP', true), ('GIR 0AA', true), ('gir 0aa', true), ('EC1A 1BB', true), ('M1 1AA', true), ('CR2 6XH', true),
	('DN55 1PT', true), ('zZ99 9ZZ', true), ('ZZ99 3VZ', true),
	('LS1 4H', false), ('WN58QX', false), ('1LS 4HR', false), ('LS1 HR4', false), ('LSS1 4HR', false), ('LS 4HR', false), ('LS123 4HR', false),
	('GIR0AA', false), ('GIR 0AB', false), ('GIR', false), ('LS1 4HRR', false), (' LS1 4HR', false), ('LS1 4HR ', false), ('', false)
) v(code, answer);

SELECT is(spine.as_number(v.value), v.answer::double precision, 'number: ' || to_json(v.value))
FROM (VALUES
	('0', 0), ('12', 12), ('6.6', 6.6), ('-1', -1), ('+36.75', 36.75), ('007', 7), ('123456789012345', 123456789012345), ('0.1', 0.1),
	('', NULL), ('-', NULL), ('.5', NULL), ('5.', NULL), ('1.2.3', NULL), ('1e3', NULL), ('1,5', NULL), ('twelve', NULL), ('12 kg', NULL),
	('1234567890123456', NULL), ('NaN', NULL), ('--1', NULL), ('1-', NULL), ('F9ZV6UH7YZ', NULL)
) v(value, answer);

-- a rule over a missing item passes: no answer
SELECT is(num_nulls(spine.is_icd10(NULL), spine.is_opcs4(NULL), spine.is_read_code(NULL), spine.is_snomed_concept(NULL),
		spine.is_snomed_expression(NULL), spine.is_postcode(NULL), spine.as_number(NULL)), 7, 'of nothing, nothing is said');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p
	WHERE p.pronamespace = 'spine'::regnamespace AND p.proname IN ('is_icd10', 'is_opcs4', 'is_read_code', 'is_snomed_concept',
		'is_snomed_expression', 'is_postcode', 'as_number')
	  AND NOT (p.provolatile = 'i' AND p.proparallel = 's' AND p.proisstrict AND has_function_privilege('public', p.oid, 'EXECUTE'))$$,
	'rules may use each: immutable, for everybody');

-- compressed and toasted texts are read as any other
CREATE TEMP TABLE long_text (value text) ON COMMIT DROP;
INSERT INTO long_text VALUES (repeat('364589006+', 20000) || '364589006');
SELECT ok(spine.is_snomed_expression(value) AND NOT spine.is_icd10(value) AND NOT spine.is_postcode(value)
	AND spine.as_number(value) IS NULL, 'a long text') FROM long_text;

SELECT * FROM finish();
ROLLBACK;
