/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The laws of removal, from outside: one object in two caches, several causes at once, what was never installed, listeners
 * and destructors that go on. */
#include <hapax/async.h>
#include <hapax/compute.h>

#include "unit/reloads.h"

/* ---- one object in two caches -------------------------------------------------------------------------------------- */

enum way { REMOVE, PUT_OVER, EXPIRE, EVICT, CLEAR, DESTROY, WAYS };
static const char *const way_names[WAYS] = {"remove", "put over", "expire", "evict", "clear", "destroy"};

static void leave(struct tier *t, enum way way)
{
	switch (way) {
	case REMOVE: CHECK_EQ(hapax_cache_remove(t->cache, HAPAX_STR("k")), HAPAX_OK); break;
	case PUT_OVER: hapax_release(tier_put(t, "k")); break;
	case EXPIRE: CHECK_EQ(hapax_cache_set_ttl(t->cache, HAPAX_STR("k"), HAPAX_ZERO), HAPAX_OK); break;
	case EVICT: CHECK_EQ(hapax_cache_set_bound(t->cache, HAPAX_ZERO), HAPAX_OK); break;
	case CLEAR: hapax_cache_clear(t->cache); break;
	default:
		t->r.cache = NULL;
		hapax_cache_destroy(t->cache);
		t->cache = NULL;
		break;
	}
	if (t->cache)
		tier_settle(t);
}

/* What was told of the first object, at once or when it has died. */
static hapax_cause cause_of(enum way way)
{
	static const hapax_cause causes[WAYS] = {HAPAX_CAUSE_EXPLICIT, HAPAX_CAUSE_REPLACED, HAPAX_CAUSE_EXPIRED,
						 HAPAX_CAUSE_SIZE, HAPAX_CAUSE_EXPLICIT, HAPAX_CAUSE_CLOSED};

	return causes[way];
}

static void told_of(struct tier *t, enum way way, bool gone, int id, const char *what)
{
	size_t n = 0;
	hapax_cause cause = HAPAX_CAUSE_EXPLICIT;

	for (size_t i = 0; i < t->r.n; i++)
		if (t->r.all[i].id == id) {
			n++;
			cause = t->r.all[i].cause;
		}
	if (n != gone || (gone && cause != cause_of(way)))
		TEST_FAIL("%s, %s: told %zu times instead of %d, cause %d", what, way_names[way], n, gone, cause);
}

TEST(CF_RM_01_one_object_in_two_caches_leaves_each_once)
{
	for (enum way first = 0; first < WAYS; first++) {
		for (enum way second = 0; second < WAYS; second++) {
			struct tier a = {0}, b = {0};
			hapax_env *env = test_env_fake();
			struct item *it;
			int id;

			tier_begin(&a, PUT, env, (hapax_cache_options){.max_entries = 5, .ttl_ns = 1000});
			tier_begin(&b, PUT, env, (hapax_cache_options){.max_weight = 1 << 20, .ttl_ns = 1000});
			it = tier_put(&a, "k");
			id = it->id;
			b.put_id = 2000;
			CHECK_EQ(hapax_cache_put(b.cache, HAPAX_STR("k"), it), HAPAX_OK);
			CHECK_EQ(hapax_count(it), 3);
			hapax_release(it);
			leave(&a, first);
			CHECK(item_is_alive(it)); /* the other one holds it */
			CHECK_PTR(present(b.cache, "k"), it);
			if (first == EVICT) /* let go of, and found: it comes back if there is room, and there is none */
				CHECK_PTR(present(a.cache, "k"), it);
			told_of(&a, first, first != EVICT, id, "first");
			CHECK_EQ(b.r.n, 0);
			leave(&b, second);
			CHECK_EQ(a.s.destroyed, 1); /* nobody holds it any more */
			told_of(&a, first, true, id, "first");
			told_of(&b, second, true, id, "second");
			if (a.cache)
				tier_check(&a, first == PUT_OVER);
			if (b.cache)
				tier_check(&b, second == PUT_OVER);
			a.r.cache = b.r.cache = NULL;
			hapax_cache_destroy(a.cache);
			hapax_cache_destroy(b.cache);
			CHECK_EQ(a.r.n, 1 + (first == PUT_OVER));
			CHECK_EQ(b.r.n, 1 + (second == PUT_OVER));
			free(b.r.all);
			tier_gone(&a);
		}
	}
}

/* ---- expired, and then something else ------------------------------------------------------------------------------ */

enum { GIVEN_UP = WAYS, POPPED, REFUSED, UPSERTED, COMPUTED, MATCHED, SHRUNK_TO_ONE, CLOSED_FIRST, ENDS };

static int compute_removes(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)key;
	(void)object;
	(void)arg;
	(void)error;
	CHECK(!current);
	return HAPAX_COMPUTE_REMOVE;
}

static int match_any(const hapax_key *key, void *object, void *ctx)
{
	(void)key;
	(void)object;
	(void)ctx;
	return 1;
}

static bool refuse_any(void *object, void *arg)
{
	(void)object;
	++*(int *)arg;
	return true;
}

static void act(struct tier *t, int way, struct item **held)
{
	hapax_key key = HAPAX_STR("k");
	int refused = 0;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_any, .refuse_arg = &refused};
	hapax_change change = HAPAX_REMOVED;
	void *out = NULL;
	struct item *it;
	size_t n = 5;

	switch (way) {
	case REMOVE: CHECK_EQ(hapax_cache_remove(t->cache, key), HAPAX_MISS); break;
	case PUT_OVER: hapax_release(tier_put(t, "k")); break;
	case EXPIRE: tier_settle(t); break;
	case EVICT: CHECK_EQ(hapax_cache_set_bound(t->cache, HAPAX_ZERO), HAPAX_OK); break;
	case CLEAR: hapax_cache_clear(t->cache); break;
	case DESTROY: break;
	case GIVEN_UP: break;
	case POPPED: CHECK_EQ(hapax_cache_pop(t->cache, key, &out), HAPAX_MISS); break;
	case REFUSED:
		CHECK_EQ(hapax_cache_get_with(t->cache, key, &o, &out), HAPAX_OK);
		CHECK(out != *held);
		CHECK_EQ(refused, 0); /* what has expired is not shown, and what one loaded oneself is not refused */
		break;
	case UPSERTED:
		it = tier_item(t);
		CHECK_EQ(hapax_cache_upsert(t->cache, key, it, &out), HAPAX_OK);
		CHECK(!out);
		hapax_release(it);
		break;
	case COMPUTED:
		CHECK_EQ(hapax_cache_compute(t->cache, key, compute_removes, NULL, HAPAX_FOREVER, NULL, &change, NULL), HAPAX_OK);
		CHECK_EQ(change, HAPAX_STILL_NONE);
		break;
	case MATCHED:
		CHECK_EQ(hapax_cache_remove_where(t->cache, match_any, NULL, &n), HAPAX_OK);
		CHECK_EQ(n, 0);
		break;
	case SHRUNK_TO_ONE: CHECK_EQ(hapax_cache_set_bound(t->cache, 1), HAPAX_OK); break;
	default: hapax_cache_close(t->cache); break;
	}
	hapax_release(out);
	hapax_release(*held);
	*held = NULL;
}

TEST(CF_RM_03_D_7_what_had_expired_has_expired_whatever_comes_then)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		for (int way = 0; way < ENDS; way++) {
			for (int demoted = 0; demoted < 2; demoted++) {
				struct tier t = {0};
				hapax_cache_stats s;
				struct item *held;
				int id;

				tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 5, .ttl_ns = 1000});
				held = tier_add(&t, "k");
				id = held->id;
				if (demoted) {
					CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
					CHECK_EQ(hapax_cache_set_bound(t.cache, 5), HAPAX_OK);
					CHECK_EQ(hapax_count(held), 1);
				}
				if (!demoted && way == GIVEN_UP) { /* nobody holds it but the cache */
					hapax_release(held);
					held = NULL;
				}
				fake_clock_advance(1000);
				act(&t, way, &held);
				if (way != DESTROY && way != CLOSED_FIRST)
					tier_settle(&t);
				s = stats_of(t.cache);
				if (way != DESTROY && way != CLOSED_FIRST) {
					CHECK_EQ(s.removals + s.replacements + s.size_evictions + s.collections, 0);
					CHECK_EQ(s.expirations, 1);
					tier_check(&t, hapax_cache_size(t.cache));
				}
				t.r.cache = NULL;
				hapax_cache_destroy(t.cache);
				if (t.r.n < 1 || t.r.all[0].cause != HAPAX_CAUSE_EXPIRED || t.r.all[0].id != id)
					TEST_FAIL("form %d, way %d, demoted %d: told %zu, first %s", form, way, demoted, t.r.n,
						  t.r.n ? told_text(&t.r, 0) : "nothing");
				CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_EXPIRED], 1);
				CHECK_EQ(t.r.n, 1 + t.r.by_cause[HAPAX_CAUSE_CLOSED]);
				tier_gone(&t);
			}
		}
	}
}

/* The old value expires while the reload runs that finds no value: it has expired, nobody removed it. */
static int expires_meanwhile(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	(void)key;
	if (load == s->code)
		fake_clock_advance(1000);
	return GO_ON;
}

TEST(CF_RM_03_CF_RF_08_no_value_for_what_has_expired_meanwhile)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		struct rf f;
		int id;

		rf_begin(&f, form, (hapax_cache_options){.ttl_ns = 1000, .refresh_ns = 10});
		id = rf_first(&f);
		f.t.s.then = expires_meanwhile;
		f.t.s.code = loads_of(&f.t.s) + 1;
		f.t.s.result = HAPAX_LOAD_NOVALUE;
		fake_clock_advance(10);
		CHECK_EQ(rf_get(&f), id);
		CHECK_EQ(run_tasks(&f.x), 1);
		tier_settle(&f.t);
		TOLD(&f.t.r, 0, 0, 0, 1, 0, 0);
		CHECK_EQ(f.t.r.all[0].id, id);
		rf_end(&f, 0);
	}
}

/* ---- what was produced and never installed ------------------------------------------------------------------------- */

enum { BY_PUT, BY_REMOVE, BY_POP, BY_CLEAR, BY_COMPUTE, BY_KEEP, BY_UPSERT, BY_SET_TTL, BY_CONTAINS, FENCES };

struct fenced {
	struct tier t;
	int fence;
	struct item *put;
};

static int compute_answers(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct fenced *f = arg;

	(void)current;
	(void)key;
	(void)error;
	if (f->fence == BY_KEEP)
		return HAPAX_COMPUTE_KEEP;
	f->put = tier_item(&f->t);
	CHECK_EQ(hapax_retain(f->put), 0);
	*object = f->put;
	return HAPAX_COMPUTE_PUT;
}

static void *fence_it(void *arg)
{
	struct fenced *f = arg;
	hapax_cache *c = f->t.cache;
	hapax_key key = HAPAX_STR("k");
	void *out = NULL;

	switch (f->fence) {
	case BY_PUT: f->put = tier_put(&f->t, "k"); break;
	case BY_REMOVE: CHECK_EQ(hapax_cache_remove(c, key), HAPAX_MISS); break;
	case BY_POP: CHECK_EQ(hapax_cache_pop(c, key, &out), HAPAX_MISS); break;
	case BY_CLEAR: hapax_cache_clear(c); break;
	case BY_COMPUTE:
	case BY_KEEP:
		CHECK_EQ(hapax_cache_compute(c, key, compute_answers, f, HAPAX_FOREVER, NULL, NULL, NULL), HAPAX_OK);
		break;
	case BY_UPSERT:
		f->put = tier_item(&f->t);
		CHECK_EQ(hapax_cache_upsert(c, key, f->put, &out), HAPAX_OK);
		CHECK(!out);
		break;
	case BY_SET_TTL: CHECK_EQ(hapax_cache_set_ttl(c, key, 500), HAPAX_MISS); break;
	default: CHECK_EQ(hapax_cache_contains(c, key), 0); break;
	}
	return NULL;
}

static int is_fenced(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	(void)key;
	if (load == 1)
		test_join(test_thread(fence_it, s->arg));
	return GO_ON;
}

TEST(CF_RM_01_D_5_what_fences_a_load_and_what_it_is_told_of)
{
	for (enum form form = LOADED; form < PUT; form++) {
		for (int result = HAPAX_LOAD_OK; result <= HAPAX_LOAD_FAIL; result++) {
			for (int fence = 0; fence < FENCES; fence++) {
				struct fenced f = {.fence = fence};
				static const int statuses[] = {HAPAX_OK, HAPAX_NOVALUE, HAPAX_ELOADER};
				bool puts = fence == BY_PUT || fence == BY_COMPUTE || fence == BY_UPSERT, ok = result == HAPAX_LOAD_OK;
				bool fenced = fence < BY_KEEP || fence == BY_UPSERT;
				struct item *there;
				void *out = NULL;

				f.t.s = (struct source){.then = is_fenced, .arg = &f, .result = result};
				tier_begin(&f.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 5, .ttl_ns = 1000});
				CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out), statuses[result]);
				there = present(f.t.cache, "k");
				CHECK_PTR(there, puts ? f.put : fenced || !ok ? NULL : out);
				if (!ok) {
					CHECK_EQ(f.t.r.n, 0); /* nothing was produced */
				} else if (!fenced) {
					CHECK_EQ(f.t.r.n, 0);
					CHECK_EQ(stats_of(f.t.cache).superseded, 0);
				} else {
					CHECK_EQ(f.t.r.n, 1);
					CHECK_EQ(f.t.r.all[0].id, 1);
					CHECK_EQ(f.t.r.all[0].cause, puts ? HAPAX_CAUSE_REPLACED : HAPAX_CAUSE_EXPLICIT);
					CHECK_EQ(stats_of(f.t.cache).superseded, 1);
				}
				hapax_release(f.put);
				hapax_release(out);
				CHECK_EQ(f.t.s.destroyed, ok && fenced);
				f.t.s.result = HAPAX_LOAD_OK;
				hapax_release(got(f.t.cache, "k")); /* anew, if it has to be */
				CHECK_EQ(loads_of(&f.t.s), 1 + !there);
				tier_end(&f.t, 1);
			}
		}
	}
}

static int weigh_refuses(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)object;
	*weight = UINT64_C(1) << 62;
	return *(int *)ctx;
}

static int expire_refuses(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx)
{
	(void)event;
	(void)key;
	(void)object;
	(void)ttl_ns;
	return *(int *)ctx;
}

TEST(CF_RM_01_a_loaded_value_that_is_refused_is_told_of_once)
{
	for (enum form form = LOADED; form < PUT; form++) {
		for (int way = 0; way < 3; way++) {
			static const int statuses[] = {HAPAX_EWEIGHT, HAPAX_ECALLBACK, HAPAX_ECALLBACK};
			struct tier t = {.loose = true};
			int answer = way;
			void *out = NULL;
			struct item *it;
			hapax_cache_options o = {.max_weight = 1000, .ttl_ns = 1000};

			if (way < 2) {
				o.weigh = weigh_refuses;
				o.weigh_ctx = &answer;
			} else {
				o.expire = expire_refuses;
				o.expire_ctx = &answer;
			}
			tier_begin(&t, form, test_env_fake(), o);
			CHECK_EQ(hapax_cache_get(t.cache, HAPAX_STR("k"), &out), statuses[way]);
			CHECK(!out);
			CHECK_EQ(t.r.n, 1);
			CHECK_EQ(t.r.all[0].id, 1);
			CHECK_EQ(t.s.destroyed, 1);
			/* a put that is refused has changed nothing: its object is the caller's, nothing left */
			it = tier_item(&t);
			CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), it), statuses[way]);
			CHECK_EQ(hapax_count(it), 1);
			CHECK_EQ(t.r.n, 1);
			hapax_release(it);
			CHECK_EQ(stats_of(t.cache).size_now, 0);
			tier_end(&t, 0);
		}
	}
}

/* ---- listeners and destructors that go on -------------------------------------------------------------------------- */

enum { MANY = 300 };

static void maintain_and_destroy(struct removals *r, const hapax_removal *removal)
{
	(void)removal;
	if (!r->cache)
		return;
	CHECK(!hapax_cache_maintain(r->cache)); /* inside a listener */
	if (r->n == 50) {
		hapax_cache *c = r->cache;

		r->cache = NULL;
		hapax_cache_destroy(c);
		CHECK(!hapax_cache_maintain(c)); /* it stays until this call has returned */
	}
}

TEST(CF_RM_01_CF_RM_05_each_is_told_once_by_whom_destroys_in_the_middle)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		for (int way = 0; way < 4; way++) {
			struct tier t = {.r = {.then = maintain_and_destroy}};
			unsigned char seen[MANY] = {0};

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = MANY, .ttl_ns = 1000});
			for (int i = 0; i < MANY; i++)
				tier_fill(&t, k(i));
			if (way == 3)
				fake_clock_advance(1000);
			if (way == 0)
				CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
			else if (way == 1)
				hapax_cache_clear(t.cache);
			else if (way == 2)
				CHECK_EQ(hapax_cache_remove_where(t.cache, match_any, NULL, NULL), HAPAX_OK);
			else
				(void)hapax_cache_maintain(t.cache);
			CHECK(!t.r.cache);
			for (size_t i = 0; i < t.r.n; i++)
				CHECK_EQ(seen[atoi(t.r.all[i].key)]++, 0);
			CHECK_EQ(t.r.n, MANY);
			CHECK_EQ(t.s.destroyed, MANY);
			tier_gone(&t);
		}
	}
}

struct chain {
	struct tier t;
	int left, on_bound;
};

/* The destructor of what is evicted loads and puts others, which evicts more. */
static void goes_on(struct item *it, void *arg)
{
	struct source *s = arg;
	struct chain *c = s->arg;
	int i = --c->left;

	(void)it;
	if (i <= 0 || !c->t.cache)
		return;
	if (i % 3 == 0)
		hapax_release(tier_put(&c->t, k(i)));
	else
		hapax_release(got(c->t.cache, k(i)));
	if (i % 7 == 0)
		(void)hapax_cache_maintain(c->t.cache);
	if (i % 11 == 0)
		CHECK_EQ(hapax_cache_set_bound(c->t.cache, 1 + i % 5), HAPAX_OK);
	if (i % 97 == 0)
		hapax_cache_clear(c->t.cache);
	CHECK(stats_of(c->t.cache).retained <= 5 + 8);
}

TEST(SD_35_MK_RM_10_destructors_of_the_evicted_cause_evictions)
{
	for (enum form form = LOADED; form < PUT; form++) {
		struct chain c = {.left = 20000};

		c.t.s = (struct source){.item_destroyed = goes_on, .arg = &c};
		tier_begin(&c.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 3, .policy = hapax_policy_lru()});
		for (int i = 0; c.left > 0 && i < 100000; i++)
			hapax_release(got(c.t.cache, k(1000000 + i)));
		CHECK(c.left <= 0);
		tier_settle(&c.t);
		tier_end(&c.t, hapax_cache_size(c.t.cache));
	}
}

/* Deferred types: evicted and told of at once, destroyed when it is asked for, also after the cache has gone. */
TEST(CF_EV_01_PY_CB_16_deferred_objects_are_evicted)
{
	struct tier t = {0};
	struct item *it;

	tier_begin(&t, PUT, test_env_fake(), (hapax_cache_options){.type = &deferred_type, .max_entries = 2, .ttl_ns = 1000,
			   .policy = hapax_policy_lru()});
	for (int i = 0; i < 10; i++) {
		it = item_of(t.env, &deferred_type, ++t.put_id);
		it->destroyed = &t.s.destroyed;
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR(k(i)), it), HAPAX_OK);
		hapax_release(it);
		TOLD(&t.r, 0, 0, 0, 0, i < 2 ? 0 : i - 1, 0);
		CHECK_EQ(t.s.destroyed, 0);
		CHECK(!i || !present(t.cache, k(i - 2)));
	}
	CHECK_EQ(stats_of(t.cache).retained, 2);
	CHECK_EQ(hapax_run_deferred(t.env), 8);
	CHECK_EQ(t.s.destroyed, 8);
	fake_clock_advance(1000);
	tier_settle(&t);
	TOLD(&t.r, 0, 0, 0, 2, 8, 0);
	CHECK_EQ(hapax_run_deferred(t.env), 2);
	it = item_of(t.env, &deferred_type, ++t.put_id);
	it->destroyed = &t.s.destroyed;
	CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("last"), it), HAPAX_OK);
	hapax_release(it);
	tier_close(&t, 1);
	CHECK_EQ(t.s.destroyed, 10);
	CHECK_EQ(hapax_run_deferred(t.env), 1);
	CHECK_EQ(t.s.destroyed, 11);
	tier_gone(&t);
}
