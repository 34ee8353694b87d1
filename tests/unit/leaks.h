/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unit/leaks.h - what the tests of leak reports share: what a report said, and objects that point to others. */
#ifndef TEST_LEAKS_H
#define TEST_LEAKS_H

#include "unit/cached.h"

/* ---- what a report said ------------------------------------------------------------------------------------------ */

enum { MOST = 4096, MOST_SITES = 17, MOST_FROM = 8 };

struct said {
	hapax_leak leak; /* its pointers point below */
	char holder[32];
	char key[64];
	size_t key_size;
	struct {
		const void *address;
		char text[128];
		uint64_t taken;
	} site[MOST_SITES];
	hapax_leak_edge from[MOST_FROM];
};

static struct said *all;
static size_t saids, objects;

static void note(const hapax_leak *leak, void *ctx)
{
	struct said *s = &all[saids++];

	CHECK_PTR(ctx, &all);
	CHECK(saids <= MOST);
	CHECK_EQ(leak->size, sizeof(*leak));
	CHECK(leak->type);
	CHECK(leak->count > 0);
	memset(s, 0, sizeof(*s));
	s->leak = *leak;
	if (leak->holder)
		snprintf(s->holder, sizeof(s->holder), "%s", leak->holder);
	if (leak->key) {
		s->key_size = leak->key->size;
		CHECK(s->key_size < sizeof(s->key));
		if (s->key_size)
			memcpy(s->key, leak->key->data, s->key_size);
	}
	CHECK(leak->n_sites <= MOST_SITES);
	for (size_t i = 0; i < leak->n_sites; i++) {
		s->site[i].address = leak->sites[i].address;
		s->site[i].taken = leak->sites[i].taken;
		CHECK(leak->sites[i].text);
		snprintf(s->site[i].text, sizeof(s->site[i].text), "%s", leak->sites[i].text);
	}
	for (size_t i = 0; i < leak->n_from && i < MOST_FROM; i++)
		s->from[i] = leak->from[i];
	if (!hapax_leak_tracing())
		CHECK_EQ(leak->n_sites, 0);
	if (!leak->object) {
		CHECK(!leak->holder && !leak->key && !leak->n_from && !leak->cycle);
		CHECK(!hapax_leak_tracing());
	}
}

/* How many objects there are. */
MAYBE_UNUSED static size_t look(hapax_env *env)
{
	if (!all)
		all = calloc(MOST, sizeof(*all));
	CHECK(all);
	saids = 0;
	objects = hapax_leak_report(env, note, &all);
	return objects;
}

MAYBE_UNUSED static void look_end(void)
{
	free(all);
	all = NULL;
}

MAYBE_UNUSED static struct said *said_of(const void *object, const char *holder)
{
	for (size_t i = 0; i < saids; i++)
		if (all[i].leak.object == object && (!holder || !strcmp(all[i].holder, holder)))
			return &all[i];
	return NULL;
}

MAYBE_UNUSED static uint64_t unnamed(const char *type)
{
	uint64_t n = 0;

	for (size_t i = 0; i < saids; i++)
		if (!all[i].leak.object && !strcmp(all[i].leak.type, type))
			n += all[i].leak.count;
	return n;
}

MAYBE_UNUSED static bool pointed_from(const struct said *s, const void *object, size_t offset)
{
	for (size_t i = 0; i < s->leak.n_from && i < MOST_FROM; i++)
		if (s->from[i].object == object && s->from[i].offset == offset)
			return true;
	return false;
}

/* ---- objects that point to others -------------------------------------------------------------------------------- */

struct link {
	uint64_t number;
	struct link *next;  /* a reference, given back by the destructor */
	struct link *plain; /* none */
	hapax_weak *weak;
};

MAYBE_UNUSED static int links_destroyed;

static void link_destroy(void *object, void *arg)
{
	struct link *link = object;

	(void)arg;
	__atomic_fetch_add(&links_destroyed, 1, __ATOMIC_RELAXED);
	hapax_release(link->next);
	(void)hapax_weak_drop(link->weak);
}

static const hapax_type link_type = {HAPAX_TYPE_INIT, .name = "link", .size = sizeof(struct link), .destroy = link_destroy};

MAYBE_UNUSED static struct link *link_new(hapax_env *env)
{
	void *object = NULL;

	CHECK_EQ(hapax_new(env, &link_type, 0, &object), 0);
	return object;
}

MAYBE_UNUSED static struct link *kept(struct link *link)
{
	CHECK_EQ(hapax_retain(link), 0);
	return link;
}

MAYBE_UNUSED static hapax_table *links_table(hapax_env *env)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .name = "links"};
	hapax_table *table = NULL;

	CHECK_EQ(hapax_table_create(&table, &o), 0);
	return table;
}

#endif
