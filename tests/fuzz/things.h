/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/things.h - objects, handles and callbacks beside what is to become of them: the reference's half of the story.
 *
 * A thing is an object and its model: how many references there are, whether it has died, which registrations are still
 * to be called. A target's model is brought up to date before each call that may kill something, as user code that runs
 * in the call sees the world after the death. User code takes its steps from the input, too (things_step).
 */
#ifndef TEST_FUZZ_THINGS_H
#define TEST_FUZZ_THINGS_H

#include <hapax/hapax.h>
#include <hapax/testing.h>

#include "fuzz/fuzz.h"

enum { THINGS = 16, HANDLES = 20, REGISTRATIONS = 64, DEPTH = 3, STEPS = 400 };
#define THING_MAGIC UINT32_C(0x7417a11e)

struct payload {
	uint32_t magic;
	uint16_t slot;
	uint32_t born;
};

struct thing {
	struct payload *object; /* NULL: the slot is free */
	uint64_t refs;          /* all references there are */
	uint64_t owned;         /* of which are steps' to release; others are pins of iterators and calls */
	uint32_t born;
	bool weakable, deferred;
	bool dead, destroyed;
};

struct registration {
	struct thing *thing;
	uint32_t born; /* of the thing: slots are used again */
	uint32_t stamp; /* the newest is told first */
	hapax_weak *weak;
	unsigned handles;
	bool active, ran, running, freed;
};

struct handle {
	hapax_weak *weak; /* NULL: free */
	struct thing *thing;
	uint32_t born;
	struct registration *registration; /* NULL: without callback */
};

/* ---- memory that is counted, and fails when it is told to ------------------------------------------------------- */

struct fuzz_memory {
	size_t blocks, bytes;
	unsigned fail_in; /* allocation that fails, counted from 1; 0: none */
	bool fail_on;     /* and all after it */
	unsigned failures;
};

static void *fuzz_alloc(size_t size, size_t align, void *ctx)
{
	struct fuzz_memory *m = ctx;
	void *block;

	if (m->fail_in && m->fail_in == 1) {
		m->failures++;
		if (!m->fail_on)
			m->fail_in = 0;
		return NULL;
	}
	if (m->fail_in)
		m->fail_in--;
	FUZZ_CHECK(size && align >= 16 && !(align & (align - 1)), "%zu, %zu", size, align);
	block = aligned_alloc(align, (size + align - 1) & ~(align - 1));
	FUZZ_CHECK(block, "the machine has no %zu bytes", size);
	memset(block, 0xa5, size);
	m->blocks++;
	m->bytes += size;
	return block;
}

static void fuzz_free(void *block, size_t size, size_t align, void *ctx)
{
	struct fuzz_memory *m = ctx;

	(void)align;
	FUZZ_CHECK(block && m->blocks && m->bytes >= size, "%zu", size);
	m->blocks--;
	m->bytes -= size;
	free(block);
}

/* ---- the world ---------------------------------------------------------------------------------------------------- */

struct world {
	struct fuzz_input in;
	struct fuzz_memory memory;
	hapax_env *env;
	struct thing thing[THINGS];
	struct handle handle[HANDLES];
	struct registration registration[REGISTRATIONS];
	unsigned registrations, depth, steps;
	uint32_t born, stamp;
	unsigned slack;     /* references that a call in progress may have beyond the model's */
	/* of the target, may be NULL: something of `t` with this stamp is told of its death; 0: its destructor runs */
	void (*telling)(const struct thing *t, uint32_t stamp);
	unsigned user_code; /* pieces that ran */
	unsigned failures;  /* of memory, at the beginning of the call */
};
static struct world *world; /* the one that runs: user code finds it here */

/* The target's: one step, also inside user code; what a death takes out of its model. */
static void target_step(struct world *w);
static void target_forget(struct thing *t);

static const hapax_type *thing_type(bool weakable, bool deferred);

static void quiet_log(hapax_log_level level, const char *message, void *ctx)
{
	(void)level, (void)message, (void)ctx;
}

/* Steps inside user code, as many as the input says. */
static void user_code(void)
{
	struct world *w = world;

	w->user_code++;
	if (w->depth >= DEPTH)
		return;
	w->depth++;
	for (unsigned n = fuzz_below(&w->in, 4); n; n--)
		target_step(w);
	w->depth--;
}

static void thing_destroy(void *object, void *arg)
{
	struct payload *p = object;
	struct thing *t;

	(void)arg;
	FUZZ_CHECK(p->magic == THING_MAGIC && p->slot < THINGS, "not one of ours is destroyed");
	t = &world->thing[p->slot];
	FUZZ_CHECK(t->object == p && t->born == p->born, "an old thing is destroyed");
	FUZZ_CHECK(t->dead && !t->destroyed, "thing %u: dead %d, destroyed %d", p->slot, t->dead, t->destroyed);
	FUZZ_CHECK(hapax_count(p) == 0, "destroyed, and counted");
	for (unsigned i = 0; i < world->registrations; i++) {
		struct registration *r = &world->registration[i];

		if (r->thing == t && r->born == t->born && r->active)
			FUZZ_CHECK(r->ran && r->freed && !r->running, "destroyed before callback %u", i);
	}
	if (world->telling)
		world->telling(t, 0);
	FUZZ_TRACE("   destroyed %u", p->slot);
	user_code();
	FUZZ_CHECK(p->magic == THING_MAGIC, "overwritten during its destructor");
	p->magic = 0;
	t->destroyed = true;
}

#define THING(name_, flags_)                                                                                          \
	{                                                                                                             \
		HAPAX_TYPE_INIT, .name = name_, .size = sizeof(struct payload), .flags = (flags_), .destroy = thing_destroy \
	}
static const hapax_type thing_types[4] = {
	THING("thing", 0),
	THING("deferred thing", HAPAX_TYPE_DEFERRED),
	THING("strong thing", HAPAX_TYPE_NOT_WEAK),
	THING("strong deferred thing", HAPAX_TYPE_NOT_WEAK | HAPAX_TYPE_DEFERRED),
};

static const hapax_type *thing_type(bool weakable, bool deferred)
{
	return &thing_types[(weakable ? 0 : 2) + deferred];
}

/* ---- calls that may run out of memory ------------------------------------------------------------------------------ */

static void call_begins(struct world *w) { w->failures = w->memory.failures; }

/* An error for want of memory, and memory did fail. */
static bool no_memory(const struct world *w, int rc)
{
	if (rc != HAPAX_ENOMEM)
		return false;
	FUZZ_CHECK(w->memory.failures != w->failures, "HAPAX_ENOMEM, and no allocation had failed");
	return true;
}

/* ---- life and death ------------------------------------------------------------------------------------------------- */

static struct thing *free_slot(struct world *w)
{
	for (unsigned i = 0; i < THINGS; i++) {
		struct thing *t = &w->thing[i];

		if (t->object && t->destroyed)
			memset(t, 0, sizeof(*t));
		if (!t->object)
			return t;
	}
	return NULL;
}

/* `object` has one reference, and becomes the thing of this slot. */
static void thing_is(struct world *w, struct thing *t, void *object, bool weakable, bool deferred)
{
	*t = (struct thing){.object = object, .refs = 1, .owned = 1, .born = ++w->born, .weakable = weakable,
			    .deferred = deferred};
	*t->object = (struct payload){.magic = THING_MAGIC, .slot = (uint16_t)(t - w->thing), .born = t->born};
}

static struct thing *thing_of(void *object)
{
	struct payload *p = object;
	struct thing *t;

	FUZZ_CHECK(p->magic == THING_MAGIC && p->slot < THINGS, "something that is destroyed, or not ours");
	t = &world->thing[p->slot];
	FUZZ_CHECK(t->object == p && t->born == p->born && !t->destroyed, "something that is destroyed");
	FUZZ_CHECK(!t->dead, "thing %u is dead", p->slot);
	return t;
}

static struct thing *pick_thing(struct world *w)
{
	unsigned first = fuzz_byte(&w->in);

	for (unsigned i = 0; i < THINGS; i++) {
		struct thing *t = &w->thing[(first + i) % THINGS];

		if (t->object && t->owned)
			return t;
	}
	return NULL;
}

/* In the model, before the call that does it. */
static void drop_ref(struct thing *t)
{
	FUZZ_CHECK(t->refs && !t->dead, "the reference itself has gone wrong");
	if (--t->refs)
		return;
	t->dead = true;
	if (!fuzz_wrong("FORGETS_DEATH"))
		target_forget(t);
}

static void release(struct world *w, struct thing *t)
{
	void *object = t->object;

	(void)w;
	t->owned--;
	drop_ref(t);
	hapax_release(object);
}

/* A reference came out of a call. */
static void got_ref(struct thing *t)
{
	t->refs++;
	t->owned++;
}

static void step_new(struct world *w)
{
	struct thing *t = free_slot(w);
	unsigned kind = fuzz_byte(&w->in);
	bool weakable = kind % 8 != 7, deferred = kind % 4 == 3;
	void *object = (void *)1;
	int rc;

	if (!t)
		return;
	call_begins(w);
	rc = hapax_new(w->env, thing_type(weakable, deferred), kind % 16 == 15 ? 3000 : kind, &object);
	FUZZ_TRACE("%*snew %u: %d", (int)w->depth, "", (unsigned)(t - w->thing), rc);
	if (no_memory(w, rc)) {
		FUZZ_CHECK(!object, "an object beside an error");
		return;
	}
	FUZZ_CHECK(rc == 0 && hapax_count(object) == 1, "%d", rc);
	thing_is(w, t, object, weakable, deferred);
}

/* As many references as the model says, and `more`. */
static bool counted(const struct world *w, const struct thing *t, unsigned more)
{
	uint64_t count = hapax_count(t->object);

	return count >= t->refs + more && count <= t->refs + more + w->slack;
}

static void step_retain(struct world *w)
{
	struct thing *t = pick_thing(w);

	if (!t)
		return;
	FUZZ_CHECK(hapax_retain(t->object) == 0, "retain");
	got_ref(t);
	FUZZ_CHECK(counted(w, t, 0), "count %u", (unsigned)(t - w->thing));
}

static void step_release(struct world *w)
{
	struct thing *t = pick_thing(w);

	if (!t)
		return;
	FUZZ_TRACE("%*srelease %u of %u", (int)w->depth, "", (unsigned)(t - w->thing), (unsigned)t->refs);
	release(w, t);
}

/* ---- handles -------------------------------------------------------------------------------------------------------- */

static void registration_called(hapax_weak *weak, void *ctx)
{
	struct registration *r = ctx;

	FUZZ_CHECK(r->active && !r->ran && !r->freed && r->weak == weak, "called %d %d %d", r->active, r->ran, r->freed);
	FUZZ_CHECK(r->thing->dead && !r->thing->destroyed, "called before the death or after the destructor");
	FUZZ_CHECK(!hapax_weak_get(weak) && !hapax_weak_alive(weak), "called, and its handle reads alive");
	for (struct registration *later = r + 1; later < world->registration + world->registrations; later++)
		FUZZ_CHECK(later->thing != r->thing || later->born != r->born || !later->active || later->ran,
			   "an older callback runs first");
	if (world->telling)
		world->telling(r->thing, r->stamp);
	r->ran = r->running = true;
	FUZZ_TRACE("   callback %u", (unsigned)(r - world->registration));
	user_code();
	r->running = false;
}

static void registration_freed(void *ctx)
{
	struct registration *r = ctx;

	FUZZ_CHECK(!r->freed && !r->running, "freed twice, or while it runs");
	FUZZ_CHECK(r->ran || !r->active, "freed, and neither called nor cancelled");
	r->freed = true;
}

static struct handle *free_handle(struct world *w)
{
	for (unsigned i = 0; i < HANDLES; i++)
		if (!w->handle[i].weak)
			return &w->handle[i];
	return NULL;
}

static struct handle *pick_handle(struct world *w)
{
	unsigned first = fuzz_byte(&w->in);

	for (unsigned i = 0; i < HANDLES; i++)
		if (w->handle[(first + i) % HANDLES].weak)
			return &w->handle[(first + i) % HANDLES];
	return NULL;
}

/* NULL: the thing behind a handle is dead; its slot may be another's by now. */
static struct thing *alive_behind(const struct handle *h)
{
	return h->thing->object && h->thing->born == h->born && !h->thing->dead ? h->thing : NULL;
}

static void step_weak_new(struct world *w)
{
	struct thing *t = pick_thing(w);
	struct handle *h = free_handle(w);
	bool with_callback = fuzz_byte(&w->in) & 1 && w->registrations < REGISTRATIONS;
	struct registration *r = with_callback ? &w->registration[w->registrations] : NULL;
	hapax_callback callback = {registration_called, r, registration_freed};
	hapax_weak *weak = (void *)1;
	int rc;

	if (!t || !h)
		return;
	call_begins(w);
	rc = hapax_weak_new(t->object, r ? &callback : NULL, &weak);
	FUZZ_TRACE("%*sweak_new %u callback %d: %d", (int)w->depth, "", (unsigned)(t - w->thing),
		   r ? (int)w->registrations : -1, rc);
	FUZZ_CHECK((rc == 0) == (weak != NULL), "%d", rc);
	if (!t->weakable)
		FUZZ_CHECK(rc == HAPAX_ENOTWEAK, "%d", rc);
	if (rc == HAPAX_ENOTWEAK && !t->weakable)
		return;
	if (no_memory(w, rc))
		return;
	FUZZ_CHECK(rc == 0, "%d", rc);
	*h = (struct handle){.weak = weak, .thing = t, .born = t->born, .registration = r};
	if (r) {
		*r = (struct registration){.thing = t, .born = t->born, .stamp = ++w->stamp, .weak = weak, .handles = 1,
					   .active = true};
		w->registrations++;
	}
}

static void step_weak_get(struct world *w)
{
	struct handle *h = pick_handle(w);
	struct thing *t;
	void *object;

	if (!h)
		return;
	t = alive_behind(h);
	FUZZ_CHECK(hapax_weak_alive(h->weak) == (t != NULL), "alive");
	object = hapax_weak_get(h->weak);
	FUZZ_CHECK(object == (t ? t->object : NULL), "upgrade");
	if (t)
		got_ref(t);
}

static int count_live(void *object, void *arg)
{
	struct thing *t = arg;

	FUZZ_CHECK(object == t->object && counted(world, t, 1), "with_live");
	return 5;
}

static void step_weak_look(struct world *w)
{
	struct handle *h = pick_handle(w);
	hapax_callback callback;
	char text[40];
	struct thing *t;
	int rc, result = 0;

	if (!h)
		return;
	t = alive_behind(h);
	rc = hapax_weak_callback(h->weak, &callback);
	FUZZ_CHECK(rc == (!t ? HAPAX_DEAD : h->registration ? 0 : HAPAX_EMPTY), "%d", rc);
	FUZZ_CHECK(rc || callback.ctx == h->registration, "another's callback");
	FUZZ_CHECK(hapax_weak_describe(h->weak, text, sizeof(text)) > 0 && memchr(text, 0, sizeof(text)), "described");
	rc = hapax_with_live(h->weak, count_live, t, &result);
	FUZZ_CHECK(rc == (t ? 0 : HAPAX_DEAD) && result == (t ? 5 : 0), "%d, %d", rc, result);
}

static void step_weak_dup(struct world *w)
{
	struct handle *h = pick_handle(w), *to = free_handle(w);
	hapax_weak *weak = NULL;

	if (!h || !to)
		return;
	FUZZ_CHECK(hapax_weak_dup(h->weak, &weak) == 0 && weak, "dup");
	*to = *h;
	to->weak = weak;
	if (h->registration)
		h->registration->handles++;
}

/* The last handle of a registration that has not been called cancels it. */
static void drop_handle(struct world *w, struct handle *h)
{
	struct registration *r = h->registration;
	hapax_weak *weak = h->weak;
	bool last, running, freed;
	int rc;

	last = r && --r->handles == 0;
	running = r && r->running;
	freed = r && r->freed;
	if (last && !r->ran)
		r->active = false;
	memset(h, 0, sizeof(*h));
	rc = hapax_weak_drop(weak);
	FUZZ_TRACE("%*sweak_drop registration %d, last %d: %d", (int)w->depth, "",
		   r ? (int)(r - w->registration) : -1, last, rc);
	FUZZ_CHECK(rc == 0 || (rc == HAPAX_INFLIGHT && running), "%d", rc);
	if (!last)
		return;
	if (running)
		FUZZ_CHECK(rc == HAPAX_INFLIGHT && !r->freed, "dropped in its own callback: %d", rc);
	else
		FUZZ_CHECK(freed || r->freed, "dropped, and ctx_free has not run");
}

static void step_weak_drop(struct world *w)
{
	struct handle *h = pick_handle(w);

	if (h)
		drop_handle(w, h);
}

static void step_run_deferred(struct world *w)
{
	size_t n = hapax_run_deferred(w->env);

	FUZZ_TRACE("%*srun_deferred: %zu", (int)w->depth, "", n);
}

static void step_memory(struct world *w)
{
	unsigned how = fuzz_byte(&w->in);

	w->memory.fail_in = how & 127 ? how & 63 : 0;
	w->memory.fail_on = how >> 7;
	FUZZ_TRACE("%*smemory fails at %u%s", (int)w->depth, "", w->memory.fail_in, w->memory.fail_on ? " and on" : "");
}

static void step_reclaim(struct world *w)
{
	if (fuzz_byte(&w->in) & 1)
		hapax_testing_drain(w->env);
	else
		hapax_reclaim(w->env);
}

/* Outside all user code: who is dead has been destroyed, unless it waits for hapax_run_deferred(). */
static void things_settled(struct world *w)
{
	for (unsigned i = 0; i < THINGS; i++) {
		struct thing *t = &w->thing[i];

		if (t->object && t->dead && !t->deferred)
			FUZZ_CHECK(t->destroyed, "thing %u is dead, and not destroyed", i);
		if (t->object && !t->dead)
			FUZZ_CHECK(hapax_count(t->object) == t->refs, "thing %u: %u references, not %u", i,
				   (unsigned)hapax_count(t->object), (unsigned)t->refs);
	}
}

/* Each of the common steps, by number; false: not one of them. */
enum { COMMON_STEPS = 12 };
static void things_step(struct world *w, unsigned which)
{
	switch (which) {
	case 0: case 1: step_new(w); break;
	case 2: step_retain(w); break;
	case 3: case 4: step_release(w); break;
	case 5: step_weak_new(w); break;
	case 6: step_weak_get(w); break;
	case 7: step_weak_look(w); break;
	case 8: step_weak_dup(w); break;
	case 9: step_weak_drop(w); break;
	case 10: step_run_deferred(w); break;
	default: fuzz_byte(&w->in) % 3 ? step_memory(w) : step_reclaim(w); break;
	}
}

static void things_begin(struct world *w, const uint8_t *data, size_t size)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .seed = 1,
			       .allocator = {fuzz_alloc, fuzz_free, &w->memory}, .log = {.write = quiet_log}};

	memset(w, 0, sizeof(*w));
	w->in = (struct fuzz_input){data, data + size};
	world = w;
	FUZZ_CHECK(hapax_env_create(&w->env, &o) == 0, "environment");
}

/* Everything goes; nothing is left. */
static void things_end(struct world *w)
{
	w->memory.fail_in = 1; /* none of it needs memory */
	w->memory.fail_on = true;
	w->in.at = w->in.end;
	for (unsigned i = 0; i < HANDLES; i++)
		if (w->handle[i].weak && i % 2)
			drop_handle(w, &w->handle[i]);
	for (unsigned i = 0; i < THINGS; i++)
		while (w->thing[i].object && w->thing[i].owned)
			release(w, &w->thing[i]);
	while (hapax_run_deferred(w->env))
		;
	for (unsigned i = 0; i < HANDLES; i++)
		if (w->handle[i].weak)
			drop_handle(w, &w->handle[i]);
	things_settled(w);
	for (unsigned i = 0; i < w->registrations; i++)
		FUZZ_CHECK(w->registration[i].freed && w->registration[i].ran == w->registration[i].active,
			   "registration %u at the end", i);
	for (unsigned i = 0; i < THINGS; i++)
		FUZZ_CHECK(!w->thing[i].object || w->thing[i].destroyed, "thing %u is left", i);
	hapax_testing_drain(w->env);
	FUZZ_CHECK(hapax_testing_live_objects(w->env) == 0, "objects are left");
	hapax_env_destroy(w->env);
	hapax_testing_drain(NULL);
	FUZZ_CHECK(!w->memory.blocks && !w->memory.bytes, "%zu bytes in %zu blocks are left", w->memory.bytes,
		   w->memory.blocks);
}

#endif
