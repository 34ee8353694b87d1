#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""real.py PROGRAM SERVER: hapax-top on a process that links hapax (server.c), and what there is to be seen of it."""
import json
import os
import signal
import subprocess
import sys
import time

from fake import run

program, server = sys.argv[1:3]


def check(true, *what):
    if not true:
        print("FAILED:", *what)
        sys.exit(1)


def look(pid):
    """Until keys have been sampled: that begins with the first question."""
    until = time.monotonic() + 30
    while True:
        result = run(program, pid, "--json")
        check(result.returncode == 0 and not result.stderr, result)
        snapshot = json.loads(result.stdout)
        pages = snapshot["caches"][0]
        if pages["hottest"] or time.monotonic() > until:
            return snapshot
        time.sleep(0.05)


def main():
    process = subprocess.Popen([server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={k: v for k, v in os.environ.items() if k != "HAPAX_SEGMENT"})
    child = int(process.stdout.readline())
    try:
        check(process.stdout.readline() == "ready\n", "not ready")
        s = look(process.pid)
        pages, notes = s["caches"]
        check(pages["name"] == "pages" and pages["bound_entries"] == 100 and pages["negative_hits"] == 1, pages)
        check(notes["name"] == "notes" and notes["loads"] == 1 and notes["size_now"] == 1 and notes["demoted"] == 1, notes)
        check(pages["loads_in_flight"] == 1 and [f["key"] for f in pages["flights"]] == ["slow"] and
              pages["flights"][0]["waiters"] == 2 and pages["flights"][0]["tid"] > 0, pages)
        check(pages["hottest"] and pages["hottest"][0]["key"] == "hot key", pages)
        result = run(program, process.pid, "--interval", "0.2", "--sort", "id")
        check(result.returncode == 0 and not result.stderr and b"\x1b" not in result.stdout, result)
        lines = result.stdout.decode().splitlines()
        check("process %d" % process.pid in lines[0] and "2 caches, 0 memos" in lines[0], lines)
        at = next(i for i, line in enumerate(lines) if "GETS/s" in line)
        titles, first, second = lines[at].split(), lines[at + 1].split(), lines[at + 2].split()
        row = dict(zip(titles, first))
        check(row["NAME"] == "pages" and row["GETS/s"] not in ("-", "0") and row["HIT%"] == "100" and row["LOADS/s"] == "0" and
              row["LOADING"] == "1" and row["HELD/BOUND"].endswith("/100") and row["LONGEST"] != "-", lines)
        row = dict(zip(titles, second))
        check(row["NAME"] == "notes" and row["GETS/s"] == "0" and row["PRESENT"] == "1" and row["HELD/BOUND"] == "0/-" and
              row["DEMOTED"] == "1", lines)
        text = "\n".join(lines)
        check("HOTTEST KEYS" in text and "\n   1  " in text and "  slow\n" in text + "\n", lines)
        flight = next(line.split() for line in lines if line.endswith("  slow"))
        check(flight[0] == "1" and int(flight[2]) > 0 and flight[3] == "2", lines)
        types = next(line.split() for line in lines if line.endswith("  page"))
        check(types[0] == "0" and int(types[1]) == 54, lines) # 50 pages, "hot key", "slow", "held", and what "none" was to become
        forked = run(program, child)
        check(forked.returncode == 1 and b"from which it was forked" in forked.stderr, forked)
        listed = run(program, "--list").stdout.decode()
        check(any(line.split()[0] == str(process.pid) and line.split()[2] == "2" for line in listed.splitlines()), listed)
        print(text)
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdin.close()
    check(process.wait(30) == 0, "the server ended with", process.returncode)


main()
