/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_self.c - the sweep itself: calls that are wrong under failure, each in its own way, must be found. */
#include <sys/wait.h>
#include <unistd.h>

#include "fault/sweep.h"

static void nothing(struct world *w, int status)
{
	(void)w, (void)status;
}

/* Runs the sweep over a bad row in a child, which must end as failed checks do. */
static void must_fail(int (*call)(struct world *w), bool nomem)
{
	const struct sweep_row row = {.name = "a wrong call", .nomem = nomem, .call = call, .done = nothing};
	int status = 0;
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child) {
		sweep(&row);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), EXIT_FAILURE);
}

static int two_puts(struct world *w)
{
	int rc = hapax_table_put(w->table, KEY("c"), w->item[0]);

	w->out = NULL;
	return rc ? rc : hapax_table_put(w->table, KEY("new"), w->item[3]);
}

TEST(finds_what_an_error_left_behind) { must_fail(two_puts, true); }

static int leaks(struct world *w)
{
	void *kept = NULL;
	int rc = hapax_new(w->env, &item_type, 0, &kept);

	w->out = NULL;
	if (!rc && hapax_table_put(w->table, KEY("new"), w->item[3]) != 0)
		return HAPAX_ENOMEM;
	if (kept)
		((struct item *)kept)->live = ITEM_ALIVE;
	hapax_release(kept);
	return rc;
}

TEST(finds_a_leak) { must_fail(leaks, true); }

static int undocumented(struct world *w)
{
	w->out = NULL;
	return hapax_table_put(w->table, KEY("new"), w->item[3]);
}

TEST(finds_an_error_that_may_not_be) { must_fail(undocumented, false); }

static int spoils_errno(struct world *w)
{
	w->out = NULL;
	return close(-1) + 1;
}

TEST(finds_errno_spoilt) { must_fail(spoils_errno, false); }

static int pointer_with_error(struct world *w)
{
	int rc = hapax_table_put(w->table, KEY("new"), w->item[3]);

	w->out = w->item;
	return rc;
}

TEST(finds_a_result_beside_an_error) { must_fail(pointer_with_error, true); }

static int never_allocates(struct world *w)
{
	w->out = NULL;
	return 0;
}

TEST(finds_a_row_that_fails_nothing) { must_fail(never_allocates, true); }
