# SPDX-License-Identifier: LGPL-2.1-or-later
# hapax (shared), hapax_static, and hapax_testing: the same sources with the hooks of hapax/testing.h.
file(GLOB HAPAX_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/lib/*/*.c)
# The two files of the hot path keep no arrays on the stack: a canary in every get and release would guard nothing.
set_source_files_properties(${PROJECT_SOURCE_DIR}/lib/cache/get.c ${PROJECT_SOURCE_DIR}/lib/object/death.c
	PROPERTIES COMPILE_OPTIONS -fno-stack-protector)
if(NOT HAPAX_SOURCES)
	# a tree without any layer yet still configures
	file(WRITE ${PROJECT_BINARY_DIR}/empty.c "extern int hapax_no_sources_yet;\n")
	set(HAPAX_SOURCES ${PROJECT_BINARY_DIR}/empty.c)
endif()

set(HAPAX_LINK_LIBRARIES ${URCU_LINK_LIBRARIES} ${CK_LINK_LIBRARIES} Threads::Threads)

add_library(hapax_objects OBJECT ${HAPAX_SOURCES})
target_link_libraries(hapax_objects PRIVATE hapax_warnings hapax_build hapax_code)

add_library(hapax SHARED $<TARGET_OBJECTS:hapax_objects>)
target_include_directories(hapax INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
	$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(hapax PRIVATE $<BUILD_INTERFACE:hapax_build> ${HAPAX_LINK_LIBRARIES})
# nodelete: threads keep hapax's exit hook after a dlclose()
target_link_options(hapax PRIVATE LINKER:--version-script=${PROJECT_SOURCE_DIR}/lib/hapax.map
	LINKER:-z,nodelete LINKER:-z,relro LINKER:-z,now)
set_target_properties(hapax PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0
	LINK_DEPENDS ${PROJECT_SOURCE_DIR}/lib/hapax.map)

add_library(hapax_static STATIC $<TARGET_OBJECTS:hapax_objects>)
set_target_properties(hapax_static PROPERTIES OUTPUT_NAME hapax EXPORT_NAME static)
target_include_directories(hapax_static INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
	$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(hapax_static PUBLIC $<BUILD_INTERFACE:hapax_build> ${URCU_LIBRARIES} ${CK_LIBRARIES} pthread)

add_library(hapax_testing STATIC EXCLUDE_FROM_ALL ${HAPAX_SOURCES})
target_compile_definitions(hapax_testing PUBLIC HPX_TESTING)
target_link_libraries(hapax_testing PRIVATE hapax_warnings PUBLIC hapax_build hapax_code ${HAPAX_LINK_LIBRARIES})
