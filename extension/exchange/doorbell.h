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

/* A neighbour's bit; two may share one, which costs a look for nothing. */
extern uint64 spine_doorbell_bit(const char *node);

/* Somebody changed who the neighbours are, or what holds for them. */
#define SPINE_DOORBELL_LIST		(UINT64CONST(1) << 63)

/*
 * Marks this transaction: the courier is woken when it has committed, to look
 * for what there is to send to this neighbour. NULL: to all, and who they are.
 */
extern void spine_doorbell_ring(const char *node);

/* The same because this neighbour has called: it is there again, should we wait for it. */
extern void spine_doorbell_called(const char *node);

/* For the courier: whom there may be something for, and who has called, since it last asked. */
extern uint64 spine_doorbell_heard(uint64 *callers);

/* For the courier: whose calls it wants to hear of. */
extern void spine_doorbell_await(uint64 callers);

/* This process is the courier of MyDatabaseId, until it ends. */
extern void spine_doorbell_attach(void);

#endif							/* SPINE_DOORBELL_H */
