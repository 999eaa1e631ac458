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
	const char *raw;			/* the record's own text in the document */
	int			raw_length;
	bool		malformed;		/* not an object, or its data is not one */
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

typedef struct SpineDocument
{
	char	   *dataset;
	char	   *version;
	char	   *system;
	bool		has_records;
	int			nrecords;
	int			records_room;
	SpineDocumentRecord *records;
} SpineDocument;

/* Parses in the current memory context; raises SP002 for what is no submission. */
extern SpineDocument *spine_document_parse(char *json, int length);

#endif							/* SPINE_DOCUMENT_H */
