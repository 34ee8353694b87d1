/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flight/flight.h - loads in progress: joining, landing, completing, closing; and the graph of who waits for whom.
 *
 *      loader                                   joiner
 *      publishes entry, LOADING
 *                                               sets WAITED (compare-and-swap, while LOADING)
 *                                               bucket lock: LOADING still set? enlist; unlock; sleep
 *      land: no WAITED: one compare-and-swap clears LOADING, done
 *            WAITED: bucket lock: clear LOADING, the waiters become this landing's; unlock
 *      complete: bucket lock: outcomes are handed out; unlock; wake
 *
 * A load that nobody joins costs one compare-and-swap. The waiters' records are in the list of one of
 * HPX_FLIGHT_BUCKETS buckets, under its lock; nothing is called under that lock. From the landing on they are known
 * by the landing's address, so that the entry's memory may be used for something else before they are woken. A waiter is
 * on the stack of the thread that sleeps, or belongs to somebody who is called instead (`done`).
 * This layer does not know tables: an entry is an address and its word.
 */
#ifndef HPX_FLIGHT_H
#define HPX_FLIGHT_H

#include <hapax/cache.h>

#include <pthread.h>

#include "object/object.h"

#define HPX_FLIGHT_BUCKETS 16

/* The two bits of an entry's word that concern flights; the table's word says the same (cache.c asserts it). */
#define HPX_FLIGHT_LOADING UINT64_C(2)
#define HPX_FLIGHT_WAITED UINT64_C(4)

/* Outcomes beside hapax_status: there is no such flight any more, look again; and HAPAX_EABANDONED for all who wait. */
#define HPX_FLIGHT_AGAIN 100
#define HPX_FLIGHT_DROPPED 103

struct hpx_waiter;
struct hpx_flights {
	hapax_env *env;
	struct hpx_flight_bucket {
		pthread_mutex_t lock;
		struct hpx_waiter *first;  /* under the lock */
		int closed;                /* under the lock: a status, or 0 */
		struct hpx_event event;    /* signalled whenever a waiter of the bucket got its outcome */
	} bucket[HPX_FLIGHT_BUCKETS];
};
void hpx_flights_init(struct hpx_flights *f, hapax_env *env);
void hpx_flights_fini(struct hpx_flights *f);
/* In a forked child: locks and waiters of threads that are gone, and those with `done`: their owner knows them. */
void hpx_flights_reinit(struct hpx_flights *f);

/* What a joined flight came to. */
struct hpx_outcome {
	int status;                /* 0, HAPAX_NOVALUE, HPX_FLIGHT_AGAIN, or an error of the load or of the wait;
				      HAPAX_EABANDONED: the loader vanished, and a waiter may load in its place */
	struct hpx_object *object; /* with a reference for this waiter, when status is 0 */
	hapax_load_error error;    /* a share of it, when status is HAPAX_ELOADER and it was asked for */
};

/* One waiter. All fields are under the bucket lock from when it is enlisted until it has its outcome. */
struct hpx_waiter {
	struct hpx_waiter *next, **link; /* link: where the pointer to this one is; NULL: not in the list */
	const void *flight;              /* the entry; from the landing on the struct hpx_landing */
	struct hpx_error_box **box;
	struct hpx_outcome *out;
	struct hpx_flight_bucket *bucket;
	/* Called once when the outcome is there, on the thread that completed, outside sections and locks; the waiter is its
	 * own then, and may be freed. NULL: a thread sleeps. */
	void (*done)(struct hpx_waiter *w);
	bool enlisted, announced;        /* it was; and it is in the wait graph */
};

/* Room for sharing a load error. Whoever wants the error brings one, so that completing needs no memory. */
struct hpx_error_box;
struct hpx_error_box *hpx_error_box_new(hapax_env *env); /* NULL: no memory */
void hpx_error_box_free(struct hpx_error_box *box);      /* not used; NULL is a no-op */

/*
 * Joins the flight of `e`, seen LOADING in this section, and waits. Called inside a section; returns outside it.
 * *how->box (box NULL: the error is not wanted) is taken over when the sharing uses it, and NULL then.
 * Refuses a wait cycle with HAPAX_EDEADLK, HAPAX_NO_WAIT with HAPAX_INFLIGHT; leaves at `deadline` with
 * HAPAX_ETIMEDOUT. HPX_FLIGHT_AGAIN also when the entry was no longer LOADING. A cancellation point: then what the
 * flight gave, if anything, is in *out, which the caller's cleanup disposes of.
 */
struct hpx_join {
	uint64_t deadline;
	struct hpx_error_box **box;
	void (*joined)(void *ctx); /* called outside locks and sections once enlisted, before sleeping; may be NULL */
	void *ctx;
};
void hpx_flight_join(struct hpx_flights *f, void *e, hpx_u64 *word, const struct hpx_join *how, struct hpx_outcome *out);

/*
 * Joins without waiting and without a place in the wait graph: `box`, `out` and `done` of the waiter are set. True: it is
 * enlisted. Else it never was, and its outcome says why: HPX_FLIGHT_AGAIN, or the status of hpx_flight_release_all(). In a
 * section, or by whoever published `e` before anybody can land it. A waiter with `done` may be gone on return.
 */
bool hpx_flight_enlist(struct hpx_flights *f, void *e, hpx_u64 *word, struct hpx_waiter *w);
/* Sleeps for an enlisted waiter without `done`, as joining does: HAPAX_NO_WAIT, HAPAX_ETIMEDOUT. A cancellation point. */
void hpx_flight_await(struct hpx_flights *f, struct hpx_waiter *w, uint64_t deadline);
/* A waiter goes, unless it was never enlisted or has its outcome. */
void hpx_flight_leave(struct hpx_waiter *w);
/* The same, for an enlisted waiter with `done`, whose memory the caller keeps: true: done() is not called. */
bool hpx_flight_withdraw(struct hpx_waiter *w);

/* Clears LOADING and WAITED of `e`; returns the word before. `landing` is on the caller's stack. */
struct hpx_landing {
	struct hpx_flight_bucket *bucket; /* NULL: nobody waits */
};
uint64_t hpx_flight_land(struct hpx_flights *f, void *e, hpx_u64 *word, struct hpx_landing *landing);

/* Gives every waiter of a landed flight the outcome. With status 0 takes a reference to `object` for each. With
 * HAPAX_ELOADER `error` becomes the caller's share; NULL: there is none to share. */
void hpx_flight_complete(struct hpx_flights *f, struct hpx_landing *landing, int status, struct hpx_object *object,
			 hapax_load_error *error);

/* Releases every waiter, and whoever still comes, with `status`; flights go on without them. Outside sections. */
void hpx_flight_release_all(struct hpx_flights *f, int status);
/* How many are enlisted for `e` now. */
uint64_t hpx_flight_waiters(struct hpx_flights *f, const void *e);
/* Nobody is enlisted: for checks at quiescence. */
bool hpx_flights_idle(struct hpx_flights *f);

/*
 * The wait graph (process-wide, one lock, slow path only). Announces that this thread is about to sleep for `target`
 * (a LOADING entry, or a dying exclusive object); HAPAX_EDEADLK if the thread that owns the target, through others,
 * waits for something this thread owns. A thread owns the entries of its hpx_frame list and its queued deaths.
 */
int hpx_wait_enter(const void *target);
void hpx_wait_leave(void);
/* Whoever waits for `target` will be woken: its address may come to mean something else. */
void hpx_wait_forget(const void *target);
/* This thread itself owns `target`. */
bool hpx_wait_owned(const void *target);

#endif
