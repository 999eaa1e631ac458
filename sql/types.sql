-- The types of spine. Those of fixed length are stored as bigint and integer, ods_code as text,
-- so whatever need not judge a value is the function that PostgreSQL has for the same bytes.
-- Comparisons cannot raise and are leakproof: an index on these types serves under row-level security.

--
-- nhs_number
--

CREATE TYPE spine.nhs_number;

CREATE FUNCTION spine.nhs_number_in(cstring) RETURNS spine.nhs_number
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_nhs_number_in';
CREATE FUNCTION spine.nhs_number_out(spine.nhs_number) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_nhs_number_out';
CREATE FUNCTION spine.nhs_number_recv(internal) RETURNS spine.nhs_number
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_nhs_number_recv';
CREATE FUNCTION spine.nhs_number_send(spine.nhs_number) RETURNS bytea
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'int8send';

CREATE TYPE spine.nhs_number (
	INPUT = spine.nhs_number_in,
	OUTPUT = spine.nhs_number_out,
	RECEIVE = spine.nhs_number_recv,
	SEND = spine.nhs_number_send,
	LIKE = pg_catalog.int8
);
COMMENT ON TYPE spine.nhs_number IS
	'An NHS, CHI or H&C number: 10 digits with a check digit by modulus 11. Reads 10 digits or 3-3-4 with spaces or hyphens, writes 10 digits. A fault raises 22P02 and never shows the number.';

CREATE FUNCTION spine.nhs_number_eq(spine.nhs_number, spine.nhs_number) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8eq';
CREATE FUNCTION spine.nhs_number_ne(spine.nhs_number, spine.nhs_number) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8ne';
CREATE FUNCTION spine.nhs_number_lt(spine.nhs_number, spine.nhs_number) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8lt';
CREATE FUNCTION spine.nhs_number_le(spine.nhs_number, spine.nhs_number) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8le';
CREATE FUNCTION spine.nhs_number_gt(spine.nhs_number, spine.nhs_number) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8gt';
CREATE FUNCTION spine.nhs_number_ge(spine.nhs_number, spine.nhs_number) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8ge';
CREATE FUNCTION spine.nhs_number_cmp(spine.nhs_number, spine.nhs_number) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'btint8cmp';
CREATE FUNCTION spine.nhs_number_hash(spine.nhs_number) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashint8';
CREATE FUNCTION spine.nhs_number_hash_extended(spine.nhs_number, bigint) RETURNS bigint
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashint8extended';

CREATE OPERATOR spine.= (
	LEFTARG = spine.nhs_number, RIGHTARG = spine.nhs_number, FUNCTION = spine.nhs_number_eq,
	COMMUTATOR = OPERATOR(spine.=), NEGATOR = OPERATOR(spine.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR spine.<> (
	LEFTARG = spine.nhs_number, RIGHTARG = spine.nhs_number, FUNCTION = spine.nhs_number_ne,
	COMMUTATOR = OPERATOR(spine.<>), NEGATOR = OPERATOR(spine.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR spine.< (
	LEFTARG = spine.nhs_number, RIGHTARG = spine.nhs_number, FUNCTION = spine.nhs_number_lt,
	COMMUTATOR = OPERATOR(spine.>), NEGATOR = OPERATOR(spine.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR spine.<= (
	LEFTARG = spine.nhs_number, RIGHTARG = spine.nhs_number, FUNCTION = spine.nhs_number_le,
	COMMUTATOR = OPERATOR(spine.>=), NEGATOR = OPERATOR(spine.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR spine.> (
	LEFTARG = spine.nhs_number, RIGHTARG = spine.nhs_number, FUNCTION = spine.nhs_number_gt,
	COMMUTATOR = OPERATOR(spine.<), NEGATOR = OPERATOR(spine.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
CREATE OPERATOR spine.>= (
	LEFTARG = spine.nhs_number, RIGHTARG = spine.nhs_number, FUNCTION = spine.nhs_number_ge,
	COMMUTATOR = OPERATOR(spine.<=), NEGATOR = OPERATOR(spine.<), RESTRICT = scalargesel, JOIN = scalargejoinsel
);

CREATE OPERATOR CLASS spine.nhs_number_ops DEFAULT FOR TYPE spine.nhs_number USING btree AS
	OPERATOR 1 spine.<,
	OPERATOR 2 spine.<=,
	OPERATOR 3 spine.=,
	OPERATOR 4 spine.>=,
	OPERATOR 5 spine.>,
	FUNCTION 1 spine.nhs_number_cmp(spine.nhs_number, spine.nhs_number),
	FUNCTION 2 pg_catalog.btint8sortsupport(internal),
	FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS spine.nhs_number_hash_ops DEFAULT FOR TYPE spine.nhs_number USING hash AS
	OPERATOR 1 spine.=,
	FUNCTION 1 spine.nhs_number_hash(spine.nhs_number),
	FUNCTION 2 spine.nhs_number_hash_extended(spine.nhs_number, bigint);

CREATE FUNCTION spine.nhs_number(bigint) RETURNS spine.nhs_number
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_nhs_number_from_int8';
COMMENT ON FUNCTION spine.nhs_number(bigint) IS 'The NHS number of this value; raises 22P02 where it is none.';
CREATE FUNCTION spine.nhs_number(integer) RETURNS spine.nhs_number
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_nhs_number_from_int4';
COMMENT ON FUNCTION spine.nhs_number(integer) IS 'The same of a value that integer can hold.';

-- explicit both ways: a number that identifies somebody does not become text by the way
CREATE CAST (text AS spine.nhs_number) WITH INOUT;
CREATE CAST (spine.nhs_number AS text) WITH INOUT;
CREATE CAST (bigint AS spine.nhs_number) WITH FUNCTION spine.nhs_number(bigint);
CREATE CAST (integer AS spine.nhs_number) WITH FUNCTION spine.nhs_number(integer);
CREATE CAST (spine.nhs_number AS bigint) WITHOUT FUNCTION;

CREATE FUNCTION spine.nhs_number_range(spine.nhs_number) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_nhs_number_range';
COMMENT ON FUNCTION spine.nhs_number_range(spine.nhs_number) IS
	'Who issues the range that the number lies in: scotland (CHI), northern_ireland (H&C), england_wales, synthetic (999, never issued to anybody) or other.';

CREATE FUNCTION spine.is_repeated(spine.nhs_number) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_is_repeated';
COMMENT ON FUNCTION spine.is_repeated(spine.nhs_number) IS
	'Whether the digits read the same backwards, as when all are the same. National collections refuse such numbers; the type does not, since sample data uses them.';

--
-- snomed_code
--

CREATE TYPE spine.snomed_code;

CREATE FUNCTION spine.snomed_code_in(cstring) RETURNS spine.snomed_code
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_snomed_code_in';
CREATE FUNCTION spine.snomed_code_out(spine.snomed_code) RETURNS cstring
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'int8out';
CREATE FUNCTION spine.snomed_code_recv(internal) RETURNS spine.snomed_code
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_snomed_code_recv';
CREATE FUNCTION spine.snomed_code_send(spine.snomed_code) RETURNS bytea
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'int8send';

CREATE TYPE spine.snomed_code (
	INPUT = spine.snomed_code_in,
	OUTPUT = spine.snomed_code_out,
	RECEIVE = spine.snomed_code_recv,
	SEND = spine.snomed_code_send,
	LIKE = pg_catalog.int8
);
COMMENT ON TYPE spine.snomed_code IS
	'A SNOMED CT identifier: 6 to 18 digits with a check digit by Verhoeff, of a concept, a description or a relationship. A fault raises 22P02.';

CREATE FUNCTION spine.snomed_code_eq(spine.snomed_code, spine.snomed_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8eq';
CREATE FUNCTION spine.snomed_code_ne(spine.snomed_code, spine.snomed_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8ne';
CREATE FUNCTION spine.snomed_code_lt(spine.snomed_code, spine.snomed_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8lt';
CREATE FUNCTION spine.snomed_code_le(spine.snomed_code, spine.snomed_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8le';
CREATE FUNCTION spine.snomed_code_gt(spine.snomed_code, spine.snomed_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8gt';
CREATE FUNCTION spine.snomed_code_ge(spine.snomed_code, spine.snomed_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int8ge';
CREATE FUNCTION spine.snomed_code_cmp(spine.snomed_code, spine.snomed_code) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'btint8cmp';
CREATE FUNCTION spine.snomed_code_hash(spine.snomed_code) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashint8';
CREATE FUNCTION spine.snomed_code_hash_extended(spine.snomed_code, bigint) RETURNS bigint
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashint8extended';

CREATE OPERATOR spine.= (
	LEFTARG = spine.snomed_code, RIGHTARG = spine.snomed_code, FUNCTION = spine.snomed_code_eq,
	COMMUTATOR = OPERATOR(spine.=), NEGATOR = OPERATOR(spine.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR spine.<> (
	LEFTARG = spine.snomed_code, RIGHTARG = spine.snomed_code, FUNCTION = spine.snomed_code_ne,
	COMMUTATOR = OPERATOR(spine.<>), NEGATOR = OPERATOR(spine.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR spine.< (
	LEFTARG = spine.snomed_code, RIGHTARG = spine.snomed_code, FUNCTION = spine.snomed_code_lt,
	COMMUTATOR = OPERATOR(spine.>), NEGATOR = OPERATOR(spine.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR spine.<= (
	LEFTARG = spine.snomed_code, RIGHTARG = spine.snomed_code, FUNCTION = spine.snomed_code_le,
	COMMUTATOR = OPERATOR(spine.>=), NEGATOR = OPERATOR(spine.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR spine.> (
	LEFTARG = spine.snomed_code, RIGHTARG = spine.snomed_code, FUNCTION = spine.snomed_code_gt,
	COMMUTATOR = OPERATOR(spine.<), NEGATOR = OPERATOR(spine.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
CREATE OPERATOR spine.>= (
	LEFTARG = spine.snomed_code, RIGHTARG = spine.snomed_code, FUNCTION = spine.snomed_code_ge,
	COMMUTATOR = OPERATOR(spine.<=), NEGATOR = OPERATOR(spine.<), RESTRICT = scalargesel, JOIN = scalargejoinsel
);

CREATE OPERATOR CLASS spine.snomed_code_ops DEFAULT FOR TYPE spine.snomed_code USING btree AS
	OPERATOR 1 spine.<,
	OPERATOR 2 spine.<=,
	OPERATOR 3 spine.=,
	OPERATOR 4 spine.>=,
	OPERATOR 5 spine.>,
	FUNCTION 1 spine.snomed_code_cmp(spine.snomed_code, spine.snomed_code),
	FUNCTION 2 pg_catalog.btint8sortsupport(internal),
	FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS spine.snomed_code_hash_ops DEFAULT FOR TYPE spine.snomed_code USING hash AS
	OPERATOR 1 spine.=,
	FUNCTION 1 spine.snomed_code_hash(spine.snomed_code),
	FUNCTION 2 spine.snomed_code_hash_extended(spine.snomed_code, bigint);

CREATE FUNCTION spine.snomed_code(bigint) RETURNS spine.snomed_code
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_snomed_code_from_int8';
COMMENT ON FUNCTION spine.snomed_code(bigint) IS 'The SNOMED CT identifier of this value; raises 22P02 where it is none.';
CREATE FUNCTION spine.snomed_code(integer) RETURNS spine.snomed_code
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_snomed_code_from_int4';
COMMENT ON FUNCTION spine.snomed_code(integer) IS 'The same of a value that integer can hold.';

CREATE CAST (text AS spine.snomed_code) WITH INOUT;
CREATE CAST (spine.snomed_code AS text) WITH INOUT;
CREATE CAST (bigint AS spine.snomed_code) WITH FUNCTION spine.snomed_code(bigint);
CREATE CAST (integer AS spine.snomed_code) WITH FUNCTION spine.snomed_code(integer);
CREATE CAST (spine.snomed_code AS bigint) WITHOUT FUNCTION;

CREATE FUNCTION spine.snomed_partition(spine.snomed_code) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_snomed_partition';
COMMENT ON FUNCTION spine.snomed_partition(spine.snomed_code) IS 'What the identifier names: concept, description or relationship.';
CREATE FUNCTION spine.is_concept(spine.snomed_code) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'spine_is_concept';
COMMENT ON FUNCTION spine.is_concept(spine.snomed_code) IS 'Whether the identifier names a concept.';
CREATE FUNCTION spine.is_description(spine.snomed_code) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'spine_is_description';
COMMENT ON FUNCTION spine.is_description(spine.snomed_code) IS 'Whether the identifier names a description.';
CREATE FUNCTION spine.is_relationship(spine.snomed_code) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'spine_is_relationship';
COMMENT ON FUNCTION spine.is_relationship(spine.snomed_code) IS 'Whether the identifier names a relationship.';

--
-- ods_code
--

CREATE TYPE spine.ods_code;

CREATE FUNCTION spine.ods_code_in(cstring) RETURNS spine.ods_code
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_ods_code_in';
CREATE FUNCTION spine.ods_code_out(spine.ods_code) RETURNS cstring
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'textout';
CREATE FUNCTION spine.ods_code_recv(internal) RETURNS spine.ods_code
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_ods_code_recv';
CREATE FUNCTION spine.ods_code_send(spine.ods_code) RETURNS bytea
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'textsend';

CREATE TYPE spine.ods_code (
	INPUT = spine.ods_code_in,
	OUTPUT = spine.ods_code_out,
	RECEIVE = spine.ods_code_recv,
	SEND = spine.ods_code_send,
	LIKE = pg_catalog.text,
	CATEGORY = 'S',
	COLLATABLE = false
);
COMMENT ON TYPE spine.ods_code IS
	'A code of the Organisation Data Service: 3 to 9 letters and digits, kept in upper case and ordered by bytes. Is text wherever text is wanted. A fault raises 22P02.';

CREATE FUNCTION spine.ods_code_eq(spine.ods_code, spine.ods_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'byteaeq';
CREATE FUNCTION spine.ods_code_ne(spine.ods_code, spine.ods_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'byteane';
CREATE FUNCTION spine.ods_code_lt(spine.ods_code, spine.ods_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'bytealt';
CREATE FUNCTION spine.ods_code_le(spine.ods_code, spine.ods_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'byteale';
CREATE FUNCTION spine.ods_code_gt(spine.ods_code, spine.ods_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'byteagt';
CREATE FUNCTION spine.ods_code_ge(spine.ods_code, spine.ods_code) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'byteage';
CREATE FUNCTION spine.ods_code_cmp(spine.ods_code, spine.ods_code) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'byteacmp';
CREATE FUNCTION spine.ods_code_hash(spine.ods_code) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashvarlena';
CREATE FUNCTION spine.ods_code_hash_extended(spine.ods_code, bigint) RETURNS bigint
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashvarlenaextended';

CREATE OPERATOR spine.= (
	LEFTARG = spine.ods_code, RIGHTARG = spine.ods_code, FUNCTION = spine.ods_code_eq,
	COMMUTATOR = OPERATOR(spine.=), NEGATOR = OPERATOR(spine.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR spine.<> (
	LEFTARG = spine.ods_code, RIGHTARG = spine.ods_code, FUNCTION = spine.ods_code_ne,
	COMMUTATOR = OPERATOR(spine.<>), NEGATOR = OPERATOR(spine.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR spine.< (
	LEFTARG = spine.ods_code, RIGHTARG = spine.ods_code, FUNCTION = spine.ods_code_lt,
	COMMUTATOR = OPERATOR(spine.>), NEGATOR = OPERATOR(spine.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR spine.<= (
	LEFTARG = spine.ods_code, RIGHTARG = spine.ods_code, FUNCTION = spine.ods_code_le,
	COMMUTATOR = OPERATOR(spine.>=), NEGATOR = OPERATOR(spine.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR spine.> (
	LEFTARG = spine.ods_code, RIGHTARG = spine.ods_code, FUNCTION = spine.ods_code_gt,
	COMMUTATOR = OPERATOR(spine.<), NEGATOR = OPERATOR(spine.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
CREATE OPERATOR spine.>= (
	LEFTARG = spine.ods_code, RIGHTARG = spine.ods_code, FUNCTION = spine.ods_code_ge,
	COMMUTATOR = OPERATOR(spine.<=), NEGATOR = OPERATOR(spine.<), RESTRICT = scalargesel, JOIN = scalargejoinsel
);

CREATE OPERATOR CLASS spine.ods_code_ops DEFAULT FOR TYPE spine.ods_code USING btree AS
	OPERATOR 1 spine.<,
	OPERATOR 2 spine.<=,
	OPERATOR 3 spine.=,
	OPERATOR 4 spine.>=,
	OPERATOR 5 spine.>,
	FUNCTION 1 spine.ods_code_cmp(spine.ods_code, spine.ods_code),
	FUNCTION 2 pg_catalog.bytea_sortsupport(internal),
	FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS spine.ods_code_hash_ops DEFAULT FOR TYPE spine.ods_code USING hash AS
	OPERATOR 1 spine.=,
	FUNCTION 1 spine.ods_code_hash(spine.ods_code),
	FUNCTION 2 spine.ods_code_hash_extended(spine.ods_code, bigint);

CREATE FUNCTION spine.ods_code(text) RETURNS spine.ods_code
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_ods_code_from_text';
COMMENT ON FUNCTION spine.ods_code(text) IS 'The ODS code that the text holds, in upper case; raises 22P02 where it holds none.';

CREATE CAST (spine.ods_code AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (text AS spine.ods_code) WITH FUNCTION spine.ods_code(text) AS ASSIGNMENT;

--
-- gestation
--

CREATE TYPE spine.gestation;

CREATE FUNCTION spine.gestation_in(cstring) RETURNS spine.gestation
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_gestation_in';
CREATE FUNCTION spine.gestation_out(spine.gestation) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_gestation_out';
CREATE FUNCTION spine.gestation_recv(internal) RETURNS spine.gestation
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_gestation_recv';
CREATE FUNCTION spine.gestation_send(spine.gestation) RETURNS bytea
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'int4send';

CREATE TYPE spine.gestation (
	INPUT = spine.gestation_in,
	OUTPUT = spine.gestation_out,
	RECEIVE = spine.gestation_recv,
	SEND = spine.gestation_send,
	LIKE = pg_catalog.int4
);
COMMENT ON TYPE spine.gestation IS
	'Length of gestation in days, 0 to 349. Reads 39+4, 39w4d, 39w, or digits alone as days (MSDS counts in days); writes 39+4. A fault raises 22P02.';

CREATE FUNCTION spine.gestation_eq(spine.gestation, spine.gestation) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int4eq';
CREATE FUNCTION spine.gestation_ne(spine.gestation, spine.gestation) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int4ne';
CREATE FUNCTION spine.gestation_lt(spine.gestation, spine.gestation) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int4lt';
CREATE FUNCTION spine.gestation_le(spine.gestation, spine.gestation) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int4le';
CREATE FUNCTION spine.gestation_gt(spine.gestation, spine.gestation) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int4gt';
CREATE FUNCTION spine.gestation_ge(spine.gestation, spine.gestation) RETURNS boolean
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'int4ge';
CREATE FUNCTION spine.gestation_cmp(spine.gestation, spine.gestation) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'btint4cmp';
CREATE FUNCTION spine.gestation_hash(spine.gestation) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashint4';
CREATE FUNCTION spine.gestation_hash_extended(spine.gestation, bigint) RETURNS bigint
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'hashint4extended';

CREATE OPERATOR spine.= (
	LEFTARG = spine.gestation, RIGHTARG = spine.gestation, FUNCTION = spine.gestation_eq,
	COMMUTATOR = OPERATOR(spine.=), NEGATOR = OPERATOR(spine.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR spine.<> (
	LEFTARG = spine.gestation, RIGHTARG = spine.gestation, FUNCTION = spine.gestation_ne,
	COMMUTATOR = OPERATOR(spine.<>), NEGATOR = OPERATOR(spine.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR spine.< (
	LEFTARG = spine.gestation, RIGHTARG = spine.gestation, FUNCTION = spine.gestation_lt,
	COMMUTATOR = OPERATOR(spine.>), NEGATOR = OPERATOR(spine.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR spine.<= (
	LEFTARG = spine.gestation, RIGHTARG = spine.gestation, FUNCTION = spine.gestation_le,
	COMMUTATOR = OPERATOR(spine.>=), NEGATOR = OPERATOR(spine.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR spine.> (
	LEFTARG = spine.gestation, RIGHTARG = spine.gestation, FUNCTION = spine.gestation_gt,
	COMMUTATOR = OPERATOR(spine.<), NEGATOR = OPERATOR(spine.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
CREATE OPERATOR spine.>= (
	LEFTARG = spine.gestation, RIGHTARG = spine.gestation, FUNCTION = spine.gestation_ge,
	COMMUTATOR = OPERATOR(spine.<=), NEGATOR = OPERATOR(spine.<), RESTRICT = scalargesel, JOIN = scalargejoinsel
);

CREATE OPERATOR CLASS spine.gestation_ops DEFAULT FOR TYPE spine.gestation USING btree AS
	OPERATOR 1 spine.<,
	OPERATOR 2 spine.<=,
	OPERATOR 3 spine.=,
	OPERATOR 4 spine.>=,
	OPERATOR 5 spine.>,
	FUNCTION 1 spine.gestation_cmp(spine.gestation, spine.gestation),
	FUNCTION 2 pg_catalog.btint4sortsupport(internal),
	FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS spine.gestation_hash_ops DEFAULT FOR TYPE spine.gestation USING hash AS
	OPERATOR 1 spine.=,
	FUNCTION 1 spine.gestation_hash(spine.gestation),
	FUNCTION 2 spine.gestation_hash_extended(spine.gestation, bigint);

CREATE FUNCTION spine.gestation(integer) RETURNS spine.gestation
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_gestation_from_int4';
COMMENT ON FUNCTION spine.gestation(integer) IS 'The gestation of so many days; raises 22P02 beyond 0 to 349.';

CREATE CAST (integer AS spine.gestation) WITH FUNCTION spine.gestation(integer) AS ASSIGNMENT;
CREATE CAST (spine.gestation AS integer) WITHOUT FUNCTION AS ASSIGNMENT;

CREATE FUNCTION spine.gestation_weeks(spine.gestation) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'spine_gestation_weeks';
COMMENT ON FUNCTION spine.gestation_weeks(spine.gestation) IS 'The completed weeks: 39 of 39+4.';
CREATE FUNCTION spine.gestation_days(spine.gestation) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF
	AS 'MODULE_PATHNAME', 'spine_gestation_days';
COMMENT ON FUNCTION spine.gestation_days(spine.gestation) IS
	'The days after the completed weeks, 0 to 6: 4 of 39+4. All days: cast to integer.';
CREATE FUNCTION spine.gestation_mi(spine.gestation, spine.gestation) RETURNS integer
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'int4mi';
CREATE FUNCTION spine.gestation_smaller(spine.gestation, spine.gestation) RETURNS spine.gestation
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'int4smaller';
CREATE FUNCTION spine.gestation_larger(spine.gestation, spine.gestation) RETURNS spine.gestation
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'int4larger';

CREATE OPERATOR spine.- (LEFTARG = spine.gestation, RIGHTARG = spine.gestation, FUNCTION = spine.gestation_mi);
COMMENT ON OPERATOR spine.- (spine.gestation, spine.gestation) IS 'Days from the second to the first.';

CREATE AGGREGATE spine.min(spine.gestation) (
	SFUNC = spine.gestation_smaller, STYPE = spine.gestation, COMBINEFUNC = spine.gestation_smaller,
	SORTOP = OPERATOR(spine.<), PARALLEL = SAFE
);
COMMENT ON AGGREGATE spine.min(spine.gestation) IS 'The shortest gestation.';
CREATE AGGREGATE spine.max(spine.gestation) (
	SFUNC = spine.gestation_larger, STYPE = spine.gestation, COMBINEFUNC = spine.gestation_larger,
	SORTOP = OPERATOR(spine.>), PARALLEL = SAFE
);
COMMENT ON AGGREGATE spine.max(spine.gestation) IS 'The longest gestation.';

-- what stands behind the types, operators and operator classes above
DO $comments$
DECLARE
	the_type text;
	behind record;
BEGIN
	FOREACH the_type IN ARRAY ARRAY['nhs_number', 'snomed_code', 'ods_code', 'gestation']
	LOOP
		FOR behind IN
			SELECT p.oid::pg_catalog.regprocedure AS signature, o.oprname AS operator,
				   pg_catalog.substr(p.proname, pg_catalog.length(the_type) + 2) AS part
			FROM pg_catalog.pg_proc p
				LEFT JOIN pg_catalog.pg_operator o ON o.oprcode = p.oid
			WHERE p.pronamespace = 'spine'::pg_catalog.regnamespace
				AND p.proname ~ ('^' || the_type || '_(in|out|recv|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended|mi|smaller|larger)$')
		LOOP
			EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', behind.signature,
				coalesce('implementation of ' || behind.operator || ' operator', the_type || ' ' || behind.part));
			IF behind.operator IS NOT NULL AND behind.part <> 'mi' THEN
				EXECUTE pg_catalog.format('COMMENT ON OPERATOR spine.%s (spine.%I, spine.%I) IS %L',
					behind.operator, the_type, the_type,
					CASE behind.operator
						WHEN '=' THEN 'equal' WHEN '<>' THEN 'not equal'
						WHEN '<' THEN 'less than' WHEN '<=' THEN 'less than or equal'
						WHEN '>' THEN 'greater than' ELSE 'greater than or equal' END);
			END IF;
		END LOOP;
	END LOOP;
END
$comments$;
