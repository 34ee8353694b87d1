/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leak reports without memory: nothing is told of or written, nothing is kept. */
#include "fault/sweep.h"

static void count_told(const hapax_leak *leak, void *ctx)
{
	struct world *w = ctx;

	if (leak->holder && leak->key)
		w->result++;
}

static int report(struct world *w)
{
	w->result = 0;
	w->size = hapax_leak_report(w->env, count_told, w);
	if (w->size == SIZE_MAX)
		CHECK_EQ(w->result, 0);
	return w->size == SIZE_MAX ? HAPAX_ENOMEM : 0;
}

/* Some of the objects point to others, so that there are edges to find. */
static void point(struct world *w)
{
	w->item[0]->arg = w->item[1];
	w->item[1]->arg = w->item[0];
}

static void reported(struct world *w, int status)
{
	hapax_env_stats s = {.size = sizeof(s)};

	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_env_stats_get(w->env, &s), HAPAX_OK);
	CHECK_EQ(w->size, s.objects_born - s.objects_destroyed);
	CHECK_EQ(w->result, 6); /* "a" and "b" in a table, "a" in the other; "a" and "l" in a cache, "x" in the exclusive one */
}

SWEEP(hapax_leak_report, of_the_world, .nomem = true, .prepare = point, .call = report, .done = reported)

/* What is written is counted; its braces say whether it is whole. */
static int count_text(const char *text, size_t n, void *ctx)
{
	struct world *w = ctx;

	CHECK(n > 0);
	for (size_t i = 0; i < n; i++)
		w->result += (text[i] == '{') - (text[i] == '}');
	w->size += n;
	return 0;
}

static int report_json(struct world *w)
{
	int status;

	w->result = 0;
	w->size = 0;
	status = hapax_leak_report_json(w->env, count_text, w);
	CHECK_EQ(w->result, 0);
	CHECK_EQ(status == HAPAX_OK, w->size > 0);
	return status;
}

static void written(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->size > 500);
}

SWEEP(hapax_leak_report_json, of_the_world, .nomem = true, .prepare = point, .call = report_json, .done = written)

static int tracing(struct world *w)
{
	w->flag = hapax_leak_tracing();
	return 0;
}

static void traced(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
#ifdef HPX_DEBUG
	CHECK(w->flag);
#else
	CHECK(!w->flag);
#endif
}

SWEEP(hapax_leak_tracing, once, .call = tracing, .done = traced)
