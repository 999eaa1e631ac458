/*
 * groups.h
 *		The data groups that are published here, with their tables and items, and
 *		how a table is walked by one of its indexes.
 */
#ifndef SPINE_GROUPS_H
#define SPINE_GROUPS_H

#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

/* An item of a data group, by its column. */
typedef struct SpineItem
{
	char		letter;			/* a, c, i or r: the class */
	bool		about_mother;	/* in a baby's record */
	bool		of_key;			/* local_record_id is made of it */
	bool		of_event;		/* event_at is */
	bool		local_number;	/* means something in the owner's systems alone */
	const char *column;
	int			column_length;
	const char *name;			/* in the newest version that has it; NULL where it was not asked
								 * for */
} SpineItem;

typedef struct SpineGroupTable
{
	char	   *name;			/* DATASET.GROUP */
	int			name_length;
	char	   *dataset;
	char	   *data_group;
	char	   *title;
	int			nitems;
	SpineItem  *items;
	Oid			relid;			/* InvalidOid: no table */
} SpineGroupTable;

/*
 * All groups, in order of name. Good until the end of the transaction; *since is for
 * spine_groups_are_new().
 */
extern int	spine_groups_get(const SpineGroupTable **groups, uint64 *since);

/* Has a data set been published since? */
extern bool spine_groups_are_new(uint64 since);

/* The group of this name (DATASET.GROUP), NULL where there is none. */
extern const SpineGroupTable *spine_groups_find(const char *name, int length);

/* One item of a data group; its name is the caller's. False where there is none. */
extern bool spine_groups_item(const char *group, int group_length, const char *column, int column_length, SpineItem *item);

/* A table, walked by the index that leads with a column of type uuid. */
typedef struct SpineWalk
{
	Relation	table;
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc scan;
} SpineWalk;

/*
 * With the active snapshot. *known is the index of the last time, which is looked at first. False where
 * there is no such index: the table is open then, no more.
 */
extern bool spine_walk_begin(SpineWalk *walk, Oid relid, AttrNumber column, Oid *known);

/* From here on the rows that have this value; then row after row is in walk->slot. */
extern void spine_walk_to(SpineWalk *walk, Datum value);
extern bool spine_walk_next(SpineWalk *walk);

/* Leaves the table open, and locked, where it is to be kept. */
extern void spine_walk_end(SpineWalk *walk, bool keep_table);

/* A table of the store and a column of it; no such table: an error. */
extern Oid	spine_store_table(const char *table);

/* Has this table of the store a row with this uuid in the column, as the active snapshot sees it? True where no index can tell. */
extern bool spine_store_has(const char *table, const char *column, Datum value);

#endif							/* SPINE_GROUPS_H */
