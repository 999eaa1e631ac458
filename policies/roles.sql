-- The roles of a node. They are made with the extension, so that a plain dump of the
-- database restores into a fresh cluster. None of them can log in.
--
--   spine_owner      owns every table and function; bypasses row-level security
--   spine_reader     owns the version views; row-level security holds for it
--   spine_member     may read through the version views (granted by spine.add_member, and by spine.add_system to what reads)
--   spine_supplier   may write through the version views and spine.submit (spine.add_system, to what writes)
--   spine_governor   may propose, sign, publish and end agreements
--   spine_portal     may record and withdraw a person's dissent and ask who opened her record, for her (the duty portal)
--   spine_operator   may publish data sets, connect neighbours, add members and systems
--   spine_neighbour  may execute the receiving functions and nothing else
DO $roles$
DECLARE
	wanted text;
BEGIN
	FOREACH wanted IN ARRAY ARRAY['spine_owner', 'spine_reader', 'spine_member', 'spine_supplier',
								  'spine_governor', 'spine_operator', 'spine_portal', 'spine_neighbour']
	LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOCREATEROLE NOCREATEDB NOSUPERUSER', wanted);
		END IF;
	END LOOP;
	ALTER ROLE spine_owner BYPASSRLS;
	-- spine_owner grants the group roles and hands the views to spine_reader
	GRANT spine_reader, spine_member, spine_supplier, spine_governor, spine_operator, spine_portal, spine_neighbour
		TO spine_owner WITH ADMIN OPTION;
	-- it creates the schemas of data sets
	EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %I TO spine_owner', pg_catalog.current_database());
END
$roles$;

GRANT USAGE ON SCHEMA spine TO spine_owner;
-- a view can only be handed to a role that may create in its schema
GRANT CREATE ON SCHEMA spine TO spine_owner WITH GRANT OPTION;
GRANT USAGE ON SCHEMA spine TO spine_reader, spine_member, spine_supplier, spine_governor,
	spine_operator, spine_portal, spine_neighbour;
