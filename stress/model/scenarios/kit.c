/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scenarios/kit.c - the ledger, objects, loader and shorthands of kit.h. */
#include "model/scenarios/kit.h"

/* The model's own entry points for plain accesses, as the compiler would call them. */
void __tsan_read8(void *address);
void __tsan_write8(void *address);

void kit_read(const uint64_t *word) { __tsan_read8((void *)(uintptr_t)word); }
void kit_write(uint64_t *word) { __tsan_write8(word); }

static uint64_t contents(unsigned id) { return UINT64_C(0x5eed000000000000) | id; }

/* ---- the ledger -------------------------------------------------------------------------------------------------- */

uint64_t kit_now(struct kit *k) { return ++k->clock; }

static unsigned enter(struct kit *k, unsigned key)
{
	unsigned id = ++k->last;

	MODEL_CHECK(id <= KIT_ITEMS, "more objects than the kit has room for");
	k->life[id] = (struct kit_life){.key = key, .begun = kit_now(k)};
	return id;
}

static void fill(struct kit *k, struct item *item, unsigned id)
{
	kit_write(&item->word);
	item->word = contents(id);
	kit_write(&item->mark);
	item->mark = id;
	item->kit = k;
	item->id = id;
	item->key = k->life[id].key;
	k->life[id].made = true;
}

void kit_fill(struct kit *k, struct item *item, unsigned key) { fill(k, item, enter(k, key)); }

static struct kit_life *life_of(struct kit *k, struct item *item)
{
	kit_read(&item->word);
	MODEL_CHECK(item->word == contents(item->id) && item->kit == k && item->id && item->id <= k->last,
		    "an object %p that nobody made: contents %#llx", (void *)item, (unsigned long long)item->word);
	return &k->life[item->id];
}

struct item *kit_hold(struct kit *k, unsigned key, void *object)
{
	struct item *item = object;
	struct kit_life *life = life_of(k, item);

	MODEL_CHECK(life->made, "object %u was given out before it was made", item->id);
	MODEL_CHECK(!life->destroyed, "object %u was given out after its destructor had begun", item->id);
	MODEL_CHECK(k->loose || !k->holders[key] || k->held[key] == item->id,
		    "key %u has two live objects, %u and %u", key, k->held[key], item->id);
	model_note("holds", item->id);
	life->holders++;
	k->held[key] = item->id;
	k->holders[key]++;
	return item;
}

void kit_unhold(struct kit *k, unsigned key, struct item *item)
{
	struct kit_life *life = life_of(k, item);

	MODEL_CHECK(!life->destroyed, "object %u was destroyed while it was held", item->id);
	MODEL_CHECK(life->holders && k->holders[key], "the scenario lets go of what it does not hold");
	life->holders--;
	k->holders[key]--;
}

void kit_give(struct kit *k, unsigned key, struct item *item)
{
	if (!item)
		return;
	kit_unhold(k, key, item);
	model_note("releases", item->id);
	hapax_release(item);
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

static void destroy(void *object, void *arg)
{
	struct item *item = object;
	struct kit *k = item->kit;
	struct kit_life *life = life_of(k, item);

	(void)arg;
	model_note("destroys", item->id);
	MODEL_CHECK(!life->destroyed, "object %u is destroyed twice", item->id);
	MODEL_CHECK(!life->holders, "object %u is destroyed while it is held", item->id);
	kit_write(&item->word);
	kit_write(&item->mark);
	life->destroyed = true;
	k->destroyed++;
	if (k->on_destroy)
		k->on_destroy(k, item);
	if (life->loaded)
		k->living[life->key]--;
	hapax_release(item->child);
}

const hapax_type kit_type = {HAPAX_TYPE_INIT, .name = "item", .size = sizeof(struct item), .destroy = destroy};
const hapax_type kit_deferred_type = {HAPAX_TYPE_INIT, .name = "deferred item", .size = sizeof(struct item),
				      .flags = HAPAX_TYPE_DEFERRED, .destroy = destroy};

hapax_key kit_key(unsigned key)
{
	static const uint32_t names[KIT_KEYS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

	return HAPAX_KEY_OF(names[key]);
}

static unsigned number_of(const hapax_key *key) { return *(const unsigned char *)key->data; }

int kit_try_new(struct kit *k, const hapax_type *type, unsigned key, size_t extra, struct item **out)
{
	void *object = (void *)1;
	int status = hapax_new(k->env, type, extra, &object);

	MODEL_CHECK((status == 0) == (object != NULL), "hapax_new returned %s and an object", hapax_status_name(status));
	*out = object;
	if (!status)
		fill(k, *out, enter(k, key));
	return status;
}

struct item *kit_new(struct kit *k, unsigned key)
{
	struct item *item;
	int status = kit_try_new(k, &kit_type, key, 0, &item);

	MODEL_CHECK(!status, "hapax_new: %s", hapax_status_name(status));
	return item;
}

/* ---- the loader -------------------------------------------------------------------------------------------------- */

static unsigned load_begins(struct kit *k, unsigned key)
{
	unsigned id;

	MODEL_CHECK(k->loose || !k->holders[key], "key %u is loaded while object %u is held", key, k->held[key]);
	MODEL_CHECK(k->loose || !k->loading[key], "key %u is loaded twice at once", key);
	k->loads++;
	k->loading[key]++;
	k->living[key]++;
	if (k->living[key] > k->most_living)
		k->most_living = k->living[key];
	id = enter(k, key);
	k->life[id].loaded = true;
	return id;
}

static int load_ends(struct kit *k, struct item *item, unsigned id, unsigned key, hapax_load_error *error)
{
	int result;

	fill(k, item, id);
	result = k->then ? k->then(k, item, key, error) : HAPAX_LOAD_OK;
	k->loading[key]--;
	return result;
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct kit *k = arg;
	struct item *item = object;
	unsigned number = number_of(key), id = load_begins(k, number);
	int result;

	kit_read(&item->word);
	MODEL_CHECK(!item->word && !item->kit && !item->id, "the loader got a payload that is not zeroed");
	result = load_ends(k, item, id, number, error);
	if (result) { /* its destructor does not run, and nobody may see it */
		k->living[number]--;
		k->life[id].made = false;
	}
	return result;
}

static int make(void **object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct kit *k = arg;
	unsigned number = number_of(key), id = load_begins(k, number);
	int result;

	if (hapax_new(k->env, &kit_type, 0, object))
		model_fail("hapax_new in a loader failed");
	result = load_ends(k, *object, id, number, error);
	if (result) {
		hapax_release(*object);
		*object = NULL;
	}
	return result;
}

/* ---- setting up -------------------------------------------------------------------------------------------------- */

void kit_open(struct kit *k, unsigned env_flags, size_t garbage_bound)
{
	k->env = model_env(env_flags, garbage_bound);
}

static int hash_alike(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = UINT64_C(0x123456789abcdef0);
	return 0;
}

static int hash_home(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)ctx;
	*hash = (uint64_t)(number_of(key) + 1) << 20 | number_of(key);
	return 0;
}

hapax_table *kit_table(struct kit *k, enum kit_hash hash)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = k->env, .name = "modelled"};
	hapax_table *table = NULL;

	if (hash != KIT_PLAIN)
		o.keys.hash = hash == KIT_CHAINED ? hash_alike : hash_home;
	if (hapax_table_create(&table, &o))
		model_fail("hapax_table_create failed");
	if (!k->table)
		k->table = table;
	else
		k->other = table;
	return table;
}

static void leaked(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	struct kit *k = ctx;

	(void)key;
	(void)object;
	(void)type;
	(void)count;
	(void)inherited;
	k->leaks++;
}

hapax_cache *kit_cache_with(struct kit *k, const hapax_cache_options *options, enum kit_form form)
{
	hapax_cache_options o = *options;

	o.env = k->env;
	o.type = &kit_type;
	o.load = form == KIT_IN_PLACE ? load : NULL;
	o.make = form == KIT_MADE ? make : NULL;
	o.arg = k;
	o.name = "modelled";
	o.leak = leaked;
	o.leak_ctx = k;
	if (hapax_cache_create(&k->cache, &o))
		model_fail("hapax_cache_create failed");
	return k->cache;
}

hapax_cache *kit_cache(struct kit *k, unsigned flags, enum kit_form form)
{
	return kit_cache_with(k, &(hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .flags = flags}, form);
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

static void check_table(hapax_table *table, size_t entries)
{
	char message[256] = "";

	if (hapax_testing_check_table(table, message, sizeof(message)))
		model_fail("the table is not sound: %s", message);
	MODEL_CHECK(hapax_table_size(table) == entries, "the table says it has %zu entries, it should have %zu",
		    hapax_table_size(table), entries);
}

static void check_stats(hapax_cache *cache)
{
	hapax_cache_stats s = {.size = sizeof(s)};

	if (hapax_cache_stats_get(cache, &s))
		model_fail("hapax_cache_stats_get failed");
	MODEL_CHECK(s.loads == s.load_successes + s.load_failures, "%llu loads, %llu good, %llu failed",
		    (unsigned long long)s.loads, (unsigned long long)s.load_successes, (unsigned long long)s.load_failures);
	MODEL_CHECK(s.load_successes - s.superseded + s.puts == s.removals + s.replacements + s.collections +
			    s.expirations + s.size_now,
		    "installed: %llu loads less %llu superseded and %llu puts; left: %llu removed, %llu replaced, "
		    "%llu collected, %llu expired, %llu present",
		    (unsigned long long)s.load_successes, (unsigned long long)s.superseded, (unsigned long long)s.puts,
		    (unsigned long long)s.removals, (unsigned long long)s.replacements,
		    (unsigned long long)s.collections, (unsigned long long)s.expirations, (unsigned long long)s.size_now);
}

void kit_check(struct kit *k, size_t entries)
{
	char message[256] = "";

	if (k->table)
		check_table(k->table, entries);
	if (!k->cache)
		return;
	if (hapax_testing_check_cache(k->cache, message, sizeof(message)))
		model_fail("the cache is not sound: %s", message);
	MODEL_CHECK(hapax_cache_size(k->cache) == entries, "the cache says it has %zu entries, it should have %zu",
		    hapax_cache_size(k->cache), entries);
	check_stats(k->cache);
}

void kit_end_containers(struct kit *k)
{
	hapax_table_destroy(k->table);
	hapax_table_destroy(k->other);
	hapax_cache_destroy(k->cache);
	k->table = k->other = NULL;
	k->cache = NULL;
	MODEL_CHECK(!k->leaks, "the cache reported %u objects that nobody holds", k->leaks);
}

void kit_end_env(struct kit *k)
{
	for (unsigned id = 1; id <= k->last; id++) {
		MODEL_CHECK(!k->life[id].holders, "the scenario still holds object %u", id);
		MODEL_CHECK(!k->life[id].made || k->life[id].destroyed, "object %u was never destroyed", id);
	}
	hapax_testing_drain(k->env);
	MODEL_CHECK(!hapax_testing_live_objects(k->env), "%llu objects were not freed",
		    (unsigned long long)hapax_testing_live_objects(k->env));
	hapax_env_destroy(k->env);
	k->env = NULL;
}

void kit_close(struct kit *k, size_t entries)
{
	kit_check(k, entries);
	kit_end_containers(k);
	kit_end_env(k);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static struct item *answer(struct kit *k, unsigned key, const char *call, int status, void *object)
{
	MODEL_CHECK(status == 0 || status == HAPAX_MISS, "%s: %s", call, hapax_status_name(status));
	MODEL_CHECK((status == 0) == (object != NULL), "%s: %s and object %p", call, hapax_status_name(status), object);
	return object ? kit_hold(k, key, object) : NULL;
}

struct item *kit_find_in(struct kit *k, hapax_table *table, unsigned key)
{
	void *object = (void *)1;
	int status = hapax_table_get(table, kit_key(key), &object);

	return answer(k, key, "hapax_table_get", status, object);
}

struct item *kit_find(struct kit *k, unsigned key) { return kit_find_in(k, k->table, key); }

struct item *kit_peek(struct kit *k, unsigned key)
{
	void *object = (void *)1;
	int status = hapax_cache_get_if_present(k->cache, kit_key(key), &object);

	return answer(k, key, "hapax_cache_get_if_present", status, object);
}

struct item *kit_get(struct kit *k, unsigned key)
{
	void *object = (void *)1;
	int status = hapax_cache_get(k->cache, kit_key(key), &object);

	MODEL_CHECK(!status, "hapax_cache_get: %s", hapax_status_name(status));
	return answer(k, key, "hapax_cache_get", status, object);
}

void kit_put(struct kit *k, unsigned key, struct item *item)
{
	int status = hapax_table_put(k->table, kit_key(key), item);

	MODEL_CHECK(!status, "hapax_table_put: %s", hapax_status_name(status));
}

void kit_cache_put(struct kit *k, unsigned key, struct item *item)
{
	int status = hapax_cache_put(k->cache, kit_key(key), item);

	MODEL_CHECK(!status, "hapax_cache_put: %s", hapax_status_name(status));
}

hapax_weak *kit_weak(void *object)
{
	hapax_weak *weak = NULL;
	int status = hapax_weak_new(object, NULL, &weak);

	MODEL_CHECK(!status && weak, "hapax_weak_new: %s", hapax_status_name(status));
	return weak;
}

struct item *kit_upgrade(struct kit *k, unsigned key, hapax_weak *weak)
{
	void *object = hapax_weak_get(weak);

	return object ? kit_hold(k, key, object) : NULL;
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

static void called(hapax_weak *weak, void *ctx)
{
	struct probe *p = ctx;

	kit_write(&p->word);
	model_note("callback", p->calls);
	MODEL_CHECK(weak == p->weak, "a callback got a handle that is not its own");
	MODEL_CHECK(!p->calls, "a callback ran twice");
	MODEL_CHECK(!p->frees, "a callback ran after its ctx_free");
	MODEL_CHECK(!p->cancelled, "a callback ran after its handle's drop had returned");
	MODEL_CHECK(!hapax_weak_get(weak) && !hapax_weak_alive(weak), "in its callback a handle still reads alive");
	p->calls++;
	p->running = true;
	if (p->then)
		p->then(p);
	p->running = false;
}

static void freed(void *ctx)
{
	struct probe *p = ctx;

	kit_write(&p->word);
	MODEL_CHECK(!p->frees, "ctx_free ran twice");
	MODEL_CHECK(!p->running, "ctx_free ran before the callback had returned");
	p->frees++;
}

int probe_try(struct probe *p, void *object)
{
	const hapax_callback callback = {called, p, freed};

	return hapax_weak_new(object, &callback, &p->weak);
}

void probe_on(struct probe *p, void *object)
{
	int status = probe_try(p, object);

	MODEL_CHECK(!status && p->weak, "hapax_weak_new: %s", hapax_status_name(status));
}

void probe_drop(struct probe *p)
{
	int status = hapax_weak_drop(p->weak);

	MODEL_CHECK(!status, "hapax_weak_drop: %s", hapax_status_name(status));
	MODEL_CHECK(!p->running, "the drop returned while the callback was running");
	MODEL_CHECK(p->frees == 1, "the drop returned, and ctx_free ran %u times", p->frees);
	p->cancelled = true;
	kit_write(&p->word); /* as a user would who frees the context now */
}

void probe_check(struct probe *p, bool dropped_only)
{
	MODEL_CHECK(!dropped_only || !p->calls, "a callback ran though the object outlived its handle");
	MODEL_CHECK(p->calls <= 1 && p->frees == 1, "callback called %u times, freed %u times", p->calls, p->frees);
}
