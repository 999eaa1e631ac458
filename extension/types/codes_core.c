/*
 * codes_core.c
 *		Shapes of the codes that records carry as text, without PostgreSQL.
 */
#include "codes_core.h"

#include <stdint.h>

#include "snomed_code_core.h"

#define MOST_DIGITS 15			/* which a double holds exactly */

static inline bool
digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
letter(char c)
{
	c |= 0x20;
	return c >= 'a' && c <= 'z';
}

/* c in lower case is this one */
static inline bool
is(char c, char lower)
{
	return (c | 0x20) == lower;
}

bool
spine_codes_icd10(const char *text, size_t length)
{
	size_t		i = 3;

	if (length < 3 || !letter(text[0]) || !digit(text[1]) || !digit(text[2]))
		return false;
	if (i == length)
		return true;
	if (text[i] == '.')
		i++;
	if (i == length || !(digit(text[i]) || is(text[i], 'x')))
		return false;
	i++;
	if (i < length && digit(text[i]))
		i++;
	if (i < length && (is(text[i], 'a') || is(text[i], 'd')))
		i++;
	return i == length;
}

bool
spine_codes_opcs4(const char *text, size_t length)
{
	size_t		point = length == 5 && text[3] == '.' ? 1 : 0;

	return length == 4 + point && letter(text[0]) && digit(text[1]) && digit(text[2]) && digit(text[3 + point]);
}

bool
spine_codes_read(const char *text, size_t length)
{
	size_t		n = 0;

	if (length != 5 && length != 7)
		return false;
	while (n < 5 && (letter(text[n]) || digit(text[n])))
		n++;
	if (n == 0)
		return false;
	for (size_t i = n; i < 5; i++)
		if (text[i] != '.')
			return false;
	for (size_t i = 5; i < length; i++)
		if (!letter(text[i]) && !digit(text[i]))
			return false;
	return true;
}

bool
spine_codes_snomed_concept(const char *text, size_t length)
{
	int64_t		value;

	return spine_snomed_code_parse(text, length, &value) == SPINE_SNOMED_CODE_OK &&
		spine_snomed_code_names(value) == SPINE_SNOMED_CODE_CONCEPT;
}

bool
spine_codes_snomed_expression(const char *text, size_t length)
{
	/* what separates this concept from the next: + : = , and what may follow each */
	char		before = '+';
	size_t		start = 0;

	for (size_t i = 0; i <= length; i++)
	{
		char		c = i < length ? text[i] : '\0';
		bool		fits;

		if (i < length && c != '+' && c != ':' && c != '=' && c != ',')
			continue;
		if (before == '+')
			fits = c == '+' || c == ':' || i == length;
		else if (before == '=')
			fits = c == ',' || i == length;
		else
			fits = c == '=';
		if (!fits || !spine_codes_snomed_concept(text + start, i - start))
			return false;
		before = c;
		start = i + 1;
	}
	return true;
}

bool
spine_codes_postcode(const char *text, size_t length)
{
	size_t		i = 0;
	size_t		blanks;

	if (length < 5)
		return false;
	if (length >= 7 && is(text[0], 'g') && is(text[1], 'i') && is(text[2], 'r'))
	{
		for (i = 3; i < length - 3; i++)
			if (text[i] != ' ')
				return false;
		return text[i] == '0' && is(text[i + 1], 'a') && is(text[i + 2], 'a');
	}
	while (i < 2 && letter(text[i]))
		i++;
	if (i == 0 || !digit(text[i]))
		return false;
	i++;
	if (letter(text[i]) || digit(text[i]))
		i++;
	blanks = i;
	while (i < length && text[i] == ' ')
		i++;
	return i > blanks && length - i == 3 && digit(text[i]) && letter(text[i + 1]) && letter(text[i + 2]);
}

bool
spine_codes_number(const char *text, size_t length, double *value)
{
	int64_t		whole = 0;
	int64_t		scale = 1;
	size_t		digits = 0;
	size_t		i = 0;
	bool		negative = false;
	bool		point = false;

	if (length > 0 && (text[0] == '-' || text[0] == '+'))
		negative = text[i++] == '-';
	for (; i < length; i++)
	{
		/* a point stands between digits */
		if (text[i] == '.' && !point && digits > 0 && i + 1 < length)
		{
			point = true;
			continue;
		}
		if (!digit(text[i]) || ++digits > MOST_DIGITS)
			return false;
		whole = whole * 10 + (text[i] - '0');
		if (point)
			scale *= 10;
	}
	if (digits == 0)
		return false;
	*value = (double) whole / (double) scale;
	if (negative)
		*value = -*value;
	return true;
}
