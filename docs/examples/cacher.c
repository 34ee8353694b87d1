/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A cacher of expensive data, in the four stages in which such a thing is usually written (python/cacher.py: by hand):
 *
 *   1. a dictionary: nothing in it is ever freed
 *   2. users who say when they have done: counting by hand, with errors in the count
 *   3. a dictionary of weak values: freed with its last user, but two who miss at once make two
 *   4. one lock around it: one instance again, and nobody gets anything while one is being made
 *
 * Here the first is an option, the second is what references are, the third has a call that cannot make two, and the
 * fourth is the cache. The traps are told where they would have been.
 */
#define _POSIX_C_SOURCE 200809L
#include <hapax/hapax.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

/* ---- system: the data -------------------------------------------------------------------------------------------- */

struct data {
	char key[16];
	struct data *font; /* a page needs one, from the same cacher */
};
static int made, alive;

static void data_destroy(void *object, void *arg)
{
	(void)arg;
	hapax_release(((struct data *)object)->font);
	__atomic_fetch_sub(&alive, 1, __ATOMIC_RELAXED);
}
HAPAX_TYPE(data, struct data, .destroy = data_destroy);

/* `arg`: where the cacher is, NULL for pages without a font. */
static int data_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct data *data = object;

	(void)error;
	if (key->size >= sizeof(data->key))
		return HAPAX_LOAD_NOVALUE;
	memcpy(data->key, key->data, key->size);
	if (arg && !strcmp(data->key, "page") && data_get(*(hapax_cache **)arg, HAPAX_STR("font"), &data->font))
		return HAPAX_LOAD_FAIL;
	__atomic_fetch_add(&made, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&alive, 1, __ATOMIC_RELAXED);
	return HAPAX_LOAD_OK;
}

/* ---- system: stage 1, a strong dictionary ------------------------------------------------------------------------ */

static int strong(hapax_cache **cacher)
{
	return hapax_cache_create(cacher, &(hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .type = &data_type,
								 .load = data_load, .max_entries = INT64_MAX});
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static void stage_1(void)
{
	HAPAX_AUTO_CACHE(cacher) = NULL;

	MUST(strong(&cacher) == HAPAX_OK);
	for (int i = 0; i < 3; i++) {
		HAPAX_AUTO(struct data *) data = NULL;

		MUST(data_get(cacher, HAPAX_KEY_OF(i), &data) == HAPAX_OK);
	}
	/* Nobody uses them, nothing ends them. The way out is not another structure: a bound instead of INT64_MAX. */
	printf("1. strong: nobody uses any, %d are held", alive);
	MUST(alive == 3);
	MUST(hapax_cache_set_bound(cacher, 1) == HAPAX_OK);
	MUST(alive == 1);
	printf(", with a bound of one %d\n", alive);
}

/* ---- system: stage 2, users who count ---------------------------------------------------------------------------- */

static void forgotten(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	(void)object, (void)inherited;
	printf("   %s %.*s: %llu reference(s) never given back\n", type, (int)key->size, (const char *)key->data,
	       (unsigned long long)count);
	++*(int *)ctx;
}

static int counting(hapax_cache **cacher, int *n_forgotten)
{
	return hapax_cache_create(cacher, &(hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .type = &data_type,
								 .load = data_load, .leak = forgotten,
								 .leak_ctx = n_forgotten});
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static void stage_2(void)
{
	struct data *mine = NULL, *yours = NULL, *lost = NULL;
	hapax_cache *cacher = NULL;
	int n_forgotten = 0;

	MUST(counting(&cacher, &n_forgotten) == HAPAX_OK);
	MUST(data_get(cacher, HAPAX_STR("a"), &mine) == HAPAX_OK);
	MUST(data_get(cacher, HAPAX_STR("a"), &yours) == HAPAX_OK);
	MUST(mine == yours && hapax_count(mine) == 2);
	/*
	 * One remove("a") too many by one user takes the data away from another, if what is counted is names. What is
	 * given back here is a reference, once: the variable is empty afterwards, and in a debug build a release too
	 * many aborts by name.
	 */
	data_release(hapax_steal(mine));
	data_release(hapax_steal(mine));
	MUST(alive == 1 && hapax_cache_contains(cacher, HAPAX_STR("a")) == 1);
	data_release(yours);
	MUST(alive == 0 && hapax_cache_contains(cacher, HAPAX_STR("a")) == 0);
	printf("2. counting: gone with its last user\n");

	/* One too few: it is named when the cacher ends. HAPAX_AUTO() is how not to forget one. */
	MUST(data_get(cacher, HAPAX_STR("b"), &lost) == HAPAX_OK);
	hapax_cache_destroy(cacher);
	MUST(n_forgotten == 1 && !strcmp(lost->key, "b")); /* still valid */
	data_release(lost);
	MUST(alive == 0);
}

/* ---- system: stage 3, weak values -------------------------------------------------------------------------------- */

/* Looks, and makes what is missing, without a lock: somebody else may do so at the same time. */
static struct data *weak_get(hapax_table *cacher, hapax_key key)
{
	HAPAX_AUTO(struct data *) data = NULL;
	hapax_load_error error = {0};
	void *first = NULL;

	if (data_table_get(cacher, key, &data) != HAPAX_MISS)
		return hapax_steal(data);
	if (data_new(NULL, &data) || data_load(data, &key, NULL, &error))
		return NULL;
	/* `cacher[key] = data` would let the second of two take the place of the first: two instances, both in use */
	return hapax_table_get_or_put(cacher, key, data, &first, NULL) ? NULL : first;
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static pthread_barrier_t together;
static hapax_table *shared_table;

static void *ask_table(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&together);
	return weak_get(shared_table, HAPAX_STR("a"));
}

static void stage_3(void)
{
	HAPAX_AUTO_TABLE(cacher) = NULL;
	struct data *one, *other;
	void *answer = NULL;
	pthread_t thread;

	MUST(hapax_table_create(&cacher, NULL) == HAPAX_OK);
	shared_table = cacher;
	MUST(!pthread_create(&thread, NULL, ask_table, NULL));
	one = ask_table(NULL);
	MUST(!pthread_join(thread, &answer));
	other = answer;
	/* One or two were made, whoever was quicker: but one was given to both, and is the only one left. */
	MUST(one && one == other && alive == 1);
	data_release(other);
	data_release(one);
	MUST(alive == 0 && hapax_table_size(cacher) == 0);
	printf("3. weak: two threads, one instance; nobody uses it, none left\n");
}

/* ---- system: stage 4, the cache ---------------------------------------------------------------------------------- */

static hapax_cache *pages;

static int caching(hapax_cache **cacher)
{
	return hapax_cache_create(cacher, &(hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .type = &data_type,
								 .load = data_load, .arg = cacher});
}

static void gone(hapax_weak *weak, void *ctx)
{
	MUST(!hapax_weak_get(weak)); /* every reference reads dead before the first callback */
	++*(int *)ctx;
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static void *ask_cache(void *unused)
{
	struct data *page = NULL;

	(void)unused;
	pthread_barrier_wait(&together);
	MUST(data_get(pages, HAPAX_STR("page"), &page) == HAPAX_OK);
	return page;
}

static void stage_4(void)
{
	HAPAX_AUTO_WEAK(watch) = NULL;
	struct data *one, *other;
	void *answer = NULL;
	pthread_t thread;
	int n_gone = 0;

	made = 0;
	MUST(caching(&pages) == HAPAX_OK);
	MUST(!pthread_create(&thread, NULL, ask_cache, NULL));
	one = ask_cache(NULL);
	MUST(!pthread_join(thread, &answer));
	other = answer;
	/*
	 * Whoever came second waited for the first one's load, and for nothing else: other keys are loaded meanwhile,
	 * by others or by the loader itself, which got the font. Under one lock the first waits, and the second hangs.
	 */
	MUST(one == other && made == 2 && alive == 2 && !strcmp(one->font->key, "font"));
	MUST(hapax_weak_new(one, &(hapax_callback){gone, &n_gone, NULL}, &watch) == HAPAX_OK);
	data_release(other);
	MUST(n_gone == 0);
	data_release(one); /* and the font with it */
	MUST(n_gone == 1 && alive == 0 && hapax_cache_size(pages) == 0);
	hapax_cache_destroy(pages);
	printf("4. cache: two threads, one load; the page's end was told once, and took the font along\n");
}

int main(void)
{
	pthread_barrier_init(&together, NULL, 2);
	stage_1();
	stage_2();
	stage_3();
	stage_4();
	pthread_barrier_destroy(&together);
	return 0;
}
