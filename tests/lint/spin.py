#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""spin.py ROOT: what a Spin model says it mirrors is there: "mirrors f() [and g()] ... in lib/x/y.c" names functions that
the file defines; and every switch of a model has a run in stress/spin/run.py."""
import os, re, sys

root = sys.argv[1]
spin = os.path.join(root, "stress", "spin")
failed, named = 0, 0


def wrong(text):
    global failed
    failed += 1
    print(text)


runner = open(os.path.join(spin, "run.py")).read()
for name in sorted(os.listdir(spin)):
    if not name.endswith(".pml"):
        continue
    text = open(os.path.join(spin, name)).read()
    before = named
    for comment in re.findall(r"/\*(.*?)\*/", text, re.S):
        if not re.search(r"\bmirrors\b", comment, re.I):
            continue
        functions, last = [], None
        for token in re.findall(r"\b\w+\(\)|\blib/[\w/]+\.[ch]\b|\bthere\b", comment):
            if token.endswith("()"):
                functions.append(token[:-2])
                continue
            if token != "there":
                last = token
            if last is None:
                wrong("%s: 'there' without a file: %s" % (name, " ".join(comment.split())))
                continue
            path = os.path.join(root, last)
            source = open(path).read() if os.path.exists(path) else ""
            for function in functions:
                named += 1
                if not re.search(r"^[A-Za-z_].*\b%s\([^;]*$" % function, source, re.M):
                    wrong("%s: %s() is not defined in %s" % (name, function, last))
            functions = []
        if functions:
            wrong("%s: no file for %s" % (name, ", ".join(functions)))
    if named == before:
        wrong("%s: mirrors nothing" % name)
    block = runner[runner.index('"%s": (' % name[:-4]):]
    block = block[:re.search(r"\n    \"|\n}\n", block[1:]).end()]
    for switch in sorted(set(re.findall(r"BROKEN_(\w+)", text))):
        if not re.search(r"\b%s\b" % switch, block):
            wrong("%s: no run has BROKEN_%s" % (name, switch))
print("%d functions are mirrored" % named if not failed else "%d wrong" % failed)
sys.exit(1 if failed else 0)
