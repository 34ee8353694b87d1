/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/litmus.c - the rows of litmus_rows.h as scenarios. Instrumented, as lib/ is.
 *
 * Every row gives litmus.EDGE, in which no run may fail, and for each end that matters litmus.EDGE.weak-release and so
 * on, in which that end is weakened and some run must. Then the classical litmus tests, likewise.
 */
#include "model/litmus.h"
#include "model/litmus_shapes.h"

#define THREADS_MESSAGE message_0, message_1
#define THREADS_USE use_0, use_1
#define THREADS_HANDOVER message_0, handover_1, handover_2
#define THREADS_STACK stack_0, stack_1, stack_2
#define THREADS_STACK_STORE stack_store_0, stack_2
#define THREADS_APPEND append_0, append_1, append_2
#define THREADS_LOCK lock_0, lock_0
#define THREADS_LAST last_0, last_1, last_2
#define THREADS_KILL kill_0, kill_1
#define THREADS_DRAIN drain_0, drain_1, drain_2
#define THREADS_RIVALS rivals_0, rivals_1
#define THREADS_STAMP stamp_0, stamp_1
#define THREADS_FREEZE freeze_0, freeze_1, freeze_2
#define THREADS_LEAVE leave_0, leave_1, leave_2
#define THREADS_RAISE raise_0, raise_1, raise_2
#define THREADS_PAIR pair_0, pair_1
#define THREADS_IRIW iriw_0, iriw_1, iriw_2, iriw_3
#define THREADS_TWO_WORDS two_words_0, two_words_1
#define THREADS_COHERENCE coherence_0, coherence_1
#define THREADS_SEQUENCE message_0, sequence_1, sequence_2

static void no_end(void *state) { (void)state; }
#define END_MESSAGE no_end
#define END_USE no_end
#define END_HANDOVER no_end
#define END_STACK no_end
#define END_STACK_STORE no_end
#define END_APPEND no_end
#define END_LOCK lock_end
#define END_LAST no_end
#define END_KILL no_end
#define END_DRAIN no_end
#define END_RIVALS rivals_end
#define END_STAMP stamp_end
#define END_FREEZE freeze_end
#define END_LEAVE no_end
#define END_RAISE raise_end
#define END_PAIR pair_end
#define END_IRIW iriw_end
#define END_TWO_WORDS two_words_end
#define END_COHERENCE no_end
#define END_SEQUENCE no_end

static void no_begin(struct litmus *s) { (void)s; }
static void falling_begin(struct litmus *s)
{
	s->falling = true;
	hpx_init(&s->word[0], 1);
}
static void message_begin(struct litmus *s)
{
	static litmus_op *const falling[] = {sub_relaxed, sub_release, sub_acq_rel, and_acquire, and_acq_rel};

	for (unsigned i = 0; i < sizeof(falling) / sizeof(*falling); i++)
		if (s->release == falling[i])
			falling_begin(s);
}
#define BEGIN_MESSAGE message_begin
#define BEGIN_USE no_begin
#define BEGIN_HANDOVER no_begin
#define BEGIN_STACK no_begin
#define BEGIN_STACK_STORE no_begin
#define BEGIN_APPEND no_begin
#define BEGIN_LOCK no_begin
#define BEGIN_LAST last_begin
#define BEGIN_KILL kill_begin
#define BEGIN_DRAIN kill_begin
#define BEGIN_RIVALS no_begin
#define BEGIN_STAMP no_begin
#define BEGIN_FREEZE no_begin
#define BEGIN_LEAVE leave_begin
#define BEGIN_RAISE no_begin
#define BEGIN_PAIR no_begin
#define BEGIN_IRIW no_begin
#define BEGIN_TWO_WORDS no_begin
#define BEGIN_COHERENCE no_begin
#define BEGIN_SEQUENCE no_begin

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

/* One scenario; `id` tells the few of one line apart. */
#define SCENARIO(id, text, shape, release_, acquire_, other_release_, other_acquire_, flags_)                            \
	static void PASTE(begin_##id##_, __LINE__)(void *state)                                                           \
	{                                                                                                                    \
		struct litmus *s = state;                                                                                        \
                                                                                                                         \
		s->release = release_;                                                                                           \
		s->acquire = acquire_;                                                                                           \
		s->other_release = other_release_;                                                                               \
		s->other_acquire = other_acquire_;                                                                               \
		BEGIN_##shape(s);                                                                                                \
	}                                                                                                                    \
	static const struct model_scenario PASTE(scenario_##id##_, __LINE__) = {                                         \
		.name = text, .summary = #shape, .size = sizeof(struct litmus),                                                  \
		.setup = PASTE(begin_##id##_, __LINE__), .thread = {THREADS_##shape}, .finish = END_##shape,                 \
		.flags = MODEL_WEAK_ONLY | (flags_), .preemptions = 100};

/* Which ends there are to weaken. */
#define WEAK_RELEASE_BOTH(x) x
#define WEAK_RELEASE_RELEASE(x) x
#define WEAK_RELEASE_ACQUIRE(x)
#define WEAK_ACQUIRE_BOTH(x) x
#define WEAK_ACQUIRE_RELEASE(x)
#define WEAK_ACQUIRE_ACQUIRE(x) x

#define EDGE(edge, variant, shape, release, acquire, ends)                                                               \
	SCENARIO(strong, "litmus." #edge #variant, shape, release, acquire, NULL, NULL, 0)                                   \
	WEAK_RELEASE_##ends(SCENARIO(weak_release, "litmus." #edge #variant ".weak-release", shape,                          \
				     NO_RELEASE_##release, acquire, NULL, NULL, MODEL_EXPECT_FAIL))                                  \
	WEAK_ACQUIRE_##ends(SCENARIO(weak_acquire, "litmus." #edge #variant ".weak-acquire", shape, release,                 \
				     NO_ACQUIRE_##acquire, NULL, NULL, MODEL_EXPECT_FAIL))
#define PAIR(edge, variant, a, b, c, d)                                                                                  \
	SCENARIO(strong, "litmus." #edge #variant, PAIR, a, b, c, d, 0)                                                      \
	SCENARIO(weak_a, "litmus." #edge #variant ".weak-store", PAIR, NO_SC_##a, b, c, d, MODEL_EXPECT_FAIL)                \
	SCENARIO(weak_b, "litmus." #edge #variant ".weak-load", PAIR, a, NO_SC_##b, c, d, MODEL_EXPECT_FAIL)                 \
	SCENARIO(weak_c, "litmus." #edge #variant ".weak-other-store", PAIR, a, b, NO_SC_##c, d, MODEL_EXPECT_FAIL)          \
	SCENARIO(weak_d, "litmus." #edge #variant ".weak-other-load", PAIR, a, b, c, NO_SC_##d, MODEL_EXPECT_FAIL)
#define DROP(edge, variant, op)                                                                                          \
	SCENARIO(strong, "litmus." #edge #variant, LAST, op, NULL, NULL, NULL, 0)                                            \
	SCENARIO(weak_release, "litmus." #edge #variant ".weak-release", LAST, NO_RELEASE_##op, NULL, NULL, NULL,            \
		 MODEL_EXPECT_FAIL)                                                                                              \
	SCENARIO(weak_acquire, "litmus." #edge #variant ".weak-acquire", LAST, NO_ACQUIRE_##op, NULL, NULL, NULL,            \
		 MODEL_EXPECT_FAIL)
#define CLASSIC(name, shape, a, b, c, d, flags) SCENARIO(strong, "litmus.classic." #name, shape, a, b, c, d, flags)
#include "model/litmus_rows.h"
#undef EDGE
#undef PAIR
#undef DROP
#undef CLASSIC

#define ONE(id) &PASTE(scenario_##id##_, __LINE__),
#define EDGE(edge, variant, shape, release, acquire, ends) \
	ONE(strong) WEAK_RELEASE_##ends(ONE(weak_release)) WEAK_ACQUIRE_##ends(ONE(weak_acquire))
#define PAIR(edge, variant, a, b, c, d) ONE(strong) ONE(weak_a) ONE(weak_b) ONE(weak_c) ONE(weak_d)
#define DROP(edge, variant, op) ONE(strong) ONE(weak_release) ONE(weak_acquire)
#define CLASSIC(name, shape, a, b, c, d, flags) ONE(strong)
const struct model_scenario *const model_litmus[] = {
#include "model/litmus_rows.h"
	NULL};
