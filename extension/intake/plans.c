/*
 * plans.c
 *		Saved plans of intake's queries, and the rows that are handed to them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"

#include "intake/plans.h"

static SPIPlanPtr
prepare(const char *query, int nargs, const Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(query, nargs, (Oid *) types, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", query, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep a plan");
	return plan;
}

uint64
spine_plan_run(SPIPlanPtr *plan, const char *query, int nargs, const Oid *types, Datum *args)
{
	MemoryContext context = CurrentMemoryContext;
	int			result;

	if (*plan == NULL)
		*plan = prepare(query, nargs, types);
	result = SPI_execute_plan(*plan, args, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "intake query failed: %s", SPI_result_code_string(result));
	/* SPI leaves its own, which ends with the connection: what callers make must outlive that */
	MemoryContextSwitchTo(context);
	return SPI_processed;
}

void
spine_plans_by_index(void)
{
	static const char *const off[] = {"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material", "jit"};

	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* A text as an argument or a column; NULL as no value. */
void
spine_put_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	if (text != NULL)
		*value = CStringGetTextDatum(text);
}

Datum
spine_array(Datum *values, int n, Oid type)
{
	return spine_array_with_nulls(values, NULL, n, type);
}

/* nulls: which of the values are missing, or NULL if none is. */
Datum
spine_array_with_nulls(Datum *values, bool *nulls, int n, Oid type)
{
	int			lower = 1;
	int16		length;
	bool		by_value;
	char		alignment;

	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, type, length, by_value, alignment));
}

/* Makes the rows a relation of this name to the queries of the present SPI connection. */
void
spine_register_rows(const char *name, TupleDesc desc, Tuplestorestate *rows, int count)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = pstrdup(name);
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = count;
	relation->reldata = rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows of a batch");
}
