/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/thread.c - threads and their shares of environments.
 *
 * A thread is noticed at its first slow call: it gets a number, a place among the counters' stripes, and an exit hook.
 * Its share of an environment is adopted from a thread that has exited, or made. Without the hook (no key left, no
 * memory) or in TLS destructors that run after it there is no share: everything then goes through shared paths.
 */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reclaim/internal.h"

#ifndef HPX_MODEL
__thread struct hpx_thread hpx_self __attribute__((tls_model("initial-exec")));
__thread struct hpx_thread_state hpx_state __attribute__((tls_model("initial-exec")));
#endif

static struct hpx_thread_state *threads; /* hpx_slow */
static uint64_t stripes_taken = 1;       /* hpx_slow; bit 0 is nobody's */
static hpx_u64 last_id;
void (*hpx_thread_leaving)(void);
static pthread_key_t key; /* hpx_slow, as key_made */
static bool key_made;

/* hpx_slow held */
static void forget(struct hpx_thread_state *t)
{
	if (!t->back)
		return;
	*t->back = t->next;
	if (t->next)
		t->next->back = t->back;
	t->back = NULL;
}

static void cache_share(hapax_env *env, struct hpx_local *local)
{
	hpx_self.local = local;
	/* order: LOCAL.CACHE relaxed; written by others only to NULL, for an environment nobody uses */
	__atomic_store_n(&hpx_self.env, env, __ATOMIC_RELAXED);
}

static void thread_exit(void *arg)
{
	struct hpx_local *local;
	bool wanted = false;
	int saved = errno;

	(void)arg;
	hpx_self.exiting = true;
	if (hpx_thread_leaving)
		hpx_thread_leaving();
	pthread_mutex_lock(&hpx_slow);
	cache_share(NULL, NULL);
	/* order: LOCAL.MINE relaxed; under the lock */
	for (local = hpx_load_relaxed(&hpx_state.locals); local; local = hpx_load_relaxed(&local->mine)) {
		if (hpx_pool_close_local(local, true) && !(local->env->flags & HAPAX_ENV_NO_THREAD))
			wanted = true;
		local->owner = NULL;
	}
	hpx_store_relaxed(&hpx_state.locals, NULL); /* order: LOCAL.MINE relaxed; this thread's own */
	stripes_taken &= ~(hpx_self.stripe ? UINT64_C(1) << hpx_self.stripe : 0);
	hpx_self.stripe = 0;
	forget(&hpx_state);
	pthread_mutex_unlock(&hpx_slow);
	if (wanted && hpx_gp_start())
		hpx_gp_wake(NULL);
	errno = saved;
}

/*
 * A section must not wait for hpx_slow: a fork holds it while liburcu's handler, called after hapax's, waits for a grace
 * period, which waits for the section. So inside one a lock that is taken counts as not to be had.
 */
bool hpx_slow_lock(void)
{
	if (HPX_UNLIKELY(hpx_in_section()))
		return !pthread_mutex_trylock(&hpx_slow);
	pthread_mutex_lock(&hpx_slow);
	return true;
}

bool hpx_thread_hook(void)
{
	uint64_t free_places;
	bool made;
	int saved;

	if (HPX_LIKELY(hpx_state.hooked))
		return true;
	saved = errno;
	if (!hpx_slow_lock())
		return false;
	if (!key_made)
		key_made = !pthread_key_create(&key, thread_exit);
	made = key_made;
	pthread_mutex_unlock(&hpx_slow);
	/* outside the lock: it may call malloc */
	if (made && !pthread_setspecific(key, &hpx_self) && hpx_slow_lock()) {
		free_places = ~stripes_taken;
		if (free_places) {
			hpx_self.stripe = (uint32_t)__builtin_ctzll(free_places);
			stripes_taken |= UINT64_C(1) << hpx_self.stripe;
		}
		hpx_state.self = &hpx_self;
		hpx_state.next = threads;
		hpx_state.back = &threads;
		if (threads)
			threads->back = &hpx_state.next;
		threads = &hpx_state;
		hpx_state.hooked = true;
		pthread_mutex_unlock(&hpx_slow);
	}
	errno = saved;
	return hpx_state.hooked;
}

/* Numbers, hook, place: under the lock only what others see. */
void hpx_thread_ready(void)
{
	int saved = errno;

	if (HPX_LIKELY(hpx_self.id))
		return;
	urcu_bp_register_thread();
	hpx_state.tid = (int)syscall(SYS_gettid);
	if (pthread_getname_np(pthread_self(), hpx_state.name, sizeof(hpx_state.name)))
		hpx_state.name[0] = 0;
	hpx_state.reader = URCU_TLS(urcu_bp_reader);
	/* a section that could not wait: the next call tries again */
	if (hpx_thread_hook() || !hpx_in_section())
		hpx_self.id = hpx_add_relaxed(&last_id, 1) + 1; /* order: THREAD.ID relaxed; only unique */
	errno = saved;
}

bool hpx_thread_noticed(void)
{
	hpx_thread_ready();
	return hpx_state.hooked && !hpx_self.exiting;
}

/* ---- shares ------------------------------------------------------------------------------------------------------ */

static struct hpx_local *find_mine(hapax_env *env)
{
	struct hpx_local *local;

	hpx_read_lock();
	/* order: LOCAL.MINE relaxed; this thread put them there. In a section: one that is taken away is freed after it. */
	local = hpx_load_relaxed(&hpx_state.locals);
	while (local && local->env != env)
		local = hpx_load_relaxed(&local->mine);
	hpx_read_unlock();
	return local;
}

/* hpx_slow held */
static struct hpx_local *adopt(hapax_env *env)
{
	for (struct hpx_local *local = env->locals; local; local = local->next)
		if (!local->owner)
			return local;
	return NULL;
}

static void own(struct hpx_local *local)
{
	local->owner = &hpx_self;
	/* order: LOCAL.MINE relaxed; read by this thread */
	hpx_store_relaxed(&local->mine, hpx_load_relaxed(&hpx_state.locals));
	hpx_store_relaxed(&hpx_state.locals, local);
}

struct hpx_local *hpx_local_slow(hapax_env *env)
{
	struct hpx_local *local, *made = NULL;
	int saved = errno;

	hpx_thread_ready();
	if (hpx_self.exiting || !hpx_state.hooked) {
		errno = saved;
		return NULL;
	}
	local = find_mine(env);
	if (!local && hpx_slow_lock()) {
		local = adopt(env);
		if (local)
			own(local);
		pthread_mutex_unlock(&hpx_slow);
	}
	if (!local && !hpx_in_section()) {
		made = hpx_raw_alloc(env, sizeof(*made), HPX_CACHE_LINE);
		if (made) {
			memset(made, 0, sizeof(*made));
			made->env = env;
			for (uint32_t k = 0; k < HPX_CLASSES; k++)
				made->magazine[k].size_class = made->open[k].size_class = k;
			pthread_mutex_lock(&hpx_slow);
			made->next = env->locals;
			env->locals = made;
			env->local_count++;
			hpx_env_set_threshold(env);
			own(made);
			pthread_mutex_unlock(&hpx_slow);
			local = made;
		}
	}
	if (local)
		cache_share(env, local);
	errno = saved;
	return local;
}

void hpx_local_disown(struct hpx_local *local)
{
	struct hpx_thread *owner = local->owner;
	HPX_ATOMIC(struct hpx_local *) *link;
	struct hpx_thread_state *t;
	struct hpx_local *at;

	if (!owner)
		return;
	for (t = threads; t; t = t->next) {
		/* order: LOCAL.MINE relaxed; all of this under the lock */
		for (link = (void *)&t->locals; (at = hpx_load_relaxed(link)); link = (void *)&at->mine) {
			if (at != local)
				continue;
			hpx_store_relaxed(link, hpx_load_relaxed(&local->mine));
			break;
		}
	}
	/* order: LOCAL.CACHE relaxed; whoever makes another environment at this address does so after this */
	if (__atomic_load_n(&owner->env, __ATOMIC_RELAXED) == local->env)
		__atomic_store_n(&owner->env, NULL, __ATOMIC_RELAXED);
	local->owner = NULL;
}

/* ---- looking at others ------------------------------------------------------------------------------------------- */

bool hpx_thread_stalling(int *tid, char name[16])
{
	unsigned long now = __atomic_load_n(&urcu_bp_gp.ctr, __ATOMIC_RELAXED), ctr;

	for (struct hpx_thread_state *t = threads; t; t = t->next) {
		/* order: STALL.LOOK relaxed; a guess. liburcu never unmaps its readers. */
		ctr = t->reader ? hpx_reader_ctr(t->reader) : 0;
		if (!(ctr & URCU_BP_GP_CTR_NEST_MASK) || !((ctr ^ now) & URCU_BP_GP_CTR_PHASE))
			continue;
		*tid = t->tid;
		memcpy(name, t->name, sizeof(t->name));
		return true;
	}
	return false;
}

void hpx_loadings_each(void (*fn)(struct hpx_loading *s, int tid, void *ctx), void *ctx)
{
	pthread_mutex_lock(&hpx_slow);
	for (struct hpx_thread_state *t = threads; t; t = t->next)
		for (unsigned i = 0; i < HPX_LOADINGS; i++)
			/* order: FLIGHT.SEEN relaxed; a hint: fn reads it in a section */
			if (hpx_load_relaxed(&t->self->loading[i].entry))
				fn(&t->self->loading[i], t->tid, ctx);
	pthread_mutex_unlock(&hpx_slow);
}

int hpx_thread_tid(void)
{
	hpx_thread_ready();
	return hpx_state.tid;
}

/* In the child, hpx_slow held: only this thread is left. */
void hpx_threads_after_fork(void)
{
	struct hpx_local *local;
	hapax_env *env;

	for (env = hpx_envs; env; env = env->next)
		for (local = env->locals; local; local = local->next)
			if (local->owner && local->owner != &hpx_self) {
				local->owner = NULL;
				hpx_local_after_fork(local);
			}
	threads = NULL;
	stripes_taken = 1 | UINT64_C(1) << hpx_self.stripe;
	if (hpx_state.back) {
		hpx_state.tid = (int)syscall(SYS_gettid);
		threads = &hpx_state;
		hpx_state.next = NULL;
		hpx_state.back = &threads;
	}
	hpx_state.working = false;
}
