/*
 * local_time.h
 *		Dates and times in NHS data sets are local times of the United Kingdom.
 */
#ifndef SPINE_LOCAL_TIME_H
#define SPINE_LOCAL_TIME_H

#include "postgres.h"
#include "utils/date.h"
#include "utils/timestamp.h"

/* The instant of a UK local date and time; a time that a clock change skips counts as an hour later. */
extern TimestampTz spine_local_timestamp(DateADT date, TimeADT time);

/* The day in the United Kingdom of an instant. */
extern DateADT spine_local_date(TimestampTz instant);

/* That of the present transaction. */
extern DateADT spine_local_today(void);

/* The zone's name, as TimeZone takes it. */
extern const char *spine_local_zone_name(void);

#endif							/* SPINE_LOCAL_TIME_H */
