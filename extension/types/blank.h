/*
 * blank.h
 *		What the cores of the types call blank, and how they trim it: the six
 *		white-space characters of ASCII, whatever the locale.
 */
#ifndef SPINE_TYPES_BLANK_H
#define SPINE_TYPES_BLANK_H

#include <stdbool.h>
#include <stddef.h>

static inline bool
spine_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline void
spine_trim(const char **text, size_t *length)
{
	while (*length > 0 && spine_blank(**text))
	{
		(*text)++;
		(*length)--;
	}
	while (*length > 0 && spine_blank((*text)[*length - 1]))
		(*length)--;
}

#endif							/* SPINE_TYPES_BLANK_H */
