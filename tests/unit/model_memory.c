/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model's memory by itself. A program is a few operations for each of up to four threads; it is run with every
 * interleaving and every choice of store. What its loads saw, and the words in the end, is an outcome.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/memory.h"
#include "model/model.h"
#include "support/support.h"

enum { THREADS = 4, OPS = 6, LOADS = 6, WORDS = 4, CHOICES = 64 };
enum { RLX = __ATOMIC_RELAXED, ACQ = __ATOMIC_ACQUIRE, REL = __ATOMIC_RELEASE, AR = __ATOMIC_ACQ_REL, SC = __ATOMIC_SEQ_CST };
enum { X, Y, Z, D };
enum kind { NONE, LOAD, STORE, ADD, CAS, FENCE, READ, WRITE, FREE, LOCK, UNLOCK, IF };

struct op {
	enum kind kind;
	unsigned word;
	uint64_t value, to;
	int order;
};
#define R(word_, order_) {.kind = LOAD, .word = word_, .order = order_}
#define W(word_, value_, order_) {.kind = STORE, .word = word_, .value = value_, .order = order_}
#define A(word_, value_, order_) {.kind = ADD, .word = word_, .value = value_, .order = order_}
#define C(word_, from_, to_, order_) {.kind = CAS, .word = word_, .value = from_, .to = to_, .order = order_}
#define F(order_) {.kind = FENCE, .order = order_}
#define PR(word_) {.kind = READ, .word = word_}
#define PW(word_) {.kind = WRITE, .word = word_}
#define FREED(word_) {.kind = FREE, .word = word_}
#define TAKE {.kind = LOCK}
#define GIVE {.kind = UNLOCK}
#define UNLESS(value_) {.kind = IF, .value = value_} /* ends its thread unless its last load saw this */

struct program {
	struct op thread[THREADS][OPS];
};

/* One run, and the search over all. */
static struct {
	const struct program *p;
	unsigned choice[CHOICES], of[CHOICES], at; /* what was chosen, out of how many */
	uint64_t seen[LOADS], end[WORDS];
	bool failed, expected, weak;
	char text[300];
	jmp_buf out;
	unsigned long runs;
} run;
static uint64_t words[WORDS] __attribute__((aligned(64)));

static unsigned choose(unsigned n)
{
	if (run.at == CHOICES)
		TEST_FAIL("too many choices");
	if (run.of[run.at] == 0) {
		run.of[run.at] = n;
		run.choice[run.at] = 0;
	}
	return run.choice[run.at++];
}

unsigned model_choose_store(unsigned n)
{
	CHECK(run.weak && n > 1);
	return choose(n);
}

void model_fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(run.text, sizeof(run.text), format, arguments);
	va_end(arguments);
	if (!run.expected)
		TEST_FAIL("%s", run.text);
	run.failed = true;
	longjmp(run.out, 1);
}

struct state {
	unsigned pc[THREADS], loads[THREADS];
	uint64_t last[THREADS];
	struct mem_clock lock;
	int locked;
};

static unsigned first_load(const struct program *p, unsigned t)
{
	unsigned n = 0;

	for (unsigned u = 0; u < t; u++)
		for (unsigned i = 0; i < OPS; i++)
			n += p->thread[u][i].kind == LOAD || p->thread[u][i].kind == CAS || p->thread[u][i].kind == ADD;
	return n;
}

static void saw(struct state *s, unsigned t, uint64_t value)
{
	unsigned i = first_load(run.p, t) + s->loads[t]++;

	CHECK(i < LOADS);
	run.seen[i] = s->last[t] = value;
}

static void step(struct state *s, unsigned t)
{
	const struct op *op = &run.p->thread[t][s->pc[t]++];
	uint64_t *a = &words[op->word], expected = op->value;
	const void *where = op;

	switch (op->kind) {
	case NONE: break;
	case LOAD: saw(s, t, mem_load(t, a, 8, op->order, where)); break;
	case STORE: mem_store(t, a, 8, op->value, op->order, where); break;
	case ADD: saw(s, t, mem_rmw(t, a, 8, MEM_ADD, op->value, op->order, where)); break;
	case CAS:
		mem_cas(t, a, 8, &expected, op->to, op->order, op->order == REL ? RLX : op->order == AR ? ACQ : op->order,
			where);
		saw(s, t, expected);
		break;
	case FENCE: mem_fence(t, op->order); break;
	case READ: mem_read(t, a, 8, where); break;
	case WRITE: mem_write(t, a, 8, where); break;
	case FREE: mem_freed(t, a, 8, where); break;
	case LOCK: mem_acquire(t, &s->lock); break;
	case UNLOCK:
		mem_release(t, &s->lock);
		s->locked = -1;
		break;
	case IF:
		if (s->last[t] != op->value)
			s->pc[t] = OPS;
		break;
	}
}

static void once(enum mem_mode mode)
{
	static struct state s;
	unsigned ready[THREADS], n, t;

	memset(&s, 0, sizeof(s));
	s.locked = -1;
	memset(words, 0, sizeof(words));
	memset(run.seen, 0xff, sizeof(run.seen));
	run.at = 0;
	run.failed = false;
	run.expected = true;
	run.weak = mode == MEM_WEAK;
	run.runs++;
	mem_reset(mode);
	if (setjmp(run.out))
		return;
	for (;;) {
		for (n = 0, t = 0; t < THREADS; t++) {
			enum kind kind = s.pc[t] < OPS ? run.p->thread[t][s.pc[t]].kind : NONE;

			if (kind != NONE && (kind != LOCK || s.locked < 0))
				ready[n++] = t;
		}
		if (!n)
			break;
		t = ready[n > 1 ? choose(n) : 0];
		if (run.p->thread[t][s.pc[t]].kind == LOCK)
			s.locked = (int)t;
		step(&s, t);
	}
	memcpy(run.end, words, sizeof(words));
}

static bool next(void)
{
	while (run.at && run.choice[run.at - 1] + 1 == run.of[run.at - 1])
		run.of[--run.at] = 0;
	if (!run.at)
		return false;
	run.choice[run.at - 1]++;
	return true;
}

typedef bool outcome(void);

/* How many runs have the outcome. */
static unsigned long count(const struct program *p, enum mem_mode mode, outcome *is)
{
	unsigned long n = 0;

	memset(run.of, 0, sizeof(run.of));
	run.p = p;
	run.runs = 0;
	do {
		once(mode);
		run.expected = false;
		n += run.failed ? is == NULL : is && is();
	} while (next());
	return n;
}

#define OUTCOME(name, expression) static bool name(void) { const uint64_t *r = run.seen, *w = run.end; \
	(void)r; (void)w; return expression; }
#define MAY(is, ...) CHECK(count(&(struct program){{__VA_ARGS__}}, MEM_WEAK, is) > 0)
#define NEVER(is, ...) CHECK_EQ(count(&(struct program){{__VA_ARGS__}}, MEM_WEAK, is), 0)
/* The interleavings alone do not show it. */
#define WEAK(is, ...) do { MAY(is, __VA_ARGS__); \
	CHECK_EQ(count(&(struct program){{__VA_ARGS__}}, MEM_STRONG, is), 0); } while (0)
#define RACE(...) do { MAY(NULL, __VA_ARGS__); \
	CHECK(count(&(struct program){{__VA_ARGS__}}, MEM_STRONG, NULL) > 0); } while (0)
#define CLEAN(...) NEVER(NULL, __VA_ARGS__)

OUTCOME(one_zero, r[0] == 1 && r[1] == 0)

TEST(message_passing)
{
	WEAK(one_zero, {W(X, 1, RLX), W(Y, 1, RLX)}, {R(Y, RLX), R(X, RLX)});
	WEAK(one_zero, {W(X, 1, RLX), W(Y, 1, RLX)}, {R(Y, ACQ), R(X, RLX)});
	WEAK(one_zero, {W(X, 1, RLX), W(Y, 1, REL)}, {R(Y, RLX), R(X, RLX)});
	NEVER(one_zero, {W(X, 1, RLX), W(Y, 1, REL)}, {R(Y, ACQ), R(X, RLX)});
	NEVER(one_zero, {W(X, 1, RLX), W(Y, 1, SC)}, {R(Y, SC), R(X, RLX)});
	NEVER(one_zero, {W(X, 1, RLX), F(REL), W(Y, 1, RLX)}, {R(Y, RLX), F(ACQ), R(X, RLX)});
	WEAK(one_zero, {W(X, 1, RLX), F(ACQ), W(Y, 1, RLX)}, {R(Y, RLX), F(ACQ), R(X, RLX)});
	WEAK(one_zero, {W(X, 1, RLX), F(REL), W(Y, 1, RLX)}, {R(Y, RLX), F(REL), R(X, RLX)});
	NEVER(one_zero, {W(X, 1, RLX), F(SC), W(Y, 1, RLX)}, {R(Y, ACQ), R(X, RLX)});
	/* a fence before what is to be released, or after it, does nothing */
	WEAK(one_zero, {F(REL), W(X, 1, RLX), W(Y, 1, RLX)}, {R(Y, ACQ), R(X, RLX)});
	WEAK(one_zero, {W(X, 1, RLX), W(Y, 1, RLX), F(REL)}, {R(Y, ACQ), R(X, RLX)});
	/* a read-modify-write reads the newest, whatever its order */
	NEVER(one_zero, {W(X, 1, RLX), W(Y, 1, RLX)}, {R(Y, RLX), A(X, 0, RLX)});
}

OUTCOME(both_zero, r[0] == 0 && r[1] == 0)

TEST(store_buffering)
{
	WEAK(both_zero, {W(X, 1, RLX), R(Y, RLX)}, {W(Y, 1, RLX), R(X, RLX)});
	WEAK(both_zero, {W(X, 1, REL), R(Y, ACQ)}, {W(Y, 1, REL), R(X, ACQ)});
	WEAK(both_zero, {W(X, 1, SC), R(Y, SC)}, {W(Y, 1, SC), R(X, ACQ)});
	WEAK(both_zero, {W(X, 1, SC), R(Y, SC)}, {W(Y, 1, REL), R(X, SC)});
	NEVER(both_zero, {W(X, 1, SC), R(Y, SC)}, {W(Y, 1, SC), R(X, SC)});
	NEVER(both_zero, {W(X, 1, RLX), F(SC), R(Y, RLX)}, {W(Y, 1, RLX), F(SC), R(X, RLX)});
	WEAK(both_zero, {W(X, 1, RLX), F(SC), R(Y, RLX)}, {W(Y, 1, RLX), F(AR), R(X, RLX)});
	NEVER(both_zero, {W(X, 1, RLX), F(SC), R(Y, RLX)}, {W(Y, 1, SC), R(X, SC)});
}

OUTCOME(buffered_adds, r[1] == 0 && r[3] == 0)

TEST(store_buffering_with_read_modify_writes)
{
	NEVER(buffered_adds, {A(X, 1, SC), R(Y, SC)}, {A(Y, 1, SC), R(X, SC)});
	WEAK(buffered_adds, {A(X, 1, AR), R(Y, ACQ)}, {A(Y, 1, AR), R(X, ACQ)});
	/* reading by adding nothing sees the newest, and orders what its own word tells */
	NEVER(buffered_adds, {A(X, 1, RLX), A(Y, 0, RLX)}, {A(Y, 1, RLX), A(X, 0, RLX)});
}

OUTCOME(back_in_time, r[0] == 1 && r[1] == 0)
OUTCOME(second_then_first, r[0] == 2 && r[1] == 1)
OUTCOME(against_each_other, r[0] == 1 && r[1] == 2 && r[2] == 2 && r[3] == 1)
OUTCOME(read_then_behind, r[0] == 1 && w[X] == 1)

TEST(coherence)
{
	NEVER(back_in_time, {W(X, 1, RLX)}, {R(X, RLX), R(X, RLX)});
	NEVER(second_then_first, {W(X, 1, RLX), W(X, 2, RLX)}, {R(X, RLX), R(X, RLX)});
	NEVER(against_each_other, {W(X, 1, RLX)}, {W(X, 2, RLX)}, {R(X, RLX), R(X, RLX)}, {R(X, RLX), R(X, RLX)});
	/* a thread's store comes after what it read */
	NEVER(read_then_behind, {W(X, 1, RLX)}, {R(X, RLX), W(X, 2, RLX)});
	/* what a load saw binds those that learn of the load */
	NEVER(one_zero, {W(X, 1, RLX)}, {R(X, RLX), UNLESS(1), R(X, RLX), W(Y, 1, REL)}, {R(Y, ACQ), UNLESS(1), R(X, RLX)});
}

OUTCOME(learnt_less, r[0] == 1 && r[2] == 1 && r[3] == 0)

TEST(a_second_look_does_not_unbind_what_the_first_bound)
{
	/* r1 is a later look of the thread whose first look the other one knows of */
	NEVER(learnt_less, {W(X, 1, RLX)}, {R(X, RLX), W(Y, 1, REL), R(X, RLX)}, {R(Y, ACQ), R(X, RLX)});
}

OUTCOME(first_stores_last, w[X] == 1 && w[Y] == 1)

TEST(stores_of_two_threads_to_two_words)
{
	WEAK(first_stores_last, {W(X, 1, RLX), W(Y, 2, RLX)}, {W(Y, 1, RLX), W(X, 2, RLX)});
	WEAK(first_stores_last, {W(X, 1, REL), W(Y, 2, REL)}, {W(Y, 1, REL), W(X, 2, REL)});
	NEVER(first_stores_last, {W(X, 1, SC), W(Y, 2, SC)}, {W(Y, 1, SC), W(X, 2, SC)});
	NEVER(first_stores_last, {W(X, 1, RLX), F(SC), W(Y, 2, RLX)}, {W(Y, 1, RLX), F(SC), W(X, 2, RLX)});
}

OUTCOME(disagree, r[0] == 1 && r[1] == 0 && r[2] == 1 && r[3] == 0)

TEST(independent_reads_of_independent_writes)
{
	WEAK(disagree, {W(X, 1, REL)}, {W(Y, 1, REL)}, {R(X, ACQ), R(Y, ACQ)}, {R(Y, ACQ), R(X, ACQ)});
	NEVER(disagree, {W(X, 1, SC)}, {W(Y, 1, SC)}, {R(X, SC), R(Y, SC)}, {R(Y, SC), R(X, SC)});
	NEVER(disagree, {W(X, 1, RLX)}, {W(Y, 1, RLX)}, {R(X, RLX), F(SC), R(Y, RLX)}, {R(Y, RLX), F(SC), R(X, RLX)});
}

OUTCOME(caused, r[0] == 1 && r[1] == 1 && r[2] == 0)

TEST(causality_through_a_third_thread)
{
	NEVER(caused, {W(X, 1, RLX)}, {R(X, RLX), W(Y, 1, REL)}, {R(Y, ACQ), R(X, RLX)});
	WEAK(caused, {W(X, 1, RLX)}, {R(X, RLX), W(Y, 1, RLX)}, {R(Y, ACQ), R(X, RLX)});
	WEAK(caused, {W(X, 1, RLX)}, {R(X, RLX), W(Y, 1, REL)}, {R(Y, RLX), R(X, RLX)});
	/* a release is handed on by who acquired it */
	NEVER(caused, {W(X, 1, RLX), W(Z, 1, REL)}, {R(Z, ACQ), W(Y, 1, REL)}, {R(Y, ACQ), R(X, RLX)});
}

OUTCOME(unreleased, r[0] == 1 && r[1] == 2 && r[2] == 0)
OUTCOME(same_thread, r[0] == 2 && r[1] == 0)

TEST(release_sequences)
{
	/* through another thread's read-modify-writes, relaxed ones too */
	NEVER(unreleased, {W(X, 1, RLX), W(Y, 1, REL)}, {A(Y, 1, RLX)}, {R(Y, ACQ), R(X, RLX)});
	WEAK(unreleased, {W(X, 1, RLX), W(Y, 1, RLX)}, {A(Y, 1, AR)}, {R(Y, ACQ), R(X, RLX)});
	NEVER(unreleased, {W(X, 1, RLX), W(Y, 1, REL)}, {C(Y, 1, 2, RLX)}, {R(Y, ACQ), R(X, RLX)});
	/* a store ends it, of whatever thread */
	WEAK(same_thread, {W(X, 1, RLX), W(Y, 1, REL), W(Y, 2, RLX)}, {R(Y, ACQ), R(X, RLX)});
	NEVER(same_thread, {W(X, 1, RLX), W(Y, 1, REL), W(Y, 2, REL)}, {R(Y, ACQ), R(X, RLX)});
}

OUTCOME(both_won, r[0] == 0 && r[1] == 0)
OUTCOME(lost_count, w[X] != 3)
OUTCOME(failed_early, r[0] == 1 && r[1] == 0)
OUTCOME(cut_in, r[1] == 1 && w[X] == 2)

TEST(read_modify_writes)
{
	NEVER(both_won, {C(X, 0, 1, RLX)}, {C(X, 0, 2, RLX)});
	NEVER(lost_count, {A(X, 1, RLX)}, {A(X, 1, RLX)}, {A(X, 1, RLX)});
	/* a failure is a load; its order matters, and what it saw may be old */
	NEVER(failed_early, {W(X, 1, RLX), W(Y, 1, REL)}, {C(Y, 0, 2, AR), R(X, RLX)});
	WEAK(failed_early, {W(X, 1, RLX), W(Y, 1, REL)}, {C(Y, 0, 2, REL), R(X, RLX)});
	/* nothing comes between one and the store that it read: if it read 1, then 5 is before 1 or after 2 */
	NEVER(cut_in, {W(X, 1, RLX)}, {R(Y, RLX), C(X, 1, 2, RLX), UNLESS(1), W(X, 4, RLX)}, {W(X, 5, RLX), W(X, 6, RLX)});
}

OUTCOME(stale_failure, r[1] == 0)

TEST(a_failing_compare_and_swap_may_see_an_old_value)
{
	WEAK(stale_failure, {W(X, 1, RLX), W(Y, 1, RLX)}, {R(Y, RLX), UNLESS(1), C(X, 1, 2, RLX)});
	NEVER(stale_failure, {W(X, 1, RLX), W(Y, 1, REL)}, {R(Y, ACQ), UNLESS(1), C(X, 1, 2, RLX)});
}

TEST(races)
{
	RACE({PW(D)}, {PW(D)});
	RACE({PW(D)}, {PR(D)});
	CLEAN({PR(D)}, {PR(D)}, {PR(D)});
	RACE({PW(D), W(Y, 1, RLX)}, {R(Y, ACQ), UNLESS(1), PR(D)});
	RACE({PW(D), W(Y, 1, REL)}, {R(Y, RLX), UNLESS(1), PR(D)});
	CLEAN({PW(D), W(Y, 1, REL)}, {R(Y, ACQ), UNLESS(1), PR(D), PW(D)});
	CLEAN({TAKE, PW(D), GIVE}, {TAKE, PW(D), GIVE}, {TAKE, PR(D), GIVE});
	RACE({TAKE, PW(D), GIVE}, {PR(D)});
	/* two readers, of whom the writer knows one */
	RACE({PR(D), A(Y, 1, REL)}, {PR(D), A(Y, 1, RLX)}, {R(Y, ACQ), UNLESS(2), PW(D)});
	CLEAN({PR(D), A(Y, 1, REL)}, {PR(D), A(Y, 1, REL)}, {R(Y, ACQ), UNLESS(2), PW(D)});
	/* plain against atomic */
	RACE({PW(D)}, {R(D, ACQ)});
	RACE({PR(D)}, {W(D, 1, SC)});
	CLEAN({PR(D)}, {R(D, RLX)});
	CLEAN({W(D, 1, RLX)}, {A(D, 1, RLX)});
}

TEST(freed_memory)
{
	RACE({FREED(D)}, {PR(D)});
	RACE({FREED(D)}, {R(D, SC)});
	RACE({FREED(D)}, {FREED(D)});
	RACE({FREED(D), W(Y, 1, REL)}, {R(Y, ACQ), UNLESS(1), PR(D)});
	CLEAN({PR(D), W(Y, 1, REL)}, {R(Y, ACQ), UNLESS(1), FREED(D)});
	RACE({PR(D), W(Y, 1, RLX)}, {R(Y, ACQ), UNLESS(1), FREED(D)});
	RACE({R(D, RLX), W(Y, 1, RLX)}, {R(Y, ACQ), UNLESS(1), FREED(D)});
}

/* From here on: calls one by one. */
#define FAILS(part, call) do { run.failed = false; run.expected = true; if (!setjmp(run.out)) { call; } \
	run.expected = false; \
	CHECK(run.failed); if (!strstr(run.text, part)) TEST_FAIL("\"%s\" is not in: %s", part, run.text); } while (0)

static char block[1 << 16] __attribute__((aligned(4096)));

TEST(bytes_are_told_apart)
{
	mem_reset(MEM_STRONG);
	for (size_t i = 0; i < 16; i++)
		mem_write((unsigned)(i & 3), block + i, 1, NULL);
	for (size_t i = 0; i < 16; i++)
		mem_write((unsigned)(i & 3), block + i, 1, NULL);
	FAILS("data race", mem_read(1, block, 1, NULL));
	FAILS("thread 3 wrote plainly", mem_read(0, block + 7, 2, NULL));
	mem_reset(MEM_STRONG);
	mem_write(0, block + 3, 10, NULL); /* 3 to 12 */
	mem_write(1, block + 13, 3, NULL);
	mem_write(1, block, 3, NULL);
	FAILS("data race", mem_read(1, block + 12, 1, NULL));
	FAILS("data race", mem_read(1, block + 3, 1, NULL));
	FAILS("data race", mem_read(1, block, 16, NULL));
	/* atomics of four and of one byte, side by side */
	mem_reset(MEM_STRONG);
	memset(block, 0, 16);
	mem_store(0, block, 4, 7, RLX, NULL);
	mem_store(1, block + 4, 1, 0x1ff, RLX, NULL);
	mem_write(2, block + 5, 3, NULL);
	CHECK_EQ(mem_load(1, block, 4, RLX, NULL), 7);
	CHECK_EQ(mem_load(0, block + 4, 1, RLX, NULL), 0xff);
	FAILS("thread 0 wrote atomically", mem_read(3, block, 4, NULL));
	FAILS("thread 1 wrote atomically", mem_read(3, block + 4, 1, NULL));
	FAILS("odd address", mem_load(1, block + 1, 4, RLX, NULL));
}

TEST(both_ends_are_named)
{
	mem_reset(MEM_STRONG);
	mem_write(1, block, 8, (void *)0x1234);
	FAILS("thread 1 wrote plainly at 0x1234, now thread 2 read atomically at 0x5678",
	      mem_load(2, block, 8, ACQ, (void *)0x5678));
	mem_reset(MEM_STRONG);
	mem_freed(1, block, 24, (void *)0x1234);
	FAILS("use of freed memory", mem_write(1, block + 16, 1, NULL));
	FAILS("thread 1 freed at 0x1234", mem_write(1, block + 23, 1, NULL));
	mem_write(1, block + 24, 1, NULL);
}

static void life_of_a_block(enum mem_mode mode, size_t size)
{
	mem_reset(mode);
	mem_allocated(1, block, size);
	mem_write(1, block + size / 2, 1, NULL);
	mem_freed(1, block, size, NULL);
	FAILS("freed", mem_read(1, block, 1, NULL));
	FAILS("freed", mem_read(1, block + size / 2, 1, NULL));
	FAILS("freed", mem_write(1, block + size - 1, 1, NULL));
	FAILS("freed", mem_rmw(1, block, 8, MEM_ADD, 1, SC, NULL));
	FAILS("freed twice", mem_freed(1, block + size - 8, 8, NULL));
	/* a part of it is used again; no history, no access of former times is left */
	mem_allocated(2, block, size / 2);
	mem_write(2, block, 1, NULL);
	mem_write(2, block + size / 2 - 1, 1, NULL);
	FAILS("freed", mem_read(2, block + size / 2, 1, NULL));
	mem_allocated(2, block, size);
	mem_write(2, block + size / 2, 1, NULL);
}

TEST(small_and_large_blocks_end_and_begin)
{
	for (enum mem_mode mode = MEM_OFF; mode <= MEM_WEAK; mode++)
		for (size_t size = 8; size <= sizeof(block); size *= 2)
			life_of_a_block(mode, size);
}

TEST(an_allocation_is_a_write)
{
	struct mem_clock clock = {{0}};

	mem_reset(MEM_STRONG);
	mem_allocated(1, block, 64);
	FAILS("thread 1 allocated", mem_load(2, block, 8, ACQ, NULL));
	mem_reset(MEM_STRONG);
	mem_allocated(1, block, 64);
	mem_release(1, &clock);
	mem_acquire(2, &clock);
	mem_load(2, block, 8, ACQ, NULL);
}

TEST(threads_begin_after_what_their_parent_did)
{
	mem_reset(MEM_STRONG);
	mem_write(1, block, 8, NULL);
	mem_thread_start(2, 1);
	mem_write(2, block, 8, NULL);
	FAILS("data race", mem_read(1, block, 8, NULL));
	mem_write(1, block + 8, 8, NULL); /* the parent goes on by itself */
	FAILS("data race", mem_read(2, block + 8, 8, NULL));
}

TEST(off_notices_freed_memory_only)
{
	mem_reset(MEM_OFF);
	mem_write(1, block, 8, NULL);
	mem_write(2, block, 8, NULL);
	mem_store(3, block, 8, 5, RLX, NULL);
	CHECK_EQ(mem_load(2, block, 8, RLX, NULL), 5);
}

TEST(operations_and_sizes)
{
	static const struct { enum mem_op op; uint64_t after; } all[] = {
		{MEM_EXCHANGE, 0x0f}, {MEM_ADD, 0xf3 + 0x0f}, {MEM_SUB, 0xf3 - 0x0f},
		{MEM_AND, 0x03}, {MEM_OR, 0xff}, {MEM_XOR, 0xfc}, {MEM_NAND, ~UINT64_C(3)}};

	for (enum mem_mode mode = MEM_OFF; mode <= MEM_WEAK; mode++)
		for (unsigned size = 1; size <= 8; size *= 2)
			for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
				uint64_t mask = size == 8 ? ~UINT64_C(0) : (UINT64_C(1) << 8 * size) - 1, expected = 1;

				mem_reset(mode);
				mem_store(0, block, size, 0xf3, RLX, NULL);
				CHECK_EQ(mem_rmw(0, block, size, all[i].op, 0x0f, SC, NULL), 0xf3);
				CHECK_EQ(mem_load(0, block, size, RLX, NULL), all[i].after & mask);
				CHECK(!mem_cas(0, block, size, &expected, 9, SC, SC, NULL) && expected == (all[i].after & mask));
				CHECK(mem_cas(0, block, size, &expected, 9, SC, SC, NULL));
				CHECK_EQ(mem_load(0, block, size, RLX, NULL), 9);
			}
}

TEST(history_is_bounded_and_lookups_survive_growth)
{
	static uint64_t many[50000];

	run.weak = true;
	memset(run.of, 0, sizeof(run.of));
	run.at = 0;
	mem_reset(MEM_WEAK);
	for (size_t i = 0; i < 50000; i++)
		mem_store(0, &many[i], 8, i, RLX, NULL);
	for (size_t i = 0; i < 50000; i++)
		CHECK_EQ(mem_load(0, &many[i], 8, RLX, NULL), i);
	for (uint64_t i = 0; i < 1000; i++)
		mem_store(0, block, 8, i, RLX, NULL);
	run.of[0] = 0;
	(void)mem_load(1, block, 8, RLX, NULL);
	CHECK_EQ(run.of[0], 16);
	/* a thread that misses the newest often enough sees it */
	for (unsigned i = 0; i < 3; i++) {
		run.at = 0;
		run.of[0] = 16;
		run.choice[0] = 1;
		run.of[1] = 0;
		CHECK_EQ(mem_load(2, block, 8, RLX, NULL), 998);
	}
	CHECK_EQ(mem_load(2, block, 8, RLX, NULL), 999);
}
