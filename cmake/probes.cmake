# SPDX-License-Identifier: LGPL-2.1-or-later
# Scripts for bpftrace; and that the probes are those of docs/probes.md, and are passed, once, in the plain build.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/bpftrace DESTINATION ${CMAKE_INSTALL_DATADIR}/hapax COMPONENT tools
	FILES_MATCHING PATTERN "*.bt")
if(NOT HAPAX_TESTS OR HAPAX_SANITIZE OR HAPAX_DEBUG OR HAPAX_COVERAGE OR CMAKE_CROSSCOMPILING)
	return()
endif()
add_executable(probes_target ${PROJECT_SOURCE_DIR}/tests/probes/target.c)
target_link_libraries(probes_target PRIVATE hapax_warnings hapax_testing)
target_compile_definitions(probes_target PRIVATE _GNU_SOURCE)
add_test(NAME probes COMMAND ${PROJECT_SOURCE_DIR}/tests/probes/check.py ${PROJECT_SOURCE_DIR} $<TARGET_FILE:hapax>
	$<TARGET_FILE:probes_target>)
set_tests_properties(probes PROPERTIES LABELS tools TIMEOUT 120 SKIP_RETURN_CODE 77)
