/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/table.c - a table's life, its hash, its keys.
 */
#include "table/core.h"

#include "table/hash.h"

static unsigned bits_for(size_t capacity)
{
	unsigned bits = HPX_BITS_MIN;

	while (bits < 24 && ((size_t)4 << bits) < capacity)
		bits++;
	return bits;
}

int hpx_table_new(struct hpx_table **out, const struct hpx_table_config *config)
{
	struct hpx_table *t = hpx_alloc(config->env, sizeof(*t), HPX_CACHE_LINE);
	struct hpx_array *a;

	*out = NULL;
	if (!t)
		return HAPAX_ENOMEM;
	t->bits_min = bits_for(config->capacity);
	a = hpx_array_new(config->env, t->bits_min);
	if (!a) {
		hpx_free(config->env, t, sizeof(*t), HPX_CACHE_LINE);
		return HAPAX_ENOMEM;
	}
	t->env = config->env;
	t->keys = config->keys;
	t->plain = !config->keys.equal && !config->keys.borrow;
	t->default_hash = !config->keys.hash;
	t->keep = config->keep;
	t->front = config->front;
	t->simple = t->plain && t->default_hash;
	t->secret = hpx_env_random(config->env);
	t->seed8 = hpx_hash8_seed(t->secret);
	hpx_init(&t->refs, 1);
	hpx_init(&t->root, a);
	hpx_env_hold(t->env);
	*out = t;
	return 0;
}

void hpx_table_hold(struct hpx_table *t)
{
	hpx_add_relaxed(&t->refs, 1); /* order: relaxed; the caller has a reference */
}

static void free_table(struct hpx_deferred *d)
{
	struct hpx_table *t = HPX_CONTAINER_OF(d, struct hpx_table, deferred);
	struct hpx_array *a = hpx_load_acquire(&t->root), *next; /* order: -> TABLE.ROOT acquire */
	hapax_env *env = t->env;

	for (; a; a = next) {
		next = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
		hpx_array_free(a);
	}
	hpx_chains_free(t);
	hpx_free(env, t, sizeof(*t), HPX_CACHE_LINE);
	hpx_env_drop(env);
}

void hpx_table_drop(struct hpx_table *t)
{
	/* order: TABLE.REFS acq_rel; all use of it before its end */
	if (hpx_sub_acq_rel(&t->refs, 1) != 1)
		return;
	hpx_retire(t->env, &t->deferred, sizeof(*t) + hpx_load_acquire(&t->root)->homes * sizeof(struct hpx_line), free_table);
}

void hpx_table_on_fence(struct hpx_table *t, void (*fencing)(void *ctx, void *e)) { t->fencing = fencing; }

void hpx_table_on_iterate(struct hpx_table *t, bool (*hidden)(void *ctx, void *e, struct hpx_object *o))
{
	t->hidden = hidden;
}

void hpx_table_on_met_dead(struct hpx_table *t, void (*met_dead)(void *ctx, struct hpx_record *r)) { t->met_dead = met_dead; }

void hpx_table_on_collect(struct hpx_table *t, void (*collected)(void *ctx, struct hpx_record *r, uint64_t before), void *ctx)
{
	t->collected = collected;
	t->collected_ctx = ctx;
}

void hpx_table_end(struct hpx_table *t, void (*claimed)(void *e, uint64_t word, void *ctx), void *ctx)
{
	struct hpx_cursor cursor = {0, 0};
	bool more = true;

	hpx_table_unnamed(t);
	hpx_store_release(&t->ended, 1); /* order: TABLE.ENDED -> release */
	while (more) {
		struct hpx_object *object;
		void *e;

		hpx_read_lock();
		e = hpx_table_next_of(t, &cursor, HPX_NEXT_ALL, &object);
		more = e != NULL;
		if (e) {
			uint64_t before = hpx_table_claim(t, e);

			if (!(before & HPX_W_GONE) && claimed)
				claimed(e, before, ctx);
		}
		hpx_read_unlock();
	}
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

int hpx_table_hash(struct hpx_table *t, const hapax_key *key, uint64_t *hash)
{
	if (!key->data && key->size > 0)
		return HAPAX_EKEY;
	if (key->size > HAPAX_KEY_MAX)
		return HAPAX_EKEYSIZE;
	if (t->default_hash) {
		*hash = hpx_hash_bytes(key->data, key->size, t->secret);
		return 0;
	}
	if (t->keys.hash(key, hash, t->keys.ctx) != 0)
		return HAPAX_EHASH;
	*hash = hpx_hash_mix(*hash, t->secret);
	return 0;
}

size_t hpx_table_keyed(struct hpx_table *t, const hapax_key *key)
{
	return (t->keys.borrow ? sizeof(void *) : (key->size + 7) & ~(size_t)7) + sizeof(uint64_t);
}

void hpx_table_set_key(struct hpx_table *t, void *e, const hapax_key *key, uint64_t hash, uint64_t flags)
{
	char *word = (char *)hpx_word(e);

	if (t->keys.borrow) {
		memcpy(word - sizeof(key->data), &key->data, sizeof(key->data));
	} else if (key->size > 0) {
		size_t room = (key->size + 7) & ~(size_t)7;

		memset(word - 8, 0, 8);
		memcpy(word - room, key->data, key->size);
	}
	hpx_init(hpx_word(e), hpx_word_make(hash, key->size, flags));
}

hapax_key hpx_table_key(struct hpx_table *t, void *e)
{
	hapax_key key;

	key.size = hpx_word_key_size(hpx_load_relaxed(hpx_word(e))); /* order: relaxed; the size never changes */
	key.data = hpx_key_bytes(t, e, key.size);
	return key;
}

bool hpx_key_equal_slow(const struct hpx_table *t, const void *e, const hapax_key *key)
{
	hapax_key mine = {.data = hpx_key_bytes(t, e, key->size), .size = key->size};

	if (t->keys.equal)
		return t->keys.equal(&mine, key, t->keys.ctx);
	return key->size == 0 || memcmp(mine.data, key->data, key->size) == 0;
}

void hpx_table_release_key(const hapax_key_ops *ops, void *e)
{
	hapax_key key;

	if (!ops->borrow || !ops->release)
		return;
	memcpy(&key.data, (const char *)hpx_word(e) - sizeof(key.data), sizeof(key.data));
	key.size = hpx_word_key_size(hpx_load_relaxed(hpx_word(e))); /* order: relaxed; nobody else is left */
	ops->release(&key, ops->ctx);
}
