/*
 * organisations.c
 *		Organisations by their codes, cached in each backend: a document of ten
 *		thousand records names the same few hundred.
 *
 * Filled on demand, one look at spine.organisation for each code, and what is
 * not there is kept as well. A relcache callback, which spine.forget_cache() on
 * that table sets off, only marks the cache; the next look empties it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "governance/governance.h"
#include "intake/organisations.h"
#include "types/ods_code_core.h"

#define CACHE_MAX			10000	/* codes, known and unknown; then it begins anew */

typedef struct OrganisationEntry
{
	char		code[SPINE_ODS_CODE_MAX + 1];	/* hash key */
	SpineOrganisation organisation;
} OrganisationEntry;

static HTAB *organisations = NULL;
static bool stale = false;
static Oid	watched = InvalidOid;
static SPIPlanPtr plan = NULL;

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		stale = true;
}

/* The cache, empty if what was in it has become stale; false where there is no store. */
static bool
cache_ready(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		registered = true;
	}
	/* a long transaction takes no lock anew that would let a change in */
	AcceptInvalidationMessages();
	if (organisations != NULL && (stale || hash_get_num_entries(organisations) >= CACHE_MAX))
	{
		HTAB	   *old = organisations;

		organisations = NULL;
		hash_destroy(old);
	}
	if (organisations == NULL)
	{
		HASHCTL		ctl;
		Oid			schema = get_namespace_oid("spine", true);

		/* first, so that what changes from here on is noticed */
		stale = false;
		watched = OidIsValid(schema) ? get_relname_relid("organisation", schema) : InvalidOid;
		if (!OidIsValid(watched))
			return false;
		ctl.keysize = SPINE_ODS_CODE_MAX + 1;
		ctl.entrysize = sizeof(OrganisationEntry);
		ctl.hcxt = CacheMemoryContext;
		organisations = hash_create("spine organisations", 256, &ctl,
									HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	return true;
}

static bool
date_column(int column, DateADT *date)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	*date = isnull ? 0 : DatumGetDateADT(value);
	return !isnull;
}

/* Reads one organisation. Returns whether the answer holds beyond this transaction. */
static bool
read_organisation(const char *code, SpineOrganisation *found)
{
	SpineLookup lookup;
	Datum		arg = CStringGetTextDatum(code);

	spine_lookup_begin(&lookup);
	if (plan == NULL)
	{
		Oid			type = TEXTOID;
		SPIPlanPtr	made = SPI_prepare("SELECT o.opened, o.closed FROM spine.organisation o WHERE o.code = $1", 1, &type);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the look-up of an organisation");
		plan = made;
	}
	if (SPI_execute_plan(plan, &arg, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look up an organisation");
	if (SPI_processed > 0)
	{
		found->known = true;
		found->has_opened = date_column(1, &found->opened);
		found->has_closed = date_column(2, &found->closed);
	}
	spine_lookup_end(&lookup);
	return lookup.only_in == InvalidLocalTransactionId;
}

void
spine_organisation_look_up(const char *code, SpineOrganisation *found)
{
	char		key[SPINE_ODS_CODE_MAX + 1];
	size_t		length;
	OrganisationEntry *entry;

	memset(found, 0, sizeof(SpineOrganisation));
	if (spine_ods_code_parse(code, strlen(code), key, &length) != SPINE_ODS_CODE_OK)
		return;
	if (!cache_ready())
		return;
	entry = hash_search(organisations, key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		*found = entry->organisation;
		return;
	}
	if (!read_organisation(key, found))
		return;
	/* what changed during the look has marked the cache: this entry goes with the rest */
	entry = hash_search(organisations, key, HASH_ENTER, NULL);
	entry->organisation = *found;
}
