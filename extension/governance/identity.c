/*
 * identity.c
 *		Patient and record ids, and the scope in which spine's own queries run.
 *
 * A patient's id is HMAC-SHA-256 of the NHS number under the network key. An
 * unkeyed hash would not do: all valid NHS numbers can be tried in minutes.
 * The key is in a file named by spine.network_key_file; it enters this
 * process's memory and nothing else: no SQL, no table, no dump.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/hmac.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errors.h"
#include "governance/identity.h"
#include "guc.h"
#include "types/nhs_number_core.h"

#define KEY_LENGTH_MIN		32
#define KEY_LENGTH_MAX		1024
#define RANDOM_POOL			1024	/* bytes fetched from the system at a time */

static uint8 *network_key = NULL;
static int	network_key_length = 0;
static char *network_key_path = NULL;

/*
 * Reads the key file unless the one in memory is of the same path.
 */
static void
load_network_key(void)
{
	int			fd;
	int			length;
	struct stat st;
	uint8	   *content;

	if (network_key != NULL && strcmp(network_key_path, spine_network_key_file) == 0)
		return;

	if (spine_network_key_file == NULL || spine_network_key_file[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("this node has no network key"),
				 errhint("Set spine.network_key_file to the file with the key that all nodes of the network share, and reload.")));

	fd = OpenTransientFile(spine_network_key_file, O_RDONLY | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("could not open the network key file: %m"),
				 errhint("See spine.network_key_file.")));
	if (fstat(fd, &st) != 0 || (st.st_mode & S_IRWXO) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("the network key file is open to others"),
				 errhint("Give it mode 0600 and the server's user as its owner.")));

	content = MemoryContextAlloc(TopMemoryContext, KEY_LENGTH_MAX);
	length = read(fd, content, KEY_LENGTH_MAX);
	CloseTransientFile(fd);
	if (length < KEY_LENGTH_MIN)
	{
		pfree(content);
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("the network key file holds less than %d bytes", KEY_LENGTH_MIN)));
	}

	if (network_key != NULL)
	{
		explicit_bzero(network_key, network_key_length);
		pfree(network_key);
		pfree(network_key_path);
	}
	network_key = content;
	network_key_length = length;
	network_key_path = MemoryContextStrdup(TopMemoryContext, spine_network_key_file);
}

/* Sets version and variant of a uuid (RFC 9562). */
static void
mark_uuid(pg_uuid_t *uuid, int version)
{
	uuid->data[6] = (uuid->data[6] & 0x0f) | (version << 4);
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
}

void
spine_identity_mac(const uint8 *data, size_t length, uint8 *mac)
{
	pg_hmac_ctx *hmac;

	load_network_key();
	hmac = pg_hmac_create(PG_SHA256);
	if (hmac == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (pg_hmac_init(hmac, network_key, network_key_length) < 0 ||
		pg_hmac_update(hmac, data, length) < 0 ||
		pg_hmac_final(hmac, mac, PG_SHA256_DIGEST_LENGTH) < 0)
	{
		pg_hmac_free(hmac);
		elog(ERROR, "could not compute a keyed hash");
	}
	pg_hmac_free(hmac);
}

void
spine_identity_patient(int64 nhs_number, pg_uuid_t *patient)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char		digits[11];

	spine_nhs_number_print(nhs_number, digits);
	spine_identity_mac((uint8 *) digits, 10, digest);
	memcpy(patient->data, digest, UUID_LEN);
	mark_uuid(patient, 8);
}

/*
 * Ids made by one backend grow strictly: the 12 bits below the milliseconds
 * are the fraction of the millisecond, and where the clock stands still or
 * steps back the last value is counted on.
 */
void
spine_identity_uuid_v7(pg_uuid_t *uuid)
{
	static uint64 last = 0;
	static uint8 pool[RANDOM_POOL];
	static int	left = 0;
	uint64		micros;
	uint64		stamp;
	uint64		big_endian;

	micros = (uint64) GetCurrentTimestamp() +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	stamp = ((micros / 1000) << 12) | (((micros % 1000) << 12) / 1000);
	if (stamp <= last)
		stamp = last + 1;
	last = stamp;

	/* 48 bits of milliseconds, 4 for the version, 12 of the fraction */
	big_endian = pg_hton64(((stamp >> 12) << 16) | (stamp & 0x0fff));
	memcpy(uuid->data, &big_endian, 8);

	if (left < 8)
	{
		if (!pg_strong_random(pool, RANDOM_POOL))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = RANDOM_POOL;
	}
	left -= 8;
	memcpy(uuid->data + 8, pool + left, 8);
	mark_uuid(uuid, 7);
}

void
spine_owner_enter(SpineOwnerScope *scope)
{
	GetUserIdAndSecContext(&scope->saved_user, &scope->saved_context);
	SetUserIdAndSecContext(get_role_oid("spine_owner", false),
						   scope->saved_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
spine_owner_leave(SpineOwnerScope *scope)
{
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->saved_user, scope->saved_context);
}

PG_FUNCTION_INFO_V1(spine_patient_id);
PG_FUNCTION_INFO_V1(spine_uuid_v7);

Datum
spine_patient_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *patient = palloc(sizeof(pg_uuid_t));

	spine_identity_patient(PG_GETARG_INT64(0), patient);
	PG_RETURN_UUID_P(patient);
}

Datum
spine_uuid_v7(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	spine_identity_uuid_v7(uuid);
	PG_RETURN_UUID_P(uuid);
}
