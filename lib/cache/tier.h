/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/tier.h - the strong tier of a managed cache (tier.c), leaving it (leave.c), and the time of its entries
 * (validity.c, sweep.c). node.h tells of nodes and their flags.
 *
 *      install -> RETAINED, arrivals --lock--> LISTED in the policy --evict, lapse--> demoted: reference dropped
 *                                                    |                                   | a get brings it back
 *                                                    '--claimed (LEFT): removed, then reference dropped
 *
 * Arrivals are a lock-free stack; whoever gets the lock lists them and evicts. So a stopped holder of the lock stops no
 * load for long: at most HPX_ARRIVALS_MAX objects wait, what comes beyond that is not retained until its next get.
 */
#ifndef HPX_TIER_H
#define HPX_TIER_H

#include <pthread.h>

#include "cache/node.h"
#include "expiry/wheel.h"
#include "policy/record.h"

#define HPX_ARRIVALS_MAX 256
/* From so many on who adds lets the lock's holder run, so many times at most. Without it a holder that is preempted leaves
 * the cache as it is for a time slice: with 8 threads on 2 processors, 76,000 requests of a web trace, room for 1 % of
 * the keys, hits fall from 44 to 31 %; with it they stay as on one thread. */
#define HPX_ARRIVALS_FEW 8
#define HPX_ARRIVALS_YIELDS 1000
/* So often a hit of an exact policy tries for the lock where it is, before it looks its key up again to wait for it. */
#ifdef HPX_MODEL
#define HPX_EXACT_TRIES 1
#else
#define HPX_EXACT_TRIES 60
#endif
#define HPX_NEVER UINT64_MAX
#define HPX_TIER_BATCH 32 /* references dropped per hold of the lock */

struct hpx_tier {
	/* what a hit reads; constant */
	uint32_t plain;      /* the flags of an entry whose hits are plain, among RETAINED, NEGATIVE: RETAINED or none */
	uint32_t touch_max;
	bool timed;          /* hits read the clock */
	bool coarse;         /* the coarse one will do: every duration is a second or more */
	bool exact;          /* every hit goes to the policy, under the lock */
	bool asked;          /* no hit is plain: exact, or there is an expire callback */
	struct hpx_hits *hits; /* recorded hits; NULL: the policy does not want them */
	uint64_t idle_ns;    /* durations: HPX_NEVER when unset */

	bool retains;        /* there is a strong tier */
	bool bounded, weighted;
	bool timers;         /* entries have timers */
	uint64_t age_ns, ttl_ns, negative_ns, refresh_ns;
	uint64_t stale_ns, stale_error_ns, backoff_ns, backoff_max_ns; /* 0 when unset */
	double jitter, early;
	struct hpx_backoff *backoff; /* NULL: none */
	bool refreshes;      /* by an age, early, or stale */
	const hapax_policy *policy; /* NULL: no bound */
	void *state;
	hapax_weigh_fn weigh;
	void *weigh_ctx;
	hapax_expire_fn expire;
	void *expire_ctx;
	hapax_removal_fn on_removal;
	void *on_removal_ctx;

	pthread_mutex_t lock;
	HPX_ATOMIC(struct hpx_node *) arrivals; /* pushed by anyone, taken under the lock */
	hpx_u32 arriving;                       /* on their way, a bound for arrivals */
	struct hpx_node *pending, **pending_end; /* under the lock: arrivals in order, not yet listed */
	/* changed under the lock, read by anyone */
	hpx_u64 bound;
	hpx_u64 held, weight;                   /* LISTED: how many, and their weight, UINT64_MAX if it is more */
	hpx_u64 absences;                       /* LISTED and NEGATIVE: of those held, not entries of the size */
	uint64_t sum, carries;                  /* under the lock: the weight, exactly: sum + carries * 2^64 */
	hpx_u64 due;                            /* a hint: nothing is due in the wheel before */
	struct hpx_wheel wheel;                 /* under the lock */
	const struct hpx_client *client;        /* that has rooms; NULL: none */
	HPX_ATOMIC(struct hpx_room *) parting;  /* rooms to be emptied: pushed by anyone, taken under the lock */
	struct hpx_room *parted;                /* under the lock: those taken, some of whose nodes may be pending */
	hpx_u32 sweeping;                       /* somebody is in maintain() */
	hpx_u32 era;                            /* clears so far: what was made in an older one is removed */
};

/* options.c: checks the options beyond cache.c's, makes the tier if they need one (*out NULL: not). */
int hpx_tier_create(struct hpx_tier **out, hapax_env *env, const hapax_cache_options *o);
/* 0, or why a policy's descriptor is not acceptable. */
int hpx_policy_check(const hapax_policy *p);
/* The cache ends: the policy goes, nothing is listed any more. */
void hpx_tier_end(struct hpx_tier *t);
/* A grace period after that. */
void hpx_tier_free(struct hpx_tier *t, hapax_env *env);

/* ---- tier.c ------------------------------------------------------------------------------------------------------ */

/* The caller holds `o`, the entry stays (pinned, or embedded). Retains it if that is to be; then settle(). */
void hpx_tier_admit(hapax_cache *c, struct hpx_node *n, struct hpx_object *o);
/* Enough hits were recorded: the policy hears of them, if the lock is free. Outside sections. */
void hpx_tier_recorded(hapax_cache *c);
/* Lists arrivals, keeps the bound, drops references: user code runs. Outside sections and locks. */
void hpx_tier_settle(hapax_cache *c);
/* Gives the lock up, which was taken for something else. True: hpx_tier_settle() is due: for what arrived meanwhile, or for
 * what somebody left to whoever has the lock. */
bool hpx_tier_unlock(hapax_cache *c);
/* Takes a node out if the cache holds its object: true: that reference is the caller's now. Takes the lock. `lapsed_at` other
 * than HPX_NEVER: only if its retention has ended by then. */
bool hpx_tier_take(hapax_cache *c, struct hpx_node *n, uint64_t lapsed_at);
/* `fresh`, published and pinned, was written over `old`, which was claimed: it takes its place in the tier. False: not, admit it. */
bool hpx_tier_replace(hapax_cache *c, struct hpx_node *old, struct hpx_node *fresh, struct hpx_object *o);
/* A room goes: what is retained of it is let go of, by this thread or whoever has the lock. `link` is where the room keeps the
 * link to the next one. User code runs. Lock-free, needs no memory; outside sections and locks, the caller in the cache. */
void hpx_tier_part(hapax_cache *c, struct hpx_room *room, struct hpx_room **link);
/* The policy hears of a use: a hit of an exact one, a write of the same object. Takes the lock. */
void hpx_tier_used(hapax_cache *c, struct hpx_node *n);
/* The weight of a node changes; then settle(). Takes the lock. */
void hpx_tier_reweigh(hapax_cache *c, struct hpx_node *n, uint64_t weight);
static inline uint64_t hpx_sat_add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

/* ---- leave.c ----------------------------------------------------------------------------------------------------- */

/* Outside sections and locks: hpx_cache_claimed() has returned true for `e`, whose object the caller holds: out of the
 * tier, told, the record finished. The entry is not to be touched afterwards. */
void hpx_cache_left(hapax_cache *c, void *e, struct hpx_object *o, hapax_cause cause);
/* An object that stands for the absence of one: 0 or HAPAX_ENOMEM. */
int hpx_stand_in(hapax_cache *c, struct hpx_object **out);
/* A value that was produced and never installed; the caller holds it. */
void hpx_cache_unused(hapax_cache *c, const hapax_key *key, struct hpx_object *o, uint64_t weight, hapax_cause cause);
/* In a section: `e`'s object has died; `before`: its word before death claimed it. */
void hpx_leave_dead(hapax_cache *c, void *e, uint64_t before);
/* The table, or the exclusive watch, gives up its hold on a record: managed caches may have pins on it. */
void hpx_entry_finish(hapax_cache *c, void *e);

/* ---- validity.c -------------------------------------------------------------------------------------------------- */

static inline uint64_t hpx_tier_now(hapax_cache *c)
{
	struct hpx_tier *t = c->tier;

	return t->coarse ? hpx_env_now_coarse(c->env) : hpx_env_now(c->env);
}

/* What is asked of user code before a value is installed. */
struct hpx_terms {
	uint64_t weight;
	uint64_t ttl_ns;  /* UINT64_MAX: none */
	uint64_t now;
	struct hpx_timer *timer; /* NULL: needs none, or taken */
	uint32_t load_us;
	bool reload;      /* for install.c: by a reload, which is no write that fences one */
};
/* Outside locks: weight, validity and timer of `o` under `key`: 0, HAPAX_EWEIGHT, HAPAX_ECALLBACK, HAPAX_ENOMEM.
 * `old`, pinned: the node that is written over, NULL: none, the entry is created. `given` (may be NULL) overrides. Undone by
 * hpx_terms_drop(). */
int hpx_terms_get(hapax_cache *c, const hapax_key *key, struct hpx_object *o, struct hpx_node *old,
		  const hapax_put_options *given, struct hpx_terms *terms);
void hpx_terms_drop(hapax_cache *c, struct hpx_terms *terms);
/* A call that removes everything there is begins: entries of an era before its number are meant. */
static inline uint32_t hpx_era_begin(struct hpx_tier *t)
{
	return hpx_add_relaxed(&t->era, 1) + 1; /* order: TIER.ERA relaxed; entries of concurrent calls may be in either */
}
static inline bool hpx_era_before(const struct hpx_node *n, uint32_t era) { return (int32_t)(n->era - era) < 0; }
/* Before publication: writes them into the node of an entry. `pins`: how many besides the table's. */
void hpx_node_init(hapax_cache *c, void *e, uint64_t hash, uint32_t pins);
void hpx_node_terms(hapax_cache *c, struct hpx_node *n, const struct hpx_terms *terms);
/* After publication, the entry pinned and the object held: starts its timer and retains it. Outside sections and locks. */
void hpx_node_installed(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, struct hpx_terms *terms);
/* A put wrote the same object again: a reload that has begun comes too late. */
static inline void hpx_node_written(struct hpx_node *n)
{
	/* order: NODE.FLAGS relaxed; a reload that looks at this instant comes first */
	if (hpx_load_relaxed(&n->flags) & HPX_NODE_REFRESHING)
		hpx_or_relaxed(&n->flags, HPX_NODE_REWRITTEN);
}
/* The present entry, pinned, is written anew: times, weight, deadline. False: it expired before. */
bool hpx_node_rewritten(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, struct hpx_terms *terms);

/* The instant after which it is not handed out any more, stale times included. */
uint64_t hpx_node_end(const struct hpx_tier *t, struct hpx_node *n);
/* Since when retention would have ended: UINT64_MAX: never. */
uint64_t hpx_node_lapse(const struct hpx_tier *t, struct hpx_node *n);
void hpx_node_schedule(hapax_cache *c, struct hpx_node *n);

/* In a section, `o` held: not for those who only look: expired, a negative result, or lapsed with no other holder. */
bool hpx_node_hidden(hapax_cache *c, struct hpx_node *n, struct hpx_object *o);
/* The deadline changes, for hits at once, and the timer follows. In caches with timers. False: the entry had gone. */
bool hpx_node_set_deadline(hapax_cache *c, struct hpx_node *n, uint64_t deadline);
/* Retention has ended: the cache lets go. Pinned and held. */
void hpx_tier_lapse(hapax_cache *c, struct hpx_node *n, struct hpx_object *o);
/* Takes out an expired entry that is pinned, if it still is expired; the object is held. Takes the lock. */
void hpx_node_expire(hapax_cache *c, struct hpx_node *n, struct hpx_object *o);

/* The same in a tier whose hits are not plain: if the lock is free and nothing else is asked of it, an exact policy hears of the
 * hit here, in the section, which is no longer for it than the policy takes. */
bool hpx_tier_hit_exact(hapax_cache *c, struct hpx_node *n, bool *record);

/* In a section: is a hit of this entry a plain one? Marks the use. *record: hpx_tier_recorded() is due. */
static inline __attribute__((always_inline)) bool hpx_tier_hit(hapax_cache *c, void *e, size_t key_size, bool *record)
{
	struct hpx_tier *t = c->tier;
	struct hpx_node *n = hpx_node_at(c, e, key_size);

	/* order: NODE.FLAGS relaxed; whatever is done about it is decided again on the slow path */
	if (HPX_UNLIKELY((hpx_load_relaxed(&n->flags) & (HPX_NODE_RETAINED | HPX_NODE_NEGATIVE)) != t->plain))
		return false;
	if (HPX_UNLIKELY(t->asked))
		return hpx_tier_hit_exact(c, n, record);
	if (t->touch_max) {
		/* order: NODE.TOUCH relaxed; a hint for the policy, raised by whoever comes, and lost now and then */
		uint32_t touched = __atomic_load_n(&n->policy.touched, __ATOMIC_RELAXED);

		if (touched < t->touch_max)
			__atomic_store_n(&n->policy.touched, touched + 1, __ATOMIC_RELAXED);
	}
	if (t->hits)
		/* order: NODE.SLOT relaxed; tier.c: slot_take */
		*record = hpx_hits_add(t->hits, hpx_self.stripe, hpx_load_relaxed(&n->slot), n->policy.id);
	if (HPX_UNLIKELY(t->timed)) {
		uint64_t now = hpx_tier_now(c), used;

		/* order: NODE.TIME relaxed; each of them is a time on its own */
		if (now >= hpx_load_relaxed(&n->attend) + !!HPX_BROKEN(EXPIRED_GIVEN))
			return false;
		if (t->idle_ns != HPX_NEVER) {
			used = hpx_load_relaxed(&n->used);
			if (now > used && now - used >= t->idle_ns)
				return false;
			if (now != used)
				hpx_store_relaxed(&n->used, now);
		}
	}
	return true;
}

/* Why a lookup ended, beside hapax_status and HPX_FLIGHT_AGAIN: present, but not a plain hit. */
#define HPX_TIER_ATTEND 101

/*
 * In a section, which it leaves: `e` is present, *o is held by the caller. 0: it is the answer, and counts as used, or *o is
 * what a reload made; HPX_FLIGHT_AGAIN: it was not, look again; HAPAX_NEGATIVE; HAPAX_ECALLBACK; what a wait for a reload
 * came to. Other than 0: *o was released. `hit`: it counts as one, and the expire callback is asked. `call` NULL: nothing is
 * waited for: HAPAX_MISS instead.
 */
int hpx_tier_attend(hapax_cache *c, void *e, struct hpx_object **o, bool hit, struct hpx_call *call);
/* Present, pinned and held: it was used, though no get hit it. Outside sections and locks. */
void hpx_node_used(hapax_cache *c, struct hpx_node *n, struct hpx_object *o);

/*
 * Outside sections; returns inside one. The valid present entry of the key with its object held, or NULL with *e as
 * hpx_table_lookup says. What has expired is taken out on the way; negative results too if `clear` (a writer comes).
 */
enum hpx_clear { HPX_CLEAR_NONE, HPX_CLEAR_REPLACED, HPX_CLEAR_REMOVED };
struct hpx_object *hpx_cache_find(hapax_cache *c, uint64_t hash, const hapax_key *key, enum hpx_clear clear, void **e);

/* ---- sweep.c ----------------------------------------------------------------------------------------------------- */

struct hpx_timer *hpx_timer_new(hapax_env *env);
void hpx_timer_free(hapax_env *env, struct hpx_timer *timer);
void hpx_tier_timers_free(struct hpx_tier *t, hapax_env *env);
/* In a section. Its claimer gives the entry's timer up. Lock-free. */
void hpx_timer_detach(hapax_cache *c, struct hpx_node *n);
/* Under the lock: (re)schedules. Takes over `timer` (may be NULL: the one it has). Returns one to be freed, or NULL. */
struct hpx_timer *hpx_timer_set(hapax_cache *c, struct hpx_node *n, struct hpx_timer *timer);
/* Up to `max` due entries, if nobody else is at it: how many. Outside sections and locks. */
unsigned hpx_tier_sweep(hapax_cache *c, unsigned max);
/* What ordinary calls do on the way. */
static inline void hpx_tier_tick(hapax_cache *c)
{
	/* order: TIER.DUE relaxed; a hint */
	if (c->tier && c->tier->timers && hpx_tier_now(c) >= hpx_load_relaxed(&c->tier->due))
		hpx_tier_sweep(c, 16);
}

#endif
