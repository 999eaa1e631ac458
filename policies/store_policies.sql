-- Row-level security of the store's own tables. Those of data groups get theirs when a data set is published.
--
-- spine_owner alone passes by policies. People read through views that belong to
-- spine_reader, for which the policies below are; whatever has none shows it nothing.
-- Not under row-level security are, each with its reason:
--   store, organisation, node_organisation, dataset   public knowledge on this node, read through views
--   node, link, link_received, incident               the node's own state: no patients, no records
--   node_key, receipt, link_comparison, link_compared   likewise: keys, counts and digests
-- Everything else is, tables of a later version too.
DO $policies$
DECLARE
	relation regclass;
BEGIN
	FOR relation IN
		SELECT c.oid FROM pg_catalog.pg_class c
		 WHERE c.relnamespace = 'spine'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		   AND c.relname <> ALL (ARRAY['store', 'organisation', 'node_organisation', 'dataset',
									   'node', 'link', 'link_received', 'incident',
									   'node_key', 'receipt', 'link_comparison', 'link_compared'])
		 ORDER BY c.relname
	LOOP
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
	END LOOP;
END
$policies$;

-- an organisation's operators and governors know who acts for it
CREATE POLICY of_organisation ON spine.member FOR SELECT TO spine_reader
	USING (organisation = ANY ((SELECT spine.caller_organisations('operator') || spine.caller_organisations('governor'))::text[]));
CREATE POLICY of_organisation ON spine.system FOR SELECT TO spine_reader
	USING (organisation = ANY ((SELECT spine.caller_organisations('operator') || spine.caller_organisations('governor'))::text[]));

CREATE POLICY of_organisation ON spine.member_event FOR SELECT TO spine_reader
	USING (organisation = ANY ((SELECT spine.caller_organisations('operator') || spine.caller_organisations('governor'))::text[]));

-- an owner's governors know what of it left the node; its operators see through spine.withdrawals alone
CREATE POLICY of_organisation ON spine.delivery FOR SELECT TO spine_reader
	USING (owner = ANY ((SELECT spine.caller_organisations('governor') || spine.caller_organisations('operator'))::text[]));

-- those who read its records know whom it cares for
CREATE POLICY of_organisation ON spine.relationship FOR SELECT TO spine_reader
	USING (organisation = ANY ((SELECT spine.my_organisations())::text[]) OR owner = ANY ((SELECT spine.my_organisations())::text[]));

-- who cares for her knows what she does not want, and so do those who answer for an organisation that has to keep to it
CREATE POLICY of_organisation ON spine.dissent FOR SELECT TO spine_reader
	USING (owner = ANY ((SELECT spine.caller_organisations('clinician') || spine.caller_organisations('governor'))::text[])
		   OR audience && (SELECT ARRAY(SELECT o || ':care' FROM pg_catalog.unnest(spine.caller_organisations('governor')) o)));

-- its governors know who opened what of it, and what its own staff opened
CREATE POLICY of_organisation ON spine.access_log FOR SELECT TO spine_reader
	USING (organisation = ANY ((SELECT spine.caller_organisations('governor'))::text[])
		   OR owners && (SELECT spine.caller_organisations('governor'))::text[]);
-- and what was opened of it at another node
CREATE POLICY of_organisation ON spine.access_notice FOR SELECT TO spine_reader
	USING (about = ANY ((SELECT spine.caller_organisations('governor'))::text[]));

-- a system knows its own faults, its organisation's people those of all
CREATE POLICY of_organisation ON spine.finding FOR SELECT TO spine_reader
	USING (owner = ANY ((SELECT spine.caller_organisations('clinician') || spine.caller_organisations('analyst'))::text[])
		   OR spine.is_caller_system(owner, source_system));
CREATE POLICY of_organisation ON spine.rejection FOR SELECT TO spine_reader
	USING (owner = ANY ((SELECT spine.caller_organisations('clinician') || spine.caller_organisations('analyst'))::text[])
		   OR spine.is_caller_system(owner, source_system));

-- What was sent: its sender knows that, a device too, and whoever acts for the organisation, counts alone. What became of each line
-- is for those who see findings. Submissions as they came (raw_submission) are for nobody.
CREATE POLICY of_organisation ON spine.submission FOR SELECT TO spine_reader
	USING (owner = ANY ((SELECT spine.caller_organisations())::text[]) OR spine.is_caller_sender(owner, source_system));
CREATE POLICY of_organisation ON spine.inbox_line FOR SELECT TO spine_reader
	USING (owner = ANY ((SELECT spine.caller_organisations('clinician') || spine.caller_organisations('analyst'))::text[])
		   OR spine.is_caller_sender(owner, source_system));

-- history is of own records only
CREATE POLICY of_organisation ON spine.history FOR SELECT TO spine_reader
	USING (owner = ANY ((SELECT spine.my_organisations())::text[]));
