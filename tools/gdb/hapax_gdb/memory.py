# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading a process or core: symbols and types of the library, its atomics, lists and counters, and the bits of its words."""
import functools
import re
import struct

import gdb

# As in the headers, for which debug information knows no macros; the test compares them.
HPX_ONE = 1 << 26
HPX_BIAS = 1 << 61
HPX_HOT = 1 << 17
HPX_SLOT_SHIFT = 18
HPX_SLOT_MASK = 255 << 18
HPX_CLASS_SHIFT = 44
HPX_W_GONE = 1
HPX_W_LOADING = 2
HPX_W_WAITED = 4
HPX_W_RECORD = 8
HPX_W_SIZE_SHIFT = 4
HPX_W_CHAIN = (1 << 29) - 1
HPX_SLOTS = 7
HPX_REACH = 14
HPX_CTL_DONE = 3
HPX_SLOT_LOW = 15
HPX_LOADING_UNTIMED = 1 << 63
HPX_ARGS_ONLY = 1 << 31


_kept = []


def kept(function):
    """What it found stays found until the process goes on or libraries come or go: commands look at thousands of objects."""
    found = functools.lru_cache(maxsize=None)(function)
    _kept.append(found)
    return found


def forget(event=None):
    for found in _kept:
        found.cache_clear()


for _events in (gdb.events.cont, gdb.events.exited, gdb.events.new_objfile, gdb.events.clear_objfiles, gdb.events.memory_changed):
    _events.connect(forget)


class Unreadable(gdb.GdbError):
    """There is nothing to be read there, or not what it should be."""


@kept
def block(function):
    """The names of the source file that defines `function`."""
    symbol = gdb.lookup_global_symbol(function)
    if symbol is None or symbol.symtab is None:
        raise gdb.GdbError("hapax: there is no debug information of libhapax here (is it stripped? Is the program started, or its "
                           "core loaded?)")
    return symbol.symtab.static_block()


@kept
def _symbol(name, function):
    return gdb.lookup_symbol(name, block(function))[0]


def static(name, function):
    """The static variable `name` of the file that defines `function`."""
    symbol = _symbol(name, function)
    if symbol is None:
        raise gdb.GdbError(f"hapax: this libhapax has no {name}: another version than these commands are for?")
    if not gdb.selected_inferior().threads():
        raise gdb.GdbError("hapax: the program is not running")
    return symbol.value()


@kept
def constant(name, function):
    """An enumerator."""
    return int(_symbol(name, function).value())


@kept
def ctype(name, function):
    """A structure as the file that defines `function` has it. gdb.lookup_type() would take any file's of that name."""
    symbol = gdb.lookup_symbol(name.removeprefix("struct "), block(function), gdb.SYMBOL_STRUCT_DOMAIN)[0]
    if symbol is None:
        raise gdb.GdbError(f"hapax: this libhapax has no {name}: another version than these commands are for?")
    return symbol.type


def at(address, name, function):
    """The `name` at `address`."""
    return gdb.Value(int(address)).cast(ctype(name, function).pointer()).dereference()


def offset(kind, field):
    return next(f.bitpos // 8 for f in kind.fields() if f.name == field)


def container(pointer, name, field, function):
    return at(int(pointer) - offset(ctype(name, function), field), name, function)


def number(value):
    """Of an atomic or plain integer or pointer."""
    value = value["v"] if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT else value
    return int(value)


def each(pointer, following):
    """A linked list, which a thread may have been changing when it was stopped."""
    seen = set()
    while number(pointer) and number(pointer) not in seen:
        seen.add(number(pointer))
        item = (pointer["v"] if pointer.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT else pointer).dereference()
        yield item
        pointer = item[following]


def raw(address, size):
    try:
        return bytes(gdb.selected_inferior().read_memory(int(address), size)) if size else b""
    except (gdb.MemoryError, gdb.error, OverflowError, ValueError):
        raise Unreadable(f"hapax: cannot read {size} bytes at {int(address):#x}")


def word(address):
    return int.from_bytes(raw(address, 8), byteorder())


def words(address, n):
    return struct.unpack(("<" if byteorder() == "little" else ">") + f"{n}Q", raw(address, 8 * n))


@kept
def byteorder():
    return "big" if "big" in gdb.execute("show endian", to_string=True) else "little"


def text(array):
    """Of an array of char."""
    return bytes(int(array[i]) & 255 for i in range(array.type.sizeof)).split(b"\0")[0].decode("utf-8", "replace")


def string(pointer):
    if not int(pointer):
        return None
    out = b""
    while len(out) < 64 and b"\0" not in out:
        out += raw(int(pointer) + len(out), 1)
    return out.split(b"\0")[0].decode("utf-8", "replace")


def sums(counters, most):
    """Of striped counters: the first `most`."""
    form = ("<" if byteorder() == "little" else ">") + str(most) + "Q"
    total = [number(counters["shared"][i]) for i in range(most)]
    low, high = counters["stripe"].type.range()
    for i in range(low, high + 1):
        stripe = number(counters["stripe"][i])
        if stripe:
            total = [a + b for a, b in zip(total, struct.unpack(form, raw(stripe, 8 * most)))]
    return [n % (1 << 64) for n in total]


@kept
def thread_local(name):
    """The offset of a thread-local variable among those of the library."""
    found = re.search(r"offset (0x[0-9a-f]+)", gdb.execute(f"info address {name}", to_string=True))
    if not found:
        raise gdb.GdbError(f"hapax: there is no thread-local {name}")
    return int(found.group(1), 16)


def key_text(data):
    """As in the statistics: what can be read as it is, else a number, else hexadecimal; at most 48 bytes of that."""
    try:
        shown = data.decode("utf-8")
        readable = all(" " <= c < "\x7f" or c >= "\xa0" and c not in "\u2028\u2029" for c in shown)
    except UnicodeDecodeError:
        readable = False
    if readable:
        out = shown.encode()
    elif len(data) in (1, 2, 4, 8):
        out = str(int.from_bytes(data, byteorder())).encode()
    else:
        out = b"0x" + data.hex().encode()
    return out.decode() if len(out) <= 48 else out[:48].decode("utf-8", "ignore") + "..."


def arguments(data, typed):
    """A memo's key: a list of arguments (memo/args.h)."""
    if len(data) == 8 and not typed:
        return key_text(data)
    out, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at:at + 8], byteorder()) & (HPX_ARGS_ONLY - 1)
        out.append(key_text(data[at + 8:at + 8 + size]))
        at += 8 + (size + 7 & ~7)
        if size == 0 and len(data) == 16 and not typed:
            break  # one of no bytes alone
    return ", ".join(out)


def quoted(name):
    """A name or key for a terminal: nothing that would move the cursor, or that its character set does not have."""
    return "".join(c if c.isprintable() and _has(c) else f"\\u{ord(c):04x}" for c in str(name))


def _has(character):
    try:
        return bool(character.encode(gdb.host_charset()))
    except (UnicodeEncodeError, LookupError):
        return character.isascii()
