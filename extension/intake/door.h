/*
 * door.h
 *		What every door needs: who writes, and how findings are told.
 */
#ifndef SPINE_DOOR_H
#define SPINE_DOOR_H

#include "governance/caller.h"
#include "intake/intake.h"
#include "lib/stringinfo.h"

/* The caller, as a system that may write; raises 42501 for anybody else. */
extern const SpineCaller *spine_door_writer(void);

/* An identifier without the blanks around it; NULL where nothing is left. */
extern char *spine_door_trimmed(char *identifier);

/* Findings as a JSON array: [{"rule", "severity", "item", "message"}, ...] */
extern void spine_door_findings_json(StringInfo out, List *findings);

#endif							/* SPINE_DOOR_H */
