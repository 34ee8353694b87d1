/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Objects from inside: blocks of every shape, classes and their ids, discarding.
 */
#include "unit/item.h"

#include "object/object.h"

static int destroyed_objects;
static void count_destroy(void *object, void *arg)
{
	(void)object;
	(void)arg;
	destroyed_objects++;
}

static bool all_zero(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

TEST(CX_MEM_08_every_alignment_is_given_and_the_payload_is_zero)
{
	hapax_env *env = test_env();
	static hapax_type types[13];
	static const size_t extras[] = {0, 1, 15, 16, 400, 470, 496, 497, 5000, 100000};

	for (unsigned shift = 0; shift <= 12; shift++) {
		types[shift] = (hapax_type){HAPAX_TYPE_INIT, .size = 24, .align = (size_t)1 << shift, .destroy = count_destroy};
		for (unsigned i = 0; i < sizeof(extras) / sizeof(*extras); i++) {
			void *object;

			CHECK_EQ(hapax_new(env, &types[shift], extras[i], &object), 0);
			CHECK_EQ((uintptr_t)object & (((size_t)1 << shift) - 1), 0);
			CHECK_EQ((uintptr_t)object & 15, 0);
			CHECK(all_zero(object, 24 + extras[i]));
			memset(object, 0xff, 24 + extras[i]);
			CHECK_PTR(hapax_type_of(object), &types[shift]);
			hapax_release(object);
		}
	}
	CHECK_EQ(destroyed_objects, 13 * (int)(sizeof(extras) / sizeof(*extras)));
	test_env_end(env);
}

TEST(CX_MEM_08_sizes_that_overflow_are_refused)
{
	hapax_env *env = test_env();
	hapax_type type = {HAPAX_TYPE_INIT, .size = 24};
	void *object = &type;

	CHECK_EQ(hapax_new(env, &type, SIZE_MAX, &object), HAPAX_ESIZE);
	CHECK_PTR(object, NULL);
	CHECK_EQ(hapax_new(env, &type, SIZE_MAX - 24, &object), HAPAX_ESIZE);
	CHECK_EQ(hapax_new(env, &type, HAPAX_OBJECT_MAX, &object), HAPAX_ESIZE);
	type.align = 3;
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_EALIGN);
	type.align = 8192;
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_EALIGN);
	type.align = 0;
	type.flags = 1u << 20;
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_EFLAGS);
	type.flags = 0;
	type.struct_size = 8;
	CHECK_EQ(hapax_new(env, &type, 0, &object), HAPAX_ETYPE);
	CHECK_EQ(hapax_new(env, NULL, 0, &object), HAPAX_ENULL);
	test_env_end(env);
}

/* The room before the header, in pooled and large blocks, up to the longest key. */
static void keyed_round(struct hpx_class *c, size_t keyed, size_t payload, size_t align)
{
	struct hpx_object *o;

	CHECK_EQ(hpx_object_new(c, keyed, payload, HAPAX_FOREVER, &o), 0);
	CHECK_EQ((uintptr_t)o & 15, 0);
	CHECK_EQ((uintptr_t)hpx_payload(o) & (align - 1), 0);
	memset((char *)o - keyed, 0xee, keyed);
	memset(hpx_payload(o), 0xdd, payload);
	CHECK_PTR(hpx_class_of(o), c);
	hpx_release(o);
}

TEST(blocks_with_room_for_a_key)
{
	hapax_env *env = test_env();
	static const size_t keyed[] = {0, 16, 24, 32, 248, 480, 488, 496, 1000, 1016, 1024, 1032, 2048, 4104, 65544, 1048584,
				       16777224};
	static const size_t payloads[] = {0, 8, 64, 200, 479, 480, 481, 4096};
	static const size_t aligns[] = {16, 64, 4096};

	for (unsigned a = 0; a < 3; a++) {
		hapax_type type = {HAPAX_TYPE_INIT, .align = aligns[a], .destroy = count_destroy};
		struct hpx_class *c;

		CHECK_EQ(hpx_class_create(&c, env, &type), 0);
		for (unsigned k = 0; k < sizeof(keyed) / sizeof(*keyed); k++)
			for (unsigned p = 0; p < sizeof(payloads) / sizeof(*payloads); p++) {
				if (keyed[k] > 100000 && p > 1)
					continue;
				keyed_round(c, keyed[k], payloads[p], aligns[a]);
			}
		CHECK_EQ(hpx_counters_sum(&c->counters, HPX_CLASS_DESTROYED), hpx_counters_sum(&c->counters, HPX_CLASS_BORN));
		hpx_class_detach(c);
		hapax_testing_drain(env);
	}
	test_env_end(env);
}

static int aux_frees, key_frees, unlinked, was_destroyed;
static void on_aux_free(struct hpx_class *c)
{
	CHECK_PTR(c->aux, &aux_frees);
	aux_frees++;
}
static void on_freed(struct hpx_class *c, struct hpx_object *o)
{
	CHECK_PTR(hpx_class_of(o), c);
	CHECK_EQ(*(char *)hpx_payload(o), 77); /* the bytes are still there */
	key_frees++;
}
static void on_unlink(void *owner, struct hpx_object *o)
{
	CHECK_PTR(owner, &unlinked);
	CHECK(hpx_dead(o));
	CHECK(hpx_in_section());
	unlinked++;
}
static void on_destroyed(void *owner, struct hpx_object *o)
{
	CHECK_PTR(owner, &unlinked);
	CHECK(hpx_dead(o));
	was_destroyed++;
}

TEST(CX_KEY_05_special_classes_hear_of_each_free_once)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false); /* the counts are plain: one thread frees */
	hapax_type type = {HAPAX_TYPE_INIT, .size = 32};
	struct hpx_class *c;
	struct hpx_object *o[3];

	CHECK_EQ(hpx_class_create(&c, env, &type), 0);
	c->special = true;
	c->freed = on_freed;
	c->unlink = on_unlink;
	c->destroyed = on_destroyed;
	c->aux = &aux_frees;
	c->aux_free = on_aux_free;
	hpx_init(&c->owner, (void *)&unlinked);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(hpx_object_new(c, i ? 16 : 0, 32, HAPAX_FOREVER, &o[i]), 0);
		*(char *)hpx_payload(o[i]) = 77;
	}
	hpx_release(o[0]); /* no embedded entry: nothing to unlink */
	CHECK_EQ(unlinked, 0);
	hpx_release(o[1]);
	CHECK_EQ(unlinked, 1);
	CHECK_EQ(was_destroyed, 2);
	hpx_class_detach(c);
	hapax_testing_drain(env);
	CHECK_EQ(key_frees, 2);
	CHECK_EQ(aux_frees, 0); /* one object is left */
	hpx_release(o[2]);
	CHECK_EQ(unlinked, 1); /* the owner is gone */
	hapax_testing_drain(env);
	CHECK_EQ(key_frees, 3);
	CHECK_EQ(aux_frees, 1);
	test_env_end(env);
}

TEST(class_ids_are_recycled)
{
	hapax_env *env = test_env();
	hapax_type type = {HAPAX_TYPE_INIT, .size = 8};
	struct hpx_class *c[50];
	uint32_t highest = 0;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 50; i++) {
			CHECK_EQ(hpx_class_create(&c[i], env, &type), 0);
			CHECK(c[i]->id != 0);
			CHECK_PTR(hpx_class_by_id(c[i]->id), c[i]);
			if (round == 0 && c[i]->id > highest)
				highest = c[i]->id;
			CHECK(c[i]->id <= highest);
		}
		for (int i = 0; i < 50; i++)
			hpx_class_detach(c[i]);
		hapax_testing_drain(env);
	}
	CHECK_PTR(hpx_class_by_id(0), NULL);
	CHECK_PTR(hpx_class_by_id(highest), NULL);
	CHECK_PTR(hpx_class_by_id(UINT32_MAX), NULL);
	test_env_end(env);
}

static void new_of_types(unsigned index, void *arg)
{
	static const hapax_type types[4] = {{HAPAX_TYPE_INIT, .size = 8}, {HAPAX_TYPE_INIT, .size = 16},
					    {HAPAX_TYPE_INIT, .size = 24}, {HAPAX_TYPE_INIT, .size = 600}};

	for (unsigned i = 0; i < 2000; i++) {
		void *object;

		CHECK_EQ(hapax_new(arg, &types[(i + index) % 4], 0, &object), 0);
		CHECK_PTR(hapax_type_of(object), &types[(i + index) % 4]);
		hapax_release(object);
	}
}

TEST(threads_that_meet_a_type_at_once_share_its_class)
{
	hapax_env *env = test_env();

	run_threads(4, new_of_types, env);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	test_env_end(env);
}
