/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture.h - three caches of one environment under every call at once, from more threads than processors.
 *
 *   PURE       loaded in place; only got, held and let go: lives of a key must never overlap (G1), nor its loads (G2)
 *   MIXED      made by a loader that holds a PURE object meanwhile and for as long as its own object lives; put,
 *              replaced, removed, refused, popped, cleared, iterated
 *   EXCLUSIVE  loaded in place, removed and got again: no loader before the old destructor has returned (G9)
 *
 * Loads fail, find no value, and vanish with their thread. Weak handles come and go, with callbacks that have to run
 * at most once, and whose contexts have to be freed exactly once, by the time a drop returns.
 *
 *   main.c    options, the run, the closing table
 *   object.c  types, loaders, destructors
 *   worker.c  what each thread does
 *   signals.c interruptions at any instruction
 */
#ifndef HPX_STRESS_TORTURE_H
#define HPX_STRESS_TORTURE_H

#include "harness/histogram.h"
#include "harness/oracle.h"
#include "harness/relaxed.h"
#include "harness/rng.h"

#include <hapax/hapax.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

int hpx_torture_main(int argc, char **argv);

enum { HPX_PURE, HPX_MIXED, HPX_EXCLUSIVE, HPX_CACHES };
enum { HPX_TORTURE_HELD = 6, HPX_TORTURE_WEAKS = 8, HPX_TORTURE_SCRATCH = 16 };

/* The payload of all three caches. */
typedef struct hpx_thing {
	hpx_life life;
	unsigned cache;
	bool exclusive;			       /* its begin was counted in hpx_torture.existing */
	uint64_t check;			       /* of key and serial, written plainly: a sanitizer sees a missing edge */
	struct hpx_thing *depends;	       /* a PURE object that this one holds */
	uint32_t scratch[HPX_TORTURE_SCRATCH]; /* each early thread writes its own, plainly; the destructor reads all */
} hpx_thing;

/* A registration's account. Slots are reused, so a call that comes late or twice shows in somebody's numbers. */
typedef struct hpx_watch {
	hpx_relaxed fired, freed;
} hpx_watch;

typedef struct hpx_handle {
	hapax_weak *weak;
	uint64_t serial, key;
	bool watched; /* registered with a callback */
	hpx_watch watch;
} hpx_handle;

typedef struct hpx_torture {
	hapax_env *env;
	hapax_cache *caches[HPX_CACHES];
	hapax_type types[HPX_CACHES];
	hpx_oracle oracles[HPX_CACHES];
	hpx_relaxed *existing; /* per key of EXCLUSIVE: instances from the loader's entry to the destructor's return */
	hpx_zipf zipf;
	uint64_t keys, seed;
	unsigned threads;
	bool calm; /* no signals */
	struct hpx_torturer *torturers;
	hpx_relaxed exclusive_overlaps, unexpected, unexpected_status, bad_callbacks, bad_upgrades, put_instances,
		vanished;
} hpx_torture;

typedef struct hpx_torturer {
	hpx_torture *torture;
	unsigned index;
	hpx_rng rng;
	hpx_thing *held[HPX_TORTURE_HELD];
	hpx_handle handles[HPX_TORTURE_WEAKS];
	uint64_t pure_loads;	    /* of this thread: tells whether a get ran its own loader */
	bool vanish;		    /* the next PURE loader on this thread ends the thread */
	struct hpx_torturer *guest; /* for the short threads that this one starts; NULL for a guest */
	hpx_relaxed requests, loads, load_errors;
	hpx_histogram latency;
} hpx_torturer;

extern _Thread_local hpx_torturer *hpx_torture_self;

/* --- object.c --- */

int hpx_thing_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error);
int hpx_thing_make(void **object, const hapax_key *key, void *arg, hapax_load_error *error);
void hpx_thing_destroy(void *object, void *arg);
/* A MIXED object for put: held by the caller, or NULL. */
hpx_thing *hpx_thing_new(hpx_torture *torture, uint64_t key);
/* Counts a thing that is not what it should be; and leaves a plain trace in it. */
void hpx_thing_look(hpx_torture *torture, hpx_thing *thing, unsigned cache, uint64_t key);

/* --- worker.c --- */

/* Asks PURE, and judges: an object counted and held, or NULL. */
hpx_thing *hpx_torture_get_pure(hpx_torturer *torturer, uint64_t key, uint64_t deadline);
void hpx_torture_release(hpx_torture *torture, hpx_thing *thing);
void hpx_torture_work(unsigned index, void *torture);

/* --- signals.c --- */

void hpx_signals_install(void);
/* Interrupts the calling thread now and then until the timer is deleted. False: this system has no such timers. */
bool hpx_signals_start(timer_t *timer, unsigned index);

#endif
