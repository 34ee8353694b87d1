/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flight/flight.h - loads in progress: joining, completing, handing over, closing; and the graph of who waits for whom.
 *
 * A flight exists from the moment somebody joins a LOADING entry; a load that nobody joins costs one flag. Flights of a
 * cache live in HPX_FLIGHT_BUCKETS short lists, each under its own lock, keyed by the entry's address. Never a callback
 * under those locks. This layer does not know tables: an entry is an address and its word.
 */
#ifndef HPX_FLIGHT_H
#define HPX_FLIGHT_H

#include <hapax/cache.h>

#include "object/object.h"

#define HPX_FLIGHT_BUCKETS 16

struct hpx_flight;
struct hpx_flights {
	hapax_env *env;
	struct hpx_flight_bucket { uint32_t lock; struct hpx_flight *first; } bucket[HPX_FLIGHT_BUCKETS];
};
void hpx_flights_init(struct hpx_flights *f, hapax_env *env);

/* What a joined flight came to. */
struct hpx_outcome {
	int status;                 /* 0, HAPAX_NOVALUE, or an error of the load */
	struct hpx_object *object;  /* with a reference for this waiter, when status is 0 */
	hapax_load_error error;     /* a share of it, when status is HAPAX_ELOADER */
	bool leader;                /* handed over: this thread is the loader now (status 0, object NULL) */
	bool retry;                 /* the entry was no longer LOADING: look again */
};

/*
 * Joins the flight of `e` and waits. `still_loading(word)` protocol: sets WAITED by compare-and-swap while LOADING is
 * set, then enlists under the bucket lock and looks at LOADING again (order: FLIGHT.JOIN against FLIGHT.COMMIT).
 * Refuses a wait cycle with HAPAX_EDEADLK, HAPAX_NO_WAIT with HAPAX_INFLIGHT; leaves at `deadline` with
 * HAPAX_ETIMEDOUT; a cancellation point that leaves cleanly. Called inside a section, which it leaves before sleeping:
 * on return the caller is outside. `e` need not survive the section.
 */
int hpx_flight_join(struct hpx_flights *f, void *e, hpx_u64 *word, uint64_t deadline, struct hpx_outcome *out);

/* The load of `e` has ended, LOADING has been cleared and the word before had WAITED: gives every waiter the outcome.
 * On status 0 takes a reference to `object` for each. Shares `error`. */
void hpx_flight_complete(struct hpx_flights *f, void *e, int status, struct hpx_object *object, hapax_load_error *error);

/* The loader vanished. True: a waiter takes over as leader (LOADING stays set, the loader's reference goes with it).
 * False: nobody waits; the caller ends the load with HAPAX_EABANDONED. */
bool hpx_flight_hand_over(struct hpx_flights *f, void *e);

/* Releases every waiter with `status`; flights go on without them. */
void hpx_flight_release_all(struct hpx_flights *f, int status);

/*
 * The wait graph (process-wide, one lock, slow path only). Announces that this thread is about to sleep for `target`
 * (a LOADING entry, or a dying exclusive object); HAPAX_EDEADLK if the thread that owns the target, through others,
 * waits for something this thread owns. A thread owns the entries of its hpx_frame list and its queued deaths.
 */
int hpx_wait_enter(const void *target);
void hpx_wait_leave(void);
/* This thread itself owns `target`. */
bool hpx_wait_owned(const void *target);

#endif
