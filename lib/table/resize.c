/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/resize.c - arrays: making them, moving homes, and when.
 *
 * A home moves thus: its line is frozen, then the lines i+1..i+D; its entries are copied into the next array; its word
 * gets DONE. Anybody may do it, several at once may do it. Each put moves two homes from a dispenser; afterwards a second
 * cursor verifies homes and redoes what stopped movers left. The root advances when all are DONE. Arrays may follow one
 * another before the first move is over: growth never waits for a move.
 *
 * Raises of D are counted, not operations: at homes/10 beyond those that the last move left, a sample of lines says whether
 * the array is full (grow) or worn by churn (same size again). One put in 1024 samples for shrinking.
 *
 * Limit. A copy needs a slot in the reach of the entry's home in the next array. That it finds none, with entries spread by
 * a secret hash and at most a few of one hash outside chains, is not to be expected before an array is several times as
 * full as the point where growth begins; it is provided for nevertheless: a put then makes room, or fails with
 * HPX_PUT_NOMEM having changed nothing. Only removal cannot fail: it takes memory inside its section, and with none
 * at all to be had it waits for some.
 */
#include <sched.h>
#include <sys/mman.h>

#include "table/core.h"

enum {
	VERIFY_STEP = 32,      /* homes for each that is to be moved */
	SAMPLE = 128,          /* lines */
	RAISES = 10,           /* a raise for as many homes: at 4.3 entries per line, well before any home has no line left */
	RAISES_LATE = 16,      /* and for as many again */
	LOAD_GROW = 3 * 16,    /* entries per line, times 16: at or above it a worn array is a full one */
	LOAD_SHRINK = 12,      /* below it, half is enough */
	LOAD_HALVE_MAX = 40,   /* above it, a forced halving would overflow */
	HUGE_PAGE = 2 << 20,
	FREE_SLICE = 1 << 20,  /* bytes, in one call of the system */
	GARBAGE_MOST = 1 << 20, /* bytes that count for an array that waits to be freed: nobody should wait for that */
	AHEAD = 8              /* homes */
};

static size_t lines_bytes(size_t homes) { return (homes + HPX_REACH) * sizeof(struct hpx_line); }
static size_t lines_align(size_t bytes) { return bytes >= (size_t)HUGE_PAGE ? HUGE_PAGE : HPX_CACHE_LINE; }

struct hpx_array *hpx_array_new(hapax_env *env, unsigned bits)
{
	struct hpx_array *a = hpx_alloc(env, sizeof(*a), HPX_CACHE_LINE);
	size_t homes = (size_t)1 << bits, bytes = lines_bytes(homes);

	if (!a)
		return NULL;
	a->lines = hpx_alloc(env, bytes, lines_align(bytes));
	if (!a->lines) {
		hpx_free(env, a, sizeof(*a), HPX_CACHE_LINE);
		return NULL;
	}
	if (bytes >= (size_t)HUGE_PAGE)
		(void)madvise(a->lines, bytes & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE); /* a wish */
	a->env = env;
	a->homes = homes;
	a->shift = 64 - bits;
	hpx_init(&a->limit, homes / RAISES + 2);
	return a;
}

size_t hpx_array_bytes(const struct hpx_array *a) { return lines_bytes(a->homes); }

/* The pages of a large array go back one part after the other: the system's locks are held for each on its own. */
void hpx_array_free(struct hpx_array *a)
{
	size_t bytes = lines_bytes(a->homes);

	if (bytes >= (size_t)HUGE_PAGE)
		for (size_t i = 0; i + FREE_SLICE <= bytes; i += FREE_SLICE)
			(void)madvise((char *)a->lines + i, FREE_SLICE, MADV_DONTNEED); /* a wish */

	hpx_free(a->env, a->lines, bytes, lines_align(bytes));
	hpx_free(a->env, a, sizeof(*a), HPX_CACHE_LINE);
}

static size_t garbage_bytes(const struct hpx_array *a)
{
	size_t bytes = lines_bytes(a->homes);

	return bytes < (size_t)GARBAGE_MOST ? bytes : (size_t)GARBAGE_MOST;
}

static void free_retired(struct hpx_deferred *d)
{
	hpx_array_free(HPX_CONTAINER_OF(d, struct hpx_array, deferred));
}

/* ---- moving -------------------------------------------------------------------------------------------------- */

static uint64_t freeze(struct hpx_line *line)
{
	uint64_t c = hpx_load_acquire(&line->ctl); /* order: -> TABLE.PUBLISH acquire */

	while (!(c & HPX_CTL_FROZEN)) {
		uint64_t to = (c | HPX_CTL_FROZEN) & ~HPX_CTL_X;

		/* order: TABLE.FREEZE -> acq_rel; it reads the last publication */
		if (hpx_cas_acq_rel(&line->ctl, &c, to))
			return to;
	}
	return c;
}

/* In frozen lines: is a later present entry of the same key in a line further on? A replacer was stopped between its
 * publication and the unlinking of the older entry; the newer one alone goes on. One that is put over an entry counts
 * only when it has taken that one's place, and one that has gone does not count. */
static bool shadowed(struct hpx_table *t, struct hpx_line *home, unsigned d, unsigned k, void *e, uint64_t w)
{
	const uint64_t h = hpx_word_hash(w);
	hapax_key key;

	if (k == d || hpx_word_is_chain(w))
		return false;
	key = hpx_table_key(t, e);
	for (unsigned n = k + 1; n <= d; n++) {
		uint64_t c = hpx_load_acquire(&home[n].ctl); /* order: -> TABLE.FREEZE acquire */

		for (uint64_t hits = hpx_ctl_match(c, hpx_tag(h) * HPX_CTL_ONES); hits; hits &= hits - 1) {
			uint64_t s = hpx_load_acquire(&home[n].slot[hpx_lane(hits)]); /* order: -> TABLE.CLAIM acquire */
			void *x = hpx_slot_entry(s);
			uint64_t wx;

			if ((s & HPX_SLOT_LOW) != hpx_slot_low(n))
				continue;
			wx = hpx_load_acquire(hpx_word(x)); /* order: -> FLIGHT.COMMIT acquire */
			if ((wx ^ w) >> HPX_W_SIZE_SHIFT || wx & HPX_W_GONE || hpx_word_pending(wx))
				continue;
			if (hpx_key_equal(t, x, &key))
				return true;
		}
	}
	return false;
}

enum copied { COPY_IN_PLACE, COPY_DONE, COPY_NO_ROOM };

/* Is `e` in its place already, put there by another mover? -1: the line changed, look again. */
static int find_copy(const struct hpx_tail *p, uint64_t h, const void *e)
{
	for (unsigned k = 0; k <= p->d; k++) {
		struct hpx_line *line = p->home + k;
		/* order: -> TABLE.PUBLISH acquire */
		uint64_t c = k == p->d ? p->c : hpx_load_acquire(&line->ctl);

		if (c & HPX_CTL_FROZEN)
			return -1;
		for (uint64_t hits = hpx_ctl_match(c, hpx_tag(h) * HPX_CTL_ONES); hits; hits &= hits - 1) {
			/* order: -> TABLE.CLAIM acquire */
			if (hpx_load_acquire(&line->slot[hpx_lane(hits)]) != ((uint64_t)(uintptr_t)e | hpx_slot_low(k)))
				continue;
			/* Or only reserved? order: -> TABLE.PUBLISH acquire, after the slot */
			return hpx_load_acquire(&line->ctl) == c ? 1 : -1;
		}
	}
	return 0;
}

/*
 * Puts `e` of the frozen home `source` into `a` or an array after it. The order is what keeps a delayed mover from
 * bringing back what was unlinked meanwhile: the target's word; the search; is the source DONE; the swap of that word.
 * Published by another mover after our search: the word changed. Before it, and still there: found. Before it, and
 * unlinked since: unlinkers finish the move first, so the source is DONE.
 */
static enum copied copy(struct hpx_table *t, struct hpx_array *a, void *e, uint64_t w, struct hpx_line *source)
{
	const uint64_t h = hpx_word_hash(w);
	struct hpx_claim claim = {.slot = NULL};
	struct hpx_tail p;
	uint64_t c;

	for (;;) {
		int there;

		if (!hpx_tail_read(a, h, &p)) {
			hpx_claim_drop(&claim);
			if (!hpx_move_home(t, a, (size_t)(h >> a->shift)))
				return COPY_NO_ROOM;
			a = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
			continue;
		}
		if (claim.slot && claim.line != p.line)
			hpx_claim_drop(&claim);
		if (p.d == 0 && hpx_word_is_chain(w)) { /* never in a home line, where a fast lookup ends */
			hpx_tail_raise(t, a, &p);
			continue;
		}
		there = find_copy(&p, h, e);
		if (there < 0) {
			/* A frozen line before an open tail and home: a neighbour's. Then this home moves, too. */
			for (unsigned k = 0; k < p.d; k++) {
				if (!(hpx_load_acquire(&p.home[k].ctl) & HPX_CTL_FROZEN)) /* order: -> TABLE.FREEZE acquire */
					continue;
				hpx_claim_drop(&claim);
				if (!hpx_move_home(t, a, (size_t)(h >> a->shift)))
					return COPY_NO_ROOM;
				a = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
				break;
			}
			continue;
		}
		if (there > 0) {
			hpx_claim_drop(&claim);
			return COPY_IN_PLACE;
		}
		if (!HPX_BROKEN(COPY_UNCHECKED) &&
		    hpx_ctl_done(hpx_load_acquire(&source->ctl))) { /* order: -> TABLE.DONE acquire, after the search */
			hpx_claim_drop(&claim);
			return COPY_DONE;
		}
		if (!hpx_claim_slot(&claim, &p, e)) {
			if (p.d < HPX_REACH) {
				hpx_tail_raise(t, a, &p);
				continue;
			}
			/* order: -> TABLE.NEXT acquire; if there is room further on, this home moves there, too */
			if (!hpx_load_acquire(&a->next) || !hpx_move_home(t, a, (size_t)(h >> a->shift)))
				return COPY_NO_ROOM;
			a = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
			continue;
		}
		HPX_STOP("table.copy");
		c = p.c;
		/* order: TABLE.PUBLISH -> acq_rel */
		if (hpx_cas_acq_rel(&p.line->ctl, &c, hpx_ctl_bump(c | hpx_ctl_lane(claim.lane, hpx_tag(h)))))
			return COPY_IN_PLACE;
	}
}

bool hpx_move_home(struct hpx_table *t, struct hpx_array *a, size_t i)
{
	struct hpx_line *home = &a->lines[i];
	/* order: -> TABLE.PUBLISH acquire */
	uint64_t hc = HPX_BROKEN(FREEZE_MISSED) ? hpx_load_acquire(&home->ctl) : freeze(home);
	struct hpx_array *next = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
	unsigned d = hpx_ctl_d(hc);

	if (hpx_ctl_done(hc))
		return true;
	for (unsigned k = 1; k <= d && !HPX_BROKEN(FREEZE_MISSED); k++)
		freeze(home + k);
	for (unsigned k = 0; k <= d; k++) {
		uint64_t c = hpx_load_acquire(&home[k].ctl); /* order: -> TABLE.FREEZE acquire */

		for (unsigned j = 0; j < HPX_SLOTS; j++) {
			uint64_t s, w;
			void *e;

			if (!(c & hpx_ctl_lane(j, 63)))
				continue;
			s = hpx_load_acquire(&home[k].slot[j]); /* order: -> TABLE.CLAIM acquire */
			e = hpx_slot_entry(s);
			if (hpx_slot_distance(s) != k)
				continue; /* another home's, perhaps freed: not ours to look into */
			w = hpx_load_relaxed(hpx_word(e)); /* order: relaxed; hash and size never change */
			if (shadowed(t, home, d, k, e, w))
				continue;
			switch (copy(t, next, e, w, home)) {
			case COPY_IN_PLACE:
				break;
			case COPY_DONE:
				return true;
			case COPY_NO_ROOM:
				hpx_want(t, HPX_WANT_ROOM);
				return false;
			}
		}
	}
	HPX_BROKEN_WINDOW(FREEZE_MISSED);
	if (HPX_BROKEN(FREEZE_MISSED))
		hpx_or_acq_rel(&home->ctl, HPX_CTL_DONE); /* order: TABLE.DONE -> acq_rel */
	hc = hpx_load_acquire(&home->ctl); /* order: -> TABLE.DONE acquire */
	while (!(hc & HPX_CTL_X) && !hpx_cas_acq_rel(&home->ctl, &hc, hc | HPX_CTL_X)) /* order: TABLE.DONE -> acq_rel */
		;
	return true;
}

/* What moving home `i` of `a` will read. Slots that are empty, or have nothing to look at any more, do no harm. */
static void fetch_home(struct hpx_array *a, uint64_t i)
{
	struct hpx_line *line = &a->lines[i];

	if (i + AHEAD < a->homes)
		__builtin_prefetch(line + AHEAD);
	for (unsigned j = 0; j < HPX_SLOTS; j++) {
		uint64_t s = hpx_load_relaxed(&line->slot[j]); /* order: relaxed; an address to prefetch */

		if (s)
			__builtin_prefetch(hpx_word(hpx_slot_entry(s)));
	}
}

bool hpx_move_some(struct hpx_table *t, struct hpx_array *a, unsigned n)
{
	/* order: relaxed; the dispenser only spreads work, `verified` makes sure of it */
	uint64_t i = hpx_load_relaxed(&a->cursor), v, x;
	struct hpx_array *old = a, *next;

	if (i < a->homes) {
		i = hpx_add_relaxed(&a->cursor, n);
		for (uint64_t k = i + AHEAD; k < i + AHEAD + n && k < a->homes; k++)
			fetch_home(a, k);
		for (uint64_t k = i; k < i + n && k < a->homes; k++)
			hpx_move_home(t, a, (size_t)k);
		if (i < a->homes)
			return false;
	}
	x = v = hpx_load_acquire(&a->verified); /* order: -> TABLE.DONE acquire */
	for (unsigned moved = 0; x < a->homes && x < v + (uint64_t)VERIFY_STEP * n && moved < n; x++) {
		if (hpx_ctl_done(hpx_load_acquire(&a->lines[x].ctl))) /* order: -> TABLE.DONE acquire */
			continue;
		if (!hpx_move_home(t, a, (size_t)x))
			break;
		moved++;
	}
	if (x > v)
		hpx_cas_acq_rel(&a->verified, &v, x); /* order: TABLE.DONE -> acq_rel; passes on what we saw */
	if (hpx_load_acquire(&a->verified) < a->homes) /* order: -> TABLE.DONE acquire */
		return false;
	next = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
	if (hpx_cas_acq_rel(&t->root, &old, next)) { /* order: TABLE.ROOT -> acq_rel; everything is in `next` */
		/* Overflows that a fresh move leaves are the hash's, not wear. order: relaxed; a threshold */
		hpx_store_relaxed(&next->limit, hpx_load_relaxed(&next->raises) + next->homes / RAISES + 2);
		hpx_retire(t->env, &a->deferred, garbage_bytes(a), free_retired);
	}
	return true;
}

/* ---- when ---------------------------------------------------------------------------------------------------- */

static struct hpx_array *last_array(struct hpx_table *t)
{
	struct hpx_array *a = hpx_load_acquire(&t->root), *next; /* order: -> TABLE.ROOT acquire */

	while ((next = hpx_load_acquire(&a->next)) != NULL) /* order: -> TABLE.NEXT acquire */
		a = next;
	return a;
}

void hpx_array_missing(struct hpx_table *t)
{
	struct hpx_array *last;

	hpx_read_lock();
	last = last_array(t);
	/* It goes on with the array it has; later it asks again. order: relaxed; a threshold */
	hpx_add_relaxed(&last->limit, last->homes / 16 + 1);
	hpx_read_unlock();
}

bool hpx_array_late(struct hpx_array *a)
{
	/* order: relaxed; thresholds */
	return hpx_load_relaxed(&a->raises) > hpx_load_relaxed(&a->limit) + a->homes / RAISES_LATE;
}

/* `room` false: after the root only, of any neighbouring size; else after the last, of exactly twice its size. */
static bool append(struct hpx_table *t, struct hpx_array *fresh, bool room)
{
	struct hpx_array *last, *none = NULL;
	unsigned bits = hpx_array_bits(fresh), now;
	bool in;

	hpx_read_lock();
	last = last_array(t);
	now = hpx_array_bits(last);
	in = room ? bits == now + 1
		  : last == hpx_load_acquire(&t->root) && bits + 1 >= now && bits <= now + 1; /* order: -> TABLE.ROOT acquire */
	in = in && hpx_cas_acq_rel(&last->next, &none, fresh); /* order: TABLE.NEXT -> acq_rel; the zeroed lines */
	hpx_read_unlock();
	if (!in)
		hpx_array_free(fresh);
	return in;
}

/* True: there it is, or somebody else has made room meanwhile. */
static bool append_new(struct hpx_table *t, unsigned bits, bool room)
{
	struct hpx_array *fresh = hpx_array_new(t->env, bits);

	if (fresh)
		append(t, fresh, room);
	else
		hpx_array_missing(t);
	return fresh;
}

bool hpx_array_append_this(struct hpx_table *t, struct hpx_array *fresh) { return append(t, fresh, false); }

bool hpx_array_append(struct hpx_table *t, unsigned bits)
{
	return append_new(t, bits, false);
}

bool hpx_array_room(struct hpx_table *t)
{
	unsigned bits, load;

	hpx_read_lock();
	bits = hpx_array_bits(last_array(t));
	load = hpx_array_load16(last_array(t), 0);
	hpx_read_unlock();
	/* One crowded place in an empty table: no number of lines will help. */
	if (bits >= HPX_BITS_MAX || (bits > 20 && load < 1))
		return false;
	return append_new(t, bits + 1, true);
}

void hpx_array_room_at_any_price(struct hpx_table *t)
{
	if (!hpx_array_room(t))
		sched_yield();
}

void hpx_want(struct hpx_table *t, uint32_t bits)
{
	hpx_store_relaxed(&t->want, bits); /* order: relaxed; a hint */
}

/* Entries per line times 16, over a sample of consecutive lines. */
unsigned hpx_array_load16(struct hpx_array *a, size_t from)
{
	size_t n = a->homes < SAMPLE ? a->homes : SAMPLE, sum = 0;

	from = a->homes > n ? from % (a->homes - n) : 0;
	for (size_t k = 0; k < n; k++) {
		uint64_t tags = hpx_load_relaxed(&a->lines[from + k].ctl) & HPX_CTL_TAGS; /* order: relaxed; an estimate */

		sum += (unsigned)__builtin_popcountll((tags + HPX_CTL_TAGS) & HPX_CTL_HITS);
	}
	return (unsigned)(sum * 16 / n);
}

void hpx_consider_growth(struct hpx_table *t, struct hpx_array *a)
{
	unsigned bits = hpx_array_bits(a);

	if (hpx_load_acquire(&a->next)) /* order: -> TABLE.NEXT acquire */
		return;
	/* order: TABLE.GROW relaxed; a hint: it is seen to */
	if (hpx_load_relaxed(&t->growing) && !hpx_array_late(a))
		return;
	/* order: relaxed; where to sample */
	if (hpx_array_load16(a, (size_t)hpx_load_relaxed(&a->raises) * 64) >= LOAD_GROW && bits < HPX_BITS_MAX)
		bits++;
	hpx_want(t, bits);
}

void hpx_consider_shrinking(struct hpx_table *t, struct hpx_array *a, size_t where)
{
	unsigned bits = hpx_array_bits(a);

	/* order: -> TABLE.NEXT acquire */
	if (bits > t->bits_min && !hpx_load_acquire(&a->next) && hpx_array_load16(a, where) < LOAD_SHRINK)
		hpx_want(t, bits - 1);
}

/* ---- from outside sections ----------------------------------------------------------------------------------- */

/* Up to `steps` bounded pieces of the moves under way. True: more to do, and no lack of memory in its way. */
static bool move_on(struct hpx_table *t, unsigned steps)
{
	bool more = true;

	while (more && steps-- > 0) {
		uint32_t room = HPX_WANT_ROOM;

		if (hpx_cas_relaxed(&t->want, &room, 0) && !hpx_array_room(t)) /* order: relaxed; a hint */
			return false;
		hpx_read_lock();
		struct hpx_array *a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */

		more = hpx_load_acquire(&a->next) != NULL; /* order: -> TABLE.NEXT acquire */
		if (more)
			hpx_move_some(t, a, HPX_MOVE_PER_PUT);
		hpx_read_unlock();
	}
	return more;
}

bool hpx_table_resize(struct hpx_table *t, int delta)
{
	unsigned bits, load;

	while (move_on(t, 64))
		;
	hpx_read_lock();
	bits = hpx_array_bits(hpx_load_acquire(&t->root)); /* order: -> TABLE.ROOT acquire */
	load = hpx_array_load16(hpx_load_acquire(&t->root), 0); /* order: -> TABLE.ROOT acquire */
	hpx_read_unlock();
	if ((delta < 0 && (bits <= HPX_BITS_MIN || load > LOAD_HALVE_MAX)) || (delta > 0 && bits >= HPX_BITS_MAX))
		return false;
	bits = delta < 0 ? bits - 1 : delta > 0 ? bits + 1 : bits;
	if (!hpx_array_append(t, bits))
		return false;
	while (move_on(t, 64))
		;
	return true;
}

size_t hpx_table_lines(struct hpx_table *t)
{
	size_t homes;

	hpx_read_lock();
	homes = hpx_load_acquire(&t->root)->homes; /* order: -> TABLE.ROOT acquire */
	hpx_read_unlock();
	return homes;
}
