/*
 * submission.c
 *		A submission at a tolerant door: documents, the inbox, what is run again.
 *
 * Records are judged one by one as they come. Those that pass wait in a
 * tuplestore for each group until all have come; then the groups are stored in
 * the order of the definition, so that a parent is there before its children
 * wherever they stood. Of a record that is rejected with severity group, the
 * keys by which others name it are remembered, and those that do are told.
 * Where a rule of severity file breaks, every record is rejected; if that shows
 * only while storing, what was stored is undone by a subtransaction.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "compat.h"
#include "governance/identity.h"
#include "intake/door.h"
#include "intake/plans.h"
#include "intake/submission.h"
#include "intake/subtransaction.h"

#define STAGE_KILOBYTES		1024	/* of memory for each group's waiting records */
#define REJECTIONS_KEPT		500 /* before they are written */
#define LOCAL_ID_BYTES		2000	/* of a local_record_id: 500 characters */
#define REJECTIONS_BYTES	(1024 * 1024)	/* likewise */

const char *const spine_outcome_names[] = {
	"accepted", "accepted_with_warnings", "unchanged", "rejected"
};

static const char *const door_names[] = {"view", "submit", "inbox", "resubmit"};

/* what waits beside a record's own columns */
typedef enum StagedColumn
{
	STAGED_N,
	STAGED_RAW,
	STAGED_FINDINGS,
	STAGED_NHS_NUMBER,
	STAGED_LOCAL_PATIENT,
	STAGED_LOCAL_EPISODE,
	STAGED_LOCAL_RECORD,
	STAGED_PARENT,
	STAGED_ANCHOR,
	STAGED_NOT_AFTER,
	STAGED_COLUMNS
} StagedColumn;

/* The records of one group. */
typedef struct Stage
{
	SpineGroup *group;
	TupleDesc	desc;
	Tuplestorestate *rows;		/* NULL until there is one */
	int64		given;			/* records of the group in the submission */
	int64		rejected;
} Stage;

/* The part of a submission that is of one data set; a document has one. */
typedef struct Part
{
	SpineDataset *dataset;
	Stage	   *stages;
	Datum	   *header_values;
	bool	   *header_nulls;
} Part;

typedef struct Rejections
{
	int			n;
	Size		bytes;
	Datum	   *places;
	Datum	   *datasets;
	Datum	   *versions;
	Datum	   *groups;
	Datum	   *ids;
	Datum	   *texts;
	Datum	   *findings;
	bool	   *no_dataset;
	bool	   *no_group;
	bool	   *no_id;
	MemoryContext context;
} Rejections;

struct SpineSubmission
{
	SpineSubmissionEntry entry;
	bool		dry;
	SpineSubmissionDoor door;
	MemoryContext context;
	MemoryContext record_context;	/* reset after each record */
	List	   *parts;
	int64		nstaged;
	char	   *unknown[3];		/* the last data set and version that is not accepted, and why not */
	SpineKeySet *rejected;		/* keys of records whose children are rejected; NULL: none */
	SpineKeySet *expected;		/* keys of records that rules of earlier groups ask for */
	const SpineRule *refused;	/* the rule that refuses the submission */
	HTAB	   *own_findings;	/* of records rejected while that may still be undone */
	Rejections	rejections;
};

typedef struct OwnFindings
{
	int64		n;
	Datum		packed;
} OwnFindings;

static SPIPlanPtr plan_rejections = NULL;

/* a plan that names a month's table */
static SPIPlanPtr plan_lines = NULL;
static Oid	plan_lines_table = InvalidOid;

/*
 * The table that takes rows of spine.submission and its like in this
 * transaction: the month's partition, written directly, which saves the
 * routing; the default one where that is missing.
 */
static Oid
month_table(const char *name)
{
	Oid			schema = get_namespace_oid("spine", false);
	struct pg_tm tm;
	fsec_t		fraction;
	Oid			table;

	if (timestamp2tm(GetCurrentTransactionStartTimestamp(), NULL, &tm, &fraction, NULL, NULL) != 0)
		elog(ERROR, "the time is out of range");
	table = get_relname_relid(psprintf("%s_%04d_%02d", name, tm.tm_year, tm.tm_mon), schema);
	if (!OidIsValid(table))
		table = get_relname_relid(psprintf("%s_default", name), schema);
	if (!OidIsValid(table))
		elog(ERROR, "table \"spine.%s\" has no partition for this month", name);
	return table;
}

/* Values of a row by column name; what is not named is NULL. */
typedef struct Cell
{
	const char *name;
	Datum		value;
	bool		isnull;
} Cell;

/* One row of a table without triggers, written past the planner and the executor's start. */
static void
insert_row(Oid relid, const Cell *cells, int ncells)
{
	Relation	table = table_open(relid, RowExclusiveLock);
	TupleDesc	desc = RelationGetDescr(table);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *result = makeNode(ResultRelInfo);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);

	InitResultRelInfo(result, table, 0, NULL, 0);
	ExecOpenIndices(result, false);
	memset(slot->tts_isnull, true, desc->natts);
	for (int i = 0; i < ncells; i++)
	{
		AttrNumber	column = get_attnum(relid, cells[i].name);

		if (column == InvalidAttrNumber)
			elog(ERROR, "table \"%s\" lacks column \"%s\"", RelationGetRelationName(table), cells[i].name);
		slot->tts_values[column - 1] = cells[i].value;
		slot->tts_isnull[column - 1] = cells[i].isnull;
	}
	ExecStoreVirtualTuple(slot);
	ExecSimpleRelationInsert(result, estate, slot);
	ExecCloseIndices(result);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	table_close(table, NoLock);
	CommandCounterIncrement();
}

static Cell
text_cell(const char *name, const char *string)
{
	Cell		cell = {.name = name, .isnull = string == NULL};

	if (string != NULL)
		cell.value = CStringGetTextDatum(string);
	return cell;
}

static Cell
cell(const char *name, Datum value)
{
	Cell		cell = {.name = name, .value = value};

	return cell;
}

void
spine_submission_record(const SpineSubmissionEntry *entry, text *raw)
{
	int64		records = 0;

	for (int i = OUTCOME_ACCEPTED; i <= OUTCOME_REJECTED; i++)
		records += entry->counts[i];
	{
		Cell		cells[] = {
			cell("submission_id", UUIDPGetDatum(&entry->id)),
			text_cell("owner", entry->owner),
			text_cell("source_system", entry->source_system),
			cell("role_name", CStringGetDatum(entry->role_name)),
			text_cell("door", door_names[entry->door]),
			text_cell("dataset", entry->dataset),
			text_cell("version", entry->version),
			text_cell("data_group", entry->data_group),
			cell("at", TimestampTzGetDatum(GetCurrentTransactionStartTimestamp())),
			cell("records", Int64GetDatum(records)),
			cell("accepted", Int64GetDatum(entry->counts[OUTCOME_ACCEPTED])),
			cell("accepted_with_warnings", Int64GetDatum(entry->counts[OUTCOME_ACCEPTED_WITH_WARNINGS])),
			cell("unchanged", Int64GetDatum(entry->counts[OUTCOME_UNCHANGED])),
			cell("rejected", Int64GetDatum(entry->counts[OUTCOME_REJECTED])),
			cell("deleted", Int64GetDatum(entry->deleted)),
			text_cell("refused", entry->refused)
		};

		insert_row(month_table("submission"), cells, lengthof(cells));
	}
	if (raw != NULL)
		spine_submission_keep_lines(entry, 1, raw);
}

void
spine_submission_keep_lines(const SpineSubmissionEntry *entry, int64 first_n, text *lines)
{
	Cell		cells[] = {
		cell("submission_id", UUIDPGetDatum(&entry->id)),
		cell("at", TimestampTzGetDatum(GetCurrentTransactionStartTimestamp())),
		cell("first_n", Int64GetDatum(first_n)),
		cell("content", PointerGetDatum(lines))
	};

	insert_row(month_table("raw_submission"), cells, lengthof(cells));
}

static void
begin_writing(SpineOwnerScope *scope)
{
	spine_owner_enter(scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

static void
end_writing(SpineOwnerScope *scope)
{
	SPI_finish();
	spine_owner_leave(scope);
}

void
spine_submission_keep_outcomes(const SpineSubmissionEntry *entry, const SpineLineOutcomes *outcomes)
{
	static const Oid types[8] = {UUIDOID, TEXTOID, TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID, JSONBARRAYOID};
	Oid			table = month_table("inbox_line");
	SpineOwnerScope scope;
	Datum		args[8];
	int			n = outcomes->n;

	if (table != plan_lines_table && plan_lines != NULL)
	{
		SPI_freeplan(plan_lines);
		plan_lines = NULL;
	}
	plan_lines_table = table;
	args[0] = UUIDPGetDatum(&entry->id);
	args[1] = CStringGetTextDatum(entry->owner);
	args[2] = CStringGetTextDatum(entry->source_system);
	args[3] = spine_array(outcomes->lines, n, INT8OID);
	args[4] = spine_array(outcomes->outcomes, n, TEXTOID);
	args[5] = spine_array_with_nulls(outcomes->groups, outcomes->no_group, n, TEXTOID);
	args[6] = spine_array_with_nulls(outcomes->records, outcomes->no_record, n, UUIDOID);
	args[7] = spine_array(outcomes->findings, n, JSONBOID);
	begin_writing(&scope);
	spine_plan_run(&plan_lines,
				   psprintf("INSERT INTO spine.%s (submission_id, owner, source_system, line, outcome, data_group, record_id, findings)"
							" SELECT $1, $2, $3, x.l, x.o, x.g, x.r, x.f FROM unnest($4, $5, $6, $7, $8) AS x(l, o, g, r, f)",
							quote_identifier(get_rel_name(table))),
				   8, types, args);
	end_writing(&scope);
}

/*
 * Rejections
 */

static void
write_rejections(SpineSubmission *submission)
{
	static const Oid types[11] = {UUIDOID, TEXTOID, TEXTOID, NAMEOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID};
	Rejections *kept = &submission->rejections;
	MemoryContext old;
	SpineOwnerScope scope;
	Datum		args[11];

	if (kept->n == 0)
		return;
	old = MemoryContextSwitchTo(kept->context);
	args[0] = UUIDPGetDatum(&submission->entry.id);
	args[1] = CStringGetTextDatum(submission->entry.owner);
	args[2] = CStringGetTextDatum(submission->entry.source_system);
	args[3] = CStringGetDatum(submission->entry.role_name);
	args[4] = spine_array(kept->places, kept->n, INT8OID);
	args[5] = spine_array_with_nulls(kept->datasets, kept->no_dataset, kept->n, TEXTOID);
	args[6] = spine_array_with_nulls(kept->versions, kept->no_dataset, kept->n, TEXTOID);
	args[7] = spine_array_with_nulls(kept->groups, kept->no_group, kept->n, TEXTOID);
	args[8] = spine_array_with_nulls(kept->ids, kept->no_id, kept->n, TEXTOID);
	args[9] = spine_array(kept->texts, kept->n, TEXTOID);
	args[10] = spine_array(kept->findings, kept->n, JSONBOID);
	begin_writing(&scope);
	spine_plan_run(&plan_rejections,
				   "INSERT INTO spine.rejection (rejection_id, submission_id, owner, source_system, rejected_for,"
				   " n, dataset, version, data_group, local_record_id, record, findings)"
				   " SELECT spine.uuid_v7(), $1, $2, $3, $4, x.* FROM unnest($5, $6, $7, $8, $9, $10, $11) AS x",
				   11, types, args);
	end_writing(&scope);
	MemoryContextSwitchTo(old);
	kept->n = 0;
	kept->bytes = 0;
	MemoryContextReset(kept->context);
}

/* A record says of itself what it likes; what no index could hold stands in its text alone. */
static const char *
short_or_null(const char *name, int most)
{
	return name != NULL && strlen(name) <= most ? name : NULL;
}

static void
keep_rejection(SpineSubmission *submission, const char *dataset, const char *version, const char *group,
			   const SpineVerdict *verdict)
{
	Rejections *kept = &submission->rejections;
	const char *id = short_or_null(verdict->local_record_id, LOCAL_ID_BYTES);
	MemoryContext old;
	Datum		findings;
	Size		size;
	int			i;

	if (submission->dry || submission->entry.door == DOOR_RESUBMIT)
		return;
	version = short_or_null(version, NAMEDATALEN);
	dataset = version == NULL ? NULL : short_or_null(dataset, NAMEDATALEN);
	group = short_or_null(group, NAMEDATALEN);
	findings = spine_findings_jsonb(verdict->findings);
	size = verdict->raw_length + VARSIZE(DatumGetPointer(findings));
	if (kept->n == REJECTIONS_KEPT || (kept->n > 0 && kept->bytes + size > REJECTIONS_BYTES))
		write_rejections(submission);
	kept->bytes += size;
	old = MemoryContextSwitchTo(kept->context);
	if (kept->n == 0)
	{
		kept->places = palloc(sizeof(Datum) * REJECTIONS_KEPT);
		kept->datasets = palloc(sizeof(Datum) * REJECTIONS_KEPT);
		kept->versions = palloc(sizeof(Datum) * REJECTIONS_KEPT);
		kept->groups = palloc(sizeof(Datum) * REJECTIONS_KEPT);
		kept->ids = palloc(sizeof(Datum) * REJECTIONS_KEPT);
		kept->texts = palloc(sizeof(Datum) * REJECTIONS_KEPT);
		kept->findings = palloc(sizeof(Datum) * REJECTIONS_KEPT);
		kept->no_dataset = palloc(sizeof(bool) * REJECTIONS_KEPT);
		kept->no_group = palloc(sizeof(bool) * REJECTIONS_KEPT);
		kept->no_id = palloc(sizeof(bool) * REJECTIONS_KEPT);
	}
	i = kept->n++;
	kept->places[i] = Int64GetDatum(verdict->n);
	kept->no_dataset[i] = dataset == NULL;
	if (dataset != NULL)
	{
		kept->datasets[i] = CStringGetTextDatum(dataset);
		kept->versions[i] = CStringGetTextDatum(version);
	}
	kept->no_group[i] = group == NULL;
	if (group != NULL)
		kept->groups[i] = CStringGetTextDatum(group);
	kept->no_id[i] = id == NULL;
	if (id != NULL)
		kept->ids[i] = CStringGetTextDatum(id);
	kept->texts[i] = PointerGetDatum(cstring_to_text_with_len(verdict->raw, verdict->raw_length));
	kept->findings[i] = datumCopy(findings, false, -1);
	MemoryContextSwitchTo(old);
}

/* Remembers the keys by which the children of a record that goes with all below it name it. */
static void
reject_children(SpineSubmission *submission, const SpineVerdict *verdict)
{
	const SpineGroup *group = verdict->group;

	if (group == NULL || verdict->values == NULL || spine_findings_severity(verdict->findings) < SEVERITY_GROUP)
		return;
	for (int i = 0; i < group->ntargets; i++)
	{
		uint64		key;

		if (!spine_target_key(group, i, verdict->values, verdict->nulls, &key))
			continue;
		if (submission->rejected == NULL)
			submission->rejected = spine_keys_create(submission->context);
		spine_keys_add(submission->rejected, key);
	}
}

static void
reject(SpineSubmission *submission, const char *dataset, const char *version, const char *group,
	   const SpineVerdict *verdict)
{
	submission->entry.counts[OUTCOME_REJECTED]++;
	keep_rejection(submission, dataset, version, group, verdict);
	reject_children(submission, verdict);
	submission->door.verdict(submission->door.state, verdict);
}

/*
 * Judging
 */

/* The caller's system as the one that submits. */
void
spine_submission_from(SpineSubmissionEntry *entry, const SpineCaller *caller)
{
	entry->owner = pstrdup(caller->organisation);
	entry->source_system = pstrdup(caller->system);
	entry->kind = pstrdup(caller->kind);
	entry->role_name = memcpy(palloc0(NAMEDATALEN), caller->role_name, NAMEDATALEN);
}

SpineSubmission *
spine_submission_begin(const SpineSubmissionEntry *entry, bool dry, const SpineSubmissionDoor *door)
{
	SpineSubmission *submission = palloc0(sizeof(SpineSubmission));

	submission->entry = *entry;
	submission->dry = dry;
	submission->door = *door;
	submission->context = CurrentMemoryContext;
	submission->record_context = AllocSetContextCreate(CurrentMemoryContext, "spine record", ALLOCSET_DEFAULT_SIZES);
	submission->rejections.context = AllocSetContextCreate(CurrentMemoryContext, "spine rejections", ALLOCSET_DEFAULT_SIZES);
	submission->expected = spine_keys_create(CurrentMemoryContext);
	spine_identity_uuid_v7(&submission->entry.id);
	return submission;
}

const SpineSubmissionEntry *
spine_submission_entry(const SpineSubmission *submission)
{
	return &submission->entry;
}

static Part *
find_part(SpineSubmission *submission, SpineDataset *dataset)
{
	MemoryContext old;
	ListCell   *cell;
	Part	   *part;

	foreach(cell, submission->parts)
	{
		part = lfirst(cell);
		if (part->dataset == dataset)
			return part;
	}
	old = MemoryContextSwitchTo(submission->context);
	part = palloc0(sizeof(Part));
	part->dataset = dataset;
	part->stages = palloc0(sizeof(Stage) * dataset->ngroups);
	for (int i = 0; i < dataset->ngroups; i++)
		part->stages[i].group = &dataset->groups[i];
	submission->parts = lappend(submission->parts, part);
	MemoryContextSwitchTo(old);
	return part;
}

/* What a record is while it waits: its own columns and what is known beside them. */
static TupleDesc
staged_desc(SpineGroup *group)
{
	if (group->staged == NULL)
	{
		static const struct
		{
			const char *name;
			Oid			type;
		}			columns[STAGED_COLUMNS] = {
			{"n", INT8OID}, {"raw", TEXTOID}, {"findings", BYTEAOID}, {"nhs_number", INT8OID},
			{"local_patient", TEXTOID}, {"local_episode", TEXTOID}, {"local_record", TEXTOID},
			{"parent", TEXTOID}, {"anchor", DATEOID}, {"not_after", TIMESTAMPTZOID}
		};
		MemoryContext old = MemoryContextSwitchTo(group->dataset->context);
		TupleDesc	desc = CreateTemplateTupleDesc(STAGED_COLUMNS + group->desc->natts);

		for (int i = 0; i < STAGED_COLUMNS; i++)
			TupleDescInitEntry(desc, i + 1, columns[i].name, columns[i].type, -1, 0);
		for (int i = 1; i <= group->desc->natts; i++)
			TupleDescCopyEntry(desc, STAGED_COLUMNS + i, group->desc, i);
		group->staged = desc;
		MemoryContextSwitchTo(old);
	}
	return group->staged;
}

static void
stage(SpineSubmission *submission, Stage *stage, const SpineRecord *record)
{
	int			natts = record->group->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * (STAGED_COLUMNS + natts));
	bool	   *nulls = palloc0(sizeof(bool) * (STAGED_COLUMNS + natts));

	if (stage->rows == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(submission->context);

		stage->desc = staged_desc(stage->group);
		stage->rows = tuplestore_begin_heap(false, false, STAGE_KILOBYTES);
		MemoryContextSwitchTo(old);
	}
	values[STAGED_N] = Int64GetDatum(record->n);
	values[STAGED_RAW] = PointerGetDatum(cstring_to_text_with_len(record->raw, record->raw_length));
	nulls[STAGED_FINDINGS] = record->findings == NIL;
	if (record->findings != NIL)
		values[STAGED_FINDINGS] = spine_findings_pack(record->findings);
	nulls[STAGED_NHS_NUMBER] = !record->has_nhs_number;
	values[STAGED_NHS_NUMBER] = Int64GetDatum(record->nhs_number);
	spine_put_text(&values[STAGED_LOCAL_PATIENT], &nulls[STAGED_LOCAL_PATIENT], record->local_patient_id);
	spine_put_text(&values[STAGED_LOCAL_EPISODE], &nulls[STAGED_LOCAL_EPISODE], record->local_episode_id);
	spine_put_text(&values[STAGED_LOCAL_RECORD], &nulls[STAGED_LOCAL_RECORD], record->local_record_id);
	spine_put_text(&values[STAGED_PARENT], &nulls[STAGED_PARENT], record->parent_key);
	nulls[STAGED_ANCHOR] = !record->has_anchor;
	values[STAGED_ANCHOR] = DateADTGetDatum(record->anchor);
	values[STAGED_NOT_AFTER] = TimestampTzGetDatum(record->not_after);
	memcpy(values + STAGED_COLUMNS, record->values, sizeof(Datum) * natts);
	memcpy(nulls + STAGED_COLUMNS, record->nulls, sizeof(bool) * natts);
	tuplestore_putvalues(stage->rows, stage->desc, values, nulls);
	submission->nstaged++;
}

/* A name that is not ours may be of any length. */
static char *
shortened(char *name)
{
	int			length = strlen(name);

	if (length >= NAMEDATALEN)
		name[pg_mbcliplen(name, length, NAMEDATALEN - 1)] = '\0';
	return name;
}

static void
take_envelope(SpineRecord *record, SpineDocumentRecord *source)
{
	char	   *nhs_number = spine_door_trimmed(source->nhs_number);

	record->local_patient_id = spine_door_trimmed(source->local_patient_id);
	record->local_episode_id = spine_door_trimmed(source->local_episode_id);
	record->local_record_id = spine_door_trimmed(source->local_record_id);
	if (nhs_number != NULL)
	{
		Datum		value;
		const char *wanted;

		if (spine_value_parse(ITEM_NHS_NUMBER, nhs_number, strlen(nhs_number), &value, &wanted))
		{
			record->has_nhs_number = true;
			record->nhs_number = DatumGetInt64(value);
		}
		else
			spine_record_finding(record, "item.malformed", SEVERITY_RECORD, "nhs_number",
								 "nhs_number is not %s", wanted);
	}
	if (source->unknown_key != NULL)
		spine_record_finding(record, "item.unknown", SEVERITY_WARNING, shortened(source->unknown_key),
							 "a record has no key of this name; items stand in data");
}

static void
take_item(SpineRecord *record, const SpineField *field)
{
	SpineGroup *group = record->group;
	int			number = spine_group_item(group, field->name);
	SpineItem  *item;
	char	   *text;
	int			length;
	const char *wanted;
	bool		is_number;

	if (number < 0)
	{
		spine_record_finding(record, "item.unknown", SEVERITY_WARNING, shortened(field->name),
							 "data group %s has no item of this name; it is not kept", group->name);
		return;
	}
	item = &group->items[number];
	if (!record->nulls[ENV_COLUMNS + number])
	{
		spine_record_finding(record, "item.duplicate", SEVERITY_RECORD, item->name,
							 "%s is given twice; send it once", item->name);
		return;
	}
	switch (field->type)
	{
		case JSON_TOKEN_NULL:
			return;
		case JSON_TOKEN_STRING:
		case JSON_TOKEN_NUMBER:
			break;
		case JSON_TOKEN_TRUE:
		case JSON_TOKEN_FALSE:
			if (item->type == ITEM_BOOLEAN)
				break;
			/* FALLTHROUGH */
		default:
			spine_record_finding(record, "item.malformed", SEVERITY_RECORD, item->name,
								 "%s must be a plain value", item->name);
			return;
	}
	text = field->text;
	length = strlen(text);
	while (length > 0 && (*text == ' ' || *text == '\t'))
		text++, length--;
	while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	if (length == 0)
		return;
	if (!spine_value_parse(item->type, text, length, &record->values[ENV_COLUMNS + number], &wanted))
	{
		spine_record_finding(record, "item.malformed", SEVERITY_RECORD, item->name,
							 "%s is not %s", item->name, wanted);
		return;
	}
	record->nulls[ENV_COLUMNS + number] = false;

	is_number = item->type == ITEM_INTEGER || item->type == ITEM_NUMERIC;
	if ((is_number && field->type == JSON_TOKEN_STRING) ||
		(item->type == ITEM_TEXT && field->type == JSON_TOKEN_NUMBER))
		spine_record_finding(record, "item.type", SEVERITY_WARNING, item->name,
							 is_number ? "%s is a number; send it without quotation marks" :
							 "%s is a text; send it in quotation marks, or leading zeros are lost", item->name);
}

/* A header that is sound counts for the records after it. */
static void
take_header(SpineSubmission *submission, Part *part, const SpineRecord *record)
{
	MemoryContext old = MemoryContextSwitchTo(submission->context);
	TupleDesc	desc = record->group->desc;

	part->header_values = palloc(sizeof(Datum) * desc->natts);
	part->header_nulls = palloc(sizeof(bool) * desc->natts);
	memcpy(part->header_nulls, record->nulls, sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
		if (!record->nulls[i])
			part->header_values[i] = datumCopy(record->values[i], TupleDescAttr(desc, i)->attbyval,
											   TupleDescAttr(desc, i)->attlen);
	MemoryContextSwitchTo(old);
}

/* Whether a finding refuses the whole submission. */
static void
look_for_refusal(SpineSubmission *submission, const SpineGroup *group, List *findings)
{
	ListCell   *cell;

	if (submission->refused != NULL)
		return;
	foreach(cell, findings)
	{
		SpineFinding *finding = lfirst(cell);

		for (int i = 0; finding->severity == SEVERITY_FILE && i < group->nrules; i++)
			if (group->rules[i].id == finding->rule)
				submission->refused = &group->rules[i];
	}
}

/* Does a line of the inbox come from the system that it says? */
static bool
is_own(const SpineSubmission *submission, const SpineDocumentRecord *source)
{
	return source->system == NULL || strcmp(source->system, submission->entry.source_system) == 0;
}

/* The data set that a line of the inbox names; NULL, with a finding, where it is not accepted. */
static SpineDataset *
dataset_of_line(SpineSubmission *submission, SpineRecord *record, const SpineDocumentRecord *source)
{
	SpineDataset *dataset;
	ListCell   *cell;
	char	   *why_not;

	if (source->dataset == NULL || source->version == NULL)
	{
		spine_record_finding(record, "record.malformed", SEVERITY_RECORD, NULL,
							 "the record does not say its dataset and version");
		return NULL;
	}
	if (!is_own(submission, source))
	{
		spine_record_finding(record, "group.denied", SEVERITY_RECORD, "system",
							 "the record is not from this role's system");
		return NULL;
	}
	foreach(cell, submission->parts)
	{
		dataset = ((Part *) lfirst(cell))->dataset;
		if (strcmp(dataset->name, source->dataset) == 0 && strcmp(dataset->version, source->version) == 0)
			return dataset;
	}
	if (submission->unknown[0] == NULL || strcmp(submission->unknown[0], source->dataset) != 0 ||
		strcmp(submission->unknown[1], source->version) != 0)
	{
		dataset = spine_dataset_find(source->dataset, source->version, &why_not);
		if (dataset != NULL)
			return dataset;
		for (int i = 0; i < lengthof(submission->unknown); i++)
			if (submission->unknown[i] != NULL)
				pfree(submission->unknown[i]);
		submission->unknown[0] = MemoryContextStrdup(submission->context, source->dataset);
		submission->unknown[1] = MemoryContextStrdup(submission->context, source->version);
		submission->unknown[2] = MemoryContextStrdup(submission->context, why_not);
	}
	spine_record_finding(record, "dataset.unknown", SEVERITY_RECORD, "version", "%s", submission->unknown[2]);
	return NULL;
}

static SpineGroup *
group_of(SpineSubmission *submission, SpineRecord *record, SpineDataset *dataset, const SpineDocumentRecord *source)
{
	SpineGroup *group;

	if (source->group == NULL)
	{
		spine_record_finding(record, "group.unknown", SEVERITY_RECORD, "group",
							 "the record does not name its data group");
		return NULL;
	}
	group = spine_dataset_group(dataset, source->group);
	if (group == NULL)
		spine_record_finding(record, "group.unknown", SEVERITY_RECORD, "group",
							 "data set %s %s has no data group of this name; see spine.data_groups",
							 dataset->name, dataset->version);
	else if (!spine_kind_may_write_subject(submission->entry.kind, group->subject))
	{
		spine_record_finding(record, "group.denied", SEVERITY_RECORD, "group",
							 "a system of this kind does not write data group %s", group->name);
		return NULL;
	}
	return group;
}

/*
 * Judges one record. dataset: that of the document, or NULL for a line that
 * names its own.
 */
void
spine_submission_add(SpineSubmission *submission, int64 n, SpineDataset *dataset,
					 const char *raw, int raw_length, TimestampTz not_after)
{
	MemoryContext old = MemoryContextSwitchTo(submission->record_context);
	SpineDocumentRecord source;
	SpineRecord record = {.context = submission->record_context};
	SpineGroup *group = NULL;
	Part	   *part = NULL;

	CHECK_FOR_INTERRUPTS();
	/* what is run again may have come as a line of the inbox */
	spine_document_record(raw, raw_length, dataset == NULL || submission->entry.door == DOOR_RESUBMIT, &source);
	if (source.fault != NULL)
		spine_record_finding(&record, "record.malformed", SEVERITY_RECORD, NULL, "%s", source.fault);
	else
	{
		if (dataset == NULL)
			dataset = dataset_of_line(submission, &record, &source);
		if (dataset != NULL)
			group = group_of(submission, &record, dataset, &source);
	}
	if (group != NULL)
	{
		part = find_part(submission, dataset);
		spine_record_init(&record, group, submission->record_context);
		record.owner = submission->entry.owner;
		record.tolerant = true;
		record.header_values = group == dataset->header ? NULL : part->header_values;
		record.header_nulls = part->header_nulls;
		take_envelope(&record, &source);
		for (int i = 0; i < source.nfields; i++)
			take_item(&record, &source.fields[i]);
		spine_check_record(&record);
		part->stages[group->ordinal].given++;
	}
	record.n = n;
	record.raw = raw;
	record.raw_length = raw_length;
	record.not_after = not_after;
	if (record.rejected)
	{
		SpineVerdict verdict = {
			.n = n,
			.outcome = OUTCOME_REJECTED,
			.group = group,
			.local_record_id = record.local_record_id,
			.values = record.values,
			.nulls = record.nulls,
			.findings = record.findings,
			.raw = raw,
			.raw_length = raw_length
		};

		if (group != NULL)
		{
			look_for_refusal(submission, group, record.findings);
			part->stages[group->ordinal].rejected++;
		}
		/* a line may name a data set that is not accepted, or not yet */
		if (dataset != NULL)
			reject(submission, dataset->name, dataset->version, source.group, &verdict);
		else if (source.version != NULL && is_own(submission, &source))
			reject(submission, source.dataset, source.version, source.group, &verdict);
		else
			reject(submission, NULL, NULL, source.group, &verdict);
	}
	else
	{
		for (int i = 0; i < group->ntargets; i++)
		{
			uint64		key;

			if (group->targets[i].forward && spine_target_key(group, i, record.values, record.nulls, &key))
				spine_keys_add(submission->expected, key);
		}
		if (group == dataset->header && part->header_values == NULL)
			take_header(submission, part, &record);
		stage(submission, &part->stages[group->ordinal], &record);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(submission->record_context);
}

/*
 * Storing
 */

/* A record as it waits, in the context given: where the tuple's values point to. */
static void
read_staged(SpineRecord *record, SpineGroup *group, TupleTableSlot *slot, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	MinimalTuple tuple = ExecCopySlotMinimalTuple(slot);
	int			natts = STAGED_COLUMNS + group->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	HeapTupleData whole;

	whole.t_len = tuple->t_len + MINIMAL_TUPLE_OFFSET;
	whole.t_data = (HeapTupleHeader) ((char *) tuple - MINIMAL_TUPLE_OFFSET);
	heap_deform_tuple(&whole, slot->tts_tupleDescriptor, values, nulls);

	memset(record, 0, sizeof(*record));
	record->group = group;
	record->context = context;
	record->tolerant = true;
	record->n = DatumGetInt64(values[STAGED_N]);
	record->raw = VARDATA_ANY(DatumGetPointer(values[STAGED_RAW]));
	record->raw_length = VARSIZE_ANY_EXHDR(DatumGetPointer(values[STAGED_RAW]));
	if (!nulls[STAGED_FINDINGS])
		record->findings = spine_findings_unpack(values[STAGED_FINDINGS]);
	record->has_nhs_number = !nulls[STAGED_NHS_NUMBER];
	record->nhs_number = DatumGetInt64(values[STAGED_NHS_NUMBER]);
	if (!nulls[STAGED_LOCAL_PATIENT])
		record->local_patient_id = TextDatumGetCString(values[STAGED_LOCAL_PATIENT]);
	if (!nulls[STAGED_LOCAL_EPISODE])
		record->local_episode_id = TextDatumGetCString(values[STAGED_LOCAL_EPISODE]);
	record->local_record_id = TextDatumGetCString(values[STAGED_LOCAL_RECORD]);
	if (!nulls[STAGED_PARENT])
		record->parent_key = TextDatumGetCString(values[STAGED_PARENT]);
	record->has_anchor = !nulls[STAGED_ANCHOR];
	record->anchor = DatumGetDateADT(values[STAGED_ANCHOR]);
	record->not_after = DatumGetTimestampTz(values[STAGED_NOT_AFTER]);
	record->values = values + STAGED_COLUMNS;
	record->nulls = nulls + STAGED_COLUMNS;
	MemoryContextSwitchTo(old);
}

static void
take_verdict(SpineSubmission *submission, const SpineVerdict *verdict)
{
	const SpineGroup *group = verdict->group;

	if (verdict->outcome == OUTCOME_REJECTED)
	{
		Part	   *part = find_part(submission, group->dataset);

		part->stages[group->ordinal].rejected++;
		look_for_refusal(submission, group, verdict->findings);
		if (submission->own_findings != NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(submission->context);
			OwnFindings *own = hash_search(submission->own_findings, &verdict->n, HASH_ENTER, NULL);

			own->packed = spine_findings_pack(verdict->findings);
			MemoryContextSwitchTo(old);
		}
		reject(submission, group->dataset->name, group->dataset->version, group->name, verdict);
	}
	else
	{
		submission->entry.counts[verdict->outcome]++;
		submission->door.verdict(submission->door.state, verdict);
	}
}

/* The verdict of a batch: what is made for telling it does not outlive it. */
static void
take_stored(void *state, const SpineVerdict *verdict)
{
	SpineSubmission *submission = state;
	MemoryContext old = MemoryContextSwitchTo(submission->record_context);

	take_verdict(submission, verdict);
	MemoryContextSwitchTo(old);
	MemoryContextReset(submission->record_context);
}

static void
reject_staged(SpineSubmission *submission, SpineRecord *record, SpineFinding *finding)
{
	SpineVerdict verdict = {
		.n = record->n,
		.outcome = OUTCOME_REJECTED,
		.group = record->group,
		.local_record_id = record->local_record_id,
		.values = record->values,
		.nulls = record->nulls,
		.findings = lappend(record->findings, finding),
		.raw = record->raw,
		.raw_length = record->raw_length
	};

	take_verdict(submission, &verdict);
}

/* The group of a record that this one belongs to and that is rejected with all below it; NULL: none. */
static SpineGroup *
rejected_parent(SpineSubmission *submission, const SpineRecord *record, const char **item)
{
	SpineGroup *group = record->group;
	uint64		key;

	if (group->parent != NULL)
	{
		*item = group->items[group->parent_item].name;
		if (spine_reference_key(group, &group->parent_item, 1, group->parent, group->parent_target,
								record->values, record->nulls, &key) &&
			spine_keys_has(submission->rejected, key))
			return group->parent;
	}
	for (int i = 0; i < group->nrules; i++)
	{
		SpineRule  *rule = &group->rules[i];

		if (rule->kind != RULE_EXISTS || rule->forward)
			continue;
		*item = group->items[rule->items[0]].name;
		if (spine_reference_key(group, rule->items, rule->nitems, rule->other, rule->target,
								record->values, record->nulls, &key) &&
			spine_keys_has(submission->rejected, key))
			return rule->other;
	}
	return NULL;
}

/* Rejects the record if it belongs to one that is rejected with all below it. */
static bool
reject_with_parent(SpineSubmission *submission, SpineGroup *group, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(submission->record_context);
	SpineRecord record;
	SpineGroup *parent;
	const char *item;

	read_staged(&record, group, slot, submission->record_context);
	parent = rejected_parent(submission, &record, &item);
	if (parent != NULL)
		reject_staged(submission, &record,
					  spine_finding_make("parent.rejected", SEVERITY_GROUP, item,
										 psprintf("%s names a record of %s that was rejected; correct that one and send both again",
												  item, parent->name)));
	MemoryContextSwitchTo(old);
	MemoryContextReset(submission->record_context);
	return parent != NULL;
}

static void
store_stage(SpineSubmission *submission, Stage *stage)
{
	SpineGroup *group = stage->group;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(stage->desc, &TTSOpsMinimalTuple);
	SpineBatch *batch = spine_batch_create(group, submission->entry.owner, submission->entry.source_system,
										   submission->expected, submission->context);
	MemoryContext context = spine_batch_context(batch);
	ListCell   *cell;

	foreach(cell, submission->parts)
	{
		Part	   *part = lfirst(cell);

		if (part->dataset == group->dataset)
			spine_batch_set_header(batch, part->header_values, part->header_nulls);
	}
	while (tuplestore_gettupleslot(stage->rows, true, false, slot))
	{
		SpineRecord record;
		pg_uuid_t	record_id;

		CHECK_FOR_INTERRUPTS();
		if (submission->rejected != NULL && reject_with_parent(submission, group, slot))
			continue;
		if (spine_batch_full(batch))
			spine_batch_flush(batch, take_stored, submission);
		read_staged(&record, group, slot, context);
		if (spine_batch_holds(batch, &record))
		{
			/* sent twice in one submission: the later record corrects the earlier one */
			spine_batch_flush(batch, take_stored, submission);
			read_staged(&record, group, slot, context);
		}
		spine_batch_add(batch, &record, &record_id);
	}
	spine_batch_flush(batch, take_stored, submission);
	spine_batch_free(batch);
	ExecDropSingleTupleTableSlot(slot);
}

/* Rules that ask how many. What is run again is a few records of what was judged by that when it came. */
static void
judge_counts(SpineSubmission *submission)
{
	ListCell   *cell;

	if (submission->entry.door == DOOR_RESUBMIT)
		return;
	foreach(cell, submission->parts)
	{
		Part	   *part = lfirst(cell);

		for (int i = 0; i < part->dataset->ngroups; i++)
		{
			SpineGroup *group = &part->dataset->groups[i];
			Stage	   *stage = &part->stages[i];

			for (int r = 0; r < group->nrules; r++)
			{
				SpineRule  *rule = &group->rules[r];

				if ((rule->kind == RULE_COUNT &&
					 ((rule->min >= 0 && stage->given < rule->min) || (rule->max >= 0 && stage->given > rule->max))) ||
					(rule->kind == RULE_FAILURES && stage->rejected * 100.0 > stage->given * rule->max_percent))
				{
					submission->refused = rule;
					return;
				}
			}
		}
	}
}

/* Rejects everything that still waits or was stored and undone. */
static void
refuse_all(SpineSubmission *submission)
{
	MemoryContext context = submission->record_context;
	MemoryContext old = CurrentMemoryContext;
	HTAB	   *own_findings = submission->own_findings;
	ListCell   *cell;

	/* no more are kept */
	submission->own_findings = NULL;
	submission->entry.refused = submission->refused->id;
	foreach(cell, submission->parts)
	{
		Part	   *part = lfirst(cell);

		for (int i = 0; i < part->dataset->ngroups; i++)
		{
			Stage	   *stage = &part->stages[i];
			TupleTableSlot *slot;

			if (stage->rows == NULL)
				continue;
			tuplestore_rescan(stage->rows);
			slot = MakeSingleTupleTableSlot(stage->desc, &TTSOpsMinimalTuple);
			while (tuplestore_gettupleslot(stage->rows, true, false, slot))
			{
				SpineRecord record;
				OwnFindings *own;

				CHECK_FOR_INTERRUPTS();
				MemoryContextSwitchTo(context);
				read_staged(&record, stage->group, slot, context);
				own = own_findings == NULL ? NULL : hash_search(own_findings, &record.n, HASH_FIND, NULL);
				if (own != NULL)
					record.findings = spine_findings_unpack(own->packed);
				reject_staged(submission, &record,
							  spine_finding_make("file.rejected", SEVERITY_FILE, NULL,
												 psprintf("the whole submission is refused by rule %s: %s",
														  submission->refused->id, submission->refused->message)));
				MemoryContextSwitchTo(old);
				MemoryContextReset(context);
			}
			ExecDropSingleTupleTableSlot(slot);
		}
	}
}

static void
store_all(SpineSubmission *submission)
{
	ListCell   *cell;

	foreach(cell, submission->parts)
	{
		Part	   *part = lfirst(cell);

		for (int i = 0; i < part->dataset->ngroups && submission->refused == NULL; i++)
			if (part->stages[i].rows != NULL)
				store_stage(submission, &part->stages[i]);
	}
	if (submission->refused == NULL)
		judge_counts(submission);
}

/*
 * May a rule refuse the submission while it is stored? Of one record alone
 * nothing is stored then anyway.
 */
static bool
may_refuse_late(SpineSubmission *submission)
{
	ListCell   *cell;

	if (submission->nstaged == 1)
		return false;
	foreach(cell, submission->parts)
		if (((Part *) lfirst(cell))->dataset->may_refuse_late)
		return true;
	return false;
}

static bool
store_unless_refused(void *arg)
{
	SpineSubmission *submission = arg;

	store_all(submission);
	return submission->refused == NULL;
}

/* Stores all, or nothing where a rule refuses the submission on the way. */
static void
store_or_refuse(SpineSubmission *submission)
{
	int64		rejected = submission->entry.counts[OUTCOME_REJECTED];
	HASHCTL		info = {.keysize = sizeof(int64), .entrysize = sizeof(OwnFindings), .hcxt = submission->context};
	ErrorData  *error;

	submission->own_findings = hash_create("spine own findings", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	write_rejections(submission);
	if (submission->door.settle != NULL)
		submission->door.settle(submission->door.state, false);
	error = spine_subtransaction_run(store_unless_refused, submission);
	if (error != NULL)
		ReThrowError(error);
	if (submission->refused == NULL)
		return;

	submission->rejections.n = 0;
	submission->rejections.bytes = 0;
	MemoryContextReset(submission->rejections.context);
	if (submission->door.settle != NULL)
		submission->door.settle(submission->door.state, true);
	memset(submission->entry.counts, 0, sizeof(submission->entry.counts));
	submission->entry.counts[OUTCOME_REJECTED] = rejected;
	refuse_all(submission);
}

/* Tells listeners that there is something to look at: the submission's id, nothing of what is in it. */
static void
notify(SpineSubmission *submission)
{
	Async_Notify("spine_submission",
				 DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&submission->entry.id))));
}

void
spine_submission_finish(SpineSubmission *submission)
{
	ListCell   *cell;

	if (submission->refused == NULL)
		judge_counts(submission);
	if (submission->refused != NULL)
		refuse_all(submission);
	else if (may_refuse_late(submission))
		store_or_refuse(submission);
	else
	{
		store_all(submission);
		if (submission->refused != NULL)
			submission->entry.refused = submission->refused->id;
	}
	foreach(cell, submission->parts)
	{
		Part	   *part = lfirst(cell);

		for (int i = 0; i < part->dataset->ngroups; i++)
			if (part->stages[i].rows != NULL)
				tuplestore_end(part->stages[i].rows);
	}
	if (submission->dry)
		return;
	write_rejections(submission);
	if (submission->door.settle != NULL)
		submission->door.settle(submission->door.state, false);
	if (submission->entry.door == DOOR_INBOX || submission->entry.counts[OUTCOME_REJECTED] > 0)
		notify(submission);
}
