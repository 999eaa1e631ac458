-- The supplier's specification: what a definition says and what every data set has in common, as one
-- JSON document, and that document as Markdown. All that the text says comes from the JSON.

-- ---------------------------------------------------------------- what every data set has

CREATE FUNCTION spine.finding_rules() RETURNS TABLE (rule text, severity text, meaning text, remedy text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	VALUES
	('item.missing', 'record', 'A mandatory item (status M) has no value.', 'Send it.'),
	('item.malformed', 'record', 'The value is not of the item''s format, or is not a plain value.', 'Write it as the format says.'),
	('item.length', 'record', 'The text, or an identifier, is too short or too long.', 'Keep to the length that the format names.'),
	('item.range', 'record', 'The value is below the least or above the greatest that is allowed.', 'Correct the value; check its unit.'),
	('item.code', 'as the list says', 'The code is not in the item''s code list.', 'Send a code of the list.'),
	('item.type', 'warning', 'A number in quotation marks, or a text without them. It was taken.', 'Send numbers as JSON numbers and texts as JSON strings: a text sent as a number loses its leading zeros.'),
	('item.unknown', 'warning', 'The group has no such item, or a record no such key. It is not kept.', 'Correct the name, or leave it out.'),
	('item.duplicate', 'record', 'One item is given twice, for instance by both its names.', 'Send it once.'),
	('identity.missing', 'record', 'Nothing tells whom the record is about, or nothing identifies the record.', 'Send nhs_number or local_patient_id; for the record its key items or local_record_id.'),
	('identity.conflict', 'record', 'Two things are said: an identifier and the item that holds it differ, or a number of yours was sent for another person before.', 'Send one of them, or the same in both. A number of yours belongs to one person for ever; an operator ends what it meant, spine.end_alias().'),
	('parent.unknown', 'record', 'The record that this one names has not been sent by your system.', 'Send that record first, or in the same document.'),
	('parent.rejected', 'group', 'The record that this one names was rejected in the same submission by a finding of severity group.', 'Correct that record and send both again.'),
	('group.unknown', 'record', 'The record names no data group, or one that this version does not have.', 'Name a group of this document.'),
	('group.denied', 'record', 'Your kind of system may not write this group.', 'Leave the group out, or ask the operator which kind your system is.'),
	('dataset.unknown', 'record', 'The line names a data set and version that are not accepted here.', 'Send what the message says; see `spine.accepted_versions`.'),
	('record.malformed', 'record', 'The record is not an object of the form that is wanted.', 'Send an object with group, identifiers and an object data.'),
	('record.too_large', 'record', 'The record has more values than a row of the database can hold.', 'Send fewer of its items.'),
	('record.superseded', 'record', 'A kept record is not run again: one of the same local_record_id was accepted, or was deleted, since it was rejected.', 'Discard it: spine.discard_rejection().'),
	('rule.failed', 'record', 'A rule of the data set could not be computed on this record.', 'Tell the publisher of the data set; the message names the rule.'),
	('file.rejected', 'file', 'Another record, or the number of records, broke a rule of severity file: the whole submission is rejected.', 'Look for the finding of severity file, correct it and send everything again.'),
	('finding.limit', 'warning', 'The record has more findings than are told.', 'Correct what is told and send it again.')
	$fn$;
COMMENT ON FUNCTION spine.finding_rules() IS
	'The rules that every data group has, by the names that findings use, with their severities.';

CREATE FUNCTION spine.error_codes() RETURNS TABLE (code text, meaning text, remedy text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $fn$
	VALUES
	('SP001', 'A row that was written through a view breaks a rule that rejects. Nothing of the statement was kept.', 'The detail has all findings of the row, the message its number. Correct it, or use a tolerant door.'),
	('SP002', 'A submission is not a document of the form of this specification. Nothing of it was kept.', 'The message or the detail says where. Correct the program that wrote it; sending it again does not help.'),
	('SP003', 'No such data set, version or data group is accepted here, or no longer.', 'spine.accepted_versions() lists the versions that are accepted. Send one of them.'),
	('SP004', 'A data-set definition has faults.', 'For publishers of data sets; a supplier''s statements do not raise it.'),
	('SP005', 'An agreement has faults, or its state does not allow the step.', 'For governors; a supplier''s statements do not raise it.'),
	('SP006', 'No record is open to you: absent and not allowed are the same answer.', 'For readers: open the record first.'),
	('SP007', 'A neighbour''s batch is refused.', 'Between nodes; a supplier''s statements do not raise it.'),
	('SP008', 'The node is not set up.', 'Tell the DBA of the Trust; retry when told so.'),
	('SP009', 'The access log cannot be written.', 'Not for systems that write: nothing is opened for reading meanwhile.'),
	('42501', 'Not yours to do: another organisation''s or system''s record, a column that spine sets, or a right that your kind of system does not have.', 'The message says which. Do not retry.'),
	('22P02, 22007, 22008, 22001', 'A value given to a view is not of its column''s type.', 'PostgreSQL''s own error, at the first such value. Correct the row.'),
	('22P04', 'The lines given to COPY are not of the format that the statement names.', 'Write CSV as in the example of the door.'),
	('54xxx', 'A document is larger than the server takes.', 'Send smaller documents of the form of this specification.'),
	('40001, 40P01', 'Another session of your system was writing about the same person.', 'Send the same again.'),
	('P0002', 'No open rejection of your system has this id.', 'Look into spine.rejections.'),
	('08xxx, 57xxx, 53xxx', 'The connection was lost, the server is stopping or is short of something.', 'Wait a little, longer each time, and send the same again: what was stored already comes back as unchanged.')
	$fn$;
COMMENT ON FUNCTION spine.error_codes() IS
	'The SQLSTATEs that end a supplier''s statement, and all of class SP, with what to do about them.';

CREATE FUNCTION spine.item_format(item jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE item ->> 'type'
		WHEN 'text' THEN
			CASE WHEN item ? 'codes' THEN 'code, list ' || (item ->> 'codes')
				 ELSE concat('text', b.characters) END
		WHEN 'ods_code' THEN
			concat('ODS code', CASE WHEN item ? 'codes' THEN ', list ' || (item ->> 'codes') END,
				   format(', %s to %s characters', greatest(coalesce(b.least::integer, 3), 3), least(coalesce(b.most::integer, 9), 9)))
		WHEN 'integer' THEN 'whole number' || b.range
		WHEN 'numeric' THEN 'number' || b.range
		WHEN 'date' THEN 'date, CCYY-MM-DD' ||
			CASE WHEN item ? 'min' AND item ? 'max' THEN format(', %s to %s', item ->> 'min', item ->> 'max')
				 WHEN item ? 'min' THEN format(', %s or later', item ->> 'min')
				 WHEN item ? 'max' THEN format(', %s or earlier', item ->> 'max') ELSE '' END
		WHEN 'time' THEN 'time, HH:MM:SS'
		WHEN 'timestamp' THEN 'date and time, CCYY-MM-DDTHH:MM:SS'
		WHEN 'boolean' THEN 'true or false'
		WHEN 'nhs_number' THEN 'NHS number, 10 digits'
		WHEN 'snomed_code' THEN 'SNOMED CT code, 6 to 18 digits'
		WHEN 'gestation' THEN format('gestation, days or weeks+days, %s to %s days', coalesce(item ->> 'min', '0'), coalesce(item ->> 'max', '349'))
	END
	  FROM (SELECT item ->> 'min_length' AS least, item ->> 'max_length' AS most,
				   CASE WHEN item ->> 'max_length' = '1' THEN ', 1 character'
						WHEN item ->> 'min_length' = item ->> 'max_length' THEN format(', %s characters', item ->> 'max_length')
						WHEN item ? 'max_length' THEN format(', %s to %s characters', coalesce(item ->> 'min_length', '1'), item ->> 'max_length')
						WHEN item ? 'min_length' THEN format(', at least %s characters', item ->> 'min_length') END AS characters,
				   CASE WHEN item ? 'min' AND item ? 'max' THEN format(' %s to %s', item ->> 'min', item ->> 'max')
						WHEN item ? 'min' THEN format(', at least %s', item ->> 'min')
						WHEN item ? 'max' THEN format(', at most %s', item ->> 'max') ELSE '' END AS range) AS b
	$fn$;
COMMENT ON FUNCTION spine.item_format(jsonb) IS
	'The format of an item of a definition in words, such as "text, 1 to 20 characters" or "code, list yes_no".';

CREATE FUNCTION spine.rule_question(rule jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE coalesce(rule ->> 'kind', 'expression')
		WHEN 'expression' THEN rule ->> 'expression'
		WHEN 'related' THEN concat('for each record ', m.other, ': ', rule ->> 'expression')
		WHEN 'exists' THEN concat('there is a record ', m.other, m.condition)
		WHEN 'unique' THEN concat('no other record of the group has the same ', m.items, m.condition)
		WHEN 'organisation' THEN concat(rule -> 'items' ->> 0, ' is an organisation that is open on the day of ',
			coalesce(rule ->> 'at', 'the record'),
			', or one of ' || (SELECT string_agg(e, ', ' ORDER BY n) FROM jsonb_array_elements_text(rule -> 'except') WITH ORDINALITY AS x (e, n)),
			CASE WHEN (rule ->> 'known')::boolean THEN '; one that this node does not know breaks the rule'
				 ELSE '; one that this node does not know passes' END)
		WHEN 'own_code' THEN concat(rule -> 'items' ->> 0, ' is the code of the organisation that submits')
		WHEN 'count' THEN concat('a document has ', CASE
			WHEN rule ->> 'min' = rule ->> 'max' THEN rule ->> 'min'
			WHEN rule ? 'min' AND rule ? 'max' THEN concat(rule ->> 'min', ' to ', rule ->> 'max')
			WHEN rule ? 'max' THEN concat('at most ', rule ->> 'max')
			ELSE concat('at least ', coalesce(rule ->> 'min', '0')) END,
			CASE WHEN coalesce(rule ->> 'max', rule ->> 'min') = '1' THEN ' record' ELSE ' records' END, ' of this group')
		WHEN 'failures' THEN concat('at most ', rule ->> 'max_percent', ' percent of the records of this group in one document are rejected')
	END
	  FROM (SELECT concat('of ', rule ->> 'group', ' whose ',
						  (SELECT string_agg(concat(value, ' = ', key), ' and whose ' ORDER BY key COLLATE "C")
							 FROM jsonb_each_text(spine.json_object(rule -> 'match')))) AS other,
				   ', asked when ' || (rule ->> 'when') AS condition,
				   (SELECT string_agg(i, ', ' ORDER BY n) FROM jsonb_array_elements_text(rule -> 'items') WITH ORDINALITY AS x (i, n)) AS items) AS m
	$fn$;
COMMENT ON FUNCTION spine.rule_question(jsonb) IS 'What a rule of a definition asks of a record, exactly; false breaks it.';

-- ---------------------------------------------------------------- a record of each group

/*
 * A group without an example gets one from its formats: mandatory and required items and those that
 * rules which reject ask for, with keys that its parents and other groups have too. It may break a rule.
 */
CREATE FUNCTION spine.made_value(item jsonb, codes jsonb, place integer) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE
		WHEN item ? 'codes' THEN (SELECT to_jsonb(min(c COLLATE "C")) FROM jsonb_object_keys(codes -> (item ->> 'codes') -> 'codes') AS c)
		WHEN type = 'text' THEN to_jsonb(rpad(t.start, greatest(least, length(t.start)), '0'))
		WHEN type = 'ods_code' THEN to_jsonb(rpad((ARRAY['RYJ', 'RQM', 'R1K', 'RAS'])[place % 4 + 1], greatest(least, 3), '01'))
		WHEN type IN ('integer', 'numeric', 'gestation') THEN to_jsonb(least(greatest(
				CASE type WHEN 'gestation' THEN 280 ELSE greatest(place - 99, 1) END, (item ->> 'min')::numeric), (item ->> 'max')::numeric))
		WHEN type = 'date' THEN to_jsonb(least(greatest('2026-01-05' COLLATE "C", item ->> 'min'), item ->> 'max'))
		WHEN type = 'time' THEN '"10:30:00"'
		WHEN type = 'timestamp' THEN '"2026-01-05T10:30:00"'
		WHEN type = 'boolean' THEN 'true'
		WHEN type = 'nhs_number' THEN '"9990000026"'
		WHEN type = 'snomed_code' THEN '"364589006"'
	END
	  FROM (SELECT item ->> 'type' AS type, coalesce((item ->> 'min_length')::integer, 1) AS least,
				   coalesce((item ->> 'max_length')::integer, 20) AS most) AS i
		   CROSS JOIN LATERAL (SELECT left(chr(65 + place % 26) || '1', i.most) AS start) AS t
	$fn$;
COMMENT ON FUNCTION spine.made_value(jsonb, jsonb, integer) IS
	'A value of an item''s format. codes: the code lists of the definition; place makes texts differ, from 100 on numbers too.';

CREATE FUNCTION spine.example_records(definition jsonb, organisation text)
	RETURNS TABLE (n integer, data_group text, made boolean, sample jsonb)
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	persons jsonb := '{"mother": "9990000018", "baby": "9990000042", "patient": "9990000093"}';
	-- values that records have in common, by what they are: a person's or episode's number, an item of a group
	shared jsonb := '{}';
	-- what the definition's examples call the organisation that submits
	own_names text[] := '{}';
	the_group jsonb;
	item record;
	value jsonb;
	place text;
	data jsonb;
BEGIN
	SELECT coalesce(array_agg(DISTINCT g -> 'example' ->> (r -> 'items' ->> 0)), '{}') INTO own_names
	  FROM jsonb_array_elements(definition -> 'groups') AS g, jsonb_array_elements(spine.json_list(g -> 'rules')) AS r
	 WHERE r ->> 'kind' = 'own_code' AND g -> 'example' ? (r -> 'items' ->> 0);
	n := 0;
	FOR the_group IN SELECT g FROM jsonb_array_elements(definition -> 'groups') WITH ORDINALITY AS x (g, n) ORDER BY x.n LOOP
		n := n + 1;
		data_group := the_group ->> 'name';
		made := NOT the_group ? 'example';
		data := '{}';
		IF made THEN
			FOR item IN
				SELECT i.body, i.body ->> 'name' AS name, i.n::integer AS n
				  FROM jsonb_array_elements(the_group -> 'items') WITH ORDINALITY AS i (body, n)
				 WHERE i.body ->> 'status' IN ('M', 'R') OR i.body ->> 'name' = the_group -> 'key' ->> 0
					OR EXISTS (SELECT FROM jsonb_array_elements(spine.json_list(the_group -> 'rules')) AS r
								WHERE r ->> 'severity' <> 'warning' AND r -> 'items' ? (i.body ->> 'name'))
				 ORDER BY i.n
			LOOP
				place := CASE item.name
					WHEN the_group ->> 'nhs_number' THEN NULL
					WHEN the_group ->> 'local_patient_id' THEN 'patient.' || (the_group ->> 'subject')
					WHEN the_group ->> 'local_episode_id' THEN 'episode.' || (the_group ->> 'episode')
					WHEN the_group -> 'parent' ->> 'item' THEN
						(SELECT concat('item.', g ->> 'name', '.', g -> 'key' ->> 0)
						   FROM jsonb_array_elements(definition -> 'groups') AS g WHERE g ->> 'name' = the_group -> 'parent' ->> 'group')
					ELSE (SELECT concat('item.', r ->> 'group', '.', r -> 'match' ->> item.name)
							FROM jsonb_array_elements(spine.json_list(the_group -> 'rules')) AS r
						   WHERE r ->> 'kind' IN ('related', 'exists') AND r -> 'match' ? item.name LIMIT 1)
				END;
				value := CASE
					WHEN item.name = the_group ->> 'nhs_number' THEN persons -> (the_group ->> 'subject')
					WHEN EXISTS (SELECT FROM jsonb_array_elements(spine.json_list(the_group -> 'rules')) AS r
								  WHERE r ->> 'kind' = 'own_code' AND r -> 'items' ->> 0 = item.name)
						THEN to_jsonb(coalesce(organisation, 'RYJ'))
					ELSE coalesce(shared -> place, spine.made_value(item.body, definition -> 'code_lists',
						CASE WHEN place ~ '^patient\.' THEN 39 + ascii(upper(the_group ->> 'subject')) ELSE item.n END))
				END;
				data := data || jsonb_build_object(item.name, value);
				IF place !~ '^item\.' THEN
					shared := jsonb_build_object(place, value) || shared;
				END IF;
				shared := shared || jsonb_build_object(concat('item.', data_group, '.', item.name), value);
			END LOOP;
		ELSE
			SELECT jsonb_object_agg(coalesce(i.value ->> 'name', e.key),
									CASE WHEN e.value #>> '{}' = ANY (own_names) AND organisation IS NOT NULL
										 THEN to_jsonb(organisation) ELSE e.value END)
			  INTO data
			  FROM jsonb_each(the_group -> 'example') AS e
				   LEFT JOIN jsonb_array_elements(the_group -> 'items') AS i (value) ON e.key IN (i.value ->> 'name', i.value ->> 'nhs_name');
		END IF;
		sample := jsonb_build_object('group', data_group, 'data', data);
		IF the_group ->> 'subject' <> 'none'
		   AND NOT coalesce(data ?| ARRAY[the_group ->> 'nhs_number', the_group ->> 'local_patient_id', the_group ->> 'local_episode_id',
										   the_group -> 'parent' ->> 'item'], false)
		   OR made AND the_group ->> 'subject' <> 'none' AND NOT data ? coalesce(the_group ->> 'nhs_number', '') THEN
			sample := sample || jsonb_build_object('nhs_number', persons -> (the_group ->> 'subject'));
		END IF;
		RETURN NEXT;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.example_records(jsonb, text) IS
	'A record of each group, as a document has it: the example of the definition, else one made from the formats. organisation stands where the data set wants the code of the organisation that submits.';

-- ---------------------------------------------------------------- the specification

CREATE FUNCTION spine.definition_of(name text, version text) RETURNS jsonb
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	definition jsonb := spine.known_definition(name, version);
BEGIN
	IF definition IS NULL THEN
		RAISE EXCEPTION 'no data set "%" version "%" is published here or comes with spine', name, version
			USING ERRCODE = 'SP003', HINT = 'SELECT dataset, version FROM spine.datasets lists what is published.';
	END IF;
	RETURN definition;
END
$fn$;
COMMENT ON FUNCTION spine.definition_of(text, text) IS
	'The definition of a version of a data set as a whole: as it is published here, else as it comes with spine. SP003 where there is neither.';

CREATE FUNCTION spine.specification(name text, version text) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	definition jsonb := spine.definition_of(name, version);
	view_schema text := spine.view_schema(name, version);
	has_store boolean := to_regclass('spine.dataset') IS NOT NULL;
	organisation text;
	versions jsonb := '[]';
	groups jsonb;
	former text;
	changes jsonb;
BEGIN
	IF has_store THEN
		organisation := coalesce((SELECT w.organisation FROM spine.whoami() AS w WHERE w.system IS NOT NULL LIMIT 1),
								 (spine.hosted_organisations())[1]);
		SELECT coalesce(jsonb_agg(jsonb_build_object('version', d.version, 'title', d.title, 'retired_on', d.retired_on)
								  ORDER BY string_to_array(d.version, '.')::integer[]), '[]')
		  INTO versions
		  FROM spine.dataset AS d WHERE d.name = specification.name;
	END IF;

	SELECT v.v INTO former
	  FROM (SELECT x ->> 'version' AS v FROM jsonb_array_elements(versions) AS x
			UNION
			SELECT x ->> 'version' FROM spine.shipped_datasets() AS x WHERE x ->> 'name' = specification.name) AS v
	 WHERE string_to_array(v.v, '.')::integer[] < string_to_array(version, '.')::integer[]
	 ORDER BY string_to_array(v.v, '.')::integer[] DESC LIMIT 1;
	IF former IS NOT NULL THEN
		SELECT jsonb_build_object('from', former, 'changes', coalesce(jsonb_agg(jsonb_strip_nulls(to_jsonb(c)) ORDER BY c.position), '[]'))
		  INTO changes
		  FROM spine.dataset_changes(name, former, version) AS c;
	END IF;

	WITH g AS MATERIALIZED (
		SELECT x.n::integer AS n, x.body, x.body ->> 'name' AS name
		  FROM jsonb_array_elements(definition -> 'groups') WITH ORDINALITY AS x (body, n)
	), i AS (
		SELECT g.n, jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
					'position', x.n, 'name', x.body -> 'name', 'nhs_name', x.body -> 'nhs_name', 'uid', x.body -> 'uid',
					'title', x.body -> 'title', 'description', x.body -> 'description', 'type', x.body -> 'type',
					'status', x.body -> 'status', 'class', x.body -> 'class', 'format', spine.item_format(x.body),
					'codes', x.body -> 'codes', 'min_length', x.body -> 'min_length', 'max_length', x.body -> 'max_length',
					'min', x.body -> 'min', 'max', x.body -> 'max')) ORDER BY x.n) AS items
		  FROM g, jsonb_array_elements(g.body -> 'items') WITH ORDINALITY AS x (body, n)
		 GROUP BY g.n
	), r AS (
		SELECT g.n, jsonb_agg('{"kind": "expression"}' || (x.body - 'examples')
							  || jsonb_build_object('position', x.n, 'asks', spine.rule_question(x.body)) ORDER BY x.n) AS rules
		  FROM g, jsonb_array_elements(g.body -> 'rules') WITH ORDINALITY AS x (body, n)
		 GROUP BY g.n
	)
	SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
				'position', g.n, 'name', g.name, 'title', g.body -> 'title', 'description', g.body -> 'description',
				'nhs_table', g.body -> 'nhs_table', 'subject', g.body -> 'subject', 'episode', g.body -> 'episode',
				'key', g.body -> 'key', 'parent', g.body -> 'parent',
				'event', (SELECT jsonb_agg(e.body) FROM spine.one_or_list('', g.body -> 'event') AS e),
				'anchor', (SELECT jsonb_agg(e.body) FROM spine.one_or_list('', g.body -> 'anchor') AS e),
				'nhs_number', g.body -> 'nhs_number', 'local_patient_id', g.body -> 'local_patient_id',
				'local_episode_id', g.body -> 'local_episode_id',
				'view', format('%I.%I', view_schema, g.name),
				'header', nullif(definition -> 'header' = g.body -> 'name', false),
				'items', i.items, 'rules', coalesce(r.rules, '[]'),
				'record', e.sample, 'record_made', e.made)) ORDER BY g.n)
	  INTO groups
	  FROM g JOIN i USING (n) LEFT JOIN r USING (n)
		   JOIN spine.example_records(definition, organisation) AS e ON e.n = g.n;

	RETURN jsonb_build_object(
		'dataset', name, 'version', version, 'title', definition -> 'title', 'description', definition -> 'description',
		'source', definition -> 'source', 'mandation', definition -> 'mandation', 'view_schema', view_schema,
		'published', EXISTS (SELECT FROM jsonb_array_elements(versions) AS v WHERE v ->> 'version' = specification.version),
		'versions', versions, 'changes', changes,
		'header', definition -> 'header',
		'statuses', jsonb_build_array(
			'{"status": "M", "name": "mandatory", "meaning": "Without it the record is rejected."}'::jsonb,
			'{"status": "R", "name": "required", "meaning": "To be sent wherever it is known; counts in completeness. A record without it is accepted."}'::jsonb,
			'{"status": "O", "name": "optional", "meaning": "Sent where it is of use."}'::jsonb,
			'{"status": "P", "name": "pilot", "meaning": "Sent by those who take part in the pilot."}'::jsonb),
		'severities', jsonb_build_array(
			'{"severity": "warning", "meaning": "The record is accepted, and told with the finding."}'::jsonb,
			'{"severity": "record", "meaning": "The record is rejected."}'::jsonb,
			'{"severity": "group", "meaning": "The record is rejected, and with it those below it in the same submission."}'::jsonb,
			'{"severity": "file", "meaning": "The whole submission is rejected."}'::jsonb),
		'outcomes', jsonb_build_array(
			'{"outcome": "accepted", "meaning": "The record is stored."}'::jsonb,
			'{"outcome": "accepted_with_warnings", "meaning": "The record is stored; its findings tell what to look at."}'::jsonb,
			'{"outcome": "unchanged", "meaning": "The same content is there already; nothing was done."}'::jsonb,
			'{"outcome": "rejected", "meaning": "The record is not stored. It is kept apart with all its findings. An earlier record of the same local_record_id stays as it was."}'::jsonb),
		'client_kinds', jsonb_build_array(
			'{"kind": "maternity", "reads": true, "writes": ["mother", "baby", "patient", "none"]}'::jsonb,
			'{"kind": "neonatal", "reads": true, "writes": ["baby", "patient", "none"]}'::jsonb,
			'{"kind": "maternity_readonly", "reads": true, "writes": []}'::jsonb,
			'{"kind": "reports", "reads": true, "writes": []}'::jsonb,
			'{"kind": "device", "reads": false, "writes": ["mother", "baby", "patient", "none"]}'::jsonb),
		'limits', '{"identifier_characters": 100, "key_characters": 500, "findings": 1000, "levels": 64, "gestation_days": 349, "integer": [-2147483648, 2147483647]}'::jsonb,
		'episodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', e.key) || e.value ORDER BY e.key COLLATE "C"), '[]')
					   FROM jsonb_each(spine.json_object(definition -> 'episodes')) AS e),
		'groups', groups,
		'code_lists', (SELECT coalesce(jsonb_agg(jsonb_build_object('list', l.key, 'title', l.value -> 'title', 'source', l.value -> 'source',
										'severity', coalesce(l.value ->> 'severity', 'warning'),
										'codes', (SELECT jsonb_agg(jsonb_build_object('code', c.key, 'meaning', c.value) ORDER BY c.key COLLATE "C")
													FROM jsonb_each_text(l.value -> 'codes') AS c)) ORDER BY l.key COLLATE "C"), '[]')
						 FROM jsonb_each(spine.json_object(definition -> 'code_lists')) AS l),
		'finding_rules', (SELECT jsonb_agg(to_jsonb(f)) FROM spine.finding_rules() AS f),
		'errors', (SELECT jsonb_agg(to_jsonb(e)) FROM spine.error_codes() AS e));
END
$fn$;
COMMENT ON FUNCTION spine.specification(text, text) IS
	'The supplier''s specification of a version of a data set, published here or coming with spine: groups with items, formats, keys, rules and a record each, code lists, outcomes, findings, errors. As one JSON document; lists stand in the order of the definition. SP003 where there is no such version.';

-- ---------------------------------------------------------------- as Markdown

CREATE FUNCTION spine.markdown_text(content text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(btrim(content, E' \t\r\n'),
		'([\\`*|\[\]])', '\\\1', 'g'),
		'(<(?=[A-Za-z/!?])|&(?=#?[A-Za-z0-9]+;)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))', '\\\1', 'g'),
		'[\t\v\f]', ' ', 'g'),
		'\s*(\r\n|\r|\n)\s*', '<br>', 'g')
	$fn$;
COMMENT ON FUNCTION spine.markdown_text(text) IS
	'A text as it stands in a paragraph or a table of Markdown: what has a meaning there gets a backslash, a new line is <br>.';

CREATE FUNCTION spine.markdown_code(content text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT concat(f.fence, f.pad, replace(regexp_replace(content, '\s+', ' ', 'g'), '|', '\|'), f.pad, f.fence)
	  FROM (SELECT CASE WHEN content LIKE '%`%' THEN '``' ELSE '`' END AS fence,
				   CASE WHEN content LIKE '%`%' THEN ' ' ELSE '' END AS pad) AS f
	 WHERE content <> ''
	$fn$;
COMMENT ON FUNCTION spine.markdown_code(text) IS 'A text as code in a table of Markdown; NULL for none.';

CREATE FUNCTION spine.markdown_table(head text[], body text[]) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT concat('| ', array_to_string(head, ' | '), E' |\n|', repeat('---|', cardinality(head)), E'\n',
				  array_to_string(body, E'\n'), E'\n\n')
	$fn$;
COMMENT ON FUNCTION spine.markdown_table(text[], text[]) IS 'A table of Markdown with these heads and rows, which spine.markdown_row makes.';

CREATE FUNCTION spine.markdown_row(VARIADIC cells text[]) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT concat('| ', array_to_string(cells, ' | ', ''), ' |') $fn$;
COMMENT ON FUNCTION spine.markdown_row(VARIADIC text[]) IS 'A row of a table of Markdown; the cells are Markdown already.';

CREATE FUNCTION spine.record_text(data_group jsonb, record jsonb, head text, line_break text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT concat('{', head, '"group": ', record -> 'group',
				  ', "nhs_number": ' || (record -> 'nhs_number')::text,
				  ',', line_break, ' "data": {',
				  (SELECT string_agg(concat(to_jsonb(i ->> 'name'), ': ', record -> 'data' -> (i ->> 'name')),
									 concat(',', line_break, CASE line_break WHEN '' THEN ' ' ELSE '    ' END)
									 ORDER BY (i ->> 'position')::integer)
					 FROM jsonb_array_elements(data_group -> 'items') AS i WHERE record -> 'data' ? (i ->> 'name')),
				  '}}')
	$fn$;
COMMENT ON FUNCTION spine.record_text(jsonb, jsonb, text, text) IS
	'A record as JSON text, its items in the order of the group. head: keys before it; line_break: put between items.';

CREATE FUNCTION spine.example_columns(data_group jsonb) RETURNS TABLE (names text, literals text, fields text, keys text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.n),
		   string_agg(c.literal, ', ' ORDER BY c.n),
		   string_agg(CASE WHEN c.value ~ '[",\r\n]|^\s|\s$|^\\\.$|^$' THEN '"' || replace(c.value, '"', '""') || '"' ELSE c.value END, ',' ORDER BY c.n),
		   string_agg(concat(quote_ident(c.name), ' = ', c.literal), ' AND ' ORDER BY c.n) FILTER (WHERE data_group -> 'key' ? c.name)
	  FROM (SELECT 0 AS n, 'nhs_number' AS name, data_group -> 'record' ->> 'nhs_number' AS value,
				   quote_literal(data_group -> 'record' ->> 'nhs_number') AS literal
			 WHERE data_group -> 'record' ? 'nhs_number'
			UNION ALL
			SELECT (i ->> 'position')::integer, i ->> 'name', d.value,
				   CASE WHEN i ->> 'type' IN ('integer', 'numeric', 'boolean') THEN d.value ELSE quote_literal(d.value) END
			  FROM jsonb_array_elements(data_group -> 'items') AS i
				   JOIN jsonb_each_text(data_group -> 'record' -> 'data') AS d ON d.key = i ->> 'name') AS c
	$fn$;
COMMENT ON FUNCTION spine.example_columns(jsonb) IS
	'The record of a group of a specification as a statement at its view has it: column names, literals, a CSV line, and the condition that finds it by its key.';

CREATE FUNCTION spine.group_markdown(data_group jsonb, specification jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT concat(
		'### ', data_group ->> 'name', E'\n\n',
		'**', spine.markdown_text(data_group ->> 'title'), '**. ', spine.markdown_text(data_group ->> 'description'), E'\n\n',
		spine.markdown_table(ARRAY['property', 'value'], array_remove(ARRAY[
			spine.markdown_row('view', spine.markdown_code(data_group ->> 'view')),
			spine.markdown_row('NHS table', spine.markdown_text(data_group ->> 'nhs_table')),
			spine.markdown_row('is about', CASE data_group ->> 'subject' WHEN 'none' THEN 'no person'
								ELSE concat('the ', data_group ->> 'subject') END),
			spine.markdown_row('key', (SELECT string_agg(spine.markdown_code(k), ', ' ORDER BY n)
										 FROM jsonb_array_elements_text(data_group -> 'key') WITH ORDINALITY AS x (k, n))),
			CASE WHEN data_group ? 'parent' THEN
				spine.markdown_row('parent', concat(spine.markdown_code(data_group -> 'parent' ->> 'item'), ' is ',
					spine.markdown_code(p.body -> 'key' ->> 0), ' of a record of ', spine.markdown_code(p.body ->> 'name'),
					CASE WHEN p.mothers THEN ': the mother''s. It joins the baby to her, and does not tell who the baby is' END)) END,
			CASE WHEN data_group ? 'episode' THEN
				spine.markdown_row('episode', spine.markdown_text((SELECT concat(e ->> 'kind', ': ', e ->> 'title')
					FROM jsonb_array_elements(specification -> 'episodes') AS e WHERE e ->> 'kind' = data_group ->> 'episode'))) END,
			CASE WHEN data_group ? 'anchor' THEN
				spine.markdown_row('date of the episode', (SELECT string_agg(concat(spine.markdown_code(a ->> 'item'),
					CASE WHEN (a ->> 'days')::integer > 0 THEN format(' plus %s days', a ->> 'days')
						 WHEN (a ->> 'days')::integer < 0 THEN format(' less %s days', -(a ->> 'days')::integer) END), ', else ' ORDER BY n)
					FROM jsonb_array_elements(data_group -> 'anchor') WITH ORDINALITY AS x (a, n))) END,
			spine.markdown_row('dated by', coalesce((SELECT string_agg(concat(spine.markdown_code(e ->> 'date'),
					' with ' || spine.markdown_code(e ->> 'time')), ', else ' ORDER BY n)
					FROM jsonb_array_elements(data_group -> 'event') WITH ORDINALITY AS x (e, n))
					|| CASE WHEN data_group ? 'parent' THEN ', else its parent' ELSE '' END,
				CASE WHEN data_group ? 'parent' THEN 'its parent' ELSE 'nothing' END)),
			CASE WHEN data_group ? 'header' THEN
				spine.markdown_row('header', 'the header of a submission: one record, before all others') END], NULL)),
		E'Identifiers:\n\n',
		spine.markdown_table(ARRAY['identifier', 'item that holds it', 'may be left out'], array_remove(ARRAY[
			spine.markdown_row('`local_record_id`',
				CASE WHEN jsonb_array_length(data_group -> 'key') = 1 THEN spine.markdown_code(data_group -> 'key' ->> 0) END,
				CASE WHEN jsonb_array_length(data_group -> 'key') = 1 THEN 'yes: it is the value of that item'
					 ELSE 'yes: it is then made of the values of the key, joined with a vertical bar' END),
			CASE WHEN s.person THEN spine.markdown_row('`nhs_number`', spine.markdown_code(data_group ->> 'nhs_number'),
				concat('yes, where ', s.others, ' tells the person')) END,
			CASE WHEN s.person THEN spine.markdown_row('`local_patient_id`', spine.markdown_code(data_group ->> 'local_patient_id'),
				CASE WHEN s.patient_mandatory THEN 'yes, but not the item, which is mandatory'
					 ELSE 'yes, where another identifier tells the person' END) END,
			CASE WHEN s.person AND data_group ? 'episode' THEN
				spine.markdown_row('`local_episode_id`', spine.markdown_code(data_group ->> 'local_episode_id'),
					CASE WHEN s.episode_mandatory THEN 'yes, but not the item, which is mandatory'
						 ELSE 'yes: the episode is then found by its dates' END) END], NULL)),
		CASE WHEN s.person THEN 'If several tell the person, they must agree.' ELSE 'No person is in it: leave `nhs_number`, `local_patient_id` and `local_episode_id` out.' END,
		E'\n\nItems:\n\n',
		spine.markdown_table(ARRAY['item', 'NHS name', 'UID', 'title', 'status', 'format', 'note'],
			(SELECT array_agg(spine.markdown_row(spine.markdown_code(i ->> 'name'), spine.markdown_text(i ->> 'nhs_name'),
						spine.markdown_text(i ->> 'uid'), spine.markdown_text(i ->> 'title'), i ->> 'status',
						spine.markdown_text(i ->> 'format'), spine.markdown_text(i ->> 'description')) ORDER BY (i ->> 'position')::integer)
			   FROM jsonb_array_elements(data_group -> 'items') AS i)),
		CASE WHEN data_group -> 'rules' = '[]' THEN E'No rules of its own.\n\n'
			ELSE concat(E'Rules:\n\n', spine.markdown_table(ARRAY['rule', 'kind', 'severity', 'items', 'what to do', 'asks'],
				(SELECT array_agg(spine.markdown_row(spine.markdown_code(r ->> 'id'), r ->> 'kind', r ->> 'severity',
							(SELECT string_agg(spine.markdown_code(k), ', ' ORDER BY n)
							   FROM jsonb_array_elements_text(r -> 'items') WITH ORDINALITY AS x (k, n)),
							spine.markdown_text(r ->> 'message'), spine.markdown_code(r ->> 'asks')) ORDER BY (r ->> 'position')::integer)
				   FROM jsonb_array_elements(data_group -> 'rules') AS r))) END,
		CASE WHEN (data_group ->> 'record_made')::boolean
			THEN 'A record (made from the formats alone; it may break a rule):' ELSE 'A record:' END,
		E'\n\n```json\n', spine.record_text(data_group, data_group -> 'record', '', E'\n '), E'\n```\n\n')
	  FROM (SELECT) AS one
		   LEFT JOIN LATERAL (
			SELECT g AS body, (g ->> 'subject' = 'baby') IS DISTINCT FROM (data_group ->> 'subject' = 'baby') AS mothers
			  FROM jsonb_array_elements(specification -> 'groups') AS g WHERE g -> 'name' = data_group -> 'parent' -> 'group') AS p ON true
		   CROSS JOIN LATERAL (
			SELECT data_group ->> 'subject' <> 'none' AS person,
				   concat_ws(' or ', '`local_patient_id`', CASE WHEN data_group ? 'episode' THEN '`local_episode_id`' END,
							 CASE WHEN NOT p.mothers THEN spine.markdown_code(data_group -> 'parent' ->> 'item') END) AS others,
				   (SELECT i ->> 'status' = 'M' FROM jsonb_array_elements(data_group -> 'items') AS i
					 WHERE i -> 'name' = data_group -> 'local_patient_id') AS patient_mandatory,
				   (SELECT i ->> 'status' = 'M' FROM jsonb_array_elements(data_group -> 'items') AS i
					 WHERE i -> 'name' = data_group -> 'local_episode_id') AS episode_mandatory) AS s
	$fn$;
COMMENT ON FUNCTION spine.group_markdown(jsonb, jsonb) IS 'The chapter of a data group of a specification.';

CREATE FUNCTION spine.doors_markdown(specification jsonb) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	dataset text := specification ->> 'dataset';
	version text := specification ->> 'version';
	-- two groups that show the view door: the first ones about persons
	shown jsonb[] := ARRAY(SELECT g FROM jsonb_array_elements(specification -> 'groups') AS g
							ORDER BY g ->> 'subject' = 'none', (g ->> 'position')::integer LIMIT 2);
	first record;
	second record;
	emptied text;
	records text;
	lines text;
	tag text := '$document$';
BEGIN
	SELECT * INTO first FROM spine.example_columns(shown[1]);
	SELECT * INTO second FROM spine.example_columns(coalesce(shown[2], shown[1]));
	-- an item that nothing depends on
	SELECT quote_ident(i ->> 'name') INTO emptied
	  FROM jsonb_array_elements(shown[1] -> 'items') AS i
	 WHERE i ->> 'status' <> 'M' AND shown[1] -> 'record' -> 'data' ? (i ->> 'name')
	   AND NOT shown[1] -> 'key' ? (i ->> 'name')
	   AND i ->> 'name' <> ALL (array_remove(ARRAY[shown[1] ->> 'nhs_number', shown[1] ->> 'local_patient_id',
												   shown[1] ->> 'local_episode_id', shown[1] -> 'parent' ->> 'item'], NULL))
	   AND NOT EXISTS (SELECT FROM jsonb_array_elements(specification -> 'groups') AS g, jsonb_array_elements(g -> 'rules') AS r
						WHERE r ->> 'asks' ~ concat('\m', i ->> 'name', '\M'))
	 ORDER BY (i ->> 'position')::integer LIMIT 1;
	SELECT string_agg(spine.record_text(g, g -> 'record', '', ''), E',\n' ORDER BY (g ->> 'position')::integer),
		   string_agg(spine.record_text(g, g -> 'record', format('"dataset": %s, "version": %s, ', to_jsonb(dataset), to_jsonb(version)), ''), E'\n'
					  ORDER BY (g ->> 'position')::integer)
	  INTO records, lines
	  FROM jsonb_array_elements(specification -> 'groups') AS g;
	WHILE position(tag IN records) > 0 LOOP
		tag := replace(tag, 't$', 'tt$');
	END LOOP;

	RETURN concat(
E'## The doors\n\n',
E'Three doors, one intake: the same checks, the same findings. Choose by how you work.\n\n',
spine.markdown_table(ARRAY['door', 'form', 'a bad record'], ARRAY[
	spine.markdown_row('typed views', 'INSERT, UPDATE, DELETE, COPY with columns', 'fails the statement: nothing of it is kept'),
	spine.markdown_row('`spine.submit(document)`', 'one JSON document', 'is rejected alone; the answer tells each record''s outcome'),
	spine.markdown_row('`spine.inbox`', 'COPY, one JSON record a line', 'is rejected alone; `spine.inbox_result` tells each line''s outcome')]),
E'The examples are `psql` scripts and run as they stand, once for each system. From a program, give values and documents as parameters: then no log holds them.\n\n',

E'### Typed views\n\n',
format(E'Schema `%s` has a view for each group, with a column for each item, under our name, and `local_record_id`, `nhs_number`, `local_patient_id`, `local_episode_id`. '
	'The last three can only be written: they read as NULL. All other columns of a view are set by spine. A system that may read sees its organisation''s records there, of all its systems. Strict: a statement succeeds or fails whole, with SP001 and all findings of the first bad row; '
	'warnings are in `spine.findings`. A date and time without an offset is taken in the session''s `TimeZone`: set it to `Europe/London`.\n\n', specification ->> 'view_schema'),
format(E'```sql\nINSERT INTO %s (%s)\n\tVALUES (%s);\n```\n\n', shown[1] ->> 'view', first.names, first.literals),
CASE WHEN cardinality(shown) > 1 THEN
	format(E'Many rows by COPY, here as CSV, in which an empty field is no value:\n\n```sql\nCOPY %s (%s) FROM STDIN (FORMAT csv);\n%s\n\\.\n```\n\n',
		   shown[2] ->> 'view', second.names, second.fields) END,

E'### spine.submit(document)\n\n',
E'Tolerant: each record gets its own outcome with all its findings, and what is good is kept. The answer has a row for each record, in the order of the document: '
'`n` (from 1), `outcome`, `record_id`, `findings` (`[{"rule", "severity", "item", "message"}]`). A call is part of your transaction: commit it. '
'A thousand records a call is a good size. `document` is `text` or `json`; send text: then a broken document is quoted nowhere.\n\n',
E'The document: `dataset`, `version`, `records`; and `system`, if you want it checked that the connection is that of your system. '
'A record: `group`; the identifiers `nhs_number`, `local_patient_id`, `local_episode_id`, `local_record_id`; and `data`, an object of items, by our names or the NHS''s.\n\n',
format(E'This one has a record of each group:\n\n```sql\nSELECT n, outcome, findings FROM spine.submit(%s\n{"dataset": %s, "version": %s, "records": [\n%s\n]}\n%s);\n```\n\n',
	   tag, to_jsonb(dataset), to_jsonb(version), records, tag),

E'### spine.inbox\n\n',
E'Tolerant and bulk: `COPY spine.inbox (document) FROM STDIN`, one JSON object a line, each with `dataset`, `version` and what a record of `spine.submit` has. One COPY is one submission. '
'Use exactly the format of the example: COPY''s own text format takes the backslashes of JSON away (`\\"` arrives as `"`), and csv with a quote and a delimiter that no JSON text can hold, '
'the control characters 1 and 2, takes each line as it is.\n\n',
format(E'```sql\nCOPY spine.inbox (document) FROM STDIN (FORMAT csv, QUOTE e''\\x01'', DELIMITER e''\\x02'');\n%s\n\\.\n```\n\n', lines),
E'What became of each line of your last submission by that door:\n\n',
E'```sql\nSELECT r.line, r.outcome, r.data_group, r.record_id, r.findings\n  FROM spine.inbox_result AS r\n'
' WHERE r.submission_id = (SELECT s.submission_id FROM spine.submissions AS s WHERE s.door = ''inbox'' ORDER BY s.at DESC LIMIT 1)\n ORDER BY r.line;\n```\n\n',

E'### The sandbox\n\n',
E'`spine.validate(document)` takes the document of `spine.submit`, answers as it does, and stores nothing: no record, no rejection. '
'Use it while you build, on any node, with invented persons. Numbers of the range 999 belong to nobody.\n\n',
format(E'```sql\nSELECT n, outcome, findings FROM spine.validate(%s\n{"dataset": %s, "version": %s, "records": [\n%s\n]}\n%s);\n```\n\n',
	   tag, to_jsonb(dataset), to_jsonb(version), records, tag),

E'### Corrections and deletions\n\n',
E'Send the record again with the same `local_record_id` (or the same key, where you leave it out), by any door: it is replaced whole, items that you leave out become empty, and its revision grows. '
'The same content again is `unchanged`, so a retry does no harm. Through a view, UPDATE changes single items, and DELETE takes a record away; both only of your own system''s records, and only for a system that may read. The tolerant doors do not delete. '
'The row as it was is kept in `spine.corrections`. A record that was filed under the wrong person moves when it is sent again with the right one.\n\n',
CASE WHEN emptied IS NOT NULL THEN
	format(E'```sql\nUPDATE %s SET %s = NULL\n WHERE %s\n   AND source_system = (SELECT system FROM spine.whoami() WHERE system IS NOT NULL);\n```\n\n', shown[1] ->> 'view', emptied, first.keys) END,
format(E'```sql\nDELETE FROM %s\n WHERE %s\n   AND source_system = (SELECT system FROM spine.whoami() WHERE system IS NOT NULL);\n```\n\n',
	   coalesce(shown[2], shown[1]) ->> 'view', second.keys));
END
$fn$;
COMMENT ON FUNCTION spine.doors_markdown(jsonb) IS
	'The chapter of the doors of a specification, with examples that psql runs as they stand.';

CREATE FUNCTION spine.specification_markdown(name text, version text) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	s jsonb := spine.specification(name, version);
BEGIN
	RETURN concat(
'# ', spine.markdown_text(s ->> 'title'), ' ', s ->> 'version', E': the supplier''s specification\n\n',
spine.markdown_text(s ->> 'description'), E'\n\n',
'Source: ', spine.markdown_text(s ->> 'source'), E'\n\n',
'Mandation: ', spine.markdown_text(s ->> 'mandation'), E'\n\n',
format(E'Data set `%s`, version `%s`. %s', s ->> 'dataset', s ->> 'version',
	   CASE WHEN (s ->> 'published')::boolean THEN E'It is published on the node that made this document.\n\n'
			ELSE E'It is not yet published on the node that made this document.\n\n' END),

E'## Connecting\n\n',
E'A PostgreSQL client library is all you need. The Trust''s DBA gives you host, port, database and a role; connect with `sslmode=verify-full`. Use the client encoding UTF8. One role is one system at one organisation: '
'it writes for that organisation under that name and for no other. What the node takes you for:\n\n',
E'```sql\nSELECT role_name, organisation, system, kind FROM spine.whoami();\n```\n\n',
E'The kind of your system gives its rights:\n\n',
spine.markdown_table(ARRAY['kind', 'writes groups about', 'reads its organisation''s records'],
	(SELECT array_agg(spine.markdown_row(spine.markdown_code(k ->> 'kind'),
			CASE jsonb_array_length(k -> 'writes') WHEN 0 THEN 'nothing' WHEN 4 THEN 'everybody'
				ELSE (SELECT string_agg(replace(w, 'none', 'no person'), ', ' ORDER BY n) FROM jsonb_array_elements_text(k -> 'writes') WITH ORDINALITY AS x (w, n)) END,
			CASE WHEN (k ->> 'reads')::boolean THEN 'yes' ELSE 'no' END) ORDER BY x.n)
	   FROM jsonb_array_elements(s -> 'client_kinds') WITH ORDINALITY AS x (k, n))),

spine.doors_markdown(s),

E'## Identifiers\n\n',
spine.markdown_table(ARRAY['identifier', 'is', 'where it may stand'], ARRAY[
	spine.markdown_row('`nhs_number`', 'the person', 'beside `data`, or in the item that holds it'),
	spine.markdown_row('`local_patient_id`', 'your number of the person, 1 to 100 characters', 'beside `data`, or in the item that holds it'),
	spine.markdown_row('`local_episode_id`', 'your number of the pregnancy, birth or other episode, 1 to 100 characters', 'beside `data`, or in the item that holds it'),
	spine.markdown_row('`local_record_id`', 'your number of the record within its group, 1 to 100 characters', 'beside `data`; by default the values of the group''s key, joined with a vertical bar')]),
E'Each group says which of its items hold them. In a view they are columns.\n\n',
E'- Who: send `nhs_number` once together with your own number of the person, in one record; from then on your number is enough. Then your number of an episode, or a parent, is enough too, once a record with it has told whose it is. '
'A person without an NHS number is known by your number alone; send the NHS number when it comes.\n',
E'- A number of yours belongs to one person, and a number of an episode to one person, for ever.\n',
E'- A mother and her baby are two persons with a number each. A baby is joined to its mother by its parent, the record of the labour.\n',
E'- Where an identifier stands beside `data` and in its item, both must be the same (`identity.conflict`).\n',
E'- `local_record_id` identifies the record for ever: what comes later under it, from your system and in the same group, is its correction. Where other groups name this one as parent, it is the key item itself.\n\n',
CASE WHEN s -> 'episodes' <> '[]' THEN concat(E'Episodes: records of one person meet in one by `local_episode_id`; without it by their dates.\n\n',
	spine.markdown_table(ARRAY['kind', 'title', 'one episode, when dates are within', 'without a date, an episode not older than'],
		(SELECT array_agg(spine.markdown_row(spine.markdown_code(e ->> 'kind'), spine.markdown_text(e ->> 'title'),
				concat(e ->> 'window_days', ' days'), (e ->> 'open_days') || ' days') ORDER BY x.n)
		   FROM jsonb_array_elements(s -> 'episodes') WITH ORDINALITY AS x (e, n)))) END,

E'## Values\n\n',
E'Blanks around a value are dropped. An item that is left out, that is `null`, or that is empty after that, has no value. What that means is the item''s status:\n\n',
spine.markdown_table(ARRAY['status', 'name', 'without a value'],
	(SELECT array_agg(spine.markdown_row(v ->> 'status', v ->> 'name', v ->> 'meaning') ORDER BY x.n)
	   FROM jsonb_array_elements(s -> 'statuses') WITH ORDINALITY AS x (v, n))),
E'How the formats of the tables below are written:\n\n',
spine.markdown_table(ARRAY['format', 'in JSON', 'in a view', 'example', 'rules'], ARRAY[
	spine.markdown_row('text', 'string', 'text', '`"A1"`', 'length in characters after blanks around it are dropped'),
	spine.markdown_row('code', 'string', 'text', '`"01"`', 'one of the codes of the list, exactly, with its leading zeros'),
	spine.markdown_row('whole number', 'number', 'integer', '`3`', '-2147483648 to 2147483647 where no range is named; in quotation marks it is taken, with a warning'),
	spine.markdown_row('number', 'number', 'numeric', '`3.25`', 'decimal, without exponent, at most 60 characters'),
	spine.markdown_row('date', 'string', 'date', '`"2026-01-05"`', 'CCYY-MM-DD, a day of the calendar'),
	spine.markdown_row('time', 'string', 'time', '`"10:30:00"`', 'HH:MM or HH:MM:SS, 00:00:00 to 23:59:59, local time of the United Kingdom'),
	spine.markdown_row('date and time', 'string', 'timestamp with time zone', '`"2026-01-05T10:30:00"`', 'local time of the United Kingdom, or with an offset: Z or +01:00 at the end'),
	spine.markdown_row('true or false', '`true`, `false`', 'boolean', '`true`', ''),
	spine.markdown_row('NHS number', 'string', 'spine.nhs_number', '`"9990000018"`', 'ten digits, the last one the modulus 11 check digit (weights 10 to 2; 11 less the remainder, 11 counts as 0, 10 is no number); may be grouped 3-3-4 by blanks or hyphens'),
	spine.markdown_row('SNOMED CT code', 'string', 'spine.snomed_code', '`"364589006"`', '6 to 18 digits with the Verhoeff check digit; JSON numbers lose digits'),
	spine.markdown_row('ODS code', 'string', 'spine.ods_code', '`"RYJ"`', 'letters and digits; small letters become capitals'),
	spine.markdown_row('gestation', 'number or string', 'spine.gestation', '`280` or `"40+0"`', 'completed days, or weeks+days with 0 to 6 days')]),

E'## Order of sending\n\n',
E'Groups stand here in the order in which they are sent',
CASE WHEN s ->> 'header' IS NOT NULL THEN format(': the header, `%s`, first; ', s ->> 'header') ELSE ': ' END,
E'a parent before what names it. Within a document or a COPY into the inbox, records of other groups may stand in any order: they are stored in this one. Statements at views are in your hands: keep to it.\n\n',
spine.markdown_table(ARRAY['', 'group', 'title', 'is about', 'after'],
	(SELECT array_agg(spine.markdown_row(g ->> 'position', format('[%s](#%s)', g ->> 'name', g ->> 'name'), spine.markdown_text(g ->> 'title'),
			replace(g ->> 'subject', 'none', 'no person'), spine.markdown_code(g -> 'parent' ->> 'group')) ORDER BY (g ->> 'position')::integer)
	   FROM jsonb_array_elements(s -> 'groups') AS g)),

E'## Outcomes and findings\n\n',
spine.markdown_table(ARRAY['outcome', 'means'],
	(SELECT array_agg(spine.markdown_row(spine.markdown_code(v ->> 'outcome'), v ->> 'meaning') ORDER BY x.n)
	   FROM jsonb_array_elements(s -> 'outcomes') WITH ORDINALITY AS x (v, n))),
E'A finding names the rule, its severity, the item and what to do. All findings of a record are told at once.\n\n',
spine.markdown_table(ARRAY['severity', 'means'],
	(SELECT array_agg(spine.markdown_row(v ->> 'severity', v ->> 'meaning') ORDER BY x.n)
	   FROM jsonb_array_elements(s -> 'severities') WITH ORDINALITY AS x (v, n))),
E'Besides the rules of each group, every group has these:\n\n',
spine.markdown_table(ARRAY['rule', 'severity', 'means', 'what to do'],
	(SELECT array_agg(spine.markdown_row(spine.markdown_code(v ->> 'rule'), v ->> 'severity', spine.markdown_text(v ->> 'meaning'), spine.markdown_text(v ->> 'remedy')) ORDER BY x.n)
	   FROM jsonb_array_elements(s -> 'finding_rules') WITH ORDINALITY AS x (v, n))),
E'A rule that is neither true nor false, because an item that it compares has no value, passes. The kinds of rule, in the column "asks" of each group:\n\n',
spine.markdown_table(ARRAY['kind', 'asks'], ARRAY[
	spine.markdown_row('expression', 'a condition on the record''s items, as SQL; `header.x` is an item of the submission''s header. Not true: broken; unknown passes'),
	spine.markdown_row('related', 'a condition on the record and on every record of another group with the same values; `other.x` is an item of that record'),
	spine.markdown_row('exists', 'that there is a record of another group with the same values'),
	spine.markdown_row('unique', 'that no other record of the group has the same values'),
	spine.markdown_row('organisation', 'that an item is the code of an organisation that is open'),
	spine.markdown_row('own_code', 'that an item is the code of the organisation that submits: yours, see spine.whoami()'),
	spine.markdown_row('count', 'how many records of the group a document has; views do not ask it'),
	spine.markdown_row('failures', 'how many records of the group in a document may be rejected; views do not ask it')]),
E'Other records are those that the same system of the same organisation has sent before, or earlier in the same submission.\n\n',

E'## Groups\n\n',
(SELECT string_agg(spine.group_markdown(g, s), '' ORDER BY (g ->> 'position')::integer) FROM jsonb_array_elements(s -> 'groups') AS g),

CASE WHEN s -> 'code_lists' <> '[]' THEN concat(E'## Code lists\n\n',
	(SELECT string_agg(concat('### List ', l ->> 'list', E'\n\n', spine.markdown_text(l ->> 'title'),
			'. A code outside the list ', CASE l ->> 'severity' WHEN 'record' THEN 'rejects the record.' ELSE 'is a warning.' END,
			' Source: ' || spine.markdown_text(l ->> 'source'), E'\n\n',
			spine.markdown_table(ARRAY['code', 'meaning'],
				(SELECT array_agg(spine.markdown_row(spine.markdown_text(c ->> 'code'), spine.markdown_text(c ->> 'meaning')) ORDER BY y.n)
				   FROM jsonb_array_elements(l -> 'codes') WITH ORDINALITY AS y (c, n)))), '' ORDER BY x.n)
	   FROM jsonb_array_elements(s -> 'code_lists') WITH ORDINALITY AS x (l, n))) END,

E'## Errors\n\n',
E'An error ends the statement, and nothing of it is kept. By SQLSTATE:\n\n',
spine.markdown_table(ARRAY['SQLSTATE', 'means', 'what to do'],
	(SELECT array_agg(spine.markdown_row(v ->> 'code', spine.markdown_text(v ->> 'meaning'), spine.markdown_text(v ->> 'remedy')) ORDER BY x.n)
	   FROM jsonb_array_elements(s -> 'errors') WITH ORDINALITY AS x (v, n))),

E'## Afterwards\n\n',
spine.markdown_table(ARRAY['look at', 'for'], ARRAY[
	spine.markdown_row('`spine.submissions`', 'each submission of your system: when, by which door, how many records had which outcome'),
	spine.markdown_row('`spine.inbox_result`', 'each line that came through the inbox, with its outcome and findings'),
	spine.markdown_row('`spine.findings`', 'warnings on the records as they are now'),
	spine.markdown_row('`spine.rejections`', 'records that were refused, as you sent them, with their findings, until they are settled'),
	spine.markdown_row('`spine.resubmit(ID, RECORD)`', 'has a rejected record judged again, as it is or, if it is given, mended: a record as of spine.submit. P0002: no open rejection of yours has this id'),
	spine.markdown_row('`spine.resubmit_all(IDS)`', 'has several judged again, as they are'),
	spine.markdown_row(format('`spine.revalidate(''%s'')`', s ->> 'dataset'), 'has all that is kept of your system judged again, after a rule or a code list was mended'),
	spine.markdown_row('`spine.discard_rejection(ID)`', 'settles a rejected record that is not to be run again'),
	spine.markdown_row('`spine.corrections`', 'records as they were before each correction and deletion'),
	spine.markdown_row(format('`spine.accepted_versions(''%s'')`', s ->> 'dataset'), 'which versions are accepted, and until when'),
	spine.markdown_row(format('`spine.dataset_changes(''%s'', FROM, TO)`', s ->> 'dataset'), 'what differs between two versions, change by change'),
	spine.markdown_row('`spine.data_groups`, `spine.data_items`, `spine.codes`, `spine.rules`', 'what this document says, as rows')]),
E'A COPY, into a view or into the inbox, ends with a notice that counts the outcomes. `LISTEN spine_submission` tells a program of each submission through the inbox and of each in which something was rejected; '
'the payload is the `submission_id`.\n\n',

E'## Versions\n\n',
E'A published version never changes. Versions are accepted side by side, and what you have built for one is not touched by a later one. A version that is retired is accepted until the day before.\n\n',
CASE WHEN s -> 'versions' = '[]' THEN E'No version of this data set is published on the node that made this document.\n\n' ELSE
	spine.markdown_table(ARRAY['version', 'title', 'accepted'],
		(SELECT array_agg(spine.markdown_row(v ->> 'version', spine.markdown_text(v ->> 'title'),
				coalesce('until it is retired on ' || (v ->> 'retired_on'), 'without an end')) ORDER BY x.n)
		   FROM jsonb_array_elements(s -> 'versions') WITH ORDINALITY AS x (v, n))) END,

CASE WHEN s -> 'changes' <> 'null' THEN concat(
	'What has changed since version ', s -> 'changes' ->> 'from',
	CASE WHEN s -> 'changes' -> 'changes' = '[]' THEN E': nothing that a supplier sends.\n\n'
		 ELSE concat(E':\n\n', spine.markdown_table(ARRAY['group', 'what', 'name', 'change'],
			(SELECT array_agg(spine.markdown_row(spine.markdown_code(c ->> 'data_group'), spine.markdown_text(c ->> 'kind'), spine.markdown_text(c ->> 'name'),
					spine.markdown_text(c ->> 'change')) ORDER BY x.n)
			   FROM jsonb_array_elements(s -> 'changes' -> 'changes') WITH ORDINALITY AS x (c, n)))) END) END,

E'## Limits\n\n',
format(E'- An identifier of yours has at most %s characters; a key that is made of several items, %s.\n', s -> 'limits' ->> 'identifier_characters', s -> 'limits' ->> 'key_characters'),
format(E'- A document is an object with a list of records, a record an object, its `data` an object of plain values. What is nested deeper is `item.malformed` or `record.malformed`; '
	'beyond %s levels a record is rejected, and a document that is so around its records is refused.\n', s -> 'limits' ->> 'levels'),
E'- A record that is not valid JSON costs itself alone (`record.malformed`); a document that is not valid around its records is refused whole (SP002).\n',
format(E'- Of one record %s findings are told.\n', s -> 'limits' ->> 'findings'),
E'- A document, and a line of the inbox, is smaller than 1 gigabyte. A thousand records a call is enough for speed. A COPY may have any number of lines; it is one transaction.\n',
E'- Text is UTF-8, without the character 0.\n');
END
$fn$;
COMMENT ON FUNCTION spine.specification_markdown(text, text) IS
	'The supplier''s specification of a version of a data set as a Markdown document: all that a supplier''s engineer needs, with examples of each door that run as they stand. SP003 where there is no such version.';

DO $grants$
DECLARE
	the_function regprocedure;
BEGIN
	FOREACH the_function IN ARRAY ARRAY[
		'spine.finding_rules()', 'spine.error_codes()', 'spine.item_format(jsonb)', 'spine.rule_question(jsonb)',
		'spine.made_value(jsonb, jsonb, integer)', 'spine.example_records(jsonb, text)', 'spine.definition_of(text, text)',
		'spine.markdown_text(text)', 'spine.markdown_code(text)', 'spine.markdown_table(text[], text[])',
		'spine.markdown_row(text[])', 'spine.record_text(jsonb, jsonb, text, text)', 'spine.example_columns(jsonb)',
		'spine.group_markdown(jsonb, jsonb)', 'spine.doors_markdown(jsonb)',
		'spine.specification(text, text)', 'spine.specification_markdown(text, text)']::pg_catalog.regprocedure[]
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', the_function);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', the_function);
	END LOOP;
END
$grants$;
GRANT EXECUTE ON FUNCTION spine.specification(text, text), spine.specification_markdown(text, text)
	TO spine_supplier, spine_operator, spine_member;
