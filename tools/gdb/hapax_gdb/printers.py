# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pretty-printers: handles by name, keys as text, objects by type, references and flags."""
import gdb

from . import memory as m
from . import things


def _label(name):
    return f'"{m.quoted(name)}"' if name else "without a name"


class Key:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        try:
            return f'"{m.quoted(m.key_text(m.raw(int(self.value["data"]), int(self.value["size"]))))}"'
        except m.Unreadable:
            return f"{int(self.value['size'])} bytes at {int(self.value['data']):#x}, which cannot be read"


class Header:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        thing = things.Object(int(self.value.address))
        return f"{thing.type}, {plural(thing.references, 'reference')}" + (f" [{', '.join(thing.flags)}]" if thing.flags else "")


def plural(n, noun):
    return f"{n} {noun}" + ("" if n == 1 else "s")


class Cache:
    def __init__(self, value):
        self.cache = things.Cache(value)

    def to_string(self):
        return f"{self.cache.kind} {_label(self.cache.name)}, {self.cache.state}, {self.cache.size} present"

    def children(self):
        retained = self.cache.retained
        if retained is not None:
            yield "retained", retained[0]
            yield "retained_weight", retained[1]
        for name, n in self.cache.stats.items():
            if n and name not in ("in", "out", "came", "went"):
                yield name, n
        yield "load", self.cache.value["load"]
        yield "arg", self.cache.value["arg"]
        yield "table", self.cache.value["table"]
        yield "env", self.cache.value["env"]


class Memo:
    def __init__(self, value):
        self.value = value
        self.cache = things.Cache(value["cache"].dereference())

    def to_string(self):
        owned = ", owned" if int(self.value["owned"]) else ""
        return f"memo {_label(self.cache.name)}{owned}, {self.cache.state}, {self.cache.size} present"

    def children(self):
        yield "capacity", self.value["capacity"]
        yield "compute", self.value["compute"]
        yield "cache", self.value["cache"]


class Core:
    """An internal table."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return f"table {_label(m.text(self.value['name']))}"

    def children(self):
        for i, entry in enumerate(things.entries(self.value)):
            if i == 20:
                yield "...", "..."
                return
            key = m.key_text(entry.key)
            yield m.quoted(key), described(entry)


class Handle:
    """What has an internal table, a name and an environment: hapax_table, hapax_weak_map, hapax_weak_set, hapax_interner."""

    def __init__(self, value):
        self.value = value

    @property
    def core(self):
        return core_of(self.value)

    def to_string(self):
        kind = self.value.type.strip_typedefs().tag.removeprefix("hapax_").replace("_", " ")
        return f"{kind} {_label(m.text(self.core['name']))}"

    def children(self):
        yield "table", self.core
        yield "env", self.value["env"]


def core_of(value):
    """The internal table of a handle's structure, at the end of what leads to it."""
    tag = value.type.strip_typedefs().tag
    if tag == "hpx_table":
        return value
    following = {"hapax_cache": "table", "hapax_memo": "cache", "hapax_interner": "table", "hapax_weak_set": "table"}
    return core_of(value[following.get(tag, "core")].dereference())


class Env:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        name = "the default environment" if int(self.value["is_default"]) else "environment"
        born, destroyed = m.sums(self.value["counters"], 2)
        return (f"{name}, {plural(max(0, born - destroyed), 'object')} alive, "
                f"{number(self.value['garbage'])} bytes of garbage")

    def children(self):
        yield "garbage_bound", self.value["bound"]
        yield "garbage_peak", number(self.value["peak"])
        yield "stalls", number(self.value["stalls"])
        yield "stall_ns", self.value["stall_ns"]
        yield "clock", self.value["clock"]["now"]


number = m.number


def described(entry):
    """An entry in one line, without its key."""
    thing = entry.object if not entry.loading or not entry.record else None
    if entry.loading:
        return entry.state
    if thing is None:
        return entry.state + ", its object cannot be read"
    what = f"{thing.type} {thing.payload:#x}, {plural(thing.references, 'reference')}"
    return what if entry.state == "present" else f"{entry.state}: {what}"


STRUCTURES = {"hapax_key": Key, "hpx_object": Header, "hapax_cache": Cache, "hapax_memo": Memo, "hpx_table": Core,
              "hapax_table": Handle, "hapax_weak_map": Handle, "hapax_weak_set": Handle, "hapax_interner": Handle,
              "hapax_env": Env}


class Pointer:
    """A handle or key: its address as always, and what it is."""

    def __init__(self, value, printer):
        self.value = value
        self.printer = printer

    def to_string(self):
        address = int(self.value)
        try:
            return f"{address:#x} {self.printer(self.value.dereference()).to_string()}" if address else "0x0"
        except (gdb.error, m.Unreadable):
            return f"{address:#x}"


def lookup(value):
    kind = value.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_STRUCT and kind.tag in STRUCTURES:
        return STRUCTURES[kind.tag](value)
    if kind.code == gdb.TYPE_CODE_PTR:
        target = kind.target().strip_typedefs()
        if target.code == gdb.TYPE_CODE_STRUCT and target.tag in STRUCTURES and target.tag.startswith("hapax_"):
            return Pointer(value, STRUCTURES[target.tag])
    return None


lookup.name = "hapax"
lookup.enabled = True


def register():
    gdb.pretty_printers[:] = [p for p in gdb.pretty_printers if getattr(p, "name", "") != "hapax"]
    gdb.pretty_printers.append(lookup)
