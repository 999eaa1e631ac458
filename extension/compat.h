/*
 * compat.h
 *		What differs between PostgreSQL 15, 16, 17 and 18. Nothing else in the
 *		tree looks at PG_VERSION_NUM.
 */
#ifndef SPINE_COMPAT_H
#define SPINE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "spine needs PostgreSQL 15 or later"
#endif

/* An input function's refusal: returned to who asks for that since 16, thrown on 15. */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define spine_ereturn(context, dummy, ...) ereturn(context, dummy, __VA_ARGS__)
#else
#define spine_ereturn(context, dummy, ...) ereport(ERROR, __VA_ARGS__)
#endif

/* VARDATA and its like moved out of postgres.h in 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Since 16 a semantic action of the JSON parser tells whether to go on; ours raise instead. */
#if PG_VERSION_NUM >= 160000
#define SPINE_JSON_ACTION	JsonParseErrorType
#define SPINE_JSON_GO_ON	return JSON_SUCCESS
#else
#define SPINE_JSON_ACTION	void
#define SPINE_JSON_GO_ON	return
#endif

/* Since 17 the caller may bring the lexer's memory along. */
#if PG_VERSION_NUM >= 170000
#define spine_json_lexer(json, length, encoding) \
	makeJsonLexContextCstringLen(NULL, json, length, encoding, true)
#else
#define spine_json_lexer(json, length, encoding) \
	makeJsonLexContextCstringLen(json, length, encoding, true)
#endif

/* This process's place in the process array and the local id of its transaction: see storage/proc.h. */
#if PG_VERSION_NUM >= 170000
#define spine_proc_number()	((uint32) MyProcNumber)
#define spine_local_xid()	(MyProc->vxid.lxid)
#define spine_leader_number()	((uint32) (MyProc->lockGroupLeader ? GetNumberFromPGProc(MyProc->lockGroupLeader) : MyProcNumber))
#else
#define spine_proc_number()	((uint32) MyProc->pgprocno)
#define spine_local_xid()	(MyProc->lxid)
#define spine_leader_number()	((uint32) (MyProc->lockGroupLeader ? MyProc->lockGroupLeader->pgprocno : MyProc->pgprocno))
#endif

/* An executor's hook is not told any more since 18 whether it runs once. */
#if PG_VERSION_NUM >= 180000
#define SPINE_EXECUTE_ONCE
#define SPINE_PASS_EXECUTE_ONCE
#else
#define SPINE_EXECUTE_ONCE		, bool execute_once
#define SPINE_PASS_EXECUTE_ONCE , execute_once
#endif

/* A set of events belongs to a resource owner since 17 (NULL: to the session), to a context before. */
#if PG_VERSION_NUM >= 170000
#define spine_wait_event_set(n) CreateWaitEventSet(NULL, n)
#else
#define spine_wait_event_set(n) CreateWaitEventSet(CurrentMemoryContext, n)
#endif

/* The i-th of the processes that pgstat_fetch_stat_numbackends() counts. */
#if PG_VERSION_NUM >= 160000
#define spine_backend_status(i) (&pgstat_get_local_beentry_by_index(i)->backendStatus)
#else
#define spine_backend_status(i) (&pgstat_fetch_stat_local_beentry(i)->backendStatus)
#endif

/* An index scan can be counted since 18. */
#if PG_VERSION_NUM >= 180000
#define spine_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#else
#define spine_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, nkeys, 0)
#endif

/*
 * Whether a plan may be run more than once, which keeps it from using parallel workers, is an
 * argument of ExecutorRun until 17, and told from the query's state since 18.
 */
#if PG_VERSION_NUM >= 180000
#define SPINE_EXECUTE_ONCE_PARAMETER
#define SPINE_EXECUTE_ONCE_ARGUMENT
#define SPINE_EXECUTE_WITHOUT_WORKERS(query) ((query)->already_executed = true)
#else
#define SPINE_EXECUTE_ONCE_PARAMETER	, bool execute_once
#define SPINE_EXECUTE_ONCE_ARGUMENT		, execute_once
#define SPINE_EXECUTE_WITHOUT_WORKERS(query) (execute_once = false)
#endif

#endif							/* SPINE_COMPAT_H */
