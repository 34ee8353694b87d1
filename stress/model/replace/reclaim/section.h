/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/section.h of the model build: read sections are the model's own, which knows who is in one (sections.c).
 * The names that lib/ takes from liburcu are kept.
 */
#ifndef HPX_SECTION_H
#define HPX_SECTION_H

#include <stdbool.h>

#include "base/atomic.h"

void hpx_read_lock(void);
void hpx_read_unlock(void);
bool hpx_in_section(void);
struct hpx_quick { char none; };
static inline bool hpx_quick_lock(struct hpx_quick *q) { q->none = 0; hpx_read_lock(); return true; }
static inline void hpx_quick_unlock(struct hpx_quick *q) { (void)q; hpx_read_unlock(); }

struct urcu_bp_reader {
	unsigned long ctr; /* nesting, and the phase in which the section began */
};
struct model_readers {
	unsigned long ctr;
};
#define URCU_BP_GP_CTR_NEST_MASK 0xfffful
#define URCU_BP_GP_CTR_PHASE 0x10000ul
extern struct model_readers urcu_bp_gp;
struct urcu_bp_reader *model_reader(void);
#define URCU_TLS(reader) model_reader()
static inline unsigned long hpx_reader_ctr(const struct urcu_bp_reader *reader) { return reader->ctr; }

void urcu_bp_synchronize_rcu(void);
static inline void urcu_bp_register_thread(void) {}
static inline void urcu_bp_before_fork(void) {}
static inline void urcu_bp_after_fork_parent(void) {}
static inline void urcu_bp_after_fork_child(void) {}

#endif
