/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of weak maps, weak sets and interning, and of what they do together with caches, forks and ending threads. */
#include "unit/witness.h"

#include <sys/wait.h>
#include <unistd.h>

static hapax_weak_map *map_new(hapax_env *env)
{
	hapax_weak_map_options o = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env, .name = "attached"};
	hapax_weak_map *map = NULL;

	CHECK_EQ(hapax_weak_map_create(&map, &o), HAPAX_OK);
	return map;
}

static hapax_weak_set *set_new(hapax_env *env)
{
	hapax_weak_set_options o = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = env};
	hapax_weak_set *set = NULL;

	CHECK_EQ(hapax_weak_set_create(&set, &o), HAPAX_OK);
	return set;
}

static void map_sound(hapax_weak_map *map)
{
	char message[200] = "";

	if (hapax_testing_check_weak_map(map, message, sizeof(message)))
		TEST_FAIL("%s", message);
}

/* ---- data that is a key ---------------------------------------------------------------------------------------------- */

/* Each key's data is the next key: the first one's death is the death of all, on a stack that does not grow. */
TEST(PY_WKD_01_PY_DTH_04_CB_10_a_chain_of_keys_and_data)
{
	int n = test_slow_build() ? 10000 : 100000;
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	struct witness *first = witness_new(env, 0, 0), *last = first, *next;
	hapax_weak *end;

	for (int i = 1; i < n; i++) {
		next = witness_new(env, (uint64_t)i, 0);
		CHECK_EQ(hapax_weak_map_put(map, last, next), HAPAX_OK);
		if (last != first)
			hapax_release(last);
		last = next;
	}
	CHECK_EQ(hapax_weak_new(last, NULL, &end), HAPAX_OK);
	hapax_release(last);
	CHECK_EQ(hapax_weak_map_size(map), n - 1);
	CHECK(hapax_weak_alive(end));
	witness_ends = 0;
	hapax_release(first);
	CHECK_EQ(witness_ends, n);
	CHECK(!hapax_weak_alive(end));
	CHECK_EQ(hapax_weak_map_size(map), 0);
	map_sound(map);
	CHECK_EQ(hapax_weak_drop(end), HAPAX_OK);
	hapax_weak_map_destroy(map);
	witness_rest(env);
}

struct reported {
	unsigned objects, cycles, through;
	const void *a, *b;
};
static void look_at_leak(const hapax_leak *leak, void *ctx)
{
	struct reported *r = ctx;

	if (!leak->object)
		return;
	r->objects++;
	r->cycles += leak->cycle;
	CHECK(leak->object == r->a || leak->object == r->b);
	for (size_t i = 0; i < leak->n_from; i++)
		r->through += leak->from[i].offset == HAPAX_LEAK_THROUGH_HOLDER;
}

/* a is b's data and b is a's; or an object is its own. Named, kept, and gone with one removal. */
TEST(PY_WKD_05_L13_data_and_key_of_each_other)
{
	for (int same = 0; same < 2; same++) {
		hapax_env *env = test_env();
		hapax_weak_map *map = map_new(env);
		struct witness *a = witness_new(env, 1, 'a'), *b = same ? a : witness_new(env, 2, 'b');
		struct reported r = {.a = a, .b = b};
		void *key = NULL, *data = NULL;

		CHECK_EQ(hapax_weak_map_put(map, a, b), HAPAX_OK);
		if (!same)
			CHECK_EQ(hapax_weak_map_put(map, b, a), HAPAX_OK);
		hapax_release(a);
		if (!same)
			hapax_release(b);
		diary_is("");
		CHECK_EQ(hapax_weak_map_size(map), same ? 1 : 2);
		CHECK_EQ(hapax_leak_report(env, look_at_leak, &r), same ? 1 : 2);
		CHECK(r.cycles >= (same ? 1U : 2U));
		CHECK(r.through >= (same ? 1U : 2U));
		diary_is(""); /* a report ends nothing, and keeps nothing */
		CHECK_EQ(hapax_weak_map_pop_any(map, &key, &data), HAPAX_OK);
		CHECK_EQ(hapax_count(key), same ? 2 : 2);
		hapax_release(key);
		hapax_release(data);
		CHECK_EQ(strlen(diary), same ? 1 : 2);
		diary_clear();
		CHECK_EQ(hapax_weak_map_size(map), 0);
		hapax_weak_map_destroy(map);
		witness_rest(env);
	}
}

/* ---- calls from the destructors of data ------------------------------------------------------------------------------ */

static struct {
	hapax_env *env;
	hapax_weak_map *map;
	struct witness *key, *other;
	hapax_cache *cache;
	unsigned calls;
} at;

static void uses_the_map(struct witness *w, void *arg)
{
	struct witness *fresh = witness_new(at.env, 9, 0);
	hapax_weak_map_iter *walk = NULL;
	void *key, *data;
	int rc;

	(void)w;
	(void)arg;
	at.calls++;
	CHECK_EQ(hapax_weak_map_iterate(at.map, &walk), HAPAX_OK);
	while ((rc = hapax_weak_map_next(walk, &key, &data)) == HAPAX_OK)
		CHECK(data != w && hapax_count(data) >= 1);
	CHECK_EQ(rc, HAPAX_EMPTY);
	hapax_weak_map_close(walk);
	CHECK_EQ(hapax_weak_map_put(at.map, at.other, fresh), HAPAX_OK);
	rc = hapax_weak_map_get(at.map, at.other, &data);
	CHECK_EQ(rc, HAPAX_OK);
	CHECK_PTR(data, fresh);
	hapax_release(data);
	hapax_release(fresh);
}

TEST(L5_PY_DTH_06_SD_35_data_that_uses_its_map_when_it_ends)
{
	for (int how = 0; how < 6; how++) {
		struct witness *data, *plain;
		void *out = NULL;

		at.env = test_env();
		at.map = map_new(at.env);
		at.calls = 0;
		at.key = witness_new(at.env, 1, 'k');
		at.other = witness_new(at.env, 2, 0);
		plain = witness_new(at.env, 3, 0);
		data = witness_new(at.env, 4, 'd');
		data->last = uses_the_map;
		CHECK_EQ(hapax_weak_map_put(at.map, at.key, data), HAPAX_OK);
		hapax_release(data);
		if (how == 0)
			CHECK_EQ(hapax_weak_map_put(at.map, at.key, plain), HAPAX_OK);
		if (how == 1)
			CHECK_EQ(hapax_weak_map_remove(at.map, at.key), HAPAX_OK);
		if (how == 2)
			hapax_weak_map_clear(at.map);
		if (how == 3) {
			CHECK_EQ(hapax_weak_map_pop(at.map, at.key, &out), HAPAX_OK);
			CHECK_EQ(at.calls, 0);
			hapax_release(out);
		}
		if (how == 4)
			hapax_release(at.key);
		if (how == 5) /* both are one key: what ends is what the new data of the other takes away */
			CHECK_EQ(hapax_weak_map_pop_any(at.map, &out, (void **)&data), HAPAX_OK), hapax_release(out), hapax_release(data);
		CHECK_EQ(at.calls, 1);
		diary_is(how == 4 ? "dk" : "d");
		CHECK_EQ(hapax_weak_map_contains(at.map, at.other), how == 2 ? hapax_weak_map_contains(at.map, at.other) : 1);
		CHECK_EQ(hapax_count(plain), how == 0 ? 2 : 1);
		map_sound(at.map);
		hapax_weak_map_destroy(at.map);
		CHECK_EQ(hapax_count(plain), 1);
		if (how != 4)
			hapax_release(at.key);
		hapax_release(at.other);
		hapax_release(plain);
		diary_clear();
		witness_rest(at.env);
	}
}

/* ---- against a model --------------------------------------------------------------------------------------------------- */

enum { KEYS = 24, DATA = 6 };

static void compare(hapax_weak_map *map, hapax_weak_set *set, struct witness **keys, const int *has, const bool *member,
		    struct witness **data, unsigned maps)
{
	unsigned entries = 0, members = 0, seen = 0, uses[DATA] = {0};
	hapax_weak_map_iter *walk = NULL;
	void *key, *d;

	for (int k = 0; k < KEYS; k++) {
		CHECK_EQ(hapax_weak_map_contains(map, keys[k]), has[k] >= 0);
		CHECK_EQ(hapax_weak_set_contains(set, keys[k]), member[k]);
		entries += has[k] >= 0;
		members += member[k];
		if (has[k] >= 0)
			uses[has[k]]++;
	}
	CHECK_EQ(hapax_weak_map_size(map), entries);
	CHECK_EQ(hapax_weak_set_size(set), members);
	for (int i = 0; i < DATA; i++)
		CHECK_EQ(hapax_count(data[i]), 1 + uses[i] * maps);
	CHECK_EQ(hapax_weak_map_iterate(map, &walk), HAPAX_OK);
	while (hapax_weak_map_next(walk, &key, &d) == HAPAX_OK) {
		int k = (int)((struct witness *)key)->id;

		CHECK_PTR(key, keys[k]);
		CHECK_PTR(d, data[has[k]]);
		seen++;
	}
	hapax_weak_map_close(walk);
	CHECK_EQ(seen, entries);
}

TEST(L8_PY_WKD_07_PY_WVD_19_maps_and_sets_against_a_model_with_deaths)
{
	uint64_t rng = test_stream(3);
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env), *copy = NULL;
	hapax_weak_set *set = set_new(env), *members = NULL;
	struct witness *keys[KEYS], *data[DATA];
	int has[KEYS];
	bool member[KEYS] = {false}, flag;
	size_t copied;
	void *out;

	for (int i = 0; i < DATA; i++)
		data[i] = witness_new(env, (uint64_t)i, 0);
	for (int i = 0; i < KEYS; i++) {
		keys[i] = witness_new(env, (uint64_t)i, 0);
		has[i] = -1;
	}
	for (int step = 0; step < 4000; step++) {
		int k = (int)test_below(&rng, KEYS), d = (int)test_below(&rng, DATA);

		switch (test_below(&rng, 9)) {
		case 0:
			CHECK_EQ(hapax_weak_map_put(map, keys[k], data[d]), HAPAX_OK);
			has[k] = d;
			break;
		case 1:
			CHECK_EQ(hapax_weak_map_get_or_put(map, keys[k], data[d], &out, &flag), HAPAX_OK);
			CHECK_EQ(flag, has[k] < 0);
			has[k] = has[k] < 0 ? d : has[k];
			CHECK_PTR(out, data[has[k]]);
			hapax_release(out);
			break;
		case 2:
			CHECK_EQ(hapax_weak_map_remove(map, keys[k]), has[k] < 0 ? HAPAX_MISS : HAPAX_OK);
			has[k] = -1;
			break;
		case 3:
			CHECK_EQ(hapax_weak_map_pop(map, keys[k], &out), has[k] < 0 ? HAPAX_MISS : HAPAX_OK);
			CHECK_PTR(out, has[k] < 0 ? NULL : data[has[k]]);
			hapax_release(out);
			has[k] = -1;
			break;
		case 4:
		case 5: /* dies; another one, perhaps at its address, has nothing */
			hapax_release(keys[k]);
			if (test_below(&rng, 4) == 0)
				hapax_testing_drain(env);
			keys[k] = witness_new(env, (uint64_t)k, 0);
			has[k] = -1;
			member[k] = false;
			break;
		case 6:
			CHECK_EQ(hapax_weak_set_add(set, keys[k], &flag), HAPAX_OK);
			CHECK_EQ(flag, !member[k]);
			member[k] = true;
			break;
		case 7:
			CHECK_EQ(hapax_weak_set_remove(set, keys[k]), member[k] ? HAPAX_OK : HAPAX_MISS);
			member[k] = false;
			break;
		default:
			if (test_below(&rng, 40) == 0) {
				CHECK_EQ(hapax_weak_map_snapshot(map, &copy), HAPAX_OK);
				CHECK_EQ(hapax_weak_set_snapshot(set, &members), HAPAX_OK);
				compare(copy, members, keys, has, member, data, 2);
				hapax_weak_map_clear(map);
				hapax_weak_set_clear(set);
				CHECK_EQ(hapax_weak_map_size(map) + hapax_weak_set_size(set), 0);
				CHECK_EQ(hapax_weak_map_copy(map, copy, &copied), HAPAX_OK);
				CHECK_EQ(copied, hapax_weak_map_size(copy));
				CHECK_EQ(hapax_weak_map_copy(map, map, &copied), HAPAX_OK);
				CHECK_EQ(hapax_weak_set_copy(set, members, &copied), HAPAX_OK);
				hapax_weak_map_destroy(copy);
				hapax_weak_set_destroy(members);
			}
		}
		if (step % 16 == 0)
			compare(map, set, keys, has, member, data, 1);
	}
	map_sound(map);
	for (int i = 0; i < KEYS; i++) {
		uint64_t both = (uint64_t)(has[i] >= 0) + (uint64_t)member[i];

		CHECK_EQ(hapax_weak_count(keys[i]), both);
	}
	hapax_weak_map_destroy(map); /* before its keys; the set after them */
	for (int i = 0; i < KEYS; i++) {
		CHECK_EQ(hapax_weak_count(keys[i]), member[i]);
		hapax_release(keys[i]);
	}
	CHECK_EQ(hapax_weak_set_size(set), 0);
	hapax_weak_set_destroy(set);
	for (int i = 0; i < DATA; i++) {
		CHECK_EQ(hapax_count(data[i]), 1);
		hapax_release(data[i]);
	}
	witness_rest(env);
}

/* An iterator outlives its map, and pins one pair at most. */
TEST(PY_IT_08_PY_IT_10_L12_an_iterator_that_outlives_all)
{
	hapax_env *env = test_env();
	hapax_weak_map *map = map_new(env);
	hapax_weak_set *set = set_new(env);
	hapax_weak_map_iter *walk = NULL;
	hapax_weak_set_iter *members = NULL;
	struct witness *keys[8];
	void *key = NULL, *data = NULL, *member = NULL;

	witness_ends = 0;
	for (int i = 0; i < 8; i++) {
		struct witness *d = witness_new(env, 100 + (uint64_t)i, 0);

		keys[i] = witness_new(env, (uint64_t)i, 0);
		CHECK_EQ(hapax_weak_map_put(map, keys[i], d), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_add(set, keys[i], NULL), HAPAX_OK);
		hapax_release(d);
	}
	CHECK_EQ(hapax_weak_map_iterate(map, &walk), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_iterate(set, &members), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_next(walk, &key, &data), HAPAX_OK);
	do
		CHECK_EQ(hapax_weak_set_next(members, &member), HAPAX_OK);
	while (member != key);
	for (int i = 0; i < 8; i++)
		hapax_release(keys[i]);
	CHECK_EQ(witness_ends, 14);
	CHECK_EQ(hapax_weak_map_size(map), 1);
	CHECK_EQ(hapax_weak_set_size(set), 1);
	hapax_weak_map_destroy(map);
	hapax_weak_set_destroy(set);
	CHECK_EQ(((struct witness *)key)->id + 100, ((struct witness *)data)->id);
	CHECK_EQ(witness_ends, 14);
	CHECK_EQ(hapax_weak_set_next(members, &member), HAPAX_EMPTY);
	CHECK_EQ(witness_ends, 14);
	CHECK_EQ(hapax_weak_map_next(walk, &key, &data), HAPAX_EMPTY);
	CHECK_EQ(witness_ends, 16);
	hapax_weak_map_close(walk);
	hapax_weak_set_close(members);
	witness_rest(env);
}

/* ---- interning ----------------------------------------------------------------------------------------------------------- */

TEST(L14_CF_MT_07_interning_contents_of_no_bytes)
{
	static const hapax_type empty = {HAPAX_TYPE_INIT, .name = "empty"};
	hapax_env *env = test_env();
	hapax_interner_options o = {HAPAX_INTERNER_OPTIONS_INIT, .env = env, .type = &empty};
	hapax_interner *interner = NULL;
	void *a, *b, *out;
	bool canonical;

	CHECK_EQ(hapax_interner_create(&interner, &o), HAPAX_OK);
	CHECK_EQ(hapax_new(env, &empty, 0, &a), HAPAX_OK);
	CHECK_EQ(hapax_new(env, &empty, 0, &b), HAPAX_OK);
	CHECK_EQ(hapax_intern_find(interner, HAPAX_BYTES(NULL, 0), &out), HAPAX_MISS);
	CHECK_EQ(hapax_intern(interner, a, &out, &canonical), HAPAX_OK);
	CHECK(canonical && out == a);
	hapax_release(out);
	CHECK_EQ(hapax_intern(interner, b, &out, &canonical), HAPAX_OK);
	CHECK(!canonical && out == a);
	hapax_release(out);
	CHECK_EQ(hapax_intern(interner, a, &out, &canonical), HAPAX_OK);
	CHECK(canonical && out == a); /* it is itself, again */
	hapax_release(out);
	CHECK_EQ(hapax_intern_find(interner, HAPAX_BYTES("", 0), &out), HAPAX_OK);
	CHECK_PTR(out, a);
	hapax_release(out);
	CHECK_EQ(hapax_count(a), 1);
	hapax_release(a);
	CHECK_EQ(hapax_interner_size(interner), 0);
	CHECK_EQ(hapax_intern(interner, b, &out, &canonical), HAPAX_OK);
	CHECK(canonical && out == b);
	hapax_release(out);
	hapax_interner_destroy(interner); /* before what it knows */
	hapax_release(b);
	witness_rest(env);
}

enum { INTERNERS = 4, ROUNDS = 150 };
static struct {
	hapax_env *env;
	hapax_interner *interner;
	struct test_barrier meet;
	void *got[INTERNERS];
	unsigned canonical[ROUNDS];
} many;

static int id_of(const void *object, hapax_key *bytes, void *ctx)
{
	(void)ctx;
	*bytes = HAPAX_BYTES(&((const struct witness *)object)->id, sizeof(uint64_t));
	return 0;
}

static void intern_together(unsigned index, void *arg)
{
	(void)arg;
	for (int round = 0; round < ROUNDS; round++) {
		/* the same contents in all rounds: each begins with the end of the one before */
		struct witness *mine = witness_new(many.env, 5, 0);
		bool canonical;

		test_barrier_wait(&many.meet);
		CHECK_EQ(hapax_intern(many.interner, mine, &many.got[index], &canonical), HAPAX_OK);
		CHECK_EQ(canonical, many.got[index] == mine);
		if (canonical)
			__atomic_add_fetch(&many.canonical[round], 1, __ATOMIC_RELAXED);
		test_barrier_wait(&many.meet);
		for (int i = 0; i < INTERNERS; i++)
			CHECK_PTR(many.got[i], many.got[index]);
		test_barrier_wait(&many.meet);
		hapax_release(mine);
		hapax_release(many.got[index]);
	}
}

TEST(CF_MT_07_L6_one_canonical_object_in_every_round)
{
	hapax_interner_options o = {HAPAX_INTERNER_OPTIONS_INIT, .contents = id_of};

	many.env = o.env = test_env();
	CHECK_EQ(hapax_interner_create(&many.interner, &o), HAPAX_OK);
	test_barrier_init(&many.meet, INTERNERS);
	run_threads(INTERNERS, intern_together, NULL);
	for (int i = 0; i < ROUNDS; i++)
		CHECK_EQ(many.canonical[i], 1);
	CHECK_EQ(hapax_interner_size(many.interner), 0);
	hapax_interner_destroy(many.interner);
	witness_rest(many.env);
}
