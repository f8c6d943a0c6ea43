#!/bin/bash
# Registered clients that lie, break the order, or flood: each offence is refused with its reason and counted, the
# model is what it would be had the offenders said nothing, and who does not stop is dropped and stays out for a while.
# FEDQ_SUPPORT: folder of hostile_client.
. "$(dirname "$0")/fed_lib.sh"
: "${FEDQ_SUPPORT:?folder of the tests support programs}"

settings_small 4 | sed -e 's/clients_per_round: 6/clients_per_round: 30/' >all.yaml
echo "upload: {quantizer: float32}" >>all.yaml
offences=(nan infinity huge shape digest examples other replay truncated beyond unasked foreign order)
first=$((30 - ${#offences[@]}))

# hostile NAME DIR CLIENT OFFENCE
hostile() { start "$1" "$FEDQ_SUPPORT/hostile_client" "$2" "$3" "$4"; }
# refusals DIR PEER REASON: how many the coordinator has counted.
refusals() {
    sqlite3 :memory: "select coalesce(sum(json_extract(value, '\$.refusals.\"$3\"')), 0)
        from json_each(readfile('$1/status.json'), '\$.peers') where json_extract(value, '\$.name') = '$2'"
}
# federation NAME QUIET: honest clients beside one of each offence, or beside the same number that send nothing.
federation() {
    make_server "$1" all.yaml gather_s=60
    make_client "$1-honest" "$1"
    start_server "$1"
    server=$pid
    start_client "$1-honest" "0-$((first - 1))"
    for i in "${!offences[@]}"; do
        local offence=${offences[i]} does=${offences[i]}
        make_client "$1-${offences[i]}" "$1"
        [ "$2" = quiet ] && does=none
        [ "$2" = quiet ] && [ "$offence" = replay ] && does=once
        hostile "$1-$offence" "$1-$offence" $((first + i)) "$does"
    done
    ended "coordinator of $1" "$server" 60
}

# ---- one of each
federation quiet quiet
federation poisoned loud
same "with offenders, and with clients that send nothing" quiet/model.fq poisoned/model.fq
check "the figures are those of the honest" [ "$(query poisoned/run.db "select group_concat(printf('%.9f', loss)) from round")" = \
    "$(query quiet/run.db "select group_concat(printf('%.9f', loss)) from round")" ]
# verdict OFFENCE REASON N: in the database, and counted for the offender.
verdict() {
    local client=$first found
    for name in "${offences[@]}"; do [ "$name" = "$1" ] && break || client=$((client + 1)); done
    found=$(query poisoned/run.db "select count(*) from client_update where client = $client and verdict = '$2'")
    if [ "$found" -eq "$3" ]; then pass; else fail "$1: $found updates refused as $2, expected $3"; fi
    counted "$1" "$2" "$3"
}
counted() {
    local found
    found=$(refusals poisoned "poisoned-$1" "$2")
    if [ "$found" -eq "$3" ]; then pass; else fail "$1: counted $found times as $2, expected $3"; fi
}
verdict nan non-finite 4
verdict infinity non-finite 4
verdict huge too-large 4
verdict shape wrong-shape 4
verdict digest unsealed 4
verdict examples too-large 4
verdict other stale 4
verdict replay unsealed 3
verdict truncated unsealed 4
counted beyond malformed 4
counted unasked not-yours 4
counted foreign not-yours 4
counted order order 4
check "nothing of the offenders counts but the update that was replayed later" \
    [ "$(query poisoned/run.db "select count(*) from client_update where client >= $first and verdict = 'accepted'")" -eq 1 ]
check "an offender is told why" grep -q "receipt round=1 reason=non-finite" poisoned-nan.out
check "the audit log knows" grep -q "event=refused name=poisoned-order .*order" poisoned/audit.log

# ---- 10,000 frames of garbage a second, from a client that is registered and has never joined
settings_small 60 >small.yaml
call run small.yaml --out small-sim --quiet
succeeded "the simulation"
make_server knock small.yaml gather_s=60
make_client knock-honest knock
make_client knock-rogue knock
start_server knock
server=$pid
hostile knock-rogue knock-rogue 29 knock
check "the garbage comes" wait_for 10 grep -q "client_dropped client=knock-rogue" knock.err
start_client knock-honest 0-29
ended "coordinator under garbage" "$server" 60
same "the simulation, and a federation under garbage" small-sim/model.fq knock/model.fq

# ---- who does not stop is dropped, kept out, let in again, and dropped again; rounds go on without it
settings_small 300 >ban.yaml
make_server ban ban.yaml gather_s=0.3 deadline_s=10 quorum=0.1 max_refusals=20 ban_s=1
for name in honest flood insist; do make_client ban-$name ban; done
start_server ban
server=$pid
hostile ban-flood ban-flood 29 flood
hostile ban-insist ban-insist 28 insist
start_client ban-honest 0-27
for name in flood insist; do
    check "$name is dropped" wait_for 10 grep -q "event=dropped name=ban-$name" ban/audit.log
    check "$name is kept out" wait_for 10 grep -q "event=not_admitted.*why=banned" ban/audit.log
    check "$name may come again" wait_for 10 bash -c "[ \$(grep -c 'event=joined name=ban-$name' ban/audit.log) -ge 2 ]"
    check "$name is dropped again" wait_for 10 bash -c "[ \$(grep -c 'event=dropped name=ban-$name' ban/audit.log) -ge 2 ]"
done
ended "coordinator with offenders" "$server" 150
check "all rounds" [ "$(query ban/run.db 'select count(*) from round')" -eq 300 ]
check "no round had to wait for the deadline" [ "$(query ban/run.db 'select max(seconds_train) < 10 from round')" -eq 1 ]
check "the honest count" [ "$(query ban/run.db "select count(*) > 100 from client_update where verdict = 'accepted'")" -eq 1 ]
finish
