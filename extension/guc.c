/*
 * guc.c
 *		The settings of spine, all of them. None can be set by an ordinary role.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "guc.h"

char	   *spine_network_key_file = NULL;
char	   *spine_databases = NULL;
int			spine_open_minutes = 60;
int			spine_emergency_minutes = 180;
int			spine_emergency_explained_days = 14;
int			spine_openings_mark = 0;
char	   *spine_user = NULL;
int			spine_audit_timeout = 5000;
int			spine_audit_slots = 256;
int			spine_export_rows = 100;
int			spine_courier_interval = 1000;
int			spine_courier_batch = 1000;
int			spine_courier_timeout = 60000;
char	   *spine_reconcile_at = NULL;
int			spine_ledger_budget = 1024;
int			spine_courier_reconnect = 30000;
int			spine_neighbour_session = 60000;
int			spine_witness_interval = 300000;
int			spine_raw_retention = 93 * 24 * 60;
int			spine_submission_retention = 400 * 24 * 60;

#define USER_LENGTH_MAX		200

/* What stands in the access log is read by people and machines: one line, not long. */
static bool
check_user(char **value, void **extra, GucSource source)
{
	if (*value == NULL)
		return true;
	if (strlen(*value) > USER_LENGTH_MAX)
	{
		GUC_check_errdetail("It is longer than %d bytes.", USER_LENGTH_MAX);
		return false;
	}
	for (const unsigned char *c = (const unsigned char *) *value; *c; c++)
	{
		if (*c < 0x20 || *c == 0x7f)
		{
			GUC_check_errdetail("It holds a control character.");
			return false;
		}
	}
	return true;
}

void
spine_guc_define(void)
{
	DefineCustomStringVariable("spine.network_key_file",
							   "File that holds the key from which patient ids are made.",
							   "The same content on every node of a network; readable by the server's user alone.",
							   &spine_network_key_file,
							   "",
							   PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("spine.databases",
							   "Databases in which a courier runs, comma-separated.",
							   NULL,
							   &spine_databases,
							   "",
							   PGC_SIGHUP,
							   0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("spine.open_minutes",
							"How long an opened record stays open.",
							NULL,
							&spine_open_minutes,
							60, 1, 24 * 60,
							PGC_SUSET,
							GUC_UNIT_MIN,
							NULL, NULL, NULL);

	DefineCustomIntVariable("spine.emergency_minutes",
							"How long an emergency lasts for which a clinician broke the glass.",
							NULL,
							&spine_emergency_minutes,
							180, 1, 7 * 24 * 60,
							PGC_SUSET,
							GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.emergency_explained_days",
							"Within how many days an episode, a referral or a transfer explains an emergency.",
							NULL,
							&spine_emergency_explained_days,
							14, 0, 366,
							PGC_SUSET,
							0,
							NULL, NULL, NULL);

	/*
	 * Set by opening a record. Its use is that RESET ALL and DISCARD ALL put it
	 * back to zero, from which governance/visible.c sees that a pooler hands the
	 * connection on.
	 */
	DefineCustomIntVariable("spine.openings_mark",
							"Shows that opened records belong to the present use of this connection.",
							NULL,
							&spine_openings_mark,
							0, 0, INT_MAX,
							PGC_SUSET,
							GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							NULL, NULL, NULL);
	DefineCustomStringVariable("spine.user",
							   "The person for whom this session acts, as it is to stand in the access log.",
							   "For an application that serves several people: grant it SET on this parameter.",
							   &spine_user,
							   "",
							   PGC_SUSET,
							   GUC_DISALLOW_IN_FILE,
							   check_user, NULL, NULL);
	DefineCustomIntVariable("spine.audit_timeout",
							"How long an opening waits for its entry in the access log before it is refused.",
							NULL,
							&spine_audit_timeout,
							5000, 10, 10 * 60 * 1000,
							PGC_SUSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	/* such a one can only be made while the server starts, and nobody asks for it later */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("spine.audit_slots",
								"The most entries on their way to the access logs of this server.",
								NULL,
								&spine_audit_slots,
								256, 4, 4096,
								PGC_POSTMASTER,
								0,
								NULL, NULL, NULL);
	DefineCustomIntVariable("spine.export_rows",
							"A statement that shows as many rows is written to the access log as an export.",
							NULL,
							&spine_export_rows,
							100, 1, INT_MAX,
							PGC_SUSET,
							0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.courier_interval",
							"How often the courier looks at the ledger when nobody rings.",
							NULL,
							&spine_courier_interval,
							1000, 10, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.courier_batch",
							"The most records in one batch to a neighbour.",
							NULL,
							&spine_courier_batch,
							1000, 1, 100000,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.courier_timeout",
							"How long a neighbour may take to connect, or to apply a batch.",
							NULL,
							&spine_courier_timeout,
							60000, 100, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomStringVariable("spine.reconcile_at",
							   "When what neighbours hold is compared with what they should hold.",
							   "A time of day in the United Kingdom (HH:MM), or an interval; empty: only when it is asked for.",
							   &spine_reconcile_at,
							   "02:30",
							   PGC_SIGHUP,
							   0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("spine.courier_reconnect",
							"How long the courier keeps a connection to a neighbour before it makes another.",
							"Shorter than spine.neighbour_session at the neighbour.",
							&spine_courier_reconnect,
							30000, 100, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.neighbour_session",
							"How long after it was let in a neighbour's session is listened to.",
							"A certificate that was revoked since is of no use after that.",
							&spine_neighbour_session,
							60000, 1000, INT_MAX,
							PGC_SUSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.witness_interval",
							"How often at most the end of the access log is said to the neighbours.",
							NULL,
							&spine_witness_interval,
							300000, 100, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.ledger_budget",
							"How large the part of the ledger may grow that a neighbour has not acknowledged.",
							"Beyond it that part is dropped, and the neighbour is sent everything anew when it is back. 0: no limit.",
							&spine_ledger_budget,
							1024, 0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.raw_retention",
							"How long submissions are kept as they came.",
							"Whole months are dropped when all of them is older.",
							&spine_raw_retention,
							93 * 24 * 60, 24 * 60, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spine.submission_retention",
							"How long the counts of submissions and the outcomes of inbox lines are kept.",
							"Whole months are dropped when all of them is older.",
							&spine_submission_retention,
							400 * 24 * 60, 24 * 60, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MIN,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("spine");
}
