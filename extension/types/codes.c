/*
 * codes.c
 *		What rules ask about codes that are held as text, declared in
 *		sql/codes.sql. None of these raises.
 */
#include "postgres.h"

#include "fmgr.h"

#include "types/codes_core.h"

#define ANSWER(name, core) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	text	   *value = PG_GETARG_TEXT_PP(0); \
\
	PG_RETURN_BOOL(core(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value))); \
}

ANSWER(spine_is_icd10, spine_codes_icd10)
ANSWER(spine_is_opcs4, spine_codes_opcs4)
ANSWER(spine_is_read_code, spine_codes_read)
ANSWER(spine_is_snomed_concept, spine_codes_snomed_concept)
ANSWER(spine_is_snomed_expression, spine_codes_snomed_expression)
ANSWER(spine_is_postcode, spine_codes_postcode)

PG_FUNCTION_INFO_V1(spine_as_number);

Datum
spine_as_number(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(0);
	double		number;

	if (!spine_codes_number(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), &number))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(number);
}
