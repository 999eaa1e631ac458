/*
 * document.c
 *		Takes a submission apart with PostgreSQL's own JSON parser.
 *
 * First the document is cut into its records by brackets and quotes alone, and
 * what is left of it, with a number in the place of each record, is parsed.
 * Then each record is parsed by itself: what is wrong in one, be it a
 * character that PostgreSQL cannot hold or a missing comma, costs that record
 * and no other. A document that cannot be cut or is broken around its records
 * is refused whole, with the place of the fault and never its text.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "compat.h"
#include "errors.h"
#include "intake/document.h"

#define DEPTH_MAX	64			/* of a record, and of what is around the records; the parser is
								 * recursive */

static void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SPINE_DOCUMENT_MALFORMED),
			 errmsg("submission is malformed: %s", what),
			 errhint("A submission is {\"dataset\", \"version\", \"system\", \"records\": [{\"group\", \"local_record_id\", ..., \"data\": {...}}]}.")));
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *
skip_space(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	return at;
}

/* Past the string that begins here; end where it has no end. */
static const char *
skip_string(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\' && at + 1 < end)
			at++;
	return at < end ? at + 1 : end;
}

/* Past the value that begins here, by brackets and quotes; NULL where it has no end. */
static const char *
skip_value(const char *at, const char *end)
{
	int			depth = 0;

	while (at < end)
	{
		switch (*at)
		{
			case '"':
				at = skip_string(at, end);
				if (at == end)
					return NULL;
				break;
			case '{':
			case '[':
				depth++;
				at++;
				break;
			case '}':
			case ']':
				if (depth == 0)
					return at;
				depth--;
				at++;
				break;
			case ',':
				if (depth == 0)
					return at;
				at++;
				break;
			default:
				at++;
		}
		if (depth == 0 && (at == end || is_space(*at) || at[-1] == '}' || at[-1] == ']' || at[-1] == '"'))
			return at;
	}
	return NULL;
}

static bool
too_deep(const char *json, int length)
{
	const char *end = json + length;
	int			depth = 0;

	for (const char *at = json; at < end;)
	{
		if (*at == '"')
		{
			at = skip_string(at, end);
			continue;
		}
		if ((*at == '{' || *at == '[') && ++depth > DEPTH_MAX)
			return true;
		if (*at == '}' || *at == ']')
			depth--;
		at++;
	}
	return false;
}

static void
add_span(SpineDocument *document, const char *start, const char *end)
{
	CHECK_FOR_INTERRUPTS();
	if (document->nrecords == document->records_room)
	{
		Size		room = Max(16, (Size) document->records_room * 2);

		if (document->records == NULL)
			document->records = palloc(sizeof(SpineSpan) * room);
		else
			document->records = repalloc_huge(document->records, sizeof(SpineSpan) * room);
		document->records_room = room;
	}
	document->records[document->nrecords].start = start;
	document->records[document->nrecords++].length = end - start;
}

/*
 * Cuts the records out of a copy of the document: each becomes a zero among
 * blanks, lines kept, so that the place of a fault around them is true.
 */
static void
cut_records(SpineDocument *document, const char *json, char *rest, int length)
{
	const char *end = json + length;
	const char *at = json;
	int			depth = 0;
	bool		at_records = false;

	while (at < end)
	{
		if (*at == '"')
		{
			const char *string = at;
			const char *after;

			at = skip_string(at, end);
			after = skip_space(at, end);
			if (depth == 1 && after < end && *after == ':')
				at_records = at - string == 9 && memcmp(string, "\"records\"", 9) == 0;
			continue;
		}
		if (*at == '}' || *at == ']')
			depth--;
		if (*at == '{' || *at == '[')
			depth++;
		if (*at++ != '[' || depth != 2 || !at_records)
			continue;
		for (;;)
		{
			const char *element = skip_space(at, end);
			const char *after;

			if (element < end && *element == ',')
			{
				at = element + 1;
				continue;
			}
			if (element == end || *element == ']' || *element == '}')
			{
				at = element;
				break;
			}
			after = skip_value(element, end);
			if (after == NULL)
			{
				at = end;
				break;
			}
			add_span(document, element, after);
			for (char *blank = rest + (element - json); blank < rest + (after - json); blank++)
				if (*blank != '\n')
					*blank = ' ';
			rest[element - json] = '0';
			at = after;
		}
		at_records = false;
	}
}

/*
 * What is around the records
 */

typedef struct AroundContext
{
	JsonLexContext *lex;
	SpineDocument *document;
	char	   *field;			/* the name whose value comes next */
	bool		in_records;
	int			nelements;
} AroundContext;

/* Something stands in the array that the parser takes for the records. */
static void
count_element(AroundContext *context)
{
	if (context->in_records && context->lex->lex_level == 2)
		context->nelements++;
}

static SPINE_JSON_ACTION
around_object_start(void *state)
{
	AroundContext *context = state;

	/* among the records there is one only where it has no end: the parser will say so */
	if (context->lex->lex_level > 0 && !context->in_records)
		malformed("an object stands where a text or the records belong");
	count_element(context);
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
around_array_start(void *state)
{
	AroundContext *context = state;

	if (context->lex->lex_level == 0)
		malformed("it is an array, not an object");
	count_element(context);
	if (context->in_records)
		SPINE_JSON_GO_ON;
	if (strcmp(context->field, "records") != 0)
		malformed("an array stands where a text belongs");
	if (context->document->has_records)
		malformed("it has records twice");
	context->document->has_records = context->in_records = true;
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
around_array_end(void *state)
{
	AroundContext *context = state;

	if (context->lex->lex_level == 1)
		context->in_records = false;
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
around_field_start(void *state, char *name, bool isnull)
{
	AroundContext *context = state;

	if (!context->in_records)
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

static SPINE_JSON_ACTION
around_scalar(void *state, char *token, JsonTokenType type)
{
	AroundContext *context = state;
	SpineDocument *document = context->document;

	if (context->lex->lex_level == 0)
		malformed("it is not an object");
	count_element(context);
	if (!context->in_records && type != JSON_TOKEN_NULL)
	{
		if (strcmp(context->field, "records") == 0)
			malformed("records is not an array");
		if (type != JSON_TOKEN_STRING)
			malformed("dataset, version and system are texts");
		if (strcmp(context->field, "dataset") == 0)
			set_once(&document->dataset, token, context->field);
		else if (strcmp(context->field, "version") == 0)
			set_once(&document->version, token, context->field);
		else if (strcmp(context->field, "system") == 0)
			set_once(&document->system, token, context->field);
		else
			malformed("it has a key other than dataset, version, system and records");
	}
	SPINE_JSON_GO_ON;
}

SpineDocument *
spine_document_parse(const char *json, int length)
{
	SpineDocument *document = palloc0(sizeof(SpineDocument));
	AroundContext context = {.document = document};
	JsonSemAction actions = {
		.semstate = &context,
		.object_start = around_object_start,
		.array_start = around_array_start,
		.array_end = around_array_end,
		.object_field_start = around_field_start,
		.scalar = around_scalar
	};
	char	   *rest = palloc_extended((Size) length + 1, MCXT_ALLOC_HUGE);
	JsonParseErrorType error;

	memcpy(rest, json, length);
	rest[length] = '\0';
	cut_records(document, json, rest, length);
	if (too_deep(rest, length))
		malformed("it is nested too deeply");
	context.lex = spine_json_lexer(rest, length, GetDatabaseEncoding());
	error = pg_parse_json(context.lex, &actions);
	if (error != JSON_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_SPINE_DOCUMENT_MALFORMED),
				 errmsg("submission is not valid JSON"),
				 errdetail("The fault is on line %d, at byte %d.",
						   context.lex->line_number,
						   context.lex->token_start != NULL ? (int) (context.lex->token_start - rest) + 1 : length + 1)));
	pfree(rest);
	if (document->dataset == NULL || document->version == NULL)
		malformed("it does not say its dataset and version");
	if (!document->has_records)
		malformed("it has no records");
	if (context.nelements != document->nrecords)
		malformed("its key records is not spelt plainly");
	return document;
}

/*
 * One record
 */

typedef enum Place
{
	AT_RECORD,					/* in the record's object */
	AT_DATA,					/* in its data */
	AT_DEEPER					/* in something that has no business there */
} Place;

typedef struct RecordContext
{
	JsonLexContext *lex;
	SpineDocumentRecord *record;
	bool		alone;
	bool		has_data;
	Place		place;
	Place		outer;			/* the place to return to from AT_DEEPER */
	int			depth;			/* levels below the place, for AT_DEEPER */
	char	   *field;			/* the name whose value comes next */
} RecordContext;

static const char *const no_record = "a record is an object with group, identifiers and an object data";

static void
add_field(RecordContext *context, JsonTokenType type, char *text)
{
	SpineDocumentRecord *record = context->record;

	if (record->nfields == record->fields_room)
	{
		record->fields_room = Max(32, record->fields_room * 2);
		if (record->fields == NULL)
			record->fields = palloc(sizeof(SpineField) * record->fields_room);
		else
			record->fields = repalloc_huge(record->fields, sizeof(SpineField) * (Size) record->fields_room);
	}
	record->fields[record->nfields].name = context->field;
	record->fields[record->nfields].type = type;
	record->fields[record->nfields++].text = text;
}

static void
go_deeper(RecordContext *context)
{
	if (context->place != AT_DEEPER)
	{
		context->outer = context->place;
		context->place = AT_DEEPER;
		context->depth = 0;
	}
	context->depth++;
}

/* A value that is an object or an array. */
static void
not_plain(RecordContext *context, JsonTokenType type)
{
	if (context->place == AT_DATA)
		add_field(context, type, NULL);
	else if (context->place == AT_RECORD)
		context->record->fault = no_record;
	go_deeper(context);
}

static SPINE_JSON_ACTION
record_object_start(void *state)
{
	RecordContext *context = state;

	if (context->lex->lex_level == 0)
		context->place = AT_RECORD;
	else if (context->place == AT_RECORD && strcmp(context->field, "data") == 0)
	{
		if (context->has_data)
			context->record->fault = "the record has data twice";
		context->has_data = true;
		context->place = AT_DATA;
	}
	else
		not_plain(context, JSON_TOKEN_OBJECT_START);
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
record_object_end(void *state)
{
	RecordContext *context = state;

	if (context->place == AT_DATA)
		context->place = AT_RECORD;
	else if (context->place == AT_DEEPER && --context->depth == 0)
		context->place = context->outer;
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
record_array_start(void *state)
{
	RecordContext *context = state;

	not_plain(context, JSON_TOKEN_ARRAY_START);
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
record_array_end(void *state)
{
	RecordContext *context = state;

	if (--context->depth == 0)
		context->place = context->outer;
	SPINE_JSON_GO_ON;
}

static SPINE_JSON_ACTION
record_field_start(void *state, char *name, bool isnull)
{
	RecordContext *context = state;

	if (context->place != AT_DEEPER)
		context->field = name;
	SPINE_JSON_GO_ON;
}

static void
envelope_scalar(RecordContext *context, char *text, JsonTokenType type)
{
	SpineDocumentRecord *record = context->record;
	const struct
	{
		const char *name;
		char	  **place;
		bool		alone;
	}			keys[] = {
		{"group", &record->group, false},
		{"nhs_number", &record->nhs_number, false},
		{"local_patient_id", &record->local_patient_id, false},
		{"local_episode_id", &record->local_episode_id, false},
		{"local_record_id", &record->local_record_id, false},
		{"dataset", &record->dataset, true},
		{"version", &record->version, true},
		{"system", &record->system, true}
	};

	for (int i = 0; i < lengthof(keys); i++)
	{
		if ((keys[i].alone && !context->alone) || strcmp(context->field, keys[i].name) != 0)
			continue;
		if (type == JSON_TOKEN_NULL)
			return;
		if (*keys[i].place != NULL || (type != JSON_TOKEN_STRING && type != JSON_TOKEN_NUMBER))
			record->fault = no_record;
		else
			*keys[i].place = text;
		return;
	}
	if (strcmp(context->field, "data") == 0)
	{
		if (type != JSON_TOKEN_NULL)
			record->fault = no_record;
	}
	else if (record->unknown_key == NULL)
		record->unknown_key = context->field;
}

static SPINE_JSON_ACTION
record_scalar(void *state, char *token, JsonTokenType type)
{
	RecordContext *context = state;

	if (context->lex->lex_level == 0)
		context->record->fault = no_record;
	else if (context->place == AT_RECORD)
		envelope_scalar(context, token, type);
	else if (context->place == AT_DATA)
		add_field(context, type, token);
	SPINE_JSON_GO_ON;
}

static const char *
json_fault(JsonParseErrorType error)
{
	switch (error)
	{
		case JSON_UNICODE_CODE_POINT_ZERO:
			return "the record holds a NUL character, which no text can hold";
		case JSON_UNICODE_HIGH_SURROGATE:
		case JSON_UNICODE_LOW_SURROGATE:
			return "the record holds half of a surrogate pair, which is no character";
		case JSON_ESCAPING_REQUIRED:
			return "the record holds a control character that is not escaped";
		default:
			return "the record is not valid JSON";
	}
}

void
spine_document_record(const char *json, int length, bool alone, SpineDocumentRecord *record)
{
	RecordContext context = {.record = record, .alone = alone};
	JsonSemAction actions = {
		.semstate = &context,
		.object_start = record_object_start,
		.object_end = record_object_end,
		.array_start = record_array_start,
		.array_end = record_array_end,
		.object_field_start = record_field_start,
		.scalar = record_scalar
	};
	JsonParseErrorType error;

	memset(record, 0, sizeof(*record));
	if (too_deep(json, length))
	{
		record->fault = "the record is nested too deeply";
		return;
	}
	context.lex = spine_json_lexer(unconstify(char *, json), length, GetDatabaseEncoding());
	error = pg_parse_json(context.lex, &actions);
	if (error != JSON_SUCCESS)
		record->fault = json_fault(error);
}
