/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step 2: a cache with a loader, and what has become of the four. */
#define _GNU_SOURCE
#include <hapax/hapax.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

static _Atomic int queries;
static _Atomic int revision = 1;
static void (*meanwhile)(void);

static char *db_query(const hapax_key *id)
{
	int seen = revision;
	char *text;

	queries++;
	if (meanwhile)
		meanwhile();
	return asprintf(&text, "%.*s, revision %d", (int)id->size, (const char *)id->data, seen) < 0 ? NULL : text;
}

/* [article] */
struct article {
	char *text;
};

static int article_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct article *article = object; /* zeroed */

	(void)arg, (void)error;
	article->text = db_query(key);
	return article->text ? HAPAX_LOAD_OK : HAPAX_LOAD_FAIL;
}

static void article_destroy(void *object, void *arg)
{
	struct article *article = object;

	(void)arg;
	free(article->text);
}

HAPAX_TYPE(article, struct article, .destroy = article_destroy);
/* [/article] */

static hapax_cache *cache;

/* [get] */
static struct article *get(const char *id)
{
	struct article *article = NULL;

	MUST(article_get(cache, HAPAX_STR(id), &article) == HAPAX_OK);
	return article;
}
/* [/get] */

static pthread_barrier_t four;

static void *reader(void *id)
{
	struct article *article = get(id);

	pthread_barrier_wait(&four); /* all four have theirs */
	hapax_release(article);
	return NULL;
}

static void stampede(void)
{
	pthread_t threads[4];

	pthread_barrier_init(&four, NULL, 4);
	for (int i = 0; i < 4; i++)
		MUST(!pthread_create(&threads[i], NULL, reader, "front"));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	printf("1. four threads miss one key together: %d query\n", queries);
	MUST(queries == 1);
}

static void read_another(void)
{
	struct article *other;

	meanwhile = NULL;
	other = get("other"); /* a load in the middle of a load: no lock is held */
	printf("2. while one key is being loaded, another: %s\n", other->text);
	hapax_release(other);
}

static void locked(void)
{
	meanwhile = read_another;
	hapax_release(get("slow"));
}

static void edit(void)
{
	meanwhile = NULL;
	revision = 2;
	hapax_cache_remove(cache, HAPAX_STR("news"));
}

static void stale(void)
{
	struct article *before, *after;

	meanwhile = edit;
	before = get("news"); /* it asked before the edit, and gets what was right then; but that is not installed */
	after = get("news");
	printf("3. the database has revision %d, and the cache: %s\n", revision, after->text);
	MUST(strstr(before->text, "revision 1") && strstr(after->text, "revision 2"));
	hapax_release(before);
	hapax_release(after);
}

static void two(void)
{
	struct article *mine = get("report"), *yours = get("report");

	printf("4. in use, and asked for again: %s\n", mine == yours ? "one instance" : "two instances of one article");
	MUST(mine == yours);
	hapax_release(mine);
	hapax_release(yours); /* the last one: article_destroy() has run when it returns */
	MUST(hapax_cache_size(cache) == 0);
}

/* [main] */
int main(void)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .name = "articles", .type = &article_type,
					     .load = article_load};
	int status = hapax_cache_create(&cache, &options);

	if (status != HAPAX_OK) {
		fprintf(stderr, "%s: %s\n", hapax_status_name(status), hapax_status_text(status));
		return 1;
	}
	stampede();
	locked();
	stale();
	two();
	hapax_cache_destroy(cache);
	return 0;
}
/* [/main] */
