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
 * Each key's load is one of load.c's; the call of the loader counts as one load, whatever it makes. A key that the loader
 * adds is published when it is added, so that what is put or removed from then on fences it.
 */
#include "cache/load.h"
#include "cache/refresh.h"

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
	size_t at, first;  /* of its key */
	struct part *part; /* NULL: the key has an error */
	int status;
};

struct hapax_bulk {
	hapax_cache *cache;
	struct hpx_stay stay;
	const hapax_key *keys;
	size_t n, parts;
	uint64_t deadline;
	void *memory;
	size_t bytes;
	struct place *place;
	struct part *part;
	hapax_key *asked;    /* of one round, for the loader */
	void **made;
	struct part **round;
	size_t asking;
	struct part *added;
	bool running;
	bool framed;             /* from the first publication of a round to its last landing */
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
	for (size_t i = 0; i < b->parts; i++) {
		if (b->part[i].object)
			hpx_cache_release(b->cache, b->part[i].object);
		hpx_call_end(&b->part[i].call);
	}
	hpx_cache_drop_error(b->cache, &b->error);
	if (b->memory)
		hpx_free(b->cache->env, b->memory, b->bytes, 16);
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

static int by_hash(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static void begin_part(struct part *p, hapax_cache *c, const hapax_key *key, uint64_t hash)
{
	p->key = *key;
	p->call = (struct hpx_call){.cache = c, .key = &p->key, .hash = hash, .held = HAPAX_NO_WAIT};
	p->load = (struct hpx_load){.call = &p->call, .cache = c, .part = true};
}

/* The places are in the order of their hashes, equal ones in that of the request: where each key comes first. */
static void find_first(hapax_bulk *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct place *p = &b->place[i];

		p->first = p->at;
		for (size_t k = i; !p->status && k-- > 0 && b->place[k].hash == p->hash;) {
			if (!b->place[k].status && same_key(b->cache, &b->keys[b->place[k].at], &b->keys[p->at])) {
				p->first = b->place[k].first;
				break;
			}
		}
	}
}

/* The places are in the order of the request, and so will the keys be that the loader gets. */
static void make_parts(hapax_bulk *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct place *p = &b->place[i];

		if (p->status)
			continue;
		p->part = b->place[p->first].part;
		if (p->part)
			continue;
		p->part = &b->part[b->parts++];
		begin_part(p->part, b->cache, &b->keys[i], p->hash);
	}
}

static int prepare(hapax_bulk *b)
{
	const size_t each = sizeof(struct part) + sizeof(struct place) + sizeof(hapax_key) + sizeof(void *) +
			    sizeof(struct part *);
	char *at;

	if (b->n > (SIZE_MAX / 2) / each)
		return HAPAX_ENOMEM;
	b->bytes = b->n * each;
	at = b->memory = hpx_alloc(b->cache->env, b->bytes, 16);
	if (!at)
		return HAPAX_ENOMEM;
	memset(at, 0, b->bytes);
	b->part = (struct part *)(void *)at;
	at += b->n * sizeof(struct part);
	b->place = (struct place *)(void *)at;
	at += b->n * sizeof(struct place);
	b->asked = (hapax_key *)(void *)at;
	at += b->n * sizeof(hapax_key);
	b->made = (void **)(void *)at;
	at += b->n * sizeof(void *);
	b->round = (struct part **)(void *)at;
	for (size_t i = 0; i < b->n; i++) {
		b->place[i].at = i;
		b->place[i].status = hpx_table_hash(b->cache->table, &b->keys[i], &b->place[i].hash);
	}
	qsort(b->place, b->n, sizeof(*b->place), by_hash);
	find_first(b);
	qsort(b->place, b->n, sizeof(*b->place), by_place);
	make_parts(b);
	return 0;
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
	b->running = true;
	result = c->load_many(b->asked, b->asking, b->made, b, c->arg, &b->error);
	b->running = false;
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
		struct place *p = &b->place[i];

		if (p->part && p->part->object) {
			hpx_take_more(p->part->object, 1);
			objects[i] = hpx_payload(p->part->object);
		}
		if (statuses)
			statuses[i] = p->part ? p->part->status : p->status;
	}
}

int hapax_cache_get_many(hapax_cache *cache, const hapax_key *keys, size_t n, void **objects, int *statuses,
			 const hapax_get_options *options)
{
	__attribute__((cleanup(bulk_end))) hapax_bulk b = {.cache = cache, .keys = keys, .n = n, .deadline = HAPAX_FOREVER};
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
	rc = prepare(&b);
	if (rc)
		return rc;
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
