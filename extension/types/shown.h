/*
 * shown.h
 *		What a message shows of an offending value.
 */
#ifndef SPINE_TYPES_SHOWN_H
#define SPINE_TYPES_SHOWN_H

#include "postgres.h"

#include "mb/pg_wchar.h"

#include "types/nhs_number_core.h"

/* no value of these types is longer than 18 characters; beyond this is somebody's document */
#define SPINE_SHOWN_MAX 64

/* Somebody's NHS number that came into the wrong column: not to be shown or logged. */
static inline bool
spine_hidden(const char *text, size_t length)
{
	int64_t		number;

	return spine_nhs_number_parse(text, length, &number) == SPINE_NHS_NUMBER_OK;
}

static inline char *
spine_shown(const char *text, size_t length)
{
	if (spine_hidden(text, length))
		return pstrdup("(an NHS number)");
	if (length > SPINE_SHOWN_MAX)
		return psprintf("%.*s...", pg_mbcliplen(text, (int) length, SPINE_SHOWN_MAX), text);
	return pnstrdup(text, length);
}

/* The parts of an ereport that all types but nhs_number share; what is a phrase such as "ODS code". */
#define spine_value_fault(sqlstate, what, text, length, fault_text) \
	(errcode(sqlstate), \
	 errmsg("invalid %s \"%s\": %s", what, spine_shown(text, length), fault_text), \
	 errhidestmt(spine_hidden(text, length)), \
	 errhidecontext(spine_hidden(text, length)))

#endif							/* SPINE_TYPES_SHOWN_H */
