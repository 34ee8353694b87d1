/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * corrupt.c - makes wrong histories out of right ones.
 *
 * Each corruption is made only where a short argument, by the times of a few events, shows that no order of the calls
 * can explain it. "Introduced once": exactly one event can have brought the object under the key, so it is there without
 * a gap between any two events that saw it, and never again after somebody took it out.
 */
#include "histories.h"

#include <string.h>

/* Times are stretched, so that something fits between any two of them. */
enum { STRETCH = 8 };

const char *const hpx_corruption_names[HPX_CORRUPTIONS] = {
	"swapped results",     "stale after removal", "two lives at once", "lost put",	    "two loads at once",
	"fenced load installed", "risen from death",	"failure of nobody", "outlived its death",
};

typedef const struct hpx_lin_event *event_p;

/* The object that a call would have under its key afterwards; 0: none of its own. */
static unsigned brought(event_p e)
{
	bool arg = e->op == HPX_LIN_PUT || e->op == HPX_LIN_GET_OR_PUT || e->op == HPX_LIN_COMPUTE;

	return arg ? e->arg : e->op == HPX_LIN_REPLACE_IF ? e->with : 0;
}

static bool brings(event_p e) { return brought(e) != 0; }

static bool introduces(event_p e, unsigned id)
{
	return (brings(e) && brought(e) == id) || (e->op == HPX_LIN_LOAD && e->loaded && !e->failed && e->result == id);
}

static bool same_key(event_p a, event_p b)
{
	return a->key == b->key || a->key == HPX_LIN_ALL_KEYS || b->key == HPX_LIN_ALL_KEYS;
}

static bool changes(event_p e)
{
	return e->op != HPX_LIN_GET && e->op != HPX_LIN_CONTAINS && !(e->op == HPX_LIN_LOAD && !e->loaded);
}

static bool gets(event_p e) { return e->op == HPX_LIN_GET && e->result; }

/* The one event that introduced `id`, or NULL. */
static event_p introduction(const struct hpx_lin_history *h, unsigned id)
{
	event_p found = NULL;

	for (size_t i = 0; i < h->events; i++)
		if (introduces(&h->event[i], id)) {
			if (found)
				return NULL;
			found = &h->event[i];
		}
	return found;
}

/* Something other than `but` may have changed the key between two times. */
static bool changed_between(const struct hpx_lin_history *h, event_p key, event_p but, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < h->events; i++) {
		event_p e = &h->event[i];

		if (e != but && same_key(e, key) && changes(e) && e->call < to && e->ret > from)
			return true;
	}
	return false;
}

/* The start of its last release. */
static uint64_t gone_from(const struct hpx_lin_history *h, unsigned id)
{
	uint64_t from = 0;

	for (size_t i = 0; i < h->holds; i++)
		if (h->hold[i].id == id && h->hold[i].drop > from)
			from = h->hold[i].drop;
	return from ? from : HPX_LIN_NEVER;
}

static unsigned fresh(const struct hpx_lin_history *h)
{
	unsigned id = 0;

	for (size_t i = 0; i < h->events; i++) {
		id = h->event[i].arg > id ? h->event[i].arg : id;
		id = h->event[i].result > id ? h->event[i].result : id;
	}
	for (size_t i = 0; i < h->holds; i++)
		id = h->hold[i].id > id ? h->hold[i].id : id;
	return id + 1;
}

/* ---- where: does the corruption fit events a and b? ----------------------------------------------------------------- */

/* b's object did not exist yet when a returned. */
static bool fits_swap(const struct hpx_lin_history *h, event_p a, event_p b)
{
	event_p intro = gets(a) && gets(b) && a->result != b->result ? introduction(h, b->result) : NULL;

	return intro && intro->call > a->ret;
}

/* a took the object out; b comes later. */
static bool fits_stale(const struct hpx_lin_history *h, event_p a, event_p b)
{
	unsigned id = a->op == HPX_LIN_POP ? a->result : a->op == HPX_LIN_REMOVE_IF && a->result ? a->arg : 0;

	return id && b->op == HPX_LIN_GET && b->key == a->key && b->call > a->ret && introduction(h, id);
}

/* Both saw it, so it was there in between. */
static bool fits_two_lives(const struct hpx_lin_history *h, event_p a, event_p b)
{
	return gets(a) && gets(b) && a->result == b->result && a->key == b->key && a->ret < b->call &&
	       introduction(h, a->result);
}

/* a put it, and until b returned nobody else changed the key and somebody held it. */
static bool fits_lost_put(const struct hpx_lin_history *h, event_p a, event_p b)
{
	if (a->op != HPX_LIN_PUT || !gets(b) || b->result != a->arg || a->key != b->key || a->ret >= b->call)
		return false;
	return gone_from(h, a->arg) > b->ret && introduction(h, a->arg) && !changed_between(h, a, a, a->call, b->ret);
}

/* Nothing else changed the key during the load; so it was installed, and stayed while its caller had it. */
static bool fits_two_loads(const struct hpx_lin_history *h, event_p a, event_p b)
{
	return a == b && a->op == HPX_LIN_LOAD && a->loaded && !a->failed && !changed_between(h, a, a, a->call, a->ret);
}

/* a is a load during whose loader somebody removed or replaced; b comes later. */
static bool fits_fenced(const struct hpx_lin_history *h, event_p a, event_p b)
{
	if (a->op != HPX_LIN_LOAD || !a->loaded || a->failed || b->op != HPX_LIN_GET || b->key != a->key ||
	    b->call < a->ret || !introduction(h, a->result))
		return false;
	for (size_t i = 0; i < h->events; i++) {
		event_p e = &h->event[i];

		if (same_key(e, a) && e->call > a->begin && e->ret < a->end &&
		    (e->op == HPX_LIN_PUT || e->op == HPX_LIN_REMOVE || e->op == HPX_LIN_POP || e->op == HPX_LIN_CLEAR))
			return true;
	}
	return false;
}

/* a introduced an object that all have given back. */
static bool fits_risen(const struct hpx_lin_history *h, event_p a, event_p b)
{
	return a == b && a->op == HPX_LIN_PUT && hpx_lin_gone_by(h, a->arg) != HPX_LIN_NEVER;
}

static bool fits_failure(const struct hpx_lin_history *h, event_p a, event_p b)
{
	(void)h;
	return a == b && a->op == HPX_LIN_LOAD && !a->loaded;
}

/* a found nothing, and all that was or could be there before had been given back when it was called. */
static bool fits_outlived(const struct hpx_lin_history *h, event_p a, event_p b)
{
	bool any = false;

	if (a != b || a->op != HPX_LIN_CONTAINS || a->result)
		return false;
	for (size_t i = 0; i < h->events; i++) {
		event_p e = &h->event[i];

		if (!same_key(e, a) || e->call > a->ret || !(brings(e) || (e->op == HPX_LIN_LOAD && e->loaded && !e->failed)))
			continue;
		if (hpx_lin_gone_by(h, brings(e) ? brought(e) : e->result) >= a->call)
			return false;
		any = true;
	}
	return any;
}

static bool (*const fits[HPX_CORRUPTIONS])(const struct hpx_lin_history *, event_p, event_p) = {
	fits_swap,	 fits_stale,   fits_two_lives, fits_lost_put, fits_two_loads,
	fits_fenced, fits_risen, fits_failure,	 fits_outlived,
};

/* ---- what ------------------------------------------------------------------------------------------------------------ */

static void stretch(struct hpx_corrupted *to)
{
	for (size_t i = 0; i < to->history.events; i++) {
		to->event[i].call *= STRETCH;
		to->event[i].ret *= STRETCH;
		to->event[i].begin *= STRETCH;
		to->event[i].end *= STRETCH;
	}
	for (size_t i = 0; i < to->history.holds; i++) {
		to->hold[i].from *= STRETCH;
		if (to->hold[i].drop == HPX_LIN_NEVER)
			continue;
		to->hold[i].drop *= STRETCH;
		to->hold[i].dropped *= STRETCH;
	}
}

static void copy(struct hpx_corrupted *to, const struct hpx_lin_history *h)
{
	memcpy(to->event, h->event, h->events * sizeof(*h->event));
	memcpy(to->hold, h->hold, h->holds * sizeof(*h->hold));
	to->history = (struct hpx_lin_history){to->event, h->events, to->hold, h->holds, h->retained};
	stretch(to);
}

static void change(struct hpx_corrupted *to, enum hpx_corruption how, size_t at, size_t bt)
{
	struct hpx_lin_event *a = &to->event[at], *b = &to->event[bt], *more = &to->event[to->history.events];
	uint64_t by = hpx_lin_gone_by(&to->history, a->arg);
	unsigned swap = a->result;

	switch (how) {
	case HPX_CORRUPT_SWAP:
		a->result = b->result;
		b->result = swap;
		break;
	case HPX_CORRUPT_STALE:
		b->result = a->op == HPX_LIN_POP ? a->result : a->arg;
		break;
	case HPX_CORRUPT_TWO_LIVES:
		*more = (struct hpx_lin_event){.op = HPX_LIN_LOAD, .thread = HPX_HISTORY_THREADS, .key = a->key,
					       .result = fresh(&to->history), .loaded = true, .call = a->ret + 1,
					       .begin = a->ret + 2, .end = a->ret + 3, .ret = a->ret + 4};
		to->history.events++;
		break;
	case HPX_CORRUPT_LOST_PUT:
		b->result = 0;
		break;
	case HPX_CORRUPT_TWO_LOADS:
		*more = *a;
		more->thread = HPX_HISTORY_THREADS;
		more->result = fresh(&to->history);
		to->history.events++;
		break;
	case HPX_CORRUPT_FENCED:
		b->result = a->result;
		break;
	case HPX_CORRUPT_RISEN:
		to->hold[to->history.holds++] =
			(struct hpx_lin_hold){.id = a->arg, .from = by + 1, .drop = HPX_LIN_NEVER, .dropped = HPX_LIN_NEVER};
		break;
	case HPX_CORRUPT_FAILURE:
		a->failed = true;
		a->result = fresh(&to->history);
		break;
	case HPX_CORRUPT_OUTLIVED:
		a->result = 1;
		break;
	case HPX_CORRUPTIONS:
		break;
	}
}

bool hpx_corrupt(struct hpx_corrupted *to, const struct hpx_lin_history *h, enum hpx_corruption how, hpx_rng *rng)
{
	size_t at = 0, bt = 0;
	uint64_t places = 0;

	for (size_t i = 0; i < h->events; i++)
		for (size_t k = 0; k < h->events; k++)
			if (fits[how](h, &h->event[i], &h->event[k]) && hpx_rng_once_in(rng, ++places)) {
				at = i;
				bt = k;
			}
	if (!places)
		return false;
	copy(to, h);
	change(to, how, at, bt);
	return true;
}
