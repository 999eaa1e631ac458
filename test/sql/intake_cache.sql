-- What a session remembers of a data set, and when it must forget it.
\ir setup.psql
SELECT plan(13);

CREATE ROLE intake_cache_supplier;
\o /dev/null
SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'intake_cache_supplier');
\o
CREATE FUNCTION contact(key text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	SET LOCAL ROLE intake_cache_supplier;
	SELECT s.outcome INTO answer FROM spine.submit(format('{"dataset": "maternity", "version": "2.0", "records": [{"group": "care_contact",
		"nhs_number": "9990000018", "local_episode_id": "P1", "data": {"care_contact_id": "%s", "contact_date": "2026-04-01"}}]}', key)) s;
	RESET ROLE;
	RETURN answer;
END
$$;

SET ROLE intake_cache_supplier;
SELECT s.n FROM spine.submit('{"dataset": "maternity", "version": "2.0", "records": [{"group": "booking", "nhs_number": "9990000018",
	"data": {"pregnancy_id": "P1", "antenatal_booking_date": "2026-01-05", "edd_agreed": "2026-08-10"}}]}'::json) s \g /dev/null
RESET ROLE;

-- a data set that is retired

SELECT is(contact('A'), 'accepted', 'a version that is published is accepted');
UPDATE spine.dataset SET retired_on = current_date;
SELECT throws_ok($$ SELECT contact('B') $$, 'SP003', NULL, 'retired, it is no longer accepted in a session that used it before');
UPDATE spine.dataset SET retired_on = NULL;
SELECT is(contact('C'), 'accepted', 'no longer retired, it is accepted again');
-- one day in the west, a later one in the east
SET timezone = 'Etc/GMT+12';
UPDATE spine.dataset SET retired_on = current_date + 1;
SELECT is(contact('D'), 'accepted', 'on the day before it is retired it is accepted');
SET timezone = 'Etc/GMT-14';
SELECT throws_ok($$ SELECT contact('E') $$, 'SP003', NULL, 'on the day itself no more, though nothing has changed');
RESET timezone;
UPDATE spine.dataset SET retired_on = NULL;

-- a data set that is published and rolled back, with records written between

CREATE FUNCTION small(name text, item_type text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT format('{"name": "%s", "version": "1.0", "title": "T", "description": "D", "source": "S", "mandation": "M",
		"groups": [{"name": "visit", "title": "V", "description": "D", "subject": "mother", "key": ["visit_key"],
			"items": [{"name": "visit_key", "title": "K", "type": "text", "status": "M", "class": "administrative"},
					  {"name": "told", "title": "W", "type": "%s", "status": "O", "class": "clinical"}],
			"rules": [{"id": "visit.told", "severity": "record", "items": ["told"], "expression": "told IS NOT NULL", "message": "Send told."}]}]}',
		name, item_type)::jsonb
$$;
CREATE FUNCTION visit(told text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	SET LOCAL ROLE intake_cache_supplier;
	SELECT s.outcome INTO answer FROM spine.submit(format('{"dataset": "cache_visits", "version": "1.0", "records": [{"group": "visit",
		"nhs_number": "9990000018", "data": {"visit_key": "V", "told": "%s"}}]}', told)) s;
	RESET ROLE;
	RETURN answer;
END
$$;
BEGIN;
SAVEPOINT unpublished;
SELECT is(spine.publish_dataset(small('cache_visits', 'text')), 'cache_visits_1_0', 'published');
SELECT is(visit('something'), 'accepted', 'it is accepted in the transaction that publishes it');
ROLLBACK TO unpublished;
SELECT throws_ok($$ SELECT visit('something') $$, 'SP003', NULL, 'its publishing rolled back, it is unknown');
SELECT is(spine.publish_dataset(small('cache_visits', 'date')), 'cache_visits_1_0', 'published with another type');
SELECT is(visit('something'), 'rejected', 'the definition rolled back has no say');
SELECT is(visit('2026-04-01'), 'accepted', 'the other one has');
COMMIT;
SELECT is(visit('2026-04-02'), 'accepted', 'and keeps it');

-- what computes audiences knows of every data set, too

SELECT spine.reaudience(ARRAY[spine.patient_id('9990000018')]) \g /dev/null
SELECT spine.publish_dataset(small('cache_later', 'text')) \g /dev/null
SET ROLE intake_cache_supplier;
INSERT INTO cache_later_1_0.visit (nhs_number, visit_key, told) VALUES ('9990000018', 'V', 'W');
RESET ROLE;
UPDATE cache_later.visit SET audience = '{RQM:care,RQM:care/aci}';
SELECT spine.reaudience(ARRAY[spine.patient_id('9990000018')]) \g /dev/null
SELECT is((SELECT audience FROM cache_later.visit), '{}', 'audiences are computed anew in a data set published after the first time');

SELECT * FROM finish();
DELETE FROM spine.system;
DROP OWNED BY intake_cache_supplier;
DROP ROLE intake_cache_supplier;
