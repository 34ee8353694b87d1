/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rounds.c - short rounds of concurrent calls on one table or cache.
 *
 * A round: all threads leave a barrier together, each makes a few random calls on the same few keys, holding some of
 * what it gets, giving back the rest; then the first thread looks at every key, alone; then all give back what is left,
 * and the table is empty again. What is called is drawn from the seed and the number of the round; how the calls
 * interleave is the machine's affair, so a wrong history is shown in full.
 *
 * Problem. A call takes less time than a thread needs to come round to it: nothing would overlap. So threads leave a
 * starting line together, and dawdle or yield where hapax calls user code in the middle of its work: hash functions,
 * comparisons (in read sections, between lookup and upgrade), loaders, destructors; in the testing build at its stop
 * points too. That needs nothing from hapax, so it works on the library as it ships. Between barriers threads share
 * nothing but relaxed words.
 */
#include "histories.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

const char *const hpx_subject_names[HPX_SUBJECTS] = {"table", "colliding table", "cache", "making cache", "bounded cache",
						      "expiring cache"};

enum { HELD = 2 * HPX_ROUND_CALLS + HPX_ROUND_KEYS + 2, SPINS = 1000, RETAINED = 1 };

struct thing {
	unsigned id;
};

struct held {
	struct thing *thing;
	struct hpx_lin_hold *hold;
};

struct play {
	struct hpx_rounds *rounds;
	hapax_type type;
	hapax_table *table; /* or */
	hapax_cache *cache;
	struct hpx_history history;
	pthread_mutex_t lock; /* of the barrier */
	pthread_cond_t all;
	unsigned threads, arrived, turn;
	hpx_relaxed ready;	   /* at the starting line */
	bool over;		   /* written before a barrier, read behind it */
	unsigned playing, keys;	   /* of this round; likewise */
	uint64_t round;
};

struct player {
	struct play *play;
	unsigned index;
	uint64_t unexpected;
	int unexpected_status;
	pthread_t thread;
	hpx_rng rng, noise; /* what to call; how long to dawdle */
	struct held held[HELD];
	unsigned helds;
};

static __thread struct player *self;

/* ---- dawdling ------------------------------------------------------------------------------------------------------ */

/* Somewhere between nothing and a few microseconds; rarely, a turn for another thread. */
void hpx_rounds_dawdle(void)
{
	uint64_t spins;

	if (!self)
		return; /* a thread of hapax's own */
	spins = hpx_rng_next(&self->noise);
	if (spins % 8 == 0)
		sched_yield();
	for (spins = spins >> 8 & ((1u << (spins >> 4 & 7)) * 8 - 1); spins; spins--)
		__asm__ volatile("" ::: "memory");
}

static int hash_key(const hapax_key *key, uint64_t *hash, void *ctx)
{
	const struct play *play = ctx;
	uint32_t k;

	memcpy(&k, key->data, sizeof(k));
	*hash = hpx_mix64(play->rounds->subject == HPX_SUBJECT_COLLIDING ? 0 : k + 1);
	hpx_rounds_dawdle();
	return 0;
}

static bool own_equality(enum hpx_subject subject)
{
	return subject == HPX_SUBJECT_TABLE || subject == HPX_SUBJECT_CACHE;
}

static bool equal_keys(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	hpx_rounds_dawdle();
	return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

static void destroy(void *object, void *arg)
{
	(void)object, (void)arg;
	hpx_rounds_dawdle();
}

/* ---- the barrier: between rounds only, so it may order whatever it likes -------------------------------------------- */

static void meet(struct play *play)
{
	unsigned turn;

	pthread_mutex_lock(&play->lock);
	turn = play->turn;
	if (++play->arrived == play->threads) {
		play->arrived = 0;
		play->turn++;
		pthread_cond_broadcast(&play->all);
	}
	while (play->turn == turn)
		pthread_cond_wait(&play->all, &play->lock);
	pthread_mutex_unlock(&play->lock);
}

/* Behind a barrier threads wake one after the other; here they wait for the last. */
static void line_up(struct play *play)
{
	hpx_relaxed_add(&play->ready, 1);
	for (unsigned spins = 0; hpx_relaxed_get(&play->ready) < play->playing; spins++)
		if (spins > SPINS)
			sched_yield();
}

/* ---- calls ----------------------------------------------------------------------------------------------------------- */

static void wrong(int status)
{
	self->unexpected++;
	self->unexpected_status = status;
}

static int load_one(struct thing *thing, hapax_load_error *error)
{
	unsigned id = hpx_history_enter_loader(&self->play->history, self->index);
	bool fails = hpx_rng_once_in(&self->rng, 4);

	for (unsigned i = hpx_rng_below(&self->noise, 6); i; i--)
		hpx_rounds_dawdle();
	if (fails)
		error->code = (int)id;
	else
		thing->id = id;
	hpx_history_leave_loader(&self->play->history, self->index);
	return fails ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK;
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key, (void)arg;
	return load_one(object, error);
}

static int make(void **object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct play *play = arg;
	int status = hapax_new(play->rounds->env, &play->type, 0, object);

	(void)key;
	if (status) {
		wrong(status);
		return HAPAX_LOAD_NOVALUE;
	}
	status = load_one(*object, error);
	if (status) {
		hapax_release(*object);
		*object = NULL;
	}
	return status;
}

static void keep(struct player *p, struct thing *thing, struct hpx_lin_hold *hold)
{
	p->held[p->helds++] = (struct held){thing, hold};
}

static void give_back(struct player *p, unsigned which, bool recorded)
{
	struct held held = p->held[which];

	p->held[which] = p->held[--p->helds];
	if (recorded)
		hpx_history_drop(&p->play->history, held.hold);
	hapax_release(held.thing);
	if (recorded)
		hpx_history_dropped(&p->play->history, held.hold);
}

/* A new object, held; or one that is. NULL: none. */
static struct thing *something(struct player *p)
{
	struct hpx_history *h = &p->play->history;
	void *object = NULL;
	struct thing *thing;
	int status;

	if (p->helds && hpx_rng_once_in(&p->rng, 6))
		return p->held[hpx_rng_below(&p->rng, p->helds)].thing;
	status = hapax_new(p->play->rounds->env, &p->play->type, 0, &object);
	if (status) {
		wrong(status);
		return NULL;
	}
	thing = object;
	thing->id = hpx_history_id(h);
	keep(p, thing, hpx_history_hold(h, p->index, thing->id, hpx_history_stamp(h)));
	return thing;
}

/* An object came out of a call: hold it as from its beginning. Returns its id. */
static unsigned got(struct player *p, const struct hpx_lin_event *e, void *out)
{
	struct thing *thing = out;

	if (!thing)
		return 0;
	keep(p, thing, hpx_history_hold(&p->play->history, p->index, thing->id, e->call));
	return thing->id;
}

static unsigned yes(int status, struct player *p)
{
	(void)p;
	if (status != HAPAX_OK && status != HAPAX_MISS)
		wrong(status);
	return status == HAPAX_OK;
}

static void get_loading(struct player *p, hapax_key key, unsigned k)
{
	struct hpx_history *h = &p->play->history;
	hapax_load_error error = {0};
	hapax_get_options options = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
	struct hpx_lin_event *e = hpx_history_call(h, p->index, HPX_LIN_LOAD, k, 0);
	void *out = NULL;
	int status = hapax_cache_get_with(p->play->cache, key, &options, &out);

	if (status == HAPAX_ELOADER) {
		e->failed = true;
		hpx_history_return(h, e, (unsigned)error.code);
	} else {
		hpx_history_return(h, e, out ? ((struct thing *)out)->id : 0);
		got(p, e, out);
		if (status) {
			wrong(status);
			hpx_history_forget(h, p->index, e);
		}
	}
	hapax_load_error_drop(&error);
}

static void get_or_put(struct player *p, hapax_key key, unsigned k)
{
	struct play *play = p->play;
	struct thing *mine = something(p);
	struct hpx_lin_event *e;
	bool inserted = false;
	void *out = NULL;
	int status;

	if (!mine)
		return;
	e = hpx_history_call(&play->history, p->index, HPX_LIN_GET_OR_PUT, k, mine->id);
	status = play->cache ? hapax_cache_get_or_put(play->cache, key, mine, &out, &inserted)
			     : hapax_table_get_or_put(play->table, key, mine, &out, &inserted);
	hpx_history_return(&play->history, e, out ? ((struct thing *)out)->id : 0);
	got(p, e, out);
	if (status || (inserted && out != mine))
		wrong(status);
}

static void put(struct player *p, hapax_key key, unsigned k)
{
	struct play *play = p->play;
	struct thing *mine = something(p);
	struct hpx_lin_event *e;
	int status;

	if (!mine)
		return;
	e = hpx_history_call(&play->history, p->index, HPX_LIN_PUT, k, mine->id);
	status = play->cache ? hapax_cache_put(play->cache, key, mine) : hapax_table_put(play->table, key, mine);
	hpx_history_return(&play->history, e, 0);
	if (status)
		wrong(status);
}

static void replace_if(struct player *p, hapax_key key, unsigned k)
{
	struct play *play = p->play;
	struct thing *expected, *mine;
	struct hpx_lin_event *e;

	if (!p->helds)
		return;
	expected = p->held[hpx_rng_below(&p->rng, p->helds)].thing;
	mine = something(p);
	if (!mine)
		return;
	e = hpx_history_call(&play->history, p->index, HPX_LIN_REPLACE_IF, k, expected->id);
	e->with = mine->id;
	hpx_history_return(&play->history, e, yes(hapax_cache_replace_if(play->cache, key, expected, mine), p));
}

/* What a compute was asked last, and what it puts. */
struct computing {
	struct thing *mine;
	unsigned seen;
};

static int answer(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct computing *c = arg;

	(void)key;
	(void)error;
	c->seen = current ? ((struct thing *)current)->id : 0;
	for (unsigned i = hpx_rng_below(&self->noise, 6); i; i--)
		hpx_rounds_dawdle();
	if (hapax_retain(c->mine))
		return HAPAX_COMPUTE_FAIL;
	*object = c->mine;
	return HAPAX_COMPUTE_PUT;
}

static void compute(struct player *p, hapax_key key, unsigned k)
{
	struct play *play = p->play;
	struct computing c = {.mine = something(p)};
	struct hpx_lin_event *e;
	int status;

	if (!c.mine)
		return;
	e = hpx_history_call(&play->history, p->index, HPX_LIN_COMPUTE, k, c.mine->id);
	status = hapax_cache_compute(play->cache, key, answer, &c, HAPAX_FOREVER, NULL, NULL, NULL);
	hpx_history_return(&play->history, e, c.seen);
	if (status)
		wrong(status);
}

static void call(struct player *p, enum hpx_lin_op op, unsigned k)
{
	struct play *play = p->play;
	struct hpx_history *h = &play->history;
	uint32_t bytes = k;
	hapax_key key = HAPAX_KEY_OF(bytes);
	struct hpx_lin_event *e;
	struct thing *mine;
	void *out = NULL;
	int status;

	switch (op) {
	case HPX_LIN_PUT:
		put(p, key, k);
		break;
	case HPX_LIN_GET_OR_PUT:
		get_or_put(p, key, k);
		break;
	case HPX_LIN_LOAD:
		get_loading(p, key, k);
		break;
	case HPX_LIN_REPLACE_IF:
		replace_if(p, key, k);
		break;
	case HPX_LIN_COMPUTE:
		compute(p, key, k);
		break;
	case HPX_LIN_GET:
		e = hpx_history_call(h, p->index, op, k, 0);
		status = play->cache ? hapax_cache_get_if_present(play->cache, key, &out)
				     : hapax_table_get(play->table, key, &out);
		hpx_history_return(h, e, out ? ((struct thing *)out)->id : 0);
		got(p, e, out);
		yes(status, p);
		break;
	case HPX_LIN_EXPIRE:
		e = hpx_history_call(h, p->index, op, k, 0);
		hpx_history_return(h, e, yes(hapax_cache_set_ttl(play->cache, key, HAPAX_ZERO), p));
		break;
	case HPX_LIN_TOUCH:
		e = hpx_history_call(h, p->index, op, k, 0);
		hpx_history_return(h, e, yes(hapax_cache_touch(play->cache, key), p));
		break;
	case HPX_LIN_POP:
		e = hpx_history_call(h, p->index, op, k, 0);
		status = play->cache ? hapax_cache_pop(play->cache, key, &out) : hapax_table_pop(play->table, key, &out);
		hpx_history_return(h, e, out ? ((struct thing *)out)->id : 0);
		got(p, e, out);
		yes(status, p);
		break;
	case HPX_LIN_CONTAINS:
		e = hpx_history_call(h, p->index, op, k, 0);
		status = play->cache ? hapax_cache_contains(play->cache, key) : hapax_table_contains(play->table, key);
		hpx_history_return(h, e, (unsigned)status);
		break;
	case HPX_LIN_REMOVE:
		e = hpx_history_call(h, p->index, op, k, 0);
		status = play->cache ? hapax_cache_remove(play->cache, key) : hapax_table_remove(play->table, key);
		hpx_history_return(h, e, yes(status, p));
		break;
	case HPX_LIN_REMOVE_IF:
		if (!p->helds)
			break;
		mine = p->held[hpx_rng_below(&p->rng, p->helds)].thing;
		e = hpx_history_call(h, p->index, op, k, mine->id);
		status = play->cache ? hapax_cache_remove_if(play->cache, key, mine)
				     : hapax_table_remove_if(play->table, key, mine);
		hpx_history_return(h, e, yes(status, p));
		break;
	case HPX_LIN_CLEAR:
		e = hpx_history_call(h, p->index, op, HPX_LIN_ALL_KEYS, 0);
		if (play->cache)
			hapax_cache_clear(play->cache);
		else
			hapax_table_clear(play->table);
		hpx_history_return(h, e, 0);
		break;
	}
}

/* ---- rounds ------------------------------------------------------------------------------------------------------------ */

/*
 * One thing is left out, for hapax does not promise L7 to the letter there: clear with a comparison of the user's. It may
 * meet a key a second time, when that was put again meanwhile, and remove it twice (table/iterate.c tells why). Half of
 * the subjects have one, the other half has clear.
 */
static enum hpx_lin_op allowed(const struct play *play, enum hpx_lin_op op)
{
	/* the time of what they were given may end while they run, and they put all the same */
	if (play->rounds->subject == HPX_SUBJECT_EXPIRING && (op == HPX_LIN_COMPUTE || op == HPX_LIN_REPLACE_IF))
		return HPX_LIN_PUT;
	if (op >= HPX_LIN_EXPIRE && play->rounds->subject != HPX_SUBJECT_EXPIRING)
		return HPX_LIN_REMOVE;
	if (op == HPX_LIN_CLEAR && own_equality(play->rounds->subject))
		return HPX_LIN_REMOVE;
	if (op >= HPX_LIN_LOAD && !play->cache) /* calls of caches */
		return op == HPX_LIN_LOAD ? HPX_LIN_GET : HPX_LIN_PUT;
	return op;
}

static enum hpx_lin_op draw(struct player *p)
{
	/* kinds of rounds: all calls alike; loads against what fences them; puts and gets and deaths */
	static const enum hpx_lin_op loading[] = {HPX_LIN_LOAD, HPX_LIN_LOAD,	HPX_LIN_LOAD, HPX_LIN_GET,
						  HPX_LIN_PUT,	HPX_LIN_REMOVE, HPX_LIN_POP,  HPX_LIN_CLEAR};
	static const enum hpx_lin_op putting[] = {HPX_LIN_PUT, HPX_LIN_PUT, HPX_LIN_GET,	HPX_LIN_GET,
						  HPX_LIN_POP, HPX_LIN_GET_OR_PUT, HPX_LIN_REPLACE_IF, HPX_LIN_COMPUTE};
	static const enum hpx_lin_op expiring[] = {HPX_LIN_EXPIRE, HPX_LIN_TOUCH, HPX_LIN_PUT, HPX_LIN_GET,
						   HPX_LIN_EXPIRE, HPX_LIN_LOAD,  HPX_LIN_GET, HPX_LIN_CONTAINS};
	unsigned kind = p->play->round % 3;

	if (p->play->rounds->subject == HPX_SUBJECT_EXPIRING && hpx_rng_once_in(&p->rng, 2))
		return expiring[hpx_rng_below(&p->rng, 8)];
	if (kind == 1)
		return allowed(p->play, loading[hpx_rng_below(&p->rng, 8)]);
	if (kind == 2)
		return allowed(p->play, putting[hpx_rng_below(&p->rng, 8)]);
	return allowed(p->play, (enum hpx_lin_op)hpx_rng_below(&p->rng, HPX_LIN_COMPUTE + 1));
}

static void play_round(struct player *p)
{
	struct play *play = p->play;

	p->rng = hpx_rng_stream(play->rounds->seed + play->round, 2 * p->index);
	if (p->index < play->playing)
		line_up(play);
	for (int i = 0; p->index < play->playing && i < HPX_ROUND_CALLS; i++) {
		hpx_rounds_dawdle();
		call(p, draw(p), (unsigned)hpx_rng_below(&p->rng, play->keys));
		while (p->helds && hpx_rng_once_in(&p->rng, 2))
			give_back(p, (unsigned)hpx_rng_below(&p->rng, p->helds), true);
	}
	meet(play);
	for (unsigned k = 0; p->index == 0 && k < play->keys; k++) { /* nothing may be lost now */
		call(p, HPX_LIN_CONTAINS, k);
		call(p, HPX_LIN_GET, k);
	}
	meet(play);
	while (p->helds)
		give_back(p, p->helds - 1, false);
	meet(play);
}

static bool same_key(const struct hpx_lin_event *a, const struct hpx_lin_event *b)
{
	return a->key == b->key || a->key == HPX_LIN_ALL_KEYS || b->key == HPX_LIN_ALL_KEYS;
}

/* `f` came while the loader of `e` ran. */
static bool fenced_by(const struct hpx_lin_event *e, const struct hpx_lin_event *f)
{
	return e->loaded && f->call > e->begin && f->ret < e->end &&
	       (f->op == HPX_LIN_PUT || f->op == HPX_LIN_REMOVE || f->op == HPX_LIN_POP || f->op == HPX_LIN_CLEAR);
}

static bool joined(const struct hpx_lin_event *e, const struct hpx_lin_event *f)
{
	return e->op == HPX_LIN_LOAD && !e->loaded && f->loaded && f->result == e->result && f->ret > e->call;
}

static void count(struct hpx_rounds *r, const struct hpx_lin_history *h)
{
	r->played++;
	r->events += h->events;
	for (size_t i = 0; i < h->events; i++) {
		const struct hpx_lin_event *e = &h->event[i];
		bool overlaps = false, fenced = false;

		for (size_t k = 0; k < h->events; k++) {
			const struct hpx_lin_event *f = &h->event[k];

			if (k == i || !same_key(e, f) || f->call >= e->ret || f->ret <= e->call)
				continue;
			overlaps = true;
			fenced |= fenced_by(e, f);
			r->joins += joined(e, f);
		}
		r->overlapping += overlaps;
		r->fenced += fenced;
		r->loads += e->loaded;
	}
}

static bool next_round(struct player *p)
{
	struct play *play = p->play;
	struct hpx_rounds *r = play->rounds;

	if (p->index == 0) {
		uint64_t round = play->round + 1;
		hpx_rng rng = hpx_rng_stream(r->seed + round, 1);

		play->over = play->over || round == r->first + r->rounds;
		play->round = round;
		play->playing = 2 + (unsigned)hpx_rng_below(&rng, r->threads - 1);
		play->keys = 1 + (unsigned)hpx_rng_below(&rng, HPX_ROUND_KEYS);
		hpx_relaxed_set(&play->ready, 0);
		hpx_history_reset(&play->history, r->threads);
	}
	meet(play);
	return !play->over;
}

static uint64_t retained(hapax_cache *cache)
{
	hapax_cache_stats stats = {.size = sizeof(stats)};

	return hapax_cache_stats_get(cache, &stats) ? UINT64_MAX : stats.retained;
}

static void finish_round(struct play *play)
{
	struct hpx_rounds *r = play->rounds;
	struct hpx_lin_history all = hpx_history_all(&play->history);

	count(r, &all);
	if (play->history.retained && retained(play->cache) <= RETAINED) /* one object, under several keys perhaps */
		hapax_cache_clear(play->cache);
	if (play->cache ? hapax_cache_size(play->cache) : hapax_table_size(play->table)) {
		r->leftovers++;
		if (play->cache)
			hapax_cache_clear(play->cache);
		else
			hapax_table_clear(play->table);
	}
	if (!r->judge(r, &play->history, play->round))
		play->over = true;
}

static void *player_main(void *arg)
{
	struct player *p = arg;

	self = p;
	while (next_round(p)) {
		play_round(p);
		if (p->index == 0)
			finish_round(p->play);
	}
	return NULL;
}

static int open_subject(struct play *play)
{
	hapax_cache_options cache = {HAPAX_CACHE_OPTIONS_INIT, .env = play->rounds->env, .type = &play->type, .arg = play};
	hapax_table_options table = {HAPAX_TABLE_OPTIONS_INIT, .env = play->rounds->env};

	table.keys = cache.keys = (hapax_key_ops){.hash = hash_key, .ctx = play};
	if (own_equality(play->rounds->subject))
		table.keys.equal = cache.keys.equal = equal_keys;
	if (play->rounds->subject <= HPX_SUBJECT_COLLIDING)
		return hapax_table_create(&play->table, &table);
	play->history.retained = play->rounds->subject == HPX_SUBJECT_BOUNDED;
	if (play->history.retained)
		cache.max_entries = RETAINED;
	if (play->rounds->subject == HPX_SUBJECT_EXPIRING)
		cache.ttl_ns = INT64_MAX;
	if (play->rounds->subject != HPX_SUBJECT_MAKING_CACHE)
		cache.load = load;
	else
		cache.make = make;
	return hapax_cache_create(&play->cache, &cache);
}

/* The threads beside the caller. Those that cannot be started are waited for by nobody. */
static int start(struct play *play, struct player *players, unsigned *started)
{
	for (*started = 0; *started + 1 < play->rounds->threads; (*started)++)
		if (pthread_create(&players[*started + 1].thread, NULL, player_main, &players[*started + 1]))
			return HAPAX_ETHREAD;
	return 0;
}

int hpx_rounds_run(struct hpx_rounds *r)
{
	struct play *play = calloc(1, sizeof(*play));
	struct player *players = calloc(r->threads, sizeof(*players));
	unsigned started = 0;
	int status = HAPAX_ENOMEM;

	if (!play || !players)
		goto out;
	play->rounds = r;
	play->round = r->first - 1;
	play->threads = r->threads;
	pthread_mutex_init(&play->lock, NULL);
	pthread_cond_init(&play->all, NULL);
	play->type = (hapax_type){HAPAX_TYPE_INIT, .name = "thing", .size = sizeof(struct thing),
				  .destroy = destroy};
	for (unsigned i = 0; i < r->threads; i++) {
		players[i].play = play;
		players[i].index = i;
		players[i].noise = hpx_rng_stream(r->seed ^ r->first, 3 + 2 * i);
	}
	status = open_subject(play);
	if (!status)
		status = start(play, players, &started);
	if (status) { /* those that did start are sent home */
		pthread_mutex_lock(&play->lock);
		play->over = true;
		play->threads = started + 1;
		pthread_mutex_unlock(&play->lock);
	}
	player_main(&players[0]);
	for (unsigned i = 1; i <= started; i++)
		pthread_join(players[i].thread, NULL);
	for (unsigned i = 0; i < r->threads; i++) {
		r->unexpected += players[i].unexpected;
		r->unexpected_status = players[i].unexpected ? players[i].unexpected_status : r->unexpected_status;
	}
	hapax_cache_destroy(play->cache);
	hapax_table_destroy(play->table);
	pthread_cond_destroy(&play->all);
	pthread_mutex_destroy(&play->lock);
out:
	free(players);
	free(play);
	return status;
}
