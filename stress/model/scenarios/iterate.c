/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/iterate.c - iterations beside removals, replacements, deaths and the table's end.
 *
 * Faults put in on purpose that show here: ITERATOR_PINS_TWO, ITERATOR_PINS_NONE.
 */
#include "model/scenarios/kit.h"

enum { KEYS = 3 };

struct iter {
	struct kit k;
	struct item *item[KEYS], *fresh;
	bool released[KIT_ITEMS + 1]; /* by id: the scenario's reference has been given back */
	unsigned seen[KIT_ITEMS + 1];
	bool others; /* somebody else may hold a reference for a moment */
};

static void setup(void *state)
{
	struct iter *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	kit_table(&s->k, KIT_PLAIN);
	for (unsigned n = 0; n < KEYS; n++) {
		s->item[n] = kit_new(&s->k, n);
		kit_put(&s->k, n, s->item[n]);
	}
	s->fresh = kit_new(&s->k, 0);
}

/* The current item is pinned, the one before it is not: released by all others it dies right here. */
static void walk(struct iter *s, hapax_iter *iter)
{
	unsigned before = 0;
	hapax_key key;
	void *object;
	int status;

	for (;;) {
		bool dies = before && s->released[before] && !s->others;
		struct item *item;

		status = hapax_iter_next(iter, &key, &object);
		MODEL_CHECK(!dies || s->k.life[before].destroyed, "an iterator still keeps object %u, from before", before);
		if (status)
			break;
		item = object;
		kit_hold(&s->k, item->key, item);
		MODEL_CHECK(key.size == 4 && *(const unsigned char *)key.data == item->key, "a pair of another key");
		s->seen[item->id]++;
		model_yield();
		kit_unhold(&s->k, item->key, item);
		before = item->id;
	}
	MODEL_CHECK(status == HAPAX_EMPTY, "hapax_iter_next: %s", hapax_status_name(status));
	MODEL_CHECK(hapax_iter_next(iter, NULL, NULL) == HAPAX_EMPTY, "an iteration went on after its end");
	hapax_iter_close(iter);
}

static void iterate(void *state)
{
	struct iter *s = state;
	hapax_iter *iter = NULL;

	if (hapax_table_iterate(s->k.table, &iter))
		model_fail("hapax_table_iterate failed");
	walk(s, iter);
}

static void drop(struct iter *s, unsigned n)
{
	struct item *item = s->item[n];
	unsigned id = item->id;

	s->item[n] = NULL;
	hapax_release(item);
	s->released[id] = true;
}

static void die_0(void *state) { drop(state, 0); }
static void die_1(void *state) { drop(state, 1); }

static void die_all(void *state)
{
	for (unsigned n = 0; n < KEYS; n++)
		drop(state, n);
}

static void remove_0(void *state)
{
	struct iter *s = state;

	if (hapax_table_remove(s->k.table, kit_key(0)))
		model_fail("a present key could not be removed");
}

static void replace_0(void *state) { kit_put(state, 0, ((struct iter *)state)->fresh); }
static void clear(void *state) { hapax_table_clear(((struct iter *)state)->k.table); }

static void end_table(void *state)
{
	struct iter *s = state;

	hapax_table_destroy(s->k.table);
	s->k.table = NULL;
}

static void finish(struct iter *s, unsigned throughout, size_t entries)
{
	for (unsigned n = throughout; n < KEYS; n++)
		MODEL_CHECK(s->seen[n + 1] == 1, "object %u, present throughout, was yielded %u times", n + 1, s->seen[n + 1]);
	for (unsigned id = 1; id <= KIT_ITEMS; id++)
		MODEL_CHECK(s->seen[id] <= 1, "object %u was yielded %u times", id, s->seen[id]);
	kit_check(&s->k, entries);
	for (unsigned n = 0; n < KEYS; n++)
		hapax_release(s->item[n]);
	hapax_release(s->fresh);
	kit_close(&s->k, 0);
}

static void one_gone(void *state) { finish(state, 1, KEYS - 1); }
static void two_gone(void *state) { finish(state, 2, KEYS - 2); }
static void none_gone(void *state) { finish(state, 1, KEYS); }
static void all_gone(void *state) { finish(state, KEYS, 0); }

SCENARIO(iterate_remove, "iterate-remove", "a removal during an iteration", struct iter, setup, one_gone, 2, iterate,
	 remove_0);
SCENARIO(iterate_death, "iterate-death", "two deaths during an iteration", struct iter, setup, two_gone, 1, iterate,
	 die_0, die_1);
SCENARIO(iterate_deaths, "iterate-deaths", "everything dies during an iteration", struct iter, setup, all_gone, 1,
	 iterate, die_all);
SCENARIO(iterate_replace, "iterate-replace", "a replacement during an iteration", struct iter, setup, none_gone, 2,
	 iterate, replace_0);
SCENARIO(iterate_clear, "iterate-clear", "a clear during an iteration", struct iter, setup, all_gone, 2, iterate, clear);

static void others_setup(void *state)
{
	setup(state);
	((struct iter *)state)->others = true;
}

SCENARIO(iterate_clear_deaths, "iterate-clear-deaths", "a clear and deaths during an iteration", struct iter,
	 others_setup, all_gone, 0, iterate, die_all, clear);

/* The table ends under an open iterator. */
static void open_then_end(void *state)
{
	struct iter *s = state;
	hapax_iter *iter = NULL;

	if (hapax_table_iterate(s->k.table, &iter))
		model_fail("hapax_table_iterate failed");
	end_table(state);
	walk(s, iter);
	for (unsigned id = 1; id <= KIT_ITEMS; id++)
		MODEL_CHECK(!s->seen[id], "an iterator of a table that has ended yielded object %u", id);
}

SCENARIO(iterate_end, "iterate-end", "a table ends under an iterator while an object dies", struct iter, setup,
	 all_gone, 1, open_then_end, die_0);

/* Of a cache, while it loads. */
static void cache_setup(void *state)
{
	struct iter *s = state;

	kit_open(&s->k, 0, 0);
	kit_cache(&s->k, 0, KIT_IN_PLACE);
	s->item[0] = kit_get(&s->k, 0);
}

static void iterate_cache(void *state)
{
	struct iter *s = state;
	hapax_iter *iter = NULL;

	if (hapax_cache_iterate(s->k.cache, &iter))
		model_fail("hapax_cache_iterate failed");
	walk(s, iter);
}

static void get_1(void *state) { kit_give(state, 1, kit_get(state, 1)); }

static void cache_finish(void *state)
{
	struct iter *s = state;

	MODEL_CHECK(s->seen[1] == 1, "an object present throughout was yielded %u times", s->seen[1]);
	kit_give(&s->k, 0, s->item[0]);
	kit_close(&s->k, 0);
}

SCENARIO(iterate_cache_load, "iterate-cache", "an iteration of a cache that loads", struct iter, cache_setup,
	 cache_finish, 2, iterate_cache, get_1);
