/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Iteration of weak-value tables (PY-IT).
 */
#include "unit/item.h"

static hapax_iter *iterate(hapax_table *table)
{
	hapax_iter *iter = NULL;

	CHECK_EQ(hapax_table_iterate(table, &iter), HAPAX_OK);
	CHECK(iter);
	return iter;
}

/* The next entry of a table whose keys are ints: its key, or -1 at the end. */
static int next(hapax_iter *iter, struct item **item)
{
	hapax_key key = {NULL, 0};
	void *object = (void *)(uintptr_t)8;
	int status = hapax_iter_next(iter, &key, &object), id;

	if (status == HAPAX_EMPTY) {
		CHECK(!object);
		return -1;
	}
	CHECK_EQ(status, HAPAX_OK);
	CHECK(object);
	CHECK_EQ(key.size, sizeof(id));
	memcpy(&id, key.data, sizeof(id));
	CHECK(id >= 0);
	CHECK(item_is_alive(object));
	if (item)
		*item = object;
	return id;
}

/* `n` items under the keys 0 to n - 1. */
static struct item **filled(hapax_env *env, hapax_table *table, int n)
{
	struct item **x = calloc((size_t)n, sizeof(*x));

	CHECK(x);
	for (int i = 0; i < n; i++) {
		x[i] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	}
	return x;
}

static void release_all(struct item **x, int n)
{
	for (int i = 0; i < n; i++)
		hapax_release(x[i]);
	free(x);
}

TEST(PY_IT_01_each_live_entry_once_and_pinned)
{
	static const int sizes[] = {0, 1, 2, 3, 10, 100, 1000, 10000};
	hapax_env *env = test_env();

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		hapax_table *table = table_new(env);
		struct item **x = filled(env, table, sizes[s] ? sizes[s] : 1), *item, *before = NULL;
		bool *seen = calloc((size_t)sizes[s] + 1, 1);
		hapax_iter *iter;
		int key, n = 0;

		CHECK(seen);
		if (!sizes[s])
			hapax_table_clear(table);
		iter = iterate(table);
		while ((key = next(iter, &item)) >= 0) {
			CHECK(key < sizes[s]);
			CHECK(!seen[key]);
			seen[key] = true;
			CHECK_PTR(item, x[key]);
			CHECK_EQ(hapax_count(item), 2); /* pinned */
			if (before)
				CHECK_EQ(hapax_count(before), 1); /* and no more */
			before = item;
			n++;
		}
		CHECK_EQ(n, sizes[s]);
		if (before)
			CHECK_EQ(hapax_count(before), 1);
		for (int i = 0; i < 5; i++)
			CHECK_EQ(next(iter, NULL), -1); /* ever after */
		hapax_iter_close(iter);
		free(seen);
		release_all(x, sizes[s] ? sizes[s] : 1);
		table_end(table, 0);
	}
	test_env_end(env);
}

/* Keys of all lengths come back as copies that stay until the next call, whatever happens to the entry. */
TEST(PY_IT_01_keys_are_copies)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1);
	static unsigned char big[5000];
	bool seen[60] = {0};
	hapax_iter *iter;
	hapax_key key;
	int n = 0;

	for (size_t i = 0; i < 60; i++) {
		memset(big, (int)i, sizeof(big));
		table_put(table, HAPAX_BYTES(big, i * i), x);
	}
	iter = iterate(table);
	while (hapax_iter_next(iter, &key, NULL) == HAPAX_OK) {
		const unsigned char *bytes = key.data;
		size_t i = 0;

		while (i * i < key.size)
			i++;
		CHECK_EQ(i * i, key.size);
		CHECK(!seen[i]);
		seen[i] = true;
		CHECK_EQ(hapax_table_remove(table, key), HAPAX_OK);
		hapax_testing_drain(env);
		for (size_t at = 0; at < key.size; at++)
			CHECK_EQ(bytes[at], i);
		n++;
	}
	CHECK_EQ(n, 60);
	hapax_iter_close(iter);
	hapax_release(x);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_IT_02_killing_one_during_iteration)
{
	enum { N = 40 };
	hapax_env *env = test_env();

	for (int victim = 0; victim < N; victim++) {
		hapax_table *table = table_new(env);
		struct item **x = filled(env, table, N), *item;
		hapax_iter *iter = iterate(table);
		bool seen_before = false;
		int key, n = 0;

		while ((key = next(iter, &item)) >= 0) {
			n++;
			seen_before |= n <= N / 2 && key == victim;
			CHECK(n <= N / 2 || key != victim || seen_before);
			if (n == N / 2) {
				hapax_release(x[victim]);
				x[victim] = NULL;
			}
		}
		CHECK_EQ(n, seen_before ? N : N - 1);
		hapax_iter_close(iter);
		table_check(table, N - 1);
		release_all(x, N);
		table_end(table, 0);
	}
	test_env_end(env);
}

TEST(PY_IT_02_killing_many_during_iteration)
{
	enum { N = 300 };
	hapax_env *env = test_env();
	uint64_t random = test_stream(2);

	for (int round = 0; round < 30; round++) {
		hapax_table *table = table_new(env);
		struct item **x = filled(env, table, N);
		bool seen[N] = {0};
		hapax_iter *iter = iterate(table);
		int key, killed = 0;

		while ((key = next(iter, NULL)) >= 0) {
			int victim = (int)test_below(&random, N);

			CHECK(x[key]); /* never one that is dead */
			CHECK(!seen[key]);
			seen[key] = true;
			if (!x[victim])
				continue;
			hapax_release(x[victim]);
			killed++;
			/* the pinned one goes on living until the cursor moves */
			CHECK_EQ(table_peek(table, HAPAX_KEY_OF(victim)) != NULL, victim == key);
			x[victim] = NULL;
		}
		hapax_iter_close(iter);
		for (int i = 0; i < N; i++)
			CHECK(!x[i] || seen[i]);
		table_check(table, (size_t)(N - killed));
		release_all(x, N);
		table_end(table, 0);
	}
	test_env_end(env);
}

TEST(PY_IT_03_a_death_under_an_open_iterator_is_at_once_visible)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item **x = filled(env, table, 10);
	hapax_iter *iter = iterate(table);
	int first = next(iter, NULL);
	void *object;

	for (int i = 0; i < 10; i++) {
		if (i == first)
			continue;
		hapax_release(x[i]);
		x[i] = NULL;
		CHECK(!table_peek(table, HAPAX_KEY_OF(i)));
		CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(i)), 0);
		CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(i)), HAPAX_MISS);
		CHECK_EQ(hapax_table_pop(table, HAPAX_KEY_OF(i), &object), HAPAX_MISS);
	}
	CHECK_EQ(hapax_table_size(table), 1);
	CHECK_EQ(next(iter, NULL), -1);
	hapax_iter_close(iter);
	release_all(x, 10);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_IT_05_clear_with_open_iterators)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item **x = filled(env, table, 100), *pinned;
	hapax_iter *fresh = iterate(table), *midway = iterate(table), *over = iterate(table);

	for (int i = 0; i < 40; i++)
		CHECK(next(midway, &pinned) >= 0);
	while (next(over, NULL) >= 0)
		;
	hapax_table_clear(table);
	CHECK_EQ(hapax_table_size(table), 0);
	CHECK(item_is_alive(pinned));
	CHECK_EQ(hapax_count(pinned), 2);
	CHECK_EQ(next(midway, NULL), -1);
	CHECK_EQ(hapax_count(pinned), 1);
	CHECK_EQ(next(fresh, NULL), -1);
	CHECK_EQ(next(over, NULL), -1);
	hapax_iter_close(fresh);
	hapax_iter_close(midway);
	hapax_iter_close(over);
	table_check(table, 0);
	/* clear does not end later insertions */
	for (int i = 0; i < 100; i++)
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	fresh = iterate(table);
	for (int i = 0; i < 100; i++)
		CHECK(next(fresh, NULL) >= 0);
	CHECK_EQ(next(fresh, NULL), -1);
	hapax_iter_close(fresh);
	release_all(x, 100);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_IT_07_an_iterator_left_midway)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);

	for (int stop = 0; stop < 12; stop++) {
		struct item **x = filled(env, table, 10), *pinned = NULL;
		hapax_iter *iter = iterate(table);

		for (int i = 0; i < stop; i++)
			if (next(iter, &pinned) < 0)
				pinned = NULL;
		items_reset();
		release_all(x, 10);
		CHECK_EQ(items_destroyed_now(), pinned ? 9 : 10);
		hapax_testing_drain(env); /* an open iterator is not a read section */
		CHECK_EQ(hapax_testing_live_objects(env), pinned ? 1 : 0);
		hapax_iter_close(iter);
		CHECK_EQ(items_destroyed_now(), 10);
		hapax_testing_drain(env);
		CHECK_EQ(hapax_testing_live_objects(env), 0);
		table_check(table, 0);
	}
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_IT_08_destroying_the_table_under_an_iterator)
{
	hapax_env *env = test_env();

	for (int steps = 0; steps < 30; steps += 3) {
		for (int kill_first = 0; kill_first < 2; kill_first++) {
			hapax_table *table = table_new(env);
			struct item **x = filled(env, table, 20);
			hapax_iter *iter = iterate(table), *second = iterate(table);
			bool seen[20] = {0};
			int n = 0, key;

			for (int i = 0; i < steps; i++) {
				key = next(iter, NULL);
				if (key >= 0)
					seen[key] = true;
				n += key >= 0;
			}
			hapax_table_destroy(table);
			hapax_testing_drain(env);
			if (kill_first) {
				release_all(x, 20);
				x = NULL;
			}
			/* it ends, and shows nothing twice and nothing dead (next() looks) */
			while ((key = next(iter, NULL)) >= 0) {
				CHECK(key < 20 && !seen[key]);
				seen[key] = true;
				n++;
			}
			CHECK(n <= 20);
			while (next(second, NULL) >= 0)
				;
			hapax_iter_close(iter);
			hapax_iter_close(second);
			if (x)
				release_all(x, 20);
		}
	}
	test_env_end(env);
}

TEST(PY_IT_10_at_most_one_object_is_pinned)
{
	hapax_env *env = test_env();

	for (int steps = 0; steps < 52; steps += 5) {
		hapax_table *table = table_new(env);
		struct item **x = filled(env, table, 50);
		hapax_iter *iter = iterate(table);
		bool pinning = false;

		for (int i = 0; i < steps; i++)
			pinning = next(iter, NULL) >= 0;
		release_all(x, 50);
		CHECK_EQ(hapax_table_size(table), pinning ? 1 : 0);
		CHECK_EQ(next(iter, NULL), -1);
		CHECK_EQ(hapax_table_size(table), 0);
		hapax_iter_close(iter);
		table_end(table, 0);
	}
	test_env_end(env);
}

/* One thread, every resize at every place: nothing is missed, nothing comes twice. */
TEST(PY_IT_11_resizes_between_the_steps)
{
	enum { N = 500 };
	hapax_env *env = test_env();
	uint64_t random = test_stream(11);

	for (int round = 0; round < (test_slow_build() ? 3 : 20); round++) {
		hapax_table *table = table_new(env);
		struct item **x = filled(env, table, N);
		int passing = N;
		bool seen[N] = {0};
		hapax_iter *iter = iterate(table);
		struct item *extra = item_new(env, 9999);
		int key, n = 0;

		while ((key = next(iter, NULL)) >= 0) {
			if (key < N) {
				CHECK(!seen[key]);
				seen[key] = true;
				n++;
			}
			switch (test_below(&random, 4)) {
			case 0:
				hapax_testing_table_resize(
					table, hapax_testing_table_lines(table) > 2048 ? -1 : (int)test_below(&random, 3) - 1);
				break;
			case 1: /* passers-by come and go */
				passing = N + (int)test_below(&random, N);
				table_put(table, HAPAX_KEY_OF(passing), extra);
				break;
			case 2:
				passing = N + (int)test_below(&random, N);
				CHECK(hapax_table_remove(table, HAPAX_KEY_OF(passing)) >= 0);
				break;
			default:
				break;
			}
		}
		CHECK_EQ(n, N);
		hapax_iter_close(iter);
		hapax_release(extra);
		table_check(table, N);
		release_all(x, N);
		table_end(table, 0);
	}
	test_env_end(env);
}

struct churn {
	hapax_env *env;
	hapax_table *table;
	int stable;
	int rounds;
	int done;
};
static void churn_or_iterate(unsigned index, void *arg)
{
	struct churn *c = arg;
	uint64_t random = test_stream(300 + index);

	if (index == 0) {
		bool *seen = malloc((size_t)c->stable);

		CHECK(seen);
		for (int round = 0; round < c->rounds; round++) {
			hapax_iter *iter = iterate(c->table);
			int key, n = 0;

			memset(seen, 0, (size_t)c->stable);
			while ((key = next(iter, NULL)) >= 0) {
				if (key >= c->stable)
					continue;
				CHECK(!seen[key]);
				seen[key] = true;
				n++;
			}
			CHECK_EQ(n, c->stable);
			hapax_iter_close(iter);
		}
		free(seen);
		__atomic_store_n(&c->done, 1, __ATOMIC_RELAXED);
		return;
	}
	while (!__atomic_load_n(&c->done, __ATOMIC_RELAXED)) {
		/* a wave of passers-by: the table grows, and shrinks when they have gone */
		int base = c->stable + (int)index * 100000, n = 1 + (int)test_below(&random, 3000);
		struct item *x = item_new(c->env, base);

		for (int i = 0; i < n; i++) {
			int key = base + i;

			table_put(c->table, HAPAX_KEY_OF(key), x);
		}
		for (int i = 0; i < n / 2; i++) {
			int key = base + i;

			CHECK(hapax_table_remove(c->table, HAPAX_KEY_OF(key)) == HAPAX_OK);
		}
		hapax_release(x);
	}
}

TEST(PY_IT_11_iteration_under_concurrent_traffic)
{
	hapax_env *env = test_env();
	struct churn c = {.env = env, .table = table_new(env), .stable = 700, .rounds = (int)scaled(200)};
	struct item **x = filled(env, c.table, c.stable);

	run_threads(3, churn_or_iterate, &c);
	table_check(c.table, (size_t)c.stable);
	release_all(x, c.stable);
	table_end(c.table, 0);
	test_env_end(env);
}

/* The stable entries are replaced by equal ones again and again: each key comes once. */
static void replace_or_iterate(unsigned index, void *arg)
{
	struct churn *c = arg;
	uint64_t random = test_stream(400 + index);

	if (index == 0) {
		bool *seen = malloc((size_t)c->stable);

		CHECK(seen);
		for (int round = 0; round < c->rounds; round++) {
			hapax_iter *iter = iterate(c->table);
			int key;

			memset(seen, 0, (size_t)c->stable);
			while ((key = next(iter, NULL)) >= 0) {
				CHECK(key < c->stable);
				seen[key] = true;
			}
			hapax_iter_close(iter);
		}
		free(seen);
		__atomic_store_n(&c->done, 1, __ATOMIC_RELAXED);
		return;
	}
	while (!__atomic_load_n(&c->done, __ATOMIC_RELAXED)) {
		int key = (int)test_below(&random, (uint64_t)c->stable);
		struct item *x = item_new(c->env, key);

		table_put(c->table, HAPAX_KEY_OF(key), x);
		hapax_release(x);
	}
}

TEST(PY_IT_11_iteration_among_replacements_and_deaths)
{
	hapax_env *env = test_env();
	struct churn c = {.env = env, .table = table_new(env), .stable = 200, .rounds = (int)scaled(300)};

	run_threads(3, replace_or_iterate, &c);
	table_end(c.table, 0);
	test_env_end(env);
}

TEST(PY_IT_13_removing_inside_the_loop)
{
	enum { N = 200 };
	hapax_env *env = test_env();

	for (int mode = 0; mode < 4; mode++) { /* the current one, another one, all, put it back */
		hapax_table *table = table_new(env);
		struct item **x = filled(env, table, N), *item;
		hapax_iter *iter = iterate(table);
		bool removed[N] = {0}, seen[N] = {0};
		int key, n = 0, left = N;

		while ((key = next(iter, &item)) >= 0) {
			CHECK(!seen[key]);
			CHECK(mode == 3 || !removed[key]);
			seen[key] = true;
			n++;
			if (mode == 0) {
				CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(key)), HAPAX_OK);
				CHECK(item_is_alive(item));
				removed[key] = true;
				left--;
			} else if (mode == 1) {
				int other = (key + 1) % N;

				CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(other)),
					 removed[other] ? HAPAX_MISS : HAPAX_OK);
				left -= !removed[other];
				removed[other] = true;
			} else if (mode == 2) {
				hapax_table_clear(table);
				left = 0;
				for (int i = 0; i < N; i++)
					removed[i] = true;
			} else {
				table_put(table, HAPAX_KEY_OF(key), item); /* its own place: not seen again */
			}
		}
		for (int i = 0; i < N; i++)
			CHECK(seen[i] || removed[i]);
		CHECK(mode != 2 || n == 1);
		hapax_iter_close(iter);
		table_check(table, (size_t)left);
		release_all(x, N);
		table_end(table, 0);
	}
	test_env_end(env);
}

static void iterate_in_destructor(struct item *item, void *arg)
{
	hapax_table *table = arg;
	hapax_iter *iter = iterate(table);
	int key;

	while ((key = next(iter, NULL)) >= 0)
		CHECK(key != item->id);
	hapax_iter_close(iter);
}

/* L5, L13: moving the cursor may run a death, whose destructor may iterate the same table. */
TEST(PY_IT_13_the_cursor_drops_the_last_reference)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item **x = filled(env, table, 30), *item;
	hapax_iter *iter = iterate(table);
	int key, n = 0;

	items_reset();
	while ((key = next(iter, &item)) >= 0) {
		CHECK_EQ(items_destroyed_now(), n);
		item->on_destroy = iterate_in_destructor;
		item->arg = table;
		hapax_release(x[key]);
		x[key] = NULL;
		CHECK_EQ(items_destroyed_now(), n); /* pinned */
		n++;
	}
	CHECK_EQ(n, 30);
	CHECK_EQ(items_destroyed_now(), 30);
	hapax_iter_close(iter);
	release_all(x, 30);
	table_end(table, 0);
	test_env_end(env);
}

/* A key too long to be copied now: the cursor stays, and goes on when there is memory. */
TEST(PY_IT_next_without_memory_does_not_move)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1);
	static char big[50][3000];
	hapax_iter *iter;
	hapax_key key;
	void *object;
	int n = 0, refused = 0;

	for (int i = 0; i < 50; i++) {
		memset(big[i], i, sizeof(big[i]));
		table_put(table, HAPAX_BYTES(big[i], 20 + 59 * (size_t)i), x);
	}
	iter = iterate(table);
	for (;;) {
		int status;

		memory->fail_from = memory->calls + 1;
		status = hapax_iter_next(iter, &key, &object);
		memory->fail_from = 0;
		if (status == HAPAX_ENOMEM) {
			CHECK(!object);
			refused++;
			status = hapax_iter_next(iter, &key, &object);
		}
		if (status == HAPAX_EMPTY)
			break;
		CHECK_EQ(status, HAPAX_OK);
		CHECK_PTR(object, x);
		CHECK_EQ(key.size, 20 + 59 * (size_t) * (const unsigned char *)key.data);
		n++;
	}
	CHECK_EQ(n, 50);
	CHECK(refused > 0);
	hapax_iter_close(iter);
	hapax_release(x);
	table_end(table, 0);
	test_env_end(env);
}
