/*
 * door_submit.c
 *		The tolerant door: spine.submit(document). Each record gets its own
 *		verdict with all its findings; what is good is kept.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "compat.h"
#include "errors.h"
#include "governance/identity.h"
#include "intake/document.h"
#include "intake/door.h"
#include "intake/intake.h"

static const char *const outcome_names[] = {
	"accepted", "accepted_with_warnings", "unchanged", "rejected"
};

static const char *const severity_names[] = {"warning", "record"};

typedef struct Verdict
{
	SpineOutcome outcome;
	pg_uuid_t	record_id;
	List	   *findings;
} Verdict;

typedef struct Submission
{
	const SpineCaller *caller;
	char	   *owner;
	char	   *source_system;
	SpineDocument *document;
	SpineDataset *dataset;
	Verdict    *verdicts;		/* by place in the document */
	SpineRecord **records;		/* those that passed their checks, by place */
	MemoryContext context;
} Submission;

PG_FUNCTION_INFO_V1(spine_submit);

void
spine_door_findings_json(StringInfo out, List *findings)
{
	ListCell   *cell;

	appendStringInfoChar(out, '[');
	foreach(cell, findings)
	{
		SpineFinding *finding = lfirst(cell);

		if (foreach_current_index(cell) > 0)
			appendStringInfoChar(out, ',');
		appendStringInfoString(out, "{\"rule\":");
		escape_json(out, finding->rule);
		appendStringInfo(out, ",\"severity\":\"%s\",\"item\":", severity_names[finding->severity]);
		if (finding->item != NULL)
			escape_json(out, finding->item);
		else
			appendStringInfoString(out, "null");
		appendStringInfoString(out, ",\"message\":");
		escape_json(out, finding->message);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, ']');
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
		spine_record_finding(record, "item.unknown", SEVERITY_WARNING, source->unknown_key,
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
		spine_record_finding(record, "item.unknown", SEVERITY_WARNING, field->name,
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

/* Checks the record at this place; leaves it for storing, or its rejection as the verdict. */
static void
check_place(Submission *submission, int place)
{
	SpineDocumentRecord *source = &submission->document->records[place];
	Verdict    *verdict = &submission->verdicts[place];
	SpineGroup *group = source->group == NULL ? NULL :
	spine_dataset_group(submission->dataset, source->group);
	SpineRecord *record = palloc0(sizeof(SpineRecord));

	if (source->malformed || group == NULL)
	{
		record->context = submission->context;
		if (source->malformed)
			spine_record_finding(record, "record.malformed", SEVERITY_RECORD, NULL,
								 "a record is an object with group, identifiers and an object data");
		else if (source->group == NULL)
			spine_record_finding(record, "group.unknown", SEVERITY_RECORD, "group",
								 "the record does not name its data group");
		else
			spine_record_finding(record, "group.unknown", SEVERITY_RECORD, "group",
								 "data set %s %s has no data group of this name; see spine.data_groups",
								 submission->dataset->name, submission->dataset->version);
	}
	else
	{
		spine_record_init(record, group, submission->context);
		record->n = place;
		record->tolerant = true;
		record->raw = source->raw;
		record->raw_length = source->raw_length;
		take_envelope(record, source);
		for (int i = 0; i < source->nfields; i++)
			take_item(record, &source->fields[i]);
		spine_check_record(record);
	}
	if (record->rejected)
	{
		verdict->outcome = OUTCOME_REJECTED;
		verdict->findings = record->findings;
		pfree(record);
	}
	else
		submission->records[place] = record;
}

static void
take_verdict(void *state, int n, SpineOutcome outcome, const pg_uuid_t *record_id,
			 List *findings, const char *raw, int raw_length)
{
	Submission *submission = state;
	Verdict    *verdict = &submission->verdicts[n];
	MemoryContext old = MemoryContextSwitchTo(submission->context);
	ListCell   *cell;

	verdict->outcome = outcome;
	if (record_id != NULL)
		verdict->record_id = *record_id;
	/* findings that the batch added go with the batch */
	verdict->findings = NIL;
	foreach(cell, findings)
	{
		SpineFinding *copy = palloc(sizeof(SpineFinding));

		*copy = *(SpineFinding *) lfirst(cell);
		copy->message = pstrdup(copy->message);
		verdict->findings = lappend(verdict->findings, copy);
	}
	MemoryContextSwitchTo(old);
}

/* Stores what passed its checks, group by group: parents come first in a definition. */
static void
store_records(Submission *submission)
{
	int			n = submission->document->nrecords;

	for (int ordinal = 0; ordinal < submission->dataset->ngroups; ordinal++)
	{
		SpineGroup *group = &submission->dataset->groups[ordinal];
		SpineBatch *batch = NULL;

		for (int place = 0; place < n; place++)
		{
			SpineRecord *record = submission->records[place];
			pg_uuid_t	record_id;

			if (record == NULL || record->group != group)
				continue;
			CHECK_FOR_INTERRUPTS();
			if (batch == NULL)
				batch = spine_batch_create(group, submission->owner, submission->source_system,
										   submission->context);
			/* sent twice in one document: the later record corrects the earlier one */
			if (spine_batch_count(batch) == SPINE_BATCH_ROWS || spine_batch_holds(batch, record))
				spine_batch_flush(batch, take_verdict, submission);
			spine_batch_add(batch, record, &record_id);
		}
		if (batch != NULL)
		{
			spine_batch_flush(batch, take_verdict, submission);
			spine_batch_free(batch);
		}
	}
}

/* Keeps the rejected records with their reasons. */
static void
keep_rejections(Submission *submission)
{
	int			n = submission->document->nrecords;
	Datum	   *groups = palloc(sizeof(Datum) * n);
	bool	   *no_group = palloc(sizeof(bool) * n);
	Datum	   *raws = palloc(sizeof(Datum) * n);
	Datum	   *findings = palloc(sizeof(Datum) * n);
	int			count = 0;
	int			lower = 1;
	Oid			types[8] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, NAMEOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		args[8];
	SpineOwnerScope scope;
	StringInfoData json;

	initStringInfo(&json);
	for (int place = 0; place < n; place++)
	{
		SpineDocumentRecord *source = &submission->document->records[place];

		if (submission->verdicts[place].outcome != OUTCOME_REJECTED)
			continue;
		CHECK_FOR_INTERRUPTS();
		resetStringInfo(&json);
		spine_door_findings_json(&json, submission->verdicts[place].findings);
		no_group[count] = source->group == NULL;
		if (source->group != NULL)
			groups[count] = CStringGetTextDatum(source->group);
		raws[count] = source->raw != NULL ?
			PointerGetDatum(cstring_to_text_with_len(source->raw, source->raw_length)) :
			CStringGetTextDatum("null");
		findings[count++] = PointerGetDatum(cstring_to_text_with_len(json.data, json.len));
	}
	if (count == 0)
		return;
	args[0] = CStringGetTextDatum(submission->owner);
	args[1] = CStringGetTextDatum(submission->source_system);
	args[2] = CStringGetTextDatum(submission->dataset->name);
	args[3] = CStringGetTextDatum(submission->dataset->version);
	args[4] = CStringGetDatum(submission->caller->role_name);
	args[5] = PointerGetDatum(construct_md_array(groups, no_group, 1, &count, &lower, TEXTOID, -1, false, TYPALIGN_INT));
	args[6] = PointerGetDatum(construct_array(raws, count, TEXTOID, -1, false, TYPALIGN_INT));
	args[7] = PointerGetDatum(construct_array(findings, count, TEXTOID, -1, false, TYPALIGN_INT));

	spine_owner_enter(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("INSERT INTO spine.rejection (rejection_id, owner, source_system, dataset, version,"
							  " data_group, record, findings, rejected_for)"
							  " SELECT spine.uuid_v7(), $1, $2, $3, $4, x.g, x.r::json, x.f::jsonb, $5"
							  "   FROM unnest($6, $7, $8) AS x(g, r, f)",
							  8, types, args, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not keep rejected records");
	SPI_finish();
	spine_owner_leave(&scope);
}

static void
return_verdicts(Submission *submission, ReturnSetInfo *rsinfo)
{
	Datum		none = DirectFunctionCall1(jsonb_in, CStringGetDatum("[]"));
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "spine verdict", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row);

	for (int place = 0; place < submission->document->nrecords; place++)
	{
		Verdict    *verdict = &submission->verdicts[place];
		Datum		values[4];
		bool		nulls[4] = {false, false, verdict->outcome == OUTCOME_REJECTED, false};

		CHECK_FOR_INTERRUPTS();
		values[0] = Int32GetDatum(place + 1);
		values[1] = CStringGetTextDatum(outcome_names[verdict->outcome]);
		values[2] = UUIDPGetDatum(&verdict->record_id);
		values[3] = none;
		if (verdict->findings != NIL)
		{
			StringInfoData json;

			initStringInfo(&json);
			spine_door_findings_json(&json, verdict->findings);
			values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
}

/*
 * spine.submit(document json | text): a row for each record.
 */
Datum
spine_submit(PG_FUNCTION_ARGS)
{
	text	   *json = PG_GETARG_TEXT_PP(0);
	Submission *submission = palloc0(sizeof(Submission));
	int			n;

	submission->context = CurrentMemoryContext;
	submission->caller = spine_door_writer();
	submission->owner = pstrdup(submission->caller->organisation);
	submission->source_system = pstrdup(submission->caller->system);
	submission->document = spine_document_parse(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
	if (submission->document->system != NULL &&
		strcmp(submission->document->system, submission->source_system) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the submission is not from this role's system"),
				 errdetail("This role is system \"%s\" of organisation %s.",
						   submission->source_system, submission->owner)));
	submission->dataset = spine_dataset_get(submission->document->dataset, submission->document->version);

	n = submission->document->nrecords;
	submission->verdicts = palloc_extended(sizeof(Verdict) * Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	submission->records = palloc_extended(sizeof(SpineRecord *) * Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int place = 0; place < n; place++)
	{
		CHECK_FOR_INTERRUPTS();
		check_place(submission, place);
	}
	store_records(submission);
	/* the cache may have been filled anew meanwhile */
	submission->caller = spine_caller_get();
	keep_rejections(submission);

	InitMaterializedSRF(fcinfo, 0);
	return_verdicts(submission, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
