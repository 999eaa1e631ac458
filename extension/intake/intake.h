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
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"
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
	char	   *column;			/* in the group's table: a renamed item keeps its own */
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

typedef enum SpineSeverity
{
	SEVERITY_WARNING,
	SEVERITY_RECORD,
	SEVERITY_GROUP,
	SEVERITY_FILE
} SpineSeverity;

typedef enum SpineRuleKind
{
	RULE_EXPRESSION,
	RULE_RELATED,
	RULE_EXISTS,
	RULE_UNIQUE,
	RULE_ORGANISATION,
	RULE_OWN_CODE,
	RULE_COUNT,
	RULE_FAILURES
} SpineRuleKind;

struct SpineGroup;

typedef struct SpineRule
{
	char	   *id;
	SpineRuleKind kind;
	SpineSeverity severity;
	char	   *item;			/* the first item it is about, or NULL */
	char	   *message;
	char	   *expression;
	char	   *when;			/* of which records it is asked, or NULL */
	ExprState  *state;			/* of expression, or of when; set when the rule is first used */

	int			nitems;			/* of unique: its items; of related and exists: own side of match */
	int		   *items;
	struct SpineGroup *other;	/* of related and exists */
	int			target;			/* of exists, in other->targets */
	bool		forward;		/* of exists: what it asks for may come later */
	int			at_item;		/* of organisation; -1 where there is none */
	bool		known;
	int			nexcept;
	char	  **except;
	int			min;			/* of count; -1: none */
	int			max;
	double		max_percent;	/* of failures */
} SpineRule;

/* Items of a group by which rules of other groups, or its children, look for its records. */
typedef struct SpineTarget
{
	int			nitems;
	int		   *items;
	bool		awaited;		/* by an exists rule that warns */
	bool		forward;		/* by one that may be asked before its records come */
} SpineTarget;

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
	char	   *subject;
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
	int			parent_target;	/* in parent->targets */
	bool		is_parent;		/* other groups refer to its one key item */
	int			nkeys;
	int		   *keys;
	int			nevents;
	SpineEvent *events;
	int			nanchors;
	SpineAnchor *anchors;
	int			nrules;
	SpineRule  *rules;
	bool		rules_depend;	/* some of those compiled so far on settings such as TimeZone */
	bool		has_expressions;	/* rules of the record's own items */
	bool		has_set_rules;	/* rules that look at other records */
	bool		set_rules_may_raise;	/* some of them by an expression */
	int			ntargets;
	SpineTarget *targets;
	ExprContext *econtext;		/* for the rules, as is the slot; set when first used */
	TupleTableSlot *slot;		/* of desc */
	TupleTableSlot *header_slot;	/* of the header's, where the data set has one */
	TupleTableSlot *no_header_slot; /* all nulls */

	TupleDesc	desc;			/* envelope, then items: the form of a record */
	TupleDesc	numbered;		/* the same after a row's number; set when first used */
	TupleDesc	staged;			/* the same after what waits with it; set when first used */
	Oid			table;
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
	SpineGroup *header;			/* NULL where there is none */
	bool		may_refuse_late;	/* a rule that is judged while storing may refuse the
									 * submission */
	struct SpineDataset *next;
} SpineDataset;

/* One broken rule on one record. */
typedef struct SpineFinding
{
	const char *rule;
	SpineSeverity severity;
	const char *item;			/* NULL where it is about the record */
	const char *message;
	uint64		awaits;			/* key of the record whose coming ends it; 0: none */
} SpineFinding;

/* One record on its way in. Everything it points to lives in its context. */
typedef struct SpineRecord
{
	SpineGroup *group;
	MemoryContext context;
	const char *owner;			/* who submits it */
	Datum	   *values;			/* of group->desc */
	bool	   *nulls;
	Datum	   *header_values;	/* of the submission's header, or NULL */
	bool	   *header_nulls;
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
	TimestampTz not_after;		/* refused if the stored record is younger; 0: never */
	List	   *findings;		/* of SpineFinding */
	int			untold;			/* findings beyond those that are told */
	bool		rejected;
	bool		tolerant;		/* a rule that raises rejects the record, not the statement */
	int64		n;				/* place in the submission, from 1 */
	const char *raw;			/* the record's own text, or NULL */
	int			raw_length;
} SpineRecord;

typedef enum SpineOutcome
{
	OUTCOME_ACCEPTED,
	OUTCOME_ACCEPTED_WITH_WARNINGS,
	OUTCOME_UNCHANGED,
	OUTCOME_REJECTED
} SpineOutcome;

/* Keys that were seen: 64-bit hashes. */
typedef struct SpineKeySet SpineKeySet;

/* definition.c */
extern SpineDataset *spine_dataset_get(const char *name, const char *version);
extern SpineDataset *spine_dataset_find(const char *name, const char *version, char **why_not);
extern SpineGroup *spine_dataset_group(SpineDataset *dataset, const char *name);
extern int	spine_group_item(const SpineGroup *group, const char *name);
extern void spine_rule_compile(SpineGroup *group, SpineRule *rule);

/* value.c */
extern bool spine_value_parse(SpineItemType type, const char *text, int length,
							  Datum *value, const char **fault);
extern bool spine_value_sound(SpineItemType type, Datum value, const char **fault);
extern char *spine_value_text(SpineItemType type, Datum value);

/* finding.c */
extern SpineFinding *spine_finding_make(const char *rule, SpineSeverity severity, const char *item,
										const char *message);
extern void spine_findings_json(StringInfo out, List *findings);
extern Datum spine_findings_jsonb(List *findings);
extern Datum spine_findings_pack(List *findings);
extern List *spine_findings_unpack(Datum packed);
extern SpineSeverity spine_findings_severity(List *findings);

/* check.c */
extern void spine_record_init(SpineRecord *record, SpineGroup *group, MemoryContext context);
extern void spine_record_finding(SpineRecord *record, const char *rule, SpineSeverity severity,
								 const char *item, const char *format,...) pg_attribute_printf(5, 6);
extern bool spine_record_has_finding(const SpineRecord *record, const char *item);
extern void spine_check_record(SpineRecord *record);
extern int	spine_rules_enter(void);
extern bool spine_is_fault_of_rule(const ErrorData *error);
extern bool spine_rule_is_asked(SpineGroup *group, SpineRule *rule, Datum *values, bool *nulls,
								Datum *header_values, bool *header_nulls);

/* target.c */
extern SpineKeySet *spine_keys_create(MemoryContext context);
extern void spine_keys_add(SpineKeySet *keys, uint64 key);
extern bool spine_keys_has(SpineKeySet *keys, uint64 key);
extern bool spine_target_key(const SpineGroup *group, int target, const Datum *values, const bool *nulls,
							 uint64 *key);
extern bool spine_reference_key(const SpineGroup *group, const int *items, int nitems,
								const SpineGroup *other, int target, const Datum *values, const bool *nulls,
								uint64 *key);

/* batch.c */
typedef struct SpineBatch SpineBatch;

/* what became of one record of a flush, told in the order of adding */
typedef struct SpineVerdict
{
	int64		n;
	SpineOutcome outcome;
	const SpineGroup *group;
	const pg_uuid_t *record_id; /* NULL if rejected */
	const char *local_record_id;
	const Datum *values;		/* of group->desc */
	const bool *nulls;
	List	   *findings;
	const char *raw;
	int			raw_length;
} SpineVerdict;

typedef void (*spine_batch_verdict) (void *state, const SpineVerdict *verdict);

extern SpineBatch *spine_batch_create(SpineGroup *group, const char *owner, const char *source_system,
									  SpineKeySet *expected, MemoryContext parent);
extern void spine_batch_set_header(SpineBatch *batch, Datum *values, bool *nulls);
extern bool spine_batch_holds(SpineBatch *batch, const SpineRecord *record);
extern MemoryContext spine_batch_context(SpineBatch *batch);
extern int	spine_batch_count(const SpineBatch *batch);
extern int64 spine_batch_deleted(const SpineBatch *batch);
extern bool spine_batch_full(const SpineBatch *batch);
extern void spine_batch_add(SpineBatch *batch, const SpineRecord *record, pg_uuid_t *record_id);
extern void spine_batch_delete(SpineBatch *batch, const pg_uuid_t *record_id);
extern void spine_batch_flush(SpineBatch *batch, spine_batch_verdict verdict, void *state);
extern void spine_batch_free(SpineBatch *batch);

#endif							/* SPINE_INTAKE_H */
