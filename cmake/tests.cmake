# SPDX-License-Identifier: LGPL-2.1-or-later
# Every tests/{unit,api,prop,fault,torture}/*.c is one program; every TEST() in it is one CTest test with a process of
# its own. A program with a main() of its own is one test.
pkg_check_modules(CMOCKA cmocka)
pkg_check_modules(JSONC json-c)

set(histories_sources harness/history.c harness/linearize.c harness/rng.c histories/corrupt.c histories/rounds.c)
file(GLOB support_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/support/*.c)
# recorded histories and their checker are the stress program's
list(TRANSFORM histories_sources PREPEND ${PROJECT_SOURCE_DIR}/stress/)
add_library(hapax_test_support STATIC ${support_sources} ${histories_sources})
# called from the sanitizers' own run-time libraries too, before they are ready
set_source_files_properties(${PROJECT_SOURCE_DIR}/tests/support/wrap.c PROPERTIES COMPILE_OPTIONS -fno-sanitize=all)
target_include_directories(hapax_test_support PUBLIC ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/stress)
target_link_libraries(hapax_test_support PRIVATE hapax_warnings PUBLIC hapax_testing ${CMOCKA_LINK_LIBRARIES} m)

set(HAPAX_TEST_ENVIRONMENT
	"ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_init_order=1"
	"UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
	"TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:detect_deadlocks=1:atexit_sleep_ms=20")

function(hapax_test_program source kind)
	get_filename_component(name ${source} NAME_WE)
	set(target ${kind}_${name})
	# tests/torture/torture.c goes with what is in tests/torture/torture/
	get_filename_component(directory ${source} DIRECTORY)
	file(GLOB parts CONFIGURE_DEPENDS ${directory}/${name}/*.c)
	add_executable(${target} ${source} ${parts})
	target_link_libraries(${target} PRIVATE hapax_warnings hapax_test_support)
	target_compile_definitions(${target} PRIVATE HAPAX_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
		HAPAX_SHARED_LIBRARY="$<TARGET_FILE:hapax>")
	add_dependencies(${target} hapax)
	# optimizing what tests say themselves is most of the time they take to build, and changes nothing of what they run; under
	# ThreadSanitizer their threads would be further apart
	if(NOT kind STREQUAL "torture" AND NOT HAPAX_COVERAGE AND NOT HAPAX_SANITIZE MATCHES "thread")
		target_compile_options(${target} PRIVATE -O0)
	endif()
	if(kind STREQUAL "fault") # support/wrap.h
		foreach(call malloc aligned_alloc mmap pthread_create pthread_key_create pthread_setspecific clock_gettime
				syscall getrandom)
			target_link_options(${target} PRIVATE LINKER:--wrap=${call})
		endforeach()
	endif()
	if(name STREQUAL "cx_th") # loads the shared library and lets it go again
		target_compile_definitions(${target} PRIVATE HAPAX_SHARED_LIBRARY="$<TARGET_FILE:hapax>")
		add_dependencies(${target} hapax)
	endif()
	if(name STREQUAL "model_memory")
		file(GLOB memory ${PROJECT_SOURCE_DIR}/stress/model/memory*.c)
		target_sources(${target} PRIVATE ${memory})
		target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/stress)
	endif()
	file(STRINGS ${source} parses_json REGEX "^#include (<json-c/|\"unit/observed.h\")" LIMIT_COUNT 1)
	if(parses_json)
		target_link_libraries(${target} PRIVATE ${JSONC_LINK_LIBRARIES})
	endif()
	file(STRINGS ${source} own_main REGEX "^int main\\(" LIMIT_COUNT 1)
	if(own_main AND kind STREQUAL "torture")
		foreach(seed 1 2 3)
			add_test(NAME torture.${name}.seed${seed} COMMAND ${target} 2 ${seed} 4)
			set_tests_properties(torture.${name}.seed${seed} PROPERTIES LABELS torture TIMEOUT 120 PROCESSORS 2
				ENVIRONMENT "${HAPAX_TEST_ENVIRONMENT}")
		endforeach()
		return()
	elseif(own_main)
		add_test(NAME ${kind}.${name} COMMAND ${target})
		set_tests_properties(${kind}.${name} PROPERTIES LABELS ${kind} SKIP_RETURN_CODE 77 TIMEOUT 120
			ENVIRONMENT "${HAPAX_TEST_ENVIRONMENT}")
		return()
	endif()
	set(list ${CMAKE_CURRENT_BINARY_DIR}/tests/${target}.cmake)
	string(REPLACE ";" "|" environment "${HAPAX_TEST_ENVIRONMENT}")
	string(REPLACE ";" "|" emulator "${CMAKE_CROSSCOMPILING_EMULATOR}")
	add_custom_command(TARGET ${target} POST_BUILD BYPRODUCTS ${list}
		COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${target}> -DPREFIX=${kind}.${name} -DLABEL=${kind}
			"-DENVIRONMENT=${environment}" "-DEMULATOR=${emulator}" -DOUTPUT=${list} -P ${PROJECT_SOURCE_DIR}/cmake/discover.cmake VERBATIM)
	# until it is built there is one test that says so
	set(include ${CMAKE_CURRENT_BINARY_DIR}/tests/${target}-include.cmake)
	file(WRITE ${include} "if(EXISTS \"${list}\")\n\tinclude(\"${list}\")\nelse()\n"
		"\tadd_test(${kind}.${name}-not-built false)\nendif()\n")
	set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include})
endfunction()

foreach(kind unit api prop fault torture)
	file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${kind}/*.c)
	foreach(source IN LISTS sources)
		hapax_test_program(${source} ${kind})
	endforeach()
endforeach()

include(${PROJECT_SOURCE_DIR}/cmake/fuzz.cmake)
include(${PROJECT_SOURCE_DIR}/cmake/observe.cmake)

# hapax-stress, from outside: scripts that get the program.
if(TARGET hapax-stress AND HAPAX_STRESS)
	file(GLOB scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/stress/*.sh)
	foreach(script IN LISTS scripts)
		get_filename_component(name ${script} NAME_WE)
		add_test(NAME stress.${name} COMMAND ${script} $<TARGET_FILE:hapax-stress>)
		# one core: the long ones compute on one, or wait for what stands still
		set_tests_properties(stress.${name} PROPERTIES LABELS stress SKIP_RETURN_CODE 77 TIMEOUT 300
			ENVIRONMENT "${HAPAX_TEST_ENVIRONMENT}")
	endforeach()
	set_tests_properties(stress.model_scenarios PROPERTIES TIMEOUT 1200)
endif()

# What is promised of shared cache lines.
if(TARGET hapax-lines AND HAPAX_STRESS)
	add_test(NAME stress.lines COMMAND hapax-lines --check)
	set_tests_properties(stress.lines PROPERTIES LABELS stress TIMEOUT 120)
endif()

# The torture, under sanitizers.
if(TARGET hapax-torture)
	add_test(NAME stress.torture_sanitized COMMAND hapax-torture --seconds 6 --seed 4)
	set_tests_properties(stress.torture_sanitized PROPERTIES LABELS stress TIMEOUT 300 PROCESSORS 2
		ENVIRONMENT "${HAPAX_TEST_ENVIRONMENT}")
endif()

# Every public header alone, as C11 and as C++17.
file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/hapax/*.h)
set(c_units)
set(cxx_units)
foreach(header IN LISTS headers)
	get_filename_component(name ${header} NAME_WE)
	foreach(language c cpp)
		set(unit ${PROJECT_BINARY_DIR}/headers/${name}.${language})
		file(CONFIGURE OUTPUT ${unit} CONTENT "#include <hapax/${name}.h>\n#include <hapax/${name}.h>\nint hapax_header_${name}_${language};\n")
	endforeach()
	list(APPEND c_units ${PROJECT_BINARY_DIR}/headers/${name}.c)
	list(APPEND cxx_units ${PROJECT_BINARY_DIR}/headers/${name}.cpp)
endforeach()
add_library(hapax_headers_c OBJECT ${c_units})
add_library(hapax_headers_cxx OBJECT ${cxx_units})
foreach(target hapax_headers_c hapax_headers_cxx)
	target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
	target_link_libraries(${target} PRIVATE hapax_warnings)
endforeach()

include(${PROJECT_SOURCE_DIR}/cmake/cpp.cmake)

# The examples (example.c is the README's), run from the build tree.
file(GLOB examples CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/examples/*.c)
foreach(source IN LISTS examples)
	get_filename_component(name ${source} NAME_WE)
	add_executable(${name} ${source})
	target_link_libraries(${name} PRIVATE hapax_warnings hapax_build hapax)
	add_test(NAME ${name} COMMAND ${name})
	set_tests_properties(${name} PROPERTIES LABELS api TIMEOUT 60 ENVIRONMENT "${HAPAX_TEST_ENVIRONMENT}")
endforeach()

# What they are compared with, and the figures of the comparison; nothing of it depends on the build.
if(NOT HAPAX_SANITIZE AND NOT HAPAX_DEBUG)
	find_package(Python3 3.11 QUIET COMPONENTS Interpreter)
	file(GLOB originals CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/examples/python/*.py)
	foreach(source IN LISTS originals ITEMS ${PROJECT_SOURCE_DIR}/scripts/example_lines.py)
		get_filename_component(name ${source} NAME_WE)
		if(Python3_FOUND)
			add_test(NAME python.${name} COMMAND ${Python3_EXECUTABLE} -I ${source} --check)
		else()
			add_test(NAME python.${name} COMMAND sh -c "exit 77")
		endif()
		set_tests_properties(python.${name} PROPERTIES LABELS api TIMEOUT 60 SKIP_RETURN_CODE 77)
	endforeach()
endif()

# Checks of the source text, the installation and the oracles: once, in the plain build.
if(NOT HAPAX_SANITIZE AND NOT HAPAX_DEBUG)
	file(GLOB lints CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/lint/*.py ${PROJECT_SOURCE_DIR}/tests/lint/*.sh)
	foreach(lint IN LISTS lints)
		get_filename_component(name ${lint} NAME_WE)
		add_test(NAME lint.${name} COMMAND ${lint} ${PROJECT_SOURCE_DIR})
		set_tests_properties(lint.${name} PROPERTIES LABELS lint TIMEOUT 60 SKIP_RETURN_CODE 77)
	endforeach()
	add_test(NAME spin COMMAND ${PROJECT_SOURCE_DIR}/stress/spin/run.py --work ${PROJECT_BINARY_DIR}/spin)
	set_tests_properties(spin PROPERTIES LABELS spin TIMEOUT 900 PROCESSORS 2 SKIP_RETURN_CODE 77)
	add_test(NAME lint.exports COMMAND ${PROJECT_SOURCE_DIR}/tests/install/exports.sh $<TARGET_FILE:hapax>
		${PROJECT_SOURCE_DIR})
	set_tests_properties(lint.exports PROPERTIES LABELS lint TIMEOUT 60)
	add_test(NAME install COMMAND ${PROJECT_SOURCE_DIR}/tests/install/run.sh ${PROJECT_SOURCE_DIR}
		${PROJECT_BINARY_DIR})
	set_tests_properties(install PROPERTIES LABELS install TIMEOUT 300 SKIP_RETURN_CODE 77)
	add_test(NAME tsan-lanes COMMAND ${PROJECT_SOURCE_DIR}/scripts/tsan-lanes.sh -s 2 -c gcc
		${PROJECT_BINARY_DIR}/tsan-lanes)
	set_tests_properties(tsan-lanes PROPERTIES LABELS torture TIMEOUT 600 PROCESSORS 2)
	add_test(NAME outside COMMAND ${PROJECT_SOURCE_DIR}/tests/outside/run.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
	set_tests_properties(outside PROPERTIES LABELS outside TIMEOUT 300 PROCESSORS 2 SKIP_RETURN_CODE 77)
	add_test(NAME canaries COMMAND ${PROJECT_SOURCE_DIR}/stress/broken/run.py --fast --work ${PROJECT_BINARY_DIR}/canaries)
	set_tests_properties(canaries PROPERTIES LABELS canary TIMEOUT 900 PROCESSORS 2 SKIP_RETURN_CODE 77)
endif()
