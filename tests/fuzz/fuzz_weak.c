/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz_weak.c - sequences of calls on everything that holds things weakly: handles as values, finalizers and bound
 * callbacks (told.h), weak maps and sets (maps.h), an interner, a table keyed by handles.
 */
#include "fuzz/maps.h"
#include "fuzz/told.h"

enum { CONTENTS = 4, KEYED = 6, COMPARED = 32 };

struct keyed {
	hapax_weak *weak; /* NULL: free; an owned handle, and what it is a handle of */
	struct thing *of;
	uint32_t of_born;
	struct registration *registration;
	struct thing *value; /* NULL: dead */
	uint32_t value_born;
};

struct compared {
	uint32_t a, b; /* born */
	int how;
};

static struct thing *canonical[CONTENTS];
static struct keyed keyed[KEYED];
static struct compared compared[COMPARED];
static unsigned n_compared;
static hapax_interner *interner;
static hapax_table *by_handle;

static void target_forget(struct thing *t)
{
	for (unsigned i = 0; i < CONTENTS; i++)
		if (canonical[i] == t)
			canonical[i] = NULL;
	for (unsigned i = 0; i < KEYED; i++)
		if (keyed[i].value == t)
			keyed[i].value = NULL;
	maps_forget(t);
}

/* ---- the interner --------------------------------------------------------------------------------------------------
 */

static const unsigned char content[CONTENTS] = {7, 7, 8, 9};

static unsigned content_of(const struct thing *t) { return content[t->born % CONTENTS] - 7u; }

/* What the call in progress must find. */
static struct {
	struct thing *object, *there;
	bool fails, asked;
} interning;

static int contents(const void *object, hapax_key *bytes, void *ctx)
{
	struct thing *t = interning.object;
	bool fails = interning.fails;

	(void)ctx;
	FUZZ_CHECK(object == t->object && !t->dead && !interning.asked, "asked for the contents of another, or twice");
	user_code(); /* may intern as well */
	interning.asked = true;
	interning.there = canonical[content_of(t)];
	*bytes = hapax_key_bytes(&content[t->born % CONTENTS], 1);
	return fails ? 5 : 0;
}

static void step_intern(struct world *w)
{
	struct thing *t = pick_thing(w), *there;
	unsigned how = fuzz_byte(&w->in);
	bool is = how & 1, fails = how % 16 == 15, asked;
	void *out = (void *)1;
	int rc;

	if (!t || !interner)
		return;
	pin(w, t);
	call_begins(w);
	interning.object = t;
	interning.fails = fails;
	interning.asked = false;
	rc = hapax_intern(interner, t->object, &out, &is);
	asked = interning.asked;
	there = asked ? interning.there : NULL;
	FUZZ_TRACE("%*sintern %u: %d", (int)w->depth, "", slot(t), rc);
	FUZZ_CHECK(!rc == !!out, "%d", rc);
	if (!t->weakable) {
		FUZZ_CHECK(rc == HAPAX_ENOTWEAK || (asked && fails && rc == HAPAX_ECALLBACK), "%d", rc);
	} else if (asked && fails) {
		FUZZ_CHECK(rc == HAPAX_ECALLBACK, "%d", rc);
	} else if (rc != HAPAX_ENOMEM || !no_memory(w, rc)) {
		FUZZ_CHECK(!rc && asked, "%d, asked %d", rc, asked);
		FUZZ_CHECK(out == (there ? there : t)->object && is == (!there || there == t), "another is canonical");
		if (!there)
			canonical[content_of(t)] = t;
		got_ref(there ? there : t);
	}
	interning.asked = false;
	unpin(w, t);
}

static void step_intern_find(struct world *w)
{
	unsigned which = fuzz_below(&w->in, CONTENTS);
	struct thing *t = canonical[content[which] - 7u];
	void *out = (void *)1;
	int rc;

	if (!interner)
		return;
	rc = hapax_intern_find(interner, hapax_key_bytes(&content[which], 1), &out);
	FUZZ_CHECK(rc == (t ? 0 : HAPAX_MISS) && out == (t ? t->object : NULL), "%d", rc);
	if (t)
		got_ref(t);
}

/* ---- handles as values ---------------------------------------------------------------------------------------------
 */

static bool handle_live(const struct thing *t, uint32_t born) { return lives(t, born); }

/* One record, or one live object. */
static bool handles_equal(const struct thing *a, uint32_t a_born, const struct registration *a_of,
			  const struct thing *b, uint32_t b_born, const struct registration *b_of)
{
	return a == b && a_born == b_born && (handle_live(a, a_born) || a_of == b_of);
}

static void check_compare(uint32_t a, uint32_t b, int how)
{
	for (unsigned i = 0; i < n_compared && i < COMPARED; i++)
		if (compared[i].a == a && compared[i].b == b)
			FUZZ_CHECK((compared[i].how < 0) == (how < 0), "the order has changed");
	compared[n_compared++ % COMPARED] = (struct compared){a, b, how};
}

static void step_compare(struct world *w)
{
	struct handle *h[3];
	int how[3];

	for (unsigned i = 0; i < 3; i++)
		h[i] = pick_handle(w);
	if (!h[0])
		return;
	for (unsigned i = 0; i < 3; i++) {
		struct handle *a = h[i], *b = h[(i + 1) % 3];
		bool same = a->thing == b->thing && a->born == b->born;
		bool equal = handles_equal(a->thing, a->born, a->registration, b->thing, b->born, b->registration);

		FUZZ_CHECK(hapax_weak_equal(a->weak, b->weak) == equal, "%u and %u, equal or not",
			   (unsigned)(a - w->handle), (unsigned)(b - w->handle));
		FUZZ_CHECK(!same || hapax_weak_hash(a->weak) == hapax_weak_hash(b->weak), "hash");
		how[i] = hapax_weak_compare(a->weak, b->weak);
		FUZZ_CHECK((how[i] == 0) == same, "compared: %d", how[i]);
		FUZZ_CHECK((hapax_weak_compare(b->weak, a->weak) < 0) == (how[i] > 0), "compared the other way");
		if (how[i])
			check_compare(a->born, b->born, how[i]);
	}
	FUZZ_CHECK(!(how[0] > 0 && how[1] > 0 && how[2] > 0) && !(how[0] < 0 && how[1] < 0 && how[2] < 0), "no order");
	FUZZ_CHECK(!hapax_weak_equal(h[0]->weak, NULL) && hapax_weak_compare(NULL, h[0]->weak) < 0, "NULL");
}

/* Listed handles: registrations, newest first, then one for all that have none. */
static void step_list(struct world *w)
{
	struct thing *t = pick_thing(w);
	unsigned capacity = fuzz_byte(&w->in) % 8, n = 0;
	hapax_weak *list[8] = {NULL};
	struct registration *expected[REGISTRATIONS + 1];
	bool plain = false;
	size_t count = 99;
	int rc;

	if (!t)
		return;
	for (unsigned i = w->registrations; i; i--) {
		struct registration *r = &w->registration[i - 1];

		if (r->thing == t && r->born == t->born && r->active)
			expected[n++] = r;
	}
	for (unsigned i = 0; i < HANDLES; i++)
		plain |= w->handle[i].weak && w->handle[i].thing == t && w->handle[i].born == t->born &&
			 !w->handle[i].registration;
	for (unsigned i = 0; i < KEYED; i++)
		plain |= keyed[i].weak && keyed[i].of == t && keyed[i].of_born == t->born && !keyed[i].registration;
	if (plain)
		expected[n++] = NULL;
	rc = hapax_weak_list(t->object, list, capacity, &count);
	FUZZ_TRACE("%*slist %u: %d, %zu", (int)w->depth, "", slot(t), rc, count);
	if (!t->weakable) {
		FUZZ_CHECK((rc == HAPAX_ENOTWEAK || !rc) && count == 0, "%d, %zu", rc, count);
		return;
	}
	FUZZ_CHECK(!rc && count == n, "%d, %zu handles, not %u", rc, count, n);
	for (unsigned i = 0; i < capacity && i < n; i++) {
		struct handle *h = free_handle(w);
		struct registration *r = expected[i];

		FUZZ_CHECK(list[i] && (!r || list[i] == r->weak), "listed in another order");
		if (!h) {
			FUZZ_CHECK(!hapax_weak_drop(list[i]), "drop");
			continue;
		}
		*h = (struct handle){.weak = list[i], .thing = t, .born = t->born, .registration = r};
		if (r)
			r->handles++;
	}
	for (unsigned i = n; i < capacity; i++)
		FUZZ_CHECK(!list[i], "listed beyond the count");
}

/* A table keyed by handles: an entry is found by any handle of a live object, by its own after that. */
static void step_keyed(struct world *w)
{
	struct handle *h = pick_handle(w);
	unsigned how = fuzz_byte(&w->in);
	struct thing *t = pick_thing(w);
	struct keyed *found = NULL, *room = NULL;
	hapax_weak *weak;
	void *out = (void *)1;
	int rc;

	if (!h || !by_handle)
		return;
	weak = h->weak;
	for (unsigned i = 0; i < KEYED; i++) {
		struct keyed *e = &keyed[i];

		if (!e->weak)
			room = e;
		else if (handles_equal(h->thing, h->born, h->registration, e->of, e->of_born, e->registration) &&
			 e->value)
			found = e;
	}
	rc = hapax_table_get(by_handle, HAPAX_KEY_OF(weak), &out);
	FUZZ_TRACE("%*skeyed by handle %u: %d", (int)w->depth, "", (unsigned)(h - w->handle), rc);
	FUZZ_CHECK(rc == (found ? 0 : HAPAX_MISS), "%d", rc);
	if (found) {
		FUZZ_CHECK(out == found->value->object, "another");
		got_ref(found->value);
		if (how & 1) {
			FUZZ_CHECK(!hapax_table_remove(by_handle, HAPAX_KEY_OF(weak)), "removed");
			found->value = NULL;
		}
	}
	for (unsigned i = 0; i < KEYED;
	     i++) /* whose value is dead or removed: the handle goes; its record may be freed any time */
		if (keyed[i].weak && !keyed[i].value && how & 2) {
			struct keyed e = keyed[i];

			keyed[i].weak = NULL;
			FUZZ_CHECK(!e.registration, "only plain ones are kept");
			hapax_weak_drop(e.weak);
		}
	if (found || !room || room->weak || !t || !t->weakable || h->registration || !(how & 4))
		return;
	FUZZ_CHECK(!hapax_weak_dup(weak, &room->weak), "dup");
	*room = (struct keyed){
		.weak = room->weak, .of = h->thing, .of_born = h->born, .value = t, .value_born = t->born};
	call_begins(w);
	weak = room->weak;
	rc = hapax_table_put(by_handle, HAPAX_KEY_OF(weak), t->object);
	FUZZ_CHECK(!rc || no_memory(w, rc), "%d", rc);
	if (rc)
		room->value = NULL;
}

/* ---- the run -------------------------------------------------------------------------------------------------------
 */

static void step_ends(struct world *w)
{
	unsigned which = fuzz_byte(&w->in);
	struct map *m = &maps[which % MAPS];
	struct set *s = &sets[which % SETS];

	if (which & 16) {
		if (!m->map)
			map_begin(w, m);
		else if (!w->depth && which & 32)
			map_end(w, m);
	} else if (!s->set) {
		set_begin(w, s);
	} else if (!w->depth && which & 32) {
		set_end(s);
	}
}

static void target_step(struct world *w)
{
	unsigned which = fuzz_byte(&w->in) % (COMMON_STEPS + 32);

	if (w->steps++ >= STEPS)
		return;
	if (which < COMMON_STEPS) {
		things_step(w, which);
		return;
	}
	switch (which - COMMON_STEPS) {
	case 0:
	case 1:
	case 2:
		step_fin_new(w);
		break;
	case 3:
	case 4:
		step_fin(w);
		break;
	case 5:
		fuzz_below(&w->in, 4) ? step_fin(w) : step_finalize_all(w);
		break;
	case 6:
	case 7:
		step_bound_new(w);
		break;
	case 8:
	case 9:
		step_bound(w);
		break;
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
		step_map_put(w);
		break;
	case 15:
		step_map_get(w);
		break;
	case 16:
	case 17:
		step_map_remove(w);
		break;
	case 18:
		step_map_pop_any(w);
		break;
	case 19:
		fuzz_below(&w->in, 3) ? step_map_copy(w) : step_map_clear(w);
		break;
	case 20:
	case 21:
		step_set(w);
		break;
	case 22:
		step_set_copy(w);
		break;
	case 23:
	case 24:
		step_iter(w);
		break;
	case 25:
	case 26:
		step_intern(w);
		break;
	case 27:
		step_intern_find(w);
		break;
	case 28:
		step_compare(w);
		break;
	case 29:
		step_list(w);
		break;
	case 30:
		step_keyed(w);
		break;
	default:
		step_ends(w);
		break;
	}
}

static void check_all(struct world *w)
{
	size_t n = 0;

	things_settled(w);
	maps_check();
	for (unsigned i = 0; i < CONTENTS; i++)
		n += canonical[i] != NULL;
	FUZZ_CHECK(!interner || hapax_interner_size(interner) == n, "%zu are canonical, not %zu",
		   hapax_interner_size(interner), n);
}

static void begin(struct world *w)
{
	hapax_interner_options o = {HAPAX_INTERNER_OPTIONS_INIT, .env = w->env, .contents = contents};
	hapax_table_options t = {HAPAX_TABLE_OPTIONS_INIT, .env = w->env, .keys = hapax_weak_keys()};

	memset(canonical, 0, sizeof(canonical));
	memset(keyed, 0, sizeof(keyed));
	n_compared = 0;
	told_begin(w);
	FUZZ_CHECK(!hapax_interner_create(&interner, &o), "interner");
	FUZZ_CHECK(!hapax_table_create(&by_handle, &t), "table");
	maps_begin(w);
}

/* Maps and sets end before their keys and after them; so do iterators and their maps. */
static void end(struct world *w)
{
	iters_end(w, 1);
	hapax_interner_destroy(interner);
	interner = NULL;
	memset(canonical, 0, sizeof(canonical));
	maps_end(w, 1);
	told_drop(w, 2);
	for (unsigned i = 0; i < THINGS; i++)
		while (w->thing[i].object && w->thing[i].owned)
			release(w, &w->thing[i]);
	maps_end(w, 0);
	iters_end(w, 0);
	hapax_table_destroy(by_handle);
	for (unsigned i = 0; i < KEYED; i++)
		if (keyed[i].weak)
			hapax_weak_drop(keyed[i].weak);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	things_begin(&w, data, size);
	begin(&w);
	while (w.in.at < w.in.end && w.steps < STEPS) {
		target_step(&w);
		if (w.steps % 8 == 0)
			check_all(&w);
	}
	check_all(&w);
	w.in.at = w.in.end;
	w.memory.fail_in = 1; /* none of it needs memory */
	w.memory.fail_on = true;
	end(&w);
	while (hapax_run_deferred(w.env))
		;
	things_settled(&w);
	for (unsigned i = 0; i < HANDLES; i++)
		if (w.handle[i].weak)
			drop_handle(&w, &w.handle[i]);
	told_settled(&w);
	things_end(&w);
	return 0;
}
