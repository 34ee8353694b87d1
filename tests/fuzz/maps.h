/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/maps.h - weak maps and weak sets against arrays.
 *
 * The reference knows which data is under which thing, and what a death takes along: an entry, and its data, and what
 * that is the key of. Where one call would let several things die one after another, the step holds them and lets go
 * itself, so that user code finds the world as the reference says.
 */
#ifndef TEST_FUZZ_MAPS_H
#define TEST_FUZZ_MAPS_H

#include "fuzz/things.h"

enum { MAPS = 2, SETS = 2, ITERS = 2 };

struct place {
	struct thing *data; /* NULL: absent */
	uint32_t put;
};

struct map {
	hapax_weak_map *map; /* NULL: none */
	struct place place[THINGS];
};

struct set {
	hapax_weak_set *set;
	uint32_t put[THINGS]; /* 0: no member */
};

struct iter {
	hapax_weak_map_iter *map_iter;
	hapax_weak_set_iter *set_iter;
	struct map *map; /* NULL: destroyed meanwhile */
	struct set *set;
	uint32_t must[THINGS], given[THINGS];
	struct thing *key, *data; /* pinned */
	bool busy, ended;
};

static struct map maps[MAPS];
static struct set sets[SETS];
static struct iter map_iters[ITERS], set_iters[ITERS];
static uint32_t writes;

/* ---- the reference ------------------------------------------------------------------------------------------------
 */

static unsigned slot(const struct thing *t) { return (unsigned)(t - world->thing); }

/* The entry is out: what its data is to become of is the caller's. */
static struct thing *map_leave(struct map *m, unsigned k)
{
	struct thing *data = m->place[k].data;

	for (unsigned i = 0; i < ITERS; i++)
		if (map_iters[i].map == m)
			map_iters[i].must[k] = 0;
	m->place[k] = (struct place){NULL, 0};
	return data;
}

static void set_leave(struct set *s, unsigned k)
{
	for (unsigned i = 0; i < ITERS; i++)
		if (set_iters[i].set == s)
			set_iters[i].must[k] = 0;
	s->put[k] = 0;
}

/* Of all maps and sets: what the death of `t` takes along. */
static void maps_forget(struct thing *t)
{
	unsigned k = slot(t);
	struct thing *data[MAPS];

	for (unsigned i = 0; i < SETS; i++)
		set_leave(&sets[i], k);
	for (unsigned i = 0; i < MAPS; i++)
		data[i] = map_leave(&maps[i], k);
	for (unsigned i = 0; i < MAPS; i++)
		if (data[i] && !fuzz_wrong("KEEPS_DATA"))
			drop_ref(data[i]);
}

static void map_enter(struct map *m, unsigned k, struct thing *data)
{
	bool was = m->place[k].data;

	m->place[k].data = data;
	data->refs++;
	if (!was)
		m->place[k].put = ++writes;
}

static size_t map_size(const struct map *m)
{
	size_t n = 0;

	for (unsigned k = 0; k < THINGS; k++)
		n += m->place[k].data != NULL;
	return n;
}

static size_t set_size(const struct set *s)
{
	size_t n = 0;

	for (unsigned k = 0; k < THINGS; k++)
		n += s->put[k] != 0;
	return n;
}

/* A reference of the step's own, which no other step releases. */
static void pin(struct world *w, struct thing *t)
{
	(void)w;
	FUZZ_CHECK(!hapax_retain(t->object), "retain");
	t->refs++;
}

static void unpin(struct world *w, struct thing *t)
{
	void *object = t->object;

	(void)w;
	drop_ref(t);
	hapax_release(object);
}

/* All data of a map, held while a call takes entries out. */
struct held {
	struct thing *data[THINGS];
};

static void hold_data(struct world *w, const struct map *m, struct held *h)
{
	for (unsigned k = 0; k < THINGS; k++) {
		h->data[k] = m->place[k].data;
		if (h->data[k])
			pin(w, h->data[k]);
	}
}

static void let_go(struct world *w, struct held *h)
{
	for (unsigned k = 0; k < THINGS; k++)
		if (h->data[k])
			unpin(w, h->data[k]);
}

/* ---- maps ---------------------------------------------------------------------------------------------------------
 */

static struct map *pick_map(struct world *w)
{
	struct map *m = &maps[fuzz_below(&w->in, MAPS)];

	return m->map ? m : NULL;
}

static void map_begin(struct world *w, struct map *m)
{
	hapax_weak_map_options o = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = w->env, .capacity = fuzz_byte(&w->in)};
	int rc;

	call_begins(w);
	rc = hapax_weak_map_create(&m->map, &o);
	FUZZ_TRACE("%*smap %u: %d", (int)w->depth, "", (unsigned)(m - maps), rc);
	memset(m->place, 0, sizeof(m->place));
	FUZZ_CHECK(no_memory(w, rc) ? !m->map : !rc && m->map, "%d", rc);
}

/* Takes all entries out of the reference, whose data is held. */
static void map_empty(struct map *m)
{
	for (unsigned k = 0; k < THINGS; k++) {
		struct thing *data = map_leave(m, k);

		if (data)
			drop_ref(data);
	}
}

static void map_end(struct world *w, struct map *m)
{
	hapax_weak_map *map = m->map;
	struct held h;

	hold_data(w, m, &h);
	map_empty(m);
	for (unsigned i = 0; i < ITERS; i++)
		if (map_iters[i].map == m)
			map_iters[i].map = NULL;
	m->map = NULL;
	hapax_weak_map_destroy(map);
	let_go(w, &h);
}

static void step_map_clear(struct world *w)
{
	struct map *m = pick_map(w);
	struct held h;

	if (!m)
		return;
	FUZZ_TRACE("%*sclear map %u", (int)w->depth, "", (unsigned)(m - maps));
	hold_data(w, m, &h);
	map_empty(m);
	hapax_weak_map_clear(m->map);
	let_go(w, &h);
}

static void step_map_put(struct world *w)
{
	struct map *m = pick_map(w);
	struct thing *key = pick_thing(w), *data = pick_thing(w), *old;
	unsigned how = fuzz_byte(&w->in);
	bool kills, inserted = how & 2;
	void *out = (void *)1;
	int rc;

	if (!m || !key || !data)
		return;
	call_begins(w);
	old = m->place[slot(key)].data;
	if (how % 4 == 3) {
		rc = hapax_weak_map_get_or_put(m->map, key->object, data->object, &out, &inserted);
		FUZZ_TRACE("%*sget_or_put map %u key %u data %u: %d", (int)w->depth, "", (unsigned)(m - maps),
			   slot(key), slot(data), rc);
		if (!key->weakable)
			FUZZ_CHECK(rc == HAPAX_ENOTWEAK && !out && !inserted, "%d", rc);
		if (!key->weakable || (no_memory(w, rc) && !old && !out))
			return;
		FUZZ_CHECK(!rc && inserted == !old && out == (old ? old : data)->object, "%d, inserted %d", rc,
			   inserted);
		if (!old)
			map_enter(m, slot(key), data);
		got_ref(old ? old : data);
		return;
	}
	kills = key->weakable && old && old->refs == 1 && old != data;
	if (kills) { /* the reference is brought up to date before */
		w->memory.fail_in = 0;
		map_enter(m, slot(key), data);
		drop_ref(old);
	}
	rc = hapax_weak_map_put(m->map, key->object, data->object);
	FUZZ_TRACE("%*sput map %u key %u data %u: %d", (int)w->depth, "", (unsigned)(m - maps), slot(key), slot(data),
		   rc);
	if (!key->weakable)
		FUZZ_CHECK(rc == HAPAX_ENOTWEAK, "%d", rc);
	if (!key->weakable || no_memory(w, rc))
		return;
	FUZZ_CHECK(!rc, "%d", rc);
	if (kills)
		return;
	map_enter(m, slot(key), data);
	if (old)
		drop_ref(old);
}

static void step_map_get(struct world *w)
{
	struct map *m = pick_map(w);
	struct thing *key = pick_thing(w), *data;
	void *out = (void *)1;
	int rc, there;

	if (!m || !key)
		return;
	data = m->place[slot(key)].data;
	there = hapax_weak_map_contains(m->map, key->object);
	rc = hapax_weak_map_get(m->map, key->object, &out);
	FUZZ_TRACE("%*sget map %u key %u: %d", (int)w->depth, "", (unsigned)(m - maps), slot(key), rc);
	FUZZ_CHECK(rc == (!key->weakable ? HAPAX_ENOTWEAK : data ? 0 : HAPAX_MISS), "%d", rc);
	FUZZ_CHECK(there == (rc == HAPAX_MISS ? 0 : !rc ? 1 : rc), "contains: %d", there);
	FUZZ_CHECK(out == (data ? data->object : NULL), "another's data");
	if (data)
		got_ref(data);
}

static void step_map_remove(struct world *w)
{
	struct map *m = pick_map(w);
	struct thing *key = pick_thing(w), *data;
	unsigned how = fuzz_byte(&w->in) & 1;
	void *out = (void *)1;
	int rc, expected;

	if (!m || !key)
		return;
	data = m->place[slot(key)].data;
	expected = !key->weakable ? HAPAX_ENOTWEAK : data ? 0 : HAPAX_MISS;
	FUZZ_TRACE("%*s%s map %u key %u", (int)w->depth, "", how ? "pop" : "remove", (unsigned)(m - maps), slot(key));
	if (data)
		map_leave(m, slot(key));
	if (how) {
		rc = hapax_weak_map_pop(m->map, key->object, &out);
		FUZZ_CHECK(rc == expected && out == (data ? data->object : NULL), "%d", rc);
		if (data)
			data->owned++; /* the map's */
		return;
	}
	if (data)
		drop_ref(data);
	rc = hapax_weak_map_remove(m->map, key->object);
	FUZZ_CHECK(rc == expected, "%d, not %d", rc, expected);
}

static void step_map_pop_any(struct world *w)
{
	struct map *m = pick_map(w);
	void *key = (void *)1, *data = (void *)1;
	struct thing *k;
	int rc;

	if (!m)
		return;
	rc = hapax_weak_map_pop_any(m->map, &key, &data);
	FUZZ_TRACE("%*spop_any map %u: %d", (int)w->depth, "", (unsigned)(m - maps), rc);
	FUZZ_CHECK(rc == (map_size(m) ? 0 : HAPAX_EMPTY), "%d", rc);
	if (rc) {
		FUZZ_CHECK(!key && !data, "something beside nothing");
		return;
	}
	k = thing_of(key);
	FUZZ_CHECK(m->place[slot(k)].data == thing_of(data), "not a pair of the map's");
	map_leave(m, slot(k))->owned++;
	got_ref(k);
}

/* Without memory some pairs may be there and some not. */
static void step_map_copy(struct world *w)
{
	struct map *from = pick_map(w), *to = &maps[fuzz_below(&w->in, MAPS)];
	hapax_weak_map *map = (void *)1;
	size_t copied = 99;
	struct held h;
	int rc;

	if (!from)
		return;
	call_begins(w);
	if (!to->map) {
		rc = hapax_weak_map_snapshot(from->map, &map);
		FUZZ_TRACE("%*ssnapshot of map %u: %d", (int)w->depth, "", (unsigned)(from - maps), rc);
		FUZZ_CHECK(!rc == !!map && (!rc || no_memory(w, rc)), "%d", rc);
		memset(to->place, 0, sizeof(to->place));
		to->map = map;
		for (unsigned k = 0; k < THINGS && map; k++)
			if (from->place[k].data)
				map_enter(to, k, from->place[k].data);
		return;
	}
	hold_data(w, to, &h);
	rc = hapax_weak_map_copy(to->map, from->map, &copied);
	FUZZ_TRACE("%*scopy of map %u to %u: %d, %zu", (int)w->depth, "", (unsigned)(from - maps),
		   (unsigned)(to - maps), rc, copied);
	FUZZ_CHECK(!rc || no_memory(w, rc), "%d", rc);
	for (unsigned k = 0; k < THINGS && from != to; k++) {
		struct thing *data = from->place[k].data, *old = to->place[k].data;
		void *out = NULL;

		if (!data || data == old)
			continue;
		if (rc) {
			(void)!hapax_weak_map_get(to->map, w->thing[k].object, &out);
			hapax_release(out); /* never the last */
			FUZZ_CHECK(out == data->object || out == (old ? old->object : NULL), "copied from elsewhere");
			if (out != data->object)
				continue;
		}
		map_enter(to, k, data);
		if (old)
			drop_ref(old);
	}
	if (!rc && from != to)
		FUZZ_CHECK(copied == map_size(from), "%zu copied of %zu", copied, map_size(from));
	let_go(w, &h);
}

/* ---- sets ---------------------------------------------------------------------------------------------------------
 */

static struct set *pick_set(struct world *w)
{
	struct set *s = &sets[fuzz_below(&w->in, SETS)];

	return s->set ? s : NULL;
}

static void set_begin(struct world *w, struct set *s)
{
	hapax_weak_set_options o = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = w->env};
	int rc;

	call_begins(w);
	rc = hapax_weak_set_create(&s->set, &o);
	memset(s->put, 0, sizeof(s->put));
	FUZZ_CHECK(no_memory(w, rc) ? !s->set : !rc && s->set, "%d", rc);
}

static void set_empty(struct set *s)
{
	for (unsigned k = 0; k < THINGS; k++)
		set_leave(s, k);
}

static void set_end(struct set *s)
{
	hapax_weak_set *set = s->set;

	set_empty(s);
	for (unsigned i = 0; i < ITERS; i++)
		if (set_iters[i].set == s)
			set_iters[i].set = NULL;
	s->set = NULL;
	hapax_weak_set_destroy(set);
}

static void set_enter(struct set *s, unsigned k)
{
	if (!s->put[k])
		s->put[k] = ++writes;
}

static void step_set(struct world *w)
{
	struct set *s = pick_set(w);
	unsigned how = fuzz_byte(&w->in) % 8, k;
	struct thing *t = pick_thing(w);
	bool added = false;
	void *out = (void *)1;
	int rc;

	if (!s || !t)
		return;
	k = slot(t);
	call_begins(w);
	switch (how) {
	case 0:
	case 1:
	case 2:
		rc = hapax_weak_set_add(s->set, t->object, &added);
		if (!t->weakable)
			FUZZ_CHECK(rc == HAPAX_ENOTWEAK, "%d", rc);
		if (!t->weakable || no_memory(w, rc))
			break;
		FUZZ_CHECK(!rc && added == !s->put[k], "%d, added %d", rc, added);
		set_enter(s, k);
		break;
	case 3:
		rc = hapax_weak_set_remove(s->set, t->object);
		FUZZ_CHECK(rc == (!t->weakable ? HAPAX_ENOTWEAK : s->put[k] ? 0 : HAPAX_MISS), "%d", rc);
		set_leave(s, k);
		break;
	case 4:
		rc = hapax_weak_set_pop(s->set, &out);
		FUZZ_CHECK(rc == (set_size(s) ? 0 : HAPAX_EMPTY) && !rc == !!out, "%d", rc);
		if (rc)
			break;
		t = thing_of(out);
		FUZZ_CHECK(s->put[slot(t)], "popped what was no member");
		set_leave(s, slot(t));
		got_ref(t);
		break;
	case 5:
		if (fuzz_byte(&w->in) & 1)
			break;
		hapax_weak_set_clear(s->set);
		set_empty(s);
		break;
	default:
		rc = hapax_weak_set_contains(s->set, t->object);
		FUZZ_CHECK(rc == (!t->weakable ? HAPAX_ENOTWEAK : s->put[k] != 0), "%d", rc);
		break;
	}
	FUZZ_TRACE("%*sset %u, %u, thing %u", (int)w->depth, "", (unsigned)(s - sets), how, k);
}

static void step_set_copy(struct world *w)
{
	struct set *from = pick_set(w), *to = &sets[fuzz_below(&w->in, SETS)];
	hapax_weak_set *set = (void *)1;
	size_t copied = 99;
	int rc;

	if (!from)
		return;
	call_begins(w);
	if (!to->set) {
		rc = hapax_weak_set_snapshot(from->set, &set);
		FUZZ_CHECK(!rc == !!set && (!rc || no_memory(w, rc)), "%d", rc);
		memset(to->put, 0, sizeof(to->put));
		to->set = set;
	} else {
		rc = hapax_weak_set_copy(to->set, from->set, &copied);
		FUZZ_CHECK(!rc || no_memory(w, rc), "%d", rc);
		FUZZ_CHECK(rc || from == to || copied == set_size(from), "%zu copied of %zu", copied, set_size(from));
	}
	for (unsigned k = 0; k < THINGS && to->set; k++)
		if (from->put[k] && (!rc || hapax_weak_set_contains(to->set, w->thing[k].object) == 1))
			set_enter(to, k);
}

/* ---- iterators -----------------------------------------------------------------------------------------------------
 */

static void iter_begins(struct iter *it)
{
	it->key = it->data = NULL;
	it->ended = it->busy = false;
	memset(it->given, 0, sizeof(it->given));
	for (unsigned k = 0; k < THINGS; k++)
		it->must[k] = it->map ? (it->map->place[k].data ? it->map->place[k].put : 0) : it->set->put[k];
}

/* The data stays until the caller lets go of it: so what dies at the end of a pin is the key. */
static struct thing *iter_unpins(struct world *w, struct iter *it)
{
	struct thing *key = it->key, *data = it->data;

	it->key = it->data = NULL;
	if (data) {
		pin(w, data);
		drop_ref(data);
	}
	if (key)
		drop_ref(key);
	return data;
}

static void iter_end(struct world *w, struct iter *it)
{
	hapax_weak_map_iter *m = it->map_iter;
	hapax_weak_set_iter *s = it->set_iter;
	struct thing *data = iter_unpins(w, it);

	it->map_iter = NULL;
	it->set_iter = NULL;
	w->slack++;
	hapax_weak_map_close(m);
	hapax_weak_set_close(s);
	w->slack--;
	if (data)
		unpin(w, data);
}

static void iter_next(struct world *w, struct iter *it)
{
	unsigned seen, k;
	bool of_map = it->map_iter;
	void *key = (void *)1, *data = (void *)1;
	struct thing *before;
	uint32_t put;
	int rc;

	it->busy = true;
	call_begins(w);
	before = iter_unpins(w, it);
	seen = w->user_code;
	w->slack++;
	rc = of_map ? hapax_weak_map_next(it->map_iter, &key, &data) : hapax_weak_set_next(it->set_iter, &key);
	w->slack--;
	FUZZ_TRACE("%*snext of %s %d: %d", (int)w->depth, "", of_map ? "map" : "set",
		   it->map   ? (int)(it->map - maps)
		   : it->set ? (int)(it->set - sets)
			     : -1,
		   rc);
	if (rc == HAPAX_EMPTY) {
		FUZZ_CHECK(!key && (!of_map || !data), "something at the end");
		for (k = 0; k < THINGS && (it->map || it->set) && !it->ended; k++)
			FUZZ_CHECK(!it->must[k], "key %u was there all the time, and was not given", k);
		it->ended = true;
	} else {
		FUZZ_CHECK(!rc && !it->ended, "%d after the end", rc);
		it->key = thing_of(key);
		it->key->refs++;
		it->data = of_map ? thing_of(data) : NULL;
		if (it->data)
			it->data->refs++;
		k = slot(it->key);
		put = it->map ? it->map->place[k].put : it->set ? it->set->put[k] : 0;
		if (w->user_code == seen && (it->map || it->set)) {
			FUZZ_CHECK(put, "key %u: nothing is there", k);
			FUZZ_CHECK(!it->map || it->map->place[k].data == it->data, "key %u: other data", k);
			FUZZ_CHECK(it->given[k] != put, "key %u is given twice", k);
			it->given[k] = put;
		}
		it->must[k] = 0;
	}
	it->busy = false;
	if (before)
		unpin(w, before);
}

static void step_iter(struct world *w)
{
	unsigned which = fuzz_byte(&w->in);
	bool of_map = which & 1;
	struct iter *it = of_map ? &map_iters[which / 2 % ITERS] : &set_iters[which / 2 % ITERS];
	int rc;

	if (it->busy)
		return;
	if (!it->map_iter && !it->set_iter) {
		struct map *m = of_map ? pick_map(w) : NULL;
		struct set *s = of_map ? NULL : pick_set(w);

		if (!m && !s)
			return;
		call_begins(w);
		rc = m ? hapax_weak_map_iterate(m->map, &it->map_iter) : hapax_weak_set_iterate(s->set, &it->set_iter);
		FUZZ_CHECK(!rc == (it->map_iter || it->set_iter) && (!rc || no_memory(w, rc)), "%d", rc);
		it->map = m;
		it->set = s;
		if (!rc)
			iter_begins(it);
		else
			*it = (struct iter){.map = NULL};
	} else if (fuzz_below(&w->in, 8) == 0) {
		iter_end(w, it);
	} else {
		iter_next(w, it);
	}
}

/* ---- the end ------------------------------------------------------------------------------------------------------
 */

static void maps_begin(struct world *w)
{
	memset(maps, 0, sizeof(maps));
	memset(sets, 0, sizeof(sets));
	memset(map_iters, 0, sizeof(map_iters));
	memset(set_iters, 0, sizeof(set_iters));
	writes = 0;
	map_begin(w, &maps[0]);
	set_begin(w, &sets[0]);
}

static void maps_check(void)
{
	for (unsigned i = 0; i < MAPS; i++)
		if (maps[i].map)
			FUZZ_CHECK(hapax_weak_map_size(maps[i].map) == map_size(&maps[i]),
				   "map %u has %zu entries, not %zu", i, hapax_weak_map_size(maps[i].map),
				   map_size(&maps[i]));
	for (unsigned i = 0; i < SETS; i++)
		if (sets[i].set)
			FUZZ_CHECK(hapax_weak_set_size(sets[i].set) == set_size(&sets[i]),
				   "set %u has %zu members, not %zu", i, hapax_weak_set_size(sets[i].set),
				   set_size(&sets[i]));
}

/* Those from `first` on. */
static void maps_end(struct world *w, unsigned first)
{
	for (unsigned i = first; i < MAPS; i++)
		if (maps[i].map)
			map_end(w, &maps[i]);
	for (unsigned i = first; i < SETS; i++)
		if (sets[i].set)
			set_end(&sets[i]);
}

static void iters_end(struct world *w, unsigned first)
{
	for (unsigned i = first; i < ITERS; i++) {
		if (map_iters[i].map_iter)
			iter_end(w, &map_iters[i]);
		if (set_iters[i].set_iter)
			iter_end(w, &set_iters[i]);
	}
}

#endif
