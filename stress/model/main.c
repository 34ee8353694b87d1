/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/main.c - hapax-stress model: plans, worker processes, verdicts.
 *
 * The work is cut into tasks that worker processes take one after the other; a task tells where it failed by a token, and
 * the parent has the run repeated in a process of its own that records it. So a run that crashes is a failure like others.
 */
#include "model/engine.h"
#include "model/litmus.h"
#include "model/selftest.h"
#include "harness/options.h"
#include "harness/report.h"
#include "harness/result.h"

#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SCENARIOS = 1024, TASKS = 1 << 16, CHUNK = 2000, JOBS = 64, TOKEN = 3000, LEARNING = 60, STUCK = 60,
       LESS = 40 /* runs with races or weak memory looked at are so much fewer: they cost that much more */ };
enum kind { KIND_PCT, KIND_RANDOM, KIND_EXHAUSTIVE, KIND_RACES, KIND_WEAK, KINDS };
static const char *const kind_names[] = {"pct", "random", "exhaustive", "races", "weak"};

struct task {
	unsigned scenario;
	enum kind kind;
	struct plan plan; /* of its first run */
	uint64_t count;
	double budget; /* seconds of an exhaustive search */
	/* results */
	bool begun, done, exhausted, failed;
	uint64_t runs, steps, pruned, restarts;
	uint64_t outcomes, outcome_sum;
	double seconds;
	char token[TOKEN];
};
struct shared {
	_Atomic unsigned next;
	_Atomic bool stop[SCENARIOS]; /* it has failed */
	_Atomic uint64_t runs;
	unsigned tasks;
	struct task task[];
};

static const struct model_scenario *scenarios[SCENARIOS];
static unsigned scenario_count;
static struct shared *shared;
static struct task *running;

static struct {
	const char *scenario, *mode, *depth, *replay, *json, *memory;
	uint64_t seeds, seed, preemptions, jobs;
	double seconds;
	bool list, unreduced;
} options;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

enum { OUTCOMES = 4096 };
static uint64_t outcomes[OUTCOMES];

void model_outcome(uint64_t outcome)
{
	if (!running)
		return;
	for (unsigned i = 0; i < running->outcomes; i++)
		if (outcomes[i] == outcome)
			return;
	if (running->outcomes == OUTCOMES)
		model_fail("more than %d outcomes", OUTCOMES);
	outcomes[running->outcomes++] = outcome;
	running->outcome_sum += outcome;
}

/* ---- one run ------------------------------------------------------------------------------------------------------ */

static void prepare(const struct model_scenario *s)
{
	static size_t size;
	size_t needed = (s->size + 4095 + 4096) & ~(size_t)4095;

	if (engine.data)
		munmap(engine.data, size);
	size = needed;
	engine.data = mmap((void *)(uintptr_t)(ARENA_BASE - (UINT64_C(1) << 31)), size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (engine.data == MAP_FAILED) {
		fputs("hapax-stress model: the addresses it uses are not free\n", stderr);
		exit(HPX_EXIT_INPUT);
	}
}

static enum outcome run_one(const struct model_scenario *s, const struct plan *plan, const char *choices)
{
	search_begin(plan, choices);
	return model_run(s, plan->memory);
}

/* How many steps a run takes: part of a PCT plan, the same in every process. */
static uint64_t length_of(const struct model_scenario *s, enum mem_mode memory, enum outcome *outcome)
{
	struct plan plan = {.strategy = BY_PRIORITY, .memory = memory, .depth = 1, .length = 1};
	uint64_t most = 0;

	*outcome = RUN_PASSED;
	for (plan.seed = 1; plan.seed <= 5 && *outcome == RUN_PASSED; plan.seed++) {
		*outcome = run_one(s, &plan, NULL);
		if (engine.ended_at - engine.began > most)
			most = engine.ended_at - engine.began;
	}
	return most;
}

/* ---- a worker ----------------------------------------------------------------------------------------------------- */

static void on_crash(int number)
{
	static const char text[] = "crashed\n";

	if (engine.tracing) {
		engine.tracing = false;
		trace_print();
		printf("%s: FAILED: %s: signal %d (%s)%s\n", engine.scenario->name,
		       engine.current ? engine.current->name : "engine", number, strsignal(number),
		       number == SIGALRM ? ": no end, and no step" : "");
		fflush(stdout);
		_exit(HPX_EXIT_BROKEN);
	}
	if (running) {
		search_token(running->token, TOKEN);
		running->failed = true;
		running->done = true;
		shared->stop[running->scenario] = true;
	} else {
		(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	}
	_exit(HPX_EXIT_BROKEN);
}

static void catch_crashes(void)
{
	static char stack[1 << 16];
	const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_RESETHAND};

	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
	sigaction(SIGABRT, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
}

static void account(struct task *task, enum outcome outcome)
{
	task->runs++;
	/* while the threads run: setting up and ending are no search */
	task->steps += !engine.began ? 0 : (engine.ended_at ? engine.ended_at : engine.steps) - engine.began;
	task->pruned += outcome == RUN_PRUNED;
	shared->runs++;
	if (outcome != RUN_FAILED)
		return;
	search_token(task->token, TOKEN);
	task->failed = true;
	shared->stop[task->scenario] = true;
}

static void search_all(const struct model_scenario *s, struct task *task)
{
	struct plan learn = {.strategy = AT_RANDOM, .memory = task->plan.memory, .learn = true};
	double end = now() + task->budget;

	dfs_reset(task->plan.bound, options.unreduced);
	for (learn.seed = 1; learn.seed <= LEARNING && !task->failed; learn.seed++) {
		dfs_begin();
		account(task, run_one(s, &learn, NULL));
	}
	if (task->failed)
		return;
	task->outcomes = task->outcome_sum = 0;
	dfs_next();
	do {
		alarm(STUCK);
		account(task, run_one(s, &task->plan, NULL));
		if (task->failed)
			return;
		if (now() > end)
			return;
		task->restarts += dfs_restarted();
	} while (dfs_next());
	task->exhausted = true;
}

static void do_task(struct task *task)
{
	const struct model_scenario *s = scenarios[task->scenario];
	struct plan plan = task->plan;
	enum outcome outcome = RUN_PASSED;
	double began = now();

	running = task;
	task->begun = true;
	prepare(s);
	alarm(STUCK);
	if (plan.strategy == EXHAUSTIVE) {
		search_all(s, task);
	} else {
		plan.length = plan.strategy == BY_PRIORITY ? length_of(s, plan.memory, &outcome) : 0;
		if (outcome == RUN_FAILED)
			account(task, outcome);
		for (uint64_t i = 0; i < task->count && !task->failed && !shared->stop[task->scenario]; i++, plan.seed++) {
			if (!(i & 255))
				alarm(STUCK);
			account(task, run_one(s, &plan, NULL));
		}
	}
	alarm(0);
	task->seconds = now() - began;
	task->done = true;
	running = NULL;
}

static __attribute__((noreturn)) void worker(void)
{
	unsigned i;

	catch_crashes();
	while ((i = shared->next++) < shared->tasks)
		if (!shared->stop[shared->task[i].scenario])
			do_task(&shared->task[i]);
	_exit(0);
}

/* ---- replay ------------------------------------------------------------------------------------------------------- */

static int replay(const struct model_scenario *s, const char *token)
{
	struct plan plan;
	const char *choices;
	char site[300];

	if (!search_parse(token, &plan, &choices))
		return hpx_input_error("model", "--replay: '%s' is no token of a run", token);
	catch_crashes();
	prepare(s);
	engine.tracing = true;
	alarm(STUCK);
	run_one(s, &plan, choices);
	alarm(0);
	trace_print();
	if (engine.outcome != RUN_FAILED) {
		printf("%s: passed (%llu steps)\n", s->name, (unsigned long long)engine.steps);
		return HPX_EXIT_HELD;
	}
	printf("%s: FAILED: %s\n", s->name, engine.message);
	if (engine.where) {
		model_site(engine.where, site, sizeof(site));
		printf("  in %s\n", site);
	}
	printf("  replay: hapax-stress model --scenario %s --replay %s\n", s->name, token);
	fflush(stdout);
	return HPX_EXIT_BROKEN;
}

static void show_failure(const struct task *task)
{
	pid_t child;
	int status;

	printf("\n%s failed (%s):\n", scenarios[task->scenario]->name, kind_names[task->kind]);
	fflush(stdout);
	child = fork();
	if (!child)
		_exit(replay(scenarios[task->scenario], task->token));
	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != HPX_EXIT_BROKEN)
		printf("  the replay did not fail; hapax-stress model --scenario %s --replay %s\n",
		       scenarios[task->scenario]->name, task->token);
}

/* ---- plans -------------------------------------------------------------------------------------------------------- */

static void add(unsigned scenario, enum kind kind, struct plan plan, uint64_t count)
{
	uint64_t part;

	for (; count; count -= part, plan.seed += part) {
		part = plan.strategy == EXHAUSTIVE || count < CHUNK ? count : CHUNK;
		if (shared->tasks == TASKS)
			return;
		shared->task[shared->tasks++] = (struct task){.scenario = scenario, .kind = kind, .plan = plan, .count = part,
							      .budget = options.seconds};
	}
}

/* The first of a list. */
static bool word_is(const char *list, const char *word)
{
	return strlen(word) == strcspn(list, ",") && !strncmp(list, word, strlen(word));
}

static bool wanted(const char *list, const char *word)
{
	for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (word_is(at, word))
			return true;
	return false;
}

static void plan_scenario(unsigned i)
{
	const struct model_scenario *s = scenarios[i];
	const char *mode = options.mode;
	bool weak_only = s->flags & MODEL_WEAK_ONLY, all = !mode;
	enum mem_mode memory = MEM_OFF;
	char depth[2] = "2";
	struct plan plan = {.seed = options.seed, .bound = NONE};

	if (options.memory)
		memory = !strcmp(options.memory, "weak") ? MEM_WEAK : !strcmp(options.memory, "strong") ? MEM_STRONG : MEM_OFF;
	plan.memory = memory;
	if (!weak_only && (all || wanted(mode, "pct"))) {
		plan.strategy = BY_PRIORITY;
		for (; depth[0] <= '9'; depth[0]++) {
			if (!wanted(options.depth, depth))
				continue;
			plan.depth = (unsigned)(depth[0] - '0');
			add(i, KIND_PCT, plan, all && s->flags & MODEL_LONG ? (options.seeds + 9) / 10 : options.seeds);
		}
	}
	if (!weak_only && !all && wanted(mode, "random")) {
		plan.strategy = AT_RANDOM;
		add(i, KIND_RANDOM, plan, options.seeds);
	}
	if (!weak_only && (all || wanted(mode, "races"))) {
		plan.strategy = BY_PRIORITY;
		plan.depth = 3;
		plan.memory = MEM_STRONG;
		add(i, KIND_RACES, plan, all ? (options.seeds + LESS - 1) / LESS : options.seeds);
	}
	if (!(s->flags & MODEL_IN_TIME) && (all || wanted(mode, "weak"))) {
		plan.strategy = weak_only ? AT_RANDOM : BY_PRIORITY;
		plan.depth = 3;
		plan.memory = MEM_WEAK;
		add(i, KIND_WEAK, plan, all ? (options.seeds + LESS - 1) / LESS : options.seeds);
	}
	plan.memory = weak_only && !options.memory ? MEM_WEAK : memory;
	if ((all && s->preemptions) || (mode && wanted(mode, "exhaustive"))) {
		plan.strategy = EXHAUSTIVE;
		plan.bound = (int)(options.preemptions != UINT64_MAX ? options.preemptions : s->preemptions);
		if (plan.bound >= 99)
			plan.bound = NONE;
		add(i, KIND_EXHAUSTIVE, plan, 1);
	}
}

static int choose_scenarios(void)
{
	bool all = !strcmp(options.scenario, "all");
	const char *at = options.scenario;

	for (unsigned i = 0; model_scenarios[i]; i++)
		if ((all || wanted(options.scenario, "scenarios") || wanted(options.scenario, model_scenarios[i]->name)) &&
		    scenario_count < SCENARIOS)
			scenarios[scenario_count++] = model_scenarios[i];
	for (unsigned i = 0; model_litmus[i]; i++)
		if ((all || wanted(options.scenario, "litmus") || wanted(options.scenario, model_litmus[i]->name)) &&
		    scenario_count < SCENARIOS)
			scenarios[scenario_count++] = model_litmus[i];
	for (unsigned i = 0; model_selftests[i]; i++)
		if (wanted(options.scenario, model_selftests[i]->name) && scenario_count < SCENARIOS)
			scenarios[scenario_count++] = model_selftests[i];
	while (!all && at) {
		bool found = word_is(at, "litmus") || word_is(at, "scenarios");

		for (unsigned i = 0; i < scenario_count; i++)
			found |= word_is(at, scenarios[i]->name);
		if (!found)
			return hpx_input_error("model", "--scenario: there is no '%.*s' (see --list)", (int)strcspn(at, ","), at);
		at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
	}
	return -1;
}

/* ---- verdicts ----------------------------------------------------------------------------------------------------- */

struct verdict {
	uint64_t outcomes, outcome_sum;
	uint64_t runs[KINDS], steps[KINDS], all_runs, all_steps, pruned, restarts;
	double seconds;
	bool exhaustive, exhausted, lost, nothing;
	const struct task *failure;
};

static struct verdict judge(unsigned scenario)
{
	struct verdict v = {.exhausted = true, .nothing = true};

	for (unsigned i = 0; i < shared->tasks; i++) {
		const struct task *t = &shared->task[i];

		if (t->scenario != scenario)
			continue;
		v.nothing = false;
		v.runs[t->kind] += t->runs;
		v.steps[t->kind] += t->steps;
		v.all_runs += t->runs;
		v.all_steps += t->steps;
		v.seconds += t->seconds;
		v.pruned += t->pruned;
		v.restarts += t->restarts;
		v.lost |= t->begun && !t->done;
		if (t->kind == KIND_EXHAUSTIVE) {
			v.exhaustive = true;
			v.exhausted &= t->exhausted;
			v.outcomes = t->outcomes;
			v.outcome_sum = t->outcome_sum;
		}
		if (t->failed && !v.failure)
			v.failure = t;
	}
	v.exhausted &= v.exhaustive;
	return v;
}

static bool holds(unsigned scenario, const struct verdict *v)
{
	return v->nothing || (!v->lost && !v->failure == !(scenarios[scenario]->flags & MODEL_EXPECT_FAIL));
}

static const char *result_of(unsigned scenario, const struct verdict *v)
{
	bool expected = scenarios[scenario]->flags & MODEL_EXPECT_FAIL;

	if (v->lost)
		return "LOST";
	if (v->failure)
		return expected ? "fails, as it should" : "FAILED";
	return expected ? "SHOULD FAIL" : "passed";
}

static json_object *scenario_json(unsigned i, const struct verdict *v)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "name", json_object_new_string(scenarios[i]->name));
	json_object_object_add(object, "result", json_object_new_string(result_of(i, v)));
	json_object_object_add(object, "held", json_object_new_boolean(holds(i, v)));
	json_object_object_add(object, "runs", json_object_new_int64((int64_t)v->all_runs));
	json_object_object_add(object, "steps", json_object_new_int64((int64_t)v->all_steps));
	json_object_object_add(object, "seconds", json_object_new_double(v->seconds));
	for (int kind = 0; kind < KINDS; kind++) {
		char name[32];

		snprintf(name, sizeof(name), "runs_%s", kind_names[kind]);
		json_object_object_add(object, name, json_object_new_int64((int64_t)v->runs[kind]));
	}
	if (v->exhaustive)
		json_object_object_add(object, "exhausted", json_object_new_boolean(v->exhausted));
	if (v->outcomes) {
		json_object_object_add(object, "outcomes", json_object_new_int64((int64_t)v->outcomes));
		json_object_object_add(object, "outcome_sum", json_object_new_int64((int64_t)v->outcome_sum));
	}
	if (v->failure) {
		json_object_object_add(object, "failed_in", json_object_new_string(kind_names[v->failure->kind]));
		json_object_object_add(object, "replay", json_object_new_string(v->failure->token));
	}
	return object;
}

static int report(double seconds)
{
	json_object *root = json_object_new_object(), *list = json_object_new_array();
	uint64_t runs = 0, steps = 0;
	bool held = true;
	unsigned judged = 0;
	FILE *to = hpx_human(options.json);
	int status = 0;

	fprintf(to, "\n%-34s %9s %8s %8s %10s %9s %10s  %s\n", "scenario", "pct", "races", "weak", "exhaustive", "Msteps",
		"Msteps/s", "result");
	for (unsigned i = 0; i < scenario_count; i++) {
		struct verdict v = judge(i);
		char all[32] = "-";

		if (v.nothing) /* in this mode */
			continue;
		judged++;
		if (v.exhaustive)
			snprintf(all, sizeof(all), "%llu%s", (unsigned long long)v.runs[KIND_EXHAUSTIVE], v.exhausted ? "" : "+");
		fprintf(to, "%-34s %9llu %8llu %8llu %10s %9.2f %10.2f  %s\n", scenarios[i]->name,
			(unsigned long long)(v.runs[KIND_PCT] + v.runs[KIND_RANDOM]), (unsigned long long)v.runs[KIND_RACES],
			(unsigned long long)v.runs[KIND_WEAK], all, (double)v.all_steps * 1e-6,
			v.seconds > 0 ? (double)v.all_steps * 1e-6 / v.seconds : 0, result_of(i, &v));
		held &= holds(i, &v);
		runs += v.all_runs;
		steps += v.all_steps;
		json_object_array_add(list, scenario_json(i, &v));
	}
	fprintf(to, "%u scenarios, %llu runs, %.1f million steps in %.1f s; exhaustive: + where the time was up before the end\n",
		judged, (unsigned long long)runs, (double)steps * 1e-6, seconds);
	fprintf(to, "%s\n", held ? "all held" : "NOT all held");
	json_object_object_add(root, "command", json_object_new_string("model"));
	json_object_object_add(root, "held", json_object_new_boolean(held));
	json_object_object_add(root, "runs", json_object_new_int64((int64_t)runs));
	json_object_object_add(root, "steps", json_object_new_int64((int64_t)steps));
	json_object_object_add(root, "seconds", json_object_new_double(seconds));
	json_object_object_add(root, "scenarios", list);
	if (options.json)
		status = hpx_json_write("model", root, options.json);
	json_object_put(root);
	return status ? status : held ? HPX_EXIT_HELD : HPX_EXIT_BROKEN;
}

/* ---- the parent --------------------------------------------------------------------------------------------------- */

static void run_workers(double began)
{
	bool terminal = isatty(STDERR_FILENO);
	pid_t pids[JOBS];
	unsigned jobs = (unsigned)options.jobs, alive = 0;
	double said = began;

	fflush(stdout);
	for (unsigned i = 0; i < jobs; i++) {
		pids[i] = fork();
		if (!pids[i])
			worker();
		alive += pids[i] > 0;
	}
	while (alive) {
		const struct timespec nap = {.tv_nsec = 20000000};
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0) {
			alive--;
			for (unsigned i = 0; i < jobs; i++) {
				if (pids[i] != pid)
					continue;
				pids[i] = 0;
				if ((WIFEXITED(status) && !WEXITSTATUS(status)) || shared->next >= shared->tasks)
					continue;
				/* it crashed, and there is more to do */
				pids[i] = fork();
				if (!pids[i])
					worker();
				alive += pids[i] > 0;
			}
			continue;
		}
		if (terminal && now() - said > 0.5) {
			unsigned next = shared->next < shared->tasks ? shared->next : shared->tasks;

			said = now();
			fprintf(stderr, "\r%u of %u tasks, %llu runs, %.0f s ", next, shared->tasks,
				(unsigned long long)shared->runs, said - began);
		}
		nanosleep(&nap, NULL);
	}
	if (terminal)
		fputs("\r\033[K", stderr);
}

/* Addresses are part of a run: the same ones every time. */
static void fix_addresses(char **argv)
{
	char *arguments[64] = {(char[]){"hapax-stress"}};
	int old = personality(0xffffffff);

	if (old < 0 || (old & ADDR_NO_RANDOMIZE) || personality((unsigned long)old | ADDR_NO_RANDOMIZE) < 0 ||
	    !(personality(0xffffffff) & ADDR_NO_RANDOMIZE))
		return;
	for (unsigned i = 0; argv[i] && i < 62; i++)
		arguments[i + 1] = argv[i];
	execv("/proc/self/exe", arguments);
}

int hpx_model_main(int argc, char **argv)
{
	const hpx_option table[] = {
		{"scenario", HPX_OPTION_TEXT, &options.scenario, 0, 0, "NAMES", "which, separated by commas; all (default), scenarios, litmus"},
		{"list", HPX_OPTION_FLAG, &options.list, 0, 0, NULL, "list the scenarios and leave"},
		{"mode", HPX_OPTION_TEXT, &options.mode, 0, 0, "MODES", "pct, random, races, weak, exhaustive (default: by scenario)"},
		{"seeds", HPX_OPTION_NUMBER, &options.seeds, 1, 1e12, "N", "runs of a scenario per depth (10000; long ones: a tenth); races, weak: a 40th"},
		{"seed", HPX_OPTION_NUMBER, &options.seed, 0, 1e15, "N", "the first one (1)"},
		{"depth", HPX_OPTION_TEXT, &options.depth, 0, 0, "LIST", "of PCT (2,3,4)"},
		{"preemptions", HPX_OPTION_NUMBER, &options.preemptions, 0, 99, "N", "bound of exhaustive search; 99: none"},
		{"unreduced", HPX_OPTION_FLAG, &options.unreduced, 0, 0, NULL, "exhaustive search without its reductions"},
		{"memory", HPX_OPTION_TEXT, &options.memory, 0, 0, "HOW", "off, strong or weak, in pct, random and exhaustive"},
		{"seconds", HPX_OPTION_REAL, &options.seconds, 0, 1e6, "S", "most for one exhaustive search (10)"},
		{"jobs", HPX_OPTION_NUMBER, &options.jobs, 1, JOBS, "N", "worker processes (one per processor)"},
		{"replay", HPX_OPTION_TEXT, &options.replay, 0, 0, "TOKEN", "repeat one run of one scenario and print it"},
		{"json", HPX_OPTION_TEXT, &options.json, 0, 0, "FILE", "write the result (- for standard output)"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {"model",
				 "Runs the library's own sources under a deterministic scheduler: scenarios of a few threads, in many\n"
				 "or all interleavings. A run that fails is printed, and can be repeated.",
				 NULL, table};
	double began;
	int status;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	options.scenario = "all";
	options.depth = "2,3,4";
	options.seeds = 10000;
	options.seed = 1;
	options.preemptions = UINT64_MAX;
	options.seconds = 10;
	options.jobs = processors > 0 && processors < JOBS ? (uint64_t)processors : 1;
	status = hpx_options_parse(&usage, argc, argv, NULL);
	if (status >= 0)
		return status;
	status = hpx_json_check("model", options.json);
	if (status)
		return status;
	status = choose_scenarios();
	if (status >= 0)
		return status;
	if (options.list) {
		for (unsigned i = 0; i < scenario_count; i++)
			printf("%-34s %s\n", scenarios[i]->name, scenarios[i]->summary);
		return HPX_EXIT_HELD;
	}
	fix_addresses(argv);
	arena_init();
	if (options.replay) {
		if (scenario_count != 1)
			return hpx_input_error("model", "--replay needs --scenario with one name");
		return replay(scenarios[0], options.replay);
	}
	shared = mmap(NULL, sizeof(*shared) + TASKS * sizeof(struct task), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shared == MAP_FAILED)
		return hpx_input_error("model", "out of memory: %s", strerror(errno));
	for (unsigned i = 0; i < scenario_count; i++)
		plan_scenario(i);
	if (!shared->tasks)
		return hpx_input_error("model", "nothing to do: --mode or --depth fits no scenario");
	began = now();
	run_workers(began);
	for (unsigned i = 0; i < scenario_count; i++) {
		struct verdict v = judge(i);

		if (v.failure && !(scenarios[i]->flags & MODEL_EXPECT_FAIL))
			show_failure(v.failure);
	}
	return report(now() - began);
}
