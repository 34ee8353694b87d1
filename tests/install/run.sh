#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# run.sh SOURCE BUILD: installs into a temporary prefix, builds the README's example there by both ways in, runs it.
set -eu
source=$(cd "$1" && pwd) build=$(cd "$2" && pwd)
example=$source/docs/examples/example.c
here=$source/tests/install
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DESTDIR='' cmake --install "$build" --prefix "$work/first" >/dev/null
# moved: nothing may remember where it was put
mv "$work/first" "$work/prefix"
[ ! -e "$work/prefix/include/hapax/testing.h" ] || { echo "testing.h was installed"; exit 1; }
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig LD_LIBRARY_PATH=$work/prefix/lib

say() { echo "-- $*"; }

say "pkg-config, shared"
cp -r "$here/pkgconfig" "$work/pkgconfig"
make -s -C "$work/pkgconfig" EXAMPLE="$example" shared
"$work/pkgconfig/example-shared"
say "pkg-config, C++"
make -s -C "$work/pkgconfig" CONSUMER="$here/consumer.cpp" cpp
"$work/pkgconfig/consumer-cpp"
say "pkg-config, static"
make -s -C "$work/pkgconfig" EXAMPLE="$example" static
"$work/pkgconfig/example-static"
clang=$(command -v clang-19 || command -v clang || true)
if [ -n "$clang" ] && pkg-config --exists hapax-tsan; then
	say "pkg-config, hapax-tsan"
	make -s -C "$work/pkgconfig" EXAMPLE="$example" CLANG="$clang" tsan
	"$work/pkgconfig/example-tsan"
fi

say "find_package"
cmake -S "$here/find_package" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" -DEXAMPLE="$example" \
	-DCONSUMER="$here/consumer.cpp" \
	${clang:+-DCMAKE_C_COMPILER="$clang"} >/dev/null
cmake --build "$work/cmake" >/dev/null
"$work/cmake/example_shared"
"$work/cmake/example_static"
"$work/cmake/consumer_cpp"
[ ! -x "$work/cmake/example_tsan" ] || "$work/cmake/example_tsan"
say "all consumers ran"
