/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lines/main.c - hapax-lines: runs each operation on two threads that take turns, and says which cache lines it touched.
 *
 *      hapax-lines [--json FILE] [--sites] [--check] [--only TEXT]
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "lines/operations.h"

enum { WARM = 320, RUNS = 320 }; /* batches of 64 blocks close, and are used again, five times */

/* ---- two threads that take turns ------------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	const struct operation *op; /* NULL: no more */
	struct seat seat;
	unsigned runs;
	sem_t start, turn, done;
	struct worker *next;
};
static struct worker workers[LINES_WORKERS];

static void *work(void *arg)
{
	struct worker *w = arg;

	lines_drive();
	for (;;) {
		sem_wait(&w->start);
		if (!w->op)
			return NULL;
		if (hapax_thread_prepare(w->seat.set->env))
			abort();
		for (unsigned n = 0; n < w->runs; n++) {
			sem_wait(&w->turn);
			if (w->op->needs & NEEDS_PROMOTED)
				promote(w->seat.set->env, w->seat.set->object[w->seat.key]);
			for (unsigned part = 0; part < LINES_PARTS && w->op->parts[part]; part++) {
				lines_begin(w->seat.worker, part);
				w->op->run(&w->seat, part);
				lines_end();
			}
			sem_post(&w->next->turn);
		}
		sem_post(&w->done);
	}
}

static void workers_begin(void)
{
	for (unsigned i = 0; i < LINES_WORKERS; i++) {
		struct worker *w = &workers[i];

		w->seat.worker = i;
		w->next = &workers[(i + 1) % LINES_WORKERS];
		sem_init(&w->start, 0, 0);
		sem_init(&w->turn, 0, 0);
		sem_init(&w->done, 0, 0);
		if (pthread_create(&w->thread, NULL, work, w))
			abort();
	}
	sem_post(&workers[0].turn);
}

static void workers_run(const struct operation *op, unsigned runs)
{
	for (unsigned i = 0; i < LINES_WORKERS; i++) {
		workers[i].op = op;
		workers[i].runs = runs;
		sem_post(&workers[i].start);
	}
	for (unsigned i = 0; op && i < LINES_WORKERS; i++)
		sem_wait(&workers[i].done);
	for (unsigned i = 0; !op && i < LINES_WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
}

/* ---- measuring ------------------------------------------------------------------------------------------------------- */

struct result {
	const struct operation *op;
	struct lines_count of[PHASES][LINES_ACCOUNTS];
	double counts; /* shared lines of the object's count that are written, with the other thread on the same key */
};

static const uint64_t keys[] = {7, 7 + KEYS / 2};

static void seats(struct set sets[SETS], enum lines_phase phase)
{
	static const unsigned set_of[PHASES] = {0, 0, 1, 2};

	workers[0].seat.set = &sets[0];
	workers[0].seat.key = keys[0];
	workers[1].seat.set = &sets[set_of[phase]];
	workers[1].seat.key = keys[phase == OTHER_KEY];
	for (unsigned i = 0; i < LINES_WORKERS; i++)
		if (!workers[i].seat.fresh)
			workers[i].seat.fresh = (uint64_t)(i + 1) << 40;
}

static int measure(const struct operation *op, hapax_env *envs[2], bool sites, struct result *result)
{
	static struct set sets[SETS];
	int rc = 0;

	*result = (struct result){.op = op};
	lines_reset(true);
	for (unsigned i = 0; !rc && i < SETS; i++)
		rc = set_make(&sets[i], envs[i == 2], op);
	if (rc)
		return rc;
	for (unsigned phase = 0; phase < PHASES; phase++) {
		if (phase == SAME_KEY && op->needs & NO_SAME_KEY)
			continue;
		seats(sets, phase);
		for (unsigned i = 0; i < 2; i++)
			hapax_reclaim(envs[i]); /* what operations before have left */
		workers_run(op, WARM);
		lines_reset(false);
		workers_run(op, RUNS);
		for (unsigned account = 0; account < LINES_ACCOUNTS; account++)
			lines_sum(0, account, RUNS * op->times, &result->of[phase][account]);
		if (phase == SAME_KEY) /* the count is the second word of the header, right before the object */
			result->counts = lines_written_in(0, (char *)sets[0].object[keys[0]] - 8, 8, RUNS * op->times);
		if (!sites)
			continue;
		fprintf(stderr, "%s, the other thread on: %s\n", op->name, lines_phases[phase]);
		for (unsigned part = 0; part < LINES_PARTS && op->parts[part]; part++) {
			fprintf(stderr, "   %s\n", op->parts[part]);
			lines_sites(0, part, RUNS, stderr);
		}
	}
	for (unsigned i = 0; i < SETS; i++)
		set_end(&sets[i], op);
	return 0;
}

/* ---- telling --------------------------------------------------------------------------------------------------------- */

static void print_head(void)
{
	printf("%-44s %7s %6s | %-27s | %-27s | %5s %5s %5s\n", "", "private", "read", "shared and written lines,", "transfers,", "", "", "");
	printf("%-44s %7s %6s | %6s %6s %6s %6s | %6s %6s %6s %6s | %5s %5s %5s\n", "operation", "lines", "only", "key", "cache", "env",
	       "proc.", "key", "cache", "env", "proc.", "rmw", "locks", "alloc");
}

static void print_row(const struct result *r, unsigned account)
{
	const struct lines_count *c = &r->of[OTHER_KEY][account];
	char name[64];

	snprintf(name, sizeof(name), "%s%s%s", r->op->name, account < LINES_PARTS ? ": " : "",
		 account < LINES_PARTS ? r->op->parts[account] : "");
	printf("%-44s %7.2f %6.2f |", name, c->private, c->read_only);
	for (unsigned p = 0; p < PHASES; p++)
		printf(" %6.2f", r->of[p][account].written + r->of[p][account].read_written);
	printf(" |");
	for (unsigned p = 0; p < PHASES; p++)
		printf(" %6.2f", r->of[p][account].transfers);
	printf(" | %5.2f %5.2f %5.2f\n", c->rmw_shared + c->rmw_private, c->locks, c->allocations);
}

static void json_count(FILE *out, const struct lines_count *c)
{
	fprintf(out,
		"{\"private\": %.4f, \"read_only\": %.4f, \"read_written\": %.4f, \"written\": %.4f, \"transfers\": %.4f, \"busiest\": %.4f, "
		"\"rmw_shared\": %.4f, \"rmw_private\": %.4f, \"locks\": %.4f, \"allocations\": %.4f, \"system_calls\": %.4f}",
		c->private, c->read_only, c->read_written, c->written, c->transfers, c->busiest, c->rmw_shared, c->rmw_private, c->locks,
		c->allocations, c->system_calls);
}

static void json_row(FILE *out, const struct result *r, unsigned account, bool first)
{
	fprintf(out, "%s\n  {\"operation\": \"%s\", \"part\": \"%s\"", first ? "" : ",", r->op->name,
		account < LINES_PARTS ? r->op->parts[account] : "");
	for (unsigned p = 0; p < PHASES; p++) {
		if (p == SAME_KEY && r->op->needs & NO_SAME_KEY)
			continue;
		fprintf(out, ", \"%s\": ", lines_phases[p]);
		json_count(out, &r->of[p][account]);
	}
	fprintf(out, "}");
}

/* ---- promises -------------------------------------------------------------------------------------------------------- */

static int failures;

static void promise(const struct result *r, const char *what, double value, double most)
{
	if (value <= most + LINES_SELDOM)
		return;
	printf("broken: %s: %s: %.3f, at most %.3f\n", r->op->name, what, value, most);
	failures++;
}

static void check(const struct result *r)
{
	const struct lines_count *same = &r->of[SAME_KEY][LINES_WHOLE], *other = &r->of[OTHER_KEY][LINES_WHOLE];
	unsigned promises = r->op->promises;
	bool hot = r->op->needs & NEEDS_PROMOTED; /* may be demoted at any time, and what says that objects are hot changes then */

	if (promises & LOCK_FREE) {
		promise(r, "locks", same->locks + other->locks, 0);
		promise(r, "calls of the allocator", same->allocations + other->allocations, 0);
		promise(r, "system calls", same->system_calls + other->system_calls, 0);
	}
	if (promises & NOTHING_SHARED) {
		for (unsigned p = OTHER_KEY; p < PHASES; p++) {
			promise(r, "shared lines written, by different keys", r->of[p][LINES_WHOLE].written, 0);
			promise(r, "written lines read, by different keys", r->of[p][LINES_WHOLE].read_written, hot ? 2 : 0);
			promise(r, "transfers, by different keys", r->of[p][LINES_WHOLE].transfers, hot ? 0.1 : 0);
		}
	}
	if (promises & ONE_COUNT) {
		promise(r, "shared lines written, by the same key", same->written, 1);
		promise(r, "shared lines written beside the one with the count", same->written - r->counts, 0);
		promise(r, "a count not written", 1 - r->counts, 0); /* else nothing was looked at */
		promise(r, "shared lines read that others write", same->read_written, 0);
	}
	if (promises & NO_COUNT) {
		promise(r, "shared lines written, by the same key", same->written, hot ? 0.1 : 0);
		promise(r, "written lines read, by the same key", same->read_written, hot ? 2 : 0);
		promise(r, "transfers, by the same key", same->transfers, hot ? 0.1 : 0);
	}
	if (promises & LAST_FREE)
		for (unsigned p = r->op->needs & NO_SAME_KEY ? OTHER_KEY : SAME_KEY; p < PHASES; p++) {
			promise(r, "locks of what gives back", r->of[p][LINES_PARTS - 1].locks, 0);
			promise(r, "calls of the allocator of what gives back", r->of[p][LINES_PARTS - 1].allocations, 0);
		}
	if (promises & FEW_LINES)
		promise(r, "lines read that others read", same->read_only, r->op->reads);
}

static int usage(FILE *to)
{
	fprintf(to, "usage: hapax-lines [--json FILE] [--sites] [--check] [--only TEXT] [--help]\n");
	return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .seed = 1};
	const char *json = NULL, *only = NULL;
	bool sites = false, checking = false, first = true;
	hapax_env *envs[2];
	FILE *out = NULL;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--sites"))
			sites = true;
		else if (!strcmp(argv[i], "--check"))
			checking = true;
		else if (!strcmp(argv[i], "--json") && i + 1 < argc)
			json = argv[++i];
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else
			return usage(strcmp(argv[i], "--help") ? stderr : stdout);
	}
	if (json && !(out = fopen(json, "w")))
		return perror(json), 2;
	lines_drive();
	if (hapax_env_create(&envs[0], &options) || hapax_env_create(&envs[1], &options))
		return 2;
	workers_begin();
	print_head();
	if (out)
		fprintf(out, "{\"command\": \"lines\", \"rows\": [");
	for (const struct operation *op = lines_operations; op->name; op++) {
		struct result result;

		if (only && !strstr(op->name, only))
			continue;
		if (measure(op, envs, sites, &result))
			return fprintf(stderr, "%s: failed\n", op->name), 2;
		for (unsigned account = 0; account < LINES_ACCOUNTS; account++) {
			if (account < LINES_PARTS && (!op->parts[account] || !op->parts[1]))
				continue;
			print_row(&result, account);
			if (out)
				json_row(out, &result, account, first), first = false;
		}
		if (checking)
			check(&result);
	}
	workers_run(NULL, 0);
	if (out && (fprintf(out, "\n], \"ok\": %s}\n", failures ? "false" : "true") < 0 || fclose(out)))
		return perror(json), 2;
	hapax_env_destroy(envs[0]);
	hapax_env_destroy(envs[1]);
	return failures ? 1 : 0;
}
