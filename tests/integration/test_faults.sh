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
data: {set: synthetic, clients: 30, features: 1000, classes: 5, examples: 10, test_examples: 20}
model: [{layer: flatten}, {layer: dense, out: 800}, {layer: relu}, {layer: dense, out: 5}]
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
begin_server() {
    start "$1" "$FEDQ_SERVER" run "$1" --verbose
    server_of[$1]=$pid
}
begin_clients() {
    start_client "$1-a" 0-14 --threads 1
    a_of[$1]=$pid
    start_client "$1-b" 15-29 --threads 1
    b_of[$1]=$pid
}
begin() {
    begin_server "$1"
    begin_clients "$1"
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
federation stall small.yaml "stall=60000@up"
federation delay small.yaml "delay=30"
federation flip small.yaml "flip=30000@upx2 flip=200000@downx2"
federation handshake small.yaml "flip=70@upx2 flip=70@downx2 truncate=100@up cut=100@down"
federation truncate small.yaml "truncate=60000@upx2 truncate=150000@downx2"
federation shuffle small.yaml "repeat=40000@upx2 swap=40000@upx2 repeat=150000@down swap=250000@down"
# One round over a link on which the model, and each update, takes longer than the client's clocks tick.
settings_small 1 >narrow.yaml
call run narrow.yaml --out narrow-sim --quiet
succeeded "the simulation of narrow"
federation narrow narrow.yaml "slow=40000"
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
check "flip: nothing damaged was taken" [ "$(query flip/run.db "select count(*) from client_update where verdict != 'accepted'")" -eq 0 ]
check "flip: nothing damaged was seen" bash -c "! grep -q 'reason=unsealed\|event=refused' flip.err"

# ---- cut in the middle of uploads and downloads of 3 MiB
federation upload large.yaml "cut=900000@upx4"
federation download large.yaml "cut=900000@downx4"
# One client's link is slow both ways; the other one's is not.
make_server slow large.yaml gather_s=60
make_client slow-b slow
bad_network slow slow=1500000
make_client slow-a slow
begin slow
ends_as upload large-sim 60
struck upload cut 4
uploads=$(query upload/run.db "select sum(bytes_up) from client_update")
received=$(sed -n 's/^[^[]*"bytes_in":\([0-9]*\).*/\1/p' upload/status.json)
check "uploads go on where they were cut: $received bytes came for $uploads" \
    [ "$((4 * received))" -lt "$((5 * uploads))" ]
check "and the clients had to come back for it" [ "$(cat upload-[ab].err | grep -c event=rejoined)" -ge 4 ]
ends_as download large-sim 60
struck download cut 4

ends_as slow large-sim 60
accepted() { grep -n -m 1 "event=update_accepted.*peer=slow-$1" slow.err | cut -d: -f1; }
check "slow: who is fast does not wait for who is slow" [ "$(accepted b)" -lt "$(accepted a)" ]

# ---- clients and coordinator that go and come back
# Half of the clients go for good: rounds end at their deadline, later ones begin with those that are there.
settings_small 300 >half.yaml
federation half half.yaml "" gather_s=1 deadline_s=3 quorum=0.3 over_selection=1.3
wait_for 20 grep -q event=round_closed half.err || fail "half: no round"
kill_now "${b_of[half]}"
# All go, and come back.
federation all small.yaml "delay=30"
wait_for 20 grep -q "event=update_accepted" all.err || fail "all: no update"
kill_now "${a_of[all]}"
kill_now "${b_of[all]}"
check "all: the coordinator waits for them" wait_for 5 grep -q 'client_away' all.err
begin_clients all
# The coordinator is restarted, as an operator does it.
federation restart small.yaml "delay=30"
wait_for 20 grep -q event=update_accepted restart.err || fail "restart: no update"
kill "${server_of[restart]}"
ended "restart: the coordinator stops" "${server_of[restart]}" 20 1
begin_server restart
# The receipt of an update is lost: it is 400 ms from being heard when its client is killed.
federation receipt small.yaml "delay=400"
wait_for 20 grep -q "event=update_accepted.*peer=receipt-a" receipt.err || fail "receipt: no update"
kill_now "${a_of[receipt]}"
lost=$(sed -n 's/.*event=update_accepted \(round=[0-9]* client=[0-9]*\) peer=receipt-a.*/\1/p' receipt.err | head -1)
check "receipt: it was not heard" bash -c "! grep -q 'event=accepted $lost ' receipt-a.err"
start_client receipt-a 0-14 --threads 1
# The dates of coordinator and one client jump by hours, each second.
if [ "$(nm -D "$FEDQ_SERVER" | grep -c __asan_init)" -gt 0 ]; then
    echo "the part with the jumping clock does not go with sanitizers"
else
    make_server clock small.yaml gather_s=60 heartbeat_s=0.2
    bad_network clock delay=100
    make_client clock-a clock
    make_client clock-b clock
    export LD_PRELOAD=$FEDQ_SUPPORT/libwrong_clock.so
    begin clock
    unset LD_PRELOAD
    ends_as clock small-sim 60
    check "clock: it did jump" [ "$(cut -c1-13 clock.err | sort -u | wc -l)" -gt 1 ]
fi

ended "coordinator of half" "${server_of[half]}" 60
check "half: all rounds" [ "$(query half/run.db 'select count(*) from round')" -eq 300 ]
check "half: those who are there count" [ "$(query half/run.db 'select min(n_accepted) from round where round > 250')" -ge 1 ]
check "half: later rounds ask them alone" [ "$(query half/run.db 'select count(*) from client_update where round = 300 and client > 14')" -eq 0 ]
ends_as all small-sim 60
ends_as restart small-sim 60
check "restart: the run went on" grep -Eq 'event=round_restored|event=listening .* round=[1-9]' restart.err
ends_as receipt small-sim 60
check "receipt: it came again" grep -q "event=accepted $lost " receipt-a.err
check "receipt: it counted once" [ "$(count "event=update_accepted $lost " receipt.err)" -eq 1 ]

# ---- everybody at once, and once more after a restart
crowd=100
[ "${FEDQ_TEST_ROUNDS:-0}" -ge 100 ] || crowd=20
make_server crowd crowd.yaml gather_s=60
for ((i = 0; i < crowd; i++)); do
    make_client "crowd-$i" crowd
    start_client "crowd-$i" "$((i * 100 / crowd))-$(((i + 1) * 100 / crowd - 1))" --threads 1
done
start_server crowd
server_of[crowd]=$pid
wait_for 30 grep -q event=round_opened crowd.err || fail "crowd: no round"
kill_now "${server_of[crowd]}"
start_server crowd
server_of[crowd]=$pid
ends_as crowd crowd-sim 60
check "crowd: all joined" [ "$(grep -o 'event=client_joined client=[^ ]*' crowd.err | sort -u | wc -l)" -eq $crowd ]

ends_as narrow narrow-sim 60
# traffic DIRECTION: bytes of all clients' messages, as the coordinator counts them.
traffic() { sed -n "s/^[^[]*\"bytes_$1\":\([0-9]*\).*/\1/p" narrow/status.json; }
check "narrow: nothing is asked for twice" \
    [ "$(traffic out)" -lt $((3 * $(sed -n 's/.*event=round_opened.*model_bytes=\([0-9]*\).*/\1/p' narrow.err))) ]
check "narrow: nothing is sent twice" \
    [ "$((2 * $(traffic in)))" -lt $((3 * $(query narrow/run.db 'select sum(bytes_up) from client_update'))) ]

ends_as stall small-sim 80
struck stall stall 1
finish
