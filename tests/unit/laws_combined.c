/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of the family together with the rest: validity, exclusive caches, environments, bounds on garbage, forks, scopes. */
#include "unit/witness_memo.h"

#include <sys/wait.h>
#include <unistd.h>

static struct {
	hapax_env *env;
	hapax_memo *memo;
	hapax_cache *cache;
	hapax_weak_map *map;
	struct witness *owner;
	struct test_event begun, go;
	unsigned live, most, runs;
	int rc;
	int pipe[2];
} c;

static int plain(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)ctx;
	(void)error;
	((struct witness *)result)->id = n ? args[0].value.u : 0;
	c.runs++;
	return HAPAX_LOAD_OK;
}

static hapax_memo *memo_of(hapax_memo_options o, hapax_env *env) { return memo_made(o, env, plain); }

static int note_run(void *ctx) { return note(*(char *)ctx), 0; }

static void finalize(void *object, const char *name, unsigned flags)
{
	hapax_finalize what = {.fn = note_run, .ctx = (void *)name};

	CHECK_EQ(hapax_finalizer_new(object, &what, flags, NULL), HAPAX_OK);
}

/* ---- owners and keys that a cache holds -------------------------------------------------------------------------------- */

static int load_named(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)arg;
	(void)error;
	((struct witness *)object)->name = *(const char *)key->data;
	return HAPAX_LOAD_OK;
}

/* What is attached to an object that only the cache holds goes when its time is over, not before and not with another's. */
TEST(SD_37_CF_EX_02_SD_11_what_is_attached_to_cached_objects)
{
	hapax_env *env = test_env_fake();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &witness_type, .load = load_named,
				 .retain_idle_ns = 1000, .max_entries = 10, .ttl_ns = 3000};
	hapax_memo *memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET, .capacity = 6}, env);
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	hapax_weak_map *map;
	hapax_cache *cache;
	void *a, *b, *again;

	CHECK_EQ(hapax_weak_map_create(&map, &wo), HAPAX_OK);
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("a"), &a), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("b"), &b), HAPAX_OK);
	for (int i = 0; i < 3; i++) {
		hapax_release(ask(memo, a, i));
		hapax_release(ask(memo, b, i));
	}
	CHECK_EQ(hapax_weak_map_put(map, a, b), HAPAX_OK); /* a keeps b */
	finalize(a, "A", 0);
	finalize(b, "B", 0);
	CHECK_EQ(hapax_weak_count(b), 2); /* made for its entry; a finalizer, an owner's place */
	hapax_release(a);
	hapax_release(b);
	fake_clock_advance(999);
	while (hapax_cache_maintain(cache))
		;
	diary_is("");
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("a"), &again), HAPAX_OK);
	CHECK_PTR(again, a);
	hapax_release(again);
	fake_clock_advance(500); /* b is idle, and kept by a */
	while (hapax_cache_maintain(cache))
		;
	diary_is("");
	CHECK_EQ(info_of(memo, NULL).entries, 6);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("b"), &again), HAPAX_OK);
	CHECK_PTR(again, b);
	fake_clock_advance(1501); /* 3000 after they were written: both expired, b in use */
	CHECK_EQ(hapax_cache_contains(cache, HAPAX_STR("a")), 0);
	fake_clock_advance(HAPAX_MILLISECOND);
	while (hapax_cache_maintain(cache))
		;
	diary_is("Aa");
	CHECK_EQ(info_of(memo, NULL).owners, 1);
	CHECK_EQ(info_of(memo, b).entries, 3);
	CHECK_EQ(hapax_weak_map_size(map), 0);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("b"), &a), HAPAX_OK);
	CHECK(a != b);
	CHECK_EQ(info_of(memo, a).entries, 0); /* a second instance has nothing of the first */
	hapax_release(again);
	diary_is("Bb");
	CHECK_EQ(info_of(memo, NULL).entries, 0);
	hapax_cache_destroy(cache);
	hapax_release(a);
	diary_is("b");
	hapax_memo_destroy(memo);
	hapax_weak_map_destroy(map);
	witness_rest(env);
}

/* ---- exclusive caches ---------------------------------------------------------------------------------------------------- */

static int load_alone(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)object;
	(void)key;
	(void)arg;
	(void)error;
	c.live++;
	if (c.live > c.most)
		c.most = c.live;
	return HAPAX_LOAD_OK;
}

static void end_alone(void *object, void *arg)
{
	void *out = &out;

	(void)object;
	(void)arg;
	CHECK_EQ(hapax_cache_get(c.cache, HAPAX_STR("k"), &out), c.rc);
	hapax_release(out);
	c.live--;
}

static int get_again(void *ctx)
{
	void *out = &out;

	(void)ctx;
	note('f');
	CHECK_EQ(hapax_cache_get(c.cache, HAPAX_STR("k"), &out), c.rc);
	hapax_release(out);
	CHECK_EQ(hapax_cache_get_quietly(c.cache, HAPAX_STR("k"), &out), HAPAX_MISS);
	return 0;
}

static void data_end(struct witness *w, void *arg)
{
	(void)w;
	(void)arg;
	note('d');
	(void)get_again(NULL);
}

/* The successor of an instance that is ending here would be waited for by ourselves: from its data, its results, its finalizers. */
TEST(D_8_G9_the_watchers_of_an_exclusive_instance)
{
	static const hapax_type alone = {HAPAX_TYPE_INIT, .name = "alone", .size = 16, .destroy = end_alone};
	hapax_env *env = test_env();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .flags = HAPAX_CACHE_EXCLUSIVE, .type = &alone,
				 .load = load_alone};
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	hapax_finalize what = {.fn = get_again};
	struct witness *data;
	hapax_weak_map *map;
	void *out, *next;

	memset(&c, 0, sizeof(c));
	CHECK_EQ(hapax_cache_create(&c.cache, &o), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_create(&map, &wo), HAPAX_OK);
	for (int round = 0; round < 3; round++) {
		data = witness_new(env, 1, 0);
		data->last = data_end;
		CHECK_EQ(hapax_cache_get(c.cache, HAPAX_STR("k"), &out), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_put(map, out, data), HAPAX_OK);
		CHECK_EQ(hapax_finalizer_new(out, &what, HAPAX_FINALIZE_AT_EXIT, NULL), HAPAX_OK);
		hapax_release(data);
		c.rc = HAPAX_EDEADLK;
		hapax_release(out);
		diary_is("dff");
		CHECK_EQ(c.live, 0);
		CHECK_EQ(hapax_cache_get(c.cache, HAPAX_STR("k"), &next), HAPAX_OK);
		hapax_release(next);
	}
	CHECK_EQ(c.most, 1);
	hapax_cache_destroy(c.cache);
	hapax_weak_map_destroy(map);
	witness_rest(env);
}

/* ---- environments ---------------------------------------------------------------------------------------------------------- */

static int nothing(void *target, void *part, void *ctx, void *arg)
{
	(void)target;
	(void)part;
	(void)ctx;
	(void)arg;
	return 0;
}

TEST(PY_FIN_07_CX_LIFE_04_finalizers_of_several_environments)
{
	static char names[] = "abcdefgh";
	hapax_env *envs[2] = {test_env(), test_env()};
	struct witness *w[8], *other = witness_new(envs[1], 9, 0);
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = envs[0]};
	hapax_weak_set_options so = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = envs[0]};
	hapax_bound_options bo = {HAPAX_BOUND_OPTIONS_INIT};
	hapax_weak_map *map;
	hapax_weak_set *set;
	hapax_bound *bound = NULL;
	void *out = &out;

	for (int i = 0; i < 8; i++) {
		w[i] = witness_new(envs[i & 1], (uint64_t)i, 0);
		finalize(w[i], &names[i], i == 5 ? 0 : HAPAX_FINALIZE_AT_EXIT);
	}
	hapax_release(w[6]);
	diary_is("g");
	CHECK_EQ(hapax_finalize_all(envs[1]), 3);
	diary_is("hdb");
	CHECK_EQ(hapax_finalize_all(envs[1]), 0);
	finalize(w[3], "x", HAPAX_FINALIZE_AT_EXIT);
	CHECK_EQ(hapax_finalize_all(NULL), 4);
	diary_is("xeca");
	/* what is of two environments is refused, and leaves nothing */
	CHECK_EQ(hapax_weak_map_create(&map, &wo), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_create(&set, &so), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_put(map, w[0], other), HAPAX_EFOREIGN);
	CHECK_EQ(hapax_weak_map_put(map, other, w[0]), HAPAX_EFOREIGN);
	CHECK_EQ(hapax_weak_map_get_or_put(map, w[0], other, &out, NULL), HAPAX_EFOREIGN);
	CHECK_PTR(out, NULL);
	CHECK_EQ(hapax_weak_map_contains(map, other), HAPAX_EFOREIGN);
	CHECK_EQ(hapax_weak_map_remove(map, other), HAPAX_EFOREIGN);
	CHECK_EQ(hapax_weak_set_add(set, other, NULL), HAPAX_EFOREIGN);
	bo.fn = nothing;
	bo.target = w[0];
	bo.part = other;
	CHECK_EQ(hapax_bound_new(&bound, &bo), HAPAX_EFOREIGN);
	CHECK_PTR(bound, NULL);
	CHECK_EQ(hapax_weak_count(other) + hapax_weak_count(w[0]), 0);
	CHECK_EQ(hapax_count(other), 1);
	hapax_weak_map_destroy(map);
	hapax_weak_set_destroy(set);
	for (int i = 0; i < 8; i++)
		if (i != 6)
			hapax_release(w[i]);
	diary_is("f");
	hapax_release(other);
	witness_rest(envs[0]);
	witness_rest(envs[1]);
}

/* At the bound on garbage, without the reclaimer's thread: what creates is refused, what takes away is not. */
TEST(L10_CX_MEM_06_the_family_at_the_bound_on_garbage)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .garbage_bound = 64 * 1024};
	hapax_env *env = test_env_options(&eo);
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	hapax_memo *memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED}, env);
	struct witness *w = witness_new(env, 1, 0), *known = witness_new(env, 2, 0), *last;
	hapax_finalize what = {.fn = note_run, .ctx = (void *)"!"};
	hapax_callback cb = {.ctx = &c, .ctx_free = free};
	hapax_finalizer *finalizer = NULL;
	hapax_weak *weak = NULL, *old;
	hapax_weak_map *map;
	void *out = &out;
	hapax_memo_info before;
	int rc;

	CHECK_EQ(hapax_weak_map_create(&map, &wo), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_put(map, known, w), HAPAX_OK);
	CHECK_EQ(hapax_weak_new(known, NULL, &old), HAPAX_OK);
	last = ask(memo, known, 1);
	for (int i = 0; (rc = hapax_new(env, &witness_type, 4000, &out)) == HAPAX_OK; i++) {
		CHECK(i < 100000);
		hapax_release(out);
	}
	CHECK_EQ(rc, HAPAX_EGARBAGE);
	before = info_of(memo, NULL);
	CHECK_EQ(hapax_finalizer_new(w, &what, 0, &finalizer), HAPAX_EGARBAGE);
	CHECK_EQ(hapax_weak_new(w, &cb, &weak), HAPAX_EGARBAGE);
	CHECK_EQ(hapax_weak_map_put(map, w, known), HAPAX_EGARBAGE);
	CHECK_EQ(hapax_memo_call(memo, known, HAPAX_ARGS(hapax_arg_int(2)), &out), HAPAX_EGARBAGE);
	CHECK_EQ(hapax_memo_call(memo, w, HAPAX_ARGS(hapax_arg_int(2)), &out), HAPAX_EGARBAGE);
	CHECK(!finalizer && !weak && !out);
	CHECK_EQ(hapax_weak_count(w), 0);
	CHECK_EQ(info_of(memo, NULL).entries, before.entries);
	CHECK_EQ(info_of(memo, NULL).owners, before.owners);
	/* present ones are found, listed, taken away */
	CHECK_EQ(hapax_memo_call(memo, known, HAPAX_ARGS(hapax_arg_int(1)), &out), HAPAX_OK);
	CHECK_PTR(out, last);
	hapax_release(out);
	CHECK_EQ(hapax_weak_map_get(map, known, &out), HAPAX_OK);
	CHECK_PTR(out, w);
	hapax_release(out);
	CHECK_EQ(hapax_weak_map_remove(map, known), HAPAX_OK);
	CHECK_EQ(hapax_memo_clear(memo, known, NULL), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(old), HAPAX_OK);
	hapax_reclaim(env);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_finalizer_new(w, &what, 0, &finalizer), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_put(map, w, known), HAPAX_OK);
	hapax_release(ask(memo, w, 2));
	CHECK_EQ(hapax_weak_count(w), 3);
	hapax_finalizer_drop(finalizer);
	hapax_release(w);
	diary_is("!");
	CHECK_EQ(hapax_count(known), 1);
	hapax_release(known);
	hapax_release(last);
	hapax_weak_map_destroy(map);
	hapax_memo_destroy(memo);
	witness_rest(env);
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------ */

static int computes_slowly(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)result;
	(void)owner;
	(void)args;
	(void)n;
	(void)ctx;
	(void)error;
	if (__atomic_add_fetch(&c.runs, 1, __ATOMIC_ACQ_REL) == 1) {
		test_event_set(&c.begun);
		test_event_wait(&c.go);
	}
	return HAPAX_LOAD_OK;
}

static void *compute_beside(void *arg)
{
	(void)arg;
	return ask(c.memo, c.owner, 1);
}

static int write_one(void *ctx) { return write(c.pipe[1], ctx, 1) == 1 ? 0 : -1; }

/* The child computes what a thread computed that it does not have, runs what dies in it, and none of its parent's at exit. */
TEST(CX_TH_06_PY_FIN_07_MK_LD_17_a_child_in_the_middle_of_it_all)
{
	static char names[] = "pqrs";
	hapax_finalize what[4];
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT};
	struct witness *w[4], *result;
	hapax_weak_map *map;
	pthread_t beside;
	char text[16] = "";
	int status = 0;
	pid_t child;

	memset(&c, 0, sizeof(c));
	CHECK_EQ(pipe(c.pipe), 0);
	test_event_init(&c.begun);
	test_event_init(&c.go);
	c.env = wo.env = test_env_flags(HAPAX_ENV_NO_THREAD, false); /* a child under ThreadSanitizer starts none */
	c.memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED, .compute = computes_slowly}, c.env);
	c.owner = witness_new(c.env, 1, 0);
	CHECK_EQ(hapax_weak_map_create(&map, &wo), HAPAX_OK);
	for (int i = 0; i < 4; i++) {
		what[i] = (hapax_finalize){.fn = write_one, .ctx = &names[i]};
		w[i] = witness_new(c.env, (uint64_t)i, 0);
		CHECK_EQ(hapax_finalizer_new(w[i], &what[i], HAPAX_FINALIZE_AT_EXIT, NULL), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_put(map, w[i], c.owner), HAPAX_OK);
	}
	beside = test_thread(compute_beside, NULL);
	test_event_wait(&c.begun);
	hapax_before_fork(HAPAX_FORK_URCU);
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		test_watchdog(20);
		CHECK_EQ(hapax_weak_map_size(map), 4);
		result = ask(c.memo, c.owner, 1); /* abandoned: it runs here */
		CHECK_EQ(c.runs, 2);
		hapax_release(result);
		CHECK_EQ(info_of(c.memo, c.owner).entries, 1);
		hapax_release(w[1]); /* q: dies here */
		CHECK_EQ(hapax_weak_map_size(map), 3);
		what[0].ctx = (void *)"z";
		CHECK_EQ(hapax_finalizer_new(w[0], &what[0], HAPAX_FINALIZE_AT_EXIT, NULL), HAPAX_OK); /* of its own */
		exit(0);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
	CHECK_EQ(read(c.pipe[0], text, sizeof(text) - 1), 2);
	CHECK_STR(text, "qz");
	test_event_set(&c.go);
	hapax_release(test_join(beside));
	CHECK_EQ(c.runs, 1);
	hapax_release(w[2]);
	CHECK_EQ(hapax_finalize_all(c.env), 3);
	memset(text, 0, sizeof(text));
	CHECK_EQ(read(c.pipe[0], text, sizeof(text) - 1), 4);
	CHECK_STR(text, "rsqp");
	for (int i = 0; i < 4; i++)
		if (i != 2)
			hapax_release(w[i]);
	CHECK_EQ(hapax_count(c.owner), 1);
	hapax_weak_map_destroy(map);
	hapax_release(c.owner);
	hapax_memo_destroy(c.memo);
	witness_rest(c.env);
}

/* ---- scopes ------------------------------------------------------------------------------------------------------------------ */

static hapax_weak *leave_scope(hapax_env *env, int how)
{
	HAPAX_AUTO_MEMO(memo) = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED}, env);
	HAPAX_AUTO(struct witness *) owner = witness_new(env, 1, 'o');
	HAPAX_AUTO_WEAK(kept) = NULL;

	CHECK_EQ(hapax_weak_new(owner, NULL, &kept), HAPAX_OK);
	for (int i = 0; i < 4; i++) {
		HAPAX_AUTO_FINALIZER(finalizer) = NULL;
		HAPAX_AUTO(struct witness *) result = ask(memo, owner, i);
		hapax_finalize what = {.fn = note_run, .ctx = (void *)"f"};

		result->name = (char)('0' + i);
		CHECK_EQ(hapax_finalizer_new(owner, &what, 0, &finalizer), HAPAX_OK);
		if (how == 0 && i == 1)
			return NULL;
		if (how == 1 && i == 1)
			continue;
		if (how == 2 && i == 2)
			break;
		CHECK_EQ(hapax_memo_forget(memo, owner, HAPAX_ARGS(hapax_arg_int(i))), HAPAX_OK);
		if (how == 3 && i == 3)
			return hapax_steal(kept);
	}
	return NULL;
}

TEST(L3_L12_scopes_with_owners_and_finalizers)
{
	static const char *const left[] = {"01ffo", "0231ffffo", "012fffo", "0123ffffo"};

	for (int how = 0; how < 4; how++) {
		hapax_env *env = test_env();
		hapax_weak *weak = leave_scope(env, how);

		diary_is(left[how]);
		CHECK_EQ(weak != NULL, how == 3);
		CHECK(!hapax_weak_alive(weak));
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		witness_rest(env);
	}
}
