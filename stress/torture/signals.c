/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * signals.c - interruptions: a timer per thread whose handler sleeps, wherever the thread happens to be; and a thread
 * that sends signals to all others as fast as it can.
 *
 * Problem. The races that matter have windows of a few instructions, between a lookup and the count it takes, say. A
 * scheduler hardly ever preempts just there. A signal handler that sleeps does: the thread stays where it was, inside
 * its read section, while the others kill, retire and reuse what it was looking at. This needs nothing from hapax, so
 * it works on the library as it ships; and shows that hits and releases bear signals.
 *
 * SIGUSR1 is handled with SA_RESTART, SIGUSR2 without: system calls are interrupted by it, and hapax's waits have to go
 * on all the same.
 */
#include "disturb.h"

#include "harness/team.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { TIMER_NS = 700000, NAP_NS = 300000, VOLLEY = 32 };

static hpx_relaxed restarting, interrupting;

static void on_timer(int signal_number)
{
	const struct timespec nap = {0, NAP_NS};
	int saved = errno;

	hpx_relaxed_add(signal_number == SIGUSR1 ? &restarting : &interrupting, 1);
	nanosleep(&nap, NULL);
	errno = saved;
}

static void on_volley(int signal_number)
{
	if (signal_number == SIGUSR2)
		hpx_relaxed_add(&interrupting, 1);
}

void hpx_signals_install(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_timer;
	action.sa_flags = SA_RESTART;
	sigemptyset(&action.sa_mask);
	sigaction(SIGUSR1, &action, NULL);
	action.sa_handler = on_volley;
	action.sa_flags = 0;
	sigaction(SIGUSR2, &action, NULL);
}

bool hpx_signals_start(timer_t *timer, unsigned index)
{
	/* of different lengths, so that they do not come together */
	long period = TIMER_NS + (long)(index % 16) * 37000;
	struct itimerspec times = {{0, period}, {0, period}};
	struct sigevent event;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = SIGUSR1;
	event.sigev_notify_thread_id = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, timer))
		return false;
	timer_settime(*timer, 0, &times, NULL);
	return true;
}

/* At everybody who has given his number: threads of the team, whatever they do just now. */
static void run(hpx_torturer *self, unsigned which)
{
	hpx_torture *torture = self->torture;
	pid_t process = getpid();

	(void)which;
	while (!hpx_stopping()) {
		for (unsigned i = 0; i < VOLLEY; i++) {
			uint64_t at = hpx_rng_below(&self->rng, torture->members);
			uint64_t tid = hpx_relaxed_get(&torture->tids[at]);

			if (tid && !syscall(SYS_tgkill, process, (pid_t)tid, SIGUSR2))
				hpx_happened(&hpx_storm, 1);
		}
		hpx_pause(hpx_rng_below(&self->rng, HAPAX_MILLISECOND));
	}
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	uint64_t timers = hpx_relaxed_get(&restarting);
	uint64_t volleys = hpx_relaxed_get(&interrupting);

	(void)torture;
	hpx_sight_look(HPX_SIGHT_SIGNALS, timers > 0 && volleys > 0, "%llu and %llu signals were handled",
		       (unsigned long long)timers, (unsigned long long)volleys);
	hpx_result_note(result, "signals_timers", "timer signals handled (SA_RESTART)", timers);
	hpx_result_note(result, "signals_sent", "sent signals handled (no SA_RESTART)", volleys);
}

hpx_disturbance hpx_storm = {
	.name = "signals",
	.help = "timer signals whose handlers sleep, and a storm of others, at all threads",
	.field = "signals",
	.label = "signals sent",
	.full = 100000,
	.threads = 1,
	.run = run,
	.judge = judge,
};
