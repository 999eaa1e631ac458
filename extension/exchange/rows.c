/*
 * rows.c
 *		Rows on their way between nodes: what a neighbour is sent of one, what this
 *		node does not know of those that come, and statements over a table that is
 *		only known when they run, planned once.
 *
 * Each record passes here, at both ends: spine.sent_row() does in one pass what
 * to_jsonb(), jsonb_strip_nulls() and the taking away of columns do in three.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "compat.h"
#include "governance/items.h"

/* statements kept in a session: each table has a handful */
#define KEPT_MOST		1000
#define KEPT_ARGUMENTS	16

typedef struct SentColumn
{
	const char *name;			/* NULL: dropped */
	int			length;
	SpineJsonColumn json;
} SentColumn;

/* How rows of one type are sent, for as long as the query runs. */
typedef struct SentType
{
	Oid			type;
	int32		typmod;
	TupleDesc	desc;
	SentColumn *columns;
	int			record_id;		/* which of them */
	Datum	   *values;
	bool	   *nulls;
	MemoryContext row;			/* what one row needs */
} SentType;

typedef struct KeptKey
{
	uint64		query;			/* hash of its text */
	Oid			user;
	int			nargs;
	Oid			types[KEPT_ARGUMENTS];
} KeptKey;

typedef struct KeptPlan
{
	KeptKey		key;
	char	   *query;
	SPIPlanPtr	plan;
} KeptPlan;

static HTAB *kept_plans = NULL;

extern Datum spine_audience_of(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(spine_sent_row);
PG_FUNCTION_INFO_V1(spine_unknown_items);
PG_FUNCTION_INFO_V1(spine_batch_parts);
PG_FUNCTION_INFO_V1(spine_kept_row);
PG_FUNCTION_INFO_V1(spine_kept_count);

static SentType *
sent_type(FunctionCallInfo fcinfo, Oid type, int32 typmod)
{
	SentType   *sent = (SentType *) fcinfo->flinfo->fn_extra;
	MemoryContext old;
	TupleDesc	desc;

	if (sent && sent->type == type && sent->typmod == typmod)
		return sent;

	desc = lookup_rowtype_tupdesc(type, typmod);
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	sent = palloc0(sizeof(SentType));
	sent->type = type;
	sent->typmod = typmod;
	sent->desc = CreateTupleDescCopy(desc);
	sent->columns = palloc0(sizeof(SentColumn) * desc->natts);
	sent->values = palloc(sizeof(Datum) * desc->natts);
	sent->nulls = palloc(sizeof(bool) * desc->natts);
	sent->row = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "spine sent row", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(sent->desc, i);
		SentColumn *column = &sent->columns[i];

		if (attribute->attisdropped)
			continue;
		column->name = NameStr(attribute->attname);
		column->length = (int) strlen(column->name);
		if (strcmp(column->name, "record_id") == 0)
			sent->record_id = i;
		spine_json_column(&column->json, attribute->atttypid, attribute->atttypmod, attribute->attcollation, fcinfo->flinfo->fn_mcxt);
	}
	MemoryContextSwitchTo(old);
	ReleaseTupleDesc(desc);
	fcinfo->flinfo->fn_extra = sent;
	return sent;
}

/*
 * spine.sent_row(relation text, t record, audience text[], withheld text[]): the row as a part of a
 * batch, with this audience, without its nulls and without these columns. The record's id stands
 * for a local number that is withheld.
 */
Datum
spine_sent_row(PG_FUNCTION_ARGS)
{
	text	   *relation = PG_GETARG_TEXT_PP(0);
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(1);
	ArrayType  *audience = PG_GETARG_ARRAYTYPE_P(2);
	ArrayType  *withheld = PG_GETARG_ARRAYTYPE_P(3);
	SentType   *sent = sent_type(fcinfo, HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	MemoryContext caller = MemoryContextSwitchTo(sent->row);
	HeapTupleData tuple;
	JsonbParseState *state = NULL;
	JsonbValue *result;
	Datum	   *hidden;
	int			nhidden;
	Datum	   *tokens;
	int			ntokens;
	Jsonb	   *sent_row;

	deconstruct_array(withheld, TEXTOID, -1, false, TYPALIGN_INT, &hidden, NULL, &nhidden);
	deconstruct_array(audience, TEXTOID, -1, false, TYPALIGN_INT, &tokens, NULL, &ntokens);

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, sent->desc, sent->values, sent->nulls);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	spine_json_push_key(&state, "relation", 8);
	spine_json_push_string(&state, WJB_VALUE, VARDATA_ANY(relation), VARSIZE_ANY_EXHDR(relation));
	spine_json_push_key(&state, "action", 6);
	spine_json_push_string(&state, WJB_VALUE, "put", 3);
	spine_json_push_key(&state, "row", 3);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < sent->desc->natts; i++)
	{
		SentColumn *column = &sent->columns[i];
		int			from = i;

		if (column->name == NULL || sent->nulls[i])
			continue;
		if (spine_is_among(column->name, hidden, nhidden))
		{
			if (strcmp(column->name, "local_record_id") != 0)
				continue;
			from = sent->record_id;
		}
		spine_json_push_key(&state, column->name, column->length);
		if (strcmp(column->name, "audience") != 0)
		{
			spine_json_push(&state, &sent->columns[from].json, sent->values[from]);
			continue;
		}
		(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (int k = 0; k < ntokens; k++)
		{
			text	   *token = DatumGetTextPP(tokens[k]);

			spine_json_push_string(&state, WJB_ELEM, VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token));
		}
		(void) pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);

	MemoryContextSwitchTo(caller);
	sent_row = JsonbValueToJsonb(result);
	MemoryContextReset(sent->row);
	PG_RETURN_JSONB_P(sent_row);
}

/*
 * spine.unknown_items(contents jsonb, known text[]): the rows (objects) of an array that have keys
 * beside these, and those keys with their values.
 */
Datum
spine_unknown_items(PG_FUNCTION_ARGS)
{
	Jsonb	   *contents = PG_GETARG_JSONB_P(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum	   *names;
	int			nnames;
	HASHCTL		control = {.keysize = NAMEDATALEN, .entrysize = NAMEDATALEN, .hcxt = CurrentMemoryContext};
	HTAB	   *known;
	JsonbIterator *rows;
	JsonbIteratorToken token;
	JsonbValue	row;

	InitMaterializedSRF(fcinfo, 0);
	if (!JB_ROOT_IS_ARRAY(contents))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows come as an array")));

	known = hash_create("spine known columns", 128, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &nnames);
	for (int i = 0; i < nnames; i++)
	{
		char		name[NAMEDATALEN];

		text_to_cstring_buffer(DatumGetTextPP(names[i]), name, sizeof(name));
		(void) hash_search(known, name, HASH_ENTER, NULL);
	}

	rows = JsonbIteratorInit(&contents->root);
	while ((token = JsonbIteratorNext(&rows, &row, true)) != WJB_DONE)
	{
		JsonbIterator *keys;
		JsonbValue	key;
		JsonbParseState *state = NULL;
		bool		in_key = false;
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if (token != WJB_ELEM || row.type != jbvBinary || !JsonContainerIsObject(row.val.binary.data))
			continue;
		keys = JsonbIteratorInit(row.val.binary.data);
		while ((token = JsonbIteratorNext(&keys, &key, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
			{
				char		name[NAMEDATALEN];
				int			length = Min(key.val.string.len, NAMEDATALEN - 1);

				memcpy(name, key.val.string.val, length);
				name[length] = '\0';
				in_key = key.val.string.len >= NAMEDATALEN || hash_search(known, name, HASH_FIND, NULL) == NULL;
				if (in_key && state == NULL)
					(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
				if (in_key)
					(void) pushJsonbValue(&state, WJB_KEY, &key);
			}
			else if (token == WJB_VALUE && in_key)
				(void) pushJsonbValue(&state, WJB_VALUE, &key);
		}
		if (state == NULL)
			continue;
		values[0] = JsonbPGetDatum(JsonbValueToJsonb(&row));
		values[1] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	hash_destroy(known);
	return (Datum) 0;
}

/* The kept plan of the statement that a call names, made when it is first run. Within SPI. */
static SPIPlanPtr
kept_plan(FunctionCallInfo fcinfo, Datum *values, char *nulls)
{
	text	   *query = PG_GETARG_TEXT_PP(0);
	int			nargs = PG_NARGS() - 1;
	KeptKey		key;
	KeptPlan   *kept;
	bool		found;

	if (nargs > KEPT_ARGUMENTS)
		elog(ERROR, "too many arguments");
	MemSet(&key, 0, sizeof(key));
	key.query = hash_bytes_extended((unsigned char *) VARDATA_ANY(query), VARSIZE_ANY_EXHDR(query), 0);
	key.user = GetUserId();
	key.nargs = nargs;
	for (int i = 0; i < nargs; i++)
	{
		key.types[i] = get_fn_expr_argtype(fcinfo->flinfo, i + 1);
		if (!OidIsValid(key.types[i]))
			elog(ERROR, "the type of argument %d is not known", i + 1);
		values[i] = PG_ARGISNULL(i + 1) ? (Datum) 0 : PG_GETARG_DATUM(i + 1);
		nulls[i] = PG_ARGISNULL(i + 1) ? 'n' : ' ';
	}

	if (kept_plans == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(KeptKey), .entrysize = sizeof(KeptPlan)};

		kept_plans = hash_create("spine kept statements", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	kept = hash_search(kept_plans, &key, HASH_FIND, NULL);
	if (kept == NULL || strlen(kept->query) != VARSIZE_ANY_EXHDR(query) ||
		memcmp(kept->query, VARDATA_ANY(query), VARSIZE_ANY_EXHDR(query)) != 0)
	{
		char	   *string = text_to_cstring(query);
		SPIPlanPtr	plan = SPI_prepare_cursor(string, nargs, key.types, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		/* not among the kept: it was never run, or there are too many */
		if (kept != NULL || hash_get_num_entries(kept_plans) >= KEPT_MOST)
			return plan;
		string = MemoryContextStrdup(TopMemoryContext, string);
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		kept = hash_search(kept_plans, &key, HASH_ENTER, &found);
		kept->query = string;
		kept->plan = plan;
	}
	return kept->plan;
}

/*
 * spine.kept_row(query text, VARIADIC arguments "any"): the first row of a query that returns one.
 * As spine.kept_read(), which is stable, it sees what the statement that calls it sees.
 */
Datum
spine_kept_row(PG_FUNCTION_ARGS)
{
	Datum		values[KEPT_ARGUMENTS];
	char		nulls[KEPT_ARGUMENTS];
	HeapTupleHeader row;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute_plan(kept_plan(fcinfo, values, nulls), values, nulls,
							  func_volatile(fcinfo->flinfo->fn_oid) != PROVOLATILE_VOLATILE, 1);
	if (result < 0 || SPI_tuptable == NULL || SPI_processed != 1)
		elog(ERROR, "the statement returned no row");
	row = SPI_returntuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	SPI_finish();
	PG_RETURN_HEAPTUPLEHEADER(row);
}

/* spine.kept_count(query text, VARIADIC arguments "any"): how many rows a statement touched. */
Datum
spine_kept_count(PG_FUNCTION_ARGS)
{
	Datum		values[KEPT_ARGUMENTS];
	char		nulls[KEPT_ARGUMENTS];
	int64		touched;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute_plan(kept_plan(fcinfo, values, nulls), values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "unexpected SPI result %d", result);
	touched = (int64) SPI_processed;
	SPI_finish();
	PG_RETURN_INT64(touched);
}

/* The rows of a batch of one relation that have one action. */
typedef struct BatchPart
{
	struct BatchPart *next;
	JsonbValue	relation;
	bool		put;
	JsonbParseState *contents;
	ArrayBuildState *ids;
} BatchPart;

static JsonbValue *
batch_member(JsonbContainer *object, const char *name, enum jbvType type, JsonbValue *value)
{
	if (getKeyJsonValueFromContainer(object, name, strlen(name), value) == NULL || value->type != type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a row of the batch has no \"%s\"", name)));
	return value;
}

static Datum
batch_string(JsonbValue *value, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum		string = PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));

	MemoryContextSwitchTo(old);
	return string;
}

/* The row with the tokens of its audience that are ours, put into the part's contents. */
static void
batch_put(BatchPart *part, JsonbValue *row, Datum own, MemoryContext scratch)
{
	JsonbIterator *keys = JsonbIteratorInit(row->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		is_audience = false;

	while ((token = JsonbIteratorNext(&keys, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			is_audience = value.val.string.len == strlen("audience") && memcmp(value.val.string.val, "audience", value.val.string.len) == 0;
		if (token != WJB_VALUE || !is_audience)
		{
			(void) pushJsonbValue(&part->contents, token, token == WJB_KEY || token == WJB_VALUE ? &value : NULL);
			continue;
		}

		/* the sender says who may see it here, and of nobody else */
		{
			MemoryContext old = MemoryContextSwitchTo(scratch);
			ArrayBuildState *said = initArrayResult(TEXTOID, scratch, false);
			JsonbIterator *elements;
			JsonbValue	element;
			Datum	   *tokens;
			int			ntokens;
			Datum		kept;

			if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the audience of a row of the batch is no array")));
			elements = JsonbIteratorInit(value.val.binary.data);
			while ((token = JsonbIteratorNext(&elements, &element, true)) != WJB_DONE)
				if (token == WJB_ELEM && element.type == jbvString)
					(void) accumArrayResult(said, batch_string(&element, scratch), false, TEXTOID, scratch);
			kept = DirectFunctionCall2(spine_audience_of, makeArrayResult(said, scratch), own);
			deconstruct_array(DatumGetArrayTypeP(kept), TEXTOID, -1, false, TYPALIGN_INT, &tokens, NULL, &ntokens);
			MemoryContextSwitchTo(old);

			(void) pushJsonbValue(&part->contents, WJB_BEGIN_ARRAY, NULL);
			for (int i = 0; i < ntokens; i++)
			{
				text	   *kept_token = DatumGetTextPP(tokens[i]);
				int			length = VARSIZE_ANY_EXHDR(kept_token);

				spine_json_push_string(&part->contents, WJB_ELEM, pnstrdup(VARDATA_ANY(kept_token), length), length);
			}
			(void) pushJsonbValue(&part->contents, WJB_END_ARRAY, NULL);
			MemoryContextReset(scratch);
		}
	}
}

/*
 * spine.batch_parts(rows jsonb, own text[]): the rows of a batch by relation and action, each with
 * the tokens alone of its audience that are of these addressees.
 */
Datum
spine_batch_parts(PG_FUNCTION_ARGS)
{
	Jsonb	   *batch_rows = PG_GETARG_JSONB_P(0);
	Datum		own = PG_GETARG_DATUM(1);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext scratch;
	BatchPart  *parts = NULL;
	JsonbIterator *rows;
	JsonbIteratorToken token;
	JsonbValue	element;

	InitMaterializedSRF(fcinfo, 0);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "spine batch row", ALLOCSET_SMALL_SIZES);
	if (!JB_ROOT_IS_ARRAY(batch_rows))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the rows of a batch are an array")));

	rows = JsonbIteratorInit(&batch_rows->root);
	while ((token = JsonbIteratorNext(&rows, &element, true)) != WJB_DONE)
	{
		JsonbContainer *object;
		JsonbValue	relation;
		JsonbValue	action;
		JsonbValue	value;
		BatchPart  *part;
		bool		put;

		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a row of the batch is no object")));
		object = element.val.binary.data;
		(void) batch_member(object, "relation", jbvString, &relation);
		(void) batch_member(object, "action", jbvString, &action);
		put = action.val.string.len == 3 && memcmp(action.val.string.val, "put", 3) == 0;

		for (part = parts; part; part = part->next)
			if (part->put == put && part->relation.val.string.len == relation.val.string.len &&
				memcmp(part->relation.val.string.val, relation.val.string.val, relation.val.string.len) == 0)
				break;
		if (part == NULL)
		{
			part = palloc0(sizeof(BatchPart));
			part->relation = relation;
			part->put = put;
			part->next = parts;
			parts = part;
			if (put)
				(void) pushJsonbValue(&part->contents, WJB_BEGIN_ARRAY, NULL);
		}
		if (put)
		{
			(void) batch_member(object, "row", jbvBinary, &value);
			if (!JsonContainerIsObject(value.val.binary.data))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("a row of the batch has no columns")));
			batch_put(part, &value, own, scratch);
		}
		else
		{
			(void) batch_member(object, "record_id", jbvString, &value);
			part->ids = accumArrayResult(part->ids,
										 DirectFunctionCall1(uuid_in, CStringGetDatum(pnstrdup(value.val.string.val, value.val.string.len))),
										 false, UUIDOID, CurrentMemoryContext);
		}
	}

	for (BatchPart *part = parts; part; part = part->next)
	{
		Datum		values[4];
		bool		nulls[4] = {false, false, part->put, !part->put};

		values[0] = batch_string(&part->relation, CurrentMemoryContext);
		values[1] = CStringGetTextDatum(part->put ? "put" : "withdraw");
		values[2] = part->put ? (Datum) 0 : makeArrayResult(part->ids, CurrentMemoryContext);
		values[3] = part->put ? JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&part->contents, WJB_END_ARRAY, NULL))) : (Datum) 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	MemoryContextDelete(scratch);
	return (Datum) 0;
}
