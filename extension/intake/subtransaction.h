/*
 * subtransaction.h
 *		Work that may be undone without undoing what came before it.
 */
#ifndef SPINE_SUBTRANSACTION_H
#define SPINE_SUBTRANSACTION_H

#include "postgres.h"

#include "utils/elog.h"

/*
 * Runs work(arg) in a subtransaction: it stays if work returns true, and is
 * undone if it returns false or raises. Returns what it raised, copied into the
 * present context; NULL where it raised nothing.
 */
extern ErrorData *spine_subtransaction_run(bool (*work) (void *arg), void *arg);

#endif							/* SPINE_SUBTRANSACTION_H */
