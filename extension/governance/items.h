/*
 * items.h
 *		Values of columns as JSON, as to_jsonb() makes them.
 */
#ifndef SPINE_ITEMS_H
#define SPINE_ITEMS_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"

typedef struct SpineJsonColumn
{
	Oid			type;
	bool		by_output;		/* its text, as a string */
	FmgrInfo	function;		/* its output function, or to_jsonb; not filled for what needs
								 * none */
} SpineJsonColumn;

/* context: where what the column's function keeps lives. */
extern void spine_json_column(SpineJsonColumn *column, Oid type, int32 typmod, Oid collation, MemoryContext context);

/* The value of a column, not NULL, in an object that is being made. */
extern void spine_json_push(JsonbParseState **state, SpineJsonColumn *column, Datum value);

extern void spine_json_push_key(JsonbParseState **state, const char *key, int length);
extern void spine_json_push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string, int length);

/* Is the name one of these texts, none of which is NULL? */
extern bool spine_is_among(const char *name, const Datum *texts, int n);

#endif							/* SPINE_ITEMS_H */
