#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A cacher of expensive data in four stages, as a user of weakref writes it. ../cacher.c has the same four."""
import threading
import weakref


# ---- system: the data
class Data:
    made = 0
    alive = 0

    def __init__(self, key, cacher=None):
        self.key = key
        self.font = cacher.get("font") if cacher and key == "page" else None
        Data.made += 1
        Data.alive += 1

    def __del__(self):
        Data.alive -= 1


# ---- system: stage 1, a strong dictionary
class Strong:
    def __init__(self):
        self.data = {}

    def get(self, key):
        if key not in self.data:
            self.data[key] = Data(key)
        return self.data[key]


# ---- story
def stage_1():
    cacher = Strong()
    for key in range(3):
        cacher.get(key)
    assert Data.alive == 3  # trap: for ever
    print("1. strong: nobody uses any,", Data.alive, "are held")


stage_1()
assert Data.alive == 0


# ---- system: stage 2, users who count
class Counting:
    def __init__(self):
        self.data = {}

    def get(self, key):
        if key not in self.data:
            self.data[key] = [Data(key), 0]
        entry = self.data[key]
        entry[1] += 1
        return entry[0]

    def remove(self, key):
        entry = self.data[key]
        entry[1] -= 1
        if entry[1] == 0:
            del self.data[key]


# ---- story
def stage_2():
    cacher = Counting()
    mine, yours = cacher.get("a"), cacher.get("a")
    assert mine is yours
    cacher.remove("a")
    cacher.remove("a")  # trap: the same user once more, in the name of the other
    third = cacher.get("a")
    assert third is not yours and Data.alive == 2
    del mine, yours, third
    assert Data.alive == 1  # trap: the third forgot to say so, and nothing tells
    print("2. counting: one remove too many, two instances; one too few,", Data.alive, "for ever")


stage_2()
assert Data.alive == 0


# ---- system: stage 3, weak values
class Weak:
    def __init__(self):
        self.data = weakref.WeakValueDictionary()

    def get(self, key):
        data = self.data.get(key)
        if data is None:
            data = self.make(key)
            self.data[key] = data
        return data

    def make(self, key):
        return Data(key)


# ---- story
def both(cacher, key):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(cacher.get(key))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


class WeakTogether(Weak):
    """Both threads have missed before either has made its own: what an unlucky switch of threads does."""

    barrier = threading.Barrier(2)

    def make(self, key):
        self.barrier.wait()
        return Data(key)


def stage_3():
    cacher = WeakTogether()
    one, other = both(cacher, "a")
    assert one is not other and Data.alive == 2  # trap: looking and making are two steps
    del one, other
    assert Data.alive == 0 and len(cacher.data) == 0
    print("3. weak: two threads, two instances; nobody uses them, none left")


stage_3()


# ---- system: stage 4, a lock around it
class Locked:
    def __init__(self):
        self.data = weakref.WeakValueDictionary()
        self.lock = threading.RLock()  # trap: with a Lock the page's constructor hangs asking for the font

    def get(self, key):
        with self.lock:
            data = self.data.get(key)
            if data is None:
                data = self.make(key)
                self.data[key] = data
            return data

    def make(self, key):
        return Data(key, self)

    def watch(self, data, callback):
        return weakref.ref(data, callback)


# ---- story
class LockedAndAsked(Locked):
    """While something is made, somebody asks for something else."""

    others_waited = 0

    def make(self, key):
        def other():
            if not self.lock.acquire(blocking=False):
                self.others_waited += 1

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return super().make(key)


def stage_4():
    cacher = LockedAndAsked()
    Data.made = 0
    one, other = both(cacher, "page")
    assert one is other and Data.made == 2 and one.font.key == "font"
    assert cacher.others_waited == 2  # trap: nobody gets anything while one is being made
    gone = []
    watch = cacher.watch(one, gone.append)
    del one, other
    assert gone == [watch] and Data.alive == 0
    print("4. lock: two threads, one load, and everybody else waited for it")


stage_4()
