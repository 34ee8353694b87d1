#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A slow method whose results are remembered per instance, with functools.lru_cache. ../slow_adder.c is the same."""
import functools
import gc
import weakref

additions = 0


# ---- system: the decorator
class SlowAdder:
    def __init__(self, base):
        self.base = base

    @functools.lru_cache(maxsize=128)
    def add(self, n):
        global additions
        additions += 1
        return self.base + n


# ---- story
def the_decorator():
    global additions
    ten, twenty = SlowAdder(10), SlowAdder(20)
    assert ten.add(5) == ten.add(5) == 15 and additions == 1
    assert twenty.add(5) == 25 and additions == 2

    for n in range(1000):
        twenty.add(n)
    additions = 0
    assert ten.add(5) == 15 and additions == 1  # trap: the other one's traffic took its room

    end = weakref.ref(twenty)
    del twenty
    gc.collect()
    assert end() is not None  # trap: the cache keeps it, `self` is part of the key
    print("decorator: let go of, and still there:", SlowAdder.add.cache_info().currsize, "results")
    SlowAdder.add.cache_clear()  # trap: everybody's
    assert end() is None


the_decorator()


# ---- system: a cache in each instance
class OwnAdder:
    def __init__(self, base):
        self.base = base
        self.add = functools.lru_cache(maxsize=128)(self._add)

    def _add(self, n):
        global additions
        additions += 1
        return self.base + n


# ---- story
def own_caches():
    global additions
    additions = 0
    ten, twenty = OwnAdder(10), OwnAdder(20)
    assert ten.add(5) == ten.add(5) == 15 and additions == 1
    for n in range(1000):
        twenty.add(n)
    additions = 0
    assert ten.add(5) == 15 and additions == 0
    assert twenty.add.cache_info().currsize == 128  # trap: of one; nothing tells of all

    end = weakref.ref(twenty)
    gc.disable()
    del twenty
    assert end() is not None  # trap: instance, cache, bound method, instance: a cycle
    gc.collect()
    gc.enable()
    assert end() is None
    print("own caches: gone when the garbage collector came by")


own_caches()
