#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""complete.py SOURCE: pages that explain every one of something leave none out: each status, each figure, each option of
caches is named as `code` on its page; each page of docs is linked from docs/README.md; what sources name of docs is there."""
import pathlib
import re
import sys

source = pathlib.Path(sys.argv[1])
bad = []


def header(name):
    return re.sub(r"/\*.*?\*/", "", (source / "include" / "hapax" / name).read_text(), flags=re.S)


def fields(name, struct):
    body = re.search(rf"typedef struct {struct} \{{(.*?)\n\}} {struct};", header(name), re.S)[1]
    found = []
    for declaration in body.split(";"):
        function = re.search(r"\(\*(\w+)\)", declaration)
        found += [function[1]] if function else re.findall(r"(\w+)(?:\[\d+\])?\s*(?:,|$)", declaration.strip())
    return [field for field in found if field != "size"]


def named(page, names, what):
    text = re.sub(r"^```.*?^```$", "", (source / "docs" / page).read_text(), flags=re.M | re.S)
    text = " ".join(re.findall(r"`([^`\n]+)`", text))
    for name in names:
        if not re.search(rf"(?<!\w){name}(?!\w)", text):
            bad.append(f"docs/{page}: nothing of {what} {name}")
    return len(names)


count = named("troubleshooting.md", re.findall(r"X\((HAPAX_\w+),", header("status.h")), "status")
for name, struct in (("cache.h", "hapax_cache_stats"), ("env.h", "hapax_env_stats"), ("memo.h", "hapax_memo_info")):
    count += named("reading-the-figures.md", fields(name, struct), struct)
count += named("options.md", fields("cache.h", "hapax_cache_options"), "hapax_cache_options")

# what comments and programs refer to
for path in sorted(path for name in ("include", "lib", "tools", "scripts", "stress", "tests", "man")
                   for path in (source / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts):
    for name in set(re.findall(r"\bdocs/[\w/.-]+?\.(?:md|svg|c)\b", path.read_text(errors="replace"))):
        if not (source / name).exists() and path.name not in ("check.py", "faults.py"):
            bad.append(f"{path.relative_to(source)}: refers to {name}, which is not there")

index = (source / "docs" / "README.md").read_text()
for page in sorted((source / "docs").rglob("*.md")):
    name = str(page.relative_to(source / "docs"))
    if name != "README.md" and f"({name})" not in index and f"({name}#" not in index:
        bad.append(f"docs/README.md: no link to {name}")

print("\n".join(bad) or f"{count} names are explained, all pages are in the index")
sys.exit(1 if bad else 0)
