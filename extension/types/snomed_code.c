/*
 * snomed_code.c
 *		The type spine.snomed_code: a SNOMED CT identifier in 8 bytes.
 *
 * Text and binary output, comparison, hashing and sort support are those of
 * bigint, declared in sql/types.sql.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "compat.h"
#include "types/shown.h"
#include "types/snomed_code_core.h"

PG_FUNCTION_INFO_V1(spine_snomed_code_in);
PG_FUNCTION_INFO_V1(spine_snomed_code_recv);
PG_FUNCTION_INFO_V1(spine_snomed_code_from_int8);
PG_FUNCTION_INFO_V1(spine_snomed_code_from_int4);
PG_FUNCTION_INFO_V1(spine_snomed_partition);
PG_FUNCTION_INFO_V1(spine_is_concept);
PG_FUNCTION_INFO_V1(spine_is_description);
PG_FUNCTION_INFO_V1(spine_is_relationship);

Datum
spine_snomed_code_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	size_t		length = strlen(text);
	int64_t		value = 0;
	spine_snomed_code_error fault = spine_snomed_code_parse(text, length, &value);

	if (unlikely(fault != SPINE_SNOMED_CODE_OK))
		spine_ereturn(fcinfo->context, (Datum) 0,
					  spine_value_fault(ERRCODE_INVALID_TEXT_REPRESENTATION, "SNOMED CT code",
										text, length, spine_snomed_code_error_text(fault)));
	PG_RETURN_INT64(value);
}

static int64
checked(int64 value, int sqlstate)
{
	spine_snomed_code_error fault = spine_snomed_code_check(value);

	if (fault != SPINE_SNOMED_CODE_OK)
	{
		char	   *text = psprintf("%lld", (long long) value);

		ereport(ERROR, spine_value_fault(sqlstate, "SNOMED CT code",
										 text, strlen(text), spine_snomed_code_error_text(fault)));
	}
	return value;
}

Datum
spine_snomed_code_recv(PG_FUNCTION_ARGS)
{
	int64		value = pq_getmsgint64((StringInfo) PG_GETARG_POINTER(0));

	PG_RETURN_INT64(checked(value, ERRCODE_INVALID_BINARY_REPRESENTATION));
}

Datum
spine_snomed_code_from_int8(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(checked(PG_GETARG_INT64(0), ERRCODE_INVALID_TEXT_REPRESENTATION));
}

Datum
spine_snomed_code_from_int4(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(checked(PG_GETARG_INT32(0), ERRCODE_INVALID_TEXT_REPRESENTATION));
}

Datum
spine_snomed_partition(PG_FUNCTION_ARGS)
{
	spine_snomed_code_kind kind = spine_snomed_code_names(PG_GETARG_INT64(0));

	PG_RETURN_TEXT_P(cstring_to_text(spine_snomed_code_kind_text(kind)));
}

Datum
spine_is_concept(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(spine_snomed_code_names(PG_GETARG_INT64(0)) == SPINE_SNOMED_CODE_CONCEPT);
}

Datum
spine_is_description(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(spine_snomed_code_names(PG_GETARG_INT64(0)) == SPINE_SNOMED_CODE_DESCRIPTION);
}

Datum
spine_is_relationship(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(spine_snomed_code_names(PG_GETARG_INT64(0)) == SPINE_SNOMED_CODE_RELATIONSHIP);
}
