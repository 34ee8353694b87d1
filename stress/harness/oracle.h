/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oracle.h - did one key ever have two live objects, one object two deaths, one key two loaders at once?
 *
 * Problem. A life goes from load commit to DEAD, and both ends are inside hapax. The instant after DEAD the next load
 * of the key may start, long before the old destructor is entered: counting constructors and destructors alone would
 * raise false alarms (two instances may overlap there by design).
 *
 * Two witnesses that cannot cry wolf:
 *
 *   holders   From the return of a get to the call of the release its object is alive for certain. Within that span
 *             each user is counted in the key's word, (serial of the instance, number of holders), and whoever comes
 *             with another serial while the number is above 0 has seen two live objects.
 *
 *                 load commit [ get returns [ hold ... drop ] release called ] DEAD [ destructor ]
 *                 <-------------------------- life -------------------------->
 *                                           <-- counted -->
 *
 *   weak      Who loaded an instance leaves a weak handle on it for the next who loads the key. He, while he holds his
 *             own new instance, asks the handle: if it says alive, both are. This also sees lives that nobody counts.
 *
 * Both need that nothing is removed or replaced in the cache meanwhile (then an old instance may rightly live on).
 * All words are relaxed. A drop is ordered before the death that it allows, by the release that follows it. One swap
 * hands the weak handle from one loader to the next, and has to be an edge; so this witness is left out of builds for
 * ThreadSanitizer, where an edge of ours could hide a missing one of hapax's.
 */
#ifndef HPX_STRESS_ORACLE_H
#define HPX_STRESS_ORACLE_H

#include "relaxed.h"

#include <hapax/hapax.h>
#include <stdint.h>

/* The part of every payload that the oracle owns. */
typedef struct hpx_life {
	uint64_t serial;   /* of this instance, never reused; 0 means not begun */
	uint64_t key;	   /* index */
	hpx_relaxed state; /* LOADED, then DESTROYED */
	hpx_relaxed seen;  /* 1 once a get has returned it */
} hpx_life;

enum { HPX_LIFE_LOADED = 0x10ad, HPX_LIFE_DESTROYED = 0xdead };

typedef struct hpx_oracle_key {
	hpx_relaxed holders; /* serial << 16 | number */
	hapax_weak *weak;    /* of the newest instance; owned by whoever swaps it out */
	hpx_relaxed loading; /* loaders running */
} hpx_oracle_key;

typedef struct hpx_oracle {
	uint64_t size;
	bool loose; /* entries are removed or replaced meanwhile: only single objects are judged, not lives of a key */
	hpx_oracle_key *keys;
	hpx_relaxed serials;
	hpx_relaxed lives;	      /* distinct instances that a get returned */
	hpx_relaxed destructors;      /* that ran */
	hpx_relaxed overlapping;      /* lives that overlapped */
	hpx_relaxed wrong;	      /* values that were not what they should be */
	hpx_relaxed destroyed_in_use; /* held objects whose destructor has been entered */
	hpx_relaxed destroyed_twice;
	hpx_relaxed double_loads; /* loaders that met another loader of the same key */
} hpx_oracle;

/* Returns 0, or -1 without memory. */
int hpx_oracle_init(hpx_oracle *oracle, uint64_t keys);
/* Drops the handles that are left. No thread may use the oracle any more. */
void hpx_oracle_fini(hpx_oracle *oracle);

/* In a loader: first thing, and last thing whatever it answers. `life` is the new instance's; begun by enter. */
void hpx_oracle_enter_loader(hpx_oracle *oracle, uint64_t key, hpx_life *life);
void hpx_oracle_leave_loader(hpx_oracle *oracle, uint64_t key);

/* An instance that is put, not loaded: after it was made. It does not count as a life from a load. */
void hpx_oracle_born(hpx_oracle *oracle, uint64_t key, hpx_life *life);

/* After a get whose loader ran on this thread: the object is held. */
void hpx_oracle_loaded(hpx_oracle *oracle, uint64_t key, void *object);
/* After every get, and before every release. */
void hpx_oracle_hold(hpx_oracle *oracle, uint64_t key, hpx_life *life);
void hpx_oracle_drop(hpx_oracle *oracle, uint64_t key, const hpx_life *life);

/* In the destructor. */
void hpx_oracle_destroyed(hpx_oracle *oracle, hpx_life *life);

#endif
