#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""screen.py PROGRAM: hapax-top on a terminal: a screen appears, follows keys and sizes, and leaves the terminal as it was."""
import copy
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

from fake import SNAPSHOT, Publisher, moving, together

program = sys.argv[1]
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
KNOWN = re.compile(rb"\x1b\[(\?1049[hl]|\?25[hl]|[HJK]|2J|0m|1m|4m|7m|31m|33m|1;31m|1;33m)")


def check(true, *what):
    if not true:
        print("FAILED:", *what)
        sys.exit(1)


class Terminal:
    """hapax-top on a terminal of its own, and what it has written."""

    def __init__(self, publisher, *arguments, size=(40, 150), environment=None):
        self.publisher = publisher
        self.written = b""
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(*size)
        self.before = termios.tcgetattr(slave)
        told, tell = os.pipe()
        self.shell = os.fork()
        if self.shell == 0:
            try:
                self.lead(told, tell, [program, str(publisher.pid), "--interval", "0.1", *arguments], environment or {})
            finally:
                os._exit(99)
        os.close(tell)
        self.pid = int(os.read(told, 20))
        os.close(told)

    def lead(self, told, tell, command, environment):
        """As a shell does it: a session with the program as the group in front. Ends as the program does."""
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        variables = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment}
        if "NO_COLOR" not in environment:
            variables.pop("NO_COLOR", None)
        go, goes = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.read(go, 1)
            for fd in range(3):
                os.dup2(self.slave, fd)
            os.closerange(3, 100)
            os.execve(program, command, variables)
        os.setpgid(pid, pid)
        os.tcsetpgrp(self.slave, pid)
        os.write(tell, str(pid).encode())
        os.write(goes, b"!")
        os.close(self.master)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            self.written += os.read(self.master, 1 << 16)

    def frames(self):
        return self.written.split(b"\x1b[H")

    def wait_for(self, true, what):
        """Until a whole screen drawn from now on says so."""
        begin, until = len(self.frames()), time.monotonic() + 30
        while time.monotonic() < until:
            self.read(1)
            for frame in self.frames()[begin:-1]: # the last may be cut
                if true([KNOWN.sub(b"", line).decode() for line in frame.replace(b"\r", b"").split(b"\n")]):
                    return frame
        check(False, what, self.frames()[-2:])

    def press(self, keys):
        os.write(self.master, keys)

    def left(self, wanted_status):
        """Ended so, and the terminal is as before."""
        until = time.monotonic() + 30
        while (pid_status := os.waitpid(self.shell, os.WNOHANG))[0] == 0 and time.monotonic() < until:
            self.read(0.05)
        check(pid_status[0] and os.waitstatus_to_exitcode(pid_status[1]) == wanted_status, pid_status, self.written[-500:])
        while select.select([self.master], [], [], 0)[0]:
            self.read(0)
        check(termios.tcgetattr(self.slave) == self.before, "the terminal is not as before")
        check(self.written.count(ENTER) == self.written.count(LEAVE) >= 1, "the screen was not left", self.written[-500:])
        end = self.written[self.written.rindex(b"\x1b[?25h"):]
        check(b"\x1b[?1049l" in end, "the cursor is not shown again", end)
        rest = KNOWN.sub(b"", self.written)
        check(b"\x1b" not in rest, "unknown sequences", re.findall(rb".{20}\x1b.{20}", rest))
        os.close(self.master)
        os.close(self.slave)
        return end


def rows(lines):
    """The caches' ids as they are shown, and the selected one."""
    at = next((i for i, line in enumerate(lines) if "GETS/s" in line), None)
    if at is None:
        return [], None
    shown = [line for line in lines[at + 1:] if re.match(r"[> ] +\d+ ", line)]
    return [line[1:].split()[0] for line in shown[:3]], next((line[1:].split()[0] for line in shown if line[0] == ">"), None)


def keys():
    with Publisher() as p:
        t = Terminal(p)
        frame = t.wait_for(lambda lines: "500" in "".join(lines) and "/index.html" in "".join(lines), "a screen")
        check(b"\x1b[7m" in frame and b"\x1b[33m" in frame or b"\x1b[1;33m" in frame, "no attributes", frame)
        t.wait_for(lambda lines: rows(lines) == (["1", "2", "3"], "1"), "the first is selected")
        t.press(b"\x1b[B")
        t.wait_for(lambda lines: rows(lines)[1] == "2" and any(line.startswith("cache blobs and more:") for line in lines),
                   "the second")
        t.press(b"3")
        t.wait_for(lambda lines: rows(lines)[1] == "3" and any(line.startswith("cache prices:") for line in lines), "the third")
        t.press(b"\x1bOA")
        t.wait_for(lambda lines: rows(lines)[1] == "2", "up again")
        t.press(b"n")
        t.wait_for(lambda lines: rows(lines)[0] == ["2", "1", "3"] and rows(lines)[1] == "2", "by name")
        t.press(b"r")
        t.wait_for(lambda lines: rows(lines)[0] == ["3", "1", "2"], "by name, reversed")
        t.press(b"?")
        t.wait_for(lambda lines: any("quit" in line for line in lines), "help")
        t.press(b"?\x1b[15~\x1b")
        t.wait_for(lambda lines: rows(lines)[0] == ["3", "1", "2"], "no help")
        t.press(b"q")
        t.left(0)


def sizes():
    with Publisher() as p:
        t = Terminal(p, size=(24, 80), environment={"NO_COLOR": "1"})
        t.wait_for(lambda lines: len(rows(lines)[0]) == 3, "a screen")
        for height, width in ((10, 40), (3, 20), (1, 1), (2, 300), (50, 200)):
            t.resize(height, width)
            os.kill(t.pid, signal.SIGWINCH)
            t.wait_for(lambda lines: len(lines) <= height + 1 and max(map(len, lines)) <= width and
                       (width < 150 or "NEG/s" in "".join(lines) or height < 10), (height, width))
        for frame in t.frames()[1:]:
            check(not re.search(rb"\x1b\[[0-9;]*m", frame.split(LEAVE)[0].replace(b"\x1b[0m\x1b[?25h", b"")),
                  "attributes in spite of NO_COLOR", frame)
        os.write(t.master, b"\x03") # as Ctrl-C is typed
        t.left(-signal.SIGINT)


def names():
    s = copy.deepcopy(SNAPSHOT)
    nasty = "\x1b[2J\x9b\r\n\x07\x1b]0;owned\x07"
    s["program"] = nasty
    s["caches"][0].update(name=nasty, kind=nasty)
    s["caches"][0]["hottest"][0]["key"] = s["caches"][0]["flights"][0]["key"] = nasty
    with Publisher(lambda n: json.dumps(s)) as p:
        t = Terminal(p)
        t.wait_for(lambda lines: any("\\x1b]0;owned" in line for line in lines), "names")
        check(b"\x07" not in t.written and b"\x9b" not in t.written, t.written)
        os.kill(t.pid, signal.SIGTERM)
        t.left(-signal.SIGTERM)


def stopped():
    """A process that is stopped is said to be; when it goes on, so does the screen. Ctrl-Z leaves the screen meanwhile."""
    with Publisher() as p:
        t = Terminal(p)
        t.wait_for(lambda lines: len(rows(lines)[0]) == 3, "a screen")
        os.kill(p.pid, signal.SIGSTOP)
        t.wait_for(lambda lines: "does not answer: it is stopped (SIGSTOP)" in lines[0], "stopped")
        os.kill(p.pid, signal.SIGCONT)
        t.wait_for(lambda lines: "process" in lines[0] and "does not answer" not in lines[0], "goes on")
        os.kill(t.pid, signal.SIGTSTP)
        until = time.monotonic() + 30
        while open(f"/proc/{t.pid}/stat").read().rsplit(")")[-1].split()[0] != "T":
            check(time.monotonic() < until, "not stopped")
            t.read(0.01)
        while select.select([t.master], [], [], 0)[0]:
            t.read(0)
        check(t.written.endswith(LEAVE), "the screen was not left", t.written[-200:])
        check(termios.tcgetattr(t.slave) == t.before, "the terminal is not as before while stopped")
        os.kill(t.pid, signal.SIGCONT)
        t.wait_for(lambda lines: len(rows(lines)[0]) == 3, "a screen again")
        t.press(b"q")
        t.left(0)


def broken():
    """An answer that is of no use is said; the next that is, is shown. Then the process goes."""
    with Publisher(lambda n: moving(n) if n < 3 or n > 6 else "{") as p:
        t = Terminal(p)
        t.wait_for(lambda lines: "not usable" in lines[0] and len(rows(lines)[0]) == 3, "the message above the last figures")
        t.wait_for(lambda lines: "not usable" not in lines[0] and len(rows(lines)[0]) == 3, "figures again")
    end = t.left(1)
    check(b"has gone" in end, end)


sys.exit(together(keys, sizes, names, stopped, broken))
