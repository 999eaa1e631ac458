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
