#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# check.sh PRESET...: configures, builds and tests each preset; goes on after a failure and says at the end which failed.
set -u
cd "$(dirname "$0")/.." || exit 2
jobs=${JOBS:-$(nproc)}
failed=()
broken=()

for preset in "$@"; do
	echo "== $preset"
	started=$(date +%s)
	names=build/$preset/Testing/Temporary/LastTestsFailed.log
	rm -f "$names"
	{
		log=$(mktemp)
		cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; false; }
	} && cmake --build "build/$preset" -j "$jobs" -- --quiet &&
		ctest --preset "$preset" -j "$jobs" --no-tests=error --progress || failed+=("$preset")
	rm -f "$log"
	[ -s "$names" ] && broken+=("$(sed "s/^[0-9]*:/$preset: /" "$names")")
	echo "== $preset: $(($(date +%s) - started)) s"
done

if [ ${#failed[@]} -gt 0 ]; then
	[ ${#broken[@]} -gt 0 ] && printf '%s\n' "${broken[@]}"
	echo "check: failed: ${failed[*]}"
	exit 1
fi
echo "check: all held: $*"
