/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The walker of tables at rest tells what is wrong: each thing that it looks for is put in, told, and put right. */
#include "unit/crowd.h"
#include "unit/cached.h"

static const uint64_t hash = UINT64_C(5) << 61 | UINT64_C(77) << 36;

static void told(struct crowd *f, const char *what)
{
	char message[200] = "";

	CHECK_EQ(hpx_table_check(f->t, message, sizeof(message), NULL), -1);
	if (!strstr(message, what))
		TEST_FAIL("\"%s\" does not say \"%s\"", message, what);
}

struct place {
	struct hpx_line *line;
	unsigned lane;
	uint64_t ctl, slot; /* as they were */
};

/* Some slot of a home line of a table with one entry. */
static struct place place_at(struct crowd *f, size_t line, unsigned lane)
{
	struct hpx_line *at = &hpx_load_acquire(&f->t->root)->lines[line];

	return (struct place){at, lane, hpx_load_relaxed(&at->ctl), hpx_load_relaxed(&at->slot[lane])};
}

static void set(const struct place *p, uint64_t slot, uint64_t tag)
{
	hpx_store_relaxed(&p->line->slot[p->lane], slot);
	hpx_store_relaxed(&p->line->ctl, (p->ctl & ~hpx_ctl_lane(p->lane, 63)) | hpx_ctl_lane(p->lane, tag));
}

static void restore(const struct place *p)
{
	hpx_store_relaxed(&p->line->slot[p->lane], p->slot);
	hpx_store_relaxed(&p->line->ctl, p->ctl);
}

/* An entry where it is not: at a slot that is empty. */
static void misplaced(struct crowd *f, struct hpx_record *r, size_t line, unsigned k, const char *what)
{
	struct place p = place_at(f, line, 6);

	CHECK_EQ(p.slot, 0);
	set(&p, (uint64_t)(uintptr_t)r | hpx_slot_low(k), hpx_tag(hash));
	told(f, what);
	restore(&p);
	crowd_check(f, 1);
}

TEST(places)
{
	struct hpx_record *r;
	struct crowd f;
	struct place p;

	crowd_begin(&f, 8);
	r = crowd_record(&f, 1, hash);
	CHECK_EQ(crowd_put_record(&f, r, HPX_PUT_ABSENT), HPX_PUT_DONE);
	crowd_check(&f, 1);
	p = place_at(&f, 5, 3);
	set(&p, (uint64_t)(uintptr_t)r, 0);
	told(&f, "line 5 slot 3 is reserved and nobody is there");
	set(&p, 0, 17);
	told(&f, "line 5 slot 3 is published and empty");
	restore(&p);
	misplaced(&f, r, 2, 4, "line 2 slot 6: distance 4 leads nowhere");
	misplaced(&f, r, 9, 0, "line 9 slot 6: distance 0 leads nowhere");
	misplaced(&f, r, 4, 0, "has another home");
	misplaced(&f, r, 6, 1, "beyond its home's reach");
	p = place_at(&f, 5, 0);
	CHECK_PTR(hpx_slot_entry(p.slot), r);
	set(&p, p.slot, hpx_tag(hash) ^ 2);
	told(&f, "line 5 slot 0: wrong tag");
	restore(&p);
	crowd_end(&f);
}

TEST(entries)
{
	struct hpx_record *r;
	struct crowd f, other;

	crowd_begin(&f, 8);
	crowd_begin(&other, 8);
	r = crowd_record(&f, 1, hash);
	CHECK_EQ(crowd_put_record(&f, r, HPX_PUT_ABSENT), HPX_PUT_DONE);
	r->table = other.t;
	told(&f, "of another table");
	r->table = f.t;
	hpx_or_relaxed(hpx_word(r), HPX_W_GONE);
	told(&f, "is GONE and still in its place");
	hpx_and_acq_rel(hpx_word(r), ~HPX_W_GONE);
	crowd_check(&f, 1);
	crowd_end(&other);
	crowd_end(&f);
}

TEST(chains)
{
	struct hpx_record *stray;
	struct hpx_chain *chain;
	struct hpx_node *node;
	struct crowd f;
	struct place p;
	char message[200];

	crowd_begin(&f, 8);
	for (unsigned i = 0; i < 20; i++)
		CHECK_EQ(crowd_put(&f, i, hash), HPX_PUT_DONE);
	crowd_check(&f, 20);
	chain = hpx_load_acquire(&f.t->chains);
	CHECK(chain);
	node = hpx_load_acquire(&chain->first.next);
	CHECK(node);
	/* an entry of another hash in it, and one after it that is not looked at any more */
	stray = crowd_record(&f, 99, hash ^ UINT64_C(1) << 40);
	void *entry = hpx_load_acquire(&node->entry);
	hpx_store_relaxed(&node->entry, (void *)stray);
	told(&f, "has another hash");
	CHECK_EQ(hpx_table_check(f.t, message, 8, NULL), -1); /* as much of it as there is room for */
	CHECK_EQ(strlen(message), 7);
	hpx_store_relaxed(&node->entry, entry);
	hpx_record_discard(stray);
	crowd_check(&f, 20);
	/* a chain where a fast lookup ends */
	p = place_at(&f, 3, 0);
	chain = hpx_chain_new(f.t, UINT64_C(3) << 61);
	set(&p, (uint64_t)(uintptr_t)&chain->first | hpx_slot_low(0), hpx_tag(UINT64_C(3) << 61));
	told(&f, "a chain in its home line");
	restore(&p);
	hpx_chain_discard(f.t, chain);
	crowd_check(&f, 20);
	crowd_end(&f);
}

/* ---- caches ------------------------------------------------------------------------------------------------------ */

static int look_while_loading(struct source *s, int load, void *object, const hapax_key *key)
{
	char message[200] = "";

	(void)load;
	(void)object;
	(void)key;
	CHECK_EQ(hapax_testing_check_cache(s->cache, message, sizeof(message)), -1);
	CHECK_STR(message, "cache tested: 1 loads at rest");
	return GO_ON;
}

TEST(a_cache_that_is_not_at_rest)
{
	hapax_env *env = test_env();
	struct source s = {.then = look_while_loading};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *item = got(cache, "k");

	CHECK_EQ(s.loads, 1);
	hapax_release(item);
	cache_end(cache, 0);
	test_env_end(env);
}
