#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""coverage.py SOURCE WORK [--check LINES BRANCHES]: the table of coverage.sh from what llvm-cov and llvm-dwarfdump wrote.

A line counts where the compiler made code for it, and a branch on such a line: what a switch of base/broken.h or an
assertion leaves out of the shipped library is no part of it. Of an expression with such a switch the operands that are
never evaluated do not count either.
"""
import argparse
import collections
import json
import os
import re

EXPANSION = 1  # among the kinds of regions


def code_lines(path, root):
    """{file: lines with code}, from the line tables."""
    lines = collections.defaultdict(set)
    directories, files, number, name = {}, {}, None, None
    for text in open(path):
        if text.startswith("debug_line["):
            directories, files = {}, {}
        elif match := re.match(r'include_directories\[ *(\d+)\] = "(.*)"', text):
            directories[int(match[1])] = match[2]
        elif match := re.match(r"file_names\[ *(\d+)\]:", text):
            number = int(match[1])
        elif match := re.match(r' +name: "(.*)"', text):
            name = match[1]
        elif match := re.match(r" +dir_index: (\d+)", text):
            whole = os.path.normpath(os.path.join(directories[0], directories[int(match[1])], name))
            files[number] = os.path.relpath(whole, root)
        elif match := re.match(r"0x[0-9a-f]+ +(\d+) +(\d+) +(\d+) ", text):
            if int(match[1]) and "end_sequence" not in text:
                lines[files[int(match[3])]].add(int(match[1]))
    return lines


def counted_lines(path, root):
    """{file: {line: times}}"""
    counts, now = {}, None
    for text in open(path):
        if text.startswith("SF:"):
            now = counts.setdefault(os.path.relpath(text[3:].strip(), root), {})
        elif text.startswith("DA:"):
            line, times = text[3:].split(",")[:2]
            now[int(line)] = now.get(int(line), 0) + int(times)
    return counts


def counted_branches(path, root):
    """{file: {(line, column, inside): [times true, times false]}}: a branch that a macro brought is at each place that
    uses the macro, `inside` tells it from others there. A header's are those of all who include it."""
    branches = collections.defaultdict(dict)
    for function in json.load(open(path))["data"][0]["functions"]:
        places = {region[6]: (region[5], region[0], region[1]) for region in function["regions"] if region[7] == EXPANSION}
        for line, column, _, _, true, false, file, *_ in function["branches"]:
            inside = ()
            while file in places:
                inside += (line, column)
                file, line, column = places[file]
            name = os.path.relpath(function["filenames"][file], root)
            both = branches[name].setdefault((line, column, inside), [0, 0])
            both[0] += true
            both[1] += false
    return branches


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("work")
    parser.add_argument("--check", nargs=2, type=float, metavar=("LINES", "BRANCHES"))
    args = parser.parse_args()
    root = os.path.realpath(args.source)

    code = code_lines(os.path.join(args.work, "code-lines.txt"), root)
    lines = counted_lines(os.path.join(args.work, "counts.lcov"), root)
    branches = counted_branches(os.path.join(args.work, "counts.text"), root)
    names = sorted(name for name in lines if name.startswith("lib/"))
    if not names:
        raise SystemExit("coverage: nothing of lib/ was counted")
    total = [0, 0, 0, 0]
    missing = open(os.path.join(args.work, "uncovered.txt"), "w")
    print(f"{'file':<26} {'lines':>7} {'run':>6} {'%':>6}   {'branches':>8} {'run':>6} {'%':>6}")
    for name in names:
        text = open(os.path.join(root, name)).read().split("\n")
        own = {line: times for line, times in lines[name].items() if line in code[name]}
        sides = {at: both for at, both in branches[name].items()
                 if at[0] in code[name] and not (not any(both) and "HPX_BROKEN(" in text[at[0] - 1])}
        row = [len(own), sum(1 for times in own.values() if times),
               2 * len(sides), sum(bool(side) for both in sides.values() for side in both)]
        total = [a + b for a, b in zip(total, row)]
        if row[0]:
            print(f"{name:<26} {row[0]:7} {row[1]:6} {percent(row[1], row[0]):6.1f}   "
                  f"{row[2]:8} {row[3]:6} {percent(row[3], row[2]):6.1f}")
        for line in sorted(set(own) | {at[0] for at in sides}):
            if own.get(line) == 0:
                missing.write(f"{name}:{line}: line: {text[line - 1].strip()}\n")
            else:
                for at, both in sorted(sides.items()):
                    if at[0] == line and not all(both):
                        never = "never evaluated" if not any(both) else "never true" if both[1] else "never false"
                        missing.write(f"{name}:{line}:{at[1]}: {never}: {text[line - 1].strip()}\n")
    missing.close()
    reached = percent(total[1], total[0]), percent(total[3], total[2])
    print(f"{'all of lib/':<26} {total[0]:7} {total[1]:6} {reached[0]:6.1f}   "
          f"{total[2]:8} {total[3]:6} {reached[1]:6.1f}")
    print(f"what is not run: {missing.name}")
    if args.check and (reached[0] < args.check[0] or reached[1] < args.check[1]):
        raise SystemExit(f"coverage: below {args.check[0]:g} % of the lines and {args.check[1]:g} % of the branches")


if __name__ == "__main__":
    main()
