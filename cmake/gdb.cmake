# SPDX-License-Identifier: LGPL-2.1-or-later
# gdb's commands and printers (tools/gdb), where gdb looks for those of the library when it is loaded, and their test.
# As a package they go with the debugging information, without which they show nothing.
install(FILES ${PROJECT_SOURCE_DIR}/tools/gdb/hapax.py DESTINATION ${CMAKE_INSTALL_DATADIR}/hapax/gdb COMPONENT dbg)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tools/gdb/hapax_gdb DESTINATION ${CMAKE_INSTALL_DATADIR}/hapax/gdb COMPONENT dbg
	FILES_MATCHING PATTERN "*.py")
install(FILES ${PROJECT_SOURCE_DIR}/tools/gdb/autoload.py RENAME libhapax.so.${PROJECT_VERSION}-gdb.py
	DESTINATION ${CMAKE_INSTALL_DATADIR}/gdb/auto-load${CMAKE_INSTALL_FULL_LIBDIR} COMPONENT dbg)

# Once, in the plain build: debuggers and sanitizers get in each other's way.
find_package(Python3 3.11 QUIET COMPONENTS Interpreter)
if(HAPAX_TESTS AND Python3_FOUND AND NOT HAPAX_SANITIZE AND NOT HAPAX_DEBUG AND NOT HAPAX_COVERAGE AND NOT CMAKE_CROSSCOMPILING)
	add_executable(gdb_target ${PROJECT_SOURCE_DIR}/tests/gdb/target.c)
	target_link_libraries(gdb_target PRIVATE hapax_warnings hapax_build hapax)
	add_test(NAME gdb COMMAND ${Python3_EXECUTABLE} -I ${PROJECT_SOURCE_DIR}/tests/gdb/run.py ${PROJECT_SOURCE_DIR}
		$<TARGET_FILE:gdb_target> ${PROJECT_BINARY_DIR}/gdb)
	set_tests_properties(gdb PROPERTIES LABELS tools TIMEOUT 120 SKIP_RETURN_CODE 77)
endif()
