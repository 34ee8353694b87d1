#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""run.py [--full] [--model NAME] [--work DIR] [--no-canaries]: searches the models exhaustively, and every canary of
each for its counterexample. The models in the sizes of CI, or with --full all of them. Exit status: 0 every search was
complete and without an error and every canary was caught; 1 not so; 77 spin is missing."""
import argparse, concurrent.futures, os, re, shutil, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
# model: sizes of CI, larger ones, canaries with the size that shows each
MODELS = {
    "count": (["-DOPS=1"], ["", "-DNM=3 -DOPS=1"], {k: "" for k in (
        "NO_GRACE_PERIOD PLAIN_COUNT REMOVES_NEWER CALLBACK_TWICE INCREMENT_FROM_ZERO USE_AFTER_UNLOCK "
        "RETIRE_BEFORE_UNLINK").split()}),
    "weak": (["-DOPS=1"], [""], {k: "" for k in (
        "CALLBACK_AND_CANCEL BARRIER_EARLY NODE_REUSED CLAIM_TWICE LOST_WAKEUP").split()}),
    "table": (["-DNW=2", "-DKEYS=1 -DNE=3 -DNSLOT=2 -DPLAN=235"], ["-DKEYS=1 -DNE=3 -DNSLOT=2", "-DNW=2 -DOPS=2 -DKEYS=1"],
        {k: "-DNW=2" for k in (
        "NO_GRACE_PERIOD REMOVES_NEWER FREEZE_MISSED COPY_UNCHECKED SLOT_REUSED MISS_UNCHECKED CLAIM_TWICE").split()}),
    "flight": (["-DNW=2", "-DPLAN=33"], ["-DPLAN=133", "-DPLAN=333", ""], {
        "WAITER_EARLY": "", "LOST_WAKEUP": "", "PUBLISH_BEFORE_INIT": "",
        "FENCED_UNREGISTERS": "-DPLAN=133", "CLOSE_MISSES_LATE": "-DPLAN=33"}),
    "hot": (["-DROUNDS=1 -DTICKS=1"], ["", "-DNW=3 -DROUNDS=1", "-DROUNDS=1 -DDRIFT", "-DNO=1 -DDRIFT"],
        {k: "-DROUNDS=1" for k in (
        "HOT_NO_GRACE HOT_TWO_DRAINS HOT_NOT_ASKED HOT_NOT_ZEROED HOT_BLOCK_EMPTIED BIAS_KEPT BIAS_MISSING KILL_OUTSIDE "
        "LOOK_FIRST").split()} | {"SLOTTED_KILLED": "-DROUNDS=1 -DDRIFT", "TICK_UNLOCKED": "-DROUNDS=1 -DTICKS=1",
        "DRAIN_KILLS_OUTSIDE": "", "SLOT_EARLY": "", "PROMOTE_OUTSIDE": "-DNO=1"}),
    "reclaim": (["-DNW=2 -DOPS=1"], ["-DREADERS=1 -DOPS=1"], {k: "-DNW=2 -DOPS=1" for k in (
        "STAMP_EARLY NO_GRACE_PERIOD LOOK_THEN_SLEEP SLEEP_UNNOTICED").split()} | {"BOUND_IGNORED": "-DNW=2 -DOPS=2"}),
}


def search(work, model, flags, seconds, level="-O2"):
    """(outcome, states): outcome 'ok', 'error: what', 'incomplete: why'."""
    where = tempfile.mkdtemp(prefix=model + ".", dir=work)
    shutil.copy(os.path.join(HERE, model + ".pml"), where)
    def run(*command, **how):
        return subprocess.run(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
    made = run("spin", *flags.split(), "-a", model + ".pml")
    if made.returncode or "rror:" in made.stdout:
        return "incomplete: spin: " + made.stdout.strip()[:200], 0
    made = run(os.environ.get("CC", "gcc"), level, "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=6000", "-o", "pan", "pan.c")
    if made.returncode:
        return "incomplete: compiler: " + made.stdout.strip()[:200], 0
    try:
        out = run("./pan", "-m100000", timeout=seconds).stdout
    except subprocess.TimeoutExpired:
        return "incomplete: %d s" % seconds, 0
    states = re.search(r"(\d+(?:\.\d+e[+]\d+)?) states, stored", out)
    states = int(float(states.group(1))) if states else 0
    errors = re.search(r"errors: (\d+)", out)
    found = re.search(r"^pan:\d+: (.*) \(at depth", out, re.M)
    if errors and int(errors.group(1)):
        trail = run("spin", *flags.split(), "-t", "-p", "-g", "-l", model + ".pml").stdout
        with open(os.path.join(where, "trail.txt"), "w") as f:
            f.write(trail)
        return "error: " + (found.group(1) if found else "?") + " [" + where + "/trail.txt]", states
    if not errors or "max search depth" in out or "Search not completed" in out or "out of memory" in out:
        return "incomplete: " + out.strip()[:200], states
    shutil.rmtree(where)
    return "ok", states


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--model", choices=sorted(MODELS))
    parser.add_argument("--work")
    parser.add_argument("--no-canaries", action="store_true")
    options = parser.parse_args()
    if not shutil.which("spin"):
        print("spin is missing")
        return 77
    work = options.work or tempfile.mkdtemp(prefix="hapax-spin.")
    os.makedirs(work, exist_ok=True)
    failed, began = 0, time.time()
    print("%-8s %-34s %12s %7s  %s" % ("model", "size or canary", "states", "s", ""))
    runs = []
    for model, (small, large, canaries) in MODELS.items():
        if options.model and model != options.model:
            continue
        runs += [(model, flags, None) for flags in small + (large if options.full else [])]
        runs += [] if options.no_canaries else [(model, flags + " -DBROKEN_" + name, name) for name, flags in canaries.items()]

    def one(run):
        model, flags, canary = run
        since = time.time()
        outcome, states = search(work, model, flags, 7200 if options.full else 300, "-O0" if canary else "-O2")
        return outcome, states, time.time() - since

    # the large sizes take gigabytes each: one after the other
    with concurrent.futures.ThreadPoolExecutor(1 if options.full else os.cpu_count()) as pool:
        for (model, flags, canary), (outcome, states, took) in zip(runs, pool.map(one, runs)):
            good = outcome.startswith("error: ") if canary else outcome == "ok"
            failed += not good
            said = ("caught: " + outcome[7:].split(" [")[0] if good else "NOT CAUGHT: " + outcome) if canary else (
                "exhausted, no error" if good else outcome)
            print("%-8s %-34s %12d %7.1f  %s" % (model, canary or flags or "(defaults)", states, took, said), flush=True)
    print("%d failed, %.0f s" % (failed, time.time() - began))
    if not failed and not options.work:
        shutil.rmtree(work)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
