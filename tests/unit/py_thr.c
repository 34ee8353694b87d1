/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads (PY-THR): upgrades, puts and pops against deaths. HAPAX_TEST_SCALE makes the storms longer.
 */
#include <unistd.h>

#include "unit/item.h"

struct storm {
	hapax_env *env;
	hapax_table *table;
	uint64_t rounds;
	uint64_t got, born;
	hapax_weak *shared; /* one slot that changes hands: __atomic */
};

static void get_or_put_storm(unsigned index, void *arg)
{
	struct storm *s = arg;

	for (uint64_t i = 0; i < s->rounds; i++) {
		struct item *mine = item_new(s->env, (int)index);
		bool inserted = false;
		void *out = NULL;
		struct item *got;

		CHECK_EQ(hapax_table_get_or_put(s->table, HAPAX_STR("k"), mine, &out, &inserted), HAPAX_OK);
		CHECK(out);
		got = out;
		CHECK(item_is_alive(got));
		CHECK_EQ(inserted, got == mine);
		__atomic_fetch_add(&s->born, 1, __ATOMIC_RELAXED);
		hapax_release(mine);
		CHECK(item_is_alive(got)); /* our reference, whoever made it */
		hapax_release(got);        /* and so the value dies, again and again */
	}
}

TEST(PY_THR_01_get_or_put_against_deaths)
{
	hapax_env *env = test_env();
	struct storm s = {.env = env, .table = table_new(env), .rounds = scaled(100000) / 4};

	items_reset();
	run_threads(4, get_or_put_storm, &s);
	CHECK_EQ(items_destroyed_now(), s.born);
	table_end(s.table, 0);
	test_env_end(env);
}

static void put_and_pop_storm(unsigned index, void *arg)
{
	struct storm *s = arg;

	for (uint64_t i = 0; i < s->rounds; i++) {
		void *out;
		int status;

		if (index % 2) {
			struct item *mine = item_new(s->env, (int)index);

			__atomic_fetch_add(&s->born, 1, __ATOMIC_RELAXED);
			table_put(s->table, HAPAX_STR("k"), mine);
			hapax_release(mine);
			continue;
		}
		status = i % 3 ? hapax_table_pop(s->table, HAPAX_STR("k"), &out) : hapax_table_pop_any(s->table, &out);
		if (status) {
			CHECK_EQ(status, i % 3 ? HAPAX_MISS : HAPAX_EMPTY);
			CHECK(!out);
			continue;
		}
		CHECK(item_is_alive(out));
		__atomic_fetch_add(&s->got, 1, __ATOMIC_RELAXED);
		hapax_release(out);
	}
}

TEST(PY_THR_02_put_and_pop_against_deaths)
{
	hapax_env *env = test_env();
	struct storm s = {.env = env, .table = table_new(env), .rounds = scaled(100000) / 4};

	items_reset();
	run_threads(4, put_and_pop_storm, &s);
	CHECK_EQ(items_destroyed_now(), s.born);
	table_end(s.table, 0);
	test_env_end(env);
}

/* One entry, many who pop it: exactly one of them gets it. */
struct one_pop {
	hapax_env *env;
	hapax_table *table;
	struct test_barrier round;
	struct item *x;
	uint64_t rounds;
	int popped;
};
static void pop_the_one(unsigned index, void *arg)
{
	struct one_pop *o = arg;

	for (uint64_t i = 0; i < o->rounds; i++) {
		void *out;
		int status;

		if (index == 0) {
			o->x = item_new(o->env, (int)i);
			o->popped = 0;
			table_put(o->table, HAPAX_KEY_OF(i), o->x);
		}
		test_barrier_wait(&o->round);
		status = index % 2 ? hapax_table_pop(o->table, HAPAX_KEY_OF(i), &out) : hapax_table_remove(o->table, HAPAX_KEY_OF(i));
		if (!status) {
			__atomic_fetch_add(&o->popped, 1, __ATOMIC_RELAXED);
			if (index % 2) {
				CHECK_PTR(out, o->x);
				hapax_release(out);
			}
		} else {
			CHECK_EQ(status, HAPAX_MISS);
		}
		test_barrier_wait(&o->round);
		if (index == 0) {
			CHECK_EQ(o->popped, 1);
			CHECK_EQ(hapax_count(o->x), 1);
			hapax_release(o->x);
		}
	}
}

TEST(PY_THR_02_one_entry_is_popped_once)
{
	hapax_env *env = test_env();
	struct one_pop o = {.env = env, .table = table_new(env), .rounds = scaled(3000)};

	test_barrier_init(&o.round, 3);
	run_threads(3, pop_the_one, &o);
	table_end(o.table, 0);
	test_env_end(env);
}

struct killing {
	hapax_table *table;
	hapax_table *snapshot;
	struct item **x;
	int n;
	int started;
};
static void kill_or_copy(unsigned index, void *arg)
{
	struct killing *k = arg;
	uint64_t random = test_stream(500);

	if (index == 0) {
		int victims = k->n * 2 / 3;

		for (int i = 0; i < victims; i++) {
			int at = i + (int)test_below(&random, (uint64_t)(k->n - i));
			struct item *x = k->x[at];

			k->x[at] = k->x[i];
			k->x[i] = NULL;
			hapax_release(x);
			if (i == victims / 10)
				__atomic_store_n(&k->started, 1, __ATOMIC_RELAXED);
		}
	} else {
		while (!__atomic_load_n(&k->started, __ATOMIC_RELAXED))
			sched_yield();
		CHECK_EQ(hapax_table_snapshot(k->table, &k->snapshot), HAPAX_OK);
	}
}

TEST(PY_THR_04_a_snapshot_while_values_die)
{
	hapax_env *env = test_env();
	struct killing k = {.table = table_new(env), .n = test_slow_build() ? 20000 : 70000};
	hapax_iter *iter;
	hapax_key key;
	void *object;
	int survivors = k.n - k.n * 2 / 3, n = 0;

	k.x = calloc((size_t)k.n, sizeof(*k.x));
	CHECK(k.x);
	for (int i = 0; i < k.n; i++) {
		k.x[i] = item_new(env, i);
		table_put(k.table, HAPAX_KEY_OF(i), k.x[i]);
	}
	run_threads(2, kill_or_copy, &k);
	table_check(k.table, (size_t)survivors);
	/* at rest the copy holds the survivors too, all of them and nothing else: what died since is absent */
	table_check(k.snapshot, (size_t)survivors);
	CHECK_EQ(hapax_table_iterate(k.snapshot, &iter), HAPAX_OK);
	while (hapax_iter_next(iter, &key, &object) == HAPAX_OK) {
		CHECK(item_is_alive(object));
		CHECK_EQ(key.size, sizeof(int));
		CHECK(!memcmp(key.data, &((struct item *)object)->id, sizeof(int)));
		n++;
	}
	hapax_iter_close(iter);
	CHECK_EQ(n, survivors);
	for (int i = 0; i < k.n; i++)
		hapax_release(k.x[i]);
	free(k.x);
	table_end(k.table, 0);
	table_end(k.snapshot, 0);
	test_env_end(env);
}

enum { BATCH = 512, UPGRADERS = 2 };
struct upgrades {
	hapax_env *env;
	struct test_barrier round;
	struct item *x[BATCH];
	hapax_weak *weak[BATCH];
	uint64_t batches;
	uint64_t won, lost;
};
static void upgrade_or_release(unsigned index, void *arg)
{
	struct upgrades *u = arg;
	uint64_t random = test_stream(600 + index), won = 0;

	for (uint64_t b = 0; b < u->batches; b++) {
		if (index == 0) {
			for (int i = 0; i < BATCH; i++) {
				u->x[i] = item_new(u->env, i);
				u->weak[i] = weak_of(u->x[i]);
			}
		}
		test_barrier_wait(&u->round);
		for (int i = 0; i < BATCH; i++) {
			if (index == 0) {
				hapax_release(u->x[i]);
			} else {
				struct item *got = hapax_weak_get(u->weak[i]);

				if (!got)
					continue;
				won++;
				CHECK_EQ(got->id, i);
				CHECK(item_is_alive(got));
				if (test_below(&random, 4) == 0)
					sched_yield();
				CHECK(item_is_alive(got)); /* the destructor has not begun, as long as we hold it */
				hapax_release(got);
			}
		}
		test_barrier_wait(&u->round);
		if (index == 0)
			for (int i = 0; i < BATCH; i++)
				CHECK_EQ(hapax_weak_drop(u->weak[i]), HAPAX_OK);
	}
	__atomic_fetch_add(&u->won, won, __ATOMIC_RELAXED);
}

TEST(PY_THR_06_upgrade_against_the_last_release)
{
	hapax_env *env = test_env();
	struct upgrades *u = calloc(1, sizeof(*u));

	CHECK(u);
	u->env = env;
	u->batches = scaled(100000) / BATCH + 1;
	items_reset();
	test_watchdog(3600);
	test_barrier_init(&u->round, 1 + UPGRADERS);
	run_threads(1 + UPGRADERS, upgrade_or_release, u);
	CHECK_EQ(items_destroyed_now(), u->batches * BATCH);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	free(u);
	test_env_end(env);
}

/* The same through a table, whose entries go at the same moment. */
struct lookups {
	hapax_env *env;
	hapax_table *table;
	struct test_barrier round;
	struct item *x[BATCH];
	uint64_t batches;
};
static void look_up_or_release(unsigned index, void *arg)
{
	struct lookups *l = arg;

	for (uint64_t b = 0; b < l->batches; b++) {
		if (index == 0) {
			for (int i = 0; i < BATCH; i++) {
				l->x[i] = item_new(l->env, i);
				table_put(l->table, HAPAX_KEY_OF(i), l->x[i]);
			}
		}
		test_barrier_wait(&l->round);
		for (int i = 0; i < BATCH; i++) {
			void *object;

			if (index == 0) {
				hapax_release(l->x[i]);
			} else if (hapax_table_get(l->table, HAPAX_KEY_OF(i), &object) == HAPAX_OK) {
				struct item *got = object;

				CHECK_EQ(got->id, i);
				CHECK(item_is_alive(got));
				hapax_release(got);
			}
		}
		test_barrier_wait(&l->round);
		if (index == 0)
			CHECK_EQ(hapax_table_size(l->table), 0);
	}
}

TEST(PY_THR_06_lookup_against_the_last_release)
{
	hapax_env *env = test_env();
	struct lookups *l = calloc(1, sizeof(*l));

	CHECK(l);
	l->env = env;
	l->table = table_new(env);
	l->batches = scaled(50000) / BATCH + 1;
	items_reset();
	test_barrier_init(&l->round, 1 + UPGRADERS);
	run_threads(1 + UPGRADERS, look_up_or_release, l);
	CHECK_EQ(items_destroyed_now(), l->batches * BATCH);
	table_end(l->table, 0);
	free(l);
	test_env_end(env);
}

enum { OBJECTS = 1000 };
struct traffic {
	hapax_env *env;
	hapax_table *table;
	struct item *x[OBJECTS];
	hapax_weak *weak[OBJECTS];
	uint64_t rounds;
};
static void retain_release_get(unsigned index, void *arg)
{
	struct traffic *t = arg;
	uint64_t random = test_stream(700 + index);
	struct item *held[32] = {0};

	for (uint64_t i = 0; i < t->rounds; i++) {
		int at = (int)test_below(&random, OBJECTS);
		struct item **slot = &held[test_below(&random, 32)];
		void *object = NULL;

		hapax_release(*slot);
		*slot = NULL;
		switch (test_below(&random, 4)) {
		case 0:
			CHECK_EQ(hapax_retain(t->x[at]), HAPAX_OK);
			object = t->x[at];
			break;
		case 1:
			object = hapax_weak_get(t->weak[at]);
			break;
		case 2:
			CHECK_EQ(hapax_table_get(t->table, HAPAX_KEY_OF(at), &object), HAPAX_OK);
			break;
		default:
			continue;
		}
		CHECK_PTR(object, t->x[at]);
		*slot = object;
	}
	for (int i = 0; i < 32; i++)
		hapax_release(held[i]);
}

TEST(PY_THR_08_counts_are_exact_after_traffic_from_all_cores)
{
	hapax_env *env = test_env();
	struct traffic *t = calloc(1, sizeof(*t));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	CHECK(t);
	t->env = env;
	t->table = table_new(env);
	t->rounds = scaled(500000);
	for (int i = 0; i < OBJECTS; i++) {
		t->x[i] = item_new(env, i);
		t->weak[i] = weak_of(t->x[i]);
		table_put(t->table, HAPAX_KEY_OF(i), t->x[i]);
	}
	test_watchdog(3600);
	run_threads(cores < 2 ? 2 : (unsigned)cores, retain_release_get, t);
	items_reset();
	for (int i = 0; i < OBJECTS; i++) {
		CHECK_EQ(hapax_count(t->x[i]), 1);
		CHECK_EQ(hapax_weak_count(t->x[i]), 2);
		hapax_release(t->x[i]);
		CHECK_EQ(hapax_weak_drop(t->weak[i]), HAPAX_OK);
	}
	CHECK_EQ(items_destroyed_now(), OBJECTS);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	table_end(t->table, 0);
	free(t);
	test_env_end(env);
}

/* L12: short threads make, share and drop things and end; the last of them leaves nothing. */
struct relay {
	hapax_env *env;
	hapax_table *table;
	struct item *baton;
};
static void *run_relay(void *arg)
{
	struct relay *r = arg;
	struct item *next = item_new(r->env, r->baton->id + 1);
	int key = next->id;

	table_put(r->table, HAPAX_KEY_OF(key), next);
	next->child = NULL;
	hapax_release(r->baton);
	r->baton = next;
	return NULL;
}

TEST(PY_THR_08_objects_handed_from_thread_to_thread)
{
	hapax_env *env = test_env();
	struct relay r = {env, table_new(env), item_new(env, 0)};
	uint64_t rounds = scaled(1000);

	items_reset();
	for (uint64_t i = 0; i < rounds; i++)
		test_join(test_thread(run_relay, &r));
	CHECK_EQ(items_destroyed_now(), rounds);
	CHECK_EQ(r.baton->id, rounds);
	table_check(r.table, 1);
	hapax_release(r.baton);
	table_end(r.table, 0);
	test_env_end(env);
}
