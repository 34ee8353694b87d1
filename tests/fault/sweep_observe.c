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
