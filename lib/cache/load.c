/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/load.c - a miss: one load, whatever becomes of it.
 *
 *      miss -> entry published LOADING -> user's loader -> commit     OK: the entry is plainly present
 *                    |                          |      '-> fail       NOVALUE, FAIL, unfit object: entry claimed
 *                    |                          '-> abandon           the thread vanished: a waiter starts over
 *                    '-> not published: something live (use it), LOADING (join it), an exclusive instance (wait for it)
 *
 * The entry is the object itself (loaded in place) or a record (made). The loader's thread holds one reference to the
 * object until it returns it to its caller, so waiters that take theirs meanwhile find it alive (CF-LD-14). From the
 * landing on a record may be claimed and freed by others at any time; only its address is used.
 *
 * Guarantees: after publication the load ends in exactly one of commit, fail, abandon, whatever way the loader is left
 * (longjmp is forbidden). What was fenced (GONE before the landing) is handed out and never installed.
 */
#include "base/probe.h"
#include "cache/load.h"
#include "cache/refresh.h"

/* ---- publishing -------------------------------------------------------------------------------------------------- */

static int create_in_place(struct hpx_load *l)
{
	struct hpx_call *call = l->call;
	hapax_cache *c = l->cache;
	int rc;

	rc = hpx_object_new(c->class, c->tier ? hpx_table_room(c->table, call->key) : hpx_table_keyed(c->table, call->key),
			    c->type->size, call->deadline, &l->object);
	if (rc)
		return rc;
	l->entry = l->object;
	hpx_table_set_key(c->table, l->entry, call->key, call->hash, HPX_BROKEN(PUBLISH_BEFORE_INIT) ? 0 : HPX_W_LOADING);
	if (c->tier)
		hpx_node_init(c, l->entry, call->hash, 0);
	if (hpx_has_rooms(c))
		hpx_roomed_of(hpx_node_of(c, l->entry))->room = c->client->of(call->arg);
	return 0;
}

static int create_record(struct hpx_load *l)
{
	struct hpx_call *call = l->call;
	int rc;

	rc = hpx_admit(l->cache->env, call->deadline);
	if (!rc)
		rc = hpx_record_new(l->cache->table, call->key, call->hash, HPX_W_LOADING, NULL, &l->record);
	if (!rc)
		l->entry = l->record;
	if (!rc && l->cache->tier)
		hpx_node_init(l->cache, l->entry, call->hash, 1);
	if (!rc && hpx_has_rooms(l->cache))
		hpx_roomed_of(hpx_node_of(l->cache, l->entry))->room = l->cache->client->of(call->arg);
	return rc;
}

void hpx_load_undo(hapax_cache *c, struct hpx_object *o)
{
	/* order: OBJECT.FLAGS relaxed; the release below is the edge */
	hpx_or_relaxed(&o->count, HPX_NODTOR);
	hpx_cache_release(c, o);
}

/*
 * The entry was not put, but readers may have come across it: gone after a grace period. GONE together with LOADING
 * says that its key was never stored (cache.c: key_freed).
 */
static void unpublish(struct hpx_load *l)
{
	/* order: ENTRY.GONE relaxed; nobody else changes the word of an entry that was never put */
	hpx_or_relaxed(hpx_word(l->entry), HPX_W_GONE);
	if (l->record)
		hpx_record_discard(l->record);
	else
		hpx_load_undo(l->cache, l->object);
	l->record = NULL;
	l->object = NULL;
}

/* Makes sure that exactly the refused object is not found any more, and lets go of it. */
static void displace(struct hpx_call *call)
{
	hapax_cache *c = call->cache;
	struct hpx_object *refused = call->refused, *o;
	bool mine = false;
	void *e = NULL;

	if (!refused)
		return;
	call->refused = NULL;
	o = hpx_cache_find(c, call->hash, call->key, HPX_CLEAR_NONE, &e);
	if (o == refused)
		mine = hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	hpx_read_unlock();
	if (mine)
		hpx_cache_left(c, e, o, HAPAX_CAUSE_REPLACED);
	if (o)
		hpx_cache_release(c, o);
	hpx_cache_release(c, refused);
}

/* 0: published, load it. HPX_FLIGHT_AGAIN: look again. A live object in *found: use that. */
static int publish(struct hpx_load *l, struct hpx_object **found)
{
	struct hpx_call *call = l->call;
	enum hpx_put_result result;
	void *other = NULL;
	int rc = call->load ? create_in_place(l) : create_record(l);

	if (rc)
		return rc;
	displace(call); /* only now, when most of what can fail has not */
	hpx_read_lock();
	result = hpx_table_put(l->cache->table, call->hash, call->key, l->entry, HPX_PUT_LOAD, found, &other, NULL, NULL);
	hpx_read_unlock();
	l->open = result == HPX_PUT_DONE;
	if (l->open)
		return 0;
	unpublish(l);
	return result == HPX_PUT_NOMEM ? HAPAX_ENOMEM : HPX_FLIGHT_AGAIN;
}

int hpx_load_publish(struct hpx_load *l)
{
	struct hpx_object *found = NULL;
	int rc;

	HPX_STOP("get.miss");
	rc = publish(l, &found);
	if (!found)
		return rc;
	/* came between the miss and the registration: looked at again, as the caller may refuse it */
	hpx_cache_release(l->cache, found);
	return HPX_FLIGHT_AGAIN;
}

static bool timed(hapax_cache *c)
{
	return c->stats || (c->tier && c->tier->timed);
}

static void ended(struct hpx_load *l, int status)
{
	(void)l, (void)status;
	HPX_PROBE4(load__end, HPX_PROBE_TEXT(l->cache->name), l->entry, status, (uint64_t)l->spent_us * 1000);
}

void hpx_load_begin(struct hpx_load *l)
{
	if (!l->part) /* the parts of a bulk load have begun already */
		HPX_PROBE4(load__begin, HPX_PROBE_TEXT(l->cache->name), l->call->key->data, l->call->key->size, l->entry);
	hpx_cache_count(l->cache, HPX_CACHE_LOADS, 1);
	if (timed(l->cache))
		l->begun = hpx_env_now_coarse(l->cache->env);
}

/* Of a bulk load the whole is counted. */
static void count_end(struct hpx_load *l, unsigned how)
{
	if (!l->part)
		hpx_cache_count(l->cache, how, 1);
}

/* Counts the time of the load. By a clock that went back it took none. */
static void count_time(struct hpx_load *l)
{
	uint64_t now, spent;

	if (!timed(l->cache))
		return;
	now = hpx_env_now_coarse(l->cache->env);
	spent = now > l->begun ? (now - l->begun) / 1000 : 0;
	l->spent_us = spent < UINT32_MAX ? (uint32_t)spent : UINT32_MAX;
	if (!l->part)
		hpx_cache_count(l->cache, HPX_CACHE_NS, now > l->begun ? now - l->begun : 0);
}

/* ---- the three ends ---------------------------------------------------------------------------------------------- */

/* What FENCED_UNREGISTERS makes of a fenced load's end: the key is cleared, whoever is there by now. */
static void unregister(struct hpx_load *l)
{
	hapax_cache *c = l->cache;
	struct hpx_object *o;
	void *e = NULL;

	hpx_read_lock();
	o = hpx_table_lookup(c->table, l->call->hash, l->call->key, &e);
	if (e)
		hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	hpx_read_unlock();
	if (o)
		hpx_cache_release(c, o);
}

/* What a managed cache has to do about a loaded value, once those who waited for it have been woken. */
static void commit_managed(struct hpx_load *l, bool fenced)
{
	hapax_cache *c = l->cache;
	struct hpx_node *n = hpx_node_of(c, l->entry);
	uint32_t flags = HPX_NODE_LEFT;
	hapax_key key;

	if (!fenced) {
		hpx_node_installed(c, n, l->object, &l->terms);
	} else {
		hpx_room_out(c, n);
		/* order: NODE.FLAGS acq_rel; LEFT: the value's death finds that it was told */
		flags = hpx_or_acq_rel(&n->flags, HPX_NODE_LEFT);
		key = hpx_table_key(c->table, l->entry);
		hpx_cache_unused(c, &key, l->object, hpx_node_weight(n),
				 flags & HPX_NODE_BY_PUT ? HAPAX_CAUSE_REPLACED : HAPAX_CAUSE_EXPLICIT);
	}
	hpx_terms_drop(c, &l->terms);
	if (l->record) {
		if (fenced && !c->exclusive)
			hpx_entry_finish(c, l->record);
		hpx_node_unpin(n);
	}
}

/* The object is installed unless it was fenced; in both cases all who waited get it. */
static void commit(struct hpx_load *l)
{
	hapax_cache *c = l->cache;
	struct hpx_landing landing;
	uint64_t before;

	l->open = false;
	if (HPX_UNLIKELY(c->client != NULL) && c->client->commits)
		c->client->commits(l->call->arg);
	if (c->tier) {
		hpx_node_terms(c, hpx_node_of(c, l->entry), &l->terms);
		hpx_room_in(c, hpx_node_of(c, l->entry));
	}
	/* order: FLIGHT.COMMIT -> release, in the landing; the object and its record before LOADING is cleared */
	before = hpx_flight_land(&c->flights, l->entry, hpx_word(l->entry), &landing);
	count_end(l, HPX_CACHE_SUCCESSES);
	if (!(before & HPX_W_GONE)) {
		hpx_cache_count(c, HPX_CACHE_IN, 1);
	} else {
		hpx_cache_count(c, HPX_CACHE_SUPERSEDED, 1);
		if (HPX_BROKEN(FENCED_UNREGISTERS))
			unregister(l);
		/* the fencer left it to us; in an exclusive cache it stays and blocks its key until the object is gone */
		if (l->record && !c->exclusive && !c->tier)
			hpx_record_finish(l->record);
	}
	HPX_STOP("load.committed");
	hpx_flight_complete(&c->flights, &landing, 0, l->object, NULL);
	if (c->tier)
		commit_managed(l, before & HPX_W_GONE);
	if (c->exclusive && (before & HPX_W_GONE)) /* its instance is not being loaded any more: it is held */
		hpx_exclusive_changed(c, l->entry);
}

/* Nothing is stored: whoever waited gets `status`. What was loaded, if anything, is the caller's to release. */
static void fail(struct hpx_load *l, int status, hapax_load_error *error)
{
	hapax_cache *c = l->cache;
	struct hpx_landing landing;

	l->open = false;
	if (c->tier)
		/* order: NODE.FLAGS acq_rel; LEFT: nothing was installed */
		hpx_or_acq_rel(&hpx_node_of(c, l->entry)->flags, HPX_NODE_LEFT);
	hpx_read_lock();
	hpx_table_claim(c->table, l->entry);
	hpx_read_unlock();
	hpx_flight_land(&c->flights, l->entry, hpx_word(l->entry), &landing);
	HPX_STOP("load.committed");
	hpx_flight_complete(&c->flights, &landing, status, NULL, error);
	if (c->exclusive)
		hpx_exclusive_changed(c, l->entry);
	if (l->watch)
		hpx_exclusive_unwatch(l->watch);
	if (l->record && c->tier)
		hpx_node_unpin(hpx_node_of(c, l->record)); /* ours; the next is the table's */
	if (l->record)
		hpx_entry_finish(c, l->record);
}

/* No value, and that is remembered: the entry stays, with a stand-in for an object. False: it could not be. */
static bool remember(struct hpx_load *l)
{
	hapax_cache *c = l->cache;
	struct hpx_terms terms = {.weight = 1, .ttl_ns = c->tier ? c->tier->negative_ns : HPX_NEVER};
	struct hpx_landing landing;
	struct hpx_node *n;
	uint64_t before;

	if (terms.ttl_ns == HPX_NEVER || !terms.ttl_ns || hpx_cache_state(c) != HPX_CACHE_OPEN)
		return false;
	terms.timer = hpx_timer_new(c->env);
	if (terms.timer && l->record && !l->object && !hpx_stand_in(c, &l->object) && hpx_record_bind(l->record, l->object)) {
		hpx_cache_release(c, l->object);
		l->object = NULL;
	}
	if (!terms.timer || !l->object) {
		hpx_terms_drop(c, &terms);
		return false;
	}
	terms.now = hpx_tier_now(c);
	l->open = false;
	n = hpx_node_of(c, l->entry);
	/* order: NODE.FLAGS, OBJECT.FLAGS relaxed; before the landing, which is the edge */
	hpx_or_relaxed(&n->flags, HPX_NODE_NEGATIVE);
	hpx_or_relaxed(&l->object->count, HPX_NODTOR);
	hpx_node_terms(c, n, &terms);
	/* order: FLIGHT.COMMIT -> release, in the landing */
	before = hpx_flight_land(&c->flights, l->entry, hpx_word(l->entry), &landing);
	hpx_flight_complete(&c->flights, &landing, HAPAX_NOVALUE, NULL, NULL);
	if (!(before & HPX_W_GONE))
		hpx_node_installed(c, n, l->object, &terms);
	else
		hpx_or_acq_rel(&n->flags, HPX_NODE_LEFT); /* order: NODE.FLAGS acq_rel; as in fail() */
	hpx_terms_drop(c, &terms);
	if (l->record) {
		if (before & HPX_W_GONE)
			hpx_entry_finish(c, l->record);
		hpx_node_unpin(n);
	}
	hpx_cache_release(c, l->object);
	l->object = NULL;
	return true;
}

void hpx_load_cancel(struct hpx_load *l, int status)
{
	fail(l, status, NULL);
	if (!l->record)
		hpx_load_undo(l->cache, l->object);
}

void hpx_load_abandon(struct hpx_load *l, int status)
{
	hpx_cache_count(l->cache, HPX_CACHE_FAILURES, 1);
	hpx_cache_count(l->cache, HPX_CACHE_ABANDONED, 1);
	count_time(l);
	ended(l, status);
	hpx_load_cancel(l, status);
}

/* ---- running the loader ------------------------------------------------------------------------------------------ */

static int run(struct hpx_load *l, hapax_load_error *error)
{
	struct hpx_call *call = l->call;
	hapax_cache *c = l->cache;
	void *made = NULL;
	int result;

	hpx_load_begin(l);
	l->frame = (struct hpx_frame){.up = hpx_self.frames, .cache = c, .entry = l->entry};
	hpx_self.frames = &l->frame;
	hpx_loading_begin(&l->frame, timed(c) ? l->begun : HPX_LOADING_UNTIMED2 + hpx_self.untimed++);
	l->running = true;
	result = l->record ? call->make(&made, call->key, call->arg, error)
			   : call->load(hpx_payload(l->object), call->key, call->arg, error);
	l->running = false;
	hpx_loading_end(&l->frame);
	hpx_self.frames = l->frame.up;
	if (l->record && result == HAPAX_LOAD_OK && made)
		l->object = hpx_object_of(made);
	error->shared = NULL;
	return result;
}

/* What the loader made is consumed in any case; 0 if the cache may hold it, and its record is ready. */
static int accept_made(struct hpx_load *l)
{
	hapax_cache *c = l->cache;
	struct hpx_class *class;
	int rc;

	if (!l->object)
		return HAPAX_ETYPE;
	class = hpx_class_of(l->object);
	if (class->env != c->env)
		return HAPAX_EFOREIGN;
	if (c->type && class->type != c->type)
		return HAPAX_ETYPE;
	rc = hpx_record_bind(l->record, l->object);
	if (!rc && c->exclusive)
		rc = hpx_exclusive_watch(c, l->record, l->object, &l->watch);
	return rc;
}

/* The loader has returned `result`: the status for everybody. */
static int judge(struct hpx_load *l, int result)
{
	int rc = 0;

	if (result == HAPAX_LOAD_NOVALUE) {
		count_end(l, HPX_CACHE_NOVALUES);
		return HAPAX_NOVALUE;
	}
	if (result != HAPAX_LOAD_OK)
		return HAPAX_ELOADER;
	if (l->record)
		rc = accept_made(l);
	if (!rc && l->cache->tier) {
		rc = hpx_terms_get(l->cache, l->call->key, l->object, NULL, NULL, &l->terms);
		l->terms.load_us = l->spent_us;
		if (rc) /* it was produced, and is never installed */
			hpx_cache_unused(l->cache, l->call->key, l->object, l->terms.weight, HAPAX_CAUSE_EXPLICIT);
	}
	return rc;
}

/* Without success the object goes: with its destructor if the loader had finished it. */
static void dispose(struct hpx_load *l, bool loaded)
{
	if (l->object && (loaded || l->record))
		hpx_cache_release(l->cache, l->object);
	else if (l->object)
		hpx_load_undo(l->cache, l->object);
}

void hpx_load_left(struct hpx_load *l)
{
	if (!l->open)
		return;
	if (l->running) {
		l->running = false;
		hpx_loading_end(&l->frame);
		hpx_self.frames = l->frame.up;
		hpx_load_abandon(l, HAPAX_EABANDONED);
		return;
	}
	/* the loader has answered */
	count_end(l, HPX_CACHE_FAILURES);
	count_end(l, HPX_CACHE_ABANDONED);
	if (l->cache->tier)
		hpx_terms_drop(l->cache, &l->terms);
	ended(l, HAPAX_EABANDONED);
	fail(l, HAPAX_EABANDONED, NULL);
	dispose(l, true);
}

void hpx_cache_drop_error(hapax_cache *c, hapax_load_error *error)
{
	HPX_CACHE_FRAME(c, NULL);
	hapax_load_error_drop(error);
}

/* Until it lands the load is this thread's: user code that is asked here and wants its key waits for itself. */
static int settle(struct hpx_load *l, int result, const hapax_load_error *error)
{
	HPX_CACHE_FRAME(l->cache, l->entry);
	int status = judge(l, result);

	hpx_refresh_loaded(l->cache, l->call->key, l->call->hash, status == HAPAX_ELOADER, error ? error->code : 0);
	return status;
}

int hpx_load_conclude(struct hpx_load *l, int result, hapax_load_error *error)
{
	HPX_STOP("load.returned");
	count_time(l);
	return hpx_load_settle(l, result, error);
}

int hpx_load_settle(struct hpx_load *l, int result, hapax_load_error *error)
{
	int status = settle(l, result, error);

	if (!status && hpx_cache_state(l->cache) != HPX_CACHE_OPEN) {
		/* the loader did its work, the cache has no use for it any more */
		count_end(l, HPX_CACHE_SUCCESSES);
		hpx_cache_count(l->cache, HPX_CACHE_SUPERSEDED, 1);
		hpx_cache_unused(l->cache, l->call->key, l->object, l->terms.weight, HAPAX_CAUSE_EXPLICIT);
		fail(l, HAPAX_ECLOSED, NULL);
		dispose(l, true);
		status = HAPAX_ECLOSED;
	} else if (!status) {
		commit(l);
	} else {
		count_end(l, HPX_CACHE_FAILURES);
		if (status != HAPAX_NOVALUE || !remember(l)) {
			fail(l, status, status == HAPAX_ELOADER ? error : NULL);
			dispose(l, result == HAPAX_LOAD_OK);
		}
	}
	if (l->cache->tier)
		hpx_terms_drop(l->cache, &l->terms);
	ended(l, status);
	return status;
}

int hpx_load_run(struct hpx_load *l)
{
	hapax_load_error *error = &l->call->outcome.error; /* the call disposes of it if we do not come back */
	int status;

	*error = (hapax_load_error){.code = 0};
	status = hpx_load_conclude(l, run(l, error), error);
	if (status != HAPAX_ELOADER || !l->call->wants_error)
		hpx_cache_drop_error(l->cache, error);
	return status;
}

int hpx_cache_load(struct hpx_call *call, struct hpx_object **out)
{
	__attribute__((cleanup(hpx_load_left))) struct hpx_load l = {.call = call, .cache = call->cache};
	int rc;

	if (!hpx_call_can_load(call))
		return call->outcome.status == HAPAX_EABANDONED ? HAPAX_EABANDONED : HAPAX_ENOLOADER;
	if (call->load && !call->cache->class)
		return HAPAX_ETYPE; /* in place, but of what? */
	if (!hpx_refresh_may_load(call))
		return HAPAX_ELOADER;
	if (call->start || call->sink)
		return hpx_token_load(call, out);
	rc = hpx_load_publish(&l);
	if (!rc)
		rc = hpx_load_run(&l);
	if (!rc)
		*out = l.object;
	return rc;
}
