/*
 * utility.h
 *		What members of a node may not run, since it would show or hold up what
 *		is not theirs.
 */
#ifndef SPINE_UTILITY_H
#define SPINE_UTILITY_H

/* Puts the guard before utility statements and behind the planner, once, when the library starts. */
extern void spine_utility_guard(void);

/* Is a statement being planned, by a function that the planner evaluates even now? */
extern bool spine_utility_is_planning(void);

#endif							/* SPINE_UTILITY_H */
