/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Values under the identity of objects: who gets a value, exactly once, by puts, removals, deaths and the end on any threads. */
#include "unit/item.h"

#include "table/ident.h"

/* A value: who got it, how often. */
struct value {
	int taken, died, left, put;
};

struct fixture {
	hapax_env *env;
	struct hpx_ident *t;
	int holds, drops;
	struct item *dying;  /* the note of its death finds it absent */
	int noted;
};

static void died(void *value, void *ctx)
{
	struct fixture *f = ctx;

	__atomic_fetch_add(&((struct value *)value)->died, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&f->noted, 1, __ATOMIC_RELAXED);
	CHECK(!hpx_in_section());
	if (f->dying)
		trace("note");
}

static void hold(void *ctx) { __atomic_fetch_add(&((struct fixture *)ctx)->holds, 1, __ATOMIC_RELAXED); }
static void drop(void *ctx) { __atomic_fetch_add(&((struct fixture *)ctx)->drops, 1, __ATOMIC_RELAXED); }
static void left(void *value, void *ctx)
{
	(void)ctx;
	CHECK(!hpx_in_section());
	((struct value *)value)->left++;
}

static const struct hpx_ident_ops ops = {.died = died, .hold = hold, .drop = drop};

static void setup(struct fixture *f)
{
	*f = (struct fixture){.env = test_env()};
	trace_reset();
	CHECK_EQ(hpx_ident_new(&f->t, f->env, 0, &ops, f), 0);
}

static void check(struct fixture *f, size_t size)
{
	char message[200] = "";

	if (hpx_ident_check(f->t, message, sizeof(message)))
		TEST_FAIL("%s", message);
	CHECK_EQ(hpx_ident_size(f->t), size);
}

static void teardown(struct fixture *f, size_t size)
{
	check(f, size);
	hpx_ident_end(f->t, left, f);
	CHECK_EQ(f->holds, f->drops);
	test_env_end(f->env);
}

static void *find(struct fixture *f, void *object)
{
	void *value;

	hpx_read_lock();
	value = hpx_ident_find(f->t, hpx_object_of(object));
	hpx_read_unlock();
	return value;
}

/* What was there before, with `replace`; else what is there. */
static void *put(struct fixture *f, void *object, void *value, bool replace)
{
	void *old = (void *)1;

	CHECK_EQ(hpx_ident_put(f->t, hpx_object_of(object), value, replace, &old), 0);
	CHECK_EQ(hpx_in_section(), old && !replace);
	if (old && !replace)
		hpx_read_unlock();
	return old;
}

TEST(a_value_is_found_put_over_and_taken)
{
	struct fixture f;
	struct value a = {0}, b = {0};
	struct item *o;

	setup(&f);
	o = item_new(f.env, 1);
	CHECK(!find(&f, o));
	CHECK_PTR(put(&f, o, &a, false), NULL);
	CHECK_PTR(find(&f, o), &a);
	CHECK_PTR(put(&f, o, &b, false), &a);
	CHECK_PTR(find(&f, o), &a);
	check(&f, 1);
	CHECK_PTR(put(&f, o, &b, true), &a);
	CHECK_PTR(find(&f, o), &b);
	check(&f, 1);
	CHECK_PTR(hpx_ident_take(f.t, hpx_object_of(o)), &b);
	CHECK_PTR(hpx_ident_take(f.t, hpx_object_of(o)), NULL);
	CHECK(!find(&f, o));
	check(&f, 0);
	CHECK_PTR(put(&f, o, &a, true), NULL);
	CHECK_EQ(hapax_count(o), 1);
	hapax_release(o);
	CHECK_EQ(a.died, 1);
	CHECK_EQ(a.left + b.left + b.died, 0);
	teardown(&f, 0);
}

static void finds_itself_absent(struct probe *p)
{
	struct fixture *f = p->arg;
	void *old;

	CHECK(!find(f, f->dying));
	CHECK_PTR(hpx_ident_take(f->t, hpx_object_of(f->dying)), NULL);
	CHECK_EQ(hpx_ident_put(f->t, hpx_object_of(f->dying), f, true, &old), HAPAX_EDEAD);
	CHECK_EQ(hpx_ident_size(f->t), 0);
}

TEST(death_is_told_in_a_note_before_the_callbacks)
{
	struct fixture f;
	struct value a = {0};
	struct probe p;

	setup(&f);
	f.dying = item_traced(f.env, 1);
	probe_on(&p, 1, f.dying, false);
	p.then = finds_itself_absent;
	p.arg = &f;
	put(&f, f.dying, &a, true);
	hapax_release(f.dying);
	CHECK_STR(trace_text, "note c1 d1 ");
	CHECK_EQ(a.died, 1);
	CHECK_EQ(f.holds, 1);
	CHECK_EQ(probe_drop(&p), 0);
	teardown(&f, 0);
}

TEST(what_is_not_acceptable_is_not_put)
{
	struct fixture f;
	struct value a = {0};
	struct item *strong, *foreign;
	hapax_env *other = test_env();
	void *old;
	uint64_t calls;

	setup(&f);
	strong = item_of(f.env, &strong_type, 1);
	foreign = item_new(other, 2);
	calls = test_env_allocator(f.env)->calls;
	CHECK_EQ(hpx_ident_put(f.t, hpx_object_of(strong), &a, true, &old), HAPAX_ENOTWEAK);
	CHECK_EQ(hpx_ident_put(f.t, hpx_object_of(foreign), &a, true, &old), HAPAX_EFOREIGN);
	CHECK_EQ(test_env_allocator(f.env)->calls, calls);
	hapax_release(strong);
	hapax_release(foreign);
	teardown(&f, 0);
	test_env_end(other);
}

TEST(the_end_gives_what_is_left)
{
	enum { N = 100 };
	struct fixture f;
	struct value v[N] = {{0}};
	struct item *o[N];

	setup(&f);
	for (int i = 0; i < N; i++) {
		o[i] = item_new(f.env, i);
		put(&f, o[i], &v[i], i & 1);
	}
	check(&f, N);
	for (int i = 0; i < N / 2; i++)
		hapax_release(o[i]);
	check(&f, N / 2);
	hpx_ident_end(f.t, left, &f);
	for (int i = 0; i < N; i++) {
		CHECK_EQ(v[i].died, i < N / 2);
		CHECK_EQ(v[i].left, i >= N / 2);
	}
	for (int i = N / 2; i < N; i++)
		hapax_release(o[i]);
	CHECK_EQ(f.noted, N / 2);
	test_env_end(f.env);
}

/* ---- a remover that is stopped stops nobody ---------------------------------------------------------------------- */

struct stopped {
	struct fixture *f;
	struct item *item;
	struct test_event reached, go;
	void *taken;
};
static __thread bool stop_here;

static void stop(const char *name, void *ctx)
{
	struct stopped *s = ctx;

	if (!stop_here || strcmp(name, "ident.taken"))
		return;
	stop_here = false;
	test_event_set(&s->reached);
	test_event_wait(&s->go);
}

static void *take_and_stop(void *arg)
{
	struct stopped *s = arg;

	stop_here = true;
	s->taken = hpx_ident_take(s->f->t, hpx_object_of(s->item));
	return NULL;
}

TEST(a_stopped_remover_stops_nobody)
{
	struct fixture f;
	struct value a = {0}, b = {0}, c = {0};
	struct stopped s = {.f = &f};
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *object;
	pthread_t thread;

	setup(&f);
	s.item = item_new(f.env, 1);
	test_event_init(&s.reached);
	test_event_init(&s.go);
	put(&f, s.item, &a, true);
	hapax_testing_set_stop(stop, &s);
	thread = test_thread(take_and_stop, &s);
	test_event_wait(&s.reached);
	CHECK(!find(&f, s.item));
	CHECK_EQ(hpx_ident_size(f.t), 0);
	CHECK_PTR(hpx_ident_take(f.t, hpx_object_of(s.item)), NULL);
	hpx_read_lock();
	CHECK(!hpx_ident_next(f.t, &cursor, &object));
	hpx_read_unlock();
	CHECK_PTR(put(&f, s.item, &b, false), NULL);
	CHECK_PTR(put(&f, s.item, &c, true), &b);
	CHECK_PTR(find(&f, s.item), &c);
	test_event_set(&s.go);
	test_join(thread);
	hapax_testing_set_stop(NULL, NULL);
	CHECK_PTR(s.taken, &a);
	CHECK_PTR(find(&f, s.item), &c); /* what came after the remover is not removed by it */
	check(&f, 1);
	hapax_release(s.item);
	CHECK_EQ(c.died, 1);
	CHECK_EQ(a.died + b.died, 0);
	teardown(&f, 0);
}

/* ---- many threads: every value is got exactly once ---------------------------------------------------------------- */

enum { RACERS = 4, RACED = 64, VALUES = 256 };

struct race {
	struct fixture f;
	pthread_mutex_t lock[RACED];
	struct item *item[RACED]; /* each replaced by a fresh one when it is given up */
	struct value value[RACERS][VALUES];
	uint64_t rounds;
};

/* One reference of what is at a place now. */
static struct item *grab(struct race *r, unsigned i)
{
	struct item *item;

	pthread_mutex_lock(&r->lock[i]);
	item = r->item[i];
	if (item)
		CHECK_EQ(hapax_retain(item), 0);
	pthread_mutex_unlock(&r->lock[i]);
	return item;
}

/* Its owner gives it up: it dies here or where it is held. */
static void give_up(struct race *r, unsigned i, bool fresh)
{
	struct item *item, *next = fresh ? item_new(r->f.env, (int)i) : NULL;

	pthread_mutex_lock(&r->lock[i]);
	item = r->item[i];
	r->item[i] = next;
	pthread_mutex_unlock(&r->lock[i]);
	hapax_release(item);
}

static void got(void *value)
{
	if (value)
		__atomic_fetch_add(&((struct value *)value)->taken, 1, __ATOMIC_RELAXED);
}

static void race(unsigned index, void *arg)
{
	struct race *r = arg;
	uint64_t random = test_stream(index);
	unsigned next = 0;
	struct item *item;

	for (uint64_t n = 0; n < r->rounds; n++) {
		unsigned i = (unsigned)test_below(&random, RACED), what = (unsigned)test_below(&random, 8);
		void *old = NULL;

		if (what == 0) {
			give_up(r, i, true);
			continue;
		}
		item = grab(r, i);
		if (!item)
			continue;
		if (what < 4) {
			struct value *v = &r->value[index][next++ % VALUES];

			CHECK_EQ(hpx_ident_put(r->f.t, hpx_object_of(item), v, what < 3, &old), 0);
			if (what == 3 && old) {
				hpx_read_unlock();
			} else {
				__atomic_fetch_add(&v->put, 1, __ATOMIC_RELAXED);
				got(old);
			}
		} else if (what < 6) {
			got(hpx_ident_take(r->f.t, hpx_object_of(item)));
		} else {
			find(&r->f, item);
			CHECK(hpx_ident_size(r->f.t) < SIZE_MAX / 2); /* an estimate now, but not below 0 */
		}
		hapax_release(item);
	}
}

static void accounts(struct race *r)
{
	for (unsigned i = 0; i < RACERS; i++)
		for (unsigned j = 0; j < VALUES; j++) {
			struct value *v = &r->value[i][j];

			CHECK_EQ(v->put, v->taken + v->died + v->left);
		}
}

static struct race *race_new(uint64_t rounds)
{
	struct race *r = calloc(1, sizeof(*r));

	CHECK(r);
	setup(&r->f);
	r->rounds = scaled(rounds);
	for (unsigned i = 0; i < RACED; i++) {
		pthread_mutex_init(&r->lock[i], NULL);
		r->item[i] = item_new(r->f.env, (int)i);
	}
	return r;
}

TEST(every_value_is_got_exactly_once)
{
	struct race *r = race_new(60000);
	size_t size = 0;

	run_threads(RACERS, race, r);
	for (unsigned i = 0; i < RACED; i++)
		size += find(&r->f, r->item[i]) != NULL;
	check(&r->f, size);
	for (unsigned i = 0; i < RACED / 2; i++)
		give_up(r, i, false);
	hpx_ident_end(r->f.t, left, r);
	accounts(r);
	for (unsigned i = RACED / 2; i < RACED; i++)
		give_up(r, i, false);
	CHECK_EQ(r->f.holds, r->f.drops);
	test_env_end(r->f.env);
	free(r);
}

static void *end_it(void *arg)
{
	struct race *r = arg;

	hpx_ident_end(r->f.t, left, r);
	return NULL;
}

static void *die_all(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; i < RACED; i++)
		give_up(r, i, false);
	return NULL;
}

TEST(the_end_and_deaths_on_other_threads)
{
	for (uint64_t n = 0, rounds = scaled(200); n < rounds; n++) {
		struct race *r = race_new(0);
		pthread_t a, b;

		for (unsigned i = 0; i < RACED; i++) {
			put(&r->f, r->item[i], &r->value[0][i], true);
			r->value[0][i].put++;
		}
		a = test_thread(die_all, r);
		b = test_thread(end_it, r);
		test_join(a);
		test_join(b);
		accounts(r);
		CHECK_EQ(r->f.holds, r->f.drops);
		test_env_end(r->f.env);
		free(r);
	}
}
