/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/testing.c - the hooks of the testing build that concern no layer above. */
#include "base/testing.h"

#ifdef HPX_TESTING
#include <hapax/testing.h>

#include "base/check.h"

static struct hpx_hook stop_hook;

void hpx_stop_point(const char *name) { hpx_hook_call(&stop_hook, name); }

void hapax_testing_set_stop(void (*hook)(const char *name, void *ctx), void *ctx)
{
	hpx_hook_set(&stop_hook, hook, ctx);
}

void hapax_testing_set_misuse(void (*hook)(const char *message, void *ctx), void *ctx)
{
	hpx_hook_set(&hpx_misuse_hook, hook, ctx);
}
#endif
