/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A slow method whose results are remembered, per instance (python/slow_adder.py: functools.lru_cache).
 *
 * Python's decorator on a method keeps every instance alive that ever called it: the instance is part of the key. A
 * cache made per instance is the cure there, and a cycle, which waits for the garbage collector, and there is no view
 * over all of them. Here the memo belongs to its owners: their results go when they go, at once; a view over all is
 * one call; no owner's traffic takes another's room.
 */
#include <hapax/hapax.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

/* ---- system: a memo that belongs to its owners ------------------------------------------------------------------- */

struct adder { int64_t base; };
struct sum { int64_t value; };
HAPAX_TYPE(adder, struct adder, .destroy = NULL);
HAPAX_TYPE(sum, struct sum, .destroy = NULL);
static int additions;

static int slowly_add(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)n, (void)ctx, (void)error;
	((struct sum *)result)->value = ((struct adder *)owner)->base + args[0].value.i;
	additions++;
	return HAPAX_LOAD_OK;
}

static int adder_memo(hapax_memo **memo)
{
	return hapax_memo_create(memo, &(hapax_memo_options){HAPAX_MEMO_OPTIONS_INIT, .flags = HAPAX_MEMO_OWNED,
							     .type = &sum_type, .compute = slowly_add,
							     .capacity = 128});
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static hapax_memo *memo;

static int64_t add(struct adder *adder, int64_t n)
{
	HAPAX_AUTO(struct sum *) sum = NULL;

	MUST(sum_call(memo, adder, HAPAX_ARGS(hapax_arg_int(n)), &sum) == HAPAX_OK);
	return sum->value;
}

static struct adder *adder_of(int64_t base)
{
	struct adder *adder = NULL;

	MUST(adder_new(NULL, &adder) == HAPAX_OK);
	adder->base = base;
	return adder;
}

static hapax_memo_info info(struct adder *adder)
{
	hapax_memo_info info = {.size = sizeof(info)};

	MUST(hapax_memo_info_get(memo, adder, &info) == HAPAX_OK);
	return info;
}

int main(void)
{
	struct adder *ten = adder_of(10), *twenty = adder_of(20);
	HAPAX_AUTO_WEAK(end_of_adder) = NULL;
	HAPAX_AUTO_WEAK(end_of_sum) = NULL;
	struct sum *sum;

	MUST(adder_memo(&memo) == HAPAX_OK);
	MUST(add(ten, 5) == 15 && add(ten, 5) == 15 && additions == 1);
	MUST(add(twenty, 5) == 25 && additions == 2); /* another owner's result is another result */
	printf("two adders, the same argument: %d additions\n", additions);

	for (int64_t n = 0; n < 1000; n++) /* takes no room from `ten` */
		(void)add(twenty, n);
	additions = 0;
	MUST(add(ten, 5) == 15 && additions == 0);
	MUST(info(ten).hits == 2 && info(ten).misses == 1 && info(ten).entries == 1 && info(twenty).entries == 128);
	MUST(info(NULL).entries == 129 && info(NULL).owners == 2);
	printf("over all: %d results of %d owners\n", (int)info(NULL).entries, (int)info(NULL).owners);

	MUST(sum_call(memo, twenty, HAPAX_ARGS(hapax_arg_int(999)), &sum) == HAPAX_OK);
	MUST(hapax_weak_new(twenty, NULL, &end_of_adder) == HAPAX_OK);
	MUST(hapax_weak_new(sum, NULL, &end_of_sum) == HAPAX_OK);
	sum_release(sum);
	MUST(hapax_weak_alive(end_of_sum)); /* the memo holds it */
	adder_release(twenty);              /* the last reference: the memo has none */
	MUST(!hapax_weak_alive(end_of_adder) && !hapax_weak_alive(end_of_sum));
	MUST(info(NULL).entries == 1 && info(NULL).owners == 1);
	printf("one let go of: gone at once, with its results; %d left\n", (int)info(NULL).entries);

	hapax_memo_destroy(memo);
	adder_release(ten);
	return 0;
}
