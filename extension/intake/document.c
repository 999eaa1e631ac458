/*
 * document.c
 *		Takes a submission apart with PostgreSQL's own JSON parser.
 *
 * Of a broken document nothing can be kept: it is refused whole, with the
 * place of the fault and never its text. Of a sound document each record is
 * handed on, malformed or not.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "compat.h"
#include "errors.h"
#include "intake/document.h"

/* where in the document the parser is */
typedef enum Place
{
	AT_TOP,						/* in the document's object */
	AT_RECORDS,					/* in the array of records */
	AT_RECORD,					/* in a record's object */
	AT_DATA,					/* in its data */
	AT_DEEPER					/* in something that has no business there */
} Place;

typedef struct ParseContext
{
	JsonLexContext *lex;
	SpineDocument *document;
	Place		place;
	int			depth;			/* levels below the place, for AT_DEEPER */
	Place		outer;			/* the place to return to from AT_DEEPER */
	char	   *field;			/* the name whose value comes next */
} ParseContext;

static void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SPINE_DOCUMENT_MALFORMED),
			 errmsg("submission is malformed: %s", what),
			 errhint("A submission is {\"dataset\", \"version\", \"system\", \"records\": [{\"group\", \"local_record_id\", ..., \"data\": {...}}]}.")));
}

static SpineDocumentRecord *
current_record(ParseContext *context)
{
	return &context->document->records[context->document->nrecords - 1];
}

static void
add_record(ParseContext *context)
{
	SpineDocument *document = context->document;

	CHECK_FOR_INTERRUPTS();
	if (document->nrecords == document->records_room)
	{
		document->records_room = Max(16, document->records_room * 2);
		if (document->records == NULL)
			document->records = palloc(sizeof(SpineDocumentRecord) * document->records_room);
		else
			document->records = repalloc_huge(document->records,
											  sizeof(SpineDocumentRecord) * (Size) document->records_room);
	}
	memset(&document->records[document->nrecords++], 0, sizeof(SpineDocumentRecord));
	current_record(context)->raw = context->lex->token_start;
}

static void
add_field(ParseContext *context, JsonTokenType type, char *text)
{
	SpineDocumentRecord *record = current_record(context);

	CHECK_FOR_INTERRUPTS();
	if (record->nfields == record->fields_room)
	{
		record->fields_room = Max(16, record->fields_room * 2);
		if (record->fields == NULL)
			record->fields = palloc(sizeof(SpineField) * record->fields_room);
		else
			record->fields = repalloc(record->fields, sizeof(SpineField) * record->fields_room);
	}
	record->fields[record->nfields].name = context->field;
	record->fields[record->nfields].type = type;
	record->fields[record->nfields++].text = text;
}

static void
go_deeper(ParseContext *context)
{
	if (context->place != AT_DEEPER)
	{
		context->outer = context->place;
		context->place = AT_DEEPER;
		context->depth = 0;
	}
	context->depth++;
}

static void
come_up(ParseContext *context)
{
	if (--context->depth == 0)
		context->place = context->outer;
}

static SPINE_JSON_ACTION
object_start(void *state)
{
	ParseContext *context = state;

	if (context->lex->lex_level == 0)
		context->place = AT_TOP;
	else if (context->place == AT_RECORDS)
	{
		add_record(context);
		context->place = AT_RECORD;
	}
	else if (context->place == AT_RECORD && strcmp(context->field, "data") == 0)
		context->place = AT_DATA;
	else
	{
		if (context->place == AT_DATA)
			add_field(context, JSON_TOKEN_OBJECT_START, NULL);
		else if (context->place == AT_RECORD)
			current_record(context)->malformed = true;
		else if (context->place == AT_TOP)
			malformed("an object stands where a text or the records belong");
		go_deeper(context);
	}
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
object_end(void *state)
{
	ParseContext *context = state;

	switch (context->place)
	{
		case AT_DEEPER:
			come_up(context);
			break;
		case AT_DATA:
			context->place = AT_RECORD;
			break;
		case AT_RECORD:
			current_record(context)->raw_length =
				context->lex->prev_token_terminator - current_record(context)->raw;
			context->place = AT_RECORDS;
			break;
		default:
			break;
	}
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
array_start(void *state)
{
	ParseContext *context = state;

	if (context->lex->lex_level == 0)
		malformed("it is an array, not an object");
	if (context->place == AT_TOP && context->field != NULL && strcmp(context->field, "records") == 0)
	{
		if (context->document->has_records)
			malformed("it has records twice");
		context->document->has_records = true;
		context->place = AT_RECORDS;
		SPINE_JSON_GO_ON;
	}
	if (context->place == AT_DATA)
		add_field(context, JSON_TOKEN_ARRAY_START, NULL);
	else if (context->place == AT_RECORD)
		current_record(context)->malformed = true;
	else if (context->place == AT_RECORDS)
	{
		add_record(context);
		current_record(context)->malformed = true;
	}
	else if (context->place == AT_TOP)
		malformed("an array stands where a text belongs");
	go_deeper(context);
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
array_end(void *state)
{
	ParseContext *context = state;

	if (context->place == AT_DEEPER)
	{
		come_up(context);
		if (context->place == AT_RECORDS)
			current_record(context)->raw_length =
				context->lex->prev_token_terminator - current_record(context)->raw;
	}
	else
		context->place = AT_TOP;
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
field_start(void *state, char *name, bool isnull)
{
	ParseContext *context = state;

	if (context->place != AT_DEEPER)
		context->field = name;
	SPINE_JSON_GO_ON;
}

static void
set_once(char **place, char *text, const char *name)
{
	if (*place != NULL)
		malformed(psprintf("it has %s twice", name));
	*place = text;
}

static void
top_scalar(SpineDocument *document, const char *name, char *text, JsonTokenType type)
{
	if (type == JSON_TOKEN_NULL)
		return;
	if (strcmp(name, "records") == 0)
		malformed("records is not an array");
	if (type != JSON_TOKEN_STRING)
		malformed("dataset, version and system are texts");
	if (strcmp(name, "dataset") == 0)
		set_once(&document->dataset, text, name);
	else if (strcmp(name, "version") == 0)
		set_once(&document->version, text, name);
	else if (strcmp(name, "system") == 0)
		set_once(&document->system, text, name);
	else
		malformed("it has a key other than dataset, version, system and records");
}

static void
record_scalar(SpineDocumentRecord *record, char *name, char *text, JsonTokenType type)
{
	char	  **place;

	if (strcmp(name, "group") == 0)
		place = &record->group;
	else if (strcmp(name, "nhs_number") == 0)
		place = &record->nhs_number;
	else if (strcmp(name, "local_patient_id") == 0)
		place = &record->local_patient_id;
	else if (strcmp(name, "local_episode_id") == 0)
		place = &record->local_episode_id;
	else if (strcmp(name, "local_record_id") == 0)
		place = &record->local_record_id;
	else
	{
		if (strcmp(name, "data") == 0)
			record->malformed = record->malformed || type != JSON_TOKEN_NULL;
		else if (record->unknown_key == NULL)
			record->unknown_key = name;
		return;
	}
	if (type == JSON_TOKEN_NULL)
		return;
	if (*place != NULL || (type != JSON_TOKEN_STRING && type != JSON_TOKEN_NUMBER))
		record->malformed = true;
	else
		*place = text;
}

static SPINE_JSON_ACTION
scalar(void *state, char *token, JsonTokenType type)
{
	ParseContext *context = state;

	if (context->lex->lex_level == 0)
		malformed("it is not an object");
	switch (context->place)
	{
		case AT_TOP:
			top_scalar(context->document, context->field, token, type);
			break;
		case AT_RECORDS:
			add_record(context);
			current_record(context)->malformed = true;
			current_record(context)->raw = NULL;	/* the parser is past it already */
			break;
		case AT_RECORD:
			record_scalar(current_record(context), context->field, token, type);
			break;
		case AT_DATA:
			add_field(context, type, token);
			break;
		case AT_DEEPER:
			break;
	}
	SPINE_JSON_GO_ON;
}

SpineDocument *
spine_document_parse(char *json, int length)
{
	JsonLexContext *lex = spine_json_lexer(json, length, GetDatabaseEncoding());
	ParseContext context = {.lex = lex, .document = palloc0(sizeof(SpineDocument))};
	JsonSemAction actions = {
		.semstate = &context,
		.object_start = object_start,
		.object_end = object_end,
		.array_start = array_start,
		.array_end = array_end,
		.object_field_start = field_start,
		.scalar = scalar
	};
	JsonParseErrorType error = pg_parse_json(lex, &actions);

	if (error != JSON_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_DOCUMENT_MALFORMED),
				 errmsg("submission is not valid JSON"),
				 errdetail("The fault is on line %d, at byte %d.",
						   lex->line_number,
						   lex->token_start != NULL ? (int) (lex->token_start - json) + 1 : length + 1)));
	if (context.document->dataset == NULL || context.document->version == NULL)
		malformed("it does not say its dataset and version");
	if (!context.document->has_records)
		malformed("it has no records");
	return context.document;
}
