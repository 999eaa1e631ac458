/*
 * audit.h
 *		The way of an entry of the access log from the backend that opens a record
 *		to the auditor that commits it, and back: shared memory with a slot for
 *		each entry on its way.
 */
#ifndef SPINE_AUDIT_H
#define SPINE_AUDIT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/array.h"
#include "utils/uuid.h"

#define SPINE_AUDIT_REASON_MAX	1000	/* characters of a reason */
#define SPINE_AUDIT_BODY		12288	/* bytes of everything in an entry whose length varies */
#define SPINE_AUDIT_MESSAGE		256 /* bytes of why an entry was not written */

typedef enum SpineAuditKind
{
	SPINE_AUDIT_OPENING,
	SPINE_AUDIT_EMERGENCY,
	SPINE_AUDIT_EXPORT
} SpineAuditKind;

/* what varies in length; each is a varlena, or absent */
typedef enum SpineAuditField
{
	SPINE_AUDIT_USER,
	SPINE_AUDIT_ORGANISATION,
	SPINE_AUDIT_DUTY,
	SPINE_AUDIT_PURPOSE,
	SPINE_AUDIT_REASON,
	SPINE_AUDIT_STATEMENT,
	SPINE_AUDIT_OWNERS,
	SPINE_AUDIT_HOW,
	SPINE_AUDIT_BASIS,
	SPINE_AUDIT_FIELDS
} SpineAuditField;

typedef struct SpineAuditEntry
{
	SpineAuditKind kind;
	NameData	role_name;
	bool		has_patient;
	pg_uuid_t	patient;
	int64		record_count;	/* less than 0: none */
	/* the relationship of an emergency, committed with the entry */
	bool		has_relationship;
	pg_uuid_t	relationship;
	TimestampTz until;
	int			fields[SPINE_AUDIT_FIELDS]; /* where in body; less than 0: NULL */
	int			length;			/* of body, as far as it is used */
	union
	{
		char		data[SPINE_AUDIT_BODY];
		int64		force_align;
	}			body;
} SpineAuditEntry;

/* How an entry fared: its number, or (access_id 0) why it was not written. */
typedef struct SpineAuditOutcome
{
	int64		access_id;
	int			sqlstate;
	char		message[SPINE_AUDIT_MESSAGE];
} SpineAuditOutcome;

/* Asks for the shared memory; only while the library is being preloaded. */
extern void spine_audit_request(void);


/* ---------------------------------------------------------------- backends */

extern void spine_audit_begin(SpineAuditEntry *entry, SpineAuditKind kind, const char *role_name);

/* Puts a value, which is copied, into the entry. False when it does not fit. */
extern bool spine_audit_put(SpineAuditEntry *entry, SpineAuditField field, const void *value);
extern bool spine_audit_put_string(SpineAuditEntry *entry, SpineAuditField field, const char *value);
extern bool spine_audit_put_strings(SpineAuditEntry *entry, SpineAuditField field, char **values, int n);

/*
 * Returns the entry's number when it is committed; raises SP009 otherwise. What was
 * done already has to be written even if nobody waits for it any longer.
 */
extern int64 spine_audit_write(const SpineAuditEntry *entry, bool done_already);

/*
 * An opening of a patient's record, with the relationship that it makes until then (NULL: none); the
 * basis is cut where there is more than fits. Raises what spine.audit_access() does.
 */
extern int64 spine_audit_opening(const char *organisation, const char *duty, const pg_uuid_t *patient, const char *purpose,
								 text *reason, ArrayType *owners, ArrayType *how, ArrayType *basis,
								 const pg_uuid_t *relationship, TimestampTz until);

/* For a transaction that is being rolled back: leaves the entry to the auditor. Raises nothing. */
extern bool spine_audit_leave_entry(const SpineAuditEntry *entry);

/* The person stated in spine.user, or NULL. */
extern const char *spine_audit_stated_user(void);


/* ---------------------------------------------------------------- the auditor */

/* This process is the auditor of MyDatabaseId, until it ends. */
extern void spine_audit_attach(void);

/* Takes the entries that are ready, oldest first; returns how many. */
extern int	spine_audit_take(int *slots);
extern int	spine_audit_most(void);
extern int	spine_audit_ready(void);
extern const SpineAuditEntry *spine_audit_entry(int slot);

/* Tells those who wait for these entries, and lets go of the slots. */
extern void spine_audit_finish(const int *slots, const SpineAuditOutcome *outcomes, int n);

/* Nothing is to be done: no longer the auditor of this database. False when something came. */
extern bool spine_audit_retire(void);


/* ---------------------------------------------------------------- the launcher */

extern void spine_audit_launcher(void);

/* A database that wants an auditor, from *place on; InvalidOid when there is no further one. */
extern Oid	spine_audit_asked(int *place);

/* An auditor is about to be started there, or ended without having served. */
extern void spine_audit_starting(Oid database);
extern void spine_audit_not_started(Oid database);

#endif							/* SPINE_AUDIT_H */
