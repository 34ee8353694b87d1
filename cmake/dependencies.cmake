# SPDX-License-Identifier: LGPL-2.1-or-later
# What the library links: liburcu (bp flavour) and ConcurrencyKit. xxHash is used as a header.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(URCU REQUIRED liburcu-bp)
pkg_check_modules(CK REQUIRED ck)
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)

# Probes for tracers (docs/probes.md): one header of systemtap, nothing at run time.
include(CheckIncludeFile)
option(HAPAX_PROBES "USDT probes, if sys/sdt.h is there" ON)
check_include_file(sys/sdt.h HAPAX_HAVE_SDT)
