#!/bin/bash
# Install the Debian packages that fedq is built from. Does nothing, and says nothing, when they are there.
#
#   deploy/install-deps.sh          what demo.sh needs: compiler, libraries, the Fashion-MNIST data set
#   deploy/install-deps.sh --dev    also what test.sh needs: clang, its linter and formatter, sqlite3, Chromium
#   deploy/install-deps.sh --cross  also what build-edge.sh needs: compilers for Arm, and qemu to run what they make
set -euo pipefail

base=(
    build-essential cmake ninja-build pkg-config
    libsodium-dev libyaml-dev zlib1g-dev libzstd-dev libjansson-dev libsqlite3-dev
    libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libzmq3-dev libczmq-dev
    libmicrohttpd-dev
    libblis-serial-dev libjs-chart.js dataset-fashion-mnist
    libcunit1-dev
)
dev=(clang clang-tidy clang-format libclang-rt-14-dev sqlite3 curl chromium)

cross=(dpkg-dev qemu-user gcc-aarch64-linux-gnu g++-aarch64-linux-gnu gcc-arm-linux-gnueabihf g++-arm-linux-gnueabihf)

say() { echo "install-deps: $*" >&2; }
fail() { say "$*"; exit 1; }

wanted=("${base[@]}")
for option in "$@"; do
    case "$option" in
        --dev) wanted+=("${dev[@]}") ;;
        --cross) wanted+=("${cross[@]}") ;;
        --help | -h) echo "Usage: $0 [--dev] [--cross]"; exit 0 ;;
        *) echo "Usage: $0 [--dev] [--cross]" >&2; exit 2 ;;
    esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    fail "this is not Debian or a relative of it (no apt-get). Install by hand what these Debian" \
         "packages hold, then build with 'cmake --preset release': ${wanted[*]}"
fi

missing=()
for package in "${wanted[@]}"; do
    # One line for each installed architecture; nothing, on an empty stdout, for an unknown package.
    states=$(dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null || true)
    grep -qx installed <<<"$states" || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "these packages are missing, and installing them needs root or sudo:" \
        "apt-get install ${missing[*]}"
    as_root=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { # its output is shown only if it fails
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
        </dev/null >>"$log" 2>&1
}

say "reading the package lists"
# A mirror that does not answer is no reason to stop: the lists of before may do.
apt update || say "the package lists could not be renewed; trying with those there are"
say "installing ${#missing[@]} packages: ${missing[*]}"
if ! apt install --no-install-recommends "${missing[@]}"; then
    cat "$log" >&2
    fail "apt-get failed; its messages are above. fedq is made for Debian 12; this is" \
         "$(. /etc/os-release && echo "${PRETTY_NAME-unknown}")"
fi
say "done"
