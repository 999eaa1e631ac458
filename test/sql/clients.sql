-- What each kind of system may do: a matrix of kinds and paths without an empty cell.
\ir setup.psql
SELECT plan(474);

-- a data set with a group about each subject there is
\o /dev/null
SELECT spine.publish_dataset(jsonb_build_object('name', 'clients', 'version', '1.0', 'title', 'Clients', 'description', 'For tests.',
	'source', 'This test.', 'mandation', 'This test.', 'groups', jsonb_agg(jsonb_build_object(
		'name', 'about_' || s, 'title', s, 'description', s, 'subject', s, 'key', '["number"]'::jsonb,
		'items', '[{"name": "number", "title": "Number", "type": "text", "status": "M", "class": "administrative"},
				   {"name": "note", "title": "Note", "type": "text", "status": "M", "class": "clinical"},
				   {"name": "more", "title": "More", "type": "text", "status": "O", "class": "clinical"}]'::jsonb,
		'rules', jsonb_build_array(jsonb_build_object('id', s || '.more', 'severity', 'warning', 'items', '["more"]'::jsonb,
			'expression', 'more <> ''?''', 'message', 'Send more.'))))))
  FROM unnest('{mother,baby,patient,none}'::text[]) s;

CREATE TABLE kind (name text PRIMARY KEY, place serial);
INSERT INTO kind (name) VALUES ('maternity'), ('neonatal'), ('maternity_readonly'), ('reports'), ('device');
CREATE TABLE got (kind text, path text, outcome text, PRIMARY KEY (kind, path));
CREATE FUNCTION make_systems() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	k text;
BEGIN
	FOR k IN SELECT name FROM kind LOOP
		EXECUTE format('CREATE ROLE clients_%s', k);
		PERFORM spine.add_system('RYJ', k, k, 'clients_' || k);
	END LOOP;
END
$$;
SELECT make_systems();
-- one of another organisation, whose records nobody here sees
CREATE ROLE clients_other;
SELECT spine.host_organisation('RQM'), spine.add_system('RQM', 'other', 'maternity', 'clients_other');

-- Runs a statement as a system of this kind and takes it back. Told is its SQLSTATE, or what a query answers, or how many
-- rows a statement has touched. KIND in the statement stands for the kind.
CREATE FUNCTION outcome(kind text, statement text, keep boolean DEFAULT false) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	n bigint;
BEGIN
	BEGIN
		EXECUTE format('SET LOCAL ROLE clients_%s', kind);
		statement := replace(statement, 'KIND', kind);
		IF statement ~ '^SELECT' THEN
			EXECUTE format('SELECT coalesce(string_agg(btrim(q::text, ''()''), ''; ''), ''nothing'') FROM (%s) q', statement) INTO answer;
		ELSE
			EXECUTE statement;
			GET DIAGNOSTICS n = ROW_COUNT;
			answer := n;
		END IF;
		RESET ROLE;
		IF NOT keep THEN
			RAISE EXCEPTION USING ERRCODE = 'UNDO0';
		END IF;
	EXCEPTION
		WHEN SQLSTATE 'UNDO0' THEN NULL;
		WHEN OTHERS THEN answer := SQLSTATE;
	END;
	RETURN answer;
END
$$;
CREATE FUNCTION inserting(subject text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT format('INSERT INTO clients_1_0.about_%s (%snumber, note, more) VALUES (%s''%s KIND'', ''x'', ''?'')%s', subject,
		CASE WHEN subject <> 'none' THEN 'nhs_number, ' ELSE '' END, CASE WHEN subject <> 'none' THEN '''9990000018'', ' ELSE '' END, subject, more)
$$;
CREATE FUNCTION document(subject text, number text, note text DEFAULT 'x') RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('dataset', 'clients', 'version', '1.0', 'records', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('group', 'about_' || subject,
		'nhs_number', CASE WHEN subject <> 'none' THEN '9990000018' END, 'data', jsonb_strip_nulls(jsonb_build_object('number', number, 'note', note, 'more', CASE WHEN note = 'corrected' THEN '?' END))))))
$$;

CREATE FUNCTION inbox_line(subject text) RETURNS text LANGUAGE sql AS $$
	SELECT ((document(subject, '')::jsonb - 'records') || (document(subject, subject || ' KIND', 'corrected')::jsonb #> '{records,0}'))::text
$$;

-- What is there: of each system that may write a record of each group that it may write, with a warning, corrected once, and one
-- refused. The record of the woman is of the maternity system's organisation, and of another's.
SELECT outcome(k.name, inserting(s), true), outcome(k.name, format('SELECT FROM spine.submit(%L::text)', document(s, s || ' ' || k.name, 'corrected')), true),
	   outcome(k.name, format('SELECT FROM spine.submit(%L::text)', document(s, 'refused ' || k.name, NULL)), true)
  FROM kind k, unnest('{mother,baby,patient,none}'::text[]) s
 WHERE k.name IN ('maternity', 'device') OR k.name = 'neonatal' AND s <> 'mother';
SELECT outcome(k, format('INSERT INTO spine.inbox (document) VALUES (%L), (%L), (''{'')', inbox_line('none'), inbox_line('mother')), true)
  FROM unnest('{maternity,neonatal,device}'::text[]) k;
SELECT outcome('other', inserting('mother'), true), outcome('other', inserting('baby'), true);
\o
SELECT is((SELECT count(*) FROM clients.about_mother), 3::bigint, 'there are records about mothers');
SELECT is((SELECT count(*) FROM clients.about_baby), 4::bigint, 'and about babies');

-- the paths, and what each kind is told on each: a column for each kind

CREATE TABLE path (place serial, name text PRIMARY KEY, statement text,
	maternity text NOT NULL, neonatal text NOT NULL, maternity_readonly text NOT NULL, reports text NOT NULL, device text NOT NULL);

-- views of a data set: reading
INSERT INTO path (name, statement, maternity, neonatal, maternity_readonly, reports, device) VALUES
	('SELECT mother', 'SELECT count(*) FROM clients_1_0.about_mother',				'2', '2', '2', '2', '42501'),
	('SELECT baby', 'SELECT count(*) FROM clients_1_0.about_baby',					'3', '3', '3', '3', '42501'),
	('SELECT patient', 'SELECT count(*) FROM clients_1_0.about_patient',			'3', '3', '3', '3', '42501'),
	('SELECT none', 'SELECT count(*) FROM clients_1_0.about_none',					'3', '3', '3', '3', '42501'),
	('SELECT own', 'SELECT count(*) FROM clients_1_0.about_baby WHERE source_system = ''KIND''', '1', '1', '0', '0', '42501'),
	('SELECT of others', 'SELECT count(*) FROM clients_1_0.about_baby WHERE owner <> ''RYJ''', '0', '0', '0', '0', '42501'),
	('SELECT patients', 'SELECT count(DISTINCT patient_id) FROM clients_1_0.about_baby', '1', '1', '1', '1', '42501'),
	('SELECT nothing', 'SELECT 1 FROM clients_1_0.about_baby LIMIT 0',				'nothing', 'nothing', 'nothing', 'nothing', '42501'),
	('SELECT a table', 'SELECT count(*) FROM clients.about_baby',					'42501', '42501', '42501', '42501', '42501'),
	('SELECT FOR UPDATE', 'SELECT number FROM clients_1_0.about_baby FOR UPDATE',	'42501', '42501', '42501', '42501', '42501'),
	('COPY TO', NULL,	'00000', '00000', '00000', '00000', '25P02');

-- views of a data set: writing
INSERT INTO path (name, statement, maternity, neonatal, maternity_readonly, reports, device) VALUES
	('INSERT mother', replace(inserting('mother'), 'mother KIND', 'new'),			'1', '42501', '42501', '42501', '1'),
	('INSERT baby', replace(inserting('baby'), 'baby KIND', 'new'),					'1', '1', '42501', '42501', '1'),
	('INSERT patient', replace(inserting('patient'), 'patient KIND', 'new'),		'1', '1', '42501', '42501', '1'),
	('INSERT none', replace(inserting('none'), 'none KIND', 'new'),					'1', '1', '42501', '42501', '1'),
	('INSERT again', inserting('baby'),												'1', '1', '42501', '42501', '1'),
	('INSERT what another has', replace(inserting('baby'), 'KIND', 'maternity'),	'1', '1', '42501', '42501', '1'),
	('INSERT RETURNING record_id', inserting('baby', ' RETURNING record_id'), '1', '1', '42501', '42501', '42501'),
	('INSERT RETURNING patient_id', inserting('baby', ' RETURNING patient_id'), '1', '1', '42501', '42501', '42501'),
	('INSERT RETURNING what was sent', inserting('baby', ' RETURNING number'), '1', '1', '42501', '42501', '42501'),
	('INSERT of a stranger''s', replace(replace(inserting('none'), '(number', '(owner, number'), '(''none', '(''RQM'', ''none'), '42501', '42501', '42501', '42501', '42501'),
	('INSERT as another', replace(replace(inserting('none'), '(number', '(source_system, number'), '(''none', '(''nobody'', ''none'), '42501', '42501', '42501', '42501', '42501'),
	('INSERT INTO a table', 'INSERT INTO clients.about_none (record_id) VALUES (''01890a5d-ac96-774b-bcce-b302099a8057'')', '42501', '42501', '42501', '42501', '42501'),
	('UPDATE own mother', 'UPDATE clients_1_0.about_mother SET note = ''y'' WHERE source_system = ''KIND''', '1', '42501', '42501', '42501', '42501'),
	('UPDATE own baby', 'UPDATE clients_1_0.about_baby SET note = ''y'' WHERE source_system = ''KIND''',	'1', '1', '42501', '42501', '42501'),
	('UPDATE own patient', 'UPDATE clients_1_0.about_patient SET note = ''y'' WHERE source_system = ''KIND''',	'1', '1', '42501', '42501', '42501'),
	('UPDATE own none', 'UPDATE clients_1_0.about_none SET note = ''y'' WHERE source_system = ''KIND''',	'1', '1', '42501', '42501', '42501'),
	('UPDATE all', 'UPDATE clients_1_0.about_baby SET note = ''y''',				'42501', '42501', '42501', '42501', '0'),
	('UPDATE of another system', 'UPDATE clients_1_0.about_baby SET note = ''y'' WHERE source_system <> ''KIND''', '42501', '42501', '42501', '42501', '42501'),
	('UPDATE RETURNING', 'UPDATE clients_1_0.about_baby SET note = ''y'' WHERE source_system = ''KIND'' RETURNING record_id', '1', '1', '42501', '42501', '42501'),
	('DELETE own mother', 'DELETE FROM clients_1_0.about_mother WHERE source_system = ''KIND''',	'1', '42501', '42501', '42501', '42501'),
	('DELETE own baby', 'DELETE FROM clients_1_0.about_baby WHERE source_system = ''KIND''',	'1', '1', '42501', '42501', '42501'),
	('DELETE all', 'DELETE FROM clients_1_0.about_baby',							'42501', '42501', '42501', '42501', '0'),
	('DELETE of another system', 'DELETE FROM clients_1_0.about_baby WHERE source_system <> ''KIND''', '42501', '42501', '42501', '42501', '42501'),
	('TRUNCATE', 'TRUNCATE clients.about_baby',										'42501', '42501', '42501', '42501', '42501'),
	('COPY FROM', NULL,	'00000 2', '00000 2', '25P02 0', '25P02 0', '00000 2'),
	('COPY FROM mother', NULL,	'00000 1', '25P02 0', '25P02 0', '25P02 0', '00000 1'),
	('COPY inbox', NULL,	'00000 3', '00000 3', '25P02 0', '25P02 0', '00000 3');

-- the tolerant doors
INSERT INTO path (name, statement, maternity, neonatal, maternity_readonly, reports, device) VALUES
	('submit mother', format('SELECT outcome, record_id IS NOT NULL, findings -> 0 ->> ''rule'' FROM spine.submit(%L::text)', document('mother', 'new')),
		'accepted,t,', 'rejected,f,group.denied', '42501', '42501', 'accepted,t,'),
	('submit baby', format('SELECT outcome FROM spine.submit(%L::text)', document('baby', 'new')),
		'accepted', 'accepted', '42501', '42501', 'accepted'),
	('submit patient', format('SELECT outcome FROM spine.submit(%L::text)', document('patient', 'new')),
		'accepted', 'accepted', '42501', '42501', 'accepted'),
	('submit none', format('SELECT outcome FROM spine.submit(%L::text)', document('none', 'new')),
		'accepted', 'accepted', '42501', '42501', 'accepted'),
	('submit json', format('SELECT outcome FROM spine.submit(%L::json)', document('none', 'new')),
		'accepted', 'accepted', '42501', '42501', 'accepted'),
	('submit again', format('SELECT outcome FROM spine.submit(%L::text)', document('baby', 'baby KIND', 'corrected')),
		'unchanged', 'unchanged', '42501', '42501', 'unchanged'),
	('submit what another has', format('SELECT outcome FROM spine.submit(%L::text)', document('baby', 'baby other')),
		'accepted', 'accepted', '42501', '42501', 'accepted'),
	('submit a fault', format('SELECT outcome, findings -> 0 ->> ''rule'' FROM spine.submit(%L::text)', document('none', 'new', NULL)),
		'rejected,item.missing', 'rejected,item.missing', '42501', '42501', 'rejected,item.missing'),
	('submit as another', 'SELECT outcome FROM spine.submit(''{"dataset": "clients", "version": "1.0", "system": "other", "records": []}''::text)',
		'42501', '42501', '42501', '42501', '42501');

INSERT INTO path (name, statement, maternity, neonatal, maternity_readonly, reports, device)
	SELECT replace(name, 'submit', 'validate'), replace(statement, 'spine.submit', 'spine.validate'),
		replace(maternity, ',t,', ',f,'), neonatal, maternity_readonly, reports, replace(device, ',t,', ',f,')
	  FROM path WHERE name LIKE 'submit%' ORDER BY place;
INSERT INTO path (name, statement, maternity, neonatal, maternity_readonly, reports, device) VALUES
	('inbox', format('INSERT INTO spine.inbox (document) VALUES (%L), (''{'')', document('none', 'new')),	'2', '2', '42501', '42501', '2'),
	('inbox RETURNING', 'INSERT INTO spine.inbox (document) VALUES (''{'') RETURNING document',	'42501', '42501', '42501', '42501', '42501'),
	('SELECT inbox', 'SELECT count(*) FROM spine.inbox',							'42501', '42501', '42501', '42501', '42501'),
	('UPDATE inbox', 'UPDATE spine.inbox SET document = NULL',						'55000', '55000', '55000', '55000', '55000'),
	('DELETE inbox', 'DELETE FROM spine.inbox',										'55000', '55000', '55000', '55000', '55000'),
	('submissions', 'SELECT count(*) FROM spine.submissions',						'13', '10', '0', '0', '13'),
	('submissions of others', 'SELECT count(*) FROM spine.submissions WHERE source_system <> ''KIND''', '0', '0', '0', '0', '0'),
	('inbox_result', 'SELECT outcome, data_group, record_id IS NOT NULL, findings -> 0 ->> ''rule'' FROM spine.inbox_result ORDER BY line',
		'unchanged,about_none,t,none.more; unchanged,about_mother,t,mother.more; rejected,,f,record.malformed',
		'unchanged,about_none,t,none.more; rejected,,f,group.denied; rejected,,f,record.malformed', 'nothing', 'nothing',
		'unchanged,about_none,t,none.more; unchanged,about_mother,t,mother.more; rejected,,f,record.malformed'),
	('raw_submission', 'SELECT count(*) FROM spine.raw_submission',					'42501', '42501', '42501', '42501', '42501'),
	('raw_submission of nobody', 'SELECT count(*) FROM spine.raw_submission(''01890a5d-ac96-774b-bcce-b302099a8057'')', '0', '0', '0', '0', '0'),
	('resubmit nothing', 'SELECT count(*) FROM spine.resubmit_all(''{}''::uuid[])',		'0', '0', '42501', '42501', '0'),
	('resubmit of nobody', 'SELECT outcome FROM spine.resubmit(''01890a5d-ac96-774b-bcce-b302099a8057''::uuid)', 'P0002', 'P0002', '42501', '42501', 'P0002'),
	('resubmit own', 'SELECT count(*) FROM spine.resubmit_all(ARRAY(SELECT rejection_id FROM spine.rejections WHERE dataset = ''clients''))', '4', '4', '42501', '42501', '42501'),
	('revalidate', 'SELECT count(*) FROM spine.revalidate(''clients'')',			'4', '4', '0', '0', '4'),
	('discard_rejection of nobody', 'SELECT spine.discard_rejection(''01890a5d-ac96-774b-bcce-b302099a8057'')', 'P0002', 'P0002', 'P0002', 'P0002', 'P0002');

-- what is kept of records, and reading them as a whole
INSERT INTO path (name, statement, maternity, neonatal, maternity_readonly, reports, device) VALUES
	('all_records', 'SELECT count(*) FROM spine.all_records WHERE dataset = ''clients''', '11', '11', '11', '11', '42501'),
	('findings', 'SELECT count(*) FROM spine.findings',								'4', '3', '0', '0', '42501'),
	('rejections', 'SELECT count(*) FROM spine.rejections',							'5', '5', '0', '0', '42501'),
	('corrections', 'SELECT count(*) FROM spine.corrections',						'11', '11', '11', '11', '42501'),
	('relationships', 'SELECT count(*) FROM spine.relationships',					'0', '0', '0', '0', '42501'),
	('accesses', 'SELECT count(*) FROM spine.accesses',								'42501', '42501', '42501', '42501', '42501'),
	('timeline', 'SELECT count(*) FROM spine.timeline(''9990000018'')',				'8', '8', '8', '8', '42501'),
	('timeline of nobody', 'SELECT count(*) FROM spine.timeline(''9990000026'')',	'0', '0', '0', '0', '42501'),
	('record', 'SELECT spine.record(''9990000018'') IS NOT NULL',					't', 't', 't', 't', '42501'),
	('record of nobody', 'SELECT spine.record(''9990000026'') IS NOT NULL',			'f', 'f', 'f', 'f', '42501'),
	('open_record', 'SELECT spine.open_record(''9990000018'', ''care'', ''x'')',	'42501', '42501', '42501', '42501', '42501'),
	('close_records', 'SELECT spine.close_records()',								'0', '0', '0', '0', '42501'),
	('refer', 'SELECT spine.refer(''9990000018'', ''RQM'', ''x'') IS NOT NULL',		't', 't', '42501', '42501', '42501'),
	('end_relationship', 'SELECT spine.end_relationship(''01890a5d-ac96-774b-bcce-b302099a8057'')', 'SP006', 'SP006', 'SP006', 'SP006', '42501'),
	('a table of rejections', 'SELECT count(*) FROM spine.rejection',				'42501', '42501', '42501', '42501', '42501'),
	('a table of aliases', 'SELECT count(*) FROM spine.alias',						'42501', '42501', '42501', '42501', '42501'),
	('patient_id', 'SELECT spine.patient_id(''9990000018'')',						'42501', '42501', '42501', '42501', '42501'),
	('visible', 'SELECT spine.visible(''RYJ'', ''{}'', NULL, ''maternity.booking'')',	't', 't', 't', 't', 'f'),
	('my_organisations', 'SELECT spine.my_organisations()',							'{RYJ}', '{RYJ}', '{RYJ}', '{RYJ}', '{}');

-- what everybody knows
INSERT INTO path (name, statement, maternity, neonatal, maternity_readonly, reports, device) VALUES
	('whoami', 'SELECT organisation, system, kind FROM spine.whoami()',				'RYJ,maternity,maternity', 'RYJ,neonatal,neonatal', 'RYJ,maternity_readonly,maternity_readonly', 'RYJ,reports,reports', 'RYJ,device,device'),
	('datasets', 'SELECT count(*) FROM spine.datasets WHERE dataset = ''clients''',	'1', '1', '1', '1', '1'),
	('members', 'SELECT count(*) FROM spine.members',								'42501', '42501', '42501', '42501', '42501'),
	('systems', 'SELECT count(*) FROM spine.systems',								'42501', '42501', '42501', '42501', '42501');

-- COPY is no statement of a function
\set ON_ERROR_STOP 0
\set kind maternity
\ir clients_copy.psql
\set kind neonatal
\ir clients_copy.psql
\set kind maternity_readonly
\ir clients_copy.psql
\set kind reports
\ir clients_copy.psql
\set kind device
\ir clients_copy.psql
\set ON_ERROR_STOP 1

INSERT INTO got SELECT k.name, p.name, outcome(k.name, p.statement) FROM path p, kind k WHERE p.statement IS NOT NULL;
SELECT is_empty($$ SELECT k.name, p.name FROM kind k CROSS JOIN path p LEFT JOIN got g ON g.kind = k.name AND g.path = p.name WHERE g.outcome IS NULL $$,
	'no cell of the matrix is empty');
SELECT is(g.outcome, to_jsonb(p) ->> k.name, k.name || ': ' || p.name)
  FROM path p CROSS JOIN kind k JOIN got g ON g.kind = k.name AND g.path = p.name
 ORDER BY k.place, p.place;

-- what the doors took back left nothing behind
SELECT is((SELECT count(*) FROM clients.about_baby), 4::bigint, 'all of it was taken back');

SELECT * FROM finish();
DROP OWNED BY clients_maternity, clients_neonatal, clients_maternity_readonly, clients_reports, clients_device, clients_other;
DROP ROLE clients_maternity, clients_neonatal, clients_maternity_readonly, clients_reports, clients_device, clients_other;
