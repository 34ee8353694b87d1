/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak-key tables (PY-WKD): identity, the order of a key's death, pins, sizes. Dead keys: py_wkd_dead.c.
 */
#include <errno.h>

#include "unit/maps.h"

/* ---- identity ---------------------------------------------------------------------------------------------------- */

TEST(PY_WKD_01_lookup_is_by_identity)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *a = item_new(env, 1), *b = item_new(env, 1), *da = item_new(env, 2), *db = item_new(env, 2);
	void *out = (void *)1;

	CHECK_EQ(hapax_weak_map_put(map, a, da), HAPAX_OK);
	CHECK_PTR(map_peek(map, a), da);
	CHECK(!map_peek(map, b)); /* equal contents, another object */
	CHECK_EQ(hapax_weak_map_put(map, b, db), HAPAX_OK);
	map_check(map, 2);
	CHECK_EQ(hapax_count(a), 1); /* keys are not held, data is, by one reference */
	CHECK_EQ(hapax_count(da), 2);
	CHECK_EQ(hapax_weak_map_get(map, a, &out), HAPAX_OK);
	CHECK_PTR(out, da);
	CHECK_EQ(hapax_count(da), 3);
	hapax_release(out);
	CHECK_EQ(hapax_weak_map_put(map, a, db), HAPAX_OK); /* the same data under two keys */
	CHECK_EQ(hapax_count(da), 1);
	CHECK_EQ(hapax_count(db), 3);
	CHECK_EQ(hapax_weak_map_put(map, a, db), HAPAX_OK); /* by itself */
	CHECK_EQ(hapax_count(db), 3);
	map_check(map, 2);
	hapax_release(a);
	CHECK_EQ(hapax_count(db), 2);
	map_check(map, 1);
	hapax_release(da);
	hapax_release(db);
	map_end(map, 1);
	hapax_release(b);
	CHECK_EQ(items_destroyed_now(), 4);
	test_env_end(env);
}

TEST(PY_WKD_01_get_or_put)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *a = item_new(env, 1), *x = item_new(env, 2), *y = item_new(env, 3);
	void *out = NULL;
	bool inserted = false;

	CHECK_EQ(hapax_weak_map_get_or_put(map, a, x, &out, &inserted), HAPAX_OK);
	CHECK_PTR(out, x);
	CHECK(inserted);
	CHECK_EQ(hapax_count(x), 3);
	hapax_release(out);
	CHECK_EQ(hapax_weak_map_get_or_put(map, a, y, &out, &inserted), HAPAX_OK);
	CHECK_PTR(out, x);
	CHECK(!inserted);
	CHECK_EQ(hapax_count(x), 3);
	CHECK_EQ(hapax_count(y), 1);
	hapax_release(out);
	CHECK_EQ(hapax_weak_map_remove(map, a), HAPAX_OK);
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(hapax_weak_map_get_or_put(map, a, y, &out, NULL), HAPAX_OK);
	CHECK_PTR(out, y);
	hapax_release(out);
	hapax_release(x);
	hapax_release(y);
	hapax_release(a);
	map_end(map, 0);
	test_env_end(env);
}

/* ---- death ------------------------------------------------------------------------------------------------------- */

struct dying {
	hapax_env *env;
	hapax_weak_map *map, *other;
	struct item *key;
	hapax_weak *weak;
};

/* Whoever asks while the key dies finds nothing, and changes nothing. */
static void absent(struct dying *d)
{
	struct item *fresh = item_new(d->env, 99);
	void *out = (void *)1;

	CHECK(!map_peek(d->map, d->key));
	CHECK_EQ(hapax_weak_map_size(d->map), 0);
	CHECK(!map_peek(d->other, d->key));
	CHECK(!hapax_weak_get(d->weak));
	CHECK_EQ(hapax_weak_map_remove(d->map, d->key), HAPAX_MISS);
	CHECK_EQ(hapax_weak_map_pop(d->map, d->key, &out), HAPAX_MISS);
	CHECK(!out);
	CHECK_EQ(hapax_weak_map_pop_any(d->map, &out, &out), HAPAX_EMPTY);
	CHECK_EQ(hapax_weak_map_put(d->map, d->key, fresh), HAPAX_EDEAD);
	CHECK_EQ(hapax_weak_map_get_or_put(d->map, d->key, fresh, &out, NULL), HAPAX_EDEAD);
	CHECK_EQ(hapax_count(fresh), 1);
	hapax_release(fresh);
}

static void data_asks(struct item *item, void *arg)
{
	trace("data%d", item->id);
	absent(arg);
}

static void callback_asks(struct probe *p) { absent(p->arg); }

static void key_asks(struct item *item, void *arg)
{
	trace("key%d", item->id);
	absent(arg);
}

static void dies_in_order(const hapax_type *type, bool nested)
{
	hapax_env *env = test_env();
	struct dying d = {.env = env, .map = map_new(env), .other = map_new(env)};
	struct item *data[2] = {item_new(env, 1), item_new(env, 2)}, *outer = NULL;
	struct probe p;

	trace_reset();
	d.key = item_of(env, type, 3);
	d.key->on_destroy = key_asks;
	d.key->arg = &d;
	d.weak = weak_of(d.key);
	for (int i = 0; i < 2; i++) {
		data[i]->on_destroy = data_asks;
		data[i]->arg = &d;
	}
	map_give(d.map, d.key, data[0]);
	map_give(d.other, d.key, data[1]);
	probe_on(&p, 4, d.key, false);
	p.then = callback_asks;
	p.arg = &d;
	if (nested) {
		outer = item_traced(env, 5);
		outer->child = d.key;
		hapax_release(outer);
	} else {
		hapax_release(d.key);
	}
	if (type == &deferred_type) {
		CHECK_EQ(strlen(trace_text), strlen("data1 data2 "));
		CHECK_EQ(hapax_run_deferred(env), 1);
	}
	/* which map's data goes first is not said */
	if (!strstr(trace_text, "data2 data1 "))
		CHECK(strstr(trace_text, "data1 data2 "));
	CHECK_STR(strstr(trace_text, " c4 "), " c4 key3 ");
	CHECK_EQ(strlen(trace_text), strlen("data1 data2 c4 key3 ") + (nested ? strlen("d5 ") : 0));
	CHECK_EQ(probe_drop(&p), 0);
	CHECK_EQ(hapax_weak_drop(d.weak), 0);
	map_end(d.map, 0);
	map_end(d.other, 0);
	test_env_end(env);
}

/* In two maps; absent from both, before either's data is destroyed; then callbacks; then the destructor. */
TEST(PY_WKD_01_entry_absent_then_data_then_callbacks_then_destructor) { dies_in_order(&item_type, false); }
TEST(PY_WKD_01_the_order_when_a_key_dies_by_another_death) { dies_in_order(&item_type, true); }
TEST(PY_WKD_01_data_of_a_deferred_key_goes_at_its_last_release) { dies_in_order(&deferred_type, false); }

TEST(PY_WKD_01_data_that_somebody_holds_is_let_go_and_lives)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *key = item_new(env, 1), *data = item_new(env, 2), *late = item_of(env, &deferred_type, 3);

	CHECK_EQ(hapax_weak_map_put(map, key, data), HAPAX_OK);
	hapax_release(key);
	CHECK_EQ(hapax_count(data), 1);
	CHECK(item_is_alive(data));
	hapax_release(data);
	key = item_new(env, 4);
	items_reset();
	map_give(map, key, late);
	hapax_release(key);
	CHECK_EQ(items_destroyed_now(), 1);
	map_check(map, 0);
	CHECK_EQ(hapax_run_deferred(env), 1);
	CHECK_EQ(items_destroyed_now(), 2);
	map_end(map, 0);
	test_env_end(env);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void refused(hapax_weak_map *map, void *key, void *data, int status)
{
	void *out = (void *)1;

	CHECK_EQ(hapax_weak_map_put(map, key, data), status);
	CHECK_EQ(hapax_weak_map_get(map, key, &out), status);
	CHECK(!out);
	out = (void *)1;
	CHECK_EQ(hapax_weak_map_get_or_put(map, key, data, &out, NULL), status);
	CHECK(!out);
	out = (void *)1;
	CHECK_EQ(hapax_weak_map_pop(map, key, &out), status);
	CHECK(!out);
	CHECK_EQ(hapax_weak_map_remove(map, key), status);
	CHECK_EQ(hapax_weak_map_contains(map, key), status);
}

TEST(PY_WKD_02_absent_keys_and_those_that_cannot_be)
{
	hapax_env *env = test_env(), *elsewhere = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	hapax_weak_map *map = map_new(env);
	struct item *key = item_new(env, 1), *strong = item_of(env, &strong_type, 2), *foreign = item_new(elsewhere, 3);
	void *out = (void *)1;
	uint64_t calls = memory->calls;

	errno = 4711;
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(hapax_weak_map_get(map, key, &out), HAPAX_MISS);
		CHECK(!out);
		CHECK_EQ(hapax_weak_map_pop(map, key, &out), HAPAX_MISS);
		CHECK_EQ(hapax_weak_map_remove(map, key), HAPAX_MISS);
		CHECK_EQ(hapax_weak_map_contains(map, key), 0);
		refused(map, strong, key, HAPAX_ENOTWEAK);
		refused(map, foreign, key, HAPAX_EFOREIGN);
		CHECK_EQ(hapax_weak_map_put(map, key, foreign), HAPAX_EFOREIGN);
		CHECK_EQ(hapax_weak_map_get_or_put(map, key, foreign, &out, NULL), HAPAX_EFOREIGN);
	}
	CHECK_EQ(errno, 4711);
	CHECK_EQ(memory->calls, calls); /* errors allocate nothing */
	CHECK_EQ(hapax_count(foreign), 1);
	CHECK_EQ(hapax_count(key), 1);
	map_check(map, 0);
	CHECK_EQ(hapax_weak_map_put(map, key, strong), HAPAX_OK); /* data need not be weak */
	CHECK_PTR(map_peek(map, key), strong);
	hapax_release(key);
	CHECK_EQ(hapax_count(strong), 1);
	hapax_release(strong);
	hapax_release(foreign);
	map_end(map, 0);
	test_env_end(env);
	test_env_end(elsewhere);
}

TEST(PY_WKD_02_nulls_and_options)
{
	hapax_env *env = test_env();
	hapax_weak_map_options options = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	hapax_weak_map *map = map_new(env), *other = (void *)1;
	hapax_weak_map_iter *iter = (void *)1;
	struct item *x = item_new(env, 1);
	void *out = (void *)1, *key = (void *)1;

	refused(NULL, x, x, HAPAX_ENULL);
	refused(map, NULL, x, HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_put(map, x, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_get(map, x, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_pop(map, x, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_get_or_put(map, x, x, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_get_or_put(map, x, NULL, &out, NULL), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_weak_map_pop_any(map, NULL, &out), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_pop_any(map, &key, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_pop_any(NULL, &key, &out), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_iterate(NULL, &iter), HAPAX_ENULL);
	CHECK(!iter);
	CHECK_EQ(hapax_weak_map_iterate(map, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_next(NULL, &key, &out), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_copy(map, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_copy(NULL, map, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_snapshot(NULL, &other), HAPAX_ENULL);
	CHECK(!other);
	CHECK_EQ(hapax_weak_map_snapshot(map, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_map_size(NULL), 0);
	hapax_weak_map_clear(NULL);
	hapax_weak_map_destroy(NULL);
	hapax_weak_map_close(NULL);
	CHECK_EQ(hapax_weak_map_create(NULL, &options), HAPAX_ENULL);
	options.size++;
	CHECK_EQ(hapax_weak_map_create(&other, &options), HAPAX_EOPTSIZE);
	options.size--;
	options.flags = 1;
	CHECK_EQ(hapax_weak_map_create(&other, &options), HAPAX_EFLAGS);
	CHECK(!other);
	CHECK_EQ(hapax_weak_map_create(&other, NULL), HAPAX_OK);
	map_end(other, 0);
	CHECK_EQ(hapax_count(x), 1);
	hapax_release(x);
	map_end(map, 0);
	test_env_end(env);
}

TEST(counts_at_their_limit)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *key = item_new(env, 1), *data = item_new(env, 2), *more = item_new(env, 3);
	const uint64_t limit = UINT64_C(1) << 36;
	void *out = (void *)1;

	hapax_testing_set_strong(data, limit);
	CHECK_EQ(hapax_weak_map_put(map, key, data), HAPAX_EOVERFLOW);
	hapax_testing_set_strong(data, limit - 1); /* one for the map, and none for the caller */
	CHECK_EQ(hapax_weak_map_get_or_put(map, key, data, &out, NULL), HAPAX_EOVERFLOW);
	CHECK(!out);
	CHECK_EQ(hapax_count(data), limit - 1);
	map_check(map, 0);
	CHECK_EQ(hapax_weak_map_put(map, key, data), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_get(map, key, &out), HAPAX_MISS); /* not one more; and it ends */
	CHECK_EQ(hapax_weak_map_get_or_put(map, key, more, &out, NULL), HAPAX_EOVERFLOW);
	CHECK_EQ(hapax_count(more), 1);
	hapax_testing_set_strong(data, 2);
	CHECK_PTR(map_peek(map, key), data);
	hapax_release(data);
	hapax_release(more);
	hapax_release(key);
	map_end(map, 0);
	test_env_end(env);
}

/* ---- pins -------------------------------------------------------------------------------------------------------- */

enum breaker { BY_REMOVE, BY_POP, BY_POP_ANY, BY_PUT, BY_CLEAR, BY_DESTROY, BREAKERS };

TEST(PY_WKD_05_data_that_holds_its_key_pins_it_until_it_is_taken_out)
{
	for (int by = 0; by < BREAKERS; by++) {
		hapax_env *env = test_env();
		hapax_weak_map *map = map_new(env);
		struct item *key = item_new(env, 1), *data = item_new(env, 2), *other = item_new(env, 3);
		hapax_weak *weak = weak_of(key);
		void *k, *d;

		items_reset();
		data->child = key; /* the caller's reference is the data's now */
		map_give(map, key, data);
		hapax_testing_drain(env);
		map_check(map, 1);
		CHECK(hapax_weak_alive(weak));
		CHECK_EQ(items_destroyed_now(), 0);
		key = hapax_weak_get(weak);
		CHECK(key);
		if (by == BY_REMOVE) {
			CHECK_EQ(hapax_weak_map_remove(map, key), HAPAX_OK);
		} else if (by == BY_POP) {
			CHECK_EQ(hapax_weak_map_pop(map, key, &d), HAPAX_OK);
			CHECK_PTR(d, data);
			hapax_release(d);
		} else if (by == BY_POP_ANY) {
			CHECK_EQ(hapax_weak_map_pop_any(map, &k, &d), HAPAX_OK);
			CHECK_PTR(k, key);
			CHECK_PTR(d, data);
			hapax_release(k);
			hapax_release(d);
		} else if (by == BY_PUT) {
			CHECK_EQ(hapax_weak_map_put(map, key, other), HAPAX_OK);
		} else if (by == BY_CLEAR) {
			hapax_weak_map_clear(map);
		} else {
			hapax_weak_map_destroy(map);
		}
		CHECK_EQ(items_destroyed_now(), 1);
		CHECK_EQ(hapax_count(key), 1);
		hapax_release(key);
		CHECK_EQ(items_destroyed_now(), 2);
		CHECK(!hapax_weak_alive(weak));
		CHECK_EQ(hapax_weak_drop(weak), 0);
		CHECK_EQ(hapax_count(other), 1);
		hapax_release(other);
		if (by != BY_DESTROY)
			map_end(map, 0);
		test_env_end(env);
	}
}

TEST(PY_WKD_05_a_key_that_is_its_own_data)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *key = item_new(env, 1);

	map_give(map, key, key);
	CHECK_EQ(hapax_count(key), 1);
	map_check(map, 1);
	hapax_weak_map_destroy(map);
	CHECK_EQ(items_destroyed_now(), 1);
	test_env_end(env);
}

static void drops_handle(struct item *item, void *arg)
{
	(void)item;
	CHECK_EQ(hapax_weak_drop(arg), 0);
}

TEST(PY_WKD_05_a_weak_handle_in_the_data_is_the_cure)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *key = item_new(env, 1), *data = item_new(env, 2);

	data->on_destroy = drops_handle;
	data->arg = weak_of(key);
	map_give(map, key, data);
	hapax_release(key);
	CHECK_EQ(items_destroyed_now(), 2);
	map_end(map, 0);
	test_env_end(env);
}

/* Data that holds the key of the next entry: the first death takes them all, with bounded stack. */
TEST(a_chain_through_the_map_dies_from_its_head)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	const int n = test_slow_build() ? 2000 : 50000;
	struct item *key = item_new(env, 0), *head = key;

	for (int i = 1; i <= n; i++) {
		struct item *data = item_new(env, -i);

		data->child = i < n ? item_new(env, i) : NULL;
		map_give(map, key, data);
		key = data->child;
	}
	map_check(map, (size_t)n);
	hapax_release(head);
	CHECK_EQ(items_destroyed_now(), 2 * n);
	map_end(map, 0);
	test_env_end(env);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

TEST(PY_WKD_07_removes_and_deaths_count_each_entry_once)
{
	enum { N = 200 };
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct item *key[N] = {NULL};
	bool in[N] = {false};
	uint64_t random = test_stream(7);
	size_t size = 0;
	int born = 0;

	for (uint64_t n = 0, rounds = scaled(40000); n < rounds; n++) {
		unsigned i = (unsigned)test_below(&random, N);

		if (!key[i]) {
			key[i] = item_new(env, born++);
			in[i] = false;
		}
		switch (test_below(&random, 4)) {
		case 0:
			map_give(map, key[i], item_new(env, born++));
			size += !in[i];
			in[i] = true;
			break;
		case 1:
			CHECK_EQ(hapax_weak_map_remove(map, key[i]), in[i] ? HAPAX_OK : HAPAX_MISS);
			size -= in[i];
			in[i] = false;
			break;
		case 2:
			hapax_release(key[i]);
			key[i] = NULL;
			size -= in[i];
			in[i] = false;
			break;
		default:
			CHECK_EQ(hapax_weak_map_contains(map, key[i]), in[i]);
			break;
		}
		CHECK_EQ(hapax_weak_map_size(map), size);
	}
	map_check(map, size);
	for (int i = 0; i < N; i++)
		if (key[i])
			hapax_release(key[i]);
	CHECK_EQ(items_destroyed_now(), born);
	map_end(map, 0);
	test_env_end(env);
}

struct mixed {
	hapax_env *env;
	hapax_weak_map *map;
	uint64_t rounds;
	int born;
};

/* Each thread has keys of its own, and takes others' entries out by pop_any. */
static void mix(unsigned index, void *arg)
{
	enum { N = 16 };
	struct mixed *m = arg;
	uint64_t random = test_stream(index);
	struct item *key[N];
	void *k, *d;

	for (int i = 0; i < N; i++)
		key[i] = item_new(m->env, i);
	for (uint64_t n = 0; n < m->rounds; n++) {
		unsigned i = (unsigned)test_below(&random, N);

		switch (test_below(&random, 5)) {
		case 0:
		case 1:
			map_give(m->map, key[i], item_new(m->env, 1));
			__atomic_fetch_add(&m->born, 1, __ATOMIC_RELAXED);
			break;
		case 2:
			(void)!hapax_weak_map_remove(m->map, key[i]);
			break;
		case 3:
			hapax_release(key[i]);
			key[i] = item_new(m->env, 2);
			__atomic_fetch_add(&m->born, 1, __ATOMIC_RELAXED);
			break;
		default:
			if (hapax_weak_map_pop_any(m->map, &k, &d) == 0) {
				hapax_release(k);
				hapax_release(d);
			}
			break;
		}
		CHECK(hapax_weak_map_size(m->map) < SIZE_MAX / 2); /* an estimate now, but not below 0 */
	}
	for (int i = 0; i < N; i++)
		hapax_release(key[i]);
	__atomic_fetch_add(&m->born, N, __ATOMIC_RELAXED);
}

TEST(PY_WKD_07_on_several_threads)
{
	struct mixed m = {.env = test_env(), .rounds = scaled(20000)};

	m.map = map_new(m.env);
	run_threads(4, mix, &m);
	CHECK_EQ(items_destroyed_now(), m.born);
	map_end(m.map, 0);
	test_env_end(m.env);
}

/* Keys that were and are never asked for again leave nothing behind. */
TEST(keys_that_come_and_go_do_not_add_up)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	struct test_allocator *memory = test_env_allocator(env);
	hapax_weak_map *map = map_new(env);
	const int n = test_slow_build() ? 20000 : 100000;
	size_t before = 0;

	for (int i = 0; i < n; i++) {
		struct item *key = item_new(env, i);

		map_give(map, key, item_new(env, i));
		hapax_release(key);
		if (i % 500 == 499) {
			hapax_testing_drain(env);
			if (!before)
				before = memory->live_bytes;
			CHECK(memory->live_bytes <= 2 * before);
		}
	}
	CHECK_EQ(items_destroyed_now(), 2 * n);
	map_end(map, 0);
	test_env_end(env);
}
