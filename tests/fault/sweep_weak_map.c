/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_weak_map.c - the calls of hapax/weak_map.h and hapax/intern.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"
#include "unit/maps.h"

/*
 * Of the row that runs. Map: item 0 has item 1, `spare` has a fresh item; set: item 0 and `spare`; interner: item 0 under its id.
 */
static hapax_weak_map *map, *another_map;
static hapax_weak_set *set, *another_set;
static hapax_interner *interner, *another_interner;
static hapax_weak_map_iter *map_iter;
static hapax_weak_set_iter *set_iter;
static int last; /* what the last call returned */

static int id_of(const void *object, hapax_key *bytes, void *ctx)
{
	(void)ctx;
	*bytes = hapax_key_bytes(&((const struct item *)object)->id, sizeof(int));
	return 0;
}

static int interner_made(struct world *w, hapax_interner **out)
{
	hapax_interner_options o = {HAPAX_INTERNER_OPTIONS_INIT, .env = w->env, .contents = id_of, .capacity = 100};

	return hapax_interner_create(out, &o);
}

static void begin(struct world *w)
{
	bool added;

	w->out = NULL;
	map = map_new(w->env);
	set = set_new(w->env);
	CHECK_EQ(interner_made(w, &interner), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_put(map, w->item[0], w->item[1]), HAPAX_OK);
	map_give(map, w->spare, world_item(w, &item_type, 300));
	CHECK_EQ(hapax_weak_set_add(set, w->item[0], &added), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_add(set, w->spare, &added), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_iterate(map, &map_iter), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_iterate(set, &set_iter), HAPAX_OK);
	CHECK_EQ(hapax_intern(interner, w->item[0], &w->out, NULL), HAPAX_OK);
	world_drop_out(w);
}

/* An error changed nothing; and whatever memory there is, all of this ends. */
static void end(struct world *w)
{
	if (last < 0) {
		map_check(map, 2);
		set_check(set, 2);
		CHECK_PTR(map_peek(map, w->item[0]), w->item[1]);
		CHECK_EQ(hapax_interner_size(interner), 1);
	} else {
		if (map)
			map_check(map, hapax_weak_map_size(map));
		if (set)
			set_check(set, hapax_weak_set_size(set));
	}
	hapax_weak_map_close(map_iter);
	hapax_weak_set_close(set_iter);
	hapax_weak_map_destroy(map);
	hapax_weak_set_destroy(set);
	hapax_interner_destroy(interner);
	hapax_weak_map_destroy(another_map);
	hapax_weak_set_destroy(another_set);
	hapax_interner_destroy(another_interner);
	map = another_map = NULL;
	set = another_set = NULL;
	interner = another_interner = NULL;
	map_iter = NULL;
	set_iter = NULL;
	last = 0;
}

#define CALL(name, expression)                                                                                           \
	static int name(struct world *w)                                                                              \
	{                                                                                                             \
		(void)w;                                                                                              \
		return last = (expression);                                                                           \
	}
#define MAPS .prepare = begin, .end = end

static void fine(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
}

/* ---- making and ending ------------------------------------------------------------------------------------------ */

static int make_map(struct world *w)
{
	hapax_weak_map_options o = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = w->env, .capacity = 1000};
	hapax_weak_map *made = (void *)1;
	int rc = hapax_weak_map_create(&made, &o);

	CHECK((rc == 0) == (made != NULL));
	hapax_weak_map_destroy(another_map);
	another_map = made;
	return last = rc;
}

static int make_set(struct world *w)
{
	hapax_weak_set_options o = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = w->env, .capacity = 1000};
	hapax_weak_set *made = (void *)1;
	int rc = hapax_weak_set_create(&made, &o);

	CHECK((rc == 0) == (made != NULL));
	hapax_weak_set_destroy(another_set);
	another_set = made;
	return last = rc;
}

static int make_interner(struct world *w)
{
	hapax_interner *made = (void *)1;
	int rc = interner_made(w, &made);

	CHECK((rc == 0) == (made != NULL));
	hapax_interner_destroy(another_interner);
	another_interner = made;
	return last = rc;
}

SWEEP(hapax_weak_map_create, sized, MAPS, .nomem = true, .call = make_map, .done = fine)
SWEEP(hapax_weak_set_create, sized, MAPS, .nomem = true, .call = make_set, .done = fine)
SWEEP(hapax_interner_create, sized, MAPS, .nomem = true, .call = make_interner, .done = fine)

static int destroy_map(struct world *w)
{
	(void)w;
	hapax_weak_map_destroy(map);
	map = NULL;
	return 0;
}

static void map_destroyed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_count(w->item[1]), 1);
	CHECK_EQ(w->destroyed, 1);
	CHECK_EQ(hapax_weak_map_next(map_iter, NULL, NULL), HAPAX_EMPTY);
}

SWEEP(hapax_weak_map_destroy, two, MAPS, .call = destroy_map, .done = map_destroyed)

static int destroy_set(struct world *w)
{
	(void)w;
	hapax_weak_set_destroy(set);
	set = NULL;
	return 0;
}

static void set_destroyed(struct world *w, int status)
{
	fine(w, status);
	CHECK_EQ(hapax_weak_set_next(set_iter, &w->out), HAPAX_EMPTY);
}

SWEEP(hapax_weak_set_destroy, two, MAPS, .call = destroy_set, .done = set_destroyed)

static int destroy_interner(struct world *w)
{
	(void)w;
	hapax_interner_destroy(interner);
	interner = NULL;
	return 0;
}

SWEEP(hapax_interner_destroy, one, MAPS, .call = destroy_interner, .done = fine)

/* ---- writing ---------------------------------------------------------------------------------------------------- */

CALL(map_put_new, hapax_weak_map_put(map, w->item[3], w->item[2]))
CALL(map_put_over, hapax_weak_map_put(map, w->item[0], w->item[2]))

static void map_put_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(map_peek(map, w->item[3]), w->item[2]);
	CHECK_EQ(hapax_count(w->item[2]), 2);
	map_check(map, 3);
}

static void map_put_over_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(map_peek(map, w->item[0]), w->item[2]);
	CHECK_EQ(hapax_count(w->item[1]), 1);
	map_check(map, 2);
}

SWEEP(hapax_weak_map_put, new_key, MAPS, .nomem = true, .call = map_put_new, .done = map_put_done)
SWEEP(hapax_weak_map_put, over, MAPS, .call = map_put_over, .done = map_put_over_done)

CALL(map_get_or_put_new, hapax_weak_map_get_or_put(map, w->item[3], w->item[2], &w->out, &w->flag))
CALL(map_get_or_put_old, hapax_weak_map_get_or_put(map, w->item[0], w->item[2], &w->out, &w->flag))

static void map_got_new(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[2]);
	CHECK(w->flag);
	CHECK_EQ(hapax_count(w->item[2]), 3);
	map_check(map, 3);
}

static void map_got_old(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[1]);
	CHECK(!w->flag);
	CHECK_EQ(hapax_count(w->item[2]), 1);
}

SWEEP(hapax_weak_map_get_or_put, absent, MAPS, .nomem = true, .call = map_get_or_put_new, .done = map_got_new)
SWEEP(hapax_weak_map_get_or_put, present, MAPS, .call = map_get_or_put_old, .done = map_got_old)

CALL(set_add_new, hapax_weak_set_add(set, w->item[3], &w->flag))
CALL(set_add_old, hapax_weak_set_add(set, w->item[0], &w->flag))

static void set_added(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->flag);
	CHECK_EQ(hapax_weak_set_contains(set, w->item[3]), 1);
	set_check(set, 3);
}

static void set_was_there(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!w->flag);
	set_check(set, 2);
}

SWEEP(hapax_weak_set_add, absent, MAPS, .nomem = true, .call = set_add_new, .done = set_added)
SWEEP(hapax_weak_set_add, present, MAPS, .call = set_add_old, .done = set_was_there)

CALL(intern_new, hapax_intern(interner, w->item[3], &w->out, &w->flag))
CALL(intern_old, hapax_intern(interner, w->item[0], &w->out, &w->flag))

static void interned(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[3]);
	CHECK(w->flag);
	CHECK_EQ(hapax_interner_size(interner), 2);
}

static void was_interned(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[0]);
}

SWEEP(hapax_intern, absent, MAPS, .nomem = true, .call = intern_new, .done = interned)
SWEEP(hapax_intern, present, MAPS, .call = intern_old, .done = was_interned)

/* ---- copies ----------------------------------------------------------------------------------------------------- */

static void begin_copy(struct world *w)
{
	begin(w);
	another_map = map_new(w->env);
	another_set = set_new(w->env);
}

static int copy_map(struct world *w)
{
	w->size = 99;
	return last = hapax_weak_map_copy(another_map, map, &w->size);
}

static int copy_set(struct world *w)
{
	w->size = 99;
	return last = hapax_weak_set_copy(another_set, set, &w->size);
}

/* On an error as many are there as it says. */
static void map_copied(struct world *w, int status)
{
	CHECK(status == HAPAX_OK || status == HAPAX_ENOMEM);
	CHECK(status != HAPAX_OK || w->size == 2);
	map_check(another_map, w->size);
	map_check(map, 2);
}

static void set_copied(struct world *w, int status)
{
	CHECK(status == HAPAX_OK || status == HAPAX_ENOMEM);
	CHECK(status != HAPAX_OK || w->size == 2);
	set_check(another_set, w->size);
	set_check(set, 2);
}

SWEEP(hapax_weak_map_copy, two, .prepare = begin_copy, .end = end, .nomem = true, .errors_change = true, .call = copy_map,
      .done = map_copied)
SWEEP(hapax_weak_set_copy, two, .prepare = begin_copy, .end = end, .nomem = true, .errors_change = true, .call = copy_set,
      .done = set_copied)

static int shoot_map(struct world *w)
{
	hapax_weak_map *made = (void *)1;
	int rc = hapax_weak_map_snapshot(map, &made);

	(void)w;
	CHECK((rc == 0) == (made != NULL));
	hapax_weak_map_destroy(another_map);
	another_map = made;
	return last = rc;
}

static int shoot_set(struct world *w)
{
	hapax_weak_set *made = (void *)1;
	int rc = hapax_weak_set_snapshot(set, &made);

	(void)w;
	CHECK((rc == 0) == (made != NULL));
	hapax_weak_set_destroy(another_set);
	another_set = made;
	return last = rc;
}

static void map_shot(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	map_check(another_map, 2);
	CHECK_PTR(map_peek(another_map, w->item[0]), w->item[1]);
}

static void set_shot(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	set_check(another_set, 2);
	CHECK_EQ(hapax_weak_set_contains(another_set, w->item[0]), 1);
}

SWEEP(hapax_weak_map_snapshot, two, MAPS, .nomem = true, .call = shoot_map, .done = map_shot)
SWEEP(hapax_weak_set_snapshot, two, MAPS, .nomem = true, .call = shoot_set, .done = set_shot)

/* ---- what needs no memory --------------------------------------------------------------------------------------- */

CALL(map_get, hapax_weak_map_get(map, w->item[0], &w->out))

static void map_got(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[1]);
	CHECK_EQ(hapax_count(w->item[1]), 3);
}

SWEEP(hapax_weak_map_get, present, MAPS, .call = map_get, .done = map_got)

static int contains(struct world *w)
{
	CHECK_EQ(hapax_weak_map_contains(map, w->item[2]), 0);
	CHECK_EQ(hapax_weak_set_contains(set, w->item[2]), 0);
	CHECK_EQ(hapax_weak_set_contains(set, w->item[0]), 1);
	return hapax_weak_map_contains(map, w->item[0]);
}

static void is_one(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, 1);
}

SWEEP(hapax_weak_map_contains, both, MAPS, .call = contains, .done = is_one)
SWEEP(hapax_weak_set_contains, both, MAPS, .call = contains, .done = is_one)

CALL(map_size, (int)hapax_weak_map_size(map) - 1)
CALL(set_size, (int)hapax_weak_set_size(set) - 1)
CALL(interner_size, (int)hapax_interner_size(interner))

SWEEP(hapax_weak_map_size, two, MAPS, .call = map_size, .done = is_one)
SWEEP(hapax_weak_set_size, two, MAPS, .call = set_size, .done = is_one)
SWEEP(hapax_interner_size, one, MAPS, .call = interner_size, .done = is_one)

static int find_interned(struct world *w)
{
	return hapax_intern_find(interner, HAPAX_KEY_OF(w->item[0]->id), &w->out);
}

SWEEP(hapax_intern_find, present, MAPS, .call = find_interned, .done = was_interned)

CALL(map_remove, hapax_weak_map_remove(map, w->item[0]))
CALL(map_pop, hapax_weak_map_pop(map, w->item[0], &w->out))

static void map_removed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!map_peek(map, w->item[0]));
	CHECK_EQ(hapax_count(w->item[1]), 1 + (w->out != NULL));
	map_check(map, 1);
}

SWEEP(hapax_weak_map_remove, present, MAPS, .call = map_remove, .done = map_removed)
SWEEP(hapax_weak_map_pop, present, MAPS, .call = map_pop, .done = map_removed)

static int map_pop_any(struct world *w)
{
	void *key;
	int rc = hapax_weak_map_pop_any(map, &key, &w->out);

	hapax_release(key);
	return rc;
}

static void one_left(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->out);
	CHECK_EQ(hapax_weak_map_size(map) + hapax_weak_set_size(set), 3);
}

SWEEP(hapax_weak_map_pop_any, two, MAPS, .call = map_pop_any, .done = one_left)

CALL(set_pop, hapax_weak_set_pop(set, &w->out))
SWEEP(hapax_weak_set_pop, two, MAPS, .call = set_pop, .done = one_left)

CALL(set_remove, hapax_weak_set_remove(set, w->item[0]))

static void set_removed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_weak_set_contains(set, w->item[0]), 0);
	set_check(set, 1);
}

SWEEP(hapax_weak_set_remove, present, MAPS, .call = set_remove, .done = set_removed)

static int clear(struct world *w)
{
	(void)w;
	hapax_weak_map_clear(map);
	hapax_weak_set_clear(set);
	return 0;
}

static void cleared(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	map_check(map, 0);
	set_check(set, 0);
	CHECK_EQ(hapax_count(w->item[1]), 1);
	CHECK_EQ(w->destroyed, 1);
}

SWEEP(hapax_weak_map_clear, two, MAPS, .call = clear, .done = cleared)
SWEEP(hapax_weak_set_clear, two, MAPS, .call = clear, .done = cleared)

/* A key's death releases its data; no memory at all. */
static int death(struct world *w)
{
	hapax_release(w->spare);
	w->spare = NULL;
	return 0;
}

static void died(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->destroyed, 2);
	map_check(map, 1);
	set_check(set, 1);
}

SWEEP(hapax_release, of_a_key, MAPS, .call = death, .done = died)

/* ---- iterators -------------------------------------------------------------------------------------------------- */

static int iterate_map(struct world *w)
{
	hapax_weak_map_iter *made = (void *)1;
	int rc = hapax_weak_map_iterate(map, &made);

	(void)w;
	CHECK((rc == 0) == (made != NULL));
	if (made) {
		hapax_weak_map_close(map_iter);
		map_iter = made;
	}
	return last = rc;
}

static int iterate_set(struct world *w)
{
	hapax_weak_set_iter *made = (void *)1;
	int rc = hapax_weak_set_iterate(set, &made);

	(void)w;
	CHECK((rc == 0) == (made != NULL));
	if (made) {
		hapax_weak_set_close(set_iter);
		set_iter = made;
	}
	return last = rc;
}

static int next_of_both(struct world *w)
{
	void *key = (void *)1, *data = (void *)1;

	(void)w;
	CHECK_EQ(hapax_weak_set_next(set_iter, &key), HAPAX_OK);
	CHECK(key);
	CHECK_EQ(hapax_weak_map_next(map_iter, &key, &data), HAPAX_OK);
	CHECK(key && data);
	return 0;
}

static void iterates(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(next_of_both(w), 0);
	CHECK_EQ(next_of_both(w), 0);
	CHECK_EQ(hapax_weak_map_next(map_iter, NULL, NULL), HAPAX_EMPTY);
	CHECK_EQ(hapax_weak_set_next(set_iter, &w->out), HAPAX_EMPTY);
}

SWEEP(hapax_weak_map_iterate, two, MAPS, .nomem = true, .call = iterate_map, .done = iterates)
SWEEP(hapax_weak_set_iterate, two, MAPS, .nomem = true, .call = iterate_set, .done = iterates)
SWEEP(hapax_weak_map_next, first, MAPS, .call = next_of_both, .done = fine)
SWEEP(hapax_weak_set_next, first, MAPS, .call = next_of_both, .done = fine)

static void begin_stepped(struct world *w)
{
	begin(w);
	CHECK_EQ(next_of_both(w), 0);
}

static int close_both(struct world *w)
{
	(void)w;
	hapax_weak_map_close(map_iter);
	hapax_weak_set_close(set_iter);
	map_iter = NULL;
	set_iter = NULL;
	return 0;
}

static void closed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_count(w->item[0]), 1);
	CHECK_EQ(hapax_count(w->item[1]), 2);
	CHECK_EQ(hapax_count(w->spare), 1);
}

SWEEP(hapax_weak_map_close, in_the_middle, .prepare = begin_stepped, .end = end, .call = close_both, .done = closed)
SWEEP(hapax_weak_set_close, in_the_middle, .prepare = begin_stepped, .end = end, .call = close_both, .done = closed)
