/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounds that change, bounds of nothing, the order of victims, policies of the application's own, evictions in a race. */
#include "unit/guard.h"
#include "unit/removals.h"

struct together {
	struct tier *t;
	struct test_barrier barrier;
	struct item *got[4];
};

static void get_together(unsigned index, void *arg)
{
	struct together *g = arg;

	test_barrier_wait(&g->barrier);
	g->got[index] = got(g->t->cache, "same");
	test_barrier_wait(&g->barrier);
	CHECK_PTR(g->got[index], g->got[0]);
	test_barrier_wait(&g->barrier);
	hapax_release(g->got[index]);
}

TEST(CF_EV_06_a_bound_of_nothing)
{
	for (int form = 0; form < FORMS; form++) {
		for (int weight = 0; weight < 2; weight++) {
			struct tier t = {0};
			struct together g = {.t = &t};
			hapax_cache_options o = {.max_entries = weight ? 0 : HAPAX_ZERO, .max_weight = weight ? HAPAX_ZERO : 0};
			struct item *a;

			tier_begin(&t, form, test_env(), o);
			for (int i = 0; i < 10; i++) {
				a = tier_add(&t, k(i));
				CHECK_PTR(present(t.cache, k(i)), a);
				CHECK_EQ(tier_hit(&t, k(i)), a->id);
				hapax_release(a);
				CHECK(!present(t.cache, k(i)));
				CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_SIZE], i + 1);
			}
			CHECK_EQ(stats_of(t.cache).retained, 0);
			test_barrier_init(&g.barrier, 4);
			run_threads(4, get_together, &g); /* all of one flight */
			CHECK_EQ(hapax_cache_size(t.cache), 0);
			TOLD(&t.r, 0, 0, 0, 0, 11, 0);
			tier_end(&t, 0);
		}
	}
}

/* ---- the order of victims -------------------------------------------------------------------------------------- */

/* Exact LRU, in a plain list: the newest first. */
struct lru {
	int keys[64], n, bound;
};

static int lru_find(const struct lru *m, int key)
{
	for (int i = 0; i < m->n; i++)
		if (m->keys[i] == key)
			return i;
	return -1;
}

static void lru_remove(struct lru *m, int key)
{
	int i = lru_find(m, key);

	if (i < 0)
		return;
	m->n--;
	memmove(m->keys + i, m->keys + i + 1, (size_t)(m->n - i) * sizeof(int));
}

static void lru_use(struct lru *m, int key)
{
	lru_remove(m, key);
	memmove(m->keys + 1, m->keys, (size_t)m->n * sizeof(int));
	m->keys[0] = key;
	m->n++;
	if (m->n > m->bound)
		m->n = m->bound;
}

TEST(CF_EV_07_exact_lru_has_the_exact_order)
{
	enum { KEYS = 40 };

	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct lru m = {.bound = 12};
		uint64_t rng = test_stream(70 + (uint64_t)form);

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 12, .policy = hapax_policy_lru()});
		for (int round = 0; round < 3000; round++) {
			int i = (int)test_below(&rng, KEYS);
			void *out = NULL;

			switch (test_below(&rng, 10)) {
			case 0:
				hapax_release(tier_put(&t, k(i)));
				lru_use(&m, i);
				break;
			case 1:
				CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR(k(i))), lru_find(&m, i) < 0);
				lru_remove(&m, i);
				break;
			case 2: /* looks only */
				CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR(k(i))), lru_find(&m, i) >= 0);
				(void)present(t.cache, k(i));
				break;
			case 3:
				CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR(k(i)), &out), lru_find(&m, i) < 0);
				hapax_release(out);
				if (out)
					lru_use(&m, i);
				break;
			case 4:
				if (test_below(&rng, 20))
					break;
				m.bound = 1 + (int)test_below(&rng, 20);
				CHECK_EQ(hapax_cache_set_bound(t.cache, m.bound), HAPAX_OK);
				if (m.n > m.bound)
					m.n = m.bound;
				break;
			default:
				hapax_release(got(t.cache, k(i)));
				lru_use(&m, i);
				break;
			}
			CHECK_EQ(hapax_cache_size(t.cache), m.n);
			for (i = 0; i < KEYS; i++)
				CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR(k(i))), lru_find(&m, i) >= 0);
		}
		tier_end(&t, (size_t)m.n);
	}
}

/* By hand: who goes is told at once, in order. */
TEST(CF_EV_07_victims_are_told_in_order)
{
	struct tier t = {0};

	tier_begin(&t, LOADED, test_env(), (hapax_cache_options){.max_entries = 3, .policy = hapax_policy_lru()});
	tier_fill(&t, "a");
	tier_fill(&t, "b");
	tier_fill(&t, "c");
	tier_hit(&t, "a");
	tier_fill(&t, "d");
	tier_fill(&t, "e");
	tier_hit(&t, "a");
	tier_fill(&t, "f");
	CHECK_EQ(t.r.n, 3);
	CHECK_STR(t.r.all[0].key, "b");
	CHECK_STR(t.r.all[1].key, "c");
	CHECK_STR(t.r.all[2].key, "d");
	tier_end(&t, 3);
}

TEST(CF_EV_07_new_keys_do_not_starve)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct tier t = {0};
		int loads, asked = 0;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 100});
		for (int round = 0; round < 300; round++)
			for (int i = 0; i < 100; i++)
				hapax_release(got(t.cache, k(i)));
		/* the world changes */
		for (int round = 0; round < 400; round++)
			for (int i = 1000; i < 1050; i++)
				hapax_release(got(t.cache, k(i)));
		loads = loads_of(&t.s);
		for (int i = 1000; i < 1050; i++, asked++)
			hapax_release(got(t.cache, k(i)));
		CHECK(loads_of(&t.s) - loads <= asked / 5);
		tier_end(&t, hapax_cache_size(t.cache));
	}
}

/* ---- bounds that change ---------------------------------------------------------------------------------------- */

TEST(CF_EV_11_a_smaller_bound_is_reached_in_the_policys_order)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *held;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 1000, .policy = hapax_policy_lru()});
		held = tier_add(&t, k(0));
		for (int i = 1; i < 1000; i++)
			tier_fill(&t, k(i));
		tier_hit(&t, k(5));
		CHECK_EQ(hapax_cache_set_bound(t.cache, 400), HAPAX_OK);
		CHECK_EQ(stats_of(t.cache).retained, 400); /* before it returned */
		CHECK_EQ(t.r.n, 599);                      /* the one in use is there */
		for (int i = 0; i < 1000; i++)
			CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR(k(i))), i == 0 || i == 5 || i > 600);
		for (int i = 1, n = 0; i <= 600; i++)
			if (i != 5)
				CHECK_STR(t.r.all[n++].key, k(i));
		CHECK_PTR(present(t.cache, k(0)), held);
		CHECK_EQ(hapax_cache_set_bound(t.cache, 5000), HAPAX_OK); /* growing keeps all of them */
		CHECK_EQ(stats_of(t.cache).retained, 400);
		for (int i = 2000; i < 3000; i++)
			tier_fill(&t, k(i));
		CHECK_EQ(stats_of(t.cache).retained, 1400);
		CHECK_EQ(t.r.n, 599);
		CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
		CHECK_EQ(stats_of(t.cache).retained, 0);
		CHECK_EQ(hapax_cache_size(t.cache), 1);
		hapax_release(held);
		TOLD(&t.r, 0, 0, 0, 0, 2000, 0);
		CHECK_EQ(hapax_cache_set_bound(t.cache, 1), HAPAX_OK);
		tier_fill(&t, "again");
		tier_end(&t, 1);
	}
}

static int leaving; /* how many more times */

static void leave_some_times(void)
{
	if (__atomic_fetch_sub(&leaving, 1, __ATOMIC_RELAXED) > 0)
		pthread_exit(NULL);
}

static void destroy_and_leave(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	leave_some_times();
}

static void tell_and_leave(struct removals *r, const hapax_removal *removal)
{
	(void)r;
	(void)removal;
	leave_some_times();
}

static void *shrink_and_leave(void *arg)
{
	(void)!hapax_cache_set_bound(((struct tier *)arg)->cache, 1);
	TEST_FAIL("set_bound returned");
}

/* What the cache let go of together is let go of, though user code of the first of it leaves the thread. */
TEST(CF_EV_11_PY_DTH_02_user_code_leaves_the_thread_that_lets_go)
{
#ifdef __clang__
	TEST_SKIP("code of clang aborts when a cleanup is unwound");
#endif
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 4; way++) {
			struct tier t = {0};

			leaving = 0;
			t.s.item_destroyed = way & 1 ? NULL : destroy_and_leave;
			t.r.then = way & 1 ? tell_and_leave : NULL;
			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 20});
			for (int i = 0; i < 20; i++) {
				struct item *it = tier_add(&t, k(i));

				if (form == PUT && !(way & 1))
					it->on_destroy = destroy_and_leave;
				hapax_release(it);
			}
			leaving = way & 2 ? 5 : 1;
			test_join(test_thread(shrink_and_leave, &t));
			leaving = 0;
			CHECK_EQ(t.s.destroyed, 19);
			TOLD(&t.r, 0, 0, 0, 0, 19, 0);
			CHECK_EQ(stats_of(t.cache).retained, 1);
			tier_end(&t, 1);
		}
	}
}

TEST(CF_EV_11_bounds_that_are_refused)
{
	struct tier t = {0}, u = {0}, w = {0};

	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_entries = 2});
	tier_begin(&u, PUT, test_env(), (hapax_cache_options){.retain_idle_ns = 1000000000});
	tier_begin(&w, PUT, test_env(), (hapax_cache_options){.max_weight = 1 << 20});
	CHECK_EQ(hapax_cache_set_bound(t.cache, 0), HAPAX_EOPTION);
	CHECK_EQ(hapax_cache_set_bound(t.cache, -1), HAPAX_EOPTION);
	CHECK_EQ(hapax_cache_set_bound(t.cache, INT64_MIN + 1), HAPAX_EOPTION);
	CHECK_EQ(hapax_cache_set_bound(u.cache, 10), HAPAX_EOPTION); /* it has none */
	CHECK_EQ(hapax_cache_set_bound(w.cache, -7), HAPAX_EOPTION);
	CHECK_EQ(hapax_cache_set_bound(NULL, 10), HAPAX_ENULL);
	for (int i = 0; i < 5; i++)
		tier_fill(&t, k(i));
	CHECK_EQ(stats_of(t.cache).retained, 2);
	CHECK_EQ(hapax_cache_set_bound(t.cache, INT64_MAX), HAPAX_OK);
	for (int i = 10; i < 50; i++)
		tier_fill(&t, k(i));
	CHECK_EQ(stats_of(t.cache).retained, 42);
	tier_end(&t, 42);
	tier_end(&u, 0);
	tier_end(&w, 0);
}

/* ---- policies of the application's ----------------------------------------------------------------------------- */

static const unsigned hearing[] = {HAPAX_POLICY_TOUCH, HAPAX_POLICY_RECORD, HAPAX_POLICY_EXACT};

TEST(CF_EV_07_a_policy_of_ones_own_is_asked_as_promised)
{
	for (int form = 0; form < FORMS; form++) {
		for (unsigned h = 0; h < 6; h++) {
			struct guard g;
			struct tier t = {0};
			uint64_t rng = test_stream(90 + h);
			int loads;
			uint64_t hits = 0;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 20, .ttl_ns = 1000000,
					   .policy = guard_policy(&g, hearing[h % 3], h >= 3)});
			CHECK_EQ(g.capacity, 20);
			for (int i = 0; i < 60; i++)
				tier_fill(&t, k(i));
			CHECK_EQ(g.adds, 60);
			CHECK_EQ(g.evicts, 40);
			for (int i = 0; i < 60; i++) /* first in, first out */
				CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR(k(i))), i >= 40);
			for (int i = 40; i < 60; i++)
				tier_hit(&t, k(i));
			if (hearing[h % 3] == HAPAX_POLICY_EXACT)
				CHECK_EQ(g.hits, 20);
			else if (hearing[h % 3] == HAPAX_POLICY_TOUCH)
				CHECK_EQ(g.hits, 0);
			else
				CHECK(g.hits <= 20);
			for (int round = 0; round < 3000; round++) {
				int i = (int)test_below(&rng, 60);

				loads = loads_of(&t.s);
				switch (test_below(&rng, 6)) {
				case 0: hapax_release(tier_put(&t, k(i))); break;
				case 1: (void)hapax_cache_remove(t.cache, HAPAX_STR(k(i))); break;
				case 2: fake_clock_advance(test_below(&rng, 50000)); break;
				default:
					hapax_release(got(t.cache, k(i)));
					hits += loads == loads_of(&t.s);
					break;
				}
			}
			tier_settle(&t);
			CHECK(hits > 0);
			if (h >= 3)
				CHECK(g.replaces > 0);
			CHECK_EQ(g.nodes, stats_of(t.cache).retained);
			CHECK_EQ(hapax_cache_set_bound(t.cache, 5), HAPAX_OK);
			CHECK_EQ(g.resizes, 1);
			CHECK_EQ(g.capacity, 5);
			CHECK(g.nodes <= 5);
			tier_end(&t, g.nodes);
			CHECK(!g.created); /* destroyed by now, and empty then */
		}
	}
}

/* LRU, whose first add() waits. */
static struct slow {
	struct gate gate;
	int adds;
} slow;

static void slow_add(void *state, hapax_policy_node *node)
{
	if (!__atomic_fetch_add(&slow.adds, 1, __ATOMIC_RELAXED)) {
		test_event_set(&slow.gate.entered);
		test_event_wait(&slow.gate.go);
	}
	hapax_policy_lru()->add(state, node);
}

static int weigh_much(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)object;
	(void)ctx;
	*weight = (UINT64_C(1) << 62) - 1;
	return 0;
}

static void *fill_first(void *arg)
{
	struct tier *t = arg;

	hapax_release(t->form == PUT ? tier_put(t, "first") : got(t->cache, "first"));
	return NULL;
}

/* Added while somebody holds the tier's lock, and listed at once by that one: more than 64 bits of weight. */
TEST(CF_EV_04_a_sum_of_weights_beyond_64_bits)
{
	for (int form = 0; form < FORMS; form++) {
		hapax_policy policy = *hapax_policy_lru();
		struct tier t = {0};
		pthread_t thread;

		policy.add = slow_add;
		slow = (struct slow){.gate = GATE_INIT};
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_weight = INT64_MAX,
				   .weigh = weigh_much, .policy = &policy});
		thread = test_thread(fill_first, &t);
		test_event_wait(&slow.gate.entered);
		for (int i = 0; i < 7; i++)
			tier_fill(&t, k(i));
		test_event_set(&slow.gate.go);
		test_join(thread);
		CHECK_EQ(stats_of(t.cache).retained, 2);
		CHECK_EQ(stats_of(t.cache).retained_weight, 2 * ((UINT64_C(1) << 62) - 1));
		for (int i = 0; i < 9; i++)
			tier_fill(&t, k(100 + i));
		CHECK_EQ(stats_of(t.cache).retained, 2);
		hapax_cache_clear(t.cache);
		CHECK_EQ(stats_of(t.cache).retained_weight, 0);
		tier_end(&t, 0);
	}
}

static int fail_to_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	(void)capacity;
	(void)allocator;
	(void)ctx;
	*state = NULL;
	return HAPAX_ENOMEM;
}

TEST(CF_EV_07_a_policy_that_cannot_begin)
{
	hapax_env *env = test_env();
	struct guard g;
	hapax_cache *cache = (hapax_cache *)1;
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .max_entries = 3};
	hapax_policy broken;

	guard_policy(&g, HAPAX_POLICY_TOUCH, true);
	g.policy.create = fail_to_create;
	o.policy = &g.policy;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_ENOMEM);
	CHECK(!cache);
	for (int i = 0; i < 9; i++) { /* descriptors that say too little or too much */
		guard_policy(&g, HAPAX_POLICY_TOUCH, true);
		broken = g.policy;
		switch (i) {
		case 0: broken.size = 8; break;
		case 1: broken.flags = 0; break;
		case 2: broken.flags = HAPAX_POLICY_TOUCH | HAPAX_POLICY_EXACT; break;
		case 3: broken.touch_max = 0; break;
		case 4: broken.touch_max = 256; break;
		case 5: broken.evict = NULL; break;
		case 6: broken.add = NULL; break;
		case 7: broken.remove = NULL; break;
		default: broken.flags = HAPAX_POLICY_EXACT; broken.hit = NULL; break;
		}
		o.policy = &broken;
		cache = (hapax_cache *)1;
		int rc = hapax_cache_create(&cache, &o);
		if (rc != HAPAX_EOPTION && rc != HAPAX_EOPTSIZE && rc != HAPAX_EFLAGS && rc != HAPAX_ENULL)
			TEST_FAIL("policy %d: %s", i, hapax_status_name(rc));
		CHECK(!cache);
		CHECK(!g.created);
	}
	test_env_end(env);
}

/* ---- evictions in a race ---------------------------------------------------------------------------------------- */

enum { RACE_KEYS = 24 };

struct race {
	struct tier t;
	struct guard g;
	uint64_t rounds;
};

/* Each thread owns some keys: what it has just put and holds is there, whatever is evicted meanwhile. */
static void remove_and_insert_again(unsigned index, void *arg)
{
	struct race *r = arg;
	uint64_t rng = test_stream(900 + index);

	for (uint64_t n = 0; n < r->rounds; n++) {
		int i = (int)(index * 1000 + test_below(&rng, RACE_KEYS));
		struct item *it;

		hapax_cache_remove(r->t.cache, HAPAX_STR(k(i)));
		CHECK(!present(r->t.cache, k(i)));
		it = index & 1 ? tier_put(&r->t, k(i)) : got(r->t.cache, k(i));
		CHECK_PTR(present(r->t.cache, k(i)), it);
		for (int j = 0; j < 3; j++) { /* others go meanwhile */
			int other = (int)(index * 1000 + 100 + test_below(&rng, 200));

			hapax_release(got(r->t.cache, k(other)));
			CHECK_PTR(present(r->t.cache, k(i)), it);
		}
		hapax_release(it);
	}
}

TEST(CF_EV_09_an_eviction_takes_its_own_incarnation_only)
{
	for (int form = 0; form < 2; form++) {
		for (unsigned h = 0; h < 2; h++) {
			struct race r = {.rounds = scaled(1500)};

			tier_begin(&r.t, form, test_env(), (hapax_cache_options){.max_entries = 16,
					   .policy = guard_policy(&r.g, hearing[h], true)});
			run_threads(4, remove_and_insert_again, &r);
			tier_settle(&r.t);
			CHECK_EQ(stats_of(r.t.cache).retained, 16);
			CHECK_EQ(hapax_cache_size(r.t.cache), 16);
			CHECK(r.g.most_nodes <= 16 + 256);
			tier_end(&r.t, 16);
			CHECK_EQ(r.t.s.destroyed, loads_of(&r.t.s) + r.t.put_id - 1000);
		}
	}
}

static void only_add(unsigned index, void *arg)
{
	struct race *r = arg;

	for (uint64_t n = 0; n < r->rounds; n++) {
		hapax_release(got(r->t.cache, k((int)(index * 1000000 + n))));
		/* four threads add; numbers that are read beside them are off by what they are about */
		CHECK(stats_of(r->t.cache).retained <= 50 + 256);
	}
}

TEST(CF_EV_01_the_bound_is_kept_by_many_threads)
{
	struct race r = {.rounds = scaled(3000)};

	tier_begin(&r.t, LOADED, test_env(), (hapax_cache_options){.max_entries = 50});
	run_threads(4, only_add, &r);
	CHECK_EQ(stats_of(r.t.cache).retained, 50);
	CHECK_EQ(hapax_cache_size(r.t.cache), 50);
	CHECK_EQ(r.t.r.n, 4 * r.rounds - 50);
	tier_end(&r.t, 50);
}
