/*
 * latency.c
 *		How long after its commit a row is visible on another server, by one clock.
 *
 *	 latency LABEL ROUNDS PAUSE_MS WRITER READER INSERT POLL
 *
 * WRITER and READER are connection strings. INSERT and POLL take the round's key as $1 (text);
 * POLL returns a row once the round's row is there. The time runs from the moment the commit
 * is acknowledged to the moment a poll has seen the row. Prints the median, the 99th percentile
 * and the maximum in milliseconds.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void
fail(PGconn *conn, const char *what)
{
	fprintf(stderr, "%s: %s", what, PQerrorMessage(conn));
	exit(1);
}

static PGconn *
prepare(const char *conninfo, const char *query)
{
	PGconn	   *conn = PQconnectdb(conninfo);
	PGresult   *result;

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn, "connection");
	result = PQprepare(conn, "q", query, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(conn, "prepare");
	PQclear(result);
	return conn;
}

/* Executes the statement for this key; the number of rows. */
static int
run(PGconn *conn, const char *key)
{
	PGresult   *result = PQexecPrepared(conn, "q", 1, &key, NULL, NULL, 0);
	int			rows;

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(conn, "execution");
	rows = PQntuples(result);
	PQclear(result);
	return rows;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
	int			rounds;
	int			pause_ms;
	double	   *times;
	PGconn	   *writer;
	PGconn	   *reader;

	if (argc != 8 || (rounds = atoi(argv[2])) < 1)
	{
		fprintf(stderr, "usage: latency LABEL ROUNDS PAUSE_MS WRITER READER INSERT POLL\n");
		return 2;
	}
	pause_ms = atoi(argv[3]);
	writer = prepare(argv[4], argv[6]);
	reader = prepare(argv[5], argv[7]);
	times = malloc(sizeof(double) * rounds);
	if (times == NULL)
		return 1;

	for (int i = -3; i < rounds; i++)	/* three to warm up */
	{
		char		key[64];
		double		start;
		struct timespec pause = {pause_ms / 1000, (long) (pause_ms % 1000) * 1000000};

		snprintf(key, sizeof(key), "%s-%d", argv[1], i);
		nanosleep(&pause, NULL);
		run(writer, key);
		start = now_ms();
		while (run(reader, key) == 0)
		{
			if (now_ms() - start > 60000)
			{
				fprintf(stderr, "%s: not seen within a minute\n", key);
				return 1;
			}
		}
		if (i >= 0)
			times[i] = now_ms() - start;
	}
	qsort(times, rounds, sizeof(double), compare);
	printf("%.2f %.2f %.2f\n", times[rounds / 2], times[rounds * 99 / 100], times[rounds - 1]);
	PQfinish(writer);
	PQfinish(reader);
	return 0;
}
