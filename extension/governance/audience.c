/*
 * audience.c
 *		Computes the audience of patients' records anew.
 *
 * A relationship changes for one person, whose few records may lie in any of the
 * data groups: they are looked for without a query. What has another audience is
 * updated by a plan for each group, kept for the session as ri_triggers.c keeps its own.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "governance.h"
#include "groups.h"

/* how records of a group are given their audience */
typedef struct Mend
{
	char		place[2 * NAMEDATALEN]; /* hash key: DATASET.GROUP */
	SPIPlanPtr	plan;
} Mend;

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
static HTAB *mends = NULL;

PG_FUNCTION_INFO_V1(spine_reaudience);
PG_FUNCTION_INFO_V1(spine_oldest_snapshot);

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

/* The plan that gives records of the group their audience. */
static SPIPlanPtr
mend_plan(const char *place)
{
	Oid			types[] = {UUIDARRAYOID, TEXTARRAYOID};
	const SpineGroupTable *group = spine_groups_find(place, (int) strlen(place));
	Mend	   *mend;
	bool		known;

	if (group == NULL)
		elog(ERROR, "a data group with records is not published");
	if (mends == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(mend->place);
		ctl.entrysize = sizeof(Mend);
		mends = hash_create("spine audiences", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	}
	mend = hash_search(mends, place, HASH_ENTER, &known);
	if (!known)
		mend->plan = NULL;
	if (mend->plan == NULL)
		mend->plan = plan_keep(psprintf("UPDATE %s t SET audience = w.audience::text[]"
										" FROM unnest($1, $2) AS w (record_id, audience)"
										" WHERE t.record_id = w.record_id",
										quote_qualified_identifier(group->dataset, group->data_group)),
							   2, types);
	return mend->plan;
}

static bool
is_among(Datum code, const Datum *codes, int n)
{
	text	   *one = DatumGetTextPP(code);

	for (int i = 0; i < n; i++)
	{
		text	   *other = DatumGetTextPP(codes[i]);

		if (VARSIZE_ANY_EXHDR(one) == VARSIZE_ANY_EXHDR(other) &&
			memcmp(VARDATA_ANY(one), VARDATA_ANY(other), VARSIZE_ANY_EXHDR(one)) == 0)
			return true;
	}
	return false;
}

/* The patients' records that organisations hosted here own: the arguments of compare_query. False: none. */
static bool
records_find(ArrayType *patients, ArrayType *hosted, Datum *args)
{
	ArrayBuildState *found[FOUND_COLUMNS] = {NULL};
	const Oid	types[FOUND_COLUMNS] = {TEXTOID, UUIDOID, UUIDOID, TEXTOID, TEXTOID};
	const SpineGroupTable *groups;
	uint64		since;
	int			ngroups;
	Datum	   *ids;
	int			nids;
	Datum	   *codes;
	int			ncodes;
	FmgrInfo	array_output;

	deconstruct_array(patients, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, NULL, &nids);
	deconstruct_array(hosted, TEXTOID, -1, false, TYPALIGN_INT, &codes, NULL, &ncodes);
	fmgr_info(F_ARRAY_OUT, &array_output);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	ngroups = spine_groups_get(&groups, &since);
	for (int g = 0; g < ngroups; g++)
	{
		Oid			relid = groups[g].relid;
		Oid			index = InvalidOid;
		AttrNumber	columns[FOUND_COLUMNS];
		SpineWalk	walk;

		if (!OidIsValid(relid))
			continue;
		columns[1] = get_attnum(relid, "record_id");
		columns[2] = get_attnum(relid, "patient_id");
		columns[3] = get_attnum(relid, "owner");
		columns[4] = get_attnum(relid, "audience");
		if (!spine_walk_begin(&walk, relid, columns[2], &index))
			elog(ERROR, "table \"%s\" has no index on patient_id", RelationGetRelationName(walk.table));
		for (int p = 0; p < nids; p++)
		{
			spine_walk_to(&walk, ids[p]);
			while (spine_walk_next(&walk))
			{
				bool		null;

				if (!is_among(slot_getattr(walk.slot, columns[3], &null), codes, ncodes))
					continue;
				for (int c = 0; c < FOUND_COLUMNS; c++)
				{
					Datum		value;

					if (c == 0)
						value = CStringGetTextDatum(groups[g].name);
					else if (c == 4)
						value = CStringGetTextDatum(OutputFunctionCall(&array_output, slot_getattr(walk.slot, columns[c], &null)));
					else
						value = slot_getattr(walk.slot, columns[c], &null);
					found[c] = accumArrayResult(found[c], value, false, types[c], CurrentMemoryContext);
				}
			}
		}
		spine_walk_end(&walk, false);
	}
	PopActiveSnapshot();
	if (found[0] == NULL)
		return false;
	for (int c = 0; c < FOUND_COLUMNS; c++)
		args[c] = makeArrayResult(found[c], CurrentMemoryContext);
	return true;
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
	Datum		args[FOUND_COLUMNS];

	spine_owner_enter(&owner);
	/* plans may be made while the tables are small, and are kept */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

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

	if (records_find(DatumGetArrayTypeP(linked), DatumGetArrayTypeP(hosted), args))
	{
		SPITupleTable *wrong;
		uint64		nwrong;

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

			if (SPI_execute_plan(mend_plan(place), mend_args, NULL, false, 0) != SPI_OK_UPDATE)
				elog(ERROR, "update of audiences failed");
			changed += (int64) SPI_processed;
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
