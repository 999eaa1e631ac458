-- Rules of kind organisation: is it open on the day, is it known at all; and what a session remembers of that.
\ir setup.psql
SELECT plan(39);

CREATE ROLE rules_organisation_system;
\o /dev/null
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'rules_organisation_system');
-- one that has closed, its successor, one of which no dates are known, one that is yet to open, and a default code, as a closed one
INSERT INTO spine.organisation (code, name, kind, opened, closed) VALUES
	('X1A01', 'Old unit', 'unit', '2010-01-01', '2020-03-31'),
	('X1A02', 'New unit', 'unit', '2020-04-01', NULL),
	('X1A03', 'Undated unit', 'unit', NULL, NULL),
	('X1A04', 'Coming unit', 'unit', '2999-01-01', NULL),
	('X1A05', 'Ended unit', 'unit', NULL, '2015-06-30'),
	('ZZ201', 'Not a place', 'unit', NULL, '2001-03-31');
SELECT spine.publish_dataset('{"name": "rules_organisation", "version": "1.0", "title": "Visits", "description": "Visits.", "source": "This test.", "mandation": "This test.",
	"groups": [{"name": "visit", "title": "Visit", "description": "A visit.", "subject": "none", "key": ["visit_key"], "event": {"date": "happened_on"},
		"items": [
			{"name": "visit_key", "title": "Key", "type": "text", "status": "M", "class": "administrative"},
			{"name": "happened_on", "title": "Day", "type": "date", "status": "O", "class": "administrative"},
			{"name": "sent_on", "title": "Sent", "type": "date", "status": "O", "class": "administrative"},
			{"name": "provider", "title": "Provider", "type": "ods_code", "status": "O", "class": "administrative"},
			{"name": "sender", "title": "Sender", "type": "ods_code", "status": "O", "class": "administrative"},
			{"name": "laboratory", "title": "Laboratory", "type": "ods_code", "status": "O", "class": "administrative"},
			{"name": "site", "title": "Site", "type": "text", "status": "O", "class": "administrative"},
			{"name": "known_site", "title": "Known site", "type": "text", "status": "O", "class": "administrative"}],
		"rules": [
			{"id": "visit.provider", "kind": "organisation", "severity": "record", "items": ["provider"], "except": ["ZZ201", "X1A04"], "message": "Send a provider that was open on the day."},
			{"id": "visit.sender", "kind": "organisation", "severity": "record", "items": ["sender"], "at": "sent_on", "message": "Send a sender that was open when it sent."},
			{"id": "visit.laboratory", "kind": "organisation", "severity": "record", "items": ["laboratory"], "known": true, "except": ["X9998"], "message": "Send a laboratory that is known."},
			{"id": "visit.site", "kind": "organisation", "severity": "warning", "items": ["site"], "message": "Send a site that was open on the day."},
			{"id": "visit.known_site", "kind": "organisation", "severity": "warning", "items": ["known_site"], "known": true, "message": "Send a known_site that is known."}]}]}');
\o
CREATE SEQUENCE visit_number;
-- sends one visit and tells what becomes of it: its outcome and the rules that it breaks
CREATE FUNCTION visit(VARIADIC items text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	key text := nextval('visit_number');
BEGIN
	SET LOCAL ROLE rules_organisation_system;
	SELECT concat_ws(' ', s.outcome, (SELECT string_agg(f ->> 'rule', ' ' ORDER BY f ->> 'rule') FROM jsonb_array_elements(s.findings) f))
	  INTO answer
	  FROM spine.submit(json_build_object('dataset', 'rules_organisation', 'version', '1.0', 'records',
			json_build_array(json_build_object('group', 'visit', 'data',
				jsonb_object(items) || jsonb_build_object('visit_key', key))))) s;
	RESET ROLE;
	RETURN answer;
END
$$;

-- on the day of the record

SELECT is(visit('happened_on', d, 'provider', c), o, n) FROM (VALUES
	('2015-06-01', 'X1A01', 'accepted', 'an organisation that was open'),
	('2010-01-01', 'X1A01', 'accepted', 'on its first day'),
	('2009-12-31', 'X1A01', 'rejected visit.provider', 'not on the day before'),
	('2020-03-31', 'X1A01', 'accepted', 'on its last day'),
	('2020-04-01', 'X1A01', 'rejected visit.provider', 'not on the day after'),
	('2020-04-01', 'X1A02', 'accepted', 'when its successor is'),
	('2020-03-31', 'X1A02', 'rejected visit.provider', 'which was not on the day before'),
	('1948-07-05', 'X1A03', 'accepted', 'one without dates was open ever'),
	('2015-06-30', 'X1A05', 'accepted', 'one without a first day'),
	('2015-07-01', 'X1A05', 'rejected visit.provider', 'until its last'),
	('2015-06-01', 'x1a01', 'accepted', 'in small letters it is the same'),
	('2020-04-01', 'x1a01', 'rejected visit.provider', 'to the day'),
	('2015-06-01', 'X1Z99', 'accepted', 'one that is not known passes'),
	('2015-06-01', 'ZZ201', 'accepted', 'and what the rule excepts'),
	('2015-06-01', 'X1A04', 'accepted', 'each code of them')
) AS v (d, c, o, n);
SELECT is(visit('happened_on', '2015-06-01'), 'accepted', 'no organisation breaks no rule');
SELECT is(visit('provider', 'X1A01'), 'rejected visit.provider', 'a record without a date asks for today');
SELECT is(visit('provider', 'X1A02'), 'accepted', 'when one is open');

-- on the day of an item

SELECT is(visit('happened_on', '2015-06-01', 'sent_on', '2020-04-01', 'sender', 'X1A01'), 'rejected visit.sender', 'the item that at names goes before the record''s date');
SELECT is(visit('happened_on', '2020-04-01', 'sent_on', '2015-06-01', 'sender', 'X1A01'), 'accepted', 'both ways');
SELECT is(visit('happened_on', '2020-04-01', 'sender', 'X1A01'), 'rejected visit.sender', 'where it is missing, the record''s date counts');
SELECT is(visit('happened_on', '2015-06-01', 'sender', 'X1A01'), 'accepted', 'this way too');
SELECT is(visit('sender', 'X1A04'), 'rejected visit.sender', 'where that is missing as well, today');

-- known

SELECT is(visit('happened_on', '2015-06-01', 'laboratory', c), o, n) FROM (VALUES
	('X1A01', 'accepted', 'a known one that was open'),
	('X1A02', 'rejected visit.laboratory', 'a known one that was not'),
	('X1Z99', 'rejected visit.laboratory', 'one that is not known'),
	('X9998', 'accepted', 'but not what the rule excepts')
) AS v (c, o, n);

-- a text need not be a code

SELECT is(visit('happened_on', '2020-04-01', 'site', ' X1A01'), 'accepted_with_warnings visit.site', 'a code in an item of type text');
SELECT is(visit('happened_on', '2020-04-01', 'site', t, 'known_site', t), 'accepted_with_warnings visit.known_site', format('%s is not known, no more', left(t, 20)))
  FROM unnest(ARRAY['Ward 3; DROP', 'é', repeat('X', 5000)]) t;

-- what a session remembers

UPDATE spine.organisation SET closed = NULL WHERE code = 'X1A01';
SELECT is(visit('happened_on', '2020-04-01', 'provider', 'X1A01'), 'accepted', 'a change is seen in the session that has asked before');
BEGIN;
UPDATE spine.organisation SET closed = '2019-12-31' WHERE code = 'X1A01';
SELECT is(visit('happened_on', '2020-04-01', 'provider', 'X1A01'), 'rejected visit.provider', 'one''s own at once');
ROLLBACK;
SELECT is(visit('happened_on', '2020-04-01', 'provider', 'X1A01'), 'accepted', 'and rolled back it never was');
BEGIN;
SAVEPOINT asked;
DELETE FROM spine.organisation WHERE code = 'X1A03';
SELECT is(visit('happened_on', '2020-04-01', 'laboratory', 'X1A03'), 'rejected visit.laboratory', 'one that is gone is not known');
ROLLBACK TO asked;
SELECT is(visit('happened_on', '2020-04-01', 'laboratory', 'X1A03'), 'accepted', 'until the savepoint brings it back');
COMMIT;
SELECT is(visit('happened_on', '2015-06-01', 'laboratory', 'X1Z99'), 'rejected visit.laboratory', 'what is not known is remembered as such');
INSERT INTO spine.organisation (code, name, kind) VALUES ('X1Z99', 'Unit', 'unit');
SELECT is(visit('happened_on', '2015-06-01', 'laboratory', 'X1Z99'), 'accepted', 'and forgotten when it comes');

-- more codes than are remembered: the answers stay right
CREATE FUNCTION many() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	SET LOCAL ROLE rules_organisation_system;
	WITH sent AS MATERIALIZED (
		SELECT json_build_object('dataset', 'rules_organisation', 'version', '1.0', 'records', json_agg(json_build_object('group', 'visit', 'data',
					json_build_object('visit_key', 'many' || i, 'happened_on', '2020-04-01',
						'laboratory', CASE i % 2000 WHEN 0 THEN 'X1A02' WHEN 1 THEN 'X1A05' ELSE 'Y' || i END)) ORDER BY i)) AS document
		  FROM generate_series(1, 12000) i
	)
	SELECT string_agg(n % 2000 || ' ' || outcome, ', ' ORDER BY n) FILTER (WHERE n % 2000 <= 2) INTO answer
	  FROM sent, LATERAL spine.submit(document);
	RESET ROLE;
	RETURN answer;
END
$$;
SELECT is(many(), (SELECT string_agg(i % 2000 || CASE i % 2000 WHEN 0 THEN ' accepted' ELSE ' rejected' END, ', ' ORDER BY i)
	FROM generate_series(1, 12000) i WHERE i % 2000 <= 2), 'twelve thousand codes, more than are kept');

SELECT * FROM finish();
DROP OWNED BY rules_organisation_system;
DROP ROLE rules_organisation_system;
