/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peers/lfht.h - a cache on liburcu's cds_lfht, as its documentation suggests to write one: lookups in a read section, a
 * count in the object that is raised unless it is zero, whoever brings it to zero takes the object out. No single flight:
 * threads that miss at once all load, and all but one throw away what they loaded.
 */
#ifndef HAPAX_PEER_LFHT_H
#define HAPAX_PEER_LFHT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct lfht_cache;

struct lfht_cache *lfht_cache_create(size_t expected, size_t key_size); /* key_size: 8, or another */
void lfht_cache_destroy(struct lfht_cache *cache);                       /* no object is left */
/* One reference to the 64 bytes of `key`, filled by `load` if it is absent. */
void *lfht_cache_get(struct lfht_cache *cache, const void *key, uint64_t hash, void (*load)(void *ctx, void *value), void *ctx);
void lfht_cache_drop(struct lfht_cache *cache, void *value);

#ifdef __cplusplus
}
#endif

#endif
