#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# avalanche.sh PROGRAM: entries that expire in one instant: each hot key is loaded once, each value told once.
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

"$program" avalanche --entries 20000 --hot 50 --threads 4 --ttl 150 --load 100 --jitter 0.3 --seed "${HAPAX_SEED:-3}" \
	--json "$folder/json" >"$folder/out" 2>&1 || {
	cat "$folder/out"
	exit 1
}
python3 - "$folder/json" <<'END' || exit 1
import json, sys
report = json.load(open(sys.argv[1]))
assert report["command"] == "avalanche" and report["ok"] is True and report["broken"] == []
assert report["entries"] == 20000 and report["hot_keys"] == 50 and report["threads"] == 4
assert [run["jitter"] for run in report["runs"]] == [0, 0.3]
for run in report["runs"]:
    assert run["hot_loads"] == 50 and run["loads_per_hot_key"] == 1 and run["loads_most"] == 1, run
    assert run["notified_expired"] == run["first_generation_expired"] == 20000, run
    assert run["installed"] == 20000 + run["loads"] == run["notified_expired"] + run["notified_closed"], run
    assert run["notified_twice"] == run["not_notified"] == 0, run
    assert sum(run["loads_in_slots"]) == run["loads"] and run["peak_loads_in_slot"] == max(run["loads_in_slots"]), run
    assert 0 < run["longest_call_ns"] == run["latency_ns"]["max"], run
plain, spread = report["runs"]
# not before their time, and with jitter not all at once
assert plain["first_hot_load_ns"] >= 150e6 and 105e6 <= spread["first_hot_load_ns"] < 150e6, report["runs"]
END
"$program" avalanche --entries 5 --hot 6 >"$folder/out" 2>&1
[ $? -eq 2 ] && grep -q -e --hot "$folder/out" || {
	echo "FAILED: more hot keys than entries"
	exit 1
}
