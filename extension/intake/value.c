/*
 * value.c
 *		From the text of an item to its value, without ever raising.
 *
 * The tolerant doors name every fault of a record at once, so they cannot use
 * the input functions of PostgreSQL's types, which raise. Formats are those of
 * the NHS Data Dictionary: dates CCYY-MM-DD, times HH:MM or HH:MM:SS, both in
 * the local time of the United Kingdom.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "intake/intake.h"
#include "intake/local_time.h"
#include "types/gestation_core.h"
#include "types/nhs_number_core.h"
#include "types/ods_code_core.h"
#include "types/snomed_code_core.h"

#define NUMERIC_DIGITS_MAX	60
#define NUMERIC_BYTES_MAX	40	/* that many digits, four in two bytes */
#define YEAR_MAX			9999

static bool
two_digits(const char *text, int *value)
{
	if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
		return false;
	*value = (text[0] - '0') * 10 + (text[1] - '0');
	return true;
}

static bool
parse_date(const char *text, int length, DateADT *date)
{
	int			century;
	int			year;
	int			month;
	int			day;

	if (length != 10 || text[4] != '-' || text[7] != '-' ||
		!two_digits(text, &century) || !two_digits(text + 2, &year) ||
		!two_digits(text + 5, &month) || !two_digits(text + 8, &day))
		return false;
	year += century * 100;
	if (year < 1 || month < 1 || month > 12 || day < 1 ||
		day > day_tab[isleap(year)][month - 1])
		return false;
	*date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	return true;
}

static pg_tz *
local_zone(void)
{
	static pg_tz *zone = NULL;

	if (zone == NULL)
	{
		zone = pg_tzset("Europe/London");
		if (zone == NULL)
			zone = pg_tzset("GMT");
	}
	return zone;
}

TimestampTz
spine_local_timestamp(DateADT date, TimeADT time)
{
	struct pg_tm tm;
	int			offset;

	memset(&tm, 0, sizeof(tm));
	j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	tm.tm_hour = time / USECS_PER_HOUR;
	tm.tm_min = time / USECS_PER_MINUTE % MINS_PER_HOUR;
	tm.tm_sec = time / USECS_PER_SEC % SECS_PER_MINUTE;
	offset = DetermineTimeZoneOffset(&tm, local_zone());	/* seconds west */
	return (TimestampTz) date * USECS_PER_DAY + time + (int64) offset * USECS_PER_SEC;
}

DateADT
spine_local_date(TimestampTz instant)
{
	struct pg_tm tm;
	fsec_t		fraction;
	int			offset;

	if (timestamp2tm(instant, &offset, &tm, &fraction, NULL, local_zone()) != 0)
		elog(ERROR, "a timestamp is out of range");
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

DateADT
spine_local_today(void)
{
	return spine_local_date(GetCurrentTransactionStartTimestamp());
}

const char *
spine_local_zone_name(void)
{
	return pg_get_timezone_name(local_zone());
}

/* HH:MM, HH:MM:SS or HH:MM:SS.f up to six places; *used is how much was read */
static bool
parse_time(const char *text, int length, TimeADT *time, int *used)
{
	int			hour;
	int			minute;
	int			second = 0;
	int64		fraction = 0;
	int			at = 5;

	if (length < 5 || text[2] != ':' ||
		!two_digits(text, &hour) || !two_digits(text + 3, &minute) ||
		hour > 23 || minute > 59)
		return false;
	if (length >= 8 && text[5] == ':')
	{
		if (!two_digits(text + 6, &second) || second > 59)
			return false;
		at = 8;
		if (length > 9 && text[8] == '.')
		{
			int64		unit = USECS_PER_SEC / 10;

			for (at = 9; at < length && text[at] >= '0' && text[at] <= '9' && unit > 0; at++)
			{
				fraction += (text[at] - '0') * unit;
				unit /= 10;
			}
			if (at == 9)
				return false;
		}
	}
	*time = ((hour * MINS_PER_HOUR + minute) * SECS_PER_MINUTE + second) * USECS_PER_SEC + fraction;
	*used = at;
	return true;
}

/* CCYY-MM-DD[T or blank]time[Z or ±HH[:]MM]; without an offset it is UK local time */
static bool
parse_timestamp(const char *text, int length, TimestampTz *stamp)
{
	DateADT		date;
	TimeADT		time;
	int			used;
	int			rest;
	int			hours;
	int			minutes = 0;

	if (length < 16 || !parse_date(text, 10, &date) ||
		(text[10] != 'T' && text[10] != ' ') ||
		!parse_time(text + 11, length - 11, &time, &used))
		return false;
	text += 11 + used;
	rest = length - 11 - used;
	if (rest == 0)
	{
		*stamp = spine_local_timestamp(date, time);
		return true;
	}
	if (rest == 1 && text[0] == 'Z')
	{
		*stamp = (TimestampTz) date * USECS_PER_DAY + time;
		return true;
	}
	if (text[0] != '+' && text[0] != '-')
		return false;
	if (rest < 3 || !two_digits(text + 1, &hours) || hours > 15)
		return false;
	if (rest == 5 && !two_digits(text + 3, &minutes))
		return false;
	if (rest == 6 && (text[3] != ':' || !two_digits(text + 4, &minutes)))
		return false;
	if ((rest != 3 && rest != 5 && rest != 6) || minutes > 59)
		return false;
	*stamp = (TimestampTz) date * USECS_PER_DAY + time -
		(text[0] == '+' ? 1 : -1) * (hours * MINS_PER_HOUR + minutes) * SECS_PER_MINUTE * USECS_PER_SEC;
	return true;
}

static bool
parse_integer(const char *text, int length, int32 *value)
{
	int64		sum = 0;
	int			at = (length > 0 && (text[0] == '-' || text[0] == '+')) ? 1 : 0;

	if (at == length || length - at > 10)
		return false;
	for (; at < length; at++)
	{
		if (text[at] < '0' || text[at] > '9')
			return false;
		sum = sum * 10 + (text[at] - '0');
	}
	if (text[0] == '-')
		sum = -sum;
	if (sum < PG_INT32_MIN || sum > PG_INT32_MAX)
		return false;
	*value = (int32) sum;
	return true;
}

/* plain decimal notation of a bounded length, so that numeric_in cannot fail */
static bool
parse_numeric(const char *text, int length, Datum *value)
{
	char		copy[NUMERIC_DIGITS_MAX + 1];
	int			at = (length > 0 && (text[0] == '-' || text[0] == '+')) ? 1 : 0;
	int			digits = 0;
	bool		point = false;

	if (length > NUMERIC_DIGITS_MAX)
		return false;
	for (; at < length; at++)
	{
		if (text[at] == '.' && !point)
			point = true;
		else if (text[at] >= '0' && text[at] <= '9')
			digits++;
		else
			return false;
	}
	if (digits == 0)
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	*value = DirectFunctionCall3(numeric_in, CStringGetDatum(copy),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return true;
}

/*
 * Parses one item's text (blanks around it are gone). On failure *fault says
 * what is wanted, as the end of "is not ...".
 */
bool
spine_value_parse(SpineItemType type, const char *text, int length,
				  Datum *value, const char **fault)
{
	switch (type)
	{
		case ITEM_TEXT:
			*value = PointerGetDatum(cstring_to_text_with_len(text, length));
			return true;
		case ITEM_INTEGER:
			{
				int32		number;

				*fault = "a whole number";
				if (!parse_integer(text, length, &number))
					return false;
				*value = Int32GetDatum(number);
				return true;
			}
		case ITEM_NUMERIC:
			*fault = "a decimal number";
			return parse_numeric(text, length, value);
		case ITEM_DATE:
			{
				DateADT		date;

				*fault = "a date of the calendar, CCYY-MM-DD";
				if (!parse_date(text, length, &date))
					return false;
				*value = DateADTGetDatum(date);
				return true;
			}
		case ITEM_TIME:
			{
				TimeADT		time;
				int			used;

				*fault = "a time of day, HH:MM:SS";
				if (!parse_time(text, length, &time, &used) || used != length)
					return false;
				*value = TimeADTGetDatum(time);
				return true;
			}
		case ITEM_TIMESTAMP:
			{
				TimestampTz stamp;

				*fault = "a date and time, CCYY-MM-DDTHH:MM:SS with an optional offset";
				if (!parse_timestamp(text, length, &stamp))
					return false;
				*value = TimestampTzGetDatum(stamp);
				return true;
			}
		case ITEM_BOOLEAN:
			*fault = "true or false";
			if (length == 4 && memcmp(text, "true", 4) == 0)
				*value = BoolGetDatum(true);
			else if (length == 5 && memcmp(text, "false", 5) == 0)
				*value = BoolGetDatum(false);
			else
				return false;
			return true;
		case ITEM_NHS_NUMBER:
			{
				int64_t		number;
				spine_nhs_number_error error = spine_nhs_number_parse(text, length, &number);

				*fault = "an NHS number (ten digits, the last one the modulus 11 check digit)";
				if (error != SPINE_NHS_NUMBER_OK)
					return false;
				*value = Int64GetDatum(number);
				return true;
			}
		case ITEM_SNOMED_CODE:
			{
				int64_t		code;

				*fault = "a SNOMED CT identifier (6 to 18 digits with its check digit)";
				if (spine_snomed_code_parse(text, length, &code) != SPINE_SNOMED_CODE_OK)
					return false;
				*value = Int64GetDatum(code);
				return true;
			}
		case ITEM_ODS_CODE:
			{
				char		code[SPINE_ODS_CODE_MAX + 1];
				size_t		code_length;

				*fault = "an ODS code (3 to 9 letters and digits)";
				if (spine_ods_code_parse(text, length, code, &code_length) != SPINE_ODS_CODE_OK)
					return false;
				*value = PointerGetDatum(cstring_to_text_with_len(code, code_length));
				return true;
			}
		case ITEM_GESTATION:
			{
				int32_t		days;

				*fault = "a gestation in days, or as weeks+days";
				if (spine_gestation_parse(text, length, &days) != SPINE_GESTATION_OK)
					return false;
				*value = Int32GetDatum(days);
				return true;
			}
	}
	pg_unreachable();
}

/*
 * PostgreSQL's types hold values that no text above stands for: infinite dates,
 * dates whose instant a timestamp cannot hold, numbers that are none.
 */
bool
spine_value_sound(SpineItemType type, Datum value, const char **fault)
{
	DateADT		first = date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE;
	DateADT		end = date2j(YEAR_MAX + 1, 1, 1) - POSTGRES_EPOCH_JDATE;

	switch (type)
	{
		case ITEM_DATE:
			*fault = "a date of the calendar from year 1 to 9999";
			return DatumGetDateADT(value) >= first && DatumGetDateADT(value) < end;
		case ITEM_TIME:
			*fault = "a time of day before 24:00:00";
			return DatumGetTimeADT(value) < USECS_PER_DAY;
		case ITEM_TIMESTAMP:
			*fault = "a date and time from year 1 to 9999";
			return DatumGetTimestampTz(value) >= first * USECS_PER_DAY &&
				DatumGetTimestampTz(value) < end * USECS_PER_DAY;
		case ITEM_NUMERIC:
			*fault = "a decimal number of at most 60 digits";
			return !numeric_is_nan(DatumGetNumeric(value)) && !numeric_is_inf(DatumGetNumeric(value)) &&
				VARSIZE_ANY_EXHDR(DatumGetNumeric(value)) <= NUMERIC_BYTES_MAX;
		default:
			return true;
	}
}

/* The text of a value, for identifiers and keys: whatever the session's settings, the same. */
char *
spine_value_text(SpineItemType type, Datum value)
{
	switch (type)
	{
		case ITEM_TEXT:
		case ITEM_ODS_CODE:
			return TextDatumGetCString(value);
		case ITEM_INTEGER:
		case ITEM_GESTATION:
			return psprintf("%d", DatumGetInt32(value));
		case ITEM_SNOMED_CODE:
			return psprintf(INT64_FORMAT, DatumGetInt64(value));
		case ITEM_NHS_NUMBER:
			{
				char	   *digits = palloc(11);

				spine_nhs_number_print(DatumGetInt64(value), digits);
				return digits;
			}
		case ITEM_NUMERIC:
			return DatumGetCString(DirectFunctionCall1(numeric_out, value));
		case ITEM_BOOLEAN:
			return pstrdup(DatumGetBool(value) ? "true" : "false");
		case ITEM_DATE:
			{
				int			year;
				int			month;
				int			day;

				j2date(DatumGetDateADT(value) + POSTGRES_EPOCH_JDATE, &year, &month, &day);
				return psprintf("%04d-%02d-%02d", year, month, day);
			}
		case ITEM_TIME:
			{
				int			seconds = (int) (DatumGetTimeADT(value) / USECS_PER_SEC);
				int			micros = (int) (DatumGetTimeADT(value) % USECS_PER_SEC);

				return psprintf("%02d:%02d:%02d%s", seconds / SECS_PER_HOUR,
								seconds / SECS_PER_MINUTE % MINS_PER_HOUR, seconds % SECS_PER_MINUTE,
								micros == 0 ? "" : psprintf(".%06d", micros));
			}
		case ITEM_TIMESTAMP:
			{
				struct pg_tm tm;
				fsec_t		micros;

				/* without a time zone: in UTC */
				if (timestamp2tm(DatumGetTimestampTz(value), NULL, &tm, &micros, NULL, NULL) != 0)
					elog(ERROR, "a timestamp is out of range");
				return psprintf("%04d-%02d-%02dT%02d:%02d:%02d%sZ", tm.tm_year, tm.tm_mon, tm.tm_mday,
								tm.tm_hour, tm.tm_min, tm.tm_sec,
								micros == 0 ? "" : psprintf(".%06d", (int) micros));
			}
	}
	pg_unreachable();
}
