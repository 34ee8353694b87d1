/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/class.c - classes: their ids, their life, and the classes of plain types in an environment.
 *
 * An object names its class by 20 bits of its header. The table behind the ids is static: a word per id, 8 MiB of
 * address space of which only touched pages cost memory; so it needs no allocation, no lock and no care at fork.
 *
 *      slot = pointer to the class                      id in use
 *           = next free id << 1 | 1                     id free, in the stack of free ids
 *           = 0                                         never used
 *
 * The stack of free ids is a Treiber stack; its head carries a tag against ABA. New ids are counted up when it is
 * empty.
 *
 * A class goes when nobody makes objects of it any more (detached, or its environment is closed) and as many objects
 * were freed as were born. Births are final by then, and the count of freed objects is read first, so equality is the
 * truth. Counting the last free is the last thing done with a class, and it is done inside a section: a grace period
 * later nobody touches the class.
 */
#include "object/internal.h"

#ifdef HPX_MODEL /* which starts afresh for every run */
#define CLASS_IDS UINT32_C(256)
#else
#define CLASS_IDS (UINT32_C(1) << 20)
#endif
#define TYPE_BUCKETS 64

struct full_class {
	struct hpx_class c;
	struct hpx_deferred deferred;
	hpx_u32 detached;
};

static hpx_u64 slots[CLASS_IDS];
static hpx_u64 free_ids; /* tag << 32 | id; id 0: empty */
static hpx_u32 used_ids; /* ids 1..used_ids have been used */

static uint32_t id_take(struct hpx_class *c)
{
	/* order: -> CLASS.FREE_ID acquire; the slot's link was written before its id was pushed */
	uint64_t head = hpx_load_acquire(&free_ids);
	uint32_t id;

	while ((id = (uint32_t)head) != 0) {
		/* order: CLASS.FREE_ID relaxed; if the id has been taken meanwhile, the tag differs and the swap fails */
		uint64_t link = hpx_load_relaxed(&slots[id]) >> 1;
		uint64_t next = ((head >> 32) + 1) << 32 | (uint32_t)link;

		if (hpx_cas_acq_rel(&free_ids, &head, next))
			break;
	}
	if (!id) {
		/* order: CLASS.NEW_ID relaxed; only distinctness matters */
		id = hpx_add_relaxed(&used_ids, 1) + 1;
		if (id >= CLASS_IDS) {
			hpx_sub_relaxed(&used_ids, 1);
			return 0;
		}
	}
	/* order: CLASS.SLOT -> release; the class's fields */
	hpx_store_release(&slots[id], (uint64_t)(uintptr_t)c);
	return id;
}

static void id_give(uint32_t id)
{
	/* order: CLASS.FREE_ID relaxed; the head's value is only copied */
	uint64_t head = hpx_load_relaxed(&free_ids);

	do {
		hpx_store_relaxed(&slots[id], (uint64_t)(uint32_t)head << 1 | 1);
		/* order: CLASS.FREE_ID -> release (by the swap); the link */
	} while (!hpx_cas_acq_rel(&free_ids, &head, ((head >> 32) + 1) << 32 | id));
}

struct hpx_class *hpx_class_by_id(uint32_t id)
{
	/* order: -> CLASS.SLOT acquire */
	uint64_t slot = id < CLASS_IDS ? hpx_load_acquire(&slots[id]) : 0;

	return slot & 1 ? NULL : (struct hpx_class *)(uintptr_t)slot;
}

struct hpx_class *hpx_class_of(struct hpx_object *o)
{
	/* order: CLASS.ID relaxed; constant from birth to retirement, and the caller holds the object */
	return hpx_class_by_id((uint32_t)(hpx_load_relaxed(&o->meta) >> HPX_CLASS_SHIFT));
}

void hpx_class_each(hapax_env *env, void (*fn)(struct hpx_class *c, void *ctx), void *ctx)
{
	/* order: CLASS.NEW_ID relaxed; a class that comes now may be missed */
	uint32_t last = hpx_load_relaxed(&used_ids);

	for (uint32_t id = 1; id <= last && id < CLASS_IDS; id++) {
		struct hpx_class *c = hpx_class_by_id(id);

		if (c && c->env == env)
			fn(c, ctx);
	}
}

int hpx_type_check(const hapax_type *type)
{
	if (!type)
		return HAPAX_ENULL;
	if (type->struct_size != sizeof(hapax_type))
		return HAPAX_ETYPE;
	if (type->flags & ~(unsigned)(HAPAX_TYPE_NOT_WEAK | HAPAX_TYPE_DEFERRED | HAPAX_TYPE_MAY_LINGER | HAPAX_TYPE_BORROW))
		return HAPAX_EFLAGS;
	if ((type->align & (type->align - 1)) || type->align > 4096)
		return HAPAX_EALIGN;
	if (type->size > HAPAX_OBJECT_MAX)
		return HAPAX_ESIZE;
	return 0;
}

static void class_free(struct full_class *full)
{
	hapax_env *env = full->c.env;

	if (full->c.aux_free)
		full->c.aux_free(&full->c);
	hpx_counters_fini(&full->c.counters);
	hpx_free(env, full, sizeof(*full), HPX_CACHE_LINE);
	hpx_env_drop(env);
}

static void class_free_deferred(struct hpx_deferred *d)
{
	class_free(HPX_CONTAINER_OF(d, struct full_class, deferred));
}

static bool class_gone(struct hpx_class *c)
{
	uint64_t freed = hpx_counters_sum(&c->counters, HPX_CLASS_FREED);

	return freed == hpx_counters_sum(&c->counters, HPX_CLASS_BORN);
}

static bool class_poll(struct hpx_poll *p)
{
	struct hpx_class *c = HPX_CONTAINER_OF(p, struct hpx_class, poll);
	struct full_class *full = HPX_CONTAINER_OF(c, struct full_class, c);

	/* order: -> CLASS.DETACH acquire; births before it */
	if (!hpx_load_acquire(&full->detached) && !hpx_env_closed(c->env))
		return false;
	if (!class_gone(c))
		return false;
	id_give(c->id);
	hpx_retire(c->env, &full->deferred, sizeof(*full), class_free_deferred);
	return true;
}

int hpx_class_create(struct hpx_class **out, hapax_env *env, const hapax_type *type)
{
	struct full_class *full;
	struct hpx_class *c;
	int status = hpx_type_check(type);

	*out = NULL;
	if (status)
		return status;
	full = hpx_alloc(env, sizeof(*full), HPX_CACHE_LINE);
	if (!full)
		return HAPAX_ENOMEM;
	c = &full->c;
	c->env = env;
	c->type = type;
	c->special = type->flags & HAPAX_TYPE_BORROW && type->destroy;
	hpx_counters_init(&c->counters, env);
	c->env_counters = hpx_env_counters(env);
	c->poll.poll = class_poll;
	c->id = id_take(c);
	if (!c->id) {
		hpx_counters_fini(&c->counters);
		hpx_free(env, full, sizeof(*full), HPX_CACHE_LINE);
		return HAPAX_ENOMEM;
	}
	hpx_env_hold(env);
	*out = c;
	return 0;
}

void hpx_class_detach(struct hpx_class *c)
{
	struct full_class *full = HPX_CONTAINER_OF(c, struct full_class, c);

	/* order: CLASS.OWNER -> release; deaths that still see the owner are in sections; it goes a grace period later */
	hpx_store_release(&c->owner, NULL);
	/* order: CLASS.DETACH -> release; births are over */
	hpx_store_release(&full->detached, 1);
	hpx_poll_add(c->env, &c->poll);
}

/* ---- the classes of plain types ---------------------------------------------------------------------------------- */

static unsigned bucket_of(const hapax_type *type)
{
	return (unsigned)(((uint64_t)(uintptr_t)type * UINT64_C(0x9e3779b97f4a7c15)) >> 58);
}

static struct hpx_class *find(void *first, const hapax_type *type)
{
	for (struct hpx_class *c = first; c; c = c->next)
		if (c->type == type)
			return c;
	return NULL;
}

static void class_discard(struct hpx_class *c)
{
	struct full_class *full = HPX_CONTAINER_OF(c, struct full_class, c);

	id_give(c->id); /* who looks through the ids (hpx_class_each) may be looking at it */
	hpx_retire(c->env, &full->deferred, sizeof(*full), class_free_deferred);
}

int hpx_class_for_type(hapax_env *env, const hapax_type *type, struct hpx_class **out)
{
	hpx_ptr *bucket = hpx_env_classes(env) + bucket_of(type);
	struct hpx_class *found, *made;
	void *first;
	int status;

	/* order: -> CLASS.LIST acquire; nothing leaves the list while the environment is open */
	first = hpx_load_acquire(bucket);
	*out = find(first, type);
	if (*out)
		return 0;
	status = hpx_class_create(&made, env, type);
	if (status)
		return status;
	do {
		found = find(first, type);
		if (found) {
			class_discard(made);
			*out = found;
			return 0;
		}
		made->next = first;
		/* order: CLASS.LIST -> release; the class before it can be found */
	} while (!hpx_cas_acq_rel(bucket, &first, (void *)made));
	hpx_poll_add(env, &made->poll);
	*out = made;
	return 0;
}
