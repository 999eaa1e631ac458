/*
 * groups.c
 *		The data groups that are published here, and their tables walked by index.
 *
 * What a group consists of changes when a data set is published, and then alone: it
 * is kept apart from the sharing rules, which every dissent makes old.
 *
 * A person's few rows lie in any of the groups' tables. A query over all of them takes
 * longer to begin than to run; walking their indexes needs no query.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/proc.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "governance.h"
#include "groups.h"

static MemoryContext groups_context = NULL;
static SpineGroupTable *groups = NULL;
static int	ngroups = 0;
static uint64 groups_stamp = 0;
static LocalTransactionId groups_only_in = InvalidLocalTransactionId;


/* ---------------------------------------------------------------- the cache */

static char *
spi_copy(uint64 row, int column, MemoryContext context)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(context, value) : NULL;
}

static bool
spi_bool(uint64 row, int column)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &null);

	return !null && DatumGetBool(value);
}

static void
items_read(SpineGroupTable *found, int n, MemoryContext context)
{
	uint64		row = 0;

	/* both in the order of groups */
	for (int g = 0; g < n; g++)
	{
		SpineGroupTable *group = &found[g];
		uint64		first = row;

		while (row < SPI_processed &&
			   strcmp(SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1), group->name) == 0)
			row++;
		group->nitems = (int) (row - first);
		group->items = MemoryContextAllocZero(context, sizeof(SpineItem) * Max(group->nitems, 1));
		for (int i = 0; i < group->nitems; i++)
		{
			SpineItem  *item = &group->items[i];
			char	   *mark = SPI_getvalue(SPI_tuptable->vals[first + i], SPI_tuptable->tupdesc, 2);

			item->about_mother = *mark == 'm';
			item->letter = mark[strlen(mark) - 1];
			item->column = spi_copy(first + i, 3, context);
			item->column_length = (int) strlen(item->column);
			item->name = spi_copy(first + i, 4, context);
			item->of_key = spi_bool(first + i, 5);
			item->of_event = spi_bool(first + i, 6);
			item->local_number = spi_bool(first + i, 7);
		}
	}
	if (row != SPI_processed)
		elog(ERROR, "items of a group that is not there");
}

static void
ask(const char *query)
{
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "look-up of the data groups failed");
}

static void
groups_load(void)
{
	uint64		now = spine_definitions_stamp();
	MemoryContext fresh;
	SpineLookup lookup;
	SpineGroupTable *found = NULL;
	int			n = 0;
	LocalTransactionId only_in = InvalidLocalTransactionId;

	if (groups != NULL && groups_stamp == now &&
		(groups_only_in == InvalidLocalTransactionId || groups_only_in == spine_local_xid()))
		return;

	fresh = AllocSetContextCreate(CurrentMemoryContext, "spine data groups", ALLOCSET_DEFAULT_SIZES);
	if (spine_governance_has_store())
	{
		bool		null;

		spine_lookup_begin(&lookup);
		ask("SELECT g.dataset || '.' || g.data_group, g.dataset, g.data_group, g.title,"
			" coalesce(pg_catalog.to_regclass(pg_catalog.format('%I.%I', g.dataset, g.data_group))::oid, 0::oid)"
			" FROM (SELECT DISTINCT ON (d.name, g.body ->> 'name') d.name AS dataset, g.body ->> 'name' AS data_group, g.body ->> 'title' AS title"
			" FROM spine.dataset d CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(d.definition -> 'groups') AS g (body)"
			" ORDER BY d.name, g.body ->> 'name', pg_catalog.string_to_array(d.version, '.')::integer[] DESC) g"
			" ORDER BY (g.dataset || '.' || g.data_group) COLLATE \"C\"");
		n = (int) SPI_processed;
		found = MemoryContextAllocZero(fresh, sizeof(SpineGroupTable) * Max(n, 1));
		for (int i = 0; i < n; i++)
		{
			found[i].name = spi_copy(i, 1, fresh);
			found[i].name_length = (int) strlen(found[i].name);
			found[i].dataset = spi_copy(i, 2, fresh);
			found[i].data_group = spi_copy(i, 3, fresh);
			found[i].title = spi_copy(i, 4, fresh);
			found[i].relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 5, &null));
		}
		ask("SELECT i.data_group, i.mark, i.column_name, i.item_name, i.of_key, i.of_event, i.local_number"
			" FROM spine.group_items() i ORDER BY i.data_group COLLATE \"C\", i.column_name COLLATE \"C\"");
		items_read(found, n, fresh);
		only_in = lookup.only_in;
		spine_lookup_end(&lookup);
	}

	/* who has asked may use the former ones until his transaction ends */
	if (groups_context != NULL)
		MemoryContextSetParent(groups_context, TopTransactionContext);
	MemoryContextSetParent(fresh, TopMemoryContext);
	groups_context = fresh;
	groups = found;
	ngroups = n;
	groups_only_in = only_in;
	groups_stamp = now;
}

int
spine_groups_get(const SpineGroupTable **found, uint64 *since)
{
	groups_load();
	*found = groups;
	*since = groups_stamp;
	return ngroups;
}

bool
spine_groups_are_new(uint64 since)
{
	return spine_definitions_stamp() != since;
}

const SpineGroupTable *
spine_groups_find(const char *name, int length)
{
	int			from = 0;
	int			to;

	groups_load();
	to = ngroups;
	while (from < to)
	{
		int			middle = (from + to) / 2;
		SpineGroupTable *group = &groups[middle];
		int			order = memcmp(name, group->name, Min(length, group->name_length));

		if (order == 0)
			order = length - group->name_length;
		if (order == 0)
			return group;
		if (order < 0)
			to = middle;
		else
			from = middle + 1;
	}
	return NULL;
}

bool
spine_groups_item(const char *group, int group_length, const char *column, int column_length, SpineItem *item)
{
	const SpineGroupTable *found = spine_groups_find(group, group_length);

	for (int i = 0; found != NULL && i < found->nitems; i++)
	{
		if (found->items[i].column_length == column_length && memcmp(found->items[i].column, column, column_length) == 0)
		{
			*item = found->items[i];
			item->column = column;
			return true;
		}
	}
	return false;
}


/* ---------------------------------------------------------------- walking */

/* The index, if it leads with the column and holds every row. */
static Relation
index_take(Oid relid, AttrNumber column)
{
	Relation	index = index_open(relid, AccessShareLock);

	if (index->rd_index->indisvalid && index->rd_index->indkey.values[0] == column &&
		RelationGetIndexPredicate(index) == NIL)
		return index;
	index_close(index, AccessShareLock);
	return NULL;
}

bool
spine_walk_begin(SpineWalk *walk, Oid relid, AttrNumber column, Oid *known)
{
	List	   *indexes;
	ListCell   *cell;

	memset(walk, 0, sizeof(SpineWalk));
	walk->table = table_open(relid, AccessShareLock);
	indexes = RelationGetIndexList(walk->table);
	if (list_member_oid(indexes, *known))
		walk->index = index_take(*known, column);
	foreach(cell, indexes)
	{
		if (walk->index != NULL)
			break;
		walk->index = index_take(lfirst_oid(cell), column);
	}
	list_free(indexes);
	if (walk->index == NULL)
		return false;
	*known = RelationGetRelid(walk->index);
	walk->slot = table_slot_create(walk->table, NULL);
	walk->scan = spine_index_beginscan(walk->table, walk->index, GetActiveSnapshot(), 1);
	return true;
}

void
spine_walk_to(SpineWalk *walk, Datum value)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, value);
	index_rescan(walk->scan, &key, 1, NULL, 0);
}

bool
spine_walk_next(SpineWalk *walk)
{
	return index_getnext_slot(walk->scan, ForwardScanDirection, walk->slot);
}

void
spine_walk_end(SpineWalk *walk, bool keep_table)
{
	if (walk->index != NULL)
	{
		index_endscan(walk->scan);
		ExecDropSingleTupleTableSlot(walk->slot);
		index_close(walk->index, AccessShareLock);
	}
	if (!keep_table)
		table_close(walk->table, AccessShareLock);
}

Oid
spine_store_table(const char *table)
{
	Oid			relid = get_relname_relid(table, get_namespace_oid("spine", false));

	if (!OidIsValid(relid))
		elog(ERROR, "there is no table spine.%s", table);
	return relid;
}

bool
spine_store_has(const char *table, const char *column, Datum value)
{
	Oid			relid = spine_store_table(table);
	Oid			index = InvalidOid;
	SpineWalk	walk;
	bool		has = true;

	if (spine_walk_begin(&walk, relid, get_attnum(relid, column), &index))
	{
		spine_walk_to(&walk, value);
		has = spine_walk_next(&walk);
	}
	spine_walk_end(&walk, false);
	return has;
}
