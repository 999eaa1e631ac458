/*
 * submit.c
 *		A supplier's first program: sends a document to a spine node and tells
 *		the verdict on each record.
 *
 *		cc -I"$(pg_config --includedir)" -o submit submit.c -lpq
 *		./submit "host=... dbname=spine user=cedar" < document.json
 *
 * Exit status: 0 every record is accepted or unchanged, 1 some are rejected,
 * 2 the document was refused or the node could not be reached.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

/* Reads standard input whole; the caller frees it. */
static char *
read_all(void)
{
	size_t		room = 65536;
	size_t		length = 0;
	char	   *text = malloc(room);

	while (text != NULL)
	{
		length += fread(text + length, 1, room - length - 1, stdin);
		if (feof(stdin) || ferror(stdin))
			break;
		if (length + 1 == room)
			text = realloc(text, room *= 2);
	}
	if (text != NULL)
		text[length] = '\0';
	return text;
}

int
main(int argc, char **argv)
{
	char	   *document = read_all();
	PGconn	   *conn;
	PGresult   *result;
	int			rejected = 0;

	if (document == NULL)
		return 2;
	conn = PQconnectdb(argc > 1 ? argv[1] : "");
	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 2;
	}

	/* as a parameter: no quoting, and no person's data in the statement's text */
	result = PQexecParams(conn,
						  "SELECT n, outcome, record_id, findings FROM spine.submit($1::text)",
						  1, NULL, (const char *const *) &document, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		fprintf(stderr, "refused (%s): %s", code ? code : "?", PQresultErrorMessage(result));
		return 2;
	}
	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *findings = PQgetvalue(result, row, 3);

		printf("%s\t%s\t%s\t%s\n", PQgetvalue(result, row, 0), PQgetvalue(result, row, 1),
			   PQgetvalue(result, row, 2), strcmp(findings, "[]") == 0 ? "" : findings);
		rejected += strcmp(PQgetvalue(result, row, 1), "rejected") == 0;
	}
	PQclear(result);
	PQfinish(conn);
	free(document);
	return rejected > 0;
}
