/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/object.h - the header before every object, classes, death, and registrations on an object.
 *
 *      key bytes, padded to 8 | word || meta | count || payload ...
 *      '- only when a cache made the object: its embedded entry -'  ^-- 16-byte aligned; struct hpx_object
 *
 * count = references << 26 | flags. Flags low, so that an underflow or a failed upgrade never reaches them.
 * meta  = class id << 44 | (side record >> 4), or while queued for death or retired: class id << 44 | (next >> 4).
 */
#ifndef HPX_OBJECT_H
#define HPX_OBJECT_H

#include <hapax/object.h>
#include <hapax/weak.h>

#include "reclaim/reclaim.h"

struct hpx_object {
	hpx_u64 meta;
	hpx_u64 count;
};

#define HPX_ONE (UINT64_C(1) << 26)
#define HPX_COUNT_LIMIT (UINT64_C(1) << 62) /* 2^36 references */
enum {
	HPX_DEAD = 1u << 0,      /* sticky; set by one compare-and-swap from count 0 */
	HPX_NODTOR = 1u << 1,    /* a failed load: callbacks run, the destructor does not */
	HPX_LARGE = 1u << 2,     /* not from the pool: a prefix before the block knows its size */
	HPX_INHERITED = 1u << 3, /* was alive when this process forked */
	HPX_KEYED = 1u << 4,     /* has an embedded entry: the word at [-1] and the key before it are there */
	HPX_LINKED = 1u << 15,   /* dead and queued without a side record: meta holds the link. Bits 5..14: object.c */
	HPX_LATE = 1u << 25,     /* dead: its callbacks and destructor have waited for readers, or do so now */
	HPX_SLT = 1u << 16       /* promoted, or about to be, or not yet plain again (hot.h): cannot die. Bits 17..25: hot.h */
};

static inline void *hpx_payload(struct hpx_object *o) { return o + 1; }
static inline struct hpx_object *hpx_object_of(const void *payload) { return (struct hpx_object *)(uintptr_t)payload - 1; }

/*
 * A class: what the objects of one cache, or of one type in one environment, have in common. Its memory goes when it is
 * detached (the cache is gone) and the last of its objects has been freed. Ids index a process-wide table.
 */
struct hpx_class {
	hapax_env *env;
	const hapax_type *type;
	uint32_t id;
	bool special;      /* blocks are large: something of theirs waits for a grace period: borrowed keys, late destructors */
	HPX_ATOMIC(void *) owner; /* the table or cache of embedded entries; NULL once it is gone. Read inside a section. */
	/* Object is DEAD: make its embedded entry unreachable. Inside a section, `owner` as read in it, not NULL. */
	void (*unlink)(void *owner, struct hpx_object *o);
	/* The destructor has returned (exclusive mode). Same conditions. May be NULL. */
	void (*destroyed)(void *owner, struct hpx_object *o);
	/* After the grace period, before the memory goes (special classes). */
	void (*freed)(struct hpx_class *c, struct hpx_object *o);
	void *aux;         /* the creator's; freed by aux_free (may be NULL) with the class */
	void (*aux_free)(struct hpx_class *c);
	struct hpx_counters counters; /* HPX_CLASS_* */
	struct hpx_counters *env_counters;
	struct hpx_poll poll;
	struct hpx_class *next;
};
enum { HPX_CLASS_BORN, HPX_CLASS_DESTROYED, HPX_CLASS_FREED };

int hpx_class_create(struct hpx_class **out, hapax_env *env, const hapax_type *type);
/* The owner is gone: no unlink or destroyed call starts any more (those running are in sections). Never waits. */
void hpx_class_detach(struct hpx_class *c);
struct hpx_class *hpx_class_by_id(uint32_t id);
/* The class of an object that is held, or dying on this thread. */
struct hpx_class *hpx_class_of(struct hpx_object *o);
/* In a section: those of `env`, also of caches that are gone as long as there are objects. */
void hpx_class_each(hapax_env *env, void (*fn)(struct hpx_class *c, void *ctx), void *ctx);
/* 0, or why a type descriptor is not acceptable. */
int hpx_type_check(const hapax_type *type);

/*
 * A new object, one reference, payload zeroed, `keyed` bytes (a multiple of 8, 0 for none) of key and word room before
 * the header. Admission at the garbage bound with `deadline`. Outside sections.
 */
int hpx_object_new(struct hpx_class *c, size_t keyed, size_t payload, uint64_t deadline, struct hpx_object **out);
/* The same with `keyed` above 0 and the payload of the class's type, where it needs neither memory nor a wait: NULL: take the
 * long way. In a section, of a thread that is ready. */
struct hpx_object *hpx_object_new_quick(struct hpx_class *c, size_t keyed);

/* The bytes of the block an object is in. The caller holds it. */
size_t hpx_object_bytes(struct hpx_object *o);
/* Of these, what is behind its header. */
size_t hpx_object_payload_bytes(struct hpx_object *o);

/* What PLAIN_COUNT makes of counting. */
static inline uint64_t hpx_plain_add(hpx_u64 *count, uint64_t n)
{
	uint64_t v = count->v;

	HPX_POINT();
	count->v = v + n;
	return v;
}

/* What a take's addition found: dead, or too many. While SLT is set the number is biased, and drifts. */
static inline bool hpx_refuses(uint64_t v)
{
	return HPX_UNLIKELY(v & (HPX_DEAD | ~(HPX_COUNT_LIMIT - 1))) && ((v & HPX_DEAD) || !(v & HPX_SLT));
}

/*
 * The gate. Inside a section, on an object found there. True: one reference taken.
 * fetch-add, then look at what it returned; a DEAD object is left as it was.
 * order: -> OBJECT.DROP acquire; what earlier holders did. The object's birth comes with the pointer.
 */
static inline bool hpx_take(struct hpx_object *o)
{
	uint64_t v = HPX_BROKEN(PLAIN_COUNT) ? hpx_plain_add(&o->count, HPX_ONE) : hpx_add_acquire(&o->count, HPX_ONE);

	if (HPX_BROKEN(INCREMENT_FROM_ZERO))
		return true;
	if (HPX_UNLIKELY(hpx_refuses(v))) {
		hpx_sub_relaxed(&o->count, HPX_ONE); /* order: OBJECT.UNDO relaxed; nothing was done with it */
		return false;
	}
	return true;
}
/* Takes `n` more for others while holding one. order: OBJECT.RETAIN relaxed; whom they are given to gets the order too */
static inline void hpx_take_more(struct hpx_object *o, uint64_t n) { hpx_add_relaxed(&o->count, n * HPX_ONE); }
/* order: -> OBJECT.DROP acquire; who sees DEAD sees what was done before */
static inline bool hpx_dead(struct hpx_object *o) { return hpx_load_acquire(&o->count) & HPX_DEAD; }
void hpx_release(struct hpx_object *o);
/* The same by a holder on whose account the object may be hot (a cache that retained it): it is demoted. */
void hpx_release_hold(struct hpx_object *o);
/* hapax_retain(), for a reference that is not given to the program yet. */
int hpx_retain(struct hpx_object *o);

/* True when this thread runs, or has queued, the death of `o` (load-cycle detection, exclusive mode).
 * `thread` may be another one only if it is known to be asleep in a wait (flight layer's wait lock held). */
bool hpx_death_owned_by(const struct hpx_thread *thread, const void *o);

/*
 * Watched deaths, for exclusive caches and objects that they did not make: while hpx_death_watches is not 0, every death
 * calls hpx_death_watched(o) when its destructor has returned and before the memory goes; outside sections and locks.
 * The pointer is set once, at load time.
 */
extern hpx_u32 hpx_death_watches;
extern void (*hpx_death_watched)(struct hpx_object *o);

/*
 * Notes: whoever is told of a death inside a section (a class's unlink, a registration's died) and owes user code a call
 * puts a note into this thread's list. Notes are run outside sections and locks before the callbacks of the first object
 * that dies after them on this thread and, unless user code of another note is running below, before hpx_release() returns.
 * A note lies in the dying object's memory, or in a record that its run() finishes.
 */
struct hpx_note {
	struct hpx_note *next;
	void (*run)(struct hpx_note *note);
};
void hpx_note_add(struct hpx_note *note);

/*
 * Registrations: a table's record asks to be told of an object's death. The caller holds `o`.
 * At death `died(record)` is called inside a section, before any callback. cancel(): true: died() was not and will not be
 * called; false: it has been or is being called (in a section entered before this call returned, so a grace period later
 * it is over). O(1), no memory, lock-free; the node goes back to the object's side record.
 * Exactly one cancel per registration, also when died() was called (it may come from inside died() itself): it gives the
 * node back, so that a late one still finds it.
 */
struct hpx_reg;
int hpx_reg_add(struct hpx_object *o, void *record, void (*died)(void *record), struct hpx_reg **out);
bool hpx_reg_cancel(struct hpx_reg *reg);

#endif
