# SPDX-License-Identifier: LGPL-2.1-or-later
# Compiler flags, in interface libraries: warnings for all code of ours, `build` for sanitizers and the debug switch,
# `code` for the library's own sources.

add_library(hapax_warnings INTERFACE)
target_compile_options(hapax_warnings INTERFACE -Wall -Wextra -Wpedantic)
if(HAPAX_WERROR)
	target_compile_options(hapax_warnings INTERFACE -Werror)
endif()

add_library(hapax_build INTERFACE)
if(HAPAX_SANITIZE) # lines are enough for a report, and a fourth of what compiling takes is left out
	target_compile_options(hapax_build INTERFACE -g1)
else()
	target_compile_options(hapax_build INTERFACE -g)
endif()
if(HAPAX_DEBUG)
	target_compile_definitions(hapax_build INTERFACE HPX_DEBUG)
endif()
if(HAPAX_SANITIZE)
	target_compile_options(hapax_build INTERFACE -fsanitize=${HAPAX_SANITIZE} -fno-omit-frame-pointer)
	target_link_options(hapax_build INTERFACE -fsanitize=${HAPAX_SANITIZE})
	if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
		# instrumented code confuses gcc's flow analysis
		target_compile_options(hapax_warnings INTERFACE -Wno-format-truncation -Wno-maybe-uninitialized)
	endif()
	if(HAPAX_SANITIZE MATCHES "undefined")
		# alignment: liburcu-bp 0.13 places its reader records less aligned than it declares them
		target_compile_options(hapax_build INTERFACE -fno-sanitize-recover=all -fno-sanitize=alignment)
	endif()
endif()

# -fexceptions: forced unwinding (pthread_exit, cancellation) and C++ exceptions of user code must run the cleanup
# handlers of the frames they cross. initial-exec: a thread's state is one offset away and never allocated.
set(HAPAX_CODE_FLAGS -fexceptions -fvisibility=hidden -ftls-model=initial-exec -fPIC -fno-lto -fstack-protector-strong)
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT HAPAX_SANITIZE)
	list(APPEND HAPAX_CODE_FLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
add_library(hapax_code INTERFACE)
target_compile_options(hapax_code INTERFACE ${HAPAX_CODE_FLAGS})
target_compile_definitions(hapax_code INTERFACE _GNU_SOURCE)
if(HAPAX_PROBES AND HAPAX_HAVE_SDT AND NOT HAPAX_SANITIZE)
	target_compile_definitions(hapax_code INTERFACE HPX_PROBES)
endif()
target_include_directories(hapax_code INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib)
# system: the warnings are for our code
target_include_directories(hapax_code SYSTEM INTERFACE ${URCU_INCLUDE_DIRS} ${CK_INCLUDE_DIRS} ${XXHASH_INCLUDE_DIR})
