/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/object.c - birth, references and memory of objects.
 *
 * A block is laid out around the header, and flag bits 5..14 of the count say where it begins, so that the last release
 * finds the memory without asking anybody:
 *
 *      pooled:  [room: keyed, padded to 16][meta|count][payload]        bits 5..9   room / 16
 *                                                                       bits 10..14 (whole block / 16) - 1
 *      large:   ..pad..[struct large][room][meta|count][payload]        bits 5..10  m, bits 11..14 e:
 *               ^ base                                                  room / 16 = m << e
 *
 * Pooled blocks are those of up to HPX_POOL_MAX bytes with ordinary alignment; objects of special classes are always
 * large, because something has to run after their grace period. A room of a large block is rounded up to what m and e
 * can express: at most 1 in 32 of it is lost.
 *
 * "Freed" is counted for a pooled block when it is handed to the pool with its grace period pending (nothing runs after
 * it), for a large one when its memory goes back to the allocator.
 */
#include <errno.h>

#include <hapax/testing.h>

#include "base/poison.h"
#include "object/hot.h"
#include "object/internal.h"
#include "object/trace.h"

#define GRAIN 16
#define ROOM_SHIFT 5
#define POOL_ROOM_MASK 31u
#define POOL_SIZE_SHIFT 10
#define POOL_SIZE_MASK 31u
#define LARGE_MANTISSA_MASK 63u
#define LARGE_EXPONENT_SHIFT 11
#define LARGE_EXPONENT_MASK 15u

struct large {
	struct hpx_deferred deferred;
	void *base;
	size_t size;
	size_t align;
	struct hpx_object *object;
};
_Static_assert(sizeof(struct large) % GRAIN == 0, "the room after it stays aligned");
_Static_assert(sizeof(struct hpx_object) == 16, "the header is 16 bytes");
_Static_assert(HPX_POOL_MAX / GRAIN - 1 <= POOL_SIZE_MASK, "the size of a pooled block fits its bits");

void hpx_first_call(void)
{
	int saved = errno;

	hpx_thread_ready();
	errno = saved;
}

static size_t round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

/* In a section: after the class's last count nobody but sections begun before knows the class. */
static inline void count_freed(struct hpx_class *c)
{
	hpx_count(c->env_counters, HPX_ENV_FREED, 1);
	hpx_count(&c->counters, HPX_CLASS_FREED, 1);
}

/* Dead, and read on by borrowers until its grace period is over. */
static bool read_on(const hapax_type *type) { return type->flags & HAPAX_TYPE_BORROW && !type->destroy; }

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* `size` is a multiple of GRAIN. Left to itself the compiler takes a string instruction, which takes long to begin. */
static inline void zero(char *block, size_t size)
{
	for (char *end = block + size; block != end; block += GRAIN) {
		__asm__("" : "+r"(block));
		memset(block, 0, GRAIN);
	}
}

/* `size` of a block, a multiple of GRAIN. */
static inline struct hpx_object *pooled_init(char *block, size_t room, size_t size, uint64_t *flags)
{
	zero(block, size);
	*flags = room / GRAIN << ROOM_SHIFT | (size / GRAIN - 1) << POOL_SIZE_SHIFT;
	return (struct hpx_object *)(void *)(block + room);
}

static struct hpx_object *pooled_new(hapax_env *env, size_t room, size_t size, uint64_t *flags)
{
	char *block;

	size = round_up(size, GRAIN);
	block = hpx_pool_alloc(env, size);
	return block ? pooled_init(block, room, size, flags) : NULL;
}

static void *pooled_block(struct hpx_object *o, uint64_t count, size_t *size)
{
	size_t room = (count >> ROOM_SHIFT & POOL_ROOM_MASK) * GRAIN;

	*size = ((count >> POOL_SIZE_SHIFT & POOL_SIZE_MASK) + 1) * GRAIN;
	return (char *)o - room;
}

static struct hpx_object *large_new(hapax_env *env, size_t keyed, size_t payload, size_t align, uint64_t *flags)
{
	size_t mantissa = round_up(keyed, GRAIN) / GRAIN, room, before, size;
	uint64_t exponent = 0;
	struct large *large;
	char *base;

	while (mantissa > LARGE_MANTISSA_MASK) {
		mantissa = (mantissa + 1) / 2;
		exponent++;
	}
	if (exponent > LARGE_EXPONENT_MASK)
		return NULL;
	room = (mantissa << exponent) * GRAIN;
	before = round_up(sizeof(*large) + room + sizeof(struct hpx_object), align);
	if (__builtin_add_overflow(before, payload, &size))
		return NULL;
	base = hpx_alloc(env, size, align);
	if (!base)
		return NULL;
	large = (struct large *)(void *)(base + before - sizeof(struct hpx_object) - room - sizeof(*large));
	large->base = base;
	large->size = size;
	large->align = align;
	large->object = (struct hpx_object *)(void *)(base + before) - 1;
	*flags = HPX_LARGE | mantissa << ROOM_SHIFT | exponent << LARGE_EXPONENT_SHIFT;
	return large->object;
}

static struct large *large_of(struct hpx_object *o, uint64_t count)
{
	size_t mantissa = count >> ROOM_SHIFT & LARGE_MANTISSA_MASK;
	size_t room = (mantissa << (count >> LARGE_EXPONENT_SHIFT & LARGE_EXPONENT_MASK)) * GRAIN;

	return (struct large *)(void *)((char *)o - room) - 1;
}

static void large_free(struct hpx_deferred *d)
{
	struct large *large = HPX_CONTAINER_OF(d, struct large, deferred);
	struct hpx_class *c = hpx_class_of(large->object);
	hapax_env *env = c->env;

	HPX_UNPOISON(large->base, large->size);
	if (c->special && c->freed)
		c->freed(c, large->object);
	hpx_free(env, large->base, large->size, large->align);
	count_freed(c);
}

size_t hpx_object_bytes(struct hpx_object *o)
{
	/* order: OBJECT.LAYOUT relaxed; these bits are constant from birth */
	uint64_t count = hpx_load_relaxed(&o->count);
	size_t size;

	if (count & HPX_LARGE)
		return large_of(o, count)->size;
	pooled_block(o, count, &size);
	return size;
}

size_t hpx_object_payload_bytes(struct hpx_object *o)
{
	/* order: OBJECT.LAYOUT relaxed; these bits are constant from birth */
	uint64_t count = hpx_load_relaxed(&o->count);
	struct large *large;
	char *block;
	size_t size;

	if (count & HPX_LARGE) {
		large = large_of(o, count);
		return (size_t)((char *)large->base + large->size - (char *)hpx_payload(o));
	}
	block = pooled_block(o, count, &size);
	return (size_t)(block + size - (char *)hpx_payload(o));
}

void hpx_object_later(struct hpx_class *c, struct hpx_object *o, void (*run)(struct hpx_deferred *d))
{
	/* order: OBJECT.LAYOUT relaxed; these bits are constant from birth */
	struct large *large = large_of(o, hpx_load_relaxed(&o->count));

	/* order: RECLAIM.RETIRE; as below */
	hpx_retire(c->env, &large->deferred, large->size, run);
}

struct hpx_object *hpx_object_of_large(struct hpx_deferred *d)
{
	return HPX_CONTAINER_OF(d, struct large, deferred)->object;
}

static inline void retire_pooled(struct hpx_class *c, struct hpx_object *o, uint64_t count)
{
	size_t size;
	void *block = pooled_block(o, count, &size);

	if (!read_on(c->type))
		HPX_POISON(hpx_payload(o), (size_t)((char *)block + size - (char *)hpx_payload(o)));
	/* order: RECLAIM.RETIRE; everything that led here was made unreachable before, by this thread */
	/* a release too many can still name the type while the block waits, if the link has another place: one that is not borrowed */
	hpx_pool_retire(c->env, block, size,
			c->type->size >= sizeof(uint64_t) && !read_on(c->type) ? hpx_payload(o) : (void *)&o->meta);
}

static void retire_large(struct hpx_class *c, struct hpx_object *o, uint64_t count)
{
	struct large *large = large_of(o, count);

	if (!read_on(c->type))
		HPX_POISON(hpx_payload(o), (size_t)((char *)large->base + large->size - (char *)hpx_payload(o)));
	/* order: RECLAIM.RETIRE; as above */
	hpx_retire(c->env, &large->deferred, large->size, large_free);
}

void hpx_object_retire(struct hpx_class *c, struct hpx_object *o)
{
	/* order: OBJECT.LAYOUT relaxed; these bits are constant from birth */
	uint64_t count = hpx_load_relaxed(&o->count);

	hpx_trace_gone(o);
	if (count & HPX_LARGE) {
		retire_large(c, o, count);
		return;
	}
	retire_pooled(c, o, count);
	hpx_read_lock();
	count_freed(c);
	hpx_read_unlock();
}

void hpx_object_retire_quick(struct hpx_class *c, struct hpx_object *o)
{
	/* order: OBJECT.LAYOUT relaxed; these bits are constant from birth */
	uint64_t count = hpx_load_relaxed(&o->count);

	hpx_trace_gone(o);
	if (HPX_UNLIKELY(count & HPX_LARGE)) {
		retire_large(c, o, count);
		return;
	}
	retire_pooled(c, o, count);
	count_freed(c);
}

/* ---- birth ------------------------------------------------------------------------------------------------------- */

static inline void born(struct hpx_class *c, struct hpx_object *o, uint64_t flags)
{
	hpx_init(&o->meta, (uint64_t)c->id << HPX_CLASS_SHIFT);
	hpx_init(&o->count, HPX_ONE | flags);
	hpx_count(c->env_counters, HPX_ENV_BORN, 1);
	hpx_count(&c->counters, HPX_CLASS_BORN, 1);
	hpx_trace_born(o);
}

int hpx_object_new(struct hpx_class *c, size_t keyed, size_t payload, uint64_t deadline, struct hpx_object **out)
{
	hapax_env *env = c->env;
	size_t align = c->type->align > GRAIN ? c->type->align : GRAIN;
	size_t room, size;
	struct hpx_object *o;
	uint64_t flags;
	int status;

	*out = NULL;
	if (payload > HAPAX_OBJECT_MAX || keyed > 2 * HAPAX_KEY_MAX)
		return HAPAX_ESIZE;
	hpx_enter();
	status = hpx_admit(env, deadline);
	if (status)
		return status;
	room = round_up(keyed, GRAIN);
	size = room + sizeof(*o) + payload;
	if (size <= HPX_POOL_MAX && align == GRAIN && !c->special)
		o = pooled_new(env, room, size, &flags);
	else
		o = large_new(env, keyed, payload, align, &flags);
	if (!o)
		return HAPAX_ENOMEM;
	if (!(flags & HPX_LARGE))
		HPX_POISON((char *)hpx_payload(o) + payload, round_up(size, GRAIN) - size);
	born(c, o, flags | (keyed ? HPX_KEYED : 0));
	*out = o;
	return 0;
}

struct hpx_object *hpx_object_new_quick(struct hpx_class *c, size_t keyed)
{
	size_t room = round_up(keyed, GRAIN), size = room + sizeof(struct hpx_object) + c->type->size;
	struct hpx_object *o;
	uint64_t flags;
	char *block;

	if (HPX_UNLIKELY(size > HPX_POOL_MAX || c->type->align > GRAIN || c->special))
		return NULL;
	block = hpx_pool_alloc_quick(c->env, round_up(size, GRAIN));
	if (HPX_UNLIKELY(!block))
		return NULL;
	o = pooled_init(block, room, round_up(size, GRAIN), &flags);
	HPX_POISON((char *)hpx_payload(o) + c->type->size, round_up(size, GRAIN) - size);
	born(c, o, flags | HPX_KEYED);
	return o;
}

int hapax_new(hapax_env *env, const hapax_type *type, size_t extra, void **out)
{
	struct hpx_class *c;
	struct hpx_object *o;
	size_t size;
	int status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	status = hpx_type_check(type);
	if (status)
		return status;
	if (__builtin_add_overflow(type->size, extra, &size) || size > HAPAX_OBJECT_MAX)
		return HAPAX_ESIZE;
	env = hpx_env_or_default(env);
	hpx_enter();
	status = hpx_class_for_type(env, type, &c);
	if (!status)
		status = hpx_object_new(c, 0, size, HAPAX_FOREVER, &o);
	if (!status)
		*out = hpx_payload(o);
	return HPX_TAKEN_OUT(status, out);
}

/* ---- references -------------------------------------------------------------------------------------------------- */

const char *hpx_object_name(struct hpx_object *o)
{
	struct hpx_class *c = hpx_class_of(o);

	return c && c->type && c->type->name ? c->type->name : "object";
}

int hapax_retain(void *object)
{
	struct hpx_object *o;
	uint64_t seen;

	if (!object)
		return HAPAX_ENULL;
	o = hpx_object_of(object);
	/* order: OBJECT.RETAIN relaxed; the caller's own reference keeps the object and ordered its contents */
	seen = hpx_add_relaxed(&o->count, HPX_ONE);
	if (HPX_LIKELY(!hpx_refuses(seen))) {
		HPX_TAKEN(object);
		return 0;
	}
	hpx_sub_relaxed(&o->count, HPX_ONE);
	if (!(seen & HPX_DEAD))
		return HAPAX_EOVERFLOW;
	hpx_misuse("hapax_retain of the dead object %p of type '%s'", object, hpx_object_name(o));
	return HAPAX_EDEAD;
}

int hpx_retain(struct hpx_object *o)
{
	HPX_TAKES_NOTHING;

	return hapax_retain(hpx_payload(o));
}

void hapax_release(void *object)
{
	if (object)
		hpx_release(hpx_object_of(object));
}

uint64_t hapax_count(const void *object)
{
	if (!object)
		return 0;
	/* order: OBJECT.COUNT relaxed; a hint */
	return hpx_load_relaxed(&hpx_object_of(object)->count) & HPX_DEAD ? 0 : hpx_refs(hpx_object_of(object));
}

const hapax_type *hapax_type_of(const void *object)
{
	return object ? hpx_class_of(hpx_object_of(object))->type : NULL;
}

#ifdef HPX_TESTING
void hapax_testing_set_strong(void *object, uint64_t count)
{
	struct hpx_object *o = hpx_object_of(object);

	/* order: at rest, by the one thread of the test */
	hpx_store_relaxed(&o->count, count * HPX_ONE | (hpx_load_relaxed(&o->count) & (HPX_ONE - 1)));
}
#endif
