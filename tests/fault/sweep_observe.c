/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at a process without memory. Figures are gathered in memory of the default environment, whatever they are of. */
#include "fault/sweep.h"
#include "support/wrap.h"

static int count_bytes(const char *text, size_t n, void *ctx)
{
	(void)text;
	*(size_t *)ctx += n;
	return 0;
}

static int metrics(struct world *w)
{
	w->size = 0;
	return hapax_metrics_write(HAPAX_METRICS_JSON, count_bytes, &w->size);
}

static void written(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->size > 3 * 800); /* three caches */
}

SWEEP(hapax_metrics_write, of_the_world, .call = metrics, .done = written)

/* One allocation after the other fails, until none is left to fail. */
TEST(without_memory_nothing_is_written)
{
	struct world w;
	size_t n = 0;
	int rc;

	world_begin(&w);
	do {
		size_t written = 0;

		n++;
		wrap_fail(WRAP_MALLOC, n, n + 1, ENOMEM);
		rc = hapax_metrics_write(HAPAX_METRICS_JSON, count_bytes, &written);
		CHECK_EQ(rc, wrap_failed(WRAP_MALLOC) ? HAPAX_ENOMEM : HAPAX_OK);
		CHECK_EQ(written == 0, rc != 0);
		wrap_off();
	} while (rc);
	CHECK(n > 3); /* environments, types, caches: each failed once */
	world_end(&w);
}

static int enable(struct world *w)
{
	(void)w;
	return hapax_segment_enable(true);
}

static void enabled(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
}

SWEEP(hapax_segment_enable, once, .call = enable, .done = enabled)

static void count_flights(const hapax_flight *flight, void *ctx)
{
	CHECK_EQ(flight->key.size, 1);
	++*(int *)ctx;
}

static int flights(struct world *w)
{
	w->result = hapax_cache_flights(w->cache, count_flights, &w->result);
	return w->result < 0 ? w->result : 0;
}

static void no_flights(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->result, 0);
}

SWEEP(hapax_cache_flights, at_rest, .call = flights, .done = no_flights)

/* Inside a load there is one. */
static int look_in_loader(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct world *w = arg;
	int told = 0, rc;

	(void)object, (void)key, (void)error;
	wrap_fail(WRAP_MALLOC, 1, 2, ENOMEM);
	CHECK_EQ(hapax_cache_flights(w->cache, count_flights, &told), HAPAX_ENOMEM);
	CHECK_EQ(wrap_failed(WRAP_MALLOC), 1);
	wrap_off();
	CHECK_EQ(told, 0);
	rc = hapax_cache_flights(w->cache, count_flights, &told);
	CHECK_EQ(rc, 1);
	CHECK_EQ(told, 1);
	return HAPAX_LOAD_NOVALUE;
}

TEST(without_memory_no_flight_is_told_of)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .load = look_in_loader};
	struct world w;
	void *out;

	world_begin(&w);
	o.arg = &w;
	CHECK_EQ(hapax_cache_get_with(w.cache, KEY("z"), &o, &out), HAPAX_NOVALUE);
	world_end(&w);
}

static void count_keys(const hapax_hot_key *key, void *ctx)
{
	struct world *w = ctx;

	CHECK_EQ(key->key.size, 1);
	w->result++;
}

static int sample(struct world *w) { return hapax_cache_sample(w->cache, 1); }

static void sampled(struct world *w, int status)
{
	void *out;

	if (status)
		return;
	CHECK_EQ(hapax_cache_get_if_present(w->cache, KEY("a"), &out), HAPAX_OK);
	hapax_release(out);
	w->result = 0;
	CHECK_EQ(hapax_cache_hottest(w->cache, count_keys, w), 1);
	CHECK_EQ(w->result, 1);
}

SWEEP(hapax_cache_sample, all_hits, .nomem = true, .call = sample, .done = sampled)

static int hottest(struct world *w)
{
	w->result = 0;
	return hapax_cache_hottest(w->cache, count_keys, w);
}

static void none_hot(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->result, 0);
}

SWEEP(hapax_cache_hottest, of_none, .call = hottest, .done = none_hot)
