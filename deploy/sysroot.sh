#!/bin/bash
# The static libraries that the client of a device is linked with, for one kind of machine, in
# build/sysroot/MACHINE. Needs no root, changes nothing outside build/, does nothing when all is there.
#
#   deploy/sysroot.sh x86_64|aarch64|armhf
#
# Most come from Debian's -dev packages of that architecture. Two are built from Debian's source packages, for
# size, with a section for each function so that what is not used can be left out: ZeroMQ, because the libzmq.a
# of the binary package wants GSSAPI, PGM and NORM, of which there are no static libraries; and zstd without
# the formats of before version 1.
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
packages=(libsodium-dev libprotobuf-c-dev libyaml-dev zlib1g-dev libcunit1-dev)

root=$PWD/build/sysroot/$machine
libraries=$root/usr/lib/$triplet
stamp=$root/.complete-2 # the number changes with what this script makes
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
say "fetching ${packages[*]} and the sources of ZeroMQ and zstd"
cd "$work"
attempt apt download "${packages[@]/%/:$architecture}"
attempt apt source --download-only zeromq3 libzstd
for package in ./*.deb; do dpkg-deb -x "$package" "$root"; done
unpack() { dpkg-source --no-check -x "$1" "$2" >>"$log" 2>&1; } # apt has checked their hashes
attempt unpack zeromq3_*.dsc zeromq
attempt unpack libzstd_*.dsc zstd
cd ../../..
# A static program needs no shared libraries; their links point to what is not there.
find "$libraries" -name '*.so*' -delete

sections=(-ffunction-sections -fdata-sections)
describe() { # NAME VERSION LIBRARIES [REQUIRES]: its pkg-config file
    printf '%s\n' prefix=/usr "libdir=\${prefix}/lib/$triplet" 'includedir=${prefix}/include' '' "Name: $1" \
        "Description: $1, static" "Version: ${2%%[-+]*}" "Requires: ${4-}" "Libs: -L\${libdir} $3" \
        'Cflags: -I${includedir}' >"$libraries/pkgconfig/$1.pc"
}
version_of() { dpkg-parsechangelog --file "$work/$1/debian/changelog" --show-field Version; }

say "building zstd"
build_zstd() {
    local lib=$work/zstd/lib
    mkdir "$work/objects" && cd "$work/objects" &&
        "$triplet-gcc" -Os -DNDEBUG "${sections[@]}" -DXXH_NAMESPACE=ZSTD_ -DZSTD_LEGACY_SUPPORT=0 -DZSTD_DISABLE_ASM=1 \
            -DHUF_FORCE_DECOMPRESS_X1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT -DZSTD_NO_INLINE \
            -c "$lib"/common/*.c "$lib"/compress/*.c "$lib"/decompress/*.c >>"$log" 2>&1 &&
        "$triplet-gcc-ar" qc "$libraries/libzstd.a" ./*.o && cp "$lib"/zstd*.h "$root/usr/include"
}
(attempt build_zstd)
describe libzstd "$(version_of zstd)" -lzstd

say "building ZeroMQ"
# As one source file, which compiles in a quarter of the time.
build_zeromq() {
    cmake -S "$work/zeromq" -B "$work/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/deploy/toolchains/$machine.cmake" \
        -DCMAKE_BUILD_TYPE=MinSizeRel -DCMAKE_CXX_FLAGS="${sections[*]} -I$PWD/deploy/lean" \
        -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=0 \
        -DWITH_LIBSODIUM=ON -DWITH_LIBSODIUM_STATIC=ON -DENABLE_CURVE=ON -DBUILD_SHARED=OFF -DBUILD_TESTS=OFF \
        -DENABLE_DRAFTS=OFF -DENABLE_WS=OFF -DENABLE_RADIX_TREE=OFF -DWITH_OPENPGM=OFF -DWITH_NORM=OFF -DWITH_VMCI=OFF \
        -DWITH_TLS=OFF -DWITH_LIBBSD=OFF -DWITH_PERF_TOOL=OFF -DWITH_DOCS=OFF -DENABLE_PRECOMPILED=OFF \
        -DENABLE_CPACK=OFF -DLIBZMQ_PEDANTIC=OFF >>"$log" 2>&1 &&
        cmake --build "$work/build" >>"$log" 2>&1
}
attempt build_zeromq
cp "$work/build/lib/libzmq.a" "$libraries"
cp "$work/zeromq/include/zmq.h" "$root/usr/include"
describe libzmq "$(version_of zeromq)" "-lzmq -lstdc++" libsodium
rm -rf "$work"
touch "$stamp"
say "done: $root"
