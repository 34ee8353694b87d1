# SPDX-License-Identifier: LGPL-2.1-or-later
# Toolchain: the newest clang that is there.
find_program(HAPAX_CLANG NAMES clang-19 clang REQUIRED)
find_program(HAPAX_CLANGXX NAMES clang++-19 clang++ REQUIRED)
set(CMAKE_C_COMPILER ${HAPAX_CLANG})
set(CMAKE_CXX_COMPILER ${HAPAX_CLANGXX})
