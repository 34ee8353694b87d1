#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# files_tree.sh PROGRAM: the demo on a small tree whose files are unreadable, vanish, shrink and are rewritten meanwhile.
# All of that is load errors or changes; no promise breaks, and nothing crashes.
set -u
program=$1
tree=$(mktemp -d) || exit 1
vandal=
trap '[ -z "$vandal" ] || kill "$vandal" 2>/dev/null; rm -rf "$tree"' EXIT

fail() {
	echo "FAILED: $*"
	[ ! -f "$tree/out" ] || cat "$tree/out"
	exit 1
}

mkdir "$tree/files" "$tree/files/a folder"
i=0
while [ $i -lt 40 ]; do
	head -c $((i * 997)) /dev/urandom >"$tree/files/f$i"
	i=$((i + 1))
done
: >"$tree/files/empty"
echo odd >"$tree/files/a folder/name with
a newline and \\"
head -c 300000 /dev/urandom >"$tree/files/shrinking"
head -c 900000 /dev/urandom >"$tree/files/too-large"
echo secret >"$tree/files/unreadable"
echo here >"$tree/files/vanishing"
ln -s f1 "$tree/files/a link is no file"
mkfifo "$tree/files/a pipe is no file"
chmod 000 "$tree/files/unreadable"

(
	sleep 1
	rm "$tree/files/vanishing"
	n=0
	while [ $n -lt 200 ]; do
		: >"$tree/files/shrinking"
		head -c 300000 /dev/zero >"$tree/files/shrinking"
		echo "$n" >"$tree/files/f7"
		n=$((n + 1))
		sleep 0.01
	done
) &
vandal=$!

# digests are only compared when a file has been left alone for some seconds
"$program" files --root "$tree/files" --seconds 5 --threads 4 --seed 7 --max-bytes 500k --json "$tree/json" >"$tree/out" 2>&1
status=$?
[ $status -eq 0 ] || fail "exit status $status"
field() {
	sed -n "s/^ *\"$1\": *\([^,]*\),\{0,1\}$/\1/p" "$tree/json" | head -n 1
}
[ "$(field ok)" = true ] || fail "ok is not true"
[ "$(field command)" = '"files"' ] || fail "command"
[ "$(field overlapping_lives)" = 0 ] || fail "overlapping lives"
[ "$(field wrong_values)" = 0 ] || fail "wrong values"
[ "$(field leaked)" = 0 ] || fail "leaked"
[ "$(field loads_per_life)" = 1.0 ] || fail "loads per life are $(field loads_per_life)"
[ "$(field born)" = "$(field freed)" ] || fail "born is not freed"
[ "$(field ENOENT)" -gt 0 ] 2>/dev/null || fail "the vanished file was not met"
[ "$(field digests_checked)" -gt 10 ] || fail "only $(field digests_checked) digests were checked"
[ "$(field digests_different)" = 0 ] || fail "digests differ"
if [ "$(id -u)" -ne 0 ]; then
	[ "$(field EACCES)" -gt 0 ] 2>/dev/null || fail "the unreadable file was not met"
fi
ls "$tree"/json.* >/dev/null 2>&1 && fail "a temporary file is left"
grep -q '45 of 46 files' "$tree/out" || fail "the list is not 45 of 46 files"
exit 0
