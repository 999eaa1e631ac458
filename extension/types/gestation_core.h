/*
 * gestation_core.h
 *		Length of gestation without PostgreSQL, kept as days and written as
 *		completed weeks + days: 39+4 is 277 days.
 */
#ifndef SPINE_GESTATION_CORE_H
#define SPINE_GESTATION_CORE_H

#include <stddef.h>
#include <stdint.h>

/* 49+6: the national data sets know no week after the 49th */
#define SPINE_GESTATION_LARGEST 349

/* room for the longest, 49+6, and a NUL */
#define SPINE_GESTATION_TEXT 5

typedef enum spine_gestation_error
{
	SPINE_GESTATION_OK = 0,
	SPINE_GESTATION_EMPTY,
	SPINE_GESTATION_FORM,
	SPINE_GESTATION_DAY_PART,
	SPINE_GESTATION_RANGE
} spine_gestation_error;

/*
 * Reads weeks and days as 39+4, 39w4d or 39w, or digits alone as days,
 * surrounding blanks aside. text need not end with a NUL. *days is set only
 * when the answer is SPINE_GESTATION_OK.
 */
extern spine_gestation_error spine_gestation_parse(const char *text, size_t length, int32_t *days);

/* The same judgement of days that are not text. */
extern spine_gestation_error spine_gestation_check(int64_t days);

/* Writes weeks+days and a NUL, returns the length. days must be valid. */
extern size_t spine_gestation_print(int32_t days, char out[SPINE_GESTATION_TEXT]);

/* A phrase that fits "invalid gestation: %s". */
extern const char *spine_gestation_error_text(spine_gestation_error error);

#endif							/* SPINE_GESTATION_CORE_H */
