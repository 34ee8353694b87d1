# SPDX-License-Identifier: LGPL-2.1-or-later
# hapax-stress model: the library's sources again, compiled with the instrumentation of ThreadSanitizer against a runtime
# of ours (stress/model/), its calls to libc redirected, and all of it one object with one global name, so that it lives
# beside the library proper in hapax-stress. Sets HAPAX_MODEL_OBJECT; empty where the compiler does not play along.
set(HAPAX_MODEL_OBJECT)
if(HAPAX_SANITIZE OR HAPAX_COVERAGE)
	return()
endif()

# GNU ld, whatever the compiler links with: groups have to be resolved here
find_program(HAPAX_LD NAMES ld.bfd ld REQUIRED)

# Litmus tests are code under test. The scenarios of scenarios/ are not: what they note down is no part of the run.
file(GLOB model_scenarios CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/stress/model/litmus*.c)
list(APPEND model_scenarios ${PROJECT_SOURCE_DIR}/stress/model/selftest.c)
file(GLOB model_engine CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/stress/model/*.c
	${PROJECT_SOURCE_DIR}/stress/model/scenarios/*.c)
list(REMOVE_ITEM model_engine ${model_scenarios})

# Not position-independent data, nothing in .bss: what is reset between runs is one section.
add_library(hapax_model_code OBJECT ${HAPAX_SOURCES} ${model_scenarios})
target_compile_options(hapax_model_code PRIVATE -fsanitize=thread -O2 -g -fno-omit-frame-pointer -fno-lto
	-fno-zero-initialized-in-bss -fno-common -fno-stack-protector -fexceptions -U_FORTIFY_SOURCE -fvisibility=hidden
	"SHELL:-include ${PROJECT_SOURCE_DIR}/stress/model/shim.h")
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
	target_compile_options(hapax_model_code PRIVATE "SHELL:--param tsan-instrument-func-entry-exit=0" -Wno-tsan)
else()
	target_compile_options(hapax_model_code PRIVATE "SHELL:-mllvm -tsan-instrument-func-entry-exit=0")
endif()
add_library(hapax_model_engine OBJECT ${model_engine})
target_compile_options(hapax_model_engine PRIVATE -O2 -g -fno-omit-frame-pointer -fno-lto -fexceptions)
foreach(target hapax_model_code hapax_model_engine)
	target_compile_definitions(${target} PRIVATE _GNU_SOURCE HPX_MODEL HPX_TESTING HPX_DEBUG)
	target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/stress/model/replace
		${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib ${PROJECT_SOURCE_DIR}/stress)
	target_include_directories(${target} SYSTEM PRIVATE ${STRESS_INCLUDE_DIRS} ${XXHASH_INCLUDE_DIR})
	target_link_libraries(${target} PRIVATE hapax_warnings)
endforeach()

set(dir ${PROJECT_BINARY_DIR}/model)
file(MAKE_DIRECTORY ${dir})
set(HAPAX_MODEL_OBJECT ${dir}/model.o)
set(data .data .data.rel .data.rel.local)
list(TRANSFORM data REPLACE "(.+)" "--rename-section=\\1=hpx_model_data")
list(APPEND data --rename-section=.bss=hpx_model_bss)
add_custom_command(OUTPUT ${dir}/code.o
	COMMAND ${HAPAX_LD} -r --force-group-allocation -o ${dir}/code-raw.o $<TARGET_OBJECTS:hapax_model_code>
	COMMAND ${CMAKE_OBJCOPY} --redefine-syms=${PROJECT_SOURCE_DIR}/stress/model/redirect.syms ${data}
		${dir}/code-raw.o ${dir}/code.o
	# nothing of pthread, no system call and no sleep goes past the model
	COMMAND sh -c "! ${CMAKE_NM} -u ${dir}/code.o | grep -v ' model_' | grep -E 'pthread|sem_|mtx_|cnd_|thrd_|urcu_bp_re|alloc|sleep|futex|syscall|sched_|poll|time'"
	DEPENDS $<TARGET_OBJECTS:hapax_model_code> ${PROJECT_SOURCE_DIR}/stress/model/redirect.syms
	COMMAND_EXPAND_LISTS VERBATIM)
add_custom_command(OUTPUT ${HAPAX_MODEL_OBJECT}
	COMMAND ${HAPAX_LD} -r --force-group-allocation -o ${dir}/model-raw.o ${dir}/code.o $<TARGET_OBJECTS:hapax_model_engine>
	COMMAND ${CMAKE_OBJCOPY} --keep-global-symbol=hpx_model_main --keep-global-symbol=DW.ref.__gcc_personality_v0
		${dir}/model-raw.o ${HAPAX_MODEL_OBJECT}
	DEPENDS ${dir}/code.o $<TARGET_OBJECTS:hapax_model_engine>
	COMMAND_EXPAND_LISTS VERBATIM)

# The model without the rest: what one builds while working on it.
file(GLOB harness CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/stress/harness/*.c)
add_executable(hapax-model EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/stress/model/alone/main.c ${harness}
	${HAPAX_MODEL_OBJECT})
target_compile_definitions(hapax-model PRIVATE _GNU_SOURCE)
target_include_directories(hapax-model PRIVATE ${PROJECT_SOURCE_DIR}/stress)
target_include_directories(hapax-model SYSTEM PRIVATE ${STRESS_INCLUDE_DIRS})
target_link_libraries(hapax-model PRIVATE hapax_warnings hapax_build hapax_static ${STRESS_LINK_LIBRARIES} Threads::Threads m)
