/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/backoff.h - keys whose last load failed: for a while they are not loaded again.
 *
 * A bounded set of recent failures, beside the entries: a key that failed has none, and one that is present keeps its own. A
 * failure is forgotten when a load of the key succeeds, or when HPX_BACKOFF_MAX later ones have come. Keys are copied.
 */
#ifndef HPX_BACKOFF_H
#define HPX_BACKOFF_H

#include "cache/cache.h"

#define HPX_BACKOFF_MAX 1024

struct hpx_backoff;

/* `first` nanoseconds after the first failure in a row, then twice as long each, `most` at most. */
int hpx_backoff_create(struct hpx_backoff **out, hapax_env *env, uint64_t first, uint64_t most);
void hpx_backoff_destroy(struct hpx_backoff *b);
/* In the child of a fork: its lock. */
void hpx_backoff_reinit(struct hpx_backoff *b);

/* All outside sections and locks; `equal` of the key functions may be called. */

/* May the key be loaded now? Else when, and the code of the last failure. */
bool hpx_backoff_allows(struct hpx_backoff *b, const hapax_key_ops *ops, const hapax_key *key, uint64_t hash,
			uint64_t *until, int *code);
/* A load of it has failed: until when it is not to be loaded (now, if there is no memory to note it). */
uint64_t hpx_backoff_failed(struct hpx_backoff *b, const hapax_key_ops *ops, const hapax_key *key, uint64_t hash, int code);
void hpx_backoff_succeeded(struct hpx_backoff *b, const hapax_key_ops *ops, const hapax_key *key, uint64_t hash);

#endif
