/*
 * utility.c
 *		Statements that members of a node may not run, though PostgreSQL lets
 *		anybody run them: EXPLAIN, which counts and estimates rows that a policy
 *		hides; LOCK TABLE on what is the store's; PREPARE TRANSACTION, which keeps
 *		its locks when its session is gone.
 *
 * A role is bound that has the privileges of one of spine's group roles. Free are
 * superusers and who has the privileges of spine_owner: they read the tables
 * anyway. Who is neither is left alone, but for a statement that reaches a
 * relation of the store: a member may have lent it a view. As with rows, the role
 * outside every security-definer function is asked, and the current one besides,
 * so that neither hides behind the other. Nothing of this holds in a database
 * without a store.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/prepare.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "governance.h"
#include "utility.h"

static const char *const group_roles[] = {
	"spine_member", "spine_supplier", "spine_governor", "spine_operator", "spine_neighbour", "spine_portal"
};

static ProcessUtility_hook_type next_utility = NULL;
static planner_hook_type next_planner = NULL;
static int	planning = 0;


/* ---------------------------------------------------------------- who */

static bool
has_privileges_of(Oid role, const char *of)
{
	Oid			group = get_role_oid(of, true);

	return OidIsValid(group) && has_privs_of_role(role, group);
}

static bool
is_free(Oid role)
{
	return superuser_arg(role) || has_privileges_of(role, "spine_owner");
}

static bool
is_bound(Oid role)
{
	if (is_free(role))
		return false;
	for (int i = 0; i < lengthof(group_roles); i++)
		if (has_privileges_of(role, group_roles[i]))
			return true;
	return false;
}

static bool
caller_is_free(void)
{
	return is_free(GetOuterUserId()) && is_free(GetUserId());
}

static bool
caller_is_bound(void)
{
	return is_bound(GetOuterUserId()) || is_bound(GetUserId());
}


/* ---------------------------------------------------------------- what a statement reaches */

static bool
is_of_store(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return false;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner == get_role_oid("spine_owner", true) || owner == get_role_oid("spine_reader", true);
}

/* Is there a relation of the store in this tree, or below a view in it? */
static bool
reaches_store(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		/* its subquery, functions and conditions are walked next */
		return entry->rtekind == RTE_RELATION && is_of_store(entry->relid);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reaches_store, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reaches_store, context);
}

static bool
any_reaches_store(List *queries)
{
	ListCell   *cell;

	foreach(cell, queries)
	{
		if (reaches_store((Node *) lfirst(cell), NULL))
			return true;
	}
	return false;
}

/* The statement that EXPLAIN is asked about, before it is rewritten. */
static bool
explained_reaches_store(Query *query)
{
	Node	   *utility = query->utilityStmt;

	if (query->commandType != CMD_UTILITY)
		return any_reaches_store(QueryRewrite(copyObject(query)));
	if (IsA(utility, CreateTableAsStmt))
		return explained_reaches_store(castNode(Query, ((CreateTableAsStmt *) utility)->query));
	if (IsA(utility, DeclareCursorStmt))
		return explained_reaches_store(castNode(Query, ((DeclareCursorStmt *) utility)->query));
	if (IsA(utility, ExecuteStmt))
	{
		PreparedStatement *prepared = FetchPreparedStatement(((ExecuteStmt *) utility)->name, false);

		return prepared != NULL && any_reaches_store(prepared->plansource->query_list);
	}
	return false;
}

static bool
relation_reaches_store(Oid relid)
{
	bool		reaches = is_of_store(relid);

	if (!reaches && get_rel_relkind(relid) == RELKIND_VIEW)
	{
		Relation	view = relation_open(relid, AccessShareLock);

		reaches = explained_reaches_store(get_view_query(view));
		relation_close(view, AccessShareLock);
	}
	return reaches;
}


/* ---------------------------------------------------------------- refusals */

static void
refuse_explain(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s is not allowed to members of this node", what),
			 errdetail("A plan counts and estimates rows that the reader may not see."),
			 errhint("The database administrator can explain the statement, or log its plan with auto_explain.")));
}

static void
check_explain(ExplainStmt *stmt)
{
	if (caller_is_free())
		return;
	if (caller_is_bound() || explained_reaches_store(castNode(Query, stmt->query)))
		refuse_explain("EXPLAIN");
}

static void
check_lock(LockStmt *stmt)
{
	ListCell   *cell;

	/* spine's own functions lock as spine_owner, whoever calls them */
	if (is_free(GetUserId()))
		return;
	foreach(cell, stmt->relations)
	{
		RangeVar   *relation = lfirst_node(RangeVar, cell);
		Oid			relid = RangeVarGetRelid(relation, NoLock, true);

		if (OidIsValid(relid) && relation_reaches_store(relid))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("LOCK TABLE is not allowed on \"%s\"", relation->relname),
					 errdetail("It would hold up the statements of other organisations."),
					 errhint("No lock is needed: a statement at a view of spine is checked and applied whole.")));
	}
}

static void
check_transaction(TransactionStmt *stmt)
{
	if (stmt->kind == TRANS_STMT_PREPARE && caller_is_bound())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("PREPARE TRANSACTION is not allowed to members of this node"),
				 errdetail("A prepared transaction keeps its locks when its session is gone."),
				 errhint("Use COMMIT. What is sent again under the same local_record_id is taken once.")));
}


/* ---------------------------------------------------------------- hooks */

static void
guard_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *stmt = pstmt->utilityStmt;

	/* what ends a failed transaction cannot look at a catalogue: its kind is asked first */
	switch (nodeTag(stmt))
	{
		case T_ExplainStmt:
			if (spine_governance_has_store())
				check_explain((ExplainStmt *) stmt);
			break;
		case T_LockStmt:
			if (spine_governance_has_store())
				check_lock((LockStmt *) stmt);
			break;
		case T_TransactionStmt:
			if (((TransactionStmt *) stmt)->kind == TRANS_STMT_PREPARE &&
				IsTransactionState() && spine_governance_has_store())
				check_transaction((TransactionStmt *) stmt);
			break;
		default:
			break;
	}

	if (next_utility)
		next_utility(pstmt, query_string, read_only_tree, context, params, query_env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context, params, query_env, dest, completion);
}

/*
 * debug_print_plan, which anybody may set, sends the plan with its estimates to who lowers
 * client_min_messages. Asked when the plan is made: a function that the planner runs may set it.
 */
static PlannedStmt *
guard_planner(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	PlannedStmt *plan;

	planning++;
	PG_TRY();
	{
		if (next_planner)
			plan = next_planner(parse, query_string, cursor_options, params);
		else
			plan = standard_planner(parse, query_string, cursor_options, params);
	}
	PG_FINALLY();
	{
		planning--;
	}
	PG_END_TRY();

	if (Debug_print_plan && client_min_messages <= LOG &&
		!caller_is_free() && spine_governance_has_store() &&
		(caller_is_bound() || range_table_walker(plan->rtable, reaches_store, NULL, QTW_EXAMINE_RTES_BEFORE)))
		refuse_explain("debug_print_plan");
	return plan;
}

bool
spine_utility_is_planning(void)
{
	return planning > 0;
}

void
spine_utility_guard(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = guard_utility;
	next_planner = planner_hook;
	planner_hook = guard_planner;
}
