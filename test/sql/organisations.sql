-- Organisations: the national file, single ones, and which node hosts which.
\ir setup.psql
\ir as_role.psql
SELECT plan(40);

SELECT make_roles('organisations_operator', 'organisations_clinician');
\o /dev/null
SELECT spine.add_member('organisations_operator', 'RYJ', 'operator');
SELECT spine.add_member('organisations_clinician', 'RYJ', 'clinician');
\o

-- a line of the file, as the Organisation Data Service writes it
CREATE FUNCTION line(code text, name text, region text DEFAULT 'Y56', icb text DEFAULT 'QRV', opened text DEFAULT '20200229',
					 closed text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT format('"%s","%s","%s","%s","1 HIGH STREET","","","LONDON","","N1 1AA","%s","%s","","","","","","0","","A","","",""',
				  code, replace(name, '"', '""'), region, icb, opened, closed)
$$;

-- the CSV itself

SELECT results_eq($$ SELECT * FROM spine.csv_rows(E'\uFEFFa,"b,""c"""\r\n\r\n"d\ne",\nf') $$,
	$$ VALUES (1, ARRAY['a', 'b,"c"']), (3, ARRAY[E'd\ne', '']), (5, ARRAY['f']) $$,
	'quotes, commas and line ends within them, a byte order mark, empty lines and all three line ends are read');
SELECT is_empty($$ SELECT * FROM spine.csv_rows('') $$, 'an empty text has no rows');
SELECT throws_ok($$ SELECT * FROM spine.csv_rows(E'a\nb,"c') $$, '22P04', 'line 2 is malformed: a quoted field has no end',
	'a quote without an end is told with its line');
SELECT throws_ok($$ SELECT * FROM spine.csv_rows(E'a\n\n"b"c') $$, '22P04', 'line 3 is malformed: text follows a quoted field',
	'and so is text after one');
SELECT throws_ok($$ SELECT * FROM spine.csv_rows('a"b') $$, '22P04', 'line 1 is malformed: a quote stands in a field that is not quoted',
	'and a quote in the middle');

-- a good file

SELECT is(spine.load_organisations(line('RAA', 'ONE "TRUST"') || E'\r\n' || line('rab', 'TWO, THREE', 'Y58', 'QOX', '20210301', '20220331')),
	2, 'two Trusts are loaded');
SELECT results_eq($$ SELECT name, kind, parent, postcode, opened, closed FROM spine.organisation WHERE code IN ('RAA', 'RAB') ORDER BY code $$,
	$$ VALUES ('ONE "TRUST"', 'trust', 'QRV', 'N1 1AA', '2020-02-29'::date, NULL::date),
			  ('TWO, THREE', 'trust', 'QOX', 'N1 1AA', '2021-03-01', '2022-03-31') $$,
	'with all that the file says of them, their codes in capitals');
SELECT results_eq($$
	WITH RECURSIVE up (code, parent, n) AS (
		SELECT code, parent, 1 FROM spine.organisation WHERE code = 'RAB'
		UNION ALL SELECT o.code, o.parent, n + 1 FROM up JOIN spine.organisation o ON o.code = up.parent)
	SELECT string_agg(u.code || ' ' || o.kind || ' ' || o.name, ', ' ORDER BY u.n) FROM up u JOIN spine.organisation o USING (code)
$$, $$ VALUES ('RAB trust TWO, THREE, QOX icb Integrated Care Board QOX, Y58 region South West, ENG national England') $$,
	'they stand in a tree up to the nation');
SELECT is((SELECT name FROM spine.organisation WHERE code = 'QRV'), 'NHS NORTH WEST LONDON INTEGRATED CARE BOARD',
	'a name that is known better than the file knows it stays');
SELECT is(spine.load_organisations(line('RAA', 'ONE RENAMED', 'Y58', 'QOX')), 1, 'the file may be loaded again');
SELECT results_eq($$ SELECT name, parent FROM spine.organisation WHERE code = 'RAA' $$, $$ VALUES ('ONE RENAMED', 'QOX') $$,
	'and brings what has changed');
SELECT is(spine.load_organisations(line('RQF', 'CARDIFF', 'W00', 'Q99')), 1, 'a Welsh Trust is in the file');
SELECT results_eq($$ SELECT o.parent, p.name, p.parent FROM spine.organisation o JOIN spine.organisation p ON p.code = o.parent WHERE o.code = 'RQF' $$,
	$$ VALUES ('W00', 'Wales', NULL) $$, 'and is not put under England');

-- a faulty file is refused whole, with every fault

SELECT throws_ok($$ SELECT spine.load_organisations('') $$, '22P04', 'the file of organisations is empty', 'an empty file is refused');
SELECT throws_ok($$ SELECT spine.load_organisations(E'\uFEFF\r\n\r\n') $$, '22P04', 'the file of organisations is empty', 'and one of empty lines');
SELECT throws_ok($$ SELECT spine.load_organisations(NULL) $$, '22004', NULL, 'and none at all');
SELECT throws_ok($$ SELECT spine.load_organisations('nonsense') $$, '22P04', 'the file of organisations is refused, from line 1 on',
	'and what is no such file');
SELECT throws_ok($$ SELECT spine.load_organisations(line('RAC', 'GOOD') || E'\n' || line('R!D', 'BAD')) $$, '22P04',
	'the file of organisations is refused, from line 2 on', 'a code that is none is refused with its line');
SELECT is_empty($$ SELECT code FROM spine.organisation WHERE code = 'RAC' $$, 'and the good lines before it are not loaded');

CREATE FUNCTION detail_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE query;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN said;
END
$$;
SELECT is(detail_of(format('SELECT spine.load_organisations(%L)', concat_ws(E'\n',
		line('RAC', ''), line('RAD', 'X', 'Y 5'), line('RAE', 'X', 'Y56', 'Q_'), line('RAF', 'X', opened => '20190231'),
		line('RAG', 'X', closed => '2020'), line('RAH', 'X', closed => '20190101'), line('RAA', 'X'), line('RAA', 'Y'),
		line('QRV', 'X'), line('ENG', 'X'), '"RAI","SHORT"'))),
	'Line 1: column 2, the name, is empty.' || E'\n' || 'Line 2: column 3 is no region code.' || E'\n'
	|| 'Line 3: column 4 is no code of an Integrated Care Board.' || E'\n' || 'Line 4: column 11 is no date (YYYYMMDD).' || E'\n'
	|| 'Line 5: column 12 is no date (YYYYMMDD).' || E'\n' || 'Line 6: it closed before it opened.' || E'\n'
	|| 'Line 8: code RAA stands on an earlier line too.' || E'\n'
	|| 'Line 9: code QRV is already known as a icb.' || E'\n' || 'Line 9: code QRV is that of a region or a board.' || E'\n'
	|| 'Line 10: code ENG is already known as a national.' || E'\n' || 'Line 10: code ENG is that of a region or a board.' || E'\n'
	|| 'Line 11: has 2 columns, 11 or more are wanted.', 'every fault is told');

-- many

SELECT is(spine.load_organisations((SELECT string_agg(line('Z' || lpad(upper(to_hex(g)), 5, '0'), 'T ' || g), E'\n') FROM generate_series(1, 5000) g)),
	5000, 'thousands are loaded');

-- the national file, where it is at hand

SELECT set_config('test.ods_file', :'ods_file', false) \gset ods_
SELECT CASE WHEN :'ods_file' = '' THEN skip(3, 'the national file is not here')
	ELSE collect_tap(
		is(spine.load_organisations(pg_read_file(current_setting('test.ods_file'))), 218, 'the national file has 218 Trusts'),
		(SELECT is(count(*), 0::bigint, 'all of which now have a parent')
		   FROM spine.csv_rows(pg_read_file(current_setting('test.ods_file'))) f JOIN spine.organisation o ON o.code = f.fields[1]
		  WHERE o.parent IS NULL),
		(SELECT results_eq($$ SELECT name, parent FROM spine.organisation WHERE code = 'RYJ' $$,
			$$ VALUES ('IMPERIAL COLLEGE HEALTHCARE NHS TRUST', 'QRV') $$, 'this one among them')))
	END;

-- single ones

SELECT is(spine.add_organisation('ryj01', 'St Mary''s', 'unit', 'RYJ'), 'RYJ01', 'a unit is added below its Trust');
SELECT throws_ok($$ SELECT spine.add_organisation('RYJ01', 'Again', 'unit', 'RYJ') $$, '23505', 'organisation RYJ01 exists already',
	'but not twice');
SELECT throws_ok($$ SELECT spine.add_organisation('RYJ02', 'X', 'unit', 'NOONE') $$, '23503', 'organisation NOONE does not exist',
	'nor below one that is not there');
SELECT throws_ok($$ SELECT spine.add_organisation('RYJ02', 'X', 'castle') $$, '23514', NULL, 'nor of a kind there is not');
SELECT throws_ok($$ SELECT spine.add_organisation('R-2', 'X', 'unit') $$, '22P02', NULL, 'nor with a code that is none');
SELECT throws_ok($$ SELECT spine.add_organisation('RYJ02', ' ', 'unit') $$, '22004', NULL, 'nor without a name');

-- hosting

SELECT lives_ok($$ SELECT spine.host_organisation('RYJ01') $$, 'this node hosts a further organisation');
SELECT is(spine.hosted_organisations(), ARRAY['RYJ', 'RYJ01'], 'and speaks for both');
SELECT lives_ok($$ SELECT spine.host_organisation('RYJ01') $$, 'saying it again changes nothing');
SELECT throws_ok($$ SELECT spine.host_organisation('NOONE') $$, '42704', NULL, 'one that is not known cannot be hosted');
INSERT INTO spine.node (name) VALUES ('chelsea');
INSERT INTO spine.node_organisation (organisation, node) VALUES ('RQM', 'chelsea');
SELECT throws_ok($$ SELECT spine.host_organisation('RQM') $$, '55000', 'organisation RQM is hosted by node chelsea',
	'nor can one that a neighbour hosts');

-- who may

SELECT lives_ok($$ SELECT as_role('organisations_operator', $q$ SELECT spine.add_organisation('RYJ03', 'X', 'unit', 'RYJ') $q$) $$,
	'an operator may');
SELECT throws_ok($$ SELECT as_role('organisations_clinician', $q$ SELECT spine.add_organisation('RYJ04', 'X', 'unit', 'RYJ') $q$) $$,
	'42501', NULL, 'a clinician may not add an organisation');
SELECT throws_ok($$ SELECT as_role('organisations_clinician', $q$ SELECT spine.load_organisations('x') $q$) $$, '42501', NULL,
	'nor load them');
SELECT throws_ok($$ SELECT as_role('organisations_clinician', $q$ SELECT spine.host_organisation('RYJ03') $q$) $$, '42501', NULL,
	'nor host one');
SELECT results_eq($$ SELECT as_role('organisations_clinician', $q$ SELECT code, hosted_by FROM spine.organisations WHERE code IN ('RYJ', 'RQM', 'RAS') ORDER BY 1 $q$) $$,
	$$ VALUES ('(RAS,)'), ('(RQM,chelsea)'), ('(RYJ,RYJ)') $$, 'but sees who there is and where');

SELECT * FROM finish();
SELECT drop_roles('organisations_operator', 'organisations_clinician');
