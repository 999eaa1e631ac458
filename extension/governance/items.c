/*
 * items.c
 *		The items of a record as one JSON object: what spine.all_records calls data.
 *
 * As jsonb_strip_nulls(to_jsonb(row) - hidden - withheld), made without what is then
 * thrown away: most columns of most rows are NULL.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/typcache.h"

#include "compat.h"

/* what one call site knows of the table, kept for the query */
typedef struct Columns
{
	Oid			type;
	int32		typmod;
	int			n;
	TupleDesc	desc;
	bool	   *left_out;
	FmgrInfo   *to_jsonb;		/* knows the column's type; of text not filled */
	Datum	   *values;
	bool	   *nulls;
} Columns;

PG_FUNCTION_INFO_V1(spine_record_items);

static bool
array_names(ArrayType *names, const char *name)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			length = (int) strlen(name);

	if (ArrayGetNItems(ARR_NDIM(names), ARR_DIMS(names)) == 0)
		return false;
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i] && VARSIZE_ANY_EXHDR(DatumGetPointer(values[i])) == length &&
			memcmp(VARDATA_ANY(DatumGetPointer(values[i])), name, length) == 0)
			return true;
	}
	return false;
}

static Columns *
columns_make(Oid type, int32 typmod, ArrayType *hidden, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Columns    *columns = palloc0(sizeof(Columns));

	columns->type = type;
	columns->typmod = typmod;
	columns->desc = lookup_rowtype_tupdesc_copy(type, typmod);
	columns->n = columns->desc->natts;
	columns->left_out = palloc0(sizeof(bool) * columns->n);
	columns->to_jsonb = palloc0(sizeof(FmgrInfo) * columns->n);
	columns->values = palloc(sizeof(Datum) * columns->n);
	columns->nulls = palloc(sizeof(bool) * columns->n);
	for (int i = 0; i < columns->n; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns->desc, i);

		columns->left_out[i] = column->attisdropped || array_names(hidden, NameStr(column->attname));
		if (columns->left_out[i] || column->atttypid == TEXTOID)
			continue;
		fmgr_info_cxt(F_TO_JSONB, &columns->to_jsonb[i], context);
		fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
												 list_make1(makeNullConst(column->atttypid, column->atttypmod, column->attcollation)),
												 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
						   &columns->to_jsonb[i]);
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
	bool		whole = ArrayGetNItems(ARR_NDIM(withheld), ARR_DIMS(withheld)) == 0;
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

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < columns->n; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns->desc, i);
		JsonbValue	value;

		if (columns->nulls[i] || columns->left_out[i] || (!whole && array_names(withheld, NameStr(column->attname))))
			continue;
		value.type = jbvString;
		value.val.string.val = NameStr(column->attname);
		value.val.string.len = (int) strlen(NameStr(column->attname));
		(void) pushJsonbValue(&state, WJB_KEY, &value);
		if (column->atttypid == TEXTOID)
		{
			text	   *said = DatumGetTextPP(columns->values[i]);

			value.val.string.val = VARDATA_ANY(said);
			value.val.string.len = VARSIZE_ANY_EXHDR(said);
		}
		else
		{
			Jsonb	   *made = DatumGetJsonbP(FunctionCall1(&columns->to_jsonb[i], columns->values[i]));

			if (!JB_ROOT_IS_SCALAR(made) || !JsonbExtractScalar(&made->root, &value))
			{
				value.type = jbvBinary;
				value.val.binary.data = &made->root;
				value.val.binary.len = VARSIZE(made) - VARHDRSZ;
			}
		}
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(object));
}
