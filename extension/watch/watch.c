/*
 * watch.c
 *		What spine.health() asks of the server that SQL does not tell spine_owner:
 *		space on disks, which workers run, settings as they are. And when a session began.
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(spine_disk_space);
PG_FUNCTION_INFO_V1(spine_workers);
PG_FUNCTION_INFO_V1(spine_setting_now);
PG_FUNCTION_INFO_V1(spine_session_start);

static void
put_place(ReturnSetInfo *rsinfo, const char *place, const char *path)
{
	struct statvfs space;
	Datum		values[3] = {CStringGetTextDatum(place)};
	bool		nulls[3] = {false, true, true};

	if (statvfs(path, &space) == 0)
	{
		values[1] = Int64GetDatum((int64) space.f_blocks * (int64) space.f_frsize);
		/* what an ordinary user may still take */
		values[2] = Int64GetDatum((int64) space.f_bavail * (int64) space.f_frsize);
		nulls[1] = nulls[2] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* spine.disk_space() returns table (place text, total_bytes bigint, free_bytes bigint) */
Datum
spine_disk_space(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	put_place(rsinfo, "data", DataDir);
	/* may be a link to another disk */
	put_place(rsinfo, "pg_wal", XLOGDIR);
	return (Datum) 0;
}

/* spine.workers() returns table (kind text, pid integer, since timestamptz) */
Datum
spine_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	n = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= n; i++)
	{
		PgBackendStatus *status = spine_backend_status(i);
		const char *kind;
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		if (status == NULL || status->st_procpid <= 0 || status->st_backendType != B_BG_WORKER ||
			(OidIsValid(status->st_databaseid) && status->st_databaseid != MyDatabaseId))
			continue;
		kind = GetBackgroundWorkerTypeByPid(status->st_procpid);
		if (kind == NULL || strncmp(kind, "spine ", strlen("spine ")) != 0)
			continue;
		values[0] = CStringGetTextDatum(kind + strlen("spine "));
		values[1] = Int32GetDatum(status->st_procpid);
		values[2] = TimestampTzGetDatum(status->st_proc_start_timestamp);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* spine.setting_now(name text) returns text; also one that the server shows to superusers alone */
Datum
spine_setting_now(PG_FUNCTION_ARGS)
{
	const char *value = GetConfigOption(text_to_cstring(PG_GETARG_TEXT_PP(0)), true, false);

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(value));
}

/* spine.session_start() returns timestamptz */
Datum
spine_session_start(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(MyStartTimestamp);
}
