/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Death callbacks (PY-CB).
 */
#include <errno.h>

#include "unit/item.h"

TEST(PY_CB_01_the_callback_gets_its_dead_handle_and_ctx)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p;

	probe_on(&p, 1, x, false); /* probe_call checks handle, upgrade and alive */
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK(!hapax_weak_get(p.weak));
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	test_env_end(env);
}

TEST(PY_CB_02_each_registration_is_called_once)
{
	static const int sizes[] = {0, 1, 2, 3, 7, 64, 1000};
	hapax_env *env = test_env();
	struct probe *p = calloc(1000, sizeof(*p));

	CHECK(p);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct item *x = item_new(env, 1);
		hapax_weak *plain = s % 2 ? weak_of(x) : NULL;

		for (int i = 0; i < sizes[s]; i++) {
			trace_reset();
			probe_on(&p[i], 0, x, false);
		}
		for (int i = 0; i < sizes[s]; i++)
			CHECK_EQ(p[i].calls, 0);
		trace_reset();
		hapax_release(x);
		hapax_testing_drain(env);
		for (int i = 0; i < sizes[s]; i++) {
			CHECK_EQ(p[i].calls, 1);
			CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
			CHECK_EQ(p[i].calls, 1);
		}
		CHECK_EQ(hapax_weak_drop(plain), HAPAX_OK);
	}
	free(p);
	test_env_end(env);
}

TEST(PY_CB_03_newest_first)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 0);
	struct probe p[4];

	trace_reset();
	for (int i = 0; i < 4; i++)
		probe_on(&p[i], i + 1, x, false);
	hapax_release(x);
	CHECK_STR(trace_text, "c4 c3 c2 c1 d0 ");
	for (int i = 0; i < 4; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	test_env_end(env);
}

/* Cancelled registrations leave their place to new ones; the order is that of registration all the same. */
TEST(PY_CB_03_newest_first_after_cancellations)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 0);
	struct probe p[6];

	trace_reset();
	probe_on(&p[0], 1, x, false);
	probe_on(&p[1], 2, x, false);
	probe_on(&p[2], 3, x, false);
	CHECK_EQ(probe_drop(&p[1]), HAPAX_OK);
	probe_on(&p[3], 4, x, false); /* in the place of 2 */
	CHECK_EQ(probe_drop(&p[0]), HAPAX_OK);
	CHECK_EQ(probe_drop(&p[2]), HAPAX_OK);
	probe_on(&p[4], 5, x, false);
	probe_on(&p[5], 6, x, false);
	hapax_release(x);
	CHECK_STR(trace_text, "c6 c5 c4 d0 ");
	for (int i = 3; i < 6; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	test_env_end(env);
}

#define ORDERED 300
static int last_seen;
static void in_order(hapax_weak *weak, void *ctx)
{
	int *id = ctx;

	CHECK(!hapax_weak_get(weak));
	CHECK(*id < last_seen);
	last_seen = *id;
	*id = -1;
}

TEST(PY_CB_03_random_registrations_and_drops_keep_the_order)
{
	hapax_env *env = test_env();
	uint64_t random = test_stream(3);

	for (uint64_t round = 0; round < scaled(200); round++) {
		struct item *x = item_new(env, 1);
		hapax_weak *weak[ORDERED] = {0};
		int id[ORDERED], next = 0, held = 0, called = 0;
		int steps = 1 + (int)test_below(&random, 2 * ORDERED);

		for (int i = 0; i < steps; i++) {
			int at = (int)test_below(&random, ORDERED);

			if (weak[at]) {
				CHECK_EQ(hapax_weak_drop(weak[at]), HAPAX_OK);
				weak[at] = NULL;
				held--;
			} else {
				hapax_callback cb = {in_order, &id[at], NULL};

				id[at] = next++;
				CHECK_EQ(hapax_weak_new(x, &cb, &weak[at]), HAPAX_OK);
				held++;
			}
		}
		CHECK_EQ(hapax_weak_count(x), held);
		last_seen = INT32_MAX;
		hapax_release(x);
		for (int i = 0; i < ORDERED; i++) {
			if (!weak[i])
				continue;
			called += id[i] == -1;
			CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
		}
		CHECK_EQ(called, held);
	}
	test_env_end(env);
}

struct registrars {
	void *object;
	int calls, frees;
	uint64_t seed;
	int rounds;
};
static void count_call(hapax_weak *weak, void *ctx)
{
	struct registrars *r = ctx;

	(void)weak;
	__atomic_fetch_add(&r->calls, 1, __ATOMIC_RELAXED);
}
static void count_free(void *ctx)
{
	struct registrars *r = ctx;

	__atomic_fetch_add(&r->frees, 1, __ATOMIC_RELAXED);
}
static hapax_weak *kept[4][64];
static void register_and_cancel(unsigned index, void *arg)
{
	struct registrars *r = arg;
	uint64_t random = test_stream(100 + index);
	hapax_callback cb = {count_call, r, count_free};

	memset(kept[index], 0, sizeof(kept[index]));
	for (int i = 0; i < r->rounds; i++) {
		hapax_weak **at = &kept[index][test_below(&random, 64)];

		if (*at) {
			CHECK_EQ(hapax_weak_drop(*at), HAPAX_OK);
			*at = NULL;
		} else {
			CHECK_EQ(hapax_weak_new(r->object, &cb, at), HAPAX_OK);
		}
	}
}

TEST(PY_CB_02_registrations_from_many_threads)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct registrars r = {x, 0, 0, 0, (int)scaled(20000)};
	int left = 0, made;

	run_threads(4, register_and_cancel, &r);
	for (int t = 0; t < 4; t++)
		for (int i = 0; i < 64; i++)
			left += kept[t][i] != NULL;
	CHECK_EQ(hapax_weak_count(x), left);
	CHECK_EQ(r.calls, 0);
	made = r.frees + left;
	hapax_release(x);
	CHECK_EQ(r.calls, left);
	CHECK_EQ(r.frees, made);
	for (int t = 0; t < 4; t++)
		for (int i = 0; i < 64; i++)
			CHECK_EQ(hapax_weak_drop(kept[t][i]), HAPAX_OK);
	CHECK_EQ(r.frees, made);
	test_env_end(env);
}

struct all_handles {
	struct probe *probes;
	int n;
	hapax_weak *plain;
	hapax_weak *dup;
};
static void all_read_dead(struct probe *p)
{
	struct all_handles *all = p->arg;
	hapax_callback seen;

	CHECK(!hapax_weak_get(all->plain) && !hapax_weak_alive(all->plain));
	CHECK(!hapax_weak_get(all->dup) && !hapax_weak_alive(all->dup));
	for (int i = 0; i < all->n; i++) {
		CHECK(!hapax_weak_get(all->probes[i].weak));
		CHECK(!hapax_weak_alive(all->probes[i].weak));
		CHECK_EQ(hapax_weak_callback(all->probes[i].weak, &seen), HAPAX_DEAD);
	}
}

TEST(PY_CB_04_all_handles_read_dead_in_the_first_callback)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p[5];
	struct all_handles all = {p, 5, weak_of(x), NULL};

	trace_reset();
	CHECK_EQ(hapax_weak_dup(all.plain, &all.dup), HAPAX_OK);
	for (int i = 0; i < 5; i++) {
		probe_on(&p[i], i, x, i % 2);
		p[i].then = all_read_dead;
		p[i].arg = &all;
	}
	hapax_release(x);
	CHECK_STR(trace_text, "c4 c3 f3 c2 c1 f1 c0 ");
	for (int i = 0; i < 5; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(all.plain), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(all.dup), HAPAX_OK);
	test_env_end(env);
}

static void drop_other(struct probe *p)
{
	struct probe *other = p->arg;
	int frees = other->frees;

	if (!other->weak)
		return;
	if (other->calls) {
		CHECK_EQ(frees, 1); /* already notified: over */
		CHECK_EQ(probe_drop(other), HAPAX_OK);
	} else {
		CHECK_EQ(frees, 0);
		CHECK_EQ(probe_drop(other), HAPAX_OK);
		CHECK_EQ(other->frees, 1); /* cancelled: its ctx went with it */
	}
	trace("x%d", other->id);
}

TEST(PY_CB_05_dropping_a_sibling_cancels_it)
{
	hapax_env *env = test_env();
	struct item *x;
	struct probe p[4];

	/* 3 drops 1: not called. 2 drops 3, which is over. */
	x = item_traced(env, 9);
	trace_reset();
	for (int i = 0; i < 4; i++) {
		probe_on(&p[i], i, x, true);
		p[i].then = i == 3 || i == 2 ? drop_other : NULL;
	}
	p[3].arg = &p[1];
	p[2].arg = &p[3];
	hapax_release(x);
	CHECK_STR(trace_text, "c3 f1 x1 f3 c2 x3 f2 c0 f0 d9 ");
	CHECK_EQ(p[1].calls, 0);
	CHECK_EQ(p[1].frees, 1);
	CHECK_EQ(probe_drop(&p[0]), HAPAX_OK);
	CHECK_EQ(probe_drop(&p[2]), HAPAX_OK);

	/* two that would drop each other: the first to run wins */
	x = item_traced(env, 9);
	trace_reset();
	for (int i = 0; i < 2; i++) {
		probe_on(&p[i], i, x, true);
		p[i].then = drop_other;
		p[i].arg = &p[1 - i];
	}
	hapax_release(x);
	CHECK_STR(trace_text, "c1 f0 x0 f1 d9 ");
	CHECK_EQ(probe_drop(&p[1]), HAPAX_OK);
	test_env_end(env);
}

static void drop_all_others(struct probe *p)
{
	struct probe *all = p->arg;

	for (int i = 0; i < 100; i++)
		if (&all[i] != p)
			CHECK_EQ(probe_drop(&all[i]), HAPAX_OK);
}

TEST(PY_CB_05_the_first_callback_cancels_all_others)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 9);
	struct probe p[100];

	for (int i = 0; i < 100; i++) {
		trace_reset();
		probe_on(&p[i], i, x, true);
	}
	trace_reset();
	p[99].then = drop_all_others;
	p[99].arg = p;
	hapax_release(x);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(p[i].calls, i == 99);
		CHECK_EQ(p[i].frees, 1);
	}
	CHECK_EQ(probe_drop(&p[99]), HAPAX_OK);
	test_env_end(env);
}

struct places {
	hapax_table *table[2];
	hapax_cache *cache;
};
static void absent_everywhere(const struct places *at)
{
	void *object = (void *)(uintptr_t)8;

	for (int t = 0; t < 2; t++) {
		CHECK(!table_peek(at->table[t], HAPAX_STR("a")));
		CHECK(!table_peek(at->table[t], HAPAX_STR("b")));
		CHECK_EQ(hapax_table_remove(at->table[t], HAPAX_STR("a")), HAPAX_MISS);
		CHECK_EQ(hapax_table_pop(at->table[t], HAPAX_STR("b"), &object), HAPAX_MISS);
		CHECK_EQ(hapax_table_pop_any(at->table[t], &object), HAPAX_EMPTY);
	}
	CHECK_EQ(hapax_cache_contains(at->cache, HAPAX_STR("a")), 0);
	CHECK_EQ(hapax_cache_get_if_present(at->cache, HAPAX_STR("a"), &object), HAPAX_MISS);
	CHECK(!object);
}
static void absent_in_callback(struct probe *p) { absent_everywhere(p->arg); }
static void absent_in_destructor(struct item *item, void *arg)
{
	(void)item;
	absent_everywhere(arg);
}

static hapax_cache *cache_of(hapax_env *env, const hapax_type *type, hapax_load_fn load, void *arg)
{
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = type, .load = load, .arg = arg};
	hapax_cache *cache = NULL;

	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	return cache;
}

TEST(PY_CB_06_entries_read_absent_in_the_first_callback)
{
	hapax_env *env = test_env();
	struct places at = {{table_new(env), table_new(env)}, cache_of(env, NULL, NULL, NULL)};
	struct item *x = item_new(env, 1);
	struct probe p[2];

	x->on_destroy = absent_in_destructor;
	x->arg = &at;
	for (int t = 0; t < 2; t++) {
		table_put(at.table[t], HAPAX_STR("a"), x);
		table_put(at.table[t], HAPAX_STR("b"), x);
	}
	/* registered between the entries, before and after: the order of registration does not matter for entries */
	probe_on(&p[0], 0, x, false);
	CHECK_EQ(hapax_cache_put(at.cache, HAPAX_STR("a"), x), HAPAX_OK);
	probe_on(&p[1], 1, x, false);
	for (int i = 0; i < 2; i++) {
		p[i].then = absent_in_callback;
		p[i].arg = &at;
	}
	hapax_release(x);
	CHECK_EQ(p[0].calls + p[1].calls, 2);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	for (int t = 0; t < 2; t++)
		table_end(at.table[t], 0);
	cache_check(at.cache, 0);
	hapax_cache_destroy(at.cache);
	test_env_end(env);
}

static int load_item(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct item *item = object;

	(void)error;
	CHECK_EQ(key->size, 1);
	item->live = ITEM_ALIVE;
	item->id = ++*(int *)arg;
	return HAPAX_LOAD_OK;
}
static void *reloaded;
static void reload_in_callback(struct probe *p)
{
	CHECK_EQ(hapax_cache_get(p->arg, HAPAX_STR("a"), &reloaded), HAPAX_OK);
}

TEST(PY_CB_06_a_callback_may_load_the_dying_key_anew)
{
	hapax_env *env = test_env();
	int loads = 0;
	hapax_cache *cache = cache_of(env, &item_type, load_item, &loads);
	void *x, *again;
	struct probe p;

	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("a"), &x), HAPAX_OK);
	probe_on(&p, 1, x, false);
	p.then = reload_in_callback;
	p.arg = cache;
	hapax_release(x);
	CHECK_EQ(loads, 2);
	CHECK(reloaded);
	CHECK_EQ(((struct item *)reloaded)->id, 2);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("a"), &again), HAPAX_OK);
	CHECK_PTR(again, reloaded);
	CHECK_EQ(loads, 2);
	hapax_release(again);
	hapax_release(reloaded);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	cache_check(cache, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

struct succession {
	hapax_table *table;
	hapax_env *env;
	struct item *heir;
};
static void put_heir(struct probe *p)
{
	struct succession *s = p->arg;

	if (!s->heir) {
		s->heir = item_new(s->env, 2);
		table_put(s->table, HAPAX_STR("k"), s->heir);
	}
	CHECK_PTR(table_peek(s->table, HAPAX_STR("k")), s->heir);
	CHECK_EQ(hapax_table_size(s->table), 1);
}
static void heir_in_destructor(struct item *item, void *arg)
{
	struct probe as_probe = {.arg = arg};

	(void)item;
	put_heir(&as_probe);
}

TEST(PY_CB_07_a_new_entry_put_by_a_callback_stays)
{
	hapax_env *env = test_env();

	for (int by = 0; by <= 4; by++) { /* the callback that puts; 4: the destructor */
		struct succession s = {table_new(env), env, NULL};
		struct item *x = item_new(env, 1);
		struct probe p[4];

		table_put(s.table, HAPAX_STR("k"), x);
		table_put(s.table, HAPAX_STR("other"), x);
		for (int i = 0; i < 4; i++) {
			probe_on(&p[i], i, x, false);
			p[i].then = 3 - i >= by ? put_heir : NULL;
			p[i].arg = &s;
		}
		x->on_destroy = heir_in_destructor;
		x->arg = &s;
		hapax_release(x);
		CHECK(s.heir);
		CHECK_PTR(table_peek(s.table, HAPAX_STR("k")), s.heir);
		table_check(s.table, 1);
		hapax_testing_drain(env);
		CHECK_PTR(table_peek(s.table, HAPAX_STR("k")), s.heir);
		for (int i = 0; i < 4; i++)
			CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
		hapax_release(s.heir);
		table_end(s.table, 0);
	}
	test_env_end(env);
}

struct freedom {
	hapax_env *env;
	hapax_table *table;
	pthread_mutex_t lock;
	struct item *other, *own;
	hapax_weak *made;
	int seen;
};
static void do_everything(struct probe *p)
{
	struct freedom *f = p->arg;
	hapax_iter *iter;
	hapax_key key;
	void *object;
	char text[16];

	CHECK_EQ(pthread_mutex_lock(&f->lock), 0);
	CHECK_EQ(hapax_weak_new(f->other, NULL, &f->made), HAPAX_OK);
	f->own = item_new(f->env, 77);
	for (int i = 0; i < 50; i++) {
		snprintf(text, sizeof(text), "in%d", i);
		table_put(f->table, HAPAX_STR(text), f->own);
	}
	CHECK_EQ(hapax_table_remove(f->table, HAPAX_STR("in7")), HAPAX_OK);
	CHECK_EQ(hapax_table_iterate(f->table, &iter), HAPAX_OK);
	while (hapax_iter_next(iter, &key, &object) == HAPAX_OK) {
		CHECK(object == f->own || object == f->other);
		f->seen++;
	}
	hapax_iter_close(iter);
	hapax_testing_table_resize(f->table, 1);
	hapax_release(item_new(f->env, 78));
	CHECK_EQ(pthread_mutex_unlock(&f->lock), 0);
}

TEST(PY_CB_09_callbacks_may_call_anything)
{
	hapax_env *env = test_env();
	struct freedom f = {env, table_new(env), PTHREAD_MUTEX_INITIALIZER, item_new(env, 2), NULL, NULL, 0};
	struct item *x = item_new(env, 1);
	struct probe p;

	table_put(f.table, HAPAX_STR("x"), x);
	table_put(f.table, HAPAX_STR("other"), f.other);
	probe_on(&p, 1, x, false);
	p.then = do_everything;
	p.arg = &f;
	hapax_release(x);
	CHECK_EQ(f.seen, 50);
	table_check(f.table, 50);
	CHECK_PTR(hapax_weak_get(f.made), f.other);
	hapax_release(f.other);
	CHECK_EQ(hapax_weak_drop(f.made), HAPAX_OK);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	hapax_release(f.other);
	hapax_release(f.own);
	table_end(f.table, 0);
	test_env_end(env);
}

/* No internal lock is held: while a callback is stopped, another thread uses the same object's handles and tables. */
struct stopped {
	hapax_env *env;
	hapax_table *table;
	hapax_weak *plain;
	struct test_event inside, go_on;
	struct item *x;
};
static void stop_here(struct probe *p)
{
	struct stopped *s = p->arg;

	test_event_set(&s->inside);
	test_event_wait(&s->go_on);
}
static void *release_there(void *arg)
{
	struct stopped *s = arg;

	hapax_release(s->x);
	return NULL;
}

TEST(PY_CB_09_nobody_waits_for_a_stopped_callback)
{
	hapax_env *env = test_env();
	struct stopped s = {env, table_new(env), NULL, TEST_EVENT_INIT, TEST_EVENT_INIT, item_new(env, 1)};
	struct item *y = item_new(env, 2);
	pthread_t thread;
	struct probe p, q;

	trace_reset();
	probe_on(&q, 2, s.x, true);
	probe_on(&p, 1, s.x, true);
	p.then = stop_here;
	p.arg = &s;
	s.plain = weak_of(s.x);
	table_put(s.table, HAPAX_STR("x"), s.x);
	table_put(s.table, HAPAX_STR("y"), y);
	thread = test_thread(release_there, &s);
	test_event_wait(&s.inside);
	CHECK(!hapax_weak_get(s.plain));
	CHECK(!hapax_weak_get(p.weak));
	CHECK(!table_peek(s.table, HAPAX_STR("x")));
	CHECK_PTR(table_peek(s.table, HAPAX_STR("y")), y);
	table_put(s.table, HAPAX_STR("x"), y);
	CHECK_EQ(hapax_table_remove(s.table, HAPAX_STR("y")), HAPAX_OK);
	hapax_reclaim(env); /* a callback is not a read section */
	CHECK_EQ(probe_drop(&q), HAPAX_OK); /* not yet notified: cancelled, no waiting */
	CHECK_EQ(q.frees, 1);
	hapax_release(y);
	table_check(s.table, 0);
	test_event_set(&s.go_on);
	test_join(thread);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(p.frees, 1);
	CHECK_EQ(q.calls, 0);
	CHECK_EQ(hapax_weak_drop(s.plain), HAPAX_OK);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	hapax_table_destroy(s.table);
	test_env_end(env);
}

static void release_arg(struct probe *p)
{
	hapax_release(p->arg);
	trace("r%d", p->id);
}

TEST(PY_CB_10_nested_deaths_complete_before_the_release_returns)
{
	hapax_env *env = test_env();
	struct item *x[4];
	struct probe p[4];

	/* the callback on each releases the next; deaths are queued, never nested */
	trace_reset();
	for (int i = 0; i < 4; i++)
		x[i] = item_traced(env, i);
	for (int i = 0; i < 4; i++) {
		probe_on(&p[i], i, x[i], true);
		if (i < 3) {
			p[i].then = release_arg;
			p[i].arg = x[i + 1];
		}
	}
	hapax_release(x[0]);
	CHECK_STR(trace_text, "c0 r0 f0 d0 c1 r1 f1 d1 c2 r2 f2 d2 c3 f3 d3 ");
	for (int i = 0; i < 4; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	test_env_end(env);
}

static void drop_its_handle(struct item *item, void *arg)
{
	struct probe *p = arg;

	trace("d%d", item->id);
	if (p->weak && !p->calls) {
		CHECK_EQ(probe_drop(p), HAPAX_OK);
		CHECK_EQ(p->frees, 1);
	} else if (p->weak) {
		CHECK_EQ(probe_drop(p), HAPAX_OK);
	}
}
struct pair {
	struct item *first, *second;
};
static void release_pair(struct item *item, void *arg)
{
	struct pair *pair = arg;

	trace("d%d", item->id);
	hapax_release(pair->first);
	hapax_release(pair->second);
}

TEST(PY_CB_13_an_owner_that_dies_first_takes_its_callback_along)
{
	hapax_env *env = test_env();

	for (int owner_first = 0; owner_first < 2; owner_first++) {
		struct item *root = item_new(env, 0), *owner = item_new(env, 1), *x = item_traced(env, 2);
		struct pair pair = {owner_first ? owner : x, owner_first ? x : owner};
		struct probe p;

		trace_reset();
		probe_on(&p, 9, x, true);
		owner->on_destroy = drop_its_handle;
		owner->arg = &p;
		root->on_destroy = release_pair;
		root->arg = &pair;
		hapax_release(root);
		/* both die in root's cascade; x is already dead when the owner's destructor drops the handle */
		CHECK_STR(trace_text, owner_first ? "d0 d1 f9 d2 " : "d0 c9 f9 d2 d1 ");
		CHECK_EQ(p.calls, !owner_first);
		CHECK_EQ(p.frees, 1);
	}
	test_env_end(env);
}

TEST(PY_CB_14_ctx_is_freed_once_right_after_the_callback)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 0);
	struct probe p[4];

	trace_reset();
	for (int i = 0; i < 4; i++)
		probe_on(&p[i], i + 1, x, true);
	CHECK_EQ(probe_drop(&p[1]), HAPAX_OK);
	CHECK_STR(trace_text, "f2 ");
	hapax_release(x);
	CHECK_STR(trace_text, "f2 c4 f4 c3 f3 c1 f1 d0 ");
	for (int i = 0; i < 4; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	hapax_testing_drain(env);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(p[i].frees, 1);
	test_env_end(env);
}

struct thread_seen {
	pthread_t callback, destructor;
	void *object;
	int calls;
};
static void note_thread(hapax_weak *weak, void *ctx)
{
	struct thread_seen *seen = ctx;

	(void)weak;
	seen->callback = pthread_self();
	seen->calls++;
}
static void note_destructor(struct item *item, void *arg)
{
	struct thread_seen *seen = arg;

	(void)item;
	seen->destructor = pthread_self();
}
static void *release_on_thread(void *arg)
{
	struct thread_seen *seen = arg;
	int calls = seen->calls;

	hapax_release(seen->object);
	CHECK_EQ(seen->calls, calls + 1); /* before the release returned */
	CHECK(pthread_equal(seen->callback, pthread_self()));
	CHECK(pthread_equal(seen->destructor, pthread_self()));
	return NULL;
}

TEST(PY_CB_16_runs_on_the_thread_of_the_last_release)
{
	hapax_env *env = test_env();
	struct thread_seen seen = {.calls = 0};
	hapax_callback cb = {note_thread, &seen, NULL};
	hapax_weak *weak;

	for (int other = 0; other < 2; other++) {
		struct item *x = item_new(env, 1);

		x->on_destroy = note_destructor;
		x->arg = &seen;
		seen.object = x;
		CHECK_EQ(hapax_weak_new(x, &cb, &weak), HAPAX_OK);
		if (other)
			test_join(test_thread(release_on_thread, &seen));
		else
			release_on_thread(&seen);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	}
	test_env_end(env);
}

TEST(PY_CB_16_deferred_deaths_run_in_the_drain)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x[3];
	struct probe p[3];
	hapax_weak *plain;

	trace_reset();
	items_reset();
	for (int i = 0; i < 3; i++) {
		x[i] = item_of(env, &deferred_type, i);
		x[i]->on_destroy = trace_destroy;
		probe_on(&p[i], i, x[i], true);
	}
	plain = weak_of(x[0]);
	table_put(table, HAPAX_STR("k"), x[0]);
	CHECK_EQ(hapax_run_deferred(env), 0);
	for (int i = 0; i < 3; i++)
		hapax_release(x[i]);
	/* dead at once, for everybody; told later */
	CHECK_STR(trace_text, "");
	CHECK(!hapax_weak_get(plain));
	CHECK(!hapax_weak_alive(plain));
	CHECK(!table_peek(table, HAPAX_STR("k")));
	CHECK_EQ(items_destroyed_now(), 0);
	/* cancelled before the drain: never called */
	CHECK_EQ(probe_drop(&p[1]), HAPAX_OK);
	CHECK_EQ(p[1].frees, 1);
	CHECK_EQ(hapax_run_deferred(env), 3);
	CHECK_EQ(items_destroyed_now(), 3);
	CHECK_EQ(p[0].calls, 1);
	CHECK_EQ(p[1].calls, 0);
	CHECK_EQ(p[2].calls, 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(p[i].frees, 1);
	CHECK_EQ(hapax_run_deferred(env), 0);
	CHECK_EQ(hapax_weak_drop(plain), HAPAX_OK);
	CHECK_EQ(probe_drop(&p[0]), HAPAX_OK);
	CHECK_EQ(probe_drop(&p[2]), HAPAX_OK);
	table_end(table, 0);
	test_env_end(env);
}

static void *run_deferred(void *arg)
{
	struct thread_seen *seen = arg;

	CHECK_EQ(hapax_run_deferred(seen->object), 1);
	CHECK(pthread_equal(seen->callback, pthread_self()));
	CHECK(pthread_equal(seen->destructor, pthread_self()));
	return NULL;
}

TEST(PY_CB_16_deferred_deaths_run_on_the_draining_thread)
{
	hapax_env *env = test_env();
	struct thread_seen seen = {.object = env};
	hapax_callback cb = {note_thread, &seen, NULL};
	struct item *x = item_of(env, &deferred_type, 1);
	hapax_weak *weak;

	x->on_destroy = note_destructor;
	x->arg = &seen;
	CHECK_EQ(hapax_weak_new(x, &cb, &weak), HAPAX_OK);
	hapax_release(x);
	test_join(test_thread(run_deferred, &seen));
	CHECK_EQ(seen.calls, 1);
	CHECK_EQ(hapax_run_deferred(env), 0);
	CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	test_env_end(env);
}

struct stranger {
	hapax_env *env;
	struct item *x[32];
	struct probe p[32];
};
static void *strangers_release(void *arg)
{
	struct item *x = arg;

	hapax_release(x); /* this thread's first and only call */
	return NULL;
}

TEST(PY_CB_18_callbacks_run_on_threads_never_seen_before)
{
	hapax_env *env = test_env();
	struct stranger *s = calloc(1, sizeof(*s));

	CHECK(s);
	for (int i = 0; i < 32; i++) {
		trace_reset();
		s->x[i] = item_new(env, i);
		probe_on(&s->p[i], i, s->x[i], true);
	}
	for (int i = 0; i < 32; i++) {
		trace_reset();
		test_join(test_thread(strangers_release, s->x[i]));
		CHECK_EQ(s->p[i].calls, 1);
		CHECK_EQ(s->p[i].frees, 1);
		CHECK_EQ(probe_drop(&s->p[i]), HAPAX_OK);
	}
	free(s);
	test_env_end(env);
}

struct failing {
	hapax_env *env;
	hapax_table *table;
	struct item *strong, *other;
	void *dying;
	int refused;
};
static void call_with_errors(struct probe *p)
{
	struct failing *f = p->arg;
	struct test_allocator *memory = test_env_allocator(f->env);
	void *object;
	hapax_weak *weak;
	char big[256];

	CHECK_EQ(hapax_table_put(f->table, HAPAX_STR("s"), f->strong), HAPAX_ENOTWEAK);
	CHECK_EQ(hapax_table_put(f->table, HAPAX_STR("d"), f->dying), HAPAX_EDEAD);
	CHECK_EQ(hapax_table_put(f->table, HAPAX_BYTES(NULL, 3), f->other), HAPAX_EKEY);
	CHECK_EQ(hapax_weak_new(f->dying, NULL, &weak), HAPAX_EDEAD);
	memory->fail_from = memory->calls + 1;
	for (int i = 0; i < 300; i++) {
		memset(big, 'a' + p->id, sizeof(big));
		snprintf(big, sizeof(big), "%d-%d", p->id, i);
		if (hapax_table_put(f->table, HAPAX_BYTES(big, sizeof(big)), f->other) == HAPAX_ENOMEM)
			f->refused++;
	}
	CHECK_EQ(hapax_new(f->env, &item_type, 100000, &object), HAPAX_ENOMEM);
	memory->fail_from = 0;
}

TEST(PY_CB_19_errors_inside_a_callback_do_not_stop_the_others)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 9);
	struct failing f = {env, table_new(env), item_of(env, &strong_type, 5), item_new(env, 6), x, 0};
	struct probe p[3];

	trace_reset();
	for (int i = 0; i < 3; i++) {
		probe_on(&p[i], i, x, true);
		p[i].then = call_with_errors;
		p[i].arg = &f;
	}
	hapax_release(x);
	CHECK_STR(trace_text, "c2 f2 c1 f1 c0 f0 d9 ");
	CHECK(f.refused > 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	hapax_release(f.other);
	hapax_release(f.strong);
	table_end(f.table, 0);
	test_env_end(env);
}

/* errno belongs to the caller, whatever the callbacks do with it. */
static void spoil_errno(struct probe *p)
{
	(void)p;
	errno = 4711;
}

TEST(PY_CB_errno_is_preserved_by_release)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p;

	probe_on(&p, 1, x, false);
	p.then = spoil_errno;
	errno = 12;
	hapax_release(x);
	CHECK_EQ(errno, 12);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	test_env_end(env);
}
