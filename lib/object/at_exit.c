/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/at_exit.c - finalizers that are run at the end of the process.
 *
 * Two lists of them, newest first: one of all and one per environment. Creation puts a finalizer into both, and it leaves
 * them when it is found by a runner or before its memory is freed, whichever comes first: a runner takes out whatever it
 * meets, so that it passes each once, and runs what it could take. Deaths, runs and detaches have nothing to do with the
 * lists, nor with their lock: that is taken by creation, by runners between two runs, and by reclamation.
 *
 * Fork. What was created by another process is not run, and who created one is remembered as process id and a number that
 * each child changes: hapax's fork functions may not have been called. A process that created none does not touch the
 * lock, which may be held there by a thread that did not come along.
 *
 * What is asked of the C library is asked under a lock of its own, which no fork handler takes: it has locks too, and may hold
 * them while it calls ours.
 *
 * exit(). The handler asks for one more call while there is anything left, and so does who creates one after it has begun:
 * so exit() from inside a finalizer, and finalizers that are created by handlers that run later, leave nothing out.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "object/finalizer.h"
#include "object/internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hapax_finalizer *newest;        /* of all environments */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;
static bool asked, watched;                   /* atexit() will call; pthread_atfork() was called. Under `asking` */
static hpx_u32 forks;                         /* behind this process, as far as anybody saw */
static hpx_u64 creator;                       /* the last process that created one */

static uint64_t this_process(void)
{
	/* order: FINALIZER.FORKS relaxed; the child has one thread when it changes */
	return (uint64_t)hpx_load_relaxed(&forks) << 32 | (uint32_t)getpid();
}

/* Whether this process has created any. order: FINALIZER.CREATOR relaxed; finalizers are read under the lock */
static bool any_created(void) { return hpx_load_relaxed(&creator) == this_process(); }

/* ---- lists ------------------------------------------------------------------------------------------------------- */

#define LINK(f, links, head)                                                                                          \
	do {                                                                                                          \
		(f)->links.next = (head);                                                                             \
		(f)->links.back = &(head);                                                                            \
		if (head)                                                                                             \
			(head)->links.back = &(f)->links.next;                                                        \
		(head) = (f);                                                                                         \
	} while (0)

#define UNLINK(f, links)                                                                                              \
	do {                                                                                                          \
		*(f)->links.back = (f)->links.next;                                                                   \
		if ((f)->links.next)                                                                                  \
			(f)->links.next->links.back = (f)->links.back;                                                \
		(f)->links.back = NULL;                                                                               \
	} while (0)

static void unlink_both(struct hapax_finalizer *f)
{
	UNLINK(f, all);
	UNLINK(f, own);
}

void hpx_at_exit_add(struct hapax_finalizer *f)
{
	struct hapax_finalizer **own = hpx_env_finalizers(f->env);

	f->process = this_process();
	/* order: FINALIZER.CREATOR relaxed; see any_created() */
	hpx_store_relaxed(&creator, f->process);
	pthread_mutex_lock(&lock);
	LINK(f, all, newest);
	LINK(f, own, *own);
	pthread_mutex_unlock(&lock);
}

void hpx_at_exit_remove(struct hapax_finalizer *f)
{
	pthread_mutex_lock(&lock);
	if (f->all.back)
		unlink_both(f);
	pthread_mutex_unlock(&lock);
}

/* The newest one that is this process's and that nobody has taken: taken. NULL: there is none. */
static struct hapax_finalizer *take_newest(hapax_env *env)
{
	struct hapax_finalizer **head = env ? hpx_env_finalizers(env) : &newest, *f;

	pthread_mutex_lock(&lock);
	while ((f = *head) != NULL) {
		unlink_both(f);
		if (f->process == this_process() && hpx_finalizer_take(f))
			break;
	}
	pthread_mutex_unlock(&lock);
	return f;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static size_t run_all(hapax_env *env)
{
	struct hapax_finalizer *f;
	size_t n = 0;

	if (!any_created())
		return 0;
	hpx_enter();
	while ((f = take_newest(env)) != NULL) {
		(void)hpx_finalizer_run_taken(f);
		n++;
	}
	return n;
}

size_t hapax_finalize_all(hapax_env *env)
{
	int saved = errno;
	size_t n = run_all(env);

	errno = saved;
	return n;
}

/* ---- the process ------------------------------------------------------------------------------------------------- */

static void in_exit(void)
{
	bool left;

	if (!any_created())
		return;
	pthread_mutex_lock(&asking);
	asked = false;
	pthread_mutex_unlock(&asking);
	pthread_mutex_lock(&lock);
	left = newest != NULL;
	pthread_mutex_unlock(&lock);
	if (left) {
		(void)hpx_at_exit_ready(); /* when there is no memory for it, only exit() inside a finalizer leaves some out */
		run_all(NULL);
	}
}

static void in_child(void) { hpx_add_relaxed(&forks, 1); /* order: FINALIZER.FORKS relaxed; see this_process() */ }

int hpx_at_exit_ready(void)
{
	int saved = errno, status = 0;

	pthread_mutex_lock(&asking);
	if (!watched)
		watched = !pthread_atfork(NULL, NULL, in_child);
	if (!asked && watched)
		asked = !atexit(in_exit);
	if (!asked)
		status = HAPAX_ENOMEM;
	pthread_mutex_unlock(&asking);
	errno = saved;
	return status;
}

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void locks_in_child(void)
{
	pthread_mutex_unlock(&lock); /* its own thread has taken it */
	pthread_mutex_init(&asking, NULL);
}

__attribute__((constructor)) static void watch_forks(void)
{
	hpx_fork_hook(HPX_FORK_BEFORE, before_fork);
	hpx_fork_hook(HPX_FORK_PARENT, after_fork);
	hpx_fork_hook(HPX_FORK_LOCKS, locks_in_child);
}
