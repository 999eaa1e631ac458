/*
 * generate.c
 *		spine.generate() and spine.generate_documents(): plausible pregnancies of
 *		women who do not exist, for demos, benches and tests.
 *
 * Both return a row a call and hold one pregnancy in memory (and, for documents,
 * one open document for each organisation), however many are asked for.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "generate/generate.h"

PG_FUNCTION_INFO_V1(spine_generate);
PG_FUNCTION_INFO_V1(spine_generate_documents);

/* a document being filled */
typedef struct Pending
{
	StringInfoData text;
	int			records;
} Pending;

typedef struct Generation
{
	GeneratePlan plan;
	int			pregnancies;
	int			next;			/* next pregnancy */
	int			last;
	int			organisation;	/* next organisation to tell about itself */
	MemoryContext context;		/* of the pregnancy in hand */
	GeneratedRecords records;
	int			at;				/* next record of it */
	int			pregnancy;		/* its number, 0 for an organisation itself */
	int64		n;
	/* documents */
	int			most;			/* records in one */
	char	  **systems;
	Pending    *pending;
	int			flush;			/* organisation whose rest is next, at the end */
} Generation;

#define REFUSE(message, ...) \
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg(message, ##__VA_ARGS__))

/* The texts of an array without NULLs. */
static char **
texts_of_array(Datum value, const char *name, int *n)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *elements;
	bool	   *nulls;
	char	  **texts;

	if (ARR_NDIM(array) > 1)
		REFUSE("%s must be an array of one dimension", name);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	texts = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			REFUSE("%s must not hold NULL", name);
		texts[i] = TextDatumGetCString(elements[i]);
	}
	return texts;
}

/* The arguments that both functions begin with; allocates in the current context. */
static Generation *
generation_start(FunctionCallInfo fcinfo)
{
	Generation *g = palloc0(sizeof(Generation));
	float8		rate;
	DateADT		starting;

	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("no argument of the generator may be NULL"));

	g->pregnancies = PG_GETARG_INT32(0);
	g->plan.seed = (uint64) PG_GETARG_INT64(1);
	g->plan.organisations = texts_of_array(PG_GETARG_DATUM(2), "organisations", &g->plan.norganisations);
	rate = PG_GETARG_FLOAT8(3);
	starting = PG_GETARG_DATEADT(4);
	g->next = PG_GETARG_INT32(5);

	if (g->pregnancies < 0 || g->pregnancies > GENERATE_MOST_PREGNANCIES)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("pregnancies must be between 0 and %d", GENERATE_MOST_PREGNANCIES),
				errdetail("There are no more synthetic NHS numbers in the range that begins with 999."));
	if (g->next < 1 || g->next > GENERATE_MOST_PREGNANCIES - Max(g->pregnancies, 1) + 1)
		REFUSE("first_pregnancy must be between 1 and %d less the number of pregnancies",
			   GENERATE_MOST_PREGNANCIES + 1);
	if (g->plan.norganisations < 1 || g->plan.norganisations > GENERATE_MOST_ORGANISATIONS)
		REFUSE("organisations must name between 1 and %d organisations", GENERATE_MOST_ORGANISATIONS);
	for (int i = 0; i < g->plan.norganisations; i++)
	{
		const char *code = g->plan.organisations[i];

		if (strlen(code) < 3 || strlen(code) > 5 || strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != strlen(code))
			REFUSE("organisation \"%s\" is not an ODS code of three to five characters", code);
		for (int k = 0; k < i; k++)
			if (strcmp(code, g->plan.organisations[k]) == 0)
				REFUSE("organisation \"%s\" is named twice", code);
	}
	if (isnan(rate) || rate < 0 || rate > 1)
		REFUSE("fault_rate must be between 0 and 1");
	g->plan.fault_rate = (uint32) (rate * 1000000 + 0.5);
	if (DATE_NOT_FINITE(starting) || starting < date2j(1950, 1, 1) - POSTGRES_EPOCH_JDATE ||
		starting > date2j(2200, 1, 1) - POSTGRES_EPOCH_JDATE)
		REFUSE("starting must be a date between 1950 and 2200");
	g->plan.start = starting;

	g->last = g->next + g->pregnancies - 1;
	/* what belongs to no pregnancy comes with the first */
	g->organisation = g->next == 1 && g->pregnancies > 0 ? 0 : g->plan.norganisations;
	g->context = AllocSetContextCreate(CurrentMemoryContext, "spine generated pregnancy", ALLOCSET_DEFAULT_SIZES);
	return g;
}

/* The next record, or NULL. It lives until the next call. */
static GeneratedRecord *
generation_next(Generation *g)
{
	while (g->at >= g->records.n)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (g->organisation >= g->plan.norganisations && g->next > g->last)
			return NULL;
		MemoryContextReset(g->context);
		memset(&g->records, 0, sizeof(g->records));
		g->at = 0;
		old = MemoryContextSwitchTo(g->context);
		if (g->organisation < g->plan.norganisations)
		{
			g->pregnancy = 0;
			spine_tell_organisation(&g->plan, g->organisation++, &g->records);
		}
		else
		{
			g->pregnancy = g->next++;
			spine_tell_pregnancy(&g->plan, g->pregnancy, &g->records);
		}
		MemoryContextSwitchTo(old);
	}
	return &g->records.records[g->at++];
}

static FuncCallContext *
first_call(FunctionCallInfo fcinfo)
{
	FuncCallContext *call = SRF_FIRSTCALL_INIT();
	MemoryContext old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	call->tuple_desc = BlessTupleDesc(desc);
	call->user_fctx = generation_start(fcinfo);
	MemoryContextSwitchTo(old);
	return call;
}

/*
 * spine.generate(pregnancies, seed, organisations, fault_rate, starting, first_pregnancy)
 */
Datum
spine_generate(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Generation *g;
	GeneratedRecord *record;
	Datum		values[7];
	bool		nulls[7] = {false};

	if (SRF_IS_FIRSTCALL())
		first_call(fcinfo);
	call = SRF_PERCALL_SETUP();
	g = call->user_fctx;

	record = generation_next(g);
	if (record == NULL)
		SRF_RETURN_DONE(call);

	values[0] = Int64GetDatum(++g->n);
	values[1] = Int32GetDatum(g->pregnancy);
	nulls[1] = g->pregnancy == 0;
	values[2] = CStringGetTextDatum(g->plan.organisations[record->organisation]);
	values[3] = CStringGetTextDatum(record->group);
	values[4] = TimestampTzGetDatum(record->sent * USECS_PER_MINUTE);
	values[5] = PointerGetDatum(cstring_to_text_with_len(record->json, record->length));
	nulls[6] = record->fault == NULL;
	values[6] = nulls[6] ? (Datum) 0 : CStringGetTextDatum(record->fault);
	SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, values, nulls)));
}

static void
pending_begin(Generation *g, int organisation)
{
	Pending    *pending = &g->pending[organisation];

	resetStringInfo(&pending->text);
	appendStringInfo(&pending->text,
					 "{\"dataset\":\"maternity\",\"version\":\"2.0\",\"system\":\"%s\",\"records\":[",
					 g->systems[organisation]);
	pending->records = 0;
}

/* A row of one finished document; the next one is begun. */
static HeapTuple
pending_take(Generation *g, TupleDesc desc, int organisation)
{
	Pending    *pending = &g->pending[organisation];
	Datum		values[3];
	bool		nulls[3] = {false};
	HeapTuple	tuple;

	appendStringInfoString(&pending->text, "]}");
	values[0] = CStringGetTextDatum(g->plan.organisations[organisation]);
	values[1] = Int32GetDatum(pending->records);
	values[2] = PointerGetDatum(cstring_to_text_with_len(pending->text.data, pending->text.len));
	tuple = heap_form_tuple(desc, values, nulls);
	pending_begin(g, organisation);
	return tuple;
}

/*
 * spine.generate_documents(pregnancies, seed, organisations, fault_rate, starting,
 *							first_pregnancy, most_records, systems)
 */
Datum
spine_generate_documents(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Generation *g;
	GeneratedRecord *record;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		int			nsystems;

		call = first_call(fcinfo);
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		g = call->user_fctx;
		g->most = PG_GETARG_INT32(6);
		if (g->most < 1 || g->most > 100000)
			REFUSE("most_records must be between 1 and 100000");
		g->systems = texts_of_array(PG_GETARG_DATUM(7), "systems", &nsystems);
		if (nsystems != 1 && nsystems != g->plan.norganisations)
			REFUSE("systems must name one system, or one for each organisation");
		for (int i = 0; i < nsystems; i++)
			if (g->systems[i][0] == '\0' ||
				strspn(g->systems[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._-") != strlen(g->systems[i]))
				REFUSE("system \"%s\" has characters that no system's name has", g->systems[i]);
		if (nsystems == 1)
		{
			char	   *system = g->systems[0];

			g->systems = palloc(sizeof(char *) * g->plan.norganisations);
			for (int i = 0; i < g->plan.norganisations; i++)
				g->systems[i] = system;
		}
		g->pending = palloc(sizeof(Pending) * g->plan.norganisations);
		for (int i = 0; i < g->plan.norganisations; i++)
		{
			initStringInfo(&g->pending[i].text);
			pending_begin(g, i);
		}
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	g = call->user_fctx;

	while ((record = generation_next(g)) != NULL)
	{
		Pending    *pending = &g->pending[record->organisation];

		if (pending->records++ > 0)
			appendStringInfoChar(&pending->text, ',');
		appendBinaryStringInfo(&pending->text, record->json, record->length);
		if (pending->records == g->most)
			SRF_RETURN_NEXT(call, HeapTupleGetDatum(pending_take(g, call->tuple_desc, record->organisation)));
	}
	while (g->flush < g->plan.norganisations)
	{
		int			organisation = g->flush++;

		if (g->pending[organisation].records > 0)
			SRF_RETURN_NEXT(call, HeapTupleGetDatum(pending_take(g, call->tuple_desc, organisation)));
	}
	SRF_RETURN_DONE(call);
}
