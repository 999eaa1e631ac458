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
CREATE FUNCTION spine.validate(document json,
	OUT n integer, OUT outcome text, OUT record_id uuid, OUT findings jsonb)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100
	AS 'MODULE_PATHNAME', 'spine_validate';
CREATE FUNCTION spine.validate(document text,
	OUT n integer, OUT outcome text, OUT record_id uuid, OUT findings jsonb)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100
	AS 'MODULE_PATHNAME', 'spine_validate';
REVOKE EXECUTE ON FUNCTION spine.submit(json), spine.submit(text), spine.validate(json), spine.validate(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.submit(json), spine.submit(text), spine.validate(json), spine.validate(text) TO spine_supplier;
COMMENT ON FUNCTION spine.validate(json) IS
	'The sandbox: the answer of spine.submit to this document, and nothing is kept of it. record_id is NULL. Errors as spine.submit.';
COMMENT ON FUNCTION spine.validate(text) IS 'The same for a text, whose fault no error quotes.';
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

CREATE FUNCTION spine.inbox_statement() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_inbox_statement';
COMMENT ON FUNCTION spine.inbox_statement() IS
	'Statement trigger of spine.inbox: opens a submission before the first line, stores what is sound after the last.';

CREATE FUNCTION spine.inbox_row() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'spine_inbox_row';
COMMENT ON FUNCTION spine.inbox_row() IS 'Row trigger of spine.inbox: judges one line.';
REVOKE EXECUTE ON FUNCTION spine.inbox_statement(), spine.inbox_row() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.inbox_statement(), spine.inbox_row() TO spine_owner;

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

-- ---------------------------------------------------------------- what was rejected, again

CREATE FUNCTION spine.run_again(owner text, source_system text, kind text, dataset text, version text,
	rejections uuid[], records text[], not_after timestamptz[],
	OUT rejection_id uuid, OUT outcome text, OUT record_id uuid, OUT findings jsonb)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100
	AS 'MODULE_PATHNAME', 'spine_run_again';
ALTER FUNCTION spine.run_again(text, text, text, text, text, uuid[], text[], timestamptz[]) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.run_again(text, text, text, text, text, uuid[], text[], timestamptz[]) FROM PUBLIC;
COMMENT ON FUNCTION spine.run_again(text, text, text, text, text, uuid[], text[], timestamptz[]) IS
	'Runs rejected records of one system as a submission. For spine.settle_rejections() alone, which has looked at who asks.';

/*
 * A record must not come back over one that was accepted, sent or deleted since it was rejected: C
 * looks at the stored record's time, this at the quarantine and at deletions.
 */
CREATE FUNCTION spine.settle_rejections(ids uuid[], to_version text, correction text)
	RETURNS TABLE (rejection_id uuid, outcome text, record_id uuid, findings jsonb)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
DECLARE
	part record;
	late uuid[];
BEGIN
	-- nobody else runs them at the same time
	PERFORM FROM spine.rejection j WHERE j.rejection_id = ANY (ids) AND j.state = 'open' ORDER BY j.rejection_id FOR UPDATE;
	WITH since AS (
		SELECT j.rejection_id, 'the record was deleted since; discard this one' AS message
		  FROM spine.rejection j
		 WHERE j.rejection_id = ANY (ids) AND j.state = 'open' AND EXISTS (
				SELECT FROM spine.history h
				 WHERE h.action = 'delete' AND h.owner = j.owner AND h.data_group = j.data_group AND h.dataset = j.dataset
				   AND h.old_row ->> 'local_record_id' = j.local_record_id AND h.old_row ->> 'source_system' = j.source_system
				   AND h.changed_at > j.rejected_at)
		UNION
		SELECT j.rejection_id, 'a later version of this record was sent since; discard this one'
		  FROM spine.rejection j
		 WHERE j.rejection_id = ANY (ids) AND j.state = 'open' AND correction IS NULL AND EXISTS (
				SELECT FROM spine.rejection k
				 WHERE k.owner = j.owner AND k.source_system = j.source_system AND k.local_record_id = j.local_record_id
				   AND k.dataset = j.dataset AND k.data_group = j.data_group AND k.state <> 'discarded'
				   AND (k.rejected_at, k.n, k.rejection_id) > (j.rejected_at, j.n, j.rejection_id))
	), told AS (
		UPDATE spine.rejection j SET tries = j.tries + 1, findings = pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object(
				'rule', 'record.superseded', 'severity', 'record', 'item', NULL, 'message', s.message))
		  FROM since s
		 WHERE j.rejection_id = s.rejection_id
		RETURNING j.rejection_id
	)
	SELECT coalesce(array_agg(t.rejection_id), '{}') INTO late FROM told t;
	RETURN QUERY SELECT j.rejection_id, 'rejected', NULL::uuid, j.findings FROM spine.rejection j WHERE j.rejection_id = ANY (late);
	-- each submission by itself, so that what refuses one whole refuses no other
	FOR part IN
		SELECT j.submission_id, j.owner, j.source_system, s.kind,
			   coalesce(j.dataset, correction::json ->> 'dataset') AS dataset,
			   coalesce(to_version, correction::json ->> 'version', j.version) AS version,
			   array_agg(j.rejection_id ORDER BY j.n) AS ids,
			   array_agg(coalesce(correction, j.record) ORDER BY j.n) AS records,
			   array_agg(j.rejected_at ORDER BY j.n) AS times
		  FROM spine.rejection j
		  JOIN spine.system s ON s.organisation = j.owner AND s.system = j.source_system
		 WHERE j.rejection_id = ANY (ids) AND j.state = 'open' AND j.rejection_id <> ALL (late)
		 GROUP BY 1, 2, 3, 4, 5, 6
		 ORDER BY min(j.rejected_at), j.submission_id
	LOOP
		-- a line that names what was never published here has nothing to be run as
		IF part.dataset IS NULL OR part.version IS NULL OR (to_version IS NULL AND correction IS NULL AND NOT EXISTS (
				SELECT FROM spine.dataset d WHERE d.name = part.dataset AND d.version = part.version)) THEN
			RETURN QUERY SELECT j.rejection_id, 'rejected', NULL::uuid, j.findings
				FROM spine.rejection j WHERE j.rejection_id = ANY (part.ids);
			CONTINUE;
		END IF;
		RETURN QUERY
			WITH again AS MATERIALIZED (
				SELECT * FROM spine.run_again(part.owner, part.source_system, part.kind, part.dataset, part.version,
											  part.ids, part.records, part.times)
			), told AS (
				UPDATE spine.rejection j
				   SET tries = j.tries + 1,
					   findings = CASE WHEN a.outcome = 'rejected' THEN a.findings ELSE j.findings END,
					   state = CASE WHEN a.outcome = 'rejected' THEN 'open' ELSE 'released' END,
					   settled_at = CASE WHEN a.outcome <> 'rejected' THEN now() END,
					   settled_by = CASE WHEN a.outcome <> 'rejected' THEN spine.caller_role() END
				  FROM again a WHERE a.rejection_id = j.rejection_id
			)
			SELECT a.rejection_id, a.outcome, a.record_id, a.findings FROM again a;
	END LOOP;
END
$$;
ALTER FUNCTION spine.settle_rejections(uuid[], text, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.settle_rejections(uuid[], text, text) FROM PUBLIC;
COMMENT ON FUNCTION spine.settle_rejections(uuid[], text, text) IS
	'Runs open rejections again, in that version or the one they were sent in, and releases what is sound now. For the functions that have looked at who asks.';

CREATE FUNCTION spine.resubmit_all(rejections uuid[], version text DEFAULT NULL)
	RETURNS TABLE (rejection_id uuid, outcome text, record_id uuid, findings jsonb)
	LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT r.*
	  FROM spine.settle_rejections(ARRAY(SELECT j.rejection_id FROM spine.rejection j
										  WHERE j.rejection_id = ANY (rejections) AND spine.is_caller_sender(j.owner, j.source_system)),
								   version, NULL) r
	$$;
CREATE FUNCTION spine.resubmit(rejection uuid, record json DEFAULT NULL, version text DEFAULT NULL)
	RETURNS TABLE (rejection_id uuid, outcome text, record_id uuid, findings jsonb)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
BEGIN
	PERFORM FROM spine.rejection j
	  WHERE j.rejection_id = resubmit.rejection AND j.state = 'open' AND spine.is_caller_sender(j.owner, j.source_system);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'this system has no open rejection of this id'
			USING ERRCODE = 'no_data_found',
				  HINT = 'See spine.rejections.';
	END IF;
	RETURN QUERY SELECT * FROM spine.settle_rejections(ARRAY[resubmit.rejection], resubmit.version, resubmit.record::text);
END
$$;
ALTER FUNCTION spine.resubmit_all(uuid[], text) OWNER TO spine_owner;
ALTER FUNCTION spine.resubmit(uuid, json, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.resubmit_all(uuid[], text), spine.resubmit(uuid, json, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.resubmit_all(uuid[], text), spine.resubmit(uuid, json, text) TO spine_supplier;
COMMENT ON FUNCTION spine.resubmit_all(uuid[], text) IS
	'Runs rejected records of the calling system again, as they were sent, in the version given or their own. A row for each: outcome as of spine.submit; what is accepted leaves the quarantine. Ids that are not the system''s, or settled, are passed over. SP003 for a version that is not accepted.';
COMMENT ON FUNCTION spine.resubmit(uuid, json, text) IS
	'Runs one rejected record of the calling system again, or a corrected one in its place. P0002 where the system has no open rejection of this id. A record that was accepted or deleted since under the same local_record_id is not touched, nor, uncorrected, one that was sent again and rejected: record.superseded.';

CREATE FUNCTION spine.revalidate(dataset text, version text DEFAULT NULL, rule text DEFAULT NULL)
	RETURNS TABLE (rejection_id uuid, outcome text, record_id uuid, findings jsonb)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
DECLARE
	wanted text := coalesce(version, (SELECT d.version FROM spine.dataset d
									   WHERE d.name = dataset AND (d.retired_on IS NULL OR d.retired_on > CURRENT_DATE)
									   ORDER BY string_to_array(d.version, '.')::integer[] DESC LIMIT 1));
	organisations text[] := spine.caller_organisations('operator') || spine.caller_organisations('analyst');
BEGIN
	IF wanted IS NULL OR NOT EXISTS (SELECT FROM spine.dataset d WHERE d.name = revalidate.dataset AND d.version = wanted) THEN
		RAISE EXCEPTION 'data set "%" is not accepted here in this version', revalidate.dataset
			USING ERRCODE = 'SP003',
				  HINT = 'See spine.accepted_versions().';
	END IF;
	RETURN QUERY
		SELECT * FROM spine.settle_rejections(ARRAY(
			SELECT j.rejection_id FROM spine.rejection j
			 WHERE j.dataset = revalidate.dataset AND j.state = 'open'
			   AND (j.owner = ANY (organisations) OR spine.is_caller_sender(j.owner, j.source_system))
			   AND (revalidate.rule IS NULL OR j.findings @> jsonb_build_array(jsonb_build_object('rule', revalidate.rule)))), wanted, NULL);
END
$$;
ALTER FUNCTION spine.revalidate(text, text, text) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.revalidate(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.revalidate(text, text, text) TO spine_supplier, spine_member, spine_operator;
COMMENT ON FUNCTION spine.revalidate(text, text, text) IS
	'Runs what the quarantine holds of a data set again, after a rule or code list was mended (a new version), or after what was missing has come: all of the calling system, or of the organisations whose operator or analyst calls; with a rule, what broke that one. In the version given, else the newest accepted. A row for each record run; what is sound is stored for its system and released.';

CREATE FUNCTION spine.discard_rejection(rejection uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	UPDATE spine.rejection j SET state = 'discarded', settled_at = now(), settled_by = spine.caller_role()
	 WHERE j.rejection_id = rejection AND j.state = 'open'
	   AND (j.owner = ANY (spine.caller_organisations('analyst'))
			OR spine.is_caller_sender(j.owner, j.source_system));
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no open rejection of this id is yours to discard'
			USING ERRCODE = 'no_data_found',
				  HINT = 'See spine.rejections.';
	END IF;
END
$$;
ALTER FUNCTION spine.discard_rejection(uuid) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.discard_rejection(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.discard_rejection(uuid) TO spine_supplier, spine_member;
COMMENT ON FUNCTION spine.discard_rejection(uuid) IS
	'Settles a rejection that is not to be run again; its text is kept. For the system that sent it and its organisation''s analysts. P0002 where there is none.';

-- ---------------------------------------------------------------- what was sent

CREATE FUNCTION spine.raw_submission(submission uuid) RETURNS TABLE (first_n bigint, content text)
	LANGUAGE sql STABLE SECURITY DEFINER PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT w.first_n, w.content
	  FROM spine.raw_submission w
	 WHERE w.submission_id = submission
	   AND EXISTS (SELECT FROM spine.submission s
					WHERE s.submission_id = submission
					  AND (s.owner = ANY (spine.caller_organisations('clinician') || spine.caller_organisations('analyst'))
						   OR spine.is_caller_system(s.owner, s.source_system)))
	 ORDER BY w.first_n
	$$;
ALTER FUNCTION spine.raw_submission(uuid) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.raw_submission(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.raw_submission(uuid) TO spine_supplier, spine_member;
COMMENT ON FUNCTION spine.raw_submission(uuid) IS
	'A submission as it came through spine.submit (one row) or spine.inbox (pieces of lines, the first of each is line first_n), while it is kept: setting spine.raw_retention. For the system that sent it, if its kind may read, and its organisation''s clinicians and analysts.';

CREATE FUNCTION spine.make_submission_partitions() RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '200ms'
	SET TimeZone = 'UTC'
	AS $$
DECLARE
	month timestamptz;
	parent text;
	made integer := 0;
BEGIN
	FOR month IN SELECT date_trunc('month', now()) + make_interval(months => i) FROM generate_series(0, 2) i
	LOOP
		-- the three of a month together or not at all: intake looks for the first
		BEGIN
			FOREACH parent IN ARRAY ARRAY['submission', 'raw_submission', 'inbox_line']
			LOOP
				made := made + spine.make_month_partition(parent, month)::integer;
			END LOOP;
		EXCEPTION
			WHEN lock_not_available OR check_violation OR deadlock_detected THEN
				RAISE LOG 'spine: the tables for submissions of % are not made yet: %', to_char(month, 'YYYY-MM'), SQLERRM;
		END;
	END LOOP;
	RETURN made;
END
$$;
ALTER FUNCTION spine.make_submission_partitions() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.make_submission_partitions() FROM PUBLIC;
COMMENT ON FUNCTION spine.make_submission_partitions() IS
	'Makes the tables of submissions of this month and the next two. Returns how many were missing. The courier calls it every hour, spine.create_store() once; where they are missing, rows go to the default tables.';

CREATE FUNCTION spine.drop_old_submissions() RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '200ms'
	SET TimeZone = 'UTC'
	AS $$
DECLARE
	part record;
	dropped integer := 0;
BEGIN
	FOR part IN
		SELECT c.oid::regclass AS class, c.relname, p.relname AS parent
		  FROM pg_class p
		  JOIN pg_inherits i ON i.inhparent = p.oid
		  JOIN pg_class c ON c.oid = i.inhrelid
		 WHERE p.relnamespace = 'spine'::regnamespace AND p.relname = ANY ('{submission,raw_submission,inbox_line}')
		   AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
		   AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= now() -
				current_setting(CASE p.relname WHEN 'raw_submission' THEN 'spine.raw_retention' ELSE 'spine.submission_retention' END)::interval
		 ORDER BY c.relname
	LOOP
		BEGIN
			EXECUTE format('DROP TABLE %s', part.class);
			dropped := dropped + 1;
		EXCEPTION
			WHEN lock_not_available OR deadlock_detected THEN
				RAISE LOG 'spine: % is past its retention and not dropped yet: %', part.relname, SQLERRM;
		END;
	END LOOP;
	RETURN dropped;
END
$$;
ALTER FUNCTION spine.drop_old_submissions() OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.drop_old_submissions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.drop_old_submissions() TO spine_operator;
COMMENT ON FUNCTION spine.drop_old_submissions() IS
	'Drops months that are wholly past their retention: raw submissions by spine.raw_retention, counts and outcomes of lines by spine.submission_retention. Returns how many tables went. The courier calls it every hour.';
