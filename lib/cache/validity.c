/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/validity.c - the time of a managed cache's entries: what is asked before a value is installed, when it ends,
 * and what a hit that is not a plain one has to do.
 *
 *      now:   written ........ attend ........ deadline ........ end
 *             plain hits       |               |                 absent
 *                              refresh, lapse  stale, if that is allowed
 *
 * Times are words of their own, written by whoever writes the entry and by hits (`used`); a reader that sees one of them
 * a moment late decides as if it had come a moment earlier.
 */
#include "base/probe.h"
#include "cache/refresh.h"
#include "cache/tier.h"
#include "expiry/jitter.h"
#include "object/hot.h"

/* ---- terms ------------------------------------------------------------------------------------------------------- */

#define WEIGHT_LIMIT (UINT64_C(1) << 62)

static int ask_weight(hapax_cache *c, const hapax_key *key, struct hpx_object *o, const hapax_put_options *given,
		      uint64_t *weight)
{
	struct hpx_tier *t = c->tier;
	int rc = 0;

	*weight = 1;
	if (given && given->weight) {
		*weight = given->weight == HAPAX_ZERO ? 0 : (uint64_t)given->weight;
	} else if (t->weigh) {
		HPX_CACHE_FRAME(c, NULL);
		rc = t->weigh(key, hpx_payload(o), weight, t->weigh_ctx);
	} else if (t->weighted) {
		*weight = hpx_object_bytes(o);
	}
	if (rc)
		return HAPAX_ECALLBACK;
	return *weight < WEIGHT_LIMIT ? 0 : HAPAX_EWEIGHT;
}

static int ask_ttl(hapax_cache *c, hapax_expire_event event, const hapax_key *key, struct hpx_object *o, uint64_t *ttl)
{
	struct hpx_tier *t = c->tier;
	HPX_CACHE_FRAME(c, NULL);

	return t->expire(event, key, hpx_payload(o), ttl, t->expire_ctx) ? HAPAX_ECALLBACK : 0;
}

/* What is left of an entry's validity. */
static uint64_t left(struct hpx_node *n, uint64_t now)
{
	uint64_t deadline = hpx_load_relaxed(&n->deadline); /* order: NODE.TIME relaxed; as below */

	return deadline == HPX_NEVER ? HPX_NEVER : deadline > now ? deadline - now : 0;
}

int hpx_terms_get(hapax_cache *c, const hapax_key *key, struct hpx_object *o, struct hpx_node *old,
		  const hapax_put_options *given, struct hpx_terms *terms)
{
	struct hpx_tier *t = c->tier;
	int rc;

	*terms = (struct hpx_terms){.weight = 1, .ttl_ns = HPX_NEVER};
	if (!t)
		return 0;
	rc = ask_weight(c, key, o, given, &terms->weight);
	if (rc)
		return rc;
	if (t->timed)
		terms->now = hpx_tier_now(c);
	terms->ttl_ns = t->ttl_ns;
	if (t->jitter > 0 && terms->ttl_ns != HPX_NEVER)
		terms->ttl_ns = hpx_jitter(terms->ttl_ns, t->jitter, hpx_env_random(c->env));
	if (given && given->ttl_ns == INT64_MAX)
		terms->ttl_ns = HPX_NEVER;
	else if (given && given->ttl_ns)
		terms->ttl_ns = given->ttl_ns == HAPAX_ZERO ? 0 : (uint64_t)given->ttl_ns;
	else if (t->expire && old)
		terms->ttl_ns = left(old, terms->now);
	if (t->expire && !(given && given->ttl_ns))
		rc = ask_ttl(c, old ? HAPAX_EXPIRE_UPDATE : HAPAX_EXPIRE_CREATE, key, o, &terms->ttl_ns);
	if (!rc && t->timers) {
		terms->timer = hpx_timer_new(c->env);
		if (!terms->timer)
			rc = HAPAX_ENOMEM;
	}
	return rc;
}

void hpx_terms_drop(hapax_cache *c, struct hpx_terms *terms)
{
	if (terms->timer)
		hpx_timer_free(c->env, terms->timer);
	terms->timer = NULL;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

void hpx_node_init(hapax_cache *c, void *e, uint64_t hash, uint32_t pins)
{
	struct hpx_node *n = hpx_node_of(c, e);

	n->cache = c;
	n->entry = e;
	hpx_init(&n->pins, 1 + pins);
	n->era = hpx_load_relaxed(&c->tier->era); /* order: TIER.ERA relaxed; as in hpx_era_begin() */
	n->policy.id = hash;
	hpx_node_set_weight(n, 1);
	hpx_init(&n->deadline, HPX_NEVER);
	hpx_init(&n->attend, HPX_NEVER);
}

/* Before it no draw can come out for an early reload: 45 is above -ln(2^-64). */
static uint64_t early_from(const struct hpx_tier *t, struct hpx_node *n)
{
	uint64_t deadline = hpx_load_relaxed(&n->deadline); /* order: NODE.TIME relaxed; as below */
	double span = 45e3 * t->early * (double)hpx_load_relaxed(&n->load_us);

	return span < (double)deadline ? deadline - (uint64_t)span : 0;
}

/* order: NODE.TIME relaxed; each is a time on its own, here and below */
void hpx_node_schedule(hapax_cache *c, struct hpx_node *n)
{
	struct hpx_tier *t = c->tier;
	uint64_t attend = hpx_load_relaxed(&n->deadline), from;
	bool reloading = hpx_load_relaxed(&n->flags) & HPX_NODE_REFRESHING; /* order: NODE.FLAGS relaxed; its end schedules */

	if (t->refresh_ns != HPX_NEVER && !reloading) {
		from = hpx_sat_add(hpx_load_relaxed(&n->written), t->refresh_ns);
		attend = from < attend ? from : attend;
	}
	if (t->early > 0 && !reloading) {
		from = early_from(t, n);
		attend = from < attend ? from : attend;
	}
	if (t->age_ns != HPX_NEVER) {
		from = hpx_sat_add(hpx_load_relaxed(&n->written), t->age_ns);
		attend = from < attend ? from : attend;
	}
	hpx_store_relaxed(&n->attend, attend);
}

static void set_times(hapax_cache *c, struct hpx_node *n, const struct hpx_terms *terms)
{
	if (!c->tier->timed && terms->ttl_ns == HPX_NEVER)
		return;
	hpx_store_relaxed(&n->written, terms->now);
	hpx_store_relaxed(&n->used, terms->now);
	hpx_store_relaxed(&n->deadline, hpx_sat_add(terms->now, terms->ttl_ns));
	hpx_node_schedule(c, n);
}

void hpx_node_terms(hapax_cache *c, struct hpx_node *n, const struct hpx_terms *terms)
{
	hpx_node_set_weight(n, terms->weight);
	hpx_store_relaxed(&n->load_us, terms->load_us);
	set_times(c, n, terms);
}

uint64_t hpx_node_end(const struct hpx_tier *t, struct hpx_node *n)
{
	uint64_t deadline = hpx_load_relaxed(&n->deadline);

	if (hpx_load_relaxed(&n->flags) & HPX_NODE_NEGATIVE)
		return deadline;
	return hpx_sat_add(deadline, t->stale_ns > t->stale_error_ns ? t->stale_ns : t->stale_error_ns);
}

uint64_t hpx_node_lapse(const struct hpx_tier *t, struct hpx_node *n)
{
	uint64_t at = HPX_NEVER, idle;

	/* order: NODE.FLAGS relaxed; set before publication. No value is remembered for a time of its own */
	if (hpx_load_relaxed(&n->flags) & HPX_NODE_NEGATIVE)
		return HPX_NEVER;
	if (t->age_ns != HPX_NEVER)
		at = hpx_sat_add(hpx_load_relaxed(&n->written), t->age_ns);
	if (t->idle_ns != HPX_NEVER) {
		idle = hpx_sat_add(hpx_load_relaxed(&n->used), t->idle_ns);
		at = idle < at ? idle : at;
	}
	return at;
}

/* The lock is taken for the timer, and once more for the arrivals. */
static void start_timer(hapax_cache *c, struct hpx_node *n, struct hpx_timer *timer)
{
	struct hpx_tier *t = c->tier;

	pthread_mutex_lock(&t->lock);
	timer = hpx_timer_set(c, n, timer);
	pthread_mutex_unlock(&t->lock);
	if (timer)
		hpx_timer_free(c->env, timer);
}

void hpx_node_installed(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, struct hpx_terms *terms)
{
	hpx_tier_admit(c, n, o);
	if (terms->timer)
		start_timer(c, n, terms->timer);
	terms->timer = NULL;
	hpx_tier_settle(c);
	hpx_tier_tick(c);
}

/* Under the lock. Entries expire under it: one that is still there does not expire by the times it had before. */
static bool is_there(hapax_cache *c, struct hpx_node *n)
{
	/* order: -> TABLE.GONE acquire */
	return hpx_tier_now(c) < hpx_node_end(c->tier, n) && !(hpx_load_acquire(hpx_word(n->entry)) & HPX_W_GONE);
}

bool hpx_node_rewritten(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, struct hpx_terms *terms)
{
	bool there = true, due = false;

	if (c->tier->timed) {
		pthread_mutex_lock(&c->tier->lock);
		there = is_there(c, n);
		if (there)
			set_times(c, n, terms);
		due = hpx_tier_unlock(c);
	}
	if (!there) {
		if (due)
			hpx_tier_settle(c);
		return false;
	}
	if (terms->load_us)
		hpx_store_relaxed(&n->load_us, terms->load_us);
	if (terms->weight != hpx_node_weight(n))
		hpx_tier_reweigh(c, n, terms->weight);
	else
		hpx_tier_used(c, n);
	hpx_node_installed(c, n, o, terms);
	return true;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

bool hpx_node_hidden(hapax_cache *c, struct hpx_node *n, struct hpx_object *o)
{
	struct hpx_tier *t = c->tier;
	/* order: NODE.FLAGS relaxed; a flag that is set before publication, and one whose reference the count shows */
	uint32_t flags = hpx_load_relaxed(&n->flags);
	uint64_t now;

	if (flags & HPX_NODE_NEGATIVE)
		return true;
	if (!t->timed)
		return false;
	now = hpx_tier_now(c);
	if (now >= hpx_sat_add(hpx_load_relaxed(&n->deadline), t->stale_ns))
		return true;
	/* the cache and the caller are all who hold it */
	return flags & HPX_NODE_RETAINED && now >= hpx_node_lapse(t, n) && hpx_refs(o) <= 2;
}

void hpx_node_expire(hapax_cache *c, struct hpx_node *n, struct hpx_object *o)
{
	struct hpx_tier *t = c->tier;
	uint64_t now = hpx_tier_now(c);
	void *e = n->entry;
	bool mine, due;

	HPX_STOP("expire.chosen");
	pthread_mutex_lock(&t->lock);
	hpx_read_lock();
	mine = (now >= hpx_node_end(t, n) || HPX_BROKEN(EXPIRY_UNCHECKED)) && hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	hpx_read_unlock();
	due = hpx_tier_unlock(c);
	if (mine)
		hpx_cache_left(c, e, o, HAPAX_CAUSE_EXPIRED);
	if (due)
		hpx_tier_settle(c);
}

/* Retention has ended, unless it has just begun again: the cache lets go. */
void hpx_tier_lapse(hapax_cache *c, struct hpx_node *n, struct hpx_object *o)
{
	if (!hpx_tier_take(c, n, hpx_tier_now(c)))
		return;
	hpx_cache_count(c, HPX_CACHE_DEMOTIONS, 1);
	HPX_PROBE2(demote, HPX_PROBE_TEXT(c->name), n->entry);
	hpx_cache_release_hold(c, o);
}

/* ---- a hit that is not a plain one ------------------------------------------------------------------------------- */

static int read_expiry(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, uint64_t now)
{
	uint64_t ttl = left(n, now), before = ttl;
	hapax_key key = hpx_table_key(c->table, n->entry);
	int rc;

	rc = ask_ttl(c, HAPAX_EXPIRE_READ, &key, o, &ttl);
	if (!rc && ttl != before)
		hpx_node_set_deadline(c, n, hpx_sat_add(now, ttl));
	return rc;
}

/* The idle time begins again, the policy hears of it, and what had been let go of is held again. */
static void use(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, uint32_t flags, uint64_t now)
{
	struct hpx_tier *t = c->tier;

	if (t->idle_ns != HPX_NEVER)
		hpx_store_relaxed(&n->used, now);
	if (t->retains && !(flags & HPX_NODE_RETAINED)) {
		hpx_cache_count(c, HPX_CACHE_DEMOTED_HITS, 1);
		if (!t->timed || now < hpx_node_lapse(t, n))
			hpx_tier_admit(c, n, o);
		if (hpx_load_relaxed(&n->flags) & HPX_NODE_RETAINED) {
			hpx_cache_count(c, HPX_CACHE_READMISSIONS, 1);
			if (t->timers)
				start_timer(c, n, NULL);
		}
		hpx_tier_settle(c);
	} else if (t->exact) {
		hpx_tier_used(c, n);
	} else if (t->touch_max && __atomic_load_n(&n->policy.touched, __ATOMIC_RELAXED) < t->touch_max) {
		/* order: NODE.TOUCH relaxed; a hint for the policy */
		__atomic_fetch_add(&n->policy.touched, 1, __ATOMIC_RELAXED);
	}
}

void hpx_node_used(hapax_cache *c, struct hpx_node *n, struct hpx_object *o)
{
	/* order: NODE.FLAGS relaxed; as in attend */
	use(c, n, o, hpx_load_relaxed(&n->flags), c->tier->timed ? hpx_tier_now(c) : 0);
}

static int attend(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, bool hit, struct hpx_call *call,
		  struct hpx_object **fresh)
{
	struct hpx_tier *t = c->tier;
	uint64_t now = t->timed ? hpx_tier_now(c) : 0;
	/* order: NODE.FLAGS relaxed; what is done about each of them is decided by an operation on it */
	uint32_t flags = hpx_load_relaxed(&n->flags);
	int rc = 0;

	if (t->timed && now >= hpx_node_end(t, n)) {
		hpx_node_expire(c, n, o);
		return HPX_FLIGHT_AGAIN;
	}
	if (flags & HPX_NODE_NEGATIVE) {
		if (flags & HPX_NODE_RETAINED)
			hpx_tier_used(c, n);
		return HAPAX_NEGATIVE;
	}
	if (t->timed && flags & HPX_NODE_RETAINED && now >= hpx_node_lapse(t, n)) {
		hpx_tier_lapse(c, n, o);
		return HPX_FLIGHT_AGAIN;
	}
	if (t->refreshes) {
		rc = hpx_refresh_attend(c, n, o, now, call, fresh);
		if (rc || *fresh)
			return rc;
	}
	use(c, n, o, flags, now);
	if (t->expire && hit)
		rc = read_expiry(c, n, o, now);
	return rc;
}

int hpx_tier_attend(hapax_cache *c, void *e, struct hpx_object **o, bool hit, struct hpx_call *call)
{
	struct hpx_node *n = hpx_node_of(c, e);
	struct hpx_object *fresh = NULL;
	bool pinned = hpx_node_pin(n);
	int rc = HPX_FLIGHT_AGAIN;

	hpx_read_unlock();
	if (pinned) {
		rc = attend(c, n, *o, hit, call, &fresh);
		hpx_node_unpin(n);
	}
	if (rc || fresh) {
		hpx_cache_release(c, *o);
		*o = fresh;
	}
	return rc;
}

/* Takes out what only a writer may take out: a negative result. */
static void clear_negative(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, hapax_cause cause)
{
	void *e = n->entry;
	bool mine;

	hpx_read_lock();
	mine = hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	hpx_read_unlock();
	if (mine)
		hpx_cache_left(c, e, o, cause);
}

struct hpx_object *hpx_cache_find(hapax_cache *c, uint64_t hash, const hapax_key *key, enum hpx_clear clear, void **e)
{
	struct hpx_object *o;
	struct hpx_node *n;
	bool negative, over, lapsed;
	uint64_t now;

	for (;;) {
		*e = NULL;
		hpx_read_lock();
		o = hpx_table_lookup(c->table, hash, key, e);
		if (!o || !c->tier)
			return o;
		n = hpx_node_of(c, *e);
		/* order: NODE.FLAGS relaxed; set before publication */
		negative = hpx_load_relaxed(&n->flags) & HPX_NODE_NEGATIVE;
		now = c->tier->timed ? hpx_tier_now(c) : 0;
		over = c->tier->timed && now >= hpx_node_end(c->tier, n);
		lapsed = c->tier->timed && hpx_load_relaxed(&n->flags) & HPX_NODE_RETAINED && now >= hpx_node_lapse(c->tier, n);
		if (!negative && !over && !lapsed)
			return o;
		if (!hpx_node_pin(n))
			n = NULL;
		hpx_read_unlock();
		if (n && over)
			hpx_node_expire(c, n, o);
		else if (n && lapsed)
			hpx_tier_lapse(c, n, o);
		else if (n && clear)
			clear_negative(c, n, o, clear == HPX_CLEAR_REMOVED ? HAPAX_CAUSE_EXPLICIT : HAPAX_CAUSE_REPLACED);
		if (n)
			hpx_node_unpin(n);
		hpx_cache_release(c, o);
		if (negative && !over && !lapsed && !clear) {
			*e = NULL;
			hpx_read_lock();
			return NULL;
		}
	}
}

/* ---- time and bounds of one entry -------------------------------------------------------------------------------- */

/* In this order: the deadline is seen by hits; the timer follows. */
bool hpx_node_set_deadline(hapax_cache *c, struct hpx_node *n, uint64_t deadline)
{
	bool there;

	pthread_mutex_lock(&c->tier->lock);
	there = is_there(c, n);
	if (there) {
		hpx_store_relaxed(&n->deadline, deadline);
		hpx_node_schedule(c, n);
		hpx_timer_set(c, n, NULL);
	}
	if (hpx_tier_unlock(c))
		hpx_tier_settle(c);
	return there;
}

/* 0: the present entry, pinned, its object held. */
static int pin_present(hapax_cache *c, const hapax_key *key, struct hpx_node **n, struct hpx_object **o)
{
	uint64_t hash;
	void *e;
	int rc = hpx_table_hash(c->table, key, &hash);

	if (rc)
		return rc;
	for (;;) {
		bool pinned;

		*o = hpx_cache_find(c, hash, key, HPX_CLEAR_NONE, &e);
		if (!*o) {
			hpx_read_unlock();
			return HAPAX_MISS;
		}
		*n = hpx_node_of(c, e);
		pinned = hpx_node_pin(*n);
		hpx_read_unlock();
		if (pinned)
			return 0;
		hpx_cache_release(c, *o);
	}
}

/* HPX_FLIGHT_AGAIN: it left at this instant; another one may be there instead. */
static int touch(hapax_cache *cache, const hapax_key *key)
{
	struct hpx_object *o;
	struct hpx_terms terms;
	struct hpx_node *n;
	int rc = pin_present(cache, key, &n, &o);

	if (rc)
		return rc;
	rc = hpx_terms_get(cache, key, o, n,
			   &(hapax_put_options){HAPAX_PUT_OPTIONS_INIT,
						.weight = hpx_node_weight(n) ? (int64_t)hpx_node_weight(n) : HAPAX_ZERO}, &terms);
	if (!rc && !hpx_node_rewritten(cache, n, o, &terms))
		rc = HPX_FLIGHT_AGAIN;
	hpx_terms_drop(cache, &terms);
	hpx_node_unpin(n);
	hpx_cache_release(cache, o);
	return rc;
}

int hapax_cache_touch(hapax_cache *cache, hapax_key key)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	int rc;

	if (!cache)
		return HAPAX_ENULL;
	rc = hpx_cache_stay(&stay, cache, HPX_CACHE_OPEN);
	if (rc)
		return rc;
	if (!cache->tier) {
		rc = hapax_cache_contains(cache, key);
		return rc < 0 ? rc : rc ? 0 : HAPAX_MISS;
	}
	do
		rc = touch(cache, &key);
	while (rc == HPX_FLIGHT_AGAIN);
	return rc;
}

int hapax_cache_set_ttl(hapax_cache *cache, hapax_key key, int64_t ttl_ns)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_object *o;
	struct hpx_node *n;
	uint64_t now, deadline;
	bool set;
	int rc;

	if (!cache)
		return HAPAX_ENULL;
	if (ttl_ns <= 0 && ttl_ns != HAPAX_ZERO)
		return HAPAX_EOPTION;
	rc = hpx_cache_stay(&stay, cache, HPX_CACHE_OPEN);
	if (rc)
		return rc;
	if (!cache->tier || !cache->tier->timers)
		return HAPAX_EOPTION;
	do {
		rc = pin_present(cache, &key, &n, &o);
		if (rc)
			return rc;
		now = hpx_tier_now(cache);
		deadline = ttl_ns == INT64_MAX ? HPX_NEVER : hpx_sat_add(now, ttl_ns == HAPAX_ZERO ? 0 : (uint64_t)ttl_ns);
		set = hpx_node_set_deadline(cache, n, deadline);
		hpx_node_unpin(n);
		hpx_cache_release(cache, o);
	} while (!set); /* it left at this instant; another one may be there instead */
	hpx_tier_tick(cache);
	return 0;
}

int hapax_cache_deadline(hapax_cache *cache, hapax_key key, uint64_t *deadline)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_object *o;
	uint64_t hash;
	void *e;
	int rc;

	if (!cache || !deadline)
		return HAPAX_ENULL;
	*deadline = HAPAX_FOREVER;
	rc = hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED);
	if (rc)
		return rc;
	rc = hpx_table_hash(cache->table, &key, &hash);
	if (rc)
		return rc;
	o = hpx_cache_find(cache, hash, &key, HPX_CLEAR_NONE, &e);
	if (o && cache->tier)
		*deadline = hpx_load_relaxed(&hpx_node_of(cache, e)->deadline);
	hpx_read_unlock();
	if (!o)
		return HAPAX_MISS;
	hpx_cache_release(cache, o);
	return 0;
}
