/*
 * check.c
 *		Judges one record over the compiled definition of its group, and fills
 *		in what follows from it: identifiers, event time, anchor.
 *
 * All findings of a record are told at once. Nothing here raises on account of
 * what a supplier sent.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/numeric.h"

#include "compat.h"
#include "intake/intake.h"
#include "intake/local_time.h"
#include "intake/organisations.h"
#include "intake/subtransaction.h"

#define LOCAL_ID_MAX		100 /* characters in a supplier's own identifier */
#define KEY_ID_MAX			500 /* in one made of key items: more would not fit into an index */
#define FINDINGS_MAX		1000	/* that are told of one record */
#define WIDE_GROUP			200 /* items from which on a row may be too large for a page */
#define ROW_OVERHEAD		800 /* bytes of a row beside its items: the envelope, with long
								 * identifiers */

void
spine_record_init(SpineRecord *record, SpineGroup *group, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	int			natts = group->desc->natts;

	memset(record, 0, sizeof(*record));
	record->group = group;
	record->context = context;
	record->values = palloc0(sizeof(Datum) * natts);
	record->nulls = palloc(sizeof(bool) * natts);
	memset(record->nulls, true, natts);
	MemoryContextSwitchTo(old);
}

void
spine_record_finding(SpineRecord *record, const char *rule, SpineSeverity severity,
					 const char *item, const char *format,...)
{
	MemoryContext old;
	StringInfoData message;

	/* what decides about the record, and those below it, is told in any case */
	if (list_length(record->findings) >= FINDINGS_MAX &&
		(severity == SEVERITY_WARNING || (severity == SEVERITY_RECORD && record->rejected) ||
		 severity <= spine_findings_severity(record->findings)))
	{
		record->untold++;
		return;
	}
	if (severity >= SEVERITY_RECORD)
		record->rejected = true;
	old = MemoryContextSwitchTo(record->context);
	initStringInfo(&message);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&message, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}
	record->findings = lappend(record->findings,
							   spine_finding_make(rule, severity, item == NULL ? NULL : pstrdup(item),
												  message.data));
	MemoryContextSwitchTo(old);
}

static void
set_item(SpineRecord *record, int item, Datum value)
{
	record->values[ENV_COLUMNS + item] = value;
	record->nulls[ENV_COLUMNS + item] = false;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Blanks around a text are dropped; an empty text is no value. */
static void
normalise_text(SpineRecord *record, int column)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(record->values[column]);
	char	   *start = VARDATA_ANY(value);
	int			length = VARSIZE_ANY_EXHDR(value);
	int			full = length;

	while (length > 0 && is_blank(start[length - 1]))
		length--;
	while (length > 0 && is_blank(*start))
	{
		start++;
		length--;
	}
	if (length == 0)
		record->nulls[column] = true;
	else if (length < full)
		record->values[column] = PointerGetDatum(cstring_to_text_with_len(start, length));
	else
		record->values[column] = PointerGetDatum(value);
}

static bool
in_code_list(const SpineCodeList *list, const char *code, int length)
{
	int			low = 0;
	int			high = list->ncodes - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			order = strncmp(list->codes[middle], code, length);

		if (order == 0)
			order = list->codes[middle][length] == '\0' ? 0 : 1;
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return false;
}

/* How a bound reads in a message. */
static char *
bound_text(SpineItemType type, double bound)
{
	if (type == ITEM_DATE)
		return spine_value_text(type, DateADTGetDatum((DateADT) bound));
	return psprintf("%.15g", bound);
}

static void
check_range(SpineRecord *record, const SpineItem *item, Datum datum)
{
	double		value;

	switch (item->type)
	{
		case ITEM_INTEGER:
		case ITEM_GESTATION:
			value = DatumGetInt32(datum);
			break;
		case ITEM_DATE:
			value = DatumGetDateADT(datum);
			break;
		case ITEM_NUMERIC:
			value = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, datum));
			break;
		default:
			return;
	}
	if ((item->has_min && value < item->min) || (item->has_max && value > item->max))
		spine_record_finding(record, "item.range", SEVERITY_RECORD, item->name,
							 "%s must be %s%s%s%s; correct it and send the record again", item->name,
							 item->has_min ? "at least " : "",
							 item->has_min ? bound_text(item->type, item->min) : "",
							 item->has_max ? (item->has_min ? " and at most " : "at most ") : "",
							 item->has_max ? bound_text(item->type, item->max) : "");
}

static void
check_text(SpineRecord *record, const SpineItem *item, Datum datum)
{
	char	   *start = VARDATA_ANY(DatumGetPointer(datum));
	int			bytes = VARSIZE_ANY_EXHDR(DatumGetPointer(datum));

	if (item->min_length > 0 || item->max_length > 0)
	{
		int			length = bytes;

		/* in UTF-8 a text has no more characters than bytes */
		if ((item->max_length > 0 && bytes > item->max_length) || bytes < item->min_length * 4)
			length = pg_mbstrlen_with_len(start, bytes);
		if ((item->max_length > 0 && length > item->max_length) || length < item->min_length)
		{
			if (item->max_length == 0)
				spine_record_finding(record, "item.length", SEVERITY_RECORD, item->name,
									 "%s must have at least %d characters", item->name, item->min_length);
			else if (item->min_length == item->max_length)
				spine_record_finding(record, "item.length", SEVERITY_RECORD, item->name,
									 item->max_length == 1 ? "%s must have one character" :
									 "%s must have %d characters", item->name, item->max_length);
			else
				spine_record_finding(record, "item.length", SEVERITY_RECORD, item->name,
									 "%s must have %d to %d characters", item->name,
									 item->min_length, item->max_length);
			return;
		}
	}
	if (item->codes != NULL && !in_code_list(item->codes, start, bytes))
		spine_record_finding(record, "item.code",
							 item->codes->rejects ? SEVERITY_RECORD : SEVERITY_WARNING, item->name,
							 "%s holds a code that is not in the list %s; see spine.codes",
							 item->name, item->codes->name);
}

/*
 * An identifier may stand in the envelope, in the item that the definition
 * names, or in both; then both must agree.
 */
static void
merge_identifier(SpineRecord *record, int item, char **identifier, const char *envelope_name)
{
	SpineItem  *definition;
	Datum	   *value;

	if (item < 0)
		return;
	definition = &record->group->items[item];
	value = &record->values[ENV_COLUMNS + item];
	if (record->nulls[ENV_COLUMNS + item])
	{
		Datum		datum;
		const char *fault;

		if (*identifier == NULL)
			return;
		if (spine_value_parse(definition->type, *identifier, strlen(*identifier), &datum, &fault))
			set_item(record, item, datum);
		else
			spine_record_finding(record, "item.malformed", SEVERITY_RECORD, definition->name,
								 "%s is not %s", envelope_name, fault);
	}
	else if (*identifier == NULL)
		*identifier = spine_value_text(definition->type, *value);
	else if (strcmp(*identifier, spine_value_text(definition->type, *value)) != 0)
		spine_record_finding(record, "identity.conflict", SEVERITY_RECORD, definition->name,
							 "%s and %s name different things; send one of them, or the same value in both",
							 envelope_name, definition->name);
}

static void
merge_nhs_number(SpineRecord *record)
{
	int			item = record->group->nhs_number_item;

	if (item < 0)
		return;
	if (record->nulls[ENV_COLUMNS + item])
	{
		if (record->has_nhs_number)
			set_item(record, item, Int64GetDatum(record->nhs_number));
	}
	else if (!record->has_nhs_number)
	{
		record->has_nhs_number = true;
		record->nhs_number = DatumGetInt64(record->values[ENV_COLUMNS + item]);
	}
	else if (record->nhs_number != DatumGetInt64(record->values[ENV_COLUMNS + item]))
		spine_record_finding(record, "identity.conflict", SEVERITY_RECORD,
							 record->group->items[item].name,
							 "nhs_number and %s name different persons; send one of them, or the same value in both",
							 record->group->items[item].name);
}

static void
check_identifier_length(SpineRecord *record, const char *identifier, const char *envelope_name)
{
	if (identifier != NULL && pg_mbstrlen(identifier) > LOCAL_ID_MAX)
		spine_record_finding(record, "item.length", SEVERITY_RECORD, envelope_name,
							 "%s must have at most %d characters", envelope_name, LOCAL_ID_MAX);
}

/* The supplier's identifiers, and the record's own. */
static void
settle_identifiers(SpineRecord *record)
{
	SpineGroup *group = record->group;

	merge_identifier(record, group->patient_item, &record->local_patient_id, "local_patient_id");
	merge_identifier(record, group->episode_item, &record->local_episode_id, "local_episode_id");
	merge_nhs_number(record);

	if (group->parent_item >= 0 && !record->nulls[ENV_COLUMNS + group->parent_item])
		record->parent_key = spine_value_text(group->items[group->parent_item].type,
											  record->values[ENV_COLUMNS + group->parent_item]);

	/* children find a parent by its local_record_id, so there it is the key */
	if (group->is_parent && group->nkeys == 1)
		merge_identifier(record, group->keys[0], &record->local_record_id, "local_record_id");
	if (record->local_record_id == NULL)
	{
		StringInfoData joined;
		bool		any = false;

		initStringInfo(&joined);
		for (int i = 0; i < group->nkeys; i++)
		{
			int			item = group->keys[i];

			if (i > 0)
				appendStringInfoChar(&joined, '|');
			if (!record->nulls[ENV_COLUMNS + item])
			{
				appendStringInfoString(&joined, spine_value_text(group->items[item].type,
																 record->values[ENV_COLUMNS + item]));
				any = true;
			}
		}
		if (any && pg_mbstrlen_with_len(joined.data, joined.len) > KEY_ID_MAX)
			spine_record_finding(record, "item.length", SEVERITY_RECORD, "local_record_id",
								 "the record's key items have more than %d characters together; send a local_record_id",
								 KEY_ID_MAX);
		else if (any)
			record->local_record_id = joined.data;
		else
			spine_record_finding(record, "identity.missing", SEVERITY_RECORD, "local_record_id",
								 "the record has no local_record_id and no key items; send the identifier that your system gives it");
	}
	else
		check_identifier_length(record, record->local_record_id, "local_record_id");
	check_identifier_length(record, record->local_patient_id, "local_patient_id");
	check_identifier_length(record, record->local_episode_id, "local_episode_id");

	if (group->has_subject && !record->keeps_subject && !record->has_nhs_number && record->local_patient_id == NULL &&
		record->parent_key == NULL && (record->local_episode_id == NULL || group->episode_kind == NULL) &&
		!spine_record_has_finding(record, "nhs_number"))
		spine_record_finding(record, "identity.missing", SEVERITY_RECORD, NULL,
							 "the record does not say whom it is about; send nhs_number or local_patient_id");
}

static void
settle_times(SpineRecord *record)
{
	SpineGroup *group = record->group;

	for (int i = 0; i < group->nevents && record->nulls[ENV_EVENT_AT]; i++)
	{
		int			date_column = ENV_COLUMNS + group->events[i].date_item;
		int			time_column = ENV_COLUMNS + group->events[i].time_item;
		Datum		value = record->values[date_column];
		TimestampTz event_at;

		if (record->nulls[date_column])
			continue;
		if (group->items[group->events[i].date_item].type == ITEM_TIMESTAMP)
			event_at = DatumGetTimestampTz(value);
		else
			event_at = spine_local_timestamp(DatumGetDateADT(value),
											 group->events[i].time_item >= 0 && !record->nulls[time_column] ?
											 DatumGetTimeADT(record->values[time_column]) : 0);
		record->values[ENV_EVENT_AT] = TimestampTzGetDatum(event_at);
		record->nulls[ENV_EVENT_AT] = false;
	}
	for (int i = 0; i < group->nanchors && !record->has_anchor; i++)
	{
		int			column = ENV_COLUMNS + group->anchors[i].item;

		if (record->nulls[column])
			continue;
		record->has_anchor = true;
		record->anchor = DatumGetDateADT(record->values[column]) + group->anchors[i].days;
	}
}

static void
set_slot(TupleTableSlot *slot, Datum *values, bool *nulls)
{
	ExecClearTuple(slot);
	slot->tts_values = values;
	slot->tts_isnull = nulls;
	ExecStoreVirtualTuple(slot);
}

/* Lays a record, and the header or none, before the group's expressions. */
static void
set_slots(SpineGroup *group, Datum *values, bool *nulls, Datum *header_values, bool *header_nulls)
{
	ResetExprContext(group->econtext);
	set_slot(group->slot, values, nulls);
	group->econtext->ecxt_scantuple = group->slot;
	if (header_values != NULL)
		set_slot(group->header_slot, header_values, header_nulls);
	group->econtext->ecxt_innertuple = header_values != NULL ? group->header_slot : group->no_header_slot;
}

/*
 * Until the GUC nest level that it returns is left, expressions mean the same
 * whatever the caller's settings: names are those of PostgreSQL and spine, days
 * those of the United Kingdom.
 */
int
spine_rules_enter(void)
{
	const struct
	{
		const char *name;
		const char *value;
	}			settings[] = {
		{"search_path", "pg_catalog, spine, pg_temp"}, {"TimeZone", spine_local_zone_name()}, {"DateStyle", "ISO, DMY"},
		{"IntervalStyle", "postgres"}, {"extra_float_digits", "1"}, {"transform_null_equals", "off"}
	};
	int			guc_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i].name, settings[i].value, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

/* Does an error tell of the rule and its record? Others tell of the caller's wish to stop, other sessions, the machine. */
bool
spine_is_fault_of_rule(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return false;
		default:
			return error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/* Is the rule asked of this record? May raise. Called within spine_rules_enter(). */
bool
spine_rule_is_asked(SpineGroup *group, SpineRule *rule, Datum *values, bool *nulls,
					Datum *header_values, bool *header_nulls)
{
	bool		isnull;
	Datum		asked;

	if (rule->when == NULL)
		return true;
	if (rule->state == NULL)
		spine_rule_compile(group, rule);
	set_slots(group, values, nulls, header_values, header_nulls);
	asked = ExecEvalExprSwitchContext(rule->state, group->econtext, &isnull);
	return !isnull && DatumGetBool(asked);
}

static void
evaluate_rules(SpineRecord *record, const SpineRule **present)
{
	SpineGroup *group = record->group;
	int			guc_level = 0;

	for (int i = 0; i < group->nrules; i++)
	{
		if (group->rules[i].kind != RULE_EXPRESSION)
			continue;
		*present = &group->rules[i];
		if (group->rules[i].state == NULL)
			spine_rule_compile(group, &group->rules[i]);
	}
	if (group->rules_depend)
		guc_level = spine_rules_enter();
	set_slots(group, record->values, record->nulls, record->header_values, record->header_nulls);
	for (int i = 0; i < group->nrules; i++)
	{
		SpineRule  *rule = &group->rules[i];
		bool		isnull;
		Datum		holds;

		if (rule->kind != RULE_EXPRESSION)
			continue;
		*present = rule;
		holds = ExecEvalExprSwitchContext(rule->state, group->econtext, &isnull);
		if (!isnull && !DatumGetBool(holds))
			spine_record_finding(record, rule->id, rule->severity, rule->item, "%s", rule->message);
	}
	if (guc_level > 0)
		AtEOXact_GUC(true, guc_level);
}

/* Is the organisation that the item names open on the day that the rule asks about? */
static bool
organisation_is_open(const SpineRecord *record, const SpineRule *rule, const char *code)
{
	SpineOrganisation organisation;
	DateADT		day;

	for (int i = 0; i < rule->nexcept; i++)
		if (strcmp(code, rule->except[i]) == 0)
			return true;
	spine_organisation_look_up(code, &organisation);
	if (!organisation.known)
		return !rule->known;
	if (rule->at_item >= 0 && !record->nulls[ENV_COLUMNS + rule->at_item])
		day = DatumGetDateADT(record->values[ENV_COLUMNS + rule->at_item]);
	else if (!record->nulls[ENV_EVENT_AT])
		day = spine_local_date(DatumGetTimestampTz(record->values[ENV_EVENT_AT]));
	else
		day = spine_local_today();
	return spine_organisation_is_open(&organisation, day);
}

/* The rules about who an item names. */
static void
check_codes_of_organisations(SpineRecord *record)
{
	SpineGroup *group = record->group;

	for (int i = 0; i < group->nrules; i++)
	{
		SpineRule  *rule = &group->rules[i];
		char	   *code;
		bool		holds;

		if ((rule->kind != RULE_ORGANISATION && rule->kind != RULE_OWN_CODE) ||
			record->nulls[ENV_COLUMNS + rule->items[0]])
			continue;
		code = TextDatumGetCString(record->values[ENV_COLUMNS + rule->items[0]]);
		if (rule->kind == RULE_OWN_CODE)
			holds = strcmp(code, record->owner) == 0;
		else
			holds = organisation_is_open(record, rule, code);
		if (!holds)
			spine_record_finding(record, rule->id, rule->severity, rule->item, "%s", rule->message);
	}
}

typedef struct Evaluation
{
	SpineRecord *record;
	const SpineRule *present;	/* the rule that is asked */
} Evaluation;

static bool
evaluate(void *arg)
{
	Evaluation *evaluation = arg;

	evaluate_rules(evaluation->record, &evaluation->present);
	return true;
}

/*
 * At a tolerant door a rule that fails on a record (a division by zero) costs
 * that record alone, so its rules run in a subtransaction. It writes nothing
 * and so takes no transaction id.
 */
static void
evaluate_rules_safely(SpineRecord *record)
{
	Evaluation	evaluation = {.record = record};
	ErrorData  *error = spine_subtransaction_run(evaluate, &evaluation);

	if (error == NULL)
		return;
	if (!spine_is_fault_of_rule(error))
		ReThrowError(error);
	spine_record_finding(record, "rule.failed", SEVERITY_RECORD, evaluation.present->item,
						 "rule %s could not be evaluated on this record (%s); tell the publisher of the data set",
						 evaluation.present->id, unpack_sql_state(error->sqlerrcode));
	FreeErrorData(error);
}

static void
check_rules(SpineRecord *record)
{
	const SpineRule *present;

	if (record->group->nrules == 0)
		return;
	check_codes_of_organisations(record);
	if (!record->group->has_expressions)
		return;
	if (record->tolerant)
		evaluate_rules_safely(record);
	else
		evaluate_rules(record, &present);
}

/* A row must fit on a page, of a long value at least its pointer. */
static void
check_size(SpineRecord *record)
{
	SpineGroup *group = record->group;
	Size		size = ROW_OVERHEAD + group->nitems / 8;

	for (int i = 0; i < group->nitems; i++)
	{
		Datum		value = record->values[ENV_COLUMNS + i];

		if (record->nulls[ENV_COLUMNS + i])
			continue;
		if (group->items[i].type_len > 0)
			size += MAXALIGN(group->items[i].type_len);
		else
		{
			Size		length = VARSIZE_ANY_EXHDR(DatumGetPointer(value)) + VARHDRSZ_SHORT;

			size += length > MAXALIGN(TOAST_POINTER_SIZE) ? TOAST_POINTER_SIZE : length;
		}
	}
	if (size > MaxHeapTupleSize)
		spine_record_finding(record, "record.too_large", SEVERITY_RECORD, NULL,
							 "the record has more values than a row can hold; send fewer items");
}

/*
 * Judges the record. A door has set items and envelope identifiers and may
 * have added findings of its own (a malformed value stands as no value).
 */
void
spine_check_record(SpineRecord *record)
{
	SpineGroup *group = record->group;
	MemoryContext old = MemoryContextSwitchTo(record->context);

	for (int i = 0; i < group->nitems; i++)
	{
		SpineItem  *item = &group->items[i];
		const char *fault;

		if (record->nulls[ENV_COLUMNS + i])
			continue;
		if (item->type == ITEM_TEXT || item->type == ITEM_ODS_CODE)
			normalise_text(record, ENV_COLUMNS + i);
		else if (!spine_value_sound(item->type, record->values[ENV_COLUMNS + i], &fault))
		{
			spine_record_finding(record, "item.malformed", SEVERITY_RECORD, item->name,
								 "%s is not %s", item->name, fault);
			record->nulls[ENV_COLUMNS + i] = true;
		}
	}

	settle_identifiers(record);

	for (int i = 0; i < group->nitems; i++)
	{
		SpineItem  *item = &group->items[i];
		Datum		value = record->values[ENV_COLUMNS + i];

		if (record->nulls[ENV_COLUMNS + i])
		{
			if (item->mandatory && !spine_record_has_finding(record, item->name))
				spine_record_finding(record, "item.missing", SEVERITY_RECORD, item->name,
									 "%s is mandatory; send it", item->name);
		}
		else if (item->type == ITEM_TEXT || item->type == ITEM_ODS_CODE)
			check_text(record, item, value);
		else if (item->has_min || item->has_max)
			check_range(record, item, value);
	}
	settle_times(record);
	if (group->nitems > WIDE_GROUP)
		check_size(record);
	check_rules(record);
	if (record->untold > 0)
		record->findings = lappend(record->findings,
								   spine_finding_make("finding.limit", SEVERITY_WARNING, NULL,
													  psprintf("the record has %d findings more; correct these first",
															   record->untold)));
	MemoryContextSwitchTo(old);
}

/* Has this item a finding already? A malformed mandatory item is not missing too. */
bool
spine_record_has_finding(const SpineRecord *record, const char *item)
{
	ListCell   *cell;

	foreach(cell, record->findings)
	{
		SpineFinding *finding = lfirst(cell);

		if (finding->item != NULL && strcmp(finding->item, item) == 0)
			return true;
	}
	return false;
}
