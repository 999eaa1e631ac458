/*
 * visible.c
 *		May the caller see this row? The patients opened in this session, and the
 *		exact check that every row-level security policy of spine ends with.
 *
 * An opening is (role, patient, organisation, purpose, until). It belongs to the
 * session, not to the database: it ends with its time, with close_records(), with
 * DISCARD ALL or RESET ALL (a pooler hands the connection on), with the rollback of
 * the transaction or savepoint that made it and, made for a transaction alone,
 * with that transaction.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "governance.h"
#include "caller.h"
#include "export.h"
#include "guc.h"

#define CODE_LEN	32			/* an ODS code or a purpose with its terminator */

typedef struct OpenedPatient
{
	pg_uuid_t	patient;		/* hash key */
	dlist_head	openings;
} OpenedPatient;

typedef struct Opening
{
	dlist_node	of_patient;
	dlist_node	in_pending;		/* only where pending */
	OpenedPatient *opened;
	Oid			role;
	TimestampTz until;
	uint64		act;			/* which call of opening_add made it */
	/* made in the running transaction: by this subtransaction */
	bool		pending;
	bool		for_transaction;
	SubTransactionId subid;
	char		organisation[CODE_LEN];
	char		purpose[CODE_LEN];
} Opening;

/* a sharing rule as far as visible() asks for it */
typedef struct RuleInForce
{
	char		from[CODE_LEN];
	char		to[CODE_LEN];
	char		purpose[CODE_LEN];
	TimestampTz starts_at;
	TimestampTz ends_at;
} RuleInForce;

static MemoryContext openings_context = NULL;
static HTAB *opened_patients = NULL;
static dlist_head pending = DLIST_STATIC_INIT(pending);
static int	nopenings = 0;
static uint64 acts = 0;
static int	mark = 0;			/* what spine.openings_mark holds while openings are good */
static bool callbacks_registered = false;

static MemoryContext rules_context = NULL;
static RuleInForce *rules = NULL;
static int	nrules = 0;
static int	latest_rule = 0;
static uint64 rules_stamp = 0;
static LocalTransactionId rules_only_in = InvalidLocalTransactionId;

PG_FUNCTION_INFO_V1(spine_opening_add);
PG_FUNCTION_INFO_V1(spine_opening_undo);
PG_FUNCTION_INFO_V1(spine_opening_close);
PG_FUNCTION_INFO_V1(spine_my_opened_patients);
PG_FUNCTION_INFO_V1(spine_visible);


/* ---------------------------------------------------------------- openings */

static void
opening_drop(Opening *opening)
{
	OpenedPatient *opened = opening->opened;

	dlist_delete(&opening->of_patient);
	if (opening->pending)
		dlist_delete(&opening->in_pending);
	if (dlist_is_empty(&opened->openings))
		hash_search(opened_patients, &opened->patient, HASH_REMOVE, NULL);
	pfree(opening);
	nopenings--;
}

static void
openings_drop_all(void)
{
	if (openings_context != NULL)
		MemoryContextReset(openings_context);
	opened_patients = NULL;
	dlist_init(&pending);
	nopenings = 0;
}

/* DISCARD ALL and RESET ALL put the setting back to zero: then nothing is open. */
static void
openings_check(void)
{
	if (nopenings > 0 && spine_openings_mark != mark)
		openings_drop_all();
}

/* A committed opening makes older ones of the same kind superfluous. */
static void
opening_settle(Opening *opening)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &opening->opened->openings)
	{
		Opening    *other = dlist_container(Opening, of_patient, iter.cur);

		if (other != opening && !other->pending &&
			other->role == opening->role && other->until <= opening->until &&
			strcmp(other->organisation, opening->organisation) == 0 &&
			strcmp(other->purpose, opening->purpose) == 0)
			opening_drop(other);
	}
}

static void
transaction_ends(XactEvent event, void *arg)
{
	bool		keep = (event == XACT_EVENT_COMMIT);

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (!dlist_is_empty(&pending))
	{
		Opening    *opening = dlist_container(Opening, in_pending, dlist_head_node(&pending));

		if (keep && !opening->for_transaction)
		{
			dlist_delete(&opening->in_pending);
			opening->pending = false;
			opening_settle(opening);
		}
		else
			opening_drop(opening);
	}
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	dlist_mutable_iter iter;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach_modify(iter, &pending)
	{
		Opening    *opening = dlist_container(Opening, in_pending, iter.cur);

		if (opening->subid != mine)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			opening->subid = parent;
		else
			opening_drop(opening);
	}
}

static void
openings_init(void)
{
	HASHCTL		ctl;

	if (!callbacks_registered)
	{
		RegisterXactCallback(transaction_ends, NULL);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		callbacks_registered = true;
	}
	if (openings_context == NULL)
		openings_context = AllocSetContextCreate(TopMemoryContext, "spine openings",
												 ALLOCSET_DEFAULT_SIZES);
	if (opened_patients == NULL)
	{
		ctl.keysize = sizeof(pg_uuid_t);
		ctl.entrysize = sizeof(OpenedPatient);
		ctl.hcxt = openings_context;
		opened_patients = hash_create("spine opened patients", 64, &ctl,
									  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
}

static void
copy_code(char *to, const text *from, const char *what)
{
	if (VARSIZE_ANY_EXHDR(from) >= CODE_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("%s is too long", what)));
	text_to_cstring_buffer(from, to, CODE_LEN);
}

/*
 * spine.opening_add(patients uuid[], organisation text, purpose text, for_transaction
 * boolean) returns the time until which they are open. Only spine.open_record may call
 * it: nothing is decided here.
 */
Datum
spine_opening_add(PG_FUNCTION_ARGS)
{
	ArrayType  *patients = PG_GETARG_ARRAYTYPE_P(0);
	bool		for_transaction = PG_GETARG_BOOL(3);
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													(int64) spine_open_minutes * 60 * 1000);
	Oid			role = GetOuterUserId();
	Datum	   *ids;
	bool	   *nulls;
	int			n;
	char		organisation[CODE_LEN];
	char		purpose[CODE_LEN];

	copy_code(organisation, PG_GETARG_TEXT_PP(1), "organisation");
	copy_code(purpose, PG_GETARG_TEXT_PP(2), "purpose");
	deconstruct_array(patients, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, &nulls, &n);

	openings_check();
	openings_init();
	if (nopenings == 0 || spine_openings_mark != mark)
	{
		char		value[16];

		mark = (mark == INT_MAX) ? 1 : mark + 1;
		snprintf(value, sizeof(value), "%d", mark);
		(void) set_config_option("spine.openings_mark", value, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SET, true, 0, false);
	}

	acts++;
	for (int i = 0; i < n; i++)
	{
		OpenedPatient *opened;
		Opening    *opening;
		bool		found;

		if (nulls[i])
			continue;
		opening = MemoryContextAllocZero(openings_context, sizeof(Opening));
		opened = hash_search(opened_patients, DatumGetUUIDP(ids[i]), HASH_ENTER, &found);
		if (!found)
			dlist_init(&opened->openings);
		opening->opened = opened;
		opening->role = role;
		opening->until = until;
		opening->act = acts;
		opening->pending = true;
		opening->for_transaction = for_transaction;
		opening->subid = GetCurrentSubTransactionId();
		strcpy(opening->organisation, organisation);
		strcpy(opening->purpose, purpose);
		dlist_push_tail(&opened->openings, &opening->of_patient);
		dlist_push_tail(&pending, &opening->in_pending);
		nopenings++;
	}
	PG_RETURN_TIMESTAMPTZ(until);
}

/* spine.opening_undo(): takes back what the last opening_add did. */
Datum
spine_opening_undo(PG_FUNCTION_ARGS)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &pending)
	{
		Opening    *opening = dlist_container(Opening, in_pending, iter.cur);

		if (opening->act == acts)
			opening_drop(opening);
	}
	PG_RETURN_VOID();
}

/*
 * spine.opening_close(): closes what the caller has open and returns how many
 * patients that were. At once and for good: a rollback opens nothing again.
 */
Datum
spine_opening_close(PG_FUNCTION_ARGS)
{
	HASH_SEQ_STATUS scan;
	OpenedPatient *opened;
	Oid			role = GetOuterUserId();
	int			closed = 0;

	openings_check();
	if (nopenings == 0)
		PG_RETURN_INT32(0);
	hash_seq_init(&scan, opened_patients);
	while ((opened = hash_seq_search(&scan)) != NULL)
	{
		dlist_mutable_iter iter;
		List	   *mine = NIL;
		ListCell   *cell;

		dlist_foreach_modify(iter, &opened->openings)
		{
			Opening    *opening = dlist_container(Opening, of_patient, iter.cur);

			if (opening->role == role)
				mine = lappend(mine, opening);
		}
		if (mine != NIL)
			closed++;
		/* the last drop removes the patient, which hash_seq_search allows for the current one */
		foreach(cell, mine)
			opening_drop((Opening *) lfirst(cell));
		list_free(mine);
	}
	PG_RETURN_INT32(closed);
}

/*
 * spine.my_opened_patients() returns uuid[]: a superset for the index, which visible()
 * then judges row by row.
 */
Datum
spine_my_opened_patients(PG_FUNCTION_ARGS)
{
	HASH_SEQ_STATUS scan;
	OpenedPatient *opened;
	Oid			role = GetOuterUserId();
	TimestampTz now = GetCurrentTimestamp();
	Datum	   *ids;
	int			n = 0;

	openings_check();
	if (nopenings == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(UUIDOID));

	ids = palloc(sizeof(Datum) * hash_get_num_entries(opened_patients));
	hash_seq_init(&scan, opened_patients);
	while ((opened = hash_seq_search(&scan)) != NULL)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &opened->openings)
		{
			Opening    *opening = dlist_container(Opening, of_patient, iter.cur);

			if (opening->role == role && opening->until > now)
			{
				ids[n++] = UUIDPGetDatum(&opened->patient);
				break;
			}
		}
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}


/* ---------------------------------------------------------------- rules in force */

static void
rules_load(void)
{
	uint64		now = spine_governance_stamp();
	MemoryContext fresh;
	SpineLookup lookup;
	RuleInForce *found;
	int			n;

	if (rules_stamp == now &&
		(rules_only_in == InvalidLocalTransactionId || rules_only_in == spine_local_xid()))
		return;

	rules_stamp = 0;
	nrules = 0;
	latest_rule = 0;
	if (!spine_governance_has_store())
		return;

	fresh = AllocSetContextCreate(CurrentMemoryContext, "spine rules", ALLOCSET_SMALL_SIZES);
	spine_lookup_begin(&lookup);
	if (SPI_execute("SELECT DISTINCT r.from_organisation, r.to_organisation, r.purpose, r.starts_at, r.ends_at"
					" FROM spine.sharing_rule r"
					" JOIN spine.node_organisation h ON h.organisation = r.to_organisation"
					" JOIN spine.node n ON n.name = h.node AND n.is_self",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "governance look-up failed");
	n = (int) SPI_processed;
	found = MemoryContextAllocZero(fresh, sizeof(RuleInForce) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		null;
		Datum		ends;

		strlcpy(found[i].from, SPI_getvalue(row, desc, 1), CODE_LEN);
		strlcpy(found[i].to, SPI_getvalue(row, desc, 2), CODE_LEN);
		strlcpy(found[i].purpose, SPI_getvalue(row, desc, 3), CODE_LEN);
		found[i].starts_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 4, &null));
		ends = SPI_getbinval(row, desc, 5, &null);
		found[i].ends_at = null ? DT_NOEND : DatumGetTimestampTz(ends);
	}
	rules_only_in = lookup.only_in;
	spine_lookup_end(&lookup);

	if (rules_context != NULL)
		MemoryContextDelete(rules_context);
	rules_context = fresh;
	MemoryContextSetParent(fresh, TopMemoryContext);
	rules = found;
	nrules = n;
	rules_stamp = now;
}

static bool
text_is(const char *data, int len, const char *string)
{
	return strncmp(data, string, len) == 0 && string[len] == '\0';
}

/* Does a sharing rule from owner to this organisation for this purpose hold now? */
static bool
rule_holds(const char *owner, int owner_len, const char *to, const char *purpose, TimestampTz now)
{
	for (int i = 0; i < nrules; i++)
	{
		/* row after row asks the same: begin where the last answer was */
		int			at = (latest_rule + i) % nrules;
		RuleInForce *rule = &rules[at];

		if (rule->starts_at <= now && now < rule->ends_at &&
			text_is(owner, owner_len, rule->from) &&
			strcmp(rule->to, to) == 0 && strcmp(rule->purpose, purpose) == 0)
		{
			latest_rule = at;
			return true;
		}
	}
	return false;
}


/* ---------------------------------------------------------------- the check */

/* Does the audience hold ORGANISATION:purpose? Walks the array in place. */
static bool
audience_holds(ArrayType *audience, const char *organisation, const char *purpose)
{
	char		token[2 * CODE_LEN];
	int			token_len = snprintf(token, sizeof(token), "%s:%s", organisation, purpose);
	ArrayIterator iterator;
	Datum		value;
	bool		null;
	bool		held = false;

	if (ARR_ELEMTYPE(audience) != TEXTOID)
		return false;
	iterator = array_create_iterator(audience, 0, NULL);
	while (!held && array_iterate(iterator, &value, &null))
	{
		text	   *element;

		if (null)
			continue;
		element = DatumGetTextPP(value);
		held = VARSIZE_ANY_EXHDR(element) == token_len &&
			memcmp(VARDATA_ANY(element), token, token_len) == 0;
	}
	array_free_iterator(iterator);
	return held;
}

/*
 * spine.visible(owner text, audience text[], patient_id uuid) returns boolean
 *
 * Own rows: yes. Another owner's: the patient is opened by this role for a purpose,
 * acting for an organisation it is a clinician of; the row's audience holds both;
 * and a rule from the owner is in force at this moment, whatever the audience says.
 * Everything else, and every doubt: no.
 */
Datum
spine_visible(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller;
	text	   *owner;
	const char *owner_data;
	int			owner_len;
	OpenedPatient *opened;
	ArrayType  *audience = NULL;
	TimestampTz now;
	Oid			role;
	dlist_iter	iter;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	owner = PG_GETARG_TEXT_PP(0);
	owner_data = VARDATA_ANY(owner);
	owner_len = VARSIZE_ANY_EXHDR(owner);

	caller = spine_caller_get();
	for (int i = 0; i < caller->nreadable; i++)
	{
		if (text_is(owner_data, owner_len, caller->readable[i]))
		{
			spine_rows_shown++;
			PG_RETURN_BOOL(true);
		}
	}

	if (nopenings == 0 || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BOOL(false);
	openings_check();
	if (nopenings == 0)
		PG_RETURN_BOOL(false);
	opened = hash_search(opened_patients, PG_GETARG_UUID_P(2), HASH_FIND, NULL);
	if (opened == NULL)
		PG_RETURN_BOOL(false);

	now = GetCurrentTimestamp();
	role = GetOuterUserId();
	rules_load();
	dlist_foreach(iter, &opened->openings)
	{
		Opening    *opening = dlist_container(Opening, of_patient, iter.cur);

		if (opening->role != role || opening->until <= now ||
			!spine_caller_has_duty(opening->organisation, "clinician"))
			continue;
		if (!rule_holds(owner_data, owner_len, opening->organisation, opening->purpose, now))
			continue;
		if (audience == NULL)
			audience = PG_GETARG_ARRAYTYPE_P(1);
		if (audience_holds(audience, opening->organisation, opening->purpose))
		{
			spine_rows_shown++;
			PG_RETURN_BOOL(true);
		}
	}
	PG_RETURN_BOOL(false);
}
