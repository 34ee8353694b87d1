/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fork.c - forks of a process at full load, in every order of the handlers.
 *
 *      alone     hapax calls liburcu's handlers itself (HAPAX_FORK_URCU)
 *      outside   hapax's before, then the application's calls of liburcu's
 *      inside    the application's calls of liburcu's, call_rcu's among them, then hapax's
 *      atfork    hapax's, registered with pthread_atfork()
 *
 * The child has one thread, and whatever the others left half done: it uses all the caches, creates until garbage has to
 * be taken back, starts a thread, ends caches and environments, sometimes forks again, and exits. What it is doing it
 * writes into a page shared with its parent, who waits for it so long, and then says where it hangs.
 *
 * In the child the oracles of keys start anew: loaders of vanished threads never return. Lives are still judged there:
 * whoever held an object and vanished holds it for ever, by the count and by the oracle alike.
 */
#include "disturb.h"

#include "harness/team.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <urcu/urcu-bp.h>
#pragma GCC diagnostic pop

enum { CHILD_SECONDS = 30, CHURN = 3000, KEYS = 24 };
enum { ALONE, OUTSIDE, INSIDE, ATFORK, ORDERS };

static const char *const orders[ORDERS] = {"alone", "outside", "inside", "atfork"};
static struct {
	hpx_relaxed at; /* a pointer to a string constant: the same address in both */
} *shared;
static hpx_relaxed again, slowest_us, by_order[ORDERS];
static __thread bool registered_acts;

static void at(const char *what) { hpx_relaxed_set(&shared->at, (uint64_t)(uintptr_t)what); }

static void registered_before(void)
{
	if (registered_acts)
		hapax_before_fork(HAPAX_FORK_URCU);
}

static void registered_parent(void)
{
	if (registered_acts)
		hapax_after_fork_parent(HAPAX_FORK_URCU);
}

static void registered_child(void)
{
	if (registered_acts)
		hapax_after_fork_child(HAPAX_FORK_URCU);
}

static void before(unsigned order)
{
	if (order == INSIDE) {
		urcu_bp_call_rcu_before_fork();
		urcu_bp_before_fork();
	}
	if (order != ATFORK)
		hapax_before_fork(order == ALONE ? HAPAX_FORK_URCU : 0);
	if (order == OUTSIDE)
		urcu_bp_before_fork();
	registered_acts = order == ATFORK;
}

static void after_in_parent(unsigned order)
{
	registered_acts = false;
	if (order == OUTSIDE)
		urcu_bp_after_fork_parent();
	if (order != ATFORK)
		hapax_after_fork_parent(order == ALONE ? HAPAX_FORK_URCU : 0);
	if (order == INSIDE) {
		urcu_bp_after_fork_parent();
		urcu_bp_call_rcu_after_fork_parent();
	}
}

static void after_in_child(unsigned order)
{
	registered_acts = false;
	at("liburcu's and hapax's handlers");
	if (order == OUTSIDE)
		urcu_bp_after_fork_child();
	if (order != ATFORK)
		hapax_after_fork_child(order == ALONE ? HAPAX_FORK_URCU : 0);
	if (order == INSIDE) {
		urcu_bp_after_fork_child();
		urcu_bp_call_rcu_after_fork_child();
	}
}

/* --- the child --- */

static void *child_thread(void *arg)
{
	hpx_torturer *self = arg;

	hpx_torture_self = self;
	for (uint64_t key = 0; key < KEYS; key++)
		hpx_torture_release(self->torture, hpx_torture_get_pure(self, key % self->torture->keys, HAPAX_FOREVER));
	return NULL;
}

static void use_caches(hpx_torturer *self)
{
	hpx_torture *torture = self->torture;

	at("gets from the cache of loads");
	for (uint64_t key = 0; key < KEYS; key++)
		hpx_torture_release(torture, hpx_torture_get_pure(self, key % torture->keys, HAPAX_FOREVER));
	at("every call on the other caches");
	for (unsigned i = 0; i < 200; i++)
		hpx_torture_step_calmly(self);
	at("releases and drops of what was held at the fork");
	hpx_torture_let_go(self);
}

static void churn(hpx_torture *torture)
{
	const hapax_type type = {HAPAX_TYPE_INIT, .name = "churned", .size = 200, .align = 16};
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 64 << 10};
	hapax_env *envs[2] = {torture->env, NULL};
	void *object = NULL;

	at("creation until garbage is taken back");
	if (hapax_env_create(&envs[1], &options))
		_exit(10);
	for (unsigned e = 0; e < 2; e++) {
		for (unsigned i = 0; i < CHURN; i++) {
			if (hapax_new(envs[e], &type, 0, &object))
				_exit(11);
			hapax_release(object);
		}
		hapax_reclaim(envs[e]);
	}
	at("the end of an environment made in the child");
	hapax_env_destroy(envs[1]);
}

static void start_thread(hpx_torturer *self)
{
	pthread_t thread;

	at("a thread of the child");
	if (pthread_create(&thread, NULL, child_thread, self->torture->brief[0] ? self->torture->brief[0] : self))
		_exit(12);
	pthread_join(thread, NULL);
	hpx_torture_self = self;
}

static void fork_again(hpx_torturer *self)
{
	int status;
	pid_t pid;

	at("a fork in the child");
	hapax_before_fork(HAPAX_FORK_URCU);
	pid = fork();
	if (pid == 0) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		child_thread(self);
		_exit(0);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		_exit(13);
}

/* What the oracles of lives have seen; those of exclusive keys and callbacks judge what vanished threads left half done. */
static uint64_t bad_lives(const hpx_torture *torture)
{
	uint64_t bad = hpx_sights_bad();

	for (unsigned i = 0; i < HPX_CACHES; i++)
		bad += hpx_relaxed_get(&torture->oracles[i].overlapping) + hpx_relaxed_get(&torture->oracles[i].wrong) +
		       hpx_relaxed_get(&torture->oracles[i].destroyed_in_use) +
		       hpx_relaxed_get(&torture->oracles[i].destroyed_twice);
	return bad;
}

__attribute__((noreturn)) static void child_main(hpx_torturer *self, unsigned what)
{
	hpx_torture *torture = self->torture;
	uint64_t bad = bad_lives(torture);

	for (unsigned c = 0; c < HPX_CACHES; c++)
		for (uint64_t key = 0; key < torture->keys; key++)
			hpx_relaxed_set(&torture->oracles[c].keys[key].loading, 0);
	use_caches(self);
	churn(torture);
	if (what & 1)
		start_thread(self);
	if (what & 2)
		fork_again(self);
	at("the end of the caches");
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hapax_cache_destroy(torture->caches[i]);
	at("the end of the environment");
	hapax_env_destroy(torture->env);
	at("its exit");
	_exit(bad_lives(torture) > bad ? 14 : 0);
}

/* --- the parent --- */

static void read_line(pid_t pid, const char *file, char *line, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd >= 0 ? read(fd, line, size - 1) : -1;
	line[length > 0 ? length : 0] = 0;
	line[strcspn(line, "\n")] = 0;
	if (fd >= 0)
		close(fd);
}

static void say_where(pid_t pid, unsigned order)
{
	char wchan[64];
	char call[128];

	read_line(pid, "wchan", wchan, sizeof(wchan));
	read_line(pid, "syscall", call, sizeof(call));
	hpx_sight_look(HPX_SIGHT_CHILD, false, "child %d (%s) hangs in '%s', wchan %s, call %.40s", (int)pid, orders[order],
		       (const char *)(uintptr_t)hpx_relaxed_get(&shared->at), wchan, call);
}

static void await_child(pid_t pid, unsigned order)
{
	const struct timespec nap = {0, 500000};
	uint64_t end = hpx_now() + CHILD_SECONDS * HAPAX_SECOND;
	int status = 0;
	pid_t got;

	while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (hpx_now() > end) {
			say_where(pid, order);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return;
		}
		nanosleep(&nap, NULL);
	}
	hpx_sight_look(HPX_SIGHT_CHILD, got == pid && WIFEXITED(status) && !WEXITSTATUS(status),
		       "child %d (%s) ended with status 0x%x in '%s'", (int)pid, orders[order], status,
		       (const char *)(uintptr_t)hpx_relaxed_get(&shared->at));
}

static void fork_once(hpx_torturer *self, unsigned order, unsigned what)
{
	uint64_t began;
	uint64_t took;
	pid_t pid;

	for (unsigned i = 0; i < 20; i++)
		hpx_torture_step_calmly(self); /* so that it holds something */
	at("fork");
	/* Then all who create wait with it for that reader: not always, or starved.c would see nothing else. */
	if (order == OUTSIDE && hpx_relaxed_get(&self->torture->standing) && !hpx_rng_once_in(&self->rng, 8))
		order = ALONE;
	hpx_relaxed_set(&self->torture->fork_waiting, order == OUTSIDE);
	began = hpx_now();
	before(order);
	hpx_relaxed_set(&self->torture->fork_waiting, 0);
	took = (hpx_now() - began) / 1000;
	pid = fork();
	if (pid == 0) {
		after_in_child(order);
		child_main(self, what);
	}
	after_in_parent(order);
	if (hpx_sight_look(HPX_SIGHT_CHILD, pid > 0, "no fork: %s", strerror(errno)))
		await_child(pid, order);
	if (took > hpx_relaxed_get(&slowest_us))
		hpx_relaxed_set(&slowest_us, took);
	hpx_relaxed_add(&by_order[order], 1);
	hpx_relaxed_add(&again, what >> 1 & 1);
	hpx_torture_let_go(self);
	hpx_happened(&hpx_forks, 1);
}

static void run(hpx_torturer *self, unsigned which)
{
	(void)which;
	for (unsigned order = 0; !hpx_stopping(); order = (order + 1) % ORDERS) {
		unsigned what = (unsigned)hpx_rng_once_in(&self->rng, 4) | (unsigned)hpx_rng_once_in(&self->rng, 8) << 1;

		fork_once(self, order, what);
	}
}

static const char *lacking(void)
{
	return HPX_UNDER_TSAN	? "ThreadSanitizer does not follow the fork of a process with threads"
	       : HPX_UNDER_ASAN ? "AddressSanitizer's own locks do not survive the fork of a process with threads"
				: NULL;
}

static int prepare(hpx_torture *torture)
{
	(void)torture;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -1;
	return pthread_atfork(registered_before, registered_parent, registered_child) ? -1 : 0;
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	hpx_result_note(result, "forks_alone", NULL, hpx_relaxed_get(&by_order[ALONE]));
	hpx_result_note(result, "forks_outside", NULL, hpx_relaxed_get(&by_order[OUTSIDE]));
	hpx_result_note(result, "forks_inside", NULL, hpx_relaxed_get(&by_order[INSIDE]));
	hpx_result_note(result, "forks_atfork", NULL, hpx_relaxed_get(&by_order[ATFORK]));
	hpx_result_note(result, "forks_again", "forks of forked children", hpx_relaxed_get(&again));
	hpx_result_note(result, "fork_handlers_us", "slowest handlers before a fork, us", hpx_relaxed_get(&slowest_us));
}

hpx_disturbance hpx_forks = {
	.name = "fork",
	.help = "forks, in every order of the handlers; the child uses and ends everything",
	.field = "forks",
	.label = "forks",
	.full = 1000,
	.threads = 1,
	.lacking = lacking,
	.prepare = prepare,
	.run = run,
	.judge = judge,
};
