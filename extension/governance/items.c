/*
 * items.c
 *		The items of a record as one JSON object: what spine.all_records calls data.
 *
 * As jsonb_strip_nulls(to_jsonb(row) - hidden - withheld), made without what is then
 * thrown away: most columns of most rows are NULL.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#include "compat.h"
#include "items.h"

/* what one call site knows of the table, kept for the query */
typedef struct Columns
{
	Oid			type;
	int32		typmod;
	int			n;
	TupleDesc	desc;
	bool	   *left_out;
	SpineJsonColumn *json;
	Datum	   *values;
	bool	   *nulls;
} Columns;

PG_FUNCTION_INFO_V1(spine_record_items);


/* ---------------------------------------------------------------- values */

/* Does to_jsonb() make a string of what this type puts out? So it does of types that are not built in. */
static bool
is_put_out(Oid type)
{
	Oid			cast_function;

	return type >= FirstNormalObjectId && get_typtype(type) == TYPTYPE_BASE && !OidIsValid(get_element_type(type)) &&
		find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &cast_function) != COERCION_PATH_FUNC;
}

void
spine_json_column(SpineJsonColumn *column, Oid type, int32 typmod, Oid collation, MemoryContext context)
{
	Oid			function;
	bool		is_varlena;
	MemoryContext old;

	memset(column, 0, sizeof(SpineJsonColumn));
	column->type = type;
	switch (type)
	{
		case TEXTOID:
		case BOOLOID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMESTAMPTZOID:
		case UUIDOID:
			return;
	}
	column->by_output = is_put_out(type);
	if (column->by_output)
	{
		getTypeOutputInfo(type, &function, &is_varlena);
		fmgr_info_cxt(function, &column->function, context);
		return;
	}
	old = MemoryContextSwitchTo(context);
	fmgr_info_cxt(F_TO_JSONB, &column->function, context);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(makeNullConst(type, typmod, collation)),
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &column->function);
	MemoryContextSwitchTo(old);
}

void
spine_json_push_key(JsonbParseState **state, const char *key, int length)
{
	spine_json_push_string(state, WJB_KEY, key, length);
}

void
spine_json_push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string, int length)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, string);
	value.val.string.len = length;
	(void) pushJsonbValue(state, token, &value);
}

void
spine_json_push(JsonbParseState **state, SpineJsonColumn *column, Datum datum)
{
	JsonbValue	value;
	char	   *string;
	Jsonb	   *made;

	switch (column->type)
	{
		case TEXTOID:
			{
				text	   *said = DatumGetTextPP(datum);

				spine_json_push_string(state, WJB_VALUE, VARDATA_ANY(said), VARSIZE_ANY_EXHDR(said));
				return;
			}
		case BOOLOID:
			value.type = jbvBool;
			value.val.boolean = DatumGetBool(datum);
			break;
		case INT4OID:
		case INT8OID:
			value.type = jbvNumeric;
			value.val.numeric = int64_to_numeric(column->type == INT4OID ? DatumGetInt32(datum) : DatumGetInt64(datum));
			break;
		case DATEOID:
		case TIMESTAMPTZOID:
			string = JsonEncodeDateTime(NULL, datum, column->type, NULL);
			spine_json_push_string(state, WJB_VALUE, string, (int) strlen(string));
			return;
		case UUIDOID:
			string = DatumGetCString(DirectFunctionCall1(uuid_out, datum));
			spine_json_push_string(state, WJB_VALUE, string, (int) strlen(string));
			return;
		default:
			if (column->by_output)
			{
				string = OutputFunctionCall(&column->function, datum);
				spine_json_push_string(state, WJB_VALUE, string, (int) strlen(string));
				return;
			}
			made = DatumGetJsonbP(FunctionCall1(&column->function, datum));
			if (!JB_ROOT_IS_SCALAR(made) || !JsonbExtractScalar(&made->root, &value))
			{
				value.type = jbvBinary;
				value.val.binary.data = &made->root;
				value.val.binary.len = VARSIZE(made) - VARHDRSZ;
			}
			break;
	}
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}


/* ---------------------------------------------------------------- a row */

bool
spine_is_among(const char *name, const Datum *texts, int n)
{
	int			length = (int) strlen(name);

	for (int i = 0; i < n; i++)
	{
		text	   *other = DatumGetTextPP(texts[i]);

		if (VARSIZE_ANY_EXHDR(other) == length && memcmp(VARDATA_ANY(other), name, length) == 0)
			return true;
	}
	return false;
}

static Columns *
columns_make(Oid type, int32 typmod, ArrayType *hidden, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Columns    *columns = palloc0(sizeof(Columns));
	Datum	   *names;
	int			nnames;

	deconstruct_array(hidden, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &nnames);
	columns->type = type;
	columns->typmod = typmod;
	columns->desc = lookup_rowtype_tupdesc_copy(type, typmod);
	columns->n = columns->desc->natts;
	columns->left_out = palloc0(sizeof(bool) * columns->n);
	columns->json = palloc0(sizeof(SpineJsonColumn) * columns->n);
	columns->values = palloc(sizeof(Datum) * columns->n);
	columns->nulls = palloc(sizeof(bool) * columns->n);
	for (int i = 0; i < columns->n; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns->desc, i);

		columns->left_out[i] = column->attisdropped || spine_is_among(NameStr(column->attname), names, nnames);
		if (!columns->left_out[i])
			spine_json_column(&columns->json[i], column->atttypid, column->atttypmod, column->attcollation, context);
	}
	MemoryContextSwitchTo(old);
	return columns;
}

/*
 * spine.record_items(row record, hidden text[], withheld text[]) returns jsonb
 * hidden is the same for all rows of a table in a query.
 */
Datum
spine_record_items(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	ArrayType  *withheld = PG_GETARG_ARRAYTYPE_P(2);
	Datum	   *names;
	int			nnames;
	Columns    *columns = fcinfo->flinfo->fn_extra;
	HeapTupleData tuple;
	JsonbParseState *state = NULL;
	JsonbValue *object;

	if (columns == NULL || columns->type != HeapTupleHeaderGetTypeId(row) ||
		columns->typmod != HeapTupleHeaderGetTypMod(row))
	{
		columns = columns_make(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row),
							   PG_GETARG_ARRAYTYPE_P(1), fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = columns;
	}
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, columns->desc, columns->values, columns->nulls);
	deconstruct_array(withheld, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &nnames);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < columns->n; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns->desc, i);

		if (columns->nulls[i] || columns->left_out[i] || spine_is_among(NameStr(column->attname), names, nnames))
			continue;
		spine_json_push_key(&state, NameStr(column->attname), (int) strlen(NameStr(column->attname)));
		spine_json_push(&state, &columns->json[i], columns->values[i]);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(object));
}
