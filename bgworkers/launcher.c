/*
 * launcher.c
 *		Starts a courier and an auditor for each database in spine.databases and
 *		keeps them running; in other databases an auditor when somebody opens a
 *		record there. It alone restarts them: after a crash of the server the
 *		postmaster forgets them, so that none runs twice.
 */
#include "postgres.h"

#include <dlfcn.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "../bgworkers/worker.h"
#include "governance/audit.h"
#include "guc.h"

#define LAUNCHER_LOOK_MS		10000	/* a listed database may have been created */
#define LAUNCHER_RESTART_MAX_MS	60000

typedef struct WorkerKind
{
	const char *name;
	const char *function;
	int			restart_ms;		/* first wait before a restart, doubled with each early end */
	int			early_ms;		/* so soon after its start an end is early */
} WorkerKind;

/* people wait for an auditor, and one that nobody needed any longer ended well */
static const WorkerKind courier_kind = {"courier", "spine_courier_main", 1000, LAUNCHER_RESTART_MAX_MS};
static const WorkerKind auditor_kind = {"auditor", "spine_auditor_main", 100, 1000};

/* what runs, or should run, in one database */
typedef struct Worker
{
	struct Worker *next;
	const WorkerKind *kind;
	char		database[NAMEDATALEN];
	Oid			oid;			/* of the database when it was last started */
	bool		listed;			/* in spine.databases */
	bool		asked;			/* an auditor that somebody waits for */
	bool		on_demand;		/* as it was started: leaves by itself */
	bool		missing_logged;
	BackgroundWorkerHandle *handle; /* NULL when none runs */
	TimestampTz started_at;
	TimestampTz start_after;
	int			wait_ms;
} Worker;

static Worker *workers = NULL;

void
spine_launcher_register(void)
{
	BackgroundWorker worker = {0};
	Dl_info		self;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;

	/* the very file that was preloaded, which need not be the one in $libdir */
	if (dladdr((void *) spine_launcher_main, &self) != 0 && self.dli_fname &&
		strlen(self.dli_fname) < BGW_MAXLEN)
		strlcpy(worker.bgw_library_name, self.dli_fname, BGW_MAXLEN);
	else
		strlcpy(worker.bgw_library_name, "spine", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "spine_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "spine launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "spine launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* The worker of this kind in the database of this name, made where there is none. */
static Worker *
launcher_find_worker(const WorkerKind *kind, const char *database)
{
	Worker	   *worker;

	for (worker = workers; worker; worker = worker->next)
		if (worker->kind == kind && strcmp(worker->database, database) == 0)
			return worker;
	worker = MemoryContextAllocZero(TopMemoryContext, sizeof(Worker));
	worker->kind = kind;
	strlcpy(worker->database, database, NAMEDATALEN);
	worker->wait_ms = kind->restart_ms;
	worker->next = workers;
	workers = worker;
	return worker;
}

/* Reads spine.databases into the list; those no longer in it are marked so. */
static void
launcher_read_setting(void)
{
	char	   *setting = pstrdup(spine_databases ? spine_databases : "");
	List	   *names;
	ListCell   *cell;

	if (!SplitIdentifierString(setting, ',', &names))
	{
		/* better the workers that run than none */
		ereport(LOG,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("spine.databases is not a list of names"),
				 errhint("Separate names by commas; put names with capitals in double quotes.")));
		return;
	}
	for (Worker *worker = workers; worker; worker = worker->next)
		worker->listed = false;
	foreach(cell, names)
	{
		launcher_find_worker(&courier_kind, lfirst(cell))->listed = true;
		launcher_find_worker(&auditor_kind, lfirst(cell))->listed = true;
	}
}

/*
 * The database with this name, or else this oid; InvalidOid when there is none. By a scan,
 * as the autovacuum launcher does: without a database the index may not be open to us.
 */
static Oid
launcher_find_database(const char *name, Oid oid, char *found_name)
{
	Oid			found = InvalidOid;
	Relation	databases;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	databases = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(databases, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (database->datallowconn &&
			(name != NULL ? strcmp(NameStr(database->datname), name) == 0 : database->oid == oid))
		{
			found = database->oid;
			if (found_name != NULL)
				strlcpy(found_name, NameStr(database->datname), NAMEDATALEN);
		}
	}
	table_endscan(scan);
	table_close(databases, AccessShareLock);
	CommitTransactionCommand();
	return found;
}

/* Marks the auditors for which backends have asked. */
static void
launcher_read_requests(void)
{
	int			place = 0;
	Oid			oid;

	for (Worker *worker = workers; worker; worker = worker->next)
		worker->asked = false;
	while ((oid = spine_audit_asked(&place)) != InvalidOid)
	{
		char		name[NAMEDATALEN];

		if (OidIsValid(launcher_find_database(NULL, oid, name)))
			launcher_find_worker(&auditor_kind, name)->asked = true;
	}
}

static void
launcher_start(Worker *worker)
{
	BackgroundWorker registration = {0};
	MemoryContext caller;

	worker->oid = launcher_find_database(worker->database, InvalidOid, NULL);
	if (!OidIsValid(worker->oid))
	{
		if (!worker->missing_logged)
			ereport(LOG,
					(errmsg("spine: database \"%s\" of spine.databases does not exist yet",
							worker->database)));
		worker->missing_logged = true;
		worker->asked = false;
		worker->start_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LAUNCHER_LOOK_MS);
		return;
	}
	worker->missing_logged = false;
	worker->on_demand = !worker->listed;

	registration.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	registration.bgw_start_time = BgWorkerStart_RecoveryFinished;
	registration.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(registration.bgw_library_name, MyBgworkerEntry->bgw_library_name, BGW_MAXLEN);
	strlcpy(registration.bgw_function_name, worker->kind->function, BGW_MAXLEN);
	snprintf(registration.bgw_name, BGW_MAXLEN, "spine %s of %s", worker->kind->name, worker->database);
	snprintf(registration.bgw_type, BGW_MAXLEN, "spine %s", worker->kind->name);
	registration.bgw_main_arg = ObjectIdGetDatum(worker->oid);
	registration.bgw_notify_pid = MyProcPid;
	if (worker->on_demand)
		registration.bgw_extra[0] = SPINE_WORKER_ON_DEMAND;

	if (worker->kind == &auditor_kind)
		spine_audit_starting(worker->oid);
	worker->started_at = GetCurrentTimestamp();
	caller = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&registration, &worker->handle))
	{
		worker->handle = NULL;
		if (worker->kind == &auditor_kind)
			spine_audit_not_started(worker->oid);
		worker->start_after = TimestampTzPlusMilliseconds(worker->started_at,
														  worker->asked ? worker->kind->restart_ms : LAUNCHER_LOOK_MS);
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("spine: no free slot for the %s of database \"%s\"", worker->kind->name, worker->database),
				 errhint("Increase max_worker_processes.")));
	}
	MemoryContextSwitchTo(caller);
	worker->asked = false;
}

/* Notes the end of a worker and when it may start again. */
static void
launcher_check(Worker *worker)
{
	pid_t		pid;
	TimestampTz now;
	bool		early;

	if (worker->handle == NULL || GetBackgroundWorkerPid(worker->handle, &pid) != BGWH_STOPPED)
		return;
	pfree(worker->handle);
	worker->handle = NULL;
	if (worker->kind == &auditor_kind)
		spine_audit_not_started(worker->oid);
	now = GetCurrentTimestamp();
	early = !TimestampDifferenceExceeds(worker->started_at, now, worker->kind->early_ms);
	if (!early)
		worker->wait_ms = worker->kind->restart_ms;
	worker->start_after = TimestampTzPlusMilliseconds(now, early || !worker->on_demand ? worker->wait_ms : 0);
	worker->wait_ms = Min(worker->wait_ms * 2, LAUNCHER_RESTART_MAX_MS);
}

/* Another launcher would know nothing of these workers and start its own beside them. */
static void
launcher_goodbye(int code, Datum arg)
{
	for (Worker *worker = workers; worker; worker = worker->next)
		if (worker->handle != NULL)
			TerminateBackgroundWorker(worker->handle);
}

/* Starts and ends what is to be started and ended; ms until the next start. */
static long
launcher_advance(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = LAUNCHER_LOOK_MS;
	Worker	  **link = &workers;

	for (Worker *worker = workers; worker; worker = worker->next)
		launcher_check(worker);
	launcher_read_requests();
	while (*link)
	{
		Worker	   *worker = *link;

		if (!worker->listed && !worker->asked)
		{
			if (worker->handle == NULL)
			{
				*link = worker->next;
				pfree(worker);
				continue;
			}
			if (!worker->on_demand)
				TerminateBackgroundWorker(worker->handle);
		}
		else if (worker->handle == NULL)
		{
			long		left = TimestampDifferenceMilliseconds(now, worker->start_after);

			if (left <= 0)
				launcher_start(worker);
			if (worker->handle == NULL)
			{
				left = TimestampDifferenceMilliseconds(now, worker->start_after);
				timeout = Min(timeout, Max(left, 10));
			}
		}
		link = &worker->next;
	}
	return timeout;
}

void
spine_launcher_main(Datum arg)
{
	spine_worker_start();
	before_shmem_exit(launcher_goodbye, (Datum) 0);
	/* shared catalogs only, to see whether a listed database exists */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	spine_audit_launcher();
	spine_worker_turn();
	launcher_read_setting();

	for (;;)
	{
		bool		reload;

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, launcher_advance(), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		reload = ConfigReloadPending;
		spine_worker_turn();
		if (reload)
			launcher_read_setting();
	}
}
