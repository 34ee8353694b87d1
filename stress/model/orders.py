#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""orders.py SOURCE WORK: does the model notice when an order is missing?

In a copy of the sources (WORK/src, built in WORK/build) every ordered atomic operation of lib/ is made relaxed in turn, and
the model's scenarios are run in the weak mode until one fails. An operation that nothing notices is a survivor: its order
is needed for what no scenario does, or for nothing.

--only REGEX   sites whose "file:line text" matches        --every N    every n-th of them, --first N from the n-th on
--seeds N      of each scenario (1000)                     --seconds S  most for one site (120)
--scenario L   as for hapax-stress model                   --list       the sites, and leave
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import time

SITE = re.compile(r"\bhpx_(load|store|exchange|add|sub|or|and|cas)_(acquire|release|acq_rel|seq_cst)\(")
MORE = """
#define hpx_mutant_or_relaxed(p, x) (HPX_POINT(), __atomic_fetch_or(&(p)->v, (x), __ATOMIC_RELAXED))
#define hpx_mutant_and_relaxed(p, x) (HPX_POINT(), __atomic_fetch_and(&(p)->v, (x), __ATOMIC_RELAXED))
#define hpx_mutant_exchange_relaxed(p, x) (HPX_POINT(), __atomic_exchange_n(&(p)->v, (x), __ATOMIC_RELAXED))
"""
MORE += "".join(f"#define hpx_mutant_{name}_relaxed hpx_{name}_relaxed\n" for name in ("load", "store", "add", "sub", "cas"))

parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("source", type=pathlib.Path)
parser.add_argument("work", type=pathlib.Path)
parser.add_argument("--only", default="")
parser.add_argument("--every", type=int, default=1)
parser.add_argument("--first", type=int, default=0)
parser.add_argument("--seeds", type=int, default=1000)
parser.add_argument("--seconds", type=float, default=120)
parser.add_argument("--scenario")
parser.add_argument("--list", action="store_true")
options = parser.parse_args()

sites = []
for path in sorted(options.source.glob("lib/*/*.[ch]")):
    if path.name in ("atomic.h", "ck_port.h"):
        continue
    for number, line in enumerate(path.read_text().splitlines()):
        for match in SITE.finditer(line):
            if "HPX_BROKEN" not in line:
                sites.append((path.relative_to(options.source), number, match.start(), line.strip()))
sites = [s for s in sites if re.search(options.only, f"{s[0]}:{s[1] + 1} {s[3]}")][options.first::options.every]
if options.list:
    for path, number, _, line in sites:
        print(f"{path}:{number + 1}: {line}")
    sys.exit(0)

work, tree, build = options.work, options.work / "src", options.work / "build"
shutil.rmtree(tree, ignore_errors=True)
shutil.copytree(options.source, tree, ignore=shutil.ignore_patterns(".git", "build"))
with open(tree / "lib/base/atomic.h", "a") as header:
    header.write("#ifndef HPX_MUTANT\n#define HPX_MUTANT\n" + MORE + "#endif\n")


def make():
    done = subprocess.run(["cmake", "--build", build, "--target", "hapax-stress"], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stdout[-2000:]


def run():
    """The scenario that failed, or None."""
    model = [build / "bin/hapax-stress", "model", "--mode", "weak", "--seeds", str(options.seeds), "--scenario", names]
    began, found = time.monotonic(), None
    with subprocess.Popen(["timeout", "-k", "1", str(options.seconds), *map(str, model)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as child:
        for line in child.stdout:
            failure = re.match(r"(\S+): FAILED: (.*)", line)
            if failure:
                found = f"{failure[1]}: {failure[2]}"
                child.terminate()
                break
        child.stdout.close()
    return found, time.monotonic() - began


subprocess.run(["cmake", "--preset", "release", "-B", build.resolve(), "-DHAPAX_TESTS=OFF"], cwd=tree, check=True,
               capture_output=True)
problem = make()
if problem:
    sys.exit(problem)
names = options.scenario
if not names:
    listed = subprocess.run([build / "bin/hapax-stress", "model", "--list"], capture_output=True, text=True, check=True)
    names = ",".join(line.split()[0] for line in listed.stdout.splitlines()
                     if line.strip() and not line.startswith("litmus"))
found, took = run()
if found:
    sys.exit(f"fails as it is: {found}")
print(f"{len(sites)} sites; as it is nothing fails in {took:.0f} s", flush=True)
survivors = 0
for path, number, column, line in sites:
    original = (tree / path).read_text()
    lines = original.splitlines(keepends=True)
    at = lines[number].index("hpx_", SITE.search(lines[number], column).start())
    lines[number] = lines[number][:at] + SITE.sub(r"hpx_mutant_\1_relaxed(", lines[number][at:], count=1)
    (tree / path).write_text("".join(lines))
    problem = make()
    if problem:
        print(f"{path}:{number + 1}: {line}\n    does not build", flush=True)
    else:
        found, took = run()
        survivors += not found
        print(f"{path}:{number + 1}: {line}\n    {found or 'SURVIVED'} ({took:.0f} s)", flush=True)
    (tree / path).write_text(original)
print(f"{len(sites)} operations made relaxed, {survivors} unnoticed")
