/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak-key tables, what follows from the laws: destructors of data that come back to the map, copies and iterators while keys die,
 * what needs no memory. On several threads: weak_map_storm.c.
 */
#include <errno.h>

#include "unit/maps.h"

/* ---- destructors of data that come back -------------------------------------------------------------------------- */

enum way { BY_REMOVE, BY_POP, BY_PUT, BY_CLEAR, BY_COPY, BY_DEATH, BY_DESTROY, WAYS };
enum deed { PUTS_AGAIN, REMOVES, CLEARS, ITERATES, KILLS_ANOTHER, DEEDS };

struct back {
	hapax_env *env;
	hapax_weak_map *map;
	struct item *key, *another;
	enum deed deed;
	bool key_dies, map_goes;
	int runs;
};

static void comes_back(struct item *item, void *arg)
{
	struct back *b = arg;
	hapax_weak_map_iter *iter;
	struct item *fresh;
	void *out = NULL;
	int status;

	(void)item;
	b->runs++;
	if (b->key_dies)
		CHECK_EQ(hapax_weak_map_contains(b->map, b->key), 0);
	switch (b->deed) {
	case PUTS_AGAIN:
		fresh = item_new(b->env, 50);
		status = hapax_weak_map_put(b->map, b->key, fresh);
		CHECK_EQ(status, b->key_dies ? HAPAX_EDEAD : b->map_goes ? HAPAX_ECLOSED : HAPAX_OK);
		hapax_release(fresh);
		break;
	case REMOVES:
		status = hapax_weak_map_remove(b->map, b->key);
		CHECK(status == HAPAX_OK || status == HAPAX_MISS);
		CHECK_EQ(hapax_weak_map_get(b->map, b->key, &out), HAPAX_MISS);
		break;
	case CLEARS:
		hapax_weak_map_clear(b->map);
		CHECK_EQ(hapax_weak_map_size(b->map), 0);
		break;
	case ITERATES:
		CHECK_EQ(hapax_weak_map_iterate(b->map, &iter), HAPAX_OK);
		while (hapax_weak_map_next(iter, NULL, &out) == HAPAX_OK)
			CHECK(item_is_alive(out));
		hapax_weak_map_close(iter);
		break;
	default:
		hapax_release(b->another); /* another key */
		b->another = NULL;
		break;
	}
}

static void come_back(enum way way, enum deed deed)
{
	struct back b = {.env = test_env(), .deed = deed, .key_dies = way == BY_DEATH, .map_goes = way == BY_DESTROY};
	hapax_weak_map *source = map_new(b.env);
	struct item *data = item_new(b.env, 2), *other = item_new(b.env, 3);
	void *out;

	b.map = map_new(b.env);
	b.key = item_new(b.env, 1);
	b.another = item_new(b.env, 4);
	data->on_destroy = comes_back;
	data->arg = &b;
	map_give(b.map, b.key, data);
	map_give(b.map, b.another, item_new(b.env, 5));
	switch (way) {
	case BY_REMOVE:
		CHECK_EQ(hapax_weak_map_remove(b.map, b.key), HAPAX_OK);
		break;
	case BY_POP:
		CHECK_EQ(hapax_weak_map_pop(b.map, b.key, &out), HAPAX_OK);
		hapax_release(out);
		break;
	case BY_PUT:
		CHECK_EQ(hapax_weak_map_put(b.map, b.key, other), HAPAX_OK);
		break;
	case BY_CLEAR:
		hapax_weak_map_clear(b.map);
		break;
	case BY_COPY:
		CHECK_EQ(hapax_weak_map_put(source, b.key, other), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_copy(b.map, source, NULL), HAPAX_OK);
		break;
	case BY_DEATH:
		hapax_release(b.key);
		break;
	default:
		hapax_weak_map_destroy(b.map);
		b.map = NULL;
		break;
	}
	CHECK_EQ(b.runs, 1);
	if (b.map) {
		char message[200] = "";

		if (hapax_testing_check_weak_map(b.map, message, sizeof(message)))
			TEST_FAIL("way %d, deed %d: %s", (int)way, (int)deed, message);
		hapax_weak_map_destroy(b.map);
	}
	hapax_weak_map_destroy(source);
	if (way != BY_DEATH)
		hapax_release(b.key);
	hapax_release(b.another);
	hapax_release(other);
	test_env_end(b.env);
}

TEST(a_destructor_of_data_may_call_the_map)
{
	for (int way = 0; way < WAYS; way++)
		for (int deed = 0; deed < DEEDS; deed++)
			come_back((enum way)way, (enum deed)deed);
}

static void destroys_the_map(struct item *item, void *arg)
{
	hapax_weak_map **map = arg;

	(void)item;
	hapax_weak_map_destroy(*map);
	*map = NULL;
}

TEST(a_destructor_of_data_may_destroy_the_map)
{
	enum { N = 10 };

	for (int way = 0; way < 4; way++) {
		hapax_env *env = test_env();
		hapax_weak_map *map = map_new(env);
		struct item *key[N], *data;
		int before = items_destroyed_now();

		for (int i = 0; i < N; i++) {
			key[i] = item_new(env, i);
			data = item_new(env, i);
			if (i == N / 2) {
				data->on_destroy = destroys_the_map;
				data->arg = &map;
			}
			map_give(map, key[i], data);
		}
		if (way == 0)
			CHECK_EQ(hapax_weak_map_remove(map, key[N / 2]), HAPAX_OK);
		else if (way == 1)
			CHECK_EQ(hapax_weak_map_put(map, key[N / 2], key[0]), HAPAX_OK);
		else if (way == 2)
			hapax_weak_map_clear(map);
		else
			hapax_release(key[N / 2]);
		CHECK(!map);
		CHECK_EQ(items_destroyed_now() - before, N + (way == 3));
		for (int i = 0; i < N; i++)
			if (way != 3 || i != N / 2) {
				CHECK_EQ(hapax_count(key[i]), 1);
				hapax_release(key[i]);
			}
		test_env_end(env);
	}
}

static int put_under_it; /* how often the destructor below has put itself another time */

static void puts_once_more(struct item *item, void *arg)
{
	struct back *b = arg;
	struct item *fresh;

	(void)item;
	if (put_under_it >= 20)
		return;
	put_under_it++;
	fresh = item_new(b->env, put_under_it);
	fresh->on_destroy = puts_once_more;
	fresh->arg = b;
	map_give(b->map, b->key, fresh);
}

/* clear() ends though everything that it releases is put again. */
TEST(clear_ends)
{
	struct back b = {.env = test_env()};
	struct item *data;

	b.map = map_new(b.env);
	b.key = item_new(b.env, 1);
	data = item_new(b.env, 0);
	data->on_destroy = puts_once_more;
	data->arg = &b;
	map_give(b.map, b.key, data);
	hapax_weak_map_clear(b.map);
	CHECK_EQ(put_under_it, 1);
	map_check(b.map, 1);
	put_under_it = 20;
	map_end(b.map, 1);
	hapax_release(b.key);
	test_env_end(b.env);
}

/* ---- taking anything --------------------------------------------------------------------------------------------- */

TEST(pop_any_gives_each_live_entry_once)
{
	enum { N = 300 };
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *key[N];
	bool seen[N] = {false};
	void *k = (void *)1, *d = (void *)1;
	int n = 0;

	CHECK_EQ(hapax_weak_map_pop_any(map, &k, &d), HAPAX_EMPTY);
	CHECK(!k && !d);
	for (int i = 0; i < N; i++) {
		key[i] = item_new(env, i);
		map_give(map, key[i], item_new(env, 1000 + i));
	}
	for (int i = 0; i < N; i += 3)
		hapax_release(key[i]);
	for (; hapax_weak_map_pop_any(map, &k, &d) == HAPAX_OK; n++) {
		struct item *it = k, *data = d;

		CHECK(it->id % 3 && !seen[it->id]);
		seen[it->id] = true;
		CHECK_EQ(data->id, 1000 + it->id);
		CHECK_EQ(hapax_count(it), 2);
		CHECK_EQ(hapax_count(data), 1);
		CHECK(!map_peek(map, it));
		if (n == 100) /* what is put behind the place where it looks is found as well */
			for (int i = 0; i < N; i++)
				if (seen[i]) {
					map_give(map, key[i], item_new(env, 1000 + i));
					seen[i] = false;
				}
		hapax_release(it);
		hapax_release(data);
	}
	CHECK_EQ(n, N - N / 3 + 101);
	for (int i = 0; i < N; i++)
		if (i % 3)
			hapax_release(key[i]);
	map_end(map, 0);
	test_env_end(env);
}

/* ---- iterators and copies ---------------------------------------------------------------------------------------- */

TEST(each_entry_once_with_key_and_data_pinned_until_the_next_call)
{
	enum { N = 200 };
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	hapax_weak_map_iter *iter;
	struct item *key[N], *last = NULL;
	int seen[N] = {0}, n = 0;
	void *k, *d;

	for (int i = 0; i < N; i++) {
		key[i] = item_new(env, i);
		map_give(map, key[i], item_new(env, 1000 + i));
	}
	iter = map_iterate(map);
	for (; hapax_weak_map_next(iter, &k, &d) == HAPAX_OK; n++) {
		struct item *it = k, *data = d;

		seen[it->id]++;
		CHECK_EQ(data->id, 1000 + it->id);
		CHECK_EQ(hapax_count(it), 2);
		CHECK_EQ(hapax_count(data), 2);
		if (last)
			CHECK_EQ(hapax_count(last), 1);
		last = it;
		if (n % 3 == 0) { /* removed and gone for everybody else, here it stays */
			CHECK_EQ(hapax_weak_map_remove(map, it), HAPAX_OK);
			CHECK_EQ(hapax_count(data), 1);
			CHECK(item_is_alive(data));
		} else if (n % 3 == 1) {
			map_give(map, it, item_new(env, 1000 + it->id)); /* put over: it is not met again */
		}
	}
	CHECK_EQ(n, N);
	for (int i = 0; i < N; i++)
		CHECK_EQ(seen[i], 1);
	CHECK(!k && !d);
	CHECK_EQ(hapax_weak_map_next(iter, NULL, NULL), HAPAX_EMPTY);
	hapax_weak_map_close(iter);
	map_check(map, N - (N + 2) / 3);
	iter = map_iterate(map); /* left in the middle: what is pinned is let go */
	CHECK_EQ(hapax_weak_map_next(iter, &k, NULL), HAPAX_OK);
	hapax_weak_map_close(iter);
	CHECK_EQ(hapax_count(k), 1);
	for (int i = 0; i < N; i++)
		hapax_release(key[i]);
	map_end(map, 0);
	test_env_end(env);
}

/* All owners go while an iterator is open: it keeps one entry, and lets go of it. */
TEST(an_iterator_pins_one_entry)
{
	enum { N = 50 };
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	hapax_weak_map_iter *iter;
	struct item *key[N];
	void *k, *d;

	for (int i = 0; i < N; i++) {
		key[i] = item_new(env, i);
		map_give(map, key[i], item_new(env, i));
	}
	iter = map_iterate(map);
	CHECK_EQ(hapax_weak_map_next(iter, &k, &d), HAPAX_OK);
	for (int i = 0; i < N; i++)
		hapax_release(key[i]);
	map_check(map, 1);
	CHECK_EQ(items_destroyed_now(), 2 * N - 2);
	CHECK(item_is_alive(k) && item_is_alive(d));
	CHECK_EQ(hapax_weak_map_next(iter, &k, &d), HAPAX_EMPTY);
	CHECK_EQ(items_destroyed_now(), 2 * N);
	map_check(map, 0);
	hapax_weak_map_close(iter);
	map_end(map, 0);
	test_env_end(env);
}

TEST(iterators_of_maps_that_are_cleared_and_destroyed)
{
	for (int destroyed = 0; destroyed < 2; destroyed++) {
		hapax_env *env = test_env();
		hapax_weak_map *map = map_new(env);
		hapax_weak_map_iter *iter, *fresh;
		struct item *key[3];
		void *k, *d;

		for (int i = 0; i < 3; i++) {
			key[i] = item_new(env, i);
			map_give(map, key[i], item_new(env, i));
		}
		iter = map_iterate(map);
		fresh = map_iterate(map);
		CHECK_EQ(hapax_weak_map_next(iter, &k, &d), HAPAX_OK);
		if (destroyed) {
			hapax_weak_map_destroy(map);
			hapax_testing_drain(env);
		} else {
			hapax_weak_map_clear(map);
			map_check(map, 0);
		}
		CHECK(item_is_alive(k) && item_is_alive(d));
		CHECK_EQ(hapax_count(d), 1);
		CHECK_EQ(hapax_weak_map_next(fresh, NULL, NULL), HAPAX_EMPTY);
		CHECK_EQ(hapax_weak_map_next(iter, &k, &d), HAPAX_EMPTY);
		hapax_weak_map_close(iter);
		hapax_weak_map_close(fresh);
		if (!destroyed)
			hapax_weak_map_destroy(map);
		for (int i = 0; i < 3; i++)
			hapax_release(key[i]);
		test_env_end(env);
	}
}

TEST(copies_and_snapshots)
{
	hapax_env *env = test_env(), *elsewhere = test_env();
	hapax_weak_map *map = map_new(env), *other = map_new(env), *shot = NULL, *foreign = map_new(elsewhere);
	struct item *a = item_new(env, 1), *b = item_new(env, 2), *c = item_new(env, 3), *data = item_new(env, 4);
	size_t copied = 99;

	CHECK_EQ(hapax_weak_map_put(map, a, data), HAPAX_OK);
	map_give(map, b, item_new(env, 5));
	map_give(other, b, item_new(env, 6));
	map_give(other, c, item_new(env, 7));
	CHECK_EQ(hapax_weak_map_copy(map, map, &copied), HAPAX_OK);
	CHECK_EQ(copied, 0);
	CHECK_EQ(hapax_weak_map_copy(other, map, &copied), HAPAX_OK);
	CHECK_EQ(copied, 2);
	map_check(other, 3);
	CHECK_EQ(map_peek(other, b)->id, 5);
	CHECK_EQ(hapax_count(data), 3);
	CHECK_EQ(hapax_weak_map_snapshot(map, &shot), HAPAX_OK);
	map_check(shot, 2);
	CHECK_EQ(hapax_count(data), 4);
	CHECK_EQ(hapax_count(a), 1);
	CHECK_EQ(hapax_weak_map_remove(map, a), HAPAX_OK);
	CHECK_PTR(map_peek(shot, a), data);
	CHECK_EQ(hapax_count(data), 3);
	items_reset();
	hapax_release(b); /* and its data, which three maps hold */
	CHECK_EQ(items_destroyed_now(), 2);
	map_check(map, 0);
	map_check(other, 2);
	map_check(shot, 1);
	CHECK_EQ(hapax_weak_map_copy(foreign, other, &copied), HAPAX_EFOREIGN);
	CHECK_EQ(copied, 0);
	map_end(foreign, 0);
	map_end(shot, 1);
	hapax_release(a);
	CHECK_EQ(hapax_count(data), 1);
	hapax_release(data);
	hapax_release(c);
	map_end(other, 0);
	map_end(map, 0);
	test_env_end(env);
	test_env_end(elsewhere);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

TEST(what_needs_no_memory)
{
	enum { N = 40 };
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	hapax_weak_map *map = map_new(env);
	struct item *key[N];
	hapax_weak_map_iter *iter;
	void *k, *d;

	for (int i = 0; i < N; i++) {
		key[i] = item_new(env, i);
		map_give(map, key[i], item_new(env, i));
	}
	iter = map_iterate(map);
	memory->fail_from = memory->calls + 1;
	CHECK_EQ(hapax_weak_map_next(iter, &k, &d), HAPAX_OK);
	hapax_weak_map_close(iter);
	CHECK_EQ(hapax_weak_map_get(map, key[0], &d), HAPAX_OK);
	hapax_release(d);
	CHECK_EQ(hapax_weak_map_remove(map, key[0]), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_pop(map, key[1], &d), HAPAX_OK);
	hapax_release(d);
	CHECK_EQ(hapax_weak_map_pop_any(map, &k, &d), HAPAX_OK);
	hapax_release(k);
	hapax_release(d);
	for (int i = 0; i < N / 2; i++)
		hapax_release(key[i]);
	CHECK_EQ(hapax_weak_map_put(map, key[N - 1], key[N - 2]), HAPAX_OK); /* over what is there, or in its place */
	CHECK_EQ(hapax_weak_map_remove(map, key[N - 1]), HAPAX_OK);
	hapax_weak_map_clear(map);
	map_check(map, 0);
	hapax_weak_map_destroy(map);
	for (int i = N / 2; i < N; i++)
		hapax_release(key[i]);
	CHECK_EQ(items_destroyed_now(), 2 * N);
	memory->fail_from = 0;
	test_env_end(env);
}
