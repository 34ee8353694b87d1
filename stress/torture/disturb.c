/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disturb.h"

#include "harness/options.h"
#include "harness/team.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hpx_disturbance *const hpx_disturbances[] = {
	&hpx_starved, &hpx_stopped,  &hpx_storm,     &hpx_short_threads, &hpx_forks,	    &hpx_dlopens,
	&hpx_own_rcu, &hpx_growth,   &hpx_iterates,  &hpx_exclusives,	 &hpx_tight_garbage, &hpx_closes,
	&hpx_cancels, &hpx_deferreds, &hpx_barriers, NULL,
};

/* --- choosing --- */

static int choose_one(const char *name, size_t length)
{
	bool out = length > 1 && name[0] == '-';

	if (out) {
		name++;
		length--;
	}
	if (length == 4 && !memcmp(name, "none", length))
		return 0;
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++) {
		const char *why = (*at)->lacking ? (*at)->lacking() : NULL;

		if (length == 3 && !memcmp(name, "all", length)) {
			(*at)->on = !out && !why;
			continue;
		}
		if (strlen((*at)->name) != length || memcmp((*at)->name, name, length) != 0)
			continue;
		if (why && !out)
			return hpx_input_error("torture", "--with: %s cannot be had: %s", (*at)->name, why);
		(*at)->on = !out;
		return 0;
	}
	if (length == 3 && !memcmp(name, "all", length))
		return 0;
	return hpx_input_error("torture", "--with: '%.*s' is no disturbance (see --help)", (int)length, name);
}

int hpx_disturb_choose(const char *with)
{
	while (*with) {
		size_t length = strcspn(with, ",");
		int status = choose_one(with, length);

		if (status)
			return status;
		with += length + (with[length] == ',');
	}
	return 0;
}

void hpx_disturb_names(char *text, size_t size)
{
	size_t used = 0;

	snprintf(text, size, "none");
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++)
		if ((*at)->on && used < size)
			used += (size_t)snprintf(text + used, size - used, "%s%s", used ? "," : "", (*at)->name);
}

unsigned hpx_disturb_threads(void)
{
	unsigned threads = 0;

	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++)
		threads += (*at)->on ? (*at)->threads : 0;
	return threads;
}

hpx_disturbance *hpx_disturb_member(unsigned index, unsigned *which)
{
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++) {
		if (!(*at)->on)
			continue;
		if (index < (*at)->threads) {
			*which = index;
			return *at;
		}
		index -= (*at)->threads;
	}
	return NULL;
}

/* --- for the disturbances --- */

hpx_torturer *hpx_recruit(hpx_torture *torture)
{
	if (torture->recruited == HPX_TORTURE_RECRUITS) {
		fputs("hapax-stress torture: HPX_TORTURE_RECRUITS is too small\n", stderr);
		abort();
	}
	return &torture->torturers[2 * torture->threads + 1 + torture->recruited++];
}

bool hpx_pause(uint64_t ns)
{
	uint64_t end = hpx_now() + ns;

	for (;;) {
		uint64_t now = hpx_now();
		uint64_t left = now < end ? end - now : 0;
		struct timespec nap = {0, (long)(left < 50000000 ? left : 50000000)};

		if (hpx_stopping())
			return false;
		if (!left)
			return true;
		nanosleep(&nap, NULL); /* a signal ends it early: the clock is asked again */
	}
}

bool hpx_await(bool (*condition)(void *ctx), void *ctx, double seconds)
{
	const struct timespec nap = {0, 1000000};
	uint64_t end = hpx_now() + (uint64_t)(seconds * 1e9);

	while (!condition(ctx)) {
		if (hpx_now() > end)
			return condition(ctx);
		nanosleep(&nap, NULL);
	}
	return true;
}

static void log_quietly(hapax_log_level level, const char *message, void *ctx)
{
	(void)level;
	(void)message;
	(void)ctx;
}

hapax_env *hpx_own_env(hpx_torture *torture, const hapax_env_options *options)
{
	hapax_env_options given = {HAPAX_ENV_OPTIONS_INIT};
	hapax_env *env = NULL;
	int status;

	if (options)
		given = *options;
	if (!given.log.write)
		given.log.write = log_quietly;
	given.seed = torture->seed;
	status = hapax_env_create(&env, &given);
	if (status) {
		hpx_input_error("torture", "no environment: %s", hapax_status_text(status));
		exit(HPX_EXIT_INPUT);
	}
	return env;
}

struct settling {
	hapax_env *env;
	hapax_env_stats stats;
};

static bool settled(void *ctx)
{
	struct settling *settling = ctx;
	hapax_env_stats *stats = &settling->stats;

	hapax_reclaim(settling->env);
	*stats = (hapax_env_stats){.size = sizeof(*stats)};
	return !hapax_env_stats_get(settling->env, stats) && stats->objects_born == stats->objects_destroyed &&
	       stats->objects_born == stats->objects_freed;
}

void hpx_own_env_end(hapax_env *env, const char *whose, uint64_t alive, hpx_sight bound)
{
	struct settling settling = {.env = env};
	hapax_env_stats *stats = &settling.stats;
	bool good = hpx_await(settled, &settling, HPX_TORTURE_PATIENCE);

	hpx_sight_look(HPX_SIGHT_CONSERVATION, good, "%s: %llu born, %llu destroyed, %llu freed", whose,
		       (unsigned long long)stats->objects_born, (unsigned long long)stats->objects_destroyed,
		       (unsigned long long)stats->objects_freed);
	if (bound != HPX_SIGHT_COUNT)
		hpx_sight_look(bound, stats->garbage_peak_bytes <= stats->garbage_bound_bytes + alive,
			       "%s: %zu bytes of garbage, bound %zu, alive %llu", whose, stats->garbage_peak_bytes,
			       stats->garbage_bound_bytes, (unsigned long long)alive);
	hapax_env_destroy(env);
}

void hpx_signals_block(void)
{
	sigset_t storm;

	sigemptyset(&storm);
	sigaddset(&storm, SIGUSR1);
	sigaddset(&storm, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &storm, NULL);
}
