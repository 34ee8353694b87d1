/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/observe.h - what the caches of a process are doing, for people and for monitoring.
 *
 * Everything here looks while the program goes on. Each figure is right by itself; together they are a picture of no one instant.
 */
#ifndef HAPAX_OBSERVE_H
#define HAPAX_OBSERVE_H

#include <hapax/base.h>
#include <hapax/cache.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

typedef enum hapax_metrics_format {
	HAPAX_METRICS_JSON = 0, /* one object, UTF-8; its fields are described in docs/observing.md */
	HAPAX_METRICS_PROMETHEUS = 1 /* Prometheus' text format 0.0.4, UTF-8; docs/metrics.md lists the metrics. Content-Type:
					text/plain; version=0.0.4 */
} hapax_metrics_format;

/*
 * Writes the figures of the whole process: all environments with their types, all caches and memos, the default environment
 * included. They are gathered first; then `write` gets the text, and may call anything. What is being destroyed is left out.
 * Thread: any. Section: outside. Blocks: not on loads; hapax_cache_destroy() of a cache that is being looked at waits for it.
 * Memory: of the default environment. Returns 0, or what `write` returned.
 * Fails: HAPAX_ENULL, HAPAX_EOPTION (format), HAPAX_ENOMEM: then `write` was not called.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_metrics_write(hapax_metrics_format format, hapax_write_fn write, void *ctx);

/*
 * Which keys are asked for most: from now on about one hit and one miss in `one_in` is looked at, and its key counted; 0: none, as it
 * is at first, and what was gathered is forgotten. 64 is a good value: a hit takes 4 to 8 % longer then; with 1, which looks at all of
 * them, several times as long. While somebody reads the statistics segment every cache is sampled that is not yet, one in 64.
 * Keys are counted in 64 counters of a fixed size (5 KiB, taken from the cache's environment with the first call): a key with more
 * than 1/64 of the samples is known. When there are 65536 samples all are halved, so that they are recent ones.
 * Thread: any. Section: outside. Blocks: no. Returns 0.
 * Fails: HAPAX_ENULL, HAPAX_EOPTION (HAPAX_CACHE_NO_STATS, with one_in above 0), HAPAX_ECLOSED (it is being destroyed), HAPAX_ENOMEM.
 */
HAPAX_API int hapax_cache_sample(hapax_cache *cache, unsigned one_in);

/* A key that is asked for often. */
typedef struct hapax_hot_key {
	size_t size;      /* sizeof(hapax_hot_key), set by hapax */
	hapax_key key;    /* its first 48 bytes at most; valid during the call */
	size_t key_size;  /* all of them */
	uint64_t samples; /* at least so many of the samples were of this key, and at most 1/64 of all of them more */
	double share;     /* of all samples */
} hapax_hot_key;

/*
 * Calls `fn` for the keys of which there are samples, those with most first: how many, at most 64.
 * Thread: any. Section: outside. Blocks: no. fn runs without locks, and may call anything.
 * Fails: HAPAX_ENULL, HAPAX_ECLOSED (it is being destroyed); then fn was not called.
 */
HAPAX_API int hapax_cache_hottest(hapax_cache *cache, void (*fn)(const hapax_hot_key *key, void *ctx), void *ctx);

/* A load in progress. */
typedef struct hapax_flight {
	size_t size;      /* sizeof(hapax_flight), set by hapax */
	hapax_key key;    /* its first 48 bytes at most; valid during the call */
	size_t key_size;  /* all of them */
	uint64_t age_ns;  /* by the environment's clock; a few milliseconds of grain, if it is the system's */
	bool exact;       /* false: the load is at least so old. Of many short loads most are not timed: of these the age is counted
			   * from when somebody first looked; so is that of tasks that wait to be run */
	int tid;          /* of the thread that runs the loader; 0: none: it waits to be run, or the application has its token */
	uint64_t waiters; /* others who wait for it */
} hapax_flight;

/*
 * Calls `fn` for the loads of this cache that are in progress, the oldest first: how many. A call for several keys (hapax_load_many_fn)
 * is one load, shown with its first key. Of loads inside loads of one thread the outer four are seen. A load that ends meanwhile may
 * be among them.
 * Thread: any, also in loaders. Section: outside. Blocks: no. fn runs without locks, and may call anything.
 * Fails: HAPAX_ENULL, HAPAX_ECLOSED (it is being destroyed), HAPAX_ENOMEM; then fn was not called.
 */
HAPAX_API int hapax_cache_flights(hapax_cache *cache, void (*fn)(const hapax_flight *flight, void *ctx), void *ctx);

/*
 * The statistics segment of this process, which hapax-top reads: a memory file of 2 MiB (sparse: nothing but its first page is
 * used before somebody asks) and a thread, "hapax-stats", that sleeps in it with all signals blocked until somebody asks for
 * figures. Only the process's own user and root can open the file. It is there from the first cache on that is created in an
 * environment with threads; not in a program that is started with the environment variable HAPAX_SEGMENT=off, nor where the system
 * refuses, which nobody is told of, nor in the library's variant for ThreadSanitizer. In the child of a fork with hapax_after_fork_child() there is a new one.
 * on: makes it if it is not there, whatever the environment variable says; also if the application has closed all descriptors (as
 * daemons do), which took it away. off: gives it up; there is none until it is asked for again. A snapshot that is being made at
 * that instant is completed, and not waited for.
 * Thread: any. Section: outside. Blocks: no. Returns 0. Fails: HAPAX_ENOMEM (memory, descriptors, or the system does not allow
 * such files), HAPAX_ETHREAD.
 */
HAPAX_API int hapax_segment_enable(bool on);

HAPAX_END_DECLS

#endif
