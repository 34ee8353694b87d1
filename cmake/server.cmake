# SPDX-License-Identifier: LGPL-2.1-or-later
# docs/examples/server: the same HTTP server with hapax and with a mutex and a hash table, where libmicrohttpd and SQLite are.
pkg_check_modules(MICROHTTPD IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(SQLITE3 IMPORTED_TARGET sqlite3)
if(NOT MICROHTTPD_FOUND OR NOT SQLITE3_FOUND OR CMAKE_CROSSCOMPILING)
	return()
endif()

set(server ${PROJECT_SOURCE_DIR}/docs/examples/server)
set(parts main http pages records tenants files text make_db dashboard)
list(TRANSFORM parts PREPEND ${server}/)
list(TRANSFORM parts APPEND .c)
add_library(hapax_server_parts OBJECT EXCLUDE_FROM_ALL ${parts}) # what both are made of
set_source_files_properties(${server}/dashboard.c PROPERTIES OBJECT_DEPENDS ${server}/dashboard.html
	COMPILE_DEFINITIONS DASHBOARD_FILE="${server}/dashboard.html")
target_link_libraries(hapax_server_parts PRIVATE hapax_warnings hapax_build PkgConfig::MICROHTTPD PkgConfig::SQLITE3)

foreach(store hapax mutex)
	add_executable(${store}-server EXCLUDE_FROM_ALL ${server}/store_${store}.c $<TARGET_OBJECTS:hapax_server_parts>)
	target_link_libraries(${store}-server PRIVATE hapax_warnings hapax_build PkgConfig::MICROHTTPD PkgConfig::SQLITE3
		Threads::Threads m)
endforeach()
target_link_libraries(hapax-server PRIVATE hapax)

# In the plain build they are built and tried out, as the page is if there is a Chromium.
if(HAPAX_TESTS AND NOT HAPAX_SANITIZE AND NOT HAPAX_DEBUG AND NOT HAPAX_COVERAGE)
	set_target_properties(hapax-server mutex-server PROPERTIES EXCLUDE_FROM_ALL OFF)
	foreach(store hapax mutex)
		add_test(NAME server.${store} COMMAND ${PROJECT_SOURCE_DIR}/tests/server/end_to_end.py $<TARGET_FILE:${store}-server>)
	endforeach()
	add_test(NAME server.dashboard COMMAND ${PROJECT_SOURCE_DIR}/tests/server/dashboard.py $<TARGET_FILE:hapax-server>
		${PROJECT_BINARY_DIR}/dashboard)
	set_tests_properties(server.hapax server.mutex server.dashboard PROPERTIES LABELS server SKIP_RETURN_CODE 77 TIMEOUT 120)
endif()
