/*
 * snomed_code_core.h
 *		SNOMED CT identifiers without PostgreSQL: 6 to 18 digits, of which the
 *		last is a check digit by Verhoeff and the two before it, the partition,
 *		say what the identifier names.
 */
#ifndef SPINE_SNOMED_CODE_CORE_H
#define SPINE_SNOMED_CODE_CORE_H

#include <stddef.h>
#include <stdint.h>

#define SPINE_SNOMED_CODE_MIN 6
#define SPINE_SNOMED_CODE_MAX 18

typedef enum spine_snomed_code_error
{
	SPINE_SNOMED_CODE_OK = 0,
	SPINE_SNOMED_CODE_EMPTY,
	SPINE_SNOMED_CODE_CHARACTER,
	SPINE_SNOMED_CODE_LENGTH,
	SPINE_SNOMED_CODE_LEADING_ZERO,
	SPINE_SNOMED_CODE_CHECK_DIGIT,
	SPINE_SNOMED_CODE_PARTITION
} spine_snomed_code_error;

typedef enum spine_snomed_code_kind
{
	SPINE_SNOMED_CODE_CONCEPT,
	SPINE_SNOMED_CODE_DESCRIPTION,
	SPINE_SNOMED_CODE_RELATIONSHIP
} spine_snomed_code_kind;

/*
 * Reads the digits, surrounding blanks aside. text need not end with a NUL.
 * *value is set only when the answer is SPINE_SNOMED_CODE_OK.
 */
extern spine_snomed_code_error spine_snomed_code_parse(const char *text, size_t length, int64_t *value);

/* The same judgement of a number that is not text. */
extern spine_snomed_code_error spine_snomed_code_check(int64_t value);

/* Writes the digits and a NUL, returns how many digits. value must be a valid code. */
extern size_t spine_snomed_code_print(int64_t value, char out[SPINE_SNOMED_CODE_MAX + 1]);

/* A phrase that fits "invalid SNOMED CT code: %s". */
extern const char *spine_snomed_code_error_text(spine_snomed_code_error error);

/* The check digit that completes the digits before it, 0 to 9; -1 if they are negative or too many. */
extern int	spine_snomed_code_check_digit(int64_t without_check_digit);

/* What a valid code names. */
extern spine_snomed_code_kind spine_snomed_code_names(int64_t value);

/* concept, description, relationship */
extern const char *spine_snomed_code_kind_text(spine_snomed_code_kind kind);

#endif							/* SPINE_SNOMED_CODE_CORE_H */
