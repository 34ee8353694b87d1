/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/abandon.c - loads that end otherwise: loaders that vanish, ask for themselves or for each other, caches that
 * close and end meanwhile, objects that are refused.
 *
 * Faults put in on purpose that show here: CLOSE_MISSES_LATE, LOST_WAKEUP.
 */
#include "model/scenarios/kit.h"

#include <setjmp.h>
#include <unwind.h>

struct aband {
	struct kit k;
	struct item *got[3], *old;
	int status[3];
	unsigned deadlocks, closed;
	bool released;
};

static void setup(void *state)
{
	struct aband *s = state;

	kit_open(&s->k, 0, 0);
	kit_cache(&s->k, 0, KIT_IN_PLACE);
}

static void get_give(void *state) { kit_give(state, 0, kit_get(state, 0)); }

/* ---- a loader that vanishes -------------------------------------------------------------------------------------- */

/* Leaves the frames between a loader and its thread as pthread_exit() would: by forced unwinding. */
struct way_out {
	struct kit *k;
	jmp_buf top;
	uintptr_t frame;
	struct _Unwind_Exception exception;
};

static _Unwind_Reason_Code at_frame(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
				    struct _Unwind_Exception *exception, struct _Unwind_Context *context, void *arg)
{
	struct way_out *out = arg;

	(void)version;
	(void)class;
	(void)exception;
	if ((actions & _UA_END_OF_STACK) || _Unwind_GetCFA(context) > out->frame)
		longjmp(out->top, 1);
	return _URC_NO_REASON;
}

static int vanishes(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct way_out *out = arg;

	(void)key;
	(void)error;
	kit_write(&((struct item *)object)->word);
	out->k->loads++;
	model_yield();
	_Unwind_ForcedUnwind(&out->exception, at_frame, out);
	model_fail("the unwinder returned");
}

__attribute__((noinline)) static void get_vanishing(struct way_out *out, void **object, int *status)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .load = vanishes, .arg = out};

	*status = hapax_cache_get_with(out->k->cache, kit_key(0), &o, object);
}

static void vanish(void *state)
{
	struct aband *s = state;
	struct way_out out = {.k = &s->k, .frame = (uintptr_t)__builtin_frame_address(0)};
	void *object = NULL;
	int status = -1;

	if (setjmp(out.top))
		return; /* the thread ends here */
	get_vanishing(&out, &object, &status);
	MODEL_CHECK(!status && object, "a get: %s", hapax_status_name(status));
	kit_give(&s->k, 0, kit_hold(&s->k, 0, object));
}

static void vanished_finish(void *state)
{
	struct aband *s = state;
	hapax_cache_stats stats = {.size = sizeof(stats)};

	if (hapax_cache_stats_get(s->k.cache, &stats))
		model_fail("hapax_cache_stats_get failed");
	MODEL_CHECK(stats.load_abandoned <= 1 && stats.loads == s->k.loads, "%llu loads, %llu abandoned, of %u",
		    (unsigned long long)stats.loads, (unsigned long long)stats.load_abandoned, s->k.loads);
	kit_close(&s->k, 0);
}

SCENARIO(abandon, "abandon", "a loader vanishes while another thread waits for it", struct aband, setup, vanished_finish,
	 1, vanish, get_give);
SCENARIO(abandon_three, "abandon-three", "a loader vanishes while two threads wait for it", struct aband, setup,
	 vanished_finish, 1, vanish, get_give, get_give);

/* Without a loader of its own a waiter cannot take over. */
static void bare_setup(void *state)
{
	struct aband *s = state;
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = NULL, .type = &kit_type, .name = "bare"};

	kit_open(&s->k, 0, 0);
	o.env = s->k.env;
	if (hapax_cache_create(&s->k.cache, &o))
		model_fail("hapax_cache_create failed");
}

static void get_bare(void *state)
{
	struct aband *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(!out && (status == HAPAX_EABANDONED || status == HAPAX_ENOLOADER), "a get without a loader: %s",
		    hapax_status_name(status));
}

SCENARIO(abandon_bare, "abandon-bare", "a loader vanishes; who waits has none", struct aband, bare_setup,
	 vanished_finish, 2, vanish, get_bare);

/* ---- waiting for oneself ----------------------------------------------------------------------------------------- */

static int asks_itself(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	void *out = (void *)1;
	int status = hapax_cache_get(k->cache, kit_key(key), &out);

	(void)item;
	(void)error;
	MODEL_CHECK(status == HAPAX_EDEADLK && !out, "a loader asked for its own key: %s", hapax_status_name(status));
	return HAPAX_LOAD_OK;
}

static void self_setup(void *state)
{
	setup(state);
	((struct aband *)state)->k.then = asks_itself;
}

static void close_finish(void *state) { kit_close(state, 0); }

SCENARIO(self_wait, "self-wait", "a loader asks for its own key while another thread joins", struct aband, self_setup,
	 close_finish, 1, get_give, get_give);

static int asks(struct kit *k, unsigned key)
{
	struct aband *s = (struct aband *)k;
	void *out = (void *)1;
	int status = hapax_cache_get(k->cache, kit_key(key), &out);

	MODEL_CHECK(out ? !status : status == HAPAX_EDEADLK, "a loader asked for another key: %s",
		    hapax_status_name(status));
	if (out)
		kit_give(k, key, kit_hold(k, key, out));
	else
		s->deadlocks++;
	return HAPAX_LOAD_OK;
}

static int asks_other(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)item;
	(void)error;
	return asks(k, 1 - key);
}

static int asks_next(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)item;
	(void)error;
	return asks(k, (key + 1) % 3);
}

static void pair_setup(void *state)
{
	setup(state);
	((struct aband *)state)->k.then = asks_other;
}

static void ring_setup(void *state)
{
	setup(state);
	((struct aband *)state)->k.then = asks_next;
}

static void get_give_1(void *state) { kit_give(state, 1, kit_get(state, 1)); }
static void get_give_2(void *state) { kit_give(state, 2, kit_get(state, 2)); }

/* Whoever closes a circle is refused, and so somebody is: the loads ask each other for ever otherwise. */
static void circle_finish(void *state)
{
	struct aband *s = state;

	MODEL_CHECK(s->deadlocks >= 1, "loaders asked each other in a circle and nobody was refused");
	kit_close(&s->k, 0);
}

SCENARIO(load_pair, "load-pair", "two loaders ask for each other's key", struct aband, pair_setup, circle_finish, 1,
	 get_give, get_give_1);
SCENARIO(load_ring, "load-ring", "three loaders ask for each other's keys in a ring", struct aband, ring_setup,
	 circle_finish, 1, get_give, get_give_1, get_give_2);

/* A loader that puts under the key it loads fences itself. */
static int puts_itself(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	struct aband *s = (struct aband *)k;

	(void)item;
	(void)error;
	if (s->old)
		return HAPAX_LOAD_OK;
	s->old = kit_new(k, key);
	kit_cache_put(k, key, s->old);
	return HAPAX_LOAD_OK;
}

static void puts_setup(void *state)
{
	setup(state);
	((struct aband *)state)->k.loose = true;
	((struct aband *)state)->k.then = puts_itself;
}

static void puts_finish(void *state)
{
	struct aband *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(s->k.loads == 1, "%u loads", s->k.loads);
	MODEL_CHECK(item == s->old, "what the loader put is gone");
	kit_give(&s->k, 0, item);
	hapax_release(s->old);
	kit_close(&s->k, 0);
}

SCENARIO(load_puts, "load-puts", "a loader puts under its own key while another thread joins", struct aband, puts_setup,
	 puts_finish, 1, get_give, get_give);

/* ---- refusing ---------------------------------------------------------------------------------------------------- */

/* The first that was made: by its id, as its memory may be another's by now. */
static bool refuses_old(void *object, void *arg)
{
	const struct item *item = object;

	(void)arg;
	return item->id == 1;
}

static void refuse_setup(void *state)
{
	struct aband *s = state;

	setup(state);
	s->old = kit_get(&s->k, 0);
	s->k.loose = true;
}

static void refuse(struct aband *s, unsigned n)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuses_old, .refuse_arg = s};
	void *out = (void *)1;

	s->status[n] = hapax_cache_get_with(s->k.cache, kit_key(0), &o, &out);
	MODEL_CHECK((s->status[n] == 0) == (out != NULL), "a get: %s, and an object", hapax_status_name(s->status[n]));
	if (out)
		s->got[n] = kit_hold(&s->k, 0, out);
	MODEL_CHECK(!out || s->got[n]->id != 1, "a get gave what was refused");
}

static void refuse_0(void *state) { refuse(state, 0); }
static void refuse_1(void *state) { refuse(state, 1); }
static void peek_give(void *state) { kit_give(state, 0, kit_peek(state, 0)); }

static void refuse_finish(void *state)
{
	struct aband *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(!s->status[0] && !s->status[1] && s->got[0] == s->got[1], "two who refused got different objects");
	MODEL_CHECK(s->k.loads == 2, "%u loads for one refused object", s->k.loads);
	MODEL_CHECK(item == s->got[0], "what replaced the refused object is gone");
	kit_give(&s->k, 0, item);
	kit_give(&s->k, 0, s->got[0]);
	kit_give(&s->k, 0, s->got[1]);
	kit_give(&s->k, 0, s->old);
	kit_close(&s->k, 0);
}

SCENARIO(refuse_share, "refuse", "two refuse an object and share one load", struct aband, refuse_setup, refuse_finish, 2,
	 refuse_0, refuse_1);
SCENARIO(refuse_look, "refuse-look", "two refuse an object, a third looks", struct aband, refuse_setup, refuse_finish, 1,
	 refuse_0, refuse_1, peek_give);

/* The last reference goes while somebody refuses. */
static void give_old(void *state)
{
	struct aband *s = state;
	struct item *old = s->old;

	kit_give(&s->k, 0, old);
}

static void refuse_death_finish(void *state)
{
	struct aband *s = state;

	MODEL_CHECK(!s->status[0] && s->k.loads == 2, "a refusal against a death: %s, %u loads",
		    hapax_status_name(s->status[0]), s->k.loads);
	kit_give(&s->k, 0, s->got[0]);
	kit_close(&s->k, 0);
}

SCENARIO(refuse_death, "refuse-death", "an object is refused while it dies", struct aband, refuse_setup,
	 refuse_death_finish, 1, refuse_0, give_old);

/* A refusal whose load fails leaves the key absent and the object alone. */
static int fails(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)k;
	(void)item;
	(void)key;
	(void)error;
	return HAPAX_LOAD_NOVALUE;
}

static void refuse_fail_setup(void *state)
{
	refuse_setup(state);
	((struct aband *)state)->k.then = fails;
}

static void refuse_fail_finish(void *state)
{
	struct aband *s = state;

	MODEL_CHECK(s->status[0] == HAPAX_NOVALUE && s->status[1] == HAPAX_NOVALUE, "refusals: %s, %s",
		    hapax_status_name(s->status[0]), hapax_status_name(s->status[1]));
	MODEL_CHECK(!hapax_cache_contains(s->k.cache, kit_key(0)), "a refused object is present");
	kit_check(&s->k, 0);
	kit_give(&s->k, 0, s->old);
	kit_close(&s->k, 0);
}

SCENARIO(refuse_fail, "refuse-fail", "two refuse an object, and loading fails", struct aband, refuse_fail_setup,
	 refuse_fail_finish, 1, refuse_0, refuse_1);

/* ---- closing and ending ------------------------------------------------------------------------------------------ */

static void get_or_closed(struct aband *s, unsigned n)
{
	void *out = (void *)1;
	bool before = s->closed;

	s->status[n] = hapax_cache_get(s->k.cache, kit_key(0), &out);
	MODEL_CHECK(out ? s->status[n] == 0 : s->status[n] == HAPAX_ECLOSED, "a get of a closing cache: %s",
		    hapax_status_name(s->status[n]));
	MODEL_CHECK(!out || !before, "a get that began after the closing succeeded");
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

static void get_closed_0(void *state) { get_or_closed(state, 0); }
static void get_closed_1(void *state) { get_or_closed(state, 1); }

static void close_it(void *state)
{
	struct aband *s = state;

	hapax_cache_close(s->k.cache);
	s->closed = 1;
}

SCENARIO_IN_TIME(close_get, "close-get", "a cache closes while two threads get", struct aband, setup, close_finish, 1,
	 get_closed_0, get_closed_1, close_it);
SCENARIO(close_load, "close-load", "a cache closes while one thread gets", struct aband, setup, close_finish, 2,
	 get_closed_0, close_it);

/* Who joins is let go by the closing, early or late: the loader here ends only when somebody has been. By time: nothing but
 * that tells the loader of the closing. */
static int outlasts(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	struct aband *s = (struct aband *)k;

	(void)item;
	(void)key;
	(void)error;
	while (!s->released)
		model_yield();
	return HAPAX_LOAD_OK;
}

static void late_setup(void *state)
{
	setup(state);
	((struct aband *)state)->k.then = outlasts;
}

static void get_released(void *state)
{
	struct aband *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(status == HAPAX_ECLOSED && !out, "a get of a closing cache: %s", hapax_status_name(status));
	s->released = true;
}

SCENARIO_IN_TIME(close_late, "close-late", "a cache closes while a load goes on that another thread joins", struct aband,
	 late_setup, close_finish, 0, get_released, get_released, close_it);

/* A cache ends while it loads: the end waits for the loader. Only then: a call that has not begun may come too late. */
static int lingers(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)k;
	(void)item;
	(void)key;
	(void)error;
	model_yield();
	model_yield();
	return HAPAX_LOAD_OK;
}

static void end_setup(void *state)
{
	setup(state);
	((struct aband *)state)->k.then = lingers;
}

static void end_if_loading(void *state)
{
	struct aband *s = state;
	hapax_cache *cache = s->k.cache;

	if (!s->k.loading[0])
		return;
	s->k.cache = NULL;
	hapax_cache_destroy(cache);
	MODEL_CHECK(!s->k.loading[0], "destroy returned while a loader was running");
}

static void end_finish(void *state)
{
	struct aband *s = state;

	s->k.leaks = 0; /* it may have been loaded before the closing, and held at the end */
	kit_close(&s->k, 0);
}

SCENARIO(destroy_load, "destroy-load", "a cache ends while it loads", struct aband, end_setup, end_finish, 2,
	 get_closed_0, end_if_loading);

/* A loader ends its own cache; the end comes when the loader has returned. Another object of the cache dies meanwhile. */
static int ends_cache(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	hapax_cache *cache = k->cache;

	(void)item;
	(void)key;
	(void)error;
	k->cache = NULL;
	hapax_cache_destroy(cache);
	return HAPAX_LOAD_OK;
}

static void inner_setup(void *state)
{
	struct aband *s = state;

	setup(state);
	s->old = kit_get(&s->k, 1);
	s->k.then = ends_cache;
}

static void give_other(void *state)
{
	struct aband *s = state;

	kit_give(&s->k, 1, s->old);
}

static void inner_finish(void *state)
{
	struct aband *s = state;

	s->k.leaks = 0; /* what was alive at the end was reported, and rightly */
	kit_close(&s->k, 0);
}

SCENARIO(destroy_inside, "destroy-inside", "a loader ends its own cache while another object of it dies", struct aband,
	 inner_setup, inner_finish, 1, get_closed_0, give_other);
