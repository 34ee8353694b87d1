#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# policy.sh PROGRAM: the replay of traces on small ones that are made here. Exact LRU hits as often as one computed here;
# the JSON has its fields and its summary is that of its rows; what cannot be used is refused without output.
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0
fail() {
	echo "FAILED: $*"
	failed=1
}
mkdir "$folder/traces" "$folder/bad" "$folder/sized" "$folder/empty"
seed=${HAPAX_SEED:-20}
echo "seed $seed"

cat >"$folder/make.py" <<'END'
import random, struct, sys
from collections import OrderedDict
folder, seed = sys.argv[1], int(sys.argv[2])
random.seed(seed)
def zipf(keys, requests):
    weights = [1 / (k + 1) for k in range(keys)]
    return random.choices(range(keys), weights, k=requests)
def keys64(trace):
    return [(k * 0x9e3779b97f4a7c15 + 1) & (1 << 64) - 1 for k in trace]
traces = {
    "zipf": keys64(zipf(3000, 20000)),
    "lirs-loop": keys64(list(range(200)) * 20),
    "addr-shift": keys64([i // 7 + random.randrange(150) for i in range(9000)]),
}
fractions = [0.01, 0.1, 0.25]
def lru(trace, size):
    cache, hits = OrderedDict(), 0
    for key in trace:
        if key in cache:
            hits += 1
            cache.move_to_end(key)
        else:
            cache[key] = None
            if len(cache) > size:
                cache.popitem(last=False)
    return hits
with open(folder + "/traces/reference-hit-ratios.csv", "w") as csv, open(folder + "/expected", "w") as expected:
    csv.write("trace,algo,size_fraction,cache_size,hit_ratio\n")
    for name, trace in sorted(traces.items()):
        with open(folder + "/traces/" + name + ".u64", "wb") as out:
            out.write(struct.pack("<%dQ" % len(trace), *trace))
        for fraction in fractions:
            size = int(fraction * len(set(trace)) + 0.5)
            if size >= 10:
                hits = lru(trace, size)
                expected.write("%s %g %d %d %d\n" % (name, fraction, size, hits, len(trace)))
                csv.write("%s,LRU,%g,%d,%.6f\n" % (name, fraction, size, hits / len(trace)))
                csv.write("%s,None,%g,%d,0\n" % (name, fraction, size))
sizes = {}
with open(folder + "/sized/web.kv", "wb") as out, open(folder + "/sized-expected", "w") as expected:
    requests = [(k, sizes.setdefault(k, random.randrange(0, 5000))) for k in zipf(800, 9000)]
    for key, size in requests:
        out.write(struct.pack("<QI", key, size))
    total = sum(max(1, s) for s in sizes.values())
    bound, used, hits, hit_bytes, cache = int(0.1 * total + 0.5), 0, 0, 0, OrderedDict()
    for key, size in requests:
        size = max(1, size)
        if key in cache:
            hits += 1
            hit_bytes += size
            cache.move_to_end(key)
        else:
            cache[key] = size
            used += size
            while used > bound:
                used -= cache.popitem(last=False)[1]
    print(bound, hits, len(requests), hit_bytes / sum(max(1, s) for _, s in requests), len(sizes), file=expected)
END
python3 "$folder/make.py" "$folder" "$seed" || exit 1

"$program" policy "$folder/traces" --fraction 0.25 --fraction 0.01 --fraction 0.1 --threads 3 --json "$folder/json" \
	--html "$folder/html" >"$folder/out" 2>&1 || fail "traces: status $?: $(tail -20 "$folder/out")"
python3 - "$folder/json" "$folder/expected" <<'END' || fail "JSON of the traces"
import json, sys
report = json.load(open(sys.argv[1]))
expected = {}
for line in open(sys.argv[2]):
    name, fraction, size, hits, requests = line.split()
    expected[name, float(fraction)] = int(size), int(hits), int(requests)
assert report["command"] == "policy" and report["ok"] is True and report["broken"] == []
assert report["threads"] == 3 and report["seconds"] > 0 and report["version"] and "seed" in report
policies = {"adaptive", "lru", "sieve", "s3fifo", "tinylfu"}
rows = {(r["trace"], r["policy"], r["fraction"], r["threads"]): r for r in report["rows"]}
assert len(rows) == len(report["rows"]) == len(expected) * len(policies) * 2
ratio = {}
for (trace, policy, fraction, threads), row in rows.items():
    size, hits, requests = expected[trace, fraction]
    assert row["size"] == size and row["requests"] == requests and row["hits"] <= requests
    assert abs(row["hit_ratio"] - row["hits"] / requests) < 1e-9
    ratio[trace, policy, fraction, threads] = row["hit_ratio"]
    if policy == "lru" and threads == 1:
        assert row["hits"] == hits, (trace, fraction, row["hits"], hits)
for policy in policies:
    for threads in (1, 3):
        mine = {(t, f): r for (t, p, f, n), r in ratio.items() if p == policy and n == threads}
        summary, = [s for s in report["summary"] if s["policy"] == policy and s["threads"] == threads]
        assert summary["points"] == len(mine) == len(expected)
        assert abs(summary["mean_all"] - sum(mine.values()) / len(mine)) < 1e-9
        production = [r for (t, f), r in mine.items() if t == "zipf"]
        assert abs(summary["mean_production"] - sum(production) / len(production)) < 1e-9
        below = [ratio[t, "lru", f, 1] - r for (t, f), r in mine.items()]
        assert summary["points_below_lru"] == sum(b > 0.01 for b in below)
        assert abs(summary["worst_below_lru"] - max(0, *below)) < 1e-9
        assert max(r for r in mine.values()) > 0.3, (policy, mine)
none, = [r for r in report["reference"] if r["algorithm"] == "None"]
assert none["points"] == len(expected) and none["mean_all"] == 0 and none["points_below_lru"] > 0
END
python3 - "$folder/html" <<'END' || fail "the page"
import sys
from html.parser import HTMLParser
text = open(sys.argv[1]).read()
stack, count = [], {}
class Parser(HTMLParser):
    def handle_starttag(self, tag, attributes):
        count[tag] = count.get(tag, 0) + 1
        assert tag not in ("script", "link", "img", "iframe"), tag
        for name, value in attributes:
            assert name not in ("src", "href") and "url(" not in (value or ""), (name, value)
        if tag != "meta":
            stack.append(tag)
    def handle_startendtag(self, tag, attributes):
        pass
    def handle_endtag(self, tag):
        assert stack.pop() == tag, tag
Parser().feed(text)
assert not stack and count["svg"] == 3 and "://" not in text
END

# by weight; without a trace of the same name that has no sizes, by entries too
"$program" policy "$folder/sized" --fraction 0.1 --policy lru --policy weighted --threads 2 --json "$folder/json" \
	>"$folder/out" 2>&1 || fail "sized: status $?: $(tail -20 "$folder/out")"
python3 - "$folder/json" "$folder/sized-expected" <<'END' || fail "JSON of the sized trace"
import json, sys
report = json.load(open(sys.argv[1]))
bound, hits, requests, byte_ratio, keys = [float(w) for w in open(sys.argv[2]).read().split()]
assert report["ok"] is True
assert sorted((r["trace"], r["policy"], r["threads"]) for r in report["rows"]) == sorted(
    (t, p, n) for t in ("web", "web.kv") for p in ("lru", "weighted") for n in (1, 2))
for row in report["rows"]:
    assert row["weighted"] == (row["trace"] == "web.kv")
    assert row["size"] == (bound if row["weighted"] else int(keys * 0.1 + 0.5))
    if row["weighted"] and row["policy"] == "lru" and row["threads"] == 1:
        assert row["hits"] == hits and row["requests"] == requests, (row, hits)
        assert abs(row["byte_hit_ratio"] - byte_ratio) < 1e-9
assert {s["policy"] for s in report["summary_weighted"]} == {"lru", "weighted"}
END

# a file that says something else of exact LRU
mkdir "$folder/other"
cp "$folder"/traces/zipf.u64 "$folder/other"
sed 's/^\(zipf,LRU,0.1,.*\)......$/\1000000/' "$folder/traces/reference-hit-ratios.csv" \
	>"$folder/other/reference-hit-ratios.csv"
"$program" policy "$folder/other" --policy lru --threads 1 --json "$folder/json" >"$folder/out" 2>&1
[ $? -eq 1 ] || fail "another LRU is not noticed"
grep -q 'exact LRU hits' "$folder/out" || fail "another LRU is not named"
python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["ok"] is not False)' "$folder/json" || fail "ok is not false"
rm "$folder/json"

# refuses WORD ARGUMENTS...: status 2, WORD in the message, and no output
refuses() {
	word=$1
	shift
	timeout 100 "$program" policy "$@" --json "$folder/bad/json" --html "$folder/bad/html" >"$folder/out" 2>"$folder/err"
	status=$?
	if [ $status -ne 2 ] || ! grep -q -e "$word" "$folder/err"; then
		fail "'$*': status $status, message: $(cat "$folder/err")"
	fi
	[ -z "$(ls "$folder/bad")" ] || fail "'$*': output: $(ls "$folder/bad")"
}
# with_file NAME WORD: the file on standard input is refused
with_file() {
	mkdir "$folder/one"
	cat >"$folder/one/$1"
	refuses "$folder/one/$1: $2" "$folder/one"
	rm -r "$folder/one"
}
printf 'not zstd at all' | with_file a.u64.zst 'offset 0'
printf '123456789' | with_file a.u64 'offset 9: 9 decompressed bytes'
printf '1234567890123' | with_file a.kv 'offset 13: 13 decompressed bytes'
: | with_file a.u64.zst 'offset 0: the file is empty'
if command -v zstd >/dev/null; then
	zstd -q -c "$folder/traces/zipf.u64" | head -c 3000 | with_file a.u64.zst 'offset 3000: .*truncated'
	zstd -q -c "$folder/traces/zipf.u64" | head -c -9 | with_file a.u64.zst 'offset'
fi
for line in 'zipf,LRU,0.1,300' 'zipf,LRU,0.1,300,0.5,1' 'zipf,LRU,x,300,0.5' 'zipf,LRU,0.1,-3,0.5' 'zipf,LRU,0.1,300,1.5' \
	'zipf,,0.1,300,0.5' 'zipf,LRU,0.1,300,0.5x'; do
	rm -rf "$folder/one"
	mkdir "$folder/one"
	cp "$folder/traces/zipf.u64" "$folder/one"
	printf 'trace,algo,size_fraction,cache_size,hit_ratio\n%s\n' "$line" >"$folder/one/reference-hit-ratios.csv"
	refuses "reference-hit-ratios.csv: offset 46: " "$folder/one"
done
rm -r "$folder/one"
refuses "no traces" "$folder/empty"
refuses "$folder/gone" "$folder/gone"
refuses "no trace 'nothing'" "$folder/traces" --trace nothing
refuses "no policy 'mru'" "$folder/traces" --policy mru
refuses "'0' is not" "$folder/traces" --fraction 0
refuses "'1.5' is not" "$folder/traces" --fraction 1.5
refuses "fewer than 10" "$folder/traces" --trace lirs-loop --fraction 0.01
refuses DIR
cp "$folder/traces/zipf.u64" "$folder/empty/zipf.u64"
cp "$folder/traces/zipf.u64" "$folder/empty/zipf.u64.zst"
refuses "are the same trace" "$folder/empty"
exit $failed
