/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step 3: what the cache holds itself, how long a value is good, reloading before that, "there is none". */
#define _GNU_SOURCE
#include <hapax/hapax.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

static _Atomic int queries;
static _Atomic int revision = 1;

struct article {
	char *text;
};

static int article_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct article *article = object;

	(void)arg, (void)error;
	queries++;
	if (key->size >= 5 && !memcmp(key->data, "none/", 5))
		return HAPAX_LOAD_NOVALUE; /* asked, and there is no such article: that is no failure */
	if (asprintf(&article->text, "%.*s, revision %d", (int)key->size, (const char *)key->data, revision) < 0) {
		article->text = NULL;
		return HAPAX_LOAD_FAIL;
	}
	return HAPAX_LOAD_OK;
}

static void article_destroy(void *object, void *arg)
{
	(void)arg;
	free(((struct article *)object)->text);
}

HAPAX_TYPE(article, struct article, .destroy = article_destroy);

/* [time] */
/* Time that passes when the test says so. A server leaves .env out: then it is CLOCK_MONOTONIC. */
static uint64_t now = HAPAX_SECOND;

static uint64_t tell_time(void *ctx)
{
	(void)ctx;
	return now;
}

static const hapax_env_options env_options = {
	HAPAX_ENV_OPTIONS_INIT,
	.flags = HAPAX_ENV_NO_THREAD, /* and what a thread would do in the background happens when the test says so */
	.clock = {tell_time, NULL},
};
/* [/time] */

static hapax_cache *cache;

static struct article *get(const char *id)
{
	struct article *article = NULL;

	MUST(article_get(cache, HAPAX_STR(id), &article) == HAPAX_OK);
	return article;
}

static void look(const char *id)
{
	int before = queries;
	struct article *article = get(id);

	printf("   %s (%s)\n", article->text, queries == before ? "cached" : "loaded");
	hapax_release(article);
}

/* [bound] */
static void bound(void)
{
	struct article *mine;

	printf("at most two are held:\n");
	mine = get("a"); /* held by the cache, and in use here */
	look("b");
	look("c"); /* there are three now: one has been let go of */
	look("d");
	MUST(mine == get("a")); /* whichever it was: what is in use is found */
	hapax_release(mine);
	hapax_release(mine);
	MUST(hapax_cache_size(cache) == 2);
}
/* [/bound] */

/* [valid] */
static void valid(void)
{
	printf("good for an hour, reloaded after 50 minutes:\n");
	look("news");
	revision = 2;
	now += 40 * 60 * HAPAX_SECOND;
	look("news"); /* the old one; nobody has told the cache of the change */
	now += 15 * 60 * HAPAX_SECOND;
	look("news"); /* 55 minutes old: still returned at once, and a reload begins */
	hapax_cache_maintain(cache); /* runs it here, in place of the background thread */
	look("news");
	revision = 3;
	now += 61 * 60 * HAPAX_SECOND; /* nobody asked for an hour, so nothing was reloaded: it is not good any more */
	look("news");
}
/* [/valid] */

/* [negative] */
static void negative(void)
{
	struct article *article;
	int before = queries;

	printf("there is none:\n");
	MUST(article_get(cache, HAPAX_STR("none/x"), &article) == HAPAX_NOVALUE && !article); /* asked the database */
	MUST(article_get(cache, HAPAX_STR("none/x"), &article) == HAPAX_NEGATIVE);            /* remembered */
	now += 6 * HAPAX_SECOND;
	MUST(article_get(cache, HAPAX_STR("none/x"), &article) == HAPAX_NOVALUE);             /* asked again */
	printf("   asked for three times, %d queries\n", queries - before);
}
/* [/negative] */

int main(void)
{
	hapax_env *env;

	if (hapax_env_create(&env, &env_options) != HAPAX_OK)
		return 1;
	/* [options] */
	const hapax_cache_options options = {
		HAPAX_CACHE_OPTIONS_INIT,
		.name = "articles",
		.env = env,
		.type = &article_type,
		.load = article_load,
		.max_entries = 2,                       /* retention: how many the cache holds itself */
		.ttl_ns = 3600 * HAPAX_SECOND,          /* validity: how long a value is handed out */
		.refresh_ns = 3000 * HAPAX_SECOND,      /* freshness: reloaded in the background from then on */
		.negative_ttl_ns = 5 * HAPAX_SECOND,    /* "there is none" is remembered */
	};
	/* [/options] */

	if (hapax_cache_create(&cache, &options) != HAPAX_OK)
		return 1;
	bound();
	valid();
	negative();
	hapax_cache_destroy(cache);
	hapax_env_destroy(env);
	return 0;
}
