/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * growth.c - tables that grow and shrink without end, and iterators over them.
 *
 * One table. Its keys belong to one grower each, who holds his objects: what he put and holds he must find, the very
 * object. A few entries are put before it begins and stay: every iteration, whatever is moved meanwhile, must yield each
 * of them exactly once.
 */
#include "disturb.h"

#include "harness/team.h"

#include <stdlib.h>
#include <string.h>

enum { GROWERS = 2, ITERATORS = 2, FIXED = 64, MOST = 6000, KEY_FIXED = 1u << 30 };

struct planted {
	uint64_t key, check;
};

static struct {
	hpx_torture *torture;
	hapax_env *env;
	hapax_table *table;
	struct planted *fixed[FIXED];
	hpx_relaxed yields;
} garden;

static void uproot(void *object, void *arg)
{
	struct planted *planted = object;

	(void)arg;
	hpx_sight_look(HPX_SIGHT_FOUND, planted->check == hpx_mix64(planted->key), "a destructor met a broken object");
	planted->check = 0;
}

static const hapax_type planted_type = {HAPAX_TYPE_INIT, .name = "planted", .size = sizeof(struct planted),
					.align = _Alignof(struct planted), .destroy = uproot};

/* Put and held, or NULL. */
static struct planted *plant(uint64_t key)
{
	void *object = NULL;
	struct planted *planted;
	int status = hapax_new(garden.env, &planted_type, 0, &object);

	if (!status) {
		planted = object;
		planted->key = key;
		planted->check = hpx_mix64(key);
		status = hapax_table_put(garden.table, HAPAX_KEY_OF(key), planted);
		if (!status)
			return planted;
		hapax_release(planted);
	}
	hpx_sight_look(HPX_SIGHT_STATUS, false, "a table refused an entry: %s", hapax_status_name(status));
	return NULL;
}

static int prepare(hpx_torture *torture)
{
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .name = "grown"};

	if (garden.env)
		return 0;
	garden.torture = torture;
	garden.env = hpx_own_env(torture, NULL);
	options.env = garden.env;
	if (hapax_table_create(&garden.table, &options))
		return -1;
	for (unsigned i = 0; i < FIXED; i++) {
		garden.fixed[i] = plant(KEY_FIXED + i);
		if (!garden.fixed[i])
			return -1;
	}
	return 0;
}

static void find(struct planted *planted, uint64_t key)
{
	void *object = NULL;
	int status = hapax_table_get(garden.table, HAPAX_KEY_OF(key), &object);

	hpx_sight_look(HPX_SIGHT_FOUND, !status && object == planted, "key %llu: %s, the object %s",
		       (unsigned long long)key, hapax_status_name(status), object == planted ? "itself" : "another");
	hapax_release(object);
}

/* Up to a random size and down again: entries go by removal, by their object's death, or all by a clear of nothing. */
static void grow(hpx_torturer *self, unsigned which)
{
	struct planted **own = calloc(MOST, sizeof(struct planted *));
	uint64_t base = (uint64_t)which * MOST;

	while (own && !hpx_stopping()) {
		uint64_t size = 64 + hpx_rng_below(&self->rng, MOST - 64);

		for (uint64_t i = 0; i < size && !hpx_stopping(); i++) {
			own[i] = plant(base + i);
			if (hpx_rng_once_in(&self->rng, 4)) {
				uint64_t back = hpx_rng_below(&self->rng, i + 1);

				if (own[back])
					find(own[back], base + back);
			}
		}
		for (uint64_t i = 0; i < MOST; i++) {
			uint64_t key = base + i;
			bool removed = hpx_rng_once_in(&self->rng, 2);

			if (!own[i])
				continue;
			if (removed) {
				int status = hapax_table_remove_if(garden.table, HAPAX_KEY_OF(key), own[i]);

				hpx_sight_look(HPX_SIGHT_FOUND, !status, "key %llu could not be removed: %s",
					       (unsigned long long)key, hapax_status_name(status));
			}
			hapax_release(own[i]);
			own[i] = NULL;
			/* what died without a removal may be held by an iterator for a while yet */
			if (removed)
				hpx_sight_look(HPX_SIGHT_FOUND, hapax_table_contains(garden.table, HAPAX_KEY_OF(key)) == 0,
					       "key %llu is there though it was removed", (unsigned long long)key);
		}
		hpx_happened(&hpx_growth, 1);
	}
	free(own);
}

static void judge_growth(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	(void)result;
	if (!garden.env)
		return;
	hpx_sight_look(HPX_SIGHT_FOUND, hapax_table_size(garden.table) == FIXED, "the table at rest has %zu entries, not %d",
		       hapax_table_size(garden.table), FIXED);
	for (unsigned i = 0; i < FIXED; i++)
		hapax_release(garden.fixed[i]);
	hapax_table_destroy(garden.table);
	hpx_own_env_end(garden.env, "growth", 0, HPX_SIGHT_COUNT);
	garden.env = NULL;
}

static void iterate_once(void)
{
	unsigned char times[FIXED] = {0};
	hapax_iter *iter = NULL;
	void *object = NULL;
	uint64_t key, yields = 0;
	hapax_key bytes;
	int status = hapax_table_iterate(garden.table, &iter);

	while (!status && !(status = hapax_iter_next(iter, &bytes, &object))) {
		const struct planted *planted = object;

		memcpy(&key, bytes.data, sizeof(key));
		hpx_sight_look(HPX_SIGHT_YIELDED, planted->key == key && planted->check == hpx_mix64(key),
			       "an iterator gave another object or a dead one");
		if (key >= KEY_FIXED && key < KEY_FIXED + FIXED)
			times[key - KEY_FIXED]++;
		yields++;
	}
	hapax_iter_close(iter);
	hpx_sight_look(HPX_SIGHT_STATUS, status == HAPAX_EMPTY, "an iteration ended with %s", hapax_status_name(status));
	for (unsigned i = 0; i < FIXED; i++)
		hpx_sight_look(HPX_SIGHT_YIELDED, times[i] == 1, "an entry that stayed was yielded %u times", times[i]);
	hpx_relaxed_add(&garden.yields, yields);
	hpx_happened(&hpx_iterates, 1);
}

static void iterate(hpx_torturer *self, unsigned which)
{
	(void)which;
	while (!hpx_stopping()) {
		iterate_once();
		hpx_pause(hpx_rng_below(&self->rng, HAPAX_MILLISECOND));
	}
}

static void judge_iterates(hpx_torture *torture, hpx_result *result)
{
	hpx_result_note(result, "yields", "entries yielded", hpx_relaxed_get(&garden.yields));
	judge_growth(torture, result); /* whoever is asked first ends the table */
}

hpx_disturbance hpx_growth = {
	.name = "growth",
	.help = "tables that grow and shrink",
	.field = "growths",
	.label = "tables grown and shrunk",
	.full = 1000,
	.threads = GROWERS,
	.prepare = prepare,
	.run = grow,
	.judge = judge_growth,
};

hpx_disturbance hpx_iterates = {
	.name = "iterate",
	.help = "iterations, that miss nothing which stays",
	.field = "iterations",
	.label = "iterations",
	.full = 10000,
	.threads = ITERATORS,
	.prepare = prepare,
	.run = iterate,
	.judge = judge_iterates,
};
