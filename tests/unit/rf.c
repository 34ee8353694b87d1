/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Refreshing: one reload at a time, what becomes of its result, what fences it. */
#include <hapax/async.h>
#include <hapax/compute.h>

#include "unit/reloads.h"

/* ---- one reload, and the old value meanwhile ----------------------------------------------------------------------- */

TEST(CF_RF_01_the_old_value_at_once_and_one_reload)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		hapax_cache_stats s;
		struct rf f;
		int first, fresh, loads;

		rf_begin(&f, form, (hapax_cache_options){.refresh_ns = 10 * S});
		first = rf_first(&f);
		loads = loads_of(&f.t.s);
		fake_clock_advance(10 * S - 1);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(waiting(&f.x), 0);
		fake_clock_advance(1);
		for (int i = 0; i < 5; i++)
			CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(waiting(&f.x), 1);
		CHECK_EQ(loads_of(&f.t.s), loads);
		TOLD(&f.t.r, 0, 0, 0, 0, 0, 0);
		fake_clock_advance(S);
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(loads_of(&f.t.s), loads + 1);
		fresh = rf_present(&f);
		CHECK_EQ(fresh, loads + 1);
		CHECK_EQ(rf_get(&f), fresh);
		CHECK(item_is_alive(f.held));
		TOLD(&f.t.r, 0, 1, 0, 0, 0, 0);
		CHECK_EQ(f.t.r.all[0].id, first);
		/* its age begins anew when it is written */
		fake_clock_advance(10 * S - 1);
		CHECK_EQ(rf_get(&f), fresh);
		CHECK_EQ(waiting(&f.x), 0);
		fake_clock_advance(1);
		CHECK_EQ(rf_get(&f), fresh);
		CHECK_EQ(run_tasks(&f.x), 1);
		s = stats_of(f.t.cache);
		CHECK_EQ(s.refreshes, 2);
		CHECK_EQ(s.retained, 1);
		CHECK_EQ(s.replacements, 2);
		CHECK_EQ(s.stale_hits, 0);
		rf_end(&f, 1);
	}
}

/* An executor that runs the task before run() returns: the get that started it has the old value still. */
TEST(CF_RF_01_an_executor_that_runs_it_at_once)
{
	struct rf f;
	int first;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = S});
	f.x.at_once = true;
	first = rf_first(&f);
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), first);
	CHECK_EQ(rf_get(&f), first + 1);
	CHECK_EQ(f.x.n, 1);
	rf_end(&f, 1);
}

/* The reload's loader asks for its own key: that is present, and no second reload begins. */
static int gets_its_key(struct source *s, int load, void *object, const hapax_key *key)
{
	void *out = NULL;

	(void)object;
	if (load > 1) {
		CHECK_EQ(hapax_cache_get(s->cache, *key, &out), 0);
		CHECK_EQ(((struct item *)out)->id, 1);
		hapax_release(out);
	}
	return GO_ON;
}

TEST(CF_RF_01_a_loader_may_get_what_it_reloads)
{
	struct rf f;

	rf_begin(&f, MADE, (hapax_cache_options){.refresh_ns = S});
	f.t.s.then = gets_its_key;
	rf_first(&f);
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_present(&f), 2);
	CHECK_EQ(waiting(&f.x), 0);
	rf_end(&f, 1);
}

/* ---- failures ------------------------------------------------------------------------------------------------------ */

TEST(CF_RF_02_a_failed_reload_keeps_value_and_deadline)
{
	struct rf f;
	uint64_t deadline;
	hapax_cache_stats s;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = 10 * S, .ttl_ns = 100 * S});
	rf_first(&f);
	deadline = rf_deadline(&f);
	f.t.s.result = HAPAX_LOAD_FAIL;
	fake_clock_advance(10 * S);
	for (unsigned i = 1; i <= 3; i++) {
		CHECK_EQ(rf_get(&f), 1);
		CHECK_EQ(waiting(&f.x), 1);
		CHECK_EQ(rf_get(&f), 1);
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(rf_present(&f), 1);
		CHECK_EQ(rf_deadline(&f), deadline);
		s = stats_of(f.t.cache);
		CHECK_EQ(s.load_failures, i);
		CHECK_EQ(s.refresh_failures, i);
		CHECK_EQ(s.refreshes, i);
	}
	TOLD(&f.t.r, 0, 0, 0, 0, 0, 0);
	f.t.s.result = HAPAX_LOAD_OK;
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_get(&f), 5);
	CHECK_EQ(rf_deadline(&f), fake_clock_now() + 100 * S);
	rf_end(&f, 1);
}

/* What a reload may not install is as a failed one, and told of. */
static int too_heavy(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)ctx;
	*weight = ((struct item *)object)->id == 1 ? 1 : UINT64_C(1) << 62;
	return 0;
}

TEST(CF_RF_02_a_result_that_is_refused_changes_nothing)
{
	struct rf f;

	memset(&f, 0, sizeof f);
	f.t.loose = true;
	tier_begin(&f.t, LOADED, test_env_fake(), (hapax_cache_options){.refresh_ns = S, .max_weight = 10, .weigh = too_heavy,
		   .executor = {tasks_run, &f.x}});
	rf_first(&f);
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_present(&f), 1);
	TOLD(&f.t.r, 1, 0, 0, 0, 0, 0);
	CHECK_EQ(f.t.r.all[0].id, 2);
	CHECK_EQ(f.t.s.destroyed, 1);
	CHECK_EQ(stats_of(f.t.cache).refresh_failures, 1);
	rf_end(&f, 1);
}

static void *leaves(void *arg)
{
	run_tasks(arg);
	return arg;
}

static int vanishes(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)object;
	(void)key;
	if (load == 2)
		pthread_exit(NULL);
	return GO_ON;
}

TEST(CF_RF_02_a_reload_whose_thread_vanishes_has_failed)
{
	for (enum form form = LOADED; form <= MADE; form++) {
		struct rf f;

		rf_begin(&f, form, (hapax_cache_options){.refresh_ns = S});
		f.t.s.then = vanishes;
		rf_first(&f);
		fake_clock_advance(S);
		CHECK_EQ(rf_get(&f), 1);
		CHECK(!test_join(test_thread(leaves, &f.x)));
		CHECK_EQ(rf_present(&f), 1);
		CHECK_EQ(stats_of(f.t.cache).load_abandoned, 1);
		CHECK_EQ(rf_get(&f), 1);
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(rf_get(&f), 3);
		rf_end(&f, 1);
	}
}

/* ---- fencing ------------------------------------------------------------------------------------------------------- */

enum op { PUTS, PUTS_SAME, UPSERTS, REPLACES, COMPUTES, REMOVES, REMOVES_IF, POPS, CLEARS, COMPUTES_NONE, OPS };

struct fence {
	struct rf f;
	enum op op;
	struct item *now; /* present afterwards, owned; NULL: nothing */
	bool in_loader;
};

static int compute_put(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)current;
	(void)key;
	(void)error;
	CHECK_EQ(hapax_retain(arg), 0);
	*object = arg;
	return HAPAX_COMPUTE_PUT;
}

static int compute_none(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)current;
	(void)key;
	(void)object;
	(void)arg;
	(void)error;
	return HAPAX_COMPUTE_REMOVE;
}

static void operate(struct fence *e)
{
	hapax_cache *c = e->f.t.cache;
	hapax_key key = HAPAX_STR("k");
	void *out = NULL;

	switch (e->op) {
	case PUTS:
		e->now = tier_put(&e->f.t, "k");
		break;
	case PUTS_SAME:
		CHECK_EQ(hapax_cache_put(c, key, e->f.held), 0);
		CHECK_EQ(hapax_retain(e->f.held), 0);
		e->now = e->f.held;
		break;
	case UPSERTS:
		e->now = tier_item(&e->f.t);
		CHECK_EQ(hapax_cache_upsert(c, key, e->now, NULL), 0);
		break;
	case REPLACES:
		e->now = tier_item(&e->f.t);
		CHECK_EQ(hapax_cache_replace_if(c, key, e->f.held, e->now), 0);
		break;
	case COMPUTES:
		e->now = tier_item(&e->f.t);
		CHECK_EQ(hapax_cache_compute(c, key, compute_put, e->now, HAPAX_FOREVER, NULL, NULL, NULL), 0);
		break;
	case REMOVES:
		CHECK_EQ(hapax_cache_remove(c, key), 0);
		break;
	case REMOVES_IF:
		CHECK_EQ(hapax_cache_remove_if(c, key, e->f.held), 0);
		break;
	case POPS:
		CHECK_EQ(hapax_cache_pop(c, key, &out), 0);
		hapax_release(out);
		break;
	case CLEARS:
		hapax_cache_clear(c);
		break;
	case COMPUTES_NONE:
		CHECK_EQ(hapax_cache_compute(c, key, compute_none, NULL, HAPAX_FOREVER, NULL, NULL, NULL), 0);
		break;
	default:
		TEST_FAIL("no such operation");
	}
}

static int operates(struct source *s, int load, void *object, const hapax_key *key)
{
	struct fence *e = s->arg;

	(void)object;
	(void)key;
	if (load == 2 && e->in_loader)
		operate(e);
	return GO_ON;
}

static void fence(enum op op, enum form form, bool in_loader, int result)
{
	struct fence e = {.op = op, .in_loader = in_loader};
	struct rf *f = &e.f;
	int told = op == PUTS_SAME ? 0 : 1;
	bool put = op <= COMPUTES;

	rf_begin(f, form, (hapax_cache_options){.refresh_ns = S});
	f->t.s.then = operates;
	f->t.s.arg = &e;
	CHECK_EQ(rf_first(f), 1);
	fake_clock_advance(S);
	CHECK_EQ(rf_get(f), 1);
	if (!in_loader)
		operate(&e);
	f->t.s.result = result;
	CHECK_EQ(run_tasks(&f->x), 1);
	f->t.s.result = HAPAX_LOAD_OK;
	CHECK_EQ(loads_of(&f->t.s), 2);
	CHECK_EQ(rf_present(f), e.now ? e.now->id : 0);
	CHECK_EQ(f->t.r.n, told + (result == HAPAX_LOAD_OK));
	if (told)
		CHECK_STR(told_text(&f->t.r, 0), put ? "k:replaced:1" : "k:explicit:1");
	if (result == HAPAX_LOAD_OK)
		CHECK_STR(told_text(&f->t.r, told), put ? "k:replaced:2" : "k:explicit:2");
	CHECK_EQ(stats_of(f->t.cache).superseded, result == HAPAX_LOAD_OK);
	CHECK_EQ(f->t.s.destroyed, result == HAPAX_LOAD_OK);
	hapax_release(e.now);
	rf_end(f, e.now != NULL);
}

TEST(CF_RF_03_what_is_written_or_removed_meanwhile_discards_the_result)
{
	for (enum op op = 0; op < OPS; op++)
		for (enum form form = LOADED; form <= MADE; form++) {
			fence(op, form, true, HAPAX_LOAD_OK);
			fence(op, form, false, HAPAX_LOAD_OK);
		}
}

TEST(CF_RF_08_no_value_after_a_write_is_dropped_silently)
{
	for (enum op op = 0; op < OPS; op++) {
		fence(op, LOADED, true, HAPAX_LOAD_NOVALUE);
		fence(op, MADE, false, HAPAX_LOAD_NOVALUE);
		fence(op, MADE, true, HAPAX_LOAD_FAIL);
	}
}

/* ---- times ----------------------------------------------------------------------------------------------------------- */

TEST(CF_RF_07_a_rejected_reload_does_not_touch_the_times)
{
	struct rf f;
	uint64_t deadline;

	/* idle time: were it moved by the reload, the cache would hold the object for longer */
	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = 4 * S, .ttl_ns = 100 * S, .retain_idle_ns = 20 * S});
	rf_first(&f);
	deadline = rf_deadline(&f);
	fake_clock_advance(5 * S);
	CHECK_EQ(rf_get(&f), 1);
	hapax_release(f.held);
	f.held = NULL;
	f.t.s.result = HAPAX_LOAD_FAIL;
	fake_clock_advance(10 * S);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_deadline(&f), deadline);
	fake_clock_advance(10 * S - 1);
	CHECK_EQ(rf_present(&f), 1);
	fake_clock_advance(1);
	CHECK_EQ(rf_present(&f), 0);
	tier_settle(&f.t);
	CHECK_EQ(f.t.s.destroyed, 1);
	rf_end(&f, 0);
}

TEST(CF_RF_07_the_same_instance_is_a_write_without_notification)
{
	struct rf f;
	hapax_cache_stats s;

	rf_begin(&f, MADE, (hapax_cache_options){.refresh_ns = 4 * S, .ttl_ns = 10 * S});
	rf_first(&f);
	for (int i = 1; i <= 5; i++) {
		fake_clock_advance(6 * S);
		CHECK_EQ(rf_get(&f), 1);
		CHECK_EQ(hapax_retain(f.held), 0);
		f.t.s.ready[0] = f.held; /* and its id becomes that of the load */
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_PTR(present(f.t.cache, "k"), f.held);
		CHECK_EQ(rf_deadline(&f), fake_clock_now() + 10 * S);
		f.held->id = 1;
	}
	s = stats_of(f.t.cache);
	CHECK_EQ(s.refreshes, 5);
	CHECK_EQ(s.load_successes, 6);
	CHECK_EQ(s.superseded, 0);
	CHECK_EQ(f.t.r.n, 0);
	CHECK_EQ(hapax_count(f.held), 2);
	f.t.loose = true; /* successes that put nothing new in */
	rf_end(&f, 1);
}

TEST(CF_RF_08_no_value_removes_the_entry)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = S});
	rf_first(&f);
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), 1);
	f.t.s.result = HAPAX_LOAD_NOVALUE;
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_present(&f), 0);
	TOLD(&f.t.r, 1, 0, 0, 0, 0, 0);
	CHECK_STR(told_text(&f.t.r, 0), "k:explicit:1");
	CHECK_EQ(stats_of(f.t.cache).load_novalues, 1);
	CHECK_EQ(stats_of(f.t.cache).retained, 0);
	rf_end(&f, 0);
}

static int visit(hapax_cache *c)
{
	hapax_iter *iter = NULL;
	void *object = NULL;
	hapax_key key;
	int n = 0;

	CHECK_EQ(hapax_cache_iterate(c, &iter), 0);
	while (hapax_iter_next(iter, &key, &object) == 0)
		n++;
	hapax_iter_close(iter);
	return n;
}

TEST(CF_RF_10_looking_reloads_nothing)
{
	struct rf f;
	uint64_t deadline;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = S, .ttl_ns = 5 * S, .stale_ns = 5 * S, .early_refresh = 1});
	rf_first(&f);
	for (int i = 0; i < 9; i++) {
		fake_clock_advance(S);
		CHECK_EQ(hapax_cache_contains(f.t.cache, HAPAX_STR("k")), 1);
		CHECK_EQ(hapax_cache_size(f.t.cache), 1);
		CHECK_EQ(rf_present(&f), 1);
		CHECK_EQ(visit(f.t.cache), 1);
		CHECK_EQ(hapax_cache_deadline(f.t.cache, HAPAX_STR("k"), &deadline), 0);
		hapax_cache_maintain(f.t.cache);
		CHECK_EQ(waiting(&f.x), 0);
	}
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(run_tasks(&f.x), 1);
	rf_end(&f, 1);
}

/* ---- the old value expires meanwhile ------------------------------------------------------------------------------------ */

TEST(CF_RF_11_a_result_that_comes_after_the_end_is_not_installed)
{
	for (int what = 0; what < 3; what++) {
		struct rf f;

		rf_begin(&f, what == 1 ? MADE : LOADED, (hapax_cache_options){.refresh_ns = 5 * S, .ttl_ns = 10 * S});
		rf_first(&f);
		fake_clock_advance(9 * S);
		CHECK_EQ(rf_get(&f), 1);
		CHECK_EQ(waiting(&f.x), 1);
		fake_clock_advance(S);
		if (what) { /* somebody comes and loads anew */
			CHECK_EQ(rf_get(&f), 2);
			TOLD(&f.t.r, 0, 0, 0, 1, 0, 0);
		}
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(rf_present(&f), what ? 2 : 0);
		TOLD(&f.t.r, 1, 0, 0, 1, 0, 0);
		CHECK_STR(told_text(&f.t.r, 0), "k:expired:1");
		CHECK_STR(told_text(&f.t.r, 1), what ? "k:explicit:3" : "k:explicit:2");
		CHECK_EQ(rf_get(&f), what ? 2 : 3);
		rf_end(&f, 1);
	}
}
