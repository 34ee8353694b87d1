/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reclaim/event.c - events: ck's event counts over the environment's clock and a futex (or the testing build's time). */
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reclaim/internal.h"

_Static_assert(sizeof(struct ck_ec32) <= sizeof(struct hpx_event), "an event count fits");

static struct ck_ec32 *ec_of(const struct hpx_event *event) { return (struct ck_ec32 *)(uintptr_t)event->storage; }

static hapax_env *env_of(const struct ck_ec_ops *ops)
{
	return HPX_CONTAINER_OF((struct ck_ec_ops *)(uintptr_t)ops, hapax_env, ops);
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / HAPAX_SECOND), .tv_nsec = (long)(ns % HAPAX_SECOND)};
}

static uint64_t to_ns(const struct timespec *ts) { return (uint64_t)ts->tv_sec * HAPAX_SECOND + (uint64_t)ts->tv_nsec; }

static int ec_now(const struct ck_ec_ops *ops, struct timespec *out)
{
	*out = to_timespec(hpx_env_now(env_of(ops)));
	return 0;
}

/* A cancellation point, as a system call of libc would be. No cleanup of ours lies between here and the caller of
 * hpx_event_wait(), which owns what has to be undone. */
HPX_LEFT_BY_CANCELLATION static void futex_sleep(const uint32_t *word, uint32_t expected, const struct timespec *relative)
{
	int type;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, relative, NULL, 0);
	pthread_setcanceltype(type, NULL);
}

/* Returning early is allowed: on EINTR, on a changed word, on anything. */
HPX_LEFT_BY_CANCELLATION static void ec_wait(const struct ck_ec_wait_state *state, const uint32_t *word, uint32_t expected,
		    const struct timespec *deadline)
{
	hapax_env *env = env_of(state->ops);
	uint64_t until = deadline ? to_ns(deadline) : HAPAX_FOREVER, now;
	struct timespec relative;

	if (env->time_wait) {
		env->time_wait(word, expected, until, env->time_ctx);
		return;
	}
	if (!deadline) {
		futex_sleep(word, expected, NULL);
		return;
	}
	now = hpx_env_now(env);
	if (now >= until)
		return;
	relative = to_timespec(until - now);
	futex_sleep(word, expected, &relative);
}

static void ec_wake(const struct ck_ec_ops *ops, const uint32_t *word)
{
	hapax_env *env = env_of(ops);

	if (env->time_wake)
		env->time_wake(word, env->time_ctx);
	else
		syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

const struct ck_ec_ops hpx_event_ops = {.gettime = ec_now, .wait32 = ec_wait, .wake32 = ec_wake};

void hpx_event_init(struct hpx_event *event) { hpx_ec_init(ec_of(event)); }

uint32_t hpx_event_value(const struct hpx_event *event) { return hpx_ec_value(ec_of(event)); }

void hpx_event_signal(struct hpx_event *event, hapax_env *env)
{
	int saved = errno;

	hpx_ec_signal(ec_of(event), &env->ops);
	errno = saved;
}

HPX_LEFT_BY_CANCELLATION int hpx_event_wait(struct hpx_event *event, hapax_env *env, uint32_t old, uint64_t deadline)
{
	struct timespec until = to_timespec(deadline);
	int saved = errno, late;

	late = hpx_ec_wait(ec_of(event), &env->ops, old, deadline == HAPAX_FOREVER ? NULL : &until);
	errno = saved;
	return late ? 1 : 0;
}
