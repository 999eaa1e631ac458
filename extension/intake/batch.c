/*
 * batch.c
 *		Resolves and stores up to SPINE_BATCH_ROWS records of one group.
 *
 * Adding a record looks up whether the system sent this local_record_id
 * before, so that its record_id is known at once (RETURNING needs it). The
 * flush then works on the batch as a set: one query tells the patient, the
 * episode and the relationships of every record; what is new (aliases,
 * episodes, relationships, links) is inserted; the rows go into the group
 * table. Its triggers append history and deliveries.
 *
 * Everything runs as spine_owner with saved generic plans that may only use
 * indexes: a plan made while the tables were small must not scan them once
 * they have grown in the same transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "errors.h"
#include "governance/identity.h"
#include "intake/intake.h"
#include "intake/local_time.h"
#include "intake/plans.h"
#include "intake/subtransaction.h"

#define HASH_SLOTS			2048	/* a power of two above SPINE_BATCH_ROWS */
#define RESOLVE_ATTEMPTS	3
#define BATCH_BYTES			(8 * 1024 * 1024)	/* of memory for a batch's records */

typedef struct SpineGroupPlans
{
	BlockNumber planned;		/* size of the group's table when they were made */
	SPIPlanPtr	resolve;
	SPIPlanPtr	insert;
	SPIPlanPtr	update;
	SPIPlanPtr	delete;
	SPIPlanPtr *rules;			/* of the group's rules that look at other records: what is stored */
	SPIPlanPtr *rules_batch;	/* and what comes before in the same batch */
} SpineGroupPlans;

typedef struct SpineBatchRow
{
	Datum	   *values;
	bool	   *nulls;
	pg_uuid_t	record_id;
	bool		existing;		/* the system sent this local_record_id before */
	bool		same_items;		/* and with the same items */
	bool		has_old_patient;
	pg_uuid_t	old_patient;
	bool		has_old_episode;
	pg_uuid_t	old_episode;

	/* whom the supplier says it is about */
	bool		has_number_patient;
	pg_uuid_t	number_patient; /* from the NHS number */
	char	   *local_patient_id;
	char	   *local_episode_id;
	char	   *local_record_id;
	char	   *parent_key;
	bool		has_anchor;
	int32		anchor;
	bool		keeps_subject;	/* an update that names nobody stays with its patient */
	int64		from_revision;	/* the revision that an update has read; 0: none */
	TimestampTz not_after;		/* refused if the stored record is younger; 0: never */

	/* what the flush finds */
	bool		has_patient;
	pg_uuid_t	patient;
	bool		has_alias;
	pg_uuid_t	alias_patient;
	bool		has_alias_number;	/* the person under the NHS number last sent with the alias */
	pg_uuid_t	alias_number;
	bool		other_number;	/* and this record has another one */
	bool		has_episode;
	pg_uuid_t	episode;
	bool		has_episode_alias;
	bool		lacks_parent;	/* it belongs to a record that was not sent */
	bool		has_mother;		/* the parent record's patient, where it is another person */
	pg_uuid_t	mother;
	bool		has_mother_episode;
	pg_uuid_t	mother_episode;
	bool		known_to_owner; /* the owner has an episode relationship already */
	bool		may_be_shared;	/* its audience is worth computing */

	bool		broken;			/* a rule that looks at other records rejects it */
	bool		rejected;
	bool		unchanged;
	List	   *findings;
	const char *raw;
	int			raw_length;
	int64		n;
} SpineBatchRow;

struct SpineBatch
{
	SpineGroup *group;
	char	   *owner;
	char	   *source_system;
	Datum		owner_text;		/* what every row has */
	Datum		system_text;
	Datum		version_text;
	Datum		no_audience;
	SpineKeySet *expected;		/* what the rest of the submission brings, or NULL */
	Datum	   *header_values;	/* of the submission's header, or NULL */
	bool	   *header_nulls;
	MemoryContext context;		/* of the batch itself */
	MemoryContext flush_context;	/* reset after each flush */
	int			nrows;
	SpineBatchRow *rows;
	SpineBatchRow *by_local_id[HASH_SLOTS];
	int			ndeletes;
	pg_uuid_t  *deletes;
	int64		ndeleted;		/* rows that were there to delete, of all flushes */

	/* how records are looked for that were sent before; open from the first row to the flush */
	Relation	table;
	Relation	index;
	IndexScanDesc scan;
	Snapshot	snapshot;
	TupleTableSlot *slot;
};

/* Plans that do not depend on the group. */
static SPIPlanPtr plan_alias = NULL;
static SPIPlanPtr plan_identity_link = NULL;
static SPIPlanPtr plan_episode_find = NULL;
static SPIPlanPtr plan_episode_alias = NULL;
static SPIPlanPtr plan_episode_alias_undo = NULL;
static SPIPlanPtr plan_episode_insert = NULL;
static SPIPlanPtr plan_episode_anchor = NULL;
static SPIPlanPtr plan_episode_part = NULL;
static SPIPlanPtr plan_episode_same = NULL;
static SPIPlanPtr plan_relationship = NULL;
static SPIPlanPtr plan_family_link = NULL;
static SPIPlanPtr plan_episode_link = NULL;
static SPIPlanPtr plan_audience = NULL;
static SPIPlanPtr plan_finding_delete = NULL;
static SPIPlanPtr plan_finding_insert = NULL;
static SPIPlanPtr plan_finding_arrived = NULL;

void
spine_plans_free(SpineGroup *group)
{
	SpineGroupPlans *plans = group->plans;

	if (plans == NULL)
		return;
	if (plans->resolve)
		SPI_freeplan(plans->resolve);
	if (plans->insert)
		SPI_freeplan(plans->insert);
	if (plans->update)
		SPI_freeplan(plans->update);
	if (plans->delete)
		SPI_freeplan(plans->delete);
	for (int i = 0; i < group->nrules; i++)
	{
		if (plans->rules[i])
			SPI_freeplan(plans->rules[i]);
		if (plans->rules_batch[i])
			SPI_freeplan(plans->rules_batch[i]);
	}
	group->plans = NULL;
}

/* expected: keys of records that the submission brings later, for rules that ask for them; NULL at a view. */
SpineBatch *
spine_batch_create(SpineGroup *group, const char *owner, const char *source_system,
				   SpineKeySet *expected, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "spine batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	SpineBatch *batch = palloc0(sizeof(SpineBatch));

	batch->context = context;
	batch->flush_context = AllocSetContextCreate(context, "spine batch rows", ALLOCSET_DEFAULT_SIZES);
	batch->group = group;
	batch->owner = pstrdup(owner);
	batch->source_system = pstrdup(source_system);
	batch->owner_text = CStringGetTextDatum(owner);
	batch->system_text = CStringGetTextDatum(source_system);
	batch->version_text = CStringGetTextDatum(group->dataset->version);
	batch->no_audience = PointerGetDatum(construct_empty_array(TEXTOID));
	batch->expected = expected;
	batch->rows = palloc(sizeof(SpineBatchRow) * SPINE_BATCH_ROWS);
	batch->deletes = palloc(sizeof(pg_uuid_t) * SPINE_BATCH_ROWS);
	MemoryContextSwitchTo(old);
	return batch;
}

/* What header.ITEM is for the batch's rules that look at other records; kept by the caller. */
void
spine_batch_set_header(SpineBatch *batch, Datum *values, bool *nulls)
{
	batch->header_values = values;
	batch->header_nulls = nulls;
}

void
spine_batch_free(SpineBatch *batch)
{
	MemoryContextDelete(batch->context);
}

int
spine_batch_count(const SpineBatch *batch)
{
	return batch->nrows + batch->ndeletes;
}

/* How many rows it has deleted: another session may have been first. */
int64
spine_batch_deleted(const SpineBatch *batch)
{
	return batch->ndeleted;
}

/* Must it be flushed before anything is added? Large records fill it too. */
bool
spine_batch_full(const SpineBatch *batch)
{
	return spine_batch_count(batch) == SPINE_BATCH_ROWS ||
		MemoryContextMemAllocated(batch->flush_context, false) > BATCH_BYTES;
}

MemoryContext
spine_batch_context(SpineBatch *batch)
{
	return batch->flush_context;
}

/*
 * Rows of a batch by some key: open addressing, never more than
 * SPINE_BATCH_ROWS entries. Returns the slot of a row with the same key, or
 * the free one where it would go.
 */
typedef bool (*same_key) (const SpineBatch *batch, const SpineBatchRow *a, const SpineBatchRow *b);

static SpineBatchRow **
find_row(const SpineBatch *batch, SpineBatchRow **slots, uint32 hash,
		 const SpineBatchRow *row, same_key same)
{
	for (;; hash++)
	{
		SpineBatchRow **slot = &slots[hash & (HASH_SLOTS - 1)];

		if (*slot == NULL || same(batch, *slot, row))
			return slot;
	}
}

static uint32
hash_text(const char *text)
{
	return hash_bytes((const unsigned char *) text, strlen(text));
}

static bool
same_uuid(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a, b, UUID_LEN) == 0;
}

/* Is this the id of an NHS number? Others are version 7. */
static bool
is_from_number(const pg_uuid_t *patient)
{
	return (patient->data[6] & 0xf0) == 0x80;
}

static bool
same_local_record(const SpineBatch *batch, const SpineBatchRow *a, const SpineBatchRow *b)
{
	return strcmp(a->local_record_id, b->local_record_id) == 0;
}

static bool
same_local_patient(const SpineBatch *batch, const SpineBatchRow *a, const SpineBatchRow *b)
{
	return strcmp(a->local_patient_id, b->local_patient_id) == 0;
}

static bool
same_local_episode(const SpineBatch *batch, const SpineBatchRow *a, const SpineBatchRow *b)
{
	return strcmp(a->local_episode_id, b->local_episode_id) == 0;
}

/* one person, and anchors that do not tell two episodes apart */
static bool
same_episode(const SpineBatch *batch, const SpineBatchRow *a, const SpineBatchRow *b)
{
	return same_uuid(&a->patient, &b->patient) &&
		(!a->has_anchor || !b->has_anchor ||
		 abs(a->anchor - b->anchor) <= batch->group->episode_window);
}

/* Does the batch hold a record of this local_record_id? Then it must be flushed first. */
bool
spine_batch_holds(SpineBatch *batch, const SpineRecord *record)
{
	SpineBatchRow key;

	key.local_record_id = record->local_record_id;
	return *find_row(batch, batch->by_local_id, hash_text(key.local_record_id), &key, same_local_record) != NULL;
}

/* Do the items in the stored tuple equal those of the record? */
static bool
same_items(const SpineGroup *group, const SpineBatchRow *row, Relation table, HeapTuple stored)
{
	TupleDesc	desc = RelationGetDescr(table);

	for (int i = ENV_COLUMNS; i < group->desc->natts; i++)
	{
		const SpineItem *item = &group->items[i - ENV_COLUMNS];
		bool		isnull;
		Datum		value = heap_getattr(stored, group->table_attnums[i], desc, &isnull);

		if (isnull != row->nulls[i] ||
			(!isnull && !datum_image_eq(value, row->values[i], item->type_by_value, item->type_len)))
			return false;
	}
	return true;
}

static void
lost_race(const SpineGroup *group)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("another session of this system is writing the same record"),
			 errhint("Send the submission again."),
			 err_generic_string(PG_DIAG_SCHEMA_NAME, group->dataset->name),
			 err_generic_string(PG_DIAG_TABLE_NAME, group->name)));
}

static void
open_probe(SpineBatch *batch)
{
	SpineGroup *group = batch->group;
	char	   *name = psprintf("%s_local", group->name);
	Oid			index;

	batch->table = table_open(group->table, RowExclusiveLock);
	/* by its name now, under the table's lock: REINDEX CONCURRENTLY puts another in its place */
	index = get_relname_relid(name, RelationGetNamespace(batch->table));
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index \"%s\" of table \"%s.%s\" is missing", name, group->dataset->name, group->name),
				 errhint("It was dropped by hand. Create it again: UNIQUE (local_record_id, source_system, owner).")));
	batch->index = index_open(index, RowExclusiveLock);
	batch->slot = table_slot_create(batch->table, NULL);
	/* whatever is committed by now; what comes after meets the unique index */
	batch->snapshot = RegisterSnapshot(GetLatestSnapshot());
	batch->scan = spine_index_beginscan(batch->table, batch->index, batch->snapshot, 3);
}

static void
close_probe(SpineBatch *batch)
{
	if (batch->table == NULL)
		return;
	index_endscan(batch->scan);
	UnregisterSnapshot(batch->snapshot);
	ExecDropSingleTupleTableSlot(batch->slot);
	index_close(batch->index, NoLock);
	table_close(batch->table, NoLock);
	batch->table = NULL;
}

/*
 * Looks for the record that the system sent under the same local_record_id
 * before. An UPDATE must find it as it has read it: it writes every column, and
 * those that it did not set would undo what another session has set meanwhile.
 */
static void
probe_existing(SpineBatch *batch, SpineBatchRow *row)
{
	SpineGroup *group = batch->group;
	ScanKeyData keys[3];

	if (batch->table == NULL)
		open_probe(batch);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, row->values[ENV_LOCAL_RECORD_ID]);
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ, row->values[ENV_SOURCE_SYSTEM]);
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_TEXTEQ, row->values[ENV_OWNER]);
	for (int i = 0; i < 3; i++)
		keys[i].sk_collation = batch->index->rd_indcollation[i];
	index_rescan(batch->scan, keys, 3, NULL, 0);
	if (index_getnext_slot(batch->scan, ForwardScanDirection, batch->slot))
	{
		bool		should_free;
		bool		isnull;
		HeapTuple	stored = ExecFetchSlotHeapTuple(batch->slot, false, &should_free);
		TupleDesc	desc = RelationGetDescr(batch->table);
		Datum		value;

		row->existing = true;
		row->record_id = *DatumGetUUIDP(heap_getattr(stored, group->table_attnums[ENV_RECORD_ID], desc, &isnull));
		value = heap_getattr(stored, group->table_attnums[ENV_PATIENT_ID], desc, &isnull);
		row->has_old_patient = !isnull;
		if (!isnull)
			row->old_patient = *DatumGetUUIDP(value);
		value = heap_getattr(stored, group->table_attnums[ENV_EPISODE_ID], desc, &isnull);
		row->has_old_episode = !isnull;
		if (!isnull)
			row->old_episode = *DatumGetUUIDP(value);
		value = heap_getattr(stored, group->table_attnums[ENV_REVISION], desc, &isnull);
		if (row->from_revision != 0 && row->from_revision != DatumGetInt64(value) &&
			!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(stored->t_data)))
			lost_race(group);
		row->values[ENV_REVISION] = Int64GetDatum(DatumGetInt64(value) + 1);
		value = heap_getattr(stored, group->table_attnums[ENV_RECEIVED_AT], desc, &isnull);
		if (row->not_after != 0 && DatumGetTimestampTz(value) > row->not_after)
		{
			row->findings = lappend(row->findings,
									spine_finding_make("record.superseded", SEVERITY_RECORD, NULL,
													   "a later version of this record was accepted since; discard this one"));
			row->broken = row->rejected = true;
		}
		row->same_items = same_items(group, row, batch->table, stored);
		if (should_free)
			heap_freetuple(stored);
		ExecClearTuple(batch->slot);
	}
	if (row->from_revision != 0 && !row->existing)
		lost_race(group);
}

/*
 * Adds a record that passed its checks. What it points to must live until the
 * flush. Tells its record_id.
 */
void
spine_batch_add(SpineBatch *batch, const SpineRecord *record, pg_uuid_t *record_id)
{
	MemoryContext old = MemoryContextSwitchTo(batch->flush_context);
	SpineBatchRow *row;
	Datum	   *values = record->values;
	bool	   *nulls = record->nulls;

	Assert(batch->nrows < SPINE_BATCH_ROWS);
	row = &batch->rows[batch->nrows];
	memset(row, 0, sizeof(*row));
	row->values = values;
	row->nulls = nulls;
	row->local_patient_id = record->local_patient_id;
	row->local_episode_id = record->group->episode_kind != NULL ? record->local_episode_id : NULL;
	row->local_record_id = record->local_record_id;
	row->parent_key = record->parent_key;
	row->has_anchor = record->has_anchor;
	row->anchor = record->anchor;
	row->keeps_subject = record->keeps_subject;
	row->from_revision = record->from_revision;
	row->not_after = record->not_after;
	row->findings = record->findings;
	row->raw = record->raw;
	row->raw_length = record->raw_length;
	row->n = record->n;
	if (record->has_nhs_number && record->group->has_subject)
	{
		row->has_number_patient = true;
		spine_identity_patient(record->nhs_number, &row->number_patient);
	}

	values[ENV_OWNER] = batch->owner_text;
	values[ENV_SOURCE_SYSTEM] = batch->system_text;
	values[ENV_LOCAL_RECORD_ID] = CStringGetTextDatum(record->local_record_id);
	values[ENV_DATASET_VERSION] = batch->version_text;
	values[ENV_RECEIVED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[ENV_REVISION] = Int64GetDatum(1);
	values[ENV_AUDIENCE] = batch->no_audience;
	nulls[ENV_RECORD_ID] = nulls[ENV_OWNER] = nulls[ENV_SOURCE_SYSTEM] = false;
	nulls[ENV_LOCAL_RECORD_ID] = nulls[ENV_DATASET_VERSION] = nulls[ENV_RECEIVED_AT] = false;
	nulls[ENV_REVISION] = nulls[ENV_AUDIENCE] = false;

	probe_existing(batch, row);
	if (!row->existing)
		spine_identity_uuid_v7(&row->record_id);
	values[ENV_RECORD_ID] = UUIDPGetDatum(&row->record_id);

	*find_row(batch, batch->by_local_id, hash_text(row->local_record_id), row, same_local_record) = row;
	batch->nrows++;
	*record_id = row->record_id;
	MemoryContextSwitchTo(old);
}

void
spine_batch_delete(SpineBatch *batch, const pg_uuid_t *record_id)
{
	Assert(batch->ndeletes < SPINE_BATCH_ROWS);
	batch->deletes[batch->ndeletes++] = *record_id;
}

static bool
result_uuid(HeapTuple tuple, int column, pg_uuid_t *uuid)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);

	if (!isnull)
		*uuid = *DatumGetUUIDP(value);
	return !isnull;
}

static bool
result_true(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/*
 * Who and what the records are about
 */

static TupleDesc
keys_desc(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		desc = CreateTemplateTupleDesc(5);
		TupleDescInitEntry(desc, 1, "n", INT4OID, -1, 0);
		TupleDescInitEntry(desc, 2, "patient", UUIDOID, -1, 0);
		TupleDescInitEntry(desc, 3, "local_patient", TEXTOID, -1, 0);
		TupleDescInitEntry(desc, 4, "local_episode", TEXTOID, -1, 0);
		TupleDescInitEntry(desc, 5, "parent", TEXTOID, -1, 0);
		MemoryContextSwitchTo(old);
	}
	return desc;
}

/*
 * One row out for each row in: what the system's own identifiers, the parent
 * record and the relationships of the patient tell. $1 owner, $2 system,
 * $3 episode kind, $4 data set, $5 data group. OFFSET makes of each look-up one
 * by key, whatever the planner believes of a table that was empty when the
 * plan was made; IS NOT DISTINCT keeps it from the index of the owner.
 */
static char *
resolve_query(const SpineGroup *group)
{
	StringInfoData query;
	bool		parent_is_patient = group->parent != NULL &&
	group->parent->subject_is_baby == group->subject_is_baby;

	initStringInfo(&query);
	appendStringInfoString(&query,
						   "SELECT k.n, a.patient_id, ea.patient_id, ea.episode_id, ");
	appendStringInfoString(&query, group->parent != NULL ?
						   "p.patient_id, p.episode_id, p.record_id IS NOT NULL, p.event_at, " :
						   "NULL::uuid, NULL::uuid, NULL::bool, NULL::timestamptz, ");
	appendStringInfoString(&query,
						   "r.known, "
						   "coalesce(r.others, false) OR i.linked OR "
						   "(SELECT EXISTS (SELECT FROM spine.sharing_rule s WHERE s.from_organisation = $1"
						   "  AND s.dataset = $4 AND s.data_group = $5 AND s.purpose <> 'care')), "
						   "(SELECT l.to_patient FROM spine.identity_link l WHERE l.from_patient = a.patient_id"
						   "  AND l.owner = $1 AND l.method = 'nhs_number' AND l.until IS NULL LIMIT 1) "
						   "FROM spine_keys k "
						   "LEFT JOIN LATERAL (SELECT x.patient_id FROM spine.alias x WHERE x.owner = $1 AND x.source_system = $2"
						   " AND x.local_patient_id = k.local_patient OFFSET 0) a ON true "
						   "LEFT JOIN LATERAL (SELECT x.patient_id, x.episode_id FROM spine.episode_alias x"
						   " WHERE x.owner = $1 AND x.source_system = $2"
						   " AND x.kind = $3 AND x.local_episode_id = k.local_episode OFFSET 0) ea ON true ");
	if (group->parent != NULL)
		appendStringInfo(&query,
						 "LEFT JOIN LATERAL (SELECT x.patient_id, x.episode_id, x.record_id, x.event_at FROM %s x"
						 " WHERE x.owner IS NOT DISTINCT FROM $1 AND x.source_system IS NOT DISTINCT FROM $2"
						 " AND x.local_record_id = k.parent OFFSET 0) p ON true ",
						 quote_qualified_identifier(group->dataset->name, group->parent->name));
	appendStringInfo(&query,
					 "CROSS JOIN LATERAL (SELECT coalesce(k.patient, a.patient_id, ea.patient_id%s) AS patient) w "
					 "CROSS JOIN LATERAL (SELECT bool_or(x.organisation = $1 AND x.kind = 'episode') AS known,"
					 "  bool_or(x.organisation <> $1) AS others"
					 "  FROM spine.relationship x WHERE x.patient_id = w.patient AND x.until IS NULL) r "
					 "CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM spine.identity_link l"
					 "    WHERE l.from_patient = w.patient AND l.until IS NULL)"
					 "  OR EXISTS (SELECT FROM spine.identity_link l"
					 "    WHERE l.to_patient = w.patient AND l.until IS NULL) AS linked) i",
					 parent_is_patient ? ", p.patient_id" : "");
	return query.data;
}

static void
resolve(SpineBatch *batch)
{
	static const Oid types[5] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	SpineGroup *group = batch->group;
	Tuplestorestate *keys = tuplestore_begin_heap(false, false, work_mem);
	Datum		args[5];
	bool		parent_is_patient = group->parent != NULL &&
	group->parent->subject_is_baby == group->subject_is_baby;

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];
		Datum		values[5];
		bool		nulls[5] = {false, !row->has_number_patient};

		values[0] = Int32GetDatum(i);
		values[1] = UUIDPGetDatum(&row->number_patient);
		spine_put_text(&values[2], &nulls[2], row->local_patient_id);
		spine_put_text(&values[3], &nulls[3], row->local_episode_id);
		spine_put_text(&values[4], &nulls[4], row->parent_key);
		tuplestore_putvalues(keys, keys_desc(), values, nulls);
	}
	spine_register_rows("spine_keys", keys_desc(), keys, batch->nrows);

	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = CStringGetTextDatum(batch->source_system);
	args[2] = CStringGetTextDatum(group->episode_kind == NULL ? "" : group->episode_kind);
	args[3] = CStringGetTextDatum(group->dataset->name);
	args[4] = CStringGetTextDatum(group->name);
	spine_plan_run(&group->plans->resolve, group->plans->resolve == NULL ? resolve_query(group) : NULL, 5, types, args);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		SpineBatchRow *row = &batch->rows[DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull))];
		pg_uuid_t	episode_patient;
		pg_uuid_t	parent_patient;
		pg_uuid_t	parent_episode;
		bool		has_parent_patient;
		bool		has_parent_episode;
		bool		parent_found;
		Datum		parent_event;

		row->has_alias = result_uuid(tuple, 2, &row->alias_patient);
		row->has_episode_alias = result_uuid(tuple, 3, &episode_patient);
		row->has_episode = result_uuid(tuple, 4, &row->episode);
		has_parent_patient = result_uuid(tuple, 5, &parent_patient);
		has_parent_episode = result_uuid(tuple, 6, &parent_episode);
		parent_found = result_true(tuple, 7);
		parent_event = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 8, &isnull);
		if (row->nulls[ENV_EVENT_AT] && !isnull)
		{
			row->values[ENV_EVENT_AT] = parent_event;
			row->nulls[ENV_EVENT_AT] = false;
		}
		row->known_to_owner = result_true(tuple, 9);
		row->may_be_shared = result_true(tuple, 10);
		row->has_alias_number = result_uuid(tuple, 11, &row->alias_number);
		if (row->has_alias && is_from_number(&row->alias_patient))
		{
			row->has_alias_number = true;
			row->alias_number = row->alias_patient;
		}

		row->has_patient = true;
		if (row->has_number_patient)
			row->patient = row->number_patient;
		else if (row->has_alias)
			row->patient = row->alias_patient;
		else if (row->has_episode_alias)
			row->patient = episode_patient;
		else if (has_parent_patient && parent_is_patient)
			row->patient = parent_patient;
		else if (row->keeps_subject && row->has_old_patient)
			row->patient = row->old_patient;
		else
			row->has_patient = false;
		if (row->keeps_subject && !row->has_episode && row->has_old_episode)
		{
			row->has_episode = true;
			row->episode = row->old_episode;
		}

		if (parent_is_patient)
		{
			if (!row->has_episode && has_parent_episode && group->episode_kind != NULL &&
				group->parent->episode_kind != NULL &&
				strcmp(group->episode_kind, group->parent->episode_kind) == 0)
			{
				row->has_episode = true;
				row->episode = parent_episode;
			}
		}
		else
		{
			row->has_mother = has_parent_patient;
			row->mother = parent_patient;
			row->has_mother_episode = has_parent_episode;
			row->mother_episode = parent_episode;
		}

		row->lacks_parent = row->parent_key != NULL && !parent_found &&
			(parent_is_patient || (!row->has_patient && row->local_patient_id == NULL));

		/* or the system's own episode number was used for another person before */
		if (row->lacks_parent ||
			(row->has_episode_alias && row->has_patient && !same_uuid(&row->patient, &episode_patient) &&
			 !(row->has_alias && same_uuid(&row->alias_patient, &episode_patient))))
			row->rejected = true;
	}
	SPI_unregister_relation("spine_keys");
	tuplestore_end(keys);
}

/*
 * A system's own number stands for one person, so it cannot come with two NHS
 * numbers: to take both for hers would join two persons' records, everywhere.
 */
static void
check_numbers(SpineBatch *batch)
{
	SpineBatchRow **numbered = palloc0(sizeof(SpineBatchRow *) * HASH_SLOTS);

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];
		SpineBatchRow **first;

		row->other_number = false;
		if (row->rejected || row->local_patient_id == NULL || !row->has_number_patient)
			continue;
		first = find_row(batch, numbered, hash_text(row->local_patient_id), row, same_local_patient);
		if (row->has_alias_number)
			row->other_number = !same_uuid(&row->alias_number, &row->number_patient);
		else if (*first == NULL)
			*first = row;
		else
			row->other_number = !same_uuid(&(*first)->number_patient, &row->number_patient);
		row->rejected = row->other_number;
	}
}

/* As far as two records of the batch tell it themselves. */
static bool
same_person(const SpineBatchRow *a, const SpineBatchRow *b)
{
	return (a->local_patient_id != NULL && b->local_patient_id != NULL &&
			strcmp(a->local_patient_id, b->local_patient_id) == 0) ||
		(a->has_patient && b->has_patient && same_uuid(&a->patient, &b->patient));
}

/*
 * Nor can its number of an episode come with two persons. Asked before anything
 * is inserted: what is rejected must leave nothing by which others are told.
 */
static void
check_episode_numbers(SpineBatch *batch)
{
	SpineBatchRow **numbered = palloc0(sizeof(SpineBatchRow *) * HASH_SLOTS);

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];
		SpineBatchRow **first;

		if (row->rejected || row->local_episode_id == NULL || row->has_episode_alias ||
			(!row->has_patient && row->local_patient_id == NULL))
			continue;
		first = find_row(batch, numbered, hash_text(row->local_episode_id), row, same_local_episode);
		if (*first == NULL)
			*first = row;
		else
			row->rejected = !same_person(*first, row);
	}
}

/*
 * Persons who are new to the system: an id for each, and an alias under the
 * system's own number. Returns false when another session was first.
 */
static bool
create_aliases(SpineBatch *batch)
{
	static const Oid types[4] = {TEXTOID, TEXTOID, TEXTARRAYOID, UUIDARRAYOID};
	Datum	   *locals = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *patients = palloc(sizeof(Datum) * batch->nrows);
	SpineBatchRow **firsts = palloc0(sizeof(SpineBatchRow *) * HASH_SLOTS);
	int			n = 0;
	Datum		args[4];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];
		SpineBatchRow **first;

		if (row->rejected || row->local_patient_id == NULL || row->has_alias)
			continue;
		first = find_row(batch, firsts, hash_text(row->local_patient_id), row, same_local_patient);
		if (*first != NULL)
		{
			/* the same person earlier in this batch */
			row->has_alias = true;
			row->alias_patient = (*first)->patient;
			if (!row->has_patient)
			{
				row->has_patient = true;
				row->patient = (*first)->patient;
			}
			continue;
		}
		if (!row->has_patient)
		{
			spine_identity_uuid_v7(&row->patient);
			row->has_patient = true;
		}
		locals[n] = CStringGetTextDatum(row->local_patient_id);
		patients[n++] = UUIDPGetDatum(&row->patient);
		*first = row;
	}
	if (n == 0)
		return true;
	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = CStringGetTextDatum(batch->source_system);
	args[2] = spine_array(locals, n, TEXTOID);
	args[3] = spine_array(patients, n, UUIDOID);
	return spine_plan_run(&plan_alias,
						  "INSERT INTO spine.alias (owner, source_system, local_patient_id, patient_id)"
						  " SELECT $1, $2, x.l, x.p FROM unnest($3, $4) AS x(l, p) ON CONFLICT DO NOTHING",
						  4, types, args) == n;
}

/* The system knew the person before it knew the NHS number: both ids are one person. */
static void
link_identities(SpineBatch *batch)
{
	static const Oid types[3] = {TEXTOID, UUIDARRAYOID, UUIDARRAYOID};
	Datum	   *from = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *to = palloc(sizeof(Datum) * batch->nrows);
	int			n = 0;
	Datum		args[3];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || !row->has_number_patient || !row->has_alias ||
			same_uuid(&row->alias_patient, &row->number_patient))
			continue;
		from[n] = UUIDPGetDatum(&row->alias_patient);
		to[n++] = UUIDPGetDatum(&row->number_patient);
		row->may_be_shared = true;
	}
	if (n == 0)
		return;
	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = spine_array(from, n, UUIDOID);
	args[2] = spine_array(to, n, UUIDOID);
	spine_plan_run(&plan_identity_link,
				   "INSERT INTO spine.identity_link (link_id, from_patient, to_patient, method, owner)"
				   " SELECT spine.uuid_v7(), x.f, x.t, 'nhs_number', $1"
				   "   FROM (SELECT DISTINCT f, t FROM unnest($2, $3) AS u(f, t)) x"
				   " ON CONFLICT DO NOTHING",
				   3, types, args);
}

/*
 * Looks for episodes that the records belong to by rule: the owner's own. To
 * find another's would tell that there is one; link_episodes() joins them.
 */
static void
find_episodes(SpineBatch *batch)
{
	static const Oid types[8] = {INT4ARRAYOID, UUIDARRAYOID, DATEARRAYOID, DATEARRAYOID, TEXTOID, INT4OID, INT4OID, TEXTOID};
	SpineGroup *group = batch->group;
	Datum	   *numbers = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *patients = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *anchors = palloc(sizeof(Datum) * batch->nrows);
	bool	   *no_anchor = palloc(sizeof(bool) * batch->nrows);
	Datum	   *events = palloc(sizeof(Datum) * batch->nrows);
	bool	   *no_event = palloc(sizeof(bool) * batch->nrows);
	int			n = 0;
	Datum		args[8];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || row->has_episode || !row->has_patient)
			continue;
		numbers[n] = Int32GetDatum(i);
		patients[n] = UUIDPGetDatum(&row->patient);
		anchors[n] = DateADTGetDatum(row->anchor);
		no_anchor[n] = !row->has_anchor;
		no_event[n] = row->nulls[ENV_EVENT_AT];
		events[n] = no_event[n] ? (Datum) 0 :
			DateADTGetDatum(spine_local_date(DatumGetTimestampTz(row->values[ENV_EVENT_AT])));
		n++;
	}
	if (n == 0)
		return;
	args[0] = spine_array(numbers, n, INT4OID);
	args[1] = spine_array(patients, n, UUIDOID);
	args[2] = spine_array_with_nulls(anchors, no_anchor, n, DATEOID);
	args[3] = spine_array_with_nulls(events, no_event, n, DATEOID);
	args[4] = CStringGetTextDatum(group->episode_kind);
	args[5] = Int32GetDatum(group->episode_window);
	args[6] = Int32GetDatum(group->episode_open);
	args[7] = CStringGetTextDatum(batch->owner);
	spine_plan_run(&plan_episode_find,
				   "SELECT x.n, f.episode_id FROM unnest($1, $2, $3, $4) AS x(n, patient, anchor, event),"
				   " LATERAL (SELECT e.episode_id FROM spine.episode e"
				   "   WHERE e.patient_id = x.patient AND e.kind = $5 AND e.owner = $8"
				   "     AND CASE WHEN x.anchor IS NOT NULL AND e.anchor IS NOT NULL THEN abs(e.anchor - x.anchor) <= $6"
				   "              WHEN e.anchor IS NOT NULL AND x.event IS NOT NULL THEN abs(e.anchor - x.event) <= $7"
				   "              ELSE e.opened_at > now() - make_interval(days => $7) END"
				   "   ORDER BY abs(e.anchor - coalesce(x.anchor, x.event)) NULLS LAST, e.opened_at DESC LIMIT 1) f",
				   8, types, args);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		SpineBatchRow *row = &batch->rows[DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull))];

		row->has_episode = result_uuid(tuple, 2, &row->episode);
	}
}

/*
 * Opens the episodes that are new, one for all records of the batch that
 * share it. Returns false when another session was first with a number.
 */
static bool
create_episodes(SpineBatch *batch)
{
	static const Oid alias_types[6] = {TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, UUIDARRAYOID, UUIDARRAYOID};
	static const Oid types[5] = {UUIDARRAYOID, UUIDARRAYOID, TEXTOID, DATEARRAYOID, TEXTOID};
	SpineGroup *group = batch->group;
	Datum	   *ids = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *patients = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *locals = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *anchors = palloc(sizeof(Datum) * batch->nrows);
	bool	   *no_anchor = palloc(sizeof(bool) * batch->nrows);
	SpineBatchRow **opened = palloc(sizeof(SpineBatchRow *) * batch->nrows);
	SpineBatchRow **named = palloc(sizeof(SpineBatchRow *) * batch->nrows);
	SpineBatchRow **by_patient = palloc0(sizeof(SpineBatchRow *) * HASH_SLOTS);
	SpineBatchRow **by_number = palloc0(sizeof(SpineBatchRow *) * HASH_SLOTS);
	int			nopened = 0;
	int			nnamed = 0;
	Datum		args[6];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];
		SpineBatchRow **first;

		if (row->rejected || !row->has_patient)
			continue;
		if (row->local_episode_id != NULL && !row->has_episode_alias)
		{
			first = find_row(batch, by_number, hash_text(row->local_episode_id), row, same_local_episode);
			if (*first != NULL)
			{
				row->has_episode = row->has_episode_alias = true;
				row->episode = (*first)->episode;
				continue;
			}
			*first = row;
			named[nnamed++] = row;
		}
		if (!row->has_episode)
		{
			first = find_row(batch, by_patient, hash_bytes(row->patient.data, UUID_LEN), row, same_episode);
			row->has_episode = true;
			if (*first != NULL)
				row->episode = (*first)->episode;
			else
			{
				spine_identity_uuid_v7(&row->episode);
				*first = row;
				opened[nopened++] = row;
			}
		}
	}
	if (nnamed > 0)
	{
		for (int i = 0; i < nnamed; i++)
		{
			locals[i] = CStringGetTextDatum(named[i]->local_episode_id);
			patients[i] = UUIDPGetDatum(&named[i]->patient);
			ids[i] = UUIDPGetDatum(&named[i]->episode);
		}
		args[0] = CStringGetTextDatum(batch->owner);
		args[1] = CStringGetTextDatum(batch->source_system);
		args[2] = CStringGetTextDatum(group->episode_kind);
		args[3] = spine_array(locals, nnamed, TEXTOID);
		args[4] = spine_array(patients, nnamed, UUIDOID);
		args[5] = spine_array(ids, nnamed, UUIDOID);
		if (spine_plan_run(&plan_episode_alias,
						   "INSERT INTO spine.episode_alias (owner, source_system, kind, local_episode_id, patient_id, episode_id)"
						   " SELECT $1, $2, $3, x.l, x.p, x.e FROM unnest($4, $5, $6) AS x(l, p, e) ON CONFLICT DO NOTHING",
						   6, alias_types, args) != nnamed)
		{
			/* the next attempt must not find numbers of episodes that this one has not opened */
			for (int i = 0; i < nopened; i++)
				ids[i] = UUIDPGetDatum(&opened[i]->episode);
			args[0] = spine_array(ids, nopened, UUIDOID);
			spine_plan_run(&plan_episode_alias_undo,
						   "DELETE FROM spine.episode_alias a WHERE a.episode_id = ANY ($1)", 1, types, args);
			return false;
		}
	}
	if (nopened > 0)
	{
		for (int i = 0; i < nopened; i++)
		{
			ids[i] = UUIDPGetDatum(&opened[i]->episode);
			patients[i] = UUIDPGetDatum(&opened[i]->patient);
			anchors[i] = DateADTGetDatum(opened[i]->anchor);
			no_anchor[i] = !opened[i]->has_anchor;
		}
		args[0] = spine_array(ids, nopened, UUIDOID);
		args[1] = spine_array(patients, nopened, UUIDOID);
		args[2] = CStringGetTextDatum(group->episode_kind);
		args[3] = spine_array_with_nulls(anchors, no_anchor, nopened, DATEOID);
		args[4] = CStringGetTextDatum(batch->owner);
		spine_plan_run(&plan_episode_insert,
					   "INSERT INTO spine.episode (episode_id, patient_id, kind, anchor, owner)"
					   " SELECT x.e, x.p, $3, x.a, $5 FROM unnest($1, $2, $4) AS x(e, p, a)",
					   5, types, args);
	}
	return true;
}

/* An episode gets its anchor with the first record that has one; a correction by its owner moves it. */
static void
set_anchors(SpineBatch *batch)
{
	static const Oid types[4] = {UUIDARRAYOID, DATEARRAYOID, TEXTOID, BOOLARRAYOID};
	Datum	   *ids = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *anchors = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *corrections = palloc(sizeof(Datum) * batch->nrows);
	int			n = 0;
	Datum		args[4];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || !row->has_anchor || !row->has_episode)
			continue;
		ids[n] = UUIDPGetDatum(&row->episode);
		corrections[n] = BoolGetDatum(row->existing);
		anchors[n++] = DateADTGetDatum(row->anchor);
	}
	if (n == 0)
		return;
	args[0] = spine_array(ids, n, UUIDOID);
	args[1] = spine_array(anchors, n, DATEOID);
	args[2] = CStringGetTextDatum(batch->owner);
	args[3] = spine_array(corrections, n, BOOLOID);
	spine_plan_run(&plan_episode_anchor,
				   "UPDATE spine.episode e SET anchor = x.a FROM unnest($1, $2, $4) AS x(e, a, c)"
				   " WHERE e.episode_id = x.e AND e.anchor IS DISTINCT FROM x.a"
				   "   AND (e.anchor IS NULL OR (x.c AND e.owner = $3))",
				   4, types, args);
}

/*
 * Episodes of one person whose anchors are near enough are one journey,
 * whoever describes it: a link each, as spine.receive() makes them for a
 * neighbour's. Two of one owner come of two systems that began at the same
 * moment. A corrected anchor may part what was joined.
 */
static void
link_episodes(SpineBatch *batch)
{
	static const Oid types[6] = {UUIDARRAYOID, UUIDARRAYOID, DATEARRAYOID, TEXTOID, TEXTOID, INT4OID};
	SpineGroup *group = batch->group;
	Datum	   *ids = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *patients = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *anchors = palloc(sizeof(Datum) * batch->nrows);
	bool		corrected = false;
	int			n = 0;
	Datum		args[6];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || !row->has_anchor || !row->has_episode)
			continue;
		ids[n] = UUIDPGetDatum(&row->episode);
		patients[n] = UUIDPGetDatum(&row->patient);
		anchors[n++] = DateADTGetDatum(row->anchor);
		corrected |= row->existing;
	}
	if (n == 0)
		return;
	args[0] = spine_array(ids, n, UUIDOID);
	args[1] = spine_array(patients, n, UUIDOID);
	args[2] = spine_array(anchors, n, DATEOID);
	args[3] = CStringGetTextDatum(group->episode_kind);
	args[4] = CStringGetTextDatum(batch->owner);
	args[5] = Int32GetDatum(group->episode_window);
	if (corrected)
		spine_plan_run(&plan_episode_part,
					   "DELETE FROM spine.episode_link l USING unnest($1) AS x(e), spine.episode f, spine.episode t"
					   " WHERE (l.from_episode = x.e OR l.to_episode = x.e) AND l.kind = 'same' AND l.method = 'anchor'"
					   "   AND f.episode_id = l.from_episode AND t.episode_id = l.to_episode"
					   "   AND abs(f.anchor - t.anchor) > $6 AND l.owner = ANY (spine.hosted_organisations())",
					   6, types, args);
	spine_plan_run(&plan_episode_same,
				   "INSERT INTO spine.episode_link (from_episode, to_episode, kind, method, owner)"
				   " SELECT DISTINCT x.e, o.episode_id, 'same', 'anchor', $5"
				   "   FROM unnest($1, $2, $3) AS x(e, p, a)"
				   "   JOIN spine.episode m ON m.episode_id = x.e"
				   "   JOIN spine.episode o ON o.patient_id = x.p AND o.kind = $4 AND o.episode_id <> m.episode_id"
				   "  WHERE m.owner = $5 AND abs(o.anchor - m.anchor) <= $6"
				   " ON CONFLICT DO NOTHING",
				   6, types, args);
}

/* The owner has an episode of these patients now: that is a relationship. */
static void
create_relationships(SpineBatch *batch)
{
	static const Oid types[2] = {TEXTOID, UUIDARRAYOID};
	Datum	   *patients = palloc(sizeof(Datum) * batch->nrows);
	int			n = 0;
	Datum		args[2];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (!row->rejected && row->has_episode && !row->known_to_owner)
			patients[n++] = UUIDPGetDatum(&row->patient);
	}
	if (n == 0)
		return;
	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = spine_array(patients, n, UUIDOID);
	spine_plan_run(&plan_relationship,
				   "INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, audience)"
				   " SELECT spine.uuid_v7(), x.p, $1, 'episode', $1, a.audience"
				   "   FROM (SELECT DISTINCT p FROM unnest($2) AS u(p)) x,"
				   "        (SELECT spine.relationship_audience($1, $1) AS audience OFFSET 0) a"
				   " ON CONFLICT DO NOTHING",
				   2, types, args);
}

/* A baby's record whose parent is its mother's: baby to mother, birth to pregnancy. */
static void
link_babies(SpineBatch *batch)
{
	static const Oid types[4] = {TEXTOID, TEXTOID, UUIDARRAYOID, UUIDARRAYOID};
	Datum	   *from = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *to = palloc(sizeof(Datum) * batch->nrows);
	int			n = 0;
	Datum		args[4];

	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = CStringGetTextDatum(batch->group->parent->name);
	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || !row->has_patient || !row->has_mother)
			continue;
		from[n] = UUIDPGetDatum(&row->patient);
		to[n++] = UUIDPGetDatum(&row->mother);
	}
	if (n == 0)
		return;
	args[2] = spine_array(from, n, UUIDOID);
	args[3] = spine_array(to, n, UUIDOID);
	spine_plan_run(&plan_family_link,
				   "INSERT INTO spine.family_link (child, mother, method, owner)"
				   " SELECT DISTINCT x.c, x.m, $2, $1 FROM unnest($3, $4) AS x(c, m) ON CONFLICT DO NOTHING",
				   4, types, args);
	n = 0;
	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || !row->has_episode || !row->has_mother_episode)
			continue;
		from[n] = UUIDPGetDatum(&row->episode);
		to[n++] = UUIDPGetDatum(&row->mother_episode);
	}
	if (n == 0)
		return;
	args[2] = spine_array(from, n, UUIDOID);
	args[3] = spine_array(to, n, UUIDOID);
	spine_plan_run(&plan_episode_link,
				   "INSERT INTO spine.episode_link (from_episode, to_episode, kind, method, owner)"
				   " SELECT DISTINCT x.f, x.t, 'birth_of', $2, $1 FROM unnest($3, $4) AS x(f, t) ON CONFLICT DO NOTHING",
				   4, types, args);
}

static void
set_audiences(SpineBatch *batch)
{
	static const Oid types[5] = {TEXTOID, TEXTOID, TEXTOID, INT4ARRAYOID, UUIDARRAYOID};
	SpineGroup *group = batch->group;
	Datum	   *numbers = palloc(sizeof(Datum) * batch->nrows);
	Datum	   *patients = palloc(sizeof(Datum) * batch->nrows);
	int			n = 0;
	Datum		args[5];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || !row->may_be_shared || !row->has_patient)
			continue;
		numbers[n] = Int32GetDatum(i);
		patients[n++] = UUIDPGetDatum(&row->patient);
	}
	if (n == 0)
		return;
	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = CStringGetTextDatum(group->dataset->name);
	args[2] = CStringGetTextDatum(group->name);
	args[3] = spine_array(numbers, n, INT4OID);
	args[4] = spine_array(patients, n, UUIDOID);
	spine_plan_run(&plan_audience,
				   "SELECT x.n, spine.audience($1, $2, $3, x.p) FROM unnest($4, $5) AS x(n, p)",
				   5, types, args);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		HeapTuple	tuple = SPI_tuptable->vals[i];
		SpineBatchRow *row = &batch->rows[DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull))];
		Datum		audience = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull);

		if (!isnull)
			row->values[ENV_AUDIENCE] = datumCopy(audience, false, -1);
	}
}

static void
reject(SpineBatchRow *row, const char *rule, const char *item, char *message)
{
	row->findings = lappend(row->findings, spine_finding_make(rule, SEVERITY_RECORD, item, message));
	row->rejected = true;
}

/* Fills patient, episode and audience of every row; rejects those about nobody known. */
static void
settle_subjects(SpineBatch *batch)
{
	SpineGroup *group = batch->group;
	bool		settled = false;

	for (int attempt = 0; attempt < RESOLVE_ATTEMPTS && !settled; attempt++)
	{
		for (int i = 0; i < batch->nrows; i++)
			batch->rows[i].rejected = batch->rows[i].broken;
		resolve(batch);
		check_numbers(batch);
		check_episode_numbers(batch);
		settled = create_aliases(batch);
		if (settled && group->episode_kind != NULL)
		{
			find_episodes(batch);
			settled = create_episodes(batch);
		}
	}
	if (!settled)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("another session of this system is writing about the same person"),
				 errhint("Send the submission again.")));

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->broken)
			continue;
		if (row->other_number)
			reject(row, "identity.conflict", "nhs_number",
				   "local_patient_id was sent with another NHS number before; a system's number belongs to one person");
		else if (row->lacks_parent)
			reject(row, "parent.unknown", group->items[group->parent_item].name,
				   psprintf("%s names a record of %s that was not sent; send that record first",
							group->items[group->parent_item].name, group->parent->name));
		else if (row->rejected)
			reject(row, "identity.conflict", "local_episode_id",
				   "local_episode_id was sent for another person before; an episode belongs to one person");
		else if (!row->has_patient)
			reject(row, "identity.missing", NULL,
				   "nothing in the record leads to a person; send nhs_number or local_patient_id");
	}
	link_identities(batch);
	if (group->episode_kind != NULL)
	{
		set_anchors(batch);
		link_episodes(batch);
		create_relationships(batch);
	}
	if (group->parent != NULL && group->parent->subject_is_baby != group->subject_is_baby)
		link_babies(batch);
	set_audiences(batch);

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected)
			continue;
		row->values[ENV_PATIENT_ID] = UUIDPGetDatum(&row->patient);
		row->nulls[ENV_PATIENT_ID] = false;
		if (row->has_episode)
		{
			row->values[ENV_EPISODE_ID] = UUIDPGetDatum(&row->episode);
			row->nulls[ENV_EPISODE_ID] = false;
		}
	}
}

/*
 * Rules that look at other records: those of the same system of the same
 * organisation, stored or earlier in the batch.
 */

/* The column of the group's table that column i of a record is stored in. */
static const char *
table_column(const SpineGroup *group, int i)
{
	return quote_identifier(i < ENV_COLUMNS ? spine_envelope_names[i] : group->items[i - ENV_COLUMNS].column);
}

static const char *
item_name(const SpineGroup *group, int item)
{
	return quote_identifier(group->items[item].name);
}

/* A select list of the group's items under their names in this version. */
static void
append_items(StringInfo query, const SpineGroup *group, const char *from, bool by_column)
{
	for (int i = 0; i < group->nitems; i++)
		appendStringInfo(query, "%s%s.%s AS %s", i > 0 ? ", " : "", from,
						 by_column ? table_column(group, ENV_COLUMNS + i) : item_name(group, i), item_name(group, i));
}

/* May the expression ask about the submission's header? A word in a literal does no harm. */
static bool
names_header(const SpineGroup *group, const char *expression)
{
	return group->dataset->header != NULL && expression != NULL && strcasestr(expression, "header") != NULL;
}

/*
 * The items of relation "from" as the only names that an expression finds in
 * its own scope; the header stands in the next one, where its items are found
 * by header.ITEM alone.
 */
static void
append_expression(StringInfo query, const SpineGroup *group, const char *from, bool by_column,
				  const char *expression)
{
	bool		header = names_header(group, expression);

	appendStringInfo(query, "%s(SELECT (%s) FROM (SELECT ", header ? "(SELECT " : "", expression);
	append_items(query, group, from, by_column);
	appendStringInfo(query, ") AS spine_own)%s", header ? " FROM spine_header AS header)" : "");
}

static void
append_present(StringInfo query, const SpineGroup *group, const SpineRule *rule, const char *from)
{
	appendStringInfoString(query, " WHERE true");
	for (int i = 0; i < rule->nitems; i++)
		appendStringInfo(query, " AND %s.%s IS NOT NULL", from, item_name(group, rule->items[i]));
	if (rule->when != NULL)
	{
		appendStringInfoString(query, " AND ");
		append_expression(query, group, from, false, rule->when);
	}
}

/*
 * A child names its parent's one key item, which is its local_record_id too:
 * that has an index. Others have one of their own, made at publishing.
 */
static bool
found_by_local_id(const SpineRule *rule)
{
	const SpineGroup *other = rule->other;
	const SpineTarget *target = &other->targets[rule->target];

	return other->is_parent && target->nitems == 1 && target->items[0] == other->keys[0] &&
		(other->items[other->keys[0]].type == ITEM_TEXT || other->items[other->keys[0]].type == ITEM_ODS_CODE);
}

static void
append_match(StringInfo query, const SpineGroup *group, const SpineRule *rule, const char *other, bool by_column)
{
	const SpineTarget *target = &rule->other->targets[rule->target];

	/*
	 * no index can be used for these but together with the items: one of the owner would read all
	 * he has
	 */
	if (by_column)
		appendStringInfo(query, "%s.owner IS NOT DISTINCT FROM $1 AND %s.source_system IS NOT DISTINCT FROM $2", other, other);
	else
		appendStringInfoString(query, "true");
	for (int i = 0; i < rule->nitems; i++)
	{
		const char *wanted = by_column ? table_column(rule->other, ENV_COLUMNS + target->items[i]) :
		item_name(rule->other, target->items[i]);

		if (by_column && found_by_local_id(rule))
			wanted = "local_record_id";
		appendStringInfo(query, " AND %s.%s = r.%s%s", other, wanted, item_name(group, rule->items[i]),
						 by_column && found_by_local_id(rule) ? "::text" : "");
	}
}

/* The numbers of the rows that break the rule by what is stored. */
static char *
stored_query(const SpineGroup *group, const SpineRule *rule)
{
	const SpineGroup *other = rule->other != NULL ? rule->other : group;
	const char *table = quote_qualified_identifier(other->dataset->name, other->name);
	StringInfoData query;

	initStringInfo(&query);
	switch (rule->kind)
	{
		case RULE_EXISTS:
			appendStringInfoString(&query, "SELECT r.spine_n FROM spine_rows r");
			append_present(&query, group, rule, "r");
			appendStringInfo(&query, " AND NOT EXISTS (SELECT FROM %s t WHERE ", table);
			append_match(&query, group, rule, "t", true);
			appendStringInfoString(&query, " OFFSET 0)");
			break;
		case RULE_RELATED:

			/*
			 * OFFSET keeps the planner from the other table's side, which it takes for short
			 * before it is analyzed
			 */
			appendStringInfoString(&query, "SELECT DISTINCT r.spine_n FROM spine_rows r CROSS JOIN LATERAL (SELECT ");
			append_items(&query, other, "t", true);
			appendStringInfo(&query, " FROM %s t WHERE ", table);
			append_match(&query, group, rule, "t", true);
			appendStringInfoString(&query, " AND t.record_id <> r.record_id OFFSET 0) AS other WHERE NOT ");
			append_expression(&query, group, "r", false, rule->expression);
			break;
		case RULE_UNIQUE:
			appendStringInfoString(&query, "SELECT r.spine_n FROM spine_rows r");
			append_present(&query, group, rule, "r");
			appendStringInfo(&query, " AND EXISTS (SELECT FROM %s t WHERE t.owner IS NOT DISTINCT FROM $1"
							 " AND t.source_system IS NOT DISTINCT FROM $2"
							 " AND t.record_id <> r.record_id", table);
			for (int i = 0; i < rule->nitems; i++)
				appendStringInfo(&query, " AND t.%s = r.%s", table_column(group, ENV_COLUMNS + rule->items[i]),
								 item_name(group, rule->items[i]));
			if (rule->when != NULL)
			{
				appendStringInfoString(&query, " AND ");
				append_expression(&query, group, "t", true, rule->when);
			}
			appendStringInfoString(&query, " OFFSET 0)");
			break;
		default:
			elog(ERROR, "rule \"%s\" does not look at other records", rule->id);
	}
	return query.data;
}

/* The same by the rows that come before it in the batch; NULL where they do not matter. */
static char *
batch_query(const SpineGroup *group, const SpineRule *rule)
{
	StringInfoData query;

	initStringInfo(&query);
	if (rule->kind == RULE_UNIQUE)
	{
		appendStringInfoString(&query, "SELECT u.spine_n FROM (SELECT r.spine_n, row_number() OVER (PARTITION BY ");
		for (int i = 0; i < rule->nitems; i++)
			appendStringInfo(&query, "%sr.%s", i > 0 ? ", " : "", item_name(group, rule->items[i]));
		appendStringInfoString(&query, " ORDER BY r.spine_n) AS k FROM spine_rows r");
		append_present(&query, group, rule, "r");
		appendStringInfoString(&query, ") u WHERE u.k > 1");
	}
	else if (rule->kind == RULE_RELATED && rule->other == group)
	{
		appendStringInfoString(&query, "SELECT DISTINCT r.spine_n FROM spine_rows r JOIN spine_rows other ON ");
		append_match(&query, group, rule, "other", false);
		appendStringInfoString(&query, " AND other.spine_n < r.spine_n WHERE NOT ");
		append_expression(&query, group, "r", false, rule->expression);
	}
	else
		return NULL;
	return query.data;
}

/* The group's columns with the row's place in the batch before them. */
static TupleDesc
numbered_desc(SpineGroup *group)
{
	if (group->numbered == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(group->dataset->context);
		int			natts = group->desc->natts;

		group->numbered = CreateTemplateTupleDesc(natts + 1);
		TupleDescInitEntry(group->numbered, 1, "spine_n", INT4OID, -1, 0);
		for (int i = 1; i <= natts; i++)
			TupleDescCopyEntry(group->numbered, i + 1, group->desc, i);
		MemoryContextSwitchTo(old);
	}
	return group->numbered;
}

static void
take_broken(SpineBatch *batch, SpineRule *rule)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		SpineBatchRow *row = &batch->rows[DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
																	  SPI_tuptable->tupdesc, 1, &isnull))];
		SpineSeverity severity = rule->severity;
		SpineFinding *finding;
		uint64		key = 0;

		if (row->findings != NIL && ((SpineFinding *) llast(row->findings))->rule == rule->id)
			continue;			/* told already, by what is stored */
		if (rule->kind == RULE_EXISTS)
		{
			(void) spine_reference_key(batch->group, rule->items, rule->nitems, rule->other, rule->target,
									   row->values, row->nulls, &key);
			if (rule->forward && batch->expected != NULL && spine_keys_has(batch->expected, key))
				continue;
			/* a statement at a view holds one group: what it asks for can only come after */
			if (rule->forward && batch->expected == NULL)
				severity = SEVERITY_WARNING;
		}
		finding = spine_finding_make(rule->id, severity, rule->item, rule->message);
		if (severity == SEVERITY_WARNING)
			finding->awaits = key;
		else
			row->broken = row->rejected = true;
		row->findings = lappend(row->findings, finding);
	}
}

/* The submission's header as a relation of one row, of nulls where there is none. */
static Tuplestorestate *
register_header(SpineBatch *batch)
{
	SpineGroup *header = batch->group->dataset->header;
	Tuplestorestate *rows = NULL;
	Datum	   *values = batch->header_values;
	bool	   *nulls = batch->header_nulls;

	for (int i = 0; i < batch->group->nrules && rows == NULL; i++)
	{
		SpineRule  *rule = &batch->group->rules[i];

		if (names_header(batch->group, rule->when) ||
			(rule->kind == RULE_RELATED && names_header(batch->group, rule->expression)))
			rows = tuplestore_begin_heap(true, false, work_mem);
	}
	if (rows == NULL)
		return NULL;
	if (values == NULL)
	{
		values = palloc0(sizeof(Datum) * header->desc->natts);
		nulls = palloc(sizeof(bool) * header->desc->natts);
		memset(nulls, true, sizeof(bool) * header->desc->natts);
	}
	tuplestore_putvalues(rows, header->desc, values, nulls);
	spine_register_rows("spine_header", header->desc, rows, 1);
	return rows;
}

/* Is the rule asked of any record of the batch? Most of those with a condition are not, and a query less is run. */
static bool
is_asked(SpineBatch *batch, SpineRule *rule)
{
	for (int i = 0; i < batch->nrows; i++)
		if (spine_rule_is_asked(batch->group, rule, batch->rows[i].values, batch->rows[i].nulls,
								batch->header_values, batch->header_nulls))
			return true;
	return false;
}

static void
ask_set_rules(SpineBatch *batch, int count, SpineRule **present)
{
	static const Oid types[2] = {TEXTOID, TEXTOID};
	SpineGroup *group = batch->group;
	int			guc_level = spine_rules_enter();
	Datum		args[2];

	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = CStringGetTextDatum(batch->source_system);
	for (int i = 0; i < group->nrules; i++)
	{
		SpineRule  *rule = &group->rules[i];
		char	   *query;

		if (rule->kind != RULE_RELATED && rule->kind != RULE_EXISTS && rule->kind != RULE_UNIQUE)
			continue;
		*present = rule;
		if (!is_asked(batch, rule))
			continue;
		spine_plan_run(&group->plans->rules[i],
					   group->plans->rules[i] == NULL ? stored_query(group, rule) : NULL, 2, types, args);
		take_broken(batch, rule);
		if (count == 1)
			continue;
		query = group->plans->rules_batch[i] == NULL ? batch_query(group, rule) : NULL;
		if (query != NULL || group->plans->rules_batch[i] != NULL)
		{
			int			level = NewGUCNestLevel();

			/* rows of a batch have no index: they are hashed */
			(void) set_config_option("enable_hashjoin", "on", PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
			(void) set_config_option("enable_nestloop", "off", PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
			spine_plan_run(&group->plans->rules_batch[i], query, 2, types, args);
			AtEOXact_GUC(true, level);
			take_broken(batch, rule);
		}
	}
	AtEOXact_GUC(true, guc_level);
}

typedef struct Asking
{
	SpineBatch *batch;
	int			count;
	SpineRule  *present;		/* the rule that is asked */
} Asking;

static bool
ask(void *arg)
{
	Asking	   *asking = arg;

	ask_set_rules(asking->batch, asking->count, &asking->present);
	return true;
}

/*
 * The same at a tolerant door, where a rule that raises costs the record that
 * it raises on. Which one that is shows only when it is asked about alone:
 * false means that the batch is to be taken apart.
 */
static bool
ask_set_rules_safely(SpineBatch *batch, int count)
{
	Asking		asking = {.batch = batch, .count = count};
	int		   *told = palloc(sizeof(int) * batch->nrows);
	SpineRule  *present;
	ErrorData  *error;

	for (int i = 0; i < batch->nrows; i++)
		told[i] = list_length(batch->rows[i].findings);
	error = spine_subtransaction_run(ask, &asking);
	if (error == NULL)
		return true;

	present = asking.present;
	if (!spine_is_fault_of_rule(error) || present == NULL)
		ReThrowError(error);
	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (list_length(row->findings) > told[i])
			row->broken = row->rejected = false;
		row->findings = list_truncate(row->findings, told[i]);
	}
	if (batch->nrows > 1)
		return false;
	reject(&batch->rows[0], "rule.failed", present->item,
		   psprintf("rule %s could not be evaluated on this record (%s); tell the publisher of the data set",
					present->id, unpack_sql_state(error->sqlerrcode)));
	batch->rows[0].broken = true;
	return true;
}

/*
 * Before anybody is told who the record is about: what is rejected must leave
 * no episode, no relationship. False: take the batch apart.
 */
static bool
judge_set_rules(SpineBatch *batch)
{
	SpineGroup *group = batch->group;
	int			natts = group->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * (natts + 1));
	bool	   *nulls = palloc(sizeof(bool) * (natts + 1));
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);
	Tuplestorestate *header;
	SpineRule  *present;
	bool		judged = true;
	int			count = 0;

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->broken || (row->existing && row->same_items))
			continue;
		values[0] = Int32GetDatum(i);
		nulls[0] = false;
		memcpy(values + 1, row->values, sizeof(Datum) * natts);
		memcpy(nulls + 1, row->nulls, sizeof(bool) * natts);
		tuplestore_putvalues(rows, numbered_desc(group), values, nulls);
		count++;
	}
	if (count > 0)
	{
		spine_register_rows("spine_rows", numbered_desc(group), rows, count);
		header = register_header(batch);
		if (batch->expected != NULL && group->set_rules_may_raise)
			judged = ask_set_rules_safely(batch, count);
		else
			ask_set_rules(batch, count, &present);
		SPI_unregister_relation("spine_rows");
		if (header != NULL)
		{
			SPI_unregister_relation("spine_header");
			tuplestore_end(header);
		}
	}
	tuplestore_end(rows);
	return judged;
}

/* Warnings that waited for the records that are stored now. */
static void
end_waiting(SpineBatch *batch)
{
	static const Oid types[3] = {TEXTOID, TEXTOID, INT8ARRAYOID};
	SpineGroup *group = batch->group;
	Datum	   *keys = palloc(sizeof(Datum) * batch->nrows * Max(group->ntargets, 1));
	int			n = 0;
	Datum		args[3];

	for (int t = 0; t < group->ntargets; t++)
	{
		if (!group->targets[t].awaited)
			continue;
		for (int i = 0; i < batch->nrows; i++)
		{
			SpineBatchRow *row = &batch->rows[i];
			uint64		key;

			if (!row->rejected && !row->unchanged && spine_target_key(group, t, row->values, row->nulls, &key))
				keys[n++] = Int64GetDatum((int64) key);
		}
	}
	if (n == 0)
		return;
	args[0] = CStringGetTextDatum(batch->owner);
	args[1] = CStringGetTextDatum(batch->source_system);
	args[2] = spine_array(keys, n, INT8OID);
	spine_plan_run(&plan_finding_arrived,
				   "DELETE FROM spine.finding f WHERE f.awaits = ANY ($3) AND f.owner = $1 AND f.source_system = $2",
				   3, types, args);
}

/*
 * Storing
 */

static char *
insert_query(const SpineGroup *group)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "INSERT INTO %s (", quote_qualified_identifier(group->dataset->name, group->name));
	for (int i = 0; i < group->desc->natts; i++)
		appendStringInfo(&query, "%s%s", i > 0 ? ", " : "", table_column(group, i));
	appendStringInfoString(&query, ") SELECT * FROM spine_batch");
	return query.data;
}

static char *
update_query(const SpineGroup *group)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "UPDATE %s t SET ", quote_qualified_identifier(group->dataset->name, group->name));
	for (int i = 1; i < group->desc->natts; i++)
		appendStringInfo(&query, "%s%s = b.%s", i > 1 ? ", " : "", table_column(group, i),
						 quote_identifier(NameStr(TupleDescAttr(group->desc, i)->attname)));
	appendStringInfoString(&query,
						   " FROM spine_batch b WHERE t.record_id = b.record_id AND t.revision = b.revision - 1");
	return query.data;
}

/*
 * Inserts rows that were not there when they were added. Where another session
 * was first, PostgreSQL's error would quote the key: a person's data. Ours
 * takes its place; the transaction aborts all the same.
 */
static uint64
insert_rows(SpineGroup *group)
{
	uint64		stored = 0;
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		stored = spine_plan_run(&group->plans->insert,
								group->plans->insert == NULL ? insert_query(group) : NULL, 0, NULL, NULL);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_UNIQUE_VIOLATION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		lost_race(group);
	}
	PG_END_TRY();
	return stored;
}

/* Inserts the new rows, or updates the existing ones. */
static void
store_rows(SpineBatch *batch, bool existing)
{
	SpineGroup *group = batch->group;
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	int			count = 0;
	uint64		stored;

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || row->unchanged || row->existing != existing)
			continue;
		tuplestore_putvalues(rows, group->desc, row->values, row->nulls);
		count++;
	}
	if (count > 0)
	{
		spine_register_rows("spine_batch", group->desc, rows, count);
		if (existing)
			stored = spine_plan_run(&group->plans->update,
									group->plans->update == NULL ? update_query(group) : NULL, 0, NULL, NULL);
		else
			stored = insert_rows(group);
		if (stored != count)
			lost_race(group);
		SPI_unregister_relation("spine_batch");
	}
	tuplestore_end(rows);
}

static void
delete_rows(SpineBatch *batch)
{
	static const Oid types[3] = {UUIDARRAYOID, TEXTOID, TEXTOID};
	SpineGroup *group = batch->group;
	Datum	   *ids = palloc(sizeof(Datum) * batch->ndeletes);
	Datum		args[3];

	for (int i = 0; i < batch->ndeletes; i++)
		ids[i] = UUIDPGetDatum(&batch->deletes[i]);
	args[0] = spine_array(ids, batch->ndeletes, UUIDOID);
	args[1] = CStringGetTextDatum(batch->owner);
	args[2] = CStringGetTextDatum(batch->source_system);
	batch->ndeleted +=
		spine_plan_run(&group->plans->delete,
					   group->plans->delete == NULL ?
					   psprintf("DELETE FROM %s t WHERE t.record_id = ANY ($1) AND t.owner = $2 AND t.source_system = $3",
								quote_qualified_identifier(group->dataset->name, group->name)) : NULL,
					   3, types, args);
	spine_plan_run(&plan_finding_delete, "DELETE FROM spine.finding f WHERE f.record_id = ANY ($1)", 1, types, args);
}

/* The warnings of each record's present revision. */
static void
store_findings(SpineBatch *batch)
{
	static const Oid types[9] = {UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID};
	Datum	   *updated = palloc(sizeof(Datum) * batch->nrows);
	int			nupdated = 0;
	int			n = 0;
	int			at = 0;
	Datum	   *ids;
	Datum	   *rules;
	Datum	   *items;
	bool	   *no_item;
	Datum	   *messages;
	Datum	   *awaits;
	bool	   *no_awaits;
	Datum		args[9];

	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];

		if (row->rejected || row->unchanged)
			continue;
		if (row->existing)
			updated[nupdated++] = UUIDPGetDatum(&row->record_id);
		n += list_length(row->findings);
	}
	if (nupdated > 0)
	{
		args[0] = spine_array(updated, nupdated, UUIDOID);
		spine_plan_run(&plan_finding_delete, "DELETE FROM spine.finding f WHERE f.record_id = ANY ($1)", 1, types, args);
	}
	if (n == 0)
		return;
	ids = palloc(sizeof(Datum) * n);
	rules = palloc(sizeof(Datum) * n);
	items = palloc(sizeof(Datum) * n);
	no_item = palloc(sizeof(bool) * n);
	messages = palloc(sizeof(Datum) * n);
	awaits = palloc(sizeof(Datum) * n);
	no_awaits = palloc(sizeof(bool) * n);
	for (int i = 0; i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];
		ListCell   *cell;

		if (row->rejected || row->unchanged)
			continue;
		foreach(cell, row->findings)
		{
			SpineFinding *finding = lfirst(cell);

			ids[at] = UUIDPGetDatum(&row->record_id);
			rules[at] = CStringGetTextDatum(finding->rule);
			spine_put_text(&items[at], &no_item[at], finding->item);
			no_awaits[at] = finding->awaits == 0;
			awaits[at] = Int64GetDatum((int64) finding->awaits);
			messages[at++] = CStringGetTextDatum(finding->message);
		}
	}
	args[0] = spine_array(ids, n, UUIDOID);
	args[1] = spine_array(rules, n, TEXTOID);
	args[2] = spine_array_with_nulls(items, no_item, n, TEXTOID);
	args[3] = spine_array(messages, n, TEXTOID);
	args[4] = CStringGetTextDatum(batch->group->dataset->name);
	args[5] = CStringGetTextDatum(batch->group->name);
	args[6] = CStringGetTextDatum(batch->owner);
	args[7] = CStringGetTextDatum(batch->source_system);
	args[8] = spine_array_with_nulls(awaits, no_awaits, n, INT8OID);
	spine_plan_run(&plan_finding_insert,
				   "INSERT INTO spine.finding (record_id, rule, item, message, severity, dataset, data_group, owner, source_system, awaits)"
				   " SELECT x.r, x.u, x.i, x.m, 'warning', $5, $6, $7, $8, x.a FROM unnest($1, $2, $3, $4, $9) AS x(r, u, i, m, a)",
				   9, types, args);
}

/*
 * Has a table outgrown the plans that were made for it? Until somebody analyzes
 * it PostgreSQL would keep them, and a join with a table that was empty then
 * reads all of it for each row.
 */
static bool
outgrown(Oid table, BlockNumber *planned)
{
	Relation	relation = table_open(table, AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(relation);

	table_close(relation, NoLock);
	if (blocks / 4 <= Max(*planned, 4))
		return false;
	*planned = blocks;
	return true;
}

static void
forget_plan(SPIPlanPtr *plan)
{
	if (*plan != NULL)
		SPI_freeplan(*plan);
	*plan = NULL;
}

/* The plans of the group, and those of others that join, as far as they are still good. */
static void
prepare_plans(SpineGroup *group)
{
	static BlockNumber episodes_planned = 0;
	BlockNumber planned = 0;

	if (outgrown(get_relname_relid("episode", get_namespace_oid("spine", false)), &episodes_planned))
	{
		forget_plan(&plan_episode_anchor);
		forget_plan(&plan_episode_part);
		forget_plan(&plan_episode_same);
	}
	if (group->plans != NULL && outgrown(group->table, &group->plans->planned))
	{
		planned = group->plans->planned;
		spine_plans_free(group);
	}
	if (group->plans == NULL)
	{
		SpineGroupPlans *plans = MemoryContextAllocZero(group->dataset->context, sizeof(SpineGroupPlans));
		Size		size = sizeof(SPIPlanPtr) * Max(group->nrules, 1);

		plans->planned = planned;
		plans->rules = MemoryContextAllocZero(group->dataset->context, size);
		plans->rules_batch = MemoryContextAllocZero(group->dataset->context, size);
		group->plans = plans;
	}
}

/* Settles and stores the rows; false, with nothing done, where they must be taken one by one. */
static bool
store_batch(SpineBatch *batch)
{
	SpineGroup *group = batch->group;
	SpineOwnerScope scope;
	MemoryContext old = MemoryContextSwitchTo(batch->flush_context);
	bool		judged = true;

	spine_owner_enter(&scope);
	spine_plans_by_index();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* what is made below lives as long as the rows */
	MemoryContextSwitchTo(batch->flush_context);

	prepare_plans(group);
	if (batch->nrows > 0 && group->has_set_rules)
		judged = judge_set_rules(batch);
	if (batch->nrows > 0 && judged)
	{
		bool		any_existing = false;
		bool		any_new = false;

		if (group->has_subject)
			settle_subjects(batch);
		for (int i = 0; i < batch->nrows; i++)
		{
			SpineBatchRow *row = &batch->rows[i];

			row->unchanged = !row->rejected && row->existing && row->same_items &&
				(!group->has_subject ||
				 (row->has_old_patient && same_uuid(&row->old_patient, &row->patient)));
			any_existing |= row->existing;
			any_new |= !row->existing;
		}
		if (any_new)
			store_rows(batch, false);
		if (any_existing)
			store_rows(batch, true);
		store_findings(batch);
		if (group->ntargets > 0)
			end_waiting(batch);
	}
	if (batch->ndeletes > 0)
		delete_rows(batch);

	SPI_finish();
	spine_owner_leave(&scope);
	MemoryContextSwitchTo(old);
	return judged;
}

void
spine_batch_flush(SpineBatch *batch, spine_batch_verdict verdict, void *state)
{
	SpineGroup *group = batch->group;

	close_probe(batch);
	if (spine_batch_count(batch) == 0)
	{
		/* what was read into its context was not added */
		MemoryContextReset(batch->flush_context);
		return;
	}
	if (!store_batch(batch))
	{
		SpineBatchRow *rows = batch->rows;
		int			nrows = batch->nrows;

		batch->nrows = 1;
		for (int i = 0; i < nrows; i++)
		{
			batch->rows = &rows[i];
			store_batch(batch);
		}
		batch->rows = rows;
		batch->nrows = nrows;
	}
	for (int i = 0; verdict != NULL && i < batch->nrows; i++)
	{
		SpineBatchRow *row = &batch->rows[i];
		SpineVerdict answer = {
			.n = row->n,
			.outcome = row->rejected ? OUTCOME_REJECTED :
			row->unchanged ? OUTCOME_UNCHANGED :
			row->findings != NIL ? OUTCOME_ACCEPTED_WITH_WARNINGS : OUTCOME_ACCEPTED,
			.group = group,
			.record_id = row->rejected ? NULL : &row->record_id,
			.local_record_id = row->local_record_id,
			.values = row->values,
			.nulls = row->nulls,
			.findings = row->findings,
			.raw = row->raw,
			.raw_length = row->raw_length
		};

		verdict(state, &answer);
	}
	batch->nrows = 0;
	batch->ndeletes = 0;
	memset(batch->by_local_id, 0, sizeof(batch->by_local_id));
	MemoryContextReset(batch->flush_context);
}
