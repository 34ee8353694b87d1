/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gdb/target.c - a program to look at with a debugger: it stops in stopped() with a load in progress, threads that wait for it,
 * a load that waits for another one's load, one that nobody has completed yet, a reload, a compute, and things in every kind of
 * holder.
 */
#define _GNU_SOURCE
#include <hapax/hapax.h>

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OK(call) ((call) == HAPAX_OK ? (void)0 : fail(#call, __LINE__))

static void fail(const char *call, int line)
{
	fprintf(stderr, "line %d: %s\n", line, call);
	exit(1);
}

struct page {
	char text[40];
};
struct session {
	int number;
};

static void page_destroy(void *object, void *arg)
{
	(void)object, (void)arg;
}

HAPAX_TYPE(page, struct page, .destroy = page_destroy);
HAPAX_TYPE(session, struct session, .flags = 0);

static hapax_cache *pages, *models, *remote;
static hapax_memo *squares, *lengths;
static hapax_cache *news;
static hapax_table *sessions, *many, *crowded, *borrowed;
static struct session *crowd[1040];
static hapax_weak_map *notes;
static hapax_weak_set *active;
static struct page *front, *big;
static struct session *session[3];
static hapax_load *token;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool go_on;
static unsigned blocked;
hapax_key example = {"ex\303\244mple", 8};

/* ---- loaders ----------------------------------------------------------------------------------------------------- */

/* Until main() is through with being looked at. */
static void block(void)
{
	pthread_mutex_lock(&lock);
	blocked++;
	pthread_cond_broadcast(&changed);
	while (!go_on)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void until_blocked(unsigned n)
{
	pthread_mutex_lock(&lock);
	while (blocked < n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static int page_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct page *page = object;

	(void)arg, (void)error;
	if (key->size == 4 && !memcmp(key->data, "slow", 4))
		block();
	snprintf(page->text, sizeof(page->text), "%.*s", (int)key->size, (const char *)key->data);
	return HAPAX_LOAD_OK;
}

/* A model needs a page; there is no model 0. */
static int model_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	static const uint32_t none = 0, nested = 7;
	struct page *page;

	(void)arg, (void)error, (void)object;
	if (key->size == 4 && !memcmp(key->data, &none, 4))
		return HAPAX_LOAD_NOVALUE;
	if (key->size == 4 && !memcmp(key->data, &nested, 4)) {
		OK(page_get(pages, HAPAX_STR("slow"), &page));
		hapax_release(page);
	}
	return HAPAX_LOAD_OK;
}

/* Its first load is quick, its reload is not. */
static int news_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	static unsigned loads;

	(void)object, (void)key, (void)arg, (void)error;
	if (loads++)
		block();
	return HAPAX_LOAD_OK;
}

static int sum(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)current, (void)key, (void)object, (void)arg, (void)error;
	block();
	return HAPAX_COMPUTE_KEEP;
}

/* All keys are in one place. */
static int same_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key, (void)ctx;
	*hash = 1;
	return 0;
}

static int remote_start(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key, (void)arg, (void)error;
	token = load;
	return 0;
}

static int length(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner, (void)n, (void)ctx, (void)error;
	((struct session *)result)->number = (int)args[0].size;
	return HAPAX_LOAD_OK;
}

static int square(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner, (void)n, (void)ctx, (void)error;
	((struct session *)result)->number = (int)(args[0].value.i * args[0].value.i);
	return HAPAX_LOAD_OK;
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void *get_slow(void *arg)
{
	struct page *page;

	(void)arg;
	OK(page_get(pages, HAPAX_STR("slow"), &page));
	hapax_release(page);
	return NULL;
}

static void *get_nested(void *arg)
{
	uint32_t nested = 7;
	struct page *page;

	(void)arg;
	OK(page_get(models, HAPAX_KEY_OF(nested), &page));
	hapax_release(page);
	return NULL;
}

static void *compute_sum(void *arg)
{
	(void)arg;
	OK(hapax_cache_compute(models, HAPAX_STR("sum"), sum, NULL, HAPAX_FOREVER, NULL, NULL, NULL));
	return NULL;
}

static void done(int status, void *object, hapax_load_error *error, void *ctx)
{
	(void)status, (void)error, (void)ctx;
	hapax_release(object);
}

/* Until as many calls have begun to wait for loads of `pages`, or to load. */
static void until(uint64_t loads, uint64_t waits)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	hapax_cache_stats stats = {.size = sizeof(stats)};

	do {
		nanosleep(&pause, NULL);
		OK(hapax_cache_stats_get(pages, &stats));
	} while (stats.loads < loads || stats.waits < waits);
}

/* ---- what there is to see ---------------------------------------------------------------------------------------- */

static void fill(void)
{
	static const hapax_cache_options pages_options = {HAPAX_CACHE_OPTIONS_INIT, .name = "pages", .type = &page_type,
							  .load = page_load};
	static const hapax_cache_options models_options = {HAPAX_CACHE_OPTIONS_INIT, .name = "models", .type = &page_type,
							   .load = model_load, .max_entries = 8,
							   .negative_ttl_ns = 60 * HAPAX_SECOND};
	static const hapax_cache_options remote_options = {HAPAX_CACHE_OPTIONS_INIT, .name = "remote\033[2J",
							   .start = remote_start};
	static const hapax_memo_options squares_options = {HAPAX_MEMO_OPTIONS_INIT, .name = "squares", .type = &session_type,
							   .compute = square};
	static const hapax_table_options sessions_options = {HAPAX_TABLE_OPTIONS_INIT, .name = "sessions"};
	static const hapax_weak_map_options notes_options = {HAPAX_WEAK_MAP_OPTIONS_INIT, .name = "notes"};
	static const hapax_weak_set_options active_options = {HAPAX_WEAK_SET_OPTIONS_INIT, .name = "active"};
	struct page *page;
	struct session *result, *note;
	char key[16];

	OK(hapax_cache_create(&pages, &pages_options));
	OK(hapax_cache_create(&models, &models_options));
	OK(hapax_cache_create(&remote, &remote_options));
	OK(hapax_memo_create(&squares, &squares_options));
	OK(hapax_table_create(&sessions, &sessions_options));
	OK(hapax_weak_map_create(&notes, &notes_options));
	OK(hapax_weak_set_create(&active, &active_options));
	OK(page_get(pages, HAPAX_STR("/front"), &front));
	OK(page_get(pages, HAPAX_STR("/front"), &page));
	OK(page_get(pages, HAPAX_STR("a longer key of fifty bytes that cannot be shown in"), &big));
	for (uint32_t i = 100; i < 103; i++) {
		OK(page_get(models, HAPAX_KEY_OF(i), &page));
		hapax_release(page);
	}
	if (page_get(models, HAPAX_KEY_OF((uint32_t){0}), &page) != HAPAX_NOVALUE)
		fail("no model 0", __LINE__);
	OK(hapax_memo_call(squares, NULL, HAPAX_ARGS(hapax_arg_int(12)), (void **)&result));
	hapax_release(result);
	for (int i = 0; i < 3; i++) {
		OK(session_new(NULL, &session[i]));
		session[i]->number = i;
		snprintf(key, sizeof(key), "user%d", i);
		OK(hapax_table_put(sessions, HAPAX_STR(key), session[i]));
	}
	OK(session_new(NULL, &note));
	OK(hapax_weak_map_put(notes, session[0], note));
	hapax_release(note);
	OK(hapax_weak_set_add(active, session[1], NULL));
	OK(session_new(NULL, &note)); /* known to nobody */
	OK(hapax_cache_get_async(remote, HAPAX_STR("far"), NULL, done, NULL));
}

/* Tables of unusual contents: one that has grown and may be growing, one of equal hashes, one of borrowed keys. */
static void fill_tables(void)
{
	static const hapax_table_options many_options = {HAPAX_TABLE_OPTIONS_INIT, .name = "many"};
	static const hapax_table_options crowded_options = {HAPAX_TABLE_OPTIONS_INIT, .name = "crowded", .keys.hash = same_hash};
	static const hapax_table_options borrowed_options = {HAPAX_TABLE_OPTIONS_INIT, .name = "borrowed", .keys.borrow = true};
	static const hapax_cache_options news_options = {HAPAX_CACHE_OPTIONS_INIT, .name = "news", .type = &page_type,
							 .load = news_load, .max_entries = 3};
	static const hapax_memo_options lengths_options = {HAPAX_MEMO_OPTIONS_INIT, .name = "lengths", .type = &session_type,
							   .compute = length, .flags = HAPAX_MEMO_OWNED};
	struct page *page;

	OK(hapax_table_create(&many, &many_options));
	OK(hapax_table_create(&crowded, &crowded_options));
	OK(hapax_table_create(&borrowed, &borrowed_options));
	OK(hapax_cache_create(&news, &news_options));
	OK(hapax_memo_create(&lengths, &lengths_options));
	for (int i = 0; i < 1040; i++) {
		OK(session_new(NULL, &crowd[i]));
		OK(hapax_table_put(i < 1000 ? many : crowded, HAPAX_KEY_OF(i), crowd[i]));
	}
	OK(hapax_table_put(borrowed, HAPAX_STR("a key that stays where it is"), crowd[0]));
	OK(hapax_memo_get(lengths, crowd[0], HAPAX_STR("bytes"), (void **)&page));
	hapax_release(page);
	OK(hapax_memo_call(lengths, crowd[0], HAPAX_ARGS(hapax_arg_string("one and"), hapax_arg_int(4)), (void **)&page));
	hapax_release(page);
	OK(hapax_memo_call(lengths, crowd[0], HAPAX_ARGS(hapax_arg_string("")), (void **)&page));
	hapax_release(page);
	OK(page_get(news, HAPAX_STR("today"), &page));
	hapax_release(page);
	OK(hapax_cache_refresh(news, HAPAX_STR("today")));
}

void stopped(void);
__attribute__((noinline)) void stopped(void) { __asm__ volatile("" ::: "memory"); }

static int to_file(const char *text, size_t n, void *file) { return fwrite(text, 1, n, file) == n ? 0 : -1; }

/* FILE: where to write the leak report, before it stops. */
int main(int argc, char **argv)
{
	pthread_t loader, waiter[2], nested, computing;
	pthread_attr_t small;
	FILE *file;

	/* what is not used is in the core all the same */
	if (!mallopt(M_ARENA_MAX, 1) || pthread_attr_init(&small) || pthread_attr_setstacksize(&small, 256 << 10) ||
	    pthread_setattr_default_np(&small))
		return 1;
	fill();
	fill_tables();
	if (pthread_create(&loader, NULL, get_slow, NULL))
		return 1;
	until(3, 0);
	for (int i = 0; i < 2; i++)
		if (pthread_create(&waiter[i], NULL, get_slow, NULL))
			return 1;
	if (pthread_create(&nested, NULL, get_nested, NULL) || pthread_create(&computing, NULL, compute_sum, NULL))
		return 1;
	until(3, 3);
	until_blocked(3);
	file = argc > 1 ? fopen(argv[1], "w") : stderr;
	if (!file || hapax_leak_report_json(NULL, to_file, file) || fflush(file))
		fail("the leak report", __LINE__);
	stopped();
	pthread_mutex_lock(&lock);
	go_on = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	pthread_join(loader, NULL);
	pthread_join(waiter[0], NULL);
	pthread_join(waiter[1], NULL);
	pthread_join(nested, NULL);
	pthread_join(computing, NULL);
	hapax_load_drop(token);
	hapax_release(big);
	hapax_release(front);
	hapax_release(front);
	for (int i = 0; i < 3; i++)
		hapax_release(session[i]);
	for (int i = 0; i < 1040; i++)
		hapax_release(crowd[i]);
	return 0;
}
