#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""weakref.finalize: a temporary directory that is removed with its object, by hand, not at all, or at the end of the
program. ../finalize.c is the same."""
import atexit
import gc
import os
import weakref

removed = []  # stands for the file system


# ---- system
class Directory:
    def __init__(self, name):
        self.name = name
        self.end = weakref.finalize(self, removed.append, name)


# ---- story
def at_the_end():  # registered before the first finalizer: runs after all of them
    print("program ended: ", *removed)
    if removed != ["a", "b", "pinned", "e", "d"]:
        os._exit(1)


atexit.register(at_the_end)


class Pinned(Directory):
    def __init__(self, name):
        self.name = name
        self.end = weakref.finalize(self, self.remove)  # trap: a method of its own

    def remove(self):
        removed.append(self.name)


first = Directory("d")
second = Directory("e")

directory = Directory("a")
del directory
assert removed == ["a"]
print("at death:      ", *removed)

directory = Directory("b")
assert directory.end.alive
directory.end()
assert removed == ["a", "b"] and not directory.end.alive
directory.end()
del directory
assert removed == ["a", "b"]
print("by hand:       ", *removed)

directory = Directory("c")
assert directory.end.detach()
del directory
assert removed == ["a", "b"]
print("detached:      ", *removed)

directory = Pinned("pinned")
end = weakref.ref(directory)
del directory
gc.collect()
assert end() is not None and removed == ["a", "b"]  # it stays until the program ends
