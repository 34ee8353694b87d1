/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leak reports: what points to what, and cycles. Every object stands in a table, so that they know it in every build.
 */
#include "unit/leaks.h"

/* Known one by one: in every build with a table, in tracing builds without. */
static void in_table(hapax_table *table, struct link *link, uint64_t n)
{
	link->number = n;
	table_put(table, HAPAX_KEY_OF(link->number), link);
}

TEST(a_cycle_of_two)
{
	hapax_env *env = test_env();
	hapax_table *table = links_table(env);
	struct link *a = link_new(env), *b = link_new(env), *c = link_new(env);
	struct said *s;

	a->next = b;
	b->next = kept(a);
	c->next = kept(b); /* leads to the cycle, and is not in it */
	in_table(table, a, 1);
	in_table(table, b, 2);
	in_table(table, c, 3);
	hapax_release(a);
	CHECK_EQ(look(env), 3);
	s = said_of(a, "links");
	CHECK(s && s->leak.cycle);
	CHECK_EQ(s->leak.count, 1);
	CHECK_EQ(s->leak.n_from, 1);
	CHECK(pointed_from(s, b, offsetof(struct link, next)));
	CHECK_STR(s->from[0].type, "link");
	s = said_of(b, "links");
	CHECK(s && s->leak.cycle);
	CHECK_EQ(s->leak.count, 2);
	CHECK_EQ(s->leak.n_from, 2);
	CHECK(pointed_from(s, a, offsetof(struct link, next)));
	CHECK(pointed_from(s, c, offsetof(struct link, next)));
	s = said_of(c, "links");
	CHECK(s && !s->leak.cycle);
	CHECK_EQ(s->leak.n_from, 0);
	/* it is broken by hand */
	b->next = NULL;
	hapax_release(a);
	CHECK_EQ(look(env), 2);
	CHECK(!said_of(b, "links")->leak.cycle);
	hapax_release(c);
	CHECK_EQ(look(env), 0);
	table_end(table, 0);
	look_end();
	test_env_end(env);
}

/* A parent that holds its child, and a child that knows its parent weakly, is no cycle; a second strong one is, and is named. */
TEST(PY_DTH_07_strong_cycle_is_named_and_a_weak_one_is_none)
{
	hapax_env *env = test_env();
	hapax_table *table = links_table(env);
	struct link *parent = link_new(env), *child = link_new(env);

	in_table(table, parent, 1);
	in_table(table, child, 2);
	parent->next = child;
	child->weak = weak_of(parent);
	CHECK_EQ(look(env), 2);
	CHECK(!said_of(parent, "links")->leak.cycle);
	CHECK(!said_of(child, "links")->leak.cycle);
	CHECK_EQ(said_of(parent, "links")->leak.n_from, 0);
	CHECK(pointed_from(said_of(child, "links"), parent, offsetof(struct link, next)));
	child->next = kept(parent);
	hapax_release(parent);
	CHECK_EQ(look(env), 2); /* a leak for ever */
	CHECK(said_of(parent, "links")->leak.cycle);
	CHECK(said_of(child, "links")->leak.cycle);
	child->next = NULL;
	links_destroyed = 0;
	hapax_release(parent);
	CHECK_EQ(links_destroyed, 2);
	CHECK_EQ(look(env), 0);
	table_end(table, 0);
	look_end();
	test_env_end(env);
}

TEST(an_object_that_holds_itself)
{
	hapax_env *env = test_env();
	hapax_table *table = links_table(env);
	struct link *link = link_new(env);

	in_table(table, link, 1);
	link->next = link;
	CHECK_EQ(look(env), 1);
	CHECK(said_of(link, "links")->leak.cycle);
	CHECK(pointed_from(said_of(link, "links"), link, offsetof(struct link, next)));
	link->next = NULL;
	CHECK_EQ(look(env), 1);
	CHECK(!said_of(link, "links")->leak.cycle);
	hapax_release(link);
	table_end(table, 0);
	look_end();
	test_env_end(env);
}

/* A chain of many, each with one reference to the next; closed, all of them are in the cycle. In a random order of birth. */
static void chain(uint32_t n, bool closed)
{
	hapax_env *env = test_env();
	hapax_table *table = links_table(env);
	struct link **links = calloc(n, sizeof(struct link *)), *first, *last;
	uint64_t random = test_stream(n);
	size_t cycles = 0, edges = 0;

	CHECK(links);
	for (uint32_t i = 0; i < n; i++) {
		links[i] = link_new(env);
		in_table(table, links[i], i);
	}
	for (uint32_t i = n; i > 1; i--) {
		uint64_t j = test_below(&random, i);
		struct link *swapped = links[i - 1];

		links[i - 1] = links[j];
		links[j] = swapped;
	}
	for (uint32_t i = 0; i + 1 < n; i++)
		links[i]->next = links[i + 1];
	first = links[0];
	last = links[n - 1];
	if (closed) {
		last->next = kept(first);
		hapax_release(first);
	}
	CHECK_EQ(look(env), n);
	for (size_t i = 0; i < saids; i++) {
		cycles += all[i].leak.cycle;
		edges += all[i].leak.n_from;
		CHECK_EQ(all[i].leak.count, 1);
	}
	CHECK_EQ(cycles, closed ? n : 0);
	CHECK_EQ(edges, closed ? n : n - 1);
	if (closed)
		last->next = NULL;
	links_destroyed = 0;
	hapax_release(first);
	CHECK_EQ(links_destroyed, n);
	CHECK_EQ(look(env), 0);
	free(links);
	table_end(table, 0);
	look_end();
	test_env_end(env);
}

TEST(a_cycle_of_a_thousand) { chain(1000, true); }

TEST(a_chain_is_no_cycle) { chain(1000, false); }

/* Random graphs, against reachability by squaring. Pointers that are no references count as well. */
TEST(cycles_of_random_graphs)
{
	enum { N = 24 };
	hapax_env *env = test_env();
	hapax_table *table = links_table(env);
	uint64_t random = test_stream(1);
	struct link *links[N];
	bool reach[N][N];

	for (uint32_t i = 0; i < N; i++) {
		links[i] = link_new(env);
		in_table(table, links[i], i);
	}
	for (int round = 0; round < 60; round++) {
		memset(reach, 0, sizeof(reach));
		for (uint32_t i = 0; i < N; i++) {
			uint64_t to = test_below(&random, N * 2), at = test_below(&random, N * 3);

			links[i]->plain = to < N ? links[to] : NULL;
			links[i]->weak = at < N ? (hapax_weak *)(void *)links[at] : NULL; /* any word will do */
			if (to < N)
				reach[i][to] = true;
			if (at < N)
				reach[i][at] = true;
		}
		for (int k = 0; k < N; k++)
			for (int i = 0; i < N; i++)
				for (int j = 0; j < N; j++)
					reach[i][j] = reach[i][j] || (reach[i][k] && reach[k][j]);
		CHECK_EQ(look(env), N);
		for (uint32_t i = 0; i < N; i++)
			CHECK_EQ(said_of(links[i], "links")->leak.cycle, reach[i][i]);
	}
	for (uint32_t i = 0; i < N; i++) {
		links[i]->weak = NULL;
		hapax_release(links[i]);
	}
	table_end(table, 0);
	look_end();
	test_env_end(env);
}

/* Pointers behind the size of the type, in large objects and aligned ones, are seen; words that only look like one are not. */
TEST(pointers_anywhere_in_the_payload)
{
	static const hapax_type wide = {HAPAX_TYPE_INIT, .name = "wide", .size = 64, .align = 256};
	enum { EXTRA = 100000 };
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct link *link = link_new(env);
	void *large = NULL, **word;
	uint64_t random = test_stream(2);

	CHECK_EQ(hapax_new(env, &wide, EXTRA, &large), 0);
	table_put(table, HAPAX_STR("large"), large);
	table_put(table, HAPAX_STR("link"), link);
	word = large;
	for (int i = 0; i < 20; i++) {
		size_t at = i ? test_below(&random, (64 + EXTRA) / sizeof(*word)) : (64 + EXTRA) / sizeof(*word) - 1;

		word[at] = link;
		CHECK_EQ(look(env), 2);
		CHECK_EQ(said_of(link, "tested")->leak.n_from, 1);
		CHECK(pointed_from(said_of(link, "tested"), large, at * sizeof(*word)));
		word[at] = (char *)(void *)link + 8;
		CHECK_EQ(look(env), 2);
		CHECK_EQ(said_of(link, "tested")->leak.n_from, 0);
		word[at] = NULL;
	}
	hapax_release(large);
	hapax_release(link);
	table_end(table, 0);
	look_end();
	test_env_end(env);
}

/* ---- through maps and memos -------------------------------------------------------------------------------------- */

/* Data that refers strongly to its own key pins it: named, also through further objects, and gone when it is removed. */
TEST(PY_WKD_05_a_pin_through_a_weak_map_is_named)
{
	hapax_env *env = test_env();
	hapax_weak_map_options o = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env, .name = "notes"};
	struct link *key = link_new(env), *data = link_new(env), *between = link_new(env), *other = link_new(env);
	hapax_weak_map *map;
	struct said *s;

	CHECK_EQ(hapax_weak_map_create(&map, &o), 0);
	CHECK_EQ(hapax_weak_map_put(map, key, data), 0);
	CHECK_EQ(hapax_weak_map_put(map, other, between), 0);
	hapax_release(data);
	hapax_release(between);
	CHECK_EQ(look(env), 4); /* no pin yet: data and between are held, and their keys are not reached from them */
	s = said_of(data, "notes");
	CHECK(s && s->leak.held);
	CHECK(!s->leak.key);
	CHECK(!s->leak.cycle);
	CHECK_EQ(s->leak.count, 1);
	CHECK(pointed_from(s, key, HAPAX_LEAK_THROUGH_HOLDER));
	s = said_of(key, "notes");
	CHECK(s && !s->leak.held && !s->leak.cycle);
	CHECK_EQ(s->leak.n_from, 0);
	/* key ~> data -> between -> key */
	data->next = kept(between);
	between->next = kept(key);
	hapax_release(key);
	CHECK_EQ(look(env), 4);
	CHECK(said_of(key, "notes")->leak.cycle);
	CHECK(said_of(data, "notes")->leak.cycle);
	CHECK(said_of(between, "notes")->leak.cycle);
	CHECK(!said_of(other, "notes")->leak.cycle); /* it keeps one that is in it */
	CHECK(pointed_from(said_of(between, "notes"), other, HAPAX_LEAK_THROUGH_HOLDER));
	CHECK(pointed_from(said_of(key, "notes"), between, offsetof(struct link, next)));
	links_destroyed = 0;
	hapax_release(other);
	CHECK_EQ(links_destroyed, 1);
	CHECK_EQ(look(env), 3); /* without its second keeper it is pinned as before */
	CHECK_EQ(hapax_weak_map_remove(map, key), 0);
	CHECK_EQ(links_destroyed, 4);
	CHECK_EQ(look(env), 0);
	hapax_weak_map_destroy(map);
	look_end();
	test_env_end(env);
}

TEST(members_and_interned_ones_are_known_by_name)
{
	hapax_env *env = test_env();
	hapax_weak_set_options so = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = env, .name = "members"};
	hapax_interner_options io = {HAPAX_INTERNER_OPTIONS_INIT, .env = env, .type = &item_type, .name = "canon"};
	struct item *item = item_new(env, 1);
	hapax_weak_set *set;
	hapax_interner *interner;
	void *out;

	CHECK_EQ(hapax_weak_set_create(&set, &so), 0);
	CHECK_EQ(hapax_interner_create(&interner, &io), 0);
	CHECK_EQ(hapax_weak_set_add(set, item, NULL), 0);
	CHECK_EQ(hapax_intern(interner, item, &out, NULL), 0);
	hapax_release(out);
	CHECK_EQ(look(env), 1);
	CHECK_EQ(saids, 2);
	CHECK(said_of(item, "members") && !said_of(item, "members")->leak.key);
	CHECK(said_of(item, "canon") && said_of(item, "canon")->leak.key);
	CHECK_EQ(said_of(item, "members")->leak.count, 1);
	hapax_weak_set_destroy(set);
	hapax_interner_destroy(interner);
	hapax_release(item);
	look_end();
	test_env_end(env);
}

static int result_of(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct link *link = result;

	(void)n;
	(void)error;
	link->number = args[0].value.u;
	if (*(bool *)ctx)
		link->next = kept(owner);
	return HAPAX_LOAD_OK;
}

/* A result that refers strongly to the owner that its memo holds it for. */
TEST(a_result_that_holds_its_owner_is_a_cycle)
{
	hapax_env *env = test_env();
	bool strong = false;
	hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .flags = HAPAX_MEMO_OWNED, .type = &link_type,
				.compute = result_of, .ctx = &strong, .name = "sums"};
	struct link *owner = link_new(env);
	hapax_arg one = hapax_arg_uint(1), two = hapax_arg_uint(2);
	void *first, *second;
	hapax_memo *memo;
	struct said *s;

	CHECK_EQ(hapax_memo_create(&memo, &o), 0);
	CHECK_EQ(hapax_memo_call(memo, owner, &one, 1, &first), 0);
	hapax_release(first);
	CHECK_EQ(look(env), 2);
	s = said_of(first, "sums");
	CHECK(s && s->leak.held);
	CHECK(s->leak.key);
	CHECK(s->key_size >= 8 && s->key_size < 16); /* the arguments, not whose they are */
	CHECK(!memcmp(s->key + s->key_size - 8, &one.value.u, 8));
	CHECK_EQ(s->leak.count, 1);
	CHECK(!s->leak.cycle);
	CHECK(pointed_from(s, owner, HAPAX_LEAK_THROUGH_HOLDER));
	s = said_of(owner, "sums");
	CHECK(s && !s->leak.held && !s->leak.key && !s->leak.cycle);
	strong = true;
	CHECK_EQ(hapax_memo_call(memo, owner, &two, 1, &second), 0);
	hapax_release(second);
	hapax_release(owner);
	CHECK_EQ(look(env), 3);
	CHECK(said_of(owner, "sums")->leak.cycle);
	CHECK(said_of(second, "sums")->leak.cycle);
	CHECK(!said_of(first, "sums")->leak.cycle);
	links_destroyed = 0;
	CHECK_EQ(hapax_memo_forget(memo, owner, &two, 1), 0);
	CHECK_EQ(links_destroyed, 3);
	CHECK_EQ(look(env), 0);
	hapax_memo_destroy(memo);
	look_end();
	test_env_end(env);
}

/* What is no object of the program's, an entry without a value, is not told of. */
static int no_value(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)object, (void)key, (void)arg, (void)error;
	return HAPAX_LOAD_NOVALUE;
}

TEST(remembered_misses_are_no_objects)
{
	hapax_env *env = test_env_fake();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = no_value,
				 .negative_ttl_ns = HAPAX_SECOND};
	hapax_cache *cache;
	void *out;

	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	CHECK(hapax_cache_get(cache, HAPAX_STR("nothing"), &out) > 0);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("nothing"), &out), HAPAX_NEGATIVE);
	CHECK_EQ(look(env), 0);
	CHECK_EQ(saids, 0);
	hapax_cache_destroy(cache);
	look_end();
	test_env_end(env);
}
