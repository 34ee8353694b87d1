#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""edges.py SOURCE: ordering edges named in the code have both ends there, and are listed in docs/concurrency.md.

In code an edge is named in a comment:
    order: TABLE.PUBLISH -> release; ...          its releasing end
    order: -> TABLE.PUBLISH acquire               its acquiring end
    order: FLIGHT.SLEEP seq_cst; store-load against FLIGHT.WAKE     one of two that meet
In docs/concurrency.md an edge is a table row that begins with its name in backquotes.
`edges.py SOURCE --list` prints the edges with their places.
"""
import collections
import pathlib
import re
import sys

NAME = r"[A-Z][A-Z0-9]*(?:\.[A-Z][A-Z0-9_]*)+"
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)

source = pathlib.Path(sys.argv[1])
ends = collections.defaultdict(lambda: collections.defaultdict(list))
for path in sorted([*source.glob("lib/**/*.[ch]"), *source.glob("include/hapax/*.h")]):
    text = path.read_text()
    if path.name == "atomic.h":  # its head shows the dialect
        continue
    for comment in COMMENT.finditer(text):
        for part in re.split(r"order:", comment.group(0))[1:]:
            line = text.count("\n", 0, comment.start()) + 1
            where = f"{path.relative_to(source)}:{line}"
            part = re.sub(r"\s*\n\s*\*?\s*", " ", part)
            for name in re.findall(rf"({NAME})\s*->", part):
                ends[name]["from"].append(where)
            for group in re.findall(rf"->\s*((?:{NAME}(?:,\s*|\s+and\s+)?)+)", part):
                for name in re.findall(NAME, group):
                    ends[name]["to"].append(where)
            for name in re.findall(NAME, part):
                ends[name]["named"].append(where)

if sys.argv[2:] == ["--list"]:
    for name in sorted(ends):
        print(name)
        for end, places in ends[name].items():
            print(f"    {end}: {' '.join(sorted(set(places)))}")
    sys.exit(0)

document = source / "docs" / "concurrency.md"
listed = set(re.findall(rf"^\|\s*`({NAME})`", document.read_text(), re.M)) if document.exists() else set()
bad = []
for name, places in sorted(ends.items()):
    first = places["named"][0] if places["named"] else (places["from"] + places["to"])[0]
    if places["from"] and not places["to"]:
        bad.append(f"{first}: {name} is released and nowhere acquired")
    if places["to"] and not places["from"]:
        bad.append(f"{first}: {name} is acquired and nowhere released")
    if name not in listed:
        bad.append(f"{first}: {name} is not listed in docs/concurrency.md")
for name in sorted(listed - set(ends)):
    bad.append(f"docs/concurrency.md: {name} is not in the code")
print("\n".join(bad) or f"{len(ends)} edges have their ends and are listed")
sys.exit(1 if bad else 0)
