/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_async.c - the calls of hapax/async.h with every allocation failing; see sweep.h. Refreshes: sweep_refresh.c. */
#include "fault/sweep.h"
#include "unit/asked.h"

/* Of the row that runs: `making` becomes a cache that loads by tokens. */
static struct starts starts;
static struct told told;
static hapax_completions *queue;
static hapax_completion completion;

static void with_tokens(struct world *w)
{
	memset(&starts, 0, sizeof(starts));
	hapax_cache_destroy(w->making);
	w->making = cache_starting(w->env, &starts, 0);
	w->out = NULL;
}

static void under_way(struct world *w)
{
	with_tokens(w);
	memset(&told, 0, sizeof(told));
	told_ask(&told, w->making, "new");
}

static int get_async(hapax_cache *cache, const char *key)
{
	memset(&told, 0, sizeof(told));
	return hapax_cache_get_async(cache, HAPAX_STR(key), NULL, told_done, &told);
}

/* ---- getting ------------------------------------------------------------------------------------------------------ */

static int async_present(struct world *w)
{
	w->out = NULL;
	return get_async(w->cache, "l");
}

static void async_told(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(told.object, w->loaded);
	told_end(&told, HAPAX_OK);
}

SWEEP(hapax_cache_get_async, present, .call = async_present, .done = async_told)

static int async_token(struct world *w)
{
	w->out = NULL;
	return get_async(w->making, "new");
}

/* What has been started ends without memory. */
static void async_started(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(told_calls(&told), 0);
	CHECK_EQ(starts_of(&starts), 1);
	CHECK_EQ(hapax_load_fail(starts.token[0], HAPAX_LOAD_NOVALUE, NULL), HAPAX_OK);
	hapax_load_drop(starts.token[0]);
	told_end(&told, HAPAX_NOVALUE);
	stats_check(w->making);
}

SWEEP(hapax_cache_get_async, token, .nomem = true, .prepare = with_tokens, .call = async_token, .done = async_started)

/* The get that started the load is under way whatever becomes of this one. */
static struct told joiner;

static int async_joining(struct world *w)
{
	memset(&joiner, 0, sizeof(joiner));
	w->out = NULL;
	return hapax_cache_get_async(w->making, KEY("new"), NULL, told_done, &joiner);
}

static void async_joined(struct world *w, int status)
{
	hapax_load_error error = {.code = 3};

	if (status == HAPAX_ENOMEM && !w->memory->fail_from)
		return; /* it is tried again */
	CHECK_EQ(hapax_load_fail(starts.token[0], HAPAX_LOAD_FAIL, &error), HAPAX_OK);
	hapax_load_drop(starts.token[0]);
	CHECK_EQ(told.error.code, 3);
	told_end(&told, HAPAX_ELOADER);
	if (status == HAPAX_OK) {
		CHECK_EQ(joiner.error.code, 3);
		told_end(&joiner, HAPAX_ELOADER);
	}
	CHECK_EQ(told_calls(&joiner), status == HAPAX_OK);
	CHECK_EQ(starts_of(&starts), 1);
}

SWEEP(hapax_cache_get_async, joining, .nomem = true, .errors_change = true, .prepare = under_way, .call = async_joining,
      .done = async_joined)

static int async_task(struct world *w)
{
	w->out = NULL;
	return get_async(w->cache, "new");
}

/* The environment has no threads: maintain() runs it. Everything that it needs is there. */
static void async_run(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(told_calls(&told), 0);
	while (hapax_cache_maintain(w->cache))
		;
	CHECK_PTR(present(w->cache, "new"), told.object);
	told_end(&told, HAPAX_OK);
	cache_check(w->cache, 2);
	stats_check(w->cache);
}

SWEEP(hapax_cache_get_async, task, .nomem = true, .call = async_task, .done = async_run)

/* ---- tokens ------------------------------------------------------------------------------------------------------- */

/* Consumes the object and ends the flight in any case; to accept an object may take memory. */
static int complete(struct world *w)
{
	struct item *spare = w->spare;

	w->spare = NULL;
	w->out = NULL;
	CHECK_EQ(hapax_load_complete(starts.token[0], spare, &w->result), HAPAX_OK);
	return 0;
}

static void is_complete(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->result == HAPAX_OK || w->result == HAPAX_ENOMEM);
	CHECK_EQ(w->destroyed, w->result == HAPAX_OK ? 0 : 1);
	CHECK_PTR(present(w->making, "new"), told.object);
	told_end(&told, w->result);
	CHECK_EQ(w->destroyed, 1);
	hapax_load_drop(starts.token[0]);
	cache_check(w->making, 0);
	stats_check(w->making);
}

SWEEP(hapax_load_complete, by_its_thread, .prepare = under_way, .call = complete, .done = is_complete)

static int fail(struct world *w)
{
	hapax_load_error error = {.code = 5};

	w->out = NULL;
	return hapax_load_fail(starts.token[0], HAPAX_LOAD_FAIL, &error);
}

static void has_failed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(told.error.code, 5);
	told_end(&told, HAPAX_ELOADER);
	hapax_load_drop(starts.token[0]);
	cache_check(w->making, 0);
}

SWEEP(hapax_load_fail, by_its_thread, .prepare = under_way, .call = fail, .done = has_failed)

static int drop(struct world *w)
{
	w->out = NULL;
	hapax_load_drop(starts.token[0]);
	return 0;
}

static void is_dropped(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	told_end(&told, HAPAX_EABANDONED);
	cache_check(w->making, 0);
}

SWEEP(hapax_load_drop, not_completed, .prepare = under_way, .call = drop, .done = is_dropped)

/* A cache that is destroyed ends what is under way without memory. */
static int destroy(struct world *w)
{
	hapax_cache_destroy(w->making);
	w->making = NULL;
	w->out = NULL;
	return 0;
}

static void is_ended(struct world *w, int status)
{
	struct item *spare = w->spare;

	w->spare = NULL;
	CHECK_EQ(status, HAPAX_OK);
	told_end(&told, HAPAX_ECLOSED);
	CHECK_EQ(hapax_load_complete(starts.token[0], spare, &w->result), HAPAX_OK);
	CHECK_EQ(w->result, HAPAX_ECLOSED);
	CHECK_EQ(w->destroyed, 1);
	hapax_load_drop(starts.token[0]);
}

SWEEP(hapax_cache_destroy, token_under_way, .prepare = under_way, .call = destroy, .done = is_ended)

/* ---- completions -------------------------------------------------------------------------------------------------- */

static int create(struct world *w)
{
	int rc = hapax_completions_create(&queue, w->env);

	w->out = NULL;
	CHECK((rc == 0) == (queue != NULL));
	return rc;
}

static void created(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
	CHECK(hapax_completions_fd(queue) >= 0);
	CHECK(!hapax_completions_take(queue));
	hapax_completions_destroy(queue);
}

SWEEP(hapax_completions_create, once, .nomem = true, .call = create, .done = created)

static void with_queue(struct world *w)
{
	with_tokens(w);
	CHECK_EQ(hapax_completions_create(&queue, w->env), HAPAX_OK);
}

static int get_queued(struct world *w)
{
	memset(&completion, 0, sizeof(completion));
	w->out = NULL;
	return hapax_cache_get_queued(w->making, KEY("new"), NULL, queue, &completion);
}

static void is_queued(struct world *w, int status)
{
	if (status == HAPAX_ENOMEM && !w->memory->fail_from)
		return; /* it is tried again */
	CHECK(!hapax_completions_take(queue));
	if (status == HAPAX_OK) {
		hapax_load_drop(starts.token[0]);
		CHECK_PTR(hapax_completions_take(queue), &completion);
		CHECK_EQ(completion.status, HAPAX_EABANDONED);
	}
	hapax_completions_destroy(queue);
}

SWEEP(hapax_cache_get_queued, token, .nomem = true, .errors_change = true, .prepare = with_queue, .call = get_queued,
      .done = is_queued)

static void with_completion(struct world *w)
{
	with_queue(w);
	CHECK_EQ(hapax_cache_get_queued(w->cache, KEY("l"), NULL, queue, &completion), HAPAX_OK);
}

static int take(struct world *w)
{
	w->out = NULL;
	CHECK(hapax_completions_fd(queue) >= 0);
	CHECK_PTR(hapax_completions_take(queue), &completion);
	return completion.status;
}

static void is_taken(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(completion.object, w->loaded);
	hapax_release(completion.object);
	CHECK(!hapax_completions_take(queue));
	hapax_completions_destroy(queue);
}

SWEEP(hapax_completions_take, once, .prepare = with_completion, .call = take, .done = is_taken)
SWEEP(hapax_completions_fd, once, .prepare = with_completion, .call = take, .done = is_taken)

static int end_queue(struct world *w)
{
	w->out = NULL;
	hapax_completions_destroy(queue);
	return 0;
}

static void is_given_back(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_count(w->loaded), 1);
}

SWEEP(hapax_completions_destroy, not_taken, .prepare = with_completion, .call = end_queue, .done = is_given_back)
