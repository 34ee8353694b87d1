/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/bound.c - bound callbacks: a function with a target and a second part, both held weakly.
 *
 *      hapax_bound --> side records of target and part      one reference each: what calls look through
 *           ^  ^-----  a registration on each               only if somebody is to be told (`dead`)
 *           '--------  calls in progress
 *
 * `dead` is told by whoever takes `told` from ARMED to TELLING: the callback of the part that dies first. The other
 * one finds it taken, and a drop takes it to CANCELLED. No handles are registered: nobody can list one and so keep a
 * registration alive.
 *
 * Two counts. `uses` are the reasons not to free ctx: the owner, each call, and `dead` until it has been told or
 * cancelled. `refs` are the reasons not to free the memory: `uses` as a whole, and each registration. A drop that
 * finds a registration firing, and may not wait, leaves it with its reference.
 */
#include <errno.h>

#include <hapax/bound.h>

#include "object/internal.h"
#include "object/side.h"
#include "object/trace.h"

enum { TARGET, PART, PARTS };
enum { ARMED, TELLING, TOLD, CANCELLED };

struct hapax_bound {
	hapax_env *env; /* held */
	int (*fn)(void *target, void *part, void *ctx, void *arg);
	void (*dead)(hapax_bound *bound, void *ctx);
	void (*ctx_free)(void *ctx);
	void *ctx;
	struct hpx_side *side[PARTS]; /* a node's reference each. [PART] NULL: there is none */
	struct hpx_reg *reg[PARTS];   /* [PART] NULL: none, or the target's does */
	hpx_u64 uses;
	hpx_u32 refs;
	hpx_u32 told;
};

/* ---- its end ----------------------------------------------------------------------------------------------------- */

static void ref_drop(hapax_bound *b)
{
	hapax_env *env = b->env;

	/* order: BOUND.REFS acq_rel; all use of it before it is freed */
	if (hpx_sub_acq_rel(&b->refs, 1) != 1)
		return;
	for (int i = 0; i < PARTS; i++)
		if (b->side[i])
			hpx_side_drop(b->side[i], HPX_SIDE_NODE);
	hpx_free(env, b, sizeof(*b), _Alignof(hapax_bound));
	hpx_env_drop(env);
}

/* As in side.c, what follows user code comes in cleanups: it is done as well when that code leaves its thread. */
static void ref_dropped(hapax_bound **b) { ref_drop(*b); }

static void unused(hapax_bound *given)
{
	hapax_bound *b __attribute__((cleanup(ref_dropped))) = given;
	HPX_USER_CODE(frame, NULL);

	if (b->ctx_free)
		b->ctx_free(b->ctx);
}

static void uses_drop(hapax_bound *b, unsigned n)
{
	/* order: BOUND.USES acq_rel; all calls, and `dead`, before ctx is freed */
	if (hpx_sub_acq_rel(&b->uses, n) == n)
		unused(b);
}

static void use_dropped(hapax_bound **b) { uses_drop(*b, 1); }

/* ---- deaths of parts --------------------------------------------------------------------------------------------- */

static void told(hapax_bound **given)
{
	hapax_bound *b __attribute__((cleanup(use_dropped))) = *given;

	/* order: BOUND.TOLD -> release; all that `dead` did */
	hpx_store_release(&b->told, TOLD);
}

static void part_died(hapax_weak *weak, void *ctx)
{
	hapax_bound *b = ctx;
	uint32_t state = ARMED;

	(void)weak;
	/* order: -> BOUND.TOLD acquire; as below, in two steps */
	if (HPX_BROKEN(BOUND_TOLD_TWICE) && hpx_load_acquire(&b->told) == ARMED) {
		hpx_store_release(&b->told, TELLING);
		b->dead(b, b->ctx);
		told(&b);
		return;
	}
	/* order: BOUND.TOLD acq_rel; one of two deaths and a drop */
	if (hpx_cas_acq_rel(&b->told, &state, TELLING)) {
		hapax_bound *telling __attribute__((cleanup(told))) = b;

		b->dead(b, b->ctx);
	}
}

/* Its registration is over: fired or cancelled. */
static void part_gone(void *ctx) { ref_drop(ctx); }

/* ---- making ------------------------------------------------------------------------------------------------------ */

static int check(const hapax_bound_options *o, hapax_env **env)
{
	void *parts[PARTS] = {o->target, o->part ? o->part : o->target};
	struct hpx_class *c[PARTS];

	if (!o->fn || !o->target)
		return HAPAX_ENULL;
	hpx_enter();
	for (int i = 0; i < PARTS; i++) {
		c[i] = hpx_class_of(hpx_object_of(parts[i]));
		if (c[i]->type->flags & HAPAX_TYPE_NOT_WEAK)
			return HAPAX_ENOTWEAK;
		if (hpx_dead(hpx_object_of(parts[i])))
			return HAPAX_EDEAD;
	}
	*env = c[TARGET]->env;
	return c[TARGET]->env == c[PART]->env ? 0 : HAPAX_EFOREIGN;
}

static int bind(hapax_bound *b, int which, void *object, bool again)
{
	hapax_callback callback = {part_died, b, part_gone};
	struct hpx_object *o = hpx_object_of(object);
	int status = hpx_side_get(o, &b->side[which]);

	if (status)
		return status;
	/* order: SIDE.REFS relaxed; the object's own reference keeps the record */
	hpx_add_relaxed(&b->side[which]->refs, HPX_SIDE_NODE);
	if (!b->dead || again)
		return 0;
	/* order: BOUND.REFS relaxed; the maker's own is among them */
	hpx_add_relaxed(&b->refs, 1);
	status = hpx_callback_new(o, &callback, &b->reg[which]);
	if (status)
		hpx_sub_relaxed(&b->refs, 1);
	return status;
}

static hapax_bound *make(hapax_env *env, const hapax_bound_options *o)
{
	hapax_bound *b = hpx_alloc(env, sizeof(*b), _Alignof(hapax_bound));

	if (!b)
		return NULL;
	hpx_env_hold(env);
	b->env = env;
	b->fn = o->fn;
	b->dead = o->dead;
	b->ctx_free = o->ctx_free;
	b->ctx = o->ctx;
	hpx_init(&b->uses, o->dead ? 2 : 1);
	hpx_init(&b->refs, 1);
	hpx_init(&b->told, o->dead ? ARMED : CANCELLED);
	return b;
}

int hapax_bound_new(hapax_bound **out, const hapax_bound_options *options)
{
	hapax_env *env = NULL;
	hapax_bound *b;
	int status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!options)
		return HAPAX_ENULL;
	if (options->size != sizeof(*options))
		return HAPAX_EOPTSIZE;
	status = check(options, &env);
	if (!status)
		status = hpx_admit(env, HAPAX_FOREVER);
	if (status)
		return status;
	b = make(env, options);
	if (!b)
		return HAPAX_ENOMEM;
	status = bind(b, TARGET, options->target, false);
	if (!status && options->part)
		status = bind(b, PART, options->part, options->part == options->target);
	if (status) {
		b->ctx_free = NULL; /* ctx stays the caller's */
		hapax_bound_drop(b);
		return status;
	}
	*out = b;
	return 0;
}

int hapax_bound_drop(hapax_bound *bound)
{
	int saved = errno, status = 0;
	uint32_t state = ARMED;
	bool cancelled;

	if (!bound)
		return 0;
	hpx_enter();
	/* order: BOUND.TOLD acq_rel; see part_died */
	cancelled = hpx_cas_acq_rel(&bound->told, &state, CANCELLED);
	for (int i = 0; i < PARTS; i++)
		if (bound->reg[i] && hpx_callback_end(bound->reg[i]))
			status = HAPAX_INFLIGHT;
	/* order: -> BOUND.TOLD acquire; a callback that has nothing to tell, or has told, may be running still */
	if (status && hpx_load_acquire(&bound->told) != TELLING)
		status = 0;
	uses_drop(bound, cancelled ? 2 : 1);
	errno = saved;
	return status;
}

/* ---- using ------------------------------------------------------------------------------------------------------- */

struct held {
	void *part[PARTS];
};

static void release(struct held *held)
{
	hapax_release(held->part[PART]);
	hapax_release(held->part[TARGET]);
}

static int hold(hapax_bound *b, struct held *held)
{
	for (int i = 0; i < PARTS && b->side[i]; i++) {
		held->part[i] = hapax_weak_get(&b->side[i]->weak);
		if (!held->part[i])
			return HAPAX_DEAD;
	}
	return 0;
}

static int call(hapax_bound *b, void *arg, int *result)
{
	struct held held __attribute__((cleanup(release))) = {{NULL}};
	int status = hold(b, &held), value;

	if (status)
		return status;
	{
		HPX_USER_CODE(frame, NULL);

		value = b->fn(held.part[TARGET], held.part[PART], b->ctx, arg);
	}
	if (result)
		*result = value;
	return 0;
}

static int call_used(hapax_bound *given, void *arg, int *result)
{
	hapax_bound *b __attribute__((cleanup(use_dropped))) = given;

	/* order: BOUND.USES relaxed; the caller's handle is among them */
	hpx_add_relaxed(&b->uses, 1);
	return call(b, arg, result);
}

int hapax_bound_call(hapax_bound *bound, void *arg, int *result)
{
	HPX_TAKES_FOR_CALLER;
	return bound ? call_used(bound, arg, result) : HAPAX_ENULL;
}

int hapax_bound_get(hapax_bound *bound, void **target, void **part)
{
	HPX_TAKES_FOR_CALLER;
	struct held held __attribute__((cleanup(release))) = {{NULL}};

	if (target)
		*target = NULL;
	if (part)
		*part = NULL;
	if (!bound)
		return HAPAX_ENULL;
	if (hold(bound, &held))
		return HAPAX_DEAD;
	if (target) {
		*target = held.part[TARGET];
		held.part[TARGET] = NULL;
	}
	if (part) {
		*part = held.part[PART];
		held.part[PART] = NULL;
	}
	return 0;
}

bool hapax_bound_alive(hapax_bound *bound)
{
	if (!bound)
		return false;
	for (int i = 0; i < PARTS && bound->side[i]; i++)
		if (!hapax_weak_alive(&bound->side[i]->weak))
			return false;
	return true;
}

bool hapax_bound_equal(hapax_bound *a, hapax_bound *b)
{
	if (a == b)
		return true;
	return a && b && a->fn == b->fn && a->side[TARGET] == b->side[TARGET] && a->side[PART] == b->side[PART] &&
	       hapax_bound_alive(a);
}

uint64_t hapax_bound_hash(hapax_bound *bound)
{
	uint64_t hash;

	if (!bound)
		return 0;
	hash = (uint64_t)(uintptr_t)bound->fn ^ hpx_side_hash(bound->side[TARGET]);
	return hash * UINT64_C(0x9e3779b97f4a7c15) ^ hpx_side_hash(bound->side[PART]);
}
