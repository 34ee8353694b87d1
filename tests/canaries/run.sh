#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# run.sh SOURCE WORK: builds the torture with one fault after the other put in by a compile-time switch and asserts that
# the lane responsible for it fails within 20 seeds; the same lanes without a fault must pass. A lane that cannot fail
# proves nothing.
set -u
source=$(cd "$1" && pwd) || exit 2
mkdir -p "$2" && work=$(cd "$2" && pwd) || exit 2
seeds=20 control_seeds=4 seconds=2 threads=4 operations=20000
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0 TSAN_OPTIONS=halt_on_error=1
cc=$(command -v clang-19 || command -v clang) || { echo "skipped: no clang"; exit 77; }
torture=$source/tests/torture/torture.c
[ -e "$torture" ] || { echo "skipped: no torture program"; exit 77; }
jobs=${JOBS:-$(nproc)}

# fault and the lane responsible for it; NONE: the control
lanes=(
	"NONE address"
	"NONE thread"
	"NO_GRACE_PERIOD address"
	"INCREMENT_FROM_ZERO address"
	"REMOVES_NEWER address"
	"RELAXED_RELEASE thread"
)

build() { # fault, sanitizer -> program
	local fault=$1 sanitizer=$2 dir=$work/$1-$2
	local flags=(-std=c11 -D_GNU_SOURCE -O1 -g "-fsanitize=$sanitizer" -fno-omit-frame-pointer -fexceptions
		-ftls-model=initial-exec "-I$source/include" "-I$source/lib" -DHPX_TESTING -DHPX_DEBUG -DHPX_CHAOS)
	[ "$fault" = NONE ] || flags+=("-DHPX_BROKEN_$fault")
	mkdir -p "$dir"
	# shellcheck disable=SC2016
	printf '%s\0' "$source"/lib/*/*.c "$torture" | xargs -0 -P "$jobs" -I '{}' bash -c '
		dir=$1 cc=$2 file=$3; shift 3
		"$cc" "$@" -w -c "$file" -o "$dir/$(basename "$(dirname "$file")")-$(basename "$file" .c).o"
	' _ "$dir" "$cc" '{}' "${flags[@]}" || return 1
	# shellcheck disable=SC2046
	"$cc" "-fsanitize=$sanitizer" "$dir"/*.o -o "$dir/torture" $(pkg-config --libs liburcu-bp ck) -lpthread
}

status=0
for lane in "${lanes[@]}"; do
	read -r fault sanitizer <<<"$lane"
	if ! build "$fault" "$sanitizer"; then
		echo "FAILED  $fault under $sanitizer does not build"
		status=1
		continue
	fi
	program=$work/$fault-$sanitizer/torture log=$work/$fault-$sanitizer/log
	[ "$fault" = NONE ] && rounds=$control_seeds || rounds=$seeds
	caught=0
	for ((seed = 1; seed <= rounds; seed++)); do
		if ! timeout -k 5 90 "$program" "$seconds" "$seed" "$threads" "$operations" >"$log" 2>&1; then
			caught=$seed
			break
		fi
	done
	if [ "$fault" = NONE ] && [ "$caught" -ne 0 ]; then
		echo "FAILED  without a fault, under $sanitizer: seed $caught"
		tail -n 60 "$log"
		status=1
	elif [ "$fault" = NONE ]; then
		echo "ok      without a fault, under $sanitizer: $rounds seeds passed"
	elif [ "$caught" -eq 0 ]; then
		echo "FAILED  $fault was not caught under $sanitizer within $rounds seeds"
		status=1
	else
		how=$(grep -m 1 -E 'ERROR: |WARNING: |BROKEN|violation|broken|failed|assert' "$log" | cut -c1-100)
		echo "ok      $fault caught under $sanitizer at seed $caught: ${how:-ended abnormally}"
	fi
done
exit $status
