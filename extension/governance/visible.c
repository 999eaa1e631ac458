/*
 * visible.c
 *		May the caller see this row, and which items of it? The exact check with
 *		which every row-level security policy of spine ends, and the masks of the views.
 *
 * Own rows: yes. Another owner's: its patient is opened by this role, acting for an
 * organisation of which it is a clinician; a rule from the owner to that organisation
 * over the data group is in force at this moment; the person does not dissent; and the
 * row's audience names the organisation. Who broke the glass is not stopped by a
 * dissent. Or, what a node for reporting has sent as pseudonyms: an analyst of an
 * organisation that its audience names for that. Everything else, and every doubt: no.
 *
 * In a parallel worker nothing is open, and while something is open there are no
 * workers (openings.c): a worker that knows of own rows alone knows all that it needs.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "caller.h"
#include "export.h"
#include "openings.h"
#include "rules.h"
#include "visible.h"

static const char *const purposes[] = {"care", "emergency"};

PG_FUNCTION_INFO_V1(spine_owns);
PG_FUNCTION_INFO_V1(spine_visible);
PG_FUNCTION_INFO_V1(spine_permits);
PG_FUNCTION_INFO_V1(spine_withheld);
PG_FUNCTION_INFO_V1(spine_withheld_from);

static inline bool
text_is(const char *data, int length, const char *string)
{
	return strncmp(data, string, length) == 0 && string[length] == '\0';
}

/* Is it one of the organisations whose rows the caller reads as its own? */
static inline bool
is_own(const SpineCaller *caller, const char *owner, int owner_length)
{
	for (int i = 0; i < caller->nreadable; i++)
	{
		if (caller->readable_lengths[i] == owner_length && memcmp(owner, caller->readable[i], owner_length) == 0)
			return true;
	}
	return false;
}

/*
 * Does the audience hold ORGANISATION:purpose? What its tokens show of the items is
 * added to scope. Walks the array in place.
 */
static bool
audience_holds(ArrayType *audience, const char *organisation, const char *purpose, SpineScope *scope)
{
	char		token[2 * SPINE_CODE_LEN];
	int			token_length = snprintf(token, sizeof(token), "%s:%s", organisation, purpose);
	ArrayIterator iterator;
	Datum		value;
	bool		null;
	bool		held = false;

	if (ARR_ELEMTYPE(audience) != TEXTOID)
		return false;
	iterator = array_create_iterator(audience, 0, NULL);
	while (array_iterate(iterator, &value, &null))
	{
		text	   *element;
		const char *data;
		int			length;

		if (null)
			continue;
		element = DatumGetTextPP(value);
		data = VARDATA_ANY(element);
		length = VARSIZE_ANY_EXHDR(element);
		if (length < token_length || memcmp(data, token, token_length) != 0)
			continue;
		if (length == token_length)
			held = true;
		else if (data[token_length] == '/')
			spine_scope_add(scope, data + token_length + 1, length - token_length - 1);
	}
	array_free_iterator(iterator);
	return held;
}

/* The array holds the organisation, or an empty text for all. */
static bool
dissents_from(ArrayType *dissents, const char *organisation)
{
	ArrayIterator iterator = array_create_iterator(dissents, 0, NULL);
	Datum		value;
	bool		null;
	bool		found = false;

	while (!found && array_iterate(iterator, &value, &null))
	{
		text	   *element = DatumGetTextPP(value);

		found = VARSIZE_ANY_EXHDR(element) == 0 ||
			text_is(VARDATA_ANY(element), VARSIZE_ANY_EXHDR(element), organisation);
	}
	array_free_iterator(iterator);
	return found;
}

static bool
opening_holds(const SpineOpening *opening, Oid role, TimestampTz now)
{
	return opening->role == role && now < opening->until &&
		spine_caller_has_duty(opening->organisation, "clinician");
}

/* Has the caller opened one of these patients for this organisation? */
static bool
is_opened(ArrayType *patients, const char *organisation, Oid role, TimestampTz now)
{
	ArrayIterator iterator = array_create_iterator(patients, 0, NULL);
	Datum		value;
	bool		null;
	bool		found = false;

	while (!found && array_iterate(iterator, &value, &null))
	{
		SpineOpenedPatient *opened = spine_opening_find(DatumGetUUIDP(value));
		dlist_iter	iter;

		if (opened == NULL)
			continue;
		dlist_foreach(iter, &opened->openings)
		{
			SpineOpening *opening = dlist_container(SpineOpening, of_patient, iter.cur);

			if (opening_holds(opening, role, now) && strcmp(opening->organisation, organisation) == 0)
				found = true;
		}
	}
	array_free_iterator(iterator);
	return found;
}

/* Another owner's row: is it shown to the caller, and which of these items (none: NULL)? */
static bool
is_shown(const SpineRow *row, const SpineItem *items, int nitems, bool *shown)
{
	SpineOpenedPatient *opened = spine_opening_find(row->patient);
	TimestampTz now = GetCurrentTimestamp();
	Oid			role = GetOuterUserId();
	ArrayType  *stored = NULL;
	bool		any = false;
	dlist_iter	iter;

	if (opened == NULL)
		return false;
	spine_opening_facts(opened);
	dlist_foreach(iter, &opened->openings)
	{
		SpineOpening *opening = dlist_container(SpineOpening, of_patient, iter.cur);
		bool		broke_glass = strcmp(opening->purpose, "emergency") == 0;

		if (!opening_holds(opening, role, now))
			continue;
		for (int p = 0; p < (broke_glass ? 2 : 1); p++)
		{
			bool		emergency = p == 1;
			ArrayType  *audience;
			SpineScope	held = {0};
			SpineScope	granted = {0};

			if (!emergency && dissents_from(opened->dissents, opening->organisation))
				continue;
			if (broke_glass || spine_rules_are_settling(row->owner, row->owner_length, row->group, row->group_length))
				audience = spine_rules_audience(row->owner, row->owner_length, row->group, row->group_length, row->patient);
			else
			{
				if (stored == NULL)
					stored = DatumGetArrayTypeP(row->audience);
				audience = stored;
			}
			if (!audience_holds(audience, opening->organisation, purposes[p], &held) ||
				!spine_rules_hold(row->owner, row->owner_length, opening->organisation,
								  row->group, row->group_length, emergency, &granted))
				continue;
			if (items == NULL)
				return true;
			any = true;
			for (int i = 0; i < nitems; i++)
			{
				/* a mother's restricted items want her own record opened */
				if (!shown[i] && spine_scope_shows(&held, &items[i]) && spine_scope_shows(&granted, &items[i]) &&
					(!items[i].about_mother || items[i].letter != 'r' ||
					 is_opened(opened->mothers, opening->organisation, role, now)))
					shown[i] = true;
			}
		}
	}
	return any;
}

bool
spine_visible_row(const SpineRow *row, const SpineItem *items, int nitems, bool *shown, bool *own)
{
	*own = is_own(spine_caller_get(), row->owner, row->owner_length);
	return *own || (spine_openings_count() > 0 && is_shown(row, items, nitems, shown));
}

/*
 * A pseudonymised row of another owner: is it shown to the caller as an analyst, and
 * which of these items? Nobody opens it: there is no person to be known in it.
 */
static bool
is_reported(const SpineCaller *caller, const SpineRow *row, const SpineItem *items, int nitems, bool *shown)
{
	static const char *const secondary[] = {"reporting", "commissioning"};
	ArrayType  *audience = NULL;
	bool		any = false;
	bool		sends = false;

	for (int i = 0; i < caller->nreporting && !sends; i++)
		sends = text_is(row->owner, row->owner_length, caller->reporting[i]);
	if (!sends)
		return false;
	for (int m = 0; m < caller->nmemberships; m++)
	{
		const char *organisation = caller->memberships[m].organisation;

		if (strcmp(caller->memberships[m].duty, "analyst") != 0)
			continue;
		for (int p = 0; p < lengthof(secondary); p++)
		{
			char		to[2 * SPINE_CODE_LEN];
			SpineScope	held = {0};
			SpineScope	granted = {0};

			if (audience == NULL)
				audience = DatumGetArrayTypeP(row->audience);
			snprintf(to, sizeof(to), "%s:%s", organisation, secondary[p]);
			if (!audience_holds(audience, organisation, secondary[p], &held) ||
				!spine_rules_hold(row->owner, row->owner_length, to, row->group, row->group_length, false, &granted))
				continue;
			if (items == NULL)
				return true;
			any = true;
			for (int i = 0; i < nitems; i++)
				shown[i] = shown[i] || (spine_scope_shows(&held, &items[i]) && spine_scope_shows(&granted, &items[i]));
		}
	}
	return any;
}

/* Another owner's row, by either way. */
static bool
row_shown(const SpineCaller *caller, const SpineRow *row, const SpineItem *items, int nitems, bool *shown)
{
	bool		any = false;

	if (caller->nreporting > 0)
		any = is_reported(caller, row, items, nitems, shown);
	if ((!any || items != NULL) && row->patient != NULL && spine_openings_count() > 0)
		any = is_shown(row, items, nitems, shown) || any;
	return any;
}

/* The arguments audience, patient_id, and a text that begins with the group. False: nobody's row. */
static bool
row_get(FunctionCallInfo fcinfo, SpineRow *row)
{
	text	   *group;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(3))
		return false;
	row->audience = PG_GETARG_DATUM(1);
	row->patient = PG_ARGISNULL(2) ? NULL : PG_GETARG_UUID_P(2);
	group = PG_GETARG_TEXT_PP(3);
	row->group = VARDATA_ANY(group);
	row->group_length = VARSIZE_ANY_EXHDR(group);
	return true;
}

/* spine.owns(owner text) returns boolean */
Datum
spine_owns(PG_FUNCTION_ARGS)
{
	text	   *owner = PG_GETARG_TEXT_PP(0);

	if (!is_own(spine_caller_get(), VARDATA_ANY(owner), VARSIZE_ANY_EXHDR(owner)))
		PG_RETURN_BOOL(false);
	spine_rows_shown++;
	PG_RETURN_BOOL(true);
}

/* spine.visible(owner text, audience text[], patient_id uuid, data_group text) returns boolean */
Datum
spine_visible(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller;
	text	   *owner;
	SpineRow	row;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	owner = PG_GETARG_TEXT_PP(0);
	row.owner = VARDATA_ANY(owner);
	row.owner_length = VARSIZE_ANY_EXHDR(owner);

	caller = spine_caller_get();
	if (!is_own(caller, row.owner, row.owner_length) &&
		!(row_get(fcinfo, &row) && row_shown(caller, &row, NULL, 0, NULL)))
		PG_RETURN_BOOL(false);
	spine_rows_shown++;
	PG_RETURN_BOOL(true);
}

/* spine.permits(owner text, audience text[], patient_id uuid, item text) returns boolean */
Datum
spine_permits(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller;
	text	   *owner;
	SpineRow	row;
	SpineItem	item;
	const char *column;
	int			length;
	bool		shown = false;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	owner = PG_GETARG_TEXT_PP(0);
	row.owner = VARDATA_ANY(owner);
	row.owner_length = VARSIZE_ANY_EXHDR(owner);

	caller = spine_caller_get();
	if (is_own(caller, row.owner, row.owner_length))
		PG_RETURN_BOOL(true);
	if ((caller->nreporting == 0 && spine_openings_count() == 0) || !row_get(fcinfo, &row))
		PG_RETURN_BOOL(false);

	/* DATASET.GROUP:COLUMN */
	length = row.group_length;
	column = memchr(row.group, ':', length);
	if (column == NULL)
		PG_RETURN_BOOL(false);
	row.group_length = column - row.group;
	column++;
	if (!spine_groups_item(row.group, row.group_length, column, length - row.group_length - 1, &item))
		PG_RETURN_BOOL(false);
	(void) row_shown(caller, &row, &item, 1, &shown);
	PG_RETURN_BOOL(shown);
}

static Datum
columns_not(const SpineItem *items, int nitems, const bool *shown)
{
	Datum	   *columns = palloc(sizeof(Datum) * (nitems + 2));
	int			n = 0;
	bool		key = false;
	bool		event = false;

	for (int i = 0; i < nitems; i++)
	{
		if (shown[i])
			continue;
		columns[n++] = PointerGetDatum(cstring_to_text_with_len(items[i].column, items[i].column_length));
		key |= items[i].of_key;
		event |= items[i].of_event;
	}
	/* what is made of an item would tell it */
	if (key)
		columns[n++] = CStringGetTextDatum("local_record_id");
	if (event)
		columns[n++] = CStringGetTextDatum("event_at");
	return PointerGetDatum(construct_array(columns, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * spine.withheld(owner text, audience text[], patient_id uuid, data_group text) returns
 * text[]: the columns that the caller may not have of the row.
 */
Datum
spine_withheld(PG_FUNCTION_ARGS)
{
	const SpineCaller *caller = spine_caller_get();
	text	   *owner;
	text	   *group;
	SpineRow	row;
	const SpineGroupTable *found;
	bool	   *shown;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	owner = PG_GETARG_TEXT_PP(0);
	row.owner = VARDATA_ANY(owner);
	row.owner_length = VARSIZE_ANY_EXHDR(owner);
	if (is_own(caller, row.owner, row.owner_length))
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));

	group = PG_GETARG_TEXT_PP(3);
	found = spine_groups_find(VARDATA_ANY(group), VARSIZE_ANY_EXHDR(group));
	if (found == NULL)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));
	shown = palloc0(sizeof(bool) * Max(found->nitems, 1));
	if (row_get(fcinfo, &row))
		(void) row_shown(spine_caller_get(), &row, found->items, found->nitems, shown);
	PG_RETURN_DATUM(columns_not(found->items, found->nitems, shown));
}

/*
 * spine.withheld_from(audience text[], organisations text[], data_group text) returns
 * text[]: what none of the addressees (ORGANISATION, for care, or ORGANISATION:PURPOSE)
 * may have of a row with this audience.
 */
Datum
spine_withheld_from(PG_FUNCTION_ARGS)
{
	ArrayType  *audience = PG_GETARG_ARRAYTYPE_P(0);
	text	   *group = PG_GETARG_TEXT_PP(2);
	Datum	   *organisations;
	bool	   *nulls;
	int			norganisations;
	const SpineGroupTable *found = spine_groups_find(VARDATA_ANY(group), VARSIZE_ANY_EXHDR(group));
	const SpineItem *items = found ? found->items : NULL;
	int			nitems = found ? found->nitems : 0;
	bool	   *shown = palloc0(sizeof(bool) * Max(nitems, 1));

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &organisations, &nulls, &norganisations);
	for (int o = 0; o < norganisations; o++)
	{
		char	   *code = nulls[o] ? NULL : TextDatumGetCString(organisations[o]);
		char	   *only = code ? strchr(code, ':') : NULL;

		if (only != NULL)
			*only++ = '\0';
		if (code == NULL || strlen(code) >= SPINE_CODE_LEN || (only != NULL && strlen(only) >= SPINE_CODE_LEN))
			continue;
		for (int p = 0; p < (only ? 1 : lengthof(purposes)); p++)
		{
			SpineScope	held = {0};

			if (!audience_holds(audience, code, only ? only : purposes[p], &held))
				continue;
			for (int i = 0; i < nitems; i++)
				shown[i] = shown[i] || spine_scope_shows(&held, &items[i]);
		}
	}
	PG_RETURN_DATUM(columns_not(items, nitems, shown));
}
