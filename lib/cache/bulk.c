/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/bulk.c - several keys at once, loaded by one call.
 *
 *      look at each distinct key: present | no value, an error | absent            | being loaded by others
 *                                                                 publish LOADING     |
 *                                                                 one call, land all  |
 *                                                                                   join them, one after the other
 *
 * Nothing is waited for between the publication and the landing of our own, so that two calls with the same keys in any
 * order never wait for one another in a circle. Keys that turn out absent when they are joined (their loader vanished)
 * begin another round.
 *
 * Before that come the plain hits, which are most of it as a rule: group by group, in one section each, the lines of all keys
 * are fetched, then the entries that these lead to, and only then looked at, so that the misses of the caches overlap. What
 * is no plain hit is left for the rest.
 *
 * Each key's load is one of load.c's; the call of the loader counts as one load, whatever it makes. A key that the loader
 * adds is published when it is added, so that what is put or removed from then on fences it.
 */
#include "base/probe.h"
#include "cache/load.h"
#include "cache/refresh.h"
#include "cache/tier.h"
#include "table/lookup.h"

enum {
	FEW = 64,  /* keys whose places are on the stack */
	GROUP = 32 /* keys that are looked for together */
};

enum fate {
	FATE_OPEN,   /* to be looked at */
	FATE_ABSENT, /* to be loaded here */
	FATE_OURS,   /* published here, LOADING */
	FATE_DONE
};

/* One distinct key. */
struct part {
	struct hpx_call call;
	struct hpx_load load;
	struct hpx_frame frame;
	hapax_key key;
	enum fate fate;
	int status;
	struct hpx_object *object; /* the result, a reference is ours */
	struct part *next;         /* of those that were added */
	size_t bytes;              /* and their size, with the key behind them */
};

/* A position of the request. */
struct place {
	uint64_t hash;
	size_t first;              /* of its key */
	struct hpx_object *object; /* of a plain hit, in the first one: a reference is ours */
	struct part *part;         /* otherwise, in the first one. NULL: the key has an error */
	int status;
};

struct hapax_bulk {
	hapax_cache *cache;
	struct hpx_stay stay;
	const hapax_key *keys;
	size_t n, parts;
	uint64_t deadline;
	struct place *place;
	void *places;        /* their memory, and its size; NULL: not allocated */
	size_t places_bytes;
	bool handed_out;     /* and so their references are not ours any more */
	void *memory;        /* of what follows */
	size_t bytes;
	struct part *part;
	hapax_key *asked;    /* of one round, for the loader */
	void **made;
	struct part **round;
	size_t asking;
	struct part *added;
	bool running;
	bool framed;             /* from the first publication of a round to its last landing */
	struct hpx_frame loading; /* of the loader's call, for those who look: the round's first key */
	struct hpx_frame frame;  /* the first of the round's frames; up: those of the keys that are ours, then what was there */
	struct hpx_frame *up;
	hapax_load_error error;
};

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static void give_back(hapax_bulk *b)
{
	for (size_t i = 0; i < b->asking; i++) {
		if (b->made[i])
			hpx_cache_release(b->cache, hpx_object_of(b->made[i]));
		b->made[i] = NULL;
	}
	b->asking = 0;
}

static void free_added(hapax_bulk *b)
{
	struct part *p;

	while ((p = b->added) != NULL) {
		b->added = p->next;
		if (p->object)
			hpx_cache_release(b->cache, p->object);
		hpx_free(b->cache->env, p, p->bytes, 16);
	}
}

static void count_time(hapax_bulk *b)
{
	uint64_t begun = b->round[0]->load.begun, now;

	if (!b->cache->stats)
		return;
	now = hpx_env_now_coarse(b->cache->env);
	hpx_cache_count(b->cache, HPX_CACHE_NS, now > begun ? now - begun : 0);
}

static void pop_frames(hapax_bulk *b)
{
	hpx_self.frames = b->up;
	b->framed = false;
}

/* The thread is vanishing in the loader, or in other user code of a round: its keys go to those who wait for them. */
static void abandon(hapax_bulk *b)
{
	pop_frames(b);
	if (b->running) {
		b->running = false;
		hpx_loading_end(&b->loading);
		count_time(b);
		hpx_cache_count(b->cache, HPX_CACHE_FAILURES, 1);
		hpx_cache_count(b->cache, HPX_CACHE_ABANDONED, 1);
	}
	for (size_t i = 0; i < b->parts; i++)
		hpx_load_left(&b->part[i].load);
	for (struct part *p = b->added; p; p = p->next)
		hpx_load_left(&p->load);
}

static void bulk_end(hapax_bulk *b)
{
	if (!b->stay.cache)
		return;
	if (b->framed)
		abandon(b);
	give_back(b);
	free_added(b);
	for (size_t i = 0; b->place && i < b->n && !b->handed_out; i++)
		if (b->place[i].object)
			hpx_cache_release(b->cache, b->place[i].object);
	for (size_t i = 0; i < b->parts; i++) {
		if (b->part[i].object)
			hpx_cache_release(b->cache, b->part[i].object);
		hpx_call_end(&b->part[i].call);
	}
	hpx_cache_drop_error(b->cache, &b->error);
	if (b->memory)
		hpx_free(b->cache->env, b->memory, b->bytes, 16);
	if (b->places)
		hpx_free(b->cache->env, b->places, b->places_bytes, 16);
	hpx_cache_stay_end(&b->stay);
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static bool same_key(hapax_cache *c, const hapax_key *a, const hapax_key *b)
{
	if (a->size != b->size)
		return false;
	if (c->keys.equal)
		return c->keys.equal(a, b, c->keys.ctx);
	return a->size == 0 || memcmp(a->data, b->data, a->size) == 0;
}

static void begin_part(struct part *p, hapax_cache *c, const hapax_key *key, uint64_t hash)
{
	p->key = *key;
	p->call = (struct hpx_call){.cache = c, .key = &p->key, .hash = hash, .held = HAPAX_NO_WAIT};
	p->load = (struct hpx_load){.call = &p->call, .cache = c, .part = true};
}

/* Where each key comes first. `index`: room for a table of `mask` + 1 places' numbers, plus 1; zeroed. */
static void find_first(hapax_bulk *b, uint32_t *index, size_t mask)
{
	for (size_t i = 0; i < b->n; i++) {
		struct place *p = &b->place[i];
		size_t k = p->hash & mask;

		p->first = i;
		if (HPX_UNLIKELY(p->status))
			continue;
		for (; HPX_UNLIKELY(index[k]); k = (k + 1) & mask) {
			size_t other = index[k] - 1;

			if (b->place[other].hash == p->hash && same_key(b->cache, &b->keys[other], &b->keys[i])) {
				p->first = other;
				break;
			}
		}
		if (p->first == i)
			index[k] = (uint32_t)i + 1;
	}
}

/* A place for each key. `few`: room for FEW. */
static int make_places(hapax_bulk *b, struct place *few)
{
	uint32_t few_index[2 * FEW], *index = few_index;
	size_t mask = 2 * FEW - 1;

	if (b->n > FEW) {
		while (mask < 2 * b->n)
			mask = 2 * mask + 1;
		if (b->n > UINT32_MAX / 4)
			return HAPAX_ENOMEM;
		b->places_bytes = b->n * sizeof(struct place) + (mask + 1) * sizeof(*index);
		b->places = hpx_alloc(b->cache->env, b->places_bytes, 16);
		if (!b->places)
			return HAPAX_ENOMEM;
		few = b->places;
		index = (uint32_t *)(void *)(few + b->n);
	} else {
		memset(few_index, 0, sizeof(few_index));
	}
	for (size_t i = 0; i < b->n; i++) {
		few[i] = (struct place){.part = NULL};
		few[i].status = hpx_table_hash_fast(b->cache->table, &b->keys[i], &few[i].hash);
	}
	b->place = few;
	find_first(b, index, mask);
	return 0;
}

/* The places are in the order of the request, and so will the keys be that the loader gets. */
static int make_parts(hapax_bulk *b)
{
	const size_t each = sizeof(struct part) + sizeof(hapax_key) + sizeof(void *) + sizeof(struct part *);
	size_t n = 0;
	char *at;

	for (size_t i = 0; i < b->n; i++)
		n += b->place[i].first == i && !b->place[i].object && !b->place[i].status;
	if (!n)
		return 0;
	if (n > (SIZE_MAX / 2) / each)
		return HAPAX_ENOMEM;
	b->bytes = n * each;
	at = b->memory = hpx_alloc(b->cache->env, b->bytes, 16);
	if (!at)
		return HAPAX_ENOMEM;
	b->part = (struct part *)(void *)at;
	at += n * sizeof(struct part);
	b->asked = (hapax_key *)(void *)at;
	at += n * sizeof(hapax_key);
	b->made = (void **)(void *)at;
	at += n * sizeof(void *);
	b->round = (struct part **)(void *)at;
	for (size_t i = 0; i < b->n; i++) {
		struct place *p = &b->place[i];

		if (p->first != i || p->object || p->status)
			continue;
		p->part = &b->part[b->parts++];
		begin_part(p->part, b->cache, &b->keys[i], p->hash);
	}
	return 0;
}

/* ---- plain hits ------------------------------------------------------------------------------------------------------ */

/* What came of a group beside its hits. */
struct group {
	struct hpx_object *undone[GROUP]; /* taken, and not to be given */
	size_t undones;
	bool record; /* the policy is to be let know */
	bool in_turn, stop;
};

/* In a section: the entry, or NULL. `far`: that is no miss yet. */
static inline __attribute__((always_inline)) void *entry(struct hpx_table *t, const hapax_key *key, uint64_t hash, uint64_t *word, bool *far)
{
	uint64_t ctl;
	void *e;

	*far = false;
	if (HPX_LIKELY(key->size == 8) && HPX_LIKELY(t->simple)) {
		e = hpx_table_find8(t, hash, hpx_load8(key->data), word, &ctl);
		if (HPX_LIKELY(e != NULL))
			return e;
		if (!*word && !hpx_ctl_far(ctl))
			return NULL;
	}
	e = hpx_table_find(t, hash, key, far);
	if (e)
		*word = hpx_load_acquire(hpx_word(e)); /* order: -> TABLE.PUBLISH acquire; its RECORD bit never changes */
	return e;
}

/* In a section: what the fast lookup does not find, or finds dead. */
__attribute__((noinline, cold)) static struct hpx_object *lookup(hapax_cache *c, const hapax_key *key, uint64_t hash, void **e)
{
	if (*e)
		hpx_cache_count(c, HPX_CACHE_FAILED_UPGRADES, 1);
	return hpx_table_lookup(c->table, hash, key, e);
}

/* In a section: a plain hit, or NULL. */
static inline __attribute__((always_inline)) struct hpx_object *hit(hapax_cache *c, const hapax_key *key, uint64_t hash,
								    struct group *g)
{
	struct hpx_object *o = NULL;
	uint64_t word;
	bool far;
	void *e = entry(c->table, key, hash, &word, &far);

	if (HPX_LIKELY(e != NULL)) {
		HPX_STOP("get.found");
		o = hpx_entry_object(e, word);
		if (HPX_UNLIKELY(!o) || HPX_UNLIKELY(!hpx_take(o)))
			o = lookup(c, key, hash, &e);
	} else if (far) {
		o = lookup(c, key, hash, &e);
	}
	if (o && HPX_UNLIKELY(c->tier != NULL) && !hpx_tier_hit(c, e, key->size, &g->record)) {
		g->undone[g->undones++] = o;
		return NULL;
	}
	return o;
}

/* In a section: the hits of a group have been counted, the last as number `n`. */
__attribute__((noinline, cold)) static void sample_group(hapax_bulk *b, size_t from, size_t to, uint64_t n)
{
	for (size_t i = from; i < to; i++)
		if (b->place[i].object && b->place[i].first == i && hpx_sampled(b->cache, n--))
			hpx_sample_add(b->cache, &b->keys[i], b->place[i].hash);
}

__attribute__((noinline, hot)) static void hit_group(hapax_bulk *b, size_t from, size_t to, struct group *g)
{
	hapax_cache *c = b->cache;
	struct place *const first = b->place + from, *const last = b->place + to;
	const hapax_key *key = b->keys + from;
	unsigned hits = 0;

	hpx_read_lock();
	for (struct place *p = first; p < last; p++)
		hpx_table_fetch_line(c->table, p->hash);
	for (struct place *p = first; p < last; p++)
		hpx_table_fetch_entry(c->table, p->hash);
	for (struct place *p = first; p < last; p++, key++) {
		if (HPX_UNLIKELY(p->first != (size_t)(p - b->place)) || HPX_UNLIKELY(p->status))
			continue;
		p->object = hit(c, key, p->hash, g);
		hits += p->object != NULL;
		if (HPX_UNLIKELY(g->in_turn) && !p->object) {
			g->stop = true;
			break;
		}
	}
	if (hits && c->stats) {
		uint64_t n = hpx_count(&c->counters, HPX_CACHE_HITS, hits);

		/* order: SAMPLE.ABOVE relaxed; as in hpx_sampled() */
		if (HPX_UNLIKELY(hpx_load_relaxed(&c->sample_above) != UINT32_MAX))
			sample_group(b, from, to, n);
	}
	hpx_read_unlock();
}

static void hit_all(hapax_bulk *b)
{
	hapax_cache *c = b->cache;
	/* without a bulk loader loads and hits are events for the policy in the order of the request */
	struct group g = {.in_turn = c->tier && !c->load_many};

	if (c->stats)
		hpx_counters_prepare(&c->counters);
	for (size_t i = 0; i < b->n && !g.stop; i += GROUP) {
		g.undones = 0;
		g.record = false;
		hit_group(b, i, b->n - i < GROUP ? b->n : i + GROUP, &g);
		for (size_t k = 0; k < g.undones; k++)
			hpx_cache_release(c, g.undone[k]);
		if (g.record)
			hpx_tier_recorded(c);
	}
}

/* ---- looking and joining ------------------------------------------------------------------------------------------- */

static void done(struct part *p, int status)
{
	p->status = status;
	p->fate = FATE_DONE;
}

/* Without waiting (`wait` false): absent, present, or to be waited for. */
static void look(hapax_bulk *b, struct part *p, bool wait)
{
	struct hpx_object *o = NULL;
	int rc;

	p->call.deadline = p->call.held = wait ? b->deadline : HAPAX_NO_WAIT;
	rc = hpx_cache_resolve(&p->call, &o);
	if (!wait && (rc == HAPAX_INFLIGHT || rc == HAPAX_EBUSY || rc == HAPAX_ETIMEDOUT)) {
		p->fate = FATE_OPEN;
	} else if (rc == HAPAX_ENOLOADER || rc == HAPAX_EABANDONED) {
		p->fate = hpx_refresh_may_load(&p->call) ? FATE_ABSENT : FATE_DONE;
		p->status = HAPAX_ELOADER;
	} else {
		p->object = o;
		done(p, rc);
	}
}

/*
 * The key is ours until it lands: whoever asks for it on this thread meanwhile waits for itself. Further down than a frame that
 * is there already, wherever above that we are.
 */
static void own(hapax_bulk *b, struct part *p)
{
	p->frame = (struct hpx_frame){.up = b->frame.up, .cache = b->cache, .entry = p->load.entry};
	b->frame.up = &p->frame;
	HPX_PROBE4(load__begin, HPX_PROBE_TEXT(b->cache->name), p->call.key->data, p->call.key->size, p->load.entry);
}

/* Publishes it, LOADING; or finds that it is not absent any more. */
static void publish(hapax_bulk *b, struct part *p)
{
	while (p->fate == FATE_ABSENT) {
		int rc;

		p->call.deadline = b->deadline;
		rc = hpx_load_publish(&p->load);
		if (rc == 0) {
			p->fate = FATE_OURS;
			own(b, p);
		} else if (rc == HPX_FLIGHT_AGAIN)
			look(b, p, false);
		else
			done(p, rc);
	}
}

/* ---- one call of the loader -------------------------------------------------------------------------------------- */

static int run(hapax_bulk *b)
{
	hapax_cache *c = b->cache;
	int result;

	hpx_load_begin(&b->round[0]->load);
	for (size_t i = 1; i < b->asking; i++)
		b->round[i]->load.begun = b->round[0]->load.begun;
	b->loading = (struct hpx_frame){.cache = c, .entry = b->round[0]->load.entry};
	hpx_loading_begin(&b->loading, c->stats || (c->tier && c->tier->timed) ? b->round[0]->load.begun : HPX_LOADING_UNTIMED2 + hpx_self.untimed++);
	b->running = true;
	result = c->load_many(b->asked, b->asking, b->made, b, c->arg, &b->error);
	b->running = false;
	hpx_loading_end(&b->loading);
	b->error.shared = NULL;
	count_time(b);
	if (result == HAPAX_LOAD_OK || result == HAPAX_LOAD_NOVALUE)
		hpx_cache_drop_error(c, &b->error); /* it is of failures */
	if (result == HAPAX_LOAD_OK)
		hpx_cache_count(c, HPX_CACHE_SUCCESSES, 1);
	else
		hpx_cache_count(c, HPX_CACHE_FAILURES, 1);
	if (result == HAPAX_LOAD_NOVALUE)
		hpx_cache_count(c, HPX_CACHE_NOVALUES, 1);
	return result;
}

/* Lands one: `made` is what the loader gave for it, NULL: no value. */
static void land(hapax_bulk *b, struct part *p, int result, struct hpx_object *made)
{
	int rc;

	if (result == HAPAX_LOAD_OK && !made)
		result = HAPAX_LOAD_NOVALUE;
	if (result == HAPAX_LOAD_OK)
		p->load.object = made;
	else if (made)
		hpx_cache_release(b->cache, made);
	p->frame.entry = NULL; /* its end sees to itself */
	rc = hpx_load_conclude(&p->load, result, &b->error);
	if (rc == 0)
		p->object = p->load.object;
	p->load = (struct hpx_load){.call = &p->call, .cache = b->cache, .part = true};
	done(p, rc);
}

/* Publishes what is absent; loads and lands it. */
static void load_ours(hapax_bulk *b)
{
	int result;

	for (size_t i = 0; i < b->parts; i++) {
		struct part *p = &b->part[i];

		publish(b, p);
		if (p->fate != FATE_OURS)
			continue;
		b->round[b->asking] = p;
		b->asked[b->asking] = p->key;
		b->made[b->asking++] = NULL;
	}
	if (!b->asking)
		return;
	hpx_cache_drop_error(b->cache, &b->error);
	result = run(b);
	for (size_t i = 0; i < b->asking; i++) {
		void *made = b->made[i];

		b->made[i] = NULL;
		land(b, b->round[i], result, made ? hpx_object_of(made) : NULL);
	}
	for (struct part *p = b->added; p; p = p->next) {
		struct hpx_object *made = p->object;

		p->object = NULL;
		land(b, p, result, made);
	}
}

static void load_round(hapax_bulk *b)
{
	b->asking = 0;
	b->up = hpx_self.frames;
	b->frame = (struct hpx_frame){.up = b->up, .cache = b->cache};
	b->framed = true;
	hpx_self.frames = &b->frame;
	load_ours(b);
	pop_frames(b);
	b->asking = 0;
	free_added(b);
}

int hapax_bulk_add(hapax_bulk *bulk, hapax_key key, void *object)
{
	hapax_cache *c;
	struct part *p;
	uint64_t hash;
	size_t bytes;
	int rc;

	if (!bulk || !object)
		return HAPAX_ENULL;
	c = bulk->cache;
	rc = hpx_table_hash(c->table, &key, &hash);
	for (size_t i = 0; !rc && i < bulk->asking; i++) {
		p = bulk->round[i];
		if (p->call.hash != hash || bulk->made[i] || !same_key(c, &p->key, &key))
			continue;
		bulk->made[i] = object; /* one of those that were asked for */
		return 0;
	}
	bytes = sizeof(*p) + key.size;
	p = rc ? NULL : hpx_alloc(c->env, bytes, 16);
	if (!p) {
		hpx_cache_release(c, hpx_object_of(object));
		return rc ? rc : HAPAX_ENOMEM;
	}
	memset(p, 0, sizeof(*p));
	p->bytes = bytes;
	if (!c->keys.borrow && key.size) {
		memcpy(p + 1, key.data, key.size);
		key.data = p + 1;
	}
	begin_part(p, c, &key, hash);
	p->call.deadline = bulk->deadline;
	rc = hpx_load_publish(&p->load);
	if (rc) {
		hpx_free(c->env, p, bytes, 16);
		hpx_cache_release(c, hpx_object_of(object));
		return rc == HPX_FLIGHT_AGAIN ? 0 : rc; /* something is there already, or is being loaded: that stays */
	}
	p->object = hpx_object_of(object);
	p->load.begun = bulk->round[0]->load.begun;
	own(bulk, p);
	p->next = bulk->added;
	bulk->added = p;
	return 0;
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

/* Without a bulk loader: as a get of each would. */
static void load_singly(hapax_bulk *b, struct part *p)
{
	hapax_cache *c = b->cache;
	struct hpx_object *o = NULL;
	int rc;

	p->call.load = c->load;
	p->call.make = c->make;
	p->call.start = c->start;
	p->call.arg = c->arg;
	p->call.deadline = p->call.held = b->deadline;
	rc = hpx_cache_resolve(&p->call, &o);
	p->object = o;
	done(p, rc);
}

static void get_all(hapax_bulk *b)
{
	bool open;

	for (size_t i = 0; i < b->parts; i++) {
		if (b->cache->load_many)
			look(b, &b->part[i], false);
		else
			load_singly(b, &b->part[i]);
	}
	do {
		open = false;
		load_round(b);
		for (size_t i = 0; i < b->parts; i++) {
			if (b->part[i].fate == FATE_OPEN)
				look(b, &b->part[i], true);
			open |= b->part[i].fate == FATE_ABSENT;
		}
	} while (open);
}

/* Every place gets a reference and a status of its own. */
static void hand_out(hapax_bulk *b, void **objects, int *statuses)
{
	for (size_t i = 0; i < b->n; i++) {
		struct place *p = &b->place[i], *first = &b->place[p->first];
		struct hpx_object *o = first->part ? first->part->object : first->object;

		if (o && (first->part || first != p))
			hpx_take_more(o, 1);
		objects[i] = o ? hpx_payload(o) : NULL;
		if (statuses)
			statuses[i] = first->part ? first->part->status : p->status;
	}
	b->handed_out = true;
}

int hapax_cache_get_many(hapax_cache *cache, const hapax_key *keys, size_t n, void **objects, int *statuses,
			 const hapax_get_options *options)
{
	__attribute__((cleanup(bulk_end))) hapax_bulk b = {.cache = cache, .keys = keys, .n = n, .deadline = HAPAX_FOREVER};
	struct place few[FEW];
	int rc;

	if (!cache || (n && (!keys || !objects)))
		return HAPAX_ENULL;
	for (size_t i = 0; i < n; i++) {
		objects[i] = NULL;
		if (statuses)
			statuses[i] = HAPAX_MISS;
	}
	if (options) {
		if (options->size != sizeof(*options))
			return HAPAX_EOPTSIZE;
		if (options->flags)
			return HAPAX_EFLAGS;
		if (options->refuse || options->load || options->make)
			return HAPAX_EOPTION;
		b.deadline = options->deadline;
		if (options->error)
			*options->error = (hapax_load_error){.code = 0};
	}
	rc = hpx_cache_stay(&b.stay, cache, HPX_CACHE_OPEN);
	if (rc || !n)
		return rc;
	rc = make_places(&b, few);
	if (rc)
		return rc;
	hit_all(&b);
	rc = make_parts(&b);
	if (rc)
		return rc;
	if (b.parts)
		get_all(&b);
	hand_out(&b, objects, statuses);
	for (size_t i = 0; i < n; i++)
		HPX_TAKEN(objects[i]);
	if (options && options->error) {
		*options->error = b.error;
		b.error = (hapax_load_error){.code = 0};
	}
	return 0;
}
