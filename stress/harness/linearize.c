/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * linearize.c - Wing and Gong's search for an order of the calls that makes sense, with Lowe's memory of configurations
 * that led nowhere; per key, since hapax promises an order per key.
 *
 * Calls on one key are laid out in lanes, so that the calls of one lane follow one another in time. A configuration is
 * how far each lane has come, and the state. A step may be next when no other outstanding step returned before it began.
 * A step that only looks is taken as soon as it is legal: if any order works, one works that has it here.
 */
#include "linearize.h"

#include <string.h>

enum { PATIENCE = 20 * 1000 * 1000 };

/*
 * The sequential map: is `step` legal in `state`, and what follows? L and a number is a law, said where it stands.
 *
 * Not here but in vanish() and gone(): L1, L9: the object under the key may be gone from the start of its last release
 * on, and is gone from its end on; L4: what vanishes is that very entry.
 */
static bool apply(const struct hpx_lin_step *step, struct hpx_lin_state *state)
{
	const struct hpx_lin_event *e = step->event;
	unsigned present = state->present;

	switch (e->op) {
	case HPX_LIN_GET: /* L7: what the last change left */
		return e->result == present;
	case HPX_LIN_CONTAINS:
		return e->result == (present != 0);
	case HPX_LIN_REMOVE_IF: /* L4: that object and no other. A present object means that no flight is open (L6) */
		if (e->result != (present == e->arg))
			return false;
		if (e->result)
			state->present = 0;
		return true;
	case HPX_LIN_GET_OR_PUT: /* D-5, L7: an insertion fences the load under way, and may do so a moment before */
		if (step->part == HPX_LIN_START) {
			state->flight = 0;
			return true;
		}
		if (e->result != (present ? present : e->arg))
			return false;
		state->present = (uint16_t)e->result;
		state->flight = present ? state->flight : 0;
		return true;
	case HPX_LIN_PUT: /* D-5, L7 */
		*state = (struct hpx_lin_state){.present = (uint16_t)e->arg};
		return true;
	case HPX_LIN_REMOVE: /* D-5, L7: also when nothing was there */
	case HPX_LIN_POP:
		if (e->result != (e->op == HPX_LIN_POP ? present : present != 0))
			return false;
		*state = (struct hpx_lin_state){0};
		return true;
	case HPX_LIN_CLEAR:
		*state = (struct hpx_lin_state){0};
		return true;
	case HPX_LIN_REPLACE_IF: /* L4, L7: that object and no other, in one step */
		if (e->result != (present == e->arg))
			return false;
		if (e->result)
			*state = (struct hpx_lin_state){.present = (uint16_t)e->with};
		return true;
	case HPX_LIN_COMPUTE: /* D-5, L7: on what its function was given, in one step. An insertion fences a moment before */
		if (step->part == HPX_LIN_START) {
			state->flight = 0;
			return true;
		}
		if (e->result != present)
			return false;
		*state = (struct hpx_lin_state){.present = (uint16_t)e->arg};
		return true;
	case HPX_LIN_EXPIRE: /* fences nothing; who has found the object before may still take it out, or write it again */
		if (!e->result)
			return !present;
		if (step->part == HPX_LIN_START) {
			if (!present || (state->ending && state->ending != present))
				return false;
			state->ending = (uint16_t)present;
			return true;
		}
		if (present == state->ending)
			state->present = 0;
		state->ending = 0;
		return true;
	case HPX_LIN_TOUCH: /* nothing revives what is absent */
		return e->result == (present != 0);
	case HPX_LIN_LOAD:
		break;
	}
	switch (step->part) {
	case HPX_LIN_START: /* L6: nothing is there, and nobody else loads it, but for fenced loads */
		if (present || state->flight)
			return false;
		state->flight = (uint16_t)e->result;
		return true;
	case HPX_LIN_COMMIT: /* L7: a fenced load installs nothing; L6: nor does a failed one */
		if (state->flight != e->result)
			return true;
		*state = (struct hpx_lin_state){.present = e->failed ? 0 : (uint16_t)e->result};
		return true;
	case HPX_LIN_WHOLE: /* a hit; or L6: the outcome of the load that was under way, of that one; L7: not a fenced one */
		return state->flight == e->result || (!e->failed && present == e->result);
	}
	return false;
}

/* The object under the key was given back by all before `step` was called: nobody may see it any more (L9). */
static void gone(const struct hpx_lin_space *space, const struct hpx_lin_step *step, struct hpx_lin_state *state)
{
	if (state->present && space->gone_by[state->present] < step->call)
		state->present = 0;
}

/* It may vanish before the first of the outstanding returns. */
static bool vanish(const struct hpx_lin_space *space, uint64_t first_return, struct hpx_lin_state *state)
{
	if (!state->present || space->gone_from[state->present] >= first_return)
		return false;
	state->present = 0;
	return true;
}

/* ---- the search --------------------------------------------------------------------------------------------------- */

static unsigned done_of(uint64_t progress, unsigned lane) { return progress >> (8 * lane) & 0xff; }

static bool same(struct hpx_lin_state a, struct hpx_lin_state b) { return a.present == b.present && a.flight == b.flight && a.ending == b.ending; }

/* True if the configuration is new. A full memory forgets, which costs time and nothing else. */
static bool remember(struct hpx_lin_space *space, uint64_t progress, struct hpx_lin_state state)
{
	uint64_t hash = (progress ^ (uint64_t)state.present << 48 ^ (uint64_t)state.flight << 32) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(hash ^ hash >> 32) & (space->room - 1);
	struct hpx_lin_seen *seen;

	for (;; i = (i + 1) & (space->room - 1)) {
		seen = &space->seen[i];
		if (seen->run != space->run)
			break;
		if (seen->progress == progress && same(seen->state, state))
			return false;
	}
	if (space->used < space->room - space->room / 8) {
		*seen = (struct hpx_lin_seen){progress, state, space->run};
		space->used++;
	}
	return true;
}

/* The next step of a lane, or NULL. */
static const struct hpx_lin_step *next_of(const struct hpx_lin_space *space, uint64_t progress, unsigned lane)
{
	unsigned done = done_of(progress, lane);

	return done < space->steps[lane] ? &space->step[lane][done] : NULL;
}

/* HPX_LIN_NEVER: all is done, or what is left never returned. */
static uint64_t first_return(const struct hpx_lin_space *space, uint64_t progress, bool *over)
{
	uint64_t first = HPX_LIN_NEVER;

	*over = true;
	for (unsigned lane = 0; lane < HPX_LIN_LANES; lane++) {
		const struct hpx_lin_step *step = next_of(space, progress, lane);

		if (!step)
			continue;
		*over = false;
		if (step->ret < first)
			first = step->ret;
	}
	return first;
}

/* Can the lane's next step be next of all? Then `state` becomes what it leaves. */
static bool try_lane(const struct hpx_lin_space *space, uint64_t progress, unsigned lane, uint64_t first,
		     struct hpx_lin_state *state)
{
	const struct hpx_lin_step *step = next_of(space, progress, lane);

	if (!step || step->call > first)
		return false;
	gone(space, step, state);
	return apply(step, state);
}

/* Changes nothing wherever it is legal from here on. Not so a removal of nothing: elsewhere it may fence a load. */
static bool looks(const struct hpx_lin_step *step)
{
	const struct hpx_lin_event *e = step->event;

	switch (e->op) {
	case HPX_LIN_GET:
	case HPX_LIN_CONTAINS:
		return true;
	case HPX_LIN_GET_OR_PUT:
		return e->result != e->arg;
	case HPX_LIN_REMOVE_IF:
	case HPX_LIN_REPLACE_IF:
	case HPX_LIN_EXPIRE:
		return !e->result;
	case HPX_LIN_TOUCH:
		return true;
	case HPX_LIN_LOAD: /* a commit that changes nothing now is one of a fenced load */
		return step->part != HPX_LIN_START;
	case HPX_LIN_PUT:
	case HPX_LIN_REMOVE:
	case HPX_LIN_POP:
	case HPX_LIN_CLEAR:
	case HPX_LIN_COMPUTE:
		break;
	}
	return false;
}

/* A lane whose next step can be taken and only looks; HPX_LIN_LANES: none. */
static unsigned harmless(const struct hpx_lin_space *space, const struct hpx_lin_frame *frame, uint64_t first)
{
	for (unsigned lane = 0; lane < HPX_LIN_LANES; lane++) {
		struct hpx_lin_state state = frame->state;

		if (try_lane(space, frame->progress, lane, first, &state) && same(state, frame->state) &&
		    looks(next_of(space, frame->progress, lane)))
			return lane;
	}
	return HPX_LIN_LANES;
}

/* Chooses the next child of the top frame; false: it has no more. */
static bool child_of(const struct hpx_lin_space *space, struct hpx_lin_frame *frame, uint64_t first,
		     struct hpx_lin_frame *child)
{
	enum { VANISH = HPX_LIN_LANES, NO_MORE };

	if (frame->next == 0) {
		unsigned lane = harmless(space, frame, first);

		if (lane < HPX_LIN_LANES) {
			*child = (struct hpx_lin_frame){frame->progress + (UINT64_C(1) << (8 * lane)), frame->state, 0};
			frame->next = NO_MORE;
			return true;
		}
	}
	while (frame->next < NO_MORE) {
		unsigned choice = frame->next++;

		*child = (struct hpx_lin_frame){frame->progress, frame->state, 0};
		if (choice == VANISH)
			return vanish(space, first, &child->state);
		if (try_lane(space, frame->progress, choice, first, &child->state)) {
			child->progress += UINT64_C(1) << (8 * choice);
			return true;
		}
	}
	return false;
}

static enum hpx_lin_answer search(struct hpx_lin_space *space, uint64_t *looked)
{
	struct hpx_lin_frame child = {0};
	unsigned depth = 0;

	space->run++;
	space->used = 0;
	remember(space, 0, child.state);
	space->stack[0] = child;
	for (;;) {
		struct hpx_lin_frame *frame = &space->stack[depth];
		bool over;
		uint64_t first = first_return(space, frame->progress, &over);

		if (over)
			return HPX_LIN_HOLDS;
		if (++*looked > PATIENCE)
			return HPX_LIN_UNDECIDED;
		if (!child_of(space, frame, first, &child)) {
			if (!depth)
				return HPX_LIN_BROKEN;
			depth--;
		} else if (remember(space, child.progress, child.state)) {
			space->stack[++depth] = child;
		}
	}
}

/* ---- laying out --------------------------------------------------------------------------------------------------- */

static bool on_key(const struct hpx_lin_event *e, unsigned key) { return e->key == key || e->key == HPX_LIN_ALL_KEYS; }

/* The events on a key by the time of their calls; false: too many. */
static bool collect(struct hpx_lin_space *space, const struct hpx_lin_history *history, unsigned key, unsigned *count)
{
	unsigned n = 0;

	for (size_t i = 0; i < history->events; i++) {
		const struct hpx_lin_event *e = &history->event[i];
		unsigned at;

		if (!on_key(e, key))
			continue;
		if (n == HPX_LIN_EVENTS || e->arg >= HPX_LIN_IDS || e->with >= HPX_LIN_IDS || e->result >= HPX_LIN_IDS)
			return false;
		for (at = n++; at && space->sorted[at - 1]->call > e->call; at--)
			space->sorted[at] = space->sorted[at - 1];
		space->sorted[at] = e;
	}
	*count = n;
	return true;
}

static bool add(struct hpx_lin_space *space, unsigned lane, const struct hpx_lin_event *e)
{
	unsigned *n = &space->steps[lane];

	if (*n + 2 > 0xff)
		return false;
	if (e->op == HPX_LIN_LOAD && e->loaded) {
		space->step[lane][(*n)++] =
			(struct hpx_lin_step){e, HPX_LIN_START, e->call, e->begin ? e->begin : e->ret};
		space->step[lane][(*n)++] = (struct hpx_lin_step){e, HPX_LIN_COMMIT, e->end ? e->end : e->call, e->ret};
	} else {
		if ((e->op == HPX_LIN_EXPIRE && e->result) || (e->op == HPX_LIN_GET_OR_PUT && e->result == e->arg) || (e->op == HPX_LIN_COMPUTE && !e->result))
			space->step[lane][(*n)++] = (struct hpx_lin_step){e, HPX_LIN_START, e->call, e->ret};
		space->step[lane][(*n)++] = (struct hpx_lin_step){e, HPX_LIN_WHOLE, e->call, e->ret};
	}
	return true;
}

static bool lay_out(struct hpx_lin_space *space, unsigned count)
{
	memset(space->steps, 0, sizeof(space->steps));
	for (unsigned i = 0; i < count; i++) {
		const struct hpx_lin_event *e = space->sorted[i];
		unsigned lane = 0;

		while (lane < HPX_LIN_LANES && space->steps[lane] &&
		       space->step[lane][space->steps[lane] - 1].ret >= e->call)
			lane++;
		if (lane == HPX_LIN_LANES || !add(space, lane, e))
			return false;
	}
	return true;
}

/*
 * A call in progress may hold what it came across, though nobody else does any more; what it held at `at` it has given
 * back when it returns, unless another call got it from there.
 */
static uint64_t calls_over(const struct hpx_lin_history *history, uint64_t at)
{
	bool further = at != HPX_LIN_NEVER;

	while (further) {
		further = false;
		for (size_t i = 0; i < history->events; i++) {
			const struct hpx_lin_event *e = &history->event[i];

			if (e->call <= at && e->ret > at) {
				at = e->ret;
				further = true;
			}
		}
	}
	return at;
}

uint64_t hpx_lin_gone_by(const struct hpx_lin_history *history, unsigned id)
{
	uint64_t by = 0;

	for (size_t i = 0; i < history->holds && !history->retained; i++)
		if (history->hold[i].id == id && history->hold[i].dropped > by)
			by = history->hold[i].dropped;
	return by ? calls_over(history, by) : HPX_LIN_NEVER;
}

/* When objects may be gone and must be. False: an id is too large. */
static bool read_holds(struct hpx_lin_space *space, const struct hpx_lin_history *history)
{
	memset(space->gone_from, 0, sizeof(space->gone_from));
	for (size_t i = 0; i < history->holds; i++) {
		const struct hpx_lin_hold *hold = &history->hold[i];

		if (hold->id >= HPX_LIN_IDS)
			return false;
		if (hold->drop > space->gone_from[hold->id])
			space->gone_from[hold->id] = hold->drop;
	}
	for (unsigned id = 0; id < HPX_LIN_IDS; id++) {
		space->gone_by[id] = HPX_LIN_NEVER;
		if (!space->gone_from[id])
			space->gone_from[id] = HPX_LIN_NEVER;
		else if (space->gone_from[id] != HPX_LIN_NEVER)
			space->gone_by[id] = hpx_lin_gone_by(history, id);
	}
	return true;
}

/*
 * L1: from its making to its death an object is held without a gap, so every hold but the first begins while another
 * has not ended. Returns an object with a gap, or 0.
 */
static unsigned risen(const struct hpx_lin_history *history)
{
	for (size_t i = 0; i < history->holds; i++) {
		const struct hpx_lin_hold *hold = &history->hold[i];
		uint64_t reached = 0;

		for (size_t k = 0; k < history->holds; k++) {
			const struct hpx_lin_hold *other = &history->hold[k];

			if (other != hold && other->id == hold->id && other->from <= hold->from && other->dropped > reached)
				reached = other->dropped;
		}
		if (reached && reached < hold->from && calls_over(history, reached) < hold->from)
			return hold->id;
	}
	return 0;
}

struct hpx_lin_verdict hpx_lin_check(struct hpx_lin_space *space, const struct hpx_lin_history *history)
{
	struct hpx_lin_verdict verdict = {.answer = HPX_LIN_UNDECIDED, .why = "too large"};
	unsigned keys = 0, count;

	for (size_t i = 0; i < history->events; i++)
		if (history->event[i].key != HPX_LIN_ALL_KEYS && history->event[i].key >= keys)
			keys = history->event[i].key + 1;
	if (!read_holds(space, history))
		return verdict;
	verdict.id = history->retained ? 0 : risen(history);
	if (verdict.id) {
		verdict.answer = HPX_LIN_BROKEN;
		verdict.why = "L1: an object was returned after all who held it had given it back";
		return verdict;
	}
	for (verdict.key = 0; verdict.key < keys; verdict.key++) {
		if (!collect(space, history, verdict.key, &count) || !lay_out(space, count))
			return verdict;
		verdict.answer = search(space, &verdict.steps);
		if (verdict.answer == HPX_LIN_HOLDS)
			continue;
		verdict.why = verdict.answer == HPX_LIN_BROKEN ? "L4, L6, L7 or L9: no order of the calls on a key explains their results"
							       : "too hard";
		return verdict;
	}
	verdict.answer = HPX_LIN_HOLDS;
	verdict.why = NULL;
	return verdict;
}

/* ---- for people ---------------------------------------------------------------------------------------------------- */

static void print_event(FILE *to, const struct hpx_lin_event *e)
{
	static const char *const names[] = {"put",	  "get_if_present", "contains", "remove", "pop",
					    "get_or_put", "remove_if",	    "clear",	"get",	  "replace_if",
					    "compute",	  "expire",	    "touch"};

	fprintf(to, "  %5llu-%-5llu thread %u  ", (unsigned long long)e->call, (unsigned long long)e->ret, e->thread);
	if (e->key == HPX_LIN_ALL_KEYS)
		fprintf(to, "%s()", names[e->op]);
	else if (e->with)
		fprintf(to, "%s(key %u, object %u by %u)", names[e->op], e->key, e->arg, e->with);
	else if (e->arg)
		fprintf(to, "%s(key %u, object %u)", names[e->op], e->key, e->arg);
	else
		fprintf(to, "%s(key %u)", names[e->op], e->key);
	if (e->op != HPX_LIN_PUT && e->op != HPX_LIN_CLEAR)
		fprintf(to, " = %u", e->result);
	if (e->failed)
		fputs(", failed", to);
	if (e->loaded)
		fprintf(to, ", loaded %llu-%llu", (unsigned long long)e->begin, (unsigned long long)e->end);
	fputc('\n', to);
}

void hpx_lin_print(FILE *to, const struct hpx_lin_history *history, const struct hpx_lin_verdict *verdict)
{
	uint64_t after = 0;

	for (size_t shown = 0; shown < history->events;) {
		uint64_t next = HPX_LIN_NEVER;

		for (size_t i = 0; i < history->events; i++)
			if (history->event[i].call >= after && history->event[i].call < next)
				next = history->event[i].call;
		for (size_t i = 0; i < history->events; i++)
			if (history->event[i].call == next) {
				print_event(to, &history->event[i]);
				shown++;
			}
		if (next == HPX_LIN_NEVER)
			break;
		after = next + 1;
	}
	for (size_t i = 0; i < history->holds; i++) {
		const struct hpx_lin_hold *hold = &history->hold[i];

		if (hold->drop == HPX_LIN_NEVER)
			fprintf(to, "  object %u held from %llu to the end\n", hold->id, (unsigned long long)hold->from);
		else
			fprintf(to, "  object %u held from %llu, given back %llu-%llu\n", hold->id,
				(unsigned long long)hold->from, (unsigned long long)hold->drop,
				(unsigned long long)hold->dropped);
	}
	if (verdict && verdict->id)
		fprintf(to, "  %s (object %u)\n", verdict->why, verdict->id);
	else if (verdict && verdict->why)
		fprintf(to, "  %s (key %u)\n", verdict->why, verdict->key);
}
