/*
 * openings.c
 *		The patients opened in this session.
 *
 * An opening is (role, patient, organisation, purpose, until). It belongs to the
 * session, not to the database: it ends with its time, with close_records(), with
 * DISCARD ALL or RESET ALL (a pooler hands the connection on), with the rollback of
 * the transaction or savepoint that made it and, made for a transaction alone,
 * with that transaction.
 *
 * Openings are not handed to parallel workers: while something is open, queries
 * run without them (openings_run()).
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "governance.h"
#include "caller.h"
#include "groups.h"
#include "guc.h"
#include "openings.h"
#include "utility.h"

#define FACTS_MS	10000		/* how long what is known of a person is believed */

static MemoryContext openings_context = NULL;
static HTAB *opened_patients = NULL;
static dlist_head pending = DLIST_STATIC_INIT(pending);
static int	nopenings = 0;
static uint64 acts = 0;
static int	mark = 0;			/* what spine.openings_mark holds while openings are good */
static bool callbacks_registered = false;

static ExecutorRun_hook_type previous_run = NULL;

PG_FUNCTION_INFO_V1(spine_opening_add);
PG_FUNCTION_INFO_V1(spine_opening_close);
PG_FUNCTION_INFO_V1(spine_my_opened_patients);


/* ---------------------------------------------------------------- openings */

static void
opening_drop(SpineOpening *opening)
{
	SpineOpenedPatient *opened = opening->opened;

	dlist_delete(&opening->of_patient);
	if (opening->pending)
		dlist_delete(&opening->in_pending);
	if (dlist_is_empty(&opened->openings))
	{
		if (opened->facts != NULL)
			MemoryContextDelete(opened->facts);
		hash_search(opened_patients, &opened->patient, HASH_REMOVE, NULL);
	}
	pfree(opening);
	nopenings--;
}

static void
openings_drop_all(void)
{
	if (openings_context != NULL)
	{
		MemoryContextDeleteChildren(openings_context);
		MemoryContextReset(openings_context);
	}
	opened_patients = NULL;
	dlist_init(&pending);
	nopenings = 0;
}

/* DISCARD ALL and RESET ALL put the setting back to zero: then nothing is open. */
static void
openings_check(void)
{
	if (nopenings > 0 && spine_openings_mark != mark)
		openings_drop_all();
}

/* A committed opening makes older ones of the same kind superfluous. */
static void
opening_settle(SpineOpening *opening)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &opening->opened->openings)
	{
		SpineOpening *other = dlist_container(SpineOpening, of_patient, iter.cur);

		if (other != opening && !other->pending &&
			other->role == opening->role && other->until <= opening->until &&
			strcmp(other->organisation, opening->organisation) == 0 &&
			strcmp(other->purpose, opening->purpose) == 0)
			opening_drop(other);
	}
}

static void
transaction_ends(XactEvent event, void *arg)
{
	bool		keep = (event == XACT_EVENT_COMMIT);

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (!dlist_is_empty(&pending))
	{
		SpineOpening *opening = dlist_container(SpineOpening, in_pending, dlist_head_node(&pending));

		if (keep && !opening->for_transaction)
		{
			dlist_delete(&opening->in_pending);
			opening->pending = false;
			opening_settle(opening);
		}
		else
			opening_drop(opening);
	}
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	dlist_mutable_iter iter;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach_modify(iter, &pending)
	{
		SpineOpening *opening = dlist_container(SpineOpening, in_pending, iter.cur);

		if (opening->subid != mine)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			opening->subid = parent;
		else
			opening_drop(opening);
	}
}

static void
openings_init(void)
{
	HASHCTL		ctl;

	if (!callbacks_registered)
	{
		RegisterXactCallback(transaction_ends, NULL);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		callbacks_registered = true;
	}
	if (openings_context == NULL)
		openings_context = AllocSetContextCreate(TopMemoryContext, "spine openings",
												 ALLOCSET_DEFAULT_SIZES);
	if (opened_patients == NULL)
	{
		ctl.keysize = sizeof(pg_uuid_t);
		ctl.entrysize = sizeof(SpineOpenedPatient);
		ctl.hcxt = openings_context;
		opened_patients = hash_create("spine opened patients", 64, &ctl,
									  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
}

/*
 * Opens the patients to the caller, until then or, where that is 0, for spine.open_minutes. Only
 * what opens may call it: nothing is decided here.
 */
TimestampTz
spine_openings_add(ArrayType *patients, const char *organisation, const char *purpose, bool for_transaction, TimestampTz until)
{
	Oid			role = GetOuterUserId();
	Datum	   *ids;
	bool	   *nulls;
	int			n;

	if (until == 0)
		until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) spine_open_minutes * 60 * 1000);
	if (strlen(organisation) >= SPINE_CODE_LEN || strlen(purpose) >= SPINE_CODE_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("%s is too long", strlen(purpose) >= SPINE_CODE_LEN ? "purpose" : "organisation")));
	deconstruct_array(patients, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, &nulls, &n);

	/* what is planned may rest on nothing being open: see own_plan.c */
	if (spine_utility_is_planning())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a record cannot be opened while a statement is being planned"),
				 errhint("Open it in a statement of its own; functions that open records are VOLATILE.")));

	openings_check();
	openings_init();
	if (nopenings == 0)
		spine_own_plans_forget();
	if (nopenings == 0 || spine_openings_mark != mark)
	{
		char		value[16];

		mark = (mark == INT_MAX) ? 1 : mark + 1;
		snprintf(value, sizeof(value), "%d", mark);
		(void) set_config_option("spine.openings_mark", value, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SET, true, 0, false);
	}

	acts++;
	for (int i = 0; i < n; i++)
	{
		SpineOpenedPatient *opened;
		SpineOpening *opening;
		bool		found;

		if (nulls[i])
			continue;
		opening = MemoryContextAllocZero(openings_context, sizeof(SpineOpening));
		opened = hash_search(opened_patients, DatumGetUUIDP(ids[i]), HASH_ENTER, &found);
		if (!found)
		{
			dlist_init(&opened->openings);
			opened->facts = NULL;
			opened->stamp = 0;
		}
		opening->opened = opened;
		opening->role = role;
		opening->until = until;
		opening->act = acts;
		opening->pending = true;
		opening->for_transaction = for_transaction;
		opening->subid = GetCurrentSubTransactionId();
		strcpy(opening->organisation, organisation);
		strcpy(opening->purpose, purpose);
		dlist_push_tail(&opened->openings, &opening->of_patient);
		dlist_push_tail(&pending, &opening->in_pending);
		nopenings++;
		/* now, not when a row is found: how long it takes shall not tell whether there is one */
		spine_opening_facts(opened);
	}
	return until;
}

/* Takes back what the last spine_openings_add() did. */
void
spine_openings_undo(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &pending)
	{
		SpineOpening *opening = dlist_container(SpineOpening, in_pending, iter.cur);

		if (opening->act == acts)
			opening_drop(opening);
	}
}

/*
 * spine.opening_add(patients uuid[], organisation text, purpose text, for_transaction
 * boolean, until timestamptz) returns the time until which they are open.
 */
Datum
spine_opening_add(PG_FUNCTION_ARGS)
{
	/* the time alone may be NULL */
	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(spine_openings_add(PG_GETARG_ARRAYTYPE_P(0),
											 text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(2)),
											 PG_GETARG_BOOL(3), PG_ARGISNULL(4) ? 0 : PG_GETARG_TIMESTAMPTZ(4)));
}

/*
 * spine.opening_close(): closes what the caller has open and returns how many
 * patients that were. At once and for good: a rollback opens nothing again.
 */
Datum
spine_opening_close(PG_FUNCTION_ARGS)
{
	HASH_SEQ_STATUS scan;
	SpineOpenedPatient *opened;
	Oid			role = GetOuterUserId();
	int			closed = 0;

	openings_check();
	if (nopenings == 0)
		PG_RETURN_INT32(0);
	hash_seq_init(&scan, opened_patients);
	while ((opened = hash_seq_search(&scan)) != NULL)
	{
		dlist_mutable_iter iter;
		List	   *mine = NIL;
		ListCell   *cell;

		dlist_foreach_modify(iter, &opened->openings)
		{
			SpineOpening *opening = dlist_container(SpineOpening, of_patient, iter.cur);

			if (opening->role == role)
				mine = lappend(mine, opening);
		}
		if (mine != NIL)
			closed++;
		/* the last drop removes the patient, which hash_seq_search allows for the current one */
		foreach(cell, mine)
			opening_drop((SpineOpening *) lfirst(cell));
		list_free(mine);
	}
	PG_RETURN_INT32(closed);
}

/*
 * spine.my_opened_patients() returns uuid[]: a superset for the index, which visible()
 * then judges row by row.
 */
Datum
spine_my_opened_patients(PG_FUNCTION_ARGS)
{
	HASH_SEQ_STATUS scan;
	SpineOpenedPatient *opened;
	Oid			role = GetOuterUserId();
	TimestampTz now = GetCurrentTimestamp();
	Datum	   *ids;
	int			n = 0;

	openings_check();
	if (nopenings == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(UUIDOID));

	ids = palloc(sizeof(Datum) * hash_get_num_entries(opened_patients));
	hash_seq_init(&scan, opened_patients);
	while ((opened = hash_seq_search(&scan)) != NULL)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &opened->openings)
		{
			SpineOpening *opening = dlist_container(SpineOpening, of_patient, iter.cur);

			if (opening->role == role && opening->until > now)
			{
				ids[n++] = UUIDPGetDatum(&opened->patient);
				break;
			}
		}
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}


/* ---------------------------------------------------------------- for the check of rows */

int
spine_openings_count(void)
{
	openings_check();
	return nopenings;
}

SpineOpenedPatient *
spine_opening_find(const pg_uuid_t *patient)
{
	if (spine_openings_count() == 0)
		return NULL;
	return hash_search(opened_patients, patient, HASH_FIND, NULL);
}

/* Nobody's child, under one id, and nothing said against anybody: so it is of nearly everybody. */
static bool
nothing_is_known(Datum patient)
{
	bool		pushed = !IsInParallelMode();
	bool		nothing;

	if (pushed)
		PushActiveSnapshot(GetLatestSnapshot());
	nothing = !spine_store_has("dissent", "patient_id", patient) &&
		!spine_store_has("family_link", "child", patient) &&
		!spine_store_has("identity_link", "from_patient", patient) &&
		!spine_store_has("identity_link", "to_patient", patient);
	if (pushed)
		PopActiveSnapshot();
	return nothing;
}

static void
facts_look_up(Datum patient, MemoryContext facts, ArrayType **dissents, ArrayType **mothers)
{
	static SPIPlanPtr plan = NULL;
	SpineLookup lookup;
	MemoryContext old;
	bool		isnull;

	spine_lookup_begin(&lookup);
	if (plan == NULL)
	{
		Oid			type = UUIDOID;

		/* planned once: planning costs more than running */
		SPIPlanPtr	fresh = SPI_prepare_cursor("SELECT ARRAY(SELECT DISTINCT coalesce(d.organisation, '') FROM spine.dissent d"
											   " WHERE d.patient_id = ANY (x.ids) AND d.purpose = 'care'"
											   " AND (d.until IS NULL OR d.until > now())),"
											   " spine.mothers(x.ids)"
											   " FROM (SELECT spine.linked_patients($1) AS ids OFFSET 0) x",
											   1, &type, CURSOR_OPT_GENERIC_PLAN);

		if (fresh == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		if (SPI_keepplan(fresh) != 0)
			elog(ERROR, "SPI_keepplan failed");
		plan = fresh;
	}
	if (SPI_execute_plan(plan, &patient, NULL, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "governance look-up failed");
	old = MemoryContextSwitchTo(facts);
	*dissents = DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*mothers = DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	MemoryContextSwitchTo(old);
	spine_lookup_end(&lookup);
}

/*
 * What is known of the person as it is committed now: against whom she dissents, who
 * is her mother. Looked up again when any dissent has changed, and after a while: ids
 * that are one person's are linked and parted too often to be watched.
 */
void
spine_opening_facts(SpineOpenedPatient *opened)
{
	uint64		now = spine_governance_stamp();
	MemoryContext facts;
	MemoryContext old;
	Datum		patient = UUIDPGetDatum(&opened->patient);
	ArrayType  *dissents;
	ArrayType  *mothers;

	if (opened->facts != NULL && opened->stamp == now &&
		!TimestampDifferenceExceeds(opened->known_at, GetCurrentTimestamp(), FACTS_MS))
		return;
	facts = AllocSetContextCreate(CurrentMemoryContext, "spine opened patient", ALLOCSET_SMALL_SIZES);
	if (nothing_is_known(patient))
	{
		old = MemoryContextSwitchTo(facts);
		dissents = construct_empty_array(TEXTOID);
		mothers = construct_empty_array(UUIDOID);
		MemoryContextSwitchTo(old);
	}
	else
		facts_look_up(patient, facts, &dissents, &mothers);

	if (opened->facts != NULL)
		MemoryContextDelete(opened->facts);
	MemoryContextSetParent(facts, openings_context);
	opened->facts = facts;
	opened->dissents = dissents;
	opened->mothers = mothers;
	opened->stamp = now;
	opened->known_at = GetCurrentTimestamp();
}


/* ---------------------------------------------------------------- no parallel workers meanwhile */

/* A plan that might be run again is run by this process alone: see ExecutePlan(). */
static void
openings_run(QueryDesc *query, ScanDirection direction, uint64 count SPINE_EXECUTE_ONCE_PARAMETER)
{
	if (nopenings > 0)
		SPINE_EXECUTE_WITHOUT_WORKERS(query);
	if (previous_run)
		previous_run(query, direction, count SPINE_EXECUTE_ONCE_ARGUMENT);
	else
		standard_ExecutorRun(query, direction, count SPINE_EXECUTE_ONCE_ARGUMENT);
}

void
spine_openings_init(void)
{
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = openings_run;
}
