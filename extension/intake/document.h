/*
 * document.h
 *		A submission, taken apart.
 */
#ifndef SPINE_DOCUMENT_H
#define SPINE_DOCUMENT_H

#include "postgres.h"

#include "common/jsonapi.h"

typedef struct SpineField
{
	char	   *name;
	JsonTokenType type;			/* JSON_TOKEN_OBJECT_START or ARRAY_START: not a plain value */
	char	   *text;			/* of strings and numbers, escapes resolved */
} SpineField;

typedef struct SpineDocumentRecord
{
	const char *fault;			/* why it is no record, or NULL; what was read until then stands */
	char	   *dataset;		/* of a line of the inbox, which stands alone */
	char	   *version;
	char	   *system;
	char	   *group;
	char	   *nhs_number;
	char	   *local_patient_id;
	char	   *local_episode_id;
	char	   *local_record_id;
	char	   *unknown_key;	/* the first one that a record does not have */
	int			nfields;
	int			fields_room;
	SpineField *fields;			/* of its data */
} SpineDocumentRecord;

/* a record's own text in a document */
typedef struct SpineSpan
{
	const char *start;
	int			length;
} SpineSpan;

typedef struct SpineDocument
{
	char	   *dataset;
	char	   *version;
	char	   *system;
	bool		has_records;
	int			nrecords;
	int			records_room;
	SpineSpan  *records;
} SpineDocument;

/* Finds the records of a submission, unread; raises SP002 for what is no submission. */
extern SpineDocument *spine_document_parse(const char *json, int length);

/*
 * Reads one record, never raising on account of its text. alone: a line of
 * the inbox, which names its data set itself.
 */
extern void spine_document_record(const char *json, int length, bool alone, SpineDocumentRecord *record);

#endif							/* SPINE_DOCUMENT_H */
