#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fault_rows.py ROOT: every public function has a row in the fault sweep (tests/fault/sweep_*.c), and no row names
something that is not public. Wrappers that are inline in headers call public functions. hapax/testing.h is no part of
the shipped library: its functions may have rows and need none."""
import pathlib
import re
import sys


def functions(header):
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    return set(re.findall(r"HAPAX_API\b[^;{]*?\b(hapax_\w+)\s*\(", text))


def main():
    root = pathlib.Path(sys.argv[1])
    public, optional = set(), set()
    for header in sorted((root / "include/hapax").glob("*.h")):
        (optional if header.name == "testing.h" else public).update(functions(header))
    rows = set()
    for source in sorted((root / "tests/fault").glob("sweep_*.c")):
        rows.update(re.findall(r"^SWEEP\((\w+),", source.read_text(), flags=re.M))
    if len(public) < 50:
        sys.exit(f"only {len(public)} public functions were found: this script no longer understands the headers")
    failed = False
    for name in sorted(public - rows):
        print(f"{name}: no row in tests/fault/sweep_*.c")
        failed = True
    for name in sorted(rows - public - optional):
        print(f"{name}: has a row, and is not declared in include/hapax")
        failed = True
    print(f"{len(public)} public functions, {len(rows)} functions in rows")
    sys.exit(failed)


main()
