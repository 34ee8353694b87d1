#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""run.py SOURCE TARGET WORK: gdb's commands for hapax, on a process stopped in a load and on its core.

Everything that is shown is known: TARGET (target.c) says what there is, and what hapax_leak_report_json() says of it. The core's
answers are the process's. And the constants that debug information does not have are those of the headers."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

SHOWN = ["hapax caches", "hapax flights", "hapax threads", "hapax table pages", "hapax table models", 'hapax table "sessions"',
         "hapax table notes", "hapax table active", "hapax table squares 0", "hapax table many 2",
         "hapax table crowded", 'hapax table "lengths" 10', "hapax table borrowed", "hapax object crowd[0]", "hapax table pages->table 0", "print crowded",
         "hapax object session[0]", "hapax object front",
         "hapax leaks", "hapax leaks -json", "print pages", "print *models", "print squares", "print *sessions", "print notes",
         "print *pages->table", "print *(hapax_key *) &example"]
# Files of the library have structures of the same name.
TYPES = ("python import hapax_gdb.memory as m; print([m.ctype('struct hpx_node', f).fields()[0].name for f in "
         "('hpx_chain_new', 'hpx_node_pin', 'hpx_pool_retire')])")
REFUSED = [TYPES, 'hapax table "no such"', "hapax object &go_on", "hapax table front", "hapax table", "hapax object", "hapax leaks -xml", "hapax object 0"]


def fail(what, text=""):
    sys.exit(f"{what}\n{text}")


def gdb(source, arguments, commands, locale):
    """What each command printed, by the command."""
    call = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load no", "-iex", "set width 0",
            "-ex", f"source {source / 'tools/gdb/hapax.py'}"]
    for i, command in enumerate(commands):
        call += ["-ex", f"echo @@{i}\\n", "-ex", f"python\ntry: gdb.execute({command!r})\nexcept gdb.error as e: print(e)"]
    run = subprocess.run(call + arguments, capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
                         encoding="utf-8", env=dict(os.environ, LC_ALL=locale))
    text = run.stdout + run.stderr
    if re.search(r"ptrace: Operation not permitted|Could not trace the inferior", text):
        print("skipped: this system does not let a debugger run a program")
        sys.exit(77)
    if "Traceback" in text or "Python Exception" in text:
        fail("an exception", text)
    parts = re.split(r"^@@(\d+)\n", run.stdout, flags=re.M)
    return {commands[int(i)]: out for i, out in zip(parts[1::2], parts[2::2])}


def has(out, command, *patterns):
    for pattern in patterns:
        if not re.search(pattern, out[command], flags=re.M):
            fail(f"{command}: no {pattern}", out[command])


def check_constants(source):
    """Those that memory.py repeats are what the headers say."""
    lib = "\n".join(p.read_text() for p in sorted((source / "lib").glob("*/*.h")))
    mine = re.findall(r"^(HPX_\w+) = (.+)$", (source / "tools/gdb/hapax_gdb/memory.py").read_text(), flags=re.M)
    for name, value in mine:
        found = re.search(rf"#define {name} (\(.*\)|\S+)", lib)
        if not found:
            fail(f"{name} is in no header")
        text = re.sub(r"UINT64_C\((\w+)\)", r"\1", found.group(1))
        text = re.sub(r"\b(\d+|0x[0-9a-f]+)u\b", r"\1", text)
        names = dict((n, eval(v)) for n, v in mine)
        names.update({n: eval(re.sub(r"UINT64_C\((\w+)\)", r"\1", v)) for n, v in
                      re.findall(r"#define (HPX_CTL_FROZEN|HPX_CTL_X) (\S+)", lib)})
        if eval(text, {}, names) != eval(value):
            fail(f"{name} is {text} in the headers, and {value} here")
    if len(mine) < 10:
        fail("where are the constants?")


def check(out, report):
    n = r"0x[0-9a-f]+"
    has(out, "hapax caches", r"^address +name +kind +state +present +retained +hits +misses +hit% +waits +loads +failures +flights$",
        rf"^{n} +pages +cache +open +2 +- +1 +\d+ +[0-9.]+ +3 +3 +0 +1$", rf"^{n} +models +cache +open +3 +4 +0 +5 +0\.0 +0 +5 +1 +2$",
        rf"^{n} +squares +memo +open +1 +1 +0 +1 +0\.0 +0 +1 +0 +0$", rf"^{n} +remote\\u001b\[2J +cache +open +0 +- .* 1$")
    has(out, "hapax flights", r'^pages +load +"slow" +thread \d+ \(LWP \d+ "gdb_target"\) +3 +0 +\S.*$', r'^models +load +"7" +thread \d+ .* 0 +0 +\d+\.\d s$',
        r'^remote\\u001b\[2J +load +"far" +to be completed +0 +1 +\S.*$')
    has(out, "hapax threads", r"^thread \d+ \(LWP \d+ \"gdb_target\"\): in no call that loads or waits$",
        r'^thread \d+ .*:\n    in the load of "slow" of pages$',
        r'^thread \d+ .*:\n    waits for the load of "slow" of pages, by thread \d+ \(LWP \d+ "gdb_target"\)$',
        r'^thread \d+ .*:\n    in the load of "7" of models\n    waits for the load of "slow" of pages, by thread \d+ ')
    has(out, "hapax flights", r'^news +reload +"today" +thread \d+ \(LWP \d+ "[^"]*"\) +0 +0 +\d+\.\d s$', r'^models +compute +"sum" +thread \d+ .* 0 +0 +-$')
    has(out, "hapax threads", r'^    in the reload of "today" of news$', r'^    in the compute of "sum" of models$')
    has(out, "hapax table many 2", rf'\A"\d+": session {n}, 1 reference\n"\d+": session {n}, 1 reference\n1000 entries, 998 not shown$')
    has(out, "hapax table crowded", *(rf'^"{i}": session {n}, 1 reference$' for i in range(1000, 1040)), r"^40 entries$")
    has(out, 'hapax table "lengths" 10', *(rf'^"{key}": session {n}, 1 reference, held by the cache$' for key in ("bytes", "one and, 4", "")),
        r"^3 entries$")
    has(out, 'hapax table "no such"', r'^hapax: nothing is called "no such"$')
    has(out, "hapax table borrowed", rf'\A"a key that stays where it is": session {n}, 1 reference\n1 entry$')
    has(out, "hapax object crowd[0]", r'^  known to borrowed under "a key that stays where it is"\n  known to many under "0"$')
    has(out, "hapax table pages->table 0", r"\A3 entries, 3 not shown$")
    has(out, "print crowded", rf'= {n} table "crowded"$')
    loader = re.search(r'"slow" +(thread \d+ \(LWP \d+) ', out["hapax flights"])[1]
    if f'{loader} "gdb_target"):\n    in the load of "slow"' not in out["hapax threads"] \
            or len(re.findall(rf'waits for the load of "slow" of pages, by {re.escape(loader)} ', out["hapax threads"])) != 3:
        fail("hapax threads: not the thread of hapax flights", out["hapax threads"])
    has(out, "hapax table pages", rf'^"/front": page {n}, 2 references$', r'^"slow": loading, waited for$',
        rf'^"a longer key of fifty bytes that cannot be shown\.\.\.": page {n}, 1 reference$', r"^3 entries$")
    has(out, "hapax table models", *(rf'^"{i}": page {n}, 1 reference, held by the cache$' for i in (100, 101, 102)),
        r'^"0": no value, which the cache remembers$', r'^"7": loading$', r"^5 entries$")
    has(out, 'hapax table "sessions"', *(rf'^"user{i}": session {n}, 1 reference$' for i in range(3)), r"^3 entries$")
    has(out, "hapax table notes", rf"^session {n}, 1 reference -> session {n}, 1 reference$", r"^1 entry$")
    has(out, "hapax table active", rf"^session {n}, 1 reference$", r"^1 entry$")
    has(out, "hapax table squares 0", r"\A1 entry, 1 not shown$")
    has(out, "hapax object session[0]", rf"\Asession {n}: 1 reference$", r"^  known to notes$", r'^  known to sessions under "user0"$',
        r"the default environment")
    has(out, "hapax object front", rf"\Apage {n}: 2 references, keyed$", r"destroyed by .*page_destroy", r'known to pages under "/front"$')
    has(out, "print pages", rf'= {n} cache "pages", open, 2 present$')
    has(out, "print *models", r'= cache "models", open, 3 present = \{retained = 4, .*misses = 5, loads = 5, .*<model_load>')
    has(out, "print squares", rf'= {n} memo "squares", open, 1 present$')
    has(out, "print *sessions", r'= table "sessions" = \{table = table "sessions" = \{.*user1 = session ')
    has(out, "print notes", rf'= {n} weak map "notes"$')
    has(out, "print *pages->table", r'/front = page .*, 2 references', "slow = loading, waited for")
    has(out, "hapax leaks", rf'^page {n}, known to pages under "/front", 2 references$', rf"^session {n}, held by notes, 1 reference$",
        r"^1 of type session$", rf"^{report['alive']} objects alive$")
    leaks = json.loads(out["hapax leaks -json"])
    if leaks["alive"] != report["alive"] or leaks["format"] != report["format"]:
        fail("another number of leaks", f"{leaks}\n{report}")

    def plain(leak):  # the arguments of memos are not told apart in the program's report
        leak = leak if leak["holder"] != "lengths" else dict(leak, key=None)
        return tuple(str(leak[name]) for name in ("type", "object", "key", "holder", "held", "inherited", "count"))

    mine, theirs = sorted(map(plain, leaks["leaks"])), sorted(map(plain, report["leaks"]))
    if mine != theirs:
        fail("not what the program reports", "\n".join(f"gdb: {a}\nprogram: {b}" for a, b in zip(mine, theirs) if a != b))
    has(out, TYPES, r"^\['next', 'note', 'word'\]$")
    has(out, "hapax object &go_on", r"^hapax: (there is no object at|0x[0-9a-f]+ is no object)")
    has(out, "hapax table front", r"^hapax: front is no cache, memo, table, set or map$")
    has(out, "hapax table", r"^hapax table HANDLE \[MOST\]$")
    has(out, "hapax object", r"^hapax object POINTER$")
    has(out, "hapax leaks -xml", r"^hapax leaks \[-json\]$")
    has(out, "hapax object 0", r"^hapax: ")


def main():
    source, target, work = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
    if not shutil.which("gdb"):
        print("skipped: there is no gdb")
        sys.exit(77)
    check_constants(source)
    work.mkdir(parents=True, exist_ok=True)
    core, report = work / "core", work / "report.json"
    core.unlink(missing_ok=True)
    commands = SHOWN + REFUSED
    live = gdb(source, ["--args", str(target), str(report)],
               ["break stopped", "run"] + commands + [f"generate-core-file {core}"], "C.UTF-8")
    check(live, json.loads(report.read_text()))
    dead = gdb(source, [str(target), str(core)], commands[::-1], "C")  # no answer depends on what was asked before
    core.unlink()
    example = "print *(hapax_key *) &example"
    has(live, example, r'= "exämple"$')
    has(dead, example, r'= "ex\\u00e4mple"$')
    has(dead, "hapax flights", r" +age$", r'^models +load +"7" .* -$')
    for out in (live, dead):  # a core has no clock
        out["hapax flights"] = re.sub(r" +(age|-|\d+\.\d s)$", "", out["hapax flights"], flags=re.M)
    for command in commands:
        if command == example:
            continue
        # gdb numbers the values that it prints
        if re.sub(r"^\$\d+", "$", live[command], flags=re.M) != re.sub(r"^\$\d+", "$", dead[command], flags=re.M):
            fail(f"{command}: a core says something else than its process", f"{live[command]}---\n{dead[command]}")
    print(f"{len(commands)} commands, of a process and of its core")


main()
