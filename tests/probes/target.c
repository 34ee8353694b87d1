/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* target.c - passes every probe of docs/probes.md at least once, and says on standard output what each should have said. */
#include <hapax/hapax.h>
#include <hapax/testing.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK(true)                                                                 \
	do {                                                                        \
		if (!(true)) {                                                      \
			fprintf(stderr, "target.c:%d: %s\n", __LINE__, #true);      \
			exit(3);                                                    \
		}                                                                   \
	} while (0)

struct page {
	char text[64];
};
HAPAX_TYPE(page, struct page, .flags = 0);
static const hapax_type large = {HAPAX_TYPE_INIT, .name = "large", .size = 4000};
static const hapax_type read_type = {HAPAX_TYPE_INIT, .name = "read", .size = 16, .flags = HAPAX_TYPE_BORROW};

static hapax_cache *pages;
static hapax_env *env;

static uint64_t waits(hapax_cache *cache)
{
	hapax_cache_stats stats = {.size = sizeof(stats)};

	CHECK(!hapax_cache_stats_get(cache, &stats));
	return stats.waits;
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct page *page = object;

	(void)arg, (void)error;
	memcpy(page->text, key->data, key->size);
	while (key->size == 6 && !memcmp(key->data, "joined", 6) && !waits(pages)) /* somebody joins */
		usleep(1000);
	return key->size == 7 && !memcmp(key->data, "nothing", 7) ? HAPAX_LOAD_NOVALUE : HAPAX_LOAD_OK;
}

static struct page *get(hapax_cache *cache, const char *key)
{
	struct page *page;

	CHECK(!page_get(cache, HAPAX_STR(key), &page));
	return page;
}

static void *get_joined(void *arg)
{
	return get(arg, "joined");
}

static void loads(void)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &page_type, .load = load, .name = "pages"};
	struct page *page, *own;
	pthread_t other;
	void *theirs;

	CHECK(!hapax_cache_create(&pages, &options));
	page = get(pages, "one");
	CHECK(page_get(pages, HAPAX_STR("nothing"), &own) == HAPAX_NOVALUE);
	CHECK(hapax_cache_remove(pages, HAPAX_STR("one")) == 0);
	printf("object %p\n", (void *)page);
	hapax_release(page);
	hapax_release(get(pages, "collected"));
	CHECK(!pthread_create(&other, NULL, get_joined, pages));
	own = get(pages, "joined");
	CHECK(!pthread_join(other, &theirs) && theirs == own);
	printf("promoted %p\n", (void *)own);
	CHECK(hapax_testing_promote(own));
	hapax_release(theirs);
	hapax_release(own);
	hapax_cache_destroy(pages);
}

static int at_once(void (*task)(void *arg), void *arg, void *ctx)
{
	(void)ctx;
	task(arg);
	return 0;
}

static void managed(void)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &page_type, .load = load, .name = "managed",
					     .max_entries = 1, .executor = {.run = at_once}};
	hapax_cache *cache;

	CHECK(!hapax_cache_create(&cache, &options));
	hapax_release(get(cache, "first"));
	CHECK(hapax_cache_refresh(cache, HAPAX_STR("first")) == 0);
	hapax_release(get(cache, "second"));
	hapax_cache_maintain(cache);
	hapax_cache_destroy(cache);
}

/* A reader that stays until it has been found to be in the way. */
static void *read_long(void *arg)
{
	hapax_env_stats stats = {.size = sizeof(stats)};
	const void *object;
	hapax_cache *cache = arg;

	CHECK(!pthread_setname_np(pthread_self(), "reader"));
	CHECK(!hapax_thread_prepare(env));
	CHECK(!hapax_cache_borrow(cache, HAPAX_STR("read"), &object));
	do {
		usleep(1000);
		CHECK(!hapax_env_stats_get(env, &stats));
	} while (!stats.stalls || !stats.garbage_waits);
	hapax_borrow_end();
	return NULL;
}

static void garbage(void)
{
	const hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 1 << 16, .stall_ns = HAPAX_MILLISECOND};
	hapax_cache_options cached = {HAPAX_CACHE_OPTIONS_INIT, .type = &read_type, .name = "read"};
	hapax_env_stats stats = {.size = sizeof(stats)};
	hapax_cache *cache;
	pthread_t reader;
	void *object;

	CHECK(!hapax_env_create(&env, &options));
	cached.env = env;
	CHECK(!hapax_cache_create(&cache, &cached) && !hapax_new(env, &read_type, 0, &object) &&
	      !hapax_cache_put(cache, HAPAX_STR("read"), object));
	CHECK(!pthread_create(&reader, NULL, read_long, cache));
	do {
		void *junk;

		CHECK(!hapax_new(env, &large, 0, &junk));
		hapax_release(junk);
		CHECK(!hapax_env_stats_get(env, &stats));
	} while (!stats.garbage_waits || !stats.stalls);
	CHECK(!pthread_join(reader, NULL));
	hapax_release(object);
	hapax_cache_destroy(cache);
	hapax_reclaim(env);
	hapax_env_destroy(env);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	loads();
	managed();
	garbage();
	puts("done");
	return 0;
}
