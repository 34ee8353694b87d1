#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A model of throughput on up to 128 cores, from counted lines and measured costs. docs/scaling.md says what it is worth.

    scaling.py --lines LINES.json --bench BENCH.json [--svg FILE] [--far TIMES] [--table markdown|text]

LINES.json is what hapax-lines writes, BENCH.json what `hapax-stress bench --workload limit,w1,w2,w3,w4,w10 --json` does; both of the
machine at hand. Without BENCH.json: --move-ns and --hit-ns, --zipf-ns, --hot-ns, --churn-ns, --bounded-ns.

Each workload is a closed queueing network: N cores, each of which spends `local` ns by itself per operation, and then needs
lines that are written by others too. A line serves one core at a time and takes `move` ns for each. Mean value analysis gives the
throughput exactly, for service times that vary; the limit for many cores is one operation per demand of the busiest line.
"""
import argparse
import json
import math
import sys

CORES = (1, 2, 4, 8, 16, 32, 64, 128)


# ---- inputs -----------------------------------------------------------------------------------------------------------

class Lines:
    """What hapax-lines counted: per operation, with the other thread on the same key, another key of the cache, ..."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.rows = {(row["operation"], row["part"]): row for row in json.load(file)["rows"]}

    def of(self, operation, phase, field):
        try:
            return self.rows[operation, ""][phase][field]
        except KeyError:
            sys.exit(f"scaling.py: {operation}, {phase}, {field}: hapax-lines did not count it")


class Costs:
    """Nanoseconds, from options or from rows of the bench."""

    def __init__(self, options):
        self.rows = []
        self.best = options.best
        if options.bench:
            with open(options.bench, encoding="utf-8") as file:
                self.rows = json.load(file)["rows"]
        self.given = {name: getattr(options, name + "_ns") for name in ("move", "hit", "zipf", "hot", "churn", "bounded")}

    def mops(self, workload, subject, threads, n=None):
        rows = [row for row in self.rows if row["workload"] == workload and row["subject"] == subject and
                row["threads"] == threads and row.get("mops") and row["key"] in ("", "u64") and (n is None or row["n"] == n)]
        return (rows[0]["max" if self.best else "mops"], rows[0]["n"]) if rows else (None, None)

    def ns(self, name, workload, n=None):
        """Of one operation on one thread, and over how many objects."""
        if self.given[name]:
            return self.given[name], n
        mops, n = self.mops(workload, "hapax", 1, n)
        return (1000 / mops, n) if mops else (None, None)

    def move(self):
        """A line changes hands: two threads that add to one word and subtract again need it twice each time."""
        if self.given["move"]:
            return self.given["move"]
        mops, _ = self.mops("limit", "add+sub, one word", 2)
        if not mops:
            sys.exit("scaling.py: no row 'add+sub, one word' with two threads, and no --move-ns")
        return 1000 / (2 * mops)


# ---- the model --------------------------------------------------------------------------------------------------------

def throughput(cores, local, stations, apart=0.0):
    """Operations per ns of `cores`: exact mean value analysis. `stations`: {demand in ns: how many such lines}. `apart`: what an
    operation waits for lines that nobody else wants at that moment, but somebody had last: with one core, none."""
    kinds = list(stations.items())
    queue = [0.0] * len(kinds)
    x = 0.0
    for n in range(1, cores + 1):
        # on one core a line stays where it is: what its use costs there is part of `local`
        demand = [d if n > 1 else 0.0 for d, _ in kinds]
        times = [d * (1 + q) for d, q in zip(demand, queue)]
        x = n / (local + apart * (n - 1) / n + sum(t * count for t, (_, count) in zip(times, kinds)))
        queue = [x * t for t in times]
    return x


def zipf(n, exponent):
    """Probabilities of the most wanted 64 keys each, and those of the rest in groups of equal size on a logarithmic scale."""
    edges = sorted({*range(1, min(n, 64) + 2), *(min(n + 1, int(64 * 1.25 ** i)) for i in range(1, 120))})
    groups = []
    for low, high in zip(edges, edges[1:]):
        middle = (low - 0.5) ** (1 - exponent), (high - 0.5) ** (1 - exponent)
        weight = (middle[1] - middle[0]) / (1 - exponent)
        groups.append((weight / (high - low), high - low, low))
    total = sum(weight * count for weight, count, _ in groups)
    return [(weight / total, count, low) for weight, count, low in groups]


def by_key(groups, moves, promoted=0):
    """Stations of keys that are wanted with these probabilities; the first `promoted` of them need no line."""
    stations = {}
    for probability, count, low in groups:
        if low > promoted:
            stations[probability * moves] = stations.get(probability * moves, 0) + count
    return stations


class Workload:
    def __init__(self, name, limit, local, stations, apart=0.0, measured=None):
        self.name, self.limit, self.local, self.stations, self.apart = name, limit, local, stations, apart
        self.measured = measured # two threads against one

    def speedup(self, cores, far):
        one = throughput(1, self.local, self.stations)
        return throughput(cores, self.local, {d * far: n for d, n in self.stations.items()}, self.apart * far) / one

    def bound(self, far):
        busiest = max(self.stations, default=0) * far
        return self.local / busiest if busiest else math.inf


def workloads(lines, costs, options):
    move = costs.move()
    found = []

    def measured(workload, n):
        one, two = (costs.mops(workload, "hapax", t, n)[0] for t in (1, 2))
        return two / one if one and two else None

    def add(name, limit, local, stations, apart=0.0, row=None, n=None):
        if local:
            found.append(Workload(name, limit, local, stations, apart, measured(row, n) if row else None))

    # a hit writes one shared line, the count's; whoever had it last was somebody else, unless its object is in no cache at all
    same = lines.of("hit", "same key", "transfers") * move
    pair = lines.of("hit", "same key", "busiest") * move
    for n in sorted({row["n"] for row in costs.rows if row["workload"] == "w1" and row["key"] == "u64"} or {options.objects}):
        local, _ = costs.ns("hit", "w1", n)
        add(f"hits, uniform over {n}", "nothing: the object's line comes from whoever had it", local, {pair / n: n}, 0, "w1", n)
    local, n = costs.ns("zipf", "w2")
    groups = zipf(n or options.objects, 0.99)
    add("hits, Zipf 0.99", "the line of the first key's object", local, by_key(groups, pair), 0, "w2", n)
    add(f"hits, Zipf 0.99, {options.promoted} promoted", "the line of the first object that is not", local,
        by_key(groups, pair, options.promoted))
    local, _ = costs.ns("hot", "w3")
    add("one key", "its object's line", local, {pair: 1}, 0)
    add("one key, promoted, or borrowed", "nothing", local, {}, 0, "w3")
    local, n = costs.ns("churn", "w4")
    if local:
        moved = {p: lines.of("churn", p, "transfers") * move for p in ("other key", "other cache")}
        busiest = {p: lines.of("churn", p, "busiest") * move for p in moved}
        add("churn, one cache", "the cache's count of calls", local, {busiest["other key"]: 1},
            max(moved["other key"] - busiest["other key"], 0), "w4", n)
        add("churn, a cache for each core", "the environment's garbage, the number of the grace period", local,
            {busiest["other cache"]: 1}, max(moved["other cache"] - busiest["other cache"], 0))
    local, n = costs.ns("bounded", "w10")
    if local:
        # the lock goes with everything that it guards; `local` has a miss's own work in it
        miss = options.miss_ratio * lines.of("eviction, adaptive", "other key", "transfers") * move
        add(f"bounded cache, {options.miss_ratio:.0%} misses", "the tier's lock, and what moves with it", local, {miss: 1},
            same * (1 - options.miss_ratio), "w10", n)
    local, _ = costs.ns("hit", "w1")
    lru = lines.of("hit, bounded, exact LRU", "other key", "transfers") * move
    add("hits, exact LRU", "the tier's lock", local, {lru: 1}, same)
    add("hits, ttl; memo", "nothing: as hits", local, {}, same)
    add("memo, one owner", "the counters of the owner's room", local,
        {lines.of("memo of owners", "other key", "busiest") * move: 1}, same)
    return found, move


# ---- telling ----------------------------------------------------------------------------------------------------------

def number(x):
    return "-" if x is None else "any" if math.isinf(x) else f"{x:.0f}" if x >= 10 else f"{x:.1f}"


def table(found, far, markdown):
    head = ["cores", *map(str, CORES), "at most", "two, measured", "what limits"]
    rows = [[w.name, *(number(w.speedup(c, far)) for c in CORES), number(w.bound(far)), number(w.measured), w.limit] for w in found]
    if markdown:
        yield "| " + " | ".join(head) + " |"
        yield "|" + "---|" * len(head)
        yield from ("| " + " | ".join(row) + " |" for row in rows)
        return
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        yield "  ".join(cell.ljust(width) if i in (0, len(head) - 1) else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip()


PALETTE = ("#1b6ca8", "#c4512d", "#2a8a4a", "#8a3a9a", "#a8851b", "#555555", "#d0527f", "#3aa0a0", "#7a5c3a", "#4a4ad0", "#96b030",
           "#c03030", "#206060", "#b06ad0")


def svg(found, far):
    width, height, left, top, plot_w, plot_h = 860, 460, 60, 40, 480, 370

    def x_of(cores):
        return left + plot_w * math.log2(cores) / 7

    def y_of(speedup):
        return top + plot_h * (1 - (math.log2(max(speedup, 0.25)) + 2) / 9)

    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">')
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    yield (f'<text x="{left}" y="20" font-size="13">Throughput against one core, modelled (a line moves in '
           f'{far:g} times what was measured)</text>')
    for cores in CORES:
        yield f'<line x1="{x_of(cores):.0f}" y1="{top}" x2="{x_of(cores):.0f}" y2="{top + plot_h}" stroke="#ddd"/>'
        yield f'<text x="{x_of(cores):.0f}" y="{top + plot_h + 16}" text-anchor="middle">{cores}</text>'
    for power in range(-2, 8):
        y = y_of(2 ** power)
        yield f'<line x1="{left}" y1="{y:.0f}" x2="{left + plot_w}" y2="{y:.0f}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{2 ** power:g}</text>'
    yield f'<text x="{left + plot_w / 2:.0f}" y="{top + plot_h + 34}" text-anchor="middle">cores</text>'
    yield (f'<line x1="{x_of(1):.0f}" y1="{y_of(1):.0f}" x2="{x_of(128):.0f}" y2="{y_of(128):.0f}" stroke="#999" '
           'stroke-dasharray="4 4"/>')
    for i, w in enumerate(found):
        colour = PALETTE[i % len(PALETTE)]
        points = " ".join(f"{x_of(c):.1f},{y_of(w.speedup(c, far)):.1f}" for c in CORES)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<line x1="{left + plot_w + 20}" y1="{top + 8 + 22 * i}" x2="{left + plot_w + 44}" y2="{top + 8 + 22 * i}" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{left + plot_w + 50}" y="{top + 12 + 22 * i}">{w.name}</text>'
    yield "</svg>"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", required=True, help="JSON of hapax-lines")
    parser.add_argument("--bench", help="JSON of hapax-stress bench, with its rows of workload limit")
    parser.add_argument("--best", action="store_true", help="the best round of each row, not the median: of a machine that is not idle")
    parser.add_argument("--svg", help="a picture")
    parser.add_argument("--table", choices=("markdown", "text"), default="text")
    parser.add_argument("--far", type=float, default=5, help="a line between dies or sockets takes so many times as long; a guess")
    parser.add_argument("--promoted", type=int, default=128, help="objects that are promoted, of Zipf's")
    parser.add_argument("--objects", type=int, default=1000000, help="where no row of the bench says it")
    parser.add_argument("--miss-ratio", type=float, default=0.2, help="of the bounded cache")
    for name, what in (("move", "a line changes hands"), ("hit", "a hit"), ("zipf", "one by Zipf's law"), ("hot", "one on one key"),
                       ("churn", "a get that creates, and the death"), ("bounded", "a get of a bounded cache")):
        parser.add_argument(f"--{name}-ns", type=float, help=f"{what}, on one thread, instead of the bench's")
    options = parser.parse_args()
    found, move = workloads(Lines(options.lines), Costs(options), options)
    if not found:
        sys.exit("scaling.py: nothing of --bench, nor --hit-ns and the others, to begin with")
    for far in (1, options.far):
        print(f"{'' if far == 1 else chr(10)}Throughput of so many cores against one; a line changes hands in "
              f"{far:g} x {move:.1f} ns\n")
        print("\n".join(table(found, far, options.table == "markdown")))
    if options.svg:
        with open(options.svg, "w", encoding="utf-8") as file:
            file.write("\n".join(svg(found, options.far)) + "\n")


if __name__ == "__main__":
    main()
