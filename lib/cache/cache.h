/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/cache.h - what the files of the cache share.
 *
 * A load's life, in the word of its entry:
 *
 *      LOADING ----commit----> present ----claim----> GONE
 *         |                                             ^
 *         '---claim (fence)---> LOADING|GONE --commit---'   superseded: its callers get the object, the table does not
 *
 * Whoever sets GONE on a present entry accounts for the removal and finishes a record. An entry that is LOADING when GONE
 * is set belongs to its loader, which finishes it when it lands.
 */
#ifndef HPX_CACHE_H
#define HPX_CACHE_H

#include <hapax/cache.h>

#include "cache/compute.h"
#include "flight/flight.h"
#include "object/trace.h"
#include "table/table.h"

enum {
	/* kept in every cache: the size is their difference, and so are the slow calls in progress (cache.c) */
	HPX_CACHE_IN, HPX_CACHE_OUT, HPX_CACHE_CAME, HPX_CACHE_WENT,
	/* kept unless HAPAX_CACHE_NO_STATS; what a miss counts lies in one line */
	HPX_CACHE_MISSES, HPX_CACHE_LOADS, HPX_CACHE_SUCCESSES, HPX_CACHE_HITS, HPX_CACHE_WAITS, HPX_CACHE_FAILURES,
	HPX_CACHE_NOVALUES, HPX_CACHE_ABANDONED, HPX_CACHE_NS, HPX_CACHE_SUPERSEDED, HPX_CACHE_PUTS, HPX_CACHE_REMOVALS,
	HPX_CACHE_REPLACEMENTS, HPX_CACHE_COLLECTIONS, HPX_CACHE_DEMOTIONS, HPX_CACHE_READMISSIONS, HPX_CACHE_DEMOTED_HITS,
	HPX_CACHE_FAILED_UPGRADES, HPX_CACHE_EVICTED_WEIGHT, HPX_CACHE_EXPIRATIONS, HPX_CACHE_SIZE_EVICTIONS,
	HPX_CACHE_NEGATIVE_HITS, HPX_CACHE_STALE_HITS, HPX_CACHE_REFRESHES, HPX_CACHE_REFRESH_FAILURES, HPX_CACHE_NOTIFICATIONS,
	HPX_CACHE_LISTENER_ERRORS,
	HPX_CACHE_CLIENTS, /* and five more: the client's own */
	HPX_CACHE_COUNTERS = HPX_CACHE_CLIENTS + 6
};
_Static_assert(HPX_CACHE_COUNTERS <= HPX_COUNTERS_MAX, "a stripe has no room for these counters");

enum hpx_cache_state { HPX_CACHE_OPEN, HPX_CACHE_CLOSED, HPX_CACHE_ENDING };

/* A list that is whole in the copy that a forked child has of it: going forward, each change is one store. */
struct hpx_member {
	HPX_ATOMIC(struct hpx_member *) next;
	struct hpx_member *prev;
};

/* async.c, token.c: what is under way without a thread's stack. */
struct hpx_async {
	pthread_mutex_t lock;
	struct hpx_member requests; /* whose done() has not been called; changed under the lock */
	struct hpx_member *orphans; /* in a forked child: the parent's, to be told */
	struct hpx_member loads;    /* tokens that nobody has claimed; likewise */
	bool ended;                 /* under the lock: no more of them */
};

#define HPX_CACHE_FINISHED (UINT64_C(1) << 62) /* in `calls`: nobody comes in any more */
#define HPX_CACHE_STRIPED (UINT64_C(1) << 61)  /* and: CAME and WENT belong to it; so it is not what it will be */

struct hpx_tier;
struct hpx_request;
struct hpx_sink;
struct hpx_room;

/*
 * What is built on a cache (memo/): each entry belongs to a ROOM of the client's, or to none.
 * A room comes from the argument of the call that loads the entry; in() is called before the entry can be found, out() once
 * after it was claimed or its object died, from any thread, in a section or not, perhaps with the tier's lock about to be taken.
 * An entry that is retained is in the client's policy, which knows the rooms; after out() it may be there still, until its
 * claimer has taken it out under the tier's lock.
 */
struct hpx_room_head {
	hpx_u64 hits; /* what a room begins with: plain hits of its entries */
};
struct hpx_client {
	struct hpx_room *(*of)(void *arg); /* NULL: there are no rooms, nor the six that follow */
	void (*in)(struct hpx_room *room);
	void (*out)(struct hpx_room *room);
	/* In a section: the object for whose life an entry of a room that was found in it is held, with a reference; or NULL. */
	struct hpx_object *(*keeper)(struct hpx_room *room);
	size_t identity; /* so many bytes at the beginning of each key are the client's own */
	/* Under the tier's lock: this list of rooms, linked as hpx_tier_part() was given them, is to be emptied by evict(). */
	void (*depart)(void *state, struct hpx_room *rooms);
	/* Under the tier's lock: evict() has something to give, bound or not. */
	bool (*above)(void *state);
	/* In a load whose argument this is: what was loaded is about to be found. May be NULL. */
	void (*commits)(void *arg);
	/* No call is in progress, none follows; everything has left. Outside sections and locks. */
	void (*finished)(void *ctx);
	/* A grace period later; the cache's memory goes. */
	void (*freed)(void *ctx);
	void *ctx;
};

struct hapax_cache {
	/* what a hit reads */
	struct hpx_table *table;
	struct hpx_tier *tier; /* NULL: nothing is to be known of an entry but its object (node.h) */
	hpx_u32 state; /* enum hpx_cache_state, only ever upwards */
	bool stats;
	bool exclusive;
	bool plain;            /* a hit is told to nobody; constant, as the next four */
	bool asks;             /* its tier is told of hits, which needs no lock; or objects may be promoted */
	bool promotes;         /* hits look out for other threads: objects may be promoted (object/hot.h) */
	bool lingers;          /* also those that the cache does not hold */
	bool borrows;          /* its type may be borrowed */
	bool lends;            /* that, and a borrow is told to nobody */
	bool straight;         /* loads in place, and nothing more is asked of it (straight.c) */
	bool samples;          /* and not all of its loads are timed */
	hpx_u32 sample_above;  /* sample.h */
	struct hpx_counters counters;

	hpx_u64 calls; /* slow calls in progress that the counters do not say, and one for the caller's handle */
	hpx_u32 unfolded; /* ended from its own user code: who leaves folds the counters into `calls` */
	hpx_u32 emptied; /* at its end: nothing is left in the table but what is dead */
	hapax_env *env;
	const hapax_type *type;
	struct hpx_class *class; /* of objects loaded in place; NULL: the cache has no type */
	hapax_load_fn load;
	hapax_make_fn make;
	hapax_start_fn start;
	hapax_load_many_fn load_many;
	void *arg;
	hapax_key_ops keys;
	void (*leak)(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx);
	void *leak_ctx;
	const struct hpx_client *client; /* NULL: none */
	hapax_executor executor;      /* run NULL: worker.h says where work runs */
	struct hpx_work *works, *works_last; /* tasks that have not begun; under worker.c's lock */
	char name[32];
	struct hpx_flights flights;
	struct hpx_async async;
	struct hpx_computes computes;
	HPX_ATOMIC(struct hpx_heavy *) heavy; /* sample.c; NULL: nothing has ever been sampled */
	struct hpx_event event;       /* an exclusive instance has gone; a call has left a closed cache */
	uint64_t number;              /* in the process, in the order of creation, from 1 */
	HPX_ATOMIC(struct hapax_cache *) next; /* list of all caches; changed under its lock, read in a forked child */
	void (*arg_free)(void *arg);
	struct hpx_deferred deferred;
};

/* sample.c: in a section or in the cache. The hash is the table's. Never waits, needs no memory. */
void hpx_sample_add(hapax_cache *c, const hapax_key *key, uint64_t hash);
void hpx_sample_add8(hapax_cache *c, uint64_t key8); /* a key of eight bytes, whose hash is its bytes' */
/* Is the hit or miss that this thread has just counted as number `n` to be looked at? */
static inline bool hpx_sampled(hapax_cache *c, uint64_t n)
{
	/* order: SAMPLE.ABOVE relaxed; a number that says by itself how many are sampled */
	return HPX_UNLIKELY((uint32_t)n * UINT32_C(0x9e3779b1) > hpx_load_relaxed(&c->sample_above));
}

static inline void hpx_cache_count(hapax_cache *c, unsigned which, uint64_t n)
{
	if (c->stats || which <= HPX_CACHE_WENT)
		hpx_count(&c->counters, which, n);
}

/* A hit or a miss. In the cache, or in a section. */
static inline void hpx_cache_asked(hapax_cache *c, unsigned which, const hapax_key *key, uint64_t hash)
{
	if (c->stats && hpx_sampled(c, hpx_count(&c->counters, which, 1)))
		hpx_sample_add(c, key, hash);
}

static inline uint32_t hpx_cache_state(hapax_cache *c)
{
	/* order: -> CACHE.CLOSE acquire; a call that begins after close returned sees it */
	return hpx_load_acquire(&c->state);
}

/* User code of this cache is about to run on this thread; taken back by the cleanup handler. */
#define HPX_CACHE_FRAME(cache_, entry_)                                                                               \
	__attribute__((cleanup(hpx_cache_frame_pop), unused)) struct hpx_frame frame_ = {.up = hpx_self.frames,         \
										  .cache = (cache_),           \
										  .entry = (entry_)};          \
	hpx_self.frames = &frame_
static inline void hpx_cache_frame_pop(struct hpx_frame *frame)
{
	hpx_self.frames = frame->up;
}

/* cache.c: hapax_cache_create() for a client, whose options are not checked for their size. */
int hpx_cache_create(hapax_cache **out, const hapax_cache_options *options, const struct hpx_client *client);

/* observe layer: a cache has been created. Outside locks and sections. */
void hpx_cache_created(hapax_env *env);

/* calls.c: a slow call comes in: 0, or HAPAX_ECLOSED when the state is above `limit`. leave() for each that came in. */
int hpx_cache_enter(hapax_cache *c, enum hpx_cache_state limit);
void hpx_cache_leave(hapax_cache *c);
/* In a section, which it leaves: the same of a cache that is ending. */
void hpx_cache_leave_ending(hapax_cache *c);
static inline void hpx_cache_leave_quick(hapax_cache *c)
{
	/* the section keeps the cache's memory once we are not counted any more, and `WENT` from changing after a grace period */
	hpx_read_lock();
	if (HPX_UNLIKELY(hpx_cache_state(c) == HPX_CACHE_ENDING)) {
		hpx_cache_leave_ending(c);
		return;
	}
	hpx_count(&c->counters, HPX_CACHE_WENT, 1); /* a release: what this call did */
	hpx_read_unlock();
}
/* In a section: a call comes in; false: the cache is not open. */
static inline bool hpx_cache_enter_quick(hapax_cache *c)
{
	if (HPX_UNLIKELY(hpx_cache_state(c) != HPX_CACHE_OPEN))
		return false;
	hpx_count(&c->counters, HPX_CACHE_CAME, 1);
	return true;
}
/* In a section: a call comes in that only looks; false: the cache is ending. It leaves outside sections. */
bool hpx_cache_visit(hapax_cache *c);
/* cache.c: visits the cache that was created next before `at`, which is left; NULL: the latest. NULL: there is none that is not ending. */
hapax_cache *hpx_cache_before(hapax_cache *at);
/* Slow calls in progress: exact at rest. */
uint64_t hpx_cache_calls(hapax_cache *c);
/* The state is ENDING, and a grace period has passed since: nobody counts in the counters. This thread is in, or has the handle. Once. */
void hpx_cache_fold(hapax_cache *c);
/* True: this thread has set FINISHED, when `calls` were in: finish() follows. */
bool hpx_cache_last_out(hapax_cache *c, uint64_t calls);
/* ENDING: gives the handle up, in user code of a call that is `in` or elsewhere. */
void hpx_cache_give_up(hapax_cache *c, bool in);
/* inherit.c: of each cache, in the child of a fork, by its only thread, before listeners and callbacks are told anything. */
void hpx_cache_inherit(hapax_cache *c);
/* cache.c: the last call takes everything out, once; and ends the cache. */
void hpx_cache_empty(hapax_cache *c);
void hpx_cache_finish(hapax_cache *c);

/* A slow call's stay, and errno as the caller had it: ended by the cleanup handler, also when the thread vanishes. */
struct hpx_stay {
	hapax_cache *cache; /* NULL: not in */
	int saved_errno;
};
int hpx_cache_stay(struct hpx_stay *stay, hapax_cache *c, enum hpx_cache_state limit);
void hpx_cache_stay_end(struct hpx_stay *stay);
#define HPX_CACHE_STAY __attribute__((cleanup(hpx_cache_stay_end))) struct hpx_stay

/* Gives back a reference; deaths that it causes run as user code of this cache. Outside sections. */
void hpx_cache_release(hapax_cache *c, struct hpx_object *o);
/* The one that a cache retained the object by: it is not to be hot on its account any more. */
void hpx_cache_release_hold(hapax_cache *c, struct hpx_object *o);

/* change.c: sets GONE, in a section: the word before. In an exclusive cache the entry stays until its object is gone. */
uint64_t hpx_cache_claim(hapax_cache *c, void *e);
/* Accounts for a claimed entry, whose object the caller holds: false if it was gone before or is still LOADING (then it is not
 * the caller's). In a managed cache hpx_cache_left() follows, outside the section; in others the record is finished. */
bool hpx_cache_claimed(hapax_cache *c, void *e, uint64_t before);
/* change.c: hapax_cache_clear(), of one room's entries if `only` is not NULL. The caller is in the cache. */
void hpx_cache_clear(hapax_cache *c, const struct hpx_room *only);
/* An entry's object has died. */
void hpx_cache_unlink(void *owner, struct hpx_object *o);
void hpx_cache_collected(void *cache, struct hpx_record *r, uint64_t before);
void hpx_cache_met_dead(void *cache, struct hpx_record *r);
/* leak.c: what is known of an entry, for leak reports. */
void hpx_cache_known(void *cache, void *e, struct hpx_object *o, struct hpx_leak_entry *entry);

/* ---- a get on its slow path ---- */

struct hpx_call {
	struct hpx_stay stay;
	hapax_cache *cache;
	const hapax_key *key;
	uint64_t hash;
	uint64_t deadline; /* of waits for others */
	uint64_t held;     /* of the wait for an exclusive instance that is held */
	hapax_load_fn load;
	hapax_make_fn make;
	hapax_start_fn start;
	void *arg;
	const struct hpx_sink *sink; /* not NULL: an asynchronous get, which never waits */
	struct hpx_request *request; /* the call's own until it is enlisted */
	bool (*refuse)(void *object, void *arg);
	void *refuse_arg;
	struct hpx_object *refused; /* held: what was present and will not do */
	bool wants_error;
	bool missed, waited; /* already counted */
	const void *looked;  /* the last entry whose load was looked for in the queue (token.c) */
	struct hpx_error_box *box;
	struct hpx_outcome outcome; /* of the last wait or load; what is left in it at the end is disposed of */
};

/* An asynchronous get's request is enlisted: done() has been or will be called. */
#define HPX_CALL_PENDING 102

/* get.c: a counted hit of a managed cache, or in a room of one: 0 and the object; above 0, and the hash:
 * hpx_cache_resolve() decides; or an error. Outside sections. */
int hpx_cache_hit(hapax_cache *c, const hapax_key *key, uint64_t *hash, void **out);
int hpx_cache_hit_in_room(hapax_cache *c, const hapax_key *key, uint64_t *hash, void **out);
/* miss.c: 0 and the object, with a reference; HPX_CALL_PENDING; or what the get returns. */
int hpx_cache_resolve(struct hpx_call *call, struct hpx_object **out);
/* Also when the thread vanishes: nothing that a wait or a load left in the call stays behind. */
void hpx_call_end(struct hpx_call *call);
/* The call's wait is over, or its load: what is to be made of its outcome. As hpx_cache_resolve(), or HPX_FLIGHT_AGAIN. */
int hpx_call_outcome(struct hpx_call *call, struct hpx_object **out);
/* Counts the call's miss, once. */
void hpx_call_missed(struct hpx_call *call);
/* Counts its wait, once. */
void hpx_call_waited(struct hpx_call *call);
static inline bool hpx_call_can_load(const struct hpx_call *call)
{
	return call->load || call->make || call->start;
}

/* load.c: the key was missing, or its object refused: 0 and the object with a reference; HPX_FLIGHT_AGAIN: look again; or an error. */
int hpx_cache_load(struct hpx_call *call, struct hpx_object **out);

/* exclusive.c: `e` blocks the key. Called in a section, returns outside. `seen`: the cache's event before the lookup. */
int hpx_exclusive_wait(hapax_cache *c, void *e, uint32_t seen, uint64_t deadline, uint64_t held);
/* What threads wait for here has changed or gone. */
void hpx_exclusive_changed(hapax_cache *c, const void *target);
void hpx_exclusive_destroyed(void *owner, struct hpx_object *o);
/* Watches the death of `o` (held), which is about to be found through `record`: when its destructor has returned, the
 * record is unlinked and finished. unwatch(): it was not put, or the caller finishes the record. */
int hpx_exclusive_watch(hapax_cache *c, struct hpx_record *record, struct hpx_object *o, void **watch);
void hpx_exclusive_unwatch(void *watch);
/* The cache ends: no watch of it is left, their records are unlinked and finished. */
void hpx_exclusive_fini(hapax_cache *c);

#endif
