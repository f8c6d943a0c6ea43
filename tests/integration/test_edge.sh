#!/bin/bash
# The static client of a device takes part in a federation with this build's coordinator: how large it is, what it keeps
# in memory while it waits and while it trains LeNet-5 on examples of Fashion-MNIST's shape, and, for Arm under qemu,
# that its result is that of x86 but for rounding.
#
#   FEDQ_EDGE_BUILD   folder with edge-static/, aarch64/ and armhf/, as deploy/build-edge.sh makes them
. "$(dirname "${BASH_SOURCE[0]}")/fed_lib.sh"
: "${FEDQ_EDGE_BUILD:?folder of the edge builds}"
mib=1048576

static=$FEDQ_EDGE_BUILD/edge-static/client/fedq-client
images=/usr/share/datasets/fashion-mnist
[ -x "$static" ] || skip "there is no static client; deploy/build-edge.sh makes it"
[ -r "$images/train-images-idx3-ubyte.gz" ] || skip "Fashion-MNIST is not installed"

# ---- the files ----
for preset in edge-static aarch64 armhf; do
    client=$FEDQ_EDGE_BUILD/$preset/client/fedq-client
    [ -x "$client" ] || continue
    size=$(stat -c %s "$client")
    echo "$preset: fedq-client has $size bytes ($(awk -v b="$size" 'BEGIN { printf "%.2f", b / 1048576 }') MiB)"
    if [ "$size" -le $((3 * mib)) ]; then pass; else fail "$preset: $size bytes are more than 3 MiB"; fi
    if LC_ALL=C readelf -ld "$client" | grep -E 'INTERP|NEEDED' >linked; then fail "$preset: not static: $(head -n 1 linked)"; else pass; fi
    if LC_ALL=C readelf -S "$client" | grep -E '\.symtab|\.debug' >symbols; then fail "$preset: not stripped"; else pass; fi
done

# ---- a device's own examples: 600 of Fashion-MNIST's, in its format ----
mkdir data
idx() { # FROM HEADER_BYTES COUNT_BYTES BYTES_OF_ONE FIRST NUMBER
    zcat "$images/$1.gz" | head -c 4
    printf "\\x$(printf %02x $(($6 >> 24)))\\x$(printf %02x $(($6 >> 16 & 255)))\\x$(printf %02x $(($6 >> 8 & 255)))\\x$(printf %02x $(($6 & 255)))"
    zcat "$images/$1.gz" | head -c "$2" | tail -c $(($2 - 8))
    zcat "$images/$1.gz" | tail -c +$(($2 + 1 + $5 * $4)) | head -c $(($6 * $4))
}
set +o pipefail # zcat notices that nobody reads the rest
{ idx train-images-idx3-ubyte 16 4 784 0 600 >data/train-images-idx3-ubyte
  idx train-labels-idx1-ubyte 8 4 1 0 600 >data/train-labels-idx1-ubyte
  idx t10k-images-idx3-ubyte 16 4 784 0 10 >data/t10k-images-idx3-ubyte
  idx t10k-labels-idx1-ubyte 8 4 1 0 10 >data/t10k-labels-idx1-ubyte; } 2>/dev/null
set -o pipefail

rounds=3
settings() { # ROBUSTNESS
    cat <<YAML
name: edge
seed: 3
data: {set: fashion-mnist, clients: 2, test_limit: 500}
model: lenet5
train: {robustness: [$1], rounds: $rounds, clients_per_round: 2, batch: 32, rate: 0.05}
evaluate: {every: $rounds, weights: [32, 8]}
YAML
}
# kib FIELD PID: a line of its /proc/PID/status.
kib() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$2/status" 2>/dev/null; }

with_client() { # PROGRAM COMMAND...: with that client in place of this build's
    local FEDQ_CLIENT=$1
    shift
    "$@"
}
device() { # DIR SERVER_DIR: a client's folder with the examples above
    make_client "$1" "$2"
    echo "data: {set: fashion-mnist, path: $work/data}" >>"$1/client.yaml"
}
# limit WHAT KIB MOST_MIB
limit() {
    echo "$1: $(awk -v k="$2" 'BEGIN { printf "%.1f", k / 1024 }') MiB resident"
    if [ -n "$2" ] && [ "$2" -le $(($3 * 1024)) ]; then pass; else fail "$1: $2 KiB resident, at most $3 MiB allowed"; fi
}

# ---- alone: idle, then three rounds ----
settings mqat >two.yaml
settings "" >plain.yaml
make_server fed two.yaml
with_client "$static" device dev fed
dev_key=$client_key
device other fed
start_server fed
start dev "$static" run dev --keep
dev=$pid
wait_for 60 grep -q event=joined dev.err || fail "the device does not join: $(tail -n 2 dev.err)"
sleep 1
limit "a client that has joined and waits" "$(kib VmRSS "$dev")" 6
start other "$FEDQ_CLIENT" run other
wait_for 120 grep -q event=run_over dev.err || fail "the run does not end: $(tail -n 2 dev.err)"
peak=$(kib VmHWM "$dev")
limit "a client that trains LeNet-5" "$peak" 16
sleep 1
limit "a client that waits after it has trained" "$(kib VmRSS "$dev")" 6
ended "the client of this build" "$pid" 60
kill -TERM "$dev"
ended "the static client" "$dev" 60 1
if grep -qE 'event=trained .* cpu_s=0\.0*[1-9]|event=trained .* cpu_s=0\.[1-9]|cpu_s=[1-9]' dev.err; then pass; else fail "turns without a price"; fi
call_client() { timeout 60 "$static" "$@"; }
call_client status dev >status.out
for line in "^accepted +$rounds\$" '^processor +[0-9.]+ s'; do
    if grep -qE "$line" status.out; then pass; else fail "status does not say $line: $(cat status.out)"; fi
done
call_client run dev --dry-run >dry.out 2>dry.err || fail "--dry-run: $(cat dry.err)"
cat dry.out
for line in '^data +fashion-mnist, 600 examples' '^memory +[0-9.]+ MiB in all' '^disk +[0-9.]+ MiB' '^a round +[0-9.]+ KiB up, [0-9.]+ KiB down'; do
    if grep -qE "$line" dry.out; then pass; else fail "--dry-run does not say $line"; fi
done
# What it says in advance is enough, and not far from what it takes.
said=$(awk '$1 == "memory" { print int($2 * 1024) }' dry.out)
if [ "$said" -ge "$peak" ] && [ "$said" -le $((2 * peak)) ]; then pass; else fail "--dry-run says $said KiB, it took $peak"; fi

# ---- by name: a static program looks up names as well ----
make_server fed2 two.yaml
sed -i "s|^server:.*|server: tcp://localhost:$port|; s|^server_key:.*|server_key: $server_key|" dev/client.yaml
"$FEDQ_SERVER" clients add fed2 dev "$dev_key" || fail "clients add"
start_server fed2
start named "$static" run dev
wait_for 60 grep -q event=joined named.err && pass || fail "no way by name: $(tail -n 2 named.err)"
stop_all

# ---- Arm under qemu, beside x86 ----
# What differs: 4 lanes in place of 8 in the sums of backward passes, fused multiply-add or not, and the C library's exp and
# log: some last bits of sums. Plain training keeps that small; with quantized weights a last bit can move a weight to the
# next level, after which the runs part as with another seed.
federation() { # DIR PROGRAM_OF_THE_FIRST: two clients, the second of this build
    make_server "$1" plain.yaml
    with_client "$2" device "$1-one" "$1"
    device "$1-two" "$1"
    start_server "$1"
    local server=$pid
    start "$1-one" "$2" run "$1-one"
    start "$1-two" "$FEDQ_CLIENT" run "$1-two"
    ended "$1" "$server" 300
    stop_all
}
for machine in aarch64 armhf; do
    client=$FEDQ_EDGE_BUILD/$machine/client/fedq-client
    qemu=$(command -v "qemu-${machine/armhf/arm}") || { echo "no qemu for $machine: left out"; continue; }
    [ -x "$client" ] || { echo "no client for $machine: left out"; continue; }
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$qemu" "$client" >"client-$machine"
    chmod +x "client-$machine"
    [ -d native ] || federation native "$FEDQ_CLIENT"
    federation "$machine" "$work/client-$machine"
    [ -s "$machine/model.fq" ] || { fail "$machine: no model"; continue; }
    worst=$("$FEDQ_SUPPORT/compare_models" native/model.fq "$machine/model.fq")
    echo "$machine: the model differs from that of x86 by $worst of its largest weight"
    if awk -v w="$worst" 'BEGIN { exit !(w <= 1e-4) }'; then pass; else fail "$machine: differs by $worst, 1e-4 allowed"; fi
done
finish
