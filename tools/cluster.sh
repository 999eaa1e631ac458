# shellcheck shell=sh
#
# cluster.sh: throw-away PostgreSQL clusters, for ./spine, the demo and the benches. To be
# sourced by a POSIX shell; runs as whoever calls, who must not be root.
#
# Needs in the environment (./spine sets them):
#   SPINE_RUN     folder of this run; clusters, sockets and logs live below it
#   SPINE_BINDIR  where initdb, pg_ctl and psql are
#   SPINE_STAGE   staged installation of spine, as `make install DESTDIR=` leaves it
#   SPINE_LIB     spine.so in it
#   SPINE_KEY     file with the network key
#
#   port=$(pick_port)
#   cluster_create "$SPINE_RUN/ryj" "$port" "fsync = off"   further arguments: lines of postgresql.conf
#   cluster_start "$SPINE_RUN/ryj"
#   node_psql "$port" -d postgres -c "CREATE DATABASE spine"
#   cluster_stop "$SPINE_RUN/ryj"
#
# A cluster listens on a unix socket in cluster_sockets alone, never on the network, so it
# cannot meet another run. Whoever may enter that folder may connect as any role.

cluster_sockets() { printf '%s\n' "$SPINE_RUN/s"; }

# pick_port: prints a port that nothing listens on and that this run has not given out yet.
pick_port() {
	mkdir -p "$SPINE_RUN/ports"
	perl -MIO::Socket::INET -e '
		for (1 .. 1000) {
			my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Proto => "tcp", Listen => 1) or next;
			my $port = $s->sockport;
			next unless mkdir "$ARGV[0]/$port";
			print "$port\n";
			exit 0;
		}
		die "no free port found\n"' "$SPINE_RUN/ports"
}

# cluster_create DIR PORT [LINE...]: initdb and configuration; superuser postgres.
cluster_create() {
	cluster_dir=$1 cluster_port=$2
	shift 2
	mkdir -p "$(cluster_sockets)"
	"$SPINE_BINDIR/initdb" -D "$cluster_dir" -U postgres --auth-local=trust --auth-host=reject \
		--encoding=UTF8 --locale=C.UTF-8 --no-instructions --no-sync > "$cluster_dir.initdb.log" 2>&1 || {
		cat "$cluster_dir.initdb.log" >&2
		return 1
	}
	{
		printf '%s\n' \
			"listen_addresses = ''" \
			"port = $cluster_port" \
			"unix_socket_directories = '$(cluster_sockets)'" \
			"shared_preload_libraries = '$SPINE_LIB'" \
			"spine.network_key_file = '$SPINE_KEY'" \
			"log_line_prefix = '%m [%p] %q%u@%d '" \
			"log_parameter_max_length = 0" \
			"log_parameter_max_length_on_error = 0" \
			"max_connections = 50" \
			"max_worker_processes = 24" \
			"shared_buffers = 128MB" \
			"max_wal_size = 2GB" \
			"timezone = 'Europe/London'"
		if cluster_knows extension_destdir; then
			printf '%s\n' "extension_destdir = '$SPINE_STAGE'"
		fi
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >> "$cluster_dir/postgresql.conf"
}

# cluster_knows SETTING: does this server have it?
cluster_knows() {
	"$SPINE_BINDIR/postgres" -C "$1" -D "$cluster_dir" > /dev/null 2>&1
}

cluster_start() {
	"$SPINE_BINDIR/pg_ctl" -D "$1" -l "$1.log" -w -t 60 -s start > /dev/null 2>&1 || {
		printf 'the cluster in %s does not start:\n' "$1" >&2
		tail -n 20 "$1.log" >&2
		return 1
	}
}

# cluster_stop DIR [MODE]: fast unless told otherwise; nothing to do is no failure.
cluster_stop() {
	[ -f "$1/postmaster.pid" ] || return 0
	# after a crash of the machine the number in the file may be somebody else's
	grep -q "$1" "/proc/$(head -n 1 "$1/postmaster.pid")/cmdline" 2> /dev/null || return 0
	"$SPINE_BINDIR/pg_ctl" -D "$1" -w -t 60 -s -m "${2:-fast}" stop > /dev/null 2>&1
}

# cluster_stop_all DIR: every cluster below DIR, at once.
cluster_stop_all() {
	find "$1" -name postmaster.pid -type f 2> /dev/null | while IFS= read -r pidfile; do
		cluster_stop "${pidfile%/postmaster.pid}" immediate || :
	done
}

# node_psql PORT ARGUMENT...: psql to the cluster on PORT, as postgres unless told
# otherwise, without anybody's .psqlrc, stopping at the first error.
node_psql() {
	cluster_port=$1
	shift
	PGUSER="${PGUSER:-postgres}" PGHOST="$(cluster_sockets)" PGPORT=$cluster_port PGCLIENTENCODING=UTF8 \
		"$SPINE_BINDIR/psql" -X -q -v ON_ERROR_STOP=1 "$@"
}
