/*
 * conninfo.c
 *		Looks at connection strings before they are stored.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq-fe.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(spine_is_conninfo);

/* spine.is_conninfo(conninfo text): may a neighbour be reached by it? */
Datum
spine_is_conninfo(PG_FUNCTION_ARGS)
{
	char	   *conninfo = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *message = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &message);
	bool		good = options != NULL;

	/* the message may hold a password: it is not shown */
	if (message)
		PQfreemem(message);
	/*
	 * With options=-crole=... a superuser would pass for somebody else. A password
	 * would stand in the table, in dumps and in the statement that brings it.
	 */
	for (PQconninfoOption *option = options; good && option->keyword != NULL; option++)
		good = option->val == NULL ||
			(strcmp(option->keyword, "options") != 0 &&
			 strcmp(option->keyword, "password") != 0 &&
			 strcmp(option->keyword, "sslpassword") != 0);
	if (options)
		PQconninfoFree(options);
	PG_RETURN_BOOL(good);
}
