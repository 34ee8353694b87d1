#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# torture.sh PROGRAM [SECONDS]: short tortures with fixed seeds, few keys and many, with and without disturbances; and
# every oracle of them lied to, which has to fail the run.
set -u
program=$1
seconds=${2:-1}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

torture() {
	"$program" torture --json "$folder/json" "$@" >"$folder/out" 2>&1
	status=$?
	if [ $status -ne 0 ] || ! grep -q '"ok": *true' "$folder/json"; then
		echo "FAILED with status $status: torture $*"
		cat "$folder/out"
		exit 1
	fi
}

# What a lie to an oracle needs in order to be told.
needs() {
	case $1 in
	starved-*) echo starved ;;
	stopped) echo stopped ;;
	signals) echo signals ;;
	short) echo short-threads ;;
	child) echo fork ;;
	unloaded) echo dlopen ;;
	own-data) echo own-rcu ;;
	found) echo growth ;;
	yielded) echo iterate ;;
	succession) echo exclusive ;;
	bound) echo garbage ;;
	closed | left) echo close ;;
	cancelled | finished) echo cancel ;;
	deferred-once) echo deferred ;;
	barrier | happened) echo callbacks ;;
	*) echo none ;;
	esac
}

lie() {
	with=$(needs "$1")
	shift_to=--seconds
	[ "$1" = happened ] && shift_to="--full --seconds"
	# shellcheck disable=SC2086
	"$program" torture --break "$1" --with "$with" --threads 4 --keys 16 --seed 1 $shift_to 0.4 >"$folder/out" 2>&1
	status=$?
	if [ $status -eq 2 ] && grep -q "cannot be had" "$folder/out"; then
		return # not in this build
	fi
	if [ $status -ne 1 ] || ! grep -q "^Again with: " "$folder/out"; then
		echo "FAILED: the oracle '$1' was lied to and the torture ended with status $status"
		cat "$folder/out"
		exit 1
	fi
}

torture --with none --seconds "$seconds" --seed 1 --threads 4 --keys 3
torture --with signals --seconds "$seconds" --seed 2 --threads 8 --keys 256
torture --with none --seconds "$seconds" --seed 3 --threads 4 --keys 20000 --zipf 0.5
torture --with all --seconds $((seconds * 5)) --seed 4
torture --with all,-starved,-own-rcu --seconds $((seconds * 3)) --seed 5 --keys 16
oracles=$("$program" torture --break list) || exit 1
for oracle in $oracles; do
	lie "$oracle"
done
exit 0
