/*
 * deliver.c
 *		spine.deliver(), the statement trigger that appends to the delivery ledger,
 *		and what the exchange asks about audiences.
 *
 * Most statements touch rows without an audience: those cost a pass over the
 * transition tables and no query. The others hand (record, token) pairs of the
 * old and the new state to one saved statement, which knows nothing of the
 * table they come from.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "compat.h"
#include "exchange/doorbell.h"
#include "governance/identity.h"

/* tokens handed over in one query: bounds memory when a statement touches millions of rows */
#define DELIVER_CHUNK	20000

/*
 * A token is ORGANISATION:purpose, or ORGANISATION:purpose/what it says of items.
 * Which tokens leave the node, token_names() says too.
 */
static const char *const deliver_query =
"WITH token AS MATERIALIZED ("
" SELECT t.record_id, t.owner, t.patient_id, t.revision, t.token, t.fresh, n.name AS destination, h.organisation, p.purpose"
" FROM unnest($1, $2, $3, $4, $5, $6) AS t (record_id, owner, patient_id, revision, token, fresh)"
" CROSS JOIN LATERAL (SELECT pg_catalog.split_part(pg_catalog.split_part(t.token, '/', 1), ':', 2) AS purpose) p"
" JOIN spine.node_organisation h ON h.organisation = pg_catalog.split_part(t.token, ':', 1)"
" JOIN spine.node n ON n.name = h.node AND NOT n.is_self AND n.state <> 'ended' AND NOT n.behind"
"  AND p.purpose = ANY (CASE n.purpose WHEN 'care' THEN '{care,emergency}'::text[] ELSE '{reporting,commissioning}' END)"
" JOIN spine.node_organisation o ON o.organisation = t.owner"
" JOIN spine.node s ON s.name = o.node AND s.is_self"
/* the clause under which it leaves: where only one can be meant, the person need not be looked at */
"), candidate AS MATERIALIZED ("
" SELECT p.owner, p.organisation, p.purpose, pg_catalog.count(r.clause) AS clauses,"
"  pg_catalog.min(r.agreement || '/' || r.version || '/' || r.clause) AS clause"
" FROM (SELECT DISTINCT t.owner, t.organisation, t.purpose FROM token t) p"
" LEFT JOIN spine.sharing_rule r ON r.from_organisation = p.owner AND r.dataset = $8 AND r.data_group = $9"
"  AND r.to_organisation = p.organisation AND CASE p.purpose WHEN 'emergency' THEN r.purpose = 'care' AND r.emergency ELSE r.purpose = p.purpose END"
" GROUP BY p.owner, p.organisation, p.purpose"
"), written AS (INSERT INTO spine.delivery (destination, relation, record_id, owner, revision, action, clause)"
" SELECT d.destination, $7, d.record_id, d.owner, d.revision,"
"  CASE WHEN d.tokens IS NULL THEN 'withdraw' ELSE 'put' END,"
"  CASE WHEN NOT d.several THEN d.clause ELSE"
"   (SELECT h.agreement || '/' || h.version || '/' || h.clause"
"    FROM spine.rules_that_hold(d.owner, $8, $9, spine.linked_patients(d.patient_id)) h"
"    WHERE h.to_organisation = ANY (d.organisations) AND h.purpose = ANY (d.purposes)"
"    ORDER BY h.agreement, h.version DESC, h.clause LIMIT 1) END"
" FROM (SELECT t.destination, t.record_id, pg_catalog.max(t.revision) AS revision, pg_catalog.max(t.owner) AS owner,"
"   (pg_catalog.array_agg(t.patient_id))[1] AS patient_id,"
"   pg_catalog.array_agg(t.organisation) AS organisations, pg_catalog.array_agg(t.purpose) AS purposes,"
"   pg_catalog.array_agg(t.token) FILTER (WHERE t.fresh) AS tokens,"
"   pg_catalog.array_agg(t.token) FILTER (WHERE NOT t.fresh) AS old_tokens,"
"   pg_catalog.max(t.revision) FILTER (WHERE t.fresh) AS new_revision,"
"   pg_catalog.max(t.revision) FILTER (WHERE NOT t.fresh) AS old_revision,"
"   pg_catalog.min(t.clause) AS clause, pg_catalog.bool_or(t.clauses > 1) AS several"
/* sorted once for all the arrays: they are compared */
"  FROM (SELECT t.*, c.clause, c.clauses FROM token t"
"   JOIN candidate c ON c.owner = t.owner AND c.organisation = t.organisation AND c.purpose = t.purpose"
"   ORDER BY t.destination, t.record_id, t.token) t"
"  GROUP BY t.destination, t.record_id) d"
" WHERE d.tokens IS DISTINCT FROM d.old_tokens OR d.new_revision IS DISTINCT FROM d.old_revision"
" RETURNING destination) SELECT w.destination FROM written w GROUP BY w.destination";

static SPIPlanPtr deliver_plan = NULL;

typedef struct DeliverColumns
{
	int			record_id;
	int			owner;
	int			patient_id;		/* 0: the table has none */
	int			revision;
	int			audience;
} DeliverColumns;

typedef struct DeliverTokens
{
	MemoryContext context;		/* of the copied values, reset with each chunk */
	int			n;
	int			allocated;
	Datum	   *record_id;
	Datum	   *owner;
	Datum	   *patient_id;
	bool	   *no_patient;
	Datum	   *revision;
	Datum	   *token;
	Datum	   *fresh;
	/* the same for the whole statement */
	Datum		relation;
	Datum		dataset;
	Datum		data_group;
} DeliverTokens;

PG_FUNCTION_INFO_V1(spine_deliver);
PG_FUNCTION_INFO_V1(spine_all_ended);
PG_FUNCTION_INFO_V1(spine_audience_names);
PG_FUNCTION_INFO_V1(spine_audience_of);

static int
deliver_column(Relation rel, const char *name, Oid type)
{
	int			attnum = SPI_fnumber(RelationGetDescr(rel), name);

	if (attnum <= 0 || SPI_gettypeid(RelationGetDescr(rel), attnum) != type)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\" of type %s",
						RelationGetRelationName(rel), name, format_type_be(type))));
	return attnum;
}

static void
deliver_find_columns(Relation rel, bool is_group, const char *table, DeliverColumns *columns)
{
	/* as spine.exchange_id() has it */
	static const char *const ids[][2] = {
		{"agreement_event", "event_id"},
		{"dissent", "dissent_id"},
		{"relationship", "relationship_id"},
		{"review_event", "event_id"},
		{"access_notice", "notice_id"},
		{"audit_head", "head_id"}
	};
	const char *id = "record_id";

	for (int i = 0; i < lengthof(ids) && !is_group; i++)
		if (strcmp(table, ids[i][0]) == 0)
			id = ids[i][1];
	columns->record_id = deliver_column(rel, id, UUIDOID);
	columns->owner = deliver_column(rel, "owner", TEXTOID);
	columns->patient_id = SPI_fnumber(RelationGetDescr(rel), "patient_id") > 0 ? deliver_column(rel, "patient_id", UUIDOID) : 0;
	columns->revision = deliver_column(rel, "revision", INT8OID);
	columns->audience = deliver_column(rel, "audience", TEXTARRAYOID);
}

/* The row's audience, or NULL when it is empty. */
static ArrayType *
deliver_audience(TupleTableSlot *slot, const DeliverColumns *columns)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, columns->audience, &isnull);
	ArrayType  *audience;

	if (isnull)
		return NULL;
	audience = DatumGetArrayTypeP(value);
	return ArrayGetNItems(ARR_NDIM(audience), ARR_DIMS(audience)) > 0 ? audience : NULL;
}

static bool
deliver_same(TupleTableSlot *old_slot, TupleTableSlot *new_slot, const DeliverColumns *columns,
			 ArrayType *old_audience, ArrayType *new_audience)
{
	bool		isnull;

	if (old_audience == NULL || new_audience == NULL ||
		VARSIZE(old_audience) != VARSIZE(new_audience) ||
		memcmp(old_audience, new_audience, VARSIZE(old_audience)) != 0)
		return false;
	if (DatumGetInt64(slot_getattr(old_slot, columns->revision, &isnull)) !=
		DatumGetInt64(slot_getattr(new_slot, columns->revision, &isnull)))
		return false;
	return datumIsEqual(slot_getattr(old_slot, columns->record_id, &isnull),
						slot_getattr(new_slot, columns->record_id, &isnull),
						false, sizeof(pg_uuid_t));
}

static void
deliver_add(DeliverTokens *tokens, TupleTableSlot *slot, const DeliverColumns *columns,
			ArrayType *audience, bool fresh)
{
	MemoryContext caller;
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;
	bool		isnull;
	Datum		record_id;
	Datum		owner;
	Datum		patient_id = (Datum) 0;
	bool		no_patient = true;
	Datum		revision;

	if (audience == NULL)
		return;

	caller = MemoryContextSwitchTo(tokens->context);
	deconstruct_array(DatumGetArrayTypePCopy(PointerGetDatum(audience)),
					  TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &nelements);
	record_id = datumCopy(slot_getattr(slot, columns->record_id, &isnull), false, sizeof(pg_uuid_t));
	owner = PointerGetDatum(DatumGetTextPCopy(slot_getattr(slot, columns->owner, &isnull)));
	if (columns->patient_id != 0)
		patient_id = slot_getattr(slot, columns->patient_id, &no_patient);
	if (!no_patient)
		patient_id = datumCopy(patient_id, false, sizeof(pg_uuid_t));
	revision = Int64GetDatum(DatumGetInt64(slot_getattr(slot, columns->revision, &isnull)));
	MemoryContextSwitchTo(caller);

	if (tokens->n + nelements > tokens->allocated)
	{
		int			wanted = Max(64, tokens->allocated * 2);

		while (wanted < tokens->n + nelements)
			wanted *= 2;
		if (tokens->allocated == 0)
		{
			tokens->record_id = palloc(sizeof(Datum) * wanted);
			tokens->owner = palloc(sizeof(Datum) * wanted);
			tokens->patient_id = palloc(sizeof(Datum) * wanted);
			tokens->no_patient = palloc(sizeof(bool) * wanted);
			tokens->revision = palloc(sizeof(Datum) * wanted);
			tokens->token = palloc(sizeof(Datum) * wanted);
			tokens->fresh = palloc(sizeof(Datum) * wanted);
		}
		else
		{
			tokens->record_id = repalloc(tokens->record_id, sizeof(Datum) * wanted);
			tokens->owner = repalloc(tokens->owner, sizeof(Datum) * wanted);
			tokens->patient_id = repalloc(tokens->patient_id, sizeof(Datum) * wanted);
			tokens->no_patient = repalloc(tokens->no_patient, sizeof(bool) * wanted);
			tokens->revision = repalloc(tokens->revision, sizeof(Datum) * wanted);
			tokens->token = repalloc(tokens->token, sizeof(Datum) * wanted);
			tokens->fresh = repalloc(tokens->fresh, sizeof(Datum) * wanted);
		}
		tokens->allocated = wanted;
	}

	for (int i = 0; i < nelements; i++)
	{
		if (nulls[i])
			continue;
		tokens->record_id[tokens->n] = record_id;
		tokens->owner[tokens->n] = owner;
		tokens->patient_id[tokens->n] = patient_id;
		tokens->no_patient[tokens->n] = no_patient;
		tokens->revision[tokens->n] = revision;
		tokens->token[tokens->n] = elements[i];
		tokens->fresh[tokens->n] = BoolGetDatum(fresh);
		tokens->n++;
	}
}

static void
deliver_write(DeliverTokens *tokens)
{
	SpineOwnerScope scope;
	Datum		values[9];
	int			lower = 1;
	int			result;

	if (tokens->n == 0)
		return;

	/* here rather than on the function: most statements do not come this far */
	spine_owner_enter(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (deliver_plan == NULL)
	{
		Oid			types[9] = {UUIDARRAYOID, TEXTARRAYOID, UUIDARRAYOID, INT8ARRAYOID, TEXTARRAYOID, BOOLARRAYOID,
		TEXTOID, TEXTOID, TEXTOID};

		/*
		 * the sizes of the arrays do not change the best plan, and planning costs more than the
		 * query
		 */
		SPIPlanPtr	plan = SPI_prepare_cursor(deliver_query, lengthof(types), types, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		deliver_plan = plan;
	}

	values[0] = PointerGetDatum(construct_array(tokens->record_id, tokens->n, UUIDOID, sizeof(pg_uuid_t), false, TYPALIGN_CHAR));
	values[1] = PointerGetDatum(construct_array(tokens->owner, tokens->n, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_md_array(tokens->patient_id, tokens->no_patient, 1, &tokens->n, &lower,
												   UUIDOID, sizeof(pg_uuid_t), false, TYPALIGN_CHAR));
	values[3] = PointerGetDatum(construct_array(tokens->revision, tokens->n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[4] = PointerGetDatum(construct_array(tokens->token, tokens->n, TEXTOID, -1, false, TYPALIGN_INT));
	values[5] = PointerGetDatum(construct_array(tokens->fresh, tokens->n, BOOLOID, 1, true, TYPALIGN_CHAR));
	values[6] = tokens->relation;
	values[7] = tokens->dataset;
	values[8] = tokens->data_group;

	result = SPI_execute_plan(deliver_plan, values, NULL, false, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "unexpected SPI result %d", result);
	for (uint64 i = 0; i < SPI_processed; i++)
		spine_doorbell_ring(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	spine_owner_leave(&scope);

	tokens->n = 0;
	MemoryContextReset(tokens->context);
}

/* spine.deliver(): AFTER INSERT OR UPDATE OR DELETE FOR EACH STATEMENT (dataset, group) */
Datum
spine_deliver(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Tuplestorestate *old_table;
	Tuplestorestate *new_table;
	TupleTableSlot *old_slot = NULL;
	TupleTableSlot *new_slot = NULL;
	MemoryContext row_context;
	DeliverColumns columns;
	DeliverTokens tokens = {0};
	Relation	rel;
	char	  **args;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) ||
		trigdata->tg_trigger->tgnargs != 2)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spine.deliver must be an AFTER STATEMENT trigger with the arguments data set and group")));

	old_table = trigdata->tg_oldtable;
	new_table = trigdata->tg_newtable;
	if ((TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && new_table == NULL) ||
		(TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) && old_table == NULL) ||
		(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) && (old_table == NULL || new_table == NULL)) ||
		TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spine.deliver needs the transition tables of the statement")));

	rel = trigdata->tg_relation;
	args = trigdata->tg_trigger->tgargs;
	deliver_find_columns(rel, strcmp(args[0], "spine") != 0, args[1], &columns);

	/* old and new rows of an update stand in the same order in both tables */
	if (old_table)
	{
		old_slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
		tuplestore_select_read_pointer(old_table, 0);
		tuplestore_rescan(old_table);
	}
	if (new_table)
	{
		new_slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
		tuplestore_select_read_pointer(new_table, 0);
		tuplestore_rescan(new_table);
	}

	row_context = AllocSetContextCreate(CurrentMemoryContext, "spine deliver row", ALLOCSET_SMALL_SIZES);

	for (;;)
	{
		bool		has_old = old_table && tuplestore_gettupleslot(old_table, true, false, old_slot);
		bool		has_new = new_table && tuplestore_gettupleslot(new_table, true, false, new_slot);
		ArrayType  *old_audience = NULL;
		ArrayType  *new_audience = NULL;
		MemoryContext caller;

		if (!has_old && !has_new)
			break;

		caller = MemoryContextSwitchTo(row_context);
		if (has_old)
			old_audience = deliver_audience(old_slot, &columns);
		if (has_new)
			new_audience = deliver_audience(new_slot, &columns);
		MemoryContextSwitchTo(caller);

		if ((old_audience || new_audience) &&
			!deliver_same(old_slot, new_slot, &columns, old_audience, new_audience))
		{
			if (tokens.context == NULL)
			{
				tokens.context = AllocSetContextCreate(CurrentMemoryContext, "spine deliver tokens",
													   ALLOCSET_DEFAULT_SIZES);
				tokens.relation = PointerGetDatum(cstring_to_text(psprintf("%s.%s", args[0], args[1])));
				tokens.dataset = CStringGetTextDatum(args[0]);
				tokens.data_group = CStringGetTextDatum(args[1]);
			}
			deliver_add(&tokens, old_slot, &columns, old_audience, false);
			deliver_add(&tokens, new_slot, &columns, new_audience, true);
			if (tokens.n >= DELIVER_CHUNK)
				deliver_write(&tokens);
		}
		MemoryContextReset(row_context);
		CHECK_FOR_INTERRUPTS();
	}
	deliver_write(&tokens);

	if (old_slot)
		ExecDropSingleTupleTableSlot(old_slot);
	if (new_slot)
		ExecDropSingleTupleTableSlot(new_slot);
	MemoryContextDelete(row_context);
	if (tokens.context)
		MemoryContextDelete(tokens.context);
	return PointerGetDatum(NULL);
}

/*
 * Is the token that of one of these addressees? An addressee is an organisation, for
 * care and emergency: what it gets is an identified row, and no other purpose may have
 * that. Or it is ORGANISATION:PURPOSE, to whom pseudonyms are sent.
 */
static bool
token_names(Datum token, const Datum *organisations, const bool *nulls, int norganisations)
{
	static const char *const purposes[] = {"care", "emergency"};
	const char *data = VARDATA_ANY(DatumGetPointer(token));
	int			length = VARSIZE_ANY_EXHDR(DatumGetPointer(token));
	const char *colon = memchr(data, ':', length);
	const char *slash;
	int			purpose_length;
	bool		for_care = false;
	int			whole_length;

	if (colon == NULL)
		return false;
	slash = memchr(colon, '/', data + length - colon);
	whole_length = (int) ((slash ? slash : data + length) - data);
	purpose_length = (int) ((slash ? slash : data + length) - colon) - 1;
	for (int i = 0; i < lengthof(purposes) && !for_care; i++)
		for_care = purpose_length == (int) strlen(purposes[i]) && memcmp(colon + 1, purposes[i], purpose_length) == 0;
	length = (int) (colon - data);
	for (int i = 0; i < norganisations; i++)
	{
		const char *addressee;
		int			addressee_length;

		if (nulls[i])
			continue;
		addressee = VARDATA_ANY(DatumGetPointer(organisations[i]));
		addressee_length = VARSIZE_ANY_EXHDR(DatumGetPointer(organisations[i]));
		/* a code has no colon: it equals an organisation, never an addressee for a purpose */
		if (addressee_length == (for_care ? length : whole_length) &&
			memcmp(addressee, data, addressee_length) == 0)
			return true;
	}
	return false;
}

/* spine.audience_names(audience text[], organisations text[]) */
Datum
spine_audience_names(PG_FUNCTION_ARGS)
{
	Datum	   *tokens;
	Datum	   *organisations;
	bool	   *token_nulls;
	bool	   *organisation_nulls;
	int			ntokens;
	int			norganisations;
	ArrayType  *audience = PG_GETARG_ARRAYTYPE_P(0);

	if (ArrayGetNItems(ARR_NDIM(audience), ARR_DIMS(audience)) == 0)
		PG_RETURN_BOOL(false);
	deconstruct_array(audience, TEXTOID, -1, false, TYPALIGN_INT, &tokens, &token_nulls, &ntokens);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &organisations, &organisation_nulls, &norganisations);
	for (int i = 0; i < ntokens; i++)
		if (!token_nulls[i] && token_names(tokens[i], organisations, organisation_nulls, norganisations))
			PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(false);
}

/* spine.audience_of(audience text[], organisations text[]) */
Datum
spine_audience_of(PG_FUNCTION_ARGS)
{
	Datum	   *tokens;
	Datum	   *organisations;
	bool	   *token_nulls;
	bool	   *organisation_nulls;
	int			ntokens;
	int			norganisations;
	int			kept = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &tokens, &token_nulls, &ntokens);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &organisations, &organisation_nulls, &norganisations);
	for (int i = 0; i < ntokens; i++)
		if (!token_nulls[i] && token_names(tokens[i], organisations, organisation_nulls, norganisations))
			tokens[kept++] = tokens[i];
	PG_RETURN_ARRAYTYPE_P(construct_array(tokens, kept, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * spine.all_ended(xid8): has everybody ended who ran, or looked, before that
 * transaction was over? Whoever has not may have an older picture of who the
 * neighbours are, and leave a row out of the ledger.
 */
Datum
spine_all_ended(PG_FUNCTION_ARGS)
{
	FullTransactionId xid = PG_GETARG_FULLTRANSACTIONID(0);
	uint64		age = U64FromFullTransactionId(ReadNextFullTransactionId()) - U64FromFullTransactionId(xid);

	/* nobody is this old */
	if (age > MaxTransactionId / 2)
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(TransactionIdPrecedes(XidFromFullTransactionId(xid), GetOldestTransactionIdConsideredRunning()));
}
