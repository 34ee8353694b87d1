# SPDX-License-Identifier: LGPL-2.1-or-later
# After a test program has been built: asks it for its tests and writes them down for CTest. EMULATOR: what runs it.
string(REPLACE "|" ";" EMULATOR "${EMULATOR}")
set(prefix)
foreach(word IN LISTS EMULATOR)
	string(APPEND prefix "[==[${word}]==] ")
endforeach()
execute_process(COMMAND ${EMULATOR} ${PROGRAM} --list OUTPUT_VARIABLE names RESULT_VARIABLE status)
if(NOT status EQUAL 0)
	message(FATAL_ERROR "${PROGRAM} --list failed: ${status}")
endif()
string(REPLACE "\n" ";" names "${names}")
string(REPLACE "|" ";" ENVIRONMENT "${ENVIRONMENT}")
set(text "# written by discover.cmake\n")
foreach(name IN LISTS names)
	if(name)
		string(APPEND text "add_test([==[${PREFIX}.${name}]==] ${prefix}[==[${PROGRAM}]==] ${name})\n"
			"set_tests_properties([==[${PREFIX}.${name}]==] PROPERTIES LABELS ${LABEL} SKIP_RETURN_CODE 77 "
			"TIMEOUT 300 ENVIRONMENT [==[${ENVIRONMENT}]==])\n")
	endif()
endforeach()
file(WRITE ${OUTPUT} "${text}")
