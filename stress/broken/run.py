#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""run.py: puts one fault after the other into the library and sees which lanes of the proof catch it.

A lane is one build of the library with all faults in it (lib/base/broken.h), chosen at run time by HAPAX_BROKEN, and
something that judges it. stress/broken/switches.h lists the faults and names the lanes that answer for each: such a lane
must fail within 20 seeds. Without a fault every lane must pass. A lane that cannot fail proves nothing.

    run.py                      everything; writes docs/canaries.md
    run.py --fast               what CI runs: for each fault the first quick lane that answers for it, of the oracle and the
                                model (two builds) if there is one
    run.py --lanes tsan,asan --faults STAMP_EARLY --seeds 50
Exit status: 0 all as it should be, 1 something was missed or a control failed, 2 usage, 77 nothing to run it with.
"""
import argparse
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SEEDS, OTHER_SEEDS, CONTROL_SEEDS = 20, 3, 4
SECONDS, THREADS, OPERATIONS, TIMEOUT = "2", "4", "20000", 60
TORTURE = ["tests/torture/torture.c", *sorted(str(p.relative_to(SOURCE)) for p in SOURCE.glob("tests/torture/torture/*.c"))]
COMMON = ["-std=c11", "-D_GNU_SOURCE", "-g", "-w", "-fexceptions", "-ftls-model=initial-exec", "-fno-omit-frame-pointer",
          "-DHPX_BROKEN_BUILD", "-DHPX_TESTING", f"-I{SOURCE}/include", f"-I{SOURCE}/lib", f"-I{SOURCE}/tests"]
CLANG = shutil.which("clang-19") or shutil.which("clang")
GCC = shutil.which("gcc") or shutil.which("cc")
# lane: compiler, flags of its own
BUILDS = {
    "oracle": (GCC, ["-O2", "-DHPX_CHAOS"]),
    "asan": (CLANG, ["-O1", "-fsanitize=address,undefined", "-fno-sanitize=alignment", "-DHPX_CHAOS", "-DHPX_STRICT",
                     "-DHPX_DEBUG"]),
    "tsan": (CLANG, ["-O1", "-fsanitize=thread", "-DHPX_CHAOS", "-DHPX_DEBUG"]),
    "tsan-strict": (CLANG, ["-O1", "-fsanitize=thread", "-DHPX_CHAOS", "-DHPX_STRICT", "-DHPX_DEBUG"]),
    "unit": (GCC, ["-O1", "-DHPX_DEBUG"]),
}
# lane: options of hapax-stress model, and how many runs of a scenario are one "seed"
MODELS = {"model-pct": (["--mode", "pct"], 300), "model-exhaustive": (["--mode", "exhaustive", "--seconds", "3"], 0),
          "model-races": (["--mode", "races"], 500), "model-weak": (["--mode", "weak"], 1000)}
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
SAYS = [
    re.compile(r"^(\S+:) FAILED: (.+)", re.M),
    re.compile(r"VIOLATION: (.+)"),
    re.compile(r"SUMMARY: (ThreadSanitizer: [^/\n]*?)(?: /\S*/)?([^/\s]+:\d+)(?::\d+)? in (\w+)"),
    re.compile(r"SUMMARY: (AddressSanitizer: [^/\n]*?)(?: /\S*/)?([^/\s]+:\d+)(?::\d+)? in (\w+)"),
    re.compile(r"(ThreadSanitizer: [\w -]+|AddressSanitizer: [\w -]+)"),
    re.compile(r"(runtime error: .+)"),
    re.compile(r"hapax: (misuse: .+|\S*broken invariant: .+)"),
    re.compile(r"(?:FAILED|failed)\W+(.+)"),
]


class Fault:
    def __init__(self, name, what, lanes):
        self.name, self.what = name, what
        self.lanes = {}  # lane: its argument, or ""
        for word in lanes.split():
            lane, _, argument = word.partition(":")
            self.lanes[lane] = argument


def read_switches():
    text = (SOURCE / "stress/broken/switches.h").read_text()
    return [Fault(*found) for found in re.findall(r'\bX\((\w+), "([^"]*)",[\s\\]*"([^"]*)"\)', text)]


def run(command, seed, fault, timeout=TIMEOUT):
    """0 passed, 1 failed, with what it said."""
    environment = {**os.environ, **ENVIRONMENT, "HAPAX_CHAOS_SEED": str(seed), "HAPAX_BROKEN": fault or ""}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return 1, "hang", output.decode(errors="replace")
    output = output.decode(errors="replace")
    if process.returncode in (0, 77):
        return 0, "", output
    for pattern in SAYS:
        found = pattern.search(output)
        if found:
            return 1, " ".join(group for group in found.groups() if group).strip()[:110], output
    if process.returncode < 0:
        return 1, signal.Signals(-process.returncode).name, output
    return 1, f"exit status {process.returncode}", output


class Lane:
    """One build, and how it is run. `programs(argument)` are the commands of one seed."""
    quick = True
    seeds = None  # None: as many as the rest

    def __init__(self, name, work):
        self.name, self.work = name, work / name
        self.compiler, self.flags = BUILDS[name]
        self.lock = threading.Lock()

    def missing(self):
        return not self.compiler

    def compile(self, sources, program, jobs, libraries=()):
        self.work.mkdir(parents=True, exist_ok=True)
        objects, commands = [], []
        newest = max(p.stat().st_mtime for pattern in ("lib/*/*.h", "include/hapax/*.h", "stress/broken/*.h",
                                                       "tests/*/*.h", "tests/*/*/*.h") for p in SOURCE.glob(pattern))
        for source in sources:
            target = self.work / (source.replace("/", "-")[:-2] + ".o")
            objects.append(str(target))
            path = SOURCE / source
            if target.exists() and target.stat().st_mtime > max(newest, path.stat().st_mtime):
                continue
            commands.append([self.compiler, *COMMON, *self.flags, "-c", str(path), "-o", str(target)])
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for done in pool.map(lambda c: subprocess.run(c, capture_output=True, text=True), commands):
                if done.returncode:
                    sys.exit(f"run.py: does not build: {' '.join(done.args)}\n{done.stderr}")
        output = self.work / program
        if commands or not output.exists():
            flags = subprocess.run(["pkg-config", "--libs", "liburcu-bp", "ck", *libraries], capture_output=True, text=True)
            sanitize = [f for f in self.flags if f.startswith("-fsanitize")]
            done = subprocess.run([self.compiler, *sanitize, *objects, "-o", str(output), *flags.stdout.split(), "-lpthread",
                                   "-lm"], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"run.py: does not link: {done.stderr}")
        return str(output)


LIBRARY = sorted(str(p.relative_to(SOURCE)) for p in SOURCE.glob("lib/*/*.c"))


class TortureLane(Lane):
    def build(self, jobs, faults):
        self.program = self.compile([*LIBRARY, *TORTURE], "torture", jobs)

    def commands(self, seed, argument):
        return [[self.program, SECONDS, str(seed), THREADS, OPERATIONS]]


class UnitLane(Lane):
    """The unit tests that a fault names, each in a process of its own; there is nothing to seed but the chaos."""
    seeds = 3

    def build(self, jobs, faults):
        names = sorted({name for f in faults for name in f.lanes.get("unit", "").split(",") if name})
        support = sorted(str(p.relative_to(SOURCE)) for p in SOURCE.glob("tests/support/*.c") if p.name != "wrap.c")
        self.tests = {}
        for name in names:
            program = self.compile([*LIBRARY, *support, f"tests/unit/{name}.c"], name, jobs, ["cmocka"])
            listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
            self.tests[name] = [[program, test] for test in listed.stdout.split()]

    def commands(self, seed, argument):
        names = argument.split(",") if argument else self.tests
        return [command for name in names for command in self.tests[name]]


class SpinLane(Lane):
    """The Spin models that have a switch of the fault's name: one exhaustive search each."""
    seeds = 1

    def __init__(self, work):
        self.name, self.work = "spin", work / "spin"

    def missing(self):
        return not shutil.which("spin")

    def build(self, jobs, faults):
        self.work.mkdir(parents=True, exist_ok=True)
        specification = importlib.util.spec_from_file_location("spin_models", SOURCE / "stress/spin/run.py")
        self.module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(self.module)

    def knows(self, fault):
        return any(fault.name in canaries for _, _, canaries in self.module.MODELS.values())

    def trial(self, fault):
        for model, (sizes, _, canaries) in self.module.MODELS.items():
            if fault and fault.name not in canaries:
                continue
            flags = canaries[fault.name] + f" -DBROKEN_{fault.name}" if fault else sizes[0]
            outcome = self.module.search(str(self.work), model, flags, 120)[0]
            if outcome != "ok":
                return 1, f"{model}.pml: " + outcome.split(" [")[0]
        return 0, ""


class ModelLane(Lane):
    """The scenarios that a fault names (else: all that any fault names for this lane) under the model's scheduler."""
    built = None

    def __init__(self, name, work):
        self.name, self.work = name, work / "model"
        self.options, self.runs = MODELS[name]
        self.seeds = 1 if name == "model-exhaustive" else None

    def missing(self):
        return not shutil.which("cmake")

    def build(self, jobs, faults):
        self.all = ",".join(sorted({s for f in read_switches() for s in f.lanes.get(self.name, "").split(",") if s}))
        if ModelLane.built:
            return
        flags = ["-S", str(SOURCE), "-B", str(self.work), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                 "-DCMAKE_C_FLAGS=-DHPX_BROKEN_BUILD", "-DHAPAX_TESTS=OFF"]
        for command in (["cmake", *flags], ["cmake", "--build", str(self.work), "-j", str(jobs), "--target", "hapax-model"]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"run.py: does not build: {' '.join(command)}\n{done.stdout}{done.stderr}")
        ModelLane.built = str(self.work / "bin/hapax-model")

    def commands(self, seed, argument):
        runs = ["--seed", str(1 + (seed - 1) * self.runs), "--seeds", str(self.runs)] if self.runs else []
        return [[ModelLane.built, *self.options, *runs, "--jobs", "1", "--scenario", argument or self.all]]


def lanes_known(work):
    kinds = {"spin": lambda name, where: SpinLane(where), **dict.fromkeys(BUILDS, TortureLane), "unit": UnitLane, **dict.fromkeys(MODELS, ModelLane)}
    return {name: kind(name, work) for name, kind in kinds.items()}


def trial(lane, fault, seeds):
    """(seed at which it was caught or 0, by what, seconds)."""
    begun = time.monotonic()
    if isinstance(lane, SpinLane):
        return *lane.trial(fault), time.monotonic() - begun
    for seed in range(1, seeds + 1):
        for command in lane.commands(seed, fault.lanes.get(lane.name, "") if fault else ""):
            failed, says, output = run(command, seed, fault.name if fault else "")
            if failed:
                where = lane.work / f"{fault.name if fault else 'control'}.log"
                where.write_text(f"{' '.join(command)}\n{output}")
                return seed, says, time.monotonic() - begun
    return 0, "", time.monotonic() - begun


def plan(faults, lanes, fast, answering_only):
    """(lane, fault or None, seeds, whether it must fail)."""
    for lane in lanes.values():
        yield lane, None, 2 if fast else lane.seeds or CONTROL_SEEDS, False
    for fault in faults:
        answering = [lanes[name] for name in fault.lanes if name in lanes]
        if fast:
            quick = [lane for lane in answering if lane.quick]
            answering = sorted(quick, key=lambda lane: lane.name != "oracle" and not isinstance(lane, ModelLane))[:1]
        for lane in answering:
            yield lane, fault, lane.seeds or SEEDS, True
        for lane in [] if fast or answering_only else lanes.values():
            if isinstance(lane, SpinLane) and not lane.knows(fault):
                continue
            if lane not in answering and lane.name != "unit":
                yield lane, fault, lane.seeds or (1 if isinstance(lane, ModelLane) else OTHER_SEEDS), False


def cell(result, must):
    if result is None:
        return "not run" if must else ""
    if result["seed"]:
        return f"**{result['seed']}**" if must else str(result["seed"])
    if must:
        return "MISSED"
    return "—" if result["seeds"] == OTHER_SEEDS else f"— ({result['seeds']})"


def write_table(faults, results, path):
    names = [name for name in [*BUILDS, *MODELS, "spin"] if any(key.endswith("/" + name) for key in results)]
    lines = [
        "# Canaries", "",
        "Faults that are put into the library on purpose, and which lanes of the proof see them. `make canaries` runs this and",
        "writes this page; CI runs the quick ones. Figures are the seed, counted from 1, at which a lane failed. **Bold**: the",
        f"lane answers for that fault and must fail within {SEEDS} seeds. —: not seen within {OTHER_SEEDS} seeds, by a lane that need",
        "not (in as many as it says). Empty: not tried. Without a fault every lane passes. What the lanes are is said below the tables.", "",
        "| fault | what is wrong | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for fault in faults:
        cells = [cell(results.get(f"{fault.name}/{name}"), name in fault.lanes) for name in names]
        lines.append(f"| `{fault.name}` | {fault.what} | " + " | ".join(cells) + " |")
    lines += ["", "## By what", "", "| fault | lane | what it said |", "|---|---|---|"]
    for fault in faults:
        for name in names:
            result = results.get(f"{fault.name}/{name}")
            if result and result["seed"]:
                lines.append(f"| `{fault.name}` | {name} | {result['says'].replace('|', '/')} |")
    lines += ["", (SOURCE / "stress/broken/lanes.md").read_text().strip(), ""]
    path.write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--answering", action="store_true", help="only the lanes that answer for a fault")
    parser.add_argument("--lanes", default=",".join([*BUILDS, *MODELS, "spin"]))
    parser.add_argument("--faults", default="")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--work", default=str(SOURCE / "build/canaries"))
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS", os.cpu_count() or 1)))
    parser.add_argument("--table", default="", help="where the page goes (a whole run: docs/canaries.md)")
    options = parser.parse_args()

    faults = read_switches()
    wanted = set(filter(None, options.faults.split(",")))
    if wanted - {f.name for f in faults}:
        sys.exit(f"run.py: no such fault: {', '.join(sorted(wanted - {f.name for f in faults}))}")
    chosen = [f for f in faults if not wanted or f.name in wanted]
    work = pathlib.Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    lanes = {name: lane for name, lane in lanes_known(work).items() if name in options.lanes.split(",")}
    if options.fast:
        lanes.pop("spin", None)  # stress/spin/run.py shows its own faults
        asked = {lane.name for lane, fault, _, _ in plan(chosen, lanes, True, True) if fault}
        lanes = {name: lane for name, lane in lanes.items() if name in asked}
    for lane in list(lanes.values()):
        if not lane.missing():
            lane.build(options.jobs, chosen)
        elif isinstance(lane, SpinLane):
            print("left out: spin is not here")
            del lanes[lane.name]
        else:
            print(f"skipped: nothing to build {lane.name} with")
            sys.exit(77)

    stored = work / "results.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    bad = []
    trials = list(plan(chosen, lanes, options.fast, options.answering))
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(trial, lane, fault, options.seeds or seeds): (lane, fault, must, options.seeds or seeds)
                   for lane, fault, seeds, must in trials}
        for future in concurrent.futures.as_completed(futures):
            lane, fault, must, seeds = futures[future]
            seed, says, seconds = future.result()
            name = fault.name if fault else "(none)"
            wrong = (seed != 0) if fault is None else (must and seed == 0)
            if wrong:
                bad.append(f"{name} in {lane.name}: " + (says if seed else f"not caught within {seeds} seeds"))
            verdict = "FAILED" if wrong else "ok    " if must or not fault else "      "
            what = f"caught at seed {seed}: {says}" if seed else f"passed {seeds} seeds"
            print(f"{verdict}  {name:22} {lane.name:12} {what}  ({seconds:.1f} s)", flush=True)
            if fault:
                results[f"{fault.name}/{lane.name}"] = {"seed": seed, "says": says, "must": must, "seeds": seeds}
    stored.write_text(json.dumps(results, indent=1, sort_keys=True))
    whole = not options.fast and not wanted and len(lanes) == len(BUILDS) + len(MODELS) + 1
    if options.table or whole:
        write_table(faults, results, pathlib.Path(options.table) if options.table else SOURCE / "docs/canaries.md")
    print("\n".join(f"FAILED  {line}" for line in bad) or f"canaries: {len(trials)} trials, all as they should be")
    sys.exit(1 if bad else 0)


main()
