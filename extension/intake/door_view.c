/*
 * door_view.c
 *		The strict door: INSERT, UPDATE, DELETE and COPY on the typed views of a
 *		data-set version. The statement succeeds or fails whole.
 *
 * A statement trigger opens a batch before the first row and stores what is
 * left after the last one; the row trigger checks each row and stores the
 * batch whenever it is full.
 *
 * Both triggers work without an error context: COPY would add its line to an
 * error, and a function its statement: a person's data, in the server's log.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "errors.h"
#include "governance/identity.h"
#include "intake/door.h"
#include "intake/intake.h"
#include "intake/submission.h"

/* columns of a view that are neither the record's own nor items */
typedef enum ViewColumn
{
	VIEW_NHS_NUMBER = -1,
	VIEW_LOCAL_PATIENT_ID = -2,
	VIEW_LOCAL_EPISODE_ID = -3
} ViewColumn;

typedef struct OpenBatch
{
	SpineBatch *batch;
	SpineGroup *group;
	SpineSubmissionEntry entry;
	int		   *columns;		/* of each view column: column of the record, or a ViewColumn */
	int64		row_number;
	bool		storing;		/* what the batch holds: rows, or ids of rows to delete */
	bool		deleting;
	HeapTuple	nothing;		/* a row of nulls */
} OpenBatch;

PG_FUNCTION_INFO_V1(spine_intake_statement);
PG_FUNCTION_INFO_V1(spine_intake_row);

static void
open_batch(TriggerData *trigdata)
{
	Trigger    *trigger = trigdata->tg_trigger;
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	const SpineCaller *caller = spine_door_writer();
	SpineStatement *statement;
	MemoryContext old;
	OpenBatch  *open;
	bool	   *nulls;

	if (trigger->tgnargs != 3)
		elog(ERROR, "trigger \"%s\" needs data set, version and group", trigger->tgname);

	statement = spine_statement_open(RelationGetRelid(trigdata->tg_relation));
	old = MemoryContextSwitchTo(statement->context);
	open = statement->state = palloc0(sizeof(OpenBatch));
	open->entry.door = DOOR_VIEW;
	spine_submission_from(&open->entry, caller);
	open->group = spine_dataset_group(spine_dataset_get(trigger->tgargs[0], trigger->tgargs[1]),
									  trigger->tgargs[2]);
	if (open->group == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_UNKNOWN_DATASET),
				 errmsg("data group \"%s\" is not in data set \"%s\" version \"%s\"",
						trigger->tgargs[2], trigger->tgargs[0], trigger->tgargs[1])));
	if (!spine_kind_may_write_subject(open->entry.kind, open->group->subject))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a system of this kind does not write data group \"%s\"", open->group->name),
				 err_generic_string(PG_DIAG_TABLE_NAME, open->group->name)));
	open->entry.dataset = open->group->dataset->name;
	open->entry.version = open->group->dataset->version;
	open->entry.data_group = open->group->name;
	spine_identity_uuid_v7(&open->entry.id);
	nulls = palloc(sizeof(bool) * desc->natts);
	memset(nulls, true, sizeof(bool) * desc->natts);
	open->nothing = heap_form_tuple(desc, palloc0(sizeof(Datum) * desc->natts), nulls);

	open->columns = palloc(sizeof(int) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);
		int			item = spine_group_item(open->group, name);

		if (item >= 0)
			open->columns[i] = ENV_COLUMNS + item;
		else if (strcmp(name, "nhs_number") == 0)
			open->columns[i] = VIEW_NHS_NUMBER;
		else if (strcmp(name, "local_patient_id") == 0)
			open->columns[i] = VIEW_LOCAL_PATIENT_ID;
		else if (strcmp(name, "local_episode_id") == 0)
			open->columns[i] = VIEW_LOCAL_EPISODE_ID;
		else
		{
			int			column;

			for (column = 0; column < ENV_COLUMNS; column++)
				if (strcmp(name, spine_envelope_names[column]) == 0)
					break;
			if (column == ENV_COLUMNS)
				elog(ERROR, "view column \"%s\" is unknown to its data group", name);
			open->columns[i] = column;
		}
	}
	open->batch = spine_batch_create(open->group, open->entry.owner, open->entry.source_system, NULL,
									 statement->context);
	MemoryContextSwitchTo(old);
}

/* Raises for a record that cannot be accepted: nothing of the statement stays. */
static void
refuse(const SpineGroup *group, int64 n, List *findings)
{
	StringInfoData detail;
	int			nfaults = 0;
	SpineFinding *first = NULL;
	ListCell   *cell;

	initStringInfo(&detail);
	foreach(cell, findings)
	{
		SpineFinding *finding = lfirst(cell);

		if (finding->severity == SEVERITY_WARNING)
			continue;
		if (first == NULL)
			first = finding;
		appendStringInfo(&detail, "%s%s: %s", nfaults++ > 0 ? "\n" : "", finding->rule, finding->message);
		if (detail.data[detail.len - 1] != '.')
			appendStringInfoChar(&detail, '.');
	}

	ereport(ERROR,
			(errcode(ERRCODE_SPINE_RECORD_REJECTED),
			 errmsg_plural("row %lld is refused: %d finding", "row %lld is refused: %d findings", nfaults,
						   (long long) n, nfaults),
			 errdetail_internal("%s", detail.data),
			 errhint("Correct the row, or send records through spine.submit(), which keeps the good ones."),
			 err_generic_string(PG_DIAG_SCHEMA_NAME, group->dataset->name),
			 err_generic_string(PG_DIAG_TABLE_NAME, group->name),
			 first->item != NULL ? err_generic_string(PG_DIAG_COLUMN_NAME, first->item) : 0,
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, first->rule)));
}

static void
strict_verdict(void *state, const SpineVerdict *verdict)
{
	OpenBatch  *open = state;

	if (verdict->outcome == OUTCOME_REJECTED)
		refuse(open->group, verdict->n, verdict->findings);
	open->entry.counts[verdict->outcome]++;
}

/* Stores the rest, and tells what the statement did. */
static void
close_batch(SpineStatement *statement)
{
	OpenBatch  *open = statement->state;
	MemoryContext old = MemoryContextSwitchTo(statement->context);

	spine_batch_flush(open->batch, strict_verdict, open);
	open->entry.deleted = spine_batch_deleted(open->batch);
	if (open->row_number > 0)
	{
		spine_submission_record(&open->entry, NULL);
		spine_statement_notice(open->entry.counts);
	}
	MemoryContextSwitchTo(old);
	spine_statement_close(statement);
}

Datum
spine_intake_statement(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	ErrorContextCallback *context = error_context_stack;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spine.intake_statement() is a statement trigger of spine's views")));

	error_context_stack = NULL;
	if (TRIGGER_FIRED_BEFORE(trigdata->tg_event))
		open_batch(trigdata);
	else
		close_batch(spine_statement_find(RelationGetRelid(trigdata->tg_relation)));
	error_context_stack = context;
	return PointerGetDatum(NULL);
}

static char *
text_of(Datum value)
{
	return spine_door_trimmed(TextDatumGetCString(value));
}

/* What only spine sets may not be set by a supplier. */
static void
refuse_column(OpenBatch *open, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("column \"%s\" is set by spine", column),
			 errhint("Leave it out."),
			 err_generic_string(PG_DIAG_TABLE_NAME, open->group->name),
			 err_generic_string(PG_DIAG_COLUMN_NAME, column)));
}

static void
check_writer(OpenBatch *open, int column, Datum value)
{
	if (strcmp(TextDatumGetCString(value), column == ENV_OWNER ? open->entry.owner : open->entry.source_system) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a system writes for its own organisation and under its own name only"),
				 errdetail("This role is system \"%s\" of organisation %s.", open->entry.source_system, open->entry.owner),
				 err_generic_string(PG_DIAG_TABLE_NAME, open->group->name),
				 err_generic_string(PG_DIAG_COLUMN_NAME, spine_envelope_names[column])));
}

/*
 * Fills the record from the view's new row. old is the row before an UPDATE,
 * or NULL.
 */
static void
read_row(OpenBatch *open, SpineRecord *record, TupleDesc desc,
		 const Datum *values, const bool *nulls, const Datum *old_values, const bool *old_nulls)
{
	for (int i = 0; i < desc->natts; i++)
	{
		int			column = open->columns[i];

		if (old_values != NULL && column >= 0 && column < ENV_COLUMNS)
		{
			/* an UPDATE leaves the envelope as it is */
			if (nulls[i] != old_nulls[i] ||
				(!nulls[i] && !datum_image_eq(values[i], old_values[i], TupleDescAttr(desc, i)->attbyval,
											  TupleDescAttr(desc, i)->attlen)))
				refuse_column(open, spine_envelope_names[column]);
		}
		if (nulls[i])
			continue;
		switch (column)
		{
			case VIEW_NHS_NUMBER:
				record->has_nhs_number = true;
				record->nhs_number = DatumGetInt64(values[i]);
				break;
			case VIEW_LOCAL_PATIENT_ID:
				record->local_patient_id = text_of(values[i]);
				break;
			case VIEW_LOCAL_EPISODE_ID:
				record->local_episode_id = text_of(values[i]);
				break;
			case ENV_LOCAL_RECORD_ID:
				record->local_record_id = text_of(values[i]);
				break;
			case ENV_OWNER:
			case ENV_SOURCE_SYSTEM:
				check_writer(open, column, values[i]);
				break;
			default:
				if (column >= ENV_COLUMNS)
				{
					record->values[column] = values[i];
					record->nulls[column] = false;
				}
				else if (old_values == NULL)
					refuse_column(open, spine_envelope_names[column]);
		}
	}
}

static int
view_column(const OpenBatch *open, TupleDesc desc, int wanted)
{
	for (int i = 0; i < desc->natts; i++)
		if (open->columns[i] == wanted)
			return i;
	elog(ERROR, "the view lacks column \"%s\"", spine_envelope_names[wanted]);
}

/* Takes one row in; returns the row as RETURNING shows it. */
static HeapTuple
take_row(TriggerData *trigdata, bool is_copy)
{
	TupleDesc	desc;
	SpineStatement *statement;
	OpenBatch  *open;
	MemoryContext old;
	HeapTuple	tuple;
	Datum	   *values;
	bool	   *nulls;
	Datum	   *old_values = NULL;
	bool	   *old_nulls = NULL;
	SpineRecord record;
	pg_uuid_t	record_id;

	desc = RelationGetDescr(trigdata->tg_relation);
	statement = spine_statement_find(RelationGetRelid(trigdata->tg_relation));
	open = statement->state;

	/* a command that deletes and inserts does both in its own order */
	if (spine_batch_full(open->batch) ||
		(TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) ? open->storing : open->deleting))
	{
		spine_batch_flush(open->batch, strict_verdict, open);
		open->storing = open->deleting = false;
	}
	open->row_number++;

	old = MemoryContextSwitchTo(spine_batch_context(open->batch));
	values = palloc(sizeof(Datum) * desc->natts);
	nulls = palloc(sizeof(bool) * desc->natts);
	if (!TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		old_values = palloc(sizeof(Datum) * desc->natts);
		old_nulls = palloc(sizeof(bool) * desc->natts);
		heap_deform_tuple(trigdata->tg_trigtuple, desc, old_values, old_nulls);
		check_writer(open, ENV_OWNER, old_values[view_column(open, desc, ENV_OWNER)]);
		check_writer(open, ENV_SOURCE_SYSTEM, old_values[view_column(open, desc, ENV_SOURCE_SYSTEM)]);
	}
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
	{
		spine_batch_delete(open->batch,
						   DatumGetUUIDP(old_values[view_column(open, desc, ENV_RECORD_ID)]));
		open->deleting = true;
		MemoryContextSwitchTo(old);
		return trigdata->tg_trigtuple;
	}

	/* the batch keeps what points into the row until it is stored */
	tuple = heap_copytuple(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
						   trigdata->tg_newtuple : trigdata->tg_trigtuple);
	heap_deform_tuple(tuple, desc, values, nulls);
	spine_record_init(&record, open->group, CurrentMemoryContext);
	record.n = open->row_number;
	record.owner = open->entry.owner;
	record.keeps_subject = old_values != NULL;
	if (old_values != NULL)
		record.from_revision = DatumGetInt64(old_values[view_column(open, desc, ENV_REVISION)]);
	read_row(open, &record, desc, values, nulls, old_values, old_nulls);
	spine_check_record(&record);
	if (record.rejected)
		refuse(open->group, record.n, record.findings);
	if (spine_batch_holds(open->batch, &record))
	{
		/* sent twice in one statement: the later row corrects the earlier one */
		MemoryContextSwitchTo(old);
		open->row_number--;
		spine_batch_flush(open->batch, strict_verdict, open);
		return take_row(trigdata, is_copy);
	}
	spine_batch_add(open->batch, &record, &record_id);
	open->storing = true;
	MemoryContextSwitchTo(old);

	/*
	 * RETURNING shows what spine has set so far; patient and episode come with the batch. COPY
	 * shows nothing.
	 */
	if (is_copy)
		tuple = open->nothing;
	else
	{
		int			at[ENV_COLUMNS];
		Datum		set[ENV_COLUMNS];
		bool		none[ENV_COLUMNS] = {false};
		int			n = 0;

		for (int i = 0; i < desc->natts; i++)
		{
			int			column = open->columns[i];

			if (column < 0 || column >= ENV_COLUMNS || record.nulls[column])
				continue;
			at[n] = i + 1;
			set[n++] = record.values[column];
		}
		tuple = heap_modify_tuple_by_cols(tuple, desc, n, at, set, none);
	}
	return tuple;
}

Datum
spine_intake_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	ErrorContextCallback *context = error_context_stack;
	HeapTuple	tuple;
	bool		is_copy;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_INSTEAD(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spine.intake_row() is an INSTEAD OF trigger of spine's views")));

	is_copy = spine_statement_hide_lines();
	error_context_stack = NULL;
	tuple = take_row(trigdata, is_copy);
	error_context_stack = context;
	return PointerGetDatum(tuple);
}
