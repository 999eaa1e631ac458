/*
 * visible.h
 *		The check of rows, for who walks tables without a query.
 */
#ifndef SPINE_VISIBLE_H
#define SPINE_VISIBLE_H

#include "postgres.h"

#include "utils/uuid.h"

#include "groups.h"

/* a row as the check sees it */
typedef struct SpineRow
{
	const char *owner;
	int			owner_length;
	Datum		audience;		/* text[], not detoasted */
	pg_uuid_t  *patient;
	const char *group;			/* DATASET.GROUP */
	int			group_length;
} SpineRow;

/*
 * What spine.visible() says of the row, at this moment. Of its own rows the caller sees
 * every item (*own); of another owner's those that are made true in shown, unless items is NULL.
 */
extern bool spine_visible_row(const SpineRow *row, const SpineItem *items, int nitems, bool *shown, bool *own);

#endif							/* SPINE_VISIBLE_H */
