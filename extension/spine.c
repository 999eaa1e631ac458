/*
 * spine.c
 *		Where the library starts.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "guc.h"
#include "exchange/doorbell.h"
#include "governance/audit.h"
#include "governance/export.h"
#include "governance/openings.h"
#include "governance/utility.h"
#include "../bgworkers/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	spine_guc_define();
	spine_openings_init();
	spine_utility_guard();

	/* workers and their shared memory exist only where the server preloads us */
	if (process_shared_preload_libraries_in_progress)
	{
		spine_doorbell_request();
		spine_audit_request();
		spine_export_start();
		spine_launcher_register();
	}
}
