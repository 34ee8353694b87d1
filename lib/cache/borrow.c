/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/borrow.c - reading an object without counting: inside a read section, that the borrow enters.
 *
 * The section keeps the memory; what keeps the contents is the type (HAPAX_TYPE_BORROW): its blocks are linked elsewhere than
 * in the payload while they wait for their grace period, and its destructors wait for one (death.c). So a borrower may see
 * the object of an entry that has just left, never half of one.
 */
#include "cache/tier.h"
#include "table/lookup.h"

/* In a section: not a plain hit of a managed cache. Exact policies, which have to be told under a lock, do not hear of borrows. */
static bool usable(hapax_cache *c, void *e, struct hpx_object *o, size_t key_size)
{
	bool record = false; /* a later get lets the policy know */

	if (HPX_UNLIKELY(c->tier->asked))
		return !hpx_node_hidden(c, hpx_node_at(c, e, key_size), o);
	return hpx_tier_hit(c, e, key_size, &record);
}

/* In a section: the entry is not where most are, or its object has just died. */
__attribute__((noinline, cold)) static struct hpx_object *look_far(hapax_cache *c, const hapax_key *key, uint64_t hash, void **e)
{
	struct hpx_object *o = hpx_table_lookup(c->table, hash, key, e);

	if (o)
		hpx_release(o); /* were it the last one, the death waits for the end of the borrow */
	return o;
}

/* An object whose type the cache does not say. */
__attribute__((noinline, cold)) static bool may_borrow(struct hpx_object *o)
{
	return hpx_class_of(o)->type->flags & HAPAX_TYPE_BORROW;
}

/* This thread's first hit here: makes its place among the counters, which a section does not allow. */
__attribute__((noinline, cold)) static void first_hit(hapax_cache *c)
{
	HPX_CACHE_STAY stay;

	if (!hpx_in_section() && !hpx_cache_stay(&stay, c, HPX_CACHE_OPEN))
		hpx_counters_prepare(&c->counters);
}

/* Whatever is not the plain borrow below. */
__attribute__((noinline)) static int borrow_any(hapax_cache *c, hapax_key key, const void **out)
{
	struct hpx_object *o = NULL;
	int rc = HAPAX_MISS;
	bool far = false;
	uint64_t hash;
	void *e;

	if (HPX_UNLIKELY(!out))
		return HAPAX_ENULL;
	*out = NULL;
	if (HPX_UNLIKELY(!c))
		return HAPAX_ENULL;
	if (HPX_UNLIKELY(!c->borrows && c->type))
		return HAPAX_ETYPE;
	if (c->stats && HPX_UNLIKELY(!hpx_counters_ready(&c->counters)))
		first_hit(c);
	hpx_read_lock();
	hpx_self.borrows++;
	if (HPX_UNLIKELY(hpx_cache_state(c) != HPX_CACHE_OPEN)) {
		rc = HAPAX_ECLOSED;
		goto none;
	}
	rc = hpx_table_hash_fast(c->table, &key, &hash);
	if (HPX_UNLIKELY(rc))
		goto none;
	rc = HAPAX_MISS;
	e = hpx_table_find(c->table, hash, &key, &far);
	if (HPX_LIKELY(e != NULL)) {
		/* order: -> TABLE.PUBLISH acquire; the word that was found is present, its RECORD bit never changes */
		o = hpx_entry_object(e, hpx_load_acquire(hpx_word(e)));
		if (HPX_UNLIKELY(!o || hpx_dead(o)))
			o = look_far(c, &key, hash, &e);
	} else if (far) {
		o = look_far(c, &key, hash, &e);
	}
	if (!o)
		goto none;
	if (HPX_UNLIKELY(!c->borrows) && !may_borrow(o)) {
		rc = HAPAX_ETYPE;
		goto none;
	}
	if (HPX_UNLIKELY(c->tier != NULL) && !usable(c, e, o, key.size))
		goto none;
	hpx_cache_asked(c, HPX_CACHE_HITS, &key, hash);
	*out = hpx_payload(o);
	return 0;
none:
	hapax_borrow_end();
	return rc;
}

/* No plain borrow; the key's bytes, which need not be where the caller has them. */
__attribute__((noinline)) static int borrow_again(hapax_cache *c, uint64_t key8, const void **out)
{
	return borrow_any(c, (hapax_key){.data = &key8, .size = 8}, out);
}

/*
 * A plain borrow, as a plain hit (get.c): by a key of eight bytes, outside sections, in a cache that has nothing to ask of
 * its entries and whose type says that they may be borrowed. The section stays entered.
 */
int hapax_cache_borrow(hapax_cache *c, hapax_key key, const void **out)
{
	struct hpx_quick section;
	struct hpx_object *o;
	uint64_t key8, word, ctl;
	void *e;

	if (HPX_UNLIKELY(!c) || HPX_UNLIKELY(!c->lends) || HPX_UNLIKELY(key.size != 8) || HPX_UNLIKELY(!c->table->simple) ||
	    HPX_UNLIKELY(!out) || HPX_UNLIKELY(!hpx_quick_lock(&section)))
		return borrow_any(c, key, out);
	if (HPX_UNLIKELY(hpx_cache_state(c) != HPX_CACHE_OPEN) || HPX_UNLIKELY(!key.data)) {
		hpx_quick_unlock(&section);
		return borrow_any(c, key, out);
	}
	key8 = hpx_load8(key.data);
	e = hpx_table_find8(c->table, hpx_hash8(key8, c->table->seed8), key8, &word, &ctl);
	o = HPX_LIKELY(e != NULL) ? hpx_entry_object(e, word) : NULL;
	if (HPX_UNLIKELY(!o) || HPX_UNLIKELY(hpx_dead(o))) {
		hpx_quick_unlock(&section);
		return borrow_again(c, key8, out);
	}
	if (HPX_LIKELY(c->stats)) {
		/* order: COUNTERS.STRIPE relaxed; as in hpx_count() */
		hpx_u64 *stripe = hpx_load_relaxed(&c->counters.stripe[hpx_self.stripe]);

		if (HPX_UNLIKELY(!stripe)) {
			hpx_quick_unlock(&section);
			return borrow_again(c, key8, out);
		}
		if (hpx_sampled(c, hpx_count_in(stripe, HPX_CACHE_HITS, 1)))
			hpx_sample_add8(c, key8);
	}
	hpx_self.borrows++;
	*out = hpx_payload(o);
	return 0;
}
