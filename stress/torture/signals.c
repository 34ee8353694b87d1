/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * signals.c - interruptions: a timer per thread whose handler sleeps, wherever the thread happens to be.
 *
 * Problem. The races that matter have windows of a few instructions, between a lookup and the count it takes, say. A
 * scheduler hardly ever preempts just there. A signal handler that sleeps does: the thread stays where it was, inside
 * its read section, while the others kill, retire and reuse what it was looking at. This needs nothing from hapax, so
 * it works on the library as it ships; and shows that hits and releases bear signals.
 */
#include "torture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { TIMER_NS = 700000, NAP_NS = 300000 };

static void on_timer(int signal_number)
{
	const struct timespec nap = {0, NAP_NS};
	int saved = errno;

	(void)signal_number;
	nanosleep(&nap, NULL);
	errno = saved;
}

void hpx_signals_install(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_timer;
	action.sa_flags = SA_RESTART;
	sigemptyset(&action.sa_mask);
	sigaction(SIGUSR1, &action, NULL);
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
