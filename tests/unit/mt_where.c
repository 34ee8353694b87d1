/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* remove_where. */
#include "unit/removals.h"

enum { MANY = 40 };

struct matcher {
	struct tier *t;
	int calls, seen[2 * MANY];
	int stop_at, answer; /* at that call; 0: never */
	void (*then)(struct matcher *m, const hapax_key *key, struct item *it);
	bool all;
};

/* The even ones, or all. */
static int match(const hapax_key *key, void *object, void *ctx)
{
	struct matcher *m = ctx;
	struct item *it = object;
	char text[TOLD_KEY] = "";

	CHECK(m->calls < 2 * MANY);
	CHECK(item_is_alive(it));
	CHECK(key->size < sizeof(text));
	memcpy(text, key->data, key->size);
	CHECK_EQ(atoi(text), it->id);
	m->seen[m->calls++] = it->id;
	if (m->then)
		m->then(m, key, it);
	if (m->stop_at && m->calls == m->stop_at)
		return m->answer;
	return m->all || it->id % 2 == 0;
}

static void begin(struct tier *t, struct item **items, int kind)
{
	t->silent = kind == 0;
	tier_begin(t, PUT, test_env_fake(),
		   (hapax_cache_options){.max_entries = kind ? 1000 : 0, .ttl_ns = kind == 2 ? 1000 : 0});
	for (int i = 0; i < MANY; i++) {
		items[i] = tier_put(t, k(i));
		items[i]->id = i;
	}
}

static void end(struct tier *t, struct item **items, size_t size)
{
	for (int i = 0; i < MANY; i++)
		hapax_release(items[i]);
	tier_end(t, t->silent ? 0 : size);
}

TEST(MK_MT_02_exactly_those_that_match_are_removed)
{
	for (int kind = 0; kind < 3; kind++) {
		struct tier t = {0};
		struct matcher m = {.t = &t};
		struct item *items[MANY];
		size_t removed = 99;

		begin(&t, items, kind);
		CHECK_EQ(hapax_cache_remove_where(t.cache, match, &m, &removed), HAPAX_OK);
		CHECK_EQ(m.calls, MANY);
		CHECK_EQ(removed, MANY / 2);
		for (int i = 0; i < MANY; i++) {
			CHECK_PTR(present(t.cache, k(i)), i % 2 ? items[i] : NULL);
			CHECK_EQ(hapax_count(items[i]), 1 + (kind && i % 2));
		}
		CHECK_EQ(stats_of(t.cache).removals, MANY / 2);
		if (kind)
			TOLD(&t.r, MANY / 2, 0, 0, 0, 0, 0);
		m.calls = 0;
		CHECK_EQ(hapax_cache_remove_where(t.cache, match, &m, NULL), HAPAX_OK);
		CHECK_EQ(m.calls, MANY / 2);
		if (kind == 2) { /* what has expired is not asked about */
			fake_clock_advance(1000);
			m.calls = 0;
			CHECK_EQ(hapax_cache_remove_where(t.cache, match, &m, &removed), HAPAX_OK);
			CHECK_EQ(m.calls, 0);
			CHECK_EQ(removed, 0);
			tier_settle(&t);
		}
		end(&t, items, kind == 2 ? 0 : MANY / 2);
	}
}

TEST(MK_MT_02_another_answer_stops_it_and_leaves_the_rest)
{
	static const int answers[] = {2, -1, 1000};

	for (int i = 0; i < 3; i++) {
		struct tier t = {0};
		struct matcher m = {.t = &t, .all = true, .stop_at = 11, .answer = answers[i]};
		struct item *items[MANY];
		size_t removed = 99, left = 0;

		begin(&t, items, 1);
		CHECK_EQ(hapax_cache_remove_where(t.cache, match, &m, &removed), HAPAX_ECALLBACK);
		CHECK_EQ(m.calls, 11);
		CHECK_EQ(removed, 10);
		for (int n = 0; n < MANY; n++)
			left += present(t.cache, k(n)) != NULL;
		CHECK_EQ(left, MANY - 10);
		CHECK_PTR(present(t.cache, k(m.seen[10])), items[m.seen[10]]);
		end(&t, items, MANY - 10);
	}
}

/* The predicate may do anything, also to the entry that it looks at. */
static void meddle(struct matcher *m, const hapax_key *key, struct item *it)
{
	struct item *fresh = tier_item(m->t);
	hapax_cache *c = m->t->cache;

	fresh->id = it->id;
	if (it->id % 4 == 0)
		CHECK_EQ(hapax_cache_put(c, *key, fresh), HAPAX_OK); /* it is not this one that was asked about */
	else if (it->id % 4 == 2)
		CHECK_EQ(hapax_cache_remove(c, *key), HAPAX_OK);
	else
		CHECK(hapax_cache_contains(c, *key) == 1);
	hapax_release(fresh);
}

TEST(MK_MT_02_only_the_entry_that_was_looked_at_is_removed)
{
	struct tier t = {0};
	struct matcher m = {.t = &t, .then = meddle};
	struct item *items[MANY];
	size_t removed = 99;

	begin(&t, items, 1);
	CHECK_EQ(hapax_cache_remove_where(t.cache, match, &m, &removed), HAPAX_OK);
	CHECK_EQ(m.calls, MANY); /* what is put meanwhile is not asked about in a cache that knows when */
	CHECK_EQ(removed, 0);
	for (int i = 0; i < MANY; i++) {
		struct item *it = present(t.cache, k(i));

		CHECK_EQ(it != NULL, i % 4 != 2);
		CHECK(i % 4 != 0 || it != items[i]);
	}
	TOLD(&t.r, MANY / 4, MANY / 4, 0, 0, 0, 0);
	end(&t, items, MANY - MANY / 4);
}

/* A listener that writes back what is removed does not keep it going. */
static void write_back(struct removals *r, const hapax_removal *removal)
{
	struct tier *t = r->arg;
	struct item *it;

	if (removal->cause != HAPAX_CAUSE_EXPLICIT)
		return;
	it = tier_item(t);
	it->id = ((struct item *)removal->object)->id;
	CHECK_EQ(hapax_cache_put(t->cache, removal->key, it), HAPAX_OK);
	hapax_release(it);
}

TEST(MK_MT_02_what_is_put_meanwhile_stays)
{
	struct tier t = {0};
	struct matcher m = {.t = &t, .all = true};
	struct item *items[MANY];
	size_t removed;

	begin(&t, items, 1);
	t.r.arg = &t;
	t.r.then = write_back;
	CHECK_EQ(hapax_cache_remove_where(t.cache, match, &m, &removed), HAPAX_OK);
	CHECK_EQ(removed, MANY);
	CHECK_EQ(m.calls, MANY);
	for (int i = 0; i < MANY; i++)
		CHECK(present(t.cache, k(i)) && present(t.cache, k(i)) != items[i]);
	t.r.then = NULL;
	end(&t, items, MANY);
}

/* Long keys of every kind of entry; their bytes arrive whole. */
static int long_key(const hapax_key *key, void *object, void *ctx)
{
	size_t *sizes = ctx;
	const unsigned char *bytes = key->data;

	(void)object;
	for (size_t i = 1; i < key->size; i++)
		CHECK_EQ(bytes[i], (unsigned char)(key->size + i));
	sizes[0] += key->size;
	sizes[1]++;
	return key->size > 300;
}

TEST(MK_MT_02_keys_of_all_sizes)
{
	static unsigned char bytes[70000];
	static const size_t size[] = {0, 1, 127, 128, 129, 400, 70000};
	struct item *items[7];

	for (int kind = 0; kind < 2; kind++) {
		struct tier t = {0};
		size_t sizes[2] = {0, 0}, removed, sum = 0;

		t.silent = kind == 0;
		tier_begin(&t, PUT, test_env_fake(), (hapax_cache_options){.max_entries = kind ? 100 : 0});
		for (int i = 0; i < 7; i++) {
			for (size_t n = 0; n < size[i]; n++)
				bytes[n] = (unsigned char)(size[i] + n);
			items[i] = tier_item(&t);
			CHECK_EQ(hapax_cache_put(t.cache, (hapax_key){bytes, size[i]}, items[i]), HAPAX_OK);
			sum += size[i];
		}
		CHECK_EQ(hapax_cache_remove_where(t.cache, long_key, sizes, &removed), HAPAX_OK);
		CHECK_EQ(sizes[0], sum);
		CHECK_EQ(sizes[1], 7);
		CHECK_EQ(removed, 2);
		for (int i = 0; i < 7; i++)
			hapax_release(items[i]);
		tier_end(&t, kind ? 5 : 0);
	}
}

static int vanishes(const hapax_key *key, void *object, void *ctx)
{
	(void)key;
	(void)object;
	(void)ctx;
	pthread_exit(NULL);
}

static void *removes_where(void *arg)
{
	hapax_cache_remove_where(((struct tier *)arg)->cache, vanishes, NULL, NULL);
	return NULL;
}

TEST(MK_MT_02_a_predicate_that_vanishes_holds_nothing)
{
	for (int kind = 0; kind < 2; kind++) {
		struct tier t = {0};
		struct item *items[MANY];

		begin(&t, items, kind);
		pthread_join(test_thread(removes_where, &t), NULL);
		for (int i = 0; i < MANY; i++)
			CHECK_EQ(hapax_count(items[i]), 1 + (kind != 0));
		CHECK_EQ(hapax_cache_remove_where(NULL, match, NULL, NULL), HAPAX_ENULL);
		CHECK_EQ(hapax_cache_remove_where(t.cache, NULL, NULL, NULL), HAPAX_ENULL);
		end(&t, items, MANY);
	}
}

/* Beside puts, removals and deaths of the same keys: nothing is lost or leaves twice (tier_check). */
static int always(const hapax_key *key, void *object, void *ctx)
{
	(void)key;
	(void)ctx;
	CHECK(item_is_alive(object));
	return 1;
}

static void churn(unsigned index, void *arg)
{
	struct tier *t = arg;

	for (uint64_t i = scaled(200); i > 0; i--) {
		if (index == 0)
			CHECK_EQ(hapax_cache_remove_where(t->cache, always, NULL, NULL), HAPAX_OK);
		else if (index == 1 && i % 2)
			(void)hapax_cache_remove(t->cache, HAPAX_STR(k((int)(i % 7))));
		else
			hapax_release(tier_put(t, k((int)(i % 7))));
	}
}

TEST(MK_MT_02_beside_everything_else)
{
	for (int kind = 0; kind < 2; kind++) {
		struct tier t = {0};

		t.silent = kind == 0;
		tier_begin(&t, PUT, test_env_fake(), (hapax_cache_options){.max_entries = kind ? 5 : 0});
		run_threads(4, churn, &t);
		tier_end(&t, hapax_cache_size(t.cache));
	}
}
