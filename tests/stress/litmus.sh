#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# litmus.sh PROGRAM: the litmus tests of the named edges, in all interleavings. Every edge holds as written, and every end
# that matters is seen to matter.
set -u
program=$1
output=$("$program" model --scenario litmus --mode exhaustive --memory weak --seconds 60 2>&1)
status=$?
case $output in *"does not have this command"*) exit 77 ;; esac
echo "$output"
[ $status -eq 0 ] || exit 1
# nothing left unexhausted, where nothing is expected to fail
if echo "$output" | grep ' passed' | grep -q '[0-9]+ '; then
	echo "FAILED: not exhausted"
	exit 1
fi
weakened=$(echo "$output" | grep -c 'as it should')
edges=$(echo "$output" | grep -c '^litmus\..* passed')
echo "$edges shapes hold, $weakened weakened ones fail"
[ "$edges" -ge 54 ] && [ "$weakened" -ge 108 ]
