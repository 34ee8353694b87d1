/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/load.h - one load, for the files that have a way of their own to run it: on the caller's thread, or by a token. */
#ifndef HPX_LOAD_H
#define HPX_LOAD_H

#include "cache/tier.h"

struct hpx_reload;

/* From publication on it ends once: in hpx_load_conclude(), hpx_load_abandon() or hpx_load_cancel(). */
struct hpx_load {
	struct hpx_call *call;     /* of whoever works on it now */
	hapax_cache *cache;
	struct hpx_frame frame;
	void *entry;
	struct hpx_object *object; /* in place: from the beginning; made: what the loader gave */
	struct hpx_record *record; /* NULL: in place */
	void *watch;               /* exclusive, made */
	uint64_t begun;
	uint32_t spent_us;
	struct hpx_terms terms;    /* managed: asked after the loader, before the commit */
	bool running;              /* the loader is on the stack */
	bool open;                 /* published, and has not ended */
	bool part;                 /* of a bulk load, which is counted as one (bulk.c) */
};

/* 0: the entry is published, LOADING. HPX_FLIGHT_AGAIN: look again. Or an error. */
int hpx_load_publish(struct hpx_load *l);
/* The loader is about to be called. */
void hpx_load_begin(struct hpx_load *l);
/* The loader has answered `result`, and l->object if it made one, which is consumed without success. The status for all;
 * 0: the object is installed or superseded, and its reference the caller's. `error`: the loader's, then the caller's share. */
int hpx_load_conclude(struct hpx_load *l, int result, hapax_load_error *error);
/* The same for a load whose time has been counted. */
int hpx_load_settle(struct hpx_load *l, int result, hapax_load_error *error);
/* Calls the call's loader and concludes. */
int hpx_load_run(struct hpx_load *l);
/* The cleanup handler of whoever runs it: its thread may be vanishing in the loader, or in user code that was asked after it. */
void hpx_load_left(struct hpx_load *l);
/* It ends without an answer: all who wait get `status`. */
void hpx_load_abandon(struct hpx_load *l, int status);
/* The same; it never began. */
void hpx_load_cancel(struct hpx_load *l, int status);
void hpx_cache_drop_error(hapax_cache *c, hapax_load_error *error);
/* Ends an object that its loader did not finish: its callbacks run, its destructor does not. */
void hpx_load_undo(hapax_cache *c, struct hpx_object *o);

/*
 * straight.c: a miss of a cache that loads `straight`: a get that is through; or HPX_STRAIGHT_NOT, nothing has happened, or
 * HPX_FLIGHT_AGAIN, the miss has been counted: it takes hpx_cache_resolve(). Outside sections; not in a call yet.
 */
#define HPX_STRAIGHT_NOT 104
int hpx_load_straight(hapax_cache *c, const hapax_key *key, uint64_t hash, void **out);

/* miss.c: a get for which there was no plain hit. Outside sections; not in a call yet. */
int hpx_cache_get_slow(hapax_cache *c, const hapax_key *key, uint64_t hash, const hapax_get_options *options, void **out);

/* token.c: a load that does not run on this thread: as hpx_cache_load(). */
int hpx_token_load(struct hpx_call *call, struct hpx_object **out);
/* The load of `e` if it is a task that nobody has begun, claimed; NULL: none. Its memory may be another load's by now. */
struct hapax_load *hpx_token_steal(struct hpx_call *call, const void *e);
/* Runs it on this thread, for the call: as hpx_cache_load(). */
int hpx_token_run(struct hapax_load *t, struct hpx_call *call, struct hpx_object **out);
/* The call's start() gets a token whose end is that of the reload, and may have been when this returns. Else 0: an error. */
int hpx_token_reload(struct hpx_call *call, struct hpx_reload *reload);

#endif
