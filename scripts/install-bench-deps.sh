#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# install-bench-deps.sh: installs the peers that `make bench` measures against, one by one: one that cannot be had (no
# network, no root, another system) is said so and will be absent from the rows. Nothing else needs them.
set -u
cd "$(dirname "$0")/.." || exit 2

peers=(
	"oneTBB: libtbb-dev"
	"libcuckoo: libcuckoo-dev"
	"Boost: libboost-dev"
	"GLib: libglib2.0-dev"
	"dashmap: cargo rustc librust-dashmap-dev librust-ahash-dev"
	"Caffeine: default-jdk-headless libcaffeine-java"
	"Guava: default-jdk-headless libguava-java"
)
all=()
for peer in "${peers[@]}"; do
	read -ra packages <<<"${peer#*: }"
	all+=("${packages[@]}")
done
scripts/install-deps.sh "${all[@]}" && exit 0

echo "not all of the peers can be installed at once; one by one:"
for peer in "${peers[@]}"; do
	read -ra packages <<<"${peer#*: }"
	scripts/install-deps.sh "${packages[@]}" || echo "absent: ${peer%%:*}"
done
exit 0
