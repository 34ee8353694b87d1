/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions that remember (python/memo.py: functools.cache and lru_cache): recursion, arguments that are told apart by
 * type, failures that are not remembered, one memo for all instances, one budget over all owners.
 *
 * Python computes twice when two threads ask at once, and takes f(1.0) and f(True) for one call, f(1) for another. Here
 * threads that ask together share one computation, a function that needs its own result gets an error instead of a
 * deep stack, and what is part of an argument's identity is said.
 */
#include <hapax/hapax.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

struct number { uint64_t value; };
HAPAX_TYPE(number, struct number, .destroy = NULL);

static unsigned long long count(hapax_memo *memo, uint64_t *computed, uint64_t *entries)
{
	hapax_memo_info info = {.size = sizeof(info)};

	MUST(hapax_memo_info_get(memo, NULL, &info) == HAPAX_OK);
	*computed = info.computed;
	*entries = info.entries;
	return info.hits;
}

/* ---- system: recursion ------------------------------------------------------------------------------------------- */

static int fib(void *result, void *owner, const hapax_arg *args, size_t n, void *memo, hapax_load_error *error)
{
	uint64_t of = args[0].value.u;
	struct number *number = result;

	(void)owner, (void)n, (void)error;
	if (of < 2)
		number->value = of;
	for (uint64_t i = 1; of >= 2 && i <= 2; i++) { /* fib(of - 1) + fib(of - 2) */
		HAPAX_AUTO(struct number *) part = NULL;

		if (number_call(*(hapax_memo **)memo, NULL, HAPAX_ARGS(hapax_arg_uint(of - i)), &part))
			return HAPAX_LOAD_FAIL;
		number->value += part->value;
	}
	return HAPAX_LOAD_OK;
}

static int fib_memo(hapax_memo **memo)
{
	return hapax_memo_create(memo, &(hapax_memo_options){HAPAX_MEMO_OPTIONS_INIT, .type = &number_type,
							     .compute = fib, .ctx = memo,
							     .capacity = HAPAX_UNLIMITED});
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static void recursion(void)
{
	HAPAX_AUTO_MEMO(memo) = NULL;
	HAPAX_AUTO(struct number *) result = NULL; /* ends before the memo, which would else report it */
	uint64_t computed, entries;

	MUST(fib_memo(&memo) == HAPAX_OK);
	MUST(number_call(memo, NULL, HAPAX_ARGS(hapax_arg_uint(90)), &result) == HAPAX_OK);
	MUST(result->value == UINT64_C(2880067194370816120));
	MUST(count(memo, &computed, &entries) == 88 && computed == 91 && entries == 91);
	printf("fib(90) = %llu, computed %d times\n", (unsigned long long)result->value, (int)computed);
}

/* ---- system: arguments with types, failures ---------------------------------------------------------------------- */

/* The size of what a text says, or of a number's text. The first time round the disk is not there. */
static int measure(void *result, void *owner, const hapax_arg *args, size_t n, void *disk, hapax_load_error *error)
{
	(void)owner, (void)n;
	if (!*(bool *)disk) {
		error->code = 5;
		return HAPAX_LOAD_FAIL;
	}
	((struct number *)result)->value = args[0].tag == HAPAX_TAG_STRING ? args[0].size : 8;
	return HAPAX_LOAD_OK;
}

static int measure_memo(hapax_memo **memo, bool *disk, unsigned flags)
{
	return hapax_memo_create(memo, &(hapax_memo_options){HAPAX_MEMO_OPTIONS_INIT, .flags = flags,
							     .type = &number_type, .compute = measure,
							     .ctx = disk});
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static int number_of(hapax_memo *memo, void *owner, hapax_arg arg, uint64_t *value)
{
	HAPAX_AUTO(struct number *) number = NULL;
	int status = number_call(memo, owner, &arg, 1, &number);

	*value = number ? number->value : 0;
	return status;
}

static void types_and_failures(void)
{
	bool disk = false;
	uint64_t value, computed, entries;
	HAPAX_AUTO_MEMO(typed) = NULL;
	HAPAX_AUTO_MEMO(untyped) = NULL;

	MUST(measure_memo(&typed, &disk, HAPAX_MEMO_TYPED) == HAPAX_OK);
	MUST(number_of(typed, NULL, hapax_arg_int(1), &value) == HAPAX_ELOADER);
	disk = true; /* not stored: asked again, it is computed again */
	MUST(number_of(typed, NULL, hapax_arg_int(1), &value) == HAPAX_OK && value == 8);
	MUST(number_of(typed, NULL, hapax_arg_bool(1), &value) == HAPAX_OK);
	MUST(number_of(typed, NULL, hapax_arg_int(1), &value) == HAPAX_OK);
	MUST(count(typed, &computed, &entries) == 1 && computed == 3 && entries == 2);

	MUST(measure_memo(&untyped, &disk, 0) == HAPAX_OK); /* 8 bytes are 8 bytes */
	MUST(number_of(untyped, NULL, hapax_arg_int(1), &value) == HAPAX_OK);
	MUST(number_of(untyped, NULL, hapax_arg_bool(1), &value) == HAPAX_OK);
	MUST(count(untyped, &computed, &entries) == 1 && computed == 1 && entries == 1);
	printf("an int and a bool of the same bytes: two results if types count, one if not; a failure is no result\n");
}

/* ---- system: shared by all, and one budget over owners ----------------------------------------------------------- */

static int square(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner, (void)n, (void)ctx, (void)error;
	((struct number *)result)->value = args[0].value.u * args[0].value.u;
	return HAPAX_LOAD_OK;
}

/* 0: one memo for everybody ("static"), calls name no owner. */
static int square_memo(hapax_memo **memo, unsigned flags)
{
	return hapax_memo_create(memo, &(hapax_memo_options){HAPAX_MEMO_OPTIONS_INIT, .flags = flags,
							     .type = &number_type, .compute = square,
							     .capacity = 10, .policy = hapax_policy_lru()});
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static void budgets(void)
{
	uint64_t value, computed, entries;
	HAPAX_AUTO_MEMO(shared) = NULL;
	HAPAX_AUTO_MEMO(budget) = NULL;
	struct number *owners[4];

	MUST(square_memo(&shared, 0) == HAPAX_OK);
	MUST(square_memo(&budget, HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET) == HAPAX_OK);
	for (int o = 0; o < 4; o++) {
		MUST(number_new(NULL, &owners[o]) == HAPAX_OK);
		for (uint64_t n = 0; n < 5; n++) {
			MUST(number_of(shared, NULL, hapax_arg_uint(n), &value) == HAPAX_OK && value == n * n);
			MUST(number_of(budget, owners[o], hapax_arg_uint(n), &value) == HAPAX_OK && value == n * n);
		}
	}
	MUST(count(shared, &computed, &entries) == 15 && computed == 5 && entries == 5);
	MUST(count(budget, &computed, &entries) == 0 && computed == 20 && entries == 10); /* the latest ten of all */
	number_release(owners[3]);
	MUST(count(budget, &computed, &entries) == 0 && computed == 20 && entries == 5);
	printf("four owners: 5 results if they share them; 10 if they share a budget of ten, 5 when one has gone\n");
	for (int o = 0; o < 3; o++)
		number_release(owners[o]);
}

int main(void)
{
	recursion();
	types_and_failures();
	budgets();
	return 0;
}
