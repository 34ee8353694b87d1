#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check.py SOURCE LIBRARY [TARGET]: the probes of docs/probes.md are those of LIBRARY, with as many arguments; the scripts of
docs/bpftrace use no others; and TARGET passes each of them, with arguments that say what has happened."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source, library = pathlib.Path(sys.argv[1]), sys.argv[2]


def fail(*what):
    print("FAILED:", *what)
    sys.exit(1)


def documented():
    """Name and number of arguments, from the table's rows: | `name` | `first`, `second` | ... |"""
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", (source / "docs/probes.md").read_text(), re.M)
    return {name: len(re.findall(r"`[^`]+`", arguments)) for name, arguments in rows}


def present(binary):
    notes = subprocess.run(["readelf", "-n", "-W", binary], capture_output=True, text=True, check=True,
                           env={**os.environ, "LC_ALL": "C"}).stdout
    found = {}
    for name, arguments in re.findall(r"Provider: hapax\s+Name: (\w+)\s+Location: .*\s+Arguments: *(.*)", notes):
        found.setdefault(name, set()).add(len(arguments.split()))
    return found


def check_scripts(table):
    for script in sorted((source / "docs/bpftrace").glob("*.bt")):
        text = script.read_text()
        used = re.findall(r"^usdt:[^\n,{]*:hapax:(\w+)", text, re.M)
        if not used or set(used) - set(table):
            fail(script, "uses", used)
        # each clause uses no argument that its probe does not have
        for name, body in re.findall(r"^usdt:[^\n]*:hapax:(\w+)[^{]*\{(.*?)^\}", text, re.M | re.S):
            if any(int(n) >= table[name] for n in re.findall(r"\barg(\d+)", body)):
                fail(script, name, "has no such argument", body)


def fired(table, target):
    if not shutil.which("gdb"):
        print("skipped: there is no gdb")
        sys.exit(77)
    texts = {"load__begin": (0, 1), "load__end": (0,), "load__join": (0, 1), "load__joined": (0,), "removed": (0,), "demote": (0,),
             "refresh__begin": (0, 1), "refresh__end": (0,), "death": (0,), "promote": (0,), "stall": (1,)}
    commands = ["set pagination off", "set debuginfod enabled off", "set width 0", "set print thread-events off"]
    for name, n in table.items():
        pieces = ["%s" if i in texts.get(name, ()) else "%#lx" for i in range(n)]
        arguments = ["(char *) $_probe_arg%d" % i if i in texts.get(name, ()) else "(long) $_probe_arg%d" % i for i in range(n)]
        commands += ["break -probe-stap hapax:%s" % name, "commands", "silent",
                     'printf "PROBE %s %s\\n", %s' % (name, "|".join(pieces), ", ".join(arguments)), "continue", "end"]
    commands += ["run"]
    with tempfile.NamedTemporaryFile("w", suffix=".gdb") as script:
        script.write("\n".join(commands) + "\n")
        script.flush()
        result = subprocess.run(["gdb", "-nx", "-q", "-batch", "-iex", "set auto-load no", "-x", script.name, target],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
                                env={**os.environ, "LC_ALL": "C.UTF-8", "HAPAX_SEGMENT": "off"})
    if re.search(r"ptrace: Operation not permitted|Could not trace the inferior", result.stdout + result.stderr):
        print("skipped: this system does not let a debugger run a program")
        sys.exit(77)
    if "\ndone\n" not in result.stdout:
        fail("the target did not come to its end:", result.stdout[-3000:], result.stderr[-3000:])
    return result.stdout


def main():
    table = documented()
    found = present(library)
    if not table:
        fail("docs/probes.md has no table")
    if not found:
        print("skipped: built without sys/sdt.h")
        sys.exit(77)
    if found != {name: {n} for name, n in table.items()}:
        fail("documented", table, "present", found)
    check_scripts(table)
    if len(sys.argv) < 4:
        return
    out = fired(table, sys.argv[3])
    events = {}
    for name, arguments in re.findall(r"PROBE (\w+) (.*)", out):
        events.setdefault(name, []).append(arguments.split("|"))
    for name in table:
        if name not in events:
            fail(name, "was not passed\n", out)

    def some(name, true):
        if not any(true(a) for a in events[name]):
            fail(name, events[name])

    begun = {a[1][:int(a[2], 16)]: a[3] for a in events["load__begin"] if a[0] == "pages"}
    if set(begun) != {"one", "nothing", "collected", "joined"}:
        fail("loads of", begun)
    ended = [(a[1], int(a[2], 16)) for a in events["load__end"] if a[0] == "pages"]
    if sorted(ended) != sorted((entry, 2 if key == "nothing" else 0) for key, entry in begun.items()):
        # NOVALUE is what hapax/status.h says
        status = re.search(r"NOVALUE[^\n]*", (source / "include/hapax/status.h").read_text())
        fail("ends", ended, "begun", begun, status)
    some("load__join", lambda a: a[0] == "pages" and a[1].startswith("joined") and a[3] == begun["joined"])
    some("load__joined", lambda a: a == ["pages", begun["joined"], "0"] or a == ["pages", begun["joined"], "0x0"])
    some("removed", lambda a: a[:2] == ["pages", begun["one"]] and int(a[2], 16) == 0)
    some("removed", lambda a: a[:2] == ["pages", begun["collected"]] and int(a[2], 16) == 2)
    some("demote", lambda a: a[0] == "managed")
    some("refresh__begin", lambda a: a[0] == "managed" and a[1].startswith("first") and int(a[2], 16) == 5)
    some("refresh__end", lambda a: a[0] == "managed" and a[1] == events["refresh__begin"][0][3] and int(a[2], 16) == 0)
    objects = dict(re.findall(r"(object|promoted) (0x[0-9a-f]+)", out))
    some("death", lambda a: a == ["page", objects["object"]])
    some("promote", lambda a: a == ["page", objects["promoted"]])
    some("stall", lambda a: int(a[0], 16) > 0 and a[1] == "reader")
    numbers = [int(a[0], 16) for a in events["grace__begin"]]
    if numbers != sorted(set(numbers)) or not set(int(a[0], 16) for a in events["grace__end"]) <= set(numbers):
        fail("grace periods", events["grace__begin"], events["grace__end"])
    if events["garbage__wait"][0][0] != events["garbage__waited"][0][0] or int(events["garbage__waited"][0][1], 16) != 0:
        fail("waits", events["garbage__wait"], events["garbage__waited"])
    print("%d probes, all of them passed" % len(table))


main()
