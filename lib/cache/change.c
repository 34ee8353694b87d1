/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/change.c - put, remove, pop, clear, and the accounting of what leaves the cache.
 *
 * Every entry that was installed leaves once: whoever sets GONE in its word accounts for it. A load that is met on the
 * way is fenced by the same bit, and is its loader's to finish.
 */
#include "base/probe.h"
#include "cache/install.h"
#include "cache/reload.h"
#include "cache/tier.h"

/* ---- leaving ----------------------------------------------------------------------------------------------------- */

uint64_t hpx_cache_claim(hapax_cache *c, void *e)
{
	if (c->exclusive)
		/* order: ENTRY.GONE acq_rel; against commit: either it sees GONE, or we see no LOADING */
		return hpx_or_acq_rel(hpx_word(e), HPX_W_GONE);
	return hpx_table_claim(c->table, e);
}

bool hpx_cache_claimed(hapax_cache *c, void *e, uint64_t before)
{
	uint32_t flags = 0;

	if (before & (HPX_W_GONE | HPX_W_LOADING))
		return false;
	if (c->tier)
		/* order: NODE.FLAGS acq_rel; LEFT: for its death, which comes after the caller's release (leave.c) */
		flags = hpx_or_acq_rel(&hpx_node_of(c, e)->flags, HPX_NODE_LEFT);
	if (!(flags & HPX_NODE_NEGATIVE))
		hpx_cache_count(c, HPX_CACHE_OUT, 1);
	if (c->tier)
		hpx_room_out(c, hpx_node_of(c, e));
	if (!c->tier && (before & HPX_W_RECORD) && !c->exclusive)
		hpx_record_finish(e);
	return true;
}

static inline void count_collected(hapax_cache *c, const void *e)
{
	(void)e;
	hpx_cache_count(c, HPX_CACHE_COLLECTIONS, 1);
	HPX_PROBE3(removed, HPX_PROBE_TEXT(c->name), e, (int)HAPAX_CAUSE_COLLECTED);
}

/* Of a class: the object that is its own entry has died. */
void hpx_cache_unlink(void *owner, struct hpx_object *o)
{
	hapax_cache *c = owner;

	if (HPX_LIKELY(c->straight)) {
		if (hpx_table_claim(c->table, o) & (HPX_W_GONE | HPX_W_LOADING))
			return;
		hpx_cache_count(c, HPX_CACHE_OUT, 1);
		count_collected(c, o);
	} else if (c->tier)
		hpx_leave_dead(c, o, hpx_cache_claim(c, o));
	else if (hpx_cache_claimed(c, o, hpx_cache_claim(c, o)))
		count_collected(c, o);
}

/* Of the table: the object behind a record has died. */
void hpx_cache_collected(void *cache, struct hpx_record *r, uint64_t before)
{
	hapax_cache *c = cache;

	if (c->tier)
		hpx_leave_dead(c, r, before);
	else if (hpx_cache_claimed(c, r, before))
		count_collected(c, r);
}

/*
 * In a section: a put has set GONE in a record whose object has died, on another thread, and whose death accounts for it and
 * tells, with the object in hand. It gets a call, so that the cache is there until then; unless it has come meanwhile.
 */
static void owe_death(hapax_cache *c, void *e)
{
	if (!hpx_entry_is_record(e) || c->exclusive || hpx_cache_enter(c, HPX_CACHE_ENDING))
		return; /* the object's own entry finds the cache through its class; watches see to exclusive ones */
	/* order: NODE.FLAGS acq_rel; against LEFT: one of the two gives the call back */
	if (hpx_or_acq_rel(&hpx_node_of(c, e)->flags, HPX_NODE_OWED) & HPX_NODE_LEFT)
		hpx_cache_leave(c); /* never the last: the put is in it */
}

/* Of the table: a put has met a record whose object has died. */
void hpx_cache_met_dead(void *cache, struct hpx_record *r)
{
	hapax_cache *c = cache;
	/* order: ENTRY.GONE acq_rel; against its death: one of the two accounts for it */
	uint64_t before = hpx_or_acq_rel(hpx_word(r), HPX_W_GONE);

	if (!c->tier)
		hpx_cache_collected(c, r, before);
	else if (!(before & HPX_W_GONE))
		owe_death(c, r);
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

struct removal {
	hapax_cache *cache;
	const hapax_key *key;
	uint64_t hash;
	const void *only; /* NULL: whatever is there */
	void *e;          /* what was taken out */
};

/* In a section: `e`, which was LOADING, is fenced; if it was committed meanwhile it was present, and is removed. */
static int fence(hapax_cache *c, void *e, struct hpx_object **out)
{
	uint64_t before = hpx_cache_claim(c, e);
	struct hpx_object *o;

	if (before & HPX_W_LOADING)
		return HAPAX_MISS;
	if (before & HPX_W_GONE)
		return HPX_FLIGHT_AGAIN;
	o = hpx_entry_object(e, before);
	if (!hpx_take(o)) {
		/* a managed cache's entry is accounted for by the death, which has not been told that anybody did */
		if (!c->tier && hpx_cache_claimed(c, e, before))
			count_collected(c, e);
		return HAPAX_MISS;
	}
	hpx_cache_claimed(c, e, before);
	*out = o;
	return 0;
}

/* One try. 0 with the removed object; HAPAX_MISS; HPX_FLIGHT_AGAIN: somebody else took it, look again. */
static int try_remove(struct removal *r, struct hpx_object **out)
{
	hapax_cache *c = r->cache;
	struct hpx_object *o;
	int rc = HAPAX_MISS;
	void *e = NULL;
	uint64_t word;

	o = hpx_cache_find(c, r->hash, r->key, r->only ? HPX_CLEAR_NONE : HPX_CLEAR_REMOVED, &e);
	if (o && (!r->only || hpx_payload(o) == r->only)) {
		HPX_STOP("remove.chosen");
		rc = hpx_cache_claimed(c, e, hpx_cache_claim(c, e)) ? 0 : HPX_FLIGHT_AGAIN;
	} else if (!o && e && !r->only) {
		/* order: -> TABLE.PUBLISH acquire */
		word = hpx_load_acquire(hpx_word(e));
		if ((word & (HPX_W_LOADING | HPX_W_GONE)) == HPX_W_LOADING)
			rc = fence(c, e, &o);
		else if (!(word & HPX_W_GONE) && !hpx_dead(hpx_entry_object(e, word)))
			rc = HPX_FLIGHT_AGAIN; /* committed since the lookup */
	}
	hpx_read_unlock();
	r->e = e;
	if (rc == 0)
		*out = o;
	else if (o)
		hpx_cache_release(c, o);
	return rc;
}

static int take_out(hapax_cache *cache, const hapax_key *key, const void *only, struct hpx_object **out)
{
	struct removal r = {.cache = cache, .key = key, .only = only};
	HPX_CACHE_STAY stay = {.cache = NULL};
	int rc;

	rc = hpx_table_hash(cache->table, key, &r.hash);
	if (rc)
		return rc;
	if (hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED) ||
	    hpx_compute_inside(&cache->computes, &cache->keys, r.hash, key))
		return HAPAX_MISS;
	do
		rc = try_remove(&r, out);
	while (rc == HPX_FLIGHT_AGAIN);
	if (rc == 0)
		hpx_cache_left(cache, r.e, *out, HAPAX_CAUSE_EXPLICIT);
	return rc;
}

/* Removes and gives back the reference that looking took. */
static int remove_entry(hapax_cache *cache, const hapax_key *key, const void *only)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_object *o = NULL;
	int rc;

	if (hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED))
		return HAPAX_MISS;
	rc = take_out(cache, key, only, &o);
	if (o)
		hpx_cache_release(cache, o);
	return rc;
}

int hapax_cache_remove(hapax_cache *cache, hapax_key key)
{
	return cache ? remove_entry(cache, &key, NULL) : HAPAX_ENULL;
}

int hapax_cache_remove_if(hapax_cache *cache, hapax_key key, const void *object)
{
	return cache && object ? remove_entry(cache, &key, object) : HAPAX_ENULL;
}

int hapax_cache_pop(hapax_cache *cache, hapax_key key, void **out)
{
	struct hpx_object *o = NULL;
	int rc;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!cache)
		return HAPAX_ENULL;
	rc = take_out(cache, &key, NULL, &o);
	if (o)
		*out = hpx_payload(o);
	return HPX_TAKEN_OUT(rc, out);
}

/*
 * In a section: 0: it was taken out. A load is fenced; when it has just been committed its object is taken now.
 * HPX_FLIGHT_AGAIN: another one was put over exactly this one before it could be claimed. That needed it to be there, so it
 * came before the clear, and what came of it goes as well: it stands in the same place of the order.
 */
static int clear_one(hapax_cache *c, void *e, uint32_t era, struct hpx_object **o)
{
	uint64_t before;
	int rc;

	if (c->tier && !hpx_era_before(hpx_node_of(c, e), era))
		return HAPAX_MISS; /* put during the clear, by a listener perhaps */
	if (*o) {
		before = hpx_cache_claim(c, e);
		rc = hpx_cache_claimed(c, e, before) ? 0 : HPX_FLIGHT_AGAIN;
	} else {
		rc = fence(c, e, o);
	}
	/* order: TABLE.GONE relaxed; who was first is decided, this says who it was */
	return rc == HPX_FLIGHT_AGAIN && !hpx_word_replaced(hpx_load_relaxed(hpx_word(e))) ? HAPAX_MISS : rc;
}

/* In a section: an entry of another room than the one that is cleared. */
static bool elsewhere(hapax_cache *c, void *e, const struct hpx_room *only)
{
	return only && hpx_roomed_of(hpx_node_of(c, e))->room != only;
}

void hpx_cache_clear(hapax_cache *cache, const struct hpx_room *only)
{
	struct hpx_cursor cursor = {0, 0}, at;
	struct hpx_object *o;
	uint32_t era = 0;
	int rc = HAPAX_MISS;
	void *e;

	if (cache->tier)
		era = hpx_era_begin(cache->tier);
	do {
		o = NULL;
		at = cursor;
		hpx_read_lock();
		e = hpx_table_next(cache->table, &cursor, true, &o);
		if (e)
			rc = elsewhere(cache, e, only) ? HAPAX_MISS : clear_one(cache, e, era, &o);
		hpx_read_unlock();
		if (e && rc == HPX_FLIGHT_AGAIN)
			cursor = at;
		if (e && rc == 0)
			hpx_cache_left(cache, e, o, HAPAX_CAUSE_EXPLICIT);
		if (o)
			hpx_cache_release(cache, o);
	} while (e);
}

void hapax_cache_clear(hapax_cache *cache)
{
	HPX_CACHE_STAY stay = {.cache = NULL};

	if (cache && !hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED))
		hpx_cache_clear(cache, NULL);
}

/* ---- putting ----------------------------------------------------------------------------------------------------- */

struct putting {
	hapax_cache *cache;
	const hapax_key *key;
	uint64_t hash;
	struct hpx_object *object;
	const hapax_put_options *given; /* NULL: nothing of its own */
	struct hpx_record *record;
	void *watch;
	struct hpx_terms terms;
	unsigned replaced;      /* unmanaged */
	struct hpx_note *gone;  /* managed: nodes that were displaced, pinned by the table's pin, the object held */
};

/* In the put's section: an entry was displaced, and GONE set in it by us. */
static void displaced(void *e, uint64_t word, void *ctx)
{
	struct putting *p = ctx;
	hapax_cache *c = p->cache;
	struct hpx_object *o;
	struct hpx_node *n;

	if (word & HPX_W_LOADING)
		return; /* fenced: its loader finishes it */
	if (!c->tier) {
		p->replaced++;
		if (word & HPX_W_RECORD)
			hpx_record_finish(e);
		return;
	}
	o = hpx_entry_object(e, word);
	if (!hpx_take(o)) {
		owe_death(c, e);
		return;
	}
	n = hpx_node_of(c, e);
	if (hpx_cache_claimed(c, e, word)) {
		/* its death will find LEFT and have no use for the note; `link` may be in the arrivals still */
		n->note.next = p->gone;
		p->gone = &n->note;
	}
}

/* Those that were displaced leave. Outside sections. */
static void say_goodbye(struct putting *p)
{
	hapax_cache *c = p->cache;
	struct hpx_object *o;
	struct hpx_node *n;

	while (p->gone) {
		n = HPX_CONTAINER_OF(p->gone, struct hpx_node, note);
		p->gone = n->note.next;
		o = hpx_node_object(n);
		hpx_cache_left(c, n->entry, o, HAPAX_CAUSE_REPLACED);
		hpx_cache_release(c, o);
	}
	hpx_cache_count(c, HPX_CACHE_OUT, p->replaced);
	hpx_cache_count(c, HPX_CACHE_REPLACEMENTS, p->replaced);
	p->replaced = 0;
}

static int prepare(struct putting *p)
{
	hapax_cache *c = p->cache;
	int rc = hpx_admit(c->env, HAPAX_FOREVER);

	p->watch = NULL;
	if (!rc)
		rc = hpx_record_new(c->table, p->key, p->hash, 0, p->object, &p->record);
	if (!rc && c->exclusive) {
		rc = hpx_exclusive_watch(c, p->record, p->object, &p->watch);
		if (rc)
			hpx_record_discard(p->record);
	}
	if (!rc && c->tier) {
		hpx_node_init(c, p->record, p->hash, 1);
		hpx_node_terms(c, hpx_node_of(c, p->record), &p->terms);
	}
	return rc;
}

/* What user code and memory have to say, before anything is changed; again if what was found has changed meanwhile. */
static int ask(struct putting *p, struct hpx_node *old)
{
	return hpx_terms_get(p->cache, p->key, p->object, old, p->given, &p->terms);
}

/* The record is in. */
static void installed(struct putting *p)
{
	hapax_cache *c = p->cache;
	struct hpx_node *n;

	hpx_cache_count(c, HPX_CACHE_PUTS, 1);
	n = c->tier ? hpx_node_of(c, p->record) : NULL;
	if (n && p->gone)
		hpx_tier_replace(c, HPX_CONTAINER_OF(p->gone, struct hpx_node, note), n, p->object);
	say_goodbye(p);
	if (!c->tier)
		return;
	hpx_node_installed(c, n, p->object, &p->terms);
	hpx_node_unpin(n);
}

/* The record was not put: readers may have come across it, so it goes after a grace period. */
static void take_back(struct putting *p)
{
	if (p->watch)
		hpx_exclusive_unwatch(p->watch);
	/* order: ENTRY.GONE relaxed; nobody else changes the word of an entry that was never put */
	hpx_or_relaxed(hpx_word(p->record), HPX_W_GONE);
	hpx_record_discard(p->record);
}

/* In a section, which it leaves: an exclusive cache's key is taken by `e`. */
static int blocked(hapax_cache *c, void *e, uint32_t seen)
{
	/* order: -> TABLE.PUBLISH acquire */
	if (hpx_load_acquire(hpx_word(e)) & HPX_W_LOADING) {
		hpx_read_unlock();
		return HAPAX_EBUSY;
	}
	return hpx_exclusive_wait(c, e, seen, HAPAX_FOREVER, HAPAX_NO_WAIT);
}

/* Puts the record. HAPAX_MISS: something live was there instead (*found). HPX_FLIGHT_AGAIN: try again. */
static int install(struct putting *p, enum hpx_put_mode mode, struct hpx_object **found)
{
	hapax_cache *c = p->cache;
	uint32_t seen = c->exclusive ? hpx_event_value(&c->event) : 0;
	enum hpx_put_result result;
	void *other = NULL;
	int rc;

	rc = prepare(p);
	if (rc)
		return rc;
	if (c->exclusive)
		mode = HPX_PUT_LOAD;
	else if (!c->tier)
		hpx_reload_written(c, p->key, p->hash, p->object);
	hpx_read_lock();
	result = hpx_table_put(c->table, p->hash, p->key, p->record, mode, found, &other, displaced, p);
	if (result == HPX_PUT_DONE)
		hpx_cache_count(c, HPX_CACHE_IN, 1);
	if (result == HPX_PUT_BLOCKED || result == HPX_PUT_LOADING) {
		rc = blocked(c, other, seen);
		take_back(p);
		return rc;
	}
	hpx_read_unlock();
	if (result != HPX_PUT_DONE) {
		take_back(p);
		say_goodbye(p); /* loads may have been fenced, and what an exclusive cache displaced */
		return result == HPX_PUT_NOMEM ? HAPAX_ENOMEM : HAPAX_MISS;
	}
	installed(p);
	return 0;
}

/* What is present, held; in a managed cache *n is its node, pinned, if it is still there. */
static struct hpx_object *present(struct putting *p, struct hpx_node **n)
{
	hapax_cache *c = p->cache;
	struct hpx_object *o;
	void *e = NULL;

	*n = NULL;
	o = hpx_cache_find(c, p->hash, p->key, HPX_CLEAR_REPLACED, &e);
	if (o && c->tier && hpx_node_pin(hpx_node_of(c, e)))
		*n = hpx_node_of(c, e);
	hpx_read_unlock();
	return o;
}

/* The same object again: a write, nothing else. */
static int rewrite(struct putting *p, struct hpx_node *n)
{
	int rc = 0;

	if (!p->cache->tier)
		hpx_reload_written(p->cache, p->key, p->hash, p->object);
	if (!n)
		return p->cache->tier ? HPX_FLIGHT_AGAIN : 0;
	rc = ask(p, n);
	if (!rc) {
		hpx_node_written(n);
		if (!hpx_node_rewritten(p->cache, n, p->object, &p->terms))
			rc = HPX_FLIGHT_AGAIN;
	}
	hpx_terms_drop(p->cache, &p->terms);
	return rc;
}

static int begin(struct putting *p, struct hpx_stay *stay)
{
	int rc = hpx_cache_stay(stay, p->cache, HPX_CACHE_OPEN);

	if (!rc)
		rc = hpx_table_hash(p->cache->table, p->key, &p->hash);
	if (!rc && hpx_compute_inside(&p->cache->computes, &p->cache->keys, p->hash, p->key))
		rc = HAPAX_EDEADLK;
	return rc ? rc : hpx_cache_check_object(p->cache, p->object);
}

/* What a put found: the object held, its node pinned if there is one; given up also if user code leaves the thread. */
struct there {
	hapax_cache *cache;
	struct hpx_object *object;
	struct hpx_node *node;
};

static void there_end(struct there *there)
{
	struct there had = *there;

	there->node = NULL;
	there->object = NULL;
	if (had.node)
		hpx_node_unpin(had.node);
	if (had.object)
		hpx_cache_release(had.cache, had.object);
}

static int put(struct putting *p)
{
	hapax_cache *c = p->cache;
	int rc;

	do {
		__attribute__((cleanup(there_end))) struct there there = {.cache = c};

		there.object = present(p, &there.node);
		rc = HAPAX_MISS;
		if (there.object == p->object) {
			rc = rewrite(p, there.node);
		} else if (!(there.object && c->exclusive)) {
			rc = ask(p, there.node);
			there_end(&there);
			if (!rc)
				rc = install(p, HPX_PUT_REPLACE, &there.object);
			hpx_terms_drop(c, &p->terms);
			if (rc == HAPAX_MISS && there.object == p->object) /* taken meanwhile, by the same object */
				rc = HPX_FLIGHT_AGAIN;
		}
		if (rc == HAPAX_MISS)
			rc = HAPAX_EBUSY;
	} while (rc == HPX_FLIGHT_AGAIN);
	return rc;
}

int hapax_cache_put_with(hapax_cache *cache, hapax_key key, void *object, const hapax_put_options *options)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct putting p;
	int rc;

	if (!cache || !object)
		return HAPAX_ENULL;
	if (options && options->size != sizeof(*options))
		return HAPAX_EOPTSIZE;
	if (options && options->flags)
		return HAPAX_EFLAGS;
	if (options && ((options->ttl_ns < 0 && options->ttl_ns != HAPAX_ZERO) ||
			(options->weight < 0 && options->weight != HAPAX_ZERO)))
		return HAPAX_EOPTION;
	if (options && ((options->ttl_ns && !(cache->tier && cache->tier->timers)) ||
			(options->weight && !(cache->tier && cache->tier->weighted))))
		return HAPAX_EOPTION;
	p = (struct putting){.cache = cache, .key = &key, .object = hpx_object_of(object), .given = options};
	rc = begin(&p, &stay);
	return rc ? rc : put(&p);
}

int hapax_cache_put(hapax_cache *cache, hapax_key key, void *object)
{
	return hapax_cache_put_with(cache, key, object, NULL);
}

int hapax_cache_get_or_put(hapax_cache *cache, hapax_key key, void *object, void **out, bool *inserted)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	__attribute__((cleanup(there_end))) struct there there = {.cache = cache};
	struct putting p;
	int rc;

	if (out)
		*out = NULL;
	if (inserted)
		*inserted = false;
	if (!cache || !object || !out)
		return HAPAX_ENULL;
	p = (struct putting){.cache = cache, .key = &key, .object = hpx_object_of(object)};
	rc = begin(&p, &stay);
	if (rc)
		return rc;
	do {
		there_end(&there);
		there.object = present(&p, &there.node);
		if (there.node)
			hpx_node_used(cache, there.node, there.object);
		rc = HAPAX_MISS;
		if (!there.object) {
			rc = ask(&p, NULL);
			if (!rc)
				rc = install(&p, HPX_PUT_ABSENT, &there.object);
			hpx_terms_drop(cache, &p.terms);
		}
	} while (rc == HPX_FLIGHT_AGAIN);
	if (rc == 0) {
		hpx_take_more(p.object, 1);
		*out = object;
		if (inserted)
			*inserted = true;
	} else if (there.object) {
		*out = hpx_payload(there.object);
		there.object = NULL; /* the caller's */
		rc = 0;
	}
	return HPX_TAKEN_OUT(rc, out);
}
