#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""layers.py SOURCE: a layer includes itself and lower ones; liburcu and ConcurrencyKit each have one door."""
import pathlib
import re
import sys

LOWER = {
    "base": [],
    "reclaim": ["base"],
    "object": ["base", "reclaim"],
    "table": ["base", "reclaim", "object"],
    "flight": ["base", "reclaim", "object"],
    "policy": ["base"],
    "expiry": ["base"],
    "cache": ["base", "reclaim", "object", "table", "flight", "policy", "expiry"],
    "memo": ["base", "reclaim", "object", "table", "flight", "policy", "expiry", "cache"],
    "observe": ["base", "reclaim", "object", "table", "flight", "policy", "expiry", "cache", "memo"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^">]+)[">]')

source = pathlib.Path(sys.argv[1])
bad = []
files = sorted(source.glob("lib/**/*.[ch]"))
for path in files:
    layer = path.relative_to(source / "lib").parts[0]
    if layer not in LOWER:
        bad.append(f"{path}: unknown layer {layer}")
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        where = f"{path.relative_to(source)}:{number}"
        quote, name = match.groups()
        if name == "../../stress/broken/switches.h" and path.name == "broken.h":
            continue  # broken builds only
        first = name.split("/")[0]
        if quote == '"' and "/" in name and first != layer and first not in LOWER[layer]:
            bad.append(f"{where}: {layer} may not include {name}")
        if quote == '"' and "/" not in name and not (path.parent / name).exists():
            bad.append(f"{where}: {name} is not in this layer")
        if first.startswith("urcu") and not (
            layer == "reclaim" and (path.suffix == ".c" or path.name == "section.h")
        ):
            bad.append(f"{where}: only reclaim/section.h and reclaim/*.c include liburcu")
        if first.startswith("ck_") and path.name != "ck_port.h":
            bad.append(f"{where}: only base/ck_port.h includes ConcurrencyKit")
for path in sorted(source.glob("include/hapax/*.h")):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if match and not re.match(r"(hapax/\w+|std\w+|string)\.h$", match.group(2)):
            bad.append(f"{path.relative_to(source)}:{number}: a public header includes {match.group(2)}")
print("\n".join(bad) or f"{len(files)} files keep their layers")
sys.exit(1 if bad else 0)
