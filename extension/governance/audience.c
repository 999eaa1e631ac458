/*
 * audience.c
 *		Computes the audience of patients' records anew.
 *
 * A relationship changes for one person, whose few records may lie in any of the
 * data groups. Planning one query for each group would cost more than running them
 * all, so the plans are kept for the session, as ri_triggers.c keeps its own.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "governance.h"

typedef struct GroupPlans
{
	char		place[2 * NAMEDATALEN]; /* DATASET.GROUP */
	SPIPlanPtr	find;			/* the patients' records with their audience */
	SPIPlanPtr	mend;			/* gives records theirs */
} GroupPlans;

/*
 * Of the records found, those whose audience is not what it should be: by group, their ids and
 * the audience that they should have, as text. What is asked about a person is asked once.
 */
static const char *const compare_query =
"WITH held AS MATERIALIZED ("
" SELECT * FROM unnest($1, $2, $3, $4, $5) AS h (place, record_id, patient_id, owner, audience)"
"), person AS MATERIALIZED ("
" SELECT p.patient_id, p.owners, l.ids,"
"  CASE WHEN EXISTS (SELECT FROM spine.sharing_rule r WHERE r.about_mother) THEN spine.mothers(l.ids) ELSE '{}' END AS mothers"
" FROM (SELECT h.patient_id, pg_catalog.array_agg(DISTINCT h.owner) AS owners FROM held h GROUP BY h.patient_id) p"
" CROSS JOIN LATERAL (SELECT spine.linked_patients(p.patient_id) AS ids OFFSET 0) l"
"), wanted AS MATERIALIZED ("
" SELECT p.patient_id, a.owner, a.dataset || '.' || a.data_group AS place, a.audience"
" FROM person p CROSS JOIN LATERAL spine.audiences(p.owners, p.ids, p.mothers) a"
") SELECT h.place, pg_catalog.array_agg(h.record_id), pg_catalog.array_agg(coalesce(w.audience, '{}')::text)"
" FROM held h LEFT JOIN wanted w ON w.patient_id = h.patient_id AND w.owner = h.owner AND w.place = h.place"
" WHERE h.audience::text[] IS DISTINCT FROM coalesce(w.audience, '{}')"
" GROUP BY h.place ORDER BY h.place";

#define FOUND_COLUMNS	5		/* its arguments */

static SPIPlanPtr compare_plan = NULL;
static Oid	dataset_table = InvalidOid;
static bool groups_valid = false;
static bool callback_registered = false;
static GroupPlans *groups = NULL;
static int	ngroups = 0;

PG_FUNCTION_INFO_V1(spine_reaudience);
PG_FUNCTION_INFO_V1(spine_oldest_snapshot);

static void
dataset_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == dataset_table)
		groups_valid = false;
}

static void
plans_free(GroupPlans *plans, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (plans[i].find)
			SPI_freeplan(plans[i].find);
		if (plans[i].mend)
			SPI_freeplan(plans[i].mend);
	}
	if (plans)
		pfree(plans);
}

static SPIPlanPtr
plan_keep(const char *query, int nargs, Oid *types)
{
	/* planned once: planning each would cost more than running it */
	SPIPlanPtr	plan = SPI_prepare_cursor(query, nargs, types, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	return plan;
}

/* Plans for each group table there is. Within SPI, as spine_owner. */
static void
groups_load(void)
{
	GroupPlans *fresh;
	int			n;
	char	  **names;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(dataset_changed, (Datum) 0);
		callback_registered = true;
	}
	AcceptInvalidationMessages();
	if (groups_valid)
		return;

	plans_free(groups, ngroups);
	groups = NULL;
	ngroups = 0;
	dataset_table = get_relname_relid("dataset", get_namespace_oid("spine", false));

	/* set first: a change that comes in meanwhile takes it back */
	groups_valid = true;
	/* as committed now: what is kept serves transactions after this one too */
	PushActiveSnapshot(GetLatestSnapshot());
	PG_TRY();
	{
		if (SPI_execute("SELECT pg_catalog.format('%I.%I', g.dataset, g.data_group), g.dataset || '.' || g.data_group"
						" FROM spine.published_groups() g"
						" WHERE pg_catalog.to_regclass(pg_catalog.format('%I.%I', g.dataset, g.data_group)) IS NOT NULL"
						" ORDER BY 1",
						true, 0) != SPI_OK_SELECT)
			elog(ERROR, "look-up of the data groups failed");
		n = (int) SPI_processed;
		names = palloc(sizeof(char *) * Max(n, 1));
		fresh = MemoryContextAllocZero(TopMemoryContext, sizeof(GroupPlans) * Max(n, 1));
		for (int i = 0; i < n; i++)
		{
			names[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
			strlcpy(fresh[i].place, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2), sizeof(fresh[i].place));
		}
		groups = fresh;
		ngroups = n;
		for (int i = 0; i < n; i++)
		{
			Oid			find_types[] = {UUIDARRAYOID, TEXTARRAYOID};
			Oid			mend_types[] = {UUIDARRAYOID, TEXTARRAYOID};

			fresh[i].find = plan_keep(psprintf("SELECT t.record_id, t.patient_id, t.owner, t.audience::text FROM %s t"
											   " WHERE t.patient_id = ANY ($1) AND t.owner = ANY ($2)", names[i]),
									  2, find_types);
			fresh[i].mend = plan_keep(psprintf("UPDATE %s t SET audience = w.audience::text[]"
											   " FROM unnest($1, $2) AS w (record_id, audience)"
											   " WHERE t.record_id = w.record_id", names[i]),
									  2, mend_types);
		}
	}
	PG_CATCH();
	{
		groups_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	PopActiveSnapshot();
}

/* An array-valued answer of one row, NULL for NULL, copied out of SPI's memory. */
static Datum
one_array(bool *null)
{
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, null);

	return *null ? (Datum) 0 : PointerGetDatum(DatumGetArrayTypePCopy(value));
}

/* spine.reaudience(patients uuid[]) returns bigint */
Datum
spine_reaudience(PG_FUNCTION_ARGS)
{
	Datum		patients = PointerGetDatum(PG_GETARG_ARRAYTYPE_P(0));
	Oid			type = UUIDARRAYOID;
	SpineOwnerScope owner;
	Datum		linked;
	Datum		hosted;
	bool		null;
	int64		changed = 0;
	ArrayBuildState *found[FOUND_COLUMNS] = {NULL};

	spine_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	groups_load();

	/* what a child's records say about the mother follows hers */
	if (SPI_execute_with_args("WITH person AS (SELECT DISTINCT l.id FROM pg_catalog.unnest($1) AS p (id),"
							  " LATERAL pg_catalog.unnest(spine.linked_patients(p.id)) AS l (id))"
							  " SELECT ARRAY(SELECT p.id FROM person p"
							  "  UNION SELECT l.id FROM person p JOIN spine.family_link f ON f.mother = p.id,"
							  "  LATERAL pg_catalog.unnest(spine.linked_patients(f.child)) AS l (id)"
							  "  WHERE EXISTS (SELECT FROM spine.sharing_rule r WHERE r.about_mother)),"
							  " spine.hosted_organisations()",
							  1, &type, &patients, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "look-up of linked patients failed");
	linked = one_array(&null);
	hosted = PointerGetDatum(DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0],
																  SPI_tuptable->tupdesc, 2, &null)));

	for (int i = 0; i < ngroups; i++)
	{
		Datum		args[] = {linked, hosted};

		if (SPI_execute_plan(groups[i].find, args, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "look-up of audiences failed");
		for (uint64 r = 0; r < SPI_processed; r++)
		{
			found[0] = accumArrayResult(found[0], CStringGetTextDatum(groups[i].place), false, TEXTOID, CurrentMemoryContext);
			for (int c = 1; c < FOUND_COLUMNS; c++)
			{
				Datum		value = SPI_getbinval(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, c, &null);

				found[c] = accumArrayResult(found[c], value, null, c <= 2 ? UUIDOID : TEXTOID, CurrentMemoryContext);
			}
		}
		SPI_freetuptable(SPI_tuptable);
	}
	if (found[0] != NULL)
	{
		Datum		args[FOUND_COLUMNS];
		SPITupleTable *wrong;
		uint64		nwrong;

		for (int c = 0; c < FOUND_COLUMNS; c++)
			args[c] = makeArrayResult(found[c], CurrentMemoryContext);
		if (compare_plan == NULL)
		{
			Oid			types[FOUND_COLUMNS] = {TEXTARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID};

			compare_plan = plan_keep(compare_query, FOUND_COLUMNS, types);
		}
		if (SPI_execute_plan(compare_plan, args, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "comparison of audiences failed");
		wrong = SPI_tuptable;
		nwrong = SPI_processed;
		/* only where there is something: an UPDATE fires statement triggers for no row too */
		for (uint64 r = 0; r < nwrong; r++)
		{
			char	   *place = SPI_getvalue(wrong->vals[r], wrong->tupdesc, 1);
			Datum		mend_args[] = {SPI_getbinval(wrong->vals[r], wrong->tupdesc, 2, &null),
			SPI_getbinval(wrong->vals[r], wrong->tupdesc, 3, &null)};

			for (int i = 0; i < ngroups; i++)
			{
				if (strcmp(groups[i].place, place) != 0)
					continue;
				if (SPI_execute_plan(groups[i].mend, mend_args, NULL, false, 0) != SPI_OK_UPDATE)
					elog(ERROR, "update of audiences failed");
				changed += (int64) SPI_processed;
				break;
			}
		}
	}

	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	spine_owner_leave(&owner);
	PG_RETURN_INT64(changed);
}

/*
 * spine.oldest_snapshot() returns xid8: every snapshot in use sees what transactions
 * before this one have committed. SQL cannot tell it without the right to look at others' sessions.
 */
Datum
spine_oldest_snapshot(PG_FUNCTION_ARGS)
{
	Relation	relation;
	TransactionId oldest;
	FullTransactionId next;
	uint32		epoch;

	/* that of a plain table: a logical slot may hold back the catalogs for long */
	relation = table_open(get_relname_relid("dataset", get_namespace_oid("spine", false)), AccessShareLock);
	oldest = GetOldestNonRemovableTransactionId(relation);
	table_close(relation, AccessShareLock);

	next = ReadNextFullTransactionId();
	epoch = EpochFromFullTransactionId(next);
	if (oldest > XidFromFullTransactionId(next))
		epoch--;
	PG_RETURN_FULLTRANSACTIONID(FullTransactionIdFromEpochAndXid(epoch, oldest));
}
