/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/cached.h - what the cache tests share: a loader that can be told everything, threads that ask for one key, and
 * shorthands. Objects are items of item.h.
 */
#ifndef TEST_CACHED_H
#define TEST_CACHED_H

#include "unit/item.h"

#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif

/* An environment whose leak reports go nowhere: for tests that leak on purpose. */
static void log_nothing(hapax_log_level level, const char *message, void *ctx)
{
	(void)level;
	(void)message;
	(void)ctx;
}

MAYBE_UNUSED static hapax_env *quiet_env(unsigned flags)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = flags, .log = {.write = log_nothing}};

	return test_env_options(&o);
}

/* ---- a loader -------------------------------------------------------------------------------------------------- */

/* Zeroed it loads items with ids 1, 2, 3, ... The numbers are changed atomically. */
struct source {
	hapax_env *env;  /* for make */
	struct item *ready[2]; /* for make: given away instead of new ones, while there are any */
	int loads;       /* invocations */
	int running;     /* now */
	int most_running;
	int result;      /* HAPAX_LOAD_* */
	int code;        /* of failures */
	void *detail;
	void (*drop)(void *detail);
	void (*item_destroyed)(struct item *item, void *arg); /* on_destroy of what is loaded */
	int destroyed;   /* destructions of what was loaded */
	/* runs in the loader; what it returns below 0 means: go on, else it is the result */
	int (*then)(struct source *s, int load, void *object, const hapax_key *key);
	void *arg;
	hapax_cache *cache;
};
#define GO_ON (-1)

MAYBE_UNUSED static int loads_of(struct source *s) { return __atomic_load_n(&s->loads, __ATOMIC_SEQ_CST); }

static int source_begin(struct source *s)
{
	int running = __atomic_add_fetch(&s->running, 1, __ATOMIC_RELAXED), most;

	most = __atomic_load_n(&s->most_running, __ATOMIC_RELAXED);
	while (running > most && !__atomic_compare_exchange_n(&s->most_running, &most, running, false, __ATOMIC_RELAXED,
							      __ATOMIC_RELAXED))
		;
	return __atomic_add_fetch(&s->loads, 1, __ATOMIC_SEQ_CST);
}

static int source_end(struct source *s, int result, struct item *item, int load, hapax_load_error *error)
{
	if (result < 0)
		result = s->result;
	if (result == HAPAX_LOAD_FAIL) {
		error->code = s->code;
		error->detail = s->detail;
		error->drop = s->drop;
	}
	if (result == HAPAX_LOAD_OK) {
		item->live = ITEM_ALIVE;
		item->id = load;
		item->destroyed = &s->destroyed;
		item->on_destroy = s->item_destroyed;
		item->arg = s;
	}
	__atomic_sub_fetch(&s->running, 1, __ATOMIC_RELAXED);
	return result;
}

static int source_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	static const struct item zero;
	struct source *s = arg;
	int load = source_begin(s);

	CHECK(object);
	CHECK(!memcmp(object, &zero, sizeof(zero))); /* the payload comes zeroed, whoever failed with it before */
	return source_end(s, s->then ? s->then(s, load, object, key) : GO_ON, object, load, error);
}

MAYBE_UNUSED static int source_make(void **object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct source *s = arg;
	int load = source_begin(s), result = s->then ? s->then(s, load, NULL, key) : GO_ON;

	if ((result < 0 ? s->result : result) == HAPAX_LOAD_OK) {
		struct item **ready = s->ready[1] ? &s->ready[1] : &s->ready[0];
		struct item *item = *ready ? *ready : item_new(s->env, load);

		if (*ready)
			*ready = NULL; /* prepared by tests with one loader at a time only */
		result = source_end(s, result, item, load, error);
		*object = item;
		return result;
	}
	return source_end(s, result, NULL, load, error);
}

MAYBE_UNUSED static hapax_cache *cache_with(hapax_env *env, struct source *s, unsigned flags)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .flags = flags, .env = env, .type = &item_type,
				 .load = source_load, .arg = s, .name = "tested"};
	hapax_cache *cache = NULL;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	CHECK(cache);
	s->env = env;
	s->cache = cache;
	return cache;
}

MAYBE_UNUSED static hapax_cache *cache_making(hapax_env *env, struct source *s, unsigned flags)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .flags = flags, .env = env, .make = source_make, .arg = s,
				 .name = "tested"};
	hapax_cache *cache = NULL;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	s->env = env;
	s->cache = cache;
	return cache;
}

/* Most laws hold for both forms of loaders: run with form 0 and 1. */
MAYBE_UNUSED static hapax_cache *cache_form(hapax_env *env, struct source *s, int form)
{
	return form ? cache_making(env, s, 0) : cache_with(env, s, 0);
}

/* Checks, ends. `size` entries are still in. */
MAYBE_UNUSED static void cache_end(hapax_cache *cache, size_t size)
{
	cache_check(cache, size);
	hapax_cache_destroy(cache);
}

MAYBE_UNUSED static struct item *got(hapax_cache *cache, const char *key)
{
	void *out = NULL;

	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(key), &out), HAPAX_OK);
	CHECK(out);
	CHECK(item_is_alive(out));
	return out;
}

/* The object present under a key, not kept, or NULL; agrees with contains. */
MAYBE_UNUSED static struct item *present(hapax_cache *cache, const char *key)
{
	void *out = (void *)1;
	int rc = hapax_cache_get_quietly(cache, HAPAX_STR(key), &out);

	if (rc == HAPAX_MISS) {
		CHECK(!out);
		CHECK_EQ(hapax_cache_contains(cache, HAPAX_STR(key)), 0);
		return NULL;
	}
	CHECK_EQ(rc, HAPAX_OK);
	CHECK_EQ(hapax_cache_contains(cache, HAPAX_STR(key)), 1);
	hapax_release(out);
	return out;
}

MAYBE_UNUSED static hapax_cache_stats stats_of(hapax_cache *cache)
{
	hapax_cache_stats s = {.size = sizeof(s)};

	CHECK_EQ(hapax_cache_stats_get(cache, &s), HAPAX_OK);
	return s;
}

/* What must hold of the statistics at rest, whatever happened. */
MAYBE_UNUSED static void stats_check(hapax_cache *cache)
{
	hapax_cache_stats s = stats_of(cache);

	CHECK_EQ(s.loads, s.load_successes + s.load_failures);
	CHECK(s.load_novalues + s.load_abandoned <= s.load_failures);
	CHECK_EQ(s.load_successes - s.superseded + s.puts, s.removals + s.replacements + s.collections + s.size_now);
	CHECK_EQ(s.size_now, hapax_cache_size(cache));
}

/* ---- threads that ask ------------------------------------------------------------------------------------------ */

struct asker {
	pthread_t thread;
	hapax_cache *cache;
	const char *key;
	const hapax_get_options *options;
	int status;
	void *out;
	hapax_load_error error;
	bool keep; /* else what came is released at once */
};

static void *asker_run(void *arg)
{
	struct asker *a = arg;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};

	if (a->options)
		o = *a->options;
	o.error = &a->error;
	a->out = (void *)1;
	a->status = hapax_cache_get_with(a->cache, HAPAX_STR(a->key), &o, &a->out);
	CHECK((a->status == HAPAX_OK) == (a->out != NULL));
	if (a->out && !a->keep) {
		CHECK(item_is_alive(a->out));
		hapax_release(a->out);
	}
	return NULL;
}

MAYBE_UNUSED static void ask(struct asker *a, hapax_cache *cache, const char *key, const hapax_get_options *options)
{
	memset(a, 0, sizeof(*a));
	a->cache = cache;
	a->key = key;
	a->options = options;
	a->keep = true;
	a->thread = test_thread(asker_run, a);
}

MAYBE_UNUSED static int answer(struct asker *a)
{
	test_join(a->thread);
	return a->status;
}

/* Lets go of what an asker got. */
MAYBE_UNUSED static void asker_end(struct asker *a)
{
	if (a->keep)
		hapax_release(a->out);
	hapax_load_error_drop(&a->error);
}

/* ---- a loader that stops --------------------------------------------------------------------------------------- */

struct gate {
	struct test_event entered, go;
};
#define GATE_INIT {TEST_EVENT_INIT, TEST_EVENT_INIT}

/* `then` of a source: its first load stops at the gate in `arg`; later ones do not. */
MAYBE_UNUSED static int first_stops(struct source *s, int load, void *object, const hapax_key *key)
{
	struct gate *g = s->arg;

	(void)object;
	(void)key;
	if (load == 1) {
		test_event_set(&g->entered);
		test_event_wait(&g->go);
	}
	return GO_ON;
}

#endif
