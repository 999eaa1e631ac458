/*
 * record.c
 *		One generated record in the making.
 *
 * Faults are drawn from a stream of their own, so that the journeys are the same
 * whatever the rate of faults.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/datetime.h"

#include "generate/record.h"

Item *
spine_record_put(Work *w, const char *name, int flags, const char *value)
{
	Item	   *item = &w->items[w->nitems++];

	Assert(w->nitems <= MOST_ITEMS);
	item->name = name;
	item->flags = flags;
	item->day = 0;
	strlcpy(item->value, value, sizeof(item->value));
	return item;
}

void
spine_record_put_number(Work *w, const char *name, int value)
{
	char		text[16];

	snprintf(text, sizeof(text), "%d", value);
	spine_record_put(w, name, ITEM_NUMBER, text);
}

void
spine_record_put_date(Work *w, const char *name, int flags, int day)
{
	char		text[16];
	int			y,
				m,
				d;

	j2date(day + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	snprintf(text, sizeof(text), "%04d-%02d-%02d", y, m, d);
	spine_record_put(w, name, flags | ITEM_DATE, text)->day = day;
}

void
spine_record_put_time(Work *w, const char *name, int64 when)
{
	char		text[16];
	int			minute = (int) (when % ONE_DAY);

	snprintf(text, sizeof(text), "%02d:%02d:00", minute / 60, minute % 60);
	spine_record_put(w, name, ITEM_TIME, text);
}

void
spine_record_put_yes(Work *w, const char *name, bool yes)
{
	spine_record_put(w, name, ITEM_CODE, yes ? "Y" : "N");
}

void
spine_record_begin(Work *w, const char *group, int organisation, int64 when)
{
	w->group = group;
	w->organisation = organisation;
	w->when = when;
	w->parent = false;
	w->nhs[0] = w->local_patient[0] = w->local_episode[0] = w->local_record[0] = '\0';
	w->nitems = 0;
}

static void
write_text(StringInfo out, const char *key, const char *value)
{
	if (value[0] == '\0')
		return;
	appendStringInfo(out, "\"%s\":\"%s\",", key, value);
}

/* The record as it stands in w. Names and values hold nothing that JSON escapes. */
static void
write_record(Work *w, const char *fault)
{
	StringInfoData out;
	GeneratedRecord *record;

	initStringInfo(&out);
	appendStringInfo(&out, "{\"group\":\"%s\",", w->group);
	write_text(&out, "nhs_number", w->nhs);
	write_text(&out, "local_patient_id", w->local_patient);
	write_text(&out, "local_episode_id", w->local_episode);
	write_text(&out, "local_record_id", w->local_record);
	appendStringInfoString(&out, "\"data\":{");
	for (int i = 0; i < w->nitems; i++)
	{
		Item	   *item = &w->items[i];

		if (i > 0)
			appendStringInfoChar(&out, ',');
		if (item->flags & ITEM_NUMBER)
			appendStringInfo(&out, "\"%s\":%s", item->name, item->value);
		else
			appendStringInfo(&out, "\"%s\":\"%s\"", item->name, item->value);
	}
	appendStringInfoString(&out, "}}");

	if (w->out->n == w->out->room)
	{
		w->out->room = w->out->room ? 2 * w->out->room : 128;
		w->out->records = w->out->records ?
			repalloc(w->out->records, w->out->room * sizeof(GeneratedRecord)) :
			palloc(w->out->room * sizeof(GeneratedRecord));
	}
	record = &w->out->records[w->out->n];
	record->sent = w->when;
	record->sequence = w->out->n++;
	record->organisation = w->organisation;
	record->group = w->group;
	record->fault = fault;
	record->json = out.data;
	record->length = out.len;
}

/* ---- faults ---- */

typedef enum FaultKind
{
	FAULT_CHECK_DIGIT,
	FAULT_IMPOSSIBLE_DATE,
	FAULT_MISSING,
	FAULT_UNKNOWN_CODE,
	FAULT_RANGE,
	FAULT_UNKNOWN_ITEM,
	FAULT_TOO_LONG,
	FAULT_ORDER,
	FAULT_TYPE,
	FAULT_ORPHAN,
	FAULT_SNOMED,
	FAULT_TIME,
	FAULT_KINDS
} FaultKind;

static const char *const fault_names[FAULT_KINDS] = {
	"check digit", "impossible date", "missing item", "unknown code", "out of range",
	"unknown item", "too long", "end before start", "wrong type", "unknown parent",
	"malformed SNOMED code", "impossible time"
};

/* One of the items that carry the flag, or NULL. */
static Item *
any_item(Work *w, int flag)
{
	int			n = 0;
	int			at;

	for (int i = 0; i < w->nitems; i++)
		if (w->items[i].flags & flag)
			n++;
	if (n == 0)
		return NULL;
	at = random_below(&w->faults, n);
	for (int i = 0;; i++)
		if ((w->items[i].flags & flag) && at-- == 0)
			return &w->items[i];
}

static void
spoil_digit(char *digits)
{
	char	   *last = digits + strlen(digits) - 1;

	*last = *last == '9' ? '0' : *last + 1;
}

/* Spoils the record in w in one way, or says that it cannot be in this one. */
static bool
spoil(Work *w, FaultKind kind)
{
	static const char *const dates[] = {
		"2019-02-00", "2023-02-29", "2024-13-01", "2024-06-31", "31/05/2024", "0000-00-00"
	};
	Item	   *item;

	switch (kind)
	{
		case FAULT_CHECK_DIGIT:
			item = any_item(w, ITEM_NHS_NUMBER);
			if (item)
				spoil_digit(item->value);
			else if (w->nhs[0] != '\0')
				spoil_digit(w->nhs);
			else
				return false;
			return true;

		case FAULT_IMPOSSIBLE_DATE:
			if ((item = any_item(w, ITEM_DATE)) == NULL)
				return false;
			strlcpy(item->value, dates[random_below(&w->faults, lengthof(dates))], sizeof(item->value));
			return true;

		case FAULT_MISSING:
			if ((item = any_item(w, ITEM_MANDATORY)) == NULL)
				return false;
			memmove(item, item + 1, (&w->items[w->nitems] - (item + 1)) * sizeof(Item));
			w->nitems--;
			return true;

		case FAULT_UNKNOWN_CODE:
			if ((item = any_item(w, ITEM_CODE)) == NULL)
				return false;
			memset(item->value, '#', strlen(item->value));
			return true;

		case FAULT_RANGE:
			if ((item = any_item(w, ITEM_NUMBER)) == NULL)
				return false;
			strlcpy(item->value, random_chance(&w->faults, 5000) ? "-7" : "9999999", sizeof(item->value));
			return true;

		case FAULT_UNKNOWN_ITEM:
			spine_record_put(w, "moon_phase", 0, "waxing");
			return true;

		case FAULT_TOO_LONG:
			if ((item = any_item(w, ITEM_FREE)) == NULL)
				return false;
			memset(item->value, 'X', sizeof(item->value) - 1);
			item->value[sizeof(item->value) - 1] = '\0';
			return true;

		case FAULT_ORDER:
			{
				Item	   *begin = NULL;
				int			at;

				if ((item = any_item(w, ITEM_END)) == NULL)
					return false;
				for (int i = 0; i < w->nitems; i++)
					if (w->items[i].flags & ITEM_BEGIN)
						begin = &w->items[i];
				if (begin == NULL)
					return false;
				at = w->nitems;
				spine_record_put_date(w, item->name, item->flags, begin->day - random_between(&w->faults, 2, 40));
				*item = w->items[at];
				w->nitems = at;
				return true;
			}

		case FAULT_TYPE:
			if ((item = any_item(w, ITEM_NUMBER)) != NULL)
			{
				item->flags &= ~ITEM_NUMBER;
				strlcpy(item->value, "not measured", sizeof(item->value));
				return true;
			}
			if ((item = any_item(w, ITEM_DATE)) == NULL)
				return false;
			item->flags |= ITEM_NUMBER;
			strlcpy(item->value, "true", sizeof(item->value));
			return true;

		case FAULT_ORPHAN:
			if ((item = any_item(w, ITEM_PARENT)) == NULL)
				return false;
			snprintf(item->value, sizeof(item->value), "GONE%06d", random_below(&w->faults, 1000000));
			return true;

		case FAULT_SNOMED:
			if ((item = any_item(w, ITEM_SNOMED)) == NULL)
				return false;
			spoil_digit(item->value);
			return true;

		case FAULT_TIME:
			if ((item = any_item(w, ITEM_TIME)) == NULL)
				return false;
			strlcpy(item->value, "25:61:00", sizeof(item->value));
			return true;

		case FAULT_KINDS:
			break;
	}
	return false;
}

/*
 * Writes the record. A spoilt one to which others refer is mostly sent again
 * as it should have been: somebody at the Trust has read the answer.
 */
void
spine_record_end(Work *w)
{
	FaultKind	kind;
	Item		items[MOST_ITEMS];
	char		nhs[sizeof(w->nhs)];
	int			nitems = w->nitems;

	if (random_below(&w->faults, 1000000) >= (int) w->plan->fault_rate)
	{
		write_record(w, NULL);
		return;
	}

	memcpy(items, w->items, nitems * sizeof(Item));
	memcpy(nhs, w->nhs, sizeof(nhs));
	do
		kind = random_below(&w->faults, FAULT_KINDS);
	while (!spoil(w, kind));
	write_record(w, fault_names[kind]);

	if (w->parent && random_chance(&w->faults, 7500))
	{
		memcpy(w->items, items, nitems * sizeof(Item));
		memcpy(w->nhs, nhs, sizeof(nhs));
		w->nitems = nitems;
		write_record(w, NULL);
	}
}

static int
compare_records(const void *a, const void *b)
{
	const GeneratedRecord *x = a;
	const GeneratedRecord *y = b;

	if (x->sent != y->sent)
		return x->sent < y->sent ? -1 : 1;
	return x->sequence < y->sequence ? -1 : 1;
}

void
spine_record_order(GeneratedRecords *out, int first)
{
	int64		last = PG_INT64_MIN;

	qsort(out->records + first, out->n - first, sizeof(GeneratedRecord), compare_records);
	for (int i = first; i < out->n; i++)
	{
		GeneratedRecord *record = &out->records[i];

		record->sent += 2 + (record->sent * 7919 + i) % 44;
		if (record->sent < last)
			record->sent = last;
		last = record->sent;
	}
}
