# SPDX-License-Identifier: LGPL-2.1-or-later
# Headers, the libraries, and how others find them: pkg-config hapax and hapax-tsan, find_package(hapax).
include(CMakePackageConfigHelpers)

install(TARGETS hapax hapax_static EXPORT hapaxTargets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev
	ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
if(TARGET hapax-stress AND HAPAX_STRESS)
	install(TARGETS hapax-stress RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/hapax DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
	FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp" PATTERN "testing.h" EXCLUDE)
install(EXPORT hapaxTargets NAMESPACE hapax:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hapax)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/hapaxConfig.cmake.in ${PROJECT_BINARY_DIR}/hapaxConfig.cmake
	INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hapax PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hapaxConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/hapaxConfig.cmake ${PROJECT_BINARY_DIR}/hapaxConfigVersion.cmake
	DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hapax)

# prefix is relative to the file, so that a tree may be moved
file(RELATIVE_PATH pc_up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" pc_up "${pc_up}")
set(pc_name hapax)
set(pc_lib hapax)
set(pc_description "Concurrent weak cache: one key, one object")
configure_file(${PROJECT_SOURCE_DIR}/cmake/hapax.pc.in ${PROJECT_BINARY_DIR}/hapax.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hapax.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(HAPAX_HAVE_TSAN)
	set(pc_name hapax-tsan)
	set(pc_lib hapax-tsan)
	set(pc_description "hapax instrumented for applications built with -fsanitize=thread")
	configure_file(${PROJECT_SOURCE_DIR}/cmake/hapax.pc.in ${PROJECT_BINARY_DIR}/hapax-tsan.pc @ONLY)
	install(FILES ${PROJECT_BINARY_DIR}/hapax-tsan.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
	install(FILES ${HAPAX_TSAN_STATIC} DESTINATION ${CMAKE_INSTALL_LIBDIR})
	get_filename_component(dir ${HAPAX_TSAN_SHARED} DIRECTORY)
	install(PROGRAMS ${HAPAX_TSAN_SHARED} DESTINATION ${CMAKE_INSTALL_LIBDIR})
	install(FILES ${dir}/libhapax-tsan.so.0 ${dir}/libhapax-tsan.so DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
