#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# exports.sh LIBRARY SOURCE: the shared library defines exactly the public functions, and the version script names them.
set -u
library=$1 source=$2

declared=$(cat "$source"/include/hapax/*.h | sed 's,^ \*.*,,' |
	awk '/^HAPAX_API/ {on = 1} on {line = line " " $0} on && /;/ {print line; line = ""; on = 0}' |
	grep -v hapax_testing_ | sed -E 's/^[^(]*[ *](hapax_[a-z0-9_]+)\(.*/\1/' | sort -u)
mapped=$(sed -nE 's/^\t(hapax_[a-z0-9_]+);/\1/p' "$source/lib/hapax.map" | sort -u)
defined=$(nm -D --defined-only "$library" | awk '$2 ~ /^[TDBRW]$/ {sub(/@.*/, "", $3); print $3}' | sort -u)

status=0
report() {
	[ -z "$2" ] || { printf '%s:\n%s\n' "$1" "$2"; status=1; }
}
report "declared and not in lib/hapax.map" "$(comm -23 <(echo "$declared") <(echo "$mapped"))"
report "in lib/hapax.map and not declared" "$(comm -13 <(echo "$declared") <(echo "$mapped"))"
report "declared and not defined" "$(comm -23 <(echo "$declared") <(echo "$defined"))"
report "defined and not declared" "$(comm -13 <(echo "$declared") <(echo "$defined"))"
exit $status
