/*
 * identity.h
 *		Patient and record ids, and the switch of user under which spine's own
 *		queries run.
 */
#ifndef SPINE_IDENTITY_H
#define SPINE_IDENTITY_H

#include "postgres.h"
#include "utils/uuid.h"

/* HMAC-SHA-256 (network key, ten digits of the number), first 128 bits, as a version 8 uuid. */
extern void spine_identity_patient(int64 nhs_number, pg_uuid_t *patient);

/* HMAC-SHA-256 under the network key. What is hashed is longer than a number, so that it is no patient's. */
extern void spine_identity_mac(const uint8 *data, size_t length, uint8 *mac);

/* A new version 7 uuid: 48 bits of milliseconds, a counter within one, random bits. */
extern void spine_identity_uuid_v7(pg_uuid_t *uuid);

/*
 * Runs what follows as spine_owner with search_path pg_catalog, pg_temp, as
 * ri_triggers.c does for its plans. leave() undoes it; so does an abort.
 */
typedef struct SpineOwnerScope
{
	Oid			saved_user;
	int			saved_context;
	int			guc_level;
} SpineOwnerScope;

extern void spine_owner_enter(SpineOwnerScope *scope);
extern void spine_owner_leave(SpineOwnerScope *scope);

#endif							/* SPINE_IDENTITY_H */
