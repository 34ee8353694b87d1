/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/compute.c - compute, upsert, replace_if.
 *
 *      list: [k1] -> [k2] -> [k1] -> [k1]      a record for every compute in progress, in the order in which they came
 *             runs    runs    waits   waits    for the nearest one of its key before it
 *
 * A compute lists itself and waits until no earlier record of its key is left; then it looks at the entry, asks the
 * user, and installs over exactly the entry it looked at (install.c). When that one has gone meanwhile it asks again.
 *
 * Guarantees. Computes of a key run one after the other in the order of their arrival, and their thread may vanish
 * anywhere. Waiting is an edge of the wait graph: a record is owned by its thread from the listing on, also while it
 * waits itself, so every cycle is refused. Nothing but the list is under the lock: keys are compared outside it, so records are
 * referenced. Other calls look at one word.
 */
#include "cache/compute.h"

#include "cache/install.h"
#include "cache/tier.h"

struct hpx_computing {
	struct hpx_computing *next; /* under the lock, as are `refs` and `listed` */
	unsigned refs;
	bool listed;
	bool running; /* its function is on its thread's stack: written and read by that thread only */
	uint64_t hash;
	hapax_key key; /* a copy, behind this */
	size_t bytes;
};

void hpx_computes_init(struct hpx_computes *computes)
{
	hpx_init(&computes->active, 0);
	pthread_mutex_init(&computes->lock, NULL);
	computes->first = NULL;
	computes->last = &computes->first;
	hpx_event_init(&computes->event);
}

void hpx_computes_fini(struct hpx_computes *computes)
{
	pthread_mutex_destroy(&computes->lock);
}

void hpx_computes_reinit(struct hpx_computes *computes)
{
	struct hpx_computing **link = &computes->first, *r;

	pthread_mutex_init(&computes->lock, NULL);
	hpx_event_init(&computes->event);
	while ((r = *link) != NULL) {
		if (hpx_wait_owned(r)) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		hpx_sub_relaxed(&computes->active, 1); /* order: COMPUTE.ACTIVE relaxed; alone in the child */
	}
	computes->last = link;
}

static bool same_key(const hapax_key_ops *ops, const struct hpx_computing *r, uint64_t hash, const hapax_key *key)
{
	if (r->hash != hash || r->key.size != key->size)
		return false;
	if (ops->equal)
		return ops->equal(&r->key, key, ops->ctx);
	return key->size == 0 || memcmp(r->key.data, key->data, key->size) == 0;
}

static void drop_record(struct hpx_computes *computes, hapax_env *env, struct hpx_computing *r)
{
	bool last;

	pthread_mutex_lock(&computes->lock);
	last = --r->refs == 0;
	pthread_mutex_unlock(&computes->lock);
	if (last)
		hpx_free(env, r, r->bytes, 16);
}

bool hpx_compute_owned(struct hpx_computes *computes, const hapax_key_ops *ops, uint64_t hash, const hapax_key *key)
{
	const struct hpx_frame *frame;

	for (frame = hpx_self.frames; frame; frame = frame->up) {
		struct hpx_computing *r;

		pthread_mutex_lock(&computes->lock);
		for (r = computes->first; r && r != frame->entry; r = r->next)
			;
		pthread_mutex_unlock(&computes->lock);
		/* our own: it stays as long as the frame */
		if (r && r->running && same_key(ops, r, hash, key))
			return true;
	}
	return false;
}

/* ---- the key ----------------------------------------------------------------------------------------------------- */

/* One compute. What it holds is given up by its cleanup handler, also when its thread vanishes. */
struct computation {
	hapax_cache *cache;
	hapax_key key;
	uint64_t hash;
	struct hpx_stay stay;
	struct hpx_frame frame;
	struct hpx_computing *mine, *before; /* `before`: what it waits for, referenced */
	bool announced;                      /* in the wait graph */
	struct hpx_over over;                /* the entry that it looked at */
	void *made;                          /* what the function gave us */
	hapax_load_error error;
};

static void wait_over(struct computation *m)
{
	if (m->announced)
		hpx_wait_leave();
	m->announced = false;
	if (m->before)
		drop_record(&m->cache->computes, m->cache->env, m->before);
	m->before = NULL;
}

static void let_go(struct computation *m)
{
	struct hpx_computing **link, *mine = m->mine;
	struct hpx_computes *computes;

	if (!mine)
		return;
	computes = &m->cache->computes;
	mine->running = false;
	m->mine = NULL;
	pthread_mutex_lock(&computes->lock);
	for (link = &computes->first; *link != mine; link = &(*link)->next)
		;
	*link = mine->next;
	if (!mine->next)
		computes->last = link;
	mine->listed = false;
	pthread_mutex_unlock(&computes->lock);
	hpx_sub_relaxed(&computes->active, 1); /* order: COMPUTE.ACTIVE relaxed; a hint to others */
	hpx_self.frames = m->frame.up;
	hpx_event_signal(&computes->event, m->cache->env);
	drop_record(computes, m->cache->env, mine);
}

static void computation_end(struct computation *m)
{
	wait_over(m);
	let_go(m); /* before any destructor runs, which may want the key */
	hpx_over_drop(m->cache, &m->over);
	if (m->made)
		hpx_cache_release(m->cache, hpx_object_of(m->made));
	{
		HPX_CACHE_FRAME(m->cache, NULL);
		hapax_load_error_drop(&m->error);
	}
	hpx_cache_stay_end(&m->stay);
}

static int enlist(struct computation *m)
{
	struct hpx_computes *computes = &m->cache->computes;
	size_t bytes = sizeof(struct hpx_computing) + m->key.size;
	struct hpx_computing *mine = hpx_alloc(m->cache->env, bytes, 16);

	if (!mine)
		return HAPAX_ENOMEM;
	*mine = (struct hpx_computing){.refs = 1, .listed = true, .hash = m->hash, .bytes = bytes,
				       .key = {.data = mine + 1, .size = m->key.size}};
	if (m->key.size)
		memcpy(mine + 1, m->key.data, m->key.size);
	m->mine = mine;
	m->frame = (struct hpx_frame){.up = hpx_self.frames, .cache = m->cache, .entry = mine};
	hpx_add_relaxed(&computes->active, 1); /* order: COMPUTE.ACTIVE relaxed; our own calls see it */
	pthread_mutex_lock(&computes->lock);
	*computes->last = mine;
	computes->last = &mine->next;
	pthread_mutex_unlock(&computes->lock);
	hpx_self.frames = &m->frame;
	return 0;
}

/* The nearest record of the key before ours, referenced; NULL: it is our turn. */
static struct hpx_computing *nearest(struct computation *m)
{
	struct hpx_computes *computes = &m->cache->computes;
	struct hpx_computing *r, *found = NULL, *seen = NULL, *next;

	for (;;) {
		/* The next one with our hash, after the last that was compared; one that has left the list starts it over. */
		pthread_mutex_lock(&computes->lock);
		r = seen && seen->listed ? seen->next : computes->first;
		while (r != m->mine && (r->hash != m->hash || r->key.size != m->key.size))
			r = r->next;
		next = r == m->mine ? NULL : r;
		if (next)
			next->refs++;
		pthread_mutex_unlock(&computes->lock);
		if (seen && seen != found)
			drop_record(computes, m->cache->env, seen);
		seen = next;
		if (!next)
			return found;
		if (!same_key(&m->cache->keys, next, m->hash, &m->key))
			continue;
		if (found)
			drop_record(computes, m->cache->env, found);
		found = next;
	}
}

/* Sleeps until `before` has left the list. A cancellation point. */
static int wait_for(struct computation *m, uint64_t deadline)
{
	hapax_cache *c = m->cache;
	struct hpx_computes *computes = &c->computes;
	bool late = false, listed;
	int rc;

	if (hpx_wait_owned(m->before))
		return HAPAX_EDEADLK;
	if (deadline == HAPAX_NO_WAIT)
		return HAPAX_INFLIGHT;
	rc = hpx_wait_enter(m->before);
	if (rc)
		return rc;
	m->announced = true;
	for (;;) {
		uint32_t value = hpx_event_value(&computes->event);

		if (hpx_cache_state(c) != HPX_CACHE_OPEN)
			return HAPAX_ECLOSED;
		pthread_mutex_lock(&computes->lock);
		listed = m->before->listed;
		pthread_mutex_unlock(&computes->lock);
		if (!listed)
			return 0;
		if (late)
			return HAPAX_ETIMEDOUT;
		late = hpx_event_wait(&computes->event, c->env, value, deadline);
	}
}

/* Until computation_end() the key is ours. */
static int take_turn(struct computation *m, uint64_t deadline)
{
	int rc = enlist(m);

	while (!rc && (m->before = nearest(m)) != NULL) {
		rc = wait_for(m, deadline);
		wait_over(m);
	}
	return rc;
}

/* ---- what is done with the entry --------------------------------------------------------------------------------- */

/* A load that is in progress is not to install what it loads. HPX_FLIGHT_AGAIN: it has, or something else has come. */
static int fence_load(struct computation *m)
{
	hapax_cache *c = m->cache;
	void *e = NULL;
	struct hpx_object *o = hpx_cache_find(c, m->hash, &m->key, HPX_CLEAR_REPLACED, &e);
	int rc = o ? HPX_FLIGHT_AGAIN : 0;
	uint64_t w;

	if (!o && e) {
		w = hpx_load_acquire(hpx_word(e)); /* order: -> TABLE.PUBLISH acquire */
		if (!(w & (HPX_W_GONE | HPX_W_LOADING)) && !hpx_dead(hpx_entry_object(e, w)))
			rc = HPX_FLIGHT_AGAIN;
		while (w & HPX_W_LOADING && !(w & HPX_W_GONE)) {
			/* order: ENTRY.GONE acq_rel; against commit: the load is fenced, or has been committed */
			if (hpx_cas_acq_rel(hpx_word(e), &w, w | HPX_W_GONE)) {
				if (!c->exclusive)
					hpx_table_unlink(c->table, e);
				break;
			}
			rc = w & HPX_W_LOADING ? 0 : HPX_FLIGHT_AGAIN;
		}
	}
	hpx_read_unlock();
	if (o)
		hpx_cache_release(c, o);
	return rc;
}

/* Takes exactly the entry out that was looked at. In an unmanaged cache one of the same object is as good. */
static int remove_over(hapax_cache *c, const hapax_key *key, uint64_t hash, const struct hpx_over *over)
{
	struct hpx_object *o = NULL;
	void *e = over->entry;
	bool mine;

	hpx_read_lock();
	if (!c->tier)
		o = hpx_table_lookup(c->table, hash, key, &e);
	HPX_STOP("remove.chosen");
	mine = (c->tier || o == over->object) && hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	hpx_read_unlock();
	if (o)
		hpx_cache_release(c, o); /* not the last: the caller has one */
	if (!mine)
		return HPX_FLIGHT_AGAIN;
	hpx_cache_left(c, e, over->object, HAPAX_CAUSE_EXPLICIT);
	return 0;
}

/* Puts `object` where `over` is, or where nothing is. HPX_FLIGHT_AGAIN: that is not so any more. */
static int put_over(hapax_cache *c, const hapax_key *key, uint64_t hash, void *object, const struct hpx_over *over)
{
	struct hpx_object *o = hpx_object_of(object);
	bool inserted;
	void *got;
	int rc;

	if (!over->entry) {
		rc = hapax_cache_get_or_put(c, *key, object, &got, &inserted);
		if (rc)
			return rc;
		hpx_cache_release(c, hpx_object_of(got));
		return inserted ? 0 : HPX_FLIGHT_AGAIN;
	}
	if (c->exclusive)
		return o == over->object ? 0 : HAPAX_EBUSY;
	rc = hpx_install_over(c, key, hash, o, over, 0);
	if (rc == 0 && o != over->object)
		hpx_cache_count(c, HPX_CACHE_PUTS, 1);
	return rc == HAPAX_MISS ? HPX_FLIGHT_AGAIN : rc;
}

/* ---- compute ----------------------------------------------------------------------------------------------------- */

static int ask(struct computation *m, hapax_compute_fn compute, void *arg)
{
	int answer;

	m->mine->running = true;
	answer = compute(m->over.entry ? hpx_payload(m->over.object) : NULL, &m->key, &m->made, arg, &m->error);
	m->mine->running = false;
	m->error.shared = NULL;
	return answer;
}

/* One look, one question, one answer. */
static int attempt(struct computation *m, hapax_compute_fn compute, void *arg, hapax_change *change)
{
	hapax_cache *c = m->cache;
	bool present = hpx_over_find(c, m->hash, &m->key, &m->over);
	int rc;

	switch (ask(m, compute, arg)) {
	case HAPAX_COMPUTE_KEEP:
		*change = present ? HAPAX_UNCHANGED : HAPAX_STILL_NONE;
		return 0;
	case HAPAX_COMPUTE_REMOVE:
		*change = present ? HAPAX_REMOVED : HAPAX_STILL_NONE;
		return present ? remove_over(c, &m->key, m->hash, &m->over) : fence_load(m);
	case HAPAX_COMPUTE_PUT:
		if (!m->made)
			return HAPAX_ENULL;
		rc = hpx_cache_check_object(c, hpx_object_of(m->made));
		if (!rc)
			rc = put_over(c, &m->key, m->hash, m->made, &m->over);
		*change = !present ? HAPAX_INSERTED
			  : m->over.object == hpx_object_of(m->made) ? HAPAX_UNCHANGED : HAPAX_REPLACED;
		return rc;
	default:
		return HAPAX_ELOADER;
	}
}

/* The object that is present now, with a reference for the caller. */
static void *result_of(struct computation *m, hapax_change change)
{
	void *object = NULL;

	if (change == HAPAX_UNCHANGED) {
		hpx_take_more(m->over.object, 1);
		object = hpx_payload(m->over.object);
	} else if (change != HAPAX_REMOVED && change != HAPAX_STILL_NONE) {
		object = m->made;
		m->made = NULL;
	}
	return object;
}

/* Not taken: what was looked at, and what was made of it. */
static void forget_attempt(struct computation *m)
{
	void *made = m->made;

	m->made = NULL;
	if (made)
		hpx_cache_release(m->cache, hpx_object_of(made));
	hpx_over_drop(m->cache, &m->over);
	{
		HPX_CACHE_FRAME(m->cache, NULL);
		hapax_load_error_drop(&m->error);
	}
}

int hapax_cache_compute(hapax_cache *cache, hapax_key key, hapax_compute_fn compute, void *arg, uint64_t deadline,
			void **out, hapax_change *change, hapax_load_error *error)
{
	__attribute__((cleanup(computation_end))) struct computation m = {.cache = cache, .key = key};
	hapax_change what = HAPAX_STILL_NONE;
	int rc;

	if (out)
		*out = NULL;
	if (change)
		*change = HAPAX_STILL_NONE;
	if (error)
		*error = (hapax_load_error){.code = 0};
	if (!cache || !compute)
		return HAPAX_ENULL;
	rc = hpx_cache_stay(&m.stay, cache, HPX_CACHE_OPEN);
	if (!rc)
		rc = hpx_table_hash(cache->table, &m.key, &m.hash);
	if (!rc)
		rc = take_turn(&m, deadline);
	if (rc)
		return rc;
	while ((rc = attempt(&m, compute, arg, &what)) == HPX_FLIGHT_AGAIN)
		forget_attempt(&m);
	if (rc == HAPAX_ELOADER && error) {
		*error = m.error;
		m.error = (hapax_load_error){.code = 0};
	}
	if (rc)
		return rc;
	if (out)
		*out = result_of(&m, what);
	HPX_TAKEN(out ? *out : NULL);
	if (change)
		*change = what;
	return 0;
}

/* ---- without a function ------------------------------------------------------------------------------------------ */

/* upsert, or with `expected` replace_if. What it held until now is given up by its cleanup handler. */
struct swap {
	hapax_cache *cache;
	struct hpx_stay stay;
	struct hpx_over over;
};

static void swap_end(struct swap *s)
{
	if (!s->stay.cache)
		return;
	hpx_over_drop(s->cache, &s->over);
	hpx_cache_stay_end(&s->stay);
}

static int swap(struct swap *s, const hapax_key *key, void *object, const void *expected)
{
	hapax_cache *c = s->cache;
	uint64_t hash;
	bool present;
	int rc = hpx_cache_stay(&s->stay, c, HPX_CACHE_OPEN);

	if (!rc)
		rc = hpx_table_hash(c->table, key, &hash);
	if (!rc && hpx_compute_inside(&c->computes, &c->keys, hash, key))
		rc = HAPAX_EDEADLK;
	if (!rc)
		rc = hpx_cache_check_object(c, hpx_object_of(object));
	if (rc)
		return rc;
	do {
		hpx_over_drop(c, &s->over);
		if (hpx_cache_state(c) != HPX_CACHE_OPEN)
			return HAPAX_ECLOSED;
		present = hpx_over_find(c, hash, key, &s->over);
		if (expected && (!present || hpx_payload(s->over.object) != expected))
			return HAPAX_MISS;
		rc = put_over(c, key, hash, object, &s->over);
	} while (rc == HPX_FLIGHT_AGAIN);
	return rc;
}

int hapax_cache_upsert(hapax_cache *cache, hapax_key key, void *object, void **previous)
{
	__attribute__((cleanup(swap_end))) struct swap s = {.cache = cache};
	int rc;

	if (previous)
		*previous = NULL;
	if (!cache || !object)
		return HAPAX_ENULL;
	rc = swap(&s, &key, object, NULL);
	if (!rc && previous && s.over.entry) {
		hpx_take_more(s.over.object, 1);
		*previous = hpx_payload(s.over.object);
		HPX_TAKEN(*previous);
	}
	return rc;
}

int hapax_cache_replace_if(hapax_cache *cache, hapax_key key, const void *expected, void *object)
{
	__attribute__((cleanup(swap_end))) struct swap s = {.cache = cache};

	if (!cache || !expected || !object)
		return HAPAX_ENULL;
	return swap(&s, &key, object, expected);
}
