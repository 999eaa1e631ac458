/*
 * door_inbox.c
 *		The bulk door: COPY spine.inbox (document) FROM ..., one JSON record a
 *		line. Tolerant: each line has an outcome of its own.
 *
 * The lines are judged as they come and kept as they came, in pieces; what is
 * sound is stored by the statement's end, parents first, in whatever order the
 * lines stood.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "intake/door.h"
#include "intake/submission.h"

#define PIECE_BYTES		(256 * 1024)	/* of lines that are kept together */
#define OUTCOMES_KEPT	1000	/* before they are written */
#define OUTCOMES_BYTES	(1024 * 1024)	/* likewise */

typedef struct Inbox
{
	SpineSubmission *submission;
	MemoryContext line_context; /* reset after each line */
	MemoryContext outcome_context;
	SpineLineOutcomes outcomes;
	Size		outcomes_bytes;
	Datum		no_findings;
	int64		nlines;
	int64		piece_first;	/* number of the piece's first line */
	StringInfoData piece;
} Inbox;

PG_FUNCTION_INFO_V1(spine_inbox_statement);
PG_FUNCTION_INFO_V1(spine_inbox_row);

static void
write_outcomes(Inbox *inbox)
{
	if (inbox->outcomes.n > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(inbox->outcome_context);

		spine_submission_keep_outcomes(spine_submission_entry(inbox->submission), &inbox->outcomes);
		MemoryContextSwitchTo(old);
	}
	inbox->outcomes.n = 0;
	inbox->outcomes_bytes = 0;
	MemoryContextReset(inbox->outcome_context);
}

static void
take_outcome(void *state, const SpineVerdict *verdict)
{
	Inbox	   *inbox = state;
	SpineLineOutcomes *outcomes = &inbox->outcomes;
	MemoryContext old;
	Datum		findings;
	Size		size;
	int			i;

	findings = verdict->findings == NIL ? inbox->no_findings : spine_findings_jsonb(verdict->findings);
	size = VARSIZE(DatumGetPointer(findings));
	if (outcomes->n == OUTCOMES_KEPT || (outcomes->n > 0 && inbox->outcomes_bytes + size > OUTCOMES_BYTES))
		write_outcomes(inbox);
	inbox->outcomes_bytes += size;
	old = MemoryContextSwitchTo(inbox->outcome_context);
	if (outcomes->n == 0)
	{
		outcomes->lines = palloc(sizeof(Datum) * OUTCOMES_KEPT);
		outcomes->outcomes = palloc(sizeof(Datum) * OUTCOMES_KEPT);
		outcomes->groups = palloc(sizeof(Datum) * OUTCOMES_KEPT);
		outcomes->no_group = palloc(sizeof(bool) * OUTCOMES_KEPT);
		outcomes->records = palloc(sizeof(Datum) * OUTCOMES_KEPT);
		outcomes->no_record = palloc(sizeof(bool) * OUTCOMES_KEPT);
		outcomes->findings = palloc(sizeof(Datum) * OUTCOMES_KEPT);
	}
	i = outcomes->n++;
	outcomes->lines[i] = Int64GetDatum(verdict->n);
	outcomes->outcomes[i] = CStringGetTextDatum(spine_outcome_names[verdict->outcome]);
	outcomes->no_group[i] = verdict->group == NULL;
	if (verdict->group != NULL)
		outcomes->groups[i] = CStringGetTextDatum(verdict->group->name);
	outcomes->no_record[i] = verdict->record_id == NULL;
	if (verdict->record_id != NULL)
	{
		pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

		*copy = *verdict->record_id;
		outcomes->records[i] = UUIDPGetDatum(copy);
	}
	outcomes->findings[i] = verdict->findings == NIL ? findings : datumCopy(findings, false, -1);
	MemoryContextSwitchTo(old);
}

static void
settle(void *state, bool undone)
{
	Inbox	   *inbox = state;

	if (undone)
		inbox->outcomes.n = 0;
	write_outcomes(inbox);
}

static void
write_piece(Inbox *inbox)
{
	text	   *lines;

	if (inbox->piece.len == 0)
		return;
	lines = cstring_to_text_with_len(inbox->piece.data, inbox->piece.len);
	spine_submission_keep_lines(spine_submission_entry(inbox->submission), inbox->piece_first, lines);
	pfree(lines);
	resetStringInfo(&inbox->piece);
	inbox->piece_first = inbox->nlines + 1;
}

static void
open_inbox(Oid view)
{
	const SpineCaller *caller = spine_door_writer();
	SpineStatement *statement = spine_statement_open(view);
	MemoryContext old = MemoryContextSwitchTo(statement->context);
	Inbox	   *inbox = palloc0(sizeof(Inbox));
	SpineSubmissionDoor door = {.verdict = take_outcome, .settle = settle, .state = inbox};
	SpineSubmissionEntry entry = {.door = DOOR_INBOX};

	spine_submission_from(&entry, caller);
	inbox->line_context = AllocSetContextCreate(statement->context, "spine line", ALLOCSET_DEFAULT_SIZES);
	inbox->outcome_context = AllocSetContextCreate(statement->context, "spine outcomes", ALLOCSET_DEFAULT_SIZES);
	inbox->no_findings = spine_findings_jsonb(NIL);
	inbox->piece_first = 1;
	initStringInfo(&inbox->piece);
	inbox->submission = spine_submission_begin(&entry, false, &door);
	statement->state = inbox;
	MemoryContextSwitchTo(old);
}

static void
close_inbox(SpineStatement *statement)
{
	Inbox	   *inbox = statement->state;
	MemoryContext old = MemoryContextSwitchTo(inbox->line_context);

	write_piece(inbox);
	spine_submission_finish(inbox->submission);
	if (inbox->nlines > 0)
	{
		spine_submission_record(spine_submission_entry(inbox->submission), NULL);
		spine_statement_notice(spine_submission_entry(inbox->submission)->counts);
	}
	MemoryContextSwitchTo(old);
	spine_statement_close(statement);
}

Datum
spine_inbox_statement(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	ErrorContextCallback *context = error_context_stack;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spine.inbox_statement() is a statement trigger of spine.inbox")));

	/* without COPY's line, or a function's statement, in an error: they are a person's data */
	error_context_stack = NULL;
	if (TRIGGER_FIRED_BEFORE(trigdata->tg_event))
		open_inbox(RelationGetRelid(trigdata->tg_relation));
	else
		close_inbox(spine_statement_find(RelationGetRelid(trigdata->tg_relation)));
	error_context_stack = context;
	return PointerGetDatum(NULL);
}

Datum
spine_inbox_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	ErrorContextCallback *context = error_context_stack;
	SpineStatement *statement;
	Inbox	   *inbox;
	MemoryContext old;
	Datum		document;
	bool		isnull;
	bool		taken = true;
	const char *line = "";
	int			length = 0;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_INSTEAD(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spine.inbox_row() is an INSTEAD OF trigger of spine.inbox")));

	spine_statement_hide_lines();
	error_context_stack = NULL;
	statement = spine_statement_find(RelationGetRelid(trigdata->tg_relation));
	inbox = statement->state;
	old = MemoryContextSwitchTo(inbox->line_context);
	document = heap_getattr(trigdata->tg_trigtuple, 1, RelationGetDescr(trigdata->tg_relation), &isnull);
	if (!isnull)
	{
		text	   *value = DatumGetTextPP(document);

		line = VARDATA_ANY(value);
		length = VARSIZE_ANY_EXHDR(value);
	}
	if (inbox->piece.len > 0 && inbox->piece.len + (Size) length > PIECE_BYTES)
		write_piece(inbox);
	inbox->nlines++;
	appendBinaryStringInfo(&inbox->piece, line, length);
	appendStringInfoChar(&inbox->piece, '\n');
	spine_submission_add(inbox->submission, inbox->nlines, NULL, line, length, 0);
	MemoryContextSwitchTo(old);
	MemoryContextReset(inbox->line_context);
	error_context_stack = context;
	/* another tuple than the one given, which the executor frees only then */
	return PointerGetDatum(heap_form_tuple(RelationGetDescr(trigdata->tg_relation), &document, &taken));
}
