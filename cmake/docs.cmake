# SPDX-License-Identifier: LGPL-2.1-or-later
# The pages: links, anchors, code blocks, commands; and that what checks them would say so. Once, in the plain build.
if(NOT HAPAX_SANITIZE AND NOT HAPAX_DEBUG)
	set(docs_check ${PROJECT_SOURCE_DIR}/tests/docs/check.py --cc ${CMAKE_C_COMPILER} --cxx ${CMAKE_CXX_COMPILER})
	set(docs_programs)
	foreach(program hapax-stress hapax-lines hapax-top)
		if(TARGET ${program})
			list(APPEND docs_programs --program ${program}=$<TARGET_FILE:${program}>)
		endif()
	endforeach()
	add_test(NAME docs.check COMMAND ${docs_check} ${docs_programs} ${PROJECT_SOURCE_DIR})
	add_test(NAME docs.faults COMMAND ${PROJECT_SOURCE_DIR}/tests/docs/faults.py ${docs_check} ${PROJECT_SOURCE_DIR})
	set_tests_properties(docs.check docs.faults PROPERTIES LABELS lint TIMEOUT 60)
endif()
