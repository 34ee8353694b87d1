# SPDX-License-Identifier: LGPL-2.1-or-later
# Peers in other languages (stress/peers/README.md): target hapax-peers puts the programs that can be built here into
# ${PROJECT_BINARY_DIR}/peers, where hapax-stress bench looks for them when it runs. Nothing else needs or builds them.
set(HAPAX_PEERS ${PROJECT_BINARY_DIR}/peers)
set_source_files_properties(${PROJECT_SOURCE_DIR}/stress/bench/foreign.cpp PROPERTIES COMPILE_DEFINITIONS HAPAX_PEERS="${HAPAX_PEERS}")
add_custom_target(hapax-peers)
file(MAKE_DIRECTORY ${HAPAX_PEERS})

# dashmap, from the sources that Debian ships; Debian's own compiler fits them, a newer one may be first in PATH.
set(HAPAX_CRATES /usr/share/cargo/registry CACHE PATH "Where the sources of crates are, as Debian installs them")
find_program(HAPAX_CARGO cargo PATHS /usr/bin NO_DEFAULT_PATH)
find_program(HAPAX_CARGO cargo)
find_program(HAPAX_RUSTC rustc PATHS /usr/bin NO_DEFAULT_PATH)
find_program(HAPAX_RUSTC rustc)
file(GLOB hapax_dashmap_crate ${HAPAX_CRATES}/dashmap-5*)
if(HAPAX_CARGO AND HAPAX_RUSTC AND hapax_dashmap_crate)
	set(crate ${PROJECT_BINARY_DIR}/peer-dashmap) # cargo writes beside the sources
	set(from ${PROJECT_SOURCE_DIR}/stress/peers/dashmap)
	foreach(file Cargo.toml build.rs src/main.rs src/work.rs)
		configure_file(${from}/${file} ${crate}/${file} COPYONLY)
		list(APPEND hapax_dashmap_sources ${crate}/${file})
	endforeach()
	configure_file(${from}/config.toml.in ${crate}/.cargo/config.toml @ONLY)
	add_custom_command(OUTPUT ${HAPAX_PEERS}/dashmap
		COMMAND ${CMAKE_COMMAND} -E env RUSTC=${HAPAX_RUSTC} ${HAPAX_CARGO} build --release --offline --quiet
			--target-dir ${crate}/target
		COMMAND ${CMAKE_COMMAND} -E copy ${crate}/target/release/hapax-peer-dashmap ${HAPAX_PEERS}/dashmap
		WORKING_DIRECTORY ${crate} DEPENDS ${hapax_dashmap_sources} COMMENT "Building the peer dashmap" VERBATIM)
	add_custom_target(hapax-peer-dashmap DEPENDS ${HAPAX_PEERS}/dashmap)
	add_dependencies(hapax-peers hapax-peer-dashmap)
endif()

# Caffeine and Guava
find_program(HAPAX_JAVA java)
find_program(HAPAX_JAVAC javac)
find_file(HAPAX_CAFFEINE_JAR caffeine.jar PATHS /usr/share/java)
find_file(HAPAX_GUAVA_JAR guava.jar PATHS /usr/share/java)
if(HAPAX_JAVA AND HAPAX_JAVAC)
	foreach(peer caffeine guava)
		string(TOUPPER ${peer} upper)
		set(jar ${HAPAX_${upper}_JAR})
		if(NOT jar)
			continue()
		endif()
		if(peer STREQUAL caffeine)
			set(subject CaffeineSubject)
		else()
			set(subject GuavaSubject)
		endif()
		set(classes ${PROJECT_BINARY_DIR}/peer-${peer})
		set(sources)
		foreach(class Peer Field Work Payload Subject ${subject})
			list(APPEND sources ${PROJECT_SOURCE_DIR}/stress/peers/jvm/${class}.java)
		endforeach()
		set(classpath ${classes}:${jar})
		configure_file(${PROJECT_SOURCE_DIR}/stress/peers/jvm/launch.sh.in ${classes}/${peer} @ONLY)
		add_custom_command(OUTPUT ${HAPAX_PEERS}/${peer}
			COMMAND ${HAPAX_JAVAC} -Xlint:all,-classfile -d ${classes} -cp ${jar} ${sources}
			COMMAND ${CMAKE_COMMAND} -E copy ${classes}/${peer} ${HAPAX_PEERS}/${peer}
			COMMAND chmod +x ${HAPAX_PEERS}/${peer}
			DEPENDS ${sources} ${classes}/${peer} COMMENT "Building the peer ${peer}" VERBATIM)
		add_custom_target(hapax-peer-${peer} DEPENDS ${HAPAX_PEERS}/${peer})
		add_dependencies(hapax-peers hapax-peer-${peer})
	endforeach()
endif()
