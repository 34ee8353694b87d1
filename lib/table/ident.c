/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/ident.c - values under the identity of objects that are not held.
 *
 *      [ VALUE | note | taken ][ address | word || record --> object ]        the record is registered with that very object
 *
 * An entry is present while its word has no GONE, its object lives and VALUE is not NULL. Two words, and who changes what:
 *
 *      VALUE   exchanged for NULL by whoever takes the entry out (a removal, death, the end): what was there is its own, and it
 *              counts it out. Swapped for another value by a put over it, never from NULL.
 *      GONE    set by whoever makes the record unreachable, who finishes it. A removal takes VALUE first; a put that meets an
 *              entry without a value takes it out of its way, so nobody waits for a removal that was stopped in between.
 *              Death and the end set GONE first and take VALUE only if they did: so a record without GONE that has a
 *              value has one owner to come, and one with GONE and a value is being emptied by who set it.
 *
 * Why an address that comes again is no danger: memory is used again a grace period after its object's death was told to all
 * registrations, each of which has left the table by then.
 *
 * What a death took is disposed of in a note, which lies in the record; the record is finished after that. A note keeps the
 * table: its reference is taken in the section of the death, and the owner's is given up a grace period after the end.
 */
#include <stdio.h>

#include "table/core.h"
#include "table/ident.h"
#include "table/lookup.h"

enum { COUNT_IN, COUNT_OUT };

struct hpx_ident {
	struct hpx_table *core;
	hapax_env *env;
	struct hpx_ident_ops ops;
	void *ctx;
	hpx_u64 refs; /* the owner, its iterators, notes */
	struct hpx_counters counters;
	struct hpx_deferred deferred;
};

struct front {
	HPX_ATOMIC(void *) value;
	struct hpx_note note; /* of a death; the end links what it took through it */
	void *taken;          /* by death or the end, until it is disposed of */
};
#define FRONT ((sizeof(struct front) + 15) & ~(size_t)15)

static struct front *front_of(void *e) { return (struct front *)(void *)((char *)e - 2 * sizeof(uint64_t) - FRONT); }
static struct hpx_record *record_of(struct front *f) { return (void *)((char *)f + FRONT + 2 * sizeof(uint64_t)); }

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void free_ident(struct hpx_deferred *d)
{
	struct hpx_ident *t = HPX_CONTAINER_OF(d, struct hpx_ident, deferred);
	hapax_env *env = t->env;

	hpx_counters_fini(&t->counters);
	hpx_table_drop(t->core);
	hpx_free(env, t, sizeof(*t), HPX_CACHE_LINE);
	hpx_env_drop(env);
}

void hpx_ident_hold(struct hpx_ident *t)
{
	hpx_add_relaxed(&t->refs, 1); /* order: IDENT.REFS relaxed; there is one, or the end's grace period is not over */
}

void hpx_ident_drop(struct hpx_ident *t)
{
	/* order: IDENT.REFS acq_rel; all use of it before its end */
	if (hpx_sub_acq_rel(&t->refs, 1) == 1)
		hpx_retire(t->env, &t->deferred, sizeof(*t), free_ident);
}

/* No section is left in which a death could still find the table. */
static void owner_gone(struct hpx_deferred *d)
{
	hpx_ident_drop(HPX_CONTAINER_OF(d, struct hpx_ident, deferred));
}

/* ---- death ------------------------------------------------------------------------------------------------------- */

/* The value has been disposed of, or user code has left its thread. */
static void through(struct front **f)
{
	struct hpx_record *r = record_of(*f);
	struct hpx_ident *t = r->table->collected_ctx;

	if (t->ops.drop)
		t->ops.drop(t->ctx);
	hpx_record_finish(r);
	hpx_ident_drop(t);
}

static void run_note(struct hpx_note *note)
{
	struct front *f __attribute__((cleanup(through))) = HPX_CONTAINER_OF(note, struct front, note);
	struct hpx_ident *t = record_of(f)->table->collected_ctx;

	t->ops.died(f->taken, t->ctx);
}

/* What IDENT_TAKEN_TWICE makes of taking a value out. */
static void *take_in_two_steps(struct front *f)
{
	/* order: IDENT.VALUE acq_rel; as the exchange, in a load and a store */
	void *value = hpx_load_acquire(&f->value);

	hpx_store_release(&f->value, NULL);
	return value;
}

/* In the section of the death. */
static void collected(void *ctx, struct hpx_record *r, uint64_t before)
{
	struct hpx_ident *t = ctx;
	struct front *f = front_of(r);

	if (before & HPX_W_GONE && !HPX_BROKEN(IDENT_DEATH_TOO))
		return;
	/* order: IDENT.VALUE acq_rel; against a removal: one of the two has it */
	f->taken = hpx_exchange_acq_rel(&f->value, NULL);
	if (f->taken)
		hpx_count(&t->counters, COUNT_OUT, 1);
	if (!f->taken || !t->ops.died) {
		hpx_record_finish(r);
		return;
	}
	hpx_ident_hold(t);
	if (t->ops.hold)
		t->ops.hold(t->ctx);
	f->note.run = run_note;
	hpx_note_add(&f->note);
}

int hpx_ident_new(struct hpx_ident **out, hapax_env *env, size_t capacity, const struct hpx_ident_ops *ops, void *ctx)
{
	struct hpx_table_config config = {.env = env, .capacity = capacity, .front = FRONT};
	struct hpx_ident *t = hpx_alloc(env, sizeof(*t), HPX_CACHE_LINE);
	int status;

	*out = NULL;
	if (!t)
		return HAPAX_ENOMEM;
	status = hpx_table_new(&t->core, &config);
	if (status) {
		hpx_free(env, t, sizeof(*t), HPX_CACHE_LINE);
		return status;
	}
	t->env = env;
	if (ops)
		t->ops = *ops;
	t->ctx = ctx;
	hpx_init(&t->refs, 1);
	hpx_counters_init(&t->counters, env);
	hpx_table_on_collect(t->core, collected, t);
	hpx_env_hold(env);
	*out = t;
	return 0;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

struct end {
	struct hpx_ident *table;
	struct hpx_note *taken; /* records that are this call's to finish */
	void (*left)(void *value, void *ctx);
	void *ctx;
};

static void claimed(void *e, uint64_t word, void *ctx)
{
	struct end *end = ctx;
	struct front *f = front_of(e);

	(void)word;
	/* order: IDENT.VALUE acq_rel; nobody else takes it: a death finds GONE */
	f->taken = hpx_exchange_acq_rel(&f->value, NULL);
	if (!f->taken) {
		hpx_record_finish(e);
		return;
	}
	hpx_count(&end->table->counters, COUNT_OUT, 1);
	f->note.next = end->taken;
	end->taken = &f->note;
}

static void finished(struct front **f) { hpx_record_finish(record_of(*f)); }
static void all_left(struct end **end);

static void leave(struct end *given)
{
	struct end *end __attribute__((cleanup(all_left))) = given;

	while (end->taken) {
		struct front *f __attribute__((cleanup(finished))) = HPX_CONTAINER_OF(end->taken, struct front, note);

		end->taken = f->note.next;
		end->left(f->taken, end->ctx);
	}
}

/* Something is left only if user code has left its thread: the rest is done on the way out. */
static void all_left(struct end **end)
{
	if (HPX_UNLIKELY((*end)->taken != NULL))
		leave(*end);
}

static void owner_let_go(struct hpx_ident **t) { hpx_ident_drop(*t); }

void hpx_ident_end(struct hpx_ident *t, void (*left)(void *value, void *ctx), void *ctx)
{
	struct hpx_ident *held __attribute__((cleanup(owner_let_go))) = t;
	struct end end = {.table = t, .left = left, .ctx = ctx};

	hpx_thread_ready();
	hpx_ident_hold(t);
	hpx_table_end(t->core, claimed, &end);
	hpx_retire(t->env, &t->deferred, sizeof(*t), owner_gone);
	leave(&end);
}

bool hpx_ident_ended(struct hpx_ident *t)
{
	return hpx_load_acquire(&t->core->ended); /* order: -> TABLE.ENDED acquire */
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* The present entry of a held object, perhaps without a value by now; or NULL. */
static void *find(struct hpx_ident *t, struct hpx_object *o)
{
	hapax_key key = {.data = &o, .size = sizeof(o)};
	struct hpx_table *core = t->core;
	struct hpx_object *object;
	struct hpx_array *a;
	uint64_t h;
	bool far;
	void *e;

	hpx_table_hash_fast(core, &key, &h);
	e = hpx_table_find(core, h, &key, &far);
	if (HPX_LIKELY(e != NULL) || !far)
		return e;
	e = hpx_table_seek(core, h, &key, false, &object);
	a = hpx_load_acquire(&core->root); /* order: -> TABLE.ROOT acquire */
	/* As hpx_table_lookup: reading moves a table on. */
	if (HPX_UNLIKELY(hpx_load_acquire(&a->next) != NULL)) /* order: -> TABLE.NEXT acquire */
		hpx_move_some(core, a, 1);
	return e;
}

void *hpx_ident_find(struct hpx_ident *t, struct hpx_object *o)
{
	void *e = find(t, o);

	/* order: -> IDENT.VALUE acquire; what it points to */
	return e ? hpx_load_acquire(&front_of(e)->value) : NULL;
}

size_t hpx_ident_size(struct hpx_ident *t)
{
	uint64_t in, out = hpx_counters_sum(&t->counters, COUNT_OUT); /* first: rather too large than negative */

	in = hpx_counters_sum(&t->counters, COUNT_IN);
	return in > out ? (size_t)(in - out) : 0;
}

void *hpx_ident_next(struct hpx_ident *t, struct hpx_cursor *cursor, struct hpx_object **object)
{
	void *e, *value;

	for (;;) {
		e = hpx_table_next(t->core, cursor, false, object);
		if (!e)
			return NULL;
		/* order: -> IDENT.VALUE acquire; what it points to */
		value = hpx_load_acquire(&front_of(e)->value);
		if (!value) /* a removal has begun; what a put has put there since is behind that record */
			value = hpx_ident_find(t, *object);
		if (value)
			return value;
		hpx_read_unlock();
		hpx_release(*object);
		hpx_read_lock();
	}
}

/* ---- putting and taking out -------------------------------------------------------------------------------------- */

int hpx_ident_acceptable(struct hpx_ident *t, struct hpx_object *o)
{
	struct hpx_class *c = hpx_class_of(o);

	if (c->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	return c->env == t->env ? 0 : HAPAX_EFOREIGN;
}

/* The record is out, or on its way; whoever set GONE finishes it. */
static void claim(struct hpx_ident *t, void *e)
{
	if (!(hpx_table_claim(t->core, e) & HPX_W_GONE))
		hpx_record_finish(e);
}

/* In a section. Is the value in `e` to be left, or has it been put over? False: there is none, and the entry is out of the way. */
static bool put_over(struct hpx_ident *t, void *e, void *value, bool replace, void **old)
{
	struct front *f = front_of(e);

	*old = hpx_load_acquire(&f->value); /* order: -> IDENT.VALUE acquire; what it points to */
	if (replace && *old && HPX_BROKEN(IDENT_OVER_TWICE))
		hpx_store_release(&f->value, value); /* order: IDENT.VALUE release; as below, whatever has come between */
	else if (replace)
		/* order: IDENT.VALUE -> acq_rel; what the new one points to; the old one is the caller's */
		while (*old && !hpx_cas_acq_rel(&f->value, old, value))
			;
	if (!*old)
		claim(t, e);
	return *old != NULL;
}

/* One attempt with a fresh record. True: that is the answer, *status. In a section if *old is left there and not NULL. */
static bool put_fresh(struct hpx_ident *t, struct hpx_object *o, void *value, bool replace, uint64_t deadline, void **old,
		      int *status)
{
	hapax_key key = {.data = &o, .size = sizeof(o)};
	struct hpx_object *found = NULL;
	struct hpx_record *r;
	void *entry;
	uint64_t h;
	bool stay, over = true;

	*status = hpx_admit(t->env, deadline);
	if (*status)
		return true;
	hpx_table_hash_fast(t->core, &key, &h);
	*status = hpx_record_new(t->core, &key, h, 0, o, &r);
	if (*status)
		return true;
	hpx_init(&front_of(r)->value, value);
	hpx_read_lock();
	switch (hpx_table_put(t->core, h, &key, r, HPX_PUT_ABSENT, &found, &entry, NULL, NULL)) {
	case HPX_PUT_DONE:
		hpx_count(&t->counters, COUNT_IN, 1);
		break;
	case HPX_PUT_LIVE:
		over = put_over(t, entry, value, replace, old);
		hpx_record_discard(r);
		break;
	default:
		*status = HAPAX_ENOMEM;
		hpx_record_discard(r);
		break;
	}
	stay = *old && !replace;
	if (!stay)
		hpx_read_unlock();
	if (found)
		hpx_release(found); /* never the last: the caller has one */
	return over;
}

int hpx_ident_put(struct hpx_ident *t, struct hpx_object *o, void *value, bool replace, void **old)
{
	return hpx_ident_put_until(t, o, value, replace, HAPAX_FOREVER, old);
}

int hpx_ident_put_until(struct hpx_ident *t, struct hpx_object *o, void *value, bool replace, uint64_t deadline, void **old)
{
	int status = hpx_ident_acceptable(t, o);
	void *e;

	*old = NULL;
	if (!status && hpx_dead(o))
		status = HAPAX_EDEAD;
	if (!status && hpx_ident_ended(t)) /* user code that the end runs */
		status = HAPAX_ECLOSED;
	if (status)
		return status;
	hpx_thread_ready();
	do {
		hpx_read_lock();
		e = find(t, o);
		if (e && put_over(t, e, value, replace, old)) {
			if (replace)
				hpx_read_unlock();
			return 0;
		}
		hpx_read_unlock();
	} while (!put_fresh(t, o, value, replace, deadline, old, &status));
	return status;
}

void *hpx_ident_take(struct hpx_ident *t, struct hpx_object *o)
{
	void *e, *value = NULL;

	hpx_read_lock();
	e = find(t, o);
	if (e) {
		/* order: IDENT.VALUE acq_rel; it is ours alone, with what it points to */
		value = HPX_BROKEN(IDENT_TAKEN_TWICE) ? take_in_two_steps(front_of(e))
						      : hpx_exchange_acq_rel(&front_of(e)->value, NULL);
		if (value) {
			hpx_count(&t->counters, COUNT_OUT, 1);
			HPX_STOP("ident.taken");
		}
		claim(t, e);
	}
	hpx_read_unlock();
	return value;
}

/* ---- leak reports ------------------------------------------------------------------------------------------------ */

/* In a section. */
static void known(void *ctx, void *e, struct hpx_object *o, struct hpx_leak_entry *entry)
{
	struct hpx_ident *t = ctx;
	/* order: -> IDENT.VALUE acquire; what it points to */
	void *value = hpx_load_acquire(&front_of(e)->value);

	(void)o;
	entry->keyless = true;
	entry->kept = value && t->ops.kept ? t->ops.kept(value) : NULL;
}

void hpx_ident_named(struct hpx_ident *t, const char *name) { hpx_table_named(t->core, name, known); }

/* ---- testing ----------------------------------------------------------------------------------------------------- */

int hpx_ident_check(struct hpx_ident *t, char *message, size_t size)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *object;
	size_t entries = 0, live = 0, counted = hpx_ident_size(t);
	bool more = true;

	if (hpx_table_check(t->core, message, size, &entries) != 0)
		return -1;
	while (more) {
		hpx_read_lock();
		more = hpx_ident_next(t, &cursor, &object) != NULL;
		hpx_read_unlock();
		if (more) {
			live++;
			hpx_release(object);
		}
	}
	if (entries == counted && live == counted)
		return 0;
	snprintf(message, size, "identities: %zu entries, %zu with a value, but the size is %zu", entries, live, counted);
	return -1;
}
