/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memos, owners and results end in any order, on any thread; owners come and go under calls. */
#include "unit/memos.h"

static const unsigned kinds[] = {0, MEMO_MAKES, HAPAX_MEMO_OWNED, HAPAX_MEMO_OWNED | MEMO_MAKES,
				 HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET};
enum { KINDS = 5, THREADS = 6 };

/* ---- ends in any order ----------------------------------------------------------------------------------------------- */

enum { CROWD = 64 };

struct ending {
	struct work w;
	hapax_env *env;
	struct item *owner[CROWD];
	struct outcome *held[CROWD];
};

static void ending_run(unsigned index, void *arg)
{
	struct ending *e = arg;

	if (index == 0) {
		hapax_memo_destroy(e->w.memo);
		return;
	}
	for (unsigned o = index - 1; o < CROWD; o += THREADS - 1) {
		hapax_release(o & 1 ? (void *)e->owner[o] : (void *)e->held[o]);
		hapax_release(o & 1 ? (void *)e->held[o] : (void *)e->owner[o]);
	}
}

TEST(L12_owners_die_on_other_threads_while_the_memo_ends)
{
	for (int round = 0; round < (int)scaled(150); round++) {
		hapax_env *env = quiet_env(0);
		struct ending e = {.env = env};

		memo_new(env, &e.w, round % 3 ? HAPAX_MEMO_OWNED | (round % 3 == 2 ? HAPAX_MEMO_SHARED_BUDGET : 0) :
					       HAPAX_MEMO_OWNED | MEMO_MAKES, round % 5 ? 3 : HAPAX_UNLIMITED);
		for (int o = 0; o < CROWD; o++) {
			e.owner[o] = item_new(env, o + 1);
			for (int i = 0; i < 5; i++) {
				hapax_release(e.held[o]);
				e.held[o] = called(&e.w, e.owner[o], i);
			}
		}
		run_threads(THREADS, ending_run, &e);
		CHECK_EQ(gone_of(&e.w), runs_of(&e.w));
		test_env_end(env);
	}
}

TEST(L12_a_memo_ends_before_its_owners_and_its_results)
{
	for (int kind = 0; kind < KINDS; kind++) {
		for (int order = 0; order < 6; order++) {
			hapax_env *env = quiet_env(0);
			struct work w = {0};
			bool owned = kinds[kind] & HAPAX_MEMO_OWNED;
			struct item *owner = owned ? item_new(env, 1) : NULL;
			struct outcome *held;

			memo_new(env, &w, kinds[kind], 2);
			for (int i = 0; i < 5; i++)
				call(&w, owner, i);
			held = called(&w, owner, 0);
			for (int turn = 0; turn < 3; turn++) {
				switch ((order + (order < 3 ? turn : 6 - turn)) % 3) {
				case 0: hapax_memo_destroy(w.memo); break;
				case 1: hapax_release(owner); break;
				default:
					CHECK(item_is_alive(&held->item));
					hapax_release(held);
					break;
				}
			}
			CHECK_EQ(gone_of(&w), runs_of(&w));
			test_env_end(env);
		}
	}
}

/* ---- everything at once ------------------------------------------------------------------------------------------------ */

enum { PLACES = 8 };

struct storm {
	struct work w;
	hapax_env *env;
	pthread_mutex_t lock[PLACES];
	struct item *owner[PLACES]; /* replaced now and then, under its lock */
	int ids;
	uint64_t random[THREADS], counted[THREADS];
};

static int storm_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	(void)owner;
	(void)n;
	if (run % 17 == 5 && args[0].value.i > 3) /* recursion: to smaller numbers, so that nobody waits in a circle */
		call(w, owner, args[0].value.i % 3);
	return GO_ON;
}

/* Calls through whoever holds the place now; `called()` checks whose result it is. Owners die under calls of their place's
 * other users, results are held across their death, clears of all kinds are in between. */
static void storm_run(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t *random = &s->random[index];
	struct outcome *held[4] = {NULL};

	for (uint64_t n = scaled(6000); n--;) {
		int place = (int)test_below(random, PLACES), what = (int)test_below(random, 1000);
		size_t slot = (size_t)test_below(random, 4);
		struct item *owner, *old = NULL;
		int64_t x = (int64_t)test_below(random, 20);

		pthread_mutex_lock(&s->lock[place]);
		owner = s->owner[place];
		CHECK_EQ(hapax_retain(owner), HAPAX_OK);
		if (what < 60) {
			old = owner;
			s->owner[place] = item_new(s->env, __atomic_add_fetch(&s->ids, 1, __ATOMIC_RELAXED));
		}
		pthread_mutex_unlock(&s->lock[place]);
		if (what < 700) {
			struct outcome *o = called(&s->w, owner, x);

			if (what < 200) {
				hapax_release(held[slot]);
				held[slot] = o;
			} else {
				hapax_release(o);
			}
		} else if (what < 750) {
			forget(&s->w, owner, x);
		} else if (what < 850) {
			found(&s->w, owner, x);
		} else if (what < 860) {
			cleared(&s->w, owner);
		} else if (what < 862) {
			cleared(&s->w, NULL);
		} else if (what < 950) {
			info_of(&s->w, what & 1 ? owner : NULL);
		}
		hapax_release(old);
		hapax_release(owner);
		for (int i = 0; i < 4; i++)
			CHECK(!held[i] || item_is_alive(&held[i]->item));
	}
	for (int i = 0; i < 4; i++)
		hapax_release(held[i]);
}

TEST(L12_owners_come_and_go_under_calls)
{
	static const int64_t capacities[] = {5, HAPAX_UNLIMITED, 30, 1};
	static const unsigned flags[] = {HAPAX_MEMO_OWNED, HAPAX_MEMO_OWNED | MEMO_MAKES,
					 HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET, HAPAX_MEMO_OWNED};

	for (int variant = 0; variant < 4; variant++) {
		hapax_env *env = test_env();
		struct storm s = {.w = {.then = storm_then}, .env = env, .ids = PLACES};
		hapax_memo_info i;

		memo_options(env, &s.w, flags[variant],
			     (hapax_memo_options){.capacity = capacities[variant],
						  .policy = variant & 1 ? hapax_policy_lru() : NULL});
		for (int p = 0; p < PLACES; p++) {
			pthread_mutex_init(&s.lock[p], NULL);
			s.owner[p] = item_new(env, p + 1);
		}
		for (unsigned t = 0; t < THREADS; t++)
			s.random[t] = test_stream((uint64_t)variant * 50 + t);
		run_threads(THREADS, storm_run, &s);
		i = info_of(&s.w, NULL);
		CHECK(i.owners <= PLACES);
		if (capacities[variant] != HAPAX_UNLIMITED)
			CHECK(i.entries <= (uint64_t)capacities[variant] * (variant == 2 ? 1 : PLACES));
		CHECK_EQ((uint64_t)runs_of(&s.w) - (uint64_t)gone_of(&s.w), i.entries);
		memo_check(&s.w);
		for (int p = 0; p < PLACES; p++) {
			i = info_of(&s.w, s.owner[p]);
			if (variant != 2)
				CHECK(i.entries <= (uint64_t)capacities[variant]);
			hapax_release(s.owner[p]);
		}
		CHECK_EQ(info_of(&s.w, NULL).entries, 0);
		CHECK_EQ(info_of(&s.w, NULL).owners, 0);
		CHECK_EQ(gone_of(&s.w), runs_of(&s.w));
		for (int p = 0; p < PLACES; p++)
			pthread_mutex_destroy(&s.lock[p]);
		work_end_env(&s.w, env);
	}
}
