/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memos and the objects they belong to: nothing is kept alive, nothing of a dead owner is seen again, owners are apart. */
#include "unit/memos.h"

static const unsigned kinds[] = {HAPAX_MEMO_OWNED, HAPAX_MEMO_OWNED | MEMO_MAKES, HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET,
				 HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET | MEMO_MAKES};
enum { KINDS = 4 };

/* ---- SD-29: the owner dies with its last user ---------------------------------------------------------------------- */

struct watch {
	struct work *w;
	struct item *owner, *other;
	hapax_weak *results[10];
	int destroyed_before; /* results gone when the owner's callback ran */
};

/* An owner's death callback: its results are let go of, and it cannot be asked for any. */
static void watch_callback(struct probe *p)
{
	struct watch *o = p->arg;
	const hapax_arg arg = hapax_arg_int(1);

	for (int i = 0; i < 10; i++)
		CHECK(!hapax_weak_alive(o->results[i]));
	INFO(info_of(o->w, NULL), 0, 12, 2);
	CHECK_EQ(info_of(o->w, NULL).owners, 1);
	CHECK_EQ(refused(o->w, o->owner, &arg, 1), HAPAX_EDEAD);
	INFO(info_of(o->w, NULL), 0, 12, 2);
}

static void watch_destroyed(struct item *item, void *arg)
{
	struct watch *o = arg;
	const hapax_arg args = hapax_arg_int(1);
	hapax_memo_info info = {.size = sizeof(info)};
	void *out = (void *)1;

	CHECK_EQ(refused(o->w, item, &args, 1), HAPAX_EDEAD);
	CHECK_EQ(hapax_memo_get(o->w->memo, item, HAPAX_STR("x"), &out), HAPAX_EDEAD);
	CHECK(hapax_memo_find(o->w->memo, item, &args, 1, &out) != HAPAX_OK);
	CHECK(!out);
	CHECK(hapax_memo_forget(o->w->memo, item, &args, 1) != HAPAX_OK);
	if (hapax_memo_info_get(o->w->memo, item, &info) == HAPAX_OK)
		INFO(info, 0, 0, 0);
	hapax_memo_clear(o->w->memo, item, NULL);
	INFO(info_of(o->w, NULL), 0, 12, 2); /* nothing was counted */
	hapax_release(called(o->w, o->other, 7)); /* of another owner */
	INFO(info_of(o->w, NULL), 0, 13, 3);
}

TEST(SD_29_a_memo_does_not_keep_its_owners)
{
	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = test_env();
		struct work w = {0};
		struct watch o = {.w = &w};
		struct probe p;
		int destroyed = 0;

		memo_new(env, &w, kinds[kind], 100);
		o.owner = item_new(env, 1);
		o.other = item_new(env, 2);
		o.owner->destroyed = &destroyed;
		o.owner->on_destroy = watch_destroyed;
		o.owner->arg = &o;
		probe_on(&p, 1, o.owner, true);
		p.then = watch_callback;
		p.arg = &o;
		call(&w, o.other, 1);
		call(&w, o.other, 2);
		CHECK_EQ(hapax_count(o.owner), 1);
		for (int i = 0; i < 10; i++) {
			struct outcome *r = called(&w, o.owner, i);

			o.results[i] = weak_of(r);
			hapax_release(r);
			CHECK(hapax_weak_alive(o.results[i]));
		}
		CHECK_EQ(hapax_count(o.owner), 1);
		hapax_release(o.owner);
		CHECK_EQ(destroyed, 1);
		CHECK_EQ(p.calls, 1);
		CHECK_EQ(gone_of(&w), 10); /* theirs too, before the release returned */
		for (int i = 0; i < 10; i++)
			hapax_weak_drop(o.results[i]);
		probe_drop(&p);
		INFO(info_of(&w, NULL), 0, 13, 3);
		hapax_release(o.other);
		CHECK_EQ(gone_of(&w), 13);
		work_end_env(&w, env);
	}
}

/* What users hold of a dead owner's stays theirs. */
TEST(SD_29_results_that_are_held_outlive_their_owner)
{
	enum { N = 10 };

	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = quiet_env(0);
		struct work w = {0};
		struct item *owner = item_new(env, 1);
		struct outcome *held[N];

		memo_new(env, &w, kinds[kind], N / 2); /* half of them are not the memo's any more */
		for (int i = 0; i < N; i++)
			held[i] = called(&w, owner, i);
		INFO(info_of(&w, owner), 0, N, N);
		hapax_release(owner);
		CHECK_EQ(gone_of(&w), 0);
		INFO(info_of(&w, NULL), 0, N, 0);
		for (int i = 0; i < N; i++) {
			CHECK(item_is_alive(&held[i]->item));
			CHECK_EQ(held[i]->value, i);
			CHECK_EQ(hapax_count(held[i]), 1);
			if (i == N / 2) {
				hapax_memo_destroy(w.memo);
				w.memo = NULL;
			}
			hapax_release(held[i]);
			CHECK_EQ(gone_of(&w), i + 1);
		}
		work_end_env(&w, env);
	}
}

/* ---- the same address ---------------------------------------------------------------------------------------------- */

/* Not from the pool: its memory goes back to the allocator, which gives it out again. */
static struct item *large_item(hapax_env *env, int id)
{
	struct item *item;
	void *object;

	CHECK_EQ(hapax_new(env, &item_type, 1024, &object), HAPAX_OK);
	item = object;
	item->live = ITEM_ALIVE;
	item->id = id;
	return item;
}

/* A new owner where an old one was has none of its results, though somebody holds them still. */
TEST(SD_29_a_new_owner_at_an_old_ones_address_starts_with_nothing)
{
	enum { ROUNDS = 200, HELD = 16 };

	for (int kind = 0; kind < KINDS; kind++) {
		struct recycler recycler = {.n = 0};
		hapax_env *env = recycler_env(&recycler);
		struct work w = {0};
		uint64_t random = test_stream((uint64_t)kind);
		struct outcome *held[HELD] = {NULL};
		struct item *last = NULL;
		int same = 0, runs = 0;

		memo_new(env, &w, kinds[kind], 8);
		for (int round = 1; round <= ROUNDS; round++) {
			struct item *owner = large_item(env, round);

			same += owner == last;
			last = owner;
			INFO(info_of(&w, owner), 0, 0, 0);
			for (int x = 0; x < 4; x++) {
				size_t slot = (size_t)test_below(&random, HELD);

				CHECK_EQ(found(&w, owner, x), 0);
				CHECK_EQ(forget(&w, owner, x), HAPAX_MISS);
				hapax_release(held[slot]);
				held[slot] = called(&w, owner, x); /* checks whose it is */
				CHECK_EQ(held[slot]->item.id, ++runs);
			}
			INFO(info_of(&w, owner), 0, 4, 4);
			hapax_release(owner);
			INFO(info_of(&w, NULL), 0, 4 * round, 0);
			if (test_below(&random, 4))
				hapax_testing_drain(env);
		}
		CHECK(same > ROUNDS / 4);
		for (int i = 0; i < HELD; i++)
			hapax_release(held[i]);
		CHECK_EQ(gone_of(&w), runs);
		hapax_memo_destroy(w.memo);
		recycler_end(&recycler, env);
	}
}

/* ---- SD-31, SD-32: arguments, memos inside their owner --------------------------------------------------------------- */

TEST(SD_31_objects_named_by_arguments_are_not_kept)
{
	hapax_env *env = test_env();
	struct work w = {0};
	struct item *it = item_new(env, 1);
	int destroyed = 0;
	hapax_arg args[2];
	void *out = NULL;

	it->destroyed = &destroyed;
	memo_new(env, &w, 0, 10);
	args[0] = hapax_arg_int(4);
	args[1] = hapax_arg_bytes(&it, sizeof(it), HAPAX_TAG_USER);
	CHECK_EQ(hapax_memo_call(w.memo, NULL, args, 2, &out), HAPAX_OK);
	hapax_release(out);
	CHECK_EQ(hapax_count(it), 1);
	CHECK_EQ(hapax_weak_count(it), 0);
	hapax_release(it);
	CHECK_EQ(destroyed, 1);
	INFO(info_of(&w, NULL), 0, 1, 1);
	work_end_env(&w, env);
}

struct thinker {
	struct item item;
	struct work w;
};

static void thinker_destroy(void *object, void *arg)
{
	struct thinker *t = object;
	const hapax_arg x = hapax_arg_int(3);

	if (t->item.arg) /* the memo has owners */
		CHECK_EQ(refused(&t->w, t, &x, 1), HAPAX_EDEAD);
	hapax_memo_destroy(t->w.memo);
	t->w.memo = NULL;
	item_destroy(object, arg);
}

static const hapax_type thinker_type = {HAPAX_TYPE_INIT, .name = "thinker", .size = sizeof(struct thinker),
					.align = _Alignof(struct thinker), .destroy = thinker_destroy};

TEST(SD_32_an_owner_with_its_memo_inside_dies_with_it)
{
	for (int kind = 0; kind <= KINDS; kind++) {
		hapax_env *env = quiet_env(0);
		unsigned flags = kind ? kinds[kind - 1] : 0;

		for (int round = 0; round < 20; round++) {
			struct outcome *held = NULL;
			struct thinker *t;
			int destroyed = 0, results = 0;
			void *object = NULL;

			CHECK_EQ(hapax_new(env, &thinker_type, 0, &object), HAPAX_OK);
			t = object;
			t->item.live = ITEM_ALIVE;
			t->item.id = round + 1;
			t->item.destroyed = &destroyed;
			t->item.arg = flags ? t : NULL;
			memo_new(env, &t->w, flags, round % 3 ? 5 : HAPAX_UNLIMITED);
			for (int i = 0; i < 20; i++) {
				struct outcome *o = called(&t->w, flags ? &t->item : NULL, i % 12);

				o->item.destroyed = &results; /* the work goes before them */
				if (i == round)
					held = o;
				else
					hapax_release(o);
			}
			CHECK_EQ(hapax_count(t), 1);
			results = 0;
			hapax_release(t);
			CHECK_EQ(destroyed, 1);
			if (held)
				CHECK(item_is_alive(&held->item));
			hapax_release(held);
			CHECK(results >= 4);
		}
		hapax_testing_drain(env);
		test_env_end(env);
	}
}

/* ---- SD-33: isolation ------------------------------------------------------------------------------------------------ */

TEST(SD_33_owners_do_not_evict_each_other)
{
	static const int64_t capacities[] = {1, 3, 30};

	for (int kind = 0; kind < 2; kind++) {
		for (int c = 0; c < 3; c++) {
			hapax_env *env = test_env();
			struct work w = {0};
			struct item *quiet = item_new(env, 1), *busy = item_new(env, 2);
			int capacity = (int)capacities[c];
			hapax_memo_info before, after;

			memo_new(env, &w, kinds[kind], capacity);
			for (int i = 0; i < capacity; i++)
				call(&w, quiet, i);
			before = info_of(&w, quiet);
			for (int i = 0; i < 5000; i++)
				call(&w, busy, i % 777);
			after = info_of(&w, quiet);
			CHECK(info_same(&before, &after));
			INFO(info_of(&w, busy), capacity < 777 ? 0 : 5000 - 777, 5000, capacity);
			for (int i = 0; i < capacity; i++)
				CHECK_EQ(call(&w, quiet, i), i + 1);
			INFO(info_of(&w, quiet), capacity, capacity, capacity);
			INFO(info_of(&w, NULL), capacity, 5000 + capacity, 2 * capacity);
			CHECK_EQ(info_of(&w, NULL).capacity, capacity);
			CHECK_EQ(info_of(&w, quiet).capacity, capacity);
			hapax_release(quiet);
			hapax_release(busy);
			work_end_env(&w, env);
		}
	}
}

/* Of an owner's clear the others see nothing; the memo's own counters go on. */
TEST(SD_33_clearing_an_owner_leaves_the_others)
{
	enum { OWNERS = 5, N = 12 };

	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = test_env();
		struct work w = {0};
		struct item *owner[OWNERS], *stranger = item_new(env, 99);
		hapax_memo_info before[OWNERS], all, after;
		struct outcome *held;
		void *out = NULL;

		memo_new(env, &w, kinds[kind], OWNERS * N);
		for (int o = 0; o < OWNERS; o++) {
			owner[o] = item_new(env, o + 1);
			for (int i = 0; i < N + o; i++)
				call(&w, owner[o], i % N);
			before[o] = info_of(&w, owner[o]);
			INFO(before[o], o, N, N);
		}
		all = info_of(&w, NULL);
		held = called(&w, owner[2], 5); /* a hit: held while it is forgotten */
		all.hits++;
		before[2].hits++;
		INFO(cleared(&w, owner[2]), 3, N, N);
		for (int o = 0; o < OWNERS; o++) {
			after = info_of(&w, owner[o]);
			if (o == 2)
				INFO(after, 0, 0, 0);
			else
				CHECK(info_same(&before[o], &after));
		}
		after = info_of(&w, NULL);
		all.entries -= N;
		CHECK_EQ(after.owners, OWNERS);
		CHECK(info_same(&all, &after));
		CHECK_EQ(gone_of(&w), N - 1);
		CHECK(item_is_alive(&held->item));
		CHECK_EQ(found(&w, owner[2], 5), 0);
		CHECK_EQ(call(&w, owner[2], 5), OWNERS * N + 1); /* computed anew, though it is held */
		hapax_release(held);
		CHECK_EQ(found(&w, owner[2], 5), OWNERS * N + 1);
		INFO(cleared(&w, stranger), 0, 0, 0);
		CHECK_EQ(hapax_memo_get(w.memo, stranger, HAPAX_STR("x"), &out), HAPAX_OK);
		hapax_release(out);
		INFO(cleared(&w, NULL), 0 + 1 + 3 + 3 + 4, OWNERS * N + 2, (OWNERS - 1) * N + 2);
		for (int o = 0; o < OWNERS; o++) {
			INFO(info_of(&w, owner[o]), 0, 0, 0);
			hapax_release(owner[o]);
		}
		INFO(info_of(&w, stranger), 0, 0, 0);
		CHECK_EQ(gone_of(&w), runs_of(&w));
		hapax_release(stranger);
		work_end_env(&w, env);
	}
}

TEST(SD_33_forgotten_while_held_is_computed_anew)
{
	for (int kind = -1; kind < KINDS; kind++) {
		for (int way = 0; way < 3; way++) {
			hapax_env *env = test_env();
			struct work w = {0};
			struct item *owner = kind < 0 ? NULL : item_new(env, 1);
			struct outcome *held[6];

			memo_new(env, &w, kind < 0 ? 0 : kinds[kind], 3); /* half of them are demoted */
			for (int i = 0; i < 6; i++)
				held[i] = called(&w, owner, i);
			INFO(info_of(&w, NULL), 0, 6, 6);
			for (int i = 0; way == 2 && i < 6; i++)
				CHECK_EQ(forget(&w, owner, i), HAPAX_OK);
			if (way < 2)
				INFO(cleared(&w, way ? owner : NULL), 0, 6, 6);
			CHECK_EQ(info_of(&w, NULL).entries, 0);
			for (int i = 0; i < 6; i++) {
				struct outcome *again;

				CHECK(item_is_alive(&held[i]->item));
				CHECK_EQ(found(&w, owner, i), 0);
				again = called(&w, owner, i);
				CHECK_EQ(again->item.id, 7 + i);
				CHECK(again != held[i]);
				hapax_release(held[i]);
				held[i] = again;
			}
			CHECK_EQ(gone_of(&w), 6);
			CHECK_EQ(info_of(&w, owner).entries, 6);
			hapax_release(owner);
			for (int i = 0; i < 6; i++)
				hapax_release(held[i]);
			work_end_env(&w, env);
		}
	}
}

/* ---- many owners ------------------------------------------------------------------------------------------------------- */

TEST(SD_29_ten_thousand_owners_leave_nothing)
{
	enum { N = 10000 };

	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = test_env();
		struct work w = {0};
		struct item **owners = calloc(N, sizeof(*owners));
		int rounds = test_slow_build() ? 2 : 8;

		CHECK(owners);
		memo_new(env, &w, kinds[kind], HAPAX_UNLIMITED);
		for (int round = 0; round < rounds; round++) {
			for (int i = 0; i < N; i++) {
				owners[i] = item_new(env, i + 1);
				CHECK_EQ(call(&w, owners[i], 1), round * N + i + 1);
			}
			CHECK_EQ(info_of(&w, NULL).owners, N);
			INFO(info_of(&w, NULL), 0, (round + 1) * N, N);
			for (int i = 0; i < N; i++)
				hapax_release(owners[round & 1 ? N - 1 - i : i]);
			CHECK_EQ(gone_of(&w), (round + 1) * N);
			CHECK_EQ(info_of(&w, NULL).owners, 0);
			CHECK_EQ(info_of(&w, NULL).entries, 0);
			hapax_testing_drain(env);
			memo_check(&w);
			CHECK(hapax_testing_bytes(env) < N * 100); /* of all rounds: the tables, which have grown */
		}
		hapax_memo_destroy(w.memo);
		free(owners);
		test_env_end(env);
	}
}
