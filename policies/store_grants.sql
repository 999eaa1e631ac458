-- Who may read what of the store. Nobody is granted a table but spine_reader, which owns the
-- views over those that have policies. Nobody is granted writing: functions write, and
-- the triggers of the doors.

GRANT CREATE ON SCHEMA spine TO spine_reader;
ALTER VIEW spine.members OWNER TO spine_reader;
ALTER VIEW spine.systems OWNER TO spine_reader;
ALTER VIEW spine.member_history OWNER TO spine_reader;
ALTER VIEW spine.agreements OWNER TO spine_reader;
ALTER VIEW spine.agreements_in_force OWNER TO spine_reader;
ALTER VIEW spine.relationships OWNER TO spine_reader;
ALTER VIEW spine.accesses OWNER TO spine_reader;
ALTER VIEW spine.review OWNER TO spine_reader;
ALTER VIEW spine.dissents OWNER TO spine_reader;
ALTER VIEW spine.disclosures OWNER TO spine_reader;
ALTER VIEW spine.withdrawals OWNER TO spine_reader;
ALTER VIEW spine.findings OWNER TO spine_reader;
ALTER VIEW spine.rejections OWNER TO spine_reader;
ALTER VIEW spine.corrections OWNER TO spine_reader;
ALTER VIEW spine.submissions OWNER TO spine_reader;
ALTER VIEW spine.inbox_result OWNER TO spine_reader;
REVOKE CREATE ON SCHEMA spine FROM spine_reader;

GRANT SELECT ON spine.member, spine.member_event, spine.system, spine.relationship, spine.dissent, spine.delivery, spine.access_log, spine.access_notice, spine.finding, spine.rejection, spine.history,
	spine.submission, spine.inbox_line
	TO spine_reader;

GRANT SELECT ON spine.organisations TO spine_member, spine_supplier, spine_governor, spine_operator;
GRANT SELECT ON spine.agreements, spine.agreements_in_force TO spine_member, spine_supplier, spine_governor, spine_operator;
GRANT SELECT ON spine.members, spine.systems, spine.member_history TO spine_governor, spine_operator;
GRANT SELECT ON spine.relationships, spine.corrections TO spine_member;
GRANT SELECT ON spine.accesses, spine.review, spine.disclosures TO spine_governor;
GRANT SELECT ON spine.withdrawals, spine.receipts TO spine_governor, spine_operator;
GRANT SELECT ON spine.dissents TO spine_member, spine_governor;
GRANT SELECT ON spine.findings, spine.rejections TO spine_member;
GRANT SELECT ON spine.submissions TO spine_member, spine_supplier, spine_governor, spine_operator;
GRANT SELECT ON spine.inbox_result TO spine_member, spine_supplier;
-- to write only: it has no rows
GRANT INSERT ON spine.inbox TO spine_supplier;
