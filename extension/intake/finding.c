/*
 * finding.c
 *		Findings: as JSON for people, packed for a record that waits to be stored.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "intake/intake.h"

static const char *const severity_names[] = {"warning", "record", "group", "file"};

SpineFinding *
spine_finding_make(const char *rule, SpineSeverity severity, const char *item, const char *message)
{
	SpineFinding *finding = palloc(sizeof(SpineFinding));

	finding->rule = rule;
	finding->severity = severity;
	finding->item = item;
	finding->message = message;
	finding->awaits = 0;
	return finding;
}

/* [{"rule", "severity", "item", "message"}, ...] */
void
spine_findings_json(StringInfo out, List *findings)
{
	ListCell   *cell;

	appendStringInfoChar(out, '[');
	foreach(cell, findings)
	{
		SpineFinding *finding = lfirst(cell);

		if (foreach_current_index(cell) > 0)
			appendStringInfoChar(out, ',');
		appendStringInfoString(out, "{\"rule\":");
		escape_json(out, finding->rule);
		appendStringInfo(out, ",\"severity\":\"%s\",\"item\":", severity_names[finding->severity]);
		if (finding->item != NULL)
			escape_json(out, finding->item);
		else
			appendStringInfoString(out, "null");
		appendStringInfoString(out, ",\"message\":");
		escape_json(out, finding->message);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, ']');
}

Datum
spine_findings_jsonb(List *findings)
{
	StringInfoData json;
	Datum		result;

	initStringInfo(&json);
	spine_findings_json(&json, findings);
	result = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	pfree(json.data);
	return result;
}

/* The gravest severity of them. */
SpineSeverity
spine_findings_severity(List *findings)
{
	SpineSeverity gravest = SEVERITY_WARNING;
	ListCell   *cell;

	foreach(cell, findings)
		gravest = Max(gravest, ((SpineFinding *) lfirst(cell))->severity);
	return gravest;
}

/*
 * One after the other: the severity, then three strings, each with its end; an
 * empty one is NULL. Only findings of the checks are packed: they await nothing.
 */
Datum
spine_findings_pack(List *findings)
{
	StringInfoData packed;
	ListCell   *cell;

	initStringInfo(&packed);
	appendStringInfoSpaces(&packed, VARHDRSZ);
	foreach(cell, findings)
	{
		SpineFinding *finding = lfirst(cell);
		const char *strings[3] = {finding->rule, finding->item, finding->message};

		appendStringInfoChar(&packed, (char) finding->severity);
		for (int i = 0; i < lengthof(strings); i++)
			if (strings[i] != NULL)
				appendBinaryStringInfo(&packed, strings[i], strlen(strings[i]) + 1);
			else
				appendStringInfoChar(&packed, '\0');
	}
	SET_VARSIZE(packed.data, packed.len);
	return PointerGetDatum(packed.data);
}

/* The strings stay where they are in what was packed. */
List *
spine_findings_unpack(Datum packed)
{
	const char *at = VARDATA_ANY(DatumGetPointer(packed));
	const char *end = at + VARSIZE_ANY_EXHDR(DatumGetPointer(packed));
	List	   *findings = NIL;

	while (at < end)
	{
		SpineSeverity severity = (SpineSeverity) *at++;
		const char *strings[3];

		for (int i = 0; i < lengthof(strings); i++)
		{
			strings[i] = *at == '\0' ? NULL : at;
			at += strlen(at) + 1;
		}
		findings = lappend(findings, spine_finding_make(strings[0], severity, strings[1], strings[2]));
	}
	return findings;
}
