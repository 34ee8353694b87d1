#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# aarch64-sysroot.sh DIR: unpacks the arm64 packages that a cross build needs into DIR. Nothing is installed, and the
# package database of this machine is only read: the lists of the other architecture live under DIR, too.
set -eu

dir=${1:?a directory}
packages=(libc6 libc6-dev linux-libc-dev libcrypt1 libgcc-12-dev libgcc-s1 libstdc++6 libstdc++-12-dev
	liburcu8 liburcu-dev libck0 libck-dev libxxhash0 libxxhash-dev libcmocka0 libcmocka-dev
	libsqlite3-0 libsqlite3-dev libssl3 libssl-dev libzstd1 libzstd-dev libjson-c5 libjson-c-dev zlib1g)
stamp=$dir/complete

[ "$(cat "$stamp" 2>/dev/null)" != "${packages[*]}" ] || exit 0
command -v apt-get >/dev/null || { echo "needs apt-get, to fetch packages" >&2; exit 2; }
rm -rf "$dir"
mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/debs" "$dir/root"
dir=$(realpath "$dir")
: >"$dir/apt/status"

apt=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o Acquire::Languages=none
	-o Dir::State="$dir/apt" -o Dir::State::lists="$dir/apt/lists" -o Dir::State::status="$dir/apt/status"
	-o Dir::Cache="$dir/apt/cache")
apt-get "${apt[@]}" update >"$dir/update.log" 2>&1 || { cat "$dir/update.log" >&2; exit 1; }
(cd "$dir/debs" && apt-get "${apt[@]}" download "${packages[@]}" >"$dir/download.log" 2>&1) || {
	cat "$dir/download.log" >&2
	exit 1
}
for deb in "$dir"/debs/*.deb; do
	dpkg-deb -x "$deb" "$dir/root"
done
# links that lead out of the sysroot
find "$dir/root" -type l -lname '/*' | while read -r link; do
	ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$dir/root$(readlink "$link")")" "$link"
done
echo "${packages[*]}" >"$stamp"
