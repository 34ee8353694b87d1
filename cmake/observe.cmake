# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests that read what the library says of itself: JSON.
pkg_check_modules(JSONC REQUIRED json-c)
foreach(name observe_metrics observe_segment observe_flights observe_keys)
	target_include_directories(unit_${name} SYSTEM PRIVATE ${JSONC_INCLUDE_DIRS})
	target_link_libraries(unit_${name} PRIVATE ${JSONC_LINK_LIBRARIES})
endforeach()
