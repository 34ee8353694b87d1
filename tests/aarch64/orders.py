#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""orders.py BUILD: in the library's objects of an aarch64 build, the functions below consist of instructions of the orders
that their sources ask for. A read-modify-write counts as an instruction of its own (LSE), as a call of the compiler's
helper of the same name, or as an exclusive pair."""
import re, subprocess, sys

LOAD = r"\b(ldar|ldapr|ldaxr)\w*\b"
STORE = r"\bstlr\w*\b"


def rmw(name, order):
    """order: acq, rel or acq_rel; seq_cst is acq_rel here."""
    letters = {"acq": "a", "rel": "l", "acq_rel": "al"}[order]
    lse = {"ldset": "ldset", "ldclr": "ldclr", "ldadd": "ldadd", "cas": "cas", "swp": "swp"}[name]
    pair = {"acq": r"\bldaxr\b", "rel": r"\bstlxr\b", "acq_rel": r"\bldaxr\b[\s\S]*\bstlxr\b"}[order]
    return r"__aarch64_%s[48]_%s\b|\b%s%s\b|%s" % (name, order, lse, letters, pair)


# object file, function (or any of its parts), what it must contain
WANTED = [
    ("object/death", "hpx_release", [("the drop", rmw("ldadd", "rel")), ("the swap to DEAD", rmw("cas", "acq_rel"))]),
    ("object/weak", "hapax_weak_get", [("the side record", LOAD), ("the take", rmw("ldadd", "acq"))]),
    ("object/side", "hpx_side_die", [("the object reads dead", STORE), ("the list", rmw("swp", "acq_rel"))]),
    ("table/weak_table", "hapax_table_get", [("the line", LOAD), ("the take", rmw("ldadd", "acq"))]),
    ("cache/get", "hapax_cache_get", [("the line", LOAD), ("the take", rmw("ldadd", "acq"))]),
    ("table/core", "hpx_claim_slot", [("the slot", rmw("cas", "acq_rel"))]),
    ("table/core", "hpx_table_unlink", [("the tag", rmw("cas", "acq_rel")), ("the slot", STORE)]),
    ("table/core", "hpx_table_claim", [("GONE", rmw("ldset", "acq_rel"))]),
    ("table/put", "hpx_table_put", [("the word", rmw("cas", "acq_rel"))]),
    ("table/resize", "hpx_move_home", [("DONE", rmw("cas", "acq_rel")), ("the word", LOAD)]),
    ("flight/flight", "hpx_flight_land", [("no waiter", rmw("cas", "acq_rel")), ("waiters", rmw("ldclr", "acq_rel"))]),
    ("reclaim/grace", "hpx_gp_stamp", [("the number", rmw("ldadd", "acq_rel")), ("the wish", rmw("cas", "acq_rel"))]),
    ("reclaim/grace", "hpx_gp_run", [("the stack", rmw("swp", "acq")), ("the end", STORE)]),
    ("reclaim/grace", "hpx_gp_due", [("what is wanted", LOAD)]),
]


def functions(path):
    text = subprocess.run(["aarch64-linux-gnu-objdump", "-dr", "--no-show-raw-insn", path], check=True,
                          capture_output=True, text=True).stdout
    parts = re.split(r"^[0-9a-f]+ <([^>]+)>:$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def check(path, function, wanted):
    wrong = []
    code = "".join(body for name, body in functions(path).items() if name.split(".")[0] == function)
    if not code:
        return ["%s is not a function of its own" % function]
    for what, pattern in wanted:
        if not re.search(pattern, code):
            wrong.append("%s: %s is not ordered" % (function, what))
    return wrong


build = sys.argv[1]
wrong, checked = [], 0
for source, function, wanted in WANTED:
    path = "%s/CMakeFiles/hapax_objects.dir/lib/%s.c.o" % (build, source)
    wrong += check(path, function, wanted)
    checked += len(wanted)
# and it can fail: a function of relaxed operations alone has none of them
relaxed = "%s/CMakeFiles/hapax_objects.dir/lib/object/object.c.o" % build
if not check(relaxed, "hapax_count", [("x", LOAD), ("x", rmw("ldadd", "rel"))]):
    wrong.append("hapax_count, which is relaxed, passes")
print("\n".join(wrong) if wrong else "%d orders are in the code" % checked)
sys.exit(1 if wrong else 0)
