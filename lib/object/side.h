/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/side.h - the side record of an object: its weak handles and registrations.
 *
 *      object.meta --> side record <-- shared handles (hapax_weak_new without callback: the record itself)
 *                        | regs
 *                        v
 *                      node -> node -> node      newest first; a node is a callback handle or a table's registration
 *
 * Most objects never have one. It is installed by the first who needs it and stays for the object's life; handles may
 * keep it longer. `object` reads NULL from the object's death on, before the object's memory is retired: that is why a
 * section suffices to look through a handle.
 *
 * The list of nodes only grows while the object lives. A cancelled node stays where it is and is offered for reuse on
 * `spare`; so an object has as many nodes as it ever had registrations at once. Death closes the list and takes it.
 *
 * States of a node:
 *      ARMED -> CANCELLED -> (ARMED again, reused)
 *      ARMED -> FIRING [-> WAITED] -> FIRED        a callback; WAITED: a dropper sleeps on `event`
 *      ARMED -> FIRED                              a table's registration
 * Whoever leaves ARMED by compare-and-swap owns what follows: the callback, or its cancellation.
 *
 * Memory: side record: one reference of the object, one per node, one per shared handle. Node: one of the list (given
 * up by death) and one of its registration (given up by the last drop or the cancel).
 */
#ifndef HPX_SIDE_H
#define HPX_SIDE_H

#include "object/object.h"

/* What a public handle points to; the kind says what is around it. A node's may change while a table still compares a key
 * that was a handle on what the node was before. */
struct hapax_weak {
	hpx_u32 kind;
};
enum { HPX_WEAK_SHARED, HPX_WEAK_CALLBACK, HPX_WEAK_RECORD };

enum { HPX_REG_ARMED, HPX_REG_CANCELLED, HPX_REG_FIRING, HPX_REG_WAITED, HPX_REG_FIRED };

/* refs = nodes and object << 32 | shared handles */
#define HPX_SIDE_HANDLE UINT64_C(1)
#define HPX_SIDE_NODE (UINT64_C(1) << 32)
#define HPX_SIDE_HANDLES(refs) ((uint32_t)(refs))
#define HPX_HANDLE_LIMIT (UINT32_C(1) << 31)

struct hpx_side {
	struct hapax_weak weak;
	hpx_u32 popping;         /* try-lock: the one thread that takes from `spare` */
	hapax_env *env;          /* held */
	const hapax_type *type;  /* to be read only while the object is not dead */
	HPX_ATOMIC(struct hpx_object *) object;
	hpx_u64 refs;
	HPX_ATOMIC(struct hpx_reg *) regs;  /* newest first; a mark once dead */
	HPX_ATOMIC(struct hpx_reg *) spare; /* cancelled nodes */
	hpx_u64 live;            /* armed callbacks and registrations */
	hpx_u64 quiet;           /* handles of their own for ctx_free alone */
	hpx_u64 sequence;
	hpx_u32 reused;          /* some node was: the list is not in order any more */
	hpx_u32 tables;          /* some node was a table's registration: death has to tell it before any callback */
	struct hpx_event event;  /* a callback that somebody waited for has returned */
	uint32_t process;                /* hpx_process when the callbacks began to fire */
	struct hpx_reg *callbacks;       /* dying thread: taken from `regs`, still to fire */
	struct hpx_object *next_dying;   /* dying thread or deferred stack */
};

/* One line. A node that is retired is linked by its `next`, a side record by its `callbacks`. */
struct hpx_reg {
	struct hapax_weak weak;
	hpx_u32 state;
	hpx_u32 handles; /* the user's, of a callback handle; above 0 the registration can be listed: it is ARMED, or the object dead */
	hpx_u32 refs;
	struct hpx_side *side;
	struct hpx_reg *next; /* in `regs`: constant until death, then the dying thread's */
	hpx_u64 sequence;
	union {
		hapax_callback callback;
		struct {
			void *record;
			void (*died)(void *record);
			struct hpx_reg *spare; /* in `spare`: of one that is cancelled, where ctx_free has had its turn */
		};
	};
};
_Static_assert(sizeof(struct hpx_reg) <= HPX_CACHE_LINE, "one line, where pages of the pool begin at one");
_Static_assert(offsetof(struct hpx_reg, spare) == offsetof(struct hpx_reg, callback.ctx_free), "deaths read what is before it");

/* The side record, or NULL. The caller holds `o` or runs its death, and `o` is in no queue. */
static inline struct hpx_side *hpx_side_of(struct hpx_object *o)
{
	/* order: -> OBJECT.SIDE acquire */
	uint64_t meta = hpx_load_acquire(&o->meta);

	return (struct hpx_side *)(uintptr_t)(meta << 20 >> 16);
}

static inline struct hpx_side *hpx_side_of_weak(hapax_weak *weak)
{
	/* order: WEAK.KIND relaxed; whatever a node is or becomes, it is no side record */
	if (hpx_load_relaxed(&weak->kind) == HPX_WEAK_SHARED)
		return HPX_CONTAINER_OF(weak, struct hpx_side, weak);
	return HPX_CONTAINER_OF(weak, struct hpx_reg, weak)->side;
}

/* Changes in the child of a fork: callbacks that vanished threads were running there run no more. */
extern hpx_u32 hpx_process;

/* The side record of a held object, made when there is none: 0 or HAPAX_ENOMEM. Outside sections. */
int hpx_side_get(struct hpx_object *o, struct hpx_side **out);
/* What hash and order of handles are made of. */
uint64_t hpx_side_hash(const struct hpx_side *side);
/* Nobody refers to it any more. Preserves errno. */
void hpx_side_retire(struct hpx_side *side);
/* Gives references to the side record back, HPX_SIDE_NODE or HPX_SIDE_HANDLE. */
static inline void hpx_side_drop(struct hpx_side *side, uint64_t what)
{
	/* order: SIDE.REFS acq_rel; all use of the record before its retirement */
	if (HPX_UNLIKELY(hpx_sub_acq_rel(&side->refs, what) == what))
		hpx_side_retire(side);
}

/* A node with references for the list and its registration, reused or new; NULL: no memory. Not armed yet. */
struct hpx_reg *hpx_reg_make(struct hpx_object *o);
/* Puts a filled node into the list if it is not in it, and arms it: 0, or HAPAX_EDEAD and the node is gone. */
int hpx_reg_arm(struct hpx_reg *reg);
/* ARMED -> CANCELLED: false: it was not armed any more. */
bool hpx_reg_disarm(struct hpx_reg *reg);
/* The registration is cancelled and done with: offers the node for reuse. */
void hpx_reg_recycle(struct hpx_reg *reg);
/* Gives one reference to the node back. */
void hpx_reg_drop(struct hpx_reg *reg);

/*
 * Callbacks of hapax's own: without a handle, so that nobody lists or keeps them. The caller holds `o`, which is weak and not
 * dead. new: 0, HAPAX_ENOMEM, or HAPAX_EDEAD if the caller did not hold it. end: once; as hapax_weak_drop().
 */
int hpx_callback_new(struct hpx_object *o, const hapax_callback *callback, struct hpx_reg **out);
int hpx_callback_end(struct hpx_reg *reg);

/* Death, first part: everything reads dead, the list is closed and table registrations, if any, are told. No user code. */
void hpx_side_die(struct hpx_side *side);
/* Death, second part: fires the callbacks, newest first. User code runs, in a frame for `o`. When it leaves by forced
 * unwinding, the next call goes on with those that are left; *begun is false for the first call. */
void hpx_side_fire(struct hpx_side *side, struct hpx_object *o, bool *begun);

#endif
