/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/leak.c - caches in leak reports: what is known of an entry beyond its key. */
#include "cache/tier.h"

/* In a section; the cache's table is not ended, so the cache is there. */
void hpx_cache_known(void *cache, void *e, struct hpx_object *o, struct hpx_leak_entry *entry)
{
	hapax_cache *c = cache;
	uint32_t flags;

	(void)o;
	if (!c->tier)
		return;
	if (hpx_has_rooms(c)) {
		entry->keeper = c->client->keeper(hpx_roomed_of(hpx_node_of(c, e))->room);
		entry->skip = c->client->identity;
	}
	/* order: NODE.FLAGS relaxed; a picture */
	flags = hpx_load_relaxed(&hpx_node_of(c, e)->flags);
	entry->held = flags & HPX_NODE_RETAINED;
	entry->hidden = flags & HPX_NODE_NEGATIVE;
}
