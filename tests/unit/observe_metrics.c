/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshot of a process: that it is JSON, that its figures are right, that the walk survives what goes on meanwhile. */
#include <errno.h>
#include <unistd.h>

#include "unit/memos.h"
#include "unit/observed.h"

static hapax_cache *named(hapax_env *env, struct source *s, const char *name, int64_t entries, int64_t weight)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = s,
				 .name = name, .max_entries = entries, .max_weight = weight};
	hapax_cache *cache = NULL;

	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	return cache;
}

TEST(arguments_are_checked)
{
	struct text t = {.at = NULL};

	CHECK_EQ(hapax_metrics_write(HAPAX_METRICS_JSON, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_metrics_write((hapax_metrics_format)99, text_take, &t), HAPAX_EOPTION);
	CHECK_EQ(t.calls, 0);
}

TEST(the_process_says_who_it_is)
{
	struct json_object *all = snapshot();

	CHECK_EQ(number_in(all, "format"), 1);
	CHECK_EQ(number_in(all, "pid"), getpid());
	CHECK_STR(text_in(all, "version"), HAPAX_VERSION_STRING);
	CHECK_STR(text_in(all, "program"), "unit_observe_metrics");
	CHECK(number_in(all, "time_ns") > number_in(all, "monotonic_ns"));
	CHECK_EQ(json_object_array_length(field(all, "caches")), 0);
	json_object_put(all);
}

TEST(a_cache_shows_its_figures)
{
	hapax_env *env = test_env();
	struct source s = {.loads = 0};
	hapax_cache *plain = named(env, &s, "plain", 0, 0), *entries = named(env, &s, "entries", 2, 0);
	hapax_cache *weight = named(env, &s, "weight", 0, 4096), *none = cache_with(env, &s, HAPAX_CACHE_NO_STATS);
	struct item *a = got(plain, "a"), *b = got(entries, "b"), *again = got(plain, "a"), *n = got(none, "n");
	struct json_object *all, *c;

	hapax_release(got(entries, "c"));
	all = snapshot();
	c = listed(all, "caches", "name", "plain");
	CHECK_STR(text_in(c, "kind"), "cache");
	CHECK_EQ(number_in(c, "hits"), 1);
	CHECK_EQ(number_in(c, "misses"), 1);
	CHECK_EQ(number_in(c, "loads"), 1);
	CHECK_EQ(number_in(c, "load_successes"), 1);
	CHECK_EQ(number_in(c, "size_now"), 1);
	CHECK_EQ(number_in(c, "demoted"), 1); /* it holds nothing itself */
	CHECK_EQ(number_in(c, "loads_in_flight"), 0);
	CHECK_EQ(number_in(c, "sampled_one_in"), 0);
	CHECK(!field(c, "bound_entries") && !field(c, "bound_weight"));
	c = listed(all, "caches", "name", "entries");
	CHECK_EQ(number_in(c, "bound_entries"), 2);
	CHECK(!field(c, "bound_weight"));
	CHECK_EQ(number_in(c, "size_now"), 2);
	CHECK_EQ(number_in(c, "retained"), 2);
	CHECK_EQ(number_in(c, "demoted"), 0);
	c = listed(all, "caches", "name", "weight");
	CHECK_EQ(number_in(c, "bound_weight"), 4096);
	CHECK(number_in(c, "id") > number_in(listed(all, "caches", "name", "entries"), "id"));
	c = listed(all, "caches", "name", "tested"); /* without statistics */
	CHECK(!json_object_get_boolean(field(c, "statistics")));
	CHECK_EQ(number_in(c, "misses"), 0);
	CHECK_EQ(number_in(c, "size_now"), 1);
	json_object_put(all);
	hapax_release(a);
	hapax_release(again);
	hapax_release(b);
	hapax_release(n);
	hapax_cache_destroy(plain);
	hapax_cache_destroy(entries);
	hapax_cache_destroy(weight);
	hapax_cache_destroy(none);
	all = snapshot();
	CHECK_EQ(json_object_array_length(field(all, "caches")), 0);
	json_object_put(all);
	test_env_end(env);
}

static void two_numbers_of(const char *name, uint64_t retained, uint64_t demoted)
{
	struct json_object *all = snapshot(), *c = listed(all, "caches", "name", name);

	CHECK_EQ(number_in(c, "retained"), retained);
	CHECK_EQ(number_in(c, "demoted"), demoted);
	json_object_put(all);
}

/* What the cache holds are objects and remembered absences; only the former are entries that are in use or not. */
TEST(absences_hide_nothing_of_what_is_only_in_use)
{
	hapax_env *env = test_env_fake();
	struct source s = {.loads = 0};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .name = "some", .max_entries = 4, .policy = hapax_policy_lru(), .negative_ttl_ns = HAPAX_SECOND};
	static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
	struct item *it[6];
	hapax_cache *cache = NULL;
	void *out = NULL;

	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	for (int i = 0; i < 6; i++)
		it[i] = got(cache, keys[i]);
	two_numbers_of("some", 4, 2);
	s.result = HAPAX_LOAD_NOVALUE;
	for (int i = 6; i < 9; i++)
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(keys[i]), &out), HAPAX_NOVALUE);
	two_numbers_of("some", 4, 5); /* one object of the six, three absences */
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR(keys[6]), it[5]), 0); /* held once more, under a key that was absent */
	two_numbers_of("some", 4, 5);
	fake_clock_advance(HAPAX_SECOND);
	while (hapax_cache_maintain(cache))
		;
	two_numbers_of("some", 2, 5);
	for (int i = 0; i < 6; i++)
		hapax_release(it[i]);
	two_numbers_of("some", 2, 0);
	hapax_cache_clear(cache);
	two_numbers_of("some", 0, 0);
	cache_check(cache, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(environments_show_figures_and_types)
{
	hapax_env *env = test_env();
	struct item *one = item_new(env, 1), *two = item_new(env, 2);
	hapax_env_stats stats = {.size = sizeof(stats)};
	struct json_object *all, *e, *type;
	size_t last;

	hapax_release(two);
	all = snapshot();
	last = json_object_array_length(field(all, "environments")) - 1;
	e = json_object_array_get_idx(field(all, "environments"), last);
	CHECK(number_in(e, "id") > 0);
	CHECK_EQ(number_in(json_object_array_get_idx(field(all, "environments"), 0), "id"), 0);
	CHECK_EQ(hapax_env_stats_get(env, &stats), 0);
	CHECK_EQ(number_in(e, "objects_born"), 2);
	CHECK_EQ(number_in(e, "objects_destroyed"), 1);
	CHECK_EQ(number_in(e, "garbage_bound_bytes"), stats.garbage_bound_bytes);
	CHECK_STR(text_in(e, "stalled_name"), "");
	type = listed(e, "types", "name", item_type.name);
	CHECK_EQ(number_in(type, "alive"), 1);
	CHECK_EQ(number_in(type, "born"), 2);
	json_object_put(all);
	hapax_release(one);
	test_env_end(env);
}

TEST(a_memo_says_that_it_is_one)
{
	hapax_env *env = test_env();
	struct work w = {.env = env};
	hapax_memo *memo = memo_new(env, &w, 0, 7);
	struct json_object *all = snapshot(), *c = json_object_array_get_idx(field(all, "caches"), 0);

	CHECK_STR(text_in(c, "kind"), "memo");
	CHECK_EQ(number_in(c, "bound_entries"), 7);
	json_object_put(all);
	hapax_memo_destroy(memo);
	test_env_end(env);
}

/* Names are the application's: any bytes. */
TEST(names_of_any_bytes_are_json)
{
	hapax_env *env = test_env();
	struct source s = {.loads = 0};
	hapax_cache *cache = named(env, &s, "a\"b\\c\n\xff\xc3\xa4\x7f\xed\xa0\x80</script>", 0, 0);
	struct json_object *all = snapshot(), *c = json_object_array_get_idx(field(all, "caches"), 0);

	CHECK_STR(text_in(c, "name"), "a\"b\\c\n\xef\xbf\xbd\xc3\xa4\x7f\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd</script>");
	json_object_put(all);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(a_writer_that_refuses_ends_it)
{
	struct text t = {.refuse_at = 1, .refusal = 4711};

	errno = 4712;
	CHECK_EQ(hapax_metrics_write(HAPAX_METRICS_JSON, text_take, &t), 4711);
	CHECK_EQ(errno, 4712);
	CHECK_EQ(t.calls, 1);
}

static int failing_then(struct source *s, int load, void *object, const hapax_key *key)
{
	static const int results[] = {HAPAX_LOAD_FAIL, HAPAX_LOAD_NOVALUE, HAPAX_LOAD_OK};

	(void)s, (void)object, (void)key;
	return results[load % 3];
}

TEST(loads_in_flight_are_those_without_an_end)
{
	struct gate g = GATE_INIT;
	hapax_env *env = test_env();
	struct source failing = {.then = failing_then}, stopping = {.then = first_stops, .arg = &g};
	hapax_cache *ends = named(env, &failing, "ends", 0, 0), *stops = named(env, &stopping, "stops", 0, 0);
	struct json_object *all;
	struct asker a;
	void *out;

	for (int i = 0; i < 6; i++) {
		int rc = hapax_cache_get(ends, HAPAX_KEY_OF(i), &out);

		CHECK(rc == HAPAX_ELOADER || rc == HAPAX_NOVALUE || rc == 0);
		hapax_release(out);
	}
	ask(&a, stops, "k", NULL);
	test_event_wait(&g.entered);
	all = snapshot();
	CHECK_EQ(number_in(listed(all, "caches", "name", "ends"), "loads_in_flight"), 0);
	CHECK_EQ(number_in(listed(all, "caches", "name", "stops"), "loads_in_flight"), 1);
	json_object_put(all);
	test_event_set(&g.go);
	CHECK_EQ(answer(&a), 0);
	asker_end(&a);
	all = snapshot();
	CHECK_EQ(number_in(listed(all, "caches", "name", "stops"), "loads_in_flight"), 0);
	json_object_put(all);
	hapax_cache_destroy(ends);
	hapax_cache_destroy(stops);
	test_env_end(env);
}

/* A closed cache is there until it is destroyed; what write() does may be anything, destroying included. */
struct destroyer {
	struct text text;
	hapax_cache *cache;
};

static int destroy_in_write(const char *piece, size_t n, void *ctx)
{
	struct destroyer *d = ctx;

	hapax_cache_destroy(d->cache);
	d->cache = NULL;
	return text_take(piece, n, &d->text);
}

TEST(the_writer_may_destroy_what_it_is_told_of)
{
	hapax_env *env = test_env();
	struct source s = {.loads = 0};
	struct destroyer d = {.cache = named(env, &s, "closed", 0, 0)};
	struct json_object *all;

	hapax_cache_close(d.cache);
	CHECK_EQ(hapax_metrics_write(HAPAX_METRICS_JSON, destroy_in_write, &d), 0);
	all = parsed(d.text.at, d.text.n);
	CHECK(listed(all, "caches", "name", "closed"));
	json_object_put(all);
	free(d.text.at);
	test_env_end(env);
}

/* Caches are created, used, closed and destroyed, from their own loaders too, while others look. */
struct churn {
	hapax_env *env;
	int done;
};

static int destroys_itself(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)load, (void)object, (void)key;
	hapax_cache_destroy(s->cache);
	return GO_ON;
}

static void churn_run(unsigned index, void *arg)
{
	struct churn *c = arg;

	if (index < 2) {
		for (int i = 0; i < 60; i++) {
			struct source s = {.then = i % 2 ? destroys_itself : NULL};
			hapax_cache *cache = cache_with(c->env, &s, 0);
			void *out = NULL;
			int rc = hapax_cache_get(cache, HAPAX_STR("k"), &out);

			CHECK(rc == 0 || rc == HAPAX_ECLOSED);
			hapax_release(out);
			if (!(i % 2))
				hapax_cache_destroy(cache);
		}
		__atomic_add_fetch(&c->done, 1, __ATOMIC_SEQ_CST);
		return;
	}
	do
		json_object_put(snapshot());
	while (__atomic_load_n(&c->done, __ATOMIC_SEQ_CST) < 2);
}

TEST(caches_come_and_go_while_figures_are_gathered)
{
	struct churn c = {.env = test_env()};

	run_threads(4, churn_run, &c);
	test_env_end(c.env);
}
