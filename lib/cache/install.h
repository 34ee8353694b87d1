/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/install.h - installing an object over exactly one present entry: compute, upsert, replace_if, refresh.
 *
 *      find --> (user code) --> install: 0                      the old entry has left as REPLACED, the new one is in
 *                                        HAPAX_MISS             the old one was claimed or replaced: nothing has happened
 *                                        an error               nothing has happened
 *
 * The key never reads absent meanwhile; a removal or another put that comes before the install makes it a miss (L7).
 * Not for exclusive caches.
 */
#ifndef HPX_CACHE_INSTALL_H
#define HPX_CACHE_INSTALL_H

#include "cache/cache.h"

/* The entry to put over. Its object is held and, in a managed cache, the entry is pinned, from find to drop. */
struct hpx_over {
	void *entry; /* NULL: none; not to be looked into in an unmanaged cache */
	struct hpx_object *object;
};

/* Outside sections. The valid present entry of the key; false: there is none (what has expired, and a negative result, is
 * taken out). drop() gives both up; it may be called for none, and twice. User code may run in either. */
bool hpx_over_find(hapax_cache *c, uint64_t hash, const hapax_key *key, struct hpx_over *over);
void hpx_over_drop(hapax_cache *c, struct hpx_over *over);

/*
 * Outside sections: installs `o` (held by the caller, of a type that the cache takes: hpx_cache_check_object) in the place
 * of over's entry. The weigher and the expire callback are asked (with UPDATE) before, the listener is told after it. The very object that is
 * there: its entry is written anew, and nobody is told. Counts what goes in and out, and the replacement; PUTS and
 * loads are the caller's to count. Fails: HAPAX_ENOMEM, HAPAX_EGARBAGE, HAPAX_EWEIGHT, HAPAX_ECALLBACK, what
 * registering with `o` answers.
 */
int hpx_install_over(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_object *o,
		     const struct hpx_over *over, uint32_t load_us);

/* The same for who did not ask user code, or something else: the caller's terms; those that are taken over are cleared. */
struct hpx_terms;
int hpx_install_over_with(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_object *o,
			  const struct hpx_over *over, struct hpx_terms *terms);

/* May the cache hold it: 0, HAPAX_EFOREIGN, HAPAX_ETYPE, HAPAX_ENOTWEAK. */
int hpx_cache_check_object(hapax_cache *c, struct hpx_object *o);

#endif
