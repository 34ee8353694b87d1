/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hapax/hapax.h - everything. */
#ifndef HAPAX_HAPAX_H
#define HAPAX_HAPAX_H

#include <hapax/base.h>
#include <hapax/status.h>
#include <hapax/env.h>
#include <hapax/object.h>
#include <hapax/weak.h>
#include <hapax/table.h>
#include <hapax/finalizer.h>
#include <hapax/bound.h>
#include <hapax/weak_map.h>
#include <hapax/intern.h>
#include <hapax/policy.h>
#include <hapax/cache.h>
#include <hapax/compute.h>
#include <hapax/async.h>
#include <hapax/memo.h>
#include <hapax/leak.h>
#include <hapax/observe.h>
#include <hapax/auto.h>

#endif
