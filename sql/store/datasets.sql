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
CREATE TRIGGER forget_cache AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spine.dataset
	FOR EACH STATEMENT EXECUTE FUNCTION spine.forget_cache();
COMMENT ON TABLE spine.dataset IS 'Published versions of data sets, with their definitions.';

-- The catalogue: what the definitions say, as rows.

CREATE VIEW spine.datasets AS
	SELECT d.name AS dataset, d.version, d.title,
		   d.definition ->> 'description' AS description,
		   d.definition ->> 'source' AS source,
		   d.definition ->> 'mandation' AS mandation,
		   pg_catalog.concat(d.name, '_', pg_catalog.replace(d.version, '.', '_')) AS view_schema,
		   pg_catalog.row_number() OVER (PARTITION BY d.name
				ORDER BY pg_catalog.string_to_array(d.version, '.')::integer[] DESC) = 1 AS newest,
		   d.published_at, d.published_by, d.retired_on,
		   d.definition ->> 'extends' AS extends, d.definition ->> 'header' AS header_group
	  FROM spine.dataset AS d;
COMMENT ON VIEW spine.datasets IS 'The versions of data sets that are published here. mandation says whose the statuses of items are; view_schema holds the views of the version; extends: the version of which this one was defined as a change; header_group: the group of which a submission has one record; retired_on: the first day on which the version is not accepted.';

CREATE VIEW spine.data_groups AS
	SELECT d.name AS dataset, d.version, g.n::integer AS position, g.body ->> 'name' AS data_group,
		   g.body ->> 'title' AS title, g.body ->> 'description' AS description, g.body ->> 'nhs_table' AS nhs_table,
		   g.body ->> 'subject' AS subject, g.body ->> 'episode' AS episode,
		   ARRAY(SELECT pg_catalog.jsonb_array_elements_text(g.body -> 'key')) AS key,
		   g.body -> 'parent' ->> 'group' AS parent_group, g.body -> 'parent' ->> 'item' AS parent_item,
		   ARRAY(SELECT e ->> 'date' FROM pg_catalog.jsonb_array_elements(
					CASE pg_catalog.jsonb_typeof(g.body -> 'event') WHEN 'array' THEN g.body -> 'event'
						WHEN 'object' THEN pg_catalog.jsonb_build_array(g.body -> 'event') ELSE '[]' END) AS e) AS event_dates,
		   g.body -> 'example' AS example
	  FROM spine.dataset AS d,
		   pg_catalog.jsonb_array_elements(d.definition -> 'groups') WITH ORDINALITY AS g (body, n);
COMMENT ON VIEW spine.data_groups IS 'The data groups of each version, in the order of the definition. key: the items that identify a record within a system. event_dates: the items that date it, the first one present counts. example: the data of a complete valid record.';

CREATE VIEW spine.data_items AS
	SELECT d.name AS dataset, d.version, g.body ->> 'name' AS data_group, i.n::integer AS position,
		   i.body ->> 'name' AS item, i.body ->> 'nhs_name' AS nhs_name, i.body ->> 'uid' AS uid,
		   i.body ->> 'title' AS title, i.body ->> 'description' AS description, i.body ->> 'type' AS type,
		   (i.body ->> 'min_length')::integer AS min_length, (i.body ->> 'max_length')::integer AS max_length,
		   i.body ->> 'min' AS min, i.body ->> 'max' AS max, i.body ->> 'codes' AS codes,
		   i.body ->> 'status' AS status, i.body ->> 'class' AS class,
		   coalesce(i.body ->> 'column', i.body ->> 'name') AS column_name
	  FROM spine.dataset AS d,
		   pg_catalog.jsonb_array_elements(d.definition -> 'groups') WITH ORDINALITY AS g (body, n),
		   pg_catalog.jsonb_array_elements(g.body -> 'items') WITH ORDINALITY AS i (body, n);
COMMENT ON VIEW spine.data_items IS 'The items of each data group. status: M mandatory, R required, O optional, P pilot. codes names a list of spine.code_lists. column_name: the column of the group''s table, which a renamed item keeps.';

CREATE VIEW spine.code_lists AS
	SELECT d.name AS dataset, d.version, l.key AS list, l.value ->> 'title' AS title, l.value ->> 'source' AS source,
		   coalesce(l.value ->> 'severity', 'warning') AS severity
	  FROM spine.dataset AS d, pg_catalog.jsonb_each(d.definition -> 'code_lists') AS l;
COMMENT ON VIEW spine.code_lists IS 'The code lists of each version. severity: what a code outside the list does to a record.';

CREATE VIEW spine.codes AS
	SELECT d.name AS dataset, d.version, l.key AS list, c.key AS code, c.value AS meaning
	  FROM spine.dataset AS d, pg_catalog.jsonb_each(d.definition -> 'code_lists') AS l,
		   pg_catalog.jsonb_each_text(l.value -> 'codes') AS c;
COMMENT ON VIEW spine.codes IS 'The codes of each list with their meaning.';

CREATE VIEW spine.rules AS
	SELECT d.name AS dataset, d.version, g.body ->> 'name' AS data_group, r.n::integer AS position, r.body ->> 'id' AS rule,
		   r.body ->> 'severity' AS severity, r.body ->> 'expression' AS expression,
		   ARRAY(SELECT pg_catalog.jsonb_array_elements_text(r.body -> 'items')) AS items,
		   r.body ->> 'message' AS message,
		   coalesce(r.body ->> 'kind', 'expression') AS kind, r.body ->> 'group' AS other_group, r.body -> 'match' AS match,
		   r.body ->> 'when' AS applies_when,
		   nullif(r.body - '{id,severity,kind,items,message,expression,group,match,when,examples}'::text[], '{}') AS parameters,
		   r.body -> 'examples' AS examples
	  FROM spine.dataset AS d,
		   pg_catalog.jsonb_array_elements(d.definition -> 'groups') WITH ORDINALITY AS g (body, n),
		   pg_catalog.jsonb_array_elements(g.body -> 'rules') WITH ORDINALITY AS r (body, n);
COMMENT ON VIEW spine.rules IS 'The rules of each data group. kind: what the rule is about (expression, related, exists, unique, organisation, own_code, count, failures). A record for which the expression is false breaks the rule; other_group and match say with which records it is compared, applies_when to which records the rule applies, parameters what else its kind takes (at, except, known, min, max, max_percent).';

GRANT SELECT ON spine.datasets, spine.data_groups, spine.data_items, spine.code_lists, spine.codes, spine.rules
	TO spine_member, spine_supplier, spine_governor, spine_operator;

-- Every record of every data set in one form; spine.publish_dataset makes it anew. It belongs
-- to spine_reader, so that row-level security holds for whoever reads it.
CREATE VIEW spine.all_records AS
	SELECT NULL::text AS dataset, NULL::text AS version, NULL::text AS data_group, NULL::text AS title,
		   NULL::uuid AS record_id, NULL::text COLLATE "C" AS owner, NULL::text COLLATE "C" AS source_system,
		   NULL::uuid AS patient_id, NULL::uuid AS episode_id, NULL::timestamptz AS event_at,
		   NULL::timestamptz AS received_at, NULL::bigint AS revision, NULL::jsonb AS data
	 WHERE false;
COMMENT ON VIEW spine.all_records IS 'Every record the caller may see, of every data group. version: that in which it was sent; data: the items that are not null.';
GRANT CREATE ON SCHEMA spine TO spine_reader;
ALTER VIEW spine.all_records OWNER TO spine_reader;
REVOKE CREATE ON SCHEMA spine FROM spine_reader;
GRANT SELECT ON spine.all_records TO spine_member;
