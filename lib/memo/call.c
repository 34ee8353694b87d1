/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memo/call.c - calls: hits, and what becomes of the others. */
#include "memo/args.h"
#include "memo/memo.h"

/* One call that is not a plain hit. */
struct memo_call {
	hapax_memo *memo;
	void *owner;
	const hapax_arg *args;
	size_t n;
	struct hpx_room *room; /* NULL: no owner */
	struct hpx_object *held; /* the owner, while the call lasts, whatever the function does with it */
	bool ran, counted;
	struct hpx_args *encoded;
	struct hpx_call call;
};

/* ---- what is counted --------------------------------------------------------------------------------------------- */

/*
 * Every call is counted in one counter, once: so it is in one view of the counters, whenever they begin anew. A result is counted
 * before it can be found, everything else at the end of the call.
 */
static void count(struct memo_call *m, unsigned which)
{
	if (which != HPX_ROOM_HITS && m->call.waited)
		which += HPX_ROOM_WAITED - HPX_ROOM_NOTHING;
	if (which != HPX_ROOM_HITS)
		hpx_cache_count(m->memo->cache, hpx_memo_counter(which), 1);
	if (m->room)
		hpx_room_count(m->room, which);
	m->counted = true;
}

/* The result is about to be found. */
void hpx_memo_count_result(void *arg) { count(arg, HPX_ROOM_COMPUTED); }

/* The call ends, with `rc` if it returns. */
static void count_call(struct memo_call *m, int rc)
{
	if (m->counted)
		return;
	if (m->ran)
		count(m, HPX_ROOM_FAILED);
	else if (m->call.missed || m->call.waited)
		count(m, HPX_ROOM_NOTHING);
	else if (!rc)
		count(m, HPX_ROOM_HITS);
}

/* ---- the function ------------------------------------------------------------------------------------------------ */

int hpx_memo_run_compute(void *result, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct memo_call *m = arg;

	(void)key;
	m->ran = true;
	return m->memo->compute(result, m->owner, m->args, m->n, m->memo->ctx, error);
}

int hpx_memo_run_make(void **result, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct memo_call *m = arg;

	(void)key;
	m->ran = true;
	return m->memo->make(result, m->owner, m->args, m->n, m->memo->ctx, error);
}

static bool refuse_all(void *object, void *arg)
{
	(void)object, (void)arg;
	return true;
}

/* The room of the load whose argument this is. */
struct hpx_room *hpx_memo_room_by_arg(void *arg) { return ((struct memo_call *)arg)->room; }

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* Also when the thread leaves in the function. */
static void memo_call_end(struct memo_call *m)
{
	count_call(m, HAPAX_EABANDONED);
	hpx_args_done(m->encoded, m->memo->env); /* the memo may go with the end of the call */
	hpx_call_end(&m->call);
	HPX_STOP("memo.left");
	if (m->held)
		hpx_release(m->held);
}

static int resolve(struct memo_call *m, struct hpx_object **o)
{
	int rc;

	if (m->owner) {
		m->held = hpx_memo_hold(m->owner);
		rc = m->held ? hpx_memo_room_get(m->memo, m->held, m->call.deadline, &m->room) : HAPAX_EDEAD;
		if (rc)
			return rc;
	}
	rc = hpx_cache_resolve(&m->call, o);
	count_call(m, rc);
	return rc;
}

/* What is left to do when `m` has its key and its hash. */
static int call_cache(struct memo_call *m, hapax_load_error *error, void **out)
{
	struct hpx_object *o = NULL;
	int rc = hpx_cache_stay(&m->call.stay, m->memo->cache, HPX_CACHE_OPEN);

	if (!rc)
		rc = resolve(m, &o);
	if (!rc) {
		*out = hpx_payload(o);
	} else if (rc == HAPAX_ELOADER && error) {
		*error = m->call.outcome.error;
		m->call.outcome.error = (hapax_load_error){.code = 0};
	}
	return rc;
}

/* Consumes what was encoded. */
__attribute__((noinline)) static int call_slow(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n,
					       const hapax_memo_call_options *options, struct hpx_args *encoded, uint64_t hash,
					       void **out)
{
	__attribute__((cleanup(memo_call_end))) struct memo_call m = {
		.memo = memo,
		.owner = owner,
		.args = args,
		.n = n,
		.encoded = encoded,
		.call = {
			.cache = memo->cache,
			.key = &encoded->key,
			.hash = hash,
			.deadline = options ? options->deadline : HAPAX_FOREVER,
			.held = HAPAX_NO_WAIT,
			.load = memo->compute ? hpx_memo_run_compute : NULL,
			.make = memo->make ? hpx_memo_run_make : NULL,
			.arg = &m,
			.refuse = memo->none ? refuse_all : NULL,
			.wants_error = options && options->error,
		},
	};

	return call_cache(&m, options ? options->error : NULL, out);
}

/* An owner's first call, and calls of a memo that finds nothing: what the other ones have done when they find nothing. */
__attribute__((noinline)) static int prepare(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n,
					     uint64_t deadline, struct hpx_args *encoded, uint64_t *hash)
{
	struct hpx_side *side;
	int rc = hpx_memo_identify(memo, owner, deadline, &side);

	if (!rc)
		rc = hpx_args_encode(encoded, memo->env, side, memo->owned, memo->typed, args, n);
	if (rc)
		return rc;
	rc = hpx_table_hash(memo->cache->table, &encoded->key, hash);
	if (rc)
		hpx_args_done(encoded, memo->env);
	return rc ? rc : HAPAX_MISS;
}

/* Whether `owner` has what its entries are keyed by. */
static inline bool identified(void *owner)
{
	struct hpx_object *o = hpx_object_of(owner);

	return HPX_LIKELY(hpx_side_of(o) != NULL) && HPX_LIKELY(!hpx_dead(o));
}

static inline __attribute__((always_inline)) int call(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n,
						      const hapax_memo_call_options *options, void **out)
{
	struct hpx_args encoded;
	uint64_t hash;
	int rc;

	if (HPX_UNLIKELY(memo->owned != !!owner))
		return hpx_memo_check_owner(memo, owner);
	if (HPX_UNLIKELY(memo->none || (owner && !identified(owner)))) {
		rc = prepare(memo, owner, args, n, options ? options->deadline : HAPAX_FOREVER, &encoded, &hash);
	} else {
		rc = hpx_args_encode(&encoded, memo->env, owner ? hpx_side_of(hpx_object_of(owner)) : NULL, owner, memo->typed,
				     args, n);
		if (HPX_UNLIKELY(rc))
			return rc;
		rc = owner ? hpx_cache_hit_in_room(memo->cache, &encoded.key, &hash, out)
			   : hpx_cache_hit(memo->cache, &encoded.key, &hash, out);
		if (HPX_LIKELY(rc <= 0))
			hpx_args_done(&encoded, memo->env);
	}
	return HPX_LIKELY(rc <= 0) ? rc : call_slow(memo, owner, args, n, options, &encoded, hash, out);
}

int hapax_memo_call(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n, void **out)
{
	if (HPX_UNLIKELY(!out))
		return HAPAX_ENULL;
	*out = NULL;
	return HPX_TAKEN_OUT(HPX_LIKELY(memo != NULL) ? call(memo, owner, args, n, NULL, out) : HAPAX_ENULL, out);
}

int hapax_memo_get(hapax_memo *memo, void *owner, hapax_key key, void **out)
{
	hapax_arg arg = hapax_arg_bytes(key.data, key.size, HAPAX_TAG_BYTES);
	HPX_TAKES_FOR_CALLER;

	return hapax_memo_call(memo, owner, &arg, 1, out);
}

int hapax_memo_call_with(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n, const hapax_memo_call_options *options,
			 void **out)
{
	HPX_TAKES_FOR_CALLER;
	if (!options)
		return hapax_memo_call(memo, owner, args, n, out);
	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!memo)
		return HAPAX_ENULL;
	if (options->size != sizeof(*options))
		return HAPAX_EOPTSIZE;
	if (options->flags)
		return HAPAX_EFLAGS;
	if (options->error)
		*options->error = (hapax_load_error){.code = 0};
	return HPX_TAKEN_OUT(call(memo, owner, args, n, options, out), out);
}

/* ---- without calling --------------------------------------------------------------------------------------------- */

/* The key of what may be there: 0; HAPAX_MISS: nothing can be. */
static int encode_present(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n, struct hpx_args *encoded)
{
	struct hpx_side *side = NULL;
	int rc = hpx_memo_check_owner(memo, owner);

	if (rc)
		return rc;
	if (memo->owned) {
		rc = hpx_memo_fit_owner(memo, hpx_object_of(owner));
		if (rc)
			return rc;
		side = hpx_side_of(hpx_object_of(owner));
	}
	rc = hpx_args_encode(encoded, memo->env, side, memo->owned, memo->typed, args, n);
	if (!rc && memo->owned && !side) {
		hpx_args_done(encoded, memo->env);
		rc = HAPAX_MISS;
	}
	return rc;
}

int hapax_memo_find(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n, void **out)
{
	struct hpx_args encoded;
	hapax_env *env;
	int rc;
	HPX_TAKES_FOR_CALLER;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!memo)
		return HAPAX_ENULL;
	env = memo->env;
	rc = encode_present(memo, owner, args, n, &encoded);
	if (rc)
		return rc;
	hpx_env_hold(env); /* what was looked at may have died meanwhile, and end the memo */
	rc = memo->none ? HAPAX_MISS : hapax_cache_get_quietly(memo->cache, encoded.key, out);
	hpx_args_done(&encoded, env);
	hpx_env_drop(env);
	return rc;
}

int hapax_memo_forget(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n)
{
	struct hpx_args encoded;
	hapax_env *env;
	bool none;
	int rc;

	if (!memo)
		return HAPAX_ENULL;
	env = memo->env;
	rc = encode_present(memo, owner, args, n, &encoded);
	if (rc)
		return rc;
	none = memo->none;
	hpx_env_hold(env); /* the destructor of the result may end the memo */
	rc = hapax_cache_remove(memo->cache, encoded.key); /* also what is being computed for a memo that keeps nothing */
	hpx_args_done(&encoded, env);
	hpx_env_drop(env);
	return none && !rc ? HAPAX_MISS : rc;
}
