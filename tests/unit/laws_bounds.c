/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The laws of bounds, from outside: strict order against a list, no room at all, no weight and enormous weights, forks. */
#include <sys/wait.h>
#include <unistd.h>

#include <hapax/compute.h>

#include "unit/removals.h"

static const hapax_policy *policy_of(int i)
{
	const hapax_policy *const all[] = {hapax_policy_adaptive(), hapax_policy_lru(), hapax_policy_sieve(),
					   hapax_policy_s3fifo(), hapax_policy_tinylfu(), hapax_policy_weighted()};

	return all[i];
}
enum { POLICIES = 6 };

/* ---- strict LRU against a list --------------------------------------------------------------------------------------- */

enum { NAMES = 14 };

struct list {
	struct tier t;
	int keys[NAMES], ids[NAMES], n, bound; /* the newest first */
	size_t told;
};

static int find(const struct list *l, int key)
{
	for (int i = 0; i < l->n; i++)
		if (l->keys[i] == key)
			return i;
	return -1;
}

static void take(struct list *l, int i)
{
	l->n--;
	memmove(l->keys + i, l->keys + i + 1, (size_t)(l->n - i) * sizeof(int));
	memmove(l->ids + i, l->ids + i + 1, (size_t)(l->n - i) * sizeof(int));
}

/* The next that was told is this. */
static void told_next(struct list *l, int key, int id, hapax_cause cause)
{
	CHECK(l->told < l->t.r.n);
	if (strcmp(l->t.r.all[l->told].key, k(key)) || l->t.r.all[l->told].id != id || l->t.r.all[l->told].cause != cause)
		TEST_FAIL("told %zu: %s, and the list says %d:%d:%d", l->told, told_text(&l->t.r, l->told), key, cause, id);
	l->told++;
}

static void shrink(struct list *l)
{
	for (; l->n > l->bound; l->n--)
		told_next(l, l->keys[l->n - 1], l->ids[l->n - 1], HAPAX_CAUSE_SIZE);
}

/* The key is used, with this value; a victim goes. */
static void use(struct list *l, int key, int id)
{
	int i = find(l, key);

	if (i >= 0)
		take(l, i);
	CHECK(l->n < NAMES);
	memmove(l->keys + 1, l->keys, (size_t)l->n * sizeof(int));
	memmove(l->ids + 1, l->ids, (size_t)l->n * sizeof(int));
	l->keys[0] = key;
	l->ids[0] = id;
	l->n++;
	shrink(l);
}

static int compute_puts(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)current;
	(void)key;
	(void)error;
	*object = tier_item(arg);
	return HAPAX_COMPUTE_PUT;
}

static void list_step(struct list *l, uint64_t *rng)
{
	int key = (int)test_below(rng, NAMES - 1), at = find(l, key), id = at < 0 ? 0 : l->ids[at], rc;
	hapax_key bytes = HAPAX_STR(k(key));
	hapax_cache *c = l->t.cache;
	struct item *it = NULL;
	bool inserted = false;
	void *out = NULL, *many[3];
	hapax_change change;
	int other = (key + 1) % (NAMES - 1), oid = find(l, other) < 0 ? 0 : l->ids[find(l, other)];
	hapax_key keys[3] = {bytes, HAPAX_STR(k(other)), bytes};

	switch (test_below(rng, 13)) {
	case 0:
		it = tier_put(&l->t, k(key));
		break;
	case 1:
		CHECK_EQ(hapax_cache_remove(c, bytes), id ? HAPAX_OK : HAPAX_MISS);
		break;
	case 2:
		CHECK_EQ(hapax_cache_pop(c, bytes, &out), id ? HAPAX_OK : HAPAX_MISS);
		break;
	case 3:
		it = tier_item(&l->t);
		CHECK_EQ(hapax_cache_get_or_put(c, bytes, it, &out, &inserted), HAPAX_OK);
		CHECK_EQ(inserted, !id);
		id = ((struct item *)out)->id;
		hapax_release(out);
		hapax_release(it);
		use(l, key, id);
		return;
	case 4: /* looks move nothing */
		CHECK_EQ(hapax_cache_contains(c, bytes), id != 0);
		CHECK_EQ(hapax_cache_get_quietly(c, bytes, &out), id ? HAPAX_OK : HAPAX_MISS);
		hapax_release(out);
		return;
	case 5:
		rc = hapax_cache_get_if_present(c, bytes, &out);
		CHECK_EQ(rc, id ? HAPAX_OK : HAPAX_MISS);
		hapax_release(out);
		if (id)
			use(l, key, id);
		return;
	case 6:
		CHECK_EQ(hapax_cache_compute(c, bytes, compute_puts, &l->t, HAPAX_FOREVER, (void **)&it, &change, NULL), HAPAX_OK);
		CHECK_EQ(change, id ? HAPAX_REPLACED : HAPAX_INSERTED);
		break;
	case 7:
		it = tier_item(&l->t);
		CHECK_EQ(hapax_cache_upsert(c, bytes, it, &out), HAPAX_OK);
		CHECK((out != NULL) == (id != 0));
		hapax_release(out);
		out = NULL;
		break;
	case 8: /* hits only, in the order of the request: what is absent would load others out in between */
		if (!id || !oid)
			return;
		CHECK_EQ(hapax_cache_get_many(c, keys, 2, many, NULL, NULL), HAPAX_OK);
		hapax_release(many[0]);
		hapax_release(many[1]);
		use(l, key, id);
		use(l, other, oid);
		return;
	case 9:
		if (test_below(rng, 30))
			return;
		l->bound = 1 + (int)test_below(rng, NAMES - 4);
		CHECK_EQ(hapax_cache_set_bound(c, l->bound), HAPAX_OK);
		shrink(l);
		return;
	default:
		out = got(c, k(key));
		if (id)
			CHECK_EQ(((struct item *)out)->id, id);
		id = ((struct item *)out)->id;
		hapax_release(out);
		use(l, key, id);
		return;
	}
	if (id) { /* it was removed or replaced */
		told_next(l, key, id, it ? HAPAX_CAUSE_REPLACED : HAPAX_CAUSE_EXPLICIT);
		if (!it)
			take(l, at);
	}
	if (it) {
		id = it->id;
		hapax_release(it);
		use(l, key, id);
	}
	hapax_release(out);
}

TEST(CF_EV_07_every_call_and_its_victim_in_strict_order)
{
	uint64_t rng = test_stream(7);

	for (enum form form = LOADED; form < PUT; form++) {
		for (int bound = 1; bound < 10; bound += 3) {
			struct list l = {.bound = bound};

			tier_begin(&l.t, form, test_env(), (hapax_cache_options){.max_entries = bound, .policy = hapax_policy_lru()});
			for (uint64_t n = scaled(4000); n > 0; n--) {
				list_step(&l, &rng);
				CHECK_EQ(l.told, l.t.r.n);
			}
			for (int i = 0; i < l.n; i++)
				CHECK_EQ(present(l.t.cache, k(l.keys[i]))->id, l.ids[i]);
			tier_end(&l.t, (size_t)l.n);
		}
	}
}

/* ---- no room at all ---------------------------------------------------------------------------------------------------- */

enum { ASKERS = 8, ROUNDS = 30 };

struct roomless {
	struct tier t;
	struct test_barrier barrier;
	int loading[4];
};

static int load_slowly(struct source *s, int load, void *object, const hapax_key *key)
{
	struct roomless *r = s->arg;
	int i = ((const char *)key->data)[0] - '0';

	(void)load;
	(void)object;
	CHECK_EQ(__atomic_fetch_add(&r->loading[i], 1, __ATOMIC_SEQ_CST), 0);
	test_sleep_ms(1);
	__atomic_fetch_sub(&r->loading[i], 1, __ATOMIC_SEQ_CST);
	return GO_ON;
}

static void ask_for_nothing_kept(unsigned index, void *arg)
{
	struct roomless *r = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct item *a, *b;

		test_barrier_wait(&r->barrier);
		a = got(r->t.cache, k(i % 4));
		b = got(r->t.cache, k((i + (int)index) % 4));
		if (index % 4 == 0)
			CHECK_PTR(a, b); /* in use: the same */
		hapax_release(a);
		CHECK(item_is_alive(b));
		hapax_release(b);
	}
}

TEST(CF_EV_06_CF_LD_01_no_room_and_a_slow_loader)
{
	for (enum form form = LOADED; form < PUT; form++) {
		for (int kind = 0; kind < 3; kind++) {
			struct roomless r = {.t = {.s = {.then = load_slowly}}};
			const hapax_cache_options o[] = {{.max_entries = HAPAX_ZERO}, {.max_weight = HAPAX_ZERO},
							 {.max_entries = HAPAX_ZERO, .ttl_ns = 1000, .retain_idle_ns = 1000}};
			hapax_cache_stats s;

			r.t.s.arg = &r;
			test_barrier_init(&r.barrier, ASKERS);
			tier_begin(&r.t, form, test_env_fake(), o[kind]);
			run_threads(ASKERS, ask_for_nothing_kept, &r);
			tier_settle(&r.t);
			s = stats_of(r.t.cache);
			CHECK_EQ(s.hits + s.misses, ASKERS * ROUNDS * 2);
			CHECK_EQ(s.retained, 0);
			CHECK_EQ(s.loads, loads_of(&r.t.s));
			/* each miss loads or waits, or finds that what it was about to join has ended */
			CHECK(s.misses >= s.waits + s.loads);
			CHECK_EQ(r.t.s.destroyed, s.loads);
			TOLD(&r.t.r, 0, 0, 0, 0, (int)s.loads, 0);
			tier_end(&r.t, 0);
		}
	}
}

/* ---- no weight and enormous weights ------------------------------------------------------------------------------------ */

static int weigh_by_name(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)object;
	(void)ctx;
	switch (((const char *)key->data)[0]) {
	case 'z': *weight = 0; break;
	case 'h': *weight = (UINT64_C(1) << 62) - 1; break;
	default: *weight = 10; break;
	}
	return 0;
}

TEST(CF_EV_04_what_weighs_nothing_beside_what_weighs)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		for (int p = 0; p < POLICIES; p++) {
			struct tier t = {0};
			hapax_put_options zero = {HAPAX_PUT_OPTIONS_INIT, .weight = HAPAX_ZERO}, ten = {HAPAX_PUT_OPTIONS_INIT, .weight = 10};
			struct item *it;
			char name[16];

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_weight = 50, .weigh = weigh_by_name,
					   .policy = policy_of(p)});
			for (int i = 0; i < 100; i++) {
				snprintf(name, sizeof(name), "%c%d", i % 2 ? 'z' : 'x', i);
				tier_fill(&t, name);
				CHECK(stats_of(t.cache).retained_weight <= 50);
			}
			CHECK_EQ(stats_of(t.cache).retained, 50 + 5);
			CHECK_EQ(stats_of(t.cache).retained_weight, 50);
			TOLD(&t.r, 0, 0, 0, 0, 45, 0);
			CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
			CHECK_EQ(stats_of(t.cache).retained, 50);
			CHECK_EQ(stats_of(t.cache).retained_weight, 0);
			TOLD(&t.r, 0, 0, 0, 0, 50, 0);
			for (size_t i = 0; i < t.r.n; i++)
				CHECK_EQ(t.r.all[i].weight, 10);
			/* it gets a weight: too heavy now; and loses it again */
			it = tier_item(&t);
			CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("z1"), it, &ten), HAPAX_OK);
			hapax_release(it);
			TOLD(&t.r, 0, 1, 0, 0, 51, 0);
			CHECK_EQ(t.r.all[t.r.by_cause[0] + 50].weight, 0);
			CHECK(!present(t.cache, "z1"));
			CHECK_EQ(hapax_cache_set_bound(t.cache, 10), HAPAX_OK);
			tier_fill(&t, "x1");
			it = tier_item(&t);
			CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("x1"), it, &zero), HAPAX_OK);
			hapax_release(it);
			TOLD(&t.r, 0, 2, 0, 0, 51, 0);
			CHECK_EQ(stats_of(t.cache).retained_weight, 0);
			tier_fill(&t, "x3"); /* there is room: "x1" weighs nothing any more */
			CHECK_PTR(present(t.cache, "x1"), it);
			CHECK_EQ(stats_of(t.cache).retained, 51);
			tier_end(&t, 51);
		}
	}
}

TEST(CF_EV_04_weights_of_two_to_the_sixty_second_less_one)
{
	for (int p = 0; p < POLICIES; p++) {
		struct tier t = {0};
		hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .weight = INT64_C(1) << 62};
		uint64_t huge = (UINT64_C(1) << 62) - 1;
		struct item *it;

		tier_begin(&t, LOADED, test_env(), (hapax_cache_options){.max_weight = INT64_MAX, .weigh = weigh_by_name,
				   .policy = policy_of(p)});
		tier_fill(&t, "h1");
		tier_fill(&t, "h2");
		CHECK_EQ(t.r.n, 0);
		CHECK_EQ(stats_of(t.cache).retained_weight, 2 * huge);
		for (int i = 3; i < 40; i++) {
			char name[16];

			snprintf(name, sizeof(name), "h%d", i);
			tier_fill(&t, name);
			CHECK_EQ(stats_of(t.cache).retained, 2);
			CHECK_EQ(stats_of(t.cache).retained_weight, 2 * huge);
			CHECK_EQ(t.r.n, i - 2);
			CHECK_EQ(t.r.all[i - 3].weight, huge);
		}
		it = tier_item(&t);
		CHECK(hapax_cache_put_with(t.cache, HAPAX_STR("x"), it, &o) < 0);
		CHECK_EQ(hapax_count(it), 1);
		o.weight--;
		CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("x"), it, &o), HAPAX_OK);
		hapax_release(it);
		CHECK_EQ(stats_of(t.cache).retained, 2);
		CHECK_EQ(hapax_cache_set_bound(t.cache, (int64_t)huge - 1), HAPAX_OK); /* now all are too heavy */
		CHECK_EQ(stats_of(t.cache).retained_weight, 0);
		tier_end(&t, 0);
	}
}

/* ---- what is refused changes nothing ----------------------------------------------------------------------------------- */

TEST(CF_CL_01_L_10_what_is_refused_changes_nothing)
{
	for (int timed = 0; timed < 2; timed++) {
		struct tier t = {0};
		hapax_cache_stats before, after;
		uint64_t deadline = 0, again = 1;
		struct item *old, *it;
		hapax_put_options o;
		static const struct {
			size_t size;
			unsigned flags;
			int64_t ttl, weight;
			int timed, status;
		} bad[] = {
			{0, 0, 0, 0, 2, HAPAX_EOPTSIZE}, {sizeof(o) - 1, 0, 0, 0, 2, HAPAX_EOPTSIZE}, {sizeof(o) + 8, 0, 0, 0, 2, HAPAX_EOPTSIZE},
			{sizeof(o), 1, 0, 0, 2, HAPAX_EFLAGS}, {sizeof(o), 1u << 31, 0, 0, 2, HAPAX_EFLAGS},
			{sizeof(o), 0, -1, 0, 2, HAPAX_EOPTION}, {sizeof(o), 0, INT64_MIN + 1, 0, 2, HAPAX_EOPTION},
			{sizeof(o), 0, 0, -1, 2, HAPAX_EOPTION}, {sizeof(o), 0, 0, 5, 2, HAPAX_EOPTION},
			{sizeof(o), 0, 0, HAPAX_ZERO, 2, HAPAX_EOPTION}, {sizeof(o), 0, 5, 0, 0, HAPAX_EOPTION},
			{sizeof(o), 0, HAPAX_ZERO, 0, 0, HAPAX_EOPTION},
		};

		tier_begin(&t, PUT, test_env_fake(), (hapax_cache_options){.max_entries = 2, .ttl_ns = timed ? 1000 : 0});
		old = tier_put(&t, "k");
		fake_clock_advance(10);
		it = tier_item(&t);
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
		before = stats_of(t.cache);
		for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
			if (bad[i].timed != 2 && bad[i].timed != timed)
				continue;
			o = (hapax_put_options){.size = bad[i].size, .flags = bad[i].flags, .ttl_ns = bad[i].ttl, .weight = bad[i].weight};
			if (hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o) != bad[i].status ||
			    hapax_cache_put_with(t.cache, HAPAX_STR("new"), it, &o) != bad[i].status)
				TEST_FAIL("timed %d, row %zu: %s", timed, i,
					  hapax_status_name(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o)));
		}
		CHECK_EQ(hapax_cache_set_bound(t.cache, 0), HAPAX_EOPTION);
		CHECK_EQ(hapax_cache_set_bound(t.cache, -5), HAPAX_EOPTION);
		CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), 0), HAPAX_EOPTION);
		CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), -1), HAPAX_EOPTION);
		CHECK_EQ(hapax_cache_put(t.cache, hapax_key_bytes(NULL, 5), it), HAPAX_EKEY);
		CHECK_EQ(hapax_cache_touch(t.cache, hapax_key_bytes(NULL, 5)), HAPAX_EKEY);
		after = stats_of(t.cache);
		CHECK(!memcmp(&before, &after, offsetof(hapax_cache_stats, garbage_bytes)));
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &again), HAPAX_OK);
		CHECK_EQ(again, deadline);
		CHECK_PTR(present(t.cache, "k"), old);
		CHECK_EQ(hapax_count(it), 1);
		CHECK_EQ(hapax_count(old), 2);
		CHECK_EQ(t.r.n, 0);
		hapax_release(it);
		hapax_release(old);
		tier_end(&t, 1);
	}
}

/* ---- forks --------------------------------------------------------------------------------------------------------------- */

struct forked {
	struct tier t;
	int stop;
};

static void *stir(void *arg)
{
	struct forked *f = arg;
	uint64_t rng = test_stream((uint64_t)(uintptr_t)&rng);

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		const char *key = k((int)test_below(&rng, 60));

		switch (test_below(&rng, 8)) {
		case 0: hapax_release(tier_put(&f->t, key)); break;
		case 1: (void)hapax_cache_remove(f->t.cache, HAPAX_STR(key)); break;
		case 2: (void)!hapax_cache_set_bound(f->t.cache, (int64_t)(1 + test_below(&rng, 30))); break;
		case 3: (void)hapax_cache_maintain(f->t.cache); break;
		default: hapax_release(got(f->t.cache, key)); break;
		}
	}
	return NULL;
}

/* The child: everything works, the bound is kept, the cache can be destroyed. */
__attribute__((noreturn)) static void child(struct forked *f)
{
	alarm(20);
	for (int i = 0; i < 200; i++) {
		hapax_release(got(f->t.cache, k(i % 90)));
		if (i % 5 == 0)
			hapax_release(tier_put(&f->t, k(i % 60)));
		if (i % 50 == 0)
			test_sleep_ms(1);
	}
	if (hapax_cache_set_bound(f->t.cache, 7))
		_exit(3);
	tier_settle(&f->t);
	if (stats_of(f->t.cache).retained > 7)
		_exit(4);
	hapax_cache_clear(f->t.cache);
	hapax_cache_destroy(f->t.cache);
	_exit(0);
}

TEST(CX_TH_06_a_fork_beside_evictions)
{
#ifdef TEST_TSAN
	TEST_SKIP("ThreadSanitizer does not follow a multi-threaded fork");
#endif
	struct forked f = {.t = {.silent = true}};
	pthread_t t[3];

	/* the real clock: the fake one has a lock that is not forked */
	tier_begin(&f.t, LOADED, test_env(), (hapax_cache_options){.max_entries = 20, .ttl_ns = 300000});
	for (int i = 0; i < 3; i++)
		t[i] = test_thread(stir, &f);
	for (uint64_t i = scaled(10); i > 0; i--) {
		int status = 0;
		pid_t pid;

		test_sleep_ms(2);
		hapax_before_fork(HAPAX_FORK_URCU);
		pid = fork();
		if (pid == 0) {
			hapax_after_fork_child(HAPAX_FORK_URCU);
			child(&f);
		}
		hapax_after_fork_parent(HAPAX_FORK_URCU);
		CHECK(pid > 0);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			TEST_FAIL("child ended with status %x", status);
	}
	__atomic_store_n(&f.stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		test_join(t[i]);
	tier_settle(&f.t);
	tier_end(&f.t, hapax_cache_size(f.t.cache));
}

/* ---- many caches --------------------------------------------------------------------------------------------------------- */

TEST(CF_CL_06_caches_with_every_bound_leave_no_memory)
{
	hapax_env *env = test_env_fake();
	struct source s = {.env = env};
	size_t bytes = 0;
	int n = (int)scaled(2000);

	for (int i = 0; i < n; i++) {
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .make = source_make, .arg = &s, .ttl_ns = i % 2 ? 1000 : 0,
					 .retain_idle_ns = i % 3 ? 0 : 500, .negative_ttl_ns = i % 4 ? 0 : 10, .policy = policy_of(i % POLICIES)};
		hapax_cache *c = NULL;

		o.max_entries = i % 5 ? 3 : 0;
		o.max_weight = i % 5 ? 0 : 1000;
		CHECK_EQ(hapax_cache_create(&c, &o), HAPAX_OK);
		for (int j = 0; j < i % 7; j++)
			hapax_release(got(c, k(j)));
		hapax_cache_destroy(c);
		if (i % 500 == 499 || i == n - 1)
			hapax_testing_drain(env);
		if (i == n / 2)
			bytes = (hapax_testing_drain(env), hapax_testing_bytes(env));
	}
	hapax_testing_drain(env);
	CHECK_EQ(s.destroyed, s.loads);
	CHECK(hapax_testing_bytes(env) <= bytes + bytes / 10);
	test_env_end(env);
}
