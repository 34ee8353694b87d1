/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz_memo.c - sequences of calls on a memo against a sequential reference: which calls run the function, what
 * the exact LRU order keeps within which bound, what is found again because somebody holds it, what goes with an owner,
 * and what the counters say.
 *
 * The function takes steps of its own: it calls for other arguments, forgets, clears, kills owners, and fails.
 */
#include <hapax/hapax.h>
#include <hapax/testing.h>

#include "fuzz/fuzz.h"

enum { OWNERS = 3, LISTS = 10, RESULTS = 1200, HELD = 12, STEPS = 500, CALLS = 3 };

struct result {
	uint32_t magic, id;
};
struct owner {
	uint32_t magic, number;
};
static const uint32_t result_magic = 0x4e5017ed, owner_magic = 0x0e4e4;

struct value {
	struct result *object;
	unsigned owner, list; /* the entry it was computed for */
	unsigned refs;	      /* the input's and calls' */
	bool dead;
};

struct counters {
	uint64_t hits, misses, computed, failed;
};

struct entry {
	struct value *value; /* NULL: absent */
	bool listed;	     /* retained by the memo */
	unsigned stamp;
};

/* A call that runs the function. */
struct call {
	struct call *up;
	unsigned owner, list;
	bool fenced, ran;
	int result;
	struct value *value;
};

static struct {
	struct fuzz_input in;
	hapax_env *env;
	hapax_memo *memo;
	/* options */
	bool owned, typed, shared, make;
	int64_t capacity; /* 0: none */
	/* the reference; owner 0 is all there is without owners */
	struct owner *owner[OWNERS];
	unsigned owner_refs[OWNERS];
	bool owner_ours[OWNERS], called[OWNERS];
	struct entry entry[OWNERS][LISTS];
	struct counters of[OWNERS], all;
	struct value value[RESULTS];
	struct value *held[HELD];
	unsigned values, stamps, steps, depth, dead_owners;
	struct call *calls;
} f;

/* ---- arguments ----------------------------------------------------------------------------------------------------
 */

/* Some lists that look alike; the number of the first one that is equal. */
static unsigned args_of(unsigned list, hapax_arg args[3], size_t *n)
{
	static const char text[] = "abc";
	unsigned same = list;

	*n = 1;
	switch (list) {
	case 0:
		*n = 0;
		break;
	case 1:
		args[0] = hapax_arg_int(1);
		break;
	case 2:
		args[0] = hapax_arg_uint(1);
		same = f.typed ? 2 : 1;
		break;
	case 3:
		args[0] = hapax_arg_double(1);
		break;
	case 4:
		args[0] = hapax_arg_bytes(text, 2, HAPAX_TAG_BYTES),
		args[1] = hapax_arg_bytes(text + 2, 1, HAPAX_TAG_BYTES), *n = 2;
		break;
	case 5:
		args[0] = hapax_arg_bytes(text, 1, HAPAX_TAG_BYTES),
		args[1] = hapax_arg_bytes(text + 1, 2, HAPAX_TAG_BYTES), *n = 2;
		break;
	case 6:
		args[0] = hapax_arg_string("abc");
		break;
	case 7:
		args[0] = hapax_arg_bytes(text, 3, HAPAX_TAG_BYTES);
		same = f.typed ? 7 : 6;
		break;
	case 8:
		args[0] = hapax_arg_string("");
		break;
	default:
		args[0] = hapax_arg_bytes(text, 3, HAPAX_TAG_USER), args[1] = hapax_arg_string(NULL), *n = 2;
		break;
	}
	return fuzz_wrong("TYPED") && list == 2 ? 1 : same;
}

/* ---- the reference ------------------------------------------------------------------------------------------------
 */

static unsigned room_size(unsigned owner)
{
	unsigned n = 0;

	for (unsigned o = 0; o < OWNERS; o++)
		for (unsigned l = 0; l < LISTS && (f.shared || o == owner); l++)
			n += f.entry[o][l].listed;
	return n;
}

/* It is not in the memo any more: what it was may live on in somebody's hands. */
static void leave(struct entry *e) { *e = (struct entry){.value = NULL}; }

/* The memo lets go of it: gone, unless somebody holds it. */
static void unlist(struct entry *e)
{
	e->listed = false;
	if (!e->value->refs)
		leave(e);
}

static void evict(unsigned owner)
{
	while ((int64_t)room_size(owner) > f.capacity) {
		struct entry *oldest = NULL;

		for (unsigned o = 0; o < OWNERS; o++)
			for (unsigned l = 0; l < LISTS && (f.shared || o == owner); l++) {
				struct entry *e = &f.entry[o][l];

				if (e->listed && (!oldest || e->stamp < oldest->stamp))
					oldest = e;
			}
		unlist(oldest);
	}
}

static void used(unsigned owner, struct entry *e)
{
	if (e->listed && fuzz_wrong("FIFO"))
		return;
	e->stamp = ++f.stamps;
	if (!e->listed && f.capacity) {
		e->listed = true;
		evict(owner);
	}
}

static void install(unsigned owner, unsigned list, struct value *v)
{
	struct entry *e = &f.entry[owner][list];

	e->value = v;
	e->listed = false;
	used(owner, e);
}

static void forget(unsigned owner, unsigned list)
{
	leave(&f.entry[owner][list]);
	for (struct call *c = f.calls; c; c = c->up)
		if (c->owner == owner && c->list == list)
			c->fenced = true;
}

static void forget_all(unsigned owner)
{
	for (unsigned l = 0; l < LISTS; l++)
		forget(owner, l);
}

static struct call *computing(unsigned owner, unsigned list)
{
	for (struct call *c = f.calls; c; c = c->up)
		if (c->owner == owner && c->list == list && !c->fenced && !c->ran)
			return c;
	return NULL;
}

/* One reference less, before the call that gives it back. */
static void unhold(struct value *v)
{
	struct entry *e = &f.entry[v->owner][v->list];

	FUZZ_CHECK(v->refs && !v->dead, "the reference itself has gone wrong");
	if (!--v->refs && e->value == v && !e->listed)
		leave(e);
}

/* ---- user code ----------------------------------------------------------------------------------------------------
 */

static void step(void);

static void quiet(hapax_log_level level, const char *text, void *ctx) { (void)level, (void)text, (void)ctx; }

static struct value *value_of(const void *object)
{
	const struct result *r = object;

	FUZZ_CHECK(r->magic == result_magic && r->id < f.values && f.value[r->id].object == r, "not a result of ours");
	FUZZ_CHECK(!f.value[r->id].dead, "a dead result");
	return &f.value[r->id];
}

static void result_destroy(void *object, void *arg)
{
	struct value *v = value_of(object);

	(void)arg;
	FUZZ_TRACE("   result %u is destroyed", v->object->id);
	FUZZ_CHECK(!v->refs, "result %u dies while it is held", v->object->id);
	FUZZ_CHECK(f.entry[v->owner][v->list].value != v, "result %u dies, and should be present", v->object->id);
	v->dead = true;
	v->object->magic = 0xdead;
}

/* In its destructor an owner is nobody's any more. */
static void owner_destroy(void *object, void *arg)
{
	struct owner *o = object;
	void *out = (void *)1;
	hapax_arg one = hapax_arg_int(1);

	(void)arg;
	FUZZ_CHECK(o->magic == owner_magic && f.owner[o->number] != o, "an owner that lives is destroyed");
	if (f.memo)
		FUZZ_CHECK(hapax_memo_call(f.memo, o, &one, 1, &out) == HAPAX_EDEAD && !out, "a dead owner called");
	o->magic = 0;
	f.dead_owners++;
}

static const hapax_type result_type = {HAPAX_TYPE_INIT, .name = "result", .size = sizeof(struct result),
				       .destroy = result_destroy};
static const hapax_type owner_type = {HAPAX_TYPE_INIT, .name = "owner", .size = sizeof(struct owner),
				      .destroy = owner_destroy};

static struct value *born(void *object, unsigned owner, unsigned list)
{
	struct value *v = &f.value[f.values];

	FUZZ_CHECK(f.values < RESULTS, "too many results");
	*v = (struct value){.object = object, .owner = owner, .list = list};
	*v->object = (struct result){.magic = result_magic, .id = f.values++};
	return v;
}

/* The function, but for where its result comes from: what it is to answer, a value in *v if that is OK. */
static int function(void *owner, const hapax_arg *args, size_t n, hapax_load_error *error)
{
	struct call *c = f.calls;
	hapax_arg mine[3];
	size_t count;
	unsigned how, list;

	FUZZ_CHECK(c && !c->ran && c->value == NULL, "the function runs, and nobody called");
	list = c->list;
	args_of(list, mine, &count);
	FUZZ_CHECK(owner == (f.owned ? f.owner[c->owner] : NULL) && n == count, "with other arguments");
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(args[i].size == mine[i].size &&
				   !memcmp(hapax_arg_data(&args[i]), hapax_arg_data(&mine[i]), mine[i].size),
			   "another argument");
	FUZZ_TRACE("   computes for owner %u list %u", c->owner, list);
	f.all.computed++;
	f.of[c->owner].computed++;
	if (f.depth < CALLS) {
		f.depth++;
		for (unsigned steps = fuzz_below(&f.in, 3); steps; steps--)
			step();
		f.depth--;
	}
	how = fuzz_below(&f.in, 8);
	c->result = how == 6 ? HAPAX_LOAD_NOVALUE : how == 7 ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK;
	if (how == 7)
		*error = (hapax_load_error){.code = 40 + (int)list};
	return c->result;
}

/* A reference of the call's own; and what it displaces dies in the call, before that returns. */
static void computed(void *result)
{
	struct call *c = f.calls;

	c->value = born(result, c->owner, c->list);
	c->value->refs = 1;
	if (!c->fenced && f.capacity)
		install(c->owner, c->list, c->value);
}

static int compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	int rc = function(owner, args, n, error);

	FUZZ_CHECK(ctx == &f, "another context");
	if (rc == HAPAX_LOAD_OK)
		computed(result);
	f.calls->ran = true;
	return rc;
}

static int make(void **result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	int rc = function(owner, args, n, error);

	FUZZ_CHECK(ctx == &f, "another context");
	if (rc == HAPAX_LOAD_OK) {
		FUZZ_CHECK(!hapax_new(f.env, &result_type, 0, result), "hapax_new");
		computed(*result);
	}
	f.calls->ran = true;
	return rc;
}

/* ---- steps --------------------------------------------------------------------------------------------------------
 */

static unsigned pick_owner(void)
{
	unsigned first = fuzz_byte(&f.in);

	if (!f.owned)
		return 0;
	for (unsigned i = 0; i < OWNERS; i++)
		if (f.owner[(first + i) % OWNERS])
			return (first + i) % OWNERS;
	return OWNERS;
}

static void *owner_of(unsigned owner) { return f.owned ? f.owner[owner] : NULL; }

static void release_owner(unsigned owner)
{
	struct owner *o = f.owner[owner];
	bool last = f.owner_refs[owner] == 1;

	if (last) {
		f.owner[owner] = NULL;
		for (unsigned l = 0; l < LISTS && !fuzz_wrong("OUTLIVES"); l++)
			leave(&f.entry[owner][l]);
		f.called[owner] = false;
		f.of[owner] = (struct counters){.hits = 0};
	}
	f.owner_refs[owner]--;
	FUZZ_TRACE("%*srelease owner %u%s", (int)f.depth, "", owner, last ? ", the last" : "");
	hapax_release(o);
}

static void step_owner(void)
{
	unsigned number = fuzz_below(&f.in, OWNERS);
	void *object;

	if (!f.owned)
		return;
	if (f.owner[number]) { /* calls in progress hold it, too */
		if (f.owner_ours[number])
			release_owner(number);
		f.owner_ours[number] = false;
		return;
	}
	FUZZ_CHECK(!hapax_new(f.env, &owner_type, 0, &object), "hapax_new");
	f.owner[number] = object;
	*f.owner[number] = (struct owner){owner_magic, number};
	f.owner_refs[number] = 1;
	f.owner_ours[number] = true;
}

static void release_value(unsigned slot)
{
	struct value *v = f.held[slot];

	f.held[slot] = NULL;
	unhold(v);
	hapax_release(v->object);
}

static void keep(struct value *v)
{
	unsigned first = fuzz_byte(&f.in);

	for (unsigned i = 0; i < HELD && first & 1; i++)
		if (!f.held[i]) {
			f.held[i] = v;
			return;
		}
	unhold(v);
	hapax_release(v->object);
}

/* The owner is held in the call: a step in the function may give back the one there was. */
static void step_call(void)
{
	unsigned owner = pick_owner(), list = fuzz_below(&f.in, LISTS), same;
	struct call call = {.up = f.calls, .owner = owner};
	struct entry *e;
	struct value *was;
	hapax_arg args[3];
	size_t n;
	void *out = (void *)1;
	hapax_load_error error = {.code = -1};
	hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
	bool self;
	int rc;

	if (owner == OWNERS || f.values + 8 > RESULTS)
		return;
	same = args_of(list, args, &n);
	call.list = same;
	e = &f.entry[owner][same];
	was = f.capacity ? e->value : NULL;
	self = !was && computing(owner, same);
	if (f.owned) {
		FUZZ_CHECK(!hapax_retain(f.owner[owner]), "retain");
		f.owner_refs[owner]++;
	}
	if (was) {
		was->refs++;
		used(owner, e);
		f.all.hits++;
		f.of[owner].hits++;
		f.called[owner] = true;
	} else {
		f.all.misses++;
		f.of[owner].misses++;
		f.called[owner] = true;
		if (!self)
			f.calls = &call;
	}
	rc = hapax_memo_call_with(f.memo, owner_of(owner), args, n, &o, &out);
	FUZZ_TRACE("%*scall owner %u list %u: %s", (int)f.depth, "", owner, list, hapax_status_name(rc));
	FUZZ_CHECK(!rc == !!out, "%d, and a result", rc);
	if (was) {
		FUZZ_CHECK(!rc && out == was->object, "it is present: %s", hapax_status_name(rc));
		keep(was);
	} else if (self) {
		FUZZ_CHECK(rc == HAPAX_EDEADLK, "in its own function: %s", hapax_status_name(rc));
	} else {
		f.calls = call.up;
		FUZZ_CHECK(call.ran, "it is absent, and was not computed: %s", hapax_status_name(rc));
		if (call.result == HAPAX_LOAD_OK) {
			FUZZ_CHECK(!rc && out == call.value->object, "computed: %s", hapax_status_name(rc));
			keep(call.value);
		} else {
			FUZZ_CHECK(rc == (call.result == HAPAX_LOAD_FAIL ? HAPAX_ELOADER : HAPAX_NOVALUE), "%s",
				   hapax_status_name(rc));
			FUZZ_CHECK(rc != HAPAX_ELOADER || error.code == 40 + (int)same || error.code == 40 + (int)list,
				   "code %d", error.code);
			f.all.failed++;
			f.of[owner].failed++;
		}
	}
	if (f.owned)
		release_owner(owner);
}

static void step_find(void)
{
	unsigned owner = pick_owner(), same;
	struct value *was;
	hapax_arg args[3];
	void *out = (void *)1;
	size_t n;
	int rc;

	if (owner == OWNERS)
		return;
	same = args_of(fuzz_below(&f.in, LISTS), args, &n);
	was = f.capacity ? f.entry[owner][same].value : NULL;
	rc = hapax_memo_find(f.memo, owner_of(owner), args, n, &out);
	FUZZ_CHECK(rc == (was ? 0 : HAPAX_MISS) && out == (was ? was->object : NULL), "%s", hapax_status_name(rc));
	if (was) {
		was->refs++;
		keep(was);
	}
}

static void step_forget(void)
{
	unsigned owner = pick_owner(), same;
	hapax_arg args[3];
	size_t n;
	bool was, flight;
	int rc;

	if (owner == OWNERS)
		return;
	same = args_of(fuzz_below(&f.in, LISTS), args, &n);
	was = f.capacity && f.entry[owner][same].value;
	flight = computing(owner, same);
	forget(owner, same);
	rc = hapax_memo_forget(f.memo, owner_of(owner), args, n);
	FUZZ_TRACE("%*sforget owner %u list %u: %s", (int)f.depth, "", owner, same, hapax_status_name(rc));
	FUZZ_CHECK(rc == (was ? 0 : HAPAX_MISS) || (flight && !rc), "%s", hapax_status_name(rc));
}

static uint64_t entries(unsigned owner)
{
	uint64_t n = 0;

	for (unsigned o = 0; o < OWNERS; o++)
		for (unsigned l = 0; l < LISTS && (owner == OWNERS || o == owner); l++)
			n += f.entry[o][l].value != NULL;
	return n;
}

static void check_info(const hapax_memo_info *i, unsigned owner, const struct counters *c, uint64_t present)
{
	unsigned owners = 0;

	for (unsigned o = 0; o < OWNERS; o++)
		owners += f.owned && f.called[o] && (owner == OWNERS || o == owner);
	FUZZ_CHECK(i->hits == c->hits && i->misses == c->misses && !i->waits,
		   "owner %u: %u hits, %u misses; not %u, %u", owner, (unsigned)i->hits, (unsigned)i->misses,
		   (unsigned)c->hits, (unsigned)c->misses);
	FUZZ_CHECK(i->computed == c->computed && i->failed == c->failed, "owner %u: %u computed, %u failed; not %u, %u",
		   owner, (unsigned)i->computed, (unsigned)i->failed, (unsigned)c->computed, (unsigned)c->failed);
	FUZZ_CHECK(i->entries == present, "owner %u: %u results, not %u", owner, (unsigned)i->entries,
		   (unsigned)present);
	FUZZ_CHECK(i->owners == owners, "%u owners, not %u", (unsigned)i->owners, owners);
	FUZZ_CHECK(i->capacity == f.capacity, "capacity");
}

/* Calls in progress may be counted or not: nothing is compared inside the function. */
static void step_info(void)
{
	hapax_memo_info info = {.size = sizeof(info)};

	if (f.depth)
		return;
	FUZZ_CHECK(!hapax_memo_info_get(f.memo, NULL, &info), "info");
	check_info(&info, OWNERS, &f.all, entries(OWNERS));
	for (unsigned o = 0; o < OWNERS && f.owned; o++)
		if (f.owner[o]) {
			FUZZ_CHECK(!hapax_memo_info_get(f.memo, f.owner[o], &info), "info");
			check_info(&info, o, &f.of[o], f.called[o] ? entries(o) : 0);
		}
}

static void step_clear(void)
{
	unsigned owner = fuzz_byte(&f.in) & 1 ? pick_owner() : OWNERS;
	hapax_memo_info info = {.size = sizeof(info)};
	struct counters before;
	uint64_t present;

	if (f.depth) /* in the function: what is in progress is counted on either side */
		return;
	if (!f.owned)
		owner = OWNERS;
	before = owner == OWNERS ? f.all : f.of[owner];
	present = entries(owner);
	for (unsigned o = 0; o < OWNERS; o++)
		if (owner == OWNERS || o == owner) {
			forget_all(o);
			f.of[o] = (struct counters){.hits = 0};
		}
	if (owner == OWNERS)
		f.all = (struct counters){.hits = 0};
	FUZZ_CHECK(!hapax_memo_clear(f.memo, owner == OWNERS ? NULL : f.owner[owner], &info), "clear");
	FUZZ_TRACE("clear %u", owner);
	check_info(&info, owner, &before, present);
}

static void step(void)
{
	unsigned first;

	if (f.steps++ > STEPS)
		return;
	switch (fuzz_below(&f.in, 16)) {
	default:
		step_call();
		break;
	case 8:
		step_find();
		break;
	case 9:
		step_forget();
		break;
	case 10:
		step_info();
		break;
	case 11:
		fuzz_below(&f.in, 3) ? step_info() : step_clear();
		break;
	case 12:
		step_owner();
		break;
	case 13:
	case 14:
	case 15:
		first = fuzz_byte(&f.in);
		for (unsigned i = 0; i < HELD; i++)
			if (f.held[(first + i) % HELD]) {
				release_value((first + i) % HELD);
				break;
			}
	}
}

/* ---- the run ------------------------------------------------------------------------------------------------------
 */

static void check(void)
{
	step_info();
	for (unsigned i = 0; i < f.values; i++) {
		struct value *v = &f.value[i];
		struct entry *e = &f.entry[v->owner][v->list];
		bool needed = v->refs || (e->value == v && e->listed);

		FUZZ_CHECK(v->dead == !needed, "result %u: dead %d, %u references", i, v->dead, v->refs);
		if (!v->dead)
			FUZZ_CHECK(hapax_count(v->object) == v->refs + (e->value == v && e->listed),
				   "result %u: %u references", i, (unsigned)hapax_count(v->object));
	}
}

static void begin(void)
{
	static const int64_t capacities[] = {HAPAX_ZERO, 1, 2, 3, 2, 3, 5, HAPAX_UNLIMITED};
	unsigned how = fuzz_byte(&f.in);
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .seed = 1,
				.log = {.write = quiet}};
	hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .type = &result_type, .ctx = &f, .policy = hapax_policy_lru()};

	o.capacity = capacities[how % 8];
	f.capacity = o.capacity == HAPAX_ZERO ? 0 : o.capacity;
	f.typed = how & 8;
	f.owned = how & 16;
	f.shared = f.owned && how & 32;
	f.make = how & 64;
	if (f.make)
		o.make = make;
	else
		o.compute = compute;
	o.flags = (f.owned ? HAPAX_MEMO_OWNED : 0u) | (f.typed ? HAPAX_MEMO_TYPED : 0u) |
		  (f.shared ? HAPAX_MEMO_SHARED_BUDGET : 0u);
	FUZZ_CHECK(!hapax_env_create(&f.env, &eo), "environment");
	o.env = f.env;
	FUZZ_CHECK(!hapax_memo_create(&f.memo, &o), "memo");
	FUZZ_TRACE("capacity %lld%s%s%s", (long long)f.capacity, f.typed ? " typed" : "", f.owned ? " owned" : "",
		   f.shared ? " shared" : "");
}

/* The memo ends before its owners and results, or after them. */
static void end(bool memo_first)
{
	hapax_memo *memo = f.memo;

	if (memo_first) {
		for (unsigned o = 0; o < OWNERS; o++)
			forget_all(o);
		f.memo = NULL;
		hapax_memo_destroy(memo);
	}
	for (unsigned i = 0; i < HELD; i++)
		if (f.held[i])
			release_value(i);
	for (unsigned o = 0; o < OWNERS; o++)
		if (f.owner[o])
			release_owner(o);
	if (!memo_first) {
		for (unsigned o = 0; o < OWNERS; o++)
			forget_all(o);
		f.memo = NULL;
		hapax_memo_destroy(memo);
	}
	for (unsigned i = 0; i < f.values; i++)
		FUZZ_CHECK(f.value[i].dead, "result %u is left", i);
	hapax_testing_drain(f.env);
	FUZZ_CHECK(!hapax_testing_live_objects(f.env), "objects are left");
	hapax_env_destroy(f.env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned n = 0;

	memset(&f, 0, sizeof(f));
	f.in = (struct fuzz_input){data, data + size};
	begin();
	while (f.in.at < f.in.end && f.steps < STEPS) {
		step();
		if (++n % 4 == 0)
			check();
	}
	check();
	end(size & 1);
	return 0;
}
