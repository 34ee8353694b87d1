/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/flights.c - looking at the loads in progress. See seen.h. */
#include "cache/seen.h"

void hpx_key_see(const hapax_cache *c, const hapax_key *key, struct hpx_key_seen *seen)
{
	size_t skip = hpx_has_rooms(c) ? c->client->identity : 0;

	skip = skip < key->size ? skip : key->size;
	seen->size = key->size - skip;
	if (seen->size)
		memcpy(seen->bytes, (const char *)key->data + skip, seen->size < HPX_KEY_SEEN ? seen->size : HPX_KEY_SEEN);
}

void hpx_flight_see(struct hpx_flights_seen *s, const hapax_key *key, uint64_t since, bool exact, int tid, const void *entry,
		    hpx_u64 *word)
{
	struct hpx_flight_seen *f;

	if (s->n++ >= s->room)
		return;
	f = &s->at[s->n - 1];
	*f = (struct hpx_flight_seen){.age_ns = s->now > since ? s->now - since : 0, .exact = exact, .tid = tid};
	hpx_key_see(s->cache, key, &f->key);
	/* order: FLIGHT.WAITERS relaxed; a hint: those who join at this instant are not counted */
	if (hpx_load_relaxed(word) & HPX_FLIGHT_WAITED)
		f->waiters = hpx_flight_waiters(&s->cache->flights, entry);
}

static void see_loading(struct hpx_loading *l, int tid, void *ctx)
{
	struct hpx_flights_seen *s = ctx;
	const void *entry, *cache;
	uint64_t begun;
	hapax_key key;
	void *e;

	hpx_read_lock();
	/* order: -> FLIGHT.SEEN acquire; the entry and its key; what is read next is at least as new */
	entry = hpx_load_acquire(&l->entry);
	cache = hpx_load_acquire(&l->cache);
	begun = hpx_load_acquire(&l->begun);
	/* order: FLIGHT.SEEN relaxed; had any of it been of a later load, this one would be seen to have ended */
	if (entry && cache == s->cache && hpx_load_relaxed(&l->entry) == entry) {
		if (begun >= HPX_LOADING_UNTIMED && l->seen != begun) {
			l->seen = begun;
			l->seen_ns = s->now;
		}
		e = (void *)(uintptr_t)entry;
		key = hpx_table_key(s->cache->table, e);
		hpx_flight_see(s, &key, begun < HPX_LOADING_UNTIMED ? begun : l->seen_ns, begun < HPX_LOADING_UNTIMED, tid, e,
			       hpx_word(e));
	}
	hpx_read_unlock();
}

void hpx_flights_see(struct hpx_flights_seen *s)
{
	s->n = 0;
	s->now = hpx_env_now_coarse(s->cache->env);
	hpx_loadings_each(see_loading, s);
	hpx_reloads_see(s);
	hpx_tokens_see(s);
}
