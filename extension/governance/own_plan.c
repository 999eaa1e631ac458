/*
 * own_plan.c
 *		Plans for those who have nothing open.
 *
 * Most reading is of own rows alone, and much of it goes over whole tables: there the
 * policy and a mask on every item would cost more than the query. While nothing is
 * open in the session, visible() can only be true of own rows, and of these every
 * item is shown. So a statement that is planned then asks owns() of a row, which the
 * index on the owner serves, and its masks are gone. Whose rows are own is still asked
 * for each row, at this moment.
 *
 * A plan made that way must not outlive the state it was made in: the first opening
 * makes such plans of this session invalid. Where more may be planned ahead than the
 * next thing to do (a function in SQL is planned as a whole, a cursor is read later),
 * it is made only for who can open nothing.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/planmain.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "tcop/pquery.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "caller.h"
#include "governance.h"
#include "openings.h"

/* an own plan was made, and may be kept somewhere: under which function it is found */
static Oid	planned_with = InvalidOid;

PG_FUNCTION_INFO_V1(spine_narrowed);
PG_FUNCTION_INFO_V1(spine_narrowed_support);
PG_FUNCTION_INFO_V1(spine_visible_support);
PG_FUNCTION_INFO_V1(spine_permits_support);
PG_FUNCTION_INFO_V1(spine_owns_support);

/* spine.narrowed(boolean) returns boolean: what it is given */
Datum
spine_narrowed(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

static Oid
function_of_spine(const char *name, int nargs, const Oid *types)
{
	return LookupFuncName(list_make2(makeString("spine"), makeString(pstrdup(name))), nargs, types, true);
}

/* May what is planned now be a plan for own rows alone? Then it is made known as one. */
static bool
plan_is_own(PlannerInfo *root, Oid *owns)
{
	const Oid	types[] = {TEXTOID};

	if (root == NULL || spine_openings_count() > 0)
		return false;
	/* an analyst of a hub sees what others have sent as pseudonyms, with nothing open */
	if (spine_caller_get()->nreporting > 0)
		return false;
	/* a client's own statement is planned by itself, and explained by itself */
	if (ActivePortal != NULL && ActivePortal->commandTag != CMDTAG_EXPLAIN && spine_caller_is_clinician())
		return false;
	*owns = function_of_spine("owns", 1, types);
	if (!OidIsValid(*owns))
		return false;
	record_plan_function_dependency(root, *owns);
	planned_with = *owns;
	return true;
}

/* Called before the first opening: own plans are no longer good. */
void
spine_own_plans_forget(void)
{
	if (OidIsValid(planned_with))
		CallSyscacheCallbacks(PROCOID, GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(planned_with)));
	planned_with = InvalidOid;
}

/* What an index can find: of a plan for own rows owns() says it. */
Datum
spine_narrowed_support(PG_FUNCTION_ARGS)
{
	SupportRequestSimplify *request = (SupportRequestSimplify *) PG_GETARG_POINTER(0);
	Oid			owns;

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	if (plan_is_own(request->root, &owns))
		PG_RETURN_POINTER(makeBoolConst(true, false));
	PG_RETURN_POINTER(linitial(request->fcall->args));
}

/* visible(owner, ...) is owns(owner), or else what stands beside narrowed() estimates it. */
Datum
spine_visible_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Oid			owns;

	if (IsA(request, SupportRequestSelectivity))
	{
		((SupportRequestSelectivity *) request)->selectivity = 1.0;
		PG_RETURN_POINTER(request);
	}
	if (IsA(request, SupportRequestSimplify))
	{
		SupportRequestSimplify *simplify = (SupportRequestSimplify *) request;

		if (plan_is_own(simplify->root, &owns))
			PG_RETURN_POINTER(makeFuncExpr(owns, BOOLOID, list_make1(linitial(simplify->fcall->args)),
										   InvalidOid, simplify->fcall->inputcollid, COERCE_EXPLICIT_CALL));
	}
	PG_RETURN_POINTER(NULL);
}

/* Is this, or something that it demands, owns() or visible() of this very column? */
static bool
demands_own(Node *qual, const Var *owner, Oid owns, Oid visible)
{
	ListCell   *cell;
	List	   *parts;

	if (qual == NULL)
		return false;
	if (IsA(qual, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) qual;

		return (call->funcid == owns || call->funcid == visible) &&
			IsA(linitial(call->args), Var) &&
			((Var *) linitial(call->args))->varno == owner->varno &&
			((Var *) linitial(call->args))->varattno == owner->varattno;
	}
	if (IsA(qual, List))
		parts = (List *) qual;
	else if (is_andclause(qual))
		parts = ((BoolExpr *) qual)->args;
	else
		return false;
	foreach(cell, parts)
	{
		if (demands_own(lfirst(cell), owner, owns, visible))
			return true;
	}
	return false;
}

/* permits(owner, ...) is true where the table's policy lets own rows through alone. */
Datum
spine_permits_support(PG_FUNCTION_ARGS)
{
	SupportRequestSimplify *request = (SupportRequestSimplify *) PG_GETARG_POINTER(0);
	const Oid	types[] = {TEXTOID, TEXTARRAYOID, UUIDOID, TEXTOID};
	PlannerInfo *root;
	Var		   *owner;
	Var			of_level;
	RangeTblEntry *table;
	Oid			owns;

	if (!IsA(request, SupportRequestSimplify) || !IsA(linitial(request->fcall->args), Var))
		PG_RETURN_POINTER(NULL);
	owner = (Var *) linitial(request->fcall->args);
	root = request->root;
	for (Index up = owner->varlevelsup; up > 0 && root != NULL; up--)
		root = root->parent_root;
	if (root == NULL || owner->varno < 1 || owner->varno > list_length(root->parse->rtable))
		PG_RETURN_POINTER(NULL);
	table = rt_fetch(owner->varno, root->parse->rtable);
	/* there the column is of the table's own level */
	of_level = *owner;
	if (table->rtekind != RTE_RELATION || table->securityQuals == NIL || !plan_is_own(request->root, &owns) ||
		!demands_own((Node *) table->securityQuals, &of_level, owns, function_of_spine("visible", 4, types)))
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(makeBoolConst(true, false));
}

/* owner = ANY (array) */
static Node *
owner_among(Node *owner, Node *array, Oid operator, Oid collation)
{
	ScalarArrayOpExpr *among = makeNode(ScalarArrayOpExpr);

	among->opno = operator;
	among->opfuncid = get_opcode(operator);
	among->useOr = true;
	among->inputcollid = collation;
	among->args = list_make2(owner, array);
	among->location = -1;
	return (Node *) among;
}

/* owns(owner): how many rows, and how an index finds them */
Datum
spine_owns_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSelectivity))
	{
		SupportRequestSelectivity *wanted = (SupportRequestSelectivity *) request;
		Const	   *own = makeConst(TEXTARRAYOID, -1, DEFAULT_COLLATION_OID, -1,
									PointerGetDatum(DatumGetArrayTypePCopy(spine_caller_get()->readable_array)), false, false);

		wanted->selectivity = clause_selectivity(wanted->root,
												 owner_among(linitial(wanted->args), (Node *) own, TextEqualOperator, C_COLLATION_OID),
												 wanted->varRelid, wanted->jointype, wanted->sjinfo);
		PG_RETURN_POINTER(request);
	}
	if (IsA(request, SupportRequestIndexCondition))
	{
		SupportRequestIndexCondition *wanted = (SupportRequestIndexCondition *) request;
		Oid			mine = function_of_spine("my_organisations", 0, NULL);
		Oid			operator;

		if (!is_funcclause(wanted->node) || wanted->indexarg != 0 ||
			wanted->index->relam != BTREE_AM_OID || !OidIsValid(mine))
			PG_RETURN_POINTER(NULL);
		operator = get_opfamily_member(wanted->opfamily, TEXTOID, TEXTOID, BTEqualStrategyNumber);
		if (!OidIsValid(operator))
			PG_RETURN_POINTER(NULL);
		/* as the scan begins; owns() looks at each row besides */
		wanted->lossy = true;
		PG_RETURN_POINTER(list_make1(owner_among(linitial(((FuncExpr *) wanted->node)->args),
												 (Node *) makeFuncExpr(mine, TEXTARRAYOID, NIL, DEFAULT_COLLATION_OID,
																	   InvalidOid, COERCE_EXPLICIT_CALL),
												 operator, wanted->indexcollation)));
	}
	PG_RETURN_POINTER(NULL);
}
