/*
 * rules.c
 *		Sharing rules, cached for the check of rows.
 *
 * The audience of a row says who may see it, and was computed when something
 * changed. What is asked here besides is asked of the present moment: an agreement
 * that has ended shows nothing, whatever an audience still says; and while the
 * audiences of a large group are being computed anew, the rules themselves decide.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "governance.h"
#include "openings.h"
#include "rules.h"

#define KEY_LEN		192			/* owner, organisation, data set and group with what stands
								 * between */

typedef struct Rule
{
	struct Rule *next;
	TimestampTz starts_at;
	TimestampTz ends_at;
	bool		emergency;
	SpineScope	scope;
	SpineScope	emergency_scope;
} Rule;

typedef struct RuleEntry
{
	char		key[KEY_LEN];	/* FROM>TO>DATASET.GROUP */
	Rule	   *rules;
} RuleEntry;

/* a change of the rules that some snapshot in use may not see */
typedef struct Change
{
	struct Change *next;
	TransactionId changed_by;
} Change;

typedef struct SettlingEntry
{
	char		key[KEY_LEN];	/* OWNER>DATASET.GROUP */
	bool		in_pieces;		/* spine.reaudience_task has it */
	Change	   *changes;
} SettlingEntry;

typedef struct ClauseEntry
{
	char		key[KEY_LEN];	/* FROM>TO */
	SpineClause *clauses;
} ClauseEntry;

typedef struct AudienceKey
{
	pg_uuid_t	patient;
	char		place[KEY_LEN]; /* OWNER>DATASET.GROUP */
} AudienceKey;

typedef struct AudienceEntry
{
	AudienceKey key;
	ArrayType  *audience;		/* NULL until it is filled */
} AudienceEntry;

/* all of it under one stamp */
static MemoryContext rules_context = NULL;
static HTAB *rules = NULL;
static HTAB *settling = NULL;
static HTAB *clauses = NULL;
static uint64 rules_stamp = 0;
static LocalTransactionId rules_only_in = InvalidLocalTransactionId;

/* audiences as of one moment: so long, and within one command of this transaction's own */
#define MOMENT_MS		100

static MemoryContext audiences_context = NULL;
static HTAB *audiences = NULL;
static uint64 audiences_stamp = 0;
static TimestampTz audiences_at = 0;
static LocalTransactionId audiences_in = InvalidLocalTransactionId;
static CommandId audiences_command = InvalidCommandId;

static HTAB *
table_make(const char *name, Size keysize, Size entrysize, int flags, MemoryContext context)
{
	HASHCTL		ctl = {0};

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = context;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_CONTEXT | flags);
}

static ArrayType *
array_copy(HeapTuple row, TupleDesc desc, int column, MemoryContext context)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);
	MemoryContext old = MemoryContextSwitchTo(context);
	ArrayType  *array = isnull ? construct_empty_array(TEXTOID) : DatumGetArrayTypePCopy(value);

	MemoryContextSwitchTo(old);
	return array;
}

/* A text[] of what tokens have behind the slash. */
static void
scope_read(HeapTuple row, TupleDesc desc, int column, MemoryContext context, SpineScope *scope)
{
	ArrayType  *said = array_copy(row, desc, column, context);
	MemoryContext old = MemoryContextSwitchTo(context);
	ArrayIterator iterator = array_create_iterator(said, 0, NULL);
	Datum		value;
	bool		null;

	while (array_iterate(iterator, &value, &null))
	{
		if (!null)
			spine_scope_add(scope, VARDATA_ANY(DatumGetPointer(value)), VARSIZE_ANY_EXHDR(DatumGetPointer(value)));
	}
	array_free_iterator(iterator);
	MemoryContextSwitchTo(old);
}

static TimestampTz
time_or(HeapTuple row, TupleDesc desc, int column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(value);
}

/* A key of this many parts; false where it is longer than any there is. */
static bool
key_make(char *key, const char *owner, int owner_length, const char *to, const char *group, int group_length)
{
	return snprintf(key, KEY_LEN, "%.*s%s%s%s%.*s", owner_length, owner, to ? ">" : "", to ? to : "",
					owner_length > 0 || to ? ">" : "", group_length, group) < KEY_LEN;
}

static void
ask(const char *query)
{
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "governance look-up failed");
}

static SettlingEntry *
settling_enter(HTAB *table, const char *key)
{
	bool		known;
	SettlingEntry *entry = hash_search(table, key, HASH_ENTER, &known);

	if (!known)
	{
		entry->in_pieces = false;
		entry->changes = NULL;
	}
	return entry;
}

/* The clause of a rule, once for all its data groups. */
static void
clause_read(HeapTuple row, TupleDesc desc, HTAB *table, MemoryContext context)
{
	char	   *key = SPI_getvalue(row, desc, 7);
	char	   *agreement = SPI_getvalue(row, desc, 8);
	bool		isnull;
	int32		version = DatumGetInt32(SPI_getbinval(row, desc, 9, &isnull));
	int32		number = DatumGetInt32(SPI_getbinval(row, desc, 10, &isnull));
	ClauseEntry *entry;
	SpineClause *clause;
	bool		known;

	entry = hash_search(table, key, HASH_ENTER, &known);
	if (!known)
		entry->clauses = NULL;
	for (clause = entry->clauses; clause != NULL; clause = clause->next)
	{
		if (clause->version == version && clause->clause == number && strcmp(clause->agreement, agreement) == 0)
			return;
	}
	clause = MemoryContextAllocZero(context, sizeof(SpineClause));
	clause->agreement = MemoryContextStrdup(context, agreement);
	clause->version = version;
	clause->clause = number;
	clause->starts_at = time_or(row, desc, 2, DT_NOEND);
	clause->ends_at = time_or(row, desc, 3, DT_NOEND);
	clause->relationships = array_copy(row, desc, 11, context);
	clause->retention = *DatumGetIntervalP(SPI_getbinval(row, desc, 12, &isnull));
	clause->next = entry->clauses;
	entry->clauses = clause;
}

/* The rules for organisations hosted here, and what else changes with them. */
static void
rules_load(void)
{
	uint64		now = spine_governance_stamp();
	MemoryContext fresh;
	SpineLookup lookup;
	HTAB	   *found;
	HTAB	   *found_settling;
	HTAB	   *found_clauses;
	LocalTransactionId only_in;

	if (rules != NULL && rules_stamp == now &&
		(rules_only_in == InvalidLocalTransactionId || rules_only_in == spine_local_xid()))
		return;

	/* nothing holds until all is there */
	rules_stamp = 0;
	rules = NULL;
	settling = NULL;
	clauses = NULL;
	if (rules_context != NULL)
		MemoryContextDelete(rules_context);
	rules_context = NULL;

	fresh = AllocSetContextCreate(CurrentMemoryContext, "spine rules", ALLOCSET_DEFAULT_SIZES);
	found = table_make("spine rules", KEY_LEN, sizeof(RuleEntry), HASH_STRINGS, fresh);
	found_settling = table_make("spine groups that settle", KEY_LEN, sizeof(SettlingEntry), HASH_STRINGS, fresh);
	found_clauses = table_make("spine clauses", KEY_LEN, sizeof(ClauseEntry), HASH_STRINGS, fresh);
	only_in = InvalidLocalTransactionId;
	if (spine_governance_has_store())
	{
		spine_lookup_begin(&lookup);
		ask("SELECT r.from_organisation || '>' || p.taker || '>' || r.dataset || '.' || r.data_group,"
			" r.starts_at, r.ends_at, r.emergency, r.scope, r.emergency_scope,"
			" r.from_organisation || '>' || p.taker, r.agreement, r.version, r.clause, r.relationships, r.retention"
			" FROM spine.sharing_rule r"
			" JOIN spine.node_organisation h ON h.organisation = r.to_organisation"
			" JOIN spine.node n ON n.name = h.node AND n.is_self"
			" CROSS JOIN LATERAL (SELECT r.to_organisation || CASE r.purpose WHEN 'care' THEN '' ELSE ':' || r.purpose END AS taker) p"
			" WHERE r.purpose = 'care'"
			" OR r.from_organisation IN (SELECT o.organisation FROM spine.node_organisation o"
			" JOIN spine.node s ON s.name = o.node AND NOT s.is_self AND s.purpose = 'reporting')");
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			char	   *key = SPI_getvalue(row, desc, 1);
			RuleEntry  *entry;
			Rule	   *rule;
			bool		known;
			bool		isnull;

			if (strlen(key) >= KEY_LEN)
				continue;
			entry = hash_search(found, key, HASH_ENTER, &known);
			if (!known)
				entry->rules = NULL;
			rule = MemoryContextAllocZero(fresh, sizeof(Rule));
			rule->next = entry->rules;
			entry->rules = rule;
			rule->starts_at = time_or(row, desc, 2, DT_NOEND);
			rule->ends_at = time_or(row, desc, 3, DT_NOEND);
			rule->emergency = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
			scope_read(row, desc, 5, fresh, &rule->scope);
			scope_read(row, desc, 6, fresh, &rule->emergency_scope);
			clause_read(row, desc, found_clauses, fresh);
		}
		ask("SELECT t.owner || '>' || t.dataset || '.' || t.data_group FROM spine.reaudience_task t");
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			char	   *key = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

			if (strlen(key) < KEY_LEN)
				settling_enter(found_settling, key)->in_pieces = true;
		}

		/* kept until every snapshot sees the change; nobody need be told when they go */
		ask("SELECT u.owner || '>' || u.dataset || '.' || u.data_group, u.changed_by FROM spine.unsettled u WHERE u.owner IS NOT NULL");
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			char	   *key = SPI_getvalue(row, SPI_tuptable->tupdesc, 1);
			bool		isnull;
			Datum		changed_by = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull);
			SettlingEntry *entry;
			Change	   *change;

			if (strlen(key) >= KEY_LEN)
				continue;
			entry = settling_enter(found_settling, key);
			change = MemoryContextAlloc(fresh, sizeof(Change));
			change->changed_by = XidFromFullTransactionId(DatumGetFullTransactionId(changed_by));
			change->next = entry->changes;
			entry->changes = change;
		}
		only_in = lookup.only_in;
		spine_lookup_end(&lookup);
	}

	MemoryContextSetParent(fresh, TopMemoryContext);
	rules_context = fresh;
	rules = found;
	settling = found_settling;
	clauses = found_clauses;
	rules_only_in = only_in;
	rules_stamp = now;
}

static void
single_add(SpineScope *scope, bool about_mother, const char *column, int length)
{
	SpineItem  *single;

	/* few clauses name items: no need to grow by more than one */
	if (scope->nsingles == 0)
		scope->singles = palloc(sizeof(SpineItem));
	else
		scope->singles = repalloc(scope->singles, sizeof(SpineItem) * (scope->nsingles + 1));
	single = &scope->singles[scope->nsingles++];
	memset(single, 0, sizeof(SpineItem));
	single->about_mother = about_mother;
	single->column = column;
	single->column_length = length;
}

void
spine_scope_add(SpineScope *scope, const char *said, int length)
{
	bool		about_mother = length > 0 && *said == 'm';
	uint32	   *letters = about_mother ? &scope->mother_letters : &scope->letters;
	int			from = about_mother ? 1 : 0;

	/* how fine dates are: no item */
	if (length > 0 && *said == '@')
		return;
	if (length > from && said[from] == '+')
	{
		single_add(scope, about_mother, said + from + 1, length - from - 1);
		return;
	}
	/* m:aci, or aci */
	if (about_mother && (length < 2 || said[from++] != ':'))
		return;
	for (int i = from; i < length; i++)
	{
		if (said[i] >= 'a' && said[i] <= 'z')
			*letters |= 1 << (said[i] - 'a');
	}
}

bool
spine_scope_shows(const SpineScope *scope, const SpineItem *item)
{
	if (((item->about_mother ? scope->mother_letters : scope->letters) & (1 << (item->letter - 'a'))) != 0)
		return true;
	for (int i = 0; i < scope->nsingles; i++)
	{
		const SpineItem *single = &scope->singles[i];

		if (single->about_mother == item->about_mother && single->column_length == item->column_length &&
			memcmp(single->column, item->column, item->column_length) == 0)
			return true;
	}
	return false;
}

bool
spine_rules_hold(const char *owner, int owner_length, const char *to,
				 const char *group, int group_length, bool emergency, SpineScope *scope)
{
	char		key[KEY_LEN];
	TimestampTz now = GetCurrentTimestamp();
	RuleEntry  *entry;
	bool		held = false;

	rules_load();
	if (owner_length == 0 || !key_make(key, owner, owner_length, to, group, group_length))
		return false;
	entry = hash_search(rules, key, HASH_FIND, NULL);
	for (Rule *rule = entry ? entry->rules : NULL; rule != NULL; rule = rule->next)
	{
		const SpineScope *shows = emergency ? &rule->emergency_scope : &rule->scope;

		if (now < rule->starts_at || rule->ends_at <= now || (emergency && !rule->emergency))
			continue;
		held = true;
		scope->letters |= shows->letters;
		scope->mother_letters |= shows->mother_letters;
		for (int i = 0; i < shows->nsingles; i++)
			single_add(scope, shows->singles[i].about_mother, shows->singles[i].column, shows->singles[i].column_length);
	}
	return held;
}

bool
spine_rules_are_settling(const char *owner, int owner_length, const char *group, int group_length)
{
	char		key[KEY_LEN];
	SettlingEntry *entry;

	rules_load();
	if (hash_get_num_entries(settling) == 0 || !key_make(key, owner, owner_length, NULL, group, group_length))
		return false;
	entry = hash_search(settling, key, HASH_FIND, NULL);
	if (entry == NULL)
		return false;
	if (entry->in_pieces)
		return true;
	/* a cursor that was open before the change reads the audiences of before */
	for (Change *change = entry->changes; change != NULL; change = change->next)
	{
		if (!ActiveSnapshotSet() || TransactionIdIsCurrentTransactionId(change->changed_by) ||
			XidInMVCCSnapshot(change->changed_by, GetActiveSnapshot()))
			return true;
	}
	return false;
}

ArrayType  *
spine_rules_audience(const char *owner, int owner_length,
					 const char *group, int group_length, const pg_uuid_t *patient)
{
	static SPIPlanPtr plan = NULL;
	TimestampTz now = GetCurrentTimestamp();
	CommandId	command = GetCurrentCommandId(false);
	uint64		stamp = spine_governance_stamp();
	const char *dot = memchr(group, '.', group_length);
	AudienceKey key = {0};
	AudienceEntry *entry;
	SpineLookup lookup;
	Datum		args[4];
	ArrayType  *audience;
	MemoryContext old;

	key.patient = *patient;
	if (dot == NULL || !key_make(key.place, owner, owner_length, NULL, group, group_length))
		return construct_empty_array(TEXTOID);

	if (audiences == NULL || audiences_stamp != stamp || audiences_in != spine_local_xid() || audiences_command != command ||
		TimestampDifferenceExceeds(audiences_at, now, MOMENT_MS))
	{
		audiences = NULL;
		if (audiences_context == NULL)
			audiences_context = AllocSetContextCreate(TopMemoryContext, "spine audiences", ALLOCSET_DEFAULT_SIZES);
		MemoryContextReset(audiences_context);
		audiences = table_make("spine audiences", sizeof(AudienceKey), sizeof(AudienceEntry), HASH_BLOBS, audiences_context);
		audiences_stamp = stamp;
		audiences_at = now;
		audiences_in = spine_local_xid();
		audiences_command = command;
	}
	entry = hash_search(audiences, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->audience;

	args[0] = PointerGetDatum(cstring_to_text_with_len(owner, owner_length));
	args[1] = PointerGetDatum(cstring_to_text_with_len(group, dot - group));
	args[2] = PointerGetDatum(cstring_to_text_with_len(dot + 1, group + group_length - dot - 1));
	args[3] = UUIDPGetDatum(patient);
	spine_lookup_begin(&lookup);
	if (plan == NULL)
	{
		Oid			types[4] = {TEXTOID, TEXTOID, TEXTOID, UUIDOID};
		SPIPlanPtr	fresh = SPI_prepare_cursor("SELECT spine.audience($1, $2, $3, $4)", 4, types, CURSOR_OPT_GENERIC_PLAN);

		if (fresh == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		if (SPI_keepplan(fresh) != 0)
			elog(ERROR, "SPI_keepplan failed");
		plan = fresh;
	}
	if (SPI_execute_plan(plan, args, NULL, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "governance look-up failed");
	audience = array_copy(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, audiences_context);
	spine_lookup_end(&lookup);

	old = MemoryContextSwitchTo(audiences_context);
	entry = hash_search(audiences, &key, HASH_ENTER, NULL);
	entry->audience = audience;
	MemoryContextSwitchTo(old);
	return audience;
}

const SpineClause *
spine_rules_clauses(const char *from, const char *to)
{
	char		key[KEY_LEN];
	ClauseEntry *entry;

	rules_load();
	if (snprintf(key, KEY_LEN, "%s>%s", from, to) >= KEY_LEN)
		return NULL;
	entry = hash_search(clauses, key, HASH_FIND, NULL);
	return entry ? entry->clauses : NULL;
}
