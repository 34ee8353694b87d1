/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/weak.c - weak handles.
 *
 * A handle without a callback is the object's side record itself, counted; a handle with one (or with a ctx_free alone)
 * is a node of that record's list. side.h has the picture and the states.
 *
 * The barrier. The last drop of a callback handle either leaves ARMED first, and then it runs ctx_free and nobody calls
 * the callback; or the death was first, and then the drop waits until the callback and its ctx_free have returned.
 * It does not wait inside user code that hapax runs on this thread: two callbacks that drop each other's handles would
 * wait for ever. Nor inside a read section, where the callback might be waiting for its end. It says so with
 * HAPAX_INFLIGHT; the firing thread runs ctx_free in any case, and the node stays until both are done with it.
 */
#include <errno.h>
#include <pthread.h>

#include "object/hot.h"
#include "object/internal.h"
#include "object/side.h"
#include "object/trace.h"

static struct hpx_reg *node_of(hapax_weak *weak) { return HPX_CONTAINER_OF(weak, struct hpx_reg, weak); }

static bool is_shared(hapax_weak *weak)
{
	/* order: WEAK.KIND relaxed; the caller's handle, made before */
	return hpx_load_relaxed(&weak->kind) == HPX_WEAK_SHARED;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static int shared_take(struct hpx_side *side)
{
	/* order: SIDE.HANDLE relaxed; the caller holds the object or another handle */
	uint64_t seen = hpx_add_relaxed(&side->refs, HPX_SIDE_HANDLE);

	if (HPX_LIKELY(HPX_SIDE_HANDLES(seen) < HPX_HANDLE_LIMIT))
		return 0;
	hpx_sub_relaxed(&side->refs, HPX_SIDE_HANDLE);
	return HAPAX_EOVERFLOW;
}

static int node_take(struct hpx_reg *reg)
{
	/* order: REG.HANDLE relaxed; the caller holds another handle */
	uint32_t seen = hpx_add_relaxed(&reg->handles, 1);

	if (HPX_LIKELY(seen < HPX_HANDLE_LIMIT))
		return 0;
	hpx_sub_relaxed(&reg->handles, 1);
	return HAPAX_EOVERFLOW;
}

static int shared_new(struct hpx_object *o, hapax_weak **out)
{
	struct hpx_side *side;
	int status = hpx_side_get(o, &side);

	if (!status)
		status = shared_take(side);
	if (!status)
		*out = &side->weak;
	return status;
}

int hpx_callback_new(struct hpx_object *o, const hapax_callback *callback, struct hpx_reg **out)
{
	struct hpx_reg *reg = hpx_reg_make(o);
	int status;

	*out = NULL;
	if (!reg)
		return HAPAX_ENOMEM;
	hpx_store_relaxed(&reg->weak.kind, HPX_WEAK_CALLBACK); /* order: WEAK.KIND relaxed; REG.ARM publishes it */
	reg->callback = *callback;
	status = hpx_reg_arm(reg);
	if (!status)
		*out = reg;
	return status;
}

static int node_new(struct hpx_object *o, const hapax_callback *callback, hapax_weak **out)
{
	struct hpx_reg *reg;
	int status = hpx_callback_new(o, callback, &reg);

	if (status)
		return status;
	/* Last of all: from here on the listing may take handles, of an armed registration. The object cannot have died
	 * meanwhile, as the caller holds it. */
	/* order: REG.LIST -> release; the registration and its sequence number */
	if (HPX_BROKEN(RELAXED_LIST))
		hpx_store_relaxed(&reg->handles, 1);
	else
		hpx_store_release(&reg->handles, 1);
	*out = &reg->weak;
	return 0;
}

/* What a handle to an object whose death has begun is answered. */
__attribute__((noinline, cold)) static int dead_new(struct hpx_object *o)
{
	hpx_enter();
	return hpx_class_of(o)->type->flags & HAPAX_TYPE_NOT_WEAK ? HAPAX_ENOTWEAK : HAPAX_EDEAD;
}

/* One that needs memory: a callback's own, or the first without one. */
__attribute__((noinline)) static int memory_new(struct hpx_object *o, const hapax_callback *callback, hapax_weak **out)
{
	struct hpx_class *c = hpx_class_of(o);
	int status;

	hpx_enter();
	if (c->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	status = hpx_admit(c->env, HAPAX_FOREVER);
	if (status)
		return status;
	return callback ? node_new(o, callback, out) : shared_new(o, out);
}

/* Whatever is not the plain one below. */
__attribute__((noinline)) static int new_any(void *object, const hapax_callback *callback, hapax_weak **out)
{
	struct hpx_object *o;
	struct hpx_side *side;
	int status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!object)
		return HAPAX_ENULL;
	o = hpx_object_of(object);
	if (HPX_UNLIKELY(hpx_dead(o)))
		return dead_new(o);
	if (callback && (callback->fn || callback->ctx_free))
		return memory_new(o, callback, out);
	side = hpx_side_of(o);
	if (HPX_UNLIKELY(!side))
		return memory_new(o, NULL, out);
	/* one that is there says that the type is weak, and knows the environment */
	status = hpx_admit(side->env, HAPAX_FOREVER);
	if (HPX_LIKELY(!status))
		status = shared_take(side);
	if (HPX_LIKELY(!status))
		*out = &side->weak;
	return status;
}

/* It was one too many, or garbage has to go first. */
__attribute__((noinline, cold)) static int new_undone(void *object, struct hpx_side *side, hapax_weak **out)
{
	hpx_sub_relaxed(&side->refs, HPX_SIDE_HANDLE); /* order: SIDE.HANDLE relaxed; the caller holds the object */
	return new_any(object, NULL, out);
}

int hapax_weak_new(void *object, const hapax_callback *callback, hapax_weak **out)
{
	struct hpx_side *side;
	uint64_t seen;

	if (HPX_UNLIKELY(!object) || HPX_UNLIKELY(!out) || HPX_UNLIKELY(callback != NULL) ||
	    HPX_UNLIKELY(hpx_dead(hpx_object_of(object))))
		return new_any(object, callback, out);
	side = hpx_side_of(hpx_object_of(object));
	if (HPX_UNLIKELY(!side))
		return new_any(object, NULL, out);
	/* order: SIDE.HANDLE relaxed; as in shared_take(). First, and then the looks at the environment: loads before it would
	 * have to end before it begins, those behind it go beside what follows */
	seen = hpx_add_relaxed(&side->refs, HPX_SIDE_HANDLE);
	if (HPX_UNLIKELY(HPX_SIDE_HANDLES(seen) >= HPX_HANDLE_LIMIT) || HPX_UNLIKELY(!hpx_gate_open(side->env)))
		return new_undone(object, side, out);
	*out = &side->weak;
	return 0;
}

int hapax_weak_dup(hapax_weak *weak, hapax_weak **out)
{
	int status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!weak)
		return HAPAX_ENULL;
	status = is_shared(weak) ? shared_take(hpx_side_of_weak(weak)) : node_take(node_of(weak));
	if (!status)
		*out = weak;
	return status;
}

/* ---- dropping ---------------------------------------------------------------------------------------------------- */

/* After the subtraction of a handle that was the last of everything, or was none: then it is put back. */
__attribute__((noinline, cold)) static int shared_end(struct hpx_side *side, uint64_t seen)
{
	if (seen == HPX_SIDE_HANDLE) {
		hpx_side_retire(side);
		return 0;
	}
	/* order: SIDE.REFS acq_rel; who gave up the last node meanwhile did not see that it was the last */
	if (hpx_add_acq_rel(&side->refs, HPX_SIDE_HANDLE) + HPX_SIDE_HANDLE == 0)
		hpx_side_retire(side);
	hpx_misuse("weak handle %p dropped too often", (void *)&side->weak);
	return 0;
}

/* Until the callback has returned, or will not because its thread did not come along at a fork. */
static void wait_fired(struct hpx_reg *reg)
{
	struct hpx_side *side = reg->side;
	uint32_t state, old;
	int cancel;

	/* The handle is consumed; leaving by cancellation would leak it. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	while (side->process == hpx_load_relaxed(&hpx_process)) { /* order: SIDE.PROCESS relaxed; constant in a process */
		old = hpx_event_value(&side->event);
		state = HPX_REG_FIRING;
		/* order: REG.STATE acq_rel; announces the sleeper, and -> REG.FIRED acquire on failure. The event's value was
		 * read before, so a signal that answers the announcement changes it. */
		if (!hpx_cas_acq_rel(&reg->state, &state, HPX_REG_WAITED) && state != HPX_REG_WAITED)
			break;
		hpx_event_wait(&side->event, side->env, old, HAPAX_FOREVER);
	}
	pthread_setcancelstate(cancel, NULL);
}

static void recycle(struct hpx_reg **reg)
{
	if (!HPX_BROKEN(NODE_REUSED))
		hpx_reg_recycle(*reg);
	hpx_reg_drop(*reg);
}

/* This drop was before the death. The node is given back even if ctx_free leaves its thread. */
static void cancelled(struct hpx_reg *given)
{
	struct hpx_reg *reg __attribute__((cleanup(recycle))) = given;
	HPX_USER_CODE(frame, NULL);

	if (reg->callback.ctx_free)
		reg->callback.ctx_free(reg->callback.ctx);
}

int hpx_callback_end(struct hpx_reg *reg)
{
	int status = 0;

	if (hpx_reg_disarm(reg)) {
		cancelled(reg);
		return 0;
	}
	/* order: -> REG.FIRED acquire */
	if (hpx_load_acquire(&reg->state) != HPX_REG_FIRED) {
		if (hpx_self.frames || hpx_in_section())
			status = HAPAX_INFLIGHT;
		else if (!HPX_BROKEN(BARRIER_EARLY))
			wait_fired(reg);
	}
	hpx_reg_drop(reg);
	return status;
}

static int node_drop(struct hpx_reg *reg)
{
	/* order: REG.HANDLE acq_rel; use of the other handles before the cancellation */
	uint32_t seen = hpx_sub_acq_rel(&reg->handles, 1);

	if (HPX_UNLIKELY(seen == 0)) {
		hpx_add_relaxed(&reg->handles, 1);
		hpx_misuse("weak handle %p dropped too often", (void *)&reg->weak);
		return 0;
	}
	if (seen > 1)
		return 0;
	if (HPX_BROKEN(NODE_REUSED))
		hpx_reg_recycle(reg);
	HPX_BROKEN_WINDOW(NODE_REUSED);
	return hpx_callback_end(reg);
}

__attribute__((noinline)) static int callback_drop(struct hpx_reg *reg)
{
	int saved = errno, status;

	hpx_enter();
	status = node_drop(reg);
	errno = saved;
	return status;
}

int hapax_weak_drop(hapax_weak *weak)
{
	struct hpx_side *side;
	uint64_t seen;

	if (HPX_UNLIKELY(!weak))
		return 0;
	if (HPX_UNLIKELY(!is_shared(weak)))
		return callback_drop(node_of(weak));
	side = HPX_CONTAINER_OF(weak, struct hpx_side, weak);
	/* order: SIDE.REFS acq_rel; as in hpx_side_drop() */
	seen = hpx_sub_acq_rel(&side->refs, HPX_SIDE_HANDLE);
	if (HPX_UNLIKELY(!HPX_SIDE_HANDLES(seen)) || HPX_UNLIKELY(seen == HPX_SIDE_HANDLE))
		return shared_end(side, seen);
	return 0;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

/* A thread's first call, a section inside another one, or something is hot. */
__attribute__((noinline)) static void *get_any(hapax_weak *weak)
{
	struct hpx_object *o;

	hpx_enter();
	hpx_read_lock();
	/* order: -> OBJECT.SIDE, SIDE.DEAD acquire; the handle came from there */
	o = hpx_load_acquire(&hpx_side_of_weak(weak)->object);
	if (HPX_BROKEN(USE_AFTER_UNLOCK))
		hpx_read_unlock(), hpx_read_lock();
	if (o && !hpx_hot_got(o) && !hpx_take(o))
		o = NULL;
	hpx_read_unlock();
	HPX_TAKEN(o ? hpx_payload(o) : NULL);
	return o ? hpx_payload(o) : NULL;
}

void *hapax_weak_get(hapax_weak *weak)
{
	struct hpx_quick section;
	struct hpx_object *o;

	if (!weak)
		return NULL;
	/* order: HOT.USED relaxed; a hint: where it is missed the count does as well */
	if (HPX_UNLIKELY(hpx_load_relaxed(&hpx_ticking)) || HPX_UNLIKELY(!hpx_quick_lock(&section)))
		return get_any(weak);
	/* order: -> OBJECT.SIDE, SIDE.DEAD acquire; the handle came from there */
	o = hpx_load_acquire(&hpx_side_of_weak(weak)->object);
	if (HPX_BROKEN(USE_AFTER_UNLOCK))
		hpx_quick_unlock(&section), (void)hpx_quick_lock(&section);
	if (o && !hpx_take(o))
		o = NULL;
	hpx_quick_unlock(&section);
	HPX_TAKEN(o ? hpx_payload(o) : NULL);
	return o ? hpx_payload(o) : NULL;
}

bool hapax_weak_alive(hapax_weak *weak)
{
	struct hpx_object *o;
	bool alive;

	if (!weak)
		return false;
	hpx_enter();
	hpx_read_lock();
	/* order: -> OBJECT.SIDE, SIDE.DEAD acquire */
	o = hpx_load_acquire(&hpx_side_of_weak(weak)->object);
	alive = o && !hpx_dead(o);
	hpx_read_unlock();
	return alive;
}

int hapax_weak_callback(hapax_weak *weak, hapax_callback *out)
{
	if (!out)
		return HAPAX_ENULL;
	memset(out, 0, sizeof(*out));
	if (!weak)
		return HAPAX_ENULL;
	if (!hapax_weak_alive(weak))
		return HAPAX_DEAD;
	if (is_shared(weak) || !node_of(weak)->callback.fn)
		return HAPAX_EMPTY;
	*out = node_of(weak)->callback;
	return 0;
}

size_t hapax_weak_describe(hapax_weak *weak, char *buffer, size_t size)
{
	struct hpx_side *side;
	struct hpx_object *o;
	const char *kind, *name;
	int length;

	if (!weak) {
		length = snprintf(buffer, size, "weak handle NULL");
		return length < 0 ? 0 : (size_t)length;
	}
	side = hpx_side_of_weak(weak);
	kind = is_shared(weak) || !node_of(weak)->callback.fn ? "" : ", with callback";
	hpx_enter();
	/* In a section, and the type is looked at only if the object is seen alive in it: so the object's memory, which the
	 * type outlives, is still there. No reference is taken, because giving it back might run the object's death. */
	hpx_read_lock();
	/* order: -> OBJECT.SIDE, SIDE.DEAD acquire */
	o = hpx_load_acquire(&side->object);
	if (o && !hpx_dead(o)) {
		name = side->type->name ? side->type->name : "object";
		length = snprintf(buffer, size, "weak handle %p of %s %p%s", (void *)weak, name, hpx_payload(o), kind);
	} else {
		length = snprintf(buffer, size, "weak handle %p, dead%s", (void *)weak, kind);
	}
	hpx_read_unlock();
	return length < 0 ? 0 : (size_t)length;
}

static void release_held(void **object) { hapax_release(*object); }

int hapax_with_live(hapax_weak *weak, int (*fn)(void *object, void *arg), void *arg, int *result)
{
	void *object __attribute__((cleanup(release_held))) = NULL;
	int value;
	HPX_TAKES_FOR_CALLER;

	if (!fn)
		return HAPAX_ENULL;
	object = hapax_weak_get(weak);
	if (!object)
		return HAPAX_DEAD;
	{
		HPX_USER_CODE(frame, NULL);

		value = fn(object, arg);
	}
	if (result)
		*result = value;
	return 0;
}

uint64_t hapax_weak_count(const void *object)
{
	struct hpx_object *o;
	struct hpx_side *side;
	bool plain;

	if (!object)
		return 0;
	o = hpx_object_of(object);
	side = hpx_dead(o) ? NULL : hpx_side_of(o);
	if (!side)
		return 0;
	/* order: SIDE.TALLY relaxed; exact at rest */
	plain = HPX_SIDE_HANDLES(hpx_load_relaxed(&side->refs)) || hpx_load_relaxed(&side->quiet);
	return hpx_load_relaxed(&side->live) + plain;
}
