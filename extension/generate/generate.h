/*
 * generate.h
 *		What is to be generated, and the records that are.
 */
#ifndef SPINE_GENERATE_H
#define SPINE_GENERATE_H

#include "postgres.h"

/* Four numbers a pregnancy, nine to each block of ten below 999 (see nhs_number() in journey.c). */
#define GENERATE_MOST_PREGNANCIES 225000
#define GENERATE_MOST_ORGANISATIONS 64

typedef struct GeneratePlan
{
	uint64		seed;
	int			start;			/* first day of booking, days since 2000-01-01 */
	uint32		fault_rate;		/* of 1,000,000 records */
	int			norganisations;
	char	  **organisations;
} GeneratePlan;

typedef struct GeneratedRecord
{
	int64		sent;			/* minutes since 2000-01-01 */
	int			sequence;		/* order of making, which breaks ties */
	int			organisation;	/* index in the plan */
	const char *group;
	const char *fault;			/* what was spoilt on purpose, or NULL */
	char	   *json;
	int			length;
} GeneratedRecord;

typedef struct GeneratedRecords
{
	int			n;
	int			room;
	GeneratedRecord *records;
} GeneratedRecords;

/* Unlike Max and Min they look at each argument once: most of the arguments here draw. */
static inline int64
larger(int64 a, int64 b)
{
	return a > b ? a : b;
}

static inline int64
smaller(int64 a, int64 b)
{
	return a < b ? a : b;
}

/*
 * Both allocate in the current memory context and append in the order in
 * which the records are sent: a parent stands before its children.
 */
extern void spine_tell_pregnancy(const GeneratePlan *plan, int pregnancy, GeneratedRecords *out);
extern void spine_tell_organisation(const GeneratePlan *plan, int organisation, GeneratedRecords *out);

#endif							/* SPINE_GENERATE_H */
