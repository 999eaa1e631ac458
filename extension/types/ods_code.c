/*
 * ods_code.c
 *		The type spine.ods_code: a code of the Organisation Data Service, stored
 *		exactly like text, always in upper case.
 *
 * Output is that of text; comparison, hashing and sort support are those of
 * bytea, so that no collation slows them: declared in sql/types.sql.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "compat.h"
#include "types/ods_code_core.h"
#include "types/shown.h"

PG_FUNCTION_INFO_V1(spine_ods_code_in);
PG_FUNCTION_INFO_V1(spine_ods_code_recv);
PG_FUNCTION_INFO_V1(spine_ods_code_from_text);

#define ods_code_fault(sqlstate, fault, text, length) \
	spine_value_fault(sqlstate, "ODS code", text, length, spine_ods_code_error_text(fault))

Datum
spine_ods_code_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	size_t		length = strlen(text);
	char		code[SPINE_ODS_CODE_MAX + 1];
	size_t		code_length = 0;
	spine_ods_code_error fault = spine_ods_code_parse(text, length, code, &code_length);

	if (unlikely(fault != SPINE_ODS_CODE_OK))
		spine_ereturn(fcinfo->context, (Datum) 0,
					  ods_code_fault(ERRCODE_INVALID_TEXT_REPRESENTATION, fault, text, length));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(code, (int) code_length));
}

static text *
checked(const char *text, size_t length, int sqlstate)
{
	char		code[SPINE_ODS_CODE_MAX + 1];
	size_t		code_length = 0;
	spine_ods_code_error fault = spine_ods_code_parse(text, length, code, &code_length);

	if (fault != SPINE_ODS_CODE_OK)
		ereport(ERROR, ods_code_fault(sqlstate, fault, text, length));
	return cstring_to_text_with_len(code, (int) code_length);
}

Datum
spine_ods_code_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			length;
	char	   *text = pq_getmsgtext(message, message->len - message->cursor, &length);

	PG_RETURN_TEXT_P(checked(text, length, ERRCODE_INVALID_BINARY_REPRESENTATION));
}

Datum
spine_ods_code_from_text(PG_FUNCTION_ARGS)
{
	text	   *from = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(checked(VARDATA_ANY(from), VARSIZE_ANY_EXHDR(from),
							 ERRCODE_INVALID_TEXT_REPRESENTATION));
}
