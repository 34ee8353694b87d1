/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault/sweep_tier.c - caches with bounds, times and listeners, with every allocation failing; see sweep.h. The world's
 * `making` is such a cache here: "a" item 0, "b" item 1, both held by it; what left it is counted in callback_calls.
 */
#include "fault/sweep.h"

#define NEW KEY("new")
#define HOUR INT64_C(3600000000000)

static int told(const hapax_removal *removal, void *ctx)
{
	CHECK(removal->size == sizeof(*removal));
	((struct world *)ctx)->result++;
	return 0;
}

static int weigh_two(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)object;
	(void)ctx;
	*weight = 2;
	return 0;
}

static int expire_later(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx)
{
	(void)event;
	(void)key;
	(void)object;
	(void)ctx;
	*ttl_ns = (uint64_t)HOUR;
	return 0;
}

static hapax_cache_options options_of(struct world *w, int variant)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = w->env, .make = source_make, .arg = &w->made, .capacity = 100};

	switch (variant) {
	case 0:
		o.max_weight = 100;
		o.weigh = weigh_two;
		o.ttl_ns = o.retain_idle_ns = HOUR;
		o.on_removal = told;
		o.on_removal_ctx = w;
		break;
	case 1: o.max_entries = 10; break;
	case 2: o.max_entries = 10; o.policy = hapax_policy_lru(); break;
	case 3: o.max_entries = 1000; o.policy = hapax_policy_tinylfu(); o.ttl_ns = HOUR; o.ttl_jitter = 0.5; break;
	case 4: o.retain_age_ns = o.retain_idle_ns = HOUR; break;
	case 5: o.ttl_ns = o.negative_ttl_ns = HOUR; o.on_removal = told; o.on_removal_ctx = w; break;
	case 6: o.expire = expire_later; break;
	case 7: o.flags = HAPAX_CACHE_EXCLUSIVE; o.max_entries = 10; o.ttl_ns = HOUR; break;
	case 8: o.ttl_ns = HOUR; o.stale_ns = o.stale_error_ns = o.refresh_ns = HOUR / 2; o.early_refresh = 1; break;
	case 9: o.backoff_ns = HOUR; o.ttl_ns = HOUR; break;
	case 10: o.max_entries = 10; o.policy = hapax_policy_s3fifo(); break;
	default: o.max_weight = 100; o.policy = hapax_policy_weighted(); break;
	}
	return o;
}

/* The loader's items: one that is ready, so that the loader needs no memory of its own. */
static void make_ready(struct world *w)
{
	if (!w->made.ready[0]) {
		w->made.ready[0] = w->spare;
		w->spare = NULL;
	}
}

static void managed(struct world *w, int variant)
{
	hapax_cache_options o = options_of(w, variant);
	hapax_cache *cache = NULL;

	hapax_cache_destroy(w->making);
	w->making = NULL;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	w->making = cache;
	CHECK_EQ(hapax_cache_put(cache, KEY("a"), w->item[0]), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(cache, KEY("b"), w->item[1]), HAPAX_OK);
	CHECK_EQ(w->result, 0);
}

static void manage(struct world *w) { managed(w, 0); }

static void checked(struct world *w, size_t size, int left)
{
	hapax_cache_stats s = stats_of(w->making);

	cache_check(w->making, size);
	CHECK_EQ(w->result, left);
	CHECK_EQ(s.notifications, left);
	CHECK_EQ(s.retained, size);
	CHECK_EQ(s.retained_weight, 2 * size);
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static int create_managed(struct world *w, int variant)
{
	hapax_cache_options o = options_of(w, variant);
	hapax_cache *cache = (void *)1;
	int rc = hapax_cache_create(&cache, &o);

	CHECK((rc == 0) == (cache != NULL));
	w->out = NULL;
	if (!rc) {
		hapax_cache_destroy(w->making);
		w->making = cache;
	}
	return rc;
}

static void created(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	cache_check(w->making, 0);
	w->memory->fail_from = 0;
	CHECK_EQ(hapax_cache_put(w->making, KEY("first"), w->item[2]), HAPAX_OK);
	cache_check(w->making, 1);
	CHECK_PTR(present(w->making, "first"), w->item[2]);
}

#define CREATE(kind_, variant_)                                                                                       \
	static int create_##kind_(struct world *w) { return create_managed(w, variant_); }                            \
	SWEEP(hapax_cache_create, kind_, .nomem = true, .call = create_##kind_, .done = created)

CREATE(weighed, 0)
CREATE(bounded, 1)
CREATE(exact, 2)
CREATE(sketched, 3)
CREATE(for_a_time, 4)
CREATE(with_negatives, 5)
CREATE(asking_for_times, 6)
CREATE(exclusive_and_bounded, 7)
CREATE(refreshing, 8)
CREATE(backing_off, 9)
CREATE(with_ghosts, 10)
CREATE(weighted, 11)

/* ---- getting and writing ----------------------------------------------------------------------------------------- */

static void manage_ready(struct world *w)
{
	manage(w);
	make_ready(w);
}

/* The loader has nothing to give a second time: what an error consumed is made anew. */
static int get_made(struct world *w)
{
	if (!w->made.ready[0]) {
		w->memory->fail_from = w->memory->fail_at = 0;
		w->made.ready[0] = world_item(w, &item_type, 300);
	}
	return hapax_cache_get(w->making, NEW, &w->out);
}

static void got_made(struct world *w, int status)
{
	struct item *left = w->made.ready[0];

	w->made.ready[0] = NULL;
	hapax_release(left);
	if (status == HAPAX_ENOMEM) {
		CHECK(!present(w->making, "new"));
		checked(w, 2, w->result); /* what was made and could not be installed was told of, once */
		return;
	}
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->making, "new"), w->out);
	checked(w, 3, w->result);
}

SWEEP(hapax_cache_get, managed, .nomem = true, .errors_change = true, .prepare = manage_ready, .call = get_made,
      .done = got_made)

static int get_held(struct world *w) { return hapax_cache_get(w->making, KEY("a"), &w->out); }

static void got_held(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[0]);
	checked(w, 2, 0);
}

SWEEP(hapax_cache_get, held, .prepare = manage, .call = get_held, .done = got_held)

static int put_with(struct world *w)
{
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = 2 * HOUR, .weight = 2};

	w->out = NULL;
	return hapax_cache_put_with(w->making, NEW, w->item[3], &o);
}

static void is_put_with(struct world *w, int status)
{
	uint64_t now = hapax_env_now(w->env), deadline = 0;

	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->making, "new"), w->item[3]);
	CHECK_EQ(hapax_cache_deadline(w->making, NEW, &deadline), HAPAX_OK);
	CHECK(deadline > now + HOUR && deadline <= now + 2 * HOUR);
	checked(w, 3, 0);
}

SWEEP(hapax_cache_put_with, new_key, .nomem = true, .prepare = manage, .call = put_with, .done = is_put_with)

static int put_with_over(struct world *w)
{
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT};

	w->out = NULL;
	return hapax_cache_put_with(w->making, KEY("a"), w->item[3], &o);
}

static void is_put_over(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->making, "a"), w->item[3]);
	checked(w, 2, 1);
}

SWEEP(hapax_cache_put_with, replacing, .nomem = true, .prepare = manage, .call = put_with_over, .done = is_put_over)

static int put_again(struct world *w)
{
	w->out = NULL;
	return hapax_cache_put(w->making, KEY("a"), w->item[0]);
}

static void as_it_was(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->making, "a"), w->item[0]);
	checked(w, 2, 0);
}

SWEEP(hapax_cache_put, the_same_again, .nomem = true, .prepare = manage, .call = put_again, .done = as_it_was)

/* ---- times ------------------------------------------------------------------------------------------------------- */

static int touch(struct world *w)
{
	w->out = NULL;
	return hapax_cache_touch(w->making, KEY("a"));
}

SWEEP(hapax_cache_touch, present, .nomem = true, .prepare = manage, .call = touch, .done = as_it_was)

static int set_ttl(struct world *w)
{
	w->out = NULL;
	return hapax_cache_set_ttl(w->making, KEY("a"), 10 * HOUR);
}

static void has_longer(struct world *w, int status)
{
	uint64_t deadline = 0;

	as_it_was(w, status);
	CHECK_EQ(hapax_cache_deadline(w->making, KEY("a"), &deadline), HAPAX_OK);
	CHECK(deadline > hapax_env_now(w->env) + 9 * HOUR);
}

SWEEP(hapax_cache_set_ttl, present, .prepare = manage, .call = set_ttl, .done = has_longer)

static int end_it(struct world *w)
{
	w->out = NULL;
	return hapax_cache_set_ttl(w->making, KEY("a"), HAPAX_ZERO);
}

static void has_ended(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!present(w->making, "a"));
	while (hapax_cache_maintain(w->making))
		;
	checked(w, 1, 1);
}

SWEEP(hapax_cache_set_ttl, ending, .prepare = manage, .call = end_it, .done = has_ended)

static int deadline(struct world *w)
{
	uint64_t at = 0;
	int rc = hapax_cache_deadline(w->making, KEY("a"), &at);

	w->out = NULL;
	CHECK(at > hapax_env_now(w->env) && at <= hapax_env_now(w->env) + HOUR);
	return rc;
}

SWEEP(hapax_cache_deadline, present, .prepare = manage, .call = deadline, .done = as_it_was)

static int next_deadline(struct world *w)
{
	uint64_t at = hapax_cache_next_deadline(w->making);

	w->out = NULL;
	return at <= hapax_env_now(w->env) + HOUR + HOUR / 64 ? 0 : HAPAX_MISS;
}

SWEEP(hapax_cache_next_deadline, two_entries, .prepare = manage, .call = next_deadline, .done = as_it_was)

static void manage_ended(struct world *w)
{
	manage(w);
	CHECK_EQ(hapax_cache_set_ttl(w->making, KEY("a"), 1000), HAPAX_OK);
	CHECK_EQ(hapax_cache_set_ttl(w->making, KEY("b"), 1000), HAPAX_OK);
	test_sleep_ms(10); /* longer than any clock here is late */
}

static int maintain(struct world *w)
{
	w->out = NULL;
	while (hapax_cache_maintain(w->making))
		;
	return 0;
}

static void maintained(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!present(w->making, "a") && !present(w->making, "b"));
	checked(w, 0, 2);
	CHECK_EQ(hapax_count(w->item[0]), 1);
	CHECK_EQ(stats_of(w->making).expirations, 2);
}

SWEEP(hapax_cache_maintain, two_expired, .prepare = manage_ended, .call = maintain, .done = maintained)

/* ---- bounds, leaving, numbers ------------------------------------------------------------------------------------ */

static int set_bound(struct world *w)
{
	w->out = NULL;
	return hapax_cache_set_bound(w->making, 3);
}

static void is_bounded(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(stats_of(w->making).retained, 1);
	CHECK_EQ(stats_of(w->making).demotions, 1);
	CHECK(present(w->making, "a") && present(w->making, "b")); /* the world holds them */
	cache_check(w->making, 2);
	CHECK_EQ(w->result, 0);
}

SWEEP(hapax_cache_set_bound, smaller, .prepare = manage, .call = set_bound, .done = is_bounded)

static int remove_held(struct world *w)
{
	w->out = NULL;
	return hapax_cache_remove(w->making, KEY("a"));
}

static void removed_held(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!present(w->making, "a"));
	CHECK_EQ(hapax_count(w->item[0]), 1);
	checked(w, 1, 1);
}

SWEEP(hapax_cache_remove, held, .prepare = manage, .call = remove_held, .done = removed_held)

static int clear_held(struct world *w)
{
	w->out = NULL;
	hapax_cache_clear(w->making);
	return 0;
}

static void cleared_held(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_count(w->item[0]) + hapax_count(w->item[1]), 2);
	checked(w, 0, 2);
}

SWEEP(hapax_cache_clear, held, .prepare = manage, .call = clear_held, .done = cleared_held)

static int destroy_held(struct world *w)
{
	w->out = NULL;
	hapax_cache_destroy(w->making);
	w->making = NULL;
	return 0;
}

static void destroyed_held(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->result, 2);
	CHECK_EQ(hapax_count(w->item[0]) + hapax_count(w->item[1]), 2);
}

SWEEP(hapax_cache_destroy, held, .prepare = manage, .call = destroy_held, .done = destroyed_held)

static int since(struct world *w)
{
	hapax_cache_stats before = {.size = sizeof(before)}, now = {.size = sizeof(now)};
	int rc = hapax_cache_stats_get(w->making, &before);

	w->out = NULL;
	if (!rc)
		rc = hapax_cache_stats_get(w->making, &now);
	hapax_cache_stats_since(&now, &before);
	CHECK_EQ(now.puts, 0);
	CHECK_EQ(now.retained, 2);
	return rc;
}

SWEEP(hapax_cache_stats_since, nothing_between, .prepare = manage, .call = since, .done = as_it_was)
