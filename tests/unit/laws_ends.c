/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of ends: any order of teardown, threads that leave in the middle, children of fork, bounds on garbage, exclusive caches. */
#include "unit/witness_memo.h"

#include <sys/wait.h>
#include <unistd.h>

static int plain(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)ctx;
	(void)error;
	((struct witness *)result)->id = n ? args[0].value.u : 0;
	return HAPAX_LOAD_OK;
}

static hapax_memo *memo_of(hapax_memo_options o, hapax_env *env) { return memo_made(o, env, plain); }

static int note_run(void *ctx) { return note(*(char *)ctx), 0; }
static void note_weak(hapax_weak *weak, void *ctx) { CHECK(!hapax_weak_alive(weak)), note(*(char *)ctx); }
static void note_bound(hapax_bound *bound, void *ctx) { CHECK(!hapax_bound_alive(bound)), note(*(char *)ctx); }
static int nothing(void *target, void *part, void *ctx, void *arg)
{
	(void)target;
	(void)part;
	(void)ctx;
	(void)arg;
	return 0;
}

/* ---- everything, ended in any order ------------------------------------------------------------------------------------ */

enum end { ENV, MEMO, MAP, SET, INTERNER, TABLE, CACHE, WALK, MEMBERS, FINALIZER, WEAK, PLAIN_WEAK, BOUND, OWNER, RESULT, DATA, OTHER, ENDS };

static int contents_of(const void *object, hapax_key *bytes, void *ctx)
{
	(void)ctx;
	*bytes = HAPAX_BYTES(&((const struct witness *)object)->id, sizeof(uint64_t));
	return 0;
}

TEST(L12_L3_everything_ends_in_any_order)
{
	static char names[] = "fwb";
	uint64_t rng = test_stream(21);

	for (int round = 0; round < 150; round++) {
		struct test_allocator memory;
		hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .seed = test_seed()};
		hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT};
		hapax_weak_set_options so = {HAPAX_WEAK_SET_OPTIONS_INIT};
		hapax_interner_options io = {HAPAX_INTERNER_OPTIONS_INIT, .contents = contents_of};
		hapax_table_options to = {HAPAX_TABLE_OPTIONS_INIT};
		hapax_cache_options co = {HAPAX_CACHE_OPTIONS_INIT, .max_entries = 4};
		hapax_bound_options bo = {HAPAX_BOUND_OPTIONS_INIT, .fn = nothing, .dead = note_bound, .ctx = &names[2]};
		hapax_finalize what = {.fn = note_run, .ctx = &names[0]};
		hapax_callback cb = {.fn = note_weak, .ctx = &names[1]};
		struct witness *owner, *result, *data, *other;
		hapax_env *env = NULL;
		hapax_memo *memo;
		hapax_weak_map *map;
		hapax_weak_set *set;
		hapax_interner *interner;
		hapax_table *table;
		hapax_cache *cache;
		hapax_weak_map_iter *walk;
		hapax_weak_set_iter *members;
		hapax_finalizer *finalizer;
		hapax_weak *weak, *plain_weak;
		hapax_bound *bound;
		int order[ENDS];
		bool weak_gone = false, bound_gone = false;
		void *out, *second;

		test_allocator_init(&memory, 0);
		eo.allocator = memory.allocator;
		CHECK_EQ(hapax_env_create(&env, &eo), HAPAX_OK);
		wo.env = so.env = io.env = to.env = co.env = env;
		memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED}, env);
		CHECK_EQ(hapax_weak_map_create(&map, &wo), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_create(&set, &so), HAPAX_OK);
		CHECK_EQ(hapax_interner_create(&interner, &io), HAPAX_OK);
		CHECK_EQ(hapax_table_create(&table, &to), HAPAX_OK);
		CHECK_EQ(hapax_cache_create(&cache, &co), HAPAX_OK);
		owner = witness_of(env, round & 1 ? &witness_deferred : &witness_type, 1, 'o');
		data = witness_new(env, 2, 'd');
		other = witness_new(env, 3, 't');
		result = ask(memo, owner, 1);
		result->name = 'r';
		hapax_release(ask(memo, result, 2)); /* a result owns one, too */
		CHECK_EQ(hapax_weak_map_put(map, owner, data), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_put(map, data, other), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_add(set, owner, NULL), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_add(set, result, NULL), HAPAX_OK);
		CHECK_EQ(hapax_intern(interner, owner, &out, NULL), HAPAX_OK);
		hapax_release(out);
		CHECK_EQ(hapax_table_put(table, HAPAX_STR("r"), result), HAPAX_OK);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("d"), data), HAPAX_OK);
		bo.target = owner;
		bo.part = other;
		CHECK_EQ(hapax_bound_new(&bound, &bo), HAPAX_OK);
		CHECK_EQ(hapax_finalizer_new(owner, &what, round & 2 ? HAPAX_FINALIZE_AT_EXIT : 0, &finalizer), HAPAX_OK);
		CHECK_EQ(hapax_weak_new(owner, &cb, &weak), HAPAX_OK);
		CHECK_EQ(hapax_weak_new(owner, NULL, &plain_weak), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_iterate(map, &walk), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_next(walk, &out, &second), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_iterate(set, &members), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_next(members, &out), HAPAX_OK);

		for (int i = 0; i < ENDS; i++) {
			int j = (int)test_below(&rng, (uint64_t)i + 1);

			order[i] = order[j];
			order[j] = i;
		}
		for (int i = 0; i < ENDS; i++) {
			if (test_below(&rng, 5) == 0)
				hapax_testing_drain(NULL);
			switch ((enum end)order[i]) {
			case ENV: hapax_env_destroy(env); break;
			case MEMO: hapax_memo_destroy(memo); break;
			case MAP: hapax_weak_map_destroy(map); break;
			case SET: hapax_weak_set_destroy(set); break;
			case INTERNER: hapax_interner_destroy(interner); break;
			case TABLE: hapax_table_destroy(table); break;
			case CACHE: hapax_cache_destroy(cache); break;
			case WALK: hapax_weak_map_close(walk); break;
			case MEMBERS: hapax_weak_set_close(members); break;
			case FINALIZER: hapax_finalizer_drop(finalizer); break;
			case WEAK: weak_gone = !strchr(diary, 'w'), CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK); break;
			case PLAIN_WEAK: CHECK_EQ(hapax_weak_drop(plain_weak), HAPAX_OK); break;
			case BOUND: bound_gone = !strchr(diary, 'b'), CHECK_EQ(hapax_bound_drop(bound), HAPAX_OK); break;
			case OWNER: hapax_release(owner); break;
			case RESULT: hapax_release(result); break;
			case DATA: hapax_release(data); break;
			default: hapax_release(other);
			}
		}
		for (int ms = 0; ms < 3000 && test_allocator_live(&memory); ms++) {
			hapax_testing_drain(NULL);
			if (test_allocator_live(&memory))
				test_sleep_ms(1);
		}
		if (test_allocator_live(&memory))
			TEST_FAIL("round %d: %zu bytes left", round, memory.live_bytes);
		for (const char *c = "odtrfwb"; *c; c++) {
			const char *first = strchr(diary, *c);

			CHECK(!first || !strchr(first + 1, *c));
			if (*c == 'w' || *c == 'b')
				CHECK_EQ(first != NULL, *c == 'w' ? !weak_gone : !bound_gone);
			else
				CHECK(first);
		}
		diary_clear();
	}
}

/* ---- user code that leaves its thread -------------------------------------------------------------------------------------- */

static int leave_run(void *ctx)
{
	note(*(char *)ctx);
	pthread_exit(NULL);
}
static void leave_weak(hapax_weak *weak, void *ctx) { (void)weak, (void)leave_run(ctx); }
static void leave_bound(hapax_bound *bound, void *ctx) { (void)bound, (void)leave_run(ctx); }
static void leave_last(struct witness *w, void *arg) { (void)arg, (void)leave_run(&w->name); }

static void *release_it(void *object)
{
	hapax_release(object);
	return NULL;
}

TEST(L3_L5_MK_LD_17_whoever_leaves_its_thread_the_rest_is_told_once)
{
	static char names[] = "abcde";

	for (int who = 0; who < 5; who++) {
		hapax_env *env = test_env();
		struct witness *w = witness_new(env, 1, 'o'), *data = witness_new(env, 2, 'd');
		hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
		hapax_memo *memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED}, env);
		hapax_bound_options bo = {HAPAX_BOUND_OPTIONS_INIT, .fn = nothing, .target = w, .ctx = &names[2],
					  .dead = who == 2 ? leave_bound : note_bound};
		hapax_callback cb = {.fn = who == 1 ? leave_weak : note_weak, .ctx = &names[1]};
		hapax_finalize first = {.fn = note_run, .ctx = &names[0]}, middle = {.fn = who == 3 ? leave_run : note_run, .ctx = &names[3]};
		hapax_weak_map *map;
		hapax_weak *weak;
		hapax_bound *bound;

		CHECK_EQ(hapax_weak_map_create(&map, &wo), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_put(map, w, data), HAPAX_OK);
		hapax_release(ask(memo, w, 1));
		if (who == 4)
			data->last = leave_last;
		if (who == 0)
			w->last = leave_last;
		hapax_release(data);
		CHECK_EQ(hapax_finalizer_new(w, &first, 0, NULL), HAPAX_OK);
		CHECK_EQ(hapax_weak_new(w, &cb, &weak), HAPAX_OK);
		CHECK_EQ(hapax_bound_new(&bound, &bo), HAPAX_OK);
		CHECK_EQ(hapax_finalizer_new(w, &middle, HAPAX_FINALIZE_AT_EXIT, NULL), HAPAX_OK);
		test_join(test_thread(release_it, w));
		hapax_testing_drain(env);
		CHECK_EQ(hapax_weak_map_size(map), 0);
		CHECK_EQ(info_of(memo, NULL).entries + info_of(memo, NULL).owners, 0);
		for (const char *c = "abcdo"; *c; c++) {
			const char *at = strchr(diary, *c);

			if (!at)
				TEST_FAIL("who %d: no '%c' in \"%s\"", who, *c, diary);
		}
		diary_clear();
		CHECK_EQ(hapax_finalize_all(env), 0);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		CHECK_EQ(hapax_bound_drop(bound), HAPAX_OK);
		hapax_weak_map_destroy(map);
		hapax_memo_destroy(memo);
		CHECK_STR(diary, "");
		witness_rest(env);
	}
}

/* ---- deferred deaths and the end of their environment ------------------------------------------------------------------------ */

static void put_off(struct witness *w, void *arg)
{
	hapax_env *env = *(hapax_env **)arg;

	(void)w;
	CHECK_EQ(hapax_run_deferred(env), 0); /* it is in the middle of that */
}

static void *release_half(void *object)
{
	hapax_release(object);
	return NULL;
}

TEST(L12_D_2_deferred_deaths_before_during_and_after_the_end_of_their_environment)
{
	uint64_t rng = test_stream(22);

	for (int round = 0; round < 60; round++) {
		struct test_allocator memory;
		hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .seed = test_seed()};
		struct witness *w[6];
		hapax_finalize what = {.fn = note_run, .ctx = (void *)"f"};
		hapax_env *env = NULL;
		pthread_t beside;

		test_allocator_init(&memory, 0);
		eo.allocator = memory.allocator;
		CHECK_EQ(hapax_env_create(&env, &eo), HAPAX_OK);
		for (int i = 0; i < 6; i++) {
			w[i] = witness_of(env, &witness_deferred, (uint64_t)i, 'o');
			if (test_below(&rng, 2))
				CHECK_EQ(hapax_finalizer_new(w[i], &what, 0, NULL), HAPAX_OK);
			else
				note('f');
		}
		w[0]->last = put_off;
		w[0]->arg = &env;
		w[2]->held = w[5]; /* the last one's death is another's */
		hapax_release(w[0]);
		hapax_release(w[1]);
		beside = test_thread(release_half, w[4]); /* perhaps in the middle of the end */
		hapax_env_destroy(env);
		hapax_release(w[2]);
		hapax_release(w[3]);
		test_join(beside);
		CHECK_EQ(strlen(diary), 12);
		for (int ms = 0; ms < 3000 && test_allocator_live(&memory); ms++) {
			hapax_testing_drain(NULL);
			if (test_allocator_live(&memory))
				test_sleep_ms(1);
		}
		if (test_allocator_live(&memory))
			TEST_FAIL("round %d: %zu bytes left", round, memory.live_bytes);
		diary_clear();
	}
}
