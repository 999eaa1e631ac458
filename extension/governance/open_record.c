/*
 * open_record.c
 *		spine.open_record(): a clinician opens a person's record.
 *
 * What will be visible is what the check of rows then says of each row: open, look, take
 * back. So there is one definition of what may be seen, and an organisation for which
 * nothing is there gets no opening. The same is done whether or not the person is known
 * here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/varlena.h"

#include "audit.h"
#include "caller.h"
#include "errors.h"
#include "groups.h"
#include "identity.h"
#include "openings.h"
#include "person.h"
#include "rules.h"

#define PURPOSE		"care"
#define DUTY		"clinician"

/* a relationship of the person to the organisation that asks */
typedef struct Relationship
{
	char	   *kind;
	bool		ends;
	TimestampTz until;
} Relationship;

PG_FUNCTION_INFO_V1(spine_open_record);

static int
compare_texts(const ListCell *a, const ListCell *b)
{
	const char *one = lfirst(a);
	const char *other = lfirst(b);

	return varstr_cmp(one, (int) strlen(one), other, (int) strlen(other), DEFAULT_COLLATION_OID);
}

/* Each string once, in order. */
static List *
texts_sort(List *texts)
{
	List	   *once = NIL;
	ListCell   *cell;

	list_sort(texts, compare_texts);
	foreach(cell, texts)
	{
		if (once == NIL || strcmp(llast(once), lfirst(cell)) != 0)
			once = lappend(once, lfirst(cell));
	}
	return once;
}

static ArrayType *
texts_array(List *texts)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(list_length(texts), 1));
	ListCell   *cell;

	foreach(cell, texts)
		values[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	return construct_array(values, list_length(texts), TEXTOID, -1, false, TYPALIGN_INT);
}

/* The organisations of which the caller is a clinician, in order of code. */
static List *
clinician_of(void)
{
	const SpineCaller *caller = spine_caller_get();
	List	   *organisations = NIL;

	/* memberships are in that order */
	for (int i = 0; i < caller->nmemberships; i++)
	{
		if (strcmp(caller->memberships[i].duty, DUTY) == 0)
			organisations = lappend(organisations, pstrdup(caller->memberships[i].organisation));
	}
	return organisations;
}

static bool
is_own(const char *owner)
{
	const SpineCaller *caller = spine_caller_get();

	for (int i = 0; i < caller->nreadable; i++)
	{
		if (strcmp(owner, caller->readable[i]) == 0)
			return true;
	}
	return false;
}

static bool
contains(List *texts, const char *text)
{
	ListCell   *cell;

	foreach(cell, texts)
	{
		if (strcmp(lfirst(cell), text) == 0)
			return true;
	}
	return false;
}

/* The relationships, of whatever time, of the person with these ids to the organisation. */
static List *
relationships_get(ArrayType *ids, const char *organisation)
{
	Oid			relid = spine_store_table("relationship");
	AttrNumber	organisation_column = get_attnum(relid, "organisation");
	AttrNumber	kind_column = get_attnum(relid, "kind");
	AttrNumber	until_column = get_attnum(relid, "until");
	Oid			index = InvalidOid;
	List	   *found = NIL;
	SpineWalk	walk;
	Datum	   *patients;
	int			n;

	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &patients, NULL, &n);
	if (!spine_walk_begin(&walk, relid, get_attnum(relid, "patient_id"), &index))
		elog(ERROR, "table \"spine.relationship\" has no index on patient_id");
	for (int i = 0; i < n; i++)
	{
		spine_walk_to(&walk, patients[i]);
		while (spine_walk_next(&walk))
		{
			bool		null;
			Relationship *one;
			Datum		until;

			if (strcmp(TextDatumGetCString(slot_getattr(walk.slot, organisation_column, &null)), organisation) != 0)
				continue;
			one = palloc(sizeof(Relationship));
			one->kind = TextDatumGetCString(slot_getattr(walk.slot, kind_column, &null));
			until = slot_getattr(walk.slot, until_column, &null);
			one->ends = !null;
			one->until = null ? 0 : DatumGetTimestampTz(until);
			found = lappend(found, one);
		}
	}
	spine_walk_end(&walk, false);
	return found;
}

/* Does the clause accept the relationship, or its retention after it has ended? */
static bool
accepts(const SpineClause *clause, const Relationship *relationship)
{
	Datum	   *kinds;
	int			n;
	Datum		end;

	deconstruct_array(clause->relationships, TEXTOID, -1, false, TYPALIGN_INT, &kinds, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		if (strcmp(TextDatumGetCString(kinds[i]), relationship->kind) != 0)
			continue;
		if (!relationship->ends)
			return true;
		end = DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(relationship->until),
								  IntervalPGetDatum(&clause->retention));
		return DatumGetTimestampTz(end) > GetCurrentTransactionStartTimestamp();
	}
	return false;
}

/* The clauses under which these owners' rows are given, and what relationship each rests on. */
static void
grounds_get(ArrayType *ids, const char *organisation, List *owners, List **how, List **basis)
{
	List	   *relationships = relationships_get(ids, organisation);
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *o;
	ListCell   *r;

	foreach(o, owners)
	{
		for (const SpineClause *clause = spine_rules_clauses(lfirst(o), organisation); clause != NULL; clause = clause->next)
		{
			bool		accepted = false;

			if (now < clause->starts_at || clause->ends_at <= now)
				continue;
			foreach(r, relationships)
			{
				const Relationship *relationship = lfirst(r);

				if (!accepts(clause, relationship))
					continue;
				*how = lappend(*how, relationship->kind);
				accepted = true;
			}
			if (accepted)
				*basis = lappend(*basis, psprintf("%s v%d clause %d", clause->agreement, clause->version, clause->clause));
		}
	}
	*how = texts_sort(*how);
	*basis = texts_sort(*basis);
}

/* What is asked for, or why it may not be. */
static void
check_arguments(List *organisations, bool no_number, text *purpose, text *reason)
{
	if (organisations == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: records are opened by clinicians")));
	if (purpose == NULL || strcmp(text_to_cstring(purpose), PURPOSE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a person's record is opened for care alone"),
				 errhint("Reporting and commissioning read no single record.")));
	if (reason == NULL ||
		!DatumGetBool(DirectFunctionCall2Coll(textregexeq, DEFAULT_COLLATION_OID, PointerGetDatum(reason),
											  CStringGetTextDatum("[^[:space:]]"))))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a reason must be given")));
	if (no_number)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("an NHS number must be given")));
}

/* spine.open_record(nhs_number, purpose, reason, for_transaction) returns timestamptz */
Datum
spine_open_record(PG_FUNCTION_ARGS)
{
	List	   *organisations = clinician_of();

	/* nothing else to compare with: what is opened may stay */
	bool		alone = list_length(organisations) == 1;
	text	   *reason = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	bool		for_transaction = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	List	   *allowed = NIL;
	TimestampTz until = 0;
	pg_uuid_t	patient;
	ArrayType  *ids;
	ListCell   *cell;

	check_arguments(organisations, PG_ARGISNULL(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1), reason);

	/* it sees what is committed now, and what its own transaction has done */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	spine_identity_patient(PG_GETARG_INT64(0), &patient);
	ids = spine_person_ids(&patient);
	foreach(cell, organisations)
	{
		const char *acts_for = lfirst(cell);
		List	   *owners;
		List	   *others = NIL;
		List	   *own = NIL;
		List	   *how = NIL;
		List	   *basis = NIL;
		ListCell   *o;
		bool		may;

		until = spine_openings_add(ids, acts_for, PURPOSE, !alone || for_transaction, 0);
		owners = spine_person_owners(ids);
		list_sort(owners, compare_texts);
		foreach(o, owners)
		{
			if (is_own(lfirst(o)))
				own = lappend(own, lfirst(o));
			else
				others = lappend(others, lfirst(o));
		}
		may = others != NIL || contains(own, acts_for);
		if (!alone || !may)
			spine_openings_undo();
		if (!may)
			continue;

		allowed = lappend(allowed, unconstify(char *, acts_for));
		grounds_get(ids, acts_for, others, &how, &basis);
		if (own != NIL)
		{
			how = lappend(how, "own");
			basis = lappend(basis, "own records");
		}
		(void) spine_audit_opening(acts_for, DUTY, &patient, PURPOSE,
								   DatumGetTextP(DirectFunctionCall1(btrim1, PointerGetDatum(reason))),
								   texts_array(list_concat(others, own)), texts_array(how), texts_array(basis), NULL, 0);
	}
	PopActiveSnapshot();

	if (allowed == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NO_RECORD),
				 errmsg("no record of this person is open to you"),
				 errdetail("There is none here, or no agreement and relationship lets you read it.")));
	if (!alone)
	{
		foreach(cell, allowed)
			until = spine_openings_add(ids, lfirst(cell), PURPOSE, for_transaction, 0);
	}
	PG_RETURN_TIMESTAMPTZ(until);
}
