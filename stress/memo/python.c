/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/python.c - functools.lru_cache of CPython in a child process, and memos beside it.
 *
 * Both sides get the same keys: a file of as many 32-bit keys as one thread calls, Zipf distributed; each thread begins
 * somewhere else and goes round. The function is the same and next to nothing, so that what is measured is the memo. One
 * child runs one round of one capacity; it says what it found on one line. Children that take too long are killed.
 */
#include "memo.h"

#include "harness/options.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char script[] =
	"import array, functools, sys, threading, time\n"
	"capacity, threads, n = map(int, sys.argv[1:4])\n"
	"keys = array.array('I')\n"
	"keys.frombytes(sys.stdin.buffer.read())\n"
	"keys = keys.tolist()\n"
	"parts = [keys[i * len(keys) // threads:] + keys[:i * len(keys) // threads] for i in range(threads)]\n"
	"@functools.lru_cache(maxsize=capacity)\n"
	"def f(x):\n"
	"    return x * 2654435761 & 0xffffffff\n"
	"start = []\n"
	"gate = threading.Barrier(threads, action=lambda: start.extend((time.perf_counter(), time.process_time())))\n"
	"def work(part):\n"
	"    gate.wait()\n"
	"    for k in part:\n"
	"        f(k)\n"
	"team = [threading.Thread(target=work, args=(part,), daemon=True) for part in parts]\n"
	"for t in team:\n"
	"    t.start()\n"
	"for t in team:\n"
	"    t.join()\n"
	"took, used = time.perf_counter() - start[0], time.process_time() - start[1]\n"
	"info = f.cache_info()\n"
	"gil = int(getattr(sys, '_is_gil_enabled', lambda: True)())\n"
	"print(took, used, info.hits, info.misses, gil, sum(map(f, range(n))), '.'.join(map(str, sys.version_info[:3])))\n";

enum { CAPACITIES = 2, SUBJECTS = 3, PYTHON = 0, LRU = 1, DEFAULT = 2 };
_Static_assert((int)HPX_MEMO_PYTHON_ROWS == CAPACITIES * SUBJECTS, "as many rows");
static const char *const names[SUBJECTS] = {"CPython lru_cache", "memo, exact LRU", "memo, default policy"};

struct field {
	const hpx_memo_order *order;
	uint32_t *keys; /* order->python_calls */
	FILE *file;	/* the same */
	uint64_t checksum; /* of the function over all keys */
	hapax_env *env;
	hapax_memo *memo;
	pthread_barrier_t barrier;
	double *cpu_ns;
	uint64_t *begun, *ended, *wrong; /* by thread; the first call of any is when the last one has begun */
};

/* ---- the child --------------------------------------------------------------------------------------------------- */

static int child_start(const struct field *f, uint64_t capacity, int *out, pid_t *pid)
{
	char texts[3][24];
	char *argv[] = {"python3", "-c", (char *)script, texts[0], texts[1], texts[2], NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int ends[2], error;

	snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, capacity);
	snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, f->order->threads);
	snprintf(texts[2], sizeof(texts[2]), "%" PRIu64, f->order->python_keys);
	if (pipe2(ends, O_CLOEXEC))
		return errno;
	lseek(fileno(f->file), 0, SEEK_SET);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_adddup2(&actions, fileno(f->file), 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	/* of its own group: whatever it starts is killed with it */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setpgroup(&attributes, 0);
	error = posix_spawnp(pid, "python3", &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	close(ends[1]);
	if (error)
		close(ends[0]);
	*out = ends[0];
	return error;
}

/* What it says, until it ends; false: it took too long, or somebody wants to stop. */
static bool child_read(int from, char *text, size_t size, uint64_t limit_ns)
{
	uint64_t start = hpx_now();
	struct pollfd fd = {.fd = from, .events = POLLIN};
	size_t used = 0;
	ssize_t got;

	text[0] = 0;
	while (hpx_now() - start < limit_ns && !hpx_interrupted()) {
		if (poll(&fd, 1, 50) <= 0)
			continue;
		got = read(from, text + used, size - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || used + (size_t)got >= size - 1)
			return got == 0;
		used += (size_t)got;
		text[used] = 0;
	}
	return false;
}

/* Runs one; false: `why` says what became of it. */
static bool child_run(const struct field *f, uint64_t capacity, char *text, size_t size, char *why, size_t why_size)
{
	pid_t pid = 0;
	bool ended;
	int from = -1, status = 0, error = child_start(f, capacity, &from, &pid);

	if (error) {
		snprintf(why, why_size, error == ENOENT ? "there is no python3 on the PATH" : "python3: %s", strerror(error));
		return false;
	}
	ended = child_read(from, text, size, f->order->python_limit * HAPAX_SECOND);
	close(from);
	if (!ended)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		snprintf(why, why_size, "python3 was stopped after at most %" PRIu64 " s", f->order->python_limit);
	else if (!WIFEXITED(status) || WEXITSTATUS(status))
		snprintf(why, why_size, "python3 failed: %s %d", WIFEXITED(status) ? "status" : "signal",
			 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	else
		return true;
	return false;
}

static bool measure_python(struct field *f, uint64_t capacity, hpx_memo_python *python, hpx_memo_python_row *row)
{
	unsigned long long hits, misses, checksum;
	char text[256];
	int gil;

	if (!child_run(f, capacity, text, sizeof(text), python->why_not, sizeof(python->why_not)))
		return false;
	if (sscanf(text, "%lf %lf %llu %llu %d %llu %63s", &row->seconds, &row->cpu_ns, &hits, &misses, &gil, &checksum,
		   python->version) != 7 ||
	    checksum != f->checksum) {
		snprintf(python->why_not, sizeof(python->why_not), "python3 answered something else than was asked");
		python->version[0] = 0;
		return false;
	}
	row->hits = hits;
	row->misses = misses;
	row->cpu_ns *= 1e9 / (double)(f->order->python_calls * f->order->threads);
	python->gil = gil != 0;
	return true;
}

/* ---- the memo ---------------------------------------------------------------------------------------------------- */

static uint64_t function(uint64_t x) { return x * UINT64_C(2654435761) & 0xffffffff; }

static int compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	uint64_t value = function(args->value.u);

	(void)owner;
	(void)n;
	(void)ctx;
	(void)error;
	memcpy(result, &value, sizeof(value));
	return HAPAX_LOAD_OK;
}

static const hapax_type result_type = {HAPAX_TYPE_INIT, .name = "result", .size = sizeof(uint64_t)};

static void work(unsigned index, void *ctx)
{
	struct field *f = ctx;
	uint64_t calls = f->order->python_calls, at = index * calls / f->order->threads, wrong = 0;

	double start;

	f->begun[index] = hpx_now();
	pthread_barrier_wait(&f->barrier);
	start = hpx_memo_cpu_ns();
	for (uint64_t i = 0; i < calls; i++, at = at + 1 < calls ? at + 1 : 0) {
		hapax_arg arg = hapax_arg_uint(f->keys[at]);
		void *out = NULL;

		if (hapax_memo_call(f->memo, NULL, &arg, 1, &out) || *(uint64_t *)out != function(f->keys[at]))
			wrong++;
		hapax_release(out);
	}
	f->cpu_ns[index] = hpx_memo_cpu_ns() - start;
	f->ended[index] = hpx_now();
	f->wrong[index] = wrong;
}

static void judge(struct field *f, hpx_memo_python_row *row, uint64_t capacity, hpx_result *result)
{
	uint64_t wrong = 0, first = 0, last = 0, calls = f->order->python_calls * f->order->threads;
	hapax_memo_info info = {.size = sizeof(info)};

	row->cpu_ns = 0;
	for (uint64_t t = 0; t < f->order->threads; t++) {
		wrong += f->wrong[t];
		row->cpu_ns += f->cpu_ns[t] / (double)calls;
		first = f->begun[t] > first ? f->begun[t] : first;
		last = f->ended[t] > last ? f->ended[t] : last;
	}
	row->seconds = (double)(last > first ? last - first : 1) / 1e9;
	if (hapax_memo_info_get(f->memo, NULL, &info) || info.hits + info.misses != calls)
		hpx_result_broken(result, "%s: %" PRIu64 " hits and %" PRIu64 " misses of %" PRIu64 " calls", row->subject,
				  info.hits, info.misses, calls);
	if (capacity >= f->order->python_keys && info.computed > f->order->python_keys)
		hpx_result_broken(result, "%s: computed %" PRIu64 " times, for %" PRIu64 " keys that all fit", row->subject,
				  info.computed, f->order->python_keys);
	if (wrong)
		hpx_result_broken(result, "%s: %" PRIu64 " calls answered with something else", row->subject, wrong);
	row->hits = info.hits;
	row->misses = info.misses;
}

static int measure_memo(struct field *f, uint64_t capacity, const hapax_policy *policy, hpx_memo_python_row *row,
			hpx_result *result)
{
	hapax_memo_options options = {
		HAPAX_MEMO_OPTIONS_INIT,
		.env = f->env,
		.type = &result_type,
		.compute = compute,
		.capacity = (int64_t)capacity,
		.policy = policy,
	};
	hpx_team team = {.threads = (unsigned)f->order->threads, .work = work, .ctx = f, .patience = 60};
	int status = hapax_memo_create(&f->memo, &options);

	if (status)
		return hpx_input_error("memo", "no memo: %s", hapax_status_text(status));
	if (pthread_barrier_init(&f->barrier, NULL, team.threads))
		return hpx_input_error("memo", "no barrier for %u threads", team.threads);
	status = hpx_team_run("memo", &team);
	if (team.stuck) {
		result->interrupted = true;
		return hpx_input_error("memo", "%u of %u threads did not come back", team.stuck, team.threads);
	}
	pthread_barrier_destroy(&f->barrier);
	if (!status)
		judge(f, row, capacity, result);
	hapax_memo_destroy(f->memo);
	f->memo = NULL;
	return status;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static int prepare(struct field *f, const hpx_memo_order *order)
{
	hpx_rng rng = hpx_rng_stream(order->seed, 77);
	hpx_zipf zipf;

	memset(f, 0, sizeof(*f));
	f->order = order;
	f->keys = calloc(order->python_calls, sizeof(*f->keys));
	f->cpu_ns = calloc(order->threads, sizeof(*f->cpu_ns));
	f->begun = calloc(order->threads, sizeof(*f->begun));
	f->ended = calloc(order->threads, sizeof(*f->ended));
	f->wrong = calloc(order->threads, sizeof(*f->wrong));
	f->file = tmpfile();
	f->env = hpx_memo_env(order->seed, NULL);
	if (!f->keys || !f->cpu_ns || !f->begun || !f->ended || !f->wrong || !f->env)
		return hpx_input_error("memo", "out of memory for %" PRIu64 " calls", order->python_calls);
	hpx_zipf_init(&zipf, order->python_keys, 0.9);
	for (uint64_t i = 0; i < order->python_calls; i++)
		f->keys[i] = (uint32_t)hpx_zipf_next(&zipf, &rng);
	for (uint64_t x = 0; x < order->python_keys; x++)
		f->checksum += function(x);
	if (!f->file || fwrite(f->keys, sizeof(*f->keys), order->python_calls, f->file) != order->python_calls || fflush(f->file))
		return hpx_input_error("memo", "no temporary file: %s", strerror(errno));
	return 0;
}

static void end(struct field *f)
{
	hapax_memo_destroy(f->memo);
	hapax_env_destroy(f->env);
	if (f->file)
		fclose(f->file);
	free(f->keys);
	free(f->cpu_ns);
	free(f->begun);
	free(f->ended);
	free(f->wrong);
}

/* All rounds of one capacity; the subjects take turns. */
static int compare(struct field *f, uint64_t capacity, hpx_memo_python *python, hpx_result *result)
{
	hpx_memo_python_row *row = &python->row[python->used];
	uint64_t rounds = f->order->python_rounds;
	double *seconds = calloc(2 * SUBJECTS * rounds, sizeof(*seconds)), *cpu_ns = seconds + SUBJECTS * rounds;
	int status = seconds ? 0 : hpx_input_error("memo", "out of memory");

	for (unsigned s = 0; s < SUBJECTS; s++)
		row[s] = (hpx_memo_python_row){.subject = names[s], .capacity = capacity};
	for (uint64_t r = 0; r < rounds && !status && !python->why_not[0]; r++) {
		if (!measure_python(f, capacity, python, &row[PYTHON]))
			break;
		status = measure_memo(f, capacity, hapax_policy_lru(), &row[LRU], result);
		if (!status)
			status = measure_memo(f, capacity, NULL, &row[DEFAULT], result);
		for (unsigned s = 0; s < SUBJECTS && !status; s++) {
			seconds[s * rounds + r] = row[s].seconds;
			cpu_ns[s * rounds + r] = row[s].cpu_ns;
		}
	}
	for (unsigned s = 0; s < SUBJECTS && !status && !python->why_not[0]; s++) {
		row[s].seconds = hpx_memo_median(seconds + s * rounds, rounds);
		row[s].cpu_ns = hpx_memo_median(cpu_ns + s * rounds, rounds);
		row[s].calls_per_second = (double)(f->order->python_calls * f->order->threads) / row[s].seconds;
		row[s].ratio = row[s].calls_per_second / row[PYTHON].calls_per_second;
		row[s].cpu_ratio = row[s].cpu_ns > 0 ? row[PYTHON].cpu_ns / row[s].cpu_ns : 0;
		python->used++;
	}
	free(seconds);
	return status;
}

int hpx_memo_python_run(hpx_memo_python *python, const hpx_memo_order *order, hpx_result *result)
{
	static struct field field; /* static, because stuck threads may still look at it */
	const uint64_t capacities[CAPACITIES] = {order->python_keys, order->python_keys / 2};
	int status;

	if (!order->python_limit) {
		snprintf(python->why_not, sizeof(python->why_not), "left out");
		return 0;
	}
	status = prepare(&field, order);
	for (unsigned i = 0; i < CAPACITIES && !status && !python->why_not[0]; i++)
		status = compare(&field, capacities[i], python, result);
	if (python->why_not[0])
		python->used = 0;
	if (!result->interrupted)
		end(&field);
	return status;
}
