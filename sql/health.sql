-- What an operator looks at in the morning, and a monitoring system every minute.

CREATE FUNCTION spine.disk_space() RETURNS TABLE (place text, total_bytes bigint, free_bytes bigint)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 2
	AS 'MODULE_PATHNAME', 'spine_disk_space';
COMMENT ON FUNCTION spine.disk_space() IS 'Size and free space of the disks that hold the data directory and pg_wal; null where the system does not tell.';

CREATE FUNCTION spine.workers() RETURNS TABLE (kind text, pid integer, since timestamptz)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 3
	AS 'MODULE_PATHNAME', 'spine_workers';
COMMENT ON FUNCTION spine.workers() IS 'The background workers of spine that run for this database, and the launcher.';

CREATE FUNCTION spine.audit_queue(OUT waiting integer, OUT slots integer) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_audit_queue';
COMMENT ON FUNCTION spine.audit_queue() IS 'Entries of this database on their way to the access log, of how many that there may be on the server.';

CREATE FUNCTION spine.setting_now(name text) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'spine_setting_now';
COMMENT ON FUNCTION spine.setting_now(text) IS 'A setting as it is in this session, also one that the server shows to superusers alone; null where there is none.';

-- Deviations from what the guide recommends: one row for each setting, 0 or 1.
CREATE FUNCTION spine.setting_deviations() RETURNS TABLE (subject text, deviates boolean, what text, to_do text)
	LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	over_network boolean := EXISTS (SELECT FROM spine.node n WHERE NOT n.is_self AND n.state <> 'ended');
BEGIN
	RETURN QUERY
	SELECT s.name, s.deviates, format('%s is %s', s.name, coalesce(nullif(s.value, ''), 'empty')), s.advice
	FROM (
		SELECT w.name, spine.setting_now(w.name) AS value, spine.setting_now(w.name) IS DISTINCT FROM w.wanted AS deviates,
			   format('Set %s = %s: statements and their parameters hold personal data.', w.name, w.wanted) AS advice
		FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_error_statement', 'panic'),
					 ('log_parameter_max_length', '0'), ('log_parameter_max_length_on_error', '0')) AS w (name, wanted)
		UNION ALL
		SELECT 'temp_file_limit', v, v = '-1', 'ALTER DATABASE ... SET temp_file_limit: else one statement may fill the disk.'
			FROM spine.setting_now('temp_file_limit') v
		UNION ALL
		SELECT 'idle_in_transaction_session_timeout', v, v = '0', 'ALTER DATABASE ... SET idle_in_transaction_session_timeout: an open transaction holds others up.'
			FROM spine.setting_now('idle_in_transaction_session_timeout') v
		UNION ALL
		SELECT 'fsync', v, v <> 'on', 'Set fsync = on: without it a crash loses records.' FROM spine.setting_now('fsync') v
		UNION ALL
		SELECT 'ssl', v, over_network AND v <> 'on', 'Set ssl = on: neighbours come over the network.' FROM spine.setting_now('ssl') v
		UNION ALL
		SELECT 'ssl_min_protocol_version', v, over_network AND spine.setting_now('ssl') = 'on' AND v <> 'TLSv1.3', 'Set ssl_min_protocol_version = ''TLSv1.3''.'
			FROM spine.setting_now('ssl_min_protocol_version') v) s
	UNION ALL
	SELECT 'temporary', has_database_privilege('public', current_database(), 'TEMPORARY'),
		   'whether PUBLIC may make temporary tables', format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database())
	UNION ALL
	SELECT 'public', has_schema_privilege('public', 'public', 'CREATE'), 'whether PUBLIC may create in schema public', 'REVOKE CREATE ON SCHEMA public FROM PUBLIC'
		WHERE EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'public')
	UNION ALL
	SELECT 'version', v.number / 10000 = 15 AND v.number < 150019, format('PostgreSQL is %s', current_setting('server_version')), 'Upgrade to the newest minor version, 15.19 or later.'
		FROM (SELECT current_setting('server_version_num')::integer) v (number);
END
$$;
COMMENT ON FUNCTION spine.setting_deviations() IS 'Settings and rights that the guide recommends, and whether they are otherwise here.';

-- Values alone: what they mean stands in spine.health_limit.
CREATE FUNCTION spine.health_values() RETURNS TABLE (check_name text, subject text, value numeric, what text, to_do text)
	LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
	AS $$
#variable_conflict use_column
DECLARE
	me text := (SELECT n.name FROM spine.node n WHERE n.is_self);
	listed boolean := EXISTS (SELECT FROM string_to_table(spine.setting_now('spine.databases'), ',') d
							 WHERE current_database() IN (btrim(btrim(d), '"'), lower(btrim(d))));
	link record;
	place record;
	lag bigint;
	found_rows bigint;
	oldest timestamptz;
	number bigint;
BEGIN
	-- links
	FOR link IN
		SELECT l.*, n.state AS node_state, n.behind, n.connected_at
		FROM spine.link l JOIN spine.node n ON n.name = l.node
		-- who only sends to us is not called
		WHERE n.state <> 'ended' AND n.conninfo IS NOT NULL ORDER BY l.node
	LOOP
		RETURN QUERY VALUES ('link_held', link.node, CASE WHEN link.behind THEN 2 WHEN link.paused THEN 1 ELSE 0 END::numeric,
			CASE WHEN link.behind THEN 'behind: its rows of the ledger were dropped' WHEN link.paused THEN 'paused' ELSE 'neither paused nor behind' END,
			'Behind: it is compared by itself when it is back; see link_contact. Paused: spine.resume_link().');
		IF link.node_state = 'active' AND NOT link.paused THEN
			RETURN QUERY VALUES ('link_contact', link.node, extract(epoch FROM clock_timestamp() - coalesce(link.contact_at, link.connected_at))::numeric,
				format('%s, last answer %s%s', link.state, coalesce(link.contact_at::text, 'never'), CASE WHEN link.state = 'waiting' THEN ', ' || left(link.last_error, 200) END),
				'See last_error in spine.links; then the network, the neighbour''s server, certificates and pg_hba.conf there.');
			RETURN QUERY SELECT 'clock_difference', link.node, abs(extract(epoch FROM link.clock_difference))::numeric,
				format('its clock is %s off', link.clock_difference), 'Have both servers'' clocks set by NTP.' WHERE link.clock_difference IS NOT NULL;
		END IF;
		lag := spine.link_lag(link.node);
		oldest := spine.link_oldest(link.node);
		RETURN QUERY VALUES
			('link_lag', link.node, CASE WHEN lag = 0 THEN 0 ELSE extract(epoch FROM clock_timestamp() - coalesce(oldest, link.connected_at)) END::numeric,
				CASE WHEN lag IS NULL THEN 'not known before the first contact' ELSE format('%s rows, the oldest of %s', lag, coalesce(oldest::text, 'no time')) END,
				'A link that works catches up by itself; else see link_contact.'),
			('link_lag_rows', link.node, lag::numeric, format('%s rows to be acknowledged', coalesce(lag::text, 'unknown')), 'As link_lag.');
	END LOOP;
	-- what should be gone there, and what should be equal
	RETURN QUERY SELECT 'withdrawals_unproven', n.name, coalesce(extract(epoch FROM clock_timestamp() - w.since), 0)::numeric,
		CASE WHEN w.since IS NULL THEN 'none' ELSE format('%s records, since %s', w.records, w.since) END, 'See spine.withdrawals; the proof comes when the link works.'
		FROM spine.node n, LATERAL (SELECT count(*) AS records, min(d.at) AS since FROM spine.delivery d
									WHERE d.destination = n.name AND d.action = 'withdraw' AND d.receipt_id IS NULL) w
		WHERE NOT n.is_self AND n.state <> 'ended' AND n.conninfo IS NOT NULL;
	RETURN QUERY SELECT 'comparison', n.name, extract(epoch FROM clock_timestamp() - coalesce(c.at, n.connected_at))::numeric,
		format('last equal at %s', coalesce(c.at::text, 'no time')), 'See spine.receipts; SELECT spine.reconcile(node) compares at once.'
		FROM spine.node n, LATERAL (SELECT max(r.ended) AS at FROM spine.receipts r
									WHERE r.node = n.name AND r.direction = 'sent' AND r.kind = 'reconciliation' AND r.equal) c
		WHERE NOT n.is_self AND n.state = 'active' AND n.conninfo IS NOT NULL;
	RETURN QUERY SELECT 'receive_faults', n.name, count(f.node)::numeric, format('%s rows set aside', count(f.node)),
		'See spine.receive_fault for the errors; mend the cause, then SELECT spine.retry_faults().'
		FROM spine.node n LEFT JOIN spine.receive_fault f ON f.node = n.name WHERE NOT n.is_self GROUP BY n.name;
	RETURN QUERY SELECT 'waiting_rows', n.name, count(w.node)::numeric,
		format('%s rows of %s', count(w.node), coalesce(left(string_agg(DISTINCT w.relation, ', '), 200), 'none')), 'Publish the data set that the neighbour uses.'
		FROM spine.node n LEFT JOIN spine.waiting_row w ON w.node = n.name WHERE NOT n.is_self GROUP BY n.name;
	RETURN QUERY SELECT 'incidents', k.kind, sum(k.times)::numeric, format('%s in a day, the last at %s', sum(k.times), max(k.last_at)),
		'SELECT * FROM spine.incident ORDER BY last_at DESC; speak to that node''s operator.'
		FROM spine.incident k WHERE k.last_at > clock_timestamp() - interval '1 day' GROUP BY k.kind;
	IF NOT FOUND THEN
		RETURN QUERY VALUES ('incidents', 'any', 0::numeric, 'none in a day', '');
	END IF;

	-- the ledger, and other tables by month
	RETURN QUERY SELECT 'ledger_size', me, round(100.0 * b.bytes / d.total_bytes, 2), format('%s', pg_size_pretty(b.bytes)),
		'See which destination it is: spine.links; SELECT spine.prune_ledger(''6 months'').'
		FROM (SELECT coalesce(sum(pg_total_relation_size(t.relid)), 0)::bigint AS bytes FROM pg_partition_tree('spine.delivery') t WHERE t.isleaf) b,
			spine.disk_space() d WHERE d.place = 'data' AND d.total_bytes > 0;
	FOR place IN
		SELECT c.oid::regclass AS class, c.relname FROM pg_class c
		WHERE c.relnamespace = 'spine'::regnamespace AND c.relispartition AND c.relkind = 'r'
			AND pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' ORDER BY c.relname
	LOOP
		EXECUTE format('SELECT count(*) FROM (SELECT FROM %s LIMIT 1000000) x', place.class) INTO found_rows;
		RETURN QUERY VALUES ('default_partitions', place.relname::text, found_rows::numeric, format('%s rows', found_rows),
			'The courier makes the tables of coming months, and moves what came before one was there: does it run, and is the table locked? See the log.');
	END LOOP;
	RETURN QUERY SELECT 'reaudience', me, coalesce(extract(epoch FROM clock_timestamp() - min(k.since)), 0)::numeric,
		format('%s groups', count(*)), 'Does the courier run? Else SELECT spine.reaudience_turn() until it returns 0.' FROM spine.reaudience_task k;

	-- the access log
	RETURN QUERY SELECT 'audit_queue', me, coalesce(round(100.0 * q.waiting / nullif(q.slots, 0), 1), 0), format('%s of %s', q.waiting, q.slots),
		'Is spine.access_log locked, or the disk slow? Else a larger spine.audit_slots.' FROM spine.audit_queue() q;
	RETURN QUERY SELECT 'audit_chain', me, (v.fault IS NOT NULL)::integer::numeric, coalesce(format('entry %s: %s', v.fault_id, v.fault), 'whole as far as it was verified'),
		'SELECT * FROM spine.verify_access_log(); keep the server as it is, and find out who could write the table.' FROM spine.chain_verified v;
	RETURN QUERY SELECT 'audit_verified', me, extract(epoch FROM clock_timestamp() - coalesce(v.verified_at, s.created_at))::numeric,
		format('verified to entry %s, to the end at %s', v.access_id, coalesce(v.verified_at::text, 'no time')), 'Does the courier run, and can the network key be read?'
		FROM spine.chain_verified v, spine.store s;
	SELECT count(*) INTO number FROM spine.witness_faults();
	RETURN QUERY VALUES ('audit_witness', me, number::numeric, format('%s heads of the log are not what was said', number),
		'SELECT * FROM spine.verify_witnesses(). After a restore from a backup: spine.settle_witnesses(reason); else as audit_chain.');
	BEGIN
		PERFORM spine.patient_id('9990000018');
		number := 0;
	EXCEPTION WHEN OTHERS THEN
		number := 1;
	END;
	RETURN QUERY VALUES ('network_key', me, number::numeric, CASE number WHEN 0 THEN 'can be read' ELSE 'cannot be read' END, 'See spine.network_key_file: there, of the server''s user, mode 0600.');
	RETURN QUERY SELECT 'reviews_overdue', me, count(*)::numeric, format('%s uses of broken glass', count(*)), 'Governors look at spine.review, and close each with spine.close_review().'
		FROM spine.reviews_of(spine.hosted_organisations()) r
		WHERE r.state = 'open' AND r.at < clock_timestamp() - make_interval(days => current_setting('spine.emergency_explained_days')::integer);

	RETURN QUERY SELECT 'rejections', me, count(*)::numeric, format('%s records', count(*)), 'See spine.rejections, by system and rule; after a mend spine.revalidate().'
		FROM spine.rejection j WHERE j.state = 'open';

	-- processes
	RETURN QUERY SELECT 'workers', k.kind, CASE WHEN w.pid IS NULL AND (listed OR k.kind = 'launcher') THEN 1 ELSE 0 END::numeric,
		coalesce('since ' || w.since::text, CASE WHEN listed OR k.kind = 'launcher' THEN 'does not run' ELSE 'none is due: this database is not in spine.databases' END),
		'See the log for "spine:"; is the library preloaded, and max_worker_processes large enough?'
		FROM unnest('{launcher,courier,auditor}'::text[]) k (kind) LEFT JOIN LATERAL (SELECT * FROM spine.workers() v WHERE v.kind = k.kind LIMIT 1) w ON true;

	-- the server
	RETURN QUERY SELECT 'disk_used', d.place, round(100.0 * (d.total_bytes - d.free_bytes) / d.total_bytes, 1), format('%s free', pg_size_pretty(d.free_bytes)),
		'Make room: a full disk stops all writing, and openings first.' FROM spine.disk_space() d WHERE d.total_bytes > 0;
	RETURN QUERY SELECT 'transaction_age', d.datname::text, greatest(age(d.datfrozenxid), mxid_age(d.datminmxid))::numeric, format('%s transactions', greatest(age(d.datfrozenxid), mxid_age(d.datminmxid))),
		'Autovacuum is behind: look for old transactions, prepared ones and slots that hold it.' FROM pg_database d;
	RETURN QUERY SELECT 'slot_wal', s.slot_name::text, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0),
		format('%s, holds %s', CASE WHEN s.active THEN 'in use' ELSE 'not in use' END, pg_size_pretty(coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0))),
		'Not of spine. Whose is it? Drop it, or set max_slot_wal_keep_size.' FROM pg_replication_slots s WHERE NOT pg_is_in_recovery();
	RETURN QUERY SELECT 'settings', s.subject, s.deviates::integer::numeric, s.what, s.to_do FROM spine.setting_deviations() s;

	-- jobs of pg_cron, where it is installed here
	IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'cron' AND c.relname = 'job_run_details') THEN
		BEGIN
			RETURN QUERY EXECUTE 'SELECT ''cron_failures'', ''job '' || j.jobid, (d.status = ''failed'')::integer::numeric, format(''last run %s at %s'', d.status, d.start_time), '
				'''SELECT * FROM cron.job_run_details WHERE status = ''''failed'''' ORDER BY runid DESC.'' '
				'FROM cron.job j JOIN LATERAL (SELECT r.status, r.start_time FROM cron.job_run_details r WHERE r.jobid = j.jobid AND r.status IN (''failed'', ''succeeded'') ORDER BY r.runid DESC LIMIT 1) d ON true';
		EXCEPTION WHEN insufficient_privilege THEN
			RETURN QUERY VALUES ('cron_failures', 'all', 1::numeric, 'spine_owner may not look', 'GRANT USAGE ON SCHEMA cron TO spine_owner; GRANT SELECT ON cron.job, cron.job_run_details TO spine_owner');
		END;
	END IF;
END
$$;
COMMENT ON FUNCTION spine.health_values() IS 'What spine.health() judges.';

CREATE FUNCTION spine.link_oldest(node text) RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	at_position jsonb := (SELECT l.position FROM spine.link l WHERE l.node = $1);
BEGIN
	RETURN (SELECT min(d.at) FROM spine.unsent_deliveries($1, at_position, 1) d);
END
$$;
COMMENT ON FUNCTION spine.link_oldest(text) IS 'When the oldest row of the ledger was written that the neighbour has not acknowledged; null where there is none.';

CREATE FUNCTION spine.health()
	RETURNS TABLE (check_name text, subject text, state text, value numeric, unit text, what text, to_do text)
	LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT v.check_name, v.subject, s.state, round(v.value, 2), l.unit, v.what, CASE s.state WHEN 'ok' THEN '' ELSE v.to_do END
	FROM spine.health_values() v
		JOIN spine.health_limit l USING (check_name)
		CROSS JOIN LATERAL (SELECT CASE WHEN v.value >= l.critical THEN 'critical' WHEN v.value >= l.warning THEN 'warning' ELSE 'ok' END AS state) s
	ORDER BY CASE s.state WHEN 'critical' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END, v.check_name, v.subject
	$$;
COMMENT ON FUNCTION spine.health() IS
	'How this node is: one row for each check and what it is about, the worst first. state: ok, warning, critical, by the limits in spine.health_limit; to_do: what to do where it is not ok. Tells of no person. For operators and roles of pg_monitor.';

CREATE FUNCTION spine.health_limits()
	RETURNS TABLE (check_name text, warning numeric, critical numeric, unit text, description text)
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT l.check_name, l.warning, l.critical, l.unit, l.description FROM spine.health_limit l ORDER BY 1$$;
COMMENT ON FUNCTION spine.health_limits() IS 'The checks of spine.health(), from which value on each is a warning or critical (null: never), and what it measures.';

CREATE FUNCTION spine.set_health_limit(check_name text, warning numeric, critical numeric) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM spine.require_operator();
	IF warning > critical THEN
		RAISE EXCEPTION 'a warning comes before what is critical'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	UPDATE spine.health_limit l SET warning = set_health_limit.warning, critical = set_health_limit.critical
		WHERE l.check_name = set_health_limit.check_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no check "%"', check_name
			USING ERRCODE = 'undefined_object', HINT = 'They are in spine.health_limits().';
	END IF;
END
$$;
COMMENT ON FUNCTION spine.set_health_limit(text, numeric, numeric) IS
	'Sets from which value on a check of spine.health() is a warning, and critical; null: never. For operators. 42704 for a check that there is none of, 22023 where the warning is above.';

-- A label's value in the exposition format: the backslash, the quotation mark and the line's end are escaped.
CREATE FUNCTION spine.metric_label(value text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$SELECT replace(replace(replace(value, chr(92), chr(92) || chr(92)), '"', chr(92) || '"'), chr(10), chr(92) || 'n')$$;
COMMENT ON FUNCTION spine.metric_label(text) IS 'The value of a label as Prometheus reads it.';

CREATE FUNCTION spine.health_metrics() RETURNS text
	LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	WITH checked AS MATERIALIZED (
		SELECT h.check_name, h.subject, h.state, v.value, l.description, l.unit
		FROM spine.health() h
			JOIN spine.health_limit l USING (check_name)
			CROSS JOIN LATERAL (SELECT h.value) v
	), states AS (
		SELECT string_agg(format(E'spine_health{check="%s",subject="%s"} %s\n', spine.metric_label(c.check_name), spine.metric_label(c.subject),
								 CASE c.state WHEN 'ok' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END), '' ORDER BY c.check_name, c.subject) AS lines
		FROM checked c
	), gauges AS (
		SELECT format(E'# HELP spine_%s %s In %s.\n# TYPE spine_%1$s gauge\n', c.check_name, c.description, c.unit)
			   || string_agg(format(E'spine_%s{subject="%s"} %s\n', c.check_name, spine.metric_label(c.subject), c.value), '' ORDER BY c.subject) AS lines
		FROM checked c WHERE c.value IS NOT NULL GROUP BY c.check_name, c.description, c.unit
	)
	SELECT E'# HELP spine_health How a check stands: 0 ok, 1 warning, 2 critical.\n# TYPE spine_health gauge\n' || s.lines
		   || coalesce((SELECT string_agg(g.lines, '' ORDER BY g.lines) FROM gauges g), '')
	FROM states s
	$$;
COMMENT ON FUNCTION spine.health_metrics() IS
	'spine.health() in the text format of Prometheus (0.0.4): spine_health with the labels check and subject, and the value of each check as spine_CHECK. For operators and roles of pg_monitor.';

DO $rights$
DECLARE
	one text;
BEGIN
	FOREACH one IN ARRAY ARRAY[
		'spine.health()', 'spine.health_metrics()', 'spine.health_limits()', 'spine.set_health_limit(text, numeric, numeric)']
	LOOP
		EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO spine_owner', one);
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_operator', one);
	END LOOP;
	FOREACH one IN ARRAY ARRAY[
		'spine.disk_space()', 'spine.workers()', 'spine.audit_queue()', 'spine.setting_now(text)', 'spine.setting_deviations()',
		'spine.health_values()', 'spine.link_oldest(text)', 'spine.metric_label(text)']
	LOOP
		EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO spine_owner', one);
	END LOOP;
END
$rights$;
-- the role of those who watch servers
GRANT USAGE ON SCHEMA spine TO pg_monitor;
GRANT EXECUTE ON FUNCTION spine.health(), spine.health_metrics(), spine.health_limits() TO pg_monitor;
