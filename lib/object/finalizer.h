/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/finalizer.h - what finalizer.c and at_exit.c share.
 *
 *      object --> side record --> node of a callback --> finalizer <-- handle
 *                      ^                                          |  ^
 *                      '------------------------------------------'  '-- list of those to be run at exit
 *
 * `taken` is left 0 once, by an exchange: whoever got the 0 owns what follows, a run or nothing. References:
 * one of the handle; one of the node, given up by whoever moves the node out of ARMED, a cancel or the death; one of being
 * pending, which goes to the taker. The list has none: a finalizer leaves it before its memory goes, under the list's lock.
 */
#ifndef HPX_OBJECT_FINALIZER_H
#define HPX_OBJECT_FINALIZER_H

#include <hapax/finalizer.h>

#include "object/side.h"

struct hpx_at_exit {
	struct hapax_finalizer *next, **back; /* newer first; `back` NULL: not in the list */
};

struct hapax_finalizer {
	hapax_finalize what;
	hapax_env *env;
	struct hpx_side *side; /* counted, for as long as there is a handle to ask for the object */
	struct hpx_reg *reg;   /* counted until the finalizer is taken */
	hpx_u32 taken;
	hpx_u32 refs;
	hpx_u32 handle;        /* 1: not dropped yet */
	bool at_exit;
	uint64_t process;      /* that created it */
	struct hpx_at_exit all, own; /* links of the lists of all environments and of its own: the lists' lock */
	struct hpx_deferred deferred;
};

/* True for exactly one caller. order: FINALIZER.TAKE acq_rel; who is second sees what the first did before */
static inline bool hpx_finalizer_take(struct hapax_finalizer *f)
{
	if (HPX_BROKEN(FINALIZER_TWICE)) {
		/* order: FINALIZER.TAKE acq_rel; as below, in a load and a store */
		uint32_t taken = hpx_load_acquire(&f->taken);

		hpx_store_release(&f->taken, 1);
		return !taken;
	}
	return !hpx_exchange_acq_rel(&f->taken, 1);
}

/* Runs one that the caller has taken; then it may be gone. What `fn` returned. */
int hpx_finalizer_run_taken(struct hapax_finalizer *f);

/* Makes sure that there will be a run at the end of the process: 0 or HAPAX_ENOMEM. */
int hpx_at_exit_ready(void);
void hpx_at_exit_add(struct hapax_finalizer *f);
/* No-op for one that is not in the lists any more. Takes their lock: never in a release. */
void hpx_at_exit_remove(struct hapax_finalizer *f);

#endif
