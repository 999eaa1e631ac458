/*
 * export.c
 *		Statements that show many rows are written to the access log, by their text
 *		and how many rows they showed.
 *
 * spine.visible() counts the rows that it lets through. The executor's hooks see
 * what each outermost query has added, a cursor's fetches together; what functions,
 * DO and CALL run counts for the statement that called them. When the query ends
 * its entry is committed by the auditor; where its transaction is rolled back, the
 * entry is left to the auditor: the rows were seen.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "governance/audit.h"
#include "governance/caller.h"
#include "governance/export.h"
#include "guc.h"

#define STATEMENT_LENGTH_MAX	1000	/* bytes of a statement that are kept */
#define DIGITS_MAX				6	/* so many in a row within a name may be somebody's number */

/* an outermost query that has shown rows */
typedef struct Showing
{
	dlist_node	node;
	QueryDesc  *query;			/* NULL: a statement that has ended */
	uint64		rows;
	Oid			role;
	SubTransactionId subid;
	char	   *statement;		/* once it is an export */
} Showing;

/* what parallel workers have shown, by the process number of their leader */
typedef struct ExportShared
{
	int			nprocs;
	pg_atomic_uint64 rows[FLEXIBLE_ARRAY_MEMBER];
} ExportShared;

PGDLLEXPORT uint64 spine_rows_shown = 0;

static ExportShared *shared = NULL;
static dlist_head showings = DLIST_STATIC_INIT(showings);
static int	level = 0;			/* of queries within queries */
static uint64 rows_handed_on = 0;	/* a parallel worker's, to its leader */
static bool callbacks_registered = false;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;
static ExecutorRun_hook_type previous_run = NULL;
static ExecutorFinish_hook_type previous_finish = NULL;
static ExecutorEnd_hook_type previous_end = NULL;
static ProcessUtility_hook_type previous_utility = NULL;


/* ---------------------------------------------------------------- the statement's text */

static bool
is_name_start(unsigned char c)
{
	return isalpha(c) || c == '_' || IS_HIGHBIT_SET(c);
}

static bool
is_name_part(unsigned char c)
{
	return is_name_start(c) || isdigit(c) || c == '$';
}

/* Behind the string that begins at c, whose quote it is. */
static const char *
skip_quoted(const char *c, const char *end, bool escapes)
{
	char		quote = *c++;

	while (c < end)
	{
		if (escapes && *c == '\\' && c + 1 < end)
			c += 2;
		else if (*c == quote)
		{
			if (c + 1 >= end || c[1] != quote)
				return c + 1;
			c += 2;
		}
		else
			c++;
	}
	return end;
}

/* Behind the dollar-quoted string that begins at c, or NULL when none does. */
static const char *
skip_dollar_quoted(const char *c, const char *end)
{
	const char *tag = c++;
	int			length;

	if (c < end && is_name_start(*c))
		while (c < end && *c != '$' && is_name_part(*c))
			c++;
	if (c >= end || *c != '$')
		return NULL;
	length = ++c - tag;
	for (; c + length <= end; c++)
		if (memcmp(c, tag, length) == 0)
			return c + length;
	return end;
}

static const char *
skip_comment(const char *c, const char *end)
{
	int			depth = 0;

	if (*c == '-')
	{
		while (c < end && *c != '\n')
			c++;
		return c;
	}
	while (c + 1 < end)
	{
		if (c[0] == '/' && c[1] == '*')
		{
			depth++;
			c += 2;
		}
		else if (c[0] == '*' && c[1] == '/')
		{
			c += 2;
			if (--depth == 0)
				return c;
		}
		else
			c++;
	}
	return end;
}

/* A name as it stands, but for long numbers in it. */
static void
append_name(StringInfo to, const char *from, const char *end)
{
	while (from < end)
	{
		const char *digits = from;

		while (digits < end && isdigit((unsigned char) *digits))
			digits++;
		if (digits - from >= DIGITS_MAX)
			appendStringInfoChar(to, '?');
		else
			appendBinaryStringInfo(to, from, digits - from);
		if (digits < end)
			appendStringInfoChar(to, *digits++);
		from = digits;
	}
}

/* The statement without its literals and comments, as one line that is not long. */
static void
append_statement(StringInfo to, const char *c, const char *end)
{
	while (c < end && to->len <= STATEMENT_LENGTH_MAX)
	{
		unsigned char first = *c;
		const char *from = c;

		if (isspace(first) || (first == '-' && c + 1 < end && c[1] == '-') ||
			(first == '/' && c + 1 < end && c[1] == '*'))
		{
			c = isspace(first) ? c + 1 : skip_comment(c, end);
			if (to->len > 0 && to->data[to->len - 1] != ' ')
				appendStringInfoChar(to, ' ');
		}
		else if (first == '\'')
		{
			char		before = to->len > 0 ? to->data[to->len - 1] : ' ';

			c = skip_quoted(c, end, before == 'E' || before == 'e');
			appendStringInfoChar(to, '?');
		}
		else if (first == '"')
		{
			c = skip_quoted(c, end, false);
			append_name(to, from, c);
		}
		else if (first == '$' && (c = skip_dollar_quoted(from, end)) != NULL)
			appendStringInfoChar(to, '?');
		else if (first == '$')
		{
			/* a parameter */
			c = from + 1;
			while (c < end && isdigit((unsigned char) *c))
				c++;
			appendBinaryStringInfo(to, from, Min(c - from, DIGITS_MAX));
		}
		else if (is_name_start(first))
		{
			while (c < end && is_name_part(*c))
				c++;
			append_name(to, from, c);
		}
		else if (isdigit(first) || (first == '.' && c + 1 < end && isdigit((unsigned char) c[1])))
		{
			/* 1.5, 1e10, 0x1F, 1_000; in 1e-5 the exponent is a further number */
			while (c < end && (isalnum((unsigned char) *c) || *c == '.' || *c == '_'))
				c++;
			appendStringInfoChar(to, '?');
		}
		else
		{
			appendStringInfoChar(to, *c++);
		}
	}
}

static char *
statement_text(const char *prefix, const char *source, int location, int length)
{
	StringInfoData text;
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	initStringInfo(&text);
	MemoryContextSwitchTo(caller);
	appendStringInfoString(&text, prefix);
	if (source != NULL)
	{
		const char *from = source + Max(location, 0);

		append_statement(&text, from, from + (length > 0 ? length : strlen(from)));
	}
	while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == ';'))
		text.data[--text.len] = '\0';
	if (text.len > STATEMENT_LENGTH_MAX)
	{
		text.len = pg_mbcliplen(text.data, text.len, STATEMENT_LENGTH_MAX);
		text.data[text.len] = '\0';
		MemoryContextSwitchTo(TopMemoryContext);
		appendStringInfoString(&text, "...");
		MemoryContextSwitchTo(caller);
	}
	return text.data;
}


/* ---------------------------------------------------------------- entries */

static void
showing_drop(Showing *showing)
{
	dlist_delete(&showing->node);
	if (showing->statement != NULL)
		pfree(showing->statement);
	pfree(showing);
}

/* Makes the entry. False when nothing is known of the role. */
static bool
export_entry(SpineAuditEntry *entry, const Showing *showing, bool may_look)
{
	const SpineCaller *caller = spine_caller_latest(showing->role);
	const char *organisation = NULL;
	const char *duty = NULL;

	if (caller == NULL && may_look && showing->role == GetOuterUserId())
		caller = spine_caller_get();
	if (caller == NULL)
		return false;
	if (caller->organisation != NULL)
	{
		organisation = caller->organisation;
		duty = caller->kind;
	}
	for (int i = 0; i < caller->nmemberships && organisation == NULL; i++)
	{
		if (strcmp(caller->memberships[i].duty, "clinician") == 0 ||
			strcmp(caller->memberships[i].duty, "analyst") == 0)
		{
			organisation = caller->memberships[i].organisation;
			duty = caller->memberships[i].duty;
		}
	}
	if (organisation == NULL)
		return false;

	spine_audit_begin(entry, SPINE_AUDIT_EXPORT, caller->role_name);
	entry->record_count = showing->rows;
	/* all that can be long are the owners: what is below a membership adds to them */
	(void) spine_audit_put_string(entry, SPINE_AUDIT_USER, spine_audit_stated_user());
	(void) spine_audit_put_string(entry, SPINE_AUDIT_ORGANISATION, organisation);
	(void) spine_audit_put_string(entry, SPINE_AUDIT_DUTY, duty);
	(void) spine_audit_put_string(entry, SPINE_AUDIT_STATEMENT, showing->statement);
	(void) spine_audit_put_strings(entry, SPINE_AUDIT_HOW, NULL, 0);
	(void) spine_audit_put_strings(entry, SPINE_AUDIT_BASIS, NULL, 0);
	if (!spine_audit_put_strings(entry, SPINE_AUDIT_OWNERS, caller->readable, caller->nreadable))
		(void) spine_audit_put_strings(entry, SPINE_AUDIT_OWNERS, caller->readable, Min(caller->nreadable, 100));
	return true;
}

/*
 * The query has ended, or its transaction is being rolled back: then nothing is waited
 * for. Lets go of the showing first: what comes now may fail.
 */
static void
showing_ends(Showing *showing, bool wait)
{
	Showing		ended = *showing;
	SpineAuditEntry *entry;

	/* from here on it is ours to free, not the list's */
	showing->statement = NULL;
	showing_drop(showing);
	if (ended.statement == NULL)
		return;

	entry = palloc(sizeof(SpineAuditEntry));
	wait = wait && IsTransactionState() && InterruptHoldoffCount == 0 && CritSectionCount == 0;
	if (!export_entry(entry, &ended, wait))
	{
		/* nobody whose reading is logged */
	}
	else if (wait)
	{
		pfree(ended.statement);
		(void) spine_audit_write(entry, true);
		pfree(entry);
		return;
	}
	else if (!spine_audit_leave_entry(entry))
		ereport(LOG,
				(errmsg("spine: an export of " UINT64_FORMAT " rows by role \"%s\" could not be written to the access log",
						ended.rows, NameStr(entry->role_name)),
				 errhidestmt(true)));
	pfree(ended.statement);
	pfree(entry);
}

static void
transaction_ends(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (!dlist_is_empty(&showings))
		showing_ends(dlist_container(Showing, node, dlist_head_node(&showings)), false);
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	dlist_mutable_iter iter;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach_modify(iter, &showings)
	{
		Showing    *showing = dlist_container(Showing, node, iter.cur);

		if (showing->subid != mine)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			showing->subid = parent;
		else
			showing_ends(showing, false);
	}
}


/* ---------------------------------------------------------------- counting */

static Showing *
showing_find(QueryDesc *query)
{
	dlist_iter	iter;

	dlist_foreach(iter, &showings)
	{
		Showing    *showing = dlist_container(Showing, node, iter.cur);

		if (showing->query == query)
			return showing;
	}
	return NULL;
}

static Showing *
showing_add(QueryDesc *query, uint64 rows)
{
	Showing    *showing = query != NULL ? showing_find(query) : NULL;
	const SpineCaller *caller = spine_caller_latest(InvalidOid);

	if (showing == NULL)
	{
		if (!callbacks_registered)
		{
			RegisterXactCallback(transaction_ends, NULL);
			RegisterSubXactCallback(subtransaction_ends, NULL);
			callbacks_registered = true;
		}
		showing = MemoryContextAllocZero(TopMemoryContext, sizeof(Showing));
		showing->query = query;
		showing->subid = GetCurrentSubTransactionId();
		dlist_push_tail(&showings, &showing->node);
	}
	/* not the present role: a function may have set and reset it */
	showing->role = caller != NULL ? caller->role : GetOuterUserId();
	showing->rows += rows;
	if (query != NULL && showing->statement == NULL && showing->rows >= spine_export_rows)
		showing->statement = statement_text("", query->sourceText, query->plannedstmt->stmt_location,
											query->plannedstmt->stmt_len);
	return showing;
}

static void
leave_query(QueryDesc *query, uint64 before)
{
	level--;
	if (level == 0 && spine_rows_shown > before && !IsParallelWorker())
		(void) showing_add(query, spine_rows_shown - before);
}

static void
export_run(QueryDesc *query, ScanDirection direction, uint64 count SPINE_EXECUTE_ONCE)
{
	uint64		before = spine_rows_shown;

	level++;
	PG_TRY();
	{
		if (previous_run)
			previous_run(query, direction, count SPINE_PASS_EXECUTE_ONCE);
		else
			standard_ExecutorRun(query, direction, count SPINE_PASS_EXECUTE_ONCE);
	}
	PG_CATCH();
	{
		leave_query(query, before);
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave_query(query, before);
}

static void
export_finish(QueryDesc *query)
{
	uint64		before = spine_rows_shown;

	level++;
	PG_TRY();
	{
		if (previous_finish)
			previous_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_CATCH();
	{
		leave_query(query, before);
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave_query(query, before);
}

/* What this process's parallel workers have shown since it last asked. */
static uint64
take_workers_rows(void)
{
	uint32		me = spine_proc_number();

	if (shared == NULL || me >= shared->nprocs || pg_atomic_read_u64(&shared->rows[me]) == 0)
		return 0;
	return pg_atomic_exchange_u64(&shared->rows[me], 0);
}

static void
hand_on_rows(void)
{
	uint32		leader = spine_leader_number();

	if (spine_rows_shown > rows_handed_on && shared != NULL && leader < shared->nprocs)
		pg_atomic_fetch_add_u64(&shared->rows[leader], spine_rows_shown - rows_handed_on);
	rows_handed_on = spine_rows_shown;
}

static void
export_end(QueryDesc *query)
{
	Showing    *showing = NULL;

	if (IsParallelWorker())
		hand_on_rows();
	if (level == 0 && !dlist_is_empty(&showings))
		showing = showing_find(query);

	/* the workers have ended when the query has; its text goes with it */
	if (level == 0 && !IsParallelWorker())
	{
		uint64		workers;

		if (query->estate != NULL && query->estate->es_use_parallel_mode && query->planstate != NULL)
			ExecShutdownNode(query->planstate);
		workers = take_workers_rows();
		if (workers > 0)
			showing = showing_add(query, workers);
	}

	if (previous_end)
		previous_end(query);
	else
		standard_ExecutorEnd(query);
	if (showing != NULL)
		showing_ends(showing, true);
}

/* What DO or CALL has shown is an export; NULL when it is not. */
static Showing *
leave_utility(PlannedStmt *pstmt, const char *source, uint64 before)
{
	const char *body = NULL;
	Showing    *showing;

	level--;
	if (spine_rows_shown <= before || spine_rows_shown - before < spine_export_rows)
		return NULL;
	showing = showing_add(NULL, spine_rows_shown - before);
	/* the body is a literal: what stands in it says more than that there is one */
	if (IsA(pstmt->utilityStmt, DoStmt))
	{
		ListCell   *cell;

		foreach(cell, ((DoStmt *) pstmt->utilityStmt)->args)
		{
			DefElem    *element = lfirst_node(DefElem, cell);

			if (strcmp(element->defname, "as") == 0)
				body = strVal(element->arg);
		}
	}
	showing->statement = body != NULL ? statement_text("DO ", body, 0, 0) :
		statement_text("", source, pstmt->stmt_location, pstmt->stmt_len);
	return showing;
}

static void
run_utility(PlannedStmt *pstmt, const char *source, bool read_only_tree, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (previous_utility)
		previous_utility(pstmt, source, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, source, read_only_tree, context, params, environment, dest, completion);
}

/* DO and CALL run many queries, which count together. */
static void
export_utility(PlannedStmt *pstmt, const char *source, bool read_only_tree, ProcessUtilityContext context,
			   ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	uint64		before = spine_rows_shown;
	Showing    *showing;

	if (level > 0 || !(IsA(pstmt->utilityStmt, DoStmt) || IsA(pstmt->utilityStmt, CallStmt)))
	{
		run_utility(pstmt, source, read_only_tree, context, params, environment, dest, completion);
		return;
	}
	level++;
	PG_TRY();
	{
		run_utility(pstmt, source, read_only_tree, context, params, environment, dest, completion);
	}
	PG_CATCH();
	{
		(void) leave_utility(pstmt, source, before);
		PG_RE_THROW();
	}
	PG_END_TRY();
	showing = leave_utility(pstmt, source, before);
	if (showing != NULL)
		showing_ends(showing, true);
}


/* ---------------------------------------------------------------- start */

static Size
export_size(int nprocs)
{
	return add_size(offsetof(ExportShared, rows), mul_size(nprocs, sizeof(pg_atomic_uint64)));
}

static void
export_shmem_request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(export_size(MaxBackends)));
}

static void
export_shmem_startup(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("spine exports", export_size(MaxBackends), &found);
	if (!found)
	{
		shared->nprocs = MaxBackends;
		for (int i = 0; i < MaxBackends; i++)
			pg_atomic_init_u64(&shared->rows[i], 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
spine_export_start(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = export_shmem_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = export_shmem_startup;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = export_run;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = export_finish;
	previous_end = ExecutorEnd_hook;
	ExecutorEnd_hook = export_end;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = export_utility;
}
