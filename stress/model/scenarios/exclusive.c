/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/exclusive.c - caches that make no new instance before the destructor of the old one has returned.
 *
 * Faults put in on purpose that show here: EXCLUSIVE_EARLY.
 */
#include "model/scenarios/kit.h"

struct excl {
	struct kit k;
	struct item *a, *b;
	int status[3];
	unsigned made; /* objects of the key that exist, by the scenario's own count */
	bool removed;
};

static void slow_end(struct kit *k, struct item *item)
{
	(void)k;
	(void)item;
	model_yield();
	model_yield();
}

static int alone(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)item;
	(void)error;
	MODEL_CHECK(k->living[key] == 1, "key %u has %u instances", key, k->living[key]);
	model_yield();
	MODEL_CHECK(k->living[key] == 1, "key %u has %u instances", key, k->living[key]);
	return HAPAX_LOAD_OK;
}

static void setup(struct excl *s, enum kit_form form)
{
	kit_open(&s->k, 0, 0);
	kit_cache(&s->k, HAPAX_CACHE_EXCLUSIVE, form);
	s->k.then = alone;
	s->k.on_destroy = slow_end;
}

static void in_place_setup(void *state) { setup(state, KIT_IN_PLACE); }
static void made_setup(void *state) { setup(state, KIT_MADE); }

static void get_give(void *state) { kit_give(state, 0, kit_get(state, 0)); }

static void finish(void *state)
{
	struct excl *s = state;

	MODEL_CHECK(s->k.most_living <= 1, "%u instances of a key at once", s->k.most_living);
	kit_close(&s->k, 0);
}

SCENARIO(exclusive_gets, "exclusive-gets", "three threads get and release: one instance at a time", struct excl,
	 in_place_setup, finish, 1, get_give, get_give, get_give);
SCENARIO(exclusive_two, "exclusive-two", "two threads get and release", struct excl, in_place_setup, finish, 2, get_give,
	 get_give);
SCENARIO(exclusive_made, "exclusive-made", "two threads get and release what is made", struct excl, made_setup, finish, 1,
	 get_give, get_give);

/* ---- the next load waits for a death ----------------------------------------------------------------------------- */

static void held_setup(void *state)
{
	struct excl *s = state;

	setup(s, KIT_IN_PLACE);
	s->a = kit_get(&s->k, 0);
}

static void held_made_setup(void *state)
{
	struct excl *s = state;

	setup(s, KIT_MADE);
	s->a = kit_get(&s->k, 0);
}

static void give_a(void *state)
{
	struct excl *s = state;

	kit_give(&s->k, 0, s->a);
}

SCENARIO(exclusive_death, "exclusive-death", "a get waits for the destructor of the instance before", struct excl,
	 held_setup, finish, 1, give_a, get_give);
SCENARIO(exclusive_death_made, "exclusive-death-made", "a get waits for the destructor of a made instance", struct excl,
	 held_made_setup, finish, 1, give_a, get_give);
SCENARIO(exclusive_death_two, "exclusive-death-two", "two gets wait for the destructor of the instance before",
	 struct excl, held_setup, finish, 1, give_a, get_give, get_give);

/* ---- removed and still held -------------------------------------------------------------------------------------- */

static void held_removed_setup(void *state)
{
	struct excl *s = state;

	held_setup(state);
	if (hapax_cache_remove(s->k.cache, kit_key(0)))
		model_fail("hapax_cache_remove failed");
}

static void get_by(struct excl *s, uint64_t deadline)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = deadline};
	void *out = (void *)1;
	int status = hapax_cache_get_with(s->k.cache, kit_key(0), &o, &out);

	MODEL_CHECK((status == 0) == (out != NULL), "a get: %s, and an object", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
	else if (status == HAPAX_EBUSY || status == HAPAX_ETIMEDOUT)
		MODEL_CHECK(deadline != HAPAX_FOREVER && model_now() >= deadline, "a get gave up before its deadline: %s",
			    hapax_status_name(status));
	else
		MODEL_CHECK(status == HAPAX_INFLIGHT && deadline == HAPAX_NO_WAIT, "a get: %s", hapax_status_name(status));
}

static void get_soon(void *state) { get_by(state, model_now() + 500); }
static void get_ever(void *state) { get_by(state, HAPAX_FOREVER); }
static void get_try(void *state) { get_by(state, HAPAX_NO_WAIT); }

static void get_busy(void *state)
{
	struct excl *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(out ? !status : status == HAPAX_EBUSY && !s->removed, "a get: %s", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

static void give_a_late(void *state)
{
	struct excl *s = state;

	model_yield();
	model_advance(1000);
	model_yield();
	kit_give(&s->k, 0, s->a);
	s->removed = true; /* from here on the key is free */
}

SCENARIO(exclusive_held, "exclusive-held", "two wait for an instance that is removed and held, with and without deadline",
	 struct excl, held_removed_setup, finish, 1, give_a_late, get_soon, get_ever);
SCENARIO(exclusive_held_one, "exclusive-held-one", "one waits for an instance that is removed and held", struct excl,
	 held_removed_setup, finish, 3, give_a_late, get_soon);
SCENARIO(exclusive_busy, "exclusive-busy", "two do not wait for an instance that is removed and held", struct excl,
	 held_removed_setup, finish, 2, give_a_late, get_busy, get_try);

/* ---- a load that is fenced --------------------------------------------------------------------------------------- */

static void remove_get(void *state)
{
	struct excl *s = state;
	int status = hapax_cache_remove(s->k.cache, kit_key(0));

	MODEL_CHECK(status == 0 || status == HAPAX_MISS, "hapax_cache_remove: %s", hapax_status_name(status));
	get_by(s, HAPAX_FOREVER);
}

SCENARIO(exclusive_fence, "exclusive-fence", "a load is fenced; the next waits for what came of it", struct excl,
	 in_place_setup, finish, 1, get_give, remove_get);
SCENARIO(exclusive_fence_made, "exclusive-fence-made", "a load of a made object is fenced; the next waits", struct excl,
	 made_setup, finish, 1, get_give, remove_get);

/* ---- put --------------------------------------------------------------------------------------------------------- */

static void put_setup(void *state)
{
	struct excl *s = state;

	setup(s, KIT_IN_PLACE);
	s->a = kit_new(&s->k, 0);
	kit_cache_put(&s->k, 0, s->a);
}

static void release_a(void *state) { hapax_release(((struct excl *)state)->a); }

/* Busy while the old one is there; once it is destroyed, in. */
static void put_b(void *state)
{
	struct excl *s = state;

	s->b = kit_new(&s->k, 0);
	s->status[0] = hapax_cache_put(s->k.cache, kit_key(0), s->b);
	MODEL_CHECK(s->status[0] == HAPAX_EBUSY || (!s->status[0] && s->k.life[1].destroyed), "a put: %s, while the old "
		    "instance is there", hapax_status_name(s->status[0]));
	if (!s->status[0]) {
		struct item *item = kit_peek(&s->k, 0);

		MODEL_CHECK(item == s->b, "what was put is not there");
		kit_give(&s->k, 0, item);
	}
}

static void put_finish(void *state)
{
	struct excl *s = state;

	hapax_release(s->b);
	finish(state);
}

SCENARIO(exclusive_put, "exclusive-put", "a put against the death of what was put before", struct excl, put_setup,
	 put_finish, 1, release_a, put_b);

/* ---- waiting for oneself ----------------------------------------------------------------------------------------- */

static void asks_own(struct kit *k, struct item *item)
{
	void *out = (void *)1;
	int status;

	if (item->id != 1)
		return;
	status = hapax_cache_get(k->cache, kit_key(0), &out);
	MODEL_CHECK(status == HAPAX_EDEADLK && !out, "a destructor asked for its own key: %s", hapax_status_name(status));
}

static void own_setup(void *state)
{
	struct excl *s = state;

	held_setup(state);
	s->k.on_destroy = asks_own;
}

SCENARIO(exclusive_own, "exclusive-own", "a destructor asks for its own key while another get waits for it", struct excl,
	 own_setup, finish, 1, give_a, get_give);

/* Two destructors of two keys ask for each other's: one is refused. */
static void asks_other(struct kit *k, struct item *item)
{
	struct excl *s = (struct excl *)k;
	void *out = (void *)1;
	int status;

	if (item->id > 2)
		return;
	status = hapax_cache_get(k->cache, kit_key(1 - item->key), &out);
	MODEL_CHECK(out ? !status : status == HAPAX_EDEADLK || status == HAPAX_EBUSY, "a destructor asked for a key: %s",
		    hapax_status_name(status));
	s->status[item->key] = status;
	if (out)
		kit_give(k, 1 - item->key, kit_hold(k, 1 - item->key, out));
}

static void cross_setup(void *state)
{
	struct excl *s = state;

	held_setup(state);
	s->b = kit_get(&s->k, 1);
	s->k.on_destroy = asks_other;
}

static void give_b(void *state)
{
	struct excl *s = state;

	kit_give(&s->k, 1, s->b);
}

SCENARIO(exclusive_cross, "exclusive-cross", "two destructors ask for each other's key", struct excl, cross_setup, finish,
	 1, give_a, give_b);

/* Waiters of an exclusive cache are released by its closing. */
static void get_closed(void *state)
{
	struct excl *s = state;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	void *out = (void *)1;
	int status = hapax_cache_get_with(s->k.cache, kit_key(0), &o, &out);

	MODEL_CHECK(status == HAPAX_ECLOSED && !out, "a get: %s, while the old instance is held", hapax_status_name(status));
}

static void close_it(void *state) { hapax_cache_close(((struct excl *)state)->k.cache); }

static void closed_finish(void *state)
{
	struct excl *s = state;

	kit_give(&s->k, 0, s->a);
	finish(state);
}

SCENARIO(exclusive_close, "exclusive-close", "a cache closes while somebody waits for an instance", struct excl,
	 held_removed_setup, closed_finish, 3, get_closed, close_it);
