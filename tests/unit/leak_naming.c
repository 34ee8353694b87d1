/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax_leak_report(): what is alive, who knows it, and where references were taken.
 *
 * What only tracing builds know is tested in them, and in the others that nothing of it is claimed.
 */
#include <dlfcn.h>

#include "unit/leaks.h"

/* ---- nothing, types, keys ---------------------------------------------------------------------------------------- */

TEST(nothing_alive_nothing_said)
{
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	hapax_weak *weak;

	CHECK_EQ(hapax_weak_new(item, NULL, &weak), 0);
	hapax_release(item);
	CHECK_EQ(look(env), 0); /* an object that died is none, handle or not */
	CHECK_EQ(saids, 0);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	look_end();
	test_env_end(env);
}

TEST(types_and_numbers_of_what_nobody_knows)
{
	hapax_env *env = test_env(), *other = test_env();
	struct item *items[5], *foreign = item_new(other, 1);
	struct link *link = link_new(env);

	for (int i = 0; i < 5; i++)
		items[i] = item_new(env, i);
	CHECK_EQ(look(env), 6);
	if (hapax_leak_tracing()) {
		CHECK_EQ(saids, 6);
		for (int i = 0; i < 5; i++) {
			CHECK(said_of(items[i], NULL));
			CHECK_STR(said_of(items[i], NULL)->leak.type, "item");
			CHECK_EQ(said_of(items[i], NULL)->leak.count, 1);
		}
		CHECK_STR(said_of(link, NULL)->leak.type, "link");
	} else {
		CHECK_EQ(saids, 2);
		CHECK_EQ(unnamed("item"), 5);
		CHECK_EQ(unnamed("link"), 1);
	}
	CHECK(!said_of(foreign, NULL));
	for (int i = 0; i < 5; i++) {
		hapax_release(items[i]);
		CHECK_EQ(look(env), 5 - (size_t)i);
	}
	hapax_release(link);
	CHECK_EQ(look(env), 0);
	hapax_release(foreign);
	look_end();
	test_env_end(env);
	test_env_end(other);
}

/* A missing release of the get and remove protocol: type, count, key and holder, in every build. */
TEST(SD_24_missing_release_named_by_key)
{
	struct source s = {0};
	hapax_env *env = quiet_env(0);
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *a = got(cache, "forgotten"), *b = got(cache, "given back");
	struct said *said;

	CHECK_PTR(got(cache, "forgotten"), a);
	hapax_release(b);
	CHECK_EQ(look(env), 1);
	CHECK_EQ(saids, 1);
	said = said_of(a, "tested");
	CHECK(said);
	CHECK_STR(said->leak.type, "item");
	CHECK_STR(said->key, "forgotten");
	CHECK_EQ(said->leak.count, 2);
	CHECK(!said->leak.held);
	CHECK(!said->leak.cycle);
	CHECK(!said->leak.inherited);
	/* still known, without a key, when the cache is gone */
	hapax_cache_destroy(cache);
	CHECK_EQ(look(env), 1);
	CHECK(hapax_leak_tracing() ? said_of(a, NULL) && !said_of(a, NULL)->leak.holder : unnamed("item") == 1);
	hapax_release(a);
	hapax_release(a);
	CHECK_EQ(look(env), 0);
	look_end();
	test_env_end(env);
}

TEST(every_holder_names_it)
{
	hapax_env *env = test_env();
	hapax_cache_options co = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .name = "strong", .max_entries = 8};
	hapax_table *table = table_new(env), *second = links_table(env);
	struct item *known = item_new(env, 1), *unknown = item_new(env, 2);
	char longest[60];
	hapax_cache *cache;

	memset(longest, 'k', sizeof(longest));
	CHECK_EQ(hapax_cache_create(&cache, &co), 0);
	table_put(table, HAPAX_STR("first"), known);
	table_put(table, hapax_key_bytes(longest, sizeof(longest)), known);
	table_put(second, hapax_key_bytes(NULL, 0), known);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("third"), known), 0);
	CHECK_EQ(look(env), 2);
	CHECK_EQ(saids, 5);
	for (size_t i = 0; i < saids; i++) {
		struct said *s = &all[i];

		if (s->leak.object != known) {
			CHECK(hapax_leak_tracing() ? s->leak.object == unknown : s->leak.object == NULL);
			CHECK_EQ(s->leak.count, 1);
			continue;
		}
		CHECK_EQ(s->leak.count, 2); /* ours and the cache's */
		CHECK(s->leak.key);
		CHECK_EQ(s->leak.held, !strcmp(s->holder, "strong"));
		if (!strcmp(s->holder, "strong"))
			CHECK_STR(s->key, "third");
		else if (!strcmp(s->holder, "links"))
			CHECK_EQ(s->key_size, 0);
		else
			CHECK(!strcmp(s->key, "first") || (s->key_size == 60 && !memcmp(s->key, longest, 60)));
	}
	hapax_release(known);
	CHECK_EQ(look(env), 2); /* the cache has it */
	CHECK_EQ(said_of(known, "strong")->leak.count, 1);
	CHECK(said_of(known, "strong")->leak.held);
	hapax_cache_clear(cache);
	CHECK_EQ(look(env), 1);
	hapax_cache_destroy(cache);
	hapax_table_destroy(table);
	hapax_table_destroy(second);
	hapax_release(unknown);
	look_end();
	test_env_end(env);
}

/* ---- sites ------------------------------------------------------------------------------------------------------- */

/* The address after the call is inside the function that called. */
__attribute__((noinline)) static void forgets(struct item *item)
{
	for (int i = 0; i < 3; i++)
		CHECK_EQ(hapax_retain(item), 0);
}

__attribute__((noinline)) static void *gets(hapax_cache *cache)
{
	void *out = NULL;

	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), 0);
	return out;
}

/* Functions lie one after the other, in whatever order: far from their beginning is not in them. */
static bool in_function(const void *address, const void *function)
{
	return (uintptr_t)address > (uintptr_t)function && (uintptr_t)address < (uintptr_t)function + 2000;
}

static void *address_of(void (*function)(struct item *)) { return (void *)(uintptr_t)function; }

static unsigned sites_in(const struct said *s, const void *function, uint64_t *taken)
{
	unsigned n = 0;

	*taken = 0;
	for (size_t i = 0; i < s->leak.n_sites; i++)
		if (in_function(s->site[i].address, function)) {
			*taken += s->site[i].taken;
			n++;
		}
	return n;
}

TEST(a_forgotten_retain_is_named_with_its_place)
{
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	struct said *s;
	char offset[40];
	uint64_t taken;
	Dl_info info;

	forgets(item);
	CHECK_EQ(look(env), 1);
	if (!hapax_leak_tracing()) {
		CHECK_EQ(unnamed("item"), 1);
	} else {
		s = said_of(item, NULL);
		CHECK(s);
		CHECK_STR(s->leak.type, "item");
		CHECK_EQ(s->leak.count, 4);
		CHECK_EQ(s->leak.n_sites, 1 + sites_in(s, address_of(forgets), &taken)); /* and where it was made; loops are unrolled */
		CHECK_EQ(taken, 3);
		CHECK(in_function(s->site[0].address, address_of(forgets))); /* most taken first */
		CHECK_EQ(s->site[s->leak.n_sites - 1].taken, 1);
		/* static functions have no name that the dynamic linker knows: the place in the program's file */
		CHECK(dladdr(s->site[0].address, &info));
		snprintf(offset, sizeof(offset), "unit_leak_naming+0x%zx",
			 (size_t)((const char *)s->site[0].address - (const char *)info.dli_fbase) - 1); /* in the call */
		CHECK_STR(s->site[0].text, offset);
	}
	for (int i = 0; i < 4; i++)
		hapax_release(item);
	look_end();
	test_env_end(env);
}

static int takes_with_live(void *object, void *arg)
{
	(void)arg;
	return object != NULL;
}

/* Each public call that gives a reference counts once, for its caller and for nobody else. */
__attribute__((noinline)) static unsigned takes_everywhere(struct item *item, hapax_cache *cache, hapax_table *table,
							    hapax_weak *weak)
{
	hapax_get_options go = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	hapax_key key = HAPAX_STR("k");
	hapax_iter *iter;
	void *out, *many[2];
	hapax_key keys[2] = {key, key};
	unsigned n = 0;
	int result;

	CHECK_EQ(hapax_retain(item), 0), n++;
	CHECK_PTR(hapax_weak_get(weak), item), n++;
	CHECK_EQ(hapax_with_live(weak, takes_with_live, NULL, &result), 0), n++;
	CHECK_EQ(hapax_cache_get(cache, key, &out), 0), n++;
	CHECK_EQ(hapax_cache_get_with(cache, key, NULL, &out), 0), n++;
	CHECK_EQ(hapax_cache_get_with(cache, key, &go, &out), 0), n++;
	CHECK_EQ(hapax_cache_get_if_present(cache, key, &out), 0), n++;
	CHECK_EQ(hapax_cache_get_quietly(cache, key, &out), 0), n++;
	CHECK_EQ(hapax_cache_get_or_put(cache, key, item, &out, NULL), 0), n++;
	CHECK_EQ(hapax_cache_get_many(cache, keys, 2, many, NULL, NULL), 0), n += 2;
	CHECK_EQ(hapax_cache_upsert(cache, key, item, &out), 0), n++;
	CHECK_PTR(out, item);
	CHECK_EQ(hapax_cache_pop(cache, key, &out), 0), n++;
	CHECK_EQ(hapax_table_get(table, key, &out), 0), n++;
	CHECK_EQ(hapax_table_get_or_put(table, key, item, &out, NULL), 0), n++;
	CHECK_EQ(hapax_table_iterate(table, &iter), 0);
	CHECK_EQ(hapax_iter_next(iter, NULL, &out), 0), n++;
	hapax_iter_close(iter);
	CHECK_EQ(hapax_table_pop(table, key, &out), 0), n++;
	CHECK_EQ(hapax_table_get_or_put(table, key, item, &out, NULL), 0), n++;
	CHECK_EQ(hapax_table_pop_any(table, &out), 0), n++;
	return n;
}

TEST(every_call_that_gives_a_reference_is_a_site)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_table *table = table_new(env);
	struct item *item = item_new(env, 1);
	hapax_weak *weak = weak_of(item);
	uint64_t taken = 0, count;
	struct said *said;
	unsigned n;

	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), item), 0);
	table_put(table, HAPAX_STR("k"), item);
	n = takes_everywhere(item, cache, table, weak);
	count = hapax_count(item);
	CHECK_EQ(count, 1 + n - 2); /* with_live and the iterator have given theirs back */
	CHECK_EQ(look(env), 1);
	if (hapax_leak_tracing()) {
		said = said_of(item, NULL);
		CHECK(said);
		CHECK_EQ(said->leak.count, count);
		CHECK_EQ(said->leak.n_sites, 17); /* sixteen, and what is beyond */
		CHECK(!said->site[16].address);
		for (size_t i = 0; i < said->leak.n_sites; i++) {
			Dl_info where;

			taken += said->site[i].taken;
			if (!said->site[i].address)
				continue;
			CHECK(dladdr(said->site[i].address, &where));
			if (!strstr(said->site[i].text, "unit_leak_naming"))
				TEST_FAIL("a site outside the program: %s", said->site[i].text);
		}
		CHECK_EQ(taken, 1 + n);
	}
	while (count--)
		hapax_release(item);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	table_end(table, 0);
	cache_end(cache, 0);
	look_end();
	test_env_end(env);
}

struct family {
	hapax_weak_map *map;
	hapax_weak_set *set;
	hapax_interner *interner;
	hapax_memo *memo;
	hapax_finalizer *finalizer;
	hapax_bound *bound;
	struct item *key;
};

static int finalize(void *ctx)
{
	(void)ctx;
	return 0;
}

static int call_bound(void *target, void *part, void *ctx, void *arg)
{
	(void)part;
	(void)ctx;
	(void)arg;
	return target ? 0 : 1;
}

/* Gives the item out again and again. */
static int memo_make(void **result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner, (void)args, (void)n, (void)error;
	*result = *(struct item **)ctx;
	*(struct item **)ctx = NULL;
	return HAPAX_LOAD_OK;
}

/* The rest of the weak family; what is taken by calls in between is for their callers, or for nobody. */
__attribute__((noinline)) static unsigned takes_of_the_family(struct family *f, struct item *item)
{
	hapax_memo_call_options mo = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	hapax_key contents = hapax_key_bytes(item, sizeof(*item));
	hapax_arg arg = hapax_arg_uint(1);
	hapax_weak_map_iter *pairs;
	hapax_weak_set_iter *members;
	hapax_weak_set *set;
	void *out, *key;
	unsigned n = 0;

	CHECK_EQ(hapax_weak_map_put(f->map, f->key, item), 0);
	CHECK_EQ(hapax_weak_map_get(f->map, f->key, &out), 0), n++;
	CHECK_EQ(hapax_weak_map_get_or_put(f->map, f->key, item, &out, NULL), 0), n++;
	CHECK_EQ(hapax_weak_map_iterate(f->map, &pairs), 0);
	CHECK_EQ(hapax_weak_map_next(pairs, &key, &out), 0), n++;
	hapax_weak_map_close(pairs);
	CHECK_EQ(hapax_weak_map_pop(f->map, f->key, &out), 0), n++;
	CHECK_EQ(hapax_weak_map_get_or_put(f->map, f->key, item, &out, NULL), 0), n++;
	CHECK_EQ(hapax_weak_map_pop_any(f->map, &key, &out), 0), n++;
	hapax_release(key);
	CHECK_EQ(hapax_weak_set_add(f->set, item, NULL), 0);
	CHECK_EQ(hapax_weak_set_snapshot(f->set, &set), 0);
	hapax_weak_set_destroy(set);
	CHECK_EQ(hapax_weak_set_iterate(f->set, &members), 0);
	CHECK_EQ(hapax_weak_set_next(members, &out), 0), n++;
	hapax_weak_set_close(members);
	CHECK_EQ(hapax_weak_set_pop(f->set, &out), 0), n++;
	CHECK_EQ(hapax_intern(f->interner, item, &out, NULL), 0), n++;
	CHECK_EQ(hapax_intern_find(f->interner, contents, &out), 0), n++;
	CHECK_EQ(hapax_memo_call(f->memo, NULL, &arg, 1, &out), 0), n++;
	CHECK_EQ(hapax_memo_call_with(f->memo, NULL, &arg, 1, NULL, &out), 0), n++;
	CHECK_EQ(hapax_memo_call_with(f->memo, NULL, &arg, 1, &mo, &out), 0), n++;
	CHECK_EQ(hapax_memo_find(f->memo, NULL, &arg, 1, &out), 0), n++;
	CHECK_EQ(hapax_finalizer_peek(f->finalizer, NULL, &out), 0), n++;
	CHECK_EQ(hapax_bound_get(f->bound, &out, NULL), 0), n++;
	CHECK_EQ(hapax_bound_call(f->bound, NULL, NULL), 0), n++;
	return n;
}

TEST(the_weak_family_gives_references_to_its_callers)
{
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1), *made = item;
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	hapax_weak_set_options so = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = env};
	hapax_interner_options io = {HAPAX_INTERNER_OPTIONS_INIT, .env = env, .type = &item_type};
	hapax_memo_options mo = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .type = &item_type, .make = memo_make, .ctx = &made};
	hapax_bound_options bo = {HAPAX_BOUND_OPTIONS_INIT, .fn = call_bound, .target = item};
	hapax_finalize what = {.fn = finalize};
	struct family f = {.key = item_new(env, 2)};
	uint64_t taken = 0, count;
	struct said *said;
	unsigned n;

	CHECK_EQ(hapax_weak_map_create(&f.map, &wo), 0);
	CHECK_EQ(hapax_weak_set_create(&f.set, &so), 0);
	CHECK_EQ(hapax_interner_create(&f.interner, &io), 0);
	CHECK_EQ(hapax_memo_create(&f.memo, &mo), 0);
	CHECK_EQ(hapax_finalizer_new(item, &what, 0, &f.finalizer), 0);
	CHECK_EQ(hapax_bound_new(&f.bound, &bo), 0);
	CHECK_EQ(hapax_retain(item), 0); /* for the memo's function to give away */
	n = takes_of_the_family(&f, item);
	CHECK_EQ(look(env), 2);
	said = said_of(item, "memo");
	CHECK(said && said->leak.held);
	count = said->leak.count;
	CHECK_EQ(count, 2 + n - 3); /* the memo's too; iterators and the bound call gave theirs back */
	if (hapax_leak_tracing()) {
		for (size_t i = 0; i < said->leak.n_sites; i++) {
			taken += said->site[i].taken;
			if (said->site[i].address && !strstr(said->site[i].text, "unit_leak_naming"))
				TEST_FAIL("a site outside the program: %s", said->site[i].text);
		}
		CHECK_EQ(taken, 2 + n);
	}
	CHECK_EQ(hapax_bound_drop(f.bound), 0);
	hapax_finalizer_drop(f.finalizer);
	hapax_interner_destroy(f.interner);
	hapax_weak_set_destroy(f.set);
	hapax_weak_map_destroy(f.map);
	hapax_release(f.key);
	hapax_memo_destroy(f.memo);
	count = hapax_count(item);
	while (count--)
		hapax_release(item);
	CHECK_EQ(look(env), 0);
	look_end();
	test_env_end(env);
}

/* What a cache holds for itself is no site's: it is said to be held. */
TEST(retention_is_no_site)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .name = "keeps", .max_entries = 4};
	struct said *said;
	hapax_cache *cache;
	uint64_t taken;
	void *object;

	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	object = gets(cache);
	hapax_release(object);
	CHECK_EQ(look(env), 1);
	said = said_of(object, "keeps");
	CHECK(said && said->leak.held);
	CHECK_EQ(said->leak.count, 1);
	if (hapax_leak_tracing()) {
		CHECK_EQ(said->leak.n_sites, 1);
		CHECK_EQ(sites_in(said, (void *)(uintptr_t)gets, &taken), 1);
		CHECK_EQ(taken, 1);
	}
	hapax_cache_destroy(cache);
	CHECK_EQ(look(env), 0);
	look_end();
	test_env_end(env);
}

static void given(int status, void *object, hapax_load_error *error, void *ctx)
{
	(void)error;
	CHECK_EQ(status, 0);
	*(void **)ctx = object;
}

TEST(what_is_given_to_a_function_is_taken_there)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	void *object = NULL, *async = NULL;
	struct said *said;
	uint64_t taken;

	object = gets(cache);
	CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), NULL, given, &async), 0);
	CHECK_PTR(async, object);
	CHECK_EQ(look(env), 1);
	said = said_of(object, "tested");
	CHECK(said);
	CHECK_EQ(said->leak.count, 2);
	if (hapax_leak_tracing()) {
		CHECK_EQ(said->leak.n_sites, 2);
		CHECK_EQ(sites_in(said, (void *)(uintptr_t)given, &taken), 1);
		CHECK_EQ(taken, 1);
	}
	hapax_release(object);
	hapax_release(async);
	cache_end(cache, 0);
	look_end();
	test_env_end(env);
}

/* Objects that have gone are forgotten before their memory goes back to the system. */
TEST(memory_that_has_gone_is_not_looked_at)
{
	void *object;

	for (int i = 0; i < 20; i++) {
		CHECK_EQ(hapax_new(NULL, &item_type, 300000, &object), 0);
		((struct item *)object)->live = ITEM_ALIVE;
		hapax_release(object);
	}
	hapax_testing_drain(NULL);
	CHECK_EQ(look(NULL), 0);
	look_end();
}

static void ignore(const hapax_leak *leak, void *ctx)
{
	(void)leak;
	++*(unsigned *)ctx;
}

TEST(arguments)
{
	unsigned calls = 0;

	CHECK_EQ(hapax_leak_report(NULL, ignore, &calls), 0); /* the default environment */
	CHECK_EQ(calls, 0);
#ifdef HPX_DEBUG
	CHECK(hapax_leak_tracing());
#else
	CHECK(!hapax_leak_tracing());
#endif
}
