-- What the rules of a data set ask about codes that are held as text: their shape, not whether they are in use.

CREATE FUNCTION spine.is_icd10(code text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'spine_is_icd10';
COMMENT ON FUNCTION spine.is_icd10(text) IS
	'Whether the text is written as an ICD-10 code: a letter, two digits, and perhaps, after a point or none, a digit or X, a fifth digit, and A or D for asterisk or dagger. O80, O72.1, O13X. Source: ICD-10 5th edition as the NHS exchanges it.';

CREATE FUNCTION spine.is_opcs4(code text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'spine_is_opcs4';
COMMENT ON FUNCTION spine.is_opcs4(text) IS
	'Whether the text is written as an OPCS-4 code: a letter and three digits, with or without a point before the last. R172, R17.2. Source: NHS Data Model and Dictionary.';

CREATE FUNCTION spine.is_read_code(code text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'spine_is_read_code';
COMMENT ON FUNCTION spine.is_read_code(text) IS
	'Whether the text is written as a Read code, version 2 or 3: five letters or digits, of which the last may be points, and perhaps two more for the term. C10E., XE0Uc, C10E.00. Source: NHS Data Model and Dictionary.';

CREATE FUNCTION spine.is_snomed_concept(code text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'spine_is_snomed_concept';
COMMENT ON FUNCTION spine.is_snomed_concept(text) IS
	'Whether the text is the SNOMED CT identifier of a concept: 6 to 18 digits, the check digit right (Verhoeff), the partition 00 or 10; those of descriptions and relationships are none. Source: SNOMED CT technical implementation guide.';

CREATE FUNCTION spine.is_snomed_expression(code text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'spine_is_snomed_expression';
COMMENT ON FUNCTION spine.is_snomed_expression(text) IS
	'Whether the text is a SNOMED CT concept or an expression made of such: concepts joined with +, then perhaps : and refinements ATTRIBUTE=VALUE separated by commas. Terms between bars and groups in braces are not read. Source: SNOMED CT compositional grammar.';

CREATE FUNCTION spine.is_postcode(code text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'spine_is_postcode';
COMMENT ON FUNCTION spine.is_postcode(text) IS
	'Whether the text is written as a postcode of the United Kingdom, with one blank or more before its last three characters, in either case; the pseudo-postcodes ZZ99 are. Source: NHS Data Model and Dictionary.';

CREATE FUNCTION spine.as_number(value text) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
	AS 'MODULE_PATHNAME', 'spine_as_number';
COMMENT ON FUNCTION spine.as_number(text) IS
	'The number that the text is, or NULL where it is none: digits, at most 15, perhaps with a sign before and a point between them; no exponent. For values that are held as text, such as those of observations.';

GRANT EXECUTE ON FUNCTION spine.is_icd10(text), spine.is_opcs4(text), spine.is_read_code(text), spine.is_snomed_concept(text),
	spine.is_snomed_expression(text), spine.is_postcode(text), spine.as_number(text) TO PUBLIC;
