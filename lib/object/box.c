/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/box.c - foreign resources as objects.
 */
#include <hapax/object.h>

#include "object/trace.h"

static void box_destroy(void *object, void *arg)
{
	hapax_box *box = object;

	(void)arg;
	if (box->close)
		box->close(box->pointer);
}

static const hapax_type box_type = {HAPAX_TYPE_INIT, .name = "box", .size = sizeof(hapax_box),
				    .align = _Alignof(hapax_box), .destroy = box_destroy};

const hapax_type *hapax_box_type(void) { return &box_type; }

int hapax_box_new(hapax_env *env, void *pointer, void (*close)(void *pointer), void **out)
{
	HPX_TAKES_FOR_CALLER;
	hapax_box *box;
	int status = hapax_new(env, &box_type, 0, out);

	if (status)
		return status;
	box = *out;
	box->pointer = pointer;
	box->close = close;
	return 0;
}
