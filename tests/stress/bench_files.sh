#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench_files.sh PROGRAM: what the benchmark makes of files of earlier runs, which are made here; nothing is measured. A
# comparison finds what became slower and nothing else; the page has every figure, closes what it opens and loads nothing;
# what cannot be used is refused with the place.
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0
fail() {
	echo "FAILED: $*"
	failed=1
}
mkdir "$folder/out"

# Each case: an old and a new file.
cat >"$folder/make.py" <<'END'
import json, sys
folder = sys.argv[1]
NOISE = [0.99, 1.01, 1.0, 1.02, 0.98, 1.005, 0.995]
def row(workload, subject, n, threads, value, unit="Mops/s", noise=NOISE, **more):
    rounds = [value * x for x in noise]
    return {"workload": workload, "subject": subject, "key": "u64", "n": n, "threads": threads, "unit": unit,
            "rounds": rounds, **more}
def write(name, rows, **more):
    report = {"command": "bench", "version": "0.1.0", "seed": 7, "round_count": 7, "cpu": "A <fast> & \"odd\" one",
              "when": "2001-02-03 04:05:06 UTC", "rows": rows, "bars": []}
    report.update(more)
    json.dump(report, open(folder + "/" + name + ".json", "w"))
def field(own, peer=20, slow=5, scale=1.0, noise=NOISE):
    return [row("w1", "hapax", 1000, 2, own * scale, noise=noise), row("w1", "fast peer", 1000, 2, peer * scale),
            row("w1", "slow peer", 1000, 2, slow * scale)]
write("old", field(40))
write("same", field(40.4))
write("elsewhere", field(40, scale=0.4))             # another machine: everything takes longer
write("worse", field(30))
write("better", field(50))
write("worse_but_faster", field(36, peer=30, slow=8))  # ahead by 1.2 now, by 2 before
write("loud", field(40, noise=[0.5, 1.6, 1, 0.7, 1.4, 0.6, 1.5]))
write("loud_worse", field(30, noise=[0.5, 1.6, 1, 0.7, 1.4, 0.6, 1.5]))
shaky = [0.6, 1.5, 0.8, 1.3, 1.0, 0.7, 1.4]          # of the machine: hapax and its peers alike
write("shaken", field(40, noise=shaky)[:1] + [row("w1", s, 1000, 2, v, noise=shaky) for s, v in (("fast peer", 20), ("slow peer", 5))])
write("shaken_worse", field(30, noise=shaky)[:1] + [row("w1", s, 1000, 2, v, noise=shaky) for s, v in (("fast peer", 20), ("slow peer", 5))])
write("no_row", field(40)[1:])
write("more_rows", field(40) + [row("w3", "hapax", 1, 2, 9)])
write("twice", field(40) + field(40)[:1])
write("alone", field(40)[:1])
write("alone_worse", field(30)[:1])
write("other_peers", field(40)[:1] + [row("w1", "new peer", 1000, 2, 20)])
limit = lambda v: [row("limit", "add+sub", 1, 2, v)]
write("limit", field(40)[:1] + limit(100))
write("limit_half", field(20)[:1] + limit(50))       # half the machine: no change
write("limit_worse", field(40)[:1] + limit(200))
write("bytes", [row("w6", "hapax", 1000, 1, 40, "bytes"), row("w6", "fast peer", 1000, 1, 50, "bytes")])
write("bytes_more", [row("w6", "hapax", 1000, 1, 50, "bytes"), row("w6", "fast peer", 1000, 1, 50, "bytes")])
for name in ("bytes", "bytes_more"):
    report = json.load(open(folder + "/" + name + ".json"))
    write(name + "_once", [dict(r, rounds=r["rounds"][2:3]) for r in report["rows"]])
write("short", [dict(r, rounds=r["rounds"][:2]) for r in field(40)])
def late(p999):
    rounds = {"p50_ns": NOISE, "p999_ns": [p999 * x for x in NOISE]}
    peer = {"p50_ns": NOISE, "p999_ns": [900 * x for x in NOISE]}
    return [row("w5b", "hapax", 1000, 1, 10, p50_ns=1, p999_ns=p999, latency_rounds=rounds),
            row("w5b", "fast peer", 1000, 1, 10, p50_ns=1, p999_ns=900, latency_rounds=peer)]
write("early", late(300))
write("late", late(400))
# everything a page can have, with names that want escaping
odd = 'peer <b>&"\'x</b>'
rows, value = [], 1.0
for workload, ns, threads, unit in (("w1", (1000, 100000), (1, 2, 8), "Mops/s"), ("w3", (1,), (1, 2), "Mops/s"),
                                    ("w6", (1000,), (1,), "bytes"), ("w7", (1000,), (1,), "Mops/s"), ("w9", (0,), (0,), "ns")):
    for n in ns:
        for t in threads:
            for subject in ["hapax", "hapax (lru)", odd] + ["peer %d" % i for i in range(9)]:
                value += 0.37
                more = {"p50_ns": 100 + value, "p99_ns": 300 + value, "max_ns": 90000} if workload == "w7" else {}
                if workload == "w3":
                    more = {"hit_ratio": 0.5, "figures": {"<extra>": 4321}}
                rows.append(row(workload, subject, n, t, value, unit, **more))
rows += [row("limit", "line+object+count", 1000, t, 100 * t) for t in (1, 2)]
rows += [row("limit", "add+sub, one word", 1, t, 11) for t in (1, 2)] + [row("w7-floor", "empty loop", 1000, 1, 70, p50_ns=5, max_ns=6)]
bars = [{"name": "bar <1>", "workload": "w1", "against": odd, "ratio": 2.5, "must": 2, "goal": 3, "at_most": False,
         "holds": True, "goal_holds": False},
        {"name": "bar 2", "workload": "w6", "against": "", "ratio": 77.5, "must": 52, "goal": None, "at_most": True,
         "holds": False, "goal_holds": None},
        {"name": "bar 3", "workload": "w9", "against": "", "ratio": None, "must": 1, "goal": None, "at_most": True,
         "holds": None, "goal_holds": None}]
write("everything", rows, bars=bars, peers={odd: "1.2<3"}, absent={"gone, w1": "not & never"}, kernel="Linux 9", compiler="cc 1",
      command_line="hapax-stress bench <x>", unknown={"of": "later"})
zero = row("w1", "peer", 1000, 1, 0)
write("nothing", [dict(zero, subject="hapax"), zero, row("w4", "hapax", 0, 0, -1)])
END
python3 "$folder/make.py" "$folder" || exit 1

# compares STATUS WORDS OLD NEW [OPTION...]: the exit status, and what its last line says
compares() {
	status=$1 words=$2 old=$3 new=$4
	shift 4
	"$program" bench --compare "$folder/$old.json" "$folder/$new.json" "$@" >"$folder/text" 2>"$folder/err"
	got=$?
	if [ $got -ne "$status" ] || ! tail -1 "$folder/text" | grep -q -e "$words" || [ -s "$folder/err" ]; then
		fail "$old against $new: status $got, $(cat "$folder/text" "$folder/err")"
	fi
}
compares 0 '^0 worse, 1 same' old old
compares 0 '^0 worse, 1 same' old same
compares 0 '^0 worse, 1 same' old elsewhere
compares 1 '^1 worse, threshold 5' old worse
grep -q '^w1 hapax, u64 keys, N = 1,000, 2 threads *fast peer .*-25.0%.*worse$' "$folder/text" || fail "the row: $(cat "$folder/text")"
compares 0 '^0 worse, 1 better' old better
compares 0 '^0 worse, 1 better' worse old
compares 1 '^1 worse' old worse_but_faster
compares 0 '^0 worse, 1 same' old worse --threshold 26
compares 1 '^1 worse, threshold 24.9' old worse --threshold 24.9
compares 0 '^0 worse, 1 noisy' old loud_worse
compares 0 '^0 worse, 1 noisy' loud worse
compares 0 '^0 worse, 1 same' old shaken
compares 1 '^1 worse' old shaken_worse
compares 0 '^0 worse, 1 same' old more_rows
grep -q 'w3 hapax.*only in .*more_rows.json' "$folder/text" || fail "a new row is not named"
compares 0 '^0 worse, 1 same' alone alone
compares 1 '^1 worse' alone alone_worse
grep -q 'nothing in common' "$folder/text" || fail "plain figures are not told"
compares 0 '^0 worse, 1 same' old other_peers
grep -q 'nothing in common' "$folder/text" || fail "other peers are compared"
compares 0 '^0 worse, 1 same' limit limit_half
grep -q 'add+sub' "$folder/text" || fail "the limit is not the reference"
compares 1 '^1 worse' limit limit_worse
compares 1 '^1 worse' bytes bytes_more
compares 0 '^0 worse, 1 better' bytes_more bytes
compares 1 '^1 worse' bytes_once bytes_more_once
compares 0 '^0 worse, 2 same' early early
compares 1 '^1 worse, 1 same' early late
grep -q 'p99.9 .*-25.0%.*worse' "$folder/text" || fail "a latency is not compared: $(cat "$folder/text")"
compares 0 '^0 worse, 16 same' everything everything --workload w1 --workload w3

# refuses WORDS ARGUMENTS...: status 2, the words in the message, no output
refuses() {
	words=$1
	shift
	"$program" bench "$@" --html "$folder/out/html" >"$folder/text" 2>"$folder/err"
	got=$?
	if [ $got -ne 2 ] || ! grep -q -e "$words" "$folder/err"; then
		fail "'$*': status $got, message: $(cat "$folder/err")"
	fi
	[ -z "$(ls "$folder/out")" ] || fail "'$*': output"
}
refuses "no_row.json: 1 row of .*old.json is missing: 'w1 hapax, u64 keys, N = 1,000, 2 threads'" --compare "$folder/old.json" "$folder/no_row.json"
refuses "twice.json: .* there twice" --compare "$folder/old.json" "$folder/twice.json"
refuses "no_row.json: it has no rows of hapax" --compare "$folder/no_row.json" "$folder/old.json"
refuses "no row has 3 rounds" --compare "$folder/short.json" "$folder/old.json"
refuses "gone.json: No such file" --compare "$folder/gone.json" "$folder/old.json"
refuses "gone.json: No such file" --compare "$folder/old.json" "$folder/gone.json"
refuses "NEW is missing" --compare "$folder/old.json"
refuses "one NEW is enough" --compare "$folder/old.json" "$folder/old.json" "$folder/old.json"
refuses "threshold" --compare "$folder/old.json" "$folder/old.json" --threshold 0
refuses "no rows of these workloads" --compare "$folder/old.json" "$folder/old.json" --workload w9
refuses "no rows of these workloads" --from "$folder/old.json" --workload w9
refuses "unknown option '--seconds'" --from "$folder/old.json" --seconds 1
"$program" bench --from "$folder/old.json" >"$folder/text" 2>"$folder/err"
[ $? -eq 2 ] && grep -q -e '--html FILE is missing' "$folder/err" || fail "--from without --html"
# with WORDS: the file on standard input is refused
with() {
	cat >"$folder/bad.json"
	refuses "bad.json: $1" --from "$folder/bad.json"
	refuses "bad.json: $1" --compare "$folder/old.json" "$folder/bad.json"
}
ROW='"workload": "w1", "subject": "hapax", "key": "u64", "n": 1, "threads": 1, "unit": "ns"'
: | with 'not JSON'
echo 'a text' | with 'not JSON: offset'
head -c 300 "$folder/old.json" | with 'not JSON: it ends in the middle'
echo '{} and more' | with 'not JSON'
echo '[1]' | with 'it is not an object'
echo '{}' | with "'command' is missing"
echo '{"command": "policy", "rows": []}' | with "it is of 'hapax-stress policy'"
echo '{"command": "bench"}' | with "'rows' is missing"
echo '{"command": "bench", "rows": []}' | with 'it has no rows'
echo '{"command": "bench", "rows": {}}' | with "'rows' is not an array"
echo '{"command": "bench", "rows": [3]}' | with 'rows\[0\] is not an object'
echo "{\"command\": \"bench\", \"rows\": [{$ROW}]}" | with "rows\[0\]: 'rounds' is missing"
echo "{\"command\": \"bench\", \"rows\": [{$ROW, \"rounds\": []}]}" | with "rows\[0\]: 'rounds' is empty"
echo "{\"command\": \"bench\", \"rows\": [{$ROW, \"rounds\": [1, \"2\"]}]}" | with "rows\[0\]: 'rounds'\[1\] is not a number"
echo "{\"command\": \"bench\", \"rows\": [{$ROW, \"rounds\": [NaN]}]}" | with ''
echo "{\"command\": \"bench\", \"rows\": [{$ROW, \"rounds\": [1]}, {${ROW/\"n\": 1/\"n\": 1.5}, \"rounds\": [1]}]}" | with "rows\[1\]: 'n' is not a whole number"
echo "{\"command\": \"bench\", \"rows\": [{${ROW/\"w1\"/null}, \"rounds\": [1]}]}" | with "rows\[0\]: 'workload' is missing"
echo "{\"command\": \"bench\", \"rows\": [{${ROW/\"hapax\"/8}, \"rounds\": [1]}]}" | with "rows\[0\]: 'subject' is not a string"
echo "{\"command\": \"bench\", \"rows\": [{$ROW, \"rounds\": [1], \"figures\": {\"x\": \"y\"}}]}" | with "rows\[0\]: figures: 'x' is not a number"
echo "{\"command\": \"bench\", \"rows\": [{$ROW, \"rounds\": [1]}], \"bars\": [{}]}" | with "bars\[0\]: 'name' is missing"

# pages
for name in everything old nothing; do
	"$program" bench --from "$folder/$name.json" --html "$folder/$name.html" >"$folder/text" 2>&1 || fail "page of $name: $(cat "$folder/text")"
done
"$program" bench --compare "$folder/old.json" "$folder/worse.json" --html "$folder/changes.html" >"$folder/text" 2>&1
[ $? -eq 1 ] || fail "a page hides that something is worse"
"$program" bench --from "$folder/old.json" --html - | cmp -s - "$folder/old.html" || fail "the page on standard output"
cat >"$folder/look.py" <<'END'
import json, re, sys
from html.parser import HTMLParser
class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.stack, self.count, self.rows, self.text, self.names = [], {}, [], "", []
        raw = open(path).read()
        assert not re.search(r"://|\bnan\b|\binf\b", raw), "an address, or no number"
        self.feed(raw)
        assert not self.stack and raw.startswith("<!DOCTYPE html>")
    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        assert tag not in ("script", "link", "img", "iframe", "b", "extra", "fast"), tag
        for name, value in attributes:
            assert name not in ("src", "href") and "url(" not in (value or ""), (name, value)
            if name == "aria-label":
                self.names.append(value)
        if tag != "meta":
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
    def handle_startendtag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, tag
    def handle_data(self, data):
        self.text += data
        if self.stack and self.stack[-1] in ("td", "th"):
            self.rows[-1][-1] += data
folder = sys.argv[1]
report = json.load(open(folder + "/everything.json"))
page = Page(folder + "/everything.html")
for value in ('A <fast> & "odd" one', "2001-02-03 04:05:06 UTC", "Linux 9", "cc 1", "hapax-stress bench <x>", "0.1.0",
              'peer <b>&"\'x</b> 1.2<3', "gone, w1: not & never"):
    assert value in page.text, value
def number(text):
    return float(text.replace(",", "")) if text else 0.0
unit, shown = None, []
for row in page.rows:
    if row[0] == "subject":
        heading = row
    elif row[0] == "bar":
        heading = None
    elif heading:
        shown.append(dict(zip(heading, row)))
    assert not heading or len(heading) == len(row), row
assert len(shown) == len(report["rows"]), (len(shown), len(report["rows"]))
for row in report["rows"]:
    value = sorted(row["rounds"])[3]
    mine = [s for s in shown if s["subject"] == row["subject"] and number(s.get("N", "")) == row["n"]
            and number(s.get("threads", "")) == row["threads"] and row["unit"] + ", median" in s
            and abs(number(s[row["unit"] + ", median"]) - value) <= 0.006 * value]
    assert mine, row
    if "figures" in row:
        assert number(mine[0]["<extra>"]) == 4321 and number(mine[0]["hits, %"]) == 50
    if "max_ns" in row:
        assert number(mine[0]["longest, ns"]) == row["max_ns"]
bars = [row for row in page.rows if row[0].startswith("bar ")]
assert bars == [["bar <1>", "at least 2", "at least 3", "2.5", "holds", 'peer <b>&"\'x</b>'],
                ["bar 2", "at most 52.0", "", "77.5", "misses", ""], ["bar 3", "at most 1", "", "", "not measured", ""]], bars
# w1: over N for each of 3 numbers of threads, over threads for each of 2 N; w3 over threads; bars of w6, w7, w9; latencies of w7
assert len(page.names) == 3 + 2 + 1 + 3 + 1, page.names
assert any("latency" in name for name in page.names) and 'class="limit"' in open(folder + "/everything.html").read()
Page(folder + "/old.html"), Page(folder + "/nothing.html")
changes = Page(folder + "/changes.html")
row, = [row for row in changes.rows if row[0].startswith("w1 hapax")]
assert row[1] == "fast peer" and row[4] == "-25.0" and row[6] == "worse", row
END
python3 "$folder/look.py" "$folder" || fail "the pages"
exit $failed
