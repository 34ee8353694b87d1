/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scenarios/tier_kit.c - the ledger of removal notifications; see tier.h. */
#include "model/scenarios/tier.h"

static void look_for(struct tier *s, unsigned key, const void *object)
{
	void *found = NULL;

	if (hapax_cache_get_quietly(s->k.cache, kit_key(key), &found))
		return;
	MODEL_CHECK(found != object, "a listener is told of what is still there");
	hapax_release(found);
}

static int removed(const hapax_removal *removal, void *ctx)
{
	struct tier *s = ctx;
	unsigned key = *(const unsigned char *)removal->key.data;
	struct item *item = removal->object;

	MODEL_CHECK(key < KIT_KEYS && (unsigned)removal->cause < TIER_CAUSES, "a removal of key %u, cause %d", key,
		    (int)removal->cause);
	model_note("told, cause", (unsigned)removal->cause);
	if (item) {
		kit_read(&item->word);
		MODEL_CHECK(item->kit == &s->k && item->id && item->id <= s->k.last, "told of what nobody made");
		MODEL_CHECK(!s->k.life[item->id].destroyed, "told of object %u after its destructor had begun",
			    item->id);
		MODEL_CHECK(item->key == key, "told of object %u under a key that is not its own", item->id);
		s->cause[item->id] = removal->cause;
		MODEL_CHECK(!s->of[item->id]++ || s->again, "told twice of object %u", item->id);
	}
	if (!item && s->negatives && removal->cause != HAPAX_CAUSE_COLLECTED)
		return 0;
	MODEL_CHECK(!item == (removal->cause == HAPAX_CAUSE_COLLECTED), "cause %d with object %p", (int)removal->cause,
		    (void *)item);
	s->told[key][removal->cause]++;
	s->all++;
	if (s->asks && item)
		look_for(s, key, item);
	return 0;
}

hapax_cache_options tier_options(struct tier *s)
{
	return (hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .on_removal = removed, .on_removal_ctx = s};
}

void tier_open(struct tier *s, unsigned env_flags, const hapax_cache_options *o, unsigned entries, bool hold)
{
	kit_open(&s->k, env_flags, 0);
	s->k.loose = true;
	s->begun = model_now();
	kit_cache_with(&s->k, o, KIT_IN_PLACE);
	for (unsigned key = 0; key < entries; key++) {
		struct item *item = kit_new(&s->k, key);

		kit_cache_put(&s->k, key, item);
		if (!key && hold)
			s->a = item;
		else
			hapax_release(item);
	}
}

void tier_put(struct tier *s, unsigned key)
{
	struct item *item = kit_new(&s->k, key);

	kit_cache_put(&s->k, key, item);
	hapax_release(item);
}

void tier_let_go_of_a(struct tier *s)
{
	struct item *a = s->a;

	s->a = NULL;
	hapax_release(a);
}

unsigned tier_told(const struct tier *s, unsigned key)
{
	unsigned sum = 0;

	for (unsigned cause = 0; cause < TIER_CAUSES; cause++)
		sum += s->told[key][cause];
	return sum;
}

hapax_cache_stats tier_stats(struct tier *s)
{
	hapax_cache_stats stats = {.size = sizeof(stats)};

	if (hapax_cache_stats_get(s->k.cache, &stats))
		model_fail("hapax_cache_stats_get failed");
	return stats;
}

void tier_settled(struct tier *s, uint64_t bound)
{
	hapax_cache_stats stats = tier_stats(s);

	MODEL_CHECK(stats.retained <= bound && stats.size_now <= bound,
		    "after all calls %llu objects are retained, %llu present, %llu is the bound",
		    (unsigned long long)stats.retained, (unsigned long long)stats.size_now, (unsigned long long)bound);
}

void tier_close(struct tier *s, size_t entries)
{
	hapax_cache_stats stats;
	uint64_t produced;

	kit_check(&s->k, entries);
	stats = tier_stats(s);
	produced = stats.puts + stats.load_successes;
	MODEL_CHECK(s->all + entries == produced, "%llu values were produced, %zu are present, %u were told of",
		    (unsigned long long)produced, entries, s->all);
	kit_end_containers(&s->k);
	MODEL_CHECK(s->all == produced, "%llu values were produced, %u were told of in the end",
		    (unsigned long long)produced, s->all);
	kit_end_env(&s->k);
}
