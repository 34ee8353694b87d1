/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Step 1: a mutex, a hash table, a count. It works in every test that asks for one thing after the other. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

/* [database] */
static _Atomic int queries;      /* how often it was asked */
static _Atomic int revision = 1; /* what it answers */
static void (*meanwhile)(void);  /* what others do while a query runs */

static char *db_query(const char *id)
{
	int seen = revision;
	char *text;

	queries++;
	if (meanwhile)
		meanwhile();
	return asprintf(&text, "%s, revision %d", id, seen) < 0 ? NULL : text;
}
/* [/database] */

struct article {
	char id[32];
	char *text;
	int users;
	struct article *next; /* in its bucket */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct article *buckets[64];

static struct article **find(const char *id) /* with the lock */
{
	struct article **at = &buckets[(unsigned char)id[0] % 64];

	while (*at && strcmp((*at)->id, id) != 0)
		at = &(*at)->next;
	return at;
}

static void release(struct article *article)
{
	int left;

	pthread_mutex_lock(&lock);
	left = --article->users;
	pthread_mutex_unlock(&lock);
	if (left)
		return;
	free(article->text);
	free(article);
}

/* [get] */
static struct article *get(const char *id)
{
	struct article *article, *fresh;

	pthread_mutex_lock(&lock);
	article = *find(id);
	if (article)
		article->users++;
	pthread_mutex_unlock(&lock);
	if (article)
		return article;

	fresh = calloc(1, sizeof(*fresh)); /* not there: load it, without the lock */
	MUST(fresh && strlen(id) < sizeof(fresh->id));
	strcpy(fresh->id, id);
	fresh->text = db_query(id);

	pthread_mutex_lock(&lock);
	article = *find(id);
	if (!article) { /* nobody was faster */
		*find(id) = article = fresh;
		article->users = 1; /* the table's */
		fresh = NULL;
	}
	article->users++;
	pthread_mutex_unlock(&lock);
	if (fresh) {
		free(fresh->text);
		free(fresh);
	}
	return article;
}
/* [/get] */

static void drop(const char *id) /* for eviction, and when the record has changed */
{
	struct article **at, *article;

	pthread_mutex_lock(&lock);
	at = find(id);
	article = *at;
	if (article)
		*at = article->next;
	pthread_mutex_unlock(&lock);
	if (article)
		release(article);
}

static pthread_barrier_t four;

static void wait_for_four(void)
{
	pthread_barrier_wait(&four);
}

static void *reader(void *id)
{
	release(get(id));
	return NULL;
}

static void stampede(void)
{
	pthread_t threads[4];

	pthread_barrier_init(&four, NULL, 4);
	meanwhile = wait_for_four; /* a query takes so long that all four have asked */
	for (int i = 0; i < 4; i++)
		MUST(!pthread_create(&threads[i], NULL, reader, "front"));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	meanwhile = NULL;
	printf("1. four threads miss one key together: %d queries\n", queries);
	MUST(queries == 4);
}

static void *try_lock(void *arg)
{
	int *busy = arg;

	*busy = pthread_mutex_trylock(&lock) != 0;
	return NULL;
}

static void locked(void)
{
	pthread_t other;
	int busy = 0;

	pthread_mutex_lock(&lock); /* "then we load with the lock held" */
	MUST(!pthread_create(&other, NULL, try_lock, &busy));
	free(db_query("slow"));
	pthread_join(other, NULL);
	pthread_mutex_unlock(&lock);
	printf("2. loading under the lock: who asks for another key %s\n", busy ? "waits" : "does not wait");
	MUST(busy);
}

static void edit(void)
{
	meanwhile = NULL;
	revision = 2;
	drop("news"); /* it has changed: whoever comes next has to load it anew */
}

static void stale(void)
{
	struct article *article;

	meanwhile = edit; /* after the query has read, before it is installed */
	release(get("news"));
	article = get("news");
	printf("3. the database has revision %d, and the cache for ever: %s\n", revision, article->text);
	MUST(strstr(article->text, "revision 1"));
	release(article);
}

static void two(void)
{
	struct article *mine = get("report"), *yours;

	drop("report"); /* evicted, to make room; it is in use, so it lives on */
	yours = get("report");
	printf("4. evicted while in use: %s\n", mine == yours ? "one instance" : "two instances of one article");
	MUST(mine != yours);
	release(mine);
	release(yours);
}

int main(void)
{
	stampede();
	locked();
	stale();
	two();
	drop("front");
	drop("news");
	drop("report");
	return 0;
}
