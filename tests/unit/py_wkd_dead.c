/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak-key tables (PY-WKD-03): a dead key is no live one, wherever a death, a removal or a lookup is stopped.
 */
#include "base/atomic.h"
#include "unit/maps.h"

TEST(PY_WKD_03_an_address_that_comes_again_has_an_entry_of_its_own)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	hapax_weak_map *map = map_new(env);
	hapax_weak_set *set = set_new(env);
	unsigned again = 0;

	for (int i = 0; i < 50; i++) {
		struct item *key = item_new(env, i), *data = item_new(env, i), *reborn;
		const void *address = key;

		CHECK_EQ(hapax_weak_map_put(map, key, data), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_add(set, key, NULL), HAPAX_OK);
		hapax_release(key);
		CHECK_EQ(hapax_count(data), 1);
		reborn = item_at(env, i, address);
		if (!reborn) {
			hapax_release(data);
			continue;
		}
		again++;
		CHECK(!map_peek(map, reborn));
		CHECK_EQ(hapax_weak_set_contains(set, reborn), 0);
		CHECK_EQ(hapax_weak_map_remove(map, reborn), HAPAX_MISS);
		CHECK_EQ(hapax_weak_set_remove(set, reborn), HAPAX_MISS);
		CHECK_EQ(hapax_weak_map_put(map, reborn, data), HAPAX_OK);
		CHECK_PTR(map_peek(map, reborn), data);
		map_check(map, 1);
		set_check(set, 0);
		hapax_release(reborn);
		map_check(map, 0);
		CHECK_EQ(hapax_count(data), 1);
		hapax_release(data);
	}
	CHECK(again > 0 || test_slow_build());
	map_end(map, 0);
	set_end(set, 0);
	test_env_end(env);
}

struct at_point {
	const char *name;
	struct test_event reached, go;
};
static __thread const struct at_point *stop_here;

static void stop(const char *name, void *ctx)
{
	struct at_point *s = ctx;

	if (stop_here != s || strcmp(name, s->name))
		return;
	stop_here = NULL;
	test_event_set(&s->reached);
	test_event_wait(&s->go);
}

struct stopped {
	struct at_point point;
	hapax_weak_map *map;
	struct item *key;
	int status;
};

static void *release_stopped(void *arg)
{
	struct stopped *s = arg;

	stop_here = &s->point;
	hapax_release(s->key);
	return NULL;
}

static void *remove_stopped(void *arg)
{
	struct stopped *s = arg;

	stop_here = &s->point;
	s->status = hapax_weak_map_remove(s->map, s->key);
	return NULL;
}

static pthread_t start_stopped(struct stopped *s, const char *name, void *(*fn)(void *))
{
	pthread_t thread;

	s->point.name = name;
	test_event_init(&s->point.reached);
	test_event_init(&s->point.go);
	hapax_testing_set_stop(stop, &s->point);
	thread = test_thread(fn, s);
	test_event_wait(&s->point.reached);
	return thread;
}

static void go_on(struct stopped *s, pthread_t thread)
{
	test_event_set(&s->point.go);
	test_join(thread);
	hapax_testing_set_stop(NULL, NULL);
}

/* The removal that a death owes is still to come when an equal key is put, and takes nothing of it; the dead one is absent. */
TEST(PY_WKD_03_a_pending_removal_of_the_dead_removes_nothing_newer)
{
	hapax_env *env = test_env();
	struct stopped s = {.map = map_new(env)};
	struct item *equal = item_new(env, 1), *data = item_new(env, 2), *newer = item_new(env, 3);
	hapax_weak_map_iter *iter;
	void *key;
	pthread_t thread;

	s.key = item_new(env, 1);
	CHECK_EQ(hapax_weak_map_put(s.map, s.key, data), HAPAX_OK);
	thread = start_stopped(&s, "death.dead", release_stopped);
	CHECK_EQ(hapax_weak_map_iterate(s.map, &iter), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_next(iter, &key, NULL), HAPAX_EMPTY);
	hapax_weak_map_close(iter);
	CHECK_EQ(hapax_weak_map_put(s.map, equal, newer), HAPAX_OK);
	CHECK_PTR(map_peek(s.map, equal), newer);
	go_on(&s, thread);
	CHECK_PTR(map_peek(s.map, equal), newer);
	CHECK_EQ(hapax_count(data), 1);
	CHECK_EQ(hapax_count(newer), 2);
	map_check(s.map, 1);
	hapax_release(equal);
	hapax_release(data);
	hapax_release(newer);
	map_end(s.map, 0);
	test_env_end(env);
}

/* The map goes while a key's death has not yet begun to tell. */
TEST(destroyed_between_a_death_and_its_telling)
{
	hapax_env *env = test_env();
	struct stopped s = {.map = map_new(env)};
	struct item *data = item_new(env, 2);
	pthread_t thread;

	s.key = item_new(env, 1);
	CHECK_EQ(hapax_weak_map_put(s.map, s.key, data), HAPAX_OK);
	thread = start_stopped(&s, "death.dead", release_stopped);
	hapax_weak_map_destroy(s.map);
	CHECK_EQ(hapax_count(data), 1);
	hapax_testing_drain(env);
	go_on(&s, thread);
	CHECK_EQ(hapax_count(data), 1);
	hapax_release(data);
	test_env_end(env);
}

TEST(a_stopped_removal_stops_nobody_and_takes_nothing_newer)
{
	hapax_env *env = test_env();
	struct stopped s = {.map = map_new(env)};
	struct item *data = item_new(env, 2), *newer = item_new(env, 3);
	hapax_weak_map_iter *iter;
	void *out, *key;
	bool inserted;
	pthread_t thread;

	s.key = item_new(env, 1);
	CHECK_EQ(hapax_weak_map_put(s.map, s.key, data), HAPAX_OK);
	thread = start_stopped(&s, "ident.taken", remove_stopped);
	CHECK(!map_peek(s.map, s.key));
	CHECK_EQ(hapax_weak_map_size(s.map), 0);
	CHECK_EQ(hapax_weak_map_remove(s.map, s.key), HAPAX_MISS);
	CHECK_EQ(hapax_weak_map_pop_any(s.map, &key, &out), HAPAX_EMPTY);
	CHECK_EQ(hapax_weak_map_iterate(s.map, &iter), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_next(iter, &key, &out), HAPAX_EMPTY);
	hapax_weak_map_close(iter);
	CHECK_EQ(hapax_weak_map_get_or_put(s.map, s.key, newer, &out, &inserted), HAPAX_OK);
	CHECK(inserted);
	hapax_release(out);
	CHECK_PTR(map_peek(s.map, s.key), newer);
	go_on(&s, thread);
	CHECK_EQ(s.status, HAPAX_OK);
	CHECK_PTR(map_peek(s.map, s.key), newer);
	CHECK_EQ(hapax_count(data), 1);
	map_check(s.map, 1);
	/* and its key dies while the next one is stopped */
	CHECK_EQ(hapax_retain(s.key), HAPAX_OK);
	thread = start_stopped(&s, "ident.taken", remove_stopped);
	hapax_release(s.key);
	CHECK_EQ(hapax_count(newer), 2);
	go_on(&s, thread);
	CHECK_EQ(hapax_count(newer), 1);
	hapax_release(s.key);
	hapax_release(newer);
	hapax_release(data);
	map_end(s.map, 0);
	test_env_end(env);
}

/* Data that was found and has died before it could be had: there is other data in its place, so the key is not absent. */
enum { BY_GET, BY_GET_OR_PUT, BY_NEXT, FINDERS };

struct finding {
	struct stopped s;
	int by;
	struct item *other;
	hapax_weak_map_iter *iter;
	void *out;
};

static void *find_stopped(void *arg)
{
	struct finding *f = HPX_CONTAINER_OF(arg, struct finding, s);
	void *key;

	stop_here = &f->s.point;
	if (f->by == BY_GET)
		f->s.status = hapax_weak_map_get(f->s.map, f->s.key, &f->out);
	else if (f->by == BY_GET_OR_PUT)
		f->s.status = hapax_weak_map_get_or_put(f->s.map, f->s.key, f->other, &f->out, NULL);
	else
		f->s.status = hapax_weak_map_next(f->iter, &key, &f->out);
	return NULL;
}

TEST(data_put_over_between_finding_and_taking)
{
	for (int by = 0; by < FINDERS; by++) {
		hapax_env *env = test_env();
		struct finding f = {.s.map = map_new(env), .by = by, .other = item_new(env, 4)};
		struct item *newer = item_new(env, 3);
		pthread_t thread;

		f.s.key = item_new(env, 1);
		items_reset();
		map_give(f.s.map, f.s.key, item_new(env, 2));
		CHECK_EQ(hapax_weak_map_iterate(f.s.map, &f.iter), HAPAX_OK);
		thread = start_stopped(&f.s, "get.found", find_stopped);
		CHECK_EQ(hapax_weak_map_put(f.s.map, f.s.key, newer), HAPAX_OK);
		CHECK_EQ(items_destroyed_now(), 1);
		go_on(&f.s, thread);
		CHECK_EQ(f.s.status, HAPAX_OK);
		CHECK_PTR(f.out, newer);
		hapax_weak_map_close(f.iter);
		if (by != BY_NEXT)
			hapax_release(f.out);
		CHECK_EQ(hapax_count(f.other), 1);
		hapax_release(f.other);
		hapax_release(f.s.key);
		CHECK_EQ(hapax_count(newer), 1);
		hapax_release(newer);
		map_end(f.s.map, 0);
		test_env_end(env);
	}
}
