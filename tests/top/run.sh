#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# run.sh PROGRAM TEST...: runs the tests of hapax-top side by side: most of their time is waiting.
set -u
program=$1
shift
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
here=$(dirname "$0")
for test in "$@"; do
	{
		"$here/$test.py" "$program" >"$folder/$test.out" 2>&1
		echo $? >"$folder/$test.status"
	} &
done
wait
status=0
for test in "$@"; do
	if [ "$(cat "$folder/$test.status")" != 0 ]; then
		echo "$test.py:"
		cat "$folder/$test.out"
		status=1
	fi
done
exit $status
