/*
 * nhs_number_core.c
 *		NHS numbers without PostgreSQL.
 */
#include "nhs_number_core.h"

#include <string.h>

#include "blank.h"

/*
 * Sum of digits times weights 10, 9 .. 2 and 1: a multiple of 11 exactly when
 * the last digit is 11 less the remainder of the others, and 10 is no digit.
 */
static inline unsigned
weighted_sum(const unsigned char *digit)
{
	return digit[0] * 10u + digit[1] * 9u + digit[2] * 8u + digit[3] * 7u + digit[4] * 6u +
		digit[5] * 5u + digit[6] * 4u + digit[7] * 3u + digit[8] * 2u + digit[9];
}

static inline void
split(int64_t value, unsigned char digit[SPINE_NHS_NUMBER_DIGITS])
{
	uint32_t	high = (uint32_t) (value / 100000);
	uint32_t	low = (uint32_t) (value % 100000);

	for (int i = 4; i >= 0; i--)
	{
		digit[i] = (unsigned char) (high % 10);
		high /= 10;
		digit[i + 5] = (unsigned char) (low % 10);
		low /= 10;
	}
}

/* What is wrong with a text that is not ten digits or 3-3-4. */
static spine_nhs_number_error
fault_of_form(const char *text, size_t length)
{
	size_t		digits = 0;

	if (length == 0)
		return SPINE_NHS_NUMBER_EMPTY;
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] >= '0' && text[i] <= '9')
			digits++;
		else if (text[i] != ' ' && text[i] != '-')
			return SPINE_NHS_NUMBER_CHARACTER;
	}
	return digits == SPINE_NHS_NUMBER_DIGITS ? SPINE_NHS_NUMBER_SEPARATOR : SPINE_NHS_NUMBER_LENGTH;
}

spine_nhs_number_error
spine_nhs_number_parse(const char *text, size_t length, int64_t *value)
{
	const char *digits;
	char		packed[SPINE_NHS_NUMBER_DIGITS];
	unsigned	out_of_range = 0;
	unsigned	sum = 0;
	unsigned	weighted = 0;
	int64_t		number = 0;

	spine_trim(&text, &length);
	digits = text;
	if (length == SPINE_NHS_NUMBER_DIGITS + 2 &&
		(text[3] == ' ' || text[3] == '-') && text[7] == text[3])
	{
		memcpy(packed, text, 3);
		memcpy(packed + 3, text + 4, 3);
		memcpy(packed + 6, text + 8, 4);
		digits = packed;
	}
	else if (length != SPINE_NHS_NUMBER_DIGITS)
		return fault_of_form(text, length);

	/* adding up the sums so far gives the first digit weight 10 and the last weight 1 */
	for (int i = 0; i < SPINE_NHS_NUMBER_DIGITS; i++)
	{
		unsigned	digit = (unsigned char) (digits[i] - '0');

		out_of_range |= (digit > 9);
		sum += digit;
		weighted += sum;
		number = number * 10 + digit;
	}
	if (out_of_range)
		return fault_of_form(text, length);
	if (weighted % 11 != 0)
		return SPINE_NHS_NUMBER_CHECK_DIGIT;
	*value = number;
	return SPINE_NHS_NUMBER_OK;
}

spine_nhs_number_error
spine_nhs_number_check(int64_t value)
{
	unsigned char digit[SPINE_NHS_NUMBER_DIGITS];

	if (value < 0 || value > SPINE_NHS_NUMBER_LARGEST)
		return SPINE_NHS_NUMBER_LENGTH;
	split(value, digit);
	return weighted_sum(digit) % 11 == 0 ? SPINE_NHS_NUMBER_OK : SPINE_NHS_NUMBER_CHECK_DIGIT;
}

void
spine_nhs_number_print(int64_t value, char out[SPINE_NHS_NUMBER_DIGITS + 1])
{
	unsigned char digit[SPINE_NHS_NUMBER_DIGITS];

	split(value, digit);
	for (int i = 0; i < SPINE_NHS_NUMBER_DIGITS; i++)
		out[i] = (char) ('0' + digit[i]);
	out[SPINE_NHS_NUMBER_DIGITS] = '\0';
}

const char *
spine_nhs_number_error_text(spine_nhs_number_error error)
{
	switch (error)
	{
		case SPINE_NHS_NUMBER_OK:
			return "nothing is wrong with it";
		case SPINE_NHS_NUMBER_EMPTY:
			return "it is empty";
		case SPINE_NHS_NUMBER_CHARACTER:
			return "it may hold digits alone, or digits grouped by spaces or hyphens";
		case SPINE_NHS_NUMBER_LENGTH:
			return "it must have 10 digits";
		case SPINE_NHS_NUMBER_SEPARATOR:
			return "digits may be grouped only as 3-3-4, by one kind of separator";
		case SPINE_NHS_NUMBER_CHECK_DIGIT:
			return "its check digit is wrong (modulus 11)";
	}
	return "it is not valid";
}

int
spine_nhs_number_check_digit(int64_t first_nine)
{
	unsigned char digit[SPINE_NHS_NUMBER_DIGITS];
	unsigned	check;

	if (first_nine < 0 || first_nine > SPINE_NHS_NUMBER_LARGEST / 10)
		return -1;
	split(first_nine * 10, digit);
	check = (11 - weighted_sum(digit) % 11) % 11;
	return check == 10 ? -1 : (int) check;
}

bool
spine_nhs_number_is_repeated(int64_t value)
{
	unsigned char digit[SPINE_NHS_NUMBER_DIGITS];

	split(value, digit);
	for (int i = 0; i < SPINE_NHS_NUMBER_DIGITS / 2; i++)
	{
		if (digit[i] != digit[SPINE_NHS_NUMBER_DIGITS - 1 - i])
			return false;
	}
	return true;
}

spine_nhs_number_issuer
spine_nhs_number_issued_by(int64_t value)
{
	int			first_two = (int) (value / 100000000);
	int			next_two = (int) (value / 1000000 % 100);

	/* a CHI number starts with a date of birth: day, month, year of two digits */
	if (first_two >= 1 && first_two <= 31 && next_two >= 1 && next_two <= 12)
		return SPINE_NHS_NUMBER_SCOTLAND;
	if (first_two >= 32 && first_two <= 39)
		return SPINE_NHS_NUMBER_NORTHERN_IRELAND;
	if ((first_two >= 40 && first_two <= 49) || (first_two >= 60 && first_two <= 79))
		return SPINE_NHS_NUMBER_ENGLAND_WALES;
	if (value / 10000000 == 999)
		return SPINE_NHS_NUMBER_SYNTHETIC;
	return SPINE_NHS_NUMBER_OTHER;
}

const char *
spine_nhs_number_issuer_text(spine_nhs_number_issuer issuer)
{
	switch (issuer)
	{
		case SPINE_NHS_NUMBER_SCOTLAND:
			return "scotland";
		case SPINE_NHS_NUMBER_NORTHERN_IRELAND:
			return "northern_ireland";
		case SPINE_NHS_NUMBER_ENGLAND_WALES:
			return "england_wales";
		case SPINE_NHS_NUMBER_SYNTHETIC:
			return "synthetic";
		case SPINE_NHS_NUMBER_OTHER:
			break;
	}
	return "other";
}
