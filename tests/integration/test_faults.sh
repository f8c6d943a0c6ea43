#!/bin/bash
# The fault matrix of docs/reliability.md: processes on loopback with a bad network between them, with clients that
# go and come back, restarts, and a wall clock that jumps. Where all clients are back before the deadline the result has
# the bytes of the simulation. The federations run side by side, since most of their time is waiting.
# FEDQ_SUPPORT: folder of fault_proxy and libwrong_clock.so.
. "$(dirname "$0")/fed_lib.sh"
: "${FEDQ_SUPPORT:?folder of the tests support programs}"

# ---- settings, and what they give undisturbed
settings_small 6 >small.yaml
cat >large.yaml <<YAML
name: large
seed: 7
data: {set: synthetic, clients: 30, features: 4000, classes: 5, examples: 10, test_examples: 20}
model: mlp
train: {rounds: 2, clients_per_round: 4, batch: 10, rate: 0.05}
upload: {quantizer: float32}
evaluate: {every: 2, weights: [32]}
YAML
sed -e 's/clients: 30/clients: 100/' -e 's/clients_per_round: 6/clients_per_round: 20/' -e 's/rounds: 6/rounds: 3/' \
    small.yaml >crowd.yaml
for name in small large crowd; do
    call run $name.yaml --out $name-sim --quiet
    succeeded "the simulation of $name"
done

# ---- building blocks
declare -A server_of a_of b_of
# bad_network NAME FAULT...: between the clients that are made from now on and the coordinator at `port`.
bad_network() {
    local name=$1 target=$port
    shift
    while [ "$port" -eq "$target" ]; do port=$(free_port); done
    start "$name-net" "$FEDQ_SUPPORT/fault_proxy" "$port" "$target" 7 "$@"
}
# federation NAME SETTINGS "FAULT..." [KEY=VALUE...]: coordinator, network, and two clients for 30.
federation() {
    local name=$1 faults=$3
    make_server "$name" "$2" gather_s=60 "${@:4}"
    # shellcheck disable=SC2086
    [ -z "$faults" ] || bad_network "$name" $faults
    make_client "$name-a" "$name"
    make_client "$name-b" "$name"
    begin "$name"
}
begin() {
    start "$1" "$FEDQ_SERVER" run "$1" --verbose
    server_of[$1]=$pid
    start_client "$1-a" 0-14 --threads 1
    a_of[$1]=$pid
    start_client "$1-b" 15-29 --threads 1
    b_of[$1]=$pid
}
# kill_now PID: at once, and gone when this returns.
kill_now() {
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}
# ends_as NAME SIMULATION SECONDS
ends_as() {
    ended "coordinator of $1" "${server_of[$1]}" "$3"
    same "$1: as without faults" "$2/model.fq" "$1/model.fq"
}
# struck NAME KIND N: the network has done it so often.
struck() {
    local found
    found=$(grep -c "^$2 " "$1-net.out")
    if [ "$found" -ge "$3" ]; then pass; else fail "$1: $found strikes of $2, expected $3"; fi
}
count() { grep -c "$1" "$2"; }

# ---- the network: all of these at once
federation stall small.yaml "stall=60000@up stall=400000@down"
federation delay small.yaml "delay=30"
federation flip small.yaml "flip=30000@upx2 flip=200000@downx2"
federation handshake small.yaml "flip=70@upx2 flip=70@downx2 truncate=100@up cut=100@down"
federation truncate small.yaml "truncate=60000@upx2 truncate=150000@downx2"
federation shuffle small.yaml "repeat=40000@upx2 swap=40000@upx2 repeat=150000@down swap=250000@down"
ends_as delay small-sim 60
for kind in flip truncate; do
    ends_as $kind small-sim 60
    struck $kind $kind 4
done
ends_as handshake small-sim 60
struck handshake flip 4
ends_as shuffle small-sim 60
struck shuffle repeat 3
struck shuffle swap 3
check "flip: a broken connection is a new one" [ "$(count event=connected flip-a.err)" -gt 1 ]
check "flip: nothing damaged was taken" [ "$(query flip/run.db "select count(*) from clients where verdict != 'accepted'")" -eq 0 ]
check "flip: nothing damaged was seen" bash -c "! grep -q 'reason=unsealed\|event=refused' flip.err"

# ---- cut in the middle of uploads and downloads of 3 MiB
federation upload large.yaml "cut=900000@upx4"
federation download large.yaml "cut=900000@downx4"
ends_as upload large-sim 60
struck upload cut 4
uploads=$(query upload/run.db "select sum(bytes_up) from clients")
check "uploads go on where they were cut" [ "$(sed -n 's/.*"bytes_in": *\([0-9]*\).*/\1/p' upload/status.json | head -1)" -lt $((2 * uploads)) ]
ends_as download large-sim 60
struck download cut 4

ends_as stall small-sim 80
struck stall stall 1
finish
