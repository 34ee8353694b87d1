/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/request.h - an asynchronous get that has not been answered yet.
 *
 * Made before its call publishes or joins anything (so that what follows needs no memory), it is the waiter of a flight,
 * and a member of its cache's list until somebody takes it to tell its sink. Whoever enlists it keeps no pointer to it but
 * the share that hpx_request_hold() gives.
 */
#ifndef HPX_REQUEST_H
#define HPX_REQUEST_H

#include <hapax/async.h>

#include "cache/cache.h"

/* Who is told: a function, or a queue. */
struct hpx_sink {
	hapax_done_fn done;
	void *ctx;
	hapax_completions *queue; /* NULL: done */
	hapax_completion *completion;
};

/* The call's request, made when there is none. In no section. 0 or HAPAX_ENOMEM. */
int hpx_request_ready(struct hpx_call *call);
/* NULL is a no-op. */
void hpx_request_free(struct hpx_request *r);
/* In a section, which it leaves: joins the flight of `e`. HPX_CALL_PENDING, HPX_FLIGHT_AGAIN, or an error. */
int hpx_request_join(struct hpx_call *call, void *e);
/* The same by way of a request that is ready, outside sections: `e` stays LOADING or is landed, and stays memory. `old` (may
 * be NULL): an object that will do if the flight brings no other one (hpx_refresh_old_will_do). */
int hpx_request_enlist(struct hpx_call *call, void *e, hpx_u64 *word, struct hpx_object *old);
/* A share: the request's memory stays until it is dropped. */
struct hpx_request *hpx_request_hold(struct hpx_request *r);
void hpx_request_drop(struct hpx_request *r);
/* Takes an enlisted request back into the call: true: its sink was not told and will not be. */
bool hpx_request_withdraw(struct hpx_call *call, struct hpx_request *r);

/* The lists of a cache. inherit(): in a forked child, before its flights are abandoned. tell(): after all caches are. */
void hpx_async_init(hapax_cache *c);
void hpx_async_fini(hapax_cache *c);
void hpx_async_inherit(hapax_cache *c);
bool hpx_async_tell(hapax_cache *c); /* one request; false: there was none */
void hpx_member_add(struct hpx_member *head, struct hpx_member *m);
void hpx_member_remove(struct hpx_member *m);

/* token.c: no token touches the cache any more: what they were loading ends with HAPAX_ECLOSED. */
void hpx_tokens_end(hapax_cache *c);
void hpx_tokens_inherit(hapax_cache *c);

#endif
