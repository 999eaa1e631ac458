#!/bin/sh
# Builds the harnesses of this folder with libFuzzer and runs each for SECONDS (default 10).
#   sh test/fuzz/run.sh [SECONDS [HARNESS...]]
# Speaks TAP. Works below $TMPDIR, or with SPINE_FUZZ_DIR in a folder that stays, so that the
# corpus grows from run to run. What a failing harness said, its input included, is printed.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
seconds=${1:-10}
[ $# -eq 0 ] || shift
case $seconds in
'' | *[!0-9]*)
	printf 'usage: run.sh [SECONDS [HARNESS...]]\n' >&2
	exit 2 ;;
esac

clang=${CLANG:-}
for candidate in clang clang-19 clang-16 clang-15 clang-14; do
	[ -n "$clang" ] || clang=$(command -v "$candidate") || clang=
done
[ -n "$clang" ] || { printf '1..0 # SKIP clang is not here\n'; exit 0; }

if [ -n "${SPINE_FUZZ_DIR:-}" ]; then
	work=$SPINE_FUZZ_DIR
	mkdir -p "$work"
else
	work=$(mktemp -d "${TMPDIR:-/tmp}/spine-fuzz.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
fi

make -s -C "$here" CLANG="$clang" OUT="$work" >&2
# shellcheck disable=SC2046 # names of ours
[ $# -gt 0 ] || set -- $(make -s -C "$here" list)
printf '1..%d\n' $#
number=0
failed=0
for harness in "$@"; do
	number=$((number + 1))
	corpus=$work/corpus/$harness
	mkdir -p "$corpus"
	seed=0
	while IFS= read -r line; do
		seed=$((seed + 1))
		printf '%s' "$line" > "$corpus/seed-$seed"
	done < "$here/$harness.seeds"
	if "$work/$harness" -max_total_time="$seconds" -max_len=64 -timeout=5 -print_final_stats=1 \
		-artifact_prefix="$work/$harness-" "$corpus" > "$work/$harness.log" 2>&1; then
		printf 'ok %d - %s holds for %s inputs\n' "$number" "$harness" \
			"$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$harness.log")"
	else
		failed=1
		printf 'not ok %d - %s\n' "$number" "$harness"
		tail -n 40 "$work/$harness.log" | sed 's/^/# /'
	fi
done
exit "$failed"
