#!/bin/bash
# Coordinator and clients as processes on loopback, killed at random: the same bytes as a simulation, whoever it was;
# strangers and revoked clients stay outside; a full disk is waited out.
. "$(dirname "$0")/fed_lib.sh"
RANDOM=${FEDQ_TEST_SEED:-20261} # which moments

settings_small 40 >plain.yaml
sed -e 's/algorithm: fedavg/algorithm: scaffold/' -e 's/^name:.*/name: scaffold/' plain.yaml >scaffold.yaml
cat >>scaffold.yaml <<YAML
upload: {quantizer: stochastic, bits: 4, error_feedback: true, entropy: zstd}
download: {quantizer: float16}
YAML

# ---- killed, all of them, again and again
for name in plain scaffold; do
    call run $name.yaml --out $name-sim --quiet
    succeeded "the simulation of $name"
    make_server $name-k $name.yaml gather_s=60
    make_client $name-ka $name-k
    make_client $name-kb $name-k
    start_server $name-k
    server=$pid
    start_client $name-ka 0-9
    a=$pid
    start_client $name-kb 10-29
    b=$pid
    kills=0
    end=$(($(date +%s) + 120))
    while [ "$(date +%s)" -lt $end ]; do
        sleep "0.$(printf %03d $((RANDOM % 250)))"
        is_gone "$server" && break
        if [ $kills -ge 25 ]; then continue; fi
        case $((RANDOM % 3)) in
            0) kill -9 "$server" 2>/dev/null && wait "$server" 2>/dev/null; start_server $name-k; server=$pid ;;
            1) kill -9 "$a" 2>/dev/null && wait "$a" 2>/dev/null; start_client $name-ka 0-9; a=$pid ;;
            2) kill -9 "$b" 2>/dev/null && wait "$b" 2>/dev/null; start_client $name-kb 10-29; b=$pid ;;
        esac
        kills=$((kills + 1))
    done
    ended "coordinator of $name after $kills kills" "$server" 60
    same "$name: simulation and a federation with $kills kills" $name-sim/model.fq $name-k/model.fq
    [ $kills -ge 3 ] || fail "$name was killed only $kills times"
    kill -9 "$a" "$b" 2>/dev/null
    wait "$a" "$b" 2>/dev/null
done

# ---- strangers, and who is no longer welcome
settings_small 2000 >long.yaml
make_server door long.yaml gather_s=0.5 deadline_s=3 quorum=0
make_client stranger
make_client friend door
make_client rogue door
start_server door
server=$pid
start_client friend 0-14
start_client rogue 15-29
rogue=$pid
start_client stranger 0-29
stranger=$pid
check "a stranger is told why" wait_for 20 grep -q event=not_admitted stranger.err
check "the coordinator notes the stranger" wait_for 10 grep -q "event=not_admitted key=$client_key\|event=not_admitted" door.err
check "a stranger is never connected" test -z "$(grep event=connected stranger.err)"
check "a registered client works" wait_for 20 grep -q event=accepted friend.err
check "the other one too" wait_for 20 grep -q event=accepted rogue.err
"$FEDQ_SERVER" clients revoke door rogue || fail "revoke"
ended "the revoked client" "$rogue" 20 1
check "it is told why" grep -q revoked rogue.err
check "the list says so" grep -q "rogue.*revoked" <("$FEDQ_SERVER" clients list door)
rounds=$(grep -c event=round_closed door.err)
check "the rounds go on without it" wait_for 30 bash -c "[ \$(grep -c event=round_closed door.err) -gt $((rounds + 2)) ]"
start_client rogue 15-29
check "it cannot come back" wait_for 20 grep -q event=not_admitted rogue.err
check "audit.log knows" grep -q "event=revoked name=rogue" door/audit.log
"$FEDQ_SERVER" status door --json >status.json 2>/dev/null
check "status says what is going on" grep -q '"phase"' status.json
kill "$server"
ended "the coordinator after SIGTERM" "$server" 20 1
check "it says how to go on" grep -q "go on with: fedq-server run door" door.err
start_server door
check "and goes on" wait_for 20 bash -c "[ \$(grep -c event=listening door.err) -eq 2 ]"
kill -9 $pid
stop_all

# ---- a disk that is full for a while
mkdir disk
if mount -t tmpfs -o size=3m tmpfs disk 2>/dev/null; then
    undo+=("umount -l $work/disk")
    make_server disk/full plain.yaml
    make_client full-a disk/full
    start disk-server "$FEDQ_SERVER" run disk/full
    server=$pid
    check "the coordinator waits" wait_for 10 grep -q event=listening disk-server.err
    dd if=/dev/zero of=disk/filler bs=1k status=none 2>/dev/null
    start_client full-a 0-29
    a=$pid
    check "it says that it is paused" wait_for 20 grep -q event=paused disk-server.err
    sleep 1
    check "and does not end" kill -0 "$server"
    rm disk/filler
    ended "the coordinator when there is room" "$server" 60
    ended "its client" "$a" 20
    same "a simulation and a federation on a full disk" plain-sim/model.fq disk/full/model.fq
else
    echo "the part with the full disk needs root"
fi
finish
