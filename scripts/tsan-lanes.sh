#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tsan-lanes.sh [-s SEEDS] [-c COMPILERS] [-u] [WORK]: the storm of tests/torture/ under ThreadSanitizer, by each compiler's
# own run-time library: random yields, strict grace periods, no suppressions. -u: the unit tests too, with yields alone.
# A compiler that is not there is told and left out. Any report fails.
set -u
seeds=20 compilers="clang-14 clang-19 gcc" units=false seconds=2 threads=4 operations=20000
while getopts s:c:u option; do
	case $option in
	s) seeds=$OPTARG ;;
	c) compilers=$OPTARG ;;
	u) units=true ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
source=$(cd "$(dirname "$0")/.." && pwd) || exit 2
mkdir -p "${1:-$source/build/tsan-lanes}" && work=$(cd "${1:-$source/build/tsan-lanes}" && pwd) || exit 2
jobs=${JOBS:-$(nproc)}
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:detect_deadlocks=1:atexit_sleep_ms=20
libraries=$(pkg-config --libs liburcu-bp ck cmocka) || exit 2

build() { # compiler, directory, extra flags... -> objects of the library
	local cc=$1 dir=$2
	shift 2
	mkdir -p "$dir"
	# shellcheck disable=SC2016
	printf '%s\0' "$source"/lib/*/*.c "$source"/tests/torture/torture.c "$source"/tests/torture/torture/*.c |
		xargs -0 -P "$jobs" -I '{}' bash -c '
		dir=$1 file=$2 cc=$3; shift 3
		"$cc" "$@" -w -c "$file" -o "$dir/$(basename "$(dirname "$file")")-$(basename "$file" .c).o"
	' _ "$dir" '{}' "$cc" -std=c11 -D_GNU_SOURCE -O1 -g -fsanitize=thread -fno-omit-frame-pointer -fexceptions \
		-ftls-model=initial-exec "-I$source/include" "-I$source/lib" "-I$source/tests" -DHPX_TESTING -DHPX_DEBUG \
		-DHPX_CHAOS "$@" || return 1
}

one_seed() { # program, seed, directory
	local log=$3/seed$2.log
	if HAPAX_CHAOS_SEED=$2 timeout -k 5 120 "$1" $seconds "$2" $threads $operations >"$log" 2>&1; then
		rm -f "$log"
	else
		echo "FAILED  $1 $seconds $2 $threads $operations (HAPAX_CHAOS_SEED=$2)"
		head -n 60 "$log"
		return 1
	fi
}
export -f one_seed
export seconds threads operations

status=0
for cc in $compilers; do
	dir=$work/$cc
	if ! command -v "$cc" >/dev/null || ! echo 'int main(void) { return 0; }' |
		"$cc" -fsanitize=thread -x c - -o "$work/probe-$cc" 2>/dev/null; then
		echo "left out: no $cc with ThreadSanitizer here"
		continue
	fi
	started=$(date +%s)
	if ! build "$cc" "$dir" -DHPX_STRICT ||
		! "$cc" -fsanitize=thread "$dir"/*.o -o "$dir/torture" $libraries -lpthread; then
		echo "FAILED  does not build with $cc"
		status=1
		continue
	fi
	if seq "$seeds" | xargs -P "$jobs" -I '{}' bash -c 'one_seed "$1" "$2" "$3"' _ "$dir/torture" '{}' "$dir"; then
		echo "ok      $cc: $seeds seeds of the storm, 0 reports, $(($(date +%s) - started)) s"
	else
		status=1
	fi
	$units || continue
	cmake -S "$source" -B "$dir/unit" -G Ninja -DCMAKE_C_COMPILER="$cc" -DHAPAX_DEBUG=ON -DHAPAX_SANITIZE=thread \
		-DHAPAX_STRESS=OFF -DHAPAX_TSAN_VARIANT=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo \
		-DCMAKE_C_FLAGS="-DHPX_CHAOS" >/dev/null &&
		cmake --build "$dir/unit" -j "$jobs" -- --quiet &&
		ctest --test-dir "$dir/unit" -L unit -j "$jobs" --output-on-failure --progress || status=1
done
exit $status
