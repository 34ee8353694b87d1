#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench.sh PROGRAM: the benchmark runs, sees right values, loads each key once, and writes what rows.hpp says. No speeds.
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

"$program" bench --quick --workload check,w1,w3,w4,w5 --subject mutex+unordered_map+weak_ptr --n 1000 --threads 1,2 --rounds 2 \
	--seconds 0.005 --json "$folder/json" >"$folder/out" 2>&1 || {
	cat "$folder/out"
	exit 1
}
python3 - "$folder/json" <<'END' || exit 1
import json, statistics, sys
report = json.load(open(sys.argv[1]))
assert report["command"] == "bench" and report["mode"] == "quick" and report["ok"] is True
rows = report["rows"]
assert {(r["workload"], r["threads"]) for r in rows} == {(w, t) for w in ("w1", "w3", "w4") for t in (1, 2)} | {("w5", 2)}
for r in rows:
    assert len(r["rounds"]) == 2 and r["value"] == statistics.median(r["rounds"]), r
    assert r["min"] == min(r["rounds"]) and r["max"] == max(r["rounds"]), r
    assert r["value"] > 0 and r["mops"] == (r["value"] if r["unit"] == "Mops/s" else 0), r
    assert r["workload"] != "w5" or r["figures"]["loads_per_key"] == 1, r
    assert r["workload"] != "w5" or r["figures"]["load_p50_ns"] >= 1e6, r
assert {r["subject"] for r in rows} == {"hapax", "hapax (retaining)", "hapax (may linger)", "hapax (borrow)",
                                          "mutex+unordered_map+weak_ptr"}
bars = {b["name"]: b for b in report["bars"]}
assert len(bars) == len(report["bars"]) > 40
of = lambda subject: next(r for r in rows if (r["workload"], r["key"], r["threads"], r["subject"]) == ("w1", "u64", 2, subject))
bar = bars["w1 1e3, 2 threads"]
assert bar["against"] == "mutex+unordered_map+weak_ptr" and bar["holds"] == (bar["ratio"] >= bar["must"]), bar
assert abs(bar["ratio"] - of("hapax")["mops"] / of("mutex+unordered_map+weak_ptr")["mops"]) < 1e-9, bar
loads = bars["w5 loads per key"]
assert loads["ratio"] == 1 and loads["at_most"] is True and loads["holds"] is True, loads
assert bars["w6 bytes an entry"]["ratio"] is None and bars["w6 bytes an entry"]["holds"] is None
END
for wrong in "--workload w0" "--threads 0" "--rounds x" "--speed 1" word; do
	# shellcheck disable=SC2086 # an option and its value
	"$program" bench $wrong >"$folder/out" 2>&1
	[ $? -eq 2 ] && [ -s "$folder/out" ] || {
		echo "FAILED: bench $wrong"
		exit 1
	}
done
