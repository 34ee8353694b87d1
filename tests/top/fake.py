# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process with a statistics segment as lib/observe/segment.h describes it, which answers whatever a test wants."""
import copy
import ctypes
import json
import mmap
import os
import platform
import signal
import struct
import subprocess
import sys
import time
import traceback

HEAD = struct.Struct("=8sIIIIQI2I2I4x")
ASK, TOLD, PUBLISHED, LENGTH, OFFSET = 16, 20, 24, 36, 44
CAPACITY = 1 << 20

SNAPSHOT = {
    "format": 1, "version": "0.1.0", "pid": 1, "program": "server", "time_ns": 1763800000 * 10**9, "monotonic_ns": 10**12,
    "environments": [{
        "id": 0, "garbage_bytes": 3 << 20, "garbage_peak_bytes": 5 << 20, "garbage_bound_bytes": 64 << 20, "garbage_waits": 4,
        "garbage_refusals": 0, "grace_periods": 1000, "stalls": 2, "stalled_tid": 4711, "stalled_name": "sleepy",
        "types": [{"name": "page", "alive": 12345, "born": 2345678}, {"name": "file", "alive": 7, "born": 9}]}],
    "caches": [
        {"id": 1, "name": "pages", "kind": "cache", "env": 0, "bound_entries": 10000, "bound_weight": None, "hits": 9000,
         "misses": 1000, "loads": 900, "load_failures": 3, "load_ns": 9 * 10**9, "size_now": 9876, "retained": 9800,
         "retained_weight": 9800, "evictions": 500, "stale_hits": 10, "negative_hits": 20, "loads_in_flight": 2, "demoted": 76,
         "sampled_one_in": 64,
         "hottest": [{"key": "/index.html", "samples": 800, "share": 0.5}, {"key": "/über uns", "samples": 80, "share": 0.05}],
         "flights": [{"key": "/slow", "age_ns": 3 * 10**9, "exact": False, "tid": 4712, "waiters": 5},
                     {"key": "/quick", "age_ns": 1500, "exact": True, "tid": 4713, "waiters": 0}]},
        {"id": 2, "name": "blobs and more", "kind": "cache", "env": 0, "bound_entries": None, "bound_weight": 1 << 20, "hits": 1,
         "misses": 3, "loads": 3, "size_now": 3, "retained": 2, "retained_weight": 500000, "evictions": 0, "demoted": 1,
         "sampled_one_in": 64, "hottest": [], "flights": []},
        {"id": 3, "name": "prices", "kind": "memo", "env": 0, "bound_entries": None, "bound_weight": None, "hits": 0,
         "misses": 0, "hottest": [], "flights": []}]}


def moving(n):
    """The n-th answer of a process at work: two seconds later each, 900 hits, 100 misses, 50 loads, 12 grace periods more."""
    s = copy.deepcopy(SNAPSHOT)
    s["monotonic_ns"] += n * 2 * 10**9
    s["time_ns"] += n * 2 * 10**9
    s["environments"][0]["grace_periods"] += 12 * n
    for field, more in {"hits": 900, "misses": 100, "loads": 50, "evictions": 5, "stale_hits": 2, "negative_hits": 1}.items():
        s["caches"][0][field] += n * more
    return json.dumps(s)


FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine())
FUTEX_WAKE = 1
system = ctypes.CDLL(None).syscall


class Publisher:
    """A child that publishes answer(n), text or bytes, as its n-th answer; `head` changes fields of the segment's head, `spoil`
    gets the mapping and the file after each publication, `instead` the file when the first question has come."""

    def __init__(self, answer=moving, head=None, spoil=None, instead=None, silent=False, comm="publisher"):
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(ready)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                with open("/proc/self/comm", "w") as name:
                    name.write(comm)
                self.serve(answer, head or {}, spoil, instead, silent, tell)
            finally:
                os._exit(3)
        os.close(tell)
        assert os.read(ready, 1) == b"!", "the publisher did not come up"
        os.close(ready)

    def serve(self, answer, head, spoil, instead, silent, tell):
        parent = os.getppid()
        fields = dict(magic=b"hapax-s1", version=1, pid=os.getpid(), capacity=CAPACITY, offset=(4096, 4096 + CAPACITY),
                      length=None, size=4096 + 2 * CAPACITY)
        fields.update(head)
        fd = os.memfd_create("hapax-stats")
        os.ftruncate(fd, max(fields["size"], HEAD.size))
        m = mmap.mmap(fd, max(fields["size"], HEAD.size))
        HEAD.pack_into(m, 0, fields["magic"], fields["version"], fields["pid"], 0, 0, 0, fields["capacity"], 0, 0,
                       *fields["offset"])
        if fields["size"] < HEAD.size:
            os.ftruncate(fd, fields["size"])
        os.write(tell, b"!")
        os.close(tell)
        told = ctypes.addressof(ctypes.c_char.from_buffer(m)) + TOLD
        n = answered = 0
        while os.getppid() == parent:
            if fields["size"] < HEAD.size or silent:
                time.sleep(0.01)
                continue
            asked, = struct.unpack_from("=I", m, ASK)
            if asked == answered:
                time.sleep(0.001)
                continue
            if instead:
                instead(fd)
                silent = True
                continue
            answered = asked
            n += 1
            text = answer(n)
            text = text.encode() if isinstance(text, str) else text
            where = 4096 + CAPACITY * (n & 1)
            m[where:where + len(text)] = text
            struct.pack_into("=I", m, LENGTH + 4 * (n & 1), len(text) if fields["length"] is None else fields["length"])
            struct.pack_into("=I", m, TOLD, n)
            if FUTEX: # else it is found a little later
                system(FUTEX, ctypes.c_void_p(told), FUTEX_WAKE, 1 << 30, None, None, 0)
            if spoil:
                spoil(m, fd)

    def end(self):
        os.kill(self.pid, signal.SIGCONT)
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def run(program, *arguments, timeout=60, **more):
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more.pop("environment", {})}
    return subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                          env=environment, **more)


def together(*tests):
    """Runs them side by side, each in a process of its own: most of their time is waiting. Returns the exit status for all."""
    pids = []
    for test in tests:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                test()
                status = 0
            except SystemExit as end:
                status = end.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        pids.append(pid)
    return max(abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) for pid in pids)
