-- Emergencies and their review, dissents as people see them.

CREATE INDEX relationship_emergency ON spine.relationship (organisation, since) WHERE kind = 'emergency';

-- the same said twice by one organisation is one dissent
CREATE UNIQUE INDEX dissent_one ON spine.dissent (patient_id, purpose, organisation, owner) NULLS NOT DISTINCT WHERE until IS NULL;

CREATE TABLE spine.review_event (
	event_id uuid PRIMARY KEY,
	relationship_id uuid NOT NULL,
	owner text NOT NULL,
	outcome text NOT NULL CHECK (outcome IN ('appropriate', 'inappropriate', 'unclear')),
	note text NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	by_role name NOT NULL,
	user_name text,
	revision bigint NOT NULL DEFAULT 1,
	audience text[] NOT NULL
);
CREATE UNIQUE INDEX review_event_once ON spine.review_event (relationship_id, owner);
COMMENT ON TABLE spine.review_event IS 'The review of an emergency is closed: what came out of it, said by owner, an organisation on either side. Append-only; of several, the first counts. All else about a review is derived.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON spine.review_event
	FOR EACH ROW EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spine.review_event
	FOR EACH STATEMENT EXECUTE FUNCTION spine.append_only();
CREATE TRIGGER deliver_insert AFTER INSERT ON spine.review_event
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION spine.deliver('spine', 'review_event');

CREATE VIEW spine.review AS SELECT * FROM spine.my_reviews();
COMMENT ON VIEW spine.review IS 'Every use of spine.break_glass: who broke the glass for which organisation, why, from when (at) until when; state open, explained (an episode, referral or transfer of hers to the organisation followed in time; explained_by, explained_at) or closed (spine.close_review). For governors of the organisation and of those whose records of her it could show.';

CREATE VIEW spine.dissents AS
	SELECT d.dissent_id, d.patient_id, d.purpose, d.organisation, d.owner,
		   -- what she said stays with those whom she told
		   CASE WHEN d.owner = ANY ((SELECT spine.caller_organisations('clinician') || spine.caller_organisations('governor'))::text[])
				THEN d.reason END AS reason,
		   d.since, d.until,
		   CASE WHEN d.owner = ANY ((SELECT spine.caller_organisations('clinician') || spine.caller_organisations('governor'))::text[])
				THEN d.recorded_by END AS recorded_by
	  FROM spine.dissent d;
COMMENT ON VIEW spine.dissents IS 'What people do not want shared: for which purpose (secondary: neither reporting nor commissioning) and with which organisation (NULL: with anybody). For clinicians and governors of the organisation that recorded it (owner); without its reason for governors of those who must keep to it.';
