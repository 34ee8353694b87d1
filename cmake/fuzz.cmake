# SPDX-License-Identifier: LGPL-2.1-or-later
# Fuzz targets (tests/fuzz): plain programs that replay the committed inputs, or with HAPAX_FUZZER, by clang, fuzzers that
# look for new ones (scripts/fuzz.sh).
option(HAPAX_FUZZER "Link fuzz targets with libFuzzer, and build those with faults put in" OFF)
set(fuzz_dir ${PROJECT_SOURCE_DIR}/tests/fuzz)

function(hapax_fuzz_target target library)
	add_executable(${target} ${ARGN})
	if(HAPAX_FUZZER)
		target_link_options(${target} PRIVATE -fsanitize=fuzzer)
	else()
		target_sources(${target} PRIVATE ${fuzz_dir}/replay.c)
	endif()
	target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/stress)
	target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
	target_link_libraries(${target} PRIVATE hapax_warnings ${library} m)
endfunction()

if(HAPAX_FUZZER)
	target_compile_options(hapax_build INTERFACE -fsanitize=fuzzer-no-link)
	add_library(hapax_broken STATIC ${HAPAX_SOURCES})
	target_compile_definitions(hapax_broken PUBLIC HPX_TESTING HPX_BROKEN_BUILD)
	target_link_libraries(hapax_broken PRIVATE hapax_warnings PUBLIC hapax_build hapax_code ${HAPAX_LINK_LIBRARIES})
	hapax_fuzz_target(fuzz_table_broken hapax_broken ${fuzz_dir}/fuzz_table.c)
	hapax_fuzz_target(fuzz_cache_broken hapax_broken ${fuzz_dir}/fuzz_cache.c)
endif()

set(fuzz_targets table cache options)
hapax_fuzz_target(fuzz_table hapax_testing ${fuzz_dir}/fuzz_table.c)
hapax_fuzz_target(fuzz_cache hapax_testing ${fuzz_dir}/fuzz_cache.c)
hapax_fuzz_target(fuzz_options hapax_build ${fuzz_dir}/fuzz_options.c)
pkg_check_modules(ZSTD libzstd)
if(ZSTD_FOUND)
	list(APPEND fuzz_targets trace)
	hapax_fuzz_target(fuzz_trace hapax_testing ${fuzz_dir}/fuzz_trace.c ${PROJECT_SOURCE_DIR}/stress/trace/read.c)
	target_include_directories(fuzz_trace SYSTEM PRIVATE ${ZSTD_INCLUDE_DIRS})
	target_link_libraries(fuzz_trace PRIVATE ${ZSTD_LINK_LIBRARIES})
endif()
if(HAPAX_FUZZER)
	return()
endif()

foreach(name IN LISTS fuzz_targets)
	add_test(NAME fuzz.${name} COMMAND fuzz_${name} ${fuzz_dir}/corpus/${name} ${fuzz_dir}/regressions/${name})
	set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 120 ENVIRONMENT "${HAPAX_TEST_ENVIRONMENT}")
endforeach()
# a reference that is wrong on purpose must be found out by the same inputs
foreach(wrong table:FORGETS_DEATH cache:FORGETS_DEATH cache:NO_FENCE options:NUMBER trace:KEY)
	string(REPLACE ":" ";" wrong ${wrong})
	list(GET wrong 0 name)
	list(GET wrong 1 how)
	if(name IN_LIST fuzz_targets)
		add_test(NAME fuzz.${name}.finds.${how} COMMAND ${fuzz_dir}/must_fail.sh HAPAX_FUZZ_WRONG=${how}
			$<TARGET_FILE:fuzz_${name}> ${fuzz_dir}/corpus/${name})
		set_tests_properties(fuzz.${name}.finds.${how} PROPERTIES LABELS fuzz TIMEOUT 120
			ENVIRONMENT "${HAPAX_TEST_ENVIRONMENT}")
	endif()
endforeach()
# and the fuzzers themselves, a minute in all, once
if(NOT HAPAX_SANITIZE AND NOT HAPAX_DEBUG)
	add_test(NAME fuzz.search COMMAND ${PROJECT_SOURCE_DIR}/scripts/fuzz.sh ${PROJECT_BINARY_DIR}/fuzz)
	set_tests_properties(fuzz.search PROPERTIES LABELS fuzz TIMEOUT 900 PROCESSORS 2 SKIP_RETURN_CODE 77
		ENVIRONMENT "FUZZ_SECONDS=15")
endif()
