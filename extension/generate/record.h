/*
 * record.h
 *		One generated record in the making: its envelope, its items, and the fault
 *		that it may be given on purpose.
 */
#ifndef SPINE_RECORD_H
#define SPINE_RECORD_H

#include "generate/generate.h"
#include "generate/random.h"

#define ONE_DAY 1440			/* minutes */
#define MOST_ITEMS 48

/* what an item is, as far as a fault could spoil it */
#define ITEM_NUMBER		0x001	/* written without quotes */
#define ITEM_MANDATORY	0x002	/* and not told by the envelope */
#define ITEM_CODE		0x004	/* from a code list */
#define ITEM_DATE		0x008
#define ITEM_FREE		0x010	/* text of limited length */
#define ITEM_PARENT		0x020	/* refers to another record */
#define ITEM_END		0x040	/* a date that may not be before the ITEM_BEGIN one */
#define ITEM_BEGIN		0x080
#define ITEM_NHS_NUMBER	0x100
#define ITEM_SNOMED		0x200
#define ITEM_TIME		0x400

typedef struct Item
{
	const char *name;
	int			flags;
	int			day;			/* of a date */
	char		value[64];
} Item;

/* One record in the making, and where it goes. */
typedef struct Work
{
	const GeneratePlan *plan;
	Random		random;
	Random		faults;
	GeneratedRecords *out;
	const char *group;
	int			organisation;
	int64		when;
	bool		parent;			/* others refer to this record */
	char		nhs[11];
	char		local_patient[24];
	char		local_episode[24];
	char		local_record[48];
	int			nitems;
	Item		items[MOST_ITEMS];
} Work;


/* The next record of the organisation, sent at that minute. */
extern void spine_record_begin(Work *w, const char *group, int organisation, int64 when);

/* Items, in the order of the calls. */
extern Item *spine_record_put(Work *w, const char *name, int flags, const char *value);
extern void spine_record_put_number(Work *w, const char *name, int value);
extern void spine_record_put_date(Work *w, const char *name, int flags, int day);
extern void spine_record_put_time(Work *w, const char *name, int64 when);
extern void spine_record_put_yes(Work *w, const char *name, bool yes);

/* Appends the record, spoilt or not, to w->out. */
extern void spine_record_end(Work *w);

/* Orders the records from the first on by time and lets each arrive a while after. */
extern void spine_record_order(GeneratedRecords *out, int first);

#endif							/* SPINE_RECORD_H */
