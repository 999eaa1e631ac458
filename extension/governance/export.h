/*
 * export.h
 *		Statements that show many rows: each is written to the access log.
 */
#ifndef SPINE_EXPORT_H
#define SPINE_EXPORT_H

#include "postgres.h"

/* rows that row-level security has let through in this process; spine.visible() counts */
extern PGDLLIMPORT uint64 spine_rows_shown;

/* Asks for the shared memory and sets the executor's hooks; only while the library is being preloaded. */
extern void spine_export_start(void);

#endif							/* SPINE_EXPORT_H */
