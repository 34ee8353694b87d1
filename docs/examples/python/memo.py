#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Functions that remember, with functools. ../memo.c is the same."""
import functools
import threading


# ---- system: recursion
@functools.cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


# ---- story
def recursion():
    assert fib(90) == 2880067194370816120
    assert fib.cache_info()[:2] == (88, 91)
    print("fib(90) =", fib(90), "computed", fib.cache_info().misses, "times")


recursion()


# ---- system: arguments with types, failures
disk = False


@functools.lru_cache(typed=True)
def measure(what):
    if not disk:
        raise OSError(5, "no disk")
    return len(what) if isinstance(what, str) else 8


@functools.lru_cache
def measure_untyped(what):
    return len(what) if isinstance(what, str) else 8


# ---- story
def types_and_failures():
    global disk
    try:
        measure(1)
    except OSError:
        pass
    disk = True
    assert measure(1) == 8
    measure(True)
    measure(1)
    assert measure.cache_info().hits == 1 and measure.cache_info().currsize == 2
    measure_untyped(1.0)
    measure_untyped(1)
    assert measure_untyped.cache_info()[:2] == (0, 2)
    measure_untyped(True)  # trap: True == 1 == 1.0, and it is the call with 1.0 that it is taken for (in CPython)
    assert measure_untyped.cache_info()[:2] == (1, 2)
    print("an int and a bool: two results if types count; a failure is no result")


types_and_failures()


# ---- system: shared by all
@functools.lru_cache(maxsize=10)
def square(n):
    return n * n


class Owner:
    @staticmethod
    @functools.lru_cache(maxsize=10)
    def shared(n):
        return n * n

    @functools.lru_cache(maxsize=10)
    def budget(self, n):
        return n * n


# ---- story
def budgets():
    owners = [Owner() for _ in range(4)]
    for owner in owners:
        for n in range(5):
            assert owner.shared(n) == owner.budget(n) == n * n
    assert Owner.shared.cache_info()[:2] == (15, 5)
    assert Owner.budget.cache_info().currsize == 10
    del owners, owner
    assert Owner.budget.cache_info().currsize == 10  # trap: the owners are gone for everybody but the cache
    print("four owners: 5 results if they share them; 10 in one budget, which keeps its owners")


budgets()


def together():
    """Trap: two threads that ask at once both compute."""
    barrier, computed = threading.Barrier(2), []

    @functools.lru_cache
    def slow(n):
        barrier.wait()  # both are inside
        computed.append(n)
        return n

    threads = [threading.Thread(target=slow, args=(1,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == [1, 1]
    print("two threads at once: computed twice")


together()
