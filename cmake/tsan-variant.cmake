# SPDX-License-Identifier: LGPL-2.1-or-later
# libhapax-tsan: the shipped sources compiled by clang with -fsanitize=thread, whatever compiles the rest, for
# applications that run under ThreadSanitizer themselves. The run-time library comes with the application.
set(HAPAX_HAVE_TSAN FALSE)
find_program(HAPAX_TSAN_CC NAMES clang-19 clang)
if(NOT HAPAX_TSAN_VARIANT OR NOT HAPAX_TSAN_CC OR HAPAX_SANITIZE)
	return()
endif()
set(HAPAX_HAVE_TSAN TRUE)

set(dir ${PROJECT_BINARY_DIR}/tsan-variant)
set(objects)
set(system_includes ${URCU_INCLUDE_DIRS} ${CK_INCLUDE_DIRS})
list(TRANSFORM system_includes PREPEND -isystem)
foreach(source IN LISTS HAPAX_SOURCES)
	file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${source})
	string(REPLACE "/" "_" name ${name})
	set(object ${dir}/${name}.o)
	add_custom_command(OUTPUT ${object}
		COMMAND ${CMAKE_COMMAND} -E make_directory ${dir}
		COMMAND ${HAPAX_TSAN_CC} -std=c11 -O2 -g -fsanitize=thread -fno-omit-frame-pointer -D_GNU_SOURCE
			-fexceptions -fvisibility=hidden -ftls-model=initial-exec -fPIC -Wall -Wextra -Wpedantic
			$<$<BOOL:${HAPAX_WERROR}>:-Werror> -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR}/lib
			${system_includes} -MD -MF ${object}.d -c ${source} -o ${object}
		DEPENDS ${source} DEPFILE ${object}.d COMMENT "Instrumenting ${name}" VERBATIM)
	list(APPEND objects ${object})
endforeach()

set(HAPAX_TSAN_STATIC ${dir}/libhapax-tsan.a)
set(HAPAX_TSAN_SHARED ${dir}/libhapax-tsan.so.${PROJECT_VERSION})
add_custom_command(OUTPUT ${HAPAX_TSAN_STATIC} DEPENDS ${objects}
	COMMAND ${CMAKE_COMMAND} -E rm -f ${HAPAX_TSAN_STATIC}
	COMMAND ${CMAKE_AR} qcs ${HAPAX_TSAN_STATIC} ${objects} VERBATIM)
add_custom_command(OUTPUT ${HAPAX_TSAN_SHARED} DEPENDS ${objects} ${PROJECT_SOURCE_DIR}/lib/hapax.map
	COMMAND ${HAPAX_TSAN_CC} -shared -fsanitize=thread -o ${HAPAX_TSAN_SHARED} ${objects}
		-Wl,-soname,libhapax-tsan.so.0 -Wl,--version-script=${PROJECT_SOURCE_DIR}/lib/hapax.map
		-Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now ${URCU_LDFLAGS} ${CK_LDFLAGS} -lpthread
	COMMAND ${CMAKE_COMMAND} -E create_symlink libhapax-tsan.so.${PROJECT_VERSION} ${dir}/libhapax-tsan.so.0
	COMMAND ${CMAKE_COMMAND} -E create_symlink libhapax-tsan.so.0 ${dir}/libhapax-tsan.so VERBATIM)
add_custom_target(hapax_tsan ALL DEPENDS ${HAPAX_TSAN_STATIC} ${HAPAX_TSAN_SHARED})
