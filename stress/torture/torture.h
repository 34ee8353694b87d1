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
enum {
	HPX_TORTURE_HELD = 6,
	HPX_TORTURE_WEAKS = 8,
	HPX_TORTURE_SCRATCH = 16,
	HPX_TORTURE_RECRUITS = 96, /* torturers for threads of disturbances */
	HPX_TORTURE_BRIEF = 16,	   /* of which for short threads */
	HPX_TORTURE_OVERHEAD = 512, /* bytes that hapax adds to an object, at most */
	HPX_TORTURE_PATIENCE = 20  /* seconds */
};

/* Which sanitizer this is built for: some disturbances make sense only without. */
#if defined(__SANITIZE_THREAD__)
#define HPX_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HPX_UNDER_TSAN 1
#endif
#endif
#ifndef HPX_UNDER_TSAN
#define HPX_UNDER_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HPX_UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HPX_UNDER_ASAN 1
#endif
#endif
#ifndef HPX_UNDER_ASAN
#define HPX_UNDER_ASAN 0
#endif

/*
 * Around the stamps of ages (worker.c): on weakly ordered machines the stamps are to be in the order of the calls. x86
 * needs none; and under ThreadSanitizer it would be an edge of ours.
 */
static inline void hpx_age_fence(void)
{
#if !HPX_UNDER_TSAN
	__atomic_thread_fence(__ATOMIC_ACQ_REL);
#endif
}

/* The payload of all three caches. */
typedef struct hpx_thing {
	hpx_life life;
	unsigned cache;
	bool exclusive;			       /* its begin was counted in hpx_torture.existing */
	bool was_put;
	hpx_relaxed since; /* a stamp not before it was in the cache; 0: not known yet */
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
	hpx_relaxed *floors[HPX_CACHES]; /* per key: what is not younger than this stamp was taken out; NULL: PURE */
	hpx_relaxed clears[HPX_CACHES];	 /* the same for all keys at once */
	hpx_zipf zipf;
	uint64_t keys, seed;
	unsigned threads, recruited;
	unsigned members; /* of the team: the workers and all threads of the disturbances */
	double seconds;
	hpx_relaxed *tids; /* of members; 0: not there */
	struct hpx_torturer *torturers, *brief[HPX_TORTURE_BRIEF];
	hpx_relaxed exclusive_overlaps, unexpected, unexpected_status, bad_callbacks, bad_upgrades, put_instances,
		vanished, stalls_logged;
	hpx_relaxed standing;	  /* a reader stands still inside a section (starved.c) */
	hpx_relaxed fork_waiting; /* a fork may be waiting for it with hapax's locks held (fork.c) */
} hpx_torture;

typedef struct hpx_torturer {
	hpx_torture *torture;
	unsigned index;
	hpx_rng rng;
	hpx_thing *held[HPX_TORTURE_HELD];
	hpx_handle handles[HPX_TORTURE_WEAKS];
	uint64_t pure_loads;	    /* of this thread: tells whether a get ran its own loader */
	bool vanish;		    /* the next PURE loader on this thread ends the thread */
	struct hpx_torturer *guest; /* for the short threads that this one starts; NULL: it starts none */
	hpx_relaxed requests, loads, load_errors, ages;
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
void hpx_torture_work(hpx_torturer *self);
/* One random call, or a few; and the end of all that it holds. */
void hpx_torture_step_calmly(hpx_torturer *self);
void hpx_torture_let_go(hpx_torturer *self);
/* For caches that are destroyed while objects live on purpose. */
void hpx_torture_ignore_leak(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited,
			     void *ctx);

/* --- short.c --- */

/* Before the first call of hapax. */
void hpx_short_first(void);

/* --- signals.c --- */

void hpx_signals_install(void);
/* Interrupts the calling thread now and then until the timer is deleted. False: this system has no such timers. */
bool hpx_signals_start(timer_t *timer, unsigned index);

#endif
