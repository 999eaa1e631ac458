/*
 * door_submit.c
 *		The tolerant door for documents: spine.submit(document), and
 *		spine.validate(document), which says the same and keeps nothing. Also
 *		records that are run again after they were rejected.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "errors.h"
#include "intake/door.h"
#include "intake/submission.h"
#include "intake/subtransaction.h"

PG_FUNCTION_INFO_V1(spine_submit);
PG_FUNCTION_INFO_V1(spine_validate);
PG_FUNCTION_INFO_V1(spine_run_again);

typedef struct Answer
{
	SpineOutcome outcome;
	pg_uuid_t	record_id;
	Datum		findings;		/* packed; 0: none */
} Answer;

typedef struct Answers
{
	MemoryContext context;
	int			n;
	Answer	   *answers;		/* by place */
} Answers;

static void
take_answer(void *state, const SpineVerdict *verdict)
{
	Answers    *answers = state;
	Answer	   *answer = &answers->answers[verdict->n - 1];
	MemoryContext old = MemoryContextSwitchTo(answers->context);

	answer->outcome = verdict->outcome;
	if (verdict->record_id != NULL)
		answer->record_id = *verdict->record_id;
	answer->findings = verdict->findings == NIL ? (Datum) 0 : spine_findings_pack(verdict->findings);
	MemoryContextSwitchTo(old);
}

static Answers *
answers_for(int n)
{
	Answers    *answers = palloc(sizeof(Answers));

	answers->context = CurrentMemoryContext;
	answers->n = n;
	answers->answers = palloc_extended(sizeof(Answer) * (Size) Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return answers;
}

/* keys: what stands in the first column instead of a number, or NULL. */
static void
return_answers(const Answers *answers, bool stored, const Datum *keys, ReturnSetInfo *rsinfo)
{
	Datum		none = spine_findings_jsonb(NIL);
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "spine answer", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row);

	for (int i = 0; i < answers->n; i++)
	{
		const Answer *answer = &answers->answers[i];
		Datum		values[4];
		bool		nulls[4] = {false, false, answer->outcome == OUTCOME_REJECTED || !stored, false};

		CHECK_FOR_INTERRUPTS();
		values[0] = keys != NULL ? keys[i] : Int32GetDatum(i + 1);
		values[1] = CStringGetTextDatum(spine_outcome_names[answer->outcome]);
		values[2] = UUIDPGetDatum(&answer->record_id);
		values[3] = answer->findings == (Datum) 0 ? none :
			spine_findings_jsonb(spine_findings_unpack(answer->findings));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
}

/* One document on its way. */
typedef struct Document
{
	const SpineDocument *document;
	SpineDataset *dataset;
	const SpineSubmissionEntry *entry;
	text	   *raw;
	bool		dry;			/* nothing of it stays */
	Answers    *answers;
} Document;

static bool
run_document(void *arg)
{
	Document   *run = arg;
	SpineSubmissionDoor door = {.verdict = take_answer, .state = run->answers};
	SpineSubmission *submission = spine_submission_begin(run->entry, run->dry, &door);

	for (int i = 0; i < run->document->nrecords; i++)
		spine_submission_add(submission, i + 1, run->dataset, run->document->records[i].start,
							 run->document->records[i].length, 0);
	spine_submission_finish(submission);
	if (!run->dry)
		spine_submission_record(spine_submission_entry(submission), run->raw);
	return !run->dry;
}

static Datum
take_document(FunctionCallInfo fcinfo, bool dry)
{
	text	   *json = PG_GETARG_TEXT_PP(0);
	SpineSubmissionEntry entry = {.door = DOOR_SUBMIT};
	SpineDocument *document;
	SpineDataset *dataset;
	Answers    *answers;
	Document	run;
	ErrorData  *error = NULL;

	/* of any document, not only where there is something to write */
	PreventCommandIfReadOnly(dry ? "spine.validate()" : "spine.submit()");
	spine_submission_from(&entry, spine_door_writer());
	document = spine_document_parse(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
	if (document->system != NULL && strcmp(document->system, entry.source_system) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the submission is not from this role's system"),
				 errdetail("This role is system \"%s\" of organisation %s.", entry.source_system, entry.owner)));
	dataset = spine_dataset_get(document->dataset, document->version);
	entry.dataset = dataset->name;
	entry.version = dataset->version;
	answers = answers_for(document->nrecords);
	run.document = document;
	run.dataset = dataset;
	run.entry = &entry;
	run.raw = json;
	run.dry = dry;
	run.answers = answers;
	if (dry)
		error = spine_subtransaction_run(run_document, &run);
	else
		run_document(&run);
	if (error != NULL)
		ReThrowError(error);
	InitMaterializedSRF(fcinfo, 0);
	return_answers(answers, !dry, NULL, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* spine.submit(document json | text): a row for each record. */
Datum
spine_submit(PG_FUNCTION_ARGS)
{
	return take_document(fcinfo, false);
}

/* spine.validate(document json | text): the same rows, without record_id. */
Datum
spine_validate(PG_FUNCTION_ARGS)
{
	return take_document(fcinfo, true);
}

/*
 * spine.run_again(owner, source_system, kind, dataset, version, ids uuid[], records text[], not_after timestamptz[]):
 * rejected records of one system as a submission of their own. For spine's
 * functions, which have looked at who asks and do with the outcomes what is due.
 */
Datum
spine_run_again(PG_FUNCTION_ARGS)
{
	ArrayType  *ids = PG_GETARG_ARRAYTYPE_P(5);
	ArrayType  *texts = PG_GETARG_ARRAYTYPE_P(6);
	ArrayType  *times = PG_GETARG_ARRAYTYPE_P(7);
	SpineSubmissionEntry entry = {
		.door = DOOR_RESUBMIT,
		.owner = text_to_cstring(PG_GETARG_TEXT_PP(0)),
		.source_system = text_to_cstring(PG_GETARG_TEXT_PP(1)),
		.kind = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.role_name = memcpy(palloc0(NAMEDATALEN), spine_caller_get()->role_name, NAMEDATALEN)
	};
	SpineDataset *dataset = spine_dataset_get(text_to_cstring(PG_GETARG_TEXT_PP(3)),
											  text_to_cstring(PG_GETARG_TEXT_PP(4)));
	SpineSubmissionDoor door = {.verdict = take_answer};
	SpineSubmission *submission;
	Answers    *answers;
	Datum	   *keys;
	Datum	   *records;
	Datum	   *limits;
	int			n;
	int			nrecords;
	int			nlimits;

	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &keys, NULL, &n);
	deconstruct_array(texts, TEXTOID, -1, false, TYPALIGN_INT, &records, NULL, &nrecords);
	deconstruct_array(times, TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE, &limits, NULL, &nlimits);
	if (n != nrecords || n != nlimits)
		elog(ERROR, "as many records as ids are wanted");
	entry.dataset = dataset->name;
	entry.version = dataset->version;
	answers = answers_for(n);
	door.state = answers;
	submission = spine_submission_begin(&entry, false, &door);
	for (int i = 0; i < n; i++)
	{
		text	   *record = DatumGetTextPP(records[i]);

		spine_submission_add(submission, i + 1, dataset, VARDATA_ANY(record), VARSIZE_ANY_EXHDR(record),
							 DatumGetTimestampTz(limits[i]));
	}
	spine_submission_finish(submission);
	spine_submission_record(spine_submission_entry(submission), NULL);
	InitMaterializedSRF(fcinfo, 0);
	return_answers(answers, true, keys, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
