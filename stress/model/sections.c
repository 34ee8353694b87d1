/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/sections.c - read sections and grace periods.
 *
 * Waiting for readers ends when every section that was open at its beginning has ended. What sections did happens before
 * that end. Readers acquire nothing, so that what only a grace period orders stays a race if there is none. In the weak
 * mode, however, a section that began after a grace period had begun sees what was done before that (the other half of
 * the guarantee); while one is in progress a new section may instead be one of those it waits for.
 */
#include "model/engine.h"
#include "model/replace/reclaim/section.h"

#include <string.h>

struct model_readers urcu_bp_gp;
static struct urcu_bp_reader readers[FIBRES];
static struct mem_clock begun; /* before the beginnings of grace periods */
static bool in_progress;

void sections_reset(void)
{
	memset(readers, 0, sizeof(readers));
	memset(&begun, 0, sizeof(begun));
	urcu_bp_gp.ctr = 0;
	in_progress = false;
}

struct urcu_bp_reader *model_reader(void) { return &readers[model_index()]; }

bool hpx_in_section(void) { return engine.current && engine.current->nest; }

void hpx_read_lock(void)
{
	struct fibre *f = engine.current;

	if (!f)
		return;
	if (f->nest) {
		f->nest++;
		readers[f->index].ctr++;
		return;
	}
	model_step(OP_ENTER, NULL, (struct touch){KEY_SECTIONS, false, false}, CALLER);
	f->nest = 1;
	readers[f->index].ctr = urcu_bp_gp.ctr | 1;
	memset(&f->section, 0, sizeof(f->section));
	if (engine.memory != MEM_WEAK)
		return;
	if (in_progress && model_choose_store(2)) {
		for (unsigned i = 0; i < engine.used; i++)
			if (engine.fibres[i].state == BLOCKED && engine.fibres[i].by == BY_READERS)
				engine.fibres[i].readers |= fibre_bit(f);
		return;
	}
	mem_acquire(f->index, &begun);
}

void hpx_read_unlock(void)
{
	struct fibre *f = engine.current;

	if (!f)
		return;
	if (!f->nest)
		model_fail_at(CALLER, "a read section is left that was not entered");
	readers[f->index].ctr--;
	if (--f->nest)
		return;
	if (engine.memory)
		mem_release(f->index, &f->section);
	for (unsigned i = 0; i < engine.used; i++) {
		struct fibre *waiter = &engine.fibres[i];

		if (waiter->state != BLOCKED || waiter->by != BY_READERS || !(waiter->readers & fibre_bit(f)))
			continue;
		waiter->readers &= ~fibre_bit(f);
		if (engine.memory)
			mem_acquire(waiter->index, &f->section);
		model_attend();
	}
	/* what is used after the section can be freed here */
	model_step(OP_LEAVE, NULL, (struct touch){KEY_SECTIONS, false, false}, CALLER);
}

void urcu_bp_synchronize_rcu(void)
{
	struct fibre *f = engine.current;

	model_step(OP_SYNCHRONIZE, NULL, (struct touch){KEY_SECTIONS, true, false}, CALLER);
	if (f->nest)
		model_fail_at(CALLER, "readers are waited for inside a read section");
	if (engine.memory == MEM_WEAK)
		mem_release(f->index, &begun);
	urcu_bp_gp.ctr ^= URCU_BP_GP_CTR_PHASE;
	f->readers = 0;
	for (unsigned i = 0; i < engine.used; i++) {
		if (engine.fibres[i].nest)
			f->readers |= 1u << i;
		else if (engine.memory) /* the sections that have ended */
			mem_acquire(f->index, &engine.fibres[i].section);
	}
	in_progress = true;
	if (f->readers || engine.memory == MEM_WEAK)
		while (f->readers)
			model_block(BY_READERS, NULL, UINT64_MAX, CALLER);
	in_progress = false;
}
