/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* model/litmus.h - scenarios litmus.EDGE, litmus.EDGE.weak-END (which must fail), and litmus.classic.NAME. */
#ifndef HPX_MODEL_LITMUS_H
#define HPX_MODEL_LITMUS_H

#include "model/model.h"

extern const struct model_scenario *const model_litmus[]; /* NULL-terminated */

#endif
