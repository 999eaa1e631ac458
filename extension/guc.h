/*
 * guc.h
 *		The settings of spine. guc.c alone defines them.
 */
#ifndef SPINE_GUC_H
#define SPINE_GUC_H

#include "postgres.h"

extern char *spine_network_key_file;	/* file that holds the network key (32 bytes or more) */
extern char *spine_databases;	/* databases in which a courier runs, comma-separated */
extern int	spine_open_minutes; /* an opened record closes after this many minutes */
extern int	spine_emergency_minutes;	/* how long broken glass shows another's rows */
extern int	spine_emergency_explained_days; /* days in which it may be explained */
extern int	spine_openings_mark;	/* internal: see governance/visible.c */
extern char *spine_user;		/* the person for whom the role acts, as an application states it */
extern int	spine_audit_timeout;	/* ms that an opening waits for its entry in the access log */
extern int	spine_audit_slots;	/* most entries on their way to the auditors */
extern int	spine_export_rows;	/* a statement that shows as many rows is logged */
extern int	spine_courier_interval; /* ms between two looks without a ring of the doorbell */
extern int	spine_courier_batch;	/* most rows in one batch */
extern int	spine_ledger_budget;	/* MB of the ledger that may wait for one neighbour */
extern int	spine_courier_timeout;	/* ms a neighbour may take to connect or to answer */
extern int	spine_courier_reconnect;	/* ms a connection is kept */
extern int	spine_neighbour_session;	/* ms a neighbour's session is listened to */
extern int	spine_witness_interval; /* ms between two heads of the access log that are said */

extern char *spine_reconcile_at;	/* when neighbours are compared: a time of day or an interval */
extern int	spine_raw_retention;	/* minutes that submissions are kept as they came */
extern int	spine_submission_retention; /* minutes that their counts are kept */

extern void spine_guc_define(void);

#endif							/* SPINE_GUC_H */
