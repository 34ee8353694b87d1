#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""hostile.py PROGRAM: segments that are broken or made to harm: a message and status 1, or text without anything that a
terminal would act upon; never a crash, never more memory than the text is worth."""
import copy
import json
import os
import random
import resource
import struct
import sys
import unicodedata

from fake import CAPACITY, LENGTH, OFFSET, SNAPSHOT, TOLD, Publisher, moving, run, together

program = sys.argv[1]
NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\t\x08\x7f\u202ebackwards\u2066\ufeff\u200d a\u0301\u0301\u0301\u0301 \U000e0041end"
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def check(true, *what):
    if not true:
        print("FAILED:", *what)
        sys.exit(1)


def harmless(output, what):
    text = output.decode() # no byte that is no UTF-8 either
    bad = [c for c in text if c != "\n" and unicodedata.category(c) in FORBIDDEN]
    check(not bad, what, bad, text)


def refused(word, *arguments, **how):
    with Publisher(**how) as p:
        result = run(program, p.pid, *(arguments or ["--json"]))
    check(result.returncode == 1 and not result.stdout and word in result.stderr.decode(), how, result)
    harmless(result.stderr, how)


def heads():
    refused("is no statistics segment", head={"magic": b"\x1b[31m\0\0\0"})
    refused("format version 2, which is newer", head={"version": 2})
    refused("from which it was forked", head={"pid": 4000000000})
    refused("is too short", head={"size": 20})
    refused("is too short", head={"size": 0})
    refused("is damaged", head={"length": CAPACITY + 1})
    refused("is damaged", head={"length": 0xffffffff, "capacity": 0xffffffff})
    refused("is damaged", head={"length": 0x7ffffff0, "capacity": 0xffffffff, "offset": (0xffffff00, 0xffffff00)})
    refused("is damaged", head={"offset": (0, 0)})
    refused("is damaged", head={"offset": (1 << 30, 1 << 30)})
    refused("is damaged", head={"capacity": 10})


def cut():
    """The file is cut when the question has come; then an answer is said to be there."""
    def to(size):
        def instead(fd):
            os.ftruncate(fd, size)
            if size:
                os.pwrite(fd, struct.pack("=I", 1), TOLD)
            if size > LENGTH + 8:
                os.pwrite(fd, struct.pack("=II", 100, 100), LENGTH)
        return instead

    refused("cannot be read any more", instead=to(0))
    refused("cannot be read any more", instead=to(30))
    refused("is damaged", instead=to(4096))


def texts():
    deep = '{"format":1,"caches":' + "[" * 5000 + "]" * 5000 + "}"
    for word, text in [("not usable", ""), ("not usable", "\0"), ("cut short", "{"), ("not usable", '{"format":1}}'),
                       ("not usable", "\x1b[2J"), ("not usable", "nonsense"), ("not one JSON object", "[]"),
                       ("not one JSON object", "1 "), ("not usable", '{"format":1'), ("too deep", deep),
                       ("does not say its format", "{}"), ("does not say", '{"format":"1"}'), ("does not say", '{"format":-1}'),
                       ("does not say", '{"format":0}'), ("is newer", '{"format":2}'), ("is newer", '{"format":18446744073709551615}'),
                       ("more values", "{" * 300000), ("more values", "[" + "0," * (CAPACITY // 4) * 2),
                       ("not usable", b"\xff\xfe"), ("not usable", '{"format":1,"a":"\x01\x02')]:
        if word == "more values" and text.startswith("[0"):
            text = text[:CAPACITY]
            word = "not usable"
        refused(word, answer=lambda n: text)


def shapes():
    """Values of other types, and numbers beyond all measure."""
    numbers = [-1, 2**64 - 1, 2**70, 1e300, "x", None, [{}]]
    for value in numbers:
        def twist(o):
            return {k: twist(v) if isinstance(v, (dict, list)) else value if k not in ("format",) else v
                    for k, v in o.items()} if isinstance(o, dict) else [twist(v) for v in o]
        text = json.dumps(twist(SNAPSHOT))
        with Publisher(lambda n: text) as p:
            result = run(program, p.pid, "-i", "0.1", "--sort", "flights")
        check(result.returncode == 0, value, result)
        harmless(result.stdout, value)
        check(all(len(line) < 400 for line in result.stdout.decode().splitlines()), value, result.stdout)
    for caches in ([1, "x", None, [], {}], {}, "x", [[[]]]):
        text = json.dumps({"format": 1, "caches": caches, "environments": caches})
        with Publisher(lambda n: text) as p:
            result = run(program, p.pid, "-i", "0.1")
        check(result.returncode == 0, caches, result)


def names():
    """Whatever is in names and keys, it does not reach the terminal as it is."""
    s = copy.deepcopy(SNAPSHOT)
    s["program"] = s["version"] = s["environments"][0]["stalled_name"] = NASTY
    s["environments"][0]["types"][0]["name"] = NASTY
    s["caches"][0].update(name=NASTY, kind=NASTY)
    s["caches"][0]["hottest"][0]["key"] = "\0" + NASTY
    s["caches"][0]["flights"][0]["key"] = NASTY * 1000
    s[NASTY] = NASTY
    for text in (json.dumps(s), json.dumps(s, ensure_ascii=False),
                 json.dumps(SNAPSHOT).encode().replace(b"pages", b"\x80\xc0\xaf\xed\xa0\x80\xf5\x80\x80\x80\xe2\x82")):
        with Publisher(lambda n: text) as p:
            for arguments in ([], ["--json"]):
                for environment in ({}, {"LC_ALL": "C"}):
                    result = run(program, p.pid, "-i", "0.1", *arguments, environment=environment)
                    check(result.returncode == 0, result)
                    harmless(result.stdout, arguments)
                    if arguments and not isinstance(text, bytes):
                        check(json.loads(result.stdout) == s, result.stdout)
    with Publisher(lambda n: json.dumps(s)) as p:
        out = run(program, p.pid, "-i", "0.1").stdout.decode()
    check("\\x1b]0;owned\\x07\\x1b[2J\\u009b31m\\x0d\\x0a\\x09\\x08\\x7f\\u202e" in out, out)


def many():
    """More caches, types and keys than there will ever be, in bounded memory."""
    s = {"format": 1, "caches": [{}] * 40000, "environments": [{"types": [{}] * 20000}] * 2}
    s["caches"][0] = {"id": 1, "hottest": [{}] * 20000, "flights": [{}] * 20000}
    text = json.dumps(s, separators=(",", ":"))
    assert len(text) < CAPACITY
    with Publisher(lambda n: text) as p:
        result = run(program, p.pid, "-i", "0.1")
        check(result.returncode == 0, result)
        # the segment may be cut or its text replaced while it is read
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    check(used < 1500000, "so many kilobytes were used:", used)


def racing():
    """The text is written again while it is read: an answer, or none, but no mixture."""
    def text(n):
        return json.dumps({"format": 1, "first": n, "between": "x" * 600000, "last": n}).encode()

    def race(m, fd):
        n = 2
        parent = os.getppid()
        ready = [text(i) for i in range(32)] # as fast as it can be written
        while os.getppid() == parent:
            new = ready[n % 32]
            where = 4096 + CAPACITY * (n & 1)
            m[where:where + len(new)] = new
            struct.pack_into("=I", m, LENGTH + 4 * (n & 1), len(new))
            struct.pack_into("=I", m, TOLD, n)
            n += 1

    with Publisher(text, spoil=race) as p:
        for _ in range(8):
            result = run(program, p.pid, "--json")
            if result.returncode == 0:
                s = json.loads(result.stdout)
                check(s["first"] == s["last"], "a mixture of", s["first"], s["last"])
            else:
                check(result.returncode == 1, result)


def mutations():
    """Bytes changed at random, in the head and in the text."""
    dice = random.Random(8)

    def answer(n):
        text = bytearray(moving(n).encode())
        for _ in range(dice.choice((1, 1, 3, 20))):
            at = dice.randrange(len(text))
            how = dice.randrange(3)
            if how == 0:
                text[at] = dice.randrange(256)
            elif how == 1:
                del text[at:at + dice.randrange(1, 40)]
            else:
                text[at:at] = dice.choice((b"\x1b[2J", b"[" * 9, b"1e999", b"NaN", b"\\u0000", b"{}", b"-", b'"', b"9" * 30))
        return bytes(text)

    def spoil(m, fd):
        if dice.randrange(2):
            m[LENGTH + dice.randrange(OFFSET + 8 - LENGTH)] = dice.randrange(256)

    for mangle in (None, spoil):
        with Publisher(answer, spoil=mangle) as p:
            for i in range(20):
                result = run(program, p.pid, "--json") if i % 3 else run(program, p.pid, "-i", "0.1")
                check(result.returncode in (0, 1), i, result)
                harmless(result.stdout + result.stderr, i)


sys.exit(together(heads, cut, texts, shapes, names, many, racing, mutations))
