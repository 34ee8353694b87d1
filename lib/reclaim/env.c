/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/env.c - environments: options, allocator, clock, messages, lifetime.
 *
 * What keeps an environment is counted in two numbers that only grow: `begun` (holds, memory of upper layers, pool blocks,
 * deferrals) and `ended`. Whoever ends something touches nothing of the environment afterwards. Housekeeping reads the
 * ends first and the beginnings second: if they are equal then, in between, there was an instant with nothing left, and
 * with the owner's hold gone too nobody can begin anything again. Then the environment leaves the list, and after one
 * more grace period (exiting calls are in sections or at their end) its pages, shares and itself are freed at once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "reclaim/internal.h"

#define DEFAULT_BOUND ((size_t)64 << 20)

pthread_mutex_t hpx_slow = PTHREAD_MUTEX_INITIALIZER;
hapax_env *hpx_envs;
extern const struct ck_ec_ops hpx_event_ops;

static uint64_t last_number; /* hpx_slow */
static hapax_env default_env;
static pthread_once_t default_once = PTHREAD_ONCE_INIT;

/* ---- what the default environment uses ---------------------------------------------------------------------------- */

/*
 * Large blocks (pages of the pool, arrays of tables) are mapped: aligned ones cost no more than their size, they go back
 * to the system whole, and they are zero without being touched, so that a new array costs memory only as it is filled.
 * With AddressSanitizer everything comes from malloc, whose blocks it and its leak detection know.
 */
#ifdef HPX_ASAN
#define MAPPED_FROM SIZE_MAX
#else
#define MAPPED_FROM ((size_t)64 << 10)
#endif
static void *default_alloc(size_t size, size_t align, void *ctx)
{
	(void)ctx;
	if (size == align && size == MAPPED_FROM)
		return hpx_region_page(size);
	if (size >= MAPPED_FROM)
		return size > SIZE_MAX / 4 ? NULL : hpx_map_aligned(size, align);
	if (align <= _Alignof(max_align_t))
		return malloc(size);
	return aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

static void default_free(void *block, size_t size, size_t align, void *ctx)
{
	(void)align, (void)ctx;
	if (size >= MAPPED_FROM)
		hpx_unmap(block, size);
	else
		free(block);
}

static uint64_t monotonic_now(void *ctx)
{
	struct timespec ts = {.tv_sec = 0}; /* what a clock that cannot be read reads */

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * HAPAX_SECOND + (uint64_t)ts.tv_nsec;
}

static void stderr_write(hapax_log_level level, const char *message, void *ctx)
{
	(void)ctx;
	if (level != HAPAX_LOG_INFO)
		fprintf(stderr, "hapax: %s: %s\n", level == HAPAX_LOG_ERROR ? "error" : "warning", message);
}

static uint64_t random_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
		seed = monotonic_now(NULL) ^ (uint64_t)(uintptr_t)&seed ^ (uint64_t)getpid() << 32;
	return seed;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

void hpx_env_set_threshold(hapax_env *env)
{
	size_t hidden, least = env->bound / 2;

	if (__builtin_mul_overflow(env->local_count, env->batch_bytes, &hidden) || hidden > env->bound - least)
		hidden = env->bound - least;
	/* order: ADMIT.THRESHOLD relaxed; an estimate in time */
	hpx_store_relaxed(&env->threshold, env->bound - hidden);
}

static void set_up(hapax_env *env, const hapax_env_options *o)
{
	env->flags = o->flags;
	env->allocator = o->allocator;
	env->clock = o->clock;
	env->log = o->log;
	env->bound = o->garbage_bound ? o->garbage_bound : DEFAULT_BOUND;
	env->stall_ns = o->stall_ns ? o->stall_ns : HAPAX_SECOND;
	if (!env->clock.now)
		env->clock.now = monotonic_now;
	if (!env->log.write)
		env->log.write = stderr_write;
	env->batch_bytes = env->bound / 64 < HPX_BATCH_BYTES ? env->bound / 64 : HPX_BATCH_BYTES;
	env->ops = hpx_event_ops;
	hpx_init(&env->random, o->seed ? o->seed : random_seed());
	hpx_event_init(&env->room);
	hpx_counters_init(&env->counters, env);
	hpx_pool_init(env);
	hpx_env_set_threshold(env);
	pthread_mutex_lock(&hpx_slow);
	env->number = env->is_default ? 0 : ++last_number;
	env->next = hpx_envs;
	env->back = &hpx_envs;
	if (hpx_envs)
		hpx_envs->back = &env->next;
	hpx_envs = env;
	pthread_mutex_unlock(&hpx_slow);
}

static void make_default(void)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .allocator = {default_alloc, default_free, NULL}};

	default_env.is_default = true;
	set_up(&default_env, &o);
}

hapax_env *hpx_env_or_default(hapax_env *env)
{
	int saved;

	if (env)
		return env;
	saved = errno;
	pthread_once(&default_once, make_default);
	errno = saved;
	return &default_env;
}

int hapax_env_create(hapax_env **out, const hapax_env_options *options)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT};
	int saved = errno;
	hapax_env *env;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (options) {
		if (options->size != sizeof(o))
			return HAPAX_EOPTSIZE;
		o = *options;
	}
	if (o.flags & ~(unsigned)HAPAX_ENV_NO_THREAD)
		return HAPAX_EFLAGS;
	if (!o.allocator.alloc != !o.allocator.free)
		return HAPAX_EOPTION;
	if (!o.allocator.alloc)
		o.allocator = (hapax_allocator){default_alloc, default_free, NULL};
	env = o.allocator.alloc(sizeof(*env), HPX_CACHE_LINE, o.allocator.ctx);
	if (env) {
		memset(env, 0, sizeof(*env));
		hpx_init(&env->bytes, sizeof(*env));
		set_up(env, &o);
		*out = env;
	}
	errno = saved;
	return env ? 0 : HAPAX_ENOMEM;
}

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

void hpx_env_begin(hapax_env *env) { hpx_add_relaxed(&env->begun, 1); /* order: ENV.ENDED relaxed; its end follows */ }

void hpx_env_end(hapax_env *env)
{
	/* order: ENV.ENDED -> release; all use of the environment, and its beginning, before it */
	hpx_add_release(&env->ended, 1);
}

void hpx_env_hold(hapax_env *env) { hpx_env_begin(env); }

void hpx_env_drop(hapax_env *env) { hpx_env_end(env); }

bool hpx_env_threadless(hapax_env *env) { return env->flags & HAPAX_ENV_NO_THREAD; }

bool hpx_env_closed(hapax_env *env)
{
	return hpx_load_acquire(&env->closed); /* order: -> ENV.CLOSE acquire */
}

static bool nothing_left(hapax_env *env)
{
	struct hpx_local *local;
	uint64_t ended, begun;

	if (!hpx_env_closed(env) || env->pinned || env->polls)
		return false;
	/* order: -> ENV.ENDED acquire; what began before an end that is seen is seen below */
	ended = hpx_load_acquire(&env->ended);
	for (local = env->locals; local; local = local->next)
		ended += hpx_load_acquire(&local->ended); /* order: -> ENV.ENDED acquire */
	/* order: ENV.ENDED relaxed; after the acquires above */
	begun = hpx_load_relaxed(&env->begun);
	for (local = env->locals; local; local = local->next)
		begun += hpx_load_relaxed(&local->begun);
	if (begun != ended)
		return false;
	/* order: ENV.ENDED relaxed; added to before the end of the call that did */
	if (hpx_load_relaxed(&env->orphaned) || hpx_load_relaxed(&env->new_polls))
		return false;
	return hpx_counters_sum(&env->counters, HPX_ENV_FREED) == hpx_counters_sum(&env->counters, HPX_ENV_BORN);
}

/* A grace period after it has left the list. */
static void env_free(struct hpx_deferred *d)
{
	hapax_env *env = HPX_CONTAINER_OF(d, hapax_env, end);
	hapax_allocator allocator = env->allocator;
	struct hpx_local *local;

	while ((local = env->locals)) {
		env->locals = local->next;
		hpx_raw_free(env, local, sizeof(*local), HPX_CACHE_LINE);
	}
	hpx_pool_fini(env);
	hpx_counters_fini(&env->counters);
	HPX_ASSERT(hpx_load_relaxed(&env->bytes) == sizeof(*env));
	allocator.free(env, sizeof(*env), HPX_CACHE_LINE, allocator.ctx);
}

bool hpx_env_sweep(void)
{
	hapax_env *env, *next;
	struct hpx_local *local;
	bool any = false;

	for (env = hpx_envs; env; env = next) {
		next = env->next;
		if (!nothing_left(env))
			continue;
		*env->back = next;
		if (next)
			next->back = env->back;
		for (local = env->locals; local; local = local->next)
			hpx_local_disown(local);
		/* Not hpx_retire(): this one keeps no environment. It is on the list of what the next grace period frees. */
		env->end.run = env_free;
		env->end.env = NULL;
		env->end.next = hpx_gp.taken;
		if (hpx_gp.busy) {
			/* the one that runs began before: the stack waits for the next */
			void *head = hpx_load_relaxed(&hpx_gp.deferred); /* order: RECLAIM.RETIRE relaxed; only copied */

			do
				env->end.next = head;
			/* order: RECLAIM.RETIRE -> release */
			while (!hpx_cas_release(&hpx_gp.deferred, &head, (void *)&env->end));
		} else {
			hpx_gp.taken = &env->end;
		}
		any = true;
	}
	return any;
}

bool hpx_env_exists(hapax_env *env)
{
	hapax_env *at;

	pthread_mutex_lock(&hpx_slow);
	for (at = hpx_envs; at && at != env; at = at->next)
		;
	pthread_mutex_unlock(&hpx_slow);
	return at != NULL;
}

hapax_env *hpx_env_next(uint64_t *from)
{
	hapax_env *at, *found = NULL;

	pthread_mutex_lock(&hpx_slow);
	for (at = hpx_envs; at; at = at->next)
		if (at->number >= *from && (!found || at->number < found->number))
			found = at;
	if (found) {
		*from = found->number + 1;
		hpx_env_begin(found); /* it is in the list, so that it has not been found to have nothing left */
	}
	pthread_mutex_unlock(&hpx_slow);
	return found;
}

uint64_t hpx_env_number(const hapax_env *env) { return env->number; }

bool hpx_env_lasts(const hapax_env *env) { return env->is_default; }

void hpx_env_close(hapax_env *env)
{
	int saved = errno;

	hpx_thread_ready();
	hpx_env_begin(env);
	/* order: ENV.CLOSE -> release; the owner's use before it */
	hpx_store_release(&env->closed, 1);
	hpx_gp_stamp();
	hpx_gp_wake(env);
	hpx_env_end(env);
	if (!hpx_in_section() && !hpx_self.frames && !hpx_state.working)
		for (unsigned i = 0; i < 4 && hpx_env_exists(env); i++)
			hpx_gp_rounds(1, HPX_WORK_ALL);
	errno = saved;
}

/* ---- memory, time, messages --------------------------------------------------------------------------------------- */

void *hpx_raw_alloc(hapax_env *env, size_t size, size_t align)
{
	int saved = errno;
	void *block = env->allocator.alloc(size, align < 16 ? 16 : align, env->allocator.ctx);

	if (block)
		hpx_add_relaxed(&env->bytes, size); /* order: ENV.BYTES relaxed; a statistic */
	errno = saved;
	return block;
}

void hpx_raw_free(hapax_env *env, void *block, size_t size, size_t align)
{
	int saved = errno;

	hpx_sub_relaxed(&env->bytes, size); /* order: ENV.BYTES relaxed; a statistic */
	env->allocator.free(block, size, align < 16 ? 16 : align, env->allocator.ctx);
	errno = saved;
}

void *hpx_alloc(hapax_env *env, size_t size, size_t align)
{
	void *block;

	hpx_env_begin(env);
	block = hpx_raw_alloc(env, size, align);
	if (!block) {
		hpx_env_end(env);
		return NULL;
	}
	if (size >= MAPPED_FROM && env->allocator.alloc == default_alloc)
		return block; /* fresh from the system */
	return memset(block, 0, size);
}

void hpx_free(hapax_env *env, void *block, size_t size, size_t align)
{
	hpx_raw_free(env, block, size, align);
	hpx_env_end(env);
}

uint64_t hpx_env_now(hapax_env *env)
{
	int saved = errno;
	uint64_t now = env->time_now ? env->time_now(env->time_ctx) : env->clock.now(env->clock.ctx);

	errno = saved;
	return now;
}

bool hpx_env_coarse(const hapax_env *env) { return !env->time_now && env->clock.now == monotonic_now; }

/* A read of the precise clock costs more than a hit; sums of coarse ones are as right in the mean. */
uint64_t hpx_env_now_coarse(hapax_env *env)
{
	struct timespec ts;
	int saved;

	if (!hpx_env_coarse(env))
		return hpx_env_now(env);
	saved = errno;
	if (HPX_UNLIKELY(clock_gettime(CLOCK_MONOTONIC_COARSE, &ts) != 0)) {
		errno = saved;
		return 0;
	}
	return (uint64_t)ts.tv_sec * HAPAX_SECOND + (uint64_t)ts.tv_nsec;
}

const hapax_allocator *hpx_env_allocator(hapax_env *env) { return &env->allocator; }

uint64_t hapax_env_now(hapax_env *env) { return hpx_env_now(hpx_env_or_default(env)); }

uint64_t hpx_env_random(hapax_env *env)
{
	/* order: ENV.RANDOM relaxed; splitmix64, each caller its own step */
	uint64_t x = hpx_add_relaxed(&env->random, UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

void hpx_env_log(hapax_env *env, hapax_log_level level, const char *format, ...)
{
	int saved = errno;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	env->log.write(level, text, env->log.ctx);
	errno = saved;
}

void hpx_poll_add(hapax_env *env, struct hpx_poll *p)
{
	/* order: POLL.ADD relaxed; the head is only copied */
	void *head = hpx_load_relaxed(&env->new_polls);

	do
		p->next = head;
	/* order: POLL.ADD -> release; what the poll looks at before it */
	while (!hpx_cas_release(&env->new_polls, &head, (void *)p));
}

hpx_ptr *hpx_env_deferred_deaths(hapax_env *env) { return &env->deferred_deaths; }

struct hapax_finalizer **hpx_env_finalizers(hapax_env *env) { return &env->finalizers; }

struct hpx_counters *hpx_env_counters(hapax_env *env) { return &env->counters; }

hpx_ptr *hpx_env_classes(hapax_env *env) { return env->classes; }

/* ---- statistics, first calls -------------------------------------------------------------------------------------- */

int hapax_thread_prepare(hapax_env *env)
{
	struct hpx_counters *counters;
	void *block;

	env = hpx_env_or_default(env);
	hpx_thread_ready();
	if (!hpx_thread_hook())
		return HAPAX_ETHREAD;
	if (!hpx_local_of(env))
		return HAPAX_ENOMEM;
	counters = hpx_env_counters(env);
	hpx_count(counters, HPX_ENV_BORN, 0);
	block = hpx_pool_alloc(env, 96);
	if (!block)
		return HAPAX_ENOMEM;
	hpx_pool_free(env, block, 96);
	if (!(env->flags & HAPAX_ENV_NO_THREAD) && !hpx_gp_start())
		return HAPAX_ETHREAD;
	return 0;
}

int hapax_env_stats_get(hapax_env *env, hapax_env_stats *stats)
{
	size_t size;

	if (!stats)
		return HAPAX_ENULL;
	size = stats->size;
	if (size != sizeof(*stats))
		return HAPAX_EOPTSIZE;
	env = hpx_env_or_default(env);
	hpx_stall_look(env);
	memset(stats, 0, sizeof(*stats));
	stats->size = size;
	/* order: ENV.STATS relaxed; each number by itself */
	stats->garbage_bytes = hpx_load_relaxed(&env->garbage);
	stats->garbage_peak_bytes = hpx_load_relaxed(&env->peak);
	stats->garbage_bound_bytes = env->bound;
	stats->garbage_waits = hpx_load_relaxed(&env->waits);
	stats->garbage_refusals = hpx_load_relaxed(&env->refusals);
	stats->grace_periods = hpx_load_relaxed(&hpx_gp_done);
	stats->objects_freed = hpx_counters_sum(&env->counters, HPX_ENV_FREED);
	stats->objects_destroyed = hpx_counters_sum(&env->counters, HPX_ENV_DESTROYED);
	stats->objects_born = hpx_counters_sum(&env->counters, HPX_ENV_BORN);
	stats->stalls = hpx_load_relaxed(&env->stalls);
	if (hpx_slow_lock()) {
		stats->stalled_tid = env->stalled_tid;
		memcpy(stats->stalled_name, env->stalled_name, sizeof(stats->stalled_name));
		pthread_mutex_unlock(&hpx_slow);
	}
	return 0;
}
