/*
 * doorbell.h
 *		Wakes the courier of this database after a transaction that left it work.
 *		A lost ring costs one spine.courier_interval, never a delivery.
 */
#ifndef SPINE_DOORBELL_H
#define SPINE_DOORBELL_H

#include "postgres.h"

/* Asks for the shared memory; only while the library is being preloaded. */
extern void spine_doorbell_request(void);

/* Marks this transaction: the courier is woken when it has committed. */
extern void spine_doorbell_ring(void);

/* This process is the courier of MyDatabaseId, until it ends. */
extern void spine_doorbell_attach(void);

#endif							/* SPINE_DOORBELL_H */
