/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/reg.c - registrations of tables: told of an object's death, before any callback.
 */
#include "object/internal.h"
#include "object/side.h"

int hpx_reg_add(struct hpx_object *o, void *record, void (*died)(void *record), struct hpx_reg **out)
{
	struct hpx_reg *reg;
	int status;

	*out = NULL;
	if (hpx_dead(o))
		return HAPAX_EDEAD;
	if (hpx_class_of(o)->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	reg = hpx_reg_make(o);
	if (!reg)
		return HAPAX_ENOMEM;
	hpx_store_relaxed(&reg->weak.kind, HPX_WEAK_RECORD); /* order: WEAK.KIND relaxed; REG.ARM publishes it */
	reg->record = record;
	reg->died = died;
	status = hpx_reg_arm(reg);
	if (!status)
		*out = reg;
	return status;
}

bool hpx_reg_cancel(struct hpx_reg *reg)
{
	bool cancelled = hpx_reg_disarm(reg);

	if (cancelled)
		hpx_reg_recycle(reg);
	hpx_reg_drop(reg);
	return cancelled;
}
