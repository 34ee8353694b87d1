/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/kit.h - what the scenarios share: objects that tell, a ledger of their lives, a loader, shorthands.
 *
 * The ledger is the oracle. Threads of the model change places only at steps of the library and at model_yield(), so it
 * needs no atomics and orders nothing. It knows which object each key's holders hold (from the return of a get to the call
 * of the release), which objects were destroyed, who is loading what, and fails the run at the first contradiction:
 *
 *      two objects of one key held at once; a load of a key that is held or being loaded      (unless `loose`)
 *      an object given to somebody half-made, destroyed, or of another kit
 *      a destructor that runs twice, or while somebody holds; one that never runs
 *
 * The first word of an object is its contents: written when it is made and by its destructor, read by whoever gets it,
 * each time as a plain access that the model checks for races and for freed memory.
 */
#ifndef HPX_MODEL_KIT_H
#define HPX_MODEL_KIT_H

#include "model/model.h"

enum { KIT_ITEMS = 63, KIT_KEYS = 16 };

struct kit;

struct item {
	uint64_t word; /* its contents, seen by the model */
	uint64_t mark; /* as the word, free for scenarios */
	struct kit *kit;
	unsigned id, key;
	void *child; /* released by the destructor */
};

struct kit_life {
	bool made, destroyed, loaded;
	unsigned key, holders;
	uint64_t begun; /* kit_now() when its load or making began */
};

struct kit {
	hapax_env *env;
	hapax_table *table, *other;
	hapax_cache *cache;
	bool loose; /* keys are written meanwhile: an older object of a key may live on beside a newer one */

	/* may be set by the scenario */
	int (*then)(struct kit *k, struct item *item, unsigned key, hapax_load_error *error); /* in the loader */
	void (*on_destroy)(struct kit *k, struct item *item);                                   /* in the destructor */

	/* the ledger */
	uint64_t clock;
	unsigned last, destroyed; /* ids given; destructors run */
	struct kit_life life[KIT_ITEMS + 1];
	unsigned held[KIT_KEYS], holders[KIT_KEYS]; /* by key: id and number */
	unsigned loads, loading[KIT_KEYS];
	unsigned living[KIT_KEYS], most_living; /* made and destructor not returned, of objects that were loaded */
	unsigned leaks;
};

/* Announces a scenario; the list in all.c has its name. */
#define SCENARIO_FLAGS(flags_, name_, title_, summary_, state_, setup_, finish_, bound_, ...)                        \
	extern const struct model_scenario model_##name_;                                                          \
	const struct model_scenario model_##name_ = {.name = title_, .summary = summary_, .size = sizeof(state_), \
						     .setup = setup_, .thread = {__VA_ARGS__}, .flags = flags_,    \
						     .finish = finish_, .preemptions = bound_}
#define SCENARIO(...) SCENARIO_FLAGS(0, __VA_ARGS__)
#define SCENARIO_IN_TIME(...) SCENARIO_FLAGS(MODEL_IN_TIME, __VA_ARGS__)

/* ---- setting up and ending --------------------------------------------------------------------------------------- */

void kit_open(struct kit *k, unsigned env_flags, size_t garbage_bound);
/* Tables: `chained` hashes every key alike, `homed` puts all keys in one home, with hashes of their own. */
enum kit_hash { KIT_PLAIN, KIT_CHAINED, KIT_HOMED };
hapax_table *kit_table(struct kit *k, enum kit_hash hash);
/* A cache whose loader is the kit's; `make`: the loader makes objects elsewhere instead of filling them in place. */
enum kit_form { KIT_IN_PLACE, KIT_MADE };
hapax_cache *kit_cache(struct kit *k, unsigned flags, enum kit_form form);
/* The same with options of the scenario's own. */
hapax_cache *kit_cache_with(struct kit *k, const hapax_cache_options *options, enum kit_form form);
/* At rest, everything released by its holders: the structures are sound, `entries` are in, every object made was destroyed
 * once and its memory is back; then the environment ends. */
void kit_close(struct kit *k, size_t entries);
/* Its parts. */
void kit_check(struct kit *k, size_t entries);
void kit_end_containers(struct kit *k);
void kit_end_env(struct kit *k);

/* ---- objects ----------------------------------------------------------------------------------------------------- */

extern const hapax_type kit_type, kit_deferred_type;

hapax_key kit_key(unsigned key);
uint64_t kit_now(struct kit *k); /* an instant of the ledger; never the same twice */
/* A new object with one reference, the caller's. The second form may fail. */
struct item *kit_new(struct kit *k, unsigned key);
int kit_try_new(struct kit *k, const hapax_type *type, unsigned key, size_t extra, struct item **out);
/* Enters into the ledger what a loader of a scenario's own has filled. */
void kit_fill(struct kit *k, struct item *item, unsigned key);
/* From here on the caller holds `object`, which it got under `key`; and until here. kit_give releases it too. */
struct item *kit_hold(struct kit *k, unsigned key, void *object);
void kit_unhold(struct kit *k, unsigned key, struct item *item);
void kit_give(struct kit *k, unsigned key, struct item *item);

/* Plain accesses that the model checks. */
void kit_read(const uint64_t *word);
void kit_write(uint64_t *word);

/* ---- calls that must do what they promise ------------------------------------------------------------------------ */

/* The object under a key of the table, held, or NULL. */
struct item *kit_find_in(struct kit *k, hapax_table *table, unsigned key);
struct item *kit_find(struct kit *k, unsigned key);
/* Of the cache: held, or NULL when absent. */
struct item *kit_peek(struct kit *k, unsigned key);
/* Of the cache, loading: must succeed; held. */
struct item *kit_get(struct kit *k, unsigned key);
void kit_put(struct kit *k, unsigned key, struct item *item);
void kit_cache_put(struct kit *k, unsigned key, struct item *item);
/* A weak handle on an object the caller holds. */
hapax_weak *kit_weak(void *object);
/* Through a handle: held, or NULL. */
struct item *kit_upgrade(struct kit *k, unsigned key, hapax_weak *weak);

/* ---- a death callback that tells --------------------------------------------------------------------------------- */

struct probe {
	uint64_t word; /* written by callback and ctx_free, and by whoever has seen the barrier return */
	hapax_weak *weak;
	unsigned calls, frees;
	bool running, cancelled; /* cancelled: its drop returned before the callback had begun */
	void (*then)(struct probe *p); /* in the callback */
	void *arg;
};

/* Registers on an object the caller holds. */
void probe_on(struct probe *p, void *object);
int probe_try(struct probe *p, void *object);
/* Drops the handle, outside user code of hapax: afterwards the callback is over or never comes. */
void probe_drop(struct probe *p);
/* At rest: called as often as said (at most once), ctx_free once. */
void probe_check(struct probe *p, bool dropped_only);

#endif
