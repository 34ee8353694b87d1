# SPDX-License-Identifier: LGPL-2.1-or-later
# The probes are those of docs/probes.md, and are passed. Once, in the plain build.
if(NOT HAPAX_TESTS OR HAPAX_SANITIZE OR HAPAX_DEBUG OR HAPAX_COVERAGE OR CMAKE_CROSSCOMPILING)
	return()
endif()
add_executable(probes_target ${PROJECT_SOURCE_DIR}/tests/probes/target.c)
target_link_libraries(probes_target PRIVATE hapax_warnings hapax_testing)
target_compile_definitions(probes_target PRIVATE _GNU_SOURCE)
add_test(NAME probes COMMAND ${PROJECT_SOURCE_DIR}/tests/probes/check.py ${PROJECT_SOURCE_DIR} $<TARGET_FILE:hapax>
	$<TARGET_FILE:probes_target>)
set_tests_properties(probes PROPERTIES LABELS tools TIMEOUT 120 SKIP_RETURN_CODE 77)
