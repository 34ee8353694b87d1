/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listing an object's weak handles (PY-CNT-04).
 */
#include "unit/item.h"

static void no_call(hapax_weak *weak, void *ctx)
{
	(void)weak;
	(void)ctx;
}
static void count_free(void *ctx) { __atomic_fetch_add((int *)ctx, 1, __ATOMIC_RELAXED); }

static hapax_weak *called_on(void *object, int *frees)
{
	hapax_callback callback = {no_call, frees, frees ? count_free : NULL};
	hapax_weak *weak = NULL;

	CHECK_EQ(hapax_weak_new(object, &callback, &weak), HAPAX_OK);
	return weak;
}
static hapax_weak *quiet_on(void *object, int *frees)
{
	hapax_callback callback = {NULL, frees, count_free};
	hapax_weak *weak = NULL;

	CHECK_EQ(hapax_weak_new(object, &callback, &weak), HAPAX_OK);
	return weak;
}

static void drop_all(hapax_weak **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(hapax_weak_drop(list[i]), HAPAX_OK);
}

TEST(PY_CNT_04_newest_first_then_one_for_the_callbackless)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_table *table = table_new(env);
	hapax_weak *made[6], *plain[2], *list[10];
	size_t count = 99;
	int frees = 0;

	CHECK_EQ(hapax_weak_list(x, list, 10, &count), HAPAX_OK); /* no side record even */
	CHECK_EQ(count, 0);
	table_put(table, HAPAX_STR("k"), x);
	CHECK_EQ(hapax_weak_list(x, list, 10, &count), HAPAX_OK);
	CHECK_EQ(count, 0);
	plain[0] = weak_of(x);
	for (int i = 0; i < 6; i++) {
		made[i] = i == 3 ? quiet_on(x, &frees) : called_on(x, i % 2 ? &frees : NULL);
		table_put(table, HAPAX_KEY_OF(i), x); /* registrations in between that are no handles */
	}
	plain[1] = weak_of(x);
	CHECK_EQ(hapax_weak_list(x, list, 10, &count), HAPAX_OK);
	CHECK_EQ(count, 7);
	for (int i = 0; i < 6; i++)
		CHECK_PTR(list[i], made[5 - i]);
	CHECK_PTR(list[6], plain[0]);
	CHECK_PTR(plain[0], plain[1]);
	/* owned: the registration lives on in what was listed */
	for (int i = 0; i < 6; i++)
		CHECK_EQ(hapax_weak_drop(made[i]), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(plain[0]), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(plain[1]), HAPAX_OK);
	CHECK_EQ(frees, 0);
	CHECK_EQ(hapax_count(x), 1);
	for (int i = 0; i < 7; i++) {
		CHECK_PTR(hapax_weak_get(list[i]), x);
		hapax_release(x);
	}
	drop_all(list, 7);
	CHECK_EQ(frees, 3);
	CHECK_EQ(hapax_weak_list(x, list, 10, &count), HAPAX_OK);
	CHECK_EQ(count, 0);
	hapax_release(x);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_CNT_04_what_is_listed_fires_at_death_as_ever)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p[3];
	hapax_weak *list[3];
	size_t count;

	for (int i = 0; i < 3; i++)
		probe_on(&p[i], i, x, true);
	CHECK_EQ(hapax_weak_list(x, list, 3, &count), HAPAX_OK);
	CHECK_EQ(count, 3);
	hapax_release(x);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(p[i].calls, 1);
		CHECK_EQ(p[i].frees, 1);
		CHECK(!hapax_weak_get(list[i]));
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	}
	drop_all(list, 3);
	test_env_end(env);
}

TEST(PY_CNT_04_arguments)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *strong = item_of(env, &strong_type, 2);
	hapax_weak *a = called_on(x, NULL), *list[2] = {NULL};
	size_t count = 7;

	CHECK_EQ(hapax_weak_list(x, list, 2, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_list(NULL, list, 2, &count), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_list(x, NULL, 1, &count), HAPAX_ENULL);
	CHECK_EQ(count, 0);
	CHECK_EQ(hapax_weak_list(x, NULL, 0, &count), HAPAX_OK); /* how many: legal */
	CHECK_EQ(count, 1);
	CHECK_EQ(hapax_weak_list(strong, list, 2, &count), HAPAX_OK);
	CHECK_EQ(count, 0);
	hapax_release(strong);
	hapax_release(x);
	CHECK_EQ(hapax_weak_drop(a), HAPAX_OK);
	test_env_end(env);
}

static void list_dying(struct item *item, void *arg)
{
	hapax_weak *list[4];
	size_t count = 7;

	(void)arg;
	CHECK_EQ(hapax_weak_list(item, list, 4, &count), HAPAX_EDEAD);
	CHECK_EQ(count, 0);
}

TEST(PY_CNT_04_a_dying_object_lists_nothing)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *a = called_on(x, NULL), *b = weak_of(x);

	x->on_destroy = list_dying;
	hapax_release(x);
	CHECK_EQ(hapax_weak_drop(a), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(b), HAPAX_OK);
	test_env_end(env);
}

TEST(PY_CNT_04_a_handle_at_its_limit_lists_nothing)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	int frees = 0;
	hapax_weak *a = called_on(x, &frees), *plain = weak_of(x), *list[4];
	size_t count = 7;

	hapax_testing_set_weak(x, UINT64_C(1) << 31);
	CHECK_EQ(hapax_weak_list(x, list, 4, &count), HAPAX_EOVERFLOW);
	CHECK_EQ(count, 0);
	hapax_testing_set_weak(x, (UINT64_C(1) << 31) - 1);
	CHECK_EQ(hapax_weak_list(x, list, 4, &count), HAPAX_OK);
	CHECK_EQ(count, 2);
	hapax_testing_set_weak(x, 2);
	CHECK_EQ(hapax_weak_drop(a), HAPAX_OK);
	CHECK_EQ(frees, 0); /* the overflow gave back what it had taken; the listing has one */
	drop_all(list, 2);
	CHECK_EQ(frees, 1);
	CHECK_EQ(hapax_weak_drop(plain), HAPAX_OK);
	hapax_release(x);
	test_env_end(env);
}

/* ---- against a model: nodes are used again, capacities are anything ---------------------------------------------- */

enum { MOST = 40 };
struct model {
	hapax_weak *weak[MOST]; /* oldest first */
	int n, plain;
	hapax_weak *shared;
};

static void list_and_compare(struct model *m, struct item *x, size_t capacity)
{
	hapax_weak *list[MOST + 2];
	size_t count = 99, total = (size_t)m->n + (m->plain > 0), stored;

	memset(list, 0xee, sizeof(list));
	CHECK_EQ(hapax_weak_list(x, list, capacity, &count), HAPAX_OK);
	CHECK_EQ(count, total);
	stored = total < capacity ? total : capacity;
	for (size_t i = 0; i < stored; i++)
		CHECK_PTR(list[i], i < (size_t)m->n ? m->weak[m->n - 1 - (int)i] : m->shared);
	for (size_t i = stored; i < MOST + 2; i++)
		CHECK_EQ((uintptr_t)list[i] & 0xff, 0xee);
	drop_all(list, stored);
}

TEST(PY_CNT_04_order_and_number_after_random_traffic)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1);
	struct model m;
	uint64_t random = test_stream(1);
	int frees = 0;

	memset(&m, 0, sizeof(m));
	for (uint64_t i = 0; i < scaled(20000); i++) {
		int at, key = (int)test_below(&random, 16);

		switch (test_below(&random, 7)) {
		case 0:
		case 1:
			if (m.n == MOST)
				break;
			m.weak[m.n++] = test_below(&random, 4) ? called_on(x, &frees) : quiet_on(x, &frees);
			break;
		case 2:
			if (!m.n)
				break;
			at = (int)test_below(&random, (uint64_t)m.n);
			CHECK_EQ(hapax_weak_drop(m.weak[at]), HAPAX_OK);
			memmove(&m.weak[at], &m.weak[at + 1], (size_t)(m.n - at - 1) * sizeof(m.weak[0]));
			m.n--;
			break;
		case 3:
			m.shared = weak_of(x);
			m.plain++;
			break;
		case 4:
			for (; m.plain; m.plain--)
				CHECK_EQ(hapax_weak_drop(m.shared), HAPAX_OK);
			break;
		case 5:
			table_put(table, HAPAX_KEY_OF(key), x);
			break;
		default:
			hapax_table_remove(table, HAPAX_KEY_OF(key));
		}
		if (i % 4 == 0)
			list_and_compare(&m, x, test_below(&random, MOST + 2));
	}
	for (; m.plain; m.plain--)
		CHECK_EQ(hapax_weak_drop(m.shared), HAPAX_OK);
	drop_all(m.weak, (size_t)m.n);
	list_and_compare(&(struct model){.n = 0}, x, MOST);
	hapax_release(x);
	table_end(table, 0);
	test_env_end(env);
}

/* Many, whose nodes were all used again, in random order; quadratic work would run into the watchdog. */
TEST(PY_CNT_04_many)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	size_t n = test_slow_build() ? 20000 : 200000, count;
	hapax_weak **weak = malloc(n * sizeof(*weak)), **list = malloc(n * sizeof(*list));
	uint64_t random = test_stream(1);

	CHECK(weak && list);
	for (size_t i = 0; i < n; i++)
		weak[i] = called_on(x, NULL);
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = test_below(&random, i + 1);
		hapax_weak *one = weak[i];

		weak[i] = weak[j];
		weak[j] = one;
	}
	drop_all(weak, n);
	for (size_t i = 0; i < n; i++)
		weak[i] = called_on(x, NULL);
	CHECK_EQ(hapax_weak_list(x, list, n, &count), HAPAX_OK);
	CHECK_EQ(count, n);
	for (size_t i = 0; i < n; i++)
		CHECK_PTR(list[i], weak[n - 1 - i]);
	drop_all(list, n);
	CHECK_EQ(hapax_weak_list(x, list, n / 3, &count), HAPAX_OK);
	CHECK_EQ(count, n);
	for (size_t i = 0; i < n / 3; i++)
		CHECK_PTR(list[i], weak[n - 1 - i]);
	drop_all(list, n / 3);
	drop_all(weak, n);
	free(weak);
	free(list);
	hapax_release(x);
	test_env_end(env);
}

/* ---- what goes between the choice and the taking ----------------------------------------------------------------- */

struct between {
	struct item *x;
	hapax_weak *drop[3], *make[3];
	int frees;
	int at;
};

static void drop_some(const char *name, void *ctx)
{
	struct between *b = ctx;

	if (strcmp(name, "list.chosen") || b->at++)
		return;
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(hapax_weak_drop(b->drop[i]), HAPAX_OK);
		b->make[i] = called_on(b->x, &b->frees); /* on the same nodes */
	}
}

/* Room that was kept for what has gone is filled with older ones; what is newer lies before them. */
TEST(PY_CNT_04_what_was_dropped_meanwhile_makes_room_for_others)
{
	enum { N = 10, ROOM = 5 };

	for (int first = 0; first + 3 <= N; first++) {
		hapax_env *env = test_env();
		struct between b = {.x = item_new(env, 1)};
		hapax_weak *made[N], *list[ROOM];
		size_t count, next = 0;

		for (int i = 0; i < N; i++)
			made[i] = called_on(b.x, &b.frees);
		for (int i = 0; i < 3; i++)
			b.drop[i] = made[first + i];
		hapax_testing_set_stop(drop_some, &b);
		CHECK_EQ(hapax_weak_list(b.x, list, ROOM, &count), HAPAX_OK);
		hapax_testing_set_stop(NULL, NULL);
		CHECK_EQ(b.frees, 3);
		CHECK(count >= ROOM && count <= N);
		/* newest first; those that came meanwhile may be there, and all others that were chosen must be */
		for (size_t i = 0; i < ROOM; i++)
			for (int j = 0; j < 3; j++)
				next += list[i] == b.make[j];
		for (int i = N - 1; next < ROOM; i--)
			if (i < first || i >= first + 3)
				CHECK_PTR(list[next++], made[i]);
		drop_all(list, ROOM);
		for (int i = 0; i < N; i++)
			CHECK_EQ(hapax_weak_drop(i < first || i >= first + 3 ? made[i] : b.make[i - first]), HAPAX_OK);
		CHECK_EQ(b.frees, N + 3);
		hapax_release(b.x);
		test_env_end(env);
	}
}

/* With room for all: the number that was stored is the number that is told, though there were more a moment ago. */
static void only_drop(const char *name, void *ctx)
{
	struct between *b = ctx;

	if (strcmp(name, "list.chosen") || b->at++)
		return;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(hapax_weak_drop(b->drop[i]), HAPAX_OK);
}

TEST(PY_CNT_04_what_was_dropped_meanwhile_is_not_counted)
{
	enum { N = 10 };

	for (size_t room = N - 2; room <= N + 1; room++) {
		for (int plain = 0; plain < 2; plain++) {
			hapax_env *env = test_env();
			struct between b = {.x = item_new(env, 1)};
			hapax_weak *made[N], *list[N + 1], *shared = plain ? weak_of(b.x) : NULL;
			size_t count;

			for (int i = 0; i < N; i++)
				made[i] = called_on(b.x, &b.frees);
			b.drop[0] = made[0];
			b.drop[1] = made[5];
			b.drop[2] = made[N - 1];
			hapax_testing_set_stop(only_drop, &b);
			CHECK_EQ(hapax_weak_list(b.x, list, room, &count), HAPAX_OK);
			hapax_testing_set_stop(NULL, NULL);
			CHECK_EQ(count, (size_t)N - 3 + (size_t)plain);
			if (plain)
				CHECK_PTR(list[N - 3], shared);
			drop_all(list, count);
			for (int i = 0; i < N; i++)
				if (i && i != 5 && i != N - 1)
					CHECK_EQ(hapax_weak_drop(made[i]), HAPAX_OK);
			CHECK_EQ(hapax_weak_drop(shared), HAPAX_OK);
			CHECK_EQ(b.frees, N);
			hapax_release(b.x);
			test_env_end(env);
		}
	}
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/*
 * Two threads register and drop on one object, two list it; a registration that stays is in every list that has room,
 * and those that stay are in order. Each ctx is freed once, and not before all handles have gone.
 */
enum { STAY = 4, REGISTRATIONS = 64 };
struct storm {
	hapax_env *env;
	struct item *x;
	hapax_weak *stay[STAY];
	struct test_barrier round;
	int rounds, frees, made;
};

static void check_staying(struct storm *s, hapax_weak **list, size_t stored, bool all)
{
	size_t at = 0;
	int found = STAY;

	for (; at < stored; at++) {
		CHECK(hapax_weak_alive(list[at]));
		for (size_t j = 0; j < at; j++)
			CHECK(list[j] != list[at]); /* each registration once */
		if (found && list[at] == s->stay[found - 1])
			found--;
		else
			for (int i = 0; i < STAY; i++)
				CHECK(list[at] != s->stay[i]);
	}
	CHECK(!all || !found);
}

static void register_and_list(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t random = test_stream(index + 1);
	hapax_weak *mine[8] = {NULL}, *list[REGISTRATIONS];
	size_t count, capacity;

	for (int i = 0; i < s->rounds; i++) {
		if (index == 0) {
			s->x = item_new(s->env, i);
			for (int j = 0; j < STAY; j++) {
				hapax_weak *used[5];

				for (int k = 0; k < 5; k++)
					used[k] = called_on(s->x, &s->frees);
				s->stay[j] = called_on(s->x, &s->frees);
				drop_all(used, 5);
				__atomic_fetch_add(&s->made, 6, __ATOMIC_RELAXED);
			}
		}
		test_barrier_wait(&s->round);
		CHECK_EQ(hapax_retain(s->x), HAPAX_OK);
		test_barrier_wait(&s->round);
		if (index == 0)
			hapax_release(s->x);
		for (int j = 0; j < 30; j++) {
			if (index < 2) {
				int at = (int)test_below(&random, 8);

				if (mine[at]) {
					CHECK_EQ(hapax_weak_drop(mine[at]), HAPAX_OK);
					mine[at] = NULL;
				} else {
					bool called = test_below(&random, 4) != 0;

					mine[at] = called ? called_on(s->x, &s->frees) : weak_of(s->x);
					__atomic_fetch_add(&s->made, called, __ATOMIC_RELAXED);
				}
			} else {
				capacity = test_below(&random, 2) ? REGISTRATIONS : test_below(&random, 8);
				CHECK_EQ(hapax_weak_list(s->x, list, capacity, &count), HAPAX_OK);
				CHECK(count <= REGISTRATIONS);
				check_staying(s, list, count < capacity ? count : capacity, count <= capacity);
				drop_all(list, count < capacity ? count : capacity);
			}
		}
		hapax_release(s->x); /* deaths among the others' drops */
		for (int j = 0; j < 8; j++) {
			CHECK_EQ(hapax_weak_drop(mine[j]), HAPAX_OK);
			mine[j] = NULL;
		}
		test_barrier_wait(&s->round);
		if (index == 0)
			drop_all(s->stay, STAY);
	}
}

static int weak_frees;
static void freed(void *ctx)
{
	int *once = ctx;

	CHECK_EQ(__atomic_fetch_add(once, 1, __ATOMIC_RELAXED), 0); /* exactly once */
	__atomic_fetch_add(&weak_frees, 1, __ATOMIC_RELAXED);
}

TEST(PY_CNT_04_listing_among_registrations_drops_and_deaths)
{
	hapax_env *env = test_env();
	struct storm s = {.env = env, .rounds = (int)scaled(600)};

	test_barrier_init(&s.round, 4);
	run_threads(4, register_and_list, &s);
	CHECK_EQ(s.frees, s.made);
	test_env_end(env);
}

/* A registration's last two handles go on two threads, one of which got its own by listing: one cancellation, one free. */
struct last {
	hapax_env *env;
	struct item *x;
	hapax_weak *weak;
	int once;
	struct test_barrier round;
	int rounds;
};

static void last_two(unsigned index, void *arg)
{
	struct last *l = arg;
	hapax_callback callback = {no_call, &l->once, freed};
	hapax_weak *list[4], *again = NULL;
	size_t count;

	for (int i = 0; i < l->rounds; i++) {
		if (index == 0) {
			l->x = item_new(l->env, i);
			l->once = 0;
			CHECK_EQ(hapax_weak_new(l->x, &callback, &l->weak), HAPAX_OK);
		}
		test_barrier_wait(&l->round);
		if (index == 0) {
			CHECK_EQ(hapax_weak_drop(l->weak), HAPAX_OK);
			again = called_on(l->x, NULL); /* perhaps on the same node */
		} else {
			CHECK_EQ(hapax_weak_list(l->x, list, 4, &count), HAPAX_OK);
			CHECK(count <= 2);
			drop_all(list, count);
		}
		test_barrier_wait(&l->round);
		if (index == 0) {
			CHECK_EQ(l->once, 1);
			CHECK_EQ(hapax_weak_count(l->x), 1);
			CHECK_EQ(hapax_weak_drop(again), HAPAX_OK);
			hapax_release(l->x);
		}
	}
}

TEST(PY_CNT_04_the_last_handle_cancels_whoever_has_it)
{
	hapax_env *env = test_env();
	struct last l = {.env = env, .rounds = (int)scaled(3000)};

	weak_frees = 0;
	test_barrier_init(&l.round, 3);
	run_threads(3, last_two, &l);
	CHECK_EQ(weak_frees, l.rounds);
	test_env_end(env);
}
