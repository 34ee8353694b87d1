/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Handles: as many as there can be, one drop too many; sizes and registrations that are refused below the API. */
#include "unit/item.h"

#include "object/internal.h"
#include "object/side.h"

static unsigned misuses;
static char last_misuse[256];
static void on_misuse(const char *message, void *ctx)
{
	(void)ctx;
	misuses++;
	snprintf(last_misuse, sizeof(last_misuse), "%s", message);
}

static void fired(hapax_weak *weak, void *ctx)
{
	(void)weak;
	++*(unsigned *)ctx;
}

TEST(as_many_handles_as_can_be_counted)
{
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	unsigned fires = 0;
	hapax_callback callback = {.fn = fired, .ctx = &fires};
	hapax_weak *shared, *own, *more = (void *)1;
	struct hpx_reg *reg;

	CHECK_EQ(hapax_weak_new(item, NULL, &shared), 0);
	CHECK_EQ(hapax_weak_new(item, &callback, &own), 0);
	hapax_testing_set_weak(item, HPX_HANDLE_LIMIT);
	CHECK_EQ(hapax_weak_new(item, NULL, &more), HAPAX_EOVERFLOW);
	CHECK(!more);
	CHECK_EQ(hapax_weak_dup(shared, &more), HAPAX_EOVERFLOW);
	CHECK(!more);
	hapax_testing_set_weak(item, 1);
	reg = HPX_CONTAINER_OF(own, struct hpx_reg, weak);
	hpx_store_relaxed(&reg->handles, HPX_HANDLE_LIMIT);
	CHECK_EQ(hapax_weak_dup(own, &more), HAPAX_EOVERFLOW);
	CHECK(!more);
	CHECK_EQ(hpx_load_relaxed(&reg->handles), HPX_HANDLE_LIMIT);
	hpx_store_relaxed(&reg->handles, 1);
	CHECK_EQ(hapax_weak_dup(own, &more), 0);
	CHECK_PTR(more, own);
	CHECK_EQ(hapax_weak_drop(more), 0);
	hapax_release(item);
	CHECK_EQ(fires, 1);
	CHECK_EQ(hapax_weak_drop(own), 0);
	CHECK_EQ(hapax_weak_drop(shared), 0);
	test_env_end(env);
}

TEST(a_handle_dropped_too_often_while_its_object_lives)
{
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	unsigned fires = 0;
	hapax_callback callback = {.fn = fired, .ctx = &fires};
	hapax_weak *shared, *own;
	struct hpx_reg *reg;

	hapax_testing_set_misuse(on_misuse, NULL);
	CHECK_EQ(hapax_weak_new(item, NULL, &shared), 0);
	CHECK_EQ(hapax_weak_drop(shared), 0);
	CHECK_EQ(misuses, 0);
	CHECK_EQ(hapax_weak_drop(shared), 0);
	CHECK_EQ(misuses, 1);
	CHECK(strstr(last_misuse, "dropped too often"));
	CHECK_EQ(hapax_weak_new(item, &callback, &own), 0);
	reg = HPX_CONTAINER_OF(own, struct hpx_reg, weak);
	hpx_store_relaxed(&reg->handles, 0); /* as after the last drop, but nobody has reused the node yet */
	CHECK_EQ(hapax_weak_drop(own), 0);
	CHECK_EQ(misuses, 2);
	CHECK(strstr(last_misuse, "dropped too often"));
	CHECK_EQ(hpx_load_relaxed(&reg->handles), 0);
	hpx_store_relaxed(&reg->handles, 1);
	CHECK_EQ(hapax_weak_drop(own), 0);
	hapax_testing_set_misuse(NULL, NULL);
	hapax_release(item);
	CHECK_EQ(fires, 0);
	test_env_end(env);
}

/* In the destructor: registrations and handles are refused, the rest reads as nothing. */
static int looked;
static void look_at_the_dying(struct item *item, void *arg)
{
	struct hpx_reg *reg = (void *)1;

	(void)arg;
	CHECK_EQ(hpx_reg_add(hpx_object_of(item), &looked, NULL, &reg), HAPAX_EDEAD);
	CHECK(!reg);
	CHECK_EQ(hapax_weak_count(item), 0);
	CHECK_EQ(hapax_count(item), 0);
	looked++;
}

TEST(the_dying_are_not_registered)
{
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	hapax_weak *weak;

	CHECK_EQ(hapax_weak_new(item, NULL, &weak), 0);
	CHECK_EQ(hapax_weak_count(item), 1);
	item->on_destroy = look_at_the_dying;
	hapax_release(item);
	CHECK_EQ(looked, 1);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	test_env_end(env);
}

TEST(registrations_alone_are_counted)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *item = item_new(env, 1);
	hapax_weak *weak;

	CHECK_EQ(hapax_weak_count(item), 0);
	table_put(table, HAPAX_STR("k"), item);
	CHECK_EQ(hapax_weak_count(item), 1); /* the table's */
	CHECK_EQ(hapax_weak_new(item, NULL, &weak), 0);
	CHECK_EQ(hapax_weak_count(item), 2);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	CHECK_EQ(hapax_weak_count(item), 1);
	hapax_release(item);
	table_end(table, 0);
	test_env_end(env);
}

/* The reference that get_or_put hands out has to be had first. */
TEST(a_put_of_an_object_with_as_many_references_as_can_be)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *item = item_new(env, 1);
	bool inserted = true;
	void *out = item;

	hapax_testing_set_strong(item, UINT64_C(1) << 36);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("k"), item, &out, &inserted), HAPAX_EOVERFLOW);
	CHECK(!out && !inserted);
	CHECK_EQ(hapax_table_size(table), 0);
	hapax_testing_set_strong(item, 1);
	hapax_release(item);
	table_end(table, 0);
	test_env_end(env);
}

TEST(blocks_that_are_too_large)
{
	hapax_env *env = test_env();
	struct hpx_object *o = (void *)1;
	struct hpx_class *c;

	CHECK_EQ(hpx_class_create(&c, env, &item_type), 0);
	CHECK_EQ(hpx_object_new(c, 0, HAPAX_OBJECT_MAX + (size_t)1, HAPAX_FOREVER, &o), HAPAX_ESIZE);
	CHECK(!o);
	CHECK_EQ(hpx_object_new(c, 2 * (size_t)HAPAX_KEY_MAX + 16, 8, HAPAX_FOREVER, &o), HAPAX_ESIZE);
	hpx_class_detach(c);
	CHECK_EQ(hpx_class_create(&c, env, NULL), HAPAX_ENULL);
	CHECK(!c);
	test_env_end(env);
}
