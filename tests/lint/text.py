#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""text.py SOURCE: licence lines, tests named in docs/guarantees.md exist."""
import pathlib
import re
import sys

source = pathlib.Path(sys.argv[1])
bad = []

SUFFIXES = {".c", ".h", ".cpp", ".hpp", ".py", ".sh", ".cmake", ".map"}
count = 0
for path in sorted(source.rglob("*")):
    parts = path.relative_to(source).parts
    if not path.is_file() or parts[0] in ("build", ".git"):
        continue
    if path.suffix in SUFFIXES or path.name in ("Makefile", "CMakeLists.txt"):
        count += 1
        head = path.read_text(errors="replace").splitlines()[:3]
        if not any("SPDX-License-Identifier: LGPL-2.1-or-later" in line for line in head):
            bad.append(f"{path.relative_to(source)}: no SPDX line")

tests = "\n".join(
    path.read_text(errors="replace")
    for path in [*source.glob("tests/**/*.c"), *source.glob("tests/**/*.sh"), *source.glob("tests/**/*.py"),
                 *source.glob("stress/**/*.c"), *source.glob("cmake/*.cmake")]
)
guarantees = source / "docs" / "guarantees.md"
if guarantees.exists():
    for name in sorted(set(re.findall(r"`([a-z]+\.[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)?)`", guarantees.read_text()))):
        last = name.split(".")[-1]
        if last in ("md", "c", "h", "sh", "py", "map"):
            if not list(source.rglob(name)):
                bad.append(f"docs/guarantees.md: no file {name}")
        elif last not in tests and not list(source.glob(f"tests/*/{last}.c")):
            bad.append(f"docs/guarantees.md: no test {name}")

print("\n".join(bad) or f"{count} files carry their licence, the tests of docs/guarantees.md exist")
sys.exit(1 if bad else 0)
