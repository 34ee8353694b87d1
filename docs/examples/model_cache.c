/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A cache of models: loaded on a miss, shared while anybody uses them, held for a minute after that, good for an hour,
 * at most two held, with a farewell and statistics. All of it is options (python/model_cache.py writes it by hand).
 *
 * Two durations that the usual recipe, a weak dictionary with timestamps, takes for one:
 *
 *   retain_idle_ns   how long the cache keeps what nobody uses. A weak dictionary keeps nothing: a model that it was
 *                    told to keep for a minute dies with its user.
 *   ttl_ns           how long a model may be handed out at all. Past it there is a new instance, also while the old one
 *                    is in use. For mere retention that is wrong: then the old one is found again.
 *
 * Time is the monotonic clock's; here it is a variable, so that an hour passes at once.
 */
#include <hapax/hapax.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

/* ---- system ------------------------------------------------------------------------------------------------------ */

struct model {
	float *weights;
	size_t n;
};

static int model_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct model *model = object;

	(void)arg;
	model->n = key->size;
	model->weights = calloc(model->n, sizeof(float));
	error->code = model->weights || !model->n ? 0 : ENOMEM;
	return error->code ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK;
}

static void model_destroy(void *object, void *arg)
{
	(void)arg;
	free(((struct model *)object)->weights);
}
HAPAX_TYPE(model, struct model, .destroy = model_destroy);

static int model_cache(hapax_cache **cache, hapax_env *env, hapax_removal_fn farewell)
{
	return hapax_cache_create(cache, &(hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .env = env,
								.type = &model_type, .load = model_load,
								.on_removal = farewell,
								.max_entries = 2, .policy = hapax_policy_lru(),
								.retain_idle_ns = 60 * HAPAX_SECOND,
								.ttl_ns = 3600 * HAPAX_SECOND});
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static uint64_t now = HAPAX_SECOND;
static uint64_t tell_time(void *ctx)
{
	(void)ctx;
	return now;
}

static int farewells[6]; /* by cause */

/* Called outside all locks: it may ask the cache, and may take its time. */
static int farewell(const hapax_removal *removal, void *ctx)
{
	static const char *const causes[] = {"removed", "replaced", "unused", "expired", "no room", "closed"};

	(void)ctx;
	printf("   farewell, %.*s: %s\n", (int)removal->key.size, (const char *)removal->key.data,
	       causes[removal->cause]);
	farewells[removal->cause]++;
	return 0;
}

static hapax_cache *cache;

static struct model *get(const char *name)
{
	struct model *model = NULL;

	MUST(model_get(cache, HAPAX_STR(name), &model) == HAPAX_OK);
	return model;
}

static unsigned loads(void)
{
	hapax_cache_stats stats = {.size = sizeof(stats)};

	MUST(hapax_cache_stats_get(cache, &stats) == HAPAX_OK);
	return (unsigned)stats.loads;
}

static void pass(uint64_t seconds)
{
	now += seconds * HAPAX_SECOND;
	while (hapax_cache_maintain(cache)) /* now and then, or not: reads see the deadlines without it */
		;
}

int main(void)
{
	const hapax_env_options env_options = {HAPAX_ENV_OPTIONS_INIT, .seed = 1, .clock = {tell_time, NULL}};
	HAPAX_AUTO_ENV(env) = NULL;
	hapax_cache_stats stats = {.size = sizeof(stats)};
	struct model *one, *same, *newer, *others[2];

	MUST(hapax_env_create(&env, &env_options) == HAPAX_OK);
	MUST(model_cache(&cache, env, farewell) == HAPAX_OK);

	printf("loaded on a miss, shared while used\n");
	one = get("resnet");
	same = get("resnet");
	MUST(one == same && loads() == 1 && one->n == 6);
	hapax_release(same);

	printf("held for a minute after its last use\n");
	hapax_release(one);
	pass(59);
	hapax_release(get("resnet"));
	MUST(loads() == 1);
	pass(61);
	MUST(hapax_cache_contains(cache, HAPAX_STR("resnet")) == 0 && farewells[HAPAX_CAUSE_COLLECTED] == 1);

	printf("reloaded after its death\n");
	one = get("resnet");
	MUST(loads() == 2);

	printf("not held any more, but in use: found all the same\n");
	pass(61);
	same = get("resnet");
	MUST(one == same && loads() == 2);
	hapax_release(same);

	printf("good for an hour: then there is a second one, and the first stays its user's\n");
	pass(3600);
	newer = get("resnet");
	MUST(newer != one && loads() == 3 && farewells[HAPAX_CAUSE_EXPIRED] == 1);
	MUST(one->n == newer->n);
	hapax_release(one); /* the end of the old one does not take the new one's entry */
	MUST(hapax_cache_contains(cache, HAPAX_STR("resnet")) == 1);

	printf("two are held: a third makes room, and what is in use is found, not loaded again\n");
	others[0] = get("bert");
	others[1] = get("t5");
	same = get("resnet");
	MUST(same == newer && loads() == 5 && farewells[HAPAX_CAUSE_SIZE] == 0);
	hapax_release(same);
	hapax_release(newer);
	hapax_release(others[0]);
	hapax_release(others[1]);
	MUST(hapax_cache_stats_get(cache, &stats) == HAPAX_OK && stats.retained == 2 && stats.size_now == 2);
	MUST(farewells[HAPAX_CAUSE_SIZE] == 1);

	printf("an empty model under an empty name is a model like any other\n");
	hapax_release(get(""));
	same = get("");
	MUST(same->n == 0 && loads() == 6);
	hapax_release(same);

	MUST(hapax_cache_stats_get(cache, &stats) == HAPAX_OK);
	printf("%u hits, %u misses, %u loads, %u hits of what was not held\n", (unsigned)stats.hits,
	       (unsigned)stats.misses, (unsigned)stats.loads, (unsigned)stats.demoted_hits);
	MUST(stats.hits == 5 && stats.misses == stats.loads);
	hapax_cache_destroy(cache);
	return 0;
}
