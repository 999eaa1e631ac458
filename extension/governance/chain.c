/*
 * chain.c
 *		The chain of the access log, as the auditor makes it and as
 *		spine.verify_access_log() goes along it.
 *
 * An entry's content_mac is keyed, so that nobody finds a person by trying; only
 * that, the number and the time go into the chain. The hashed bytes of a value are
 * its own, behind their length: no two contents look the same.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "errors.h"
#include "governance/caller.h"
#include "governance/chain.h"
#include "governance/identity.h"

#define CHAIN_FETCH		1000
#define CHAIN_LABEL		"spine access log entry, form 1"
#define CHAIN_NULL		0xffffffff	/* a length that no value has */

static const struct
{
	const char *name;
	Oid			type;
}			columns[SPINE_LOG_COLUMNS] = {
	[SPINE_LOG_ACCESS_ID] = {"access_id", INT8OID},
	[SPINE_LOG_AT] = {"at", TIMESTAMPTZOID},
	[SPINE_LOG_ROLE_NAME] = {"role_name", NAMEOID},
	[SPINE_LOG_USER_NAME] = {"user_name", TEXTOID},
	[SPINE_LOG_ORGANISATION] = {"organisation", TEXTOID},
	[SPINE_LOG_DUTY] = {"duty", TEXTOID},
	[SPINE_LOG_PATIENT_ID] = {"patient_id", UUIDOID},
	[SPINE_LOG_PURPOSE] = {"purpose", TEXTOID},
	[SPINE_LOG_REASON] = {"reason", TEXTOID},
	[SPINE_LOG_OWNERS] = {"owners", TEXTARRAYOID},
	[SPINE_LOG_HOW] = {"how", TEXTARRAYOID},
	[SPINE_LOG_BASIS] = {"basis", TEXTARRAYOID},
	[SPINE_LOG_KIND] = {"kind", TEXTOID},
	[SPINE_LOG_RECORD_COUNT] = {"record_count", INT8OID},
	[SPINE_LOG_STATEMENT] = {"statement", TEXTOID},
	[SPINE_LOG_CONTENT_MAC] = {"content_mac", BYTEAOID},
	[SPINE_LOG_HASH] = {"hash", BYTEAOID}
};

PG_FUNCTION_INFO_V1(spine_verify_access_log);
PG_FUNCTION_INFO_V1(spine_verify_piece);

TupleDesc
spine_chain_tupdesc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(SPINE_LOG_COLUMNS);

	for (int i = 0; i < SPINE_LOG_COLUMNS; i++)
		TupleDescInitEntry(desc, i + 1, columns[i].name, columns[i].type, -1,
						   columns[i].type == TEXTARRAYOID ? 1 : 0);
	return desc;
}


/* ---------------------------------------------------------------- hashes */

static void
add_bytes(StringInfo to, const char *data, int len)
{
	pq_sendint32(to, len);
	appendBinaryStringInfo(to, data, len);
}

/* Text in UTF-8, whatever the database has: a log that is moved verifies. */
static void
add_text(StringInfo to, const char *data, int len)
{
	char	   *utf8 = pg_server_to_any(data, len, PG_UTF8);

	if (utf8 == data)
		add_bytes(to, data, len);
	else
		add_bytes(to, utf8, strlen(utf8));
}

static void
add_value(StringInfo to, Oid type, Datum value)
{
	switch (type)
	{
		case INT8OID:
		case TIMESTAMPTZOID:
			pq_sendint32(to, sizeof(int64));
			pq_sendint64(to, DatumGetInt64(value));
			break;
		case NAMEOID:
			add_text(to, NameStr(*DatumGetName(value)), strlen(NameStr(*DatumGetName(value))));
			break;
		case UUIDOID:
			add_bytes(to, (char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case TEXTOID:
			{
				text	   *whole = DatumGetTextPP(value);

				add_text(to, VARDATA_ANY(whole), VARSIZE_ANY_EXHDR(whole));
				break;
			}
		case TEXTARRAYOID:
			{
				Datum	   *elements;
				bool	   *nulls;
				int			n;

				deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
								  &elements, &nulls, &n);
				pq_sendint32(to, n);
				for (int i = 0; i < n; i++)
				{
					if (nulls[i])
						pq_sendint32(to, CHAIN_NULL);
					else
						add_value(to, TEXTOID, elements[i]);
				}
				break;
			}
		default:
			elog(ERROR, "unexpected type %u", type);
	}
}

void
spine_chain_mac(const Datum *values, const bool *nulls, uint8 *mac)
{
	StringInfoData content;

	initStringInfo(&content);
	appendBinaryStringInfo(&content, CHAIN_LABEL, sizeof(CHAIN_LABEL));
	for (int i = 0; i < SPINE_LOG_CONTENT_MAC; i++)
	{
		if (nulls[i])
			pq_sendint32(&content, CHAIN_NULL);
		else
			add_value(&content, columns[i].type, values[i]);
	}
	spine_identity_mac((uint8 *) content.data, content.len, mac);
	pfree(content.data);
}

void
spine_chain_hash(const uint8 *previous, int64 access_id, TimestampTz at,
				 const uint8 *mac, uint8 *hash)
{
	pg_cryptohash_ctx *sha = pg_cryptohash_create(PG_SHA256);
	uint64		numbers[2] = {pg_hton64(access_id), pg_hton64(at)};

	if (sha == NULL ||
		pg_cryptohash_init(sha) < 0 ||
		pg_cryptohash_update(sha, previous, SPINE_CHAIN_BYTES) < 0 ||
		pg_cryptohash_update(sha, (uint8 *) numbers, sizeof(numbers)) < 0 ||
		pg_cryptohash_update(sha, mac, SPINE_CHAIN_BYTES) < 0 ||
		pg_cryptohash_final(sha, hash, SPINE_CHAIN_BYTES) < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(sha));
	pg_cryptohash_free(sha);
}


/* ---------------------------------------------------------------- verification */

static bool
bytes_are(Datum value, bool null, const uint8 *wanted)
{
	bytea	   *bytes;

	if (null)
		return false;
	bytes = DatumGetByteaPP(value);
	return VARSIZE_ANY_EXHDR(bytes) == SPINE_CHAIN_BYTES &&
		memcmp(VARDATA_ANY(bytes), wanted, SPINE_CHAIN_BYTES) == 0;
}

/*
 * What is wrong with a row, or NULL. previous becomes its hash. expected is the number
 * that the row should have.
 */
static char *
entry_fault(const Datum *values, const bool *nulls, int64 expected, uint8 *previous)
{
	int64		id = DatumGetInt64(values[SPINE_LOG_ACCESS_ID]);
	uint8		mac[SPINE_CHAIN_BYTES];
	uint8		hash[SPINE_CHAIN_BYTES];

	if (id != expected)
	{
		if (id < expected)
			return psprintf("entry " INT64_FORMAT " is out of order", id);
		if (id == expected + 1)
			return psprintf("entry missing: there is none with number " INT64_FORMAT, expected);
		return psprintf("entries missing: there are none with numbers " INT64_FORMAT " to " INT64_FORMAT,
						expected, id - 1);
	}
	spine_chain_mac(values, nulls, mac);
	if (!bytes_are(values[SPINE_LOG_CONTENT_MAC], nulls[SPINE_LOG_CONTENT_MAC], mac))
		return pstrdup("content changed: it is not what content_mac was made of");
	spine_chain_hash(previous, id, DatumGetTimestampTz(values[SPINE_LOG_AT]), mac, hash);
	if (!bytes_are(values[SPINE_LOG_HASH], nulls[SPINE_LOG_HASH], hash))
		return pstrdup("link broken: hash does not follow from the entry before");
	memcpy(previous, hash, SPINE_CHAIN_BYTES);
	return NULL;
}

/*
 * Goes along the chain from the entry after *at, whose hash is previous, over at most
 * so many entries (0: to its end), to the first fault. *at becomes the entry concerned,
 * or the last that is sound, and previous its hash.
 */
static char *
chain_fault(int64 *at, uint8 *previous, int64 most, MemoryContext result)
{
	int64		expected = *at + 1;
	Oid			types[1] = {INT8OID};
	Datum		from = Int64GetDatum(*at);
	char	   *fault = NULL;
	Portal		portal;
	MemoryContext row;

	/* the values of a row go with it */
	row = AllocSetContextCreate(CurrentMemoryContext, "spine chain row", ALLOCSET_DEFAULT_SIZES);
	/* from the beginning whatever there is, a number below the first too */
	portal = SPI_cursor_open_with_args(NULL, *at == 0 ?
									   "SELECT " SPINE_LOG_COLUMN_LIST " FROM spine.access_log ORDER BY access_id" :
									   "SELECT " SPINE_LOG_COLUMN_LIST " FROM spine.access_log WHERE access_id > $1 ORDER BY access_id",
									   *at == 0 ? 0 : 1, types, &from, NULL, true, 0);
	for (;;)
	{
		if (most > 0 && expected - DatumGetInt64(from) > most)
			break;
		SPI_cursor_fetch(portal, true, CHAIN_FETCH);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed && fault == NULL; i++)
		{
			Datum		values[SPINE_LOG_COLUMNS];
			bool		nulls[SPINE_LOG_COLUMNS];
			MemoryContext caller = MemoryContextSwitchTo(row);

			heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
			fault = entry_fault(values, nulls, expected, previous);
			MemoryContextSwitchTo(caller);
			*at = expected;
			if (fault != NULL)
				fault = MemoryContextStrdup(result, fault);
			expected++;
			MemoryContextReset(row);
		}
		SPI_freetuptable(SPI_tuptable);
		if (fault != NULL)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	return fault;
}

/* spine.verify_access_log() returns table (access_id bigint, fault text) */
Datum
spine_verify_access_log(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const SpineCaller *caller = spine_caller_get();
	MemoryContext result = CurrentMemoryContext;
	bool		allowed = superuser_arg(GetOuterUserId());
	uint8		previous[SPINE_CHAIN_BYTES] = {0};
	int64		at = 0;
	char	   *fault;

	for (int i = 0; i < caller->nmemberships; i++)
		allowed |= strcmp(caller->memberships[i].duty, "governor") == 0 ||
			strcmp(caller->memberships[i].duty, "operator") == 0;
	if (!allowed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: this is for governors and operators")));

	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fault = chain_fault(&at, previous, 0, result);
	SPI_finish();

	if (fault != NULL)
	{
		Datum		values[2] = {Int64GetDatum(at), CStringGetTextDatum(fault)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * spine.verify_piece(after bigint, hash bytea, most bigint, OUT access_id bigint, OUT hash bytea, OUT fault text):
 * a piece of the chain behind an entry that was verified before.
 */
Datum
spine_verify_piece(PG_FUNCTION_ARGS)
{
	MemoryContext result = CurrentMemoryContext;
	int64		at = PG_GETARG_INT64(0);
	bytea	   *from = PG_GETARG_BYTEA_PP(1);
	uint8		previous[SPINE_CHAIN_BYTES] = {0};
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, true};
	char	   *fault;
	bytea	   *hash;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (at > 0)
	{
		if (VARSIZE_ANY_EXHDR(from) != SPINE_CHAIN_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a hash of the chain has %d bytes", SPINE_CHAIN_BYTES)));
		memcpy(previous, VARDATA_ANY(from), SPINE_CHAIN_BYTES);
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fault = chain_fault(&at, previous, PG_GETARG_INT64(2), result);
	SPI_finish();

	hash = palloc(VARHDRSZ + SPINE_CHAIN_BYTES);
	SET_VARSIZE(hash, VARHDRSZ + SPINE_CHAIN_BYTES);
	memcpy(VARDATA(hash), previous, SPINE_CHAIN_BYTES);
	values[0] = Int64GetDatum(at);
	values[1] = PointerGetDatum(hash);
	if (fault != NULL)
	{
		values[2] = CStringGetTextDatum(fault);
		nulls[2] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
