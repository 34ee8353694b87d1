/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step 5: threads that serve, figures, an orderly end, and nothing forgotten. */
#define _GNU_SOURCE
#include <hapax/hapax.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

struct article {
	char *text;
};

static int article_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct article *article = object;

	(void)arg, (void)error;
	return asprintf(&article->text, "article %.*s", (int)key->size, (const char *)key->data) < 0 ? HAPAX_LOAD_FAIL
												       : HAPAX_LOAD_OK;
}

static void article_destroy(void *object, void *arg)
{
	(void)arg;
	free(((struct article *)object)->text);
}

HAPAX_TYPE(article, struct article, .destroy = article_destroy);

static hapax_cache *cache;
static _Atomic unsigned long served;

/* [worker] */
static void *worker(void *arg)
{
	unsigned seed = (unsigned)(size_t)arg;

	for (;;) {
		struct article *article;
		char id[16];
		int status;

		snprintf(id, sizeof(id), "%d", rand_r(&seed) % 200); /* what a request asks for */
		status = article_get(cache, HAPAX_STR(id), &article);
		if (status == HAPAX_ECLOSED)
			return NULL; /* the server is being shut down */
		if (status != HAPAX_OK) {
			fprintf(stderr, "article %s: %s\n", id, hapax_status_text(status));
			continue;
		}
		served++; /* here it would be sent */
		hapax_release(article);
	}
}
/* [/worker] */

/* [statistics] */
static hapax_cache_stats last = {.size = sizeof(last)};

static void show(void)
{
	hapax_cache_stats total = {.size = sizeof(total)}, stats;
	uint64_t gets;

	MUST(hapax_cache_stats_get(cache, &total) == HAPAX_OK);
	stats = total;
	hapax_cache_stats_since(&stats, &last); /* since the last time */
	last = total;
	gets = stats.hits + stats.misses;
	printf("gets %lu, hit share %.0f %%, loads %lu, held %lu\n", (unsigned long)gets,
	       gets ? 100.0 * (double)stats.hits / (double)gets : 0.0, (unsigned long)stats.loads, (unsigned long)stats.retained);
}
/* [/statistics] */

/* [metrics] */
static int to_file(const char *text, size_t n, void *file) /* of a server: to the body of its answer to GET /metrics */
{
	return fwrite(text, 1, n, file) == n ? 0 : -1;
}

static void metrics(void)
{
	MUST(hapax_metrics_write(HAPAX_METRICS_PROMETHEUS, to_file, stdout) == HAPAX_OK);
}
/* [/metrics] */

/* [end] */
static void forgotten(const hapax_leak *leak, void *ctx)
{
	(void)ctx;
	fprintf(stderr, "still alive: %s, known to %s\n", leak->type, leak->holder ? leak->holder : "nobody");
}

static void shut_down(pthread_t *threads, int n)
{
	hapax_cache_close(cache); /* from now on every get answers HAPAX_ECLOSED, those that wait as well */
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	hapax_cache_destroy(cache); /* would say which articles are still in use */
	MUST(hapax_leak_report(NULL, forgotten, NULL) == 0);
}
/* [/end] */

int main(void)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .name = "articles", .type = &article_type,
					     .load = article_load, .max_entries = 100};
	pthread_t threads[3];

	if (hapax_cache_create(&cache, &options) != HAPAX_OK)
		return 1;
	for (size_t i = 0; i < 3; i++)
		MUST(!pthread_create(&threads[i], NULL, worker, (void *)(i + 1)));
	for (unsigned long goal = 10000; goal <= 30000; goal += 10000) {
		while (served < goal)
			sched_yield();
		show();
	}
	metrics();
	shut_down(threads, 3);
	printf("shut down, nothing left\n");
	return 0;
}
