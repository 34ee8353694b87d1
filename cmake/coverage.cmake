# SPDX-License-Identifier: LGPL-2.1-or-later
# Coverage (scripts/coverage.sh): hapax_testing counts what is run of it, and tests link only that. Counters live in a file
# that processes share, so that one that is killed, ends by _exit() or forks has counted all the same. By clang.
option(HAPAX_COVERAGE "Count what tests run of the library" OFF)
if(NOT HAPAX_COVERAGE)
	return()
endif()
target_compile_options(hapax_testing PRIVATE -O0 -fprofile-instr-generate -fcoverage-mapping -fprofile-update=atomic
	"SHELL:-mllvm -runtime-counter-relocation")
target_link_options(hapax_testing INTERFACE -fprofile-instr-generate)
