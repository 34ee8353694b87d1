/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture/torture.c - a short storm over whole caches, judged by oracles.
 *
 *     torture SECONDS [SEED [THREADS [OPS]]]      stops at SECONDS or at OPS operations a thread, whichever is first
 *
 * Few keys, many threads, everything mixed. Keys below PURE are only ever loaded, looked up and let go in cache 0, so
 * that the strongest promise can be judged on them: two different objects of one such key are never held at once, and
 * no two of its loaders run at once. The other keys, and all keys of cache 1, see puts, replacements, removals,
 * refusals and clears as well.
 *
 * The oracles are relaxed atomics: they add no ordering that could hide a race. The payload itself is written and read
 * plainly, so that a sanitizer sees missing edges.
 *
 * Exit status: 0 all held, 1 a promise was broken (or a hang), 2 bad arguments.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "torture/torture/parts.h"
#ifdef HPX_TESTING
#include <hapax/testing.h>
#endif

enum { KEYS = 8, PURE = 4, CACHES = 2, HELD = 4, WEAK = 4, LIVES = 1 << 22 };
#define MAGIC UINT64_C(0x6f6e6c79206f6e63)
#define DEAD_MAGIC UINT64_C(0xdeaddeaddeaddead)

struct item {
	uint64_t magic;
	uint64_t serial;
	uint32_t key;
	uint32_t destroyed; /* atomic */
	uint32_t scratch[MAX_THREADS]; /* holder i writes [i] plainly; the destructor reads all */
};

/* a registration, kept for ever so that a second call is seen */
struct watch {
	struct watch *next;
	uint32_t fired, freed; /* atomic */
	uint32_t scratch;      /* plain: written by the callback and its ctx_free, read after the drop */
};

struct held {
	struct item *item;
	bool counted; /* in holders[] */
};

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t random;
	uint64_t ops;
	struct held held[HELD];
	struct {
		hapax_weak *weak;
		struct watch *watch;
		uint64_t serial;
	} weak[WEAK];
	struct watch *watches;
};

static hapax_env *env;
static hapax_cache *cache[CACHES];
static hapax_table *table;
static struct item *hub; /* held by main for as long as the threads run: many register with it at once */
static struct worker worker[MAX_THREADS];
static unsigned threads = 4;
static uint64_t max_ops = UINT64_MAX;
static int stop, broken;
static uint64_t serials, born, destroyed, failed_loads, details, details_dropped;
static uint64_t holders[PURE]; /* serial << 16 | holders: who holds an object that cache 0 gave for the key */
static uint32_t loading[PURE];
static uint8_t life[LIVES]; /* 0, 1 born, 2 destroyed */
static __thread struct worker *self;
static __thread uint64_t own_random;

void violation(const char *format, ...)
{
	va_list ap;

	__atomic_store_n(&stop, 1, RELAXED);
	if (__atomic_fetch_add(&broken, 1, RELAXED) > 5)
		return;
	va_start(ap, format);
	fputs("torture: VIOLATION: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

unsigned roll(unsigned n) { return (unsigned)(next_random(&own_random) % n); }
void linger(unsigned one_in)
{
	if (!roll(one_in))
		sched_yield();
}

/* ---- the payload ---------------------------------------------------------------------------------------------- */

static void item_init(struct item *it, uint32_t key)
{
	it->magic = MAGIC;
	it->key = key;
	it->serial = __atomic_add_fetch(&serials, 1, RELAXED);
	__atomic_fetch_add(&born, 1, RELAXED);
	if (it->serial < LIVES && __atomic_exchange_n(&life[it->serial], 1, RELAXED) != 0)
		violation("object %llu born twice", (unsigned long long)it->serial);
}

static void item_destroy(void *object, void *arg)
{
	struct item *it = object;
	uint32_t sum = 0;

	(void)arg;
	linger(8);
	if (__atomic_exchange_n(&it->destroyed, 1, RELAXED))
		violation("destructor ran twice on one memory, object %llu", (unsigned long long)it->serial);
	if (it->magic != MAGIC)
		violation("destructor of something that is no object: magic %llx", (unsigned long long)it->magic);
	for (unsigned i = 0; i < threads; i++)
		sum += it->scratch[i];
	if (sum == UINT32_MAX)
		violation("impossible sum");
	if (it->serial < LIVES && __atomic_exchange_n(&life[it->serial], 2, RELAXED) != 1)
		violation("object %llu destroyed twice", (unsigned long long)it->serial);
	it->magic = DEAD_MAGIC;
	__atomic_fetch_add(&destroyed, 1, RELAXED);
	/* a destructor may call anything */
	void *other = NULL;
	if (!roll(16) && hapax_cache_get_if_present(cache[0], HAPAX_KEY_OF(it->key), &other) == 0) {
		if (other == object)
			violation("a get inside the destructor gave the dying object");
		hapax_release(other);
	}
}

HAPAX_TYPE(item, struct item, .destroy = item_destroy);

static void detail_drop(void *detail)
{
	free(detail);
	__atomic_fetch_add(&details_dropped, 1, RELAXED);
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	uint32_t k;
	int result = HAPAX_LOAD_OK;
	bool pure = arg == &cache[0];

	memcpy(&k, key->data, sizeof(k));
	pure = pure && k < PURE;
	if (pure && __atomic_fetch_add(&loading[k], 1, RELAXED))
		violation("two loaders of key %u run at once", k);
	linger(4);
	unsigned luck = roll(32);
	if (luck == 0) {
		result = HAPAX_LOAD_NOVALUE;
	} else if (luck == 1) {
		error->code = (int)k - 100;
		error->detail = malloc(8);
		error->drop = detail_drop;
		if (error->detail)
			__atomic_fetch_add(&details, 1, RELAXED);
		else
			error->drop = NULL;
		result = HAPAX_LOAD_FAIL;
	} else {
		item_init(object, k);
	}
	if (result != HAPAX_LOAD_OK)
		__atomic_fetch_add(&failed_loads, 1, RELAXED);
	if (pure)
		__atomic_fetch_sub(&loading[k], 1, RELAXED);
	return result;
}

static bool refuse(void *object, void *arg)
{
	(void)object;
	(void)arg;
	return !roll(2);
}

/* ---- holding -------------------------------------------------------------------------------------------------- */

static void look(struct item *it, uint32_t key)
{
	if (it->magic != MAGIC || __atomic_load_n(&it->destroyed, RELAXED))
		violation("a dead object was given for key %u (magic %llx)", key, (unsigned long long)it->magic);
	else if (it->key != key)
		violation("object of key %u given for key %u", it->key, key);
	it->scratch[self->index]++;
	uint64_t count = hapax_count(it);
	if (count == 0 || count > 100000)
		violation("count of a held object reads %llu", (unsigned long long)count);
}

static void register_holder(struct item *it, uint32_t key)
{
	uint64_t old = __atomic_load_n(&holders[key], RELAXED), new;

	do {
		if ((old & 0xffff) && old >> 16 != it->serial) {
			violation("key %u: objects %llu and %llu are held at once", key, (unsigned long long)(old >> 16),
				  (unsigned long long)it->serial);
			return;
		}
		new = it->serial << 16 | ((old & 0xffff) + 1);
	} while (!__atomic_compare_exchange_n(&holders[key], &old, new, false, RELAXED, RELAXED));
}

static void let_go(struct held *h)
{
	struct item *it = h->item;

	if (!it)
		return;
	h->item = NULL;
	if (__atomic_load_n(&broken, RELAXED))
		return; /* leave everything as it is: the state is not to be trusted */
	if (it->magic != MAGIC)
		violation("a held object was destroyed");
	if (h->counted)
		__atomic_fetch_sub(&holders[it->key], 1, RELAXED);
	hapax_release(it);
}

/* Takes over a reference. */
static void hold(struct item *it, uint32_t key, bool counted)
{
	struct held *h = &self->held[roll(HELD)];

	look(it, key);
	if (counted)
		register_holder(it, key);
	let_go(h);
	h->item = it;
	h->counted = counted;
	if (roll(2))
		let_go(h);
}

/* ---- weak references ------------------------------------------------------------------------------------------ */

static void fired(hapax_weak *weak, void *ctx)
{
	struct watch *w = ctx;

	if (__atomic_fetch_add(&w->fired, 1, RELAXED))
		violation("a death callback ran twice");
	if (__atomic_load_n(&w->freed, RELAXED))
		violation("a death callback ran after its ctx_free");
	if (hapax_weak_get(weak))
		violation("an upgrade succeeded inside the death callback");
	linger(8);
	w->scratch++;
}

static void freed(void *ctx)
{
	struct watch *w = ctx;

	if (__atomic_fetch_add(&w->freed, 1, RELAXED))
		violation("ctx_free ran twice");
	w->scratch++;
}

static void weak_swap(struct item *it)
{
	unsigned i = roll(WEAK);
	struct watch *w = self->weak[i].watch;

	if (self->weak[i].weak) {
		int rc = hapax_weak_drop(self->weak[i].weak);
		if (rc != 0)
			violation("weak_drop said %d outside user code", rc);
		if (w && __atomic_load_n(&w->freed, RELAXED) != 1)
			violation("after weak_drop ctx_free had run %u times", __atomic_load_n(&w->freed, RELAXED));
		if (w && w->scratch != w->fired + 1)
			violation("after weak_drop %u calls of %u are seen", w->scratch, w->fired + 1);
	}
	self->weak[i].weak = NULL;
	self->weak[i].watch = NULL;
	hapax_callback cb = {.fn = fired, .ctx_free = freed};
	bool with = roll(2);
	if (with) {
		cb.ctx = w = calloc(1, sizeof(*w));
		if (!w)
			return;
		w->next = self->watches;
		self->watches = w;
	}
	self->weak[i].serial = it->serial;
	if (hapax_weak_new(it, with ? &cb : NULL, &self->weak[i].weak) != 0)
		violation("weak_new failed on a held object");
	else if (with)
		self->weak[i].watch = w;
	if (self->weak[i].watch == NULL && with)
		w->freed = 1; /* never registered: nothing will run */
}

static void weak_try(void)
{
	unsigned i = roll(WEAK);
	struct item *it = hapax_weak_get(self->weak[i].weak);

	if (!it)
		return;
	if (it->serial != self->weak[i].serial)
		violation("an upgrade gave object %llu instead of %llu", (unsigned long long)it->serial,
			  (unsigned long long)self->weak[i].serial);
	look(it, it->key);
	hapax_release(it);
}

/* ---- operations ----------------------------------------------------------------------------------------------- */

static struct item *make(uint32_t key)
{
	struct item *it;

	if (item_new(env, &it) != 0) {
		violation("hapax_new failed");
		return NULL;
	}
	item_init(it, key);
	return it;
}

static void get(unsigned c, uint32_t key, bool pure)
{
	void *out = NULL;
	hapax_load_error error = {0};
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
	int rc;

	if (!pure && !roll(8))
		o.refuse = refuse;
	if (!roll(8))
		o.deadline = HAPAX_NO_WAIT;
	rc = roll(3) ? hapax_cache_get(cache[c], HAPAX_KEY_OF(key), &out)
		     : hapax_cache_get_with(cache[c], HAPAX_KEY_OF(key), &o, &out);
	if (rc == 0) {
		hold(out, key, pure);
		return;
	}
	if (out)
		violation("an out-object with status %d", rc);
	if (rc != HAPAX_NOVALUE && rc != HAPAX_ELOADER && rc != HAPAX_INFLIGHT)
		violation("get gave %s", hapax_status_name(rc));
	if (rc == HAPAX_ELOADER && error.detail && error.code != (int)key - 100)
		violation("load error of key %u arrived with code %d", key, error.code);
	hapax_load_error_drop(&error);
}

static void peek(unsigned c, uint32_t key, bool pure)
{
	void *out = NULL;
	int rc;

	switch (roll(3)) {
	case 0:
		rc = hapax_cache_contains(cache[c], HAPAX_KEY_OF(key));
		if (rc != 0 && rc != 1)
			violation("contains gave %d", rc);
		return;
	case 1:
		rc = hapax_cache_get_if_present(cache[c], HAPAX_KEY_OF(key), &out);
		break;
	default:
		rc = hapax_cache_get_quietly(cache[c], HAPAX_KEY_OF(key), &out);
	}
	if (rc == 0)
		hold(out, key, pure);
	else if (rc != HAPAX_MISS)
		violation("a peek gave %s", hapax_status_name(rc));
}

static void change(unsigned c, uint32_t key)
{
	struct item *it;
	void *out = NULL;
	bool inserted = false;
	int rc;

	switch (roll(c == 1 ? 6 : 5)) {
	case 0:
		if (!(it = make(key)))
			return;
		if (hapax_cache_put(cache[c], HAPAX_KEY_OF(key), it) != 0)
			violation("put failed");
		hold(it, key, false);
		return;
	case 1:
		if (!(it = make(key)))
			return;
		rc = hapax_cache_get_or_put(cache[c], HAPAX_KEY_OF(key), it, &out, &inserted);
		if (rc != 0 || !out || inserted != (out == (void *)it))
			violation("get_or_put gave %s, %p, %d", hapax_status_name(rc), out, inserted);
		else
			hold(out, key, false);
		hapax_release(it);
		return;
	case 2:
		rc = hapax_cache_remove(cache[c], HAPAX_KEY_OF(key));
		break;
	case 3:
		rc = hapax_cache_pop(cache[c], HAPAX_KEY_OF(key), &out);
		if (rc == 0)
			hold(out, key, false);
		break;
	case 4:
		it = self->held[roll(HELD)].item;
		rc = it && it->key == key ? hapax_cache_remove_if(cache[c], HAPAX_KEY_OF(key), it) : HAPAX_MISS;
		break;
	default:
		hapax_cache_clear(cache[c]);
		rc = 0;
	}
	if (rc != 0 && rc != HAPAX_MISS)
		violation("a removal gave %s", hapax_status_name(rc));
}

static void through_table(void)
{
	struct item *it = self->held[roll(HELD)].item;
	void *out = NULL;
	int rc;

	if (it && roll(2)) {
		rc = hapax_table_put(table, HAPAX_KEY_OF(it->key), it);
		if (rc != 0)
			violation("table put gave %s", hapax_status_name(rc));
		return;
	}
	uint32_t key = roll(KEYS);
	rc = roll(4) ? hapax_table_get(table, HAPAX_KEY_OF(key), &out) : hapax_table_pop(table, HAPAX_KEY_OF(key), &out);
	if (rc == 0)
		hold(out, key, false);
	else if (rc != HAPAX_MISS)
		violation("table get gave %s", hapax_status_name(rc));
}

static void walk(unsigned c)
{
	hapax_iter *iter;
	hapax_key key;
	void *object;
	uint32_t k, seen = 0;

	if (hapax_cache_iterate(cache[c], &iter) != 0) {
		violation("iterate failed");
		return;
	}
	while (hapax_iter_next(iter, &key, &object) == 0) {
		memcpy(&k, key.data, sizeof(k));
		if (key.size != sizeof(k) || k >= KEYS)
			violation("iteration yields a key that nobody put");
		else
			look(object, k);
		if (++seen > 100000) {
			violation("iteration does not end");
			break;
		}
	}
	hapax_iter_close(iter);
}

#ifdef HPX_TESTING
/* Tables between two sizes and being moved, all the time: up and down between 8 and 64 homes. */
static void resize(void)
{
	static uint32_t ups[CACHES + 1]; /* atomic, roughly */
	unsigned which = roll(CACHES + 1), up = __atomic_load_n(&ups[which], RELAXED);
	int delta = up > 2 ? -1 : up == 0 ? (int)roll(2) : (int)roll(3) - 1;
	int rc = which < CACHES ? hapax_testing_cache_resize(cache[which], delta) : hapax_testing_table_resize(table, delta);

	if (rc == 0)
		__atomic_fetch_add(&ups[which], (uint32_t)delta, RELAXED);
}
#else
static void resize(void) {}
#endif

static void *work(void *arg)
{
	self = arg;
	own_random = self->random;
	while (!__atomic_load_n(&stop, RELAXED) && self->ops < max_ops) {
		unsigned c = roll(4) ? 0 : 1;
		uint32_t key = roll(KEYS);
		bool pure = c == 0 && key < PURE;
		unsigned what = roll(100);

		__atomic_store_n(&self->ops, self->ops + 1, RELAXED);
		if (what < 45)
			get(c, key, pure);
		else if (what < 55)
			peek(c, key, pure);
		else if (what < 67 && !pure)
			change(c, key);
		else if (what < 77 && self->held[what % HELD].item)
			weak_swap(roll(4) ? self->held[what % HELD].item : hub);
		else if (what < 84)
			weak_try();
		else if (what < 90)
			through_table();
		else if (what < 91)
			walk(c);
		else if (what < 94)
			exclusive_step();
		else if (what < 95)
			deferred_step(env);
		else if (what < 96 && !roll(4))
			resize();
		else
			let_go(&self->held[roll(HELD)]);
		bound_step();
		linger(64);
	}
	for (unsigned i = 0; i < HELD; i++)
		let_go(&self->held[i]);
	exclusive_leave();
	if (!__atomic_load_n(&broken, RELAXED))
		for (unsigned i = 0; i < WEAK; i++)
			hapax_weak_drop(self->weak[i].weak);
	return NULL;
}

#ifdef HPX_TESTING
static void dawdle(const char *name, void *ctx)
{
	(void)name;
	(void)ctx;
	linger(4);
}
#endif

static void watchdog(int signal)
{
	static const char text[] = "torture: VIOLATION: hang\n";

	(void)signal;
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(1);
	_exit(1);
}

static void judge(void)
{
	hapax_env_stats s = {.size = sizeof(s)};

	for (unsigned i = 0; i < CACHES; i++)
		if (hapax_cache_size(cache[i]) != 0)
			violation("cache %u: size %zu though nothing is alive", i, hapax_cache_size(cache[i]));
	if (hapax_table_size(table) != 0)
		violation("table: size %zu though nothing is alive", hapax_table_size(table));
	for (unsigned i = 0; i < CACHES; i++) {
		hapax_cache_stats cs = {.size = sizeof(cs)};

		if (hapax_cache_stats_get(cache[i], &cs) != 0)
			violation("stats failed");
		if (cs.loads != cs.load_successes + cs.load_failures)
			violation("cache %u: %llu loads, %llu successes, %llu failures", i, (unsigned long long)cs.loads,
				  (unsigned long long)cs.load_successes, (unsigned long long)cs.load_failures);
		if (cs.load_successes - cs.superseded + cs.puts != cs.removals + cs.replacements + cs.collections + cs.size_now)
			violation("cache %u: installed %llu, left %llu (removed %llu, replaced %llu, collected %llu)", i,
				  (unsigned long long)(cs.load_successes - cs.superseded + cs.puts),
				  (unsigned long long)(cs.removals + cs.replacements + cs.collections + cs.size_now),
				  (unsigned long long)cs.removals, (unsigned long long)cs.replacements,
				  (unsigned long long)cs.collections);
	}
	exclusive_judge();
	deferred_judge(env);
	bound_judge(threads);
	if (born != destroyed)
		violation("%llu born, %llu destroyed", (unsigned long long)born, (unsigned long long)destroyed);
	for (uint64_t i = 1; i <= serials && i < LIVES; i++)
		if (life[i] != 2) {
			violation("object %llu was never destroyed", (unsigned long long)i);
			break;
		}
	if (details != details_dropped)
		violation("%llu load error details, %llu dropped", (unsigned long long)details,
			  (unsigned long long)details_dropped);
	for (unsigned i = 0; i < threads; i++)
		for (struct watch *w = worker[i].watches, *next; w; w = next) {
			next = w->next;
			if (w->freed != 1 || w->fired > 1) {
				violation("a registration was fired %u times and freed %u times", w->fired, w->freed);
				break;
			}
			free(w);
		}
	for (unsigned i = 0; i < 2000 && !broken; i++) {
		hapax_reclaim(env);
		if (hapax_env_stats_get(env, &s) != 0)
			violation("env stats failed");
		if (s.objects_freed == s.objects_born)
			break;
		usleep(1000);
	}
	if (s.objects_born != s.objects_destroyed || s.objects_born != s.objects_freed)
		violation("environment: %llu born, %llu destroyed, %llu freed", (unsigned long long)s.objects_born,
			  (unsigned long long)s.objects_destroyed, (unsigned long long)s.objects_freed);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1.0;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, total = 0;
	struct timespec pause = {.tv_nsec = 2000000}, begin, now;

	if (argc > 3)
		threads = (unsigned)atoi(argv[3]);
	if (argc > 4)
		max_ops = strtoull(argv[4], NULL, 0);
	if (seconds < 0 || threads < 1 || threads > MAX_THREADS || argc > 5) {
		fprintf(stderr, "usage: torture SECONDS [SEED [THREADS [OPS]]]\n");
		return 2;
	}
	own_random = seed;
	signal(SIGALRM, watchdog);
	alarm((unsigned)(seconds * 10) + 60); /* shorter, once the end has been called for */
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .seed = seed | 1};
	if (hapax_env_create(&env, &eo) != 0)
		return 2;
	for (unsigned i = 0; i < CACHES; i++) {
		hapax_cache_options co = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load,
					  .arg = &cache[i]};
		if (hapax_cache_create(&cache[i], &co) != 0)
			return 2;
	}
	hapax_table_options to = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	if (hapax_table_create(&table, &to) != 0 || !bound_begin(seed) || !exclusive_begin(env))
		return 2;
	hub = make(0);
#ifdef HPX_TESTING
	hapax_testing_set_stop(dawdle, NULL);
#endif
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned i = 0; i < threads; i++) {
		worker[i].index = i;
		worker[i].random = next_random(&own_random);
		if (pthread_create(&worker[i].thread, NULL, work, &worker[i]) != 0)
			return 2;
	}
	/* without operations to count to, the clock ends it; with them the workers end by themselves as well */
	do {
		bool busy = max_ops == UINT64_MAX;

		nanosleep(&pause, NULL);
		for (unsigned i = 0; i < threads && !busy; i++)
			busy = __atomic_load_n(&worker[i].ops, RELAXED) < max_ops;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (!busy)
			break;
	} while (!__atomic_load_n(&stop, RELAXED) &&
		 (double)(now.tv_sec - begin.tv_sec) + 1e-9 * (double)(now.tv_nsec - begin.tv_nsec) < seconds);
	__atomic_store_n(&stop, 1, RELAXED);
	alarm(20);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(worker[i].thread, NULL);
		total += worker[i].ops;
	}
	hapax_release(hub);
	if (!broken)
		judge();
	printf("torture: seed %llu, %u threads, %llu operations, %llu objects: %s\n", (unsigned long long)seed, threads,
	       (unsigned long long)total, (unsigned long long)born, broken ? "BROKEN" : "ok");
	if (broken)
		_exit(1); /* nothing is to be trusted any more, not even teardown */
	hapax_table_destroy(table);
	exclusive_end();
	bound_end();
	for (unsigned i = 0; i < CACHES; i++)
		hapax_cache_destroy(cache[i]);
	hapax_env_destroy(env);
	return broken ? 1 : 0;
}
