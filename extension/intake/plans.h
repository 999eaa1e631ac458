/*
 * plans.h
 *		The saved plans of a group, kept beside its definition.
 */
#ifndef SPINE_PLANS_H
#define SPINE_PLANS_H

#include "intake/intake.h"

/* Lets a stale group's plans go. */
extern void spine_plans_free(SpineGroup *group);

#endif							/* SPINE_PLANS_H */
