#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A cache of models by hand: loaded on a miss, shared while used, held for a minute after that, good for an hour, at
most two held, with a farewell and statistics. ../model_cache.c is the same; what it need not write is retention and
validity side by side. At the end, the usual shorter recipe, and where it goes wrong."""
import collections
import threading
import time
import weakref

now = 0.0


def clock():
    return now


# ---- system
class Model:
    def __init__(self, name):
        self.weights = [0.0] * len(name)

    def __len__(self):
        return len(self.weights)


class ModelCache:
    def __init__(self, load, held=2, idle=60, ttl=3600, farewell=None, clock=time.monotonic):
        self.load, self.max_held, self.idle, self.ttl, self.clock = load, held, idle, ttl, clock
        self.farewell = farewell or (lambda name, cause: None)
        self.lock = threading.RLock()
        self.present = {}  # name: (weak model, its finalizer, when it was loaded)
        self.held = collections.OrderedDict()  # name: (model, last use), the least recently used first
        self.hits = self.misses = self.loads = 0

    def get(self, name):
        with self.lock:
            self.maintain()
            weak, _, _ = self.present.get(name, (lambda: None, None, None))
            model = weak()
            if model is None:
                self.misses += 1
                self.loads += 1
                model = self.load(name)  # under the lock: everybody waits, but none is made twice
                weak = weakref.ref(model)
                end = weakref.finalize(model, self.died, name, weak)
                self.present[name] = (weak, end, self.clock())
            else:
                self.hits += 1
            self.held[name] = (model, self.clock())
            self.held.move_to_end(name)
            while len(self.held) > self.max_held:
                self.held.popitem(last=False)
            return model

    def maintain(self):
        with self.lock:
            for name, (_, end, since) in list(self.present.items()):
                if self.clock() - since >= self.ttl:
                    end.detach()
                    del self.present[name]
                    self.held.pop(name, None)
                    self.farewell(name, "expired")
            for name, (_, used) in list(self.held.items()):
                if self.clock() - used >= self.idle:
                    del self.held[name]

    def died(self, name, weak):
        with self.lock:
            if name in self.present and self.present[name][0] is weak:  # not a newer one
                del self.present[name]
                self.farewell(name, "unused")


# ---- story
def the_story():
    global now
    farewells = []
    cache = ModelCache(Model, farewell=lambda name, cause: farewells.append((name, cause)), clock=clock)

    one = cache.get("resnet")
    assert one is cache.get("resnet") and cache.loads == 1
    del one
    now += 59
    cache.get("resnet")
    assert cache.loads == 1
    now += 61
    cache.maintain()
    assert farewells == [("resnet", "unused")]
    one = cache.get("resnet")
    assert cache.loads == 2
    now += 61
    assert cache.get("resnet") is one and cache.loads == 2
    now += 3600
    newer = cache.get("resnet")
    assert newer is not one and farewells[-1] == ("resnet", "expired")
    del one
    others = [cache.get("bert"), cache.get("t5")]
    assert cache.get("resnet") is newer and cache.loads == 5
    del newer, others
    assert farewells[2:] == [("bert", "unused")]
    cache.get("")
    assert len(cache.get("")) == 0 and cache.loads == 6
    assert cache.misses == cache.loads
    print(cache.hits, "hits,", cache.misses, "misses,", cache.loads, "loads")


the_story()


class Watched:
    """A lock that says so instead of hanging when its only thread waits for itself."""

    def __init__(self):
        self.lock = threading.Lock()

    def __enter__(self):
        if not self.lock.acquire(blocking=False):
            raise RuntimeError("waits for itself")

    def __exit__(self, *_):
        self.lock.release()


class TimedWeakValues:
    """The recipe: a weak dictionary and one duration."""

    def __init__(self, seconds):
        self.seconds, self.lock = seconds, Watched()
        self.models, self.since = weakref.WeakValueDictionary(), {}

    def __setitem__(self, name, model):
        with self.lock:
            self.models[name], self.since[name] = model, clock()

    def __delitem__(self, name):
        with self.lock:
            self.models.pop(name, None)
            self.since.pop(name, None)

    def get(self, name):
        with self.lock:
            if name in self.since and clock() - self.since[name] >= self.seconds:
                del self[name]
            return self.models.get(name)


def the_traps():
    global now
    models = TimedWeakValues(60)
    model = models["resnet"] = Model("resnet")
    del model
    assert models.get("resnet") is None  # trap: "for a minute" was not how long it is kept
    assert "resnet" in models.since  # trap: and its name stays for ever

    empty = models[""] = Model("")
    assert not models.get("") and models.get("") is empty  # trap: `if model:` loads an empty one each time

    now += 60
    try:
        models.get("")  # trap: the lookup deletes what has expired, by the method that locks
    except RuntimeError as stuck:
        print("the recipe: a lookup", stuck)
    else:
        assert False


the_traps()
