/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/death.c - the last release, and what follows.
 *
 * Problem. Everybody may take a reference at any time through a table or a handle; exactly one release must find out
 * that it was the last, without a lock, and then everything that watches the object must be told in a fixed order on
 * this thread, with user code that may cause more deaths, without memory and without recursion.
 *
 *      release:  section { fetch-sub; was it the last? compare-and-swap 0 -> DEAD }       one of all wins
 *      at once:  entry unlinked, side record reads NULL, table registrations told         no user code
 *      notes:    what a cache owes its removal listener (HPX_NOTE in object.h)
 *      then:     type deferred?   onto the environment's stack, for hapax_run_deferred(); closed: as any other
 *                a death running? onto this thread's queue, for the loop below us
 *                else             callbacks, destructor, memory; and then the queue's
 *
 * Guarantees. A: DEAD is set once, from a count of 0, and never cleared: no reference is taken from then on. B: between
 * the fetch-sub and the swap the releaser owns nothing (others may take, drop, kill and retire), so both lie in one
 * section. C: before the first callback, every handle reads dead, every entry absent. D: the queue is linked through
 * the dead themselves, so a chain of any length needs no memory and a fixed depth of stack. E: user code runs outside
 * locks and hapax's sections, in a frame that tells the other layers so.
 *
 * A destructor or callback may leave its thread (pthread_exit, cancellation): what is left of the death, and the deaths
 * queued behind it, is then run on the thread's way out. Limits: user code that runs on the way out and leaves as well
 * takes stack for each; and compiled by clang, which does not unwind cleanups, that aborts.
 */
#include <errno.h>

#include "base/probe.h"
#include "object/hot.h"
#include "object/internal.h"
#include "object/side.h"

hpx_u32 hpx_death_watches;
void (*hpx_death_watched)(struct hpx_object *o);

/* ---- queue of deaths --------------------------------------------------------------------------------------------- */

void hpx_death_link(struct hpx_object *o, struct hpx_object *next)
{
	/* order: DEATH.LINK relaxed; the object is this thread's alone, or is published by the deferred stack's swap */
	uint64_t meta = hpx_load_relaxed(&o->meta);

	if (hpx_load_relaxed(&o->count) & HPX_LINKED)
		hpx_store_relaxed(&o->meta, (meta & ~HPX_META_LINK_MASK) | hpx_meta_pack(next));
	else
		hpx_side_of(o)->next_dying = next;
}

struct hpx_object *hpx_death_next(struct hpx_object *o)
{
	/* order: DEATH.LINK relaxed; see hpx_death_link */
	if (!(hpx_load_relaxed(&o->count) & HPX_LINKED))
		return hpx_side_of(o)->next_dying;
	return (struct hpx_object *)(void *)hpx_side_of(o);
}

/* Before the first link_set: says where the link is. Failed takes may be adding to the count, so it is a fetch-or. */
void hpx_death_link_init(struct hpx_object *o)
{
	/* order: DEATH.LINK relaxed; see hpx_death_link */
	if (!hpx_side_of(o))
		hpx_or_relaxed(&o->count, HPX_LINKED);
	hpx_death_link(o, NULL);
}

static void queue_append(struct hpx_thread *self, struct hpx_object *o)
{
	hpx_death_link(o, NULL);
	if (self->dying)
		hpx_death_link(self->dying_last, o);
	else
		self->dying = o;
	self->dying_last = o;
}

static struct hpx_object *queue_take(struct hpx_thread *self)
{
	struct hpx_object *o = self->dying;

	if (o) {
		self->dying = hpx_death_next(o);
		hpx_death_link(o, NULL);
	}
	return o;
}

/* What the stack of an environment holds that nobody can run deaths of any more. */
static char nobody;
#define STACK_CLOSED ((void *)&nobody)

/* False: the environment was destroyed, and its deaths are not deferred. */
static bool deferred_push(hapax_env *env, struct hpx_object *o)
{
	hpx_ptr *stack = hpx_env_deferred_deaths(env);
	/* order: DEATH.DEFER relaxed; the head is only copied */
	void *head = hpx_load_relaxed(stack);

	do {
		if (HPX_UNLIKELY(head == STACK_CLOSED)) {
			hpx_death_link(o, NULL);
			return false;
		}
		hpx_death_link(o, head);
		/* order: DEATH.DEFER -> release; the object, its link and all done before its last release */
	} while (!hpx_cas_acq_rel(stack, &head, (void *)o));
	return true;
}

static bool deferred(struct hpx_class *c, struct hpx_object *o)
{
	if (HPX_LIKELY(!(c->type->flags & HAPAX_TYPE_DEFERRED)))
		return false;
	hpx_death_link_init(o);
	return deferred_push(c->env, o);
}

bool hpx_death_owned_by(const struct hpx_thread *thread, const void *o)
{
	for (const struct hpx_frame *frame = thread->frames; frame; frame = frame->up)
		if (frame->entry == o)
			return true;
	for (struct hpx_object *dead = thread->dying; dead; dead = hpx_death_next(dead))
		if (dead == o)
			return true;
	return false;
}

/* ---- death ------------------------------------------------------------------------------------------------------- */

/* In a section. */
static inline void unlink_entry(struct hpx_class *c, struct hpx_object *o)
{
	void *owner;

	/* order: OBJECT.LAYOUT relaxed; this flag is constant from birth */
	if (!c->unlink || !(hpx_load_relaxed(&o->count) & HPX_KEYED))
		return;
	/* order: -> CLASS.OWNER acquire; the owner goes a grace period after it was cleared */
	owner = hpx_load_acquire(&c->owner);
	if (owner)
		c->unlink(owner, o);
}

/* What needs no user code and is done at the moment of death. */
static void death_begin(struct hpx_class *c, struct hpx_object *o)
{
	struct hpx_side *side = hpx_side_of(o);

	HPX_STOP("death.dead");
	HPX_PROBE2(death, c->type->name, hpx_payload(o));
	if (!HPX_BROKEN(RETIRE_BEFORE_UNLINK) || c->destroyed) {
		hpx_read_lock();
		unlink_entry(c, o);
		hpx_read_unlock();
	}
	if (side)
		hpx_side_die(side);
}

/* What RETIRE_BEFORE_UNLINK makes of a death's end. In a section: this thread at least may still look at the object. */
static void retire_and_unlink(struct hpx_class *c, struct hpx_object *o)
{
	hpx_read_lock();
	hpx_object_retire(c, o);
	HPX_BROKEN_WINDOW(RETIRE_BEFORE_UNLINK);
	unlink_entry(c, o);
	hpx_read_unlock();
}

/* In a section, where counting never allocates. */
static inline void count_destroyed(struct hpx_class *c)
{
	hpx_count(c->env_counters, HPX_ENV_DESTROYED, 1);
	hpx_count(&c->counters, HPX_CLASS_DESTROYED, 1);
}

static void call_destructor(const hapax_type *type, struct hpx_object *o)
{
	HPX_USER_CODE(frame, o);

	/* order: OBJECT.FLAG relaxed; set by a holder, before its release */
	if (type->destroy && !(hpx_load_relaxed(&o->count) & HPX_NODTOR))
		type->destroy(hpx_payload(o), type->arg);
}

static void call_destroyed(struct hpx_class *c, struct hpx_object *o)
{
	void *owner;

	hpx_read_lock();
	/* order: -> CLASS.OWNER acquire */
	owner = hpx_load_acquire(&c->owner);
	if (owner)
		c->destroyed(owner, o);
	hpx_read_unlock();
}

/* The deaths that this thread runs, and how far the first of them is. */
struct deaths {
	struct hpx_thread *self;
	struct hpx_object *now; /* NULL: the next one in the queue */
	bool fired, destroyed;  /* its callbacks have begun to fire; its destructor has been called */
};

/* The rest: user code, then the memory. Goes on where user code left it by forced unwinding. */
static void death_finish(struct deaths *d)
{
	struct hpx_object *o = d->now;
	struct hpx_class *c = hpx_class_of(o);
	struct hpx_side *side = hpx_side_of(o);

	if (!d->destroyed) {
		if (side)
			hpx_side_fire(side, o, &d->fired);
		d->destroyed = true;
		if (HPX_BROKEN(EXCLUSIVE_EARLY) && c->destroyed)
			call_destroyed(c, o);
		call_destructor(c->type, o);
	}
	*d = (struct deaths){.self = d->self};
	if (c->destroyed && !HPX_BROKEN(EXCLUSIVE_EARLY))
		call_destroyed(c, o);
	/* order: DEATH.WATCH relaxed; whoever watches this object held it, and so comes before its death (OBJECT.DROP) */
	if (HPX_UNLIKELY(hpx_load_relaxed(&hpx_death_watches) != 0))
		hpx_death_watched(o);
	hpx_read_lock();
	count_destroyed(c);
	hpx_read_unlock();
	if (side)
		hpx_side_drop(side, HPX_SIDE_NODE);
	if (HPX_BROKEN(RETIRE_BEFORE_UNLINK) && !c->destroyed)
		retire_and_unlink(c, o);
	else
		hpx_object_retire(c, o);
}

static void deaths_left(struct deaths **given);

static void deaths_run(struct deaths *given)
{
	struct deaths *d __attribute__((cleanup(deaths_left))) = given;

	while (d->now || (d->now = queue_take(d->self)) != NULL)
		death_finish(d);
}

/* Something is left only if user code has left its thread: the rest is run here, and may be left again. */
static void deaths_left(struct deaths **given)
{
	struct deaths *d = *given;

	if (HPX_UNLIKELY(d->now || d->self->dying))
		deaths_run(d);
}

static void running_end(struct deaths *d) { d->self->running_deaths = false; }

/* Runs `o` (may be NULL) and everything that is queued meanwhile. The outermost only. */
static void run_deaths(struct hpx_thread *self, struct hpx_object *o)
{
	struct deaths d __attribute__((cleanup(running_end))) = {.self = self, .now = o};

	self->running_deaths = true;
	deaths_run(&d);
}

/* ---- notes ------------------------------------------------------------------------------------------------------- */

void hpx_note_add(struct hpx_note *note)
{
	struct hpx_thread *self = &hpx_self;

	note->next = NULL;
	if (self->notes)
		self->notes_last->next = note;
	else
		self->notes = note;
	self->notes_last = note;
}

static void notes_left(struct hpx_thread **given);

static void notes_run(struct hpx_thread *given)
{
	struct hpx_thread *self __attribute__((cleanup(notes_left))) = given;
	struct hpx_note *note;

	while ((note = self->notes) != NULL) {
		self->notes = note->next;
		note->run(note);
	}
}

/* Something is left only if user code has left its thread. */
static void notes_left(struct hpx_thread **given)
{
	if (HPX_UNLIKELY((*given)->notes != NULL))
		notes_run(*given);
}

static void notes_end(struct hpx_thread **given) { (*given)->running_notes = false; }

/* The outermost only: a note's user code that causes deaths adds notes, and this loop runs them. */
static void run_notes(struct hpx_thread *given)
{
	struct hpx_thread *self __attribute__((cleanup(notes_end))) = given;

	self->running_notes = true;
	notes_run(self);
}

/* ---- dying ------------------------------------------------------------------------------------------------------- */

/* A destructor changes what borrowers read; so it, and the callbacks before it, wait for them. Such classes' blocks are large. */
static bool waits_for_readers(struct hpx_class *c, struct hpx_object *o)
{
	/* order: OBJECT.FLAG relaxed; this death's own, or of a holder before it */
	if (HPX_LIKELY(!(c->type->flags & HAPAX_TYPE_BORROW)) || !c->type->destroy ||
	    hpx_load_relaxed(&o->count) & (HPX_LATE | HPX_NODTOR))
		return false;
	hpx_or_relaxed(&o->count, HPX_LATE);
	hpx_object_later(c, o, hpx_hot_mourn);
	return true;
}

struct dying {
	struct hpx_thread *self;
	struct hpx_class *class;
	struct hpx_object *object;
};

/* Also when a note's user code leaves the thread. While notes run the dead wait in the queue: notes lie in their memory. */
static void die_rest(struct dying *d)
{
	struct hpx_thread *self = d->self;

	if (waits_for_readers(d->class, d->object)) {
		/* hpx_hot_mourn() will have it */
	} else if (deferred(d->class, d->object)) {
		/* hapax_run_deferred() or hapax_env_destroy() has it */
	} else if (self->running_deaths || self->running_notes || self->borrows) {
		hpx_death_link_init(d->object);
		queue_append(self, d->object);
		return;
	} else if (HPX_UNLIKELY(self->dying != NULL)) { /* released by its notes: before its callbacks (data of weak maps) */
		hpx_death_link_init(d->object);
		queue_append(self, d->object);
		run_deaths(self, NULL);
	} else {
		run_deaths(self, d->object);
	}
	if (HPX_UNLIKELY(self->dying != NULL) && !self->running_deaths && !self->running_notes && !self->borrows)
		run_deaths(self, NULL);
}

/* `begun`: death_begin() has been done. */
__attribute__((noinline)) static void die(struct hpx_thread *self, struct hpx_class *c, struct hpx_object *o, bool begun)
{
	int saved = errno;

	{
		struct dying d __attribute__((cleanup(die_rest))) = {.self = self, .class = c, .object = o};

		if (!begun)
			death_begin(c, o);
		if (HPX_UNLIKELY(self->notes != NULL) && !self->running_notes && !self->borrows)
			run_notes(self);
	}
	errno = saved;
}

/*
 * A death that nobody watches and for which no user code is called, in a section: all of it, in one go. As nothing
 * of it can be seen or left it waits for no other that is running. Only its beginning, if that made notes.
 */
static inline bool die_quickly(struct hpx_thread *self, struct hpx_class *c, struct hpx_object *o)
{
	bool all;

#ifdef HPX_TESTING /* what a stopped thread is waited for may wait for sections */
	hpx_read_unlock();
	HPX_STOP("death.dead");
	hpx_read_lock();
#endif
	HPX_PROBE2(death, c->type->name, hpx_payload(o));
	unlink_entry(c, o);
	/* order: DEATH.WATCH relaxed; as in death_finish() */
	all = !self->notes && !hpx_load_relaxed(&hpx_death_watches);
	if (HPX_LIKELY(all)) {
		count_destroyed(c);
		hpx_object_retire_quick(c, o);
	}
	return all;
}

static inline bool dies_quickly(const struct hpx_thread *self, const struct hpx_class *c, struct hpx_object *o)
{
	/* order: LOCAL.CACHE relaxed; as in hpx_local_of(): a section is no place for making a share */
	return __atomic_load_n(&self->env, __ATOMIC_RELAXED) == c->env && self->local && !c->type->destroy &&
	       !(c->type->flags & HAPAX_TYPE_DEFERRED) && !c->destroyed && !hpx_side_of(o) && !self->dying && !self->running_deaths &&
	       !self->borrows && !HPX_BROKEN(RETIRE_BEFORE_UNLINK);
}

/* In a section: this thread has killed `o`. True: die() has to follow, outside. */
static inline bool killed(struct hpx_thread *self, struct hpx_class *c, struct hpx_object *o, bool *begun)
{
	*begun = dies_quickly(self, c, o);
	return HPX_UNLIKELY(!*begun) || HPX_UNLIKELY(!die_quickly(self, c, o));
}

/* In the section of a short release, which it leaves: it was the last. */
static inline void end_quickly(struct hpx_object *o, struct hpx_quick *section)
{
	struct hpx_thread *self = &hpx_self;
	struct hpx_class *c = hpx_class_of(o);
	bool begun, more = killed(self, c, o, &begun);

	hpx_quick_unlock(section);
	if (HPX_UNLIKELY(more))
		die(self, c, o, begun);
}

void hpx_die(struct hpx_object *o)
{
	/* order: OBJECT.FLAG relaxed; set by its own death */
	if (hpx_load_relaxed(&o->count) & HPX_LATE) {
		struct dying d = {.self = &hpx_self, .class = hpx_class_of(o), .object = o};

		die_rest(&d);
		return;
	}
	die(&hpx_self, hpx_class_of(o), o, false);
}

/* Deaths, and what is owed to watchers of them, have waited for the end of this thread's borrows. */
__attribute__((noinline, cold)) static void borrows_over(struct hpx_thread *self)
{
	int saved = errno;

	if (self->notes && !self->running_notes)
		run_notes(self);
	if (self->dying && !self->running_deaths && !self->running_notes)
		run_deaths(self, NULL);
	errno = saved;
}

void hapax_borrow_end(void)
{
	struct hpx_thread *self = &hpx_self;

	hpx_read_unlock();
	if (--self->borrows == 0 && HPX_UNLIKELY(self->dying || self->notes))
		borrows_over(self);
}

/* What CALLBACK_TWICE makes of the swap below. */
static bool kill_in_two_steps(struct hpx_object *o, uint64_t count)
{
	/* order: OBJECT.DROP acq_rel; as below, in a load and a store */
	if (hpx_load_acquire(&o->count) != count)
		return false;
	hpx_store_release(&o->count, count | HPX_DEAD);
	return true;
}

/* Inside a section, after a fetch-sub that left no reference and `count`: true if this call killed the object. */
bool hpx_try_kill(struct hpx_object *o, uint64_t count)
{
	/* order: OBJECT.DROP release (the drop) and acquire (every other drop, through the chain of them): what anybody
	 * did with the object before releasing it happens before its death. Failure: somebody took it, and will
	 * release it. */
	if (HPX_BROKEN(RELAXED_RELEASE))
		return hpx_cas_relaxed(&o->count, &count, count | HPX_DEAD);
	if (HPX_BROKEN(CALLBACK_TWICE))
		return kill_in_two_steps(o, count);
	return hpx_cas_acq_rel(&o->count, &count, count | HPX_DEAD);
}

/* A release too many: puts it back. The count may have been on its way from 0 to DEAD; then this thread goes on. */
__attribute__((noinline, cold)) static bool release_undo(struct hpx_object *o, const char **name)
{
	uint64_t count = hpx_add_relaxed(&o->count, HPX_ONE) + HPX_ONE;

	*name = hpx_object_name(o);
	return count < HPX_ONE && !(count & HPX_DEAD) && hpx_try_kill(o, count);
}

/* In a section: what the count was. */
static inline uint64_t drop(struct hpx_object *o)
{
	/* order: OBJECT.DROP -> release; everything done with the object */
	if (HPX_BROKEN(RELAXED_RELEASE))
		return hpx_sub_relaxed(&o->count, HPX_ONE);
	if (HPX_BROKEN(PLAIN_COUNT))
		return hpx_plain_add(&o->count, (uint64_t)0 - HPX_ONE);
	return hpx_sub_release(&o->count, HPX_ONE);
}

/* In the same section: whether that was the last, and this thread killed it. */
static inline bool dropped(struct hpx_object *o, uint64_t seen, const char **misused)
{
	if (HPX_LIKELY(seen >= 2 * HPX_ONE && !(seen & HPX_DEAD)))
		return false;
	if (HPX_UNLIKELY((seen & (HPX_DEAD | HPX_SLT)) == HPX_SLT)) /* the number says nothing */
		return false;
	if (HPX_UNLIKELY(seen < HPX_ONE || (seen & HPX_DEAD)))
		return release_undo(o, misused);
	return hpx_try_kill(o, seen - HPX_ONE);
}

__attribute__((noinline, cold)) static void misused_by(struct hpx_object *o, const char *misused)
{
	hpx_misuse("released too often: object %p of type '%s'", hpx_payload(o), misused);
}

__attribute__((noinline)) static void release_any(struct hpx_object *o)
{
	struct hpx_thread *self = &hpx_self;
	const char *misused = NULL;
	struct hpx_class *c = NULL;
	bool bare = false, begun = false, last;

	hpx_enter();
	hpx_read_lock();
	/* order: HOT.USED relaxed; a hint: where it is missed the count does as well */
	if (HPX_UNLIKELY(hpx_load_relaxed(&hpx_ticking)) && hpx_hot_put(o, &bare)) {
		hpx_read_unlock();
		return;
	}
	last = dropped(o, drop(o), &misused);
	if (last) {
		c = hpx_class_of(o);
		last = HPX_UNLIKELY(misused != NULL) || killed(self, c, o, &begun);
	}
	hpx_read_unlock();
	if (HPX_UNLIKELY(misused != NULL))
		misused_by(o, misused);
	if (last)
		die(self, c, o, begun);
	if (HPX_UNLIKELY(bare))
		hpx_hot_attend(NULL);
}

void hpx_release_hold(struct hpx_object *o)
{
	const char *misused = NULL;
	uint64_t seen;
	bool last;

	hpx_enter();
	hpx_read_lock();
	seen = drop(o);
	last = dropped(o, seen, &misused);
	/* order: HOT.DEMOTE; who promotes it after this in the count's order sees that it is not held, and demotes it */
	if (HPX_UNLIKELY(seen & HPX_HOT))
		hpx_hot_cool(o);
	hpx_read_unlock();
	if (HPX_UNLIKELY(misused != NULL))
		misused_by(o, misused);
	if (last)
		die(&hpx_self, hpx_class_of(o), o, false);
}

/* In the section of a release of what may have been the last reference, or one too many. */
__attribute__((noinline)) static void release_last(struct hpx_object *o, uint64_t seen, struct hpx_quick section)
{
	const char *misused = NULL;
	bool last = dropped(o, seen, &misused);

	if (last && HPX_LIKELY(!misused)) {
		end_quickly(o, &section);
		return;
	}
	hpx_quick_unlock(&section);
	if (HPX_UNLIKELY(misused != NULL))
		misused_by(o, misused);
	if (last)
		die(&hpx_self, hpx_class_of(o), o, false);
}

/*
 * In the section of a release of what this thread has loaded last: as a rule nobody else has met it, and then dropping and killing
 * are one swap. Only the first release of it looks before it drops, so that who shares a count pays nothing.
 */
__attribute__((noinline)) static void release_fresh(struct hpx_object *o, struct hpx_quick section)
{
	/* order: OBJECT.DROP relaxed; only a guess */
	uint64_t count = hpx_load_relaxed(&o->count);

	hpx_self.fresh = NULL;
	/* order: OBJECT.DROP acq_rel; the drop and the swap of hpx_try_kill() */
	if (HPX_LIKELY(count - HPX_ONE < HPX_ONE && !(count & (HPX_DEAD | HPX_SLT))) && !HPX_BROKEN(RELAXED_RELEASE) &&
	    !HPX_BROKEN(CALLBACK_TWICE) && !HPX_BROKEN(PLAIN_COUNT) &&
	    HPX_LIKELY(hpx_cas_acq_rel(&o->count, &count, (count - HPX_ONE) | HPX_DEAD))) {
		end_quickly(o, &section);
		return;
	}
	count = drop(o);
	if (HPX_UNLIKELY(count < 2 * HPX_ONE || (count & HPX_DEAD)))
		release_last(o, count, section);
	else
		hpx_quick_unlock(&section);
}

/* In the section of a release while something is promoted, other objects, or one for which this thread has no cells. */
__attribute__((noinline)) static void release_cold(struct hpx_object *o, struct hpx_quick section, bool bare)
{
	release_last(o, drop(o), section);
	if (HPX_UNLIKELY(bare))
		hpx_hot_attend(NULL);
}

void hpx_release(struct hpx_object *o)
{
	struct hpx_quick section;
	uint64_t seen;

	if (HPX_UNLIKELY(!hpx_self.id) || HPX_UNLIKELY(!hpx_quick_lock(&section))) {
		release_any(o);
		return;
	}
	/* order: HOT.USED relaxed; a hint: where it is missed the count does as well */
	if (HPX_UNLIKELY(hpx_load_relaxed(&hpx_ticking))) {
		bool bare = false;

		if (HPX_UNLIKELY(!hpx_hot_put(o, &bare))) {
			release_cold(o, section, bare);
			return;
		}
		hpx_quick_unlock(&section);
		return;
	}
	if (HPX_UNLIKELY(o == hpx_self.fresh)) {
		release_fresh(o, section);
		return;
	}
	seen = drop(o);
	if (HPX_UNLIKELY(seen < 2 * HPX_ONE || (seen & HPX_DEAD))) {
		release_last(o, seen, section);
		return;
	}
	hpx_quick_unlock(&section);
}

/* ---- deferred types ---------------------------------------------------------------------------------------------- */

/* Moves the deferred deaths of `env` to this thread's queue, oldest first: how many. `left`: what the stack is then. */
static size_t deferred_take(struct hpx_thread *self, hapax_env *env, void *left)
{
	hpx_ptr *stack = hpx_env_deferred_deaths(env);
	struct hpx_object *newest, *oldest = NULL, *next;
	size_t n = 0;

	/* order: DEATH.DEFER relaxed; only a call from a death that hapax_env_destroy() runs sees it */
	if (hpx_load_relaxed(stack) == STACK_CLOSED)
		return 0;
	if (HPX_BROKEN(DEFERRED_TWICE)) {
		newest = hpx_load_acquire(stack); /* order: -> DEATH.DEFER acquire */
		HPX_BROKEN_WINDOW(DEFERRED_TWICE);
		hpx_store_relaxed(stack, NULL);
	} else {
		newest = hpx_exchange_acquire(stack, left); /* order: -> DEATH.DEFER acquire */
	}
	for (; newest; newest = next, n++) {
		next = hpx_death_next(newest);
		hpx_death_link(newest, oldest);
		oldest = newest;
	}
	for (; oldest; oldest = next) {
		next = hpx_death_next(oldest);
		queue_append(self, oldest);
	}
	return n;
}

size_t hapax_run_deferred(hapax_env *env)
{
	struct hpx_thread *self = &hpx_self;
	size_t total = 0, n;

	env = hpx_env_or_default(env);
	hpx_enter();
	while ((n = deferred_take(self, env, NULL)) != 0) {
		total += n;
		/* called by a destructor or callback, or by a listener: the loop below us runs them */
		if (self->running_deaths || self->running_notes)
			break;
		run_deaths(self, NULL);
	}
	return total;
}

void hapax_env_destroy(hapax_env *env)
{
	struct hpx_thread *self = &hpx_self;
	int saved = errno;

	if (!env || hpx_env_lasts(env))
		return;
	hpx_enter();
	/* nobody can run them afterwards */
	if (deferred_take(self, env, STACK_CLOSED) && !self->running_deaths && !self->running_notes)
		run_deaths(self, NULL);
	hpx_env_close(env);
	errno = saved;
}
