/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/install.c - installing an object over exactly one present entry. install.h has the contract, table/over.c tells
 * why the key does not read absent and nothing stale is installed.
 *
 *      ask user code -> record, PENDING -> put over -> supersede --true--> old leaves the tier and is told of
 *                                                          |               -> the new one is retained
 *                                                          '--false------> the record is thrown away, as if never made
 */
#include "cache/install.h"

#include "cache/reload.h"
#include "cache/tier.h"

int hpx_cache_check_object(hapax_cache *c, struct hpx_object *o)
{
	struct hpx_class *class = hpx_class_of(o);

	if (class->env != c->env)
		return HAPAX_EFOREIGN;
	if (c->type && class->type != c->type)
		return HAPAX_ETYPE;
	return class->type->flags & HAPAX_TYPE_NOT_WEAK ? HAPAX_ENOTWEAK : 0;
}

bool hpx_over_find(hapax_cache *c, uint64_t hash, const hapax_key *key, struct hpx_over *over)
{
	*over = (struct hpx_over){.entry = NULL};
	for (;;) {
		void *e = NULL;
		struct hpx_object *o = hpx_cache_find(c, hash, key, HPX_CLEAR_REPLACED, &e);
		bool pinned = o && (!c->tier || hpx_node_pin(hpx_node_of(c, e)));

		hpx_read_unlock();
		if (pinned)
			*over = (struct hpx_over){.entry = e, .object = o};
		if (pinned || !o)
			return pinned;
		hpx_cache_release(c, o);
	}
}

void hpx_over_drop(hapax_cache *c, struct hpx_over *over)
{
	struct hpx_over had = *over;

	*over = (struct hpx_over){.entry = NULL};
	if (!had.entry)
		return;
	if (c->tier)
		hpx_node_unpin(hpx_node_of(c, had.entry));
	hpx_cache_release(c, had.object);
}

/* ---- the same object --------------------------------------------------------------------------------------------- */

/* Is the entry still there? In an unmanaged cache looked up: the same object under the key is all there is to it. */
static bool still_present(hapax_cache *c, const hapax_key *key, uint64_t hash, const struct hpx_over *over)
{
	struct hpx_object *o;
	void *e;

	if (c->tier)
		/* order: -> TABLE.GONE acquire */
		return !(hpx_load_acquire(hpx_word(over->entry)) & HPX_W_GONE);
	hpx_read_lock();
	o = hpx_table_lookup(c->table, hash, key, &e);
	hpx_read_unlock();
	if (o)
		hpx_cache_release(c, o);
	return o == over->object;
}

static int rewrite(hapax_cache *c, const hapax_key *key, uint64_t hash, const struct hpx_over *over, struct hpx_terms *terms)
{
	if (!still_present(c, key, hash, over))
		return HAPAX_MISS;
	if (c->tier) {
		hpx_node_written(hpx_node_of(c, over->entry));
		if (!hpx_node_rewritten(c, hpx_node_of(c, over->entry), over->object, terms))
			return HAPAX_MISS;
	}
	return 0;
}

/* ---- another one ------------------------------------------------------------------------------------------------- */

struct installing {
	hapax_cache *cache;
	const struct hpx_over *over;
	struct hpx_record *record;
	bool reload;    /* by a reload of the entry, which has REFRESHING */
	bool displaced; /* the entry to put over, for a replacer that had been stopped */
};

/* The old entry has GONE by an operation of ours, in this section: it is ours to account for. */
static void account_old(hapax_cache *c, void *e)
{
	/* order: TABLE.PUBLISH relaxed; the bit never changes */
	hpx_cache_claimed(c, e, hpx_load_relaxed(hpx_word(e)) & HPX_W_RECORD);
}

/* In a section. Only what is to be put over can be displaced: something newer was there beside it. */
static void displaced(void *e, uint64_t word, void *ctx)
{
	struct installing *i = ctx;

	(void)word;
	account_old(i->cache, e);
	i->displaced = true;
}

static int make_record(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_object *o, struct hpx_terms *terms,
		       struct hpx_record **record)
{
	int rc = hpx_admit(c->env, HAPAX_FOREVER);

	if (!rc)
		rc = hpx_record_new(c->table, key, hash, HPX_W_PENDING, o, record);
	if (!rc && c->tier) {
		hpx_node_init(c, *record, hash, 1);
		hpx_node_terms(c, hpx_node_of(c, *record), terms);
	}
	return rc;
}

/* For the cause of what a reload of the old entry makes. */
static void fence_reload(struct hpx_node *n)
{
	/* order: NODE.FLAGS relaxed; GONE, which follows, is the edge */
	if (hpx_load_relaxed(&n->flags) & HPX_NODE_REFRESHING)
		hpx_or_relaxed(&n->flags, HPX_NODE_BY_PUT);
}

/* In a section. True: the record is in, the old entry accounted for. */
static bool publish(struct installing *i, const hapax_key *key, uint64_t hash, struct hpx_object **found, int *rc)
{
	hapax_cache *c = i->cache;
	void *e = i->over->entry;
	enum hpx_put_result result;

	*found = i->over->object;
	result = hpx_table_put(c->table, hash, key, i->record, HPX_PUT_OVER, found, &e, displaced, i);
	*rc = result == HPX_PUT_NOMEM ? HAPAX_ENOMEM : HAPAX_MISS;
	if (result == HPX_PUT_BLOCKED)
		*found = NULL;
	if (result != HPX_PUT_DONE) {
		/* order: ENTRY.GONE relaxed; nobody else changes the word of an entry that was never put */
		hpx_or_relaxed(hpx_word(i->record), HPX_W_GONE);
		return false;
	}
	if (c->tier && !i->reload)
		fence_reload(hpx_node_of(c, i->over->entry));
	if (!hpx_table_supersede(c->table, i->over->entry, i->record))
		return false;
	hpx_cache_count(c, HPX_CACHE_IN, 1);
	account_old(c, i->over->entry);
	return true;
}

static int replace(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_object *o, const struct hpx_over *over,
		   struct hpx_terms *terms)
{
	struct installing i = {.cache = c, .over = over, .reload = terms->reload};
	struct hpx_object *found = NULL;
	int rc = make_record(c, key, hash, o, terms, &i.record);
	bool in;

	if (rc)
		return rc;
	if (c->tier) /* what came of a value goes with it, if a clear that has begun is to remove that */
		hpx_node_of(c, i.record)->era = hpx_node_of(c, over->entry)->era;
	hpx_read_lock();
	in = publish(&i, key, hash, &found, &rc);
	hpx_read_unlock();
	if (!in)
		hpx_record_discard(i.record);
	else if (c->tier)
		hpx_tier_replace(c, hpx_node_of(c, over->entry), hpx_node_of(c, i.record), o);
	if (in || i.displaced)
		hpx_cache_left(c, over->entry, over->object, HAPAX_CAUSE_REPLACED);
	if (found)
		hpx_cache_release(c, found);
	if (!in)
		return rc;
	if (c->tier) {
		struct hpx_node *n = hpx_node_of(c, i.record);

		hpx_node_installed(c, n, o, terms);
		hpx_node_unpin(n);
	}
	return 0;
}

int hpx_install_over_with(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_object *o,
			  const struct hpx_over *over, struct hpx_terms *terms)
{
	if (hpx_cache_state(c) != HPX_CACHE_OPEN)
		return HAPAX_ECLOSED;
	if (!c->tier)
		hpx_reload_written(c, key, hash, o);
	return o == over->object ? rewrite(c, key, hash, over, terms) : replace(c, key, hash, o, over, terms);
}

int hpx_install_over(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_object *o,
		     const struct hpx_over *over, uint32_t load_us)
{
	struct hpx_terms terms;
	int rc = hpx_terms_get(c, key, o, c->tier ? hpx_node_of(c, over->entry) : NULL, NULL, &terms);

	terms.load_us = load_us;
	if (!rc)
		rc = hpx_install_over_with(c, key, hash, o, over, &terms);
	hpx_terms_drop(c, &terms);
	return rc;
}
