/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_policy.c - the policies of hapax/policy.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"

static void fine(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
}

/* Through its contract: create() may fail; nothing else does, a resize that gets no memory least of all. */
static int driven(struct world *w, const hapax_policy *p)
{
	static const uint64_t bounds[] = {500, 20, 2000, 5};
	hapax_policy_node node[200];
	char message[200] = "";
	void *state = NULL;
	unsigned n = 0;
	int rc = p->create(&state, 50, &w->memory->allocator, p->ctx);

	CHECK((rc == 0) == (state != NULL));
	w->out = NULL;
	if (rc)
		return rc;
	memset(node, 0, sizeof(node));
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 50; i++, n++) {
			node[n].id = test_below(&(uint64_t){test_stream(n)}, 100) * UINT64_C(0x9e3779b97f4a7c15);
			node[n].weight = 1;
			p->add(state, &node[n]);
			if (p->hit)
				p->hit(state, &node[n]);
		}
		p->resize(state, bounds[round]);
		CHECK(p->evict(state));
		CHECK_EQ(p->check(state, message, sizeof(message)), 0);
	}
	for (n = 4; n < 200; n++)
		CHECK(p->evict(state));
	CHECK(!p->evict(state));
	p->destroy(state);
	return rc;
}

static int adaptive(struct world *w) { return driven(w, hapax_policy_adaptive()); }
static int lru(struct world *w) { return driven(w, hapax_policy_lru()); }
static int sieve(struct world *w) { return driven(w, hapax_policy_sieve()); }
static int s3fifo(struct world *w) { return driven(w, hapax_policy_s3fifo()); }
static int tinylfu(struct world *w) { return driven(w, hapax_policy_tinylfu()); }
static int weighted(struct world *w) { return driven(w, hapax_policy_weighted()); }

SWEEP(hapax_policy_adaptive, driven, .nomem = true, .call = adaptive, .done = fine)
SWEEP(hapax_policy_lru, driven, .nomem = true, .call = lru, .done = fine)
SWEEP(hapax_policy_sieve, driven, .nomem = true, .call = sieve, .done = fine)
SWEEP(hapax_policy_s3fifo, driven, .nomem = true, .call = s3fifo, .done = fine)
SWEEP(hapax_policy_tinylfu, driven, .nomem = true, .call = tinylfu, .done = fine)
SWEEP(hapax_policy_weighted, driven, .nomem = true, .call = weighted, .done = fine)

/* In a cache: there is none if its policy got no memory; what needs memory in it fails, and the rest goes on. */
static int in_a_cache(struct world *w, const hapax_policy *p)
{
	struct source source = {.env = w->env};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = w->env, .type = &item_type, .load = source_load,
				 .arg = &source, .max_entries = 2, .policy = p};
	hapax_cache *cache = (void *)1;
	int rc = hapax_cache_create(&cache, &o);

	CHECK((rc == 0) == (cache != NULL));
	w->out = NULL;
	for (uint32_t i = 0; !rc && i < 12; i++) {
		uint32_t key = i % 4 * (i & 1);
		void *out = NULL;

		rc = hapax_cache_get(cache, HAPAX_KEY_OF(key), &out);
		CHECK((rc == 0) == (out != NULL));
		hapax_release(out);
		CHECK(hapax_cache_size(cache) <= (i < 6 || i > 8 ? 2u : 4u));
		if (!rc && i == 6)
			rc = hapax_cache_set_bound(cache, 1000);
		if (!rc && i == 8)
			rc = hapax_cache_set_bound(cache, 1);
	}
	hapax_cache_destroy(cache);
	return rc;
}

static int in_adaptive(struct world *w) { return in_a_cache(w, hapax_policy_adaptive()); }
static int in_lru(struct world *w) { return in_a_cache(w, hapax_policy_lru()); }
static int in_sieve(struct world *w) { return in_a_cache(w, hapax_policy_sieve()); }
static int in_s3fifo(struct world *w) { return in_a_cache(w, hapax_policy_s3fifo()); }
static int in_tinylfu(struct world *w) { return in_a_cache(w, hapax_policy_tinylfu()); }
static int in_weighted(struct world *w) { return in_a_cache(w, hapax_policy_weighted()); }

SWEEP(hapax_policy_adaptive, in_a_cache, .nomem = true, .call = in_adaptive, .done = fine)
SWEEP(hapax_policy_lru, in_a_cache, .nomem = true, .call = in_lru, .done = fine)
SWEEP(hapax_policy_sieve, in_a_cache, .nomem = true, .call = in_sieve, .done = fine)
SWEEP(hapax_policy_s3fifo, in_a_cache, .nomem = true, .call = in_s3fifo, .done = fine)
SWEEP(hapax_policy_tinylfu, in_a_cache, .nomem = true, .call = in_tinylfu, .done = fine)
SWEEP(hapax_policy_weighted, in_a_cache, .nomem = true, .call = in_weighted, .done = fine)
