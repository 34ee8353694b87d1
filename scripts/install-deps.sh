#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# install-deps.sh [--library] [PACKAGE...]: installs what the build needs on Debian 12, and PACKAGEs, as far as it is not there
# yet; --library: only what the installed parts need (library, its variant for ThreadSanitizer, hapax-top, man pages).
# Without anything missing: no network, no root.
set -eu

library=0
[ "${1:-}" != --library ] || { library=1; shift; }

packages=(cmake ninja-build gcc g++ pkg-config make python3
	clang-19 libclang-rt-19-dev
	liburcu-dev libck-dev libxxhash-dev libjson-c-dev systemtap-sdt-dev)
[ $library = 1 ] || packages+=(git clang-14 libclang-rt-14-dev
	libcmocka-dev libsqlite3-dev libmicrohttpd-dev libssl-dev libzstd-dev libtbb-dev
	zstd sqlite3 coreutils spin gdb mandoc abigail-tools dpkg-dev)
packages+=("$@") # what one target alone needs

# What a package is needed for, where a file or command says it as well: other systems need no Debian package then.
provided() {
	case $1 in
	python3 | git | make | gdb | mandoc | zstd | sqlite3 | clang-19 | clang-14 | cmake | gcc | g++) command -v "$1" >/dev/null ;;
	ninja-build) command -v ninja >/dev/null ;;
	pkg-config) command -v pkg-config >/dev/null ;;
	abigail-tools) command -v abidiff >/dev/null ;;
	dpkg-dev) command -v dpkg-shlibdeps >/dev/null ;;
	spin) command -v spin >/dev/null ;;
	coreutils) command -v sha256sum >/dev/null ;;
	llvm-19) command -v llvm-cov-19 >/dev/null ;;
	libxxhash-dev) module libxxhash ;;
	systemtap-sdt-dev) [ -e /usr/include/sys/sdt.h ] || [ -e "/usr/include/$(gcc -print-multiarch)/sys/sdt.h" ] ;;
	liburcu-dev) module liburcu-bp ;;
	libck-dev) module ck ;;
	libcmocka-dev) module cmocka ;;
	libsqlite3-dev) module sqlite3 ;;
	libmicrohttpd-dev) module libmicrohttpd ;;
	wrk) command -v wrk >/dev/null ;;
	libssl-dev) module libcrypto ;;
	libzstd-dev) module libzstd ;;
	libjson-c-dev) module json-c ;;
	libtbb-dev) module tbb ;;
	*) return 1 ;;
	esac
}

module() {
	command -v pkg-config >/dev/null && pkg-config --exists "$1"
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

available() {
	[ -n "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *//p' | grep -v '(none)')" ]
}

missing=()
for package in "${packages[@]}"; do
	provided "$package" || installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "missing, and this is no Debian: ${missing[*]}" >&2
	exit 2
fi
root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "needs root or sudo to install: ${missing[*]}" >&2; exit 2; }
	root=(sudo)
fi
echo "installing: ${missing[*]}"

for package in "${missing[@]}"; do
	if ! available "$package"; then
		"${root[@]}" apt-get update -q
		break
	fi
done
install() {
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}
# a package list may be older than the archive: once more after an update
install "${missing[@]}" || { "${root[@]}" apt-get update -q && install "${missing[@]}"; }
