/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/ident.h - values under the identity of objects that are not held: the core of weak maps and of memos' owners.
 *
 * An entry is a record of an internal table, registered with its object, whose key is the object's address. It reads absent from
 * the instant the object dies, so an address that comes again never finds it. What it holds is one pointer: VALUE, or NULL
 * once somebody has taken it out; whoever takes it (put over it, remove, death, end) does what follows, and nobody else.
 */
#ifndef HPX_IDENT_H
#define HPX_IDENT_H

#include "table/table.h"

struct hpx_ident;

/* `died` is told of each value whose object died, which is its to dispose of: in a note (object.h), that is outside sections and
 * locks, before the object's callbacks; `ctx` must be there as long as objects may die, so hpx_ident_end() returning is no
 * limit: what a death has taken before is told afterwards. `hold`, `drop` (may be NULL) are called with ctx around that:
 * hold in the section of the death, drop when died() has returned. `ops`, or `died`, NULL: nobody is told. */
struct hpx_ident_ops {
	void (*died)(void *value, void *ctx);
	void (*hold)(void *ctx);
	void (*drop)(void *ctx);
	/* For leak reports: in a section, the object that is held by a value that was found in it, with a reference; NULL: none. */
	struct hpx_object *(*kept)(void *value);
};
int hpx_ident_new(struct hpx_ident **out, hapax_env *env, size_t capacity, const struct hpx_ident_ops *ops, void *ctx);
/* No call is in progress or follows, but deaths may be. `left` gets every value that nobody else took; outside sections and locks.
 * Needs no memory. */
void hpx_ident_end(struct hpx_ident *t, void (*left)(void *value, void *ctx), void *ctx);

/* Beside the owner's there may be references of its iterators: what is under way, or looked at, stays; see also _ended(). */
void hpx_ident_hold(struct hpx_ident *t);
void hpx_ident_drop(struct hpx_ident *t);
/* hpx_ident_end() has begun: iterators end. */
bool hpx_ident_ended(struct hpx_ident *t);

/* 0, HAPAX_ENOTWEAK or HAPAX_EFOREIGN, of an object that is held. */
int hpx_ident_acceptable(struct hpx_ident *t, struct hpx_object *o);

/* In a section; `o` is held by the caller. Its value, or NULL. What it points to stays as long as the owner's rules say. */
void *hpx_ident_find(struct hpx_ident *t, struct hpx_object *o);
/*
 * Outside sections; `o` held. Puts `value` (not NULL). `replace`: over what is there, which is then the caller's, in *old.
 * Else only if there is nothing: *old is what is there, protected by a section which this call has entered if *old is not NULL:
 * the caller leaves it. 0, or HAPAX_ENOTWEAK, HAPAX_EFOREIGN, HAPAX_EDEAD, HAPAX_ECLOSED (what the end calls comes back),
 * HAPAX_ENOMEM, HAPAX_EGARBAGE, and nothing was put.
 */
int hpx_ident_put(struct hpx_ident *t, struct hpx_object *o, void *value, bool replace, void **old);
/* The same; it waits at the garbage bound until then. */
int hpx_ident_put_until(struct hpx_ident *t, struct hpx_object *o, void *value, bool replace, uint64_t deadline, void **old);
/* Outside sections; takes the value out: it is the caller's. NULL: there was none. Needs no memory. */
void *hpx_ident_take(struct hpx_ident *t, struct hpx_object *o);
/* In a section: the next entry above the cursor whose object is alive (a reference taken, in *object) with its value, which the
 * section protects as in find; NULL: the end. On the way it may leave the section and enter it again: what the caller has found in
 * it before is not protected any more. */
void *hpx_ident_next(struct hpx_ident *t, struct hpx_cursor *cursor, struct hpx_object **object);
size_t hpx_ident_size(struct hpx_ident *t);
/* It is to be in leak reports, under this name, until its end. */
void hpx_ident_named(struct hpx_ident *t, const char *name);
int hpx_ident_check(struct hpx_ident *t, char *message, size_t size);

#endif
