#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Reports files that clang-format would change; what it says is advice, tables and pictures are aligned by hand.
set -u
cd "$(dirname "$0")/.." || exit 2
format=$(command -v clang-format-19 || command -v clang-format) || { echo "no clang-format here"; exit 77; }
git ls-files '*.c' '*.h' '*.cpp' '*.hpp' | xargs "$format" --dry-run -Werror
