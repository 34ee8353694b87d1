/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/engine.h - what the parts of the model checker share. None of this is instrumented; scenarios do not see it.
 *
 *      runtime.c, system.c, sections.c   operations of the code under test: model_step(), then the effect
 *      engine.c                          fibres, who may run, blocking, time, one run from reset to verdict
 *      search.c, dfs.c                   who runs next, and the other choices
 *      arena.c                           allocation, what is live, the state of lib/ between runs
 *      report.c                          the interleaving of a run that failed
 */
#ifndef HPX_MODEL_ENGINE_H
#define HPX_MODEL_ENGINE_H

#include "model/memory.h"
#include "model/model.h"

#include <setjmp.h>

enum { FIBRES = MEM_THREADS, MAIN = 0, STORAGE = 512, KEYS = 8, NONE = -1 };
enum { STEPS_MOST = 200000 }; /* of one run; beyond it nobody gets anywhere */

enum op {
	OP_NONE, OP_LOAD, OP_STORE, OP_RMW, OP_CAS, OP_FENCE, OP_LOCK, OP_UNLOCK, OP_WAIT, OP_WAKE, OP_ENTER, OP_LEAVE,
	OP_SYNCHRONIZE, OP_YIELD, OP_CLOCK, OP_START, OP_END, OP_NOTE, OP_ALLOC, OP_FREE, OP_CHOICE
};
/* What an operation touches, for the search: two are dependent if they touch the same and one writes. */
struct touch {
	uintptr_t key; /* address / 8, or a small number of the model's own; 0: nothing */
	bool write;
	bool ordered; /* sequentially consistent: dependent on all such in the weak mode */
};
enum { KEY_SECTIONS = 1, KEY_CLOCK, KEY_ALLOC };

enum state { FREE, READY, BLOCKED, DONE };
enum block { BY_NOTHING, BY_MUTEX, BY_COND, BY_FUTEX, BY_READERS, BY_SLEEP, BY_JOIN, BY_SETTLING, BY_ONCE };

struct fibre {
	_Alignas(64) unsigned char self[STORAGE], thread_state[STORAGE]; /* hpx_self, hpx_state */
	void *sp; /* while it does not run */
	char *stack;
	void (*entry)(void *);
	void *argument;
	const char *name;
	char given_name[16];
	unsigned index;
	bool daemon;
	enum state state;
	enum block by;
	const void *object; /* it is blocked by */
	const void *where;
	uint64_t deadline; /* of the block; UINT64_MAX: none */
	uint32_t readers; /* whose sections it waits for */
	bool timed_out;
	int error; /* its errno */
	int64_t priority;
	struct touch next; /* what it does when it goes on */
	unsigned nest;
	struct mem_clock section;
	void *values[KEYS];
};

enum outcome { RUN_PASSED, RUN_FAILED, RUN_PRUNED };
enum strategy { BY_PRIORITY, AT_RANDOM, EXHAUSTIVE, REPLAY };

struct engine {
	struct fibre *current; /* NULL: outside of runs */
	uint64_t steps; /* of the run */
	uint64_t began, ended_at; /* steps at which the threads began and had ended */
	uint64_t attention; /* the step at which the fast path ends */
	bool scheduled; /* threads run; otherwise main, and others only while it is blocked */
	bool tracing, quiet;
	uint32_t yielded; /* have given way, and nobody else has had to since */
	enum mem_mode memory;
	const struct model_scenario *scenario;
	void *data; /* of the scenario */
	struct fibre fibres[FIBRES];
	unsigned threads, used; /* of the scenario; fibres used */
	uint64_t now;
	uint64_t run_since; /* step at which the current fibre began to run */
	unsigned held; /* locks */
	unsigned fail_allocation;
	enum outcome outcome;
	char message[1024];
	const void *where;
	void *back; /* stack pointer of who called the run */
	struct mem_clock ended; /* threads that have */
};
extern struct engine engine;

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CALLER __builtin_return_address(0)

/* ---- engine.c ---- */
void model_step_slow(enum op op, const volatile void *address, struct touch touch, const void *where);
static inline void model_step(enum op op, const volatile void *address, struct touch touch, const void *where)
{
	engine.steps++;
	if (LIKELY(engine.steps < engine.attention))
		return;
	model_step_slow(op, address, touch, where);
}
/* Until `woken` by model_wake() or the deadline; true: it was woken. Scheduling is done inside. */
bool model_block(enum block by, const void *object, uint64_t deadline, const void *where);
void model_wake(struct fibre *fibre);
void model_attend(void); /* the next step looks who should run */
void model_give_way(const void *where);
struct fibre *model_spawn(void (*entry)(void *), void *argument, const char *name, bool daemon);
enum outcome model_run(const struct model_scenario *scenario, enum mem_mode memory);
void model_fail_at(const void *where, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
void model_prune(void) __attribute__((noreturn));
const char *model_block_name(const struct fibre *fibre);
static inline unsigned model_index(void) { return engine.current ? engine.current->index : MAIN; }
static inline unsigned fibre_bit(const struct fibre *fibre) { return 1u << fibre->index; }

/* ---- fibre.c ---- */
void fibre_prepare(struct fibre *fibre, void (*entry)(void));
void fibre_switch(void **from, void *to);

/* ---- arena.c ---- */
void arena_init(void);
void arena_reset(void);
void *arena_alloc(size_t size, size_t align, const void *where);
void arena_free(void *block, const void *where);
/* Fails the run if something is still allocated. */
void arena_check_leaks(void);
char *arena_stack(unsigned index); /* lowest address; ARENA_STACK bytes */
enum { ARENA_STACK = 64 << 10 };
#define ARENA_BASE UINT64_C(0x100000000000)
#define ARENA_SIZE (UINT64_C(1) << 28)
extern unsigned char *arena_shadow; /* a byte for 8 bytes */
enum { SHADOW_NEVER, SHADOW_LIVE, SHADOW_FREED, SHADOW_POOL };
void arena_fault(const volatile void *address, size_t size, bool write, const void *where) __attribute__((noreturn));
/* Freed memory is not touched, whatever the mode. */
static inline void arena_look(const volatile void *address, size_t size, bool write, const void *where)
{
	uint64_t offset = (uint64_t)(uintptr_t)address - ARENA_BASE;

	if (offset < ARENA_SIZE && UNLIKELY(arena_shadow[offset >> 3] != SHADOW_LIVE))
		arena_fault(address, size, write, where);
}
const char *arena_describe(const volatile void *address, char *buffer, size_t size);

/* ---- sections.c, system.c: reset per run ---- */
void sections_reset(void);
void system_reset(void);
void system_thread_exit(struct fibre *fibre); /* key destructors */

/* ---- search.c ---- */
struct plan {
	enum strategy strategy;
	enum mem_mode memory;
	unsigned depth; /* of PCT */
	uint64_t length; /* steps a run is taken to have, for PCT */
	uint64_t seed;
	int bound; /* preemptions, NONE: any number */
	bool learn; /* find out what is shared, for the exhaustive search */
};
/* Before a run. `choices`: of a replay of the exhaustive search, "step:thread.step=choice...". */
void search_begin(const struct plan *plan, const char *choices);
void search_spawned(struct fibre *fibre);
/* Of `enabled` fibres (bits), who goes on; `current`: the one that runs and may go on, or NONE. */
int search_pick(uint32_t enabled, int current);
void search_yielded(struct fibre *fibre);
void search_slept(struct fibre *fibre);
unsigned search_choose(unsigned n, bool store);
uint64_t search_attention(void);
void search_scheduled(void); /* the threads begin */
bool search_before_unlock(void); /* unlocking is a step; not in the exhaustive search: others wait for it either way */
void search_going(const struct fibre *fibre); /* it does fibre->next */
bool search_dependent(const struct touch *a, const struct touch *b);
void search_token(char *buffer, size_t size); /* that replays the last run */
bool search_parse(const char *token, struct plan *plan, const char **choices);

/* ---- dfs.c ---- */
void dfs_reset(int bound, bool unreduced);
void dfs_begin(void); /* a run */
void dfs_touch(const struct fibre *fibre); /* about to do fibre->next */
bool dfs_shared(const struct touch *touch);
int dfs_pick(uint32_t enabled, int current, int fallback, uint64_t decision);
unsigned dfs_choose(unsigned n, uint64_t decision);
bool dfs_next(void); /* after a run: there is another */
bool dfs_restarted(void); /* a location turned out to be shared: the search began anew */
size_t dfs_choices(char *buffer, size_t size);

/* ---- report.c ---- */
void trace_reset(void);
void trace_step(enum op op, const volatile void *address, const void *where);
void trace_value(uint64_t value, unsigned size);
void trace_text(enum op op, const char *text, uint64_t value, const void *where);
void trace_print(void);
void model_site(const void *where, char *buffer, size_t size); /* function file:line */
#define TRACE_VALUE(value, size) (UNLIKELY(engine.tracing) ? trace_value((uint64_t)(value), (size)) : (void)0)

#endif
