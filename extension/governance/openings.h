/*
 * openings.h
 *		The patients opened in this session, as the check of a row asks for them.
 */
#ifndef SPINE_OPENINGS_H
#define SPINE_OPENINGS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "utils/array.h"
#include "utils/palloc.h"
#include "utils/uuid.h"

#define SPINE_CODE_LEN	32		/* an ODS code or a purpose with its terminator */

typedef struct SpineOpenedPatient
{
	pg_uuid_t	patient;		/* hash key */
	dlist_head	openings;
	/* see spine_opening_facts() */
	MemoryContext facts;		/* NULL until asked for */
	uint64		stamp;
	TimestampTz known_at;
	ArrayType  *dissents;		/* text[]: organisations, or an empty one for everybody */
	ArrayType  *mothers;		/* uuid[] */
} SpineOpenedPatient;

typedef struct SpineOpening
{
	dlist_node	of_patient;
	dlist_node	in_pending;		/* only where pending */
	SpineOpenedPatient *opened;
	Oid			role;
	TimestampTz until;
	uint64		act;			/* which call of opening_add made it */
	/* made in the running transaction: by this subtransaction */
	bool		pending;
	bool		for_transaction;
	SubTransactionId subid;
	char		organisation[SPINE_CODE_LEN];
	char		purpose[SPINE_CODE_LEN];	/* care, or emergency for who broke the glass */
} SpineOpening;

/* Called once when the library is loaded. */
extern void spine_openings_init(void);

/*
 * Opens these patients (NULL: none) to the caller for an organisation, until then or (0) for
 * spine.open_minutes; returns until when. Decides nothing. undo takes back the last that was done.
 */
extern TimestampTz spine_openings_add(ArrayType *patients, const char *organisation, const char *purpose,
									  bool for_transaction, TimestampTz until);
extern void spine_openings_undo(void);

/* How many openings there are, of whatever role. */
extern int	spine_openings_count(void);

/* The patient, if opened by whomever; NULL if not. */
extern SpineOpenedPatient *spine_opening_find(const pg_uuid_t *patient);

/* Makes plans that hold while nothing is open alone invalid (own_plan.c). */
extern void spine_own_plans_forget(void);

/* Fills in, or renews, dissents and mothers. */
extern void spine_opening_facts(SpineOpenedPatient *opened);

#endif							/* SPINE_OPENINGS_H */
