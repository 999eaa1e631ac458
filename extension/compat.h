/*
 * compat.h
 *		What differs between PostgreSQL 15, 16, 17 and 18. Nothing else in the
 *		tree looks at PG_VERSION_NUM.
 */
#ifndef SPINE_COMPAT_H
#define SPINE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "spine needs PostgreSQL 15 or later"
#endif

/* An input function's refusal: returned to who asks for that since 16, thrown on 15. */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define spine_ereturn(context, dummy, ...) ereturn(context, dummy, __VA_ARGS__)
#else
#define spine_ereturn(context, dummy, ...) ereport(ERROR, __VA_ARGS__)
#endif

#endif							/* SPINE_COMPAT_H */
