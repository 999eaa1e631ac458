#!/bin/sh
# run.sh: the half of ./spine that runs clusters, as an ordinary user, in the folder SPINE_RUN
# that the other half has filled:
#
#   source/  a copy of the tree      stage/  the staged installation   lib  the path of spine.so in it
#   shared/  national files, if any  t/ s/   temporary files, sockets  network.key
#
# Whatever ends it, it stops every cluster below SPINE_RUN and removes the folder.
set -eu

SPINE_SOURCE=$SPINE_RUN/source
SPINE_STAGE=$SPINE_RUN/stage
SPINE_LIB=$(cat "$SPINE_RUN/lib")
SPINE_KEY=$SPINE_RUN/network.key
SPINE_SHARED=
SPINE_ODS_FILE=
if [ -d "$SPINE_RUN/shared" ]; then
	SPINE_SHARED=$SPINE_RUN/shared
	SPINE_ODS_FILE=$(find "$SPINE_SHARED/ods" -name 'nhs-trusts-*.csv' 2> /dev/null | LC_ALL=C sort | tail -n 1)
fi
export SPINE_SOURCE SPINE_STAGE SPINE_LIB SPINE_KEY SPINE_SHARED SPINE_ODS_FILE

. "$SPINE_SOURCE/tools/cluster.sh"

say() { printf '%s\n' "$*" >&2; }

keep=
child=
finish() {
	status=$?
	trap '' INT TERM HUP
	trap - EXIT
	if [ -n "$child" ] && kill -0 "$child" 2> /dev/null; then
		kill -TERM "$child" 2> /dev/null || :
		wait "$child" || :
	fi
	[ -z "$keep" ] || exit "$status"
	cluster_stop_all "$SPINE_RUN"
	if [ -n "$SPINE_KEEP" ]; then
		say "left behind: $SPINE_RUN"
		exit "$status"
	fi
	cd /
	rm -rf "$SPINE_RUN"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# run COMMAND...: in the background, because a shell that waits for a foreground command
# would hear a signal only after it.
run() {
	"$@" &
	child=$!
	rc=0
	wait "$child" || rc=$?
	child=
	return "$rc"
}

# does this server take an extension that is not installed?
check_stage() {
	cluster_create "$SPINE_RUN/probe" 1
	uninstalled=yes
	cluster_knows extension_destdir || uninstalled=
	rm -rf "$SPINE_RUN/probe" "$SPINE_RUN/probe.initdb.log"
	[ -n "$uninstalled" ] || [ -f "$("$PG_CONFIG" --sharedir)/extension/spine.control" ] || {
		say "This PostgreSQL has no setting extension_destdir, so it cannot use an uninstalled extension."
		say "Install spine first: make install PG_CONFIG=$PG_CONFIG"
		exit 1
	}
}

run_test() {
	slow=
	if [ "${1:-}" = all ]; then
		slow=yes
		shift
	fi
	cd "$SPINE_SOURCE/test"
	files=$(
		for file in lint/* sql/*.sql t/*.pl fuzz/*; do
			[ -f "$file" ] || continue
			case $file in
			*/README.md | sql/setup.psql) continue ;;
			lint/*) [ -x "$file" ] || continue ;;
			t/slow_* | fuzz/*)
				case $file in
				fuzz/run.sh | t/*) ;;
				*) continue ;;
				esac
				[ -n "$slow" ] || [ $# -gt 0 ] || continue ;;
			esac
			[ $# -gt 0 ] || { printf '%s\n' "$file"; continue; }
			for name in "$@"; do
				case $file in
				"$name"* | */*"$name"*) printf '%s\n' "$file"; break ;;
				esac
			done
		done
	)
	case $files in
	*sql/*)
		PGHOST=$(cluster_sockets) PGPORT=$(pick_port) PGUSER=postgres
		export PGHOST PGPORT PGUSER
		cluster_create "$SPINE_RUN/pgtap" "$PGPORT" "fsync = off" "synchronous_commit = off" "full_page_writes = off"
		# where this fails, each file says so and counts
		# shellcheck disable=SC2015
		cluster_start "$SPINE_RUN/pgtap" &&
			node_psql "$PGPORT" -d postgres -c "CREATE DATABASE template_in_work" &&
			node_psql "$PGPORT" -d template_in_work -c "SET client_min_messages = warning" \
				-c "CREATE EXTENSION spine CASCADE" -c "CREATE EXTENSION pgtap" &&
			node_psql "$PGPORT" -d postgres -c "ALTER DATABASE template_in_work RENAME TO spine_template" ||
			say "no database could be made with the extension" ;;
	esac
	# shellcheck disable=SC2086 # file names of ours
	run perl "$SPINE_SOURCE/tools/harness.pl" --jobs $(($(nproc) + 1)) ${slow:+--timeout 3600} $files
}

run_demo() {
	run sh "$SPINE_SOURCE/demo/demo.sh" "$@" || return
	if [ "${1:-}" = --keep ]; then
		keep=yes
		say "The nodes stay. To stop them and remove what they hold: ./spine demo --stop"
	fi
}

run_bench() {
	PGHOST=$(cluster_sockets) PGPORT=$(pick_port) PGUSER=postgres PGDATABASE=bench
	export PGHOST PGPORT PGUSER PGDATABASE
	cluster_create "$SPINE_RUN/bench" "$PGPORT" "wal_level = logical" "max_wal_size = 16GB" "shared_buffers = 2GB"
	cluster_start "$SPINE_RUN/bench"
	node_psql "$PGPORT" -d postgres -c "CREATE DATABASE bench"
	node_psql "$PGPORT" -d bench -c "SET client_min_messages = warning" -c "CREATE EXTENSION spine CASCADE" \
		-c "SELECT spine.create_store('RYJ')" -c "SELECT spine.publish_dataset('maternity', '2.0')" > /dev/null
	cd "$SPINE_SOURCE/test/bench"
	# shellcheck disable=SC2046 # file names of ours
	[ $# -gt 0 ] || set -- $(find . -maxdepth 1 -type f -perm -u+x | sed 's,^\./,,' | LC_ALL=C sort)
	[ $# -gt 0 ] || { say "there is nothing to measure"; return 1; }
	failed=0
	for name in "$@"; do
		[ -x "$name" ] || { say "there is no bench $name"; failed=1; continue; }
		run "./$name" || { say "bench $name failed"; failed=1; }
	done
	return "$failed"
}

command=$1
shift
case $command in
stop)
	cluster_stop_all "$SPINE_RUN"
	say "stopped and removed"
	exit 0 ;;
esac
check_stage
"run_$command" "$@"
