#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# model_scenarios.sh PROGRAM: every scenario, 300 seeds at each of three depths; races, weak memory and the exhaustive
# search in small. The litmus tests have a script of their own.
set -u
program=$1
"$program" model --list >/dev/null 2>&1 || exit 77
exec "$program" model --scenario scenarios --seeds "${MODEL_SEEDS:-300}" --seconds 0.2
