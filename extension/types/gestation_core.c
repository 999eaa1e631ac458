/*
 * gestation_core.c
 *		Length of gestation without PostgreSQL.
 */
#include "gestation_core.h"

#include "blank.h"

/* Takes the digits off the front of text and says how many; *number stops growing when it is out of range. */
static size_t
take_digits(const char **text, size_t *length, int32_t *number)
{
	size_t		taken = 0;

	*number = 0;
	while (*length > 0 && **text >= '0' && **text <= '9')
	{
		if (*number <= SPINE_GESTATION_LARGEST)
			*number = *number * 10 + (**text - '0');
		(*text)++;
		(*length)--;
		taken++;
	}
	return taken;
}

/* Takes the character off the front of text if it is this one, a letter in either case. */
static bool
take(const char **text, size_t *length, char c)
{
	if (*length == 0 || (**text != c && !(c >= 'a' && c <= 'z' && **text == c - 'a' + 'A')))
		return false;
	(*text)++;
	(*length)--;
	return true;
}

spine_gestation_error
spine_gestation_parse(const char *text, size_t length, int32_t *days)
{
	int32_t		number;
	int32_t		day = 0;
	size_t		digits;

	spine_trim(&text, &length);
	if (length == 0)
		return SPINE_GESTATION_EMPTY;
	digits = take_digits(&text, &length, &number);
	if (digits == 0)
		return SPINE_GESTATION_FORM;

	if (length > 0)
	{
		/* weeks of two digits at most, and one digit of days */
		if (digits > 2)
			return SPINE_GESTATION_FORM;
		if (take(&text, &length, '+'))
		{
			if (take_digits(&text, &length, &day) != 1)
				return SPINE_GESTATION_FORM;
		}
		else if (!take(&text, &length, 'w'))
			return SPINE_GESTATION_FORM;
		else if (length > 0 &&
				 (take_digits(&text, &length, &day) != 1 || !take(&text, &length, 'd')))
			return SPINE_GESTATION_FORM;
		if (length > 0)
			return SPINE_GESTATION_FORM;
		if (day > 6)
			return SPINE_GESTATION_DAY_PART;
		number = number * 7 + day;
	}
	if (number > SPINE_GESTATION_LARGEST)
		return SPINE_GESTATION_RANGE;
	*days = number;
	return SPINE_GESTATION_OK;
}

spine_gestation_error
spine_gestation_check(int64_t days)
{
	return days >= 0 && days <= SPINE_GESTATION_LARGEST ? SPINE_GESTATION_OK : SPINE_GESTATION_RANGE;
}

size_t
spine_gestation_print(int32_t days, char out[SPINE_GESTATION_TEXT])
{
	int32_t		weeks = days / 7;
	size_t		length = 0;

	if (weeks >= 10)
		out[length++] = (char) ('0' + weeks / 10);
	out[length++] = (char) ('0' + weeks % 10);
	out[length++] = '+';
	out[length++] = (char) ('0' + days % 7);
	out[length] = '\0';
	return length;
}

const char *
spine_gestation_error_text(spine_gestation_error error)
{
	switch (error)
	{
		case SPINE_GESTATION_OK:
			return "nothing is wrong with it";
		case SPINE_GESTATION_EMPTY:
			return "it is empty";
		case SPINE_GESTATION_FORM:
			return "it must be weeks+days, such as 39+4, or a number of days";
		case SPINE_GESTATION_DAY_PART:
			return "the days after the weeks must be 0 to 6";
		case SPINE_GESTATION_RANGE:
			return "it must be from 0 to 349 days (49+6)";
	}
	return "it is not valid";
}
