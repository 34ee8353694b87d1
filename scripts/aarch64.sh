#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# aarch64.sh [BUILD]: cross compiles everything for aarch64, looks at the orders in the generated code, and runs the unit and
# API tests and a short torture under qemu-user. docs/aarch64.md says what that can show.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:-build/aarch64}
jobs=${JOBS:-$(nproc)}
failed=()

scripts/install-deps.sh g++-aarch64-linux-gnu qemu-user || exit 2
scripts/aarch64-sysroot.sh "$build-sysroot" || exit 2
HAPAX_SYSROOT=$(realpath "$build-sysroot/root")
export HAPAX_SYSROOT
mkdir -p "$build"
cmake -G Ninja -S . -B "$build" -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake -DCMAKE_BUILD_TYPE=RelWithDebInfo \
	-DHAPAX_TSAN_VARIANT=OFF >"$build/configure.log" 2>&1 || { cat "$build/configure.log"; exit 1; }
cmake --build "$build" -j "$jobs" -- --quiet || exit 1

echo "== orders in the code"
tests/aarch64/orders.py "$build" || failed+=(orders)
echo "== tests under qemu"
# qemu-user cannot fork a process of many threads (assertions of its own fail), and a program that executes itself would
# need the emulator before its name: hence what is left out here and below.
ctest --test-dir "$build" -L '^(unit|api)$' -E "${AARCH64_SKIP:-CX_TH_06_fork_of_a_busy}" -j "$jobs" --timeout "${AARCH64_TIMEOUT:-120}" \
	--output-on-failure --progress --no-tests=error || failed+=(tests)
echo "== torture under qemu"
timeout -k 5 "${AARCH64_TORTURE_LIMIT:-120}" qemu-aarch64 -L "$HAPAX_SYSROOT" "$build/bin/hapax-stress" torture \
	--with all,-fork,-stopped --threads 6 --seconds "${AARCH64_SECONDS:-10}" || failed+=(torture)
if [ ${#failed[@]} -gt 0 ]; then
	echo "aarch64: failed: ${failed[*]}"
	exit 1
fi
echo "aarch64: all held"
