# SPDX-License-Identifier: LGPL-2.1-or-later
# hapax-stress: the demo, torture and benchmarks in one program. Peers it measures against are optional.
file(GLOB_RECURSE HAPAX_STRESS_SOURCES CONFIGURE_DEPENDS
	${PROJECT_SOURCE_DIR}/stress/*.c ${PROJECT_SOURCE_DIR}/stress/*.cpp)
list(FILTER HAPAX_STRESS_SOURCES EXCLUDE REGEX "/stress/(model|lines)/") # other kinds of build
if(NOT HAPAX_STRESS_SOURCES)
	return()
endif()
pkg_check_modules(STRESS sqlite3 libcrypto libzstd json-c)
if(NOT STRESS_FOUND)
	message(STATUS "hapax-stress is not built: sqlite3, libcrypto, libzstd or json-c is missing")
	return()
endif()

if(HAPAX_STRESS)
	add_executable(hapax-stress ${HAPAX_STRESS_SOURCES})
else()
	add_executable(hapax-stress EXCLUDE_FROM_ALL ${HAPAX_STRESS_SOURCES})
endif()
target_compile_definitions(hapax-stress PRIVATE _GNU_SOURCE)
# each peer's templates in each workload: full debugging information is a third of what compiling them takes
file(GLOB bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/stress/bench/*.cpp)
set_source_files_properties(${bench_sources} PROPERTIES COMPILE_OPTIONS -g1)
include(cmake/model.cmake)
target_sources(hapax-stress PRIVATE ${HAPAX_MODEL_OBJECT})
target_include_directories(hapax-stress PRIVATE ${PROJECT_SOURCE_DIR}/stress)
target_include_directories(hapax-stress SYSTEM PRIVATE ${STRESS_INCLUDE_DIRS} ${URCU_INCLUDE_DIRS} ${CK_INCLUDE_DIRS})
target_link_libraries(hapax-stress PRIVATE hapax_warnings hapax_build hapax_static ${STRESS_LINK_LIBRARIES}
	Threads::Threads m)

# torture: what is unwound by cancellation; the shared library to open and close, and another flavour of liburcu beside hapax's
add_dependencies(hapax-stress hapax)
set_source_files_properties(${PROJECT_SOURCE_DIR}/stress/torture/cancel.c PROPERTIES COMPILE_OPTIONS -fexceptions)
pkg_check_modules(URCU_MEMB liburcu-memb)
if(URCU_MEMB_FOUND)
	target_compile_definitions(hapax-stress PRIVATE HAVE_URCU_MEMB)
	target_link_libraries(hapax-stress PRIVATE ${URCU_MEMB_LINK_LIBRARIES})
endif()

# The torture alone, for the presets with sanitizers and for coverage.
if(HAPAX_SANITIZE OR HAPAX_COVERAGE)
	file(GLOB torture_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/stress/torture/*.c
		${PROJECT_SOURCE_DIR}/stress/harness/*.c)
	add_executable(hapax-torture ${torture_sources})
	target_compile_definitions(hapax-torture PRIVATE _GNU_SOURCE HPX_TORTURE_ALONE)
	target_include_directories(hapax-torture PRIVATE ${PROJECT_SOURCE_DIR}/stress)
	target_include_directories(hapax-torture SYSTEM PRIVATE ${STRESS_INCLUDE_DIRS} ${URCU_INCLUDE_DIRS})
	target_link_libraries(hapax-torture PRIVATE hapax_warnings hapax_build
		$<IF:$<BOOL:${HAPAX_COVERAGE}>,hapax_testing,hapax_static> ${STRESS_LINK_LIBRARIES}
		Threads::Threads m)
	if(URCU_MEMB_FOUND)
		target_compile_definitions(hapax-torture PRIVATE HAVE_URCU_MEMB)
		target_link_libraries(hapax-torture PRIVATE ${URCU_MEMB_LINK_LIBRARIES})
	endif()
endif()

option(HAPAX_BENCH_PEERS "Benchmarks compare with the libraries that are installed" ON)
if(NOT HAPAX_BENCH_PEERS)
	return()
endif()
include(cmake/peers.cmake)

pkg_check_modules(TBB tbb)
if(TBB_FOUND)
	target_compile_definitions(hapax-stress PRIVATE HAVE_TBB)
	target_include_directories(hapax-stress SYSTEM PRIVATE ${TBB_INCLUDE_DIRS})
	target_link_libraries(hapax-stress PRIVATE ${TBB_LINK_LIBRARIES})
endif()

pkg_check_modules(GOBJECT gobject-2.0)
if(GOBJECT_FOUND)
	target_compile_definitions(hapax-stress PRIVATE HAVE_GOBJECT)
	target_include_directories(hapax-stress SYSTEM PRIVATE ${GOBJECT_INCLUDE_DIRS})
	target_link_libraries(hapax-stress PRIVATE ${GOBJECT_LINK_LIBRARIES})
endif()

# Peers of the benchmarks, as far as they are installed.
pkg_check_modules(GLIB glib-2.0)
if(GLIB_FOUND)
	target_compile_definitions(hapax-stress PRIVATE HAVE_GLIB)
	target_include_directories(hapax-stress SYSTEM PRIVATE ${GLIB_INCLUDE_DIRS})
	target_link_libraries(hapax-stress PRIVATE ${GLIB_LINK_LIBRARIES})
endif()
pkg_check_modules(URCU_CDS liburcu-cds)
if(URCU_CDS_FOUND AND URCU_MEMB_FOUND)
	target_compile_definitions(hapax-stress PRIVATE HAVE_LFHT LIBURCU_VERSION="${URCU_CDS_VERSION}")
	target_link_libraries(hapax-stress PRIVATE ${URCU_CDS_LINK_LIBRARIES})
endif()
find_path(LIBCUCKOO_INCLUDE_DIR libcuckoo/cuckoohash_map.hh)
if(LIBCUCKOO_INCLUDE_DIR)
	target_compile_definitions(hapax-stress PRIVATE HAVE_LIBCUCKOO)
	target_include_directories(hapax-stress SYSTEM PRIVATE ${LIBCUCKOO_INCLUDE_DIR})
endif()
find_path(BOOST_FLYWEIGHT_INCLUDE_DIR boost/flyweight.hpp)
if(BOOST_FLYWEIGHT_INCLUDE_DIR)
	target_compile_definitions(hapax-stress PRIVATE HAVE_BOOST_FLYWEIGHT)
	target_include_directories(hapax-stress SYSTEM PRIVATE ${BOOST_FLYWEIGHT_INCLUDE_DIR})
endif()
