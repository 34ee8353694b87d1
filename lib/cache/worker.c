/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/worker.c - see worker.h.
 *
 *      WAITING, in its cache's list, and in the thread's queue if it is for that --begin()--> BEGUN --> freed
 *
 * begin() decides under the lock who calls the task, to run or to drop it, or takes it back. Executors may come for a task
 * that was dropped: the item is freed when all have given it up, and holds its environment, not its cache, as long.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "cache/worker.h"

struct hpx_work {
	hpx_task *task;
	void *arg;
	hapax_cache *cache;            /* a call on it is held until the task has returned */
	hapax_env *env;
	struct hpx_work *next, *prev;  /* of its cache */
	struct hpx_work *after, *before; /* in the thread's queue */
	unsigned refs;                 /* all under the lock */
	bool begun;
	bool queued;
	bool came;                     /* the executor has called */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted = PTHREAD_COND_INITIALIZER;
static struct hpx_work *first, *last; /* the thread's queue */
static bool started;

/* ---- items ------------------------------------------------------------------------------------------------------- */

static void put(struct hpx_work *w)
{
	hapax_env *env = w->env;
	bool gone;

	pthread_mutex_lock(&lock);
	gone = !--w->refs;
	pthread_mutex_unlock(&lock);
	if (!gone)
		return;
	hpx_free(env, w, sizeof *w, 16);
	hpx_env_drop(env);
}

/* Under the lock. */
static void append(struct hpx_work *w, bool queue)
{
	hapax_cache *c = w->cache;

	w->prev = c->works_last;
	*(c->works_last ? &c->works_last->next : &c->works) = w;
	c->works_last = w;
	if (!queue)
		return;
	w->queued = true;
	w->before = last;
	*(last ? &last->after : &first) = w;
	last = w;
}

/* Under the lock: is it the caller's to call, drop or withdraw? */
static bool begin(struct hpx_work *w)
{
	hapax_cache *c = w->cache;

	if (w->begun)
		return false;
	w->begun = true;
	*(w->prev ? &w->prev->next : &c->works) = w->next;
	*(w->next ? &w->next->prev : &c->works_last) = w->prev;
	if (w->queued) {
		*(w->before ? &w->before->after : &first) = w->after;
		*(w->after ? &w->after->before : &last) = w->before;
	}
	return true;
}

static bool begin_locked(struct hpx_work *w)
{
	bool mine;

	pthread_mutex_lock(&lock);
	mine = begin(w);
	pthread_mutex_unlock(&lock);
	return mine;
}

static void end(struct hpx_work **w)
{
	hpx_cache_leave((*w)->cache);
	put(*w);
}

/* The caller's begin() was true. Also when the task leaves its thread. */
static void call(struct hpx_work *given, bool run)
{
	struct hpx_work *w __attribute__((cleanup(end))) = given;

	w->task(w->cache, w->arg, run);
}

/* The first of a list, begun, or NULL. */
static struct hpx_work *take(struct hpx_work **list)
{
	struct hpx_work *w;

	pthread_mutex_lock(&lock);
	w = *list;
	if (w)
		begin(w);
	pthread_mutex_unlock(&lock);
	return w;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static bool start(void);
static void drop_queue(void);

/* A task has left the thread with pthread_exit() and the like: what waits gets another one. */
static void vanish(bool *working)
{
	bool again;

	if (!*working)
		return;
	pthread_mutex_lock(&lock);
	again = first;
	started = again;
	pthread_mutex_unlock(&lock);
	if (again && !start())
		drop_queue();
}

static void *worker(void *arg)
{
	bool working __attribute__((cleanup(vanish))) = true;
	struct hpx_work *w;

	(void)arg;
	pthread_setname_np(pthread_self(), "hapax-work");
	hpx_thread_ready();
	for (;;) {
		pthread_mutex_lock(&lock);
		while (!first)
			pthread_cond_wait(&wanted, &lock);
		w = first;
		begin(w);
		pthread_mutex_unlock(&lock);
		call(w, true);
	}
	return NULL;
}

/* `started` was set by the caller. */
static bool start(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_attr_init(&attr);
	if (!failed) {
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		failed = pthread_create(&thread, &attr, worker, NULL);
		pthread_attr_destroy(&attr);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!failed)
		return true;
	pthread_mutex_lock(&lock);
	started = false; /* who comes next may try */
	pthread_mutex_unlock(&lock);
	return false;
}

/* There is no thread to be had: nothing waits for one. */
static void drop_queue(void)
{
	struct hpx_work *w;

	while ((w = take(&first)))
		call(w, false);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void put_own(struct hpx_work **w) { put(*w); }

static void run_in_executor(void *item)
{
	struct hpx_work *w __attribute__((cleanup(put_own))) = item;
	int saved = errno;

	hpx_thread_ready();
	pthread_mutex_lock(&lock);
	w->came = true;
	pthread_mutex_unlock(&lock);
	if (begin_locked(w))
		call(w, true);
	errno = saved;
}

/* Refused: it is given up, unless it was dropped meanwhile. */
static int withdraw(struct hpx_work *w)
{
	if (!begin_locked(w))
		return 0;
	end(&w);
	return HAPAX_ETHREAD;
}

static int refused(struct hpx_work *w)
{
	bool came;

	pthread_mutex_lock(&lock);
	came = w->came;
	pthread_mutex_unlock(&lock);
	if (!came)
		put(w); /* the executor's share */
	return withdraw(w);
}

static int hand_over(hapax_cache *c, struct hpx_work *w)
{
	HPX_CACHE_FRAME(c, NULL);

	return c->executor.run(run_in_executor, w, c->executor.ctx);
}

/* `w` waits, unless somebody has run or dropped it already. */
static int arrange(hapax_cache *c, struct hpx_work *given, bool starting)
{
	struct hpx_work *w __attribute__((cleanup(put_own))) = given;
	int rc = 0;

	if (c->executor.run) {
		rc = hand_over(c, w) ? refused(w) : 0;
	} else if (starting && !start()) {
		rc = withdraw(w);
		drop_queue();
	}
	return rc;
}

int hpx_work_run(hapax_cache *c, hpx_task *task, void *arg)
{
	bool thread = !c->executor.run && !hpx_env_threadless(c->env), starting = false, closed;
	int saved = errno, rc;
	struct hpx_work *w;

	w = hpx_alloc(c->env, sizeof *w, 16);
	if (!w)
		return HAPAX_ENOMEM;
	hpx_env_hold(c->env);
	/* who calls the task, this function, and the executor */
	*w = (struct hpx_work){.task = task, .arg = arg, .cache = c, .env = c->env, .refs = c->executor.run ? 3 : 2};
	rc = hpx_cache_enter(c, HPX_CACHE_OPEN);
	if (rc) {
		w->refs = 1;
		put(w);
		return rc;
	}
	pthread_mutex_lock(&lock);
	closed = hpx_cache_state(c) > HPX_CACHE_OPEN; /* then hpx_work_drop() may have been here */
	if (!closed) {
		append(w, thread);
		starting = thread && !started;
		started |= thread;
		if (thread)
			pthread_cond_signal(&wanted);
	}
	pthread_mutex_unlock(&lock);
	if (closed) {
		w->refs = 1;
		end(&w);
		rc = HAPAX_ECLOSED;
	} else {
		rc = arrange(c, w, starting);
	}
	errno = saved;
	return rc;
}

void hpx_work_drop(hapax_cache *c)
{
	struct hpx_work *w;

	while ((w = take(&c->works)))
		call(w, false);
}

unsigned hpx_work_step(hapax_cache *c, unsigned max)
{
	struct hpx_work *w;
	unsigned n = 0;

	if (c->executor.run || !hpx_env_threadless(c->env))
		return 0;
	for (; n < max && (w = take(&c->works)); n++)
		call(w, true);
	return n;
}

bool hpx_work_pending(hapax_cache *c)
{
	bool any;

	if (c->executor.run || !hpx_env_threadless(c->env))
		return false;
	pthread_mutex_lock(&lock);
	any = c->works;
	pthread_mutex_unlock(&lock);
	return any;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void in_parent(void) { pthread_mutex_unlock(&lock); }

/* The thread did not come along; what waits is dropped cache by cache (hpx_work_drop()). */
static void in_child(void)
{
	const pthread_cond_t fresh = PTHREAD_COND_INITIALIZER;

	wanted = fresh;
	started = false;
	pthread_mutex_unlock(&lock); /* this thread has taken it */
}

__attribute__((constructor)) static void watch_forks(void)
{
	hpx_fork_hook(HPX_FORK_BEFORE, before_fork);
	hpx_fork_hook(HPX_FORK_PARENT, in_parent);
	hpx_fork_hook(HPX_FORK_LOCKS, in_child);
}
