-- Members and systems: who may act for an organisation, and what that gives a role.
\ir setup.psql
\ir as_role.psql
SELECT plan(60);

SELECT make_roles('members_person', 'members_operator', 'members_other_operator', 'members_system', 'members_device',
				  'members_stranger', 'members_strong', 'members_heir', 'members_bypass', 'members_replicator');
ALTER ROLE members_strong SUPERUSER;
ALTER ROLE members_bypass BYPASSRLS;
ALTER ROLE members_replicator REPLICATION;
GRANT members_strong TO members_heir;
\o /dev/null
SELECT spine.host_organisation('RQM');
\o

CREATE VIEW groups_of AS
	SELECT m.rolname AS role, coalesce(string_agg(g.rolname, ',' ORDER BY g.rolname) FILTER (WHERE g.rolname ~ '^spine_'), '') AS groups
	  FROM pg_roles m LEFT JOIN pg_auth_members a ON a.member = m.oid LEFT JOIN pg_roles g ON g.oid = a.roleid
	 WHERE m.rolname ~ '^members_' GROUP BY 1;
CREATE FUNCTION groups_of(who text) RETURNS text LANGUAGE sql AS $$ SELECT groups FROM groups_of WHERE role = who $$;

-- members

SELECT lives_ok($$ SELECT spine.add_member('members_person', 'RYJ', 'clinician') $$, 'a role becomes a clinician');
SELECT is(groups_of('members_person'), 'spine_member', 'and is given the group role of those who read');
SELECT results_eq($$ SELECT as_role('members_person', 'SELECT role_name, organisation, duty, system FROM spine.whoami()') $$,
	$$ VALUES ('(members_person,RYJ,clinician,)') $$, 'it is known as what it is');
SELECT lives_ok($$ SELECT spine.add_member('members_person', 'RYJ', 'clinician') $$, 'the same again changes nothing');
SELECT lives_ok($$ SELECT spine.add_member('members_person', 'RQM', 'analyst'), spine.add_member('members_person', 'RYJ', 'governor') $$,
	'one role may have several duties at several organisations');
SELECT is(groups_of('members_person'), 'spine_governor,spine_member', 'and has the groups of them all');
SELECT lives_ok($$ SELECT spine.remove_member('members_person', 'RYJ', 'clinician') $$, 'a duty ends');
SELECT is(groups_of('members_person'), 'spine_governor,spine_member', 'what another duty needs stays');
SELECT lives_ok($$ SELECT spine.remove_member('members_person', 'RQM', 'analyst') $$, 'the other ends');
SELECT is(groups_of('members_person'), 'spine_governor', 'now the group goes');
SELECT throws_ok($$ SELECT spine.remove_member('members_person', 'RQM', 'analyst') $$, '42704', NULL, 'what is not there cannot end');

SELECT throws_ok($$ SELECT spine.add_member('members_person', 'RYJ', 'surgeon') $$, '22023', 'there is no duty "surgeon"',
	'a duty that there is not is refused');
SELECT throws_ok($$ SELECT spine.add_member('members_person', 'RAS', 'clinician') $$, '55000', 'this node does not host organisation RAS',
	'and an organisation that is not hosted here');
SELECT throws_ok($$ SELECT spine.add_member('members_person', 'no code', 'clinician') $$, '22P02', NULL, 'and what is no code');
SELECT throws_ok($$ SELECT spine.add_member('members_nobody', 'RYJ', 'clinician') $$, '42704', 'role "members_nobody" does not exist',
	'and a role that is not there');
SELECT throws_ok($$ SELECT spine.add_member('spine_supplier', 'RYJ', 'clinician') $$, '42939', NULL, 'and one of spine''s own roles');
SELECT throws_ok($$ SELECT spine.add_member('pg_monitor', 'RYJ', 'clinician') $$, '42939', NULL, 'and one of the server''s');
SELECT throws_ok($$ SELECT spine.add_member('members_strong', 'RYJ', 'clinician') $$, '0LP01', NULL, 'and a superuser');
SELECT throws_ok($$ SELECT spine.add_member('members_bypass', 'RYJ', 'clinician') $$, '0LP01', NULL, 'and one whom no policy holds');
SELECT throws_ok($$ SELECT spine.add_member('members_replicator', 'RYJ', 'clinician') $$, '0LP01', NULL, 'and one that may replicate (attack 49)');
SELECT throws_ok($$ SELECT spine.add_member('members_heir', 'RYJ', 'clinician') $$, '0LP01', NULL, 'and one that could become such a role');
SELECT is_empty($$ SELECT role_name FROM spine.member WHERE role_name <> 'members_person' $$, 'none of which was written');

SELECT lives_ok($$ SELECT spine.add_member('members_person', 'RYJ', 'portal') $$, 'a role becomes the portal of an organisation');
SELECT is(groups_of('members_person'), 'spine_governor,spine_portal', 'with a group of its own');
SELECT is((SELECT count(*) FROM as_role('members_person', 'SELECT 1 FROM spine.whoami() WHERE duty = ''portal''')), 1::bigint, 'and is known as such');
SELECT lives_ok($$ SELECT spine.remove_member('members_person', 'RYJ', 'portal') $$, 'that ends too');
SELECT is(groups_of('members_person'), 'spine_governor', 'and its group goes');
SELECT throws_ok($$ SELECT spine.add_member('spine_portal', 'RYJ', 'portal') $$, '42939', NULL, 'the group itself is no member');

-- systems

SELECT lives_ok($$ SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'members_system') $$, 'a supplier''s system is added');
SELECT is(groups_of('members_system'), 'spine_member,spine_supplier', 'it may write and read');
SELECT results_eq($$ SELECT as_role('members_system', 'SELECT organisation, duty, system, kind FROM spine.whoami()') $$,
	$$ VALUES ('(RYJ,,"Cedar Maternity",maternity)') $$, 'and knows itself');
SELECT lives_ok($$ SELECT spine.add_system('RYJ', 'Monitor', 'device', 'members_device') $$, 'a device is added');
SELECT is(groups_of('members_device'), 'spine_supplier', 'it may only write');
SELECT throws_ok($$ SELECT spine.add_system('RYJ', 'Second', 'maternity', 'members_system') $$, '23505', NULL, 'one role is one system');
SELECT throws_ok($$ SELECT spine.add_system('RYJ', 'Cedar Maternity', 'maternity', 'members_person') $$, '23505', NULL, 'and one system one role');
SELECT throws_ok($$ SELECT spine.add_system('RYJ', 'Other', 'toaster', 'members_person') $$, '22023', NULL, 'of a kind that there is');
SELECT throws_ok($$ SELECT spine.add_system('RYJ', E'\n', 'maternity', 'members_person') $$, '23514', NULL, 'with a name that is one');
SELECT throws_ok($$ SELECT spine.add_system('RAS', 'Other', 'maternity', 'members_person') $$, '55000', NULL, 'at an organisation hosted here');
SELECT throws_ok($$ SELECT spine.add_system('RYJ', 'Other', 'maternity', 'members_heir') $$, '0LP01', NULL, 'and not with too strong a role');
SELECT lives_ok($$ SELECT spine.remove_system('RYJ', 'Monitor') $$, 'a system ends');
SELECT is(groups_of('members_device'), '', 'and its role has nothing left');
SELECT throws_ok($$ SELECT spine.remove_system('RYJ', 'Monitor') $$, '42704', NULL, 'it cannot end twice');

-- after a restore into a cluster whose roles are new

REVOKE spine_member, spine_supplier FROM members_system;
SELECT is(spine.restore_groups(), 2, 'the groups of all members and systems are given again');
SELECT is(groups_of('members_system'), 'spine_member,spine_supplier', 'to each what it needs');

-- who may: nobody but an operator of that very organisation

\o /dev/null
SELECT spine.add_member('members_operator', 'RYJ', 'operator'), spine.add_member('members_other_operator', 'RQM', 'operator');
\o
SELECT lives_ok($$ SELECT as_role('members_operator', $q$ SELECT spine.add_member('members_stranger', 'RYJ', 'analyst') $q$) $$,
	'an operator adds a member');
SELECT is((SELECT added_by FROM spine.member WHERE role_name = 'members_stranger'), 'members_operator', 'which is written down');
SELECT is(groups_of('members_stranger'), 'spine_member', 'and works though he himself could not grant it');
SELECT throws_ok($$ SELECT as_role('members_other_operator', $q$ SELECT spine.remove_member('members_stranger', 'RYJ', 'analyst') $q$) $$,
	'42501', 'permission denied: this is for an operator of RYJ', 'the operator of another organisation cannot remove him');
SELECT throws_ok($$ SELECT as_role('members_other_operator', $q$ SELECT spine.add_system('RYJ', 'X', 'maternity', 'members_device') $q$) $$,
	'42501', NULL, 'nor add a system');
SELECT throws_ok($$ SELECT as_role('members_stranger', $q$ SELECT spine.add_member('members_stranger', 'RYJ', 'governor') $q$) $$,
	'42501', NULL, 'an analyst adds nobody');
SELECT throws_ok($$ SELECT as_role('members_system', $q$ SELECT spine.remove_system('RYJ', 'Cedar Maternity') $q$) $$,
	'42501', NULL, 'a system not even itself');
SELECT throws_ok($$ SELECT as_role('members_person', $q$ SELECT spine.add_member('members_person', 'RYJ', 'operator') $q$) $$,
	'42501', NULL, 'a governor does not make himself operator');
SELECT throws_ok($$ SELECT as_role('members_operator', $q$ INSERT INTO spine.member VALUES ('x', 'RYJ', 'clinician') RETURNING 1 $q$) $$,
	NULL, NULL, 'nobody writes the table');

-- who sees whom

SELECT results_eq($$ SELECT as_role('members_operator', 'SELECT role_name, duty FROM spine.members ORDER BY 1, 2') $$,
	$$ VALUES ('(members_operator,operator)'), ('(members_person,governor)'), ('(members_stranger,analyst)') $$,
	'an operator sees the members of his organisation alone');
SELECT results_eq($$ SELECT as_role('members_other_operator', 'SELECT system FROM spine.systems') $$, $$ SELECT ''::text WHERE false $$,
	'and no other''s systems');
SELECT results_eq($$ SELECT as_role('members_person', 'SELECT system FROM spine.systems') $$, $$ VALUES ('("Cedar Maternity")') $$,
	'a governor sees those of his own');
SELECT throws_ok($$ SELECT as_role('members_stranger', 'SELECT * FROM spine.members') $$, '42501', NULL, 'an analyst none');
SELECT throws_ok($$ SELECT as_role('members_operator', 'SELECT * FROM spine.member') $$, '42501', NULL, 'and nobody the table');
UPDATE spine.node_organisation SET organisation = 'RAS' WHERE organisation = 'RYJ';
SELECT is_empty($$ SELECT as_role('members_stranger', 'SELECT * FROM spine.whoami()') $$,
	'a membership of an organisation that is hosted here no longer counts for nothing');
SELECT throws_ok($$ SELECT as_role('members_operator', $q$ SELECT spine.remove_member('members_stranger', 'RYJ', 'analyst') $q$) $$,
	'42501', NULL, 'not even an operator''s');

SELECT * FROM finish();
ALTER ROLE members_strong NOSUPERUSER;
SELECT drop_roles('members_person', 'members_operator', 'members_other_operator', 'members_system', 'members_device',
				  'members_stranger', 'members_heir', 'members_strong', 'members_bypass', 'members_replicator');
