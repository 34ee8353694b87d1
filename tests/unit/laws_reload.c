/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The laws of reloads, from outside: everything that can come between, at each moment, with each answer; back-off. */
#include <hapax/async.h>
#include <hapax/compute.h>

#include "unit/reloads.h"

/* ---- what comes between ---------------------------------------------------------------------------------------------- */

enum between { NOTHING, PUT_OTHER, PUT_SAME, REMOVE, POP, REMOVE_IF, CLEAR, COMPUTE_PUT, COMPUTE_REMOVE, COMPUTE_KEEP, UPSERT,
	       REPLACE_IF, REPLACE_IF_NOT, END, SHORTEN, EVICT, LOOK, REMOVE_AND_LOAD, CLOSE, BETWEEN };
static const char *const names[BETWEEN] = {"nothing", "put", "put of the same", "remove", "pop", "remove_if", "clear",
	"compute: put", "compute: remove", "compute: keep", "upsert", "replace_if", "replace_if of another", "the end of its time",
	"set_ttl zero", "eviction", "looks", "remove and load", "close"};

struct between_them {
	struct rf f;
	enum between what;
	int reload;      /* the number of its load */
	struct item *put;
	int expected;    /* the id that is to be present afterwards, if the reload's result is discarded; 0: nothing */
};

static int computes(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct between_them *b = arg;

	(void)current;
	(void)key;
	(void)error;
	if (b->what == COMPUTE_KEEP)
		return HAPAX_COMPUTE_KEEP;
	if (b->what == COMPUTE_REMOVE)
		return HAPAX_COMPUTE_REMOVE;
	b->put = tier_item(&b->f.t);
	CHECK_EQ(hapax_retain(b->put), HAPAX_OK);
	*object = b->put;
	return HAPAX_COMPUTE_PUT;
}

static void come_between(struct between_them *b)
{
	hapax_cache *c = b->f.t.cache;
	hapax_key key = HAPAX_STR("k");
	struct item *old = b->f.held, *it;
	void *out = NULL;

	b->expected = 0;
	switch (b->what) {
	case PUT_OTHER: b->put = tier_put(&b->f.t, "k"); break;
	case PUT_SAME:
		CHECK_EQ(hapax_cache_put(c, key, old), HAPAX_OK);
		b->expected = old->id;
		break;
	case REMOVE: CHECK_EQ(hapax_cache_remove(c, key), HAPAX_OK); break;
	case POP: CHECK_EQ(hapax_cache_pop(c, key, &out), HAPAX_OK); break;
	case REMOVE_IF: CHECK_EQ(hapax_cache_remove_if(c, key, old), HAPAX_OK); break;
	case CLEAR: hapax_cache_clear(c); break;
	case COMPUTE_PUT:
	case COMPUTE_REMOVE:
	case COMPUTE_KEEP: CHECK_EQ(hapax_cache_compute(c, key, computes, b, HAPAX_FOREVER, NULL, NULL, NULL), HAPAX_OK); break;
	case UPSERT:
		b->put = tier_item(&b->f.t);
		CHECK_EQ(hapax_cache_upsert(c, key, b->put, &out), HAPAX_OK);
		CHECK_PTR(out, old);
		break;
	case REPLACE_IF:
		b->put = tier_item(&b->f.t);
		CHECK_EQ(hapax_cache_replace_if(c, key, old, b->put), HAPAX_OK);
		break;
	case REPLACE_IF_NOT:
		it = tier_item(&b->f.t);
		CHECK_EQ(hapax_cache_replace_if(c, key, it, it), HAPAX_MISS);
		CHECK_EQ(hapax_cache_remove_if(c, key, it), HAPAX_MISS);
		hapax_release(it);
		break;
	case END: fake_clock_advance(1000); break;
	case SHORTEN: CHECK_EQ(hapax_cache_set_ttl(c, key, HAPAX_ZERO), HAPAX_OK); break;
	case EVICT: CHECK_EQ(hapax_cache_set_bound(c, HAPAX_ZERO), HAPAX_OK); break;
	case LOOK:
		CHECK_EQ(hapax_cache_contains(c, key), 1);
		CHECK_EQ(rf_present(&b->f), old->id);
		CHECK_EQ(rf_get(&b->f), old->id);
		break;
	case REMOVE_AND_LOAD:
		CHECK_EQ(hapax_cache_remove(c, key), HAPAX_OK);
		b->put = tier_put(&b->f.t, "k");
		hapax_release(b->put);
		CHECK_EQ(hapax_cache_remove(c, key), HAPAX_OK);
		b->put = tier_put(&b->f.t, "k");
		break;
	case CLOSE: hapax_cache_close(c); break;
	default: break;
	}
	hapax_release(out);
	if (b->put)
		b->expected = b->put->id;
}

static int in_the_loader(struct source *s, int load, void *object, const hapax_key *key)
{
	struct between_them *b = s->arg;

	(void)object;
	(void)key;
	if (load == b->reload)
		come_between(b);
	return GO_ON;
}

static size_t told_id(struct removals *r, int id, hapax_cause *cause)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		if (r->all[i].id == id) {
			n++;
			*cause = r->all[i].cause;
		}
	return n;
}

static void check_between(struct between_them *b, int id, int result, bool queued)
{
	enum between w = b->what;
	bool harmless = w == NOTHING || w == COMPUTE_KEEP || w == REPLACE_IF_NOT || w == EVICT || w == LOOK;
	bool ran = loads_of(&b->f.t.s) >= b->reload, ok = ran && result == HAPAX_LOAD_OK, closed = w == CLOSE;
	int fresh = b->reload, now = rf_present(&b->f), expected = b->expected;
	hapax_cause cause = HAPAX_CAUSE_CLOSED;

	if (harmless)
		expected = result == HAPAX_LOAD_OK ? (w == EVICT ? 0 : fresh) : result == HAPAX_LOAD_FAIL ? id : 0;
	CHECK(ran || queued);
	if (closed)
		return;
	if (now != expected)
		TEST_FAIL("%s: %d is present instead of %d", names[w], now, expected);
	if (ok && !harmless) { /* produced and never installed */
		bool by_put = b->put || w == PUT_SAME;

		if (told_id(&b->f.t.r, fresh, &cause) != 1)
			TEST_FAIL("%s: the discarded value was told of %zu times", names[w], told_id(&b->f.t.r, fresh, &cause));
		/* after remove, put, remove, put it was the first of them that discarded it */
		if (w != REMOVE_AND_LOAD)
			CHECK_EQ(cause, by_put ? HAPAX_CAUSE_REPLACED : HAPAX_CAUSE_EXPLICIT);
	} else if (ok && w == EVICT) { /* installed where there is no room, and nobody uses it */
		CHECK_EQ(told_id(&b->f.t.r, fresh, &cause), 1);
		CHECK_EQ(cause, HAPAX_CAUSE_SIZE);
	} else {
		CHECK_EQ(told_id(&b->f.t.r, fresh, &cause), 0);
	}
	/* the old one, which the test holds */
	if (now == id) {
		CHECK_EQ(told_id(&b->f.t.r, id, &cause), 0);
	} else {
		hapax_cause expect = w == END || w == SHORTEN ? HAPAX_CAUSE_EXPIRED :
				     harmless ? (result == HAPAX_LOAD_OK ? HAPAX_CAUSE_REPLACED : HAPAX_CAUSE_EXPLICIT) :
				     b->put && w != REMOVE_AND_LOAD ? HAPAX_CAUSE_REPLACED : HAPAX_CAUSE_EXPLICIT;

		tier_settle(&b->f.t);
		CHECK_EQ(told_id(&b->f.t.r, id, &cause), 1);
		if (cause != expect)
			TEST_FAIL("%s, result %d: the old value left with %d instead of %d", names[w], result, cause, expect);
	}
}

TEST(CF_RF_03_CF_RF_11_whatever_comes_between_at_any_moment)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		for (int result = HAPAX_LOAD_OK; result <= HAPAX_LOAD_FAIL; result++) {
			for (enum between what = 0; what < BETWEEN; what++) {
				for (int queued = 0; queued < 2; queued++) {
					struct between_them b = {0};
					size_t size;
					int id;

					fake_clock_set(HAPAX_SECOND);
					rf_begin(&b.f, form, (hapax_cache_options){.ttl_ns = 1000, .refresh_ns = 10});
					b.what = what;
					id = rf_first(&b.f);
					b.reload = loads_of(&b.f.t.s) + 1;
					fake_clock_advance(10);
					CHECK_EQ(rf_get(&b.f), id);
					CHECK_EQ(waiting(&b.f.x), 1);
					b.f.t.s.result = result;
					if (queued) {
						come_between(&b);
					} else {
						b.f.t.s.then = in_the_loader;
						b.f.t.s.arg = &b;
					}
					CHECK_EQ(run_tasks(&b.f.x), 1);
					b.f.t.s.then = NULL;
					check_between(&b, id, result, queued);
					hapax_release(b.put);
					b.f.t.loose = what == CLOSE;
					tier_settle(&b.f.t);
					size = what == EVICT ? 0 : hapax_cache_size(b.f.t.cache); /* the test holds the old one only */
					if (what == CLOSE) {
						hapax_release(b.f.held);
						b.f.t.r.cache = NULL;
						hapax_cache_destroy(b.f.t.cache);
						tier_gone(&b.f.t);
					} else {
						rf_end(&b.f, size);
					}
				}
			}
		}
	}
}

/* ---- back-off --------------------------------------------------------------------------------------------------------- */

static void is_done(int status, void *object, hapax_load_error *error, void *ctx)
{
	CHECK(!object);
	CHECK_EQ(status, HAPAX_ELOADER);
	*(int *)ctx = error->code;
	hapax_load_error_drop(error);
}

/* The code that each way to ask gives; 0 if it loaded. */
static void asked_every_way(struct rf *f, int code)
{
	hapax_key key = HAPAX_STR("k");
	hapax_load_error error = {.code = 0};
	struct source other = {0};
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
	hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT, .error = &error};
	hapax_get_options own = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error, .make = source_make, .arg = &other};
	int loads = loads_of(&f->t.s), statuses[2], seen = 0;
	void *out = NULL, *many[2];

	other.env = f->t.env;
	CHECK_EQ(hapax_cache_get(f->t.cache, key, &out), HAPAX_ELOADER);
	CHECK_EQ(hapax_cache_get_with(f->t.cache, key, &o, &out), HAPAX_ELOADER);
	CHECK_EQ(error.code, code);
	hapax_load_error_drop(&error);
	CHECK_EQ(hapax_cache_get_with(f->t.cache, key, &try, &out), HAPAX_ELOADER);
	CHECK_EQ(error.code, code);
	hapax_load_error_drop(&error);
	CHECK_EQ(hapax_cache_get_with(f->t.cache, key, &own, &out), HAPAX_ELOADER);
	CHECK_EQ(error.code, code);
	CHECK_EQ(other.loads, 0); /* no other load of the key */
	hapax_load_error_drop(&error);
	CHECK_EQ(hapax_cache_get_many(f->t.cache, (hapax_key[]){key, key}, 2, many, statuses, NULL), HAPAX_OK);
	CHECK_EQ(statuses[0], HAPAX_ELOADER);
	CHECK_EQ(statuses[1], HAPAX_ELOADER);
	CHECK(!many[0] && !many[1]);
	CHECK_EQ(hapax_cache_get_async(f->t.cache, key, NULL, is_done, &seen), HAPAX_OK);
	CHECK_EQ(run_tasks(&f->x), 0);
	CHECK_EQ(seen, code);
	CHECK_EQ(hapax_cache_refresh(f->t.cache, key), HAPAX_ELOADER);
	CHECK_EQ(hapax_cache_contains(f->t.cache, key), 0);
	CHECK_EQ(loads_of(&f->t.s), loads);
}

TEST(CF_LD_02_back_off_holds_for_every_way_to_ask)
{
	for (enum form form = LOADED; form < PUT; form++) {
		struct rf f;
		void *out = NULL;

		rf_begin(&f, form, (hapax_cache_options){.backoff_ns = 100, .backoff_max_ns = 250, .max_entries = 2});
		f.t.s.result = HAPAX_LOAD_FAIL;
		for (int i = 0; i < 5; i++) {
			uint64_t wait = i == 0 ? 100 : i == 1 ? 200 : 250;

			f.t.s.code = i == 2 ? 0 : INT32_MIN + i;
			CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out), HAPAX_ELOADER);
			CHECK_EQ(loads_of(&f.t.s), i + 1);
			asked_every_way(&f, f.t.s.code);
			fake_clock_advance(wait - 1);
			asked_every_way(&f, f.t.s.code);
			fake_clock_advance(1);
		}
		/* "no value" is no failure to be waited for, a success ends the row, other keys were never concerned */
		f.t.s.result = HAPAX_LOAD_NOVALUE;
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out), HAPAX_NOVALUE);
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out), HAPAX_NOVALUE);
		CHECK_EQ(loads_of(&f.t.s), 7);
		f.t.s.result = HAPAX_LOAD_OK;
		hapax_release(got(f.t.cache, "k"));
		CHECK_EQ(stats_of(f.t.cache).loads, 8);
		CHECK_EQ(stats_of(f.t.cache).load_failures, 7);
		rf_end(&f, 1);
	}
}

/* ---- stale on error, with back-off and a bound ------------------------------------------------------------------------ */

TEST(CF_RF_02_a_stale_value_during_the_back_off)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		struct rf f;
		void *out = NULL;
		hapax_cache_stats s;
		int id, loads;

		rf_begin(&f, form, (hapax_cache_options){.max_entries = 1, .ttl_ns = 1000, .stale_error_ns = 500, .backoff_ns = 100});
		id = rf_first(&f);
		hapax_release(f.held); /* the cache alone holds it */
		f.held = NULL;
		loads = loads_of(&f.t.s);
		f.t.s.result = HAPAX_LOAD_FAIL;
		f.t.s.code = 5;
		fake_clock_advance(1000);
		CHECK_EQ(rf_get(&f), id); /* failed: the old one */
		CHECK_EQ(loads_of(&f.t.s), loads + 1);
		fake_clock_advance(99);
		for (int i = 0; i < 10; i++)
			CHECK_EQ(rf_get(&f), id); /* not tried again */
		CHECK_EQ(loads_of(&f.t.s), loads + 1);
		fake_clock_advance(1);
		CHECK_EQ(rf_get(&f), id);
		CHECK_EQ(loads_of(&f.t.s), loads + 2);
		s = stats_of(f.t.cache);
		CHECK_EQ(s.stale_hits, 12);
		CHECK_EQ(s.load_failures, 2);
		fake_clock_advance(400 - 1); /* the last instant of its stale time */
		CHECK_EQ(rf_get(&f), id);
		fake_clock_advance(1);
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out), HAPAX_ELOADER);
		TOLD(&f.t.r, 0, 0, 0, 1, 0, 0);
		CHECK_EQ(f.t.r.all[0].id, id);
		CHECK_EQ(stats_of(f.t.cache).retained, 0);
		rf_end(&f, 0);
	}
}

/* ---- an executor that is slow, and the cache's end --------------------------------------------------------------------- */

static void closed(int status, void *object, hapax_load_error *error, void *ctx)
{
	CHECK(!object);
	CHECK(!error->code);
	CHECK_EQ(status, HAPAX_ECLOSED);
	__atomic_fetch_add((int *)ctx, 1, __ATOMIC_RELAXED);
}

TEST(CX_WT_10_L_12_gets_and_reloads_that_wait_when_the_cache_ends)
{
	for (enum form form = LOADED; form < PUT; form++) {
		for (int destroy = 0; destroy < 2; destroy++) {
			struct rf f;
			int done = 0, loads;

			rf_begin(&f, form, (hapax_cache_options){.refresh_ns = 10});
			rf_first(&f);
			fake_clock_advance(10);
			rf_get(&f); /* one reload waits */
			for (int i = 0; i < 10; i++)
				CHECK_EQ(hapax_cache_get_async(f.t.cache, HAPAX_STR(k(i / 2)), NULL, closed, &done), HAPAX_OK);
			CHECK_EQ(waiting(&f.x), 6); /* one for each key */
			loads = loads_of(&f.t.s);
			hapax_cache_close(f.t.cache);
			CHECK_EQ(done, 10);
			if (destroy) {
				tier_close(&f.t, 1);
				f.t.cache = NULL;
			}
			CHECK_EQ(run_tasks(&f.x), 6); /* nothing to do any more */
			CHECK_EQ(loads_of(&f.t.s), loads);
			CHECK_EQ(done, 10);
			hapax_release(f.held);
			if (!destroy)
				tier_close(&f.t, 1);
			tier_gone(&f.t);
		}
	}
}
