-- Pregnancies of women who do not exist: for demos, benches and tests.

CREATE FUNCTION spine.generate(
		pregnancies integer,
		seed bigint DEFAULT 1,
		organisations text[] DEFAULT '{RYJ,RQM}',
		fault_rate double precision DEFAULT 0.02,
		starting date DEFAULT '2024-01-01',
		first_pregnancy integer DEFAULT 1)
	RETURNS TABLE (n bigint, pregnancy integer, organisation text, data_group text, sent_at timestamptz,
				   record json, fault text)
	LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 5000
	AS 'MODULE_PATHNAME', 'spine_generate';
REVOKE EXECUTE ON FUNCTION spine.generate(integer, bigint, text[], double precision, date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.generate(integer, bigint, text[], double precision, date, integer)
	TO spine_supplier, spine_member, spine_operator;
COMMENT ON FUNCTION spine.generate(integer, bigint, text[], double precision, date, integer) IS
	'Plausible pregnancies from booking to discharge, as records of the maternity data set 2.0, one a row. The same arguments give the same rows on every machine, and pregnancy k is the same whatever the number of pregnancies and wherever the first is. pregnancies: how many (0 to 225000). organisations: ODS codes; each has a system of its own. fault_rate: share of records with one fault made on purpose. starting: first day of the year in which the women book. first_pregnancy: number of the first; what belongs to no pregnancy (header, staff, anonymous groups; pregnancy is NULL) comes with number 1. Returned: record is an element of a submission''s records; fault says what was spoilt, or is NULL. NHS numbers are of the range 999, which no person has. Marginals: NHS maternity statistics for England 2021-22.';

CREATE FUNCTION spine.generate_documents(
		pregnancies integer,
		seed bigint DEFAULT 1,
		organisations text[] DEFAULT '{RYJ,RQM}',
		fault_rate double precision DEFAULT 0.02,
		starting date DEFAULT '2024-01-01',
		first_pregnancy integer DEFAULT 1,
		most_records integer DEFAULT 1000,
		systems text[] DEFAULT '{maternity}')
	RETURNS TABLE (organisation text, records integer, document json)
	LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 100
	AS 'MODULE_PATHNAME', 'spine_generate_documents';
REVOKE EXECUTE ON FUNCTION spine.generate_documents(integer, bigint, text[], double precision, date, integer, integer, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.generate_documents(integer, bigint, text[], double precision, date, integer, integer, text[])
	TO spine_supplier, spine_member, spine_operator;
COMMENT ON FUNCTION spine.generate_documents(integer, bigint, text[], double precision, date, integer, integer, text[]) IS
	'The records of spine.generate as whole submissions, ready for spine.submit: documents of up to most_records records of one organisation, in order. systems: the name of each organisation''s system, or one for all.';
