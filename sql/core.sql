-- Ids. The functions that turn an NHS number into a patient id are spine's own:
-- whoever could call them could look for a person by trying numbers.

CREATE FUNCTION spine.patient_id(spine.nhs_number) RETURNS uuid
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_patient_id';
REVOKE EXECUTE ON FUNCTION spine.patient_id(spine.nhs_number) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spine.patient_id(spine.nhs_number) TO spine_owner;
COMMENT ON FUNCTION spine.patient_id(spine.nhs_number) IS
	'The id of the person with this NHS number: HMAC-SHA-256 under the network key, cut to a uuid; the same on every node of the network.';

CREATE FUNCTION spine.uuid_v7() RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'spine_uuid_v7';
COMMENT ON FUNCTION spine.uuid_v7() IS
	'A new version 7 uuid (RFC 9562): ids made by one session grow.';

-- Tables by month

CREATE FUNCTION spine.make_month_partition(parent text, month timestamptz) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET TimeZone = 'UTC'
	AS $$
DECLARE
	part text := parent || to_char(month, '"_"YYYY"_"MM');
BEGIN
	IF to_regclass(format('spine.%I', part)) IS NOT NULL THEN
		RETURN false;
	END IF;
	-- made apart and attached: CREATE ... PARTITION OF would lock out writers
	EXECUTE format('CREATE TABLE spine.%I (LIKE spine.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION INCLUDING STORAGE)',
				   part, parent);
	-- what came while the month had none
	EXECUTE format('WITH moved AS (DELETE FROM spine.%I WHERE at >= %L AND at < %L RETURNING *) INSERT INTO spine.%I SELECT * FROM moved',
				   parent || '_default', month, month + interval '1 month', part);
	EXECUTE format('ALTER TABLE spine.%I ATTACH PARTITION spine.%I FOR VALUES FROM (%L) TO (%L)',
				   parent, part, month, month + interval '1 month');
	RETURN true;
END
$$;
ALTER FUNCTION spine.make_month_partition(text, timestamptz) OWNER TO spine_owner;
REVOKE EXECUTE ON FUNCTION spine.make_month_partition(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION spine.make_month_partition(text, timestamptz) IS
	'Gives a table that is partitioned by "at" its partition for a month (its first instant, UTC), with what the default partition holds of it. False where it has one. Raises what a lock that is not to be had raises: the default partition takes the rows, and whoever asks asks again.';
