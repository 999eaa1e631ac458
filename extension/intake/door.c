/*
 * door.c
 *		What the doors share.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "tcop/cmdtag.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "intake/door.h"
#include "intake/intake.h"

static SpineStatement *statements = NULL;

static void
forget_at_end(XactEvent event, void *arg)
{
	/*
	 * who takes the first rows of INSERT ... RETURNING alone ends it before the last ones are
	 * stored
	 */
	if (statements != NULL && (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("a statement at view \"%s\" was not run to its end", get_rel_name(statements->view)),
				 errhint("Fetch all rows that it returns.")));

	/* the memory goes with the transaction's */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		statements = NULL;
}

static void
forget_at_subend(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	for (SpineStatement **link = &statements; *link != NULL;)
	{
		SpineStatement *statement = *link;

		if (statement->subxact == mine && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*link = statement->next;
			MemoryContextDelete(statement->context);
			continue;
		}
		if (statement->subxact == mine && event == SUBXACT_EVENT_COMMIT_SUB)
			statement->subxact = parent;
		link = &statement->next;
	}
}

SpineStatement *
spine_statement_open(Oid view)
{
	static bool registered = false;
	MemoryContext context;
	SpineStatement *statement;

	if (!registered)
	{
		RegisterXactCallback(forget_at_end, NULL);
		RegisterSubXactCallback(forget_at_subend, NULL);
		registered = true;
	}
	context = AllocSetContextCreate(TopTransactionContext, "spine statement", ALLOCSET_DEFAULT_SIZES);
	statement = MemoryContextAllocZero(context, sizeof(SpineStatement));
	statement->view = view;
	statement->subxact = GetCurrentSubTransactionId();
	statement->context = context;
	statement->next = statements;
	statements = statement;
	return statement;
}

/* The innermost statement at this view: a trigger runs within one. */
SpineStatement *
spine_statement_find(Oid view)
{
	SpineStatement *statement = statements;

	while (statement != NULL && statement->view != view)
		statement = statement->next;
	if (statement == NULL)
		elog(ERROR, "no statement at view %u is under way", view);
	return statement;
}

void
spine_statement_close(SpineStatement *statement)
{
	SpineStatement **link = &statements;

	while (*link != statement)
		link = &(*link)->next;
	*link = statement->next;
	MemoryContextDelete(statement->context);
}

static void
tell_line_number(void *arg)
{
	CopyFromState copy = arg;

	errcontext("COPY %s, line %llu", copy->cur_relname, (unsigned long long) copy->cur_lineno);
}

/*
 * COPY tells the text of its present line with whatever is raised, a cancel
 * between two rows too: into the server's log. From the first row on it tells
 * the number alone. Tells whether a COPY it is that runs the trigger.
 */
bool
spine_statement_hide_lines(void)
{
	if (error_context_stack == NULL)
		return false;
	if (error_context_stack->callback == CopyFromErrorCallback)
		error_context_stack->callback = tell_line_number;
	return error_context_stack->callback == tell_line_number;
}

void
spine_statement_notice(const int64 *counts)
{
	if (ActivePortal == NULL || ActivePortal->commandTag != CMDTAG_COPY)
		return;
	ereport(NOTICE,
			(errmsg("%lld accepted, %lld accepted with warnings, %lld unchanged, %lld rejected",
					(long long) counts[OUTCOME_ACCEPTED], (long long) counts[OUTCOME_ACCEPTED_WITH_WARNINGS],
					(long long) counts[OUTCOME_UNCHANGED], (long long) counts[OUTCOME_REJECTED])));
}

const SpineCaller *
spine_door_writer(void)
{
	const SpineCaller *caller = spine_caller_get();

	if (caller->system == NULL || (caller->rights & SPINE_MAY_WRITE) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is not a system that may write", caller->role_name),
				 errhint("An operator registers a supplier's system with spine.add_system().")));
	return caller;
}

char *
spine_door_trimmed(char *identifier)
{
	char	   *end;

	if (identifier == NULL)
		return NULL;
	while (*identifier == ' ')
		identifier++;
	for (end = identifier + strlen(identifier); end > identifier && end[-1] == ' '; end--)
		;
	*end = '\0';
	return *identifier == '\0' ? NULL : identifier;
}
