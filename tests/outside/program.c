/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program of somebody else's, which shares data of its own through hapax and runs under ThreadSanitizer.
 *
 *      program right ROUNDS      everything it does is ordered: by its mutex, or by what hapax promises
 *      program sections ROUNDS   the same, with read sections of its own in two flavours of liburcu
 *      program counters | late-write | after-publication
 *                                one race of its own each
 *
 * Threads wait for one another by relaxed flags, which order nothing; so what is ordered is ordered by hapax.
 */
#include <hapax/hapax.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "own_sections.h"

struct note {
	long words[4];
	long owner;
};

static struct shared {
	hapax_cache *cache;
	hapax_table *table;
	hapax_weak *weak;
	struct note *handed; /* before the threads start */
	int step;	     /* relaxed */
	pthread_mutex_t lock;
	long sum;	     /* of what destructors and callbacks saw; each after the last one, or under the lock */
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int sections; /* of our own */

#define MUST(x) ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), exit(3)))

static void step_to(int step) { __atomic_store_n(&shared.step, step, __ATOMIC_RELAXED); }

static void wait_for(int step)
{
	while (__atomic_load_n(&shared.step, __ATOMIC_RELAXED) < step)
		sched_yield();
}

static void arrive(int all)
{
	__atomic_fetch_add(&shared.step, 1, __ATOMIC_RELAXED);
	wait_for(all);
}

/* ---- plain accesses; these are the frames that reports have to name ------------------------------------------------- */

static void __attribute__((noinline)) fill_in(struct note *note, long value)
{
	for (int i = 0; i < 4; i++)
		note->words[i] = value + i;
}

static long __attribute__((noinline)) read_out(const struct note *note)
{
	long sum = 0;

	for (int i = 0; i < 4; i++)
		sum += note->words[i];
	return sum;
}

static void __attribute__((noinline)) count_up(struct note *note)
{
	for (int i = 0; i < 100; i++)
		note->words[0]++;
}

static void note_destroy(void *object, void *arg)
{
	(void)arg;
	__atomic_fetch_add(&shared.sum, read_out(object), __ATOMIC_RELAXED);
	fill_in(object, -1);
}

HAPAX_TYPE(note, struct note, .destroy = note_destroy);

static int note_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key;
	(void)arg;
	(void)error;
	fill_in(object, 10);
	return HAPAX_LOAD_OK;
}

static struct note *get_it(const char *key)
{
	struct note *note = NULL;

	MUST(note_get(shared.cache, HAPAX_STR(key), &note) == HAPAX_OK);
	return note;
}

/* ---- what is right ---------------------------------------------------------------------------------------------------- */

static void read_it(const char *key)
{
	struct note *note;

	if (sections)
		own_sections_enter();
	note = get_it(key);
	MUST(read_out(note) == 46);
	if (sections)
		own_sections_leave();
	note_release(note);
}

/* The loader's writes, then the getters' reads; the getters' reads, then the destructor's writes. */
static void *get_and_read(void *arg)
{
	(void)arg;
	if (sections)
		own_sections_begin();
	arrive(3);
	for (int i = 0; i < 20; i++)
		read_it(i & 1 ? "one" : "other");
	if (sections) {
		own_sections_synchronize();
		own_sections_end();
	}
	return NULL;
}

/* Writes under our mutex. */
static void *count_under_lock(void *arg)
{
	struct note *note = get_it("counted");

	(void)arg;
	arrive(3);
	pthread_mutex_lock(&shared.lock);
	count_up(note);
	pthread_mutex_unlock(&shared.lock);
	note_release(note);
	return NULL;
}

/* Each writes a word of its own, then releases; the last release runs the destructor, which reads all. */
static void *write_and_release(void *arg)
{
	arrive(3);
	shared.handed->words[(long)arg] = 100;
	note_release(shared.handed);
	return NULL;
}

/* Writes before a put, and before a handle is made; then reads by whoever gets, or upgrades. */
static void *put_or_find(void *arg)
{
	hapax_weak *weak;
	struct note *note = NULL, *found = NULL;
	void *object = NULL;

	if (arg == NULL) {
		MUST(note_new(NULL, &note) == HAPAX_OK);
		fill_in(note, 10);
		MUST(hapax_table_put(shared.table, HAPAX_STR("key"), note) == HAPAX_OK);
		wait_for(2);
		note_release(note);
		return NULL;
	}
	while (hapax_table_get(shared.table, HAPAX_STR("key"), &object) != HAPAX_OK)
		sched_yield();
	found = object;
	MUST(read_out(found) == 46);
	MUST(hapax_weak_new(found, NULL, &weak) == HAPAX_OK);
	__atomic_fetch_add(&shared.step, 1, __ATOMIC_RELAXED);
	note_release(found);
	found = hapax_weak_get(weak);
	if (found) {
		MUST(read_out(found) == 46);
		note_release(found);
	}
	MUST(hapax_weak_drop(weak) == HAPAX_OK);
	return NULL;
}

/* What was done before the last release is visible to the death callback, whoever runs it. */
static void on_death(hapax_weak *weak, void *ctx)
{
	(void)weak;
	MUST(read_out(ctx) == 300);
}

static void *write_aside_and_release(void *arg)
{
	static struct note aside[1];

	if (!arg) { /* before the threads */
		memset(aside, 0, sizeof(aside));
		return aside;
	}
	arrive(3);
	aside->words[(long)arg] = 100;
	note_release(shared.handed);
	return NULL;
}

static void run3(void *(*first)(void *), void *(*others)(void *))
{
	pthread_t thread[3];

	step_to(0);
	for (long i = 0; i < 3; i++)
		MUST(!pthread_create(&thread[i], NULL, i ? others : first, (void *)i));
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
}

static void hand_out(void)
{
	MUST(note_new(NULL, &shared.handed) == HAPAX_OK);
	MUST(hapax_retain(shared.handed) == HAPAX_OK && hapax_retain(shared.handed) == HAPAX_OK);
}

static void *first_aside(void *arg)
{
	(void)arg;
	return write_aside_and_release((void *)3L);
}

static void right_once(void)
{
	hapax_callback callback = {on_death, write_aside_and_release(NULL), NULL};
	hapax_weak *weak;

	run3(get_and_read, get_and_read);
	run3(count_under_lock, count_under_lock);
	hand_out();
	run3(write_and_release, write_and_release);
	run3(put_or_find, put_or_find);
	hand_out();
	MUST(hapax_weak_new(shared.handed, &callback, &weak) == HAPAX_OK);
	run3(first_aside, write_aside_and_release);
	MUST(hapax_weak_drop(weak) == HAPAX_OK);
}

/* ---- what is wrong ------------------------------------------------------------------------------------------------------ */

/* Two count in one object that both hold. */
static void *count_without_lock(void *arg)
{
	struct note *note = get_it("counted");

	(void)arg;
	arrive(2);
	count_up(note);
	arrive(4);
	note_release(note);
	return NULL;
}

/* One goes on writing after its release, before the other's destructor. */
static void *release_too_early(void *arg)
{
	/* both are known to hapax when they begin, and still when they end: no edges from that in between */
	MUST(hapax_thread_prepare(NULL) == HAPAX_OK);
	arrive(2);
	if (!arg) {
		note_release(shared.handed);
		count_up(shared.handed);
		step_to(3);
		wait_for(4);
	} else {
		wait_for(3);
		note_release(shared.handed);
		step_to(4);
	}
	return NULL;
}

/* One puts an object and fills it in afterwards. */
static void *put_too_early(void *arg)
{
	struct note *note = NULL;
	void *object = NULL;

	MUST(hapax_thread_prepare(NULL) == HAPAX_OK);
	arrive(2);
	if (!arg) {
		MUST(note_new(NULL, &note) == HAPAX_OK);
		MUST(hapax_table_put(shared.table, HAPAX_STR("key"), note) == HAPAX_OK);
		fill_in(note, 10);
		step_to(3);
		wait_for(4);
		note_release(note);
		return NULL;
	}
	wait_for(3);
	MUST(hapax_table_get(shared.table, HAPAX_STR("key"), &object) == HAPAX_OK);
	printf("%ld\n", read_out(object));
	step_to(4);
	hapax_release(object);
	return NULL;
}

static void run2(void *(*work)(void *))
{
	pthread_t thread[2];

	step_to(0);
	for (long i = 0; i < 2; i++)
		MUST(!pthread_create(&thread[i], NULL, work, (void *)i));
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
}

static void wrong(const char *how)
{
	if (!strcmp(how, "counters")) {
		run2(count_without_lock);
	} else if (!strcmp(how, "late-write")) {
		MUST(note_new(NULL, &shared.handed) == HAPAX_OK && hapax_retain(shared.handed) == HAPAX_OK);
		run2(release_too_early);
	} else {
		MUST(!strcmp(how, "after-publication"));
		run2(put_too_early);
	}
}

int main(int argc, char **argv)
{
	hapax_cache_options cache = {HAPAX_CACHE_OPTIONS_INIT, .type = &note_type, .load = note_load};
	hapax_table_options table = {HAPAX_TABLE_OPTIONS_INIT};

	MUST(argc >= 2);
	MUST(hapax_cache_create(&shared.cache, &cache) == HAPAX_OK);
	MUST(hapax_table_create(&shared.table, &table) == HAPAX_OK);
	sections = !strcmp(argv[1], "sections");
	if (sections || !strcmp(argv[1], "right"))
		for (int i = argc > 2 ? atoi(argv[2]) : 10; i > 0; i--)
			right_once();
	else
		wrong(argv[1]);
	hapax_table_destroy(shared.table);
	hapax_cache_destroy(shared.cache);
	return 0;
}
