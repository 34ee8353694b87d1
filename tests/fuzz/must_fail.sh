#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# must_fail.sh NAME=VALUE PROGRAM ARGUMENT...: runs the program with that in its environment; it must report a failed check
# or a bad access and end badly. Replays and fuzzers that cannot fail prove nothing.
setting=$1
shift
output=$(env "$setting" "$@" 2>&1)
status=$?
if [ "$status" -eq 0 ]; then
	echo "FAILED  $setting was not found by $(basename "$1")"
	exit 1
fi
found=$(printf '%s\n' "$output" | grep -a -m 1 -E 'failed: |ERROR: AddressSanitizer|broken invariant|misuse: ' | cut -c1-150)
if [ -z "$found" ]; then
	echo "FAILED  $(basename "$1") ended with $status under $setting, without saying what is wrong:"
	printf '%s\n' "$output" | tail -n 5
	exit 1
fi
echo "ok      $setting found: $found"
