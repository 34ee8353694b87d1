/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/weak_map.c - data under objects that die: the death of a key, or of a member, against everything that may
 * be done with its entry meanwhile. That data is released exactly once is the ledger's to say: it is destroyed, once,
 * and not while anybody holds it.
 *
 * Faults put in on purpose that show here: IDENT_TAKEN_TWICE, IDENT_OVER_TWICE, IDENT_DEATH_TOO.
 */
#include "model/scenarios/kit.h"

/* Keys have an even number in the ledger, data of the key the odd one above it. */
struct map {
	struct kit k;
	hapax_weak_map *map, *second;
	hapax_weak_set *set;
	struct item *key, *other, *data[2];
	struct probe p;
	unsigned again;
	size_t seen;
	void *got[3];
	bool popped;
};

static void expect(int status, int expected, const char *call)
{
	MODEL_CHECK(status == expected, "%s: %s, not %s", call, hapax_status_name(status), hapax_status_name(expected));
}

static hapax_weak_map *map_new(struct kit *k)
{
	hapax_weak_map_options o = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = k->env};
	hapax_weak_map *map = NULL;

	expect(hapax_weak_map_create(&map, &o), 0, "hapax_weak_map_create");
	return map;
}

static void put(struct map *s, struct item *key, struct item *data)
{
	expect(hapax_weak_map_put(s->map, key, data), 0, "hapax_weak_map_put");
}

/* Data that the map alone holds, from here on. */
static void put_own(struct map *s, struct item *key)
{
	struct item *data = kit_new(&s->k, 1);

	put(s, key, data);
	hapax_release(data);
}

static void retain(struct item *item) { expect(hapax_retain(item), 0, "hapax_retain"); }

/* One key, held once; its data is the map's alone. */
static void held_setup(void *state)
{
	struct map *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	s->map = map_new(&s->k);
	s->key = kit_new(&s->k, 0);
	put_own(s, s->key);
}

/* The same, and a second thread holds the key. */
static void shared_setup(void *state)
{
	held_setup(state);
	retain(((struct map *)state)->key);
}

/* The same again, and there is a callback on the key: in it the data has been let go of. */
static void gone(struct probe *p)
{
	struct map *s = p->arg;

	MODEL_CHECK(!s->map || !hapax_weak_map_size(s->map), "in the key's callback the map has %zu entries",
		    hapax_weak_map_size(s->map));
}

static void watched_setup(void *state)
{
	struct map *s = state;

	shared_setup(state);
	probe_on(&s->p, s->key);
	s->p.then = gone;
	s->p.arg = s;
}

static void release(void *state) { hapax_release(((struct map *)state)->key); }

static void dead_finish(void *state)
{
	struct map *s = state;

	if (s->map)
		MODEL_CHECK(!hapax_weak_map_size(s->map), "all keys are dead, and the map has %zu entries",
			    hapax_weak_map_size(s->map));
	for (unsigned i = 0; i < 2; i++)
		hapax_release(s->data[i]);
	for (unsigned id = 1; id <= s->k.last; id++)
		MODEL_CHECK(s->k.life[id].destroyed, "object %u outlives its key", id);
	hapax_weak_map_destroy(s->map);
	hapax_weak_map_destroy(s->second);
	hapax_weak_set_destroy(s->set);
	kit_close(&s->k, 0);
}

static void watched_finish(void *state)
{
	struct map *s = state;

	MODEL_CHECK(s->p.calls == 1, "the key's callback ran %u times", s->p.calls);
	hapax_weak_drop(s->p.weak);
	dead_finish(state);
}

/* ---- the death of a key ------------------------------------------------------------------------------------------ */

static void put_release(void *state)
{
	struct map *s = state;

	put_own(s, s->key);
	hapax_release(s->key);
}

static void remove_release(void *state)
{
	struct map *s = state;
	int status = hapax_weak_map_remove(s->map, s->key);

	expect(status, 0, "hapax_weak_map_remove");
	expect(hapax_weak_map_remove(s->map, s->key), HAPAX_MISS, "hapax_weak_map_remove");
	hapax_release(s->key);
}

static void pop_release(void *state)
{
	struct map *s = state;
	void *data = NULL;

	expect(hapax_weak_map_pop(s->map, s->key, &data), 0, "hapax_weak_map_pop");
	kit_give(&s->k, 1, kit_hold(&s->k, 1, data));
	hapax_release(s->key);
}

static void get_release(void *state)
{
	struct map *s = state;
	void *data = NULL;
	struct item *item;

	expect(hapax_weak_map_get(s->map, s->key, &data), 0, "hapax_weak_map_get");
	item = kit_hold(&s->k, 1, data);
	hapax_release(s->key);
	model_yield();
	kit_give(&s->k, 1, item);
}

static void clear(void *state) { hapax_weak_map_clear(((struct map *)state)->map); }

static void end_map(void *state)
{
	struct map *s = state;
	hapax_weak_map *map = s->map;

	s->map = NULL;
	hapax_weak_map_destroy(map);
}

static unsigned walk(struct map *s)
{
	hapax_weak_map_iter *iter = NULL;
	void *key = NULL, *data = NULL;
	unsigned seen = 0;
	int status;

	expect(hapax_weak_map_iterate(s->map, &iter), 0, "hapax_weak_map_iterate");
	while (!(status = hapax_weak_map_next(iter, &key, &data))) {
		struct item *item = kit_hold(&s->k, 0, key), *its = kit_hold(&s->k, 1, data);

		seen++;
		model_yield();
		kit_unhold(&s->k, 1, its);
		kit_unhold(&s->k, 0, item);
	}
	expect(status, HAPAX_EMPTY, "hapax_weak_map_next");
	hapax_weak_map_close(iter);
	return seen;
}

static void iterate(void *state) { MODEL_CHECK(walk(state) <= 1, "one entry is given twice"); }

static void pop_any(void *state)
{
	struct map *s = state;
	void *key = NULL, *data = NULL;
	int status = hapax_weak_map_pop_any(s->map, &key, &data);

	if (status) {
		expect(status, HAPAX_EMPTY, "hapax_weak_map_pop_any");
		return;
	}
	kit_give(&s->k, 1, kit_hold(&s->k, 1, data));
	kit_give(&s->k, 0, kit_hold(&s->k, 0, key));
}

SCENARIO(map_death_put, "map-death-put", "a put under a key against its death", struct map, watched_setup,
	 watched_finish, 2, release, put_release);
SCENARIO(map_death_remove, "map-death-remove", "a removal against the key's death", struct map, watched_setup,
	 watched_finish, 2, release, remove_release);
SCENARIO(map_death_pop, "map-death-pop", "a pop against the key's death", struct map, watched_setup, watched_finish, 2,
	 release, pop_release);
SCENARIO(map_death_get, "map-death-get", "data that was got is held beyond its key's death", struct map, watched_setup,
	 watched_finish, 2, release, get_release);
SCENARIO(map_death_clear, "map-death-clear", "a clear against the key's death", struct map, held_setup, dead_finish, 2,
	 release, clear);
SCENARIO(map_death_end, "map-death-end", "a map ends while its key dies", struct map, held_setup, dead_finish, 2,
	 release, end_map);
SCENARIO(map_death_iterate, "map-death-iterate", "an iteration against the key's death", struct map, held_setup,
	 dead_finish, 2, release, iterate);
SCENARIO(map_death_pop_any, "map-death-pop-any", "taking any entry against the key's death", struct map, held_setup,
	 dead_finish, 2, release, pop_any);

static void three_finish(void *state) { dead_finish(state); }

SCENARIO(map_death_clear_pop, "map-death-clear-pop", "a clear, a pop of any, and the key's death", struct map,
	 held_setup, three_finish, 1, release, clear, pop_any);
SCENARIO(map_death_put_clear, "map-death-put-clear", "a put, a clear, and the key's death", struct map, shared_setup,
	 three_finish, 1, release, put_release, clear);

/* One key in two maps: each lets go of its own. */
static void two_setup(void *state)
{
	struct map *s = state;
	struct item *data;

	held_setup(state);
	s->second = map_new(&s->k);
	data = kit_new(&s->k, 1);
	expect(hapax_weak_map_put(s->second, s->key, data), 0, "hapax_weak_map_put");
	hapax_release(data);
}

static void end_second(void *state)
{
	struct map *s = state;
	hapax_weak_map *map = s->second;

	s->second = NULL;
	hapax_weak_map_destroy(map);
}

SCENARIO(map_death_two, "map-death-two", "a key of two maps dies while one is cleared and one ends", struct map,
	 two_setup, three_finish, 1, release, clear, end_second);

/* A copy holds the same data by references of its own, under keys that are alive. */
static void copy_setup(void *state)
{
	held_setup(state);
	((struct map *)state)->second = map_new(&((struct map *)state)->k);
}

static void copy(void *state)
{
	struct map *s = state;
	size_t copied = 7;

	expect(hapax_weak_map_copy(s->second, s->map, &copied), 0, "hapax_weak_map_copy");
	MODEL_CHECK(copied <= 1, "%zu copied", copied);
}

static void copy_finish(void *state)
{
	struct map *s = state;

	MODEL_CHECK(!hapax_weak_map_size(s->second), "the copy has an entry of a dead key");
	dead_finish(state);
}

SCENARIO(map_death_copy, "map-death-copy", "a map is copied while its key dies", struct map, copy_setup, copy_finish, 2,
	 release, copy);

/* ---- another object at the same address -------------------------------------------------------------------------- */

/* The memory is used again at once where the grace period allows it: the new object must find nothing that is not its
 * own. */
static void again(void *state)
{
	struct map *s = state;

	hapax_release(s->key);
	for (unsigned i = 0; i < 2; i++) {
		struct item *fresh;
		void *data = (void *)1;

		hapax_reclaim(s->k.env);
		fresh = kit_new(&s->k, 0);
		expect(hapax_weak_map_get(s->map, fresh, &data), HAPAX_MISS,
		       "hapax_weak_map_get of what was never put");
		put_own(s, fresh);
		expect(hapax_weak_map_get(s->map, fresh, &data), 0, "hapax_weak_map_get");
		MODEL_CHECK(((struct item *)data)->id == s->k.last, "data of an older object is found");
		kit_give(&s->k, 1, kit_hold(&s->k, 1, data));
		hapax_release(fresh);
	}
}

static void reclaim(void *state)
{
	struct map *s = state;

	hapax_reclaim(s->k.env);
	hapax_reclaim(s->k.env);
}

static void walk_twice(void *state)
{
	walk(state);
	walk(state);
}

SCENARIO_FLAGS(MODEL_LONG, map_again, "map-again",
	       "objects follow one another in the same memory, each with data of its own", struct map, held_setup,
	       dead_finish, 1, again, reclaim);
SCENARIO_FLAGS(MODEL_LONG, map_again_iterate, "map-again-iterate", "the same against an iteration", struct map,
	       held_setup, dead_finish, 1, again, walk_twice);

/* ---- a key that lives -------------------------------------------------------------------------------------------- */

/* The key is the scenario's to the end. */
static void alive_setup(void *state)
{
	struct map *s = state;

	held_setup(state);
	s->data[0] = kit_new(&s->k, 1);
	s->data[1] = kit_new(&s->k, 1);
}

static void empty_setup(void *state)
{
	struct map *s = state;

	alive_setup(state);
	expect(hapax_weak_map_remove(s->map, s->key), 0, "hapax_weak_map_remove");
}

static void put_0(void *state) { put(state, ((struct map *)state)->key, ((struct map *)state)->data[0]); }
static void put_1(void *state) { put(state, ((struct map *)state)->key, ((struct map *)state)->data[1]); }

static void look(void *state)
{
	struct map *s = state;
	void *data = NULL;
	int status = hapax_weak_map_get(s->map, s->key, &data);

	expect(status, 0, "hapax_weak_map_get of a key that is replaced");
	kit_give(&s->k, 1, kit_hold(&s->k, 1, data));
}

static void look_again(void *state)
{
	struct map *s = state;
	void *data = NULL;
	int status = hapax_weak_map_get(s->map, s->key, &data);

	if (status)
		expect(status, HAPAX_MISS, "hapax_weak_map_get");
	else
		kit_give(&s->k, 1, kit_hold(&s->k, 1, data));
}

static void remove_one(void *state)
{
	struct map *s = state;
	int status = hapax_weak_map_remove(s->map, s->key);

	if (status)
		expect(status, HAPAX_MISS, "hapax_weak_map_remove");
}

static void pop_one(void *state)
{
	struct map *s = state;
	void *data = NULL;
	int status = hapax_weak_map_pop(s->map, s->key, &data);

	if (status)
		expect(status, HAPAX_MISS, "hapax_weak_map_pop");
	else
		kit_give(&s->k, 1, kit_hold(&s->k, 1, data));
}

static void offer(struct map *s, unsigned n)
{
	bool inserted = false;

	expect(hapax_weak_map_get_or_put(s->map, s->key, s->data[n], &s->got[n], &inserted), 0,
	       "hapax_weak_map_get_or_put");
	kit_hold(&s->k, 1, s->got[n]);
	if (inserted)
		MODEL_CHECK(s->got[n] == s->data[n], "inserted, and another is given");
}

static void offer_0(void *state) { offer(state, 0); }
static void offer_1(void *state) { offer(state, 1); }

/* What is in is what the map says, held by it once. */
static void alive_end(struct map *s, bool must)
{
	void *data = NULL;
	int status = hapax_weak_map_get(s->map, s->key, &data);

	MODEL_CHECK(!status || (!must && status == HAPAX_MISS), "hapax_weak_map_get: %s", hapax_status_name(status));
	MODEL_CHECK(hapax_weak_map_size(s->map) == !status, "%zu entries", hapax_weak_map_size(s->map));
	if (data)
		MODEL_CHECK(hapax_count(data) == (data == s->data[0] || data == s->data[1]) + 2u, "%u references",
			    (unsigned)hapax_count(data));
	hapax_release(data);
	for (unsigned i = 0; i < 2; i++)
		if (s->data[i] != data)
			MODEL_CHECK(hapax_count(s->data[i]) == 1, "what is not in has %u references",
				    (unsigned)hapax_count(s->data[i]));
	hapax_release(s->key);
	dead_finish(s);
}

static void put_finish(void *state) { alive_end(state, true); }
static void maybe_finish(void *state) { alive_end(state, false); }

static void offer_finish(void *state)
{
	struct map *s = state;

	MODEL_CHECK(s->got[0] == s->got[1] || s->popped, "two threads that offer data got different ones");
	for (unsigned i = 0; i < 2; i++)
		kit_give(&s->k, 1, s->got[i]);
	alive_end(s, !s->popped);
}

SCENARIO(map_replace_get, "map-replace-get", "data is got while it is replaced", struct map, alive_setup, put_finish, 2,
	 put_0, look);
SCENARIO(map_replace_two, "map-replace-two", "two puts replace data that a third thread gets", struct map, alive_setup,
	 put_finish, 1, put_0, put_1, look);
SCENARIO(map_remove_get, "map-remove-get", "data is got while it is removed", struct map, alive_setup, maybe_finish, 2,
	 remove_one, look_again);
SCENARIO(map_pop_two, "map-pop-two", "two threads pop, a third removes", struct map, alive_setup, maybe_finish, 1,
	 pop_one, pop_one, remove_one);
SCENARIO(map_put_pop, "map-put-pop", "a put against a pop and a clear", struct map, alive_setup, maybe_finish, 1, put_0,
	 pop_one, clear);
SCENARIO(map_offer, "map-offer", "two threads offer data for one key: both get the same", struct map, empty_setup,
	 offer_finish, 2, offer_0, offer_1);

static void offer_pop(void *state)
{
	((struct map *)state)->popped = true;
	pop_one(state);
}

SCENARIO(map_offer_pop, "map-offer-pop", "two threads offer data for one key while a third pops it", struct map,
	 empty_setup, offer_finish, 1, offer_0, offer_1, offer_pop);

/* ---- sets -------------------------------------------------------------------------------------------------------- */

static void set_setup(void *state)
{
	struct map *s = state;
	hapax_weak_set_options o = {HAPAX_WEAK_SET_OPTIONS_INIT};

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	o.env = s->k.env;
	expect(hapax_weak_set_create(&s->set, &o), 0, "hapax_weak_set_create");
	s->key = kit_new(&s->k, 0);
	expect(hapax_weak_set_add(s->set, s->key, NULL), 0, "hapax_weak_set_add");
}

static void set_shared_setup(void *state)
{
	set_setup(state);
	retain(((struct map *)state)->key);
}

static void set_add(void *state)
{
	struct map *s = state;
	bool added = false;

	expect(hapax_weak_set_add(s->set, s->key, &added), 0, "hapax_weak_set_add");
	s->seen += added;
	hapax_release(s->key);
}

static void set_pop(void *state)
{
	struct map *s = state;
	void *object = NULL;
	int status = hapax_weak_set_pop(s->set, &object);

	if (status) {
		expect(status, HAPAX_EMPTY, "hapax_weak_set_pop");
		return;
	}
	s->popped = true;
	kit_give(&s->k, 0, kit_hold(&s->k, 0, object));
}

static void set_end(void *state)
{
	struct map *s = state;
	hapax_weak_set *set = s->set;

	s->set = NULL;
	hapax_weak_set_destroy(set);
}

static void set_clear(void *state) { hapax_weak_set_clear(((struct map *)state)->set); }

static void set_finish(void *state)
{
	struct map *s = state;

	if (s->set)
		MODEL_CHECK(!hapax_weak_set_size(s->set), "all members are dead, and the set has %zu",
			    hapax_weak_set_size(s->set));
	MODEL_CHECK(!s->seen || s->popped, "a member was added anew, and nobody had taken it out");
	dead_finish(state);
}

SCENARIO(set_death_pop, "set-death-pop", "a pop from a set whose member dies", struct map, set_setup, set_finish, 2,
	 release, set_pop);
SCENARIO(set_death_add, "set-death-add", "a member is added again and popped while it dies", struct map,
	 set_shared_setup, set_finish, 1, release, set_add, set_pop);
SCENARIO(set_death_end, "set-death-end", "a set ends while its member dies", struct map, set_setup, set_finish, 2,
	 release, set_end);
SCENARIO(set_death_clear, "set-death-clear", "a set is cleared while its member dies", struct map, set_setup,
	 set_finish, 2, release, set_clear);
