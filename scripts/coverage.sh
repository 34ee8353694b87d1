#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# coverage.sh [--check LINES BRANCHES] [--work WORK]: what the tests run of lib/ (docs/coverage.md). Prints a table; WORK
# (build/coverage) gets uncovered.txt. --check: ends with 1 when the totals are below these percentages.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
work=$source/build/coverage jobs=${JOBS:-$(nproc)} check=()
while [ $# -gt 0 ]; do
	case $1 in
	--check) check=(--check "$2" "$3"); shift 3 ;;
	--work) work=$2; shift 2 ;;
	*) sed -n 3,4p "$0" >&2; exit 2 ;;
	esac
done
for tool in clang llvm-profdata llvm-cov llvm-dwarfdump; do
	command -v $tool-19 >/dev/null || { echo "skipped: no $tool-19"; exit 77; }
done
mkdir -p "$work" && work=$(cd "$work" && pwd)
cd "$work"

cmake --preset coverage -S "$source" -B "$work" >configure.log 2>&1 || { cat configure.log; exit 1; }
cmake --build "$work" -j "$jobs" -- --quiet
# one object with every function of the library, to read the map of the source from
clang-19 -shared -o counted.so -fprofile-instr-generate -Wl,--whole-archive libhapax_testing.a -Wl,--no-whole-archive \
	$(pkg-config --libs liburcu-bp ck) -lpthread

# A file per process, which is its counters and those of its children (%c).
rm -rf counts && mkdir counts
export LLVM_PROFILE_FILE=$work/counts/%p-%c%m.profraw
ctest --test-dir "$work" -j "$jobs" -L '^(unit|fault|api|fuzz)$' -E '^fuzz.search$' --output-on-failure --no-tests=error \
	>tests.log 2>&1 || { cat tests.log; exit 1; }
for seed in 1 2; do
	bin/torture_torture 2 $seed 4 >torture.log 2>&1 || { cat torture.log; exit 1; }
done
bin/hapax-torture --with all,-dlopen,-starved,-stopped --seconds 4 --seed 4 >torture.log 2>&1 || { cat torture.log; exit 1; }

llvm-profdata-19 merge -o all.profdata counts/*.profraw
for format in text lcov; do
	llvm-cov-19 export -format=$format counted.so -instr-profile=all.profdata >counts.$format 2>export.log
done
llvm-dwarfdump-19 --debug-line counted.so >code-lines.txt
"$source/scripts/coverage.py" "$source" "$work" "${check[@]}"
