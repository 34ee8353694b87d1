#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# model.sh PROGRAM: the model finds what is wrong in scenarios made wrong, by every means that can, repeats what it found
# step by step, and says so in its exit status and its JSON.
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0
fail() {
	echo "FAILED: $*"
	failed=1
}

# finds SCENARIO MODE OPTIONS...: it fails as it should, and the replay of its token fails twice alike
finds() {
	scenario=$1
	mode=$2
	shift 2
	timeout 100 "$program" model --scenario "$scenario" --mode "$mode" --json "$folder/json" "$@" >"$folder/out" 2>&1
	status=$?
	if [ $status -ne 0 ]; then
		fail "$scenario, $mode: status $status: $(tail -3 "$folder/out")"
		return
	fi
	python3 - "$folder/json" "$scenario" "$mode" >"$folder/token" <<'END' || { fail "$scenario, $mode: JSON"; return; }
import json, sys
report = json.load(open(sys.argv[1]))
only, = report["scenarios"]
assert report["held"] and only["name"] == sys.argv[2] and only["failed_in"] == sys.argv[3] and only["runs"] > 0, report
print(only["replay"])
END
	for again in 1 2; do
		timeout 100 "$program" model --scenario "$scenario" --replay "$(cat "$folder/token")" >"$folder/replay$again" 2>&1
		[ $? -eq 1 ] || fail "$scenario, $mode: the replay of $(cat "$folder/token") does not fail"
	done
	cmp -s "$folder/replay1" "$folder/replay2" || fail "$scenario, $mode: two replays differ"
	grep -q "$scenario: FAILED: " "$folder/replay1" || fail "$scenario, $mode: the replay does not tell the failure"
}

# tells WORDS: the last replay said so
tells() { grep -q -e "$1" "$folder/replay1" || fail "$scenario: not told: $1: $(tail -3 "$folder/replay1")"; }

for mode in pct random exhaustive; do
	finds selftest-lost-update $mode --seeds 200
	tells "an addition was lost"
	tells "T1 "
	tells "T2 "
	finds selftest-deadlock $mode --seeds 200
	tells "deadlock: .*waits for a mutex.*held by T"
	finds selftest-leak $mode --seeds 200
	tells "leaked 1 block"
	finds selftest-use-after-free $mode --seeds 200
	tells "freed memory"
	finds selftest-crash $mode --seeds 200
	tells "Segmentation fault"
done
finds selftest-race races --seeds 20
tells "data race"
finds selftest-store-buffer weak --seeds 200
tells "both missed the other's store"
finds selftest-store-buffer exhaustive
# one that is right holds in every mode; one that is wrong only in some is not found in others
timeout 100 "$program" model --scenario selftest-release --seeds 200 >"$folder/out" 2>&1 ||
	fail "selftest-release: $(tail -3 "$folder/out")"
timeout 100 "$program" model --scenario selftest-store-buffer --mode exhaustive --memory strong >"$folder/out" 2>&1 &&
	fail "selftest-store-buffer is found where every load sees the newest store"

# Without its reductions the exhaustive search finds the very same outcomes, in more runs.
for bound in 0 1 2 3 99; do
	for how in "" --unreduced; do
		timeout 200 "$program" model --scenario selftest-outcomes --mode exhaustive --preemptions $bound \
			--seconds 150 --json "$folder/json$how" $how >"$folder/out" 2>&1 ||
			fail "selftest-outcomes: $(tail -3 "$folder/out")"
	done
	python3 - "$folder/json" "$folder/json--unreduced" $bound <<'END' || fail "selftest-outcomes, $bound preemptions"
import json, sys
reduced, whole = (json.load(open(name))["scenarios"][0] for name in sys.argv[1:3])
print(sys.argv[3], "preemptions:", reduced["runs"], "runs instead of", whole["runs"], "for", whole["outcomes"], "outcomes")
assert reduced["exhausted"] and whole["exhausted"] and reduced["runs"] < whole["runs"] or sys.argv[3] == "0"
assert (reduced["outcomes"], reduced["outcome_sum"]) == (whole["outcomes"], whole["outcome_sum"])
END
done

refuses() {
	word=$1
	shift
	timeout 60 "$program" model "$@" >"$folder/out" 2>"$folder/err"
	status=$?
	[ $status -eq 2 ] && grep -q -e "$word" "$folder/err" || fail "'$*': status $status: $(cat "$folder/err")"
}
refuses "there is no 'nonsense'" --scenario nonsense
refuses "no token" --scenario selftest-leak --replay nonsense
refuses "one name" --scenario selftest-leak,selftest-race --replay random-off-1
refuses "nothing to do" --mode nonsense
exit $failed
