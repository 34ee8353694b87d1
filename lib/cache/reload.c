/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/reload.c - one reload of a present entry.
 *
 *      enlist --> WAITING --task, or a get that needs it now--> RUNNING --> installed, discarded or failed --> delisted --> landed
 *
 * Reloads in progress are listed, under one lock for all caches, so that an entry has one at most; REFRESHING in its node
 * says so to hits. A reload is a flight of its own: those who wait for it join its word, and are given the new object, or
 * what went wrong. It holds its entry's object and a pin on its node; installing over exactly that entry decides whether it
 * came too late (install.h). BY_PUT in the node says that a put did it, REWRITTEN that a put wrote the same object again.
 */
#include "base/probe.h"
#include "cache/install.h"
#include "cache/load.h"
#include "cache/refresh.h"
#include "cache/reload.h"
#include "cache/seen.h"
#include "cache/worker.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define BUCKETS 64
static struct hpx_reload *bucket[BUCKETS];
static hpx_u32 unmanaged; /* how many are listed of unmanaged caches: where there are none a put does not look */

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static struct hpx_reload **bucket_of(const hapax_cache *c, uint64_t hash)
{
	return &bucket[((uintptr_t)c >> 6 ^ hash >> 40) % BUCKETS];
}

/* Under the lock: the reload of the entry; in unmanaged caches, whose entries cannot be pinned, of the key's object, which is
 * held, so that its address is its own. */
static struct hpx_reload *find(hapax_cache *c, uint64_t hash, const void *e, const struct hpx_object *o, const hapax_key *key)
{
	struct hpx_reload *r;

	for (r = *bucket_of(c, hash); r; r = r->next)
		if (r->cache == c && r->hash == hash && r->over.object == o && (!c->tier || r->over.entry == e) &&
		    (c->tier || c->keys.equal ||
		     (r->key.size == key->size && (!key->size || !memcmp(r->key.data, key->data, key->size)))))
			return r;
	return NULL;
}

static void list(struct hpx_reload *r)
{
	struct hpx_reload **head = bucket_of(r->cache, r->hash);

	r->next = *head;
	r->prev = NULL;
	if (*head)
		(*head)->prev = r;
	*head = r;
	hpx_add_relaxed(&unmanaged, !r->cache->tier); /* order: RELOAD.COUNT relaxed; a hint */
}

static void delist(struct hpx_reload *r)
{
	*(r->prev ? &r->prev->next : bucket_of(r->cache, r->hash)) = r->next;
	if (r->next)
		r->next->prev = r->prev;
	hpx_sub_relaxed(&unmanaged, !r->cache->tier); /* order: RELOAD.COUNT relaxed; a hint */
}

void hpx_reload_written(hapax_cache *c, const hapax_key *key, uint64_t hash, const struct hpx_object *o)
{
	struct hpx_reload *r;

	/* order: RELOAD.COUNT relaxed; one that is listed at this instant begins after the put */
	if (HPX_LIKELY(!hpx_load_relaxed(&unmanaged)))
		return;
	pthread_mutex_lock(&lock);
	r = find(c, hash, NULL, o, key);
	if (r)
		hpx_store_relaxed(&r->rewritten, 1); /* order: RELOAD.WRITTEN relaxed; a put at this instant comes before */
	pthread_mutex_unlock(&lock);
}

static struct hpx_node *node_of(struct hpx_reload *r)
{
	return r->cache->tier ? hpx_node_of(r->cache, r->over.entry) : NULL;
}

void hpx_reload_put(struct hpx_reload *r)
{
	hapax_env *env = r->cache->env;
	bool gone;

	pthread_mutex_lock(&lock);
	gone = !--r->refs;
	pthread_mutex_unlock(&lock);
	if (gone)
		hpx_free(env, r, r->bytes, 16);
}

void hpx_reload_unpin(struct hpx_reload **r)
{
	if (*r)
		hpx_reload_put(*r);
}

bool hpx_reload_claim(struct hpx_reload *r)
{
	bool mine;

	pthread_mutex_lock(&lock);
	mine = r->state == HPX_RELOAD_WAITING;
	r->state = HPX_RELOAD_RUNNING;
	r->refs += mine; /* hpx_reload_finish() gives up one */
	pthread_mutex_unlock(&lock);
	return mine;
}

/* A new one with `refs`, or the one that is there (*other, one more reference), or neither: no memory. */
struct hpx_reload *hpx_reload_enlist(hapax_cache *c, const hapax_key *key, uint64_t hash, void *e, struct hpx_object *o,
				 unsigned state, unsigned refs, struct hpx_reload **other)
{
	size_t bytes = sizeof(struct hpx_reload) + (c->keys.borrow ? 0 : key->size);
	struct hpx_reload *r = hpx_alloc(c->env, bytes, 16);

	*other = NULL;
	if (!r)
		return NULL;
	r->cache = c;
	r->over = (struct hpx_over){.entry = e, .object = o};
	r->hash = hash;
	r->key = *key;
	r->bytes = bytes;
	r->refs = refs;
	r->state = state;
	hpx_init(&r->word, HPX_FLIGHT_LOADING);
	if (!c->keys.borrow && key->size) {
		memcpy(r->copy, key->data, key->size);
		r->key.data = r->copy;
	}
	pthread_mutex_lock(&lock);
	*other = find(c, hash, e, o, key);
	if (*other) {
		(*other)->refs++;
	} else {
		list(r);
		if (c->tier) {
			/* order: NODE.FLAGS acq_rel; under the lock; what a put does from now on is for this reload */
			hpx_and_acq_rel(&hpx_node_of(c, e)->flags, ~(uint32_t)(HPX_NODE_BY_PUT | HPX_NODE_REWRITTEN));
			hpx_or_acq_rel(&hpx_node_of(c, e)->flags, HPX_NODE_REFRESHING);
		}
	}
	pthread_mutex_unlock(&lock);
	if (*other) {
		hpx_free(c->env, r, bytes, 16);
		return NULL;
	}
	hpx_take_more(o, 1);
	if (c->tier) {
		hpx_node_pin(hpx_node_of(c, e));
		hpx_node_schedule(c, hpx_node_of(c, e));
	}
	return r;
}

/* Its entry may have another one from here on; whoever has joined hears what came of it; entry and object are given up. */
void hpx_reload_finish(struct hpx_reload *r, int status, struct hpx_object *object, uint64_t not_before)
{
	struct hpx_node *n = node_of(r);
	hapax_cache *c = r->cache;
	struct hpx_landing landing;
	uint64_t attend;

	pthread_mutex_lock(&lock);
	delist(r);
	if (n)
		hpx_and_acq_rel(&n->flags, ~(uint32_t)HPX_NODE_REFRESHING); /* order: NODE.FLAGS acq_rel; under the lock */
	pthread_mutex_unlock(&lock);
	if (n) {
		hpx_node_schedule(c, n);
		attend = hpx_load_relaxed(&n->attend); /* order: NODE.TIME relaxed; each is a time on its own */
		if (attend < not_before && not_before < hpx_load_relaxed(&n->deadline))
			hpx_store_relaxed(&n->attend, not_before);
	}
	/* order: FLIGHT.COMMIT -> release, in the landing */
	hpx_flight_land(&c->flights, r, &r->word, &landing);
	hpx_flight_complete(&c->flights, &landing, status, object, NULL);
	if (c->tier)
		hpx_node_unpin(n);
	hpx_cache_release(c, r->over.object);
	hpx_reload_put(r);
}

/* ---- running one ------------------------------------------------------------------------------------------------- */

struct run {
	struct hpx_reload *reload; /* NULL: it has ended */
	hapax_load_fn load;
	hapax_make_fn make;
	void *arg;
	struct hpx_frame frame;
	struct hpx_object *object; /* ours */
	uint32_t spent_us;
	bool running;              /* the loader is on the stack */
	bool loaded;               /* it has made the object */
};

static void drop_object(hapax_cache *c, struct run *run)
{
	struct hpx_object *o = run->object;

	run->object = NULL;
	if (!o)
		return;
	if (!run->loaded)
		hpx_or_relaxed(&o->count, HPX_NODTOR); /* order: OBJECT.FLAGS relaxed; the release below is the edge */
	hpx_cache_release(c, o);
}

static void begin(struct hpx_reload *r)
{
	hpx_cache_count(r->cache, HPX_CACHE_LOADS, 1);
	hpx_cache_count(r->cache, HPX_CACHE_REFRESHES, 1);
	/* order: RELOAD.BEGUN relaxed; read by whoever ends it, and by those who look */
	hpx_store_relaxed(&r->begun, hpx_env_now_coarse(r->cache->env));
	HPX_PROBE4(refresh__begin, HPX_PROBE_TEXT(r->cache->name), r->key.data, r->key.size, r);
}

/* By a clock that went back it took no time. */
static uint32_t count_time(struct hpx_reload *r)
{
	/* order: RELOAD.BEGUN relaxed; as above */
	uint64_t now = hpx_env_now_coarse(r->cache->env), begun = hpx_load_relaxed(&r->begun), spent = now > begun ? now - begun : 0;

	hpx_cache_count(r->cache, HPX_CACHE_NS, spent);
	return spent / 1000 < UINT32_MAX ? (uint32_t)(spent / 1000) : UINT32_MAX;
}

/* A load that begun and has no answer. */
static void count_abandoned(struct hpx_reload *r);

static void count_failure(hapax_cache *c)
{
	hpx_cache_count(c, HPX_CACHE_FAILURES, 1);
	hpx_cache_count(c, HPX_CACHE_REFRESH_FAILURES, 1);
}

/* Cleanup handler: the thread goes away inside the loader, or later in user code. */
static void run_end(struct run *run)
{
	struct hpx_reload *r = run->reload;
	hapax_cache *c;

	if (!r)
		return;
	c = r->cache;
	if (run->running) {
		hpx_self.frames = run->frame.up;
		count_abandoned(r);
	}
	run->reload = NULL;
	drop_object(c, run);
	hpx_reload_finish(r, HAPAX_EABANDONED, NULL, 0);
}

/* The loader: its result, and the object that it made. */
static int call_loader(struct run *run, hapax_load_error *error)
{
	struct hpx_reload *r = run->reload;
	hapax_cache *c = r->cache;
	void *made = NULL;
	int result;

	begin(r);
	hpx_store_relaxed(&r->tid, hpx_thread_tid()); /* order: RELOAD.BEGUN relaxed; as above */
	run->frame = (struct hpx_frame){.up = hpx_self.frames, .cache = c, .entry = r};
	hpx_self.frames = &run->frame;
	run->running = true;
	result = run->make ? run->make(&made, &r->key, run->arg, error)
			   : run->load(hpx_payload(run->object), &r->key, run->arg, error);
	run->running = false;
	hpx_self.frames = run->frame.up;
	error->shared = NULL;
	run->loaded = result == HAPAX_LOAD_OK;
	if (run->make && run->loaded && made)
		run->object = hpx_object_of(made);
	return result;
}

/* ---- what becomes of it ------------------------------------------------------------------------------------------ */

/* The entry has gone: did a put take its place? */
static bool by_put(struct hpx_reload *r)
{
	struct hpx_node *n = node_of(r);

	/* order: NODE.FLAGS relaxed; GONE, which was seen, is the edge */
	return n && hpx_load_relaxed(&n->flags) & HPX_NODE_BY_PUT;
}

/* It has not, but its object was put again. */
static bool rewritten(struct hpx_reload *r)
{
	struct hpx_node *n = node_of(r);

	/* order: NODE.FLAGS, RELOAD.WRITTEN relaxed; a put at this instant comes before the reload */
	return n ? hpx_load_relaxed(&n->flags) & HPX_NODE_REWRITTEN : hpx_load_relaxed(&r->rewritten);
}

/* There is no value any more: neither is the entry, if it is still the one. */
static void remove_entry(struct hpx_reload *r)
{
	struct hpx_object *o = NULL;
	hapax_cache *c = r->cache;
	void *e = r->over.entry;
	bool mine = false;

	if (rewritten(r))
		return;
	hpx_read_lock();
	if (!c->tier)
		o = hpx_table_lookup(c->table, r->hash, &r->key, &e);
	if (c->tier || o == r->over.object)
		mine = hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	hpx_read_unlock();
	if (mine)
		hpx_cache_left(c, e, r->over.object, HAPAX_CAUSE_EXPLICIT);
	if (o)
		hpx_cache_release(c, o);
}

/* May the cache hold what was made? */
static int check(struct run *run)
{
	return run->object ? hpx_cache_check_object(run->reload->cache, run->object) : HAPAX_ETYPE;
}

/* An old value whose time, with all stale times, has ended meanwhile takes no new one. */
static bool expired(struct hpx_reload *r)
{
	struct hpx_node *n = node_of(r);
	hapax_cache *c = r->cache;

	if (!n || !c->tier->timed || hpx_tier_now(c) < hpx_node_end(c->tier, n))
		return false;
	hpx_node_expire(c, n, r->over.object);
	return true;
}

/* 0: installed. HAPAX_MISS: discarded, its callers get it all the same. Else it is of no use. */
static int install(struct run *run)
{
	struct hpx_reload *r = run->reload;
	hapax_cache *c = r->cache;
	struct hpx_terms terms;
	int rc = hpx_terms_get(c, &r->key, run->object, c->tier ? hpx_node_of(c, r->over.entry) : NULL, NULL, &terms);

	terms.load_us = run->spent_us;
	terms.reload = true;
	if (!rc && (rewritten(r) || expired(r)))
		rc = HAPAX_MISS;
	HPX_STOP("refresh.install");
	if (!rc)
		rc = hpx_install_over_with(c, &r->key, r->hash, run->object, &r->over, &terms);
	if (rc && run->object != r->over.object)
		hpx_cache_unused(c, &r->key, run->object, terms.weight,
				 rc == HAPAX_MISS && (by_put(r) || rewritten(r)) ? HAPAX_CAUSE_REPLACED : HAPAX_CAUSE_EXPLICIT);
	hpx_terms_drop(c, &terms);
	return rc;
}

/* The loader has returned `result`: what those who wait get. */
static int judge(struct run *run, int result)
{
	struct hpx_reload *r = run->reload;
	hapax_cache *c = r->cache;
	int rc;

	if (result == HAPAX_LOAD_NOVALUE) {
		hpx_cache_count(c, HPX_CACHE_NOVALUES, 1);
		hpx_cache_count(c, HPX_CACHE_FAILURES, 1);
		remove_entry(r);
		return HAPAX_NOVALUE;
	}
	rc = result == HAPAX_LOAD_OK ? check(run) : HAPAX_ELOADER;
	if (!rc)
		rc = install(run);
	if (rc == 0 || rc == HAPAX_MISS || rc == HAPAX_ECLOSED) {
		hpx_cache_count(c, HPX_CACHE_SUCCESSES, 1);
		hpx_cache_count(c, HPX_CACHE_SUPERSEDED, rc != 0);
	} else {
		count_failure(c);
	}
	return rc == HAPAX_MISS ? 0 : rc;
}

/* The loader has answered: the end. */
static int conclude(struct run *run, int result, const hapax_load_error *error)
{
	struct hpx_reload *r = run->reload;
	uint64_t not_before;
	int rc;

	HPX_STOP("refresh.returned");
	run->spent_us = count_time(r);
	{
		/* Until it lands it is this thread's: user code that is asked here and wants its outcome waits for itself. */
		HPX_CACHE_FRAME(r->cache, r);
		rc = judge(run, result);
		HPX_PROBE4(refresh__end, HPX_PROBE_TEXT(r->cache->name), r, rc, (uint64_t)run->spent_us * 1000);
		not_before = hpx_refresh_loaded(r->cache, &r->key, r->hash, rc == HAPAX_ELOADER, error->code);
	}
	run->reload = NULL;
	hpx_reload_finish(r, rc, rc ? NULL : run->object, not_before);
	return rc;
}

int hpx_reload_conclude(struct hpx_reload *r, int result, struct hpx_object *object, hapax_load_error *error)
{
	struct run run __attribute__((cleanup(run_end))) = {.reload = r, .object = object, .loaded = true};
	hapax_cache *c = r->cache;
	int rc = conclude(&run, result, error);

	drop_object(c, &run);
	return rc;
}

static void count_abandoned(struct hpx_reload *r)
{
	count_time(r);
	count_failure(r->cache);
	hpx_cache_count(r->cache, HPX_CACHE_ABANDONED, 1);
	HPX_PROBE4(refresh__end, HPX_PROBE_TEXT(r->cache->name), r, HAPAX_EABANDONED, (uint64_t)0);
}

void hpx_reload_abandon(struct hpx_reload *r, int status)
{
	count_abandoned(r);
	hpx_reload_finish(r, status, NULL, 0);
}

/* The application does it, and completes a token. Until then it is nobody's to run. */
void hpx_reload_start(struct hpx_reload *r, hapax_start_fn start, void *arg)
{
	hapax_cache *c = r->cache;
	struct hpx_call call = {.cache = c, .key = &r->key, .hash = r->hash, .start = start, .arg = arg};
	int rc;

	begin(r);
	rc = hpx_token_reload(&call, r);
	if (rc) {
		count_failure(c);
		HPX_PROBE4(refresh__end, HPX_PROBE_TEXT(c->name), r, rc, (uint64_t)0);
		hpx_reload_finish(r, rc, NULL, 0);
	}
}

/* The reload is the caller's to run, and ends here. The status, and with 0 the new object in *out (may be NULL). */
int hpx_reload_run(struct hpx_reload *r, hapax_load_fn load, hapax_make_fn make, void *arg, struct hpx_object **out)
{
	struct run run __attribute__((cleanup(run_end))) = {.reload = r, .load = load, .make = make, .arg = arg};
	hapax_load_error error = {.code = 0};
	hapax_cache *c = r->cache;
	void *payload;
	int rc = 0;

	if (load) {
		rc = hapax_new(c->env, c->type, 0, &payload);
		if (!rc)
			run.object = hpx_object_of(payload);
	}
	if (!rc) {
		rc = conclude(&run, call_loader(&run, &error), &error);
		hpx_cache_drop_error(c, &error);
	} else {
		run.reload = NULL;
		hpx_reload_finish(r, rc, NULL, 0);
	}
	if (!rc && out) {
		*out = run.object;
		run.object = NULL;
	}
	drop_object(c, &run);
	return rc;
}

/* ---- in the background ------------------------------------------------------------------------------------------- */

static void task(hapax_cache *c, void *arg, bool run)
{
	struct hpx_reload *r __attribute__((cleanup(hpx_reload_unpin))) = arg;
	bool mine;

	mine = hpx_reload_claim(r);
	if (mine && !(run && hpx_cache_state(c) == HPX_CACHE_OPEN))
		hpx_reload_finish(r, HAPAX_ECLOSED, NULL, 0);
	else if (mine && c->start)
		hpx_reload_start(r, c->start, c->arg);
	else if (mine)
		hpx_reload_run(r, c->load, c->make, c->arg, NULL);
}

/* Consumes a reference. 0, or why it does not run: then who has joined it gets `otherwise`. */
int hpx_reload_give(struct hpx_reload *r, int otherwise)
{
	int rc = hpx_work_run(r->cache, task, r);
	bool mine;

	if (!rc)
		return 0;
	mine = hpx_reload_claim(r);
	if (mine)
		hpx_reload_finish(r, otherwise, NULL, 0);
	hpx_reload_put(r);
	return mine ? rc : 0; /* a get that could not wait has run it */
}

/* ---- looking ------------------------------------------------------------------------------------------------------ */

/* Those that have begun: what waits to be run keeps nobody waiting, or whoever needs it runs it. */
void hpx_reloads_see(struct hpx_flights_seen *s)
{
	struct hpx_reload *r;
	uint64_t begun;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < BUCKETS; i++)
		for (r = bucket[i]; r; r = r->next) {
			begun = hpx_load_relaxed(&r->begun); /* order: RELOAD.BEGUN relaxed; the key is under the lock */
			if (r->cache == s->cache && begun)
				hpx_flight_see(s, &r->key, begun, true, hpx_load_relaxed(&r->tid), r, &r->word);
		}
	pthread_mutex_unlock(&lock);
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

void hpx_refresh_inherit(hapax_cache *c)
{
	struct hpx_reload *r, *next;

	for (unsigned i = 0; i < BUCKETS; i++)
		for (r = bucket[i]; r; r = next) {
			next = r->next;
			if (r->cache == c)
				hpx_reload_finish(r, HAPAX_EABANDONED, NULL, 0);
		}
}

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void watch_forks(void)
{
	hpx_fork_hook(HPX_FORK_BEFORE, before_fork);
	hpx_fork_hook(HPX_FORK_PARENT, after_fork);
	hpx_fork_hook(HPX_FORK_LOCKS, after_fork); /* its own thread has taken it */
}
