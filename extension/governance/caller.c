/*
 * caller.c
 *		Who is asking: the outer role's memberships and system, cached.
 *
 * The identity is the role outside every security-definer function. No setting
 * and no argument has a say in it. What the role may do stands in spine.member
 * and spine.system; the cache over them is marked stale by the relcache
 * invalidation that spine.forget_cache() sends from a trigger on these tables.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/sinval.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "governance.h"
#include "caller.h"

typedef struct CallerEntry
{
	Oid			role;			/* hash key */
	uint64		stamp;			/* 0: never filled */
	LocalTransactionId only_in;
	MemoryContext context;
	SpineCaller caller;
} CallerEntry;

static const char *const watched_names[] = {
	"member", "system", "organisation", "node", "node_organisation", "sharing_rule", "dataset", "dissent",
	"reaudience_task"
};

#define N_WATCHED	lengthof(watched_names)

static Oid	watched[N_WATCHED];
static uint64 stamp = 1;
static uint64 definitions_stamp = 1;
static bool callbacks_registered = false;

static MemoryContext cache_context = NULL;
static HTAB *callers = NULL;
static CallerEntry *latest = NULL;

PG_FUNCTION_INFO_V1(spine_forget_cache);
PG_FUNCTION_INFO_V1(spine_caller_role);
PG_FUNCTION_INFO_V1(spine_caller_organisations);
PG_FUNCTION_INFO_V1(spine_caller_may_see);
PG_FUNCTION_INFO_V1(spine_is_caller_system);
PG_FUNCTION_INFO_V1(spine_is_caller_sender);
PG_FUNCTION_INFO_V1(spine_my_organisations);
PG_FUNCTION_INFO_V1(spine_my_owners);
PG_FUNCTION_INFO_V1(spine_caller_in_duty);
PG_FUNCTION_INFO_V1(spine_hosted_organisations);


/* ---------------------------------------------------------------- invalidation */

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid)
	{
		stamp++;
		definitions_stamp++;
		return;
	}
	for (int i = 0; i < N_WATCHED; i++)
	{
		if (watched[i] == relid)
		{
			stamp++;
			if (strcmp(watched_names[i], "dataset") == 0)
				definitions_stamp++;
			return;
		}
	}
}

/* a role was renamed, or dropped and its oid may come back */
static void
role_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	stamp++;
}

uint64
spine_governance_stamp(void)
{
	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
		callbacks_registered = true;
	}

	/*
	 * Within a long transaction no lock is taken anew, so nothing else would let
	 * a revocation in. Costs a look at a flag when there is nothing.
	 */
	AcceptInvalidationMessages();
	return stamp;
}

uint64
spine_definitions_stamp(void)
{
	(void) spine_governance_stamp();
	return definitions_stamp;
}

bool
spine_governance_has_store(void)
{
	Oid			schema = get_namespace_oid("spine", true);

	if (!OidIsValid(schema))
		return false;
	for (int i = 0; i < N_WATCHED; i++)
	{
		watched[i] = get_relname_relid(watched_names[i], schema);
		if (!OidIsValid(watched[i]))
			return false;
	}
	return true;
}

void
spine_lookup_begin(SpineLookup *lookup)
{
	/*
	 * In parallel mode no snapshot can be taken; the query's own serves, and the
	 * answer is good for this transaction only.
	 */
	lookup->pushed = !IsInParallelMode();
	lookup->only_in = lookup->pushed ? InvalidLocalTransactionId : spine_local_xid();
	if (lookup->pushed)
		PushActiveSnapshot(GetLatestSnapshot());

	spine_owner_enter(&lookup->owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
spine_lookup_end(SpineLookup *lookup)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	spine_owner_leave(&lookup->owner);
	if (lookup->pushed)
		PopActiveSnapshot();
}

/* AFTER STATEMENT trigger: tells every session's caches that this table has changed. */
Datum
spine_forget_cache(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spine.forget_cache was not called as a trigger")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(trigger->tg_relation));
	return PointerGetDatum(NULL);
}


/* ---------------------------------------------------------------- the cache */

/* The rights of each kind of system; no setting and no grant changes them. */
static const struct
{
	const char *name;
	int			rights;
	const char *writes[5];		/* groups of which subjects, as a definition says it */
}			kinds[] = {
	{"maternity", SPINE_MAY_READ | SPINE_MAY_WRITE, {"mother", "baby", "patient", "none"}},
	{"neonatal", SPINE_MAY_READ | SPINE_MAY_WRITE, {"baby", "patient", "none"}},
	{"maternity_readonly", SPINE_MAY_READ, {NULL}},
	{"reports", SPINE_MAY_READ, {NULL}},
	{"device", SPINE_MAY_WRITE, {"mother", "baby", "patient", "none"}}
};

static int
rights_of_kind(const char *kind)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].name, kind) == 0)
			return kinds[i].rights;
	return 0;
}

bool
spine_kind_may_write_subject(const char *kind, const char *subject)
{
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (kind == NULL || strcmp(kinds[i].name, kind) != 0)
			continue;
		for (const char *const *writes = kinds[i].writes; *writes != NULL; writes++)
			if (strcmp(*writes, subject) == 0)
				return true;
	}
	return false;
}

/* Column of a row of SPI's last answer, copied into context; NULL for NULL. */
static char *
spi_string(uint64 row, int column, MemoryContext context)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(context, value) : NULL;
}

/* $1 is the role; $2, where the query has it, the kinds of system that read. */
static void
lookup_run(const char *query, Datum role_name, Datum reading_kinds)
{
	Oid			types[2] = {NAMEOID, TEXTARRAYOID};
	Datum		args[2] = {role_name, reading_kinds};

	if (SPI_execute_with_args(query, 2, types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "governance look-up failed");
}

static Datum
text_array(char **strings, int n, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	ArrayType  *array;

	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(strings[i]);
	array = construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT);
	MemoryContextSwitchTo(old);
	return PointerGetDatum(array);
}

static Datum
reading_kinds(void)
{
	char	   *names[lengthof(kinds)];
	int			n = 0;

	for (int i = 0; i < lengthof(kinds); i++)
		if ((kinds[i].rights & SPINE_MAY_READ) != 0)
			names[n++] = unconstify(char *, kinds[i].name);
	return text_array(names, n, CurrentMemoryContext);
}

/* A new caller in context, from the tables. Returns for which transaction alone it holds. */
static LocalTransactionId
caller_fill(SpineCaller *caller, Oid role, MemoryContext context)
{
	SpineLookup lookup;
	char	   *role_name = GetUserNameFromId(role, true);
	Datum		name;
	Datum		reading;

	memset(caller, 0, sizeof(SpineCaller));
	caller->role = role;
	if (role_name != NULL)
		strlcpy(caller->role_name, role_name, NAMEDATALEN);
	caller->readable_array = text_array(NULL, 0, context);
	caller->owners_array = caller->readable_array;
	if (role_name == NULL || !spine_governance_has_store())
		return InvalidLocalTransactionId;
	name = DirectFunctionCall1(namein, CStringGetDatum(caller->role_name));

	reading = reading_kinds();

	spine_lookup_begin(&lookup);

	/* an organisation that this node no longer hosts gives nobody a right here */
	lookup_run("SELECT m.organisation, m.duty"
			   " FROM spine.member m"
			   " JOIN spine.node_organisation h ON h.organisation = m.organisation"
			   " JOIN spine.node n ON n.name = h.node AND n.is_self"
			   " WHERE m.role_name = $1"
			   " ORDER BY m.organisation COLLATE \"C\", m.duty COLLATE \"C\"",
			   name, reading);
	caller->nmemberships = (int) SPI_processed;
	caller->memberships = MemoryContextAllocZero(context,
												 sizeof(SpineMembership) * Max(caller->nmemberships, 1));
	for (int i = 0; i < caller->nmemberships; i++)
	{
		caller->memberships[i].organisation = spi_string(i, 1, context);
		caller->memberships[i].duty = spi_string(i, 2, context);
	}

	lookup_run("SELECT s.organisation, s.system, s.kind"
			   " FROM spine.system s"
			   " JOIN spine.node_organisation h ON h.organisation = s.organisation"
			   " JOIN spine.node n ON n.name = h.node AND n.is_self"
			   " WHERE s.role_name = $1",
			   name, reading);
	if (SPI_processed == 1)
	{
		caller->organisation = spi_string(0, 1, context);
		caller->system = spi_string(0, 2, context);
		caller->kind = spi_string(0, 3, context);
		caller->rights = rights_of_kind(caller->kind);
	}

	/*
	 * Own rows: of the organisations that the role reads for, and of the units
	 * below them. Not of Trusts below a region, a board or a network: those are
	 * other owners, and an agreement says what is shared.
	 */
	lookup_run("WITH RECURSIVE readable (code) AS ("
			   " SELECT m.organisation FROM spine.member m"
			   " WHERE m.role_name = $1 AND m.duty IN ('clinician', 'analyst')"
			   " UNION"
			   " SELECT s.organisation FROM spine.system s"
			   " WHERE s.role_name = $1 AND s.kind = ANY ($2)"
			   " UNION"
			   " SELECT o.code FROM spine.organisation o"
			   " JOIN readable r ON r.code = o.parent"
			   " WHERE o.kind = 'unit')"
			   " SELECT r.code FROM readable r"
			   " JOIN spine.node_organisation h ON h.organisation = r.code"
			   " JOIN spine.node n ON n.name = h.node AND n.is_self"
			   " ORDER BY r.code COLLATE \"C\"",
			   name, reading);
	caller->nreadable = (int) SPI_processed;
	caller->readable = MemoryContextAllocZero(context, sizeof(char *) * Max(caller->nreadable, 1));
	caller->readable_lengths = MemoryContextAllocZero(context, sizeof(int) * Max(caller->nreadable, 1));
	for (int i = 0; i < caller->nreadable; i++)
	{
		caller->readable[i] = spi_string(i, 1, context);
		caller->readable_lengths[i] = (int) strlen(caller->readable[i]);
	}
	caller->readable_array = text_array(caller->readable, caller->nreadable, context);

	lookup_run("SELECT o.organisation FROM spine.node_organisation o"
			   " JOIN spine.node f ON f.name = o.node AND NOT f.is_self AND f.purpose = 'reporting'"
			   " WHERE EXISTS (SELECT FROM spine.member m"
			   " JOIN spine.node_organisation h ON h.organisation = m.organisation"
			   " JOIN spine.node n ON n.name = h.node AND n.is_self"
			   " WHERE m.role_name = $1 AND m.duty = 'analyst')"
			   " ORDER BY o.organisation COLLATE \"C\"",
			   name, reading);
	caller->nreporting = (int) SPI_processed;
	caller->reporting = MemoryContextAllocZero(context, sizeof(char *) * (caller->nreporting + caller->nreadable + 1));
	for (int i = 0; i < caller->nreporting; i++)
		caller->reporting[i] = spi_string(i, 1, context);
	for (int i = 0; i < caller->nreadable; i++)
		caller->reporting[caller->nreporting + i] = caller->readable[i];
	caller->owners_array = text_array(caller->reporting, caller->nreporting + caller->nreadable, context);

	spine_lookup_end(&lookup);
	return lookup.only_in;
}

static bool
entry_is_good(const CallerEntry *entry, uint64 now)
{
	return entry->stamp == now &&
		(entry->only_in == InvalidLocalTransactionId || entry->only_in == spine_local_xid());
}

const SpineCaller *
spine_caller_get(void)
{
	Oid			role = GetOuterUserId();
	uint64		now = spine_governance_stamp();
	CallerEntry *entry;
	SpineCaller caller;
	LocalTransactionId only_in;
	MemoryContext fresh;
	bool		found;

	if (latest != NULL && latest->role == role && entry_is_good(latest, now))
		return &latest->caller;

	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "spine callers",
											  ALLOCSET_SMALL_SIZES);
	if (callers == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(CallerEntry);
		ctl.hcxt = cache_context;
		callers = hash_create("spine callers", 8, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	entry = hash_search(callers, &role, HASH_FIND, NULL);
	if (entry != NULL && entry_is_good(entry, now))
	{
		latest = entry;
		return &entry->caller;
	}

	/*
	 * Built to the end in a context of its own before the cache learns of it, so
	 * that an error on the way leaves the cache as it was: stale.
	 */
	fresh = AllocSetContextCreate(CurrentMemoryContext, "spine caller", ALLOCSET_SMALL_SIZES);
	only_in = caller_fill(&caller, role, fresh);

	entry = hash_search(callers, &role, HASH_ENTER, &found);
	if (found && entry->context != NULL)
		MemoryContextDelete(entry->context);
	entry->context = fresh;
	MemoryContextSetParent(fresh, cache_context);
	entry->caller = caller;
	entry->only_in = only_in;
	/* the stamp from before the look: what moved it meanwhile makes us look again */
	entry->stamp = spine_governance_has_store() ? now : 0;
	latest = entry;
	return &entry->caller;
}

const SpineCaller *
spine_caller_latest(Oid role)
{
	CallerEntry *entry = latest;

	if (OidIsValid(role))
		entry = callers != NULL ? hash_search(callers, &role, HASH_FIND, NULL) : NULL;

	return entry != NULL && entry->context != NULL ? &entry->caller : NULL;
}

bool
spine_caller_has_duty(const char *organisation, const char *duty)
{
	const SpineCaller *caller = spine_caller_get();

	for (int i = 0; i < caller->nmemberships; i++)
	{
		if (strcmp(caller->memberships[i].organisation, organisation) == 0 &&
			strcmp(caller->memberships[i].duty, duty) == 0)
			return true;
	}
	return false;
}

bool
spine_caller_is_clinician(void)
{
	const SpineCaller *caller = spine_caller_get();

	for (int i = 0; i < caller->nmemberships; i++)
		if (strcmp(caller->memberships[i].duty, "clinician") == 0)
			return true;
	return false;
}


/* ---------------------------------------------------------------- for SQL */

/* the role outside every security-definer function */
Datum
spine_caller_role(PG_FUNCTION_ARGS)
{
	char	   *name = GetUserNameFromId(GetOuterUserId(), false);

	PG_RETURN_DATUM(DirectFunctionCall1(namein, CStringGetDatum(name)));
}

/* organisations for which the caller holds this duty, or any duty if NULL */
Datum
spine_caller_organisations(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller = spine_caller_get();
	char	   *duty = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	  **found = palloc(sizeof(char *) * Max(caller->nmemberships, 1));
	int			n = 0;

	for (int i = 0; i < caller->nmemberships; i++)
	{
		SpineMembership *m = &caller->memberships[i];

		if (duty != NULL && strcmp(m->duty, duty) != 0)
			continue;
		/* memberships are in order of organisation */
		if (n > 0 && strcmp(found[n - 1], m->organisation) == 0)
			continue;
		found[n++] = m->organisation;
	}
	PG_RETURN_DATUM(text_array(found, n, CurrentMemoryContext));
}

/*
 * Does the caller act, in whatever duty or as a system, for one of these
 * organisations? A superuser, who reads the tables anyway, does.
 */
Datum
spine_caller_may_see(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller = spine_caller_get();
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (superuser_arg(GetOuterUserId()))
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *code;

		if (nulls[i])
			continue;
		code = TextDatumGetCString(values[i]);
		if (caller->organisation != NULL && strcmp(caller->organisation, code) == 0)
			PG_RETURN_BOOL(true);
		for (int m = 0; m < caller->nmemberships; m++)
		{
			if (strcmp(caller->memberships[m].organisation, code) == 0)
				PG_RETURN_BOOL(true);
		}
	}
	PG_RETURN_BOOL(false);
}

/* Is the caller this system, and does its kind let it read? */
Datum
spine_is_caller_system(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller = spine_caller_get();

	PG_RETURN_BOOL(caller->organisation != NULL &&
				   (caller->rights & SPINE_MAY_READ) != 0 &&
				   strcmp(caller->organisation, text_to_cstring(PG_GETARG_TEXT_PP(0))) == 0 &&
				   strcmp(caller->system, text_to_cstring(PG_GETARG_TEXT_PP(1))) == 0);
}

/* Is the caller this system, whatever its kind? */
Datum
spine_is_caller_sender(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller = spine_caller_get();

	PG_RETURN_BOOL(caller->organisation != NULL &&
				   strcmp(caller->organisation, text_to_cstring(PG_GETARG_TEXT_PP(0))) == 0 &&
				   strcmp(caller->system, text_to_cstring(PG_GETARG_TEXT_PP(1))) == 0);
}

/* organisations whose own rows the caller reads without an opening */
Datum
spine_my_organisations(PG_FUNCTION_ARGS)
{
	/* a copy: the cache may be renewed while the query still holds the answer */
	PG_RETURN_DATUM(PointerGetDatum(DatumGetArrayTypePCopy(spine_caller_get()->readable_array)));
}

/* and, to an analyst of a hub, those whose records come as pseudonyms */
Datum
spine_my_owners(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PointerGetDatum(DatumGetArrayTypePCopy(spine_caller_get()->owners_array)));
}

/*
 * spine.caller_in_duty(duties text[]): the organisations for which the caller has one of these
 * duties; "clinical system" stands for a system that writes and reads.
 */
Datum
spine_caller_in_duty(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller = spine_caller_get();
	char	  **found = palloc(sizeof(char *) * (caller->nmemberships + 1));
	bool		by_system = false;
	int			n = 0;
	Datum	   *duties;
	bool	   *nulls;
	int			nduties;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &duties, &nulls, &nduties);
	for (int i = 0; i <= caller->nmemberships; i++)
	{
		/* memberships are in order of organisation; the system's has its place among them */
		bool		last = i == caller->nmemberships;
		const char *organisation = last ? NULL : caller->memberships[i].organisation;
		bool		meant = false;

		for (int d = 0; d < nduties; d++)
		{
			char	   *duty = nulls[d] ? NULL : TextDatumGetCString(duties[d]);

			if (duty == NULL)
				continue;
			meant |= !last && strcmp(caller->memberships[i].duty, duty) == 0;
			by_system |= strcmp(duty, "clinical system") == 0;
		}
		if (by_system && caller->organisation != NULL &&
			(caller->rights & SPINE_MAY_READ) != 0 && (caller->rights & SPINE_MAY_WRITE) != 0 &&
			(n == 0 || strcmp(found[n - 1], caller->organisation) < 0) &&
			(last || strcmp(caller->organisation, organisation) < 0))
			found[n++] = caller->organisation;
		if (meant && (n == 0 || strcmp(found[n - 1], organisation) != 0))
			found[n++] = unconstify(char *, organisation);
	}
	PG_RETURN_DATUM(text_array(found, n, CurrentMemoryContext));
}

/* spine.hosted_organisations(): those for which this node speaks, as it is committed now */
Datum
spine_hosted_organisations(PG_FUNCTION_ARGS)
{
	static MemoryContext context = NULL;
	static ArrayType *hosted = NULL;
	static uint64 hosted_stamp = 0;
	static LocalTransactionId hosted_only_in = InvalidLocalTransactionId;
	uint64		now = spine_governance_stamp();

	if (hosted == NULL || hosted_stamp != now ||
		(hosted_only_in != InvalidLocalTransactionId && hosted_only_in != spine_local_xid()))
	{
		MemoryContext fresh = AllocSetContextCreate(CurrentMemoryContext, "spine hosted organisations", ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(fresh);
		ArrayType  *found = construct_empty_array(TEXTOID);
		SpineLookup lookup;
		bool		isnull;

		MemoryContextSwitchTo(old);
		/* nothing is remembered where nothing tells of a change */
		if (!spine_governance_has_store())
			PG_RETURN_ARRAYTYPE_P(found);
		spine_lookup_begin(&lookup);
		if (SPI_execute("SELECT coalesce(pg_catalog.array_agg(h.organisation ORDER BY h.organisation COLLATE \"C\"), '{}')"
						" FROM spine.node_organisation h JOIN spine.node n ON n.name = h.node AND n.is_self",
						true, 0) != SPI_OK_SELECT || SPI_processed != 1)
			elog(ERROR, "governance look-up failed");
		old = MemoryContextSwitchTo(fresh);
		found = DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		MemoryContextSwitchTo(old);
		hosted_only_in = lookup.only_in;
		spine_lookup_end(&lookup);
		if (context != NULL)
			MemoryContextDelete(context);
		MemoryContextSetParent(fresh, TopMemoryContext);
		context = fresh;
		hosted = found;
		hosted_stamp = now;
	}
	/* a copy: the cache may be renewed while the query still holds the answer */
	PG_RETURN_DATUM(PointerGetDatum(DatumGetArrayTypePCopy(PointerGetDatum(hosted))));
}
