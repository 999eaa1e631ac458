/*
 * door.h
 *		What the doors share: who writes, and the statements at a view that are
 *		under way.
 */
#ifndef SPINE_DOOR_H
#define SPINE_DOOR_H

#include "commands/trigger.h"
#include "governance/caller.h"

/* The caller, as a system that may write; raises 42501 for anybody else. */
extern const SpineCaller *spine_door_writer(void);

/* An identifier without the blanks around it; NULL where nothing is left. */
extern char *spine_door_trimmed(char *identifier);

/*
 * A statement that writes through a view: opened by its BEFORE STATEMENT
 * trigger, closed by its AFTER STATEMENT trigger. They are a stack, because a
 * statement may run inside another one's trigger or function. What it keeps
 * lives in its context, which goes with its (sub)transaction.
 */
typedef struct SpineStatement
{
	Oid			view;
	SubTransactionId subxact;
	MemoryContext context;
	void	   *state;
	struct SpineStatement *next;
} SpineStatement;

extern SpineStatement *spine_statement_open(Oid view);
extern SpineStatement *spine_statement_find(Oid view);
extern void spine_statement_close(SpineStatement *statement);

/* In a row's trigger: keeps the lines of a COPY out of errors. */
extern bool spine_statement_hide_lines(void);

/* At the end of a COPY, tells its client what became of the records. */
extern void spine_statement_notice(const int64 *counts);

#endif							/* SPINE_DOOR_H */
