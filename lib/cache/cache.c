/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/cache.c - creating, closing and ending a cache.
 *
 *      OPEN --close--> CLOSED --destroy--> ENDING --no call left--> FINISHED --grace period--> memory
 *
 * destroy() waits until only its own call is left (calls.c) and then ends the cache; called from the cache's own user code it
 * gives its handle up, and the last call out ends it.
 *
 * Guarantees: after destroy() has returned (but for that case) no library code runs for the cache, and the key functions
 * of its options are not called any more, a borrowed key's release excepted. Its objects stay valid: their class is
 * detached, and they find no owner when they die.
 */
#include <errno.h>

#include "cache/backoff.h"
#include "cache/refresh.h"
#include "cache/request.h"
#include "cache/sample.h"
#include "cache/tier.h"
#include "cache/worker.h"
#include "object/hot.h"
#include "object/leak.h"

_Static_assert(HPX_FLIGHT_LOADING == HPX_W_LOADING && HPX_FLIGHT_WAITED == HPX_W_WAITED, "one word, two layers");

/* All caches, for the child of a fork: changed under the lock, one pointer store at a time. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static HPX_ATOMIC(struct hapax_cache *) all;
static uint64_t last_number; /* under the lock */

static void list_add(hapax_cache *c)
{
	pthread_mutex_lock(&list_lock);
	c->number = ++last_number;
	/* order: CACHE.LIST relaxed; under the lock */
	hpx_init(&c->next, hpx_load_relaxed(&all));
	/* order: CACHE.LIST -> release; a child copied at any instant sees a whole list */
	hpx_store_release(&all, c);
	pthread_mutex_unlock(&list_lock);
}

static void list_remove(hapax_cache *c)
{
	hapax_cache *at;

	pthread_mutex_lock(&list_lock);
	/* order: CACHE.LIST relaxed; under the lock */
	at = hpx_load_relaxed(&all);
	if (at == c) {
		/* order: CACHE.LIST -> release; as above */
		hpx_store_release(&all, hpx_load_relaxed(&c->next));
	} else {
		while (hpx_load_relaxed(&at->next) != c)
			at = hpx_load_relaxed(&at->next);
		hpx_store_release(&at->next, hpx_load_relaxed(&c->next));
	}
	pthread_mutex_unlock(&list_lock);
}

hapax_cache *hpx_cache_before(hapax_cache *at)
{
	hapax_cache *c;
	bool in = false;

	hpx_thread_ready();
	pthread_mutex_lock(&list_lock);
	/* order: CACHE.LIST relaxed; under the lock. What is visited is in the list */
	c = at ? hpx_load_relaxed(&at->next) : hpx_load_relaxed(&all);
	while (c && !in) {
		hpx_read_lock(); /* inside the lock: a fork that has it may wait for readers */
		in = hpx_cache_visit(c);
		hpx_read_unlock();
		if (!in)
			c = hpx_load_relaxed(&c->next);
	}
	pthread_mutex_unlock(&list_lock);
	if (at)
		hpx_cache_leave(at);
	return c;
}

/* ---- creating ---------------------------------------------------------------------------------------------------- */

/* Of classes with borrowed keys: the object's memory is about to go. A key under LOADING and GONE was never stored. */
static void key_freed(struct hpx_class *class, struct hpx_object *o)
{
	/* order: ENTRY.GONE relaxed; a grace period has passed */
	uint64_t word = hpx_load_relaxed(hpx_word(o));

	if ((word & (HPX_W_LOADING | HPX_W_GONE)) != (HPX_W_LOADING | HPX_W_GONE))
		hpx_table_release_key(class->aux, o);
}

static void free_keys(struct hpx_class *class)
{
	hpx_free(class->env, class->aux, sizeof(hapax_key_ops), 16);
}

static int create_class(hapax_cache *c)
{
	hapax_key_ops *keys;
	int rc;

	rc = hpx_class_create(&c->class, c->env, c->type);
	if (rc)
		return rc;
	if (c->keys.borrow && c->keys.release) {
		keys = hpx_alloc(c->env, sizeof *keys, 16);
		if (!keys) {
			hpx_class_detach(c->class);
			return HAPAX_ENOMEM;
		}
		*keys = c->keys;
		c->class->aux = keys;
		c->class->aux_free = free_keys;
		c->class->freed = key_freed;
		c->class->special = true;
	}
	c->class->unlink = hpx_cache_unlink;
	c->class->destroyed = c->exclusive ? hpx_exclusive_destroyed : NULL;
	/* order: CLASS.OWNER -> release; the cache before its first object */
	hpx_store_release(&c->class->owner, c);
	return 0;
}

/* What iterators pass over: expired entries, negative results. */
static bool hidden(void *ctx, void *e, struct hpx_object *o)
{
	hapax_cache *c = ctx;

	return hpx_node_hidden(c, hpx_node_of(c, e), o);
}

/* For the cause of what its loader makes, or a reload. */
static void fenced_by_put(void *ctx, void *e)
{
	struct hpx_node *n = hpx_node_of(ctx, e);

	/* order: NODE.FLAGS relaxed; GONE, which follows, is the edge; LOADING is a hint, and so is REFRESHING */
	if (hpx_load_relaxed(hpx_word(e)) & HPX_W_LOADING || hpx_load_relaxed(&n->flags) & HPX_NODE_REFRESHING)
		hpx_or_relaxed(&n->flags, HPX_NODE_BY_PUT);
}

static int check_options(const hapax_cache_options *o)
{
	int rc;

	if (o->flags & ~(unsigned)(HAPAX_CACHE_EXCLUSIVE | HAPAX_CACHE_NO_STATS | HAPAX_CACHE_NO_PROMOTION))
		return HAPAX_EFLAGS;
	if (!!o->load + !!o->make + !!o->start > 1 || (o->load && !o->type))
		return HAPAX_EOPTION;
	if (o->keys.release && !o->keys.borrow)
		return HAPAX_EOPTION;
	if (!o->type)
		return 0;
	rc = hpx_type_check(o->type);
	if (rc)
		return rc;
	if (o->flags & HAPAX_CACHE_EXCLUSIVE && o->type->flags & HAPAX_TYPE_BORROW)
		return HAPAX_EOPTION;
	return o->type->flags & HAPAX_TYPE_NOT_WEAK ? HAPAX_ENOTWEAK : 0;
}

static void configure(hapax_cache *c, const hapax_cache_options *o)
{
	const char *name = o->name ? o->name : "cache";
	size_t i;

	c->stats = !(o->flags & HAPAX_CACHE_NO_STATS);
	c->exclusive = o->flags & HAPAX_CACHE_EXCLUSIVE;
	c->type = o->type;
	c->load = o->load;
	c->make = o->make;
	c->start = o->start;
	c->load_many = o->load_many;
	c->arg = o->arg;
	c->arg_free = o->arg_free;
	c->keys = o->keys;
	c->leak = o->leak;
	c->leak_ctx = o->leak_ctx;
	c->executor = o->executor;
	for (i = 0; i < sizeof(c->name) - 1 && name[i]; i++)
		c->name[i] = name[i];
	hpx_init(&c->calls, HPX_CACHE_STRIPED + 1);
	hpx_init(&c->sample_above, UINT32_MAX);
	hpx_event_init(&c->event);
}

/* Needs no grace period: nobody has seen it, or (cache_free) one has passed. */
static void free_parts(hapax_cache *c)
{
	hapax_env *env = c->env;

	hpx_computes_fini(&c->computes);
	hpx_flights_fini(&c->flights);
	hpx_async_fini(c);
	hpx_counters_fini(&c->counters);
	hpx_sample_free(c);
	if (c->tier)
		hpx_tier_free(c->tier, env);
	hpx_free(env, c, sizeof *c, HPX_CACHE_LINE);
	hpx_env_drop(env);
}

/* The options that were there in the first version of the header. */
#define OPTIONS_FIRST offsetof(hapax_cache_options, max_entries)

int hapax_cache_create(hapax_cache **out, const hapax_cache_options *given)
{
	hapax_cache_options full = {.size = 0};

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!given)
		return HAPAX_ENULL;
	if (given->size != sizeof(full) && given->size != OPTIONS_FIRST)
		return HAPAX_EOPTSIZE;
	memcpy(&full, given, given->size);
	return hpx_cache_create(out, &full, NULL);
}

int hpx_cache_create(hapax_cache **out, const hapax_cache_options *options, const struct hpx_client *client)
{
	struct hpx_table_config config;
	hapax_env *env;
	hapax_cache *c;
	int rc = check_options(options);

	if (rc)
		return rc;
	hpx_thread_ready();
	env = hpx_env_or_default(options->env);
	c = hpx_alloc(env, sizeof *c, HPX_CACHE_LINE);
	if (!c)
		return HAPAX_ENOMEM;
	hpx_env_hold(env);
	c->env = env;
	configure(c, options);
	hpx_counters_init(&c->counters, env);
	hpx_flights_init(&c->flights, env);
	hpx_async_init(c);
	hpx_computes_init(&c->computes);
	config = (struct hpx_table_config){
		.env = env, .keys = options->keys, .capacity = options->capacity, .keep = c->exclusive};
	rc = hpx_tier_create(&c->tier, env, options);
	c->client = client;
	c->borrows = c->type && c->type->flags & HAPAX_TYPE_BORROW;
	c->lingers = c->type && c->type->flags & HAPAX_TYPE_MAY_LINGER;
	c->promotes = ((c->tier && c->tier->retains) || c->lingers) && !c->exclusive && !hpx_env_threadless(env) &&
		      !(options->flags & HAPAX_CACHE_NO_PROMOTION);
	c->plain = !c->tier && !c->promotes;
	c->lends = c->borrows && !c->tier;
	c->asks = !c->plain && !(c->tier && c->tier->asked);
	config.front = c->tier ? HPX_NODE_BYTES : 0;
	if (hpx_has_rooms(c)) {
		config.front += HPX_ROOMED_BYTES;
		if (c->tier)
			c->tier->client = client;
	}
	if (!rc)
		rc = hpx_table_new(&c->table, &config);
	if (!rc && c->type)
		rc = create_class(c);
	if (rc) {
		if (c->table)
			hpx_table_drop(c->table);
		free_parts(c);
		return rc;
	}
	hpx_table_on_collect(c->table, hpx_cache_collected, c);
	hpx_table_on_met_dead(c->table, hpx_cache_met_dead);
	if (c->tier) {
		hpx_table_on_iterate(c->table, hidden);
		hpx_table_on_fence(c->table, fenced_by_put);
	}
	c->straight = c->class && c->load && !c->tier && !c->exclusive && !client;
	c->samples = hpx_env_coarse(c->env);
	list_add(c);
	hpx_table_named(c->table, c->name, hpx_cache_known);
	hpx_cache_created(env);
	*out = c;
	return 0;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

static void report(hapax_cache *c, const hapax_key *key, struct hpx_object *o)
{
	uint64_t count = hpx_refs(o) - 1; /* a hint, less the reference we hold */
	const hapax_type *type = hpx_class_of(o)->type;
	const char *name = type->name ? type->name : "object";
	/* order: OBJECT.FLAG relaxed; set at a fork */
	bool inherited = hpx_load_relaxed(&o->count) & HPX_INHERITED;
	char text[HPX_KEY_TEXT], sites[256];
	bool cut;

	if (!count)
		return; /* its last user has gone meanwhile: it dies with our release */
	if (c->leak) {
		c->leak(key, hpx_payload(o), name, count, inherited, c->leak_ctx);
		return;
	}
	hpx_trace_describe(o, sites, sizeof(sites));
	if (c->client) { /* its keys are no text */
		hpx_env_log(c->env, HAPAX_LOG_WARNING, "memo %s destroyed: a result, %s, still has %llu reference%s%s%s", c->name,
			    name, (unsigned long long)count, count == 1 ? "" : "s", inherited ? ", inherited by fork" : "", sites);
		return;
	}
	cut = hpx_key_text(key, text);
	hpx_env_log(c->env, HAPAX_LOG_WARNING, "cache %s destroyed: %s under key \"%s\"%s still has %llu reference%s%s%s",
		    c->name, name, text, cut ? "..." : "", (unsigned long long)count, count == 1 ? "" : "s",
		    inherited ? ", inherited by fork" : "", sites);
}

/* The same for an entry with a node: the cache's own reference goes first; the key is there until the node is done with. */
static void end_managed(hapax_cache *c, void *e, const hapax_key *key, struct hpx_object *o)
{
	struct hpx_node *n = hpx_node_of(c, e);
	/* order: NODE.FLAGS acq_rel; as in hpx_cache_claimed() */
	uint32_t flags = hpx_or_acq_rel(&n->flags, HPX_NODE_LEFT);

	hpx_add_relaxed(&n->pins, 1); /* order: NODE.PINS relaxed; the table's is there */
	hpx_cache_left(c, e, o, HAPAX_CAUSE_CLOSED);
	hpx_room_out(c, n);
	if (!(flags & HPX_NODE_NEGATIVE))
		report(c, key, o);
	hpx_node_unpin(n);
}

/*
 * Takes every entry out, tells, and reports what is alive. No call is in progress but the one that ends the cache, and those
 * of deaths: what an object's end takes with it is told of as well, and waited for.
 */
static void empty(hapax_cache *c)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	uint64_t before;
	hapax_key key;
	void *e;

	do {
		o = NULL;
		before = HPX_W_GONE;
		hpx_read_lock();
		e = hpx_table_next(c->table, &cursor, false, &o);
		if (e)
			before = hpx_table_claim(c->table, e);
		hpx_read_unlock();
		if (!(before & HPX_W_GONE)) {
			/* the entry is ours until it is finished, or its object's, which we hold */
			HPX_CACHE_FRAME(c, NULL);
			key = hpx_table_key(c->table, e);
			if (!c->tier) {
				report(c, &key, o);
				if ((before & HPX_W_RECORD) && !c->exclusive)
					hpx_record_finish(e);
			} else {
				end_managed(c, e, &key, o);
			}
		}
		if (o)
			hpx_cache_release(c, o);
	} while (e);
}

void hpx_cache_empty(hapax_cache *c)
{
	if (!hpx_exchange_acq_rel(&c->emptied, 1)) /* order: CACHE.CALLS acq_rel; by whoever was alone in it */
		empty(c);
}

static void cache_free(struct hpx_deferred *d)
{
	hapax_cache *c = HPX_CONTAINER_OF(d, hapax_cache, deferred);
	const struct hpx_client *client = c->client;

	hpx_table_drop(c->table);
	free_parts(c);
	if (client)
		client->freed(client->ctx);
}

/* In a section: an entry whose object has died, but whose death has not come round to it yet. */
static void left_over(void *e, uint64_t word, void *ctx)
{
	hapax_cache *c = ctx;

	if (c->tier)
		hpx_room_out(c, hpx_node_of(c, e));
	if ((word & HPX_W_RECORD) && !c->exclusive)
		hpx_entry_finish(c, e);
}

void hpx_cache_finish(hapax_cache *c)
{
	void (*arg_free)(void *arg) = c->arg_free;
	void *arg = c->arg;

	list_remove(c);
	hpx_exclusive_fini(c);
	hpx_table_end(c->table, left_over, c);
	if (c->tier)
		hpx_tier_end(c->tier);
	if (c->client)
		c->client->finished(c->client->ctx);
	if (c->class)
		hpx_class_detach(c->class);
	/* order: RECLAIM.RETIRE; deaths that found the cache through their class are in sections */
	hpx_retire(c->env, &c->deferred, sizeof *c, cache_free);
	if (arg_free)
		arg_free(arg);
}

void hpx_cache_release(hapax_cache *c, struct hpx_object *o)
{
	HPX_CACHE_FRAME(c, NULL);
	hpx_release(o);
}

void hpx_cache_release_hold(hapax_cache *c, struct hpx_object *o)
{
	HPX_CACHE_FRAME(c, NULL);
	hpx_release_hold(o);
}

static void raise_state(hapax_cache *c, uint32_t to)
{
	uint32_t state = hpx_cache_state(c);

	while (state < to)
		/* order: CACHE.CLOSE -> release; calls that begin after this see it */
		if (hpx_cas_acq_rel(&c->state, &state, to))
			break;
}

void hapax_cache_close(hapax_cache *cache)
{
	HPX_CACHE_STAY stay = {.cache = NULL};

	if (!cache || hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED))
		return;
	raise_state(cache, HPX_CACHE_CLOSED);
	hpx_flight_release_all(&cache->flights, HAPAX_ECLOSED);
	hpx_work_drop(cache);
	hpx_event_signal(&cache->event, cache->env);
	hpx_event_signal(&cache->computes.event, cache->env);
}

/* This thread is inside user code that this cache runs, and so in a call. */
static bool inside(const hapax_cache *c)
{
	const struct hpx_frame *frame;

	for (frame = hpx_self.frames; frame; frame = frame->up)
		if (frame->cache == c)
			return true;
	return false;
}

void hapax_cache_destroy(hapax_cache *cache)
{
	int saved = errno, cancel;
	uint32_t seen;

	if (!cache)
		return;
	hapax_cache_close(cache);
	raise_state(cache, HPX_CACHE_ENDING);
	hpx_tokens_end(cache);
	if (inside(cache) || hpx_self.notes) { /* owed by this thread, perhaps for this cache: it is run further down */
		hpx_cache_give_up(cache, inside(cache));
		errno = saved;
		return;
	}
	hpx_synchronize(); /* hits, and whoever was about to come in or to go */
	hpx_cache_fold(cache);
	hpx_hot_settle();  /* nothing is promoted any more: deaths are here, counts in reports are exact */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* half a destroy would be none */
	do {
		seen = hpx_event_value(&cache->event);
		/* order: -> CACHE.CALLS acquire; ours is the last: what the others did */
		if (hpx_load_acquire(&cache->calls) == 1) {
			hpx_cache_empty(cache);
			if (hpx_cache_last_out(cache, 1))
				break;
		}
		hpx_event_wait(&cache->event, cache->env, seen, HAPAX_FOREVER);
	} while (true);
	pthread_setcancelstate(cancel, NULL);
	hpx_cache_finish(cache);
	errno = saved;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

/* Under a tier's lock nobody waits for anything, so that the forking thread may hold them all. */
static void before(void)
{
	hapax_cache *c;

	pthread_mutex_lock(&list_lock);
	/* order: CACHE.LIST relaxed; under the lock, here and below */
	for (c = hpx_load_relaxed(&all); c; c = hpx_load_relaxed(&c->next))
		if (c->tier)
			pthread_mutex_lock(&c->tier->lock);
}

static void parent(void)
{
	hapax_cache *c;

	for (c = hpx_load_relaxed(&all); c; c = hpx_load_relaxed(&c->next))
		if (c->tier)
			pthread_mutex_unlock(&c->tier->lock);
	pthread_mutex_unlock(&list_lock);
}

static void child_lock(void)
{
	hapax_cache *c;

	/* this thread has taken them */
	pthread_mutex_unlock(&list_lock);
	for (c = hpx_load_relaxed(&all); c; c = hpx_load_relaxed(&c->next))
		if (c->tier) {
			pthread_mutex_unlock(&c->tier->lock);
			hpx_init(&c->tier->sweeping, 0);
			if (c->tier->backoff)
				hpx_backoff_reinit(c->tier->backoff);
		}
}

static void child(void)
{
	hapax_cache *c;

	/* order: -> CACHE.LIST acquire */
	for (c = hpx_load_acquire(&all); c; c = hpx_load_acquire(&c->next))
		hpx_cache_inherit(c);
	/* Now that all of them are in order: user code. It may end caches. */
	do {
		c = hpx_load_acquire(&all);
		while (c && !hpx_async_tell(c))
			c = hpx_load_acquire(&c->next);
	} while (c);
}

__attribute__((constructor)) static void register_child(void)
{
	hpx_fork_hook(HPX_FORK_BEFORE, before);
	hpx_fork_hook(HPX_FORK_PARENT, parent);
	hpx_fork_hook(HPX_FORK_LOCKS, child_lock);
	hpx_fork_hook(HPX_FORK_CONTENTS, child);
}

/* ---- iterating --------------------------------------------------------------------------------------------------- */

int hapax_cache_iterate(hapax_cache *cache, hapax_iter **out)
{
	HPX_CACHE_STAY stay = {.cache = NULL};

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!cache)
		return HAPAX_ENULL;
	if (hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED))
		return HAPAX_ECLOSED;
	return hpx_iter_open(cache->table, out);
}
