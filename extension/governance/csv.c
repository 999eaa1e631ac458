/*
 * csv.c
 *		Comma-separated values as RFC 4180 has them, from a text.
 *
 * COPY would want a table and takes \. for an end; this reads what spreadsheets
 * and the national files hold, and says on which line a row is broken.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(spine_csv_rows);

static void
malformed(int line, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("line %d is malformed: %s", line, what)));
}

/*
 * Reads one field at *at, which is left on the separator, the line's end or the
 * end of the text. Returns it in field.
 */
static void
read_field(const char **at, const char *end, int *line, StringInfo field)
{
	const char *p = *at;
	int			began = *line;

	resetStringInfo(field);
	if (p < end && *p == '"')
	{
		p++;
		for (;;)
		{
			if (p >= end)
				malformed(began, "a quoted field has no end");
			if (*p == '"')
			{
				if (p + 1 < end && p[1] == '"')
					p++;
				else
					break;
			}
			else if (*p == '\n')
				(*line)++;
			appendStringInfoCharMacro(field, *p);
			p++;
		}
		p++;
		if (p < end && *p != ',' && *p != '\r' && *p != '\n')
			malformed(*line, "text follows a quoted field");
	}
	else
	{
		while (p < end && *p != ',' && *p != '\r' && *p != '\n')
		{
			if (*p == '"')
				malformed(*line, "a quote stands in a field that is not quoted");
			appendStringInfoCharMacro(field, *p);
			p++;
		}
	}
	*at = p;
}

/* spine.csv_rows(content text, OUT line integer, OUT fields text[]) */
Datum
spine_csv_rows(PG_FUNCTION_ARGS)
{
	text	   *content = PG_GETARG_TEXT_PP(0);
	const char *p = VARDATA_ANY(content);
	const char *end = p + VARSIZE_ANY_EXHDR(content);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_context;
	MemoryContext old;
	int			line = 1;

	InitMaterializedSRF(fcinfo, 0);

	if (end - p >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
		p += 3;

	row_context = AllocSetContextCreate(CurrentMemoryContext, "csv row", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(row_context);
	while (p < end)
	{
		StringInfoData field;
		Datum	   *fields;
		int			n = 0;
		int			room = 32;
		int			began = line;
		bool		more = true;

		if (*p == '\r' || *p == '\n')
		{
			if (*p == '\n' || p + 1 >= end || p[1] != '\n')
				line++;
			p++;
			continue;
		}

		CHECK_FOR_INTERRUPTS();
		initStringInfo(&field);
		fields = palloc(sizeof(Datum) * room);
		while (more)
		{
			read_field(&p, end, &line, &field);
			if (n == room)
			{
				room *= 2;
				fields = repalloc(fields, sizeof(Datum) * room);
			}
			fields[n++] = PointerGetDatum(cstring_to_text_with_len(field.data, field.len));
			more = (p < end && *p == ',');
			if (more)
				p++;
		}

		{
			Datum		values[2];
			bool		nulls[2] = {false, false};

			values[0] = Int32GetDatum(began);
			values[1] = PointerGetDatum(construct_array(fields, n, TEXTOID, -1, false, TYPALIGN_INT));
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row_context);
	return (Datum) 0;
}
