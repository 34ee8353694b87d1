/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef HPX_MODEL_SELFTEST_H
#define HPX_MODEL_SELFTEST_H

struct model_scenario;
extern const struct model_scenario *const model_selftests[]; /* NULL-terminated; not part of `all` */

#endif
