#!/bin/bash
# The client for devices, as one static file for each kind of machine.
#
#   deploy/build-edge.sh [x86_64] [aarch64] [armhf]     default: all three
#
# Makes build/edge-static, build/aarch64 and build/armhf, and prints how large the files are. Needs the packages of
# deploy/install-deps.sh --cross, which it installs; what it makes for Arm runs here under qemu-user.
set -euo pipefail
cd "$(dirname "$0")/.."

machines=("$@")
[ $# -gt 0 ] || machines=(x86_64 aarch64 armhf)
for machine in "${machines[@]}"; do
    case "$machine" in
        x86_64 | aarch64 | armhf) ;;
        *) echo "Usage: $0 [x86_64] [aarch64] [armhf]" >&2; exit 2 ;;
    esac
done

deploy/install-deps.sh --cross
mkdir -p build
for machine in "${machines[@]}"; do
    preset=$machine
    [ "$machine" != x86_64 ] || preset=edge-static
    deploy/sysroot.sh "$machine"
    log=build/$preset.log
    echo "build-edge: building build/$preset/client/fedq-client (messages in $log)" >&2
    if ! { cmake --preset "$preset" && cmake --build --preset "$preset"; } >"$log" 2>&1; then
        grep -E -A5 'error|FAILED' "$log" | head -n 40 >&2 || tail -n 20 "$log" >&2
        echo "build-edge: the build of $preset failed; all of its messages are in $log" >&2
        exit 1
    fi
    awk -v machine="$machine" -v bytes="$(stat -c %s "build/$preset/client/fedq-client")" \
        'BEGIN { printf "%-8s fedq-client %d bytes, %.2f MiB, static and stripped\n", machine, bytes, bytes / 1048576 }'
done
