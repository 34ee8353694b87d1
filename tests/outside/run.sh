#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# run.sh SOURCE BUILD [RUNS]: installs, builds a program of somebody else's against the installed library for
# ThreadSanitizer (G12). Its own races are reported, with its own functions; without them nothing is.
set -eu
source=$(cd "$1" && pwd) build=$(cd "$2" && pwd) runs=${3:-8}
here=$source/tests/outside
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ -e "$build/tsan-variant/libhapax-tsan.so" ] || { echo "skipped: this build has no variant for ThreadSanitizer"; exit 77; }
DESTDIR='' cmake --install "$build" --prefix "$work/prefix" >/dev/null
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig LD_LIBRARY_PATH=$work/prefix/lib
export TSAN_OPTIONS=halt_on_error=1:exitcode=66:atexit_sleep_ms=20
# the places where hapax has a report of its own to make are none: no suppressions
say() { echo "-- $*"; }
fail() { echo "$*"; [ ! -e "$work/report" ] || head -60 "$work/report"; exit 1; }

# build COMPILER: hapax alone is taken from the prefix
build() {
	# shellcheck disable=SC2046
	"$1" -std=c11 -D_GNU_SOURCE -O1 -g -fsanitize=thread -Wall -Wextra -Werror $(pkg-config --cflags hapax-tsan) \
		"$here/program.c" "$here/own_bp.c" "$here/own_memb.c" -o "$work/program" \
		$(pkg-config --libs hapax-tsan) $(pkg-config --libs liburcu-bp liburcu) -pthread
}

# silent MODE: no report in any run
silent() {
	for _ in $(seq "$runs"); do
		"$work/program" "$1" 3 >"$work/report" 2>&1 || fail "$compiler: $1: status $?, and a report"
	done
}

# racy MODE FUNCTION...: each run has a report whose two accesses are in functions of the program
racy() {
	local mode=$1 status function
	shift
	for _ in $(seq "$runs"); do
		status=0
		"$work/program" "$mode" >"$work/report" 2>&1 || status=$?
		[ $status = 66 ] || fail "$compiler: $mode: status $status instead of a report"
		grep -q 'WARNING: ThreadSanitizer: data race' "$work/report" || fail "$compiler: $mode: another report"
		[ "$(grep -c "#0 .*program\.c" "$work/report")" -ge 2 ] || fail "$compiler: $mode: not the program's frames"
		for function in "$@"; do
			grep -q "#0 $function" "$work/report" || fail "$compiler: $mode: $function is not named"
		done
	done
}

tried=0
for compiler in clang-19 clang-14 gcc; do
	command -v "$compiler" >/dev/null || continue
	if ! build "$compiler" 2>"$work/errors"; then
		# what this compiler's run-time library lacks, the variant's compiler may have used
		[ "$compiler" != clang-19 ] || { cat "$work/errors"; exit 1; }
		say "$compiler: does not link with the variant: $(grep -m1 -o 'undefined reference.*' "$work/errors" || head -1 "$work/errors")"
		continue
	fi
	if ! "$work/program" right 1 >"$work/report" 2>&1 && grep -q 'unexpected memory mapping\|symbol lookup error' "$work/report"; then
		say "$compiler: its run-time library does not start here: $(head -1 "$work/report")"
		continue
	fi
	tried=$((tried + 1))
	silent right
	silent sections
	racy counters count_up
	racy late-write count_up read_out
	racy after-publication fill_in read_out
	say "$compiler: $runs runs each: races of its own reported, and nothing else"
done
[ $tried -gt 0 ] || { echo "skipped: no compiler"; exit 77; }
