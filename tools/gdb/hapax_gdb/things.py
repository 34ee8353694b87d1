# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects, tables, caches and threads of a process, found from the library's own lists."""
import functools
import struct
import time

import gdb

from . import memory as m
from .memory import at, block, each, number, static

# ---- objects ---------------------------------------------------------------------------------------------------------


class Object:
    """What a payload belongs to. `header` is 16 bytes before the payload."""

    FLAGS = (("dead", "HPX_DEAD"), ("no-destructor", "HPX_NODTOR"), ("large", "HPX_LARGE"), ("inherited", "HPX_INHERITED"),
             ("keyed", "HPX_KEYED"), ("queued", "HPX_LINKED"), ("late", "HPX_LATE"), ("promoted", "HPX_SLT"))

    def __init__(self, header):
        self.header = int(header)
        self.payload = self.header + 16
        if self.header % 16:
            raise m.Unreadable(f"hapax: {self.payload:#x} is no object: it is not aligned")
        self.meta, self.count = m.words(self.header, 2)
        self.cls = class_by_id(self.meta >> m.HPX_CLASS_SHIFT)
        if self.cls is None:
            raise m.Unreadable(f"hapax: there is no object at {self.payload:#x}: nothing before it names a type")

    @property
    def type(self):
        return type_name(self.cls)

    @property
    def flags(self):
        names = [name for name, flag in self.FLAGS if self.count & m.constant(flag, "hpx_release")]
        return ["counted by thread" if n == "promoted" and self.count & m.HPX_HOT else n for n in names]

    @property
    def dead(self):
        return bool(self.count & 1)

    @property
    def references(self):
        """As hapax_count(): the count, or beside it what threads have counted for themselves."""
        slot = (self.count & m.HPX_SLOT_MASK) >> m.HPX_SLOT_SHIFT
        if not self.count & m.constant("HPX_SLT", "hpx_release") or not slot:
            return self.count // m.HPX_ONE
        got = 0
        for one in each(static("blocks", "hpx_hot_refs"), "next"):
            cell = one["cell"][slot - 1]
            got += number(cell["got"]) - number(cell["put"])
        return ((self.count - m.HPX_BIAS) // m.HPX_ONE + got) % (1 << 38)


def type_name(cls):
    return _type_name(int(cls["type"]["name"]))


@m.kept
def _type_name(address):
    return m.string(address) or "object"


@m.kept
def class_by_id(number_):
    slots = static("slots", "hpx_class_by_id")
    low, high = slots.type.range()
    if not low < number_ <= high:
        return None
    slot = number(slots[number_])
    if not slot or slot & 1:
        return None
    cls = at(slot, "struct hpx_class", "hpx_class_by_id")
    try:
        return cls if int(cls["id"]) == number_ else None
    except gdb.MemoryError:
        return None


def classes():
    """All classes with how many of their objects are alive."""
    for i in range(1, number(static("used_ids", "hpx_class_by_id")) + 1):
        cls = class_by_id(i)
        if cls is not None:
            born, destroyed = m.sums(cls["counters"], 2)
            yield cls, max(0, born - destroyed)


# ---- tables ----------------------------------------------------------------------------------------------------------


class Entry:
    """Under which a table knows an object: its address, and the word before it."""

    def __init__(self, table, address):
        self.table = table
        self.address = address
        self.word = m.word(address - 8)
        self.size = self.word >> m.HPX_W_SIZE_SHIFT & ((1 << 25) - 1)

    loading = property(lambda self: bool(self.word & m.HPX_W_LOADING))
    gone = property(lambda self: bool(self.word & m.HPX_W_GONE))
    record = property(lambda self: bool(self.word & m.HPX_W_RECORD))

    @property
    def borrowed(self):
        return _borrows(int(self.table.address))

    @property
    def keyed(self):
        """Bytes of word and key before the entry."""
        return (8 if self.borrowed else self.size + 7 & ~7) + 8

    @property
    def key(self):
        if self.borrowed:
            return m.raw(m.word(self.address - 16), self.size)
        return m.raw(self.address - self.keyed, self.size)

    @functools.cached_property
    def object(self):
        """Its object, if it has one by now and that can be read."""
        try:
            header = m.word(self.address) if self.record else self.address
            return Object(header) if header else None
        except m.Unreadable:
            return None

    @property
    def state(self):
        gone = ", removed" if self.gone else ""
        if self.loading:
            return ("loading, waited for" if self.word & m.HPX_W_WAITED else "loading") + gone
        if self.word & m.HPX_W_WAITED:
            return "replaced" if self.gone else "about to replace"
        if self.gone:
            return "removed"
        found = self.object
        return "present" if found is None or not found.dead else "dead"


@m.kept
def _borrows(table):
    return bool(number(at(table, "struct hpx_table", "hpx_table_new")["keys"]["borrow"]))


def entries(table):
    """Every entry that the table's lines lead to, in the order of hashes; of a table that grows, from both arrays."""
    form = ("<" if m.byteorder() == "little" else ">") + "8Q"
    seen = set()
    for array in each(table["root"], "next"):
        lines, total, controls = int(array["lines"]), int(array["homes"]) + m.HPX_REACH, []
        for first in range(0, total, 4096):
            part = m.raw(lines + 64 * first, 64 * min(4096, total - first))
            controls = controls[-m.HPX_REACH - 1:]
            base = first - len(controls)
            for i, (control, *slots) in enumerate(struct.iter_unpack(form, part), first):
                controls.append(control)
                for j, slot in enumerate(slots):
                    home = i - (slot & m.HPX_SLOT_LOW) + 1
                    if not slot or not control >> 8 * (j + 1) & 63 or home < base:
                        continue
                    if controls[home - base] & m.HPX_CTL_DONE == m.HPX_CTL_DONE:
                        continue  # it has moved on, and what is left here may be no memory any more
                    for entry in _entries_at(table, slot & ~m.HPX_SLOT_LOW):
                        if entry.address not in seen:
                            seen.add(entry.address)
                            yield entry


def _entries_at(table, address):
    try:
        entry = Entry(table, address)
        if entry.word & m.HPX_W_CHAIN != m.HPX_W_CHAIN:
            yield entry
            return
        link = m.word(address)
        while link:
            if m.word(link + 8):
                yield Entry(table, m.word(link + 8))
            link = m.word(link)
    except m.Unreadable:
        return


def tables():
    """All that have names: of tables, sets, weak maps, interners and caches, newest first."""
    yield from each(static("first", "hpx_table_named"), "named_next")


def is_ident(table):
    """Of a weak map, or of a memo's owners: keys are addresses of objects."""
    return number(table["known"]) == _known()


@m.kept
def _known():
    return int(gdb.lookup_symbol("known", block("hpx_ident_named"))[0].value().address)


def by_address(entry):
    """Sets have their members under their own address."""
    thing = entry.object if entry.size == 8 and entry.record and not entry.loading else None
    return thing is not None and entry.key == thing.payload.to_bytes(8, m.byteorder())


def attached(entry):
    """What a weak map holds for the object of this entry."""
    front = m.ctype("struct front", "hpx_ident_named")
    return m.word(entry.address - 16 - (front.sizeof + 15 & ~15))


# ---- caches ----------------------------------------------------------------------------------------------------------

STATES = ("open", "closed", "ending")


class Cache:
    def __init__(self, value):
        self.value = value
        self.address = int(value.address)

    @property
    def name(self):
        return m.text(self.value["name"])

    @property
    def client(self):
        """What is built on it: a memo."""
        return self.value["client"].dereference() if int(self.value["client"]) else None

    @property
    def kind(self):
        return "memo" if self.client is not None else "cache"

    @property
    def table(self):
        return self.value["table"].dereference()

    @property
    def state(self):
        state = number(self.value["state"])
        return STATES[state] if state < len(STATES) else f"state {state}"

    @property
    def stats(self):
        """Counters by name, summed over threads."""
        total = m.sums(self.value["counters"], m.constant("HPX_CACHE_CLIENTS", "hpx_cache_enter"))
        names = ("IN OUT CAME WENT MISSES LOADS SUCCESSES HITS WAITS FAILURES NOVALUES ABANDONED NS SUPERSEDED PUTS REMOVALS "
                 "REPLACEMENTS COLLECTIONS DEMOTIONS READMISSIONS DEMOTED_HITS FAILED_UPGRADES EVICTED_WEIGHT EXPIRATIONS "
                 "SIZE_EVICTIONS NEGATIVE_HITS STALE_HITS REFRESHES REFRESH_FAILURES NOTIFICATIONS LISTENER_ERRORS").split()
        return {n.lower(): total[m.constant("HPX_CACHE_" + n, "hpx_cache_enter")] for n in names}

    @property
    def size(self):
        stats = self.stats
        return max(0, stats["in"] - stats["out"])

    @property
    def retained(self):
        """Entries held, their weight; None: it holds none itself."""
        if not int(self.value["tier"]):
            return None
        tier = at(int(self.value["tier"]), "struct hpx_tier", "hpx_tier_unlock")
        return number(tier["held"]), number(tier["weight"])

    @property
    def skip(self):
        """Bytes at the beginning of its keys that the program does not know."""
        return int(self.client["identity"]) if self.client is not None else 0

    def _flag(self, entry, name):
        if not int(self.value["tier"]):
            return False
        node = m.ctype("struct hpx_node", "hpx_node_pin")
        address = entry.address - (entry.keyed + 15 & ~15) - (node.sizeof + 15 & ~15)
        flags = number(at(address, "struct hpx_node", "hpx_node_pin")["flags"])
        return bool(flags & m.constant(name, "hpx_node_pin"))

    def held(self, entry):
        """The cache has a reference to the entry's object."""
        return self._flag(entry, "HPX_NODE_RETAINED")

    def negative(self, entry):
        """It remembers that there is no value."""
        return self._flag(entry, "HPX_NODE_NEGATIVE")

    def waiters(self):
        """Of loads: the address each of them waits for, and whether a thread sleeps (or somebody is called)."""
        buckets = self.value["flights"]["bucket"]
        for i in range(buckets.type.range()[1] + 1):
            for waiter in each(buckets[i]["first"], "next"):
                yield int(waiter["flight"]), not int(waiter["done"])

    def key(self, entry):
        return self.key_text(entry.key)

    def key_text(self, data):
        """A key of its entries: of a memo, the arguments."""
        if self.client is None:
            return m.key_text(data)
        memo = m.container(int(self.value["client"]), "struct hapax_memo", "client", "hapax_memo_create")
        return m.arguments(data[self.skip:], bool(int(memo["typed"])))


def caches():
    """All of the process, memos included; oldest first."""
    return [Cache(c) for c in each(static("all", "hpx_cache_create"), "next")][::-1]


# ---- threads ---------------------------------------------------------------------------------------------------------


class Thread:
    """One that has called hapax, by way of the library's list of them: it needs no thread-local storage of gdb's."""

    def __init__(self, state):
        self.tid = int(state["tid"])
        self.name = m.text(state["name"])
        own = int(state.address) - m.thread_local("hpx_state") + m.thread_local("hpx_self")
        self.self = at(own, "struct hpx_thread", "hpx_thread_ready")
        self.gdb = next((t for t in gdb.selected_inferior().threads() if t.ptid[1] == self.tid), None)

    @property
    def number(self):
        return self.gdb.num if self.gdb is not None else None

    @property
    def waiting_for(self):
        return int(self.self["waiting_for"])

    def frames(self):
        """User code that hapax has called on it, innermost first: what it runs for (0: no cache), and what of."""
        for frame in each(self.self["frames"], "up"):
            yield int(frame["cache"]), int(frame["entry"])


def threads():
    return [Thread(t) for t in each(static("threads", "hpx_thread_ready"), "next")][::-1]


# ---- loads in progress -----------------------------------------------------------------------------------------------


class Flight:
    """A load, a reload of what is present, or a compute. `thread` None: no thread is in it; `how` says why. `begun`: by the clock
    of its environment; 0: nobody noted it."""

    def __init__(self, cache, target, what, key, thread, how, begun=0):
        self.cache, self.target, self.what, self.key, self.thread, self.how = cache, target, what, key, thread, how
        self.begun = begun
        self.sleeping = self.called = 0

    @property
    def age(self):
        """In seconds, of a process on this machine whose clock is the system's; None: not known."""
        env = self.cache.value["env"].dereference()
        clock = gdb.lookup_symbol("monotonic_now", block("hpx_env_now"))[0]
        connection = gdb.selected_inferior().connection
        if not self.begun or connection is None or connection.type != "native" or clock is None \
                or number(env["clock"]["now"]) != int(clock.value().address):
            return None
        return max(0, time.clock_gettime_ns(time.CLOCK_MONOTONIC) - self.begun) / 1e9


def _begun(thread, target):
    """Of a load on its stack, if it was timed."""
    slots = thread.self["loading"]
    for i in range(slots.type.range()[1] + 1):
        if number(slots[i]["entry"]) == target:
            begun = number(slots[i]["begun"])
            return begun if begun < m.HPX_LOADING_UNTIMED else 0
    return 0


def _key_of(cache, load):
    """Of a reload or compute."""
    return cache.key_text(m.raw(int(load["key"]["data"]), int(load["key"]["size"])))


def _target(cache, target, reloads, computes):
    """What a thread's frame is about: kind and key; None: of nothing that others wait for."""
    if target in reloads:
        return "reload", _key_of(cache, reloads[target])
    if target in computes:
        return "compute", _key_of(cache, computes[target])
    entry = Entry(cache.table, target)
    return ("load", cache.key(entry)) if entry.loading else None


def flights(all_caches, all_threads):
    found = {}
    by_address = {c.address: c for c in all_caches}
    buckets = static("bucket", "hpx_reload_claim")
    reloads = {int(r.address): r for i in range(buckets.type.range()[1] + 1) for r in each(buckets[i], "next")}
    computes = {int(c.address): c for cache in all_caches for c in each(cache.value["computes"]["first"], "next")}

    for thread in all_threads:
        for cache, target in thread.frames():
            if cache in by_address and target and target not in found:
                try:
                    about = _target(by_address[cache], target, reloads, computes)
                except m.Unreadable:
                    continue
                if about:
                    begun = number(reloads[target]["begun"]) if target in reloads else _begun(thread, target)
                    found[target] = Flight(by_address[cache], target, about[0], about[1], thread, "running", begun)
    for cache in all_caches:
        for member in each(cache.value["async"]["loads"]["next"], "next"):
            token = m.container(member.address, "struct hapax_load", "member", "hapax_load_complete")
            entry = Entry(cache.table, int(token["load"]["entry"])) if not int(token["reload"]) else None
            target = int(token["reload"]) or entry.address
            task = int(token["fn"]) or int(token["make"])
            if target not in found:
                found[target] = Flight(cache, target, "load" if entry else "reload",
                                       cache.key(entry) if entry else _key_of(cache, token["reload"]), None,
                                       "queued" if task else "to be completed",
                                       int(token["load"]["begun"]) if entry else number(token["reload"]["begun"]))
    for target, reload in reloads.items():
        if target not in found and int(reload["cache"]) in by_address:
            cache = by_address[int(reload["cache"])]
            found[target] = Flight(cache, target, "reload", _key_of(cache, reload), None, "queued")
    for cache in all_caches:
        for target, sleeps in cache.waiters():
            if target in found:
                found[target].sleeping += sleeps
                found[target].called += not sleeps
    return list(found.values())
