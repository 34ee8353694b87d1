/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The laws of time, from outside: the last instant and the first one past it for every call, and a model in plain words. */
#include <hapax/async.h>
#include <hapax/compute.h>

#include "unit/reloads.h"

/* ---- the boundary, call by call ---------------------------------------------------------------------------------- */

#define TTL 1000

struct boundary {
	struct rf f;
	int asked;       /* refuse, match, compute: with an object */
	int done, status;
	void *object;
};

static bool refuse_none(void *object, void *arg)
{
	struct boundary *b = arg;

	CHECK(item_is_alive(object));
	b->asked += object == b->f.held;
	return false;
}

static int match_nothing(const hapax_key *key, void *object, void *ctx)
{
	(void)key;
	((struct boundary *)ctx)->asked += object == ((struct boundary *)ctx)->f.held;
	return 0;
}

static int compute_keeps(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)key;
	(void)object;
	(void)error;
	((struct boundary *)arg)->asked += current != NULL;
	return HAPAX_COMPUTE_KEEP;
}

static void is_done(int status, void *object, hapax_load_error *error, void *ctx)
{
	struct boundary *b = ctx;

	(void)error;
	b->done++;
	b->status = status;
	b->object = object;
}

/* Calls that hit at the last instant, and that load past it. */
enum { GET, GET_WITH, GET_MANY, GET_ASYNC, LOOK, QUIETLY, CONTAINS, POP, REMOVE, REMOVE_IF, REPLACE_IF, UPSERT, KEEP, WHERE,
       ITERATE, GET_OR_PUT, TOUCH, SET_TTL, DEADLINE, REFRESH, PUT_OVER, CALLS };

/* Does call `way`; true: it met the old object. Objects it gave are given back. */
static bool meets(struct boundary *b, int way)
{
	hapax_cache *c = b->f.t.cache;
	hapax_key key = HAPAX_STR("k"), found;
	struct item *old = b->f.held, *fresh = NULL;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_none, .refuse_arg = b};
	void *out = NULL, *many[2] = {NULL, NULL};
	int statuses[2], rc;
	hapax_iter *iter = NULL;
	uint64_t deadline;
	bool inserted = false, met = false;

	b->asked = 0;
	switch (way) {
	case GET:
		CHECK_EQ(hapax_cache_get(c, key, &out), HAPAX_OK);
		met = out == old;
		break;
	case GET_WITH:
		CHECK_EQ(hapax_cache_get_with(c, key, &o, &out), HAPAX_OK);
		met = out == old;
		CHECK_EQ(b->asked, met);
		break;
	case GET_MANY:
		CHECK_EQ(hapax_cache_get_many(c, (hapax_key[]){key, key}, 2, many, statuses, NULL), HAPAX_OK);
		CHECK_PTR(many[0], many[1]);
		met = many[0] == old;
		break;
	case GET_ASYNC:
		b->done = 0;
		CHECK_EQ(hapax_cache_get_async(c, key, NULL, is_done, b), HAPAX_OK);
		rc = b->done ? 0 : 1;
		CHECK_EQ(run_tasks(&b->f.x), rc);
		CHECK_EQ(b->done, 1);
		CHECK_EQ(b->status, HAPAX_OK);
		out = b->object;
		met = out == old;
		break;
	case LOOK:
		rc = hapax_cache_get_if_present(c, key, &out);
		met = rc == HAPAX_OK;
		break;
	case QUIETLY:
		rc = hapax_cache_get_quietly(c, key, &out);
		met = rc == HAPAX_OK;
		break;
	case CONTAINS: met = hapax_cache_contains(c, key) == 1; break;
	case POP:
		rc = hapax_cache_pop(c, key, &out);
		met = rc == HAPAX_OK;
		CHECK(met == (out != NULL));
		break;
	case REMOVE: met = hapax_cache_remove(c, key) == HAPAX_OK; break;
	case REMOVE_IF: met = hapax_cache_remove_if(c, key, old) == HAPAX_OK; break;
	case REPLACE_IF:
		fresh = tier_item(&b->f.t);
		met = hapax_cache_replace_if(c, key, old, fresh) == HAPAX_OK;
		break;
	case UPSERT:
		fresh = tier_item(&b->f.t);
		CHECK_EQ(hapax_cache_upsert(c, key, fresh, &out), HAPAX_OK);
		met = out != NULL;
		break;
	case KEEP:
		CHECK_EQ(hapax_cache_compute(c, key, compute_keeps, b, HAPAX_FOREVER, &out, NULL, NULL), HAPAX_OK);
		met = out != NULL;
		CHECK_EQ(b->asked, met);
		break;
	case WHERE:
		CHECK_EQ(hapax_cache_remove_where(c, match_nothing, b, NULL), HAPAX_OK);
		met = b->asked;
		break;
	case ITERATE:
		CHECK_EQ(hapax_cache_iterate(c, &iter), HAPAX_OK);
		met = hapax_iter_next(iter, &found, &out) == HAPAX_OK;
		CHECK(!met || out == old);
		out = NULL;
		hapax_iter_close(iter);
		break;
	case GET_OR_PUT:
		fresh = tier_item(&b->f.t);
		CHECK_EQ(hapax_cache_get_or_put(c, key, fresh, &out, &inserted), HAPAX_OK);
		met = out == old;
		CHECK(met == !inserted);
		break;
	case TOUCH: met = hapax_cache_touch(c, key) == HAPAX_OK; break;
	case SET_TTL: met = hapax_cache_set_ttl(c, key, INT64_MAX) == HAPAX_OK; break;
	case DEADLINE: met = hapax_cache_deadline(c, key, &deadline) == HAPAX_OK; break;
	case REFRESH:
		CHECK_EQ(hapax_cache_refresh(c, key), HAPAX_OK);
		CHECK_EQ(rf_present(&b->f) == old->id, fake_clock_now() - HAPAX_SECOND < TTL);
		CHECK_EQ(run_tasks(&b->f.x), 1);
		met = b->f.t.r.by_cause[HAPAX_CAUSE_REPLACED] == 1;
		break;
	default:
		fresh = tier_item(&b->f.t);
		CHECK_EQ(hapax_cache_put(c, key, fresh), HAPAX_OK);
		met = b->f.t.r.by_cause[HAPAX_CAUSE_REPLACED] == 1;
		break;
	}
	if (out && met)
		CHECK_PTR(out, old);
	hapax_release(many[0]);
	hapax_release(many[1]);
	hapax_release(out);
	hapax_release(fresh);
	return met;
}

TEST(CF_EX_02_CF_EX_03_the_last_instant_and_the_next_for_every_call)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		for (int way = 0; way < CALLS; way++) {
			for (int past = 0; past < 2; past++) {
				struct boundary b = {0};
				hapax_cache_stats s;
				int id;

				fake_clock_set(HAPAX_SECOND);
				rf_begin(&b.f, form, (hapax_cache_options){.ttl_ns = TTL});
				id = rf_first(&b.f);
				fake_clock_advance(TTL - 1 + past);
				if (meets(&b, way) != !past)
					TEST_FAIL("form %d, call %d, %s: %d", form, way, past ? "past the end" : "before it", !!past);
				/* past the end it left with EXPIRED, once, whatever the call did; at the latest now */
				tier_settle(&b.f.t);
				s = stats_of(b.f.t.cache);
				CHECK_EQ(b.f.t.r.by_cause[HAPAX_CAUSE_EXPIRED], past);
				CHECK_EQ(s.expirations, past);
				CHECK_EQ(s.evictions, past);
				CHECK_EQ(s.removals, !past && (way == POP || way == REMOVE || way == REMOVE_IF));
				if (past) {
					CHECK_EQ(b.f.t.r.all[0].id, id);
					CHECK_EQ(b.f.t.r.n, 1);
					CHECK_EQ(s.replacements, 0);
				}
				CHECK_EQ(hapax_count(b.f.held), 1 + (rf_present(&b.f) == id));
				rf_end(&b.f, hapax_cache_size(b.f.t.cache));
			}
		}
	}
}

/* ---- extremes ------------------------------------------------------------------------------------------------------ */

TEST(CF_EX_05_one_nanosecond_and_all_of_time)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		struct tier t = {0};
		uint64_t deadline = 0, century = UINT64_C(100) * 366 * 86400 * HAPAX_SECOND;
		struct item *it;
		int id;

		fake_clock_set(HAPAX_SECOND);
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = 1});
		id = tier_fill(&t, "a");
		CHECK_EQ(tier_hit(&t, "a"), id);
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("a"), &deadline), HAPAX_OK);
		CHECK_EQ(deadline, HAPAX_SECOND + 1);
		fake_clock_advance(1);
		CHECK(!present(t.cache, "a"));
		id = tier_fill(&t, "a");
		CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("a"), INT64_MAX), HAPAX_OK);
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("a"), &deadline), HAPAX_OK);
		CHECK_EQ(deadline, HAPAX_FOREVER);
		for (int i = 0; i < 5; i++) { /* five centuries */
			fake_clock_advance(century);
			CHECK(!hapax_cache_maintain(t.cache));
			CHECK_EQ(tier_hit(&t, "a"), id);
			CHECK_EQ(hapax_cache_next_deadline(t.cache), HAPAX_FOREVER);
		}
		fake_clock_set(UINT64_MAX - 1); /* the end of the clock */
		CHECK_EQ(tier_hit(&t, "a"), id);
		it = tier_put(&t, "b");
		CHECK_PTR(present(t.cache, "b"), it);
		hapax_release(it);
		tier_settle(&t);
		/* and back to where it began: nothing that is valid is lost, nothing that left comes back */
		fake_clock_set(HAPAX_SECOND);
		CHECK_EQ(tier_hit(&t, "a"), id);
		fake_clock_set(0);
		CHECK_EQ(tier_hit(&t, "a"), id);
		fake_clock_set(HAPAX_SECOND);
		tier_settle(&t);
		tier_end(&t, hapax_cache_size(t.cache));
	}
}

TEST(CF_EX_01_a_step_back_neither_ends_nor_prolongs_anything)
{
	struct tier t = {0};
	uint64_t deadline;
	int a, b;

	fake_clock_set(100 * S);
	tier_begin(&t, LOADED, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = 10 * (int64_t)S,
			   .retain_idle_ns = 1000 * (int64_t)S});
	a = tier_fill(&t, "a");
	fake_clock_set(50 * S);
	b = tier_fill(&t, "b");
	CHECK_EQ(tier_hit(&t, "a"), a);
	CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("a"), &deadline), HAPAX_OK);
	CHECK_EQ(deadline, 110 * S);
	CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("b"), &deadline), HAPAX_OK);
	CHECK_EQ(deadline, 60 * S);
	CHECK(hapax_cache_next_deadline(t.cache) <= 60 * S + S / 2);
	fake_clock_set(60 * S - 1);
	tier_settle(&t);
	CHECK_EQ(tier_hit(&t, "b"), b);
	fake_clock_set(60 * S);
	tier_settle(&t);
	TOLD(&t.r, 0, 0, 0, 1, 0, 0);
	CHECK(!present(t.cache, "b"));
	fake_clock_set(110 * S - 1);
	tier_settle(&t);
	CHECK_EQ(tier_hit(&t, "a"), a);
	fake_clock_set(110 * S);
	tier_settle(&t);
	TOLD(&t.r, 0, 0, 0, 2, 0, 0);
	fake_clock_set(0); /* what has left has left */
	CHECK(!present(t.cache, "a"));
	CHECK(!present(t.cache, "b"));
	tier_end(&t, 0);
}

/* ---- ttl, stale, negative and bound in one cache ------------------------------------------------------------------- */

TEST(CF_EX_05_CF_LD_22_ttl_stale_negative_and_bound_together)
{
	for (enum form form = LOADED; form < PUT; form++) {
		struct rf f;
		hapax_cache_stats s;
		void *out = NULL;
		int a;

		fake_clock_set(100 * S);
		rf_begin(&f, form, (hapax_cache_options){.max_entries = 2, .policy = hapax_policy_lru(), .ttl_ns = 10 * (int64_t)S,
				   .stale_ns = 5 * (int64_t)S, .negative_ttl_ns = 3 * (int64_t)S});
		f.t.loose = true;
		a = rf_first(&f);
		f.t.s.result = HAPAX_LOAD_NOVALUE;
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("n"), &out), HAPAX_NOVALUE);
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("n"), &out), HAPAX_NEGATIVE);
		s = stats_of(f.t.cache);
		CHECK_EQ(s.retained, 2); /* the negative one counts as one object */
		CHECK_EQ(s.size_now, 1); /* and not in the size */
		CHECK_EQ(s.negative_hits, 1);
		CHECK_EQ(s.hits, 1);
		fake_clock_advance(3 * S - 1);
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("n"), &out), HAPAX_NEGATIVE);
		fake_clock_advance(1);
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("n"), &out), HAPAX_NOVALUE);
		CHECK_EQ(loads_of(&f.t.s), 3);
		/* "k" is the older one, and in use: it is let go of and found */
		f.t.s.result = HAPAX_LOAD_OK;
		hapax_release(got(f.t.cache, "b"));
		CHECK_EQ(stats_of(f.t.cache).retained, 2);
		CHECK_EQ(rf_present(&f), a);
		CHECK_EQ(rf_get(&f), a); /* back, and the negative result is the oldest: it goes */
		CHECK_EQ(stats_of(f.t.cache).readmissions, 1);
		CHECK_EQ(stats_of(f.t.cache).retained, 2);
		/* past its time it is handed out still, and its reload finds that there is nothing any more */
		fake_clock_set(110 * S);
		CHECK_EQ(rf_get(&f), a);
		CHECK_EQ(waiting(&f.x), 1);
		f.t.s.result = HAPAX_LOAD_NOVALUE;
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(rf_present(&f), 0);
		CHECK(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out) > HAPAX_MISS);
		CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out), HAPAX_NEGATIVE);
		CHECK_EQ(waiting(&f.x), 0);
		CHECK_EQ(stats_of(f.t.cache).stale_hits, 1);
		fake_clock_advance(3 * S); /* "b" has 0 seconds of its 13 left: 103 + 10 */
		f.t.s.result = HAPAX_LOAD_OK;
		out = got(f.t.cache, "b"); /* stale: the same */
		CHECK_EQ(((struct item *)out)->id, 4);
		hapax_release(out);
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK(rf_get(&f) > 4); /* the negative time of "k" is over: a new load */
		tier_settle(&f.t);
		CHECK_EQ(hapax_cache_size(f.t.cache), 2);
		rf_end(&f, 2);
	}
}

/* ---- jitter ---------------------------------------------------------------------------------------------------------- */

enum { DRAWS = 4000, PARTS = 10 };

static void draw(uint64_t seed, uint64_t *out)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .seed = seed};
	struct tier t = {.silent = true};
	uint64_t now;

	fake_clock_set(HAPAX_SECOND);
	fake_clock_env(&eo);
	tier_begin(&t, PUT, test_env_options(&eo), (hapax_cache_options){.max_entries = DRAWS, .ttl_ns = 1000000, .ttl_jitter = 0.25});
	now = fake_clock_now();
	for (int i = 0; i < DRAWS; i++) {
		tier_fill(&t, k(i));
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR(k(i)), &out[i]), HAPAX_OK);
		out[i] -= now;
		CHECK(out[i] >= 750000 && out[i] <= 1000000);
	}
	tier_end(&t, DRAWS);
}

TEST(CF_EX_16_jitter_is_even_and_comes_from_the_seed)
{
	static uint64_t a[DRAWS], b[DRAWS], c[DRAWS];
	int parts[PARTS] = {0}, same = 0, steps = 0;

	draw(77, a);
	draw(77, b);
	draw(78, c);
	CHECK(!memcmp(a, b, sizeof(a)));
	for (int i = 0; i < DRAWS; i++) {
		parts[a[i] == 1000000 ? PARTS - 1 : (a[i] - 750000) / (250000 / PARTS)]++;
		same += a[i] == c[i];
		steps += i && a[i] > a[i - 1];
	}
	CHECK(same < 10);
	for (int i = 0; i < PARTS; i++) /* 400 expected, deviation 19 */
		if (parts[i] < 400 - 110 || parts[i] > 400 + 110)
			TEST_FAIL("part %d of %d: %d", i, PARTS, parts[i]);
	CHECK(steps > DRAWS / 2 - 200 && steps < DRAWS / 2 + 200); /* one says nothing about the next */
}

/* ---- a model -------------------------------------------------------------------------------------------------------- */

enum { NAMES = 6 };

struct known {
	bool in;
	int id;
	uint64_t written, used, deadline;
	struct item *held; /* the test's reference, if any */
};

struct model {
	struct tier t;
	struct known k[NAMES];
	uint64_t age, idle, ttl;
	uint64_t now;
};

static bool modelled(const struct model *m, const struct known *e)
{
	if (!e->in || m->now >= e->deadline)
		return false;
	if (e->held && e->held->id == e->id)
		return true;
	return (!m->age || m->now - e->written < m->age) && (!m->idle || m->now - e->used < m->idle) && (m->age || m->idle);
}

static void wrote(struct model *m, struct known *e, int id, uint64_t ttl)
{
	e->in = true;
	e->id = id;
	e->written = e->used = m->now;
	e->deadline = ttl ? m->now + ttl : HAPAX_FOREVER;
}

static void model_step(struct model *m, uint64_t *rng)
{
	int i = (int)test_below(rng, NAMES), loads = loads_of(&m->t.s);
	const char *name = k(i);
	hapax_key key = HAPAX_STR(name);
	struct known *e = &m->k[i];
	bool in = modelled(m, e);
	hapax_put_options po = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = (int64_t)(1 + test_below(rng, 60))};
	struct item *it;
	void *out = NULL;
	uint64_t deadline;
	bool inserted;

	if (!in)
		e->in = false; /* nothing revives it */
	switch (test_below(rng, 13)) {
	case 0:
	case 1:
		fake_clock_advance(test_below(rng, 12));
		m->now = fake_clock_now();
		return;
	case 2:
		it = tier_put(&m->t, name);
		wrote(m, e, it->id, m->ttl);
		hapax_release(it);
		break;
	case 3:
		it = tier_item(&m->t);
		CHECK_EQ(hapax_cache_put_with(m->t.cache, key, it, &po), HAPAX_OK);
		wrote(m, e, it->id, (uint64_t)po.ttl_ns);
		hapax_release(it);
		break;
	case 4:
		CHECK_EQ(hapax_cache_remove(m->t.cache, key), in ? HAPAX_OK : HAPAX_MISS);
		e->in = false;
		break;
	case 5: /* an object given up: what its entry's time has left says whether it stays */
		hapax_release(e->held);
		e->held = NULL;
		break;
	case 6:
		CHECK_EQ(hapax_cache_set_ttl(m->t.cache, key, po.ttl_ns), in ? HAPAX_OK : HAPAX_MISS);
		if (in)
			e->deadline = m->now + (uint64_t)po.ttl_ns;
		break;
	case 7:
		CHECK_EQ(hapax_cache_contains(m->t.cache, key), in);
		CHECK_EQ(hapax_cache_deadline(m->t.cache, key, &deadline), in ? HAPAX_OK : HAPAX_MISS);
		if (in)
			CHECK_EQ(deadline, e->deadline);
		CHECK_EQ(hapax_cache_get_quietly(m->t.cache, key, &out), in ? HAPAX_OK : HAPAX_MISS);
		if (in)
			CHECK_EQ(((struct item *)out)->id, e->id);
		hapax_release(out);
		break;
	case 8:
		(void)hapax_cache_maintain(m->t.cache);
		break;
	case 9:
		it = tier_item(&m->t);
		CHECK_EQ(hapax_cache_get_or_put(m->t.cache, key, it, &out, &inserted), HAPAX_OK);
		CHECK(inserted == !in);
		if (in)
			e->used = m->now;
		else
			wrote(m, e, it->id, m->ttl);
		hapax_release(it);
		CHECK_EQ(((struct item *)out)->id, e->id);
		hapax_release(out);
		break;
	default: /* gets, some of which are kept */
		it = got(m->t.cache, name);
		if (loads_of(&m->t.s) - loads != !in)
			TEST_FAIL("key %d: %s, and the model says %s", i, in ? "loaded" : "not loaded", in ? "present" : "absent");
		if (in) {
			CHECK_EQ(it->id, e->id);
			e->used = m->now;
		} else {
			wrote(m, e, it->id, m->ttl);
		}
		if (test_below(rng, 3)) {
			hapax_release(it);
		} else {
			hapax_release(e->held);
			e->held = it;
		}
		break;
	}
	if (e->in && !modelled(m, e))
		e->in = false;
}

TEST(G4_CF_EX_04_age_idle_time_and_ttl_against_a_model)
{
	static const int64_t times[][3] = {{40, 0, 0}, {0, 25, 0}, {40, 25, 0}, {40, 0, 30}, {0, 25, 50}, {40, 25, 60}, {25, 60, 40}};
	uint64_t rng = test_stream(1);

	for (enum form form = LOADED; form < FORMS; form++) {
		for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
			struct model m = {.age = (uint64_t)times[i][0], .idle = (uint64_t)times[i][1], .ttl = (uint64_t)times[i][2]};
			size_t size = 0;

			fake_clock_set(HAPAX_SECOND);
			m.now = HAPAX_SECOND;
			tier_begin(&m.t, form, test_env_fake(), (hapax_cache_options){.retain_age_ns = times[i][0],
					   .retain_idle_ns = times[i][1], .ttl_ns = times[i][2]});
			for (uint64_t n = scaled(3000); n > 0; n--)
				model_step(&m, &rng);
			tier_settle(&m.t);
			for (int j = 0; j < NAMES; j++)
				size += modelled(&m, &m.k[j]);
			tier_check(&m.t, size);
			for (int j = 0; j < NAMES; j++)
				hapax_release(m.k[j].held);
			tier_settle(&m.t);
			tier_end(&m.t, hapax_cache_size(m.t.cache));
		}
	}
}
