-- The visibility matrix.
\ir setup.psql
\ir as_role.psql
\if :{?seed}
\else
\set seed 4
\endif
SELECT no_plan();
\timing on
\ir matrix_world.psql
\ir matrix_oracle.psql
SELECT m.judge();
SELECT diag(x) FROM (SELECT 'r '||data_group||' '||count(*) FROM m.record GROUP BY data_group UNION ALL SELECT 'rej '||count(*) FROM spine.rejection
UNION ALL SELECT 'holds '||how||count(*) FROM m.holds GROUP BY how UNION ALL SELECT 'sees '||role||' '||count(*) FROM m.sees GROUP BY role) x(x);
SELECT findings FROM spine.rejection LIMIT 1;
SELECT * FROM finish();
