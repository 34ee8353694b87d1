/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unit/asked.h - asynchronous gets that tell, and a `start` that keeps its tokens. */
#ifndef TEST_ASKED_H
#define TEST_ASKED_H

#include "unit/cached.h"

/* ---- who is told ------------------------------------------------------------------------------------------------- */

/* Zeroed, or with `then`, it is ready for one get. Owns what it was told until told_end(). */
struct told {
	int calls;
	int status;
	struct item *object;
	hapax_load_error error;
	pthread_t thread;
	void (*then)(struct told *t); /* last in done(); may be NULL */
	void *arg;
};

MAYBE_UNUSED static int told_calls(struct told *t) { return __atomic_load_n(&t->calls, __ATOMIC_ACQUIRE); }

static void told_done(int status, void *object, hapax_load_error *error, void *ctx)
{
	struct told *t = ctx;

	CHECK_EQ(told_calls(t), 0);
	CHECK(error);
	CHECK((status == 0) == (object != NULL));
	if (status != HAPAX_ELOADER)
		CHECK(!error->code && !error->detail && !error->drop);
	if (object)
		CHECK(item_is_alive(object));
	t->status = status;
	t->object = object;
	t->error = *error;
	t->thread = pthread_self();
	__atomic_store_n(&t->calls, 1, __ATOMIC_RELEASE);
	if (t->then)
		t->then(t);
}

MAYBE_UNUSED static void told_ask(struct told *t, hapax_cache *cache, const char *key)
{
	CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR(key), NULL, told_done, t), HAPAX_OK);
}

MAYBE_UNUSED static void told_wait(struct told *t)
{
	while (!told_calls(t))
		test_sleep_ms(1);
}

/* Told exactly this; gives back what it got. */
MAYBE_UNUSED static void told_end(struct told *t, int status)
{
	CHECK_EQ(told_calls(t), 1);
	CHECK_EQ(t->status, status);
	hapax_release(t->object);
	hapax_load_error_drop(&t->error);
}

/* ---- loads by tokens --------------------------------------------------------------------------------------------- */

enum { STARTS = 64 };

struct starts {
	hapax_env *env;
	int n;                    /* calls of start() */
	hapax_load *token[STARTS];
	char key[STARTS][16];
	int result;               /* of start() */
	int code;                 /* of its error */
	void (*then)(struct starts *s, hapax_load *token, int n); /* in start(); may be NULL */
	void *arg;
	int destroyed;            /* of what starts_item() made */
	bool managed;             /* a cache whose entries have nodes: it has a listener */
	int64_t held;             /* and holds so many objects */
	int removed;              /* what the listener was told */
};

static int starts_removed(const hapax_removal *removal, void *ctx)
{
	struct starts *s = ctx;

	(void)removal;
	__atomic_add_fetch(&s->removed, 1, __ATOMIC_RELAXED);
	return 0;
}

MAYBE_UNUSED static int starts_of(struct starts *s) { return __atomic_load_n(&s->n, __ATOMIC_ACQUIRE); }

static int starts_start(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct starts *s = arg;
	int n = starts_of(s);

	CHECK(load && n < STARTS && key->size < sizeof(s->key[0]));
	s->token[n] = load;
	if (key->size)
		memcpy(s->key[n], key->data, key->size);
	__atomic_store_n(&s->n, n + 1, __ATOMIC_RELEASE);
	if (s->then)
		s->then(s, load, n);
	error->code = s->code;
	return s->result;
}

MAYBE_UNUSED static struct item *starts_item(struct starts *s, int id)
{
	struct item *item = item_new(s->env, id);

	item->destroyed = &s->destroyed;
	return item;
}

MAYBE_UNUSED static hapax_cache *cache_starting(hapax_env *env, struct starts *s, unsigned flags)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .flags = flags, .env = env, .type = &item_type,
				 .start = starts_start, .arg = s, .name = "tested", .max_entries = s->held,
				 .on_removal = s->managed ? starts_removed : NULL, .on_removal_ctx = s};
	hapax_cache *cache = NULL;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	s->env = env;
	return cache;
}

/* Completes the n-th with a new item, that has its number, and drops the token: what the waiters got. */
MAYBE_UNUSED static int starts_complete(struct starts *s, int n)
{
	int status = 12345;

	CHECK_EQ(hapax_load_complete(s->token[n], starts_item(s, n + 1), &status), HAPAX_OK);
	hapax_load_drop(s->token[n]);
	return status;
}

/* ---- an executor that is told what to do ------------------------------------------------------------------------- */

enum { TASKS = 64 };

struct manual {
	int n, done;
	void (*task[TASKS])(void *arg);
	void *arg[TASKS];
	int refuse;               /* so many calls, first */
	void (*then)(struct manual *m); /* in run(); may be NULL */
	void *then_arg;
	bool at_once;
};

static int manual_run(void (*task)(void *arg), void *arg, void *ctx)
{
	struct manual *m = ctx;

	CHECK(task && m->n < TASKS);
	if (m->then)
		m->then(m);
	if (m->refuse) {
		m->refuse--;
		return -1;
	}
	m->task[m->n] = task;
	m->arg[m->n++] = arg;
	if (m->at_once)
		m->task[m->done](m->arg[m->done]), m->done++;
	return 0;
}

/* Runs the next task: false when there is none. */
MAYBE_UNUSED static bool manual_step(struct manual *m)
{
	if (m->done == m->n)
		return false;
	m->done++;
	m->task[m->done - 1](m->arg[m->done - 1]);
	return true;
}

MAYBE_UNUSED static hapax_cache *cache_executing(hapax_env *env, struct source *s, struct manual *m, int form)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = form ? NULL : &item_type,
				 .load = form ? NULL : source_load, .make = form ? source_make : NULL, .arg = s,
				 .executor = {manual_run, m}, .name = "tested"};
	hapax_cache *cache = NULL;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	s->env = env;
	s->cache = cache;
	return cache;
}

#endif
