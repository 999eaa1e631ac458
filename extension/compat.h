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

#endif							/* SPINE_COMPAT_H */
