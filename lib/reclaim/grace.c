/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/grace.c - grace periods, the reclaimer thread, and what finished grace periods allow.
 *
 * Grace periods are numbered. One runs at a time, on the reclaimer or on a caller of hapax_reclaim():
 *
 *      take the stacks, started = n   |   synchronize_rcu()   |   done = n, what was taken becomes ready
 *      '------- under hpx_slow -------'      no lock held      '-------------- under hpx_slow --------'
 *
 * Memory that was made unreachable before `started` was read as s may be freed when done >= s + 1: that is a stamp.
 * Owners of stamped batches poll `done` and recycle on their own (pool.c); what has no owner to come back for it lies on
 * the two stacks, which need no stamp. `want` is the highest stamp that was given out.
 *
 * The reclaimer sleeps when nothing is wanted. It says so before it looks for the last time, and whoever wants something
 * says so before looking whether it sleeps: one of the two sees the other (sequential consistency).
 */
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/probe.h"
#include "reclaim/internal.h"

#define PAUSE_NS 300000L      /* between grace periods, so that one serves many batches; unless somebody waits */
#define IDLE_NS 100000000L    /* quiet for this long: other threads' matured batches are freed */
/* grace periods after which an owner is taken not to come back for a batch: under churn it comes through its ring in a few */
#ifdef HPX_STRICT
#define HARVEST_BEHIND 0
#else
#define HARVEST_BEHIND 256
#endif
#define ORPHANS_AT_ONCE 64
/* empty pages that are kept for the next use: while memory is in use up and down, and afterwards */
#define KEEP_BUSY 128
#define KEEP_QUIET 2

struct hpx_gp_lists hpx_gp = {.changed = PTHREAD_COND_INITIALIZER};
hpx_u64 hpx_gp_started __attribute__((aligned(HPX_CACHE_LINE)));
hpx_u64 hpx_gp_done __attribute__((aligned(HPX_CACHE_LINE)));
static hpx_u64 want __attribute__((aligned(HPX_CACHE_LINE)));
static hpx_u64 running_since; /* of the clock below; 0: none runs */
static hpx_u32 sleeping, started, hurry;
hpx_u32 hpx_ticking __attribute__((aligned(HPX_CACHE_LINE)));
void (*hpx_tick)(void);

#ifdef HPX_SECTION_TSAN
static char tags[2][HPX_CACHE_LINE];
static __thread struct {
	unsigned nest;
	bool both;
	unsigned tag;
} section;

void hpx_section_enter(void)
{
	uint64_t before = hpx_load_relaxed(&hpx_gp_started), after; /* order: RECLAIM.STAMP relaxed; names a tag */

	urcu_bp_read_lock();
	if (section.nest++)
		return;
	after = hpx_load_relaxed(&hpx_gp_started); /* order: RECLAIM.STAMP relaxed; names a tag */
	section.tag = before & 1;
	section.both = before != after;
}

void hpx_section_leave(void)
{
	HPX_POINT();
	if (!--section.nest) {
		HPX_TSAN_RELEASE(tags[section.tag]);
		if (section.both)
			HPX_TSAN_RELEASE(tags[!section.tag]);
	}
	urcu_bp_read_unlock();
	if (!section.nest)
		HPX_AFTER_SECTION();
}
#endif

/* Real time, whatever the environments' clocks say: readers are real. 0: unknown, the clock cannot be read. */
static uint64_t real_now(void)
{
	struct timespec ts = {.tv_sec = 0};

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * HAPAX_SECOND + (uint64_t)ts.tv_nsec;
}

/* From one reading to the other; 0 if either is missing. */
static uint64_t real_between(uint64_t since, uint64_t now)
{
	return since && now > since ? now - since : 0;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

uint64_t hpx_gp_stamp(void)
{
	/* order: RECLAIM.STAMP -> seq_cst read-modify-write: the grace period after the one it saw begins after it, so
	 * what was made unreachable before is so for all sections that begin after that grace period has begun */
	uint64_t stamp = hpx_add_seq_cst(&hpx_gp_started, 0) + (HPX_BROKEN(STAMP_EARLY) ? 0 : 1);
	/* order: RECLAIM.WAKE seq_cst; against the reclaimer's falling asleep */
	uint64_t seen = hpx_load_seq_cst(&want);

	while (seen < stamp && !hpx_cas_seq_cst(&want, &seen, stamp))
		;
	return stamp;
}

bool hpx_gp_due(void)
{
	/* order: RECLAIM.WAKE seq_cst; against hpx_gp_wake() */
	return hpx_load_seq_cst(&want) > hpx_load_seq_cst(&hpx_gp_done) || hpx_load_seq_cst(&hpx_gp.deferred) ||
	       hpx_load_seq_cst(&hpx_gp.orphans) || hpx_load_seq_cst(&hpx_gp.unworked);
}

static void wake_sleeper(void)
{
	/* order: RECLAIM.WAKE seq_cst; after the want or the push, before which the reclaimer looks */
	if (hpx_load_seq_cst(&sleeping) && hpx_exchange_acq_rel(&sleeping, 0)) {
		int saved = errno;

		syscall(SYS_futex, &sleeping.v, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		errno = saved;
	}
}

void hpx_gp_wake(hapax_env *env)
{
	if (env && (env->flags & HAPAX_ENV_NO_THREAD))
		return;
	if (env && !hpx_gp_start())
		return;
	wake_sleeper();
}

void hpx_gp_wake_started(void)
{
	/* order: RECLAIM.START relaxed; one that starts just now looks before it sleeps */
	if (hpx_load_relaxed(&started))
		wake_sleeper();
}

void hpx_gp_hurry(void)
{
	hpx_store_relaxed(&hurry, 1); /* order: RECLAIM.HURRY relaxed; shortens a pause */
	wake_sleeper();
}

void hpx_retire(hapax_env *env, struct hpx_deferred *d, size_t bytes, void (*run)(struct hpx_deferred *d))
{
	void *head;
	bool thread;

	d->run = run;
	d->env = env;
	d->bytes = bytes;
	if (HPX_BROKEN(NO_GRACE_PERIOD)) {
		run(d);
		return;
	}
	hpx_thread_ready();
	hpx_env_begin(env);
	hpx_garbage_add(env, bytes);
	thread = !(env->flags & HAPAX_ENV_NO_THREAD) && hpx_gp_start();
	head = hpx_load_relaxed(&hpx_gp.deferred); /* order: RECLAIM.RETIRE relaxed; only copied */
	do
		d->next = head;
	/* order: RECLAIM.RETIRE -> seq_cst; all use of what is retired before it, and as hpx_gp_wake() says */
	while (!hpx_cas_seq_cst(&hpx_gp.deferred, &head, (void *)d));
	/* `d` and `env` may be gone */
	hpx_gp_stamp();
	if (thread)
		wake_sleeper();
}

void hpx_gp_orphan(hapax_env *env, struct hpx_chain *chain)
{
	void *head;

	/* order: ENV.ENDED relaxed; before the end of the call this is part of */
	hpx_add_relaxed(&env->orphaned, chain->count);
	head = hpx_load_relaxed(&hpx_gp.orphans); /* order: RECLAIM.RETIRE relaxed; only copied */
	do
		hpx_node_set(chain->last, head);
	/* order: RECLAIM.RETIRE -> seq_cst; as in hpx_retire() */
	while (!hpx_cas_seq_cst(&hpx_gp.orphans, &head, (void *)chain->first));
	hpx_gp_stamp();
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static struct hpx_deferred *deferred_join(struct hpx_deferred *a, struct hpx_deferred *b)
{
	struct hpx_deferred **link = &a;

	while (*link)
		link = &(*link)->next;
	*link = b;
	return a;
}

static struct hpx_node *nodes_join(struct hpx_node *a, struct hpx_node *b)
{
	struct hpx_node *last = a;

	if (!a || !b)
		return a ? a : b;
	while (hpx_node_next(last))
		last = hpx_node_next(last);
	hpx_node_set(last, b);
	return a;
}

/* A long one that nobody looked at while it lasted counts too, without a name. */
static void account_for_stall(uint64_t number, uint64_t ns)
{
	for (hapax_env *env = hpx_envs; env; env = env->next)
		/* order: STALL.COUNT relaxed; under the lock */
		if (ns >= env->stall_ns && hpx_load_relaxed(&env->stall_gp) != number) {
			hpx_store_relaxed(&env->stall_gp, number);
			hpx_add_relaxed(&env->stalls, 1);
		}
}

void hpx_gp_run(void)
{
	uint64_t number, since = real_now();
	int cancel, saved = errno;

	/* liburcu polls and we wait for our turn: neither may be left by cancellation */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_mutex_lock(&hpx_slow);
	while (hpx_gp.busy)
		pthread_cond_wait(&hpx_gp.changed, &hpx_slow);
	hpx_gp.busy = true;
	/* order: -> RECLAIM.RETIRE acquire; what is freed has been left by whoever retired it */
	hpx_gp.taken = deferred_join(hpx_gp.taken, hpx_exchange_acquire(&hpx_gp.deferred, NULL));
	hpx_gp.taken_nodes = nodes_join(hpx_exchange_acquire(&hpx_gp.orphans, NULL), hpx_gp.taken_nodes);
	/* order: -> RECLAIM.STAMP seq_cst; what was stamped with this number happened before */
	number = hpx_add_seq_cst(&hpx_gp_started, 1) + 1;
	hpx_store_relaxed(&running_since, since); /* order: STALL.LOOK relaxed; looked at again under the lock */
	pthread_mutex_unlock(&hpx_slow);

	HPX_PROBE1(grace__begin, number);
	urcu_bp_synchronize_rcu();
	HPX_PROBE1(grace__end, number);
#ifdef HPX_SECTION_TSAN
	HPX_TSAN_ACQUIRE(tags[(number - 1) & 1]);
#endif

	pthread_mutex_lock(&hpx_slow);
	hpx_gp.ready = deferred_join(hpx_gp.ready, hpx_gp.taken);
	hpx_gp.ready_nodes = nodes_join(hpx_gp.ready_nodes, hpx_gp.taken_nodes);
	hpx_gp.taken = NULL;
	hpx_gp.taken_nodes = NULL;
	if (hpx_gp.ready || hpx_gp.ready_nodes)
		hpx_store_relaxed(&hpx_gp.unworked, 1); /* order: RECLAIM.WAKE relaxed; under the lock, a wake-up follows */
	/* order: RECLAIM.DONE -> release; the sections that have ended, before memory they read is used again */
	if (HPX_BROKEN(RELAXED_DONE))
		hpx_store_relaxed(&hpx_gp_done, number);
	else
		hpx_store_release(&hpx_gp_done, number);
	hpx_store_relaxed(&running_since, 0); /* order: STALL.LOOK relaxed */
	account_for_stall(number, real_between(since, real_now()));
	hpx_gp.busy = false;
	pthread_cond_broadcast(&hpx_gp.changed);
	pthread_mutex_unlock(&hpx_slow);
	pthread_setcancelstate(cancel, NULL);
	errno = saved;
}

void hpx_stall_look(hapax_env *env)
{
	uint64_t since = hpx_load_relaxed(&running_since), number; /* order: STALL.LOOK relaxed; again below */
	bool first = false, known = false, other;
	char name[16] = "";
	int tid = -1;

	if (real_between(since, real_now()) < env->stall_ns || !hpx_slow_lock())
		return;
	if (hpx_gp.busy && hpx_load_relaxed(&running_since) == since) {
		number = hpx_load_relaxed(&hpx_gp_started); /* order: STALL.COUNT relaxed; under the lock */
		known = hpx_thread_stalling(&tid, name);
		other = known && tid != env->stalled_tid; /* the one that was named has gone, this one keeps it from ending */
		env->stalled_tid = tid;
		memcpy(env->stalled_name, name, sizeof(name));
		first = other || hpx_load_relaxed(&env->stall_gp) != number;
		if (first) {
			hpx_store_relaxed(&env->stall_gp, number);
			hpx_add_relaxed(&env->stalls, 1);
		}
	}
	pthread_mutex_unlock(&hpx_slow);
	if (!first)
		return;
	HPX_PROBE2(stall, tid, HPX_PROBE_TEXT(name));
	if (known)
		hpx_env_log(env, HAPAX_LOG_WARNING, "thread %d \"%s\" has been in a read section for long: memory cannot be freed",
			    tid, name);
	else
		hpx_env_log(env, HAPAX_LOG_WARNING,
			    "a thread unknown to hapax has been in a read section for long: memory cannot be freed");
}

/* ---- what finished grace periods allow ----------------------------------------------------------------------------- */

/* hpx_slow held */
static void harvest(enum hpx_gp_how how)
{
	for (hapax_env *env = hpx_envs; env; env = env->next) {
		/* order: ADMIT.THRESHOLD relaxed; a hint */
		bool pressed = hpx_load_relaxed(&env->garbage) > hpx_load_relaxed(&env->threshold) / 2;

		for (struct hpx_local *local = env->locals; local; local = local->next)
			hpx_pool_harvest(local, how == HPX_WORK_SOME && !pressed ? HARVEST_BEHIND : 0);
	}
}

/* hpx_slow held, given up while deferred functions run. One at a time, so that a fork loses at most one of a thread. */
static void run_ready(void)
{
	struct hpx_deferred *d;
	hapax_env *env;

	while ((d = hpx_gp.ready)) {
		hpx_gp.ready = d->next;
		pthread_mutex_unlock(&hpx_slow);
		env = d->env;
		if (env)
			hpx_garbage_sub(env, d->bytes);
		d->run(d);
		if (env)
			hpx_env_end(env);
		pthread_mutex_lock(&hpx_slow);
	}
}

/* hpx_slow held, given up while polls run; the environment is pinned. */
static void run_polls(hapax_env *env)
{
	/* order: -> POLL.ADD acquire */
	struct hpx_poll *p = hpx_exchange_acquire(&env->new_polls, NULL), *next;
	unsigned n = 0;

	for (; p; p = next) {
		next = p->next;
		p->next = env->polls;
		env->polls = p;
	}
	for (p = env->polls; p; p = p->next) {
		n++;
		env->polls_last = p;
	}
	while (n-- && (p = env->polls)) {
		env->polls = p->next;
		pthread_mutex_unlock(&hpx_slow);
		if (p->poll(p))
			p = NULL;
		pthread_mutex_lock(&hpx_slow);
		if (!p)
			continue;
		p->next = NULL;
		if (env->polls)
			env->polls_last->next = p;
		else
			env->polls = p;
		env->polls_last = p;
	}
}

void hpx_gp_work(enum hpx_gp_how how)
{
	bool outer = !hpx_state.working, swept;
	hapax_env *env, *next;
	int saved = errno;

	pthread_mutex_lock(&hpx_slow);
	hpx_gp.working += outer;
	hpx_state.working = true;
	hpx_store_relaxed(&hpx_gp.unworked, 0); /* order: RECLAIM.WAKE relaxed; under the lock */
	harvest(how);
	while (hpx_gp.ready_nodes) {
		hpx_gp.ready_nodes = hpx_pool_free_orphans(hpx_gp.ready_nodes, ORPHANS_AT_ONCE);
		pthread_mutex_unlock(&hpx_slow);
		pthread_mutex_lock(&hpx_slow);
	}
	run_ready();
	for (env = hpx_envs; env; env = next) {
		env->pinned++;
		run_polls(env);
		pthread_mutex_unlock(&hpx_slow);
		hpx_pool_trim(env, how == HPX_WORK_TRIM ? 0 : how == HPX_WORK_ALL ? KEEP_QUIET : KEEP_BUSY);
		pthread_mutex_lock(&hpx_slow);
		next = env->next;
		env->pinned--;
	}
	swept = hpx_env_sweep();
	hpx_gp.working -= outer;
	if (outer)
		hpx_state.working = false;
	pthread_cond_broadcast(&hpx_gp.changed);
	pthread_mutex_unlock(&hpx_slow);
	if (swept) {
		hpx_gp_stamp();
		hpx_gp_wake(NULL);
	}
	errno = saved;
}

void hpx_gp_rounds(unsigned most, enum hpx_gp_how how)
{
	unsigned round = 0;
	int cancel;

	hpx_thread_ready();
	pthread_mutex_lock(&hpx_slow);
	hpx_pool_close_own(how == HPX_WORK_TRIM);
	pthread_mutex_unlock(&hpx_slow);
	do {
		if (hpx_gp_due())
			hpx_gp_run();
		hpx_gp_work(how);
		if (hpx_state.working)
			continue;
		/* what another thread took before is freed when this returns */
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
		pthread_mutex_lock(&hpx_slow);
		while (hpx_gp.working)
			pthread_cond_wait(&hpx_gp.changed, &hpx_slow);
		pthread_mutex_unlock(&hpx_slow);
		pthread_setcancelstate(cancel, NULL);
		hpx_gp_work(how); /* and the pages that it kept, expecting more use, are given back */
	} while (++round < most && hpx_gp_due());
}

/* ---- the reclaimer ------------------------------------------------------------------------------------------------ */

static void fall_asleep(bool tidy)
{
	static const struct timespec quiet = {.tv_nsec = IDLE_NS}, ticks = {.tv_nsec = HPX_TICK_NS};
	const struct timespec *most = tidy ? NULL : &quiet;

	/* order: RECLAIM.WAKE seq_cst; before looking whether anything is wanted */
	hpx_store_seq_cst(&sleeping, 1);
	/* order: HOT.USED seq_cst; as RECLAIM.WAKE */
	if (hpx_load_seq_cst(&hpx_ticking))
		most = &ticks;
	if (!hpx_gp_due() && !hpx_region_due())
		syscall(SYS_futex, &sleeping.v, FUTEX_WAIT_PRIVATE, 1, most, NULL, 0);
	hpx_store_seq_cst(&sleeping, 0); /* order: RECLAIM.WAKE seq_cst; awake whatever the reason */
}

static void tick_when_due(uint64_t *last)
{
	uint64_t now;

	/* order: HOT.USED relaxed; a hint */
	if (!hpx_load_relaxed(&hpx_ticking))
		return;
	now = real_now();
	if (now - *last < HPX_TICK_NS)
		return;
	*last = now;
	hpx_tick();
}

/*
 * A thread begins with the cores of the one that starts it, which may have been given one to itself, and here is whoever
 * happened to retire first. This one may go where the process may: where its first thread may.
 */
void hpx_thread_roam(void)
{
#ifndef HPX_MODEL /* its threads are no threads of the system */
	int saved = errno;
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(getpid(), sizeof(set), &set) == 0)
		(void)sched_setaffinity(0, sizeof(set), &set);
	errno = saved;
#endif
}

static void *reclaimer(void *arg)
{
	uint64_t ticked = 0;
	bool tidy = true;

	(void)arg;
	pthread_setname_np(pthread_self(), "hapax-reclaim");
	hpx_thread_roam();
	hpx_thread_ready();
	hpx_state.reclaimer = true;
	for (;;) {
		tick_when_due(&ticked);
		hpx_region_prepare();
		if (hpx_gp_due()) {
			hpx_gp_run();
			hpx_gp_work(HPX_WORK_SOME);
			tidy = false;
#ifndef HPX_CHAOS
			const struct timespec pause = {.tv_nsec = PAUSE_NS};

			/* order: RECLAIM.HURRY relaxed; a hint */
			if (!hpx_load_relaxed(&hurry))
				nanosleep(&pause, NULL);
#endif
			hpx_store_relaxed(&hurry, 0); /* order: RECLAIM.HURRY relaxed; a hint */
			continue;
		}
		fall_asleep(tidy);
		if (!tidy && !hpx_gp_due() && !hpx_region_due()) {
			hpx_gp_work(HPX_WORK_ALL);
			tidy = true;
		}
	}
	return NULL;
}

bool hpx_thread_start(void *(*run)(void *), void *arg, size_t stack)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int saved = errno, failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_attr_init(&attr);
	if (!failed) {
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		failed = stack ? pthread_attr_setstacksize(&attr, stack) : 0;
		if (!failed)
			failed = pthread_create(&thread, &attr, run, arg);
		pthread_attr_destroy(&attr);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return !failed || (stack && hpx_thread_start(run, arg, 0)); /* too small for the program's thread-local data, say */
}

/* Lazily, once; when it fails garbage stays until somebody tries again. */
bool hpx_gp_start(void)
{
	uint32_t none = 0;

	/* order: RECLAIM.START relaxed; one wins */
	if (HPX_LIKELY(hpx_load_relaxed(&started)))
		return true;
	if (!hpx_cas_acq_rel(&started, &none, 1) || hpx_thread_start(reclaimer, NULL, 0))
		return true;
	hpx_store_relaxed(&started, 0); /* order: RECLAIM.START relaxed; somebody else may try */
	return false;
}

static bool awaited(const struct hpx_deferred *list, const struct hpx_deferred *d)
{
	while (list && list != d)
		list = list->next;
	return list;
}

bool hpx_gp_awaits(const struct hpx_deferred *d)
{
	/* order: RECLAIM.RETIRE relaxed; one thread is left */
	return awaited(hpx_load_relaxed(&hpx_gp.deferred), d) || awaited(hpx_gp.taken, d) || awaited(hpx_gp.ready, d);
}

/* In the child, hpx_slow held: nobody runs a grace period, what was taken for one waits for the next. */
void hpx_gp_after_fork(void)
{
	const pthread_cond_t fresh = PTHREAD_COND_INITIALIZER;

	hpx_gp.busy = false;
	hpx_gp.working = 0;
	hpx_gp.changed = fresh;
	hpx_init(&running_since, 0);
	hpx_init(&sleeping, 0);
	hpx_init(&started, 0);
	hpx_gp_stamp();
}
