/*
 * worker.h
 *		What spine's own processes share: signals, one transaction a turn, its
 *		memory given back with each turn.
 */
#ifndef SPINE_WORKER_H
#define SPINE_WORKER_H

#include "postgres.h"

extern void spine_launcher_register(void);

/* entry points, named to the postmaster */
extern PGDLLEXPORT void spine_launcher_main(Datum arg);
extern PGDLLEXPORT void spine_courier_main(Datum database);
extern PGDLLEXPORT void spine_auditor_main(Datum database);

/* in bgw_extra of a worker that leaves by itself when it has nothing to do */
#define SPINE_WORKER_ON_DEMAND	'd'

/* Signals and the turn's memory; called first in a worker's main function. */
extern void spine_worker_start(void);

/* Becomes the named role for the rest of the session. False when there is no such role. */
extern bool spine_worker_become(const char *role);

/*
 * Between two turns: ends the process when asked to, reads changed settings,
 * gives back the turn's memory and leaves its context current.
 */
extern void spine_worker_turn(void);

/* A transaction with SPI; begin leaves the turn's context current, so do both ends. */
extern void spine_worker_begin(const char *activity);
extern void spine_worker_commit(void);

/* After an error was caught: rolls back, logs, returns the message in the turn's memory. */
extern char *spine_worker_failed(void);

/* The same without what the error says besides its message, which may show a row. */
extern void spine_worker_failed_briefly(const char *what, int *sqlstate, char *message, int size);

#endif							/* SPINE_WORKER_H */
