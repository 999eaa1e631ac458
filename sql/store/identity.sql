-- Persons and episodes. A patient is an id, nothing more: HMAC-SHA-256 of the NHS number under
-- the network key, or a random id where no number is known. Nobody is ever re-pointed: two ids of
-- one person are joined by a link that can be ended. Identifiers compare bytewise ("C"): faster, and no change of
-- the system's collations can spoil their indexes.

CREATE TABLE spine.alias (
	owner text COLLATE "C" NOT NULL,
	source_system text COLLATE "C" NOT NULL,
	local_patient_id text COLLATE "C" NOT NULL,
	patient_id uuid NOT NULL,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (owner, source_system, local_patient_id)
);
CREATE INDEX alias_patient ON spine.alias (patient_id);
COMMENT ON TABLE spine.alias IS 'A system''s own patient numbers.';

CREATE TABLE spine.identity_link (
	link_id uuid PRIMARY KEY,
	from_patient uuid NOT NULL,
	to_patient uuid NOT NULL,
	method text NOT NULL,
	owner text NOT NULL,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	until timestamptz,
	CHECK (from_patient <> to_patient)
);
CREATE UNIQUE INDEX identity_link_pair ON spine.identity_link (from_patient, to_patient, owner) WHERE until IS NULL;
CREATE INDEX identity_link_to ON spine.identity_link (to_patient);
COMMENT ON TABLE spine.identity_link IS 'Two patient ids that are one person, by which method, from when, until when.';

CREATE TABLE spine.family_link (
	child uuid NOT NULL,
	mother uuid NOT NULL,
	method text NOT NULL,
	owner text NOT NULL,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	until timestamptz,
	PRIMARY KEY (child, mother, owner)
);
CREATE INDEX family_link_mother ON spine.family_link (mother);
COMMENT ON TABLE spine.family_link IS 'Baby to mother.';

CREATE TABLE spine.episode (
	episode_id uuid PRIMARY KEY,
	patient_id uuid NOT NULL,
	kind text NOT NULL,
	-- anchors are subtracted from each other
	anchor date CHECK (pg_catalog.isfinite(anchor)),
	owner text NOT NULL,
	opened_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX episode_patient ON spine.episode (patient_id, kind);
COMMENT ON TABLE spine.episode IS 'Episodes. anchor is the date that makes two descriptions the same episode: for a pregnancy the expected date of delivery.';

CREATE TABLE spine.episode_alias (
	owner text COLLATE "C" NOT NULL,
	source_system text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	local_episode_id text COLLATE "C" NOT NULL,
	patient_id uuid NOT NULL,
	episode_id uuid NOT NULL,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (owner, source_system, kind, local_episode_id)
);
CREATE INDEX episode_alias_episode ON spine.episode_alias (episode_id);
COMMENT ON TABLE spine.episode_alias IS 'A system''s own episode numbers (pregnancy identifiers and the like).';

CREATE TABLE spine.episode_link (
	from_episode uuid NOT NULL,
	to_episode uuid NOT NULL,
	kind text NOT NULL CHECK (kind IN ('same', 'birth_of', 'follows')),
	method text NOT NULL,
	owner text NOT NULL,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (from_episode, to_episode, kind)
);
CREATE INDEX episode_link_to ON spine.episode_link (to_episode);
COMMENT ON TABLE spine.episode_link IS 'Episodes that belong together: one pregnancy described twice, a birth and its pregnancy.';
