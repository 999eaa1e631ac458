/*
 * digest.c
 *		spine.digest_ranges(): the rows of a table as a neighbour should hold them, or
 *		does, as counts and digests over ranges of ids.
 *
 * Two nodes that hash the same row come to the same number, though one of them has
 * columns that the other lacks: a column counts under its name, whatever its place,
 * and only where it is not null. The sender leaves out what it would withhold and
 * what the neighbour does not know; of the latter it tells only that there is some.
 * The digest of a range is the sum of those of its rows. It finds what was lost,
 * left or changed by hand; against a neighbour that means to deceive no digest helps.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "compat.h"

#define DIGEST_FETCH		500

/* any numbers, but the same on all nodes */
#define DIGEST_SEED			UINT64CONST(0x7370696e65)
#define DIGEST_ASIDE		UINT64CONST(0x9e3779b97f4a7c15)

/* what an audience means for the neighbour: there are few, of many rows */
typedef struct DigestAudience
{
	uint64		key[2];			/* of its bytes */
	bool		due;			/* the neighbour may have the row */
	uint64		hash;			/* of its own tokens */
	bool	   *withheld;		/* by column; NULL: nothing is */
} DigestAudience;

typedef struct DigestColumn
{
	uint64		seed;			/* from its name */
	bool		counts;
	bool		unknown;		/* to the neighbour */
	int16		length;
	bool		by_value;
} DigestColumn;

typedef struct DigestState
{
	MemoryContext context;		/* of the call */
	ArrayType  *neighbour;		/* its organisations; NULL: the rows are of a neighbour */
	text	   *data_group;		/* NULL: nothing is withheld */
	HTAB	   *audiences;
	TupleDesc	desc;
	DigestColumn *columns;
	int			id;				/* attribute numbers less one; -1: none */
	int			owner;
	int			audience;
	int			revision;
	int			local_id;
	int			aside;			/* of the query: something of the row is kept aside here */
	Datum	   *values;
	bool	   *nulls;
} DigestState;

typedef struct DigestRange
{
	int64		rows;
	uint64		digest;
} DigestRange;

PG_FUNCTION_INFO_V1(spine_digest_ranges);

/* of deliver.c and of governance/visible.c */
extern Datum spine_audience_of(PG_FUNCTION_ARGS);
extern Datum spine_withheld_from(PG_FUNCTION_ARGS);

static bool
array_has(ArrayType *array, const char *string)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	int			length = (int) strlen(string);
	bool		found = false;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n && !found; i++)
		found = !nulls[i] && VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i])) == length &&
			memcmp(VARDATA_ANY(DatumGetPointer(elements[i])), string, length) == 0;
	return found;
}

static uint64
digest_bytes(const void *data, int length, uint64 seed)
{
	return hash_bytes_extended((const unsigned char *) data, length, seed);
}

static uint64
digest_value(const DigestColumn *column, Datum value)
{
	if (column->by_value)
	{
		int64		number;

		switch (column->length)
		{
			case 1:
				number = DatumGetChar(value);
				break;
			case 2:
				number = DatumGetInt16(value);
				break;
			case 4:
				number = DatumGetInt32(value);
				break;
			default:
				number = DatumGetInt64(value);
		}
		return digest_bytes(&number, sizeof(number), column->seed);
	}
	if (column->length > 0)
		return digest_bytes(DatumGetPointer(value), column->length, column->seed);
	if (column->length == -2)
		return digest_bytes(DatumGetCString(value), (int) strlen(DatumGetCString(value)), column->seed);
	else
	{
		struct varlena *data = PG_DETOAST_DATUM_PACKED(value);

		return digest_bytes(VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data), column->seed);
	}
}

/* Looks at the columns once: the query's first rows have come. */
static void
digest_describe(DigestState *state, TupleDesc desc, Name id_column, ArrayType *known, bool aside)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);

	state->desc = CreateTupleDescCopy(desc);
	state->columns = palloc0(sizeof(DigestColumn) * desc->natts);
	state->values = palloc(sizeof(Datum) * desc->natts);
	state->nulls = palloc(sizeof(bool) * desc->natts);
	state->id = state->owner = state->audience = state->revision = state->local_id = state->aside = -1;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(state->desc, i);
		const char *name = NameStr(attribute->attname);
		DigestColumn *column = &state->columns[i];

		if (attribute->attisdropped)
			continue;
		if (aside && i == desc->natts - 1)
		{
			state->aside = i;
			continue;
		}
		if (strcmp(name, NameStr(*id_column)) == 0)
			state->id = i;
		else if (strcmp(name, "owner") == 0)
			state->owner = i;
		else if (strcmp(name, "audience") == 0)
			state->audience = i;
		else if (strcmp(name, "revision") == 0)
			state->revision = i;
		else if (strcmp(name, "local_record_id") == 0)
			state->local_id = i;
		column->seed = digest_bytes(name, (int) strlen(name), DIGEST_SEED);
		/* the order in which they come: the row's own id is among the columns */
		column->counts = i != state->audience && strcmp(name, "sent_id") != 0;
		column->unknown = known != NULL && !array_has(known, name);
		column->length = attribute->attlen;
		column->by_value = attribute->attbyval;
	}
	if (state->id < 0 || TupleDescAttr(state->desc, state->id)->atttypid != UUIDOID ||
		state->owner < 0 || state->audience < 0 || state->revision < 0)
		elog(ERROR, "the table has no id, owner, audience or revision");
	MemoryContextSwitchTo(old);
}

/* What the audience of a row says; looked up once for each audience. */
static DigestAudience *
digest_audience(DigestState *state, Datum value)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
	uint64		key[2];
	DigestAudience *audience;
	bool		found;

	key[0] = digest_bytes(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed), 1);
	key[1] = digest_bytes(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed), 2);
	audience = hash_search(state->audiences, key, HASH_FIND, NULL);
	if (audience == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(state->context);
		ArrayType  *tokens = DatumGetArrayTypePCopy(value);
		bool	   *withheld = NULL;
		bool		due = true;
		uint64		hash = 0;
		Datum	   *elements;
		bool	   *nulls;
		int			n;

		if (state->neighbour)
		{
			/* no row is due to nobody; its own tokens are what it is told of the audience */
			tokens = DatumGetArrayTypeP(DirectFunctionCall2(spine_audience_of, PointerGetDatum(tokens),
															PointerGetDatum(state->neighbour)));
			due = ArrayGetNItems(ARR_NDIM(tokens), ARR_DIMS(tokens)) > 0;
		}
		deconstruct_array(tokens, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
		for (int i = 0; i < n; i++)
			if (!nulls[i])
				hash = digest_bytes(VARDATA_ANY(DatumGetPointer(elements[i])),
									VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i])), hash + DIGEST_SEED);
		if (due && state->neighbour && state->data_group)
		{
			ArrayType  *names = DatumGetArrayTypeP(DirectFunctionCall3(spine_withheld_from, PointerGetDatum(tokens),
																	   PointerGetDatum(state->neighbour),
																	   PointerGetDatum(state->data_group)));

			if (ArrayGetNItems(ARR_NDIM(names), ARR_DIMS(names)) > 0)
			{
				withheld = palloc0(sizeof(bool) * state->desc->natts);
				for (int i = 0; i < state->desc->natts; i++)
					withheld[i] = array_has(names, NameStr(TupleDescAttr(state->desc, i)->attname));
			}
		}
		audience = hash_search(state->audiences, key, HASH_ENTER, &found);
		audience->due = due;
		audience->hash = hash;
		audience->withheld = withheld;
		MemoryContextSwitchTo(old);
	}
	return audience;
}

/* The digest of the deformed row; false when the neighbour may not have it. */
static bool
digest_row(DigestState *state, uint64 *digest)
{
	DigestAudience *audience;
	uint64		sum;
	bool		more = false;

	if (state->nulls[state->id] || state->nulls[state->audience])
		return false;
	audience = digest_audience(state, state->values[state->audience]);
	if (!audience->due)
		return false;
	sum = audience->hash;
	for (int i = 0; i < state->desc->natts; i++)
	{
		DigestColumn *column = &state->columns[i];

		if (state->nulls[i] || !column->counts)
			continue;
		if (audience->withheld && audience->withheld[i])
		{
			/* its own number of a record may be made of items: then the record's id stands for it */
			if (i == state->local_id)
			{
				char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out, state->values[state->id]));

				sum += digest_bytes(id, (int) strlen(id), column->seed);
			}
			continue;
		}
		if (column->unknown)
			more = true;
		else
			sum += digest_value(column, state->values[i]);
	}
	if (state->aside >= 0)
		more = !state->nulls[state->aside] && DatumGetBool(state->values[state->aside]);
	if (more && (state->aside >= 0 || state->data_group))
		sum += DIGEST_ASIDE;
	*digest = digest_bytes(&sum, sizeof(sum), DIGEST_SEED);
	return true;
}

static void
digest_put(ReturnSetInfo *set, const pg_uuid_t *upto, const DigestRange *range, Datum revision, Datum owner, bool of_row)
{
	Datum		values[5];
	bool		nulls[5];

	values[0] = UUIDPGetDatum(upto);
	values[1] = Int64GetDatum(range->rows);
	values[2] = Int64GetDatum((int64) range->digest);
	values[3] = revision;
	values[4] = owner;
	nulls[0] = upto == NULL;
	nulls[1] = nulls[2] = false;
	nulls[3] = nulls[4] = !of_row;
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

/*
 * The query: all columns of rows of these owners, in the order of ids. The
 * audience may have to be asked of the rules while it is being computed anew.
 */
static char *
digest_query(Oid class, const char *id_column, text *data_group, bool by_rules, text *aside, bool has_upto, int64 most, text *source)
{
	StringInfoData query;
	char	   *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(class)), get_rel_name(class));
	const char *id = quote_identifier(id_column);

	initStringInfo(&query);
	if (source)
	{
		appendStringInfo(&query, "SELECT t.* FROM %s WHERE t.sent_id > $2", text_to_cstring(source));
		if (has_upto)
			appendStringInfoString(&query, " AND t.sent_id <= $3");
		appendStringInfoString(&query, " ORDER BY t.sent_id");
		if (most > 0)
			appendStringInfo(&query, " LIMIT " INT64_FORMAT, most);
		return query.data;
	}
	if (by_rules && data_group)
	{
		Relation	relation = RelationIdGetRelation(class);
		char	   *group = text_to_cstring(data_group);
		char	   *dot = strchr(group, '.');

		if (!RelationIsValid(relation) || dot == NULL)
			elog(ERROR, "no data group of relation %u", class);
		*dot = '\0';
		appendStringInfoString(&query, "SELECT ");
		for (int i = 0; i < RelationGetNumberOfAttributes(relation); i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), i);
			const char *name = quote_identifier(NameStr(attribute->attname));

			if (attribute->attisdropped)
				continue;
			if (strcmp(NameStr(attribute->attname), "audience") == 0)
				appendStringInfo(&query, "%s CASE WHEN EXISTS (SELECT FROM spine.reaudience_task k WHERE k.owner = t.owner"
								 " AND k.dataset = %s AND k.data_group = %s)"
								 " THEN spine.audience(t.owner, %s, %s, t.patient_id) ELSE t.audience END AS audience",
								 i > 0 ? "," : "", quote_literal_cstr(group), quote_literal_cstr(dot + 1),
								 quote_literal_cstr(group), quote_literal_cstr(dot + 1));
			else
				appendStringInfo(&query, "%s t.%s", i > 0 ? "," : "", name);
		}
		RelationClose(relation);
	}
	else
		appendStringInfoString(&query, "SELECT t.*");
	if (aside)
		appendStringInfo(&query, ", EXISTS (SELECT FROM spine.unknown_item u WHERE u.relation = %s AND u.record_id = t.%s"
						 " AND u.revision = t.revision)", quote_literal_cstr(text_to_cstring(aside)), id);
	appendStringInfo(&query, " FROM %s t WHERE t.owner = ANY ($1) AND t.%s > $2", table, id);
	if (has_upto)
		appendStringInfo(&query, " AND t.%s <= $3", id);
	appendStringInfo(&query, " ORDER BY t.%s", id);
	if (most > 0)
		appendStringInfo(&query, " LIMIT " INT64_FORMAT, most);
	return query.data;
}

/*
 * spine.digest_ranges(class regclass, id_column name, data_group text, owners text[], neighbour text[],
 *		known text[], by_rules boolean, aside text, after uuid, upto uuid, bounds uuid[],
 *		per_range integer, ranges integer, most bigint, source text)
 * returns setof (upto uuid, rows bigint, digest bigint, revision bigint, owner text)
 *
 * neighbour: whose rows are meant; null: those of a neighbour as they stand here. With bounds,
 * a range ends at each of them (null: at the table's end); else after per_range rows, at most so many
 * ranges, at most so many rows looked at, and the last range ends where the looking did. A per_range of 1 lists rows.
 * source: SQL that gives t, rows of the table as they are sent, behind their sent_id, where they are sent in another form.
 */
Datum
spine_digest_ranges(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	DigestState state = {0};
	HASHCTL		control = {0};
	Name		id_column;
	ArrayType  *known;
	ArrayType  *bounds;
	Datum	   *ends = NULL;
	bool	   *no_end = NULL;
	int			nends = 0;
	int			at = 0;
	int			per_range;
	int64		ranges;
	int64		most;
	bool		has_upto;
	bool		aside;
	DigestRange range = {0};
	int64		looked_at = 0;
	int64		made = 0;
	pg_uuid_t	last;
	bool		since = false;	/* rows were looked at since the last range */
	bool		full = false;
	Oid			types[3] = {TEXTARRAYOID, UUIDOID, UUIDOID};
	Datum		arguments[3];
	pg_uuid_t	lowest = {0};
	pg_uuid_t	end;
	Portal		portal;
	MemoryContext row_context;
	char	   *query;

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i) && i != 2)
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("class, id_column and owners are needed")));
	InitMaterializedSRF(fcinfo, 0);
	state.context = CurrentMemoryContext;
	id_column = PG_GETARG_NAME(1);
	state.data_group = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	state.neighbour = PG_ARGISNULL(4) ? NULL : PG_GETARG_ARRAYTYPE_P(4);
	known = PG_ARGISNULL(5) ? NULL : PG_GETARG_ARRAYTYPE_P(5);
	aside = !PG_ARGISNULL(7);
	bounds = PG_ARGISNULL(10) ? NULL : PG_GETARG_ARRAYTYPE_P(10);
	per_range = PG_ARGISNULL(11) ? INT_MAX : Max(PG_GETARG_INT32(11), 1);
	ranges = PG_ARGISNULL(12) ? PG_INT64_MAX : PG_GETARG_INT32(12);
	most = PG_ARGISNULL(13) ? 0 : PG_GETARG_INT64(13);
	has_upto = !PG_ARGISNULL(9);
	if (has_upto)
		end = *PG_GETARG_UUID_P(9);
	if (bounds)
	{
		deconstruct_array(bounds, UUIDOID, sizeof(pg_uuid_t), false, TYPALIGN_CHAR, &ends, &no_end, &nends);
		if (nends == 0)
			PG_RETURN_NULL();
		if (!no_end[nends - 1])
		{
			end = *DatumGetUUIDP(ends[nends - 1]);
			has_upto = true;
		}
	}

	control.keysize = sizeof(uint64) * 2;
	control.entrysize = sizeof(DigestAudience);
	control.hcxt = state.context;
	state.audiences = hash_create("spine digest audiences", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	row_context = AllocSetContextCreate(state.context, "spine digest rows", ALLOCSET_DEFAULT_SIZES);

	query = digest_query(PG_GETARG_OID(0), NameStr(*id_column), state.data_group, PG_GETARG_BOOL(6),
						 aside ? PG_GETARG_TEXT_PP(7) : NULL, has_upto, most, PG_ARGISNULL(14) ? NULL : PG_GETARG_TEXT_PP(14));
	arguments[0] = PG_GETARG_DATUM(3);
	/* no id is all zeroes */
	arguments[1] = PG_ARGISNULL(8) ? UUIDPGetDatum(&lowest) : PG_GETARG_DATUM(8);
	arguments[2] = UUIDPGetDatum(&end);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_open_with_args(NULL, query, has_upto ? 3 : 2, types, arguments, NULL, true, 0);
	while (!full)
	{
		SPI_cursor_fetch(portal, true, DIGEST_FETCH);
		if (SPI_processed == 0)
			break;
		if (state.desc == NULL)
			digest_describe(&state, SPI_tuptable->tupdesc, id_column, known, aside);
		for (uint64 i = 0; i < SPI_processed && !full; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(row_context);
			const pg_uuid_t *id;
			uint64		digest;
			bool		counts;

			heap_deform_tuple(SPI_tuptable->vals[i], state.desc, state.values, state.nulls);
			counts = digest_row(&state, &digest);
			MemoryContextSwitchTo(old);
			id = DatumGetUUIDP(state.values[state.id]);
			last = *id;
			looked_at++;
			since = true;
			if (bounds)
			{
				while (at < nends && !no_end[at] && memcmp(id, DatumGetUUIDP(ends[at]), sizeof(pg_uuid_t)) > 0)
				{
					digest_put(set, DatumGetUUIDP(ends[at]), &range, (Datum) 0, (Datum) 0, false);
					memset(&range, 0, sizeof(range));
					at++;
				}
				/* bounds do not ascend */
				if (at >= nends)
					break;
			}
			if (!counts)
				continue;
			range.rows++;
			range.digest += digest;
			if (!bounds && range.rows >= per_range)
			{
				digest_put(set, id, &range, state.values[state.revision], state.values[state.owner], per_range == 1);
				memset(&range, 0, sizeof(range));
				since = false;
				full = ++made >= ranges;
			}
		}
		MemoryContextReset(row_context);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	SPI_finish();

	if (bounds)
	{
		for (; at < nends; at++)
		{
			digest_put(set, no_end[at] ? NULL : DatumGetUUIDP(ends[at]), &range, (Datum) 0, (Datum) 0, false);
			memset(&range, 0, sizeof(range));
		}
	}
	else if (per_range > 1 && !full)
	{
		bool		stopped = most > 0 && looked_at >= most;

		if (!stopped)
			digest_put(set, has_upto ? &end : NULL, &range, (Datum) 0, (Datum) 0, false);
		else if (since)
			digest_put(set, &last, &range, (Datum) 0, (Datum) 0, false);
	}
	PG_RETURN_NULL();
}
