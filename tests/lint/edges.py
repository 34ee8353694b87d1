#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""edges.py SOURCE: ordering edges named in the code have both ends there, and are listed in docs/concurrency.md.

In code an edge is named in a comment at each of its ends:
    order: TABLE.PUBLISH -> release; ...          its releasing end
    order: -> TABLE.PUBLISH acquire               its acquiring end
    order: FLIGHT.SLEEP seq_cst; store-load against FLIGHT.WAKE     one of two that meet
A name that is only ever used with "relaxed" is a site, not an edge, and need not be listed.
In docs/concurrency.md an edge is a table row that begins with its name in backquotes. In stress/model/litmus_rows.h it has
a litmus test, with the operations at its ends; they must be those near its comments, one releasing and one acquiring
place at least. And at every place that a comment calls releasing or acquiring an operation of that strength is near.

`edges.py SOURCE --list` prints the names with their places, `--unnamed` atomic operations without a comment nearby.
"""
import collections
import pathlib
import re
import sys

NAME = r"[A-Z][A-Z0-9]*(?:\.[A-Z][A-Z0-9_]*)+"
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
OPERATION = re.compile(
    r"\bhpx_(load|store|exchange|add|sub|or|and|cas)_(relaxed|acquire|release|acq_rel|seq_cst)\(")
ROW = re.compile(r"^(EDGE|PAIR|DROP)\((%s), ([^)]*)\)" % NAME, re.M)
WITH = {"release": {"release", "acq_rel", "seq_cst"}, "acquire": {"acquire", "acq_rel", "seq_cst"}}
NEAR = 8  # lines between a comment and the operation it is about

source = pathlib.Path(sys.argv[1])
ends = collections.defaultdict(lambda: collections.defaultdict(list))
unnamed = []
operations = 0


def note(part, where):
    """One `order:` statement: which names it has, and which ends of them."""
    head = part.split(";")[0]
    rest = part[len(head):]
    for name in re.findall(NAME, part):
        ends[name]["named"].append(where)
    for name in re.findall(rf"({NAME})\s*->", head):
        ends[name]["from"].append(where)
        if re.search(r"\b(acq_rel|seq_cst)\b|\bacquire\b", part):
            ends[name]["to"].append(where)
    for group in re.findall(rf"->\s*((?:{NAME}(?:\s*(?:,|and)\s*)?)+)", part):
        for name in re.findall(NAME, group):
            ends[name]["to"].append(where)
    first = re.match(rf"\s*((?:{NAME}(?:\s*(?:,|and)\s*)?)+)([^;]*)", head)
    if first and "->" not in head:
        for name in re.findall(NAME, first.group(1)):
            words = set(re.findall(r"\w+", first.group(2)))
            if words & {"release", "acq_rel", "seq_cst"}:
                ends[name]["from"].append(where)
            if words & {"acquire", "acq_rel", "seq_cst"}:
                ends[name]["to"].append(where)
    for name in re.findall(rf"against ({NAME})", rest):
        ends[name]["meets"].append(where)


for path in sorted([*source.glob("lib/**/*.[ch]"), *source.glob("include/hapax/*.h")]):
    text = path.read_text()
    if path.name == "atomic.h":  # it defines the operations and its head shows the dialect
        continue
    named_lines = set()
    for comment in COMMENT.finditer(text):
        line = text.count("\n", 0, comment.start()) + 1
        last = text.count("\n", 0, comment.end()) + 1
        if "order:" in comment.group(0):
            named_lines.update(range(line, last + NEAR + 1))
        for part in re.split(r"order:", comment.group(0))[1:]:
            note(re.sub(r"\s*\n\s*\*?\s*", " ", part), f"{path.relative_to(source)}:{line}")
    for number, line in enumerate(text.splitlines(), 1):
        if OPERATION.search(line):
            operations += 1
            if number not in named_lines:
                unnamed.append(f"{path.relative_to(source)}:{number}: {line.strip()}")

if sys.argv[2:] == ["--list"]:
    for name in sorted(ends):
        print(name)
        for end, places in ends[name].items():
            print(f"    {end}: {' '.join(sorted(set(places)))}")
    sys.exit(0)
if sys.argv[2:] == ["--unnamed"]:
    print("\n".join(unnamed))
    sys.exit(0)



def operations_near(place):
    """The operations a comment is about: those before it on its line, or the next ones, of a line or two."""
    path, line = place.rsplit(":", 1)
    lines = (source / path).read_text().splitlines()
    at = int(line) - 1
    before = OPERATION.findall(lines[at].split("/*")[0])
    found = list(before)
    at += not before
    while not before and at < len(lines) and at < int(line) + NEAR:
        if found and "order:" in lines[at].split("*/")[0] and not lines[at].split("/*")[0].strip():
            break  # the next comment's
        found += OPERATION.findall(lines[at])
        at += 1
    return found


document = source / "docs" / "concurrency.md"
listed = set(re.findall(rf"^\|\s*`({NAME})`", document.read_text(), re.M))
edges = {name for name, places in ends.items() if places["from"] or places["to"] or places["meets"]}
bad = []
for name in sorted(edges):
    places = ends[name]
    if places["from"] and not places["to"]:
        bad.append(f"{places['from'][0]}: {name} is released and nowhere acquired")
    if places["to"] and not places["from"]:
        bad.append(f"{places['to'][0]}: {name} is acquired and nowhere released")
    if places["meets"] and not (places["from"] or places["to"]):
        bad.append(f"{places['meets'][0]}: {name} is met and nowhere done")
    if name not in listed:
        bad.append(f"{(places['named'] or places['meets'])[0]}: {name} is not listed in docs/concurrency.md")
    for end, half in (("from", "release"), ("to", "acquire")):
        for place in sorted(set(places[end])):
            near = operations_near(place)
            if near and not any(order in WITH[half] for _, order in near):
                bad.append(f"{place}: {name}: no operation near has {half} order")

rows = collections.defaultdict(list)
for kind, name, rest in ROW.findall((source / "stress" / "model" / "litmus_rows.h").read_text()):
    fields = [field.strip() for field in rest.split(",")]
    rows[name].append(name + fields[0])
    if name not in edges:
        bad.append(f"litmus_rows.h: {name} is not an edge")
        continue
    if kind == "DROP":
        pairs = [("from", fields[1]), ("to", fields[1])]
    elif kind == "PAIR":
        pairs = [("from", fields[1]), ("to", fields[2]), ("from", fields[3]), ("to", fields[4])]
    else:
        pairs = [("from", fields[2]), ("to", fields[3])]
    for end, wanted in pairs:
        near = {f"{what}_{order}" for place in set(ends[name][end]) for what, order in operations_near(place)}
        if near and wanted not in near:  # none: a port to other code, or only told about here
            bad.append(f"litmus_rows.h: {name}{fields[0]}: no {'releasing' if end == 'from' else 'acquiring'} place has "
                       f"hpx_{wanted}, but {', '.join(sorted(near))}")
for name in sorted(edges - set(rows)):
    bad.append(f"stress/model/litmus_rows.h: {name} has no litmus test")
for name in sorted(listed - set(ends)):
    bad.append(f"docs/concurrency.md: {name} is not in the code")
print("\n".join(bad) or f"{len(edges)} edges have both ends, are listed and have litmus tests; "
      f"{operations - len(unnamed)} of {operations} atomic operations have their comment within {NEAR} lines")
sys.exit(1 if bad else 0)
