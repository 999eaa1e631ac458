/*
 * submission.h
 *		A submission at a tolerant door, and what every submission leaves.
 */
#ifndef SPINE_SUBMISSION_H
#define SPINE_SUBMISSION_H

#include "postgres.h"

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "governance/caller.h"
#include "intake/document.h"
#include "intake/intake.h"

typedef enum SpineDoor
{
	DOOR_VIEW,
	DOOR_SUBMIT,
	DOOR_INBOX,
	DOOR_RESUBMIT
} SpineDoor;

/* what is told of a submission in spine.submission */
typedef struct SpineSubmissionEntry
{
	pg_uuid_t	id;
	SpineDoor	door;
	const char *owner;
	const char *source_system;
	const char *role_name;		/* NAMEDATALEN bytes */
	const char *kind;			/* of the system */
	const char *dataset;		/* NULL: several, or none */
	const char *version;
	const char *data_group;		/* NULL: several */
	int64		counts[OUTCOME_REJECTED + 1];
	int64		deleted;
	const char *refused;		/* the rule that refused all of it, or NULL */
} SpineSubmissionEntry;

typedef struct SpineSubmission SpineSubmission;

typedef struct SpineSubmissionDoor
{
	/*
	 * Called for each record, in no certain order; a second time, rejected,
	 * where a rule refuses the whole submission while it is being stored.
	 */
	void		(*verdict) (void *state, const SpineVerdict *verdict);

	/*
	 * Before verdicts that may be undone: write down those told so far. When
	 * they are undone: forget those told since. May be NULL.
	 */
	void		(*settle) (void *state, bool undone);
	void	   *state;
} SpineSubmissionDoor;

extern void spine_submission_from(SpineSubmissionEntry *entry, const SpineCaller *caller);

/*
 * entry says who submits. The submission lives in the present context. dry:
 * nothing is recorded of it, because the caller rolls it back.
 */
extern SpineSubmission *spine_submission_begin(const SpineSubmissionEntry *entry, bool dry,
											   const SpineSubmissionDoor *door);
extern void spine_submission_add(SpineSubmission *submission, int64 n, SpineDataset *dataset,
								 const char *raw, int raw_length, TimestampTz not_after);
extern void spine_submission_finish(SpineSubmission *submission);
extern const SpineSubmissionEntry *spine_submission_entry(const SpineSubmission *submission);

/* Writes the entry, with the text of the submission if it is given. */
extern void spine_submission_record(const SpineSubmissionEntry *entry, text *raw);

/* Lines of the inbox from line first_n on, as they came. */
extern void spine_submission_keep_lines(const SpineSubmissionEntry *entry, int64 first_n, text *lines);

/* What became of lines of the inbox: columns of n rows each. */
typedef struct SpineLineOutcomes
{
	int			n;
	Datum	   *lines;
	Datum	   *outcomes;
	Datum	   *groups;
	bool	   *no_group;
	Datum	   *records;
	bool	   *no_record;
	Datum	   *findings;
} SpineLineOutcomes;

extern void spine_submission_keep_outcomes(const SpineSubmissionEntry *entry, const SpineLineOutcomes *outcomes);

extern const char *const spine_outcome_names[];

#endif							/* SPINE_SUBMISSION_H */
