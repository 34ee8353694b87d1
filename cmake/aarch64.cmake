# SPDX-License-Identifier: LGPL-2.1-or-later
# Toolchain: aarch64, cross compiled against the sysroot that scripts/aarch64-sysroot.sh unpacked, run by qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(HAPAX_LD aarch64-linux-gnu-ld.bfd CACHE STRING "")

set(HAPAX_SYSROOT "$ENV{HAPAX_SYSROOT}" CACHE PATH "Root of the unpacked packages")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HAPAX_SYSROOT)
set(CMAKE_SYSROOT ${HAPAX_SYSROOT})
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${HAPAX_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${HAPAX_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${HAPAX_SYSROOT}/usr/share/pkgconfig)

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;${HAPAX_SYSROOT})
