/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/exclusive.c - one instance at a time (G9): the entry of an old instance blocks its key until its destructor has
 * returned.
 *
 *      present --remove--> GONE, held --last release--> DEAD, dying --destructor returned--> unlinked
 *                          BUSY                         waited for
 *
 * The table keeps such entries (`keep`), so a put finds them in its way. Of objects that the cache made, their class
 * tells when the destructor has returned. For objects made elsewhere, put or made by a loader, a watch is kept: a list
 * entry found by the object's address, under one lock; only deaths while some watch exists look at it.
 *
 * Guarantees: the loader of an exclusive cache does not run before the destructor of the last instance has returned; a
 * thread that would wait for a death it runs itself is refused at once. Limits: a thread that waits with a deadline for
 * an instance that it holds itself waits until then.
 */
#include "cache/tier.h"

/* ---- watches ----------------------------------------------------------------------------------------------------- */

#define WATCH_BUCKETS 256

struct watch {
	struct watch *next;
	hapax_cache *cache;
	hapax_env *env;
	struct hpx_record *record;
	struct hpx_object *object;
};

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static struct watch *watches[WATCH_BUCKETS]; /* under watch_lock */

static struct watch **bucket_of(const void *object)
{
	return &watches[((uintptr_t)object >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

static void watch_free(struct watch *w)
{
	hapax_env *env = w->env;

	hpx_free(env, w, sizeof *w, 16);
	hpx_env_drop(env);
	/* order: DEATH.WATCH relaxed; a death that still looks finds nothing */
	hpx_sub_relaxed(&hpx_death_watches, 1);
}

void hpx_exclusive_changed(hapax_cache *c, const void *target)
{
	hpx_wait_forget(target);
	hpx_event_signal(&c->event, c->env);
}

/* Under the lock: the record leaves the table, and the key is free. */
static void unblock(struct watch *w)
{
	hpx_read_lock();
	hpx_table_claim(w->cache->table, w->record);
	hpx_read_unlock();
	hpx_entry_finish(w->cache, w->record);
	hpx_exclusive_changed(w->cache, w->object);
}

/* Takes the watches out that match; unblocks their keys if `unblocking`. */
static void take_out(struct watch **at, const struct watch *only, const hapax_cache *cache, const void *object,
		     bool unblocking, struct watch **out)
{
	struct watch *w;

	while ((w = *at) != NULL) {
		if ((only && w != only) || (cache && w->cache != cache) || (object && w->object != object)) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		if (unblocking)
			unblock(w);
		w->next = *out;
		*out = w;
	}
}

static void free_all(struct watch *w)
{
	struct watch *next;

	for (; w; w = next) {
		next = w->next;
		watch_free(w);
	}
}

int hpx_exclusive_watch(hapax_cache *c, struct hpx_record *record, struct hpx_object *o, void **watch)
{
	struct watch *w = hpx_alloc(c->env, sizeof *w, 16);

	if (!w)
		return HAPAX_ENOMEM;
	hpx_env_hold(c->env);
	*w = (struct watch){.cache = c, .env = c->env, .record = record, .object = o};
	/* order: DEATH.WATCH relaxed; the object is held, and its last release happens after this */
	hpx_add_relaxed(&hpx_death_watches, 1);
	pthread_mutex_lock(&watch_lock);
	w->next = *bucket_of(o);
	*bucket_of(o) = w;
	pthread_mutex_unlock(&watch_lock);
	*watch = w;
	return 0;
}

void hpx_exclusive_unwatch(void *watch)
{
	struct watch *w = watch, *out = NULL;

	pthread_mutex_lock(&watch_lock);
	take_out(bucket_of(w->object), w, NULL, NULL, false, &out);
	pthread_mutex_unlock(&watch_lock);
	free_all(out);
}

void hpx_exclusive_fini(hapax_cache *c)
{
	struct watch *out = NULL;
	unsigned i;

	if (!c->exclusive)
		return;
	pthread_mutex_lock(&watch_lock);
	for (i = 0; i < WATCH_BUCKETS; i++)
		take_out(&watches[i], NULL, c, NULL, true, &out);
	pthread_mutex_unlock(&watch_lock);
	free_all(out);
}

/* The destructor of some object has returned; its memory is still there. */
static void watched(struct hpx_object *o)
{
	struct watch *out = NULL;

	pthread_mutex_lock(&watch_lock);
	take_out(bucket_of(o), NULL, NULL, o, true, &out);
	pthread_mutex_unlock(&watch_lock);
	free_all(out);
}

static void child(void)
{
	pthread_mutex_init(&watch_lock, NULL);
}

__attribute__((constructor)) static void set_up(void)
{
	hpx_death_watched = watched;
	hpx_fork_hook(HPX_FORK_LOCKS, child);
}

/* ---- objects loaded in place ------------------------------------------------------------------------------------- */

void hpx_exclusive_destroyed(void *owner, struct hpx_object *o)
{
	hapax_cache *c = owner;

	hpx_table_unlink(c->table, o);
	hpx_exclusive_changed(c, o);
}

/* ---- waiting for the key to become free -------------------------------------------------------------------------- */

static void leave(bool *announced)
{
	if (*announced)
		hpx_wait_leave();
}

static int sleep_for(hapax_cache *c, const void *target, uint32_t seen, uint64_t deadline, int late)
{
	__attribute__((cleanup(leave))) bool announced = false;
	int rc = hpx_wait_enter(target);

	if (rc)
		return rc;
	announced = true;
	if (hpx_event_wait(&c->event, c->env, seen, deadline))
		return late;
	return HPX_FLIGHT_AGAIN;
}

int hpx_exclusive_wait(hapax_cache *c, void *e, uint32_t seen, uint64_t deadline, uint64_t held)
{
	/* order: -> TABLE.PUBLISH acquire */
	uint64_t word = hpx_load_acquire(hpx_word(e));
	struct hpx_object *o = word & HPX_W_LOADING ? NULL : hpx_entry_object(e, word);
	const void *target = o ? (void *)o : e;
	bool waited_for = !o || hpx_dead(o); /* a load that was fenced, or a death: it ends by itself */

	hpx_read_unlock();
	if (!waited_for && !(word & HPX_W_GONE))
		return HPX_FLIGHT_AGAIN; /* it was loading and is present now */
	if (hpx_wait_owned(target))
		return HAPAX_EDEADLK;
	if (!waited_for)
		return held == HAPAX_NO_WAIT ? HAPAX_EBUSY : sleep_for(c, target, seen, held, HAPAX_EBUSY);
	return deadline == HAPAX_NO_WAIT ? HAPAX_INFLIGHT : sleep_for(c, target, seen, deadline, HAPAX_ETIMEDOUT);
}
