# SPDX-License-Identifier: LGPL-2.1-or-later
# Man pages: section 3 made from the public headers, section 7, section 1 from --help of the programs (scripts/manpages.py).
# What they say does not depend on how the library is compiled: they are made in the plain build only.
if(HAPAX_SANITIZE OR HAPAX_DEBUG OR HAPAX_COVERAGE OR CMAKE_CROSSCOMPILING)
	return()
endif()
find_package(Python3 3.9 QUIET COMPONENTS Interpreter)
if(NOT Python3_FOUND)
	message(STATUS "man pages are not made: python3 is missing")
	return()
endif()

# The date in the pages: the same for the same sources, whoever builds them and when.
set(HAPAX_SOURCE_DATE "$ENV{SOURCE_DATE_EPOCH}")
if(NOT HAPAX_SOURCE_DATE)
	execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} log -1 --format=%ct OUTPUT_VARIABLE HAPAX_SOURCE_DATE
		OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT HAPAX_SOURCE_DATE)
	file(TIMESTAMP ${PROJECT_SOURCE_DIR}/CHANGELOG.md HAPAX_SOURCE_DATE "%s" UTC)
endif()

set(HAPAX_MAN ${PROJECT_BINARY_DIR}/man)
set(manpages ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/scripts/manpages.py --source ${PROJECT_SOURCE_DIR}
	--out ${HAPAX_MAN} --version ${PROJECT_VERSION} --date ${HAPAX_SOURCE_DATE})
file(GLOB man_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/hapax/*.h ${PROJECT_SOURCE_DIR}/man/*)
list(APPEND man_sources ${PROJECT_SOURCE_DIR}/scripts/manpages.py ${PROJECT_SOURCE_DIR}/scripts/headerdoc.py
	${PROJECT_SOURCE_DIR}/lib/hapax.map)
add_custom_command(OUTPUT ${HAPAX_MAN}/made DEPENDS ${man_sources}
	COMMAND ${CMAKE_COMMAND} -E rm -rf ${HAPAX_MAN}/man3 ${HAPAX_MAN}/man7
	COMMAND ${manpages}
	COMMAND ${CMAKE_COMMAND} -E touch ${HAPAX_MAN}/made COMMENT "Man pages of the headers" VERBATIM)
set(man_outputs ${HAPAX_MAN}/made)
set(HAPAX_MAN_PROGRAMS)
foreach(program hapax-stress hapax-top)
	if(TARGET ${program} AND EXISTS ${PROJECT_SOURCE_DIR}/man/${program}.1.in AND (HAPAX_STRESS OR NOT program STREQUAL "hapax-stress"))
		set(page ${HAPAX_MAN}/man1/${program}.1)
		add_custom_command(OUTPUT ${page} DEPENDS ${man_sources} ${program}
			COMMAND ${manpages} --program ${program}=$<TARGET_FILE:${program}> COMMENT "Man page of ${program}" VERBATIM)
		list(APPEND man_outputs ${page})
		list(APPEND HAPAX_MAN_PROGRAMS ${program})
	endif()
endforeach()
add_custom_target(hapax_man ALL DEPENDS ${man_outputs})

install(DIRECTORY ${HAPAX_MAN}/man3 ${HAPAX_MAN}/man7 DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT dev)
if(HAPAX_MAN_PROGRAMS)
	install(DIRECTORY ${HAPAX_MAN}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT tools)
endif()

if(HAPAX_TESTS)
	set(programs)
	foreach(program IN LISTS HAPAX_MAN_PROGRAMS)
		list(APPEND programs --program ${program}=$<TARGET_FILE:${program}>)
	endforeach()
	add_test(NAME man COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/man/check.py ${PROJECT_SOURCE_DIR} ${HAPAX_MAN}
		${programs})
	set_tests_properties(man PROPERTIES LABELS lint TIMEOUT 60 SKIP_RETURN_CODE 77)
endif()
