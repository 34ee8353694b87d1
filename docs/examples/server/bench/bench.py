#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""bench.py --bin DIR --db FILE: the example server beside the same server with a mutex and a hash table, under wrk on loopback.

Each round runs every situation with both servers, which one first changes from round to round. What is said of a situation is the
median over the rounds, and the ratio of the medians. The servers count their database queries themselves. Whatever was started is
ended, also after a failure. Exit status 1: an answer was wrong, or a server did not end well.
"""
import argparse
import http.client
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
SERVERS = ("hapax", "mutex")
ZIPF_KEYS, BURST_KEYS = 20000, 16

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--bin", type=pathlib.Path, required=True, help="where hapax-server and mutex-server are")
parser.add_argument("--db", type=pathlib.Path, required=True)
parser.add_argument("--records", type=int, default=100000, help="records in the database (100000)")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=int, default=3, help="of each measurement (3)")
parser.add_argument("--connections", type=int, default=32)
parser.add_argument("--threads", type=int, default=16, help="of each server (16)")
parser.add_argument("--json", type=pathlib.Path)
args = parser.parse_args()


class Server:
    def __init__(self, name, *options):
        command = [str(args.bin / f"{name}-server"), "--db", str(args.db), "--port", "0", "--threads", str(args.threads), *options]
        self.name = name
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = next((word for word in line.split() if word.startswith("http://")), None)
        if not self.url:
            self.end()
            raise RuntimeError(f"{' '.join(command)} did not start")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        code = self.end()
        if code and kind is None:
            raise RuntimeError(f"{self.name}-server ended with status {code}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        return self.process.returncode

    def figures(self):
        with urllib.request.urlopen(self.url + "server.json", timeout=10) as answer:
            return json.load(answer)


def load(server, distribution, keys, seed, meanwhile=None):
    """wrk for a while: its figures, and what the server counted."""
    before = server.figures()
    cpu = ticks(server)
    command = ["wrk", "-t2", f"-c{args.connections}", f"-d{args.seconds}s", "-s", str(HERE / "keys.lua"), server.url, "--",
               distribution, str(keys), str(args.records), str(seed)]
    wrk = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    writes = 0
    try:
        if meanwhile:
            writes = meanwhile(server, wrk)
        said, _ = wrk.communicate(timeout=args.seconds + 30)
    finally:
        if wrk.poll() is None:
            wrk.kill()
            wrk.wait()
    line = next((line for line in said.splitlines() if line.startswith("RESULT ")), None)
    if wrk.returncode or not line:
        raise RuntimeError(f"wrk: {said}")
    result, after = json.loads(line[7:]), server.figures()
    if result["errors"]:
        raise RuntimeError(f"{server.name}: {result['errors']} requests went wrong: {said}")
    return {"requests_per_s": result["requests"] / (result["us"] / 1e6), "p50_us": result["p50"], "p99_us": result["p99"],
            "p999_us": result["p999"], "queries": after["queries"] - before["queries"] - writes,
            
            "queries_per_1000": 1000 * (after["queries"] - before["queries"] - writes) / max(1, result["requests"]), "writes": writes,
            "server_cpu_us": (ticks(server) - cpu) * 1e6 / max(1, result["requests"])}


def ticks(server):
    """Seconds of processor time of a process so far."""
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rewrite(server, wrk):
    """All hot records are changed at once, five times a second: their readers find them gone."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=10)
    end, writes = time.monotonic() + args.seconds - 0.2, 0
    while wrk.poll() is None and time.monotonic() < end:
        began = time.monotonic()
        for key in range(1, BURST_KEYS + 1):
            connection.request("POST", f"/record/{key * 7919 % args.records + 1}", body=f"Text number {writes} of this record.")
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"{server.name}: a write was answered with {response.status}")
            writes += 1
        time.sleep(max(0, began + 0.2 - time.monotonic()))
    connection.close()
    return writes


def round_of(name, seed):
    with Server(name, "--cache-bytes", "256M") as server:
        yield f"cold start, {ZIPF_KEYS:,} keys by Zipf", load(server, "zipf", ZIPF_KEYS, seed)
        yield "the same, warm", load(server, "zipf", ZIPF_KEYS, seed + 1)
        yield "16 hot keys", load(server, "uniform", BURST_KEYS, seed)
        yield "16 hot keys, rewritten 5 times a second", load(server, "uniform", BURST_KEYS, seed, rewrite)
    with Server(name, "--cache-bytes", "16M") as server:
        load_quietly(server, "zipf", ZIPF_KEYS, seed)
        yield "the same, a quarter fits", load(server, "zipf", ZIPF_KEYS, seed + 1)
    with Server(name, "--ttl", "1", "--refresh", "0.7") as server:
        load_quietly(server, "uniform", 100, seed)
        yield "100 hot keys, ttl 1 s", load(server, "uniform", 100, seed + 1)


def load_quietly(server, distribution, keys, seed):
    """What comes before, not measured."""
    saved, args.seconds = args.seconds, 1
    try:
        load(server, distribution, keys, seed)
    finally:
        args.seconds = saved


COLUMNS = (("requests_per_s", "requests/s", "{:,.0f}"), ("p50_us", "p50", "{:,.0f} µs"), ("p99_us", "p99", "{:,.0f} µs"),
           ("p999_us", "p99.9", "{:,.0f} µs"), ("queries", "database queries", "{:,.0f}"),
           ("queries_per_1000", "of 1,000 requests", "{:,.2f}"),
           ("server_cpu_us", "CPU of a request", "{:,.1f} µs"))


def median(runs, column):
    return statistics.median(run[column] for run in runs)


def ratio(of, column):
    """None: too few queries to speak of."""
    if column.startswith("queries") and min(median(of[name], "queries") for name in SERVERS) < 10:
        return None
    return median(of["hapax"], column) / median(of["mutex"], column)


def report(results):
    rows = [["situation", "server", *(title for _, title, _ in COLUMNS)]]
    ratios = {}
    for situation, of in results.items():
        for name in SERVERS:
            rows.append([situation if name == SERVERS[0] else "", name,
                         *(form.format(median(of[name], column)) for column, _, form in COLUMNS)])
        ratios[situation] = {column: ratio(of, column) for column, _, _ in COLUMNS}
        rows.append(["", "ratio", *("–" if value is None else f"{value:.2f}" for value in ratios[situation].values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for i, row in enumerate(rows):
        cells = [cell.ljust(width) if j < 2 else cell.rjust(width) for j, (cell, width) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |")
        if i == 0:
            print("|" + "|".join("-" * (width + 2) if j < 2 else "-" * (width + 1) + ":" for j, width in enumerate(widths)) + "|")
    for situation, of in results.items():
        if any(run["writes"] for run in of["hapax"]):
            each = {name: statistics.median(run["queries"] / max(1, run["writes"]) for run in of[name]) for name in SERVERS}
            print(f"\nQueries that one change of a hot record caused: {each['hapax']:.2f} hapax, {each['mutex']:.2f} mutex")
    return ratios


def main():
    results, began = {}, time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    for number in range(args.rounds):
        for name in SERVERS if number % 2 == 0 else SERVERS[::-1]:
            for situation, figures in round_of(name, 100 * number):
                results.setdefault(situation, {}).setdefault(name, []).append(figures)
            print(f"round {number + 1} of {args.rounds}, {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"{args.rounds} rounds of {args.seconds} s each, {args.connections} connections, {args.threads} threads in each server, "
          f"{os.cpu_count()} processors shared with wrk; medians, and hapax / mutex\n")
    ratios = report(results)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": platform.machine(), "processors": os.cpu_count(), "kernel": platform.release(),
                                         "rounds": args.rounds, "seconds": args.seconds, "connections": args.connections,
                                         "threads": args.threads, "records": args.records, "results": results,
                                         "ratios_of_medians": ratios}, indent=1) + "\n")
        print(f"\nwritten: {args.json}")


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
except (RuntimeError, OSError, subprocess.TimeoutExpired, http.client.HTTPException) as error:
    print(f"bench: {error}", file=sys.stderr)
    sys.exit(1)
