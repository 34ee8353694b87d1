/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/options.c - the options of retention, validity and freshness: what is allowed together, and the tier they make.
 */
#include "cache/backoff.h"
#include "cache/tier.h"

static bool set(int64_t option) { return option != 0; }
static bool legal(int64_t option) { return option >= 0 || option == HAPAX_ZERO; }
static uint64_t duration(int64_t option) { return !option ? HPX_NEVER : option == HAPAX_ZERO ? 0 : (uint64_t)option; }
static uint64_t extra(int64_t option) { return option == HAPAX_ZERO ? 0 : (uint64_t)option; }

static bool contradictory(const hapax_cache_options *o)
{
	bool bounded = set(o->max_entries) || set(o->max_weight), fresh;

	fresh = set(o->refresh_ns) || o->early_refresh > 0 || set(o->stale_ns) || set(o->stale_error_ns);
	return (set(o->max_entries) && set(o->max_weight)) || (o->weigh && !set(o->max_weight)) || (o->policy && !bounded) ||
	       (o->ttl_jitter > 0 && !set(o->ttl_ns)) || (o->early_refresh > 0 && !set(o->ttl_ns)) ||
	       ((set(o->stale_ns) || set(o->stale_error_ns)) && !set(o->ttl_ns) && !o->expire) ||
	       (set(o->backoff_max_ns) && !set(o->backoff_ns)) ||
	       (fresh && o->keys.release) || (o->flags & HAPAX_CACHE_EXCLUSIVE && (fresh || set(o->negative_ttl_ns)));
}

int hpx_policy_check(const hapax_policy *p)
{
	if (p->size != sizeof(*p))
		return HAPAX_EOPTSIZE;
	if (p->flags != HAPAX_POLICY_TOUCH && p->flags != HAPAX_POLICY_RECORD && p->flags != HAPAX_POLICY_EXACT)
		return HAPAX_EFLAGS;
	if (!p->create || !p->destroy || !p->add || !p->remove || !p->evict || !p->resize)
		return HAPAX_EOPTION;
	if (p->flags == HAPAX_POLICY_TOUCH ? !p->touch_max || p->touch_max > 255 : !p->hit)
		return HAPAX_EOPTION;
	return 0;
}

static int check(const hapax_cache_options *o)
{
	const int64_t numbers[] = {o->max_entries, o->max_weight, o->retain_age_ns, o->retain_idle_ns, o->ttl_ns,
				   o->negative_ttl_ns, o->refresh_ns, o->stale_ns, o->stale_error_ns, o->backoff_ns,
				   o->backoff_max_ns};
	size_t i;

	for (i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (!legal(numbers[i]))
			return HAPAX_EOPTION;
	if (!(o->ttl_jitter >= 0 && o->ttl_jitter <= 1) || !(o->early_refresh >= 0 && o->early_refresh <= 1e6) || contradictory(o))
		return HAPAX_EOPTION;
	return o->policy ? hpx_policy_check(o->policy) : 0;
}

static bool needed(const hapax_cache_options *o)
{
	return set(o->max_entries) || set(o->max_weight) || set(o->retain_age_ns) || set(o->retain_idle_ns) || set(o->ttl_ns) ||
	       o->expire || set(o->negative_ttl_ns) || set(o->refresh_ns) || set(o->backoff_ns) || o->on_removal;
}

/* The coarse clock is a few milliseconds late: too much for short times, and for those that a callback chooses. */
static bool coarse(const hapax_cache_options *o)
{
	const int64_t times[] = {o->retain_age_ns, o->retain_idle_ns, o->ttl_ns, o->negative_ttl_ns, o->refresh_ns,
				 o->stale_ns, o->stale_error_ns};
	size_t i;

	for (i = 0; i < sizeof(times) / sizeof(*times); i++)
		if (times[i] > 0 && times[i] < (int64_t)HAPAX_SECOND)
			return false;
	return !o->expire;
}

static void configure(struct hpx_tier *t, const hapax_cache_options *o)
{
	t->bounded = set(o->max_entries) || set(o->max_weight);
	t->weighted = set(o->max_weight);
	hpx_init(&t->bound, extra(t->weighted ? o->max_weight : o->max_entries));
	t->age_ns = duration(o->retain_age_ns);
	t->idle_ns = duration(o->retain_idle_ns);
	t->ttl_ns = o->ttl_ns == INT64_MAX ? HPX_NEVER : duration(o->ttl_ns);
	t->negative_ns = duration(o->negative_ttl_ns);
	t->refresh_ns = duration(o->refresh_ns);
	t->stale_ns = extra(o->stale_ns);
	t->stale_error_ns = extra(o->stale_error_ns);
	t->backoff_ns = extra(o->backoff_ns);
	t->backoff_max_ns = set(o->backoff_max_ns) ? extra(o->backoff_max_ns) : hpx_sat_add(0, t->backoff_ns > UINT64_MAX / 64 ? UINT64_MAX : t->backoff_ns * 64);
	t->jitter = o->ttl_jitter;
	t->early = o->early_refresh;
	t->refreshes = set(o->refresh_ns) || t->early > 0 || t->stale_ns || t->stale_error_ns;
	t->retains = (t->bounded || set(o->retain_age_ns) || set(o->retain_idle_ns)) && t->age_ns && t->idle_ns;
	t->plain = t->retains ? HPX_NODE_RETAINED : 0;
	t->timers = set(o->ttl_ns) || o->expire || set(o->negative_ttl_ns) || set(o->retain_age_ns) || set(o->retain_idle_ns);
	t->timed = t->timers || set(o->refresh_ns);
	t->coarse = coarse(o);
	t->weigh = o->weigh;
	t->weigh_ctx = o->weigh_ctx;
	t->expire = o->expire;
	t->expire_ctx = o->expire_ctx;
	t->on_removal = o->on_removal;
	t->on_removal_ctx = o->on_removal_ctx;
	t->pending_end = &t->pending;
}

int hpx_tier_create(struct hpx_tier **out, hapax_env *env, const hapax_cache_options *o)
{
	struct hpx_tier *t;
	int rc = check(o);

	*out = NULL;
	if (rc || !needed(o))
		return rc;
	t = hpx_alloc(env, sizeof(*t), HPX_CACHE_LINE);
	if (!t)
		return HAPAX_ENOMEM;
	configure(t, o);
	pthread_mutex_init(&t->lock, NULL);
	hpx_wheel_init(&t->wheel, t->timers ? hpx_env_now(env) : 0);
	hpx_init(&t->due, HPX_NEVER);
	if (t->bounded) {
		t->policy = o->policy ? o->policy : hapax_policy_adaptive();
		t->exact = t->policy->flags == HAPAX_POLICY_EXACT;
		t->touch_max = t->policy->flags == HAPAX_POLICY_TOUCH ? t->policy->touch_max : 0;
		rc = t->policy->create(&t->state, hpx_load_relaxed(&t->bound), hpx_env_allocator(env), t->policy->ctx);
		if (!rc && t->policy->flags == HAPAX_POLICY_RECORD) {
			t->hits = hpx_hits_create(hpx_env_allocator(env), HPX_STRIPES);
			rc = t->hits ? 0 : HAPAX_ENOMEM;
		} else if (rc) {
			t->policy = NULL; /* nothing to be destroyed */
		}
	}
	t->asked = t->exact || t->expire;
	if (!rc && t->backoff_ns)
		rc = hpx_backoff_create(&t->backoff, env, t->backoff_ns, t->backoff_max_ns);
	if (rc) {
		hpx_tier_free(t, env);
		return rc;
	}
	*out = t;
	return 0;
}

void hpx_tier_end(struct hpx_tier *t)
{
	if (t->policy)
		t->policy->destroy(t->state);
	t->policy = NULL;
}

void hpx_tier_free(struct hpx_tier *t, hapax_env *env)
{
	hpx_tier_end(t);
	hpx_tier_timers_free(t, env);
	if (t->hits)
		hpx_hits_destroy(t->hits);
	if (t->backoff)
		hpx_backoff_destroy(t->backoff);
	pthread_mutex_destroy(&t->lock);
	hpx_free(env, t, sizeof(*t), HPX_CACHE_LINE);
}
