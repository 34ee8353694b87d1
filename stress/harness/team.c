/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "team.h"

#include "options.h"
#include "relaxed.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND UINT64_C(1000000000)

/* Written by signal handlers and the main thread, read by all. Lock-free words: fit for handlers. */
static hpx_relaxed stopping, interrupted;

uint64_t hpx_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

bool hpx_stopping(void) { return hpx_relaxed_get(&stopping); }

void hpx_stop(void) { hpx_relaxed_set(&stopping, 1); }

bool hpx_interrupted(void) { return hpx_relaxed_get(&interrupted); }

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	hpx_relaxed_set(&interrupted, 1);
	hpx_relaxed_set(&stopping, 1);
}

void hpx_catch_interrupts(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_interrupt;
	/* once: who presses Ctrl-C twice does not want the closing table */
	action.sa_flags = (int)SA_RESETHAND;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	/* a reader of our output that has gone is an error of writing, not the end of the run */
	signal(SIGPIPE, SIG_IGN);
}

/* The start line: nobody works before all exist. */
struct gate {
	pthread_mutex_t mutex;
	pthread_cond_t opened;
	bool open, cancelled;
};

struct member {
	pthread_t thread;
	hpx_team *team;
	struct gate *gate;
	hpx_relaxed *returned;
	unsigned index;
};

static void *member_main(void *arg)
{
	struct member *member = arg;
	struct gate *gate = member->gate;
	bool cancelled;

	pthread_mutex_lock(&gate->mutex);
	while (!gate->open)
		pthread_cond_wait(&gate->opened, &gate->mutex);
	cancelled = gate->cancelled;
	pthread_mutex_unlock(&gate->mutex);
	if (!cancelled)
		member->team->work(member->index, member->team->ctx);
	hpx_relaxed_add(member->returned, 1);
	return NULL;
}

static void open_gate(struct gate *gate, bool cancelled)
{
	pthread_mutex_lock(&gate->mutex);
	gate->open = true;
	gate->cancelled = cancelled;
	pthread_cond_broadcast(&gate->opened);
	pthread_mutex_unlock(&gate->mutex);
}

static double seconds_since(uint64_t start) { return (double)(hpx_now() - start) / (double)NS_PER_SECOND; }

/* On a terminal one line that is rewritten; otherwise a plain line per second, later per ten seconds. */
static void show_progress(const hpx_progress *progress, double seconds, double *next, bool terminal)
{
	struct winsize window = {0};
	char line[400];

	if (!progress->to || seconds < *next)
		return;
	*next = seconds + (terminal ? 0.2 : seconds < 30 ? 1 : 10);
	progress->fill(line, sizeof(line), seconds, progress->ctx);
	/* a line that wraps could not be rewritten */
	if (terminal && !ioctl(fileno(progress->to), TIOCGWINSZ, &window) && window.ws_col > 20 &&
	    strlen(line) > window.ws_col - 12u)
		line[window.ws_col - 12] = 0;
	fprintf(progress->to, terminal ? "\r\033[K%7.1f s  %s" : "%7.1f s  %s\n", seconds, line);
	fflush(progress->to);
}

static void watch(hpx_team *team, hpx_relaxed *returned)
{
	bool terminal = team->progress.to && isatty(fileno(team->progress.to));
	const struct timespec tick = {0, 20000000};
	double patience = team->patience ? team->patience : 30;
	double next = terminal ? 0 : 1;
	uint64_t start = hpx_now();
	double told = -1;
	double now = 0;

	while (hpx_relaxed_get(returned) < team->threads) {
		nanosleep(&tick, NULL);
		now = seconds_since(start);
		if (team->seconds > 0 && now >= team->seconds &&
		    (!team->enough || now >= 10 * team->seconds || team->enough(team->ctx)))
			hpx_stop();
		if (hpx_stopping()) {
			if (told < 0)
				told = now;
			else if (now > told + patience)
				break;
		}
		show_progress(&team->progress, now, &next, terminal);
	}
	if (terminal)
		fputs("\r\033[K", team->progress.to);
	team->took = now;
	team->stuck = team->threads - (unsigned)hpx_relaxed_get(returned);
	team->interrupted = hpx_interrupted();
}

int hpx_team_run(const char *command, hpx_team *team)
{
	/* static, because stuck threads may still look at it when we have returned */
	static struct gate gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};
	static hpx_relaxed returned;
	struct member *members = calloc(team->threads, sizeof(*members));
	unsigned started = 0;
	int error = 0;

	if (!members)
		return hpx_input_error(command, "out of memory for %u threads", team->threads);
	gate.open = false;
	hpx_relaxed_set(&returned, 0);
	hpx_relaxed_set(&stopping, hpx_interrupted());
	for (; started < team->threads; started++) {
		members[started] =
			(struct member){.team = team, .gate = &gate, .returned = &returned, .index = started};
		error = pthread_create(&members[started].thread, NULL, member_main, &members[started]);
		if (error)
			break;
	}
	open_gate(&gate, error != 0);
	if (!error)
		watch(team, &returned);
	if (!team->stuck) {
		for (unsigned i = 0; i < started; i++)
			pthread_join(members[i].thread, NULL);
		free(members);
	}
	if (error)
		return hpx_input_error(command, "thread %u of %u could not be started: %s", started + 1, team->threads,
				       strerror(error));
	return 0;
}
