/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/trace.c - the table behind trace.h: a hash table of records, striped by locks.
 *
 *      bucket --> record of an object --> next record
 *                   '--> site --> site     at most HPX_TRACE_SITES, then `others`
 *
 * Records and sites are units of one size; a stripe keeps those that are free and never gives memory back. It comes from the
 * library's own data and then straight from the system, so that no allocator sees it, nor hapax_testing_bytes().
 *
 * A lock is not held over a fork: a reader that waited for it could be what the fork waits for. The child's copy is whole all
 * the same, because every change of a list is one store, in the order of the program; what another thread had in its hands is lost.
 *
 * ThreadSanitizer is not to see this file: a lock that every taker of a reference goes through would order threads that
 * nothing else orders, and hide the races that it is there to find. So the locks are words of our own, no function that
 * touches a record is instrumented, and none passes one to a function of the C library that is. It sees one edge, from an object's
 * birth to a report that lists it.
 * Pointers to objects are kept inverted, so that LeakSanitizer does not take them for references.
 */
#include "object/trace.h"

#if HPX_TRACING

#include "base/ck_port.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <sys/mman.h>

#if defined(__has_attribute)
#if __has_attribute(disable_sanitizer_instrumentation)
#define UNSEEN __attribute__((disable_sanitizer_instrumentation))
#endif
#endif
#ifndef UNSEEN
#define UNSEEN __attribute__((no_sanitize_thread))
#endif

#define BUCKETS 256 /* of a stripe */
#define UNITS 32    /* made at once */
#define ARENA 16384 /* units of the library's own */
#define MAPPED ((size_t)64 << 10)

struct site {
	struct site *next;
	const void *address;
	uint64_t taken, last;
};

struct record {
	struct record *next;
	uintptr_t object; /* inverted */
	struct site *sites;
	uint64_t others;
	uint64_t takes;
};

union unit {
	union unit *next;
	struct site site;
	struct record record;
};

static struct stripe {
	uint32_t lock;
	union unit *free;
	struct record *bucket[BUCKETS];
} stripes[HPX_TRACE_STRIPES];
static union unit arena[ARENA];
static uint32_t arena_used;
static uint32_t lost;

/* order: release; one change after the other, for a forked child */
#define SET(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)

UNSEEN static void lock(struct stripe *s)
{
	/* order: acquire, as a lock's: what was done to the stripe before */
	while (__atomic_exchange_n(&s->lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

/* order: release, as a lock's */
UNSEEN static void unlock(struct stripe *s) { __atomic_store_n(&s->lock, 0, __ATOMIC_RELEASE); }

static uint64_t hash(const struct hpx_object *o) { return ((uint64_t)(uintptr_t)o >> 4) * UINT64_C(0x9e3779b97f4a7c15); }

static struct stripe *stripe_of(const struct hpx_object *o) { return &stripes[hash(o) >> 56]; }

static unsigned bucket_of(const struct hpx_object *o) { return hash(o) >> 48 & (BUCKETS - 1); }

/* Makes some for the stripe. */
UNSEEN static void units_make(struct stripe *s)
{
	/* order: relaxed; a place */
	uint32_t at = __atomic_load_n(&arena_used, __ATOMIC_RELAXED) < ARENA ? __atomic_fetch_add(&arena_used, UNITS, __ATOMIC_RELAXED)
									    : ARENA;
	size_t n = at < ARENA ? UNITS : MAPPED / sizeof(union unit);
	union unit *unit = &arena[at < ARENA ? at : 0];
	int saved = errno;

	if (at >= ARENA) {
		unit = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		errno = saved;
		if (unit == MAP_FAILED) {
			__atomic_store_n(&lost, 1, __ATOMIC_RELAXED); /* order: relaxed; a flag */
			return;
		}
	}
	for (size_t i = 0; i < n; i++) {
		SET(unit[i].next, s->free);
		SET(s->free, &unit[i]);
	}
}

UNSEEN static union unit *unit_new(struct stripe *s)
{
	union unit *unit;

	if (!s->free)
		units_make(s);
	unit = s->free;
	if (unit)
		SET(s->free, unit->next);
	return unit;
}

UNSEEN static void unit_free(struct stripe *s, union unit *unit)
{
	SET(unit->next, s->free);
	SET(s->free, unit);
}

/* The link to the record of `o`, or to NULL. */
UNSEEN static struct record **find(struct stripe *s, const struct hpx_object *o)
{
	struct record **link = &s->bucket[bucket_of(o)];

	while (*link && (*link)->object != ~(uintptr_t)o)
		link = &(*link)->next;
	return link;
}

UNSEEN static void forget(struct stripe *s, struct record **link)
{
	struct record *r = *link;
	struct site *site;

	SET(*link, r->next);
	while ((site = r->sites) != NULL) {
		SET(r->sites, site->next);
		unit_free(s, (union unit *)site);
	}
	unit_free(s, (union unit *)r);
}

UNSEEN void hpx_trace_born(struct hpx_object *o)
{
	struct stripe *s = stripe_of(o);
	struct record **link, *r;
	union unit *unit;

	lock(s);
	link = find(s, o);
	unit = unit_new(s);
	if (unit) {
		r = &unit->record;
		r->next = *link;
		r->object = ~(uintptr_t)o;
		r->sites = NULL;
		r->others = 0;
		r->takes = 0;
		SET(*link, r);
	}
	HPX_TSAN_RELEASE(s);
	unlock(s);
}

UNSEEN void hpx_trace_gone(struct hpx_object *o)
{
	struct stripe *s = stripe_of(o);
	struct record **link;

	lock(s);
	link = find(s, o);
	if (*link)
		forget(s, link);
	unlock(s);
}

UNSEEN static void count(struct stripe *s, struct record *r, const void *address)
{
	struct site **at = &r->sites, *site;
	union unit *unit;
	unsigned n = 0;

	r->takes++;
	for (; (site = *at) != NULL && site->address != address; n++)
		at = &site->next;
	if (!site) {
		unit = n < HPX_TRACE_SITES ? unit_new(s) : NULL;
		if (!unit) {
			r->others++;
			return;
		}
		site = &unit->site;
		site->next = NULL;
		site->address = address;
		site->taken = 0;
		SET(*at, site);
	}
	site->taken++;
	site->last = r->takes;
}

static __thread struct hpx_trace_scope scope;

struct hpx_trace_scope hpx_trace_enter(const void *site)
{
	struct hpx_trace_scope before = scope;

	if (!site || !scope.on || scope.frames != hpx_self.frames)
		scope = (struct hpx_trace_scope){site, hpx_self.frames, true};
	return before;
}

void hpx_trace_leave(struct hpx_trace_scope *before) { scope = *before; }

UNSEEN void hpx_trace_take(const void *payload, const void *address)
{
	struct hpx_object *o;
	struct stripe *s;
	struct record *r;

	if (scope.on && scope.frames == hpx_self.frames)
		address = scope.site;
	if (!payload || !address)
		return;
	o = hpx_object_of(payload);
	s = stripe_of(o);
	lock(s);
	r = *find(s, o);
	if (r)
		count(s, r, address);
	unlock(s);
}

bool hpx_trace_incomplete(void)
{
	return __atomic_load_n(&lost, __ATOMIC_RELAXED); /* order: relaxed; a flag */
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

/* Apart from what is not instrumented: these are the object's own words. In a section, the record is there: so is the object. */
__attribute__((noinline)) static bool belongs(struct hpx_object *o, hapax_env *env)
{
	struct hpx_class *c = hpx_class_of(o);

	return c && c->env == env && !hpx_dead(o);
}

__attribute__((noinline)) static bool take(struct hpx_object *o) { return hpx_take(o); }

UNSEEN bool hpx_trace_stripe(hapax_env *env, unsigned stripe, struct hpx_object **into, size_t room, size_t *n)
{
	struct stripe *s = &stripes[stripe];
	struct hpx_object *o;
	size_t found = 0, taken = 0;

	lock(s);
	HPX_TSAN_ACQUIRE(s);
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct record *r = s->bucket[i]; r; r = r->next)
			found += belongs((struct hpx_object *)~r->object, env);
	for (unsigned i = 0; i < BUCKETS && found <= room; i++)
		for (struct record *r = s->bucket[i]; r && taken < room; r = r->next) {
			o = (struct hpx_object *)~r->object;
			if (belongs(o, env) && take(o))
				into[taken++] = o;
		}
	unlock(s);
	*n = found <= room ? taken : found;
	return found <= room;
}

static int more_first(const void *left, const void *right)
{
	const struct hpx_trace_site *a = left, *b = right;

	if (a->taken != b->taken)
		return a->taken < b->taken ? 1 : -1;
	return a->last < b->last ? 1 : a->last > b->last ? -1 : 0;
}

UNSEEN static size_t sites_of(struct hpx_object *o, struct hpx_trace_site *into, uint64_t *others)
{
	struct stripe *s = stripe_of(o);
	struct record *r;
	size_t n = 0;

	lock(s);
	r = *find(s, o);
	*others = r ? r->others : 0;
	for (struct site *site = r ? r->sites : NULL; site && n < HPX_TRACE_SITES; site = site->next) {
		into[n].address = site->address;
		into[n].taken = site->taken;
		into[n++].last = site->last;
	}
	unlock(s);
	return n;
}

size_t hpx_trace_sites(struct hpx_object *o, struct hpx_trace_site into[HPX_TRACE_SITES + 1])
{
	uint64_t others;
	size_t n = sites_of(o, into, &others);

	qsort(into, n, sizeof(*into), more_first);
	if (others)
		into[n++] = (struct hpx_trace_site){.taken = others};
	return n;
}

/* ---- names of places --------------------------------------------------------------------------------------------- */

void hpx_trace_name(const void *address, char *text, size_t size)
{
	const char *at = address, *file, *slash;
	const ElfW(Ehdr) *head;
	Dl_info info;

	if (!address) {
		snprintf(text, size, "other places");
		return;
	}
	/* The call is before the address that it returns to, perhaps as the last of a function. */
	if (!dladdr(at - 1, &info) || !info.dli_fname) {
		snprintf(text, size, "%p", address);
		return;
	}
	slash = strrchr(info.dli_fname, '/');
	file = slash ? slash + 1 : info.dli_fname;
	if (info.dli_sname) {
		snprintf(text, size, "%s+0x%zx (%s)", info.dli_sname, (size_t)(at - (const char *)info.dli_saddr), file);
		return;
	}
	/* A program that is not position-independent is where its file says: addr2line wants the address itself. It is to name the
	 * line of the call, not the one after it. */
	head = info.dli_fbase;
	snprintf(text, size, "%s+0x%zx", file, (size_t)((uintptr_t)at - 1 - (head->e_type == ET_DYN ? (uintptr_t)head : 0)));
}

void hpx_trace_describe(struct hpx_object *o, char *text, size_t size)
{
	struct hpx_trace_site site[HPX_TRACE_SITES + 1];
	size_t n = hpx_trace_sites(o, site), length = 0;
	char name[160];

	*text = 0;
	for (size_t i = 0; i < n && length < size; i++) {
		hpx_trace_name(site[i].address, name, sizeof(name));
		length += (size_t)snprintf(text + length, size - length, "%s%s (%llu)", i ? ", " : ", taken at ", name,
					   (unsigned long long)site[i].taken);
	}
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void child_locks(void)
{
	for (unsigned i = 0; i < HPX_TRACE_STRIPES; i++)
		unlock(&stripes[i]);
}

/* Only this thread is there: it marks what is alive. */
UNSEEN static void inherit(void)
{
	for (unsigned i = 0; i < HPX_TRACE_STRIPES; i++)
		for (unsigned j = 0; j < BUCKETS; j++)
			for (struct record *r = stripes[i].bucket[j]; r; r = r->next) {
				/* order: OBJECT.FLAGS relaxed; this is the only thread */
				hpx_or_relaxed(&((struct hpx_object *)~r->object)->count, HPX_INHERITED);
			}
}

__attribute__((constructor)) static void watch_forks(void)
{
	hpx_fork_hook(HPX_FORK_LOCKS, child_locks);
	hpx_fork_hook(HPX_FORK_CONTENTS, inherit);
}

#endif
