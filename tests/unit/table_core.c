/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table below its public face: loads, displacement, tables that keep, chains, moves, keys. */
#include "support/support.h"

#include "table/core.h"
#include "table/lookup.h"

struct thing {
	int i;
};
HAPAX_TYPE(thing, struct thing, .destroy = NULL);

struct fixture {
	hapax_env *env;
	struct hpx_table *t;
	unsigned displaced;
	uint64_t word;
};

static void setup(struct fixture *f, bool keep)
{
	struct hpx_table_config config = {.keep = keep};

	*f = (struct fixture){.env = test_env()};
	config.env = f->env;
	CHECK_EQ(hpx_table_new(&f->t, &config), 0);
}

static void finish(void *e, uint64_t word, void *ctx)
{
	(void)word;
	(void)ctx;
	hpx_record_finish(e);
}

static void teardown(struct fixture *f)
{
	char message[200] = "";
	size_t entries;

	if (hpx_table_check(f->t, message, sizeof(message), &entries) != 0)
		TEST_FAIL("%s", message);
	hpx_table_end(f->t, finish, NULL);
	hpx_table_drop(f->t);
	test_env_end(f->env);
}

static struct hpx_record *record(struct fixture *f, uint64_t key, struct thing *thing, uint64_t flags)
{
	hapax_key k = HAPAX_KEY_OF(key);
	struct hpx_record *r;
	uint64_t h;

	CHECK_EQ(hpx_table_hash(f->t, &k, &h), 0);
	CHECK_EQ(hpx_record_new(f->t, &k, h, flags, thing ? hpx_object_of(thing) : NULL, &r), 0);
	return r;
}

static void displaced(void *e, uint64_t word, void *ctx)
{
	struct fixture *f = ctx;

	f->displaced++;
	f->word = word;
	if (!(word & HPX_W_LOADING) && !f->t->keep)
		hpx_record_finish(e);
}

static enum hpx_put_result put(struct fixture *f, struct hpx_record *r, enum hpx_put_mode mode, void **entry)
{
	hapax_key key = hpx_table_key(f->t, r);
	struct hpx_object *found;
	enum hpx_put_result result;

	hpx_read_lock();
	result = hpx_table_put(f->t, hpx_word_hash(hpx_load_relaxed(hpx_word(r))), &key, r, mode, &found, entry, displaced, f);
	hpx_read_unlock();
	if (found)
		hpx_release(found);
	return result;
}

static struct hpx_object *look(struct fixture *f, uint64_t key, void **entry)
{
	hapax_key k = HAPAX_KEY_OF(key);
	struct hpx_object *object;
	uint64_t h;

	CHECK_EQ(hpx_table_hash(f->t, &k, &h), 0);
	hpx_read_lock();
	object = hpx_table_lookup(f->t, h, &k, entry);
	hpx_read_unlock();
	return object;
}

TEST(table_loading_is_reported_and_fenced)
{
	struct fixture f;
	struct hpx_record *load, *again, *other;
	struct thing *thing;
	void *entry;

	setup(&f, false);
	CHECK_EQ(thing_new(f.env, &thing), 0);
	load = record(&f, 1, NULL, HPX_W_LOADING);
	CHECK_EQ(put(&f, load, HPX_PUT_LOAD, &entry), HPX_PUT_DONE);
	CHECK_PTR(look(&f, 1, &entry), NULL);
	CHECK_PTR(entry, load);
	again = record(&f, 1, NULL, HPX_W_LOADING);
	CHECK_EQ(put(&f, again, HPX_PUT_LOAD, &entry), HPX_PUT_LOADING);
	CHECK_PTR(entry, load);
	hpx_record_discard(again);
	other = record(&f, 1, thing, 0);
	CHECK_EQ(put(&f, other, HPX_PUT_ABSENT, &entry), HPX_PUT_DONE);
	CHECK_EQ(f.displaced, 1);
	CHECK(f.word & HPX_W_LOADING && !(f.word & HPX_W_GONE));
	CHECK_PTR(look(&f, 1, &entry), hpx_object_of(thing));
	CHECK_PTR(entry, other);
	hapax_release(thing);
	/* the loader lands: its entry was fenced */
	CHECK(hpx_and_acq_rel(hpx_word(load), ~(HPX_W_LOADING | HPX_W_WAITED)) & HPX_W_GONE);
	hpx_record_finish(load);
	/* the same object again keeps the entry */
	again = record(&f, 1, thing, 0);
	CHECK_EQ(put(&f, again, HPX_PUT_REPLACE, &entry), HPX_PUT_LIVE);
	hpx_record_discard(again);
	hapax_release(thing);
	CHECK_PTR(look(&f, 1, &entry), NULL);
	CHECK_PTR(entry, NULL);
	teardown(&f);
}

TEST(table_that_keeps_is_blocked)
{
	struct fixture f;
	struct hpx_record *first, *second;
	struct thing *a, *b;
	void *entry;

	setup(&f, true);
	CHECK_EQ(thing_new(f.env, &a), 0);
	CHECK_EQ(thing_new(f.env, &b), 0);
	first = record(&f, 5, a, 0);
	second = record(&f, 5, b, 0);
	CHECK_EQ(put(&f, first, HPX_PUT_LOAD, &entry), HPX_PUT_DONE);
	CHECK_EQ(put(&f, second, HPX_PUT_REPLACE, &entry), HPX_PUT_BLOCKED);
	CHECK_PTR(entry, first);
	CHECK_EQ(f.displaced, 1);
	CHECK_PTR(look(&f, 5, &entry), NULL);
	CHECK_PTR(entry, first);
	CHECK(hpx_table_resize(f.t, 1));
	CHECK_EQ(put(&f, second, HPX_PUT_ABSENT, &entry), HPX_PUT_BLOCKED);
	hapax_release(a);
	hpx_read_lock();
	CHECK(hpx_table_unlink(f.t, first));
	CHECK(!hpx_table_unlink(f.t, first));
	hpx_read_unlock();
	hpx_record_finish(first);
	CHECK_EQ(put(&f, second, HPX_PUT_ABSENT, &entry), HPX_PUT_DONE);
	hpx_read_lock();
	CHECK(!(hpx_table_claim(f.t, second) & HPX_W_GONE));
	hpx_read_unlock();
	hpx_record_finish(second);
	hapax_release(b);
	teardown(&f);
}

static int constant(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = 0;
	return 0;
}

TEST(table_chain_holds_ten_thousand)
{
	enum { N = 10000 };
	unsigned n = test_slow_build() ? N / 10 : N;
	hapax_env *env = test_env();
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .keys = {.hash = constant}};
	struct thing *things[N] = {NULL};
	hapax_table *table;
	char message[200];
	void *found;

	CHECK_EQ(hapax_table_create(&table, &options), 0);
	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(thing_new(env, &things[i]), 0);
		CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(i), things[i]), 0);
	}
	CHECK_EQ(hapax_table_size(table), n);
	CHECK_EQ(hapax_testing_table_resize(table, 1), 0);
	for (unsigned i = 0; i < n; i += 2) {
		hapax_release(things[i]);
		things[i] = NULL;
	}
	for (unsigned i = 0; i < n; i += 7) {
		int status = hapax_table_get(table, HAPAX_KEY_OF(i), &found);

		CHECK_EQ(status, things[i] ? 0 : HAPAX_MISS);
		CHECK_PTR(found, things[i]);
		hapax_release(found);
	}
	CHECK_EQ(hapax_table_size(table), n / 2);
	if (n <= 1000 && hapax_testing_check_table(table, message, sizeof(message)) != 0)
		TEST_FAIL("%s", message);
	hapax_table_clear(table);
	CHECK_EQ(hapax_table_size(table), 0);
	for (unsigned i = 0; i < n; i++)
		hapax_release(things[i]);
	hapax_table_destroy(table);
	test_env_end(env);
}

static void count_release(const hapax_key *key, void *ctx)
{
	CHECK_EQ(key->size, 3);
	CHECK(memcmp(key->data, "abc", 3) == 0);
	++*(unsigned *)ctx;
}

TEST(table_borrowed_key_is_released_once_per_stored_key)
{
	hapax_env *env = test_env();
	unsigned released = 0;
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env,
				       .keys = {.borrow = true, .release = count_release, .ctx = &released}};
	hapax_table *table;
	struct thing *a, *b;
	void *found;
	bool inserted;

	CHECK_EQ(hapax_table_create(&table, &options), 0);
	CHECK_EQ(thing_new(env, &a), 0);
	CHECK_EQ(thing_new(env, &b), 0);
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("abc"), a), 0);
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("abc"), a), 0);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("abc"), b, &found, &inserted), 0);
	CHECK(found == a && !inserted);
	hapax_release(found);
	hapax_testing_drain(env);
	CHECK_EQ(released, 0);
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("abc"), b), 0);
	hapax_testing_drain(env);
	CHECK_EQ(released, 1);
	hapax_table_destroy(table);
	hapax_release(a);
	hapax_release(b);
	test_env_end(env);
	CHECK_EQ(released, 2);
}

TEST(table_grows_shrinks_and_iterates)
{
	enum { N = 20000 };
	static struct thing *things[N];
	hapax_env *env = test_env();
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	hapax_table *table;
	hapax_iter *iter;
	char message[200];
	unsigned n = 0;
	size_t before;

	CHECK_EQ(hapax_table_create(&table, &options), 0);
	before = hapax_testing_table_lines(table);
	for (unsigned i = 0; i < N; i++) {
		CHECK_EQ(thing_new(env, &things[i]), 0);
		CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(i), things[i]), 0);
	}
	CHECK(hapax_testing_table_lines(table) >= 64 * before);
	CHECK_EQ(hapax_table_iterate(table, &iter), 0);
	while (hapax_iter_next(iter, NULL, NULL) == 0) {
		if (n++ % 4000 == 0)
			(void)hapax_testing_table_resize(table, n % 8000 ? 1 : -1);
	}
	CHECK_EQ(n, N);
	hapax_iter_close(iter);
	if (hapax_testing_check_table(table, message, sizeof(message)) != 0)
		TEST_FAIL("%s", message);
	for (unsigned i = 0; i < N; i++)
		hapax_release(things[i]);
	CHECK_EQ(hapax_table_size(table), 0);
	while (hapax_testing_table_lines(table) > before)
		CHECK_EQ(hapax_testing_table_resize(table, -1), 0);
	hapax_table_destroy(table);
	test_env_end(env);
}

/* A forced halving may leave a crowded place that no array but a later, larger one has room for; the copies that met it
 * used to look for room in the full one for ever. */
TEST(table_crowded_place_moves_on)
{
	enum { N = 600 };
	hapax_env *env = test_env();
	struct thing *things[N];
	char message[200];

	for (unsigned i = 0; i < N; i++)
		CHECK_EQ(thing_new(env, &things[i]), 0);
	for (unsigned round = 0; round < 50; round++) {
		hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
		hapax_table *table;

		CHECK_EQ(hapax_table_create(&table, &options), 0);
		for (unsigned i = 0; i < N; i++)
			CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(i), things[i]), 0);
		for (unsigned i = 0; i < 3; i++)
			(void)hapax_testing_table_resize(table, -1);
		if (hapax_testing_check_table(table, message, sizeof(message)) != 0)
			TEST_FAIL("%s", message);
		CHECK_EQ(hapax_table_size(table), N);
		hapax_table_destroy(table);
	}
	for (unsigned i = 0; i < N; i++)
		hapax_release(things[i]);
	test_env_end(env);
}

struct takeover {
	hapax_table *table;
	struct thing *newer;
};

static void put_newer(const char *name, void *ctx)
{
	struct takeover *take = ctx;
	struct thing *newer = take->newer;

	if (strcmp(name, "death.dead") != 0 || !newer)
		return;
	take->newer = NULL;
	CHECK_EQ(hapax_table_put(take->table, HAPAX_STR("key"), newer), 0);
}

/* The key is taken again between an object's death and the removal of its entry: the removal is of that entry only. */
TEST(table_death_leaves_the_newer_entry)
{
	hapax_env *env = test_env();
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	struct takeover take;
	struct thing *old, *newer;
	void *found;

	CHECK_EQ(hapax_table_create(&take.table, &options), 0);
	CHECK_EQ(thing_new(env, &old), 0);
	CHECK_EQ(thing_new(env, &newer), 0);
	take.newer = newer;
	CHECK_EQ(hapax_table_put(take.table, HAPAX_STR("key"), old), 0);
	hapax_testing_set_stop(put_newer, &take);
	hapax_release(old);
	hapax_testing_set_stop(NULL, NULL);
	CHECK_PTR(take.newer, NULL);
	CHECK_EQ(hapax_table_get(take.table, HAPAX_STR("key"), &found), 0);
	CHECK_PTR(found, newer);
	CHECK_EQ(hapax_table_size(take.table), 1);
	hapax_release(found);
	hapax_release(newer);
	CHECK_EQ(hapax_table_size(take.table), 0);
	hapax_table_destroy(take.table);
	test_env_end(env);
}
