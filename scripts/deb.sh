#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# deb.sh [DIRECTORY]: builds the Debian packages as they are meant to be installed, into DIRECTORY (build/packages), and has lintian
# look at them. The same sources give the same bytes, wherever they are: the date in them is SOURCE_DATE_EPOCH, or that of the last
# commit, and debugging information has no directories.
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/packages}
jobs=${JOBS:-$(nproc)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

cmake --preset release -B build/deb -DCMAKE_C_FLAGS="-ffile-prefix-map=$PWD=." -DCMAKE_INSTALL_PREFIX=/usr -DHAPAX_TESTS=OFF -DHAPAX_BENCH_PEERS=OFF \
	-DCMAKE_INSTALL_LIBDIR="lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" >/dev/null
cmake --build build/deb -j "$jobs" -- --quiet
rm -rf build/deb/packages
(cd build/deb && cpack -G DEB >/dev/null)
mkdir -p "$out"
cp build/deb/packages/*.deb "$out"
for package in "$out"/*.deb; do
	printf '%s  %s\n' "$(sha256sum "$package" | cut -c 1-16)" "$package"
done
# What is meant to be as it is, is named with its reason in packaging/*.lintian-overrides. initial-upload-closes-no-bugs: nobody has
# filed a bug at Debian that asks for hapax.
lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$out"/*.deb
