# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands "hapax ...". None of them calls into the process."""
import json

import gdb

from . import memory as m
from . import printers
from . import things
from .printers import plural


def table_of(rows, right):
    """Lines of columns; those in `right` are aligned there."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (str(c).rjust(w) if rows[0][i] in right else str(c).ljust(w) for i, (c, w) in enumerate(zip(row, widths)))
        print("  ".join(cells).rstrip())


def share(part, whole):
    return f"{100 * part / whole:.1f}" if whole else "-"


def named(thread):
    """A thread for people: gdb's number, its id, its name."""
    number = f"thread {thread.number}" if thread.number is not None else "thread"
    name = f' "{m.quoted(thread.name)}"' if thread.name else ""
    return f"{number} (LWP {thread.tid}{name})"


def key(text):
    return f'"{m.quoted(text)}"'


class Command(gdb.Command):
    """Shows what hapax has in this process or core. Nothing of it calls into the process or changes it."""

    def __init__(self):
        super().__init__("hapax", gdb.COMMAND_DATA, prefix=True)


class Shown(gdb.Command):
    """A command under it: "hapax " and the name of its class."""

    takes = gdb.COMPLETE_NONE

    def __init__(self):
        super().__init__("hapax " + type(self).__name__.lower(), gdb.COMMAND_DATA, self.takes)

    def invoke(self, arg, from_tty):
        try:
            self.show(arg.strip())
        except gdb.GdbError:
            raise
        except (gdb.error, ValueError, OverflowError) as error:
            raise gdb.GdbError(f"hapax: {error}")


class Caches(Shown):
    """hapax caches: every cache and memo of the process with its statistics, summed over all threads.

present: entries now. retained: of these, what the cache holds itself ("-": nothing ever). hit%: of hits and misses. flights:
loads, reloads and computes in progress. Without statistics (HAPAX_CACHE_NO_STATS) counters are 0. `print *(hapax_cache *) ADDRESS`
shows the others."""

    def show(self, arg):
        heads = ("address", "name", "kind", "state", "present", "retained", "hits", "misses", "hit%", "waits", "loads", "failures",
                 "flights")
        rows = [heads]
        caches = things.caches()
        flights = things.flights(caches, things.threads())
        for c in caches:
            s, retained = c.stats, c.retained
            rows.append((f"{c.address:#x}", m.quoted(c.name) or "-", c.kind, c.state, c.size,
                         "-" if retained is None else retained[0], s["hits"], s["misses"],
                         share(s["hits"], s["hits"] + s["misses"]), s["waits"], s["loads"], s["failures"],
                         sum(f.cache.address == c.address for f in flights)))
        if len(rows) == 1:
            print("no caches")
        else:
            table_of(rows, heads[4:])


class Flights(Shown):
    """hapax flights: loads, reloads and computes in progress: key, the thread that runs it, how many wait for it.

A load that no thread runs is queued for an executor, or waits to be completed by the application (hapax_load_complete).
age: "-" where it is not known: of many short loads some are timed only, and a core has no clock."""

    def show(self, arg):
        heads = ("cache", "what", "key", "by", "threads waiting", "callbacks waiting", "age")
        found = things.flights(things.caches(), things.threads())
        rows = [heads] + [(m.quoted(f.cache.name) or f"{f.cache.address:#x}", f.what, key(f.key),
                           named(f.thread) if f.thread else f.how, f.sleeping, f.called, "-" if f.age is None else f"{f.age:.1f} s") for f in found]
        if found:
            table_of(rows, heads[4:])
        else:
            print("no loads in progress")


class Threads(Shown):
    """hapax threads: every thread that has called hapax: what it loads, what it waits for, and who keeps it waiting."""

    def show(self, arg):
        caches, threads = things.caches(), things.threads()
        flights = {f.target: f for f in things.flights(caches, threads)}
        by_address = {c.address: c for c in caches}
        for thread in threads:
            print(f"{named(thread)}:{self.doing(thread, by_address, flights)}")
        if not threads:
            print("no thread has called hapax")

    @staticmethod
    def doing(thread, caches, flights):
        out = ""
        for cache, target in thread.frames():
            name = f" of {m.quoted(caches[cache].name) or hex(cache)}" if cache in caches else ""
            if target in flights:
                out += f"\n    in the {flights[target].what} of {key(flights[target].key)}{name}"
            elif cache:
                out += f"\n    in a callback{name}"
            else:
                out += f"\n    in {Threads.dying(target) or 'a function of the program that hapax calls'}"
        target = thread.waiting_for
        if target in flights:
            f = flights[target]
            by = named(f.thread) if f.thread else f"nobody's thread ({f.how})"
            out += f"\n    waits for the {f.what} of {key(f.key)} of {m.quoted(f.cache.name) or hex(f.cache.address)}, by {by}"
        elif target:
            out += f"\n    waits for {Threads.dying(target) or f'what is at {target:#x}'}"
        return out or " in no call that loads or waits"

    @staticmethod
    def dying(header):
        """An object whose callbacks and destructor run."""
        try:
            thing = things.Object(header) if header else None
        except m.Unreadable:
            thing = None
        return f"the death of {thing.type} {thing.payload:#x}" if thing else None


class Table(Shown):
    """hapax table HANDLE [MOST]: the entries of a cache, memo, table, weak set or weak map: key, object, references.

HANDLE is an expression, or an address as "hapax caches" shows it, or the name of a cache, table or map in quotes.
MOST: how many entries at most, 50 if it is not given."""

    takes = gdb.COMPLETE_EXPRESSION

    def show(self, arg):
        what, _, last = arg.rpartition(" ")
        what, most = (what.strip(), int(last)) if what and last.isdigit() else (arg, 50)
        if not what:
            raise gdb.GdbError("hapax table HANDLE [MOST]")
        core = self.core(what)
        cache = next((c for c in things.caches() if int(c.value["table"]) == int(core.address)), None)
        shown = more = 0
        for entry in things.entries(core):
            if shown >= most:
                more += 1
                continue
            shown += 1
            print(self.line(core, cache, entry))
        print(f"{plural(shown + more, 'entry').replace('entrys', 'entries')}" + (f", {more} not shown" if more else ""))

    @staticmethod
    def line(core, cache, entry):
        if things.is_ident(core):
            held = things.attached(entry)
            try:
                data = things.Object(held) if held else None
                what = f" -> {data.type} {data.payload:#x}, {plural(data.references, 'reference')}" if data else " -> nothing"
            except m.Unreadable:
                what = f" -> {held:#x}"
            return printers.described(entry) + what
        held = ", held by the cache" if cache is not None and cache.held(entry) else ""
        text = cache.key(entry) if cache is not None else m.key_text(entry.key)
        if things.by_address(entry):
            return printers.described(entry)
        if cache is not None and cache.negative(entry):
            return f"{key(text)}: no value, which the cache remembers"
        return f"{key(text)}: {printers.described(entry)}{held}"

    @staticmethod
    def core(text):
        """By name in quotes, or by an expression; what is neither is tried as a name."""
        named = Table.called(text.strip('"'))
        if text.startswith('"'):
            if len(named) > 1:
                raise gdb.GdbError(f"hapax: there are {len(named)} of the name {text}: " + ", ".join(hex(a) for a in named))
            if not named:
                raise gdb.GdbError(f"hapax: nothing is called {text}")
            return next(iter(named.values()))
        try:
            value = gdb.parse_and_eval(text)
        except gdb.error:
            if len(named) != 1:
                raise
            return next(iter(named.values()))
        kind = value.type.strip_typedefs()
        if kind.code == gdb.TYPE_CODE_PTR:
            kind, address = kind.target().strip_typedefs(), int(value)
        else:
            address = int(value.address) if kind.code == gdb.TYPE_CODE_STRUCT else int(value)
        for cache in things.caches():
            if cache.address == address:
                return cache.table
        for found in things.tables():
            if int(found.address) == address:
                return found
        tag = kind.tag if kind.code == gdb.TYPE_CODE_STRUCT else None
        if tag not in printers.STRUCTURES or tag in ("hapax_key", "hpx_object", "hapax_env"):
            raise gdb.GdbError(f"hapax: {text} is no cache, memo, table, set or map")
        return printers.core_of(value if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT else value.dereference())

    @staticmethod
    def called(name):
        """Of caches first: what a memo knows of its owners has the memo's name, too."""
        caches = {c.address: c.table for c in things.caches() if c.name == name}
        return caches or {int(t.address): t for t in things.tables() if m.text(t["name"]) == name}


class Object(Shown):
    """hapax object POINTER: type, references, flags, environment of the object that POINTER is the payload of, and who knows it."""

    takes = gdb.COMPLETE_EXPRESSION

    def show(self, arg):
        if not arg:
            raise gdb.GdbError("hapax object POINTER")
        thing = things.Object(int(gdb.parse_and_eval(arg)) - 16)
        print(f"{thing.type} {thing.payload:#x}: {plural(thing.references, 'reference')}"
              + (f", {', '.join(thing.flags)}" if thing.flags else ""))
        print(f"  type {int(thing.cls['type']):#x}, destroyed by {function(thing.cls['type']['destroy'])}")
        print(f"  {thing.cls['env'].format_string()}")
        for holder, text, entry, held in holders():
            if holder is not None and entry.object is not None and entry.object.header == thing.header:
                print(f"  {'held by' if held else 'known to'} {holder}" + (f" under {key(text)}" if text is not None else ""))


def function(pointer):
    return pointer.format_string(symbols=True) if int(pointer) else "nothing"


def holders():
    """Every entry of every named table: whose, its key as text or None, the entry, and whether it is held there. Whose is None of
    stand-ins, which are no objects of the program's."""
    caches = {int(c.value["table"]): c for c in things.caches()}
    for core in things.tables():
        cache, ident, name = caches.get(int(core.address)), things.is_ident(core), m.text(core["name"])
        for entry in things.entries(core):
            if entry.loading or entry.gone:
                continue
            if cache is not None and cache.negative(entry):
                yield None, None, entry, True
                continue
            text = cache.key(entry) if cache is not None else m.key_text(entry.key)
            if ident or things.by_address(entry):
                text = None
            yield name, text, entry, cache is not None and cache.held(entry)
            held = things.attached(entry) if ident else 0
            if held:
                yield name, None, Attached(held), True


class Attached:
    """The data of a weak map, as if it had an entry of its own."""

    loading = gone = False

    def __init__(self, header):
        try:
            self.object = things.Object(header)
        except m.Unreadable:
            self.object = None  # a memo's owner: a room


class Leaks(Shown):
    """hapax leaks [-json]: what is alive, as hapax_leak_report() says it, without calling it: objects that a cache, table or map
knows one by one with key, holder and references, and how many others there are of each type. Of all environments.

-json: one JSON object of the form that hapax_leak_report_json() writes. Pointers from object to object, cycles, and the places
where references were taken are in the program's own reports only."""

    def show(self, arg):
        leaks = self.leaks()
        alive = len({leak["object"] for leak in leaks if leak["object"]}) + sum(
            leak["count"] for leak in leaks if not leak["object"])
        if arg == "-json":
            print(json.dumps({"format": 1, "version": None, "pid": gdb.selected_inferior().pid, "tracing": False, "leaks": leaks,
                              "alive": alive}))
            return
        if arg:
            raise gdb.GdbError("hapax leaks [-json]")
        for leak in leaks:
            print(self.line(leak))
        print(f"{plural(alive, 'object')} alive")

    @staticmethod
    def leaks():
        rest = {}
        for cls, n in things.classes():
            name = things.type_name(cls)
            rest[name] = rest.get(name, 0) + n
        out, seen = [], set()
        for holder, text, entry, held in holders():
            thing = entry.object
            if thing is None or thing.dead or not thing.references:
                continue
            if thing.header not in seen:
                seen.add(thing.header)
                rest[thing.type] = rest.get(thing.type, 0) - 1
            if holder is None:
                continue
            out.append({"type": thing.type, "object": f"{thing.payload:#x}", "key": text, "holder": holder, "held": held,
                        "inherited": "inherited" in thing.flags, "cycle": False, "count": thing.references, "from": [],
                        "sites": []})
        for name, n in sorted(rest.items()):
            if n > 0:
                out.append({"type": name, "object": None, "key": None, "holder": None, "held": False, "inherited": False,
                            "cycle": False, "count": n, "from": [], "sites": []})
        return out

    @staticmethod
    def line(leak):
        if not leak["object"]:
            return f"{leak['count']} of type {m.quoted(leak['type'])}"
        under = f" under {key(leak['key'])}" if leak["key"] is not None else ""
        return (f"{m.quoted(leak['type'])} {leak['object']}, {'held by' if leak['held'] else 'known to'} "
                f"{m.quoted(leak['holder']) or 'a table without a name'}{under}, {plural(leak['count'], 'reference')}"
                + (", inherited by fork" if leak["inherited"] else ""))


def register():
    for command in (Command, Caches, Flights, Threads, Table, Object, Leaks):
        command()
