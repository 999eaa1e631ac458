/*
 * target.c
 *		How records name one another: a key of the items by which a rule, or a
 *		child, looks for a record of another group.
 *
 * A key is a 64-bit hash, because sets of them grow with a submission and one
 * stands in spine.finding, where a system's own numbers have no business. Of a
 * million keys two are alike once in forty million submissions, and what hangs
 * on it is a finding.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"

#include "intake/intake.h"

struct SpineKeySet
{
	HTAB	   *keys;
};

SpineKeySet *
spine_keys_create(MemoryContext context)
{
	SpineKeySet *keys = MemoryContextAlloc(context, sizeof(SpineKeySet));
	HASHCTL		info = {.keysize = sizeof(uint64), .entrysize = sizeof(uint64), .hcxt = context};

	keys->keys = hash_create("spine keys", 256, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return keys;
}

void
spine_keys_add(SpineKeySet *keys, uint64 key)
{
	hash_search(keys->keys, &key, HASH_ENTER, NULL);
}

bool
spine_keys_has(SpineKeySet *keys, uint64 key)
{
	return hash_search(keys->keys, &key, HASH_FIND, NULL) != NULL;
}

static uint64
hash_of(uint64 seed, const char *text)
{
	return hash_bytes_extended((const unsigned char *) text, strlen(text) + 1, seed);
}

/*
 * What a record of group, by these items of its own, says of a record of
 * another group: names by the table's columns, so that it is the same in every
 * version. Returns false where an item is missing.
 */
bool
spine_reference_key(const SpineGroup *group, const int *items, int nitems,
					const SpineGroup *other, int target, const Datum *values, const bool *nulls,
					uint64 *key)
{
	uint64		hash = hash_of(hash_of(0, other->dataset->name), other->name);

	for (int i = 0; i < nitems; i++)
	{
		int			column = ENV_COLUMNS + items[i];
		char	   *text;

		if (nulls[column])
			return false;
		text = spine_value_text(group->items[items[i]].type, values[column]);
		hash = hash_of(hash_of(hash, other->items[other->targets[target].items[i]].column), text);
		pfree(text);
	}
	*key = hash;
	return true;
}

/* How others find this record of the group by a target's items. */
bool
spine_target_key(const SpineGroup *group, int target, const Datum *values, const bool *nulls, uint64 *key)
{
	return spine_reference_key(group, group->targets[target].items, group->targets[target].nitems,
							   group, target, values, nulls, key);
}
