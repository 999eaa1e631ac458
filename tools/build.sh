# shellcheck shell=sh disable=SC2154 # top, builds, run_user: of ./spine
#
# build.sh: the build, and the folder of a run. Sourced by ./spine.
#
# A build is kept under a name made from everything that goes into it, so it is never stale,
# never meets another run, and the tree itself stays as it is.

version() { sed -n "s/^default_version *= *'\(.*\)'/\1/p" "$top/spine.control"; }

# tree_copy FROM TO: the tree's files with their times, without what builds leave behind.
tree_copy() {
	mkdir -p "$2"
	tar -C "$1" --exclude=./.git --exclude=./build --exclude=./tmp_check --exclude='*.o' --exclude='*.so' \
		--exclude='*.bc' --exclude='./spine--*.sql' --exclude='./spine--*.new' -cf - . | tar -C "$2" -xf - --no-same-owner
}

build_id() {
	{
		"$PG_CONFIG" --version
		cc --version
		printf '%s\n' "${CFLAGS:-} ${COPT:-}"
		cd "$top" || exit
		find Makefile spine.control extension bgworkers sql policies datasets -type f \
			! -name '*.o' ! -name '*.so' ! -name '*.bc' | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum
	} | sha256sum | cut -c 1-12
}

# build: makes $builds/ID and sets stage and lib. Other builds go; the lock (descriptor 9) is
# held until stage_run has copied this one, so that nobody removes it before.
build() {
	mkdir -p "$builds"
	id=$(build_id)
	stage=$builds/$id/stage
	lib=$stage$("$PG_CONFIG" --pkglibdir)/spine.so
	# one build at a time; who waited finds it done
	exec 9> "$builds/lock"
	flock 9
	if [ ! -f "$builds/$id/done" ]; then
		say "building spine $(version) for $("$PG_CONFIG" --version)"
		find "$builds" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
		tree_copy "$top" "$builds/$id/source"
		jobs=$(nproc)
		[ "$jobs" -le 4 ] || jobs=4
		if ! make -C "$builds/$id/source" -j "$jobs" PG_CONFIG="$PG_CONFIG" > "$builds/log" 2>&1 ||
			! make -C "$builds/$id/source" install DESTDIR="$stage" PG_CONFIG="$PG_CONFIG" >> "$builds/log" 2>&1; then
			grep -E '(: error|error:|warning:|undefined|\*\*\*)' "$builds/log" | head -n 20 >&2
			die "the build failed; all it said is in $builds/log"
		fi
		rm -rf "$builds/$id/source"
		touch "$builds/$id/done"
	fi
}

# stage_run: puts into SPINE_RUN what the run needs, and hands it to the user who runs.
stage_run() {
	mkdir -p "$SPINE_RUN/t" "$SPINE_RUN/s"
	tree_copy "$top" "$SPINE_RUN/source"
	cp -R "$stage" "$SPINE_RUN/stage"
	exec 9>&-
	printf '%s\n' "$SPINE_RUN/stage${lib#"$stage"}" > "$SPINE_RUN/lib"
	(umask 077 && head -c 32 /dev/urandom > "$SPINE_RUN/network.key")
	shared=${SPINE_SHARED:-$top/../shared/data}
	[ ! -r "$shared" ] || cp -R "$shared" "$SPINE_RUN/shared"
	chmod -R u+w "$SPINE_RUN"
	chmod 0700 "$SPINE_RUN"
	[ "$(id -u)" -ne 0 ] || chown -R "$run_user:$(id -gn "$run_user")" "$SPINE_RUN"
}
