/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "own_sections.h"

#define RCU_MEMBARRIER
#include <urcu.h>

void own_memb_begin(void) { rcu_register_thread(); }
void own_memb_end(void) { rcu_unregister_thread(); }
void own_memb_enter(void) { rcu_read_lock(); }
void own_memb_leave(void) { rcu_read_unlock(); }
void own_memb_synchronize(void) { synchronize_rcu(); }
