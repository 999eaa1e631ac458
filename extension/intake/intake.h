/*
 * intake.h
 *		What the doors, the checker and the batch share.
 *
 * A door turns what it receives into a SpineRecord (envelope and items of one
 * group), spine_check_record() judges it, and a SpineBatch takes the good ones,
 * resolves patient and episode for up to SPINE_BATCH_ROWS of them at once and
 * stores them.
 */
#ifndef SPINE_INTAKE_H
#define SPINE_INTAKE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

#define SPINE_BATCH_ROWS	1000

/* the envelope as columns, in the order of every group table and batch */
typedef enum SpineEnvelopeColumn
{
	ENV_RECORD_ID,
	ENV_OWNER,
	ENV_SOURCE_SYSTEM,
	ENV_LOCAL_RECORD_ID,
	ENV_PATIENT_ID,
	ENV_EPISODE_ID,
	ENV_DATASET_VERSION,
	ENV_EVENT_AT,
	ENV_RECEIVED_AT,
	ENV_REVISION,
	ENV_AUDIENCE,
	ENV_COLUMNS
} SpineEnvelopeColumn;

extern const char *const spine_envelope_names[ENV_COLUMNS];

typedef enum SpineItemType
{
	ITEM_TEXT,
	ITEM_INTEGER,
	ITEM_NUMERIC,
	ITEM_DATE,
	ITEM_TIME,
	ITEM_TIMESTAMP,
	ITEM_BOOLEAN,
	ITEM_NHS_NUMBER,
	ITEM_SNOMED_CODE,
	ITEM_ODS_CODE,
	ITEM_GESTATION
} SpineItemType;

typedef struct SpineCodeList
{
	char	   *name;
	bool		rejects;		/* severity record instead of warning */
	int			ncodes;
	char	  **codes;			/* sorted bytewise */
} SpineCodeList;

typedef struct SpineItem
{
	char	   *name;
	char	   *nhs_name;		/* NULL where there is none */
	SpineItemType type;
	Oid			type_oid;
	int16		type_len;
	bool		type_by_value;
	bool		mandatory;
	bool		from_envelope;	/* an identifier that the envelope may give instead */
	int			min_length;		/* 0: none */
	int			max_length;		/* 0: none */
	bool		has_min;
	bool		has_max;
	double		min;
	double		max;
	SpineCodeList *codes;
} SpineItem;

typedef struct SpineRule
{
	char	   *id;
	bool		rejects;
	char	   *item;			/* the first item it is about, or NULL */
	char	   *message;
	char	   *expression;
	ExprState  *state;			/* set when the rule is first used */
} SpineRule;

typedef struct SpineEvent
{
	int			date_item;
	int			time_item;		/* -1 where there is none */
} SpineEvent;

typedef struct SpineAnchor
{
	int			item;
	int			days;
} SpineAnchor;

typedef struct SpineName
{
	const char *name;
	int			item;
} SpineName;

typedef struct SpineGroup
{
	struct SpineDataset *dataset;
	char	   *name;
	int			ordinal;		/* place in the definition: parents come first */
	bool		has_subject;
	bool		subject_is_baby;
	char	   *episode_kind;	/* NULL where the group belongs to none */
	int			episode_window; /* days between anchors that mean the same episode */
	int			episode_open;	/* days for which an episode without anchor is taken up */

	int			nitems;
	SpineItem  *items;
	SpineName  *names;			/* every name of every item, sorted */
	int			nnames;

	/* items by role; -1 where the group has none */
	int			patient_item;
	int			nhs_number_item;
	int			episode_item;
	int			parent_item;
	struct SpineGroup *parent;
	bool		is_parent;		/* other groups refer to its one key item */
	int			nkeys;
	int		   *keys;
	int			nevents;
	SpineEvent *events;
	int			nanchors;
	SpineAnchor *anchors;
	int			nrules;
	SpineRule  *rules;
	ExprContext *econtext;		/* for the rules, as is the slot; set when first used */
	TupleTableSlot *slot;		/* of desc */

	TupleDesc	desc;			/* envelope, then items: the form of a record */
	Oid			table;
	Oid			local_index;	/* unique (owner, source_system, local_record_id) */
	AttrNumber *table_attnums;	/* of each column of desc in the table */

	/* saved plans, made when first needed */
	struct SpineGroupPlans *plans;
} SpineGroup;

typedef struct SpineDataset
{
	MemoryContext context;
	char	   *name;
	char	   *version;
	bool		stale;
	bool		retires;
	int32		retired_on;		/* DateADT */
	int			ngroups;
	SpineGroup *groups;
	struct SpineDataset *next;
} SpineDataset;

typedef enum SpineSeverity
{
	SEVERITY_WARNING,
	SEVERITY_RECORD
} SpineSeverity;

/* One broken rule on one record. */
typedef struct SpineFinding
{
	const char *rule;
	SpineSeverity severity;
	const char *item;			/* NULL where it is about the record */
	const char *message;
} SpineFinding;

/* One record on its way in. Everything it points to lives in its context. */
typedef struct SpineRecord
{
	SpineGroup *group;
	MemoryContext context;
	Datum	   *values;			/* of group->desc */
	bool	   *nulls;
	/* who it is about, as the supplier says */
	bool		has_nhs_number;
	int64		nhs_number;
	char	   *local_patient_id;
	char	   *local_episode_id;
	char	   *local_record_id;
	char	   *parent_key;
	bool		has_anchor;
	int32		anchor;			/* DateADT */
	bool		keeps_subject;	/* an update that names nobody stays with its patient */
	int64		from_revision;	/* the revision that an update has read; 0: none */
	List	   *findings;		/* of SpineFinding */
	bool		rejected;
	bool		tolerant;		/* a rule that raises rejects the record, not the statement */
	int			n;				/* place in the document or statement */
	const char *raw;			/* the record's own JSON text, or NULL */
	int			raw_length;
} SpineRecord;

typedef enum SpineOutcome
{
	OUTCOME_ACCEPTED,
	OUTCOME_ACCEPTED_WITH_WARNINGS,
	OUTCOME_UNCHANGED,
	OUTCOME_REJECTED
} SpineOutcome;

/* definition.c */
extern SpineDataset *spine_dataset_get(const char *name, const char *version);
extern SpineGroup *spine_dataset_group(SpineDataset *dataset, const char *name);
extern int	spine_group_item(const SpineGroup *group, const char *name);
extern void spine_rule_compile(SpineGroup *group, SpineRule *rule);

/* value.c */
extern bool spine_value_parse(SpineItemType type, const char *text, int length,
							  Datum *value, const char **fault);
extern bool spine_value_sound(SpineItemType type, Datum value, const char **fault);
extern char *spine_value_text(SpineItemType type, Datum value);

/* check.c */
extern void spine_record_init(SpineRecord *record, SpineGroup *group, MemoryContext context);
extern void spine_record_finding(SpineRecord *record, const char *rule, SpineSeverity severity,
								 const char *item, const char *format,...) pg_attribute_printf(5, 6);
extern bool spine_record_has_finding(const SpineRecord *record, const char *item);
extern void spine_check_record(SpineRecord *record);

/* batch.c */
typedef struct SpineBatch SpineBatch;

extern SpineBatch *spine_batch_create(SpineGroup *group, const char *owner, const char *source_system,
									  MemoryContext parent);
extern bool spine_batch_holds(SpineBatch *batch, const SpineRecord *record);
extern MemoryContext spine_batch_context(SpineBatch *batch);
extern int	spine_batch_count(const SpineBatch *batch);
extern void spine_batch_add(SpineBatch *batch, const SpineRecord *record, pg_uuid_t *record_id);
extern void spine_batch_delete(SpineBatch *batch, const pg_uuid_t *record_id);

/* called for each record of a flush, in the order of adding */
typedef void (*spine_batch_verdict) (void *state, int n, SpineOutcome outcome,
									 const pg_uuid_t *record_id, List *findings,
									 const char *raw, int raw_length);
extern void spine_batch_flush(SpineBatch *batch, spine_batch_verdict verdict, void *state);
extern void spine_batch_free(SpineBatch *batch);

#endif							/* SPINE_INTAKE_H */
