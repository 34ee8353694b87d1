#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""plain.py PROGRAM: hapax-top without a terminal: text, JSON, the list, arguments, and processes that are not to be had."""
import copy
import json
import os
import signal
import subprocess
import sys
import threading

from fake import SNAPSHOT, Publisher, moving, run

program = sys.argv[1]


def check(true, *what):
    if not true:
        print("FAILED:", *what)
        sys.exit(1)


def lines_of(result):
    check(result.returncode == 0 and not result.stderr, result)
    check(b"\x1b" not in result.stdout, "escape sequences in", result.stdout)
    return result.stdout.decode().splitlines()


def row(lines, first):
    return next((line.split() for line in lines if line.split()[:1] == [first]), None)


def section(lines, title):
    begin = next(i for i, line in enumerate(lines) if title in line)
    end = next((i for i in range(begin, len(lines)) if not lines[i]), len(lines))
    return lines[begin:end]


# Whoever lists the processes of this machine asks each of them: so it may be a later answer than one thinks, but not an earlier one.
START = 8 * 3600 + 26 * 60 + 40


def answers(times):
    """Which answers of moving() these are."""
    return [(sum(int(part) * unit for part, unit in zip(time.split(":"), (3600, 60, 1))) - START) // 2 for time in times]


def climb(numbers, first):
    return numbers[0] >= first and all(a < b for a, b in zip(numbers, numbers[1:]))


def text():
    with Publisher() as p:
        lines = lines_of(run(program, p.pid, "--interval", "0.1"))
    check(lines[0].startswith("2025-11-22 08:26:") and "  process %d server, hapax 0.1.0, up " % p.pid in lines[0], lines[0])
    check(climb(answers([lines[0].split()[1]]), 2), lines[0])
    check(lines[0].endswith(", 2 caches, 1 memo"), lines[0])
    check(lines[1] == "env 0: garbage 3.0 MiB of 64.0 MiB (peak 5.0 MiB), grace periods 6.0/s, waited 4, refused 0, stalls 2, "
                      "last by thread 4711 (sleepy)", lines[1])
    table = section(lines, "GETS/s")
    check(table[0].split() == ["ID", "KIND", "GETS/s", "HIT%", "EVER%", "LOADS/s", "LOADING", "LONGEST", "PRESENT", "HELD/BOUND",
                               "DEMOTED", "EVICT/s", "STALE/s", "NEG/s", "NAME"], table[0])
    check([line.split()[0] for line in table[1:]] == ["1", "2", "3"], table)
    check(table[1].split() == ["1", "cache", "500", "90.0", "90.0", "25.0", "2", ">3.0s", "9.9k", "9.8k/10.0k", "76", "2.5", "1.0",
                               "0.5", "pages"], table[1])
    check(table[2].split() == ["2", "cache", "0", "-", "25.0", "0", "0", "-", "3", "500k/1.0Mw", "1", "0", "0", "0", "blobs", "and",
                               "more"], table[2])
    check(table[3].split()[:6] == ["3", "memo", "0", "-", "-", "0"], table[3])
    check([line.index("NAME") for line in table[:1]] == [line.index(name) for line, name in zip(table[1:2], ["pages"])], table)
    check(section(lines, "TYPE")[1].split() == ["0", "12.3k", "2.3M", "page"], lines)
    check(section(lines, "HOTTEST")[1].split() == ["1", "50.0", "800", "/index.html"], lines)
    check(section(lines, "HOTTEST")[2].split() == ["1", "5.0", "80", "/über", "uns"], lines)
    check(section(lines, "FLIGHTS")[1].split() == ["1", ">3.0s", "4712", "5", "/slow"], lines)
    check(section(lines, "FLIGHTS")[2].split() == ["1", "1us", "4713", "0", "/quick"], lines)


def uncounted():
    """A cache without statistics has none, and a load that no thread runs no thread."""
    s = copy.deepcopy(SNAPSHOT)
    s["caches"][0]["statistics"] = False
    s["caches"][1]["statistics"] = True
    s["caches"][0]["flights"][0]["tid"] = 0
    with Publisher(lambda n: json.dumps({**s, "monotonic_ns": 10**12 + n * 10**9})) as p:
        lines = lines_of(run(program, p.pid, "--interval", "0.1", "--sort", "id"))
    table = section(lines, "GETS/s")
    check(table[1].split()[2:6] == ["-", "-", "90.0", "-"] and table[1].split()[-4:] == ["-", "-", "-", "pages"], table)
    check(table[2].split()[2:6] == ["0", "-", "25.0", "0"], table)
    check(section(lines, "FLIGHTS")[1].split() == ["1", ">3.0s", "-", "5", "/slow"], lines)


def orders():
    def answer(n):
        s = json.loads(moving(n))
        s["caches"][2].update(hits=5, misses=5, size_now=10**6, evictions=10**6 * n, demoted=5, loads=99999 * n)
        return json.dumps(s)

    wanted = {"gets": "123", "hits": "132", "loads": "312", "flights": "132", "present": "312", "demoted": "132",
              "evictions": "312", "name": "213", "id": "123"}
    with Publisher(answer) as p:
        for key, order in wanted.items():
            if key == "hits":
                continue
            lines = lines_of(run(program, p.pid, "-i", "0.1", "--sort", key))
            got = "".join(line.split()[0] for line in section(lines, "GETS/s")[1:])
            if key == "flights":
                check(got[0] == "1", key, got)
            else:
                check(got == order, key, got)


def several():
    with Publisher() as p:
        result = run(program, p.pid, "--count", "3", "-i", "0.1")
        lines = lines_of(result)
        check(sum(" process " in line for line in lines) == 3, lines)
        times = [line.split()[1] for line in lines if " process " in line]
        last = answers(times)
        check(len(last) == 3 and climb(last, 2), times)
        dumped = run(program, p.pid, "--json", "--count", "2", "-i", "0.1")
        lines = lines_of(dumped)
        check(len(lines) == 2, lines)
        dumps = [json.loads(line) for line in lines]
        numbers = [(d["monotonic_ns"] - SNAPSHOT["monotonic_ns"]) // (2 * 10**9) for d in dumps]
        check(climb(numbers, last[-1] + 1), last, lines)
        check(dumps == [json.loads(moving(n)) for n in numbers], lines)


def one_or_several():
    """Other processes of this machine may have segments of their own."""
    with Publisher(comm="first\x1b[31m") as p, Publisher(comm="second") as q:
        result = run(program)
        check(result.returncode == 2 and b"which of them" in result.stderr, result)
        listed = lines_of(run(program, "--list"))
        first, second = row(listed, str(p.pid)), row(listed, str(q.pid))
        check(first and first[2:] == ["3", "first\\x1b[31m"], listed)
        check(second and second[2:] == ["3", "second"], listed)
        others = len(listed) - 3
    with Publisher() as p:
        result = run(program, "--json")
        if not others and result.returncode == 0: # else somebody else's process has come meanwhile
            check(json.loads(result.stdout)["caches"] == json.loads(moving(1))["caches"], result)


def refused():
    for arguments, word in [(["--interval", "0"], "--interval: '0'"), (["--interval", "x"], "--interval: 'x'"),
                            (["-i", "0x1"], "0x1"), (["-i", "nan"], "nan"), (["-i", "3601"], "3601"),
                            (["--interval"], "--interval needs"), (["--count", "0"], "--count: '0'"), (["-c", "-1"], "'-1'"),
                            (["-c", "1x"], "1x"), (["--sort", "size"], "--sort: 'size'"), (["--nonsense"], "--nonsense"),
                            (["-x"], "-x"), (["12", "13"], "'13'"), (["0"], "'0'"), (["-5"], "-5"), (["abc"], "'abc'"),
                            (["99999999999"], "99999999999"), ([""], "''"), (["a\x1b[2Jb"], "'a\\x1b[2Jb'"),
                            (["--list", "12"], "--list"), (["--list", "--json"], "--list")]:
        result = run(program, *arguments)
        check(result.returncode == 2 and not result.stdout and word in result.stderr.decode(), arguments, result)
        check(b"\x1b" not in result.stderr, result)
    check(run(program, "--version").stdout.startswith(b"hapax-top 0."), "version")
    helped = run(program, "--help")
    check(helped.returncode == 0 and helped.stdout.startswith(b"Usage: hapax-top") and b"Exit status" in helped.stdout, helped)
    full = subprocess.run([program, "--list"], stdout=open("/dev/full", "w"), stderr=subprocess.PIPE)
    check(full.returncode in (0, 1), full)


def nobody():
    result = run(program, 0x7ffffffe)
    check(result.returncode == 1 and b"there is no process" in result.stderr, result)
    result = run(program, os.getpid())
    check(result.returncode == 1 and b"has no statistics segment" in result.stderr, result)
    with Publisher(head={"pid": 1}) as p: # as a child has it that was forked and did not use hapax since
        result = run(program, p.pid)
        check(result.returncode == 1 and b"process 1, from which it was forked" in result.stderr, result)
    if os.geteuid() == 0:
        with Publisher() as p:
            result = run(program, p.pid, user=65534, group=65534, extra_groups=[])
            check(result.returncode == 1 and b"no permission to look at process" in result.stderr, result)


def gone():
    """It ends while it is watched."""
    with Publisher(spoil=lambda m, fd: os._exit(0) if m[20] == 2 else None) as p:
        result = run(program, p.pid, "--count", "50", "-i", "0.1")
        check(result.returncode == 1 and b"has gone" in result.stderr, result)
        os.waitpid(p.pid, os.WNOHANG)
        p.pid = os.fork() or os._exit(0) # something for end() to wait for


def executed():
    """It becomes another program."""
    def become(m, fd):
        os.execvp("sleep", ["sleep", "20"])

    with Publisher(spoil=become) as p:
        result = run(program, p.pid, "--count", "50", "-i", "0.1")
        check(result.returncode == 1 and b"has no statistics segment any more" in result.stderr, result)


class Stopped(threading.Thread):
    """What takes three seconds, beside the rest."""

    def __init__(self, silent):
        super().__init__()
        self.publisher = Publisher(silent=silent)
        if not silent:
            os.kill(self.publisher.pid, signal.SIGSTOP)

    def run(self):
        self.result = run(program, self.publisher.pid)

    def wanted(self, word):
        self.join()
        check(self.result.returncode == 1 and not self.result.stdout and word in self.result.stderr, self.result)
        self.publisher.end()


stopped, silent = Stopped(False), Stopped(True)
stopped.start()
silent.start()
text()
uncounted()
orders()
several()
refused()
nobody()
gone()
executed()
stopped.wanted(b"does not answer: it is stopped (SIGSTOP)")
silent.wanted(b"does not answer: its thread hapax-stats")
one_or_several()
print("ok")
