/*
 * target.c
 *		How records name one another: the text of the items by which a rule, or
 *		a child, looks for a record of another group.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/hsearch.h"

#include "intake/intake.h"

struct SpineKeySet
{
	HTAB	   *hashes;
};

/*
 * A set holds 64-bit hashes, because it may grow as long as a submission: of a million keys
 * two are alike once in forty million submissions, and what hangs on it is a finding.
 */
SpineKeySet *
spine_keys_create(MemoryContext context)
{
	SpineKeySet *keys = MemoryContextAlloc(context, sizeof(SpineKeySet));
	HASHCTL		info = {0};

	info.keysize = sizeof(uint64);
	info.entrysize = sizeof(uint64);
	info.hcxt = context;
	keys->hashes = hash_create("spine keys", 256, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return keys;
}

static uint64
hash_key(const char *key)
{
	return hash_bytes_extended((const unsigned char *) key, strlen(key), 0);
}

void
spine_keys_add(SpineKeySet * keys, const char *key)
{
	uint64		hash = hash_key(key);

	hash_search(keys->hashes, &hash, HASH_ENTER, NULL);
}

bool
spine_keys_has(SpineKeySet * keys, const char *key)
{
	uint64		hash = hash_key(key);

	return hash_search(keys->hashes, &hash, HASH_FIND, NULL) != NULL;
}

/* GROUP(COLUMN,...)|VALUE|...: names by the table's columns, so that it is the same in every version. */
static char *
make_key(const SpineGroup *group, const int *items, int nitems,
		 const SpineGroup *other, int target, const Datum *values, const bool *nulls)
{
	StringInfoData key;

	initStringInfo(&key);
	appendStringInfo(&key, "%s.%s(", other->dataset->name, other->name);
	for (int i = 0; i < nitems; i++)
		appendStringInfo(&key, "%s%s", i > 0 ? "," : "", other->items[other->targets[target].items[i]].column);
	appendStringInfoChar(&key, ')');
	for (int i = 0; i < nitems; i++)
	{
		int			column = ENV_COLUMNS + items[i];

		if (nulls[column])
		{
			pfree(key.data);
			return NULL;
		}
		appendStringInfo(&key, "|%s", spine_value_text(group->items[items[i]].type, values[column]));
	}
	return key.data;
}

/* How others find this record of the group by a target's items; NULL where one is missing. */
char *
spine_target_key(const SpineGroup *group, int target, const Datum *values, const bool *nulls)
{
	return make_key(group, group->targets[target].items, group->targets[target].nitems,
					group, target, values, nulls);
}

/* What a record of group says it belongs to: the same text, from its own items. */
char *
spine_reference_key(const SpineGroup *group, const int *items, int nitems,
					const SpineGroup *other, int target, const Datum *values, const bool *nulls)
{
	return make_key(group, items, nitems, other, target, values, nulls);
}
