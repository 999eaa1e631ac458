/*
 * shown.h
 *		How much of an offending value a message shows.
 */
#ifndef SPINE_TYPES_SHOWN_H
#define SPINE_TYPES_SHOWN_H

#include "postgres.h"

#include "mb/pg_wchar.h"

/* no value of these types is longer than 18 characters; beyond this is somebody's document */
#define SPINE_SHOWN_MAX 64

/* Arguments for a "%.*s%s" in a message: the value's start, with dots where it was cut. */
#define spine_shown(text, length) \
	pg_mbcliplen(text, length, SPINE_SHOWN_MAX), text, (length) > SPINE_SHOWN_MAX ? "..." : ""

#endif							/* SPINE_TYPES_SHOWN_H */
