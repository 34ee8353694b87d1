/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of deaths with every kind of watcher at once: order, exactly once, counts, what is kept. */
#include "unit/witness.h"

#include "reclaim/internal.h"

/* ---- one object that everything in the library knows --------------------------------------------------------------- */

static struct {
	hapax_env *env;
	hapax_table *tables[2];
	hapax_cache *cache;
	hapax_weak_map *map;
	hapax_weak_set *set;
	hapax_interner *interner;
	hapax_memo *memo;
	hapax_weak *shared, *told[2];
	hapax_bound *quiet, *bound[2];
	hapax_finalizer *finalizers[2];
	struct witness *other;
	unsigned removals, frees;
	bool replaced; /* the cache has another one under its key */
} all;

#define CONTENTS UINT64_C(0x5157)

static int contents_of(const void *object, hapax_key *bytes, void *ctx)
{
	(void)ctx;
	*bytes = HAPAX_BYTES(&((const struct witness *)object)->id, sizeof(uint64_t));
	return 0;
}

static int count_removal(const hapax_removal *removal, void *ctx)
{
	(void)removal;
	++*(unsigned *)ctx;
	return 0;
}

/* Whoever asks, through whatever it is known by: it is dead. */
static void nothing_reads(void)
{
	hapax_key one = HAPAX_STR("one"), two = HAPAX_STR("two");
	uint64_t id = CONTENTS;
	hapax_weak_map_iter *walk = NULL;
	hapax_weak_set_iter *members = NULL;
	hapax_callback cb;
	hapax_finalize what;
	hapax_memo_info info = {.size = sizeof(info)};
	void *out = &out, *data = &out;

	CHECK_PTR(hapax_weak_get(all.shared), NULL);
	for (int i = 0; i < 2; i++) {
		CHECK_PTR(hapax_weak_get(all.told[i]), NULL);
		CHECK(!hapax_weak_alive(all.told[i]));
		CHECK_EQ(hapax_weak_callback(all.told[i], &cb), HAPAX_DEAD);
		CHECK(!hapax_weak_equal(all.shared, all.told[i]));
		CHECK_EQ(hapax_table_get(all.tables[i], one, &out), HAPAX_MISS);
		CHECK_PTR(out, NULL);
		CHECK_EQ(hapax_table_contains(all.tables[i], two), 0);
		CHECK_EQ(hapax_table_pop_any(all.tables[i], &out), HAPAX_EMPTY);
		CHECK(!hapax_bound_alive(all.bound[i]));
		CHECK_EQ(hapax_bound_get(all.bound[i], &out, &data), HAPAX_DEAD);
		CHECK_EQ(hapax_bound_call(all.bound[i], NULL, NULL), HAPAX_DEAD);
		CHECK(!hapax_finalizer_alive(all.finalizers[i]));
		CHECK_EQ(hapax_finalizer_peek(all.finalizers[i], &what, &out), HAPAX_DEAD);
		CHECK(!what.fn && !what.ctx && !out);
	}
	CHECK_EQ(hapax_bound_call(all.quiet, NULL, NULL), HAPAX_DEAD);
	CHECK_EQ(hapax_cache_get_quietly(all.cache, one, &out), all.replaced ? HAPAX_OK : HAPAX_MISS);
	CHECK_PTR(out, all.replaced ? all.other : NULL);
	hapax_release(out);
	CHECK_EQ(hapax_weak_map_iterate(all.map, &walk), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_next(walk, &out, &data), HAPAX_EMPTY);
	hapax_weak_map_close(walk);
	CHECK_EQ(hapax_weak_map_pop_any(all.map, &out, &data), HAPAX_EMPTY);
	CHECK_EQ(hapax_weak_set_iterate(all.set, &members), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_next(members, &out), HAPAX_EMPTY);
	hapax_weak_set_close(members);
	CHECK_EQ(hapax_weak_set_pop(all.set, &out), HAPAX_EMPTY);
	CHECK_EQ(hapax_intern_find(all.interner, HAPAX_KEY_OF(id), &out), HAPAX_MISS);
	CHECK_EQ(hapax_memo_info_get(all.memo, NULL, &info), HAPAX_OK);
	CHECK_EQ(info.owners, 0);
}

static void at_the_end(struct witness *w, void *arg)
{
	(void)w;
	(void)arg;
	nothing_reads();
}

static void told(hapax_weak *weak, void *ctx)
{
	(void)weak;
	nothing_reads();
	note(*(const char *)ctx);
}

static int finalized(void *ctx)
{
	nothing_reads();
	note(*(const char *)ctx);
	return 0;
}

static void part_died(hapax_bound *bound, void *ctx)
{
	(void)bound;
	nothing_reads();
	note(*(const char *)ctx);
}

static void count_free(void *ctx)
{
	(void)ctx;
	all.frees++;
}

static int call_nothing(void *target, void *part, void *ctx, void *arg)
{
	(void)target;
	(void)part;
	(void)ctx;
	(void)arg;
	return 0;
}

static int compute_result(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct witness *w = result;

	(void)owner;
	(void)args;
	(void)n;
	(void)ctx;
	(void)error;
	w->name = 'R';
	w->last = at_the_end;
	return HAPAX_LOAD_OK;
}

static hapax_bound *bind(void *target, void *part, const char *name)
{
	hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = call_nothing, .target = target, .part = part,
				 .ctx = (void *)name, .dead = name ? part_died : NULL, .ctx_free = count_free};
	hapax_bound *bound = NULL;

	CHECK_EQ(hapax_bound_new(&bound, &o), HAPAX_OK);
	return bound;
}

static hapax_weak *watch(void *object, const char *name)
{
	hapax_callback cb = {.fn = told, .ctx = (void *)name, .ctx_free = count_free};
	hapax_weak *weak = NULL;

	CHECK_EQ(hapax_weak_new(object, name ? &cb : NULL, &weak), HAPAX_OK);
	return weak;
}

static hapax_finalizer *finalize(void *object, const char *name, unsigned flags)
{
	hapax_finalize what = {.fn = finalized, .ctx = (void *)name, .ctx_free = count_free};
	hapax_finalizer *finalizer = NULL;

	CHECK_EQ(hapax_finalizer_new(object, &what, flags, &finalizer), HAPAX_OK);
	return finalizer;
}

enum how { RELEASE, DEFERRED, IN_SECTION, CLEAR, REPLACED, AGE, EXPIRY, HOWS };

static void everybody_knows(struct witness *w)
{
	struct witness *data = witness_new(all.env, 0, 'D');
	void *out = NULL;

	data->last = at_the_end;
	all.shared = watch(w, NULL);
	all.told[0] = watch(w, "a");
	CHECK_EQ(hapax_table_put(all.tables[0], HAPAX_STR("one"), w), HAPAX_OK);
	all.finalizers[0] = finalize(w, "b", 0);
	CHECK_EQ(hapax_weak_map_put(all.map, w, data), HAPAX_OK);
	hapax_release(data);
	all.bound[0] = bind(w, all.other, "c");
	CHECK_EQ(hapax_memo_call(all.memo, w, HAPAX_ARGS(hapax_arg_int(1)), &out), HAPAX_OK);
	hapax_release(out);
	all.bound[1] = bind(all.other, w, "d");
	CHECK_EQ(hapax_cache_put(all.cache, HAPAX_STR("one"), w), HAPAX_OK);
	CHECK_EQ(hapax_table_put(all.tables[1], HAPAX_STR("one"), w), HAPAX_OK);
	all.told[1] = watch(w, "e");
	CHECK_EQ(hapax_weak_set_add(all.set, w, NULL), HAPAX_OK);
	all.finalizers[1] = finalize(w, "f", HAPAX_FINALIZE_AT_EXIT);
	CHECK_EQ(hapax_table_put(all.tables[1], HAPAX_STR("two"), w), HAPAX_OK);
	all.quiet = bind(w, NULL, NULL);
	CHECK_EQ(hapax_intern(all.interner, w, &out, NULL), HAPAX_OK);
	hapax_release(out);
}

static void one_death(enum how how)
{
	hapax_cache_options co = {HAPAX_CACHE_OPTIONS_INIT, .on_removal = count_removal, .on_removal_ctx = &all.removals};
	hapax_interner_options io = {HAPAX_INTERNER_OPTIONS_INIT, .contents = contents_of};
	hapax_memo_options mo = {HAPAX_MEMO_OPTIONS_INIT, .flags = HAPAX_MEMO_OWNED, .type = &witness_type,
				 .compute = compute_result};
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT};
	hapax_weak_set_options so = {HAPAX_WEAK_SET_OPTIONS_INIT};
	hapax_table_options to = {HAPAX_TABLE_OPTIONS_INIT};
	struct witness *w;

	memset(&all, 0, sizeof(all));
	all.env = co.env = io.env = mo.env = wo.env = so.env = to.env = test_env_fake();
	if (how == CLEAR || how == REPLACED)
		co.max_entries = 3;
	if (how == AGE)
		co.retain_age_ns = 1000;
	if (how == EXPIRY) {
		co.max_entries = 3;
		co.ttl_ns = 1000;
	}
	CHECK_EQ(hapax_table_create(&all.tables[0], &to), HAPAX_OK);
	CHECK_EQ(hapax_table_create(&all.tables[1], &to), HAPAX_OK);
	CHECK_EQ(hapax_cache_create(&all.cache, &co), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_create(&all.map, &wo), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_create(&all.set, &so), HAPAX_OK);
	CHECK_EQ(hapax_interner_create(&all.interner, &io), HAPAX_OK);
	CHECK_EQ(hapax_memo_create(&all.memo, &mo), HAPAX_OK);
	all.other = witness_new(all.env, 2, 0);
	all.replaced = how == REPLACED;
	w = witness_of(all.env, how == DEFERRED ? &witness_deferred : &witness_type, CONTENTS, 'X');
	w->last = at_the_end;
	everybody_knows(w);
	CHECK_EQ(all.frees, 0);

	switch (how) {
	case RELEASE:
		hapax_release(w);
		break;
	case DEFERRED:
		hapax_release(w);
		nothing_reads();
		CHECK_EQ(diary_n, 2); /* what was attached to it is of another type */
		CHECK_EQ(hapax_run_deferred(all.env), 1);
		break;
	case IN_SECTION:
		hpx_read_lock();
		hapax_release(w);
		hpx_read_unlock();
		break;
	default:
		hapax_release(w);
		CHECK_STR(diary, "");
		CHECK_EQ(hapax_weak_map_size(all.map), 1);
		if (how == CLEAR)
			hapax_cache_clear(all.cache);
		if (how == REPLACED)
			CHECK_EQ(hapax_cache_put(all.cache, HAPAX_STR("one"), all.other), HAPAX_OK);
		if (how == AGE || how == EXPIRY) {
			fake_clock_advance(999);
			while (hapax_cache_maintain(all.cache))
				;
			CHECK_STR(diary, "");
			fake_clock_advance(HAPAX_MILLISECOND);
			while (hapax_cache_maintain(all.cache))
				;
		}
	}
	/* the data and the results, in any order; the watchers, newest first; the destructor */
	CHECK_EQ(strlen(diary), 9);
	CHECK((diary[0] == 'D' && diary[1] == 'R') || (diary[0] == 'R' && diary[1] == 'D'));
	CHECK_STR(diary + 2, "fedcbaX");
	diary_clear();
	CHECK_EQ(all.removals, 1);
	CHECK_EQ(all.frees, 4); /* of the bound ones: at their drop */
	CHECK_EQ(hapax_weak_map_size(all.map) + hapax_weak_set_size(all.set) + hapax_interner_size(all.interner), 0);
	CHECK_EQ(hapax_table_size(all.tables[0]) + hapax_table_size(all.tables[1]), 0);
	CHECK_EQ(hapax_cache_size(all.cache), how == REPLACED ? 1 : 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(hapax_finalizer_run(all.finalizers[i], NULL), HAPAX_DEAD);
		hapax_finalizer_drop(all.finalizers[i]);
		CHECK_EQ(hapax_bound_drop(all.bound[i]), HAPAX_OK);
		CHECK_EQ(hapax_weak_drop(all.told[i]), HAPAX_OK);
	}
	CHECK_EQ(hapax_bound_drop(all.quiet), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(all.shared), HAPAX_OK);
	CHECK_EQ(all.frees, 7);
	CHECK_EQ(hapax_finalize_all(all.env), 0);
	hapax_memo_destroy(all.memo);
	hapax_interner_destroy(all.interner);
	hapax_weak_set_destroy(all.set);
	hapax_weak_map_destroy(all.map);
	hapax_cache_destroy(all.cache);
	hapax_table_destroy(all.tables[0]);
	hapax_table_destroy(all.tables[1]);
	CHECK_EQ(hapax_weak_count(all.other), 0);
	hapax_release(all.other);
	CHECK_STR(diary, "");
	witness_rest(all.env);
}

TEST(L2_PY_CB_04_PY_CB_06_PY_FIN_05_SD_23_all_watchers_of_one_death)
{
	for (int how = 0; how < HOWS; how++)
		one_death((enum how)how);
}

/* ---- any mixture of registrations, some of them gone before ---------------------------------------------------------- */

enum { KINDS = 64 };
static char letters[KINDS];

static void note_weak(hapax_weak *weak, void *ctx) { CHECK(!hapax_weak_alive(weak)), note(*(char *)ctx); }
static int note_finalizer(void *ctx) { return note(*(char *)ctx), 7; }
static void note_bound(hapax_bound *bound, void *ctx) { CHECK(!hapax_bound_alive(bound)), note(*(char *)ctx); }

struct mixed {
	int kind; /* 0 callback, 1 finalizer, 2 bound to it, 3 bound with it as its second part, 4 both, 5 no callback */
	hapax_weak *weak;
	hapax_finalizer *finalizer;
	hapax_bound *bound;
	bool gone;
};

static void mix(struct mixed *m, struct witness *w, struct witness *other, char *name)
{
	hapax_callback cb = {.fn = note_weak, .ctx = name};
	hapax_finalize what = {.fn = note_finalizer, .ctx = name};
	hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = call_nothing, .target = m->kind == 3 ? other : w,
				 .part = m->kind == 2 ? other : w, .dead = note_bound, .ctx = name};

	if (m->kind == 0 || m->kind == 5)
		CHECK_EQ(hapax_weak_new(w, m->kind ? NULL : &cb, &m->weak), HAPAX_OK);
	else if (m->kind == 1)
		CHECK_EQ(hapax_finalizer_new(w, &what, 0, &m->finalizer), HAPAX_OK);
	else
		CHECK_EQ(hapax_bound_new(&m->bound, &o), HAPAX_OK);
}

static void unmix(struct mixed *m)
{
	hapax_finalize what;

	if (m->weak)
		CHECK_EQ(hapax_weak_drop(m->weak), HAPAX_OK);
	if (m->bound)
		CHECK_EQ(hapax_bound_drop(m->bound), HAPAX_OK);
	if (m->finalizer && !m->gone) {
		CHECK_EQ(hapax_finalizer_detach(m->finalizer, &what), HAPAX_OK);
		CHECK(what.fn == note_finalizer);
	}
	hapax_finalizer_drop(m->finalizer);
	m->weak = NULL;
	m->bound = NULL;
	m->finalizer = NULL;
	m->gone = true;
}

static uint64_t expected_count(const struct mixed *m, int n)
{
	uint64_t count = 0;
	bool plain = false;

	for (int i = 0; i < n; i++) {
		count += !m[i].gone && m[i].kind != 5;
		plain |= !m[i].gone && m[i].kind == 5;
	}
	return count + plain;
}

TEST(PY_FIN_05_PY_CB_03_PY_CNT_01_any_mixture_in_reverse_and_counted)
{
	uint64_t rng = test_stream(1);

	for (int i = 0; i < KINDS; i++)
		letters[i] = (char)('!' + i);
	for (int round = 0; round < 40; round++) {
		hapax_env *env = test_env();
		struct witness *w = witness_of(env, round & 1 ? &witness_deferred : &witness_type, 1, '\0');
		struct witness *other = witness_new(env, 2, 0);
		struct mixed m[KINDS] = {0};
		char want[KINDS + 1] = "";
		int n = 1 + (int)test_below(&rng, KINDS), left = 0;

		for (int i = 0; i < n; i++) {
			m[i].kind = (int)test_below(&rng, 6);
			mix(&m[i], w, other, &letters[i]);
			if (!test_below(&rng, 4))
				unmix(&m[test_below(&rng, (uint64_t)i + 1)]);
			CHECK_EQ(hapax_weak_count(w), expected_count(m, i + 1));
		}
		for (int i = n - 1; i >= 0; i--)
			if (!m[i].gone && m[i].kind != 5)
				want[left++] = letters[i];
		CHECK_STR(diary, "");
		hapax_release(w);
		if (round & 1) {
			CHECK_STR(diary, "");
			CHECK_EQ(hapax_run_deferred(env), 1);
		}
		diary_is(want);
		for (int i = 0; i < n; i++) {
			m[i].gone = true;
			unmix(&m[i]);
		}
		CHECK_EQ(hapax_weak_count(other), 0);
		hapax_release(other);
		diary_is("");
		witness_rest(env);
	}
}
