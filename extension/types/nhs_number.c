/*
 * nhs_number.c
 *		The type spine.nhs_number: an NHS, CHI or H&C number in 8 bytes.
 *
 * Comparison, hashing, sort support and binary output are those of bigint,
 * declared in sql/types.sql. An NHS number never appears in a message, and an
 * error about one keeps the statement and the context, in which COPY would
 * quote the value, out of the server's log.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "compat.h"
#include "types/nhs_number_core.h"

PG_FUNCTION_INFO_V1(spine_nhs_number_in);
PG_FUNCTION_INFO_V1(spine_nhs_number_out);
PG_FUNCTION_INFO_V1(spine_nhs_number_recv);
PG_FUNCTION_INFO_V1(spine_nhs_number_from_int8);
PG_FUNCTION_INFO_V1(spine_nhs_number_from_int4);
PG_FUNCTION_INFO_V1(spine_nhs_number_range);
PG_FUNCTION_INFO_V1(spine_is_repeated);

#define nhs_number_fault(sqlstate, fault) \
	(errcode(sqlstate), \
	 errmsg("invalid NHS number: %s", spine_nhs_number_error_text(fault)), \
	 errdetail("An NHS number has 10 digits, together or as 3-3-4, and the last is a check digit by modulus 11."), \
	 errhidestmt(true), \
	 errhidecontext(true))

Datum
spine_nhs_number_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	int64_t		value = 0;
	spine_nhs_number_error fault = spine_nhs_number_parse(text, strlen(text), &value);

	if (unlikely(fault != SPINE_NHS_NUMBER_OK))
		spine_ereturn(fcinfo->context, (Datum) 0,
					  nhs_number_fault(ERRCODE_INVALID_TEXT_REPRESENTATION, fault));
	PG_RETURN_INT64(value);
}

Datum
spine_nhs_number_out(PG_FUNCTION_ARGS)
{
	char	   *text = palloc(SPINE_NHS_NUMBER_DIGITS + 1);

	spine_nhs_number_print(PG_GETARG_INT64(0), text);
	PG_RETURN_CSTRING(text);
}

static int64
checked(int64 value, int sqlstate)
{
	spine_nhs_number_error fault = spine_nhs_number_check(value);

	if (fault != SPINE_NHS_NUMBER_OK)
		ereport(ERROR, nhs_number_fault(sqlstate, fault));
	return value;
}

Datum
spine_nhs_number_recv(PG_FUNCTION_ARGS)
{
	int64		value = pq_getmsgint64((StringInfo) PG_GETARG_POINTER(0));

	PG_RETURN_INT64(checked(value, ERRCODE_INVALID_BINARY_REPRESENTATION));
}

Datum
spine_nhs_number_from_int8(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(checked(PG_GETARG_INT64(0), ERRCODE_INVALID_TEXT_REPRESENTATION));
}

Datum
spine_nhs_number_from_int4(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(checked(PG_GETARG_INT32(0), ERRCODE_INVALID_TEXT_REPRESENTATION));
}

Datum
spine_nhs_number_range(PG_FUNCTION_ARGS)
{
	spine_nhs_number_issuer issuer = spine_nhs_number_issued_by(PG_GETARG_INT64(0));

	PG_RETURN_TEXT_P(cstring_to_text(spine_nhs_number_issuer_text(issuer)));
}

Datum
spine_is_repeated(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(spine_nhs_number_is_repeated(PG_GETARG_INT64(0)));
}
