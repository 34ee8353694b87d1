/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz_cache.c - sequences of calls on caches against the laws, in one thread.
 *
 * The reference knows what is present under each key, which loads are on the stack and whether they have been fenced, and
 * which instance of an exclusive key is still in the way. Loaders, refusals, callbacks and destructors take steps of
 * their own, on the same caches too.
 */
#include "fuzz/keys.h"

enum { CACHES = 3, ITERS = 2 };

struct instance {
	struct thing *thing;
	uint32_t born;
};

struct cache {
	hapax_cache *cache; /* NULL: none */
	struct thing *present[KEYS];
	struct instance blocking[KEYS]; /* exclusive: removed or dying, and not gone */
	struct key_style style;
	const hapax_type *type; /* NULL: every one */
	bool loads, makes, exclusive, stats, closed;
	unsigned leaks, pending;
	uint64_t gets;
};

/* A get on the stack. */
struct call {
	struct call *up;
	struct cache *cache;
	unsigned key;
	struct thing *refused; /* held by the call until it is displaced */
	unsigned ran;          /* loaders */
	int result;            /* of the last one */
	struct thing *loaded;
	bool loading, fenced;
};

struct iter {
	hapax_iter *iter;
	struct cache *cache;
	struct thing *pinned;
	bool busy;
};

static struct cache caches[CACHES];
static struct iter iters[ITERS];
static struct call *calls;
static unsigned details_made, details_dropped;

/* ---- the reference ---------------------------------------------------------------------------------------------- */

static struct thing *blocking(const struct cache *c, unsigned k)
{
	const struct instance *i = &c->blocking[k];

	return i->thing && i->thing->born == i->born && !i->thing->destroyed ? i->thing : NULL;
}

static void block(struct cache *c, unsigned k, struct thing *t)
{
	if (c->exclusive)
		c->blocking[k] = (struct instance){t, t->born};
}

static void leave(struct cache *c, unsigned k)
{
	if (c->present[k])
		block(c, k, c->present[k]);
	c->present[k] = NULL;
}

static void target_forget(struct thing *thing)
{
	for (unsigned i = 0; i < CACHES; i++)
		for (unsigned k = 0; k < KEYS; k++)
			if (caches[i].cache && caches[i].present[k] == thing) {
				leave(&caches[i], k);
				caches[i].pending += thing->deferred;
			}
}

static struct call *flight(const struct cache *c, unsigned k)
{
	for (struct call *call = calls; call; call = call->up)
		if (call->cache == c && call->key == k && call->loading && !call->fenced)
			return call;
	return NULL;
}

/* Fenced ones too: an exclusive key is taken by them as well. */
static bool any_flight(const struct cache *c, unsigned k)
{
	for (struct call *call = calls; call; call = call->up)
		if (call->cache == c && call->key == k && call->loading)
			return true;
	return false;
}

static void fence(struct cache *c, unsigned k)
{
	for (struct call *call = calls; call && !fuzz_wrong("NO_FENCE"); call = call->up)
		if (call->cache == c && call->key == k)
			call->fenced |= call->loading;
}

static size_t size_of(const struct cache *c)
{
	size_t n = 0;

	for (unsigned k = 0; k < KEYS; k++)
		n += c->present[k] != NULL;
	return n;
}

/* ---- loaders ------------------------------------------------------------------------------------------------------ */

static void drop_detail(void *detail)
{
	unsigned *alive = detail;

	FUZZ_CHECK(*alive == 1, "a load error's detail is dropped twice");
	*alive = 0;
	details_dropped++;
}

static unsigned details[STEPS + 8];

static int loader_fails(hapax_load_error *error)
{
	unsigned *alive = &details[details_made % (STEPS + 8)];

	*alive = 1;
	details_made++;
	*error = (hapax_load_error){.code = 77, .detail = alive, .drop = drop_detail};
	return HAPAX_LOAD_FAIL;
}

/* What is common to both forms: the key must be free for a load, and is loading from here on. */
static struct call *loader_begins(const hapax_key *key, struct cache *c)
{
	struct call *call = calls;

	FUZZ_CHECK(call && call->cache == c && call->key == key_number(key) && !call->loading, "a load nobody asked for");
	if (c->present[call->key] && c->present[call->key] == call->refused)
		leave(c, call->key);
	FUZZ_CHECK(!c->present[call->key], "key %u is loaded and present", call->key);
	FUZZ_CHECK(!flight(c, call->key), "key %u is loaded twice at once", call->key);
	FUZZ_CHECK(!blocking(c, call->key), "key %u is loaded beside an old instance", call->key);
	FUZZ_CHECK(!c->closed, "a closed cache loads");
	call->refused = NULL;
	call->loading = true;
	call->fenced = false;
	call->ran++;
	FUZZ_TRACE("   load of key %u", call->key);
	user_code();
	return call;
}

static int load_here(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	static const struct payload zero;
	struct world *w = world;
	struct cache *c = arg;
	struct call *call;
	struct thing *t;
	unsigned how;

	FUZZ_CHECK(!memcmp(object, &zero, sizeof(zero)), "not zeroed");
	call = loader_begins(key, c);
	how = fuzz_byte(&w->in) % 8;
	t = free_slot(w);
	call->result = how == 6 || !t ? HAPAX_LOAD_NOVALUE : how == 7 ? loader_fails(error) : HAPAX_LOAD_OK;
	call->loaded = NULL;
	if (call->result == HAPAX_LOAD_OK) {
		thing_is(w, t, object, true, c->type->flags & HAPAX_TYPE_DEFERRED);
		t->owned = 0; /* the call's */
		call->loaded = t;
		if (c->closed)
			drop_ref(t);
		else if (!call->fenced)
			c->present[call->key] = t;
		else
			block(c, call->key, t);
	}
	call->loading = false;
	return call->result;
}

/* What is made stays held until the get is over: it cannot die in it. */
static int make_here(void **object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct world *w = world;
	struct call *call = loader_begins(key, arg);
	unsigned how = fuzz_byte(&w->in) % 8;

	call->loaded = how < 6 ? pick_thing(w) : NULL;
	call->result = how == 6 || (how < 5 && !call->loaded) ? HAPAX_LOAD_NOVALUE :
		       how == 7 ? loader_fails(error) : HAPAX_LOAD_OK;
	if (call->loaded) {
		FUZZ_CHECK(hapax_retain(call->loaded->object) == 0, "retain");
		FUZZ_CHECK(hapax_retain(call->loaded->object) == 0, "retain");
		call->loaded->refs += 2; /* the one that is given away, and ours */
		*object = call->loaded->object;
	}
	return call->result;
}

/* ---- caches ------------------------------------------------------------------------------------------------------- */

static void leaked(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	struct cache *c = ctx;

	key_number(key);
	FUZZ_CHECK(thing_of(object) && type && count && !inherited, "a leak");
	c->leaks++;
}

static void begin_cache(struct world *w, struct cache *c)
{
	unsigned how = fuzz_byte(&w->in), keys = fuzz_byte(&w->in);
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = w->env, .arg = c, .leak = leaked, .leak_ctx = c};
	int rc;

	memset(c, 0, sizeof(*c));
	o.keys = key_ops(&c->style, keys);
	c->style.stored_most = UINT64_MAX; /* how often it stores a key is for the cache to say */
	c->loads = how % 4 < 2;
	c->makes = how % 4 == 2;
	c->exclusive = how >> 2 & 1;
	c->stats = !(how >> 3 & 1);
	if (c->loads || how >> 4 & 1)
		c->type = thing_type(true, how >> 5 & 1);
	o.type = c->type;
	o.load = c->loads ? load_here : NULL;
	o.make = c->makes ? make_here : NULL;
	o.flags = (c->exclusive ? HAPAX_CACHE_EXCLUSIVE : 0) | (c->stats ? 0 : HAPAX_CACHE_NO_STATS);
	o.capacity = how >> 6 ? keys : 0;
	call_begins(w);
	rc = hapax_cache_create(&c->cache, &o);
	FUZZ_TRACE("cache %u: load %d make %d exclusive %d deferred %d: %d", (unsigned)(c - caches), c->loads, c->makes,
		   c->exclusive, c->type && c->type->flags & HAPAX_TYPE_DEFERRED, rc);
	FUZZ_CHECK(no_memory(w, rc) ? !c->cache : rc == 0 && c->cache, "%d", rc);
}

/* Outside user code of its own. */
static void end_cache(struct cache *c)
{
	size_t present = size_of(c), held = present;

	for (unsigned k = 0; k < KEYS; k++)
		held += blocking(c, k) && !blocking(c, k)->dead;
	for (unsigned i = 0; i < ITERS; i++)
		if (iters[i].cache == c)
			iters[i].cache = NULL;
	hapax_cache_destroy(c->cache);
	FUZZ_TRACE("destroy cache %u: %u leaks", (unsigned)(c - caches), c->leaks);
	FUZZ_CHECK(c->leaks >= present && c->leaks <= held, "%u leaks told of, %zu to %zu are", c->leaks, present, held);
	c->cache = NULL;
}

static void check_stats(struct cache *c)
{
	hapax_cache_stats s = {.size = sizeof(s)};

	FUZZ_CHECK(hapax_cache_stats_get(c->cache, &s) == 0, "stats");
	if (!c->stats) {
		FUZZ_CHECK(!s.hits && !s.loads && !s.puts && !s.removals && !s.size_now, "no statistics were wanted");
		return;
	}
	FUZZ_CHECK(s.size_now == hapax_cache_size(c->cache), "size");
	FUZZ_CHECK(s.loads == s.load_successes + s.load_failures, "loads");
	FUZZ_CHECK(s.load_novalues <= s.load_failures && !s.load_abandoned && !s.waits, "failures");
	FUZZ_CHECK(s.load_successes - s.superseded + s.puts == s.removals + s.replacements + s.collections + s.size_now,
		   "what came in is not what left: %u - %u + %u, %u + %u + %u + %u", (unsigned)s.load_successes,
		   (unsigned)s.superseded, (unsigned)s.puts, (unsigned)s.removals, (unsigned)s.replacements,
		   (unsigned)s.collections, (unsigned)s.size_now);
}

static void check_cache(struct cache *c)
{
	char message[200] = "";
	size_t n = hapax_cache_size(c->cache), least = size_of(c);

	FUZZ_CHECK(!hapax_testing_check_cache(c->cache, message, sizeof(message)), "%s", message);
	FUZZ_CHECK(n >= least && n <= least + c->pending, "size %zu, not %zu", n, least);
	check_stats(c);
	for (unsigned k = 0; k < KEYS; k++) {
		int there = hapax_cache_contains(c->cache, key_of(k)), rc;
		void *object = (void *)1;

		rc = hapax_cache_get_quietly(c->cache, key_of(k), &object);
		if (key_error(&c->style, k)) {
			FUZZ_CHECK(there == HAPAX_EHASH && rc == (c->closed ? HAPAX_ECLOSED : HAPAX_EHASH), "%d", rc);
			continue;
		}
		FUZZ_CHECK(there == (c->present[k] != NULL), "key %u: %d", k, there);
		FUZZ_CHECK(rc == (c->closed ? HAPAX_ECLOSED : there ? 0 : HAPAX_MISS), "key %u: %d", k, rc);
		FUZZ_CHECK(object == (rc ? NULL : c->present[k]->object), "key %u: another", k);
		if (object)
			hapax_release(object);
	}
}

static struct cache *pick_cache(struct world *w)
{
	struct cache *c = &caches[fuzz_below(&w->in, CACHES)];

	return c->cache ? c : NULL;
}

/* ---- getting ------------------------------------------------------------------------------------------------------- */

/* The call holds what it asks about; from a refusal on that is on its way out. */
static bool refuse(void *object, void *arg)
{
	struct call *call = arg;
	struct thing *t = thing_of(object);
	bool answer;

	FUZZ_CHECK(call == calls && call->cache->present[call->key] == t, "asked about another");
	t->refs++;
	user_code();
	answer = fuzz_byte(&world->in) & 1;
	FUZZ_TRACE("   refuse: %d", answer);
	if (answer) {
		call->refused = t;
		drop_ref(t);
		if (t->dead)
			call->refused = NULL;
	} else {
		t->refs--; /* becomes the caller's: counted there */
		call->refused = NULL;
		call->loaded = t;
	}
	return answer;
}

/* The key of an exclusive cache is taken: what a get or put may answer; 0: it is free. */
static bool taken(const struct cache *c, unsigned k, int rc)
{
	const struct thing *t = blocking(c, k);

	if (any_flight(c, k))
		return rc == HAPAX_EDEADLK || rc == HAPAX_INFLIGHT || rc == HAPAX_EBUSY;
	if (!t)
		return false;
	if (!t->dead)
		return rc == HAPAX_EBUSY;
	return rc == HAPAX_EDEADLK || rc == HAPAX_INFLIGHT;
}

/* Waiting would be for ever: nobody but this thread could end it, and it is not seen to be the one. */
static bool would_hang(const struct cache *c, unsigned k)
{
	return c->exclusive && blocking(c, k) && blocking(c, k)->dead && blocking(c, k)->deferred;
}

static bool get_error_fits(struct world *w, struct cache *c, struct call *call, int rc)
{
	unsigned k = call->key;

	if (call->ran && call->result == HAPAX_LOAD_NOVALUE)
		return rc == HAPAX_NOVALUE;
	if (call->ran && call->result == HAPAX_LOAD_FAIL)
		return rc == HAPAX_ELOADER;
	if (rc == HAPAX_ECLOSED)
		return c->closed;
	if (rc == HAPAX_ENOMEM)
		return no_memory(w, rc);
	if (call->ran && !call->loaded)
		return rc == HAPAX_ETYPE; /* made nothing */
	if (call->ran) {
		const hapax_type *type = hapax_type_of(call->loaded->object);

		if (rc == HAPAX_ETYPE)
			return c->type && type != c->type;
		return rc == HAPAX_ENOTWEAK && type->flags & HAPAX_TYPE_NOT_WEAK;
	}
	if (rc == HAPAX_ENOLOADER)
		return !c->loads && !c->makes && (!c->present[k] || c->present[k] == call->refused);
	if (rc == HAPAX_EDEADLK && flight(c, k))
		return true;
	if (rc == HAPAX_INFLIGHT && flight(c, k))
		return true;
	return c->exclusive && taken(c, k, rc);
}

static void settle_made(struct world *w, struct call *call, int rc)
{
	struct cache *c = call->cache;
	struct thing *t = call->loaded;

	if (!c->makes || !call->ran || !t)
		return;
	if (rc)
		t->refs--; /* the one that was given away */
	else if (call->fenced)
		block(c, call->key, t);
	else
		c->present[call->key] = t;
	t->refs -= rc == 0; /* counted by the caller below */
	t->owned++;
	if (rc == 0)
		got_ref(t);
	release(w, t);
}

static void step_get(struct world *w)
{
	struct cache *c = pick_cache(w);
	unsigned k = pick_key(w), how = fuzz_byte(&w->in);
	struct call call = {.up = calls, .cache = c, .key = k};
	hapax_load_error error = {.code = 0};
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	struct thing *before;
	void *out = (void *)1;
	int rc;

	if (!c)
		return;
	before = c->present[k];
	if (c->exclusive || how & 1)
		o.deadline = HAPAX_NO_WAIT;
	if (how & 2) {
		o.refuse = refuse;
		o.refuse_arg = &call;
	}
	if (how & 4)
		o.error = &error;
	calls = &call;
	call_begins(w);
	if (how & 8 && !would_hang(c, k))
		rc = hapax_cache_get(c->cache, key_of(k), &out);
	else
		rc = hapax_cache_get_with(c->cache, key_of(k), &o, &out);
	calls = call.up;
	FUZZ_TRACE("%*sget cache %u key %u how %u: %s", (int)w->depth, "", (unsigned)(c - caches), k, how,
		   hapax_status_name(rc));
	FUZZ_CHECK((rc == 0) == (out != NULL), "%d, and a result", rc);
	if (error.shared || error.detail)
		FUZZ_CHECK(rc == HAPAX_ELOADER && error.code == 77 && *(unsigned *)error.detail == 1, "an error's details");
	hapax_load_error_drop(&error);
	settle_made(w, &call, rc);
	/* refused, and then memory ended, or the exclusive key turned out to be taken: it may have been taken out */
	if (rc && call.refused && c->present[k] == call.refused && hapax_cache_contains(c->cache, key_of(k)) == 0)
		leave(c, k);
	if (rc) {
		if (rc == key_error(&c->style, k))
			return;
		FUZZ_CHECK(get_error_fits(w, c, &call, rc), "%s", hapax_status_name(rc));
		return;
	}
	FUZZ_CHECK(!key_error(&c->style, k), "a key that cannot be hashed");
	if (c->makes && call.ran) {
		FUZZ_CHECK(out == call.loaded->object, "not what was made");
		return;
	}
	if (call.ran)
		FUZZ_CHECK(call.loaded && out == call.loaded->object, "not what was loaded");
	else if (call.loaded)
		FUZZ_CHECK(out == call.loaded->object, "not what was not refused");
	else
		FUZZ_CHECK(before && out == before->object, "not what is present");
	if (call.ran)
		thing_of(out)->owned++; /* the call's reference */
	else
		got_ref(thing_of(out));
}

static void step_look(struct world *w)
{
	struct cache *c = pick_cache(w);
	unsigned k = pick_key(w);
	void *out = (void *)1;
	int rc;

	if (!c)
		return;
	rc = hapax_cache_get_if_present(c->cache, key_of(k), &out);
	if (rc == HAPAX_ECLOSED)
		FUZZ_CHECK(c->closed && !out, "closed");
	else if (rc < 0)
		FUZZ_CHECK(rc == key_error(&c->style, k) && !out, "%d", rc);
	else
		FUZZ_CHECK(out == (c->present[k] ? c->present[k]->object : NULL), "another");
	if (out)
		got_ref(thing_of(out));
}

/* ---- changing ------------------------------------------------------------------------------------------------------ */

/* What a put must answer before it looks at the key; 0: nothing. */
static int put_error(const struct cache *c, unsigned k, const struct thing *t)
{
	if (c->closed)
		return HAPAX_ECLOSED;
	if (key_error(&c->style, k))
		return key_error(&c->style, k);
	if (c->type && hapax_type_of(t->object) != c->type)
		return HAPAX_ETYPE;
	return t->weakable ? 0 : HAPAX_ENOTWEAK;
}

static void installed(struct cache *c, unsigned k, struct thing *t)
{
	fence(c, k);
	leave(c, k);
	c->present[k] = t;
}

static void put(struct world *w, struct cache *c, unsigned k, struct thing *t)
{
	int rc;

	if (!c || !t || would_hang(c, k))
		return;
	call_begins(w);
	rc = hapax_cache_put(c->cache, key_of(k), t->object);
	FUZZ_TRACE("%*sput cache %u key %u thing %u: %s", (int)w->depth, "", (unsigned)(c - caches), k,
		   (unsigned)(t - w->thing), hapax_status_name(rc));
	if (put_error(c, k, t)) {
		FUZZ_CHECK(rc == put_error(c, k, t), "%d", rc);
		return;
	}
	if (no_memory(w, rc))
		return;
	if (c->exclusive && (rc || c->present[k])) {
		FUZZ_CHECK(c->present[k] ? rc == (c->present[k] == t ? 0 : HAPAX_EBUSY) : taken(c, k, rc), "%d", rc);
		return;
	}
	FUZZ_CHECK(rc == 0 && !(c->exclusive && (blocking(c, k) || any_flight(c, k))), "%d", rc);
	if (c->present[k] == t)
		return;
	installed(c, k, t);
}

static void step_put(struct world *w)
{
	struct cache *c = pick_cache(w);
	unsigned k = pick_key(w);

	put(w, c, k, pick_thing(w));
}

static void step_many(struct world *w)
{
	struct cache *c = pick_cache(w);
	unsigned k = NUMBERS_FROM + fuzz_below(&w->in, KEYS - NUMBERS_FROM), n = fuzz_below(&w->in, 64);
	struct thing *t = pick_thing(w);

	for (; n && k < KEYS; n--, k++)
		put(w, c, k, t);
}

static void step_get_or_put(struct world *w)
{
	struct cache *c = pick_cache(w);
	unsigned k = pick_key(w);
	struct thing *t = pick_thing(w), *there;
	void *out = (void *)1;
	bool inserted = true;
	int rc;

	if (!c || !t || would_hang(c, k))
		return;
	there = c->present[k];
	call_begins(w);
	rc = hapax_cache_get_or_put(c->cache, key_of(k), t->object, &out, &inserted);
	FUZZ_TRACE("%*sget_or_put cache %u key %u thing %u: %s", (int)w->depth, "", (unsigned)(c - caches), k,
		   (unsigned)(t - w->thing), hapax_status_name(rc));
	FUZZ_CHECK((rc == 0) == (out != NULL), "%d, and a result", rc);
	if (put_error(c, k, t)) {
		FUZZ_CHECK(rc == put_error(c, k, t), "%d", rc);
		return;
	}
	if (no_memory(w, rc))
		return;
	if (c->exclusive && rc) {
		FUZZ_CHECK(!there && taken(c, k, rc), "%d", rc);
		return;
	}
	FUZZ_CHECK(rc == 0 && inserted == !there, "%d", rc);
	FUZZ_CHECK(out == (there ? there : t)->object, "another");
	got_ref(thing_of(out));
	if (!there)
		installed(c, k, t);
}

static void step_remove(struct world *w)
{
	struct cache *c = pick_cache(w);
	unsigned k = pick_key(w), how = fuzz_below(&w->in, 4);
	struct thing *there, *only = NULL;
	void *out = (void *)1;
	int rc, expected;

	if (!c)
		return;
	there = c->present[k];
	expected = key_error(&c->style, k) ? key_error(&c->style, k) : there ? 0 : HAPAX_MISS;
	if (how == 0) {
		rc = hapax_cache_pop(c->cache, key_of(k), &out);
		FUZZ_CHECK(out == (there ? there->object : NULL), "another is popped");
		if (out)
			got_ref(there);
	} else if (how == 1) {
		only = pick_thing(w);
		if (!only)
			return;
		expected = only != there && !expected ? HAPAX_MISS : expected;
		rc = hapax_cache_remove_if(c->cache, key_of(k), only->object);
	} else {
		rc = hapax_cache_remove(c->cache, key_of(k));
	}
	FUZZ_TRACE("%*sremove %u cache %u key %u: %s", (int)w->depth, "", how, (unsigned)(c - caches), k,
		   hapax_status_name(rc));
	FUZZ_CHECK(rc == expected, "%s, not %s", hapax_status_name(rc), hapax_status_name(expected));
	if (!rc)
		leave(c, k);
	if (rc >= 0 && !only)
		fence(c, k);
}

static void step_clear(struct world *w)
{
	struct cache *c = pick_cache(w);

	if (!c)
		return;
	hapax_cache_clear(c->cache);
	FUZZ_TRACE("%*sclear cache %u", (int)w->depth, "", (unsigned)(c - caches));
	for (unsigned k = 0; k < KEYS; k++) {
		leave(c, k);
		fence(c, k);
	}
}

static void step_close(struct world *w)
{
	struct cache *c = pick_cache(w);

	if (!c || fuzz_below(&w->in, 4))
		return;
	hapax_cache_close(c->cache);
	FUZZ_TRACE("%*sclose cache %u", (int)w->depth, "", (unsigned)(c - caches));
	c->closed = true;
}

static void step_cache(struct world *w)
{
	struct cache *c = &caches[fuzz_below(&w->in, CACHES)];

	if (w->depth)
		return;
	if (!c->cache && !c->style.borrow) /* the keys' releases outlive it */
		begin_cache(w, c);
	else if (c->cache && fuzz_below(&w->in, 4) == 0)
		end_cache(c);
}

/* ---- iterators ------------------------------------------------------------------------------------------------------ */

static void unpin(struct iter *it)
{
	struct thing *thing = it->pinned;

	it->pinned = NULL;
	if (thing)
		drop_ref(thing);
}

static void iter_end(struct iter *it)
{
	hapax_iter *iter = it->iter;

	it->iter = NULL;
	unpin(it);
	hapax_iter_close(iter);
}

static void step_iter(struct world *w)
{
	struct iter *it = &iters[fuzz_below(&w->in, ITERS)];
	unsigned seen = w->user_code, k;
	void *object = (void *)1;
	hapax_key key;
	int rc;

	if (it->busy)
		return;
	call_begins(w);
	if (!it->iter) {
		struct cache *c = pick_cache(w);

		if (!c)
			return;
		rc = hapax_cache_iterate(c->cache, &it->iter);
		FUZZ_CHECK((rc == 0) == (it->iter != NULL), "%d", rc);
		FUZZ_CHECK(rc == 0 || no_memory(w, rc) || (rc == HAPAX_ECLOSED && c->closed), "%d", rc);
		it->cache = c;
		return;
	}
	if (fuzz_below(&w->in, 8) == 0) {
		iter_end(it);
		return;
	}
	it->busy = true;
	w->memory.fail_in = 0; /* whether the pin goes depends on the key's copy */
	unpin(it);
	rc = hapax_iter_next(it->iter, &key, &object);
	it->busy = false;
	FUZZ_CHECK(rc == 0 ? object != NULL : rc == HAPAX_EMPTY && !object, "%d", rc);
	if (rc)
		return;
	it->pinned = thing_of(object);
	it->pinned->refs++;
	k = key_number(&key);
	if (it->cache && w->user_code == seen)
		FUZZ_CHECK(it->cache->present[k] == it->pinned, "key %u: not what is there", k);
}

/* ---- the run -------------------------------------------------------------------------------------------------------- */

static void target_step(struct world *w)
{
	unsigned which = fuzz_byte(&w->in) % (COMMON_STEPS + 20);

	if (w->steps++ >= STEPS)
		return;
	if (which < COMMON_STEPS) {
		things_step(w, which);
		return;
	}
	switch (which - COMMON_STEPS) {
	case 0: case 1: case 2: case 3: case 4: case 5: case 6: step_get(w); break;
	case 7: step_look(w); break;
	case 8: case 9: step_put(w); break;
	case 10: step_get_or_put(w); break;
	case 11: case 12: case 13: step_remove(w); break;
	case 14: step_clear(w); break;
	case 15: step_close(w); break;
	case 16: step_cache(w); break;
	case 17: step_many(w); break;
	default: step_iter(w); break;
	}
}

static void check_all(struct world *w)
{
	things_settled(w);
	for (unsigned i = 0; i < CACHES; i++)
		if (caches[i].cache)
			check_cache(&caches[i]);
	FUZZ_CHECK(details_made == details_dropped, "%u load errors, %u dropped", details_made, details_dropped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	memset(caches, 0, sizeof(caches));
	memset(iters, 0, sizeof(iters));
	calls = NULL;
	details_made = details_dropped = 0;
	things_begin(&w, data, size);
	begin_cache(&w, &caches[0]);
	begin_cache(&w, &caches[1]);
	while (w.in.at < w.in.end && w.steps < STEPS) {
		target_step(&w);
		if (w.steps % 8 == 0)
			check_all(&w);
	}
	check_all(&w);
	w.in.at = w.in.end;
	w.memory.fail_in = 0;
	for (unsigned i = 0; i < ITERS; i++)
		if (iters[i].iter && i)
			iter_end(&iters[i]);
	for (unsigned i = 0; i < CACHES; i++)
		if (caches[i].cache)
			end_cache(&caches[i]);
	for (unsigned i = 0; i < ITERS; i++)
		if (iters[i].iter)
			iter_end(&iters[i]);
	things_end(&w);
	return 0;
}
