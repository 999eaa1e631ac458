/*
 * worker.c
 *		The parts of a worker's loop that every worker of spine needs.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "../bgworkers/worker.h"

static MemoryContext turn_context = NULL;
static volatile sig_atomic_t in_transaction = false;

/*
 * At rest a worker leaves quietly; at work its statement has to be interrupted.
 * It leaves with status 1, so that one that was ended by hand comes back.
 */
static void
worker_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	ShutdownRequestPending = true;
	if (in_transaction)
		die(postgres_signal_arg);
	SetLatch(MyLatch);
	errno = save_errno;
}

void
spine_worker_start(void)
{
	pqsignal(SIGTERM, worker_sigterm);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	turn_context = AllocSetContextCreate(TopMemoryContext, "spine worker turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
}

bool
spine_worker_become(const char *role)
{
	bool		known;

	StartTransactionCommand();
	known = OidIsValid(get_role_oid(role, true));
	if (known)
		SetConfigOption("session_authorization", role, PGC_SUSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
	MemoryContextSwitchTo(turn_context);
	return known;
}

void
spine_worker_turn(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ShutdownRequestPending)
		proc_exit(1);
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	MemoryContextSwitchTo(turn_context);
	MemoryContextReset(turn_context);
}

void
spine_worker_begin(const char *activity)
{
	in_transaction = true;
	/* asked just before: from now on die() would, and nothing is begun yet */
	if (ShutdownRequestPending)
		proc_exit(1);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
}

void
spine_worker_commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	in_transaction = false;
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(turn_context);
}

static void
worker_roll_back(void)
{
	FlushErrorState();
	AbortCurrentTransaction();
	in_transaction = false;
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(turn_context);
}

char *
spine_worker_failed(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(turn_context);
	error = CopyErrorData();
	EmitErrorReport();
	worker_roll_back();
	RESUME_INTERRUPTS();
	return psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
					error->message ? error->message : "no message");
}

void
spine_worker_failed_briefly(const char *what, int *sqlstate, char *message, int size)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(turn_context);
	error = CopyErrorData();
	worker_roll_back();
	*sqlstate = error->sqlerrcode;
	/* cut between two characters */
	strlcpy(message, error->message ? error->message : "no message", size);
	message[pg_mbcliplen(message, strlen(message), size - 1)] = '\0';
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("spine: %s: %s", what, message)));
	RESUME_INTERRUPTS();
}
