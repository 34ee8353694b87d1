/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * server.c - a process for hapax-top to look at, until its standard input ends: a load that does not come back, two threads that
 * wait for it, a key that is asked for all the time, and numbers that are known. Says its child's process number, then "ready".
 */
#include <hapax/hapax.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK(true)                                                                 \
	do {                                                                        \
		if (!(true)) {                                                      \
			fprintf(stderr, "server.c:%d: %s\n", __LINE__, #true);      \
			exit(3);                                                    \
		}                                                                   \
	} while (0)

struct page {
	char text[64];
};
HAPAX_TYPE(page, struct page, .flags = 0);

static hapax_cache *pages, *notes;
static atomic_bool end;

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)object, (void)arg, (void)error;
	while (key->size == 4 && !memcmp(key->data, "slow", 4) && !atomic_load(&end))
		usleep(1000);
	return key->size == 4 && !memcmp(key->data, "none", 4) ? HAPAX_LOAD_NOVALUE : HAPAX_LOAD_OK;
}

static void get(hapax_cache *cache, const char *key)
{
	struct page *page;

	CHECK(!page_get(cache, HAPAX_STR(key), &page));
	page_release(page);
}

static void *get_slow(void *arg)
{
	get(pages, "slow");
	return arg;
}

static void *get_hot(void *arg)
{
	while (!atomic_load(&end)) {
		get(pages, "hot key");
		usleep(20);
	}
	return arg;
}

static uint64_t waits(void)
{
	hapax_cache_stats stats = {.size = sizeof(stats)};

	CHECK(!hapax_cache_stats_get(pages, &stats));
	return stats.waits;
}

int main(void)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &page_type, .load = load, .name = "pages",
					     .max_entries = 100, .negative_ttl_ns = 1000 * HAPAX_SECOND};
	const hapax_cache_options plain = {HAPAX_CACHE_OPTIONS_INIT, .type = &page_type, .load = load, .name = "notes"};
	pthread_t threads[4];
	struct page *page, *held;
	char key[16];
	pid_t child;

	CHECK(!hapax_cache_create(&pages, &options) && !hapax_cache_create(&notes, &plain));
	CHECK(!page_get(notes, HAPAX_STR("held"), &held));
	for (int i = 0; i < 50; i++) {
		snprintf(key, sizeof(key), "%d", i);
		get(pages, key);
	}
	CHECK(page_get(pages, HAPAX_STR("none"), &page) == HAPAX_NOVALUE && page_get(pages, HAPAX_STR("none"), &page) == HAPAX_NEGATIVE);
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	if (child == 0) { /* lives on, and leaves hapax alone: until the parent's end of the pipe is closed, as its own */
		pause();
		_exit(0);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&threads[i], NULL, get_slow, NULL));
	CHECK(!pthread_create(&threads[3], NULL, get_hot, NULL));
	while (waits() < 2)
		usleep(1000);
	printf("%d\nready\n", (int)child);
	fflush(stdout);
	while (getchar() != EOF)
		;
	atomic_store(&end, true);
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
	page_release(held);
	hapax_cache_destroy(pages);
	hapax_cache_destroy(notes);
	return 0;
}
