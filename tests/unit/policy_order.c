/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In which order a cache tells its policy what happened: hits before what arrives after them. */
#include "unit/cached.h"

/* Writes down what it is told: a letter for what, a digit for the key's order of first arrival. First in, first out. */
struct scribe {
	hapax_policy policy;
	hapax_policy_node *all[8];
	unsigned n;
	uint64_t ids[8];
	unsigned known;
	char text[200];
};

static void tell(struct scribe *s, char what, const hapax_policy_node *node)
{
	size_t at = strlen(s->text);
	unsigned k = 0;

	while (k < s->known && s->ids[k] != node->id)
		k++;
	if (k == s->known) {
		CHECK(k < 8);
		s->ids[s->known++] = node->id;
	}
	CHECK(at + 4 < sizeof(s->text));
	snprintf(&s->text[at], 4, "%c%u ", what, k);
}

static int scribe_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	CHECK_EQ(capacity, 3);
	CHECK(allocator->alloc && allocator->free);
	*state = ctx;
	return 0;
}

static void scribe_destroy(void *state) { CHECK_EQ(((struct scribe *)state)->n, 0); }

static void scribe_add(void *state, hapax_policy_node *node)
{
	struct scribe *s = state;

	tell(s, 'a', node);
	CHECK(s->n < 8);
	s->all[s->n++] = node;
}

static void take(struct scribe *s, hapax_policy_node *node)
{
	unsigned at = 0;

	while (s->all[at] != node)
		CHECK(++at < s->n);
	s->n--;
	memmove(&s->all[at], &s->all[at + 1], (s->n - at) * sizeof(s->all[0]));
}

static void scribe_remove(void *state, hapax_policy_node *node)
{
	tell(state, 'r', node);
	take(state, node);
}

static void scribe_hit(void *state, hapax_policy_node *node) { tell(state, 'h', node); }

static hapax_policy_node *scribe_evict(void *state)
{
	struct scribe *s = state;
	hapax_policy_node *node = s->n ? s->all[0] : NULL;

	if (node) {
		tell(s, 'e', node);
		take(s, node);
	}
	return node;
}

static void scribe_resize(void *state, uint64_t capacity)
{
	(void)state;
	(void)capacity;
}

static void get(hapax_cache *cache, const char *key) { hapax_release(got(cache, key)); }

static void run(unsigned flags, const char *expected)
{
	struct scribe s = {.policy = {HAPAX_POLICY_INIT, .name = "scribe", .flags = flags, .create = scribe_create,
				      .destroy = scribe_destroy, .add = scribe_add, .remove = scribe_remove,
				      .hit = scribe_hit, .evict = scribe_evict, .resize = scribe_resize, .ctx = &s}};
	struct source source = {0};
	hapax_env *env = test_env();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load,
				 .arg = &source, .max_entries = 3, .policy = &s.policy};
	hapax_cache *cache = NULL;

	source.env = env;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	get(cache, "0");
	get(cache, "1");
	get(cache, "2");
	get(cache, "1");
	get(cache, "1");
	get(cache, "3"); /* full: the hits of 1 are older than 3 */
	get(cache, "2");
	get(cache, "4");
	get(cache, "0"); /* back, with the id that it had */
	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("4")), HAPAX_OK);
	CHECK_STR(s.text, expected);
	s.text[0] = 0;
	cache_end(cache, 2);
	test_env_end(env);
}

TEST(recorded_hits_come_before_what_arrives_after_them)
{
	run(HAPAX_POLICY_RECORD, "a0 a1 a2 h1 h1 a3 e0 h2 a4 e1 a0 e2 r4 ");
}

TEST(exact_hits_come_at_once)
{
	run(HAPAX_POLICY_EXACT, "a0 a1 a2 h1 h1 a3 e0 h2 a4 e1 a0 e2 r4 ");
}
