/*
 * rules.h
 *		Sharing rules, as the check of a row asks for them: which hold at this
 *		moment, and what they show of the items.
 */
#ifndef SPINE_RULES_H
#define SPINE_RULES_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/array.h"
#include "utils/uuid.h"

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
} SpineItem;

/* Which items: what tokens have behind the slash (aci, +column, m:aci, m+column), together. */
typedef struct SpineScope
{
	uint32		letters;		/* classes granted whole, a bit for each letter */
	uint32		mother_letters;
	int			nsingles;
	SpineItem  *singles;
} SpineScope;

/* Adds what one token says. Keeps pointers into it. */
extern void spine_scope_add(SpineScope *scope, const char *said, int length);
extern bool spine_scope_shows(const SpineScope *scope, const SpineItem *item);

/*
 * Is a rule for care in force from this owner to this organisation over this data
 * group (DATASET.GROUP)? For another purpose to is ORGANISATION:PURPOSE, and the owner's
 * node one whose records come as pseudonyms. emergency: one that allows breaking the glass. What such rules
 * show together is added to scope, which is good until the next call.
 */
extern bool spine_rules_hold(const char *owner, int owner_length, const char *to,
							 const char *group, int group_length, bool emergency, SpineScope *scope);

/*
 * Are the audiences of this owner's records in this group being computed anew, or has
 * the query in progress a snapshot that shows those of before the rules changed?
 */
extern bool spine_rules_are_settling(const char *owner, int owner_length, const char *group, int group_length);

/* What spine.audience() says now, as committed now. Good until it is asked again. */
extern ArrayType *spine_rules_audience(const char *owner, int owner_length,
									   const char *group, int group_length, const pg_uuid_t *patient);

/* The table of a data group. */
typedef struct SpineGroupTable
{
	char	   *group;			/* DATASET.GROUP */
	Oid			relid;
} SpineGroupTable;

/* Those of all groups published here, copied into the present memory context. */
extern int	spine_rules_tables(SpineGroupTable **tables);

/* One item of a data group; its name is the caller's. False where there is none. */
extern bool spine_rules_item(const char *group, int group_length, const char *column, int column_length, SpineItem *item);

/* The items of a data group, copied into the present memory context. */
extern int	spine_rules_items(const char *group, int group_length, SpineItem **items);

#endif							/* SPINE_RULES_H */
