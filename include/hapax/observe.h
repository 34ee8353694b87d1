/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/observe.h - what the caches of a process are doing, for people and for monitoring.
 *
 * Everything here looks while the program goes on. Each figure is right by itself; together they are a picture of no one instant.
 */
#ifndef HAPAX_OBSERVE_H
#define HAPAX_OBSERVE_H

#include <hapax/base.h>
#include <hapax/cache.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

typedef enum hapax_metrics_format {
	HAPAX_METRICS_JSON = 0 /* one object, UTF-8; its fields are described in docs/observing.md */
} hapax_metrics_format;

/*
 * Writes the figures of the whole process: all environments with their types, all caches and memos, the default environment
 * included. They are gathered first; then `write` gets the text, and may call anything. What is being destroyed is left out.
 * Thread: any. Section: outside. Blocks: not on loads; hapax_cache_destroy() of a cache that is being looked at waits for it.
 * Memory: of the default environment. Returns 0, or what `write` returned.
 * Fails: HAPAX_ENULL, HAPAX_EOPTION (format), HAPAX_ENOMEM: then `write` was not called.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_metrics_write(hapax_metrics_format format, hapax_write_fn write, void *ctx);

HAPAX_END_DECLS

#endif
