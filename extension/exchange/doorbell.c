/*
 * doorbell.c
 *		Shared memory holds one slot for each courier: its database and its
 *		process number. A transaction that wrote to the delivery ledger sets that
 *		process's latch once it is visible to others.
 *
 * Ringers read the slots without a lock: the latches belong to the process
 * array, which lives as long as shared memory, so the worst that a stale slot
 * can do is to wake somebody for nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"

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
} DoorbellSlot;

typedef struct DoorbellShared
{
	LWLock	   *lock;			/* held to take or free a slot */
	DoorbellSlot slots[DOORBELL_SLOTS];
} DoorbellShared;

static DoorbellShared *doorbell = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static bool rung = false;
static bool callback_registered = false;

PG_FUNCTION_INFO_V1(spine_ring_doorbell);

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
			if (!rung)
				return;
			rung = false;
			for (int i = 0; i < DOORBELL_SLOTS; i++)
			{
				DoorbellSlot *slot = &doorbell->slots[i];
				uint32		procno;

				if (pg_atomic_read_u32(&slot->database) != MyDatabaseId)
					continue;
				procno = pg_atomic_read_u32(&slot->procno);
				if (procno < ProcGlobal->allProcCount)
					SetLatch(&ProcGlobal->allProcs[procno].procLatch);
			}
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			rung = false;
			break;
		default:
			break;
	}
}

void
spine_doorbell_ring(void)
{
	if (doorbell == NULL)
		return;
	if (!callback_registered)
	{
		RegisterXactCallback(doorbell_at_commit, NULL);
		callback_registered = true;
	}
	rung = true;
}

static void
doorbell_detach(int code, Datum arg)
{
	DoorbellSlot *slot = &doorbell->slots[DatumGetInt32(arg)];

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
		before_shmem_exit(doorbell_detach, Int32GetDatum(taken));
	else
		ereport(LOG,
				(errmsg("spine: more than %d couriers: this one is not woken, it looks by itself",
						DOORBELL_SLOTS)));
}

/* spine.ring_doorbell() */
Datum
spine_ring_doorbell(PG_FUNCTION_ARGS)
{
	spine_doorbell_ring();
	PG_RETURN_VOID();
}
