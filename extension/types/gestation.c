/*
 * gestation.c
 *		The type spine.gestation: length of gestation, days in 4 bytes, written
 *		as completed weeks + days.
 *
 * Comparison, hashing, sort support, subtraction and binary output are those
 * of integer, declared in sql/types.sql.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"

#include "compat.h"
#include "types/gestation_core.h"
#include "types/shown.h"

PG_FUNCTION_INFO_V1(spine_gestation_in);
PG_FUNCTION_INFO_V1(spine_gestation_out);
PG_FUNCTION_INFO_V1(spine_gestation_recv);
PG_FUNCTION_INFO_V1(spine_gestation_from_int4);
PG_FUNCTION_INFO_V1(spine_gestation_weeks);
PG_FUNCTION_INFO_V1(spine_gestation_days);

Datum
spine_gestation_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	size_t		length = strlen(text);
	int32_t		days = 0;
	spine_gestation_error fault = spine_gestation_parse(text, length, &days);

	if (unlikely(fault != SPINE_GESTATION_OK))
		spine_ereturn(fcinfo->context, (Datum) 0,
					  spine_value_fault(ERRCODE_INVALID_TEXT_REPRESENTATION, "gestation",
										text, length, spine_gestation_error_text(fault)));
	PG_RETURN_INT32(days);
}

Datum
spine_gestation_out(PG_FUNCTION_ARGS)
{
	char	   *text = palloc(SPINE_GESTATION_TEXT);

	spine_gestation_print(PG_GETARG_INT32(0), text);
	PG_RETURN_CSTRING(text);
}

static int32
checked(int32 days, int sqlstate)
{
	spine_gestation_error fault = spine_gestation_check(days);

	if (fault != SPINE_GESTATION_OK)
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("invalid gestation \"%d\": %s", days, spine_gestation_error_text(fault))));
	return days;
}

Datum
spine_gestation_recv(PG_FUNCTION_ARGS)
{
	int32		days = (int32) pq_getmsgint((StringInfo) PG_GETARG_POINTER(0), 4);

	PG_RETURN_INT32(checked(days, ERRCODE_INVALID_BINARY_REPRESENTATION));
}

Datum
spine_gestation_from_int4(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(checked(PG_GETARG_INT32(0), ERRCODE_INVALID_TEXT_REPRESENTATION));
}

Datum
spine_gestation_weeks(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_INT32(0) / 7);
}

Datum
spine_gestation_days(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_INT32(0) % 7);
}
