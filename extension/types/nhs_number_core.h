/*
 * nhs_number_core.h
 *		NHS numbers without PostgreSQL: the ten-digit numbers of England and
 *		Wales (NHS), Scotland (CHI) and Northern Ireland (H&C), with a check
 *		digit by modulus 11.
 */
#ifndef SPINE_NHS_NUMBER_CORE_H
#define SPINE_NHS_NUMBER_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPINE_NHS_NUMBER_DIGITS 10
#define SPINE_NHS_NUMBER_LARGEST INT64_C(9999999999)

typedef enum spine_nhs_number_error
{
	SPINE_NHS_NUMBER_OK = 0,
	SPINE_NHS_NUMBER_EMPTY,
	SPINE_NHS_NUMBER_CHARACTER,
	SPINE_NHS_NUMBER_LENGTH,
	SPINE_NHS_NUMBER_SEPARATOR,
	SPINE_NHS_NUMBER_CHECK_DIGIT
} spine_nhs_number_error;

/* Who issues the numbers of the range that a number lies in. */
typedef enum spine_nhs_number_issuer
{
	SPINE_NHS_NUMBER_SCOTLAND,
	SPINE_NHS_NUMBER_NORTHERN_IRELAND,
	SPINE_NHS_NUMBER_ENGLAND_WALES,
	SPINE_NHS_NUMBER_SYNTHETIC,
	SPINE_NHS_NUMBER_OTHER
} spine_nhs_number_issuer;

/*
 * Reads ten digits, or 3-3-4 with one kind of separator, blank or hyphen,
 * surrounding blanks aside. text need not end with a NUL. *value is set only
 * when the answer is SPINE_NHS_NUMBER_OK.
 */
extern spine_nhs_number_error spine_nhs_number_parse(const char *text, size_t length, int64_t *value);

/* The same judgement of a number that is not text. */
extern spine_nhs_number_error spine_nhs_number_check(int64_t value);

/* Writes ten digits and a NUL. value must be a valid number. */
extern void spine_nhs_number_print(int64_t value, char out[SPINE_NHS_NUMBER_DIGITS + 1]);

/* A phrase that fits "invalid NHS number: %s". */
extern const char *spine_nhs_number_error_text(spine_nhs_number_error error);

/* The tenth digit to nine, 0 to 9, or -1 where no number has these nine. */
extern int	spine_nhs_number_check_digit(int64_t first_nine);

/*
 * Whether the digits read the same backwards, so also whether they are all
 * the same. National collections refuse such numbers, some sample data uses
 * them: the type accepts them, and who wants the rule asks here.
 */
extern bool spine_nhs_number_is_repeated(int64_t value);

extern spine_nhs_number_issuer spine_nhs_number_issued_by(int64_t value);

/* scotland, northern_ireland, england_wales, synthetic, other */
extern const char *spine_nhs_number_issuer_text(spine_nhs_number_issuer issuer);

#endif							/* SPINE_NHS_NUMBER_CORE_H */
