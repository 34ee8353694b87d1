/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/litmus_shapes.h - in which shapes lib/ uses its edges, a few lines each, over the operations of lib/base/atomic.h.
 *
 * Each operation is a function of one form: what `from` was becomes `to`; it returns the value before (a store: `from`;
 * a failed compare-and-swap: what it saw). Words are `word`, what is handed over is `data` (relaxed, so that a missing
 * edge shows as an old value) or `plain` (so that it shows as a data race: the use that must come before an end).
 */
#ifndef HPX_MODEL_LITMUS_SHAPES_H
#define HPX_MODEL_LITMUS_SHAPES_H

#include "base/atomic.h"
#include "model/model.h"

typedef uint64_t litmus_op(hpx_u64 *word, uint64_t from, uint64_t to);

#define LOAD(order)                                                              \
	static uint64_t load_##order(hpx_u64 *word, uint64_t from, uint64_t to)      \
	{                                                                            \
		(void)from, (void)to;                                                    \
		return hpx_load_##order(word);                                           \
	}
#define STORE(order)                                                             \
	static uint64_t store_##order(hpx_u64 *word, uint64_t from, uint64_t to)     \
	{                                                                            \
		hpx_store_##order(word, to);                                             \
		return from;                                                             \
	}
#define CAS(order)                                                               \
	static uint64_t cas_##order(hpx_u64 *word, uint64_t from, uint64_t to)       \
	{                                                                            \
		hpx_cas_##order(word, &from, to);                                        \
		return from;                                                             \
	}
#define RMW(name, operand)                                                       \
	static uint64_t name(hpx_u64 *word, uint64_t from, uint64_t to)              \
	{                                                                            \
		(void)from;                                                              \
		return hpx_##name(word, operand);                                        \
	}
/* Orders that lib/ may have no use for: weakened operations only. */
#define WEAK(name, builtin, order, operand)                                      \
	static uint64_t name(hpx_u64 *word, uint64_t from, uint64_t to)              \
	{                                                                            \
		(void)from;                                                              \
		return builtin(&word->v, operand, order);                                \
	}
LOAD(relaxed)
LOAD(acquire)
LOAD(seq_cst)
STORE(relaxed)
STORE(release)
STORE(seq_cst)
CAS(relaxed)
CAS(release)
CAS(acq_rel)
CAS(seq_cst)
WEAK(exchange_relaxed, __atomic_exchange_n, __ATOMIC_RELAXED, to)
RMW(exchange_acquire, to)
WEAK(exchange_release, __atomic_exchange_n, __ATOMIC_RELEASE, to)
RMW(exchange_acq_rel, to)
RMW(add_relaxed, to - from)
RMW(add_acquire, to - from)
RMW(add_release, to - from)
RMW(add_acq_rel, to - from)
RMW(add_seq_cst, to - from)
RMW(sub_relaxed, from - to)
WEAK(sub_acquire, __atomic_fetch_sub, __ATOMIC_ACQUIRE, from - to)
RMW(sub_release, from - to)
RMW(sub_acq_rel, from - to)
WEAK(or_acquire, __atomic_fetch_or, __ATOMIC_ACQUIRE, to & ~from)
WEAK(or_release, __atomic_fetch_or, __ATOMIC_RELEASE, to & ~from)
RMW(or_acq_rel, to & ~from)
WEAK(and_acquire, __atomic_fetch_and, __ATOMIC_ACQUIRE, to | ~from)
RMW(and_acq_rel, to | ~from)
static uint64_t cas_acquire(hpx_u64 *word, uint64_t from, uint64_t to)
{
	__atomic_compare_exchange_n(&word->v, &from, to, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE);
	return from;
}
#undef WEAK
#undef LOAD
#undef STORE
#undef CAS
#undef RMW

/* What is left of an operation when one half of its order goes. */
#define NO_RELEASE_store_release store_relaxed
#define NO_RELEASE_cas_release cas_relaxed
#define NO_RELEASE_cas_acq_rel cas_acquire
#define NO_RELEASE_cas_seq_cst cas_acquire
#define NO_RELEASE_exchange_acq_rel exchange_acquire
#define NO_RELEASE_add_release add_relaxed
#define NO_RELEASE_add_acq_rel add_acquire
#define NO_RELEASE_add_seq_cst add_acquire
#define NO_RELEASE_sub_release sub_relaxed
#define NO_RELEASE_sub_acq_rel sub_acquire
#define NO_RELEASE_or_acq_rel or_acquire
#define NO_RELEASE_and_acq_rel and_acquire
#define NO_ACQUIRE_load_acquire load_relaxed
#define NO_ACQUIRE_cas_acq_rel cas_release
#define NO_ACQUIRE_exchange_acquire exchange_relaxed
#define NO_ACQUIRE_exchange_acq_rel exchange_release
#define NO_ACQUIRE_add_acquire add_relaxed
#define NO_ACQUIRE_add_acq_rel add_release
#define NO_ACQUIRE_add_seq_cst add_release
#define NO_ACQUIRE_sub_acq_rel sub_release
#define NO_ACQUIRE_or_acq_rel or_release
#define NO_SC_load_seq_cst load_acquire
#define NO_SC_store_seq_cst store_release
#define NO_SC_add_seq_cst add_acq_rel
#define NO_SC_cas_seq_cst cas_acq_rel

struct litmus {
	litmus_op *release, *acquire, *other_release, *other_acquire; /* the row's */
	bool falling; /* what a release does to a word is 1 -> 0 */
	hpx_u64 word[4], data[4];
	uint64_t plain, got[4];
};

static inline void tell(struct litmus *s, unsigned i) { hpx_store_relaxed(&s->data[i], 1); }
static inline bool told(struct litmus *s, unsigned i) { return hpx_load_relaxed(&s->data[i]) == 1; }
static inline uint64_t unset(const struct litmus *s) { return s->falling; }
static inline uint64_t set(const struct litmus *s) { return !s->falling; }
/* Through `release` and back through `acquire`, which changes nothing that matters. */
static inline void announce(struct litmus *s, unsigned word) { s->release(&s->word[word], unset(s), set(s)); }
static inline bool announced(struct litmus *s, unsigned word)
{
	return (s->acquire(&s->word[word], set(s), set(s) + 2) & 1) == set(s);
}
#define LITMUS(condition, ...) MODEL_CHECK(condition, __VA_ARGS__)

/* ---- MESSAGE: who sees the word sees what was done before ---------------------------------------------------------- */
static void message_0(void *state)
{
	tell(state, 0);
	announce(state, 0);
}
static void message_1(void *state)
{
	if (announced(state, 0))
		LITMUS(told(state, 0), "the word is there and the data is not");
}

/* ---- USE: who sees the word changes what was used until then -------------------------------------------------------- */
static void use_0(void *state)
{
	struct litmus *s = state;

	s->got[0] = s->plain;
	announce(s, 0);
}
static void use_1(void *state)
{
	struct litmus *s = state;

	if (announced(s, 0))
		s->plain = 1;
}

/* ---- HANDOVER: one who saw it tells another ------------------------------------------------------------------------- */
static void handover_1(void *state)
{
	if (announced(state, 0))
		announce(state, 1);
}
static void handover_2(void *state)
{
	if (announced(state, 1))
		LITMUS(told(state, 0), "the second word is there and the data is not");
}

/* ---- STACK: pushed by compare-and-swap, looked through from its head or taken whole; word[n] links element n --------- */
static void push(struct litmus *s, unsigned n)
{
	uint64_t head = hpx_load_relaxed(&s->word[0]), seen;

	tell(s, n);
	for (;; head = seen) {
		hpx_store_relaxed(&s->word[n], head);
		seen = s->release(&s->word[0], head, n);
		if (seen == head)
			break;
	}
}
static void look_through(struct litmus *s)
{
	for (uint64_t n = s->acquire(&s->word[0], 0, 0); n; n = hpx_load_relaxed(&s->word[n]))
		LITMUS(told(s, (unsigned)n), "element %u is linked and not filled in", (unsigned)n);
}
static void stack_0(void *state) { push(state, 1); }
static void stack_1(void *state) { push(state, 2); }
static void stack_2(void *state) { look_through(state); }

/* ---- STACK_STORE: as above, but pushed by stores, under a lock -------------------------------------------------------- */
static void stack_store_0(void *state)
{
	push(state, 1);
	push(state, 2);
}

/* ---- APPEND: a list that grows at its end; word[n] links what comes after element n ---------------------------------- */
static void append(struct litmus *s, unsigned n)
{
	uint64_t last = 0, next;

	tell(s, n);
	for (;; last = next) {
		next = hpx_load_acquire(&s->word[last]);
		if (!next && s->release(&s->word[last], 0, n) == 0)
			return;
		if (!next)
			next = hpx_load_acquire(&s->word[last]); /* not empty: the swap has failed on it */
	}
}
static void append_0(void *state) { append(state, 1); }
static void append_1(void *state) { append(state, 2); }
static void append_2(void *state)
{
	struct litmus *s = state;

	for (uint64_t n = s->acquire(&s->word[0], 0, 0); n; n = s->acquire(&s->word[n], 0, 0))
		LITMUS(told(s, (unsigned)n), "element %u is linked and not filled in", (unsigned)n);
}

/* ---- LOCK: taken by a read-modify-write that finds it free, given back by a store ------------------------------------ */
static void lock_0(void *state)
{
	struct litmus *s = state;

	if (s->acquire(&s->word[0], 0, 1) != 0)
		return;
	hpx_store_relaxed(&s->data[0], hpx_load_relaxed(&s->data[0]) + 1);
	hpx_add_relaxed(&s->data[1], 1);
	s->release(&s->word[0], 1, 0);
}
static void lock_end(void *state)
{
	struct litmus *s = state;

	LITMUS(hpx_load_relaxed(&s->data[0]) == hpx_load_relaxed(&s->data[1]), "two had the lock, and one did not see the other");
}

/* ---- LAST: the last of several to drop sees what all did -------------------------------------------------------------- */
static void drop(struct litmus *s, unsigned i)
{
	tell(s, i);
	if (s->release(&s->word[0], 1, 0) == 1)
		LITMUS(told(s, 0) && told(s, 1) && told(s, 2), "the last drop does not see what was done before another");
}
static void last_begin(struct litmus *s) { hpx_init(&s->word[0], 3); }
static void last_0(void *state) { drop(state, 0); }
static void last_1(void *state) { drop(state, 1); }
static void last_2(void *state) { drop(state, 2); }

/* ---- KILL: a drop that leaves nothing is followed by a swap, which decides --------------------------------------------- */
static void kill(struct litmus *s, unsigned i)
{
	tell(s, i);
	if (s->release(&s->word[0], 1, 0) == 1 && s->acquire(&s->word[0], 0, 8) == 0)
		LITMUS(told(s, 0) && told(s, 1), "the swap does not see what was done before another's drop");
}
static void kill_begin(struct litmus *s) { hpx_init(&s->word[0], 2); }
static void kill_0(void *state) { kill(state, 0); }
static void kill_1(void *state) { kill(state, 1); }

/* ---- DRAIN: as KILL, but the swap is another thread's ------------------------------------------------------------------ */
static void drain_0(void *state)
{
	struct litmus *s = state;

	tell(s, 0);
	s->release(&s->word[0], 1, 0);
}
static void drain_1(void *state)
{
	struct litmus *s = state;

	tell(s, 1);
	s->release(&s->word[0], 1, 0);
}
static void drain_2(void *state)
{
	struct litmus *s = state;

	if (s->acquire(&s->word[0], 0, 8) == 0)
		LITMUS(told(s, 0) && told(s, 1), "it is drained and not all is seen");
}

/* ---- RIVALS: two change one word; the second one sees what the first did before, and one is second --------------------- */
static void rivals_0(void *state)
{
	struct litmus *s = state;

	tell(s, 0);
	s->got[0] = s->release(&s->word[0], 0, 1);
	if (s->got[0] & 2)
		LITMUS(told(s, 1), "second, and does not see what the first did");
}
static void rivals_1(void *state)
{
	struct litmus *s = state;

	tell(s, 1);
	s->got[1] = s->acquire(&s->word[0], 0, 2);
	if (s->got[1] & 1)
		LITMUS(told(s, 0), "second, and does not see what the first did");
}
static void rivals_end(void *state)
{
	struct litmus *s = state;

	LITMUS(!(s->got[0] & 2) == !!(s->got[1] & 1), "both were first, or none");
}

/* ---- STAMP: asked for before the number was taken means done before it ------------------------------------------------- */
static void stamp_0(void *state)
{
	struct litmus *s = state;

	tell(s, 0);
	s->got[0] = s->release(&s->word[0], 0, 0) + 1;
}
static void stamp_1(void *state)
{
	struct litmus *s = state;

	s->got[1] = s->acquire(&s->word[0], 0, 1) + 1;
	s->got[2] = told(s, 0);
}
static void stamp_end(void *state)
{
	struct litmus *s = state;

	LITMUS(s->got[0] > s->got[1] || s->got[2], "a grace period does not see what was stamped with its number");
}

/* ---- FREEZE: whoever sees a line frozen sees its last state, and what that speaks for ------------------------------------ */
static void freeze_0(void *state)
{
	struct litmus *s = state;
	uint64_t c = 0;

	tell(s, 0);
	hpx_cas_acq_rel(&s->word[0], &c, 1);
}
static void freeze_1(void *state)
{
	struct litmus *s = state;
	uint64_t c = hpx_load_acquire(&s->word[0]), seen;

	for (; (seen = s->release(&s->word[0], c, c | 8)) != c; c = seen)
		;
}
static void freeze_2(void *state)
{
	struct litmus *s = state;

	s->got[0] = s->acquire(&s->word[0], 0, 0);
	if ((s->got[0] & 9) == 9)
		LITMUS(told(s, 0), "a frozen line speaks for a slot that is not there");
}
static void freeze_end(void *state)
{
	struct litmus *s = state;

	LITMUS(!(s->got[0] & 8) || s->got[0] == hpx_load_relaxed(&s->word[0]), "a frozen line has changed");
}

/* ---- LEAVE: word[0] is a line's control word, word[1] a slot of it; the tag goes, the slot is emptied and claimed -------- */
static void leave_begin(struct litmus *s)
{
	hpx_init(&s->word[0], 1);
	hpx_init(&s->word[1], 1);
}
static void leave_0(void *state)
{
	struct litmus *s = state;
	uint64_t c = 1;

	if (hpx_cas_acq_rel(&s->word[0], &c, 0))
		s->release(&s->word[1], 1, 0);
}
static void leave_1(void *state)
{
	struct litmus *s = state;
	uint64_t empty = 0;

	hpx_cas_acq_rel(&s->word[1], &empty, 2);
}
static void leave_2(void *state)
{
	struct litmus *s = state;

	if (hpx_load_acquire(&s->word[0]) == 1 && s->acquire(&s->word[1], 0, 0) == 2)
		LITMUS(hpx_load_acquire(&s->word[0]) != 1, "the tag still speaks for a slot that has another owner");
}

/* ---- RAISE: word[0] is a home's control word, word[1] the tail's; a put into either tail excludes one into the other ------ */
static void raise_0(void *state)
{
	struct litmus *s = state;
	uint64_t c = hpx_load_acquire(&s->word[1]);

	if (c == 0)
		s->got[0] = hpx_cas_acq_rel(&s->word[1], &c, 1);
}
static void raise_1(void *state)
{
	struct litmus *s = state;
	uint64_t c = hpx_load_acquire(&s->word[1]), d = 0;

	while (!hpx_cas_acq_rel(&s->word[1], &c, c | 8))
		;
	s->release(&s->word[0], d, 1);
}
static void raise_2(void *state)
{
	struct litmus *s = state;

	if (s->acquire(&s->word[0], 0, 0) == 1)
		s->got[2] = !(hpx_load_acquire(&s->word[1]) & 1);
}
static void raise_end(void *state)
{
	struct litmus *s = state;

	LITMUS(!(s->got[0] && s->got[2]), "two puts of one key, in two tails");
}

/* ---- PAIR: each side stores one word and then looks at the other's: one of them sees -------------------------------------- */
static void pair_0(void *state)
{
	struct litmus *s = state;

	s->release(&s->word[0], 0, 1);
	s->got[0] = s->acquire(&s->word[1], 0, 0);
}
static void pair_1(void *state)
{
	struct litmus *s = state;

	s->other_release(&s->word[1], 0, 1);
	s->got[1] = s->other_acquire(&s->word[0], 0, 0);
}
static void pair_end(void *state)
{
	struct litmus *s = state;

	LITMUS(s->got[0] || s->got[1], "neither sees the other");
}

/* ---- the classical ones that are not among the above ----------------------------------------------------------------------- */
static void iriw_0(void *state) { announce(state, 0); }
static void iriw_1(void *state) { announce(state, 1); }
static void iriw_look(struct litmus *s, unsigned first)
{
	s->got[first] = announced(s, first) && !announced(s, !first);
}
static void iriw_2(void *state) { iriw_look(state, 0); }
static void iriw_3(void *state) { iriw_look(state, 1); }
static void iriw_end(void *state)
{
	struct litmus *s = state;

	LITMUS(!(s->got[0] && s->got[1]), "two readers disagree on which store was first");
}

static void two_words(struct litmus *s, unsigned first)
{
	s->release(&s->word[first], 0, 1);
	s->release(&s->word[!first], 0, 2);
}
static void two_words_0(void *state) { two_words(state, 0); }
static void two_words_1(void *state) { two_words(state, 1); }
static void two_words_end(void *state)
{
	struct litmus *s = state;

	LITMUS(hpx_load_relaxed(&s->word[0]) != 1 || hpx_load_relaxed(&s->word[1]) != 1, "both first stores are the last ones");
}

static void coherence_0(void *state)
{
	struct litmus *s = state;

	s->release(&s->word[0], 0, 1);
	s->release(&s->word[0], 1, 2);
}
static void coherence_1(void *state)
{
	struct litmus *s = state;
	uint64_t first = s->acquire(&s->word[0], 0, 0);

	LITMUS(s->acquire(&s->word[0], 0, 0) >= first, "a second look sees an older store");
}

static void sequence_1(void *state)
{
	struct litmus *s = state;

	s->other_release(&s->word[0], 0, 2);
}
static void sequence_2(void *state)
{
	struct litmus *s = state;

	if (s->acquire(&s->word[0], 0, 0) == 3)
		LITMUS(told(s, 0), "a read-modify-write has cut the release off");
}

#endif
