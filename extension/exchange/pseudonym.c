/*
 * pseudonym.c
 *		The form in which a record leaves for a node that counts and does not care:
 *		pseudonyms for ids and local numbers, nothing of who the person is, dates as
 *		coarse as the clause says.
 *
 * A pseudonym is HMAC-SHA-256 under the key of that node. The same id gives the same
 * pseudonym, so that what belongs together is found together there; two nodes with
 * different keys have nothing to compare.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "compat.h"
#include "governance/groups.h"
#include "governance/items.h"

#define ZONE			"Europe/London" /* days are those of the United Kingdom */

typedef enum Fineness
{
	BY_MONTH,					/* the first day of the month */
	FROM_BIRTH,					/* the distance to a moment that becomes 2000-01-01 00:00 UTC */
	EXACT
} Fineness;

typedef enum Treatment
{
	LEFT_OUT,
	KEPT,
	NUMBER,						/* a number that means something in the owner's systems */
	RECORD_ID,
	LOCAL_RECORD_ID,
	PERSON,
	EPISODE,
	RECEIVED
} Treatment;

typedef struct Column
{
	const char *name;
	Oid			type;
	Treatment	treatment;
	SpineJsonColumn json;
} Column;

/* what one call site knows of the table, kept for the query */
typedef struct Columns
{
	Oid			type;
	int32		typmod;
	TupleDesc	desc;
	Column	   *columns;
	Datum	   *values;
	bool	   *nulls;
} Columns;

PG_FUNCTION_INFO_V1(spine_pseudonym);
PG_FUNCTION_INFO_V1(spine_pseudonymised);

/* HMAC-SHA-256 (key, the parts one after the other with a NUL behind each), as a version 8 uuid */
static void
pseudonym_make(bytea *key, const char *const *parts, const int *lengths, int nparts, pg_uuid_t *pseudonym)
{
	uint8		mac[PG_SHA256_DIGEST_LENGTH];
	pg_hmac_ctx *hmac = pg_hmac_create(PG_SHA256);
	bool		done;

	if (hmac == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	done = pg_hmac_init(hmac, (uint8 *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)) >= 0;
	for (int i = 0; done && i < nparts; i++)
		done = pg_hmac_update(hmac, (const uint8 *) parts[i], lengths[i]) >= 0 &&
			pg_hmac_update(hmac, (const uint8 *) "", 1) >= 0;
	done = done && pg_hmac_final(hmac, mac, sizeof(mac)) >= 0;
	pg_hmac_free(hmac);
	if (!done)
		elog(ERROR, "could not compute a keyed hash");
	memcpy(pseudonym->data, mac, UUID_LEN);
	pseudonym->data[6] = (pseudonym->data[6] & 0x0f) | 0x80;
	pseudonym->data[8] = (pseudonym->data[8] & 0x3f) | 0x80;
}

/* spine.pseudonym(key bytea, kind text, id uuid) returns uuid */
Datum
spine_pseudonym(PG_FUNCTION_ARGS)
{
	text	   *kind = PG_GETARG_TEXT_PP(1);
	const char *parts[2] = {VARDATA_ANY(kind), (char *) PG_GETARG_UUID_P(2)->data};
	int			lengths[2] = {VARSIZE_ANY_EXHDR(kind), UUID_LEN};
	pg_uuid_t  *pseudonym = palloc(sizeof(pg_uuid_t));

	pseudonym_make(PG_GETARG_BYTEA_PP(0), parts, lengths, 2, pseudonym);
	PG_RETURN_UUID_P(pseudonym);
}

static Treatment
treatment_of(const char *name, Oid type, const SpineItem *items, int nitems)
{
	static const struct
	{
		const char *name;
		Treatment	treatment;
	}			envelope[] = {
		{"record_id", RECORD_ID},
		{"owner", KEPT},
		{"source_system", KEPT},
		{"local_record_id", LOCAL_RECORD_ID},
		{"patient_id", PERSON},
		{"episode_id", EPISODE},
		{"dataset_version", KEPT},
		{"event_at", KEPT},
		{"received_at", RECEIVED},
		{"revision", KEPT}
	};

	for (int i = 0; i < lengthof(envelope); i++)
		if (strcmp(envelope[i].name, name) == 0)
			return envelope[i].treatment;
	for (int i = 0; i < nitems; i++)
	{
		if (items[i].column_length != (int) strlen(name) || memcmp(items[i].column, name, items[i].column_length) != 0)
			continue;
		if (items[i].letter == 'i')
			return LEFT_OUT;
		if (items[i].local_number)
			return type == TEXTOID ? NUMBER : LEFT_OUT;
		return KEPT;
	}
	/* neither of the envelope nor an item of any version: nobody has said what it is */
	return LEFT_OUT;
}

static Columns *
columns_make(Oid type, int32 typmod, text *group, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Columns    *columns = palloc0(sizeof(Columns));
	const SpineGroupTable *found = spine_groups_find(VARDATA_ANY(group), VARSIZE_ANY_EXHDR(group));

	columns->type = type;
	columns->typmod = typmod;
	columns->desc = lookup_rowtype_tupdesc_copy(type, typmod);
	columns->columns = palloc0(sizeof(Column) * columns->desc->natts);
	columns->values = palloc(sizeof(Datum) * columns->desc->natts);
	columns->nulls = palloc(sizeof(bool) * columns->desc->natts);
	for (int i = 0; i < columns->desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns->desc, i);
		Column	   *column = &columns->columns[i];

		column->name = NameStr(attribute->attname);
		column->type = attribute->atttypid;
		column->treatment = attribute->attisdropped ? LEFT_OUT : treatment_of(column->name, column->type, found ? found->items : NULL, found ? found->nitems : 0);
		if (column->treatment == LEFT_OUT)
			continue;
		spine_json_column(&column->json, attribute->atttypid, attribute->atttypmod, attribute->attcollation, context);
	}
	MemoryContextSwitchTo(old);
	return columns;
}

static Datum
month_of(Datum moment)
{
	return DirectFunctionCall3(timestamptz_trunc_zone, CStringGetTextDatum("month"), moment, CStringGetTextDatum(ZONE));
}

/* The day of a moment, in London. */
static DateADT
day_of(TimestampTz moment)
{
	Timestamp	local = DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, CStringGetTextDatum(ZONE), TimestampTzGetDatum(moment)));

	return DatumGetDateADT(DirectFunctionCall1(timestamp_date, TimestampGetDatum(local)));
}

/* A date or time as coarse as it may be. False: it may not be told at all. 2000-01-01 is day and moment 0. */
static bool
coarsen(Datum *value, Oid type, Fineness fineness, TimestampTz origin)
{
	if (fineness == EXACT)
		return true;
	switch (type)
	{
		case DATEOID:
			{
				DateADT		date = DatumGetDateADT(*value);
				int			year;
				int			month;
				int			day;

				if (DATE_NOT_FINITE(date))
					return false;
				if (fineness == FROM_BIRTH)
				{
					*value = DateADTGetDatum(date - day_of(origin));
					return true;
				}
				j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
				*value = DateADTGetDatum(date - (day - 1));
				return true;
			}
		case TIMESTAMPTZOID:
			{
				TimestampTz moment = DatumGetTimestampTz(*value);

				if (TIMESTAMP_NOT_FINITE(moment))
					return false;
				if (fineness == BY_MONTH)
					*value = month_of(*value);
				else
				{
					int64		minutes = (moment - origin) / USECS_PER_MINUTE;

					if ((moment - origin) % USECS_PER_MINUTE < 0)
						minutes--;
					*value = TimestampTzGetDatum(minutes * USECS_PER_MINUTE);
				}
				return true;
			}
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
			/* an hour without its day tells too much, and counts nothing */
			return false;
		default:
			return true;
	}
}

/* The value of this column, NULL when it has none. Not for others to keep. */
static Datum
column_named(const Columns *columns, const char *name, bool *isnull)
{
	for (int i = 0; i < columns->desc->natts; i++)
	{
		if (strcmp(columns->columns[i].name, name) == 0 && !TupleDescAttr(columns->desc, i)->attisdropped)
		{
			*isnull = columns->nulls[i];
			return columns->values[i];
		}
	}
	*isnull = true;
	return (Datum) 0;
}

static void
push_uuid(JsonbParseState **state, const pg_uuid_t *uuid)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid)));

	spine_json_push_string(state, WJB_VALUE, text, (int) strlen(text));
}

/*
 * spine.pseudonymised(of_row record, data_group text, key bytea, person uuid, withheld text[],
 * dates text, origin timestamptz) returns jsonb. person: whose pseudonym stands for
 * patient_id. dates: exact, birth (the distance to origin; without one, as month), else month.
 */
Datum
spine_pseudonymised(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row;
	bytea	   *key;
	Columns    *columns = fcinfo->flinfo->fn_extra;
	Fineness	fineness = BY_MONTH;
	TimestampTz origin = 0;
	Datum	   *withheld;
	int			nwithheld;
	HeapTupleData tuple;
	JsonbParseState *state = NULL;
	JsonbValue *object;
	pg_uuid_t	pseudonym;
	const char *parts[4];
	int			lengths[4];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	row = PG_GETARG_HEAPTUPLEHEADER(0);
	key = PG_GETARG_BYTEA_PP(2);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(4), TEXTOID, -1, false, TYPALIGN_INT, &withheld, NULL, &nwithheld);
	if (!PG_ARGISNULL(5))
	{
		char	   *dates = text_to_cstring(PG_GETARG_TEXT_PP(5));

		if (strcmp(dates, "exact") == 0)
			fineness = EXACT;
		else if (strcmp(dates, "birth") == 0 && !PG_ARGISNULL(6) && !TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(6)))
		{
			fineness = FROM_BIRTH;
			origin = PG_GETARG_TIMESTAMPTZ(6);
		}
	}

	/* the group is the same for all rows of a type */
	if (columns == NULL || columns->type != HeapTupleHeaderGetTypeId(row) ||
		columns->typmod != HeapTupleHeaderGetTypMod(row))
	{
		columns = columns_make(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row),
							   PG_GETARG_TEXT_PP(1), fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = columns;
	}
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, columns->desc, columns->values, columns->nulls);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < columns->desc->natts; i++)
	{
		Column	   *column = &columns->columns[i];
		Datum		value = columns->values[i];

		if (column->treatment == LEFT_OUT || columns->nulls[i])
			continue;
		/* its own number of a record is not told, and need not be withheld */
		if (column->treatment != LOCAL_RECORD_ID && spine_is_among(column->name, withheld, nwithheld))
			continue;
		switch (column->treatment)
		{
			case RECORD_ID:
			case LOCAL_RECORD_ID:
			case PERSON:
			case EPISODE:
				{
					bool		isnull = false;

					parts[0] = column->treatment == PERSON ? "patient" : column->treatment == EPISODE ? "episode" : "record";
					if (column->treatment == LOCAL_RECORD_ID)
						value = column_named(columns, "record_id", &isnull);
					else if (column->treatment == PERSON)
					{
						isnull = PG_ARGISNULL(3);
						value = PG_GETARG_DATUM(3);
					}
					if (isnull)
						continue;
					lengths[0] = (int) strlen(parts[0]);
					parts[1] = (char *) DatumGetUUIDP(value)->data;
					lengths[1] = UUID_LEN;
					pseudonym_make(key, parts, lengths, 2, &pseudonym);
					spine_json_push_key(&state, column->name, (int) strlen(column->name));
					push_uuid(&state, &pseudonym);
					continue;
				}
			case NUMBER:
				{
					/* known within a system of an owner: equal ones meet there, and nowhere else */
					bool		no_owner;
					bool		no_system;
					Datum		owner = column_named(columns, "owner", &no_owner);
					Datum		source_system = column_named(columns, "source_system", &no_system);

					if (no_owner || no_system)
						continue;
					owner = PointerGetDatum(DatumGetTextPP(owner));
					source_system = PointerGetDatum(DatumGetTextPP(source_system));
					parts[0] = "number";
					lengths[0] = (int) strlen(parts[0]);
					parts[1] = VARDATA_ANY(DatumGetPointer(owner));
					lengths[1] = VARSIZE_ANY_EXHDR(DatumGetPointer(owner));
					parts[2] = VARDATA_ANY(DatumGetPointer(source_system));
					lengths[2] = VARSIZE_ANY_EXHDR(DatumGetPointer(source_system));
					value = PointerGetDatum(DatumGetTextPP(value));
					parts[3] = VARDATA_ANY(DatumGetPointer(value));
					lengths[3] = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
					pseudonym_make(key, parts, lengths, 4, &pseudonym);
					spine_json_push_key(&state, column->name, (int) strlen(column->name));
					push_uuid(&state, &pseudonym);
					continue;
				}
			case RECEIVED:
				/* the moment at which a record came is the same for every node */
				value = month_of(value);
				break;
			default:
				if (!coarsen(&value, column->type, fineness, origin))
					continue;
		}
		spine_json_push_key(&state, column->name, (int) strlen(column->name));
		spine_json_push(&state, &column->json, value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(object));
}
