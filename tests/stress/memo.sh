#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# memo.sh PROGRAM: memos beside caches and CPython: what it says adds up, whatever the times are; bad input is refused.
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

fail() {
	echo "FAILED: $1"
	cat "$folder/out"
	exit 1
}

# check SECTION: the report of a quick run of 3 threads, 300 owners, 3 rounds
check() {
	python3 - "$folder/json" "$1" <<'END2' || exit 1
import json, sys
report, python = json.load(open(sys.argv[1])), sys.argv[2]
assert report["command"] == "memo" and report["ok"] is True and report["broken"] == [], report["broken"]
assert report["threads"] == 3 and report["rounds"] == 3 and report["seed"] == 5 and report["seconds"] > 0
hits, bars = report["hits"], report["bars"]
assert len(hits) == 32 and len({(row["subject"], row["n"], row["threads"]) for row in hits}) == 32
assert {row["threads"] for row in hits} == {1, 2} and len({row["n"] for row in hits}) == 2
cost = {(row["subject"], row["n"], row["threads"]): row["cpu_ns"] for row in hits}
for row in hits:
    reference = cost[row["reference"], row["n"], row["threads"]]
    assert row["cpu_ns"] > 0 and abs(row["ratio"] - row["cpu_ns"] / reference) < 1e-6, row
    assert row["reference"].startswith("cache")
assert len(bars) == sum(row["subject"].startswith("memo") for row in hits) == 20
for bar in bars:
    assert bar["must"] == 1.3 and bar["holds"] is (bar["ratio"] <= 1.3), bar
owners = report["owners"]
assert owners["owners"] == 300 and owners["deaths"] == 600
# a generation more than is timed; owners that hold theirs and owners of a memo; and those beside them
assert owners["results"] > 2 * 900 and owners["results"] == owners["destroyed_once"], owners
assert owners["destroyed_more"] == owners["not_destroyed"] == 0
assert owners["alive_before"] == owners["alive_after"] == 0
assert owners["bytes_before"] < owners["bytes_with_owners"] and owners["bytes_at_end"] == 0
assert owners["bytes_after"] <= owners["bytes_before"] + (384 << 10), owners  # pages of the pool
for kind in "plain", "holding", "memo":
    assert owners[kind]["p50"] <= owners[kind]["p99"] <= owners[kind]["max"] and owners[kind]["max"] > 0, owners[kind]
found = report["python"]
if python == "left out":
    assert found["ran"] is False and found["why_not"] == "left out" and found["rows"] == []
elif python == "none":
    assert found["ran"] is False and "no python3" in found["why_not"] and found["rows"] == []
else:
    assert found["ran"] is True, found
    calls, keys = 3 * found["calls_per_thread"], found["keys"]
    assert [row["capacity"] for row in found["rows"]] == [keys] * 3 + [keys // 2] * 3
    for row in found["rows"]:
        assert row["hits"] + row["misses"] == calls, row
        assert abs(row["calls_per_second"] * row["seconds"] - calls) < 1 and row["cpu_ns_per_call"] > 0, row
    for full in found["rows"][:3]:
        assert full["misses"] < found["rows"][3]["misses"], found["rows"]
END2
}

"$program" memo --quick --threads 3 --owners 300 --rounds 3 --seed 5 --json "$folder/json" >"$folder/out" 2>&1 ||
	fail "exit status"
check any
grep -q "GIL" "$folder/out" || fail "does not say what serialises CPython"
grep -q "All promises held" "$folder/out" || fail "no last word"

# the report on standard output is nothing but JSON
"$program" memo --quick --no-python --threads 3 --owners 300 --rounds 3 --seed 5 --json - >"$folder/json" 2>"$folder/out" ||
	fail "exit status, JSON on standard output"
check "left out"

# without python3 it says so, and with one that fails, or says nonsense
mkdir "$folder/path" "$folder/fails"
PATH=$folder/path "$program" memo --quick --threads 3 --owners 300 --rounds 3 --seed 5 --json "$folder/json" \
	>"$folder/out" 2>&1 || fail "without python3"
check none
for script in "exit 3" "echo 1 2 3" "kill -9 \$\$"; do
	printf '#!/bin/sh\n%s\n' "$script" >"$folder/fails/python3"
	chmod +x "$folder/fails/python3"
	PATH=$folder/fails:$PATH "$program" memo --quick --owners 10 --rounds 1 >"$folder/out" 2>&1 || fail "python3: $script"
	grep -q "CPython: not measured, python3" "$folder/out" || fail "python3: $script: not told"
done

refuses() {
	"$program" memo --quick "$@" >"$folder/out" 2>&1
	[ $? -eq 2 ] && grep -q -e "$1" "$folder/out" || fail "not refused: $*"
}
refuses --owners 0
refuses --owners -1
refuses --threads 0
refuses --rounds 1000
refuses --rounds x
refuses --seed 1e3
refuses --bogus
refuses --json "$folder/gone/json"
"$program" memo --help | grep -q -e "--owners N" || fail "--help"
