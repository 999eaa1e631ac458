/*
 * courier.c
 *		Sends this database's deliveries to its neighbours: one process for all of
 *		them, each a state machine over a non-blocking libpq connection, so that a
 *		neighbour that is slow or gone delays nobody else.
 *
 *	  DOWN ──start──> CONNECTING ──> ASKING ──position──> READY ──batch──> SENDING
 *	   ^                                                    ^ <──answer──────┘
 *	   └──── any error or time-out: back-off with jitter ───┘
 *
 * The courier keeps no state of its own. What to send next follows from the
 * neighbour's last answer and the tables alone (spine.link_turn), so that it
 * may be killed at any point.
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "../bgworkers/worker.h"
#include "compat.h"
#include "exchange/doorbell.h"
#include "guc.h"

#define COURIER_ROLE			"spine_owner"
#define COURIER_NO_STORE_MS		5000	/* between two looks for a store */
#define COURIER_BACKOFF_MS		250
#define COURIER_BACKOFF_MAX_MS	30000
#define COURIER_WAKE_MS			5000	/* between two tries because the neighbour calls */
#define COURIER_BATCH_BYTES		(4 * 1024 * 1024)	/* larger ones make the next batches smaller */

typedef enum NeighbourState
{
	NEIGHBOUR_DOWN,				/* until retry_at */
	NEIGHBOUR_CONNECTING,
	NEIGHBOUR_ASKING,			/* where it stands */
	NEIGHBOUR_READY,			/* has answered; the next batch is ours to make */
	NEIGHBOUR_SENDING			/* a batch is out */
} NeighbourState;

typedef struct Neighbour
{
	struct Neighbour *next;
	bool		listed;			/* still in spine.node */
	char		name[NAMEDATALEN];
	char	   *conninfo;
	NeighbourState state;
	PGconn	   *conn;
	PostgresPollingStatusType polling;
	bool		flushing;		/* output is left to send */
	bool		look;			/* in READY: the ledger may have something */
	char	   *arriving;		/* an answer whose end is outstanding */
	char	   *answer;			/* the neighbour's last, as JSON */
	int			most;			/* ledger rows for the next batch */
	bool		answered;		/* the answer is to a batch */
	int			failures;		/* since it last took a batch, or had everything */
	char	   *said;			/* the failure that the log has */
	TimestampTz woken_at;		/* last tried because it called */
	TimestampTz deadline;		/* of the present state; 0: none */
	TimestampTz retry_at;
	TimestampTz connected_at;
} Neighbour;

static Neighbour *neighbours = NULL;
static MemoryContext courier_context = NULL;

/* kept for the session: this database does not change */
static SPIPlanPtr turn_plan = NULL;
static SPIPlanPtr list_plan = NULL;
static SPIPlanPtr failed_plan = NULL;

/* what the courier does beside sending, since it is there anyway */
typedef struct Chore
{
	const char *activity;
	const char *query;
	int			every_ms;
	TimestampTz done_at;
	SPIPlanPtr	plan;
} Chore;

static Chore chores[] = {
	{"making the ledger's partitions",
	"SELECT spine.make_ledger_partitions() WHERE EXISTS (SELECT FROM spine.link)", 60 * 60 * 1000},
	{"making and dropping the tables of submissions",
	"SELECT spine.make_submission_partitions(), spine.drop_old_submissions()", 60 * 60 * 1000},
	{"asking for comparisons that are due",
	"SELECT spine.reconcile_nightly()", 60 * 1000},
	{"keeping the ledger's budget",
	"SELECT spine.keep_ledger_budget()", 10 * 1000},
	{"dropping backlogs",
	"SELECT spine.drop_backlogs()", 1000},
	/* agreements that time alone begins or ends, records written while something changed */
	{"settling audiences",
	"SELECT spine.settle_audiences()", 1000},
	{"verifying the access log",
	"SELECT spine.verify_turn()", 10000},
	{"saying where the access log ends",
	"SELECT spine.say_head()", 1000},
};

static void neighbour_failed(Neighbour *neighbour, const char *error);

static SPIPlanPtr
courier_plan(SPIPlanPtr *kept, const char *query, int nargs, Oid *types)
{
	if (*kept == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(query, nargs, types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		*kept = plan;
	}
	return *kept;
}

static char *
courier_strdup(const char *string)
{
	return MemoryContextStrdup(courier_context, string);
}

static void
courier_free(char **string)
{
	if (*string)
		pfree(*string);
	*string = NULL;
}

/* Is there a store here? */
static bool
courier_has_store(void)
{
	volatile bool found = false;
	bool		isnull;

	PG_TRY();
	{
		spine_worker_begin("looking for a store");
		if (SPI_execute("SELECT pg_catalog.to_regclass('spine.link') IS NOT NULL "
						"AND pg_catalog.to_regprocedure('spine.link_turn(text,jsonb,integer)') IS NOT NULL",
						true, 1) == SPI_OK_SELECT && SPI_processed == 1)
			found = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		spine_worker_commit();
	}
	PG_CATCH();
	{
		(void) spine_worker_failed();
	}
	PG_END_TRY();
	return found;
}

/* Reads who the neighbours are. False when the tables cannot be read. */
static bool
courier_list(void)
{
	volatile bool done = false;

	PG_TRY();
	{
		spine_worker_begin("reading the neighbours");
		if (SPI_execute_plan(courier_plan(&list_plan,
										  "SELECT n.name, n.conninfo, l.retry_at IS NULL FROM spine.node n LEFT JOIN spine.link l ON l.node = n.name "
										  "WHERE NOT n.is_self AND n.state = 'active' AND l.paused IS NOT TRUE AND n.conninfo IS NOT NULL", 0, NULL),
							 NULL, NULL, true, 0) != SPI_OK_SELECT)
			elog(ERROR, "the neighbours could not be read");

		for (Neighbour *neighbour = neighbours; neighbour; neighbour = neighbour->next)
			neighbour->listed = false;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
			char	   *conninfo = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
			char	   *at_once = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3);
			Neighbour  *neighbour;

			for (neighbour = neighbours; neighbour; neighbour = neighbour->next)
				if (strcmp(neighbour->name, name) == 0)
					break;
			if (neighbour == NULL)
			{
				neighbour = MemoryContextAllocZero(courier_context, sizeof(Neighbour));
				strlcpy(neighbour->name, name, NAMEDATALEN);
				neighbour->conninfo = courier_strdup(conninfo);
				neighbour->most = spine_courier_batch;
				neighbour->next = neighbours;
				neighbours = neighbour;
			}
			else if (strcmp(neighbour->conninfo, conninfo) != 0)
			{
				courier_free(&neighbour->conninfo);
				neighbour->conninfo = courier_strdup(conninfo);
				if (neighbour->conn)
					PQfinish(neighbour->conn);
				neighbour->conn = NULL;
				courier_free(&neighbour->arriving);
				neighbour->state = NEIGHBOUR_DOWN;
				neighbour->flushing = false;
				neighbour->deadline = 0;
				neighbour->retry_at = 0;
				neighbour->failures = 0;
			}
			/* connected anew: the back-off ends */
			if (neighbour->state == NEIGHBOUR_DOWN && *at_once == 't')
				neighbour->retry_at = 0;
			neighbour->listed = true;
		}
		spine_worker_commit();
		done = true;
	}
	PG_CATCH();
	{
		(void) spine_worker_failed();
	}
	PG_END_TRY();

	/* those that are no longer neighbours */
	for (Neighbour **link = &neighbours; done && *link;)
	{
		Neighbour  *neighbour = *link;

		if (neighbour->listed)
		{
			link = &neighbour->next;
			continue;
		}
		*link = neighbour->next;
		if (neighbour->conn)
			PQfinish(neighbour->conn);
		courier_free(&neighbour->conninfo);
		courier_free(&neighbour->arriving);
		courier_free(&neighbour->answer);
		courier_free(&neighbour->said);
		pfree(neighbour);
	}
	return done;
}

static void
courier_do_chores(void)
{
	for (int i = 0; i < lengthof(chores); i++)
	{
		Chore	   *chore = &chores[i];
		TimestampTz now = GetCurrentTimestamp();

		if (now < TimestampTzPlusMilliseconds(chore->done_at, chore->every_ms))
			continue;
		chore->done_at = now;
		PG_TRY();
		{
			spine_worker_begin(chore->activity);
			if (SPI_execute_plan(courier_plan(&chore->plan, chore->query, 0, NULL),
								 NULL, NULL, false, 0) != SPI_OK_SELECT)
				elog(ERROR, "%s failed", chore->activity);
			spine_worker_commit();
		}
		PG_CATCH();
		{
			(void) spine_worker_failed();
		}
		PG_END_TRY();
	}
}

/*
 * A piece of the audiences that changed rules have left to be computed anew.
 * Returns whether there may be more: between two pieces others have their turn.
 */
static bool
courier_reaudience(void)
{
	static SPIPlanPtr plan = NULL;
	volatile bool more = false;
	bool		isnull;

	PG_TRY();
	{
		spine_worker_begin("computing audiences anew");
		if (SPI_execute_plan(courier_plan(&plan, "SELECT spine.reaudience_turn() > 0", 0, NULL),
							 NULL, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "computing audiences anew failed");
		more = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		spine_worker_commit();
	}
	PG_CATCH();
	{
		(void) spine_worker_failed();
		more = false;
	}
	PG_END_TRY();
	return more;
}

/* Lets the connection go and waits longer with each failure in a row. */
static void
neighbour_failed(Neighbour *neighbour, const char *error)
{
	double		wait = COURIER_BACKOFF_MS * pow(2, Min(neighbour->failures, 16));

	wait = Min(wait, COURIER_BACKOFF_MAX_MS) * (0.5 + 0.5 * pg_prng_double(&pg_global_prng_state));
	neighbour->failures++;
	/* what takes longer than the other side may work is sent in smaller pieces */
	if (neighbour->state == NEIGHBOUR_SENDING)
		neighbour->most = Max(1, neighbour->most / 8);
	if (neighbour->conn)
		PQfinish(neighbour->conn);
	neighbour->conn = NULL;
	neighbour->state = NEIGHBOUR_DOWN;
	neighbour->flushing = false;
	neighbour->deadline = 0;
	neighbour->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) wait);
	courier_free(&neighbour->arriving);
	courier_free(&neighbour->answer);

	/* the first of a row, and another one: not each try */
	if (neighbour->said == NULL || strcmp(neighbour->said, error) != 0)
	{
		ereport(LOG,
				(errmsg("spine: link to node \"%s\" failed: %s", neighbour->name, error)));
		courier_free(&neighbour->said);
		neighbour->said = courier_strdup(error);
	}

	PG_TRY();
	{
		Oid			types[3] = {TEXTOID, TEXTOID, TIMESTAMPTZOID};
		Datum		values[3];

		spine_worker_begin("noting a failure");
		values[0] = CStringGetTextDatum(neighbour->name);
		values[1] = CStringGetTextDatum(error);
		values[2] = TimestampTzGetDatum(neighbour->retry_at);
		if (SPI_execute_plan(courier_plan(&failed_plan, "SELECT spine.link_failed($1, $2, $3)", 3, types),
							 values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "the failure could not be noted");
		spine_worker_commit();
	}
	PG_CATCH();
	{
		(void) spine_worker_failed();
	}
	PG_END_TRY();
}

/* libpq's message without its line ends */
static char *
neighbour_message(Neighbour *neighbour)
{
	char	   *message = pstrdup(PQerrorMessage(neighbour->conn));

	for (char *c = message; *c; c++)
		if (*c == '\n')
			*c = ' ';
	return message;
}

static void
neighbour_expect(Neighbour *neighbour, NeighbourState state)
{
	neighbour->state = state;
	neighbour->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), spine_courier_timeout);
}

/* libpq would write them to the server's log, as they come */
static void
neighbour_notice(void *arg, const PGresult *result)
{
}

static void
neighbour_connect(Neighbour *neighbour)
{
	/* before the string: what it may change; after it: what it may not */
	const char *keywords[] = {"keepalives_idle", "keepalives_interval", "keepalives_count",
	"ssl_min_protocol_version", "dbname", "client_encoding", "fallback_application_name", NULL};
	const char *values[] = {"10", "5", "3",
	"TLSv1.3", neighbour->conninfo, "UTF8", "spine courier", NULL};

	neighbour->conn = PQconnectStartParams(keywords, values, 1);
	if (neighbour->conn == NULL)
	{
		neighbour_failed(neighbour, "out of memory");
		return;
	}
	(void) PQsetNoticeReceiver(neighbour->conn, neighbour_notice, NULL);
	if (PQstatus(neighbour->conn) == CONNECTION_BAD)
	{
		neighbour_failed(neighbour, neighbour_message(neighbour));
		return;
	}
	neighbour->polling = PGRES_POLLING_WRITING;
	neighbour_expect(neighbour, NEIGHBOUR_CONNECTING);
}

static void
neighbour_send(Neighbour *neighbour, const char *query, const char *parameter, NeighbourState state)
{
	int			left;

	if (!PQsendQueryParams(neighbour->conn, query, parameter ? 1 : 0, NULL, &parameter, NULL, NULL, 0) ||
		(left = PQflush(neighbour->conn)) < 0)
	{
		neighbour_failed(neighbour, neighbour_message(neighbour));
		return;
	}
	neighbour->flushing = left > 0;
	neighbour_expect(neighbour, state);
}

static void
neighbour_ask(Neighbour *neighbour)
{
	char		query[128];

	/* the other side gives up no later than we do */
	snprintf(query, sizeof(query),
			 "SELECT spine.receive_position() FROM pg_catalog.set_config('statement_timeout', '%d', false)",
			 spine_courier_timeout);
	neighbour_send(neighbour, query, NULL, NEIGHBOUR_ASKING);
}

/*
 * Makes the next batch and sends it. The transaction is committed, and durable,
 * before the first byte leaves.
 */
static void
neighbour_turn(Neighbour *neighbour)
{
	Oid			types[3] = {TEXTOID, JSONBOID, INT4OID};
	char	   *volatile batch = NULL;
	char	   *volatile error = NULL;
	MemoryContext turn = CurrentMemoryContext;

	neighbour->look = false;
	neighbour->most = Max(1, Min(neighbour->most, spine_courier_batch));
	PG_TRY();
	{
		Datum		values[3];

		spine_worker_begin("making a batch");
		values[0] = CStringGetTextDatum(neighbour->name);
		values[1] = DirectFunctionCall1(jsonb_in, CStringGetDatum(neighbour->answer));
		values[2] = Int32GetDatum(neighbour->most);
		if (SPI_execute_plan(courier_plan(&turn_plan, "SELECT spine.link_turn($1, $2, $3)::text", 3, types),
							 values, NULL, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
			elog(ERROR, "the batch could not be made");
		batch = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		if (batch)
			batch = MemoryContextStrdup(turn, batch);
		spine_worker_commit();
	}
	PG_CATCH();
	{
		batch = NULL;
		error = spine_worker_failed();
	}
	PG_END_TRY();

	if (error)
	{
		/* rows too large to put together may fit with fewer */
		neighbour->most = Max(1, neighbour->most / 8);
		neighbour_failed(neighbour, error);
		return;
	}
	/* it took a batch, or needs none: a connection alone proves nothing */
	if (neighbour->answered || batch == NULL)
	{
		if (neighbour->said)
			ereport(LOG,
					(errmsg("spine: link to node \"%s\" works again, failed tries: %d",
							neighbour->name, neighbour->failures)));
		courier_free(&neighbour->said);
		neighbour->failures = 0;
	}
	if (batch == NULL)
	{
		neighbour->most = spine_courier_batch;
		return;
	}

	if (strlen(batch) > COURIER_BATCH_BYTES)
		neighbour->most = Max(1, neighbour->most / 2);
	else if (strlen(batch) < COURIER_BATCH_BYTES / 4 && neighbour->most < spine_courier_batch)
		neighbour->most = neighbour->most * 2;
	neighbour_send(neighbour, "SELECT spine.receive($1::pg_catalog.jsonb)", batch, NEIGHBOUR_SENDING);
}

/*
 * Takes what has come; the answer, when it is whole, makes the neighbour ready.
 * PQgetResult() is called only when it cannot wait: a neighbour that never
 * ends its answer runs into the deadline and holds up nobody else.
 */
static void
neighbour_read(Neighbour *neighbour)
{
	PGnotify   *notify;
	PGresult   *result = NULL;

	if (!PQconsumeInput(neighbour->conn))
	{
		neighbour_failed(neighbour, neighbour_message(neighbour));
		return;
	}
	/* nobody listens, but what comes unasked would pile up */
	while ((notify = PQnotifies(neighbour->conn)) != NULL)
		PQfreemem(notify);
	if (neighbour->state == NEIGHBOUR_READY)
	{
		/* nothing is asked: an end of the connection, or a parameter's change */
		if (PQstatus(neighbour->conn) == CONNECTION_BAD)
			neighbour_failed(neighbour, neighbour_message(neighbour));
		return;
	}

	for (;;)
	{
		if (PQisBusy(neighbour->conn))
			return;
		result = PQgetResult(neighbour->conn);
		if (result == NULL)
			break;
		if (neighbour->arriving == NULL && PQresultStatus(result) == PGRES_TUPLES_OK &&
			PQntuples(result) == 1 && !PQgetisnull(result, 0, 0))
			neighbour->arriving = courier_strdup(PQgetvalue(result, 0, 0));
		else
		{
			const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
			const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
			char	   *error = psprintf("neighbour: %s: %s", state ? state : "?????",
										 message ? message : "no answer");

			/* whatever would follow goes with the connection */
			PQclear(result);
			neighbour_failed(neighbour, error);
			return;
		}
		PQclear(result);
	}
	if (neighbour->arriving == NULL)
	{
		neighbour_failed(neighbour, PQstatus(neighbour->conn) == CONNECTION_BAD ?
						 neighbour_message(neighbour) : "neighbour: no answer");
		return;
	}

	courier_free(&neighbour->answer);
	neighbour->answer = neighbour->arriving;
	neighbour->arriving = NULL;
	neighbour->answered = neighbour->state == NEIGHBOUR_SENDING;
	neighbour->state = NEIGHBOUR_READY;
	neighbour->deadline = 0;
	neighbour->look = true;
}

/* One step after the socket became ready. */
static void
neighbour_step(Neighbour *neighbour, uint32 events)
{
	if (neighbour->state == NEIGHBOUR_CONNECTING)
	{
		neighbour->polling = PQconnectPoll(neighbour->conn);
		if (neighbour->polling == PGRES_POLLING_FAILED)
			neighbour_failed(neighbour, neighbour_message(neighbour));
		else if (neighbour->polling == PGRES_POLLING_OK)
		{
			const char *superuser = PQparameterStatus(neighbour->conn, "is_superuser");

			/*
			 * An operator could name this very cluster, which takes the courier for its
			 * administrator, and a database whose spine.receive() he has written.
			 */
			if (superuser != NULL && strcmp(superuser, "on") == 0)
				neighbour_failed(neighbour, "this node would be a superuser there: it calls as a role of its own");
			else if (PQsetnonblocking(neighbour->conn, 1) != 0)
				neighbour_failed(neighbour, neighbour_message(neighbour));
			else
			{
				neighbour->connected_at = GetCurrentTimestamp();
				neighbour_ask(neighbour);
			}
		}
		return;
	}

	if ((events & WL_SOCKET_WRITEABLE) && neighbour->flushing)
	{
		int			left = PQflush(neighbour->conn);

		if (left < 0)
		{
			neighbour_failed(neighbour, neighbour_message(neighbour));
			return;
		}
		neighbour->flushing = left > 0;
	}
	if (events & WL_SOCKET_READABLE)
		neighbour_read(neighbour);
}

/* The events that a neighbour waits for; 0 when it has no socket. */
static uint32
neighbour_events(Neighbour *neighbour)
{
	switch (neighbour->state)
	{
		case NEIGHBOUR_DOWN:
			return 0;
		case NEIGHBOUR_CONNECTING:
			return neighbour->polling == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
		default:
			return WL_SOCKET_READABLE | (neighbour->flushing ? WL_SOCKET_WRITEABLE : 0);
	}
}

/* Time-outs, retries, and batches that can be made now. Returns ms until the next is due. */
static long
courier_advance(void)
{
	long		timeout = spine_courier_interval;

	for (Neighbour *neighbour = neighbours; neighbour; neighbour = neighbour->next)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (neighbour->state == NEIGHBOUR_DOWN)
		{
			if (now >= neighbour->retry_at)
				neighbour_connect(neighbour);
		}
		else if (neighbour->deadline != 0 && now >= neighbour->deadline)
			neighbour_failed(neighbour, neighbour->state == NEIGHBOUR_CONNECTING ? "time-out of the connection" : "time-out of the answer");
		else if (neighbour->state == NEIGHBOUR_READY && neighbour->look)
		{
			/* the neighbour looks at certificates when it lets somebody in */
			if (TimestampDifferenceExceeds(neighbour->connected_at, now, spine_courier_reconnect))
			{
				PQfinish(neighbour->conn);
				neighbour_connect(neighbour);
			}
			else
				neighbour_turn(neighbour);
		}

		if (neighbour->state == NEIGHBOUR_DOWN)
			timeout = Min(timeout, TimestampDifferenceMilliseconds(now, neighbour->retry_at));
		else if (neighbour->deadline != 0)
			timeout = Min(timeout, TimestampDifferenceMilliseconds(now, neighbour->deadline));
		spine_worker_turn();
	}
	return Max(timeout, 0);
}

/*
 * Who was rung for, and who has called. True when who the neighbours are may
 * have changed.
 */
static bool
courier_hear(void)
{
	uint64		callers;
	uint64		bells = spine_doorbell_heard(&callers);
	TimestampTz now = GetCurrentTimestamp();

	for (Neighbour *neighbour = neighbours; neighbour; neighbour = neighbour->next)
	{
		uint64		bit = spine_doorbell_bit(neighbour->name);

		if (bells & bit)
			neighbour->look = true;
		/* it is there: no need to wait; should it call without end, no need to try each time */
		if ((callers & bit) && neighbour->state == NEIGHBOUR_DOWN &&
			now >= TimestampTzPlusMilliseconds(neighbour->woken_at, COURIER_WAKE_MS))
		{
			neighbour->retry_at = 0;
			neighbour->woken_at = now;
		}
	}
	return (bells & SPINE_DOORBELL_LIST) != 0;
}

/* Waits for a ring, for sockets and for time; serves the sockets. True when the latch was set. */
static bool
courier_wait(long timeout)
{
	WaitEventSet *set;
	WaitEvent  *occurred;
	int			n = 2;
	int			ready;
	bool		rung = false;
	uint64		down = 0;

	for (Neighbour *neighbour = neighbours; neighbour; neighbour = neighbour->next)
	{
		n++;
		if (neighbour->state == NEIGHBOUR_DOWN)
			down |= spine_doorbell_bit(neighbour->name);
	}
	spine_doorbell_await(down);
	/* sockets change with each attempt to connect, so the set is made anew */
	set = spine_wait_event_set(n);
	occurred = palloc(sizeof(WaitEvent) * n);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (Neighbour *neighbour = neighbours; neighbour; neighbour = neighbour->next)
	{
		uint32		events = neighbour_events(neighbour);
		int			socket = neighbour->conn ? PQsocket(neighbour->conn) : -1;

		if (events != 0 && socket >= 0)
			AddWaitEventToSet(set, events, socket, NULL, neighbour);
	}

	ready = WaitEventSetWait(set, timeout, occurred, n, PG_WAIT_EXTENSION);
	for (int i = 0; i < ready; i++)
	{
		if (occurred[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			rung = true;
		}
	}
	FreeWaitEventSet(set);
	for (int i = 0; i < ready; i++)
		if (occurred[i].user_data)
			neighbour_step(occurred[i].user_data, occurred[i].events);
	return rung;
}

/* A clean good-bye, so that the neighbours do not log a lost connection. */
static void
courier_goodbye(int code, Datum arg)
{
	for (Neighbour *neighbour = neighbours; neighbour; neighbour = neighbour->next)
	{
		if (neighbour->conn)
			PQfinish(neighbour->conn);
		neighbour->conn = NULL;
	}
}

static void
courier_sleep(long timeout)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	spine_worker_turn();
}

void
spine_courier_main(Datum database)
{
	TimestampTz listed_at = 0;
	TimestampTz rest_until = 0;
	bool		more = false;
	bool		list = true;

	spine_worker_start();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	courier_context = AllocSetContextCreate(TopMemoryContext, "spine courier", ALLOCSET_DEFAULT_SIZES);
	spine_worker_turn();
	spine_doorbell_attach();
	before_shmem_exit(courier_goodbye, (Datum) 0);

	while (!spine_worker_become(COURIER_ROLE) || !courier_has_store())
		courier_sleep(COURIER_NO_STORE_MS);

	for (;;)
	{
		TimestampTz now;
		bool		look;
		long		wait;

		spine_worker_turn();
		now = GetCurrentTimestamp();
		look = now >= TimestampTzPlusMilliseconds(listed_at, spine_courier_interval);
		if (look || list)
		{
			if (!courier_list())
			{
				courier_sleep(COURIER_NO_STORE_MS);
				continue;
			}
			list = false;
		}
		if (look)
		{
			listed_at = now;
			for (Neighbour *neighbour = neighbours; neighbour; neighbour = neighbour->next)
				neighbour->look = true;
		}

		/* what is to be sent goes before the chores: it may be a revocation */
		wait = courier_advance();
		if (look)
		{
			courier_do_chores();
			wait = courier_advance();
		}
		now = GetCurrentTimestamp();
		if ((look || more) && now >= rest_until)
		{
			TimestampTz began = now;

			more = courier_reaudience();
			now = GetCurrentTimestamp();
			/* it rests as long as it has worked: others write meanwhile */
			rest_until = now + (now - began);
			wait = courier_advance();
		}
		if (more)
			wait = Min(wait, Max(TimestampDifferenceMilliseconds(now, rest_until), 1));
		if (courier_wait(wait))
			list |= courier_hear();
	}
}
