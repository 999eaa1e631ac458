/*
 * definition.c
 *		The compiled definition of a data set, cached in each backend.
 *
 * A data set is loaded whole from spine.dataset by a few queries on its
 * definition, as it is committed now, whatever the transaction's snapshot. The
 * cache entry is complete before it is linked in, and a relcache callback on
 * spine.dataset or on a group table only marks entries stale; a stale entry is
 * let go at the end of a transaction, because batches may still point to it
 * until then.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "errors.h"
#include "governance/identity.h"
#include "intake/intake.h"
#include "intake/plans.h"
#include "types/shown.h"

const char *const spine_envelope_names[ENV_COLUMNS] = {
	"record_id", "owner", "source_system", "local_record_id", "patient_id", "episode_id",
	"dataset_version", "event_at", "received_at", "revision", "audience"
};

static const Oid envelope_types[ENV_COLUMNS] = {
	UUIDOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID, UUIDOID,
	TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, TEXTARRAYOID
};

static const struct
{
	const char *name;
	SpineItemType type;
}			type_names[] = {
	{"text", ITEM_TEXT}, {"integer", ITEM_INTEGER}, {"numeric", ITEM_NUMERIC},
	{"date", ITEM_DATE}, {"time", ITEM_TIME}, {"timestamp", ITEM_TIMESTAMP},
	{"boolean", ITEM_BOOLEAN}, {"nhs_number", ITEM_NHS_NUMBER},
	{"snomed_code", ITEM_SNOMED_CODE}, {"ods_code", ITEM_ODS_CODE},
	{"gestation", ITEM_GESTATION}
};

static SpineDataset *datasets = NULL;
static Oid	dataset_relid = InvalidOid;
static uint64 changes = 0;		/* how often mark_stale was called */

static void
mark_stale(Datum arg, Oid relid)
{
	changes++;
	for (SpineDataset *dataset = datasets; dataset != NULL; dataset = dataset->next)
	{
		if (relid == InvalidOid || relid == dataset_relid)
			dataset->stale = true;
		for (int i = 0; i < dataset->ngroups && !dataset->stale; i++)
			if (dataset->groups[i].table == relid)
				dataset->stale = true;
	}
}

static void
drop_stale(XactEvent event, void *arg)
{
	SpineDataset **link = &datasets;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (*link != NULL)
	{
		SpineDataset *dataset = *link;

		if (!dataset->stale)
		{
			link = &dataset->next;
			continue;
		}
		*link = dataset->next;
		for (int i = 0; i < dataset->ngroups; i++)
			spine_plans_free(&dataset->groups[i]);
		MemoryContextDelete(dataset->context);
	}
}

/* A column of the present SPI row as a string in the current context, or NULL. */
static char *
column(HeapTuple tuple, int number)
{
	return SPI_getvalue(tuple, SPI_tuptable->tupdesc, number);
}

static char *
column_dup(MemoryContext context, HeapTuple tuple, int number)
{
	char	   *value = column(tuple, number);

	return value == NULL ? NULL : MemoryContextStrdup(context, value);
}

static void
run_query(const char *query, const char *name, const char *version)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		args[2];

	args[0] = CStringGetTextDatum(name);
	args[1] = CStringGetTextDatum(version);
	if (SPI_execute_with_args(query, 2, types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a data-set definition");
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const SpineName *) a)->name, ((const SpineName *) b)->name);
}

/* The item of this name, ours or the NHS's; -1 where there is none. */
int
spine_group_item(const SpineGroup *group, const char *name)
{
	SpineName	key = {name, 0};
	SpineName  *found = bsearch(&key, group->names, group->nnames, sizeof(SpineName), compare_names);

	return found == NULL ? -1 : found->item;
}

SpineGroup *
spine_dataset_group(SpineDataset *dataset, const char *name)
{
	for (int i = 0; i < dataset->ngroups; i++)
		if (strcmp(dataset->groups[i].name, name) == 0)
			return &dataset->groups[i];
	return NULL;
}

static int
item_or_none(const SpineGroup *group, char *name)
{
	return name == NULL ? -1 : spine_group_item(group, name);
}

static void
load_code_lists(SpineDataset *dataset, SpineCodeList **lists, int *nlists)
{
	run_query("SELECT l.key, coalesce(l.value->>'severity', 'warning') = 'record',"
			  "       c.code"
			  "  FROM spine.dataset d, jsonb_each(d.definition->'code_lists') l,"
			  "       LATERAL (SELECT k COLLATE \"C\" AS code FROM jsonb_object_keys(l.value->'codes') k) c"
			  " WHERE d.name = $1 AND d.version = $2"
			  " ORDER BY l.key COLLATE \"C\", 3",
			  dataset->name, dataset->version);
	*lists = MemoryContextAllocZero(dataset->context, sizeof(SpineCodeList) * Max(SPI_processed, 1));
	*nlists = 0;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		char	   *name = column(tuple, 1);
		SpineCodeList *list = *nlists > 0 ? &(*lists)[*nlists - 1] : NULL;

		if (list == NULL || strcmp(list->name, name) != 0)
		{
			list = &(*lists)[(*nlists)++];
			list->name = MemoryContextStrdup(dataset->context, name);
			list->rejects = column(tuple, 2)[0] == 't';
			/* no more codes than rows are left */
			list->codes = MemoryContextAlloc(dataset->context, sizeof(char *) * (SPI_processed - row));
		}
		list->codes[list->ncodes++] = column_dup(dataset->context, tuple, 3);
	}
}

static void
load_groups(SpineDataset *dataset)
{
	run_query("SELECT g->>'name', g->>'subject', g->>'episode',"
			  "       coalesce((d.definition->'episodes'->(g->>'episode')->>'window_days')::int4, 21),"
			  "       coalesce((d.definition->'episodes'->(g->>'episode')->>'open_days')::int4, 300),"
			  "       d.definition->>'header' = g->>'name'"
			  "  FROM spine.dataset d, jsonb_array_elements(d.definition->'groups') WITH ORDINALITY AS e(g, o)"
			  " WHERE d.name = $1 AND d.version = $2 ORDER BY o",
			  dataset->name, dataset->version);
	dataset->ngroups = SPI_processed;
	dataset->groups = MemoryContextAllocZero(dataset->context, sizeof(SpineGroup) * Max(SPI_processed, 1));
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		SpineGroup *group = &dataset->groups[row];
		char	   *header = column(tuple, 6);

		group->dataset = dataset;
		group->ordinal = row;
		group->name = column_dup(dataset->context, tuple, 1);
		group->subject = column_dup(dataset->context, tuple, 2);
		group->has_subject = strcmp(group->subject, "none") != 0;
		group->subject_is_baby = strcmp(group->subject, "baby") == 0;
		group->episode_kind = column_dup(dataset->context, tuple, 3);
		group->episode_window = pg_strtoint32(column(tuple, 4));
		group->episode_open = pg_strtoint32(column(tuple, 5));
		if (header != NULL && header[0] == 't')
			dataset->header = group;
	}
}

static void
load_items(SpineDataset *dataset)
{
	SpineCodeList *lists;
	int			nlists;
	Oid			spine_schema = get_namespace_oid("spine", false);

	load_code_lists(dataset, &lists, &nlists);
	run_query("SELECT g->>'name', i->>'name', i->>'nhs_name', i->>'type', i->>'status',"
			  "       i->>'min_length', i->>'max_length', i->>'min', i->>'max', i->>'codes',"
			  "       jsonb_array_length(g->'items'), coalesce(i->>'column', i->>'name')"
			  "  FROM spine.dataset d, jsonb_array_elements(d.definition->'groups') WITH ORDINALITY AS e(g, o),"
			  "       jsonb_array_elements(g->'items') WITH ORDINALITY AS f(i, p)"
			  " WHERE d.name = $1 AND d.version = $2 ORDER BY o, p",
			  dataset->name, dataset->version);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		SpineGroup *group = spine_dataset_group(dataset, column(tuple, 1));
		int			total = pg_strtoint32(column(tuple, 11));
		char	   *type = column(tuple, 4);
		char	   *min = column(tuple, 8);
		char	   *max = column(tuple, 9);
		char	   *codes = column(tuple, 10);
		SpineItem  *item;

		if (group->items == NULL)
		{
			group->items = MemoryContextAllocZero(dataset->context, sizeof(SpineItem) * total);
			group->names = MemoryContextAllocZero(dataset->context, sizeof(SpineName) * total * 2);
		}
		item = &group->items[group->nitems];
		item->name = column_dup(dataset->context, tuple, 2);
		item->nhs_name = column_dup(dataset->context, tuple, 3);
		item->column = column_dup(dataset->context, tuple, 12);
		for (int i = 0; i < lengthof(type_names); i++)
			if (strcmp(type, type_names[i].name) == 0)
				item->type = type_names[i].type;
		switch (item->type)
		{
			case ITEM_TEXT:
				item->type_oid = TEXTOID;
				break;
			case ITEM_INTEGER:
				item->type_oid = INT4OID;
				break;
			case ITEM_NUMERIC:
				item->type_oid = NUMERICOID;
				break;
			case ITEM_DATE:
				item->type_oid = DATEOID;
				break;
			case ITEM_TIME:
				item->type_oid = TIMEOID;
				break;
			case ITEM_TIMESTAMP:
				item->type_oid = TIMESTAMPTZOID;
				break;
			case ITEM_BOOLEAN:
				item->type_oid = BOOLOID;
				break;
			default:
				item->type_oid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
												 CStringGetDatum(type), ObjectIdGetDatum(spine_schema));
		}
		get_typlenbyval(item->type_oid, &item->type_len, &item->type_by_value);
		item->mandatory = column(tuple, 5)[0] == 'M';
		if (column(tuple, 6) != NULL)
			item->min_length = pg_strtoint32(column(tuple, 6));
		if (column(tuple, 7) != NULL)
			item->max_length = pg_strtoint32(column(tuple, 7));
		item->has_min = min != NULL;
		item->has_max = max != NULL;
		if (item->type == ITEM_DATE)
		{
			if (min != NULL)
				item->min = DatumGetDateADT(DirectFunctionCall1(date_in, CStringGetDatum(min)));
			if (max != NULL)
				item->max = DatumGetDateADT(DirectFunctionCall1(date_in, CStringGetDatum(max)));
		}
		else
		{
			if (min != NULL)
				item->min = strtod(min, NULL);
			if (max != NULL)
				item->max = strtod(max, NULL);
		}
		for (int i = 0; codes != NULL && i < nlists; i++)
			if (strcmp(lists[i].name, codes) == 0)
				item->codes = &lists[i];

		group->names[group->nnames].name = item->name;
		group->names[group->nnames++].item = group->nitems;
		if (item->nhs_name != NULL && strcmp(item->nhs_name, item->name) != 0)
		{
			group->names[group->nnames].name = item->nhs_name;
			group->names[group->nnames++].item = group->nitems;
		}
		group->nitems++;
	}
	for (int i = 0; i < dataset->ngroups; i++)
		qsort(dataset->groups[i].names, dataset->groups[i].nnames, sizeof(SpineName), compare_names);
}

/* The target of these items of a group, made where it is new. */
static int
add_target(SpineGroup *group, const int *items, int nitems)
{
	MemoryContext old;
	SpineTarget *target;

	for (int i = 0; i < group->ntargets; i++)
		if (group->targets[i].nitems == nitems &&
			memcmp(group->targets[i].items, items, sizeof(int) * nitems) == 0)
			return i;
	old = MemoryContextSwitchTo(group->dataset->context);
	if (group->targets == NULL)
		group->targets = palloc(sizeof(SpineTarget));
	else
		group->targets = repalloc(group->targets, sizeof(SpineTarget) * (group->ntargets + 1));
	target = &group->targets[group->ntargets];
	memset(target, 0, sizeof(*target));
	target->nitems = nitems;
	target->items = palloc(sizeof(int) * Max(nitems, 1));
	memcpy(target->items, items, sizeof(int) * nitems);
	MemoryContextSwitchTo(old);
	return group->ntargets++;
}

/* What an item is for: identifiers, keys, dates, anchors. */
static void
load_item_roles(SpineDataset *dataset)
{
	run_query("SELECT g->>'name', g->>'local_patient_id', g->>'nhs_number', g->>'local_episode_id',"
			  "       g->'parent'->>'item', g->'parent'->>'group',"
			  "       (SELECT string_agg(concat(x.body->>'date', '+', x.body->>'time'), ',' ORDER BY n)"
			  "          FROM spine.one_or_list('', g->'event') WITH ORDINALITY AS x(p, body, n)),"
			  "       (SELECT string_agg(k, ',' ORDER BY n) FROM jsonb_array_elements_text(g->'key') WITH ORDINALITY AS x(k, n)),"
			  "       (SELECT string_agg(concat(a->>'item', '+', coalesce(a->>'days', '0')), ',' ORDER BY n)"
			  "          FROM spine.one_or_list('', g->'anchor') WITH ORDINALITY AS y(p, a, n))"
			  "  FROM spine.dataset d, jsonb_array_elements(d.definition->'groups') WITH ORDINALITY AS e(g, o)"
			  " WHERE d.name = $1 AND d.version = $2 ORDER BY o",
			  dataset->name, dataset->version);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		SpineGroup *group = &dataset->groups[row];
		char	   *parent = column(tuple, 6);
		char	   *events = column(tuple, 7);
		char	   *keys = column(tuple, 8);
		char	   *anchors = column(tuple, 9);
		char	   *rest;

		group->patient_item = item_or_none(group, column(tuple, 2));
		group->nhs_number_item = item_or_none(group, column(tuple, 3));
		group->episode_item = item_or_none(group, column(tuple, 4));
		group->parent_item = item_or_none(group, column(tuple, 5));
		if (group->parent_item >= 0)
		{
			group->parent = spine_dataset_group(dataset, parent);
			group->parent->is_parent = true;
		}
		group->keys = MemoryContextAlloc(dataset->context, sizeof(int) * (group->nitems + 1));
		for (char *key = keys ? strtok_r(keys, ",", &rest) : NULL; key; key = strtok_r(NULL, ",", &rest))
			group->keys[group->nkeys++] = spine_group_item(group, key);
		group->events = MemoryContextAlloc(dataset->context, sizeof(SpineEvent) * (group->nitems + 1));
		for (char *part = events ? strtok_r(events, ",", &rest) : NULL; part; part = strtok_r(NULL, ",", &rest))
		{
			char	   *plus = strchr(part, '+');

			*plus = '\0';
			group->events[group->nevents].date_item = spine_group_item(group, part);
			group->events[group->nevents++].time_item = plus[1] == '\0' ? -1 : spine_group_item(group, plus + 1);
		}
		group->anchors = MemoryContextAlloc(dataset->context, sizeof(SpineAnchor) * (group->nitems + 1));
		for (char *part = anchors ? strtok_r(anchors, ",", &rest) : NULL; part; part = strtok_r(NULL, ",", &rest))
		{
			char	   *plus = strchr(part, '+');

			*plus = '\0';
			group->anchors[group->nanchors].item = spine_group_item(group, part);
			group->anchors[group->nanchors++].days = atoi(plus + 1);
		}
	}
	for (int i = 0; i < dataset->ngroups; i++)
	{
		SpineGroup *group = &dataset->groups[i];

		if (group->parent != NULL)
			group->parent_target = add_target(group->parent, group->parent->keys, 1);
	}
	for (int i = 0; i < dataset->ngroups; i++)
	{
		SpineGroup *group = &dataset->groups[i];

		if (group->patient_item >= 0)
			group->items[group->patient_item].from_envelope = true;
		if (group->nhs_number_item >= 0)
			group->items[group->nhs_number_item].from_envelope = true;
		if (group->episode_item >= 0)
			group->items[group->episode_item].from_envelope = true;
	}
}

/* Items named in a list with commas between them. */
static int
load_names(const SpineGroup *group, char *names, int **items)
{
	int			n = 0;
	char	   *rest;

	if (names == NULL)
		return 0;
	*items = MemoryContextAlloc(group->dataset->context, sizeof(int) * group->nitems);
	for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
		(*items)[n++] = spine_group_item(group, name);
	return n;
}

/* What a rule that looks at other records looks at. */
static void
load_set_rule(SpineGroup *group, SpineRule *rule, HeapTuple tuple)
{
	char	   *other = column(tuple, 10);
	int		   *wanted;
	int			nwanted;

	group->has_set_rules = true;
	if (rule->kind == RULE_RELATED || rule->when != NULL)
		group->set_rules_may_raise = true;
	if (rule->severity == SEVERITY_FILE)
		group->dataset->may_refuse_late = true;
	if (rule->kind == RULE_UNIQUE)
	{
		rule->nitems = load_names(group, column(tuple, 18), &rule->items);
		return;
	}
	rule->other = spine_dataset_group(group->dataset, other);
	rule->nitems = load_names(group, column(tuple, 11), &rule->items);
	nwanted = load_names(rule->other, column(tuple, 12), &wanted);
	rule->target = add_target(rule->other, wanted, nwanted);
	if (rule->kind == RULE_EXISTS)
	{
		rule->forward = rule->other->ordinal >= group->ordinal;
		if (rule->forward)
			rule->other->targets[rule->target].forward = true;
		/* at a view a forward rule warns, whatever its severity */
		if (rule->severity == SEVERITY_WARNING || rule->forward)
			rule->other->targets[rule->target].awaited = true;
	}
}

static void
load_rules(SpineDataset *dataset)
{
	static const char *const kinds[] = {
		[RULE_EXPRESSION] = "expression",[RULE_RELATED] = "related",[RULE_EXISTS] = "exists",
		[RULE_UNIQUE] = "unique",[RULE_ORGANISATION] = "organisation",[RULE_OWN_CODE] = "own_code",
		[RULE_COUNT] = "count",[RULE_FAILURES] = "failures"
	};

	run_query("SELECT g->>'name', r->>'id', r->>'severity', r->'items'->>0, r->>'message', r->>'expression',"
			  "       jsonb_array_length(g->'rules'), coalesce(r->>'kind', 'expression'), r->>'when', r->>'group',"
			  "       (SELECT string_agg(m.key, ',' ORDER BY m.key COLLATE \"C\") FROM jsonb_each_text(r->'match') m),"
			  "       (SELECT string_agg(m.value, ',' ORDER BY m.key COLLATE \"C\") FROM jsonb_each_text(r->'match') m),"
			  "       r->>'at', r->>'known', (SELECT string_agg(c, E'\\n') FROM jsonb_array_elements_text(r->'except') c),"
			  "       coalesce(r->>'min', '-1'), coalesce(r->>'max', '-1'),"
			  "       (SELECT string_agg(i, ',') FROM jsonb_array_elements_text(r->'items') i), coalesce(r->>'max_percent', '100')"
			  "  FROM spine.dataset d, jsonb_array_elements(d.definition->'groups') WITH ORDINALITY AS e(g, o),"
			  "       jsonb_array_elements(g->'rules') WITH ORDINALITY AS f(r, p)"
			  " WHERE d.name = $1 AND d.version = $2 ORDER BY o, p",
			  dataset->name, dataset->version);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		SpineGroup *group = spine_dataset_group(dataset, column(tuple, 1));
		char	   *severity = column(tuple, 3);
		char	   *kind = column(tuple, 8);
		char	   *at = column(tuple, 13);
		char	   *known = column(tuple, 14);
		char	   *except = column_dup(dataset->context, tuple, 15);
		char	   *rest;
		SpineRule  *rule;

		if (group->rules == NULL)
			group->rules = MemoryContextAllocZero(dataset->context,
												  sizeof(SpineRule) * pg_strtoint32(column(tuple, 7)));
		rule = &group->rules[group->nrules++];
		rule->id = column_dup(dataset->context, tuple, 2);
		rule->severity = severity[0] == 'w' ? SEVERITY_WARNING : severity[0] == 'r' ? SEVERITY_RECORD :
			severity[0] == 'g' ? SEVERITY_GROUP : SEVERITY_FILE;
		rule->item = column_dup(dataset->context, tuple, 4);
		rule->message = column_dup(dataset->context, tuple, 5);
		rule->expression = column_dup(dataset->context, tuple, 6);
		rule->when = column_dup(dataset->context, tuple, 9);
		for (int i = 0; i < lengthof(kinds); i++)
			if (strcmp(kind, kinds[i]) == 0)
				rule->kind = (SpineRuleKind) i;
		rule->at_item = at == NULL ? -1 : spine_group_item(group, at);
		rule->known = known != NULL && known[0] == 't';
		rule->min = pg_strtoint32(column(tuple, 16));
		rule->max = pg_strtoint32(column(tuple, 17));
		rule->max_percent = strtod(column(tuple, 19), NULL);
		if (except != NULL)
		{
			rule->except = MemoryContextAlloc(dataset->context, sizeof(char *) * (strlen(except) + 1));
			for (char *code = strtok_r(except, "\n", &rest); code; code = strtok_r(NULL, "\n", &rest))
				rule->except[rule->nexcept++] = code;
		}
		group->has_expressions |= rule->kind == RULE_EXPRESSION;
		if (rule->kind == RULE_RELATED || rule->kind == RULE_EXISTS || rule->kind == RULE_UNIQUE)
			load_set_rule(group, rule, tuple);
		else if (rule->kind == RULE_ORGANISATION || rule->kind == RULE_OWN_CODE)
			rule->nitems = load_names(group, pstrdup(rule->item), &rule->items);
	}

	/*
	 * what belongs to nobody and asks about no other record is rejected before anything is
	 * stored, or never
	 */
	for (int i = 0; i < dataset->ngroups; i++)
	{
		SpineGroup *group = &dataset->groups[i];

		for (int r = 0; r < group->nrules; r++)
			if (group->rules[r].kind == RULE_FAILURES &&
				(group->has_subject || group->parent != NULL || group->has_set_rules))
				dataset->may_refuse_late = true;
	}
}

/* The record's tuple descriptor and where its columns are in the group's table. */
static void
load_table(SpineGroup *group)
{
	MemoryContext old = MemoryContextSwitchTo(group->dataset->context);
	int			natts = ENV_COLUMNS + group->nitems;
	Oid			schema = get_namespace_oid(group->dataset->name, false);
	Relation	table;

	group->desc = CreateTemplateTupleDesc(natts);
	for (int i = 0; i < ENV_COLUMNS; i++)
		TupleDescInitEntry(group->desc, i + 1, spine_envelope_names[i], envelope_types[i], -1, 0);
	for (int i = 0; i < group->nitems; i++)
		TupleDescInitEntry(group->desc, ENV_COLUMNS + i + 1, group->items[i].name,
						   group->items[i].type_oid, -1, 0);
	group->desc = BlessTupleDesc(group->desc);

	group->table = get_relname_relid(group->name, schema);
	table = table_open(group->table, AccessShareLock);
	group->table_attnums = palloc(sizeof(AttrNumber) * natts);
	for (int i = 0; i < natts; i++)
	{
		const char *name = i < ENV_COLUMNS ? spine_envelope_names[i] : group->items[i - ENV_COLUMNS].column;

		group->table_attnums[i] = get_attnum(group->table, name);
		if (group->table_attnums[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s.%s\" is missing",
							name, group->dataset->name, group->name),
					 errhint("The table was changed by hand. Restore the column, or publish the data set again into a new store.")));
	}
	table_close(table, NoLock);
	MemoryContextSwitchTo(old);
}

/* Reads the definition; NULL where no such version is published. */
static SpineDataset *
load_dataset(const char *name, const char *version)
{
	SpineOwnerScope scope;
	SpineDataset *dataset;
	MemoryContext context;
	bool		published;
	bool		isnull;
	Datum		retired_on;

	context = AllocSetContextCreate(CurrentMemoryContext, "spine data set", ALLOCSET_DEFAULT_SIZES);
	dataset = MemoryContextAllocZero(context, sizeof(SpineDataset));
	dataset->context = context;
	dataset->name = MemoryContextStrdup(context, name);
	dataset->version = MemoryContextStrdup(context, version);

	PushActiveSnapshot(GetLatestSnapshot());
	spine_owner_enter(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	dataset_relid = get_relname_relid("dataset", get_namespace_oid("spine", false));
	if (!OidIsValid(dataset_relid))
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_NOT_SET_UP),
				 errmsg("this database has no store"),
				 errhint("Run SELECT spine.create_store('...') with the ODS code of your organisation.")));

	run_query("SELECT retired_on FROM spine.dataset WHERE name = $1 AND version = $2",
			  name, version);
	published = SPI_processed > 0;
	if (published)
	{
		retired_on = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		dataset->retires = !isnull;
		if (!isnull)
			dataset->retired_on = DatumGetDateADT(retired_on);

		load_groups(dataset);
		load_items(dataset);
		load_item_roles(dataset);
		load_rules(dataset);
		for (int i = 0; i < dataset->ngroups; i++)
			load_table(&dataset->groups[i]);
	}
	SPI_finish();
	spine_owner_leave(&scope);
	PopActiveSnapshot();
	if (!published)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	return dataset;
}

/* What may be sent instead, as a sentence. */
static char *
accepted_instead(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	SpineOwnerScope scope;
	Oid			types[1] = {TEXTOID};
	Datum		args[1];
	char	   *versions;
	char	   *sentence;

	PushActiveSnapshot(GetLatestSnapshot());
	spine_owner_enter(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	args[0] = CStringGetTextDatum(name);
	if (SPI_execute_with_args("SELECT string_agg(d.version, ' or ' ORDER BY string_to_array(d.version, '.')::int4[] DESC)"
							  "  FROM spine.dataset d WHERE d.name = $1 AND (d.retired_on IS NULL OR d.retired_on > CURRENT_DATE)",
							  1, types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the accepted versions");
	versions = column(SPI_tuptable->vals[0], 1);
	MemoryContextSwitchTo(context);
	sentence = versions == NULL ? pstrdup("See spine.datasets for what this node accepts.") :
		psprintf("Send version %s of %s; spine.accepted_versions() tells until when.", versions, name);
	SPI_finish();
	spine_owner_leave(&scope);
	PopActiveSnapshot();
	return sentence;
}

/* The cached data set, or NULL. */
static SpineDataset *
find_dataset(const char *name, const char *version)
{
	for (SpineDataset *dataset = datasets; dataset != NULL; dataset = dataset->next)
		if (!dataset->stale && strcmp(dataset->name, name) == 0 && strcmp(dataset->version, version) == 0)
			return dataset;
	return NULL;
}

/* The data set, retired or not; NULL where no such version is published. */
static SpineDataset *
get_published(const char *name, const char *version)
{
	static bool registered = false;
	SpineDataset *dataset;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(mark_stale, (Datum) 0);
		RegisterXactCallback(drop_stale, NULL);
		registered = true;
	}
	AcceptInvalidationMessages();
	dataset = find_dataset(name, version);
	if (dataset == NULL)
	{
		uint64		before = changes;

		dataset = load_dataset(name, version);
		if (dataset == NULL)
			return NULL;
		/* what changed meanwhile may be missing: good for this transaction alone */
		dataset->stale = changes != before;
		MemoryContextSetParent(dataset->context, CacheMemoryContext);
		dataset->next = datasets;
		datasets = dataset;
	}
	return dataset;
}

/* its day may come while it is cached */
static bool
is_retired(const SpineDataset *dataset)
{
	return dataset->retires && dataset->retired_on <= GetSQLCurrentDate();
}

/* Raises SP003 where no such version is accepted. */
SpineDataset *
spine_dataset_get(const char *name, const char *version)
{
	SpineDataset *dataset = get_published(name, version);

	if (dataset == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_UNKNOWN_DATASET),
				 errmsg("data set \"%s\" version \"%s\" is not published here",
						spine_shown(name, strlen(name)), spine_shown(version, strlen(version))),
				 errhint("%s", accepted_instead(name))));
	if (is_retired(dataset))
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_UNKNOWN_DATASET),
				 errmsg("data set \"%s\" version \"%s\" is no longer accepted, since %s",
						name, version, spine_value_text(ITEM_DATE, DateADTGetDatum(dataset->retired_on))),
				 errhint("%s", accepted_instead(name))));
	return dataset;
}

/* The same for a door that does not raise: NULL, and in *why_not what to do. */
SpineDataset *
spine_dataset_find(const char *name, const char *version, char **why_not)
{
	SpineDataset *dataset = get_published(name, version);

	if (dataset != NULL && !is_retired(dataset))
		return dataset;
	if (dataset == NULL)
		*why_not = psprintf("no such data set and version is published here. %s", accepted_instead(name));
	else
		*why_not = psprintf("this version is no longer accepted, since %s. %s",
							spine_value_text(ITEM_DATE, DateADTGetDatum(dataset->retired_on)),
							accepted_instead(name));
	return NULL;
}

/* A name in a rule is an item of the group: a column of the record; with "header" before it, one of the header. */
static Node *
rule_column(ParseState *pstate, ColumnRef *reference, Node *var)
{
	SpineGroup *group = pstate->p_ref_hook_state;
	int			varno = 1;
	int			item;

	if (var != NULL || list_length(reference->fields) > 2 || !IsA(llast(reference->fields), String))
		return NULL;
	if (list_length(reference->fields) == 2)
	{
		if (strcmp(strVal(linitial(reference->fields)), "header") != 0)
			return NULL;
		group = group->dataset->header;
		varno = INNER_VAR;
	}
	item = group == NULL ? -1 : spine_group_item(group, strVal(llast(reference->fields)));
	if (item < 0)
		return NULL;
	return (Node *) makeVar(varno, ENV_COLUMNS + item + 1, group->items[item].type_oid, -1,
							group->items[item].type == ITEM_TEXT ? DEFAULT_COLLATION_OID : InvalidOid, 0);
}

/*
 * Compiles a rule's expression, or of which records it is asked, as
 * PostgreSQL compiles the CHECK constraints of a table: no subqueries, no
 * aggregates, names resolved in pg_catalog and spine alone. May raise: what is
 * constant in an expression is worked out here.
 */
void
spine_rule_compile(SpineGroup *group, SpineRule *rule)
{
	const char *text = rule->kind == RULE_EXPRESSION ? rule->expression : rule->when;

	/* a subtransaction that fails takes it along */
	MemoryContext work = AllocSetContextCreate(CurTransactionContext, "spine rule", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(work);
	MemoryContext kept;
	ParseState *pstate = make_parsestate(NULL);
	int			guc_level = spine_rules_enter();
	List	   *parsed;
	SelectStmt *select;
	Node	   *expression;
	Expr	   *planned;

	parsed = raw_parser(psprintf("SELECT (%s)", text), RAW_PARSE_DEFAULT);
	select = castNode(SelectStmt, linitial_node(RawStmt, parsed)->stmt);
	pstate->p_post_columnref_hook = rule_column;
	pstate->p_ref_hook_state = group;
	expression = transformExpr(pstate, linitial_node(ResTarget, select->targetList)->val,
							   EXPR_KIND_CHECK_CONSTRAINT);
	expression = coerce_to_boolean(pstate, expression, "rule");
	assign_expr_collations(pstate, expression);
	planned = expression_planner((Expr *) expression);

	if (contain_mutable_functions((Node *) planned))
		group->rules_depend = true;

	MemoryContextSwitchTo(group->dataset->context);
	if (group->econtext == NULL)
	{
		group->slot = MakeSingleTupleTableSlot(group->desc, &TTSOpsVirtual);
		if (group->dataset->header != NULL)
		{
			group->header_slot = MakeSingleTupleTableSlot(group->dataset->header->desc, &TTSOpsVirtual);
			group->no_header_slot = MakeSingleTupleTableSlot(group->dataset->header->desc, &TTSOpsVirtual);
			ExecStoreAllNullTuple(group->no_header_slot);
		}
		group->econtext = CreateStandaloneExprContext();
	}

	/*
	 * this raises where the caller may not call a function: the data set must not grow by each
	 * try
	 */
	kept = AllocSetContextCreate(work, "spine rule", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(kept);
	rule->state = ExecInitExpr(copyObject(planned), NULL);
	MemoryContextSetParent(kept, group->dataset->context);
	MemoryContextSwitchTo(old);
	AtEOXact_GUC(true, guc_level);
	MemoryContextDelete(work);
}
