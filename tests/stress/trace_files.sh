#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# trace_files.sh PROGRAM: good traces are replayed to their end; damaged ones are refused as a whole, before any effect.
set -u
program=$1
command -v zstd >/dev/null || exit 77
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
TMPDIR=$folder/tmp
export TMPDIR
mkdir "$TMPDIR"
failed=0

fail() {
	echo "FAILED: $*"
	[ ! -f "$folder/err" ] || cat "$folder/err"
	failed=1
}

field() {
	sed -n "s/^ *\"$1\": *\([^,]*\),\{0,1\}$/\1/p" "$folder/json" | head -n 1
}

# replays NAME REQUESTS KEYS [OPTIONS]
replays() {
	name=$1
	requests=$2
	keys=$3
	shift 3
	rm -f "$folder/json"
	"$program" trace "$folder/$name" --threads 3 --json "$folder/json" "$@" >"$folder/err" 2>&1 || fail "$name: status $?"
	[ "$(field ok)" = true ] || fail "$name: not ok"
	[ "$(field requests)" = "$requests" ] || fail "$name: $(field requests) requests instead of $requests"
	[ "$(field distinct_keys)" = "$keys" ] || fail "$name: $(field distinct_keys) keys instead of $keys"
	[ "$(field loads)" -ge "$keys" ] || fail "$name: fewer loads than keys"
	[ "$(field wrong_values)" = 0 ] && [ "$(field overlapping_lives)" = 0 ] && [ "$(field leaked)" = 0 ] ||
		fail "$name: a promise broke"
	[ -z "$(ls "$TMPDIR")" ] || fail "$name: left $(ls "$TMPDIR")"
}

# refuses NAME REASON
refuses() {
	"$program" trace "$folder/$1" --db "$folder/db" --json "$folder/json" >"$folder/out" 2>"$folder/err"
	status=$?
	[ $status -eq 2 ] || fail "$1: status $status"
	grep -q -e "$folder/$1: offset [0-9]*: .*$2" "$folder/err" || fail "$1: the message does not say '$2'"
	[ ! -e "$folder/db" ] && [ ! -e "$folder/json" ] && [ -z "$(ls "$TMPDIR")" ] || fail "$1: had an effect"
}

# 500 random keys (no two alike but by a miracle), 40 times
head -c 4000 /dev/urandom >"$folder/keys"
i=0
while [ $i -lt 40 ]; do
	cat "$folder/keys"
	i=$((i + 1))
done >"$folder/many"
zstd -q --check "$folder/many" -o "$folder/good.u64.zst"
replays good.u64.zst 20000 500
replays good.u64.zst 20000 500 --blob 0
replays good.u64.zst 20000 500 --blob 5k --seed 3
replays good.u64.zst 20000 500 --db "$folder/odd?name#%41.db"
[ -s "$folder/odd?name#%41.db" ] || fail "--db: no database there"

# two frames, one after the other, and a single key
{ zstd -q -c "$folder/keys"; zstd -q -c "$folder/keys"; } >"$folder/frames.u64.zst"
replays frames.u64.zst 1000 500
head -c 8 /dev/zero | zstd -q -c >"$folder/one.u64.zst"
replays one.u64.zst 1 1
rm -f "$folder/json"

: >"$folder/empty.u64.zst"
refuses empty.u64.zst "empty"
zstd -q -c </dev/null >"$folder/nokeys.u64.zst"
refuses nokeys.u64.zst "no keys"
size=$(wc -c <"$folder/good.u64.zst")
head -c $((size - 1)) "$folder/good.u64.zst" >"$folder/truncated.u64.zst"
refuses truncated.u64.zst "truncated"
head -c 3 "$folder/good.u64.zst" >"$folder/stub.u64.zst"
refuses stub.u64.zst "truncated"
{ head -c $((size / 2)) "$folder/good.u64.zst"; printf 'XYZW'; tail -c +$((size / 2 + 5)) "$folder/good.u64.zst"; } \
	>"$folder/corrupt.u64.zst"
refuses corrupt.u64.zst ""
refuses keys ""
{ cat "$folder/keys"; printf x; } | zstd -q -c >"$folder/odd.u64.zst"
refuses odd.u64.zst "8-byte keys"
{ cat "$folder/good.u64.zst"; printf 'garbage after the end'; } >"$folder/tail.u64.zst"
refuses tail.u64.zst ""
exit $failed
