#!/bin/sh
# demo.sh: two Trusts, two nodes, and what passes between them. Run by ./spine demo.
#
#   demo.sh [--keep]
#
# Prints what it does as it goes, and checks each thing that it says: where something is not as
# claimed, it says so and ends with 1. Needs the environment that tools/run.sh sets.
set -eu

. "$SPINE_SOURCE/tools/cluster.sh"

pregnancies=${SPINE_DEMO_PREGNANCIES:-2000}
seed=20240101
writes=50
keep=${1:-}
dir=$SPINE_RUN/demo
mkdir -p "$dir"

# ---- printing ----

if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$(printf '\033[1m') dim=$(printf '\033[2m') green=$(printf '\033[32m') red=$(printf '\033[31m') plain=$(printf '\033[0m')
else
	bold='' dim='' green='' red='' plain=''
fi

heading() { printf '\n%s%s%s\n\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
fail() {
	printf '\n  %sNOT AS CLAIMED: %s%s\n' "$red" "$*" "$plain" >&2
	exit 1
}
ok() { printf '  %s+%s %s\n' "$green" "$plain" "$*"; }
# commas 1234567: 1,234,567
commas() { printf '%s\n' "$1" | sed -e :a -e 's/^\([0-9]\{1,\}\)\([0-9]\{3\}\)/\1,\2/;ta'; }
indent() { sed 's/^/  /'; }

# is WHAT GOT EXPECTED: a check that is printed
is() {
	[ "$2" = "$3" ] || fail "$1: $2, expected $3"
	ok "$1"
}

# ---- the nodes ----

# on NODE ROLE [psql arguments]: one session, bare output
on() {
	on_port=$port_ryj
	[ "$1" = RYJ ] || on_port=$port_rqm
	on_role=$2
	shift 2
	PGUSER=$on_role node_psql "$on_port" -d spine -A -t "$@"
}

# table NODE ROLE QUERY: as a table with headings
table() {
	on_port=$port_ryj
	[ "$1" = RYJ ] || on_port=$port_rqm
	PGUSER=$2 node_psql "$on_port" -d spine -P footer=off -P border=0 -P null= -c "$3" | sed -e 's/[ ]*$//' -e '/^$/d' | indent
}

# refused NODE ROLE QUERY: the SQLSTATE with which it is refused, or "allowed"
refused() {
	if on "$1" "$2" -v VERBOSITY=sqlstate -c "$3" > "$dir/refused" 2>&1; then
		echo allowed
	else
		sed -n 's/^.*ERROR: *\([0-9A-Z]\{5\}\).*$/\1/p' "$dir/refused" | head -n 1
	fi
}

# wait_for NODE ROLE QUERY EXPECTED: until it says so, at most a minute
wait_for() {
	wait_began=$(date +%s)
	while got=$(on "$1" "$2" -c "$3"); [ "$got" != "$4" ]; do
		[ $(($(date +%s) - wait_began)) -lt 60 ] || fail "waited a minute for $4, have $got: $3"
		sleep 0.02
	done
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

began=$(date +%s)
cd "$dir"

heading "Two nodes"

port_ryj=$(pick_port)
port_rqm=$(pick_port)
for node in ryj rqm; do
	if [ $node = ryj ]; then node_port=$port_ryj; else node_port=$port_rqm; fi
	cluster_create "$SPINE_RUN/$node" "$node_port" "spine.databases = 'spine'" "cluster_name = '$node'"
	cluster_start "$SPINE_RUN/$node"
	node_psql "$node_port" -d postgres -c "CREATE DATABASE spine"
done

# the national file of Trusts, or what this demo needs of it
if [ -n "${SPINE_ODS_FILE:-}" ] && [ -r "$SPINE_ODS_FILE" ]; then
	organisations=$SPINE_ODS_FILE
else
	organisations=$dir/organisations.csv
	cat > "$organisations" <<'END'
RYJ,IMPERIAL COLLEGE HEALTHCARE NHS TRUST,Y56,QRV,,,,,,W2 1NY,20071001,
RQM,CHELSEA AND WESTMINSTER HOSPITAL NHS FOUNDATION TRUST,Y56,QRV,,,,,,SW10 9NH,20061001,
R1K,LONDON NORTH WEST UNIVERSITY HEALTHCARE NHS TRUST,Y56,QRV,,,,,,HA1 3UJ,20141001,
RAS,THE HILLINGDON HOSPITALS NHS FOUNDATION TRUST,Y56,QRV,,,,,,UB8 3NN,20110401,
RKL,WEST LONDON NHS TRUST,Y56,QRV,,,,,,,,
RV3,CENTRAL AND NORTH WEST LONDON NHS FOUNDATION TRUST,Y56,QRV,,,,,,,,
RYX,CENTRAL LONDON COMMUNITY HEALTHCARE NHS TRUST,Y56,QRV,,,,,,,,
END
fi

# node CODE LOWER SYSTEM OTHER: everything that a Trust's own people do on its node
node() {
	on "$1" postgres > /dev/null <<END
SET client_min_messages = warning;
CREATE EXTENSION spine CASCADE;
SELECT spine.create_store('$1');
CREATE ROLE $2_operator LOGIN;
CREATE ROLE $2_governor LOGIN;
CREATE ROLE $2_midwife LOGIN;
CREATE ROLE $2_supplier LOGIN;
CREATE ROLE node_$4 LOGIN;
SELECT spine.add_member('$2_operator', '$1', 'operator');
END
	on "$1" "$2_operator" > /dev/null <<END
\set organisations \`cat '$organisations'\`
SELECT spine.load_organisations(:'organisations');
SELECT spine.publish_dataset('maternity', '2.0');
SELECT spine.add_member('$2_governor', '$1', 'governor');
SELECT spine.add_member('$2_midwife', '$1', 'clinician');
SELECT spine.add_system('$1', '$3', 'maternity', '$2_supplier');
END
}
node RYJ ryj Alder rqm
node RQM rqm Birch ryj

table RYJ postgres "SELECT s.node, o.name AS trust, (SELECT count(*) FROM spine.organisation) AS organisations,
	(SELECT count(*) FROM spine.data_groups) AS groups, (SELECT count(*) FROM spine.data_items) AS items,
	(SELECT count(*) FROM spine.rules) AS rules FROM spine.store s JOIN spine.organisation o ON o.code = s.node"
table RQM postgres "SELECT s.node, o.name AS trust, (SELECT count(*) FROM spine.organisation) AS organisations,
	(SELECT count(*) FROM spine.data_groups) AS groups, (SELECT count(*) FROM spine.data_items) AS items,
	(SELECT count(*) FROM spine.rules) AS rules FROM spine.store s JOIN spine.organisation o ON o.code = s.node" | tail -n +3
echo
say "Each is a PostgreSQL cluster of its own. On each a supplier's system (Alder, Birch) has a role that"
say "writes, a midwife one that reads; a governor and an operator have theirs, and so has the neighbour's node."
[ "$(on RQM postgres -c "SELECT count(*) FROM spine.data_groups WHERE dataset = 'maternity'")" = 32 ] ||
	fail "the maternity data set has not 32 groups"

# ---- connected ----

heading "Neighbours"

sockets=$(cluster_sockets)
on RYJ ryj_operator -c "SELECT spine.connect_node('RQM', 'host=$sockets port=$port_rqm dbname=spine user=node_ryj', '{RQM}', 'node_rqm')" > /dev/null
on RQM rqm_operator -c "SELECT spine.connect_node('RYJ', 'host=$sockets port=$port_ryj dbname=spine user=node_rqm', '{RYJ}', 'node_ryj')" > /dev/null
wait_for RYJ ryj_operator "SELECT state FROM spine.links WHERE node = 'RQM' AND direction = 'sending'" connected
wait_for RQM rqm_operator "SELECT state FROM spine.links WHERE node = 'RYJ' AND direction = 'sending'" connected
ok "RYJ and RQM reach each other; nothing is shared yet"

# ---- agreement ----

heading "An agreement"

cat > "$dir/agreement.json" <<END
{"name": "nwl-maternity", "version": 1,
 "title": "Maternity care between Imperial and Chelsea and Westminster",
 "parties": ["RYJ", "RQM"], "start": "2024-01-01", "end": null, "review": "2099-01-01",
 "clauses": [{"from": ["RYJ", "RQM"], "to": ["RYJ", "RQM"], "purpose": "care", "dataset": "maternity",
	"groups": ["mother", "booking", "care_plan", "dating_scan", "pregnancy_assessment", "provisional_diagnosis",
		"diagnosis", "medical_history", "family_history", "mother_finding", "care_contact", "care_activity",
		"contact_assessment", "labour_delivery", "labour_activity", "baby", "neonatal_admission",
		"neonatal_provisional_diagnosis", "neonatal_diagnosis", "baby_activity", "baby_assessment", "hospital_spell"],
	"relationships": ["episode", "referral"], "emergency": true}]}
END
step() { printf '  %-52s %6s ms\n' "$1" $(($(now_ms) - step_began)); }
agreed="name = 'nwl-maternity' AND version = 1"
step_began=$(now_ms)
on RYJ ryj_governor > /dev/null <<END
\set document \`cat '$dir/agreement.json'\`
SELECT spine.propose_agreement(:'document'::jsonb);
SELECT spine.sign_agreement('nwl-maternity', 1);
END
step "RYJ: its governor proposes and signs"
wait_for RQM rqm_governor "SELECT signed_by FROM spine.agreements WHERE $agreed" '{RYJ}'
step "RQM: has the proposal, with RYJ's signature"
[ "$(refused RYJ ryj_governor "SELECT spine.publish_agreement('nwl-maternity', 1)")" = SP005 ] ||
	fail "an agreement that RQM has not signed could be published"
on RQM rqm_governor -c "SELECT spine.sign_agreement('nwl-maternity', 1)" > /dev/null
step "RQM: its governor signs"
wait_for RYJ ryj_governor "SELECT cardinality(signed_by) FROM spine.agreements WHERE $agreed" 2
on RYJ ryj_governor -c "SELECT spine.publish_agreement('nwl-maternity', 1)" > /dev/null
wait_for RYJ ryj_governor "SELECT in_force FROM spine.agreements WHERE $agreed" t
step "RYJ: published, in force at RYJ"
wait_for RQM rqm_governor "SELECT in_force FROM spine.agreements WHERE $agreed" t
step "RQM: in force at RQM"
echo
say "For care, of a woman to whom a Trust has a relationship (an episode, a referral), or in an emergency: 22 of the 32 groups."
say "Not shared: social circumstances, overseas charging, GP registration, staff and what is anonymous; items that are restricted."

# ---- the women ----

heading "$(commas "$pregnancies") pregnancies, written by the Trusts' systems"

cat > "$dir/submit.sql" <<'END'
SET client_min_messages = warning;
CREATE TEMPORARY TABLE documents AS
	SELECT row_number() OVER () AS k, records, document
	FROM spine.generate_documents(:pregnancies, :seed, '{RYJ,RQM}', most_records => 1000, systems => '{Alder,Birch}')
	WHERE organisation = :'trust';
CREATE TEMPORARY TABLE answers (k bigint, n integer, outcome text, findings jsonb);
SELECT clock_timestamp() AS began \gset
-- a transaction for each document
SELECT format('INSERT INTO answers SELECT %s, s.n, s.outcome, s.findings FROM spine.submit((SELECT document FROM documents WHERE k = %s)) AS s', k, k)
	FROM documents ORDER BY k \gexec
SELECT round(extract(epoch FROM clock_timestamp() - :'began')::numeric, 1) AS seconds \gset
CREATE TEMPORARY TABLE made AS
	SELECT row_number() OVER (ORDER BY n) AS at, fault FROM spine.generate(:pregnancies, :seed, '{RYJ,RQM}') WHERE organisation = :'trust';
CREATE TEMPORARY TABLE judged AS
	SELECT m.fault, a.outcome, a.findings
	FROM made AS m JOIN (SELECT row_number() OVER (ORDER BY k, n) AS at, * FROM answers) AS a USING (at);
\o figures
SELECT count(*), count(*) FILTER (WHERE outcome = 'accepted'), count(*) FILTER (WHERE outcome = 'accepted_with_warnings'),
	count(*) FILTER (WHERE outcome = 'unchanged'), count(*) FILTER (WHERE outcome = 'rejected'), :seconds,
	count(fault), count(*) FILTER (WHERE fault IS NOT NULL AND outcome IN ('accepted', 'unchanged')),
	count(*) FILTER (WHERE fault IS NULL AND outcome = 'rejected'), (SELECT count(*) FROM made), (SELECT count(*) FROM documents)
	FROM judged;
\o findings
SELECT f->>'rule', f->>'severity', count(*) FROM judged, jsonb_array_elements(findings) AS f GROUP BY 1, 2;
\o kept
SELECT count(*) FROM spine.rejections;
\o
END
for node in ryj rqm; do
	trust=$(echo $node | tr a-z A-Z)
	mkdir -p "$dir/$node"
	(
		cd "$dir/$node"
		on "$trust" "${node}_supplier" -v pregnancies="$pregnancies" -v seed="$seed" -v trust="$trust" -f ../submit.sql
	) > "$dir/$node/log" 2>&1 &
	eval "job_$node=$!"
done
wait "$job_ryj" || { cat "$dir/ryj/log" >&2; fail "RYJ's system could not submit"; }
wait "$job_rqm" || { cat "$dir/rqm/log" >&2; fail "RQM's system could not submit"; }

printf '  %-6s %10s %10s %10s %10s %10s %8s %10s\n' Trust records accepted warnings unchanged rejected seconds records/s
total=0
for node in ryj rqm; do
	IFS='|' read -r records accepted warned unchanged rejected seconds faults missed cascaded made documents < "$dir/$node/figures"
	printf '  %-6s %10s %10s %10s %10s %10s %8s %10s\n' "$(echo $node | tr a-z A-Z)" "$(commas "$records")" "$(commas "$accepted")" \
		"$(commas "$warned")" "$(commas "$unchanged")" "$(commas "$rejected")" "$seconds" \
		"$(commas "$(awk -v r="$records" -v s="$seconds" 'BEGIN { printf "%d", r / (s > 0 ? s : 1) }')")"
	[ "$records" = "$made" ] || fail "$node: $made records sent, $records answered"
	[ "$(cat "$dir/$node/kept")" = "$rejected" ] || fail "$node: $rejected records rejected, $(cat "$dir/$node/kept") kept"
	total=$((total + records))
	eval "faults_$node=$faults missed_$node=$missed cascaded_$node=$cascaded rejected_$node=$rejected documents_$node=$documents"
done
echo
say "Both at once, in $((documents_ryj + documents_rqm)) submissions of up to 1,000 records, each a transaction, through spine.submit."
say "The women come from a generator with a fixed seed: figures of the NHS maternity statistics, NHS"
say "numbers that no person has, twins, losses, late bookings, women who move between the two Trusts."

heading "What intake found"

# RULE|SEVERITY|COUNT of both Trusts, side by side
awk -F'|' '
	FNR == 1 { file++ }
	{ key = $1 "|" $2; n[key, file] = $3; sum[key] += $3 }
	END { for (key in sum) printf "%d|%s|%d|%d\n", sum[key], key, n[key, 1], n[key, 2] }
' "$dir/ryj/findings" "$dir/rqm/findings" | sort -t'|' -k1,1nr -k2,2 > "$dir/merged"
printf '  %-44s %-10s %10s %10s\n' rule severity RYJ RQM
head -n 10 "$dir/merged" | while IFS='|' read -r _ rule severity n_ryj n_rqm; do
	printf '  %-44s %-10s %10s %10s\n' "$rule" "$severity" "$(commas "$n_ryj")" "$(commas "$n_rqm")"
done
rest=$(awk -F'|' 'NR > 10 { n++; a += $4; b += $5 } END { printf "%d|%d|%d", n, a, b }' "$dir/merged")
IFS='|' read -r n_rest a_rest b_rest <<END
$rest
END
printf '  %-55s %10s %10s\n' "and $n_rest other rules" "$(commas "$a_rest")" "$(commas "$b_rest")"
echo
[ "$missed_ryj$missed_rqm" = 00 ] || fail "$((missed_ryj + missed_rqm)) records with a fault were accepted without a finding"
ok "$(commas $((faults_ryj + faults_rqm))) records were given a fault on purpose; a finding names every one"
ok "$(commas $((cascaded_ryj + cascaded_rqm))) sound records were rejected with the record that they belong to"
ok "$(commas $((rejected_ryj + rejected_rqm))) rejected records are kept whole with their findings (spine.rejections)"

wait_for RYJ ryj_operator "SELECT lag_rows FROM spine.links WHERE node = 'RQM' AND direction = 'sending'" 0
wait_for RQM rqm_operator "SELECT lag_rows FROM spine.links WHERE node = 'RYJ' AND direction = 'sending'" 0
foreign="SELECT coalesce(sum((xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM maternity.%I WHERE owner = %L', c.relname, '%s'),
	false, true, '')))[1]::text::bigint), 0) FROM pg_catalog.pg_class c WHERE c.relnamespace = 'maternity'::regnamespace AND c.relkind = 'r'"
# rows NODE OWNER: records of this owner that the node holds
rows() { on "$1" postgres -c "$(printf '%s' "$foreign" | sed "s/'%s'/'$2'/")"; }
rows_rqm=$(rows RQM RYJ)
rows_ryj=$(rows RYJ RQM)
faults_of_links=$(on RYJ ryj_operator -c "SELECT coalesce(sum(faults), 0) FROM spine.links")$(on RQM rqm_operator -c "SELECT coalesce(sum(faults), 0) FROM spine.links")
is "no record failed on its way between the nodes" "$faults_of_links" 00
women=$(on RQM postgres -c "SELECT count(DISTINCT patient_id) FROM maternity.booking WHERE owner = 'RYJ'")
if [ "$pregnancies" -ge 500 ]; then
	[ "$rows_rqm" -gt 0 ] && [ "$rows_ryj" -gt 0 ] || fail "no record of the women who moved has reached the other Trust"
fi
say "Of the women who moved by themselves, RQM holds $(commas "$rows_rqm") of RYJ's records ($women women), RYJ $(commas "$rows_ryj") of RQM's."

# ---- one woman ----

heading "One woman moves from RYJ to RQM"

# the first after those, who books at RYJ and gives birth at RQM
on RYJ ryj_supplier -v pregnancies="$pregnancies" -v seed="$seed" > "$dir/woman" <<'END'
SELECT g.pregnancy, min(g.record->>'nhs_number') FILTER (WHERE g.data_group = 'booking'),
	min(g.record->'data'->>'edd_agreed') FILTER (WHERE g.data_group = 'booking' AND g.organisation = 'RYJ'),
	min(g.record->'data'->>'edd_agreed') FILTER (WHERE g.data_group = 'booking' AND g.organisation = 'RQM'),
	min(g.record->>'local_patient_id') FILTER (WHERE g.data_group = 'booking' AND g.organisation = 'RYJ'),
	min(g.record->>'local_episode_id') FILTER (WHERE g.data_group = 'booking' AND g.organisation = 'RYJ')
FROM spine.generate(3000, :seed, '{RYJ,RQM}', fault_rate => 0, first_pregnancy => :pregnancies + 1) AS g
WHERE g.pregnancy IS NOT NULL
GROUP BY g.pregnancy
HAVING count(DISTINCT g.organisation) = 2 AND bool_or(g.data_group = 'labour_delivery' AND g.organisation = 'RQM')
	AND min(g.record->'data'->>'edd_agreed') <> max(g.record->'data'->>'edd_agreed')
	AND count(g.record->>'nhs_number') FILTER (WHERE g.data_group = 'booking' AND g.organisation = 'RYJ') > 0
	AND count(*) FILTER (WHERE g.data_group = 'social_circumstances' AND g.organisation = 'RYJ') > 0
	AND count(*) FILTER (WHERE g.data_group = 'baby') = 2
ORDER BY g.pregnancy LIMIT 1;
END
IFS='|' read -r pregnancy nhs edd_ryj edd_rqm lpid episode < "$dir/woman" || fail "no such woman was generated"

# write NODE ROLE SYSTEM TRUST: the part of her story that this Trust's system tells; prints outcomes
write() {
	on "$1" "$2" -F ' ' -c "SELECT s.outcome, count(*) FROM spine.generate_documents(1, $seed, '{RYJ,RQM}', fault_rate => 0,
		first_pregnancy => $pregnancy, systems => '{Alder,Birch}') AS d, LATERAL spine.submit(d.document) AS s
		WHERE d.organisation = '$1' GROUP BY 1 ORDER BY 1"
}
write RYJ ryj_supplier > "$dir/written"
grep -q '^rejected' "$dir/written" && fail "a record of hers was rejected"
on RYJ ryj_midwife > "$dir/own" <<END
SELECT count(*), count(*) FILTER (WHERE data_group NOT IN ('gp_registration', 'social_circumstances', 'overseas_charging', 'staff',
	'spell_commissioner', 'ward_stay', 'assigned_professional')) FROM spine.timeline('$nhs');
END
IFS='|' read -r hers shared < "$dir/own"
say "NHS number $nhs, booked at RYJ, expected on $edd_ryj. RYJ's system has written $hers records of her."
echo
wait_for RYJ ryj_operator "SELECT lag_rows FROM spine.links WHERE node = 'RQM' AND direction = 'sending'" 0
is "before: to a midwife at RQM she does not exist (SP006)" \
	"$(refused RQM rqm_midwife "SELECT spine.open_record('$nhs', 'care', 'She says that she was booked elsewhere')")" SP006
is "before: no row of her is at RQM" \
	"$(on RQM postgres -c "SELECT count(*) FROM maternity.booking b WHERE b.patient_id = spine.patient_id('$nhs')")" 0

# A midwife's session at RQM looks until it sees; RYJ's refers in the meantime. One clock.
on RQM rqm_midwife > "$dir/looked" <<SQL &
DO \$look\$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	LOOP
		BEGIN
			PERFORM spine.open_record('$nhs', 'care', 'Referred by Imperial, moves to SW10');
			EXIT;
		EXCEPTION WHEN SQLSTATE 'SP006' THEN
			IF clock_timestamp() > began + interval '1 minute' THEN RAISE; END IF;
			PERFORM pg_sleep(0.001);
		END;
	END LOOP;
	PERFORM set_config('demo.first', clock_timestamp()::text, false);
	WHILE (SELECT count(*) FROM spine.timeline('$nhs') WHERE owner = 'RYJ') < $shared LOOP
		IF clock_timestamp() > began + interval '1 minute' THEN RAISE 'not all of her records have come'; END IF;
	END LOOP;
	PERFORM set_config('demo.all', clock_timestamp()::text, false);
END
\$look\$;
SELECT current_setting('demo.first'), current_setting('demo.all'), count(*) FROM spine.timeline('$nhs') WHERE owner = 'RYJ';
SQL
looking=$!
sleep 0.3
referred=$(on RYJ ryj_midwife -c "SELECT spine.refer('$nhs', 'RQM', 'Moves to SW10, asks for Chelsea and Westminster')" -c "SELECT clock_timestamp()" | tail -n 1)
wait "$looking" || fail "the referral did not open her record at RQM"
IFS='|' read -r first all count < "$dir/looked"
since() { on RQM postgres -c "SELECT round(extract(epoch FROM '$2'::timestamptz - '$1'::timestamptz) * 1000)"; }
is "after: RYJ's midwife refers her, and RQM's sees $count of RYJ's $hers records, those shared" "$count" "$shared"
printf '      %-60s %6s ms\n' "referral committed at RYJ to her record open at RQM" "$(since "$referred" "$first")"
printf '      %-60s %6s ms\n' "to the last of the $count records" "$(since "$referred" "$all")"

# a record at a time
i=0
while [ $i -lt $writes ]; do
	i=$((i + 1))
	cat <<END
SELECT clock_timestamp() AS t \gset
SELECT outcome FROM spine.submit('{"dataset":"maternity","version":"2.0","system":"Alder","records":[{"group":"mother_finding","nhs_number":"$nhs","local_patient_id":"$lpid","local_episode_id":"$episode","local_record_id":"DEMO-$i","data":{"pregnancy_id":"$episode","observation_date":"2024-06-01","observation_scheme":"03","observation_code":"271649006","observation_value":"$((100 + i))","observation_unit":"mm[Hg]"}}]}'::json) \gset
SELECT clock_timestamp() AS u \gset
\echo $i|:t|:u|:outcome
SELECT pg_sleep(0.04) \g /dev/null
END
done > "$dir/writes.sql"
on RQM rqm_midwife > "$dir/seen" <<SQL &
SELECT spine.open_record('$nhs', 'care', 'Watches her blood pressure') \g /dev/null
DO \$look\$
DECLARE
	began timestamptz := clock_timestamp();
	seen text := '';
BEGIN
	FOR i IN 1 .. $writes LOOP
		WHILE NOT EXISTS (SELECT FROM maternity_2_0.mother_finding f
						  WHERE f.owner = 'RYJ' AND f.source_system = 'Alder' AND f.local_record_id = 'DEMO-' || i) LOOP
			IF clock_timestamp() > began + interval '1 minute' THEN RAISE 'record % has not come', i; END IF;
		END LOOP;
		seen := seen || clock_timestamp()::text || E'\n';
	END LOOP;
	PERFORM set_config('demo.seen', seen, false);
END
\$look\$;
SELECT current_setting('demo.seen');
SQL
looking=$!
sleep 0.3
on RYJ ryj_supplier -f "$dir/writes.sql" > "$dir/sent"
wait "$looking" || fail "not every record written at RYJ was seen at RQM"
[ "$(grep -c '|accepted$' "$dir/sent")" = $writes ] || fail "not every one of $writes records was accepted"
grep . "$dir/seen" | paste -d'|' "$dir/sent" - | awk -F'|' '{ printf "%s(%s, timestamptz \047%s\047, timestamptz \047%s\047, timestamptz \047%s\047)", (NR > 1 ? "," : ""), $1, $2, $3, $5 }' > "$dir/values"
on RQM postgres -c "SELECT round((percentile_cont(0.5) WITHIN GROUP (ORDER BY a))::numeric, 1), round((percentile_cont(0.99) WITHIN GROUP (ORDER BY a))::numeric, 1),
	round((percentile_cont(0.5) WITHIN GROUP (ORDER BY b))::numeric, 1), round((percentile_cont(0.99) WITHIN GROUP (ORDER BY b))::numeric, 1),
	round((percentile_cont(0.5) WITHIN GROUP (ORDER BY c))::numeric, 1), round((percentile_cont(0.99) WITHIN GROUP (ORDER BY c))::numeric, 1)
	FROM (SELECT extract(epoch FROM u - t) * 1000 AS a, greatest(extract(epoch FROM v - u) * 1000, 0) AS b, extract(epoch FROM v - t) * 1000 AS c
		  FROM (VALUES $(cat "$dir/values")) AS w (i, t, u, v)) AS ms" > "$dir/ms"
IFS='|' read -r call50 call99 way50 way99 both50 both99 < "$dir/ms"
echo
say "$writes records, one after the other: written by RYJ's system, seen by a midwife at RQM"
printf '      %-46s %12s %12s\n' '' 'p50' 'p99'
printf '      %-46s %9s ms %9s ms\n' "spine.submit, until it is committed" "$call50" "$call99"
printf '      %-46s %9s ms %9s ms\n' "committed at RYJ to visible at RQM" "$way50" "$way99"
printf '      %-46s %9s ms %9s ms\n' "both" "$both50" "$both99"
awk -v ms="$way99" 'BEGIN { exit !(ms < 1000) }' || fail "a record took $way99 ms to the neighbour"
echo

# she books at RQM: the other way, and one journey
write RQM rqm_supplier > "$dir/written"
grep -q '^rejected' "$dir/written" && fail "a record of hers was rejected at RQM"
booked=$(now_ms)
wait_for RYJ ryj_operator "SELECT 1" 1
wait_for RQM rqm_operator "SELECT lag_rows FROM spine.links WHERE node = 'RYJ' AND direction = 'sending'" 0
shared=$(on RQM rqm_midwife -c "SELECT count(*) FROM spine.timeline('$nhs') WHERE owner = 'RQM' AND data_group NOT IN ('gp_registration',
	'social_circumstances', 'overseas_charging', 'staff', 'spell_commissioner', 'ward_stay', 'assigned_professional')")
got=$(on RYJ ryj_midwife -c "SELECT spine.open_record('$nhs', 'care', 'How did it end?')" -c "SELECT count(*) FROM spine.timeline('$nhs') WHERE owner = 'RQM'" | tail -n 1)
[ "$got" = "$shared" ] || fail "RQM has $shared records of her to share, RYJ sees $got"
say "RQM books her (expected on $edd_rqm, $(on RQM postgres -c "SELECT abs('$edd_rqm'::date - '$edd_ryj'::date)") day(s) apart), she gives birth there. Her midwife at RYJ sees, $(($(now_ms) - booked)) ms later:"
echo
table RYJ ryj_midwife "DO \$\$ BEGIN PERFORM spine.open_record('$nhs', 'care', 'How did it end?'); END \$\$;
	SELECT to_char(event_at, 'YYYY-MM-DD') AS date, owner, title, left(coalesce(
			'expected ' || (data->>'edd_agreed'),
			(data->>'scan_fetus_count') || ' fetus at ' || (data->>'scan_gestation'),
			'method ' || (data->>'delivery_method') || ', ' || (data->>'birth_gestation'),
			'onset ' || (data->>'labour_onset_method'), data->>'diagnosis_code',
			CASE data->>'attendance' WHEN '5' THEN 'came' WHEN '6' THEN 'came late' WHEN '7' THEN 'came too late' WHEN '3' THEN 'did not come'
				WHEN '2' THEN 'cancelled by her' WHEN '4' THEN 'cancelled' END, ''), 40) AS what
	FROM spine.timeline('$nhs')
	WHERE data_group IN ('booking', 'dating_scan', 'care_contact', 'diagnosis', 'labour_delivery', 'baby')"
echo
is "both Trusts' records of her are one pregnancy, though their dates differ" \
	"$(on RYJ ryj_midwife -c "SELECT spine.open_record('$nhs', 'care', 'How did it end?')" -c "SELECT count(DISTINCT episode_id) || ' of ' || count(DISTINCT owner)
		FROM (SELECT e->>'episode_id' AS episode_id, o AS owner FROM (SELECT spine.record('$nhs') AS r) AS w, jsonb_array_elements(r->'episodes') AS e,
			jsonb_array_elements_text(r->'owners') AS o WHERE e->>'kind' = 'pregnancy') AS x" | tail -n 1)" '1 of 2'

baby_count=$(on RQM postgres -c "SELECT count(DISTINCT b.patient_id) FROM maternity.baby b JOIN spine.family_link f ON f.child = b.patient_id
	WHERE f.mother = spine.patient_id('$nhs') AND b.owner = 'RQM'")
is "her baby has a record of its own, linked to hers" "$baby_count" 1

# ---- what the neighbour may not ----

heading "What the neighbour may not see or do"

# a woman of whom only RYJ has heard
other=$(on RYJ ryj_supplier -c "SELECT min(g.record->>'nhs_number') FROM spine.generate($pregnancies, $seed, '{RYJ,RQM}') AS g
	WHERE g.data_group IN ('mother', 'booking') GROUP BY g.pregnancy
	HAVING bool_and(g.organisation = 'RYJ') AND count(g.fault) = 0 AND count(g.record->>'nhs_number') = count(*) ORDER BY g.pregnancy LIMIT 1")
[ "$(on RYJ ryj_midwife -c "SELECT count(*) > 0 FROM spine.timeline('$other')")" = t ] || fail "RYJ has no records of the other woman"
social=$(on RYJ ryj_midwife -c "SELECT count(*) FROM spine.timeline('$nhs') WHERE data_group = 'social_circumstances' AND owner = 'RYJ'")
[ "$social" -gt 0 ] || fail "RYJ has no social circumstances of her"
is "her social circumstances: $social at RYJ, none at RQM" \
	"$(on RQM rqm_midwife -c "SELECT spine.open_record('$nhs', 'care', 'Looks for what is not shared')" \
		-c "SELECT count(*) FROM spine.timeline('$nhs') WHERE data_group = 'social_circumstances' AND owner = 'RYJ'" | tail -n 1)" 0
is "without opening her record, no row of RYJ's" "$(on RQM rqm_midwife -c "SELECT count(*) FROM spine.all_records WHERE owner = 'RYJ'")" 0
is "another woman of RYJ, whom nobody has referred: SP006" \
	"$(refused RQM rqm_midwife "SELECT spine.open_record('$other', 'care', 'Curious')")" SP006
is "a reason is asked for: 22004" "$(refused RQM rqm_midwife "SELECT spine.open_record('$nhs')")" 22004
is "a governor opens no record: 42501" "$(refused RQM rqm_governor "SELECT spine.open_record('$nhs', 'care', 'Audit')")" 42501
is "a table is nobody's to read: 42501" "$(refused RQM rqm_midwife 'SELECT * FROM maternity.booking')" 42501
is "nor to write: 42501" "$(refused RQM rqm_supplier 'DELETE FROM maternity.booking')" 42501
is "RQM's system does not speak for RYJ's: 42501" \
	"$(refused RQM rqm_supplier "SELECT * FROM spine.submit('{\"dataset\":\"maternity\",\"version\":\"2.0\",\"system\":\"Alder\",\"records\":[]}'::json)")" 42501
is "the neighbour's node reads no table: 42501" "$(refused RYJ node_rqm 'SELECT * FROM maternity.booking')" 42501
is "nor any view: 42501" "$(refused RYJ node_rqm 'SELECT * FROM spine.all_records')" 42501
echo
say "What RQM's governor reads of the openings there:"
echo
table RQM rqm_governor "SELECT to_char(at, 'HH24:MI:SS') AS at, role_name, purpose, array_to_string(owners, ' ') AS owners, basis[1] AS basis, reason
	FROM spine.accesses ORDER BY access_id DESC LIMIT 4"
[ "$(on RQM rqm_governor -c "SELECT count(*) FROM spine.accesses WHERE 'RYJ' = ANY (owners) AND role_name = 'rqm_midwife'")" -ge 3 ] ||
	fail "the openings are not in the access log"

# ---- what people decide ----

heading "A dissent, an emergency, and who answers for them"

# at RQM: what of RYJ's her midwife sees once she has opened the record, or the error's code
sees() {
	on RQM rqm_midwife -c "SELECT spine.$1" -c "SELECT count(*) FROM spine.timeline('$nhs') WHERE owner = 'RYJ'" 2>&1 | tail -n 1
}
opens="open_record('$nhs', 'care', 'Her clinic')"
of_her=$(printf '%s' "$foreign" | sed "s/'%s'/'RYJ'/; s/owner = %L/owner = %L AND patient_id = spine.patient_id(''$nhs'')/")
all_of_hers=$(sees "$opens")
[ "$all_of_hers" -gt 0 ] || fail "RQM's midwife sees nothing of RYJ's before the dissent"
before=$(on RYJ postgres -c "SELECT clock_timestamp()")
dissent=$(on RYJ ryj_midwife -c "SELECT spine.record_dissent('$nhs', 'care', 'RQM', 'She does not want Chelsea to read on')")
wait_for RQM postgres "$of_her" 0
printf '  %-64s %8s ms\n' "dissent recorded at RYJ to none of her $all_of_hers records left at RQM" "$(since "$before" "$(on RYJ postgres -c "SELECT clock_timestamp()")")"
is "opened at RQM, her record shows RQM's own part alone" "$(sees "$opens")" 0

before=$(on RQM postgres -c "SELECT clock_timestamp()")
on RQM rqm_midwife > "$dir/broke" <<SQL
SELECT spine.break_glass('$nhs', 'Eclampsia in A&E, no notes with her') \g /dev/null
DO \$look\$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	WHILE (SELECT count(*) FROM spine.timeline('$nhs') WHERE owner = 'RYJ') < $all_of_hers LOOP
		IF clock_timestamp() > began + interval '1 minute' THEN RAISE 'her record has not come'; END IF;
	END LOOP;
END
\$look\$;
SELECT clock_timestamp();
SQL
printf '  %-64s %8s ms\n' "glass broken at RQM to all $all_of_hers of them there, against the dissent" "$(since "$before" "$(cat "$dir/broke")")"
is "who has not broken it sees none of them" "$(sees "$opens")" 0
wait_for RYJ ryj_governor "SELECT count(*) FROM spine.review WHERE state = 'open'" 1
is "RYJ's governor reviews it, and closes it" \
	"$(on RYJ ryj_governor -c "SELECT spine.close_review(relationship_id, 'appropriate', 'Checked with A&E') FROM spine.review" -c "SELECT state FROM spine.review" | tail -n 1)" closed
is "withdrawn, the dissent stands no longer in the way" "$(on RYJ ryj_midwife -c "SELECT spine.withdraw_dissent('$dissent')" > /dev/null
	wait_for RYJ ryj_operator "SELECT lag_rows FROM spine.links WHERE node = 'RQM' AND direction = 'sending'" 0
	sees "$opens")" "$all_of_hers"
echo
say "Why may RQM's midwife read her booking at RYJ? RQM's governor asks:"
echo
table RQM rqm_governor "SELECT step, left(question, 58) AS question, left(answer, 56) AS answer, holds
	FROM spine.explain_access('$(on RQM postgres -c "SELECT record_id FROM maternity.booking WHERE owner = 'RYJ' AND patient_id = spine.patient_id('$nhs') LIMIT 1")', 'rqm_midwife')"
echo
say "What left RYJ, by clause:"
echo
table RYJ ryj_governor "SELECT day, node, agreement || ' v' || version || ' clause ' || clause AS clause, sum(sent) AS sent, sum(withdrawn) AS withdrawn
	FROM spine.disclosures WHERE agreement IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
is "the access log's chain is whole at both" "$(on RYJ ryj_governor -c "SELECT count(*) FROM spine.verify_access_log()")$(on RQM rqm_governor -c "SELECT count(*) FROM spine.verify_access_log()")" 00
is "RYJ's governor knows who at RQM opened its patients' records" \
	"$(on RYJ ryj_governor -c "SELECT count(*) > 0 FROM spine.accesses WHERE organisation = 'RQM'")" t

# ---- the end ----

heading "The agreement ends"

on RQM rqm_midwife > "$dir/gone" <<SQL &
SELECT spine.open_record('$nhs', 'care', 'Has her record open when the agreement ends') \g /dev/null
SELECT count(*) FROM spine.timeline('$nhs') WHERE owner = 'RYJ';
DO \$look\$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	WHILE EXISTS (SELECT FROM spine.timeline('$nhs') WHERE owner = 'RYJ') LOOP
		IF clock_timestamp() > began + interval '1 minute' THEN RAISE 'the record is still open'; END IF;
	END LOOP;
	PERFORM set_config('demo.gone', clock_timestamp()::text, false);
END
\$look\$;
SELECT current_setting('demo.gone');
SELECT count(*) FROM spine.timeline('$nhs') WHERE owner = 'RYJ';
SQL
looking=$!
sleep 0.3
held=$(rows RQM RYJ)
ended=$(on RYJ ryj_governor -c "SELECT spine.end_agreement('nwl-maternity', 1, 'The demo is over')" -c "SELECT clock_timestamp()" | tail -n 1)
ended_ms=$(now_ms)
wait "$looking" || fail "RQM's midwife can still read RYJ's records"
{ read -r before; read -r gone; read -r after; } < "$dir/gone"
wait_began=$(date +%s)
while left=$(rows RQM RYJ); [ "$left" != 0 ]; do
	[ $(($(date +%s) - wait_began)) -lt 60 ] || fail "$left of RYJ's records are still at RQM"
	sleep 0.02
done
removed=$(($(now_ms) - ended_ms))
while left=$(rows RYJ RQM); [ "$left" != 0 ]; do
	[ $(($(date +%s) - wait_began)) -lt 60 ] || fail "$left of RQM's records are still at RYJ"
	sleep 0.02
done
say "RYJ's governor ends it. RQM's midwife has her record open:"
echo
printf '  %-64s %8s ms\n' "ended at RYJ to none of $before records visible in her session at RQM" "$(since "$ended" "$gone")"
printf '  %-64s %8s ms\n' "to all $(commas "$held") of RYJ's records removed from RQM's tables" "$removed"
echo
is "her session sees none of RYJ's records" "$after" 0
is "what RQM wrote itself it keeps" "$(on RQM rqm_midwife -c "SELECT count(*) > 0 FROM spine.timeline('$nhs') WHERE owner = 'RQM'")" t
is "to open what is RYJ's is refused again: SP006" "$(refused RQM rqm_midwife "SELECT spine.open_record('$other', 'care', 'Curious')")" SP006

heading "Look around"

if [ "$keep" = --keep ]; then
	say "The nodes are running; ./spine demo --stop ends them."
else
	say "With ./spine demo --keep the nodes stay, and these would work:"
fi
echo
psql="psql -h $sockets -d spine"
say "$psql -p $port_ryj -U ryj_midwife      ${dim}reads RYJ's records${plain}"
say "$psql -p $port_rqm -U rqm_midwife      ${dim}reads RQM's${plain}"
say "$psql -p $port_ryj -U ryj_supplier     ${dim}writes as the system Alder${plain}"
say "$psql -p $port_ryj -U ryj_governor     ${dim}agreements and openings${plain}"
say "$psql -p $port_ryj -U ryj_operator     ${dim}links, members, data sets${plain}"
echo
say "SELECT * FROM spine.whoami();"
say "SELECT * FROM spine.timeline('$nhs');"
say "SELECT jsonb_pretty(spine.record('$nhs'));"
say "SELECT * FROM maternity_2_0.booking LIMIT 5;"
say "SELECT data_group, findings FROM spine.rejections LIMIT 5;"
say "SELECT * FROM spine.links;                            ${dim}as an operator${plain}"
say "SELECT name, state, signed_by, end_reason FROM spine.agreements;"
echo
say "$(commas $total) records in all. It took $(($(date +%s) - began)) seconds."
