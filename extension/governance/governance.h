/*
 * governance.h
 *		What the caches over the governance tables share: one stamp that any
 *		change of those tables moves on, and the way they are read.
 */
#ifndef SPINE_GOVERNANCE_H
#define SPINE_GOVERNANCE_H

#include "postgres.h"
#include "storage/lock.h"

#include "identity.h"

/*
 * Takes in what other sessions have changed and returns the present stamp. What was
 * built under another stamp is stale.
 */
extern uint64 spine_governance_stamp(void);

/* Likewise, of the data sets that are published alone. */
extern uint64 spine_definitions_stamp(void);

/* Does this database have a store? */
extern bool spine_governance_has_store(void);

/*
 * A look at the governance tables as they are committed now, whatever snapshot the
 * query that asks may have: a membership that is gone is gone. Between begin and end
 * SPI is connected, as spine_owner.
 */
typedef struct SpineLookup
{
	SpineOwnerScope owner;
	bool		pushed;
	/* InvalidLocalTransactionId, or the one transaction for which the answer holds */
	LocalTransactionId only_in;
} SpineLookup;

extern void spine_lookup_begin(SpineLookup *lookup);
extern void spine_lookup_end(SpineLookup *lookup);

#endif							/* SPINE_GOVERNANCE_H */
