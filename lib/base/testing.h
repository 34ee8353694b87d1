/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/testing.h - a pair of function and context that tests set while threads may call it. */
#ifndef HPX_BASE_TESTING_H
#define HPX_BASE_TESTING_H

#include "base/atomic.h"

typedef void hpx_hook_function(const char *text, void *ctx);
struct hpx_hook {
	HPX_ATOMIC(hpx_hook_function *) call;
	HPX_ATOMIC(void *) ctx;
};
extern struct hpx_hook hpx_misuse_hook;

static inline void hpx_hook_set(struct hpx_hook *hook, hpx_hook_function *call, void *ctx)
{
	/* order: HOOK.SET relaxed; the context becomes visible with the function */
	hpx_store_relaxed(&hook->ctx, ctx);
	/* order: HOOK.SET -> release; the context before it */
	hpx_store_release(&hook->call, call);
}

static inline bool hpx_hook_call(struct hpx_hook *hook, const char *text)
{
	/* order: -> HOOK.SET acquire */
	hpx_hook_function *call = hpx_load_acquire(&hook->call);

	if (!call)
		return false;
	/* order: HOOK.SET relaxed; after the acquire above */
	call(text, hpx_load_relaxed(&hook->ctx));
	return true;
}

#endif
