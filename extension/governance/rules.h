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
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "groups.h"

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

/* A clause for care, of whatever data groups. */
typedef struct SpineClause
{
	struct SpineClause *next;
	char	   *agreement;
	int32		version;
	int32		clause;
	TimestampTz starts_at;
	TimestampTz ends_at;
	ArrayType  *relationships;	/* kinds that it accepts */
	Interval	retention;
} SpineClause;

/* Those by which from shares with to, in force or not. Good until the rules are asked again. */
extern const SpineClause *spine_rules_clauses(const char *from, const char *to);

#endif							/* SPINE_RULES_H */
