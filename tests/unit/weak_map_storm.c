/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak-key tables on several threads: data destroyed exactly once whoever takes it out, the end of a map, iteration.
 */
#include "unit/maps.h"

enum { THREADS = 4, PLACES = 32 };

struct storm {
	hapax_env *env;
	hapax_weak_map *map, *other;
	pthread_mutex_t lock[PLACES];
	struct item *key[PLACES]; /* each replaced by a fresh one when its owner gives it up */
	uint64_t rounds;
	int born;
};

static struct item *born(struct storm *s, int id)
{
	__atomic_fetch_add(&s->born, 1, __ATOMIC_RELAXED);
	return item_new(s->env, id);
}

static struct item *grab(struct storm *s, unsigned i)
{
	struct item *key;

	pthread_mutex_lock(&s->lock[i]);
	key = s->key[i];
	CHECK_EQ(hapax_retain(key), HAPAX_OK);
	pthread_mutex_unlock(&s->lock[i]);
	return key;
}

static void give_up(struct storm *s, unsigned i)
{
	struct item *key, *fresh = born(s, (int)i);

	pthread_mutex_lock(&s->lock[i]);
	key = s->key[i];
	s->key[i] = fresh;
	pthread_mutex_unlock(&s->lock[i]);
	hapax_release(key);
}

/* Data says whose it is; what is got for a key is that key's, and alive. */
static void is_data_of(void *data, void *key)
{
	struct item *d = data;

	CHECK(item_is_alive(d));
	CHECK(item_is_alive(key));
	CHECK_PTR(d->arg, key);
}

static struct item *data_for(struct storm *s, struct item *key)
{
	struct item *data = born(s, key->id);

	data->arg = key;
	return data;
}

static void storm_step(struct storm *s, uint64_t *random)
{
	unsigned i = (unsigned)test_below(random, PLACES);
	struct item *key = NULL, *data;
	hapax_weak_map_iter *iter;
	hapax_weak_map *shot;
	void *out, *k;
	bool inserted;

	switch (test_below(random, 64)) {
	case 0:
		hapax_weak_map_clear(s->map);
		return;
	case 1:
	case 2:
		iter = map_iterate(s->map);
		while (hapax_weak_map_next(iter, &k, &out) == HAPAX_OK)
			is_data_of(out, k);
		hapax_weak_map_close(iter);
		return;
	case 3:
		CHECK_EQ(hapax_weak_map_copy(s->other, s->map, NULL), HAPAX_OK);
		return;
	case 4:
		CHECK_EQ(hapax_weak_map_snapshot(s->map, &shot), HAPAX_OK);
		hapax_weak_map_destroy(shot);
		return;
	case 5:
	case 6:
	case 7:
		if (hapax_weak_map_pop_any(s->map, &k, &out) == HAPAX_OK) {
			is_data_of(out, k);
			hapax_release(k);
			hapax_release(out);
		}
		return;
	default:
		break;
	}
	key = grab(s, i);
	switch (test_below(random, 8)) {
	case 0:
	case 1:
		map_give(s->map, key, data_for(s, key));
		break;
	case 2:
		data = data_for(s, key);
		CHECK_EQ(hapax_weak_map_get_or_put(s->map, key, data, &out, &inserted), HAPAX_OK);
		CHECK(!inserted || out == data);
		is_data_of(out, key);
		hapax_release(out);
		hapax_release(data);
		break;
	case 3:
		(void)!hapax_weak_map_remove(s->map, key);
		break;
	case 4:
		if (hapax_weak_map_pop(s->map, key, &out) == HAPAX_OK) {
			is_data_of(out, key);
			hapax_release(out);
		}
		break;
	case 5:
		give_up(s, i);
		break;
	default:
		if (hapax_weak_map_get(s->map, key, &out) == HAPAX_OK) {
			is_data_of(out, key);
			hapax_release(out);
		}
		break;
	}
	hapax_release(key);
}

static void storm(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t random = test_stream(index);

	for (uint64_t n = 0; n < s->rounds; n++)
		storm_step(s, &random);
}

TEST(data_is_destroyed_exactly_once_whoever_takes_it_out)
{
	struct storm s = {.env = test_env(), .rounds = scaled(12000)};
	size_t size = 0;

	s.map = map_new(s.env);
	s.other = map_new(s.env);
	for (unsigned i = 0; i < PLACES; i++) {
		pthread_mutex_init(&s.lock[i], NULL);
		s.key[i] = born(&s, (int)i);
	}
	run_threads(THREADS, storm, &s);
	for (unsigned i = 0; i < PLACES; i++)
		size += map_peek(s.map, s.key[i]) != NULL;
	map_check(s.map, size);
	hapax_weak_map_destroy(s.other);
	for (unsigned i = 0; i < PLACES / 2; i++)
		hapax_release(s.key[i]);
	hapax_weak_map_destroy(s.map);
	for (unsigned i = PLACES / 2; i < PLACES; i++)
		hapax_release(s.key[i]);
	CHECK_EQ(items_destroyed_now(), s.born);
	test_env_end(s.env);
}

/* ---- the end of a map while keys die and an iterator is open on other threads --------------------------------------- */

struct ending {
	hapax_env *env;
	hapax_weak_map *map;
	hapax_weak_map_iter *iter;
	struct item *key[PLACES];
};

static void end_together(unsigned index, void *arg)
{
	struct ending *e = arg;
	void *k, *d;

	if (index == 0) {
		hapax_weak_map_destroy(e->map);
	} else if (index == 1) {
		while (hapax_weak_map_next(e->iter, &k, &d) == HAPAX_OK)
			is_data_of(d, k);
		hapax_weak_map_close(e->iter);
	} else {
		for (unsigned i = index - 2; i < PLACES; i += 2)
			hapax_release(e->key[i]);
	}
}

TEST(destroyed_while_keys_die_and_somebody_iterates)
{
	for (uint64_t n = 0, rounds = scaled(300); n < rounds; n++) {
		struct ending e = {.env = test_env()};

		items_reset();
		e.map = map_new(e.env);
		for (int i = 0; i < PLACES; i++) {
			struct item *data = item_new(e.env, i);

			e.key[i] = item_new(e.env, i);
			data->arg = e.key[i];
			map_give(e.map, e.key[i], data);
		}
		e.iter = map_iterate(e.map);
		run_threads(4, end_together, &e);
		CHECK_EQ(items_destroyed_now(), 2 * PLACES);
		test_env_end(e.env);
	}
}

/* ---- what is present throughout is met exactly once --------------------------------------------------------------- */

struct steady {
	hapax_env *env;
	hapax_weak_map *map;
	struct item *key[PLACES];
	uint64_t rounds;
};

static void around(unsigned index, void *arg)
{
	struct steady *s = arg;
	uint64_t random = test_stream(index);
	void *k;

	for (uint64_t n = 0; n < s->rounds; n++) {
		if (index) { /* others come and go, and the steady ones' data is put over: they are never absent */
			struct item *key = item_new(s->env, -1), *steady = s->key[test_below(&random, PLACES)];

			map_give(s->map, key, item_new(s->env, -1));
			map_give(s->map, steady, item_new(s->env, steady->id));
			hapax_release(key);
		} else {
			hapax_weak_map_iter *iter = map_iterate(s->map);
			int seen[PLACES] = {0};

			while (hapax_weak_map_next(iter, &k, NULL) == HAPAX_OK)
				if (((struct item *)k)->id >= 0)
					seen[((struct item *)k)->id]++;
			hapax_weak_map_close(iter);
			for (int i = 0; i < PLACES; i++) {
				CHECK_EQ(seen[i], 1);
				CHECK_EQ(hapax_weak_map_contains(s->map, s->key[i]), 1);
			}
		}
	}
}

TEST(an_entry_put_over_is_never_absent)
{
	struct steady s = {.env = test_env(), .rounds = scaled(3000)};

	s.map = map_new(s.env);
	for (int i = 0; i < PLACES; i++) {
		s.key[i] = item_new(s.env, i);
		map_give(s.map, s.key[i], item_new(s.env, i));
	}
	run_threads(3, around, &s);
	map_check(s.map, PLACES);
	for (int i = 0; i < PLACES; i++)
		hapax_release(s.key[i]);
	map_end(s.map, 0);
	test_env_end(s.env);
}
