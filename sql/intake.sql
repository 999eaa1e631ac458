-- The doors.

CREATE FUNCTION spine.submit(document json,
	OUT n integer, OUT outcome text, OUT record_id uuid, OUT findings jsonb)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100
	AS 'MODULE_PATHNAME', 'spine_submit';
CREATE FUNCTION spine.submit(document text,
	OUT n integer, OUT outcome text, OUT record_id uuid, OUT findings jsonb)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100
	AS 'MODULE_PATHNAME', 'spine_submit';
REVOKE EXECUTE ON FUNCTION spine.submit(json), spine.submit(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.submit(json), spine.submit(text) TO spine_supplier;
COMMENT ON FUNCTION spine.submit(json) IS
	'The tolerant door. document: {"dataset", "version", "system", "records": [{"group", "nhs_number", "local_patient_id", "local_episode_id", "local_record_id", "data": {item: value}}]}; item names are ours or the NHS''s. A row for each record: n (from 1), outcome (accepted, accepted_with_warnings, unchanged, rejected), record_id, findings [{rule, severity, item, message}]. Errors: SP002 malformed document, SP003 unknown data set or version, 42501 not this system. Rejected records are kept in spine.rejection.';
COMMENT ON FUNCTION spine.submit(text) IS
	'The same for a text. A broken document is then refused by spine itself, whose error tells the place of the fault and nothing of the text; PostgreSQL''s own, on the way to json, would quote it.';

CREATE FUNCTION spine.intake_statement() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_intake_statement';
COMMENT ON FUNCTION spine.intake_statement() IS
	'Statement trigger of the typed views: opens the batch before the first row, stores the rest after the last.';

CREATE FUNCTION spine.intake_row() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_intake_row';
COMMENT ON FUNCTION spine.intake_row() IS
	'Row trigger of the typed views: checks the row and adds it to the batch. SP001 where a rule refuses it, 42501 where it is not the role''s own.';

CREATE FUNCTION spine.keep_history() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO spine.history (record_id, revision, dataset, data_group, owner, patient_id, action, old_row, changed_by)
			SELECT o.record_id, o.revision, TG_ARGV[0], TG_ARGV[1], o.owner, o.patient_id, 'delete',
				   pg_catalog.to_jsonb(o), spine.caller_role()
			  FROM old_rows o
			  JOIN spine.node_organisation h ON h.organisation = o.owner
			  JOIN spine.node n ON n.name = h.node AND n.is_self;
	ELSE
		INSERT INTO spine.history (record_id, revision, dataset, data_group, owner, patient_id, action, old_row, changed_by)
			SELECT o.record_id, o.revision, TG_ARGV[0], TG_ARGV[1], o.owner, o.patient_id, 'update',
				   pg_catalog.to_jsonb(o), spine.caller_role()
			  FROM old_rows o
			  JOIN new_rows w ON w.record_id = o.record_id AND w.revision <> o.revision
			  JOIN spine.node_organisation h ON h.organisation = o.owner
			  JOIN spine.node n ON n.name = h.node AND n.is_self;
	END IF;
	RETURN NULL;
END
$$;
ALTER FUNCTION spine.keep_history() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.intake_statement(), spine.intake_row(), spine.keep_history() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.intake_statement(), spine.intake_row() TO spine_owner;
COMMENT ON FUNCTION spine.keep_history() IS
	'Trigger of every group table: the old row of each correction and deletion goes to spine.history. Rows of other nodes'' organisations leave no copy.';
