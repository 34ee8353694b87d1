/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Death from inside: the count, misuse, queues, who owns a death, registrations of tables.
 */
#include <errno.h>

#include "unit/item.h"

#include "object/object.h"

static char misuse_text[200];
static int misuses;
static void on_misuse(const char *message, void *ctx)
{
	(void)ctx;
	misuses++;
	snprintf(misuse_text, sizeof(misuse_text), "%s", message);
}

/* ---- counts ------------------------------------------------------------------------------------------------------ */

TEST(CX_RC_01_a_release_too_many_is_named_and_destroys_nothing_twice)
{
	hapax_env *env = test_env();
	struct item *x;
	char address[32];

	hapax_testing_set_misuse(on_misuse, NULL);
	hpx_read_lock(); /* the memory stays while we do wrong */
	x = item_new(env, 1);
	snprintf(address, sizeof(address), "%p", (void *)x);
	hapax_release(x);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(misuses, 0);
	for (int i = 0; i < 3; i++)
		hapax_release(x);
	CHECK_EQ(misuses, 3);
	CHECK(strstr(misuse_text, address));
	CHECK_EQ(items_destroyed_now(), 1);
	hpx_read_unlock();
	test_env_end(env);
}

static void release_self(struct item *item, void *arg)
{
	(void)arg;
	hapax_release(item);
	CHECK_EQ(hapax_retain(item), HAPAX_EDEAD);
	CHECK_EQ(hapax_count(item), 0);
}

TEST(CX_RC_01_misuse_in_the_destructor_names_the_type)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);

	hapax_testing_set_misuse(on_misuse, NULL);
	x->on_destroy = release_self;
	hapax_release(x);
	CHECK_EQ(misuses, 2);
	CHECK(strstr(misuse_text, "item"));
	CHECK_EQ(items_destroyed_now(), 1);
	test_env_end(env);
}

TEST(CX_RC_02_the_strong_count_is_wide_and_stops_at_its_limit)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *weak = weak_of(x);

	hapax_testing_set_strong(x, (UINT64_C(1) << 32) - 1);
	CHECK_EQ(hapax_retain(x), 0);
	CHECK_EQ(hapax_retain(x), 0);
	CHECK_EQ(hapax_count(x), (UINT64_C(1) << 32) + 1);
	hapax_testing_set_strong(x, (UINT64_C(1) << 36) - 1);
	CHECK_EQ(hapax_retain(x), 0);
	CHECK_EQ(hapax_retain(x), HAPAX_EOVERFLOW);
	CHECK_PTR(hapax_weak_get(weak), NULL);
	CHECK_EQ(hapax_count(x), UINT64_C(1) << 36);
	hapax_testing_set_strong(x, 1);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	hapax_release(x);
	CHECK_EQ(items_destroyed_now(), 1);
	test_env_end(env);
}

TEST(CX_RC_06_the_handle_count_stops_at_its_limit)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *weak = weak_of(x), *more;

	hapax_testing_set_weak(x, (UINT64_C(1) << 31) - 1);
	CHECK_EQ(hapax_weak_dup(weak, &more), 0);
	CHECK_EQ(hapax_weak_drop(more), 0);
	CHECK_EQ(hapax_weak_new(x, NULL, &more), 0);
	CHECK_EQ(hapax_weak_new(x, NULL, &more), HAPAX_EOVERFLOW);
	CHECK_PTR(more, NULL);
	CHECK_EQ(hapax_weak_dup(weak, &more), HAPAX_EOVERFLOW);
	CHECK_PTR(more, NULL);
	hapax_testing_set_weak(x, 1);
	CHECK_EQ(hapax_weak_count(x), 1);
	hapax_release(x);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	test_env_end(env);
}

struct race {
	hapax_env *env;
	struct item *item;
	hapax_weak *weak;
	struct test_barrier start, end;
	unsigned rounds;
	unsigned upgrades;
};

static void race_round(unsigned index, void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; i < r->rounds; i++) {
		if (index == 0) {
			r->item = item_new(r->env, (int)i);
			r->weak = weak_of(r->item);
		}
		test_barrier_wait(&r->start);
		if (index == 0) {
			hapax_release(r->item);
		} else {
			struct item *x = hapax_weak_get(r->weak);

			if (x) {
				CHECK(item_is_alive(x));
				__atomic_fetch_add(&r->upgrades, 1, __ATOMIC_RELAXED);
				hapax_release(x);
			}
		}
		test_barrier_wait(&r->end);
		if (index == 0) {
			CHECK_PTR(hapax_weak_get(r->weak), NULL);
			CHECK_EQ(items_destroyed_now(), (int)i + 1);
			CHECK_EQ(hapax_weak_drop(r->weak), 0);
		}
	}
}

TEST(PY_REF_03_upgrades_against_the_last_release)
{
	struct race r = {.env = test_env(), .rounds = (unsigned)scaled(10000)};

	test_barrier_init(&r.start, 3);
	test_barrier_init(&r.end, 3);
	run_threads(3, race_round, &r);
	test_env_end(r.env);
}

/* Without barriers: a million upgrades and releases of an object that is replaced when it dies. */
struct hammer {
	hapax_env *env;
	HPX_ATOMIC(hapax_weak *) weak;
	uint64_t rounds;
	hapax_weak **handles;
	int stop;
	int made;
};

static void hammer_round(unsigned index, void *arg)
{
	struct hammer *h = arg;

	if (index == 0) {
		for (uint64_t i = 0; i < h->rounds / 100; i++) {
			struct item *x = item_new(h->env, 0);
			hapax_weak *weak = weak_of(x);

			hpx_store_release(&h->weak, weak);
			h->handles[h->made++] = weak; /* readers use it until the end */
			for (int k = 0; k < 10; k++) {
				struct item *y = hapax_weak_get(weak);

				CHECK_PTR(y, x);
				hapax_release(y);
			}
			hapax_release(x);
			if (i % 64 == 0)
				hapax_reclaim(h->env);
		}
		__atomic_store_n(&h->stop, 1, __ATOMIC_RELAXED);
		return;
	}
	for (uint64_t i = 0; i < h->rounds && !__atomic_load_n(&h->stop, __ATOMIC_RELAXED); i++) {
		struct item *x = hapax_weak_get(hpx_load_acquire(&h->weak));

		if (x) {
			CHECK(item_is_alive(x));
			hapax_release(x);
		}
	}
}

TEST(PY_REF_03_a_million_upgrades_of_dying_objects)
{
	struct hammer h = {.env = test_env(), .rounds = scaled(1000000)};

	h.handles = calloc(h.rounds / 100, sizeof(*h.handles));
	CHECK(h.handles);
	run_threads(3, hammer_round, &h);
	CHECK_EQ(items_destroyed_now(), h.made);
	for (int i = 0; i < h.made; i++)
		CHECK_EQ(hapax_weak_drop(h.handles[i]), 0);
	free(h.handles);
	test_env_end(h.env);
}

/* Threads that have been here before (their first call takes locks, which would order what follows anyway) write
 * plainly and release; the destructor reads plainly. ThreadSanitizer sees whether the releases order the two. */
struct marks {
	hapax_env *env;
	struct item *item;
	struct test_barrier start, end;
	unsigned rounds;
	int mark[3], sum;
};

static void sum_marks(struct item *item, void *arg)
{
	struct marks *m = arg;

	(void)item;
	m->sum = m->mark[0] + m->mark[1] + m->mark[2];
}

static void mark_and_release(unsigned index, void *arg)
{
	struct marks *m = arg;

	hapax_release(item_new(m->env, 0));
	for (unsigned i = 1; i <= m->rounds; i++) {
		if (index == 0) {
			m->item = item_new(m->env, (int)i);
			m->item->on_destroy = sum_marks;
			m->item->arg = m;
			for (int k = 0; k < 2; k++)
				CHECK_EQ(hapax_retain(m->item), 0);
		}
		test_barrier_wait(&m->start);
		m->mark[index] = (int)i;
		hapax_release(m->item);
		test_barrier_wait(&m->end);
		CHECK_EQ(m->sum, (int)(3 * i));
	}
}

TEST(PY_DTH_02_the_last_release_sees_what_every_holder_did)
{
	struct marks m = {.env = test_env(), .rounds = (unsigned)scaled(5000)};

	test_barrier_init(&m.start, 3);
	test_barrier_init(&m.end, 3);
	run_threads(3, mark_and_release, &m);
	test_env_end(m.env);
}

/* ---- queues and ownership ---------------------------------------------------------------------------------------- */

static struct hpx_object *child_object;
static void owned_in_destructor(struct item *item, void *arg)
{
	struct hpx_object *o = hpx_object_of(item);

	(void)arg;
	CHECK(hpx_self.frames);
	CHECK(hpx_death_owned_by(&hpx_self, o));
	if (item->child) {
		child_object = hpx_object_of(item->child);
		CHECK(!hpx_death_owned_by(&hpx_self, child_object));
		hapax_release(item->child);
		item->child = NULL;
		CHECK(hpx_dead(child_object));
		CHECK(hpx_death_owned_by(&hpx_self, child_object)); /* queued behind us */
		CHECK_EQ(items_destroyed_now(), 1);
	}
}

TEST(EX_a_thread_owns_the_deaths_it_runs_or_has_queued)
{
	hapax_env *env = test_env();
	struct item *a = item_new(env, 1), *b = item_new(env, 2);
	hapax_weak *weak;

	for (int sided = 0; sided < 2; sided++) {
		a = sided ? item_new(env, 1) : a;
		b = sided ? item_new(env, 2) : b;
		weak = sided ? weak_of(b) : NULL;
		items_reset();
		a->on_destroy = b->on_destroy = owned_in_destructor;
		a->child = b;
		hapax_release(a);
		CHECK_EQ(items_destroyed_now(), 2);
		CHECK(!hpx_self.frames);
		CHECK(!hpx_self.dying);
		CHECK_EQ(hapax_weak_drop(weak), 0);
	}
	test_env_end(env);
}

TEST(D2_a_death_inside_a_read_section_of_the_application_runs_there)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *y = item_of(env, &deferred_type, 2);

	hpx_read_lock();
	hapax_release(x);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_release(y);
	CHECK_EQ(items_destroyed_now(), 1);
	hpx_read_unlock();
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(hapax_run_deferred(env), 1);
	CHECK_EQ(items_destroyed_now(), 2);
	CHECK_EQ(hapax_run_deferred(env), 0);
	test_env_end(env);
}

static void run_deferred_inside(struct item *item, void *arg)
{
	trace("d%d", item->id);
	if (item->child) {
		hapax_release(item->child);
		item->child = NULL;
	}
	hapax_run_deferred(arg);
}

TEST(D2_a_deferred_chain_runs_in_one_call_oldest_first)
{
	hapax_env *env = test_env();
	struct item *head = NULL, *other;
	hapax_weak *weak;

	trace_reset();
	for (int i = 3; i >= 1; i--) {
		struct item *x = item_of(env, &deferred_type, i);

		x->child = head;
		x->on_destroy = run_deferred_inside;
		x->arg = env;
		head = x;
	}
	other = item_of(env, &deferred_type, 9);
	other->on_destroy = trace_destroy;
	weak = weak_of(other);
	hapax_release(head);
	hapax_release(other);
	CHECK_STR(trace_text, "");
	CHECK(!hapax_weak_alive(weak));
	CHECK(hapax_run_deferred(env) >= 2);
	CHECK_STR(trace_text, "d1 d9 d2 d3 ");
	CHECK_EQ(hapax_weak_drop(weak), 0);
	test_env_end(env);
}

static void *release_chain(void *arg)
{
	hapax_release(arg);
	return NULL;
}

TEST(PY_DTH_04_a_million_long_chain_on_the_smallest_stack)
{
	hapax_env *env = test_env();
	struct item *head = NULL;
	pthread_attr_t attr;
	size_t size, least;
	pthread_t thread;
	int n = (int)scaled(1000000);

	for (int i = 0; i < n; i++) {
		struct item *x = item_new(env, i);

		x->child = head;
		head = x;
	}
	pthread_attr_init(&attr);
	size = test_slow_build() ? 512 * 1024 : 64 * 1024;
	least = (size_t)sysconf(_SC_THREAD_STACK_MIN); /* 128 KiB on aarch64 */
	CHECK_EQ(pthread_attr_setstacksize(&attr, size < least ? least : size), 0);
	CHECK_EQ(pthread_create(&thread, &attr, release_chain, head), 0);
	pthread_join(thread, NULL);
	CHECK_EQ(items_destroyed_now(), n);
	test_env_end(env);
}

/* ---- registrations of tables ------------------------------------------------------------------------------------- */

struct told {
	struct hpx_reg *reg;
	int id;
	int times;
	bool cancel_inside;
};

static void on_died(void *record)
{
	struct told *t = record;

	CHECK(hpx_in_section());
	t->times++;
	trace("t%d", t->id);
	if (t->cancel_inside)
		CHECK(!hpx_reg_cancel(t->reg));
}

TEST(L2_tables_are_told_before_the_first_callback)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 7);
	struct told t[3] = {{.id = 0, .cancel_inside = true}, {.id = 1}, {.id = 2, .cancel_inside = true}};
	struct probe p[2];

	trace_reset();
	CHECK_EQ(hpx_reg_add(hpx_object_of(x), &t[0], on_died, &t[0].reg), 0);
	probe_on(&p[0], 1, x, true);
	CHECK_EQ(hpx_reg_add(hpx_object_of(x), &t[1], on_died, &t[1].reg), 0);
	probe_on(&p[1], 2, x, true);
	CHECK_EQ(hpx_reg_add(hpx_object_of(x), &t[2], on_died, &t[2].reg), 0);
	CHECK_EQ(hapax_weak_count(x), 5);
	CHECK(hpx_reg_cancel(t[1].reg));
	CHECK_EQ(hapax_weak_count(x), 4);
	hapax_release(x);
	CHECK_STR(trace_text, "t2 t0 c2 f2 c1 f1 d7 ");
	CHECK_EQ(t[1].times, 0);
	CHECK_EQ(probe_drop(&p[0]), 0);
	CHECK_EQ(probe_drop(&p[1]), 0);
	test_env_end(env);
}

TEST(a_late_cancel_after_death_still_finds_its_node)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct told t = {.id = 0};

	CHECK_EQ(hpx_reg_add(hpx_object_of(x), &t, on_died, &t.reg), 0);
	hapax_release(x);
	CHECK_EQ(t.times, 1);
	hapax_testing_drain(env);
	CHECK(!hpx_reg_cancel(t.reg));
	test_env_end(env);
}

TEST(CX_MEM_cancelled_nodes_are_used_again)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p, keep;
	struct told t = {.id = 0};
	size_t bytes;

	probe_on(&keep, 0, x, true);
	probe_on(&p, 1, x, true);
	CHECK_EQ(probe_drop(&p), 0);
	bytes = test_allocator_live(test_env_allocator(env));
	for (int i = 0; i < 100000; i++) {
		trace_reset();
		probe_on(&p, 1, x, true);
		CHECK_EQ(probe_drop(&p), 0);
		CHECK_EQ(p.frees, 1);
		CHECK_EQ(hpx_reg_add(hpx_object_of(x), &t, on_died, &t.reg), 0);
		CHECK(hpx_reg_cancel(t.reg));
		if (i % 1000 == 0)
			CHECK_EQ(hapax_weak_count(x), 1);
	}
	CHECK_EQ(test_allocator_live(test_env_allocator(env)), bytes);
	hapax_release(x);
	CHECK_EQ(keep.calls, 1);
	CHECK_EQ(t.times, 0);
	CHECK_EQ(probe_drop(&keep), 0);
	test_env_end(env);
}

struct churn {
	hapax_env *env;
	struct item *item;
	unsigned rounds;
	int called[4], freed[4];
};

static void churn_call(hapax_weak *weak, void *ctx)
{
	CHECK_PTR(hapax_weak_get(weak), NULL);
	__atomic_fetch_add((int *)ctx, 1, __ATOMIC_RELAXED);
}
static void churn_free(void *ctx) { __atomic_fetch_add((int *)ctx + 4, 1, __ATOMIC_RELAXED); }
static void churn_died(void *record) { __atomic_fetch_add((int *)record, 1, __ATOMIC_RELAXED); }

/* Each thread holds the object, registers and cancels, leaves some armed, and releases: the last one fires the rest. */
static void churn_round(unsigned index, void *arg)
{
	struct churn *c = arg;
	hapax_callback callback = {churn_call, &c->called[index], churn_free};
	hapax_weak *weak, *left[8];
	struct hpx_reg *reg;
	int died = 0;

	for (unsigned i = 0; i < c->rounds; i++) {
		CHECK_EQ(hapax_weak_new(c->item, &callback, &weak), 0);
		CHECK_EQ(hpx_reg_add(hpx_object_of(c->item), &died, churn_died, &reg), 0);
		CHECK(hpx_reg_cancel(reg));
		CHECK_EQ(hapax_weak_drop(weak), 0);
	}
	for (int i = 0; i < 8; i++)
		CHECK_EQ(hapax_weak_new(c->item, &callback, &left[i]), 0);
	hapax_release(c->item);
	for (int i = 0; i < 8; i++) /* some before, some during, some after the death */
		CHECK_EQ(hapax_weak_drop(left[i]), 0);
	CHECK_EQ(died, 0);
}

TEST(D3_registrations_and_drops_against_death)
{
	struct churn c = {.env = test_env(), .rounds = 50};
	unsigned deaths = (unsigned)scaled(2000);

	for (unsigned i = 0; i < deaths; i++) {
		c.item = item_new(c.env, 1);
		for (int k = 0; k < 2; k++)
			CHECK_EQ(hapax_retain(c.item), 0);
		run_threads(3, churn_round, &c);
		CHECK_EQ(items_destroyed_now(), (int)i + 1);
		for (int k = 0; k < 3; k++) {
			CHECK_EQ(c.freed[k], (int)((i + 1) * (c.rounds + 8)));
			CHECK(c.called[k] <= (int)((i + 1) * 8));
		}
	}
	test_env_end(c.env);
}
