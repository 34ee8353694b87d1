/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * observe/figures.h - the figures of the process, gathered once for whatever text is made of them.
 *
 *      gather.c  environments, types, caches  ->  struct hpx_figures  ->  json.c, ...  ->  the caller's write(), the segment
 *
 * Gathering holds one environment or cache at a time, and no lock while it asks for memory. What is made of the figures looks at
 * them alone.
 */
#ifndef HPX_FIGURES_H
#define HPX_FIGURES_H

#include <hapax/observe.h>

#include "base/json.h"
#include "cache/cache.h"

#define HPX_TYPE_NAME 48
#define HPX_HOT_SHOWN 10

struct hpx_type_figures {
	char name[HPX_TYPE_NAME];
	uint64_t alive, born; /* of all classes with this name */
};

struct hpx_env_figures {
	uint64_t id;
	hapax_env_stats stats;
	struct hpx_type_figures *type; /* by name */
	size_t types;
	size_t bytes;                  /* of their memory */
};

/* A key that is asked for often. */
struct hpx_hot_figures {
	char key[HPX_KEY_ROOM];
	uint64_t samples;
	double share; /* of all samples */
};

/* A load in progress. */
struct hpx_flight_figures {
	char key[HPX_KEY_ROOM];
	uint64_t age_ns;
	bool exact; /* else it is at least so old */
	int tid;    /* 0: no thread's: it waits to be run, or the application has it */
	uint64_t waiters;
};

struct hpx_cache_figures {
	uint64_t id;
	char name[32];
	bool memo;
	bool counted;                    /* false: HAPAX_CACHE_NO_STATS: the statistics are zero */
	uint64_t env;
	uint64_t bound_entries, bound_weight; /* UINT64_MAX: none */
	hapax_cache_stats stats;
	uint64_t loads_in_flight, demoted;
	unsigned sampled_one_in;         /* 0: not */
	struct hpx_hot_figures hot[HPX_HOT_SHOWN]; /* those with most first */
	size_t hots;
	struct hpx_flight_figures *flight; /* the oldest first */
	size_t flights, flight_bytes;
};

struct hpx_figures {
	char program[64];
	uint64_t pid, time_ns, monotonic_ns;
	struct hpx_env_figures *env;
	size_t envs, env_room;
	struct hpx_cache_figures *cache;
	size_t caches, cache_room;
};

/* 0, or HAPAX_ENOMEM; in both cases hpx_figures_drop() follows. Outside sections and locks. */
int hpx_figures_gather(struct hpx_figures *f);
void hpx_figures_drop(struct hpx_figures *f);

/* A name for every number of the two statistics, for formats that have all of them. */
struct hpx_field {
	const char *name;
	size_t at;
	bool state; /* how things are, and not a count that only grows */
	bool size;  /* a size_t; else 64 bits */
};
extern const struct hpx_field hpx_env_fields[], hpx_cache_fields[];
extern const size_t hpx_env_field_count, hpx_cache_field_count;
uint64_t hpx_field_value(const void *stats, const struct hpx_field *field);

/* shown.c: the text of a key of this cache of which the first HPX_KEY_SHOWN bytes are known, or all; of a memo, its arguments. */
void hpx_key_begin_show(const hapax_cache *c, const void *bytes, size_t size, char text[HPX_KEY_ROOM]);

/* json.c: of types and caches at most so many, and what is missing is said. What write() returned. */
struct hpx_json_limits {
	size_t types, caches;
};
#define HPX_JSON_ALL (struct hpx_json_limits){SIZE_MAX, SIZE_MAX}
int hpx_figures_json(const struct hpx_figures *f, struct hpx_json_limits limits, hapax_write_fn write, void *ctx);
/* prometheus.c: what write() returned. */
int hpx_figures_prometheus(const struct hpx_figures *f, hapax_write_fn write, void *ctx);

#endif
