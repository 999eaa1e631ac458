/*
 * person.h
 *		A person's records, as far as the caller may see them, read without a query.
 */
#ifndef SPINE_PERSON_H
#define SPINE_PERSON_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/uuid.h"

/* All ids of the person with this id, as spine.linked_patients() has it, by the active snapshot. */
extern ArrayType *spine_person_ids(const pg_uuid_t *patient);

/* Whose records of these patients the caller may see at this moment: strings, in order of code. */
extern List *spine_person_owners(ArrayType *patients);

#endif							/* SPINE_PERSON_H */
