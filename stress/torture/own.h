/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* own.h - the two flavours of own.c meet here: their headers do not share a file. */
#ifndef HPX_STRESS_OWN_H
#define HPX_STRESS_OWN_H

#include "disturb.h"

extern hpx_torturer *hpx_own_callbacks; /* of the thread that runs call_rcu() callbacks */

void hpx_own_register_memb(void);
void hpx_own_unregister_memb(void);
void hpx_own_read_memb(void);
void hpx_own_replace_memb(hpx_rng *rng);
void hpx_own_end_memb(void);

#endif
