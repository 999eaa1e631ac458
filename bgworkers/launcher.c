/*
 * launcher.c
 *		Starts one courier for each database in spine.databases and keeps it
 *		running. It alone restarts couriers: after a crash of the server the
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
#include "guc.h"

#define LAUNCHER_LOOK_MS		10000	/* a listed database may have been created */
#define LAUNCHER_RESTART_MS		1000	/* first wait before a restart, doubled with each early
										 * end */
#define LAUNCHER_RESTART_MAX_MS	60000

typedef struct Courier
{
	struct Courier *next;
	char		database[NAMEDATALEN];
	bool		wanted;
	bool		missing_logged;
	BackgroundWorkerHandle *handle; /* NULL when none runs */
	TimestampTz started_at;
	TimestampTz start_after;
	int			wait_ms;
} Courier;

static Courier *couriers = NULL;

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

/* Reads spine.databases into the list; those no longer in it are marked unwanted. */
static void
launcher_read_setting(void)
{
	char	   *setting = pstrdup(spine_databases ? spine_databases : "");
	List	   *names;
	ListCell   *cell;

	for (Courier *courier = couriers; courier; courier = courier->next)
		courier->wanted = false;

	if (!SplitIdentifierString(setting, ',', &names))
	{
		ereport(LOG,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("spine.databases is not a list of names"),
				 errhint("Separate names by commas; put names with capitals in double quotes.")));
		/* better the couriers that run than none */
		for (Courier *courier = couriers; courier; courier = courier->next)
			courier->wanted = true;
		return;
	}

	foreach(cell, names)
	{
		const char *name = lfirst(cell);
		Courier    *courier;

		for (courier = couriers; courier; courier = courier->next)
			if (strcmp(courier->database, name) == 0)
				break;
		if (courier == NULL)
		{
			courier = MemoryContextAllocZero(TopMemoryContext, sizeof(Courier));
			strlcpy(courier->database, name, NAMEDATALEN);
			courier->wait_ms = LAUNCHER_RESTART_MS;
			courier->next = couriers;
			couriers = courier;
		}
		courier->wanted = true;
	}
}

/*
 * InvalidOid when there is none. By a scan, as the autovacuum launcher does: without a
 * database the index may not be open to us.
 */
static Oid
launcher_find_database(const char *name)
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

		if (database->datallowconn && strcmp(NameStr(database->datname), name) == 0)
			found = database->oid;
	}
	table_endscan(scan);
	table_close(databases, AccessShareLock);
	CommitTransactionCommand();
	return found;
}

static void
launcher_start_courier(Courier *courier)
{
	BackgroundWorker worker = {0};
	MemoryContext caller;
	Oid			database;

	database = launcher_find_database(courier->database);
	if (!OidIsValid(database))
	{
		if (!courier->missing_logged)
			ereport(LOG,
					(errmsg("spine: database \"%s\" of spine.databases does not exist yet",
							courier->database)));
		courier->missing_logged = true;
		courier->start_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LAUNCHER_LOOK_MS);
		return;
	}
	courier->missing_logged = false;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, MyBgworkerEntry->bgw_library_name, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "spine_courier_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "spine courier of %s", courier->database);
	strlcpy(worker.bgw_type, "spine courier", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;

	courier->started_at = GetCurrentTimestamp();
	caller = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&worker, &courier->handle))
	{
		courier->handle = NULL;
		courier->start_after = TimestampTzPlusMilliseconds(courier->started_at, LAUNCHER_LOOK_MS);
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("spine: no free slot for the courier of database \"%s\"", courier->database),
				 errhint("Increase max_worker_processes.")));
	}
	MemoryContextSwitchTo(caller);
}

/* Notes the end of a courier and when it may start again. */
static void
launcher_check_courier(Courier *courier)
{
	pid_t		pid;
	TimestampTz now;

	if (courier->handle == NULL || GetBackgroundWorkerPid(courier->handle, &pid) != BGWH_STOPPED)
		return;
	pfree(courier->handle);
	courier->handle = NULL;
	now = GetCurrentTimestamp();
	if (TimestampDifferenceExceeds(courier->started_at, now, LAUNCHER_RESTART_MAX_MS))
		courier->wait_ms = LAUNCHER_RESTART_MS;
	courier->start_after = TimestampTzPlusMilliseconds(now, courier->wait_ms);
	courier->wait_ms = Min(courier->wait_ms * 2, LAUNCHER_RESTART_MAX_MS);
}

/* Another launcher would know nothing of these couriers and start its own beside them. */
static void
launcher_goodbye(int code, Datum arg)
{
	for (Courier *courier = couriers; courier; courier = courier->next)
		if (courier->handle != NULL)
			TerminateBackgroundWorker(courier->handle);
}

void
spine_launcher_main(Datum arg)
{
	spine_worker_start();
	before_shmem_exit(launcher_goodbye, (Datum) 0);
	/* shared catalogs only, to see whether a listed database exists */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	spine_worker_turn();
	launcher_read_setting();

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		timeout = LAUNCHER_LOOK_MS;
		Courier   **link = &couriers;

		while (*link)
		{
			Courier    *courier = *link;

			launcher_check_courier(courier);
			if (!courier->wanted)
			{
				if (courier->handle == NULL)
				{
					*link = courier->next;
					pfree(courier);
					continue;
				}
				TerminateBackgroundWorker(courier->handle);
			}
			else if (courier->handle == NULL)
			{
				long		left = TimestampDifferenceMilliseconds(now, courier->start_after);

				if (left <= 0)
					launcher_start_courier(courier);
				if (courier->handle == NULL)
				{
					left = TimestampDifferenceMilliseconds(now, courier->start_after);
					timeout = Min(timeout, Max(left, 10));
				}
			}
			link = &courier->next;
		}

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (ConfigReloadPending)
		{
			spine_worker_turn();
			launcher_read_setting();
		}
		else
			spine_worker_turn();
	}
}
