/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/refresh.h - reloading what is present: after an age, early by a draw, when it is stale, and when asked to.
 *
 *      written ..... refresh ..... deadline ..... + stale ..... + stale_error      then absent: an ordinary load
 *        a hit       the old value, and a reload    a reload, waited for; the old value if it fails
 *                    in the background
 *
 * One reload at a time for an entry. It is fenced like a load: what became of its entry meanwhile decides. What was
 * written, removed or has expired since it began stays so, and its result is told of once and given back.
 */
#ifndef HPX_REFRESH_H
#define HPX_REFRESH_H

#include "cache/tier.h"

/* The present entry, pinned, its object held: is a reload to be started now? Draws, for an early one. */
bool hpx_refresh_due(hapax_cache *c, struct hpx_node *n, uint64_t now);
/* Starts one in the background: 0, HAPAX_INFLIGHT (one is there), HAPAX_ELOADER (back-off), HAPAX_ENOLOADER, HAPAX_ENOMEM,
 * HAPAX_ETHREAD, HAPAX_ECLOSED. The entry is pinned, its object held; unmanaged caches have no pins. User code may run. */
int hpx_refresh_start(hapax_cache *c, const hapax_key *key, uint64_t hash, void *e, struct hpx_object *o);

/*
 * For a hit, at `now`, of a present entry that is pinned and held: starts what is due. 0: it is the answer, or the new object
 * in *fresh is. HAPAX_MISS: only a reload could say, and there is no call that would wait for it. Else as hpx_refresh_wait().
 */
int hpx_refresh_attend(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, uint64_t now, struct hpx_call *call,
		       struct hpx_object **fresh);

/* It is too old to be handed out without having tried: 0 and the new object in *out, or NULL there: the old one will do;
 * HPX_FLIGHT_AGAIN: look again; or what the wait came to. */
int hpx_refresh_wait(struct hpx_call *call, struct hpx_node *n, struct hpx_object *o, struct hpx_object **out);

/* What a get in need of a reload makes of the reload's end: the old value is returned. */
bool hpx_refresh_old_will_do(int status);

/* Back-off, for all loads. False: not now, and call->outcome says why. */
bool hpx_refresh_may_load(struct hpx_call *call);
/* A load has ended, `failed` or not; before whoever waits for it hears of it. Until when there will be no other. */
uint64_t hpx_refresh_loaded(hapax_cache *c, const hapax_key *key, uint64_t hash, bool failed, int code);

/* A token's reload: its end, once. conclude() consumes object and error's share as a load does: what all get. */
struct hpx_reload;
int hpx_reload_conclude(struct hpx_reload *r, int result, struct hpx_object *object, hapax_load_error *error);
void hpx_reload_abandon(struct hpx_reload *r, int status);

/* In the child of a fork, after hpx_work_drop(): the reloads of vanished threads end. */
void hpx_refresh_inherit(hapax_cache *c);

#endif
