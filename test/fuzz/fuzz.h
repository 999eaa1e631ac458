/*
 * fuzz.h
 *		What the harnesses share.
 */
#ifndef SPINE_FUZZ_H
#define SPINE_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold; assert() is not used since it may be compiled out. */
#define must(property) \
	do { \
		if (!(property)) \
		{ \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #property); \
			abort(); \
		} \
	} while (0)

/* The data's first eight bytes as a number, for functions that take one. */
static inline int64_t
number_of(const uint8_t *data, size_t size)
{
	int64_t		number = 0;

	memcpy(&number, data, size < sizeof(number) ? size : sizeof(number));
	return number;
}

#endif							/* SPINE_FUZZ_H */
