/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/side.c - side records and the nodes in them; side.h has the picture.
 *
 * Why nobody walks into freed memory. A node is freed by the last of: the list (death gives that up after it has fired
 * or skipped the node) and its registration (the last drop or the cancel gives that up as the last thing it does). A
 * node on `spare` is only looked at by a thread that registers, and that holds the object: so the list still holds the
 * node. There is one such thread at a time (`popping`), so what it saw as the head cannot have left and come back.
 * After death `spare` is never read again.
 *
 * Order. A new node is pushed, so the list is newest first by itself. A reused node keeps its old place; when any was
 * reused, death sorts what it took by sequence numbers: a merge sort on the links, with one array of 64 heads.
 */
#include <errno.h>

#include <hapax/testing.h>

#include "object/internal.h"
#include "object/side.h"

_Static_assert(sizeof(struct hpx_side) <= HPX_POOL_MAX, "blocks of the pool, whose addresses end in four zeros: the header keeps the rest");

hpx_u32 hpx_process;
static struct hpx_reg closed; /* a mark: the list of a dead object */

static void in_child(void)
{
	/* order: SIDE.PROCESS relaxed; the child has one thread now */
	hpx_add_relaxed(&hpx_process, 1);
}

__attribute__((constructor)) static void watch_forks(void) { hpx_fork_hook(HPX_FORK_LOCKS, in_child); }

/* ---- the record -------------------------------------------------------------------------------------------------- */

int hpx_side_get(struct hpx_object *o, struct hpx_side **out)
{
	struct hpx_side *side = hpx_side_of(o);
	struct hpx_class *c;
	uint64_t meta;

	if (!side) {
		c = hpx_class_of(o);
		side = hpx_pool_alloc(c->env, sizeof(*side)); /* which keeps the environment, too */
		if (!side)
			return HAPAX_ENOMEM;
		memset(side, 0, sizeof(*side));
		hpx_init(&side->weak.kind, HPX_WEAK_SHARED);
		side->env = c->env;
		side->type = c->type;
		hpx_init(&side->object, o);
		hpx_init(&side->refs, HPX_SIDE_NODE);
		hpx_event_init(&side->event);
		meta = (uint64_t)c->id << HPX_CLASS_SHIFT;
		/* order: OBJECT.SIDE -> release; the record before it can be found */
		if (HPX_BROKEN(RELAXED_SIDE) ? !hpx_cas_relaxed(&o->meta, &meta, meta | hpx_meta_pack(side))
					     : !hpx_cas_acq_rel(&o->meta, &meta, meta | hpx_meta_pack(side))) {
			hpx_pool_free(c->env, side, sizeof(*side));
			side = hpx_side_of(o);
		}
	}
	*out = side;
	return 0;
}

void hpx_side_retire(struct hpx_side *side)
{
	int saved = errno;

	hpx_enter();
	hpx_pool_retire(side->env, side, sizeof(*side), &side->callbacks);
	errno = saved;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static struct hpx_reg *spare_take(struct hpx_side *side)
{
	struct hpx_reg *reg;

	/* order: SIDE.SPARE relaxed; a hint, an empty one means a fresh node. -> SIDE.POP acquire */
	if (!hpx_load_relaxed(&side->spare) || hpx_exchange_acquire(&side->popping, 1))
		return NULL;
	/* order: -> SIDE.SPARE acquire; the link, and the end of the node's former use */
	reg = hpx_load_acquire(&side->spare);
	while (reg && !hpx_cas_acq_rel(&side->spare, &reg, reg->spare))
		;
	/* order: SIDE.POP -> release; the next one to pop sees the head that we left */
	hpx_store_release(&side->popping, 0);
	return reg;
}

void hpx_reg_recycle(struct hpx_reg *reg)
{
	struct hpx_side *side = reg->side;
	/* order: SIDE.SPARE relaxed; the head is only copied */
	struct hpx_reg *head = hpx_load_relaxed(&side->spare);

	do {
		reg->spare = head;
		/* order: SIDE.SPARE -> release; the link, and the end of this use */
	} while (!hpx_cas_acq_rel(&side->spare, &head, reg));
}

struct hpx_reg *hpx_reg_make(struct hpx_object *o)
{
	struct hpx_side *side = hpx_side_of(o);
	struct hpx_reg *reg = side ? spare_take(side) : NULL;
	hapax_env *env;

	if (reg) {
		/* order: REG.REFS relaxed; the list's own reference keeps the node */
		hpx_add_relaxed(&reg->refs, 1);
		/* order: SIDE.REUSED relaxed; death comes after the release of the reference that our caller holds */
		hpx_store_relaxed(&side->reused, 1);
		return reg;
	}
	/* The node first: if there is no memory for either, nothing has changed. */
	env = hpx_class_of(o)->env;
	reg = hpx_pool_alloc(env, sizeof(*reg));
	if (!reg)
		return NULL;
	if (hpx_side_get(o, &side)) {
		hpx_pool_free(env, reg, sizeof(*reg));
		return NULL;
	}
	memset(reg, 0, sizeof(*reg));
	/* order: SIDE.REFS relaxed; the object's own reference keeps the record */
	hpx_add_relaxed(&side->refs, HPX_SIDE_NODE);
	reg->side = side;
	hpx_init(&reg->state, HPX_REG_CANCELLED);
	hpx_init(&reg->refs, 2);
	return reg;
}

/* Whoever found the node in a section that began before this finds the side record, too: it is retired no earlier. */
void hpx_reg_drop(struct hpx_reg *reg)
{
	struct hpx_side *side = reg->side;

	/* order: REG.REFS acq_rel; all use of the node before its retirement */
	if (hpx_sub_acq_rel(&reg->refs, 1) != 1)
		return;
	hpx_pool_retire(side->env, reg, sizeof(*reg), &reg->next);
	hpx_side_drop(side, HPX_SIDE_NODE);
}

/* What hapax_weak_count counts this one under. */
static hpx_u64 *tally(struct hpx_reg *reg)
{
	/* order: WEAK.KIND relaxed; written by this thread, or acquired with the registration */
	if (hpx_load_relaxed(&reg->weak.kind) == HPX_WEAK_CALLBACK && !reg->callback.fn)
		return &reg->side->quiet;
	return &reg->side->live;
}

int hpx_reg_arm(struct hpx_reg *reg)
{
	struct hpx_side *side = reg->side;
	/* order: SIDE.SEQUENCE relaxed; the registration's own until it is armed, or listed (REG.LIST) */
	bool fresh = !hpx_load_relaxed(&reg->sequence); /* a node that was ever armed is in the list */
	struct hpx_reg *head;

	/* order: SIDE.REUSED relaxed; death comes after the release of the reference that our caller holds */
	if (hpx_load_relaxed(&reg->weak.kind) == HPX_WEAK_RECORD && !hpx_load_relaxed(&side->tables))
		hpx_store_relaxed(&side->tables, 1);
	/* order: SIDE.TALLY, SIDE.SEQUENCE relaxed; exact at rest, and distinct, is all that is asked */
	hpx_add_relaxed(tally(reg), 1);
	hpx_store_relaxed(&reg->sequence, hpx_add_relaxed(&side->sequence, 1) + 1);
	/* order: REG.ARM -> release; what is registered */
	hpx_store_release(&reg->state, HPX_REG_ARMED);
	if (!fresh)
		return 0;
	/* order: SIDE.REGS relaxed; the head is only copied */
	head = hpx_load_relaxed(&side->regs);
	do {
		if (head == &closed) {
			hpx_sub_relaxed(tally(reg), 1);
			hpx_store_relaxed(&reg->refs, 1);
			hpx_reg_drop(reg);
			return HAPAX_EDEAD;
		}
		reg->next = head;
		/* order: SIDE.REGS -> release; the node before it can be found */
	} while (!hpx_cas_acq_rel(&side->regs, &head, reg));
	return 0;
}

bool hpx_reg_disarm(struct hpx_reg *reg)
{
	uint32_t state = HPX_REG_ARMED;

	/* order: REG.STATE acq_rel; one side only leaves ARMED, and what the other did is seen */
	if (!hpx_cas_acq_rel(&reg->state, &state, HPX_REG_CANCELLED))
		return false;
	hpx_sub_relaxed(tally(reg), 1);
	return true;
}

/* ---- death ------------------------------------------------------------------------------------------------------- */

/* Two lists, each newest first, into one. */
static struct hpx_reg *merge(struct hpx_reg *a, struct hpx_reg *b)
{
	struct hpx_reg *first = NULL, **end = &first;

	while (a && b) {
		/* order: SIDE.SEQUENCE relaxed; acquired with the list */
		if (hpx_load_relaxed(&a->sequence) > hpx_load_relaxed(&b->sequence)) {
			*end = a;
			a = a->next;
		} else {
			*end = b;
			b = b->next;
		}
		end = &(*end)->next;
	}
	*end = a ? a : b;
	return first;
}

/* Bottom-up: run[i] is empty or a sorted list of 2^i nodes. */
static struct hpx_reg *sort(struct hpx_reg *list)
{
	struct hpx_reg *run[64] = {NULL}, *one;
	unsigned i;

	while (list) {
		one = list;
		list = one->next;
		one->next = NULL;
		for (i = 0; run[i]; i++) {
			one = merge(run[i], one);
			run[i] = NULL;
		}
		run[i] = one;
	}
	for (i = 0; i < 64; i++)
		list = merge(list, run[i]);
	return list;
}

/* A table's registration: died() is called in the section that hpx_reg_cancel promises its callers. */
static void tell(struct hpx_reg *reg)
{
	uint32_t state = HPX_REG_ARMED;

	hpx_read_lock();
	/* order: REG.STATE acq_rel; see hpx_reg_disarm */
	if (hpx_cas_acq_rel(&reg->state, &state, HPX_REG_FIRED))
		reg->died(reg->record);
	hpx_read_unlock();
}

/* Whether it has to be called. What is ARMED without a function stays so: its ctx_free is for the last drop of its handle. */
static bool to_fire(struct hpx_reg *reg)
{
	/* order: -> REG.ARM acquire; kind and function were written before. WEAK.KIND relaxed */
	return hpx_load_acquire(&reg->state) == HPX_REG_ARMED && hpx_load_relaxed(&reg->weak.kind) == HPX_WEAK_CALLBACK &&
	       reg->callback.fn;
}

void hpx_side_die(struct hpx_side *side)
{
	struct hpx_reg *reg, *next, **end = &side->callbacks;

	/* order: SIDE.DEAD -> release; sections that still see the object end before its memory goes */
	hpx_store_release(&side->object, NULL);
	/* order: -> SIDE.REGS acquire; the nodes. Release: who sees the mark sees the object dead */
	reg = hpx_exchange_acq_rel(&side->regs, &closed);
	/* order: SIDE.REUSED relaxed; see hpx_reg_arm. Without tables one walk is enough, the one that fires */
	if (!hpx_load_relaxed(&side->tables)) {
		side->callbacks = reg;
		return;
	}
	for (; reg; reg = next) {
		next = reg->next;
		if (to_fire(reg)) {
			*end = reg;
			end = &reg->next;
			continue;
		}
		/* order: WEAK.KIND relaxed; as in to_fire() */
		if (hpx_load_relaxed(&reg->weak.kind) == HPX_WEAK_RECORD)
			tell(reg);
		hpx_reg_drop(reg);
	}
	*end = NULL;
}

/* What follows a callback comes in cleanups: it is done as well when the callback leaves its thread. */
static void fired(struct hpx_reg **fire)
{
	struct hpx_reg *reg = *fire;
	uint32_t was;

	/* order: REG.FIRED -> release (a dropper that waited or comes late sees all that the callback did); acquire: WAITED */
	was = HPX_BROKEN(RELAXED_FIRED) ? hpx_exchange_relaxed(&reg->state, HPX_REG_FIRED)
					: hpx_exchange_acq_rel(&reg->state, HPX_REG_FIRED);
	if (was == HPX_REG_WAITED)
		hpx_event_signal(&reg->side->event, reg->side->env);
	hpx_reg_drop(reg);
}

static void called(struct hpx_reg **fire)
{
	struct hpx_reg *reg __attribute__((cleanup(fired))) = *fire;

	if (reg->callback.ctx_free)
		reg->callback.ctx_free(reg->callback.ctx);
}

static void fire(struct hpx_reg *given)
{
	struct hpx_reg *reg __attribute__((cleanup(called))) = given;

	reg->callback.fn(&reg->weak, reg->callback.ctx);
}

/* What CALLBACK_AND_CANCEL makes of the swap below. */
static bool begin_in_two_steps(struct hpx_reg *reg)
{
	/* order: REG.STATE acq_rel; as below, in a load and a store */
	if (hpx_load_acquire(&reg->state) != HPX_REG_ARMED)
		return false;
	HPX_BROKEN_WINDOW(CALLBACK_AND_CANCEL);
	hpx_store_release(&reg->state, HPX_REG_FIRING);
	return true;
}

void hpx_side_fire(struct hpx_side *side, struct hpx_object *o, bool *begun)
{
	struct hpx_reg *reg;
	HPX_USER_CODE(frame, o);

	if (!*begun) {
		side->process = hpx_load_relaxed(&hpx_process); /* order: SIDE.PROCESS relaxed; no fork in user code */
		/* order: SIDE.REUSED relaxed; see hpx_reg_make */
		if (hpx_load_relaxed(&side->reused))
			side->callbacks = sort(side->callbacks);
		*begun = true;
	}
	while ((reg = side->callbacks) != NULL) {
		struct hpx_reg *next = reg->next;
		uint32_t state = HPX_REG_ARMED;

		side->callbacks = next;
		__builtin_prefetch(next, 1); /* while the callback runs: of a hundred thousand, none is in a cache */
		/* order: REG.STATE acq_rel; a drop that was first has it. Acquire: -> REG.ARM */
		if (to_fire(reg) && (HPX_BROKEN(CALLBACK_AND_CANCEL) ? begin_in_two_steps(reg)
								     : hpx_cas_acq_rel(&reg->state, &state, HPX_REG_FIRING)))
			fire(reg);
		else
			hpx_reg_drop(reg);
	}
}

#ifdef HPX_TESTING
void hapax_testing_set_weak(void *object, uint64_t count)
{
	struct hpx_side *side;

	if (hpx_side_get(hpx_object_of(object), &side))
		return;
	/* order: at rest, by the one thread of the test */
	hpx_store_relaxed(&side->refs, (hpx_load_relaxed(&side->refs) & ~(HPX_SIDE_NODE - 1)) | (uint32_t)count);
}
#endif
