/*
 * snomed_code_core.c
 *		SNOMED CT identifiers without PostgreSQL.
 */
#include "snomed_code_core.h"

#include "blank.h"

/*
 * Verhoeff's check digit: position i from the right permutes its digit, and
 * the permuted digits multiply up in the symmetries of a pentagon.
 */
static const unsigned char product[10][10] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
	{1, 2, 3, 4, 0, 6, 7, 8, 9, 5},
	{2, 3, 4, 0, 1, 7, 8, 9, 5, 6},
	{3, 4, 0, 1, 2, 8, 9, 5, 6, 7},
	{4, 0, 1, 2, 3, 9, 5, 6, 7, 8},
	{5, 9, 8, 7, 6, 0, 4, 3, 2, 1},
	{6, 5, 9, 8, 7, 1, 0, 4, 3, 2},
	{7, 6, 5, 9, 8, 2, 1, 0, 4, 3},
	{8, 7, 6, 5, 9, 3, 2, 1, 0, 4},
	{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}
};

/* of 16, so that four bits of any character find something */
static const unsigned char permutation[8][16] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
	{1, 5, 7, 6, 2, 8, 3, 0, 9, 4},
	{5, 8, 0, 3, 7, 9, 6, 1, 4, 2},
	{8, 9, 1, 6, 0, 4, 3, 5, 2, 7},
	{9, 4, 5, 3, 1, 2, 6, 8, 7, 0},
	{4, 2, 8, 6, 5, 7, 3, 9, 0, 1},
	{2, 7, 9, 3, 8, 0, 6, 4, 1, 5},
	{7, 0, 4, 6, 9, 1, 3, 2, 5, 8}
};

static const unsigned char inverse[10] = {0, 4, 3, 2, 1, 5, 6, 7, 8, 9};

/* The partition is the two digits before the check digit: 00 to 02 and 10 to 12 are in use. */
static inline int
partition(int64_t value)
{
	return (int) (value / 10 % 100);
}

static inline bool
partition_in_use(int partition)
{
	return partition / 10 <= 1 && partition % 10 <= 2;
}

/* What is wrong with a text that is not 6 to 18 digits. */
static spine_snomed_code_error
fault_of_form(const char *text, size_t length)
{
	if (length == 0)
		return SPINE_SNOMED_CODE_EMPTY;
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return SPINE_SNOMED_CODE_CHARACTER;
	}
	return SPINE_SNOMED_CODE_LENGTH;
}

spine_snomed_code_error
spine_snomed_code_parse(const char *text, size_t length, int64_t *value)
{
	unsigned	check = 0;
	unsigned	out_of_range = 0;
	int64_t		number = 0;
	size_t		position;

	spine_trim(&text, &length);
	if (length < SPINE_SNOMED_CODE_MIN || length > SPINE_SNOMED_CODE_MAX)
		return fault_of_form(text, length);

	/*
	 * Verhoeff goes from right to left; the product is associative, so going
	 * from left to right multiplies on the other side. What is no digit is
	 * taken for some digit until the end.
	 */
	position = length - 1;
	for (size_t i = 0; i < length; i++, position--)
	{
		unsigned	digit = (unsigned char) (text[i] - '0');

		out_of_range |= (digit > 9);
		digit &= 15;
		number = number * 10 + digit;
		check = product[permutation[position & 7][digit]][check];
	}
	if (out_of_range)
		return fault_of_form(text, length);
	if (text[0] == '0')
		return SPINE_SNOMED_CODE_LEADING_ZERO;
	if (check != 0)
		return SPINE_SNOMED_CODE_CHECK_DIGIT;
	if (!partition_in_use(partition(number)))
		return SPINE_SNOMED_CODE_PARTITION;
	*value = number;
	return SPINE_SNOMED_CODE_OK;
}

spine_snomed_code_error
spine_snomed_code_check(int64_t value)
{
	unsigned char check = 0;

	if (value < INT64_C(100000) || value > INT64_C(999999999999999999))
		return SPINE_SNOMED_CODE_LENGTH;
	for (int64_t rest = value, position = 0; rest > 0; rest /= 10, position++)
		check = product[check][permutation[position & 7][rest % 10]];
	if (check != 0)
		return SPINE_SNOMED_CODE_CHECK_DIGIT;
	if (!partition_in_use(partition(value)))
		return SPINE_SNOMED_CODE_PARTITION;
	return SPINE_SNOMED_CODE_OK;
}

size_t
spine_snomed_code_print(int64_t value, char out[SPINE_SNOMED_CODE_MAX + 1])
{
	char		reversed[SPINE_SNOMED_CODE_MAX];
	size_t		length = 0;

	do
	{
		reversed[length++] = (char) ('0' + value % 10);
		value /= 10;
	} while (value > 0 && length < SPINE_SNOMED_CODE_MAX);
	for (size_t i = 0; i < length; i++)
		out[i] = reversed[length - 1 - i];
	out[length] = '\0';
	return length;
}

const char *
spine_snomed_code_error_text(spine_snomed_code_error error)
{
	switch (error)
	{
		case SPINE_SNOMED_CODE_OK:
			return "nothing is wrong with it";
		case SPINE_SNOMED_CODE_EMPTY:
			return "it is empty";
		case SPINE_SNOMED_CODE_CHARACTER:
			return "it may hold digits alone";
		case SPINE_SNOMED_CODE_LENGTH:
			return "it must have 6 to 18 digits";
		case SPINE_SNOMED_CODE_LEADING_ZERO:
			return "it may not start with 0";
		case SPINE_SNOMED_CODE_CHECK_DIGIT:
			return "its check digit is wrong (Verhoeff)";
		case SPINE_SNOMED_CODE_PARTITION:
			return "its partition names no concept, description or relationship";
	}
	return "it is not valid";
}

int
spine_snomed_code_check_digit(int64_t without_check_digit)
{
	unsigned char check = 0;

	if (without_check_digit < 0 || without_check_digit > INT64_C(99999999999999999))
		return -1;
	for (int64_t rest = without_check_digit, position = 1; rest > 0; rest /= 10, position++)
		check = product[check][permutation[position & 7][rest % 10]];
	return inverse[check];
}

spine_snomed_code_kind
spine_snomed_code_names(int64_t value)
{
	return (spine_snomed_code_kind) (partition(value) % 10);
}

const char *
spine_snomed_code_kind_text(spine_snomed_code_kind kind)
{
	switch (kind)
	{
		case SPINE_SNOMED_CODE_CONCEPT:
			return "concept";
		case SPINE_SNOMED_CODE_DESCRIPTION:
			return "description";
		case SPINE_SNOMED_CODE_RELATIONSHIP:
			return "relationship";
	}
	return "unknown";
}
