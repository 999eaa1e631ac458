/*
 * auditor.c
 *		Commits the entries of this database's access log: one process, so that it
 *		can count and chain them, for all the backends that wait. What is ready
 *		goes into one transaction.
 *
 * It keeps nothing that the table does not say: the last entry is read when it
 * starts and after every failure. It may be killed at any point.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "replication/syncrep.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "../bgworkers/worker.h"
#include "compat.h"
#include "errors.h"
#include "governance/audit.h"
#include "governance/chain.h"
#include "governance/governance.h"

#define AUDITOR_ROLE			"spine_owner"
#define AUDITOR_IDLE_MS			2000	/* shorter than CREATE DATABASE and DROP DATABASE wait */
#define AUDITOR_LOCK_TIMEOUT	"1s"
#define AUDITOR_PATIENCE_MAX	2000	/* µs, see auditor_gather() */
#define AUDITOR_SLOW_COMMIT		500 /* µs: not worth it below */
#define AUDITOR_LOOKS			4
#define AUDITOR_ENTRIES			"entries"	/* the batch, as queries call it */

static const char *const log_query =
"INSERT INTO spine.access_log (" SPINE_LOG_COLUMN_LIST ")"
" SELECT " SPINE_LOG_COLUMN_LIST " FROM " AUDITOR_ENTRIES;

/* what the owners at other nodes are told: nothing of each other */
static const char *const notice_query =
"INSERT INTO spine.access_notice (notice_id, access_id, owner, about, at, role_name, user_name, organisation, duty,"
" patient_id, purpose, reason, how, basis, revision, audience)"
" SELECT spine.uuid_v7(), e.access_id, e.organisation, o.about, e.at, e.role_name, e.user_name, e.organisation, e.duty,"
" e.patient_id, e.purpose, e.reason, e.how, spine.basis_about(e.basis, ARRAY[o.about]), 1, ARRAY[o.about || ':care']"
" FROM " AUDITOR_ENTRIES " e"
" CROSS JOIN LATERAL (SELECT DISTINCT u AS about FROM pg_catalog.unnest(e.owners) u) o"
" WHERE e.patient_id IS NOT NULL AND o.about <> e.organisation AND o.about <> ALL (spine.hosted_organisations())";

static const char *const relationship_query =
"INSERT INTO spine.relationship (relationship_id, patient_id, organisation, kind, owner, reason, since, until)"
" VALUES ($1, $2, $3, 'emergency', $3, $4, $5, $6)";

static const char *const kind_names[] = {
	[SPINE_AUDIT_OPENING] = "opening",
	[SPINE_AUDIT_EMERGENCY] = "emergency",
	[SPINE_AUDIT_EXPORT] = "export"
};

static SPIPlanPtr log_plan = NULL;
static SPIPlanPtr notice_plan = NULL;
static SPIPlanPtr relationship_plan = NULL;
static TupleDesc entries_desc = NULL;

/* the last entry that is committed, where it is known */
static bool head_known = false;
static int64 head_id;
static uint8 head_hash[SPINE_CHAIN_BYTES];

/* the organisations hosted here, under this stamp of the governance tables */
static MemoryContext hosted_context = NULL;
static char **hosted = NULL;
static int	nhosted = 0;
static uint64 hosted_stamp = 0;


/* ---------------------------------------------------------------- what it knows */

/*
 * That nobody else chains entries here is certain while this lock is held. Not an
 * advisory lock, which anybody could take; no lock of the table, which vacuum wants.
 */
static void
auditor_lock(void)
{
	static bool locked = false;
	LOCKTAG		tag;
	Oid			log;

	if (locked)
		return;
	log = get_relname_relid("access_log", get_namespace_oid("spine", false));
	if (!OidIsValid(log))
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("this database has no store")));
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, log, 1);
	/* of session locks those of this method alone outlive an abort, and end with the process */
	tag.locktag_lockmethodid = USER_LOCKMETHOD;
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	locked = true;
}

static void
auditor_read_head(void)
{
	bool		null;

	if (SPI_execute("SELECT access_id, hash FROM spine.access_log ORDER BY access_id DESC LIMIT 1", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "the last entry could not be read");
	head_id = 0;
	memset(head_hash, 0, SPINE_CHAIN_BYTES);
	if (SPI_processed == 1)
	{
		bytea	   *hash = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));

		head_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
		memcpy(head_hash, VARDATA_ANY(hash), Min(VARSIZE_ANY_EXHDR(hash), SPINE_CHAIN_BYTES));
	}
	head_known = true;
}

static void
auditor_read_hosted(void)
{
	uint64		now = spine_governance_stamp();
	int			n;

	if (hosted_stamp == now)
		return;
	hosted_stamp = 0;
	MemoryContextReset(hosted_context);
	(void) spine_governance_has_store();
	if (SPI_execute("SELECT h FROM pg_catalog.unnest(spine.hosted_organisations()) h", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "the hosted organisations could not be read");
	n = (int) SPI_processed;
	hosted = MemoryContextAlloc(hosted_context, sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		hosted[i] = MemoryContextStrdup(hosted_context, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	nhosted = n;
	hosted_stamp = now;
}

/* Has one of these entries an owner at another node? */
static bool
auditor_must_notify(const int *slots, int n)
{
	for (int i = 0; i < n; i++)
	{
		const SpineAuditEntry *entry = spine_audit_entry(slots[i]);
		Datum	   *owners;
		bool	   *nulls;
		int			nowners;

		if (!entry->has_patient)
			continue;
		deconstruct_array((ArrayType *) (entry->body.data + entry->fields[SPINE_AUDIT_OWNERS]),
						  TEXTOID, -1, false, TYPALIGN_INT, &owners, &nulls, &nowners);
		for (int o = 0; o < nowners; o++)
		{
			char	   *owner = nulls[o] ? NULL : TextDatumGetCString(owners[o]);
			bool		here = owner == NULL;

			for (int h = 0; h < nhosted && !here; h++)
				here = strcmp(owner, hosted[h]) == 0;
			if (!here)
				return true;
		}
	}
	return false;
}


/* ---------------------------------------------------------------- writing */

static SPIPlanPtr
auditor_plan(SPIPlanPtr *kept, const char *query, int nargs, Oid *types)
{
	if (*kept == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare_cursor(query, nargs, types, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		*kept = plan;
	}
	return *kept;
}

static void
auditor_execute(SPIPlanPtr plan, Datum *values, char *nulls)
{
	int			result = SPI_execute_plan(plan, values, nulls, false, 0);

	if (result != SPI_OK_INSERT)
		elog(ERROR, "unexpected SPI result: %s", SPI_result_code_string(result));
}

static void
entry_field(const SpineAuditEntry *entry, SpineAuditField field, Datum *value, bool *null)
{
	*null = entry->fields[field] < 0;
	*value = *null ? (Datum) 0 : PointerGetDatum(entry->body.data + entry->fields[field]);
}

static Datum
hash_datum(const uint8 *hash)
{
	bytea	   *copy = palloc(VARHDRSZ + SPINE_CHAIN_BYTES);

	SET_VARSIZE(copy, VARHDRSZ + SPINE_CHAIN_BYTES);
	memcpy(VARDATA(copy), hash, SPINE_CHAIN_BYTES);
	return PointerGetDatum(copy);
}

/* Adds the entry as a row, which follows the row with this id and hash; these become its own. */
static void
auditor_add(Tuplestorestate *rows, const SpineAuditEntry *entry, int64 *id, uint8 *hash)
{
	Datum		values[SPINE_LOG_COLUMNS];
	bool		nulls[SPINE_LOG_COLUMNS] = {false};
	uint8		mac[SPINE_CHAIN_BYTES];
	TimestampTz at = GetCurrentTimestamp();

	(*id)++;
	values[SPINE_LOG_ACCESS_ID] = Int64GetDatum(*id);
	values[SPINE_LOG_AT] = TimestampTzGetDatum(at);
	values[SPINE_LOG_ROLE_NAME] = NameGetDatum(&entry->role_name);
	entry_field(entry, SPINE_AUDIT_USER, &values[SPINE_LOG_USER_NAME], &nulls[SPINE_LOG_USER_NAME]);
	entry_field(entry, SPINE_AUDIT_ORGANISATION, &values[SPINE_LOG_ORGANISATION], &nulls[SPINE_LOG_ORGANISATION]);
	entry_field(entry, SPINE_AUDIT_DUTY, &values[SPINE_LOG_DUTY], &nulls[SPINE_LOG_DUTY]);
	values[SPINE_LOG_PATIENT_ID] = UUIDPGetDatum(&entry->patient);
	nulls[SPINE_LOG_PATIENT_ID] = !entry->has_patient;
	entry_field(entry, SPINE_AUDIT_PURPOSE, &values[SPINE_LOG_PURPOSE], &nulls[SPINE_LOG_PURPOSE]);
	entry_field(entry, SPINE_AUDIT_REASON, &values[SPINE_LOG_REASON], &nulls[SPINE_LOG_REASON]);
	entry_field(entry, SPINE_AUDIT_OWNERS, &values[SPINE_LOG_OWNERS], &nulls[SPINE_LOG_OWNERS]);
	entry_field(entry, SPINE_AUDIT_HOW, &values[SPINE_LOG_HOW], &nulls[SPINE_LOG_HOW]);
	entry_field(entry, SPINE_AUDIT_BASIS, &values[SPINE_LOG_BASIS], &nulls[SPINE_LOG_BASIS]);
	values[SPINE_LOG_KIND] = CStringGetTextDatum(kind_names[entry->kind]);
	values[SPINE_LOG_RECORD_COUNT] = Int64GetDatum(entry->record_count);
	nulls[SPINE_LOG_RECORD_COUNT] = entry->record_count < 0;
	entry_field(entry, SPINE_AUDIT_STATEMENT, &values[SPINE_LOG_STATEMENT], &nulls[SPINE_LOG_STATEMENT]);

	spine_chain_mac(values, nulls, mac);
	spine_chain_hash(hash, *id, at, mac, hash);
	values[SPINE_LOG_CONTENT_MAC] = hash_datum(mac);
	values[SPINE_LOG_HASH] = hash_datum(hash);
	tuplestore_putvalues(rows, entries_desc, values, nulls);
}

/* The relationship of an emergency, with the entry or not at all. */
static void
auditor_add_relationship(const SpineAuditEntry *entry)
{
	Oid			types[6] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[6];
	char		nulls[7] = "      ";
	bool		null;

	values[0] = UUIDPGetDatum(&entry->relationship);
	values[1] = UUIDPGetDatum(&entry->patient);
	entry_field(entry, SPINE_AUDIT_ORGANISATION, &values[2], &null);
	entry_field(entry, SPINE_AUDIT_REASON, &values[3], &null);
	values[4] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[5] = TimestampTzGetDatum(entry->until);
	auditor_execute(auditor_plan(&relationship_plan, relationship_query, 6, types), values, nulls);
}

/*
 * Writes these entries in one transaction. False when it failed, with why in *failure;
 * then none of them is written.
 */
static bool
auditor_write(const int *slots, int n, SpineAuditOutcome *outcomes, SpineAuditOutcome *failure)
{
	EphemeralNamedRelationData relation = {0};
	Tuplestorestate *rows;
	volatile bool done = false;
	int64		id;
	uint8		hash[SPINE_CHAIN_BYTES];

	PG_TRY();
	{
		/* what a transaction of ours promises, whatever the settings for others are */
		if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
			SetConfigOption("synchronous_commit", "on", PGC_SUSET, PGC_S_OVERRIDE);
		spine_worker_begin("writing the access log");
		auditor_lock();
		if (!head_known)
			auditor_read_head();
		id = head_id;
		memcpy(hash, head_hash, SPINE_CHAIN_BYTES);

		if (entries_desc == NULL)
		{
			MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

			entries_desc = spine_chain_tupdesc();
			MemoryContextSwitchTo(caller);
		}
		rows = tuplestore_begin_heap(false, false, work_mem);
		for (int i = 0; i < n; i++)
		{
			auditor_add(rows, spine_audit_entry(slots[i]), &id, hash);
			memset(&outcomes[i], 0, sizeof(SpineAuditOutcome));
			outcomes[i].access_id = id;
		}
		relation.md.name = pstrdup(AUDITOR_ENTRIES);
		relation.md.tupdesc = entries_desc;
		relation.md.enrtype = ENR_NAMED_TUPLESTORE;
		relation.md.enrtuples = n;
		relation.reldata = rows;
		if (SPI_register_relation(&relation) != SPI_OK_REL_REGISTER)
			elog(ERROR, "the batch could not be registered");
		auditor_execute(auditor_plan(&log_plan, log_query, 0, NULL), NULL, NULL);

		auditor_read_hosted();
		if (auditor_must_notify(slots, n))
			auditor_execute(auditor_plan(&notice_plan, notice_query, 0, NULL), NULL, NULL);
		for (int i = 0; i < n; i++)
			if (spine_audit_entry(slots[i])->has_relationship)
				auditor_add_relationship(spine_audit_entry(slots[i]));

		tuplestore_end(rows);
		spine_worker_commit();
		head_id = id;
		memcpy(head_hash, hash, SPINE_CHAIN_BYTES);
		done = true;
	}
	PG_CATCH();
	{
		/* the batch goes with the transaction */
		head_known = false;
		memset(failure, 0, sizeof(SpineAuditOutcome));
		spine_worker_failed_briefly("entries of the access log could not be written",
									&failure->sqlstate, failure->message, SPINE_AUDIT_MESSAGE);
	}
	PG_END_TRY();
	return done;
}

/* Would the next entry fail in the same way? */
static bool
failure_is_general(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION):
		case ERRCODE_TO_CATEGORY(ERRCODE_RAISE_EXCEPTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR):
			return false;
	}
	return true;
}

/* Entry by entry, so that a bad one fails alone; all at once where the table cannot be written. */
static void
auditor_write_singly(const int *slots, int n)
{
	for (int i = 0; i < n; i++)
	{
		SpineAuditOutcome outcome;
		SpineAuditOutcome failure;

		if (auditor_write(&slots[i], 1, &outcome, &failure))
		{
			spine_audit_finish(&slots[i], &outcome, 1);
			continue;
		}
		spine_audit_finish(&slots[i], &failure, 1);
		if (failure_is_general(failure.sqlstate))
		{
			for (i++; i < n; i++)
				spine_audit_finish(&slots[i], &failure, 1);
		}
	}
}

/*
 * An emergency may wait for locks of the person's records, or fail with them: the
 * openings of others do not.
 */
static void
auditor_turn(int *slots, int n)
{
	SpineAuditOutcome *outcomes = palloc(sizeof(SpineAuditOutcome) * n);
	int		   *emergencies = palloc(sizeof(int) * n);
	int			nemergencies = 0;
	int			nplain = 0;
	SpineAuditOutcome failure;

	for (int i = 0; i < n; i++)
	{
		if (spine_audit_entry(slots[i])->has_relationship)
			emergencies[nemergencies++] = slots[i];
		else
			slots[nplain++] = slots[i];
	}
	if (nplain > 0)
	{
		if (auditor_write(slots, nplain, outcomes, &failure))
			spine_audit_finish(slots, outcomes, nplain);
		else if (failure_is_general(failure.sqlstate))
		{
			for (int i = 0; i < nplain; i++)
				outcomes[i] = failure;
			spine_audit_finish(slots, outcomes, nplain);
		}
		else
			auditor_write_singly(slots, nplain);
	}
	auditor_write_singly(emergencies, nemergencies);
}

/*
 * Those whose entries were just committed will have further ones in a moment. Where a
 * commit takes long, a short wait for them saves them a whole one: else half of them
 * would find the next commit under way. Waits less where that has gained nothing.
 */
static void
auditor_gather(int expected, long commit_time)
{
	static long patience = AUDITOR_PATIENCE_MAX;
	long		most = Min(commit_time / 4, AUDITOR_PATIENCE_MAX);
	int			before = spine_audit_ready();
	int			ready = before;

	if (commit_time < AUDITOR_SLOW_COMMIT || before >= expected)
		return;
	patience = Max(Min(patience, most), most / 16);
	for (int i = 0; i < AUDITOR_LOOKS && ready < expected; i++)
	{
		pg_usleep(patience / AUDITOR_LOOKS);
		ready = spine_audit_ready();
	}
	if (2 * (ready - before) >= expected - before)
		patience *= 2;
	else
		patience /= 2;
}

/* These must not depend on what a DBA sets for the database or for everybody. */
static void
auditor_settle(void)
{
	SetConfigOption("lock_timeout", AUDITOR_LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("session_replication_role", "origin", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

void
spine_auditor_main(Datum database)
{
	bool		on_demand = MyBgworkerEntry->bgw_extra[0] == SPINE_WORKER_ON_DEMAND;
	TimestampTz busy_at;
	int			expected = 0;
	long		commit_time = 0;
	int		   *slots;

	spine_worker_start();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	spine_audit_attach();

	slots = MemoryContextAlloc(TopMemoryContext, sizeof(int) * spine_audit_most());
	hosted_context = AllocSetContextCreate(TopMemoryContext, "spine audit hosted", ALLOCSET_SMALL_SIZES);
	auditor_settle();
	if (!spine_worker_become(AUDITOR_ROLE))
		ereport(FATAL,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no role %s", AUDITOR_ROLE)));

	busy_at = GetCurrentTimestamp();
	for (;;)
	{
		int			n;

		spine_worker_turn();
		if (expected > 1)
			auditor_gather(expected, commit_time);
		n = spine_audit_take(slots);
		if (n > 0)
		{
			TimestampTz from = GetCurrentTimestamp();

			auditor_turn(slots, n);
			busy_at = GetCurrentTimestamp();
			commit_time = busy_at - from;
			expected = n + spine_audit_ready();
			continue;
		}
		expected = 0;
		if (on_demand)
		{
			long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															   TimestampTzPlusMilliseconds(busy_at, AUDITOR_IDLE_MS));

			if (left > 0)
				(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
			else if (spine_audit_retire())
				proc_exit(0);
		}
		else
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
