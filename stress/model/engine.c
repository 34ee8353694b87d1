/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/engine.c - fibres, who may run, blocking, time; one run from reset to verdict.
 *
 * Only one fibre runs, and others run only when it makes a step, blocks or ends; so a run is a function of the choices
 * that search.c makes. While the threads of the scenario run everybody may be chosen. Before and after, main runs alone:
 * others (the reclaimer) run only while it is blocked, and when all is over until they have nothing left to do.
 */
#include "model/engine.h"
#include "model/shim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine engine;

void *model_thread_self(void) { return engine.current ? engine.current->self : engine.fibres[MAIN].self; }

void *model_thread_state(void)
{
	return engine.current ? engine.current->thread_state : engine.fibres[MAIN].thread_state;
}

/* ---- ends of a run ------------------------------------------------------------------------------------------------ */

static __attribute__((noreturn)) void leave(enum outcome outcome)
{
	void *unused;

	engine.outcome = outcome;
	fibre_switch(engine.current ? &engine.current->sp : &unused, engine.back);
	__builtin_unreachable();
}

static __attribute__((noreturn)) void fail_with(const void *where, const char *format, va_list args)
{
	int used = 0;

	if (engine.current)
		used = snprintf(engine.message, sizeof(engine.message), "%s: ", engine.current->name);
	vsnprintf(engine.message + used, sizeof(engine.message) - (size_t)used, format, args);
	engine.where = where;
	if (!engine.current) {
		fprintf(stderr, "hapax-stress model: %s\n", engine.message);
		_Exit(2);
	}
	leave(RUN_FAILED);
}

void model_fail_at(const void *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail_with(where, format, args);
}

void model_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail_with(CALLER, format, args);
}

void model_prune(void) { leave(RUN_PRUNED); }

/* ---- who may run -------------------------------------------------------------------------------------------------- */

static bool others_idle(const struct fibre *main);

static bool enabled(struct fibre *f)
{
	if (f->state == READY)
		return true;
	if (f->state != BLOCKED)
		return false;
	if (f->deadline <= engine.now) {
		f->timed_out = true;
		return true;
	}
	switch (f->by) {
	case BY_MUTEX:
	case BY_ONCE:
		return !*(const unsigned *)f->object;
	case BY_READERS:
		return !f->readers;
	case BY_JOIN:
		for (unsigned i = 1; i < engine.used; i++)
			if (!engine.fibres[i].daemon && engine.fibres[i].state != DONE)
				return false;
		return true;
	case BY_SETTLING:
		return others_idle(f);
	default:
		return false;
	}
}

/* Nobody but main can run, now or later. */
static bool others_idle(const struct fibre *main)
{
	for (unsigned i = 0; i < engine.used; i++) {
		struct fibre *f = &engine.fibres[i];

		if (f != main && (enabled(f) || (f->state == BLOCKED && f->deadline != UINT64_MAX)))
			return false;
	}
	return true;
}

static uint32_t all_enabled(void)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < engine.used; i++)
		if (enabled(&engine.fibres[i]))
			mask |= 1u << i;
	return mask;
}

const char *model_block_name(const struct fibre *f)
{
	static const char *const names[] = {"nothing", "a mutex", "a condition", "a futex", "readers", "time",
					    "the threads", "the others", "an initialisation"};

	return names[f->by];
}

static __attribute__((noreturn)) void deadlock(void)
{
	char text[800], site[200];
	size_t used = 0;

	text[0] = 0;
	for (unsigned i = 0; i < engine.used && used < sizeof(text); i++) {
		struct fibre *f = &engine.fibres[i];

		if (f->state != BLOCKED || f->by == BY_JOIN || f->by == BY_SETTLING)
			continue;
		model_site(f->where, site, sizeof(site));
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s waits for %s (%p", used ? "; " : "", f->name,
					 model_block_name(f), f->object);
		if (used < sizeof(text) && f->by == BY_MUTEX && *(const unsigned *)f->object)
			used += (size_t)snprintf(text + used, sizeof(text) - used, ", held by %s",
						 engine.fibres[*(const unsigned *)f->object - 1].name);
		if (used < sizeof(text))
			used += (size_t)snprintf(text + used, sizeof(text) - used, ") in %s", site);
	}
	model_fail_at(engine.current->where, "deadlock: %s", text);
}

/* Time passes when nobody can run. */
static uint32_t enabled_or_later(void)
{
	uint32_t mask = all_enabled();
	uint64_t first = UINT64_MAX;

	if (mask)
		return mask;
	for (unsigned i = 0; i < engine.used; i++)
		if (engine.fibres[i].state == BLOCKED && engine.fibres[i].deadline < first)
			first = engine.fibres[i].deadline;
	if (first == UINT64_MAX)
		deadlock();
	engine.now = first;
	return all_enabled();
}

static void go_to(struct fibre *to)
{
	struct fibre *from = engine.current;

	if (to == from)
		return;
	engine.current = to;
	engine.run_since = engine.steps;
	fibre_switch(&from->sp, to->sp);
}

/* Somebody goes on; the current fibre if it `may` and is chosen. Returns when it is the current one's turn again. */
static void schedule(bool may)
{
	uint32_t mask = enabled_or_later();
	if (engine.scheduled) {
		go_to(&engine.fibres[search_pick(mask, may ? (int)engine.current->index : NONE)]);
		return;
	}
	if (mask & ~engine.yielded)
		mask &= ~engine.yielded;
	else
		engine.yielded = 0;
	go_to(&engine.fibres[__builtin_ctz(mask)]);
}

void model_attend(void) { engine.attention = 0; }

void model_step_slow(enum op op, const volatile void *address, struct touch touch, const void *where)
{
	struct fibre *f = engine.current;

	if (!f)
		return;
	f->next = touch;
	f->where = where;
	if (engine.steps > STEPS_MOST)
		model_fail_at(where, "no end after %u steps: nobody gets anywhere", (unsigned)STEPS_MOST);
	if (engine.scheduled) {
		schedule(true);
		search_going(f);
	}
	engine.attention = engine.tracing || !engine.scheduled ? 0 : search_attention();
	if (!engine.scheduled && !engine.tracing)
		engine.attention = STEPS_MOST + 1;
	if (UNLIKELY(engine.tracing))
		trace_step(op, address, where);
}

bool model_block(enum block by, const void *object, uint64_t deadline, const void *where)
{
	struct fibre *f = engine.current;

	f->state = BLOCKED;
	f->by = by;
	f->object = object;
	f->deadline = deadline;
	f->timed_out = false;
	f->where = where;
	f->next = (struct touch){0, false, false};
	if (by == BY_MUTEX)
		f->next = (struct touch){(uintptr_t)object >> 3, true, false};
	engine.yielded &= ~fibre_bit(f);
	schedule(false);
	if (engine.scheduled)
		search_going(f);
	f->state = READY;
	f->by = BY_NOTHING;
	f->deadline = UINT64_MAX;
	model_attend();
	return !f->timed_out;
}

void model_wake(struct fibre *f)
{
	if (f->state != BLOCKED)
		return;
	f->state = READY;
	f->timed_out = false;
	model_attend();
}

/* The current fibre lets others run first. */
void model_give_way(const void *where)
{
	struct fibre *f = engine.current;

	if (!f)
		return;
	engine.steps++;
	f->next = (struct touch){0, false, false};
	f->where = where;
	if (engine.steps > STEPS_MOST)
		model_fail_at(where, "no end after %u steps: nobody gets anywhere", (unsigned)STEPS_MOST);
	if (UNLIKELY(engine.tracing))
		trace_step(OP_YIELD, NULL, where);
	engine.yielded |= fibre_bit(f);
	search_yielded(f);
	schedule(true);
	model_attend();
}

/* ---- fibres ------------------------------------------------------------------------------------------------------- */

static __attribute__((noreturn)) void body(void)
{
	struct fibre *f = engine.current;

	if (UNLIKELY(engine.tracing))
		trace_text(OP_START, f->name, 0, NULL);
	f->entry(f->argument);
	system_thread_exit(f);
	if (f->nest)
		model_fail_at(NULL, "the thread has ended inside a read section");
	if (UNLIKELY(engine.tracing))
		trace_text(OP_END, f->name, 0, NULL);
	if (engine.memory)
		mem_release(f->index, &engine.ended);
	f->state = DONE;
	if (f->index == MAIN)
		leave(RUN_PASSED);
	schedule(false);
	__builtin_unreachable();
}

struct fibre *model_spawn(void (*entry)(void *), void *argument, const char *name, bool daemon)
{
	unsigned index = engine.used;
	struct fibre *f = &engine.fibres[index];
	char *stack = arena_stack(index);

	if (index == FIBRES)
		return NULL;
	engine.used++;
	memset(f, 0, sizeof(*f));
	f->index = index;
	f->stack = stack;
	f->entry = entry;
	f->argument = argument;
	f->name = name;
	f->daemon = daemon;
	f->state = READY;
	f->deadline = UINT64_MAX;
	fibre_prepare(f, body);
	if (index != MAIN && engine.memory)
		mem_thread_start(index, model_index());
	search_spawned(f);
	model_attend();
	return f;
}

static void main_fibre(void *unused)
{
	static const char *const names[MODEL_THREADS] = {"T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8"};
	const struct model_scenario *s = engine.scenario;

	(void)unused;
	if (s->setup)
		s->setup(engine.data);
	engine.threads = 0;
	while (engine.threads < MODEL_THREADS && s->thread[engine.threads])
		engine.threads++;
	for (unsigned i = 0; i < engine.threads; i++)
		model_spawn(s->thread[i], engine.data, names[i], false);
	engine.scheduled = true;
	engine.yielded = 0;
	engine.began = engine.steps;
	search_scheduled();
	model_block(BY_JOIN, NULL, UINT64_MAX, NULL);
	engine.scheduled = false;
	engine.yielded = 0;
	engine.ended_at = engine.steps;
	if (engine.memory)
		mem_acquire(MAIN, &engine.ended);
	if (s->finish)
		s->finish(engine.data);
	hapax_testing_drain(NULL); /* an environment without a thread is freed by whoever comes by */
	system_thread_exit(&engine.fibres[MAIN]);
	model_block(BY_SETTLING, NULL, UINT64_MAX, NULL);
	if (engine.held)
		model_fail_at(NULL, "%u lock%s still held at the end", engine.held, engine.held > 1 ? "s are" : " is");
	engine.fail_allocation = 0;
	arena_check_leaks();
}

enum outcome model_run(const struct model_scenario *scenario, enum mem_mode memory)
{
	engine.scenario = scenario;
	engine.memory = memory;
	engine.steps = 0;
	engine.attention = 0;
	engine.scheduled = false;
	engine.yielded = 0;
	engine.threads = engine.used = 0;
	engine.began = engine.ended_at = 0;
	engine.now = UINT64_C(1000000000);
	engine.held = 0;
	engine.fail_allocation = 0;
	engine.current = NULL;
	engine.message[0] = 0;
	memset(&engine.ended, 0, sizeof(engine.ended));
	memset(engine.data, 0, scenario->size);
	arena_reset();
	sections_reset();
	system_reset();
	mem_reset(memory);
	if (engine.tracing)
		trace_reset();
	engine.current = model_spawn(main_fibre, NULL, "main", false);
	engine.scheduled = false;
	fibre_switch(&engine.back, engine.current->sp);
	engine.current = NULL;
	return engine.outcome;
}

/* ---- for scenarios ------------------------------------------------------------------------------------------------ */

unsigned model_choose(unsigned n)
{
	unsigned choice = n > 1 ? search_choose(n, false) : 0;

	if (UNLIKELY(engine.tracing))
		trace_text(OP_CHOICE, "of", choice, CALLER);
	return choice;
}

unsigned model_choose_store(unsigned n) { return n > 1 ? search_choose(n, true) : 0; }

void model_yield(void) { model_give_way(CALLER); }

void model_note(const char *text, uint64_t value)
{
	if (UNLIKELY(engine.tracing))
		trace_text(OP_NOTE, text, value, CALLER);
}

uint64_t model_now(void) { return engine.now; }

void model_advance(uint64_t ns)
{
	model_step(OP_CLOCK, NULL, (struct touch){KEY_CLOCK, true, false}, CALLER);
	engine.now += ns;
	model_attend();
}

static void *env_alloc(size_t size, size_t align, void *ctx)
{
	(void)ctx;
	return arena_alloc(size, align, CALLER);
}

static void env_free(void *block, size_t size, size_t align, void *ctx)
{
	(void)size, (void)align, (void)ctx;
	arena_free(block, CALLER);
}

static uint64_t env_now(void *ctx)
{
	(void)ctx;
	model_step(OP_CLOCK, NULL, (struct touch){KEY_CLOCK, false, false}, CALLER);
	return engine.now;
}

static void env_log(hapax_log_level level, const char *message, void *ctx)
{
	(void)level, (void)message, (void)ctx;
}

hapax_env *model_env(unsigned flags, size_t max_garbage)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT};
	hapax_env *env = NULL;
	int rc;

	o.flags = flags;
	o.garbage_bound = max_garbage;
	o.allocator = (hapax_allocator){env_alloc, env_free, NULL};
	o.clock.now = env_now;
	o.log.write = env_log;
	o.seed = 1;
	rc = hapax_env_create(&env, &o);
	if (rc)
		model_fail("hapax_env_create() returned %d", rc);
	return env;
}

void model_fail_allocation(unsigned n)
{
	model_step(OP_CLOCK, NULL, (struct touch){KEY_ALLOC, true, false}, CALLER);
	engine.fail_allocation = n;
}
