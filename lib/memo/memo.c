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
static const unsigned counted_as[HPX_ROOM_COUNTERS] = {
	[HPX_ROOM_HITS] = HPX_CACHE_HITS, /* by the cache */
	[HPX_ROOM_NOTHING] = HPX_CACHE_CLIENTS,
	[HPX_ROOM_COMPUTED] = HPX_CACHE_CLIENTS + 1,
	[HPX_ROOM_FAILED] = HPX_CACHE_CLIENTS + 2,
	[HPX_ROOM_WAITED] = HPX_CACHE_CLIENTS + 3,
	[HPX_ROOM_WAITED + HPX_ROOM_COMPUTED - HPX_ROOM_NOTHING] = HPX_CACHE_CLIENTS + 4,
	[HPX_ROOM_WAITED + HPX_ROOM_FAILED - HPX_ROOM_NOTHING] = HPX_CACHE_CLIENTS + 5,
};

static void count(struct memo_call *m, unsigned which)
{
	if (which != HPX_ROOM_HITS && m->call.waited)
		which += HPX_ROOM_WAITED - HPX_ROOM_NOTHING;
	if (which != HPX_ROOM_HITS)
		hpx_cache_count(m->memo->cache, counted_as[which], 1);
	if (m->room)
		hpx_room_count(m->room, which);
	m->counted = true;
}

/* The result is about to be found. */
static void count_result(void *arg) { count(arg, HPX_ROOM_COMPUTED); }

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

static void read_counters(hapax_memo *memo, struct hpx_room *room, uint64_t counters[HPX_ROOM_COUNTERS])
{
	for (unsigned i = 0; i < HPX_ROOM_COUNTERS; i++)
		/* order: -> ROOM.COUNT acquire */
		counters[i] = room ? hpx_load_acquire(&room->counters[i])
				   : hpx_counters_sum(&memo->cache->counters, counted_as[i]);
}

static uint64_t entries_of(hapax_memo *memo, struct hpx_room *room)
{
	uint64_t in, out;

	if (memo->none)
		return 0; /* whoever holds them, nothing is ever found */
	/* order: ROOM.POPULATION acquire; what is read afterwards has been counted before */
	if (room)
		return hpx_load_acquire(&room->population) / HPX_ROOM_ONE - 1;
	if (memo->owned)
		return hpx_load_acquire(&memo->rooms.entries);
	out = hpx_counters_sum(&memo->cache->counters, HPX_CACHE_OUT);
	in = hpx_counters_sum(&memo->cache->counters, HPX_CACHE_IN);
	return in > out ? in - out : 0;
}

/* ---- the function ------------------------------------------------------------------------------------------------ */

static int run_compute(void *result, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct memo_call *m = arg;

	(void)key;
	m->ran = true;
	return m->memo->compute(result, m->owner, m->args, m->n, m->memo->ctx, error);
}

static int run_make(void **result, const hapax_key *key, void *arg, hapax_load_error *error)
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

/* ---- owners ------------------------------------------------------------------------------------------------------ */

static struct hpx_room *room_by_arg(void *arg) { return ((struct memo_call *)arg)->room; }

static struct hpx_object *room_keeper(struct hpx_room *room)
{
	/* order: -> OBJECT.SIDE, SIDE.DEAD acquire */
	struct hpx_object *o = hpx_load_acquire(&room->side->object);

	return o && hpx_take(o) ? o : NULL;
}

/* Outside sections and locks: the owner has died, and its record reads absent. */
static void owner_died(void *value, void *ctx)
{
	struct hpx_room *room = value;
	hapax_memo *memo = ctx;
	HPX_CACHE_STAY stay = {.cache = NULL, .saved_errno = errno};

	hpx_room_close(room);
	hpx_read_lock();
	/* order: -> MEMO.ENDED acquire; not yet: the section keeps the cache's memory */
	if (!hpx_load_acquire(&memo->ended) && !hpx_cache_enter(memo->cache, HPX_CACHE_ENDING))
		stay.cache = memo->cache;
	hpx_read_unlock();
	if (stay.cache)
		hpx_tier_part(stay.cache, room, &room->link);
	else
		hpx_room_drop(room);
}

static void hold_memo(void *ctx) { hpx_rooms_hold(&((hapax_memo *)ctx)->rooms); }
static void drop_memo(void *ctx) { hpx_rooms_drop(&((hapax_memo *)ctx)->rooms); }
static const struct hpx_ident_ops owner_ops = {.died = owner_died, .hold = hold_memo, .drop = drop_memo};

/* The memo's end; the owner is alive. */
static void owner_left(void *value, void *ctx)
{
	(void)ctx;
	hpx_room_close(value);
	hpx_room_drop(value);
}

/* Is the owner given as it has to be? */
static int check_owner(const hapax_memo *memo, const void *owner)
{
	if (memo->owned)
		return owner ? 0 : HAPAX_ENULL;
	return owner ? HAPAX_EOPTION : 0;
}

/* Can it be one? */
static int fit_owner(const hapax_memo *memo, struct hpx_object *o)
{
	struct hpx_class *class = hpx_class_of(o);

	if (class->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	if (class->env != memo->env)
		return HAPAX_EFOREIGN;
	return hpx_dead(o) ? HAPAX_EDEAD : 0;
}

/* The room of a live owner, which its holder keeps; NULL: it has none. */
static struct hpx_room *room_find(hapax_memo *memo, void *owner)
{
	struct hpx_room *room;

	hpx_read_lock();
	room = hpx_ident_find(memo->owners, hpx_object_of(owner));
	hpx_read_unlock();
	return room;
}

/* `o`, held, has a side record. */
static int room_get(hapax_memo *memo, struct hpx_object *o, uint64_t deadline, struct hpx_room **out)
{
	void *old = NULL;
	int rc;

	*out = room_find(memo, hpx_payload(o));
	if (*out)
		return 0;
	rc = hpx_admit(memo->env, deadline);
	if (!rc)
		rc = hpx_room_new(out, &memo->rooms, hpx_side_of(o));
	if (rc)
		return rc;
	rc = hpx_ident_put_until(memo->owners, o, *out, false, deadline, &old);
	if (old)
		hpx_read_unlock(); /* the owner, which is held, keeps it */
	if (rc || old)
		hpx_room_discard(*out);
	*out = rc ? NULL : old ? old : *out;
	return rc;
}

/* The identity of an owner, made if it has none; outside sections. */
static int identify(hapax_memo *memo, void *owner, uint64_t deadline, struct hpx_side **side)
{
	struct hpx_object *o;
	int rc;

	*side = NULL;
	if (!memo->owned)
		return 0;
	o = hpx_object_of(owner);
	rc = fit_owner(memo, o);
	if (!rc && hpx_cache_state(memo->cache) != HPX_CACHE_OPEN)
		rc = HAPAX_ECLOSED;
	*side = rc ? NULL : hpx_side_of(o);
	if (rc || *side)
		return rc;
	hpx_thread_ready();
	rc = hpx_admit(memo->env, deadline);
	return rc ? rc : hpx_side_get(o, side);
}

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

/* A reference to the owner, or NULL: its death has begun. */
static struct hpx_object *hold(void *owner)
{
	struct hpx_object *o = hpx_object_of(owner);
	bool held;

	hpx_read_lock();
	held = hpx_take(o);
	hpx_read_unlock();
	return held ? o : NULL;
}

static int resolve(struct memo_call *m, struct hpx_object **o)
{
	int rc;

	if (m->owner) {
		m->held = hold(m->owner);
		rc = m->held ? room_get(m->memo, m->held, m->call.deadline, &m->room) : HAPAX_EDEAD;
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
			.load = memo->compute ? run_compute : NULL,
			.make = memo->make ? run_make : NULL,
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
	int rc = identify(memo, owner, deadline, &side);

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
		return check_owner(memo, owner);
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
	int rc = check_owner(memo, owner);

	if (rc)
		return rc;
	if (memo->owned) {
		rc = fit_owner(memo, hpx_object_of(owner));
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

/* ---- info and clear ---------------------------------------------------------------------------------------------- */

static void lock(hapax_memo *memo) { pthread_mutex_lock(&memo->cache->tier->lock); }

static void unlock(hapax_memo *memo)
{
	if (hpx_tier_unlock(memo->cache))
		hpx_tier_settle(memo->cache);
}

static uint64_t since(uint64_t now, uint64_t then) { return now > then ? now - then : 0; }

static void fill(hapax_memo *memo, struct hpx_room *room, const uint64_t counters[HPX_ROOM_COUNTERS], uint64_t entries,
		 hapax_memo_info *info)
{
	const uint64_t *begun = room ? room->begun : memo->begun;
	uint64_t n[HPX_ROOM_COUNTERS];
	const uint64_t *waited = &n[HPX_ROOM_WAITED - HPX_ROOM_NOTHING]; /* the same for those that waited before */

	for (unsigned i = 0; i < HPX_ROOM_COUNTERS; i++)
		n[i] = since(counters[i], begun[i]);
	info->hits = n[HPX_ROOM_HITS];
	info->failed = n[HPX_ROOM_FAILED] + waited[HPX_ROOM_FAILED];
	info->computed = n[HPX_ROOM_COMPUTED] + waited[HPX_ROOM_COMPUTED] + info->failed;
	info->waits = waited[HPX_ROOM_NOTHING] + waited[HPX_ROOM_COMPUTED] + waited[HPX_ROOM_FAILED];
	info->misses = n[HPX_ROOM_NOTHING] + waited[HPX_ROOM_NOTHING] + info->computed;
	/* the dying are counted until their deaths have come round to it; no more can be there than were computed */
	info->entries = entries < info->computed - info->failed ? entries : info->computed - info->failed;
}

static int check_info(hapax_memo *memo, const void *owner, const hapax_memo_info *info)
{
	if (!memo)
		return HAPAX_ENULL;
	if (info && info->size != sizeof(*info))
		return HAPAX_EOPTSIZE;
	return owner ? check_owner(memo, owner) : 0;
}

static void prepare_info(const hapax_memo *memo, hapax_memo_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->capacity = memo->capacity;
}

int hapax_memo_info_get(hapax_memo *memo, void *owner, hapax_memo_info *info)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	uint64_t counters[HPX_ROOM_COUNTERS], entries;
	struct hpx_room *room = NULL;
	int rc = info ? check_info(memo, owner, info) : HAPAX_ENULL;

	if (rc)
		return rc;
	rc = hpx_cache_stay(&stay, memo->cache, HPX_CACHE_CLOSED);
	if (rc)
		return rc;
	if (owner)
		room = room_find(memo, owner);
	prepare_info(memo, info);
	info->owners = room ? 1 : memo->owned && !owner ? hpx_ident_size(memo->owners) : 0;
	if (owner && !room)
		return 0;
	lock(memo);
	entries = entries_of(memo, room);
	read_counters(memo, room, counters);
	fill(memo, room, counters, entries, info);
	unlock(memo);
	return 0;
}

static void begin_anew(uint64_t begun[HPX_ROOM_COUNTERS], const uint64_t counters[HPX_ROOM_COUNTERS])
{
	for (unsigned i = 0; i < HPX_ROOM_COUNTERS; i++)
		begun[i] = begun[i] > counters[i] ? begun[i] : counters[i];
}

/* Every owner's counters begin with what they were before the clear (mark), once it is over. Of several clears at once all begin
 * with what the last one read: none of them returns before that, and what was counted between is removed by that one. */
static void each_room(hapax_memo *memo, bool mark)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	struct hpx_room *room;

	if (!memo->owned)
		return;
	do {
		o = NULL;
		hpx_read_lock();
		room = hpx_ident_next(memo->owners, &cursor, &o);
		hpx_read_unlock();
		if (room) {
			lock(memo);
			if (mark)
				read_counters(memo, room, room->marked);
			else
				begin_anew(room->begun, room->marked);
			unlock(memo);
		}
		if (o)
			hpx_cache_release(memo->cache, o);
	} while (o);
}

static void let_go(struct hpx_object **o)
{
	if (*o)
		hpx_release(*o);
}

/*
 * The counters are read first and take effect last. What is in the table at the end was computed after the reading, by a load that
 * the clear has not met; so whoever looks sees at most as many entries as misses, whichever counters it finds.
 */
int hapax_memo_clear(hapax_memo *memo, void *owner, hapax_memo_info *info)
{
	__attribute__((cleanup(let_go))) struct hpx_object *held = NULL;
	HPX_CACHE_STAY stay = {.cache = NULL};
	uint64_t counters[HPX_ROOM_COUNTERS], entries;
	struct hpx_room *room = NULL;
	int rc = check_info(memo, owner, info);

	if (rc)
		return rc;
	rc = hpx_cache_stay(&stay, memo->cache, HPX_CACHE_CLOSED);
	if (rc)
		return rc;
	held = owner ? hold(owner) : NULL;
	if (held)
		room = room_find(memo, owner);
	if (info)
		prepare_info(memo, info);
	if (owner && !room)
		return 0;
	entries = entries_of(memo, room);
	read_counters(memo, room, counters);
	if (!room)
		each_room(memo, true);
	hpx_cache_clear(memo->cache, room);
	if (!room)
		each_room(memo, false);
	if (info)
		info->owners = room ? 1 : memo->owned ? hpx_ident_size(memo->owners) : 0;
	lock(memo);
	if (info)
		fill(memo, room, counters, entries, info);
	begin_anew(room ? room->begun : memo->begun, counters);
	unlock(memo);
	return 0;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* The cache is empty, and nobody comes in any more. */
static void finished(void *ctx)
{
	hapax_memo *memo = ctx;

	/* order: MEMO.ENDED -> release; deaths in sections that have not seen it keep the cache's memory */
	hpx_store_release(&memo->ended, 1);
	if (memo->owners)
		hpx_ident_end(memo->owners, owner_left, memo);
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
		.load = memo->compute ? run_compute : NULL,
		.make = memo->make ? run_make : NULL,
		.keys = {.hash = o->keys.hash, .ctx = o->keys.ctx},
		.name = o->name ? o->name : "memo",
	};
	int rc = 0;

	bound(memo, o, &cache);
	memo->client = (struct hpx_client){.finished = finished, .freed = freed, .commits = count_result, .ctx = memo};
	if (memo->owned) {
		memo->client.of = room_by_arg;
		memo->client.in = hpx_room_enter;
		memo->client.out = hpx_room_leave;
		memo->client.depart = hpx_rooms_depart;
		memo->client.above = hpx_rooms_above;
		memo->client.keeper = room_keeper;
		memo->client.identity = sizeof(uint64_t);
		rc = hpx_ident_new(&memo->owners, memo->env, 0, &owner_ops, memo);
	}
	if (!rc)
		rc = hpx_cache_create(&memo->cache, &cache, &memo->client);
	if (rc && memo->owners)
		hpx_ident_end(memo->owners, owner_left, memo);
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
