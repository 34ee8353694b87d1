/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/internal.h - what the files of this layer share beside object.h and side.h.
 */
#ifndef HPX_OBJECT_INTERNAL_H
#define HPX_OBJECT_INTERNAL_H

#include "object/object.h"

#define HPX_CLASS_SHIFT 44
#define HPX_META_LINK_MASK ((UINT64_C(1) << HPX_CLASS_SHIFT) - 1)

static inline uint64_t hpx_meta_pack(const void *block) { return (uint64_t)(uintptr_t)block >> 4; }

/* The class of `type` in `env`, made when it is not there yet. */
int hpx_class_for_type(hapax_env *env, const hapax_type *type, struct hpx_class **out);

/* `o` is a large block, and unreachable for new readers: runs `run` after a grace period, and what it is given names `o`. */
void hpx_object_later(struct hpx_class *c, struct hpx_object *o, void (*run)(struct hpx_deferred *d));
struct hpx_object *hpx_object_of_large(struct hpx_deferred *d);
/* A death that had to wait for readers: the rest of it is queued for whoever runs deaths (hot.c). */
void hpx_hot_mourn(struct hpx_deferred *d);

/* For reports about objects that may not be objects any more. */
const char *hpx_object_name(struct hpx_object *o);

/* The death of `o` is over: gives its memory back after a grace period. */
void hpx_object_retire(struct hpx_class *c, struct hpx_object *o);
/* The same in a section. */
void hpx_object_retire_quick(struct hpx_class *c, struct hpx_object *o);

/*
 * Deaths (death.c). try_kill: inside a section, after an addition that left no reference and `count`: true if this call killed
 * the object. die: runs the death of an object that this thread has killed, outside sections. In between it may be linked:
 * init first; next() and link(NULL) before die().
 */
bool hpx_try_kill(struct hpx_object *o, uint64_t count);
void hpx_die(struct hpx_object *o);
void hpx_death_link_init(struct hpx_object *o);
void hpx_death_link(struct hpx_object *o, struct hpx_object *next);
struct hpx_object *hpx_death_next(struct hpx_object *o);

/* Room that this layer's first call on a thread may need: reader registration, without disturbing errno. */
void hpx_first_call(void);
static inline void hpx_enter(void)
{
	if (HPX_UNLIKELY(!hpx_self.id))
		hpx_first_call();
}

/* Marks a piece of user code on this thread's stack; leaving by forced unwinding unmarks it too. */
static inline void hpx_frame_pop(struct hpx_frame *frame) { hpx_self.frames = frame->up; }
#define HPX_USER_CODE(name, object)                                                                                  \
	struct hpx_frame name __attribute__((cleanup(hpx_frame_pop))) = {.up = hpx_self.frames, .entry = (object)};           \
	hpx_self.frames = &name

#endif
