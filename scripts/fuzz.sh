#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fuzz.sh [WORK]: builds the fuzz targets with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, shows that they
# find faults put into the library on purpose, and lets each look for FUZZ_SECONDS (60). New inputs stay in WORK/found, a
# failing one in WORK/failures; it goes into tests/fuzz/regressions/TARGET with its fix. Fewer, smaller inputs:
#     WORK/bin/fuzz_TARGET -set_cover_merge=1 -use_counters=0 NEW-FOLDER WORK/found/TARGET tests/fuzz/corpus/TARGET
set -u
source=$(cd "$(dirname "$0")/.." && pwd) || exit 2
mkdir -p "${1:-$source/build/fuzz}" && work=$(cd "${1:-$source/build/fuzz}" && pwd) || exit 2
seconds=${FUZZ_SECONDS:-60} jobs=${JOBS:-$(nproc)} status=0
cc=$(command -v clang-19 || command -v clang) || { echo "skipped: no clang"; exit 77; }
echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' >"$work/probe.c"
"$cc" -fsanitize=fuzzer,address "$work/probe.c" -o "$work/probe" 2>/dev/null || { echo "skipped: no libFuzzer"; exit 77; }
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

# FUZZ_FAULTS=no: without the faults, whose builds take longest (CI, where canaries show faults)
broken=(fuzz_table_broken fuzz_cache_broken fuzz_weak_broken fuzz_memo_broken)
[ "${FUZZ_FAULTS:-yes}" = yes ] || broken=()
log=$work/build.log
if ! { cmake --preset fuzz -S "$source" -B "$work" && cmake --build "$work" -j "$jobs" --target fuzz_table fuzz_cache \
	fuzz_tier fuzz_weak fuzz_memo fuzz_options ${broken[@]+"${broken[@]}"}; } >"$log" 2>&1; then
	cat "$log"
	exit 1
fi
targets=(table cache tier weak memo options)
cmake --build "$work" -j "$jobs" --target fuzz_trace >"$log" 2>&1 && targets+=(trace)

# the faults that show in one thread, and the inputs that show them
for fault in table:ITERATOR_PINS_TWO table:ITERATOR_PINS_NONE cache:FENCED_UNREGISTERS cache:REMOVES_NEWER \
	cache:PUBLISH_BEFORE_INIT weak:ITERATOR_PINS_TWO weak:ITERATOR_PINS_NONE memo:EVICT_REMOVES memo:ADMIT_BORROWS; do
	[ ${#broken[@]} -gt 0 ] || break
	name=${fault%%:*}
	mkdir -p "$work/broken"
	"$source/tests/fuzz/must_fail.sh" "HAPAX_BROKEN=${fault#*:}" "$work/bin/fuzz_${name}_broken" -runs=0 -verbosity=0 \
		"-artifact_prefix=$work/broken/" "$source/tests/fuzz/corpus/$name" || status=1
done
for name in table cache weak memo; do
	[ ${#broken[@]} -gt 0 ] || break
	"$work/bin/fuzz_${name}_broken" -runs=0 -verbosity=0 "$source/tests/fuzz/corpus/$name" >"$log" 2>&1 ||
		{ echo "FAILED  $name without a fault"; tail -n 40 "$log"; status=1; }
done

fuzz() { # target
	local name=$1 found=$work/found/$1 corpus=("$source/tests/fuzz/corpus/$1") options=()
	[ -d "$source/tests/fuzz/regressions/$name" ] && corpus+=("$source/tests/fuzz/regressions/$name")
	[ -e "$source/tests/fuzz/$name.dict" ] && options+=("-dict=$source/tests/fuzz/$name.dict")
	mkdir -p "$found" "$work/failures"
	if "$work/bin/fuzz_$name" -max_total_time="$seconds" -max_len=1500 -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
		"${options[@]}" "-artifact_prefix=$work/failures/$name-" "$found" "${corpus[@]}" >"$work/$name.log" 2>&1; then
		echo "ok      $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log") inputs," \
			"$(grep -a -o 'cov: [0-9]*' "$work/$name.log" | tail -n 1)"
	else
		echo "FAILED  $name: $(grep -a 'Test unit written' "$work/$name.log")"
		grep -a -m 3 -E 'failed: |ERROR: |broken invariant|misuse: ' "$work/$name.log"
		return 1
	fi
}
running=0
for name in "${targets[@]}"; do
	if [ $running -ge "$jobs" ]; then
		wait -n || status=1
		running=$((running - 1))
	fi
	fuzz "$name" &
	running=$((running + 1))
done
while [ $running -gt 0 ]; do
	wait -n || status=1
	running=$((running - 1))
done
exit $status
