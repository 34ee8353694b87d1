/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_env.c - the calls of hapax/env.h, base.h and status.h with every allocation failing; see sweep.h. */
#include <sys/wait.h>
#include <unistd.h>

#include "fault/sweep.h"

/* ---- environments ----------------------------------------------------------------------------------------------- */

static int create(struct world *w)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .seed = 5,
			       .allocator = w->memory->allocator};
	hapax_env *env = (void *)1;
	int rc = hapax_env_create(&env, &o);

	CHECK((rc == 0) == (env != NULL));
	hapax_env_destroy(env);
	w->out = NULL;
	return rc;
}

static void fine(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
}

SWEEP(hapax_env_create, and_destroy, .nomem = true, .call = create, .done = fine)

static int destroy_used(struct world *w)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .seed = 5,
			       .allocator = w->memory->allocator};
	hapax_env *env = NULL;
	void *object = NULL;
	int rc = hapax_env_create(&env, &o);

	w->out = NULL;
	if (!rc)
		rc = hapax_new(env, &item_type, 0, &object);
	hapax_env_destroy(env);
	if (!rc) {
		((struct item *)object)->live = ITEM_ALIVE;
		hapax_release(object);
	}
	return rc;
}

SWEEP(hapax_env_destroy, with_an_object, .nomem = true, .call = destroy_used, .done = fine)

static int now(struct world *w)
{
	w->size = hapax_env_now(w->env) != 0;
	return 0;
}

static void is_size_one(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->size, 1);
}

SWEEP(hapax_env_now, once, .call = now, .done = is_size_one)

static void make_garbage(struct world *w)
{
	for (int i = 0; i < 100; i++)
		hapax_release(world_item(w, &item_type, i));
}

static int reclaim(struct world *w)
{
	hapax_reclaim(w->env);
	return 0;
}

static void reclaimed(struct world *w, int status)
{
	hapax_env_stats s = {.size = sizeof(s)};

	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->destroyed, 100);
	hapax_reclaim(w->env);
	CHECK_EQ(hapax_env_stats_get(w->env, &s), HAPAX_OK);
	CHECK_EQ(s.garbage_bytes, 0);
}

SWEEP(hapax_reclaim, garbage, .prepare = make_garbage, .call = reclaim, .done = reclaimed)

static int prepare_thread(struct world *w)
{
	w->out = NULL;
	return hapax_thread_prepare(w->env);
}

SWEEP(hapax_thread_prepare, again, .nomem = true, .call = prepare_thread, .done = fine)

static void queue_deferred(struct world *w)
{
	hapax_release(w->deferred);
	w->deferred = NULL;
	CHECK_EQ(w->destroyed, 0);
}

static int run_deferred(struct world *w)
{
	w->size = hapax_run_deferred(w->env);
	return 0;
}

static void ran_deferred(struct world *w, int status)
{
	is_size_one(w, status);
	CHECK_EQ(w->destroyed, 1);
}

SWEEP(hapax_run_deferred, one, .prepare = queue_deferred, .call = run_deferred, .done = ran_deferred)

static int stats(struct world *w)
{
	w->env_stats.size = sizeof(w->env_stats);
	return hapax_env_stats_get(w->env, &w->env_stats);
}

static void stats_fit(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->env_stats.objects_born, WORLD_ITEMS + 4);
	CHECK_EQ(w->env_stats.objects_destroyed, 0);
}

SWEEP(hapax_env_stats_get, once, .call = stats, .done = stats_fit)

/* ---- fork ------------------------------------------------------------------------------------------------------- */

/* Memory fails in the parent and, in its copy of the world, in the child. */
static int forked(struct world *w, unsigned flags)
{
	int status = -1;
	pid_t child;

	hapax_before_fork(flags);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		void *out = NULL;
		int rc;

		hapax_after_fork_child(flags);
		CHECK_EQ(hapax_table_get(w->table, KEY("a"), &out), HAPAX_OK);
		CHECK_PTR(out, w->item[0]);
		hapax_release(out);
		rc = hapax_cache_get(w->cache, KEY("in the child"), &out);
		CHECK(rc == HAPAX_OK || rc == HAPAX_ENOMEM);
		hapax_release(out);
		CHECK_EQ(hapax_table_remove(w->table, KEY("a")), HAPAX_OK);
		table_check(w->table, 1);
		hapax_reclaim(w->env);
		_exit(0);
	}
	hapax_after_fork_parent(flags);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

static int fork_with_urcu(struct world *w)
{
	return forked(w, HAPAX_FORK_URCU);
}

SWEEP(hapax_before_fork, with_urcu, .call = fork_with_urcu, .done = fine)
SWEEP(hapax_after_fork_parent, with_urcu, .call = fork_with_urcu, .done = fine)
SWEEP(hapax_after_fork_child, with_urcu, .call = fork_with_urcu, .done = fine)

/* ---- texts ------------------------------------------------------------------------------------------------------ */

static int texts(struct world *w)
{
	(void)w;
	CHECK_STR(hapax_version(), HAPAX_VERSION_STRING);
	CHECK_STR(hapax_status_name(HAPAX_ENOMEM), "HAPAX_ENOMEM");
	CHECK(strlen(hapax_status_text(HAPAX_ENOMEM)) > 3);
	return 0;
}

SWEEP(hapax_version, once, .call = texts, .done = fine)
SWEEP(hapax_status_name, once, .call = texts, .done = fine)
SWEEP(hapax_status_text, once, .call = texts, .done = fine)
