#!/bin/bash
# The static libraries that the client of a device is linked with, for one kind of machine, in
# build/sysroot/MACHINE. Needs no root, changes nothing outside build/, does nothing when all is there.
#
#   deploy/sysroot.sh x86_64|aarch64|armhf
#
# Most come from Debian's -dev packages of that architecture. ZeroMQ is built from Debian's source package:
# the libzmq.a of the binary package wants GSSAPI, PGM and NORM, of which there are no static libraries.
# It gets one patch of settings: optimised for size, a section for each function, so that what is not used
# can be left out.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "sysroot: $*" >&2; }
fail() { say "$*"; exit 1; }

case "$#:${1-}" in
    1:x86_64) architecture=amd64 triplet=x86_64-linux-gnu ;;
    1:aarch64) architecture=arm64 triplet=aarch64-linux-gnu ;;
    1:armhf) architecture=armhf triplet=arm-linux-gnueabihf ;;
    *) echo "Usage: $0 x86_64|aarch64|armhf" >&2; exit 2 ;;
esac
machine=$1
packages=(libsodium-dev libprotobuf-c-dev libzstd-dev libyaml-dev zlib1g-dev libcunit1-dev)

root=$PWD/build/sysroot/$machine
libraries=$root/usr/lib/$triplet
stamp=$root/.complete-1 # the number changes with what this script makes
[ ! -e "$stamp" ] || exit 0
command -v "$triplet-g++" >/dev/null ||
    fail "no $triplet-g++ here; deploy/install-deps.sh --cross installs it"

# Package lists of our own: the machine's are root's, and mostly have neither sources nor other architectures.
work=$root.work
rm -rf "$root" "$work"
mkdir -p "$root" "$work/lists/partial" "$work/archives/partial"
log=$work/log
suite=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v suite="$suite" '$2 == suite && $3 == "main" { print $1; exit }')
mirror=${mirror:-http://deb.debian.org/debian}
cat >"$work/sources.list" <<LIST
deb [signed-by=$keyring arch=$architecture] $mirror $suite main
deb [signed-by=$keyring arch=$architecture] http://deb.debian.org/debian-security $suite-security main
deb-src [signed-by=$keyring] $mirror $suite main
LIST
apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o APT::Architectures::="$architecture" \
        -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@" >>"$log" 2>&1
}
attempt() { # COMMAND...: shows the log if it fails
    "$@" || { tail -n 30 "$log" >&2; fail "'$*' failed; all of its messages are in $log"; }
}

say "reading the package lists for $architecture"
apt update || say "not all package lists could be read; trying with those there are"
say "fetching ${packages[*]} and the source of ZeroMQ"
cd "$work"
attempt apt download "${packages[@]/%/:$architecture}"
attempt apt source --download-only zeromq3
for package in ./*.deb; do dpkg-deb -x "$package" "$root"; done
attempt dpkg-source --no-check -x zeromq3_*.dsc zeromq >>"$log" 2>&1
cd ../../..
# A static program needs no shared libraries; their links point to what is not there.
find "$libraries" -name '*.so*' -delete

say "building ZeroMQ"
launcher=()
if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi
build_zeromq() {
    cmake -S "$work/zeromq" -B "$work/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/deploy/toolchains/$machine.cmake" \
        -DCMAKE_BUILD_TYPE=MinSizeRel -DCMAKE_CXX_FLAGS="-ffunction-sections -fdata-sections" "${launcher[@]}" \
        -DCMAKE_INSTALL_PREFIX="$root/usr" -DCMAKE_INSTALL_LIBDIR="lib/$triplet" \
        -DWITH_LIBSODIUM=ON -DWITH_LIBSODIUM_STATIC=ON -DENABLE_CURVE=ON -DBUILD_SHARED=OFF -DBUILD_TESTS=OFF \
        -DENABLE_DRAFTS=OFF -DENABLE_WS=OFF -DENABLE_RADIX_TREE=OFF -DWITH_OPENPGM=OFF -DWITH_NORM=OFF -DWITH_VMCI=OFF \
        -DWITH_TLS=OFF -DWITH_LIBBSD=OFF -DWITH_PERF_TOOL=OFF -DWITH_DOCS=OFF -DENABLE_PRECOMPILED=OFF \
        -DENABLE_CPACK=OFF -DLIBZMQ_PEDANTIC=OFF >>"$log" 2>&1 &&
        cmake --build "$work/build" >>"$log" 2>&1
}
attempt build_zeromq
cp "$work/build/lib/libzmq.a" "$libraries"
cp "$work/zeromq/include/zmq.h" "$root/usr/include"
version=$(dpkg-parsechangelog --file "$work/zeromq/debian/changelog" --show-field Version)
cat >"$libraries/pkgconfig/libzmq.pc" <<PC
prefix=/usr
libdir=\${prefix}/lib/$triplet
includedir=\${prefix}/include

Name: libzmq
Description: ZeroMQ, static
Version: ${version%%-*}
Requires: libsodium
Libs: -L\${libdir} -lzmq -lstdc++
Cflags: -I\${includedir}
PC
rm -rf "$work"
touch "$stamp"
say "done: $root"
