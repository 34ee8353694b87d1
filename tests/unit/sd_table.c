/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The published recipes' own traps, as far as objects and tables go (SD).
 */
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit/item.h"

/* ---- SD-04: presence is decided by the entry ------------------------------------------------------------------- */

static int loads;
static int load_blank(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)object;
	(void)key;
	(void)arg;
	(void)error;
	__atomic_fetch_add(&loads, 1, __ATOMIC_RELAXED);
	return HAPAX_LOAD_OK;
}

TEST(SD_04_blank_objects_are_hits)
{
	static const hapax_type empty = {HAPAX_TYPE_INIT, .name = "empty", .size = 0};
	static const hapax_type zeroes = {HAPAX_TYPE_INIT, .name = "zeroes", .size = 64};
	static const hapax_type pointer = {HAPAX_TYPE_INIT, .name = "pointer", .size = sizeof(void *)};
	static const hapax_type *const types[] = {&empty, &zeroes, &pointer};
	static const char blank[32];
	hapax_env *env = test_env();

	for (int t = 0; t < 3; t++) {
		hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = types[t], .load = load_blank};
		hapax_table *table = table_new(env);
		hapax_cache *cache;
		void *object, *first, *again;

		CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
		for (size_t size = 0; size <= sizeof(blank); size++) { /* blank keys as well */
			hapax_key key = HAPAX_BYTES(blank, size);

			loads = 0;
			CHECK_EQ(hapax_cache_get(cache, key, &first), HAPAX_OK);
			for (int i = 0; i < 20; i++) {
				CHECK_EQ(hapax_cache_get(cache, key, &again), HAPAX_OK);
				CHECK_PTR(again, first);
				hapax_release(again);
			}
			CHECK_EQ(loads, 1);
			CHECK_EQ(hapax_cache_contains(cache, key), 1);
			hapax_release(first);
			CHECK_EQ(hapax_cache_contains(cache, key), 0);

			CHECK_EQ(hapax_new(env, types[t], 0, &object), HAPAX_OK);
			table_put(table, key, object);
			CHECK_PTR(table_peek(table, key), object);
			hapax_release(object);
			CHECK(!table_peek(table, key));
		}
		cache_check(cache, 0);
		hapax_cache_destroy(cache);
		table_end(table, 0);
	}
	test_env_end(env);
}

/* ---- stop points ------------------------------------------------------------------------------------------------ */

/* A thread that set `stop_at` runs `stop_action` once when it passes that point. */
static __thread const char *stop_at;
static int stop_hits;
static void (*stop_action)(void *arg);
static void *stop_arg;

static void stop_hook(const char *name, void *ctx)
{
	(void)ctx;
	if (!stop_at || strcmp(stop_at, name))
		return;
	stop_at = NULL;
	stop_hits++;
	stop_action(stop_arg);
}

/* ---- SD-05 ------------------------------------------------------------------------------------------------------ */

struct heirs {
	hapax_env *env;
	hapax_table *table;
	struct item *heir;
	int mode;
};
static void put_the_heir(void *arg)
{
	struct heirs *h = arg;
	void *out;
	bool inserted;

	/* the dying entry is still linked, and reads absent */
	CHECK(!table_peek(h->table, HAPAX_STR("k")));
	h->heir = item_new(h->env, 2);
	switch (h->mode) {
	case 0:
		table_put(h->table, HAPAX_STR("k"), h->heir);
		break;
	case 1:
		CHECK_EQ(hapax_table_get_or_put(h->table, HAPAX_STR("k"), h->heir, &out, &inserted), HAPAX_OK);
		CHECK(inserted);
		hapax_release(out);
		break;
	case 2: /* put and removed again, then put */
		table_put(h->table, HAPAX_STR("k"), h->heir);
		CHECK_EQ(hapax_table_remove(h->table, HAPAX_STR("k")), HAPAX_OK);
		table_put(h->table, HAPAX_STR("k"), h->heir);
		break;
	default: /* with a resize in between: the dead entry may be dropped or moved */
		hapax_testing_table_resize(h->table, 1);
		table_put(h->table, HAPAX_STR("k"), h->heir);
		hapax_testing_table_resize(h->table, 1);
	}
	CHECK_PTR(table_peek(h->table, HAPAX_STR("k")), h->heir);
}

TEST(SD_05_a_death_that_began_before_the_second_put)
{
	hapax_env *env = test_env();
	struct item *others[100];

	hapax_testing_set_stop(stop_hook, NULL);
	for (int mode = 0; mode < 4; mode++) {
		struct heirs h = {env, table_new(env), NULL, mode};
		struct item *x = item_new(env, 1);

		for (int i = 0; i < 100; i++) {
			others[i] = item_new(env, i);
			table_put(h.table, HAPAX_KEY_OF(i), others[i]);
		}
		table_put(h.table, HAPAX_STR("k"), x);
		stop_hits = 0;
		stop_action = put_the_heir;
		stop_arg = &h;
		stop_at = "death.dead";
		hapax_release(x);
		CHECK_EQ(stop_hits, 1);
		CHECK_PTR(table_peek(h.table, HAPAX_STR("k")), h.heir);
		table_check(h.table, 101);
		hapax_testing_drain(env);
		CHECK_PTR(table_peek(h.table, HAPAX_STR("k")), h.heir);
		hapax_release(h.heir);
		for (int i = 0; i < 100; i++)
			hapax_release(others[i]);
		table_end(h.table, 0);
	}
	stop_action = NULL;
	hapax_testing_set_stop(NULL, NULL);
	test_env_end(env);
}

struct reloads {
	hapax_cache *cache;
	void *second;
};
static void load_the_second(void *arg)
{
	struct reloads *r = arg;

	CHECK_EQ(hapax_cache_get(r->cache, HAPAX_STR("k"), &r->second), HAPAX_OK);
}

TEST(SD_05_a_death_that_began_before_the_second_load)
{
	hapax_env *env = test_env();
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_blank};
	struct reloads r = {NULL, NULL};
	static const hapax_type blank = {HAPAX_TYPE_INIT, .name = "blank", .size = 16};
	void *x, *again;

	options.type = &blank;
	CHECK_EQ(hapax_cache_create(&r.cache, &options), HAPAX_OK);
	loads = stop_hits = 0;
	CHECK_EQ(hapax_cache_get(r.cache, HAPAX_STR("k"), &x), HAPAX_OK);
	hapax_testing_set_stop(stop_hook, NULL);
	stop_action = load_the_second;
	stop_arg = &r;
	stop_at = "death.dead";
	hapax_release(x);
	hapax_testing_set_stop(NULL, NULL);
	stop_action = NULL;
	CHECK_EQ(stop_hits, 1);
	CHECK_EQ(loads, 2);
	CHECK_EQ(hapax_cache_get(r.cache, HAPAX_STR("k"), &again), HAPAX_OK);
	CHECK_PTR(again, r.second);
	CHECK_EQ(loads, 2);
	hapax_release(again);
	cache_check(r.cache, 1);
	hapax_release(r.second);
	cache_check(r.cache, 0);
	hapax_cache_destroy(r.cache);
	test_env_end(env);
}

/* In every timing: one thread kills x1 while the other puts x2 under its key. */
struct timing {
	hapax_env *env;
	hapax_table *table;
	struct test_barrier round;
	struct item *x1, *x2;
	uint64_t rounds;
};
static void kill_and_succeed(unsigned index, void *arg)
{
	struct timing *t = arg;
	uint64_t random = test_stream(800 + index);

	for (uint64_t i = 0; i < t->rounds; i++) {
		if (index == 0) {
			t->x1 = item_new(t->env, 1);
			t->x2 = item_new(t->env, 2);
			table_put(t->table, HAPAX_STR("k"), t->x1);
		}
		test_barrier_wait(&t->round);
		for (uint64_t spin = test_below(&random, 100); spin; spin--)
			__asm__ volatile("");
		if (index == 0)
			hapax_release(t->x1);
		else
			table_put(t->table, HAPAX_STR("k"), t->x2);
		test_barrier_wait(&t->round);
		if (index == 0) {
			CHECK_PTR(table_peek(t->table, HAPAX_STR("k")), t->x2);
			CHECK_EQ(hapax_table_size(t->table), 1);
			hapax_release(t->x2);
			CHECK_EQ(hapax_table_size(t->table), 0);
		}
	}
}

TEST(SD_05_in_every_timing)
{
	hapax_env *env = test_env();
	struct timing t = {.env = env, .table = table_new(env), .rounds = scaled(10000)};

	test_barrier_init(&t.round, 2);
	run_threads(2, kill_and_succeed, &t);
	table_end(t.table, 0);
	test_env_end(env);
}

/* ---- SD-07: what a death costs ---------------------------------------------------------------------------------- */

static uint64_t key_calls;
static int counted_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	uint32_t n;

	(void)ctx;
	key_calls++;
	memcpy(&n, key->data, sizeof(n));
	*hash = n * UINT64_C(0x9e3779b97f4a7c15);
	return 0;
}
static bool counted_equal(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	key_calls++;
	return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* CPU time per death when n values of n die, in nanoseconds; no key is hashed or compared, nothing allocated. */
static double death_cost(uint32_t n)
{
	hapax_env *env = test_env();
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	struct item **x = calloc(n, sizeof(*x));
	hapax_table *table;
	uint64_t calls, begun, spent;

	options.keys.hash = counted_hash;
	options.keys.equal = counted_equal;
	CHECK(x);
	CHECK_EQ(hapax_table_create(&table, &options), HAPAX_OK);
	for (uint32_t i = 0; i < n; i++) {
		x[i] = item_new(env, (int)i);
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	}
	key_calls = 0;
	calls = test_env_allocator(env)->calls;
	begun = cpu_ns();
	for (uint32_t i = 0; i < n; i++)
		hapax_release(x[i]);
	spent = cpu_ns() - begun;
	CHECK_EQ(key_calls, 0);
	CHECK(test_env_allocator(env)->calls <= calls + n / 64 + 64); /* housekeeping, not deaths */
	table_end(table, 0);
	free(x);
	test_env_end(env);
	return (double)spent / n;
}

TEST(SD_07_a_death_costs_its_own_entries_only)
{
	uint32_t large = test_slow_build() ? 50000 : 300000;
	double small_cost = 1e18, large_cost = 1e18;

	/* A cost that grew with the table would differ by the ratio of the sizes, 50 or 300. */
	for (int i = 0; i < 4 && large_cost > 12 * small_cost; i++) {
		double cost = death_cost(1000);

		if (cost < small_cost)
			small_cost = cost;
		cost = death_cost(large);
		if (cost < large_cost)
			large_cost = cost;
	}
	CHECK(large_cost < 12 * small_cost);
}

/* ---- SD-13 ------------------------------------------------------------------------------------------------------ */

enum { MISSERS = 4 };
struct missing {
	hapax_env *env;
	hapax_cache *cache;
	hapax_table *table;
	struct test_barrier round;
	void *got[MISSERS];
	int rounds;
};
static int load_one(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct item *item = object;

	(void)key;
	(void)arg;
	(void)error;
	item->live = ITEM_ALIVE;
	item->id = __atomic_add_fetch(&loads, 1, __ATOMIC_RELAXED);
	return HAPAX_LOAD_OK;
}
/* Lets the others in. On a busy machine each of these costs a turn of all who compute: not for many loads. */
static int load_and_yield(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	sched_yield();
	return load_one(object, key, arg, error);
}
static void miss_together(unsigned index, void *arg)
{
	struct missing *m = arg;

	for (int i = 0; i < m->rounds; i++) {
		test_barrier_wait(&m->round);
		if (m->cache) {
			CHECK_EQ(hapax_cache_get(m->cache, HAPAX_STR("k"), &m->got[index]), HAPAX_OK);
		} else {
			struct item *mine = item_new(m->env, (int)index);
			bool inserted;

			CHECK_EQ(hapax_table_get_or_put(m->table, HAPAX_STR("k"), mine, &m->got[index], &inserted), HAPAX_OK);
			hapax_release(mine);
		}
		test_barrier_wait(&m->round);
		CHECK(item_is_alive(m->got[index]));
		CHECK_PTR(m->got[index], m->got[0]);
		if (m->cache)
			CHECK_EQ(__atomic_load_n(&loads, __ATOMIC_RELAXED), i + 1);
		test_barrier_wait(&m->round);
		hapax_release(m->got[index]);
	}
}

TEST(SD_13_two_misses_make_one_instance)
{
	hapax_env *env = test_env();

	for (int deferred = 0; deferred < 2; deferred++) { /* 1: the stale entry is still in its place */
		hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .load = load_and_yield};
		struct missing m = {.env = env, .rounds = (int)scaled(1000)};
		size_t ran;

		options.type = deferred ? &deferred_type : &item_type;
		CHECK_EQ(hapax_cache_create(&m.cache, &options), HAPAX_OK);
		loads = 0;
		items_reset();
		test_barrier_init(&m.round, MISSERS);
		run_threads(MISSERS, miss_together, &m);
		ran = hapax_run_deferred(env); /* and what lost the race to become the flight; no destructor of it runs */
		CHECK(deferred ? ran >= (size_t)m.rounds : ran == 0);
		CHECK_EQ(items_destroyed_now(), m.rounds);
		cache_check(m.cache, 0);
		hapax_cache_destroy(m.cache);
	}
	test_env_end(env);
}

TEST(SD_13_two_get_or_puts_agree)
{
	hapax_env *env = test_env();
	struct missing m = {.env = env, .table = table_new(env), .rounds = (int)scaled(1000)};

	items_reset();
	test_barrier_init(&m.round, MISSERS);
	run_threads(MISSERS, miss_together, &m);
	CHECK_EQ(items_destroyed_now(), m.rounds * MISSERS);
	table_end(m.table, 0);
	test_env_end(env);
}

/* ---- SD-14 ------------------------------------------------------------------------------------------------------ */

/* `window` values live at a time; the keys never come again. */
static void short_lived_keys(unsigned window, bool cached)
{
	hapax_env *env = test_env();
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_one};
	hapax_table *table = NULL;
	hapax_cache *cache = NULL;
	void **live = calloc(window, sizeof(*live));
	uint64_t n = scaled(test_slow_build() ? 150000 : 400000);
	size_t baseline = 0, lines = 0;

	CHECK(live);
	if (cached)
		CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	else
		table = table_new(env);
	for (uint64_t i = 0; i < n; i++) {
		void *object;

		hapax_release(live[i % window]);
		if (cached) {
			CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(i), &object), HAPAX_OK);
		} else {
			object = item_new(env, (int)i);
			table_put(table, HAPAX_KEY_OF(i), object);
		}
		live[i % window] = object;
		if (i == 4 * (uint64_t)window + 100) {
			hapax_testing_drain(env);
			baseline = hapax_testing_bytes(env);
			lines = table ? hapax_testing_table_lines(table) : 0;
		}
	}
	/* The last ones too: what they would keep of the pool's pages depends on how far reclamation lagged behind. */
	for (unsigned i = 0; i < window; i++)
		hapax_release(live[i]);
	hapax_testing_drain(env);
	CHECK(baseline > 0);
	CHECK(hapax_testing_bytes(env) <= 2 * baseline + 65536);
	if (table)
		CHECK(hapax_testing_table_lines(table) <= 2 * lines);
	if (cached) {
		cache_check(cache, 0);
		hapax_cache_destroy(cache);
	} else {
		table_end(table, 0);
	}
	free(live);
	test_env_end(env);
}

TEST(SD_14_short_lived_keys_do_not_accumulate) { short_lived_keys(1, false); }
TEST(SD_14_with_a_window_of_live_ones) { short_lived_keys(500, false); }
TEST(SD_14_in_a_cache) { short_lived_keys(50, true); }

/* A table that was large once is small again when it is empty and used on. */
TEST(SD_14_a_table_shrinks)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	int n = test_slow_build() ? 4000 : 20000;
	struct item **x = calloc((size_t)n, sizeof(*x));
	size_t lines;

	CHECK(x);
	for (int i = 0; i < n; i++) {
		x[i] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	}
	lines = hapax_testing_table_lines(table);
	table_check(table, (size_t)n);
	for (int i = 0; i < n; i++)
		hapax_release(x[i]);
	for (int i = 0; i < 6 * n; i++) { /* ordinary traffic, few entries */
		x[0] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), x[0]);
		hapax_release(x[0]);
	}
	CHECK(hapax_testing_table_lines(table) * 4 <= lines);
	free(x);
	table_end(table, 0);
	test_env_end(env);
}

/* ---- SD-16 ------------------------------------------------------------------------------------------------------ */

TEST(SD_16_destroying_a_table_frees_it_at_once)
{
	enum { N = 5000 };
	hapax_env *env = test_env();
	struct item **x = calloc(N, sizeof(*x));
	hapax_table *table;
	size_t lines, full;

	CHECK(x);
	for (int round = 0; round < 3; round++) {
		size_t before;

		for (int i = 0; i < N; i++)
			x[i] = item_new(env, i);
		hapax_testing_drain(env);
		before = hapax_testing_bytes(env);
		table = table_new(env);
		for (int i = 0; i < N; i++)
			table_put(table, HAPAX_KEY_OF(i), x[i]);
		lines = hapax_testing_table_lines(table);
		full = hapax_testing_bytes(env);
		CHECK(full >= before + lines * 64);
		hapax_table_destroy(table);
		hapax_testing_drain(env);
		CHECK(hapax_testing_bytes(env) <= full - lines * 64);
		for (int i = 0; i < N; i++) {
			CHECK(item_is_alive(x[i]));
			CHECK_EQ(hapax_count(x[i]), 1);
			CHECK_EQ(hapax_weak_count(x[i]), 0);
			hapax_release(x[i]);
		}
		hapax_testing_drain(env);
		CHECK_EQ(hapax_testing_live_objects(env), 0);
	}
	free(x);
	test_env_end(env);
}

/* ---- SD-23 ------------------------------------------------------------------------------------------------------ */

struct clear_then_call {
	hapax_weak *weak[40];
	hapax_table *table;
	int calls;
};
static void all_clear(hapax_weak *weak, void *ctx)
{
	struct clear_then_call *c = ctx;

	(void)weak;
	for (int i = 0; i < 40; i++) {
		CHECK(!hapax_weak_get(c->weak[i]));
		CHECK(!hapax_weak_alive(c->weak[i]));
		CHECK(!table_peek(c->table, HAPAX_KEY_OF(i)));
	}
	CHECK_EQ(hapax_table_size(c->table), 0);
	c->calls++;
}

TEST(SD_23_clear_all_then_notify)
{
	hapax_env *env = test_env();
	struct clear_then_call c = {.table = table_new(env)};
	struct item *x = item_new(env, 1);
	hapax_callback cb = {all_clear, &c, NULL};

	for (int i = 0; i < 40; i++) { /* callbacks, plain handles and entries in turn */
		CHECK_EQ(hapax_weak_new(x, i % 3 ? &cb : NULL, &c.weak[i]), HAPAX_OK);
		table_put(c.table, HAPAX_KEY_OF(i), x);
	}
	hapax_release(x);
	CHECK_EQ(c.calls, 26);
	for (int i = 0; i < 40; i++)
		CHECK_EQ(hapax_weak_drop(c.weak[i]), HAPAX_OK);
	table_end(c.table, 0);
	test_env_end(env);
}

/* ---- SD-24 ------------------------------------------------------------------------------------------------------ */

static int misuses;
static char misuse_text[512];
static void note_misuse(const char *message, void *ctx)
{
	(void)ctx;
	misuses++;
	snprintf(misuse_text, sizeof(misuse_text), "%s", message);
}

static void release_once_more(struct item *item, void *arg)
{
	(void)arg;
	hapax_release(item); /* one too many */
}

TEST(SD_24_a_release_too_many_does_not_kill_twice)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *other = item_new(env, 2);

	hapax_testing_set_misuse(note_misuse, NULL);
	items_reset();
	misuses = 0;
	x->on_destroy = release_once_more;
	hapax_release(x);
	hapax_testing_drain(env);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(hapax_testing_live_objects(env), 1);
	CHECK_EQ(hapax_count(other), 1);
	if (misuses) { /* builds that report it name the object */
		CHECK_EQ(misuses, 1);
		CHECK(strstr(misuse_text, "item"));
	}
	hapax_testing_set_misuse(NULL, NULL);
	hapax_release(other);
	test_env_end(env);
}

/* Somebody released somebody else's reference: the owner's own release is the one too many. Its memory is in
 * quarantine, because nothing reclaims here. */
TEST(SD_24_the_victim_of_a_stolen_reference)
{
	hapax_env *env;
	struct item *x, *next[100];

	if (test_slow_build())
		TEST_SKIP("AddressSanitizer reports the access itself");
	env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	x = item_new(env, 1);
	hapax_testing_set_misuse(note_misuse, NULL);
	items_reset();
	misuses = 0;
	CHECK_EQ(hapax_retain(x), HAPAX_OK);
	hapax_release(x);
	hapax_release(x); /* stolen: dies here */
	CHECK_EQ(items_destroyed_now(), 1);
	for (int i = 0; i < 100; i++)
		next[i] = item_new(env, i); /* none of them may get its memory yet */
	hapax_release(x); /* the owner's */
	CHECK_EQ(items_destroyed_now(), 1);
	for (int i = 0; i < 100; i++) {
		CHECK(next[i] != x);
		CHECK_EQ(hapax_count(next[i]), 1);
		hapax_release(next[i]);
	}
	hapax_testing_set_misuse(NULL, NULL);
	test_env_end(env);
}

/* Without a hook, builds that report misuse abort. */
TEST(SD_24_misuse_aborts_or_is_contained)
{
	hapax_env *env;
	pid_t child;
	int status;

	if (test_slow_build())
		TEST_SKIP("forks");
	env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		struct item *x = item_new(env, 1);

		CHECK(freopen("/dev/null", "w", stderr));
		x->on_destroy = release_once_more;
		items_reset();
		hapax_release(x);
		_exit(items_destroyed_now() == 1 ? 0 : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		CHECK_EQ(WTERMSIG(status), SIGABRT);
	else
		CHECK_EQ(WEXITSTATUS(status), 0);
	test_env_end(env);
}

static struct {
	int calls;
	char key[64];
	const void *object;
	uint64_t count;
	char type[64];
} leak;
static void note_leak(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	CHECK_PTR(ctx, &leak);
	CHECK(!inherited);
	CHECK(key->size < sizeof(leak.key));
	leak.calls++;
	memcpy(leak.key, key->data, key->size);
	leak.key[key->size] = 0;
	leak.object = object;
	leak.count = count;
	snprintf(leak.type, sizeof(leak.type), "%s", type);
}

TEST(SD_24_a_missing_release_is_reported_with_its_key)
{
	hapax_env *env = test_env();

	for (int put = 0; put < 2; put++) {
		hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_one,
					       .leak = note_leak, .leak_ctx = &leak};
		hapax_cache *cache;
		void *x, *y;

		memset(&leak, 0, sizeof(leak));
		CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("returned"), &y), HAPAX_OK);
		if (put) {
			x = item_new(env, 1);
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("the forgotten key"), x), HAPAX_OK);
		} else {
			CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("the forgotten key"), &x), HAPAX_OK);
		}
		CHECK_EQ(hapax_retain(x), HAPAX_OK);
		hapax_release(y);
		hapax_cache_destroy(cache);
		CHECK_EQ(leak.calls, 1);
		CHECK_STR(leak.key, "the forgotten key");
		CHECK_PTR(leak.object, x);
		CHECK_EQ(leak.count, 2);
		CHECK_STR(leak.type, "item");
		CHECK(item_is_alive(x));
		hapax_release(x);
		hapax_release(x);
	}
	test_env_end(env);
}

/* ---- SD-28 ------------------------------------------------------------------------------------------------------ */

TEST(SD_28_types_decide_about_weak_references)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_of(env, &strong_type, 1), *y = item_new(env, 2);
	struct test_allocator *memory = test_env_allocator(env);
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env};
	hapax_cache *cache;
	void *out = y;
	bool inserted;
	uint64_t calls;

	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	table_put(table, HAPAX_STR("k"), y);
	calls = memory->calls;
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("k"), x), HAPAX_ENOTWEAK);
	CHECK_PTR(table_peek(table, HAPAX_STR("k")), y);
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("n"), x), HAPAX_ENOTWEAK);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("n"), x, &out, &inserted), HAPAX_ENOTWEAK);
	CHECK(!out);
	CHECK(hapax_cache_put(cache, HAPAX_STR("n"), x) < 0);
	CHECK_EQ(hapax_cache_contains(cache, HAPAX_STR("n")), 0);
	CHECK_EQ(memory->calls, calls);
	CHECK_EQ(hapax_count(x), 1);
	table_check(table, 1);
	hapax_release(x);
	hapax_release(y);
	cache_check(cache, 0);
	hapax_cache_destroy(cache);

	/* a cache of such a type: refused, at once or at the first get */
	options.type = &strong_type;
	options.load = load_one;
	if (hapax_cache_create(&cache, &options) == HAPAX_OK) {
		out = y;
		CHECK(hapax_cache_get(cache, HAPAX_STR("k"), &out) < 0);
		CHECK(!out);
		hapax_cache_destroy(cache);
	}
	table_end(table, 0);
	test_env_end(env);
}

TEST(SD_28_bad_type_descriptors_are_refused)
{
	hapax_env *env = test_env();
	hapax_type type = {HAPAX_TYPE_INIT, .size = 8};
	void *object = env;

	type.struct_size = 0;
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_ETYPE);
	CHECK(!object);
	type = (hapax_type){HAPAX_TYPE_INIT, .size = 8, .align = 24};
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_EALIGN);
	type.align = 8192;
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_EALIGN);
	type = (hapax_type){HAPAX_TYPE_INIT, .size = 8, .flags = 1u << 20};
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_EFLAGS);
	type = (hapax_type){HAPAX_TYPE_INIT, .size = 8};
	CHECK_EQ(hapax_new(env, &type, SIZE_MAX - 8, &object), HAPAX_ESIZE);
	CHECK_EQ(hapax_new(env, &type, SIZE_MAX, &object), HAPAX_ESIZE);
	CHECK_EQ(hapax_new(env, &type, HAPAX_OBJECT_MAX, &object), HAPAX_ESIZE);
	type.size = SIZE_MAX;
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_ESIZE);
	CHECK(!object);
	type = (hapax_type){HAPAX_TYPE_INIT, .size = 8};
	for (size_t align = 1; align <= 4096; align *= 2) {
		type.align = align;
		CHECK_EQ(hapax_new(env, &type, align, &object), HAPAX_OK);
		CHECK_EQ((uintptr_t)object % (align < 16 ? 16 : align), 0);
		CHECK_PTR(hapax_type_of(object), &type);
		hapax_release(object);
	}
	test_env_end(env);
}
