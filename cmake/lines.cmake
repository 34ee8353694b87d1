# SPDX-License-Identifier: LGPL-2.1-or-later
# hapax-lines: which cache lines each operation touches (stress/lines/). The library's sources again, as they ship but for the
# compiler's instrumentation for ThreadSanitizer, against a runtime of ours; nothing of it is in any other build. By gcc, whose
# instrumentation can be told apart from ThreadSanitizer itself, so that read sections are inlined as they are in the library.
if(HAPAX_SANITIZE OR HAPAX_COVERAGE OR HAPAX_DEBUG OR CMAKE_CROSSCOMPILING OR NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
	return()
endif()

set(wrapped memset memcpy memcmp malloc free aligned_alloc pthread_mutex_lock pthread_mutex_trylock pthread_mutex_unlock
	syscall sched_yield)
set(libc memset memcpy memcmp)
list(TRANSFORM libc PREPEND -fno-builtin-)
add_library(hapax_lines_flags INTERFACE) # the last of the flags
target_compile_options(hapax_lines_flags INTERFACE -g1 -fsanitize=thread "SHELL:--param tsan-instrument-func-entry-exit=0" -Wno-tsan
	-U__SANITIZE_THREAD__ -U_FORTIFY_SOURCE ${libc})
add_library(hapax_lines_code OBJECT EXCLUDE_FROM_ALL ${HAPAX_SOURCES})
target_compile_definitions(hapax_lines_code PRIVATE HPX_NO_SEGMENT) # its thread's lines are nobody's
target_link_libraries(hapax_lines_code PRIVATE hapax_warnings hapax_code hapax_lines_flags)

file(GLOB lines_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/stress/lines/*.c)
if(HAPAX_STRESS AND HAPAX_TESTS)
	add_executable(hapax-lines ${lines_sources} $<TARGET_OBJECTS:hapax_lines_code>)
else()
	add_executable(hapax-lines EXCLUDE_FROM_ALL ${lines_sources} $<TARGET_OBJECTS:hapax_lines_code>)
endif()
target_compile_definitions(hapax-lines PRIVATE _GNU_SOURCE)
target_include_directories(hapax-lines PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib ${PROJECT_SOURCE_DIR}/stress)
target_include_directories(hapax-lines SYSTEM PRIVATE ${URCU_INCLUDE_DIRS} ${CK_INCLUDE_DIRS} ${XXHASH_INCLUDE_DIR})
target_link_libraries(hapax-lines PRIVATE hapax_warnings ${HAPAX_LINK_LIBRARIES})
foreach(call IN LISTS wrapped)
	target_link_options(hapax-lines PRIVATE LINKER:--wrap=${call})
endforeach()
