-- Published data sets. The definition is the one source; the catalogue views below read it.

CREATE TABLE spine.dataset (
	name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,30}$'),
	version text NOT NULL CHECK (version ~ '^[0-9]{1,4}(\.[0-9]{1,4}){0,2}$'),
	title text NOT NULL,
	definition jsonb NOT NULL,
	published_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	published_by name NOT NULL DEFAULT SESSION_USER,
	retired_on date,
	PRIMARY KEY (name, version)
);
COMMENT ON TABLE spine.dataset IS 'Published versions of data sets, with their definitions.';
