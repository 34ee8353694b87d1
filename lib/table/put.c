/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/put.c - inserting and replacing. core.c tells the algorithm.
 */
#include "table/core.h"

#include "table/quick.h"

/* Where a present entry was met. */
struct spot {
	struct hpx_line *line; /* NULL: in a node */
	uint64_t c;
	unsigned lane;
	struct hpx_node *node;
};

/* One put in progress. */
struct put {
	struct hpx_table *t;
	const hapax_key *key;
	uint64_t h, want; /* hash; what the word of an entry of this key looks like, flags aside */
	void *e;
	struct hpx_object *same; /* REPLACE: an entry of this object stays; NULL: none known */
	enum hpx_put_mode mode;
	struct hpx_object **found;
	void **entry;
	void (*displaced)(void *e, uint64_t word, void *ctx);
	void *ctx;
	enum hpx_put_result result;

	/* what memory there is for it */
	struct hpx_chain *spare_chain;
	struct hpx_node *spare_node;
	bool no_chain;
	struct hpx_claim claim;

	/* what the search found */
	struct hpx_tail tail;
	void *old;             /* the one present entry of the key to displace, or NULL */
	struct spot old_at;
	uint64_t old_tag;      /* its lane, if it is in the tail line; else 0 */
	hpx_u64 *old_slot;
	void *over;            /* OVER: the entry to put over, its object, and whether it is present */
	struct hpx_object *over_object;
	bool over_present;
	void *pending;         /* of another put over an entry (over.c), or NULL */
	void *replaced;        /* what such a one has taken the place of, or NULL, and where it is */
	struct spot replaced_at;
	struct hpx_chain *chain;
	struct hpx_node *last;
	unsigned alike, empty; /* entries of this very hash in lines; empty nodes in the chain */
};

enum step {
	STEP_ON,     /* so far so good */
	STEP_AGAIN,  /* something changed */
	STEP_FROZEN, /* or full, with an array after this one: move the home, go on in the next array */
	STEP_ROOM,   /* needs memory: an array, a chain, a node */
	STEP_CHAIN,
	STEP_NODE,
	STEP_RESULT
};

static enum step result(struct put *p, enum hpx_put_result r)
{
	p->result = r;
	return STEP_RESULT;
}

/* The owner hears of an entry that a put is about to take the place of, so that who loads or reloads it finds who did it. */
static void fencing(struct put *p, void *e)
{
	if (p->t->fencing)
		p->t->fencing(p->t->collected_ctx, e);
}

static void mark_gone(struct put *p, void *e)
{
	fencing(p, e);
	/* order: TABLE.GONE -> acq_rel; see hpx_table_claim */
	uint64_t before = hpx_or_acq_rel(hpx_word(e), HPX_W_GONE);

	if (!(before & HPX_W_GONE) && p->displaced)
		p->displaced(e, before, p->ctx);
}

static void clear(void *e, const struct spot *at)
{
	if (at->node) {
		hpx_cas_relaxed(&at->node->entry, &e, NULL); /* order: relaxed; nothing is published by absence */
		return;
	}
	uint64_t c = at->c;

	/* order: TABLE.PUBLISH -> acq_rel */
	if (hpx_cas_acq_rel(&at->line->ctl, &c, c & ~hpx_ctl_lane(at->lane, 63)))
		hpx_store_release(&at->line->slot[at->lane], 0); /* order: TABLE.LEAVE -> release; ours until now */
}

/* A present entry of the key, with the word it had. */
static enum step meet(struct put *p, void *e, uint64_t w, const struct spot *at)
{
	bool present = false;

	if (HPX_UNLIKELY((w & (HPX_W_WAITED | HPX_W_LOADING)) == HPX_W_WAITED)) {
		if (w & HPX_W_GONE) {
			p->replaced = e;
			p->replaced_at = *at;
		} else {
			p->pending = e;
		}
		return STEP_ON;
	}
	if (!(w & HPX_W_GONE) && w & HPX_W_LOADING) {
		if (p->mode == HPX_PUT_LOAD || p->mode == HPX_PUT_OVER) {
			*p->entry = e;
			return result(p, HPX_PUT_LOADING);
		}
		present = true;
	} else if (!(w & HPX_W_GONE) && e == p->over && hpx_entry_object(e, w) == p->over_object) {
		present = p->over_present = true;
	} else if (!(w & HPX_W_GONE)) {
		struct hpx_object *o = hpx_entry_object(e, w);

		if (o && p->mode == HPX_PUT_OVER && p->old) {
			present = !hpx_dead(o); /* a replacer has published it; finished for it below */
		} else if (o && (p->mode != HPX_PUT_REPLACE || o == p->same)) {
			if (hpx_take(o)) {
				*p->found = o;
				*p->entry = e;
				return result(p, HPX_PUT_LIVE);
			}
		} else if (o) {
			present = !hpx_dead(o);
		}
	}
	if (p->t->keep) {
		if (present)
			mark_gone(p, e);
		*p->entry = e;
		return result(p, HPX_PUT_BLOCKED);
	}
	if (!present && p->t->met_dead && (w & (HPX_W_GONE | HPX_W_RECORD)) == HPX_W_RECORD) {
		/* Its death has not been told yet, on another thread. Out of the table first: then it may be retired. */
		hpx_claim_drop(&p->claim);
		hpx_table_unlink(p->t, e);
		p->t->met_dead(p->t->collected_ctx, e);
		return STEP_AGAIN;
	}
	if (!present) {
		clear(e, at);
		return STEP_AGAIN;
	}
	if (p->old) {
		/* A replacer has published this one and not yet taken out the older: done here for it. */
		hpx_claim_drop(&p->claim);
		hpx_table_unlink(p->t, p->old);
		mark_gone(p, p->old);
		return STEP_AGAIN;
	}
	p->old = e;
	p->old_at = *at;
	p->old_tag = 0;
	if (at->line == p->tail.line) {
		p->old_tag = hpx_ctl_lane(at->lane, 63);
		p->old_slot = &at->line->slot[at->lane];
	}
	return STEP_ON;
}

static enum step search_line(struct put *p, unsigned k)
{
	struct hpx_line *line = p->tail.home + k;
	/* order: -> TABLE.PUBLISH acquire */
	const uint64_t c = k == p->tail.d ? p->tail.c : hpx_load_acquire(&line->ctl);

	if (c & HPX_CTL_FROZEN)
		return STEP_FROZEN;
	for (uint64_t hits = hpx_ctl_match(c, hpx_tag(p->h) * HPX_CTL_ONES); hits; hits &= hits - 1) {
		struct spot at = {.line = line, .c = c, .lane = hpx_lane(hits)};
		uint64_t s = hpx_load_acquire(&line->slot[at.lane]), w; /* order: -> TABLE.CLAIM acquire */
		void *e = hpx_slot_entry(s);
		bool is_chain;
		enum step step;

		if ((s & HPX_SLOT_LOW) != hpx_slot_low(k))
			continue;
		w = hpx_load_acquire(hpx_word(e)); /* order: -> FLIGHT.COMMIT acquire */
		if ((w ^ p->want) & HPX_W_HASH_MASK)
			continue;
		is_chain = hpx_word_is_chain(w);
		p->alike += !is_chain;
		if (!is_chain && ((w ^ p->want) >> HPX_W_SIZE_SHIFT || !hpx_key_equal(p->t, e, p->key)))
			continue;
		/* Was it published? order: -> TABLE.PUBLISH acquire, after the slot */
		if (hpx_load_acquire(&line->ctl) != c)
			return STEP_AGAIN;
		if (is_chain) {
			p->chain = hpx_chain_of(e);
			continue;
		}
		step = meet(p, e, w, &at);
		if (step != STEP_ON)
			return step;
	}
	return STEP_ON;
}

static enum step search_chain(struct put *p)
{
	struct hpx_node *next;

	p->last = &p->chain->first;
	p->empty = 0;
	/* order: -> TABLE.CHAIN acquire */
	while ((next = hpx_load_acquire(&p->last->next)) != NULL) {
		struct spot at = {.node = next};
		void *e = hpx_load_acquire(&next->entry); /* order: -> TABLE.CHAIN acquire */
		uint64_t w;
		enum step step;

		p->last = next;
		if (!e) {
			p->empty++;
			continue;
		}
		w = hpx_load_acquire(hpx_word(e)); /* order: -> FLIGHT.COMMIT acquire */
		if ((w ^ p->want) >> HPX_W_SIZE_SHIFT || !hpx_key_equal(p->t, e, p->key))
			continue;
		step = meet(p, e, w, &at);
		if (step != STEP_ON)
			return step;
	}
	return STEP_ON;
}

/* `e` has not left the place where it was met. */
static bool still_there(const void *e, const struct spot *at)
{
	/* order: -> TABLE.CHAIN, TABLE.PUBLISH acquire; after whatever was met later */
	return at->node ? hpx_load_acquire(&at->node->entry) == e : hpx_load_acquire(&at->line->ctl) == at->c;
}

/* The search is through. What it met of a put over an entry is brought to its end first: see over.c. */
static enum step settle(struct put *p)
{
	if (p->pending) {
		if (HPX_BROKEN(OVER_UNDECIDED))
			hpx_over_refuse(p->pending);
		else if (p->replaced && still_there(p->replaced, &p->replaced_at))
			hpx_over_install(p->pending);
		else if (!p->replaced && p->old && still_there(p->old, &p->old_at))
			hpx_over_replace(p->old);
		else if (!p->replaced && !p->old)
			hpx_over_refuse(p->pending);
		return STEP_AGAIN;
	}
	if (p->replaced) {
		/* Its successor is plainly present, or gone: it was published before, and is not to be missed by this search.
		 * order: -> TABLE.PUBLISH acquire, after the look at the replaced one's word */
		if (hpx_load_acquire(&p->tail.line->ctl) == p->tail.c)
			clear(p->replaced, &p->replaced_at);
		return STEP_AGAIN;
	}
	if (p->mode == HPX_PUT_OVER) {
		if (!p->over_present)
			return result(p, HPX_PUT_PASSED);
		p->old = NULL; /* it stays */
	}
	return STEP_ON;
}

/*
 * ABSENT is about to displace a load. False: it is no load any more, look again: what it installed is there to be found.
 * Fenced here it stays fenced, also when the publication then fails and this put ends otherwise.
 */
static bool fence_load(struct put *p)
{
	void *e = p->old;
	uint64_t w;

	if (!e || p->mode != HPX_PUT_ABSENT)
		return true;
	fencing(p, e);
	w = hpx_load_relaxed(hpx_word(e)); /* order: relaxed; the swap decides */
	while (w & HPX_W_LOADING && !(w & HPX_W_GONE)) {
		/* order: TABLE.GONE -> acq_rel; against FLIGHT.COMMIT: the load is fenced, or has been committed */
		if (!hpx_cas_acq_rel(hpx_word(e), &w, w | HPX_W_GONE))
			continue;
		if (p->displaced)
			p->displaced(e, w, p->ctx);
		return true;
	}
	return w & HPX_W_LOADING;
}

/* `e` is in. What it displaces leaves now, if it did not leave by the same swap. */
static enum step published(struct put *p, bool old_left)
{
	p->claim.slot = NULL;
	if (p->old) {
		if (old_left)
			hpx_store_release(p->old_slot, 0); /* order: TABLE.LEAVE -> release; ours until now */
		else
			hpx_table_unlink(p->t, p->old);
		mark_gone(p, p->old);
	}
	return result(p, HPX_PUT_DONE);
}

static enum step publish_in_chain(struct put *p)
{
	struct hpx_node *none = NULL, *node = p->spare_node;

	if (!node)
		return STEP_NODE;
	if (!fence_load(p))
		return STEP_AGAIN;
	hpx_init(&node->next, NULL);
	hpx_init(&node->entry, p->e);
	/* order: TABLE.CHAIN -> release; node and entry before reachability. Nobody appended since the search. */
	if (!hpx_cas_release(&p->last->next, &none, node))
		return STEP_AGAIN;
	p->spare_node = NULL;
	if (p->empty >= 16)
		hpx_chain_prune(p->t, p->chain);
	return published(p, false);
}

/* One attempt in one array. */
static enum step attempt(struct put *p, struct hpx_array *a)
{
	void *e = p->e;
	uint64_t c, drop, to;

	if (!hpx_tail_read(a, p->h, &p->tail))
		return STEP_FROZEN;
	if (p->claim.slot && p->claim.line != p->tail.line)
		hpx_claim_drop(&p->claim);
	p->old = p->pending = p->replaced = NULL;
	p->over_present = false;
	p->chain = NULL;
	p->alike = 0;
	for (unsigned k = 0; k <= p->tail.d; k++) {
		enum step step = search_line(p, k);

		if (step != STEP_ON)
			return step;
	}
	if (p->chain) {
		enum step step = search_chain(p);

		if (step == STEP_ON)
			step = settle(p);
		return step == STEP_ON ? publish_in_chain(p) : step;
	}
	if (HPX_UNLIKELY(p->pending || p->replaced || p->mode == HPX_PUT_OVER)) {
		enum step step = settle(p);

		if (step != STEP_ON)
			return step;
	}
	if (p->alike >= HPX_CHAIN_FROM && p->tail.d > 0 && !p->no_chain) {
		if (!p->spare_chain)
			return STEP_CHAIN;
		e = &p->spare_chain->first;
	}
	if (!hpx_claim_slot(&p->claim, &p->tail, e)) {
		if (p->tail.d == HPX_REACH) /* order: -> TABLE.NEXT acquire; if there is room further on, the home moves there */
			return hpx_load_acquire(&a->next) ? STEP_FROZEN : STEP_ROOM;
		hpx_tail_raise(p->t, a, &p->tail);
		return STEP_AGAIN;
	}
	if (e == p->e && !fence_load(p))
		return STEP_AGAIN;
	c = p->tail.c;
	drop = e == p->e && p->old ? p->old_tag : 0;
	to = hpx_ctl_bump((c & ~drop) | hpx_ctl_lane(p->claim.lane, hpx_tag(p->h)));
	/* order: TABLE.PUBLISH -> acq_rel; nobody published in the tail since the search */
	if (HPX_BROKEN(RELAXED_PUBLISH) ? !hpx_cas_relaxed(&p->tail.line->ctl, &c, to)
					: !hpx_cas_acq_rel(&p->tail.line->ctl, &c, to))
		return STEP_AGAIN;
	if (e == p->e)
		return published(p, drop != 0);
	hpx_chain_enlist(p->t, p->spare_chain);
	p->spare_chain = NULL;
	p->claim.slot = NULL;
	return STEP_AGAIN;
}

/* Leaves the caller's section, unless that is nested in another one: then there is no memory to be had. */
static bool leave_section(struct put *p)
{
	hpx_claim_drop(&p->claim);
	hpx_read_unlock();
	if (!hpx_in_section())
		return true;
	hpx_read_lock();
	return false;
}

static bool get_memory(struct put *p, enum step what)
{
	bool got = false;

	if (leave_section(p)) {
		if (what == STEP_ROOM)
			got = hpx_array_room(p->t);
		else if (what == STEP_CHAIN)
			got = (p->spare_chain = hpx_chain_new(p->t, p->h)) != NULL;
		else
			got = (p->spare_node = hpx_node_new(p->t)) != NULL;
		hpx_read_lock();
	}
	if (!got && what == STEP_CHAIN)
		got = p->no_chain = true; /* it goes on in lines, as long as there are any */
	return got;
}

/* A resize that somebody found due. Before anything of this put has happened. */
static void resize_if_due(struct put *p)
{
	/* order: relaxed; a hint */
	uint32_t bits = hpx_load_relaxed(&p->t->want);

	if (HPX_LIKELY(!bits) || !hpx_cas_relaxed(&p->t->want, &bits, 0) || !leave_section(p))
		return;
	if (bits == HPX_WANT_ROOM)
		hpx_array_room(p->t);
	else if (!hpx_grow_later(p->t, bits))
		hpx_array_append(p->t, bits);
	hpx_read_lock();
}

enum hpx_put_result hpx_table_put(struct hpx_table *t, uint64_t h, const hapax_key *key, void *e, enum hpx_put_mode mode,
				  struct hpx_object **found, void **entry,
				  void (*displaced)(void *e, uint64_t word, void *ctx), void *ctx)
{
	struct put p = {.t = t, .key = key, .h = h, .want = hpx_word_make(h, key->size, 0), .e = e, .mode = mode,
			.found = found, .entry = entry, .displaced = displaced, .ctx = ctx};
	uint64_t w = hpx_load_relaxed(hpx_word(e)); /* order: relaxed; still ours alone */
	struct hpx_array *a;
	enum step step;

	if (mode == HPX_PUT_OVER) {
		if (t->keep)
			return HPX_PUT_BLOCKED;
		p.over = *entry;
		p.over_object = *found;
	}
	*found = NULL;
	*entry = NULL;
	p.same = w & HPX_W_LOADING ? NULL : hpx_entry_object(e, w);
	resize_if_due(&p);
	a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */
	while ((step = attempt(&p, a)) != STEP_RESULT) {
		if (step == STEP_FROZEN) {
			hpx_claim_drop(&p.claim);
			if (hpx_move_home(t, a, (size_t)(h >> a->shift))) {
				a = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
				continue;
			}
			step = STEP_ROOM;
		}
		if (step == STEP_AGAIN)
			continue;
		if (!get_memory(&p, step)) {
			p.result = HPX_PUT_NOMEM;
			break;
		}
		a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire; the section is a new one */
	}
	hpx_claim_drop(&p.claim);
	if (p.spare_chain)
		hpx_chain_discard(t, p.spare_chain);
	if (p.spare_node)
		hpx_node_discard(t, p.spare_node);
	if (p.result != HPX_PUT_DONE)
		return p.result;
	/* A share of the work that all puts have to do. */
	a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */
	if (HPX_UNLIKELY(hpx_put_shares(h, e))) {
		hpx_consider_shrinking(t, a, (size_t)(h >> a->shift));
		hpx_grow_pace(t, a);
	}
	/* order: -> TABLE.NEXT acquire */
	if (HPX_UNLIKELY(hpx_load_acquire(&a->next) != NULL) && hpx_moves_shared(t))
		hpx_move_some(t, a, HPX_MOVE_PER_PUT);
	return HPX_PUT_DONE;
}
