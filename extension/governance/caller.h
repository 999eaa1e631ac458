/*
 * caller.h
 *		Who is asking. Always the role in force outside every security-definer
 *		function (GetOuterUserId), looked up in spine.member and spine.system
 *		through a cache that any change of those tables marks stale.
 */
#ifndef SPINE_CALLER_H
#define SPINE_CALLER_H

#include "postgres.h"

/* what a system's kind allows: the table is in caller.c */
#define SPINE_MAY_READ		0x01	/* its organisation's records, and what is kept of them */
#define SPINE_MAY_WRITE		0x02	/* under its own name; the groups of which subjects, see below */

typedef struct SpineMembership
{
	char	   *organisation;
	char	   *duty;			/* clinician, analyst, governor, operator */
} SpineMembership;

typedef struct SpineCaller
{
	Oid			role;			/* GetOuterUserId() when this was filled */
	char		role_name[NAMEDATALEN];
	int			nmemberships;
	SpineMembership *memberships;
	/* the supplier's system of this role; organisation is NULL where it has none */
	char	   *organisation;
	char	   *system;
	char	   *kind;
	int			rights;			/* SPINE_MAY_xxx of the kind */
	/* organisations whose own rows the role may read: theirs and what is below them */
	int			nreadable;
	char	  **readable;
	int		   *readable_lengths;
	Datum		readable_array; /* the same as text[], for spine.my_organisations() */
	/* of an analyst: owners whose records come here as pseudonyms, from nodes for reporting */
	int			nreporting;
	char	  **reporting;
	Datum		owners_array;	/* the readable and the reporting, for spine.my_owners() */
} SpineCaller;

/* The caller, filled from the cache; never NULL, empty for a stranger. Valid until the next call. */
extern const SpineCaller *spine_caller_get(void);

/*
 * What was last known of this role, or of whoever was asked about last (InvalidOid),
 * without a look at the tables: for a transaction that is being rolled back. NULL when
 * nothing is.
 */
extern const SpineCaller *spine_caller_latest(Oid role);

/* May a system of this kind write groups of this subject (mother, baby, patient, none)? */
extern bool spine_kind_may_write_subject(const char *kind, const char *subject);

/* Is any governor membership for this organisation held? */
extern bool spine_caller_has_duty(const char *organisation, const char *duty);

/* Is the caller a clinician of any organisation? */
extern bool spine_caller_is_clinician(void);

#endif							/* SPINE_CALLER_H */
