/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak references: creation, upgrade, drop (PY-REF).
 */
#include "unit/item.h"

TEST(PY_REF_01_handles_leave_the_strong_count_alone)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *plain[3], *dup;
	struct probe p;

	items_reset();
	CHECK_EQ(hapax_count(x), 1);
	for (int i = 0; i < 3; i++) {
		plain[i] = weak_of(x);
		CHECK_EQ(hapax_count(x), 1);
	}
	probe_on(&p, 1, x, true);
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(hapax_weak_dup(plain[0], &dup), HAPAX_OK);
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(hapax_retain(x), HAPAX_OK);
	CHECK_EQ(hapax_count(x), 2);
	CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
	CHECK_EQ(hapax_count(x), 2);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(hapax_weak_drop(plain[i]), HAPAX_OK);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	CHECK_EQ(hapax_count(x), 2);
	hapax_release(x);
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(items_destroyed_now(), 0);
	hapax_release(x);
	CHECK_EQ(items_destroyed_now(), 1);
	test_env_end(env);
}

TEST(PY_REF_02_upgrade_gives_the_object_and_exactly_one_reference)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *weak = weak_of(x), *dup;
	struct probe p;

	probe_on(&p, 1, x, false);
	CHECK_EQ(hapax_weak_dup(p.weak, &dup), HAPAX_OK);
	for (uint64_t i = 1; i <= 100; i++) {
		hapax_weak *from = i % 3 == 0 ? weak : i % 3 == 1 ? p.weak : dup;

		CHECK_PTR(hapax_weak_get(from), x);
		CHECK_EQ(hapax_count(x), i + 1);
	}
	for (uint64_t i = 100; i >= 1; i--) {
		hapax_release(x);
		CHECK_EQ(hapax_count(x), i);
	}
	CHECK(hapax_weak_alive(weak));
	/* an upgrade keeps the object when the first owner goes */
	CHECK_PTR(hapax_weak_get(weak), x);
	hapax_release(x);
	CHECK(item_is_alive(x));
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	test_env_end(env);
}

struct dead_handles {
	hapax_weak *weak[4];
};

static void upgrade_dead(unsigned index, void *arg)
{
	struct dead_handles *dead = arg;

	for (int i = 0; i < 1000; i++) {
		CHECK(!hapax_weak_get(dead->weak[(index + (unsigned)i) % 4]));
		CHECK(!hapax_weak_alive(dead->weak[i % 4]));
	}
}

TEST(PY_REF_03_upgrade_fails_for_ever_after_death)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *next[64];
	struct dead_handles dead;
	struct probe p;
	bool reused = false;

	dead.weak[0] = weak_of(x);
	dead.weak[1] = weak_of(x);
	CHECK_EQ(hapax_weak_dup(dead.weak[0], &dead.weak[2]), HAPAX_OK);
	probe_on(&p, 1, x, true);
	dead.weak[3] = p.weak;
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	upgrade_dead(0, &dead);
	run_threads(4, upgrade_dead, &dead);

	/* the memory goes, and becomes other objects of the same type, with handles of their own */
	hapax_testing_drain(env);
	for (int i = 0; i < 64; i++) {
		next[i] = item_new(env, i);
		reused |= next[i] == x;
	}
	upgrade_dead(1, &dead);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(hapax_count(next[i]), 1);
	run_threads(2, upgrade_dead, &dead);
	for (int i = 0; i < 64; i++)
		hapax_release(next[i]);
	upgrade_dead(2, &dead);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(hapax_weak_drop(dead.weak[i]), HAPAX_OK);
	(void)reused; /* whether the very address came back is the allocator's choice */
	test_env_end(env);
}

/* L1: failed upgrades leave nothing behind, however many there are, and however they race with the death. */
TEST(PY_REF_03_failed_upgrades_do_not_disturb_the_dead)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *weak = weak_of(x);
	uint64_t rounds = scaled(1000000);

	items_reset();
	hapax_release(x);
	for (uint64_t i = 0; i < rounds; i++)
		CHECK(!hapax_weak_get(weak));
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	CHECK(!hapax_weak_get(weak));
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	test_env_end(env);
}

/* A million handles without a callback share one record, whatever is registered in between. */
TEST(PY_REF_05_plain_handles_cost_nothing_more)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	size_t n = test_slow_build() ? 200000 : 1000000;
	hapax_weak **weak = calloc(n, sizeof(*weak));
	struct probe p[10];
	uint64_t calls;
	size_t before;

	CHECK(weak);
	for (int i = 0; i < 10; i++)
		probe_on(&p[i], i, x, false);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	weak[0] = weak_of(x);
	hapax_testing_drain(env);
	before = hapax_testing_bytes(env);
	calls = test_env_allocator(env)->calls;
	for (size_t i = 1; i < n; i++) {
		weak[i] = weak_of(x);
		if (i % (n / 10) == n / 20)
			probe_on(&p[i / (n / 10)], (int)i, x, false);
	}
	CHECK(hapax_testing_bytes(env) <= before + 8192); /* room for the ten registrations */
	CHECK(test_env_allocator(env)->calls <= calls + 64);
	CHECK_EQ(hapax_weak_count(x), 11);
	for (size_t i = 0; i < n; i += n / 100)
		CHECK_PTR(hapax_weak_get(weak[i]), x);
	for (size_t i = 0; i < n; i += n / 100)
		hapax_release(x);
	/* half go before the object, half after */
	for (size_t i = 0; i < n; i += 2)
		CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
	CHECK_EQ(hapax_count(x), 1);
	hapax_release(x);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(p[i].calls, 1);
	for (size_t i = 1; i < n; i += 2) {
		CHECK(!hapax_weak_get(weak[i]));
		CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
	}
	for (int i = 0; i < 10; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	free(weak);
	test_env_end(env);
}

static int equal_calls, equal_frees;
static void equal_call(hapax_weak *weak, void *ctx)
{
	CHECK(!hapax_weak_get(weak));
	CHECK_PTR(ctx, &equal_calls);
	equal_calls++;
}
static void equal_free(void *ctx)
{
	CHECK_PTR(ctx, &equal_calls);
	equal_frees++;
}

TEST(PY_REF_07_callback_handles_are_never_shared)
{
	hapax_env *env = test_env();
	hapax_callback cb = {equal_call, &equal_calls, equal_free};

	for (int n = 2; n <= 5; n++) {
		struct item *x = item_new(env, 1);
		hapax_weak *weak[5];

		equal_calls = equal_frees = 0;
		for (int i = 0; i < n; i++) {
			CHECK_EQ(hapax_weak_new(x, &cb, &weak[i]), HAPAX_OK);
			for (int j = 0; j < i; j++)
				CHECK(weak[i] != weak[j]);
		}
		/* dropping one cancels one */
		CHECK_EQ(hapax_weak_drop(weak[0]), HAPAX_OK);
		CHECK_EQ(equal_frees, 1);
		CHECK_EQ(equal_calls, 0);
		hapax_release(x);
		CHECK_EQ(equal_calls, n - 1);
		CHECK_EQ(equal_frees, n);
		for (int i = 1; i < n; i++)
			CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
		CHECK_EQ(equal_frees, n);
	}
	test_env_end(env);
}

/* One registration with several handles is still one: one call, and only its last drop cancels. */
TEST(PY_REF_07_duplicates_share_one_registration)
{
	hapax_env *env = test_env();
	hapax_callback cb = {equal_call, &equal_calls, equal_free};
	struct item *x;
	hapax_weak *weak, *dup[3];

	for (int cancel = 0; cancel < 2; cancel++) {
		x = item_new(env, 1);
		equal_calls = equal_frees = 0;
		CHECK_EQ(hapax_weak_new(x, &cb, &weak), HAPAX_OK);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(hapax_weak_dup(weak, &dup[i]), HAPAX_OK);
		CHECK_EQ(hapax_weak_count(x), 1);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		CHECK_EQ(hapax_weak_drop(dup[1]), HAPAX_OK);
		CHECK_EQ(equal_frees, 0);
		if (cancel) {
			CHECK_EQ(hapax_weak_drop(dup[0]), HAPAX_OK);
			CHECK_EQ(equal_frees, 0);
			CHECK_EQ(hapax_weak_drop(dup[2]), HAPAX_OK);
			CHECK_EQ(equal_frees, 1);
			hapax_release(x);
			CHECK_EQ(equal_calls, 0);
		} else {
			hapax_release(x);
			CHECK_EQ(equal_calls, 1);
			CHECK_EQ(equal_frees, 1);
			CHECK_EQ(hapax_weak_drop(dup[0]), HAPAX_OK);
			CHECK_EQ(hapax_weak_drop(dup[2]), HAPAX_OK);
		}
		CHECK_EQ(equal_frees, 1);
	}
	test_env_end(env);
}

static int wild_frees;
static void wild_free(void *ctx)
{
	CHECK_PTR(ctx, (void *)(uintptr_t)1); /* the value comes back; nothing may have looked behind it */
	wild_frees++;
}

TEST(PY_REF_08_null_callback_means_none_whatever_ctx_is)
{
	hapax_env *env = test_env();
	hapax_callback cb = {NULL, (void *)(uintptr_t)1, NULL}, seen;
	struct item *x;
	hapax_weak *weak, *dup;
	char text[128];

	for (int freed = 0; freed < 2; freed++) {
		cb.ctx_free = freed ? wild_free : NULL;
		/* dropped while the object lives; with a duplicate, at the last drop */
		x = item_new(env, 1);
		wild_frees = 0;
		CHECK_EQ(hapax_weak_new(x, &cb, &weak), HAPAX_OK);
		CHECK_EQ(hapax_weak_dup(weak, &dup), HAPAX_OK);
		CHECK_EQ(hapax_weak_callback(weak, &seen), HAPAX_EMPTY);
		hapax_weak_describe(weak, text, sizeof(text));
		CHECK_PTR(hapax_weak_get(weak), x);
		hapax_release(x);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		CHECK_EQ(wild_frees, 0);
		CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
		CHECK_EQ(wild_frees, freed);
		hapax_release(x);
		CHECK_EQ(wild_frees, freed);

		/* dropped after the object */
		x = item_new(env, 1);
		wild_frees = 0;
		CHECK_EQ(hapax_weak_new(x, &cb, &weak), HAPAX_OK);
		hapax_release(x);
		CHECK(!hapax_weak_get(weak));
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		CHECK_EQ(wild_frees, freed);
	}
	test_env_end(env);
}

TEST(PY_REF_09_types_without_weak_references_refuse_them)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	struct item *x = item_of(env, &strong_type, 1);
	hapax_callback cb = {equal_call, &equal_calls, equal_free};
	hapax_weak *weak = (void *)(uintptr_t)8;
	uint64_t calls;

	equal_calls = equal_frees = 0;
	calls = memory->calls;
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(hapax_weak_new(x, NULL, &weak), HAPAX_ENOTWEAK);
		CHECK(!weak);
		CHECK_EQ(hapax_weak_new(x, &cb, &weak), HAPAX_ENOTWEAK);
		CHECK(!weak);
	}
	CHECK_EQ(memory->calls, calls);
	CHECK_EQ(hapax_weak_count(x), 0);
	CHECK_EQ(hapax_count(x), 1);
	hapax_release(x);
	CHECK_EQ(equal_calls, 0);
	CHECK_EQ(equal_frees, 0);
	test_env_end(env);
}

TEST(PY_REF_10_drop_cancels)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p, q;

	items_reset();
	probe_on(&p, 1, x, true);
	probe_on(&q, 2, x, false);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	CHECK_EQ(p.frees, 1); /* at the drop, not later */
	CHECK_EQ(probe_drop(&q), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	hapax_testing_drain(env);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(p.calls, 0);
	CHECK_EQ(q.calls, 0);
	CHECK_EQ(p.frees, 1);
	CHECK_EQ(q.frees, 0);
	test_env_end(env);
}

static void drop_self(struct probe *p)
{
	CHECK_EQ(p->frees, 0);
	CHECK_EQ(probe_drop(p), HAPAX_INFLIGHT); /* it is running right now: no waiting for itself */
	CHECK_EQ(p->frees, 0);                   /* ctx is still in use here */
}

TEST(PY_REF_12_drop_from_inside_its_own_callback)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p[3];

	trace_reset();
	for (int i = 0; i < 3; i++) {
		probe_on(&p[i], i, x, i != 2);
		p[i].then = drop_self;
	}
	hapax_release(x);
	CHECK_STR(trace_text, "c2 c1 f1 c0 f0 ");
	for (int i = 0; i < 3; i++)
		CHECK_EQ(p[i].calls, 1);
	test_env_end(env);
}

static void drop_self_with_duplicate(struct probe *p)
{
	hapax_weak *dup = p->arg;

	CHECK(!hapax_weak_get(dup));
	CHECK(hapax_weak_drop(dup) >= 0);
	CHECK_EQ(p->frees, 0);
	CHECK(probe_drop(p) >= 0);
	CHECK_EQ(p->frees, 0);
}

TEST(PY_REF_12_drop_of_all_duplicates_from_inside)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *dup;
	struct probe p;

	probe_on(&p, 1, x, true);
	CHECK_EQ(hapax_weak_dup(p.weak, &dup), HAPAX_OK);
	p.arg = dup;
	p.then = drop_self_with_duplicate;
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(p.frees, 1);
	test_env_end(env);
}

static hapax_weak *own_handle[2];

static void look_at_nested(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	for (int i = 0; i < 2; i++)
		CHECK(!hapax_weak_get(own_handle[i]));
	trace("nested");
}

static void look_at_self(struct item *item, void *arg)
{
	struct item *other = arg;
	hapax_weak *weak;

	for (int i = 0; i < 2; i++) {
		CHECK(!hapax_weak_get(own_handle[i]));
		CHECK(!hapax_weak_alive(own_handle[i]));
	}
	CHECK_EQ(hapax_weak_new(item, NULL, &weak), HAPAX_EDEAD);
	hapax_release(other); /* its destructor looks too */
	trace("self");
}

TEST(PY_REF_13_no_upgrade_from_the_destructor)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *other = item_new(env, 2);
	struct probe p;

	trace_reset();
	other->on_destroy = look_at_nested;
	x->on_destroy = look_at_self;
	x->arg = other;
	own_handle[0] = weak_of(x);
	probe_on(&p, 1, x, false);
	own_handle[1] = p.weak;
	hapax_release(x);
	CHECK_STR(trace_text, "c1 self nested ");
	CHECK_EQ(hapax_weak_drop(own_handle[0]), HAPAX_OK);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	test_env_end(env);
}

static void *dying;
static int late_attempts;

static void attach_to_dying(void)
{
	hapax_callback cb = {equal_call, &equal_calls, equal_free};
	hapax_weak *weak = (void *)(uintptr_t)8;

	CHECK_EQ(hapax_weak_new(dying, NULL, &weak), HAPAX_EDEAD);
	CHECK(!weak);
	weak = (void *)(uintptr_t)8;
	CHECK_EQ(hapax_weak_new(dying, &cb, &weak), HAPAX_EDEAD);
	CHECK(!weak);
	late_attempts++;
}
static void attach_in_callback(struct probe *p)
{
	(void)p;
	attach_to_dying();
}
static void attach_in_destructor(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	attach_to_dying();
}

TEST(PY_REF_14_no_new_handles_once_death_has_begun)
{
	hapax_env *env = test_env();
	struct probe p[2];

	equal_calls = equal_frees = late_attempts = 0;
	for (int with = 0; with < 3; with++) { /* never weakly referenced, plainly, with callbacks */
		struct item *x = item_new(env, 1);
		hapax_weak *weak = with == 1 ? weak_of(x) : NULL;

		dying = x;
		x->on_destroy = attach_in_destructor;
		if (with == 2) {
			for (int i = 0; i < 2; i++) {
				probe_on(&p[i], i, x, true);
				p[i].then = attach_in_callback;
			}
		}
		hapax_release(x);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	}
	for (int i = 0; i < 2; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	hapax_testing_drain(env);
	CHECK_EQ(late_attempts, 5);
	CHECK_EQ(equal_calls, 0);
	CHECK_EQ(equal_frees, 0);
	test_env_end(env);
}

/* Each allocation of each kind of weak_new fails in turn: nothing changes, and then it works. */
TEST(PY_REF_16_failed_allocation_changes_nothing)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	hapax_callback cb = {equal_call, &equal_calls, equal_free};
	enum { ATTEMPTS = 1000 }; /* handles are kept, so that more and more memory is needed */
	static hapax_weak *kept[ATTEMPTS];
	unsigned refused = 0;

	for (int variant = 0; variant < 4; variant++) {
		bool callback = variant & 1, before = variant & 2; /* with a callback; with handles there already */
		hapax_callback plain = {NULL, &equal_calls, equal_free};

		for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
			struct item *x = item_new(env, attempt);
			hapax_weak *old = before ? weak_of(x) : NULL, *weak = (void *)(uintptr_t)8;
			struct probe p;
			uint64_t count;
			int status;

			if (before)
				probe_on(&p, 1, x, false);
			trace_reset();
			count = hapax_weak_count(x);
			equal_calls = equal_frees = 0;
			memory->fail_from = memory->calls + 1;
			status = hapax_weak_new(x, callback ? &cb : attempt % 2 ? &plain : NULL, &weak);
			memory->fail_from = 0;
			if (status) {
				CHECK_EQ(status, HAPAX_ENOMEM);
				CHECK(!weak);
				CHECK_EQ(equal_frees, 0);
				CHECK_EQ(hapax_weak_count(x), count);
				CHECK_EQ(hapax_count(x), 1);
				CHECK(item_is_alive(x));
				if (before)
					CHECK(hapax_weak_alive(old) && hapax_weak_alive(p.weak));
				refused++;
				CHECK_EQ(hapax_weak_new(x, callback ? &cb : NULL, &weak), HAPAX_OK);
			}
			CHECK_PTR(hapax_weak_get(weak), x);
			hapax_release(x);
			hapax_release(x);
			CHECK_EQ(equal_calls, callback);
			kept[attempt] = weak;
			if (before) {
				CHECK_EQ(p.calls, 1);
				CHECK_EQ(probe_drop(&p), HAPAX_OK);
				CHECK_EQ(hapax_weak_drop(old), HAPAX_OK);
			}
		}
		for (int attempt = 0; attempt < ATTEMPTS; attempt++)
			CHECK_EQ(hapax_weak_drop(kept[attempt]), HAPAX_OK);
	}
	CHECK(refused > 0);
	test_env_end(env);
}

static void callback_is_gone(struct probe *p)
{
	hapax_callback seen = {probe_call, p, NULL};

	CHECK_EQ(hapax_weak_callback(p->weak, &seen), HAPAX_DEAD);
}

TEST(PY_REF_18_the_callback_can_be_asked_for_while_alive)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *plain = weak_of(x), *dup;
	hapax_callback seen = {0};
	struct probe p;

	probe_on(&p, 1, x, true);
	p.then = callback_is_gone;
	CHECK_EQ(hapax_weak_dup(p.weak, &dup), HAPAX_OK);
	for (int i = 0; i < 2; i++) {
		memset(&seen, 0, sizeof(seen));
		CHECK_EQ(hapax_weak_callback(i ? dup : p.weak, &seen), HAPAX_OK);
		CHECK(seen.fn == probe_call);
		CHECK_PTR(seen.ctx, &p);
		CHECK(seen.ctx_free == probe_free);
		/* what came back is a copy */
		seen.fn = NULL;
		seen.ctx = NULL;
	}
	CHECK_EQ(hapax_weak_callback(plain, &seen), HAPAX_EMPTY);
	CHECK_EQ(hapax_weak_callback(NULL, &seen), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_callback(p.weak, NULL), HAPAX_ENULL);
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(hapax_weak_callback(p.weak, &seen), HAPAX_DEAD);
	CHECK_EQ(hapax_weak_callback(dup, &seen), HAPAX_DEAD);
	CHECK_EQ(hapax_weak_callback(plain, &seen), HAPAX_DEAD);
	CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(plain), HAPAX_OK);
	test_env_end(env);
}

static void describe(hapax_weak *weak)
{
	char text[256], cut[8];
	size_t length;

	memset(text, '#', sizeof(text));
	length = hapax_weak_describe(weak, text, sizeof(text));
	CHECK(length > 0 && length < sizeof(text));
	CHECK_EQ(strlen(text), length);
	CHECK(!strchr(text, '\n'));
	CHECK_EQ(hapax_weak_describe(weak, NULL, 0), length);
	memset(cut, '#', sizeof(cut));
	CHECK_EQ(hapax_weak_describe(weak, cut, 5), length);
	CHECK_EQ(strlen(cut), 4);
	CHECK_EQ(cut[5], '#');
	CHECK(!memcmp(cut, text, 4));
}
static void describe_in_callback(struct probe *p) { describe(p->weak); }
static void describe_in_destructor(struct item *item, void *arg)
{
	(void)item;
	describe(arg);
}

TEST(PY_REF_19_describing_never_touches_the_dead)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *plain = weak_of(x);
	char alive[256], dead[256];
	struct probe p;

	items_reset();
	probe_on(&p, 1, x, false);
	p.then = describe_in_callback;
	x->on_destroy = describe_in_destructor;
	x->arg = plain;
	describe(plain);
	describe(p.weak);
	hapax_weak_describe(plain, alive, sizeof(alive));
	hapax_release(x);
	describe(plain);
	describe(p.weak);
	hapax_testing_drain(env); /* and after its memory has gone */
	describe(plain);
	describe(p.weak);
	hapax_weak_describe(plain, dead, sizeof(dead));
	CHECK(strcmp(alive, dead) != 0); /* it says which */
	describe(NULL);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(hapax_weak_drop(plain), HAPAX_OK);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	test_env_end(env);
}

static uint64_t many_calls, many_last;
static void many_call(hapax_weak *weak, void *ctx)
{
	uintptr_t at = (uintptr_t)ctx;

	(void)weak;
	CHECK(at < many_last); /* newest first */
	many_last = at;
	many_calls++;
}
static uint64_t many_frees;
static void many_free(void *ctx)
{
	(void)ctx;
	many_frees++;
}

static void many_registrations(size_t n, bool freed)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak **weak = calloc(n, sizeof(*weak));
	size_t *order = calloc(n, sizeof(*order));
	uint64_t random = test_stream(n);
	hapax_callback cb = {many_call, NULL, freed ? many_free : NULL};

	CHECK(weak && order);
	many_calls = many_frees = 0;
	for (size_t i = 0; i < n; i++) {
		cb.ctx = (void *)(uintptr_t)i;
		CHECK_EQ(hapax_weak_new(x, &cb, &weak[i]), HAPAX_OK);
		order[i] = i;
	}
	CHECK_EQ(hapax_weak_count(x), n);
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = test_below(&random, i + 1), at = order[i];

		order[i] = order[j];
		order[j] = at;
	}
	for (size_t i = 0; i < n / 2; i++) {
		CHECK_EQ(hapax_weak_drop(weak[order[i]]), HAPAX_OK);
		weak[order[i]] = NULL;
	}
	CHECK_EQ(hapax_weak_count(x), n - n / 2);
	many_last = UINT64_MAX;
	hapax_release(x);
	CHECK_EQ(many_calls, n - n / 2);
	CHECK_EQ(many_frees, freed ? n : 0);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
	free(weak);
	free(order);
	test_env_end(env);
}

TEST(PY_REF_21_65537_registrations) { many_registrations(65537, true); }
TEST(PY_REF_21_a_million_registrations) { many_registrations(test_slow_build() ? 150000 : 1000000, false); }

struct handles {
	hapax_weak *weak;
	void *object;
	int rounds;
};

static void duplicate_and_drop(unsigned index, void *arg)
{
	struct handles *h = arg;
	hapax_weak *mine, *again;

	CHECK_EQ(hapax_weak_dup(h->weak, &mine), HAPAX_OK);
	for (int i = 0; i < h->rounds; i++) {
		void *object;

		CHECK_EQ(hapax_weak_dup(i % 2 ? mine : h->weak, &again), HAPAX_OK);
		object = hapax_weak_get(again);
		if (h->object)
			CHECK_PTR(object, h->object);
		else
			CHECK(!object);
		hapax_release(object);
		CHECK_EQ(hapax_weak_drop(again), HAPAX_OK);
	}
	(void)index;
	CHECK_EQ(hapax_weak_drop(mine), HAPAX_OK);
}

TEST(PY_REF_22_duplicates_are_dropped_independently)
{
	hapax_env *env = test_env();

	for (int callback = 0; callback < 2; callback++) {
		for (int object_first = 0; object_first < 2; object_first++) {
			struct item *x = item_new(env, 1);
			struct handles h = {NULL, x, (int)scaled(5000)};
			hapax_weak *dup;
			struct probe p;

			if (callback) {
				probe_on(&p, 1, x, true);
				h.weak = p.weak;
			} else {
				h.weak = weak_of(x);
			}
			run_threads(4, duplicate_and_drop, &h);
			CHECK_EQ(hapax_count(x), 1);
			CHECK_EQ(hapax_weak_count(x), 1);
			CHECK_EQ(hapax_weak_dup(h.weak, &dup), HAPAX_OK);
			if (object_first) {
				hapax_release(x);
				hapax_testing_drain(env);
				h.object = NULL;
				run_threads(4, duplicate_and_drop, &h);
				CHECK_EQ(hapax_weak_drop(h.weak), HAPAX_OK);
				CHECK(!hapax_weak_get(dup));
				CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
			} else {
				CHECK_EQ(hapax_weak_drop(h.weak), HAPAX_OK);
				CHECK_PTR(hapax_weak_get(dup), x);
				hapax_release(x);
				CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
				CHECK_EQ(hapax_weak_count(x), 0);
				hapax_release(x);
			}
			if (callback) {
				CHECK_EQ(p.calls, object_first);
				CHECK_EQ(p.frees, 1);
			}
			hapax_testing_drain(env);
			CHECK_EQ(hapax_testing_live_objects(env), 0);
		}
	}
	test_env_end(env);
}

/* L12: handles outlive the object, its type's other objects, and the caller's hold on the environment. */
TEST(PY_REF_22_handles_outlive_the_environment)
{
	struct test_allocator memory;
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT};
	hapax_env *env;
	hapax_weak *first, *last;
	struct item *x, *y;
	struct probe p;

	test_allocator_init(&memory, 0);
	options.allocator = memory.allocator;
	CHECK_EQ(hapax_env_create(&env, &options), HAPAX_OK);
	x = item_new(env, 1);
	y = item_new(env, 2);
	first = weak_of(x);
	probe_on(&p, 1, x, true);
	last = weak_of(y);
	hapax_release(y);
	hapax_env_destroy(env);
	CHECK_PTR(hapax_weak_get(first), x);
	hapax_release(x);
	CHECK(!hapax_weak_get(last));
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(p.frees, 1);
	CHECK(!hapax_weak_get(first));
	CHECK_EQ(hapax_weak_drop(first), HAPAX_OK);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	CHECK(!hapax_weak_get(last));
	CHECK_EQ(hapax_weak_drop(last), HAPAX_OK);
	hapax_testing_drain(NULL);
	CHECK_EQ(test_allocator_live(&memory), 0);
}

TEST(PY_REF_required_pointers)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *weak = weak_of(x), *out = (void *)(uintptr_t)8;

	CHECK_EQ(hapax_weak_new(NULL, NULL, &out), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_weak_new(x, NULL, NULL), HAPAX_ENULL);
	out = (void *)(uintptr_t)8;
	CHECK_EQ(hapax_weak_dup(NULL, &out), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_weak_dup(weak, NULL), HAPAX_ENULL);
	CHECK(!hapax_weak_alive(NULL));
	CHECK_EQ(hapax_weak_count(x), 1);
	CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	hapax_release(x);
	test_env_end(env);
}
