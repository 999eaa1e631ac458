/*
 * person.c
 *		A person's records, as far as the caller may see them: who owns them, a row
 *		for each, all of them as one document.
 *
 * The few rows are looked for in every group's table, by its index on the patient, and
 * each is judged as the policy judges it. The same as a query over all the views
 * would say, which takes longer to plan and to begin than to run.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "compat.h"
#include "export.h"
#include "governance.h"
#include "groups.h"
#include "identity.h"
#include "items.h"
#include "person.h"
#include "visible.h"

/* what is needed of the envelope; the patient is what was looked for */
enum
{
	OWNER,
	AUDIENCE,
	PATIENT,
	RECORD,
	SOURCE,
	EPISODE,
	EVENT,
	RECEIVED,
	REVISION,
	ENVELOPE
};

static const struct
{
	const char *name;
	Oid			type;
}			envelope[ENVELOPE] = {
	[OWNER] = {"owner", TEXTOID},
	[AUDIENCE] = {"audience", TEXTARRAYOID},
	[PATIENT] = {"patient_id", UUIDOID},
	[RECORD] = {"record_id", UUIDOID},
	[SOURCE] = {"source_system", TEXTOID},
	[EPISODE] = {"episode_id", UUIDOID},
	[EVENT] = {"event_at", TIMESTAMPTZOID},
	[RECEIVED] = {"received_at", TIMESTAMPTZOID},
	[REVISION] = {"revision", INT8OID}
};

/* how the rows of a group are read: kept for as long as the groups stay as they are */
typedef struct Reader
{
	const SpineGroupTable *group;	/* of this call */
	Oid			index;			/* on the patient */
	bool		ready;
	AttrNumber	envelope[ENVELOPE];
	AttrNumber *columns;		/* of the items */
	SpineJsonColumn *json;
} Reader;

/* what was said of a row holds of the next ones of this owner with this audience */
typedef struct Verdict
{
	struct Verdict *next;
	char	   *owner;
	int			owner_length;
	Datum		audience;
	Size		audience_size;
	const void *patient;
	uint64		stamp;
	bool		visible;
	bool		own;
	bool	   *shown;			/* by item; NULL: all */
} Verdict;

typedef struct PersonRow
{
	const Reader *reader;
	Relation	table;
	HeapTuple	tuple;
	Datum		values[ENVELOPE];
	bool		no_episode;
	bool		no_event;
	const bool *shown;			/* by item; NULL: all */
	const char *owner;
	int			journey;		/* -1: of no episode */
} PersonRow;

typedef struct Person
{
	int			nrows;
	int			most;
	PersonRow  *rows;
	List	   *tables;			/* open */
} Person;

static MemoryContext readers_context = NULL;
static Reader *readers = NULL;
static uint64 readers_stamp = 0;

PG_FUNCTION_INFO_V1(spine_visible_owners);
PG_FUNCTION_INFO_V1(spine_own_owner);
PG_FUNCTION_INFO_V1(spine_person_records);
PG_FUNCTION_INFO_V1(spine_record);


/* ---------------------------------------------------------------- tables */

/* The groups, each with how it is read. */
static int
readers_get(Reader **found, uint64 *since)
{
	const SpineGroupTable *groups;
	int			n = spine_groups_get(&groups, since);

	if (readers == NULL || readers_stamp != *since)
	{
		MemoryContext fresh = AllocSetContextCreate(CurrentMemoryContext, "spine readers", ALLOCSET_DEFAULT_SIZES);
		Reader	   *made = MemoryContextAllocZero(fresh, sizeof(Reader) * Max(n, 1));

		/* a call that is in progress keeps the former ones */
		if (readers_context != NULL)
			MemoryContextSetParent(readers_context, TopTransactionContext);
		MemoryContextSetParent(fresh, TopMemoryContext);
		readers_context = fresh;
		readers = made;
		readers_stamp = *since;
	}
	for (int i = 0; i < n; i++)
		readers[i].group = &groups[i];
	*found = readers;
	return n;
}

static bool
reader_fits(const Reader *reader, TupleDesc desc)
{
	if (!reader->ready)
		return false;
	for (int i = 0; i < reader->group->nitems; i++)
	{
		AttrNumber	column = reader->columns[i];

		if (column > desc->natts ||
			(column != InvalidAttrNumber &&
			 (TupleDescAttr(desc, column - 1)->atttypid != reader->json[i].type ||
			  strcmp(NameStr(TupleDescAttr(desc, column - 1)->attname), reader->group->items[i].column) != 0)))
			return false;
	}
	for (int i = 0; i < ENVELOPE; i++)
	{
		if (reader->envelope[i] > desc->natts ||
			strcmp(NameStr(TupleDescAttr(desc, reader->envelope[i] - 1)->attname), envelope[i].name) != 0)
			return false;
	}
	return true;
}

static AttrNumber
column_find(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped && strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i + 1;
	}
	return InvalidAttrNumber;
}

/* Where the columns are, unless that is known. */
static void
reader_prepare(Reader *reader, Relation table)
{
	TupleDesc	desc = RelationGetDescr(table);
	int			n = reader->group->nitems;
	AttrNumber *columns;
	SpineJsonColumn *json;

	if (reader_fits(reader, desc))
		return;
	reader->ready = false;
	for (int i = 0; i < ENVELOPE; i++)
	{
		reader->envelope[i] = column_find(desc, envelope[i].name);
		if (reader->envelope[i] == InvalidAttrNumber ||
			TupleDescAttr(desc, reader->envelope[i] - 1)->atttypid != envelope[i].type)
			elog(ERROR, "table \"%s\" has no column %s", RelationGetRelationName(table), envelope[i].name);
	}
	columns = MemoryContextAllocZero(readers_context, sizeof(AttrNumber) * Max(n, 1));
	json = MemoryContextAllocZero(readers_context, sizeof(SpineJsonColumn) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute column;

		columns[i] = column_find(desc, reader->group->items[i].column);
		if (columns[i] == InvalidAttrNumber)
			continue;
		column = TupleDescAttr(desc, columns[i] - 1);
		spine_json_column(&json[i], column->atttypid, column->atttypmod, column->attcollation, readers_context);
	}
	reader->columns = columns;
	reader->json = json;
	reader->ready = true;
}


/* ---------------------------------------------------------------- rows */

/* What is said of the row in the slot, which is this patient's. */
static const Verdict *
verdict_get(Verdict **known, const Reader *reader, TupleTableSlot *slot, Datum patient, bool with_items)
{
	bool		null;
	text	   *owner = DatumGetTextPP(slot_getattr(slot, reader->envelope[OWNER], &null));
	Datum		audience = slot_getattr(slot, reader->envelope[AUDIENCE], &null);
	Size		size = VARSIZE_ANY(DatumGetPointer(audience));
	uint64		now = spine_governance_stamp();
	Verdict    *verdict;
	SpineRow	row;

	for (verdict = *known; verdict != NULL; verdict = verdict->next)
	{
		if (verdict->owner_length == VARSIZE_ANY_EXHDR(owner) &&
			memcmp(verdict->owner, VARDATA_ANY(owner), verdict->owner_length) == 0 &&
			verdict->stamp == now && verdict->patient == DatumGetPointer(patient) &&
			(verdict->own || (verdict->audience_size == size &&
							  memcmp(DatumGetPointer(verdict->audience), DatumGetPointer(audience), size) == 0)))
			return verdict;
	}

	verdict = palloc0(sizeof(Verdict));
	verdict->owner_length = VARSIZE_ANY_EXHDR(owner);
	verdict->owner = pnstrdup(VARDATA_ANY(owner), verdict->owner_length);
	verdict->audience = PointerGetDatum(palloc(size));
	memcpy(DatumGetPointer(verdict->audience), DatumGetPointer(audience), size);
	verdict->audience_size = size;
	verdict->patient = DatumGetPointer(patient);
	verdict->stamp = now;
	row.owner = verdict->owner;
	row.owner_length = verdict->owner_length;
	row.audience = verdict->audience;
	row.patient = DatumGetUUIDP(patient);
	row.group = reader->group->name;
	row.group_length = reader->group->name_length;
	if (with_items)
		verdict->shown = palloc0(sizeof(bool) * Max(reader->group->nitems, 1));
	verdict->visible = spine_visible_row(&row, with_items ? reader->group->items : NULL, reader->group->nitems,
										 verdict->shown, &verdict->own);
	if (verdict->own)
		verdict->shown = NULL;
	verdict->next = *known;
	*known = verdict;
	return verdict;
}

/* What event_at is made of would be told by it. */
static bool
shows_event(const SpineGroupTable *group, const bool *shown)
{
	for (int i = 0; shown != NULL && i < group->nitems; i++)
	{
		if (group->items[i].of_event && !shown[i])
			return false;
	}
	return true;
}

static void
person_add(Person *person, const Reader *reader, Relation table, TupleTableSlot *slot, const Verdict *verdict)
{
	PersonRow  *row;
	bool		null;

	if (person->nrows == person->most)
	{
		person->most = Max(64, person->most * 2);
		person->rows = person->rows == NULL ? palloc(sizeof(PersonRow) * person->most)
			: repalloc_huge(person->rows, sizeof(PersonRow) * person->most);
	}
	row = &person->rows[person->nrows++];
	row->reader = reader;
	row->table = table;
	row->tuple = ExecCopySlotHeapTuple(slot);
	row->shown = verdict->shown;
	row->owner = verdict->owner;
	row->journey = -1;
	for (int i = 0; i < ENVELOPE; i++)
	{
		row->values[i] = heap_getattr(row->tuple, reader->envelope[i], RelationGetDescr(table), &null);
		if (i == EPISODE)
			row->no_episode = null;
		else if (i == EVENT)
			row->no_event = null || !shows_event(reader->group, verdict->shown);
	}
}

static void
person_end(Person *person)
{
	ListCell   *cell;

	foreach(cell, person->tables)
		table_close((Relation) lfirst(cell), AccessShareLock);
}

/* The rows of these patients that the caller may see at this moment. Their tables stay open. */
static void
person_read(Person *person, ArrayType *patients)
{
	Reader	   *all;
	uint64		since;
	int			n;
	Datum	   *ids;
	bool	   *nulls;
	int			nids;

	deconstruct_array(patients, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, &nulls, &nids);
	memset(person, 0, sizeof(Person));
	do
	{
		CHECK_FOR_INTERRUPTS();
		person_end(person);
		memset(person, 0, sizeof(Person));
		n = readers_get(&all, &since);
		for (int g = 0; g < n; g++)
		{
			Reader	   *reader = &all[g];
			Verdict    *verdicts = NULL;
			SpineWalk	walk;
			int			before = person->nrows;

			if (!OidIsValid(reader->group->relid))
				continue;
			if (!spine_walk_begin(&walk, reader->group->relid, get_attnum(reader->group->relid, envelope[PATIENT].name), &reader->index))
				elog(ERROR, "table \"%s\" has no index on patient_id", RelationGetRelationName(walk.table));
			for (int p = 0; p < nids; p++)
			{
				if (nulls[p])
					continue;
				spine_walk_to(&walk, ids[p]);
				while (spine_walk_next(&walk))
				{
					const Verdict *verdict;

					if (verdicts == NULL)
						reader_prepare(reader, walk.table);
					verdict = verdict_get(&verdicts, reader, walk.slot, ids[p], true);
					if (verdict->visible)
						person_add(person, reader, walk.table, walk.slot, verdict);
				}
			}
			spine_walk_end(&walk, person->nrows > before);
			if (person->nrows > before)
				person->tables = lappend(person->tables, walk.table);
		}
		/* the masks are those of before where a data set was published meanwhile */
	} while (spine_groups_are_new(since));

	/* one person, however many rows */
	if (person->nrows > 0)
		spine_rows_shown++;
}

static int
compare_strings(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

List *
spine_person_owners(ArrayType *patients)
{
	Reader	   *all;
	uint64		since;
	int			n = readers_get(&all, &since);
	Datum	   *ids;
	bool	   *nulls;
	int			nids;
	List	   *owners = NIL;

	deconstruct_array(patients, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, &nulls, &nids);
	for (int g = 0; g < n; g++)
	{
		Reader	   *reader = &all[g];
		Verdict    *verdicts = NULL;
		SpineWalk	walk;

		if (!OidIsValid(reader->group->relid))
			continue;
		if (!spine_walk_begin(&walk, reader->group->relid, get_attnum(reader->group->relid, envelope[PATIENT].name), &reader->index))
			elog(ERROR, "table \"%s\" has no index on patient_id", RelationGetRelationName(walk.table));
		for (int p = 0; p < nids; p++)
		{
			if (nulls[p])
				continue;
			spine_walk_to(&walk, ids[p]);
			while (spine_walk_next(&walk))
			{
				text	   *owner;
				bool		null;
				ListCell   *cell;
				bool		known = false;

				if (verdicts == NULL)
					reader_prepare(reader, walk.table);
				owner = DatumGetTextPP(slot_getattr(walk.slot, reader->envelope[OWNER], &null));
				foreach(cell, owners)
					known |= strlen(lfirst(cell)) == VARSIZE_ANY_EXHDR(owner) &&
					memcmp(lfirst(cell), VARDATA_ANY(owner), VARSIZE_ANY_EXHDR(owner)) == 0;
				if (!known)
				{
					const Verdict *verdict = verdict_get(&verdicts, reader, walk.slot, ids[p], false);

					if (verdict->visible)
						owners = lappend(owners, verdict->owner);
				}
			}
		}
		spine_walk_end(&walk, false);
	}
	list_sort(owners, compare_strings);
	return owners;
}

/* Asks what returns one row, as spine_owner; within SPI until the caller ends it. */
static void
ask_one(SPIPlanPtr *plan, const char *query, Oid type, Datum argument, SpineOwnerScope *owner)
{
	spine_owner_enter(owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (*plan == NULL)
	{
		SPIPlanPtr	fresh = SPI_prepare_cursor(query, 1, &type, CURSOR_OPT_GENERIC_PLAN);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		*plan = fresh;
	}
	if (SPI_execute_plan(*plan, &argument, NULL, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "\"%s\" returned no row", query);
}

ArrayType  *
spine_person_ids(const pg_uuid_t *patient)
{
	static SPIPlanPtr plan = NULL;
	Datum		id = UUIDPGetDatum(patient);
	MemoryContext caller = CurrentMemoryContext;
	SpineOwnerScope owner;
	ArrayType  *ids;
	bool		null;

	/* nearly everybody has one id */
	if (!spine_store_has("identity_link", "from_patient", id) && !spine_store_has("identity_link", "to_patient", id))
		return construct_array(&id, 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);

	ask_one(&plan, "SELECT spine.linked_patients($1)", UUIDOID, id, &owner);
	MemoryContextSwitchTo(caller);
	ids = DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	SPI_finish();
	spine_owner_leave(&owner);
	return ids;
}


/* ---------------------------------------------------------------- the document */

static int
compare_times(Datum a, bool no_a, Datum b, bool no_b)
{
	/* who has none comes last */
	if (no_a || no_b)
		return (int) no_a - (int) no_b;
	return timestamp_cmp_internal(DatumGetTimestampTz(a), DatumGetTimestampTz(b));
}

static int
compare_uuids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* In the order of what happened, by group, by episode. */
static int
compare_rows(const void *a, const void *b)
{
	const PersonRow *one = a;
	const PersonRow *other = b;
	int			order = one->journey - other->journey;

	if (order == 0)
		order = one->reader < other->reader ? -1 : one->reader > other->reader;
	if (order == 0)
		order = compare_times(one->values[EVENT], one->no_event, other->values[EVENT], other->no_event);
	if (order == 0)
		order = compare_times(one->values[RECEIVED], false, other->values[RECEIVED], false);
	if (order == 0)
		order = memcmp(DatumGetUUIDP(one->values[RECORD]), DatumGetUUIDP(other->values[RECORD]), UUID_LEN);
	return order;
}

static void
push_member(JsonbParseState **state, const char *key, Oid type, Datum value, bool null)
{
	SpineJsonColumn column = {type};

	spine_json_push_key(state, key, (int) strlen(key));
	if (null)
	{
		JsonbValue	nothing = {.type = jbvNull};

		(void) pushJsonbValue(state, WJB_VALUE, &nothing);
	}
	else
		spine_json_push(state, &column, value);
}

/* What SQL has made: an array or an object; NULL: null. */
static void
push_made(JsonbParseState **state, const char *key, Jsonb *made)
{
	JsonbValue	value;

	spine_json_push_key(state, key, (int) strlen(key));
	value.type = jbvNull;
	if (made != NULL)
	{
		value.type = jbvBinary;
		value.val.binary.data = &made->root;
		value.val.binary.len = VARSIZE(made) - VARHDRSZ;
	}
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

/* The ids, each once, in order. */
static void
push_uuids(JsonbParseState **state, const char *key, pg_uuid_t *ids, int n)
{
	qsort(ids, n, sizeof(pg_uuid_t), compare_uuids);
	n = qunique(ids, n, sizeof(pg_uuid_t), compare_uuids);
	spine_json_push_key(state, key, (int) strlen(key));
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		char	   *string = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&ids[i])));

		spine_json_push_string(state, WJB_ELEM, string, (int) strlen(string));
	}
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* The owners of the rows, each once, in order. */
static void
push_owners(JsonbParseState **state, const PersonRow *rows, int n)
{
	List	   *owners = NIL;
	ListCell   *cell;

	for (int i = 0; i < n; i++)
	{
		bool		known = false;

		foreach(cell, owners)
			known |= strcmp(lfirst(cell), rows[i].owner) == 0;
		if (!known)
			owners = lappend(owners, unconstify(char *, rows[i].owner));
	}
	list_sort(owners, compare_strings);
	spine_json_push_key(state, "owners", 6);
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, owners)
		spine_json_push_string(state, WJB_ELEM, lfirst(cell), (int) strlen(lfirst(cell)));
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* The items of a row that are shown and not NULL. */
static JsonbValue *
push_items(JsonbParseState **state, const PersonRow *row)
{
	static Datum *values = NULL;
	static bool *nulls = NULL;
	static int	most = 0;
	const Reader *reader = row->reader;
	TupleDesc	desc = RelationGetDescr(row->table);

	if (desc->natts > most)
	{
		most = 0;
		if (values == NULL)
		{
			values = MemoryContextAlloc(TopMemoryContext, sizeof(Datum) * desc->natts);
			nulls = MemoryContextAlloc(TopMemoryContext, sizeof(bool) * desc->natts);
		}
		else
		{
			values = repalloc(values, sizeof(Datum) * desc->natts);
			nulls = repalloc(nulls, sizeof(bool) * desc->natts);
		}
		most = desc->natts;
	}
	heap_deform_tuple(row->tuple, desc, values, nulls);
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < reader->group->nitems; i++)
	{
		const SpineItem *item = &reader->group->items[i];
		AttrNumber	column = reader->columns[i];

		if (column == InvalidAttrNumber || nulls[column - 1] || (row->shown != NULL && !row->shown[i]))
			continue;
		spine_json_push_key(state, item->name, (int) strlen(item->name));
		spine_json_push(state, &reader->json[i], values[column - 1]);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* The rows, which are of one episode or of none, by group: key "records". */
static void
push_records(JsonbParseState **state, const PersonRow *rows, int n)
{
	const Reader *reader = NULL;

	spine_json_push_key(state, "records", 7);
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		const PersonRow *row = &rows[i];

		if (row->reader != reader)
		{
			if (reader != NULL)
				(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
			reader = row->reader;
			spine_json_push_key(state, reader->group->name, reader->group->name_length);
			(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		}
		(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_member(state, "record_id", UUIDOID, row->values[RECORD], false);
		push_member(state, "owner", TEXTOID, row->values[OWNER], false);
		push_member(state, "source_system", TEXTOID, row->values[SOURCE], false);
		push_member(state, "event_at", TIMESTAMPTZOID, row->values[EVENT], row->no_event);
		push_member(state, "received_at", TIMESTAMPTZOID, row->values[RECEIVED], false);
		push_member(state, "revision", INT8OID, row->values[REVISION], false);
		spine_json_push_key(state, "data", 4);
		(void) push_items(state, row);
		(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	if (reader != NULL)
		(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* What is known of an episode, or of several that are one. */
typedef struct Journey
{
	pg_uuid_t	id;
	int			nids;
	pg_uuid_t  *ids;
	Datum		kind;			/* text */
	bool		no_kind;
	Datum		anchor;			/* date */
	bool		no_anchor;
	Jsonb	   *links;
	/* its rows */
	int			first;
	int			n;
	Datum		first_at;
	Datum		last_at;
	bool		no_time;
} Journey;

/* The episodes of the rows; each row is told which is its own. */
static int
journeys_get(Person *person, Journey **found)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Datum	   *episodes = palloc(sizeof(Datum) * Max(person->nrows, 1));
	Datum	   *owners = palloc(sizeof(Datum) * Max(person->nrows, 1));
	const PersonRow *last = NULL;
	Journey    *journeys;
	Datum		args[2];
	SpineOwnerScope owner;
	int			n = 0;

	*found = NULL;
	for (int i = 0; i < person->nrows; i++)
	{
		PersonRow  *row = &person->rows[i];

		if (row->no_episode)
			continue;
		/* rows of an episode mostly follow each other */
		if (last != NULL && strcmp(last->owner, row->owner) == 0 &&
			memcmp(DatumGetUUIDP(last->values[EPISODE]), DatumGetUUIDP(row->values[EPISODE]), UUID_LEN) == 0)
			continue;
		last = row;
		episodes[n] = row->values[EPISODE];
		owners[n++] = row->values[OWNER];
	}
	if (n == 0)
		return 0;

	args[0] = PointerGetDatum(construct_array(episodes, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	args[1] = PointerGetDatum(construct_array(owners, n, TEXTOID, -1, false, TYPALIGN_INT));
	spine_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (plan == NULL)
	{
		Oid			types[2] = {UUIDARRAYOID, TEXTARRAYOID};
		SPIPlanPtr	fresh = SPI_prepare_cursor("SELECT j.journey, j.ids, j.kind, j.anchor, j.links FROM spine.journeys($1, $2) j",
											   2, types, CURSOR_OPT_GENERIC_PLAN);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		plan = fresh;
	}
	if (SPI_execute_plan(plan, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "look-up of episodes failed");
	n = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	journeys = palloc0(sizeof(Journey) * Max(n, 1));
	for (int j = 0; j < n; j++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[j];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Journey    *journey = &journeys[j];
		Datum	   *ids;
		Datum		value;
		bool		null;

		journey->id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &null));
		deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(tuple, desc, 2, &null)),
						  UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, NULL, &journey->nids);
		journey->ids = palloc(sizeof(pg_uuid_t) * Max(journey->nids, 1));
		for (int i = 0; i < journey->nids; i++)
			journey->ids[i] = *DatumGetUUIDP(ids[i]);
		value = SPI_getbinval(tuple, desc, 3, &journey->no_kind);
		if (!journey->no_kind)
			journey->kind = PointerGetDatum(DatumGetTextPCopy(value));
		journey->anchor = SPI_getbinval(tuple, desc, 4, &journey->no_anchor);
		value = SPI_getbinval(tuple, desc, 5, &null);
		if (!null)
			journey->links = DatumGetJsonbPCopy(value);
		journey->no_time = true;
	}
	SPI_finish();
	spine_owner_leave(&owner);

	for (int i = 0; i < person->nrows; i++)
	{
		PersonRow  *row = &person->rows[i];

		for (int j = 0; j < n && !row->no_episode && row->journey < 0; j++)
		{
			for (int k = 0; k < journeys[j].nids; k++)
			{
				if (memcmp(&journeys[j].ids[k], DatumGetUUIDP(row->values[EPISODE]), UUID_LEN) == 0)
					row->journey = j;
			}
		}
	}
	*found = journeys;
	return n;
}

static int
compare_journeys(const void *a, const void *b)
{
	const Journey *one = *(const Journey *const *) a;
	const Journey *other = *(const Journey *const *) b;
	int			order = compare_times(one->first_at, one->no_time, other->first_at, other->no_time);

	return order != 0 ? order : memcmp(&one->id, &other->id, UUID_LEN);
}

static void
push_journey(JsonbParseState **state, const Person *person, Journey *journey)
{
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_member(state, "episode_id", UUIDOID, UUIDPGetDatum(&journey->id), false);
	push_member(state, "kind", TEXTOID, journey->kind, journey->no_kind);
	push_member(state, "anchor", DATEOID, journey->anchor, journey->no_anchor);
	push_member(state, "first_event_at", TIMESTAMPTZOID, journey->first_at, journey->no_time);
	push_member(state, "last_event_at", TIMESTAMPTZOID, journey->last_at, journey->no_time);
	push_owners(state, person->rows + journey->first, journey->n);
	push_uuids(state, "described_as", journey->ids, journey->nids);
	push_made(state, "links", journey->links);
	push_records(state, person->rows + journey->first, journey->n);
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* The relatives with a record that the caller may see; NULL: none. */
typedef struct Relatives
{
	text	   *mother;
	Jsonb	   *children;
} Relatives;

static void
relatives_get(ArrayType *ids, Relatives *relatives)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Datum		arg = PointerGetDatum(ids);
	Datum	   *each;
	int			n;
	bool		any = false;
	SpineOwnerScope owner;
	bool		null;

	memset(relatives, 0, sizeof(Relatives));
	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &each, NULL, &n);
	for (int i = 0; i < n && !any; i++)
		any = spine_store_has("family_link", "child", each[i]) || spine_store_has("family_link", "mother", each[i]);
	if (!any)
		return;

	ask_one(&plan, "SELECT r.mother, r.children FROM spine.relatives_shown($1) r", UUIDARRAYOID, arg, &owner);
	MemoryContextSwitchTo(caller);
	arg = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	if (!null)
		relatives->mother = DatumGetTextPCopy(arg);
	arg = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null);
	if (!null)
		relatives->children = DatumGetJsonbPCopy(arg);
	SPI_finish();
	spine_owner_leave(&owner);
}

/* The journeys know their rows, which are in order of journey now. */
static void
journeys_place(Person *person, Journey *journeys)
{
	for (int i = 0; i < person->nrows; i++)
	{
		const PersonRow *row = &person->rows[i];
		Journey    *journey;

		if (row->journey < 0)
			continue;
		journey = &journeys[row->journey];
		if (journey->n++ == 0)
			journey->first = i;
		if (row->no_event)
			continue;
		if (journey->no_time || compare_times(row->values[EVENT], false, journey->first_at, false) < 0)
			journey->first_at = row->values[EVENT];
		if (journey->no_time || compare_times(row->values[EVENT], false, journey->last_at, false) > 0)
			journey->last_at = row->values[EVENT];
		journey->no_time = false;
	}
}

static JsonbValue *
person_document(Person *person, const Relatives *relatives)
{
	JsonbParseState *state = NULL;
	Journey    *journeys;
	int			njourneys = journeys_get(person, &journeys);
	Journey   **in_order = palloc(sizeof(Journey *) * Max(njourneys, 1));
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * person->nrows);
	int			of_none = 0;

	qsort(person->rows, person->nrows, sizeof(PersonRow), compare_rows);
	journeys_place(person, journeys);
	for (int j = 0; j < njourneys; j++)
		in_order[j] = &journeys[j];
	qsort(in_order, njourneys, sizeof(Journey *), compare_journeys);
	for (int i = 0; i < person->nrows; i++)
	{
		ids[i] = *DatumGetUUIDP(person->rows[i].values[PATIENT]);
		of_none += person->rows[i].journey < 0;
	}

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_member(&state, "as_of", TIMESTAMPTZOID, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), false);
	spine_json_push_key(&state, "patient", 7);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_uuids(&state, "ids", ids, person->nrows);
	push_member(&state, "mother", TEXTOID, PointerGetDatum(relatives->mother), relatives->mother == NULL);
	if (relatives->children != NULL)
		push_made(&state, "children", relatives->children);
	else
		push_uuids(&state, "children", NULL, 0);
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	push_owners(&state, person->rows, person->nrows);
	spine_json_push_key(&state, "episodes", 8);
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int j = 0; j < njourneys; j++)
		push_journey(&state, person, in_order[j]);
	(void) pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	/* those come first */
	push_records(&state, person->rows, of_none);
	return pushJsonbValue(&state, WJB_END_OBJECT, NULL);
}


/* ---------------------------------------------------------------- for SQL */

/* spine.visible_owners(patients uuid[]) returns text[] */
Datum
spine_visible_owners(PG_FUNCTION_ARGS)
{
	List	   *owners = spine_person_owners(PG_GETARG_ARRAYTYPE_P(0));
	Datum	   *codes = palloc(sizeof(Datum) * Max(list_length(owners), 1));
	ListCell   *cell;

	foreach(cell, owners)
		codes[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	PG_RETURN_ARRAYTYPE_P(construct_array(codes, list_length(owners), TEXTOID, -1, false, TYPALIGN_INT));
}

/* spine.own_owner(patients uuid[], organisations text[]) returns text */
Datum
spine_own_owner(PG_FUNCTION_ARGS)
{
	ArrayType  *organisations = PG_GETARG_ARRAYTYPE_P(1);
	Datum	   *codes;
	bool	   *nulls;
	int			n;
	Person		person;
	const PersonRow *latest = NULL;
	uint64		shown = spine_rows_shown;
	Datum		owner = (Datum) 0;

	deconstruct_array(organisations, TEXTOID, -1, false, TYPALIGN_INT, &codes, &nulls, &n);
	person_read(&person, PG_GETARG_ARRAYTYPE_P(0));
	for (int i = 0; i < person.nrows; i++)
	{
		const PersonRow *row = &person.rows[i];
		bool		meant = false;
		int			order;

		for (int o = 0; o < n && !meant; o++)
			meant = !nulls[o] && strcmp(TextDatumGetCString(codes[o]), row->owner) == 0;
		if (!meant)
			continue;
		order = latest == NULL ? 1 : compare_times(row->values[RECEIVED], false, latest->values[RECEIVED], false);
		if (order > 0 || (order == 0 && strcmp(row->owner, latest->owner) < 0))
			latest = row;
	}
	if (latest != NULL)
		owner = CStringGetTextDatum(latest->owner);
	person_end(&person);
	/* nobody is shown anything */
	spine_rows_shown = shown;
	if (latest == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(owner);
}

/* spine.person_records(patients uuid[]): a row for each record, as spine.all_records has it */
Datum
spine_person_records(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Person		person;

	InitMaterializedSRF(fcinfo, 0);
	person_read(&person, PG_GETARG_ARRAYTYPE_P(0));
	for (int i = 0; i < person.nrows; i++)
	{
		PersonRow  *row = &person.rows[i];
		const SpineGroupTable *group = row->reader->group;
		JsonbParseState *state = NULL;
		Datum		values[] = {
			CStringGetTextDatum(group->dataset), CStringGetTextDatum(group->data_group), CStringGetTextDatum(group->title),
			row->values[RECORD], row->values[OWNER], row->values[SOURCE], row->values[PATIENT], row->values[EPISODE],
			row->values[EVENT], row->values[RECEIVED], row->values[REVISION],
			JsonbPGetDatum(JsonbValueToJsonb(push_items(&state, row)))
		};
		bool		nulls[lengthof(values)] = {false};

		nulls[7] = row->no_episode;
		nulls[8] = row->no_event;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	person_end(&person);
	return (Datum) 0;
}

/* spine.record(nhs_number) returns jsonb */
Datum
spine_record(PG_FUNCTION_ARGS)
{
	pg_uuid_t	patient;
	ArrayType  *ids;
	Relatives	relatives;
	Jsonb	   *document = NULL;
	Person		person;

	spine_identity_patient(PG_GETARG_INT64(0), &patient);
	ids = spine_person_ids(&patient);
	relatives_get(ids, &relatives);
	person_read(&person, ids);
	if (person.nrows > 0)
		document = JsonbValueToJsonb(person_document(&person, &relatives));
	person_end(&person);
	if (document == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(document);
}
