/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/finalizer.c - one-shot finalizers; finalizer.h has the picture.
 *
 * Problem. The object's death, a run by hand, a detach and the end of the process may come at once on four threads; one of
 * them has it, the others must find out without waiting, and the death without a lock.
 *
 * The finalizer is registered by a node of the object's side record, like a death callback, so it fires in the same order;
 * but the node does not decide. Both the death and everybody else exchange `taken`: a node that fires for a finalizer that
 * was taken does nothing. The taker cancels the node, so that the object carries nothing of it any more.
 *
 * Who runs it does everything that comes after `fn` in cleanups: `fn` may leave its thread.
 */
#include <errno.h>

#include "object/finalizer.h"
#include "object/internal.h"
#include "object/trace.h"

#define ALIGN 16

static void finalizer_free(struct hpx_deferred *d)
{
	struct hapax_finalizer *f = HPX_CONTAINER_OF(d, struct hapax_finalizer, deferred);
	hapax_env *env = f->env;

	if (f->at_exit)
		hpx_at_exit_remove(f);
	hpx_side_drop(f->side, HPX_SIDE_NODE);
	hpx_free(env, f, sizeof(*f), ALIGN);
}

static void drop(struct hapax_finalizer *f, uint32_t n)
{
	/* order: FINALIZER.REFS acq_rel; all use of the finalizer before its retirement */
	if (hpx_sub_acq_rel(&f->refs, n) == n)
		hpx_retire(f->env, &f->deferred, sizeof(*f), finalizer_free);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* The taker takes it off its object; gives up the node's reference if no death has it. */
static void cancel(struct hapax_finalizer *f)
{
	if (hpx_reg_cancel(f->reg))
		drop(f, 1);
}

static void ran(struct hapax_finalizer **f) { drop(*f, 1); }

static void called(struct hapax_finalizer **given)
{
	struct hapax_finalizer *f __attribute__((cleanup(ran))) = *given;

	if (f->what.ctx_free)
		f->what.ctx_free(f->what.ctx);
}

static int call(struct hapax_finalizer *given)
{
	struct hapax_finalizer *f __attribute__((cleanup(called))) = given;

	return f->what.fn(f->what.ctx);
}

int hpx_finalizer_run_taken(struct hapax_finalizer *f)
{
	HPX_USER_CODE(frame, NULL);

	cancel(f);
	return call(f);
}

/* The node fires, in a frame for the object. Its reference is given up even if `fn` leaves the thread. */
static void on_death(hapax_weak *weak, void *ctx)
{
	struct hapax_finalizer *f __attribute__((cleanup(ran))) = ctx;

	(void)weak;
	if (hpx_finalizer_take(f)) {
		hpx_reg_drop(f->reg);
		(void)call(f);
	}
}

/* ---- the calls --------------------------------------------------------------------------------------------------- */

/* The caller holds the object, and nobody else knows the finalizer: it is complete before anything can happen to it. */
static int finalizer_new(struct hpx_object *o, const hapax_finalize *what, bool at_exit, hapax_finalizer **out)
{
	hapax_env *env = hpx_class_of(o)->env;
	struct hapax_finalizer *f = hpx_alloc(env, sizeof(*f), ALIGN);
	int status;

	if (!f)
		return HAPAX_ENOMEM;
	f->what = *what;
	f->env = env;
	f->at_exit = at_exit;
	hpx_init(&f->refs, out ? 3 : 2);
	hpx_init(&f->handle, out != NULL);
	status = hpx_callback_new(o, &(hapax_callback){on_death, f, NULL}, &f->reg);
	if (status) {
		hpx_free(env, f, sizeof(*f), ALIGN);
		return status;
	}
	f->side = f->reg->side;
	/* order: SIDE.REFS relaxed; the object's own reference keeps the record */
	hpx_add_relaxed(&f->side->refs, HPX_SIDE_NODE);
	if (at_exit)
		hpx_at_exit_add(f);
	if (out)
		*out = f;
	return 0;
}

int hapax_finalizer_new(void *object, const hapax_finalize *what, unsigned flags, hapax_finalizer **out)
{
	int saved = errno, status;
	struct hpx_object *o;
	struct hpx_class *c;

	if (out)
		*out = NULL;
	if (!object || !what || !what->fn)
		return HAPAX_ENULL;
	if (flags & ~(unsigned)HAPAX_FINALIZE_AT_EXIT)
		return HAPAX_EFLAGS;
	hpx_enter();
	o = hpx_object_of(object);
	c = hpx_class_of(o);
	if (c->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	if (hpx_dead(o))
		return HAPAX_EDEAD;
	status = hpx_admit(c->env, HAPAX_FOREVER);
	if (!status && flags & HAPAX_FINALIZE_AT_EXIT)
		status = hpx_at_exit_ready();
	if (!status)
		status = finalizer_new(o, what, flags & HAPAX_FINALIZE_AT_EXIT, out);
	errno = saved;
	return status;
}

int hapax_finalizer_run(hapax_finalizer *f, int *result)
{
	int saved = errno, value;

	if (!f)
		return HAPAX_ENULL;
	hpx_enter();
	if (!hpx_finalizer_take(f))
		return HAPAX_DEAD;
	value = hpx_finalizer_run_taken(f);
	if (result)
		*result = value;
	errno = saved;
	return 0;
}

int hapax_finalizer_detach(hapax_finalizer *f, hapax_finalize *what)
{
	int saved = errno;

	if (what)
		memset(what, 0, sizeof(*what));
	if (!f)
		return HAPAX_ENULL;
	hpx_enter();
	if (!hpx_finalizer_take(f))
		return HAPAX_DEAD;
	if (what)
		*what = f->what;
	cancel(f);
	drop(f, 1);
	errno = saved;
	return 0;
}

/*
 * Was it alive at one instant? Neither word goes back, so if it was not taken and then, later, its object was not dead,
 * both was so when the first was looked at.
 */
static bool pending(struct hapax_finalizer *f)
{
	/* order: -> FINALIZER.TAKE acquire; and what is looked at next is looked at later */
	return !hpx_load_acquire(&f->taken);
}

int hapax_finalizer_peek(hapax_finalizer *f, hapax_finalize *what, void **object)
{
	struct hpx_object *o = NULL;
	bool alive = false;

	if (what)
		memset(what, 0, sizeof(*what));
	if (object)
		*object = NULL;
	if (!f)
		return HAPAX_ENULL;
	hpx_enter();
	if (pending(f)) {
		hpx_read_lock();
		/* order: -> OBJECT.SIDE, SIDE.DEAD acquire */
		o = hpx_load_acquire(&f->side->object);
		alive = o && (object ? hpx_take(o) : !hpx_dead(o));
		hpx_read_unlock();
	}
	if (!alive)
		return HAPAX_DEAD;
	if (object)
		*object = hpx_payload(o);
	HPX_TAKEN(object ? *object : NULL);
	if (what)
		*what = f->what;
	return 0;
}

bool hapax_finalizer_alive(hapax_finalizer *f) { return f && !hapax_finalizer_peek(f, NULL, NULL); }

void hapax_finalizer_drop(hapax_finalizer *f)
{
	int saved = errno;

	if (!f)
		return;
	hpx_enter();
	/* order: FINALIZER.HANDLE relaxed; a look for misuse, nothing depends on it */
	if (HPX_UNLIKELY(!hpx_exchange_relaxed(&f->handle, 0)))
		hpx_misuse("finalizer %p dropped too often", (void *)f);
	else
		drop(f, 1);
	errno = saved;
}
