#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# packages.sh SOURCE BUILD: makes Debian packages of the build tree, installs them with dpkg into a root of their own, and builds
# the README's example against that (run.sh does more of this); their contents are those of contents.txt, and the same a second time.
set -eu
source=$(cd "$1" && pwd) build=$(cd "$2" && pwd)
here=$source/tests/install
for tool in dpkg-deb dpkg-shlibdeps cpack gdb; do
	command -v $tool >/dev/null || { echo "$tool is not there"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { echo "-- $*"; }

# not compressed well: these are thrown away
pack() {
	sed "${2-}" "$build/CPackConfig.cmake" >"$work/config"
	(cd "$work" && SOURCE_DATE_EPOCH=1700000000 cpack --config "$work/config" -B "$work/$1" \
		-D CPACK_DEBIAN_COMPRESSION_TYPE=gzip >"$work/log" 2>&1) || { cat "$work/log"; exit 1; }
}
pack packages
libdir=$(sed -n 's/^CMAKE_INSTALL_LIBDIR:[A-Z]*=//p' "$build/CMakeCache.txt")
"$here/contents.py" "$here/contents.txt" "$libdir" "$work"/packages/*.deb
sed '/hapax.7.gz/d; s,bin/hapax-top,bin/hapax-bottom,' "$here/contents.txt" >"$work/wrong.txt"
! "$here/contents.py" "$work/wrong.txt" "$libdir" "$work"/packages/*.deb >"$work/found" || { echo "a wrong list is not found"; exit 1; }
[ "$(wc -l <"$work/found")" = 3 ] || { cat "$work/found"; exit 1; }

say "the same bytes again, some seconds later"
pack again 's/^set(CPACK_COMPONENTS_ALL .*/set(CPACK_COMPONENTS_ALL runtime)/'
cmp "$work"/packages/libhapax0_*.deb "$work"/again/libhapax0_*.deb

say "dpkg --install"
root=$work/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers"
touch "$root/var/lib/dpkg/status" "$root/var/lib/dpkg/available"
dpkg --root="$root" --force-not-root --force-unsafe-io --force-depends --force-script-chrootless --log="$root/log" --install \
	"$work"/packages/*.deb >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
[ "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${db:Status-Abbrev} ' | tr -s ' ')" = "ii ii ii ii " ] || {
	dpkg-query --admindir="$root/var/lib/dpkg" -W
	exit 1
}

say "what they depend on, and what others may depend on"
dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package}: ${Depends}\n' >"$work/depends"
grep -q '^libhapax0: .*libck0.*liburcu' "$work/depends"
grep -q '^libhapax-dev: libhapax0 (= ' "$work/depends"
symbols=$(grep -c '^ hapax_' "$root/var/lib/dpkg/info/libhapax0.symbols")
[ "$symbols" = "$(grep -c '^	hapax_' "$source/lib/hapax.map")" ]

export PKG_CONFIG_PATH=$root/usr/$libdir/pkgconfig LD_LIBRARY_PATH=$root/usr/$libdir
cp -r "$here/pkgconfig" "$work/pkgconfig"
make -s -C "$work/pkgconfig" EXAMPLE="$source/docs/examples/example.c" shared
"$work/pkgconfig/example-shared"
"$root/usr/bin/hapax-top" --version
"$root/usr/bin/hapax-stress" --version
say "what gdb knows of the library comes with the package that says so, and gdb has its commands from there"
ask() { LC_ALL=C gdb -nx -batch -iex "set debuginfod enabled off" -iex "set debug-file-directory $1" -ex "ptype struct hpx_tier" \
	-ex "source $root/usr/share/hapax/gdb/hapax.py" -ex "help hapax caches" "$root/usr/$libdir/libhapax.so" >"$work/log" 2>&1; }
ask "$root/usr/lib/debug"
grep -q "struct hpx_wheel wheel;" "$work/log" && grep -q "every cache" "$work/log" || { cat "$work/log"; exit 1; }
ask "$root/nowhere"
grep -q "No struct type named hpx_tier" "$work/log" || { cat "$work/log"; exit 1; }
say "the shared library that is installed is found"
"$root/usr/bin/hapax-stress" torture --with dlopen --seconds 1 --threads 2 --keys 16 --seed 1 >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
say "all packages work"
