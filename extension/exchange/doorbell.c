/*
 * doorbell.c
 *		Shared memory holds one slot for each courier: its database and its
 *		process number. A transaction that wrote to the delivery ledger says there
 *		for which neighbours, and sets that process's latch once it is visible to
 *		others.
 *
 * Ringers read the slots without a lock: the latches belong to the process
 * array, which lives as long as shared memory, so the worst that a stale slot
 * can do is to wake somebody for nothing, or to keep a ring for whom takes it next.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "compat.h"
#include "errors.h"
#include "exchange/doorbell.h"

#define DOORBELL_SLOTS		128
#define DOORBELL_TRANCHE	"spine_doorbell"
#define DOORBELL_NOBODY		UINT32_MAX

typedef struct DoorbellSlot
{
	pg_atomic_uint32 database;	/* InvalidOid: free */
	pg_atomic_uint32 procno;
	pg_atomic_uint64 bells;		/* neighbours' bits: there may be something to send */
	pg_atomic_uint64 callers;	/* neighbours' bits: it has called */
	pg_atomic_uint64 awaited;	/* neighbours' bits: its call is of interest */
} DoorbellSlot;

typedef struct DoorbellShared
{
	LWLock	   *lock;			/* held to take or free a slot */
	DoorbellSlot slots[DOORBELL_SLOTS];
} DoorbellShared;

static DoorbellShared *doorbell = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static DoorbellSlot *own_slot = NULL;	/* of this process, a courier */

/* of this transaction */
static uint64 rung = 0;
static uint64 called = 0;
static bool callback_registered = false;

PG_FUNCTION_INFO_V1(spine_ring_doorbell);
PG_FUNCTION_INFO_V1(spine_wake_link);

static void
doorbell_shmem_request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(DoorbellShared)));
	RequestNamedLWLockTranche(DOORBELL_TRANCHE, 1);
}

static void
doorbell_shmem_startup(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	doorbell = ShmemInitStruct("spine doorbell", sizeof(DoorbellShared), &found);
	if (!found)
	{
		doorbell->lock = &(GetNamedLWLockTranche(DOORBELL_TRANCHE))->lock;
		for (int i = 0; i < DOORBELL_SLOTS; i++)
		{
			pg_atomic_init_u32(&doorbell->slots[i].database, InvalidOid);
			pg_atomic_init_u32(&doorbell->slots[i].procno, DOORBELL_NOBODY);
			pg_atomic_init_u64(&doorbell->slots[i].bells, 0);
			pg_atomic_init_u64(&doorbell->slots[i].callers, 0);
			pg_atomic_init_u64(&doorbell->slots[i].awaited, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
spine_doorbell_request(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = doorbell_shmem_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = doorbell_shmem_startup;
}

/* Runs after the transaction has left the process array: others see its rows. */
static void
doorbell_at_commit(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (rung == 0 && called == 0)
				return;
			for (int i = 0; i < DOORBELL_SLOTS; i++)
			{
				DoorbellSlot *slot = &doorbell->slots[i];
				uint32		procno;

				if (pg_atomic_read_u32(&slot->database) != MyDatabaseId)
					continue;
				procno = pg_atomic_read_u32(&slot->procno);
				/* before the latch: who is woken finds them */
				pg_atomic_fetch_or_u64(&slot->bells, rung);
				pg_atomic_fetch_or_u64(&slot->callers, called);
				if (procno < ProcGlobal->allProcCount)
					SetLatch(&ProcGlobal->allProcs[procno].procLatch);
			}
			rung = 0;
			called = 0;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			rung = 0;
			called = 0;
			break;
		default:
			break;
	}
}

uint64
spine_doorbell_bit(const char *node)
{
	return UINT64CONST(1) << (hash_bytes((const unsigned char *) node, (int) strlen(node)) % 63);
}

static void
doorbell_register(void)
{
	if (!callback_registered)
	{
		RegisterXactCallback(doorbell_at_commit, NULL);
		callback_registered = true;
	}
}

void
spine_doorbell_ring(const char *node)
{
	if (doorbell == NULL)
		return;
	doorbell_register();
	rung |= node ? spine_doorbell_bit(node) : PG_UINT64_MAX;
}

void
spine_doorbell_called(const char *node)
{
	uint64		bit = spine_doorbell_bit(node);

	for (int i = 0; doorbell != NULL && i < DOORBELL_SLOTS; i++)
	{
		DoorbellSlot *slot = &doorbell->slots[i];

		if (pg_atomic_read_u32(&slot->database) != MyDatabaseId ||
			(pg_atomic_read_u64(&slot->awaited) & bit) == 0)
			continue;
		doorbell_register();
		called |= bit;
		return;
	}
}

uint64
spine_doorbell_heard(uint64 *callers)
{
	*callers = own_slot ? pg_atomic_exchange_u64(&own_slot->callers, 0) : 0;
	return own_slot ? pg_atomic_exchange_u64(&own_slot->bells, 0) : PG_UINT64_MAX;
}

void
spine_doorbell_await(uint64 callers)
{
	if (own_slot && pg_atomic_read_u64(&own_slot->awaited) != callers)
		pg_atomic_write_u64(&own_slot->awaited, callers);
}

static void
doorbell_detach(int code, Datum arg)
{
	DoorbellSlot *slot = &doorbell->slots[DatumGetInt32(arg)];

	own_slot = NULL;
	LWLockAcquire(doorbell->lock, LW_EXCLUSIVE);
	pg_atomic_write_u32(&slot->database, InvalidOid);
	pg_atomic_write_u32(&slot->procno, DOORBELL_NOBODY);
	LWLockRelease(doorbell->lock);
}

void
spine_doorbell_attach(void)
{
	int			taken = -1;
	bool		other = false;

	if (doorbell == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("the spine library is not preloaded"),
				 errhint("Add spine to shared_preload_libraries and restart the server.")));

	LWLockAcquire(doorbell->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DOORBELL_SLOTS; i++)
	{
		Oid			database = pg_atomic_read_u32(&doorbell->slots[i].database);

		if (database == InvalidOid && taken < 0)
			taken = i;
		other |= database == MyDatabaseId;
	}
	if (taken >= 0 && !other)
	{
		pg_atomic_write_u32(&doorbell->slots[taken].procno, spine_proc_number());
		pg_atomic_write_u64(&doorbell->slots[taken].awaited, 0);
		pg_write_barrier();
		pg_atomic_write_u32(&doorbell->slots[taken].database, MyDatabaseId);
	}
	LWLockRelease(doorbell->lock);

	/* two would take each other's batches for those of a restored sender */
	if (other)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another courier serves this database")));

	if (taken >= 0)
	{
		own_slot = &doorbell->slots[taken];
		before_shmem_exit(doorbell_detach, Int32GetDatum(taken));
	}
	else
		ereport(LOG,
				(errmsg("spine: more than %d couriers: this one is not woken, it looks by itself",
						DOORBELL_SLOTS)));
}

/* spine.ring_doorbell() */
Datum
spine_ring_doorbell(PG_FUNCTION_ARGS)
{
	spine_doorbell_ring(NULL);
	PG_RETURN_VOID();
}

/* spine.wake_link(node text) */
Datum
spine_wake_link(PG_FUNCTION_ARGS)
{
	spine_doorbell_called(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
