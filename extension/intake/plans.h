/*
 * plans.h
 *		How intake runs its queries: saved generic plans, rows as arrays or as a
 *		named relation.
 */
#ifndef SPINE_PLANS_H
#define SPINE_PLANS_H

#include "postgres.h"

#include "executor/spi.h"
#include "utils/tuplestore.h"

#include "intake/intake.h"

/* Lets a stale group's plans go. */
extern void spine_plans_free(SpineGroup *group);

/* Runs a plan within SPI, made from the query when it is first needed. Returns the rows processed. */
extern uint64 spine_plan_run(SPIPlanPtr *plan, const char *query, int nargs, const Oid *types, Datum *args);

/* Until the settings are restored, plans are made for indexes and nested loops alone. */
extern void spine_plans_by_index(void);

extern void spine_put_text(Datum *value, bool *isnull, const char *text);
extern Datum spine_array(Datum *values, int n, Oid type);
extern Datum spine_array_with_nulls(Datum *values, bool *nulls, int n, Oid type);
extern void spine_register_rows(const char *name, TupleDesc desc, Tuplestorestate *rows, int count);

#endif							/* SPINE_PLANS_H */
