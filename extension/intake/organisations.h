/*
 * organisations.h
 *		What spine.organisation knows about a code, for the rules that ask
 *		whether an organisation is open.
 */
#ifndef SPINE_ORGANISATIONS_H
#define SPINE_ORGANISATIONS_H

#include "postgres.h"

#include "utils/date.h"

typedef struct SpineOrganisation
{
	bool		known;
	bool		has_opened;
	bool		has_closed;
	DateADT		opened;			/* first day on which it is open */
	DateADT		closed;			/* last day on which it is open */
} SpineOrganisation;

/*
 * What is committed now, or written by this transaction, about the organisation
 * of this code, as any spelling gives it. What cannot be an ODS code is not known;
 * nothing is raised for it.
 */
extern void spine_organisation_look_up(const char *code, SpineOrganisation *found);

/* Is a known organisation open on this day? ODS's close date is its last day, the successor opens on the next. */
static inline bool
spine_organisation_is_open(const SpineOrganisation *organisation, DateADT day)
{
	return (!organisation->has_opened || organisation->opened <= day) &&
		(!organisation->has_closed || day <= organisation->closed);
}

#endif							/* SPINE_ORGANISATIONS_H */
