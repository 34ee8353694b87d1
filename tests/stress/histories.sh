#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# histories.sh PROGRAM: 10,000 recorded histories make sense and corrupted ones do not; the JSON says so.
set -eu
program=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

"$program" histories --histories "${HAPAX_HISTORIES:-10000}" --json "$dir/result.json" || {
	echo "histories: see above"
	exit 1
}
python3 - "$dir/result.json" "${HAPAX_HISTORIES:-10000}" <<'PY'
import json, sys
result = json.load(open(sys.argv[1]))
assert result["ok"] and result["broken"] == [], result["broken"]
assert result["histories"] == int(sys.argv[2])
assert result["overlapping"] > 0 and result["joins"] > 0 and result["fenced"] > 0
assert len(result["corrupted"]) == 9
for kind, count in result["corrupted"].items():
    assert 0 < count["made"] == count["rejected"], (kind, count)
PY
