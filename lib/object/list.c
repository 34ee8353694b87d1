/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/list.c - which handles an object has.
 *
 * Problem. Handles are to be had from a list that others push to and whose nodes they recycle meanwhile, newest first
 * though a recycled node keeps its old place, without memory, and without ever holding a handle that is then not
 * handed out: giving it back might be the drop of the last one, and its owner's drop, being none, no barrier.
 *
 * A handle is taken only where there is one already: `handles` from n > 0 to n + 1, by compare-and-swap. It is set to
 * 1 as the last act of a registration (REG.LIST), and falls to 0 before the registration is cancelled; death, which
 * would change its state too, is kept away by our caller, who holds the object. So whoever takes one has an armed
 * registration, whose sequence number does not change any more.
 *
 * The newest `capacity` of n. Registrations up to the sequence number at the start can only become fewer. Looks at the
 * list without taking anything find, by bisection, the lowest number that no more than `capacity` of them are above,
 * and one walk takes those. Were some dropped in between there is room left, and the same is done below that number:
 * somebody else got ahead with each such turn. In the end what was taken is sorted, in place. A node that became
 * another registration between the look and the taking is one that came meanwhile: it is listed as such.
 *
 * Cost: three walks if all fit, else one for each bit of the number of registrations there ever were, and the sorting of
 * what is stored. Lock-free; no user code runs.
 */
#include "object/internal.h"
#include "object/side.h"

struct listing {
	struct hpx_reg *regs;
	hapax_weak **handles;
	size_t capacity, taken;
	bool overflow;
};

static struct hpx_reg *node_of(hapax_weak *weak) { return HPX_CONTAINER_OF(weak, struct hpx_reg, weak); }

/* Its sequence number if it is a registration that has handles, else 0. */
static uint64_t listed(struct hpx_reg *reg)
{
	/* order: -> REG.LIST acquire; the number is this registration's, or of one that came meanwhile */
	return hpx_load_acquire(&reg->handles) ? hpx_load_relaxed(&reg->sequence) : 0;
}

/* How many there are with numbers in [from, to). */
static size_t count(struct hpx_reg *reg, uint64_t from, uint64_t to)
{
	uint64_t sequence;
	size_t n = 0;

	for (; reg; reg = reg->next) {
		sequence = listed(reg);
		n += sequence >= from && sequence < to;
	}
	return n;
}

/* One more handle, unless there is none any more. */
static bool take(struct listing *l, struct hpx_reg *reg)
{
	/* order: REG.HANDLE relaxed; the swap decides */
	uint32_t seen = hpx_load_relaxed(&reg->handles);

	do {
		if (!seen && !HPX_BROKEN(LISTED_DROPPED))
			return false;
		if (seen >= HPX_HANDLE_LIMIT) {
			l->overflow = true;
			return false;
		}
		/* order: -> REG.LIST acquire; the registration */
	} while (!hpx_cas_acq_rel(&reg->handles, &seen, seen + 1));
	return true;
}

static void take_all(struct listing *l, uint64_t from, uint64_t to)
{
	uint64_t sequence;

	for (struct hpx_reg *reg = l->regs; reg && l->taken < l->capacity; reg = reg->next) {
		sequence = listed(reg);
		if (sequence >= from && sequence < to && take(l, reg))
			l->handles[l->taken++] = &reg->weak;
	}
}

/* The lowest number from which on, up to `to`, there are no more than `room`. */
static uint64_t lowest(struct hpx_reg *regs, uint64_t to, size_t room)
{
	uint64_t low = 1, high = to, middle;

	if (count(regs, low, to) <= room)
		return low;
	while (low < high) {
		middle = low + (high - low) / 2;
		if (count(regs, middle, to) <= room)
			high = middle;
		else
			low = middle + 1;
	}
	return high;
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

/* A handle of it is held. */
static uint64_t sequence_of(hapax_weak *weak)
{
	return hpx_load_relaxed(&node_of(weak)->sequence); /* order: SIDE.SEQUENCE relaxed; acquired with the handle */
}

/* Heap order, oldest at the top: `at` and what is below it. */
static void sift(hapax_weak **heap, size_t at, size_t n)
{
	hapax_weak *weak = heap[at];
	size_t below;

	while ((below = 2 * at + 1) < n) {
		below += below + 1 < n && sequence_of(heap[below + 1]) < sequence_of(heap[below]);
		if (sequence_of(weak) < sequence_of(heap[below]))
			break;
		heap[at] = heap[below];
		at = below;
	}
	heap[at] = weak;
}

static void sort(hapax_weak **handles, size_t n)
{
	hapax_weak *oldest;
	size_t i;

	for (i = 1; i < n && sequence_of(handles[i - 1]) > sequence_of(handles[i]); i++)
		;
	if (i >= n)
		return; /* as it is as long as no node was used again */
	for (i = n / 2; i-- > 0;)
		sift(handles, i, n);
	for (i = n; i-- > 1;) {
		oldest = handles[0];
		handles[0] = handles[i];
		handles[i] = oldest;
		sift(handles, 0, i);
	}
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* The shared handle: whether there is one, taken if there is room. */
static bool shared(struct listing *l, struct hpx_side *side)
{
	/* order: SIDE.HANDLE relaxed; the object keeps the record */
	uint64_t refs = hpx_load_relaxed(&side->refs);

	do {
		if (!HPX_SIDE_HANDLES(refs))
			return false;
		if (l->taken == l->capacity)
			return true;
		if (HPX_SIDE_HANDLES(refs) >= HPX_HANDLE_LIMIT) {
			l->overflow = true;
			return true;
		}
	} while (!hpx_cas_relaxed(&side->refs, &refs, refs + HPX_SIDE_HANDLE));
	l->handles[l->taken++] = &side->weak;
	return true;
}

static int undo(struct listing *l)
{
	while (l->taken) {
		hapax_weak *weak = l->handles[--l->taken];

		l->handles[l->taken] = NULL;
		hapax_weak_drop(weak);
	}
	return HAPAX_EOVERFLOW;
}

int hapax_weak_list(void *object, hapax_weak **handles, size_t capacity, size_t *count_out)
{
	struct listing l = {.handles = handles, .capacity = capacity};
	struct hpx_object *o;
	struct hpx_side *side;
	uint64_t to, from;
	size_t total;

	if (!count_out)
		return HAPAX_ENULL;
	*count_out = 0;
	if (!object || (capacity && !handles))
		return HAPAX_ENULL;
	hpx_enter();
	o = hpx_object_of(object);
	if (hpx_dead(o))
		return HAPAX_EDEAD;
	side = hpx_side_of(o);
	if (!side)
		return 0;
	/* order: SIDE.SEQUENCE relaxed; what is registered later, or meanwhile, need not be listed */
	to = hpx_load_relaxed(&side->sequence) + 1;
	/* order: -> SIDE.REGS acquire; the nodes. They stay in the list as long as the object is held */
	l.regs = hpx_load_acquire(&side->regs);
	total = count(l.regs, 1, to);
	for (from = to; from > 1 && l.taken < capacity && !l.overflow; to = from) {
		from = lowest(l.regs, to, capacity - l.taken);
		HPX_STOP("list.chosen");
		take_all(&l, from, to);
	}
	if (!l.overflow)
		sort(handles, l.taken);
	/* There may have been more when they were counted, or fewer. All of them were stored if there is room. */
	if (total < l.taken || l.taken < capacity)
		total = l.taken;
	total += shared(&l, side);
	if (l.overflow)
		return undo(&l);
	*count_out = total;
	return 0;
}
