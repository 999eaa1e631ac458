/*
 * random.h
 *		The generator's own pseudo-random numbers: xoshiro256** seeded through
 *		splitmix64 (both public domain, Blackman and Vigna). Integers alone, so
 *		that the same seed gives the same pregnancy on every machine.
 */
#ifndef SPINE_RANDOM_H
#define SPINE_RANDOM_H

#include "postgres.h"

typedef struct Random
{
	uint64		s[4];
} Random;

static inline uint64
random_mix(uint64 *state)
{
	uint64		z = (*state += UINT64CONST(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* An independent stream for each (seed, number, purpose). */
static inline void
random_start(Random *r, uint64 seed, uint64 number, uint64 purpose)
{
	uint64		state = seed;

	state = random_mix(&state) ^ (number * UINT64CONST(0xD1B54A32D192ED03));
	state = random_mix(&state) ^ (purpose * UINT64CONST(0xA24BAED4963EE407));
	for (int i = 0; i < 4; i++)
		r->s[i] = random_mix(&state);
}

static inline uint64
random_rotate(uint64 x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline uint64
random_next(Random *r)
{
	uint64		result = random_rotate(r->s[1] * 5, 7) * 9;
	uint64		t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = random_rotate(r->s[3], 45);
	return result;
}

/* 0 .. n - 1 */
static inline int
random_below(Random *r, int n)
{
	return (int) (((random_next(r) >> 32) * (uint64) n) >> 32);
}

/* low .. high, both included */
static inline int
random_between(Random *r, int low, int high)
{
	return low + random_below(r, high - low + 1);
}

/* true in this many of 10,000 draws */
static inline bool
random_chance(Random *r, int of_10000)
{
	return random_below(r, 10000) < of_10000;
}

/* A normal deviate in thousandths of a standard deviation: the sum of twelve uniform ones. */
static inline int
random_normal(Random *r)
{
	int			sum = -6000;

	for (int i = 0; i < 12; i++)
		sum += random_below(r, 1001);
	return sum;
}

#endif							/* SPINE_RANDOM_H */
