/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step 4: what leaves and why, writing, errors, deadlines. */
#define _GNU_SOURCE
#include <hapax/hapax.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

struct article {
	char *text;
};

static sem_t loading, go_on; /* "slow" says that it is being loaded, and waits */

static int article_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct article *article = object;

	(void)arg;
	if (key->size == 6 && !memcmp(key->data, "broken", 6)) {
		error->code = EIO; /* any number of yours: every caller that waits gets it */
		return HAPAX_LOAD_FAIL;
	}
	if (key->size == 4 && !memcmp(key->data, "slow", 4)) {
		sem_post(&loading);
		sem_wait(&go_on);
	}
	article->text = strdup("from the database");
	error->code = article->text ? 0 : ENOMEM;
	return article->text ? HAPAX_LOAD_OK : HAPAX_LOAD_FAIL;
}

static void article_destroy(void *object, void *arg)
{
	(void)arg;
	free(((struct article *)object)->text);
}

HAPAX_TYPE(article, struct article, .destroy = article_destroy);

static hapax_cache *cache;

/* [listener] */
static const char *last_cause = "";

static int removed(const hapax_removal *removal, void *ctx)
{
	static const char *const causes[] = {"removed", "replaced", "not used any more", "expired", "no room", "closed"};

	(void)ctx;
	last_cause = causes[removal->cause];
	printf("   told: %.*s, %s\n", (int)removal->key.size, (const char *)removal->key.data, last_cause);
	return 0;
}
/* [/listener] */

/* [write] */
static void save(const char *id, const char *text)
{
	struct article *article;

	/* first the database, then the cache: whoever reads afterwards reads this one */
	MUST(article_new(NULL, &article) == HAPAX_OK); /* NULL: the default environment, which is the cache's */
	article->text = strdup(text);
	MUST(article_put(cache, HAPAX_STR(id), article) == HAPAX_OK);
	hapax_release(article); /* the cache has taken a reference of its own */
}
/* [/write] */

static void writing(void)
{
	struct article *before, *after;

	printf("writing:\n");
	MUST(article_get(cache, HAPAX_STR("news"), &before) == HAPAX_OK);
	save("news", "edited");
	MUST(!strcmp(last_cause, "replaced"));
	MUST(article_get(cache, HAPAX_STR("news"), &after) == HAPAX_OK);
	MUST(!strcmp(before->text, "from the database") && !strcmp(after->text, "edited")); /* before: still mine, unchanged */
	hapax_release(before);
	hapax_release(after);
	MUST(hapax_cache_remove(cache, HAPAX_STR("news")) == HAPAX_OK && !strcmp(last_cause, "removed"));
	MUST(hapax_cache_remove(cache, HAPAX_STR("news")) == HAPAX_MISS);
}

/* [error] */
static void errors(void)
{
	void *article;
	hapax_load_error error = {0};
	const hapax_get_options options = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};

	printf("errors:\n");
	int status = hapax_cache_get_with(cache, HAPAX_STR("broken"), &options, &article);
	printf("   %s (%s): %s\n", hapax_status_name(status), hapax_status_text(status), strerror(error.code));
	MUST(status == HAPAX_ELOADER && error.code == EIO && !article);
	hapax_load_error_drop(&error);
}
/* [/error] */

/* [deadline] */
static void *load_slowly(void *arg)
{
	struct article *article;

	(void)arg;
	MUST(article_get(cache, HAPAX_STR("slow"), &article) == HAPAX_OK);
	return article;
}

static void deadlines(void)
{
	const hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
	const hapax_get_options soon = {HAPAX_GET_OPTIONS_INIT, .deadline = hapax_env_now(NULL) + 5 * HAPAX_MILLISECOND};
	void *article, *same, *slowly;
	pthread_t thread;

	printf("deadlines:\n");
	MUST(!pthread_create(&thread, NULL, load_slowly, NULL));
	sem_wait(&loading);
	MUST(hapax_cache_get_with(cache, HAPAX_STR("slow"), &try, &article) == HAPAX_INFLIGHT);
	MUST(hapax_cache_get_with(cache, HAPAX_STR("slow"), &soon, &article) == HAPAX_ETIMEDOUT);
	printf("   somebody else is loading it: the one waits no longer, the load goes on\n");
	sem_post(&go_on);
	pthread_join(thread, &slowly);
	MUST(hapax_cache_get_with(cache, HAPAX_STR("slow"), &try, &same) == HAPAX_OK && same == slowly);
	hapax_release(same);
	hapax_release(slowly);
}
/* [/deadline] */

int main(void)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .name = "articles", .type = &article_type,
					     .load = article_load, .max_entries = 1000, .on_removal = removed};

	sem_init(&loading, 0, 0);
	sem_init(&go_on, 0, 0);
	if (hapax_cache_create(&cache, &options) != HAPAX_OK)
		return 1;
	writing();
	errors();
	deadlines();
	hapax_cache_destroy(cache);
	return 0;
}
