/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weak maps and sets against what they should hold: random operations on one thread, two of each, every answer compared. */
#include "unit/maps.h"

enum { KEYS = 40, MAPS = 2 };

struct model {
	hapax_env *env;
	hapax_weak_map *map[MAPS];
	hapax_weak_set *set[MAPS];
	struct item *key[KEYS]; /* id: its place */
	struct item *data[MAPS][KEYS]; /* NULL: absent */
	bool member[MAPS][KEYS];
	int born, destroyed;
	uint64_t random;
};

static struct item *born(struct model *m, int id)
{
	struct item *item = item_new(m->env, id);

	item->destroyed = &m->destroyed;
	m->born++;
	return item;
}

static size_t map_size(struct model *m, int w)
{
	size_t n = 0;

	for (int i = 0; i < KEYS; i++)
		n += m->data[w][i] != NULL;
	return n;
}

static size_t set_size(struct model *m, int w)
{
	size_t n = 0;

	for (int i = 0; i < KEYS; i++)
		n += m->member[w][i];
	return n;
}

/* How many of the maps hold this data. */
static unsigned holders(struct model *m, const struct item *data)
{
	unsigned n = 0;

	for (int w = 0; w < MAPS; w++)
		for (int i = 0; i < KEYS; i++)
			n += m->data[w][i] == data;
	return n;
}

/* Everything that is to be seen of a map is what the model says. */
static void compare_map(struct model *m, hapax_weak_map *map, struct item *const data[KEYS], size_t size)
{
	hapax_weak_map_iter *iter;
	bool seen[KEYS] = {false};
	void *k, *d;
	size_t n = 0;

	map_check(map, size);
	CHECK_EQ(hapax_weak_map_iterate(map, &iter), HAPAX_OK);
	for (; hapax_weak_map_next(iter, &k, &d) == HAPAX_OK; n++) {
		int i = ((struct item *)k)->id;

		CHECK_PTR(k, m->key[i]);
		CHECK_PTR(d, data[i]);
		CHECK(!seen[i]);
		seen[i] = true;
	}
	hapax_weak_map_close(iter);
	CHECK_EQ(n, size);
	for (int i = 0; i < KEYS; i++)
		CHECK_PTR(map_peek(map, m->key[i]), data[i]);
}

static void compare_set(struct model *m, hapax_weak_set *set, const bool member[KEYS], size_t size)
{
	hapax_weak_set_iter *iter;
	void *object;
	size_t n = 0;

	set_check(set, size);
	CHECK_EQ(hapax_weak_set_iterate(set, &iter), HAPAX_OK);
	for (; hapax_weak_set_next(iter, &object) == HAPAX_OK; n++)
		CHECK(member[((struct item *)object)->id]);
	hapax_weak_set_close(iter);
	CHECK_EQ(n, size);
	for (int i = 0; i < KEYS; i++)
		CHECK_EQ(hapax_weak_set_contains(set, m->key[i]), member[i]);
}

static void compare(struct model *m)
{
	for (int w = 0; w < MAPS; w++) {
		compare_map(m, m->map[w], m->data[w], map_size(m, w));
		compare_set(m, m->set[w], m->member[w], set_size(m, w));
		for (int i = 0; i < KEYS; i++) {
			CHECK_EQ(hapax_count(m->key[i]), 1);
			if (m->data[w][i])
				CHECK_EQ(hapax_count(m->data[w][i]), holders(m, m->data[w][i]));
		}
	}
}

static void map_step(struct model *m, int w, int i)
{
	hapax_weak_map *map = m->map[w];
	struct item **held = &m->data[w][i], *fresh;
	void *out = (void *)1, *k = (void *)1;
	bool inserted;
	int status;

	switch (test_below(&m->random, 8)) {
	case 0:
	case 1: /* fresh data, or some that is there under another key, in another map */
		fresh = m->data[test_below(&m->random, MAPS)][test_below(&m->random, KEYS)];
		if (fresh && test_below(&m->random, 2))
			CHECK_EQ(hapax_retain(fresh), HAPAX_OK);
		else
			fresh = born(m, 1000);
		*held = map_give(map, m->key[i], fresh);
		return;
	case 2:
		fresh = born(m, 1000);
		CHECK_EQ(hapax_weak_map_get_or_put(map, m->key[i], fresh, &out, &inserted), HAPAX_OK);
		CHECK_EQ(inserted, !*held);
		CHECK_PTR(out, *held ? *held : fresh);
		*held = out;
		hapax_release(out);
		hapax_release(fresh);
		return;
	case 3:
		status = hapax_weak_map_get(map, m->key[i], &out);
		CHECK_EQ(status, *held ? HAPAX_OK : HAPAX_MISS);
		CHECK_PTR(out, *held);
		hapax_release(out);
		return;
	case 4:
		CHECK_EQ(hapax_weak_map_remove(map, m->key[i]), *held ? HAPAX_OK : HAPAX_MISS);
		*held = NULL;
		return;
	case 5:
		CHECK_EQ(hapax_weak_map_pop(map, m->key[i], &out), *held ? HAPAX_OK : HAPAX_MISS);
		CHECK_PTR(out, *held);
		*held = NULL;
		hapax_release(out);
		return;
	case 6:
		status = hapax_weak_map_pop_any(map, &k, &out);
		CHECK_EQ(status, map_size(m, w) ? HAPAX_OK : HAPAX_EMPTY);
		if (!k)
			return;
		i = ((struct item *)k)->id;
		CHECK_PTR(k, m->key[i]);
		CHECK_PTR(out, m->data[w][i]);
		m->data[w][i] = NULL;
		hapax_release(k);
		hapax_release(out);
		return;
	default:
		CHECK_EQ(hapax_weak_map_contains(map, m->key[i]), *held != NULL);
		return;
	}
}

static void set_step(struct model *m, int w, int i)
{
	hapax_weak_set *set = m->set[w];
	bool *in = &m->member[w][i], added;
	void *out = (void *)1;

	switch (test_below(&m->random, 4)) {
	case 0:
	case 1:
		CHECK_EQ(hapax_weak_set_add(set, m->key[i], &added), HAPAX_OK);
		CHECK_EQ(added, !*in);
		*in = true;
		return;
	case 2:
		CHECK_EQ(hapax_weak_set_remove(set, m->key[i]), *in ? HAPAX_OK : HAPAX_MISS);
		*in = false;
		return;
	default:
		CHECK_EQ(hapax_weak_set_pop(set, &out), set_size(m, w) ? HAPAX_OK : HAPAX_EMPTY);
		if (!out)
			return;
		i = ((struct item *)out)->id;
		CHECK(m->member[w][i]);
		m->member[w][i] = false;
		hapax_release(out);
		return;
	}
}

/* A key dies, and another object takes its place. */
static void death(struct model *m, int i)
{
	hapax_release(m->key[i]);
	for (int w = 0; w < MAPS; w++) {
		m->data[w][i] = NULL;
		m->member[w][i] = false;
	}
	m->key[i] = born(m, i);
}

static void whole_step(struct model *m, int w)
{
	hapax_weak_map *map;
	hapax_weak_set *set;
	size_t copied;

	switch (test_below(&m->random, 4)) {
	case 0:
		if (test_below(&m->random, 2)) {
			hapax_weak_map_clear(m->map[w]);
			memset(m->data[w], 0, sizeof(m->data[w]));
		} else {
			hapax_weak_set_clear(m->set[w]);
			memset(m->member[w], 0, sizeof(m->member[w]));
		}
		return;
	case 1:
		CHECK_EQ(hapax_weak_map_copy(m->map[w], m->map[1 - w], &copied), HAPAX_OK);
		CHECK_EQ(copied, map_size(m, 1 - w));
		CHECK_EQ(hapax_weak_set_copy(m->set[w], m->set[1 - w], &copied), HAPAX_OK);
		CHECK_EQ(copied, set_size(m, 1 - w));
		for (int i = 0; i < KEYS; i++) {
			if (m->data[1 - w][i])
				m->data[w][i] = m->data[1 - w][i];
			m->member[w][i] |= m->member[1 - w][i];
		}
		return;
	case 2:
		CHECK_EQ(hapax_weak_map_snapshot(m->map[w], &map), HAPAX_OK);
		compare_map(m, map, m->data[w], map_size(m, w));
		CHECK_EQ(hapax_weak_set_snapshot(m->set[w], &set), HAPAX_OK);
		compare_set(m, set, m->member[w], set_size(m, w));
		hapax_weak_map_destroy(map);
		hapax_weak_set_destroy(set);
		return;
	default:
		hapax_weak_map_destroy(m->map[w]);
		hapax_weak_set_destroy(m->set[w]);
		memset(m->data[w], 0, sizeof(m->data[w]));
		memset(m->member[w], 0, sizeof(m->member[w]));
		m->map[w] = map_new(m->env);
		m->set[w] = set_new(m->env);
		return;
	}
}

TEST(random_operations_against_a_model)
{
	struct model m = {.env = test_env(), .random = test_stream(1)};

	for (int w = 0; w < MAPS; w++) {
		m.map[w] = map_new(m.env);
		m.set[w] = set_new(m.env);
	}
	for (int i = 0; i < KEYS; i++)
		m.key[i] = born(&m, i);
	for (uint64_t n = 0, rounds = scaled(20000); n < rounds; n++) {
		int w = (int)test_below(&m.random, MAPS), i = (int)test_below(&m.random, KEYS);
		uint64_t what = test_below(&m.random, 100);

		if (what < 2)
			whole_step(&m, w);
		else if (what < 10)
			death(&m, i);
		else if (what < 70)
			map_step(&m, w, i);
		else
			set_step(&m, w, i);
		CHECK_EQ(hapax_weak_map_size(m.map[w]), map_size(&m, w));
		CHECK_EQ(hapax_weak_set_size(m.set[w]), set_size(&m, w));
		if (n % 16 == 0)
			compare(&m);
	}
	compare(&m);
	for (int i = 0; i < KEYS; i++)
		hapax_release(m.key[i]);
	CHECK_EQ(m.destroyed, m.born);
	for (int w = 0; w < MAPS; w++) {
		map_end(m.map[w], 0);
		set_end(m.set[w], 0);
	}
	test_env_end(m.env);
}
