/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/sweep.c - timers of entries, and housekeeping.
 *
 * An entry with an end or a lapse has one timer, in the tier's wheel. Hits only move the times in the node; the timer is
 * looked at when it fires, and set again if its time has moved on.
 *
 *      node.timer:   NULL -> timer -> CLOSED       CLOSED by the entry's claimer, lock-free
 *      timer.entry:  entry, or NULL                who exchanges it for NULL and got the entry owns the timer:
 *                                                  a claimer cancels it, the sweep that fired it decides
 *
 * Guarantees: a claimer, a death among them, takes no lock and needs no memory. No timer outlives its entry by more than
 * the next call that takes the tier's lock. A sweep handles a bounded number, holds no lock while user code runs, and is not
 * entered again from it.
 */
#include "cache/tier.h"
#include "object/hot.h"
#include "cache/worker.h"

#define CLOSED ((struct hpx_timer *)(uintptr_t)1)
#define TIMER_BYTES ((sizeof(struct hpx_timer) + 15) & ~(size_t)15)

struct hpx_timer *hpx_timer_new(hapax_env *env)
{
	struct hpx_timer *timer = hpx_pool_alloc(env, TIMER_BYTES);

	if (timer)
		memset(timer, 0, TIMER_BYTES);
	return timer;
}

void hpx_timer_free(hapax_env *env, struct hpx_timer *timer) { hpx_pool_free(env, timer, TIMER_BYTES); }

/* A claimer in its section may still be about to exchange its entry. */
static void retire(hapax_env *env, struct hpx_timer *timer)
{
	if (HPX_BROKEN(TIMER_EARLY))
		hpx_timer_free(env, timer);
	else
		hpx_pool_retire(env, timer, TIMER_BYTES, &timer->prev);
}

void hpx_timer_detach(hapax_cache *c, struct hpx_node *n)
{
	struct hpx_timer *timer;

	if (!c->tier->timers)
		return;
	/* order: TIMER.CLOSE acq_rel; against setting it again: that comes before, or sees CLOSED */
	timer = hpx_exchange_acq_rel(&n->timer, CLOSED);
	if (!timer || timer == CLOSED)
		return;
	/* order: TIMER.CLOSE acq_rel; one of claimer and sweep gets the entry */
	if (hpx_exchange_acq_rel(&timer->entry, NULL))
		hpx_wheel_cancel(&c->tier->wheel, timer);
}

static uint64_t next_due(struct hpx_tier *t, struct hpx_node *n)
{
	uint64_t end = hpx_node_end(t, n), lapse;

	/* order: NODE.FLAGS relaxed; readmission sets the timer again after it */
	if (!t->retains || !(hpx_load_relaxed(&n->flags) & HPX_NODE_RETAINED))
		return end;
	lapse = hpx_node_lapse(t, n);
	return lapse < end ? lapse : end;
}

static void hint(struct hpx_tier *t)
{
	hpx_store_relaxed(&t->due, hpx_wheel_next(&t->wheel)); /* order: TIER.DUE relaxed; a hint */
}

static void schedule(struct hpx_tier *t, struct hpx_node *n, struct hpx_timer *timer)
{
	uint64_t due = next_due(t, n);

	if (due == HPX_NEVER)
		hpx_wheel_remove(&t->wheel, timer);
	else
		hpx_wheel_add(&t->wheel, timer, due);
	hint(t);
}

struct hpx_timer *hpx_timer_set(hapax_cache *c, struct hpx_node *n, struct hpx_timer *timer)
{
	struct hpx_timer *now = NULL;

	if (timer) {
		hpx_init(&timer->entry, n->entry);
		/* order: TIMER.CLOSE acq_rel; the timer before a claimer finds it */
		if (hpx_cas_acq_rel(&n->timer, &now, timer)) {
			schedule(c->tier, n, timer);
			return NULL;
		}
	} else {
		/* order: -> TIMER.CLOSE acquire */
		now = hpx_load_acquire(&n->timer);
	}
	/* one that was handed out is set again by its sweep; order: TIMER.CLOSE relaxed; changed back under the lock */
	if (now && now != CLOSED && !now->fired && hpx_load_relaxed(&now->entry))
		schedule(c->tier, n, now);
	return timer;
}

/* ---- sweeping ---------------------------------------------------------------------------------------------------- */

/* Fired and still wanted: set again. False: the entry has gone, the timer is ours. */
static bool set_again(hapax_cache *c, struct hpx_node *n, struct hpx_timer *timer)
{
	struct hpx_tier *t = c->tier;
	struct hpx_timer *same = timer;
	bool kept = true;

	pthread_mutex_lock(&t->lock);
	timer->fired = false;
	/* order: TIMER.CLOSE -> release, by the swap; a claimer that comes after it finds the entry and cancels */
	hpx_store_relaxed(&timer->entry, n->entry);
	if (hpx_cas_acq_rel(&n->timer, &same, timer))
		schedule(t, n, timer);
	else
		/* order: TIMER.CLOSE acq_rel; the claimer came first: whoever gets the entry owns the timer */
		kept = !hpx_exchange_acq_rel(&timer->entry, NULL);
	pthread_mutex_unlock(&t->lock);
	return kept;
}

/* What is due of an entry, which is pinned and held. */
static void attend(hapax_cache *c, struct hpx_node *n, struct hpx_object *o)
{
	struct hpx_tier *t = c->tier;
	uint64_t now = hpx_tier_now(c);

	if (now >= hpx_node_end(t, n))
		hpx_node_expire(c, n, o);
	/* order: NODE.FLAGS relaxed; the tier's lock decides */
	else if (hpx_load_relaxed(&n->flags) & HPX_NODE_RETAINED && now >= hpx_node_lapse(t, n))
		hpx_tier_lapse(c, n, o);
}

static void fire(hapax_cache *c, struct hpx_timer *timer)
{
	struct hpx_timer *same = timer;
	struct hpx_object *o = NULL;
	struct hpx_node *n;
	bool pinned = false, gone = false;
	void *e;

	hpx_read_lock();
	/* order: TIMER.CLOSE acq_rel; one of claimer and sweep gets the entry */
	e = hpx_exchange_acq_rel(&timer->entry, NULL);
	if (!e) {
		hpx_read_unlock(); /* cancelled: it comes back by the wheel */
		return;
	}
	n = hpx_node_of(c, e);
	o = hpx_node_object(n);
	if (o && !hpx_take(o))
		o = NULL;
	pinned = o && hpx_node_pin(n);
	/* order: TABLE.GONE relaxed; a hint: who claimed it sees to the timer, unless that thread was lost in a fork */
	gone = pinned && hpx_load_relaxed(hpx_word(e)) & HPX_W_GONE;
	if (!pinned || gone)
		hpx_cas_acq_rel(&n->timer, &same, NULL); /* order: TIMER.CLOSE acq_rel; nobody finds it any more */
	hpx_read_unlock();
	if (pinned) {
		HPX_STOP("sweep.chosen");
		if (!gone)
			attend(c, n, o);
		if (gone || !set_again(c, n, timer))
			retire(c->env, timer);
		hpx_node_unpin(n);
	} else {
		retire(c->env, timer);
	}
	if (o)
		hpx_cache_release(c, o);
}

/* Listeners may leave their thread. */
struct sweep {
	hapax_cache *cache;
	struct hpx_timer *list;
};

static void sweep_end(struct sweep *s)
{
	struct hpx_tier *t = s->cache->tier;
	struct hpx_timer *timer;

	if (s->list) { /* cut short: back into the wheel */
		pthread_mutex_lock(&t->lock);
		while ((timer = s->list) != NULL) {
			s->list = timer->next;
			timer->next = NULL;
			timer->fired = false;
			hpx_wheel_add(&t->wheel, timer, timer->due);
		}
		hint(t);
		pthread_mutex_unlock(&t->lock);
	}
	hpx_store_release(&t->sweeping, 0); /* order: TIER.SWEEP -> release; the sweep before the next one */
}

unsigned hpx_tier_sweep(hapax_cache *c, unsigned max)
{
	struct hpx_tier *t = c->tier;
	struct hpx_timer *cancelled, *next;
	uint32_t idle = 0;
	unsigned n;

	/* order: TIER.SWEEP acq_rel; one at a time */
	if (!t->timers || !hpx_cas_acq_rel(&t->sweeping, &idle, 1))
		return 0;
	{
		__attribute__((cleanup(sweep_end))) struct sweep s = {.cache = c};
		uint64_t now = hpx_tier_now(c);

		pthread_mutex_lock(&t->lock);
		cancelled = hpx_wheel_cancelled(&t->wheel);
		n = hpx_wheel_due(&t->wheel, now, &s.list, max);
		for (next = s.list; next; next = next->next)
			next->fired = true;
		hint(t);
		pthread_mutex_unlock(&t->lock);
		for (; cancelled; cancelled = next) {
			next = cancelled->cancelled;
			retire(c->env, cancelled);
		}
		while (s.list) {
			struct hpx_timer *timer = s.list;

			s.list = timer->next;
			timer->next = NULL;
			fire(c, timer);
		}
	}
	hpx_tier_settle(c); /* the lock was taken and given up more than once */
	return n;
}

/* Tasks that wait for maintain(): not from inside user code of this cache, which may be one of them. */
static bool run_tasks(hapax_cache *c)
{
	const struct hpx_frame *frame;

	for (frame = hpx_self.frames; frame; frame = frame->up)
		if (frame->cache == c)
			return false;
	hpx_work_step(c, 256);
	return hpx_work_pending(c);
}

bool hapax_cache_maintain(hapax_cache *cache)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_tier *t;
	bool more;

	if (!cache || hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED))
		return false;
	{
		HPX_CACHE_FRAME(cache, NULL); /* a destructor may end this cache: it is not to wait for us */
		hpx_hot_bury();
	}
	more = run_tasks(cache);
	t = cache->tier;
	if (!t)
		return more;
	if (hpx_load_relaxed(&t->sweeping)) /* order: TIER.SWEEP relaxed; a hint */
		return false;
	hpx_tier_settle(cache);
	if (t->timers) {
		hpx_tier_sweep(cache, 256);
		/* order: TIER.DUE relaxed; a hint */
		more |= hpx_tier_now(cache) >= hpx_load_relaxed(&t->due);
	}
	return more;
}

uint64_t hapax_cache_next_deadline(hapax_cache *cache)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_tier *t;

	if (!cache || hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED))
		return HAPAX_FOREVER;
	if (hpx_work_pending(cache))
		return 0;
	t = cache->tier;
	if (!t)
		return HAPAX_FOREVER;
	return t->timers ? hpx_load_relaxed(&t->due) : HAPAX_FOREVER; /* order: TIER.DUE relaxed; a hint */
}

/* Nobody is in the cache any more, and a grace period has passed. */
void hpx_tier_timers_free(struct hpx_tier *t, hapax_env *env)
{
	struct hpx_timer *timer, *next;

	for (timer = hpx_wheel_cancelled(&t->wheel); timer; timer = next) {
		next = timer->cancelled;
		hpx_timer_free(env, timer);
	}
	while (hpx_wheel_due(&t->wheel, UINT64_MAX, &timer, 1024))
		for (; timer; timer = next) {
			next = timer->next;
			hpx_timer_free(env, timer);
		}
}
