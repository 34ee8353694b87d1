/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/hot.c - promotion, demotion, draining, and the deaths that draining brings about. hot.h has the protocol.
 *
 * Everything here is off the path of a hit. `lock` orders the drainers, the tick and whoever looks at slots; takers,
 * releasers, promoters and demoters never wait for it. A promoter claims its slot by one swap of `state`:
 *
 *      FREE --promoter--> CLAIMED --> LIVE --who cleared HOT--> DRAINING --drain()--> FREE
 *
 * A drained object may turn out to have no user. Its death is user code, which neither the reclaimer nor a thread that
 * only looked something up should run: it goes onto `dead`, for a thread that is started when it is needed first, or
 * whoever calls hapax_reclaim() or hapax_cache_maintain() before.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/probe.h"
#include "object/hot.h"
#include "object/internal.h"

#if defined(HPX_MODEL) || defined(HPX_STRICT)
#define HEAT 1 /* meetings that promote */
#else
#define HEAT 256
#endif
#define HEAT_NS 20000000 /* within which they have to be */
#define QUIET_USES 64    /* takes and releases in a tick: fewer are no reason to stay promoted */
#define QUIET_TICKS 10
#define LINGER_S 1       /* the thread that runs deaths waits for another one */

enum { FREE, CLAIMED, LIVE, DRAINING };

struct slot {
	struct hpx_deferred deferred;
	struct hpx_object *object; /* by the claimer, before HOT */
	hpx_u32 state;
	hpx_u32 turn; /* goes up when it is drained, under the lock */
	/* the tick's, under the lock */
	uint64_t uses;
	uint32_t quiet;
} __attribute__((aligned(HPX_CACHE_LINE)));

static struct slot slots[HPX_HOT_SLOTS];
static HPX_ATOMIC(struct hpx_hot_block *) blocks;
static hpx_u32 wanting; /* a promoter found no slot free */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* under the lock */
static struct burials {
	struct hpx_object *first, *last; /* linked by hpx_death_link() */
} dead[2];                               /* of environments without threads of ours, and of others */
static unsigned burying;                    /* threads that run one of them */
static bool undertaker;                     /* the thread is there, or about to be */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* Counted from 1; 0: none. */
static unsigned slot_in(uint64_t count) { return (unsigned)((count & HPX_SLOT_MASK) >> HPX_SLOT_SHIFT); }

/* ---- cells ------------------------------------------------------------------------------------------------------- */

static void block_give_back(void)
{
	struct hpx_hot_block *mine = hpx_self.hot;

	hpx_self.hot = NULL;
	hpx_self.hot_slot = 0;
	if (mine && HPX_BROKEN(HOT_BLOCK_EMPTIED))
		memset(mine->cell, 0, sizeof(mine->cell));
	if (mine)
		hpx_store_release(&mine->owned, 0); /* order: HOT.BLOCK -> release; the values it is left with */
}

static struct hpx_hot_block *block_take_over(void)
{
	struct hpx_hot_block *b;
	uint32_t free;

	/* order: -> HOT.BLOCKS acquire; the block */
	for (b = hpx_load_acquire(&blocks); b; b = hpx_load_acquire(&b->next)) {
		free = 0;
		/* order: -> HOT.BLOCK acquire; its last owner's values */
		if (!hpx_load_relaxed(&b->owned) && hpx_cas_acq_rel(&b->owned, &free, 1))
			return b;
	}
	return NULL;
}

#ifdef HPX_MODEL /* which starts afresh for every run */
static struct hpx_hot_block *block_room(void)
{
	static struct hpx_hot_block rooms[12];
	static hpx_u32 used;
	/* order: HOT.BLOCKS relaxed; a number of one's own */
	uint32_t at = hpx_add_relaxed(&used, 1);

	return at < 12 ? &rooms[at] : NULL;
}
#else
static struct hpx_hot_block *block_room(void)
{
	void *room = mmap(NULL, sizeof(struct hpx_hot_block), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return room == MAP_FAILED ? NULL : room;
}
#endif

static struct hpx_hot_block *block_make(void)
{
	struct hpx_hot_block *b = block_room(), *first;

	if (!b)
		return NULL;
	hpx_init(&b->owned, 1);
	first = hpx_load_relaxed(&blocks); /* order: HOT.BLOCKS relaxed; only copied */
	do
		hpx_init(&b->next, first);
	/* order: HOT.BLOCKS -> acq_rel; the block before who sums */
	while (!hpx_cas_acq_rel(&blocks, &first, b));
	return b;
}

/* order: -> HOT.BLOCKS acquire; the block */
#define EACH_BLOCK(b) (struct hpx_hot_block *b = hpx_load_acquire(&blocks); b; b = hpx_load_acquire(&b->next))

/* Nobody writes these cells any more: how many more takes than releases. */
static uint64_t sum(unsigned at)
{
	uint64_t more = 0;

	for EACH_BLOCK(b)
		/* order: HOT.CELL relaxed; after the grace period, which is the edge */
		more += hpx_load_relaxed(&b->cell[at].got) - hpx_load_relaxed(&b->cell[at].put);
	return more;
}

/* The lock is held, and the count has them. */
static void zero(struct slot *s)
{
	if (HPX_BROKEN(HOT_NOT_ZEROED))
		return;
	hpx_add_relaxed(&s->turn, 1); /* order: HOT.CELL relaxed; before the zeros */
	for EACH_BLOCK(b) {
		struct hpx_hot_cell *cell = &b->cell[s - slots];

		hpx_store_release(&cell->got, 0); /* order: HOT.CELL -> release; the turn */
		hpx_store_release(&cell->put, 0); /* order: HOT.CELL -> release; the turn */
	}
}

/*
 * How many hold an object, as a hint: releases first, then the count, then takes, so that what goes on meanwhile makes it more,
 * never less than it was when the count was read. Anew if the slot was drained in between; but not for ever. *uses: by
 * cells, in all.
 */
static uint64_t users(struct hpx_object *o, uint64_t *uses)
{
	uint64_t got, put, count;
	uint32_t turn;
	unsigned at;

	*uses = 0;
	for (unsigned i = 0; i < 8; i++) {
		count = hpx_load_acquire(&o->count); /* order: -> HOT.SLOT acquire; the slot's turn */
		at = slot_in(count);
		if (!at)
			return count / HPX_ONE;
		got = put = 0;
		turn = hpx_load_relaxed(&slots[at - 1].turn); /* order: HOT.CELL relaxed; as HOT.SLOT */
		for EACH_BLOCK(b)
			put += hpx_load_acquire(&b->cell[at - 1].put); /* order: -> HOT.CELL acquire; its takes; the turn */
		count = hpx_load_acquire(&o->count); /* order: -> OBJECT.DROP acquire; before the takes are read */
		for EACH_BLOCK(b)
			got += hpx_load_acquire(&b->cell[at - 1].got); /* order: -> HOT.CELL acquire; the turn */
		/* order: HOT.CELL relaxed; as it was before the cells were read */
		if (slot_in(count) != at || hpx_load_relaxed(&slots[at - 1].turn) != turn)
			continue;
		*uses = got + put;
		return ((count - HPX_BIAS) / HPX_ONE + got - put) & (UINT64_MAX / HPX_ONE);
	}
	return UINT64_MAX / HPX_ONE;
}

uint64_t hpx_hot_refs(struct hpx_object *o)
{
	uint64_t uses;

	return users(o, &uses);
}

/* ---- demotion ---------------------------------------------------------------------------------------------------- */

static void drain(struct hpx_deferred *d);

void hpx_hot_cool(struct hpx_object *o)
{
	uint64_t before;

	/* order: HOT.DEMOTE acq_rel; the promoter's slot. An addition of nothing: a promoter that comes after it in the count's
	 * order sees what the caller did before */
	before = hpx_add_acq_rel(&o->count, 0);
	if (!(before & HPX_HOT))
		return;
	before = hpx_and_acq_rel(&o->count, ~HPX_HOT); /* order: HOT.DEMOTE acq_rel; one sees it set, and has the drain */
	if (!(before & HPX_HOT) && !HPX_BROKEN(HOT_TWO_DRAINS))
		return;
	HPX_STOP("hot.cooled");
	struct slot *s = &slots[slot_in(before) - 1];

	hpx_store_relaxed(&s->state, DRAINING); /* order: HOT.STATE relaxed; for the tick, under RECLAIM.RETIRE for drain() */
	if (HPX_BROKEN(HOT_NO_GRACE))
		s->uses = sum(slot_in(before) - 1);
	hpx_retire(hpx_class_of(o)->env, &s->deferred, 0, drain);
}

static void *undertake(void *arg);

/* Where no thread is to be had, deaths wait for hapax_reclaim() and its kin, or for the next one. */
static void undertaker_start(void)
{
	if (hpx_thread_start(undertake, NULL, 0))
		return;
	pthread_mutex_lock(&lock);
	undertaker = false;
	pthread_mutex_unlock(&lock);
}

/* The lock is held: true: the caller calls undertaker_start(), without the lock. */
static bool undertaker_wanted(void)
{
	if (undertaker || !dead[1].first)
		return false;
	undertaker = true;
	return true;
}

/* The lock is held. `o` is dead, by this thread. As undertaker_wanted(). */
static bool dead_add(struct hpx_object *o)
{
	struct burials *list = &dead[!hpx_env_threadless(hpx_class_of(o)->env)];

	hpx_death_link_init(o);
	if (list->first)
		hpx_death_link(list->last, o);
	else
		list->first = o;
	list->last = o;
	pthread_cond_broadcast(&changed);
	return undertaker_wanted();
}

/* After a grace period that began after HOT had been cleared: the cells are nobody's. */
static void drain(struct hpx_deferred *d)
{
	struct slot *s = HPX_CONTAINER_OF(d, struct slot, deferred);
	unsigned at = (unsigned)(s - slots);
	struct hpx_object *o = s->object;
	bool last = false, start = false;
	uint64_t more, now;

	pthread_mutex_lock(&lock);
	more = (HPX_BROKEN(HOT_NO_GRACE) ? s->uses : sum(at)) * HPX_ONE - HPX_BIAS - HPX_SLT - ((uint64_t)(at + 1) << HPX_SLOT_SHIFT);
	hpx_read_lock(); /* with the addition the object becomes that of whoever kills it */
	/* order: OBJECT.DROP -> acq_rel; what was done under the cells, which the grace period has ordered, before the death */
	if (HPX_BROKEN(HOT_RELAXED_DRAIN))
		now = hpx_add_relaxed(&o->count, more) + more;
	else
		now = hpx_add_acq_rel(&o->count, more) + more;
	if (HPX_UNLIKELY(now >> 63))
		hpx_misuse("released too often: object %p of type '%s'", hpx_payload(o), hpx_object_name(o));
	else if (now < HPX_ONE && !(now & HPX_DEAD))
		last = hpx_try_kill(o, now);
	hpx_read_unlock();
	zero(s);
	s->object = NULL;
	/* order: HOT.SLOT -> release; its cells are 0 */
	hpx_store_release(&s->state, FREE);
	hpx_sub_relaxed(&hpx_ticking, 1); /* order: HOT.USED relaxed; a hint */
	if (last)
		start = dead_add(o);
	pthread_mutex_unlock(&lock);
	if (start)
		undertaker_start();
}

/* ---- promotion --------------------------------------------------------------------------------------------------- */

static int slot_claim(struct hpx_object *o)
{
	unsigned first = (unsigned)((uintptr_t)o >> 6);
	uint32_t state;

	for (unsigned i = 0; i < HPX_HOT_SLOTS; i++) {
		struct slot *s = &slots[(first + i) % HPX_HOT_SLOTS];

		state = FREE;
		/* order: HOT.STATE relaxed; a look. -> HOT.SLOT acquire; its cells are 0 */
		if (hpx_load_relaxed(&s->state) != FREE || !hpx_cas_acq_rel(&s->state, &state, CLAIMED))
			continue;
		s->object = o;
		s->uses = 0;
		s->quiet = 0;
		return (int)((first + i) % HPX_HOT_SLOTS);
	}
	hpx_store_relaxed(&wanting, 1); /* order: HOT.STATE relaxed; a hint for the tick */
	return -1;
}

/* In a section, by a holder: so that its slot is its own until this is through. True: it is promoted, by this call. */
static bool promote(struct hpx_object *o)
{
	uint32_t claimed = CLAIMED;
	uint64_t before;
	int at = slot_claim(o);

	if (at < 0)
		return false;
	/* order: HOT.PROMOTE acq_rel; one of all sets it */
	before = hpx_or_acq_rel(&o->count, (uint64_t)HPX_SLT);
	if (before & HPX_SLT) {
		slots[at].object = NULL;
		hpx_store_release(&slots[at].state, FREE); /* order: HOT.SLOT -> release; nothing was done with it */
		return false;
	}
	hpx_add_seq_cst(&hpx_ticking, 1); /* order: HOT.USED seq_cst; against the reclaimer's falling asleep */
	HPX_STOP("hot.claimed");
	/* order: HOT.SLOT -> acq_rel; the slot's object and cells; and what a demoter did that came before it */
	hpx_add_acq_rel(&o->count, HPX_BIAS | HPX_HOT |
						(uint64_t)(at + 1) << HPX_SLOT_SHIFT);
	/* order: HOT.SLOT -> acq_rel; for the tick. Who demotes it at once has said DRAINING */
	hpx_cas_acq_rel(&slots[at].state, &claimed, LIVE);
	HPX_PROBE2(promote, hpx_class_of(o)->type->name, hpx_payload(o));
	return true;
}

unsigned hpx_hot_met(struct hpx_object *o, unsigned saw, bool (*stays)(void *cache, void *e), void *cache, void *e)
{
	struct hpx_hot_block *mine = hpx_self.hot;
	struct hpx_heat *heat;
	struct timespec ts = {.tv_sec = 0};
	uint64_t now;

	if (!mine)
		return HPX_HOT_NEWS;
	/* order: OBJECT.COUNT, DEATH.WATCH relaxed; hints. Whoever waits for a death should not wait for a drain first */
	if (!(saw & HPX_HOT_MET) || hpx_load_relaxed(&o->count) & HPX_SLT || hpx_load_relaxed(&hpx_death_watches))
		return 0;
	heat = &mine->heat[((uintptr_t)o >> 4 ^ (uintptr_t)o >> 12) % (sizeof(mine->heat) / sizeof(mine->heat[0]))];
	if (heat->object != o && (heat->met /= 2) != 0)
		return 0;
	if (heat->object != o || !heat->met || heat->met + 1 >= HEAT) {
		clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
		now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
		if (heat->object != o || !heat->met || now - heat->since > HEAT_NS)
			*heat = (struct hpx_heat){o, now, 0};
	}
	if (++heat->met < HEAT)
		return 0;
	heat->met = 0;
	if (!stays(cache, e) || !promote(o))
		return 0;
	if (!stays(cache, e) && !HPX_BROKEN(HOT_NOT_ASKED))
		hpx_hot_cool(o);
	return HPX_HOT_NEWS;
}

void hpx_hot_attend(hapax_env *env)
{
	int saved = errno;

	if (hpx_in_section())
		return;
	if (!hpx_self.hot && hpx_thread_noticed()) { /* so is its exit */
		hpx_self.hot = block_take_over();
		if (!hpx_self.hot)
			hpx_self.hot = block_make();
	}
	/* order: HOT.USED seq_cst; this thread's own addition, before the look whether the reclaimer sleeps */
	if (env && hpx_load_seq_cst(&hpx_ticking))
		hpx_gp_wake(env);
	errno = saved;
}

/* ---- cooling ----------------------------------------------------------------------------------------------------- */

/* The lock is held: of a slot that is LIVE, and cannot become free meanwhile. */
static bool cold(struct slot *s, uint64_t *lately)
{
	/* order: OBJECT.COUNT relaxed; a hint */
	uint64_t count = hpx_load_relaxed(&s->object->count), uses, refs = users(s->object, &uses);

	*lately = uses - s->uses;
	s->uses = uses;
	s->quiet = *lately < QUIET_USES ? s->quiet + 1 : 0;
	return s->quiet >= QUIET_TICKS || (!*lately && !refs) || count < HPX_BIAS / 2 || count > HPX_BIAS / 2 * 3;
}

/* Every HPX_TICK_NS on the reclaimer while there are slots in use. */
static void tick(void)
{
	struct slot *coldest = NULL;
	uint64_t least = UINT64_MAX, lately;

	pthread_mutex_lock(&lock);
	for (struct slot *s = slots; s < slots + HPX_HOT_SLOTS; s++) {
		/* order: -> HOT.SLOT acquire; its object */
		if (hpx_load_acquire(&s->state) != LIVE)
			continue;
		if (cold(s, &lately)) {
			hpx_hot_cool(s->object);
		} else if (lately < least) {
			least = lately;
			coldest = s;
		}
	}
	/* order: HOT.STATE relaxed; a hint */
	if (hpx_exchange_relaxed(&wanting, 0) && coldest)
		hpx_hot_cool(coldest->object);
	pthread_mutex_unlock(&lock);
}

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

/* The lock is held. */
static struct hpx_object *dead_take(struct burials *list)
{
	struct hpx_object *o = list->first;

	if (o) {
		list->first = hpx_death_next(o);
		hpx_death_link(o, NULL);
		burying++;
	}
	return o;
}

static void buried(struct hpx_object **o)
{
	(void)o;
	pthread_mutex_lock(&lock);
	burying -= burying > 0; /* a child of a fork began again from 0 */
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* User code may leave the thread. */
static void bury(struct hpx_object *given)
{
	struct hpx_object *o __attribute__((cleanup(buried))) = given;

	hpx_die(o);
}

void hpx_hot_bury(void)
{
	struct hpx_object *o;

	do {
		pthread_mutex_lock(&lock);
		o = dead_take(&dead[0]);
		if (!o)
			o = dead_take(&dead[1]);
		pthread_mutex_unlock(&lock);
		if (o)
			bury(o);
	} while (o);
}

/* User code has left it: another one goes on. */
static void undertaker_left(bool *left)
{
	bool start;

	if (HPX_LIKELY(!*left))
		return;
	pthread_mutex_lock(&lock);
	undertaker = false;
	start = undertaker_wanted();
	pthread_mutex_unlock(&lock);
	if (start)
		undertaker_start();
}

/* It goes when there is nothing more to do, and comes again. */
static void *undertake(void *arg)
{
	bool left __attribute__((cleanup(undertaker_left))) = true;
	struct hpx_object *o;
	struct timespec until;

	(void)arg;
	pthread_setname_np(pthread_self(), "hapax-deaths");
	hpx_thread_ready();
	for (;;) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += LINGER_S;
		pthread_mutex_lock(&lock);
		while (!dead[1].first && !pthread_cond_timedwait(&changed, &lock, &until))
			;
		o = dead_take(&dead[1]);
		undertaker = o != NULL;
		pthread_mutex_unlock(&lock);
		if (!o)
			break;
		bury(o);
	}
	left = false;
	return NULL;
}

void hpx_hot_mourn(struct hpx_deferred *d)
{
	bool start;

	pthread_mutex_lock(&lock);
	start = dead_add(hpx_object_of_large(d));
	pthread_mutex_unlock(&lock);
	if (start)
		undertaker_start();
}

/* ---- at rest ----------------------------------------------------------------------------------------------------- */

/* True: a grace period is due for some. */
static bool cool_all(void)
{
	/* order: HOT.USED relaxed; who promotes now does so after this */
	if (!hpx_load_relaxed(&hpx_ticking))
		return false;
	pthread_mutex_lock(&lock);
	for (struct slot *s = slots; s < slots + HPX_HOT_SLOTS; s++)
		/* order: -> HOT.SLOT acquire; its object */
		if (hpx_load_acquire(&s->state) == LIVE)
			hpx_hot_cool(s->object);
	pthread_mutex_unlock(&lock);
	return true;
}

void hpx_hot_settle(void)
{
	if (hpx_in_section() || !cool_all())
		return;
	hpx_gp_rounds(3, HPX_WORK_SOME);
	hpx_hot_bury();
}

/* Not from user code that hapax runs: it may be the one that is waited for. */
static void wait_for_burials(void)
{
	int cancel;

	if (hpx_self.frames)
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_mutex_lock(&lock);
	while (burying)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	pthread_setcancelstate(cancel, NULL);
}

void hapax_reclaim(hapax_env *env)
{
	int saved = errno;

	(void)env; /* grace periods are the process's */
	if (!hpx_in_section()) {
		cool_all();
		hpx_gp_rounds(3, HPX_WORK_ALL);
		hpx_hot_bury(); /* what was drained, and what had waited for readers */
		wait_for_burials();
		hpx_gp_rounds(3, HPX_WORK_ALL);
	}
	errno = saved;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void before(void) { pthread_mutex_lock(&lock); }
static void parent(void) { pthread_mutex_unlock(&lock); }

static void child_lock(void)
{
	const pthread_cond_t fresh = PTHREAD_COND_INITIALIZER;

	changed = fresh;
	undertaker = false;
	burying = 0;
	pthread_mutex_unlock(&lock); /* this thread has taken it */
}

/* A slot whose promoter, demoter or drainer did not come along. True: it is in use. */
static bool inherit(struct slot *s)
{
	unsigned at = (unsigned)(s - slots);
	/* order: HOT.STATE relaxed; this is the only thread, here and below */
	bool used = hpx_load_relaxed(&s->state) != FREE;
	uint64_t count;

	if (!used || !s->object) {
		hpx_store_relaxed(&s->state, FREE);
		s->object = NULL;
		return false;
	}
	/* alive: its promoter's reference is inherited, or the bias is in */
	count = hpx_load_relaxed(&s->object->count);
	if ((count & HPX_SLT) && (count & HPX_SLOT_MASK) == (uint64_t)(at + 1) << HPX_SLOT_SHIFT) {
		hpx_store_relaxed(&s->state, count & HPX_HOT ? LIVE : DRAINING);
		if (!(count & HPX_HOT) && !hpx_gp_awaits(&s->deferred))
			hpx_retire(hpx_class_of(s->object)->env, &s->deferred, 0, drain);
		return true;
	}
	if ((count & HPX_SLT) && !(count & HPX_SLOT_MASK)) /* claimed: by this one, or by another that is freed here too */
		hpx_and_acq_rel(&s->object->count, ~(uint64_t)HPX_SLT); /* order: HOT.PROMOTE acq_rel; the only thread */
	s->object = NULL;
	hpx_store_relaxed(&s->state, FREE);
	return false;
}

static void child(void)
{
	uint32_t used = 0;

	for (struct hpx_hot_block *b = hpx_load_relaxed(&blocks); b; b = hpx_load_relaxed(&b->next))
		hpx_store_relaxed(&b->owned, b == hpx_self.hot);
	for (struct slot *s = slots; s < slots + HPX_HOT_SLOTS; s++)
		used += inherit(s);
	hpx_store_relaxed(&hpx_ticking, used); /* order: HOT.USED relaxed; the only thread */
}

__attribute__((constructor)) static void set_up(void)
{
	hpx_tick = tick;
	hpx_thread_leaving = block_give_back;
	hpx_fork_hook(HPX_FORK_BEFORE, before);
	hpx_fork_hook(HPX_FORK_PARENT, parent);
	hpx_fork_hook(HPX_FORK_LOCKS, child_lock);
	hpx_fork_hook(HPX_FORK_CONTENTS, child);
}

#ifdef HPX_TESTING
bool hapax_testing_promote(void *object)
{
	bool promoted;

	hpx_hot_attend(NULL);
	hpx_read_lock();
	promoted = hpx_self.hot && promote(hpx_object_of(object));
	hpx_read_unlock();
	return promoted;
}

bool hapax_testing_promoted(const void *object)
{
	/* order: OBJECT.COUNT relaxed; a hint */
	return hpx_load_relaxed(&hpx_object_of(object)->count) & HPX_HOT;
}

void hapax_testing_tick(void)
{
	tick();
}
#endif
