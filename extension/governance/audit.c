/*
 * audit.c
 *		The way of an entry of the access log to the auditor and back.
 *
 * A backend takes a slot of shared memory, fills it, wakes the auditor of its
 * database and waits for the outcome. The auditor commits what is ready in one
 * transaction of its own, so an entry stands whatever becomes of the reader's:
 *
 *	  FREE ──take──> FILLING ──> READY ──auditor──> TAKEN ──> DONE ──waiter──> FREE
 *
 * A backend that gives up leaves its slot to the auditor, which writes the entry
 * all the same and frees the slot. An auditor that ends leaves what it has taken
 * READY for the next. So no slot is lost, whoever dies.
 *
 * All states change under one lock, held for a few instructions; what is in a
 * FILLING slot belongs to its backend, in a TAKEN one to the auditor.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "errors.h"
#include "governance/audit.h"
#include "governance/export.h"
#include "governance/items.h"
#include "guc.h"

#define AUDIT_TRANCHE		"spine_audit"
#define AUDIT_DATABASES		128
#define AUDIT_NOBODY		UINT32_MAX
#define AUDIT_LOOK_MS		1000	/* between two looks whether anybody serves */
#define AUDIT_BASIS_LEFT	64	/* bytes kept for the mark of a basis that is cut */

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_FILLING,
	SLOT_READY,
	SLOT_TAKEN,
	SLOT_DONE
} SlotState;

typedef enum AuditorState
{
	AUDITOR_NONE,				/* and nobody has asked for one */
	AUDITOR_ASKED,				/* of the launcher */
	AUDITOR_STARTING,
	AUDITOR_SERVES
} AuditorState;

/* a database that has an auditor, or entries on their way */
typedef struct AuditDatabase
{
	Oid			database;		/* InvalidOid: free */
	AuditorState state;
	uint32		procno;			/* of the auditor that serves */
	int			used;			/* slots */
} AuditDatabase;

typedef struct AuditSlot
{
	SlotState	state;
	int			database;		/* index */
	uint32		procno;			/* of who waits; AUDIT_NOBODY: nobody does */
	uint64		turn;			/* order in which slots became ready */
} AuditSlot;

typedef struct AuditBody
{
	SpineAuditOutcome outcome;
	SpineAuditEntry entry;
} AuditBody;

typedef struct AuditShared
{
	LWLock	   *lock;			/* over all that follows, but for the bodies */
	ConditionVariable freed;
	uint32		launcher;		/* procno */
	uint64		turns;
	AuditDatabase databases[AUDIT_DATABASES];
	int			nslots;
	AuditSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} AuditShared;

static AuditShared *audit = NULL;
static AuditBody *bodies = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

PG_FUNCTION_INFO_V1(spine_audit_access);
PG_FUNCTION_INFO_V1(spine_stated_user);
PG_FUNCTION_INFO_V1(spine_audit_queue);


/* ---------------------------------------------------------------- shared memory */

static Size
audit_control_size(void)
{
	return MAXALIGN(add_size(offsetof(AuditShared, slots),
							 mul_size(spine_audit_slots, sizeof(AuditSlot))));
}

static void
audit_shmem_request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(add_size(audit_control_size(),
									MAXALIGN(mul_size(spine_audit_slots, sizeof(AuditBody)))));
	RequestNamedLWLockTranche(AUDIT_TRANCHE, 1);
}

static void
audit_shmem_startup(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	audit = ShmemInitStruct("spine audit", audit_control_size(), &found);
	if (!found)
	{
		memset(audit, 0, audit_control_size());
		audit->lock = &(GetNamedLWLockTranche(AUDIT_TRANCHE))->lock;
		ConditionVariableInit(&audit->freed);
		audit->launcher = AUDIT_NOBODY;
		audit->nslots = spine_audit_slots;
	}
	bodies = ShmemInitStruct("spine audit entries", mul_size(spine_audit_slots, sizeof(AuditBody)), &found);
	LWLockRelease(AddinShmemInitLock);
}

void
spine_audit_request(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = audit_shmem_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = audit_shmem_startup;
}

static void
audit_wake(uint32 procno)
{
	/* the latches live as long as shared memory: a stale number wakes somebody for nothing */
	if (procno < ProcGlobal->allProcCount)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}


/* ---------------------------------------------------------------- under the lock */

/* Index of a database's place, made where it has none; -1 when there is no room. */
static int
audit_find_database(Oid database, bool make)
{
	int			free_place = -1;

	for (int i = 0; i < AUDIT_DATABASES; i++)
	{
		if (audit->databases[i].database == database)
			return i;
		if (audit->databases[i].database == InvalidOid && free_place < 0)
			free_place = i;
	}
	if (!make || free_place < 0)
		return -1;
	audit->databases[free_place].database = database;
	audit->databases[free_place].state = AUDITOR_NONE;
	audit->databases[free_place].procno = AUDIT_NOBODY;
	audit->databases[free_place].used = 0;
	return free_place;
}

static void
audit_forget_database(AuditDatabase *place)
{
	if (place->state == AUDITOR_NONE && place->used == 0)
		place->database = InvalidOid;
}

/* Who is to be woken so that the database is served: its auditor, or the launcher. */
static uint32
audit_call(AuditDatabase *place)
{
	switch (place->state)
	{
		case AUDITOR_SERVES:
			return place->procno;
		case AUDITOR_NONE:
			place->state = AUDITOR_ASKED;
			return audit->launcher;
		case AUDITOR_ASKED:
			/* the launcher may be another one by now */
			return audit->launcher;
		case AUDITOR_STARTING:
			break;
	}
	return AUDIT_NOBODY;
}

static void
audit_free_slot(AuditSlot *slot)
{
	AuditDatabase *place = &audit->databases[slot->database];

	slot->state = SLOT_FREE;
	slot->procno = AUDIT_NOBODY;
	place->used--;
	audit_forget_database(place);
}


/* ---------------------------------------------------------------- the entry */

void
spine_audit_begin(SpineAuditEntry *entry, SpineAuditKind kind, const char *role_name)
{
	memset(entry, 0, offsetof(SpineAuditEntry, body));
	entry->kind = kind;
	namestrcpy(&entry->role_name, role_name);
	entry->record_count = -1;
	for (int i = 0; i < SPINE_AUDIT_FIELDS; i++)
		entry->fields[i] = -1;
}

bool
spine_audit_put(SpineAuditEntry *entry, SpineAuditField field, const void *value)
{
	int			at = MAXALIGN(entry->length);
	Size		size = VARSIZE(value);

	if (size > SPINE_AUDIT_BODY - at)
		return false;
	memcpy(entry->body.data + at, value, size);
	entry->fields[field] = at;
	entry->length = at + size;
	return true;
}

bool
spine_audit_put_string(SpineAuditEntry *entry, SpineAuditField field, const char *value)
{
	text	   *copy;
	bool		fits;

	if (value == NULL)
		return true;
	copy = cstring_to_text(value);
	fits = spine_audit_put(entry, field, copy);
	pfree(copy);
	return fits;
}

bool
spine_audit_put_strings(SpineAuditEntry *entry, SpineAuditField field, char **values, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));
	ArrayType  *array;
	bool		fits;

	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(values[i]);
	array = construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT);
	fits = spine_audit_put(entry, field, array);
	pfree(array);
	pfree(elements);
	return fits;
}

const char *
spine_audit_stated_user(void)
{
	return spine_user != NULL && spine_user[0] != '\0' ? spine_user : NULL;
}


/* ---------------------------------------------------------------- backends */

/*
 * A slot in state FILLING, or -1 when there is none at this moment. One database
 * whose auditor is stuck shall not use up those of the others.
 */
static int
audit_take_slot(void)
{
	static int	hint = 0;
	int			taken = -1;
	int			index;
	AuditDatabase *place;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	index = audit_find_database(MyDatabaseId, true);
	place = index < 0 ? NULL : &audit->databases[index];
	if (place != NULL && place->used < audit->nslots - audit->nslots / 4)
	{
		for (int i = 0; i < audit->nslots && taken < 0; i++)
		{
			int			at = (hint + i) % audit->nslots;

			if (audit->slots[at].state == SLOT_FREE)
				taken = at;
		}
		if (taken >= 0)
		{
			audit->slots[taken].state = SLOT_FILLING;
			audit->slots[taken].database = index;
			audit->slots[taken].procno = AUDIT_NOBODY;
			place->used++;
			hint = taken;
		}
	}
	if (place != NULL)
		audit_forget_database(place);
	LWLockRelease(audit->lock);
	return taken;
}

/* Fills a slot that was taken; nothing in between can fail. */
static void
audit_submit(int slot, const SpineAuditEntry *entry, uint32 waiter)
{
	uint32		wake;

	memcpy(&bodies[slot].entry, entry, offsetof(SpineAuditEntry, body) + entry->length);
	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	audit->slots[slot].procno = waiter;
	audit->slots[slot].turn = audit->turns++;
	audit->slots[slot].state = SLOT_READY;
	wake = audit_call(&audit->databases[audit->slots[slot].database]);
	LWLockRelease(audit->lock);
	audit_wake(wake);
}

/*
 * The waiter goes away. The auditor writes the entry if it can; withdraw: only if it
 * is at it already, since nothing has come of it.
 */
static void
audit_give_up(int number, bool withdraw)
{
	AuditSlot  *slot = &audit->slots[number];
	bool		freed = false;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	if (slot->state == SLOT_DONE || (withdraw && slot->state == SLOT_READY))
	{
		audit_free_slot(slot);
		freed = true;
	}
	else
		slot->procno = AUDIT_NOBODY;
	LWLockRelease(audit->lock);
	if (freed)
		ConditionVariableBroadcast(&audit->freed);
}

/* the backend is cancelled or ends while it waits */
static void
audit_interrupted(int code, Datum slot)
{
	audit_give_up(DatumGetInt32(slot), false);
}

static void
audit_fail(const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_SPINE_NOT_AUDITED),
			 errmsg("the access log cannot be written"),
			 errdetail("%s", detail),
			 hint ? errhint("%s", hint) : 0));
}

static long
audit_left(TimestampTz deadline)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
}

/* Waits until the entry is committed or is not going to be. True when there is an outcome. */
static bool
audit_wait(int number, TimestampTz deadline, SpineAuditOutcome *outcome, bool *served)
{
	AuditSlot  *slot = &audit->slots[number];

	for (;;)
	{
		bool		done;
		uint32		wake = AUDIT_NOBODY;
		long		left;

		LWLockAcquire(audit->lock, LW_EXCLUSIVE);
		done = slot->state == SLOT_DONE;
		if (done)
		{
			*outcome = bodies[number].outcome;
			audit_free_slot(slot);
		}
		else
		{
			AuditDatabase *place = &audit->databases[slot->database];

			*served = place->state == AUDITOR_SERVES;
			/* the one that was called may be gone */
			if (slot->state == SLOT_READY && !*served)
				wake = audit_call(place);
		}
		LWLockRelease(audit->lock);
		if (done)
		{
			ConditionVariableBroadcast(&audit->freed);
			return true;
		}
		audit_wake(wake);

		left = audit_left(deadline);
		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(left, AUDIT_LOOK_MS), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
audit_require_shared(void)
{
	if (audit == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("the spine library is not preloaded"),
				 errhint("Add spine to shared_preload_libraries and restart the server.")));
	if (RecoveryInProgress())
		audit_fail("This server is a standby: it is read-only, its access log too.",
				   "Open records on the primary server.");
}

int64
spine_audit_write(const SpineAuditEntry *entry, bool done_already)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), spine_audit_timeout);
	SpineAuditOutcome outcome;
	bool		answered;
	bool		served = false;
	int			slot;

	audit_require_shared();

	slot = audit_take_slot();
	if (slot < 0)
	{
		ConditionVariablePrepareToSleep(&audit->freed);
		while ((slot = audit_take_slot()) < 0)
		{
			long		left = audit_left(deadline);

			if (left <= 0)
			{
				ConditionVariableCancelSleep();
				audit_fail("Too many entries are waiting to be written.",
						   "See spine.audit_slots, and whether the auditor of this database runs.");
			}
			(void) ConditionVariableTimedSleep(&audit->freed, left, PG_WAIT_EXTENSION);
		}
		ConditionVariableCancelSleep();
	}

	audit_submit(slot, entry, spine_proc_number());
	PG_ENSURE_ERROR_CLEANUP(audit_interrupted, Int32GetDatum(slot));
	{
		answered = audit_wait(slot, deadline, &outcome, &served);
	}
	PG_END_ENSURE_ERROR_CLEANUP(audit_interrupted, Int32GetDatum(slot));

	if (!answered)
	{
		audit_give_up(slot, !done_already);
		if (served)
			audit_fail(psprintf("The auditor of this database did not answer within %d ms.", spine_audit_timeout),
					   "See the server's log, and pg_stat_activity for what it waits for.");
		audit_fail(psprintf("No auditor of this database could be started within %d ms.", spine_audit_timeout),
				   "See the server's log; max_worker_processes may be too low.");
	}
	if (outcome.access_id == 0)
		audit_fail(psprintf("%s: %s", unpack_sql_state(outcome.sqlstate), outcome.message), NULL);
	return outcome.access_id;
}

bool
spine_audit_leave_entry(const SpineAuditEntry *entry)
{
	int			slot;

	if (audit == NULL || RecoveryInProgress())
		return false;
	slot = audit_take_slot();
	if (slot < 0)
		return false;
	audit_submit(slot, entry, AUDIT_NOBODY);
	return true;
}


/* ---------------------------------------------------------------- the auditor */

static void
audit_detach(int code, Datum arg)
{
	AuditDatabase *place = NULL;
	bool		left = false;
	uint32		wake = AUDIT_NOBODY;
	int			index;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	index = audit_find_database(MyDatabaseId, false);
	if (index >= 0 && audit->databases[index].state == AUDITOR_SERVES &&
		audit->databases[index].procno == spine_proc_number())
	{
		place = &audit->databases[index];
		place->state = AUDITOR_NONE;
		place->procno = AUDIT_NOBODY;
		for (int i = 0; i < audit->nslots; i++)
		{
			AuditSlot  *slot = &audit->slots[i];

			if (slot->database != index)
				continue;
			/* not committed, or there were an outcome */
			if (slot->state == SLOT_TAKEN)
				slot->state = SLOT_READY;
			left |= slot->state == SLOT_READY;
		}
		if (left)
			wake = audit_call(place);
		audit_forget_database(place);
	}
	LWLockRelease(audit->lock);
	audit_wake(wake);
}

void
spine_audit_attach(void)
{
	int			index;
	bool		other = false;

	if (audit == NULL)
		elog(ERROR, "the spine library is not preloaded");
	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	index = audit_find_database(MyDatabaseId, true);
	if (index >= 0)
	{
		other = audit->databases[index].state == AUDITOR_SERVES;
		if (!other)
		{
			audit->databases[index].state = AUDITOR_SERVES;
			audit->databases[index].procno = spine_proc_number();
		}
	}
	LWLockRelease(audit->lock);

	/* two would make two chains */
	if (other)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another auditor serves this database")));
	if (index < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("more than %d databases have an auditor", AUDIT_DATABASES)));
	before_shmem_exit(audit_detach, (Datum) 0);
}

int
spine_audit_most(void)
{
	return audit->nslots;
}

/* spine.audit_queue(): entries of this database on their way, of how many that may be */
Datum
spine_audit_queue(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2] = {Int32GetDatum(0), Int32GetDatum(0)};
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (audit != NULL)
	{
		int			index;

		LWLockAcquire(audit->lock, LW_SHARED);
		index = audit_find_database(MyDatabaseId, false);
		if (index >= 0)
			values[0] = Int32GetDatum(audit->databases[index].used);
		values[1] = Int32GetDatum(audit->nslots);
		LWLockRelease(audit->lock);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* How many entries of this database are ready. */
int
spine_audit_ready(void)
{
	int			n = 0;
	int			index;

	LWLockAcquire(audit->lock, LW_SHARED);
	index = audit_find_database(MyDatabaseId, false);
	for (int i = 0; i < audit->nslots; i++)
		if (audit->slots[i].state == SLOT_READY && audit->slots[i].database == index)
			n++;
	LWLockRelease(audit->lock);
	return n;
}

static int
compare_turns(const void *a, const void *b)
{
	uint64		one = audit->slots[*(const int *) a].turn;
	uint64		other = audit->slots[*(const int *) b].turn;

	return one < other ? -1 : one > other;
}

int
spine_audit_take(int *slots)
{
	int			n = 0;
	int			index;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	index = audit_find_database(MyDatabaseId, false);
	if (index >= 0)
	{
		for (int i = 0; i < audit->nslots; i++)
		{
			AuditSlot  *slot = &audit->slots[i];

			if (slot->state == SLOT_READY && slot->database == index)
			{
				slot->state = SLOT_TAKEN;
				slots[n++] = i;
			}
		}
	}
	LWLockRelease(audit->lock);
	/* the turn of a slot that is taken stays */
	qsort(slots, n, sizeof(int), compare_turns);
	return n;
}

const SpineAuditEntry *
spine_audit_entry(int slot)
{
	return &bodies[slot].entry;
}

void
spine_audit_finish(const int *slots, const SpineAuditOutcome *outcomes, int n)
{
	uint32	   *waiters = palloc(sizeof(uint32) * Max(n, 1));
	bool		freed = false;

	for (int i = 0; i < n; i++)
		bodies[slots[i]].outcome = outcomes[i];
	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		AuditSlot  *slot = &audit->slots[slots[i]];

		waiters[i] = slot->procno;
		if (slot->procno == AUDIT_NOBODY)
		{
			audit_free_slot(slot);
			freed = true;
		}
		else
			slot->state = SLOT_DONE;
	}
	LWLockRelease(audit->lock);
	for (int i = 0; i < n; i++)
		audit_wake(waiters[i]);
	if (freed)
		ConditionVariableBroadcast(&audit->freed);
	pfree(waiters);
}

bool
spine_audit_retire(void)
{
	bool		idle = true;
	int			index;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	index = audit_find_database(MyDatabaseId, false);
	if (index >= 0)
	{
		/* one that is being filled will be ready at once */
		for (int i = 0; i < audit->nslots && idle; i++)
			idle = audit->slots[i].database != index ||
				(audit->slots[i].state != SLOT_READY && audit->slots[i].state != SLOT_FILLING);
		if (idle)
		{
			audit->databases[index].state = AUDITOR_NONE;
			audit->databases[index].procno = AUDIT_NOBODY;
			audit_forget_database(&audit->databases[index]);
		}
	}
	LWLockRelease(audit->lock);
	return idle;
}


/* ---------------------------------------------------------------- the launcher */

static void
audit_launcher_ends(int code, Datum arg)
{
	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	audit->launcher = AUDIT_NOBODY;
	LWLockRelease(audit->lock);
}

void
spine_audit_launcher(void)
{
	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	audit->launcher = spine_proc_number();
	/* what the launcher before had begun, it did not live to see */
	for (int i = 0; i < AUDIT_DATABASES; i++)
		if (audit->databases[i].state == AUDITOR_STARTING)
			audit->databases[i].state = AUDITOR_ASKED;
	LWLockRelease(audit->lock);
	before_shmem_exit(audit_launcher_ends, (Datum) 0);
}

Oid
spine_audit_asked(int *place)
{
	Oid			asked = InvalidOid;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	while (*place < AUDIT_DATABASES && asked == InvalidOid)
	{
		AuditDatabase *database = &audit->databases[(*place)++];

		if (database->database == InvalidOid || database->state != AUDITOR_ASKED)
			continue;
		if (database->used > 0)
			asked = database->database;
		else
		{
			/* whoever asked has gone */
			database->state = AUDITOR_NONE;
			audit_forget_database(database);
		}
	}
	LWLockRelease(audit->lock);
	return asked;
}

void
spine_audit_starting(Oid database)
{
	int			index;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	index = audit_find_database(database, false);
	if (index >= 0 && audit->databases[index].state == AUDITOR_ASKED)
		audit->databases[index].state = AUDITOR_STARTING;
	LWLockRelease(audit->lock);
}

void
spine_audit_not_started(Oid database)
{
	int			index;

	LWLockAcquire(audit->lock, LW_EXCLUSIVE);
	index = audit_find_database(database, false);
	if (index >= 0 && audit->databases[index].state == AUDITOR_STARTING)
	{
		audit->databases[index].state = audit->databases[index].used > 0 ? AUDITOR_ASKED : AUDITOR_NONE;
		audit_forget_database(&audit->databases[index]);
	}
	LWLockRelease(audit->lock);
}


/* ---------------------------------------------------------------- for SQL */

/* spine.stated_user() returns text */
Datum
spine_stated_user(PG_FUNCTION_ARGS)
{
	const char *user = spine_audit_stated_user();

	if (user == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(user));
}

static void
put_or_fail(SpineAuditEntry *entry, SpineAuditField field, const void *value, const char *what)
{
	if (!spine_audit_put(entry, field, value))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s does not fit in an entry of the access log", what)));
}

/* As many as fit; then how many more there were. */
static void
put_basis(SpineAuditEntry *entry, ArrayType *basis)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			kept = 0;
	Size		room = SPINE_AUDIT_BODY - MAXALIGN(entry->length);
	Size		size = ARR_OVERHEAD_NONULLS(1) + AUDIT_BASIS_LEFT;

	if (VARSIZE(basis) <= room && spine_audit_put(entry, SPINE_AUDIT_BASIS, basis))
		return;
	deconstruct_array(basis, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	while (kept < n && !nulls[kept])
	{
		size += INTALIGN(VARHDRSZ + VARSIZE_ANY_EXHDR(DatumGetPointer(values[kept])));
		if (size > room)
			break;
		kept++;
	}
	values[kept] = CStringGetTextDatum(psprintf("and %d more", n - kept));
	put_or_fail(entry, SPINE_AUDIT_BASIS,
				construct_array(values, kept + 1, TEXTOID, -1, false, TYPALIGN_INT), "the basis");
}

int64
spine_audit_opening(const char *organisation, const char *duty, const pg_uuid_t *patient, const char *purpose, text *reason,
					ArrayType *owners, ArrayType *how, ArrayType *basis, const pg_uuid_t *relationship, TimestampTz until)
{
	Oid			role = GetOuterUserId();
	const char *user = spine_audit_stated_user();
	SpineAuditEntry *entry;
	Datum	   *ways;
	int			nways;

	/* whoever serves many people says for whom */
	if (user == NULL && !superuser_arg(role) &&
		pg_parameter_aclcheck("spine.user", role, ACL_SET) == ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("state the person in spine.user"),
				 errdetail("This role may act for several people."),
				 errhint("Use SELECT set_config('spine.user', ..., true).")));
	if (pg_mbstrlen_with_len(VARDATA(reason), VARSIZE(reason) - VARHDRSZ) > SPINE_AUDIT_REASON_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("the reason is longer than %d characters", SPINE_AUDIT_REASON_MAX)));

	deconstruct_array(how, TEXTOID, -1, false, TYPALIGN_INT, &ways, NULL, &nways);
	entry = palloc(sizeof(SpineAuditEntry));
	spine_audit_begin(entry, spine_is_among("emergency", ways, nways) ? SPINE_AUDIT_EMERGENCY : SPINE_AUDIT_OPENING,
					  GetUserNameFromId(role, false));
	entry->has_patient = true;
	entry->patient = *patient;
	if (relationship != NULL)
	{
		entry->has_relationship = true;
		entry->relationship = *relationship;
		entry->until = until;
	}
	if (!spine_audit_put_string(entry, SPINE_AUDIT_USER, user))
		elog(ERROR, "spine.user is too long");
	put_or_fail(entry, SPINE_AUDIT_ORGANISATION, cstring_to_text(organisation), "the organisation");
	put_or_fail(entry, SPINE_AUDIT_DUTY, cstring_to_text(duty), "the duty");
	put_or_fail(entry, SPINE_AUDIT_PURPOSE, cstring_to_text(purpose), "the purpose");
	put_or_fail(entry, SPINE_AUDIT_REASON, reason, "the reason");
	put_or_fail(entry, SPINE_AUDIT_HOW, how, "how it was opened");
	put_or_fail(entry, SPINE_AUDIT_OWNERS, owners, "the list of owners");
	put_basis(entry, basis);
	return spine_audit_write(entry, false);
}

/*
 * spine.audit_access(organisation, duty, patient_id, purpose, reason, owners, how, basis,
 * emergency_until, emergency_relationship) returns the number of the entry, committed.
 */
Datum
spine_audit_access(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"organisation", "duty", "patient_id", "purpose", "reason", "owners", "how", "basis"};
	bool		has_relationship = !PG_ARGISNULL(9);

	for (int i = 0; i < lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must be given", names[i])));
	if (has_relationship && PG_ARGISNULL(8))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("emergency_until must be given")));
	PG_RETURN_INT64(spine_audit_opening(text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)),
										PG_GETARG_UUID_P(2), text_to_cstring(PG_GETARG_TEXT_PP(3)), PG_GETARG_TEXT_P(4),
										PG_GETARG_ARRAYTYPE_P(5), PG_GETARG_ARRAYTYPE_P(6), PG_GETARG_ARRAYTYPE_P(7),
										has_relationship ? PG_GETARG_UUID_P(9) : NULL,
										has_relationship ? PG_GETARG_TIMESTAMPTZ(8) : 0));
}
