/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/record.c - entries for objects that are held elsewhere, and what their objects' deaths do to them.
 *
 *      block -> [front | up to 8 bytes unused | key or pointer | word || record | tail of long or borrowed ones ]
 *
 * A record is registered with its object before it is published. Whoever sets GONE finishes it: one cancellation, and the
 * memory after a grace period. Short copied ones are the pool's; others carry their own deferral behind them.
 */
#include "base/poison.h"
#include "table/core.h"

/* Behind a record that does not come from the pool. */
struct tail {
	struct hpx_deferred deferred;
	hapax_key_ops keys;
	bool stored;
};

size_t hpx_table_room(struct hpx_table *t, const hapax_key *key)
{
	return t->front + ((hpx_table_keyed(t, key) + 15) & ~(size_t)15);
}

/* The block a record is in; recomputed from its key. */
static void *block_of(struct hpx_table *t, struct hpx_record *r)
{
	hapax_key key = hpx_table_key(t, r);

	return (char *)r - hpx_table_room(t, &key);
}

static bool pooled(const struct hpx_table *t, size_t bytes)
{
	return !t->keys.borrow && bytes <= HPX_POOL_MAX;
}

static void died(void *record)
{
	struct hpx_record *r = record;
	struct hpx_table *t = r->table;
	uint64_t before;

	if (t->keep)
		before = hpx_or_acq_rel(hpx_word(r), HPX_W_GONE); /* order: TABLE.GONE -> acq_rel; as hpx_table_claim */
	else
		before = hpx_table_claim(t, r);
	if (t->collected)
		t->collected(t->collected_ctx, r, before);
	else if (!(before & HPX_W_GONE) && !t->keep)
		hpx_record_finish(r);
}

static void free_now(struct hpx_table *t, struct hpx_record *r)
{
	void *block = block_of(t, r);
	size_t bytes = r->bytes;

	if (pooled(t, bytes))
		hpx_pool_free(t->env, block, bytes);
	else
		hpx_free(t->env, block, bytes, 16);
}

int hpx_record_new(struct hpx_table *t, const hapax_key *key, uint64_t h, uint64_t flags, struct hpx_object *object,
		   struct hpx_record **out)
{
	size_t prefix = hpx_table_room(t, key), bytes = prefix + sizeof(struct hpx_record);
	bool from_pool = pooled(t, bytes);
	struct hpx_record *r;
	char *block;

	*out = NULL;
	if (!from_pool)
		bytes += sizeof(struct tail);
	block = from_pool ? hpx_pool_alloc(t->env, bytes) : hpx_alloc(t->env, bytes, 16);
	if (!block)
		return HAPAX_ENOMEM;
	r = (struct hpx_record *)(void *)(block + prefix);
	memset(block, 0, t->front);
	hpx_init(&r->object, NULL);
	r->reg = NULL;
	r->table = t;
	r->bytes = bytes;
	hpx_table_set_key(t, r, key, h, flags | HPX_W_RECORD);
	if (object) {
		int status = hpx_record_bind(r, object);

		if (status) {
			free_now(t, r);
			return status;
		}
	}
	*out = r;
	return 0;
}

int hpx_record_bind(struct hpx_record *r, struct hpx_object *object)
{
	int status = hpx_reg_add(object, r, died, &r->reg);

	if (status)
		return status;
	hpx_store_release(&r->object, object); /* order: OBJECT.PUBLISH -> release; before LOADING is cleared */
	return 0;
}

static void free_deferred(struct hpx_deferred *d)
{
	struct tail *tail = HPX_CONTAINER_OF(d, struct tail, deferred);
	struct hpx_record *r = (struct hpx_record *)(void *)tail - 1;
	hapax_env *env = d->env;
	size_t bytes = r->bytes;

	if (tail->stored)
		hpx_table_release_key(&tail->keys, r);
	hpx_free(env, (char *)(tail + 1) - bytes, bytes, 16);
}

/* Readers of older sections may be looking at it, also if it was only tried. */
static void retire(struct hpx_record *r, bool stored)
{
	struct hpx_table *t = r->table;
	struct tail *tail = (struct tail *)(void *)(r + 1);

	if (r->reg)
		hpx_reg_cancel(r->reg);
	if (pooled(t, r->bytes)) {
		HPX_POISON(&r->reg, sizeof(r->reg));
		hpx_pool_retire(t->env, block_of(t, r), r->bytes, &r->reg);
		return;
	}
	tail->keys = t->keys;
	tail->stored = stored;
	hpx_retire(t->env, &tail->deferred, r->bytes, free_deferred);
}

void hpx_record_discard(struct hpx_record *r)
{
	retire(r, false);
}

void hpx_record_finish(struct hpx_record *r)
{
	retire(r, true);
}
