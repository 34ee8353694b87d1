# SPDX-License-Identifier: LGPL-2.1-or-later
# Debian packages, one for each component of the installation: runtime (libhapax0), dev (libhapax-dev), dbg (libhapax0-dbg), tools
# (hapax-tools).
# `make deb` builds them as they are meant to be installed; `cpack` in any build tree makes some of that tree.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME hapax)
set(CPACK_PACKAGE_VENDOR "hapax developers")
set(CPACK_PACKAGE_CONTACT "hapax developers <hapax@example.invalid>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
	WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime dev dbg)
if(TARGET hapax-top OR (TARGET hapax-stress AND HAPAX_STRESS))
	list(APPEND CPACK_COMPONENTS_ALL tools)
endif()
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SOURCE hapax)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(exact "= ${PROJECT_VERSION}-1")
set(about "hapax resolves one key to one shared, reference-counted object, however many\n\
threads ask for it at once: it is loaded once, found without a lock while\n\
anybody uses it, and destroyed once when the last user lets go. The cache\n\
itself holds objects by bounds, policies and times, or not at all.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libhapax0)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "${about}\n.\nThis package has the shared library.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libhapax-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
# the static library, and pkg-config, need those of the libraries below
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libhapax0 (${exact}), liburcu-dev, libck-dev")
set(CPACK_DEBIAN_DEV_DESCRIPTION "${about}\n.\nThis package has the headers for C and C++, the static library, the variant\nfor applications that run under ThreadSanitizer, manual pages, and files\nfor pkg-config and CMake.")
set(CPACK_DEBIAN_DBG_PACKAGE_NAME libhapax0-dbg)
set(CPACK_DEBIAN_DBG_PACKAGE_SECTION debug)
set(CPACK_DEBIAN_DBG_PACKAGE_DEPENDS "libhapax0 (${exact})")
set(CPACK_DEBIAN_DBG_PACKAGE_SUGGESTS gdb)
set(CPACK_DEBIAN_DBG_DESCRIPTION "${about}\n.\nThis package has the debugging information of the shared library, and the\ncommands for gdb that show the caches, loads and objects of a process or a\ncore file.")
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME hapax-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "${about}\n.\nThis package has hapax-top, which shows the caches of a running process,\nand hapax-stress, which puts the library under load and measures it.")

# What dpkg wants to know of the library. There were no versions before this one: every symbol came with it, or is listed here
# with the version that brought it, by the version node of lib/hapax.map.
file(STRINGS ${PROJECT_SOURCE_DIR}/lib/hapax.map map)
set(symbols "libhapax.so.0 libhapax0 #MINVER#\n* Build-Depends-Package: libhapax-dev\n")
set(node)
foreach(line IN LISTS map)
	if(line MATCHES "^(HAPAX_([0-9.]+)) ")
		set(node ${CMAKE_MATCH_1})
		set(since ${CMAKE_MATCH_2})
		string(APPEND symbols " ${node}@${node} ${since}\n")
	elseif(line MATCHES "^\t(hapax_[a-z0-9_]+)")
		string(APPEND symbols " ${CMAKE_MATCH_1}@${node} ${since}\n")
	endif()
endforeach()

set(control ${PROJECT_BINARY_DIR}/packaging)
file(CONFIGURE OUTPUT ${control}/symbols CONTENT "${symbols}" @ONLY)
file(CONFIGURE OUTPUT ${control}/shlibs CONTENT "libhapax 0 libhapax0 (>= ${PROJECT_VERSION})\n" @ONLY)
file(CONFIGURE OUTPUT ${control}/triggers CONTENT "activate-noawait ldconfig\n" @ONLY)
set(CPACK_DEBIAN_DEV_PACKAGE_CONTROL_EXTRA ${control}/triggers) # libhapax-tsan.so
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${control}/symbols ${control}/shlibs ${control}/triggers)

# What cpack runs: depends.cmake says what the programs and the library depend on, stage.cmake makes what is staged a Debian
# package's (manual pages and changelogs compressed, copyright, debugging information apart).
set(HAPAX_DEB_SOURCE ${PROJECT_SOURCE_DIR})
set(HAPAX_DEB_DATE "${HAPAX_SOURCE_DATE}")
set(HAPAX_DEB_VERSION ${PROJECT_VERSION}-1)
set(HAPAX_DEB_CONTACT "${CPACK_PACKAGE_CONTACT}")
set(HAPAX_DEB_LIBRARY ${PROJECT_BINARY_DIR}/libhapax.so.${PROJECT_VERSION})
set(HAPAX_DEB_TSAN ${HAPAX_TSAN_SHARED})
set(HAPAX_DEB_PROGRAMS)
foreach(program hapax-stress hapax-top)
	if(TARGET ${program} AND (HAPAX_STRESS OR NOT program STREQUAL "hapax-stress"))
		list(APPEND HAPAX_DEB_PROGRAMS ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${program})
	endif()
endforeach()
set(HAPAX_DEB_WORK ${control})
configure_file(${PROJECT_SOURCE_DIR}/packaging/depends.cmake.in ${control}/depends.cmake @ONLY)
configure_file(${PROJECT_SOURCE_DIR}/packaging/stage.cmake.in ${control}/stage.cmake @ONLY)
set(CPACK_PROJECT_CONFIG_FILE ${control}/depends.cmake)
set(CPACK_PRE_BUILD_SCRIPTS ${control}/stage.cmake)
include(CPack)

if(HAPAX_TESTS AND NOT HAPAX_SANITIZE AND NOT HAPAX_DEBUG AND NOT HAPAX_COVERAGE AND NOT CMAKE_CROSSCOMPILING)
	add_test(NAME install.packages COMMAND ${PROJECT_SOURCE_DIR}/tests/install/packages.sh ${PROJECT_SOURCE_DIR}
		${PROJECT_BINARY_DIR})
	set_tests_properties(install.packages PROPERTIES LABELS install TIMEOUT 120 SKIP_RETURN_CODE 77)
	add_test(NAME abi COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/abi/check.py ${PROJECT_SOURCE_DIR}
		$<TARGET_FILE:hapax>)
	set_tests_properties(abi PROPERTIES LABELS lint TIMEOUT 60 SKIP_RETURN_CODE 77)
endif()
