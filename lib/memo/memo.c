/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/memo.c - hapax/memo.h: a bounded cache whose keys are argument lists, and whose entries belong to owners.
 *
 *      call(owner, args) -> key: identity of the owner | args -> cache: hit, join, or load = the user's function
 *
 * An owner's identity is the address of its side record (object/side.h), which its room holds as long as an entry of it is in
 * the table: so an object that comes to be at a dead owner's address has another identity, and a result that outlives its owner
 * in somebody's hands is found by nobody. A hit looks at the owner's header, encodes, and is then the cache's own.
 *
 * An owner's death, on its thread and before its callbacks: the identity table's record reads absent, the room's entries are not
 * counted any more, and the room is given to the tier, which lets go of all that it retains: by this thread, or by whoever
 * has the tier's lock just now. Nothing is waited for, nothing allocated.
 *
 * Life of a memo. Its cache's, and a little longer: the memory goes with the last of the cache, the rooms, and deaths of owners
 * that have just been told of it (struct hpx_rooms, refs). ENDED tells those that there is no cache to go to.
 */
#include <errno.h>

#include "memo/memo.h"

/* The cache is empty, and nobody comes in any more. */
static void finished(void *ctx)
{
	hapax_memo *memo = ctx;

	/* order: MEMO.ENDED -> release; deaths in sections that have not seen it keep the cache's memory */
	hpx_store_release(&memo->ended, 1);
	if (memo->owners)
		hpx_ident_end(memo->owners, hpx_memo_owner_left, memo);
}

static void unused(struct hpx_rooms *rooms)
{
	hapax_memo *memo = HPX_CONTAINER_OF(rooms, hapax_memo, rooms);
	hapax_env *env = memo->env;

	hpx_free(env, memo, sizeof(*memo), HPX_CACHE_LINE);
	hpx_env_drop(env);
}

static void freed(void *ctx) { hpx_rooms_drop(&((hapax_memo *)ctx)->rooms); }

static int check_options(const hapax_memo_options *o)
{
	if (o->size != sizeof(*o))
		return HAPAX_EOPTSIZE;
	if (o->flags & ~(unsigned)(HAPAX_MEMO_OWNED | HAPAX_MEMO_TYPED | HAPAX_MEMO_SHARED_BUDGET) ||
	    (o->flags & HAPAX_MEMO_SHARED_BUDGET && !(o->flags & HAPAX_MEMO_OWNED)))
		return HAPAX_EFLAGS;
	if (!o->type || !o->compute == !o->make || (o->capacity < 0 && o->capacity != HAPAX_ZERO))
		return HAPAX_EOPTION;
	if (o->keys.equal || o->keys.borrow || o->keys.release)
		return HAPAX_EOPTION;
	return o->policy ? hpx_policy_check(o->policy) : 0;
}

static int64_t capacity_of(const hapax_memo_options *o)
{
	return !o->capacity ? 128 : o->capacity == HAPAX_ZERO ? 0 : o->capacity;
}

/* Which policy the cache gets, and which bound. */
static void bound(hapax_memo *memo, const hapax_memo_options *o, hapax_cache_options *cache)
{
	bool each = memo->owned && !(o->flags & HAPAX_MEMO_SHARED_BUDGET), all = memo->capacity == HAPAX_UNLIMITED;
	/* one for each owner had better be small: SIEVE keeps nothing of what has gone */
	const hapax_policy *policy = o->policy ? o->policy : each ? hapax_policy_sieve() : hapax_policy_adaptive();

	hpx_rooms_init(&memo->rooms, memo->env, all ? NULL : policy, (uint64_t)memo->capacity, each);
	memo->rooms.unused = unused;
	cache->max_entries = memo->none ? HAPAX_ZERO : each ? INT64_MAX : memo->capacity;
	cache->policy = memo->owned ? &memo->rooms.policy : all ? &hpx_policy_keep : policy;
}

static int build(hapax_memo *memo, const hapax_memo_options *o)
{
	hapax_cache_options cache = {
		HAPAX_CACHE_OPTIONS_INIT,
		.env = memo->env,
		.type = o->type,
		.load = memo->compute ? hpx_memo_run_compute : NULL,
		.make = memo->make ? hpx_memo_run_make : NULL,
		.keys = {.hash = o->keys.hash, .ctx = o->keys.ctx},
		.name = o->name ? o->name : "memo",
		.arg = o->ctx,
		.arg_free = o->ctx_free,
	};
	int rc = 0;

	bound(memo, o, &cache);
	memo->client = (struct hpx_client){.finished = finished, .freed = freed, .commits = hpx_memo_count_result, .ctx = memo};
	if (memo->owned) {
		memo->client.of = hpx_memo_room_by_arg;
		memo->client.in = hpx_room_enter;
		memo->client.out = hpx_room_leave;
		memo->client.depart = hpx_rooms_depart;
		memo->client.above = hpx_rooms_above;
		memo->client.keeper = hpx_memo_room_keeper;
		memo->client.identity = sizeof(uint64_t);
		rc = hpx_ident_new(&memo->owners, memo->env, 0, &hpx_memo_owner_ops, memo);
	}
	if (!rc)
		rc = hpx_cache_create(&memo->cache, &cache, &memo->client);
	if (rc && memo->owners)
		hpx_ident_end(memo->owners, hpx_memo_owner_left, memo);
	else if (memo->owners)
		hpx_ident_named(memo->owners, cache.name);
	return rc;
}

int hapax_memo_create(hapax_memo **out, const hapax_memo_options *o)
{
	hapax_env *env;
	hapax_memo *memo;
	int rc, saved = errno;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!o)
		return HAPAX_ENULL;
	rc = check_options(o);
	if (rc)
		return rc;
	hpx_thread_ready();
	env = hpx_env_or_default(o->env);
	memo = env ? hpx_alloc(env, sizeof(*memo), HPX_CACHE_LINE) : NULL;
	if (!memo)
		return HAPAX_ENOMEM;
	hpx_env_hold(env);
	memo->env = env;
	memo->owned = o->flags & HAPAX_MEMO_OWNED;
	memo->typed = o->flags & HAPAX_MEMO_TYPED;
	memo->compute = o->compute;
	memo->make = o->make;
	memo->ctx = o->ctx;
	memo->capacity = capacity_of(o);
	memo->none = !memo->capacity;
	rc = build(memo, o);
	if (rc)
		hpx_rooms_drop(&memo->rooms);
	else
		*out = memo;
	errno = saved;
	return rc;
}

void hapax_memo_close(hapax_memo *memo)
{
	if (memo)
		hapax_cache_close(memo->cache);
}

void hapax_memo_destroy(hapax_memo *memo)
{
	if (memo)
		hapax_cache_destroy(memo->cache);
}
