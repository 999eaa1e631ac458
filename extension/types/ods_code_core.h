/*
 * ods_code_core.h
 *		Codes of the Organisation Data Service without PostgreSQL: 3 to 9 ASCII
 *		letters and digits, of a Trust (RYJ), a site (RYJ01), a practice
 *		(A81001), or a default where no organisation is meant (X99998, ZZ201).
 */
#ifndef SPINE_ODS_CODE_CORE_H
#define SPINE_ODS_CODE_CORE_H

#include <stddef.h>

#define SPINE_ODS_CODE_MIN 3
#define SPINE_ODS_CODE_MAX 9

typedef enum spine_ods_code_error
{
	SPINE_ODS_CODE_OK = 0,
	SPINE_ODS_CODE_EMPTY,
	SPINE_ODS_CODE_CHARACTER,
	SPINE_ODS_CODE_LENGTH
} spine_ods_code_error;

/*
 * Reads a code, surrounding blanks aside, and writes it in upper case with a
 * NUL; *out_length does not count the NUL. text need not end with a NUL. out
 * and *out_length are meaningful only when the answer is SPINE_ODS_CODE_OK.
 */
extern spine_ods_code_error spine_ods_code_parse(const char *text, size_t length,
												 char out[SPINE_ODS_CODE_MAX + 1], size_t *out_length);

/* A phrase that fits "invalid ODS code: %s". */
extern const char *spine_ods_code_error_text(spine_ods_code_error error);

#endif							/* SPINE_ODS_CODE_CORE_H */
