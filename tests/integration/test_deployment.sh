#!/bin/bash
# A simulation is a deployment: one experiment gives the same bytes in one process, through the bytes of its messages,
# over sockets, and with a coordinator and clients as processes of their own; for any number of workers and clients.
. "$(dirname "$0")/fed_lib.sh"
rounds=$((${FEDQ_TEST_ROUNDS:-120} / 3))

# Models and updates are coded, and clients keep what coding owes and, in SCAFFOLD, a control vector.
settings_small $rounds >fedavg.yaml
cat >>fedavg.yaml <<YAML
upload: {quantizer: stochastic, bits: 4, error_feedback: true, entropy: zstd}
download: {quantizer: float16}
YAML
sed -e 's/algorithm: fedavg/algorithm: scaffold/' -e 's/^name:.*/name: scaffold/' fedavg.yaml >scaffold.yaml

simulated() { # NAME TRANSPORT WORKERS
    call run "$1.yaml" --transport "$2" --workers "$3" --out "$1-$2-$3" --quiet
    succeeded "$1, $2 with $3 workers"
    same "$1: direct, and $2 with $3 workers" "$1-direct-1/model.fq" "$1-$2-$3/model.fq"
}

# deployed NAME CLIENTS...: a coordinator, and a client process for each range of clients.
deployed() {
    local name=$1 client server clients=()
    shift
    make_server "$name" "$name.yaml"
    for range in "$@"; do make_client "$name-$range" "$name"; done
    start_server "$name"
    server=$pid
    for range in "$@"; do
        start_client "$name-$range" "$range" --threads $((1 + ${#clients[@]} % 2))
        clients+=("$pid")
    done
    ended "coordinator of $name" "$server" 120
    for client in "${clients[@]}"; do ended "a client of $name" "$client" 20; done
    same "$name: simulation and federation" "$name-direct-1/model.fq" "$name/model.fq"
    check "$name: the hash is printed" grep -qF "$(hash_of "$name/model.fq")" "$name.out"
    for range in "$@"; do
        check "$name: client $range hears the hash" grep -qF "$(hash_of "$name/model.fq")" "$name-$range.out"
        check "$name: client $range took part" [ "$(grep -c event=accepted "$name-$range.err")" -gt 0 ]
        check "$name: client $range has nothing left to send" [ -z "$(ls "$name-$range/outbox")" ]
    done
}

for name in fedavg scaffold; do
    for workers in 1 2; do
        simulated $name direct $workers
        simulated $name loopback $workers
    done
    simulated $name tcp 2
    deployed $name 0-3 4-19 20-29
done
if cmp -s fedavg/model.fq scaffold/model.fq; then fail "the algorithm changes nothing"; else pass; fi

call report fedavg -o report.html
succeeded "a report of the coordinator's folder"
call eval fedavg --weights 32,2
succeeded "an evaluation of the coordinator's folder"
finish
