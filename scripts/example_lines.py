#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""example_lines.py [--check]: the size of each example under docs/examples beside its Python original, in lines that
are neither blank nor comment. Counted is what is between a comment `---- system` and the next `---- story`: what
somebody writes who wants the system, without what shows that it works.
--check: docs/examples/README.md has this very table."""
import pathlib
import re
import sys

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "docs" / "examples"


def parts(path):
    """[(title, lines)], a part for each `---- system`."""
    text, found, inside = path.read_text(), [], False
    # comments become blank, but for the marks
    marks = r"---- (system|story)(?:: (.*?))?(?: -+)?(?: \*/)?$"
    if path.suffix == ".c":
        text = re.sub(r"/\*.*?\*/",
                      lambda m: m[0] if re.match(r"/\* " + marks, m[0]) else "\n" * m[0].count("\n"), text, flags=re.S)
    else:
        text = re.sub(r'^\s*""".*?"""$', "", text, flags=re.M | re.S)
    for line in text.splitlines():
        mark = re.match(r"(?:/\*|#) " + marks, line)
        if mark:
            inside = mark[1] == "system"
            if inside:
                found.append([mark[2] or "", 0])
        elif inside and line.strip() and not (path.suffix == ".py" and line.lstrip().startswith("#")):
            found[-1][1] += 1
    return found


def main():
    rows = ["| example | lines in C | in Python |", "|---|---:|---:|"]
    for original in sorted((EXAMPLES / "python").glob("*.py")):
        example = EXAMPLES / (original.stem + ".c")
        c, python = parts(example), parts(original)
        if not c or not python:
            sys.exit(f"{original.stem}: no part is marked `---- system`")
        rows.append(f"| [{example.name}]({example.name}) | {sum(n for _, n in c)} | {sum(n for _, n in python)} |")
        if len(c) + len(python) > 2:
            theirs = dict(map(tuple, python))
            for title, n in c:
                rows.append(f"| &nbsp; {title} | {n} | {theirs.pop(title, '')} |")
            rows += [f"| &nbsp; {title} | | {n} |" for title, n in theirs.items()]
    table = "\n".join(rows)
    if "--check" not in sys.argv:
        print(table)
    elif table not in (EXAMPLES / "README.md").read_text():
        sys.exit(f"docs/examples/README.md does not have this table:\n{table}")
    else:
        print("docs/examples/README.md has the figures")


main()
