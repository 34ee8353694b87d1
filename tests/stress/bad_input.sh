#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# bad_input.sh PROGRAM: what cannot be used is refused with exit status 2, a message that names it, and no effect.
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0

# refuses WORD ARGUMENTS...: the message has WORD in it
refuses() {
	word=$1
	shift
	timeout 60 "$program" "$@" >"$folder/out" 2>"$folder/err"
	status=$?
	if [ $status -ne 2 ] || ! grep -q -e "$word" "$folder/err"; then
		echo "FAILED: '$*': status $status, message: $(cat "$folder/err")"
		failed=1
	fi
}

mkdir "$folder/empty"
refuses Usage
refuses nonsense nonsense
refuses --threads files --threads 0
refuses --threads files --threads 1025
refuses --threads files --threads -1
refuses --threads files --threads=
refuses --threads files --threads
refuses --seconds files --seconds 1e9
refuses --seconds files --seconds nan
refuses --seed files --seed 99999999999999999999
refuses --max-bytes files --max-bytes 1T
refuses --bogus files --bogus=1
refuses "'operand'" files operand
refuses "$folder/gone" files --root "$folder/gone"
refuses "no regular files" files --root "$folder/empty"
refuses "not a folder" files --root /dev/null
refuses --json files --root "$folder" --json "$folder/gone/json"
refuses --json files --root "$folder" --json "$folder"
refuses FILE trace
refuses "$folder/gone" trace "$folder/gone"
refuses "is a folder" trace "$folder"
refuses --blob trace --blob 1G "$folder/gone"

for command in files trace; do
	"$program" $command --help | grep -q -e "--json FILE" || {
		echo "FAILED: $command --help"
		failed=1
	}
done
"$program" --version | grep -q '^hapax-stress [0-9]' || failed=1
exit $failed
