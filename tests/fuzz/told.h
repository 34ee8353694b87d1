/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/told.h - finalizers and bound callbacks: who is told when a thing dies, beside the registrations of things.h.
 *
 * All that is told of one thing's death is told newest first; each has a stamp, the registrations too.
 */
#ifndef TEST_FUZZ_TOLD_H
#define TEST_FUZZ_TOLD_H

#include "fuzz/things.h"

enum { FINS = 64, BOUNDS = 48 };
enum fin_state { WAITING, RUNNING, RAN, DETACHED };

struct fin {
	struct thing *thing;
	uint32_t born, stamp;
	hapax_finalizer *handle; /* NULL: given back */
	enum fin_state state;
	bool exits, frees, freed, by_hand;
};

struct bound {
	hapax_bound *bound;    /* NULL: given back */
	struct thing *part[2]; /* the second one NULL: it has none */
	uint32_t born[2], stamp;
	unsigned how, calls; /* calls: in progress */
	bool tells, told, telling, given_back, freed;
};

static struct fin fins[FINS];
static struct bound bounds[BOUNDS];
static unsigned n_fins, n_bounds, all_running, all_ran;

static bool lives(const struct thing *t, uint32_t born) { return t->object && t->born == born && !t->dead; }

static bool bound_live(const struct bound *b)
{
	return lives(b->part[0], b->born[0]) && (!b->part[1] || lives(b->part[1], b->born[1]));
}

static bool bound_on(const struct bound *b, const struct thing *t, uint32_t born)
{
	return (b->part[0] == t && b->born[0] == born) || (b->part[1] == t && b->born[1] == born);
}

/* Nothing newer than `stamp` is still to be told that `t` is dead. */
static void telling(const struct thing *t, uint32_t stamp)
{
	for (unsigned i = 0; i < n_fins; i++)
		FUZZ_CHECK(fins[i].thing != t || fins[i].born != t->born || fins[i].stamp <= stamp ||
				   fins[i].state != WAITING,
			   "finalizer %u has not run yet", i);
	for (unsigned i = 0; i < n_bounds; i++)
		FUZZ_CHECK(!bound_on(&bounds[i], t, t->born) || bounds[i].stamp <= stamp || !bounds[i].tells ||
				   bounds[i].told || bounds[i].given_back,
			   "bound callback %u has not been told yet", i);
	for (unsigned i = 0; i < world->registrations; i++) {
		struct registration *r = &world->registration[i];

		FUZZ_CHECK(r->thing != t || r->born != t->born || r->stamp <= stamp || !r->active || r->ran,
			   "callback %u has not been called yet", i);
	}
}

/* ---- finalizers ---------------------------------------------------------------------------------------------------
 */

static struct fin *newest_at_exit(void)
{
	for (unsigned i = n_fins; i; i--)
		if (fins[i - 1].exits && fins[i - 1].state == WAITING)
			return &fins[i - 1];
	return NULL;
}

static void not_any_more(struct fin *f)
{
	hapax_finalize what;
	void *object = (void *)1;
	int result = 3;

	FUZZ_CHECK(!hapax_finalizer_alive(f->handle), "finalizer %u is alive", (unsigned)(f - fins));
	FUZZ_CHECK(hapax_finalizer_peek(f->handle, &what, &object) == HAPAX_DEAD && !object && !what.fn, "peek");
	FUZZ_CHECK(hapax_finalizer_run(f->handle, &result) == HAPAX_DEAD && result == 3, "run");
	FUZZ_CHECK(hapax_finalizer_detach(f->handle, &what) == HAPAX_DEAD && !what.fn, "detach");
}

static int finalized(void *ctx)
{
	struct fin *f = ctx;

	FUZZ_TRACE("   finalizer %u%s", (unsigned)(f - fins), f->by_hand ? ", by hand" : "");
	FUZZ_CHECK(f->state == WAITING && !f->freed, "finalizer %u runs in state %d", (unsigned)(f - fins), f->state);
	if (f->by_hand) {
		f->by_hand = false;
	} else if (lives(f->thing, f->born) || (all_running && f->exits && newest_at_exit() == f)) {
		FUZZ_CHECK(all_running && f == newest_at_exit(), "finalizer %u runs, and its object lives",
			   (unsigned)(f - fins));
		all_ran++;
	} else {
		FUZZ_CHECK(!f->thing->destroyed && f->thing->born == f->born, "a finalizer runs after the destructor");
		if (!fuzz_wrong("OLDEST_FIRST"))
			telling(f->thing, f->stamp);
		else
			for (unsigned i = 0; fins + i < f; i++)
				FUZZ_CHECK(fins[i].thing != f->thing || fins[i].born != f->born ||
						   fins[i].state != WAITING,
					   "finalizer %u has not run yet", i);
	}
	f->state = RUNNING;
	if (f->handle)
		not_any_more(f);
	user_code();
	if (f->handle)
		not_any_more(f);
	f->state = RAN;
	return (int)(f - fins) + 100;
}

static void finalized_freed(void *ctx)
{
	struct fin *f = ctx;

	FUZZ_CHECK(f->frees && !f->freed && f->state == RAN, "ctx_free of finalizer %u in state %d",
		   (unsigned)(f - fins), f->state);
	f->freed = true;
}

static void step_fin_new(struct world *w)
{
	struct thing *t = pick_thing(w);
	unsigned how = fuzz_byte(&w->in);
	struct fin *f = &fins[n_fins];
	hapax_finalize what = {finalized, f, how & 1 ? finalized_freed : NULL};
	hapax_finalizer *handle = (void *)1;
	int rc;

	if (!t || n_fins == FINS)
		return;
	call_begins(w);
	rc = hapax_finalizer_new(t->object, &what, how & 2 ? HAPAX_FINALIZE_AT_EXIT : 0, how & 12 ? &handle : NULL);
	FUZZ_TRACE("%*sfinalizer %u of %u%s: %d", (int)w->depth, "", n_fins, (unsigned)(t - w->thing),
		   how & 2 ? ", at exit" : "", rc);
	FUZZ_CHECK(!(how & 12) || !rc == !!handle, "%d, and a handle", rc);
	if (!t->weakable)
		FUZZ_CHECK(rc == HAPAX_ENOTWEAK, "%d", rc);
	if (!t->weakable || no_memory(w, rc))
		return;
	FUZZ_CHECK(!rc, "%d", rc);
	*f = (struct fin){.thing = t,
			  .born = t->born,
			  .stamp = ++w->stamp,
			  .handle = how & 12 ? handle : NULL,
			  .exits = how & 2,
			  .frees = how & 1};
	n_fins++;
}

static struct fin *pick_fin(struct world *w)
{
	unsigned first = fuzz_byte(&w->in);

	for (unsigned i = 0; i < n_fins; i++)
		if (fins[(first + i) % n_fins].handle)
			return &fins[(first + i) % n_fins];
	return NULL;
}

static void step_fin(struct world *w)
{
	struct fin *f = pick_fin(w);
	unsigned how = fuzz_byte(&w->in) % 8;
	hapax_finalizer *handle;
	hapax_finalize what;
	void *object = (void *)1;
	int rc, result = 7;
	bool waits;

	if (!f)
		return;
	handle = f->handle;
	waits = f->state == WAITING;
	FUZZ_TRACE("%*sfinalizer %u: %s", (int)w->depth, "", (unsigned)(f - fins),
		   how < 2    ? "run"
		   : how == 2 ? "detach"
		   : how < 5  ? "peek"
			      : "drop");
	if (how < 2) {
		f->by_hand = waits;
		rc = hapax_finalizer_run(handle, &result);
		FUZZ_CHECK(rc == (waits ? 0 : HAPAX_DEAD) && result == (waits ? (int)(f - fins) + 100 : 7), "%d, %d",
			   rc, result);
		FUZZ_CHECK(!waits || (f->state == RAN && f->freed == f->frees), "run, and it has not");
	} else if (how == 2) {
		if (waits)
			f->state = DETACHED;
		rc = hapax_finalizer_detach(handle, &what);
		FUZZ_CHECK(rc == (waits ? 0 : HAPAX_DEAD), "%d", rc);
		FUZZ_CHECK(waits ? what.fn == finalized && what.ctx == f : !what.fn,
			   "detached with another's contents");
	} else if (how < 5) {
		waits = waits && lives(f->thing, f->born);
		FUZZ_CHECK(hapax_finalizer_alive(handle) == waits, "alive");
		rc = hapax_finalizer_peek(handle, &what, &object);
		FUZZ_CHECK(rc == (waits ? 0 : HAPAX_DEAD) && object == (waits ? f->thing->object : NULL), "%d", rc);
		FUZZ_CHECK(waits ? what.fn == finalized && what.ctx == f : !what.fn, "another's contents");
		if (waits)
			got_ref(f->thing);
	} else {
		f->handle = NULL;
		hapax_finalizer_drop(handle);
	}
}

static void step_finalize_all(struct world *w)
{
	unsigned before = all_ran, code;
	size_t n;

	all_running++;
	code = w->user_code;
	n = hapax_finalize_all(w->env);
	all_running--;
	FUZZ_TRACE("%*sfinalize_all: %zu", (int)w->depth, "", n);
	FUZZ_CHECK(!newest_at_exit(), "a finalizer is left");
	/* user code may have called it, too */
	FUZZ_CHECK(n <= all_ran - before && (w->user_code - code > n || n == all_ran - before), "%zu ran, not %u", n,
		   all_ran - before);
}

/* ---- bound callbacks ----------------------------------------------------------------------------------------------
 */

static struct bound *called_now;

static int bound_called(struct bound *b, void *target, void *part, const void *arg)
{
	struct world *w = world;

	FUZZ_CHECK(b == called_now && arg == w, "called, and nobody did");
	FUZZ_CHECK(target == b->part[0]->object && part == (b->part[1] ? b->part[1]->object : NULL), "other parts");
	FUZZ_TRACE("   bound callback %u", (unsigned)(b - bounds));
	b->calls++;
	user_code();
	FUZZ_CHECK(b->part[0]->object == target && thing_of(target) == b->part[0], "the target died in the call");
	b->calls--;
	drop_ref(b->part[0]); /* the one it was called with */
	return (int)(b - bounds) + 200;
}

static int bound_fn(void *target, void *part, void *ctx, void *arg)
{
	FUZZ_CHECK(!(((struct bound *)ctx)->how & 1), "another function");
	return bound_called(ctx, target, part, arg);
}

static int other_fn(void *target, void *part, void *ctx, void *arg)
{
	FUZZ_CHECK(((struct bound *)ctx)->how & 1, "another function");
	return bound_called(ctx, target, part, arg);
}

static void bound_dead(hapax_bound *bound, void *ctx)
{
	struct bound *b = ctx;
	bool first = !lives(b->part[0], b->born[0]), second = b->part[1] && !lives(b->part[1], b->born[1]);

	FUZZ_TRACE("   bound callback %u is dead", (unsigned)(b - bounds));
	FUZZ_CHECK(b->tells && !b->told && !b->given_back && !b->freed && b->bound == bound, "told %d, given back %d",
		   b->told, b->given_back);
	FUZZ_CHECK(first || second, "told, and all parts are alive");
	FUZZ_CHECK(!hapax_bound_alive(bound) && hapax_bound_call(bound, NULL, NULL) == HAPAX_DEAD,
		   "told, and it is alive");
	if (first != second)
		telling(b->part[second], b->stamp);
	b->told = b->telling = true;
	user_code();
	b->telling = false;
}

static void bound_freed(void *ctx)
{
	struct bound *b = ctx;

	FUZZ_CHECK(b->given_back && !b->freed && !b->calls && !b->telling,
		   "ctx_free: given back %d, freed %d, %u calls", b->given_back, b->freed, b->calls);
	b->freed = true;
}

static void step_bound_new(struct world *w)
{
	struct thing *t = pick_thing(w), *part = NULL;
	unsigned how = fuzz_byte(&w->in);
	struct bound *b = &bounds[n_bounds];
	hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = how & 1 ? other_fn : bound_fn, .ctx = b,
				 .ctx_free = bound_freed, .dead = how & 2 ? bound_dead : NULL};
	hapax_bound *bound = (void *)1;
	bool weakable;
	int rc;

	if (!t || n_bounds == BOUNDS)
		return;
	if ((how & 12) == 4)
		part = t;
	else if (how & 8)
		part = pick_thing(w);
	o.target = t->object;
	o.part = part ? part->object : NULL;
	weakable = t->weakable && (!part || part->weakable);
	*b = (struct bound){.part = {t, part},
			    .born = {t->born, part ? part->born : 0},
			    .stamp = ++w->stamp,
			    .how = how,
			    .tells = how & 2};
	call_begins(w);
	rc = hapax_bound_new(&bound, &o);
	FUZZ_TRACE("%*sbound callback %u of %u and %d%s: %d", (int)w->depth, "", n_bounds, (unsigned)(t - w->thing),
		   part ? (int)(part - w->thing) : -1, how & 2 ? ", told" : "", rc);
	FUZZ_CHECK(!rc == !!bound, "%d", rc);
	if (!weakable)
		FUZZ_CHECK(rc == HAPAX_ENOTWEAK || no_memory(w, rc), "%d", rc);
	if (!weakable || no_memory(w, rc))
		return;
	FUZZ_CHECK(!rc, "%d", rc);
	b->bound = bound;
	n_bounds++;
}

static struct bound *pick_bound(struct world *w)
{
	unsigned first = fuzz_byte(&w->in);

	for (unsigned i = 0; i < n_bounds; i++)
		if (bounds[(first + i) % n_bounds].bound)
			return &bounds[(first + i) % n_bounds];
	return NULL;
}

/* The part is kept by a reference of the step's, so that one thing at most dies at the end of the call: the target. */
static void bound_call(struct world *w, struct bound *b)
{
	struct bound *above = called_now;
	bool live = bound_live(b);
	struct thing *part = live ? b->part[1] : NULL;
	unsigned slack = w->slack;
	int rc, result = 9;

	if (part) {
		FUZZ_CHECK(!hapax_retain(part->object), "retain");
		part->refs++;
		w->slack = slack + 1;
	}
	if (live)
		b->part[0]->refs++;
	called_now = b;
	rc = hapax_bound_call(b->bound, w, &result);
	called_now = above;
	w->slack = slack;
	FUZZ_TRACE("%*scall of bound callback %u: %d", (int)w->depth, "", (unsigned)(b - bounds), rc);
	FUZZ_CHECK(rc == (live ? 0 : HAPAX_DEAD) && result == (live ? (int)(b - bounds) + 200 : 9), "%d, %d", rc,
		   result);
	FUZZ_CHECK(!b->given_back || b->calls || b->telling || b->freed, "given back, and ctx_free has not run");
	if (part) {
		void *object = part->object;

		drop_ref(part);
		hapax_release(object);
	}
}

static void bound_drop(struct world *w, struct bound *b)
{
	hapax_bound *bound = b->bound;
	bool now = b->telling;
	int rc;

	b->bound = NULL;
	b->given_back = true;
	rc = hapax_bound_drop(bound);
	FUZZ_TRACE("%*sdrop of bound callback %u: %d", (int)w->depth, "", (unsigned)(b - bounds), rc);
	FUZZ_CHECK(rc == (now ? HAPAX_INFLIGHT : 0), "%d", rc);
	FUZZ_CHECK(b->freed == (!b->calls && !now), "freed %d in %u calls", b->freed, b->calls);
}

static bool bounds_equal(const struct bound *a, const struct bound *b)
{
	if (a == b)
		return true;
	return bound_live(a) && bound_live(b) && !((a->how ^ b->how) & 1) && a->part[0] == b->part[0] &&
	       a->part[1] == b->part[1];
}

static void step_bound(struct world *w)
{
	struct bound *b = pick_bound(w), *other;
	void *target = (void *)1, *part = (void *)1;
	int rc;

	if (!b)
		return;
	switch (fuzz_byte(&w->in) % 6) {
	case 0:
	case 1:
		bound_call(w, b);
		break;
	case 2:
		bound_drop(w, b);
		break;
	case 3:
		rc = hapax_bound_get(b->bound, &target, &part);
		FUZZ_CHECK(rc == (bound_live(b) ? 0 : HAPAX_DEAD) && hapax_bound_alive(b->bound) == !rc, "%d", rc);
		FUZZ_CHECK(target == (rc ? NULL : b->part[0]->object), "another target");
		FUZZ_CHECK(part == (rc || !b->part[1] ? NULL : b->part[1]->object), "another part");
		if (target)
			got_ref(b->part[0]);
		if (part)
			got_ref(b->part[1]);
		break;
	default:
		other = pick_bound(w);
		FUZZ_CHECK(hapax_bound_equal(b->bound, other->bound) == bounds_equal(b, other),
			   "%u and %u, equal or not", (unsigned)(b - bounds), (unsigned)(other - bounds));
		FUZZ_CHECK(!bounds_equal(b, other) || hapax_bound_hash(b->bound) == hapax_bound_hash(other->bound),
			   "hash");
	}
}

/* ---- the end ------------------------------------------------------------------------------------------------------
 */

static void told_begin(struct world *w)
{
	n_fins = n_bounds = all_running = all_ran = 0;
	w->telling = telling;
}

/* Handles go before and after their things. */
static void told_drop(struct world *w, unsigned every)
{
	for (unsigned i = 0; i < n_fins; i += every)
		if (fins[i].handle) {
			hapax_finalizer_drop(fins[i].handle);
			fins[i].handle = NULL;
		}
	for (unsigned i = 0; i < n_bounds; i += every)
		if (bounds[i].bound)
			bound_drop(w, &bounds[i]);
}

/* All things are dead and destroyed. */
static void told_settled(struct world *w)
{
	for (unsigned i = 0; i < n_fins; i++) {
		FUZZ_CHECK(fins[i].state == RAN || fins[i].state == DETACHED, "finalizer %u at the end: %d", i,
			   fins[i].state);
		FUZZ_CHECK(fins[i].freed == (fins[i].frees && fins[i].state == RAN), "ctx_free of finalizer %u", i);
	}
	for (unsigned i = 0; i < n_bounds; i++)
		FUZZ_CHECK(!bounds[i].tells || bounds[i].told || bounds[i].given_back, "bound callback %u was not told",
			   i);
	told_drop(w, 1);
	for (unsigned i = 0; i < n_bounds; i++)
		FUZZ_CHECK(bounds[i].freed, "ctx_free of bound callback %u", i);
}

#endif
