#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# torture.sh PROGRAM [SECONDS]: short tortures with fixed seeds, few keys and many, hot and cold.
set -u
program=$1
seconds=${2:-2}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

torture() {
	"$program" torture --seconds "$seconds" --json "$folder/json" "$@" >"$folder/out" 2>&1
	status=$?
	if [ $status -ne 0 ] || ! grep -q '"ok": *true' "$folder/json"; then
		echo "FAILED with status $status: torture $*"
		cat "$folder/out"
		exit 1
	fi
}

torture --seed 1 --threads 4 --keys 3
torture --seed 2 --threads 8 --keys 256
torture --seed 3 --threads 4 --keys 20000 --zipf 0.5
exit 0
