-- What an information-governance officer reads: agreements in words, what is in force, why a role sees a record
-- or does not, what an agreement would change.

--
-- Agreements in words
--

CREATE FUNCTION spine.word_list(words text[], conjunction text DEFAULT 'and') RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE WHEN cardinality(words) > 1
				THEN array_to_string(words[:cardinality(words) - 1], ', ') || ' ' || conjunction || ' ' || words[cardinality(words)]
				ELSE words[1] END
	$fn$;
COMMENT ON FUNCTION spine.word_list(text[], text) IS 'Words as a sentence lists them: a, b and c. NULL for none.';

CREATE FUNCTION spine.scope_shows(scope text[], class text, column_name text, about text) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT coalesce(bool_or(CASE WHEN about = 'mother' THEN s = 'm+' || column_name OR s LIKE 'm:%' AND strpos(substr(s, 3), left(class, 1)) > 0
								 ELSE s = '+' || column_name OR s ~ '^[acir]+$' AND strpos(s, left(class, 1)) > 0 END), false)
	  FROM unnest(scope) s
	$fn$;
COMMENT ON FUNCTION spine.scope_shows(text[], text, text, text) IS
	'Whether a scope (spine.clause_scope) shows an item of this class and column. about: whom beside the record''s own person it is about, or NULL.';

CREATE FUNCTION spine.relationship_text(kind text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT CASE kind WHEN 'episode' THEN 'has an episode of care for the person'
					 WHEN 'referral' THEN 'has had the person referred to it'
					 WHEN 'transfer' THEN 'has had the person transferred to it'
					 WHEN 'claim' THEN 'has claimed the person, with a reason'
					 WHEN 'emergency' THEN 'has broken the glass in an emergency, with a reason'
					 ELSE kind END
	$fn$;
COMMENT ON FUNCTION spine.relationship_text(text) IS 'A kind of relationship in words, of an organisation.';

CREATE FUNCTION spine.item_text(the_dataset text, name text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT coalesce((SELECT spine.markdown_text(i.title) || ' ('
					   FROM spine.data_items i
					  WHERE i.dataset = the_dataset AND i.data_group = split_part(name, '.', 1)
						AND split_part(name, '.', 2) IN (i.item, i.column_name)
					  ORDER BY string_to_array(i.version, '.')::integer[] DESC LIMIT 1) || spine.markdown_code(name) || ')',
					spine.markdown_code(name))
	$fn$;
COMMENT ON FUNCTION spine.item_text(text, text) IS 'An item, named as GROUP.ITEM, by its title, where the data set is published here.';

CREATE FUNCTION spine.scope_text(clause jsonb) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	every_class CONSTANT text[] := '{administrative,clinical,identity,restricted}';
	classes text[] := ARRAY(SELECT c FROM jsonb_array_elements_text(
								spine.clause_classes(clause)) c
							 ORDER BY array_position(every_class, c));
	others text[] := ARRAY(SELECT c FROM unnest(every_class) c WHERE c <> ALL (classes));
	included text[] := ARRAY(SELECT spine.item_text(clause ->> 'dataset', i)
							   FROM jsonb_array_elements_text(clause -> 'items' -> 'include') WITH ORDINALITY AS x (i, n) ORDER BY n);
	excluded text[] := ARRAY(SELECT spine.item_text(clause ->> 'dataset', i)
							   FROM jsonb_array_elements_text(clause -> 'items' -> 'exclude') WITH ORDINALITY AS x (i, n) ORDER BY n);
BEGIN
	RETURN concat_ws(' ',
		CASE WHEN classes = every_class THEN 'Items of every class are shown, restricted ones too.'
			 WHEN classes = '{}' THEN 'Single items alone are shown.'
			 ELSE 'Items of the class' || CASE WHEN cardinality(classes) > 1 THEN 'es ' ELSE ' ' END || spine.word_list(classes) || ' are shown.' END,
		CASE WHEN classes NOT IN (every_class, '{}')
			 THEN upper(left(others[1], 1)) || substr(spine.word_list(others), 2) || ' items are left out.' END,
		CASE WHEN included <> '{}' THEN CASE classes WHEN '{}' THEN 'They are: ' ELSE 'Shown all the same: ' END
				|| array_to_string(included, ', ') || '.' END,
		CASE WHEN excluded <> '{}' THEN 'Left out all the same: ' || array_to_string(excluded, ', ') || '.' END);
END
$fn$;
COMMENT ON FUNCTION spine.scope_text(jsonb) IS 'What of its records a clause shows and what it leaves out, in words.';

CREATE FUNCTION spine.clause_text(clause jsonb, n integer, parties text[]) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	is_care boolean := clause ->> 'purpose' = 'care';
	givers text[] := ARRAY(SELECT jsonb_array_elements_text(clause -> 'from'));
	takers text[] := ARRAY(SELECT jsonb_array_elements_text(clause -> 'to'));
	mutual boolean := givers @> takers AND takers @> givers;
	who_gives text := CASE WHEN givers @> parties THEN 'every party' ELSE spine.word_list(givers) END;
	who_takes text := CASE WHEN takers @> parties THEN 'every party' ELSE spine.word_list(takers) END;
	in_dataset text := coalesce((SELECT spine.markdown_text(d.title) || ' (' || spine.markdown_code(d.dataset) || ')'
								   FROM spine.datasets d WHERE d.dataset = clause ->> 'dataset' AND d.newest),
								spine.markdown_code(clause ->> 'dataset'));
	groups text[];
	days integer := extract(day FROM spine.clause_retention(clause));
	about_mother boolean := EXISTS (
		SELECT FROM spine.newest_groups() g
		 WHERE g.dataset = clause ->> 'dataset' AND (clause -> 'groups' = '"all"' OR clause -> 'groups' ? g.data_group)
		   AND g.items @> '[{"about": "mother"}]');
BEGIN
	groups := ARRAY(
		SELECT coalesce((SELECT spine.markdown_text(k.title) FROM spine.data_groups k
						  WHERE k.dataset = clause ->> 'dataset' AND k.data_group = g.name
						  ORDER BY string_to_array(k.version, '.')::integer[] DESC LIMIT 1), spine.markdown_code(g.name))
		  FROM jsonb_array_elements_text(CASE jsonb_typeof(clause -> 'groups') WHEN 'array' THEN clause -> 'groups' ELSE '[]' END)
			   WITH ORDINALITY AS g (name, n)
		 ORDER BY g.n);
	RETURN array_to_string(array_remove(ARRAY[
		format(E'## Clause %s: %s\n', n, clause ->> 'purpose'),
		'> ' || spine.markdown_text(nullif(btrim(clause ->> 'note', E' \t\r\n'), '')) || E'\n',
		'- **Who sees what of whom.** '
			|| CASE WHEN is_care AND mutual AND takers @> parties THEN 'Clinicians of each party see the records of the other parties.'
					WHEN is_care AND mutual THEN format('Clinicians of %s see each other''s records.', who_takes)
					WHEN is_care THEN format('Clinicians of %s see the records of %s.', who_takes, who_gives)
					ELSE format('Records of %s go to %s.', who_gives, who_takes) END,
		'- **For what.** '
			|| CASE clause ->> 'purpose'
					WHEN 'care' THEN 'The care of the person whom the record is about, and nothing else.'
					WHEN 'reporting' THEN 'Reporting: figures of many persons. Nobody opens one person''s record for it.'
					ELSE 'Commissioning: planning and paying for care. Nobody opens one person''s record for it.' END,
		'- **Which records.** '
			|| CASE WHEN groups = '{}' THEN 'All data groups of ' || in_dataset || ', those of later versions too.'
					ELSE 'Of ' || in_dataset || ' the data group' || CASE WHEN cardinality(groups) > 1 THEN 's ' ELSE ' ' END
						 || spine.word_list(groups) || '.' END,
		'- **On which basis.** '
			|| CASE WHEN NOT is_care THEN 'No relationship to the person is needed. Whoever has objected to it is left out.'
					WHEN spine.clause_relationships(clause) = '{}' THEN 'No relationship is accepted but an emergency.'
					ELSE format('The clinician''s organisation %s. The clinician opens the record with a reason, which is written down. A person who has objected to it is not shown.',
								spine.word_list(ARRAY(SELECT spine.relationship_text(k)
														FROM unnest(spine.clause_relationships(clause)) k
													   ORDER BY array_position('{episode,referral,transfer,claim}', k)), 'or')) END,
		'- **What is left out.** ' || spine.scope_text(clause)
			|| CASE WHEN about_mother THEN ' What a baby''s record says about the mother is shown where all this holds for her too.' ELSE '' END,
		CASE WHEN is_care AND spine.clause_relationships(clause) <> '{}'
			 THEN '- **Until when.** The records are seen as long as the relationship lasts'
				  || CASE days WHEN 0 THEN '.'
							   ELSE format(', and for %s day%s after it has ended.', days, CASE days WHEN 1 THEN '' ELSE 's' END) END END,
		CASE WHEN is_care
			 THEN '- **In an emergency.** '
				  || CASE WHEN NOT spine.clause_emergency(clause) THEN 'Breaking the glass shows nothing under this clause.'
						  ELSE 'A clinician may break the glass with a reason, for a limited time, even where the person has objected; each use is reviewed. '
							   || CASE WHEN spine.clause_in_emergency(clause) = clause THEN 'The same items are shown.'
									   ELSE spine.scope_text(spine.clause_in_emergency(clause)) END END END,
		'- **Identity.** ' || CASE WHEN spine.clause_identified(clause) THEN 'Persons are identified.'
								   ELSE 'Persons are pseudonymised: a number that means nothing elsewhere stands for each of them, and for the numbers of their records.' END,
		CASE WHEN NOT is_care
			 THEN '- **Dates.** '
				  || CASE spine.clause_dates(clause)
						  WHEN 'exact' THEN 'Dates and times are given as they are.'
						  WHEN 'minutes_from_birth' THEN 'Dates and times are given as the distance to the birth, in a mother''s records to the expected date of delivery; where that is not known, the month alone.'
						  ELSE 'Of dates the month alone is given, of times nothing.' END END
	], NULL), E'\n') || E'\n';
END
$fn$;
COMMENT ON FUNCTION spine.clause_text(jsonb, integer, text[]) IS 'A clause of a sound agreement as Markdown, in sentences.';

CREATE FUNCTION spine.agreement_text(name text, version integer, digest bytea DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET timezone = 'Europe/London'
	AS $fn$
DECLARE
	day CONSTANT text := 'FMDD FMMonth YYYY';
	mine text[] := spine.caller_organisations();
	the_one record;
	how_many bigint;
	review date;
	signatures text[];
	clauses text[];
BEGIN
	-- which is meant where there are several: as spine.agreement_one() has it
	SELECT count(*) OVER () AS how_many, c.* INTO the_one
	  FROM (SELECT a.*, a.signed_by && mine AS is_mine, bool_or(a.signed_by && mine) OVER () AS one_is_mine
			  FROM spine.agreement_states() a
			 WHERE a.name = agreement_text.name AND a.version = agreement_text.version
			   AND (agreement_text.digest IS NULL OR a.digest = agreement_text.digest)
			   AND spine.caller_may_see(a.parties)) c
	 WHERE agreement_text.digest IS NOT NULL OR c.is_mine OR NOT c.one_is_mine;
	how_many := the_one.how_many;
	IF how_many IS NULL THEN
		RAISE EXCEPTION 'there is no such agreement "%" version %', agreement_text.name, agreement_text.version
			USING ERRCODE = 'SP005', DETAIL = 'It is read by those who act for one of its parties.';
	ELSIF how_many > 1 THEN
		RAISE EXCEPTION 'agreement "%" version % has been proposed with different documents', agreement_text.name, agreement_text.version
			USING ERRCODE = 'SP005', HINT = 'Say by its digest which one is meant.';
	END IF;

	review := spine.plain_date(the_one.document ->> 'review');
	SELECT array_agg('- ' || CASE WHEN e.at IS NULL THEN format('Not yet signed for %s.', p.code)
								  ELSE format('Signed for %s on %s by %s.', p.code, to_char(e.at, day), spine.markdown_code(e.by_role)) END
					 ORDER BY p.n) INTO signatures
	  FROM unnest(the_one.parties) WITH ORDINALITY AS p (code, n)
	  LEFT JOIN spine.agreement_event e ON e.name = the_one.name AND e.version = the_one.version AND e.digest = the_one.digest
									   AND e.kind = 'signed' AND e.owner = p.code;
	SELECT array_agg(spine.clause_text(c.clause, c.n::integer, the_one.parties) ORDER BY c.n) INTO clauses
	  FROM jsonb_array_elements(the_one.document -> 'clauses') WITH ORDINALITY AS c (clause, n);
	RETURN array_to_string(array_remove(ARRAY[
		'# ' || spine.markdown_text(the_one.title) || E'\n',
		format(E'This is the agreement %s, version %s.\n', spine.markdown_code(the_one.name), the_one.version),
		'> ' || spine.markdown_text(nullif(btrim(the_one.document ->> 'description', E' \t\r\n'), '')) || E'\n',
		E'## Parties\n',
		(SELECT string_agg('- ' || p.code || coalesce(': ' || spine.markdown_text(o.name), ''), E'\n' ORDER BY p.n)
		   FROM unnest(the_one.parties) WITH ORDINALITY AS p (code, n)
		   LEFT JOIN spine.organisation o ON o.code = p.code) || E'\n',
		E'## State\n',
		concat_ws(' ',
			CASE the_one.state
				WHEN 'proposed' THEN 'It is proposed, not signed by all parties, and shares nothing.'
				WHEN 'signed' THEN 'It is signed by all parties. It shares nothing until one of them publishes it.'
				WHEN 'superseded' THEN 'It shares nothing any more: a later version has replaced it.'
				WHEN 'expired' THEN 'It shares nothing any more: its end date is past.'
				WHEN 'ended' THEN format('It shares nothing any more: %s ended it on %s, for the reason "%s".', the_one.ended_by,
										 to_char(the_one.ended_at, day), spine.markdown_text(the_one.end_reason))
				ELSE format(CASE WHEN the_one.in_force THEN 'It is published and in force since %s.'
								 ELSE 'It is published and will be in force from %s on.' END,
							to_char(greatest(the_one.starts_at, the_one.published_at), day)) END,
			CASE WHEN the_one.state IN ('proposed', 'signed') THEN format('It is to begin on %s.', to_char(the_one.starts_at, day)) END,
			CASE WHEN the_one.document ->> 'end' IS NULL THEN 'It has no end date.'
				 ELSE format('Its last day is %s.', to_char(spine.plain_date(the_one.document ->> 'end'), day)) END,
			CASE WHEN the_one.state = 'published' AND the_one.ends_at < coalesce((the_one.document ->> 'end')::date + 1, 'infinity')
				 THEN format('A later version replaces it on %s.', to_char(the_one.ends_at, day)) END,
			CASE WHEN review IS NULL THEN 'No date is set for a review.'
				 WHEN the_one.state = 'published' AND review < now()::date THEN format('Its review was due on %s and is overdue.', to_char(review, day))
				 ELSE format('Its review is due on %s.', to_char(review, day)) END) || E'\n',
		array_to_string(clauses, E'\n'),
		E'## Signatures\n',
		array_to_string(signatures, E'\n') || E'\n',
		format(E'What is signed is the document with the digest %s.\n', spine.markdown_code(encode(the_one.digest, 'hex')))
	], NULL), E'\n');
END
$fn$;
COMMENT ON FUNCTION spine.agreement_text(text, integer, bytea) IS
	'An agreement in the form that people read (Markdown): parties, state, dates; for each clause who sees what of whom, for what, on which basis, what is left out and until when; signatures. digest: where several documents stand under one name and version. For those who act for one of its parties; SP005 for others, as where there is none.';

CREATE FUNCTION spine.my_clauses()
	RETURNS TABLE (agreement text, version integer, clause integer, from_organisations text[], to_organisations text[], purpose text,
				   dataset text, data_groups text[], basis text[], item_classes text[], items_included text[], items_excluded text[],
				   retention interval, emergency boolean, identified boolean, since timestamptz, until timestamptz,
				   review date, review_overdue boolean, note text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET timezone = 'Europe/London'
	AS $fn$
	SELECT a.name, a.version, c.n::integer,
		   ARRAY(SELECT jsonb_array_elements_text(c.clause -> 'from')), ARRAY(SELECT jsonb_array_elements_text(c.clause -> 'to')),
		   c.clause ->> 'purpose', c.clause ->> 'dataset',
		   CASE WHEN c.clause -> 'groups' = '"all"' THEN '{all}' ELSE ARRAY(SELECT jsonb_array_elements_text(c.clause -> 'groups')) END,
		   spine.clause_relationships(c.clause),
		   ARRAY(SELECT k FROM jsonb_array_elements_text(spine.clause_classes(c.clause)) k ORDER BY k),
		   ARRAY(SELECT i FROM jsonb_array_elements_text(c.clause -> 'items' -> 'include') i ORDER BY i),
		   ARRAY(SELECT i FROM jsonb_array_elements_text(c.clause -> 'items' -> 'exclude') i ORDER BY i),
		   spine.clause_retention(c.clause), spine.clause_emergency(c.clause), spine.clause_identified(c.clause),
		   greatest(a.starts_at, a.published_at), a.ends_at,
		   spine.plain_date(a.document ->> 'review'), coalesce(spine.plain_date(a.document ->> 'review') < now()::date, false),
		   c.clause ->> 'note'
	  FROM spine.agreement_states() a
	 CROSS JOIN LATERAL jsonb_array_elements(a.document -> 'clauses') WITH ORDINALITY AS c (clause, n)
	 WHERE a.in_force AND spine.caller_may_see(a.parties)
	 ORDER BY a.name, a.version, c.n
	$fn$;
COMMENT ON FUNCTION spine.my_clauses() IS
	'A row for each clause in force of the agreements of the caller''s organisations. Read it through spine.agreements_in_force.';

CREATE FUNCTION spine.disclosed_clause(clause text, part text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT (regexp_match(clause, '^(.+)/([0-9]+)/([0-9]+)$'))[CASE part WHEN 'agreement' THEN 1 WHEN 'version' THEN 2 WHEN 'clause' THEN 3 END]
	$fn$;
COMMENT ON FUNCTION spine.disclosed_clause(text, text) IS
	'Of a clause as the delivery ledger writes it, AGREEMENT/VERSION/CLAUSE, one part: agreement, version or clause.';

--
-- Why a role sees a record, or does not
--

CREATE FUNCTION spine.member_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $fn$
DECLARE
	was jsonb;
	is_now jsonb;
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		EXECUTE format('INSERT INTO spine.member_event (role_name, organisation, duty, action, by_role)
						SELECT t.role_name, t.organisation, %s, ''removed'', spine.caller_role() FROM spine.%I t',
					   CASE TG_TABLE_NAME WHEN 'member' THEN 't.duty' ELSE '''system '' || t.kind' END, TG_TABLE_NAME);
		RETURN NULL;
	END IF;
	IF TG_OP <> 'INSERT' THEN
		was := to_jsonb(OLD);
	END IF;
	IF TG_OP <> 'DELETE' THEN
		is_now := to_jsonb(NEW);
	END IF;
	INSERT INTO spine.member_event (role_name, organisation, duty, action, by_role)
	SELECT (r.body ->> 'role_name')::name, r.body ->> 'organisation', coalesce(r.body ->> 'duty', 'system ' || (r.body ->> 'kind')),
		   r.action, spine.caller_role()
	  FROM (VALUES (1, was, 'removed'), (2, is_now, 'added')) AS r (n, body, action)
	 WHERE r.body IS NOT NULL
	 ORDER BY r.n;
	RETURN NULL;
END
$fn$;
COMMENT ON FUNCTION spine.member_changed() IS
	'Trigger on spine.member and spine.system: writes to spine.member_event who began or ceased to act for whom.';

CREATE FUNCTION spine.acts_for(the_role name, at timestamptz) RETURNS TABLE (organisation text, duty text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT a.organisation, a.duty
	  FROM (SELECT m.organisation, m.duty FROM spine.member m
			 WHERE acts_for.at >= now() AND m.role_name = the_role
			UNION ALL
			SELECT s.organisation, 'system ' || s.kind FROM spine.system s
			 WHERE acts_for.at >= now() AND s.role_name = the_role
			UNION ALL
			SELECT e.organisation, e.duty
			  FROM (SELECT DISTINCT ON (m.organisation, m.duty) m.organisation, m.duty, m.action
					  FROM spine.member_event m
					 WHERE acts_for.at < now() AND m.role_name = the_role AND m.at <= acts_for.at
					 ORDER BY m.organisation, m.duty, m.at DESC, m.event_id DESC) e
			 WHERE e.action = 'added') a
	 WHERE a.organisation = ANY (spine.hosted_organisations())
	 ORDER BY a.organisation COLLATE "C", a.duty COLLATE "C"
	$fn$;
COMMENT ON FUNCTION spine.acts_for(name, timestamptz) IS
	'For which organisations hosted here a role acts, with which duty (of a system: system KIND), now or at an earlier time.';

CREATE FUNCTION spine.linked_patients_at(patients uuid[], at timestamptz) RETURNS uuid[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $fn$
	SELECT ARRAY(
		WITH RECURSIVE linked (id) AS (
			SELECT unnest(patients)
			UNION
			SELECT n.id
			  FROM linked
			 CROSS JOIN LATERAL (
				SELECT l.to_patient AS id, l.since, l.until FROM spine.identity_link l WHERE l.from_patient = linked.id
				UNION ALL
				SELECT l.from_patient, l.since, l.until FROM spine.identity_link l WHERE l.to_patient = linked.id) n
			 WHERE (linked_patients_at.at >= now() OR n.since <= linked_patients_at.at)
			   AND (n.until IS NULL OR n.until > linked_patients_at.at))
		SELECT id FROM linked WHERE id IS NOT NULL ORDER BY id)
	$fn$;
COMMENT ON FUNCTION spine.linked_patients_at(uuid[], timestamptz) IS
	'All ids of the persons with these ids, as spine.linked_patients() tells them, at another time.';

CREATE FUNCTION spine.rules_at(at timestamptz)
	RETURNS TABLE (agreement text, version integer, clause integer, from_organisation text, to_organisation text, purpose text,
				   dataset text, data_group text, relationships text[], retention interval, scope text[],
				   emergency boolean, emergency_scope text[], about_mother boolean)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
	SELECT a.name, a.version, r.clause, r.from_organisation, r.to_organisation, r.purpose, r.dataset, r.data_group,
		   r.relationships, r.retention, r.scope, r.emergency, r.emergency_scope, r.about_mother
	  FROM spine.agreement_states(rules_at.at) a
	 CROSS JOIN LATERAL spine.rules_of_agreement(a.document) r
	 WHERE a.in_force
	$fn$;
COMMENT ON FUNCTION spine.rules_at(timestamptz) IS
	'The sharing rules in force at a time, from the agreements themselves; over the data sets as they are now.';

CREATE FUNCTION spine.record_at(the_record uuid, at timestamptz, OUT dataset text, OUT data_group text, OUT owner text,
								OUT patient_id uuid, OUT first_received timestamptz, OUT deleted_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	AS $fn$
DECLARE
	known record;
	earlier spine.history;
BEGIN
	FOR known IN SELECT g.dataset, g.data_group FROM spine.published_groups() g LOOP
		CONTINUE WHEN to_regclass(format('%I.%I', known.dataset, known.data_group)) IS NULL;
		EXECUTE format('SELECT t.owner, t.patient_id, t.received_at FROM %I.%I t WHERE t.record_id = $1', known.dataset, known.data_group)
			INTO owner, patient_id, first_received USING the_record;
		IF owner IS NOT NULL THEN
			dataset := known.dataset;
			data_group := known.data_group;
			EXIT;
		END IF;
	END LOOP;
	-- as it was before it was next changed
	SELECT * INTO earlier FROM spine.history h
	 WHERE h.record_id = the_record AND (h.changed_at > record_at.at OR record_at.owner IS NULL)
	 ORDER BY h.changed_at > record_at.at DESC, CASE WHEN h.changed_at > record_at.at THEN h.revision END, h.revision DESC LIMIT 1;
	IF FOUND THEN
		dataset := earlier.dataset;
		data_group := earlier.data_group;
		owner := earlier.owner;
		patient_id := earlier.patient_id;
	END IF;
	SELECT least(first_received, min((h.old_row ->> 'received_at')::timestamptz)),
		   max(h.changed_at) FILTER (WHERE h.action = 'delete' AND first_received IS NULL)
	  INTO first_received, deleted_at
	  FROM spine.history h WHERE h.record_id = the_record;
END
$fn$;
COMMENT ON FUNCTION spine.record_at(uuid, timestamptz) IS
	'Whose record this is, of which group and person, as it was at a time; since when it is here and, where it is gone, since when. owner NULL: there is none and never was, as far as is known here.';

CREATE FUNCTION spine.facts_at(persons uuid[], organisation text, relationships text[], retention interval, at timestamptz,
							   OUT related boolean, OUT emergency boolean, OUT dissent timestamptz, OUT told text)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET timezone = 'Europe/London'
	AS $fn$
DECLARE
	stamp CONSTANT text := 'YYYY-MM-DD HH24:MI';
	past boolean := at < now();
BEGIN
	SELECT coalesce(bool_or(v.counts AND v.kind <> 'emergency'), false), coalesce(bool_or(v.counts AND v.kind = 'emergency'), false),
		   string_agg(format('%s since %s%s%s', v.kind, to_char(v.since, stamp), ' until ' || to_char(v.until, stamp),
							 CASE WHEN v.counts AND v.until <= facts_at.at THEN ' (still counts, by the retention)'
								  WHEN v.counts THEN ''
								  WHEN v.until <= facts_at.at THEN ' (ended)'
								  ELSE ' (not accepted)' END), '; ' ORDER BY v.since, v.kind)
	  INTO related, emergency, told
	  FROM (SELECT l.kind, l.since, l.until,
				   (l.kind = 'emergency' OR l.kind = ANY (facts_at.relationships))
				   AND (l.until IS NULL
						OR l.until + CASE l.kind WHEN 'emergency' THEN interval '0' ELSE facts_at.retention END > facts_at.at) AS counts
			  FROM spine.relationship l
			 WHERE l.patient_id = ANY (persons) AND l.organisation = facts_at.organisation
			   AND (NOT past OR l.since <= facts_at.at)) v;
	SELECT min(d.since) INTO dissent
	  FROM spine.dissent d
	 WHERE d.patient_id = ANY (persons) AND d.purpose = 'care'
	   AND (d.organisation IS NULL OR d.organisation = facts_at.organisation)
	   AND (NOT past OR d.since <= facts_at.at) AND (d.until IS NULL OR d.until > facts_at.at);
END
$fn$;
COMMENT ON FUNCTION spine.facts_at(uuid[], text, text[], interval, timestamptz) IS
	'What at a time spoke for and against an organisation''s seeing a person''s records for care: a relationship of these kinds, an emergency, a dissent (since when), and all its relationships in words.';

CREATE FUNCTION spine.explain_access(record_id uuid, role name, at timestamptz DEFAULT now())
	RETURNS TABLE (step integer, question text, answer text, holds boolean, clause text, detail text)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET timezone = 'Europe/London'
	AS $fn$
#variable_conflict use_variable
DECLARE
	stamp CONSTANT text := 'YYYY-MM-DD HH24:MI';
	moment timestamptz := coalesce(at, now());
	mine text[] := spine.caller_organisations('governor');
	the_row record;
	items jsonb;
	every_side boolean;
	acting text[];
	reads text[];
	opens text[];
	asked text;
	persons uuid[];
	mothers uuid[];
	rule record;
	fact record;
	of_mother record;
	scope text[];
	left_out text[];
	-- what of the items each kind of opening would show, and under which clauses
	care_scope text[] := '{}';
	care_clauses text[] := '{}';
	glass_scope text[] := '{}';
	glass_clauses text[] := '{}';
	would_clauses text[] := '{}';
	here boolean;
	is_own boolean;
	-- in minutes; current_setting() would write it with a unit
	minutes integer := (SELECT c.setting FROM pg_settings c WHERE c.name = 'spine.open_minutes');
BEGIN
	the_row := spine.record_at(record_id, moment);
	every_side := coalesce(the_row.owner = ANY (mine), false);
	IF the_row.owner IS NULL OR role IS NULL
	   OR NOT (every_side OR EXISTS (SELECT FROM spine.acts_for(role, moment) a WHERE a.organisation = ANY (mine))
			   OR EXISTS (SELECT FROM spine.acts_for(role, now()) a WHERE a.organisation = ANY (mine))) THEN
		RAISE EXCEPTION 'there is no such record and role that you may ask about'
			USING ERRCODE = 'SP006',
				  DETAIL = 'It is for governors of the organisation that owns the record, and of those for which the role acts.';
	END IF;
	SELECT g.items INTO items FROM spine.newest_groups() g
	 WHERE g.dataset = the_row.dataset AND g.data_group = the_row.data_group;

	step := 1;
	question := 'Is the record here, and whose is it?';
	here := the_row.first_received <= moment AND (the_row.deleted_at IS NULL OR the_row.deleted_at > moment);
	holds := here;
	answer := CASE WHEN here THEN format('It is a record of %s in the data group %s.', the_row.owner, the_row.data_group)
				   WHEN the_row.first_received > moment THEN format('Not then: it was first received on %s.', to_char(the_row.first_received, stamp))
				   ELSE format('No: it was deleted on %s.', to_char(the_row.deleted_at, stamp)) END;
	detail := format('Asked about %s.', to_char(moment, stamp));
	RETURN NEXT;

	-- of organisations that are not his own, the governor of a reader learns nothing
	step := 2;
	question := format('For whom does %s act?', role);
	acting := ARRAY(SELECT format('%s of %s', a.duty, a.organisation) FROM spine.acts_for(role, moment) a
					 WHERE every_side OR a.organisation = ANY (mine));
	holds := acting <> '{}';
	answer := CASE WHEN holds THEN format('It is %s.', spine.word_list(acting)) ELSE 'For nobody.' END;
	detail := CASE WHEN NOT every_side THEN 'Organisations of which you are not a governor are not looked at.' END;
	RETURN NEXT;

	reads := ARRAY(
		WITH RECURSIVE readable (code) AS (
			SELECT a.organisation FROM spine.acts_for(role, moment) a
			 WHERE a.duty IN ('clinician', 'analyst', 'system maternity', 'system neonatal', 'system maternity_readonly', 'system reports')
			   AND (every_side OR a.organisation = ANY (mine))
			UNION
			SELECT o.code FROM spine.organisation o JOIN readable r ON r.code = o.parent WHERE o.kind = 'unit')
		SELECT r.code FROM readable r WHERE r.code = ANY (spine.hosted_organisations()) ORDER BY r.code COLLATE "C");
	step := 3;
	question := 'Is it a record of its own organisations?';
	is_own := the_row.owner = ANY (reads);
	holds := is_own;
	answer := CASE WHEN is_own THEN 'Yes: own records are seen whole and need no opening.' ELSE 'No: it is another owner''s.' END;
	detail := CASE WHEN reads <> '{}' THEN format('It reads the records of %s as its own.', spine.word_list(reads)) END;
	RETURN NEXT;

	persons := spine.linked_patients_at(ARRAY[the_row.patient_id], moment);
	opens := ARRAY(SELECT a.organisation FROM spine.acts_for(role, moment) a
					WHERE a.duty = 'clinician' AND (every_side OR a.organisation = ANY (mine)));
	IF NOT is_own THEN
		step := step + 1;
		question := 'Has it opened the person''s record?';
		SELECT coalesce(bool_or(l.at BETWEEN moment - make_interval(mins => minutes) AND moment), false) AS lately,
			   string_agg(format('%s for %s, %s', to_char(l.at, stamp), l.organisation, l.purpose), '; ' ORDER BY l.at) AS told
		  INTO fact
		  FROM (SELECT x.at, x.organisation, x.purpose FROM spine.access_log x
				 WHERE x.patient_id = ANY (persons) AND x.role_name = role AND x.organisation = ANY (opens)
				   AND x.at BETWEEN moment - interval '1 day' AND moment + interval '1 day'
				 ORDER BY x.at DESC LIMIT 10) l;
		holds := fact.lately;
		answer := CASE WHEN persons = '{}' THEN 'No: the record is about no person.'
					   WHEN opens = '{}' THEN 'No: clinicians open records, and nobody else.'
					   WHEN holds THEN 'Yes, so shortly before that it may have been open.'
					   ELSE 'The access log has no opening shortly before.' END;
		detail := 'An opening is good in the session in which it was made.' || coalesce(' Openings within a day: ' || fact.told || '.', '');
		RETURN NEXT;
		detail := NULL;

		mothers := spine.linked_patients_at(ARRAY(
			SELECT f.mother FROM spine.family_link f
			 WHERE f.child = ANY (persons) AND (moment >= now() OR f.since <= moment) AND (f.until IS NULL OR f.until > moment)), moment);
		FOREACH asked IN ARRAY opens LOOP
			FOR rule IN
				SELECT * FROM spine.rules_at(moment) r
				 WHERE r.from_organisation = the_row.owner AND r.dataset = the_row.dataset AND r.data_group = the_row.data_group
				   AND r.purpose = 'care' AND r.to_organisation = asked
				 ORDER BY r.agreement, r.version, r.clause
			LOOP
				fact := spine.facts_at(persons, asked, rule.relationships, rule.retention, moment);
				of_mother := spine.facts_at(mothers, asked, rule.relationships, rule.retention, moment);
				step := step + 1;
				clause := format('%s v%s clause %s', rule.agreement, rule.version, rule.clause);
				question := format('Does %s let %s see it?', clause, asked);
				scope := '{}';
				-- what the record says of a mother follows her relationships and dissents too
				IF fact.related AND fact.dissent IS NULL THEN
					scope := ARRAY(SELECT s FROM unnest(rule.scope) s
									WHERE s !~ '^m' OR mothers = '{}' OR of_mother.related AND of_mother.dissent IS NULL);
					care_scope := care_scope || scope;
					care_clauses := care_clauses || clause;
				END IF;
				IF fact.emergency AND rule.emergency THEN
					glass_clauses := glass_clauses || clause;
					glass_scope := glass_scope || ARRAY(SELECT s FROM unnest(rule.emergency_scope) s
														 WHERE s !~ '^m' OR mothers = '{}' OR of_mother.emergency);
					IF scope = '{}' THEN
						scope := glass_scope;
					END IF;
				ELSIF rule.emergency THEN
					would_clauses := would_clauses || clause;
				END IF;
				holds := fact.related AND fact.dissent IS NULL OR fact.emergency AND rule.emergency;
				answer := CASE WHEN fact.related AND fact.dissent IS NULL
							   THEN format('Yes: %s has a relationship to the person that the clause accepts.', asked)
							   WHEN fact.emergency AND rule.emergency
							   THEN format('To whoever broke the glass: an emergency of %s runs, and the clause allows it.', asked)
							   WHEN fact.related
							   THEN format('No: the person has objected, on %s.', to_char(fact.dissent, stamp))
							   WHEN rule.relationships = '{}' THEN 'No: it accepts an emergency alone, and none runs.'
							   ELSE format('No: %s has no relationship to the person that counts; accepted are %s.', asked,
										   spine.word_list(rule.relationships)) END;
				left_out := ARRAY(SELECT i ->> 'name' FROM jsonb_array_elements(items) i
								   WHERE NOT spine.scope_shows(scope, i ->> 'class', coalesce(i ->> 'column', i ->> 'name'), i ->> 'about') ORDER BY 1);
				detail := concat_ws(' ',
					CASE WHEN persons <> '{}' THEN 'Relationships: ' || coalesce(fact.told, 'none') || '.' END,
					CASE WHEN fact.dissent IS NOT NULL THEN format('The person objected on %s.', to_char(fact.dissent, stamp)) END,
					CASE WHEN holds AND left_out <> '{}' THEN 'Left out: ' || array_to_string(left_out, ', ') || '.' END,
					CASE WHEN NOT holds AND rule.emergency THEN 'Breaking the glass would show it.' END);
				RETURN NEXT;
			END LOOP;
			IF clause IS NULL OR question NOT LIKE '%let ' || asked || ' see it?' THEN
				step := step + 1;
				clause := NULL;
				question := format('Does an agreement let %s see it?', asked);
				holds := false;
				answer := format('No: none in force shares the data group %s of %s with %s for care.', the_row.data_group, the_row.owner, asked);
				detail := (SELECT 'Between the two: ' || string_agg(format('%s v%s is %s', a.name, a.version,
												CASE WHEN a.state = 'published' AND NOT a.in_force THEN 'not yet in force'
													 ELSE a.state END), '; ' ORDER BY a.name, a.version) || '.'
							 FROM spine.agreement_states(moment) a
							WHERE a.parties @> ARRAY[the_row.owner, asked]);
				RETURN NEXT;
			END IF;
			clause := NULL;
		END LOOP;
	END IF;

	step := step + 1;
	question := format('Then does %s see it?', role);
	holds := here AND (is_own OR care_clauses <> '{}' OR glass_clauses <> '{}');
	answer := CASE WHEN NOT holds THEN 'not visible' WHEN is_own THEN 'visible' ELSE 'would be visible once opened' END;
	clause := CASE WHEN holds AND NOT is_own
				   THEN array_to_string(CASE care_clauses WHEN '{}' THEN glass_clauses ELSE care_clauses END, ', ') END;
	scope := CASE care_clauses WHEN '{}' THEN glass_scope ELSE care_scope END;
	left_out := ARRAY(SELECT i ->> 'name' FROM jsonb_array_elements(items) i
					   WHERE NOT spine.scope_shows(scope, i ->> 'class', coalesce(i ->> 'column', i ->> 'name'), i ->> 'about') ORDER BY 1);
	detail := nullif(concat_ws(' ',
		CASE WHEN is_own OR NOT here THEN NULL
			 WHEN care_clauses <> '{}' THEN 'spine.open_record opens it.'
			 WHEN glass_clauses <> '{}' THEN 'spine.break_glass opens it.'
			 WHEN would_clauses <> '{}' THEN format('spine.break_glass would open it, under %s.', array_to_string(would_clauses, ', ')) END,
		CASE WHEN holds AND NOT is_own AND left_out <> '{}' THEN 'Left out: ' || array_to_string(left_out, ', ') || '.' END,
		CASE WHEN holds AND NOT is_own AND EXISTS (SELECT FROM jsonb_array_elements(items) i
													WHERE i ->> 'about' = 'mother' AND i ->> 'class' = 'restricted')
			 THEN 'Restricted items about the mother are shown only where she is opened too.' END), '');
	RETURN NEXT;
END
$fn$;
COMMENT ON FUNCTION spine.explain_access(uuid, name, timestamptz) IS
	'Which rules let or stop a role see a record, a row for each question that is asked, now or at a time past as far as it is known here. The last row''s answer is "visible", "would be visible once opened" or "not visible". clause: the clause that the row is about, in the last row those that let it be seen. For governors of the record''s owner, and of an organisation for which the role acts, who learn of that one alone; SP006 for others, as where there is no such record.';

--
-- What an agreement would change
--

CREATE FUNCTION spine.preview_agreement(document jsonb)
	RETURNS TABLE (from_organisation text, to_organisation text, purpose text, dataset text, data_group text,
				   records_gained bigint, records_lost bigint, patients_gained bigint, patients_lost bigint,
				   items_gained text[], items_lost text[], members bigint)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET timezone = 'Europe/London'
	AS $fn$
DECLARE
	mine text[] := spine.caller_organisations('governor');
	hosted text[] := spine.hosted_organisations();
	faults text;
	n integer;
	the_digest bytea;
	counts_for boolean;
	before spine.sharing_rule[];
	after spine.sharing_rule[];
	-- relationships and dissents, with all ids of their persons: columns of one length
	related record;
	dissent record;
	place record;
BEGIN
	IF mine = '{}' THEN
		RAISE EXCEPTION 'permission denied: this is for a governor' USING ERRCODE = 'insufficient_privilege';
	END IF;
	SELECT count(*), string_agg(format('%s: %s.', f.path, f.fault), E'\n') INTO n, faults
	  FROM spine.proposal_faults(preview_agreement.document) f;
	IF n > 0 THEN
		RAISE EXCEPTION 'the agreement document has % fault%', n, CASE n WHEN 1 THEN '' ELSE 's' END
			USING ERRCODE = 'SP005', DETAIL = faults;
	END IF;
	IF NOT spine.agreement_parties(preview_agreement.document) && mine THEN
		RAISE EXCEPTION 'permission denied: none of your organisations is a party of this agreement'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	the_digest := spine.agreement_digest(preview_agreement.document);

	before := ARRAY(
		SELECT (r.agreement, r.version, r.clause, r.from_organisation, r.to_organisation, r.purpose, r.dataset, r.data_group,
				r.relationships, r.retention, r.scope, r.emergency, r.emergency_scope, r.about_mother, true,
				now(), NULL, true)::spine.sharing_rule
		  FROM spine.rules_at(now()) r);
	-- A document whose last day is past would share nothing and replace nothing, nor would one that a later version has replaced.
	IF now() >= coalesce(spine.plain_date(preview_agreement.document ->> 'end') + 1, 'infinity')::timestamptz
	   OR EXISTS (SELECT FROM spine.agreement_states() a
				   WHERE a.name = preview_agreement.document ->> 'name' AND a.version > (preview_agreement.document ->> 'version')::integer
					 AND a.parties @> spine.agreement_parties(preview_agreement.document)
					 AND a.published_at IS NOT NULL AND a.state <> 'proposed' AND a.starts_at <= now()) THEN
		RETURN;
	END IF;
	after := ARRAY(
		SELECT r FROM unnest(before) r
		 WHERE r.agreement <> preview_agreement.document ->> 'name'
			OR r.version >= (preview_agreement.document ->> 'version')::integer
			OR NOT EXISTS (SELECT FROM spine.agreement_states() a
							WHERE a.name = r.agreement AND a.version = r.version AND a.in_force
							  AND a.parties <@ spine.agreement_parties(preview_agreement.document))
		UNION ALL
		SELECT (preview_agreement.document ->> 'name', (preview_agreement.document ->> 'version')::integer, r.clause,
				r.from_organisation, r.to_organisation, r.purpose, r.dataset, r.data_group,
				r.relationships, r.retention, r.scope, r.emergency, r.emergency_scope, r.about_mother, true,
				now(), NULL, true)::spine.sharing_rule
		  FROM spine.rules_of_agreement(preview_agreement.document) r);

	SELECT coalesce(array_agg(p.id), '{}') AS ids, coalesce(array_agg(l.organisation), '{}') AS organisations,
		   coalesce(array_agg(l.kind), '{}') AS kinds, coalesce(array_agg(l.until), '{}') AS ends
	  INTO related
	  FROM spine.relationship l
	 CROSS JOIN LATERAL unnest(spine.linked_patients(l.patient_id)) AS p (id)
	 WHERE l.organisation IN (SELECT r.to_organisation FROM unnest(before || after) r WHERE r.purpose = 'care');
	SELECT coalesce(array_agg(p.id), '{}') AS ids, coalesce(array_agg(d.organisation), '{}') AS organisations,
		   coalesce(array_agg(d.purpose), '{}') AS purposes
	  INTO dissent
	  FROM spine.dissent d
	 CROSS JOIN LATERAL unnest(spine.linked_patients(d.patient_id)) AS p (id)
	 WHERE d.until IS NULL OR d.until > now();

	FOR place IN
		WITH was AS (SELECT r.from_organisation, r.dataset, r.data_group, r.to_organisation, r.purpose, r.relationships, r.retention,
							r.scope, r.emergency, r.emergency_scope FROM unnest(before) r),
			 will AS (SELECT r.from_organisation, r.dataset, r.data_group, r.to_organisation, r.purpose, r.relationships, r.retention,
							 r.scope, r.emergency, r.emergency_scope FROM unnest(after) r)
		SELECT DISTINCT c.from_organisation, c.dataset, c.data_group, g.items
		  FROM ((SELECT * FROM was EXCEPT SELECT * FROM will) UNION ALL (SELECT * FROM will EXCEPT SELECT * FROM was)) c
		  JOIN spine.newest_groups() g ON g.dataset = c.dataset AND g.data_group = c.data_group
		 WHERE c.from_organisation = ANY (mine) OR c.to_organisation = ANY (mine)
		 ORDER BY 1, 2, 3
	LOOP
		CONTINUE WHEN to_regclass(format('%I.%I', place.dataset, place.data_group)) IS NULL;
		-- how many records another organisation has is its own affair until it has proposed or signed this document
		counts_for := place.from_organisation = ANY (hosted)
					  AND (place.from_organisation = ANY (mine)
						   OR EXISTS (SELECT FROM spine.agreement_event e
									   WHERE e.name = preview_agreement.document ->> 'name' AND e.digest = the_digest
										 AND e.kind IN ('proposed', 'signed') AND e.owner = place.from_organisation));
		RETURN QUERY EXECUTE format($q$
			WITH rule AS MATERIALIZED (
				SELECT b.*, false AS after FROM unnest($1) b
				 WHERE b.from_organisation = $3 AND b.dataset = $4 AND b.data_group = $5
				UNION ALL
				SELECT a.*, true FROM unnest($2) a
				 WHERE a.from_organisation = $3 AND a.dataset = $4 AND a.data_group = $5
			), token AS MATERIALIZED (
				-- what the audience of a record may hold, with what it shows
				SELECT r.to_organisation, r.purpose, r.relationships, r.retention, r.scope, r.after FROM rule r
				UNION ALL
				SELECT r.to_organisation, 'emergency', '{emergency}', interval '0', r.emergency_scope, r.after FROM rule r WHERE r.emergency
			), related AS MATERIALIZED (
				SELECT x.id, x.organisation, x.kind, x.until FROM unnest($7, $8, $9, $10) AS x (id, organisation, kind, until)
			), dissent AS MATERIALIZED (
				SELECT x.id, x.organisation, x.purpose FROM unnest($11, $12, $13) AS x (id, organisation, purpose)
			), person AS MATERIALIZED (
				SELECT t.to_organisation, t.purpose, l.id, bool_or(t.after) AS gains
				  FROM token t
				  JOIN related l ON l.organisation = t.to_organisation AND l.kind = ANY (t.relationships)
								AND (l.until IS NULL OR l.until + t.retention > now())
				 WHERE $6 AND t.purpose IN ('care', 'emergency')
				   AND (t.purpose = 'emergency'
						OR NOT EXISTS (SELECT FROM dissent d WHERE d.id = l.id AND d.purpose = 'care'
										  AND (d.organisation IS NULL OR d.organisation = t.to_organisation)))
				 GROUP BY t.to_organisation, t.purpose, l.id
				HAVING bool_or(t.after) <> bool_or(NOT t.after)
			), everybody AS MATERIALIZED (
				SELECT t.to_organisation, t.purpose, bool_or(t.after) AS gains FROM token t
				 WHERE $6 AND t.purpose NOT IN ('care', 'emergency')
				 GROUP BY t.to_organisation, t.purpose
				HAVING bool_or(t.after) <> bool_or(NOT t.after)
			), counted AS (
				SELECT p.to_organisation, p.purpose, p.gains, count(*) AS records, count(DISTINCT t.patient_id) AS patients
				  FROM person p
				  JOIN %1$I.%2$I t ON t.patient_id = p.id
				 WHERE t.owner = $3
				 GROUP BY p.to_organisation, p.purpose, p.gains
				UNION ALL
				SELECT e.to_organisation, e.purpose, e.gains, count(*), count(DISTINCT t.patient_id)
				  FROM everybody e
				 CROSS JOIN %1$I.%2$I t
				 WHERE t.owner = $3
				   AND NOT EXISTS (SELECT FROM dissent d WHERE d.id = t.patient_id
									  AND d.purpose IN (e.purpose, 'secondary') AND (d.organisation IS NULL OR d.organisation = e.to_organisation))
				 GROUP BY e.to_organisation, e.purpose, e.gains
			), place AS (
				SELECT t.to_organisation, t.purpose,
					   ARRAY(SELECT s FROM token u, unnest(u.scope) s WHERE u.to_organisation = t.to_organisation AND u.purpose = t.purpose AND NOT u.after) AS was,
					   ARRAY(SELECT s FROM token u, unnest(u.scope) s WHERE u.to_organisation = t.to_organisation AND u.purpose = t.purpose AND u.after) AS will
				  FROM token t
				 GROUP BY t.to_organisation, t.purpose
			), itemised AS (
				SELECT p.to_organisation, p.purpose,
					   coalesce(array_agg(i.name ORDER BY i.name) FILTER (WHERE i.will AND NOT i.was), '{}') AS gained,
					   coalesce(array_agg(i.name ORDER BY i.name) FILTER (WHERE i.was AND NOT i.will), '{}') AS lost
				  FROM place p
				 CROSS JOIN LATERAL (
					SELECT i ->> 'name' AS name,
						   spine.scope_shows(p.was, i ->> 'class', coalesce(i ->> 'column', i ->> 'name'), i ->> 'about') AS was,
						   spine.scope_shows(p.will, i ->> 'class', coalesce(i ->> 'column', i ->> 'name'), i ->> 'about') AS will
					  FROM jsonb_array_elements($14) i) i
				 GROUP BY p.to_organisation, p.purpose
			)
			SELECT $3, i.to_organisation, i.purpose, $4, $5,
				   CASE WHEN $6 THEN coalesce(g.records, 0) END, CASE WHEN $6 THEN coalesce(l.records, 0) END,
				   CASE WHEN $6 THEN coalesce(g.patients, 0) END, CASE WHEN $6 THEN coalesce(l.patients, 0) END,
				   i.gained, i.lost,
				   CASE WHEN i.to_organisation = ANY ($15)
						THEN (SELECT count(DISTINCT m.role_name) FROM spine.member m
							   WHERE m.organisation = i.to_organisation AND m.duty = 'clinician' AND i.purpose IN ('care', 'emergency')) END
			  FROM itemised i
			  LEFT JOIN counted g ON g.to_organisation = i.to_organisation AND g.purpose = i.purpose AND g.gains
			  LEFT JOIN counted l ON l.to_organisation = i.to_organisation AND l.purpose = i.purpose AND NOT l.gains
			 WHERE ($3 = ANY ($16) OR i.to_organisation = ANY ($16))
			   AND (i.gained <> '{}' OR i.lost <> '{}' OR g.records > 0 OR l.records > 0)
			 ORDER BY i.to_organisation, i.purpose
			$q$, place.dataset, place.data_group)
		USING before, after, place.from_organisation, place.dataset, place.data_group, counts_for,
			  related.ids, related.organisations, related.kinds, related.ends,
			  dissent.ids, dissent.organisations, dissent.purposes, place.items, hosted, mine;
	END LOOP;
END
$fn$;
COMMENT ON FUNCTION spine.preview_agreement(jsonb) IS
	'What would be seen more, or less, if this document were in force now in place of the version that it would replace, on the records of this moment; nothing is changed. A row for each from, to, purpose and data group where something would change; purpose emergency: what breaking the glass would show while an emergency runs. Records and patients (patient ids) are counted as spine.audience() gives them; NULL where the owner is not hosted here, or is another organisation than the caller''s that has neither proposed nor signed this document. items: by name, of those shown by any clause. members: roles of to hosted here that could open them; NULL where to is not. For governors of a party: rows of their own organisations. SP005 with every fault.';

DO $rights$
DECLARE
	definer text;
	internal text;
BEGIN
	FOREACH definer IN ARRAY ARRAY[
		'spine.agreement_text(text, integer, bytea)',
		'spine.my_clauses()',
		'spine.member_changed()',
		'spine.explain_access(uuid, name, timestamptz)',
		'spine.preview_agreement(jsonb)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', definer);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
	END LOOP;
	FOREACH internal IN ARRAY ARRAY[
		'spine.word_list(text[], text)',
		'spine.scope_shows(text[], text, text, text)',
		'spine.relationship_text(text)',
		'spine.item_text(text, text)',
		'spine.scope_text(jsonb)',
		'spine.clause_text(jsonb, integer, text[])',
		'spine.disclosed_clause(text, text)',
		'spine.acts_for(name, timestamptz)',
		'spine.linked_patients_at(uuid[], timestamptz)',
		'spine.rules_at(timestamptz)',
		'spine.record_at(uuid, timestamptz)',
		'spine.facts_at(uuid[], text, text[], interval, timestamptz)']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', internal);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', internal);
	END LOOP;
END
$rights$;

GRANT EXECUTE ON FUNCTION spine.agreement_text(text, integer, bytea), spine.my_clauses()
	TO spine_member, spine_supplier, spine_governor, spine_operator;
GRANT EXECUTE ON FUNCTION spine.explain_access(uuid, name, timestamptz), spine.preview_agreement(jsonb) TO spine_governor;
-- spine.disclosures asks it as whoever reads
GRANT EXECUTE ON FUNCTION spine.disclosed_clause(text, text) TO spine_governor;
