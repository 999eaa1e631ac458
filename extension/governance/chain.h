/*
 * chain.h
 *		The chain of the access log: each entry's keyed hash of its content, and
 *		the hash that binds it to the one before.
 */
#ifndef SPINE_CHAIN_H
#define SPINE_CHAIN_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "datatype/timestamp.h"

#define SPINE_CHAIN_BYTES	32	/* of either hash */

/* the columns of spine.access_log */
typedef enum SpineChainColumn
{
	SPINE_LOG_ACCESS_ID,
	SPINE_LOG_AT,
	SPINE_LOG_ROLE_NAME,
	SPINE_LOG_USER_NAME,
	SPINE_LOG_ORGANISATION,
	SPINE_LOG_DUTY,
	SPINE_LOG_PATIENT_ID,
	SPINE_LOG_PURPOSE,
	SPINE_LOG_REASON,
	SPINE_LOG_OWNERS,
	SPINE_LOG_HOW,
	SPINE_LOG_BASIS,
	SPINE_LOG_KIND,
	SPINE_LOG_RECORD_COUNT,
	SPINE_LOG_STATEMENT,
	SPINE_LOG_CONTENT_MAC,
	SPINE_LOG_HASH,
	SPINE_LOG_COLUMNS
} SpineChainColumn;

/* their names, as a list for a query */
#define SPINE_LOG_COLUMN_LIST \
	"access_id, at, role_name, user_name, organisation, duty, patient_id, purpose, reason, owners," \
	" how, basis, kind, record_count, statement, content_mac, hash"

/* A description of such rows, in the present context. */
extern TupleDesc spine_chain_tupdesc(void);

/* HMAC-SHA-256 under the network key of all columns before content_mac. */
extern void spine_chain_mac(const Datum *values, const bool *nulls, uint8 *mac);

/* SHA-256 of what stands in the chain: the hash before, number, time, mac. */
extern void spine_chain_hash(const uint8 *previous, int64 access_id, TimestampTz at,
							 const uint8 *mac, uint8 *hash);

#endif							/* SPINE_CHAIN_H */
