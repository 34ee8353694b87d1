/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef HPX_MODEL_SELFTEST_H
#define HPX_MODEL_SELFTEST_H

#include <stdint.h>

struct model_scenario;
/* Once per run: what came out. The report has how many different ones there were, and their sum. */
void model_outcome(uint64_t outcome);
extern const struct model_scenario *const model_selftests[]; /* NULL-terminated; not part of `all` */

#endif
